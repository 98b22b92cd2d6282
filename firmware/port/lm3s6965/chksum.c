/*
 * The Internet checksum (RFC 1071) with the carry that the processor keeps:
 * lwIP's own, in C, takes five instructions for four bytes, this one takes
 * thirteen for thirty-two. lwIP is told of it in arch/cc.h.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "arch/cc.h"

/* Adds 32 bytes. */
static inline const uint32_t *add_eight(uint32_t *sum, const uint32_t *p) {
  uint32_t s = *sum;
  __asm("ldmia %[p]!, {r3, r4, r5, r6}\n\t"
        "adds %[s], r3\n\t"
        "adcs %[s], r4\n\t"
        "adcs %[s], r5\n\t"
        "adcs %[s], r6\n\t"
        "ldmia %[p]!, {r3, r4, r5, r6}\n\t"
        "adcs %[s], r3\n\t"
        "adcs %[s], r4\n\t"
        "adcs %[s], r5\n\t"
        "adcs %[s], r6\n\t"
        "adc %[s], #0"
        : [s] "+r"(s), [p] "+r"(p)
        : "m"(*(const uint32_t(*)[8])p)
        : "r3", "r4", "r5", "r6", "cc");
  *sum = s;
  return p;
}

static inline uint32_t add(uint32_t sum, uint32_t word) {
  sum += word;
  return sum + (sum < word);
}

uint16_t board_chksum(const void *data, int size) {
  const uint8_t *b = data;
  uint32_t sum = 0, n = (uint32_t)size;
  const bool odd = (uintptr_t)b & 1u;
  if (odd && n > 0) {
    sum = (uint32_t)*b++ << 8; /* of a half word that begins before: all is turned round at the end */
    n--;
  }
  if (((uintptr_t)b & 2u) && n >= 2) {
    uint16_t half;
    memcpy(&half, b, 2);
    sum += half;
    b += 2;
    n -= 2;
  }
  const uint32_t *p = (const uint32_t *)(const void *)b; /* aligned, where one word or more is left */
  for (; n >= 32; n -= 32) {
    p = add_eight(&sum, p);
  }
  for (; n >= 4; n -= 4) {
    sum = add(sum, *p++);
  }
  b = (const uint8_t *)p;
  if (n & 2u) {
    sum = add(sum, (uint32_t)b[0] | (uint32_t)b[1] << 8);
    b += 2;
  }
  if (n & 1u) {
    sum = add(sum, *b);
  }
  sum = (sum & 0xFFFFu) + (sum >> 16);
  sum = (sum & 0xFFFFu) + (sum >> 16);
  return (uint16_t)(odd ? __builtin_bswap16((uint16_t)sum) : sum);
}
