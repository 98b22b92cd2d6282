/* mqtt_in.c: the receiving half of MQTT 3.1.1: packets that are split anywhere. */
#include <string.h>

#include "octets.h"
#include "mqtt_parts.h"

enum { IN_HEADER, IN_LENGTH, IN_SMALL, IN_TOPIC_SIZE, IN_TOPIC, IN_ID, IN_BEGIN, IN_PAYLOAD, IN_END };

/* 2.2.1 control packet types that a server sends. */
enum { CONNACK = 2, PUBLISH = 3, PUBACK = 4, SUBACK = 9, PINGRESP = 13 };

static uint32_t small_size(uint8_t type) {
  switch (type) {
    case CONNACK:
    case PUBACK:
      return 2;
    case SUBACK:
      return 3; /* one filter in each SUBSCRIBE */
    default:
      return 0;
  }
}

/* The fixed header is whole: 2.2.2 says which flags a type has. */
static int fixed_header(struct weir_mqtt *c) {
  uint8_t type = c->in_header >> 4, flags = c->in_header & 0x0f;
  c->in_n = 0;
  if (c->state == WEIR_MQTT_GREETING && type != CONNACK) return WEIR_E_INVALID; /* 3.2: CONNACK comes first */
  switch (type) {
    case PUBLISH:
      if ((flags & 0x06) >= 0x04) return WEIR_E_INVALID; /* QoS 2 was never granted, 3 does not exist */
      if ((flags & 0x06) == 0 && (flags & 0x08) != 0) return WEIR_E_INVALID; /* 3.3.1-2: no DUP at QoS 0 */
      if (c->in_left < 2) return WEIR_E_INVALID;
      c->in_state = IN_TOPIC_SIZE;
      return WEIR_OK;
    case CONNACK:
      if (c->state != WEIR_MQTT_GREETING) return WEIR_E_INVALID;
      break;
    case PUBACK:
    case SUBACK:
    case PINGRESP:
      break;
    default:
      return WEIR_E_INVALID;
  }
  if (flags != 0 || c->in_left != small_size(type)) return WEIR_E_INVALID;
  c->in_state = IN_SMALL;
  return WEIR_OK;
}

static int small_packet(struct weir_mqtt *c) {
  const uint8_t *b = c->in_small;
  uint16_t id = (uint16_t)weir_get16be(b);
  c->in_state = IN_HEADER;
  switch (c->in_header >> 4) {
    case CONNACK:
      if (b[0] > 1 || (b[1] != 0 && b[0] != 0)) return WEIR_E_INVALID; /* 3.2.2-1, 3.2.2-4 */
      c->refusal = b[1];
      if (b[1] != 0) return WEIR_E_REFUSED;
      weir_mqtt_greeted(c, b[0] == 1);
      return WEIR_OK;
    case PUBACK:
      /* One of an earlier life of this device is nobody's. */
      if (id != 0 && id == c->flight_id && !c->flight_open && !c->again) {
        c->flight_id = 0;
        c->owner.published(c->owner.ctx);
      }
      return WEIR_OK;
    case SUBACK:
      if (id == 0 || id != c->subscribe_id) return WEIR_E_INVALID;
      c->subscribe_id = 0;
      c->owner.subscribed(c->owner.ctx, b[2] <= 1);
      return WEIR_OK;
    default: /* PINGRESP */
      c->pinged = false;
      return WEIR_OK;
  }
}

/* The topic's size is known. */
static int topic_begins(struct weir_mqtt *c) {
  uint32_t size = weir_get16be(c->in_small), rest = (c->in_header & 0x06) != 0 ? 2 : 0;
  if (size == 0 || c->in_left < size + rest) return WEIR_E_INVALID;
  c->in_topic_size = size;
  memset(&c->in_message, 0, sizeof c->in_message);
  c->in_message.topic = c->in_topic;
  c->in_message.topic_size = size;
  c->in_message.qos = (c->in_header >> 1) & 0x03;
  c->in_message.dup = (c->in_header & 0x08) != 0;
  c->in_message.retained = (c->in_header & 0x01) != 0;
  c->in_state = IN_TOPIC;
  c->in_n = 0;
  return WEIR_OK;
}

static void topic_ends(struct weir_mqtt *c) {
  uint32_t kept = c->in_message.topic_size < WEIR_MQTT_TOPIC_MAX ? c->in_message.topic_size : WEIR_MQTT_TOPIC_MAX;
  c->in_topic[kept] = 0;
  c->in_n = 0;
  c->in_state = IN_ID;
  if (c->in_message.qos == 0) {
    c->in_message.size = c->in_left;
    c->in_state = IN_BEGIN;
  }
}

/* Takes bytes of the topic; those beyond WEIR_MQTT_TOPIC_MAX are let go, which the owner sees by topic_size. */
static uint32_t topic_bytes(struct weir_mqtt *c, const uint8_t *data, uint32_t n) {
  uint32_t at = c->in_message.topic_size - c->in_topic_size;
  if (n > c->in_topic_size) n = c->in_topic_size;
  if (at < WEIR_MQTT_TOPIC_MAX) memcpy(c->in_topic + at, data, n < WEIR_MQTT_TOPIC_MAX - at ? n : WEIR_MQTT_TOPIC_MAX - at);
  c->in_topic_size -= n;
  c->in_left -= n;
  if (c->in_topic_size == 0) topic_ends(c);
  return n;
}

