/* Records into blocks, blocks onto the card, and what a sync that ended means. */
#include <string.h>

#include "bytes.h"
#include "storage_internal.h"

#ifdef WEIR_STORAGE_SEAL
#include "seal.h"
#endif

enum { GIVE_UP = 24, SYNC_TRIES = 3 };

/* ------------------------------------------------------------------ blocks */

static void close_block(struct weir_storage *s) {
  weir_frame_end(&s->frame);
#ifdef WEIR_STORAGE_SEAL
  if (s->config.key) weir_seal(s->frame.sector, s->config.key, ++s->seal_counter);
#endif
  s->filling = false;
  s->full++;
}

static unsigned copy_text(uint8_t *to, const char *text) {
  unsigned n = 0;
  for (; text && text[n]; n++) to[n] = (uint8_t)text[n];
  return n;
}

/* The epoch's first block on a card begins with what the epoch is. */
static void append_epoch(struct weir_storage *s, uint64_t sequence, uint64_t uptime) {
  uint8_t body[16 + 32];
  weir_put64(body, s->before_epoch);
  weir_put48(body + 8, s->before_next);
  body[14] = s->config.reset_cause;
  body[15] = s->config.reset_part;
  unsigned n = 16 + copy_text(body + 16, s->config.firmware);
  weir_frame_append(&s->frame, WEIR_KIND_EPOCH, sequence, uptime, body, (uint16_t)n);
  s->epoch_written = true;
}

static int open_block(struct weir_storage *s, uint64_t sequence, uint64_t uptime) {
  if (s->full == s->config.buffer_count - 1 || s->seal_counter == UINT32_MAX) return WEIR_BUSY; /* no nonce twice */
  weir_frame_begin(&s->frame, weir_write_buffer(s, s->full), s->config.epoch, sequence, uptime, s->config.compress,
                   s->config.key != NULL);
  s->filling = true;
  if (!s->epoch_written) append_epoch(s, sequence, uptime);
  return WEIR_OK;
}

int weir_storage_append(struct weir_storage *s, uint8_t kind, uint64_t sequence, uint64_t uptime_ms, const void *body,
                        uint16_t size) {
  if (size > WEIR_RECORD_MAX || kind == 0 || kind >= WEIR_KIND_EPOCH || sequence < s->expects || sequence >> 48 != 0 ||
      uptime_ms >> 48 != 0) {
    return WEIR_E_ARGUMENT;
  }
  if (s->resting) {
    weir_storage_wake(s);
    return WEIR_BUSY;
  }
  if (s->state == WEIR_CARD_MOUNTING || (s->config.power != NULL && !s->powered)) return WEIR_BUSY;
  if (s->state == WEIR_CARD_READ_ONLY) return WEIR_E_READ_ONLY;
  if (s->state != WEIR_CARD_READY) return WEIR_E_GONE;
  /* At most: the open block is full, a block that holds the epoch alone, a block for this record. */
  for (unsigned i = 0; i < 3; i++) {
    bool was_durable = weir_write_all_durable(s);
    if (!s->filling && open_block(s, sequence, uptime_ms) != WEIR_OK) return WEIR_BUSY;
    uint16_t used = s->frame.used;
    if (weir_frame_append(&s->frame, kind, sequence, uptime_ms, body, size) == WEIR_OK) {
      if (was_durable) s->since = s->now;
      s->expects = sequence + 1;
      s->stats.records++;
      s->stats.raw_bytes += size;
      s->stats.stored_bytes += (uint32_t)(s->frame.used - used);
      return WEIR_OK;
    }
    close_block(s);
  }
  return WEIR_BUSY;
}

/* --------------------------------------------------------------- durability */

bool weir_write_all_durable(const struct weir_storage *s) { return !s->filling && s->full == 0 && s->unsynced == 0; }

static bool is_due(const struct weir_storage *s) { return s->flushing || s->now >= s->since + s->config.flush_ms; }

uint64_t weir_write_deadline(const struct weir_storage *s) {
  if (weir_write_all_durable(s)) return UINT64_MAX;
  return s->full || s->flushing ? s->now : s->since + s->config.flush_ms;
}

void weir_write_reset(struct weir_storage *s) {
  bool lost = s->expects != s->durable;
  s->full = s->first_full = 0;
  s->filling = s->flushing = false;
  s->unsynced = 0;
  s->written = s->expects = s->durable;
  s->epoch_written = s->epoch_on_card = s->epoch_durable;
  if (!lost) return;
  s->stats.rewinds++;
  weir_storage_tell(s, WEIR_EV_REWIND, 0, 0);
}

/* A sync is worth its time when nothing more is there to be written before it. With pages it costs the rest of the
 * page, so it waits until the page is full or a record has waited long enough. */
static bool wants_sync(const struct weir_storage *s) {
  if (s->unsynced == 0) return false;
  if (s->unsynced >= WEIR_WINDOW || (s->epoch_on_card && !s->epoch_durable)) return true;
  return s->full == 0 && (s->config.page == 1 || s->next_block % s->config.page == 0 || (is_due(s) && !s->filling));
}

