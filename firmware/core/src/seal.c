#include "seal.h"

#include <string.h>

#include "bytes.h"

enum { BLOCK = 16, ROUNDS = 14, TAG = WEIR_FRAME_TAG, AAD = 2 + 20 };

/* ---------------------------------------------------------------- AES-256 */

static const uint8_t sbox[256] = {
    0x63, 0x7C, 0x77, 0x7B, 0xF2, 0x6B, 0x6F, 0xC5, 0x30, 0x01, 0x67, 0x2B, 0xFE, 0xD7, 0xAB, 0x76,
    0xCA, 0x82, 0xC9, 0x7D, 0xFA, 0x59, 0x47, 0xF0, 0xAD, 0xD4, 0xA2, 0xAF, 0x9C, 0xA4, 0x72, 0xC0,
    0xB7, 0xFD, 0x93, 0x26, 0x36, 0x3F, 0xF7, 0xCC, 0x34, 0xA5, 0xE5, 0xF1, 0x71, 0xD8, 0x31, 0x15,
    0x04, 0xC7, 0x23, 0xC3, 0x18, 0x96, 0x05, 0x9A, 0x07, 0x12, 0x80, 0xE2, 0xEB, 0x27, 0xB2, 0x75,
    0x09, 0x83, 0x2C, 0x1A, 0x1B, 0x6E, 0x5A, 0xA0, 0x52, 0x3B, 0xD6, 0xB3, 0x29, 0xE3, 0x2F, 0x84,
    0x53, 0xD1, 0x00, 0xED, 0x20, 0xFC, 0xB1, 0x5B, 0x6A, 0xCB, 0xBE, 0x39, 0x4A, 0x4C, 0x58, 0xCF,
    0xD0, 0xEF, 0xAA, 0xFB, 0x43, 0x4D, 0x33, 0x85, 0x45, 0xF9, 0x02, 0x7F, 0x50, 0x3C, 0x9F, 0xA8,
    0x51, 0xA3, 0x40, 0x8F, 0x92, 0x9D, 0x38, 0xF5, 0xBC, 0xB6, 0xDA, 0x21, 0x10, 0xFF, 0xF3, 0xD2,
    0xCD, 0x0C, 0x13, 0xEC, 0x5F, 0x97, 0x44, 0x17, 0xC4, 0xA7, 0x7E, 0x3D, 0x64, 0x5D, 0x19, 0x73,
    0x60, 0x81, 0x4F, 0xDC, 0x22, 0x2A, 0x90, 0x88, 0x46, 0xEE, 0xB8, 0x14, 0xDE, 0x5E, 0x0B, 0xDB,
    0xE0, 0x32, 0x3A, 0x0A, 0x49, 0x06, 0x24, 0x5C, 0xC2, 0xD3, 0xAC, 0x62, 0x91, 0x95, 0xE4, 0x79,
    0xE7, 0xC8, 0x37, 0x6D, 0x8D, 0xD5, 0x4E, 0xA9, 0x6C, 0x56, 0xF4, 0xEA, 0x65, 0x7A, 0xAE, 0x08,
    0xBA, 0x78, 0x25, 0x2E, 0x1C, 0xA6, 0xB4, 0xC6, 0xE8, 0xDD, 0x74, 0x1F, 0x4B, 0xBD, 0x8B, 0x8A,
    0x70, 0x3E, 0xB5, 0x66, 0x48, 0x03, 0xF6, 0x0E, 0x61, 0x35, 0x57, 0xB9, 0x86, 0xC1, 0x1D, 0x9E,
    0xE1, 0xF8, 0x98, 0x11, 0x69, 0xD9, 0x8E, 0x94, 0x9B, 0x1E, 0x87, 0xE9, 0xCE, 0x55, 0x28, 0xDF,
    0x8C, 0xA1, 0x89, 0x0D, 0xBF, 0xE6, 0x42, 0x68, 0x41, 0x99, 0x2D, 0x0F, 0xB0, 0x54, 0xBB, 0x16,
};

struct aes {
  uint8_t keys[(ROUNDS + 1) * BLOCK];
};

static uint8_t twice(uint8_t a) { return (uint8_t)(a << 1 ^ (a >> 7) * 0x1B); }

