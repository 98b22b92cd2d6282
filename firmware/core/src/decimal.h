/*
 * Numbers as exact decimals: ±mantissa * 10^exponent, the mantissa of at most
 * 19 digits, so that it fits in 64 bits. No floating point anywhere.
 */
#ifndef WEIR_DECIMAL_H
#define WEIR_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "plan_read.h"

struct decimal {
  uint64_t mantissa;
  int32_t exponent; /* 0 for zero */
  bool negative;
};

/* How a * 10^shift stands to b, neither of which is zero. */
int weir_decimal_compare_sizes(uint64_t a, uint64_t b, int32_t shift);

/* -1, 0, 1: how the number stands to a decimal of a plan; -0 equals 0. */
static inline int weir_decimal_compare(const struct decimal *d, const uint8_t *constant) {
  uint64_t other = read64(constant);
  bool negative = constant[10] & DECIMAL_NEGATIVE;
  if (other == 0) return d->mantissa == 0 ? 0 : d->negative ? -1 : 1;
  if (d->mantissa == 0 || d->negative != negative) return negative ? 1 : -1;
  int order = weir_decimal_compare_sizes(d->mantissa, other, d->exponent - read16s(constant + 8));
  return negative ? -order : order;
}

bool weir_decimal_is_integer(const struct decimal *d);

/* The int64 of an integer; false where int64 cannot hold it. */
bool weir_decimal_to_int(const struct decimal *d, int64_t *value);

/* Whether the number is an integer times the divisor of a plan (4 bytes, exponent 2 bytes). */
bool weir_decimal_divides(const struct decimal *d, const uint8_t *divisor);

/* Whether float64 rounds the number to infinity. */
bool weir_decimal_overflows(const struct decimal *d);

/* mantissa * 10^power into *out; false where 64 bits cannot hold it. */
bool weir_decimal_scale(uint64_t mantissa, uint32_t power, uint64_t *out);

#endif
