/* quant_small: quantisers of the types of 32 elements, of ternary and binary ones and of the 4-bit
 * floats. The bit layouts are those of dtype_plain.c and dtype_small.c.
 */
#include <math.h>
#include <string.h>

#include "model/blocks.h"
#include "model/dtype_int.h"
#include "model/quant_int.h"

static uint8_t nibbles(int low, int high)
{
    return (uint8_t)((low & 15) | (high & 15) << 4);
}

/* ---- 32 elements ---- */

/* Codes q[0..31] of up to five bits: qs the lower four, qh (unless NULL) the fifth. */
static void pack32(const uint8_t q[32], uint8_t qs[16], uint8_t *qh)
{
    for (int j = 0; j < 16; j++)
        qs[j] = nibbles(q[j], q[j + 16]);
    if (!qh) return;
    memset(qh, 0, 4);
    for (int j = 0; j < 32; j++)
        qh[j / 8] = (uint8_t)(qh[j / 8] | (q[j] >> 4) << (j % 8));
}

/* Codes 0..2 half - 1 around half, with the scale as it is stored. */
static uint16_t symmetric(const float *x, const float *w, int half, uint8_t q[32])
{
    int8_t c[32];
    uint16_t h = quant_half(quant_fit(x, w, 32, half, c));
    float d = dtype_f16_to_f32(h), inverse = d != 0 ? 1 / d : 0;

    for (int j = 0; j < 32; j++)
        q[j] = (uint8_t)(quant_round(x[j] * inverse, -half, half - 1) + half);
    return h;
}

void quant_q4_0(const float *x, const float *w, void *block)
{
    struct block_q4_0 *b = block;
    uint8_t q[32];

    b->d = symmetric(x, w, 8, q);
    pack32(q, b->qs, NULL);
}

void quant_q5_0(const float *x, const float *w, void *block)
{
    struct block_q5_0 *b = block;
    uint8_t q[32];

    b->d = symmetric(x, w, 16, q);
    pack32(q, b->qs, b->qh);
}

/* Codes of one block for the scale and minimum as they are stored: dm[0], dm[1]. */
static void affine(const float *x, const float *w, int max, uint16_t dm[2], uint8_t q[32])
{
    float min, scale = quant_fit_affine((struct quant_affine){max, false}, x, w, 32, &min), inverse;

    dm[0] = quant_half(scale);
    dm[1] = quant_half(min);
    scale = dtype_f16_to_f32(dm[0]);
    min = dtype_f16_to_f32(dm[1]);
    inverse = scale > 0 ? 1 / scale : 0;
    for (int j = 0; j < 32; j++)
        q[j] = (uint8_t)quant_round((x[j] - min) * inverse, 0, max);
}

void quant_q4_1(const float *x, const float *w, void *block)
{
    struct block_q4_1 *b = block;
    uint16_t dm[2];
    uint8_t q[32];

    affine(x, w, 15, dm, q);
    b->d = dm[0];
    b->m = dm[1];
    pack32(q, b->qs, NULL);
}

void quant_q5_1(const float *x, const float *w, void *block)
{
    struct block_q5_1 *b = block;
    uint16_t dm[2];
    uint8_t q[32];

    affine(x, w, 31, dm, q);
    b->d = dm[0];
    b->m = dm[1];
    pack32(q, b->qs, b->qh);
}

/* n codes of levels for a scale that was fitted and is now stored as a half float. */
static uint16_t level_codes(const struct quant_levels *l, const float *x, const float *w, int n,
                            uint8_t *q)
{
    uint16_t h = quant_half(quant_fit_levels(l, x, w, n));
    float d = dtype_f16_to_f32(h), inverse = d != 0 ? 1 / d : 0;

    for (int j = 0; j < n; j++)
        q[j] = quant_nearest(l, x[j] * inverse);
    return h;
}

void quant_iq4_nl(const float *x, const float *w, void *block)
{
    struct quant_levels l = quant_levels_of(dtype_iq4_levels, 16);
    struct block_iq4_nl *b = block;
    uint8_t q[32];

    b->d = level_codes(&l, x, w, 32, q);
    pack32(q, b->qs, NULL);
}

/* ---- e2m1 values with shared scales ---- */

