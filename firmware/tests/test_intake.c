/* test_intake.c: from a broker's message to its acknowledgement, with the ring as the only store. */
#include <string.h>

#include "../fuzz/fuzz_env_plan.c"
#include "check.h"
#include "core.h"
#include "weir/record.h"
#include "weir/weir.h"
#include "wire.h"

uint32_t weir_crc32(uint32_t crc, const void *data, size_t n);

static struct wire wire;
static struct weir w;
static uint64_t now;
static _Alignas(8) uint8_t ring[1024], batch[768];

static uint64_t uptime(void *ctx) {
  (void)ctx;
  return now;
}

static int random_bytes(void *ctx, uint8_t *out, size_t n) {
  (void)ctx;
  memset(out, 0x42, n);
  return WEIR_OK;
}

static const struct weir_clock clock_port = {.uptime_us = uptime};
static const struct weir_random random_port = {.bytes = random_bytes};

static void turn(int times) {
  for (int i = 0; i < times; i++) {
    weir_poll(&w);
    now += 1000;
  }
}

static void start(enum weir_overflow overflow, enum weir_ack ack) {
  const struct weir_config config = {.device = "d", .host = "broker", .qos = 1, .overflow = overflow, .ack = ack};
  const struct weir_ports ports = {.clock = &clock_port, .random = &random_port, .net = &wire.net};
  const struct weir_memory memory = {.ring = ring, .ring_size = sizeof ring, .batch = batch, .batch_size = sizeof batch};
  now = 0;
  CHECK_EQ(weir_init(&w, &config, &ports, &memory), WEIR_OK);
  CHECK_EQ(weir_add_schema(&w, weir_schema_env, weir_schema_env_size), WEIR_OK);
  turn(3);
  wire_say(&wire, "\x20\x02\x00\x00", 4);
  turn(3);
  CHECK_EQ(w.mqtt.state, WEIR_MQTT_UP);
}

/* Message number n on a topic of the schema. */
static void say(unsigned n, uint16_t id, bool dup) {
  char payload[80];
  int size = snprintf(payload, sizeof payload, "{\"ts\":17500000%05u,\"temperature\":21.5}", n);
  wire_publish(&wire, "plants/p03/lines/l2/devices/d00123/env", payload, (size_t)size, id, dup);
}

/* The gateway: everything of the epoch up to the cursor is durable. */
static void cursor(uint64_t upto) {
  uint8_t m[40] = {0x81, 1};
  uint32_t n = 2;
  for (int i = 0; i < 8; i++) m[n++] = (uint8_t)(w.epoch >> (8 * i));
  for (; upto > 0x7f; upto >>= 7) m[n++] = (uint8_t)(upto | 0x80);
  m[n++] = (uint8_t)upto;
  m[n++] = 0;
  uint32_t crc = weir_crc32(0, m, n);
  for (int i = 0; i < 4; i++) m[n++] = (uint8_t)(crc >> (8 * i));
  wire_publish(&wire, "weir/down/d", m, n, 0, false);
}

/* How many PUBACKs the device has sent on this connection. */
static unsigned pubacks(uint16_t id) {
  unsigned count = 0;
  for (size_t at = 0; at + 1 < wire.out_n;) {
    size_t length = 0, k = 1;
    unsigned shift = 0;
    do length |= (size_t)(wire.out[at + k] & 0x7f) << shift, shift += 7;
    while ((wire.out[at + k++] & 0x80) != 0);
    if (wire.out[at] == 0x40 && (id == 0 || wire.out[at + 3] == (uint8_t)id)) count++;
    at += k + length;
  }
  return count;
}

static void acknowledged_when_durable(void) {
  start(WEIR_HOLD, WEIR_ACK_DURABLE);
  for (unsigned i = 1; i <= 5; i++) say(i, (uint16_t)i, false);
  turn(20);
  CHECK_EQ(weir_stats(&w)->recorded, 5);
  CHECK_EQ(pubacks(0), 0);
  cursor(4); /* the plan's record has sequence 1 */
  turn(5);
  CHECK_EQ(pubacks(0), 3);
  cursor(6);
  turn(5);
  CHECK_EQ(pubacks(0), 5);
  CHECK_EQ(w.ring.count, 0);
  CHECK(weir_is_durable(&w, 6) && !weir_is_durable(&w, 7));
  cursor(100); /* of records that were never made: another store of the same name */
  turn(5);
  CHECK_EQ(weir_confirmed(&w), 6);
}

