/*
 * Whatever a card does, what was acknowledged is read back, in order, once.
 * Each seed is a card, a configuration, and a few lives of the program that
 * end in power cuts; between them the card stalls, fails, is pulled out and
 * put in again. SEED=n runs one seed, SEEDS=m so many, from
 * SEED on.
 */
#include <string.h>

#include "check.h"
#include "rig.h"

static struct rig rig;

static uint64_t below(uint64_t n) { return draw(&rig.seed) % n; }

static void choose(void) {
  static const uint16_t pages[] = {1, 1, 1, 4, 8};
  rig.config.buffer_count = (uint16_t)(2 + below(RIG_BUFFERS - 1));
  rig.config.page = pages[below(5)];
  rig.config.compress = below(2);
  rig.config.flush_ms = (uint32_t)(1 + below(200));
  rig.card.lazy = true;
  rig.card.shear_page = rig.config.page > 1 ? rig.config.page : 0;
  rig.card.op_us = (uint32_t)below(3) * 2000;
}

static void trouble(bool on) {
  rig.card.fail_read_per_mille = on ? (uint32_t)below(3) * 10 : 0;
  rig.card.fail_write_per_mille = on ? (uint32_t)below(3) * 10 : 0;
  rig.card.fail_sync_per_mille = on ? (uint32_t)below(3) * 10 : 0;
  rig.card.stall_every = on && below(2) ? 1000 : 0;
  rig.card.long_stall_us = on && below(2) ? 60000000 : 0;
  rig.card.bad_count = on && below(4) == 0 ? (uint32_t)(1 + below(3)) : 0;
  rig.card.bad_from = (uint32_t)(2 * 8192 + 8192 + below(1024));
}

/* One step of a life. */
static void act(void) {
  switch (below(12)) {
    case 0:
      rig_turn(&rig, below(400000));
      break;
    case 1:
      weir_storage_flush(&rig.storage);
      break;
    case 2:
      if (below(40) == 0) faulty_pull(&rig.card);
      break;
    case 3:
      if (rig.card.absent) faulty_insert(&rig.card);
      break;
    case 4:
      if (below(10) == 0) {
        weir_storage_read_from(&rig.storage, rig.config.epoch, below(1000));
      } else {
        struct weir_stored out;
        weir_storage_read(&rig.storage, &out);
      }
      break;
    default:
      rig_record(&rig, (uint16_t)(below(50) == 0 ? below(WEIR_RECORD_MAX + 1) : 20 + below(4)));
  }
  rig_turn(&rig, below(3000));
  rig_feed(&rig);
}

static void life(void) {
  trouble(true);
  rig_start(&rig);
  for (uint64_t n = below(3000); n; n--) act();
  if (below(3) == 0 && !rig.card.absent) {
    trouble(false);
    rig_mount(&rig);
    CHECK(rig_flush(&rig));
  }
  faulty_cut(&rig.card);
  if (rig.card.absent) faulty_insert(&rig.card);
}

static void run(uint64_t seed) {
  rig_open(&rig, seed, 64u << seed % 3);
  choose();
  uint64_t lives = 1 + below(6);
  for (uint64_t i = 0; i < lives; i++) {
    life();
    trouble(false);
    rig_start(&rig);
    rig_mount(&rig);
    CHECK_EQ(weir_storage_state(&rig.storage), WEIR_CARD_READY);
    rig_check(&rig);
  }
  rig_close(&rig);
}

static uint64_t running; /* the seed; 0: none */

static void name_the_seed(void) {
  if (running) fprintf(stderr, "again with SEED=%llu\n", (unsigned long long)running);
}

int main(void) {
  const char *one = getenv("SEED"), *many = getenv("SEEDS");
  uint64_t first = one ? strtoull(one, NULL, 10) : 1, n = many ? strtoull(many, NULL, 10) : one ? 1 : 250;
  CHECK(atexit(name_the_seed) == 0);
  for (running = first; running < first + n; running++) run(running);
  running = 0;
  printf("power cuts: %llu seeds from %llu on\n", (unsigned long long)n, (unsigned long long)first);
  return 0;
}
