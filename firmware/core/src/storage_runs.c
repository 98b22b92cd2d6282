/*
 * The epochs of a segment stand in it one after the other, each a run of
 * blocks. Hopping over them by bisection costs about log2(blocks) reads for
 * each epoch, where reading them all would cost every block.
 */
#include "storage_internal.h"

enum { FIND, BISECT, BACK, FOUND, REACH = WEIR_WINDOW + 2 * 64, GAP = WEIR_WINDOW + 64, LOOK = WEIR_WINDOW };

void weir_runs_begin(struct weir_runs *r, uint8_t slot, uint32_t limit) {
  r->slot = slot;
  r->limit = limit;
  r->state = FIND;
  r->probe = 1;
  r->tries = 0;
  r->damaged = false;
}

static void aim(struct weir_runs *r) {
  r->probe = r->low + (r->high - r->low) / 2;
  r->tries = 0;
}

/* Looks for the first block of the next run, over what is damaged or was skipped. */
static int find(struct weir_storage *s, struct weir_runs *r) {
  if (r->probe >= r->limit || r->tries > GAP) return WEIR_E_FULL;
  struct weir_frame_head h;
  int got = weir_card_block(s, r->slot, r->probe, &h);
  if (got == WEIR_BUSY || got == WEIR_E_GONE) return got;
  if (got != WEIR_OK) {
    r->damaged = r->damaged || got == WEIR_E_INVALID;
    r->probe++;
    r->tries++;
    return WEIR_BUSY;
  }
  r->epoch = h.epoch;
  r->first = h.first;
  r->next = h.first + h.count;
  r->from = r->low = r->probe;
  r->high = r->limit;
  r->state = BISECT;
  aim(r);
  return WEIR_BUSY;
}

/* Asks the block at probe, or where it cannot answer the few behind it, whether low may move there. */
static int ask(struct weir_storage *s, struct weir_runs *r, uint64_t most) {
  struct weir_frame_head h;
  uint32_t at = r->probe + r->tries;
  int got = weir_card_block(s, r->slot, at, &h);
  if (got == WEIR_BUSY || got == WEIR_E_GONE) return got;
  if (got != WEIR_OK && r->tries < LOOK && at + 1 < r->high) {
    r->tries++;
    return WEIR_BUSY;
  }
  if (got == WEIR_OK && h.epoch == r->epoch && h.first <= most) {
    r->low = at;
    if (most == UINT64_MAX && h.first + h.count > r->next) r->next = h.first + h.count;
  } else {
    r->high = r->probe;
  }
  aim(r);
  return WEIR_BUSY;
}

/* The last block may have survived a sync that failed, and hold less than those before it that were written again. */
static int back(struct weir_storage *s, struct weir_runs *r) {
  if (r->probe == r->from || r->last - r->probe == REACH) {
    r->state = FOUND;
    return WEIR_OK;
  }
  struct weir_frame_head h;
  int got = weir_card_block(s, r->slot, r->probe - 1, &h);
  if (got == WEIR_BUSY || got == WEIR_E_GONE) return got;
  r->probe--;
  if (got == WEIR_OK && h.epoch == r->epoch && h.first + h.count > r->next) r->next = h.first + h.count;
  return WEIR_BUSY;
}

int weir_runs_next(struct weir_storage *s, struct weir_runs *r) {
  switch (r->state) {
    case FOUND:
      r->state = FIND;
      r->probe = r->last + 1;
      r->tries = 0;
      r->damaged = false;
      return WEIR_BUSY;
    case FIND:
      return find(s, r);
    case BISECT:
      if (r->high - r->low > 1) return ask(s, r, UINT64_MAX);
      r->last = r->probe = r->low;
      r->state = BACK;
      return WEIR_BUSY;
    default:
      return back(s, r);
  }
}

void weir_runs_narrow_begin(struct weir_runs *r) {
  r->low = r->from;
  r->high = r->last + 1;
  aim(r);
}

int weir_runs_narrow(struct weir_storage *s, struct weir_runs *r, uint64_t sequence) {
  if (r->high - r->low > 1) return ask(s, r, sequence);
  if (r->from != r->low) r->damaged = false;
  r->from = r->low;
  return WEIR_OK;
}
