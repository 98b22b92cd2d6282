/*
 * weir/plan.h: compiled schemas and the verdict on a payload.
 *
 * A plan is bytes (docs/format/plan.md) that stay where they lie. A payload is
 * checked while its bytes arrive, in any split:
 *
 *   weir_check_begin(&check, &plan, slot, &captures, body, sizeof body, key);
 *   weir_check_feed(&check, bytes, n);        once for each piece
 *   verdict = weir_check_end(&check);         WEIR_VERDICT_OK: body holds check.size bytes
 *
 * The verdict, its code and its offset are those of the server, for every
 * payload. Where several plans match a topic (`when`), each runs a check of its
 * own over the same pieces and the first that ends with WEIR_VERDICT_OK has it;
 * if none does, the message is refused for what the first says whose verdict is
 * not WEIR_VERDICT_UNMATCHED.
 *
 * Nothing here allocates, recurses, blocks or uses floating point. A feed does
 * work in proportion to its bytes.
 */
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include "weir/port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The device profile, conformance/device-profile.json. */
enum weir_profile {
  WEIR_PLAN_MAX = 8192,    /* bytes of a plan */
  WEIR_PLANS = 16,         /* slots of a device */
  WEIR_DEPTH_MAX = 8,      /* lists and objects in each other */
  WEIR_NAMES_MAX = 32,     /* names in the objects that are open at once */
  WEIR_NAME_MAX = 64,      /* bytes of a name in a payload */
  WEIR_TEXT_MAX = 128,     /* bytes of a text that is recorded */
  WEIR_FIELDS_MAX = 32,    /* tags and columns */
  WEIR_CAPTURES_MAX = 8,   /* captures of a topic */
  WEIR_TOPIC_MAX = 128,    /* bytes of a topic */
  WEIR_BODY_MAX = 400,     /* bytes of a record's body */
  WEIR_PROPERTIES_MAX = 32, /* of one object of a schema */
  WEIR_LIST_MAX = 64,      /* entries of an enum, a map, null_values */
  WEIR_WHENS_MAX = 8,      /* conditions of `when` */
  WEIR_ELEMENTS_MAX = 16,  /* elements of a list that a schema's pointers name */
  WEIR_DIGITS_MAX = 19     /* digits of a number */
};

/* Why a payload is taken or refused, in the order in which reasons win. */
enum weir_verdict {
  WEIR_VERDICT_OK = 0,
  WEIR_VERDICT_MALFORMED = 1,       /* no JSON by RFC 8259, or beyond the profile */
  WEIR_VERDICT_INVALID = 2,         /* the schema refuses it */
  WEIR_VERDICT_UNREPRESENTABLE = 3, /* valid, and a record cannot hold it */
  WEIR_VERDICT_BAD_TIME = 4,        /* valid, without a time that can be read */
  WEIR_VERDICT_UNMATCHED = 5        /* not the payload that this plan's `when` is for */
};

/* What exactly, numbered as in docs/format/plan.md. */
enum weir_code {
  WEIR_CODE_NONE = 0,
  WEIR_CODE_END = 1,
  WEIR_CODE_TRAILING = 2,
  WEIR_CODE_VALUE = 3,
  WEIR_CODE_STRING = 4,
  WEIR_CODE_NAME = 5,
  WEIR_CODE_COLON = 6,
  WEIR_CODE_COMMA = 7,
  WEIR_CODE_DEPTH = 8,
  WEIR_CODE_DUPLICATE = 9,
  WEIR_CODE_NAMES = 10,
  WEIR_CODE_NAME_LONG = 11,
  WEIR_CODE_DIGITS = 12,
  WEIR_CODE_TYPE = 16,
  WEIR_CODE_MIN = 17,
  WEIR_CODE_MAX = 18,
  WEIR_CODE_MULTIPLE = 19,
  WEIR_CODE_ENUM = 20,
  WEIR_CODE_SHORT = 21,
  WEIR_CODE_LONG = 22,
  WEIR_CODE_REQUIRED = 24,
  WEIR_CODE_UNKNOWN = 25,
  WEIR_CODE_FEW = 26,
  WEIR_CODE_MANY = 27,
  WEIR_CODE_MAP = 28,
  WEIR_CODE_WHEN = 31,
  WEIR_CODE_OVERFLOW = 40,
  WEIR_CODE_INT_RANGE = 41,
  WEIR_CODE_COLUMN = 42,
  WEIR_CODE_TEXT = 43,
  WEIR_CODE_TIME = 48,
  WEIR_CODE_NO_TIME = 49
};

/* ------------------------------------------------------------------- plans */

/* A plan that was found sound. It points to the caller's bytes. */
struct weir_plan {
  const uint8_t *bytes;
  uint16_t size;
  uint16_t body_max; /* the longest record body that it makes */
  uint32_t version;
  const char *name;  /* name_size bytes, without an end mark */
  uint8_t name_size;
  uint8_t id[8];
};

/* Looks through a plan once; bytes must stay where they are while *plan is used.
 * WEIR_OK         *plan is filled in; size may be more than the plan's own length, plan->size says that
 * WEIR_E_INVALID  not a plan, damaged, or one that this firmware does not run */
int weir_plan_open(struct weir_plan *plan, const uint8_t *bytes, uint32_t size);

/* Looks at a signed envelope (docs/format/plan.md) without checking the signature.
 * WEIR_OK         *plan, *plan_size and *signature (64 bytes) point into bytes; key_id is what stands there
 * WEIR_E_INVALID  not an envelope, or too short */