static void acknowledged_when_in_the_ring(void) {
  start(WEIR_HOLD, WEIR_ACK_RING);
  say(1, 7, false);
  turn(5);
  CHECK_EQ(pubacks(7), 1);
}

static void reconnect(bool present) {
  wire.cut = true;
  turn(2);
  now += 2000000;
  turn(2);
  wire_say(&wire, present ? "\x20\x02\x01\x00" : "\x20\x02\x00\x00", 4);
  turn(3);
  CHECK_EQ(w.mqtt.state, WEIR_MQTT_UP);
}

static void what_comes_again_is_recorded_once(void) {
  start(WEIR_HOLD, WEIR_ACK_DURABLE);
  say(1, 1, false);
  say(2, 2, false);
  turn(5);
  reconnect(true);
  CHECK_EQ(pubacks(0), 0); /* not before it came again */
  say(1, 1, true);
  say(2, 2, true);
  say(3, 3, true); /* DUP on what never came: brokers do that */
  turn(5);
  CHECK_EQ(weir_stats(&w)->recorded, 3);
  CHECK_EQ(weir_stats(&w)->redelivered, 2);
  cursor(4);
  turn(5);
  CHECK_EQ(pubacks(0), 3);
  reconnect(false); /* the ids of a session that is gone mean nothing */
  say(1, 1, true);
  turn(5);
  CHECK_EQ(weir_stats(&w)->recorded, 4);
}

static void a_full_ring_that_holds_lets_the_cursor_through(void) {
  unsigned made = 0;
  start(WEIR_HOLD, WEIR_ACK_RING);
  for (unsigned i = 1; i <= 60; i++) say(i, (uint16_t)i, false);
  cursor(0);
  turn(200);
  made = weir_stats(&w)->recorded;
  CHECK(made > 10 && made < 60);
  CHECK_EQ(weir_stats(&w)->deferred, 60 - made);
  CHECK_EQ(pubacks(0), made); /* what did not fit is not acknowledged: the broker has it still */
  CHECK_EQ(weir_stats(&w)->dropped_newest + weir_stats(&w)->dropped_oldest, 0);
  unsigned connects = wire.connects;
  cursor(made + 1);
  turn(10);
  CHECK_EQ(wire.connects, connects + 1); /* it asks for what was let go */
}

/* How many records of a kind are in the ring. */
static unsigned in_ring(uint8_t kind) {
  struct weir_ring_place p = {.sequence = w.ring.first};
  struct weir_ring_entry e;
  unsigned n = 0;
  for (; weir_ring_at(&w.ring, &p, &e); weir_ring_step(&w.ring, &p, &e)) n += e.kind == kind;
  return n;
}

static void the_oldest_gives_way(void) {
  start(WEIR_DROP_OLDEST, WEIR_ACK_RING);
  weir_time_learn(&w, now, 1750000000000000, 1000, 1);
  for (unsigned i = 1; i <= 60; i++) say(i, (uint16_t)i, false);
  turn(200);
  CHECK_EQ(weir_stats(&w)->recorded, 60);
  CHECK_EQ(in_ring(WEIR_KIND_PLAN), 1); /* without it, nobody understands the others */
  CHECK_EQ(in_ring(WEIR_KIND_TIME), 1);
  CHECK(weir_stats(&w)->dropped_oldest > 0);
  CHECK_EQ(pubacks(0), 60);
}

static void the_newest_gives_way(void) {
  start(WEIR_DROP_NEWEST, WEIR_ACK_RING);
  for (unsigned i = 1; i <= 60; i++) say(i, (uint16_t)i, false);
  turn(200);
  CHECK_EQ(weir_stats(&w)->recorded + weir_stats(&w)->dropped_newest, 60);
  CHECK(weir_stats(&w)->dropped_newest > 0);
  CHECK_EQ(pubacks(0), 60);
}

static void what_the_schema_refuses_is_acknowledged_and_counted(void) {
  start(WEIR_HOLD, WEIR_ACK_RING);
  wire_publish(&wire, "plants/p/lines/l/devices/d/env", "{", 1, 1, false);
  wire_publish(&wire, "plants/p/lines/l/devices/d/env", "{\"ts\":1}", 8, 2, false);
  wire_publish(&wire, "somewhere/else", "1", 1, 3, false);
  turn(10);
  CHECK_EQ(weir_stats(&w)->refused[WEIR_REFUSAL_MALFORMED], 1);
  CHECK_EQ(weir_stats(&w)->refused[WEIR_REFUSAL_INVALID], 1);
  CHECK_EQ(weir_stats(&w)->refused[WEIR_REFUSAL_UNMATCHED], 1);
  CHECK_EQ(weir_stats(&w)->recorded, 0);
  CHECK_EQ(pubacks(0), 3);
}

