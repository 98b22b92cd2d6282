/*
 * A self-test for a new port or a new board: it runs the port's functions
 * against what weir/port.h promises of them and says what does not hold.
 */
#ifndef WEIR_SELFTEST_H
#define WEIR_SELFTEST_H

#include "weir/port.h"

#ifdef __cplusplus
extern "C" {
#endif

struct weir_selftest {
  const struct weir_clock *clock;
  const struct weir_block *block;   /* optional */
  const struct weir_card_power *power; /* optional: the card's supply, switched on before the card is tested */
  const struct weir_net *net;       /* optional */
  const struct weir_random *random; /* optional */
  const char *host;                 /* of a broker, for net */
  uint16_t port;

  /* Prints a line about one test: its name, and NULL where it passed, else what did not hold. */
  void (*report)(const char *test, const char *failure);
  /* Lets drivers, interrupts and the watchdog have their turn between two polls. */
  void (*idle)(void);
};

/*
 * Runs every test whose part is given. sector is aligned to WEIR_BLOCK_ALIGN
 * and of 2 * WEIR_SECTOR bytes. It writes one sector of the card, in the unused
 * gap before the first partition, and puts back what was there; a card without
 * such a gap is only read.
 *
 * Returns how many tests failed.
 */
int weir_selftest_run(const struct weir_selftest *t, uint8_t *sector);

#ifdef __cplusplus
}
#endif

#endif
