/* quant: the table of quantisers, and the types that need no search: plain floats and 8 bits.
 *
 * Every other type is quantised a block at a time. quant_row() prepares the block: values that are
 * not finite or out of any type's reach are brought into reach, and importance becomes weights that
 * are positive, so that the fits (quant_fit.c) need not care. quant_small.c, quant_k.c and
 * quant_iq.c hold the quantisers.
 */
#include "model/quant.h"

#include <math.h>
#include <string.h>

#include "model/blocks.h"
#include "model/quant_int.h"

enum { LONGEST = 256 };          /* values of a block */
static const float REACH = 1e9f; /* beyond what half-float scales can express */

typedef void row_fn(const float *x, void *blocks, size_t n);

static void to_f32(const float *x, void *blocks, size_t n)
{
    memcpy(blocks, x, n * sizeof *x);
}

static void to_f64(const float *x, void *blocks, size_t n)
{
    struct block_f64 *b = blocks;

    for (size_t i = 0; i < n; i++)
        b[i].v = (double)x[i];
}

static void to_f16(const float *x, void *blocks, size_t n)
{
    struct block_f16 *b = blocks;

    for (size_t i = 0; i < n; i++)
        b[i].v = dtype_f32_to_f16(x[i]);
}

static void to_bf16(const float *x, void *blocks, size_t n)
{
    struct block_bf16 *b = blocks;

    for (size_t i = 0; i < n; i++)
        b[i].v = dtype_f32_to_bf16(x[i]);
}

static float codes_q8(const float *x, int n, int8_t *q)
{
    float d = fabsf(quant_largest(x, n)) / 127, inverse = d > 0 ? 1 / d : 0;

    for (int j = 0; j < n; j++)
        q[j] = (int8_t)quant_round(x[j] * inverse, -127, 127);
    return d;
}

static void to_q8_0(const float *x, void *blocks, size_t n)
{
    struct block_q8_0 *b = blocks;

    for (struct block_q8_0 *end = b + n / 32; b < end; b++, x += 32)
        b->d = dtype_f32_to_f16(codes_q8(x, 32, b->qs));
}

static void to_q8_1(const float *x, void *blocks, size_t n)
{
    struct block_q8_1 *b = blocks;

    for (struct block_q8_1 *end = b + n / 32; b < end; b++, x += 32) {
        float d = codes_q8(x, 32, b->qs);
        int sum = 0;

        for (int j = 0; j < 32; j++)
            sum += b->qs[j];
        b->d = dtype_f32_to_f16(d);
        b->s = dtype_f32_to_f16(d * (float)sum);
    }
}

static void to_q8_k(const float *x, void *blocks, size_t n)
{
    struct block_q8_k *b = blocks;

    for (struct block_q8_k *end = b + n / 256; b < end; b++, x += 256) {
        b->d = codes_q8(x, 256, b->qs);
        memset(b->bsums, 0, sizeof b->bsums);
        for (int e = 0; e < 256; e++)
            b->bsums[e / 16] = (int16_t)(b->bsums[e / 16] + b->qs[e]);
    }
}

static row_fn *const rows[DTYPE_COUNT] = {
    [DTYPE_F32] = to_f32,   [DTYPE_F64] = to_f64,   [DTYPE_F16] = to_f16,   [DTYPE_BF16] = to_bf16,
    [DTYPE_Q8_0] = to_q8_0, [DTYPE_Q8_1] = to_q8_1, [DTYPE_Q8_K] = to_q8_k,
};

static quant_fn *const searched[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = quant_q4_0,     [DTYPE_Q4_1] = quant_q4_1,       [DTYPE_Q5_0] = quant_q5_0,
    [DTYPE_Q5_1] = quant_q5_1,     [DTYPE_Q2_K] = quant_q2_k,       [DTYPE_Q3_K] = quant_q3_k,
    [DTYPE_Q4_K] = quant_q4_k,     [DTYPE_Q5_K] = quant_q5_k,       [DTYPE_Q6_K] = quant_q6_k,
    [DTYPE_IQ4_NL] = quant_iq4_nl, [DTYPE_IQ4_XS] = quant_iq4_xs,   [DTYPE_MXFP4] = quant_mxfp4,
    [DTYPE_NVFP4] = quant_nvfp4,   [DTYPE_TQ1_0] = quant_tq1_0,     [DTYPE_TQ2_0] = quant_tq2_0,
    [DTYPE_Q1_0] = quant_q1_0,     [DTYPE_Q2_0] = quant_q2_0,       [DTYPE_IQ1_S] = quant_iq1_s,
    [DTYPE_IQ1_M] = quant_iq1_m,   [DTYPE_IQ2_XXS] = quant_iq2_xxs, [DTYPE_IQ2_XS] = quant_iq2_xs,
    [DTYPE_IQ2_S] = quant_iq2_s,   [DTYPE_IQ3_XXS] = quant_iq3_xxs, [DTYPE_IQ3_S] = quant_iq3_s,
};

bool quant_has(enum dtype t)
{
    return (unsigned)t < DTYPE_COUNT && (rows[t] || searched[t]);
}

/* n weights, none below a millionth of their mean; equal ones where there is no importance. */
static void weights(const float *importance, size_t n, float *w)
{
    float sum = 0;

    for (size_t i = 0; i < n && importance; i++) {
        w[i] = importance[i] > 0 && importance[i] < REACH ? importance[i] : 0;
        sum += w[i];
    }
    if (!(sum > 0)) {
        for (size_t i = 0; i < n; i++)
            w[i] = 1;
        return;
    }
    for (size_t i = 0; i < n; i++)
        w[i] = w[i] * (float)n / sum + 1e-6f;
}

void quant_row_weighted(enum dtype t, const float *x, const float *importance, void *blocks,
                        size_t n)
{
    size_t elems = dtype_info(t)->elems;
    float v[LONGEST], w[LONGEST];
    uint8_t *to = blocks;

    ASSERT(quant_has(t) && n % elems == 0 && elems <= LONGEST);
    if (rows[t]) {
        rows[t](x, blocks, n);
        return;
    }
    weights(NULL, elems, w);
    for (size_t at = 0; at < n; at += elems, to += dtype_info(t)->bytes) {
        for (size_t i = 0; i < elems; i++) {
            float f = x[at + i];

            v[i] = isnan(f) ? 0 : f > REACH ? REACH : f < -REACH ? -REACH : f;
        }
        if (importance) weights(importance + at, elems, w);
        searched[t](v, w, to);
    }
}

void quant_row(enum dtype t, const float *x, void *blocks, size_t n)
{
    quant_row_weighted(t, x, NULL, blocks, n);
}
