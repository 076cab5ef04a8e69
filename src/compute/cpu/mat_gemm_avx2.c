/* mat_gemm_avx2: strips of unpacked weights against panels of activations, AVX2 with FMA.
 *
 * The scheme of mat_gemm_avx512 without VNNI: vpmaddubsw makes 16-bit sums of pairs, several of
 * which are added before they are widened: as many as cannot overflow, which depends on the bits of
 * the codes (127 * 2 * 15 * 8 < 2^15). A tile is 3 rows x 16 columns (6 x 16 for float weights).
 */
#include "compute/cpu/mat_unpack_avx2.h"

/* ---- unpacking a row's chunk ---- */

INLINE void piece32(const uint8_t *w, uint32_t n, struct mat_piece *o, unpack32_fn *unpack,
                    scale32_fn *scale, int bytes, bool mins)
{
    for (uint32_t i = 0; i < n; i += 64, w += 2 * bytes) {
        uint8_t last[2 * sizeof(struct block_q8_0)];
        const uint8_t *p = w;
        __m256i lo, hi;
        if (n - i < 64) {
            memset(last, 0, sizeof last);
            memcpy(last, w, (size_t)bytes);
            p = last;
        }
        unpack(p, &lo, &hi);
        _mm256_storeu_si256((void *)(o->q + i), _mm256_permute2x128_si256(lo, hi, 0x20));
        _mm256_storeu_si256((void *)(o->q + i + 32), _mm256_permute2x128_si256(lo, hi, 0x31));
        __m256 d = _mm256_permutevar8x32_ps(scale(p), _mm256_setr_epi32(0, 0, 4, 4, 0, 0, 0, 0));
        _mm_storeu_ps(o->d + i / 16, _mm256_castps256_ps128(d));
        for (uint32_t b = 0; b < 2 && mins; b++) {
            float *m = o->m + i / 16 + 2 * b;
            m[0] = m[1] = -half(get16(p + b * (uint32_t)bytes + 2));
        }
    }
}

INLINE void store16(float *o, __m256i v, float scale)
{
    __m256 s = _mm256_set1_ps(scale);
    __m256i lo = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(v));
    __m256i hi = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(v, 1));
    _mm256_storeu_ps(o, _mm256_mul_ps(_mm256_cvtepi32_ps(lo), s));
    _mm256_storeu_ps(o + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(hi), s));
}

INLINE void piece256(const uint8_t *w, struct mat_piece *o, unpack256_fn *unpack, scales_fn *scales,
                     bool mins)
{
    struct scales k;
    scales(w, &k);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        _mm256_storeu_si256((void *)(o->q + 32 * i), unpack(w, i));
    store16(o->d, k.sc, k.d);
    if (mins) store16(o->m, k.mn, k.dmin);
}

INLINE void piecef(const uint8_t *w, uint32_t n, struct mat_fpiece *o, load_fn *load, size_t bytes)
{
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(o->w + i, load(w + i * bytes));
    if (i < n) {
        uint8_t last[8 * sizeof(float)] = {0};
        memcpy(last, w + i * bytes, (n - i) * bytes);
        _mm256_storeu_ps(o->w + i, load(last));
    }
}

/* ---- tiles ---- */

struct form {
    int gran; /* values under one scale */
    bool mins;
    bool two; /* activations scaled per chunk, not per 32 */
    int sums; /* pairs that 16 bits can add up; 0: codes of eight bits, signed */
};

#define ROWS 3

/* Integer sums of `gran` values from `at` on. */
INLINE void sums(const struct mat_panel *x, const struct mat_piece *w, uint32_t at, struct form t,
                 __m256i s[ROWS][2])
{
    int group = t.sums ? t.sums * 4 : 4;
    __m256i one = _mm256_set1_epi16(1);
    if (group > t.gran) group = t.gran;
    for (int k = 0; k < t.gran; k += group) {
        __m256i p[ROWS][2];
        for (int i = 0; i < group; i += 4) {
            const int8_t *q = x->q[(at + (uint32_t)(k + i)) / 4];
            __m256i a[2] = {_mm256_load_si256((const void *)q),
                            _mm256_load_si256((const void *)(q + 32))};
            for (int r = 0; r < ROWS; r++) {
                __m256i b = _mm256_set1_epi32((int)get32(w[r].q + at + k + i));
                for (int c = 0; c < 2; c++) {
                    __m256i v = pairs(b, a[c], t.sums == 0);
                    p[r][c] = i == 0 ? v : _mm256_add_epi16(p[r][c], v);
                }
            }
        }
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < 2; c++)
                s[r][c] = _mm256_add_epi32(s[r][c], _mm256_madd_epi16(p[r][c], one));
    }
}

