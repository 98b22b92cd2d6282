/*
 * weir/mqtt.h: a client of MQTT 3.1.1 (OASIS, 29 October 2014) over weir_net.
 *
 * QoS 0 and 1. Packets may be split at any byte; payloads are never gathered,
 * they go on as they arrive. What the owner cannot take stays in the TCP window.
 * The session is kept (clean session 0), one own PUBLISH is in flight at a time,
 * and it is sent again after a reconnect (4.4).
 */
#ifndef WEIR_MQTT_H
#define WEIR_MQTT_H

#include "weir/port.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  WEIR_MQTT_TOPIC_MAX = 128,    /* bytes of a topic name that is received, and of a filter */
  WEIR_MQTT_OUT_SIZE = 256 /* CONNECT with client id, user and password must fit */
};

/* A PUBLISH that is being received. */
struct weir_mqtt_message {
  const char *topic; /* NUL-terminated */
  uint32_t topic_size;
  uint32_t size; /* of the payload */
  uint16_t id;   /* QoS 1 */
  uint8_t qos;
  bool dup;
  bool retained;
};

/* The owner's side of received messages. All are called from weir_mqtt_poll and return at once. All but abort may
 * call weir_mqtt_puback, weir_mqtt_subscribe, weir_mqtt_publish and weir_mqtt_want. */
struct weir_mqtt_owner {
  void *ctx;

  /* A message begins.
   * WEIR_OK         its payload is wanted
   * WEIR_BUSY       not now: it is asked again, and nothing is read meanwhile
   * WEIR_E_REFUSED  its payload is read and let go; end is called nevertheless */
  int (*begin)(void *ctx, const struct weir_mqtt_message *m);

  /* The next bytes of a payload that is wanted. Returns how many were taken; fewer than n holds the rest back. */
  uint32_t (*payload)(void *ctx, const uint8_t *data, uint32_t n);

  /* All of the payload was read. The owner acknowledges with weir_mqtt_puback.
   * WEIR_OK    done
   * WEIR_BUSY  not now: it is asked again, and nothing is read meanwhile */
  int (*end)(void *ctx, const struct weir_mqtt_message *m);

  /* The connection ended while a message was being received: forget it. */
  void (*abort)(void *ctx);

  /* CONNACK came. present: the broker still has the session (3.2.2.2). */
  void (*up)(void *ctx, bool present);

  /* The PUBLISH that was in flight was acknowledged by the broker. */
  void (*published)(void *ctx);

  /* The filter of weir_mqtt_subscribe was granted, or not. */
  void (*subscribed)(void *ctx, bool granted);
};

enum weir_mqtt_state {
  WEIR_MQTT_OFF = 0,        /* not wanted */
  WEIR_MQTT_WAITING = 1,    /* between two tries */
  WEIR_MQTT_CONNECTING = 2, /* TCP (or TLS) */
  WEIR_MQTT_GREETING = 3,   /* CONNECT sent, CONNACK awaited */
  WEIR_MQTT_UP = 4
};

struct weir_mqtt {
  const struct weir_net *net;
  const struct weir_random *random;
  struct weir_mqtt_owner owner;
  const char *host, *client_id, *user, *password;
  uint16_t port;
  uint16_t keep_alive_s;
  uint32_t backoff_min_ms, backoff_max_ms;

  uint8_t state;
  bool wanted;
  bool again;    /* the PUBLISH in flight must be sent once more */
  bool progress; /* something moved in this poll */
  bool pinged;   /* PINGREQ sent, PINGRESP awaited */
  uint8_t refusal; /* return code of the last CONNACK that refused */
  uint8_t failures;
  uint64_t retry_at;
  uint64_t limit_at; /* CONNACK or PINGRESP must have come */
  uint64_t sent_at;  /* of the last packet */
  uint32_t seed;     /* of the jitter */

  /* the packet being received */
  uint8_t in_state;
  uint8_t in_header;
  uint8_t in_n;
  bool in_wanted;
  uint8_t in_small[4];
  uint32_t in_left; /* bytes of the packet still to come */
  uint32_t in_topic_size;
  struct weir_mqtt_message in_message;
  char in_topic[WEIR_MQTT_TOPIC_MAX + 1];

  /* packets being sent: out, then the payload of the PUBLISH in flight if its header stands at the end of out */
  uint8_t out[WEIR_MQTT_OUT_SIZE];
  uint16_t out_n, out_sent;
  const char *flight_topic;
  const uint8_t *flight;
  uint32_t flight_n, flight_sent;
  uint16_t flight_id; /* 0: none in flight */
  bool flight_open;   /* its payload is being sent */
  uint16_t next_id;
  uint16_t subscribe_id; /* 0: none awaited */

  uint32_t connects, disconnects, protocol_errors;
};

/* Sets up; what the arguments point to stays valid. keep_alive_s > 0; user and password may be NULL.
 * WEIR_OK
 * WEIR_E_ARGUMENT  CONNECT would not fit WEIR_MQTT_OUT_SIZE */
int weir_mqtt_init(struct weir_mqtt *c, const struct weir_net *net, const struct weir_random *random,
                   const struct weir_mqtt_owner *owner, const char *host, uint16_t port, const char *client_id,
                   const char *user, const char *password, uint16_t keep_alive_s, uint32_t backoff_min_ms,
                   uint32_t backoff_max_ms);

/* Connects and stays connected, or (false) says DISCONNECT and stays away. */
void weir_mqtt_want(struct weir_mqtt *c, bool wanted);

/* Ends the connection without waiting for anything and connects again at once: the broker sends what was not acknowledged again. */
void weir_mqtt_restart(struct weir_mqtt *c);

/* Goes on. Takes at most `budget` bytes of what arrived. Returns whether anything moved. */
bool weir_mqtt_poll(struct weir_mqtt *c, uint64_t now_us, uint32_t budget);

/* When poll must be called (microseconds of uptime) if the network brings nothing before; UINT64_MAX: never. */
uint64_t weir_mqtt_deadline(const struct weir_mqtt *c);

/* Whether something waits to be written. */
bool weir_mqtt_pending(const struct weir_mqtt *c);

/* WEIR_OK, or WEIR_BUSY: no room among what waits to be sent, or not connected. */
int weir_mqtt_puback(struct weir_mqtt *c, uint16_t id);

/* Subscribes to one filter (at most WEIR_MQTT_TOPIC_MAX bytes); one at a time.
 * WEIR_OK    sent; owner.subscribed tells
 * WEIR_BUSY  another is awaited, no room, or not connected */
int weir_mqtt_subscribe(struct weir_mqtt *c, const char *filter, uint8_t qos);

/* Publishes at QoS 1. topic and payload stay valid and unchanged until owner.published; a lost connection does not end that.
 * WEIR_OK    in flight
 * WEIR_BUSY  another is in flight, no room, or not connected */
int weir_mqtt_publish(struct weir_mqtt *c, const char *topic, const uint8_t *payload, uint32_t n);

/* The part of poll that parses, for tests and fuzzing.
 * >= 0            how many bytes were taken
 * WEIR_E_INVALID  the broker broke the protocol
 * WEIR_E_REFUSED  it refused the connection: c->refusal is its return code (3.2.2.3) */
int32_t weir_mqtt_feed(struct weir_mqtt *c, const uint8_t *data, uint32_t n);

#ifdef __cplusplus
}
#endif

#endif
