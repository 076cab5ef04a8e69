/* quant_int: the fits that the quantisers share.
 *
 * Everywhere x are the n values of a (sub-)block, finite and of moderate size, and w how much the
 * squared error of each counts, all positive. quant_row() sees to both.
 */
#ifndef MODEL_QUANT_INT_H
#define MODEL_QUANT_INT_H

#include "model/quant.h"

/* v rounded to the nearest integer of lo..hi; lo for NaN. */
int quant_round(float v, int lo, int hi);
/* The value of largest magnitude, with its sign; 0 when it is not finite or tiny. */
float quant_largest(const float *x, int n);
/* To a half float, at most the largest finite one. */
uint16_t quant_half(float f);

/* Codes q[i] in -half..half-1 and the scale they belong to: x ~ scale * q, squared error small. The
 * scale is negative when the largest value is positive, for only the lower end reaches `half`. */
float quant_fit(const float *x, const float *w, int n, int half, int8_t *q);

/* Codes 0..max with scale >= 0 and a minimum: x ~ scale * q + min. */
struct quant_affine {
    int max;
    bool below; /* min is never above 0 */
};
float quant_fit_affine(struct quant_affine a, const float *x, const float *w, int n, float *min);

/* Codes that stand for fixed levels, ascending: x ~ scale * level[q]. */
struct quant_levels {
    int n;
    float level[16], mid[15];
    float first,
        step; /* the scales to try: the largest value meets a level at the end times this */
    int tries;
};
/* Levels of the table, and a search that suits their number. */
struct quant_levels quant_levels_of(const int8_t *table, int n);
uint8_t quant_nearest(const struct quant_levels *l, float v);
float quant_fit_levels(const struct quant_levels *l, const float *x, const float *w, int n);

/* One block. */
typedef void quant_fn(const float *x, const float *w, void *block);
quant_fn quant_q4_0, quant_q4_1, quant_q5_0, quant_q5_1, quant_iq4_nl, quant_mxfp4;
quant_fn quant_tq1_0, quant_tq2_0, quant_q1_0, quant_q2_0, quant_nvfp4;
quant_fn quant_q2_k, quant_q3_k, quant_q4_k, quant_q5_k, quant_q6_k, quant_iq4_xs;
quant_fn quant_iq1_s, quant_iq1_m, quant_iq2_xxs, quant_iq2_xs, quant_iq2_s, quant_iq3_xxs,
    quant_iq3_s;

#endif
