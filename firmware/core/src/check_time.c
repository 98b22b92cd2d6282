/* The time of a reading: a number of a unit since 1970, or RFC 3339. */
#include "check_internal.h"

enum { UNIT_MS = 1, UNIT_US = 2, UNIT_NS = 3 };

/* Notes a time that is within range. */
static bool time_take(struct weir_check *c, bool negative, uint64_t t, bool cut, uint8_t unit) {
  int64_t scale = unit == UNIT_MS ? 1000 : unit == UNIT_US ? 1000000 : 1000000000;
  if (t > INT64_MAX) return false;
  int64_t v = (int64_t)t;
  if (negative) v = -v - (cut ? 1 : 0);
  if (v < TIME_MIN_S * scale || v >= TIME_MAX_S * scale) return false;
  c->time = v;
  c->time_unit = unit;
  c->timed = true;
  return true;
}

bool weir_time_number(struct weir_check *c, const struct decimal *d) {
  static const uint8_t scales[] = {0, 9, 6, 3, 0};
  uint8_t as = c->plan[PLAN_TIME];
  if (as < TIME_S || as > TIME_NS) return false;
  uint64_t t = d->mantissa;
  if (t == 0) return time_take(c, false, 0, false, UNIT_MS);
  int32_t power = d->exponent + scales[as]; /* of nanoseconds */
  uint8_t unit = power >= 6 ? UNIT_MS : power >= 3 ? UNIT_US : UNIT_NS;
  power -= unit == UNIT_MS ? 6 : unit == UNIT_US ? 3 : 0;
  if (power > 0) return weir_decimal_scale(t, (uint32_t)power, &t) && time_take(c, d->negative, t, false, unit);
  bool cut = false; /* what is below a nanosecond is cut off, towards the past */
  for (; power < 0 && t != 0; power++) {
    cut = cut || t % 10 != 0;
    t /= 10;
  }
  return time_take(c, d->negative, t, cut, unit);
}

/* The number of two digits, or 100. */
static uint32_t two_digits(const uint8_t *s) {
  uint32_t a = (uint32_t)s[0] - '0', b = (uint32_t)s[1] - '0';
  return a > 9 || b > 9 ? 100 : a * 10 + b;
}

static uint32_t days_in(int32_t year, uint32_t month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* Days of the Gregorian calendar since 1970-01-01; years begin in March, so that the leap day is their last. */
static int32_t days_since_epoch(int32_t year, int32_t month, int32_t day) {
  if (month <= 2) {
    year--;
    month += 12;
  }
  /* Year 0 begins two months in year -1, which the calendar counts as a whole cycle before. */
  return 365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day - 1 - 719468;
}

bool weir_time_text(struct weir_check *c) {
  const uint8_t *s = c->text;
  uint32_t n = c->text_size, i = 19;
  if (c->plan[PLAN_TIME] != TIME_RFC3339 || c->text_over || n < 20) return false;
  if (s[4] != '-' || s[7] != '-' || (s[10] != 'T' && s[10] != 't' && s[10] != ' ') || s[13] != ':' || s[16] != ':') return false;
  uint32_t century = two_digits(s), years = two_digits(s + 2), month = two_digits(s + 5), day = two_digits(s + 8);
  uint32_t hour = two_digits(s + 11), minute = two_digits(s + 14), second = two_digits(s + 17);
  if (century > 99 || years > 99 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60) return false;
  int32_t year = (int32_t)(century * 100 + years);
  if (day > days_in(year, month)) return false;
  uint32_t nanos = 0, scale = 100000000;
  if (s[i] == '.') {
    for (i++; i < n && s[i] >= '0' && s[i] <= '9'; i++) {
      nanos += (s[i] - (uint32_t)'0') * scale;
      scale /= 10;
    }
    if (i == 20) return false;
  }
  int64_t secs = (int64_t)days_since_epoch(year, (int32_t)month, (int32_t)day) * 86400 + (int64_t)(hour * 3600 + minute * 60 + second);
  if (i + 6 == n && (s[i] == '+' || s[i] == '-') && s[i + 3] == ':') {
    uint32_t h = two_digits(s + i + 1), m = two_digits(s + i + 4);
    if (h > 23 || m > 59) return false;
    int64_t offset = h * 3600 + m * 60;
    secs -= s[i] == '-' ? -offset : offset;
  } else if (i + 1 != n || (s[i] | 0x20) != 'z') {
    return false;
  }
  if (secs < TIME_MIN_S || secs >= TIME_MAX_S) return false;
  c->timed = true;
  if (nanos % 1000000 == 0) {
    c->time_unit = UNIT_MS;
    c->time = secs * 1000 + (int64_t)(nanos / 1000000);
  } else if (nanos % 1000 == 0) {
    c->time_unit = UNIT_US;
    c->time = secs * 1000000 + (int64_t)(nanos / 1000);
  } else {
    c->time_unit = UNIT_NS;
    c->time = secs * 1000000000 + (int64_t)nanos;
  }
  return true;
}
