/*
 * The reader: where it stands, and the seek for (epoch, sequence). Calls of the
 * caller only look at what is loaded; weir_read_step, from poll, loads.
 */
#include "bytes.h"
#include "storage_internal.h"

#ifdef WEIR_STORAGE_SEAL
#include "seal.h"
#endif

enum {
  READ_OFF,     /* not placed: the oldest */
  READ_HEADERS, /* seeking: which segment */
  READ_RUNS,    /* which run of blocks in it */
  READ_NARROW,  /* which block */
  READ_WANT,    /* the block is to be loaded */
  READ_AHEAD,   /* sequences are missing before it: do they come later? */
  READ_HAVE,
  READ_BAD,  /* loaded, and records before it are missing */
  READ_LOCKED, /* sealed, and it does not open */
  READ_END,
  READ_MISSING,
  READ_GONE
};

enum { AHEAD = WEIR_WINDOW + 2 * 64 }; /* how far blocks that were written again may lie behind those that were not durable */

static uint8_t segment_before(const struct weir_storage *s, uint32_t serial) {
  uint8_t best = WEIR_NO_SLOT;
  for (uint8_t i = 0; i < WEIR_STORAGE_SEGMENTS; i++) {
    const struct weir_segment *g = &s->segments[i];
    if (!g->start || g->serial == 0 || g->serial >= serial) continue;
    if (best == WEIR_NO_SLOT || g->serial > s->segments[best].serial) best = i;
  }
  return best;
}

static uint32_t limit(const struct weir_storage *s, uint8_t slot) {
  return slot == s->head ? s->durable_block : s->segments[slot].blocks;
}

static void stand(struct weir_storage *s, uint8_t slot, uint32_t block) {
  s->read_slot = slot;
  s->read_serial = slot == WEIR_NO_SLOT ? 0 : s->segments[slot].serial;
  s->read_block = block;
  s->read_given = 0;
  s->read_bad = s->read_sure = false;
  s->read_state = slot == WEIR_NO_SLOT ? READ_END : READ_WANT;
}

/* ------------------------------------------------------------------ placing */

void weir_storage_read_oldest(struct weir_storage *s) {
  s->read_epoch = s->read_next = 0;
  stand(s, weir_segment_after(s, 0), 0);
}

void weir_storage_read_from(struct weir_storage *s, uint64_t epoch, uint64_t sequence) {
  s->seek_epoch = epoch;
  s->seek_sequence = sequence;
  s->seek_slot = 0;
  s->seek_serial = s->seek_after = 0;
  s->read_state = READ_HEADERS;
}

void weir_read_gone(struct weir_storage *s) { s->read_state = READ_GONE; }

void weir_read_rotated(struct weir_storage *s, uint32_t serial) {
  if (s->read_state >= READ_HEADERS && s->read_state <= READ_NARROW) {
    weir_storage_read_from(s, s->seek_epoch, s->seek_sequence);
  } else if (s->read_state != READ_OFF && s->read_serial == serial && s->read_slot != WEIR_NO_SLOT) {
    s->read_state = READ_GONE;
  }
}

/* ------------------------------------------------------------------ seeking */

/* The wanted epoch's records from seek_sequence on; what lies before them in their block is passed over. */
static void stand_at(struct weir_storage *s, uint8_t slot, uint32_t block) {
  stand(s, slot, block);
  s->read_epoch = s->seek_epoch;
  s->read_next = s->seek_sequence;
}

static void search(struct weir_storage *s, uint8_t slot) {
  if (slot == WEIR_NO_SLOT) {
    s->read_state = READ_MISSING;
    return;
  }
  s->seek_slot = slot;
  weir_runs_begin(&s->seek, slot, limit(s, slot));
  s->read_state = READ_RUNS;
}

