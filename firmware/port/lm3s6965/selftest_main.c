/*
 * The board's self-test image: the drivers of this port against a card and a
 * broker, the verdict on the serial line, and as the emulator's exit code.
 */
#include "../../selftest/selftest.h"
#include "board.h"

static void report(const char *test, const char *failure) {
  console_text("selftest: ");
  console_text(test);
  console_text(failure ? " FAILED: " : " ok");
  console_text(failure ? failure : "");
  console_line();
}

static void idle(void) {
  watchdog_feed(NULL);
  board_event = false;
  net_poll();
}

int main(void) {
  static uint8_t sectors[2 * WEIR_SECTOR] __attribute__((aligned(WEIR_BLOCK_ALIGN)));
  static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  static const struct weir_clock clock = {.uptime_us = clock_uptime_us};
  const struct weir_selftest test = {.clock = &clock,
                                     .block = &card_block,
                                     .net = &net_tcp,
                                     .random = &board_entropy,
                                     .host = BOARD_BROKER,
                                     .port = 1883,
                                     .report = report,
                                     .idle = idle};
  console_start();
  clock_start();
  console_text("selftest: start,");
  console_field("cause", (uint32_t)board_reset_cause());
  console_line();
  watchdog_start(8000);
  card_start();
  net_start(mac);
  const int failed = weir_selftest_run(&test, sectors);
  console_text(failed ? "selftest: FAILED\n" : "selftest: passed\n");
  semihost_exit(failed);
}
