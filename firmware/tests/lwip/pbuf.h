/* Stands in for lwIP's lwip/pbuf.h: what port/lm3s6965/frames.c uses of it. */
#ifndef LWIP_HDR_PBUF_H
#define LWIP_HDR_PBUF_H

#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8_t;
typedef uint16_t u16_t;
typedef enum { PBUF_RAW = 0 } pbuf_layer;
typedef enum { PBUF_POOL = 1 } pbuf_type;

struct pbuf {
  struct pbuf *next;
  void *payload;
  u16_t tot_len, len;
  u8_t type_internal, flags, ref, if_idx;
};

struct pbuf_custom {
  struct pbuf pbuf;
  void (*custom_free_function)(struct pbuf *p);
};

static inline struct pbuf *pbuf_alloced_custom(pbuf_layer layer, u16_t length, pbuf_type type, struct pbuf_custom *p, void *memory, u16_t size) {
  (void)layer;
  if (length > size) return NULL;
  p->pbuf = (struct pbuf){NULL, memory, length, length, (u8_t)type, 0, 1, 0};
  return &p->pbuf;
}

#endif
