/*
 * Ed25519 signatures, RFC 8032. Field elements are eight words, reduced by
 * 2^256 = 38 (mod 2^255 - 19); both scalars are multiplied in one pass from their
 * highest bit (Straus). Everything works on public values.
 */
#include "weir/ed25519.h"

#include <string.h>

static const struct weir_fe curve_d = {{0x135978a3, 0x75eb4dca, 0x4141d8ab, 0x00700a4d, 0x7779e898, 0x8cc74079, 0x2b6ffe73, 0x52036cee}};
static const struct weir_fe curve_2d = {{0x26b2f159, 0xebd69b94, 0x8283b156, 0x00e0149a, 0xeef3d130, 0x198e80f2, 0x56dffce7, 0x2406d9dc}};
static const struct weir_fe root_of_minus_one = {{0x4a0ea0b0, 0xc4ee1b27, 0xad2fe478, 0x2f431806, 0x3dfbd7a7, 0x2b4d0099, 0x4fc1df0b, 0x2b832480}};
static const struct weir_point base = {{{0x8f25d51a, 0xc9562d60, 0x9525a7b2, 0x692cc760, 0xfdd6dc5c, 0xc0a4e231, 0xcd6e53fe, 0x216936d3}},
                                        {{0x66666658, 0x66666666, 0x66666666, 0x66666666, 0x66666666, 0x66666666, 0x66666666, 0x66666666}},
                                        {{1, 0, 0, 0, 0, 0, 0, 0}},
                                        {{0xa5b7dda3, 0x6dde8ab3, 0x775152f5, 0x20f09f80, 0x64abe37d, 0x66ea4e8e, 0xd78b7665, 0x67875f0f}}};

/* The order of the base point is 2^252 and this (RFC 8032 section 5.1). */
static const uint32_t order_low[4] = {0x5cf5d3ed, 0x5812631a, 0xa2f79cd6, 0x14def9de};

static uint32_t load32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

/* ------------------------------------------------------------------- field */

/* Adds a small number until no carry is left: the second time there is none. */
static void fe_add_small(struct weir_fe *r, uint32_t small) {
  while (small != 0) {
    uint64_t carry = small;
    for (unsigned i = 0; i < 8; i++) {
      carry += r->v[i];
      r->v[i] = (uint32_t)carry;
      carry >>= 32;
    }
    small = (uint32_t)carry * 38;
  }
}

static void fe_add(struct weir_fe *r, const struct weir_fe *a, const struct weir_fe *b) {
  uint64_t carry = 0;
  for (unsigned i = 0; i < 8; i++) {
    carry += (uint64_t)a->v[i] + b->v[i];
    r->v[i] = (uint32_t)carry;
    carry >>= 32;
  }
  fe_add_small(r, (uint32_t)carry * 38);
}

static void fe_sub(struct weir_fe *r, const struct weir_fe *a, const struct weir_fe *b) {
  int64_t carry = 0;
  for (unsigned i = 0; i < 8; i++) {
    carry += (int64_t)a->v[i] - b->v[i];
    r->v[i] = (uint32_t)carry;
    carry >>= 32;
  }
  while (carry != 0) { /* it went below zero by 2^256 = 38, at most twice */
    carry = -38;
    for (unsigned i = 0; i < 8; i++) {
      carry += r->v[i];
      r->v[i] = (uint32_t)carry;
      carry >>= 32;
    }
  }
}

static void fe_mul(struct weir_fe *r, const struct weir_fe *a, const struct weir_fe *b) {
  uint32_t w[16] = {0};
  for (unsigned i = 0; i < 8; i++) {
    uint64_t carry = 0, x = a->v[i];
    for (unsigned j = 0; j < 8; j++) {
      carry += x * b->v[j] + w[i + j];
      w[i + j] = (uint32_t)carry;
      carry >>= 32;
    }
    w[i + 8] = (uint32_t)carry;
  }
  uint64_t carry = 0;
  for (unsigned i = 0; i < 8; i++) {
    carry += (uint64_t)w[i + 8] * 38 + w[i];
    r->v[i] = (uint32_t)carry;
    carry >>= 32;
  }
  fe_add_small(r, (uint32_t)carry * 38);
}

