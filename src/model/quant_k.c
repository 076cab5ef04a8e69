/* quant_k: quantisers of the 256-element types with small integer scales.
 *
 * First every sub-block is fitted on its own (quant_fit.c), which gives it a float scale and
 * perhaps a minimum. These are quantised against the largest of the super-block. Then, twice: each
 * sub-block tries the integers next to its own with the codes that follow, and the super-block's
 * floats are fitted to all codes by least squares. A minimum is stored as a value to be taken away,
 * so it is never above 0. The bit layouts are those of dtype_k.c.
 */
#include <math.h>
#include <string.h>

#include "model/blocks.h"
#include "model/dtype_int.h"
#include "model/quant_int.h"

enum { QK = 256, ROUNDS = 3 /* of refining, at most */ };
#define WORTH 0.997f /* a round that wins less is the last */

/* ---- x ~ d * scale * q - dmin * min ---- */

/* Quantised scales and minima of the sub-blocks of one affine super-block, and their unit. */
struct super {
    int n_sub, max, top; /* codes 0..max, scales and minima 0..top */
    uint16_t d, dmin;    /* half floats */
    uint8_t scale[16], min[16];
};

static uint8_t affine_code(float x, float ds, float m, int max)
{
    return (uint8_t)(ds > 0 ? quant_round((x + m) / ds, 0, max) : 0);
}

static float affine_error(const float *x, const float *w, int n, float ds, float m, int max)
{
    float inverse = ds > 0 ? 1 / ds : 0, err = 0;

    for (int i = 0; i < n; i++) {
        float e = ds * (float)quant_round((x[i] + m) * inverse, 0, max) - m - x[i];

        err += w[i] * e * e;
    }
    return err;
}

/* Scale and minimum of sub-block j: the best of the integers around the present ones. */
static void affine_step(struct super *f, const float *x, const float *w, int j)
{
    float d = dtype_f16_to_f32(f->d), dmin = dtype_f16_to_f32(f->dmin), best = INFINITY;
    int n = QK / f->n_sub, s0 = f->scale[j], m0 = f->min[j];

    for (int s = s0 - 1; s <= s0 + 1; s++)
        for (int m = m0 - 1; m <= m0 + 1; m++) {
            float err;

            if (s < 0 || s > f->top || m < 0 || m > f->top) continue;
            err = affine_error(x + n * j, w + n * j, n, d * (float)s, dmin * (float)m, f->max);
            if (err < best) {
                best = err;
                f->scale[j] = (uint8_t)s;
                f->min[j] = (uint8_t)m;
            }
        }
}

/* d and dmin by least squares for the codes that follow from the present ones. */
static void affine_units(struct super *f, const float *x, const float *w)
{
    float d = dtype_f16_to_f32(f->d), dmin = dtype_f16_to_f32(f->dmin);
    float aa = 0, ab = 0, bb = 0, xa = 0, xb = 0, det;
    int n = QK / f->n_sub;

    for (int i = 0; i < QK; i++) {
        int j = i / n;
        float b = (float)f->min[j], ds = d * (float)f->scale[j];
        float a = (float)f->scale[j] * (float)affine_code(x[i], ds, dmin * b, f->max);

        aa += w[i] * a * a;
        ab += w[i] * a * b;
        bb += w[i] * b * b;
        xa += w[i] * x[i] * a;
        xb += w[i] * x[i] * b;
    }
    det = aa * bb - ab * ab;
    if (det > 1e-6f * aa * bb) {
        float p = (xa * bb - xb * ab) / det, q = (xa * ab - xb * aa) / det;

        if (p > 0 && q > 0) {
            f->d = quant_half(p);
            f->dmin = quant_half(q);
        }
    } else if (bb == 0 && aa > 0 && xa > 0) {
        f->d = quant_half(xa / aa);
    }
}

static float affine_total(const struct super *f, const float *x, const float *w)
{
    float d = dtype_f16_to_f32(f->d), dmin = dtype_f16_to_f32(f->dmin), err = 0;
    int n = QK / f->n_sub;

    for (int j = 0; j < f->n_sub; j++)
        err += affine_error(x + n * j, w + n * j, n, d * (float)f->scale[j],
                            dmin * (float)f->min[j], f->max);
    return err;
}

