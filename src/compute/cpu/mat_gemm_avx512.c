/* mat_gemm_avx512: strips of unpacked weights against panels of activations, AVX-512 with VNNI.
 *
 * A tile is 6 rows x 32 columns (12 x 16 where one unit is left): a broadcast of four bytes of a
 * row meets 16 columns in one vpdpbusd. Integer sums end with the scale of a block; with
 * activations scaled per 32 both scales apply there, with activations scaled per 256 the weights'
 * scales apply first and the activations' once a chunk. Float weights take the same way with fused
 * multiply-adds.
 */
#include "compute/cpu/mat_unpack_avx512.h"

#define AHEAD 3072 /* bytes: a strip is one stream of memory */

INLINE void prefetch(const uint8_t *p, int bytes)
{
    for (int i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + AHEAD + i, _MM_HINT_T0);
}

/* ---- unpacking a row's chunk ---- */

INLINE void piece32(const uint8_t *w, uint32_t n, struct mat_piece *o, unpack32_fn *unpack,
                    scale32_fn *scale, int bytes, bool mins)
{
    __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512i pick = _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 0, 0, 0, 0, 0, 0, 0, 0);
    for (uint32_t i = 0; i < n; i += 128, w += 4 * bytes) {
        uint8_t last[4 * sizeof(struct block_q8_0)];
        const uint8_t *p = w;
        __m512i lo, hi;
        prefetch(w, 4 * bytes);
        if (n - i < 128) {
            memset(last, 0, sizeof last);
            memcpy(last, w, (n - i) / 32 * (size_t)bytes);
            p = last;
        }
        unpack(p, &lo, &hi);
        _mm512_storeu_si512(o->q + i, _mm512_permutex2var_epi64(lo, first, hi));
        _mm512_storeu_si512(o->q + i + 64, _mm512_permutex2var_epi64(lo, second, hi));
        __m512 d = _mm512_permutexvar_ps(pick, scale(p));
        _mm256_storeu_ps(o->d + i / 16, _mm512_castps512_ps256(d));
        if (mins) {
            __m512 m = _mm512_permutexvar_ps(pick, halves4(p, bytes, 2));
            m = _mm512_sub_ps(_mm512_setzero_ps(), m);
            _mm256_storeu_ps(o->m + i / 16, _mm512_castps512_ps256(m));
        }
    }
}

INLINE void piece256(const uint8_t *w, struct mat_piece *o, unpack256_fn *unpack, scales_fn *scales,
                     int bytes, bool mins)
{
    struct scales k;
    prefetch(w, bytes);
    scales(w, &k);
    for (int i = 0; i < 4; i++)
        _mm512_storeu_si512(o->q + 64 * i, unpack(w, i));
    __m512 d = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(k.sc));
    _mm512_storeu_ps(o->d, _mm512_mul_ps(d, _mm512_set1_ps(k.d)));
    if (mins) {
        __m512 m = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(k.mn));
        _mm512_storeu_ps(o->m, _mm512_mul_ps(m, _mm512_set1_ps(k.dmin)));
    }
}

INLINE void piecef(const uint8_t *w, uint32_t n, struct mat_fpiece *o, load_fn *load,
                   uint32_t bytes)
{
    for (uint32_t i = 0; i < n; i += 16) {
        prefetch(w + i * bytes, 16 * (int)bytes);
        __mmask16 m = (__mmask16)(n - i >= 16 ? 0xffffu : (1u << (n - i)) - 1);
        _mm512_storeu_ps(o->w + i, load(w + i * bytes, m));
    }
}

/* ---- tiles ---- */

struct form {
    int gran; /* values under one scale */
    bool mins;
    bool two; /* activations scaled per chunk, not per 32 */
};

INLINE void tile(const struct mat_gemm *g, const struct mat_piece *w, float *o, struct form t,
                 int n_rows, int n_cols)
{
    const struct mat_panel *x[2] = {g->x[0], g->x[1]};
    __m512i off = _mm512_set1_epi32((int)g->off);
    __m512 f[12][2];
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            f[r][c] = t.two ? _mm512_setzero_ps() : _mm512_load_ps(o + r * 32 + c * 16);
    for (uint32_t at = 0; at < g->k; at += (uint32_t)t.gran) {
        __m512i s[12][2], nsum[2];
        for (int c = 0; c < n_cols; c++) {
            nsum[c] = _mm512_load_si512(x[c]->nsum[at / 16]);
            if (t.gran == 32)
                nsum[c] = _mm512_add_epi32(nsum[c], _mm512_load_si512(x[c]->nsum[at / 16 + 1]));
            __m512i start = t.mins ? _mm512_setzero_si512() : _mm512_sllv_epi32(nsum[c], off);
            for (int r = 0; r < n_rows; r++)
                s[r][c] = start;
        }
        for (int k = 0; k < t.gran; k += 4) {
            __m512i a[2];
            for (int c = 0; c < n_cols; c++)
                a[c] = _mm512_load_si512(x[c]->q[at / 4 + (uint32_t)k / 4]);
            for (int r = 0; r < n_rows; r++) {
                __m512i b = _mm512_set1_epi32((int)get32(w[r].q + at + k));
                for (int c = 0; c < n_cols; c++)
                    s[r][c] = _mm512_dpbusd_epi32(s[r][c], b, a[c]);
            }
        }
        for (int c = 0; c < n_cols; c++) {
            __m512 da = _mm512_load_ps(x[c]->d[t.two ? 0 : at / 32]);
            __m512 sum = _mm512_cvtepi32_ps(nsum[c]);
            if (!t.two) sum = _mm512_mul_ps(sum, da);
            for (int r = 0; r < n_rows; r++) {
                __m512 v = _mm512_cvtepi32_ps(s[r][c]);
                if (!t.two) v = _mm512_mul_ps(v, da);
                f[r][c] = _mm512_fmadd_ps(v, _mm512_set1_ps(w[r].d[at / 16]), f[r][c]);
                if (t.mins)
                    f[r][c] = _mm512_fmadd_ps(sum, _mm512_set1_ps(w[r].m[at / 16]), f[r][c]);
            }
        }
    }
    for (int c = 0; c < n_cols; c++) {
        __m512 da = _mm512_load_ps(x[c]->d[0]);
        for (int r = 0; r < n_rows; r++) {
            float *p = o + r * 32 + c * 16;
            _mm512_store_ps(p, t.two ? _mm512_fmadd_ps(f[r][c], da, _mm512_load_ps(p)) : f[r][c]);
        }
    }
}

