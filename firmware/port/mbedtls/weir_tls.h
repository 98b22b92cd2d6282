/*
 * weir_tls.h: TLS between the recorder and the broker: a struct weir_net that
 * wraps another, on mbedTLS 2.28. See README.md for its memory.
 */
#ifndef WEIR_TLS_H
#define WEIR_TLS_H

#include <mbedtls/ssl.h>

#include "weir/port.h"

#ifndef WEIR_TLS_FRAGMENT
#define WEIR_TLS_FRAGMENT 1024 /* bytes of a record that are asked for (RFC 6066, section 4): 512 or 1024 */
#endif

enum { WEIR_TLS_PIN = 32, WEIR_TLS_RECORD = WEIR_TLS_FRAGMENT + 128 /* header, nonce, tag or padding */ };

/* Who the server is: exactly one of psk and pin. What they point at stays valid. */
struct weir_tls_config {
  struct weir_net *inner;
  const struct weir_random *random;
  const char *identity; /* with psk */
  const uint8_t *psk;
  size_t psk_size;
  const uint8_t *pin; /* SHA-256 of the server's SubjectPublicKeyInfo, WEIR_TLS_PIN bytes */
};

struct weir_tls {
  struct weir_net net;
  struct weir_tls_config config;
  mbedtls_ssl_context ssl;
  mbedtls_ssl_config ssl_config;
  bool lower_up, up, pinned;
  int ended;                    /* WEIR_OK, or why nothing more comes */
  uint8_t in[WEIR_TLS_FRAGMENT]; /* decrypted, from in_begin to in_end not yet taken */
  size_t in_begin, in_end;
  uint8_t out[WEIR_TLS_RECORD]; /* encrypted, from out_begin to out_end not yet with inner */
  size_t out_begin, out_end;
};

/* WEIR_OK          t->net is the stream
 * WEIR_E_ARGUMENT  neither or both of psk and pin, or a key that mbedTLS refuses
 * WEIR_E_FULL      mbedTLS got no memory */
int weir_tls_init(struct weir_tls *t, const struct weir_tls_config *config);

/* Gives back what mbedTLS holds. */
void weir_tls_free(struct weir_tls *t);

/* Encrypted bytes wait for room in the inner stream: wake when there is some. */
bool weir_tls_pending(const struct weir_tls *t);

#endif
