/* The storage manager on a well-behaved card, and on cards that are not as they should be. */
#include <string.h>

#include "check.h"
#include "rig.h"

static struct rig rig;

static void what_is_recorded_is_read_back(bool compress) {
  rig_open(&rig, 1, 0);
  rig.config.compress = compress;
  rig_start(&rig);
  rig_mount(&rig);
  CHECK_EQ(weir_storage_state(&rig.storage), WEIR_CARD_READY);
  for (unsigned i = 0; i < 5000; i++) {
    rig_record(&rig, (uint16_t)(i % 100 == 0 ? WEIR_RECORD_MAX : 29));
    rig_turn(&rig, 1000);
  }
  CHECK(rig_flush(&rig));
  CHECK_EQ(rig_check(&rig), 5000);
  const struct weir_storage_stats *s = weir_storage_stats(&rig.storage);
  printf("recorded %u records, %u blocks, %u syncs; bodies %u -> %u bytes\n", s->records, s->blocks, s->syncs,
         s->raw_bytes, s->stored_bytes);
  rig_start(&rig); /* the same card in the next run of the program */
  rig_mount(&rig);
  CHECK_EQ(rig_check(&rig), 5000);
  rig_close(&rig);
}

static void rotation_declares_what_it_overwrites(void) {
  rig_open(&rig, 2, 128);
  rig_start(&rig);
  rig_mount(&rig);
  for (unsigned i = 0; i < 20000; i++) {
    rig_record(&rig, 30);
    rig_turn(&rig, 1000);
    if (i % 3000 == 2999) {
      CHECK(rig_flush(&rig));
      rig_start(&rig);
      rig_mount(&rig);
    }
  }
  CHECK(rig_flush(&rig));
  uint32_t read = rig_check(&rig);
  CHECK(rig.events[WEIR_EV_ROTATED] > 8 && rig.lost_count > 0);
  printf("rotation: %u of 20000 records left, %u rotations, %u ranges lost\n", read, rig.events[WEIR_EV_ROTATED],
         rig.lost_count);
  rig_close(&rig);
}

/*
 * 500 records a second on a card that is busy 250 ms each 1,000 blocks and 2 s
 * once a minute, for ten minutes: how long from the making of a record until it
 * is durable, and how many wait in the ring meanwhile.
 */
static void stalls_are_bridged_by_the_ring(void) {
  enum { RECORDS = 300000, RING = 1100, STEP_US = 500, EACH_US = 2000 };
  static uint32_t made_ms[RIG_RECORDS + RECORDS], late[8000];
  rig_open(&rig, 3, 0);
  free(rig.records);
  rig.records = calloc(RECORDS, sizeof *rig.records);
  CHECK(rig.records != NULL);
  rig.config.buffer_count = 3;
  rig.config.flush_ms = 50;
  rig_start(&rig);
  rig_mount(&rig);
  rig.card.op_us = 1500;
  rig.card.stall_every = 1000;
  rig.card.long_stall_us = 60000000;
  rig.card.next_long_stall = rig.card.now_us + 60000000;
  uint64_t start = rig.card.now_us;
  uint32_t ring = 0, durable = 0;
  while (rig.count < RECORDS) {
    if (rig.card.now_us >= start + (uint64_t)rig.count * EACH_US) {
      made_ms[rig.count] = (uint32_t)(rig.card.now_us / 1000);
      rig.records[rig.count] = (struct rig_record){.epoch = rig.config.epoch, .sequence = rig.count, .content = rig.count, .size = 29, .kind = 1};
      rig.count++;
    }
    rig_feed(&rig);
    rig_turn(&rig, STEP_US);
    if (rig.count - rig.durable > ring) ring = rig.count - rig.durable;
    for (; durable < rig.durable; durable++) {
      uint32_t ms = (uint32_t)(rig.card.now_us / 1000) - made_ms[durable];
      CHECK(ms < sizeof late / sizeof *late);
      late[ms]++;
    }
  }
  CHECK(ring <= RING);
  uint32_t sum = 0, p50 = 0, p99 = 0, worst = 0;
  for (uint32_t ms = 0; ms < sizeof late / sizeof *late; ms++) {
    if (sum * 2 < durable) p50 = ms;
    if ((uint64_t)sum * 100 < (uint64_t)durable * 99) p99 = ms;
    if (late[ms]) worst = ms;
    sum += late[ms];
  }
  printf("stalls: a record is durable after %u ms (p50), %u ms (p99), %u ms at most; %u records waited at most\n", p50, p99, worst, ring);
  rig_close(&rig);
}

