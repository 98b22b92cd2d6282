/* test_mqtt.c: packets split at every byte, back-pressure, reconnects, and what a broker must not do. */
#include "check.h"
#include "weir/mqtt.h"
#include "wire.h"

enum { MESSAGES = 40 };

struct heard {
  unsigned begun, ended, aborted, up, published, granted, refused;
  size_t bytes;
  uint64_t sum;
  uint32_t take;  /* most bytes that payload takes at a time; 0: none */
  unsigned holds; /* how often begin and end say "not now" first */
  unsigned held;
  char topic[WEIR_MQTT_TOPIC_MAX + 1];
  uint16_t id;
  bool dup, present;
};

static int begin(void *ctx, const struct weir_mqtt_message *m) {
  struct heard *h = (struct heard *)ctx;
  if (h->held < h->holds) {
    h->held++;
    return WEIR_BUSY;
  }
  h->held = 0;
  h->begun++;
  h->id = m->id;
  h->dup = m->dup;
  memcpy(h->topic, m->topic, strlen(m->topic) + 1);
  return m->topic_size > WEIR_MQTT_TOPIC_MAX ? WEIR_E_REFUSED : WEIR_OK;
}

static uint32_t payload(void *ctx, const uint8_t *data, uint32_t n) {
  struct heard *h = (struct heard *)ctx;
  if (n > h->take) n = h->take;
  for (uint32_t i = 0; i < n; i++) h->sum = h->sum * 31 + data[i];
  h->bytes += n;
  return n;
}

static int end(void *ctx, const struct weir_mqtt_message *m) {
  struct heard *h = (struct heard *)ctx;
  (void)m;
  if (h->held < h->holds) {
    h->held++;
    return WEIR_BUSY;
  }
  h->held = 0;
  h->ended++;
  return WEIR_OK;
}

static void aborted(void *ctx) { ((struct heard *)ctx)->aborted++; }
static void up(void *ctx, bool present) {
  ((struct heard *)ctx)->up++;
  ((struct heard *)ctx)->present = present;
}
static void published(void *ctx) { ((struct heard *)ctx)->published++; }
static void subscribed(void *ctx, bool granted) {
  struct heard *h = (struct heard *)ctx;
  if (granted) h->granted++;
  else h->refused++;
}

static struct heard heard;
static struct weir_mqtt client;
static struct wire wire;
static uint64_t now;

static void start(void) {
  struct weir_mqtt_owner owner = {&heard, begin, payload, end, aborted, up, published, subscribed};
  memset(&heard, 0, sizeof heard);
  heard.take = UINT32_MAX;
  now = 0;
  CHECK_EQ(weir_mqtt_init(&client, &wire.net, NULL, &owner, "broker", 1883, "device", "user", "word", 60, 500, 60000), WEIR_OK);
  weir_mqtt_want(&client, true);
}

static void greet(void) {
  weir_mqtt_poll(&client, now, 4096);
  static const uint8_t want[] = {0x10, 30, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xc0, 0, 60, 0, 6, 'd', 'e', 'v', 'i', 'c', 'e'};
  CHECK(wire.out_n == 32 && memcmp(wire.out, want, sizeof want) == 0);
  wire.out_n = 0;
  wire_say(&wire, "\x20\x02\x00\x00", 4);
  weir_mqtt_poll(&client, now, 4096);
  CHECK_EQ(client.state, WEIR_MQTT_UP);
  CHECK_EQ(heard.up, 1);
}

/* A stream of messages of many sizes arrives whole, whatever the pieces are. */
static void split_anywhere(size_t stretch, uint32_t take, unsigned holds) {
  static uint8_t data[3000];
  uint64_t state = 7, sum = 0;
  size_t bytes = 0;
  wire.stretch = stretch;
  start();
  greet();
  heard.take = take;
  heard.holds = holds;
  for (unsigned i = 0; i < MESSAGES; i++) {
    size_t n = i % 7 == 0 ? 0 : i % 5 == 0 ? 130 + i * 60 : i;
    for (size_t k = 0; k < n; k++) {
      data[k] = (uint8_t)draw(&state);
      sum = sum * 31 + data[k];
    }
    bytes += n;
    wire_publish(&wire, i % 2 ? "a/b" : "plants/p1/lines/l1/devices/d1/env", data, n, (uint16_t)(i % 3), false);
    wire_say(&wire, "\xd0\x00", 2);
  }
  for (unsigned i = 0; i < 200000 && wire.in_at < wire.in_n; i++) weir_mqtt_poll(&client, now, 64);
  weir_mqtt_poll(&client, now, 64);
  for (unsigned i = 0; i < 3; i++) weir_mqtt_poll(&client, now, 64);
  CHECK_EQ(client.state, WEIR_MQTT_UP);
  CHECK_EQ(heard.ended, MESSAGES);
  CHECK_EQ(heard.bytes, bytes);
  CHECK(heard.sum == sum);
  wire.stretch = 0;
}

