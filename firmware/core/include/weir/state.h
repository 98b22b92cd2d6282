/*
 * weir/state.h: the recorder's own memory, included by weir/weir.h. Its size is
 * public so that the caller can own it; its fields are not an interface, except
 * struct weir_stats.
 */
#ifndef WEIR_STATE_H
#define WEIR_STATE_H

#include "weir/port.h"
#include "weir/store.h"

/* Why a message became no record. */
enum weir_refusal {
  WEIR_REFUSED_MALFORMED = 0, /* not JSON */
  WEIR_REFUSED_INVALID = 1,   /* JSON, and the schema refuses it */
  WEIR_REFUSED_LIMIT = 2,     /* beyond the device profile: depth, names, length */
  WEIR_REFUSED_RANGE = 3,     /* a number that neither int64 nor float64 holds */
  WEIR_REFUSED_TIME = 4,      /* its time cannot be read */
  WEIR_REFUSED_UNMATCHED = 5, /* no schema matches its topic */
  WEIR_REFUSED_TOPIC = 6,     /* a topic longer than WEIR_TOPIC_MAX or not allowed */
  WEIR_REFUSALS = 7
};

/* Counters since the start; they wrap. */
struct weir_stats {
  uint32_t received;                /* messages that came over MQTT */
  uint32_t local;                   /* calls of weir_record that were taken */
  uint32_t recorded;                /* records made */
  uint32_t refused[WEIR_REFUSALS];
  uint32_t duplicate_dup;           /* messages with DUP set that were taken all the same: the gateway decides */
  uint32_t dropped_oldest;          /* records given up in the ring */
  uint32_t dropped_newest;
  uint32_t held;                    /* times that a full ring, or too many unacknowledged messages, held the network */
  uint32_t acknowledged;            /* PUBACKs sent */
  uint32_t connects;                /* CONNACKs received */
  uint32_t disconnects;             /* connections that ended unasked */
  uint32_t protocol_errors;         /* connections that were closed because the broker broke the protocol */
  uint32_t batches;                 /* records messages sent */
  uint32_t sent;                    /* records in them */
  uint32_t resent;                  /* hellos because of silence */
  uint32_t lost;                    /* records declared lost */
  uint32_t down_refused;            /* messages of the gateway that were not understood */
  uint32_t schemas_taken;
  uint32_t schemas_refused;
  uint32_t store_errors;            /* times that the store was not usable */
  uint32_t polls;                   /* calls of weir_poll */
  uint32_t idle_polls;              /* of them, those that found nothing to do */
  uint32_t ring_peak;               /* most bytes that were in the ring */
};


struct weir;

#endif
