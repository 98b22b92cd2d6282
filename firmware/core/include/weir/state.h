/*
 * weir/state.h: the recorder's own memory, included by weir/weir.h. Its size is
 * public so that the caller can own it; its fields are not an interface, except
 * struct weir_stats.
 */
#ifndef WEIR_STATE_H
#define WEIR_STATE_H

#include "weir/ed25519.h"
#include "weir/mqtt.h"
#include "weir/plan.h"
#include "weir/port.h"
#include "weir/ring.h"
#include "weir/storage.h"
#include "weir/weir.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef WEIR_CHECKS
#define WEIR_CHECKS 2 /* 1 to 8 checks at a time: schemas that share a topic (`when`), and one for weir_record beside a message being received */
#endif
#ifndef WEIR_IN_FLIGHT
#define WEIR_IN_FLIGHT 48 /* 1 to 255: received QoS 1 messages that are remembered until they are acknowledged, and a while after */
#endif

/* Why a message became no record. */
enum weir_refusal {
  WEIR_REFUSAL_MALFORMED = 0, /* not JSON, or beyond the device profile */
  WEIR_REFUSAL_INVALID = 1,   /* JSON, and the schema refuses it */
  WEIR_REFUSAL_RANGE = 2,     /* a number that no column holds */
  WEIR_REFUSAL_TIME = 3,      /* its time cannot be read */
  WEIR_REFUSAL_UNMATCHED = 4, /* no schema is for its topic, or for its payload */
  WEIR_REFUSAL_TOPIC = 5,     /* a topic longer than WEIR_TOPIC_MAX */
  WEIR_REFUSAL_CHECKS = 6,    /* more schemas share its topic than WEIR_CHECKS */
  WEIR_REFUSALS = 7
};

/* Counters since the start; they wrap. */
struct weir_stats {
  uint32_t received;     /* messages that came over MQTT */
  uint32_t local;        /* calls of weir_record that were taken */
  uint32_t recorded;     /* readings that went into the ring */
  uint32_t refused[WEIR_REFUSALS];
  uint32_t redelivered;  /* QoS 1 messages that came again and were known: acknowledged, not recorded */
  uint32_t dropped_oldest; /* records given up in the ring */
  uint32_t dropped_newest;
  uint32_t held;         /* times that a full ring, or too many unacknowledged messages, held the network */
  uint32_t deferred;     /* messages that were let go unacknowledged, so that the broker sends them again */
  uint32_t acknowledged; /* PUBACKs */
  uint32_t batches;      /* records messages sent to the gateway */
  uint32_t sent;         /* records in them */
  uint32_t hellos;
  uint32_t lost;         /* records that were declared lost */
  uint32_t subscribe_refused; /* filters that the broker did not grant */
  uint32_t down_refused; /* messages of the gateway that were not understood */
  uint32_t schemas_taken;
  uint32_t schemas_refused;
  uint32_t storage_errors; /* times that the card was not usable: gone, absent while there was something to record, refused, read-only */
  uint32_t polls;        /* calls of weir_poll */
  uint32_t idle_polls;   /* of them, those that found nothing to do */
  uint32_t ring_peak;    /* most bytes that were in the ring */
};

/* A received QoS 1 message, until its acknowledgement is old. */
struct weir_receipt {
  uint16_t id;
  uint16_t hash;     /* of the record's body */
  uint32_t sequence; /* the lower 32 bits of the record's; it may be acknowledged once that is durable */
  bool acknowledged;
};

/* A schema of this device. */
struct weir_schema {
  struct weir_plan plan;
  uint8_t slot;    /* in records: never given to another plan within an epoch */
  uint8_t room;    /* which slot of weir_memory.plans holds it, or WEIR_ROOM_LINKED */
  bool bound;      /* its record of kind 0x03 is in the ring */
  bool subscribed; /* its topic filter was sent */
};

enum { WEIR_SCHEMAS = 8, WEIR_ROOM_LINKED = 0xff, WEIR_NAME_CUT = 64 };

/* What arrives on weir/schema/+. */
struct weir_rollout {
  uint8_t state;
  uint8_t room;      /* slot of memory.plans that is being filled */
  bool fits;
  uint8_t slot;      /* port slot that is being written or read */
  uint32_t filled;   /* bytes */
  uint32_t at;       /* bytes of it that the port has */
  uint32_t serial;   /* of the newest stored schema: the next is one more */
  uint8_t slot_of[WEIR_SCHEMAS]; /* port slot of each schema's stored copy, plus 1; 0: none */
  uint32_t refused_version;
  uint8_t refused_reason; /* enum weir_rollout_reason; 0: nothing to report */
  struct weir_ed25519 verify;
  char name[WEIR_NAME_CUT + 1];
  char refused_name[WEIR_NAME_CUT + 1];
};

