/*
 * watch.c: the watchdog is fed only while every part is well.
 *
 * A part that never returns stops the feeding by itself; which one it was stands
 * in memory that survives the reset, because each is noted before it is entered.
 * A part that returns and makes no progress for stall_ms although it has
 * something to do is blamed, and the feeding ends.
 */
#include <string.h>

#include "core.h"

enum { RETAINED_MAGIC = 0x57524d31 };

static volatile struct weir_retained *retained(struct weir *w) {
  return w->ports.watchdog == NULL ? NULL : w->ports.watchdog->retained;
}

void weir_watch_init(struct weir *w) {
  volatile struct weir_retained *r = retained(w);
  w->cause = WEIR_RESET_POWER;
  if (w->ports.watchdog != NULL) w->cause = w->ports.watchdog->cause(w->ports.watchdog->ctx);
  if (r == NULL) return;
  if (r->magic == RETAINED_MAGIC) {
    if (w->cause == WEIR_RESET_WATCHDOG || w->cause == WEIR_RESET_FAULT) {
      uint32_t part = r->blamed != WEIR_PART_NONE ? r->blamed : r->part;
      w->cause_part = part < WEIR_PARTS ? (uint8_t)part : (uint8_t)WEIR_PART_NONE;
    }
    r->starts++;
  } else {
    r->magic = RETAINED_MAGIC;
    r->starts = 1;
  }
  r->part = WEIR_PART_NONE;
  r->blamed = WEIR_PART_NONE;
  r->uptime_s = 0;
}

#ifdef WEIR_HANG_HOOK
void weir_hang_hook(enum weir_part part); /* of a test: does not return for the part that shall hang */
#endif

void weir_watch_enter(struct weir *w, enum weir_part part) {
  volatile struct weir_retained *r = retained(w);
  if (r != NULL) r->part = (uint32_t)part;
#ifdef WEIR_HANG_HOOK
  weir_hang_hook(part);
#endif
}

void weir_watch_report(struct weir *w, enum weir_part part, enum weir_step step) {
  uint64_t *since = &w->watch.since[part];
  if (step == STEP_MOVED) w->moved = true;
  if (step != STEP_STUCK) *since = 0;
  else if (*since == 0) *since = w->now == 0 ? 1 : w->now;
}

void weir_board_alive(struct weir *w) {
  w->watch.board = w->watch.alive = true; /* the next step knows the time */
}

static uint64_t stall_us(const struct weir *w) { return (uint64_t)w->config.stall_ms * 1000u; }

/* Which part has made no progress for too long. */
static enum weir_part stuck(const struct weir *w) {
  for (unsigned p = 1; p < WEIR_PARTS; p++)
    if (w->watch.since[p] != 0 && w->now - w->watch.since[p] >= stall_us(w)) return (enum weir_part)p;
  if (w->watch.board && w->now - w->watch.alive_at >= stall_us(w)) return WEIR_PART_BOARD;
  return WEIR_PART_NONE;
}

void weir_watch_step(struct weir *w) {
  const struct weir_watchdog *dog = w->ports.watchdog;
  volatile struct weir_retained *r = retained(w);
  if (w->watch.alive) w->watch.alive_at = w->now;
  w->watch.alive = false;
  if (dog == NULL || w->watch.blamed) return;
  if (r != NULL) r->part = WEIR_PART_BOARD; /* at work from here to the next poll */
  if (w->now - w->watch.fed_at < (uint64_t)dog->timeout_ms * 125u && w->watch.fed_at != 0) return; /* an eighth */
  enum weir_part part = stuck(w);
  if (part != WEIR_PART_NONE) {
    w->watch.blamed = true;
    if (r != NULL) r->blamed = (uint32_t)part;
  } else {
    dog->feed(dog->ctx);
    w->watch.fed_at = w->now;
  }
  if (r != NULL) r->uptime_s = (uint32_t)(w->now / SECOND);
}

uint64_t weir_watch_deadline(const struct weir *w) {
  if (w->ports.watchdog == NULL || w->watch.blamed) return UINT64_MAX;
  return w->watch.fed_at + (uint64_t)w->ports.watchdog->timeout_ms * 500u;
}
