/* uplink.c: what is said to the gateway beside records, and when. */
#include "uplink.h"

#include <string.h>

#include "crc.h"
#include "octets.h"

enum {
  SILENCE_S = 15,       /* no cursor for so long: hello again */
  SILENCE_MAX_S = 900,
  STATUS_S = 900,
  CARD_NONE = 0,
  CARD_KNOWN = 1,
  CARD_UNKNOWN = 2,
  FLIGHT_S = 30 /* a broker that answers pings and not a PUBLISH is not waited for longer */
};

int weir_uplink_init(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  size_t n = strlen(w->config.device);
  if (n == 0 || n > WEIR_NAME_CUT) return WEIR_E_ARGUMENT;
  for (size_t i = 0; i < n; i++) {
    char c = w->config.device[i];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
      return WEIR_E_ARGUMENT;
  }
  memcpy(u->up_topic, "weir/up/", 8);
  memcpy(u->up_topic + 8, w->config.device, n + 1);
  memcpy(u->down_topic, "weir/down/", 10);
  memcpy(u->down_topic + 10, w->config.device, n + 1);
  u->live = 1;
  u->order = (uint8_t)w->config.order;
  u->wants_status = true;
  return WEIR_OK;
}

/* ---------------------------------------------------------------- messages */

void weir_uplink_u8(struct weir *w, uint32_t v) { w->memory.batch[w->uplink.batch_size++] = (uint8_t)v; }

void weir_uplink_u64(struct weir *w, uint64_t v) {
  weir_put64(w->memory.batch + w->uplink.batch_size, v);
  w->uplink.batch_size += 8;
}

void weir_uplink_varint(struct weir *w, uint64_t v) {
  w->uplink.batch_size += weir_put_varint(w->memory.batch + w->uplink.batch_size, v);
}

void weir_uplink_bytes(struct weir *w, const void *data, uint32_t n) {
  memcpy(w->memory.batch + w->uplink.batch_size, data, n);
  w->uplink.batch_size += n;
}

void weir_uplink_open(struct weir *w, uint8_t kind) {
  w->uplink.batch_size = 0;
  weir_uplink_u8(w, kind);
  weir_uplink_u8(w, UPLINK_FORM);
}

bool weir_uplink_send(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  weir_put32(w->memory.batch + u->batch_size, weir_crc32(0, w->memory.batch, u->batch_size));
  if (weir_mqtt_publish(&w->mqtt, u->up_topic, w->memory.batch, u->batch_size + UPLINK_CRC) != WEIR_OK) return false;
  u->in_flight = true;
  u->flight_at = w->now;
  return true;
}

bool weir_uplink_card_reads(const struct weir *w) {
  enum weir_card_state s = w->ports.storage != NULL ? weir_storage_state(w->ports.storage) : WEIR_CARD_ABSENT;
  return s == WEIR_CARD_READY || s == WEIR_CARD_READ_ONLY;
}

/* A card that is there is looked through in a moment: the hello waits for that. */
static bool card_is_read(const struct weir *w) {
  uint64_t epoch, sequence;
  return weir_uplink_card_reads(w) && weir_storage_oldest(w->ports.storage, &epoch, &sequence) == WEIR_BUSY;
}

static bool hello(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  uint64_t epoch = 0, sequence = 0, last = w->ring.first - 1;
  bool card = w->ports.storage != NULL;
  if (card) {
    uint64_t end = weir_storage_durable(w->ports.storage);
    last = end > 0 ? end - 1 : 0; /* 0: nothing was appended yet */
  }
  bool oldest = weir_uplink_card_reads(w);
  uint32_t card_id = oldest ? weir_storage_card_id(w->ports.storage) : 0;
  if (oldest && weir_storage_oldest(w->ports.storage, &epoch, &sequence) != WEIR_OK) { /* it is empty */
    epoch = w->epoch;
    sequence = last + 1;
  }
  weir_uplink_open(w, UP_HELLO);
  weir_uplink_u64(w, w->epoch);
  weir_uplink_varint(w, last);
  weir_uplink_varint(w, w->now_ms);
  weir_uplink_u8(w, (uint32_t)w->cause);
  weir_uplink_u8(w, w->cause_part);
  weir_uplink_u8(w, w->config.order);
  weir_uplink_u8(w, oldest ? CARD_KNOWN : card ? CARD_UNKNOWN : CARD_NONE);
  if (oldest) {
    for (uint32_t i = 0; i < 4; i++) weir_uplink_u8(w, card_id >> (8 * i) & 0xff);
    weir_uplink_u64(w, epoch);
    weir_uplink_varint(w, sequence);
  }
  if (!weir_uplink_send(w)) return false;
  u->wants_hello = false;
  u->greeted = false;
  u->window_count = 0;
  u->ask_count = 0;
  u->hello_last = last;
  u->live = last + 1;
  /* Twice as long for each hello that nobody answered. */
  uint32_t wait = SILENCE_S;
  for (uint8_t i = 0; i < u->quiet && wait < SILENCE_MAX_S; i++) wait *= 2;
  u->hello_at = w->now + (uint64_t)(wait < SILENCE_MAX_S ? wait : SILENCE_MAX_S) * SECOND;
  if (u->quiet < 8) u->quiet++;
  w->stats.hellos++;
  return true;
}

