/* What the parts of the check share: check.c reads bytes, check_value.c decides on values, check_body.c writes the record. */
#ifndef WEIR_CHECK_H
#define WEIR_CHECK_H

#include "decimal.h"
#include "plan_read.h"
#include "weir/plan.h"

/* check.c */

/* Ends the check: no JSON, or beyond the profile. */
void check_malformed(struct weir_check *c, enum weir_code code, uint32_t at);

/* The schema says no. The first word stands; only malformed goes before it. */
void check_refuse(struct weir_check *c, enum weir_code code, uint32_t node, uint32_t at);

/* Valid, and not to be recorded. The first note stands. */
void check_later(struct weir_check *c, enum weir_code code, uint32_t node, uint32_t at);

/* The states that check_quick.c knows. */
enum { CHECK_NAME = 2, CHECK_AFTER = 5 };

/* check_quick.c: takes usual members from the quote of a name on; the bytes that were taken, 0 for none. */
uint32_t check_quick(struct weir_check *c, const uint8_t *p, uint32_t n);

/* check_value.c: a value is complete. c->node is its node, c->start its offset. */
void check_string(struct weir_check *c);
void check_number(struct weir_check *c);
void check_decimal(struct weir_check *c, const struct decimal *d);
void check_word(struct weir_check *c, uint8_t type, bool truth);

/* The list or object of a level ended. */
void check_container(struct weir_check *c, const struct weir_level *level);

/* The whole payload, of format value or text, is one of null_values. */
void check_bare_null(struct weir_check *c, uint32_t node, uint32_t at);

/* Whether the text in c->text is that of a constant. */
bool check_text_is(const struct weir_check *c, const uint8_t *constant);

/* The number of the node wants its digits kept: a tag. */
bool check_wants_digits(const struct weir_check *c, uint32_t node);

/* The list of null_values of a node, or NULL. */
const uint8_t *check_nulls(const struct weir_check *c, uint32_t node);

/* check_body.c */

/* Writes the head of the body. */
void body_begin(struct weir_check *c, const struct weir_captures *captures);

/* Completes the body. */
void body_end(struct weir_check *c);

void body_decimal(struct weir_check *c, uint32_t field, const struct decimal *d);
void body_integer(struct weir_check *c, uint32_t field, int64_t value);
void body_byte(struct weir_check *c, uint32_t field, uint8_t value);
void body_text(struct weir_check *c, uint32_t field, const void *bytes, uint32_t n);

/* check_time.c: the time of the reading, into c->time and c->time_unit. */
bool time_number(struct weir_check *c, const struct decimal *d);
bool time_text(struct weir_check *c);

#endif