/* So that one damaged block does not take the meaning of all that follows. */
static void the_plan_is_said_again(void) {
  start(WEIR_HOLD, WEIR_ACK_RING);
  uint64_t plans = 0;
  for (unsigned i = 1; i <= 2100; i++) {
    say(i % 100, 0, false);
    turn(1);
    plans += in_ring(WEIR_KIND_PLAN);
    cursor(weir_ring_next(&w.ring) - 1);
    turn(1);
    CHECK_EQ(w.ring.count, 0);
  }
  CHECK_EQ(weir_stats(&w)->recorded, 2100);
  CHECK_EQ(plans, 3); /* before the first, and after each 1,024 */
}

/* The answer to the question after the time, if it was asked at `asked`. */
static void answer_time(uint64_t asked, int64_t unix_us, uint8_t source) {
  uint8_t m[40] = {0x83, 1};
  uint32_t n = 2;
  for (int i = 0; i < 8; i++) m[n++] = (uint8_t)(w.epoch >> (8 * i));
  for (; asked > 0x7f; asked >>= 7) m[n++] = (uint8_t)(asked | 0x80);
  m[n++] = (uint8_t)asked;
  for (int i = 0; i < 8; i++) m[n++] = (uint8_t)((uint64_t)unix_us >> (8 * i));
  m[n++] = 100;
  m[n++] = source;
  uint32_t crc = weir_crc32(0, m, n);
  for (int i = 0; i < 4; i++) m[n++] = (uint8_t)(crc >> (8 * i));
  wire_publish(&wire, "weir/down/d", m, n, 0, false);
  turn(3);
}

static void a_time_that_cannot_be_is_refused(void) {
  int64_t unix_us = 0;
  uint32_t error_us = 0;
  start(WEIR_HOLD, WEIR_ACK_RING);
  cursor(0);
  for (int i = 0; i < 50 && !w.time.asked; i++) {
    turn(1);
    if (w.mqtt.flight_id != 0 && !w.mqtt.flight_open)
      wire_say(&wire, (uint8_t[]){0x40, 2, (uint8_t)(w.mqtt.flight_id >> 8), (uint8_t)w.mqtt.flight_id}, 4);
  }
  CHECK(w.time.asked);
  uint64_t asked = w.time.asked_at;
  answer_time(asked, INT64_MAX, 1);
  answer_time(asked, -1, 1);
  answer_time(asked, 1750000000000000, 0);
  answer_time(asked, 1750000000000000, 5);
  CHECK_EQ(weir_stats(&w)->down_refused, 4);
  CHECK_EQ(weir_wall(&w, now, &unix_us, &error_us), WEIR_BUSY);
  answer_time(asked, 1750000000000000, 1);
  CHECK_EQ(weir_wall(&w, now, &unix_us, &error_us), WEIR_OK);
  CHECK(unix_us >= 1750000000000000 && unix_us < 1750000001000000);
}

static void between_deadlines_nothing_happens(void) {
  start(WEIR_HOLD, WEIR_ACK_RING);
  cursor(0);
  turn(20);
  uint32_t polls = weir_stats(&w)->polls, wakes = 0;
  uint64_t until = now + 600u * 1000000u;
  while (now < until) {
    uint64_t at = weir_poll(&w);
    CHECK(w.moved || at > now);
    if (at > now) {
      now = at;
      wakes++;
    }
    if (w.mqtt.pinged) wire_say(&wire, "\xd0\x00", 2);
    if (w.uplink.in_flight && w.mqtt.flight_id != 0 && !w.mqtt.flight_open) wire_say(&wire, (uint8_t[]){0x40, 2, (uint8_t)(w.mqtt.flight_id >> 8), (uint8_t)w.mqtt.flight_id}, 4);
  }
  printf("intake: %u wakeups and %u polls in 600 idle seconds\n", wakes, weir_stats(&w)->polls - polls);
  CHECK(wakes < 120);
}

int main(void) {
  wire_init(&wire);
  acknowledged_when_durable();
  acknowledged_when_in_the_ring();
  what_comes_again_is_recorded_once();
  a_full_ring_that_holds_lets_the_cursor_through();
  the_oldest_gives_way();
  the_newest_gives_way();
  what_the_schema_refuses_is_acknowledged_and_counted();
  the_plan_is_said_again();
  a_time_that_cannot_be_is_refused();
  between_deadlines_nothing_happens();
  wire_free(&wire);
  printf("intake: fine\n");
  return 0;
}