static bool declare_lost(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  weir_uplink_open(w, UP_LOST);
  weir_uplink_varint(w, u->loss_count);
  for (uint8_t i = 0; i < u->loss_count; i++) {
    const struct weir_loss *l = &u->losses[i];
    weir_uplink_u64(w, l->epoch);
    weir_uplink_varint(w, l->first);
    weir_uplink_varint(w, l->end - l->first);
    weir_uplink_u8(w, l->reason);
  }
  if (!weir_uplink_send(w)) return false;
  u->loss_count = 0;
  return true;
}

void weir_uplink_lose(struct weir *w, uint64_t epoch, uint64_t first, uint64_t end, uint8_t reason) {
  struct weir_uplink *u = &w->uplink;
  if (first >= end || epoch == 0) return;
  w->stats.lost += (uint32_t)(end - first);
  if (u->loss_count > 0) {
    struct weir_loss *l = &u->losses[u->loss_count - 1];
    if (l->epoch == epoch && l->end == first && l->reason == reason) {
      l->end = end;
      return;
    }
  }
  /* Those who call leave room; one that finds none is declared when the gateway asks for it. */
  if (u->loss_count < WEIR_LOSSES) u->losses[u->loss_count++] = (struct weir_loss){epoch, first, end, reason};
}

static bool ask_time(struct weir *w) {
  weir_uplink_open(w, UP_TIME);
  weir_uplink_u64(w, w->epoch);
  weir_uplink_varint(w, w->now);
  if (!weir_uplink_send(w)) return false;
  w->uplink.wants_time = false;
  w->time.asked = true;
  w->time.asked_at = w->now;
  return true;
}

static bool served(struct weir *w) {
  weir_uplink_open(w, UP_SERVED);
  weir_uplink_u64(w, w->epoch);
  if (!weir_uplink_send(w)) return false;
  w->uplink.wants_served = false;
  return true;
}

static void status_schemas(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  uint32_t limit = w->memory.batch_size - UPLINK_CRC - 300; /* the rest of the message takes less */
  uint32_t count_at = u->batch_size, n = 0;
  weir_uplink_u8(w, 0);
  for (uint8_t i = 0; i < w->schema_count; i++) {
    const struct weir_plan *p = &w->schemas[i].plan;
    if (u->batch_size + 1u + p->name_size + 5u + 8u > limit) break;
    weir_uplink_u8(w, p->name_size);
    weir_uplink_bytes(w, p->name, p->name_size);
    weir_uplink_varint(w, p->version);
    weir_uplink_bytes(w, p->id, 8);
    n++;
  }
  w->memory.batch[count_at] = (uint8_t)n;
}

static void status_counters(struct weir *w) {
  const struct weir_stats *s = &w->stats;
  const uint32_t values[] = {s->received,
                             s->local,
                             s->recorded,
                             s->refused[WEIR_REFUSAL_MALFORMED],
                             s->refused[WEIR_REFUSAL_INVALID],
                             s->refused[WEIR_REFUSAL_RANGE],
                             s->refused[WEIR_REFUSAL_TIME],
                             s->refused[WEIR_REFUSAL_UNMATCHED],
                             s->refused[WEIR_REFUSAL_TOPIC],
                             s->refused[WEIR_REFUSAL_CHECKS],
                             s->redelivered,
                             s->dropped_oldest,
                             s->dropped_newest,
                             s->held,
                             s->deferred,
                             s->lost,
                             s->schemas_taken,
                             s->schemas_refused,
                             s->storage_errors,
                             w->mqtt.connects,
                             w->mqtt.protocol_errors};
  uint32_t n = sizeof values / sizeof values[0];
  weir_uplink_u8(w, n);
  for (uint32_t i = 0; i < n; i++) {
    weir_uplink_u8(w, i + 1);
    weir_uplink_varint(w, values[i]);
  }
}