/* Another card in the middle of a run: what was not durable on the first comes on the second; the first comes back. */
static void cards_are_swapped_within_a_run(void) {
  static struct faulty other;
  rig_open(&rig, 4, 0);
  faulty_open(&other, rig.card.sectors, 9);
  rig_format(&other, 99, 16, 0);
  rig.config.buffer_count = 3;
  rig_start(&rig);
  rig_mount(&rig);
  uint32_t first = weir_storage_card_id(&rig.storage);
  for (unsigned round = 0; round < 4; round++) {
    for (unsigned i = 0; i < 500; i++) {
      rig_record(&rig, 30);
      rig_turn(&rig, 1000);
    }
    faulty_pull(&rig.card);
    rig_turn(&rig, 1000);
    CHECK_EQ(weir_storage_state(&rig.storage), WEIR_CARD_ABSENT);
    CHECK_EQ(weir_storage_append(&rig.storage, 1, weir_storage_expects(&rig.storage), 0, NULL, 0), WEIR_E_GONE);
    uint8_t *image = rig.card.image; /* the cards change places */
    rig.card.image = other.image;
    other.image = image;
    faulty_insert(&rig.card);
    rig_mount(&rig);
    CHECK((weir_storage_card_id(&rig.storage) == first) == (round % 2 == 1));
  }
  CHECK(rig_flush(&rig));
  /* Both together hold every record; the reader of each gives its own, in order. */
  static uint8_t seen[4000];
  struct weir_stored out;
  for (unsigned card = 0; card < 2; card++) {
    uint64_t last = 0;
    bool any = false;
    weir_storage_read_oldest(&rig.storage);
    for (int status; (status = weir_storage_read(&rig.storage, &out)) != WEIR_E_FULL;) {
      if (status == WEIR_BUSY) rig_turn(&rig, 1000);
      if (status != WEIR_OK || out.kind >= WEIR_KIND_EPOCH) continue;
      CHECK(!any || out.sequence > last);
      any = true;
      last = out.sequence;
      seen[out.sequence] = 1;
    }
    uint8_t *image = rig.card.image;
    faulty_pull(&rig.card);
    rig.card.image = other.image;
    other.image = image;
    rig_turn(&rig, 1000);
    faulty_insert(&rig.card);
    rig_mount(&rig);
  }
  for (uint32_t i = 0; i < rig.count; i++) CHECK(seen[i]);
  faulty_close(&other);
  rig_close(&rig);
}

