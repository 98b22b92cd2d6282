/* time.c: the time of day, when it is learnt, becomes a record: a reader places the others by their uptime. */
#include "core.h"
#include "octets.h"

enum {
  TIME_BODY = 21,        /* docs/format/segment.md, kind 0x02 */
  AGAIN_S = 3600,        /* a clock drifts: learn again */
  LOOK_S = 60,           /* how often the port is asked while it does not know */
  FROM_GATEWAY = 1,
  FROM_PORT = 2,
  DRIFT_PPM = 100
};

void weir_time_learn(struct weir *w, uint64_t at_us, int64_t unix_us, uint32_t error_us, uint8_t source) {
  w->time.known = true;
  w->time.source = source;
  w->time.learnt_at = at_us;
  w->time.unix_us = unix_us;
  w->time.error_us = error_us;
  w->time.record_due = true;
}

/* False: no room in the ring. */
static bool write_record(struct weir *w) {
  uint8_t body[TIME_BODY];
  weir_put64(body, w->time.learnt_at);
  weir_put64(body + 8, (uint64_t)w->time.unix_us);
  weir_put32(body + 16, w->time.error_us);
  body[20] = w->time.source;
  if (weir_intake_push(w, WEIR_KIND_TIME, body, sizeof body) == 0) return false;
  w->time.record_due = false;
  return true;
}

enum weir_step weir_time_step(struct weir *w) {
  const struct weir_clock *clock = w->ports.clock;
  int64_t unix_us;
  uint32_t error_us;
  if (w->phase != PHASE_RUNNING) return STEP_IDLE; /* nothing new is written when quiet was asked for */
  if (w->time.record_due) return write_record(w) ? STEP_MOVED : STEP_IDLE;
  if (w->now < w->time.look_at) return STEP_IDLE;
  w->time.look_at = w->now + (uint64_t)(w->time.known ? AGAIN_S : LOOK_S) * SECOND;
  if (clock->wall != NULL && clock->wall(clock->ctx, &unix_us, &error_us) == WEIR_OK) {
    weir_time_learn(w, w->now, unix_us, error_us, clock->wall_source > FROM_PORT ? clock->wall_source : FROM_PORT);
    w->time.look_at = w->now + (uint64_t)AGAIN_S * SECOND;
    return STEP_MOVED;
  }
  if (w->time.source < FROM_PORT) w->uplink.wants_time = true;
  return STEP_IDLE;
}

uint64_t weir_time_deadline(const struct weir *w) { return w->phase == PHASE_RUNNING ? w->time.look_at : UINT64_MAX; }

int weir_wall(const struct weir *w, uint64_t uptime_us, int64_t *unix_us, uint32_t *error_us) {
  if (!w->time.known) return WEIR_BUSY;
  int64_t since = (int64_t)(uptime_us - w->time.learnt_at);
  uint64_t away = (uint64_t)(since < 0 ? -since : since);
  uint64_t error = w->time.error_us + away / 1000000u * DRIFT_PPM;
  *unix_us = w->time.unix_us + since;
  *error_us = error > UINT32_MAX ? UINT32_MAX : (uint32_t)error;
  return WEIR_OK;
}
