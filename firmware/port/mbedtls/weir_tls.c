/* weir_tls.c: see weir_tls.h. */
#include "weir_tls.h"

#include <string.h>

#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/sha256.h>
#include <mbedtls/version.h>

#if MBEDTLS_VERSION_MAJOR != 2
#error "this port is written for mbedTLS 2.28"
#endif
#if !defined(MBEDTLS_SSL_MAX_FRAGMENT_LENGTH)
#error "this port needs MBEDTLS_SSL_MAX_FRAGMENT_LENGTH"
#endif

enum { FRAGMENT_CODE = WEIR_TLS_FRAGMENT == 512 ? MBEDTLS_SSL_MAX_FRAG_LEN_512 : MBEDTLS_SSL_MAX_FRAG_LEN_1024 };
_Static_assert(WEIR_TLS_FRAGMENT == 512 || WEIR_TLS_FRAGMENT == 1024, "a length that the extension knows");

/* With a shared key, forward secrecy first: mbedTLS 2.28 has no suite that joins it with GCM, so that is CBC with
 * SHA-256 (encrypt-then-MAC where the server takes it); the second is GCM, for servers without a curve. */
static const int psk_suites[] = {MBEDTLS_TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256, MBEDTLS_TLS_PSK_WITH_AES_128_GCM_SHA256, 0};
static const int pin_suites[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 0};

static int rng(void *ctx, unsigned char *out, size_t n) {
  const struct weir_random *r = (const struct weir_random *)ctx;
  return r->bytes(r->ctx, out, n) == WEIR_OK ? 0 : MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
}

static int receive(void *ctx, unsigned char *to, size_t n) {
  struct weir_tls *t = (struct weir_tls *)ctx;
  const struct weir_net *inner = t->config.inner;
  const uint8_t *data;
  size_t size;
  int r = inner->peek(inner->ctx, &data, &size);
  if (r == WEIR_BUSY) return MBEDTLS_ERR_SSL_WANT_READ;
  if (r == WEIR_E_GONE) return 0;
  if (r != WEIR_OK) return MBEDTLS_ERR_NET_CONN_RESET;
  if (size > n) size = n;
  memcpy(to, data, size);
  inner->take(inner->ctx, size);
  return (int)size;
}

/* Brings encrypted bytes to the inner stream, as far as it has room. */
static void drain(struct weir_tls *t) {
  const struct weir_net *inner = t->config.inner;
  while (t->out_begin < t->out_end && t->ended == WEIR_OK) {
    int32_t n = inner->write(inner->ctx, t->out + t->out_begin, t->out_end - t->out_begin);
    if (n == 0) return;
    if (n < 0) t->ended = (int)n;
    else t->out_begin += (size_t)n;
  }
  t->out_begin = t->out_end = 0;
}

static int send_record(void *ctx, const unsigned char *data, size_t n) {
  struct weir_tls *t = (struct weir_tls *)ctx;
  drain(t);
  if (t->ended != WEIR_OK) return MBEDTLS_ERR_NET_CONN_RESET;
  if (t->out_end == sizeof t->out) return MBEDTLS_ERR_SSL_WANT_WRITE;
  if (n > sizeof t->out - t->out_end) n = sizeof t->out - t->out_end;
  memcpy(t->out + t->out_end, data, n);
  t->out_end += n;
  return (int)n;
}

/* Only the leaf counts: a pin needs no chain, no name and no date. An error here ends the handshake. */
static int check_pin(void *ctx, mbedtls_x509_crt *crt, int depth, uint32_t *flags) {
  struct weir_tls *t = (struct weir_tls *)ctx;
  uint8_t hash[WEIR_TLS_PIN];
  if (depth != 0) return 0;
  if (mbedtls_sha256_ret(crt->pk_raw.p, crt->pk_raw.len, hash, 0) != 0) return MBEDTLS_ERR_X509_FATAL_ERROR;
  if (memcmp(hash, t->config.pin, sizeof hash) != 0) return MBEDTLS_ERR_X509_FATAL_ERROR;
  t->pinned = true;
  *flags = 0;
  return 0;
}

static void forget(struct weir_tls *t) {
  t->lower_up = t->up = t->pinned = false;
  t->ended = WEIR_OK;
  t->in_begin = t->in_end = t->out_begin = t->out_end = 0;
}

static void tls_close(void *ctx) {
  struct weir_tls *t = (struct weir_tls *)ctx;
  if (t->up && t->ended == WEIR_OK) {
    mbedtls_ssl_close_notify(&t->ssl); /* as far as there is room now */
    drain(t);
  }
  forget(t);
  t->config.inner->close(t->config.inner->ctx);
}