/* Fills in what follows n_sub, max and top; codes to q. */
static void fit_super(struct super *f, const float *x, const float *w, uint8_t *q)
{
    struct quant_affine a = {f->max, true};
    float scale[16], min[16], largest = 0, deepest = 0, d, dmin, best = INFINITY;
    struct super trial = *f;
    int n = QK / f->n_sub;

    for (int j = 0; j < f->n_sub; j++) {
        scale[j] = quant_fit_affine(a, x + j * n, w + j * n, n, &min[j]);
        largest = fmaxf(largest, scale[j]);
        deepest = fmaxf(deepest, -min[j]);
    }
    trial.d = quant_half(largest / (float)f->top);
    trial.dmin = quant_half(deepest / (float)f->top);
    d = dtype_f16_to_f32(trial.d);
    dmin = dtype_f16_to_f32(trial.dmin);
    for (int j = 0; j < f->n_sub; j++) {
        trial.scale[j] = (uint8_t)(d > 0 ? quant_round(scale[j] / d, 0, f->top) : 0);
        trial.min[j] = (uint8_t)(dmin > 0 ? quant_round(-min[j] / dmin, 0, f->top) : 0);
    }
    for (int round = 0; round <= ROUNDS; round++) {
        float err;

        if (round > 0) affine_units(&trial, x, w);
        for (int j = 0; j < f->n_sub; j++)
            affine_step(&trial, x, w, j);
        err = affine_total(&trial, x, w);
        if (err >= best) break;
        *f = trial;
        if (err > WORTH * best) break;
        best = err;
    }
    d = dtype_f16_to_f32(f->d);
    dmin = dtype_f16_to_f32(f->dmin);
    for (int i = 0; i < QK; i++)
        q[i] = affine_code(x[i], d * (float)f->scale[i / n], dmin * (float)f->min[i / n], f->max);
}

void quant_q2_k(const float *x, const float *w, void *block)
{
    struct block_q2_k *b = block;
    struct super f = {.n_sub = 16, .max = 3, .top = 15};
    uint8_t q[QK];

    fit_super(&f, x, w, q);
    memset(b, 0, sizeof *b);
    b->d = f.d;
    b->dmin = f.dmin;
    for (int j = 0; j < 16; j++)
        b->scales[j] = (uint8_t)(f.scale[j] | f.min[j] << 4);
    for (int e = 0; e < QK; e++)
        b->qs[e / 128 * 32 + e % 32] |= (uint8_t)(q[e] << (2 * (e % 128 / 32)));
}

/* The 12 bytes that hold 8 scales and 8 minima of 6 bits; see dtype_k4_scale(). */
static void pack_k4(const struct super *f, uint8_t out[12])
{
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(f->scale[j] | (f->scale[j + 4] >> 4) << 6);
        out[j + 4] = (uint8_t)(f->min[j] | (f->min[j + 4] >> 4) << 6);
        out[j + 8] = (uint8_t)((f->scale[j + 4] & 15) | (f->min[j + 4] & 15) << 4);
    }
}

void quant_q4_k(const float *x, const float *w, void *block)
{
    struct block_q4_k *b = block;
    struct super f = {.n_sub = 8, .max = 15, .top = 63};
    uint8_t q[QK];

    fit_super(&f, x, w, q);
    b->d = f.d;
    b->dmin = f.dmin;
    pack_k4(&f, b->scales);
    for (int i = 0; i < 128; i++)
        b->qs[i] = (uint8_t)(q[i / 32 * 64 + i % 32] | q[i / 32 * 64 + i % 32 + 32] << 4);
}

