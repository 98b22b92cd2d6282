/*
 * weir/storage.h: the storage manager, what survives every power cut.
 *
 * Records go into blocks of one sector, blocks into preallocated, contiguous
 * segment files of a FAT32 card (docs/format/segment.md). Nothing here blocks,
 * allocates or recurses: weir_storage_poll() moves the card on, everything else
 * only looks at memory. All calls come from one context.
 *
 * The contract with the caller, who keeps records in a ring:
 *
 *   - weir_storage_append() takes copies. A record may leave the ring once its
 *     sequence is below weir_storage_durable(), not before: after a failed sync,
 *     a pulled or a swapped card, weir_storage_expects() goes back to
 *     weir_storage_durable(), and the ring is fed again from there.
 *   - A record is acknowledged to whoever sent it only when it is durable.
 *   - Everything is read back in the order of its sequences, each once.
 */
#ifndef WEIR_STORAGE_H
#define WEIR_STORAGE_H

#include "weir/port.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef WEIR_STORAGE_SEGMENTS
#define WEIR_STORAGE_SEGMENTS 64 /* segment files that are used, 2 to 99; 12 bytes of RAM each */
#endif

enum {
  WEIR_RECORD_MAX = 400,      /* bytes in the body of a record */
  WEIR_KIND_READING = 0x01,
  WEIR_KIND_TIME = 0x02,
  WEIR_KIND_EPOCH = 0xF0, /* from here on: without a sequence of its own, written by the storage manager */
  WEIR_KIND_LOST = 0xF1
};

struct weir_stored {
  uint64_t epoch;
  uint64_t sequence;  /* of a kind from 0xF0 on: that of the next sequenced record */
  uint64_t uptime_ms; /* since the start of the epoch */
  const uint8_t *body;
  uint16_t size;
  uint8_t kind;
};

enum weir_card_state {
  WEIR_CARD_ABSENT = 0,    /* no card, or it does not answer */
  WEIR_CARD_MOUNTING = 1,  /* chains are walked, the end is searched */
  WEIR_CARD_READY = 2,     /* records are taken */
  WEIR_CARD_READ_ONLY = 3, /* what it holds can be read; nothing is taken */
  WEIR_CARD_REFUSED = 4    /* see weir_storage_refusal(); another card, or formatting it, helps */
};

enum weir_card_refusal {
  WEIR_REFUSED_NOT = 0,
  WEIR_REFUSED_UNFORMATTED = 1, /* no partition table and no FAT32 volume */
  WEIR_REFUSED_EXFAT = 2,       /* an exFAT or NTFS volume: weir card format */
  WEIR_REFUSED_FAT = 3,         /* a FAT volume that is not FAT32 with 512-byte sectors, or is damaged */
  WEIR_REFUSED_SEGMENTS = 4     /* fewer than two usable segment files: weir card format */
};

/* Why a segment file is not used. */
enum weir_skip {
  WEIR_SKIP_NOT = 0,
  WEIR_SKIP_SIZE = 1,
  WEIR_SKIP_ATTRIBUTE = 2,
  WEIR_SKIP_CHAIN = 3, /* fragmented, as after being copied back by a computer */
  WEIR_SKIP_RANGE = 4,
  WEIR_SKIP_OVERLAP = 5
};

enum weir_storage_event_type {
  WEIR_EV_MOUNTED = 1,    /* state READY or READ_ONLY; value: card id */
  WEIR_EV_GONE = 2,       /* the card was pulled out, stopped answering, or cannot be looked through (tried again each second); value: card id, 0: not read */
  WEIR_EV_REFUSED = 3,    /* value: enum weir_card_refusal */
  WEIR_EV_SKIPPED = 4,    /* value: number in the file's name, reason: enum weir_skip */
  WEIR_EV_ROTATED = 5,    /* value: serial of the segment that was begun */
  WEIR_EV_LOST = 6,       /* epoch, first, next: a range that rotation overwrote */
  WEIR_EV_REWIND = 7,     /* feed the ring again from weir_storage_expects() on */
  WEIR_EV_READ_ONLY = 8,  /* the card takes no writes any more */
  WEIR_EV_IO_ERROR = 9    /* an operation failed and is tried again; value: sector */
};

