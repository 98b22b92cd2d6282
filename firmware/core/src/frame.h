/*
 * The bytes of a block (docs/format/segment.md): records into a sector, and a
 * sector back into records. Pure functions of memory; they trust no length.
 */
#ifndef WEIR_FRAME_H
#define WEIR_FRAME_H

#include "weir/storage.h"

enum {
  WEIR_FRAME_HEAD = 40,                         /* bytes before the payload */
  WEIR_FRAME_ROOM = WEIR_SECTOR - WEIR_FRAME_HEAD, /* most payload bytes */
  WEIR_FRAME_TAG = 16,
  WEIR_FLAG_HEADER = 1,
  WEIR_FLAG_DELTA = 2,
  WEIR_FLAG_SEALED = 4
};

/* What stands before the payload. */
struct weir_frame_head {
  uint8_t flags, count;
  uint16_t size;
  uint32_t card_id, serial, index, sealed;
  uint64_t epoch, first;
};

/* Begins a block of records in a sector; its next sequence is first. */
void weir_frame_begin(struct weir_frame *f, uint8_t *sector, uint64_t epoch, uint64_t first, uint64_t uptime, bool delta,
                      bool sealed);

/* Appends a record. WEIR_OK, or WEIR_E_FULL when the block has no room for it
 * or it would break the order of sequences: then the block is as it was. */
int weir_frame_append(struct weir_frame *f, uint8_t kind, uint64_t sequence, uint64_t uptime, const uint8_t *body, uint16_t size);

/* Completes the payload: size, count, zeros. Position and CRC are weir_frame_place's. */
void weir_frame_end(struct weir_frame *f);

/* Gives a complete block its place on a card, and its CRC. */
void weir_frame_place(uint8_t *sector, uint32_t card_id, uint32_t serial, uint32_t index);

/* Reads what stands before the payload of any block whose CRC is right.
 * WEIR_OK; WEIR_E_INVALID when it is not a block. */
int weir_frame_open(const uint8_t *sector, struct weir_frame_head *head);

/* Begins reading the records of an opened, unsealed block that is no header. */
int weir_frame_read(struct weir_frame_reader *r, const uint8_t *sector, const struct weir_frame_head *head);

/* Gives the next record. out->body stays valid until the next call.
 * WEIR_OK; WEIR_E_FULL at the end; WEIR_E_INVALID where the payload does not decode. */
int weir_frame_next(struct weir_frame_reader *r, struct weir_stored *out);

#endif
