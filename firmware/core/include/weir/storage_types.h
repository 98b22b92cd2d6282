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
  uint32_t start;  /* first sector on the medium (first cluster while mounting); 0: not used */
  uint32_t serial; /* 0: holds nothing */
};

struct weir_lost {
  uint64_t epoch, first, next;
};

/* Bisection for the last block of a segment that answers yes to a question. */
struct weir_bisect {
  uint32_t low, high; /* the answer is in [low, high): low says yes, high says no */
  uint32_t probe, tries;
};

struct weir_storage {
  struct weir_storage_config config;
  struct weir_storage_stats stats;
  uint64_t now, look_at;

  /* The card and the operation that is under way. */
  uint8_t state, refusal, phase, op, failures;
  bool read_only, sync_pending;
  uint32_t generation, sectors, card_id;
  uint32_t loaded; /* sector in buffer 0, or WEIR_NONE */
  uint32_t op_sector, op_count;
  uint32_t fills; /* how often buffer 0 was given another content */

  /* Geometry, while mounting and after. */
  uint32_t volume, fat, data, clusters, root, blocks;
  uint8_t cluster_sectors;
  uint8_t slot;           /* segment being looked at */
  uint32_t walk, walked;  /* cluster, count */
  struct weir_segment segments[WEIR_STORAGE_SEGMENTS];

  /* Writing. */
  uint8_t head;           /* slot of the segment being written; WEIR_NO_SLOT: none */
  uint8_t target;         /* slot that rotation begins anew */
  uint16_t first_buffer, full; /* ring of write buffers: oldest full one, how many are full */
  uint32_t next_block;    /* where the next block goes */
  uint32_t durable_block; /* one past the last durable block of the head */
  uint32_t unsynced;      /* blocks written since the last sync */
  uint32_t serial;        /* highest on the card */
  bool epoch_written, epoch_durable, flushing, filling, header_built;
  uint64_t filled_at; /* when the first record came into the open block */
  uint64_t durable, written, expects;
  uint64_t before_epoch, before_next; /* the epoch before this one on the card */
  uint32_t sealed; /* seal counter */
  struct weir_frame frame;
  struct weir_bisect bisect;
  uint32_t run, run_last;
  uint64_t run_epoch, run_first, run_next;
  struct weir_lost lost[WEIR_LOST_MAX];
  uint8_t lost_count;
  uint32_t lost_more;

  /* Reading. */
  uint8_t read_slot, read_state;
  uint32_t read_serial, read_block, read_fill;
  uint16_t read_given; /* records of the block that were given */
  uint64_t read_epoch, read_next, seek_epoch, seek_sequence;
  uint64_t oldest_epoch, oldest_sequence;
  bool oldest_known;
  struct weir_frame_reader reader;
};

struct weir_format {
  struct weir_format_config config;
  uint32_t sectors, volume_sectors, reserved, fat_sectors, data, clusters;
  uint32_t root_clusters, segment_count, segment_clusters, first_segment_cluster;
  uint32_t at, end;
  uint8_t cluster_sectors, phase;
  bool started;
};

#endif
