/* card.c: a file as a card, and a directory as slots. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "posix.h"

/* Whether all of the bytes were moved. */
static bool moved(ssize_t done, size_t want) { return done >= 0 && (size_t)done == want; }

static int open_image(struct posix_card *c, const char *path) {
  c->fd = open(path, O_RDWR | O_CLOEXEC);
  c->read_only = false;
  if (c->fd < 0 && (errno == EACCES || errno == EROFS)) {
    c->fd = open(path, O_RDONLY | O_CLOEXEC);
    c->read_only = true;
  }
  if (c->fd < 0) return WEIR_E_IO;
  off_t size = lseek(c->fd, 0, SEEK_END); /* of a device too */
  if (size < 0) return WEIR_E_IO;
  c->sectors = size / WEIR_SECTOR < UINT32_MAX ? (uint32_t)(size / WEIR_SECTOR) : UINT32_MAX;
  return WEIR_OK;
}

/* ------------------------------------------------------------------- pulls */

static off_t place(uint32_t sector) { return (off_t)sector * WEIR_SECTOR; }

/* Keeps what stands on the card before it is written over. Older than the window of the storage manager nothing is lost. */
static void remember(struct posix_card *c, uint32_t sector, uint32_t count) {
  for (uint32_t i = 0; i < count && c->pull_at < c->pull_count; i++) {
    if (c->unsynced_count == POSIX_UNSYNCED) memmove(&c->unsynced[0], &c->unsynced[1], --c->unsynced_count * sizeof c->unsynced[0]);
    c->unsynced[c->unsynced_count].sector = sector + i;
    if (moved(pread(c->fd, c->unsynced[c->unsynced_count].before, WEIR_SECTOR, place(sector + i)), WEIR_SECTOR)) c->unsynced_count++;
  }
}

static void pull(struct posix_card *c) {
  for (; c->unsynced_count > 0; c->unsynced_count--) {
    unsigned last = c->unsynced_count - 1;
    if (!moved(pwrite(c->fd, c->unsynced[last].before, WEIR_SECTOR, place(c->unsynced[last].sector)), WEIR_SECTOR)) break;
  }
  if (c->result != WEIR_OK) c->result = WEIR_E_GONE;
  c->out = true;
}

/* What happened to the card by now. */
static void look(struct posix_card *c) {
  while (c->pull_at < c->pull_count) {
    const struct posix_pull *p = &c->pulls[c->pull_at];
    uint64_t now = c->clock->clock.uptime_us(c->clock);
    if (!c->out && now >= p->out_us) pull(c);
    if (!c->out || now < p->in_us) return;
    if (p->image != NULL) {
      close(c->fd);
      if (open_image(c, p->image) != WEIR_OK) c->sectors = 0;
    }
    c->out = false;
    c->generation++;
    c->pull_at++;
  }
}

void posix_card_pulls(struct posix_card *c, struct posix_clock *clock, const struct posix_pull *pulls, unsigned count) {
  c->clock = clock;
  c->pulls = pulls;
  c->pull_count = count;
}

/* ------------------------------------------------------------------ device */

static int info(void *ctx, struct weir_block_info *out) {
  struct posix_card *c = (struct posix_card *)ctx;
  look(c);
  if (c->out) return WEIR_E_GONE;
  c->seen = c->generation;
  *out = (struct weir_block_info){c->sectors, c->generation, c->read_only};
  return WEIR_OK;
}

static int start(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count) {
  struct posix_card *c = (struct posix_card *)ctx;
  size_t n = (size_t)count * WEIR_SECTOR;
  off_t at = place(sector);
  bool fine = false;
  if (c->result == WEIR_BUSY) return WEIR_E_ARGUMENT;
  look(c);
  if (c->out || c->seen != c->generation) return WEIR_E_GONE;
  if (op != WEIR_BLOCK_SYNC && (count == 0 || sector >= c->sectors || count > c->sectors - sector || (uintptr_t)buffer % WEIR_BLOCK_ALIGN != 0))
    return WEIR_E_ARGUMENT;
  if (op == WEIR_BLOCK_WRITE && c->read_only) return WEIR_E_READ_ONLY;
  if (c->hang) {
    c->result = WEIR_BUSY;
    return WEIR_BUSY;
  }
  switch (op) {
    case WEIR_BLOCK_READ:
      fine = moved(pread(c->fd, buffer, n, at), n);
      break;
    case WEIR_BLOCK_WRITE:
      remember(c, sector, count);
      fine = moved(pwrite(c->fd, buffer, n, at), n);
      break;
    case WEIR_BLOCK_SYNC:
      fine = !c->sync || fdatasync(c->fd) == 0;
      c->unsynced_count = 0;
      break;
  }
  c->result = fine ? WEIR_OK : WEIR_E_IO;
  return WEIR_BUSY;
}

static int poll_card(void *ctx) {
  struct posix_card *c = (struct posix_card *)ctx;
  int r = c->result;
  if (r != WEIR_BUSY) c->result = WEIR_OK;
  return r;
}

int posix_card_open(struct posix_card *c, const char *path) {
  memset(c, 0, sizeof *c);
  if (open_image(c, path) != WEIR_OK) return WEIR_E_IO;
  c->sync = true;
  c->generation = 1;
  c->block = (struct weir_block){c, info, start, poll_card, 1}; /* an operation has ended when start returns */
  return WEIR_OK;
}

/* ------------------------------------------------------------------- slots */

static int open_slot(const struct posix_slots *s, uint32_t slot, int flags) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/slot%u", s->dir, (unsigned)slot);
  return open(path, flags | O_CLOEXEC, 0600);
}

static int erase(void *ctx, uint32_t slot) {
  int fd = open_slot((struct posix_slots *)ctx, slot, O_RDWR | O_CREAT | O_TRUNC);
  if (fd < 0) return WEIR_E_IO;
  close(fd);
  return WEIR_OK;
}

static int write_slot(void *ctx, uint32_t slot, uint32_t offset, const void *data, uint32_t n) {
  int fd = open_slot((struct posix_slots *)ctx, slot, O_RDWR | O_CREAT);
  if (fd < 0) return WEIR_E_IO;
  bool fine = moved(pwrite(fd, data, n, (off_t)offset), n) && fdatasync(fd) == 0;
  close(fd);
  return fine ? WEIR_OK : WEIR_E_IO;
}

static int read_slot(void *ctx, uint32_t slot, uint32_t offset, void *data, uint32_t n) {
  int fd = open_slot((struct posix_slots *)ctx, slot, O_RDONLY);
  if (fd < 0) return WEIR_E_IO;
  bool fine = moved(pread(fd, data, n, (off_t)offset), n);
  close(fd);
  return fine ? WEIR_OK : WEIR_E_IO;
}

void posix_slots_init(struct posix_slots *s, const char *dir) {
  *s = (struct posix_slots){.slots = {s, 4, 8192 + 128, erase, write_slot, read_slot}, .dir = dir};
}
