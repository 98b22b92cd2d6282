/* uplink.h: what the files of the uplink know of each other. The format is docs/format/uplink.md. */
#ifndef WEIR_UPLINK_H
#define WEIR_UPLINK_H

#include "core.h"

enum {
  UP_HELLO = 0x01,
  UP_RECORDS = 0x02,
  UP_LOST = 0x03,
  UP_TIME = 0x04,
  UP_STATUS = 0x05,
  UP_SERVED = 0x06,
  DOWN_CURSOR = 0x81,
  DOWN_ASK = 0x82,
  DOWN_TIME = 0x83,
  UPLINK_FORM = 1,
  UPLINK_CRC = 4,
  RECORDS_SWEEP = 1
};

/* Writes the beginning of a message into memory.batch; batch_size counts on. */
void weir_uplink_open(struct weir *w, uint8_t kind);
void weir_uplink_u8(struct weir *w, uint32_t v);
void weir_uplink_u64(struct weir *w, uint64_t v);
void weir_uplink_varint(struct weir *w, uint64_t v);
void weir_uplink_bytes(struct weir *w, const void *data, uint32_t n);

/* Closes the message with its CRC and publishes it. False: not now. */
bool weir_uplink_send(struct weir *w);

/* uplink_records.c: the next records message. */
enum weir_step weir_uplink_records(struct weir *w);
bool weir_uplink_has_live(const struct weir *w);

/* Whether there is a card that can be read. */
bool weir_uplink_card_reads(const struct weir *w);

/* Whether the schedule lets the uplink send now; if not, when it does. */
bool weir_uplink_scheduled(const struct weir *w, uint64_t *opens_at);

#endif
