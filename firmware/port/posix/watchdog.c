/* watchdog.c: a timer that ends the process, and a file as the memory that a reset does not clear. */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/time.h>
#include <unistd.h>

#include "posix.h"

struct kept {
  struct weir_retained retained;
  uint32_t bitten; /* the timer ended the program before */
};

static struct kept *kept;

static void bite(int signal) {
  (void)signal;
  if (kept != NULL) kept->bitten = 1;
  _exit(POSIX_RESET_CODE);
}

static void feed(void *ctx) {
  const struct posix_watchdog *d = (const struct posix_watchdog *)ctx;
  struct itimerval t;
  memset(&t, 0, sizeof t);
  t.it_value.tv_sec = (time_t)(d->dog.timeout_ms / 1000);
  t.it_value.tv_usec = (suseconds_t)(d->dog.timeout_ms % 1000 * 1000);
  setitimer(ITIMER_REAL, &t, NULL);
}

static enum weir_reset cause(void *ctx) { return ((const struct posix_watchdog *)ctx)->cause; }

int posix_watchdog_init(struct posix_watchdog *d, const char *path, uint32_t timeout_ms) {
  memset(d, 0, sizeof *d);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(struct kept)) != 0) return WEIR_E_IO;
  void *p = mmap(NULL, sizeof(struct kept), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (p == MAP_FAILED) return WEIR_E_IO;
  kept = (struct kept *)p;
  d->cause = kept->bitten != 0 ? WEIR_RESET_WATCHDOG : WEIR_RESET_POWER;
  kept->bitten = 0;
  d->dog = (struct weir_watchdog){d, feed, cause, &kept->retained, timeout_ms};
  signal(SIGALRM, bite);
  feed(d);
  return WEIR_OK;
}

static int random_bytes(void *ctx, uint8_t *out, size_t n) {
  (void)ctx;
  return getrandom(out, n, GRND_NONBLOCK) == (ssize_t)n ? WEIR_OK : WEIR_BUSY;
}

const struct weir_random posix_random = {NULL, random_bytes};

enum weir_part posix_hang_part = WEIR_PART_NONE;
uint64_t posix_hang_after = 0;

void weir_hang_hook(enum weir_part part) {
  static uint64_t entered;
  if (posix_hang_part == WEIR_PART_NONE || part != posix_hang_part || entered++ < posix_hang_after) return;
  for (;;) pause();
}
