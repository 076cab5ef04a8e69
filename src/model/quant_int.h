/* quant_int: the fits that quant.c and quant_k.c share. */
#ifndef MODEL_QUANT_INT_H
#define MODEL_QUANT_INT_H

#include "model/quant.h"

/* v rounded to the nearest integer of lo..hi; lo for NaN. */
int quant_round(float v, int lo, int hi);
/* Codes q[i] in -half..half-1 and the scale they belong to: x ~ scale * q, squared error small. The
 * scale is negative when the largest value is positive, for only the lower end reaches `half`. */
float quant_fit(const float *x, int n, int half, int8_t *q);
/* Scale >= 0 and *min for x ~ scale * q + min, q in 0..max. With `below` *min is never above 0. */
float quant_fit_affine(const float *x, int n, int max, bool below, float *min);
/* Scale for x ~ scale * dtype_iq4_levels[q]. */
float quant_fit_iq4(const float *x, int n, uint8_t *q);
/* The index of the level of iq4 nearest to v. */
uint8_t quant_iq4_nearest(float v);

typedef void quant_fn(const float *x, void *blocks, size_t n);
quant_fn quant_q2_k, quant_q3_k, quant_q4_k, quant_q5_k, quant_q6_k, quant_q8_k, quant_iq4_xs;

#endif
