/* AES-256-GCM (NIST SP 800-38D) for the blocks of a card. Small rather than
 * fast: 256 bytes of table, about 800 bytes of stack while a block is sealed. */
#ifndef WEIR_SEAL_H
#define WEIR_SEAL_H

#include <stddef.h>

#include "frame.h"

enum { WEIR_SEAL_NONCE = 12 };

/* Encrypts n bytes in place and gives their tag. */
void weir_gcm_seal(const uint8_t key[32], const uint8_t nonce[WEIR_SEAL_NONCE], const uint8_t *aad, size_t aad_size,
                   uint8_t *data, size_t n, uint8_t tag[WEIR_FRAME_TAG]);

/* Decrypts n bytes in place. WEIR_OK; WEIR_E_INVALID where the tag is not theirs: they are as they were. */
int weir_gcm_open(const uint8_t key[32], const uint8_t nonce[WEIR_SEAL_NONCE], const uint8_t *aad, size_t aad_size,
                  uint8_t *data, size_t n, const uint8_t tag[WEIR_FRAME_TAG]);

/* Names a key: the first 8 bytes of AES-256 over sixteen 0xFF, which no block's counter ever is. */
uint64_t weir_seal_key_id(const uint8_t key[32]);

/* Seals a complete block, before weir_frame_place. counter is not 0, and never the same twice in an epoch. */
void weir_seal(uint8_t *sector, const uint8_t key[32], uint32_t counter);

/* Opens a sealed block in place. WEIR_OK; WEIR_E_INVALID */
int weir_unseal(uint8_t *sector, const uint8_t key[32]);

#endif
