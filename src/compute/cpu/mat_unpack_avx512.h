/* mat_unpack_avx512: blocks to bytes in AVX-512 registers, for the direct kernels and for strips.
 *
 * Types of 32 values come four blocks at a time: `lo` holds the four first halves, `hi` the four
 * second halves, and a scale vector holds the scale of block i in lanes 4i..4i+3, which is the
 * order of struct mat_q32. Types of 256 values come 64 values at a time in natural order, with
 * their scales and mins widened to sixteen int16, one per 16 values. Nothing beyond the named
 * blocks is read.
 */
#ifndef COMPUTE_CPU_MAT_UNPACK_AVX512_H
#define COMPUTE_CPU_MAT_UNPACK_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "compute/cpu/mat_int.h"
#include "model/blocks.h"
#include "model/dtype_int.h"

#define INLINE static inline __attribute__((always_inline))

INLINE uint32_t get32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE float half(uint16_t h)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* ---- 32 values a block ---- */

/* 16 bytes from each of four places, into the four lanes. */
INLINE __m512i lanes4(const uint8_t *p, size_t stride)
{
    __m128i a = _mm_loadu_si128((const void *)p);
    __m128i c = _mm_loadu_si128((const void *)(p + 2 * stride));
    __m256i ab = _mm256_inserti128_si256(_mm256_castsi128_si256(a),
                                         _mm_loadu_si128((const void *)(p + stride)), 1);
    __m256i cd = _mm256_inserti128_si256(_mm256_castsi128_si256(c),
                                         _mm_loadu_si128((const void *)(p + 3 * stride)), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(ab), cd, 1);
}

/* The half floats at byte `at` of four blocks of `size` bytes, each in four lanes. The words come
 * from the first 64 bytes and from the 64 bytes at `tail`. */
INLINE __m512 halves4(const uint8_t *p, int size, int at)
{
    int tail = 4 * size - 64 < 64 ? 4 * size - 64 : 64;
    short i[4];
    for (int b = 0; b < 4; b++) {
        int o = at + b * size;
        i[b] = (short)(o < 64 ? o / 2 : (o - tail) / 2 + 32);
    }
    __m512i idx =
        _mm512_castsi256_si512(_mm256_set_epi16(i[3], i[3], i[3], i[3], i[2], i[2], i[2], i[2],
                                                i[1], i[1], i[1], i[1], i[0], i[0], i[0], i[0]));
    __m512i head = _mm512_loadu_si512(p);
    __m512i w = i[3] < 32 ? _mm512_permutexvar_epi16(idx, head)
                          : _mm512_permutex2var_epi16(head, idx, _mm512_loadu_si512(p + tail));
    return _mm512_cvtph_ps(_mm512_castsi512_si256(w));
}

INLINE void nibbles4(const uint8_t *p, size_t stride, __m512i *lo, __m512i *hi)
{
    __m512i v = lanes4(p, stride), m = _mm512_set1_epi8(15);
    *lo = _mm512_and_si512(v, m);
    *hi = _mm512_and_si512(_mm512_srli_epi16(v, 4), m);
}

/* Adds the fifth bits, 32 a block at p, p + stride, ... */
INLINE void fifths4(const uint8_t *p, size_t stride, __m512i *lo, __m512i *hi)
{
    uint64_t a = get32(p), b = get32(p + stride), c = get32(p + 2 * stride),
             d = get32(p + 3 * stride);
    uint64_t low = (a & 0xffff) | (b & 0xffff) << 16 | (c & 0xffff) << 32 | d << 48;
    uint64_t high = a >> 16 | (b >> 16) << 16 | (c >> 16) << 32 | (d >> 16) << 48;
    __m512i bit = _mm512_set1_epi8(16);
    *lo = _mm512_mask_add_epi8(*lo, low, *lo, bit);
    *hi = _mm512_mask_add_epi8(*hi, high, *hi, bit);
}

/* Codes of four bits to their levels, plus 128. */
INLINE void levels(const int8_t *table, __m512i *lo, __m512i *hi)
{
    __m512i t = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)table));
    t = _mm512_xor_si512(t, _mm512_set1_epi8(-128));
    *lo = _mm512_shuffle_epi8(t, *lo);
    *hi = _mm512_shuffle_epi8(t, *hi);
}

INLINE void unpack_Q4_0(const uint8_t *p, __m512i *lo, __m512i *hi)
{
    nibbles4(p + 2, sizeof(struct block_q4_0), lo, hi);
}

