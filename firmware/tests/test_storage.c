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
    rig_record(&rig, (uint16_t)(i % 100 == 0 ? WEIR_RECORD_MAX : 20 + i % 3));
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

int main(void) {
  what_is_recorded_is_read_back(false);
  what_is_recorded_is_read_back(true);
  rotation_declares_what_it_overwrites();
  return 0;
}
