/* What the plan says to a value that is complete, in the server's order: null_values, type, bounds, multipleOf, enum, length, uses. */
#include "check_internal.h"

enum { NO_CHOICE = 0xFF };

/* A value that is complete. */
struct value {
  uint8_t type;  /* one TYPE_… bit */
  bool truth;    /* of a boolean */
  uint8_t choice; /* entry of the enum that it is */
  struct decimal number;
};

/* Where a check of the mask stands among the checks, or NULL. */
static const uint8_t *find_check(const struct weir_check *c, uint32_t node, uint32_t which) {
  uint32_t at = node == 0 ? 0 : read16(c->plan + node + NODE_CHECKS);
  if (at == 0) return NULL;
  uint32_t mask = read16(c->plan + at);
  if ((mask & which) == 0) return NULL;
  at += 2;
  if (which > CHECK_MIN && (mask & CHECK_MIN)) at += DECIMAL_SIZE;
  if (which > CHECK_MAX && (mask & CHECK_MAX)) at += DECIMAL_SIZE;
  if (which > CHECK_MULTIPLE && (mask & CHECK_MULTIPLE)) at += 6;
  if (which > CHECK_ENUM && (mask & CHECK_ENUM)) at += 2;
  if (which > CHECK_LENGTH && (mask & CHECK_LENGTH)) at += 4;
  return c->plan + at;
}

const uint8_t *weir_check_nulls(const struct weir_check *c, uint32_t node) {
  const uint8_t *at = find_check(c, node, CHECK_NULLS);
  return at == NULL ? NULL : c->plan + read16(at);
}

bool weir_check_text_is(const struct weir_check *c, const uint8_t *constant) {
  if (constant[0] != CONST_STRING || c->text_over) return false;
  const uint8_t *text = c->plan + read16(constant + 1);
  return text[0] == c->text_size && same_bytes(text + 1, c->text, text[0]);
}

/* Whether the value is the constant, numbers by their exact value. */
static bool same(const struct weir_check *c, const struct value *v, const uint8_t *constant) {
  switch (constant[0]) {
    case CONST_NULL: return v->type == TYPE_NULL;
    case CONST_BOOL: return v->type == TYPE_BOOL && v->truth == (constant[1] != 0);
    case CONST_NUMBER: return (v->type & TYPE_NUMBER) && weir_decimal_compare(&v->number, constant + 1) == 0;
    default: return v->type == TYPE_STRING && weir_check_text_is(c, constant);
  }
}

/* The entry of a list that the value is, or NO_CHOICE. */
static uint8_t entry_of(const struct weir_check *c, const struct value *v, const uint8_t *list) {
  for (uint8_t i = 0; i < list[0]; i++) {
    if (same(c, v, c->plan + read16(list + 1 + 2 * i))) return i;
  }
  return NO_CHOICE;
}

/* A refused payload still tells whether it is one that this plan is for. */
static void look_for_whens(struct weir_check *c, const struct value *v) {
  uint32_t at = c->node == 0 ? 0 : read16(c->plan + c->node + NODE_USES);
  if (at == 0) return;
  for (uint32_t i = 0; i < c->plan[at]; i++) {
    const uint8_t *use = c->plan + at + 1 + 4 * i;
    if (use[0] == TAKE_WHEN && same(c, v, c->plan + read16(use + 2))) c->whens++;
  }
}

static void take_text(struct weir_check *c, uint32_t field) {
  if (c->text_over) {
    weir_check_later(c, WEIR_CODE_TEXT, c->node, c->start);
  } else {
    weir_body_text(c, field, c->text, c->text_size);
  }
}

static void take_number(struct weir_check *c, const struct decimal *d, uint32_t field, uint8_t form) {
  int64_t i;
  if (form == 0) {
    if (d->exponent > 0 && weir_decimal_overflows(d)) {
      weir_check_later(c, WEIR_CODE_OVERFLOW, c->node, c->start);
    } else {
      weir_body_decimal(c, field, d);
    }
  } else if (form != 1 || !weir_decimal_is_integer(d)) {
    weir_check_later(c, WEIR_CODE_COLUMN, c->node, c->start);
  } else if (weir_decimal_to_int(d, &i)) {
    weir_body_integer(c, field, i);
  } else {
    weir_check_later(c, WEIR_CODE_INT_RANGE, c->node, c->start);
  }
}

