#include "frame.h"

#include <string.h>

#include "bytes.h"
#include "crc.h"
#include "octets.h"

enum { BASE = 6 };

static uint32_t block_crc(const uint8_t *sector) {
  /* The CRC's own four bytes lie between; what they part is small, so it comes last. */
  return weir_crc32(weir_crc32(0, sector + 8, WEIR_SECTOR - 8), sector, 4);
}

void weir_frame_begin(struct weir_frame *f, uint8_t *sector, uint64_t epoch, uint64_t first, uint64_t uptime, bool delta,
                      bool sealed) {
  memset(sector, 0, WEIR_FRAME_HEAD);
  sector[0] = 0x57;
  sector[1] = 0x62;
  sector[2] = delta ? WEIR_FLAG_DELTA : 0;
  weir_put64(sector + 20, epoch);
  weir_put48(sector + 28, first);
  weir_put48(sector + WEIR_FRAME_HEAD, uptime);
  f->sector = sector;
  f->next = first;
  f->uptime = uptime;
  f->used = BASE;
  f->limit = sealed ? WEIR_FRAME_ROOM - WEIR_FRAME_TAG : WEIR_FRAME_ROOM;
  f->count = 0;
  f->delta = delta;
  f->last_size = 0;
}

/* Writes the body, as it is or as its difference from the remembered one;
 * returns how many bytes that took, or 0 where there is no room. */
static unsigned put_body(struct weir_frame *f, uint8_t *to, unsigned room, uint8_t kind, const uint8_t *body, unsigned size) {
  if (!f->delta || size > WEIR_DELTA_MAX || size == 0 || f->last_size != size || f->last_kind != kind) {
    if (size > room) return 0;
    if (size) memcpy(to, body, size);
    return size;
  }
  unsigned mask = (size + 7) / 8, n = mask;
  if (mask > room) return 0;
  memset(to, 0, mask);
  for (unsigned i = 0; i < size; i++) {
    if (body[i] == f->last[i]) continue;
    if (n == room) return 0;
    to[i / 8] = (uint8_t)(to[i / 8] | 1u << i % 8);
    to[n++] = body[i];
  }
  return n;
}

int weir_frame_append(struct weir_frame *f, uint8_t kind, uint64_t sequence, uint64_t uptime, const uint8_t *body,
                      uint16_t size) {
  uint8_t spare[1 + 2 * WEIR_VARINT_MAX];
  bool sequenced = kind < WEIR_KIND_EPOCH;
  if (sequence != f->next || (sequenced && f->count == UINT8_MAX) || size > WEIR_RECORD_MAX) return WEIR_E_FULL;
  if (uptime < f->uptime) uptime = f->uptime;
  unsigned room = (unsigned)f->limit - f->used;
  uint8_t *to = f->sector + WEIR_FRAME_HEAD + f->used, *head = room >= sizeof spare ? to : spare;
  head[0] = kind;
  unsigned h = 1 + weir_put_varint(head + 1, uptime - f->uptime);
  h += weir_put_varint(head + h, size);
  if (h > room) return WEIR_E_FULL;
  unsigned n = put_body(f, to + h, room - h, kind, body, size);
  if (n == 0 && size != 0) return WEIR_E_FULL;
  if (head != to) memcpy(to, head, h);
  f->used = (uint16_t)(f->used + h + n);
  f->uptime = uptime;
  if (sequenced) {
    f->count++;
    f->next++;
  }
  if (f->delta && size <= WEIR_DELTA_MAX) {
    if (size) memcpy(f->last, body, size);
    f->last_kind = kind;
    f->last_size = (uint8_t)size;
  }
  return WEIR_OK;
}

void weir_frame_end(struct weir_frame *f) {
  f->sector[3] = f->count;
  weir_put16(f->sector + 34, f->used);
  memset(f->sector + WEIR_FRAME_HEAD + f->used, 0, (size_t)(WEIR_FRAME_ROOM - f->used));
}

