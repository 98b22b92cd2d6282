/* clock.c: uptime of a Linux process. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "posix.h"

static uint64_t monotonic(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static uint64_t uptime(void *ctx) {
  struct posix_clock *c = (struct posix_clock *)ctx;
  return c->is_virtual ? c->now : monotonic() - c->started;
}

void posix_clock_init(struct posix_clock *c, bool is_virtual) {
  *c = (struct posix_clock){.clock = {.ctx = c, .uptime_us = uptime}, .is_virtual = is_virtual, .started = monotonic()};
}
