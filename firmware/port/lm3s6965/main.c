/* The recorder without an operating system: one loop that sleeps. */
#include "board.h"
#include "measure.h"
#include "recorder.h"

static void pause(void) {}

int main(void) {
  static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  console_start();
  clock_start();
  watchdog_start(WATCHDOG_MS);
  card_start();
  net_start(mac);
  recorder_begin(&card_block, &net_tcp, pause);
  measure_start();
  for (;;) {
    board_event = false;
    measure_enter(MEASURE_NETWORK);
    net_poll();
    measure_leave();
    const uint64_t wanted = recorder_poll();
    const uint64_t network = net_deadline_us();
    measure_enter(MEASURE_SLEEP);
    clock_sleep_until(wanted < network ? wanted : network);
    measure_leave();
  }
}
