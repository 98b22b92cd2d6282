/*
 * The bytes of a payload, as they come: strict JSON (RFC 8259) within the device
 * profile. Each state is what may stand next; runs of plain characters and of
 * digits are taken in loops of their own.
 */
#include "check_internal.h"

#include <string.h>

enum state {
  S_VALUE,              /* a value */
  S_FIRST_VALUE,        /* a value, or the end of the list */
  S_NAME = CHECK_NAME,  /* a name */
  S_FIRST_NAME,         /* a name, or the end of the object */
  S_COLON,
  S_AFTER = CHECK_AFTER, /* a comma, or the end of the list or object */
  S_END,   /* space until the payload ends */
  S_NAME_TEXT,
  S_STRING_TEXT,
  S_NUMBER_SIGN,  /* after - */
  S_NUMBER_ZERO,  /* after a first 0 */
  S_NUMBER_WHOLE,
  S_NUMBER_POINT, /* after the point */
  S_NUMBER_FRACTION,
  S_NUMBER_E,     /* after e */
  S_NUMBER_ESIGN, /* after its sign */
  S_NUMBER_POWER,
  S_WORD,
  S_BARE_TEXT,
  S_STOP /* the verdict stands */
};

/* Steps within a string. */
enum {
  T_PLAIN = 0,
  T_ESCAPE = 1,   /* after a backslash */
  T_HEX = 2,      /* to 5: hex digits to come are 6 - step */
  T_PAIR = 6,     /* the backslash of the second half of a pair */
  T_PAIR_U = 7,
  T_RUNE = 8 /* and above: continuation bytes to come are step - 8, the first bounded by unit */
};

/* The continuation byte that comes next lies within bounds that the bytes before it set: low and high, as unit. */
#define BOUNDS(low, high) ((uint32_t)(low) << 8 | (uint32_t)(high))

/* ---------------------------------------------------------------- verdicts */

static void fail(struct weir_check *c, enum weir_verdict verdict, enum weir_code code, uint32_t node, uint32_t at) {
  c->verdict = (uint8_t)verdict;
  c->code = (uint8_t)code;
  c->place = (uint16_t)node;
  c->offset = (int32_t)at;
}

void check_malformed(struct weir_check *c, enum weir_code code, uint32_t at) {
  if (c->state == S_STOP) return;
  fail(c, WEIR_VERDICT_MALFORMED, code, 0, at);
  c->refused = true;
  c->state = S_STOP;
}

void check_refuse(struct weir_check *c, enum weir_code code, uint32_t node, uint32_t at) {
  if (c->refused) return;
  fail(c, WEIR_VERDICT_INVALID, code, node, at);
  c->refused = true;
}

void check_later(struct weir_check *c, enum weir_code code, uint32_t node, uint32_t at) {
  if (c->refused || c->later != WEIR_CODE_NONE) return;
  c->later = (uint8_t)code;
  c->later_place = (uint16_t)node;
  c->later_offset = (int32_t)at;
}

/* ------------------------------------------------------- lists and objects */

static struct weir_level *top(struct weir_check *c) { return &c->levels[c->depth - 1]; }

/* A value ended before the byte at `end`. */
static void value_done(struct weir_check *c, uint32_t end) {
  if (c->depth == 0) {
    c->mark = end;
    c->state = S_END;
  } else {
    c->state = S_AFTER;
  }
}

/* A list or object opens at c->at. */
static void open_level(struct weir_check *c, bool list) {
  uint8_t type = list ? TYPE_ARRAY : TYPE_OBJECT;
  if (c->node != 0 && (c->plan[c->node + NODE_TYPES] & type) == 0) {
    check_refuse(c, WEIR_CODE_TYPE, c->node, c->at);
    if (c->plan[PLAN_PAYLOAD] != PAYLOAD_JSON) {
      c->state = S_STOP;
      return;
    }
  }
  if (c->depth == WEIR_DEPTH_MAX) {
    check_malformed(c, WEIR_CODE_DEPTH, c->at);
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

static void close_level(struct weir_check *c) {
  struct weir_level *l = top(c);
  c->depth--;
  c->unknowns = l->names;
  c->named = (uint8_t)(c->named - l->named);
  check_container(c, l);
  value_done(c, c->at + 1);
}

/* The node of the element of a list that comes next. */
static void next_element(struct weir_check *c) {
  struct weir_level *l = top(c);
  uint32_t index = l->count++;
  uint32_t array = l->node == 0 ? 0 : read16(c->plan + l->node + NODE_ARRAY);
  c->node = 0;
  if (array == 0) return;
  const uint8_t *a = c->plan + array;
  c->node = index < a[6] ? read16(a + ARRAY_HEAD + 2 * index) : read16(a + 4);
}

/* ------------------------------------------------------------------- names */

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
      check_malformed(c, WEIR_CODE_DUPLICATE, c->start);
      return;
    }
  }
  c->unknown[c->unknowns++] = hash;
  if (refuse) check_refuse(c, WEIR_CODE_UNKNOWN, l->node, c->start);
}

