/*
 * Uptime where FreeRTOS owns SysTick: its ticks, and what SysTick has counted
 * since the last one.
 */
#include "FreeRTOS.h"
#include "board.h"
#include "regs.h"
#include "task.h"

enum { TICK_US = 1000, TICKS_PER_US = CPU_HZ / 1000000 };

volatile bool board_event;
uint32_t clock_wakeups;

uint64_t clock_uptime_us(void *ctx) {
  (void)ctx;
  static uint64_t latest;
  static uint32_t last, wraps; /* the 32 bits of ticks wrap every 49 days */
  taskENTER_CRITICAL();
  uint32_t ticks = xTaskGetTickCount();
  uint32_t down = SYST_CVR;
  if (SCB_ICSR & (1u << 26)) { /* a tick is pending */
    down = SYST_CVR;
    ticks++;
  }
  if (ticks < last) {
    wraps++;
  }
  last = ticks;
  const uint64_t high = (uint64_t)wraps << 32;
  const uint64_t now = (high + ticks) * TICK_US + (CPU_HZ / 1000u - 1u - down) / TICKS_PER_US;
  if (now > latest) {
    latest = now; /* else the count has started again and its tick is not even pending yet */
  }
  const uint64_t shown = latest;
  taskEXIT_CRITICAL();
  return shown;
}

void vApplicationIdleHook(void);
void vApplicationIdleHook(void) {
  wait_for_interrupt();
  clock_wakeups++;
}

void vApplicationStackOverflowHook(TaskHandle_t task, char *name);
void vApplicationStackOverflowHook(TaskHandle_t task, char *name) {
  (void)task;
  (void)name;
  board_reset();
}
