/*
 * checker: the check as a helper process of the Go tests (internal/device/record).
 * It reads commands from standard input and answers each on standard output;
 * numbers are little-endian.
 *
 *   'P' u32 n, plan           -> i8 status of weir_plan_open
 *   'C' u16 n, topic, u32 m, payload, u32 seed of the splits
 *                             -> u8 matched, u8 verdict, u8 code, i32 offset, u8 missing, u16 n, body
 *   'R' u16 n, body           -> i8 status of weir_record_open
 *   'B' u8 slot               -> u16 n, body of the record that names the plan
 *   'V' 32 key, 64 signature, u32 n, message -> u8 1: the signature is good
 *   'L'                       -> u16 for each limit of the profile, in the order of limits[]
 *   'F'                       -> u16 n, the plan's filter
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/ed25519.h"
#include "weir/plan.h"
#include "weir/record.h"

static const uint16_t limits[] = {
    WEIR_PLAN_MAX,   WEIR_PLANS,        WEIR_DEPTH_MAX, WEIR_NAMES_MAX, WEIR_NAME_MAX, WEIR_TEXT_MAX,  WEIR_DIGITS_MAX, WEIR_PROPERTIES_MAX,
    WEIR_FIELDS_MAX, WEIR_CAPTURES_MAX, WEIR_TOPIC_MAX, WEIR_BODY_MAX,  WEIR_LIST_MAX, WEIR_WHENS_MAX, WEIR_ELEMENTS_MAX,
};

static void get(void *to, size_t n) {
  if (fread(to, 1, n, stdin) != n) exit(feof(stdin) ? 0 : 1);
}

static uint32_t get_number(unsigned bytes) {
  uint8_t b[4] = {0, 0, 0, 0};
  get(b, bytes);
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void put(const void *from, size_t n) { fwrite(from, 1, n, stdout); }

static void put_number(uint32_t v, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) {
    uint8_t b = (uint8_t)(v >> (8 * i));
    put(&b, 1);
  }
}

/* Memory of its exact size, so that AddressSanitizer sees a byte too far. */
static uint8_t *room(uint32_t n) {
  uint8_t *p = malloc(n == 0 ? 1 : n);
  if (p == NULL) exit(1);
  return p;
}

static uint8_t *get_bytes(uint32_t n) {
  uint8_t *p = room(n);
  get(p, n);
  return p;
}

static struct weir_plan plan;
static uint8_t *plan_bytes;

/* Feeds a payload in pieces that the seed decides. */
static void feed(struct weir_check *check, const uint8_t *payload, uint32_t size, uint32_t seed) {
  for (uint32_t at = 0; at < size;) {
    seed = seed * 1664525u + 1013904223u;
    uint32_t part = seed < 0x40000000u ? size : 1 + (seed >> 16) % 7;
    if (part > size - at) part = size - at;
    uint8_t *piece = room(part);
    memcpy(piece, payload + at, part);
    weir_check_feed(check, piece, part);
    free(piece);
    at += part;
  }
}

static void do_check(void) {
  static struct weir_check check;
  struct weir_captures captures;
  uint32_t n = get_number(2);
  uint8_t *topic = get_bytes(n);
  uint32_t m = get_number(4);
  uint8_t *payload = get_bytes(m);
  uint32_t seed = get_number(4);
  memset(&check, 0xA5, sizeof check); /* begin leaves nothing to chance */
  bool matched = weir_plan_match(&plan, (const char *)topic, n, &captures);
  uint8_t *body = room(WEIR_BODY_MAX);
  if (matched && weir_check_begin(&check, &plan, 3, &captures, body, WEIR_BODY_MAX, 0x0123456789abcdefu) == WEIR_OK) {
    feed(&check, payload, m, seed);
    weir_check_end(&check);
  } else {
    check.verdict = 0xFF;
  }
  uint32_t size = check.verdict == WEIR_VERDICT_OK ? check.size : 0;
  put_number(matched, 1);
  put_number(check.verdict, 1);
  put_number(check.code, 1);
  put_number((uint32_t)check.offset, 4);
  put_number(check.missing, 1);
  put_number(size, 2);
  put(body, size);
  free(body);
  free(topic);
  free(payload);
}

static void do_record(void) {
  uint32_t n = get_number(2);
  uint8_t *body = get_bytes(n);
  struct weir_reading reading;
  int status = weir_record_open(&reading, &plan, body, n);
  for (uint8_t i = 0; status == WEIR_OK && i < reading.fields; i++) {
    struct weir_value value;
    weir_record_value(&reading, i, &value);
  }
  put_number((uint32_t)status, 1);
  free(body);
}

static void do_verify(void) {
  static struct weir_ed25519 verify;
  uint8_t key[32], signature[64];
  get(key, sizeof key);
  get(signature, sizeof signature);
  uint32_t n = get_number(4);
  uint8_t *message = get_bytes(n);
  int status;
  weir_ed25519_begin(&verify, key, signature);
  weir_ed25519_add(&verify, message, n);
  do {
    status = weir_ed25519_step(&verify);
  } while (status == WEIR_BUSY);
  put_number(status == WEIR_OK, 1);
  free(message);
}

static void do_plan(void) {
  uint32_t n = get_number(4);
  free(plan_bytes);
  plan_bytes = get_bytes(n);
  put_number((uint32_t)weir_plan_open(&plan, plan_bytes, n), 1);
}

static void do_bind(void) {
  uint8_t out[WEIR_BIND_MAX];
  uint32_t n = weir_record_bind(out, sizeof out, (uint8_t)get_number(1), &plan);
  put_number(n, 2);
  put(out, n);
}

static void do_filter(void) {
  char out[WEIR_TOPIC_MAX + 1];
  uint32_t n = weir_plan_filter(&plan, out, sizeof out);
  put_number(n, 2);
  put(out, n);
}

int main(void) {
  for (;;) {
    uint8_t op;
    get(&op, 1);
    switch (op) {
      case 'P': do_plan(); break;
      case 'C': do_check(); break;
      case 'R': do_record(); break;
      case 'B': do_bind(); break;
      case 'V': do_verify(); break;
      case 'F': do_filter(); break;
      case 'L':
        for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++) put_number(limits[i], 2);
        break;
      default: return 1;
    }
    fflush(stdout);
  }
}