/* A name is complete: which property is it? The one after the last is tried first. */
static void name_done(struct weir_check *c) {
  struct weir_level *l = top(c);
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
    check_malformed(c, WEIR_CODE_DUPLICATE, c->start);
    return;
  }
  l->seen |= UINT32_C(1) << i;
  l->count = i + 1;
  c->node = read16(o + OBJECT_HEAD + OBJECT_ENTRY * i + 2);
  if (c->node == NODE_REFUSED) {
    check_refuse(c, WEIR_CODE_UNKNOWN, l->node, c->start);
    c->node = 0;
  }
}

static void name_begins(struct weir_check *c) {
  if (c->named == WEIR_NAMES_MAX) {
    check_malformed(c, WEIR_CODE_NAMES, c->at);
    return;
  }
  c->named++;
  top(c)->named++;
  c->start = c->at;
  c->text_size = 0;
  c->text_over = false;
  c->step = T_PLAIN;
  c->state = S_NAME_TEXT;
}

/* ------------------------------------------------------------------ strings */

static void append(struct weir_check *c, const uint8_t *bytes, uint32_t n) {
  uint32_t room = WEIR_TEXT_MAX - c->text_size;
  if (n > room) {
    c->text_over = true;
    n = room;
  }
  memcpy(c->text + c->text_size, bytes, n);
  c->text_size = (uint8_t)(c->text_size + n);
  if (c->state == S_NAME_TEXT && c->text_size > WEIR_NAME_MAX) check_malformed(c, WEIR_CODE_NAME_LONG, c->start);
}

static void append_rune(struct weir_check *c, uint32_t r) {
  uint8_t out[4];
  uint32_t n = 1;
  if (r < 0x80) {
    out[0] = (uint8_t)r;
  } else if (r < 0x800) {
    out[0] = (uint8_t)(0xC0 | r >> 6);
    n = 2;
  } else if (r < 0x10000) {
    out[0] = (uint8_t)(0xE0 | r >> 12);
    n = 3;
  } else {
    out[0] = (uint8_t)(0xF0 | r >> 18);
    n = 4;
  }
  for (uint32_t i = 1; i < n; i++) out[i] = (uint8_t)(0x80 | (r >> (6 * (n - 1 - i)) & 0x3F));
  c->runes++;
  append(c, out, n);
}

/* The first byte of a character beyond ASCII. */
static void rune_begins(struct weir_check *c, uint8_t ch) {
  c->mark = c->at;
  if (ch >= 0xC2 && ch <= 0xDF) {
    c->step = T_RUNE + 1;
    c->unit = BOUNDS(0x80, 0xBF);
    c->rune = ch & 0x1Fu;
  } else if (ch >= 0xE0 && ch <= 0xEF) {
    c->step = T_RUNE + 2;
    c->unit = BOUNDS(ch == 0xE0 ? 0xA0 : 0x80, ch == 0xED ? 0x9F : 0xBF);
    c->rune = ch & 0x0Fu;
  } else if (ch >= 0xF0 && ch <= 0xF4) {
    c->step = T_RUNE + 3;
    c->unit = BOUNDS(ch == 0xF0 ? 0x90 : 0x80, ch == 0xF4 ? 0x8F : 0xBF);
    c->rune = ch & 0x07u;
  } else {
    check_malformed(c, WEIR_CODE_STRING, c->at);
  }
}

static void rune_goes_on(struct weir_check *c, uint8_t ch) {
  if (ch < c->unit >> 8 || ch > (c->unit & 0xFF)) {
    check_malformed(c, WEIR_CODE_STRING, c->mark);
    return;
  }
  c->unit = BOUNDS(0x80, 0xBF);
  c->rune = c->rune << 6 | (ch & 0x3Fu);
  if (--c->step == T_RUNE) {
    c->step = T_PLAIN;
    append_rune(c, c->rune);
  }
}

