/* mat_dot_avx2: the direct kernels: a few rows of weights against a few columns, AVX2 with FMA.
 *
 * The same scheme as mat_dot_avx512: one body for each family of types, integer sums within a
 * block, unpacked weights and scales shared by all columns, rows prefetched across their ends.
 */
#include "compute/cpu/mat_unpack_avx2.h"

#define AHEAD 1024 /* bytes */

INLINE void prefetch(const uint8_t *p, int bytes)
{
    for (int i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + AHEAD + i, _MM_HINT_T0);
}

/* ---- 32 values a block, two blocks a step ---- */

struct type32 {
    unpack32_fn *unpack;
    scale32_fn *scale;
    int bytes, off;
    bool mins;
};

INLINE void step32(struct type32 t, const uint8_t *w, const struct mat_q32 *const x[],
                   uint64_t pair, int n_cols, __m256 *f)
{
    __m256i lo, hi, one = _mm256_set1_epi16(1);
    __m256 d = t.scale(w), m = t.mins ? halves2(w + 2, (size_t)t.bytes) : d;
    uint64_t h = pair % 2;
    t.unpack(w, &lo, &hi);
    for (int c = 0; c < n_cols; c++) {
        const struct mat_q32 *a = x[c] + pair / 2;
        __m256i nsum = _mm256_load_si256((const void *)(a->nsum + h * 8)), s;
        __m256 da = _mm256_load_ps(a->d + h * 8);
        __m256i p = pairs(lo, _mm256_load_si256((const void *)(a->q + h * 32)), WIDE(t.off));
        __m256i q = pairs(hi, _mm256_load_si256((const void *)(a->q + 64 + h * 32)), WIDE(t.off));
        if (WIDE(t.off)) {
            s = _mm256_add_epi32(_mm256_madd_epi16(p, one), _mm256_madd_epi16(q, one));
        } else {
            s = _mm256_madd_epi16(_mm256_add_epi16(p, q), one);
            if (!t.mins) s = _mm256_add_epi32(s, _mm256_slli_epi32(nsum, t.off));
        }
        f[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s), _mm256_mul_ps(d, da), f[c]);
        if (t.mins) f[c] = _mm256_fnmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(nsum), da), m, f[c]);
    }
}

INLINE void dot32(const struct mat_dot *a, struct type32 t, int n_rows, int n_cols)
{
    uint64_t blocks = a->cols / 32, n = blocks / 2;
    const struct mat_q32 *x[8];
    const uint8_t *w[4];
    __m256 f[4][8];
    for (int c = 0; c < n_cols; c++)
        x[c] = a->x[c];
    for (int r = 0; r < n_rows; r++) {
        w[r] = a->w[r];
        for (int c = 0; c < n_cols; c++)
            f[r][c] = _mm256_setzero_ps();
    }
    for (uint64_t i = 0; i < n; i++)
        for (int r = 0; r < n_rows; r++) {
            prefetch(w[r], 2 * t.bytes);
            step32(t, w[r], x, i, n_cols, f[r]);
            w[r] += 2 * t.bytes;
        }
    if (blocks % 2)
        for (int r = 0; r < n_rows; r++) {
            uint8_t last[2 * sizeof(struct block_q8_0)] = {0};
            memcpy(last, w[r], (size_t)t.bytes);
            step32(t, last, x, n, n_cols, f[r]);
        }
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            a->out[r * n_cols + c] = sum8(f[r][c]);
}

/* ---- 256 values a block ---- */

struct type256 {
    unpack256_fn *unpack;
    scales_fn *scales;
    int bytes, off;
    bool mins;
};

/* The scales of values 32i..32i+31 over the eight pairs of each 16. `both` holds the eight scales
 * of the half that i lies in, in either lane. */
INLINE __m256i spread(__m256i both, int i)
{
    int a = i % 4 * 4, lo = a | (a + 1) << 8, hi = (a + 2) | (a + 3) << 8;
    return _mm256_shuffle_epi8(
        both, _mm256_set_m128i(_mm_set1_epi16((short)hi), _mm_set1_epi16((short)lo)));
}

