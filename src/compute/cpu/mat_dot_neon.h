/* mat_dot_neon: mat for AArch64: kernels, activations and epilogues in NEON,
 * written once.
 *
 * Included by mat_neon.c and mat_dotprod_neon.c and by nothing else. Before,
 * each defines
 *
 *   DOT16(acc, a, b)   acc + sums of products of 16 signed bytes, in four lanes
 *   OPS                the struct mat_isa_ops to define
 *
 * Codes are unpacked to signed bytes with their offset taken off, so that a
 * product of bytes is all there is; minimums meet the sums of the activations.
 * Types of 32 values go block by block, types of 256 values with a small whole
 * scale for every 16. Integer sums are exact, so both variants give the same
 * bits. There are no strips: the direct kernels serve any number of columns.
 */
#include <math.h>

#include "compute/cpu/mat_unpack_neon.h"

#define AHEAD 512 /* bytes */

/* ---- 32 values a block ---- */

struct type32 {
    unpack32_fn *unpack;
    int bytes;
    bool mins, power;
};

INLINE void dot32(const struct mat_dot *a, struct type32 t, int n_rows, int n_cols)
{
    float32x4_t f[4][8];
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            f[r][c] = vdupq_n_f32(0);
    for (uint64_t i = 0; i < a->cols / 32; i++) {
        uint64_t g = i / 4, b = i % 4;
        for (int r = 0; r < n_rows; r++) {
            const uint8_t *w = a->w[r] + i * (uint64_t)t.bytes;
            float d = t.power ? power(w[0]) : half(w), m = t.mins ? half(w + 2) : 0;
            int8x16_t lo, hi;
            __builtin_prefetch(w + AHEAD);
            t.unpack(w, &lo, &hi);
            for (int c = 0; c < n_cols; c++) {
                const struct mat_q32 *x = (const struct mat_q32 *)a->x[c] + g;
                int32x4_t s = DOT16(vdupq_n_s32(0), lo, vld1q_s8(x->q + b * 16));
                s = DOT16(s, hi, vld1q_s8(x->q + 64 + b * 16));
                float32x4_t dx = vld1q_f32(x->d + b * 4);
                f[r][c] = vfmaq_f32(f[r][c], vcvtq_f32_s32(s), vmulq_n_f32(dx, d));
                if (t.mins) {
                    float32x4_t sum = vcvtq_f32_s32(vld1q_s32(x->nsum + b * 4));
                    f[r][c] = vfmsq_f32(f[r][c], sum, vmulq_n_f32(dx, m));
                }
            }
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            a->out[r * n_cols + c] = vaddvq_f32(f[r][c]);
}

/* ---- 256 values a block ---- */

struct type256 {
    unpack256_fn *unpack;
    int bytes;
    bool mins;
};

INLINE float32x4_t step256(const struct codes *k, bool mins, const struct mat_q256 *x,
                           float32x4_t f)
{
    int32x4_t s = vdupq_n_s32(0);
    for (int i = 0; i < 16; i++) {
        int32x4_t dot = DOT16(vdupq_n_s32(0), k->w[i], vld1q_s8(x->q + 16 * i));
        s = vmlaq_n_s32(s, dot, k->scale[i]);
    }
    f = vfmaq_n_f32(f, vcvtq_f32_s32(s), k->d * x->d);
    if (!mins) return f;
    int32x4_t n = vdupq_n_s32(0);
    for (int i = 0; i < 16; i += 4)
        n = vmlal_s16(n, vld1_s16(k->min + i), vld1_s16(x->nsum + i));
    return vfmaq_n_f32(f, vcvtq_f32_s32(n), k->dmin * x->d);
}

INLINE void dot256(const struct mat_dot *a, struct type256 t, int n_rows, int n_cols)
{
    float32x4_t f[4][8];
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            f[r][c] = vdupq_n_f32(0);
    for (uint64_t g = 0; g < a->cols / 256; g++)
        for (int r = 0; r < n_rows; r++) {
            const uint8_t *w = a->w[r] + g * (uint64_t)t.bytes;
            struct codes k;
            for (int i = 0; i < t.bytes; i += 64)
                __builtin_prefetch(w + AHEAD + i);
            t.unpack(w, &k);
            for (int c = 0; c < n_cols; c++)
                f[r][c] = step256(&k, t.mins, (const struct mat_q256 *)a->x[c] + g, f[r][c]);
        }
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            a->out[r * n_cols + c] = vaddvq_f32(f[r][c]);
}

/* ---- plain values ---- */

struct typef {
    load_fn *load;
    uint64_t bytes; /* of a value */
};

INLINE void dotf(const struct mat_dot *a, struct typef t, int n_rows, int n_cols)
{
    float32x4_t f[4][8][2];
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            f[r][c][0] = f[r][c][1] = vdupq_n_f32(0);
    uint64_t i = 0, whole = a->cols / 8 * 8;
    for (; i < whole; i += 8)
        for (int r = 0; r < n_rows; r++) {
            __builtin_prefetch(a->w[r] + i * t.bytes + AHEAD);
            for (uint64_t h = 0; h < 2; h++) {
                float32x4_t w = t.load(a->w[r] + (i + 4 * h) * t.bytes);
                for (int c = 0; c < n_cols; c++)
                    f[r][c][h] =
                        vfmaq_f32(f[r][c][h], w, vld1q_f32((const float *)a->x[c] + i + 4 * h));
            }
        }
    for (; i < a->cols; i += 4) {
        size_t n = a->cols - i < 4 ? (size_t)(a->cols - i) : 4;
        for (int r = 0; r < n_rows; r++) {
            uint8_t last[4 * sizeof(float)] = {0};
            memcpy(last, a->w[r] + i * t.bytes, n * t.bytes);
            float32x4_t w = t.load(last);
            for (int c = 0; c < n_cols; c++) {
                float v[4] = {0};
                memcpy(v, (const float *)a->x[c] + i, n * sizeof(float));
                f[r][c][0] = vfmaq_f32(f[r][c][0], w, vld1q_f32(v));
            }
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            a->out[r * n_cols + c] = vaddvq_f32(vaddq_f32(f[r][c][0], f[r][c][1]));
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
#define BYTES_OF(NAME) ((int)dtype_bytes_##NAME)
#define T32(NAME, mins)                                                                            \
    ((struct type32){unpack_##NAME, BYTES_OF(NAME), mins, DTYPE_##NAME == DTYPE_MXFP4})
#define MAKE32(NAME, off, mins) SHAPES(NAME, dot32, T32(NAME, mins))
#define MAKE256(NAME, off, mins, _)                                                                \
    SHAPES(NAME, dot256, ((struct type256){unpack_##NAME, BYTES_OF(NAME), mins}))
#define MAKEF(NAME) SHAPES(NAME, dotf, ((struct typef){load_##NAME, (uint64_t)BYTES_OF(NAME)}))

enum {
    dtype_bytes_Q4_0 = sizeof(struct block_q4_0),
    dtype_bytes_Q4_1 = sizeof(struct block_q4_1),
    dtype_bytes_Q5_0 = sizeof(struct block_q5_0),
    dtype_bytes_Q5_1 = sizeof(struct block_q5_1),
    dtype_bytes_Q8_0 = sizeof(struct block_q8_0),
    dtype_bytes_IQ4_NL = sizeof(struct block_iq4_nl),
    dtype_bytes_MXFP4 = sizeof(struct block_mxfp4),
    dtype_bytes_Q2_K = sizeof(struct block_q2_k),
    dtype_bytes_Q3_K = sizeof(struct block_q3_k),
    dtype_bytes_Q4_K = sizeof(struct block_q4_k),
    dtype_bytes_Q5_K = sizeof(struct block_q5_k),
    dtype_bytes_Q6_K = sizeof(struct block_q6_k),
    dtype_bytes_IQ4_XS = sizeof(struct block_iq4_xs),
    dtype_bytes_F32 = sizeof(struct block_f32),
    dtype_bytes_F16 = sizeof(struct block_f16),
    dtype_bytes_BF16 = sizeof(struct block_bf16)
};

MAT_TYPES_Q32(MAKE32)
MAT_TYPES_Q256(MAKE256)
MAT_TYPES_F(MAKEF)

#define ROW(NAME, ...) [DTYPE_##NAME] = {NAME##_4x1, NAME##_2x2, NAME##_2x4, NAME##_1x8},
static mat_dot_fn *const dots[DTYPE_COUNT][MAT_SHAPE_COUNT] = {
    MAT_TYPES_Q32(ROW) MAT_TYPES_Q256(ROW) MAT_TYPES_F(ROW)};

/* ---- activations ---- */

INLINE float abs_most(const float *x, int n)
{
    float32x4_t m = vdupq_n_f32(0);
    for (int i = 0; i < n; i += 4)
        m = vmaxnmq_f32(m, vabsq_f32(vld1q_f32(x + i)));
    return vmaxnmvq_f32(m);
}

/* 16 values to bytes, nearest even; a value that is no number becomes -127, as
 * in mat_generic.c. */
INLINE int8x16_t round16(const float *x, float by)
{
    int16x4_t v[4];
    for (int i = 0; i < 4; i++) {
        float32x4_t f = vmulq_n_f32(vld1q_f32(x + 4 * i), by);
        f = vminnmq_f32(vmaxnmq_f32(f, vdupq_n_f32(-127)), vdupq_n_f32(127));
        v[i] = vqmovn_s32(vcvtnq_s32_f32(f));
    }
    return vcombine_s8(vqmovn_s16(vcombine_s16(v[0], v[1])), vqmovn_s16(vcombine_s16(v[2], v[3])));
}

INLINE int32x4_t fours(int8x16_t q)
{
    return vpaddlq_s16(vpaddlq_s8(q));
}

static void quant32(const float *x, uint32_t n, struct mat_q32 *out)
{
    if (n < 128) memset(out, 0, sizeof *out);
    for (uint32_t b = 0; b < n / 32; b++) {
        float m = abs_most(x + b * 32, 32), by = m > MAT_ZERO ? 127.0f / m : 0.0f;
        int8x16_t lo = round16(x + b * 32, by), hi = round16(x + b * 32 + 16, by);
        vst1q_s8(out->q + b * 16, lo);
        vst1q_s8(out->q + 64 + b * 16, hi);
        vst1q_s32(out->nsum + b * 4, vnegq_s32(vaddq_s32(fours(lo), fours(hi))));
        vst1q_f32(out->d + b * 4, vdupq_n_f32(m * (1.0f / 127.0f)));
    }
}

static void quant256(const float *x, struct mat_q256 *out)
{
    float m = abs_most(x, 256), by = m > MAT_ZERO ? 127.0f / m : 0.0f;
    for (int i = 0; i < 16; i++) {
        int8x16_t q = round16(x + 16 * i, by);
        vst1q_s8(out->q + 16 * i, q);
        out->nsum[i] = (int16_t)-vaddvq_s32(fours(q));
    }
    out->d = m * (1.0f / 127.0f);
}

/* ---- epilogues ---- */

static void transpose(const void *src, size_t src_stride, void *dst, size_t dst_stride)
{
    for (size_t i = 0; i < 16; i++)
        for (size_t j = 0; j < 16; j++)
            memcpy((char *)dst + (j * dst_stride + i) * 4,
                   (const char *)src + (i * src_stride + j) * 4, 4);
}

static void finish(float *y, const float *v, const float *bias, uint32_t n, enum mat_finish f)
{
    for (uint32_t i = 0; i < n; i++) {
        float u = bias ? v[i] + bias[i] : v[i];
        if (f == MAT_FIN_STORE)
            y[i] = u;
        else if (f == MAT_FIN_ADD)
            y[i] += u;
        else
            y[i] = y[i] / (1.0f + expf(-y[i])) * u;
    }
}

const struct mat_isa_ops OPS = {
    .dots = dots,
    .quant32 = quant32,
    .quant256 = quant256,
    .transpose = transpose,
    .finish = finish,
};
