/* JSON: any bytes as a payload of the first workload's schema. The first byte says how they are split. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char topic[] = "plants/p03/lines/l2/devices/d00123/env";
  struct weir_plan plan;
  struct weir_captures captures;
  if (size == 0) return 0;
  if (weir_plan_open(&plan, weir_schema_env, weir_schema_env_size) != WEIR_OK) abort();
  if (!weir_plan_match(&plan, topic, sizeof topic - 1, &captures)) abort();
  fuzz_payload(&plan, &captures, data + 1, size - 1, 1u + data[0] % 16);
  return 0;
}
