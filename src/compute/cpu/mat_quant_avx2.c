/* mat_quant_avx2: activations to int8, transposition and epilogues in AVX2, and the isa's table.
 */
#include "compute/cpu/mat_unpack_avx2.h"

INLINE __m256 abs_max(__m256 m, __m256 v)
{
    v = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
    return _mm256_max_ps(v, m); /* the second operand wins over NaN */
}

INLINE float max8(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* 32 values to bytes in their order. */
INLINE __m256i round32(const float *x, __m256 id)
{
    __m256i v[4];
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), id));
    __m256i p = _mm256_packs_epi32(v[0], v[1]), q = _mm256_packs_epi32(v[2], v[3]);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(p, q),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* -sum of every four bytes */
INLINE __m256i minus_fours(__m256i q)
{
    __m256i s = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    return _mm256_madd_epi16(s, _mm256_set1_epi16(-1));
}

static void quant32(const float *x, uint32_t n, struct mat_q32 *out)
{
    if (n < 128) memset(out, 0, sizeof *out);
    for (uint32_t b = 0; b < n / 32; b++) {
        __m256 most = _mm256_setzero_ps();
        for (int i = 0; i < 32; i += 8)
            most = abs_max(most, _mm256_loadu_ps(x + b * 32 + (uint32_t)i));
        float m = max8(most);
        __m256i q = round32(x + b * 32, _mm256_set1_ps(m > MAT_ZERO ? 127.0f / m : 0.0f));
        __m256i s = minus_fours(q);
        _mm_store_si128((void *)(out->q + b * 16), _mm256_castsi256_si128(q));
        _mm_store_si128((void *)(out->q + 64 + b * 16), _mm256_extracti128_si256(q, 1));
        _mm_store_si128((void *)(out->nsum + b * 4),
                        _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
        _mm_store_ps(out->d + b * 4, _mm_set1_ps(m * (1.0f / 127.0f)));
    }
}

static void quant256(const float *x, struct mat_q256 *out)
{
    __m256 most = _mm256_setzero_ps();
    for (uint32_t i = 0; i < 256; i += 8)
        most = abs_max(most, _mm256_loadu_ps(x + i));
    float m = max8(most);
    __m256 id = _mm256_set1_ps(m > MAT_ZERO ? 127.0f / m : 0.0f);
    for (uint32_t i = 0; i < 8; i++) {
        __m256i q = round32(x + i * 32, id), s = minus_fours(q);
        _mm256_store_si256((void *)(out->q + i * 32), q);
        s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
        s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1));
        out->nsum[2 * i] = (int16_t)_mm256_extract_epi32(s, 0);
        out->nsum[2 * i + 1] = (int16_t)_mm256_extract_epi32(s, 4);
    }
    out->d = m * (1.0f / 127.0f);
}

INLINE void transpose8(const float *s, size_t ss, float *d, size_t ds)
{
    __m256 r[8], t[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(s + i * ss);
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (size_t j = 0; j < 4; j++) {
        _mm256_storeu_ps(d + j * ds, _mm256_permute2f128_ps(r[j], r[j + 4], 0x20));
        _mm256_storeu_ps(d + (j + 4) * ds, _mm256_permute2f128_ps(r[j], r[j + 4], 0x31));
    }
}

static void transpose(const void *src, size_t src_stride, void *dst, size_t dst_stride)
{
    const float *s = src;
    float *d = dst;
    for (size_t i = 0; i < 16; i += 8)
        for (size_t j = 0; j < 16; j += 8)
            transpose8(s + i * src_stride + j, src_stride, d + j * dst_stride + i, dst_stride);
}

/* e^x to about 2 ulp: 2^n times a polynomial (Taylor to degree 6) over |r| <= ln 2 / 2. */
INLINE __m256 exp_ps(__m256 x)
{
    x = _mm256_min_ps(_mm256_max_ps(_mm256_set1_ps(-87.0f), x), _mm256_set1_ps(88.0f));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), 8);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.0f / 720);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(e, 23)));
}

INLINE __m256 finish8(__m256 old, __m256 v, __m256 bias, enum mat_finish f)
{
    v = _mm256_add_ps(v, bias);
    if (f == MAT_FIN_STORE) return v;
    if (f == MAT_FIN_ADD) return _mm256_add_ps(old, v);
    __m256 e = exp_ps(_mm256_sub_ps(_mm256_setzero_ps(), old));
    return _mm256_mul_ps(_mm256_div_ps(old, _mm256_add_ps(e, _mm256_set1_ps(1.0f))), v);
}

static void finish(float *y, const float *v, const float *bias, uint32_t n, enum mat_finish f)
{
    uint32_t i = 0;
    __m256 zero = _mm256_setzero_ps();
    for (; i + 8 <= n; i += 8) {
        __m256 b = bias ? _mm256_loadu_ps(bias + i) : zero;
        _mm256_storeu_ps(y + i, finish8(_mm256_loadu_ps(y + i), _mm256_loadu_ps(v + i), b, f));
    }
    if (i < n) {
        float t[3][8] = {{0}};
        size_t rest = (n - i) * sizeof(float);
        memcpy(t[0], y + i, rest);
        memcpy(t[1], v + i, rest);
        if (bias) memcpy(t[2], bias + i, rest);
        _mm256_storeu_ps(
            t[0], finish8(_mm256_loadu_ps(t[0]), _mm256_loadu_ps(t[1]), _mm256_loadu_ps(t[2]), f));
        memcpy(y + i, t[0], rest);
    }
}

const struct mat_isa_ops mat_ops_avx2 = {
    .dots = mat_dots_avx2,
    .strips = mat_strips_avx2,
    .expand = mat_expand_avx2,
    .quant32 = quant32,
    .quant256 = quant256,
    .transpose = transpose,
    .finish = finish,
};
