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
static uint32_t writes;

/* A supply that must discharge before it is off, and a card that hangs until that was done. */
static struct {
  bool on, hung;
  uint8_t discharge;
  uint32_t ons, offs;
} supply;
static uint32_t events[16];
static struct weir_storage_config config;
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

static int set_power(void *ctx, bool on) {
  (void)ctx;
  if (!on && supply.on && supply.discharge++ % 4 != 3) return WEIR_BUSY;
  if (on != supply.on) (*(on ? &supply.ons : &supply.offs))++;
  if (!on) supply.hung = false;
  if (on && !supply.on) {
    card.generation++;
    ready_at = card.now_us + 100000;
  }
  supply.on = on;
  return WEIR_OK;
}

static const struct weir_card_power power = {.set = set_power};

static int count_start(void *ctx, enum weir_block_op op, uint32_t sector, void *buffer, uint32_t count) {
  CHECK(config.power == NULL || supply.on);
  writes += op == WEIR_BLOCK_WRITE;
  return card.block.start(ctx, op, sector, buffer, count);
}

static int slow_info(void *ctx, struct weir_block_info *info) {
  if (config.power != NULL && !supply.on) return WEIR_E_GONE;
  if (supply.hung) return WEIR_E_IO;
  return card.now_us < ready_at ? WEIR_BUSY : card.block.info(ctx, info);
}

static void on_event(void *ctx, const struct weir_storage_event *e) { ((uint32_t *)ctx)[e->type]++; }

static const struct weir_clock clock_port = {.ctx = &card, .uptime_us = uptime, .wall = wall};
static const struct weir_random random_port = {.bytes = random_bytes};

static void begin_with(const struct weir_card_power *p) {
  const struct weir_config c = {.device = "d"};
  const struct weir_ports ports = {.clock = &clock_port, .random = &random_port, .storage = &storage, .storage_config = &config};
  const struct weir_memory memory = {.ring = ring, .ring_size = sizeof ring, .batch = batch, .batch_size = sizeof batch};
  memset(events, 0, sizeof events);
  slow = card.block;
  slow.info = slow_info;
  slow.start = count_start;
  config = (struct weir_storage_config){
      .block = &slow, .power = p, .buffers = sectors, .buffer_count = 3, .flush_ms = 10, .event = on_event, .event_ctx = events};
  CHECK_EQ(weir_init(&w, &c, &ports, &memory), WEIR_OK);
  CHECK_EQ(weir_add_schema(&w, weir_schema_env, weir_schema_env_size), WEIR_OK);
}

static void begin(void) { begin_with(NULL); }

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

static void quiesce(void) {
  uint64_t until = card.now_us + 5000000;
  while (weir_quiesce(&w) != WEIR_OK) {
    CHECK(card.now_us < until);
    run(1000);
  }
}

static void the_card_is_switched_on_and_off(void) {
  memset(&supply, 0, sizeof supply);
  begin_with(&power);
  run(2000000);
  record();
  run(1000000);
  CHECK_EQ(w.ring.count, 0);
  CHECK_EQ(errors(), 0);
  CHECK_EQ(supply.ons, 1);
  for (uint32_t n = 1; n <= 3; n++) { /* quiet: off, nothing is written, and nobody is in a hurry */
    record();
    uint64_t last = weir_ring_next(&w.ring) - 1;
    quiesce();
    CHECK(!supply.on);
    CHECK_EQ(supply.offs, n);
    CHECK(weir_is_durable(&w, last));
    uint32_t before = writes, polls = weir_stats(&w)->polls;
    for (uint64_t until = card.now_us + 7200000000u; card.now_us < until;) {
      uint64_t at = weir_poll(&w);
      card.now_us = at > card.now_us ? at : card.now_us + 1;
      if (at > until) card.now_us = until;
    }
    CHECK_EQ(writes, before);
    CHECK(weir_stats(&w)->polls - polls < 100);
    CHECK(!supply.on);
    weir_resume(&w);
    run(2000000);
    CHECK(supply.on);
    CHECK_EQ(supply.ons, n + 1);
    CHECK_EQ(w.ring.count, 0);
    CHECK(writes > before); /* the time was learnt again */
  }
  CHECK_EQ(errors(), 0);
  CHECK_EQ(events[WEIR_EV_GONE], 0);
}

static void a_card_that_hangs_is_switched_off_and_on(void) {
  memset(&supply, 0, sizeof supply);
  supply.hung = true; /* since before the start */
  begin_with(&power);
  run(3000000);
  CHECK_EQ(w.ring.count, 0);
  CHECK_EQ(supply.offs, 1);
  CHECK(errors() <= 1);
  supply.hung = true; /* while it records */
  record();
  run(4000000);
  CHECK_EQ(w.ring.count, 0);
  CHECK_EQ(supply.offs, 2);
  CHECK(errors() <= 2);
  faulty_pull(&card); /* without a card the supply is not switched again and again */
  run(10000000);
  CHECK(supply.offs <= 3);
  faulty_insert(&card);
  run(3000000);
  record();
  run(1000000);
  CHECK_EQ(w.ring.count, 0);
}

int main(void) {
  faulty_open(&card, 64u << 11, 5);
  rig_format(&card, 5, 0, 0);
  a_healthy_card_has_no_errors();
  each_pull_is_one_error();
  a_card_that_is_not_there_is_one_error();
  the_card_is_switched_on_and_off();
  a_card_that_hangs_is_switched_off_and_on();
  memset(&supply, 0, sizeof supply);
  a_card_that_cannot_be_read_is_one_error();
  a_read_only_card_is_one_error();
  a_refused_card_is_one_error();
  faulty_close(&card);
  printf("card: fine\n");
  return 0;
}
