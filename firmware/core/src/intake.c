/* intake.c: from a message to a record in the ring, and the acknowledgement back. */
#include <string.h>

#include "bytes.h"
#include "core.h"
#include "weir/record.h"

enum { IN_NONE, IN_READING, IN_DEFERRED, IN_DOWN, IN_SCHEMA };

enum { SUB_NONE, SUB_DOWN, SUB_SCHEMA, SUB_TOPIC, SUB_PLAN };

enum { REBIND = 1024 }; /* readings after which the plans are said again: one damaged block takes the meaning of no more */

enum { HOLD_US = 2 * SECOND }; /* a card may stall so long; after that the connection must go on for others */

static const char schema_prefix[] = "weir/schema/";
enum { SCHEMA_PREFIX = sizeof schema_prefix - 1 };

/* All topics of the recorder's own begin so; those of readings hardly ever do. */
static bool is_own(const struct weir_mqtt_message *m) {
  return m->topic_size > 5 && weir_get32((const uint8_t *)m->topic) == UINT32_C(0x72696577) && m->topic[4] == '/'; /* weir */
}

static bool is_topic(const struct weir_mqtt_message *m, const char *topic) {
  return m->topic_size == strlen(topic) && m->topic_size <= WEIR_MQTT_TOPIC_MAX && memcmp(m->topic, topic, m->topic_size) == 0;
}

static bool is_schema_topic(const struct weir_mqtt_message *m) {
  return m->topic_size > SCHEMA_PREFIX && memcmp(m->topic, schema_prefix, SCHEMA_PREFIX) == 0;
}

/* --------------------------------------------------------------- the ring */

/* Gives up the oldest record. What the others need to be understood is said again. */
static void give_up_oldest(struct weir *w) {
  struct weir_ring_place oldest = {.sequence = w->ring.first};
  struct weir_ring_entry e;
  if (weir_ring_at(&w->ring, &oldest, &e)) {
    if (e.kind == WEIR_KIND_PLAN) w->rebind = true;
    if (e.kind == WEIR_KIND_TIME) w->time.record_due = true;
  }
  weir_ring_pop(&w->ring);
  w->stats.dropped_oldest++;
}

uint64_t weir_intake_push(struct weir *w, uint8_t kind, const uint8_t *body, uint32_t size) {
  uint64_t uptime_ms = w->now_ms;
  uint64_t sequence = weir_ring_push(&w->ring, kind, uptime_ms, body, size);
  if (sequence != 0) return sequence;
  /* What the gateway has need not wait for a card that stalls. */
  while (w->ring.count > 0 && w->ring.first <= w->uplink.cursor) weir_ring_pop(&w->ring);
  sequence = weir_ring_push(&w->ring, kind, uptime_ms, body, size);
  if (sequence != 0 || w->config.overflow != WEIR_DROP_OLDEST) return sequence;
  while (sequence == 0 && w->ring.count > 0) {
    give_up_oldest(w);
    sequence = weir_ring_push(&w->ring, kind, uptime_ms, body, size);
  }
  return sequence;
}

/* ------------------------------------------------------------ the receipts */

static struct weir_receipt *receipt(struct weir *w, uint32_t i) {
  uint32_t at = w->receipt_at + i; /* below twice as many */
  return &w->receipts[at < WEIR_IN_FLIGHT ? at : at - WEIR_IN_FLIGHT];
}

static void add_receipt(struct weir *w, uint16_t id, uint16_t hash, uint64_t sequence) {
  if (w->receipt_count == WEIR_IN_FLIGHT) { /* the oldest is acknowledged: begin looked */
    w->receipt_at = (uint8_t)(w->receipt_at + 1 < WEIR_IN_FLIGHT ? w->receipt_at + 1 : 0);
    w->receipt_count--;
  }
  *receipt(w, w->receipt_count++) = (struct weir_receipt){id, hash, (uint32_t)sequence, false};
  w->receipt_open++;
}

/* A message that came again after a reconnect: same id, DUP, same record. DUP alone says nothing, brokers set it
 * on messages that were never delivered. */
