/*
 * weir/ed25519.h: checks Ed25519 signatures (RFC 8032), in steps that return.
 *
 *   weir_ed25519_begin(&v, key, signature);
 *   weir_ed25519_add(&v, part, n);                  once for each part of the message
 *   while ((status = weir_ed25519_step(&v)) == WEIR_BUSY) { … }   one step in each round of the main loop
 *
 * A check is 4.1 million instructions on a Cortex-M3 (-O2; 4.3 with -Os), a step at most 0.31 million.
 * It works on public values only and takes no care to take equal time.
 */
#ifndef WEIR_ED25519_H
#define WEIR_ED25519_H

#include "weir/port.h"
#include "weir/sha512.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A number below 2^256, of which only its rest modulo 2^255 - 19 counts. */
struct weir_fe {
  uint32_t v[8];
};

struct weir_point {
  struct weir_fe x, y, z, t; /* x = X/Z, y = Y/Z, x*y = T/Z */
};

/* The caller's memory; the fields are not an interface. */
struct weir_ed25519 {
  const uint8_t *key;
  const uint8_t *signature;
  uint32_t s[8], h[8];
  union {
    struct weir_sha512 hash;
    struct {
      struct weir_point sum, minus_key, base_minus_key;
    } curve;
  } u;
  uint16_t bits; /* of the scalars that are still to come */
  uint8_t phase;
};

/* key (32 bytes) and signature (64 bytes) must stay where they are until the last step. */
void weir_ed25519_begin(struct weir_ed25519 *v, const uint8_t *key, const uint8_t *signature);

void weir_ed25519_add(struct weir_ed25519 *v, const uint8_t *message, uint32_t n);

/* Goes on after the last part.
 * WEIR_BUSY       call again
 * WEIR_OK         the signature is that of the message
 * WEIR_E_INVALID  it is not */
int weir_ed25519_step(struct weir_ed25519 *v);

#ifdef __cplusplus
}
#endif

#endif