/* Records what a column's map says for the value. */
static void take_mapped(struct weir_check *c, const struct value *v, uint32_t field, const uint8_t *map) {
  for (uint8_t i = 0; i < map[0]; i++) {
    if (!same(c, v, c->plan + read16(map + 1 + 4 * i))) continue;
    if (read16(map + 3 + 4 * i) != 0) weir_body_byte(c, field, i);
    return;
  }
  weir_check_refuse(c, WEIR_CODE_MAP, c->node, c->start);
}

static void take_column(struct weir_check *c, const struct value *v, uint32_t field) {
  const uint8_t *f = plan_field(c->plan, field);
  uint8_t form = f[1];
  if (form == 5) {
    take_mapped(c, v, field, c->plan + read16(f + 4));
  } else if (v->type & TYPE_NUMBER) {
    take_number(c, &v->number, field, form);
  } else if (v->type == TYPE_STRING && form == 2) {
    take_text(c, field);
  } else if (v->type == TYPE_STRING && form == 4 && v->choice != NO_CHOICE) {
    weir_body_byte(c, field, v->choice);
  } else if (v->type == TYPE_BOOL && form == 3) {
    weir_body_byte(c, field, v->truth);
  } else {
    weir_check_later(c, WEIR_CODE_COLUMN, c->node, c->start);
  }
}

static void take_tag(struct weir_check *c, const struct value *v, uint32_t field) {
  if (v->type == TYPE_BOOL) {
    weir_body_text(c, field, v->truth ? "true" : "false", v->truth ? 4 : 5);
  } else {
    take_text(c, field); /* of a number: its digits */
  }
}

static void time_taken(struct weir_check *c, bool taken) {
  if (taken) {
    weir_body_time(c);
  } else {
    weir_check_later(c, WEIR_CODE_TIME, c->node, c->start);
  }
}

static void take_time(struct weir_check *c, const struct value *v) {
  time_taken(c, (v->type & TYPE_NUMBER) ? weir_time_number(c, &v->number) : v->type == TYPE_STRING && weir_time_text(c));
}

/* Hands a value to everything that wants it. */
static void take(struct weir_check *c, const struct value *v) {
  const uint8_t *n = c->plan + c->node;
  switch (n[NODE_USE]) {
    case USE_NONE: return;
    case USE_COLUMN: take_column(c, v, n[NODE_FIELD]); return;
    case USE_TIME: take_time(c, v); return;
    default: break;
  }
  const uint8_t *uses = c->plan + read16(n + NODE_USES);
  for (uint32_t i = 0; i < uses[0]; i++) {
    const uint8_t *use = uses + 1 + 4 * i;
    switch (use[0]) {
      case TAKE_COLUMN: take_column(c, v, use[1]); break;
      case TAKE_TAG: take_tag(c, v, use[1]); break;
      case TAKE_TIME: take_time(c, v); break;
      default:
        if (same(c, v, c->plan + read16(use + 2))) {
          c->whens++;
        } else {
          weir_check_refuse(c, WEIR_CODE_WHEN, c->node, c->start);
        }
    }
    if (c->refused) return;
  }
}

/* Passes a null, or one of null_values: columns and tags stay null. */
static void take_null(struct weir_check *c, const struct value *v) {
  const uint8_t *n = c->plan + c->node;
  if (n[NODE_USE] == USE_TIME) weir_check_later(c, WEIR_CODE_TIME, c->node, c->start);
  if (n[NODE_USE] != USE_LIST) return;
  const uint8_t *uses = c->plan + read16(n + NODE_USES);
  for (uint32_t i = 0; i < uses[0]; i++) {
    const uint8_t *use = uses + 1 + 4 * i;
    if (use[0] == TAKE_TIME) weir_check_later(c, WEIR_CODE_TIME, c->node, c->start);
    if (use[0] != TAKE_WHEN) continue;
    if (c->plan[read16(use + 2)] == CONST_NULL && v->type == TYPE_NULL) {
      c->whens++;
    } else {
      weir_check_refuse(c, WEIR_CODE_WHEN, c->node, c->start);
      return;
    }
  }
}