/* FIPS 197, 5.2: eight words of key, then each from the one before and the eighth before. */
static void expand(struct aes *a, const uint8_t key[32]) {
  uint8_t *w = a->keys, constant = 1;
  memcpy(w, key, 32);
  for (unsigned i = 8; i < 4 * (ROUNDS + 1); i++) {
    const uint8_t *before = w + 4 * (i - 1);
    uint8_t t[4] = {before[0], before[1], before[2], before[3]};
    if (i % 8 == 0) {
      uint8_t first = t[0];
      t[0] = (uint8_t)(sbox[t[1]] ^ constant);
      t[1] = sbox[t[2]];
      t[2] = sbox[t[3]];
      t[3] = sbox[first];
      constant = twice(constant);
    } else if (i % 8 == 4) {
      for (unsigned j = 0; j < 4; j++) t[j] = sbox[t[j]];
    }
    for (unsigned j = 0; j < 4; j++) w[4 * i + j] = w[4 * (i - 8) + j] ^ t[j];
  }
}

/* SubBytes and ShiftRows at once: row r of column c comes from column c + r. */
static void substitute(uint8_t s[BLOCK]) {
  uint8_t t[BLOCK];
  for (unsigned i = 0; i < BLOCK; i++) t[i] = sbox[s[(i + 4 * (i % 4)) % BLOCK]];
  memcpy(s, t, BLOCK);
}

static void mix(uint8_t *c) {
  uint8_t all = c[0] ^ c[1] ^ c[2] ^ c[3], first = c[0];
  for (unsigned i = 0; i < 4; i++) c[i] ^= all ^ twice(c[i] ^ (i == 3 ? first : c[i + 1]));
}

static void encrypt(const struct aes *a, uint8_t s[BLOCK]) {
  for (unsigned round = 0;; round++) {
    for (unsigned i = 0; i < BLOCK; i++) s[i] ^= a->keys[round * BLOCK + i];
    if (round == ROUNDS) return;
    substitute(s);
    for (unsigned i = 0; round < ROUNDS - 1 && i < BLOCK; i += 4) mix(s + i);
  }
}

/* -------------------------------------------------------------------- GCM */

/* A product by H is gathered from 16 multiples of it, four bits at a time. */
struct ghash {
  uint32_t multiples[16][4]; /* most significant word first */
  uint32_t y[4];
};

