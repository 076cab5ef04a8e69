/* mat_quant_avx512: activations to int8, transposition and epilogues in AVX-512, and the isa's
 * table.
 */
#include "compute/cpu/mat_unpack_avx512.h"

INLINE __m512 abs_max(__m512 m, __m512 v)
{
    return _mm512_max_ps(_mm512_abs_ps(v), m); /* the second operand wins over NaN */
}

INLINE __m128i round16(__m512 v, __m512 id)
{
    return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(v, id)));
}

static void quant32(const float *x, uint32_t n, struct mat_q32 *out)
{
    if (n < 128) memset(out, 0, sizeof *out);
    for (uint32_t b = 0; b < n / 32; b++) {
        __m512 lo = _mm512_loadu_ps(x + b * 32), hi = _mm512_loadu_ps(x + b * 32 + 16);
        float m = _mm512_reduce_max_ps(abs_max(abs_max(_mm512_setzero_ps(), lo), hi));
        __m512 id = _mm512_set1_ps(m > MAT_ZERO ? 127.0f / m : 0.0f);
        __m128i ql = round16(lo, id), qh = round16(hi, id), one = _mm_set1_epi8(1);
        _mm_store_si128((void *)(out->q + b * 16), ql);
        _mm_store_si128((void *)(out->q + 64 + b * 16), qh);
        __m128i s = _mm_dpbusd_epi32(_mm_dpbusd_epi32(_mm_setzero_si128(), one, ql), one, qh);
        _mm_store_si128((void *)(out->nsum + b * 4), _mm_sub_epi32(_mm_setzero_si128(), s));
        _mm_store_ps(out->d + b * 4, _mm_set1_ps(m * (1.0f / 127.0f)));
    }
}

static void quant256(const float *x, struct mat_q256 *out)
{
    __m512 most = _mm512_setzero_ps();
    for (uint32_t i = 0; i < 256; i += 16)
        most = abs_max(most, _mm512_loadu_ps(x + i));
    float m = _mm512_reduce_max_ps(most);
    __m512 id = _mm512_set1_ps(m > MAT_ZERO ? 127.0f / m : 0.0f);
    for (uint32_t i = 0; i < 16; i++) {
        __m128i q = round16(_mm512_loadu_ps(x + i * 16), id);
        _mm_store_si128((void *)(out->q + i * 16), q);
        __m128i s = _mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(1), q);
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
        out->nsum[i] = (int16_t)-_mm_cvtsi128_si32(s);
    }
    out->d = m * (1.0f / 127.0f);
}

static void transpose(const void *src, size_t src_stride, void *dst, size_t dst_stride)
{
    __m512i r[16], t[16];
    const uint8_t *s = src;
    uint8_t *d = dst;
    for (size_t i = 0; i < 16; i++)
        r[i] = _mm512_loadu_si512(s + i * src_stride * 4);
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* r[i + j]: column j of every lane, rows i..i+3 */
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int j = 0; j < 4; j++) { /* lanes 0, 2 and 1, 3 of the row groups together */
        t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        t[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    }
    for (size_t j = 0; j < 4; j++) {
        uint8_t *p = d + j * dst_stride * 4;
        size_t lane = dst_stride * 16;
        _mm512_storeu_si512(p, _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88));
        _mm512_storeu_si512(p + lane, _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88));
        _mm512_storeu_si512(p + 2 * lane, _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd));
        _mm512_storeu_si512(p + 3 * lane, _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd));
    }
}

/* e^x to about 2 ulp: 2^n times a polynomial (Taylor to degree 6) over |r| <= ln 2 / 2. */
INLINE __m512 exp_ps(__m512 x)
{
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 720);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static void finish(float *y, const float *v, const float *bias, uint32_t n, enum mat_finish f)
{
    for (uint32_t i = 0; i < n; i += 16) {
        __mmask16 m = (__mmask16)(n - i >= 16 ? 0xffffu : (1u << (n - i)) - 1);
        __m512 u = _mm512_maskz_loadu_ps(m, v + i);
        if (bias) u = _mm512_add_ps(u, _mm512_maskz_loadu_ps(m, bias + i));
        if (f != MAT_FIN_STORE) {
            __m512 old = _mm512_maskz_loadu_ps(m, y + i);
            if (f == MAT_FIN_ADD) {
                u = _mm512_add_ps(u, old);
            } else {
                __m512 e = exp_ps(_mm512_sub_ps(_mm512_setzero_ps(), old));
                e = _mm512_add_ps(e, _mm512_set1_ps(1.0f));
                u = _mm512_mul_ps(_mm512_div_ps(old, e), u);
            }
        }
        _mm512_mask_storeu_ps(y + i, m, u);
    }
}

const struct mat_isa_ops mat_ops_avx512 = {
    .dots = mat_dots_avx512,
    .strips = mat_strips_avx512,
    .expand = mat_expand_avx2,
    .quant32 = quant32,
    .quant256 = quant256,
    .transpose = transpose,
    .finish = finish,
};