/* A seek lands on the record that was asked for, whatever lies between. */
static void the_reader_is_placed_anywhere(void) {
  rig_open(&rig, 5, 128);
  for (unsigned run = 0; run < 12; run++) {
    rig_start(&rig);
    rig_mount(&rig);
    for (unsigned i = 0; i < 700; i++) {
      rig_record(&rig, 60);
      rig_turn(&rig, 1000);
    }
    CHECK(rig_flush(&rig));
  }
  uint32_t checked = 0;
  for (uint32_t i = 0; i < rig.count; i += 97) {
    struct weir_stored out;
    int status;
    const struct rig_record *n = &rig.records[i];
    weir_storage_read_from(&rig.storage, n->epoch, n->sequence);
    do {
      while ((status = weir_storage_read(&rig.storage, &out)) == WEIR_BUSY) rig_turn(&rig, 1000);
    } while (status == WEIR_OK && out.kind >= WEIR_KIND_EPOCH);
    bool lost = false;
    for (uint32_t j = 0; j < rig.lost_count; j++) {
      lost = lost || (rig.lost[j].epoch == n->epoch && n->sequence >= rig.lost[j].first && n->sequence < rig.lost[j].next);
    }
    if (lost) continue;
    CHECK_EQ(status, WEIR_OK);
    CHECK(out.epoch == n->epoch);
    CHECK_EQ(out.sequence, n->sequence);
    checked++;
  }
  struct weir_stored out;
  weir_storage_read_from(&rig.storage, 12345, 0);
  int status;
  while ((status = weir_storage_read(&rig.storage, &out)) == WEIR_BUSY) rig_turn(&rig, 1000);
  CHECK_EQ(status, WEIR_E_UNKNOWN);
  printf("seeks: %u of every 97th record found, the others were overwritten\n", checked);
  rig_close(&rig);
}

/* A card that takes no writes any more, as worn ones do, still gives what it has. */
static void a_card_that_turns_read_only_is_read(void) {
  rig_open(&rig, 6, 0);
  rig_start(&rig);
  rig_mount(&rig);
  for (unsigned i = 0; i < 300; i++) {
    rig_record(&rig, 30);
    rig_turn(&rig, 1000);
  }
  CHECK(rig_flush(&rig));
  rig.card.read_only = true;
  rig_record(&rig, 30);
  for (unsigned i = 0; i < 200; i++) rig_turn(&rig, 1000);
  CHECK_EQ(weir_storage_state(&rig.storage), WEIR_CARD_READ_ONLY);
  CHECK_EQ(rig.events[WEIR_EV_READ_ONLY], 1);
  CHECK_EQ(weir_storage_append(&rig.storage, 1, 300, 0, NULL, 0), WEIR_E_READ_ONLY);
  CHECK_EQ(weir_storage_durable(&rig.storage), 300);
  CHECK_EQ(rig_check(&rig), 300);
  rig_close(&rig);
}

/* Two files with one cluster: a damaged FAT. Neither is written to. */
static void files_that_share_clusters_are_skipped(void) {
  rig_open(&rig, 7, 128);
  uint8_t *boot = rig.card.image + 8192u * WEIR_SECTOR;
  uint32_t reserved = boot[14] | (uint32_t)boot[15] << 8, fat_sectors = boot[36] | (uint32_t)boot[37] << 8;
  uint8_t *root = boot + (size_t)(reserved + 2 * fat_sectors) * WEIR_SECTOR;
  memcpy(root + 2 * 32 + 20, root + 32 + 20, 2); /* the second file begins where the first does */
  memcpy(root + 2 * 32 + 26, root + 32 + 26, 2);
  rig_start(&rig);
  rig_mount(&rig);
  CHECK_EQ(weir_storage_state(&rig.storage), WEIR_CARD_READY);
  CHECK_EQ(rig.events[WEIR_EV_SKIPPED], 2);
  CHECK_EQ(rig.last_skip, WEIR_SKIP_OVERLAP);
  root[3 * 32] = root[4 * 32] = 0xE5; /* the other two are deleted: nothing is left to record in */
  rig_start(&rig);
  rig_mount(&rig);
  CHECK_EQ(weir_storage_refusal(&rig.storage), WEIR_REFUSED_SEGMENTS);
  rig_close(&rig);
}

int main(void) {
  a_card_that_turns_read_only_is_read();
  files_that_share_clusters_are_skipped();
  stalls_are_bridged_by_the_ring();
  cards_are_swapped_within_a_run();
  the_reader_is_placed_anywhere();
  what_is_recorded_is_read_back(false);
  what_is_recorded_is_read_back(true);
  rotation_declares_what_it_overwrites();
  return 0;
}
