#include "faulty.h"

#include <string.h>

#include "check.h"

enum { SHORT_STALL_US = 250000, LONG_STALL_US = 2000000, LOG_FLUSH = 1 };

static bool chance(struct faulty *f, uint32_t per_mille) { return per_mille && draw(&f->seed) % 1000 < per_mille; }

/* ---------------------------------------------------------------------- log */

static void put64(uint8_t *p, uint64_t v) {
  for (unsigned i = 0; i < 8; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* An entry: sector, count, flags, length of data beyond the sectors; padded to a sector, then the sectors. */
static void log_entry(struct faulty *f, uint64_t sector, uint64_t count, uint64_t flags, const void *data) {
  uint8_t entry[WEIR_SECTOR] = {0};
  if (!f->log) return;
  put64(entry, sector);
  put64(entry + 8, count);
  put64(entry + 16, flags);
  CHECK(fwrite(entry, WEIR_SECTOR, 1, f->log) == 1);
  if (data) CHECK(fwrite(data, WEIR_SECTOR, (size_t)count, f->log) == count);
  f->log_entries++;
}

void faulty_log(struct faulty *f, const char *path) {
  uint8_t super[WEIR_SECTOR] = {0};
  f->log = fopen(path, "wb");
  CHECK(f->log != NULL);
  CHECK(fwrite(super, WEIR_SECTOR, 1, f->log) == 1);
}

void faulty_log_end(struct faulty *f) {
  uint8_t super[28] = {0};
  put64(super, 0x6a736677736872u);
  put64(super + 8, 1);
  put64(super + 16, f->log_entries);
  super[25] = 2; /* sector size 512 */
  rewind(f->log);
  CHECK(fwrite(super, sizeof super, 1, f->log) == 1);
  CHECK(fclose(f->log) == 0);
  f->log = NULL;
}

/* --------------------------------------------------------------- the device */

static int info(void *ctx, struct weir_block_info *out) {
  struct faulty *f = ctx;
  if (f->absent) return WEIR_E_GONE;
  out->sectors = f->sectors;
  out->generation = f->generation;
  out->read_only = f->read_only;
  return WEIR_OK;
}

static uint64_t duration(struct faulty *f, enum weir_block_op op, uint32_t count) {
  uint64_t us = f->op_us ? draw(&f->seed) % f->op_us : 0;
  if (op == WEIR_BLOCK_WRITE && f->stall_every) {
    f->written += count;
    if (f->written >= f->stall_every) {
      f->written = 0;
      us += SHORT_STALL_US;
    }
  }
  if (f->long_stall_us && f->now_us >= f->next_long_stall) {
    f->next_long_stall = f->now_us + f->long_stall_us;
    us += LONG_STALL_US;
  }
  return us;
}

static int start(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count) {
  struct faulty *f = ctx;
  CHECK(!f->busy);
  if (f->absent) return WEIR_E_GONE;
  if (op != WEIR_BLOCK_SYNC) {
    CHECK(count > 0 && sector < f->sectors && count <= f->sectors - sector);
    CHECK((uintptr_t)buffer % WEIR_BLOCK_ALIGN == 0);
  }
  if (op == WEIR_BLOCK_WRITE && f->read_only) return WEIR_E_READ_ONLY;
  f->op = op;
  f->sector = sector;
  f->count = count;
  f->buffer = buffer;
  f->busy = true;
  f->interrupted = false;
  f->ends_us = f->now_us + duration(f, op, count);
  return WEIR_BUSY;
}

/* Puts sectors on the medium, remembering what they held until a sync. */
static void store(struct faulty *f, uint32_t sector, const uint8_t *data, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    uint8_t *at = f->image + (size_t)(sector + i) * WEIR_SECTOR;
    if (f->lazy) {
      CHECK(f->pending_count < FAULTY_PENDING);
      struct faulty_sector *p = &f->pending[f->pending_count++];
      p->sector = sector + i;
      memcpy(p->old, at, WEIR_SECTOR);
    }
    memcpy(at, data + (size_t)i * WEIR_SECTOR, WEIR_SECTOR);
  }
  log_entry(f, sector, count, 0, data);
}

static int write_ends(struct faulty *f) {
  bool bad = f->bad_count && f->sector < f->bad_from + f->bad_count && f->bad_from < f->sector + f->count;
  if (bad || chance(f, f->fail_write_per_mille)) {
    /* What a failed write left is unknown: some of it may be there. */
    uint32_t n = bad ? 0 : (uint32_t)(draw(&f->seed) % (f->count + 1));
    if (n) store(f, f->sector, f->buffer, n);
    return WEIR_E_IO;
  }
  if (f->read_only) return WEIR_E_READ_ONLY;
  store(f, f->sector, f->buffer, f->count);
  return WEIR_OK;
}

static void lose(struct faulty *f);

static int poll(void *ctx) {
  struct faulty *f = ctx;
  if (!f->busy) return WEIR_OK;
  if (f->now_us < f->ends_us && !f->interrupted) return WEIR_BUSY;
  f->busy = false;
  if (f->interrupted) return WEIR_E_GONE;
  switch (f->op) {
    case WEIR_BLOCK_READ:
      if (chance(f, f->fail_read_per_mille)) return WEIR_E_IO;
      memcpy(f->buffer, f->image + (size_t)f->sector * WEIR_SECTOR, (size_t)f->count * WEIR_SECTOR);
      return WEIR_OK;
    case WEIR_BLOCK_WRITE:
      return write_ends(f);
    default:
      if (chance(f, f->fail_sync_per_mille)) {
        lose(f); /* pages were lost, and a later sync does not bring them back */
        return WEIR_E_IO;
      }
      f->pending_count = 0;
      log_entry(f, 0, 0, LOG_FLUSH, NULL);
      return WEIR_OK;
  }
}

void faulty_open(struct faulty *f, uint32_t sectors, uint64_t seed) {
  memset(f, 0, sizeof *f);
  f->block = (struct weir_block){.ctx = f, .info = info, .start = start, .poll = poll, .poll_us = 100};
  f->sectors = sectors;
  f->generation = 1;
  f->seed = seed;
  f->image = calloc(sectors, WEIR_SECTOR);
  f->pending = malloc(FAULTY_PENDING * sizeof *f->pending);
  CHECK(f->image != NULL && f->pending != NULL);
}

void faulty_close(struct faulty *f) {
  free(f->image);
  free(f->pending);
}

/* ---------------------------------------------------------------- accidents */

/* A torn sector: the new up to some byte, then the old, or anything. */
static void tear(struct faulty *f, uint8_t *at, const uint8_t *old) {
  size_t kept = draw(&f->seed) % WEIR_SECTOR;
  bool garbage = draw(&f->seed) % 2;
  for (size_t i = kept; i < WEIR_SECTOR; i++) at[i] = garbage ? (uint8_t)draw(&f->seed) : old[i];
}

static void shear(struct faulty *f, uint32_t sector) {
  uint32_t first = sector / f->shear_page * f->shear_page;
  for (uint32_t i = first; i < first + f->shear_page && i < f->sectors; i++) {
    uint8_t *at = f->image + (size_t)i * WEIR_SECTOR;
    for (size_t j = 0; j < WEIR_SECTOR; j += 1 + draw(&f->seed) % 64) at[j] = (uint8_t)draw(&f->seed);
  }
}

/* Each write since the last sync is kept, lost or torn; the newest first, so that a sector gets back its oldest content. */
static void lose(struct faulty *f) {
  uint64_t mode = draw(&f->seed) % 4; /* all lost, all kept, a prefix kept, any combination */
  uint32_t prefix = (uint32_t)(draw(&f->seed) % (f->pending_count + 1u));
  while (f->pending_count) {
    struct faulty_sector *p = &f->pending[--f->pending_count];
    uint8_t *at = f->image + (size_t)p->sector * WEIR_SECTOR;
    bool keep = mode == 1 || (mode == 2 && f->pending_count < prefix) || (mode == 3 && draw(&f->seed) % 2);
    if (keep) continue;
    if (f->shear_page && draw(&f->seed) % 4 == 0) {
      shear(f, p->sector);
    } else if (draw(&f->seed) % 3 == 0) {
      tear(f, at, p->old);
    } else {
      memcpy(at, p->old, WEIR_SECTOR);
    }
  }
}

void faulty_cut(struct faulty *f) {
  if (f->busy && f->op == WEIR_BLOCK_WRITE && f->lazy) {
    /* The one in flight came through in part. */
    uint32_t n = (uint32_t)(draw(&f->seed) % (f->count + 1));
    if (n) store(f, f->sector, f->buffer, n);
  }
  f->busy = false;
  f->generation++;
  lose(f);
}

void faulty_pull(struct faulty *f) {
  bool busy = f->busy;
  faulty_cut(f);
  f->busy = f->interrupted = busy; /* the program learns it from poll */
  f->absent = true;
}

void faulty_insert(struct faulty *f) {
  f->absent = false;
  f->generation++;
}