/* The code of the e2m1 value nearest to v. */
static uint8_t e2m1(float v)
{
    static const float mid[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
    int c = 0;

    for (int i = 0; i < 7; i++)
        c += fabsf(v) > mid[i];
    return (uint8_t)(c | (v < 0 ? 8 : 0));
}

/* Error of n values for a scale. */
static float e2m1_error(const float *x, const float *w, int n, float d)
{
    float inverse = 1 / d, err = 0;

    for (int i = 0; i < n; i++) {
        float e = 0.5f * d * (float)dtype_e2m1_twice[e2m1(x[i] * inverse)] - x[i];

        err += w[i] * e * e;
    }
    return err;
}

/* OCP Microscaling takes the exponent of the largest value less 2, e2m1's own largest, for the
 * shared one; its neighbours are tried as well, since clipping may cost less than coarse steps. */
void quant_mxfp4(const float *x, const float *w, void *block)
{
    struct block_mxfp4 *b = block;
    float top = fabsf(quant_largest(x, 32)), best = INFINITY, inverse;
    int middle = top > 0 ? ilogbf(top) - 2 : -127, e = middle;

    for (int t = 0; t < 3 && top > 0; t++) {
        static const int near[3] = {0, -1, 1};
        float err = e2m1_error(x, w, 32, ldexpf(1, middle + near[t]));

        if (err < best) {
            best = err;
            e = middle + near[t];
        }
    }
    e = e < -126 ? -126 : e > 126 ? 126 : e;
    inverse = top > 0 ? ldexpf(1, -e) : 0;
    b->e = (uint8_t)(e + 127);
    for (int j = 0; j < 16; j++)
        b->qs[j] = nibbles(e2m1(x[j] * inverse), e2m1(x[j + 16] * inverse));
}

/* Every scale between what clips half of the range and what uses half of it. */
void quant_nvfp4(const float *x, const float *w, void *block)
{
    struct block_nvfp4 *b = block;

    for (int s = 0; s < 4; s++, x += 16, w += 16) {
        float top = fabsf(quant_largest(x, 16)), best = INFINITY, d;
        uint8_t code = 0;

        for (uint8_t c = 1; c < 0x7f; c++) {
            float err;

            d = dtype_ue4m3(c);
            if (top == 0 || (d < top / 12 && c < 0x7e) || (d > top / 3 && code)) continue;
            err = e2m1_error(x, w, 16, d);
            if (err < best) {
                best = err;
                code = c;
            }
        }
        d = dtype_ue4m3(code);
        b->d[s] = code;
        for (int j = 0; j < 8; j++)
            b->qs[8 * s + j] = nibbles(e2m1(d > 0 ? x[j] / d : 0), e2m1(d > 0 ? x[j + 8] / d : 0));
    }
}

/* ---- ternary and binary ---- */

static const int8_t ternary[3] = {-1, 0, 1};

/* Five digits of base 3 to the fraction of 256 that trit() of dtype_small.c takes apart. */
static uint8_t trits(const uint8_t *q, int n, int apart)
{
    int v = 0;

    for (int k = 0; k < 5; k++)
        v = 3 * v + (k < n ? q[k * apart] : 0);
    return (uint8_t)((v * 256 + 242) / 243);
}

void quant_tq1_0(const float *x, const float *w, void *block)
{
    struct quant_levels l = quant_levels_of(ternary, 3);
    struct block_tq1_0 *b = block;
    uint8_t q[256];

    b->d = level_codes(&l, x, w, 256, q);
    for (int m = 0; m < 32; m++)
        b->qs[m] = trits(q + m, 5, 32);
    for (int m = 0; m < 16; m++)
        b->qs[32 + m] = trits(q + 160 + m, 5, 16);
    for (int m = 0; m < 4; m++)
        b->qh[m] = trits(q + 240 + m, 4, 4);
}

void quant_tq2_0(const float *x, const float *w, void *block)
{
    struct quant_levels l = quant_levels_of(ternary, 3);
    struct block_tq2_0 *b = block;
    uint8_t q[256];

    b->d = level_codes(&l, x, w, 256, q);
    memset(b->qs, 0, sizeof b->qs);
    for (int e = 0; e < 256; e++)
        b->qs[e / 128 * 32 + e % 32] |= (uint8_t)(q[e] << (2 * (e % 128 / 32)));
}

/* The sign of each value; the scale is their mean magnitude. */
void quant_q1_0(const float *x, const float *w, void *block)
{
    struct block_q1_0 *b = block;
    float sum = 0, weight = 0;

    memset(b, 0, sizeof *b);
    for (int e = 0; e < 128; e++) {
        sum += w[e] * fabsf(x[e]);
        weight += w[e];
        b->qs[e / 8] |= (uint8_t)((x[e] >= 0) << (e % 8));
    }
    b->d = quant_half(sum / weight);
}

void quant_q2_0(const float *x, const float *w, void *block)
{
    static const int8_t levels[4] = {-1, 0, 1, 2};
    struct quant_levels l = quant_levels_of(levels, 4);
    struct block_q2_0 *b = block;
    uint8_t q[64];

    b->d = level_codes(&l, x, w, 64, q);
    memset(b->qs, 0, sizeof b->qs);
    for (int e = 0; e < 64; e++)
        b->qs[e / 4] |= (uint8_t)(q[e] << (2 * (e % 4)));
}