static const struct weir_receipt *known(struct weir *w, const struct weir_mqtt_message *m, uint16_t hash) {
  if (!m->dup) return NULL;
  for (uint32_t i = 0; i < (uint32_t)(w->receipt_count - w->receipt_open); i++) {
    const struct weir_receipt *r = receipt(w, i);
    if (r->id == m->id && r->hash == hash) return r;
  }
  return NULL;
}

/* Four bytes at a time, multiplied as in FNV-1 (Fowler, Noll, Vo), folded. It only tells apart what has the same id. */
static uint16_t hash_of(const uint8_t *body, uint32_t size) {
  uint32_t h = 2166136261u ^ size;
  for (; size >= 4; size -= 4, body += 4) h = (h ^ weir_get32(body)) * 16777619u;
  for (; size > 0; size--) h = (h ^ *body++) * 16777619u;
  return (uint16_t)(h ^ h >> 16);
}

static bool may_acknowledge(const struct weir *w, const struct weir_receipt *r) {
  if (w->config.ack == WEIR_ACK_RING) return true;
  uint64_t end = weir_durable_end(w);
  if (w->ring.first > end) end = w->ring.first; /* given up by WEIR_DROP_OLDEST */
  return (int32_t)(r->sequence - (uint32_t)end) < 0;
}

static bool acknowledge(struct weir *w) {
  bool any = false;
  while (w->receipt_open > 0) {
    struct weir_receipt *r = receipt(w, (uint32_t)(w->receipt_count - w->receipt_open));
    if (!may_acknowledge(w, r) || weir_mqtt_puback(&w->mqtt, r->id) != WEIR_OK) break;
    r->acknowledged = true;
    w->receipt_open--;
    w->stats.acknowledged++;
    any = true;
  }
  return any;
}

/* -------------------------------------------------------------- the checks */

static void refuse(struct weir *w, enum weir_verdict verdict) {
  static const uint8_t reasons[] = {0, WEIR_REFUSAL_MALFORMED, WEIR_REFUSAL_INVALID, WEIR_REFUSAL_RANGE, WEIR_REFUSAL_TIME,
                                    WEIR_REFUSAL_UNMATCHED};
  w->stats.refused[reasons[verdict]]++;
}

/* Whether the ring has no place for what these schemas may make, and must not make any. */
static bool must_hold(const struct weir *w, uint32_t size) {
  return w->config.overflow == WEIR_HOLD && w->ring.first > w->uplink.cursor && !weir_ring_fits(&w->ring, size);
}

/* The ring is full. For a while the network is held; then the message is let go without an
 * acknowledgement, so that the broker keeps it and what stands behind it (the gateway's cursor) comes through. */
static int hold(struct weir *w, const struct weir_mqtt_message *m) {
  if (w->held_since == 0) {
    w->held_since = w->now == 0 ? 1 : w->now;
    w->stats.held++;
  }
  if (w->ports.storage != NULL && w->now - w->held_since < HOLD_US) return WEIR_BUSY;
  if (m->qos == 0) {
    w->stats.dropped_newest++;
  } else {
    w->stats.deferred++;
    w->deferred = true;
  }
  w->in_kind = IN_DEFERRED;
  return WEIR_E_REFUSED;
}

static int begin_reading(struct weir *w, const struct weir_mqtt_message *m) {
  struct weir_captures captures;
  uint32_t body_max = 0;
  uint8_t from = 0;
  int i;
  w->in_checks = 0;
  if (m->topic_size > WEIR_MQTT_TOPIC_MAX) {
    w->stats.refused[WEIR_REFUSAL_TOPIC]++;
    return WEIR_E_REFUSED;
  }
  while ((i = weir_schema_find(w, m->topic, m->topic_size, from, &captures)) >= 0) {
    const struct weir_schema *s = &w->schemas[i];
    if (w->in_checks == WEIR_CHECKS) {
      w->in_checks = 0;
      w->stats.refused[WEIR_REFUSAL_CHECKS]++;
      return WEIR_E_REFUSED;
    }
    uint8_t k = w->in_checks++;
    w->in_schema[k] = (uint8_t)i;
    if (s->plan.body_max > body_max) body_max = s->plan.body_max;
    weir_check_begin(&w->checks[k], &s->plan, s->slot, &captures, w->bodies[k], WEIR_BODY_MAX, w->key);
    from = (uint8_t)(i + 1);
  }
  if (w->in_checks == 0) {
    w->stats.refused[WEIR_REFUSAL_UNMATCHED]++;
    return WEIR_E_REFUSED;
  }
  if (must_hold(w, body_max)) {
    w->in_checks = 0;
    return hold(w, m);
  }
  w->in_kind = IN_READING;
  return WEIR_OK;
}

