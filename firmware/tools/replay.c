/*
 * replay: every power cut of a recording. It takes the image that a card was
 * before, and a log of all writes and flushes since (qemu's blklogwrites, or
 * tests/faulty.c), and makes of each prefix the cards that a cut there may have
 * left: what was written since the last flush is kept, lost, or torn, in any
 * combination. The firmware's storage manager mounts each and reads it. What
 * was durable (written before a flush that ended) must be read, in order, once;
 * nothing may be read that was never written.
 *
 *   replay IMAGE LOG [SEED] [STEP]    STEP n looks at each n-th prefix only
 */
#include <string.h>

#include "check.h"
#include "crc.h"
#include "faulty.h"
#include "frame.h"

enum { LOG_FLUSH = 1, LOG_FUA = 2, LOG_DISCARD = 4, LOG_MARK = 8, VARIANTS = 4, TAIL = 8192 };

struct entry {
  uint64_t sector, count, flags;
  const uint8_t *data;
};

/* A record that was written, in the order of writing. */
struct written {
  uint64_t epoch, sequence;
  uint32_t content; /* CRC of kind and body */
  bool lost;        /* declared so by a durable header */
};

static struct faulty card;
static struct weir_storage storage;
static _Alignas(8) uint8_t buffers[2][WEIR_SECTOR];
static struct entry *entries;
static size_t entry_count;
static struct written *model;
static size_t model_count, model_room, durable_count;
static struct weir_lost ranges[1024]; /* declared by headers of the tail */
static size_t range_count;
static uint64_t seed = 1;

static uint64_t get64(const uint8_t *p) {
  uint64_t v = 0;
  for (unsigned i = 8; i-- > 0;) v = v << 8 | p[i];
  return v;
}

static uint8_t *load(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  CHECK(f != NULL);
  CHECK(fseek(f, 0, SEEK_END) == 0);
  *size = (size_t)ftell(f);
  rewind(f);
  uint8_t *data = malloc(*size ? *size : 1);
  CHECK(data != NULL);
  CHECK(fread(data, 1, *size, f) == *size);
  CHECK(fclose(f) == 0);
  return data;
}

static void load_log(const char *path) {
  size_t size;
  const uint8_t *log = load(path, &size);
  entries = calloc(size / WEIR_SECTOR + 1, sizeof *entries);
  CHECK(entries != NULL);
  for (size_t at = WEIR_SECTOR; at + WEIR_SECTOR <= size;) {
    struct entry e = {get64(log + at), get64(log + at + 8), get64(log + at + 16), log + at + WEIR_SECTOR};
    size_t data = e.flags & LOG_DISCARD ? 0 : (size_t)e.count * WEIR_SECTOR;
    if (e.flags & LOG_MARK) data = 0;
    CHECK(data <= size - at - WEIR_SECTOR);
    CHECK(e.count == 0 || e.sector + e.count <= card.sectors);
    entries[entry_count++] = e;
    at += WEIR_SECTOR + data;
  }
}

/* ------------------------------------------------------------------- model */

static uint32_t content_of(const struct weir_stored *r) { return weir_crc32(weir_crc32(0, &r->kind, 1), r->body, r->size); }

static void add(const struct weir_stored *r) {
  for (size_t i = model_count; i-- > 0 && model_count - i < 20000;) {
    if (model[i].epoch == r->epoch && model[i].sequence == r->sequence) return; /* written again */
  }
  if (model_count == model_room) {
    model_room = model_room ? model_room * 2 : 4096;
    model = realloc(model, model_room * sizeof *model);
    CHECK(model != NULL);
  }
  model[model_count++] = (struct written){r->epoch, r->sequence, content_of(r), false};
}

static void add_ranges(const uint8_t *sector) {
  const uint8_t *p = sector + WEIR_FRAME_HEAD;
  unsigned at = 21u + p[20], n = p[at];
  for (unsigned i = 0; i < n; i++) {
    const uint8_t *l = p + at + 1 + 20 * (size_t)i;
    CHECK(range_count < sizeof ranges / sizeof *ranges);
    ranges[range_count++] =
        (struct weir_lost){get64(l), get64(l + 8) & 0xFFFFFFFFFFFF, get64(l + 12) >> 16};
  }
}

/* What one written entry brings. */
static void learn(const struct entry *e) {
  for (uint64_t i = 0; e->data && i < e->count && !(e->flags & (LOG_DISCARD | LOG_MARK)); i++) {
    const uint8_t *sector = e->data + i * WEIR_SECTOR;
    struct weir_frame_head head;
    struct weir_frame_reader reader;
    struct weir_stored r;
    if (weir_frame_open(sector, &head) != WEIR_OK) continue;
    if (head.flags & WEIR_FLAG_HEADER) {
      add_ranges(sector);
      continue;
    }
    CHECK_EQ(weir_frame_read(&reader, sector, &head), WEIR_OK);
    while (weir_frame_next(&reader, &r) == WEIR_OK) {
      r.epoch = head.epoch;
      if (r.kind < WEIR_KIND_EPOCH) add(&r);
    }
  }
}

static bool in_ranges(const struct written *w) {
  for (size_t i = 0; i < range_count; i++) {
    if (ranges[i].epoch == w->epoch && w->sequence >= ranges[i].first && w->sequence < ranges[i].next) return true;
  }
  return false;
}

static void settle(void) {
  for (size_t i = 0; range_count && i < model_count; i++) model[i].lost = model[i].lost || in_ranges(&model[i]);
  range_count = 0;
  durable_count = model_count;
}

