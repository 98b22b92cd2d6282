/*
 * Mounting: partition, boot sector, directory, every segment's cluster chain
 * to its end, the serials, and the end of the newest segment. One sector at a
 * time; each step looks at what is loaded and says what to load next.
 */
#include <string.h>

#include "fat.h"
#include "storage_internal.h"

enum {
  DIRECTORY_SECTORS = 4096, /* a FAT directory has at most 65,536 entries */
  SEGMENT_BLOCKS = 64,      /* fewer make no segment */
  PAGE_MAX = 64,
  SCAN_BACK = WEIR_WINDOW + PAGE_MAX
};

void weir_mount_begin(struct weir_storage *s) {
  s->state = WEIR_CARD_MOUNTING;
  s->phase = WEIR_PHASE_PARTITION;
  s->refusal = WEIR_REFUSED_NOT;
  s->stats.skipped_segments = 0;
  s->serial = 0;
  s->head = WEIR_NO_SLOT;
  memset(s->segments, 0, sizeof s->segments);
}

static void skip(struct weir_storage *s, uint8_t slot, enum weir_skip why) {
  s->segments[slot].start = 0;
  s->stats.skipped_segments++;
  weir_storage_tell(s, WEIR_EV_SKIPPED, slot, (uint8_t)why);
}

/* A sector of the file system: without it there is no mounting, so try again later. */
static int load(struct weir_storage *s, uint32_t sector) {
  int r = weir_card_load(s, sector);
  if (r == WEIR_E_IO) weir_card_gone(s);
  return r;
}

static int partition(struct weir_storage *s) {
  int r = load(s, 0);
  if (r != WEIR_OK) return r;
  r = weir_fat_partition(s->config.buffers[0], s->sectors, &s->volume);
  if (r == WEIR_OK) {
    s->phase = WEIR_PHASE_BOOT;
  } else {
    weir_card_refuse(s, r == WEIR_E_REFUSED ? WEIR_REFUSED_EXFAT : WEIR_REFUSED_UNFORMATTED);
  }
  return WEIR_BUSY;
}

static int boot(struct weir_storage *s) {
  int r = load(s, s->volume);
  if (r != WEIR_OK) return r;
  struct weir_fat_volume v;
  r = weir_fat_boot(s->config.buffers[0], s->sectors - s->volume, &v);
  if (r != WEIR_OK) {
    weir_card_refuse(s, r == WEIR_E_REFUSED ? WEIR_REFUSED_EXFAT : WEIR_REFUSED_FAT);
    return WEIR_BUSY;
  }
  s->fat = s->volume + v.fat;
  s->data = s->volume + v.data;
  s->clusters = v.clusters;
  s->cluster_sectors = v.cluster_sectors;
  s->card_id = v.id;
  s->cluster = v.root;
  s->walked = 0;
  s->phase = WEIR_PHASE_DIRECTORY;
  return WEIR_BUSY;
}

static uint32_t cluster_sector(const struct weir_storage *s, uint32_t cluster) {
  return s->data + (cluster - 2) * s->cluster_sectors;
}

static void found(struct weir_storage *s, const struct weir_fat_file *f) {
  if (f->number >= WEIR_STORAGE_SEGMENTS || s->segments[f->number].blocks != 0) return;
  struct weir_segment *g = &s->segments[f->number];
  uint8_t slot = (uint8_t)f->number;
  uint32_t cluster_bytes = (uint32_t)s->cluster_sectors * WEIR_SECTOR, n = f->size / cluster_bytes;
  g->blocks = f->size / WEIR_SECTOR;
  g->start = f->cluster;
  if (f->attributes & 0x17) { /* directory, system, hidden, read-only */
    skip(s, slot, WEIR_SKIP_ATTRIBUTE);
  } else if (f->size % cluster_bytes != 0 || g->blocks < SEGMENT_BLOCKS) {
    g->blocks = SEGMENT_BLOCKS; /* the number is taken */
    skip(s, slot, WEIR_SKIP_SIZE);
  } else if (f->cluster < 2 || f->cluster > s->clusters + 1 || n > s->clusters + 2 - f->cluster) {
    skip(s, slot, WEIR_SKIP_RANGE);
  }
}

static void chains(struct weir_storage *s) {
  s->phase = WEIR_PHASE_CHAIN;
  s->slot = 0;
  s->walked = 0;
}

static int directory(struct weir_storage *s) {
  int r = load(s, cluster_sector(s, s->cluster) + s->walked % s->cluster_sectors);
  if (r != WEIR_OK) return r;
  for (unsigned i = 0; i < WEIR_SECTOR; i += 32) {
    struct weir_fat_file f;
    enum weir_fat_entry e = weir_fat_directory_entry(s->config.buffers[0] + i, &f);
    if (e == WEIR_ENTRY_SEGMENT) found(s, &f);
    if (e == WEIR_ENTRY_END) {
      chains(s);
      return WEIR_BUSY;
    }
  }
  s->walked++;
  if (s->walked == DIRECTORY_SECTORS) {
    chains(s);
  } else if (s->walked % s->cluster_sectors == 0) {
    s->phase = WEIR_PHASE_DIRECTORY_NEXT;
  }
  return WEIR_BUSY;
}

