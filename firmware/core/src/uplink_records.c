/* uplink_records.c: batches of records, from the ring and from the card. */
#include "crc.h"
#include "octets.h"
#include "uplink.h"
#include "weir/record.h"

#include <string.h>

enum {
  RECORD_HEAD = 1 + WEIR_VARINT_MAX + 2, /* kind, uptime difference, size */
  TAIL = 1 + UPLINK_CRC,                 /* count of bindings, CRC */
  LITTLE = 64,                           /* with less room left than this a batch is full */
  READS_AT_ONCE = 32                     /* records looked at in one poll */
};

bool weir_uplink_has_live(const struct weir *w) { return w->uplink.live < weir_ring_next(&w->ring); }

static uint32_t room(const struct weir *w) {
  const struct weir_uplink *u = &w->uplink;
  uint32_t used = u->batch_size + u->batch_bind + TAIL;
  return used < w->memory.batch_size ? w->memory.batch_size - used : 0;
}

static void open_batch(struct weir *w, uint64_t epoch, uint64_t first) {
  struct weir_uplink *u = &w->uplink;
  weir_uplink_open(w, UP_RECORDS);
  weir_uplink_u64(w, epoch);
  weir_uplink_varint(w, first);
  weir_uplink_varint(w, w->now_ms);
  weir_uplink_u8(w, u->from_ask && u->asks[0].end == 0 ? RECORDS_SWEEP : 0);
  u->batch_count_at = u->batch_size;
  u->batch_size += 2;
  u->building = true;
  u->batch_epoch = epoch;
  u->batch_first = first;
  u->batch_n = 0;
  u->batch_uptime = 0;
  u->batch_slots = 0;
  u->batch_bind = 0;
  u->batch_since = w->now;
}

static const struct weir_schema *schema_of(const struct weir *w, uint8_t slot) {
  for (uint8_t i = 0; i < w->schema_count; i++)
    if (w->schemas[i].slot == slot) return &w->schemas[i];
  return NULL;
}

/* What the binding of a reading's slot adds to the batch. */
static uint32_t binding(const struct weir *w, uint8_t kind, const uint8_t *body, uint16_t *bit) {
  const struct weir_uplink *u = &w->uplink;
  *bit = 0;
  if (kind != WEIR_KIND_READING || u->batch_epoch != w->epoch) return 0;
  uint8_t slot = weir_record_slot(body);
  if ((u->batch_slots & (1u << slot)) != 0 || schema_of(w, slot) == NULL) return 0;
  *bit = (uint16_t)(1u << slot);
  return 1u + 1u + 8u + 5u + 1u + schema_of(w, slot)->plan.name_size;
}

/* Adds a record that follows in the batch. False: no room. */
static bool add(struct weir *w, uint8_t kind, uint64_t uptime_ms, const uint8_t *body, uint32_t size) {
  struct weir_uplink *u = &w->uplink;
  uint16_t bit;
  uint32_t bind = binding(w, kind, body, &bit);
  if (room(w) < RECORD_HEAD + size + bind || u->batch_n == UINT16_MAX) return false;
  if (uptime_ms < u->batch_uptime) uptime_ms = u->batch_uptime;
  weir_uplink_u8(w, kind);
  weir_uplink_varint(w, uptime_ms - u->batch_uptime);
  weir_uplink_varint(w, size);
  weir_uplink_bytes(w, body, size);
  u->batch_uptime = uptime_ms;
  u->batch_n++;
  u->batch_slots = (uint16_t)(u->batch_slots | bit);
  u->batch_bind = (uint16_t)(u->batch_bind + bind);
  return true;
}

static uint64_t batch_next(const struct weir_uplink *u) { return u->batch_first + u->batch_n; }

/* Closes the batch and sends it; only then do the positions move. */
static bool send(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  uint8_t body[WEIR_BIND_MAX];
  uint32_t before = u->batch_size, bindings_at = before, n = 0;
  w->memory.batch[u->batch_count_at] = (uint8_t)u->batch_n;
  w->memory.batch[u->batch_count_at + 1] = (uint8_t)(u->batch_n >> 8);
  weir_uplink_u8(w, 0);
  for (uint8_t slot = 0; slot < WEIR_PLANS; slot++) {
    const struct weir_schema *s = (u->batch_slots & (1u << slot)) != 0 ? schema_of(w, slot) : NULL;
    uint32_t size = s == NULL ? 0 : weir_record_bind(body, sizeof body, slot, &s->plan);
    if (size == 0) continue;
    weir_uplink_u8(w, size);
    weir_uplink_bytes(w, body, size);
    n++;
  }
  w->memory.batch[bindings_at] = (uint8_t)n;
  if (!weir_uplink_send(w)) {
    u->batch_size = before;
    return false;
  }
  u->building = false;
  if (u->window_count == 0) u->hello_at = w->now + 15u * (uint64_t)SECOND;
  u->window[u->window_count++] = (struct weir_sent){u->batch_epoch, u->batch_first, batch_next(u) - 1};
  if (u->from_ask) {
    u->asks[0].epoch = u->batch_epoch;
    u->asks[0].first = batch_next(u);
  } else {
    u->live = batch_next(u);
  }
  w->stats.batches++;
  w->stats.sent += u->batch_n;
  return true;
}

