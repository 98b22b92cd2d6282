/* test_card.c: a recorder and its card: what counts as an error, and what the application hears. */
#include <string.h>

#include "../fuzz/fuzz_env_plan.c"
#include "rig.h"
#include "check.h"
#include "weir/weir.h"

static struct faulty card;
static struct weir w;
static struct weir_storage storage;
static struct weir_block slow; /* the card behind a port that takes its time to power it up */
static uint64_t ready_at;
static uint32_t events[16];
static _Alignas(8) uint8_t ring[8192], batch[768], sectors[3][WEIR_SECTOR];

static uint64_t uptime(void *ctx) { return ((struct faulty *)ctx)->now_us; }

static int random_bytes(void *ctx, uint8_t *out, size_t n) {
  (void)ctx;
  memset(out, 0x42, n);
  return WEIR_OK;
}

/* The time is known from the start: its record waits for the card before the card was looked for. */
static int wall(void *ctx, int64_t *unix_us, uint32_t *error_us) {
  *unix_us = 1750000000000000 + (int64_t)uptime(ctx);
  *error_us = 1000;
  return WEIR_OK;
}

static int slow_info(void *ctx, struct weir_block_info *info) {
  return card.now_us < ready_at ? WEIR_BUSY : card.block.info(ctx, info);
}

static void on_event(void *ctx, const struct weir_storage_event *e) { ((uint32_t *)ctx)[e->type]++; }

static const struct weir_clock clock_port = {.ctx = &card, .uptime_us = uptime, .wall = wall};
static const struct weir_random random_port = {.bytes = random_bytes};
static struct weir_storage_config config;

static void begin(void) {
  const struct weir_config c = {.device = "d"};
  const struct weir_ports ports = {.clock = &clock_port, .random = &random_port, .storage = &storage, .storage_config = &config};
  const struct weir_memory memory = {.ring = ring, .ring_size = sizeof ring, .batch = batch, .batch_size = sizeof batch};
  memset(events, 0, sizeof events);
  slow = card.block;
  slow.info = slow_info;
  config = (struct weir_storage_config){
      .block = &slow, .buffers = sectors, .buffer_count = 3, .flush_ms = 10, .event = on_event, .event_ctx = events};
  CHECK_EQ(weir_init(&w, &c, &ports, &memory), WEIR_OK);
  CHECK_EQ(weir_add_schema(&w, weir_schema_env, weir_schema_env_size), WEIR_OK);
}

static void run(uint64_t us) {
  for (uint64_t until = card.now_us + us; card.now_us < until; card.now_us += 1000) weir_poll(&w);
}

/* One reading; it must find room. */
static void record(void) {
  static const char payload[] = "{\"ts\":1750000000123,\"temperature\":21.5}";
  CHECK_EQ(weir_record(&w, "plants/p/lines/l/devices/d/env", payload, sizeof payload - 1, NULL), WEIR_OK);
}

static uint32_t errors(void) { return weir_stats(&w)->storage_errors; }

static void a_healthy_card_has_no_errors(void) {
  begin();
  run(2000000);
  record();
  run(1000000);
  CHECK_EQ(w.ring.count, 0); /* on the card */
  CHECK_EQ(errors(), 0);
  CHECK_EQ(events[WEIR_EV_MOUNTED], 1);
  ready_at = card.now_us + 700000; /* and one that powers up slowly */
  begin();
  run(500000);
  CHECK(w.ring.count > 0);
  CHECK_EQ(errors(), 0);
  run(2000000);
  CHECK_EQ(w.ring.count, 0);
  CHECK_EQ(errors(), 0);
}

static void each_pull_is_one_error(void) {
  begin();
  run(2000000);
  for (uint32_t n = 1; n <= 3; n++) {
    record();
    faulty_pull(&card);
    run(500000);
    record();
    run(500000);
    CHECK_EQ(errors(), n);
    CHECK_EQ(events[WEIR_EV_GONE], n);
    faulty_insert(&card);
    run(3000000);
    CHECK_EQ(errors(), n);
    CHECK_EQ(w.ring.count, 0);
  }
}

static void a_card_that_is_not_there_is_one_error(void) {
  faulty_pull(&card);
  begin();
  run(3000000);
  CHECK_EQ(errors(), 1);
  faulty_insert(&card);
  run(3000000);
  CHECK_EQ(errors(), 1);
  CHECK_EQ(w.ring.count, 0);
}

static void a_card_that_cannot_be_read_is_one_error(void) {
  card.fail_read_per_mille = 1000;
  begin();
  run(10000000);
  CHECK_EQ(errors(), 1);
  CHECK(events[WEIR_EV_IO_ERROR] > 0);
  card.fail_read_per_mille = 0;
  run(3000000);
  CHECK_EQ(w.ring.count, 0);
}

static void a_read_only_card_is_one_error(void) {
  card.read_only = true;
  begin();
  run(3000000);
  CHECK_EQ(errors(), 1);
  card.read_only = false;
}

static void a_refused_card_is_one_error(void) {
  memset(card.image, 0, WEIR_SECTOR);
  begin();
  run(3000000);
  CHECK_EQ(errors(), 1);
  CHECK_EQ(events[WEIR_EV_REFUSED], 1);
}

int main(void) {
  faulty_open(&card, 64u << 11, 5);
  rig_format(&card, 5, 0, 0);
  a_healthy_card_has_no_errors();
  each_pull_is_one_error();
  a_card_that_is_not_there_is_one_error();
  a_card_that_cannot_be_read_is_one_error();
  a_read_only_card_is_one_error();
  a_refused_card_is_one_error();
  faulty_close(&card);
  printf("card: fine\n");
  return 0;
}
