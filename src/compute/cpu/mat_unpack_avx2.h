/* mat_unpack_avx2: blocks to bytes in AVX2 registers, for the direct kernels and for strips.
 *
 * Types of 32 values come two blocks at a time: `lo` holds the first halves, `hi` the second
 * halves, in the order of struct mat_q32. Types of 256 values come 32 values at a time in natural
 * order. Without VNNI a product of two bytes must fit the 16-bit pairs of vpmaddubsw, so the *wide*
 * types (Q8_0 and the IQ4 levels) stay signed and have no offset: the sign moves to the activation.
 * Nothing beyond the named blocks is read.
 */
#ifndef COMPUTE_CPU_MAT_UNPACK_AVX2_H
#define COMPUTE_CPU_MAT_UNPACK_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "compute/cpu/mat_int.h"
#include "model/blocks.h"
#include "model/dtype_int.h"

#define INLINE    static inline __attribute__((always_inline))
#define WIDE(off) ((off) == 7) /* codes of eight bits */

INLINE uint32_t get32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE uint16_t get16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE float half(uint16_t h)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

INLINE __m256i load256(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* ---- 32 values a block ---- */

INLINE __m256i lanes2(const uint8_t *p, size_t stride)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)p)),
                                   _mm_loadu_si128((const void *)(p + stride)), 1);
}

/* The half floats at p and p + stride, each in four lanes. */
INLINE __m256 halves2(const uint8_t *p, size_t stride)
{
    uint32_t v = get16(p) | (uint32_t)get16(p + stride) << 16;
    __m256 d = _mm256_castps128_ps256(_mm_cvtph_ps(_mm_cvtsi32_si128((int)v)));
    return _mm256_permutevar8x32_ps(d, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
}

INLINE void nibbles2(const uint8_t *p, size_t stride, __m256i *lo, __m256i *hi)
{
    __m256i v = lanes2(p, stride), m = _mm256_set1_epi8(15);
    *lo = _mm256_and_si256(v, m);
    *hi = _mm256_and_si256(_mm256_srli_epi16(v, 4), m);
}

/* 16 in every byte whose bit is set. */
INLINE __m256i bits16(uint32_t bits)
{
    __m256i at = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    __m256i one = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), at), one);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, one), _mm256_set1_epi8(16));
}

INLINE void fifths2(const uint8_t *p, size_t stride, __m256i *lo, __m256i *hi)
{
    uint32_t a = get32(p), b = get32(p + stride);
    *lo = _mm256_or_si256(*lo, bits16((a & 0xffff) | b << 16));
    *hi = _mm256_or_si256(*hi, bits16(a >> 16 | (b & 0xffff0000u)));
}

INLINE __m256i levels(const int8_t *table, __m256i v)
{
    __m128i t = _mm_loadu_si128((const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), v);
}

INLINE void unpack_Q4_0(const uint8_t *p, __m256i *lo, __m256i *hi)
{
    nibbles2(p + 2, sizeof(struct block_q4_0), lo, hi);
}

INLINE void unpack_Q4_1(const uint8_t *p, __m256i *lo, __m256i *hi)
{
    nibbles2(p + 4, sizeof(struct block_q4_1), lo, hi);
}

INLINE void unpack_Q5_0(const uint8_t *p, __m256i *lo, __m256i *hi)
{
    nibbles2(p + 6, sizeof(struct block_q5_0), lo, hi);
    fifths2(p + 2, sizeof(struct block_q5_0), lo, hi);
}

INLINE void unpack_Q5_1(const uint8_t *p, __m256i *lo, __m256i *hi)
{
    nibbles2(p + 8, sizeof(struct block_q5_1), lo, hi);
    fifths2(p + 4, sizeof(struct block_q5_1), lo, hi);
}

INLINE void unpack_Q8_0(const uint8_t *p, __m256i *lo, __m256i *hi)
{
    *lo = lanes2(p + 2, sizeof(struct block_q8_0));
    *hi = lanes2(p + 18, sizeof(struct block_q8_0));
}

INLINE void unpack_IQ4_NL(const uint8_t *p, __m256i *lo, __m256i *hi)
{
    nibbles2(p + 2, sizeof(struct block_iq4_nl), lo, hi);
    *lo = levels(dtype_iq4_levels, *lo);
    *hi = levels(dtype_iq4_levels, *hi);
}

INLINE void unpack_MXFP4(const uint8_t *p, __m256i *lo, __m256i *hi)
{
    nibbles2(p + 1, sizeof(struct block_mxfp4), lo, hi);
    *lo = levels(dtype_e2m1_twice, *lo);
    *hi = levels(dtype_e2m1_twice, *hi);
}