/* Which check has the message: the first that takes it. -1: none, and *verdict says why. */
static int verdict_of(struct weir *w, enum weir_verdict *verdict) {
  *verdict = WEIR_VERDICT_UNMATCHED;
  for (int k = 0; k < w->in_checks; k++) {
    enum weir_verdict v = weir_check_end(&w->checks[k]);
    if (v == WEIR_VERDICT_OK) return k;
    if (*verdict == WEIR_VERDICT_UNMATCHED) *verdict = v;
  }
  return -1;
}

/* Puts the body of a check into the ring. WEIR_OK, WEIR_BUSY: held, WEIR_E_FULL: given up. */
static int keep(struct weir *w, int k, uint8_t schema) {
  struct weir_schema *s = &w->schemas[schema];
  uint64_t sequence = 0;
  if (weir_schema_bind(w, s)) sequence = weir_intake_push(w, WEIR_KIND_READING, w->bodies[k], w->checks[k].size);
  if (sequence != 0) {
    w->in_sequence = sequence;
    if (++w->stats.recorded % REBIND == 0) w->rebind = true;
    w->held_since = 0;
    return WEIR_OK;
  }
  if (w->config.overflow == WEIR_HOLD) return WEIR_BUSY;
  w->stats.dropped_newest++;
  return WEIR_E_FULL;
}

/* The verdict is asked once: a second weir_check_end after a hold would be another. */
static int end_reading(struct weir *w, const struct weir_mqtt_message *m) {
  enum weir_verdict verdict = WEIR_VERDICT_OK;
  int k = w->held_since != 0 && w->in_won < w->in_checks ? w->in_won : verdict_of(w, &verdict);
  uint16_t hash = 0;
  if (k < 0) {
    refuse(w, verdict);
  } else {
    hash = hash_of(w->bodies[k], w->checks[k].size);
    const struct weir_receipt *again = m->qos == 0 ? NULL : known(w, m, hash);
    if (again != NULL) {
      uint64_t end = weir_ring_next(&w->ring);
      uint64_t sequence = end - (uint32_t)((uint32_t)end - again->sequence);
      w->stats.redelivered++;
      add_receipt(w, m->id, hash, sequence);
      return WEIR_OK;
    }
    int r = keep(w, k, w->in_schema[k]);
    if (r == WEIR_BUSY) {
      w->in_won = (uint8_t)k;
      r = hold(w, m);
      return r == WEIR_BUSY ? WEIR_BUSY : WEIR_OK;
    }
  }
  if (m->qos == 1) add_receipt(w, m->id, hash, weir_ring_next(&w->ring) - 1);
  return WEIR_OK;
}

/* ------------------------------------------------------ the owner's calls */

static int on_begin(void *ctx, const struct weir_mqtt_message *m) {
  struct weir *w = (struct weir *)ctx;
  w->in_kind = IN_NONE;
  w->in_won = WEIR_CHECKS;
  if (m->qos == 1 && w->receipt_open == WEIR_IN_FLIGHT) {
    w->stats.held++;
    return WEIR_BUSY;
  }
  const bool own = is_own(m);
  if (own && is_topic(m, w->uplink.down_topic)) {
    w->in_kind = IN_DOWN;
    w->uplink.down_size = 0;
    return WEIR_OK;
  }
  if (w->phase != PHASE_RUNNING) return WEIR_BUSY;
  if (own && is_schema_topic(m) && w->schema_subscribed) {
    int r = weir_rollout_begin(w, m);
    if (r == WEIR_OK) w->in_kind = IN_SCHEMA;
    return r;
  }
  weir_watch_enter(w, WEIR_PART_CHECK);
  int r = begin_reading(w, m);
  weir_watch_enter(w, WEIR_PART_NETWORK);
  return r;
}