static enum weir_step sent(struct weir *w) { return send(w) ? STEP_MOVED : STEP_IDLE; }

/* ---------------------------------------------------------------- the ring */

/* Records of the ring from `next` to `end`. Sends when the batch is full, or when it has waited. */
static enum weir_step from_ring(struct weir *w, uint64_t next, uint64_t end, bool all_there) {
  struct weir_uplink *u = &w->uplink;
  struct weir_ring_entry e;
  bool moved = false, full = false;
  u->from_card = false;
  if (!u->building) open_batch(w, w->epoch, next);
  weir_ring_seek(&w->ring, &u->place, batch_next(u));
  while (batch_next(u) < end && u->place.sequence == batch_next(u) && weir_ring_at(&w->ring, &u->place, &e)) {
    full = !add(w, e.kind, e.uptime_ms, e.body, e.size);
    if (full) break;
    weir_ring_step(&w->ring, &u->place, &e);
    moved = true;
  }
  if (u->batch_n == 0) {
    u->building = false;
    return STEP_IDLE;
  }
  full = full || room(w) < LITTLE || u->place.sequence != batch_next(u);
  all_there = all_there && batch_next(u) >= end;
  if (!u->from_ask && u->ask_count > 0) full = true; /* a batch that waits would hold up what was asked for */
  if (full || all_there || w->phase != PHASE_RUNNING || w->now - u->batch_since >= (uint64_t)w->config.linger_ms * 1000u)
    return sent(w);
  return moved ? STEP_MOVED : STEP_IDLE;
}

/* ---------------------------------------------------------------- the card */

static void ask_done(struct weir_uplink *u) {
  u->ask_count--;
  memmove(&u->asks[0], &u->asks[1], u->ask_count * sizeof u->asks[0]);
  if (u->ask_count == 0) u->wants_served = true;
}

/* Brings the reader to a place, unless it stands there. Epoch 0: to the oldest record. */
static void seek(struct weir *w, uint64_t epoch, uint64_t sequence) {
  struct weir_uplink *u = &w->uplink;
  if (u->read_epoch == epoch && u->read_next == sequence && epoch != 0) return;
  u->read_damaged = false;
  if (epoch == 0) {
    if (u->read_epoch == 0 && u->read_next == UINT64_MAX) return; /* on the way there */
    weir_storage_read_oldest(w->ports.storage);
    u->read_next = UINT64_MAX;
  } else {
    weir_storage_read_from(w->ports.storage, epoch, sequence);
    u->read_next = sequence;
  }
  u->read_epoch = epoch;
}

static void unknown_place(struct weir_uplink *u) {
  u->read_epoch = u->read_next = 0;
  u->read_damaged = false;
}

/* A record of the card that the ask in turn wants, or not any more. */
enum place { WANTED, BEHIND, BEYOND, APART };

static enum place place_of(const struct weir *w, const struct weir_ask *a, const struct weir_stored *r, uint64_t next) {
  bool same = r->epoch == a->epoch;
  if (a->end == 0) {
    if (r->epoch == w->epoch && r->sequence > w->uplink.hello_last) return BEYOND;
    if (!same) return APART;
  } else if (!same || r->sequence >= a->end) {
    return BEYOND;
  }
  return r->sequence < next ? BEHIND : r->sequence == next ? WANTED : APART;
}

/* Why the card does not have what should stand right before this record. */
static uint8_t why_missing(const struct weir *w, const struct weir_stored *r) {
  uint64_t epoch, sequence;
  if (w->uplink.read_damaged) return LOST_DAMAGED;
  bool oldest = weir_storage_oldest(w->ports.storage, &epoch, &sequence) == WEIR_OK && epoch == r->epoch && sequence == r->sequence;
  return oldest && weir_storage_overwrote(w->ports.storage) ? LOST_OVERWRITTEN : LOST_ELSEWHERE;
}

