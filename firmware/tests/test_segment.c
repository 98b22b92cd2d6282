/* The vectors of conformance/segment.txt, which internal/card reads too. Runs in the folder firmware/. */
#include <string.h>

#include "bytes.h"
#include "check.h"
#include "frame.h"

enum { TEXT = 8192 };

static char want[TEXT], got[TEXT], title[256];
static uint8_t sector[WEIR_SECTOR];

static void say(const char *format, const char *body, unsigned long long a, unsigned long long b, unsigned long long c) {
  size_t n = strlen(got);
  int wrote = snprintf(got + n, TEXT - n, format, a, b, c, body);
  CHECK(wrote > 0 && (size_t)wrote < TEXT - n);
}

static void outcome(void) {
  struct weir_frame_head h;
  struct weir_frame_reader reader;
  struct weir_stored r;
  got[0] = 0;
  if (weir_frame_open(sector, &h) != WEIR_OK) {
    say("refused\n", "", 0, 0, 0);
    return;
  }
  say("head %llu %llu %llu", "", h.flags, h.count, h.card_id);
  say(" %llu %llu %llu", "", h.serial, h.index, h.epoch);
  say(" %llu\n", "", h.first, 0, 0);
  if (h.flags & WEIR_FLAG_HEADER) {
    const uint8_t *p = sector + WEIR_FRAME_HEAD + 21 + sector[WEIR_FRAME_HEAD + 20];
    for (unsigned i = 0; i < p[0]; i++) {
      const uint8_t *l = p + 1 + 20 * (size_t)i;
      say("lost %llu %llu %llu\n", "", weir_get64(l), weir_get48(l + 8), weir_get48(l + 14));
    }
    return;
  }
  int status = weir_frame_read(&reader, sector, &h);
  while (status == WEIR_OK && (status = weir_frame_next(&reader, &r)) == WEIR_OK) {
    char body[2 * WEIR_RECORD_MAX + 2] = "-";
    for (unsigned i = 0; i < r.size; i++) snprintf(body + 2 * (size_t)i, 3, "%02x", r.body[i]);
    say("record %llu %llu %llu %s\n", body, r.kind, r.sequence, r.uptime_ms);
  }
  if (status != WEIR_E_FULL) say("fault\n", "", 0, 0, 0);
}

static void check_case(void) {
  if (want[0] == 0) return;
  outcome();
  if (strcmp(got, want) != 0) {
    fprintf(stderr, "%s:\n%s\nwant\n%s", title, got, want);
    exit(1);
  }
  want[0] = 0;
}

static void block(const char *hex) {
  memset(sector, 0, sizeof sector);
  for (size_t i = 0; hex[2 * i] && hex[2 * i] != '\n'; i++) {
    char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
    CHECK(i < WEIR_SECTOR);
    sector[i] = (uint8_t)strtoul(two, NULL, 16);
  }
}

int main(void) {
  static char line[4096];
  FILE *f = fopen("../conformance/segment.txt", "r");
  unsigned cases = 0;
  CHECK(f != NULL);
  while (fgets(line, sizeof line, f)) {
    if (line[0] == '#' || line[0] == '\n') {
      check_case();
      snprintf(title, sizeof title, "%.200s", line);
    } else if (strncmp(line, "block ", 6) == 0) {
      block(line + 6);
      cases++;
    } else {
      CHECK(strlen(want) + strlen(line) < TEXT);
      strcat(want, line);
    }
  }
  check_case();
  CHECK(fclose(f) == 0);
  printf("segment vectors: %u cases\n", cases);
  return 0;
}
