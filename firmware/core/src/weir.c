/* weir.c: the recorder's life: start, poll, sleep, quiesce. */
#include "weir/weir.h"

#include <string.h>

#include "core.h"
#include "uplink.h"

enum {
  RING_LEAST = 1024,
  BATCH_LEAST = 640,
  POLL_BYTES = 2048, /* received in one poll */
  CARD_COMES_S = 10  /* how long weir_quiesce waits for a card to come up */
};

static bool aligned(const void *p) { return (uintptr_t)p % WEIR_BLOCK_ALIGN == 0; }

static bool arguments(const struct weir_config *c, const struct weir_ports *p, const struct weir_memory *m) {
  if (c == NULL || p == NULL || m == NULL || p->clock == NULL || p->random == NULL || c->device == NULL) return false;
  if (m->ring == NULL || m->ring_size < RING_LEAST || m->ring_size > INT32_MAX || !aligned(m->ring)) return false;
  if (m->batch == NULL || m->batch_size < BATCH_LEAST || !aligned(m->batch)) return false;
  if (m->plan_slots > 0 && (m->plans == NULL || m->plan_slots >= WEIR_ROOM_LINKED || !aligned(m->plans))) return false;
  if ((p->storage == NULL) != (p->storage_config == NULL)) return false;
  if (p->net != NULL && c->host == NULL) return false;
  if (c->qos > 1 || c->uplink_window_s > c->uplink_period_s) return false;
  if (c->topic_count > 0 && c->topics == NULL) return false;
  for (uint8_t i = 0; i < c->topic_count; i++) {
    size_t n = strlen(c->topics[i]);
    if (n == 0 || n > WEIR_MQTT_TOPIC_MAX) return false;
  }
  return true;
}

static void defaults(struct weir_config *c) {
  if (c->port == 0) c->port = 1883;
  if (c->client_id == NULL) c->client_id = c->device;
  if (c->keep_alive_s == 0) c->keep_alive_s = 60;
  if (c->backoff_min_ms == 0) c->backoff_min_ms = 500;
  if (c->backoff_max_ms == 0) c->backoff_max_ms = 60000;
  if (c->linger_ms == 0) c->linger_ms = 1000;
  if (c->stall_ms == 0) c->stall_ms = 30000;
}

int weir_init(struct weir *w, const struct weir_config *config, const struct weir_ports *ports,
              const struct weir_memory *memory) {
  struct weir_mqtt_owner owner;
  if (w == NULL || !arguments(config, ports, memory)) return WEIR_E_ARGUMENT;
  memset(w, 0, sizeof *w);
  w->config = *config;
  w->ports = *ports;
  w->memory = *memory;
  defaults(&w->config);
  weir_ring_init(&w->ring, memory->ring, memory->ring_size);
  w->feed.sequence = 1;
  if (weir_uplink_init(w) != WEIR_OK) return WEIR_E_ARGUMENT;
  weir_intake_owner(w, &owner);
  if (ports->net != NULL) {
    const struct weir_config *c = &w->config;
    if (weir_mqtt_init(&w->mqtt, ports->net, ports->random, &owner, c->host, c->port, c->client_id, c->user, c->password,
                       c->keep_alive_s, c->backoff_min_ms, c->backoff_max_ms) != WEIR_OK)
      return WEIR_E_ARGUMENT;
  }
  w->now = ports->clock->uptime_us(ports->clock->ctx);
  weir_watch_init(w);
  weir_rollout_load(w);
  return WEIR_OK;
}

static void on_storage(void *ctx, const struct weir_storage_event *e) {
  struct weir *w = (struct weir *)ctx;
  if (e->type == WEIR_EV_ROTATED || e->type == WEIR_EV_MOUNTED) w->rebind = true;
  if (e->type == WEIR_EV_MOUNTED) w->uplink.wants_hello = true; /* the gateway hears what card it is */
  if (e->type == WEIR_EV_MOUNTED) w->store_refused = false;
  if (e->type == WEIR_EV_GONE || e->type == WEIR_EV_READ_ONLY || e->type == WEIR_EV_REFUSED) weir_card_unusable(w);
  const struct weir_storage_config *c = w->ports.storage_config;
  if (c->event != NULL) c->event(c->event_ctx, e);
}

/* The epoch is drawn, and the card begins with it: it makes the epoch durable before the first record. */
static enum weir_step begin_epoch(struct weir *w) {
  uint8_t fresh[16];
  const struct weir_random *random = w->ports.random;
  if (random->bytes(random->ctx, fresh, sizeof fresh) != WEIR_OK) return STEP_IDLE;
  for (int i = 0; i < 8; i++) {
    w->epoch = w->epoch << 8 | fresh[i];
    w->key = w->key << 8 | fresh[8 + i];
  }
  if (w->epoch == 0) return STEP_MOVED; /* drawn again */
  if (w->ports.storage != NULL) {
    struct weir_storage_config c = *w->ports.storage_config;
    c.epoch = w->epoch;
    c.device = w->config.device;
    c.reset_cause = (uint8_t)w->cause;
    c.reset_part = w->cause_part;
    c.event = on_storage;
    c.event_ctx = w;
    if (weir_storage_init(w->ports.storage, &c) != WEIR_OK) w->ports.storage = NULL;
  }
  w->phase = PHASE_RUNNING;
  return STEP_MOVED;
}

/* ---------------------------------------------------------------- quiescing */

static bool worth_waiting(const struct weir *w) {
  return w->ports.storage != NULL && w->now < w->quiesce_until && weir_card_comes(w);
}