static void fe_square_times(struct weir_fe *r, const struct weir_fe *a, unsigned times) {
  *r = *a;
  while (times-- > 0) fe_mul(r, r, r);
}

/* a^(2^250 - 1), and a^11 on the way. */
static void fe_power_250(struct weir_fe *r, struct weir_fe *eleven, const struct weir_fe *a) {
  struct weir_fe t, u, v;
  fe_square_times(&t, a, 1);   /* 2 */
  fe_square_times(&u, &t, 2);  /* 8 */
  fe_mul(&u, &u, a);           /* 9 */
  fe_mul(eleven, &u, &t);      /* 11 */
  fe_square_times(&t, eleven, 1);
  fe_mul(&t, &t, &u);          /* 2^5 - 1 */
  fe_square_times(&u, &t, 5);
  fe_mul(&t, &u, &t);          /* 2^10 - 1 */
  fe_square_times(&u, &t, 10);
  fe_mul(&u, &u, &t);          /* 2^20 - 1 */
  fe_square_times(&v, &u, 20);
  fe_mul(&u, &v, &u);          /* 2^40 - 1 */
  fe_square_times(&u, &u, 10);
  fe_mul(&t, &u, &t);          /* 2^50 - 1 */
  fe_square_times(&u, &t, 50);
  fe_mul(&u, &u, &t);          /* 2^100 - 1 */
  fe_square_times(&v, &u, 100);
  fe_mul(&u, &v, &u);          /* 2^200 - 1 */
  fe_square_times(&u, &u, 50);
  fe_mul(r, &u, &t);
}

/* Brings the number below 2^255 - 19. */
static void fe_reduce(struct weir_fe *a) {
  for (unsigned round = 0; round < 2; round++) {
    uint32_t top = a->v[7] >> 31;
    a->v[7] &= 0x7fffffff;
    fe_add_small(a, top * 19);
  }
  struct weir_fe b = *a;
  fe_add_small(&b, 19);
  if (b.v[7] >> 31 != 0) { /* 2^255 - 19 or more */
    b.v[7] &= 0x7fffffff;
    *a = b;
  }
}

static bool fe_same(const struct weir_fe *a, const struct weir_fe *b) {
  struct weir_fe d;
  uint32_t any = 0;
  fe_sub(&d, a, b);
  fe_reduce(&d);
  for (unsigned i = 0; i < 8; i++) any |= d.v[i];
  return any == 0;
}

/* ------------------------------------------------------------------- curve */

/* RFC 8032 section 5.1.4. */
static void point_add(struct weir_point *r, const struct weir_point *p, const struct weir_point *q) {
  struct weir_fe a, b, c, d, t;
  fe_sub(&a, &p->y, &p->x);
  fe_sub(&t, &q->y, &q->x);
  fe_mul(&a, &a, &t);
  fe_add(&b, &p->y, &p->x);
  fe_add(&t, &q->y, &q->x);
  fe_mul(&b, &b, &t);
  fe_mul(&c, &p->t, &q->t);
  fe_mul(&c, &c, &curve_2d);
  fe_mul(&d, &p->z, &q->z);
  fe_add(&d, &d, &d);
  fe_sub(&t, &b, &a); /* E */
  fe_add(&b, &b, &a); /* H */
  fe_sub(&a, &d, &c); /* F */
  fe_add(&d, &d, &c); /* G */
  fe_mul(&r->x, &t, &a);
  fe_mul(&r->y, &d, &b);
  fe_mul(&r->t, &t, &b);
  fe_mul(&r->z, &a, &d);
}

