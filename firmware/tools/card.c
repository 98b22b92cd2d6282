/*
 * The firmware's storage manager over an image file, for tests that compare it
 * with what other programs make of the same card.
 *
 *   card format IMAGE ID            formats an image of the file's size
 *   card record IMAGE EPOCH COUNT [LOG]
 *                                   records so many, flushes; a log of all writes goes to LOG
 *   card read IMAGE                 prints what the reader gives, a record in a line
 *
 * Options of record come from the environment: PAGE, COMPRESS, SIZE (of bodies), KEY (64 hex digits).
 */
#include <string.h>

#include "check.h"
#include "faulty.h"
#include "rig.h"
#include "weir/storage.h"

static struct faulty card;
static struct weir_storage storage;
static _Alignas(8) uint8_t buffers[4][WEIR_SECTOR];
static uint8_t key[32];

static uint32_t number(const char *name, uint32_t otherwise) {
  const char *value = getenv(name);
  return value ? (uint32_t)strtoul(value, NULL, 0) : otherwise;
}

static void load(const char *path) {
  FILE *f = fopen(path, "rb");
  CHECK(f != NULL);
  CHECK(fseek(f, 0, SEEK_END) == 0);
  long size = ftell(f);
  rewind(f);
  faulty_open(&card, (uint32_t)(size / WEIR_SECTOR), 1);
  CHECK(fread(card.image, WEIR_SECTOR, card.sectors, f) == card.sectors);
  CHECK(fclose(f) == 0);
}

static void save(const char *path) {
  FILE *f = fopen(path, "r+b");
  CHECK(f != NULL);
  CHECK(fwrite(card.image, WEIR_SECTOR, card.sectors, f) == card.sectors);
  CHECK(fclose(f) == 0);
}

static void tell(void *ctx, const struct weir_storage_event *e) {
  (void)ctx;
  fprintf(stderr, "event %d value %u reason %u\n", (int)e->type, (unsigned)e->value, (unsigned)e->reason);
}

static const uint8_t *key_of_environment(void) {
  const char *hex = getenv("KEY");
  if (!hex) return NULL;
  for (unsigned i = 0; i < 32; i++) {
    char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
    key[i] = (uint8_t)strtoul(two, NULL, 16);
  }
  return key;
}

static bool mount(uint64_t epoch) {
  struct weir_storage_config config = {.block = &card.block,
                                       .buffers = buffers,
                                       .buffer_count = 4,
                                       .device = "tool",
                                       .firmware = "card-tool",
                                       .epoch = epoch,
                                       .page = (uint16_t)number("PAGE", 1),
                                       .compress = number("COMPRESS", 0) != 0,
                                       .key = key_of_environment(),
                                       .event = tell};
  CHECK_EQ(weir_storage_init(&storage, &config), WEIR_OK);
  for (unsigned i = 0; i < 10000000; i++) {
    enum weir_card_state state = weir_storage_state(&storage);
    if (state == WEIR_CARD_READY) return true;
    if (state == WEIR_CARD_REFUSED) {
      printf("refused %d\n", (int)weir_storage_refusal(&storage));
      return false;
    }
    card.now_us += 1000;
    weir_storage_poll(&storage, card.now_us / 1000);
  }
  return false;
}

static void record(uint64_t epoch, uint32_t count) {
  uint8_t body[WEIR_RECORD_MAX];
  uint16_t size = (uint16_t)number("SIZE", 29);
  for (uint32_t i = 0; i < count; i++) {
    rig_body((uint32_t)epoch * 1000003u + i, size, body);
    while (weir_storage_append(&storage, WEIR_KIND_READING, i + 1, card.now_us / 1000, body, size) == WEIR_BUSY) {
      card.now_us += 100;
      weir_storage_poll(&storage, card.now_us / 1000);
    }
    card.now_us += 2000;
    weir_storage_poll(&storage, card.now_us / 1000);
  }
  while (weir_storage_flush(&storage) == WEIR_BUSY) weir_storage_poll(&storage, ++card.now_us / 1000);
  const struct weir_storage_stats *s = weir_storage_stats(&storage);
  printf("durable %llu blocks %u syncs %u raw %u stored %u\n", (unsigned long long)weir_storage_durable(&storage), s->blocks,
         s->syncs, s->raw_bytes, s->stored_bytes);
}

static void print(void) {
  struct weir_stored out;
  weir_storage_read_oldest(&storage);
  for (;;) {
    int status = weir_storage_read(&storage, &out);
    if (status == WEIR_E_FULL) return;
    if (status == WEIR_BUSY) {
      card.now_us += 1000;
      weir_storage_poll(&storage, card.now_us / 1000);
      continue;
    }
    if (status != WEIR_OK) {
      printf("status %d\n", status);
      if (status != WEIR_E_INVALID) return;
      continue;
    }
    printf("%016llx %llu %u %llu ", (unsigned long long)out.epoch, (unsigned long long)out.sequence, out.kind,
           (unsigned long long)out.uptime_ms);
    for (unsigned i = 0; i < out.size; i++) printf("%02x", out.body[i]);
    printf("\n");
  }
}

int main(int argc, char **argv) {
  CHECK(argc >= 3);
  load(argv[2]);
  if (strcmp(argv[1], "format") == 0) {
    CHECK(argc == 4);
    struct weir_format format;
    struct weir_format_config config = {
        .block = &card.block, .buffer = buffers, .card_id = (uint32_t)strtoul(argv[3], NULL, 0)};
    CHECK_EQ(weir_format_begin(&format, &config), WEIR_OK);
    int status;
    while ((status = weir_format_poll(&format)) == WEIR_BUSY) card.now_us += 1000;
    CHECK_EQ(status, WEIR_OK);
    save(argv[2]);
  } else if (strcmp(argv[1], "record") == 0) {
    CHECK(argc >= 5);
    if (argc > 5) faulty_log(&card, argv[5]);
    if (!mount(strtoull(argv[3], NULL, 0))) return 2;
    record(strtoull(argv[3], NULL, 0), (uint32_t)strtoul(argv[4], NULL, 0));
    if (argc > 5) faulty_log_end(&card);
    save(argv[2]);
  } else {
    if (!mount(1)) return 2;
    print();
  }
  return 0;
}
