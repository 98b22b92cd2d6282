/* test_ring.c: the ring against a plain list, with seeded operations; and the promise of 1,000 records in 32 KB. */
#include <string.h>

#include "check.h"
#include "weir/ring.h"

enum { MODEL = 4096 };

struct model_entry {
  uint8_t kind, size, body[64];
  uint64_t uptime;
};

static struct model_entry model[MODEL];

static void same(const struct weir_ring_entry *e, uint64_t sequence) {
  const struct model_entry *m = &model[sequence % MODEL];
  CHECK_EQ(e->sequence, sequence);
  CHECK_EQ(e->kind, m->kind);
  CHECK_EQ(e->size, m->size);
  CHECK_EQ(e->uptime_ms, m->uptime);
  CHECK(memcmp(e->body, m->body, m->size) == 0);
}

static void against_a_list(uint64_t seed, uint32_t size) {
  static uint8_t bytes[4096];
  struct weir_ring r;
  struct weir_ring_place reader = {0, 1, 0};
  struct weir_ring_entry e;
  uint64_t state = seed, uptime = 0;
  weir_ring_init(&r, bytes, size);
  for (int i = 0; i < 20000; i++) {
    uint64_t what = draw(&state);
    if (what % 3 != 0) {
      uint64_t sequence = weir_ring_next(&r);
      struct model_entry *m = &model[sequence % MODEL];
      m->kind = what & 0x100 ? 1 : 2;
      m->size = (uint8_t)(1 + (what >> 16) % 60);
      uptime += (what >> 24) % 300;
      for (uint32_t k = 0; k < m->size; k++) m->body[k] = (uint8_t)draw(&state);
      m->uptime = uptime;
      bool promised = weir_ring_fits(&r, m->size);
      uint64_t got = weir_ring_push(&r, m->kind, uptime, m->body, m->size);
      CHECK(got == sequence || (got == 0 && !promised));
    } else if (what & 0x200) {
      weir_ring_pop(&r);
      CHECK(r.used <= r.size);
    } else {
      weir_ring_catch_up(&r, &reader);
      if (weir_ring_at(&r, &reader, &e)) {
        same(&e, reader.sequence);
        weir_ring_step(&r, &reader, &e);
      }
      if (r.count > 0 && (what & 0x400)) {
        uint64_t want = r.first + (what >> 32) % r.count;
        struct weir_ring_place p = {0, 0, 0};
        weir_ring_seek(&r, &p, want);
        CHECK(weir_ring_at(&r, &p, &e));
        same(&e, want);
      }
    }
  }
}

static void thousand_records_of_29_bytes(void) {
  static uint8_t bytes[32 * 1024];
  uint8_t body[29] = {1};
  struct weir_ring r;
  uint64_t uptime = 0;
  weir_ring_init(&r, bytes, sizeof bytes);
  while (weir_ring_push(&r, 1, uptime += 2, body, sizeof body) != 0) continue;
  printf("ring: %u records of 29 bytes in %zu bytes\n", r.count, sizeof bytes);
  CHECK(r.count >= 1000);
}

int main(void) {
  for (uint64_t seed = 1; seed <= 6; seed++) {
    printf("ring: seed %llu\n", (unsigned long long)seed);
    against_a_list(seed, 200 + 317 * (uint32_t)seed);
  }
  thousand_records_of_29_bytes();
  return 0;
}
