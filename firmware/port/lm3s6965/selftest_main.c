/*
 * The board's self-test image: the drivers of this port against a card and a
 * broker, the verdict on the serial line, and as the emulator's exit code.
 */
#include "../../selftest/selftest.h"
#include "arch/cc.h"
#include "board.h"

static void report(const char *test, const char *failure) {
  console_text("selftest: ");
  console_text(test);
  console_text(failure ? " FAILED: " : " ok");
  console_text(failure ? failure : "");
  console_line();
}

/* The checksum routine against the definition (RFC 1071), from every alignment and of every short length. */
static const char *checksum(void) {
  static uint8_t bytes[108];
  for (uint32_t i = 0; i < sizeof bytes; i++) {
    bytes[i] = (uint8_t)(i % 3u ? 255u - i : i * 89u);
  }
  for (uint32_t at = 0; at < 4; at++) {
    for (uint32_t n = 0; n + at <= sizeof bytes; n++) {
      uint32_t sum = 0;
      for (uint32_t i = 0; i < n; i++) {
        sum += (uint32_t)bytes[at + i] << (i % 2u ? 8 : 0);
      }
      while (sum >> 16) {
        sum = (sum & 0xFFFFu) + (sum >> 16);
      }
      if (board_chksum(bytes + at, (int)n) != sum) {
        return "not the sum that it is";
      }
    }
  }
  return NULL;
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
  const char *wrong = checksum();
  report("checksum", wrong);
  card_start();
  net_start(mac);
  const int failed = weir_selftest_run(&test, sectors) + (wrong ? 1 : 0);
  console_text(failed ? "selftest: FAILED\n" : "selftest: passed\n");
  semihost_exit(failed);
}
