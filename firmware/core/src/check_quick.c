/*
 * The usual member of an object, without the way through the states: the name
 * that comes next in the schema, then a plain number or string, all of it in the
 * piece at hand. It decides nothing of its own: what is not usual is left as it
 * stands to check.c, and values go the same way as there.
 */
#include <stddef.h>

#include "check_internal.h"

enum { NARROW_DIGITS = 9, WIDE_DIGITS = 18 }; /* fit in 32 and 64 bits */

/* Goes on with a number of more than 9 digits. */
static const uint8_t *wide_number(const uint8_t *q, const uint8_t *end, const uint8_t *first, const uint8_t **point, struct decimal *d) {
  const uint8_t *stop = end - first > WIDE_DIGITS + 1 ? first + WIDE_DIGITS + 1 : end;
  uint64_t m = d->mantissa;
  for (; q < stop; q++) {
    uint32_t digit = (uint32_t)*q - '0';
    if (digit <= 9) {
      if (q - first == WIDE_DIGITS && *point == NULL) break;
      m = m * 10 + digit;
    } else if (*q == '.' && *point == NULL) {
      *point = q + 1;
    } else {
      break;
    }
  }
  d->mantissa = m;
  return q;
}

/* Reads a number of plain shape: a sign, at most 18 digits, a point. Where it ends, or NULL. */
static const uint8_t *quick_number(const uint8_t *q, const uint8_t *end, struct decimal *d) {
  const uint8_t *point = NULL, *first;
  uint32_t m = 0, digit;
  d->negative = *q == '-';
  if (d->negative) q++;
  first = q;
  const uint8_t *stop = end - q > NARROW_DIGITS ? q + NARROW_DIGITS : end;
  for (; q < stop && (digit = (uint32_t)*q - '0') <= 9; q++) m = m * 10 + digit;
  if (q < stop && *q == '.') {
    point = ++q;
    if (stop < end) stop++;
    for (; q < stop && (digit = (uint32_t)*q - '0') <= 9; q++) m = m * 10 + digit;
  }
  d->mantissa = m;
  if (q == stop) q = wide_number(q, end, first, &point, d);
  if (q >= end || (*q != ',' && *q != '}')) return NULL;
  if (q == first || *first == '.' || point == q || (*first == '0' && is_digit(first[1]))) return NULL;
  d->exponent = point == NULL || d->mantissa == 0 ? 0 : (int32_t)(point - q);
  return q;
}

/* Where a string of plain characters that begins at p[at] has its closing quote, or 0. */
static uint32_t quick_string(const uint8_t *p, uint32_t at, uint32_t n) {
  uint32_t limit = n - at > WEIR_TEXT_MAX ? at + WEIR_TEXT_MAX : n;
  for (; at < limit; at++) {
    uint8_t ch = p[at];
    if (ch == '"') return at;
    if (ch < 0x20 || ch >= 0x80 || ch == '\\') return 0;
  }
  return 0;
}

/* Takes the string from after its quote to its closing quote. */
static void take_string(struct weir_check *c, const uint8_t *p, uint32_t size) {
  for (uint32_t k = 0; k < size; k++) c->text[k] = p[k];
  c->text_size = (uint8_t)size;
  c->text_over = false;
  c->runes = size;
  weir_check_string(c);
}

uint32_t weir_check_quick(struct weir_check *c, const uint8_t *p, uint32_t n) {
  const uint8_t *plan = c->plan;
  struct weir_level *l = &c->levels[c->depth - 1];
  uint32_t object = l->node == 0 ? 0 : read16(plan + l->node + NODE_OBJECT);
  if (object == 0 || c->refused || (plan[object + 1] & OBJECT_PLAIN) == 0) return 0;
  const uint8_t *entry = plan + object + OBJECT_HEAD + OBJECT_ENTRY * l->count;
  uint32_t left = (uint32_t)plan[object] - l->count; /* properties that are still to come */
  uint32_t names = WEIR_NAMES_MAX - c->named, seen = l->seen, bit = UINT32_C(1) << (l->count & 31), taken = 0, at = 0;
  if (names < left) left = names;
  for (; left > 0 && (seen & bit) == 0; left--, entry += OBJECT_ENTRY, bit <<= 1) {
    /* p[at] is the quote of a name. */
    const uint8_t *name = plan + read16(entry);
    uint32_t size = name[0], child = read16(entry + 2), v = at + size + 3, end;
    struct decimal d;
    if (v + 2 >= n || p[v - 2] != '"' || p[v - 1] != ':' || !same_bytes(p + at + 1, name + 1, size)) break;
    if (child == 0 || child == NODE_REFUSED || plan[child + NODE_USE] == USE_LIST) break;
    if (p[v] == ' ') v++;
    bool text = p[v] == '"';
    if (text) {
      end = quick_string(p, v + 1, n);
      if (end == 0) break;
    } else {
      const uint8_t *stop = quick_number(p + v, p + n, &d);
      if (stop == NULL) break;
      end = (uint32_t)(stop - p);
    }
    c->node = (uint16_t)child;
    c->start = c->at + v;
    c->state = S_AFTER;
    if (text) {
      take_string(c, p + v + 1, end - v - 1);
      end++;
    } else {
      weir_check_decimal(c, &d);
    }
    taken++;
    seen |= bit;
    at = end;
    if (c->refused || at + 1 >= n || p[at] != ',') break;
    uint32_t next = p[at + 1] == ' ' ? at + 2 : at + 1;
    if (next >= n || p[next] != '"') break;
    c->state = S_NAME;
    at = next;
  }
  c->named = (uint8_t)(c->named + taken);
  l->named = (uint8_t)(l->named + taken);
  l->count = (uint16_t)(l->count + taken);
  l->seen = seen;
  return at;
}