/* The ask continues at this record; what lies between is not on the card. */
static void jump(struct weir *w, struct weir_ask *a, const struct weir_stored *r) {
  uint64_t from = r->epoch == a->epoch ? a->first : 1;
  if (from == 0) from = 1;
  weir_uplink_lose(w, r->epoch, from, r->sequence, why_missing(w, r));
  a->epoch = r->epoch;
  a->first = r->sequence;
}

static void lost_record(struct weir *w, const struct weir_stored *r) {
  if (r->kind != WEIR_KIND_LOST || r->size < 20) return;
  uint64_t first = weir_get32(r->body + 8) | (uint64_t)r->body[12] << 32 | (uint64_t)r->body[13] << 40;
  uint64_t end = weir_get32(r->body + 14) | (uint64_t)r->body[18] << 32 | (uint64_t)r->body[19] << 40;
  weir_uplink_lose(w, weir_get64(r->body), first, end, LOST_OVERWRITTEN);
}

/* The reader gave a record. STEP_MOVED: go on reading. STEP_IDLE: the batch is closed or the ask is over. */
static enum weir_step take(struct weir *w, struct weir_ask *a, const struct weir_stored *r) {
  struct weir_uplink *u = &w->uplink;
  uint64_t next = u->building ? batch_next(u) : a->first;
  if (r->kind >= WEIR_KIND_EPOCH) { /* has no sequence: the reader's place is what it was */
    lost_record(w, r);
    return STEP_MOVED;
  }
  u->read_epoch = r->epoch;
  u->read_next = r->sequence + 1;
  switch (place_of(w, a, r, next)) {
    case BEHIND:
      return STEP_MOVED;
    case WANTED:
      u->read_damaged = false;
      if (!u->building) open_batch(w, r->epoch, r->sequence);
      if (add(w, r->kind, r->uptime_ms, r->body, r->size)) return room(w) < LITTLE ? STEP_IDLE : STEP_MOVED;
      unknown_place(u); /* it is read again for the next batch */
      return STEP_IDLE;
    case APART:
      if (u->building) {
        unknown_place(u);
        return STEP_IDLE;
      }
      jump(w, a, r);
      u->read_damaged = false;
      open_batch(w, r->epoch, r->sequence);
      if (!add(w, r->kind, r->uptime_ms, r->body, r->size)) unknown_place(u);
      return STEP_MOVED;
    default: /* BEYOND */
      if (!u->building && a->end != 0) weir_uplink_lose(w, a->epoch, a->first, a->end, why_missing(w, r));
      if (!u->building) a->first = UINT64_MAX; /* over */
      unknown_place(u);
      return STEP_IDLE;
  }
}

/* The card has nothing more of a range; the ring may have its end. Whether the ask is over. */
static bool absent(struct weir *w, struct weir_ask *a, uint8_t reason) {
  uint64_t end = a->end, durable = weir_storage_durable(w->ports.storage);
  unknown_place(&w->uplink);
  if (a->epoch == w->epoch) {
    if (end > w->ring.first) end = w->ring.first;
    if (durable < a->first) durable = a->first;
    if (durable < end) { /* no card ever had them */
      weir_uplink_lose(w, a->epoch, a->first, durable, reason);
      a->first = durable;
      reason = LOST_DROPPED;
    }
  }
  weir_uplink_lose(w, a->epoch, a->first, end, reason);
  if (a->end == 0 || end == a->end) return true;
  a->first = end;
  return false;
}

/* The reader did not give a record. Whether the ask is over. */
static bool ends(struct weir *w, struct weir_ask *a, int r) {
  struct weir_uplink *u = &w->uplink;
  switch (r) {
    case WEIR_E_UNKNOWN: /* the reader stands at the oldest */
      if (a->end == 0 && a->epoch != 0) {
        a->epoch = 0;
        a->first = 0;
        u->read_epoch = 0;
        u->read_next = UINT64_MAX;
        return false;
      }
      return absent(w, a, a->epoch != w->epoch && weir_storage_overwrote(w->ports.storage) ? LOST_OVERWRITTEN : LOST_ELSEWHERE);
    case WEIR_E_FULL:
      return absent(w, a, u->read_damaged ? LOST_DAMAGED : LOST_ELSEWHERE);
    default: /* the reader's place was overwritten: it is put anew. Or there is no card: it will be another place */
      unknown_place(u);
      return a->end != 0 && !weir_uplink_card_reads(w);
  }
}

