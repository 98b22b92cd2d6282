#include "weir_freertos.h"

#include <string.h>

static uint32_t get(const weir_rtos_word *w) { return atomic_load_explicit(w, memory_order_acquire); }
static void put(weir_rtos_word *w, uint32_t v) { atomic_store_explicit(w, v, memory_order_release); }

/* The longest stretch that the ring holds, or has room for, in one piece. */
static uint32_t filled(const struct weir_rtos_ring *r, uint8_t **at) {
  const uint32_t taken = get(&r->taken), all = get(&r->written) - taken, place = taken & (r->size - 1);
  *at = r->data + place;
  return all < r->size - place ? all : r->size - place;
}

static uint32_t room(const struct weir_rtos_ring *r, uint8_t **at) {
  const uint32_t written = get(&r->written), all = r->size - (written - get(&r->taken)), place = written & (r->size - 1);
  *at = r->data + place;
  return all < r->size - place ? all : r->size - place;
}

/* ------------------------------------------------ the core's side */

void weir_rtos_net_wake(struct weir_rtos_net *n) { (void)xTaskNotifyGive(n->task); }

static bool wants(const struct weir_rtos_net *n) { return (get(&n->wanted) & 1u) != 0; }

static int rtos_connect(void *ctx, const char *host, uint16_t port) {
  struct weir_rtos_net *n = ctx;
  if (get(&n->served) != get(&n->wanted)) {
    return WEIR_BUSY; /* the task has not yet seen the last word */
  }
  if (!wants(n)) {
    n->host = host;
    n->port = port;
    put(&n->wanted, get(&n->wanted) + 1);
    weir_rtos_net_wake(n);
    return WEIR_BUSY;
  }
  const int state = (int)get(&n->state);
  if (state == WEIR_OK || state == WEIR_BUSY) {
    return state;
  }
  put(&n->wanted, get(&n->wanted) + 1);
  weir_rtos_net_wake(n);
  return WEIR_E_IO;
}

static int rtos_peek(void *ctx, const uint8_t **data, size_t *size) {
  struct weir_rtos_net *n = ctx;
  if (!wants(n) || get(&n->served) != get(&n->wanted)) {
    return WEIR_E_IO;
  }
  /* The state first: bytes that came before the end are in the ring when it shows. */
  const int state = (int)get(&n->state);
  uint8_t *at;
  const uint32_t have = filled(&n->in, &at);
  if (have) {
    *data = at;
    *size = have;
    return WEIR_OK;
  }
  return state == WEIR_OK ? WEIR_BUSY : state;
}

static void rtos_take(void *ctx, size_t count) {
  struct weir_rtos_net *n = ctx;
  put(&n->in.taken, get(&n->in.taken) + (uint32_t)count);
  weir_rtos_net_wake(n);
}

static int32_t rtos_write(void *ctx, const uint8_t *data, size_t count) {
  struct weir_rtos_net *n = ctx;
  if (!wants(n) || get(&n->served) != get(&n->wanted)) {
    return WEIR_E_IO;
  }
  const int state = (int)get(&n->state);
  if (state != WEIR_OK) {
    return state;
  }
  size_t sent = 0;
  for (int i = 0; i < 2 && sent < count; i++) { /* the ring's end, then its beginning */
    uint8_t *at;
    uint32_t part = room(&n->out, &at);
    if (part > count - sent) {
      part = (uint32_t)(count - sent);
    }
    memcpy(at, data + sent, part);
    put(&n->out.written, get(&n->out.written) + part);
    sent += part;
  }
  return (int32_t)sent;
}

static void rtos_flush(void *ctx) {
  struct weir_rtos_net *n = ctx;
  weir_rtos_net_wake(n);
}

static void rtos_close(void *ctx) {
  struct weir_rtos_net *n = ctx;
  if (wants(n)) {
    put(&n->wanted, get(&n->wanted) + 1);
    weir_rtos_net_wake(n);
  }
}

/* ------------------------------------------------ the task's side */