/* Runs minimum, maximum and multipleOf; at stands at the first of them. */
static inline bool number_within(struct weir_check *c, const struct decimal *d, uint32_t mask, const uint8_t *at) {
  if (mask & CHECK_MIN) {
    int order = weir_decimal_compare(d, at);
    if (order < 0 || (order == 0 && (at[10] & DECIMAL_EXCLUSIVE))) {
      weir_check_refuse(c, WEIR_CODE_MIN, c->node, c->start);
      return false;
    }
    at += DECIMAL_SIZE;
  }
  if (mask & CHECK_MAX) {
    int order = weir_decimal_compare(d, at);
    if (order > 0 || (order == 0 && (at[10] & DECIMAL_EXCLUSIVE))) {
      weir_check_refuse(c, WEIR_CODE_MAX, c->node, c->start);
      return false;
    }
    at += DECIMAL_SIZE;
  }
  if ((mask & CHECK_MULTIPLE) && !weir_decimal_divides(d, at)) {
    weir_check_refuse(c, WEIR_CODE_MULTIPLE, c->node, c->start);
    return false;
  }
  return true;
}

static bool length_within(struct weir_check *c, const uint8_t *at) {
  uint32_t most = read16(at + 2);
  if (c->runes < read16(at)) {
    weir_check_refuse(c, WEIR_CODE_SHORT, c->node, c->start);
    return false;
  }
  if (most != NO_LIMIT && c->runes > most) {
    weir_check_refuse(c, WEIR_CODE_LONG, c->node, c->start);
    return false;
  }
  return true;
}

/* Runs every check of a value and takes it. */
static void check_scalar(struct weir_check *c, struct value *v) {
  if (c->node == 0) return;
  if (c->refused) {
    look_for_whens(c, v);
    return;
  }
  const uint8_t *n = c->plan + c->node;
  uint32_t checks = read16(n + NODE_CHECKS);
  uint32_t mask = checks == 0 ? 0 : read16(c->plan + checks);
  if (mask & CHECK_NULLS) {
    const uint8_t *nulls = weir_check_nulls(c, c->node);
    if (entry_of(c, v, nulls) != NO_CHOICE) {
      take_null(c, v);
      return;
    }
  }
  bool ok = (n[NODE_TYPES] & v->type) != 0;
  if (!ok) weir_check_refuse(c, WEIR_CODE_TYPE, c->node, c->start);
  if (ok && (v->type & TYPE_NUMBER) && mask != 0) ok = number_within(c, &v->number, mask, c->plan + checks + 2);
  if (ok && (mask & CHECK_ENUM)) {
    v->choice = entry_of(c, v, c->plan + read16(find_check(c, c->node, CHECK_ENUM)));
    ok = v->choice != NO_CHOICE;
    if (!ok) weir_check_refuse(c, WEIR_CODE_ENUM, c->node, c->start);
  }
  if (ok && (mask & CHECK_LENGTH) && v->type == TYPE_STRING) ok = length_within(c, find_check(c, c->node, CHECK_LENGTH));
  if (!ok) {
    look_for_whens(c, v);
  } else if (v->type == TYPE_NULL) {
    take_null(c, v);
  } else {
    take(c, v);
  }
}

/* Takes a text whose place has nothing but its choices to say, and records which it is. False: it has more, or is none. */
static inline bool plain_choice(struct weir_check *c) {
  const uint8_t *n = c->plan + c->node;
  uint32_t checks = read16(n + NODE_CHECKS);
  if (c->refused || c->text_over || n[NODE_USE] != USE_COLUMN || (n[NODE_TYPES] & TYPE_STRING) == 0) return false;
  if (checks == 0 || read16(c->plan + checks) != CHECK_ENUM || plan_field(c->plan, n[NODE_FIELD])[1] != 4) return false;
  const uint8_t *list = c->plan + read16(c->plan + checks + 2);
  for (uint32_t i = 0; i < list[0]; i++) {
    if (!weir_check_text_is(c, c->plan + read16(list + 1 + 2 * i))) continue;
    weir_body_byte(c, n[NODE_FIELD], (uint8_t)i);
    return true;
  }
  return false;
}

void weir_check_string(struct weir_check *c) {
  if (c->node == 0 || plain_choice(c)) return;
  struct value v = {TYPE_STRING, false, NO_CHOICE, {0, 0, false}};
  check_scalar(c, &v);
}

