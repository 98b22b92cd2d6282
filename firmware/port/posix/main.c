/* main.c: weir-device, the firmware as a Linux process. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#ifdef WEIR_TLS
#include "weir_tls.h"
#endif

enum { PLAN_SIZE = 8192 + 128, PLAN_SLOTS = 3, BATCH = 1024, SECTORS = 9, QUIET_S = 10, EXPECT_MS = 2000, SPINS_MOST = 100000, PLAN_FILES = 8 };

static struct weir recorder;
static struct weir_storage storage;
static _Alignas(8) uint8_t plans[PLAN_SLOTS][PLAN_SIZE];
static _Alignas(8) uint8_t batch[BATCH];
static _Alignas(8) uint8_t sectors[SECTORS][WEIR_SECTOR];
static uint8_t plan_files[PLAN_FILES][PLAN_SIZE];

static struct options options;
static struct posix_clock clock_port;
static struct posix_net net;
#ifdef WEIR_TLS
static struct weir_tls tls;
#endif
static struct posix_card card;
static struct posix_slots slots;
static struct posix_watchdog watchdog;
static FILE *record_log;
static volatile sig_atomic_t stopping;

static void on_signal(int signal) {
  (void)signal;
  stopping = 1;
}

static uint64_t uptime(void) { return clock_port.clock.uptime_us(&clock_port); }

static void fail(const char *what, const char *which) {
  fprintf(stderr, "weir-device: %s%s\n", what, which);
  exit(1);
}

/* fail_file says what the system says of a file, and what to do. */
static void fail_file(const char *path, const char *hint) {
  fprintf(stderr, "weir-device: %s: %s\n%s\n", path, strerror(errno), hint);
  exit(1);
}

/* ------------------------------------------------------------------ sensor */

static uint64_t sensed, next_sense = UINT64_MAX;
static uint64_t spins_in_a_row, spins; /* times that the core had nothing to do and yet asked to be called at once */

/* Reading number n of this device: the same for the same start. */
static uint32_t reading(char *out, size_t size, uint64_t n, uint64_t at_us) {
  uint64_t x = (options.base_ms + n) * 0x9e3779b97f4a7c15u;
  x ^= x >> 29;
  int wrote = snprintf(out, size, "{\"ts\":%" PRIu64 ",\"temperature\":%u.%02u,\"humidity\":%u.%02u,\"pressure\":1%03u.%02u,\"battery\":3.%02u,\"status\":\"ok\"}",
                       options.base_ms + at_us / 1000, (unsigned)(15 + x % 10), (unsigned)(x / 16 % 100), (unsigned)(40 + x / 64 % 20),
                       (unsigned)(x / 512 % 100), (unsigned)(x / 4096 % 40), (unsigned)(x / 65536 % 100), (unsigned)(50 + x / 1048576 % 50));
  return (uint32_t)wrote;
}

static void sense(void) {
  char payload[256];
  uint64_t sequence, now = uptime();
  while (now >= next_sense && (options.readings == 0 || sensed < options.readings)) {
    uint32_t n = reading(payload, sizeof payload, sensed, next_sense);
    int r = weir_record(&recorder, options.sense_topic, payload, n, &sequence);
    if (r == WEIR_BUSY) return; /* it is made again after the next poll */
    if (r == WEIR_OK && record_log != NULL) fprintf(record_log, "R %016" PRIx64 " %" PRIu64 " %s %s\n", recorder.epoch, sequence, options.sense_topic, payload);
    if (r < 0 && r != WEIR_E_FULL) fail("the sensor's reading is refused: ", payload);
    sensed++;
    next_sense += (uint64_t)options.sense_ms * 1000u;
  }
}

static bool sensing(void) { return options.sense_ms != 0 && !(options.readings != 0 && sensed >= options.readings); }

