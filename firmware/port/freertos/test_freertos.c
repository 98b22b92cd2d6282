/*
 * The port's tasks over the test double: bytes go both ways whole and in order
 * through connections that come and go, and a card that blocks never blocks the
 * core. Built with ThreadSanitizer. FreeRTOS itself is not run here.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "weir_freertos.h"

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: %s (seed %u)\n", __FILE__, __LINE__, #condition, seed); \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)

static unsigned seed;

static uint32_t draw(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

static void pause_us(long us) {
  const struct timespec t = {0, us * 1000};
  nanosleep(&t, NULL);
}

/* A peer that sends back what it gets, in pieces, and ends the connection after so many bytes. */
struct echo {
  uint8_t held[64];
  size_t size;
  uint32_t random;
  size_t ends_after, sent_back;
  bool open;
  int refusals;
};

static int echo_connect(void *ctx, const char *host, uint16_t port) {
  struct echo *e = ctx;
  if (strcmp(host, "broker") != 0 || port != 1883) {
    return WEIR_E_IO;
  }
  if (e->refusals > 0) {
    e->refusals--;
    return WEIR_E_IO;
  }
  if (draw(&e->random) % 4 != 0) {
    return WEIR_BUSY;
  }
  e->size = e->sent_back = 0;
  e->open = true;
  return WEIR_OK;
}

static int echo_peek(void *ctx, const uint8_t **data, size_t *size) {
  struct echo *e = ctx;
  if (e->size == 0) {
    return e->sent_back >= e->ends_after ? WEIR_E_GONE : WEIR_BUSY;
  }
  *data = e->held;
  *size = 1 + draw(&e->random) % e->size;
  return WEIR_OK;
}

static void echo_take(void *ctx, size_t n) {
  struct echo *e = ctx;
  memmove(e->held, e->held + n, e->size - n);
  e->size -= n;
  e->sent_back += n;
}

static int32_t echo_write(void *ctx, const uint8_t *data, size_t n) {
  struct echo *e = ctx;
  if (e->sent_back + e->size >= e->ends_after) {
    return (int32_t)n; /* into the void, as a peer that has closed does */
  }
  size_t room = sizeof e->held - e->size;
  if (room > e->ends_after - e->sent_back - e->size) {
    room = e->ends_after - e->sent_back - e->size;
  }
  if (n > room) {
    n = room;
  }
  memcpy(e->held + e->size, data, n);
  e->size += n;
  return (int32_t)n;
}

static void echo_close(void *ctx) {
  struct echo *e = ctx;
  e->open = false;
}

static const char broker[] = "broker";

static void connect_it(const struct weir_net *net) {
  int s = WEIR_BUSY;
  while (s != WEIR_OK) {
    s = net->connect(net->ctx, broker, 1883);
    CHECK(s == WEIR_OK || s == WEIR_BUSY || s == WEIR_E_IO);
    weir_rtos_wait(0, 1000);
  }
}

/* Sends a stream until the peer ends the connection; all of what it took must have come back, in order. */
static void one_connection(const struct weir_net *net, struct echo *e, uint32_t *random) {
  uint32_t out = 0, in = 0;
  for (;;) {
    uint8_t piece[48];
    const size_t n = 1 + draw(random) % sizeof piece;
    for (size_t i = 0; i < n; i++) {
      piece[i] = (uint8_t)((out + i) * 31);
    }
    const int32_t sent = net->write(net->ctx, piece, n);
    if (sent > 0) {
      out += (uint32_t)sent;
      net->flush(net->ctx);
    }
    const uint8_t *data;
    size_t size;
    const int s = net->peek(net->ctx, &data, &size);
    if (s == WEIR_E_GONE) {
      break;
    }
    CHECK(s == WEIR_OK || s == WEIR_BUSY);
    if (s == WEIR_OK) {
      const size_t some = 1 + draw(random) % size;
      for (size_t i = 0; i < some; i++) {
        CHECK(data[i] == (uint8_t)((in + i) * 31));
      }
      in += (uint32_t)some;
      net->take(net->ctx, some);
    } else {
      weir_rtos_wait(0, 2000);
    }
  }
  CHECK(in == e->ends_after);
  net->close(net->ctx);
}

static void test_network(TaskHandle_t core) {
  static struct echo e;
  static uint8_t in[64], out[32];
  static StackType_t stack[256];
  static struct weir_rtos_net n;
  static const struct weir_net driver = {&e, echo_connect, echo_peek, echo_take, echo_write, NULL, echo_close, 0};
  uint32_t random = seed | 1u;
  e.random = seed * 7u | 1u;
  e.ends_after = 3000;
  e.refusals = 2;
  n = (struct weir_rtos_net){.driver = &driver, .core = core, .in = {.data = in, .size = sizeof in}, .out = {.data = out, .size = sizeof out}, .round_ms = 5};
  const struct weir_net *net = weir_rtos_net_start(&n, 2, stack, 256);
  const uint8_t *data;
  size_t size;
  CHECK(net->peek(net->ctx, &data, &size) == WEIR_E_IO);
  CHECK(net->write(net->ctx, in, 1) == WEIR_E_IO);
  for (int i = 0; i < 20; i++) {
    connect_it(net);
    one_connection(net, &e, &random);
  }
  puts("freertos port: 20 connections of 3,000 bytes came back whole");
}

