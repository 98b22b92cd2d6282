/* lwIP's architecture header for the bare-metal board. */
#ifndef LM3S6965_ARCH_CC_H
#define LM3S6965_ARCH_CC_H

#include <stdint.h>

void board_reset(void) __attribute__((noreturn));
uint32_t board_random(void);
uint16_t board_chksum(const void *data, int size); /* chksum.c */

#define LWIP_NO_INTTYPES_H 0
#define LWIP_PLATFORM_DIAG(x)
/* A broken assumption inside the stack ends in a reset with its cause. */
#define LWIP_PLATFORM_ASSERT(x) board_reset()
#define LWIP_RAND() board_random()
#define LWIP_CHKSUM board_chksum
#define LWIP_NO_STDIO_H 1
#define LWIP_ERR_T int

#endif
