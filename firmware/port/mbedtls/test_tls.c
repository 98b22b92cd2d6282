/*
 * test_tls.c: the stream of weir_tls.c against a server of mbedTLS in the same
 * process, over a wire in memory that moves as few bytes at a time as the seed
 * says. Also built without sanitizers and with calloc and free wrapped, where it
 * prints what mbedTLS takes from the heap (MEASURE).
 */
#include <string.h>

#include "check.h"
#include "weir_tls.h"

enum { WIRE = 32768, MESSAGE = 5000, ROUNDS = 12, STEP = 13 };

static const uint8_t psk[16] = {1, 2, 3, 4, 5, 6, 7, 8};
static uint64_t seed;

/* ------------------------------------------------------------ the heap */

#ifdef MEASURE
static bool of_client;
static size_t heap, heap_peak;
void *__real_calloc(size_t n, size_t size);
void __real_free(void *p);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *p);

/* What was allocated for the client carries a mark before it. */
enum { MARK = 16 };

void *__wrap_calloc(size_t n, size_t size) {
  size_t bytes = n * size;
  uint8_t *p = (uint8_t *)__real_calloc(1, bytes + MARK);
  if (p == NULL) return NULL;
  memcpy(p, &bytes, sizeof bytes);
  p[sizeof bytes] = of_client;
  if (of_client) heap += bytes;
  if (heap > heap_peak) heap_peak = heap;
  return p + MARK;
}

void __wrap_free(void *p) {
  size_t bytes;
  if (p == NULL) return;
  uint8_t *from = (uint8_t *)p - MARK;
  memcpy(&bytes, from, sizeof bytes);
  if (from[sizeof bytes]) heap -= bytes;
  __real_free(from);
}
enum { MEASURING = 1 };
#else
static bool of_client;
static size_t heap, heap_peak;
enum { MEASURING = 0 };
#endif

/* ------------------------------------------------------------ the wire */

struct pipe {
  uint8_t bytes[WIRE];
  size_t begin, end;
};

static struct {
  struct pipe up, down; /* from the client, and to it */
  bool up_closed, down_closed, stuck;
  size_t most; /* bytes in one call */
  size_t cut;  /* after so many bytes to the client the connection ends; 0: never */
  size_t shown, given;
} wire;

static size_t some(size_t n) {
  size_t most = wire.most < n ? wire.most : n;
  return most == 0 ? 0 : (size_t)(draw(&seed) % (most + 1));
}

static size_t put(struct pipe *p, const uint8_t *data, size_t n) {
  if (p->begin == p->end) p->begin = p->end = 0;
  if (n > WIRE - p->end) n = WIRE - p->end;
  memcpy(p->bytes + p->end, data, n);
  p->end += n;
  return n;
}

static int net_connect(void *ctx, const char *host, uint16_t port) {
  (void)ctx, (void)host, (void)port;
  return draw(&seed) % 3 == 0 ? WEIR_OK : WEIR_BUSY;
}

static int net_peek(void *ctx, const uint8_t **data, size_t *size) {
  (void)ctx;
  size_t n = wire.down.end - wire.down.begin;
  if (wire.cut != 0 && wire.given + n > wire.cut) n = wire.cut - wire.given;
  if (n == 0) return wire.down_closed || (wire.cut != 0 && wire.given >= wire.cut) ? WEIR_E_GONE : WEIR_BUSY;
  n = some(n);
  if (n == 0) return WEIR_BUSY;
  *data = wire.down.bytes + wire.down.begin;
  *size = wire.shown = n;
  return WEIR_OK;
}

static void net_take(void *ctx, size_t n) {
  (void)ctx;
  CHECK(n <= wire.shown);
  wire.shown -= n;
  wire.given += n;
  wire.down.begin += n;
}

static int32_t net_write(void *ctx, const uint8_t *data, size_t n) {
  (void)ctx;
  if (wire.up_closed) return WEIR_E_GONE;
  return wire.stuck ? 0 : (int32_t)put(&wire.up, data, some(n));
}