void weir_check_number(struct weir_check *c) {
  const struct weir_number *from = &c->number;
  struct decimal d = {from->mantissa, from->exponent, from->negative};
  d.exponent += from->minus ? -(int32_t)from->power : (int32_t)from->power;
  if (d.mantissa == 0) d.exponent = 0;
  weir_check_decimal(c, &d);
}

/* Takes a number whose place has nothing but its type and bounds to say, and one use. False: it has more. */
static inline bool plain_number(struct weir_check *c, const struct decimal *d) {
  const uint8_t *n = c->plan + c->node;
  uint32_t types = n[NODE_TYPES], use = n[NODE_USE], checks = read16(n + NODE_CHECKS), mask = 0;
  if (c->refused || use == USE_LIST) return false;
  if ((types & TYPE_FRACTION) == 0 && d->exponent < 0) return false; /* is it an integer? */
  if ((types & TYPE_INTEGER) == 0) return false;
  if (use == USE_COLUMN && plan_field(c->plan, n[NODE_FIELD])[1] > 1) return false;
  if (checks != 0) {
    mask = read16(c->plan + checks);
    if ((mask & ~(uint32_t)(CHECK_MIN | CHECK_MAX)) != 0) return false;
    if (!number_within(c, d, mask, c->plan + checks + 2)) return true;
  }
  if (use == USE_COLUMN) {
    if (d->exponent <= 0 && plan_field(c->plan, n[NODE_FIELD])[1] == 0) { /* what take_number comes to */
      weir_body_decimal(c, n[NODE_FIELD], d);
    } else {
      take_number(c, d, n[NODE_FIELD], plan_field(c->plan, n[NODE_FIELD])[1]);
    }
  } else if (use == USE_TIME) {
    time_taken(c, weir_time_number(c, d));
  }
  return true;
}

void weir_check_decimal(struct weir_check *c, const struct decimal *d) {
  if (c->node == 0 || plain_number(c, d)) return;
  struct value v = {TYPE_INTEGER, false, NO_CHOICE, *d};
  uint8_t types = c->plan[c->node + NODE_TYPES] & TYPE_NUMBER;
  if (types != TYPE_NUMBER && !weir_decimal_is_integer(&v.number)) v.type = TYPE_FRACTION;
  check_scalar(c, &v);
}

void weir_check_word(struct weir_check *c, uint8_t type, bool truth) {
  struct value v = {type, truth, NO_CHOICE, {0, 0, false}};
  check_scalar(c, &v);
}

void weir_check_container(struct weir_check *c, const struct weir_level *level) {
  const uint8_t *p = c->plan;
  c->node = level->node;
  c->start = level->at;
  if (c->node == 0) return;
  const uint8_t *n = p + c->node;
  struct value v = {level->list ? TYPE_ARRAY : TYPE_OBJECT, false, NO_CHOICE, {0, 0, false}};
  uint32_t array = read16(n + NODE_ARRAY), object = read16(n + NODE_OBJECT);
  if (level->list && array != 0) {
    uint32_t most = read16(p + array + 2);
    if (level->count < read16(p + array)) weir_check_refuse(c, WEIR_CODE_FEW, c->node, c->start);
    if (most != NO_LIMIT && level->count > most) weir_check_refuse(c, WEIR_CODE_MANY, c->node, c->start);
  }
  if (!level->list && object != 0 && !c->refused) {
    uint32_t absent = read32(p + object + 2) & ~level->seen;
    if (absent != 0) {
      weir_check_refuse(c, WEIR_CODE_REQUIRED, c->node, c->start);
      for (c->missing = 0; (absent & 1) == 0; absent >>= 1) c->missing++;
    }
  }
  if (!c->refused) take(c, &v);
}

void weir_check_bare_null(struct weir_check *c, uint32_t node, uint32_t at) {
  struct value v = {TYPE_STRING, false, NO_CHOICE, {0, 0, false}};
  c->node = (uint16_t)node;
  c->start = at;
  take_null(c, &v);
}

bool weir_check_wants_digits(const struct weir_check *c, uint32_t node) {
  uint32_t at = node == 0 ? 0 : read16(c->plan + node + NODE_USES);
  if (at == 0) return false;
  for (uint32_t i = 0; i < c->plan[at]; i++) {
    if (c->plan[at + 1 + 4 * i] == TAKE_TAG) return true;
  }
  return false;
}
