#include "measure.h"

#include "board.h"
#include "regs.h"
#include "weir/weir.h"

enum { DEPTH = 8 };

static const char *const names[MEASURE_PARTS] = {"rest", "network", "check", "record", "crc", "card", "spi", "sleep"};
static uint64_t spent[MEASURE_PARTS]; /* in ticks of SysTick */
static uint32_t entered[MEASURE_PARTS];
static enum measure_part stack[DEPTH];
static uint32_t depth, last, own; /* own: ticks that one enter and leave take themselves */

static uint32_t count(void) { return SYST_CVR; }

/* Charges the ticks since the last call to the part at work. Intervals are shorter than SysTick's period, or sleep. */
static void charge(void) {
  const uint32_t now = count();
  spent[stack[depth]] += (last - now) & 0xFFFFFFu;
  last = now;
}

void measure_enter(enum measure_part part) {
  charge();
  entered[part]++;
  if (depth + 1 < DEPTH) {
    depth++;
  }
  stack[depth] = part;
}

void measure_leave(void) {
  charge();
  if (depth > 0) {
    depth--;
  }
}

void measure_start(void) {
  last = count();
  measure_enter(MEASURE_SLEEP);
  measure_leave();
  spent[MEASURE_REST] = 0;
  for (int i = 0; i < 64; i++) {
    measure_enter(MEASURE_SLEEP);
    measure_leave();
  }
  own = (uint32_t)(spent[MEASURE_REST] + spent[MEASURE_SLEEP]) / 64u;
  for (int i = 0; i < MEASURE_PARTS; i++) {
    spent[i] = 0;
    entered[i] = 0;
  }
}

/* Instructions by part since the last call. What measuring takes is left out: half of it stands with the part, half with the one around it. */
void measure_print(void) {
  console_text("instructions:");
  uint32_t all = 0;
  for (int i = 0; i < MEASURE_PARTS; i++) {
    all += entered[i];
  }
  for (int i = 0; i < MEASURE_PARTS; i++) {
    const uint64_t mine = (uint64_t)(i == MEASURE_REST ? all : entered[i]) * own / 2u;
    const uint64_t ticks = spent[i] > mine ? spent[i] - mine : 0;
    if (i != MEASURE_SLEEP) {
      console_field(names[i], (uint32_t)(ticks * 20u / 32u));
    }
    spent[i] = 0;
    entered[i] = 0;
  }
  console_line();
}

/*
 * The image is linked with --wrap for these: calls from other files come here
 * first, so that the core itself has nothing of measuring in it.
 */
#define WRAPPED(part, type, name, parameters, arguments) \
  type __real_##name parameters;                         \
  type __wrap_##name parameters;                         \
  type __wrap_##name parameters {                        \
    measure_enter(part);                                 \
    const type result = __real_##name arguments;         \
    measure_leave();                                     \
    return result;                                       \
  }

void __real_weir_check_feed(struct weir_check *c, const void *bytes, uint32_t size);
void __wrap_weir_check_feed(struct weir_check *c, const void *bytes, uint32_t size);
void __wrap_weir_check_feed(struct weir_check *c, const void *bytes, uint32_t size) {
  measure_enter(MEASURE_CHECK);
  __real_weir_check_feed(c, bytes, size);
  measure_leave();
}

WRAPPED(MEASURE_CHECK, int, weir_check_begin, (struct weir_check *c, const struct weir_plan *p, uint8_t slot, const struct weir_captures *captures, uint8_t *body, uint32_t room, uint64_t key), (c, p, slot, captures, body, room, key))
WRAPPED(MEASURE_CHECK, enum weir_verdict, weir_check_end, (struct weir_check *c), (c))
WRAPPED(MEASURE_CHECK, bool, weir_plan_match, (const struct weir_plan *p, const char *topic, uint32_t size, struct weir_captures *captures), (p, topic, size, captures))
WRAPPED(MEASURE_RECORD, uint64_t, weir_ring_push, (struct weir_ring *r, uint8_t kind, uint64_t uptime, const uint8_t *body, uint32_t size), (r, kind, uptime, body, size))
WRAPPED(MEASURE_RECORD, int, weir_storage_append, (struct weir_storage *s, uint8_t kind, uint64_t sequence, uint64_t uptime, const void *body, uint16_t size), (s, kind, sequence, uptime, body, size))
WRAPPED(MEASURE_CARD, int, weir_storage_poll, (struct weir_storage *s, uint64_t now), (s, now))
WRAPPED(MEASURE_CRC, uint32_t, weir_crc32, (uint32_t crc, const void *data, size_t n), (crc, data, n))
