/* mat_dot_avx512: the direct kernels: a few rows of weights against a few columns, AVX-512 with
 * VNNI.
 *
 * One body for each family of types, instantiated for every type and shape. The unpacked weights
 * and scales of a block serve all columns; sums within a block are exact integers, floats start at
 * the block (32 values) or super-block (256). Decode lives on memory bandwidth: every row is
 * prefetched some cache lines ahead, across its end into the next row of the stream.
 */
#include "compute/cpu/mat_unpack_avx512.h"

/* Bytes that are prefetched before they are read; measured on Zen 4, where more is worse. */
#define AHEAD       384
#define AHEAD_PLAIN 128

INLINE void prefetch(const uint8_t *p, int bytes)
{
    for (int i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + i, _MM_HINT_T0);
}

/* ---- 32 values a block, four blocks a step ---- */

struct type32 {
    unpack32_fn *unpack;
    scale32_fn *scale;
    int bytes, off;
    bool mins;
};

INLINE void step32(struct type32 t, const uint8_t *const w[], const struct mat_q32 *const x[],
                   int n_rows, int n_cols, __m512 f[][8])
{
    __m512i lo[4], hi[4], off = _mm512_set1_epi32(t.off);
    __m512 d[4], m[4];
    MAT_ROWS(r, n_rows, {
        d[r] = t.scale(w[r]);
        m[r] = t.mins ? halves4(w[r], t.bytes, 2) : d[r];
        t.unpack(w[r], &lo[r], &hi[r]);
    });
    MAT_COLS(c, n_cols, {
        const struct mat_q32 *a = x[c];
        __m512i ql = _mm512_load_si512(a->q), qh = _mm512_load_si512(a->q + 64);
        __m512i nsum = _mm512_load_si512(a->nsum);
        __m512 da = _mm512_load_ps(a->d), sum = _mm512_mul_ps(_mm512_cvtepi32_ps(nsum), da);
        __m512i from = t.mins ? _mm512_setzero_si512() : _mm512_sllv_epi32(nsum, off);
        MAT_ROWS(r, n_rows, {
            __m512i s = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(from, lo[r], ql), hi[r], qh);
            f[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s), _mm512_mul_ps(d[r], da), f[r][c]);
            if (t.mins) f[r][c] = _mm512_fnmadd_ps(sum, m[r], f[r][c]);
        });
    });
}

INLINE void dot32(const struct mat_dot *a, struct type32 t, int n_rows, int n_cols)
{
    uint64_t blocks = a->cols / 32, groups = blocks / 4, rest = blocks % 4;
    const struct mat_q32 *x[8];
    const uint8_t *w[4];
    __m512 f[4][8];
    MAT_COLS(c, n_cols, x[c] = a->x[c];);
    MAT_ROWS(r, n_rows, {
        w[r] = a->w[r];
        MAT_COLS(c, n_cols, f[r][c] = _mm512_setzero_ps(););
    });
    for (uint64_t g = 0; g < groups; g++) {
        MAT_ROWS(r, n_rows, prefetch(w[r] + AHEAD, 4 * t.bytes););
        step32(t, w, x, n_rows, n_cols, f);
        MAT_ROWS(r, n_rows, w[r] += 4 * t.bytes;);
        MAT_COLS(c, n_cols, x[c]++;);
    }
    if (rest) {
        uint8_t last[4][4 * sizeof(struct block_q8_0)] = {{0}};
        MAT_ROWS(r, n_rows, {
            memcpy(last[r], w[r], rest * (size_t)t.bytes);
            w[r] = last[r];
        });
        step32(t, w, x, n_rows, n_cols, f);
    }
    MAT_ROWS(r, n_rows,
             { MAT_COLS(c, n_cols, a->out[r * n_cols + c] = _mm512_reduce_add_ps(f[r][c]);); });
}

/* ---- 256 values a block ---- */