static void bytes_stay_with_the_port_while_there_is_no_room(void) {
  start();
  greet();
  heard.take = 0;
  wire_publish(&wire, "a", "0123456789", 10, 1, false);
  for (int i = 0; i < 5; i++) weir_mqtt_poll(&client, now, 4096);
  CHECK_EQ(wire.in_n - wire.in_at, 10); /* only the header was taken */
  heard.take = UINT32_MAX;
  weir_mqtt_poll(&client, now, 4096);
  CHECK_EQ(heard.ended, 1);
}

static void what_a_broker_must_not_send(void) {
  static const struct {
    const char *bytes;
    size_t n;
  } wrong[] = {
      {"\x34\x05\x00\x01" "a\x00\x01", 7},      /* QoS 2 was not granted */
      {"\x38\x03\x00\x01" "a", 5},              /* DUP at QoS 0 */
      {"\x32\x05\x00\x01" "a\x00\x00", 7},      /* packet id 0 */
      {"\x30\x02\x00\x00", 4},                  /* no topic */
      {"\x30\x03\x00\x05" "a", 5},              /* a topic longer than the packet */
      {"\x30\xff\xff\xff\xff\x01", 6},          /* length of five bytes */
      {"\x20\x02\x00\x00", 4},                  /* a second CONNACK */
      {"\xd0\x01\x00", 3},                      /* PINGRESP with a body */
      {"\x90\x03\x00\x01\x00", 5},              /* SUBACK that nobody asked for */
      {"\x41\x02\x00\x01", 4},                  /* flags of PUBACK */
      {"\x10\x00", 2},                          /* a client's packet */
      {"\xf0\x00", 2},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    start();
    greet();
    wire_say(&wire, wrong[i].bytes, wrong[i].n);
    weir_mqtt_poll(&client, now, 4096);
    CHECK_EQ(client.state, WEIR_MQTT_WAITING);
    CHECK_EQ(client.protocol_errors, 1);
    CHECK(!wire.connected);
  }
}

static void a_publish_is_sent_again_after_a_reconnect(void) {
  static const uint8_t batch[300] = {1, 2, 3};
  start();
  greet();
  wire.accept = 7;
  CHECK_EQ(weir_mqtt_publish(&client, "weir/up/d", batch, sizeof batch), WEIR_OK);
  CHECK_EQ(weir_mqtt_publish(&client, "weir/up/d", batch, 1), WEIR_BUSY);
  for (int i = 0; i < 20; i++) weir_mqtt_poll(&client, now, 64);
  CHECK(weir_mqtt_pending(&client));
  CHECK_EQ(weir_mqtt_puback(&client, 9), WEIR_BUSY); /* not in the middle of a packet */
  wire.cut = true;
  weir_mqtt_poll(&client, now, 64);
  CHECK_EQ(client.state, WEIR_MQTT_WAITING);
  CHECK_EQ(client.disconnects, 1);
  wire.accept = WIRE_SIZE;
  now = weir_mqtt_deadline(&client);
  CHECK(now > 0 && now <= 500000);
  weir_mqtt_poll(&client, now, 64);
  wire.out_n = 0;
  wire_say(&wire, "\x20\x02\x01\x00", 4);
  weir_mqtt_poll(&client, now, 64);
  CHECK(heard.present);
  CHECK_EQ(wire.out_n, 1 + 2 + 2 + 9 + 2 + sizeof batch);
  CHECK_EQ(wire.out[0], 0x3a); /* QoS 1, DUP */
  wire_say(&wire, "\x40\x02\x00\x01", 4);
  weir_mqtt_poll(&client, now, 64);
  CHECK_EQ(heard.published, 1);
  wire_say(&wire, "\x40\x02\x00\x01", 4); /* again: nobody's */
  weir_mqtt_poll(&client, now, 64);
  CHECK_EQ(heard.published, 1);
  CHECK_EQ(weir_mqtt_publish(&client, "weir/up/d", batch, 1), WEIR_OK);
}