/* A header tells what its segment begins with: usually that is enough to know which segment holds the place. */
static int seek_headers(struct weir_storage *s) {
  const struct weir_segment *g = &s->segments[s->seek_slot];
  if (g->start && g->serial) {
    struct weir_frame_head h;
    int r = weir_card_block(s, s->seek_slot, 0, &h);
    if (r == WEIR_BUSY || r == WEIR_E_GONE) return r;
    if (r == WEIR_OK && h.epoch == s->seek_epoch) {
      if (h.first <= s->seek_sequence) {
        if (g->serial > s->seek_serial) s->seek_serial = g->serial;
      } else if (s->seek_after == 0 || g->serial < s->seek_after) {
        s->seek_after = g->serial;
      }
    }
  }
  if (++s->seek_slot < WEIR_STORAGE_SEGMENTS) return WEIR_BUSY;
  if (s->seek_serial) {
    search(s, weir_segment_after(s, s->seek_serial - 1));
  } else if (s->seek_after) {
    uint8_t before = segment_before(s, s->seek_after);
    if (before == WEIR_NO_SLOT) {
      stand_at(s, weir_segment_after(s, s->seek_after - 1), 0);
    } else {
      search(s, before);
    }
  } else {
    search(s, s->head);
  }
  return WEIR_BUSY;
}

static int seek_runs(struct weir_storage *s) {
  int r = weir_runs_next(s, &s->seek);
  if (r == WEIR_BUSY || r == WEIR_E_GONE) return r;
  if (r == WEIR_OK) {
    if (s->seek.epoch != s->seek_epoch) return WEIR_BUSY;
    weir_runs_narrow_begin(&s->seek);
    s->read_state = READ_NARROW;
  } else if (s->seek_serial) {
    stand_at(s, s->seek_slot, 0);
  } else if (s->seek_after) {
    stand_at(s, weir_segment_after(s, s->seek_after - 1), 0);
  } else {
    search(s, segment_before(s, s->segments[s->seek_slot].serial));
  }
  return WEIR_BUSY;
}

static int seek_narrow(struct weir_storage *s) {
  int r = weir_runs_narrow(s, &s->seek, s->seek_sequence);
  if (r != WEIR_OK) return r;
  stand_at(s, s->seek_slot, s->seek.from);
  s->read_bad = s->seek.damaged;
  return WEIR_BUSY;
}

/* ------------------------------------------------------------------ loading */

/* The oldest segment's first block tells what a gateway can still ask for. */
static int learn_oldest(struct weir_storage *s) {
  uint8_t slot = weir_segment_after(s, 0);
  s->oldest_epoch = 0;
  for (uint32_t at = 0; slot != WEIR_NO_SLOT && at <= 64 && at < limit(s, slot); at = at ? at * 2 : 1) {
    struct weir_frame_head h;
    if (at < s->oldest_probe) continue;
    int r = weir_card_block(s, slot, at, &h);
    if (r == WEIR_BUSY || r == WEIR_E_GONE) return r;
    if (r == WEIR_OK) {
      s->oldest_epoch = h.epoch;
      s->oldest_sequence = h.first;
      break;
    }
    s->oldest_probe = at + 1;
  }
  s->oldest_probe = 0;
  s->oldest_known = true;
  return WEIR_BUSY;
}

static bool is_gap(const struct weir_storage *s, const struct weir_frame_head *h) {
  return h->epoch == s->read_epoch && h->first > s->read_next && !(h->flags & WEIR_FLAG_HEADER);
}

/* Begins the loaded block, at the record after those that were given. */
static void have(struct weir_storage *s, const struct weir_frame_head *h) {
  bool begins = h->epoch != s->read_epoch && h->first > 1 && !(h->flags & WEIR_FLAG_HEADER); /* in the middle of its epoch */
  bool missing = s->read_bad && (begins || is_gap(s, h));
  s->read_bad = false;
  if (h->epoch != s->read_epoch) {
    s->read_epoch = h->epoch;
    s->read_next = h->first;
  }
  s->read_state = missing ? READ_BAD : READ_HAVE;
  s->read_fill = s->fills;
  if (h->flags & WEIR_FLAG_HEADER) return;
  struct weir_frame_head open = *h;
#ifdef WEIR_STORAGE_SEAL
  if (h->flags & WEIR_FLAG_SEALED && s->config.key) {
    s->loaded = WEIR_NO_SECTOR; /* opened in place: not what the card holds any more */
    if (weir_unseal(s->config.buffers[0], s->config.key) == WEIR_OK) open.flags &= (uint8_t)~WEIR_FLAG_SEALED;
  }
#endif
  if (weir_frame_read(&s->reader, s->config.buffers[0], &open) != WEIR_OK) {
    s->read_state = READ_LOCKED;
    return;
  }
  struct weir_stored passed;
  for (uint16_t i = 0; i < s->read_given; i++) {
    if (weir_frame_next(&s->reader, &passed) != WEIR_OK) return;
  }
}

