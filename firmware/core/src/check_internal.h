/* What the parts of the check share: check.c reads bytes, check_value.c decides on values, check_body.c writes the record. */
#ifndef WEIR_CHECK_H
#define WEIR_CHECK_H

#include "decimal.h"
#include "plan_read.h"
#include "weir/plan.h"

/* check.c */

/* Ends the check: no JSON, or beyond the profile. */
void weir_check_malformed(struct weir_check *c, enum weir_code code, uint32_t at);

/* The schema says no. The first word stands; only malformed goes before it. */
void weir_check_refuse(struct weir_check *c, enum weir_code code, uint32_t node, uint32_t at);

/* Valid, and not to be recorded. The first note stands. */
void weir_check_later(struct weir_check *c, enum weir_code code, uint32_t node, uint32_t at);

/* What may stand next. */
enum state {
  S_VALUE,       /* a value */
  S_FIRST_VALUE, /* a value, or the end of the list */
  S_NAME,        /* a name */
  S_FIRST_NAME,  /* a name, or the end of the object */
  S_COLON,
  S_AFTER, /* a comma, or the end of the list or object */
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

static inline bool is_digit(uint8_t ch) { return (uint8_t)(ch - '0') <= 9; }

static inline bool is_space(uint8_t ch) { return ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t'; }

static inline struct weir_level *check_top(struct weir_check *c) { return &c->levels[c->depth - 1]; }

/* check_level.c */

/* A value ended before the byte at `end`. */
void weir_check_value_done(struct weir_check *c, uint32_t end);

/* A list or object opens, or ends, at c->at. */
void weir_check_open(struct weir_check *c, bool list);
void weir_check_close(struct weir_check *c);

/* The node of the element of a list that comes next. */
void weir_check_next_element(struct weir_check *c);

/* A name begins at c->at; it is complete in c->text. */
void weir_check_name_begins(struct weir_check *c);
void weir_check_name_done(struct weir_check *c);

/* check_text.c: each takes bytes and returns how many. */
uint32_t weir_check_string_bytes(struct weir_check *c, const uint8_t *p, uint32_t n);
void weir_check_append(struct weir_check *c, const uint8_t *bytes, uint32_t n);
void weir_check_rune_begins(struct weir_check *c, uint8_t ch);
void weir_check_rune_goes_on(struct weir_check *c, uint8_t ch);

/* check_number.c */
void weir_check_number_begins(struct weir_check *c, uint8_t ch);
void weir_check_number_done(struct weir_check *c);

/* Takes bytes of a number; 0: it ended before them. */
uint32_t weir_check_number_bytes(struct weir_check *c, const uint8_t *p, uint32_t n);

/* check_bare.c */

/* Format text: UTF-8 to the end. */
uint32_t weir_check_bare_text(struct weir_check *c, const uint8_t *p, uint32_t n);

/* Format value: which of null_values, compared as bare text, may the payload still be? */
void weir_check_bare_bytes(struct weir_check *c, const uint8_t *p, uint32_t n);

/* Whether the whole payload was one of them. */
bool weir_check_is_bare_null(const struct weir_check *c);

/* check_quick.c: takes usual members from the quote of a name on; the bytes that were taken, 0 for none. */
uint32_t weir_check_quick(struct weir_check *c, const uint8_t *p, uint32_t n);

/* check_value.c: a value is complete. c->node is its node, c->start its offset. */
void weir_check_string(struct weir_check *c);
void weir_check_number(struct weir_check *c);
void weir_check_decimal(struct weir_check *c, const struct decimal *d);
void weir_check_word(struct weir_check *c, uint8_t type, bool truth);

/* The list or object of a level ended. */
void weir_check_container(struct weir_check *c, const struct weir_level *level);

/* The whole payload, of format value or text, is one of null_values. */
void weir_check_bare_null(struct weir_check *c, uint32_t node, uint32_t at);

/* Whether the text in c->text is that of a constant. */
bool weir_check_text_is(const struct weir_check *c, const uint8_t *constant);

/* The number of the node wants its digits kept: a tag. */
bool weir_check_wants_digits(const struct weir_check *c, uint32_t node);

/* The list of null_values of a node, or NULL. */
const uint8_t *weir_check_nulls(const struct weir_check *c, uint32_t node);

/* check_body.c */

/* Writes the head of the body. */
void weir_body_begin(struct weir_check *c, const struct weir_captures *captures);

/* Completes the body. */
void weir_body_end(struct weir_check *c);

/* The time is known: where no field stands yet, it is written at once, and the fields need not make room for it. */
void weir_body_time(struct weir_check *c);

void weir_body_decimal(struct weir_check *c, uint32_t field, const struct decimal *d);
void weir_body_integer(struct weir_check *c, uint32_t field, int64_t value);
void weir_body_byte(struct weir_check *c, uint32_t field, uint8_t value);
void weir_body_text(struct weir_check *c, uint32_t field, const void *bytes, uint32_t n);

/* check_time.c: the time of the reading, into c->time and c->time_unit. */
bool weir_time_number(struct weir_check *c, const struct decimal *d);
bool weir_time_text(struct weir_check *c);

#endif
