#include "weir/storage.h"

#include <string.h>

#include "bytes.h"
#include "storage_internal.h"

#ifdef WEIR_STORAGE_SEAL
#include "seal.h"
#endif

enum { STEPS = 8, LOOK_MS = 250, RETRY_MS = 1000, POWER_MS = 10, DEVICE_MAX = 64, FIRMWARE_MAX = 32 };

static bool fits(const char *text, size_t most) {
  if (!text) return true;
  for (size_t i = 0; i <= most; i++) {
    if (text[i] == 0) return true;
  }
  return false;
}

int weir_storage_init(struct weir_storage *s, const struct weir_storage_config *config) {
  uint16_t page = config->page ? config->page : 1;
  if (!config->block || !config->buffers || config->buffer_count < 2 || config->epoch == 0 || page > 64 ||
      (page & (page - 1)) != 0 || !fits(config->device, DEVICE_MAX) || !fits(config->firmware, FIRMWARE_MAX) ||
      (uintptr_t)config->buffers % WEIR_BLOCK_ALIGN != 0) {
    return WEIR_E_ARGUMENT;
  }
#ifndef WEIR_STORAGE_SEAL
  if (config->key) return WEIR_E_ARGUMENT; /* never record in clear what was to be sealed */
#endif
  memset(s, 0, sizeof *s);
  s->config = *config;
  s->config.page = page;
  if (s->config.flush_ms == 0) s->config.flush_ms = 1000;
#ifdef WEIR_STORAGE_SEAL
  if (s->config.key) s->key_id = weir_seal_key_id(s->config.key);
#endif
  s->loaded = s->unreadable = WEIR_NO_SECTOR;
  s->head = s->target = WEIR_NO_SLOT;
  return WEIR_OK;
}

void weir_storage_tell(struct weir_storage *s, enum weir_storage_event_type type, uint32_t value, uint8_t reason) {
  struct weir_storage_event e = {.type = type, .value = value, .reason = reason};
  if (s->config.event) s->config.event(s->config.event_ctx, &e);
}

/* ------------------------------------------------------- the one operation */

static void ended(struct weir_storage *s, int result) {
  uint8_t op = s->op;
  s->op = WEIR_OP_NONE;
  if (result == WEIR_E_GONE) {
    weir_card_gone(s);
    return;
  }
  if (op != WEIR_OP_READ) {
    weir_write_ended(s, op, result);
    return;
  }
  if (result == WEIR_OK) {
    s->loaded = s->op_sector;
    s->tries = 0;
    return;
  }
  s->stats.errors++;
  if (++s->tries < WEIR_TRIES) return; /* whoever wants it asks again */
  s->tries = 0;
  s->unreadable = s->op_sector;
  weir_storage_tell(s, WEIR_EV_IO_ERROR, s->op_sector, 0);
}

int weir_card_start(struct weir_storage *s, uint8_t op, uint32_t sector, uint8_t *buffer, uint16_t count) {
  static const uint8_t what[] = {0, WEIR_BLOCK_READ, WEIR_BLOCK_WRITE, WEIR_BLOCK_WRITE, WEIR_BLOCK_SYNC};
  s->op = op;
  s->op_sector = sector;
  s->op_count = count;
  int r = s->config.block->start(s->config.block->ctx, (enum weir_block_op)what[op], sector, buffer, count);
  if (r != WEIR_BUSY) ended(s, r == WEIR_OK ? WEIR_E_IO : r);
  return WEIR_BUSY;
}

int weir_card_load(struct weir_storage *s, uint32_t sector) {
  if (s->op != WEIR_OP_NONE) return WEIR_BUSY;
  if (s->loaded == sector) return WEIR_OK;
  if (s->unreadable == sector) return WEIR_E_IO;
  s->unreadable = WEIR_NO_SECTOR;
  s->loaded = WEIR_NO_SECTOR;
  s->fills++;
  weir_card_start(s, WEIR_OP_READ, sector, s->config.buffers[0], 1);
  return s->state == WEIR_CARD_ABSENT ? WEIR_E_GONE : WEIR_BUSY;
}

