/* quant: the table of quantisers, the fits, and the types of 1 and 32 elements.
 *
 * A fit tries scales around the one that maps the largest value to the largest code. For each it
 * rounds to codes and asks how much of the block's energy these codes can explain with the best
 * scale for them (least squares: sum(xq) / sum(qq)); the best codes win. See quant_k.c for the
 * types that quantise their scales, too.
 */
#include "model/quant.h"

#include <math.h>
#include <string.h>

#include "model/blocks.h"
#include "model/dtype_int.h"
#include "model/quant_int.h"

enum { TRIES = 9 }; /* on each side of the obvious scale */

int quant_round(float v, int lo, int hi)
{
    if (!(v > (float)lo)) return lo;
    if (v >= (float)hi) return hi;
    return (int)lrintf(v);
}

/* The value of largest magnitude, with its sign; 0 if there is none that is finite and not tiny. */
static float largest(const float *x, int n)
{
    float best = 0;

    for (int i = 0; i < n; i++)
        if (isfinite(x[i]) && fabsf(x[i]) > fabsf(best)) best = x[i];
    return fabsf(best) < 1e-30f ? 0 : best;
}

float quant_fit(const float *x, int n, int half, int8_t *q)
{
    float top = largest(x, n), scale = 0, best = -1;
    int8_t trial[256];

    memset(q, 0, (size_t)n);
    if (top == 0) return 0;
    for (int t = -TRIES; t <= TRIES; t++) {
        float inverse = -((float)half + 0.1f * (float)t) / top, xq = 0, qq = 0;

        for (int i = 0; i < n; i++) {
            int c = quant_round(x[i] * inverse, -half, half - 1);

            trial[i] = (int8_t)c;
            xq += x[i] * (float)c;
            qq += (float)(c * c);
        }
        if (qq > 0 && xq * xq > best * qq) {
            best = xq * xq / qq;
            scale = xq / qq;
            memcpy(q, trial, (size_t)n);
        }
    }
    return scale;
}

/* Squared error of codes for the scale and minimum that suit them best; these go to *scale, *min.
 */
static float affine_error(const float *x, int n, int max, bool below, float *scale, float *min)
{
    float inverse = 1 / *scale, sx = 0, sq = 0, xq = 0, qq = 0, det, err = 0;
    uint8_t q[32];

    for (int i = 0; i < n; i++) {
        int c = quant_round((x[i] - *min) * inverse, 0, max);

        q[i] = (uint8_t)c;
        sx += x[i];
        sq += (float)c;
        xq += x[i] * (float)c;
        qq += (float)(c * c);
    }
    det = (float)n * qq - sq * sq;
    if (det > 0) {
        float s = ((float)n * xq - sx * sq) / det, m = (sx - s * sq) / (float)n;

        if (below && m > 0) {
            m = 0;
            s = xq / qq;
        }
        if (s > 0) {
            *scale = s;
            *min = m;
        }
    }
    for (int i = 0; i < n; i++) {
        float d = *scale * (float)q[i] + *min - x[i];

        err += d * d;
    }
    return err;
}

