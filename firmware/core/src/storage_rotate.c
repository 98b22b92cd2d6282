/*
 * Rotation: the next segment is one that holds nothing, else the oldest. What
 * it held is gathered as ranges and declared by the very block whose writing
 * makes it unreadable, the new header.
 */
#include <string.h>

#include "bytes.h"
#include "storage_internal.h"

enum { HEADER_FIXED = 20, DEVICE_MAX = 64 };

uint8_t weir_segment_after(const struct weir_storage *s, uint32_t serial) {
  uint8_t best = WEIR_NO_SLOT;
  for (uint8_t i = 0; i < WEIR_STORAGE_SEGMENTS; i++) {
    const struct weir_segment *g = &s->segments[i];
    if (g->start && g->serial > serial && (best == WEIR_NO_SLOT || g->serial < s->segments[best].serial)) best = i;
  }
  return best;
}

static uint8_t pick(const struct weir_storage *s) {
  for (uint8_t i = 0; i < WEIR_STORAGE_SEGMENTS; i++) {
    if (s->segments[i].start && s->segments[i].serial == 0) return i;
  }
  uint8_t oldest = weir_segment_after(s, 0);
  return oldest == s->head ? WEIR_NO_SLOT : oldest;
}

int weir_rotate_begin(struct weir_storage *s) {
  s->target = pick(s);
  if (s->target == WEIR_NO_SLOT) {
    /* Only the head is left: no segment may be begun without losing what was just acknowledged. */
    s->state = WEIR_CARD_READ_ONLY;
    weir_write_reset(s);
    weir_storage_tell(s, WEIR_EV_READ_ONLY, s->card_id, 0);
    return WEIR_BUSY;
  }
  s->lost_count = 0;
  s->lost_more = 0;
  s->phase = s->segments[s->target].serial ? WEIR_PHASE_LOSE : WEIR_PHASE_BUILD;
  weir_runs_begin(&s->runs, s->target, s->segments[s->target].blocks);
  return WEIR_BUSY;
}

static void lose(struct weir_storage *s) {
  const struct weir_runs *r = &s->runs;
  if (r->next == r->first) return;
  if (s->lost_count == WEIR_LOST_MAX) {
    s->lost_more++;
    return;
  }
  struct weir_lost *l = &s->lost[s->lost_count++];
  l->epoch = r->epoch;
  l->first = r->first;
  l->next = r->next;
}

/*
 * The first and last blocks may be damaged. What the segment's own header and
 * that of the one after it say to come next bounds what they held.
 */
static int bound(struct weir_storage *s) {
  bool own = s->phase == WEIR_PHASE_LOSE_FIRST;
  uint8_t slot = own ? s->target : weir_segment_after(s, s->segments[s->target].serial);
  struct weir_frame_head h;
  int r = slot == WEIR_NO_SLOT ? WEIR_E_UNKNOWN : weir_card_block(s, slot, 0, &h);
  if (r == WEIR_BUSY || r == WEIR_E_GONE) return WEIR_BUSY;
  if (r == WEIR_OK && s->lost_count) {
    struct weir_lost *first = &s->lost[0], *last = &s->lost[s->lost_count - 1];
    if (own && h.epoch == first->epoch && h.first < first->first) first->first = h.first;
    if (!own && s->lost_more == 0 && h.epoch == last->epoch && h.first > last->next) last->next = h.first;
  }
  s->phase = own ? WEIR_PHASE_LOSE_LAST : WEIR_PHASE_BUILD;
  return WEIR_BUSY;
}

static void tell_lost(struct weir_storage *s) {
  if (!s->config.event) return;
  for (unsigned i = 0; i < s->lost_count; i++) {
    const struct weir_lost *l = &s->lost[i];
    struct weir_storage_event e = {.type = WEIR_EV_LOST, .epoch = l->epoch, .first = l->first, .next = l->next};
    s->config.event(s->config.event_ctx, &e);
  }
}

static void build(struct weir_storage *s) {
  uint8_t *b = s->config.buffers[0];
  s->loaded = WEIR_NO_SECTOR;
  s->fills++;
  const uint8_t *waiting = weir_write_buffer(s, 0);
  memset(b, 0, WEIR_SECTOR);
  b[0] = 0x57;
  b[1] = 0x62;
  b[2] = WEIR_FLAG_HEADER;
  weir_put64(b + 20, s->config.epoch);
  memcpy(b + 28, waiting + 28, 6);
  uint8_t *p = b + WEIR_FRAME_HEAD;
  weir_put16(p, 1);
  weir_put16(p + 2, WEIR_WINDOW);
  weir_put16(p + 4, s->config.page);
  weir_put32(p + 8, s->segments[s->target].blocks);
  weir_put64(p + 12, s->key_id);
  unsigned at = HEADER_FIXED + 1;
  const char *device = s->config.device ? s->config.device : "";
  for (; *device; device++) p[at++] = (uint8_t)*device;
  p[HEADER_FIXED] = (uint8_t)(at - HEADER_FIXED - 1);
  p[at++] = s->lost_count;
  for (unsigned i = 0; i < s->lost_count; i++, at += 20) {
    weir_put64(p + at, s->lost[i].epoch);
    weir_put48(p + at + 8, s->lost[i].first);
    weir_put48(p + at + 14, s->lost[i].next);
  }
  weir_put32(p + at, s->lost_more);
  weir_put16(b + 34, (uint16_t)(at + 4));
  weir_frame_place(b, s->card_id, s->serial + 1, 0);
}

int weir_rotate_step(struct weir_storage *s) {
  int r;
  switch (s->phase) {
    case WEIR_PHASE_LOSE:
      r = weir_runs_next(s, &s->runs);
      if (r == WEIR_OK) lose(s);
      if (r == WEIR_E_FULL) s->phase = WEIR_PHASE_LOSE_FIRST;
      return WEIR_BUSY;
    case WEIR_PHASE_LOSE_FIRST:
    case WEIR_PHASE_LOSE_LAST:
      return bound(s);
    case WEIR_PHASE_BUILD:
      build(s);
      tell_lost(s);
      s->phase = WEIR_PHASE_BEGIN;
      return WEIR_BUSY;
    case WEIR_PHASE_BEGIN:
      return weir_card_start(s, WEIR_OP_HEADER, s->segments[s->target].start, s->config.buffers[0], 1);
    default:
      return weir_card_start(s, WEIR_OP_SYNC, 0, NULL, 0);
  }
}

void weir_rotate_done(struct weir_storage *s) {
  struct weir_segment *g = &s->segments[s->target];
  uint32_t old = g->serial;
  s->stats.syncs++;
  s->tries = 0;
  g->serial = ++s->serial;
  s->head = s->target;
  s->next_block = weir_next_page(s, 1);
  s->durable_block = 1;
  s->unsynced = 0;
  if (s->written > s->durable) s->durable = s->written;
  s->phase = WEIR_PHASE_RECORD;
  if (old || s->oldest_epoch == 0) s->oldest_known = false;
  if (old) weir_read_rotated(s, old);
  weir_storage_tell(s, WEIR_EV_ROTATED, s->serial, 0);
}
