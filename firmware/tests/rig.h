/*
 * rig.h: a recorder's storage on a faulty card, and a model of what was
 * promised: which records were appended, how far they were durable, which
 * ranges were declared lost.
 */
#ifndef RIG_H
#define RIG_H

#include "faulty.h"
#include "weir/storage.h"

enum { RIG_RECORDS = 200000, RIG_LOST = 4096, RIG_BUFFERS = 5, RIG_EPOCHS = 512 };

struct rig_record {
  uint64_t epoch, sequence;
  uint32_t content; /* what the body is drawn from */
  uint16_t size;
  uint8_t kind;
  bool appended, promised; /* promised: was durable */
};

struct rig_range {
  uint64_t epoch, first, next;
};

struct rig {
  struct faulty card;
  struct weir_storage storage;
  struct weir_storage_config config;
  _Alignas(8) uint8_t buffers[RIG_BUFFERS][WEIR_SECTOR];
  uint64_t seed;

  /* The model: records in the order of their making; those of the running epoch from `start` on. */
  struct rig_record *records;
  uint32_t count, start, fed; /* fed: index of the next to append */
  uint32_t durable;           /* index one past the last durable record */
  struct rig_range lost[RIG_LOST];
  uint32_t lost_count;

  uint32_t events[16];
  uint8_t last_skip;
};

void rig_open(struct rig *r, uint64_t seed, uint32_t segment_blocks);
void rig_close(struct rig *r);

/* Formats a card image with weir_format; segment_blocks != 0 makes its segments that small. */
void rig_format(struct faulty *card, uint64_t seed, uint32_t budget_mib, uint32_t segment_blocks);

/* The program starts anew: another epoch. */
void rig_start(struct rig *r);

/* Moves time on by so many microseconds and polls. */
void rig_turn(struct rig *r, uint64_t us);
/* Polls until mounted, refused or absent; fails when that takes too long. */
void rig_mount(struct rig *r);
/* Makes a record and feeds what the storage takes. */
void rig_record(struct rig *r, uint16_t size);
void rig_feed(struct rig *r);
/* Flushes until everything is durable; false where the card does not let it. */
bool rig_flush(struct rig *r);

/* Reads the whole card and compares it with the model: what is durable and was not declared lost is there, in
 * order, once, and nothing that was never appended. Returns how many records were read. */
uint32_t rig_check(struct rig *r);

void rig_body(uint32_t content, uint16_t size, uint8_t *body);

#endif