static void net_close(void *ctx) {
  (void)ctx;
  wire.up_closed = true;
}

static struct weir_net inner = {NULL, net_connect, net_peek, net_take, net_write, NULL, net_close, 0};

static int random_bytes(void *ctx, uint8_t *out, size_t n) {
  (void)ctx;
  for (size_t i = 0; i < n; i++) out[i] = (uint8_t)draw(&seed);
  return WEIR_OK;
}

static const struct weir_random random_port = {NULL, random_bytes};

/* ---------------------------------------------------------- the server */

static mbedtls_ssl_context server;
static mbedtls_ssl_config server_config;
static bool server_up;

static int server_random(void *ctx, unsigned char *out, size_t n) { return random_bytes(ctx, out, n); }

static int server_receive(void *ctx, unsigned char *to, size_t n) {
  (void)ctx;
  size_t have = wire.up.end - wire.up.begin;
  if (have == 0) return wire.up_closed ? 0 : MBEDTLS_ERR_SSL_WANT_READ;
  if (n > have) n = have;
  memcpy(to, wire.up.bytes + wire.up.begin, n);
  wire.up.begin += n;
  return (int)n;
}

static int server_send(void *ctx, const unsigned char *data, size_t n) {
  (void)ctx;
  n = put(&wire.down, data, n);
  return n == 0 ? MBEDTLS_ERR_SSL_WANT_WRITE : (int)n;
}

static void server_begin(void) {
  of_client = false;
  mbedtls_ssl_init(&server);
  mbedtls_ssl_config_init(&server_config);
  CHECK_EQ(mbedtls_ssl_config_defaults(&server_config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT), 0);
  mbedtls_ssl_conf_rng(&server_config, server_random, NULL);
  CHECK_EQ(mbedtls_ssl_conf_psk(&server_config, psk, sizeof psk, (const unsigned char *)"d1", 2), 0);
  CHECK_EQ(mbedtls_ssl_setup(&server, &server_config), 0);
  mbedtls_ssl_set_bio(&server, NULL, server_send, server_receive, NULL);
  server_up = false;
  of_client = true;
}

static void server_end(void) {
  mbedtls_ssl_free(&server);
  mbedtls_ssl_config_free(&server_config);
}

static void serve(void) {
  of_client = false;
  if (!server_up) server_up = mbedtls_ssl_handshake(&server) == 0;
  of_client = true;
}

/* ----------------------------------------------------------- the tests */

static struct weir_tls tls;

static void begin(const uint8_t *key, size_t most) {
  const struct weir_tls_config c = {.inner = &inner, .random = &random_port, .identity = "d1", .psk = key, .psk_size = sizeof psk};
  memset(&wire, 0, sizeof wire);
  wire.most = most;
  server_begin();
  int r = weir_tls_init(&tls, &c);
  CHECK_EQ(r, WEIR_OK);
}

static void end(void) {
  weir_tls_free(&tls);
  server_end();
}

/* Whether the handshake came to an end, and how. */
static int connect(void) {
  for (unsigned i = 0; i < 1000000; i++) {
    int r = tls.net.connect(tls.net.ctx, "broker", 8883);
    if (r != WEIR_BUSY) return r;
    serve();
  }
  return WEIR_BUSY;
}

static void connected(size_t most) {
  begin(psk, most);
  CHECK_EQ(connect(), WEIR_OK);
  for (unsigned i = 0; i < 100000 && !server_up; i++) {
    tls.net.flush(tls.net.ctx); /* the last bytes may still wait for room */
    serve();
  }
  CHECK(server_up);
}

/* One byte of a message: every place has its own. */
static uint8_t at(size_t i) { return (uint8_t)(i * 7 + i / 251); }

