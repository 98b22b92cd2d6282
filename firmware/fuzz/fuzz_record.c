/* Records: any bytes as a body of the first workload's plan. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct weir_plan plan;
  struct weir_reading reading;
  if (size > 1000) return 0;
  if (weir_plan_open(&plan, weir_schema_env, weir_schema_env_size) != WEIR_OK) abort();
  uint8_t *body = fuzz_copy(data, size);
  if (weir_record_open(&reading, &plan, body, (uint32_t)size) == WEIR_OK) {
    for (uint8_t i = 0; i < reading.fields; i++) {
      struct weir_value value;
      weir_record_value(&reading, i, &value);
      if (!value.null && value.text != NULL && value.form == WEIR_FORM_TEXT && (value.text < body || value.text + value.size > body + size)) abort();
    }
  }
  free(body);
  return 0;
}
