/*
 * Reset, vectors, faults, and the guard below the stack.
 */
#include "board.h"
#include "regs.h"

extern uint32_t stack_top[], stack_bottom[], guard_start[];
extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[];

int main(void);

void reset_handler(void);
void fault_handler(void);
void default_handler(void);
void systick_handler(void);
void svc_handler(void);
void pendsv_handler(void);
void ethernet_handler(void);
void timer_handler(void);
void uart_handler(void);

#define RETAINED __attribute__((section(".noinit")))

struct weir_retained board_retained RETAINED;

/* How the last run ended. A run that ends itself says so; one that is cut short
 * by the watchdog cannot. */
static struct {
  uint32_t magic, cause;
} ended RETAINED;

enum { ENDED_MAGIC = 0x57524E44, STACK_FILL = 0x5AFE57AC };

static enum weir_reset reset_cause;

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16 + 43] = {
    [0] = (handler)stack_top,
    [1] = reset_handler,
    [2] = default_handler,
    [3] = fault_handler, /* hard */
    [4] = fault_handler, /* memory management: the guard */
    [5] = fault_handler, /* bus */
    [6] = fault_handler, /* usage */
    [11] = svc_handler,
    [12] = default_handler,
    [14] = pendsv_handler,
    [15] = systick_handler,
    [16 + IRQ_UART0] = uart_handler,
    [16 + IRQ_WDT] = default_handler,
    [16 + IRQ_TIMER0A] = timer_handler,
    [16 + IRQ_ETH] = ethernet_handler,
};

static void end_with(enum weir_reset cause) {
  ended.magic = ENDED_MAGIC;
  ended.cause = (uint32_t)cause;
}

void board_reset(void) {
  end_with(WEIR_RESET_SOFTWARE);
  __asm volatile("dsb" ::: "memory");
  SCB_AIRCR = 0x05FA0004u; /* SYSRESETREQ */
  for (;;) {
  }
}

/*
 * A fault may come with a stack that has no room left, so the handler is naked:
 * it takes a stack of its own before it calls anything.
 */
__attribute__((used)) static void fault_end(void) {
  end_with(WEIR_RESET_FAULT);
  __asm volatile("dsb" ::: "memory");
  SCB_AIRCR = 0x05FA0004u;
  for (;;) {
  }
}

__attribute__((naked)) void fault_handler(void) {
  __asm volatile(
      "ldr r0, =stack_top\n\t"
      "msr msp, r0\n\t"
      "b fault_end\n");
}

void default_handler(void) { fault_end(); }

/* An operating system brings its own, and needs no timer to sleep. */
__attribute__((weak, alias("default_handler"))) void timer_handler(void);
__attribute__((weak, alias("default_handler"))) void svc_handler(void);
__attribute__((weak, alias("default_handler"))) void pendsv_handler(void);

/*
 * The memory protection unit forbids the guard and leaves the rest as it is
 * (PRIVDEFENA). A frame larger than the guard writes at its lower end first when
 * it calls on, as every deep path of this program does.
 */
static void guard_stack(void) {
  MPU_RNR = 0;
  MPU_RBAR = (uint32_t)(uintptr_t)guard_start;
  MPU_RASR = (5u << 1) | 1u; /* 2^(5+1) bytes, no access, enabled */
  MPU_CTRL = 5u;             /* enabled; privileged default map elsewhere */
  SCB_SHCSR |= 1u << 16;     /* a fault of its own, not a hard one */
  __asm volatile("dsb\n\tisb" ::: "memory");
}

void reset_handler(void) {
  for (uint32_t *p = stack_bottom; p < (uint32_t *)__builtin_frame_address(0) - 16; p++) {
    *p = (uint32_t)STACK_FILL;
  }
  const uint32_t *from = data_load;
  for (uint32_t *p = data_start; p < data_end; p++) {
    *p = *from++;
  }
  for (uint32_t *p = bss_start; p < bss_end; p++) {
    *p = 0;
  }
  guard_stack();
  SYSCTL_RCC = (SYSCTL_RCC & ~((0xFu << 23) | (1u << 11))) | (3u << 23) | (1u << 22); /* 200 MHz / (3+1) */
  if (ended.magic != ENDED_MAGIC) {
    reset_cause = WEIR_RESET_POWER;
  } else {
    reset_cause = (enum weir_reset)ended.cause;
  }
  SYSCTL_RESC = 0;
  end_with(WEIR_RESET_WATCHDOG); /* what it was unless this run says otherwise */
  (void)main();
  board_reset();
}

enum weir_reset board_reset_cause(void) { return reset_cause; }

uint32_t board_stack_size(void) { return (uint32_t)((uintptr_t)stack_top - (uintptr_t)stack_bottom); }

uint32_t board_stack_used(void) {
  const uint32_t *p = stack_bottom;
  while (p < stack_top && *p == (uint32_t)STACK_FILL) {
    p++;
  }
  return (uint32_t)((uintptr_t)stack_top - (uintptr_t)p);
}
