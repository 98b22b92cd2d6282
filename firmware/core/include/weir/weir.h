/*
 * weir/weir.h: the recorder.
 *
 *   static struct weir recorder;                    all memory is the caller's
 *   weir_init(&recorder, &config, &ports, &memory);
 *   weir_add_schema(&recorder, plan, plan_size);
 *   for (;;) {
 *     weir_poll(&recorder);
 *     sleep_until(weir_next_deadline(&recorder));   or until a port wakes the loop
 *   }
 *
 * No call blocks, allocates or recurses, and the work of each is bounded. All calls come from one
 * context (task, main loop): none from an interrupt, from a function of a port, or from the storage's
 * event function. Times are microseconds of uptime (weir_clock) unless a name says ms or s. Sequences
 * count the records of this start from 1 on. A function that returns int returns no other values than
 * its comment lists.
 */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include "weir/port.h"
#include "weir/storage.h"

#ifdef __cplusplus
extern "C" {
#endif

struct weir; /* weir/state.h */

/* What happens to a new record when the ring is full. Each is counted. */
enum weir_overflow {
  WEIR_HOLD = 0,        /* it waits: bytes stay in the TCP window, weir_record returns WEIR_BUSY */
  WEIR_DROP_OLDEST = 1, /* the oldest record in the ring is given up (declared to the gateway as lost) */
  WEIR_DROP_NEWEST = 2  /* the new record is given up; its message is acknowledged */
};

/* When a received QoS 1 message is acknowledged to the broker. */
enum weir_ack {
  WEIR_ACK_DURABLE = 0, /* once its record is durable on the card */
  WEIR_ACK_RING = 1     /* once its record is in the ring: a power cut loses what is there */
};

/* Which records the gateway is sent first when it lacks many. The gateway may ask otherwise. */
enum weir_order { WEIR_OLDEST_FIRST = 0, WEIR_NEWEST_FIRST = 1 };

/* Constant after weir_init; what pointers point to must stay valid. */
struct weir_config {
  const char *device;   /* [A-Za-z0-9_-]{1,64}: names the topics weir/up/{device} and weir/down/{device} */
  const char *host;     /* of the broker; NULL: no network at all, records stay on the card */
  uint16_t port;        /* 0: 1883 */
  const char *client_id; /* NULL: the device's name */
  const char *user;     /* NULL: none */
  const char *password; /* NULL: none; not without a user */
  uint16_t keep_alive_s; /* 0: 60 */

  /* Topic filters to subscribe to, beside those of the schemas. Messages that no schema matches are counted and let go. */
  const char *const *topics;
  uint8_t topic_count;
  uint8_t qos; /* of the subscriptions: 0 or 1 */
  bool local_only; /* the topics of the schemas are not subscribed to: readings come by weir_record() */

  enum weir_overflow overflow;
  enum weir_ack ack;
  enum weir_order order;

  uint32_t backoff_min_ms; /* first wait after a failed connection; 0: 500 */
  uint32_t backoff_max_ms; /* it doubles up to this; 0: 60,000. Each wait is drawn between half and whole. */

  /* The uplink's schedule: it is open for window_s in each period_s, and always when period_s is 0.
   * With local_only the connection is closed outside the window. */
  uint32_t uplink_period_s;
  uint32_t uplink_window_s; /* at most uplink_period_s */
  uint32_t linger_ms; /* a record waits at most so long for a batch to fill; 0: 1,000 */

  const uint8_t *schema_key; /* 32 bytes, Ed25519 public key that signs schemas; NULL: schemas over MQTT are refused */

  /* What every part may take without progress while it has something to do; 0: 30,000. */
  uint32_t stall_ms;
};

struct weir_ports {
  const struct weir_clock *clock;
  const struct weir_random *random;
  const struct weir_net *net;           /* NULL: no network */
  struct weir_storage *storage;         /* NULL: no card, the ring keeps records until the gateway has them */
  const struct weir_storage_config *storage_config; /* of storage; NULL without one. The core fills in epoch, device and reset_* itself */
  const struct weir_watchdog *watchdog; /* NULL: none */
  const struct weir_slots *slots;       /* NULL: schemas come anew with each connection */
};

/* Memory of the caller, which stays valid. Sizes are in bytes; pointers aligned to WEIR_BLOCK_ALIGN. */
struct weir_memory {
  uint8_t *ring; /* records: 1,000 of W1 in 32,000 bytes */
  uint32_t ring_size; /* 1,024 to 2^31 - 1 */
  uint8_t *plans; /* compiled schemas that arrive: one more slot than schemas, so that a new version arrives while the old one runs */
  uint32_t plan_size;  /* of each slot: the signed plan, at most WEIR_PLAN_MAX + 76; a larger one is refused */
  uint32_t plan_slots; /* 0: only schemas that are linked in; plans may be NULL then. At most 254 */
  uint8_t *batch; /* one uplink message */
  uint32_t batch_size; /* at least 640, better 1,024 */
};

#include "weir/state.h"

/* Prepares *w, which needs no preparation before. The structs are copied; what they point to stays valid.
 * Calls no port but clock and watchdog (cause).
 * WEIR_OK
 * WEIR_E_ARGUMENT  a pointer is missing or not aligned, a size or a number out of its range, a name not allowed,
 *                  CONNECT would not fit WEIR_MQTT_OUT_SIZE */
int weir_init(struct weir *w, const struct weir_config *config, const struct weir_ports *ports,
              const struct weir_memory *memory);

/* Installs a schema that is linked into the program (the output of `weir schema compile --target mcu`);
 * the bytes must stay valid. One of a higher version that comes over MQTT takes its place.
 * WEIR_OK
 * WEIR_E_INVALID  not a plan that this firmware runs
 * WEIR_E_FULL     more than WEIR_SCHEMAS, or more than WEIR_PLANS versions since the start
 * WEIR_E_REFUSED  a schema of that name runs already, in this version or a higher one */
int weir_add_schema(struct weir *w, const uint8_t *plan, uint32_t size);

/* Goes on with everything. Bounded work.
 * Returns the time at which it must be called again, as weir_next_deadline(). */
uint64_t weir_poll(struct weir *w);

/* The uptime, in microseconds, at which weir_poll() has something to do if no port event comes before: it is safe
 * to sleep until then, and nothing is gained by waking earlier. At once (not after now) when the last poll moved something.
 * Ask after weir_poll() and after each other call: weir_record() and weir_quiesce() may make it earlier. */
uint64_t weir_next_deadline(const struct weir *w);

/* Records a message of a local sensor, as if it had come over MQTT on that topic: the same check, the same record.
 * topic ends with NUL; topic and payload may change after the return. The work is in proportion to size.
 * WEIR_OK         it is in the ring; *sequence (may be NULL) is its number
 * WEIR_BUSY       not now, again after weir_poll(): the ring is full and the policy is WEIR_HOLD, the epoch is not drawn yet,
 *                 a message that is being received needs all checks, or the recorder is quiet (until weir_resume())
 * WEIR_E_FULL     the ring is full and the policy is WEIR_DROP_NEWEST: given up and counted
 * WEIR_E_UNKNOWN  no schema matches the topic, or it is longer than WEIR_TOPIC_MAX
 * WEIR_E_INVALID  its schema refuses it: weir_stats(w)->refused counts why
 * With any other than WEIR_OK *sequence is not touched. */
int weir_record(struct weir *w, const char *topic, const void *payload, uint32_t size, uint64_t *sequence);

/* Whether everything of this start up to the sequence is durable: on the card, or with the gateway. What the ring gave up
 * (WEIR_DROP_OLDEST) counts as durable once something after it is. */
bool weir_is_durable(const struct weir *w, uint64_t sequence);

/* The gateway has everything of this start up to this sequence; 0: nothing. */
uint64_t weir_confirmed(const struct weir *w);

/* Prepares for an update or for power to go: takes no more messages, makes everything durable on the card, acknowledges
 * it, disconnects, and switches the card off where its supply is a port. The first call begins that.
 * WEIR_BUSY  under way: call weir_poll() and again
 * WEIR_OK    quiet until weir_resume(): nothing is written or sent. Without a card, or with one that did not become usable
 *            within 10 s, records may still be in the ring alone: weir_is_durable() tells */
int weir_quiesce(struct weir *w);

/* Ends that, whether it had become quiet or not. */
void weir_resume(struct weir *w);

/* Tells the recorder that the board's own loop made progress; once called, it must come again within stall_ms, or the
 * watchdog is fed no more. A board that never calls it is not watched. */
void weir_board_alive(struct weir *w);

/* Time of day at an uptime of this start, before or after now.
 * WEIR_OK    *unix_us since 1970 UTC; *error_us how far it may be off: 100 ppm more for the time since it was learnt
 * WEIR_BUSY  not known yet; neither is touched */
int weir_wall(const struct weir *w, uint64_t uptime_us, int64_t *unix_us, uint32_t *error_us);

/* The counters of *w: they go on while you look. */
const struct weir_stats *weir_stats(const struct weir *w);

#ifdef __cplusplus
}
#endif

#endif
