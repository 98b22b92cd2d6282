/*
 * What a recorder must know of FAT32 (Microsoft's "FAT32 File System
 * Specification" 1.03): find the volume, the root directory, its segment
 * files, and prove that a file's clusters lie in one piece. Pure functions of
 * one sector each; they trust no field.
 */
#ifndef WEIR_FAT_H
#define WEIR_FAT_H

#include "weir/storage.h"

struct weir_fat_volume {
  uint32_t fat;   /* first sector of the FAT that is in use, from the volume's start */
  uint32_t data;  /* first sector of cluster 2 */
  uint32_t root;  /* first cluster of the root directory */
  uint32_t clusters; /* how many there are; the last is clusters + 1 */
  uint32_t id;    /* volume serial number */
  uint8_t cluster_sectors;
};

/* Looks into sector 0 for a FAT32 partition.
 * WEIR_OK           *start is its first sector; 0 when sector 0 is itself a boot sector
 * WEIR_E_UNKNOWN    neither
 * WEIR_E_REFUSED    an exFAT or NTFS partition or volume */
int weir_fat_partition(const uint8_t *sector, uint32_t sectors, uint32_t *start);

/* Reads a boot sector. room: sectors from the volume's start to the end of the medium.
 * WEIR_OK; WEIR_E_REFUSED exFAT or NTFS; WEIR_E_INVALID not FAT32 with 512-byte sectors, or fields that contradict each other */
int weir_fat_boot(const uint8_t *sector, uint32_t room, struct weir_fat_volume *v);

enum weir_fat_entry {
  WEIR_ENTRY_END = 0,     /* the directory ends here */
  WEIR_ENTRY_OTHER = 1,   /* free, a label, part of a long name, another file */
  WEIR_ENTRY_SEGMENT = 2
};

struct weir_fat_file {
  uint32_t number;  /* in WEIRnnnn.SEG */
  uint32_t cluster, size;
  uint8_t attributes;
};

/* Reads one directory entry of 32 bytes. */
enum weir_fat_entry weir_fat_directory_entry(const uint8_t *entry, struct weir_fat_file *file);

/* The entry of a cluster in its FAT sector: the number of the next cluster; from WEIR_FAT_LAST on: the chain ends. */
enum { WEIR_FAT_LAST = 0x0FFFFFF8 };
uint32_t weir_fat_next(const uint8_t *sector, uint32_t cluster);

#endif