/* Why a schema was refused; docs/format/uplink.md, status. */
enum weir_rollout_reason {
  WEIR_ROLLOUT_MALFORMED = 1,
  WEIR_ROLLOUT_SIGNATURE = 2,
  WEIR_ROLLOUT_OLD = 3,   /* not of a higher version than the one that runs */
  WEIR_ROLLOUT_LARGE = 4,
  WEIR_ROLLOUT_NAME = 5,  /* the topic says another name than the plan */
  WEIR_ROLLOUT_SLOTS = 6, /* no free slot until the next start */
  WEIR_ROLLOUT_STORE = 7  /* it runs, and could not be stored for the next start */
};

/* What the gateway asked for: [first, end) of an epoch; end 0: on to what was durable at the hello. */
struct weir_ask {
  uint64_t epoch, first, end;
};

/* A batch that the gateway did not confirm yet. */
struct weir_sent {
  uint64_t epoch, first, last;
};

struct weir_loss {
  uint64_t epoch, first, end;
  uint8_t reason;
};

enum { WEIR_ASKS = 8, WEIR_WINDOW = 8, WEIR_LOSSES = 8 };

struct weir_uplink {
  /* since the last connection */
  bool subscribed;   /* to weir/down/{device} */
  bool greeted;      /* a cursor of this epoch came after the hello */
  bool wants_hello, wants_status, wants_time, wants_served;
  uint8_t quiet;     /* hellos without an answer */
  uint64_t hello_at; /* say hello (again) then, if nothing came from the gateway */
  uint64_t status_at;
  uint64_t hello_last; /* what the hello said */

  uint64_t cursor;     /* of this epoch */
  uint64_t live;       /* next sequence to send unasked */
  struct weir_ring_place place;
  struct weir_ask asks[WEIR_ASKS];
  uint8_t ask_count;
  uint8_t order;
  struct weir_sent window[WEIR_WINDOW];
  uint8_t window_count;
  struct weir_loss losses[WEIR_LOSSES];
  uint8_t loss_count;

  /* the message in memory.batch: being built, or in flight */
  bool in_flight, building, from_ask, from_card;
  uint64_t flight_at;
  uint64_t batch_epoch, batch_first, batch_uptime, batch_since;
  uint32_t batch_n, batch_size, batch_count_at;
  uint16_t batch_slots; /* which slots its readings use */
  uint16_t batch_bind;  /* bytes that their bindings will take */

  /* where the storage reader stands; epoch 0: not known */
  uint64_t read_epoch, read_next;
  bool read_damaged; /* it passed over a damaged block since the last record */

  char up_topic[8 + WEIR_NAME_CUT + 1];
  char down_topic[10 + WEIR_NAME_CUT + 1];
  uint8_t down[256]; /* a message of the gateway */
  uint32_t down_size;
};

struct weir_clockwork {
  bool known;
  uint8_t source;
  bool asked;
  uint64_t asked_at, learnt_at, look_at;
  int64_t unix_us; /* at learnt_at */
  uint32_t error_us;
  bool record_due; /* a time record is to be written */
};

struct weir_watch {
  uint64_t since[WEIR_PARTS]; /* when the part had something to do and made no progress; 0: it is well */
  uint64_t fed_at, alive_at;
  bool board;                 /* weir_board_alive was called once */
  bool alive;                 /* it was called since the last step */
  bool blamed;
};

struct weir {
  struct weir_config config;
  struct weir_ports ports;
  struct weir_memory memory;
  struct weir_stats stats;

  uint64_t now, epoch, key;
  uint64_t now_ms; /* of now: divided once in a poll */
  enum weir_reset cause;
  uint8_t cause_part;
  uint8_t phase; /* enum in core.h: drawing the epoch, running, quiescing, quiet */
  bool moved;    /* something happened in this poll */

  struct weir_ring ring;
  struct weir_ring_place feed; /* from the ring to the card */
  bool store_refused;          /* the card is not usable, and that was counted */
  bool card_busy;
  bool rebind;                 /* the card began a segment: say the plans again */

  struct weir_mqtt mqtt;
  uint8_t topic_at;            /* next of config.topics to subscribe to */
  bool schema_subscribed;
  uint8_t subscribing;         /* what the awaited SUBACK is for */

  /* the message that is being received */
  uint8_t in_kind;
  uint8_t in_checks;
  uint8_t in_won;        /* the check that took a message which is held at its end; WEIR_CHECKS: not known */
  uint8_t in_schema[WEIR_CHECKS];
  struct weir_check checks[WEIR_CHECKS];
  uint8_t bodies[WEIR_CHECKS][WEIR_BODY_MAX];
  uint64_t in_sequence;  /* of the record that the last call made */
  uint64_t quiesce_until;
  uint64_t held_since;   /* when the ring began to hold the network; 0: it does not */
  bool deferred;         /* the broker has messages of ours that were let go */

  struct weir_receipt receipts[WEIR_IN_FLIGHT];
  uint8_t receipt_at, receipt_count; /* oldest, how many */
  uint8_t receipt_open;              /* how many of them wait for their PUBACK */

  struct weir_schema schemas[WEIR_SCHEMAS];
  uint8_t schema_count;
  uint8_t next_slot;
  struct weir_rollout rollout;

  struct weir_uplink uplink;
  struct weir_clockwork time;
  struct weir_watch watch;
};

#ifdef __cplusplus
}
#endif

#endif
