/* What the files of the storage manager share: the card's one operation, and
 * the steps that poll takes. */
#ifndef WEIR_STORAGE_INTERNAL_H
#define WEIR_STORAGE_INTERNAL_H

#include "frame.h"

enum {
  WEIR_WINDOW = 32, /* blocks that may be written beyond the last durable one */
  WEIR_TRIES = 3,   /* of a failed operation, before it counts */
  WEIR_NO_SLOT = 0xFF
};

#define WEIR_NO_SECTOR UINT32_MAX

_Static_assert(WEIR_STORAGE_SEGMENTS >= 2 && WEIR_STORAGE_SEGMENTS <= 99, "WEIR_STORAGE_SEGMENTS is 2 to 99: two digits of the files' names");

enum { WEIR_OP_NONE, WEIR_OP_READ, WEIR_OP_WRITE, WEIR_OP_HEADER, WEIR_OP_SYNC };

/* The phases of a mounted card, and of mounting. */
enum {
  WEIR_PHASE_PARTITION,
  WEIR_PHASE_BOOT,
  WEIR_PHASE_DIRECTORY,
  WEIR_PHASE_DIRECTORY_NEXT,
  WEIR_PHASE_CHAIN,
  WEIR_PHASE_SERIAL,
  WEIR_PHASE_END,
  WEIR_PHASE_SCAN,
  WEIR_PHASE_RECORD, /* mounted */
  WEIR_PHASE_LOSE,   /* rotating: the ranges that are lost are gathered */
  WEIR_PHASE_LOSE_FIRST,
  WEIR_PHASE_LOSE_LAST,
  WEIR_PHASE_BUILD,
  WEIR_PHASE_BEGIN, /* the header block is written */
  WEIR_PHASE_BEGUN  /* and synced */
};

/* storage.c: the card */

/* Brings a sector into buffer 0. WEIR_OK: it is there. WEIR_BUSY: later.
 * WEIR_E_IO: it cannot be read. WEIR_E_GONE: the card went. */
int weir_card_load(struct weir_storage *s, uint32_t sector);

/* Brings a block of a segment into buffer 0.
 * WEIR_OK         it is of the segment; *head is read
 * WEIR_BUSY       later
 * WEIR_E_UNKNOWN  nothing was written there in this life of the segment
 * WEIR_E_INVALID  it is torn, damaged or cannot be read
 * WEIR_E_GONE     the card went */
int weir_card_block(struct weir_storage *s, uint8_t slot, uint32_t index, struct weir_frame_head *head);

/* Begins an operation; WEIR_BUSY also where the card refused it: then it counts as failed. */
int weir_card_start(struct weir_storage *s, uint8_t op, uint32_t sector, uint8_t *buffer, uint16_t count);

void weir_card_gone(struct weir_storage *s);   /* forget the card; what was not durable is rewound */
void weir_card_refuse(struct weir_storage *s, enum weir_card_refusal why);
void weir_storage_tell(struct weir_storage *s, enum weir_storage_event_type type, uint32_t value, uint8_t reason);

/* storage_mount.c */
void weir_mount_begin(struct weir_storage *s);
int weir_mount_step(struct weir_storage *s);

/* storage_write.c */
int weir_write_step(struct weir_storage *s);
void weir_write_ended(struct weir_storage *s, uint8_t op, int result);
void weir_write_reset(struct weir_storage *s); /* drops what is not durable and says so */
uint64_t weir_write_deadline(const struct weir_storage *s);
bool weir_write_all_durable(const struct weir_storage *s);

/* storage_rotate.c */
int weir_rotate_begin(struct weir_storage *s);
int weir_rotate_step(struct weir_storage *s);
void weir_rotate_done(struct weir_storage *s);
uint8_t weir_segment_after(const struct weir_storage *s, uint32_t serial); /* slot of the lowest serial above it */

/* storage_runs.c */
void weir_runs_begin(struct weir_runs *r, uint8_t slot, uint32_t limit);
/* WEIR_OK: *r is the next run. WEIR_BUSY. WEIR_E_FULL: there is none. WEIR_E_GONE. */
int weir_runs_next(struct weir_storage *s, struct weir_runs *r);
/* After weir_runs_next: narrows the run to begin with the last block whose first sequence is at most that. Same results. */
void weir_runs_narrow_begin(struct weir_runs *r);
int weir_runs_narrow(struct weir_storage *s, struct weir_runs *r, uint64_t sequence);

/* storage_read.c */
int weir_read_step(struct weir_storage *s);
void weir_read_rotated(struct weir_storage *s, uint32_t serial); /* what that segment held is no more */
void weir_read_gone(struct weir_storage *s);

static inline uint8_t *weir_write_buffer(const struct weir_storage *s, unsigned i) {
  return s->config.buffers[1 + (s->first_full + i) % (s->config.buffer_count - 1u)];
}

static inline uint32_t weir_next_page(const struct weir_storage *s, uint32_t block) {
  uint32_t page = s->config.page;
  return (block + page - 1) & ~(page - 1);
}

#endif
