/* What the fuzz targets share: memory of exact size, so that AddressSanitizer sees a byte too far. */
#ifndef WEIR_FUZZ_H
#define WEIR_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "weir/plan.h"
#include "weir/record.h"
#include "weir/sha512.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* fuzz_env_plan.c: the plan of the first workload. */
extern const uint32_t weir_schema_env_size;
extern const uint8_t weir_schema_env[];

static inline uint8_t *fuzz_copy(const uint8_t *bytes, size_t n) {
  uint8_t *p = malloc(n == 0 ? 1 : n);
  if (p == NULL) abort();
  if (n > 0) memcpy(p, bytes, n);
  return p;
}

/* Feeds a payload in pieces of at most `piece` bytes and returns the verdict. */
static inline enum weir_verdict fuzz_check(struct weir_check *check, const struct weir_plan *plan, const struct weir_captures *captures,
                                           uint8_t *body, const uint8_t *payload, size_t size, size_t piece) {
  memset(check, 0x5A, sizeof *check);
  if (weir_check_begin(check, plan, 1, captures, body, WEIR_BODY_MAX, 1) != WEIR_OK) abort();
  for (size_t at = 0; at < size; at += piece) {
    size_t n = size - at < piece ? size - at : piece;
    uint8_t *bytes = fuzz_copy(payload + at, n);
    weir_check_feed(check, bytes, (uint32_t)n);
    free(bytes);
  }
  return weir_check_end(check);
}

/* Checks a payload whole and in pieces: one verdict, one record, which opens. */
static inline void fuzz_payload(const struct weir_plan *plan, const struct weir_captures *captures, const uint8_t *payload, size_t size,
                                size_t piece) {
  static struct weir_check whole, parts;
  uint8_t *a = malloc((size_t)WEIR_BODY_MAX), *b = malloc((size_t)WEIR_BODY_MAX);
  if (a == NULL || b == NULL) abort();
  enum weir_verdict v = fuzz_check(&whole, plan, captures, a, payload, size, size + 1);
  enum weir_verdict w = fuzz_check(&parts, plan, captures, b, payload, size, piece);
  if (v != w || whole.code != parts.code || whole.offset != parts.offset) abort();
  if (v == WEIR_VERDICT_OK) {
    if (whole.size != parts.size || memcmp(a, b, whole.size) != 0 || whole.size > plan->body_max) abort();
  }
  free(a);
  free(b);
}

#endif