static int tls_connect(void *ctx, const char *host, uint16_t port) {
  struct weir_tls *t = (struct weir_tls *)ctx;
  const struct weir_net *inner = t->config.inner;
  if (t->up) return WEIR_OK;
  if (!t->lower_up) {
    uint8_t one;
    int r = t->config.random->bytes(t->config.random->ctx, &one, 1);
    if (r == WEIR_BUSY) return WEIR_BUSY;
    r = inner->connect(inner->ctx, host, port);
    if (r != WEIR_OK) return r;
    forget(t);
    if (mbedtls_ssl_session_reset(&t->ssl) != 0) goto failed;
    t->lower_up = true;
  }
  int r = mbedtls_ssl_handshake(&t->ssl);
  drain(t);
  if ((r == MBEDTLS_ERR_SSL_WANT_READ || r == MBEDTLS_ERR_SSL_WANT_WRITE) && t->ended == WEIR_OK) return WEIR_BUSY;
  if (r != 0 || t->ended != WEIR_OK || (t->config.pin != NULL && !t->pinned)) goto failed;
  t->up = true;
  return WEIR_OK;
failed:
  tls_close(t);
  return WEIR_E_IO;
}

static int tls_peek(void *ctx, const uint8_t **data, size_t *size) {
  struct weir_tls *t = (struct weir_tls *)ctx;
  if (!t->up) return WEIR_E_IO;
  drain(t);
  if (t->in_begin == t->in_end) { /* else the inner stream is left alone, and its window closes */
    if (t->ended != WEIR_OK) return t->ended;
    int n = mbedtls_ssl_read(&t->ssl, t->in, sizeof t->in);
    if (n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_WANT_WRITE) return WEIR_BUSY;
    if (n <= 0) {
      bool gone = n == 0 || n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || n == MBEDTLS_ERR_SSL_CONN_EOF;
      return t->ended = gone ? WEIR_E_GONE : WEIR_E_IO;
    }
    t->in_begin = 0;
    t->in_end = (size_t)n;
  }
  *data = t->in + t->in_begin;
  *size = t->in_end - t->in_begin;
  return WEIR_OK;
}

static void tls_take(void *ctx, size_t n) { ((struct weir_tls *)ctx)->in_begin += n; }

/* A record is made only when the last one left: then it fits, and mbedTLS never asks for the same bytes again. */
static int32_t tls_write(void *ctx, const uint8_t *data, size_t n) {
  struct weir_tls *t = (struct weir_tls *)ctx;
  if (!t->up) return WEIR_E_IO;
  drain(t);
  if (t->ended != WEIR_OK) return t->ended;
  if (t->out_end != 0 || n == 0) return 0;
  int r = mbedtls_ssl_write(&t->ssl, data, n < WEIR_TLS_FRAGMENT ? n : WEIR_TLS_FRAGMENT);
  if (r < 0) return t->ended = t->ended != WEIR_OK ? t->ended : WEIR_E_IO;
  drain(t);
  return r;
}

static void tls_flush(void *ctx) {
  struct weir_tls *t = (struct weir_tls *)ctx;
  drain(t);
  if (t->config.inner->flush != NULL) t->config.inner->flush(t->config.inner->ctx);
}

static int configure(struct weir_tls *t) {
  mbedtls_ssl_config *c = &t->ssl_config;
  if (mbedtls_ssl_config_defaults(c, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) != 0) return WEIR_E_FULL;
  mbedtls_ssl_conf_rng(c, rng, (void *)(uintptr_t)t->config.random);
  mbedtls_ssl_conf_min_version(c, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
  if (mbedtls_ssl_conf_max_frag_len(c, FRAGMENT_CODE) != 0) return WEIR_E_ARGUMENT;
  if (t->config.pin != NULL) {
    /* Required would ask for a chain of authorities; check_pin is as strict, and connect asks whether it ran. */
    mbedtls_ssl_conf_authmode(c, MBEDTLS_SSL_VERIFY_OPTIONAL);
    mbedtls_ssl_conf_verify(c, check_pin, t);
    mbedtls_ssl_conf_ciphersuites(c, pin_suites);
  } else {
    int r = mbedtls_ssl_conf_psk(c, t->config.psk, t->config.psk_size, (const unsigned char *)t->config.identity, strlen(t->config.identity));
    if (r != 0) return r == MBEDTLS_ERR_SSL_ALLOC_FAILED ? WEIR_E_FULL : WEIR_E_ARGUMENT;
    mbedtls_ssl_conf_ciphersuites(c, psk_suites);
  }
  if (mbedtls_ssl_setup(&t->ssl, c) != 0) return WEIR_E_FULL;
  mbedtls_ssl_set_bio(&t->ssl, t, send_record, receive, NULL);
  return WEIR_OK;
}

int weir_tls_init(struct weir_tls *t, const struct weir_tls_config *config) {
  if ((config->psk != NULL) == (config->pin != NULL) || (config->psk != NULL && config->identity == NULL)) return WEIR_E_ARGUMENT;
  memset(t, 0, sizeof *t);
  t->config = *config;
  t->net = (struct weir_net){t, tls_connect, tls_peek, tls_take, tls_write, tls_flush, tls_close, config->inner->poll_us};
  mbedtls_ssl_init(&t->ssl);
  mbedtls_ssl_config_init(&t->ssl_config);
  int r = configure(t);
  if (r != WEIR_OK) weir_tls_free(t);
  return r;
}

void weir_tls_free(struct weir_tls *t) {
  mbedtls_ssl_free(&t->ssl);
  mbedtls_ssl_config_free(&t->ssl_config);
}

bool weir_tls_pending(const struct weir_tls *t) { return t->out_begin < t->out_end; }