static void log_durable(void) {
  static uint64_t said;
  uint64_t durable = storage.durable > 0 ? storage.durable - 1 : 0;
  if (weir_confirmed(&recorder) > durable) durable = weir_confirmed(&recorder);
  if (record_log == NULL) return;
  if (durable > said) fprintf(record_log, "D %016" PRIx64 " %" PRIu64 "\n", recorder.epoch, said = durable);
  fflush(record_log);
}

/* -------------------------------------------------------------------- card */

/* Says what a person may want to do something about. */
static void on_card(void *ctx, const struct weir_storage_event *e) {
  static const char *const refusals[] = {"", "it is not formatted", "it has an exFAT or NTFS volume", "its FAT volume is none that a recorder uses",
                                         "it has fewer than two usable segment files"};
  static const char *const skips[] = {"", "its size is not that of a segment", "it is read-only, hidden, a system file or a directory",
                                      "it lies in pieces, as after a computer copied it back", "it lies outside the volume",
                                      "it shares clusters with another file"};
  (void)ctx;
  if (e->type == WEIR_EV_REFUSED)
    fprintf(stderr, "weir-device: the card is refused: %s\nhint: weir card format %s\n", refusals[e->value], options.card);
  if (e->type == WEIR_EV_SKIPPED) fprintf(stderr, "weir-device: WEIR%04u.SEG is skipped: %s\n", (unsigned)e->value, skips[e->reason]);
  if (e->type == WEIR_EV_READ_ONLY || (e->type == WEIR_EV_MOUNTED && weir_storage_state(&storage) == WEIR_CARD_READ_ONLY))
    fprintf(stderr, "weir-device: the card takes no writes\n");
}

/* ---------------------------------------------------------------- the loop */

static bool draining;

/* An answer of the broker or the gateway is on its way. While the end waits for the gateway, each hello has time for one. */
static bool expecting(void) {
  const struct weir_uplink *u = &recorder.uplink;
  if (recorder.mqtt.state == WEIR_MQTT_CONNECTING || recorder.mqtt.state == WEIR_MQTT_GREETING) return true;
  return recorder.mqtt.state == WEIR_MQTT_UP &&
         (u->in_flight || recorder.mqtt.subscribe_id != 0 || (!u->greeted && (u->quiet <= 1 || draining)) || u->window_count > 0);
}

/* Everything that was recorded is with the gateway. */
static bool settled(void) {
  const struct weir_uplink *u = &recorder.uplink;
  return u->greeted && u->cursor + 1 == weir_ring_next(&recorder.ring) && u->ask_count == 0 && u->window_count == 0 &&
         u->loss_count == 0 && !u->wants_served && !u->in_flight && !recorder.time.record_due;
}

static uint64_t wake_at(uint64_t deadline) {
  uint64_t at = deadline, link;
  if (sensing() && next_sense < at) at = next_sense;
  if (net.link_period_s != 0 && net.fd >= 0) {
    posix_net_link(&net, uptime(), &link);
    if (link < at) at = link;
  }
  return at;
}

/* Sleeps until something happens or the time comes; a virtual clock jumps there once nothing is expected. */
static void rest(uint64_t deadline) {
  uint64_t now = uptime(), at = wake_at(deadline);
  int timeout = -1;
  if (at <= now) timeout = 0;
  else if (clock_port.is_virtual) timeout = expecting() ? EXPECT_MS : 0;
  else if (at != UINT64_MAX) timeout = (at - now) / 1000 >= 60000 ? 60000 : (int)((at - now + 999) / 1000);
  struct pollfd p = {net.fd, POLLIN, 0};
  if (net.connecting || weir_mqtt_pending(&recorder.mqtt)) p.events |= POLLOUT;
#ifdef WEIR_TLS
  if (weir_tls_pending(&tls)) p.events |= POLLOUT;
#endif
  int ready = poll(&p, net.fd >= 0 ? 1 : 0, timeout);
  if (ready == 0 && clock_port.is_virtual && at > now) clock_port.now = at == UINT64_MAX ? now + 1000000u : at;
}

