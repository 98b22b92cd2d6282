/* options.h: the command line of weir-device. */
#ifndef WEIR_POSIX_OPTIONS_H
#define WEIR_POSIX_OPTIONS_H

#include "posix.h"

enum { OPTION_LIST = 8 };
#define NO_BASE UINT64_MAX

struct options {
  struct weir_config config;
  const char *topics[OPTION_LIST];
  const char *plans[OPTION_LIST];
  unsigned plan_count;
  const char *card, *slots, *state, *log;
  uint8_t schema_key[32], card_key[32];
  bool sealed; /* with card_key */
  char *tls_identity; /* with tls_psk; NULL: none */
  uint8_t tls_psk[32], tls_pin[32];
  size_t tls_psk_size;
  bool tls_pinned;
  uint32_t ring;
  uint32_t watchdog_ms;
  uint32_t flush_ms;
  bool no_sync, format, hang_card;
  struct posix_pull pulls[POSIX_PULLS];
  unsigned pull_count;

  /* a sensor of its own */
  uint32_t sense_ms; /* 0: none */
  const char *sense_topic;
  uint64_t base_ms; /* added to the uptime: the time in its payloads; NO_BASE: the system's clock says */
  uint64_t readings; /* 0: no end */

  /* tests */
  uint64_t virtual_s; /* 0: real time */
  uint8_t wall_source; /* 0: no clock of its own */
  uint32_t wall_error_ms, wall_after_s;
  uint64_t link_seed;
  uint32_t link_period_s;
};

/* Reads the command line; ends the program with 2 and a sentence where it is wrong. */
void options_read(struct options *o, int argc, char **argv);

#endif
