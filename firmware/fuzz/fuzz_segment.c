/* Blocks: any bytes as a sector. With the right CRC put in, so that what lies behind it is reached too. */
#include "fuzz.h"

#include <string.h>

#include "crc.h"
#include "frame.h"
#include "seal.h"

static void read_all(uint8_t *sector) {
  struct weir_frame_head head;
  struct weir_frame_reader reader;
  struct weir_stored out;
  if (weir_frame_open(sector, &head) != WEIR_OK) return;
  static const uint8_t key[32] = {1};
  if (head.flags & WEIR_FLAG_SEALED && weir_unseal(sector, key) == WEIR_OK) head.flags &= (uint8_t)~WEIR_FLAG_SEALED;
  if (weir_frame_read(&reader, sector, &head) != WEIR_OK) return;
  unsigned n = 0;
  while (weir_frame_next(&reader, &out) == WEIR_OK) {
    if (out.size > WEIR_RECORD_MAX || ++n > WEIR_SECTOR) abort();
    uint8_t sum = 0;
    for (unsigned i = 0; i < out.size; i++) sum ^= out.body[i];
    (void)sum;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > WEIR_SECTOR) return 0;
  uint8_t *sector = calloc(1, WEIR_SECTOR);
  if (!sector) return 0;
  memcpy(sector, data, size);
  read_all(sector);
  sector[0] = 0x57;
  sector[1] = 0x62;
  uint32_t crc = weir_crc32(weir_crc32(0, sector + 8, WEIR_SECTOR - 8), sector, 4);
  for (unsigned i = 0; i < 4; i++) sector[4 + i] = (uint8_t)(crc >> 8 * i);
  read_all(sector);
  free(sector);
  return 0;
}