int weir_envelope_open(const uint8_t *bytes, uint32_t size, const uint8_t **plan, uint32_t *plan_size,
                       const uint8_t **signature, uint8_t key_id[8]);

/* One value of a topic, within the topic's bytes. */
struct weir_capture {
  uint16_t at;
  uint16_t size;
};

struct weir_captures {
  const char *topic;
  uint8_t count;
  struct weir_capture values[WEIR_CAPTURES_MAX];
};

/* Whether the plan's topic pattern takes the topic; *captures points into topic then.
 * A topic over WEIR_TOPIC_MAX matches nothing. */
bool weir_plan_match(const struct weir_plan *plan, const char *topic, uint32_t size, struct weir_captures *captures);

/* Writes the MQTT filter of the plan's topic pattern, with an end mark.
 * Its length, or 0 where it does not fit. */
uint32_t weir_plan_filter(const struct weir_plan *plan, char *out, uint32_t size);

/* ------------------------------------------------------------------ checks */

/* One object or list that is open. */
struct weir_level {
  uint32_t at;     /* its bracket */
  uint32_t seen;   /* object: the properties that were there */
  uint16_t count;  /* list: elements, at most 65,535; object: the property before, plus 1 */
  uint16_t node;   /* 0: nothing is known of it */
  uint8_t list;    /* 1: a list */
  uint8_t names;   /* unknown names of the objects around it */
  uint8_t named;   /* its own names, known or not */
};

/* A number on its way. */
struct weir_number {
  uint64_t mantissa;
  int32_t exponent;  /* of the digits alone */
  uint32_t power;    /* what stands after e, without its sign */
  uint8_t digits;    /* in the mantissa, from the first that is not 0 */
  bool negative;
  bool minus;        /* of the power */
};

/* One check; the caller's memory. Fields are not an interface unless said so. */
struct weir_check {
  /* Read these after weir_check_end. */
  uint8_t verdict;  /* enum weir_verdict */
  uint8_t code;     /* enum weir_code */
  uint8_t missing;  /* WEIR_CODE_REQUIRED: which property of its object */
  uint16_t place;   /* offset in the plan of the node that refused; 0: none */
  int32_t offset;   /* byte of the payload; -1: none */
  uint32_t size;    /* WEIR_VERDICT_OK: bytes of the body */

  /* The rest is the check's own. */
  const uint8_t *plan;
  uint8_t *body;
  uint32_t room;     /* of the body, for its head and values */
  uint32_t at;       /* offset of the next byte */
  uint32_t start;    /* of the value, or the name, that is being read */
  uint32_t mark;     /* of the escape or character that is being read */
  uint32_t runes;    /* characters of a string */
  uint64_t key;      /* of the hash of unknown names */
  int64_t time;      /* of the reading */
  uint64_t unknown[WEIR_NAMES_MAX]; /* hashes of the unknown names of the open objects */
  struct weir_level levels[WEIR_DEPTH_MAX];
  struct weir_number number;
  uint8_t lengths[WEIR_FIELDS_MAX]; /* bytes of each field's value in the body */
  uint8_t text[WEIR_TEXT_MAX];
  uint32_t present;
  uint32_t unit;     /* escapes: the code unit that is being read; UTF-8: bounds of the next byte; words: the first letter */
  uint32_t rune;     /* the character that is being read */
  uint32_t bare_at;  /* value: where the payload begins after space */
  uint16_t bare;     /* value: bytes since then */
  uint16_t high;     /* escapes: the first half of a surrogate pair */
  uint16_t node;     /* of the value that is being read */
  uint16_t head;     /* bytes of the body before the first field */
  uint8_t text_size;
  bool text_over;    /* the string did not fit into text */
  uint8_t state;
  uint8_t step;      /* within a state: digits of an escape, bytes of a character, letters of a word */
  uint8_t depth;
  uint8_t unknowns;
  uint8_t named;     /* names in the open objects */
  uint8_t whens;     /* conditions that are met */
  uint8_t later;     /* code of what cannot be recorded; the schema goes first */
  uint8_t nulls;     /* value: entries of null_values that may still be the payload */
  bool refused;      /* the schema said no: only malformed goes before that */
  bool timed;
  bool ended;
  bool raw;          /* the bytes of a number are kept as text */
  uint16_t later_place;
  int32_t later_offset;
  uint8_t slot;
  uint8_t time_unit; /* of time: 0 none, 1 ms, 2 us, 3 ns */
};

/* Begins a check. captures come from weir_plan_match and are read by this call only.
 * body has room for WEIR_BODY_MAX bytes, of which at most plan->body_max are filled; key is any 64 bits, best random (weir_random), the same for all checks.
 * WEIR_OK
 * WEIR_E_ARGUMENT  room is too small, slot is not below WEIR_PLANS, captures are not the plan's */
int weir_check_begin(struct weir_check *check, const struct weir_plan *plan, uint8_t slot,
                     const struct weir_captures *captures, uint8_t *body, uint32_t room, uint64_t key);

/* The next bytes of the payload, in any split; bytes may be NULL with size 0. Not after weir_check_end. */
void weir_check_feed(struct weir_check *check, const void *bytes, uint32_t size);

/* The payload is over. Asked again, it says the same.
 * WEIR_VERDICT_OK   body holds a reading of check->size bytes (docs/format/record.md, kind 0x01)
 * else              check->code, check->offset, check->place say why */
enum weir_verdict weir_check_end(struct weir_check *check);

#ifdef __cplusplus
}
#endif

#endif
