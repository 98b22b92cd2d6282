/*
 * Plans: a length of two bytes, a plan, a payload. The id is made to fit, so that
 * damage reaches what looks at the plan's inside; what is found sound is executed.
 */
#include "fuzz.h"

static void make_id_fit(uint8_t *plan, uint32_t size) {
  if (size < 36) return;
  uint32_t length = (uint32_t)plan[6] | (uint32_t)plan[7] << 8;
  if (length < 36 || length > size) return;
  struct weir_sha512 h;
  uint8_t digest[64];
  weir_sha512_begin(&h);
  weir_sha512_add(&h, plan, 8);
  weir_sha512_add(&h, plan + 16, length - 16);
  weir_sha512_end(&h, digest);
  memcpy(plan + 8, digest, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  uint32_t n = (uint32_t)data[0] | (uint32_t)data[1] << 8;
  if (n > size - 2) n = (uint32_t)size - 2;
  uint8_t *bytes = fuzz_copy(data + 2, n);
  struct weir_plan plan;
  struct weir_captures captures;
  make_id_fit(bytes, n);
  if (weir_plan_open(&plan, bytes, n) == WEIR_OK) {
    char filter[WEIR_TOPIC_MAX + 1];
    weir_plan_filter(&plan, filter, sizeof filter);
    static const char *const topics[] = {"a/x/b", "plants/p03/lines/l2/devices/d00123/env"};
    for (unsigned i = 0; i < 2; i++) {
      if (weir_plan_match(&plan, topics[i], (uint32_t)strlen(topics[i]), &captures)) {
        fuzz_payload(&plan, &captures, data + 2 + n, size - 2 - n, 3);
      }
    }
  }
  free(bytes);
  return 0;
}
