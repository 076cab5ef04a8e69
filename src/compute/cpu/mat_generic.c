/* mat_generic: the plain C kernels, for every type, and the definition of how activations round.
 *
 * A piece of a row is dequantised by dtype_dequant() and multiplied with the very activations that
 * the fast paths use, so the results of all isas differ only by the rounding of float sums. The
 * weights of a piece serve all columns at hand. There is no panel path: the direct form serves any
 * number of columns.
 */
#include "compute/cpu/mat_int.h"

#include <math.h>
#include <string.h>

#define PIECE 256

/* Nearest even, ties and NaN included: NaN becomes -127. */
static int8_t round_q(float v)
{
    return (int8_t)lrintf(fminf(fmaxf(v, -127.0f), 127.0f));
}

static float absmax(const float *x, uint32_t n)
{
    float m = 0;
    for (uint32_t i = 0; i < n; i++)
        m = fmaxf(m, fabsf(x[i]));
    return m;
}

static void quant32(const float *x, uint32_t n, struct mat_q32 *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t b = 0; b < n / 32; b++) {
        float m = absmax(x + b * 32, 32), id = m > MAT_ZERO ? 127.0f / m : 0.0f;
        for (uint32_t e = 0; e < 32; e++) {
            int8_t q = round_q(x[b * 32 + e] * id);
            out->q[mat_q32_at(b, e)] = q;
            out->nsum[b * 4 + e % 16 / 4] -= q;
        }
        for (uint32_t l = 0; l < 4; l++)
            out->d[b * 4 + l] = m * (1.0f / 127.0f);
    }
}

static void quant256(const float *x, struct mat_q256 *out)
{
    float m = absmax(x, 256), id = m > MAT_ZERO ? 127.0f / m : 0.0f;
    memset(out->nsum, 0, sizeof out->nsum);
    for (uint32_t i = 0; i < 256; i++) {
        out->q[i] = round_q(x[i] * id);
        out->nsum[i / 16] = (int16_t)(out->nsum[i / 16] - out->q[i]);
    }
    out->d = m * (1.0f / 127.0f);
}

/* Values at..at+n-1 of a column as floats. */
static void expand(enum mat_act act, const void *x, uint64_t at, uint32_t n, float *out)
{
    if (act == MAT_ACT_F32) {
        memcpy(out, (const float *)x + at, n * sizeof *out);
    } else if (act == MAT_ACT_Q256) {
        const struct mat_q256 *s = (const struct mat_q256 *)x + at / 256;
        for (uint32_t i = 0; i < n; i++)
            out[i] = (float)s->q[i] * s->d;
    } else {
        const struct mat_q32 *g = (const struct mat_q32 *)x + at / 128;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t b = i / 32 % 4;
            out[i] = (float)g[i / 128].q[mat_q32_at(b, i % 32)] * g[i / 128].d[b * 4];
        }
    }
}

static void dot(const struct mat_dot *a, uint32_t n_rows, uint32_t n_cols)
{
    enum mat_act act = mat_act_of(a->dtype);
    const struct dtype_info *t = dtype_info(a->dtype);
    float w[PIECE], x[8][PIECE], sum[4][8][8] = {{{0}}};
    for (uint64_t at = 0; at < a->cols; at += PIECE) {
        uint32_t n = a->cols - at < PIECE ? (uint32_t)(a->cols - at) : PIECE;
        for (uint32_t c = 0; c < n_cols; c++) {
            expand(act, a->x[c], at, n, x[c]);
            memset(x[c] + n, 0, (PIECE - n) * sizeof(float));
        }
        for (uint32_t r = 0; r < n_rows; r++) {
            memset(w + n, 0, (PIECE - n) * sizeof(float));
            dtype_dequant(a->dtype, a->w[r] + at / t->elems * t->bytes, w, n);
            for (uint32_t c = 0; c < n_cols; c++)
                for (uint32_t i = 0; i < PIECE; i += 8)
                    for (uint32_t j = 0; j < 8; j++)
                        sum[r][c][j] += w[i + j] * x[c][i + j];
        }
    }
    for (uint32_t r = 0; r < n_rows; r++)
        for (uint32_t c = 0; c < n_cols; c++) {
            const float *s = sum[r][c];
            a->out[r * n_cols + c] =
                ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
        }
}

static void dot_4x1(const struct mat_dot *a)
{
    dot(a, 4, 1);
}

static void dot_2x2(const struct mat_dot *a)
{
    dot(a, 2, 2);
}

static void dot_2x4(const struct mat_dot *a)
{
    dot(a, 2, 4);
}

static void dot_1x8(const struct mat_dot *a)
{
    dot(a, 1, 8);
}

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

#define ROW(NAME, ...) [DTYPE_##NAME] = {dot_4x1, dot_2x2, dot_2x4, dot_1x8},
static mat_dot_fn *const dots[DTYPE_COUNT][MAT_SHAPE_COUNT] = {
    MAT_TYPES_Q32(ROW) MAT_TYPES_Q256(ROW) MAT_TYPES_F(ROW)};

const struct mat_isa_ops mat_ops_generic = {
    .dots = dots,
    .quant32 = quant32,
    .quant256 = quant256,
    .transpose = transpose,
    .finish = finish,
};