/*
 * A block whose first sequence is above the expected one may have survived a
 * sync that failed, while one before it did not; then all of it was written
 * again further on, within the window and what pages skip. The block that has
 * the expected sequence is looked for there, at last in the next segment.
 */
static int look_ahead(struct weir_storage *s) {
  struct weir_frame_head h;
  uint32_t end = limit(s, s->read_slot), at = s->read_ahead;
  uint8_t slot = s->read_slot;
  if (at >= end) {
    at -= end;
    slot = slot == s->head ? WEIR_NO_SLOT : weir_segment_after(s, s->read_serial);
  }
  if (slot == WEIR_NO_SLOT || s->read_ahead > s->read_block + AHEAD || at >= limit(s, slot)) {
    s->read_sure = true;
    s->read_state = READ_WANT;
    return WEIR_BUSY;
  }
  int r = weir_card_block(s, slot, at, &h);
  if (r == WEIR_BUSY || r == WEIR_E_GONE) return r;
  if (r == WEIR_OK && h.epoch == s->read_epoch && h.first <= s->read_next && h.first + h.count > s->read_next) {
    stand(s, slot, at);
  } else {
    s->read_ahead++;
  }
  return WEIR_BUSY;
}

static int want(struct weir_storage *s) {
  if (s->segments[s->read_slot].serial != s->read_serial) {
    s->read_state = READ_GONE;
    return WEIR_BUSY;
  }
  if (s->read_block >= limit(s, s->read_slot)) {
    uint8_t next = s->read_slot == s->head ? WEIR_NO_SLOT : weir_segment_after(s, s->read_serial);
    if (next == WEIR_NO_SLOT) {
      s->read_state = READ_END;
    } else {
      bool bad = s->read_bad;
      stand(s, next, 0);
      s->read_bad = bad;
    }
    return WEIR_BUSY;
  }
  struct weir_frame_head h;
  int r = weir_card_block(s, s->read_slot, s->read_block, &h);
  if (r == WEIR_BUSY || r == WEIR_E_GONE) return r;
  if (r == WEIR_OK && is_gap(s, &h) && !s->read_sure) {
    s->read_ahead = s->read_block + 1;
    s->read_state = READ_AHEAD;
  } else if (r == WEIR_OK) {
    have(s, &h);
  } else {
    if (r == WEIR_E_INVALID) s->read_bad = true;
    s->read_given = 0;
    s->read_block++;
  }
  return WEIR_BUSY;
}

int weir_read_step(struct weir_storage *s) {
  if (!s->oldest_known) return learn_oldest(s);
  switch (s->read_state) {
    case READ_HEADERS:
      return seek_headers(s);
    case READ_RUNS:
      return seek_runs(s);
    case READ_NARROW:
      return seek_narrow(s);
    case READ_WANT:
      return want(s);
    case READ_AHEAD:
      return look_ahead(s);
    default:
      return WEIR_OK;
  }
}

/* ------------------------------------------------------------------- giving */

static void next_block(struct weir_storage *s) {
  s->read_block++;
  s->read_given = 0;
  s->read_sure = false;
  s->read_state = READ_WANT;
}

