/* ring.c: see weir/ring.h. */
#include "weir/ring.h"

#include <string.h>

#include "octets.h"

enum { READING = 0x01, HEAD_MAX = 3 + 1 + WEIR_VARINT_MAX };

void weir_ring_init(struct weir_ring *r, uint8_t *bytes, uint32_t size) {
  memset(r, 0, sizeof *r);
  r->bytes = bytes;
  r->size = size;
  r->first = 1;
}

/* Where an entry of n bytes may begin, or size: nowhere. */
static uint32_t place_for(const struct weir_ring *r, uint32_t n) {
  if (r->count == 0) return n <= r->size ? 0 : r->size;
  if (r->head <= r->tail) return r->tail - r->head >= n ? r->head : r->size;
  if (r->size - r->head >= n) return r->head;
  return r->tail >= n ? 0 : r->size;
}

static uint32_t varint_size(uint64_t v) {
  uint32_t n = 1;
  if (v < 0x80) return 1; /* nearly always */
  for (; v >= 0x80; v >>= 7) n++;
  return n;
}

bool weir_ring_fits(const struct weir_ring *r, uint32_t size) { return place_for(r, HEAD_MAX + size) != r->size; }

uint64_t weir_ring_push(struct weir_ring *r, uint8_t kind, uint64_t uptime_ms, const uint8_t *body, uint32_t size) {
  if (uptime_ms < r->uptime_head) uptime_ms = r->uptime_head;
  if (r->count == 0) r->uptime_tail = r->uptime_head;
  uint64_t delta = uptime_ms - r->uptime_head;
  uint32_t head = size << 1 | (kind != READING ? 1u : 0u);
  uint32_t n = varint_size(head) + (kind != READING ? 1u : 0u) + varint_size(delta) + size;
  uint32_t at = place_for(r, n);
  if (size == 0 || at == r->size) return 0;
  if (r->count == 0) {
    r->head = r->tail = 0;
    r->used = 0;
  } else if (at != r->head) { /* at is 0: the rest is left out */
    r->used += r->size - r->head;
    if (r->head < r->size) r->bytes[r->head] = 0;
  }
  uint8_t *p = r->bytes + at;
  p += weir_put_varint(p, head);
  if (kind != READING) *p++ = kind;
  p += weir_put_varint(p, delta);
  memcpy(p, body, size);
  r->head = at + n;
  r->used += n;
  r->uptime_head = uptime_ms;
  return r->first + r->count++;
}

/* Where the entry stands that follows in the ring's order at `at`. */
static uint32_t settle(const struct weir_ring *r, uint32_t at) {
  return at == r->size || r->bytes[at] == 0 ? 0 : at;
}

static void decode(const struct weir_ring *r, uint32_t at, struct weir_ring_entry *e) {
  const uint8_t *p = r->bytes + at;
  uint64_t v = 0;
  e->kind = READING;
  if (r->size - at > 2 && ((p[0] | p[1]) & 0x80) == 0 && (p[0] & 1) == 0) { /* nearly always: a short reading, soon after the one before */
    e->size = p[0] >> 1;
    e->uptime_ms = p[1];
    e->body = p + 2;
    return;
  }
  p += weir_get_varint(p, r->size - at, &v);
  e->size = (uint32_t)(v >> 1);
  if ((v & 1) != 0) e->kind = *p++;
  p += weir_get_varint(p, (size_t)(r->bytes + r->size - p), &v);
  e->uptime_ms = v; /* the difference; the caller adds */
  e->body = p;
}

bool weir_ring_at(const struct weir_ring *r, const struct weir_ring_place *p, struct weir_ring_entry *e) {
  if (p->sequence < r->first || p->sequence >= weir_ring_next(r)) return false;
  /* A ring that was empty in between has begun at its start again. */
  bool oldest = p->sequence == r->first;
  decode(r, settle(r, oldest ? r->tail : p->at), e);
  e->uptime_ms += oldest ? r->uptime_tail : p->uptime_ms;
  e->sequence = p->sequence;
  return true;
}

void weir_ring_step(const struct weir_ring *r, struct weir_ring_place *p, const struct weir_ring_entry *e) {
  p->at = (uint32_t)(e->body - r->bytes) + e->size;
  p->sequence++;
  p->uptime_ms = e->uptime_ms;
}

static void to_tail(const struct weir_ring *r, struct weir_ring_place *p) {
  p->at = r->tail;
  p->sequence = r->first;
  p->uptime_ms = r->uptime_tail;
}

void weir_ring_catch_up(const struct weir_ring *r, struct weir_ring_place *p) {
  if (p->sequence < r->first) to_tail(r, p);
}

void weir_ring_seek(const struct weir_ring *r, struct weir_ring_place *p, uint64_t sequence) {
  struct weir_ring_entry e;
  if (p->sequence < r->first || p->sequence > sequence) to_tail(r, p);
  while (p->sequence < sequence && weir_ring_at(r, p, &e)) weir_ring_step(r, p, &e); /* at most count entries */
}

void weir_ring_pop(struct weir_ring *r) {
  struct weir_ring_entry e;
  if (r->count == 0) return;
  uint32_t at = settle(r, r->tail);
  decode(r, at, &e);
  uint32_t end = (uint32_t)(e.body - r->bytes) + e.size;
  r->used -= end - at + (at != r->tail ? r->size - r->tail : 0u);
  r->uptime_tail += e.uptime_ms;
  r->first++;
  r->tail = end;
  if (--r->count == 0) {
    r->head = r->tail = 0;
    r->used = 0;
  }
}
