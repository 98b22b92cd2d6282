/* The record's body, written as values come (docs/format/record.md). */
#include <string.h>

#include "check_internal.h"

enum { LONGEST_DECIMAL = 15, LONGEST_TIME = 10 };
enum { HEAD_FULL = 0x40, HEAD_RAW = 0x80, SYMBOLS = 40 };

static uint32_t put_varint(uint8_t *out, uint64_t v) {
  uint32_t n = 0;
  while (v >= 0x80) {
    out[n++] = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  out[n++] = (uint8_t)v;
  return n;
}

static uint64_t zigzag(int64_t v) { return (uint64_t)v << 1 ^ (uint64_t)(v < 0 ? -1 : 0); }

/* The number of a character of a capture; SYMBOLS where it has none. */
static uint32_t symbol(uint8_t ch) {
  if ((uint8_t)(ch - '0') <= 9) return ch - '0' + 2u;
  if ((uint8_t)(ch - 'a') <= 25) return ch - 'a' + 12u;
  if (ch == '-') return 38;
  return ch == '_' ? 39u : SYMBOLS;
}

/* Symbols on their way into groups. */
struct packer {
  uint8_t *out;
  uint32_t group;
  uint32_t filled;
};

static inline void pack(struct packer *k, uint32_t s) {
  k->group = k->group * SYMBOLS + s;
  if (++k->filled < 3) return;
  *k->out++ = (uint8_t)k->group;
  *k->out++ = (uint8_t)(k->group >> 8);
  k->group = k->filled = 0;
}

/* Captures as groups of three characters; 0 where a character has no number. */
static uint32_t put_symbols(uint8_t *out, const struct weir_captures *captures) {
  struct packer k = {out, 0, 0};
  for (uint32_t i = 0; i < captures->count; i++) {
    const char *text = captures->topic + captures->values[i].at, *end = text + captures->values[i].size;
    if (i > 0) pack(&k, 1);
    while (text < end) {
      uint32_t s = symbol((uint8_t)*text++);
      if (s == SYMBOLS) return 0;
      pack(&k, s);
    }
  }
  do {
    pack(&k, 0); /* the end, and what fills up the last group */
  } while (k.filled > 0);
  return (uint32_t)(k.out - out);
}

void weir_body_begin(struct weir_check *c, const struct weir_captures *captures) {
  c->body[0] = c->slot;
  uint32_t n = 1;
  if (captures->count > 0) {
    uint32_t symbols = put_symbols(c->body + 1, captures);
    if (symbols == 0) {
      uint32_t at = 2;
      for (uint32_t i = 0; i < captures->count; i++) {
        if (i > 0) c->body[at++] = '/';
        memcpy(c->body + at, captures->topic + captures->values[i].at, captures->values[i].size);
        at += captures->values[i].size;
      }
      c->body[0] |= HEAD_RAW;
      c->body[1] = (uint8_t)(at - 2);
      symbols = at - 1;
    }
    n += symbols;
  }
  uint32_t fields = (uint32_t)c->plan[PLAN_TAGS] + c->plan[PLAN_COLUMNS];
  uint32_t tail = (c->plan[PLAN_TIME] != TIME_NONE ? LONGEST_TIME : 0) + (fields + 7) / 8; /* inserted by body_end */
  uint32_t most = read16(c->plan + PLAN_BODY_MAX);
  c->room = most > tail ? most - tail : 0;
  if (n > c->room) weir_check_later(c, WEIR_CODE_TEXT, 0, 0);
  c->head = (uint16_t)n;
  c->size = n;
  c->present = 0;
}

/* Makes room for the value of a field, after those of the fields before it. NULL: a plan
 * that promises shorter records than it makes; only a forged one can. */
static uint8_t *body_room(struct weir_check *c, uint32_t field, uint32_t n) {
  uint32_t at = c->size;
  if (c->present >> field & 1 || at + n > c->room) {
    weir_check_later(c, WEIR_CODE_TEXT, c->node, c->start);
    return NULL;
  }
  if (c->present >> field != 0) { /* a payload in another order than the schema's */
    at = c->head;
    for (uint32_t i = 0; i < field; i++) {
      if (c->present >> i & 1) at += c->lengths[i];
    }
    memmove(c->body + at + n, c->body + at, c->size - at);
  }
  c->present |= UINT32_C(1) << field;
  c->lengths[field] = (uint8_t)n;
  c->size += n;
  return c->body + at;
}

static void body_put(struct weir_check *c, uint32_t field, const uint8_t *bytes, uint32_t n) {
  uint8_t *to = body_room(c, field, n);
  for (uint32_t i = 0; to != NULL && i < n; i++) to[i] = bytes[i];
}

void weir_body_decimal(struct weir_check *c, uint32_t field, const struct decimal *d) {
  uint8_t room[16];
  bool in_order = c->present >> field == 0 && c->size + LONGEST_DECIMAL <= c->room;
  uint8_t *out = in_order ? c->body + c->size : room; /* which has room for the longest that a field may have */
  bool plain = d->exponent <= 0 && d->exponent >= -6;
  uint64_t m = d->mantissa;
  uint32_t n = 1;
  out[0] = (uint8_t)((plain ? (uint32_t)-d->exponent : 7u) | (d->negative ? 8u : 0u) | (uint32_t)(m & 7) << 4);
  if (m >> 32 != 0) {
    out[0] |= 0x80;
    n += put_varint(out + 1, m >> 3);
  } else if (m >= 8) { /* most: 32 bits are enough */
    uint32_t rest = (uint32_t)m >> 3;
    out[0] |= 0x80;
    while (rest >= 0x80) {
      out[n++] = (uint8_t)(rest | 0x80);
      rest >>= 7;
    }
    out[n++] = (uint8_t)rest;
  }
  if (!plain) n += put_varint(out + n, zigzag(d->exponent));
  if (in_order) {
    c->present |= UINT32_C(1) << field;
    c->lengths[field] = (uint8_t)n;
    c->size += n;
  } else {
    body_put(c, field, out, n);
  }
}

void weir_body_integer(struct weir_check *c, uint32_t field, int64_t value) {
  uint8_t out[10];
  uint32_t n = put_varint(out, zigzag(value));
  body_put(c, field, out, n);
}

void weir_body_byte(struct weir_check *c, uint32_t field, uint8_t value) { body_put(c, field, &value, 1); }

void weir_body_text(struct weir_check *c, uint32_t field, const void *bytes, uint32_t n) {
  uint8_t out[2];
  uint32_t prefix = put_varint(out, n);
  uint8_t *to = body_room(c, field, prefix + n);
  if (to == NULL) return;
  memcpy(to, out, prefix);
  memcpy(to + prefix, bytes, n);
}

void weir_body_end(struct weir_check *c) {
  uint8_t out[10 + 4] = {0};
  uint32_t n = 0;
  c->body[0] |= (uint8_t)(c->time_unit << 4);
  if (c->time_unit != 0) n = put_varint(out, zigzag(c->time));
  uint32_t fields = (uint32_t)c->plan[PLAN_TAGS] + c->plan[PLAN_COLUMNS];
  uint32_t all = fields == 32 ? UINT32_MAX : (UINT32_C(1) << fields) - 1;
  if (c->present == all) {
    c->body[0] |= HEAD_FULL;
  } else {
    for (uint32_t i = 0; i < fields; i += 8) out[n++] = (uint8_t)(c->present >> i);
  }
  memmove(c->body + c->head + n, c->body + c->head, c->size - c->head);
  memcpy(c->body + c->head, out, n);
  c->size += n;
}