/* Scales of two blocks, each in four lanes. */
#define SCALE_HALF(NAME, block)                                                                    \
    INLINE __m256 scale_##NAME(const uint8_t *p)                                                   \
    {                                                                                              \
        return halves2(p, sizeof(struct block));                                                   \
    }
SCALE_HALF(Q4_0, block_q4_0)
SCALE_HALF(Q4_1, block_q4_1)
SCALE_HALF(Q5_0, block_q5_0)
SCALE_HALF(Q5_1, block_q5_1)
SCALE_HALF(Q8_0, block_q8_0)
SCALE_HALF(IQ4_NL, block_iq4_nl)

/* Half of 2^(e - 127), because the levels are doubled; subnormal below e = 2. */
INLINE __m256 scale_MXFP4(const uint8_t *p)
{
    __m128i e = _mm_cvtsi32_si128(p[0] | p[sizeof(struct block_mxfp4)] << 8);
    __m256i v = _mm256_permutevar8x32_epi32(_mm256_cvtepu8_epi32(e),
                                            _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
    __m256i d = _mm256_slli_epi32(_mm256_sub_epi32(v, _mm256_set1_epi32(1)), 23);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), v);
    return _mm256_castsi256_ps(
        _mm256_blendv_epi8(d, tiny, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), v)));
}

typedef void unpack32_fn(const uint8_t *p, __m256i *lo, __m256i *hi);
typedef __m256 scale32_fn(const uint8_t *p);

/* ---- 256 values a block ---- */

struct scales {
    __m256i sc, mn; /* [16] int16, one per 16 values; mn only where the type has mins */
    float d, dmin;
};

/* Bits from..from+n-1 of each byte, brought to bit `to`. */
INLINE __m256i bits(__m256i v, int from, int n, int to)
{
    v = from >= to ? _mm256_srli_epi16(v, from - to) : _mm256_slli_epi16(v, to - from);
    return _mm256_and_si256(v, _mm256_set1_epi8((char)(((1 << n) - 1) << to)));
}

INLINE __m256i doubled(uint64_t v)
{
    __m128i x = _mm_cvtsi64_si128((long long)v);
    return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(x, x));
}

INLINE void scales_k4(const uint8_t *s, struct scales *o)
{
    uint32_t a = get32(s), b = get32(s + 4), c = get32(s + 8);
    uint64_t sc = (c & 0x0f0f0f0fu) | (a >> 6 & 0x03030303u) << 4;
    uint64_t mn = (c >> 4 & 0x0f0f0f0fu) | (b >> 6 & 0x03030303u) << 4;
    o->sc = doubled((a & 0x3f3f3f3fu) | sc << 32);
    o->mn = doubled((b & 0x3f3f3f3fu) | mn << 32);
}

INLINE void scales_Q2_K(const uint8_t *p, struct scales *o)
{
    const struct block_q2_k *b = (const void *)p;
    __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)b->scales));
    o->sc = _mm256_and_si256(v, _mm256_set1_epi16(15));
    o->mn = _mm256_srli_epi16(v, 4);
    o->d = half(b->d);
    o->dmin = half(b->dmin);
}

INLINE __m256i unpack_Q2_K(const uint8_t *p, int i)
{
    const struct block_q2_k *b = (const void *)p;
    return bits(load256(b->qs + i / 4 * 32), i % 4 * 2, 2, 0);
}

INLINE void scales_Q3_K(const uint8_t *p, struct scales *o)
{
    const struct block_q3_k *b = (const void *)p;
    uint64_t lo, hi = get32(b->scales + 8), four = 0x0f0f0f0f0f0f0f0fu, two = 0x03030303u;
    memcpy(&lo, b->scales, sizeof lo);
    uint64_t first = (lo & four) | ((hi & two) | (hi >> 2 & two) << 32) << 4;
    uint64_t second = (lo >> 4 & four) | ((hi >> 4 & two) | (hi >> 6 & two) << 32) << 4;
    __m128i v = _mm_set_epi64x((long long)second, (long long)first);
    o->sc = _mm256_sub_epi16(_mm256_cvtepu8_epi16(v), _mm256_set1_epi16(32));
    o->mn = _mm256_setzero_si256();
    o->d = half(b->d);
    o->dmin = 0;
}

INLINE __m256i unpack_Q3_K(const uint8_t *p, int i)
{
    const struct block_q3_k *b = (const void *)p;
    __m256i v = bits(load256(b->qs + i / 4 * 32), i % 4 * 2, 2, 0);
    return _mm256_or_si256(v, bits(load256(b->hmask), i, 1, 2));
}