/* ----------------------------------------------------------------- reading */

static bool mount(void) {
  struct weir_storage_config config = {
      .block = &card.block, .buffers = buffers, .buffer_count = 2, .device = "replay", .epoch = draw(&seed) | 1};
  CHECK_EQ(weir_storage_init(&storage, &config), WEIR_OK);
  card.read_only = true; /* the storage manager must not change what is looked at */
  card.busy = false;
  for (unsigned i = 0; i < 10000000; i++) {
    enum weir_card_state state = weir_storage_state(&storage);
    if (state == WEIR_CARD_READ_ONLY) return true;
    if (state == WEIR_CARD_REFUSED) return false;
    card.now_us += 1000;
    weir_storage_poll(&storage, card.now_us / 1000);
  }
  return false;
}

static int next_record(struct weir_stored *r) {
  for (;;) {
    int status = weir_storage_read(&storage, r);
    if (status == WEIR_BUSY) {
      card.now_us += 100;
      weir_storage_poll(&storage, card.now_us / 1000);
    } else if (status != WEIR_E_INVALID && !(status == WEIR_OK && r->kind >= WEIR_KIND_EPOCH)) {
      return status;
    }
  }
}

static void missing(size_t at, size_t prefix) {
  const struct written *w = &model[at];
  if (at >= durable_count || w->lost || in_ranges(w)) return;
  fprintf(stderr, "a cut after entry %zu: record %zu (epoch %llx, sequence %llu) was durable and is not there\n", prefix, at,
          (unsigned long long)w->epoch, (unsigned long long)w->sequence);
  exit(1);
}

static void check(size_t prefix) {
  struct weir_stored r;
  size_t at = 0;
  int status;
  CHECK(mount());
  weir_storage_read_oldest(&storage);
  while ((status = next_record(&r)) == WEIR_OK) {
    while (at < model_count && (model[at].epoch != r.epoch || model[at].sequence != r.sequence)) missing(at++, prefix);
    if (at == model_count) {
      fprintf(stderr, "a cut after entry %zu: (epoch %llx, sequence %llu) was never written, is out of order or came twice\n",
              prefix, (unsigned long long)r.epoch, (unsigned long long)r.sequence);
      exit(1);
    }
    CHECK(model[at].content == content_of(&r));
    at++;
  }
  CHECK_EQ(status, WEIR_E_FULL);
  for (; at < model_count; at++) missing(at, prefix);
}

/* ---------------------------------------------------------------- the cuts */

struct undo {
  uint64_t sector;
  uint8_t data[WEIR_SECTOR];
};

static struct undo *undo;
static size_t undo_count;

static void put(uint64_t sector, const uint8_t *data, size_t bytes) {
  uint8_t *at = card.image + sector * WEIR_SECTOR;
  CHECK(undo_count < TAIL);
  undo[undo_count].sector = sector;
  memcpy(undo[undo_count++].data, at, WEIR_SECTOR);
  memcpy(at, data, bytes);
}

static void restore(void) {
  while (undo_count) {
    undo_count--;
    memcpy(card.image + undo[undo_count].sector * WEIR_SECTOR, undo[undo_count].data, WEIR_SECTOR);
  }
}

/* Variant 0: all is there. 1: the last sector is torn. 2, 3: each sector is there, lost or torn, as drawn. */
static void apply(size_t from, size_t to, unsigned variant) {
  for (size_t i = from; i < to; i++) {
    const struct entry *e = &entries[i];
    for (uint64_t s = 0; s < e->count && !(e->flags & (LOG_DISCARD | LOG_MARK)); s++) {
      bool last = i + 1 == to && s + 1 == e->count;
      uint64_t lot = variant >= 2 ? draw(&seed) % 3 : variant == 1 && last ? 2 : 0;
      if (lot == 1) continue;
      put(e->sector + s, e->data + s * WEIR_SECTOR, lot == 2 ? draw(&seed) % WEIR_SECTOR : WEIR_SECTOR);
    }
  }
}

int main(int argc, char **argv) {
  size_t size;
  CHECK(argc >= 3);
  faulty_open(&card, 1, 1);
  free(card.image);
  card.image = load(argv[1], &size);
  card.sectors = (uint32_t)(size / WEIR_SECTOR);
  if (argc > 3) seed = strtoull(argv[3], NULL, 0);
  size_t step = argc > 4 ? strtoull(argv[4], NULL, 0) : 1;
  undo = malloc(TAIL * sizeof *undo);
  CHECK(undo != NULL && step > 0);
  load_log(argv[2]);

  /* What the card held before. */
  struct weir_stored r;
  CHECK(mount());
  weir_storage_read_oldest(&storage);
  while (next_record(&r) == WEIR_OK) add(&r);
  settle();

  size_t cuts = 0, from = 0;
  for (size_t i = 0; i <= entry_count; i++) { /* the cut comes after entry i - 1 */
    if (i % step == 0 || i == entry_count) {
      for (unsigned variant = 0; variant < VARIANTS; variant++, cuts++) {
        apply(from, i, variant);
        check(i);
        restore();
      }
    }
    if (i == entry_count) break;
    learn(&entries[i]);
    if (entries[i].flags & (LOG_FLUSH | LOG_FUA)) {
      apply(from, i + 1, 0);
      undo_count = 0;
      from = i + 1;
      settle();
    }
  }
  printf("%zu entries, %zu cuts, %zu records, seed %llu\n", entry_count, cuts, model_count, argc > 3 ? strtoull(argv[3], NULL, 0) : 1ull);
  return 0;
}
