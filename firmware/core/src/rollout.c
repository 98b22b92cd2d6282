/*
 * rollout.c: schemas that arrive signed on weir/schema/{name}.
 *
 * One at a time: its bytes go straight into a free room of memory.plans, are
 * checked there, stored in a slot of the port that holds nothing in use, and
 * run from then on. The one before runs until that moment; what was refused
 * changes nothing and is told to the gateway.
 *
 * A stored schema: "WSL1", size (4), serial (4), CRC-32 (4) of bytes 0 to 11
 * followed by the envelope, then the envelope (docs/format/plan.md).
 */
#include <string.h>

#include "core.h"
#include "crc.h"
#include "octets.h"

enum { IDLE, RECEIVING, CHECKING, VERIFYING, ERASING, WRITING, LOAD_HEAD, LOAD_BODY, LOAD_VERIFY };

enum { STORED_HEAD = 16, PIECE = 128 };

static const char stored_magic[4] = {'W', 'S', 'L', '1'};

static uint8_t *room_at(const struct weir *w, uint8_t room) { return w->memory.plans + (size_t)room * w->memory.plan_size; }

/* A room that no schema lies in; plan_slots: none. */
static uint8_t free_room(const struct weir *w) {
  for (uint8_t room = 0; room < w->memory.plan_slots; room++) {
    bool used = false;
    for (uint8_t i = 0; i < w->schema_count; i++) used = used || w->schemas[i].room == room;
    if (!used) return room;
  }
  return (uint8_t)w->memory.plan_slots;
}

static void refuse(struct weir *w, enum weir_rollout_reason reason, uint32_t version) {
  struct weir_rollout *r = &w->rollout;
  r->state = IDLE;
  r->refused_reason = (uint8_t)reason;
  r->refused_version = version;
  memcpy(r->refused_name, r->name, sizeof r->name);
  w->stats.schemas_refused++;
  w->uplink.wants_status = true;
}

/* ---------------------------------------------------------------- receiving */

int weir_rollout_begin(struct weir *w, const struct weir_mqtt_message *m) {
  struct weir_rollout *r = &w->rollout;
  const char *name = m->topic + sizeof "weir/schema/" - 1;
  if (r->state != IDLE) return WEIR_BUSY;
  if (m->size == 0 || m->topic_size > WEIR_MQTT_TOPIC_MAX) return WEIR_E_REFUSED;
  size_t n = strlen(name);
  if (n > WEIR_NAME_CUT) n = WEIR_NAME_CUT;
  memcpy(r->name, name, n);
  r->name[n] = 0;
  r->room = free_room(w);
  r->filled = 0;
  if (r->room == w->memory.plan_slots) {
    refuse(w, WEIR_ROLLOUT_SLOTS, 0);
    return WEIR_E_REFUSED;
  }
  if (m->size > w->memory.plan_size) {
    refuse(w, WEIR_ROLLOUT_LARGE, 0);
    return WEIR_E_REFUSED;
  }
  r->state = RECEIVING;
  return WEIR_OK;
}

void weir_rollout_bytes(struct weir *w, const uint8_t *data, uint32_t n) {
  struct weir_rollout *r = &w->rollout;
  if (r->state != RECEIVING || n > w->memory.plan_size - r->filled) return;
  memcpy(room_at(w, r->room) + r->filled, data, n);
  r->filled += n;
}

void weir_rollout_end(struct weir *w) {
  if (w->rollout.state == RECEIVING) w->rollout.state = CHECKING;
}

void weir_rollout_abort(struct weir *w) {
  if (w->rollout.state == RECEIVING) w->rollout.state = IDLE;
}

/* ------------------------------------------------------------------ checking */

/* The plan within the envelope that lies in the room. */
static int open_room(const struct weir *w, struct weir_plan *plan, const uint8_t **signature, uint8_t key_id[8]) {
  const uint8_t *bytes;
  uint32_t size;
  int e = weir_envelope_open(room_at(w, w->rollout.room), w->rollout.filled, &bytes, &size, signature, key_id);
  return e != WEIR_OK ? e : weir_plan_open(plan, bytes, size);
}

static const struct weir_schema *running(const struct weir *w, const struct weir_plan *plan) {
  for (uint8_t i = 0; i < w->schema_count; i++) {
    const struct weir_plan *p = &w->schemas[i].plan;
    if (p->name_size == plan->name_size && memcmp(p->name, plan->name, plan->name_size) == 0) return &w->schemas[i];
  }
  return NULL;
}

