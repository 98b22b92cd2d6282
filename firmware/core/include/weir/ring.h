/*
 * weir/ring.h: compact records of varying length in the caller's bytes, first
 * in, first out.
 *
 * An entry is: size << 1 as varint, its lowest bit set when a kind follows (a
 * reading has none); the uptime in milliseconds since the entry before, as
 * varint; the body. An entry never wraps: a zero byte says that the rest of the
 * memory is left out.
 */
#ifndef WEIR_RING_H
#define WEIR_RING_H

#include "weir/port.h"

#ifdef __cplusplus
extern "C" {
#endif

struct weir_ring {
  uint8_t *bytes;
  uint32_t size;
  uint32_t head, tail;   /* where the next entry goes; where the oldest stands */
  uint32_t count;
  uint32_t used;         /* bytes between them */
  uint64_t first;        /* sequence of the oldest entry; of the next one when empty */
  uint64_t uptime_tail;  /* what the oldest entry's uptime is counted from */
  uint64_t uptime_head;  /* uptime of the newest entry */
};

/* A place in the ring that goes on while entries come and go. */
struct weir_ring_place {
  uint32_t at;
  uint64_t sequence;  /* of the entry that stands there, or will */
  uint64_t uptime_ms; /* of the entry before */
};

/* One entry; body points into the ring and is valid until something is pushed or popped. */
struct weir_ring_entry {
  uint64_t sequence;
  uint64_t uptime_ms;
  const uint8_t *body;
  uint32_t size;
  uint8_t kind;
};

void weir_ring_init(struct weir_ring *r, uint8_t *bytes, uint32_t size);

/* Appends a body of 1 to 65,535 bytes; uptimes ascend.
 * Its sequence, or 0: no room */
uint64_t weir_ring_push(struct weir_ring *r, uint8_t kind, uint64_t uptime_ms, const uint8_t *body, uint32_t size);

/* Whether a push of a body of that size has room, whatever its uptime. */
bool weir_ring_fits(const struct weir_ring *r, uint32_t size);

/* Removes the oldest entry. Does nothing when empty. */
void weir_ring_pop(struct weir_ring *r);

/* Sequence that the next push gets. */
static inline uint64_t weir_ring_next(const struct weir_ring *r) { return r->first + r->count; }

/* Puts the place at the oldest entry if it stands before it; else leaves it. */
void weir_ring_catch_up(const struct weir_ring *r, struct weir_ring_place *p);

/* Puts the place at a sequence between first and next (the walk is from the oldest entry). */
void weir_ring_seek(const struct weir_ring *r, struct weir_ring_place *p, uint64_t sequence);

/* Shows the entry at the place. False: it stands at the end, or behind the oldest. */
bool weir_ring_at(const struct weir_ring *r, const struct weir_ring_place *p, struct weir_ring_entry *e);

/* Moves the place behind the entry that weir_ring_at showed. */
void weir_ring_step(const struct weir_ring *r, struct weir_ring_place *p, const struct weir_ring_entry *e);

#ifdef __cplusplus
}
#endif

#endif
