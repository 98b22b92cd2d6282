/* CRC-32 of IEEE 802.3 (as zlib, gzip, PNG). */
#ifndef WEIR_CRC_H
#define WEIR_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Continues a CRC over more bytes; start with 0. */
uint32_t weir_crc32(uint32_t crc, const void *data, size_t n);

#endif