/* Begins to check the signature of the envelope in the room. docs/format/plan.md says what was signed. */
static bool begin_verify(struct weir *w) {
  static const uint8_t purpose[] = "weir plan 1"; /* its zero byte belongs to it */
  struct weir_ed25519 *v = &w->rollout.verify;
  struct weir_plan plan;
  const uint8_t *signature;
  uint8_t key_id[8];
  if (w->config.schema_key == NULL || open_room(w, &plan, &signature, key_id) != WEIR_OK) return false;
  weir_ed25519_begin(v, w->config.schema_key, signature);
  weir_ed25519_add(v, purpose, sizeof purpose);
  weir_ed25519_add(v, plan.bytes, plan.size);
  return true;
}

/* Everything but the signature, which costs the most. */
static enum weir_step check(struct weir *w) {
  struct weir_rollout *r = &w->rollout;
  struct weir_plan plan;
  const uint8_t *signature;
  uint8_t key_id[8];
  if (open_room(w, &plan, &signature, key_id) != WEIR_OK) {
    refuse(w, WEIR_ROLLOUT_MALFORMED, 0);
    return STEP_MOVED;
  }
  const struct weir_schema *now = running(w, &plan);
  if (now != NULL && memcmp(now->plan.id, plan.id, sizeof plan.id) == 0) {
    r->state = IDLE; /* a retained message comes with each subscription */
  } else if (strlen(r->name) != plan.name_size || memcmp(r->name, plan.name, plan.name_size) != 0) {
    refuse(w, WEIR_ROLLOUT_NAME, plan.version);
  } else if (now != NULL && now->plan.version >= plan.version) {
    refuse(w, WEIR_ROLLOUT_OLD, plan.version);
  } else if (w->next_slot == WEIR_PLANS || (now == NULL && w->schema_count == WEIR_SCHEMAS)) {
    refuse(w, WEIR_ROLLOUT_SLOTS, plan.version);
  } else {
    r->state = VERIFYING;
    if (!begin_verify(w)) refuse(w, WEIR_ROLLOUT_SIGNATURE, plan.version);
  }
  return STEP_MOVED;
}

static void install(struct weir *w) {
  struct weir_rollout *r = &w->rollout;
  struct weir_plan plan;
  const uint8_t *signature;
  uint8_t key_id[8];
  r->state = IDLE;
  if (open_room(w, &plan, &signature, key_id) != WEIR_OK) return;
  if (weir_schema_put(w, &plan, r->room) == WEIR_OK) w->stats.schemas_taken++;
}

/* ------------------------------------------------------------------- storing */

static bool slot_in_use(const struct weir *w, uint32_t slot) {
  for (uint8_t i = 0; i < WEIR_SCHEMAS; i++)
    if (w->rollout.slot_of[i] == slot + 1) return true;
  return false;
}

/* Index of the schema of the name in the rollout, which may be new. */
static uint8_t index_of(const struct weir *w) {
  uint8_t i = 0;
  while (i < w->schema_count && !(w->schemas[i].plan.name_size == strlen(w->rollout.name) &&
                                  memcmp(w->schemas[i].plan.name, w->rollout.name, w->schemas[i].plan.name_size) == 0))
    i++;
  return i;
}

static void store_failed(struct weir *w) {
  uint32_t taken = w->stats.schemas_taken;
  install(w);
  if (w->stats.schemas_taken != taken) {
    refuse(w, WEIR_ROLLOUT_STORE, 0);
    w->stats.schemas_refused--; /* it runs */
  }
}

static void begin_store(struct weir *w) {
  struct weir_rollout *r = &w->rollout;
  const struct weir_slots *s = w->ports.slots;
  if (s == NULL) {
    install(w);
    return;
  }
  for (r->slot = 0; r->slot < s->count && slot_in_use(w, r->slot); r->slot++) continue;
  if (r->slot >= s->count || r->filled + STORED_HEAD > s->size) {
    store_failed(w);
    return;
  }
  r->at = 0;
  r->state = ERASING;
}

static enum weir_step verify(struct weir *w) {
  int e = weir_ed25519_step(&w->rollout.verify);
  if (e == WEIR_OK) {
    begin_store(w);
  } else if (e != WEIR_BUSY) {
    struct weir_plan plan;
    const uint8_t *signature;
    uint8_t key_id[8];
    refuse(w, WEIR_ROLLOUT_SIGNATURE, open_room(w, &plan, &signature, key_id) == WEIR_OK ? plan.version : 0); /* as it says */
  }
  return STEP_MOVED;
}

static void stored_head(const struct weir *w, uint8_t head[STORED_HEAD]) {
  memcpy(head, stored_magic, 4);
  weir_put32(head + 4, w->rollout.filled);
  weir_put32(head + 8, w->rollout.serial + 1);
  uint32_t crc = weir_crc32(0, head, 12);
  weir_put32(head + 12, weir_crc32(crc, room_at(w, w->rollout.room), w->rollout.filled));
}

