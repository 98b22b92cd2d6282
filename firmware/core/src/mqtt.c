/* mqtt.c: the connection and the sending half of MQTT 3.1.1. */
#include <string.h>

#include "mqtt_parts.h"

enum {
  GREETING_MS = 10000, /* CONNACK must come within; also PINGRESP */
  CONNECT_MS = 30000   /* a port that does not end its connect is not waited for longer */
};

static uint64_t after_ms(uint64_t now, uint32_t ms) { return now + (uint64_t)ms * 1000u; }

static size_t text_size(const char *s) { return s == NULL ? 0 : strlen(s); }

int weir_mqtt_init(struct weir_mqtt *c, const struct weir_net *net, const struct weir_random *random,
                   const struct weir_mqtt_owner *owner, const char *host, uint16_t port, const char *client_id,
                   const char *user, const char *password, uint16_t keep_alive_s, uint32_t backoff_min_ms,
                   uint32_t backoff_max_ms) {
  size_t size = 5 + 10 + 2 + text_size(client_id);
  if (user != NULL) size += 2 + text_size(user);
  if (password != NULL) size += 2 + text_size(password);
  /* 3.1.2-22: no password without a user name */
  if (size > WEIR_MQTT_OUT_SIZE || (password != NULL && user == NULL)) return WEIR_E_ARGUMENT;
  memset(c, 0, sizeof *c);
  c->net = net;
  c->random = random;
  c->owner = *owner;
  c->host = host;
  c->port = port;
  c->client_id = client_id;
  c->user = user;
  c->password = password;
  c->keep_alive_s = keep_alive_s;
  c->backoff_min_ms = backoff_min_ms;
  c->backoff_max_ms = backoff_max_ms < backoff_min_ms ? backoff_min_ms : backoff_max_ms;
  c->next_id = 1;
  c->seed = 0x9e3779b9u;
  return WEIR_OK;
}

/* ---------------------------------------------------------------- sending */

static uint32_t room(const struct weir_mqtt *c) {
  return c->flight_open ? 0u : (uint32_t)WEIR_MQTT_OUT_SIZE - c->out_n;
}

static void put8(struct weir_mqtt *c, uint32_t v) { c->out[c->out_n++] = (uint8_t)v; }

static void put16(struct weir_mqtt *c, uint32_t v) {
  put8(c, v >> 8);
  put8(c, v & 0xff);
}

static void put_text(struct weir_mqtt *c, const char *s) {
  size_t n = strlen(s);
  put16(c, (uint32_t)n);
  memcpy(c->out + c->out_n, s, n);
  c->out_n = (uint16_t)(c->out_n + n);
}

/* 2.2.3 remaining length; returns how many bytes it takes. */
static uint32_t length_size(uint32_t n) { return n < 128u ? 1u : n < 16384u ? 2u : n < 2097152u ? 3u : 4u; }

static void put_length(struct weir_mqtt *c, uint32_t n) {
  while (n >= 0x80) {
    put8(c, (n & 0x7f) | 0x80);
    n >>= 7;
  }
  put8(c, n);
}

static uint16_t draw_id(struct weir_mqtt *c) {
  uint16_t id = c->next_id;
  if (id == c->flight_id || id == c->subscribe_id) id++;
  if (id == 0) id = 1;
  if (id == c->flight_id || id == c->subscribe_id) id++; /* at most two are in use */
  c->next_id = (uint16_t)(id + 1 == 0x10000 ? 1 : id + 1);
  return id;
}

int weir_mqtt_puback(struct weir_mqtt *c, uint16_t id) {
  if (c->state != WEIR_MQTT_UP || room(c) < 4) return WEIR_BUSY;
  put8(c, 0x40);
  put8(c, 2);
  put16(c, id);
  return WEIR_OK;
}

int weir_mqtt_subscribe(struct weir_mqtt *c, const char *filter, uint8_t qos) {
  uint32_t n = (uint32_t)strlen(filter), rest = 2 + 2 + n + 1;
  if (c->state != WEIR_MQTT_UP || c->subscribe_id != 0 || room(c) < 1 + length_size(rest) + rest) return WEIR_BUSY;
  c->subscribe_id = draw_id(c);
  put8(c, 0x82); /* 3.8.1-1 */
  put_length(c, rest);
  put16(c, c->subscribe_id);
  put_text(c, filter);
  put8(c, qos);
  return WEIR_OK;
}

/* Writes the header of the PUBLISH in flight; its payload follows from where it lies. */
static int launch(struct weir_mqtt *c, bool dup) {
  uint32_t topic = (uint32_t)strlen(c->flight_topic), rest = 2 + topic + 2 + c->flight_n;
  if (c->state != WEIR_MQTT_UP || room(c) < 1 + length_size(rest) + 2 + topic + 2) return WEIR_BUSY;
  put8(c, dup ? 0x3a : 0x32);
  put_length(c, rest);
  put_text(c, c->flight_topic);
  put16(c, c->flight_id);
  c->flight_sent = 0;
  c->flight_open = true;
  return WEIR_OK;
}