static bool is_blank(const uint8_t *sector) {
  uint8_t any = 0;
  for (unsigned i = 0; i < WEIR_SECTOR; i++) any |= sector[i];
  return any == 0;
}

int weir_card_block(struct weir_storage *s, uint8_t slot, uint32_t index, struct weir_frame_head *head) {
  const struct weir_segment *g = &s->segments[slot];
  int r = weir_card_load(s, g->start + index);
  if (r == WEIR_E_IO) return WEIR_E_INVALID;
  if (r != WEIR_OK) return r;
  const uint8_t *sector = s->config.buffers[0];
  if (weir_frame_open(sector, head) != WEIR_OK) return is_blank(sector) ? WEIR_E_UNKNOWN : WEIR_E_INVALID;
  bool of = head->card_id == s->card_id && head->serial == g->serial && head->index == index &&
            ((head->flags & WEIR_FLAG_HEADER) != 0) == (index == 0);
  return of ? WEIR_OK : WEIR_E_UNKNOWN;
}

/* ------------------------------------------------------ the card's presence */

/* The card is not there any more; what was not durable is not on it. */
static void forget(struct weir_storage *s) {
  s->state = WEIR_CARD_ABSENT;
  s->loaded = s->unreadable = WEIR_NO_SECTOR;
  s->fills++;
  s->tries = 0;
  s->generation = 0;
  s->head = WEIR_NO_SLOT;
  s->oldest_known = false;
  s->epoch_written = s->epoch_on_card = s->epoch_durable = false;
  s->card_id = 0;
  weir_read_gone(s);
}

void weir_card_gone(struct weir_storage *s) {
  bool mounted = s->state == WEIR_CARD_READY || s->state == WEIR_CARD_READ_ONLY, mounting = s->state == WEIR_CARD_MOUNTING;
  uint32_t card_id = s->card_id;
  forget(s);
  s->look_at = s->now + RETRY_MS;
  s->unanswered = s->config.power != NULL; /* if it is there, it begins anew */
  if (mounted || mounting) weir_storage_tell(s, WEIR_EV_GONE, card_id, 0);
  if (mounted) weir_write_reset(s);
}

void weir_card_refuse(struct weir_storage *s, enum weir_card_refusal why) {
  s->state = WEIR_CARD_REFUSED;
  s->refusal = (uint8_t)why;
  weir_storage_tell(s, WEIR_EV_REFUSED, why, 0);
}

/* Brings the card's supply to what it shall be. False: the card is off, or not yet on. */
static bool supply(struct weir_storage *s) {
  const struct weir_card_power *p = s->config.power;
  bool on = !s->resting && !s->unanswered;
  if (p == NULL) return true;
  if (s->resting && s->state != WEIR_CARD_ABSENT) {
    forget(s);
    s->look_at = s->now;
  }
  if (s->powered == on) return on;
  if (s->state == WEIR_CARD_ABSENT && s->now < s->look_at) return false;
  if (p->set(p->ctx, on) != WEIR_OK) {
    s->look_at = s->now + POWER_MS;
    return false;
  }
  s->powered = on;
  s->unanswered = false;
  s->look_at = s->resting ? UINT64_MAX : s->now;
  return on;
}

/* Notices cards that come and go. */
static void look(struct weir_storage *s) {
  struct weir_block_info info;
  int r = s->config.block->info(s->config.block->ctx, &info);
  if (s->state != WEIR_CARD_ABSENT) {
    if (r == WEIR_OK && info.generation == s->generation) return;
    weir_card_gone(s);
    s->look_at = s->now; /* another card may already be there */
  }
  if (s->now < s->look_at) return;
  if (r != WEIR_OK) {
    s->look_at = s->now + (r == WEIR_E_IO ? RETRY_MS : LOOK_MS);
    s->unanswered = r == WEIR_E_IO && s->config.power != NULL;
    return;
  }
  s->generation = info.generation;
  s->sectors = info.sectors;
  s->read_only = info.read_only;
  weir_mount_begin(s);
}

