#include "measure.h"

#include "board.h"
#include "regs.h"

enum { DEPTH = 8 };

static const char *const names[MEASURE_PARTS] = {"rest", "network", "check", "record", "crc", "card", "sleep"};
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