struct type256 {
    unpack256_fn *unpack;
    scales_fn *scales;
    int bytes, off;
    bool mins;
};

/* The scales of values 64i..64i+63 over the sixteen pairs of each 16. */
INLINE __m512i spread(__m256i sc, int i)
{
    __m512i at = _mm512_set1_epi16((short)(4 * i));
    at = _mm512_add_epi16(at, _mm512_set_epi64(0x0003000300030003, 0x0003000300030003,
                                               0x0002000200020002, 0x0002000200020002,
                                               0x0001000100010001, 0x0001000100010001, 0, 0));
    return _mm512_permutexvar_epi16(at, _mm512_castsi256_si512(sc));
}

INLINE void step256(struct type256 t, const uint8_t *w, const struct mat_q256 *const x[],
                    int n_cols, __m512 *f, __m256 *fm)
{
    struct scales k;
    __m512i s[8];
    t.scales(w, &k);
    MAT_COLS(c, n_cols, {
        s[c] = _mm512_setzero_si512();
        if (t.off != MAT_NO_OFF) {
            __m256i n = _mm256_madd_epi16(k.sc, _mm256_load_si256((const void *)x[c]->nsum));
            s[c] = _mm512_zextsi256_si512(_mm256_sllv_epi32(n, _mm256_set1_epi32(t.off)));
        }
    });
    MAT_ROWS(i, 4, {
        __m512i q = t.unpack(w, i), sc = spread(k.sc, i);
        MAT_COLS(c, n_cols, {
            __m512i a = _mm512_load_si512(x[c]->q + 64 * i);
            if (t.off == 7) { /* bytes up to 255 would saturate the 16-bit pairs */
                __m512i p = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q, a);
                s[c] = _mm512_add_epi32(s[c], _mm512_mullo_epi32(p, _mm512_srai_epi32(sc, 16)));
            } else {
                s[c] = _mm512_dpwssd_epi32(s[c], _mm512_maddubs_epi16(q, a), sc);
            }
        });
    });
    MAT_COLS(c, n_cols, {
        const struct mat_q256 *a = x[c];
        f[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[c]), _mm512_set1_ps(k.d * a->d), f[c]);
        if (t.mins) {
            __m256i n = _mm256_madd_epi16(k.mn, _mm256_load_si256((const void *)a->nsum));
            fm[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(n), _mm256_set1_ps(k.dmin * a->d), fm[c]);
        }
    });
}

INLINE void dot256(const struct mat_dot *a, struct type256 t, int n_rows, int n_cols)
{
    uint64_t groups = a->cols / 256;
    const struct mat_q256 *x[8];
    const uint8_t *w[4];
    __m512 f[4][8];
    __m256 fm[4][8];
    MAT_COLS(c, n_cols, x[c] = a->x[c];);
    MAT_ROWS(r, n_rows, {
        w[r] = a->w[r];
        MAT_COLS(c, n_cols, {
            f[r][c] = _mm512_setzero_ps();
            fm[r][c] = _mm256_setzero_ps();
        });
    });
    for (uint64_t g = 0; g < groups; g++) {
        MAT_ROWS(r, n_rows, {
            prefetch(w[r] + AHEAD, t.bytes);
            step256(t, w[r], x, n_cols, f[r], fm[r]);
            w[r] += t.bytes;
        });
        MAT_COLS(c, n_cols, x[c]++;);
    }
    MAT_ROWS(r, n_rows, {
        MAT_COLS(c, n_cols, {
            __m512 v = f[r][c];
            if (t.mins) v = _mm512_add_ps(v, _mm512_zextps256_ps512(fm[r][c]));
            a->out[r * n_cols + c] = _mm512_reduce_add_ps(v);
        });
    });
}

/* ---- plain values ---- */

struct typef {
    load_fn *load;
    uint64_t bytes; /* of a value */
    int n_rows, n_cols;
};