static enum weir_step store(struct weir *w) {
  struct weir_rollout *r = &w->rollout;
  const struct weir_slots *s = w->ports.slots;
  uint8_t head[STORED_HEAD];
  int e;
  if (r->state == ERASING) {
    e = s->erase(s->ctx, r->slot);
    if (e == WEIR_OK) r->state = WRITING;
  } else if (r->at == 0) {
    stored_head(w, head);
    e = s->write(s->ctx, r->slot, 0, head, sizeof head);
    if (e == WEIR_OK) r->at = STORED_HEAD;
  } else {
    uint32_t from = r->at - STORED_HEAD, n = r->filled - from < PIECE ? r->filled - from : PIECE;
    e = s->write(s->ctx, r->slot, r->at, room_at(w, r->room) + from, n);
    if (e == WEIR_OK) r->at += n;
    if (e == WEIR_OK && r->at == r->filled + STORED_HEAD) {
      r->serial++;
      install(w);
      uint8_t i = index_of(w);
      if (i < w->schema_count) r->slot_of[i] = (uint8_t)(r->slot + 1); /* the slot before is free again */
    }
  }
  if (e == WEIR_BUSY) return STEP_STUCK;
  if (e != WEIR_OK) store_failed(w);
  return STEP_MOVED;
}

/* ------------------------------------------------------------------- loading */

void weir_rollout_load(struct weir *w) {
  w->rollout.slot = 0;
  if (w->ports.slots != NULL && w->ports.slots->count > 0 && w->memory.plan_slots > 0 && w->config.schema_key != NULL)
    w->rollout.state = LOAD_HEAD;
}

static void next_stored(struct weir *w) {
  struct weir_rollout *r = &w->rollout;
  r->slot++;
  r->state = r->slot < w->ports.slots->count ? LOAD_HEAD : IDLE;
}

/* What is whole, signed, and newer than what runs. Others are passed over in silence: a cut while writing leaves such. */
static void load_room(struct weir *w) {
  struct weir_rollout *r = &w->rollout;
  struct weir_plan plan;
  const uint8_t *signature;
  uint8_t key_id[8];
  if (open_room(w, &plan, &signature, key_id) != WEIR_OK) return;
  size_t n = plan.name_size <= WEIR_NAME_CUT ? plan.name_size : WEIR_NAME_CUT;
  memcpy(r->name, plan.name, n);
  r->name[n] = 0;
  if (weir_schema_put(w, &plan, r->room) == WEIR_OK) r->slot_of[index_of(w)] = (uint8_t)(r->slot + 1);
}

/* Reads the head of a slot, then its body. */
static enum weir_step load(struct weir *w) {
  struct weir_rollout *r = &w->rollout;
  const struct weir_slots *s = w->ports.slots;
  uint8_t head[STORED_HEAD];
  int e = s->read(s->ctx, r->slot, 0, head, sizeof head);
  if (e == WEIR_BUSY) return STEP_STUCK;
  r->filled = weir_get32(head + 4);
  r->room = free_room(w);
  bool may = e == WEIR_OK && memcmp(head, stored_magic, 4) == 0 && r->room < w->memory.plan_slots &&
             r->filled <= w->memory.plan_size && r->filled + STORED_HEAD <= s->size;
  if (may && r->state == LOAD_HEAD) {
    r->state = LOAD_BODY;
    return STEP_MOVED;
  }
  if (may) {
    e = s->read(s->ctx, r->slot, STORED_HEAD, room_at(w, r->room), r->filled);
    if (e == WEIR_BUSY) return STEP_STUCK;
    uint32_t crc = weir_crc32(weir_crc32(0, head, 12), room_at(w, r->room), r->filled);
    if (e == WEIR_OK && crc == weir_get32(head + 12) && begin_verify(w)) {
      if (weir_get32(head + 8) > r->serial) r->serial = weir_get32(head + 8);
      r->state = LOAD_VERIFY;
      return STEP_MOVED;
    }
  }
  next_stored(w);
  return STEP_MOVED;
}

static enum weir_step load_verify(struct weir *w) {
  int e = weir_ed25519_step(&w->rollout.verify);
  if (e == WEIR_BUSY) return STEP_MOVED;
  if (e == WEIR_OK) load_room(w);
  next_stored(w);
  return STEP_MOVED;
}

enum weir_step weir_rollout_step(struct weir *w) {
  struct weir_rollout *r = &w->rollout;
  switch (r->state) {
    case CHECKING:
      return check(w);
    case VERIFYING:
      return verify(w);
    case ERASING:
    case WRITING:
      return store(w);
    case LOAD_HEAD:
    case LOAD_BODY:
      return load(w);
    case LOAD_VERIFY:
      return load_verify(w);
    default:
      return STEP_IDLE;
  }
}

bool weir_rollout_ready(const struct weir *w) { return w->rollout.state == IDLE || w->rollout.state == RECEIVING; }