static bool status(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  const struct weir_rollout *r = &w->rollout;
  weir_uplink_open(w, UP_STATUS);
  weir_uplink_u64(w, w->epoch);
  weir_uplink_varint(w, w->now_ms);
  status_schemas(w);
  weir_uplink_u8(w, r->refused_reason != 0 ? 1 : 0);
  if (r->refused_reason != 0) {
    uint32_t n = (uint32_t)strlen(r->refused_name);
    weir_uplink_u8(w, n);
    weir_uplink_bytes(w, r->refused_name, n);
    weir_uplink_varint(w, r->refused_version);
    weir_uplink_u8(w, r->refused_reason);
  }
  status_counters(w);
  if (!weir_uplink_send(w)) return false;
  w->rollout.refused_reason = 0;
  u->wants_status = false;
  u->status_at = w->now + (uint64_t)STATUS_S * SECOND;
  return true;
}

/* ------------------------------------------------------------------- steps */

void weir_uplink_up(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  u->wants_hello = true;
  u->greeted = false;
  u->quiet = 0;
  u->building = false; /* its positions have not moved */
}

void weir_uplink_published(struct weir *w) { w->uplink.in_flight = false; }

bool weir_uplink_scheduled(const struct weir *w, uint64_t *opens_at) {
  uint64_t period = (uint64_t)w->config.uplink_period_s * SECOND, window = (uint64_t)w->config.uplink_window_s * SECOND;
  *opens_at = UINT64_MAX;
  if (period == 0 || w->phase != PHASE_RUNNING) return true;
  uint64_t at = w->now % period;
  if (at < window) return true;
  *opens_at = w->now - at + period;
  return false;
}

enum weir_step weir_uplink_step(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  uint64_t opens_at;
  if (w->mqtt.state == WEIR_MQTT_UP && u->in_flight && w->now >= u->flight_at + (uint64_t)FLIGHT_S * SECOND) {
    u->flight_at = w->now; /* it is sent again on the new connection */
    weir_mqtt_restart(&w->mqtt);
    return STEP_MOVED;
  }
  if (w->mqtt.state != WEIR_MQTT_UP || !u->subscribed || u->in_flight || !weir_uplink_scheduled(w, &opens_at)) return STEP_IDLE;
  /* Silence after a hello, or after batches: the gateway went away, or what it said was lost. */
  if (w->now >= u->hello_at && (!u->greeted || u->window_count > 0)) u->wants_hello = true;
  if (u->wants_hello) {
    if (card_is_read(w)) return STEP_IDLE;
    u->building = false;
    return hello(w) ? STEP_MOVED : STEP_IDLE;
  }
  if (!u->greeted) return STEP_IDLE;
  if (w->now >= u->status_at) u->wants_status = true;
  if (!u->building) {
    if (u->wants_time && ask_time(w)) return STEP_MOVED;
    if (u->loss_count > 0 && declare_lost(w)) return STEP_MOVED;
    if (u->wants_served && served(w)) return STEP_MOVED;
    if (u->wants_status && status(w)) return STEP_MOVED;
    if (u->in_flight) return STEP_MOVED;
  }
  return weir_uplink_records(w);
}

uint64_t weir_uplink_deadline(const struct weir *w) {
  const struct weir_uplink *u = &w->uplink;
  uint64_t at = UINT64_MAX, opens_at;
  if (!weir_uplink_scheduled(w, &opens_at)) return opens_at;
  if (w->mqtt.state != WEIR_MQTT_UP || !u->subscribed) return at;
  if (u->in_flight) return u->flight_at + (uint64_t)FLIGHT_S * SECOND;
  if (!u->greeted || u->window_count > 0) at = u->hello_at;
  if (!u->greeted) return at;
  if (!u->building) at = weir_earlier(at, u->status_at);
  if (u->building && !u->from_card) at = weir_earlier(at, u->batch_since + (uint64_t)w->config.linger_ms * 1000u);
  if (w->config.uplink_period_s != 0) { /* the end of the window */
    uint64_t period = (uint64_t)w->config.uplink_period_s * SECOND;
    at = weir_earlier(at, w->now - w->now % period + (uint64_t)w->config.uplink_window_s * SECOND);
  }
  return at;
}
