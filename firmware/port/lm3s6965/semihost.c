/*
 * What an emulator offers a program: its command line, entropy of the host, and
 * an exit code ("Semihosting for AArch32 and AArch64", ARM release 3.0). On a
 * real board without a debugger a BKPT is a fault, so main.c asks only when the
 * program was built for the emulator.
 */
#include <string.h>

#include "board.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_READ = 0x06, SYS_GET_CMDLINE = 0x15, SYS_EXIT_EXTENDED = 0x20 };
enum { APPLICATION_EXIT = 0x20026, OPEN_READ_BINARY = 1 };

static int32_t call(uint32_t operation, const void *argument) {
  register uint32_t r0 __asm("r0") = operation;
  register const void *r1 __asm("r1") = argument;
  __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return (int32_t)r0;
}

int semihost_command_line(char *out, uint32_t size) {
  uint32_t block[2] = {(uint32_t)(uintptr_t)out, size};
  out[0] = 0;
  return call(SYS_GET_CMDLINE, block) == 0 ? WEIR_OK : WEIR_E_IO;
}

int semihost_entropy(uint8_t *out, uint32_t n) {
  static const char path[] = "/dev/urandom";
  uint32_t open[3] = {(uint32_t)(uintptr_t)path, OPEN_READ_BINARY, sizeof path - 1};
  int32_t file = call(SYS_OPEN, open);
  if (file < 0) {
    return WEIR_E_IO;
  }
  uint32_t read[3] = {(uint32_t)file, (uint32_t)(uintptr_t)out, n};
  int32_t left = call(SYS_READ, read);
  uint32_t close[1] = {(uint32_t)file};
  (void)call(SYS_CLOSE, close);
  return left == 0 ? WEIR_OK : WEIR_E_IO;
}

void semihost_exit(int code) {
  uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
  (void)call(SYS_EXIT_EXTENDED, block);
  for (;;) {
  }
}