static enum weir_step quiesce_step(struct weir *w) {
  if (w->phase != PHASE_QUIESCING) return STEP_IDLE;
  if (w->ring.count > 0 && w->feed.sequence < weir_ring_next(&w->ring) && w->ports.storage != NULL &&
      weir_storage_state(w->ports.storage) == WEIR_CARD_READY)
    return STEP_IDLE; /* keep.c feeds the card */
  if (w->ports.storage != NULL && weir_storage_quiesce(w->ports.storage) == WEIR_BUSY) return STEP_IDLE;
  if (!weir_rollout_ready(w)) return STEP_IDLE;
  bool card = w->ports.storage != NULL && (weir_storage_state(w->ports.storage) == WEIR_CARD_READY || w->ports.storage->resting);
  if (w->ring.count > 0 && worth_waiting(w)) return STEP_IDLE;
  if (card && w->mqtt.state == WEIR_MQTT_UP && weir_intake_waits(w)) return STEP_IDLE; /* PUBACKs go out first */
  if (w->mqtt.state == WEIR_MQTT_UP && weir_mqtt_pending(&w->mqtt)) return STEP_IDLE;
  weir_mqtt_want(&w->mqtt, false);
  if (w->mqtt.state != WEIR_MQTT_OFF) return STEP_IDLE;
  w->phase = PHASE_QUIET;
  return STEP_MOVED;
}

int weir_quiesce(struct weir *w) {
  if (w->phase == PHASE_RUNNING) { /* before the epoch is drawn the storage has not begun: the next poll sees to that */
    w->phase = PHASE_QUIESCING;
    w->quiesce_until = w->ports.clock->uptime_us(w->ports.clock->ctx) + (uint64_t)CARD_COMES_S * SECOND;
  }
  w->moved = true;
  return w->phase == PHASE_QUIET ? WEIR_OK : WEIR_BUSY;
}

void weir_resume(struct weir *w) {
  w->phase = w->epoch == 0 ? PHASE_EPOCH : PHASE_RUNNING;
  if (w->phase == PHASE_RUNNING && w->ports.storage != NULL) weir_storage_wake(w->ports.storage);
  w->moved = true;
}

/* ------------------------------------------------------------------ polling */

/* The connection is wanted while there is intake, and else while the schedule or what is unsettled wants it. */
static void want(struct weir *w) {
  uint64_t opens_at;
  if (w->phase != PHASE_RUNNING || !weir_rollout_ready(w)) return;
  bool intake = w->config.topic_count > 0 || !w->config.local_only;
  weir_mqtt_want(&w->mqtt, intake || weir_uplink_scheduled(w, &opens_at));
}

static void network(struct weir *w) {
  if (w->ports.net == NULL || w->phase == PHASE_EPOCH) return;
  weir_watch_enter(w, WEIR_PART_NETWORK);
  want(w);
  bool moved = weir_mqtt_poll(&w->mqtt, w->now, POLL_BYTES);
  weir_watch_report(w, WEIR_PART_NETWORK, moved ? STEP_MOVED : STEP_IDLE);
}

static void run(struct weir *w, enum weir_part part, enum weir_step (*step)(struct weir *)) {
  weir_watch_enter(w, part);
  weir_watch_report(w, part, step(w));
}

void weir_now(struct weir *w) {
  uint64_t now = w->ports.clock->uptime_us(w->ports.clock->ctx), since = now - w->now_ms * 1000u;
  /* A division of 64 bits takes hundreds of instructions; of 32 bits, one. */
  w->now_ms = since < UINT32_MAX ? w->now_ms + (uint32_t)since / 1000u : now / 1000u;
  w->now = now;
}

uint64_t weir_poll(struct weir *w) {
  weir_now(w);
  w->moved = false;
  w->stats.polls++;
  if (w->phase == PHASE_EPOCH) run(w, WEIR_PART_STORAGE, begin_epoch);
  run(w, WEIR_PART_SCHEMA, weir_rollout_step);
  network(w);
  if (w->phase != PHASE_EPOCH) {
    run(w, WEIR_PART_TIME, weir_time_step);
    run(w, WEIR_PART_RING, weir_keep_step);
    run(w, WEIR_PART_STORAGE, weir_card_step);
    if (w->ports.net != NULL) {
      run(w, WEIR_PART_UPLINK, weir_uplink_step);
      run(w, WEIR_PART_NETWORK, weir_intake_step);
    }
    run(w, WEIR_PART_RING, quiesce_step);
  }
  if (!w->moved) w->stats.idle_polls++;
  weir_watch_step(w);
  return weir_next_deadline(w);
}

uint64_t weir_next_deadline(const struct weir *w) {
  uint64_t at = UINT64_MAX;
  if (w->moved) return w->now;
  if (w->phase == PHASE_EPOCH) return w->now + 1000; /* entropy is being gathered */
  at = weir_earlier(at, weir_keep_deadline(w));
  at = weir_earlier(at, weir_time_deadline(w));
  at = weir_earlier(at, weir_watch_deadline(w));
  if (w->ports.net != NULL) {
    at = weir_earlier(at, weir_mqtt_deadline(&w->mqtt));
    at = weir_earlier(at, weir_uplink_deadline(w));
    bool open = w->mqtt.state != WEIR_MQTT_OFF && w->mqtt.state != WEIR_MQTT_WAITING;
    if (open && w->ports.net->poll_us != 0) at = weir_earlier(at, w->now + w->ports.net->poll_us);
  }
  return at < w->now ? w->now : at;
}

bool weir_is_durable(const struct weir *w, uint64_t sequence) { return sequence < weir_durable_end(w); }

uint64_t weir_confirmed(const struct weir *w) { return w->uplink.cursor; }

const struct weir_stats *weir_stats(const struct weir *w) { return &w->stats; }