void weir_frame_place(uint8_t *sector, uint32_t card_id, uint32_t serial, uint32_t index) {
  weir_put32(sector + 8, card_id);
  weir_put32(sector + 12, serial);
  weir_put32(sector + 16, index);
  weir_put32(sector + 4, block_crc(sector));
}

int weir_frame_open(const uint8_t *sector, struct weir_frame_head *head) {
  if (sector[0] != 0x57 || sector[1] != 0x62 || weir_get32(sector + 4) != block_crc(sector)) return WEIR_E_INVALID;
  head->flags = sector[2];
  head->count = sector[3];
  head->card_id = weir_get32(sector + 8);
  head->serial = weir_get32(sector + 12);
  head->index = weir_get32(sector + 16);
  head->epoch = weir_get64(sector + 20);
  head->first = weir_get48(sector + 28);
  head->size = weir_get16(sector + 34);
  head->sealed = weir_get32(sector + 36);
  if (head->size > WEIR_FRAME_ROOM - (head->flags & WEIR_FLAG_SEALED ? WEIR_FRAME_TAG : 0)) return WEIR_E_INVALID;
  return WEIR_OK;
}

int weir_frame_read(struct weir_frame_reader *r, const uint8_t *sector, const struct weir_frame_head *head) {
  if (head->flags & (WEIR_FLAG_HEADER | WEIR_FLAG_SEALED) || head->size < BASE) return WEIR_E_INVALID;
  r->sector = sector;
  r->sequence = head->first;
  r->uptime = weir_get48(sector + WEIR_FRAME_HEAD);
  r->at = WEIR_FRAME_HEAD + BASE;
  r->end = (uint16_t)(WEIR_FRAME_HEAD + head->size);
  r->delta = (head->flags & WEIR_FLAG_DELTA) != 0;
  r->last_size = 0;
  return WEIR_OK;
}

/* A uvarint of at most 64 bits; false where it does not end in the payload or is longer. */
static bool take_varint(struct weir_frame_reader *r, uint64_t *out) {
  uint64_t v = 0;
  for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
    uint8_t b = r->sector[r->at++];
    if (shift == 63 && b > 1) return false;
    v |= (uint64_t)(b & 0x7F) << shift;
    if (b < 0x80) {
      *out = v;
      return true;
    }
  }
  return false;
}

/* Undoes the difference in place of the remembered body. */
static bool take_delta(struct weir_frame_reader *r, unsigned size) {
  unsigned mask = (size + 7) / 8;
  if ((unsigned)(r->end - r->at) < mask) return false;
  const uint8_t *bits = r->sector + r->at;
  if (size % 8 && bits[mask - 1] >> size % 8) return false;
  r->at = (uint16_t)(r->at + mask);
  for (unsigned i = 0; i < size; i++) {
    if (!(bits[i / 8] >> i % 8 & 1)) continue;
    if (r->at == r->end) return false;
    r->last[i] = r->sector[r->at++];
  }
  return true;
}

int weir_frame_next(struct weir_frame_reader *r, struct weir_stored *out) {
  if (r->at == r->end) return WEIR_E_FULL;
  uint64_t step, size;
  uint8_t kind = r->sector[r->at++];
  if (!take_varint(r, &step) || !take_varint(r, &size) || size > WEIR_RECORD_MAX) return WEIR_E_INVALID;
  r->uptime += step;
  out->kind = kind;
  out->size = (uint16_t)size;
  out->sequence = r->sequence;
  out->uptime_ms = r->uptime;
  if (r->delta && size && r->last_size == size && r->last_kind == kind) {
    if (!take_delta(r, (unsigned)size)) return WEIR_E_INVALID;
    out->body = r->last;
  } else {
    if (size > (unsigned)(r->end - r->at)) return WEIR_E_INVALID;
    out->body = r->sector + r->at;
    r->at = (uint16_t)(r->at + size);
    if (r->delta && size <= WEIR_DELTA_MAX) {
      memcpy(r->last, out->body, out->size);
      r->last_kind = kind;
      r->last_size = (uint8_t)size;
    }
  }
  if (kind < WEIR_KIND_EPOCH) r->sequence++;
  return WEIR_OK;
}
