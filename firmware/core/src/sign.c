/* Who may give this device a schema (docs/format/plan.md, signed envelope). */
#include "weir/sign.h"

#include "weir/ed25519.h"

bool weir_plan_verify(const uint8_t *plan, uint32_t size, const uint8_t signature[64], const uint8_t key[32]) {
  static const uint8_t context[12] = "weir plan 1";
  struct weir_ed25519 v;
  int status;
  weir_ed25519_begin(&v, key, signature);
  weir_ed25519_add(&v, context, sizeof context);
  weir_ed25519_add(&v, plan, size);
  do {
    status = weir_ed25519_step(&v); /* 34 times at most */
  } while (status == WEIR_BUSY);
  return status == WEIR_OK;
}
