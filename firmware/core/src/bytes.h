/* Little-endian numbers in byte buffers, byte by byte: no unaligned access. */
#ifndef WEIR_BYTES_H
#define WEIR_BYTES_H

#include <stdint.h>

static inline uint16_t weir_get16(const uint8_t *p) { return (uint16_t)(p[0] | (unsigned)p[1] << 8); }

static inline uint32_t weir_get32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t weir_get48(const uint8_t *p) { return weir_get32(p) | (uint64_t)weir_get16(p + 4) << 32; }

static inline uint64_t weir_get64(const uint8_t *p) { return weir_get32(p) | (uint64_t)weir_get32(p + 4) << 32; }

static inline void weir_put16(uint8_t *p, uint16_t v) {
  p[0] = (uint8_t)v;
  p[1] = (uint8_t)(v >> 8);
}

static inline void weir_put32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)v;
  p[1] = (uint8_t)(v >> 8);
  p[2] = (uint8_t)(v >> 16);
  p[3] = (uint8_t)(v >> 24);
}

static inline void weir_put48(uint8_t *p, uint64_t v) {
  weir_put32(p, (uint32_t)v);
  weir_put16(p + 4, (uint16_t)(v >> 32));
}

static inline void weir_put64(uint8_t *p, uint64_t v) {
  weir_put32(p, (uint32_t)v);
  weir_put32(p + 4, (uint32_t)(v >> 32));
}

#endif
