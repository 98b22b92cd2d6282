#include "decimal.h"

static const uint32_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};

bool weir_decimal_scale(uint64_t mantissa, uint32_t power, uint64_t *out) {
  if (mantissa == 0) power = 0;
  if (power > 19) return false;
  if (power <= 9 && mantissa >> 32 == 0) { /* what telemetry is made of */
    *out = (uint64_t)(uint32_t)mantissa * powers[power];
    return true;
  }
  for (; power > 0; power--) {
    if (mantissa > UINT64_MAX / 10) return false;
    mantissa *= 10;
  }
  *out = mantissa;
  return true;
}

/* Compares a * 10^shift with b. Where the product is more than 64 bits hold, it is the larger. */
static int compare_scaled(uint64_t a, int32_t shift, uint64_t b) {
  if (!weir_decimal_scale(a, (uint32_t)shift, &a)) return 1;
  return (a > b) - (a < b);
}

int weir_decimal_compare_sizes(uint64_t a, uint64_t b, int32_t shift) {
  if (((a | b) >> 32) == 0 && shift >= -9 && shift <= 9) { /* two products of 32 bits: what telemetry is made of */
    a = (uint64_t)(uint32_t)a * powers[shift > 0 ? shift : 0];
    b = (uint64_t)(uint32_t)b * powers[shift < 0 ? -shift : 0];
    return (a > b) - (a < b);
  }
  return shift >= 0 ? compare_scaled(a, shift, b) : -compare_scaled(b, -shift, a);
}

bool weir_decimal_is_integer(const struct decimal *d) {
  uint64_t m = d->mantissa;
  int32_t e = d->exponent;
  if (m == 0) return true;
  if (e < -19) return false;
  for (; e < 0; e++) {
    if (m % 10 != 0) return false;
    m /= 10;
  }
  return true;
}

bool weir_decimal_to_int(const struct decimal *d, int64_t *value) {
  uint64_t m = d->mantissa;
  for (int32_t e = d->exponent; e < 0 && m != 0; e++) m /= 10;
  if (d->exponent > 0 && !weir_decimal_scale(m, (uint32_t)d->exponent, &m)) return false;
  if (d->negative) {
    if (m > UINT64_C(1) << 63) return false;
    *value = m == UINT64_C(1) << 63 ? INT64_MIN : -(int64_t)m;
    return true;
  }
  if (m > INT64_MAX) return false;
  *value = (int64_t)m;
  return true;
}

bool weir_decimal_divides(const struct decimal *d, const uint8_t *divisor) {
  uint32_t by = read32(divisor);
  uint64_t m = d->mantissa;
  int32_t shift = d->exponent - read16s(divisor + 4);
  if (m == 0) return true;
  for (; shift < 0; shift++) {
    if (m % 10 != 0) return false; /* at most 19 times */
    m /= 10;
  }
  /* m * 10^shift modulo the divisor, by squaring: 31 steps at most. */
  uint64_t rest = m % by, base = 10 % by;
  for (uint32_t left = (uint32_t)shift; left > 0 && rest != 0; left >>= 1) {
    if (left & 1) rest = rest * base % by;
    base = base * base % by;
  }
  return rest == 0;
}

bool weir_decimal_overflows(const struct decimal *d) {
  /* From half way between the largest float64 and the next power of two on, numbers
   * round to infinity: 2^1024 - 2^970 = 1.7976931348623158079...e308. No number of 19
   * digits lies between 1.797693134862315807e308 and that. */
  if (d->mantissa == 0 || d->exponent < 290) return false;
  uint64_t m = d->mantissa;
  int32_t e = d->exponent;
  while (m < UINT64_C(1000000000000000000)) {
    m *= 10;
    e--;
  }
  return e > 290 || (e == 290 && m >= UINT64_C(1797693134862315808));
}
