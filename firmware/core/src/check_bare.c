/* Payloads that are no JSON document: format text, and the bare words of format value. */
#include "check_internal.h"

#include <stddef.h>

/* Text that is no JSON: UTF-8 to the end. */
uint32_t weir_check_bare_text(struct weir_check *c, const uint8_t *p, uint32_t n) {
  if (c->step >= T_RUNE) {
    weir_check_rune_goes_on(c, p[0]);
    return 1;
  }
  uint32_t i = 0;
  while (i < n && p[i] < 0x80) i++;
  if (i == 0) {
    weir_check_rune_begins(c, p[0]);
    return 1;
  }
  c->runes += i;
  weir_check_append(c, p, i);
  return i;
}

/* Format value: which of null_values, compared as bare text, may the payload still be? */
void weir_check_bare_bytes(struct weir_check *c, const uint8_t *p, uint32_t n) {
  const uint8_t *nulls = weir_check_nulls(c, read16(c->plan + PLAN_ROOT));
  for (uint32_t i = 0; nulls != NULL && i < n; i++) {
    if (c->bare == 0 && is_space(p[i])) continue;
    for (uint32_t k = 0; k < nulls[0] && k < 8; k++) {
      const uint8_t *constant = c->plan + read16(nulls + 1 + 2 * k);
      const uint8_t *text = constant[0] == CONST_STRING ? c->plan + read16(constant + 1) : constant;
      bool goes_on = constant[0] == CONST_STRING && (c->bare < text[0] ? text[1 + c->bare] == p[i] : is_space(p[i]));
      if (!goes_on) c->nulls &= (uint8_t)~(1u << k);
    }
    if (c->bare < UINT16_MAX) c->bare++;
    if (c->bare == 1) c->bare_at = c->at + i;
  }
}

/* The entry of null_values that the whole payload was, if one. */
bool weir_check_is_bare_null(const struct weir_check *c) {
  const uint8_t *nulls = weir_check_nulls(c, read16(c->plan + PLAN_ROOT));
  for (uint32_t k = 0; nulls != NULL && c->bare > 0 && k < nulls[0] && k < 8; k++) {
    const uint8_t *constant = c->plan + read16(nulls + 1 + 2 * k);
    if ((c->nulls >> k & 1) && c->bare >= c->plan[read16(constant + 1)]) return true;
  }
  return false;
}
