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

uint64_t posix_wall_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static int wall(void *ctx, int64_t *unix_us, uint32_t *error_us) {
  struct posix_clock *c = (struct posix_clock *)ctx;
  uint64_t now = uptime(c);
  if (now < c->wall_after_us) return WEIR_BUSY;
  *unix_us = (int64_t)(c->wall_base_ms * 1000u + now);
  *error_us = c->wall_error_us;
  return WEIR_OK;
}

void posix_clock_wall(struct posix_clock *c, uint8_t source, uint32_t error_ms, uint64_t base_ms, uint32_t after_s) {
  c->clock.wall = wall;
  c->clock.wall_source = source;
  c->wall_base_ms = base_ms;
  c->wall_after_us = (uint64_t)after_s * 1000000u;
  c->wall_error_us = error_ms * 1000u;
}
