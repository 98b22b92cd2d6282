/* core.h: what the parts of the recorder know of each other. Each part is a file. */
#ifndef WEIR_CORE_H
#define WEIR_CORE_H

#include "weir/weir.h"

/* What a build may choose; indices of these are bytes. */
_Static_assert(WEIR_CHECKS >= 1 && WEIR_CHECKS <= 8, "WEIR_CHECKS is 1 to 8");
_Static_assert(WEIR_IN_FLIGHT >= 1 && WEIR_IN_FLIGHT <= 255, "WEIR_IN_FLIGHT is 1 to 255");

enum { PHASE_EPOCH, PHASE_RUNNING, PHASE_QUIESCING, PHASE_QUIET };

enum { SECOND = 1000000 };

/* What one step of a part came to. */
enum weir_step {
  STEP_IDLE,  /* nothing to do */
  STEP_MOVED, /* something was done */
  STEP_STUCK  /* something is to be done, and did not move */
};

static inline uint64_t weir_earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* weir.c: reads the clock. */
void weir_now(struct weir *w);

/* intake.c: from MQTT and weir_record to the ring. */
void weir_intake_owner(struct weir *w, struct weir_mqtt_owner *owner);
enum weir_step weir_intake_step(struct weir *w); /* PUBACKs, subscriptions */
bool weir_intake_waits(const struct weir *w);
/* Puts a record into the ring as the overflow policy says.
 * Its sequence; 0: no room (WEIR_HOLD) or given up (WEIR_DROP_NEWEST, counted) */
uint64_t weir_intake_push(struct weir *w, uint8_t kind, const uint8_t *body, uint32_t size);

/* keep.c: from the ring to the card. */
enum weir_step weir_keep_step(struct weir *w);
uint64_t weir_keep_deadline(const struct weir *w);
void weir_keep_free(struct weir *w);          /* lets go of what is durable */
uint64_t weir_durable_end(const struct weir *w); /* one past what is durable, on the card or with the gateway */
enum weir_step weir_card_step(struct weir *w);
bool weir_card_comes(const struct weir *w);   /* it is being powered up or looked through, and may yet take records */
void weir_card_unusable(struct weir *w);      /* counts that, once until it takes records again */

/* schemas.c */
int weir_schema_put(struct weir *w, const struct weir_plan *plan, uint8_t room);
int weir_schema_find(const struct weir *w, const char *topic, uint32_t size, uint8_t from, struct weir_captures *captures);
bool weir_schema_bind(struct weir *w, struct weir_schema *s); /* its plan record is in the ring */
void weir_schemas_rebind(struct weir *w);

/* rollout.c: schemas that arrive on weir/schema/{name}. */
int weir_rollout_begin(struct weir *w, const struct weir_mqtt_message *m);
void weir_rollout_bytes(struct weir *w, const uint8_t *data, uint32_t n);
void weir_rollout_end(struct weir *w);
void weir_rollout_abort(struct weir *w);
enum weir_step weir_rollout_step(struct weir *w);
bool weir_rollout_ready(const struct weir *w); /* nothing is under way any more */
void weir_rollout_load(struct weir *w);

/* uplink.c, uplink_read.c, uplink_down.c */
int weir_uplink_init(struct weir *w);
void weir_uplink_up(struct weir *w);        /* connected */
void weir_uplink_published(struct weir *w); /* the broker has the message */
enum weir_step weir_uplink_step(struct weir *w);
uint64_t weir_uplink_deadline(const struct weir *w);
void weir_uplink_down(struct weir *w);      /* a message of the gateway is whole in uplink.down */
void weir_uplink_lose(struct weir *w, uint64_t epoch, uint64_t first, uint64_t end, uint8_t reason);

enum { LOST_OVERWRITTEN = 1, LOST_DROPPED = 2, LOST_DAMAGED = 3, LOST_ELSEWHERE = 4 };

/* time.c */
enum weir_step weir_time_step(struct weir *w);
void weir_time_learn(struct weir *w, uint64_t at_us, int64_t unix_us, uint32_t error_us, uint8_t source);
uint64_t weir_time_deadline(const struct weir *w);

/* watch.c */
void weir_watch_init(struct weir *w);
void weir_watch_enter(struct weir *w, enum weir_part part);
void weir_watch_report(struct weir *w, enum weir_part part, enum weir_step step);
void weir_watch_step(struct weir *w);
uint64_t weir_watch_deadline(const struct weir *w);

#endif
