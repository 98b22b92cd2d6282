/* keep.c: records go from the ring to the card, and leave the ring when they are durable. */
#include "core.h"

enum { FEED_AT_ONCE = 64 }; /* records in one poll */

uint64_t weir_durable_end(const struct weir *w) {
  uint64_t end = w->uplink.cursor + 1;
  if (w->ports.storage != NULL && w->phase != PHASE_EPOCH) {
    uint64_t card = weir_storage_durable(w->ports.storage);
    if (card > end) end = card;
  }
  return end;
}

/* What the ring may let go of: what the card has, or the gateway where there is no card. */
static uint64_t free_end(const struct weir *w) {
  return w->ports.storage == NULL ? w->uplink.cursor + 1 : weir_storage_durable(w->ports.storage);
}

void weir_keep_free(struct weir *w) {
  uint64_t end = free_end(w);
  while (w->ring.count > 0 && w->ring.first < end) weir_ring_pop(&w->ring);
}

bool weir_card_comes(const struct weir *w) {
  struct weir_block_info info;
  const struct weir_block *block = w->ports.storage_config->block;
  enum weir_card_state state = weir_storage_state(w->ports.storage);
  return state == WEIR_CARD_MOUNTING || (state == WEIR_CARD_ABSENT && block->info(block->ctx, &info) >= 0);
}

void weir_card_unusable(struct weir *w) {
  if (!w->store_refused) w->stats.storage_errors++;
  w->store_refused = true;
}

/* Feeds the card. A gap in the sequences (records that the ring gave up) is the card's to note. */
static enum weir_step feed(struct weir *w) {
  struct weir_storage *s = w->ports.storage;
  struct weir_ring_entry e;
  uint32_t fed = 0;
  uint64_t expects = weir_storage_expects(s);
  if (w->feed.sequence > expects) weir_ring_seek(&w->ring, &w->feed, expects < w->ring.first ? w->ring.first : expects);
  weir_ring_catch_up(&w->ring, &w->feed);
  while (fed < FEED_AT_ONCE && weir_ring_at(&w->ring, &w->feed, &e)) {
    int r = weir_storage_append(s, e.kind, e.sequence, e.uptime_ms, e.body, (uint16_t)e.size);
    if (r != WEIR_OK) {
      if (r != WEIR_BUSY && !w->store_refused && !weir_card_comes(w)) weir_card_unusable(w);
      break;
    }
    w->store_refused = false;
    weir_ring_step(&w->ring, &w->feed, &e);
    fed++;
  }
  return fed > 0 ? STEP_MOVED : STEP_IDLE;
}

enum weir_step weir_keep_step(struct weir *w) {
  enum weir_step step = STEP_IDLE;
  uint64_t before = w->ring.first;
  if (w->phase == PHASE_QUIET) return STEP_IDLE;
  if (w->rebind) weir_schemas_rebind(w);
  if (w->ports.storage != NULL) step = feed(w);
  weir_keep_free(w);
  if (w->ring.used > w->stats.ring_peak) w->stats.ring_peak = w->ring.used;
  return w->ring.first != before ? STEP_MOVED : step;
}

enum weir_step weir_card_step(struct weir *w) {
  struct weir_storage *s = w->ports.storage;
  if (s == NULL) return STEP_IDLE;
  uint64_t durable = weir_storage_durable(s), expects = weir_storage_expects(s);
  const struct weir_storage_stats *n = weir_storage_stats(s);
  uint32_t before = n->blocks + n->syncs + n->errors + n->rewinds + s->fills;
  enum weir_card_state state = weir_storage_state(s);
  int r = weir_storage_poll(s, w->now_ms);
  if (weir_storage_durable(s) != durable || weir_storage_expects(s) != expects || weir_storage_state(s) != state ||
      n->blocks + n->syncs + n->errors + n->rewinds + s->fills != before)
    return STEP_MOVED;
  w->card_busy = r == WEIR_BUSY;
  return w->card_busy ? STEP_STUCK : STEP_IDLE;
}

uint64_t weir_keep_deadline(const struct weir *w) {
  const struct weir_storage *s = w->ports.storage;
  if (s == NULL) return UINT64_MAX;
  uint64_t ms = weir_storage_deadline(s), poll_us = w->ports.storage_config->block->poll_us;
  uint64_t at = ms > UINT64_MAX / 1000 ? UINT64_MAX : ms * 1000;
  if (w->card_busy && s->op != 0) /* an operation is under way: its end wakes the loop, or is looked for */
    at = poll_us != 0 ? weir_earlier(at, w->now + poll_us) : UINT64_MAX;
  return at;
}
