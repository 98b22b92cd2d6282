/*
 * faulty.h: a card in memory that does to a recorder what cards do. Time is
 * virtual: an operation ends when the test has moved the clock far enough.
 * Everything that is drawn comes from one seed.
 */
#ifndef FAULTY_H
#define FAULTY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "weir/port.h"

enum { FAULTY_PENDING = 4096 };

struct faulty_sector {
  uint32_t sector;
  uint8_t old[WEIR_SECTOR]; /* what the medium holds until a sync */
};

struct faulty {
  struct weir_block block;
  uint8_t *image;
  uint32_t sectors, generation;
  uint64_t seed, now_us;
  bool absent, read_only;

  /* Faults; 0: not. */
  uint32_t op_us;             /* what an operation takes at most */
  uint32_t stall_every;       /* after so many written sectors the card is busy for 250 ms */
  uint64_t long_stall_us;     /* each time that this much has passed it is busy for 2 s */
  uint32_t fail_read_per_mille, fail_write_per_mille, fail_sync_per_mille;
  uint32_t bad_from, bad_count; /* sectors that take no writes */
  uint32_t shear_page;        /* a cut may damage the other sectors of a page of so many around a write that was not synced */
  bool lazy;                  /* a power cut loses any of the writes since the last sync; else they are kept */

  /* The operation under way. */
  enum weir_block_op op;
  uint32_t sector, count;
  void *buffer;
  bool busy, interrupted;
  uint64_t ends_us, next_long_stall;
  uint32_t written;

  /* Writes since the last sync, oldest first. */
  struct faulty_sector *pending;
  uint32_t pending_count;

  FILE *log; /* every write and sync, as qemu's blklogwrites has them; NULL: none */
  uint64_t log_entries;
};

void faulty_open(struct faulty *f, uint32_t sectors, uint64_t seed);
void faulty_close(struct faulty *f);

/* The power goes: writes since the last sync are kept, lost or torn, in any combination. */
void faulty_cut(struct faulty *f);

/* The card is taken out (power goes) and is absent; put it in again with faulty_insert. */
void faulty_pull(struct faulty *f);
void faulty_insert(struct faulty *f);

/* Begins a log of writes in the format of qemu's blklogwrites. */
void faulty_log(struct faulty *f, const char *path);
void faulty_log_end(struct faulty *f);

#endif