static uint32_t get_be(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static void put_be(uint8_t *p, uint32_t v) {
  for (unsigned i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* SP 800-38D, 6.3: bits are reflected, so a product by x shifts right, and what falls out comes back as R = 0xE1. */
static void shift(uint32_t v[4], unsigned n) {
  static const uint32_t back[16] = {0x00000000, 0x1C200000, 0x38400000, 0x24600000, 0x70800000, 0x6CA00000,
                                    0x48C00000, 0x54E00000, 0xE1000000, 0xFD200000, 0xD9400000, 0xC5600000,
                                    0x91800000, 0x8DA00000, 0xA9C00000, 0xB5E00000};
  uint32_t out = v[3] & ((1u << n) - 1);
  for (unsigned i = 3; i > 0; i--) v[i] = v[i] >> n | v[i - 1] << (32 - n);
  v[0] = (v[0] >> n) ^ back[n == 1 ? out << 3 : out];
}

static void prepare(struct ghash *g, const uint8_t h[BLOCK]) {
  memset(g, 0, sizeof *g);
  for (unsigned i = 0; i < 4; i++) g->multiples[8][i] = get_be(h + 4 * i);
  for (unsigned m = 4; m > 0; m /= 2) {
    memcpy(g->multiples[m], g->multiples[2 * m], sizeof g->multiples[m]);
    shift(g->multiples[m], 1);
  }
  for (unsigned m = 2; m < 16; m *= 2) {
    for (unsigned j = 1; j < m; j++) {
      for (unsigned i = 0; i < 4; i++) g->multiples[m + j][i] = g->multiples[m][i] ^ g->multiples[j][i];
    }
  }
}

static void absorb(struct ghash *g, const uint8_t *data, size_t n) {
  while (n) {
    uint8_t block[BLOCK] = {0};
    size_t take = n < BLOCK ? n : BLOCK;
    memcpy(block, data, take);
    data += take;
    n -= take;
    for (unsigned i = 0; i < BLOCK; i++) block[i] ^= (uint8_t)(g->y[i / 4] >> (24 - 8 * (i % 4)));
    uint32_t z[4] = {0};
    for (unsigned i = 2 * BLOCK; i-- > 0;) {
      unsigned bits = i % 2 ? block[i / 2] & 15 : block[i / 2] >> 4;
      shift(z, 4);
      for (unsigned j = 0; j < 4; j++) z[j] ^= g->multiples[bits][j];
    }
    memcpy(g->y, z, sizeof z);
  }
}

static void tag_of(const struct aes *a, const uint8_t *nonce, const uint8_t *aad, size_t aad_size, const uint8_t *data,
                   size_t n, uint8_t tag[TAG]) {
  struct ghash g;
  uint8_t block[BLOCK] = {0};
  encrypt(a, block);
  prepare(&g, block);
  absorb(&g, aad, aad_size);
  absorb(&g, data, n);
  memset(block, 0, sizeof block);
  put_be(block + 4, (uint32_t)aad_size * 8);
  put_be(block + 12, (uint32_t)n * 8);
  absorb(&g, block, sizeof block);
  memcpy(tag, nonce, WEIR_SEAL_NONCE);
  put_be(tag + 12, 1);
  encrypt(a, tag);
  for (unsigned i = 0; i < TAG; i++) tag[i] ^= (uint8_t)(g.y[i / 4] >> (24 - 8 * (i % 4)));
}

static void crypt(const struct aes *a, const uint8_t *nonce, uint8_t *data, size_t n) {
  uint8_t stream[BLOCK];
  for (size_t i = 0; i < n; i++) {
    if (i % BLOCK == 0) {
      memcpy(stream, nonce, WEIR_SEAL_NONCE);
      put_be(stream + 12, (uint32_t)(2 + i / BLOCK));
      encrypt(a, stream);
    }
    data[i] ^= stream[i % BLOCK];
  }
}

void weir_gcm_seal(const uint8_t key[32], const uint8_t nonce[WEIR_SEAL_NONCE], const uint8_t *aad, size_t aad_size,
                   uint8_t *data, size_t n, uint8_t tag[TAG]) {
  struct aes a = {{0}};
  expand(&a, key);
  crypt(&a, nonce, data, n);
  tag_of(&a, nonce, aad, aad_size, data, n, tag);
}

int weir_gcm_open(const uint8_t key[32], const uint8_t nonce[WEIR_SEAL_NONCE], const uint8_t *aad, size_t aad_size,
                  uint8_t *data, size_t n, const uint8_t tag[TAG]) {
  struct aes a = {{0}};
  uint8_t is[TAG], differs = 0;
  expand(&a, key);
  tag_of(&a, nonce, aad, aad_size, data, n, is);
  for (unsigned i = 0; i < TAG; i++) differs |= is[i] ^ tag[i];
  if (differs) return WEIR_E_INVALID;
  crypt(&a, nonce, data, n);
  return WEIR_OK;
}

/* ------------------------------------------------------------------ blocks */

/* The nonce is epoch and counter; what stands before the payload is authenticated, but for its place and CRC. */
static void parts(const uint8_t *sector, uint8_t nonce[WEIR_SEAL_NONCE], uint8_t aad[AAD]) {
  memcpy(nonce, sector + 20, 8);
  memcpy(nonce + 8, sector + 36, 4);
  memcpy(aad, sector + 2, 2);
  memcpy(aad + 2, sector + 20, 20);
}

uint64_t weir_seal_key_id(const uint8_t key[32]) {
  struct aes a = {{0}};
  uint8_t block[BLOCK];
  memset(block, 0xFF, sizeof block);
  expand(&a, key);
  encrypt(&a, block);
  return weir_get64(block);
}

void weir_seal(uint8_t *sector, const uint8_t key[32], uint32_t counter) {
  uint8_t nonce[WEIR_SEAL_NONCE], aad[AAD];
  uint16_t n = weir_get16(sector + 34);
  sector[2] |= WEIR_FLAG_SEALED;
  weir_put32(sector + 36, counter);
  parts(sector, nonce, aad);
  weir_gcm_seal(key, nonce, aad, AAD, sector + WEIR_FRAME_HEAD, n, sector + WEIR_FRAME_HEAD + n);
}

int weir_unseal(uint8_t *sector, const uint8_t key[32]) {
  uint8_t nonce[WEIR_SEAL_NONCE], aad[AAD];
  uint16_t n = weir_get16(sector + 34);
  if (n > WEIR_FRAME_ROOM - TAG) return WEIR_E_INVALID;
  parts(sector, nonce, aad);
  return weir_gcm_open(key, nonce, aad, AAD, sector + WEIR_FRAME_HEAD, n, sector + WEIR_FRAME_HEAD + n);
}