INLINE void tile(const struct mat_gemm *g, const struct mat_panel *x, const struct mat_piece *w,
                 float *o, struct form t)
{
    __m256 f[ROWS][2];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < 2; c++)
            f[r][c] = t.two ? _mm256_setzero_ps() : _mm256_load_ps(o + r * 32 + c * 8);
    for (uint32_t at = 0; at < g->k; at += (uint32_t)t.gran) {
        __m256i s[ROWS][2], nsum[2];
        for (int c = 0; c < 2; c++) {
            nsum[c] = _mm256_load_si256((const void *)(x->nsum[at / 16] + 8 * c));
            if (t.gran == 32)
                nsum[c] = _mm256_add_epi32(
                    nsum[c], _mm256_load_si256((const void *)(x->nsum[at / 16 + 1] + 8 * c)));
            __m256i start = t.mins || t.sums == 0
                                ? _mm256_setzero_si256()
                                : _mm256_sll_epi32(nsum[c], _mm_cvtsi32_si128((int)g->off));
            for (int r = 0; r < ROWS; r++)
                s[r][c] = start;
        }
        sums(x, w, at, t, s);
        for (int c = 0; c < 2; c++) {
            __m256 da = _mm256_load_ps(x->d[t.two ? 0 : at / 32] + 8 * c);
            __m256 sum = _mm256_cvtepi32_ps(nsum[c]);
            if (!t.two) sum = _mm256_mul_ps(sum, da);
            for (int r = 0; r < ROWS; r++) {
                __m256 v = _mm256_cvtepi32_ps(s[r][c]);
                if (!t.two) v = _mm256_mul_ps(v, da);
                f[r][c] = _mm256_fmadd_ps(v, _mm256_set1_ps(w[r].d[at / 16]), f[r][c]);
                if (t.mins)
                    f[r][c] = _mm256_fmadd_ps(sum, _mm256_set1_ps(w[r].m[at / 16]), f[r][c]);
            }
        }
    }
    for (int c = 0; c < 2; c++) {
        __m256 da = _mm256_load_ps(x->d[0] + 8 * c);
        for (int r = 0; r < ROWS; r++) {
            float *p = o + r * 32 + c * 8;
            _mm256_store_ps(p, t.two ? _mm256_fmadd_ps(f[r][c], da, _mm256_load_ps(p)) : f[r][c]);
        }
    }
}

INLINE void gemm(const struct mat_gemm *g, struct form t)
{
    const struct mat_piece *w = g->w;
    for (uint32_t u = 0; u < g->units; u++)
        for (uint32_t r = 0; r < g->rows; r += ROWS)
            tile(g, g->x[u], w + r, g->o + r * 32 + u * MAT_UNIT, t);
}

INLINE void tilef(uint32_t n, const struct mat_fpanel *x, const struct mat_fpiece *w, float *o)
{
    __m256 f[6][2];
    for (int r = 0; r < 6; r++)
        for (int c = 0; c < 2; c++)
            f[r][c] = _mm256_load_ps(o + r * 32 + c * 8);
    for (uint32_t k = 0; k < n; k++) {
        __m256 a = _mm256_load_ps(x->x[k]), b = _mm256_load_ps(x->x[k] + 8);
        for (int r = 0; r < 6; r++) {
            __m256 v = _mm256_set1_ps(w[r].w[k]);
            f[r][0] = _mm256_fmadd_ps(v, a, f[r][0]);
            f[r][1] = _mm256_fmadd_ps(v, b, f[r][1]);
        }
    }
    for (int r = 0; r < 6; r++)
        for (int c = 0; c < 2; c++)
            _mm256_store_ps(o + r * 32 + c * 8, f[r][c]);
}

static void gemm_f(const struct mat_gemm *g)
{
    const struct mat_fpiece *w = g->w;
    for (uint32_t u = 0; u < g->units; u++)
        for (uint32_t r = 0; r < g->rows; r += 6)
            tilef(g->k, g->x[u], w + r, g->o + r * 32 + u * MAT_UNIT);
}

/* ---- instances ---- */

/* How many sums of pairs fit 16 bits: by the largest code of the type. */
#define SUMS_Q4_0   8
#define SUMS_Q4_1   8
#define SUMS_Q5_0   4
#define SUMS_Q5_1   4
#define SUMS_Q8_0   0
#define SUMS_IQ4_NL 0
#define SUMS_MXFP4  0
#define SUMS_Q2_K   8
#define SUMS_Q3_K   8
#define SUMS_Q4_K   8
#define SUMS_Q5_K   4
#define SUMS_Q6_K   2
#define SUMS_IQ4_XS 0

#define GEMM(NAME, two, mins, gran)                                                                \
    static void gemm_##NAME(const struct mat_gemm *g)                                              \
    {                                                                                              \
        gemm(g, (struct form){gran, mins, two, SUMS_##NAME});                                      \
    }
#define MAKE32(NAME, off, mins)                                                                    \
    static void piece_##NAME(const void *w, uint32_t n, void *o)                                   \
    {                                                                                              \
        piece32(w, n, o, unpack_##NAME, scale_##NAME, (int)BYTES_##NAME, mins);                    \
    }                                                                                              \
    GEMM(NAME, false, mins, 32)
#define MAKE256(NAME, off, mins, gran)                                                             \
    static void piece_##NAME(const void *w, uint32_t n, void *o)                                   \
    {                                                                                              \
        (void)n;                                                                                   \
        piece256(w, o, unpack_##NAME, scales_##NAME, mins);                                        \
    }                                                                                              \
    GEMM(NAME, true, mins, gran)
#define MAKEF(NAME)                                                                                \
    static void piece_##NAME(const void *w, uint32_t n, void *o)                                   \
    {                                                                                              \
        piecef(w, n, o, load_##NAME, BYTES_##NAME);                                                \
    }
MAT_TYPES_Q32(MAKE32)
MAT_TYPES_Q256(MAKE256)
MAT_TYPES_F(MAKEF)

#define ROW(NAME, off, ...) [DTYPE_##NAME] = {piece_##NAME, gemm_##NAME, off},
#define ROWF(NAME)          [DTYPE_##NAME] = {piece_##NAME, gemm_f, 0},
const struct mat_strip mat_strips_avx2[DTYPE_COUNT] = {MAT_TYPES_Q32(ROW) MAT_TYPES_Q256(ROW)
                                                           MAT_TYPES_F(ROWF)};