/* How many full buffers lie one behind the other in memory and have room on the card. */
static uint16_t batch(const struct weir_storage *s) {
  uint32_t n = s->full, in_memory = s->config.buffer_count - 1u - s->first_full;
  uint32_t on_card = s->segments[s->head].blocks - s->next_block, window = WEIR_WINDOW - (uint32_t)s->unsynced;
  if (n > in_memory) n = in_memory;
  if (n > on_card) n = on_card;
  if (n > window) n = window;
  return (uint16_t)(s->epoch_durable && s->tries == 0 ? n : 1); /* after a failure one by one: which sector is it? */
}

static int write_blocks(struct weir_storage *s) {
  uint16_t n = batch(s);
  for (uint16_t i = 0; i < n; i++) {
    weir_frame_place(weir_write_buffer(s, i), s->card_id, s->segments[s->head].serial, s->next_block + i);
  }
  return weir_card_start(s, WEIR_OP_WRITE, s->segments[s->head].start + s->next_block, weir_write_buffer(s, 0), n);
}

int weir_write_step(struct weir_storage *s) {
  if (s->op != WEIR_OP_NONE) return WEIR_BUSY;
  if (s->phase != WEIR_PHASE_RECORD) return weir_rotate_step(s);
  if (s->filling && is_due(s)) close_block(s);
  if (wants_sync(s)) return weir_card_start(s, WEIR_OP_SYNC, 0, NULL, 0);
  if (s->full == 0) {
    if (!s->filling && s->unsynced == 0) s->flushing = false;
    return WEIR_OK;
  }
  if (s->head == WEIR_NO_SLOT || s->next_block >= s->segments[s->head].blocks) return weir_rotate_begin(s);
  return write_blocks(s);
}

/* ---------------------------------------------------- what an operation did */

static void wrote(struct weir_storage *s) {
  const uint8_t *last = weir_write_buffer(s, s->op_count - 1u);
  s->written = weir_get48(last + 28) + last[3];
  s->first_full = (uint16_t)((s->first_full + s->op_count) % (s->config.buffer_count - 1u));
  s->full = (uint16_t)(s->full - s->op_count);
  s->next_block += s->op_count;
  s->unsynced = (uint16_t)(s->unsynced + s->op_count);
  s->stats.blocks += s->op_count;
  s->epoch_on_card = true; /* the first block that is written after mounting tells the epoch */
  s->tries = 0;
}

static void synced(struct weir_storage *s) {
  s->stats.syncs++;
  s->tries = 0;
  s->unsynced = 0;
  if (s->written > s->durable) s->durable = s->written;
  s->epoch_durable = s->epoch_on_card;
  s->durable_block = s->next_block;
  s->next_block = weir_next_page(s, s->next_block);
  s->since = s->now;
}

static void write_failed(struct weir_storage *s, uint8_t op) {
  s->stats.errors++;
  s->tries++;
  weir_storage_tell(s, WEIR_EV_IO_ERROR, s->op_sector, op);
  if (op == WEIR_OP_SYNC) {
    /* What was written since the last sync may be gone, and a later sync that succeeds does not bring it back. The
     * records come again, over the same blocks: behind them, they would follow their own successors. */
    if (s->phase == WEIR_PHASE_BEGUN) s->phase = WEIR_PHASE_RECORD;
    s->next_block = weir_next_page(s, s->durable_block);
    weir_write_reset(s);
    s->unsynced = 1;
    if (s->tries >= SYNC_TRIES) weir_card_gone(s);
  } else if (s->tries >= GIVE_UP) {
    weir_card_gone(s);
  } else if (s->tries % WEIR_TRIES != 0) {
    return; /* the same again */
  } else if (op == WEIR_OP_WRITE) {
    s->next_block++; /* this sector takes no writes; the blocks go to the next */
  } else {
    s->segments[s->target].start = 0; /* nor does this header: another segment */
    s->stats.skipped_segments++;
    s->phase = WEIR_PHASE_RECORD;
  }
}

void weir_write_ended(struct weir_storage *s, uint8_t op, int result) {
  if (result == WEIR_E_READ_ONLY) {
    s->state = WEIR_CARD_READ_ONLY;
    s->phase = WEIR_PHASE_RECORD;
    weir_write_reset(s);
    weir_storage_tell(s, WEIR_EV_READ_ONLY, s->card_id, 0);
  } else if (result != WEIR_OK) {
    write_failed(s, op);
  } else if (op == WEIR_OP_WRITE) {
    wrote(s);
  } else if (op == WEIR_OP_HEADER) {
    s->tries = 0;
    s->phase = WEIR_PHASE_BEGUN;
  } else if (s->phase == WEIR_PHASE_BEGUN) {
    weir_rotate_done(s);
  } else {
    synced(s);
  }
}