/* The value of a hex digit, or 16. */
static uint32_t hex(uint8_t ch) {
  if (ch >= '0' && ch <= '9') return ch - (uint32_t)'0';
  ch |= 0x20;
  return ch >= 'a' && ch <= 'f' ? ch - (uint32_t)'a' + 10 : 16;
}

/* Four hex digits are there. */
static void unit_done(struct weir_check *c) {
  uint32_t u = c->unit;
  c->step = T_PLAIN;
  if (c->high != 0) {
    if (u < 0xDC00 || u > 0xDFFF) {
      check_malformed(c, WEIR_CODE_STRING, c->mark);
      return;
    }
    append_rune(c, 0x10000 + ((c->high - 0xD800u) << 10) + (u - 0xDC00));
  } else if (u >= 0xD800 && u <= 0xDBFF) {
    c->high = (uint16_t)u;
    c->step = T_PAIR;
  } else if (u >= 0xDC00 && u <= 0xDFFF) {
    check_malformed(c, WEIR_CODE_STRING, c->mark);
  } else {
    append_rune(c, u);
  }
}

static void escape_goes_on(struct weir_check *c, uint8_t ch) {
  static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  uint32_t digit;
  switch (c->step) {
    case T_ESCAPE:
      if (ch == 'u') {
        c->step = T_HEX;
        c->unit = 0;
        return;
      }
      for (uint32_t i = 0; i < sizeof letters - 1; i++) {
        if (ch != (uint8_t)letters[i]) continue;
        c->step = T_PLAIN;
        append_rune(c, (uint8_t)meanings[i]);
        return;
      }
      break;
    case T_PAIR:
      if (ch != '\\') break;
      c->step = T_PAIR_U;
      return;
    case T_PAIR_U:
      if (ch != 'u') break;
      c->step = T_HEX;
      c->unit = 0;
      return;
    default:
      digit = hex(ch);
      if (digit == 16) break;
      c->unit = c->unit << 4 | digit;
      if (++c->step == T_HEX + 4) unit_done(c);
      return;
  }
  check_malformed(c, WEIR_CODE_STRING, c->mark);
}

/* Takes bytes of a string; the number that were taken. */
static uint32_t string_bytes(struct weir_check *c, const uint8_t *p, uint32_t n) {
  uint8_t ch = p[0];
  if (c->step >= T_RUNE) {
    rune_goes_on(c, ch);
    return 1;
  }
  if (c->step != T_PLAIN) {
    escape_goes_on(c, ch);
    return 1;
  }
  uint32_t i = 0;
  while (i < n && p[i] >= 0x20 && p[i] < 0x80 && p[i] != '"' && p[i] != '\\') i++;
  if (i > 0) {
    c->runes += i;
    append(c, p, i);
    return i;
  }
  if (ch == '"') {
    if (c->state == S_NAME_TEXT) {
      name_done(c);
    } else {
      check_string(c);
      value_done(c, c->at + 1);
    }
  } else if (ch == '\\') {
    c->mark = c->at;
    c->high = 0;
    c->step = T_ESCAPE;
  } else if (ch < 0x20) {
    check_malformed(c, WEIR_CODE_STRING, c->at);
  } else {
    rune_begins(c, ch);
  }
  return 1;
}

/* ------------------------------------------------------------------ numbers */

static bool is_digit(uint8_t ch) { return (uint8_t)(ch - '0') <= 9; }