INLINE void unpack_Q4_1(const uint8_t *p, __m512i *lo, __m512i *hi)
{
    nibbles4(p + 4, sizeof(struct block_q4_1), lo, hi);
}

INLINE void unpack_Q5_0(const uint8_t *p, __m512i *lo, __m512i *hi)
{
    nibbles4(p + 6, sizeof(struct block_q5_0), lo, hi);
    fifths4(p + 2, sizeof(struct block_q5_0), lo, hi);
}

INLINE void unpack_Q5_1(const uint8_t *p, __m512i *lo, __m512i *hi)
{
    nibbles4(p + 8, sizeof(struct block_q5_1), lo, hi);
    fifths4(p + 4, sizeof(struct block_q5_1), lo, hi);
}

INLINE void unpack_Q8_0(const uint8_t *p, __m512i *lo, __m512i *hi)
{
    __m512i flip = _mm512_set1_epi8(-128);
    *lo = _mm512_xor_si512(lanes4(p + 2, sizeof(struct block_q8_0)), flip);
    *hi = _mm512_xor_si512(lanes4(p + 18, sizeof(struct block_q8_0)), flip);
}

INLINE void unpack_IQ4_NL(const uint8_t *p, __m512i *lo, __m512i *hi)
{
    nibbles4(p + 2, sizeof(struct block_iq4_nl), lo, hi);
    levels(dtype_iq4_levels, lo, hi);
}

INLINE void unpack_MXFP4(const uint8_t *p, __m512i *lo, __m512i *hi)
{
    nibbles4(p + 1, sizeof(struct block_mxfp4), lo, hi);
    levels(dtype_e2m1_twice, lo, hi);
}

/* Scales of four blocks, each in four lanes. */
#define SCALE_HALF(NAME, block)                                                                    \
    INLINE __m512 scale_##NAME(const uint8_t *p)                                                   \
    {                                                                                              \
        return halves4(p, sizeof(struct block), 0);                                                \
    }
SCALE_HALF(Q4_0, block_q4_0)
SCALE_HALF(Q4_1, block_q4_1)
SCALE_HALF(Q5_0, block_q5_0)
SCALE_HALF(Q5_1, block_q5_1)
SCALE_HALF(Q8_0, block_q8_0)
SCALE_HALF(IQ4_NL, block_iq4_nl)

/* Half of 2^(e - 127), because the levels are doubled; subnormal below e = 2. */
INLINE __m512 scale_MXFP4(const uint8_t *p)
{
    size_t n = sizeof(struct block_mxfp4);
    uint32_t v = p[0] | (uint32_t)p[n] << 8 | (uint32_t)p[2 * n] << 16 | (uint32_t)p[3 * n] << 24;
    __m128i e = _mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)v));
    __m128i d = _mm_slli_epi32(_mm_sub_epi32(e, _mm_set1_epi32(1)), 23);
    d = _mm_mask_sllv_epi32(d, _mm_cmplt_epi32_mask(e, _mm_set1_epi32(2)),
                            _mm_set1_epi32(0x00200000), e);
    __m512i four = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi32(four, _mm512_castsi128_si512(d)));
}

typedef void unpack32_fn(const uint8_t *p, __m512i *lo, __m512i *hi);
typedef __m512 scale32_fn(const uint8_t *p);

/* ---- 256 values a block ---- */

struct scales {
    __m256i sc, mn; /* [16] int16; mn only where the type has mins */
    float d, dmin;
};

/* 32 bytes in both halves, the halves shifted right by their own counts. */
INLINE __m512i twice(const uint8_t *p, int low, int high)
{
    __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)p));
    __m512i n = _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1);
    return _mm512_srlv_epi32(v, n);
}

INLINE __m512i twice_left(const uint8_t *p, int low, int high)
{
    __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)p));
    __m512i n = _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1);
    return _mm512_sllv_epi32(v, n);
}

/* Bits 2i (first half) and 2i + 1 of 32 bytes, brought to the bit `to`. */
INLINE __m512i bit_pair(const uint8_t *p, int i, int to)
{
    if (2 * i < to) return twice_left(p, to - 2 * i, to - 2 * i - 1);
    return twice(p, 2 * i - to, 2 * i + 1 - to);
}

/* a | (b & m) */
INLINE __m512i or_bits(__m512i a, __m512i b, char m)
{
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi8(m), 0xf8);
}

