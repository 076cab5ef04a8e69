/* mat_expand_avx2: dequantisers for the types that have no kernels of their own, AVX2.
 *
 * They write the very bits that dtype_dequant() writes, many times faster: one multiplication by
 * the scale, as there. Eight codes of two or three bits are spread over eight lanes by shifts and
 * look their levels up with one permutation, which uses the lowest three bits of a lane only; signs
 * are shifted to the top and flipped in. AVX-512 uses these, too.
 */
#include <immintrin.h>
#include <string.h>

#include "compute/cpu/mat_int.h"
#include "model/blocks.h"
#include "model/dtype_int.h"

#define INLINE static inline __attribute__((always_inline))
#define QK     256

INLINE float half(uint16_t h)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* Lane i: bits `width` i.. of v. */
INLINE __m256i lanes(uint32_t v, int width)
{
    __m256i at =
        _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(width));
    return _mm256_srlv_epi32(_mm256_set1_epi32((int)v), at);
}

/* Levels of two-bit codes: the bit above the code is the next one's. */
INLINE __m256 four(float a, float b, float c, float d)
{
    return _mm256_setr_ps(a, b, c, d, a, b, c, d);
}

/* d * level, negative where bit i of signs is set. */
INLINE void put(float *out, __m256 level, uint32_t signs, float d)
{
    __m256i s = _mm256_sllv_epi32(_mm256_set1_epi32((int)signs),
                                  _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
    __m256 top = _mm256_and_ps(_mm256_castsi256_ps(s), _mm256_set1_ps(-0.0f));
    _mm256_storeu_ps(out, _mm256_xor_ps(_mm256_mul_ps(level, _mm256_set1_ps(d)), top));
}

/* ---- codebooks ---- */

INLINE __m256 iq2(uint32_t code)
{
    return _mm256_permutevar8x32_ps(four(8, 25, 43, 0), lanes(code, 2));
}

static void iq2_xxs(const void *blocks, float *out, size_t n)
{
    const struct block_iq2_xxs *b = blocks;
    for (const struct block_iq2_xxs *end = b + n / QK; b < end; b++) {
        float d = half(b->d);
        for (int s = 0; s < 8; s++) {
            const uint16_t *q = b->qs + 4 * s;
            uint32_t rest = q[2] | (uint32_t)q[3] << 16;
            float ds = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int g = 0; g < 4; g++, out += 8)
                put(out, iq2(dtype_grid_iq2_xxs[q[g / 2] >> (8 * (g % 2)) & 255]),
                    dtype_iq_signs(rest >> (7 * g)), ds);
        }
    }
}

static void iq2_xs(const void *blocks, float *out, size_t n)
{
    const struct block_iq2_xs *b = blocks;
    for (const struct block_iq2_xs *end = b + n / QK; b < end; b++) {
        float d = half(b->d);
        for (int s = 0; s < 16; s++) {
            int scale = b->scales[s / 2] >> (4 * (s % 2)) & 15;
            float ds = d * (0.5f + (float)scale) * 0.25f;
            for (int g = 2 * s; g < 2 * s + 2; g++, out += 8)
                put(out, iq2(dtype_grid_iq2_xs[b->qs[g] & 511]), dtype_iq_signs(b->qs[g] >> 9), ds);
        }
    }
}

static void iq2_s(const void *blocks, float *out, size_t n)
{
    const struct block_iq2_s *b = blocks;
    for (const struct block_iq2_s *end = b + n / QK; b < end; b++) {
        float d = half(b->d);
        for (int s = 0; s < 16; s++) {
            int scale = b->scales[s / 2] >> (4 * (s % 2)) & 15;
            float ds = d * (0.5f + (float)scale) * 0.25f;
            uint32_t h = (uint32_t)b->qh[s / 2] << 8 >> (4 * (s % 2));
            for (int g = 2 * s; g < 2 * s + 2; g++, h >>= 2, out += 8)
                put(out, iq2(dtype_grid_iq2_s[b->qs[g] | (h & 0x300)]), b->qs[32 + g], ds);
        }
    }
}

/* Two points of four values. */
INLINE __m256i iq3(uint32_t first, uint32_t second)
{
    return lanes(first | second << 12, 3);
}

static void iq3_xxs(const void *blocks, float *out, size_t n)
{
    const struct block_iq3_xxs *b = blocks;
    __m256 level = _mm256_setr_ps(4, 12, 20, 28, 36, 44, 52, 62);
    for (const struct block_iq3_xxs *end = b + n / QK; b < end; b++) {
        float d = half(b->d);
        for (int s = 0; s < 8; s++) {
            const uint8_t *q = b->qs + 8 * s;
            uint32_t rest;
            memcpy(&rest, b->qs + 64 + 4 * s, sizeof rest);
            float ds = d * (0.5f + (float)(rest >> 28)) * 0.5f;
            for (int g = 0; g < 4; g++, q += 2, rest >>= 7, out += 8) {
                __m256i at = iq3(dtype_grid_iq3_xxs[q[0]], dtype_grid_iq3_xxs[q[1]]);
                put(out, _mm256_permutevar8x32_ps(level, at), dtype_iq_signs(rest), ds);
            }
        }
    }
}

