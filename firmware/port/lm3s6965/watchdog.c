/*
 * The watchdog timer: it resets the processor when it was not fed for two
 * countdowns (the first raises an interrupt that nobody answers).
 */
#include "board.h"
#include "regs.h"

void watchdog_start(uint32_t timeout_ms) {
  SYSCTL_RCGC0 |= 1u << 3;
  WDT_LOCK = WDT_UNLOCK;
  WDT_LOAD = timeout_ms / 2 * (CPU_HZ / 1000);
  WDT_CTL = 3; /* interrupt at the first end, reset at the second */
  WDT_LOCK = 0;
}

void watchdog_feed(void *ctx) {
  (void)ctx;
  WDT_LOCK = WDT_UNLOCK;
  WDT_ICR = 1; /* clears the first end, and loads the countdown again */
  WDT_LOCK = 0;
}
