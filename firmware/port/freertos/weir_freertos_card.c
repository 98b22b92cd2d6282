#include "weir_freertos.h"

enum { LOOK_MS = 250 };

static uint32_t get(const weir_rtos_word *w) { return atomic_load_explicit(w, memory_order_acquire); }
static void put(weir_rtos_word *w, uint32_t v) { atomic_store_explicit(w, v, memory_order_release); }

static int rtos_info(void *ctx, struct weir_block_info *info) {
  struct weir_rtos_card *c = ctx;
  /* The task writes while the count is odd; what it may have changed meanwhile is
   * not given out, but asked for again by the next poll. */
  const uint32_t before = get(&c->shown);
  const int card = (int)get(&c->card);
  const struct weir_block_info seen = {get(&c->sectors), get(&c->generation), get(&c->read_only) != 0};
  if ((before & 1u) != 0 || get(&c->shown) != before) {
    return WEIR_BUSY;
  }
  if (card == WEIR_OK) {
    *info = seen;
  }
  return card;
}

static int rtos_begin(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count) {
  struct weir_rtos_card *c = ctx;
  if (get(&c->request) != get(&c->answer)) {
    return WEIR_E_ARGUMENT;
  }
  if (op != WEIR_BLOCK_SYNC && (count == 0 || ((uintptr_t)buffer & (WEIR_BLOCK_ALIGN - 1u)) != 0)) {
    return WEIR_E_ARGUMENT;
  }
  struct weir_block_info info;
  const int card = rtos_info(c, &info);
  if (card == WEIR_E_GONE) {
    return WEIR_E_GONE;
  }
  if (card == WEIR_OK && op != WEIR_BLOCK_SYNC && (sector >= info.sectors || count > info.sectors - sector)) {
    return WEIR_E_ARGUMENT;
  }
  if (card == WEIR_OK && op == WEIR_BLOCK_WRITE && info.read_only) {
    return WEIR_E_READ_ONLY;
  }
  c->op = op;
  c->sector = sector;
  c->buffer = buffer;
  c->count = count;
  put(&c->request, get(&c->request) + 1);
  (void)xTaskNotifyGive(c->task);
  return WEIR_BUSY;
}

static int rtos_poll(void *ctx) {
  struct weir_rtos_card *c = ctx;
  if (get(&c->request) != get(&c->answer)) {
    return WEIR_BUSY;
  }
  const int result = c->result;
  c->result = WEIR_OK; /* the end is reported once */
  return result;
}

static int operate(struct weir_rtos_card *c) {
  const struct weir_block *d = c->driver;
  int s = d->start(d->ctx, c->op, c->sector, c->buffer, c->count);
  while (s == WEIR_BUSY) {
    s = d->poll(d->ctx);
    if (s == WEIR_BUSY && d->poll_us != 0) {
      vTaskDelay(1);
    }
  }
  return s;
}

/* Publishes what the driver says of the card, and reports whether that is news. */
static bool look(struct weir_rtos_card *c) {
  struct weir_block_info info = {0, 0, false};
  const uint32_t card = (uint32_t)c->driver->info(c->driver->ctx, &info);
  if (card == get(&c->card) && info.sectors == get(&c->sectors) && info.generation == get(&c->generation) &&
      (info.read_only ? 1u : 0u) == get(&c->read_only)) {
    return false;
  }
  const uint32_t version = get(&c->shown);
  put(&c->shown, version + 1);
  put(&c->card, card);
  put(&c->sectors, info.sectors);
  put(&c->generation, info.generation);
  put(&c->read_only, info.read_only ? 1u : 0u);
  put(&c->shown, version + 2);
  return true;
}

static void storage_task(void *argument) {
  struct weir_rtos_card *c = argument;
  for (;;) {
    if (look(c)) {
      (void)xTaskNotifyGive(c->core);
    }
    if (get(&c->request) != get(&c->answer)) {
      c->result = operate(c);
      put(&c->answer, get(&c->request));
      (void)xTaskNotifyGive(c->core);
      continue;
    }
    (void)ulTaskNotifyTake(pdTRUE, (int)get(&c->card) == WEIR_BUSY ? 1 : pdMS_TO_TICKS(LOOK_MS));
  }
}

const struct weir_block *weir_rtos_card_start(struct weir_rtos_card *c, UBaseType_t priority, StackType_t *stack, uint32_t stack_words) {
  c->block = (struct weir_block){.ctx = c, .info = rtos_info, .start = rtos_begin, .poll = rtos_poll, .poll_us = 0};
  put(&c->card, WEIR_BUSY);
  c->task = xTaskCreateStatic(storage_task, "storage", stack_words, c, priority, stack, &c->memory);
  return &c->block;
}
