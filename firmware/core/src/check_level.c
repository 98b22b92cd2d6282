/* Lists, objects, and the names of members: what is open, and which place of the schema comes next. */
#include "check_internal.h"

#include <string.h>

/* A value ended before the byte at `end`. */
void weir_check_value_done(struct weir_check *c, uint32_t end) {
  if (c->depth == 0) {
    c->mark = end;
    c->state = S_END;
  } else {
    c->state = S_AFTER;
  }
}

/* A list or object opens at c->at. */
void weir_check_open(struct weir_check *c, bool list) {
  uint8_t type = list ? TYPE_ARRAY : TYPE_OBJECT;
  if (c->node != 0 && (c->plan[c->node + NODE_TYPES] & type) == 0) {
    weir_check_refuse(c, WEIR_CODE_TYPE, c->node, c->at);
    if (c->plan[PLAN_PAYLOAD] != PAYLOAD_JSON) {
      c->state = S_STOP;
      return;
    }
  }
  if (c->depth == WEIR_DEPTH_MAX) {
    weir_check_malformed(c, WEIR_CODE_DEPTH, c->at);
    return;
  }
  struct weir_level *l = &c->levels[c->depth++];
  l->at = c->at;
  l->seen = 0;
  l->count = 0;
  l->node = c->node;
  l->list = list;
  l->names = c->unknowns;
  l->named = 0;
  c->state = list ? S_FIRST_VALUE : S_FIRST_NAME;
}

void weir_check_close(struct weir_check *c) {
  struct weir_level *l = check_top(c);
  c->depth--;
  c->unknowns = l->names;
  c->named = (uint8_t)(c->named - l->named);
  weir_check_container(c, l);
  weir_check_value_done(c, c->at + 1);
}

/* The node of the element of a list that comes next. */
void weir_check_next_element(struct weir_check *c) {
  struct weir_level *l = check_top(c);
  uint32_t index = l->count;
  if (l->count < UINT16_MAX) l->count++;
  uint32_t array = l->node == 0 ? 0 : read16(c->plan + l->node + NODE_ARRAY);
  c->node = 0;
  if (array == 0) return;
  const uint8_t *a = c->plan + array;
  c->node = index < a[6] ? read16(a + ARRAY_HEAD + 2 * index) : read16(a + 4);
}

static uint32_t rotl(uint32_t x, unsigned n) { return x << n | x >> (32 - n); }

static void half_sip_rounds(uint32_t v[4], unsigned n) {
  while (n-- > 0) {
    v[0] += v[1];
    v[1] = rotl(v[1], 5) ^ v[0];
    v[0] = rotl(v[0], 16);
    v[2] += v[3];
    v[3] = rotl(v[3], 8) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 7) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 13) ^ v[2];
    v[2] = rotl(v[2], 16);
  }
}

/* HalfSipHash-2-4 of 64 bits (Aumasson, Bernstein): two names of one object that the plan does not know are taken for the
 * same once in 2^64, and nobody who does not know the key can find two that are. */
static uint64_t name_hash(const struct weir_check *c) {
  uint32_t k0 = (uint32_t)c->key, k1 = (uint32_t)(c->key >> 32);
  uint32_t v[4] = {k0, k1 ^ 0xEEu, 0x6c796765u ^ k0, 0x74656462u ^ k1};
  uint32_t n = c->text_size, i = 0;
  for (; i + 4 <= n; i += 4) {
    uint32_t m = read32(c->text + i);
    v[3] ^= m;
    half_sip_rounds(v, 2);
    v[0] ^= m;
  }
  uint32_t last = n << 24;
  for (unsigned shift = 0; i < n; i++, shift += 8) last |= (uint32_t)c->text[i] << shift;
  v[3] ^= last;
  half_sip_rounds(v, 2);
  v[0] ^= last;
  v[2] ^= 0xEEu;
  half_sip_rounds(v, 4);
  uint32_t low = v[1] ^ v[3];
  v[1] ^= 0xDDu;
  half_sip_rounds(v, 4);
  return low | (uint64_t)(v[1] ^ v[3]) << 32;
}

static bool is_name(const struct weir_check *c, const uint8_t *entry) {
  const uint8_t *text = c->plan + read16(entry);
  return text[0] == c->text_size && same_bytes(text + 1, c->text, text[0]);
}

/* A name that the plan does not know. */
static void unknown_name(struct weir_check *c, struct weir_level *l, bool refuse) {
  uint64_t hash = name_hash(c);
  for (uint32_t i = l->names; i < c->unknowns; i++) {
    if (c->unknown[i] == hash) {
      weir_check_malformed(c, WEIR_CODE_DUPLICATE, c->start);
      return;
    }
  }
  c->unknown[c->unknowns++] = hash;
  if (refuse) weir_check_refuse(c, WEIR_CODE_UNKNOWN, l->node, c->start);
}

/* A name is complete: which property is it? The one after the last is tried first. */
void weir_check_name_done(struct weir_check *c) {
  struct weir_level *l = check_top(c);
  uint32_t object = l->node == 0 ? 0 : read16(c->plan + l->node + NODE_OBJECT);
  c->node = 0;
  c->state = S_COLON;
  if (object == 0) {
    unknown_name(c, l, false);
    return;
  }
  const uint8_t *o = c->plan + object;
  uint32_t count = o[0], i = l->count;
  if (i >= count || !is_name(c, o + OBJECT_HEAD + OBJECT_ENTRY * i)) {
    for (i = 0; i < count && !is_name(c, o + OBJECT_HEAD + OBJECT_ENTRY * i); i++) {
    }
  }
  if (i == count) {
    unknown_name(c, l, (o[1] & OBJECT_REFUSES) != 0);
    return;
  }
  if (l->seen >> i & 1) {
    weir_check_malformed(c, WEIR_CODE_DUPLICATE, c->start);
    return;
  }
  l->seen |= UINT32_C(1) << i;
  l->count = (uint16_t)(i + 1);
  c->node = read16(o + OBJECT_HEAD + OBJECT_ENTRY * i + 2);
  if (c->node == NODE_REFUSED) {
    weir_check_refuse(c, WEIR_CODE_UNKNOWN, l->node, c->start);
    c->node = 0;
  }
}

void weir_check_name_begins(struct weir_check *c) {
  if (c->named == WEIR_NAMES_MAX) {
    weir_check_malformed(c, WEIR_CODE_NAMES, c->at);
    return;
  }
  c->named++;
  check_top(c)->named++;
  c->start = c->at;
  c->text_size = 0;
  c->text_over = false;
  c->step = T_PLAIN;
  c->state = S_NAME_TEXT;
}
