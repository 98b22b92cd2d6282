#include "frames.h"

#include <stdbool.h>

/*
 * Frames are given back nearly in the order in which they came: what is freed
 * before its time waits, marked, for those before it.
 *
 * The window is three segments of 536 bytes; with headers they take 1,850, beside
 * a frame that is no data, and a wrap leaves out less than one more. Of messages of
 * W1 in a segment each nine fit so, and what finds no room comes again.
 */
enum { ROOM = 2664 };

struct entry {
  struct pbuf_custom pbuf; /* first: lwIP gives its address back */
  uint16_t size;           /* of the entry, to the next one */
  uint16_t freed;
};

static struct {
  uint16_t head, tail; /* where the next entry goes; where the oldest stands */
  uint16_t end;        /* where the entries before the wrap end */
  uint16_t count;
} ring = {0, 0, ROOM, 0};
static uint8_t room[ROOM] __attribute__((aligned(__alignof__(struct entry))));

static struct entry *entry_at(uint32_t at) { return (struct entry *)(void *)(room + at); }

static void give_back(struct pbuf *p) {
  ((struct entry *)(void *)p)->freed = 1;
  while (ring.count > 0 && entry_at(ring.tail)->freed) {
    ring.tail = (uint16_t)(ring.tail + entry_at(ring.tail)->size);
    ring.count--;
    if (ring.tail == ring.end) {
      ring.tail = 0;
      ring.end = ROOM;
    }
  }
  if (ring.count == 0) {
    ring.head = ring.tail = 0;
    ring.end = ROOM;
  }
}

/* Moves the head to where `size` bytes are free in one piece. */
static bool find(uint32_t size) {
  if (ring.count == 0 || ring.head > ring.tail) {
    if (size <= (uint32_t)ROOM - ring.head) {
      return true;
    }
    if (size > ring.tail) {
      return false;
    }
    ring.end = ring.head;
    ring.head = 0;
    return true;
  }
  return size <= (uint32_t)ring.tail - ring.head;
}

struct pbuf *frames_alloc(uint32_t size) {
  const uint32_t step = __alignof__(struct entry), all = (uint32_t)sizeof(struct entry) + (size + step - 1u) / step * step;
  if (size > ROOM || !find(all)) {
    return NULL;
  }
  struct entry *e = entry_at(ring.head);
  e->size = (uint16_t)all;
  e->freed = 0;
  e->pbuf.custom_free_function = give_back;
  ring.head = (uint16_t)(ring.head + all);
  ring.count++;
  return pbuf_alloced_custom(PBUF_RAW, (u16_t)size, PBUF_POOL, &e->pbuf, e + 1, (u16_t)size);
}