static uint32_t on_payload(void *ctx, const uint8_t *data, uint32_t n) {
  struct weir *w = (struct weir *)ctx;
  switch (w->in_kind) {
    case IN_READING:
      weir_watch_enter(w, WEIR_PART_CHECK);
      for (uint8_t k = 0; k < w->in_checks; k++) weir_check_feed(&w->checks[k], data, n);
      weir_watch_enter(w, WEIR_PART_NETWORK);
      break;
    case IN_DOWN: {
      struct weir_uplink *u = &w->uplink;
      if (u->down_size + n <= sizeof u->down) memcpy(u->down + u->down_size, data, n);
      u->down_size = u->down_size + n < u->down_size ? UINT32_MAX : u->down_size + n;
      break;
    }
    case IN_SCHEMA:
      weir_rollout_bytes(w, data, n);
      break;
    default:
      break;
  }
  return n;
}

static int on_end(void *ctx, const struct weir_mqtt_message *m) {
  struct weir *w = (struct weir *)ctx;
  int r = WEIR_OK;
  switch (w->in_kind) {
    case IN_READING:
      weir_watch_enter(w, WEIR_PART_RING);
      r = end_reading(w, m);
      weir_watch_enter(w, WEIR_PART_NETWORK);
      if (r == WEIR_BUSY) return r;
      w->stats.received++;
      break;
    case IN_DEFERRED:
      break;
    case IN_DOWN:
      weir_uplink_down(w);
      if (m->qos == 1) add_receipt(w, m->id, 0, weir_ring_next(&w->ring) - 1);
      break;
    case IN_SCHEMA:
      weir_rollout_end(w);
      if (m->qos == 1) add_receipt(w, m->id, 0, weir_ring_next(&w->ring) - 1);
      break;
    default: /* refused by begin, and counted there */
      w->stats.received++;
      if (m->qos == 1) add_receipt(w, m->id, 0, weir_ring_next(&w->ring) - 1);
      break;
  }
  w->in_kind = IN_NONE;
  w->in_checks = 0;
  return WEIR_OK;
}

static void on_abort(void *ctx) {
  struct weir *w = (struct weir *)ctx;
  if (w->in_kind == IN_SCHEMA) weir_rollout_abort(w);
  w->in_kind = IN_NONE;
  w->in_checks = 0;
}

static void on_up(void *ctx, bool present) {
  struct weir *w = (struct weir *)ctx;
  if (!present) {
    w->receipt_count = 0; /* ids of a session that is gone mean nothing */
    w->uplink.subscribed = false;
    w->schema_subscribed = false;
    w->topic_at = 0;
    for (uint8_t i = 0; i < w->schema_count; i++) w->schemas[i].subscribed = false;
  }
  /* What was not acknowledged comes again and is acknowledged then: an id that is
   * acknowledged before that may be another message's by the time the broker hears of it. */
  w->receipt_open = 0;
  w->deferred = false;
  w->subscribing = SUB_NONE;
  weir_uplink_up(w);
}

static void on_published(void *ctx) { weir_uplink_published((struct weir *)ctx); }

static void on_subscribed(void *ctx, bool granted) {
  struct weir *w = (struct weir *)ctx;
  w->subscribing = SUB_NONE;
  if (!granted) w->stats.subscribe_refused++;
}

void weir_intake_owner(struct weir *w, struct weir_mqtt_owner *owner) {
  *owner = (struct weir_mqtt_owner){w, on_begin, on_payload, on_end, on_abort, on_up, on_published, on_subscribed};
}

/* ------------------------------------------------------------ subscriptions */

