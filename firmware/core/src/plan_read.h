/*
 * How a plan's bytes are read: byte by byte, so that a plan may stand at any
 * address of any processor. Only plans that weir_plan_open passed come here.
 */
#ifndef WEIR_PLAN_READ_H
#define WEIR_PLAN_READ_H

#include <stdbool.h>
#include <stdint.h>

/* Header of a plan. */
enum {
  PLAN_LENGTH = 6,
  PLAN_ID = 8,
  PLAN_VERSION = 16,
  PLAN_NAME = 20,
  PLAN_TOPIC = 22,
  PLAN_ROOT = 24,
  PLAN_BODY_MAX = 26,
  PLAN_PAYLOAD = 28,
  PLAN_TIME = 29,
  PLAN_WHENS = 30,
  PLAN_TAGS = 31,
  PLAN_COLUMNS = 32,
  PLAN_CAPTURES = 33,
  PLAN_FIELDS = 34,
  PLAN_HEADER = 36
};

enum { PAYLOAD_JSON = 0, PAYLOAD_VALUE = 1, PAYLOAD_TEXT = 2 };
enum { TIME_NONE = 0, TIME_S = 1, TIME_MS = 2, TIME_US = 3, TIME_NS = 4, TIME_RFC3339 = 5 };

/* Times lie from 1678-01-01 to before 2262-01-01: these seconds, as the server's. */
#define TIME_MIN_S INT64_C(-9214560000)
#define TIME_MAX_S INT64_C(9214646400)

/* Nodes. */
enum { NODE_TYPES = 0, NODE_USE = 1, NODE_FIELD = 2, NODE_CHECKS = 4, NODE_USES = 6, NODE_OBJECT = 8, NODE_ARRAY = 10, NODE_SIZE = 12 };
enum { NODE_REFUSED = 0xFFFF };
enum { USE_NONE = 0, USE_COLUMN = 1, USE_TIME = 2, USE_LIST = 3 };
enum { TAKE_COLUMN = 0, TAKE_TAG = 1, TAKE_TIME = 2, TAKE_WHEN = 3 };

enum {
  TYPE_NULL = 1,
  TYPE_BOOL = 2,
  TYPE_INTEGER = 4,
  TYPE_FRACTION = 8,
  TYPE_STRING = 16,
  TYPE_ARRAY = 32,
  TYPE_OBJECT = 64,
  TYPE_NUMBER = TYPE_INTEGER | TYPE_FRACTION,
  TYPE_ALL = 127
};

enum { CHECK_MIN = 1, CHECK_MAX = 2, CHECK_MULTIPLE = 4, CHECK_ENUM = 8, CHECK_LENGTH = 16, CHECK_NULLS = 32, CHECK_ALL = 63 };
enum { CONST_NULL = 1, CONST_BOOL = 2, CONST_NUMBER = 3, CONST_STRING = 4 };
enum { DECIMAL_SIZE = 12, DECIMAL_NEGATIVE = 1, DECIMAL_EXCLUSIVE = 2 };
enum { FIELD_SIZE = 6, OBJECT_HEAD = 6, OBJECT_ENTRY = 4, ARRAY_HEAD = 7 };
enum { NO_LIMIT = 0xFFFF };
enum { OBJECT_REFUSES = 1, OBJECT_PLAIN = 2 }; /* no name needs an escape in JSON */

static inline uint16_t read16(const uint8_t *p) { return (uint16_t)((uint32_t)p[0] | (uint32_t)p[1] << 8); }

static inline int32_t read16s(const uint8_t *p) { return (int16_t)read16(p); }

static inline uint32_t read32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t read64(const uint8_t *p) { return read32(p) | (uint64_t)read32(p + 4) << 32; }

/* Names and levels are short: words, the last of which may overlap the one before. */
static inline bool same_bytes(const uint8_t *a, const uint8_t *b, uint32_t n) {
  if (n >= 4) {
    const uint8_t *last = a + n - 4;
    for (; a < last; a += 4, b += 4) {
      if (read32(a) != read32(b)) return false;
    }
    return read32(last) == read32(b - (a - last));
  }
  for (; n > 0; n--) {
    if (*a++ != *b++) return false;
  }
  return true;
}

/* The field of that index: its 6 bytes. */
static inline const uint8_t *plan_field(const uint8_t *plan, uint32_t index) {
  return plan + read16(plan + PLAN_FIELDS) + index * FIELD_SIZE;
}

#endif
