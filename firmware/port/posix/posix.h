/*
 * posix.h: the ports of a Linux process: the same firmware as on a board, for
 * tests and as a virtual device.
 */
#ifndef WEIR_POSIX_H
#define WEIR_POSIX_H

#include "weir/weir.h"

/* --- time: the system's monotonic clock, or one that jumps while nothing happens --- */
struct posix_clock {
  struct weir_clock clock;
  bool is_virtual;
  uint64_t started; /* CLOCK_MONOTONIC, us */
  uint64_t now;     /* virtual */
  /* a time of day, from an uptime on (tests) */
  uint64_t wall_base_ms, wall_after_us;
  uint32_t wall_error_us;
};
void posix_clock_init(struct posix_clock *c, bool is_virtual);
uint64_t posix_wall_ms(void); /* Unix time by the system's clock */
void posix_clock_wall(struct posix_clock *c, uint8_t source, uint32_t error_ms, uint64_t base_ms, uint32_t after_s);

/* --- network: a non-blocking socket. Names are looked up with getaddrinfo, which may block: give an address --- */
struct posix_net {
  struct weir_net net;
  int fd;
  bool connecting, peer_closed;
  uint8_t buffer[2048];
  size_t begin, end;
  /* a link that comes and goes: down while (now / 1 s) falls into a seeded gap */
  struct posix_clock *clock;
  uint64_t link_seed;
  uint32_t link_period_s; /* 0: always up */
};
void posix_net_init(struct posix_net *n, struct posix_clock *clock);
bool posix_net_link(const struct posix_net *n, uint64_t now, uint64_t *changes_at);

/* --- card: a file of whole sectors; done at once, with pwrite and fdatasync --- */
enum { POSIX_PULLS = 4, POSIX_UNSYNCED = 64 };

/* The card is taken out, and put in again: itself, or another image. */
struct posix_pull {
  uint64_t out_us, in_us; /* uptime */
  const char *image;      /* NULL: the same card */
};

struct posix_card {
  struct weir_block block;
  int fd;
  bool sync; /* false: a SYNC does nothing (tests that kill the process, not the machine) */
  bool hang; /* operations never end */
  int result;
  uint32_t sectors;
  bool read_only;

  /* Pulls, in their order. What was written since the last sync is lost by one. */
  struct posix_clock *clock;
  const struct posix_pull *pulls;
  unsigned pull_count, pull_at;
  bool out;
  uint32_t generation, seen; /* seen: what info said last */
  unsigned unsynced_count;
  struct {
    uint32_t sector;
    uint8_t before[WEIR_SECTOR];
  } unsynced[POSIX_UNSYNCED];
};
int posix_card_open(struct posix_card *c, const char *path);
void posix_card_pulls(struct posix_card *c, struct posix_clock *clock, const struct posix_pull *pulls, unsigned count);

/* --- slots: a directory, one file for each --- */
struct posix_slots {
  struct weir_slots slots;
  const char *dir;
};
void posix_slots_init(struct posix_slots *s, const char *dir);

/* --- watchdog: a timer whose signal ends the process with code 99; a file is the memory that survives --- */
enum { POSIX_RESET_CODE = 99 };
struct posix_watchdog {
  struct weir_watchdog dog;
  enum weir_reset cause;
};
int posix_watchdog_init(struct posix_watchdog *d, const char *path, uint32_t timeout_ms);

extern const struct weir_random posix_random;

/* Which part shall hang, and from when on; WEIR_PART_NONE: none. */
extern enum weir_part posix_hang_part;
extern uint64_t posix_hang_after; /* entries of the part */

/* The core calls it before it enters a part (WEIR_HANG_HOOK), the loop for WEIR_PART_BOARD. */
void weir_hang_hook(enum weir_part part);

#endif
