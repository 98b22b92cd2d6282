/*
 * weir/record.h: the body of a record (docs/format/record.md), for those that
 * look into one on the device. Readings are made by weir/plan.h; the gateway
 * reads them in Go.
 */
#ifndef WEIR_RECORD_H
#define WEIR_RECORD_H

#include "weir/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WEIR_KIND_PLAN = 0x03 }; /* says which plan a slot stands for */

enum { WEIR_BIND_MAX = 1 + 8 + 5 + 1 + 63 }; /* bytes of the body of kind 0x03 */

/* Writes the body of kind 0x03 for a plan in a slot. Its length, or 0 where it does not fit. */
uint32_t weir_record_bind(uint8_t *out, uint32_t room, uint8_t slot, const struct weir_plan *plan);

/* What a field of a reading holds. */
enum weir_form {
  WEIR_FORM_DECIMAL = 0, /* ±mantissa * 10^exponent */
  WEIR_FORM_INTEGER = 1, /* integer */
  WEIR_FORM_TEXT = 2,    /* text, size */
  WEIR_FORM_BOOL = 3,    /* integer: 0 or 1 */
  WEIR_FORM_CHOICE = 4,  /* integer: entry of the enum; text, size: that entry */
  WEIR_FORM_MAPPED = 5   /* integer: entry of the map */
};

struct weir_value {
  uint8_t form; /* enum weir_form */
  bool null;    /* nothing else is set then */
  bool negative;
  uint64_t mantissa;
  int32_t exponent;
  int64_t integer;
  const uint8_t *text;
  uint16_t size;
};

/* A reading that was found sound; it points to the caller's bytes. */
struct weir_reading {
  const struct weir_plan *plan;
  const uint8_t *body;
  uint32_t size;
  uint32_t present;
  uint16_t values;  /* where the first value stands */
  uint8_t fields;
  uint8_t time_unit; /* 0 none, 1 ms, 2 us, 3 ns */
  int64_t time;      /* since 1970 UTC in that unit */
  char captures[WEIR_TOPIC_MAX + 1]; /* joined by '/', with an end mark */
};

/* The slot of a reading's body; 0 to WEIR_PLANS - 1. size must be at least 1. */
static inline uint8_t weir_record_slot(const uint8_t *body) { return body[0] & 15u; }

/* Takes a reading apart.
 * WEIR_OK         *reading is filled in
 * WEIR_E_INVALID  damaged, or not of this plan */
int weir_record_open(struct weir_reading *reading, const struct weir_plan *plan, const uint8_t *body, uint32_t size);

/* Gives one field (tags first, then columns): index below reading->fields. */
void weir_record_value(const struct weir_reading *reading, uint8_t index, struct weir_value *value);

#ifdef __cplusplus
}
#endif

#endif
