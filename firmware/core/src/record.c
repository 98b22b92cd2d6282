/* Looking into records on the device, and naming the plan of a slot. */
#include "weir/record.h"

#include <string.h>

#include "decimal.h"
#include "plan_read.h"

/* What is left of a body; bad once something is not as it should be. */
struct reader {
  const uint8_t *p;
  uint32_t left;
  bool bad;
};

static uint8_t take_byte(struct reader *r) {
  if (r->left == 0) {
    r->bad = true;
    return 0;
  }
  r->left--;
  return *r->p++;
}

/* A varint in its shortest form. */
static uint64_t take_varint(struct reader *r) {
  uint64_t v = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    uint8_t b = take_byte(r);
    if ((shift == 63 && b > 1) || (shift > 0 && b == 0)) break;
    v |= (uint64_t)(b & 0x7Fu) << shift;
    if (b < 0x80) return v;
  }
  r->bad = true;
  return 0;
}

static int64_t take_zigzag(struct reader *r) {
  uint64_t u = take_varint(r);
  uint64_t v = u >> 1;
  return (u & 1) != 0 ? -(int64_t)v - 1 : (int64_t)v;
}

static void take_decimal(struct reader *r, struct weir_value *v) {
  uint8_t head = take_byte(r);
  uint64_t high = 0;
  if (head & 0x80) {
    high = take_varint(r);
    if (high == 0 || high >> 61 != 0) r->bad = true;
  }
  v->negative = (head & 8) != 0;
  v->mantissa = high << 3 | (head >> 4 & 7u);
  v->exponent = -(int32_t)(head & 7u);
  if ((head & 7) == 7) {
    int64_t e = take_zigzag(r);
    if ((e >= -6 && e <= 0) || e < INT32_MIN || e > INT32_MAX) r->bad = true;
    v->exponent = (int32_t)e;
  }
  struct decimal d = {v->mantissa, v->exponent, v->negative};
  if (v->mantissa >= UINT64_C(10000000000000000000) || (v->mantissa == 0 && v->exponent != 0) || weir_decimal_overflows(&d)) r->bad = true;
}

static bool is_utf8(const uint8_t *p, uint32_t n) {
  for (uint32_t i = 0; i < n;) {
    uint8_t b = p[i++];
    uint32_t more = b < 0x80 ? 0 : b < 0xC2 ? 9 : b < 0xE0 ? 1 : b < 0xF0 ? 2 : b < 0xF5 ? 3 : 9;
    if (more == 9 || more > n - i) return false;
    if ((b == 0xE0 && p[i] < 0xA0) || (b == 0xED && p[i] > 0x9F) || (b == 0xF0 && p[i] < 0x90) || (b == 0xF4 && p[i] > 0x8F)) return false;
    for (; more > 0; more--) {
      if ((p[i++] & 0xC0) != 0x80) return false;
    }
  }
  return true;
}

static void take_text(struct reader *r, struct weir_value *v) {
  uint64_t n = take_varint(r);
  if (n > r->left || n > WEIR_TEXT_MAX || !is_utf8(r->p, (uint32_t)n)) {
    r->bad = true;
    return;
  }
  v->text = r->p;
  v->size = (uint16_t)n;
  r->p += n;
  r->left -= (uint32_t)n;
}

/* The entry of a choice or a map. */
static void take_entry(struct reader *r, const uint8_t *plan, uint32_t list, bool map, struct weir_value *v) {
  uint64_t i = take_varint(r);
  if (i >= plan[list]) {
    r->bad = true;
    return;
  }
  v->integer = (int64_t)i;
  if (map) {
    if (read16(plan + list + 3 + 4 * (uint32_t)i) == 0) r->bad = true;
    return;
  }
  const uint8_t *constant = plan + read16(plan + list + 1 + 2 * (uint32_t)i);
  if (constant[0] != CONST_STRING) {
    r->bad = true;
    return;
  }
  const uint8_t *text = plan + read16(constant + 1);
  v->text = text + 1;
  v->size = text[0];
}

static void take_value(struct reader *r, const uint8_t *plan, const uint8_t *field, struct weir_value *v) {
  memset(v, 0, sizeof *v);
  v->form = field[1];
  switch (field[1]) {
    case WEIR_FORM_DECIMAL: take_decimal(r, v); break;
    case WEIR_FORM_INTEGER: v->integer = take_zigzag(r); break;
    case WEIR_FORM_TEXT: take_text(r, v); break;
    case WEIR_FORM_BOOL:
      v->integer = take_byte(r);
      if (v->integer > 1) r->bad = true;
      break;
    default: take_entry(r, plan, read16(field + 4), field[1] == WEIR_FORM_MAPPED, v);
  }
}

