#include "fat.h"

#include <string.h>

#include "bytes.h"

static bool is_foreign(const uint8_t *boot) {
  return memcmp(boot + 3, "EXFAT   ", 8) == 0 || memcmp(boot + 3, "NTFS    ", 8) == 0;
}

static bool is_boot(const uint8_t *s) {
  return (s[0] == 0xEB || s[0] == 0xE9) && weir_get16(s + 11) == WEIR_SECTOR && s[13] != 0 && (s[13] & (s[13] - 1)) == 0;
}

int weir_fat_partition(const uint8_t *s, uint32_t sectors, uint32_t *start) {
  if (s[510] != 0x55 || s[511] != 0xAA) return WEIR_E_UNKNOWN;
  if (is_foreign(s)) return WEIR_E_REFUSED;
  if (is_boot(s)) {
    *start = 0;
    return WEIR_OK;
  }
  bool foreign = false;
  for (unsigned i = 0; i < 4; i++) {
    const uint8_t *p = s + 446 + 16 * i;
    uint32_t first = weir_get32(p + 8);
    if ((p[4] == 0x0B || p[4] == 0x0C) && first != 0 && first < sectors) {
      *start = first;
      return WEIR_OK;
    }
    foreign = foreign || p[4] == 0x07;
  }
  return foreign ? WEIR_E_REFUSED : WEIR_E_UNKNOWN;
}

int weir_fat_boot(const uint8_t *s, uint32_t room, struct weir_fat_volume *v) {
  if (is_foreign(s)) return WEIR_E_REFUSED;
  if (s[510] != 0x55 || s[511] != 0xAA || !is_boot(s)) return WEIR_E_INVALID;
  uint32_t reserved = weir_get16(s + 14), fats = s[16], fat_sectors = weir_get32(s + 36), total = weir_get32(s + 32);
  /* FAT12 and FAT16 count these in other fields; FAT32 has them 0. */
  if (weir_get16(s + 17) != 0 || weir_get16(s + 19) != 0 || weir_get16(s + 22) != 0 || weir_get16(s + 42) != 0) {
    return WEIR_E_INVALID;
  }
  if (reserved == 0 || fats == 0 || fats > 2 || fat_sectors == 0 || total > room || fat_sectors > (total - 1) / fats) {
    return WEIR_E_INVALID;
  }
  uint64_t data = reserved + (uint64_t)fats * fat_sectors;
  if (data >= total) return WEIR_E_INVALID;
  v->data = (uint32_t)data;
  v->cluster_sectors = s[13];
  v->clusters = (total - v->data) / v->cluster_sectors;
  v->root = weir_get32(s + 44);
  v->id = weir_get32(s + 67);
  /* Bit 7 of the flags: only the FAT of that number is kept up to date. */
  unsigned flags = s[40], active = flags & 0x80 ? flags & 0x0F : 0;
  if (active >= fats || v->clusters < 65525 || v->clusters > 0x0FFFFFF5 || fat_sectors < (v->clusters + 129) / 128 ||
      v->root < 2 || v->root > v->clusters + 1) {
    return WEIR_E_INVALID;
  }
  v->fat = reserved + active * fat_sectors;
  return WEIR_OK;
}

enum weir_fat_entry weir_fat_directory_entry(const uint8_t *e, struct weir_fat_file *file) {
  if (e[0] == 0) return WEIR_ENTRY_END;
  if (e[0] == 0xE5 || (e[11] & 0x0F) == 0x0F || (e[11] & 0x08) || memcmp(e, "WEIR", 4) != 0 || memcmp(e + 8, "SEG", 3) != 0) {
    return WEIR_ENTRY_OTHER;
  }
  uint32_t number = 0;
  for (unsigned i = 4; i < 8; i++) {
    if (e[i] < '0' || e[i] > '9') return WEIR_ENTRY_OTHER;
    number = number * 10 + e[i] - '0';
  }
  file->number = number;
  file->cluster = (uint32_t)weir_get16(e + 20) << 16 | weir_get16(e + 26);
  file->size = weir_get32(e + 28);
  file->attributes = e[11];
  return WEIR_ENTRY_SEGMENT;
}

uint32_t weir_fat_next(const uint8_t *sector, uint32_t cluster) {
  return weir_get32(sector + (cluster % 128) * 4) & 0x0FFFFFFF;
}
