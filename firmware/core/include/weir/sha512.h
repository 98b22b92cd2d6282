/*
 * weir/sha512.h: SHA-512 (FIPS 180-4).
 */
#ifndef WEIR_SHA512_H
#define WEIR_SHA512_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_sha512 {
  uint64_t state[8];
  uint8_t block[128];
  uint32_t size; /* bytes so far */
};

void weir_sha512_begin(struct weir_sha512 *h);
void weir_sha512_add(struct weir_sha512 *h, const uint8_t *bytes, uint32_t n);
void weir_sha512_end(struct weir_sha512 *h, uint8_t digest[64]);

#ifdef __cplusplus
}
#endif

#endif
