/*
 * Uptime from SysTick, sleep by a one-shot timer.
 *
 * SysTick counts all of its 24 bits, so an idle processor is woken for it three
 * times a second only; the one-shot wakes it for the next deadline.
 */
#include "board.h"
#include "regs.h"

enum { SYSTICK_PERIOD = 1 << 24, TICKS_PER_US = CPU_HZ / 1000000, LONGEST_SLEEP_US = 60000000 };

static volatile uint32_t wraps;
static uint64_t latest; /* so that the uptime never goes back */
uint32_t clock_wakeups;
volatile bool board_event;

void systick_handler(void);
void timer_handler(void);

void systick_handler(void) { wraps++; }

void timer_handler(void) { TIMER0_ICR = 1; }

void board_wake_from_isr(void) {}

void clock_start(void) {
  SYST_RVR = SYSTICK_PERIOD - 1;
  SYST_CVR = 0;
  SYST_CSR = 7; /* processor clock, interrupt, on */
  SYSCTL_RCGC1 |= 1u << 16;
  TIMER0_CTL = 0;
  TIMER0_CFG = 0;  /* 32 bits */
  TIMER0_TAMR = 1; /* one-shot */
  TIMER0_IMR = 1;
  irq_enable(IRQ_TIMER0A);
}

static uint64_t ticks(void) {
  irqs_off();
  uint32_t high = wraps;
  uint32_t low = SYSTICK_PERIOD - 1 - (SYST_CVR & (SYSTICK_PERIOD - 1));
  if (SCB_ICSR & (1u << 26)) {
    /* It wrapped, and its handler has not run yet. */
    high++;
    low = SYSTICK_PERIOD - 1 - (SYST_CVR & (SYSTICK_PERIOD - 1));
  }
  uint64_t now = ((uint64_t)high << 24) | low;
  if (now < latest) {
    /* The count has started again and its interrupt is not even pending yet, as
     * the emulator may show it; a small step back would be a reading at its very end. */
    now = latest - now > SYSTICK_PERIOD / 2 ? now + SYSTICK_PERIOD : latest;
  }
  latest = now;
  irqs_on();
  return now;
}

uint64_t clock_uptime_us(void *ctx) {
  (void)ctx;
  /* A 64-bit division takes hundreds of instructions here: this is t / 50 in
   * two steps that fit 32 bits as long as the uptime is under 2^32 seconds. */
  uint64_t t = ticks();
  uint32_t high = (uint32_t)(t >> 24), low = (uint32_t)t & (SYSTICK_PERIOD - 1);
  /* 2^24 ticks are 335544 us and 16 ticks. */
  uint64_t us = (uint64_t)high * (SYSTICK_PERIOD / TICKS_PER_US);
  uint64_t rest = (uint64_t)high * (SYSTICK_PERIOD % TICKS_PER_US);
  if (rest >> 32) {
    us += rest / TICKS_PER_US; /* after two and a half years */
  } else {
    us += (uint32_t)rest / TICKS_PER_US;
  }
  return us + low / TICKS_PER_US;
}

void clock_sleep_until(uint64_t deadline_us) {
  const uint64_t now = clock_uptime_us(NULL);
  if (deadline_us <= now) {
    return;
  }
  const uint64_t left = deadline_us - now;
  const uint32_t us = left > LONGEST_SLEEP_US ? LONGEST_SLEEP_US : (uint32_t)left;
  TIMER0_CTL = 0;
  TIMER0_TAILR = us * TICKS_PER_US;
  irqs_off();
  TIMER0_CTL = 1;
  /* An event that came before this line is seen here; one that comes after it
   * is pending, and ends the wait although interrupts are off. */
  if (!board_event) {
    wait_for_interrupt();
  }
  irqs_on();
  TIMER0_CTL = 0;
  clock_wakeups++;
}
