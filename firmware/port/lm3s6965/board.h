/*
 * The LM3S6965 evaluation board, as QEMU's lm3s6965evb emulates it: what its
 * drivers offer to main.c. All run in the one main loop; interrupt handlers
 * only wake it.
 */
#ifndef LM3S6965_BOARD_H
#define LM3S6965_BOARD_H

#include "weir/port.h"

/* 200 MHz / 4. */
#define CPU_HZ 50000000u

/* startup.c */
extern struct weir_retained board_retained;
enum weir_reset board_reset_cause(void);
uint32_t board_stack_used(void); /* bytes of the deepest use so far */
uint32_t board_stack_size(void);
void board_reset(void) __attribute__((noreturn));

/* clock.c */
void clock_start(void);
uint64_t clock_uptime_us(void *ctx);
/* Sleeps until an interrupt, or until the uptime is deadline_us. */
void clock_sleep_until(uint64_t deadline_us);
extern uint32_t clock_wakeups; /* how often a sleep ended */
/* Set by interrupt handlers that bring work; cleared by the loop before it looks for it. */
extern volatile bool board_event;
void board_wake_from_isr(void); /* wakes the task that looks; nothing to do without an operating system */

/* console.c: the serial line */
void console_start(void);
int console_read(void); /* -1: nothing there */
void console_text(const char *s);
void console_number(uint32_t n);
void console_field(const char *name, uint32_t n); /* " name=n" */
void console_line(void);

/* watchdog.c */
void watchdog_start(uint32_t timeout_ms);
void watchdog_feed(void *ctx);

/* card.c: an SD card in SPI mode */
void card_start(void);
extern const struct weir_block card_block;

/* net.c: lwIP over the Ethernet controller */
void net_start(const uint8_t mac[6]);
void net_poll(void);
uint64_t net_deadline_us(void); /* when to poll again, be there frames or not */
extern const struct weir_net net_tcp;

/* random.c */
extern const struct weir_random board_entropy;
uint32_t board_random(void);

/* Where the emulator's network forwards to the broker (guestfwd). */
#define BOARD_BROKER "10.0.2.100"

/* semihost.c: what the emulator offers a program */
int semihost_command_line(char *out, uint32_t size);
int semihost_entropy(uint8_t *out, uint32_t n);
void semihost_exit(int code) __attribute__((noreturn));

#endif
