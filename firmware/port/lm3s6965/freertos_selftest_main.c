/* The self-test on FreeRTOS: the same tests, through the port's tasks. */
#include "../../selftest/selftest.h"
#include "FreeRTOS.h"
#include "board.h"
#include "freertos_board.h"
#include "task.h"

static void report(const char *test, const char *failure) {
  console_text("selftest: ");
  console_text(test);
  console_text(failure ? " FAILED: " : " ok");
  console_text(failure ? failure : "");
  console_line();
}

static void idle(void) {
  watchdog_feed(NULL);
  (void)ulTaskNotifyTake(pdTRUE, 1);
}

static void core(const struct rtos_ports *ports) {
  static uint8_t sectors[2 * WEIR_SECTOR] __attribute__((aligned(WEIR_BLOCK_ALIGN)));
  static const struct weir_clock clock = {.uptime_us = clock_uptime_us};
  const struct weir_selftest test = {.clock = &clock, .block = ports->block, .net = ports->net, .random = &board_entropy, .host = BOARD_BROKER, .port = 1883, .report = report, .idle = idle};
  const int failed = weir_selftest_run(&test, sectors);
  console_text("selftest: FreeRTOS,");
  console_field("least_stack_left", freertos_stack_left());
  console_line();
  console_text(failed ? "selftest: FAILED\n" : "selftest: passed\n");
  semihost_exit(failed);
}

int main(void) {
  console_start();
  watchdog_start(8000);
  freertos_run(core);
}
