/* The record's body, written as values come (docs/format/record.md). */
#include <string.h>

#include "check_internal.h"

enum { LONGEST_DECIMAL = 15, LONGEST_TIME = 10 };
enum { HEAD_UNIT = 0x30, HEAD_FULL = 0x40, HEAD_RAW = 0x80, SYMBOLS = 40 };

/* A varint of 32 bits: steps of 64 are dear on small processors. */
static inline uint8_t *put_narrow(uint8_t *to, uint32_t v) {
  while (v >= 0x80) {
    *to++ = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  *to++ = (uint8_t)v;
  return to;
}

static uint32_t put_varint(uint8_t *out, uint64_t v) {
  uint8_t *to = out;
  while (v >> 32 != 0) {
    *to++ = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  return (uint32_t)(put_narrow(to, (uint32_t)v) - out);
}

static uint64_t zigzag(int64_t v) { return (uint64_t)v << 1 ^ (uint64_t)(v < 0 ? -1 : 0); }

/* The number of a character of a capture, from '-' to 'z'; 0 where it has none. */
static const uint8_t numbers['z' - '-' + 1] = {
    38, 0,  0,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  39, 0,  12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37,
};

/* Symbols on their way into groups. */
struct packer {
  uint8_t *out;
  uint32_t group;
  uint32_t missing; /* of the group */
};

static inline void pack(struct packer *k, uint32_t s) {
  k->group = k->group * SYMBOLS + s;
  if (--k->missing > 0) return;
  k->out[0] = (uint8_t)k->group;
  k->out[1] = (uint8_t)(k->group >> 8);
  k->out += 2;
  k->group = 0;
  k->missing = 3;
}

/* Captures as groups of three characters; 0 where a character has no number. */
static uint32_t put_symbols(uint8_t *out, const struct weir_captures *captures) {
  struct packer k = {out, 0, 3};
  for (uint32_t i = 0; i < captures->count; i++) {
    const char *text = captures->topic + captures->values[i].at, *end = text + captures->values[i].size;
    if (i > 0) pack(&k, 1);
    while (text < end) {
      uint32_t ch = (uint8_t)*text++ - (uint32_t)'-';
      if (ch >= sizeof numbers || numbers[ch] == 0) return 0;
      pack(&k, numbers[ch]);
    }
  }
  do {
    pack(&k, 0); /* the end, and what fills up the last group */
  } while (k.missing < 3);
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

/* Where a value of at most `most` bytes may be written without moving others, or NULL. */
static inline uint8_t *body_next(struct weir_check *c, uint32_t field, uint32_t most) {
  return c->present >> field == 0 && c->size + most <= c->room ? c->body + c->size : NULL;
}

static inline void body_wrote(struct weir_check *c, uint32_t field, uint32_t n) {
  c->present |= UINT32_C(1) << field;
  c->lengths[field] = (uint8_t)n;
  c->size += n;
}

void weir_body_decimal(struct weir_check *c, uint32_t field, const struct decimal *d) {
  uint8_t room[16];
  uint8_t *next = body_next(c, field, LONGEST_DECIMAL), *out = next != NULL ? next : room, *to = out + 1;
  bool plain = d->exponent <= 0 && d->exponent >= -6;
  uint32_t low = (uint32_t)d->mantissa, high = (uint32_t)(d->mantissa >> 32);
  uint32_t first = (plain ? (uint32_t)-d->exponent : 7u) | (d->negative ? 8u : 0u) | (low & 7) << 4;
  if (high != 0 || low >= 8) {
    first |= 0x80;
    to = high == 0 ? put_narrow(to, low >> 3) : to + put_varint(to, d->mantissa >> 3);
  }
  out[0] = (uint8_t)first;
  if (!plain) to += put_varint(to, zigzag(d->exponent));
  if (next != NULL) {
    body_wrote(c, field, (uint32_t)(to - out));
  } else {
    body_put(c, field, out, (uint32_t)(to - out));
  }
}

void weir_body_integer(struct weir_check *c, uint32_t field, int64_t value) {
  uint8_t out[10];
  uint32_t n = put_varint(out, zigzag(value));
  body_put(c, field, out, n);
}

void weir_body_byte(struct weir_check *c, uint32_t field, uint8_t value) {
  uint8_t *next = body_next(c, field, 1);
  if (next != NULL) {
    *next = value;
    body_wrote(c, field, 1);
  } else {
    body_put(c, field, &value, 1);
  }
}

void weir_body_text(struct weir_check *c, uint32_t field, const void *bytes, uint32_t n) {
  uint8_t out[2];
  uint32_t prefix = put_varint(out, n);
  uint8_t *to = body_room(c, field, prefix + n);
  if (to == NULL) return;
  memcpy(to, out, prefix);
  memcpy(to + prefix, bytes, n);
}

/* Only of a document: a bare value may yet turn out to be one of null_values, which takes everything back. */
void weir_body_time(struct weir_check *c) {
  if (c->present != 0 || c->plan[PLAN_PAYLOAD] != PAYLOAD_JSON) return;
  if ((c->body[0] & HEAD_UNIT) != 0) { /* a second time, which only a forged plan has */
    c->time_unit = 0;
    return;
  }
  uint32_t n = put_varint(c->body + c->head, zigzag(c->time));
  c->body[0] |= (uint8_t)(c->time_unit << 4);
  c->time_unit = 0; /* nothing is left to be written */
  c->head = (uint16_t)(c->head + n);
  c->size += n;
  c->room += n; /* it was kept free for the time */
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
  if (n == 0) return;
  memmove(c->body + c->head + n, c->body + c->head, c->size - c->head);
  memcpy(c->body + c->head, out, n);
  c->size += n;
}