static int finish(void) {
  uint64_t until = uptime() + (uint64_t)QUIET_S * 1000000u;
  while (weir_quiesce(&recorder) != WEIR_OK && uptime() < until) rest(weir_poll(&recorder));
  bool quiet = weir_quiesce(&recorder) == WEIR_OK;
  log_durable();
  const struct weir_stats *s = weir_stats(&recorder);
  printf("stats: received=%u local=%u recorded=%u acknowledged=%u redelivered=%u deferred=%u held=%u dropped_oldest=%u dropped_newest=%u batches=%u sent=%u hellos=%u lost=%u down_refused=%u schemas_taken=%u schemas_refused=%u storage_errors=%u skipped_segments=%u polls=%u idle_polls=%u connects=%u confirmed=%" PRIu64 " ring_peak=%u spins=%" PRIu64 "\n",
         s->received, s->local, s->recorded, s->acknowledged, s->redelivered, s->deferred, s->held, s->dropped_oldest, s->dropped_newest, s->batches,
         s->sent, s->hellos, s->lost, s->down_refused, s->schemas_taken, s->schemas_refused, s->storage_errors, storage.stats.skipped_segments, s->polls, s->idle_polls, recorder.mqtt.connects, weir_confirmed(&recorder), s->ring_peak, spins);
  for (unsigned i = 0; i < recorder.schema_count; i++)
    printf("schema: %.*s %u\n", (int)recorder.schemas[i].plan.name_size, recorder.schemas[i].plan.name, (unsigned)recorder.schemas[i].plan.version);
  printf(quiet ? "quiet\n" : "not quiet\n");
  return quiet ? 0 : 1;
}

/* A virtual clock would never move again. */
static void note_spin(void) {
  spins++;
  if (clock_port.is_virtual && ++spins_in_a_row == SPINS_MOST) fail("the core asks to be called at once, again and again, and has nothing to do", "");
}

static int loop(void) {
  for (;;) {
    weir_hang_hook(WEIR_PART_BOARD);
    uint64_t deadline = weir_poll(&recorder);
    if (!recorder.moved && deadline <= recorder.now) note_spin();
    else spins_in_a_row = 0;
    if (recorder.epoch != 0 && !draining && sensing()) {
      if (next_sense == UINT64_MAX) next_sense = uptime();
      uint32_t before = weir_stats(&recorder)->local;
      sense();
      if (weir_stats(&recorder)->local != before) deadline = 0;
    }
    log_durable();
    if (watchdog.dog.feed != NULL) weir_board_alive(&recorder);
    if (options.virtual_s != 0 && uptime() >= options.virtual_s * 1000000u) {
      draining = true; /* the link stays up, nothing is recorded, until all is with the gateway */
      net.link_period_s = 0;
      options.sense_ms = 0;
      if (settled()) return finish();
      if (uptime() >= (options.virtual_s + 7200u) * 1000000u) {
        finish();
        fail("the gateway did not take everything within two hours of virtual time", "");
      }
    }
    if (stopping) return finish();
    rest(deadline);
  }
}

/* The stream to the broker: the socket, or TLS over it. */
static const struct weir_net *stream(void) {
#ifdef WEIR_TLS
  const struct weir_tls_config c = {.inner = &net.net, .random = &posix_random, .identity = options.tls_identity,
                                    .psk = options.tls_identity != NULL ? options.tls_psk : NULL, .psk_size = options.tls_psk_size,
                                    .pin = options.tls_pinned ? options.tls_pin : NULL};
  if (c.psk == NULL && c.pin == NULL) return &net.net;
  if (weir_tls_init(&tls, &c) != WEIR_OK) fail("mbedTLS refuses the key", "");
  return &tls.net;
#else
  return &net.net;
#endif
}

