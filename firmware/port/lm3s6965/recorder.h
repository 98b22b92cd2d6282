/* The recorder of this board, with or without an operating system. */
#ifndef LM3S6965_RECORDER_H
#define LM3S6965_RECORDER_H

#include "weir/weir.h"

enum { WATCHDOG_MS = 8000 };

/* Makes the recorder from the emulator's command line; ends the program with a message where that is wrong.
 * pause is called while a card is being formatted. */
void recorder_begin(const struct weir_block *block, const struct weir_net *net, void (*pause)(void));

/* Obeys the serial line and goes on; returns when to be called again at the latest. */
uint64_t recorder_poll(void);

#endif