/* Sends the next SUBSCRIBE. The gateway's topic comes first, so that it can answer the hello. */
static bool subscribe(struct weir *w) {
  char filter[WEIR_MQTT_TOPIC_MAX + 1];
  uint8_t qos = w->config.qos;
  if (w->mqtt.state != WEIR_MQTT_UP || w->subscribing != SUB_NONE) return false;
  if (!w->uplink.subscribed) {
    if (weir_mqtt_subscribe(&w->mqtt, w->uplink.down_topic, 0) != WEIR_OK) return false;
    w->uplink.subscribed = true;
    w->subscribing = SUB_DOWN;
    return true;
  }
  if (!w->schema_subscribed && w->config.schema_key != NULL && w->memory.plan_slots > 0) {
    if (weir_mqtt_subscribe(&w->mqtt, "weir/schema/+", 1) != WEIR_OK) return false;
    w->schema_subscribed = true;
    w->subscribing = SUB_SCHEMA;
    return true;
  }
  if (w->topic_at < w->config.topic_count) {
    if (weir_mqtt_subscribe(&w->mqtt, w->config.topics[w->topic_at], qos) != WEIR_OK) return false;
    w->topic_at++;
    w->subscribing = SUB_TOPIC;
    return true;
  }
  for (uint8_t i = 0; i < w->schema_count; i++) {
    struct weir_schema *s = &w->schemas[i];
    if (s->subscribed) continue;
    if (weir_plan_filter(&s->plan, filter, sizeof filter) == 0) {
      s->subscribed = true;
      continue;
    }
    if (weir_mqtt_subscribe(&w->mqtt, filter, qos) != WEIR_OK) return false;
    s->subscribed = true;
    w->subscribing = SUB_PLAN;
    return true;
  }
  return false;
}

enum weir_step weir_intake_step(struct weir *w) {
  bool moved = acknowledge(w);
  if (w->phase == PHASE_RUNNING && subscribe(w)) moved = true;
  if (w->deferred && w->mqtt.state == WEIR_MQTT_UP && w->ring.used < w->ring.size / 2) {
    weir_mqtt_restart(&w->mqtt); /* the broker sends what was let go */
    w->deferred = false;
    moved = true;
  }
  return moved ? STEP_MOVED : STEP_IDLE;
}

bool weir_intake_waits(const struct weir *w) { return w->receipt_open > 0; }

/* ------------------------------------------------------------ local sensors */

int weir_record(struct weir *w, const char *topic, const void *payload, uint32_t size, uint64_t *sequence) {
  struct weir_captures captures;
  enum weir_verdict verdict = WEIR_VERDICT_UNMATCHED;
  uint32_t n = (uint32_t)strlen(topic);
  const int k = WEIR_CHECKS - 1;
  uint8_t from = 0;
  int i;
  if (w->phase != PHASE_RUNNING || w->in_checks == WEIR_CHECKS) return WEIR_BUSY;
  weir_now(w);
  if (weir_schema_find(w, topic, n, 0, &captures) < 0) {
    w->stats.refused[WEIR_REFUSAL_UNMATCHED]++;
    return WEIR_E_UNKNOWN;
  }
  weir_watch_enter(w, WEIR_PART_CHECK);
  while ((i = weir_schema_find(w, topic, n, from, &captures)) >= 0) {
    const struct weir_schema *s = &w->schemas[i];
    if (must_hold(w, s->plan.body_max)) return WEIR_BUSY;
    weir_check_begin(&w->checks[k], &s->plan, s->slot, &captures, w->bodies[k], WEIR_BODY_MAX, w->key);
    weir_check_feed(&w->checks[k], payload, size);
    enum weir_verdict v = weir_check_end(&w->checks[k]);
    if (v == WEIR_VERDICT_OK) {
      int r = keep(w, k, (uint8_t)i);
      if (r == WEIR_OK) {
        w->stats.local++;
        if (sequence != NULL) *sequence = w->in_sequence;
      }
      return r;
    }
    if (verdict == WEIR_VERDICT_UNMATCHED) verdict = v;
    from = (uint8_t)(i + 1);
  }
  refuse(w, verdict);
  return WEIR_E_INVALID;
}
