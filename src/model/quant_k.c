/* quant_k: quantisers of the 256-element types.
 *
 * First every sub-block is fitted on its own (quant_fit*), which gives it a float scale and perhaps
 * a minimum. These are then quantised against the largest of the super-block, and the codes are
 * rounded again with the scales as they are stored. A minimum is stored as a value to be taken
 * away, so it is never above 0. The bit layouts are those of dtype_k.c.
 */
#include <math.h>
#include <string.h>

#include "model/blocks.h"
#include "model/dtype_int.h"
#include "model/quant_int.h"

enum { QK = 256 };

/* Quantised scales and minima of the sub-blocks of one affine super-block, and their unit. */
struct affine {
    uint16_t d, dmin; /* half floats */
    uint8_t scale[16], min[16];
};

/* n_sub sub-blocks of `width` elements; codes 0..max, scales and minima 0..top. */
static void fit_super(const float *x, int n_sub, int max, int top, struct affine *f, uint8_t *q)
{
    int width = QK / n_sub;
    float scale[16], min[16], largest = 0, deepest = 0, d, dmin;

    for (int j = 0; j < n_sub; j++) {
        scale[j] = quant_fit_affine(x + j * width, width, max, true, &min[j]);
        largest = fmaxf(largest, scale[j]);
        deepest = fmaxf(deepest, -min[j]);
    }
    f->d = dtype_f32_to_f16(largest / (float)top);
    f->dmin = dtype_f32_to_f16(deepest / (float)top);
    d = dtype_f16_to_f32(f->d);
    dmin = dtype_f16_to_f32(f->dmin);
    for (int j = 0; j < n_sub; j++) {
        float ds, m, inverse;

        f->scale[j] = (uint8_t)(d > 0 ? quant_round(scale[j] / d, 0, top) : 0);
        f->min[j] = (uint8_t)(dmin > 0 ? quant_round(-min[j] / dmin, 0, top) : 0);
        ds = d * (float)f->scale[j];
        m = dmin * (float)f->min[j];
        inverse = ds > 0 ? 1 / ds : 0;
        for (int i = j * width; i < (j + 1) * width; i++)
            q[i] = (uint8_t)quant_round((x[i] + m) * inverse, 0, max);
    }
}

void quant_q2_k(const float *x, void *blocks, size_t n)
{
    struct block_q2_k *b = blocks;
    struct affine f;
    uint8_t q[QK];

    for (struct block_q2_k *end = b + n / QK; b < end; b++, x += QK) {
        fit_super(x, 16, 3, 15, &f, q);
        memset(b, 0, sizeof *b);
        b->d = f.d;
        b->dmin = f.dmin;
        for (int j = 0; j < 16; j++)
            b->scales[j] = (uint8_t)(f.scale[j] | f.min[j] << 4);
        for (int e = 0; e < QK; e++)
            b->qs[e / 128 * 32 + e % 32] |= (uint8_t)(q[e] << (2 * (e % 128 / 32)));
    }
}

/* The 12 bytes that hold 8 scales and 8 minima of 6 bits; see dtype_k4_scale(). */
static void pack_k4(const struct affine *f, uint8_t out[12])
{
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(f->scale[j] | (f->scale[j + 4] >> 4) << 6);
        out[j + 4] = (uint8_t)(f->min[j] | (f->min[j + 4] >> 4) << 6);
        out[j + 8] = (uint8_t)((f->scale[j + 4] & 15) | (f->min[j + 4] & 15) << 4);
    }
}

void quant_q4_k(const float *x, void *blocks, size_t n)
{
    struct block_q4_k *b = blocks;
    struct affine f;
    uint8_t q[QK];

    for (struct block_q4_k *end = b + n / QK; b < end; b++, x += QK) {
        fit_super(x, 8, 15, 63, &f, q);
        b->d = f.d;
        b->dmin = f.dmin;
        pack_k4(&f, b->scales);
        for (int i = 0; i < 128; i++)
            b->qs[i] = (uint8_t)(q[i / 32 * 64 + i % 32] | q[i / 32 * 64 + i % 32 + 32] << 4);
    }
}

void quant_q5_k(const float *x, void *blocks, size_t n)
{
    struct block_q5_k *b = blocks;
    struct affine f;
    uint8_t q[QK];

    for (struct block_q5_k *end = b + n / QK; b < end; b++, x += QK) {
        fit_super(x, 8, 31, 63, &f, q);
        b->d = f.d;
        b->dmin = f.dmin;
        pack_k4(&f, b->scales);
        memset(b->qh, 0, sizeof b->qh);
        for (int i = 0; i < 128; i++) {
            int low = q[i / 32 * 64 + i % 32], high = q[i / 32 * 64 + i % 32 + 32];

            b->qs[i] = (uint8_t)((low & 15) | (high & 15) << 4);
        }
        for (int e = 0; e < QK; e++)
            b->qh[e % 32] |= (uint8_t)((q[e] >> 4) << (e / 32));
    }
}

/* Sub-blocks of x ~ scale * q: scales become integers -bound..bound-1 of a common unit, returned.
 */
