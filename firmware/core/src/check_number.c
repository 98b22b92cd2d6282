/* Numbers as they come: digits into a mantissa of 64 bits, exactly (RFC 8259 section 6). */
#include "check_internal.h"

void weir_check_number_begins(struct weir_check *c, uint8_t ch) {
  struct weir_number *n = &c->number;
  n->mantissa = is_digit(ch) ? (uint64_t)(ch - '0') : 0;
  n->exponent = 0;
  n->power = 0;
  n->digits = n->mantissa != 0;
  n->negative = ch == '-';
  n->minus = false;
  c->state = ch == '-' ? S_NUMBER_SIGN : ch == '0' ? S_NUMBER_ZERO : S_NUMBER_WHOLE;
  c->raw = weir_check_wants_digits(c, c->node);
  c->text_size = 0;
  c->text_over = false;
  if (c->raw) weir_check_append(c, &ch, 1);
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
      weir_check_malformed(c, WEIR_CODE_DIGITS, c->start);
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
  weir_check_malformed(c, WEIR_CODE_VALUE, c->at);
  return true;
}

void weir_check_number_done(struct weir_check *c) {
  weir_check_number(c);
  weir_check_value_done(c, c->at);
}

/* Takes bytes of a number; 0: it ended before them. */
uint32_t weir_check_number_bytes(struct weir_check *c, const uint8_t *p, uint32_t n) {
  uint32_t taken = 1;
  if (is_digit(p[0]) && (c->state == S_NUMBER_WHOLE || c->state == S_NUMBER_FRACTION || c->state == S_NUMBER_POINT)) {
    bool fraction = c->state != S_NUMBER_WHOLE;
    if (fraction) c->state = S_NUMBER_FRACTION;
    taken = digits(c, p, n, fraction);
  } else if (!number_byte(c, p[0])) {
    weir_check_number_done(c);
    return 0;
  }
  if (c->raw) weir_check_append(c, p, taken);
  return taken;
}
