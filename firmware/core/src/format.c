/*
 * weir_format: makes a card as docs/format/segment.md draws it. Sector by
 * sector; sector 0 first as zeros and last as the partition table, so that a
 * cut leaves a card without a file system, never with half of one.
 */
#include <string.h>

#include "bytes.h"
#include "fat.h"
#include "storage_internal.h"

enum {
  UNIT = 8192, /* sectors in 4 MiB */
  UNITS_LEAST = 16,
  SEGMENT_UNITS_MOST = 1023, /* a FAT32 file ends below 4 GiB */
  CLUSTERS_GOOD = 98304,
  RESERVED_LEAST = 32,
  ROOT_BYTES = 4096
};

enum { INFO, WIPE, BOOT, FATS, ROOT, SYNC, PARTITION, LAST_SYNC, DONE };

/* The sectors of the reserved area that hold something; the backup of each lies 6 behind. */
static const uint8_t boot_sectors[] = {0, 1, 2, 6, 7, 8};

int weir_format_begin(struct weir_format *f, const struct weir_format_config *config) {
  if (!config->block || !config->buffer || config->card_id == 0 || (uintptr_t)config->buffer % WEIR_BLOCK_ALIGN != 0) {
    return WEIR_E_ARGUMENT;
  }
  memset(f, 0, sizeof *f);
  f->config = *config;
  return WEIR_OK;
}

static int lay_out(struct weir_format *f, uint32_t sectors) {
  uint32_t units = sectors / UNIT;
  if (units < UNITS_LEAST) return WEIR_E_FULL;
  f->volume_sectors = (units - 1) * UNIT;
  f->cluster_sectors = 64;
  while (f->cluster_sectors > 1 && f->volume_sectors / f->cluster_sectors < CLUSTERS_GOOD) f->cluster_sectors /= 2;
  f->fat_sectors = (f->volume_sectors / f->cluster_sectors + 2 + 127) / 128;
  uint32_t before = (RESERVED_LEAST + 2 * f->fat_sectors + UNIT - 1) / UNIT * UNIT;
  f->reserved = before - 2 * f->fat_sectors;
  f->clusters = (f->volume_sectors - before) / f->cluster_sectors;
  f->root_clusters = (uint32_t)(ROOT_BYTES / WEIR_SECTOR) / f->cluster_sectors;
  if (f->root_clusters == 0) f->root_clusters = 1;
  uint32_t left = (f->volume_sectors - before) / UNIT - 1, budget = f->config.budget_mib / 4;
  if (budget && budget < left) left = budget;
  if (left < 2) return WEIR_E_FULL;
  f->segments = left < WEIR_STORAGE_SEGMENTS ? left : WEIR_STORAGE_SEGMENTS;
  uint32_t each = left / f->segments;
  if (each > SEGMENT_UNITS_MOST) each = SEGMENT_UNITS_MOST;
  f->segment_clusters = each * ((uint32_t)UNIT / f->cluster_sectors);
  f->first_segment = 2 + (uint32_t)UNIT / f->cluster_sectors;
  return WEIR_OK;
}

static void boot_sector(const struct weir_format *f, uint8_t *b) {
  static const uint8_t start[] = {0xEB, 0x58, 0x90, 'W', 'E', 'I', 'R', ' ', ' ', ' ', ' '};
  memcpy(b, start, sizeof start);
  weir_put16(b + 11, WEIR_SECTOR);
  b[13] = f->cluster_sectors;
  weir_put16(b + 14, (uint16_t)f->reserved);
  b[16] = 2;
  b[21] = 0xF8;
  weir_put16(b + 24, 63);
  weir_put16(b + 26, 255);
  weir_put32(b + 28, UNIT); /* sectors before the partition */
  weir_put32(b + 32, f->volume_sectors);
  weir_put32(b + 36, f->fat_sectors);
  weir_put32(b + 44, 2);
  weir_put16(b + 48, 1);
  weir_put16(b + 50, 6);
  b[64] = 0x80;
  b[66] = 0x29;
  weir_put32(b + 67, f->config.card_id);
  memcpy(b + 71, "WEIR       FAT32   ", 19);
  /* Whoever boots from it: int 18h, try the next device. */
  b[90] = 0xCD;
  b[91] = 0x18;
}

static void info_sector(const struct weir_format *f, uint8_t *b) {
  weir_put32(b, 0x41615252);
  weir_put32(b + 484, 0x61417272);
  weir_put32(b + 488, f->clusters - f->root_clusters - f->segments * f->segment_clusters);
  weir_put32(b + 492, 2 + f->root_clusters);
}

static uint32_t entry(const struct weir_format *f, uint32_t cluster) {
  if (cluster == 0) return 0x0FFFFFF8;
  if (cluster == 1) return 0x0FFFFFFF;
  uint32_t first = 2, n = f->root_clusters;
  if (cluster >= f->first_segment) {
    uint32_t segment = (cluster - f->first_segment) / f->segment_clusters;
    if (segment >= f->segments) return 0;
    first = f->first_segment + segment * f->segment_clusters;
    n = f->segment_clusters;
  }
  if (cluster >= first + n) return 0;
  return cluster == first + n - 1 ? 0x0FFFFFFF : cluster + 1;
}