/* A header gives the ranges that were lost when its segment was begun. */
static int give_lost(struct weir_storage *s, struct weir_stored *out) {
  const uint8_t *p = s->config.buffers[0] + WEIR_FRAME_HEAD;
  unsigned size = weir_get16(s->config.buffers[0] + 34), at = 21u + p[20];
  if (size < 22 || at >= size || at + 1 + p[at] * 20u > size || s->read_given >= p[at]) {
    next_block(s);
    return WEIR_BUSY;
  }
  const uint8_t *range = p + at + 1 + s->read_given * 20u;
  for (unsigned i = 0; i < 20; i++) s->lost_body[i] = range[i];
  s->lost_body[20] = 1;
  out->kind = WEIR_KIND_LOST;
  out->body = s->lost_body;
  out->size = sizeof s->lost_body;
  out->uptime_ms = 0;
  out->epoch = s->read_epoch;
  out->sequence = s->read_next;
  s->read_given++;
  return WEIR_OK;
}

static int give(struct weir_storage *s, struct weir_stored *out) {
  if (s->config.buffers[0][2] & WEIR_FLAG_HEADER) return give_lost(s, out);
  for (unsigned i = 0; i < WEIR_SECTOR; i++) {
    int r = weir_frame_next(&s->reader, out);
    if (r != WEIR_OK) {
      next_block(s);
      if (r != WEIR_E_INVALID) return WEIR_BUSY;
      out->epoch = s->read_epoch;
      out->sequence = s->read_next;
      return r;
    }
    s->read_given++;
    if (out->sequence < s->read_next) continue; /* written twice, after a failed sync */
    out->epoch = s->read_epoch;
    if (out->kind < WEIR_KIND_EPOCH) s->read_next = out->sequence + 1;
    return WEIR_OK;
  }
  return WEIR_BUSY;
}

static int ended(struct weir_storage *s) {
  if (s->read_slot == WEIR_NO_SLOT) {
    if (s->head == WEIR_NO_SLOT) return WEIR_E_FULL;
    weir_storage_read_oldest(s);
  } else if (s->read_slot == s->head && s->read_block >= s->durable_block) {
    return WEIR_E_FULL;
  }
  s->read_state = READ_WANT;
  return WEIR_BUSY;
}

int weir_storage_read(struct weir_storage *s, struct weir_stored *out) {
  if (s->state == WEIR_CARD_MOUNTING) return WEIR_BUSY;
  if (s->state != WEIR_CARD_READY && s->state != WEIR_CARD_READ_ONLY) return WEIR_E_GONE;
  out->epoch = s->read_epoch;
  out->sequence = s->read_next;
  switch (s->read_state) {
    case READ_OFF:
      weir_storage_read_oldest(s);
      return WEIR_BUSY;
    case READ_HAVE:
      if (s->read_fill == s->fills) return give(s, out);
      s->read_state = READ_WANT; /* the writer needed the buffer */
      return WEIR_BUSY;
    case READ_BAD:
      s->read_state = READ_HAVE;
      return WEIR_E_INVALID;
    case READ_LOCKED:
      next_block(s);
      return WEIR_E_INVALID;
    case READ_END:
      return ended(s);
    case READ_MISSING:
      weir_storage_read_oldest(s);
      return WEIR_E_UNKNOWN;
    case READ_GONE:
      return WEIR_E_GONE;
    default:
      return WEIR_BUSY;
  }
}

int weir_storage_oldest(const struct weir_storage *s, uint64_t *epoch, uint64_t *sequence) {
  if (s->state == WEIR_CARD_MOUNTING) return WEIR_BUSY;
  if (s->state != WEIR_CARD_READY && s->state != WEIR_CARD_READ_ONLY) return WEIR_E_GONE;
  if (!s->oldest_known) return WEIR_BUSY;
  if (s->oldest_epoch == 0) return WEIR_E_GONE;
  *epoch = s->oldest_epoch;
  *sequence = s->oldest_sequence;
  return WEIR_OK;
}

bool weir_storage_overwrote(const struct weir_storage *s) {
  uint8_t slot = weir_segment_after(s, 0);
  return slot != WEIR_NO_SLOT && s->segments[slot].serial > 1;
}