static void iq3_s(const void *blocks, float *out, size_t n)
{
    const struct block_iq3_s *b = blocks;
    __m256 level = _mm256_setr_ps(1, 3, 5, 7, 9, 11, 13, 15);
    for (const struct block_iq3_s *end = b + n / QK; b < end; b++) {
        float d = half(b->d);
        for (int s = 0; s < 8; s++) {
            const uint8_t *q = b->qs + 8 * s;
            uint32_t h = b->qh[s];
            float ds = d * (float)(1 + 2 * (b->scales[s / 2] >> (4 * (s % 2)) & 15));
            for (int g = 4 * s; g < 4 * s + 4; g++, q += 2, h >>= 2, out += 8) {
                __m256i at = iq3(dtype_grid_iq3_s[q[0] | (h & 1) << 8],
                                 dtype_grid_iq3_s[q[1] | (h & 2) << 7]);
                put(out, _mm256_permutevar8x32_ps(level, at), b->signs[g], ds);
            }
        }
    }
}

/* The three levels of one bit, shifted. */
INLINE __m256 levels1(bool minus)
{
    return minus ? four(-1.125f, -0.125f, 0.875f, 0) : four(-0.875f, 0.125f, 1.125f, 0);
}

INLINE void put1(float *out, uint32_t code, __m256 level, float d)
{
    level = _mm256_permutevar8x32_ps(level, lanes(dtype_grid_iq1[code], 2));
    _mm256_storeu_ps(out, _mm256_mul_ps(level, _mm256_set1_ps(d)));
}

static void iq1_s(const void *blocks, float *out, size_t n)
{
    const struct block_iq1_s *b = blocks;
    for (const struct block_iq1_s *end = b + n / QK; b < end; b++) {
        float d = half(b->d);
        for (int s = 0; s < 8; s++) {
            uint32_t h = b->qh[s];
            float ds = d * (float)(2 * (h >> 12 & 7) + 1);
            __m256 level = levels1(h & 0x8000);
            for (int g = 4 * s; g < 4 * s + 4; g++, h >>= 3, out += 8)
                put1(out, b->qs[g] | (h & 7) << 8, level, ds);
        }
    }
}

static void iq1_m(const void *blocks, float *out, size_t n)
{
    const struct block_iq1_m *b = blocks;
    for (const struct block_iq1_m *end = b + n / QK; b < end; b++) {
        uint16_t sc[4];
        memcpy(sc, b->scales, sizeof sc);
        float d = half(dtype_iq1_m_d(sc));
        for (int s = 0; s < 16; s++) {
            uint32_t h = b->qh[s];
            float ds = d * (float)(2 * (sc[s / 4] >> (3 * (s % 4)) & 7) + 1);
            for (int g = 2 * s; g < 2 * s + 2; g++, h >>= 4, out += 8)
                put1(out, b->qs[g] | (h & 7) << 8, levels1(h & 8), ds);
        }
    }
}

/* ---- ternary and binary ---- */

/* d * (v - 1) for eight small integers */
INLINE void put_ternary(float *out, __m256i v, __m256 d)
{
    __m256 f = _mm256_cvtepi32_ps(_mm256_sub_epi32(v, _mm256_set1_epi32(1)));
    _mm256_storeu_ps(out, _mm256_mul_ps(f, d));
}

INLINE __m256i bytes8(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
}

/* Digit k of eight bytes; see trit() in dtype_small.c. */
INLINE __m256i trits(__m256i v, int k)
{
    static const int power[5] = {1, 3, 9, 27, 81};
    v = _mm256_and_si256(_mm256_mullo_epi32(v, _mm256_set1_epi32(power[k])),
                         _mm256_set1_epi32(255));
    return _mm256_srli_epi32(_mm256_add_epi32(v, _mm256_add_epi32(v, v)), 8);
}

static void tq1_0(const void *blocks, float *out, size_t n)
{
    const struct block_tq1_0 *b = blocks;
    for (const struct block_tq1_0 *end = b + n / QK; b < end; b++, out += QK) {
        __m256 d = _mm256_set1_ps(half(b->d));
        uint8_t last[8] = {0};
        for (int m = 0; m < 48; m += 8) {
            int from = m < 32 ? m : 128 + m, apart = m < 32 ? 32 : 16; /* 160 + m - 32 */
            for (int k = 0; k < 5; k++)
                put_ternary(out + from + k * apart, trits(bytes8(b->qs + m), k), d);
        }
        memcpy(last, b->qh, sizeof b->qh);
        for (int k = 0; k < 4; k++) {
            float v[8];
            put_ternary(v, trits(bytes8(last), k), d);
            memcpy(out + 240 + 4 * k, v, 4 * sizeof *v);
        }
    }
}

