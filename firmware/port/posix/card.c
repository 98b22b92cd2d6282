/* card.c: a file as a card, and a directory as slots. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "posix.h"

static int info(void *ctx, struct weir_block_info *out) {
  struct posix_card *c = (struct posix_card *)ctx;
  *out = (struct weir_block_info){c->sectors, 1, c->read_only};
  return WEIR_OK;
}

/* Whether all of the bytes were moved. */
static bool moved(ssize_t done, size_t want) { return done >= 0 && (size_t)done == want; }

static int start(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count) {
  struct posix_card *c = (struct posix_card *)ctx;
  size_t n = (size_t)count * WEIR_SECTOR;
  off_t at = (off_t)sector * WEIR_SECTOR;
  bool fine = false;
  if (c->result == WEIR_BUSY) return WEIR_E_ARGUMENT;
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
      fine = moved(pwrite(c->fd, buffer, n, at), n);
      break;
    case WEIR_BLOCK_SYNC:
      fine = !c->sync || fdatasync(c->fd) == 0;
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
  c->fd = open(path, O_RDWR | O_CLOEXEC);
  if (c->fd < 0 && (errno == EACCES || errno == EROFS)) {
    c->fd = open(path, O_RDONLY | O_CLOEXEC);
    c->read_only = true;
  }
  if (c->fd < 0) return WEIR_E_IO;
  off_t size = lseek(c->fd, 0, SEEK_END); /* of a device too */
  if (size < 0) return WEIR_E_IO;
  c->sectors = size / WEIR_SECTOR < UINT32_MAX ? (uint32_t)(size / WEIR_SECTOR) : UINT32_MAX;
  c->sync = true;
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
