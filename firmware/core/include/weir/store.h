/*
 * weir/store.h: what the recorder needs of a place that keeps records.
 *
 * Two implementations: the card (weir/storage.h) and RAM (weir/ram_store.h),
 * where the ring itself is the store until the gateway has what is in it.
 *
 * A record is bytes (docs/format/record.md) with a sequence number: 1, 2, 3 … of
 * an epoch, without holes. An epoch is 64 random bits drawn at each start.
 */
#ifndef WEIR_STORE_H
#define WEIR_STORE_H

#include "weir/port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Consecutive records of one epoch that are on hand: first <= last. */
struct weir_range {
  uint64_t epoch;
  uint64_t first;
  uint64_t last;
};

/* What a read gave. */
struct weir_read {
  uint64_t first; /* sequence of the first record in the buffer */
  uint32_t count; /* records */
  uint32_t size;  /* bytes of the buffer that are filled */
};

struct weir_store {
  void *ctx;

  /* Names the epoch of the records that append will bring, before the first.
   * WEIR_BUSY  being committed: call again with the same epoch
   * WEIR_OK    it is durable; append may begin
   * else       as of the medium (weir/port.h); call again later */
  int (*begin)(void *ctx, uint64_t epoch);

  /* Takes a copy of the record with the sequence that next() names.
   * WEIR_OK           taken, not durable yet
   * WEIR_BUSY         no room now: again after poll
   * WEIR_E_GONE, WEIR_E_READ_ONLY, WEIR_E_IO  the medium is not usable now: again later
   * WEIR_E_FULL       full, and what is on it must not be overwritten */
  int (*append)(void *ctx, uint64_t sequence, const uint8_t *record, uint32_t n);

  /* The sequence that append expects. It goes back to durable() + 1 after the
   * medium failed or was changed: what was taken and not durable comes again.
   * The caller therefore keeps a record until it is durable. */
  uint64_t (*next)(void *ctx);

  /* Everything of the current epoch up to this sequence survives a power cut; 0: nothing yet. Never goes back. */
  uint64_t (*durable)(void *ctx);

  /* Asks that all that was appended become durable without waiting for more. */
  void (*sync)(void *ctx);

  /* Goes on with what is under way; bounded work.
   * WEIR_OK    nothing is under way
   * WEIR_BUSY  something is; deadline() says when to poll again if no port wakes the loop
   * else       the medium is not usable now, as above */
  int (*poll)(void *ctx, uint64_t now_us);

  /* The uptime at which poll must be called next; UINT64_MAX: not before an append or a sync. */
  uint64_t (*deadline)(void *ctx);

  /* Lists what is on hand, oldest first: index 0, 1, 2 …
   * WEIR_OK         *range is filled in
   * WEIR_BUSY       the medium is still being looked through: again after poll
   * WEIR_E_UNKNOWN  there is no range of that index (any more) */
  int (*range)(void *ctx, uint32_t index, struct weir_range *range);

  /* Reads records from a sequence on, as many whole ones as fit, into buffer
   * (aligned to WEIR_BLOCK_ALIGN): each is its length as one varint (LEB128) and its bytes.
   * Only durable records are read. Same arguments until it ends.
   * WEIR_BUSY       under way: again after poll
   * WEIR_OK         *got is filled in; count > 0
   * WEIR_E_UNKNOWN  that sequence is not there (any more): overwritten, damaged, or another card
   * WEIR_E_FULL     the buffer is too small for the first record
   * else            as of the medium */
  int (*read)(void *ctx, uint64_t epoch, uint64_t sequence, uint8_t *buffer, uint32_t size, struct weir_read *got);

  /* The gateway has everything of the epoch up to the sequence: what holds only such may be overwritten first. */
  void (*confirm)(void *ctx, uint64_t epoch, uint64_t sequence);

  /* Ends: everything appended becomes durable, the medium may be taken out or powered down after WEIR_OK.
   * WEIR_BUSY  under way: again after poll */
  int (*quiesce)(void *ctx);
};

#ifdef __cplusplus
}
#endif

#endif