static void fat_sector(const struct weir_format *f, uint8_t *b, uint32_t at) {
  for (uint32_t i = 0; i < 128; i++) weir_put32(b + i * 4, entry(f, at * 128 + i));
}

static void root_sector(const struct weir_format *f, uint8_t *b, uint32_t at) {
  enum { DAY = 1 << 5 | 1 }; /* 1980-01-01: a recorder without a clock */
  for (uint32_t i = 0; i < 16; i++) {
    uint32_t n = at * 16 + i;
    uint8_t *e = b + i * 32;
    if (n > f->segments) return;
    weir_put16(e + 24, DAY);
    if (n == 0) {
      memcpy(e, "WEIR       ", 11);
      e[11] = 0x08;
      continue;
    }
    n--;
    memcpy(e, "WEIR0000SEG", 11);
    e[6] = (uint8_t)('0' + n / 10);
    e[7] = (uint8_t)('0' + n % 10);
    e[11] = 0x20;
    uint32_t cluster = f->first_segment + n * f->segment_clusters;
    weir_put16(e + 16, DAY);
    weir_put16(e + 18, DAY);
    weir_put16(e + 20, (uint16_t)(cluster >> 16));
    weir_put16(e + 26, (uint16_t)cluster);
    weir_put32(e + 28, f->segment_clusters * f->cluster_sectors * WEIR_SECTOR);
  }
}

static void partition_table(const struct weir_format *f, uint8_t *b) {
  uint8_t *p = b + 446;
  weir_put32(b + 440, f->config.card_id);
  /* Cylinder, head, sector: beyond what they can say. */
  p[1] = p[5] = 0xFE;
  p[2] = p[3] = p[6] = p[7] = 0xFF;
  p[4] = 0x0C;
  weir_put32(p + 8, UNIT);
  weir_put32(p + 12, f->volume_sectors);
}

/* Fills the buffer for step `at` of the phase; returns the sector it belongs to, or 0xFFFFFFFF where the phase is over. */
static uint32_t fill(const struct weir_format *f, uint8_t *b) {
  uint32_t sector;
  memset(b, 0, WEIR_SECTOR);
  switch (f->phase) {
    case WIPE:
    case PARTITION:
      if (f->at) return WEIR_NO_SECTOR;
      if (f->phase == PARTITION) partition_table(f, b);
      sector = 0;
      break;
    case BOOT:
      if (f->at == sizeof boot_sectors) return WEIR_NO_SECTOR;
      sector = boot_sectors[f->at];
      if (sector % 6 == 0) boot_sector(f, b);
      if (sector % 6 == 1) info_sector(f, b);
      sector += UNIT;
      break;
    case FATS:
      if (f->at == 2 * f->fat_sectors) return WEIR_NO_SECTOR;
      fat_sector(f, b, f->at % f->fat_sectors);
      return UNIT + f->reserved + f->at;
    default:
      if (f->at == f->root_clusters * f->cluster_sectors) return WEIR_NO_SECTOR;
      root_sector(f, b, f->at);
      return UNIT + f->reserved + 2 * f->fat_sectors + f->at;
  }
  if (f->phase != WIPE) {
    b[510] = 0x55;
    b[511] = 0xAA;
  }
  return sector;
}

static int begin(struct weir_format *f) {
  struct weir_block_info info;
  int r = f->config.block->info(f->config.block->ctx, &info);
  if (r != WEIR_OK) return r;
  if (info.read_only) return WEIR_E_READ_ONLY;
  r = lay_out(f, info.sectors);
  if (r != WEIR_OK) return r;
  f->phase = WIPE;
  return WEIR_BUSY;
}

static int start(struct weir_format *f) {
  const struct weir_block *block = f->config.block;
  if (f->phase == SYNC || f->phase == LAST_SYNC) {
    return f->at ? WEIR_OK : block->start(block->ctx, WEIR_BLOCK_SYNC, 0, NULL, 0);
  }
  uint32_t sector = fill(f, *f->config.buffer);
  if (sector == WEIR_NO_SECTOR) return WEIR_OK;
  return block->start(block->ctx, WEIR_BLOCK_WRITE, sector, *f->config.buffer, 1);
}

int weir_format_poll(struct weir_format *f) {
  if (f->phase == INFO) return begin(f);
  if (f->phase == DONE) return WEIR_OK;
  int r = WEIR_BUSY;
  if (f->started) {
    r = f->config.block->poll(f->config.block->ctx);
    if (r == WEIR_BUSY) return WEIR_BUSY;
    f->started = false;
    if (r == WEIR_OK) {
      f->at++;
      f->tries = 0;
      return WEIR_BUSY;
    }
  } else {
    r = start(f);
    if (r == WEIR_OK) { /* nothing left in this phase */
      f->at = 0;
      f->phase++;
      return f->phase == DONE ? WEIR_OK : WEIR_BUSY;
    }
    f->started = r == WEIR_BUSY;
    if (f->started) return WEIR_BUSY;
  }
  if (r == WEIR_E_IO && ++f->tries < WEIR_TRIES) return WEIR_BUSY;
  return r;
}
