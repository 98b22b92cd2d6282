/*
 * Cards: what the input says stands in some sectors of a small medium, the rest
 * is zero; the storage manager mounts it, records, and reads. It must not write
 * outside of what it proved to be a segment, and must come to an end.
 */
#include "fuzz.h"

#include <string.h>

#include "weir/storage.h"

enum { SECTORS = 1 << 17, SLOTS = 8 };

/* The sectors that the input fills: sector 0 (with a boot sector in it), the FAT, the root directory, blocks. */
static const uint32_t where[SLOTS] = {0, 32, 33, 34, 2080, 2081, 2208, 2209};

struct medium {
  uint8_t sectors[SLOTS][WEIR_SECTOR];
  bool busy;
  unsigned operations;
};

static uint8_t *at(struct medium *m, uint32_t sector) {
  for (unsigned i = 0; i < SLOTS; i++) {
    if (where[i] == sector) return m->sectors[i];
  }
  return NULL;
}

static int info(void *ctx, struct weir_block_info *out) {
  (void)ctx;
  *out = (struct weir_block_info){.sectors = SECTORS, .generation = 1};
  return WEIR_OK;
}

static int start(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count) {
  struct medium *m = ctx;
  m->operations++;
  if (m->busy) abort();
  m->busy = true;
  if (op == WEIR_BLOCK_SYNC) return WEIR_BUSY;
  if (count == 0 || sector >= SECTORS || count > SECTORS - sector) abort();
  for (uint32_t i = 0; i < count; i++) {
    uint8_t *have = at(m, sector + i), *mem = (uint8_t *)buffer + (size_t)i * WEIR_SECTOR;
    if (op == WEIR_BLOCK_READ) {
      if (have) memcpy(mem, have, WEIR_SECTOR);
      else memset(mem, 0, WEIR_SECTOR);
    } else {
      if (sector + i < 34) abort(); /* the boot sector, the FAT */
      if (have) memcpy(have, mem, WEIR_SECTOR);
    }
  }
  return WEIR_BUSY;
}

static int poll(void *ctx) {
  ((struct medium *)ctx)->busy = false;
  return WEIR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct medium m;
  static struct weir_storage s;
  static _Alignas(8) uint8_t buffers[2][WEIR_SECTOR];
  memset(&m, 0, sizeof m);
  memcpy(m.sectors, data, size < sizeof m.sectors ? size : sizeof m.sectors);
  struct weir_block block = {.ctx = &m, .info = info, .start = start, .poll = poll};
  struct weir_storage_config config = {.block = &block, .buffers = buffers, .buffer_count = 2, .device = "fuzz", .epoch = 7, .flush_ms = 10};
  struct weir_stored out;
  if (weir_storage_init(&s, &config) != WEIR_OK) abort();
  uint64_t now = 0;
  for (unsigned i = 0; i < 200000 && weir_storage_state(&s) <= WEIR_CARD_MOUNTING; i++) weir_storage_poll(&s, now++);
  if (weir_storage_state(&s) == WEIR_CARD_MOUNTING) abort();
  weir_storage_read_oldest(&s);
  for (unsigned i = 0; i < 40 && weir_storage_state(&s) == WEIR_CARD_READY; i++) {
    uint8_t body[30] = {(uint8_t)i};
    weir_storage_append(&s, WEIR_KIND_READING, weir_storage_expects(&s), now, body, sizeof body);
    weir_storage_read(&s, &out);
    weir_storage_poll(&s, now++);
  }
  return 0;
}