/* Eight bytes, each twice, as int16. */
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

INLINE __m512i unpack_Q2_K(const uint8_t *p, int i)
{
    const struct block_q2_k *b = (const void *)p;
    __m512i v = twice(b->qs + i / 2 * 32, i % 2 * 4, i % 2 * 4 + 2);
    return _mm512_and_si512(v, _mm512_set1_epi8(3));
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

INLINE __m512i unpack_Q3_K(const uint8_t *p, int i)
{
    const struct block_q3_k *b = (const void *)p;
    __m512i v = twice(b->qs + i / 2 * 32, i % 2 * 4, i % 2 * 4 + 2);
    return or_bits(_mm512_and_si512(v, _mm512_set1_epi8(3)), bit_pair(b->hmask, i, 2), 4);
}

INLINE void scales_Q4_K(const uint8_t *p, struct scales *o)
{
    const struct block_q4_k *b = (const void *)p;
    scales_k4(b->scales, o);
    o->d = half(b->d);
    o->dmin = half(b->dmin);
}

INLINE __m512i unpack_Q4_K(const uint8_t *p, int i)
{
    const struct block_q4_k *b = (const void *)p;
    return _mm512_and_si512(twice(b->qs + i * 32, 0, 4), _mm512_set1_epi8(15));
}

INLINE void scales_Q5_K(const uint8_t *p, struct scales *o)
{
    const struct block_q5_k *b = (const void *)p;
    scales_k4(b->scales, o);
    o->d = half(b->d);
    o->dmin = half(b->dmin);
}

INLINE __m512i unpack_Q5_K(const uint8_t *p, int i)
{
    const struct block_q5_k *b = (const void *)p;
    __m512i v = _mm512_and_si512(twice(b->qs + i * 32, 0, 4), _mm512_set1_epi8(15));
    return or_bits(v, bit_pair(b->qh, i, 4), 16);
}

INLINE void scales_Q6_K(const uint8_t *p, struct scales *o)
{
    const struct block_q6_k *b = (const void *)p;
    o->sc = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)b->scales));
    o->mn = _mm256_setzero_si256();
    o->d = half(b->d);
    o->dmin = 0;
}

INLINE __m512i unpack_Q6_K(const uint8_t *p, int i)
{
    const struct block_q6_k *b = (const void *)p;
    __m512i v = _mm512_loadu_si512(b->ql + i / 2 * 64);
    const uint8_t *h = b->qh + i / 2 * 32;
    if (i % 2) v = _mm512_srli_epi16(v, 4);
    v = _mm512_and_si512(v, _mm512_set1_epi8(15));
    return or_bits(v, i % 2 ? twice(h, 0, 2) : twice_left(h, 4, 2), 0x30);
}

INLINE void scales_IQ4_XS(const uint8_t *p, struct scales *o)
{
    const struct block_iq4_xs *b = (const void *)p;
    uint64_t v = _pdep_u64(get32(b->scales_l), 0x0f0f0f0f0f0f0f0fu) |
                 _pdep_u64(b->scales_h, 0x3030303030303030u);
    o->sc = _mm256_sub_epi16(doubled(v), _mm256_set1_epi16(32));
    o->mn = _mm256_setzero_si256();
    o->d = half(b->d);
    o->dmin = 0;
}

INLINE __m512i unpack_IQ4_XS(const uint8_t *p, int i)
{
    const struct block_iq4_xs *b = (const void *)p;
    __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)(b->qs + i * 32)));
    v = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), v);
    v = _mm512_srlv_epi64(v, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
    __m512i hi = v = _mm512_and_si512(v, _mm512_set1_epi8(15));
    levels(dtype_iq4_levels, &v, &hi);
    return v;
}

typedef void scales_fn(const uint8_t *p, struct scales *o);
typedef __m512i unpack256_fn(const uint8_t *p, int i);

/* ---- plain values: 16 as float32, those beyond the mask as zeros ---- */

INLINE __m512 load_F32(const uint8_t *p, __mmask16 m)
{
    return _mm512_maskz_loadu_ps(m, p);
}

INLINE __m512 load_F16(const uint8_t *p, __mmask16 m)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p));
}

INLINE __m512 load_BF16(const uint8_t *p, __mmask16 m)
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
}

typedef __m512 load_fn(const uint8_t *p, __mmask16 m);

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
