/* mat_unpack_neon: blocks of weights as signed bytes, their scales and minimums,
 * in NEON, by type. For mat_dot_neon.h, which says what is done with them.
 */
#ifndef COMPUTE_CPU_MAT_UNPACK_NEON_H
#define COMPUTE_CPU_MAT_UNPACK_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "compute/cpu/mat_int.h"
#include "model/blocks.h"
#include "model/dtype_int.h"

#define INLINE static inline __attribute__((always_inline))

INLINE uint16_t get16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE float half(const void *p)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(get16(p)))), 0);
}

/* ---- 32 values a block ---- */

typedef void unpack32_fn(const uint8_t *p, int8x16_t *lo, int8x16_t *hi);

INLINE void nibbles(const uint8_t *p, uint8x16_t *lo, uint8x16_t *hi)
{
    uint8x16_t q = vld1q_u8(p);
    *lo = vandq_u8(q, vdupq_n_u8(15));
    *hi = vshrq_n_u8(q, 4);
}

/* 16 in each byte whose bit of `bits`, 16 of them, is set. */
INLINE uint8x16_t fifth(const uint8_t *bits)
{
    static const uint8_t which[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t v = vcombine_u8(vdup_n_u8(bits[0]), vdup_n_u8(bits[1]));
    return vandq_u8(vtstq_u8(v, vld1q_u8(which)), vdupq_n_u8(16));
}

INLINE void levels(const int8_t *table, const uint8_t *p, int8x16_t *lo, int8x16_t *hi)
{
    uint8x16_t a, b;
    int8x16_t t = vld1q_s8(table);
    nibbles(p, &a, &b);
    *lo = vqtbl1q_s8(t, a);
    *hi = vqtbl1q_s8(t, b);
}

INLINE void less(int by, uint8x16_t a, uint8x16_t b, int8x16_t *lo, int8x16_t *hi)
{
    *lo = vsubq_s8(vreinterpretq_s8_u8(a), vdupq_n_s8((int8_t)by));
    *hi = vsubq_s8(vreinterpretq_s8_u8(b), vdupq_n_s8((int8_t)by));
}

INLINE void fives(const uint8_t *high, const uint8_t *p, uint8x16_t *a, uint8x16_t *b)
{
    nibbles(p, a, b);
    *a = vorrq_u8(*a, fifth(high));
    *b = vorrq_u8(*b, fifth(high + 2));
}

INLINE void unpack_Q4_0(const uint8_t *p, int8x16_t *lo, int8x16_t *hi)
{
    uint8x16_t a, b;
    nibbles(p + 2, &a, &b);
    less(8, a, b, lo, hi);
}

INLINE void unpack_Q4_1(const uint8_t *p, int8x16_t *lo, int8x16_t *hi)
{
    uint8x16_t a, b;
    nibbles(p + 4, &a, &b);
    less(0, a, b, lo, hi);
}

INLINE void unpack_Q5_0(const uint8_t *p, int8x16_t *lo, int8x16_t *hi)
{
    uint8x16_t a, b;
    fives(p + 2, p + 6, &a, &b);
    less(16, a, b, lo, hi);
}

INLINE void unpack_Q5_1(const uint8_t *p, int8x16_t *lo, int8x16_t *hi)
{
    uint8x16_t a, b;
    fives(p + 4, p + 8, &a, &b);
    less(0, a, b, lo, hi);
}

INLINE void unpack_Q8_0(const uint8_t *p, int8x16_t *lo, int8x16_t *hi)
{
    *lo = vld1q_s8((const int8_t *)p + 2);
    *hi = vld1q_s8((const int8_t *)p + 18);
}

INLINE void unpack_IQ4_NL(const uint8_t *p, int8x16_t *lo, int8x16_t *hi)
{
    levels(dtype_iq4_levels, p + 2, lo, hi);
}

INLINE void unpack_MXFP4(const uint8_t *p, int8x16_t *lo, int8x16_t *hi)
{
    levels(dtype_e2m1_twice, p + 1, lo, hi);
}

/* 2^(e - 128), as the levels are doubled; below the normal floats for e < 2. */
INLINE float power(uint8_t e)
{
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* ---- 256 values a block ---- */

/* Values w of 16 each, their scales, and for types with minimums those of 16
 * values each. */
struct codes {
    int8x16_t w[16];
    int16_t scale[16], min[16];
    float d, dmin;
};

typedef void unpack256_fn(const uint8_t *p, struct codes *k);

/* Two bits at `shift` of 16 bytes. */
#define TWO_BITS(v, shift) vandq_u8(vshlq_u8((v), vdupq_n_s8((int8_t) - (shift))), vdupq_n_u8(3))

INLINE void unpack_Q2_K(const uint8_t *p, struct codes *k)
{
    const struct block_q2_k *b = (const struct block_q2_k *)p;
    k->d = half(&b->d);
    k->dmin = half(&b->dmin);
    for (int i = 0; i < 16; i++) {
        uint8x16_t q = vld1q_u8(b->qs + i / 8 * 32 + i % 2 * 16);
        k->w[i] = vreinterpretq_s8_u8(TWO_BITS(q, i % 8 / 2 * 2));
        k->scale[i] = b->scales[i] & 15;
        k->min[i] = b->scales[i] >> 4;
    }
}

INLINE void unpack_Q3_K(const uint8_t *p, struct codes *k)
{
    const struct block_q3_k *b = (const struct block_q3_k *)p;
    int8_t scale[16];
    k->d = half(&b->d);
    dtype_k3_scales(b->scales, scale);
    for (int i = 0; i < 16; i++) {
        uint8x16_t q = vld1q_u8(b->qs + i / 8 * 32 + i % 2 * 16);
        uint8x16_t h = vtstq_u8(vld1q_u8(b->hmask + i % 2 * 16), vdupq_n_u8((uint8_t)(1 << i / 2)));
        q = vorrq_u8(TWO_BITS(q, i % 8 / 2 * 2), vandq_u8(h, vdupq_n_u8(4)));
        k->w[i] = vsubq_s8(vreinterpretq_s8_u8(q), vdupq_n_s8(4));
        k->scale[i] = scale[i];
    }
}

/* Scales and minimums of 32 values each, for Q4_K and Q5_K. */
INLINE void scales_k4(const uint8_t packed[12], struct codes *k)
{
    for (unsigned j = 0; j < 8; j++) {
        uint8_t sc, m;
        dtype_k4_scale(packed, j, &sc, &m);
        k->scale[2 * j] = k->scale[2 * j + 1] = sc;
        k->min[2 * j] = k->min[2 * j + 1] = m;
    }
}

INLINE uint8x16_t nibble_at(const uint8_t *p, int high)
{
    uint8x16_t q = vld1q_u8(p);
    return high ? vshrq_n_u8(q, 4) : vandq_u8(q, vdupq_n_u8(15));
}

INLINE void unpack_Q4_K(const uint8_t *p, struct codes *k)
{
    const struct block_q4_k *b = (const struct block_q4_k *)p;
    k->d = half(&b->d);
    k->dmin = half(&b->dmin);
    scales_k4(b->scales, k);
    for (int i = 0; i < 16; i++)
        k->w[i] = vreinterpretq_s8_u8(nibble_at(b->qs + i / 4 * 32 + i % 2 * 16, i / 2 % 2));
}

INLINE void unpack_Q5_K(const uint8_t *p, struct codes *k)
{
    const struct block_q5_k *b = (const struct block_q5_k *)p;
    k->d = half(&b->d);
    k->dmin = half(&b->dmin);
    scales_k4(b->scales, k);
    for (int i = 0; i < 16; i++) {
        uint8x16_t h = vtstq_u8(vld1q_u8(b->qh + i % 2 * 16), vdupq_n_u8((uint8_t)(1 << i / 2)));
        uint8x16_t q = nibble_at(b->qs + i / 4 * 32 + i % 2 * 16, i / 2 % 2);
        k->w[i] = vreinterpretq_s8_u8(vorrq_u8(q, vandq_u8(h, vdupq_n_u8(16))));
    }
}

INLINE void unpack_Q6_K(const uint8_t *p, struct codes *k)
{
    const struct block_q6_k *b = (const struct block_q6_k *)p;
    k->d = half(&b->d);
    for (int i = 0; i < 16; i++) {
        int group = i % 8 / 2;
        uint8x16_t q = nibble_at(b->ql + i / 8 * 64 + group % 2 * 32 + i % 2 * 16, group / 2);
        uint8x16_t h = TWO_BITS(vld1q_u8(b->qh + i / 8 * 32 + i % 2 * 16), group * 2);
        q = vorrq_u8(q, vshlq_n_u8(h, 4));
        k->w[i] = vsubq_s8(vreinterpretq_s8_u8(q), vdupq_n_s8(32));
        k->scale[i] = b->scales[i];
    }
}

INLINE void unpack_IQ4_XS(const uint8_t *p, struct codes *k)
{
    const struct block_iq4_xs *b = (const struct block_iq4_xs *)p;
    k->d = half(&b->d);
    for (int j = 0; j < 8; j++) {
        int low = b->scales_l[j / 2] >> (4 * (j % 2)) & 15, high = b->scales_h >> (2 * j) & 3;
        levels(dtype_iq4_levels, b->qs + j * 16, &k->w[2 * j], &k->w[2 * j + 1]);
        k->scale[2 * j] = k->scale[2 * j + 1] = (int16_t)((low | high << 4) - 32);
    }
}

/* ---- plain values ---- */

typedef float32x4_t load_fn(const uint8_t *p);

INLINE float32x4_t load_F32(const uint8_t *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

INLINE float32x4_t load_F16(const uint8_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

INLINE float32x4_t load_BF16(const uint8_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

#endif
