/*
 * The recorder on the LM3S6965 board: all of its memory, and its ports.
 *
 * The serial line takes one letter: s prints the counters, q makes everything
 * durable and ends with exit code 0, h hangs (the watchdog resets), o overflows
 * the stack (the guard resets).
 */
#include <string.h>

#include "board.h"
#include "measure.h"
#include "options.h"
#include "recorder.h"

enum { RING = 32000, PLAN = 640, PLANS = 2, BATCH = 1024, SECTORS = 3 };

static struct weir recorder;
static struct weir_storage storage;
static uint8_t ring[RING] __attribute__((aligned(WEIR_BLOCK_ALIGN)));
static uint8_t plans[PLANS][PLAN] __attribute__((aligned(WEIR_BLOCK_ALIGN)));
static uint8_t batch[BATCH] __attribute__((aligned(WEIR_BLOCK_ALIGN)));
static uint8_t sectors[SECTORS][WEIR_SECTOR] __attribute__((aligned(WEIR_BLOCK_ALIGN)));
static struct options options;

extern const uint8_t board_plan[];
extern const uint32_t board_plan_size;

static const struct weir_clock board_clock = {.uptime_us = clock_uptime_us};

static enum weir_reset cause(void *ctx) {
  (void)ctx;
  return board_reset_cause();
}

static const struct weir_watchdog board_watchdog = {
    .feed = watchdog_feed, .cause = cause, .retained = &board_retained, .timeout_ms = WATCHDOG_MS};

static void print_stats(void) {
  const struct weir_stats *s = weir_stats(&recorder);
  uint32_t refused = 0;
  for (int i = 0; i < WEIR_REFUSALS; i++) {
    refused += s->refused[i];
  }
  console_text("stats:");
  console_field("received", s->received);
  console_field("recorded", s->recorded);
  console_field("refused", refused);
  console_field("acknowledged", s->acknowledged);
  console_field("durable", (uint32_t)weir_storage_durable(&storage));
  console_field("batches", s->batches);
  console_field("sent", s->sent);
  console_field("held", s->held);
  console_field("dropped", s->dropped_oldest + s->dropped_newest);
  console_field("storage_errors", s->storage_errors);
  console_field("ring_peak", s->ring_peak);
  console_field("polls", s->polls);
  console_field("idle_polls", s->idle_polls);
  console_field("uptime_ms", (uint32_t)(clock_uptime_us(NULL) / 1000u));
  console_field("wakeups", clock_wakeups);
  console_field("stack_used", board_stack_used());
  console_field("stack", board_stack_size());
  console_line();
  measure_print();
}

/* Each call takes some of the stack until the guard ends it. */
static uint32_t __attribute__((noinline)) overflow(uint32_t depth) {
  volatile uint32_t room[32];
  room[depth % 32u] = depth;
  return depth > 100000u ? room[0] : overflow(depth + 1u) + room[depth % 32u];
}

/* When to give up waiting for quiet; 0: nobody asked for it. */
static uint64_t quiet_until;

static void end_when_quiet(void) {
  const bool quiet = weir_quiesce(&recorder) == WEIR_OK;
  if (quiet || clock_uptime_us(NULL) > quiet_until) {
    print_stats();
    console_text(quiet ? "quiet\n" : "not quiet after 30 s\n");
    semihost_exit(quiet ? 0 : 1);
  }
}

static void obey(int letter) {
  switch (letter) {
  case 's':
    print_stats();
    break;
  case 'q':
    quiet_until = clock_uptime_us(NULL) + 30000000u;
    break;
  case 'h':
    for (;;) {
    }
  case 'o':
    console_number(overflow(0));
    break;
  default:
    break;
  }
}

static void fail(const char *what, const char *detail) {
  console_text("weir: ");
  console_text(what);
  console_text(detail);
  console_line();
  semihost_exit(2);
}

static void format_card(const struct weir_block *block, void (*pause)(void)) {
  struct weir_format format;
  uint32_t id = 0;
  while (id == 0) {
    if (board_entropy.bytes(board_entropy.ctx, (uint8_t *)&id, sizeof id) != WEIR_OK) {
      fail("no entropy for the card's id", "");
    }
  }
  const struct weir_format_config config = {.block = block, .buffer = &sectors[0], .card_id = id};
  int status = weir_format_begin(&format, &config);
  if (status == WEIR_OK) {
    do {
      watchdog_feed(NULL);
      pause();
      status = weir_format_poll(&format);
    } while (status == WEIR_BUSY);
  }
  if (status != WEIR_OK) {
    fail("the card cannot be formatted", "");
  }
  console_text("weir: the card is formatted\n");
}

/* The numbers are those of weir/storage.h. */
static void on_card(void *ctx, const struct weir_storage_event *e) {
  (void)ctx;
  if (e->type == WEIR_EV_REFUSED) {
    console_text("weir: the card is refused,");
    console_field("reason", e->value);
    console_line();
  } else if (e->type == WEIR_EV_SKIPPED) {
    console_text("weir: a segment file is skipped,");
    console_field("number", e->value);
    console_field("reason", e->reason);
    console_line();
  } else if (e->type == WEIR_EV_READ_ONLY) {
    console_text("weir: the card takes no writes\n");
  }
}

void recorder_begin(const struct weir_block *block, const struct weir_net *net, void (*pause)(void)) {
  static struct weir_config config = {.device = "lm3s6965", .host = BOARD_BROKER, .qos = 1};
  static struct weir_storage_config card = {.buffers = sectors, .buffer_count = SECTORS, .firmware = "lm3s6965", .flush_ms = 20, .event = on_card};
  static struct weir_ports ports = {.clock = &board_clock, .random = &board_entropy, .storage = &storage, .storage_config = &card, .watchdog = &board_watchdog};
  const struct weir_memory memory = {.ring = ring, .ring_size = sizeof ring, .plans = plans[0], .plan_size = PLAN, .plan_slots = PLANS, .batch = batch, .batch_size = sizeof batch};
  card.block = block;
  ports.net = net;
  const char *unknown = options_read(&options, &config);
  if (unknown) {
    fail("not an option: ", unknown);
  }
  if (options.format) {
    format_card(block, pause);
  }
  if (weir_init(&recorder, &config, &ports, &memory) != WEIR_OK) {
    fail("weir_init refuses the configuration", "");
  }
  if (board_plan_size && weir_add_schema(&recorder, board_plan, board_plan_size) != WEIR_OK) {
    fail("the schema that is linked in does not run", "");
  }
  console_text("weir: started,");
  console_field("cause", (uint32_t)board_reset_cause());
  console_field("blamed", recorder.cause_part);
  console_line();
}

uint64_t recorder_poll(void) {
  const int letter = console_read();
  if (letter >= 0) {
    obey(letter);
  }
  if (quiet_until) {
    end_when_quiet();
  }
  weir_board_alive(&recorder);
  return weir_poll(&recorder);
}
