/*
 * The serial line: what the program says of itself, and the commands of a
 * person or a test (main.c).
 */
#include "board.h"
#include "regs.h"

void uart_handler(void);

void uart_handler(void) {
  UART0_ICR = 0x7FF;
  board_event = true;
  board_wake_from_isr();
}

void console_start(void) {
  SYSCTL_RCGC1 |= 1u;
  UART0_CTL = 0;
  UART0_IBRD = 27; /* 50 MHz / (16 * 115200) = 27.127 */
  UART0_FBRD = 8;
  UART0_LCRH = 0x70; /* 8 bits, FIFOs */
  UART0_CTL = 0x301;
  UART0_IM = (1u << 4) | (1u << 6); /* receive, receive timeout */
  irq_enable(IRQ_UART0);
}

int console_read(void) {
  if (UART0_FR & UART_FR_RXFE) {
    return -1;
  }
  return (int)(UART0_DR & 0xFFu);
}

static void put(char c) {
  /* At 115,200 baud a full FIFO empties within 1.4 ms. */
  for (uint32_t i = 0; i < 100000 && (UART0_FR & UART_FR_TXFF); i++) {
  }
  UART0_DR = (uint8_t)c;
}

void console_text(const char *s) {
  while (*s) {
    put(*s++);
  }
}

void console_number(uint32_t n) {
  char digits[10];
  uint32_t count = 0;
  do {
    digits[count++] = (char)('0' + n % 10);
    n /= 10;
  } while (n);
  while (count) {
    put(digits[--count]);
  }
}

void console_field(const char *name, uint32_t n) {
  put(' ');
  console_text(name);
  put('=');
  console_number(n);
}

void console_line(void) { put('\n'); }