int weir_mqtt_publish(struct weir_mqtt *c, const char *topic, const uint8_t *payload, uint32_t n) {
  if (c->flight_id != 0 || c->state != WEIR_MQTT_UP) return WEIR_BUSY;
  c->flight_topic = topic;
  c->flight = payload;
  c->flight_n = n;
  c->flight_id = draw_id(c);
  int r = launch(c, false);
  if (r != WEIR_OK) c->flight_id = 0;
  return r;
}

static void put_connect(struct weir_mqtt *c) {
  uint32_t flags = 0; /* clean session 0: the session is kept */
  uint32_t rest = 10 + 2 + (uint32_t)strlen(c->client_id);
  if (c->user != NULL) {
    flags |= 0x80;
    rest += 2 + (uint32_t)strlen(c->user);
  }
  if (c->password != NULL) {
    flags |= 0x40;
    rest += 2 + (uint32_t)strlen(c->password);
  }
  put8(c, 0x10);
  put_length(c, rest);
  put_text(c, "MQTT");
  put8(c, 4); /* 3.1.2.2 protocol level */
  put8(c, flags);
  put16(c, c->keep_alive_s);
  put_text(c, c->client_id);
  if (c->user != NULL) put_text(c, c->user);
  if (c->password != NULL) put_text(c, c->password);
}

/* Sends a stretch. Returns bytes, 0, or an error. */
static int32_t push(struct weir_mqtt *c, const uint8_t *data, uint32_t n, uint64_t now) {
  int32_t sent = c->net->write(c->net->ctx, data, n);
  if (sent > 0) {
    c->sent_at = now;
    c->progress = true;
  }
  return sent;
}

/* Sends what waits, as far as the port takes it. */
static int flush(struct weir_mqtt *c, uint64_t now) {
  int32_t sent;
  bool any = false;
  if (c->out_sent < c->out_n) {
    sent = push(c, c->out + c->out_sent, (uint32_t)(c->out_n - c->out_sent), now);
    if (sent < 0) return (int)sent;
    any = sent > 0;
    c->out_sent = (uint16_t)(c->out_sent + sent);
    if (c->out_sent < c->out_n) return WEIR_OK;
    c->out_sent = c->out_n = 0;
  }
  if (c->flight_open) {
    sent = c->flight_sent == c->flight_n ? 0 : push(c, c->flight + c->flight_sent, c->flight_n - c->flight_sent, now);
    if (sent < 0) return (int)sent;
    any = any || sent > 0;
    c->flight_sent += (uint32_t)sent;
    if (c->flight_sent == c->flight_n) c->flight_open = false;
  }
  if (any && c->net->flush != NULL) c->net->flush(c->net->ctx);
  return WEIR_OK;
}

bool weir_mqtt_pending(const struct weir_mqtt *c) { return c->out_sent < c->out_n || c->flight_open; }

/* ------------------------------------------------------------- connection */

/* xorshift32 (Marsaglia 2003), stirred by the port's random numbers when it has them. */
static uint32_t jitter(struct weir_mqtt *c, uint32_t below) {
  uint8_t fresh[4];
  if (c->random != NULL && c->random->bytes(c->random->ctx, fresh, sizeof fresh) == WEIR_OK)
    c->seed ^= (uint32_t)fresh[0] | (uint32_t)fresh[1] << 8 | (uint32_t)fresh[2] << 16 | (uint32_t)fresh[3] << 24;
  if (c->seed == 0) c->seed = 1;
  c->seed ^= c->seed << 13;
  c->seed ^= c->seed >> 17;
  c->seed ^= c->seed << 5;
  return below == 0 ? 0 : c->seed % below;
}

static void clear(struct weir_mqtt *c) {
  c->out_n = c->out_sent = 0;
  c->flight_open = false;
  c->again = c->flight_id != 0;
  c->subscribe_id = 0;
  c->pinged = false;
  weir_mqtt_in_reset(c);
}

static void hang_up(struct weir_mqtt *c) {
  c->net->close(c->net->ctx);
  clear(c);
  c->progress = true;
}

/* The connection is over; the next try comes after a wait that doubles. */
static void fail(struct weir_mqtt *c, uint64_t now, int why) {
  uint32_t wait = c->backoff_min_ms;
  if (c->state == WEIR_MQTT_UP) {
    c->disconnects++;
    if (c->failures > 0) c->failures--; /* was up: begin with short waits, but not at once with the shortest */
  }
  if (why == WEIR_E_INVALID) c->protocol_errors++;
  hang_up(c);
  for (uint8_t i = 0; i < c->failures && wait < c->backoff_max_ms; i++) wait = wait > 0x7fffffffu ? wait : wait * 2;
  if (wait > c->backoff_max_ms) wait = c->backoff_max_ms;
  if (c->failures < 24) c->failures++;
  c->retry_at = after_ms(now, wait / 2 + jitter(c, wait - wait / 2 + 1));
  c->state = c->wanted ? WEIR_MQTT_WAITING : WEIR_MQTT_OFF;
}

