/*
 * weir/storage_types.h: the memory of the storage manager. It is the caller's,
 * so its size must be known; its fields are nobody's business but the
 * manager's. Included by weir/storage.h.
 */
#ifndef WEIR_STORAGE_TYPES_H
#define WEIR_STORAGE_TYPES_H

#include "weir/storage.h"

enum { WEIR_DELTA_MAX = 64, WEIR_LOST_MAX = 8 };

/* A block that is being filled. */
struct weir_frame {
  uint8_t *sector;
  uint64_t next;   /* sequence after the last record */
  uint64_t uptime; /* of the last record */
  uint16_t used;   /* payload bytes */
  uint16_t limit;  /* payload bytes that there is room for */
  uint8_t count;   /* sequenced records */
  bool delta;
  uint8_t last_kind, last_size; /* the remembered body; size 0: none */
  uint8_t last[WEIR_DELTA_MAX];
};

/* Walks over the records of a block. */
struct weir_frame_reader {
  const uint8_t *sector;
  uint64_t sequence, uptime;
  uint16_t at, end;
  uint8_t last_kind, last_size;
  bool delta;
  uint8_t last[WEIR_DELTA_MAX];
};

struct weir_segment {
  uint32_t start;  /* first sector on the medium; while mounting: first cluster; 0: not used */
  uint32_t blocks;
  uint32_t serial; /* 0: holds nothing */
};

/* Hops over the epochs of a segment: each is one run of blocks. */
struct weir_runs {
  uint64_t epoch, first, next; /* of the run: its records are [first, next) */
  uint32_t from, last;         /* its first and last block */
  uint32_t limit;              /* blocks of the segment that count */
  uint32_t low, high, probe;   /* bisection: low is of the run, high is not */
  uint8_t slot, state, tries;
  bool damaged; /* a block right before `from` is */
};

struct weir_lost {
  uint64_t epoch, first, next;
};

struct weir_storage {
  struct weir_storage_config config;
  struct weir_storage_stats stats;
  uint64_t now, look_at;

  /* The card and the operation that is under way. */
  uint8_t state, refusal, phase, op, tries;
  bool read_only;
  bool powered;        /* config.power->set(true) was done */
  bool resting;        /* quiesced: the card is switched off, or to be */
  bool unanswered;     /* it is to be switched off and on again */
  uint32_t generation, sectors, card_id;
  uint32_t loaded;     /* sector whose content buffer 0 holds */
  uint32_t unreadable; /* sector that could not be read */
  uint32_t fills;      /* how often buffer 0 was given another content */
  uint32_t op_sector;
  uint16_t op_count;

  /* The volume. */
  uint32_t volume, fat, data, clusters;
  uint32_t cluster, walked; /* of the chain being walked */
  uint32_t probe, last;     /* blocks, while the end is searched */
  uint32_t low, high;
  uint8_t cluster_sectors, slot;
  struct weir_segment segments[WEIR_STORAGE_SEGMENTS];

  /* Writing. */
  uint8_t head, target;        /* slots: being written, begun anew by rotation */
  uint16_t first_full, full;   /* ring of write buffers: the oldest full one, how many are */
  uint16_t unsynced;           /* blocks written since the last sync */
  uint32_t next_block;         /* where the next block goes */
  uint32_t durable_block;      /* one past the last durable block of the head */
  uint32_t serial;             /* highest on the card */
  uint32_t seal_counter;
  uint32_t lost_more;
  bool filling, flushing, epoch_written, epoch_on_card, epoch_durable;
  uint8_t lost_count;
  uint64_t since; /* when the oldest record came that is not durable */
  uint64_t durable, written, expects;
  uint64_t before_epoch, before_next; /* the epoch before this one on the card */
  uint64_t key_id;
  struct weir_frame frame;
  struct weir_runs runs;
  struct weir_lost lost[WEIR_LOST_MAX];

  /* Reading. */
  uint8_t read_state, read_slot, seek_slot;
  bool read_bad, read_sure, oldest_known;
  uint16_t read_given; /* records of the block that were given */
  uint32_t read_serial, read_block, read_fill, read_ahead, oldest_probe;
  uint32_t seek_serial, seek_after;
  uint64_t read_epoch, read_next, seek_epoch, seek_sequence;
  uint64_t oldest_epoch, oldest_sequence;
  uint8_t lost_body[21];
  struct weir_frame_reader reader;
  struct weir_runs seek;
};

struct weir_format {
  struct weir_format_config config;
  uint32_t sectors, volume_sectors, reserved, fat_sectors, data, clusters;
  uint32_t root_clusters, segments, segment_clusters, first_segment;
  uint32_t at;
  uint8_t cluster_sectors, phase, tries;
  bool started;
};

#endif