struct weir_storage_event {
  enum weir_storage_event_type type;
  uint32_t value;
  uint8_t reason;
  uint64_t epoch, first, next;
};

struct weir_storage_config {
  const struct weir_block *block;
  const struct weir_card_power *power; /* optional: the card's supply. NULL: it is always on */

  /* Sector buffers, aligned to WEIR_BLOCK_ALIGN: the first for reading, the
   * others for writing. At least 2. More let records be taken while the card is
   * busy, and go to the card in one operation. */
  uint8_t (*buffers)[WEIR_SECTOR];
  uint16_t buffer_count;

  const char *device;  /* name, UTF-8, at most 64 bytes; stands in each segment's header; NULL: none */
  const char *firmware; /* version, at most 32 bytes; stands in the epoch record; NULL: none */
  uint64_t epoch;      /* 64 random bits, drawn at this start; not 0 */
  uint8_t reset_cause; /* enum weir_reset */
  uint8_t reset_part;  /* enum weir_part */
  /* Under weir_init the core fills in device, epoch, reset_cause and reset_part. */

  uint32_t flush_ms;   /* a record waits at most so long for its block to fill; 0: 1,000 */
  uint16_t page;       /* blocks that a cut damages together: 1 to 64, a power of two; 0: 1 */
  bool compress;       /* delta code bodies */
  const uint8_t *key;  /* 32 bytes: seal blocks with AES-256-GCM; NULL: not. Needs a build with WEIR_STORAGE_SEAL */

  /* Optional: told what happens, from within weir_storage_poll (weir_poll, under weir_init). It
   * returns at once and calls neither the storage manager nor the recorder, but for what only looks:
   * state, refusal, card_id, stats. */
  void (*event)(void *ctx, const struct weir_storage_event *event);
  void *event_ctx;
};

struct weir_storage; /* in weir/storage_types.h: the caller owns its memory */

/* Begins. The configuration is copied; what it points to stays valid.
 * WEIR_OK          done; the card is looked for by the next poll
 * WEIR_E_ARGUMENT  a value of the configuration is out of its range, or a key without WEIR_STORAGE_SEAL */
int weir_storage_init(struct weir_storage *s, const struct weir_storage_config *config);

/* Moves on: notices cards that come and go, reads, writes, syncs. Does a
 * bounded amount of work.
 * WEIR_BUSY  an operation of the card is under way, or there is more to do at
 *            once: poll again when block.poll_us says, or when the card wakes the loop
 * WEIR_OK    nothing to do before weir_storage_deadline() */
int weir_storage_poll(struct weir_storage *s, uint64_t now_ms);

/* When poll has something to do at the latest, in uptime milliseconds (a look for a card that is absent
 * included); UINT64_MAX: when something was appended. */
uint64_t weir_storage_deadline(const struct weir_storage *s);

/* Takes one record (kind 0x01 to 0xEF); body may be NULL with size 0. An uptime below that of the record before counts as equal.
 * WEIR_OK           taken
 * WEIR_BUSY         no room just now, or the card is being mounted: poll, then again
 * WEIR_E_GONE       no card, or one that is refused
 * WEIR_E_READ_ONLY  the card takes no writes
 * WEIR_E_ARGUMENT   a body over WEIR_RECORD_MAX, a kind from 0xF0 on or 0, a sequence
 *                   below weir_storage_expects(), a sequence or an uptime of 2^48 and more */
int weir_storage_append(struct weir_storage *s, uint8_t kind, uint64_t sequence, uint64_t uptime_ms, const void *body,
                        uint16_t size);

/* One past the highest sequence of this epoch that is durable: all below it that were appended survive. Never goes back. */
uint64_t weir_storage_durable(const struct weir_storage *s);

/* The lowest sequence that append takes. */
uint64_t weir_storage_expects(const struct weir_storage *s);

/* Asks that what was appended becomes durable without waiting for flush_ms.
 * WEIR_OK           all of it is
 * WEIR_BUSY         poll, then ask again
 * WEIR_E_GONE, WEIR_E_READ_ONLY  as append */
int weir_storage_flush(struct weir_storage *s);

