/*
 * Memory of the frames that came and are not yet taken: one ring, in which each
 * frame lies in one piece and takes no more than its length. A payload is then
 * checked in one go, and the window's bytes fit as they come, in long segments
 * or in short ones.
 */
#ifndef LM3S6965_FRAMES_H
#define LM3S6965_FRAMES_H

#include <stdint.h>

#include "lwip/pbuf.h"

/* A pbuf of that many bytes, in one piece, its payload aligned to 4. NULL: no room, or longer than any frame that
 * belongs here. pbuf_free gives it back. */
struct pbuf *frames_alloc(uint32_t size);

#endif
