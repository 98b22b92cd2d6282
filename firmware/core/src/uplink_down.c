/* uplink_down.c: what the gateway says: cursors, asks, the time. */
#include <string.h>

#include "crc.h"
#include "octets.h"
#include "uplink.h"

struct reader {
  const uint8_t *at;
  uint32_t left;
  bool bad;
};

static const uint8_t *bytes(struct reader *r, uint32_t n) {
  static const uint8_t zeros[8] = {0};
  const uint8_t *p = r->at;
  if (r->left < n) {
    r->bad = true;
    r->left = 0;
    return zeros;
  }
  r->at += n;
  r->left -= n;
  return p;
}

static uint8_t u8(struct reader *r) { return bytes(r, 1)[0]; }
static uint64_t u64(struct reader *r) { return weir_get64(bytes(r, 8)); }

static uint64_t varint(struct reader *r) {
  uint64_t v = 0;
  uint32_t n = weir_get_varint(r->at, r->left, &v);
  if (n == 0) r->bad = true;
  bytes(r, n);
  return v;
}

/* first and count, as [first, end). */
static void range(struct reader *r, uint64_t *first, uint64_t *end) {
  *first = varint(r);
  uint64_t n = varint(r);
  if (*first == 0 || n == 0 || *first + n < *first) r->bad = true;
  *end = *first + n;
}

struct span {
  uint64_t first, end;
};

enum { RANGES = 8 };

static bool covered(const struct weir_sent *s, uint64_t cursor, const struct span *have, uint32_t n) {
  if (s->last <= cursor) return true;
  for (uint32_t i = 0; i < n; i++)
    if (s->first >= have[i].first && s->last < have[i].end) return true;
  return false;
}

static bool take_cursor(struct weir *w, struct reader *r) {
  struct weir_uplink *u = &w->uplink;
  struct span have[RANGES];
  uint64_t epoch = u64(r), cursor = varint(r), n = varint(r);
  if (n > RANGES) return false;
  for (uint32_t i = 0; i < n && !r->bad; i++) range(r, &have[i].first, &have[i].end);
  if (r->bad || r->left != 0) return false;
  uint8_t kept = 0;
  for (uint8_t i = 0; i < u->window_count; i++) {
    struct weir_sent s = u->window[i];
    if (s.epoch != epoch || !covered(&s, cursor, have, (uint32_t)n)) u->window[kept++] = s;
  }
  u->window_count = kept;
  u->hello_at = w->now + 15u * (uint64_t)SECOND;
  u->quiet = 0;
  if (epoch != w->epoch) return true;
  if (!u->greeted) {
    u->greeted = true;
    u->wants_time = !w->time.known || w->time.source == 1;
  }
  /* A gateway cannot have what was never made: another store of an equal name. */
  if (cursor > u->cursor && cursor < weir_ring_next(&w->ring)) u->cursor = cursor;
  if (u->live <= u->cursor) u->live = u->cursor + 1;
  return true;
}

static bool take_ask(struct weir *w, struct reader *r) {
  struct weir_uplink *u = &w->uplink;
  struct weir_ask asks[WEIR_ASKS];
  uint8_t order = u8(r);
  uint64_t n = varint(r);
  if (order > WEIR_NEWEST_FIRST || n > WEIR_ASKS) return false;
  for (uint32_t i = 0; i < n && !r->bad; i++) {
    asks[i].epoch = u64(r);
    asks[i].first = varint(r);
    uint64_t count = varint(r);
    asks[i].end = count == 0 ? 0 : asks[i].first + count;
    if (count != 0 && (asks[i].epoch == 0 || asks[i].first == 0 || asks[i].end < count)) r->bad = true;
    if (asks[i].epoch != 0 && asks[i].first == 0) asks[i].first = 1;
    /* What was never made cannot be lost. */
    if (count != 0 && asks[i].epoch == w->epoch && asks[i].end > weir_ring_next(&w->ring)) asks[i].end = weir_ring_next(&w->ring);
  }
  if (r->bad || r->left != 0) return false;
  memcpy(u->asks, asks, (size_t)n * sizeof asks[0]);
  u->ask_count = (uint8_t)n;
  u->order = order;
  if (u->from_ask) u->building = false;
  u->wants_served = n == 0;
  return true;
}

enum { SOURCES = 4 };
#define LAST_US INT64_C(253402300799999999) /* of the year 9999 */

static bool take_time(struct weir *w, struct reader *r) {
  uint64_t epoch = u64(r), asked = varint(r);
  int64_t unix_us = (int64_t)u64(r);
  uint64_t error = varint(r);
  uint8_t source = u8(r);
  if (r->bad || r->left != 0 || unix_us < 0 || unix_us > LAST_US || source == 0 || source > SOURCES) return false;
  if (epoch != w->epoch || !w->time.asked || asked != w->time.asked_at) return true; /* an answer to another question */
  w->time.asked = false;
  uint64_t half = (w->now - asked) / 2;
  error = error > UINT32_MAX ? UINT32_MAX : error + half;
  weir_time_learn(w, asked + half, unix_us, error > UINT32_MAX ? UINT32_MAX : (uint32_t)error, source);
  return true;
}

void weir_uplink_down(struct weir *w) {
  struct weir_uplink *u = &w->uplink;
  uint32_t n = u->down_size;
  bool fine = n >= 2 + UPLINK_CRC && n <= sizeof u->down;
  fine = fine && weir_crc32(0, u->down, n - UPLINK_CRC) == weir_get32(u->down + n - UPLINK_CRC) && u->down[1] == UPLINK_FORM;
  if (fine) {
    struct reader r = {u->down + 2, n - 2 - UPLINK_CRC, false};
    switch (u->down[0]) {
      case DOWN_CURSOR:
        fine = take_cursor(w, &r);
        break;
      case DOWN_ASK:
        fine = take_ask(w, &r);
        break;
      case DOWN_TIME:
        fine = take_time(w, &r);
        break;
      default:
        fine = false;
    }
  }
  if (!fine) w->stats.down_refused++;
}
