/*
 * The bytes of a payload, as they come: strict JSON (RFC 8259) within the device
 * profile. Each state is what may stand next; runs of plain characters and of
 * digits are taken in loops of their own.
 */
#include "check_internal.h"

/* ---------------------------------------------------------------- verdicts */

static void fail(struct weir_check *c, enum weir_verdict verdict, enum weir_code code, uint32_t node, uint32_t at) {
  c->verdict = (uint8_t)verdict;
  c->code = (uint8_t)code;
  c->place = (uint16_t)node;
  c->offset = (int32_t)at;
}

void weir_check_malformed(struct weir_check *c, enum weir_code code, uint32_t at) {
  if (c->state == S_STOP) return;
  fail(c, WEIR_VERDICT_MALFORMED, code, 0, at);
  c->refused = true;
  c->state = S_STOP;
}

void weir_check_refuse(struct weir_check *c, enum weir_code code, uint32_t node, uint32_t at) {
  if (c->refused) return;
  fail(c, WEIR_VERDICT_INVALID, code, node, at);
  c->refused = true;
}

void weir_check_later(struct weir_check *c, enum weir_code code, uint32_t node, uint32_t at) {
  if (c->refused || c->later != WEIR_CODE_NONE) return;
  c->later = (uint8_t)code;
  c->later_place = (uint16_t)node;
  c->later_offset = (int32_t)at;
}

/* -------------------------------------------------------------------- words */

static const char *word(uint8_t first) { return first == 't' ? "true" : first == 'f' ? "false" : "null"; }

static void word_byte(struct weir_check *c, uint8_t ch) {
  const char *w = word((uint8_t)c->unit);
  if (ch != (uint8_t)w[c->step]) {
    weir_check_malformed(c, WEIR_CODE_VALUE, c->start);
    return;
  }
  if (w[++c->step] != 0) return;
  weir_check_word(c, w[0] == 'n' ? TYPE_NULL : TYPE_BOOL, w[0] == 't');
  weir_check_value_done(c, c->at + 1);
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
    case '[': weir_check_open(c, ch == '['); return;
    case 't':
    case 'f':
    case 'n':
      c->unit = ch;
      c->step = 1;
      c->state = S_WORD;
      return;
    default:
      if (ch != '-' && !is_digit(ch)) {
        weir_check_malformed(c, WEIR_CODE_VALUE, c->at);
        return;
      }
      weir_check_number_begins(c, ch);
  }
}

/* One byte between values. */
static void byte_between(struct weir_check *c, uint8_t ch) {
  if (is_space(ch)) return;
  switch (c->state) {
    case S_FIRST_VALUE:
      if (ch == ']') {
        weir_check_close(c);
        return;
      }
      weir_check_next_element(c);
      value_begins(c, ch);
      return;
    case S_VALUE: value_begins(c, ch); return;
    case S_FIRST_NAME:
      if (ch == '}') {
        weir_check_close(c);
        return;
      }
      /* fall through */
    case S_NAME:
      if (ch == '"') {
        weir_check_name_begins(c);
      } else {
        weir_check_malformed(c, WEIR_CODE_NAME, c->at);
      }
      return;
    case S_COLON:
      if (ch == ':') {
        c->state = S_VALUE;
      } else {
        weir_check_malformed(c, WEIR_CODE_COLON, c->at);
      }
      return;
    case S_AFTER:
      if (ch == ',') {
        if (check_top(c)->list) weir_check_next_element(c);
        c->state = check_top(c)->list ? S_VALUE : S_NAME;
      } else if (ch == (check_top(c)->list ? ']' : '}')) {
        weir_check_close(c);
      } else {
        weir_check_malformed(c, WEIR_CODE_COMMA, c->at);
      }
      return;
    default: weir_check_malformed(c, WEIR_CODE_TRAILING, c->plan[PLAN_PAYLOAD] == PAYLOAD_VALUE ? c->mark : c->at);
  }
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
  weir_body_begin(c, captures);
  return WEIR_OK;
}

void weir_check_feed(struct weir_check *check, const void *bytes, uint32_t size) {
  struct weir_check *c = check;
  const uint8_t *p = bytes;
  const bool value = c->plan[PLAN_PAYLOAD] == PAYLOAD_VALUE;
  if (value) weir_check_bare_bytes(c, p, size);
  uint32_t i = 0;
  while (i < size) {
    uint32_t taken = 1;
    switch (c->state) {
      case S_STOP: return;
      case S_NAME_TEXT:
      case S_STRING_TEXT: taken = weir_check_string_bytes(c, p + i, size - i); break;
      case S_NUMBER_SIGN:
      case S_NUMBER_ZERO:
      case S_NUMBER_WHOLE:
      case S_NUMBER_POINT:
      case S_NUMBER_FRACTION:
      case S_NUMBER_E:
      case S_NUMBER_ESIGN:
      case S_NUMBER_POWER: taken = weir_check_number_bytes(c, p + i, size - i); break;
      case S_WORD: word_byte(c, p[i]); break;
      case S_BARE_TEXT: taken = weir_check_bare_text(c, p + i, size - i); break;
      case S_NAME:
      case S_FIRST_NAME:
        taken = p[i] == '"' ? weir_check_quick(c, p + i, size - i) : 0;
        if (taken > 0) break;
        taken = 1;
        /* fall through */
      default: byte_between(c, p[i]);
    }
    i += taken;
    c->at += taken;
    if (value && c->refused) c->state = S_STOP; /* the first error decides alone */
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
      weir_check_number_done(c);
      if (c->state != S_END) weir_check_malformed(c, WEIR_CODE_END, c->at);
      break;
    case S_WORD: weir_check_malformed(c, WEIR_CODE_VALUE, c->start); break;
    case S_NAME_TEXT:
    case S_STRING_TEXT: weir_check_malformed(c, WEIR_CODE_STRING, c->step == T_PLAIN ? c->at : c->mark); break;
    case S_BARE_TEXT:
      if (c->step != T_PLAIN) {
        weir_check_malformed(c, WEIR_CODE_STRING, c->mark);
      } else {
        weir_check_string(c);
      }
      break;
    default: weir_check_malformed(c, WEIR_CODE_END, c->at);
  }
}

enum weir_verdict weir_check_end(struct weir_check *check) {
  struct weir_check *c = check;
  if (c->ended) return (enum weir_verdict)c->verdict;
  c->ended = true;
  finish(c);
  if (c->plan[PLAN_PAYLOAD] == PAYLOAD_VALUE && weir_check_is_bare_null(c)) {
    c->verdict = WEIR_VERDICT_OK;
    c->refused = false;
    c->later = WEIR_CODE_NONE;
    c->timed = false;
    c->present = 0;
    c->size = c->head;
    weir_check_bare_null(c, read16(c->plan + PLAN_ROOT), c->bare_at);
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
  weir_body_end(c);
  return WEIR_VERDICT_OK;
}
