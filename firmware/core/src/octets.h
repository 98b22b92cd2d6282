/* octets.h: the integers of MQTT (big endian) and of our own messages (LEB128), beside bytes.h. */
#ifndef WEIR_OCTETS_H
#define WEIR_OCTETS_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

enum { WEIR_VARINT_MAX = 10 };

static inline uint32_t weir_get16be(const uint8_t *p) { return ((uint32_t)p[0] << 8) | p[1]; }

/* Writes v as LEB128 and returns how many bytes it took (at most WEIR_VARINT_MAX). */
static inline uint32_t weir_put_varint(uint8_t *p, uint64_t v) {
  uint32_t n = 0;
  if (v < 0x80) { /* nearly always; 64-bit shifts are dear on small processors */
    p[0] = (uint8_t)v;
    return 1;
  }
  while (v >= 0x80) {
    p[n++] = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  p[n++] = (uint8_t)v;
  return n;
}

/* Reads LEB128 in its shortest form. Returns the bytes it took, 0 when they are
 * cut off, too many, or not the shortest form. */
static inline uint32_t weir_get_varint(const uint8_t *p, size_t size, uint64_t *v) {
  uint64_t out = 0;
  if (size > 0 && p[0] < 0x80) { /* nearly always */
    *v = p[0];
    return 1;
  }
  for (uint32_t n = 0; n < size && n < WEIR_VARINT_MAX; n++) {
    uint8_t b = p[n];
    if (n == 9 && b > 1) return 0;
    out |= (uint64_t)(b & 0x7f) << (7 * n);
    if (b < 0x80) {
      if (b == 0 && n > 0) return 0;
      *v = out;
      return n + 1;
    }
  }
  return 0;
}

#endif