/* 16 values at i of every row, those of the mask; f[r][c] */
INLINE void stepf(struct typef t, const struct mat_dot *a, uint64_t i, __mmask16 m, __m512 f[][8])
{
    __m512 w[4];
    MAT_ROWS(r, t.n_rows, w[r] = t.load(a->w[r] + i * t.bytes, m););
    MAT_COLS(c, t.n_cols, {
        __m512 x = _mm512_maskz_loadu_ps(m, (const float *)a->x[c] + i);
        MAT_ROWS(r, t.n_rows, f[r][c] = _mm512_fmadd_ps(w[r], x, f[r][c]););
    });
}

INLINE void dotf(const struct mat_dot *a, struct typef t, int n_rows, int n_cols)
{
    __m512 even[4][8], odd[4][8];
    t.n_rows = n_rows;
    t.n_cols = n_cols;
    MAT_ROWS(r, n_rows, { MAT_COLS(c, n_cols, even[r][c] = odd[r][c] = _mm512_setzero_ps();); });
    uint64_t i = 0, whole = a->cols / 32 * 32;
    for (; i < whole; i += 32) {
        MAT_ROWS(r, n_rows, prefetch(a->w[r] + i * t.bytes + AHEAD_PLAIN, 32 * (int)t.bytes););
        stepf(t, a, i, 0xffff, even);
        stepf(t, a, i + 16, 0xffff, odd);
    }
    for (; i < a->cols; i += 16) {
        __mmask16 m = (__mmask16)(a->cols - i >= 16 ? 0xffffu : (1u << (a->cols - i)) - 1);
        stepf(t, a, i, m, even);
    }
    MAT_ROWS(r, n_rows, {
        MAT_COLS(c, n_cols, {
            __m512 v = _mm512_add_ps(even[r][c], odd[r][c]);
            a->out[r * n_cols + c] = _mm512_reduce_add_ps(v);
        });
    });
}

/* ---- instances ---- */

#define SHAPES(NAME, BODY, T)                                                                      \
    static void NAME##_4x1(const struct mat_dot *a)                                                \
    {                                                                                              \
        BODY(a, T, 4, 1);                                                                          \
    }                                                                                              \
    static void NAME##_2x2(const struct mat_dot *a)                                                \
    {                                                                                              \
        BODY(a, T, 2, 2);                                                                          \
    }                                                                                              \
    static void NAME##_2x4(const struct mat_dot *a)                                                \
    {                                                                                              \
        BODY(a, T, 2, 4);                                                                          \
    }                                                                                              \
    static void NAME##_1x8(const struct mat_dot *a)                                                \
    {                                                                                              \
        BODY(a, T, 1, 8);                                                                          \
    }
#define T32(NAME, off, mins)                                                                       \
    ((struct type32){unpack_##NAME, scale_##NAME, (int)BYTES_##NAME, off, mins})
#define T256(NAME, off, mins)                                                                      \
    ((struct type256){unpack_##NAME, scales_##NAME, (int)BYTES_##NAME, off, mins})
#define TF(NAME)                    ((struct typef){load_##NAME, BYTES_##NAME, 0, 0})
#define MAKE32(NAME, off, mins)     SHAPES(NAME, dot32, T32(NAME, off, mins))
#define MAKE256(NAME, off, mins, _) SHAPES(NAME, dot256, T256(NAME, off, mins))
#define MAKEF(NAME)                 SHAPES(NAME, dotf, TF(NAME))

MAT_TYPES_Q32(MAKE32)
MAT_TYPES_Q256(MAKE256)
MAT_TYPES_F(MAKEF)

#define ROW(NAME, ...) [DTYPE_##NAME] = {NAME##_4x1, NAME##_2x2, NAME##_2x4, NAME##_1x8},
mat_dot_fn *const mat_dots_avx512[DTYPE_COUNT][MAT_SHAPE_COUNT] = {
    MAT_TYPES_Q32(ROW) MAT_TYPES_Q256(ROW) MAT_TYPES_F(ROW)};