static void point_double(struct weir_point *p) {
  struct weir_fe a, b, c, e;
  fe_mul(&a, &p->x, &p->x);
  fe_mul(&b, &p->y, &p->y);
  fe_mul(&c, &p->z, &p->z);
  fe_add(&c, &c, &c);
  fe_add(&e, &p->x, &p->y);
  fe_mul(&e, &e, &e);
  fe_sub(&p->z, &a, &b); /* G */
  fe_add(&b, &a, &b);    /* H */
  fe_sub(&e, &b, &e);    /* E */
  fe_add(&c, &c, &p->z); /* F */
  fe_mul(&p->x, &e, &c);
  fe_mul(&p->y, &p->z, &b);
  fe_mul(&p->t, &e, &b);
  fe_mul(&p->z, &c, &p->z);
}

static void fe_load(struct weir_fe *r, const uint8_t *bytes) {
  for (unsigned i = 0; i < 8; i++) r->v[i] = load32(bytes + 4 * i);
}

/* Decodes a point and negates it: RFC 8032 section 5.1.3. */
static bool point_minus(struct weir_point *r, const uint8_t *bytes) {
  struct weir_fe u, v, w, t, one = {{1, 0, 0, 0, 0, 0, 0, 0}}, zero = {{0, 0, 0, 0, 0, 0, 0, 0}};
  fe_load(&r->y, bytes);
  uint32_t sign = r->y.v[7] >> 31;
  r->y.v[7] &= 0x7fffffff;
  t = r->y;
  fe_reduce(&t);
  if (memcmp(&t, &r->y, sizeof t) != 0) return false; /* not below 2^255 - 19 */
  fe_mul(&u, &r->y, &r->y);
  fe_mul(&v, &u, &curve_d);
  fe_sub(&u, &u, &one);
  fe_add(&v, &v, &one);
  fe_mul(&w, &v, &v);
  fe_mul(&w, &w, &v); /* v^3 */
  fe_mul(&r->x, &w, &u);
  fe_mul(&w, &w, &w);
  fe_mul(&w, &w, &v); /* v^7 */
  fe_mul(&w, &w, &u);
  fe_power_250(&t, &r->t, &w);
  fe_square_times(&t, &t, 2);
  fe_mul(&t, &t, &w); /* (u v^7)^((p-5)/8) */
  fe_mul(&r->x, &r->x, &t);
  fe_mul(&t, &r->x, &r->x);
  fe_mul(&t, &t, &v);
  if (!fe_same(&t, &u)) {
    fe_add(&t, &t, &u);
    if (!fe_same(&t, &zero)) return false;
    fe_mul(&r->x, &r->x, &root_of_minus_one);
  }
  fe_reduce(&r->x);
  if (sign != 0 && fe_same(&r->x, &zero)) return false;
  if ((r->x.v[0] & 1) == sign) fe_sub(&r->x, &zero, &r->x); /* the other one: negated */
  r->z = one;
  fe_mul(&r->t, &r->x, &r->y);
  return true;
}

static bool point_is(const struct weir_point *p, const uint8_t *bytes) {
  struct weir_fe t, eleven, x, y;
  uint8_t out[32];
  fe_power_250(&t, &eleven, &p->z);
  fe_square_times(&t, &t, 5);
  fe_mul(&t, &t, &eleven); /* 1/Z */
  fe_mul(&x, &p->x, &t);
  fe_mul(&y, &p->y, &t);
  fe_reduce(&x);
  fe_reduce(&y);
  y.v[7] |= x.v[0] << 31;
  for (unsigned i = 0; i < 32; i++) out[i] = (uint8_t)(y.v[i / 4] >> (8 * (i & 3)));
  return memcmp(out, bytes, sizeof out) == 0;
}

/* ----------------------------------------------------------------- scalars */