static void format_card(void) {
  static struct weir_format format;
  uint32_t id = 0;
  int r;
  while (posix_random.bytes(NULL, (uint8_t *)&id, sizeof id) != WEIR_OK || id == 0) continue;
  struct weir_format_config c = {.block = &card.block, .buffer = sectors, .card_id = id};
  if (weir_format_begin(&format, &c) != WEIR_OK) fail("cannot format ", options.card);
  while ((r = weir_format_poll(&format)) == WEIR_BUSY) continue;
  if (r != WEIR_OK) fail("cannot format (64 MiB is the least) ", options.card);
}

static void load_plan(const char *path, uint8_t *to) {
  FILE *f = fopen(path, "rb");
  if (f == NULL) fail_file(path, "hint: weir schema compile SCHEMA --target mcu -o FILE makes a plan");
  size_t n = fread(to, 1, PLAN_SIZE, f);
  fclose(f);
  if (weir_add_schema(&recorder, to, (uint32_t)n) != WEIR_OK) fail("not a plan that this firmware runs: ", path);
}

int main(int argc, char **argv) {
  struct weir_ports ports = {.clock = &clock_port.clock, .random = &posix_random, .net = &net.net};
  static struct weir_storage_config storage_config = {.buffers = sectors, .buffer_count = SECTORS, .firmware = "posix", .event = on_card};
  options_read(&options, argc, argv);
  bool host_time = options.base_ms == NO_BASE;
  if (host_time) options.base_ms = posix_wall_ms();
  posix_clock_init(&clock_port, options.virtual_s != 0);
  if (options.wall_source != 0) posix_clock_wall(&clock_port, options.wall_source, options.wall_error_ms, options.base_ms, options.wall_after_s);
  posix_net_init(&net, &clock_port);
  net.link_seed = options.link_seed;
  net.link_period_s = options.link_period_s;
  ports.net = stream();
  if (options.card != NULL) {
    if (posix_card_open(&card, options.card) != WEIR_OK) fail_file(options.card, "hint: weir card format FILE --size 64M makes a card");
    card.sync = !options.no_sync;
    if (options.format) format_card();
    card.hang = options.hang_card;
    posix_card_pulls(&card, &clock_port, options.pulls, options.pull_count);
    storage_config.block = &card.block;
    storage_config.flush_ms = options.flush_ms;
    if (options.sealed) storage_config.key = options.card_key;
    ports.storage = &storage;
    ports.storage_config = &storage_config;
  }
  if (options.slots != NULL) {
    if (access(options.slots, W_OK | X_OK) != 0) fail_file(options.slots, "hint: --slots names a directory that is there, for the schemas that arrive");
    posix_slots_init(&slots, options.slots);
    ports.slots = &slots.slots;
  }
  if (options.state != NULL) {
    if (posix_watchdog_init(&watchdog, options.state, options.watchdog_ms == 0 ? 8000 : options.watchdog_ms) != WEIR_OK) fail_file(options.state, "hint: --state names a file; it is made where it is not there");
    ports.watchdog = &watchdog.dog;
  }
  if (options.log != NULL && (record_log = fopen(options.log, "a")) == NULL) fail_file(options.log, "hint: --log names a file; it is made where it is not there");
  uint8_t *ring = (uint8_t *)malloc(options.ring);
  if (ring == NULL) fail("no memory for the ring", "");
  const struct weir_memory memory = {.ring = ring, .ring_size = options.ring, .plans = plans[0], .plan_size = PLAN_SIZE, .plan_slots = PLAN_SLOTS, .batch = batch, .batch_size = sizeof batch};
  if (weir_init(&recorder, &options.config, &ports, &memory) != WEIR_OK) fail("the configuration is refused", "");
  for (unsigned i = 0; i < options.plan_count; i++) load_plan(options.plans[i], plan_files[i]);
  struct sigaction a = {.sa_handler = on_signal};
  sigaction(SIGTERM, &a, NULL);
  sigaction(SIGINT, &a, NULL);
  printf("started: cause=%d part=%d\n", (int)recorder.cause, (int)recorder.cause_part);
  if (host_time && options.sense_ms != 0) printf("times: the readings carry the time of this machine's clock\n");
  fflush(stdout);
  return loop();
}
