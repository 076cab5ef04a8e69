/* quant_fit: scales and codes for a few values, by search and least squares.
 *
 * A fit tries scales around the one that maps the largest value to the largest code. For each it
 * rounds to codes and asks how much of the block's energy these codes can explain with the best
 * scale for them (least squares: sum(w x q) / sum(w q q)); the best codes win.
 */
#include "model/quant_int.h"

#include <math.h>
#include <string.h>

enum { TRIES = 9, ROUNDS = 2 }; /* on each side of the obvious scale; of refining the best */

int quant_round(float v, int lo, int hi)
{
    if (!(v > (float)lo)) return lo;
    if (v >= (float)hi) return hi;
    return (int)lrintf(v);
}

float quant_largest(const float *x, int n)
{
    float best = 0;

    for (int i = 0; i < n; i++)
        if (isfinite(x[i]) && fabsf(x[i]) > fabsf(best)) best = x[i];
    return fabsf(best) < 1e-30f ? 0 : best;
}

uint16_t quant_half(float f)
{
    return dtype_f32_to_f16(f > 65504 ? 65504 : f < -65504 ? -65504 : f);
}

float quant_fit(const float *x, const float *w, int n, int half, int8_t *q)
{
    float top = quant_largest(x, n), scale = 0, best = -1;
    int8_t trial[32];

    memset(q, 0, (size_t)n);
    if (top == 0) return 0;
    for (int t = -TRIES; t <= TRIES; t++) {
        float inverse = -((float)half + 0.1f * (float)t) / top, xq = 0, qq = 0;

        for (int i = 0; i < n; i++) {
            int c = quant_round(x[i] * inverse, -half, half - 1);

            trial[i] = (int8_t)c;
            xq += w[i] * x[i] * (float)c;
            qq += w[i] * (float)(c * c);
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
static float affine_error(struct quant_affine a, const float *x, const float *w, int n,
                          float fit[2])
{
    float inverse = 1 / fit[0], sw = 0, sx = 0, sq = 0, xq = 0, qq = 0, det, err = 0;
    float q[32];

    for (int i = 0; i < n; i++) {
        q[i] = (float)quant_round((x[i] - fit[1]) * inverse, 0, a.max);
        sw += w[i];
        sx += w[i] * x[i];
        sq += w[i] * q[i];
        xq += w[i] * x[i] * q[i];
        qq += w[i] * q[i] * q[i];
    }
    det = sw * qq - sq * sq;
    if (det > 0) {
        float s = (sw * xq - sx * sq) / det, m = (sx - s * sq) / sw;

        if (a.below && m > 0) {
            m = 0;
            s = xq / qq;
        }
        if (s > 0) {
            fit[0] = s;
            fit[1] = m;
        }
    }
    for (int i = 0; i < n; i++) {
        float d = fit[0] * q[i] + fit[1] - x[i];

        err += w[i] * d * d;
    }
    return err;
}

float quant_fit_affine(struct quant_affine a, const float *x, const float *w, int n, float *min)
{
    float lo = x[0], hi = x[0], scale, best = INFINITY;

    for (int i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    if (a.below && lo > 0) lo = 0;
    *min = lo;
    if (hi - lo < 1e-30f) return 0;
    scale = (hi - lo) / (float)a.max;
    for (int t = -TRIES; t <= TRIES + ROUNDS; t++) {
        float fit[2] = {(hi - lo) / ((float)a.max + 0.1f * (float)t), lo}, err;

        if (t > TRIES) { /* codes that follow from what suits the best codes so far */
            fit[0] = scale;
            fit[1] = *min;
        }
        err = affine_error(a, x, w, n, fit);
        if (err >= best) continue;
        best = err;
        scale = fit[0];
        *min = fit[1];
    }
    return scale;
}

/* ---- levels ---- */

struct quant_levels quant_levels_of(const int8_t *table, int n)
{
    struct quant_levels l = {.n = n};

    for (int i = 0; i < n; i++)
        l.level[i] = (float)table[i];
    for (int i = 0; i < 15; i++)
        l.mid[i] = i + 1 < n ? 0.5f * (l.level[i] + l.level[i + 1]) : INFINITY;
    /* Many levels: the largest value meets one near the end. Few: it may lie far beyond. */
    l.first = n > 4 ? 0.9f : 0.8f;
    l.step = n > 4 ? 0.04f : 0.3f;
    l.tries = n > 4 ? 6 : 12;
    return l;
}

uint8_t quant_nearest(const struct quant_levels *l, float v)
{
    int c = 8 * (v > l->mid[7]);

    c += 4 * (v > l->mid[c + 3]);
    c += 2 * (v > l->mid[c + 1]);
    return (uint8_t)(c + (v > l->mid[c]));
}

/* The scale that suits the codes of v * inverse best; what they explain goes to *energy. */
static float levels_scale(const struct quant_levels *l, const float *x, const float *w, int n,
                          float inverse, float *energy)
{
    float xq = 0, qq = 0;

    for (int i = 0; i < n; i++) {
        float level = l->level[quant_nearest(l, x[i] * inverse)];

        xq += w[i] * x[i] * level;
        qq += w[i] * level * level;
    }
    *energy = qq > 0 ? xq / qq * xq : -1;
    return qq > 0 ? xq / qq : 0;
}

float quant_fit_levels(const struct quant_levels *l, const float *x, const float *w, int n)
{
    float top = quant_largest(x, n), scale = 0, best = 0;

    if (top == 0) return 0;
    for (int t = 0; t < 2 * l->tries + ROUNDS; t++) {
        float end = l->level[t % 2 ? l->n - 1 : 0], energy, s;
        float inverse = end / top * (l->first + l->step * (float)(t / 2));

        if (t >= 2 * l->tries) inverse = scale != 0 ? 1 / scale : 0; /* refine the best */
        s = levels_scale(l, x, w, n, inverse, &energy);
        if (energy > best) {
            best = energy;
            scale = s;
        }
    }
    return scale;
}