INLINE void gemm(const struct mat_gemm *g, struct form t)
{
    const struct mat_piece *w = g->w;
    float *o = g->o;
    if (g->units == 2)
        for (uint32_t r = 0; r < g->rows; r += 6)
            tile(g, w + r, o + r * 32, t, 6, 2);
    else
        for (uint32_t r = 0; r < g->rows; r += 12)
            tile(g, w + r, o + r * 32, t, 12, 1);
}

INLINE void tilef(const struct mat_gemm *g, const struct mat_fpiece *w, float *o, int n_rows,
                  int n_cols)
{
    const struct mat_fpanel *x[2] = {g->x[0], g->x[1]};
    __m512 f[12][2];
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            f[r][c] = _mm512_load_ps(o + r * 32 + c * 16);
    for (uint32_t k = 0; k < g->k; k++) {
        __m512 a[2];
        for (int c = 0; c < n_cols; c++)
            a[c] = _mm512_load_ps(x[c]->x[k]);
        for (int r = 0; r < n_rows; r++) {
            __m512 b = _mm512_set1_ps(w[r].w[k]);
            for (int c = 0; c < n_cols; c++)
                f[r][c] = _mm512_fmadd_ps(b, a[c], f[r][c]);
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            _mm512_store_ps(o + r * 32 + c * 16, f[r][c]);
}

static void gemm_f(const struct mat_gemm *g)
{
    const struct mat_fpiece *w = g->w;
    if (g->units == 2)
        for (uint32_t r = 0; r < g->rows; r += 6)
            tilef(g, w + r, g->o + r * 32, 6, 2);
    else
        for (uint32_t r = 0; r < g->rows; r += 12)
            tilef(g, w + r, g->o + r * 32, 12, 1);
}

/* ---- instances ---- */

#define FORM(two, mins, gran)                                                                      \
    static void gemm_##two##_##mins##_##gran(const struct mat_gemm *g)                             \
    {                                                                                              \
        gemm(g, (struct form){gran, mins, two});                                                   \
    }
FORM(0, 0, 32)
FORM(0, 1, 32)
FORM(1, 0, 32)
FORM(1, 1, 32)
FORM(1, 0, 16)
FORM(1, 1, 16)

#define PIECE32(NAME, off, mins)                                                                   \
    static void piece_##NAME(const void *w, uint32_t n, void *o)                                   \
    {                                                                                              \
        piece32(w, n, o, unpack_##NAME, scale_##NAME, (int)BYTES_##NAME, mins);                    \
    }
#define PIECE256(NAME, off, mins, gran)                                                            \
    static void piece_##NAME(const void *w, uint32_t n, void *o)                                   \
    {                                                                                              \
        (void)n;                                                                                   \
        piece256(w, o, unpack_##NAME, scales_##NAME, (int)BYTES_##NAME, mins);                     \
    }
#define PIECEF(NAME)                                                                               \
    static void piece_##NAME(const void *w, uint32_t n, void *o)                                   \
    {                                                                                              \
        piecef(w, n, o, load_##NAME, BYTES_##NAME);                                                \
    }
MAT_TYPES_Q32(PIECE32)
MAT_TYPES_Q256(PIECE256)
MAT_TYPES_F(PIECEF)

#define ROW32(NAME, off, mins)        [DTYPE_##NAME] = {piece_##NAME, gemm_0_##mins##_32, off},
#define ROW256(NAME, off, mins, gran) [DTYPE_##NAME] = {piece_##NAME, gemm_1_##mins##_##gran, off},
#define ROWF(NAME)                    [DTYPE_##NAME] = {piece_##NAME, gemm_f, 0},
const struct mat_strip mat_strips_avx512[DTYPE_COUNT] = {MAT_TYPES_Q32(ROW32) MAT_TYPES_Q256(ROW256)
                                                             MAT_TYPES_F(ROWF)};