/* Steps that take no byte. WEIR_BUSY: the owner cannot go on. */
static int without_bytes(struct weir_mqtt *c) {
  int r;
  if (c->in_state == IN_BEGIN) {
    r = c->owner.begin(c->owner.ctx, &c->in_message);
    if (r == WEIR_BUSY) return WEIR_BUSY;
    c->in_wanted = r == WEIR_OK;
    c->in_state = c->in_left > 0 ? IN_PAYLOAD : IN_END;
  }
  if (c->in_state == IN_END) {
    r = c->owner.end(c->owner.ctx, &c->in_message);
    if (r == WEIR_BUSY) return WEIR_BUSY;
    c->in_state = IN_HEADER;
  }
  return WEIR_OK;
}

static int length_byte(struct weir_mqtt *c, uint8_t b) {
  c->in_left |= (uint32_t)(b & 0x7f) << (7 * c->in_n);
  if ((b & 0x80) == 0) return fixed_header(c);
  if (++c->in_n == 4) return WEIR_E_INVALID; /* 2.2.3: at most four bytes */
  return WEIR_OK;
}

/* One byte of a header. */
static int header_byte(struct weir_mqtt *c, uint8_t b) {
  switch (c->in_state) {
    case IN_HEADER:
      c->in_header = b;
      c->in_left = 0;
      c->in_n = 0;
      c->in_state = IN_LENGTH;
      return WEIR_OK;
    case IN_LENGTH:
      return length_byte(c, b);
    default:
      break;
  }
  c->in_small[c->in_n++] = b;
  c->in_left--;
  if (c->in_state == IN_SMALL) return WEIR_OK;
  if (c->in_n < 2) return WEIR_OK;
  if (c->in_state == IN_TOPIC_SIZE) return topic_begins(c);
  c->in_message.id = (uint16_t)weir_get16be(c->in_small);
  if (c->in_message.id == 0) return WEIR_E_INVALID; /* 2.3.1-1 */
  c->in_message.size = c->in_left;
  c->in_state = IN_BEGIN;
  return WEIR_OK;
}

/* The usual case: the headers of a PUBLISH lie whole at `data`. Returns how many bytes they took; 0: go byte by
 * byte, which also finds out what is wrong with them. */
static uint32_t whole_headers(struct weir_mqtt *c, const uint8_t *data, uint32_t n) {
  uint32_t flags, at = 2, left, size, rest;
  if (n < 4 || data[0] >> 4 != PUBLISH || c->state != WEIR_MQTT_UP) return 0;
  flags = data[0] & 0x0fu;
  left = data[1] & 0x7fu;
  if ((data[1] & 0x80) != 0) {
    if ((data[2] & 0x80) != 0) return 0;
    left |= (uint32_t)data[2] << 7;
    at = 3;
  }
  if (flags >= 4 && (flags & 0x06) != 2) return 0; /* QoS 2, or DUP at QoS 0 */
  if (n - at < 2) return 0;
  size = weir_get16be(data + at);
  rest = (flags & 0x06) != 0 ? 4 : 2;
  if (size == 0 || size > WEIR_MQTT_TOPIC_MAX || left < size + rest || n - at < size + rest) return 0;
  c->in_message.id = rest == 4 ? (uint16_t)weir_get16be(data + at + 2 + size) : (uint16_t)0;
  if (rest == 4 && c->in_message.id == 0) return 0;
  memcpy(c->in_topic, data + at + 2, size);
  c->in_topic[size] = 0;
  c->in_header = data[0];
  c->in_left = left - size - rest;
  c->in_message.topic = c->in_topic;
  c->in_message.topic_size = size;
  c->in_message.size = c->in_left;
  c->in_message.qos = (uint8_t)(flags >> 1 & 3);
  c->in_message.dup = (flags & 8) != 0;
  c->in_message.retained = (flags & 1) != 0;
  c->in_state = IN_BEGIN;
  return at + size + rest;
}

int32_t weir_mqtt_feed(struct weir_mqtt *c, const uint8_t *data, uint32_t n) {
  uint32_t at = 0, take;
  int r = WEIR_OK;
  if (n > INT32_MAX) n = INT32_MAX;
  for (;;) {
    if (c->in_state == IN_SMALL && c->in_left == 0) r = small_packet(c);
    if (r == WEIR_OK && (c->in_state == IN_BEGIN || c->in_state == IN_END)) r = without_bytes(c);
    if (r < 0) return r;
    if (r == WEIR_BUSY || at == n) return (int32_t)at;
    if (c->in_state == IN_HEADER) {
      take = whole_headers(c, data + at, n - at);
      at += take;
      if (take > 0) continue;
    }
    switch (c->in_state) {
      case IN_TOPIC:
        at += topic_bytes(c, data + at, n - at);
        break;
      case IN_PAYLOAD:
        take = n - at < c->in_left ? n - at : c->in_left;
        if (c->in_wanted) take = c->owner.payload(c->owner.ctx, data + at, take);
        if (take == 0) return (int32_t)at;
        at += take;
        c->in_left -= take;
        if (c->in_left == 0) c->in_state = IN_END;
        break;
      default:
        r = header_byte(c, data[at++]);
        break;
    }
  }
}

void weir_mqtt_in_reset(struct weir_mqtt *c) {
  bool within = c->in_state == IN_PAYLOAD || c->in_state == IN_END;
  c->in_state = IN_HEADER;
  if (within) c->owner.abort(c->owner.ctx);
}

bool weir_mqtt_in_waits(const struct weir_mqtt *c) { return c->in_state == IN_BEGIN || c->in_state == IN_END; }
