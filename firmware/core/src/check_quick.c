/*
 * The usual member of an object, without the way through the states: the name
 * that comes next in the schema, then a plain number or string, all of it in the
 * piece at hand. It decides nothing of its own: what is not usual is left as it
 * stands to check.c, and values go the same way as there.
 */
#include <stddef.h>

#include "check_internal.h"

enum { NARROW_DIGITS = 9, WIDE_DIGITS = 18 }; /* fit in 32 and 64 bits */

/* Whether a byte may stand in a plain number; so may a slash, for one comparison's sake. */
static inline bool in_number(uint8_t ch) { return (uint8_t)(ch - '-') <= '9' - '-'; }

/* The value of count digits, a point among them, of which `low` is what 32 bits hold: all but the last nine are read
 * again, and what they leave of `low` is the last nine. */
static uint64_t widen(const uint8_t *q, uint32_t count, uint32_t low) {
  uint32_t high = 0;
  for (uint32_t left = count - NARROW_DIGITS; left > 0; q++) {
    if (*q == '.') continue;
    high = high * 10 + ((uint32_t)*q - '0');
    left--;
  }
  return (uint64_t)high * 1000000000u + (low - high * 1000000000u);
}

/* Reads a number of plain shape: a sign, at most 18 digits, a point, and then a comma or the object's end. Where it
 * ends, or NULL. It stops by itself: some byte that is in no number stands behind. */
static inline const uint8_t *quick_number(const uint8_t *q, struct decimal *d) {
  const uint8_t *first, *point = NULL;
  uint32_t m = 0, digit, count;
  d->negative = *q == '-';
  if (*q == '-') q++;
  first = q;
  for (digit = (uint32_t)*q - '0'; digit <= 9; digit = (uint32_t)*++q - '0') m = m * 10 + digit;
  count = (uint32_t)(q - first);
  if (count != 1 && (count == 0 || *first == '0')) return NULL;
  d->exponent = 0;
  if (*q == '.') {
    point = ++q;
    for (digit = (uint32_t)*q - '0'; digit <= 9; digit = (uint32_t)*++q - '0') m = m * 10 + digit;
    if (q == point) return NULL;
    count += (uint32_t)(q - point);
    d->exponent = (int32_t)(point - q);
  }
  if (*q != ',' && *q != '}') return NULL;
  d->mantissa = m;
  if (count > NARROW_DIGITS) {
    if (count > WIDE_DIGITS) return NULL;
    d->mantissa = widen(first, count, m);
  }
  if (d->mantissa == 0) d->exponent = 0;
  return q;
}

/* Where a string of plain characters that begins at q has its closing quote, or NULL. */
static inline const uint8_t *quick_string(const uint8_t *q, const uint8_t *end) {
  if (end - q > WEIR_TEXT_MAX) end = q + WEIR_TEXT_MAX;
  for (; q < end; q++) {
    uint8_t ch = *q;
    if (ch == '"') return q;
    if (ch < 0x20 || ch >= 0x80 || ch == '\\') return NULL;
  }
  return NULL;
}

/* Takes the string from after its quote to its closing quote. */
static inline void take_string(struct weir_check *c, const uint8_t *q, uint32_t size) {
  for (uint32_t k = 0; k < size; k++) c->text[k] = q[k];
  c->text_size = (uint8_t)size;
  c->text_over = false;
  c->runes = size;
  weir_check_string(c);
}

/* How many properties from `first` on may come now: those that were not there yet, as far as names are left. */
static inline uint32_t may_come(const struct weir_check *c, const struct weir_level *l, uint32_t all, uint32_t first) {
  uint32_t left = first < all ? all - first : 0, names = WEIR_NAMES_MAX - c->named;
  if (left == 0) return 0;
  uint32_t seen = l->seen >> first; /* of an object in the schema's order: none */
  for (uint32_t i = 0; seen != 0 && i < left; i++) {
    if (seen >> i & 1) left = i;
  }
  return names < left ? names : left;
}

uint32_t weir_check_quick(struct weir_check *c, const uint8_t *p, uint32_t n) {
  const uint8_t *plan = c->plan, *begin = p, *end = p + n;
  struct weir_level *l = &c->levels[c->depth - 1];
  uint32_t object = l->node == 0 ? 0 : read16(plan + l->node + NODE_OBJECT), first = l->count, taken = 0;
  const uint32_t behind = c->at - (uint32_t)(uintptr_t)p; /* from addresses to offsets, modulo 2^32 */
  if (object == 0 || c->refused || (plan[object + 1] & OBJECT_PLAIN) == 0) return 0;
  uint32_t left = may_come(c, l, plan[object], first);
  const uint8_t *entry = plan + object + OBJECT_HEAD + OBJECT_ENTRY * first;
  while (end > p && in_number(end[-1])) end--; /* a number that goes on in the next piece */
  while (taken < left) {
    /* p is at the quote of a name. */
    const uint8_t *name = plan + read16(entry), *q;
    uint32_t size = *name++, child = read16(entry + 2);
    struct decimal d;
    if ((uint32_t)(end - p) < size + 6) break;
    q = p + size + 3;
    if (q[-2] != '"' || q[-1] != ':' || !same_bytes(p + 1, name, size)) break;
    if (child == 0 || child == NODE_REFUSED || plan[child + NODE_USE] == USE_LIST) break;
    if (*q == ' ') q++;
    const uint8_t *value = q;
    if (*q == '"') {
      q = quick_string(q + 1, end);
      if (q == NULL) break;
    } else {
      q = quick_number(q, &d);
      if (q == NULL) break;
    }
    c->node = (uint16_t)child;
    c->start = (uint32_t)(uintptr_t)value + behind;
    c->state = S_AFTER;
    taken++;
    entry += OBJECT_ENTRY;
    p = q;
    if (*value == '"') {
      p++;
      take_string(c, value + 1, (uint32_t)(q - value) - 1);
    } else {
      weir_check_decimal(c, &d);
    }
    if (c->refused || end - p < 3 || *p != ',') break;
    q = p[1] == ' ' ? p + 2 : p + 1;
    if (*q != '"') break;
    c->state = S_NAME;
    p = q;
  }
  if (taken == 0) return 0;
  c->named = (uint8_t)(c->named + taken);
  l->named = (uint8_t)(l->named + taken);
  l->count = (uint16_t)(first + taken);
  l->seen |= (UINT32_MAX >> (32 - taken)) << first;
  return (uint32_t)(p - begin);
}