static void client_sends(size_t n) {
  static uint8_t message[MESSAGE], got[MESSAGE];
  size_t sent = 0, have = 0;
  for (size_t i = 0; i < n; i++) message[i] = at(i);
  for (unsigned turn = 0; have < n; turn++) {
    CHECK(turn < 10000000);
    int32_t r = sent < n ? tls.net.write(tls.net.ctx, message + sent, n - sent) : 0;
    CHECK(r >= 0 && r <= WEIR_TLS_FRAGMENT);
    sent += (size_t)r;
    tls.net.flush(tls.net.ctx);
    int s = mbedtls_ssl_read(&server, got + have, n - have);
    if (s > 0) have += (size_t)s;
    else CHECK_EQ(s, MBEDTLS_ERR_SSL_WANT_READ);
  }
  CHECK(memcmp(message, got, n) == 0);
  CHECK(!weir_tls_pending(&tls));
}

/* Takes what is shown in small parts, and reads on until n bytes came. */
static void client_receives(size_t n) {
  size_t have = 0;
  for (unsigned turn = 0; have < n; turn++) {
    const uint8_t *data;
    size_t size;
    CHECK(turn < 10000000);
    int r = tls.net.peek(tls.net.ctx, &data, &size);
    if (r == WEIR_BUSY) continue;
    CHECK_EQ(r, WEIR_OK);
    CHECK(size > 0 && size <= WEIR_TLS_FRAGMENT);
    size = 1 + (size_t)(draw(&seed) % size);
    for (size_t i = 0; i < size; i++) CHECK_EQ(data[i], at(have + i));
    tls.net.take(tls.net.ctx, size);
    have += size;
  }
  CHECK_EQ(have, n);
}

static void server_sends(size_t n) {
  static uint8_t message[16384];
  for (size_t i = 0; i < n; i++) message[i] = at(i);
  for (size_t sent = 0; sent < n;) {
    int r = mbedtls_ssl_write(&server, message + sent, n - sent);
    CHECK(r > 0);
    sent += (size_t)r;
  }
}

static void bytes_come_through_in_any_parts(void) {
  for (unsigned i = 0; i < ROUNDS; i++) {
    connected(1 + (size_t)(draw(&seed) % (i % 4 == 0 ? 3 : 2000)));
    for (unsigned k = 0; k < 4; k++) {
      size_t n = 1 + (size_t)(draw(&seed) % MESSAGE);
      client_sends(n);
      server_sends(n);
      client_receives(n);
    }
    end();
  }
}

/* The wire takes nothing: one record waits, no more is accepted, and it all goes on once there is room. */
static void back_pressure_is_passed_on(void) {
  static uint8_t message[MESSAGE];
  connected(4096);
  wire.stuck = true;
  int32_t first = tls.net.write(tls.net.ctx, message, sizeof message);
  CHECK_EQ(first, WEIR_TLS_FRAGMENT);
  CHECK(weir_tls_pending(&tls));
  for (unsigned i = 0; i < 100; i++) {
    int32_t r = tls.net.write(tls.net.ctx, message, sizeof message);
    CHECK_EQ(r, 0);
  }
  wire.stuck = false;
  uint8_t got[WEIR_TLS_FRAGMENT];
  int n = MBEDTLS_ERR_SSL_WANT_READ;
  for (unsigned i = 0; i < 1000 && n == MBEDTLS_ERR_SSL_WANT_READ; i++) {
    tls.net.flush(tls.net.ctx);
    n = mbedtls_ssl_read(&server, got, sizeof got);
  }
  CHECK_EQ(n, WEIR_TLS_FRAGMENT);
  /* While decrypted bytes wait, the inner stream is left alone. */
  server_sends(300);
  const uint8_t *data;
  size_t size, left;
  int r = WEIR_BUSY;
  while (r == WEIR_BUSY) r = tls.net.peek(tls.net.ctx, &data, &size);
  CHECK_EQ(r, WEIR_OK);
  server_sends(300);
  left = wire.down.end - wire.down.begin;
  for (unsigned i = 0; i < 100; i++) r = tls.net.peek(tls.net.ctx, &data, &size);
  CHECK_EQ(r, WEIR_OK);
  CHECK_EQ(wire.down.end - wire.down.begin, left);
  end();
}

