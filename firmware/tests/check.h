/* check.h: what host tests say when something is not as it should be. */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(what)                                                        \
  do {                                                                     \
    if (!(what)) {                                                         \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);   \
      exit(1);                                                             \
    }                                                                      \
  } while (0)

#define CHECK_EQ(have, want)                                                                                        \
  do {                                                                                                              \
    long long have_ = (long long)(have), want_ = (long long)(want);                                                 \
    if (have_ != want_) {                                                                                           \
      fprintf(stderr, "%s:%d: %s is %lld, want %s = %lld\n", __FILE__, __LINE__, #have, have_, #want, want_);       \
      exit(1);                                                                                                      \
    }                                                                                                               \
  } while (0)

/* SplitMix64 (Steele, Lea, Flood 2014): seeded, and the seed is printed by its user. */
static inline uint64_t draw(uint64_t *state) {
  uint64_t x = *state += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

#endif