static bool is_space(uint8_t ch) { return ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t'; }

static void number_begins(struct weir_check *c, uint8_t ch) {
  struct weir_number *n = &c->number;
  n->mantissa = is_digit(ch) ? (uint64_t)(ch - '0') : 0;
  n->exponent = 0;
  n->power = 0;
  n->digits = n->mantissa != 0;
  n->negative = ch == '-';
  n->minus = false;
  c->state = ch == '-' ? S_NUMBER_SIGN : ch == '0' ? S_NUMBER_ZERO : S_NUMBER_WHOLE;
  c->raw = check_wants_digits(c, c->node);
  c->text_size = 0;
  c->text_over = false;
  if (c->raw) append(c, &ch, 1);
}

/* Digits of the mantissa: the number that were taken. Beyond 19 only zeros may come. */
static uint32_t digits(struct weir_check *c, const uint8_t *p, uint32_t size, bool fraction) {
  struct weir_number *n = &c->number;
  uint32_t i = 0;
  uint64_t m = n->mantissa;
  uint32_t have = n->digits;
  for (; i < size && is_digit(p[i]); i++) {
    if (have < WEIR_DIGITS_MAX) {
      m = m * 10 + (uint32_t)(p[i] - '0');
      have += m != 0;
      n->exponent -= fraction;
    } else if (p[i] != '0') {
      check_malformed(c, WEIR_CODE_DIGITS, c->start);
      break;
    } else {
      n->exponent += !fraction;
    }
  }
  n->mantissa = m;
  n->digits = (uint8_t)have;
  return i;
}

/* One byte of a number, at its grammar's joints; false: the number ended before it. */
static bool number_byte(struct weir_check *c, uint8_t ch) {
  struct weir_number *n = &c->number;
  switch (c->state) {
    case S_NUMBER_SIGN:
      if (!is_digit(ch)) break;
      c->state = ch == '0' ? S_NUMBER_ZERO : S_NUMBER_WHOLE;
      n->mantissa = (uint64_t)(ch - '0');
      n->digits = ch != '0';
      return true;
    case S_NUMBER_ZERO:
      if (is_digit(ch)) break;
      /* fall through */
    case S_NUMBER_WHOLE:
      if (ch == '.') {
        c->state = S_NUMBER_POINT;
        return true;
      }
      /* fall through */
    case S_NUMBER_FRACTION:
      if ((ch | 0x20) != 'e') return false;
      c->state = S_NUMBER_E;
      return true;
    case S_NUMBER_E:
      if (ch == '+' || ch == '-') {
        n->minus = ch == '-';
        c->state = S_NUMBER_ESIGN;
        return true;
      }
      /* fall through */
    case S_NUMBER_ESIGN:
      if (!is_digit(ch)) break;
      c->state = S_NUMBER_POWER;
      /* fall through */
    case S_NUMBER_POWER:
      if (!is_digit(ch)) return false;
      if (n->power < 1u << 26) n->power = n->power * 10 + (uint32_t)(ch - '0'); /* far beyond every comparison */
      return true;
    default: break; /* S_NUMBER_POINT: a digit must stand here */
  }
  check_malformed(c, WEIR_CODE_VALUE, c->at);
  return true;
}

static void number_done(struct weir_check *c) {
  check_number(c);
  value_done(c, c->at);
}

/* Takes bytes of a number; 0: it ended before them. */
static uint32_t number_bytes(struct weir_check *c, const uint8_t *p, uint32_t n) {
  uint32_t taken = 1;
  if (is_digit(p[0]) && (c->state == S_NUMBER_WHOLE || c->state == S_NUMBER_FRACTION || c->state == S_NUMBER_POINT)) {
    bool fraction = c->state != S_NUMBER_WHOLE;
    if (fraction) c->state = S_NUMBER_FRACTION;
    taken = digits(c, p, n, fraction);
  } else if (!number_byte(c, p[0])) {
    number_done(c);
    return 0;
  }
  if (c->raw) append(c, p, taken);
  return taken;
}

/* -------------------------------------------------------------------- words */

static const char *word(uint8_t first) { return first == 't' ? "true" : first == 'f' ? "false" : "null"; }

static void word_byte(struct weir_check *c, uint8_t ch) {
  const char *w = word((uint8_t)c->unit);
  if (ch != (uint8_t)w[c->step]) {
    check_malformed(c, WEIR_CODE_VALUE, c->start);
    return;
  }
  if (w[++c->step] != 0) return;
  check_word(c, w[0] == 'n' ? TYPE_NULL : TYPE_BOOL, w[0] == 't');
  value_done(c, c->at + 1);
}

/* ------------------------------------------------------------------- bytes */

static void value_begins(struct weir_check *c, uint8_t ch) {
  c->start = c->at;
  switch (ch) {
    case '"':
      c->text_size = 0;
      c->text_over = false;
      c->runes = 0;
      c->step = T_PLAIN;
      c->state = S_STRING_TEXT;
      return;
    case '{':
    case '[': open_level(c, ch == '['); return;
    case 't':
    case 'f':
    case 'n':
      c->unit = ch;
      c->step = 1;
      c->state = S_WORD;
      return;
    default:
      if (ch != '-' && !is_digit(ch)) {
        check_malformed(c, WEIR_CODE_VALUE, c->at);
        return;
      }
      number_begins(c, ch);
  }
}

/* One byte between values. */
static void byte_between(struct weir_check *c, uint8_t ch) {
  if (is_space(ch)) return;
  switch (c->state) {
    case S_FIRST_VALUE:
      if (ch == ']') {
        close_level(c);
        return;
      }
      next_element(c);
      value_begins(c, ch);
      return;
    case S_VALUE: value_begins(c, ch); return;
    case S_FIRST_NAME:
      if (ch == '}') {
        close_level(c);
        return;
      }
      /* fall through */
    case S_NAME:
      if (ch == '"') {
        name_begins(c);
      } else {
        check_malformed(c, WEIR_CODE_NAME, c->at);
      }
      return;
    case S_COLON:
      if (ch == ':') {
        c->state = S_VALUE;
      } else {
        check_malformed(c, WEIR_CODE_COLON, c->at);
      }
      return;
    case S_AFTER:
      if (ch == ',') {
        if (top(c)->list) next_element(c);
        c->state = top(c)->list ? S_VALUE : S_NAME;
      } else if (ch == (top(c)->list ? ']' : '}')) {
        close_level(c);
      } else {
        check_malformed(c, WEIR_CODE_COMMA, c->at);
      }
      return;
    default: check_malformed(c, WEIR_CODE_TRAILING, c->plan[PLAN_PAYLOAD] == PAYLOAD_VALUE ? c->mark : c->at);
  }
}

/* Text that is no JSON: UTF-8 to the end. */
static uint32_t text_bytes(struct weir_check *c, const uint8_t *p, uint32_t n) {
  if (c->step >= T_RUNE) {
    rune_goes_on(c, p[0]);
    return 1;
  }
  uint32_t i = 0;
  while (i < n && p[i] < 0x80) i++;
  if (i == 0) {
    rune_begins(c, p[0]);
    return 1;
  }
  c->runes += i;
  append(c, p, i);
  return i;
}

/* Format value: which of null_values, compared as bare text, may the payload still be? */
static void bare_bytes(struct weir_check *c, const uint8_t *p, uint32_t n) {
  const uint8_t *nulls = check_nulls(c, read16(c->plan + PLAN_ROOT));
  for (uint32_t i = 0; nulls != NULL && i < n; i++) {
    if (c->bare == 0 && is_space(p[i])) continue;
    for (uint32_t k = 0; k < nulls[0] && k < 8; k++) {
      const uint8_t *constant = c->plan + read16(nulls + 1 + 2 * k);
      const uint8_t *text = constant[0] == CONST_STRING ? c->plan + read16(constant + 1) : constant;
      bool goes_on = constant[0] == CONST_STRING && (c->bare < text[0] ? text[1 + c->bare] == p[i] : is_space(p[i]));
      if (!goes_on) c->nulls &= (uint8_t)~(1u << k);
    }
    if (c->bare < UINT16_MAX) c->bare++;
    if (c->bare == 1) c->bare_at = c->at + i;
  }
}

/* The entry of null_values that the whole payload was, if one. */
static bool is_bare_null(const struct weir_check *c) {
  const uint8_t *nulls = check_nulls(c, read16(c->plan + PLAN_ROOT));
  for (uint32_t k = 0; nulls != NULL && c->bare > 0 && k < nulls[0] && k < 8; k++) {
    const uint8_t *constant = c->plan + read16(nulls + 1 + 2 * k);
    if ((c->nulls >> k & 1) && c->bare >= c->plan[read16(constant + 1)]) return true;
  }
  return false;
}

/* --------------------------------------------------------------------- API */

int weir_check_begin(struct weir_check *check, const struct weir_plan *plan, uint8_t slot, const struct weir_captures *captures,
                     uint8_t *body, uint32_t room, uint64_t key) {
  const uint8_t *p = plan->bytes;
  if (room < WEIR_BODY_MAX || slot >= WEIR_PLANS || captures->count != p[PLAN_CAPTURES]) return WEIR_E_ARGUMENT;
  struct weir_check *c = check;
  c->verdict = WEIR_VERDICT_OK;
  c->code = WEIR_CODE_NONE;
  c->missing = 0;
  c->place = 0;
  c->offset = -1;
  c->plan = p;
  c->body = body;
  c->at = c->start = c->mark = c->runes = 0;
  c->key = key;
  c->node = read16(p + PLAN_ROOT);
  c->text_size = 0;
  c->text_over = false;
  c->state = p[PLAN_PAYLOAD] == PAYLOAD_TEXT ? S_BARE_TEXT : S_VALUE;
  c->step = T_PLAIN;
  c->depth = c->unknowns = c->named = c->whens = 0;
  c->later = WEIR_CODE_NONE;
  c->nulls = 0xFF;
  c->bare = 0;
  c->refused = c->timed = c->raw = c->ended = false;
  c->slot = slot;
  c->time_unit = 0;
  body_begin(c, captures);
  return WEIR_OK;
}

void weir_check_feed(struct weir_check *check, const void *bytes, uint32_t size) {
  struct weir_check *c = check;
  const uint8_t *p = bytes;
  if (c->plan[PLAN_PAYLOAD] == PAYLOAD_VALUE) bare_bytes(c, p, size);
  uint32_t i = 0;
  while (i < size) {
    uint32_t taken = 1;
    switch (c->state) {
      case S_STOP: return;
      case S_NAME_TEXT:
      case S_STRING_TEXT: taken = string_bytes(c, p + i, size - i); break;
      case S_NUMBER_SIGN:
      case S_NUMBER_ZERO:
      case S_NUMBER_WHOLE:
      case S_NUMBER_POINT:
      case S_NUMBER_FRACTION:
      case S_NUMBER_E:
      case S_NUMBER_ESIGN:
      case S_NUMBER_POWER: taken = number_bytes(c, p + i, size - i); break;
      case S_WORD: word_byte(c, p[i]); break;
      case S_BARE_TEXT: taken = text_bytes(c, p + i, size - i); break;
      case S_NAME:
      case S_FIRST_NAME:
        taken = p[i] == '"' ? check_quick(c, p + i, size - i) : 0;
        if (taken > 0) break;
        taken = 1;
        /* fall through */
      default: byte_between(c, p[i]);
    }
    i += taken;
    c->at += taken;
    if (c->refused && c->plan[PLAN_PAYLOAD] == PAYLOAD_VALUE) c->state = S_STOP; /* the first error decides alone */
  }
}

/* What is unfinished when the payload ends. */
static void finish(struct weir_check *c) {
  switch (c->state) {
    case S_END:
    case S_STOP: break;
    case S_NUMBER_ZERO:
    case S_NUMBER_WHOLE:
    case S_NUMBER_FRACTION:
    case S_NUMBER_POWER:
      number_done(c);
      if (c->state != S_END) check_malformed(c, WEIR_CODE_END, c->at);
      break;
    case S_WORD: check_malformed(c, WEIR_CODE_VALUE, c->start); break;
    case S_NAME_TEXT:
    case S_STRING_TEXT: check_malformed(c, WEIR_CODE_STRING, c->step == T_PLAIN ? c->at : c->mark); break;
    case S_BARE_TEXT:
      if (c->step != T_PLAIN) {
        check_malformed(c, WEIR_CODE_STRING, c->mark);
      } else {
        check_string(c);
      }
      break;
    default: check_malformed(c, WEIR_CODE_END, c->at);
  }
}

enum weir_verdict weir_check_end(struct weir_check *check) {
  struct weir_check *c = check;
  if (c->ended) return (enum weir_verdict)c->verdict;
  c->ended = true;
  finish(c);
  if (c->plan[PLAN_PAYLOAD] == PAYLOAD_VALUE && is_bare_null(c)) {
    c->verdict = WEIR_VERDICT_OK;
    c->refused = false;
    c->later = WEIR_CODE_NONE;
    c->timed = false;
    c->present = 0;
    c->size = c->head;
    check_bare_null(c, read16(c->plan + PLAN_ROOT), c->bare_at);
  }
  c->state = S_STOP;
  if (c->verdict != WEIR_VERDICT_MALFORMED && c->whens != c->plan[PLAN_WHENS]) {
    fail(c, WEIR_VERDICT_UNMATCHED, WEIR_CODE_WHEN, 0, 0);
    c->offset = -1;
  }
  if (c->verdict != WEIR_VERDICT_OK) return (enum weir_verdict)c->verdict;
  if (c->plan[PLAN_TIME] != TIME_NONE && !c->timed && c->later == WEIR_CODE_NONE) {
    c->later = WEIR_CODE_NO_TIME;
    c->later_place = 0;
    c->later_offset = -1;
  }
  if (c->later != WEIR_CODE_NONE) {
    fail(c, c->later < WEIR_CODE_TIME ? WEIR_VERDICT_UNREPRESENTABLE : WEIR_VERDICT_BAD_TIME, (enum weir_code)c->later, c->later_place, 0);
    c->offset = c->later_offset;
    return (enum weir_verdict)c->verdict;
  }
  body_end(c);
  return WEIR_VERDICT_OK;
}