/* Captures as groups of three characters; the text ends at the first 0. */
static void take_symbols(struct reader *r, char *out) {
  static const char symbols[] = "\0/0123456789abcdefghijklmnopqrstuvwxyz-_";
  uint32_t n = 0;
  for (bool ended = false; !ended && !r->bad;) {
    uint32_t group = take_byte(r);
    group |= (uint32_t)take_byte(r) << 8;
    const uint32_t parts[3] = {group / 1600, group / 40 % 40, group % 40};
    for (uint32_t i = 0; i < 3; i++) {
      if (parts[i] >= 40 || (ended && parts[i] != 0) || (parts[i] != 0 && n == WEIR_TOPIC_MAX)) {
        r->bad = true;
      } else if (parts[i] == 0) {
        ended = true;
      } else {
        out[n++] = symbols[parts[i]];
      }
    }
  }
  out[n] = 0;
}

static void take_captures(struct reader *r, uint8_t head, uint8_t count, char *out) {
  out[0] = 0;
  if (count == 0) {
    if (head & 0x80) r->bad = true;
    return;
  }
  if (head & 0x80) {
    uint32_t n = take_byte(r);
    if (n > WEIR_TOPIC_MAX || n > r->left) {
      r->bad = true;
      return;
    }
    memcpy(out, r->p, n);
    out[n] = 0;
    r->p += n;
    r->left -= n;
  } else {
    take_symbols(r, out);
  }
  uint32_t parts = 1;
  for (const char *s = out; *s != 0; s++) parts += *s == '/';
  if (parts != count) r->bad = true;
}

int weir_record_open(struct weir_reading *reading, const struct weir_plan *plan, const uint8_t *body, uint32_t size) {
  const uint8_t *p = plan->bytes;
  struct reader r = {body, size, size > WEIR_BODY_MAX};
  uint8_t head = take_byte(&r);
  reading->plan = plan;
  reading->body = body;
  reading->size = size;
  reading->fields = (uint8_t)(p[PLAN_TAGS] + p[PLAN_COLUMNS]);
  reading->time_unit = head >> 4 & 3;
  reading->time = 0;
  take_captures(&r, head, p[PLAN_CAPTURES], reading->captures);
  if ((reading->time_unit != 0) != (p[PLAN_TIME] != TIME_NONE)) r.bad = true;
  if (reading->time_unit != 0) {
    int64_t second = reading->time_unit == 1 ? 1000 : reading->time_unit == 2 ? 1000000 : 1000000000;
    reading->time = take_zigzag(&r);
    if (reading->time < TIME_MIN_S * second || reading->time >= TIME_MAX_S * second) r.bad = true;
  }
  uint32_t all = reading->fields == 32 ? UINT32_MAX : (UINT32_C(1) << reading->fields) - 1;
  reading->present = all;
  if ((head & 0x40) == 0) {
    reading->present = 0;
    for (uint32_t i = 0; i < reading->fields; i += 8) reading->present |= (uint32_t)take_byte(&r) << i;
    if (reading->present >= all) r.bad = true;
  }
  reading->values = (uint16_t)(size - r.left);
  for (uint8_t i = 0; i < reading->fields && !r.bad; i++) {
    struct weir_value v;
    if (reading->present >> i & 1) take_value(&r, p, plan_field(p, i), &v);
  }
  return r.bad || r.left > 0 ? WEIR_E_INVALID : WEIR_OK;
}

void weir_record_value(const struct weir_reading *reading, uint8_t index, struct weir_value *value) {
  const uint8_t *p = reading->plan->bytes;
  struct reader r = {reading->body + reading->values, reading->size - reading->values, false};
  memset(value, 0, sizeof *value);
  value->null = true;
  for (uint8_t i = 0; i <= index && i < reading->fields; i++) {
    if ((reading->present >> i & 1) == 0) continue;
    struct weir_value v;
    take_value(&r, p, plan_field(p, i), &v);
    if (i == index) *value = v;
  }
}

uint32_t weir_record_bind(uint8_t *out, uint32_t room, uint8_t slot, const struct weir_plan *plan) {
  if (room < WEIR_BIND_MAX) return 0;
  uint32_t n = 9;
  out[0] = slot;
  memcpy(out + 1, plan->id, 8);
  uint32_t version = plan->version;
  while (version >= 0x80) {
    out[n++] = (uint8_t)(version | 0x80);
    version >>= 7;
  }
  out[n++] = (uint8_t)version;
  out[n++] = plan->name_size;
  memcpy(out + n, plan->name, plan->name_size);
  return n + plan->name_size;
}
