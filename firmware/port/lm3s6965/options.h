/* What the emulator's command line says: words of the form name=value. */
#ifndef LM3S6965_OPTIONS_H
#define LM3S6965_OPTIONS_H

#include "weir/weir.h"

enum { OPTION_TOPICS = 4 };

struct options {
  char line[192]; /* the values point into it */
  const char *topics[OPTION_TOPICS];
  uint8_t key[32];
  bool format; /* make the card anew first */
};

/*
 * Fills in a configuration: device=NAME, broker=HOST, user=NAME, password=TEXT, topic=FILTER (up to four), key=64 hexadecimal digits (of the Ed25519
 * key that signs schemas), period=SECONDS, window=SECONDS, ack=ring, order=newest, overflow=oldest|newest, format=yes. Returns the word that it does not know, or NULL.
 */
const char *options_read(struct options *o, struct weir_config *config);

#endif