void weir_mqtt_want(struct weir_mqtt *c, bool wanted) {
  c->wanted = wanted;
  if (wanted && c->state == WEIR_MQTT_OFF) {
    c->state = WEIR_MQTT_WAITING;
    c->retry_at = 0;
  }
}

void weir_mqtt_restart(struct weir_mqtt *c) {
  if (c->state != WEIR_MQTT_UP) return;
  hang_up(c);
  c->state = WEIR_MQTT_WAITING;
  c->retry_at = 0;
}

void weir_mqtt_greeted(struct weir_mqtt *c, bool present) {
  c->state = WEIR_MQTT_UP;
  c->connects++;
  c->failures = 0;
  c->owner.up(c->owner.ctx, present);
}

static void dial(struct weir_mqtt *c, uint64_t now) {
  int r = c->net->connect(c->net->ctx, c->host, c->port);
  if (r == WEIR_OK) {
    put_connect(c);
    c->state = WEIR_MQTT_GREETING;
    c->limit_at = after_ms(now, GREETING_MS);
    c->progress = true;
  } else if (r != WEIR_BUSY || now >= c->limit_at) {
    fail(c, now, r);
  }
}

/* Reads and hands on, at most budget bytes. */
static int receive(struct weir_mqtt *c, uint32_t budget) {
  const uint8_t *data;
  size_t n;
  while (budget > 0) {
    int r = c->net->peek(c->net->ctx, &data, &n);
    if (r == WEIR_BUSY) n = 0;
    else if (r != WEIR_OK) return r;
    if (n == 0 && !weir_mqtt_in_waits(c)) return WEIR_OK;
    if (n > budget) n = budget;
    int32_t took = weir_mqtt_feed(c, data, (uint32_t)n);
    if (took < 0) return (int)took;
    if (c->state != WEIR_MQTT_UP && c->state != WEIR_MQTT_GREETING) return WEIR_OK; /* the owner restarted it */
    if (took > 0) {
      c->progress = true;
      c->net->take(c->net->ctx, (size_t)took);
      budget -= (uint32_t)took;
    }
    if (took == 0 || (uint32_t)took < n) return WEIR_OK; /* the owner holds it back */
  }
  return WEIR_OK;
}

static uint64_t ping_at(const struct weir_mqtt *c) { return c->sent_at + (uint64_t)c->keep_alive_s * 750000u; }

/* 3.1.2.10: something must be sent within the keep alive; we do after three quarters of it. */
static int keep_alive(struct weir_mqtt *c, uint64_t now) {
  if (c->pinged) return now >= c->limit_at ? WEIR_E_GONE : WEIR_OK;
  if (now < ping_at(c) || room(c) < 2) return WEIR_OK;
  put8(c, 0xc0);
  put8(c, 0);
  c->pinged = true;
  c->limit_at = after_ms(now, GREETING_MS);
  return WEIR_OK;
}

static int talk(struct weir_mqtt *c, uint64_t now, uint32_t budget) {
  int r = receive(c, budget);
  if (r < 0) return r;
  if (c->state == WEIR_MQTT_GREETING && now >= c->limit_at) return WEIR_E_GONE;
  if (c->state == WEIR_MQTT_UP) {
    if (c->again && launch(c, true) == WEIR_OK) c->again = false;
    r = keep_alive(c, now);
    if (r < 0) return r;
  }
  if (!c->wanted && c->state == WEIR_MQTT_UP && room(c) >= 2) { /* 3.14 */
    put8(c, 0xe0);
    put8(c, 0);
    c->state = WEIR_MQTT_OFF;
  }
  return flush(c, now);
}

bool weir_mqtt_poll(struct weir_mqtt *c, uint64_t now, uint32_t budget) {
  int r = WEIR_OK;
  c->progress = false;
  if (c->state == WEIR_MQTT_WAITING) {
    if (!c->wanted) {
      c->state = WEIR_MQTT_OFF;
    } else if (now >= c->retry_at) {
      c->state = WEIR_MQTT_CONNECTING;
      c->limit_at = after_ms(now, CONNECT_MS);
      c->progress = true;
    }
  }
  if (c->state == WEIR_MQTT_CONNECTING) dial(c, now);
  if (c->state == WEIR_MQTT_GREETING || c->state == WEIR_MQTT_UP) {
    r = talk(c, now, budget);
    if (r < 0) fail(c, now, r);
    else if (c->state == WEIR_MQTT_OFF) hang_up(c);
  }
  return c->progress;
}

uint64_t weir_mqtt_deadline(const struct weir_mqtt *c) {
  switch (c->state) {
    case WEIR_MQTT_WAITING:
      return c->retry_at;
    case WEIR_MQTT_CONNECTING:
    case WEIR_MQTT_GREETING:
      return c->limit_at;
    case WEIR_MQTT_UP:
      if (!c->wanted) return 0;
      return c->pinged ? c->limit_at : ping_at(c);
    default:
      return UINT64_MAX;
  }
}
