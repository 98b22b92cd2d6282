/* AES-256-GCM against the test cases of its authors (McGrew and Viega, "The Galois/Counter Mode of Operation",
 * appendix B, cases 13 to 16), and blocks of a card. */
#include <string.h>

#include "check.h"
#include "seal.h"

struct vector {
  const char *key, *nonce, *aad, *plain, *cipher, *tag;
};

static const struct vector vectors[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "", "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b"
     "391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f6"
     "62898015ad",
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b"
     "39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f6"
     "62",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static size_t bytes(const char *hex, uint8_t *out) {
  size_t n = strlen(hex) / 2;
  for (size_t i = 0; i < n; i++) {
    char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
    out[i] = (uint8_t)strtoul(two, NULL, 16);
  }
  return n;
}

static void the_published_cases(void) {
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    const struct vector *v = &vectors[i];
    uint8_t key[32], nonce[12], aad[32], data[64], want[64], tag[16], expected[16];
    bytes(v->key, key);
    bytes(v->nonce, nonce);
    size_t aad_size = bytes(v->aad, aad), n = bytes(v->plain, data);
    bytes(v->cipher, want);
    bytes(v->tag, expected);
    weir_gcm_seal(key, nonce, aad, aad_size, data, n, tag);
    CHECK(memcmp(data, want, n) == 0);
    CHECK(memcmp(tag, expected, 16) == 0);
    CHECK_EQ(weir_gcm_open(key, nonce, aad, aad_size, data, n, tag), WEIR_OK);
    bytes(v->plain, want);
    CHECK(memcmp(data, want, n) == 0);
    tag[i] ^= 1;
    CHECK_EQ(weir_gcm_open(key, nonce, aad, aad_size, data, n, tag), WEIR_E_INVALID);
    CHECK(memcmp(data, want, n) == 0);
  }
}

static void a_block_opens_only_unchanged(void) {
  static uint8_t sector[WEIR_SECTOR], sealed[WEIR_SECTOR], key[32] = {7};
  struct weir_frame f;
  struct weir_frame_head head;
  weir_frame_begin(&f, sector, 5, 9, 100, true, true);
  while (weir_frame_append(&f, WEIR_KIND_READING, f.next, 100, (const uint8_t *)"0123456789abcdef0123", 20) == WEIR_OK) {
  }
  weir_frame_end(&f);
  CHECK(f.used <= WEIR_FRAME_ROOM - WEIR_FRAME_TAG);
  memcpy(sealed, sector, sizeof sector);
  weir_seal(sealed, key, 3);
  weir_frame_place(sealed, 1, 2, 4);
  CHECK_EQ(weir_frame_open(sealed, &head), WEIR_OK);
  CHECK(head.flags & WEIR_FLAG_SEALED);
  for (unsigned i = 0; i < WEIR_SECTOR; i++) {
    uint8_t copy[WEIR_SECTOR];
    memcpy(copy, sealed, sizeof copy);
    copy[i] ^= 0x10;
    bool free_byte = i < 2 || (i >= 4 && i < 20) || i >= WEIR_FRAME_HEAD + (unsigned)head.size + WEIR_FRAME_TAG;
    if (i == 34 || i == 35) continue; /* another size: the frame refuses it, or the tag is elsewhere */
    CHECK_EQ(weir_unseal(copy, key), free_byte ? WEIR_OK : WEIR_E_INVALID);
  }
  CHECK_EQ(weir_unseal(sealed, key), WEIR_OK);
  CHECK(memcmp(sealed + WEIR_FRAME_HEAD, sector + WEIR_FRAME_HEAD, head.size) == 0);
}

int main(void) {
  the_published_cases();
  a_block_opens_only_unchanged();
  return 0;
}