/* r + times * order, where r may be below zero by less than that; the sum is below 2^256. */
static void order_add(uint32_t r[9], int32_t times) {
  int64_t carry = 0;
  for (unsigned i = 0; i < 9; i++) {
    int64_t l = i < 4 ? (int64_t)order_low[i] : i == 7 ? 0x10000000 : 0;
    carry += (int64_t)r[i] + times * l;
    r[i] = (uint32_t)carry;
    carry >>= 32;
  }
}

/* The rest of 64 bytes modulo the order, byte by byte from the highest. */
static void order_reduce(uint32_t out[8], const uint8_t bytes[64]) {
  uint32_t r[9] = {0};
  for (unsigned n = 64; n-- > 0;) {
    for (unsigned i = 8; i > 0; i--) r[i] = r[i] << 8 | r[i - 1] >> 24;
    r[0] = r[0] << 8 | bytes[n];
    order_add(r, -(int32_t)(r[8] << 4 | r[7] >> 28));
    if (r[8] >> 31 != 0) order_add(r, 1);
  }
  memcpy(out, r, 8 * sizeof *r);
}

/* Whether a scalar is below the order: RFC 8032 section 5.1.7. */
static bool order_above(const uint32_t s[8]) {
  uint32_t r[9];
  memcpy(r, s, 8 * sizeof *r);
  r[8] = 0;
  order_add(r, -1);
  return r[8] >> 31 != 0;
}

/* --------------------------------------------------------------------- API */

enum { PHASE_HASH, PHASE_MULTIPLY, PHASE_COMPARE, PHASE_REFUSED };
enum { BITS_OF_A_STEP = 8 };

void weir_ed25519_begin(struct weir_ed25519 *v, const uint8_t *key, const uint8_t *signature) {
  v->key = key;
  v->signature = signature;
  v->phase = PHASE_HASH;
  weir_sha512_begin(&v->u.hash);
  weir_sha512_add(&v->u.hash, signature, 32);
  weir_sha512_add(&v->u.hash, key, 32);
}

void weir_ed25519_add(struct weir_ed25519 *v, const uint8_t *message, uint32_t n) { weir_sha512_add(&v->u.hash, message, n); }

static int start(struct weir_ed25519 *v) {
  uint8_t digest[64];
  weir_sha512_end(&v->u.hash, digest);
  order_reduce(v->h, digest);
  for (unsigned i = 0; i < 8; i++) v->s[i] = load32(v->signature + 32 + 4 * i);
  v->phase = PHASE_REFUSED;
  if (!order_above(v->s) || !point_minus(&v->u.curve.minus_key, v->key)) return WEIR_E_INVALID;
  point_add(&v->u.curve.base_minus_key, &base, &v->u.curve.minus_key);
  memset(&v->u.curve.sum, 0, sizeof v->u.curve.sum);
  v->u.curve.sum.y.v[0] = v->u.curve.sum.z.v[0] = 1;
  v->bits = 253;
  v->phase = PHASE_MULTIPLY;
  return WEIR_BUSY;
}

static int multiply(struct weir_ed25519 *v) {
  struct weir_point *sum = &v->u.curve.sum;
  for (unsigned n = 0; n < BITS_OF_A_STEP && v->bits > 0; n++) {
    uint32_t i = --v->bits;
    point_double(sum);
    bool s = v->s[i / 32] >> (i & 31) & 1, h = v->h[i / 32] >> (i & 31) & 1;
    if (s || h) point_add(sum, sum, s && h ? &v->u.curve.base_minus_key : s ? &base : &v->u.curve.minus_key);
  }
  if (v->bits == 0) v->phase = PHASE_COMPARE;
  return WEIR_BUSY;
}

int weir_ed25519_step(struct weir_ed25519 *v) {
  switch (v->phase) {
    case PHASE_HASH: return start(v);
    case PHASE_MULTIPLY: return multiply(v);
    case PHASE_COMPARE: return point_is(&v->u.curve.sum, v->signature) ? WEIR_OK : WEIR_E_INVALID;
    default: return WEIR_E_INVALID;
  }
}