static int directory_next(struct weir_storage *s) {
  int r = load(s, s->fat + s->cluster / 128);
  if (r != WEIR_OK) return r;
  s->cluster = weir_fat_next(s->config.buffers[0], s->cluster);
  s->phase = WEIR_PHASE_DIRECTORY;
  if (s->cluster < 2 || s->cluster > s->clusters + 1) chains(s);
  return WEIR_BUSY;
}

/* Two files that hold one cluster: a damaged FAT. Neither is written to. */
static void skip_overlaps(struct weir_storage *s) {
  bool overlaps[WEIR_STORAGE_SEGMENTS] = {false};
  for (unsigned i = 0; i < WEIR_STORAGE_SEGMENTS; i++) {
    const struct weir_segment *a = &s->segments[i];
    for (unsigned j = i + 1; a->start && j < WEIR_STORAGE_SEGMENTS; j++) {
      const struct weir_segment *b = &s->segments[j];
      if (b->start && a->start < b->start + b->blocks && b->start < a->start + a->blocks) overlaps[i] = overlaps[j] = true;
    }
  }
  for (unsigned i = 0; i < WEIR_STORAGE_SEGMENTS; i++) {
    if (overlaps[i]) skip(s, (uint8_t)i, WEIR_SKIP_OVERLAP);
  }
}

static void serials(struct weir_storage *s) {
  skip_overlaps(s);
  unsigned usable = 0;
  for (unsigned i = 0; i < WEIR_STORAGE_SEGMENTS; i++) usable += s->segments[i].start != 0;
  if (usable < 2) {
    weir_card_refuse(s, WEIR_REFUSED_SEGMENTS);
    return;
  }
  s->phase = WEIR_PHASE_SERIAL;
  s->slot = 0;
  s->probe = 0;
}

/* Follows one FAT sector of one segment's chain: each cluster must be the one before plus one. */
static int chain(struct weir_storage *s) {
  struct weir_segment *g = &s->segments[s->slot];
  if (!g->start) {
    s->walked = 0;
    if (++s->slot == WEIR_STORAGE_SEGMENTS) serials(s);
    return WEIR_BUSY;
  }
  uint32_t n = g->blocks / s->cluster_sectors, at = g->start + s->walked;
  int r = load(s, s->fat + at / 128); /* an error of the card says nothing about the chain */
  if (r != WEIR_OK) return r;
  bool whole = true;
  while (whole && s->walked < n) {
    uint32_t next = weir_fat_next(s->config.buffers[0], at++);
    s->walked++;
    whole = s->walked < n ? next == at : next >= WEIR_FAT_LAST;
    if (at % 128 == 0) break;
  }
  if (whole && s->walked < n) return WEIR_BUSY;
  uint32_t first = cluster_sector(s, g->start);
  if (whole) {
    g->start = first;
  } else {
    skip(s, s->slot, WEIR_SKIP_CHAIN);
    g->serial = first; /* its serial, which stands there, must not be given again */
  }
  s->walked = 0;
  if (++s->slot == WEIR_STORAGE_SEGMENTS) serials(s);
  return WEIR_BUSY;
}

/* A copy of another segment, as when a person copied one file over another, holds nothing of its own. */
static void take_serial(struct weir_storage *s, uint8_t slot, uint32_t serial) {
  for (unsigned i = 0; i < WEIR_STORAGE_SEGMENTS; i++) {
    if (s->segments[i].start && s->segments[i].serial == serial) return;
  }
  s->segments[slot].serial = serial;
  if (serial > s->serial) s->serial = serial;
  if (s->head == WEIR_NO_SLOT || serial > s->segments[s->head].serial) s->head = slot;
}

/* The serial in the loaded sector, if it is block `index` of a segment of this card; else 0. */
static uint32_t loaded_serial(const struct weir_storage *s, uint32_t index) {
  struct weir_frame_head h;
  if (weir_frame_open(s->config.buffers[0], &h) != WEIR_OK || h.card_id != s->card_id || h.index != index ||
      h.serial == UINT32_MAX) {
    return 0;
  }
  return h.serial;
}

static void bisect(struct weir_storage *s) {
  s->probe = (s->low + (s->high - s->low) / 2) & ~(uint32_t)(PAGE_MAX - 1);
  if (s->probe <= s->low) s->probe = s->low + PAGE_MAX;
  s->walked = 0;
}

/*
 * The serial stands in each block. Where the header is torn, blocks 1, 2, 4 ...
 * 64 are asked: after the header records begin at one of them, whatever the page.
 */