/* The connection ends after so many bytes of the handshake: it fails, nothing is shown, and the next one works. */
static void a_handshake_that_is_cut_anywhere_fails(void) {
  connected(WIRE);
  size_t all = wire.given;
  end();
  CHECK(all > 50);
  for (size_t cut = 1 + (size_t)(draw(&seed) % STEP); cut < all; cut += STEP) {
    const uint8_t *data;
    size_t size;
    begin(psk, WIRE);
    wire.cut = cut;
    CHECK_EQ(connect(), WEIR_E_IO);
    int r = tls.net.peek(tls.net.ctx, &data, &size);
    CHECK_EQ(r, WEIR_E_IO);
    r = tls.net.write(tls.net.ctx, psk, sizeof psk);
    CHECK_EQ(r, WEIR_E_IO);
    server_end();
    memset(&wire, 0, sizeof wire);
    wire.most = WIRE;
    server_begin();
    CHECK_EQ(connect(), WEIR_OK);
    end();
  }
}

/* A server that does not know the length extension: a record of 16 KB comes through a buffer of one fragment. */
static void a_record_longer_than_the_buffer_is_read_in_parts(void) {
  connected(700);
  server.session->mfl_code = 0;
  server.session_out->mfl_code = 0;
  size_t before = wire.down.end;
  server_sends(16384);
  CHECK(wire.down.end - before < 16384 + 100); /* it was one record */
  client_receives(16384);
  client_sends(100);
  end();
}

static void an_end_comes_after_what_was_sent_before_it(void) {
  const uint8_t *data;
  size_t size;
  for (unsigned notify = 0; notify < 2; notify++) {
    connected(WIRE);
    server_sends(500);
    if (notify) CHECK_EQ(mbedtls_ssl_close_notify(&server), 0);
    wire.down_closed = true;
    client_receives(500);
    int r = WEIR_BUSY;
    for (unsigned i = 0; i < 1000 && r == WEIR_BUSY; i++) r = tls.net.peek(tls.net.ctx, &data, &size);
    CHECK_EQ(r, WEIR_E_GONE);
    r = tls.net.write(tls.net.ctx, psk, sizeof psk);
    CHECK(r < 0);
    end();
  }
}

static void a_damaged_record_ends_the_connection(void) {
  const uint8_t *data;
  size_t size;
  connected(WIRE);
  server_sends(500);
  wire.down.bytes[wire.down.begin + 100] ^= 1;
  int r = WEIR_BUSY;
  for (unsigned i = 0; i < 1000 && r == WEIR_BUSY; i++) r = tls.net.peek(tls.net.ctx, &data, &size);
  CHECK_EQ(r, WEIR_E_IO);
  end();
}

static void a_wrong_key_is_refused(void) {
  static const uint8_t wrong[16] = {9};
  begin(wrong, 500);
  int r = WEIR_BUSY;
  for (unsigned i = 0; i < 100000 && r == WEIR_BUSY; i++) {
    r = tls.net.connect(tls.net.ctx, "broker", 8883);
    if (!server_up && mbedtls_ssl_handshake(&server) == 0) server_up = true;
    if (i > 90000) wire.down_closed = true; /* the server hangs up */
  }
  CHECK_EQ(r, WEIR_E_IO);
  CHECK(!server_up);
  end();
}

int main(int argc, char **argv) {
  seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
  printf("tls: seed %llu, fragments of %d bytes\n", (unsigned long long)seed, WEIR_TLS_FRAGMENT);
  if (MEASURING) {
    connected(WIRE);
    client_sends(MESSAGE);
    printf("tls: struct weir_tls %zu bytes; from the heap %zu at most, %zu while connected (shared key)\n", sizeof tls, heap_peak, heap);
    end();
    CHECK_EQ(heap, 0);
    return 0;
  }
  bytes_come_through_in_any_parts();
  back_pressure_is_passed_on();
  a_handshake_that_is_cut_anywhere_fails();
  a_record_longer_than_the_buffer_is_read_in_parts();
  an_end_comes_after_what_was_sent_before_it();
  a_damaged_record_ends_the_connection();
  a_wrong_key_is_refused();
  return 0;
}
