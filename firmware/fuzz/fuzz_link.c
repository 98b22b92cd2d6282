/*
 * The whole recorder on a wire: any bytes of a broker after a good CONNACK, or
 * (first byte odd) any message of a gateway, with a CRC that fits. Nothing is
 * read or written out of place, and nothing is confirmed that was never made.
 */
#include "fuzz.h"
#include "weir/weir.h"

uint32_t weir_crc32(uint32_t crc, const void *data, size_t n);

static const uint8_t *in;
static size_t in_size, in_at;
static uint64_t now;

static int net_connect(void *ctx, const char *host, uint16_t port) {
  (void)ctx, (void)host, (void)port;
  return WEIR_OK;
}
static int net_peek(void *ctx, const uint8_t **data, size_t *size) {
  (void)ctx;
  if (in_at == in_size) return WEIR_BUSY;
  *data = in + in_at;
  *size = in_size - in_at < 7 ? in_size - in_at : 7;
  return WEIR_OK;
}
static void net_take(void *ctx, size_t n) {
  (void)ctx;
  in_at += n;
  if (in_at > in_size) abort();
}
static int32_t net_write(void *ctx, const uint8_t *data, size_t n) {
  volatile uint8_t last = n > 0 ? data[n - 1] : 0;
  (void)ctx, (void)last;
  return (int32_t)n;
}
static void net_close(void *ctx) {
  (void)ctx;
  in_at = in_size;
}
static uint64_t uptime(void *ctx) {
  (void)ctx;
  return now;
}
static int random_bytes(void *ctx, uint8_t *out, size_t n) {
  (void)ctx;
  memset(out, 0x42, n);
  return WEIR_OK;
}

static const struct weir_net net = {NULL, net_connect, net_peek, net_take, net_write, NULL, net_close, 0};
static const struct weir_clock clock_port = {.uptime_us = uptime};
static const struct weir_random random_port = {NULL, random_bytes};

static void turn(struct weir *w, unsigned times) {
  for (unsigned i = 0; i < times; i++) {
    weir_poll(w);
    now += 1000;
  }
}

/* Bytes of the broker: CONNACK, then a PUBLISH to weir/down/d around the message, or the bytes as they are. */
static uint8_t *stream(const uint8_t *data, size_t size, bool down, size_t *n) {
  static const char topic[] = "weir/down/d";
  uint8_t *out = malloc(size + 64);
  size_t k = 0, rest = 2 + sizeof topic - 1 + size + 4;
  if (out == NULL) abort();
  memcpy(out, "\x20\x02\x00\x00", 4);
  k = 4;
  if (down) {
    out[k++] = 0x30;
    for (; rest > 0x7f; rest >>= 7) out[k++] = (uint8_t)(rest | 0x80);
    out[k++] = (uint8_t)rest;
    out[k++] = 0;
    out[k++] = sizeof topic - 1;
    memcpy(out + k, topic, sizeof topic - 1);
    k += sizeof topic - 1;
  }
  memcpy(out + k, data, size);
  k += size;
  if (down) {
    uint32_t crc = weir_crc32(0, data, size);
    for (int i = 0; i < 4; i++) out[k++] = (uint8_t)(crc >> (8 * i));
  }
  *n = k;
  return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct weir w;
  static _Alignas(8) uint8_t ring[2048], batch[768], plans[2][512];
  static const uint8_t key[32] = {1};
  static const char payload[] = "{\"ts\":1750000000123,\"temperature\":21.5}";
  const struct weir_config config = {.device = "d", .host = "h", .qos = 1, .overflow = WEIR_DROP_OLDEST, .schema_key = key};
  const struct weir_ports ports = {.clock = &clock_port, .random = &random_port, .net = &net};
  const struct weir_memory memory = {ring, sizeof ring, plans[0], sizeof plans[0], 2, batch, sizeof batch};
  uint64_t made = 0;
  if (size < 2 || size > 4000) return 0;
  now = 0;
  if (weir_init(&w, &config, &ports, &memory) != WEIR_OK || weir_add_schema(&w, weir_schema_env, weir_schema_env_size) != WEIR_OK) abort();
  in = NULL;
  in_size = in_at = 0;
  turn(&w, 3);
  for (int i = 0; i < 5; i++) weir_record(&w, "plants/p/lines/l/devices/d/env", payload, sizeof payload - 1, &made);
  uint8_t *bytes = stream(data + 1, size - 1, (data[0] & 1) != 0, &in_size);
  in = bytes;
  turn(&w, 40 + (unsigned)in_size);
  if (weir_confirmed(&w) >= weir_ring_next(&w.ring)) abort();
  if (w.ring.used > w.ring.size || w.uplink.ask_count > WEIR_ASKS || w.uplink.window_count > WEIR_WINDOW) abort();
  free(bytes);
  return 0;
}
