/* MQTT packets from a broker: whole or in pieces, the same messages come out. */
#include "fuzz.h"
#include "weir/mqtt.h"

struct seen {
  uint64_t sum;
  uint32_t messages;
};

static int begin(void *ctx, const struct weir_mqtt_message *m) {
  struct seen *s = ctx;
  if (strlen(m->topic) > WEIR_MQTT_TOPIC_MAX || (m->qos == 1) != (m->id != 0)) abort();
  s->sum = s->sum * 31 + m->topic_size + m->size + m->id;
  return m->topic_size > WEIR_MQTT_TOPIC_MAX ? WEIR_E_REFUSED : WEIR_OK;
}

static uint32_t payload(void *ctx, const uint8_t *data, uint32_t n) {
  struct seen *s = ctx;
  for (uint32_t i = 0; i < n; i++) s->sum = s->sum * 31 + data[i];
  return n;
}

static int end(void *ctx, const struct weir_mqtt_message *m) {
  (void)m;
  ((struct seen *)ctx)->messages++;
  return WEIR_OK;
}

static void nothing(void *ctx) { (void)ctx; }
static void up(void *ctx, bool present) { ((struct seen *)ctx)->sum += present ? 3 : 5; }

static int32_t feed(struct seen *seen, const uint8_t *data, size_t size, size_t piece) {
  static const struct weir_net net;
  static struct weir_mqtt c;
  struct weir_mqtt_owner owner = {seen, begin, payload, end, nothing, up, nothing, up};
  memset(seen, 0, sizeof *seen);
  if (weir_mqtt_init(&c, &net, NULL, &owner, "h", 1, "d", NULL, NULL, 60, 500, 1000) != WEIR_OK) abort();
  c.state = size % 2 == 0 ? WEIR_MQTT_GREETING : WEIR_MQTT_UP;
  c.subscribe_id = 7;
  for (size_t at = 0; at < size;) {
    size_t n = size - at < piece ? size - at : piece;
    uint8_t *bytes = fuzz_copy(data + at, n);
    int32_t took = weir_mqtt_feed(&c, bytes, (uint32_t)n);
    free(bytes);
    if (took < 0) return took;
    if ((size_t)took != n) abort(); /* this owner takes everything */
    at += n;
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct seen whole, parts;
  if (size < 1) return 0;
  size_t piece = 1 + data[0] % 16;
  int32_t a = feed(&whole, data + 1, size - 1, size), b = feed(&parts, data + 1, size - 1, piece);
  if (a != b || whole.messages != parts.messages || whole.sum != parts.sum) abort();
  return 0;
}