INLINE void scales_Q4_K(const uint8_t *p, struct scales *o)
{
    const struct block_q4_k *b = (const void *)p;
    scales_k4(b->scales, o);
    o->d = half(b->d);
    o->dmin = half(b->dmin);
}

INLINE __m256i unpack_Q4_K(const uint8_t *p, int i)
{
    const struct block_q4_k *b = (const void *)p;
    return bits(load256(b->qs + i / 2 * 32), i % 2 * 4, 4, 0);
}

INLINE void scales_Q5_K(const uint8_t *p, struct scales *o)
{
    const struct block_q5_k *b = (const void *)p;
    scales_k4(b->scales, o);
    o->d = half(b->d);
    o->dmin = half(b->dmin);
}

INLINE __m256i unpack_Q5_K(const uint8_t *p, int i)
{
    const struct block_q5_k *b = (const void *)p;
    __m256i v = bits(load256(b->qs + i / 2 * 32), i % 2 * 4, 4, 0);
    return _mm256_or_si256(v, bits(load256(b->qh), i, 1, 4));
}

INLINE void scales_Q6_K(const uint8_t *p, struct scales *o)
{
    const struct block_q6_k *b = (const void *)p;
    o->sc = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)b->scales));
    o->mn = _mm256_setzero_si256();
    o->d = half(b->d);
    o->dmin = 0;
}

INLINE __m256i unpack_Q6_K(const uint8_t *p, int i)
{
    const struct block_q6_k *b = (const void *)p;
    __m256i v = bits(load256(b->ql + i / 4 * 64 + i % 2 * 32), i % 4 / 2 * 4, 4, 0);
    return _mm256_or_si256(v, bits(load256(b->qh + i / 4 * 32), i % 4 * 2, 2, 4));
}

INLINE void scales_IQ4_XS(const uint8_t *p, struct scales *o)
{
    const struct block_iq4_xs *b = (const void *)p;
    uint64_t l = get32(b->scales_l), h = b->scales_h;
    uint64_t v = _pdep_u64(l, 0x0f0f0f0f0f0f0f0fu) | _pdep_u64(h, 0x3030303030303030u);
    o->sc = _mm256_sub_epi16(doubled(v), _mm256_set1_epi16(32));
    o->mn = _mm256_setzero_si256();
    o->d = half(b->d);
    o->dmin = 0;
}

INLINE __m256i unpack_IQ4_XS(const uint8_t *p, int i)
{
    const struct block_iq4_xs *b = (const void *)p;
    __m128i v = _mm_loadu_si128((const void *)(b->qs + i * 16));
    __m256i q = _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
    return levels(dtype_iq4_levels, _mm256_and_si256(q, _mm256_set1_epi8(15)));
}

typedef void scales_fn(const uint8_t *p, struct scales *o);
typedef __m256i unpack256_fn(const uint8_t *p, int i);

/* Sixteen 16-bit sums of pairs w * a. A signed w gives its sign to a. */
INLINE __m256i pairs(__m256i w, __m256i a, bool wide)
{
    if (!wide) return _mm256_maddubs_epi16(w, a);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
}

/* ---- plain values: 8 as float32 ---- */

INLINE __m256 load_F32(const uint8_t *p)
{
    return _mm256_loadu_ps((const float *)(const void *)p);
}

INLINE __m256 load_F16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

INLINE __m256 load_BF16(const uint8_t *p)
{
    __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

typedef __m256 load_fn(const uint8_t *p);

#define BYTES_Q4_0   sizeof(struct block_q4_0)
#define BYTES_Q4_1   sizeof(struct block_q4_1)
#define BYTES_Q5_0   sizeof(struct block_q5_0)
#define BYTES_Q5_1   sizeof(struct block_q5_1)
#define BYTES_Q8_0   sizeof(struct block_q8_0)
#define BYTES_IQ4_NL sizeof(struct block_iq4_nl)
#define BYTES_MXFP4  sizeof(struct block_mxfp4)
#define BYTES_Q2_K   sizeof(struct block_q2_k)
#define BYTES_Q3_K   sizeof(struct block_q3_k)
#define BYTES_Q4_K   sizeof(struct block_q4_k)
#define BYTES_Q5_K   sizeof(struct block_q5_k)
#define BYTES_Q6_K   sizeof(struct block_q6_k)
#define BYTES_IQ4_XS sizeof(struct block_iq4_xs)
#define BYTES_F32    sizeof(struct block_f32)
#define BYTES_F16    sizeof(struct block_f16)
#define BYTES_BF16   sizeof(struct block_bf16)

#endif