static int serial(struct weir_storage *s) {
  struct weir_segment *g = &s->segments[s->slot];
  uint32_t first = g->start ? g->start : g->serial; /* of a skipped one; else 0 */
  if (first) {
    int r = weir_card_load(s, first + s->probe);
    if (r == WEIR_BUSY || r == WEIR_E_GONE) return r;
    uint32_t is = r == WEIR_OK ? loaded_serial(s, s->probe) : 0;
    if (!g->start) {
      g->serial = 0;
      if (is > s->serial) s->serial = is;
    } else if (is) {
      take_serial(s, s->slot, is);
    } else {
      s->probe = s->probe ? s->probe * 2 : 1;
      if (s->probe < g->blocks && s->probe <= 64) return WEIR_BUSY;
    }
  }
  s->probe = 0;
  if (++s->slot < WEIR_STORAGE_SEGMENTS) return WEIR_BUSY;
  s->phase = WEIR_PHASE_END;
  s->before_epoch = s->before_next = 0;
  s->low = s->last = 0;
  s->high = s->head == WEIR_NO_SLOT ? 1 : s->segments[s->head].blocks;
  bisect(s);
  return WEIR_BUSY;
}

/*
 * Bisects for the end of the head: low was written, high was not. Whatever the
 * page was, records were written at each multiple of 64 that the end has passed.
 * A block there may be damaged, or skipped because it would not be written, so
 * a no is believed only after the next ones said it too.
 */
static int end(struct weir_storage *s) {
  if (s->high - s->low <= PAGE_MAX) {
    s->phase = WEIR_PHASE_SCAN;
    s->probe = s->low > SCAN_BACK ? s->low - SCAN_BACK : 0;
    s->walked = 0;
    return WEIR_BUSY;
  }
  struct weir_frame_head h;
  uint32_t at = s->probe + s->walked;
  int r = weir_card_block(s, s->head, at, &h);
  if (r == WEIR_BUSY || r == WEIR_E_GONE) return r;
  if (r != WEIR_OK && s->walked < WEIR_WINDOW && at + 1 < s->high) {
    s->walked++;
    return WEIR_BUSY;
  }
  if (r == WEIR_OK) {
    s->low = s->probe;
  } else {
    s->high = s->probe;
  }
  bisect(s);
  return WEIR_BUSY;
}

static void mounted(struct weir_storage *s) {
  s->next_block = s->head == WEIR_NO_SLOT ? 0 : weir_next_page(s, s->last + 1);
  s->durable_block = s->next_block;
  s->epoch_written = s->epoch_on_card = s->epoch_durable = s->before_epoch == s->config.epoch;
  s->since = s->now;
  s->unsynced = 1; /* a crash that was no power cut leaves blocks in the card's own cache: sync before anything counts */
  s->phase = WEIR_PHASE_RECORD;
  s->state = s->read_only ? WEIR_CARD_READ_ONLY : WEIR_CARD_READY;
  s->oldest_known = false;
  weir_storage_tell(s, WEIR_EV_MOUNTED, s->card_id, 0);
}

/*
 * From what the bisection found to `window` blocks (and a page) beyond the last
 * that is of the segment. A card that comes back within an epoch may hold blocks
 * of it that were not durable; their records come again, so they are written over.
 */
static int scan(struct weir_storage *s) {
  if (s->head == WEIR_NO_SLOT || s->probe >= s->segments[s->head].blocks ||
      s->walked > WEIR_WINDOW + PAGE_MAX) {
    mounted(s);
    return WEIR_BUSY;
  }
  struct weir_frame_head h;
  int r = weir_card_block(s, s->head, s->probe, &h);
  if (r == WEIR_BUSY || r == WEIR_E_GONE) return r;
  s->walked++;
  if (r == WEIR_OK && (h.epoch != s->config.epoch || h.first + h.count <= s->durable)) {
    s->last = s->probe;
    s->walked = 0;
    s->before_epoch = h.epoch;
    s->before_next = h.first + h.count;
  } else if (s->unreadable == s->segments[s->head].start + s->probe) {
    s->last = s->probe; /* it may hold something */
  }
  s->probe++;
  return WEIR_BUSY;
}

int weir_mount_step(struct weir_storage *s) {
  switch (s->phase) {
    case WEIR_PHASE_PARTITION:
      return partition(s);
    case WEIR_PHASE_BOOT:
      return boot(s);
    case WEIR_PHASE_DIRECTORY:
      return directory(s);
    case WEIR_PHASE_DIRECTORY_NEXT:
      return directory_next(s);
    case WEIR_PHASE_CHAIN:
      return chain(s);
    case WEIR_PHASE_SERIAL:
      return serial(s);
    case WEIR_PHASE_END:
      return end(s);
    default:
      return scan(s);
  }
}