static bool receive(struct weir_rtos_net *n) {
  const struct weir_net *d = n->driver;
  bool any = false;
  for (;;) {
    uint8_t *at;
    uint32_t space = room(&n->in, &at);
    if (space == 0) {
      return any; /* the core's next take wakes this task */
    }
    const uint8_t *data;
    size_t size;
    const int s = d->peek(d->ctx, &data, &size);
    if (s != WEIR_OK) {
      if (s != WEIR_BUSY) {
        put(&n->state, (uint32_t)s);
        any = true;
      }
      return any;
    }
    if (size > space) {
      size = space;
    }
    memcpy(at, data, size);
    d->take(d->ctx, size);
    put(&n->in.written, get(&n->in.written) + (uint32_t)size);
    any = true;
  }
}

static bool transmit(struct weir_rtos_net *n) {
  const struct weir_net *d = n->driver;
  bool any = false;
  for (;;) {
    uint8_t *at;
    const uint32_t have = filled(&n->out, &at);
    if (have == 0) {
      break;
    }
    const int32_t sent = d->write(d->ctx, at, have);
    if (sent < 0) {
      put(&n->state, (uint32_t)sent);
      return true;
    }
    if (sent == 0) {
      break;
    }
    put(&n->out.taken, get(&n->out.taken) + (uint32_t)sent);
    any = true;
  }
  if (any && d->flush) {
    d->flush(d->ctx);
  }
  return any;
}

/* Takes up the last word of the core: a new connection begins with empty rings. */
static void serve(struct weir_rtos_net *n, uint32_t wanted) {
  n->driver->close(n->driver->ctx);
  put(&n->in.taken, 0);
  put(&n->in.written, 0);
  put(&n->out.taken, 0);
  put(&n->out.written, 0);
  put(&n->state, WEIR_BUSY);
  put(&n->served, wanted);
}

static bool round_of(struct weir_rtos_net *n) {
  const struct weir_net *d = n->driver;
  const uint32_t wanted = get(&n->wanted);
  if (n->service) {
    n->service(n->service_ctx);
  }
  bool news = false;
  if (wanted != get(&n->served)) {
    serve(n, wanted);
    news = true;
  }
  if ((wanted & 1u) == 0) {
    return news;
  }
  int state = (int)get(&n->state);
  if (state == WEIR_BUSY) {
    state = d->connect(d->ctx, n->host, n->port);
    if (state != WEIR_BUSY) {
      put(&n->state, (uint32_t)state);
      news = true;
    }
  }
  if (state == WEIR_OK) {
    news = receive(n) || news;
    if ((int)get(&n->state) == WEIR_OK) {
      news = transmit(n) || news;
    }
  }
  return news;
}

static void network_task(void *argument) {
  struct weir_rtos_net *n = argument;
  for (;;) {
    if (round_of(n)) {
      (void)xTaskNotifyGive(n->core);
    }
    (void)ulTaskNotifyTake(pdTRUE, pdMS_TO_TICKS(n->round_ms));
  }
}

const struct weir_net *weir_rtos_net_start(struct weir_rtos_net *n, UBaseType_t priority, StackType_t *stack, uint32_t stack_words) {
  n->net = (struct weir_net){.ctx = n, .connect = rtos_connect, .peek = rtos_peek, .take = rtos_take, .write = rtos_write, .flush = rtos_flush, .close = rtos_close, .poll_us = 0};
  n->task = xTaskCreateStatic(network_task, "network", stack_words, n, priority, stack, &n->memory);
  return &n->net;
}

void weir_rtos_wait(uint64_t now_us, uint64_t deadline_us) {
  const uint64_t left = deadline_us > now_us ? deadline_us - now_us : 0;
  const uint64_t tick_us = 1000000u / configTICK_RATE_HZ;
  /* Rounded up, so that a short wait is not a loop of none; an early wake would only poll once more. */
  const uint64_t ticks = (left + tick_us - 1) / tick_us;
  (void)ulTaskNotifyTake(pdTRUE, ticks > portMAX_DELAY - 1 ? portMAX_DELAY - 1 : (TickType_t)ticks);
}