static int step(struct weir_storage *s) {
  if (s->state == WEIR_CARD_MOUNTING) return weir_mount_step(s);
  if (s->state == WEIR_CARD_READY && weir_write_step(s) == WEIR_BUSY) return WEIR_BUSY;
  if (s->state == WEIR_CARD_READY || s->state == WEIR_CARD_READ_ONLY) return weir_read_step(s);
  return WEIR_OK;
}

int weir_storage_poll(struct weir_storage *s, uint64_t now_ms) {
  s->now = now_ms;
  if (s->op == WEIR_OP_NONE) {
    if (!supply(s)) return WEIR_OK;
    look(s);
  }
  for (unsigned i = 0; i < STEPS; i++) {
    if (s->op != WEIR_OP_NONE) {
      int r = s->config.block->poll(s->config.block->ctx);
      if (r == WEIR_BUSY) return WEIR_BUSY;
      ended(s, r);
    }
    if (step(s) == WEIR_OK) return WEIR_OK;
  }
  return WEIR_BUSY;
}

uint64_t weir_storage_deadline(const struct weir_storage *s) {
  if (s->op != WEIR_OP_NONE || s->state == WEIR_CARD_MOUNTING) return s->now;
  if (s->state == WEIR_CARD_ABSENT) return s->look_at;
  if (s->resting) return s->now; /* to be switched off */
  uint64_t look_at = s->now + LOOK_MS, write = s->state == WEIR_CARD_READY ? weir_write_deadline(s) : UINT64_MAX;
  return write < look_at ? write : look_at;
}

/* ------------------------------------------------------------------ getters */

uint64_t weir_storage_durable(const struct weir_storage *s) { return s->durable; }
uint64_t weir_storage_expects(const struct weir_storage *s) { return s->expects; }
enum weir_card_state weir_storage_state(const struct weir_storage *s) { return (enum weir_card_state)s->state; }
uint32_t weir_storage_card_id(const struct weir_storage *s) { return s->card_id; }
const struct weir_storage_stats *weir_storage_stats(const struct weir_storage *s) { return &s->stats; }

enum weir_card_refusal weir_storage_refusal(const struct weir_storage *s) {
  return s->state == WEIR_CARD_REFUSED ? (enum weir_card_refusal)s->refusal : WEIR_REFUSED_NOT;
}

static int takes_nothing(const struct weir_storage *s) {
  switch (s->state) {
    case WEIR_CARD_READY:
      return WEIR_OK;
    case WEIR_CARD_MOUNTING:
      return WEIR_BUSY;
    case WEIR_CARD_READ_ONLY:
      return WEIR_E_READ_ONLY;
    default:
      return WEIR_E_GONE;
  }
}

int weir_storage_flush(struct weir_storage *s) {
  int r = takes_nothing(s);
  if (r != WEIR_OK) return r;
  if (weir_write_all_durable(s) && s->op == WEIR_OP_NONE) return WEIR_OK;
  s->flushing = true;
  return WEIR_BUSY;
}

void weir_storage_wake(struct weir_storage *s) {
  if (!s->resting) return;
  s->resting = false;
  s->look_at = s->now;
}

/* The card may go; where there is a switch, it is switched off by the next poll. */
static int rest(struct weir_storage *s) {
  if (s->config.power == NULL) return WEIR_OK;
  s->resting = true;
  return s->powered ? WEIR_BUSY : WEIR_OK;
}

int weir_storage_quiesce(struct weir_storage *s) {
  if (s->resting) return rest(s);
  if (s->op != WEIR_OP_NONE) {
    if (s->state == WEIR_CARD_READY) s->flushing = true;
    return WEIR_BUSY;
  }
  int r = weir_storage_flush(s);
  if (r == WEIR_BUSY) return r;
  int off = rest(s);
  return off == WEIR_BUSY || r == WEIR_E_GONE ? off : r;
}
