/* Strings: runs of plain characters, UTF-8, escapes (RFC 8259 section 7). */
#include "check_internal.h"

#include <string.h>

/* The continuation byte that comes next lies within bounds that the bytes before it set: low and high, as unit. */
#define BOUNDS(low, high) ((uint32_t)(low) << 8 | (uint32_t)(high))

void weir_check_append(struct weir_check *c, const uint8_t *bytes, uint32_t n) {
  uint32_t room = WEIR_TEXT_MAX - c->text_size;
  if (n > room) {
    c->text_over = true;
    n = room;
  }
  memcpy(c->text + c->text_size, bytes, n);
  c->text_size = (uint8_t)(c->text_size + n);
  if (c->state == S_NAME_TEXT && c->text_size > WEIR_NAME_MAX) weir_check_malformed(c, WEIR_CODE_NAME_LONG, c->start);
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
  weir_check_append(c, out, n);
}

/* The first byte of a character beyond ASCII. */
void weir_check_rune_begins(struct weir_check *c, uint8_t ch) {
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
    weir_check_malformed(c, WEIR_CODE_STRING, c->at);
  }
}

void weir_check_rune_goes_on(struct weir_check *c, uint8_t ch) {
  if (ch < c->unit >> 8 || ch > (c->unit & 0xFF)) {
    weir_check_malformed(c, WEIR_CODE_STRING, c->mark);
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
      weir_check_malformed(c, WEIR_CODE_STRING, c->mark);
      return;
    }
    append_rune(c, 0x10000 + ((c->high - 0xD800u) << 10) + (u - 0xDC00));
  } else if (u >= 0xD800 && u <= 0xDBFF) {
    c->high = (uint16_t)u;
    c->step = T_PAIR;
  } else if (u >= 0xDC00 && u <= 0xDFFF) {
    weir_check_malformed(c, WEIR_CODE_STRING, c->mark);
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
  weir_check_malformed(c, WEIR_CODE_STRING, c->mark);
}

/* Takes bytes of a string; the number that were taken. */
uint32_t weir_check_string_bytes(struct weir_check *c, const uint8_t *p, uint32_t n) {
  uint8_t ch = p[0];
  if (c->step >= T_RUNE) {
    weir_check_rune_goes_on(c, ch);
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
    weir_check_append(c, p, i);
    return i;
  }
  if (ch == '"') {
    if (c->state == S_NAME_TEXT) {
      weir_check_name_done(c);
    } else {
      weir_check_string(c);
      weir_check_value_done(c, c->at + 1);
    }
  } else if (ch == '\\') {
    c->mark = c->at;
    c->high = 0;
    c->step = T_ESCAPE;
  } else if (ch < 0x20) {
    weir_check_malformed(c, WEIR_CODE_STRING, c->at);
  } else {
    weir_check_rune_begins(c, ch);
  }
  return 1;
}