static void tq2_0(const void *blocks, float *out, size_t n)
{
    const struct block_tq2_0 *b = blocks;
    for (const struct block_tq2_0 *end = b + n / QK; b < end; b++, out += QK) {
        __m256 d = _mm256_set1_ps(half(b->d));
        for (int e = 0; e < QK; e += 8) {
            __m256i v = bytes8(b->qs + e / 128 * 32 + e % 32);
            v = _mm256_srl_epi32(v, _mm_cvtsi32_si128(2 * (e % 128 / 32)));
            put_ternary(out + e, _mm256_and_si256(v, _mm256_set1_epi32(3)), d);
        }
    }
}

static void q1_0(const void *blocks, float *out, size_t n)
{
    const struct block_q1_0 *b = blocks;
    for (const struct block_q1_0 *end = b + n / 128; b < end; b++)
        for (int g = 0; g < 16; g++, out += 8)
            put(out, _mm256_set1_ps(1), ~(uint32_t)b->qs[g], half(b->d));
}

static void q2_0(const void *blocks, float *out, size_t n)
{
    const struct block_q2_0 *b = blocks;
    for (const struct block_q2_0 *end = b + n / 64; b < end; b++) {
        __m256 d = _mm256_set1_ps(half(b->d));
        for (int g = 0; g < 8; g++, out += 8) {
            uint32_t code = b->qs[2 * g] | (uint32_t)b->qs[2 * g + 1] << 8;
            __m256 v = _mm256_permutevar8x32_ps(four(-1, 0, 1, 2), lanes(code, 2));
            _mm256_storeu_ps(out, _mm256_mul_ps(v, d));
        }
    }
}

/* ---- small floats ---- */

/* Eight e2m1 codes in the lowest four bits of the lanes: three of magnitude, the sign above. */
INLINE void put_e2m1(float *out, __m256i code, __m256 d)
{
    __m256 level = _mm256_permutevar8x32_ps(_mm256_setr_ps(0, 1, 2, 3, 4, 6, 8, 12), code);
    __m256 sign =
        _mm256_and_ps(_mm256_castsi256_ps(_mm256_slli_epi32(code, 28)), _mm256_set1_ps(-0.0f));
    /* a zero has no sign in the table of levels */
    sign = _mm256_and_ps(sign, _mm256_cmp_ps(level, _mm256_setzero_ps(), _CMP_NEQ_OQ));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_xor_ps(level, sign), d));
}

static void nvfp4(const void *blocks, float *out, size_t n)
{
    const struct block_nvfp4 *b = blocks;
    for (const struct block_nvfp4 *end = b + n / 64; b < end; b++)
        for (int s = 0; s < 4; s++, out += 16) {
            __m256 d = _mm256_set1_ps(0.5f * dtype_ue4m3(b->d[s]));
            __m256i q = bytes8(b->qs + 8 * s);
            put_e2m1(out, q, d);
            put_e2m1(out + 8, _mm256_srli_epi32(q, 4), d);
        }
}

/* E4M3 has the fraction of a half float at another place and another bias: 8 more. */
static void f8_e4m3(const void *blocks, float *out, size_t n)
{
    const uint8_t *b = blocks;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i v = _mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)(b + i)));
        __m128i mag = _mm_and_si128(v, _mm_set1_epi16(0x7f));
        __m128i sign = _mm_slli_epi16(_mm_and_si128(v, _mm_set1_epi16(0x80)), 8);
        __m128i nan = _mm_cmpeq_epi16(mag, _mm_set1_epi16(0x7f));
        mag = _mm_or_si128(_mm_slli_epi16(mag, 7), _mm_and_si128(nan, _mm_set1_epi16(0x7e00)));
        __m256 f = _mm256_cvtph_ps(_mm_or_si128(mag, sign));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(f, _mm256_set1_ps(256)));
    }
    dtype_dequant(DTYPE_F8_E4M3, b + i, out + i, n - i);
}

static void f8_e5m2(const void *blocks, float *out, size_t n)
{
    const uint8_t *b = blocks;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i v = _mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)(b + i)));
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_slli_epi16(v, 8)));
    }
    dtype_dequant(DTYPE_F8_E5M2, b + i, out + i, n - i);
}

dtype_dequant_fn *const mat_expand_avx2[DTYPE_COUNT] = {
    [DTYPE_IQ1_S] = iq1_s,     [DTYPE_IQ1_M] = iq1_m,     [DTYPE_IQ2_XXS] = iq2_xxs,
    [DTYPE_IQ2_XS] = iq2_xs,   [DTYPE_IQ2_S] = iq2_s,     [DTYPE_IQ3_XXS] = iq3_xxs,
    [DTYPE_IQ3_S] = iq3_s,     [DTYPE_TQ1_0] = tq1_0,     [DTYPE_TQ2_0] = tq2_0,
    [DTYPE_Q1_0] = q1_0,       [DTYPE_Q2_0] = q2_0,       [DTYPE_NVFP4] = nvfp4,
    [DTYPE_F8_E4M3] = f8_e4m3, [DTYPE_F8_E5M2] = f8_e5m2,
};
