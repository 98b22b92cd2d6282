/* wire.h: a network for tests: two byte queues in memory, with limits that a test sets. */
#ifndef WIRE_H
#define WIRE_H

#include <string.h>

#include "check.h"
#include "weir/port.h"

enum { WIRE_SIZE = 1 << 20 };

struct wire {
  struct weir_net net;
  uint8_t *in, *out; /* to the device, from it */
  size_t in_n, in_at, out_n;
  size_t stretch;    /* most bytes that peek shows; 0: all */
  size_t accept;     /* most bytes that one write takes */
  bool refuses, cut, connected;
  unsigned connects;
};

static int wire_connect(void *ctx, const char *host, uint16_t port) {
  struct wire *w = (struct wire *)ctx;
  (void)host;
  (void)port;
  if (w->refuses) return WEIR_E_IO;
  w->in_n = w->in_at = w->out_n = 0;
  w->connected = true;
  w->cut = false;
  w->connects++;
  return WEIR_OK;
}

static int wire_peek(void *ctx, const uint8_t **data, size_t *size) {
  struct wire *w = (struct wire *)ctx;
  size_t n = w->in_n - w->in_at;
  if (n == 0) return w->cut ? WEIR_E_GONE : WEIR_BUSY;
  if (w->stretch > 0 && n > w->stretch) n = w->stretch;
  *data = w->in + w->in_at;
  *size = n;
  return WEIR_OK;
}

static void wire_take(void *ctx, size_t n) {
  struct wire *w = (struct wire *)ctx;
  w->in_at += n;
  CHECK(w->in_at <= w->in_n);
}

static int32_t wire_write(void *ctx, const uint8_t *data, size_t n) {
  struct wire *w = (struct wire *)ctx;
  if (w->cut) return WEIR_E_GONE;
  if (n > w->accept) n = w->accept;
  CHECK(w->out_n + n <= WIRE_SIZE);
  memcpy(w->out + w->out_n, data, n);
  w->out_n += n;
  return (int32_t)n;
}

static void wire_close(void *ctx) {
  struct wire *w = (struct wire *)ctx;
  w->connected = false;
  w->in_n = w->in_at = 0;
}

static void wire_init(struct wire *w) {
  memset(w, 0, sizeof *w);
  w->in = (uint8_t *)malloc(WIRE_SIZE);
  w->out = (uint8_t *)malloc(WIRE_SIZE);
  CHECK(w->in != NULL && w->out != NULL);
  w->accept = WIRE_SIZE;
  w->net = (struct weir_net){w, wire_connect, wire_peek, wire_take, wire_write, NULL, wire_close, 0};
}

static inline void wire_free(struct wire *w) {
  free(w->in);
  free(w->out);
}

/* Bytes for the device. */
static inline void wire_say(struct wire *w, const void *data, size_t n) {
  CHECK(w->in_n + n <= WIRE_SIZE);
  memcpy(w->in + w->in_n, data, n);
  w->in_n += n;
}

/* A PUBLISH for the device. */
static inline void wire_publish(struct wire *w, const char *topic, const void *payload, size_t n, uint16_t id, bool dup) {
  uint8_t head[8];
  size_t t = strlen(topic), rest = 2 + t + (id != 0 ? 2u : 0u) + n, k = 0;
  head[k++] = (uint8_t)(0x30 | (id != 0 ? 2 : 0) | (dup ? 8 : 0));
  do {
    head[k++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  head[k++] = (uint8_t)(t >> 8);
  head[k++] = (uint8_t)t;
  wire_say(w, head, k);
  wire_say(w, topic, t);
  if (id != 0) wire_say(w, (uint8_t[]){(uint8_t)(id >> 8), (uint8_t)id}, 2);
  wire_say(w, payload, n);
}

#endif