INLINE void step256(struct type256 t, const uint8_t *w, const struct mat_q256 *const x[],
                    uint64_t g, int n_cols, __m256 *f)
{
    struct scales k;
    __m256i s[8];
    t.scales(w, &k);
    __m256i first = _mm256_permute4x64_epi64(k.sc, 0x44);
    __m256i second = _mm256_permute4x64_epi64(k.sc, 0xee);
    for (int c = 0; c < n_cols; c++) {
        s[c] = _mm256_setzero_si256();
        if (t.off != MAT_NO_OFF && !WIDE(t.off)) {
            s[c] = _mm256_madd_epi16(k.sc, _mm256_load_si256((const void *)x[c][g].nsum));
            s[c] = _mm256_slli_epi32(s[c], t.off);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        __m256i q = t.unpack(w, i), sc = spread(i < 4 ? first : second, i);
        for (int c = 0; c < n_cols; c++) {
            __m256i a = _mm256_load_si256((const void *)(x[c][g].q + 32 * i));
            s[c] = _mm256_add_epi32(s[c], _mm256_madd_epi16(pairs(q, a, WIDE(t.off)), sc));
        }
    }
    for (int c = 0; c < n_cols; c++) {
        const struct mat_q256 *a = x[c] + g;
        f[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[c]), _mm256_set1_ps(k.d * a->d), f[c]);
        if (t.mins) {
            __m256i n = _mm256_madd_epi16(k.mn, _mm256_load_si256((const void *)a->nsum));
            f[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(n), _mm256_set1_ps(k.dmin * a->d), f[c]);
        }
    }
}

INLINE void dot256(const struct mat_dot *a, struct type256 t, int n_rows, int n_cols)
{
    uint64_t groups = a->cols / 256;
    const struct mat_q256 *x[8];
    const uint8_t *w[4];
    __m256 f[4][8];
    for (int c = 0; c < n_cols; c++)
        x[c] = a->x[c];
    for (int r = 0; r < n_rows; r++) {
        w[r] = a->w[r];
        for (int c = 0; c < n_cols; c++)
            f[r][c] = _mm256_setzero_ps();
    }
    for (uint64_t g = 0; g < groups; g++)
        for (int r = 0; r < n_rows; r++) {
            prefetch(w[r], t.bytes);
            step256(t, w[r], x, g, n_cols, f[r]);
            w[r] += t.bytes;
        }
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            a->out[r * n_cols + c] = sum8(f[r][c]);
}

/* ---- plain values ---- */

struct typef {
    load_fn *load;
    uint64_t bytes; /* of a value */
};

INLINE void dotf(const struct mat_dot *a, struct typef t, int n_rows, int n_cols)
{
    __m256 f[4][8][2];
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            f[r][c][0] = f[r][c][1] = _mm256_setzero_ps();
    uint64_t i = 0, whole = a->cols / 16 * 16;
    for (; i < whole; i += 16)
        for (int r = 0; r < n_rows; r++) {
            prefetch(a->w[r] + i * t.bytes, 16 * (int)t.bytes);
            for (int h = 0; h < 2; h++) {
                __m256 w = t.load(a->w[r] + (i + 8 * (uint64_t)h) * t.bytes);
                for (int c = 0; c < n_cols; c++) {
                    __m256 x = _mm256_loadu_ps((const float *)a->x[c] + i + 8 * h);
                    f[r][c][h] = _mm256_fmadd_ps(w, x, f[r][c][h]);
                }
            }
        }
    for (; i < a->cols; i += 8) {
        size_t n = a->cols - i < 8 ? (size_t)(a->cols - i) : 8;
        for (int r = 0; r < n_rows; r++) {
            uint8_t last[8 * sizeof(float)] = {0};
            memcpy(last, a->w[r] + i * t.bytes, n * t.bytes);
            __m256 w = t.load(last);
            for (int c = 0; c < n_cols; c++) {
                float v[8] = {0};
                memcpy(v, (const float *)a->x[c] + i, n * sizeof(float));
                f[r][c][0] = _mm256_fmadd_ps(w, _mm256_loadu_ps(v), f[r][c][0]);
            }
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            a->out[r * n_cols + c] = sum8(_mm256_add_ps(f[r][c][0], f[r][c][1]));
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
#define TF(NAME)                    ((struct typef){load_##NAME, BYTES_##NAME})
#define MAKE32(NAME, off, mins)     SHAPES(NAME, dot32, T32(NAME, off, mins))
#define MAKE256(NAME, off, mins, _) SHAPES(NAME, dot256, T256(NAME, off, mins))
#define MAKEF(NAME)                 SHAPES(NAME, dotf, TF(NAME))

MAT_TYPES_Q32(MAKE32)
MAT_TYPES_Q256(MAKE256)
MAT_TYPES_F(MAKEF)

#define ROW(NAME, ...) [DTYPE_##NAME] = {NAME##_4x1, NAME##_2x2, NAME##_2x4, NAME##_1x8},
mat_dot_fn *const mat_dots_avx2[DTYPE_COUNT][MAT_SHAPE_COUNT] = {
    MAT_TYPES_Q32(ROW) MAT_TYPES_Q256(ROW) MAT_TYPES_F(ROW)};