/* A card that blocks for a while in each operation. */
static uint8_t medium[64][WEIR_SECTOR];
static uint32_t generation = 1, operations;
static bool present = true;
static pthread_mutex_t card_lock = PTHREAD_MUTEX_INITIALIZER;

static int slow_info(void *ctx, struct weir_block_info *info) {
  (void)ctx;
  pthread_mutex_lock(&card_lock);
  const bool here = present;
  *info = (struct weir_block_info){64, generation, false};
  pthread_mutex_unlock(&card_lock);
  return here ? WEIR_OK : WEIR_E_GONE;
}

static int slow_start(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count) {
  (void)ctx;
  pause_us(300);
  pthread_mutex_lock(&card_lock);
  const bool here = present;
  pthread_mutex_unlock(&card_lock);
  if (!here) {
    return WEIR_E_GONE;
  }
  if (op == WEIR_BLOCK_READ) {
    memcpy(buffer, medium[sector], (size_t)count * WEIR_SECTOR);
  } else if (op == WEIR_BLOCK_WRITE) {
    memcpy(medium[sector], buffer, (size_t)count * WEIR_SECTOR);
  }
  operations++;
  return WEIR_OK;
}

static int slow_poll(void *ctx) {
  (void)ctx;
  return WEIR_OK;
}

static int finish(const struct weir_block *b, int s) {
  while (s == WEIR_BUSY) {
    weir_rtos_wait(0, 1000);
    s = b->poll(b->ctx);
  }
  return s;
}

static int card_now(const struct weir_block *b, struct weir_block_info *info) {
  int s = WEIR_BUSY;
  for (int i = 0; i < 5000 && s == WEIR_BUSY; i++) {
    s = b->info(b->ctx, info);
    weir_rtos_wait(0, 1000);
  }
  return s;
}

static void test_card(TaskHandle_t core) {
  static StackType_t stack[256];
  static struct weir_rtos_card c;
  static const struct weir_block driver = {NULL, slow_info, slow_start, slow_poll, 0};
  static uint8_t buffer[WEIR_SECTOR] __attribute__((aligned(WEIR_BLOCK_ALIGN)));
  c = (struct weir_rtos_card){.driver = &driver, .core = core};
  const struct weir_block *b = weir_rtos_card_start(&c, 1, stack, 256);
  struct weir_block_info info = {0, 0, false};
  CHECK(card_now(b, &info) == WEIR_OK && info.sectors == 64);
  CHECK(b->start(b->ctx, WEIR_BLOCK_READ, 64, buffer, 1) == WEIR_E_ARGUMENT);
  CHECK(b->start(b->ctx, WEIR_BLOCK_READ, 0, buffer + 1, 1) == WEIR_E_ARGUMENT);
  for (uint32_t i = 0; i < 100; i++) {
    memset(buffer, (int)i, sizeof buffer);
    int s = b->start(b->ctx, WEIR_BLOCK_WRITE, i % 64, buffer, 1);
    CHECK(s == WEIR_BUSY);
    CHECK(finish(b, s) == WEIR_OK);
    memset(buffer, 0xEE, sizeof buffer);
    CHECK(finish(b, b->start(b->ctx, WEIR_BLOCK_READ, i % 64, buffer, 1)) == WEIR_OK);
    CHECK(buffer[0] == (uint8_t)i && buffer[511] == (uint8_t)i);
  }
  pthread_mutex_lock(&card_lock); /* holds the driver, so that the operation stays under way */
  int under_way = b->start(b->ctx, WEIR_BLOCK_READ, 0, buffer, 1);
  CHECK(under_way == WEIR_BUSY);
  CHECK(b->poll(b->ctx) == WEIR_BUSY);
  CHECK(b->start(b->ctx, WEIR_BLOCK_SYNC, 0, NULL, 0) == WEIR_E_ARGUMENT);
  pthread_mutex_unlock(&card_lock);
  CHECK(finish(b, under_way) == WEIR_OK);
  pthread_mutex_lock(&card_lock);
  present = false;
  pthread_mutex_unlock(&card_lock);
  int s = WEIR_OK;
  for (int i = 0; i < 5000 && s != WEIR_E_GONE; i++) {
    s = b->start(b->ctx, WEIR_BLOCK_READ, 0, buffer, 1);
    s = s == WEIR_BUSY ? finish(b, s) : s;
  }
  CHECK(s == WEIR_E_GONE);
  pthread_mutex_lock(&card_lock);
  present = true;
  generation++;
  pthread_mutex_unlock(&card_lock);
  for (int i = 0; i < 5000 && !(s == WEIR_OK && info.generation == 2); i++) {
    s = card_now(b, &info);
  }
  CHECK(s == WEIR_OK && info.generation == 2);
  puts("freertos port: 100 sectors through a card that blocks; it was pulled out and came back");
}

int main(void) {
  static StaticTask_t core;
  seed = (unsigned)time(NULL);
  const char *given = getenv("SEED");
  if (given) {
    seed = (unsigned)strtoul(given, NULL, 10);
  }
  double_adopt(&core);
  puts("freertos port: NOT ON FREERTOS: over a test double on POSIX threads; make firmware FREERTOS_DIR=KERNEL builds it for the emulator");
  test_network(&core);
  test_card(&core);
  return 0;
}