static void keep_alive_and_silence(void) {
  start();
  greet();
  now = weir_mqtt_deadline(&client);
  CHECK_EQ(now, 45 * 1000000);
  weir_mqtt_poll(&client, now - 1, 64);
  CHECK_EQ(wire.out_n, 0);
  weir_mqtt_poll(&client, now, 64);
  CHECK(wire.out_n == 2 && wire.out[0] == 0xc0);
  wire_say(&wire, "\xd0\x00", 2);
  weir_mqtt_poll(&client, now, 64);
  uint64_t next = weir_mqtt_deadline(&client);
  CHECK_EQ(next, now + 45 * 1000000);
  now = next;
  weir_mqtt_poll(&client, now, 64);
  now = weir_mqtt_deadline(&client);
  weir_mqtt_poll(&client, now, 64); /* no PINGRESP */
  CHECK_EQ(client.state, WEIR_MQTT_WAITING);
}

static void backoff_doubles_and_is_spread(void) {
  uint64_t last = 0, widest = 0;
  start();
  wire.refuses = true;
  for (int i = 0; i < 12; i++) {
    weir_mqtt_poll(&client, now, 64);
    uint64_t wait = weir_mqtt_deadline(&client) - now;
    CHECK(wait <= 60u * 1000000u && wait >= 250000);
    if (i >= 8) CHECK(wait >= 30u * 1000000u);
    if (wait != last) widest++;
    last = wait;
    now += wait;
  }
  CHECK(widest >= 10);
  wire.refuses = false;
}

static void subscriptions_and_disconnect(void) {
  start();
  greet();
  CHECK_EQ(weir_mqtt_subscribe(&client, "plants/+/env", 1), WEIR_OK);
  CHECK_EQ(weir_mqtt_subscribe(&client, "other", 1), WEIR_BUSY);
  weir_mqtt_poll(&client, now, 64);
  CHECK(wire.out_n == 19 && wire.out[0] == 0x82);
  wire_say(&wire, (uint8_t[]){0x90, 3, wire.out[2], wire.out[3], 1}, 5);
  weir_mqtt_poll(&client, now, 64);
  CHECK_EQ(heard.granted, 1);
  CHECK_EQ(weir_mqtt_subscribe(&client, "other", 1), WEIR_OK);
  weir_mqtt_poll(&client, now, 64);
  wire_say(&wire, (uint8_t[]){0x90, 3, 0, 2, 0x80}, 5);
  weir_mqtt_poll(&client, now, 64);
  CHECK_EQ(heard.refused, 1);
  weir_mqtt_want(&client, false);
  wire.out_n = 0;
  weir_mqtt_poll(&client, now, 64);
  CHECK(wire.out_n == 2 && wire.out[0] == 0xe0);
  CHECK_EQ(client.state, WEIR_MQTT_OFF);
  CHECK(weir_mqtt_deadline(&client) == UINT64_MAX);
}

static void a_cut_within_a_message_is_told(void) {
  start();
  greet();
  wire_publish(&wire, "a", "0123456789", 10, 0, false);
  wire.in_n -= 5;
  weir_mqtt_poll(&client, now, 64);
  wire.cut = true;
  weir_mqtt_poll(&client, now, 64);
  CHECK_EQ(heard.begun, 1);
  CHECK_EQ(heard.aborted, 1);
  CHECK_EQ(heard.ended, 0);
}

int main(void) {
  wire_init(&wire);
  for (size_t stretch = 1; stretch < 12; stretch++) split_anywhere(stretch, UINT32_MAX, 0);
  split_anywhere(0, UINT32_MAX, 0);
  split_anywhere(0, 3, 2);
  split_anywhere(5, 1, 1);
  bytes_stay_with_the_port_while_there_is_no_room();
  what_a_broker_must_not_send();
  a_publish_is_sent_again_after_a_reconnect();
  keep_alive_and_silence();
  backoff_doubles_and_is_spread();
  subscriptions_and_disconnect();
  a_cut_within_a_message_is_told();
  wire_free(&wire);
  printf("mqtt: fine\n");
  return 0;
}