static uint16_t fit_scales(const float scale[], int n_sub, int bound, int8_t out[])
{
    float top = 0, d;
    uint16_t h;

    for (int j = 0; j < n_sub; j++)
        if (fabsf(scale[j]) > fabsf(top)) top = scale[j];
    h = dtype_f32_to_f16(-top / (float)bound);
    d = dtype_f16_to_f32(h);
    for (int j = 0; j < n_sub; j++)
        out[j] = (int8_t)(d != 0 ? quant_round(scale[j] / d, -bound, bound - 1) : 0);
    return h;
}

/* Codes -half..half-1 of 16 sub-blocks with the scales as stored. */
static uint16_t fit_symmetric(const float *x, int half, int bound, int8_t scales[16], int8_t q[QK])
{
    float scale[16], d;
    uint16_t h;

    for (int j = 0; j < 16; j++)
        scale[j] = quant_fit(x + 16 * j, 16, half, q + 16 * j);
    h = fit_scales(scale, 16, bound, scales);
    d = dtype_f16_to_f32(h);
    for (int e = 0; e < QK; e++) {
        float ds = d * (float)scales[e / 16];

        q[e] = (int8_t)(ds != 0 ? quant_round(x[e] / ds, -half, half - 1) : 0);
    }
    return h;
}

void quant_q3_k(const float *x, void *blocks, size_t n)
{
    struct block_q3_k *b = blocks;
    int8_t scales[16], q[QK];

    for (struct block_q3_k *end = b + n / QK; b < end; b++, x += QK) {
        memset(b, 0, sizeof *b);
        b->d = fit_symmetric(x, 4, 32, scales, q);
        for (int j = 0; j < 16; j++) {
            int s = scales[j] + 32;

            b->scales[j % 8] |= (uint8_t)((s & 15) << (j < 8 ? 0 : 4));
            b->scales[8 + j % 4] |= (uint8_t)((s >> 4) << (2 * (j / 4)));
        }
        for (int e = 0; e < QK; e++) {
            int c = q[e] + 4;

            b->qs[e / 128 * 32 + e % 32] |= (uint8_t)((c & 3) << (2 * (e % 128 / 32)));
            b->hmask[e % 32] |= (uint8_t)((c >> 2) << (e / 32));
        }
    }
}

void quant_q6_k(const float *x, void *blocks, size_t n)
{
    struct block_q6_k *b = blocks;
    int8_t q[QK];

    for (struct block_q6_k *end = b + n / QK; b < end; b++, x += QK) {
        memset(b, 0, sizeof *b);
        b->d = fit_symmetric(x, 32, 128, b->scales, q);
        for (int e = 0; e < QK; e++) {
            int half = e / 128, g = e % 128 / 32, l = e % 32, c = q[e] + 32;

            b->ql[half * 64 + g % 2 * 32 + l] |= (uint8_t)((c & 15) << (4 * (g / 2)));
            b->qh[half * 32 + l] |= (uint8_t)((c >> 4) << (2 * g));
        }
    }
}

void quant_q8_k(const float *x, void *blocks, size_t n)
{
    struct block_q8_k *b = blocks;

    for (struct block_q8_k *end = b + n / QK; b < end; b++, x += QK) {
        float top = 0, inverse;

        for (int e = 0; e < QK; e++)
            if (isfinite(x[e])) top = fmaxf(top, fabsf(x[e]));
        b->d = top / 127;
        inverse = top > 0 ? 127 / top : 0;
        memset(b->bsums, 0, sizeof b->bsums);
        for (int e = 0; e < QK; e++) {
            b->qs[e] = (int8_t)quant_round(x[e] * inverse, -127, 127);
            b->bsums[e / 16] = (int16_t)(b->bsums[e / 16] + b->qs[e]);
        }
    }
}

void quant_iq4_xs(const float *x, void *blocks, size_t n)
{
    struct block_iq4_xs *b = blocks;
    uint8_t q[32];
    int8_t scales[8];
    float scale[8];

    for (struct block_iq4_xs *end = b + n / QK; b < end; b++, x += QK) {
        float d;

        memset(b, 0, sizeof *b);
        for (int j = 0; j < 8; j++)
            scale[j] = quant_fit_iq4(x + 32 * j, 32, q);
        b->d = fit_scales(scale, 8, 32, scales);
        d = dtype_f16_to_f32(b->d);
        for (int j = 0; j < 8; j++) {
            int s = scales[j] + 32;
            float ds = d * (float)scales[j], inverse = ds != 0 ? 1 / ds : 0;

            b->scales_l[j / 2] |= (uint8_t)((s & 15) << (4 * (j % 2)));
            b->scales_h = (uint16_t)(b->scales_h | (s >> 4) << (2 * j));
            for (int l = 0; l < 16; l++) {
                uint8_t low = quant_iq4_nearest(x[32 * j + l] * inverse);
                uint8_t high = quant_iq4_nearest(x[32 * j + l + 16] * inverse);

                b->qs[16 * j + l] = (uint8_t)(low | high << 4);
            }
        }
    }
}
