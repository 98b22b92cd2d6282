/* test_frames.c: the memory of received frames of port/lm3s6965 against a list of what is alive, with seeded operations. */
#include <string.h>

#include "../port/lm3s6965/frames.c"
#include "check.h"

enum { ALIVE = 64, HEADERS = 2 + 14 + 20 + 20, SEGMENT = 536, W1 = 168 };

struct alive {
  struct pbuf *frame;
  uint8_t fill;
};

static struct alive alive[ALIVE];
static uint32_t count;

static bool take(uint32_t size, uint8_t fill) {
  struct pbuf *p = frames_alloc(size);
  if (p == NULL) return false;
  CHECK(count < ALIVE);
  CHECK_EQ(p->len, size);
  CHECK_EQ((uintptr_t)p->payload % 4, 0);
  CHECK((uint8_t *)p >= room && (uint8_t *)p->payload + size <= room + sizeof room);
  memset(p->payload, fill, size);
  alive[count++] = (struct alive){p, fill};
  return true;
}

/* Gives one back, after a look whether its bytes are its own still. */
static void give(uint32_t i) {
  struct pbuf *p = alive[i].frame;
  const uint8_t *bytes = p->payload;
  for (uint32_t k = 0; k < p->len; k++) CHECK_EQ(bytes[k], alive[i].fill);
  ((struct pbuf_custom *)(void *)p)->custom_free_function(p);
  memmove(&alive[i], &alive[i + 1], (--count - i) * sizeof alive[0]);
}

static void at_random(uint64_t seed) {
  uint64_t state = seed;
  uint32_t refused = 0;
  printf("frames: seed %llu\n", (unsigned long long)seed);
  for (int i = 0; i < 50000; i++) {
    uint64_t what = draw(&state);
    uint32_t size = 1 + (uint32_t)(what >> 16) % (what & 0x100 ? 120 : HEADERS + SEGMENT);
    if (what % 2 == 0 && count < ALIVE) {
      if (!take(size, (uint8_t)(what >> 40))) {
        CHECK(count > 0);
        refused++;
      }
    } else if (count > 0) {
      give(what & 0x200 ? 0 : (uint32_t)(what >> 48) % count); /* in order, mostly */
    }
  }
  CHECK(refused > 0);
  while (count > 0) give(0);
  CHECK(take(sizeof room - sizeof(struct entry), 1)); /* all of it in one piece again */
  give(0);
}

/* Wherever the ring stands, that many segments fit beside a frame that is no data. */
static void the_window(uint32_t segments, uint32_t size) {
  for (uint32_t before = 0; before < 300; before++) {
    CHECK(take(HEADERS, 3));
    for (uint32_t i = 0; i < before; i++) {
      CHECK(take(1 + i * 37 % 600, 2));
      give(0);
    }
    CHECK(take(HEADERS, 3));
    give(0);
    for (uint32_t i = 0; i < segments; i++) CHECK(take(HEADERS + size, (uint8_t)i));
  /* The core takes one, the peer sends one, round and round. */
    give(0);
    for (uint32_t i = 0; i < 50; i++) {
      give(0);
      CHECK(take(HEADERS + size, (uint8_t)(100 + i)));
    }
    while (count > 0) give(0);
  }
}

int main(void) {
  for (uint64_t seed = 1; seed <= 6; seed++) at_random(seed);
  the_window(3, SEGMENT); /* the window of TCP */
  the_window(8, W1); /* one less than on the board, whose pointers are half as long */
  CHECK(frames_alloc(sizeof room) == NULL);
  CHECK(frames_alloc(UINT32_MAX) == NULL);
  return 0;
}