/* As flush, and then nothing is written until the next append: the card may be
 * taken out, and is switched off where config.power can. Same results; WEIR_OK also when there is no card. */
int weir_storage_quiesce(struct weir_storage *s);

/* Ends what weir_storage_quiesce began, as the next append does: a card that was switched off is switched on and mounted. */
void weir_storage_wake(struct weir_storage *s);

enum weir_card_state weir_storage_state(const struct weir_storage *s);
enum weir_card_refusal weir_storage_refusal(const struct weir_storage *s);
uint32_t weir_storage_card_id(const struct weir_storage *s); /* 0 without a card */

/* Counters since init; they wrap at 2^32. */
struct weir_storage_stats {
  uint32_t records; /* taken by append; those that came again after a rewind count again */
  uint32_t blocks;  /* written */
  uint32_t syncs;   /* ended well */
  uint32_t rewinds; /* WEIR_EV_REWIND */
  uint32_t errors;  /* operations of the card that failed */
  uint32_t skipped_segments; /* of the card that was mounted last: files that are not used */
  uint32_t raw_bytes, stored_bytes; /* bodies before and after delta coding: the state of the ratio */
};
const struct weir_storage_stats *weir_storage_stats(const struct weir_storage *s);

/* ------------------------------------------------------------------ reading
 *
 * One reader, for the uplink. It sees what is durable: all epochs of the card,
 * oldest first. It shares the card with the writer, who goes first.
 */

/* Puts the reader at the oldest record of the card. */
void weir_storage_read_oldest(struct weir_storage *s);

/* Puts the reader at the first record of that epoch with at least that
 * sequence. What it found is told by the next weir_storage_read. */
void weir_storage_read_from(struct weir_storage *s, uint64_t epoch, uint64_t sequence);

/* Gives the next record; *out and what it points to stay valid until the next weir_storage_poll or
 * weir_storage_read. *out is a record only with WEIR_OK.
 * WEIR_OK         *out is a record. Kinds from 0xF0 on come too: lost ranges and epochs
 * WEIR_BUSY       the card is being read: poll, then again
 * WEIR_E_FULL     the end: nothing durable beyond; it may be asked again later
 * WEIR_E_UNKNOWN  read_from: the card holds no record of that epoch from that sequence on; the reader stands at the oldest
 * WEIR_E_INVALID  a damaged block, or a sealed one that no key opens, was passed over; go on. out->epoch, out->sequence: of
 *                 the record that was expected next
 * WEIR_E_GONE     no card, or rotation overwrote the reader's place: put it anew */
int weir_storage_read(struct weir_storage *s, struct weir_stored *out);

/* The oldest record on the card: what a gateway asks to declare what is gone.
 * WEIR_OK    *epoch and *sequence are filled in
 * WEIR_BUSY  not known yet
 * WEIR_E_GONE  no card, or it holds none */
int weir_storage_oldest(const struct weir_storage *s, uint64_t *epoch, uint64_t *sequence);

/* Whether rotation has overwritten records on this card: its oldest segment is not the first that was begun. */
bool weir_storage_overwrote(const struct weir_storage *s);

/* --------------------------------------------------------------- formatting */

struct weir_format_config {
  const struct weir_block *block;
  uint8_t (*buffer)[WEIR_SECTOR]; /* one sector, aligned to WEIR_BLOCK_ALIGN */
  uint32_t card_id;               /* random; not 0 */
  uint32_t budget_mib;            /* for segments, at least 8; 0: all of the card */
};

struct weir_format;

/* Everything on the card is lost. Not while a weir_storage uses the same card.
 * WEIR_OK          begun: poll
 * WEIR_E_ARGUMENT  a value is out of its range */
int weir_format_begin(struct weir_format *f, const struct weir_format_config *config);

/* WEIR_BUSY         under way
 * WEIR_OK           the card is formatted and durable
 * WEIR_E_FULL       smaller than 64 MiB, or a budget that holds no two segments of 4 MiB; nothing was written
 * WEIR_E_GONE, WEIR_E_READ_ONLY, WEIR_E_IO  as the block device; the card has no file system now */
int weir_format_poll(struct weir_format *f);

#include "weir/storage_types.h"

#ifdef __cplusplus
}
#endif

#endif
