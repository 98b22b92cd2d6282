#include "rig.h"

#include <string.h>

#include "check.h"

static void on_event(void *ctx, const struct weir_storage_event *e) {
  struct rig *r = ctx;
  r->events[e->type]++;
  if (e->type == WEIR_EV_SKIPPED) r->last_skip = e->reason;
  if (e->type != WEIR_EV_LOST) return;
  CHECK(r->lost_count < RIG_LOST);
  r->lost[r->lost_count++] = (struct rig_range){e->epoch, e->first, e->next};
}

/* Telemetry-like: most bytes equal from record to record. */
void rig_body(uint32_t content, uint16_t size, uint8_t *body) {
  uint64_t seed = content;
  for (uint16_t i = 0; i < size; i++) body[i] = (uint8_t)(i * 7);
  for (uint16_t i = 0; i < size; i = (uint16_t)(i + 1 + draw(&seed) % 9)) body[i] = (uint8_t)draw(&seed);
}

static void put32(uint8_t *p, uint32_t v) {
  for (unsigned i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

/* Shortens every segment, so that rotation comes soon: sizes, and where chains end. */
static void shorten(struct faulty *card, uint32_t blocks) {
  uint8_t *boot = card->image + 8192u * WEIR_SECTOR;
  uint32_t reserved = boot[14] | (uint32_t)boot[15] << 8, fat_sectors = get32(boot + 36), spc = boot[13];
  uint8_t *fat = boot + (size_t)reserved * WEIR_SECTOR;
  uint8_t *root = fat + (size_t)fat_sectors * 2 * WEIR_SECTOR;
  CHECK(blocks % spc == 0);
  for (uint8_t *e = root + 32; e[0]; e += 32) {
    uint32_t first = (uint32_t)(e[26] | e[27] << 8) | (uint32_t)(e[20] | e[21] << 8) << 16;
    uint32_t n = get32(e + 28) / WEIR_SECTOR / spc, keep = blocks / spc;
    for (unsigned copy = 0; copy < 2; copy++) {
      uint8_t *f = fat + (size_t)copy * fat_sectors * WEIR_SECTOR;
      put32(f + 4 * (size_t)(first + keep - 1), 0x0FFFFFFF);
      for (uint32_t i = keep; i < n; i++) put32(f + 4 * (size_t)(first + i), 0);
    }
    put32(e + 28, blocks * WEIR_SECTOR);
  }
}

void rig_format(struct faulty *card, uint64_t seed, uint32_t budget_mib, uint32_t segment_blocks) {
  static _Alignas(8) uint8_t buffer[1][WEIR_SECTOR];
  struct weir_format format;
  struct weir_format_config config = {
      .block = &card->block, .buffer = buffer, .card_id = (uint32_t)draw(&seed) | 1, .budget_mib = budget_mib};
  CHECK_EQ(weir_format_begin(&format, &config), WEIR_OK);
  int status;
  while ((status = weir_format_poll(&format)) == WEIR_BUSY) card->now_us += 100;
  CHECK_EQ(status, WEIR_OK);
  if (segment_blocks) shorten(card, segment_blocks);
}

void rig_open(struct rig *r, uint64_t seed, uint32_t segment_blocks) {
  memset(r, 0, sizeof *r);
  r->seed = seed;
  r->records = calloc(RIG_RECORDS, sizeof *r->records);
  CHECK(r->records != NULL);
  faulty_open(&r->card, 64u << 11, seed);
  rig_format(&r->card, seed, segment_blocks ? 16 : 0, segment_blocks);
  r->config = (struct weir_storage_config){.block = &r->card.block,
                                           .buffers = r->buffers,
                                           .buffer_count = 2,
                                           .device = "rig",
                                           .firmware = "test",
                                           .flush_ms = 100,
                                           .event = on_event,
                                           .event_ctx = r};
}

void rig_close(struct rig *r) {
  faulty_close(&r->card);
  free(r->records);
}

void rig_start(struct rig *r) {
  r->config.epoch = draw(&r->seed) | 1;
  r->card.busy = false; /* a reset ends what was under way */
  r->start = r->fed = r->durable = r->count;
  CHECK_EQ(weir_storage_init(&r->storage, &r->config), WEIR_OK);
}

static void note_durable(struct rig *r) {
  uint32_t durable = r->start + (uint32_t)weir_storage_durable(&r->storage);
  CHECK(durable >= r->durable);
  CHECK(durable <= r->count);
  while (r->durable < durable) r->records[r->durable++].promised = true;
}

void rig_turn(struct rig *r, uint64_t us) {
  r->card.now_us += us;
  weir_storage_poll(&r->storage, r->card.now_us / 1000);
  note_durable(r);
}

void rig_mount(struct rig *r) {
  for (unsigned i = 0; i < 2000000; i++) {
    enum weir_card_state state = weir_storage_state(&r->storage);
    if (state == WEIR_CARD_READY || state == WEIR_CARD_READ_ONLY || state == WEIR_CARD_REFUSED) return;
    rig_turn(r, 1000);
  }
  CHECK(!"mounting ends");
}

void rig_feed(struct rig *r) {
  uint32_t expects = r->start + (uint32_t)weir_storage_expects(&r->storage);
  if (expects < r->fed) r->fed = expects; /* rewound */
  uint8_t body[WEIR_RECORD_MAX];
  while (r->fed < r->count) {
    struct rig_record *n = &r->records[r->fed];
    rig_body(n->content, n->size, body);
    if (weir_storage_append(&r->storage, n->kind, n->sequence, r->card.now_us / 1000, body, n->size) != WEIR_OK) return;
    n->appended = true;
    r->fed++;
  }
}

void rig_record(struct rig *r, uint16_t size) {
  CHECK(r->count < RIG_RECORDS);
  r->records[r->count] = (struct rig_record){.epoch = r->config.epoch,
                                             .sequence = r->count - r->start,
                                             .content = (uint32_t)draw(&r->seed),
                                             .size = size,
                                             .kind = (uint8_t)(1 + draw(&r->seed) % 2)};
  r->count++;
  rig_feed(r);
}

bool rig_flush(struct rig *r) {
  for (unsigned i = 0; i < 100000; i++) {
    rig_feed(r);
    int status = weir_storage_flush(&r->storage);
    if (status < 0) return false;
    if (status == WEIR_OK && r->durable == r->count) return true;
    rig_turn(r, 1000);
  }
  return false;
}

static bool is_lost(const struct rig *r, const struct rig_record *n) {
  for (uint32_t i = 0; i < r->lost_count; i++) {
    const struct rig_range *l = &r->lost[i];
    if (l->epoch == n->epoch && n->sequence >= l->first && n->sequence < l->next) return true;
  }
  return false;
}

/* A record that was not read must not have been promised, or have been declared lost. */
static void missing(const struct rig *r, uint32_t at) {
  const struct rig_record *n = &r->records[at];
  if (!n->promised || is_lost(r, n)) return;
  fprintf(stderr, "record %u of %u (epoch %llx, sequence %llu) was durable and is not there; page %u, buffers %u\n", at,
          r->count, (unsigned long long)n->epoch, (unsigned long long)n->sequence, r->config.page, r->config.buffer_count);
  exit(1);
}

uint32_t rig_check(struct rig *r) {
  struct weir_stored out;
  uint32_t at = 0, read = 0;
  weir_storage_read_oldest(&r->storage);
  for (unsigned idle = 0; idle < 100000;) {
    int status = weir_storage_read(&r->storage, &out);
    if (status == WEIR_E_FULL) break;
    if (status == WEIR_E_INVALID) continue;
    if (status == WEIR_BUSY) {
      idle++;
      rig_turn(r, 1000);
      continue;
    }
    CHECK_EQ(status, WEIR_OK);
    idle = 0;
    if (out.kind >= WEIR_KIND_EPOCH) continue;
    /* What lies between the last that was read and this one must not have been promised. */
    while (at < r->count && (r->records[at].epoch != out.epoch || r->records[at].sequence != out.sequence)) {
      missing(r, at);
      at++;
    }
    CHECK(at < r->count); /* else: never appended, out of order, or twice */
    const struct rig_record *n = &r->records[at++];
    uint8_t body[WEIR_RECORD_MAX];
    rig_body(n->content, n->size, body);
    CHECK(n->appended);
    CHECK_EQ(out.kind, n->kind);
    CHECK_EQ(out.size, n->size);
    CHECK(memcmp(out.body, body, n->size) == 0);
    read++;
  }
  for (; at < r->count; at++) missing(r, at);
  return read;
}