float quant_fit_affine(const float *x, int n, int max, bool below, float *min)
{
    float lo = x[0], hi = x[0], scale, best = INFINITY;

    for (int i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    if (below && lo > 0) lo = 0;
    *min = isfinite(lo) ? lo : 0;
    if (!isfinite(hi - lo) || hi - lo < 1e-30f) return 0;
    scale = (hi - lo) / (float)max;
    for (int t = -TRIES; t <= TRIES; t++) {
        float s = (hi - lo) / ((float)max + 0.1f * (float)t), m = lo;
        float err = affine_error(x, n, max, below, &s, &m);

        if (err < best) {
            best = err;
            scale = s;
            *min = m;
        }
    }
    return scale;
}

uint8_t quant_iq4_nearest(float v)
{
    uint8_t i = 0;

    while (i < 15 && v > 0.5f * (float)(dtype_iq4_levels[i] + dtype_iq4_levels[i + 1]))
        i++;
    return i;
}

float quant_fit_iq4(const float *x, int n, uint8_t *q)
{
    float top = largest(x, n), scale = 0, best = -1;
    uint8_t trial[32];

    memset(q, quant_iq4_nearest(0), (size_t)n);
    if (top == 0) return 0;
    for (int t = -TRIES; t <= TRIES; t++) {
        float inverse = ((float)dtype_iq4_levels[0] + (float)t) / top, xq = 0, qq = 0;

        for (int i = 0; i < n; i++) {
            float level;

            trial[i] = quant_iq4_nearest(x[i] * inverse);
            level = (float)dtype_iq4_levels[trial[i]];
            xq += x[i] * level;
            qq += level * level;
        }
        if (qq > 0 && xq * xq > best * qq) {
            best = xq * xq / qq;
            scale = xq / qq;
            memcpy(q, trial, (size_t)n);
        }
    }
    return scale;
}

/* ---- plain ---- */

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

/* ---- 32 elements ---- */

static uint8_t nibbles(int low, int high)
{
    return (uint8_t)((low & 15) | (high & 15) << 4);
}

static void to_q4_0(const float *x, void *blocks, size_t n)
{
    struct block_q4_0 *b = blocks;
    int8_t q[32];

    for (struct block_q4_0 *end = b + n / 32; b < end; b++, x += 32) {
        b->d = dtype_f32_to_f16(quant_fit(x, 32, 8, q));
        for (int j = 0; j < 16; j++)
            b->qs[j] = nibbles(q[j] + 8, q[j + 16] + 8);
    }
}

static void to_q5_0(const float *x, void *blocks, size_t n)
{
    struct block_q5_0 *b = blocks;
    int8_t q[32];

    for (struct block_q5_0 *end = b + n / 32; b < end; b++, x += 32) {
        b->d = dtype_f32_to_f16(quant_fit(x, 32, 16, q));
        memset(b->qh, 0, sizeof b->qh);
        for (int j = 0; j < 16; j++)
            b->qs[j] = nibbles(q[j] + 16, q[j + 16] + 16);
        for (int j = 0; j < 32; j++)
            b->qh[j / 8] = (uint8_t)(b->qh[j / 8] | ((q[j] + 16) >> 4) << (j % 8));
    }
}

/* Codes of one block of Q4_1 or Q5_1 for the scale and minimum as they are stored. */
static void affine_codes(const float *x, int max, uint16_t *d, uint16_t *m, uint8_t q[32])
{
    float min, scale = quant_fit_affine(x, 32, max, false, &min), inverse;

    *d = dtype_f32_to_f16(scale);
    *m = dtype_f32_to_f16(min);
    scale = dtype_f16_to_f32(*d);
    min = dtype_f16_to_f32(*m);
    inverse = scale > 0 ? 1 / scale : 0;
    for (int j = 0; j < 32; j++)
        q[j] = (uint8_t)quant_round((x[j] - min) * inverse, 0, max);
}

static void to_q4_1(const float *x, void *blocks, size_t n)
{
    struct block_q4_1 *b = blocks;
    uint8_t q[32];

    for (struct block_q4_1 *end = b + n / 32; b < end; b++, x += 32) {
        uint16_t d, m;

        affine_codes(x, 15, &d, &m, q);
        b->d = d;
        b->m = m;
        for (int j = 0; j < 16; j++)
            b->qs[j] = nibbles(q[j], q[j + 16]);
    }
}

static void to_q5_1(const float *x, void *blocks, size_t n)
{
    struct block_q5_1 *b = blocks;
    uint8_t q[32];

    for (struct block_q5_1 *end = b + n / 32; b < end; b++, x += 32) {
        uint16_t d, m;

        affine_codes(x, 31, &d, &m, q);
        b->d = d;
        b->m = m;
        memset(b->qh, 0, sizeof b->qh);
        for (int j = 0; j < 16; j++)
            b->qs[j] = nibbles(q[j], q[j + 16]);
        for (int j = 0; j < 32; j++)
            b->qh[j / 8] = (uint8_t)(b->qh[j / 8] | (q[j] >> 4) << (j % 8));
    }
}

static float codes_q8(const float *x, int8_t q[32])
{
    float d = fabsf(largest(x, 32)) / 127, inverse = d > 0 ? 1 / d : 0;

    for (int j = 0; j < 32; j++)
        q[j] = (int8_t)quant_round(x[j] * inverse, -127, 127);
    return d;
}

static void to_q8_0(const float *x, void *blocks, size_t n)
{
    struct block_q8_0 *b = blocks;

    for (struct block_q8_0 *end = b + n / 32; b < end; b++, x += 32)
        b->d = dtype_f32_to_f16(codes_q8(x, b->qs));
}

static void to_q8_1(const float *x, void *blocks, size_t n)
{
    struct block_q8_1 *b = blocks;

    for (struct block_q8_1 *end = b + n / 32; b < end; b++, x += 32) {
        float d = codes_q8(x, b->qs);
        int sum = 0;

        for (int j = 0; j < 32; j++)
            sum += b->qs[j];
        b->d = dtype_f32_to_f16(d);
        b->s = dtype_f32_to_f16(d * (float)sum);
    }
}

static void to_iq4_nl(const float *x, void *blocks, size_t n)
{
    struct block_iq4_nl *b = blocks;
    uint8_t q[32];

    for (struct block_iq4_nl *end = b + n / 32; b < end; b++, x += 32) {
        b->d = dtype_f32_to_f16(quant_fit_iq4(x, 32, q));
        for (int j = 0; j < 16; j++)
            b->qs[j] = nibbles(q[j], q[j + 16]);
    }
}

/* The code of the e2m1 value nearest to v / 2. */
static uint8_t e2m1_nearest(float v)
{
    uint8_t sign = v < 0 ? 8 : 0, i = 0;

    while (i < 7 && fabsf(v) > 0.5f * (float)(dtype_e2m1_twice[i] + dtype_e2m1_twice[i + 1]))
        i++;
    return (uint8_t)(i | sign);
}

/* OCP Microscaling: the shared exponent is that of the largest value less 2, e2m1's own largest. */
static void to_mxfp4(const float *x, void *blocks, size_t n)
{
    struct block_mxfp4 *b = blocks;

    for (struct block_mxfp4 *end = b + n / 32; b < end; b++, x += 32) {
        float top = fabsf(largest(x, 32)), inverse;
        int e = top > 0 ? ilogbf(top) - 2 + 127 : 0;

        b->e = (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
        inverse = ldexpf(1, 128 - b->e > 127 ? 127 : 128 - b->e);
        for (int j = 0; j < 16; j++)
            b->qs[j] = nibbles(e2m1_nearest(x[j] * inverse), e2m1_nearest(x[j + 16] * inverse));
    }
}

static quant_fn *const table[DTYPE_COUNT] = {
    [DTYPE_F32] = to_f32,      [DTYPE_F64] = to_f64,       [DTYPE_F16] = to_f16,
    [DTYPE_BF16] = to_bf16,    [DTYPE_Q4_0] = to_q4_0,     [DTYPE_Q4_1] = to_q4_1,
    [DTYPE_Q5_0] = to_q5_0,    [DTYPE_Q5_1] = to_q5_1,     [DTYPE_Q8_0] = to_q8_0,
    [DTYPE_Q8_1] = to_q8_1,    [DTYPE_Q2_K] = quant_q2_k,  [DTYPE_Q3_K] = quant_q3_k,
    [DTYPE_Q4_K] = quant_q4_k, [DTYPE_Q5_K] = quant_q5_k,  [DTYPE_Q6_K] = quant_q6_k,
    [DTYPE_Q8_K] = quant_q8_k, [DTYPE_IQ4_NL] = to_iq4_nl, [DTYPE_IQ4_XS] = quant_iq4_xs,
    [DTYPE_MXFP4] = to_mxfp4,
};

bool quant_has(enum dtype t)
{
    return (unsigned)t < DTYPE_COUNT && table[t];
}

void quant_row(enum dtype t, const float *x, void *blocks, size_t n)
{
    ASSERT(quant_has(t) && n % dtype_info(t)->elems == 0);
    table[t](x, blocks, n);
}
