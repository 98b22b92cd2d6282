/* The recorder on FreeRTOS: the core task; network and storage have their own. */
#include "board.h"
#include "freertos_board.h"
#include "recorder.h"
#include "weir_freertos.h"

static void pause(void) { vTaskDelay(1); }

static void core(const struct rtos_ports *ports) {
  recorder_begin(ports->block, ports->net, pause);
  for (;;) {
    const uint64_t wanted = recorder_poll();
    weir_rtos_wait(clock_uptime_us(NULL), wanted);
  }
}

int main(void) {
  console_start();
  watchdog_start(WATCHDOG_MS);
  freertos_run(core);
}
