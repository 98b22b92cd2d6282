/*
 * Random bytes. This chip has no source of them: the emulator gives its host's.
 * A real board mixes in what is unpredictable there, as the low bits of an open
 * analogue input; without any, board_entropy reports that it has none, and the
 * recorder does not start an epoch.
 */
#include "board.h"

static int entropy(void *ctx, uint8_t *out, size_t n) {
  (void)ctx;
  return semihost_entropy(out, (uint32_t)n) == WEIR_OK ? WEIR_OK : WEIR_BUSY;
}

const struct weir_random board_entropy = {.ctx = NULL, .bytes = entropy};

/* For lwIP: ports and transaction ids. A xorshift of 32 bits (Marsaglia, 2003). */
uint32_t board_random(void) {
  static uint32_t state;
  while (state == 0) {
    uint8_t seed[4];
    if (entropy(NULL, seed, sizeof seed) != WEIR_OK) {
      state = (uint32_t)clock_uptime_us(NULL) | 1u;
      break;
    }
    state = (uint32_t)seed[0] | ((uint32_t)seed[1] << 8) | ((uint32_t)seed[2] << 16) | ((uint32_t)seed[3] << 24);
  }
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}