/* Serves an ask from the card: a->first moves on as batches are sent. */
static enum weir_step from_card(struct weir *w, struct weir_ask *a, bool *over) {
  struct weir_uplink *u = &w->uplink;
  struct weir_stored record;
  *over = false;
  u->from_card = true;
  for (int i = 0; i < READS_AT_ONCE; i++) {
    if (u->loss_count + 2 > WEIR_LOSSES && !u->building) return STEP_MOVED; /* declared first */
    seek(w, a->epoch, u->building ? batch_next(u) : a->first);
    int r = weir_storage_read(w->ports.storage, &record);
    if (r == WEIR_BUSY) return i > 0 ? STEP_MOVED : STEP_STUCK;
    if (r == WEIR_E_INVALID) {
      u->read_damaged = true;
      continue;
    }
    if (r != WEIR_OK) {
      if (u->building) {
        unknown_place(u);
        return sent(w);
      }
      *over = ends(w, a, r);
      return *over || r != WEIR_E_GONE ? STEP_MOVED : STEP_IDLE;
    }
    if (take(w, a, &record) == STEP_MOVED) continue;
    *over = a->first == UINT64_MAX;
    return *over ? STEP_MOVED : sent(w);
  }
  return STEP_MOVED;
}

/* ------------------------------------------------------------------ choice */

/* Without a card the ring is all there is. */
static enum weir_step ask_from_ring(struct weir *w, struct weir_ask *a) {
  struct weir_uplink *u = &w->uplink;
  uint64_t end = a->end == 0 ? u->hello_last + 1 : a->end;
  if (a->epoch != w->epoch || a->first >= end) {
    if (a->end != 0) weir_uplink_lose(w, a->epoch, a->first, a->end, LOST_ELSEWHERE);
    ask_done(u);
    return STEP_MOVED;
  }
  if (!u->building && a->first < w->ring.first) {
    uint64_t gone = w->ring.first < end ? w->ring.first : end;
    weir_uplink_lose(w, a->epoch, a->first, gone, LOST_DROPPED);
    a->first = gone;
    return STEP_MOVED;
  }
  return from_ring(w, a->first, end, true);
}

static enum weir_step serve_ask(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  struct weir_ask *a = &u->asks[0];
  bool over;
  u->from_ask = true;
  if (w->ports.storage == NULL) return ask_from_ring(w, a);
  if (!u->building && a->end != 0 && a->first >= a->end) {
    ask_done(u);
    return STEP_MOVED;
  }
  /* What the ring still has may not be on the card yet. */
  if (a->end != 0 && a->epoch == w->epoch && (u->building ? !u->from_card : a->first >= w->ring.first)) return ask_from_ring(w, a);
  enum weir_step step = from_card(w, a, &over);
  if (over) ask_done(u);
  return step;
}

static enum weir_step serve_live(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  bool over;
  u->from_ask = false;
  if (u->building && !u->from_card) return from_ring(w, u->live, UINT64_MAX, false);
  if (u->live >= w->ring.first) return from_ring(w, u->live, UINT64_MAX, false);
  if (w->ports.storage == NULL) {
    weir_uplink_lose(w, w->epoch, u->live, w->ring.first, LOST_DROPPED);
    u->live = w->ring.first;
    return STEP_MOVED;
  }
  if (!weir_uplink_card_reads(w)) { /* what it has is asked for when it is back */
    u->live = w->ring.first;
    return STEP_MOVED;
  }
  /* The card had them before they were sent. */
  struct weir_ask a = {w->epoch, u->live, w->ring.first};
  enum weir_step step = from_card(w, &a, &over);
  if (a.first > u->live) u->live = over ? w->ring.first : a.first;
  else if (over) u->live = w->ring.first;
  return step;
}

enum weir_step weir_uplink_records(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  if (u->building) {
    if (!u->from_ask) return serve_live(w);
    if (u->ask_count > 0) return serve_ask(w);
    u->building = false; /* what it was for was taken back */
  }
  if (u->window_count == WEIR_WINDOW) return STEP_IDLE;
  bool live = weir_uplink_has_live(w);
  /* A sweep waits for the card; what is new does not. */
  bool waits = u->ask_count > 0 && u->asks[0].end == 0 && w->ports.storage != NULL && !weir_uplink_card_reads(w);
  if (u->ask_count > 0 && !waits && (u->order == WEIR_OLDEST_FIRST || !live)) return serve_ask(w);
  return live ? serve_live(w) : STEP_IDLE;
}