void quant_q5_k(const float *x, const float *w, void *block)
{
    struct block_q5_k *b = block;
    struct super f = {.n_sub = 8, .max = 31, .top = 63};
    uint8_t q[QK];

    fit_super(&f, x, w, q);
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

/* ---- x ~ d * scale * value(q) ---- */

/* Sub-blocks with one integer scale each, -bound..bound-1, over codes that stand either for
 * themselves (-half..half-1) or for levels. */
struct scaled {
    int n_sub, bound, half;
    const struct quant_levels *levels; /* or NULL */
    uint16_t d;
    int8_t scale[16];
};

static float scaled_value(const struct scaled *f, float v)
{
    if (f->levels) return f->levels->level[quant_nearest(f->levels, v)];
    return (float)quant_round(v, -f->half, f->half - 1);
}

static float scaled_error(const struct scaled *f, const float *x, const float *w, int n, float ds)
{
    float inverse = ds != 0 ? 1 / ds : 0, err = 0;

    for (int i = 0; i < n; i++) {
        float e = ds * scaled_value(f, x[i] * inverse) - x[i];

        err += w[i] * e * e;
    }
    return err;
}

/* The best integer scale of sub-block j around the present one; its error. */
static float scaled_step(struct scaled *f, const float *x, const float *w, int j)
{
    float d = dtype_f16_to_f32(f->d), best = INFINITY;
    int n = QK / f->n_sub, s0 = f->scale[j];

    for (int s = s0 - 1; s <= s0 + 1; s++) {
        float err;

        if (s < -f->bound || s >= f->bound) continue;
        err = scaled_error(f, x + n * j, w + n * j, n, d * (float)s);
        if (err < best) {
            best = err;
            f->scale[j] = (int8_t)s;
        }
    }
    return best;
}

static void scaled_unit(struct scaled *f, const float *x, const float *w)
{
    float d = dtype_f16_to_f32(f->d), xa = 0, aa = 0;
    int n = QK / f->n_sub;

    for (int i = 0; i < QK; i++) {
        float s = (float)f->scale[i / n], ds = d * s;
        float a = s * scaled_value(f, ds != 0 ? x[i] / ds : 0);

        xa += w[i] * x[i] * a;
        aa += w[i] * a * a;
    }
    if (aa > 0) f->d = quant_half(xa / aa);
}

/* Fills in d and scales. */
static void fit_scaled(struct scaled *f, const float *x, const float *w)
{
    float scale[16], top = 0, d, best = INFINITY;
    struct scaled trial = *f;
    int n = QK / f->n_sub;
    int8_t q[32];

    for (int j = 0; j < f->n_sub; j++) {
        scale[j] = f->levels ? quant_fit_levels(f->levels, x + n * j, w + n * j, n)
                             : quant_fit(x + n * j, w + n * j, n, f->half, q);
        if (fabsf(scale[j]) > fabsf(top)) top = scale[j];
    }
    trial.d = quant_half(-top / (float)f->bound);
    d = dtype_f16_to_f32(trial.d);
    for (int j = 0; j < f->n_sub; j++)
        trial.scale[j] = (int8_t)(d != 0 ? quant_round(scale[j] / d, -f->bound, f->bound - 1) : 0);
    for (int round = 0; round <= ROUNDS; round++) {
        float err = 0;

        if (round > 0) scaled_unit(&trial, x, w);
        for (int j = 0; j < f->n_sub; j++)
            err += scaled_step(&trial, x, w, j);
        if (err >= best) break;
        *f = trial;
        if (err > WORTH * best) break;
        best = err;
    }
}

/* x[i] over its scale as stored; 0 where that is 0. */
static float unscaled(const struct scaled *f, const float *x, int i)
{
    float ds = dtype_f16_to_f32(f->d) * (float)f->scale[i / (QK / f->n_sub)];

    return ds != 0 ? x[i] / ds : 0;
}

void quant_q3_k(const float *x, const float *w, void *block)
{
    struct block_q3_k *b = block;
    struct scaled f = {.n_sub = 16, .bound = 32, .half = 4};

    fit_scaled(&f, x, w);
    memset(b, 0, sizeof *b);
    b->d = f.d;
    for (int j = 0; j < 16; j++) {
        int s = f.scale[j] + 32;

        b->scales[j % 8] |= (uint8_t)((s & 15) << (j < 8 ? 0 : 4));
        b->scales[8 + j % 4] |= (uint8_t)((s >> 4) << (2 * (j / 4)));
    }
    for (int e = 0; e < QK; e++) {
        int c = quant_round(unscaled(&f, x, e), -4, 3) + 4;

        b->qs[e / 128 * 32 + e % 32] |= (uint8_t)((c & 3) << (2 * (e % 128 / 32)));
        b->hmask[e % 32] |= (uint8_t)((c >> 2) << (e / 32));
    }
}

void quant_q6_k(const float *x, const float *w, void *block)
{
    struct block_q6_k *b = block;
    struct scaled f = {.n_sub = 16, .bound = 128, .half = 32};

    fit_scaled(&f, x, w);
    memset(b, 0, sizeof *b);
    b->d = f.d;
    memcpy(b->scales, f.scale, sizeof b->scales);
    for (int e = 0; e < QK; e++) {
        int half = e / 128, g = e % 128 / 32, l = e % 32;
        int c = quant_round(unscaled(&f, x, e), -32, 31) + 32;

        b->ql[half * 64 + g % 2 * 32 + l] |= (uint8_t)((c & 15) << (4 * (g / 2)));
        b->qh[half * 32 + l] |= (uint8_t)((c >> 4) << (2 * g));
    }
}

void quant_iq4_xs(const float *x, const float *w, void *block)
{
    struct quant_levels l = quant_levels_of(dtype_iq4_levels, 16);
    struct block_iq4_xs *b = block;
    struct scaled f = {.n_sub = 8, .bound = 32, .levels = &l};

    fit_scaled(&f, x, w);
    memset(b, 0, sizeof *b);
    b->d = f.d;
    for (int j = 0; j < 8; j++) {
        int s = f.scale[j] + 32;

        b->scales_l[j / 2] |= (uint8_t)((s & 15) << (4 * (j % 2)));
        b->scales_h = (uint16_t)(b->scales_h | (s >> 4) << (2 * j));
        for (int i = 0; i < 16; i++) {
            uint8_t low = quant_nearest(&l, unscaled(&f, x, 32 * j + i));
            uint8_t high = quant_nearest(&l, unscaled(&f, x, 32 * j + i + 16));

            b->qs[16 * j + i] = (uint8_t)(low | high << 4);
        }
    }
}
