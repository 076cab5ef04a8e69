/* ref_moe: mixtures of experts: who is chosen, what each of them says, and their sum.
 *
 * Choices are made on float32 values, so that what counts as a tie does not depend on how wide the
 * arithmetic before it was; of equals the lower index is taken. Any logits, NaN among them, give
 * different experts that exist.
 */
#include <math.h>
#include <string.h>

#include "compute/ref/ref_int.h"

/* The smallest sum that weights are divided by: 2^-14, as the models were trained. */
#define SMALLEST_SUM 6.103515625e-5

/* Index of the largest value that was not taken before. */
static uint32_t pick(const float *v, uint32_t n, bool *taken)
{
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++)
        if (!taken[i] && (best == n || v[i] > v[best])) best = i;
    taken[best] = true;
    return best;
}

static void softmax(const float *x, uint32_t n, float *p)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        max = fmax(max, x[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp(x[i] - max);
    for (uint32_t i = 0; i < n; i++)
        p[i] = (float)(exp(x[i] - max) / sum);
}

/* Rules out the experts of all but the best groups; a group is worth the sum of its two best. */
static void rule_out(struct dev *d, const struct plan_step *s, float *choice)
{
    uint32_t n = s->u.route.n_group, size = s->n_src / n;
    float *worth = d->tmp[2];
    for (uint32_t g = 0; g < n; g++) {
        memset(d->taken, 0, size);
        float sum = choice[g * size + pick(choice + g * size, size, d->taken)];
        if (size > 1) sum += choice[g * size + pick(choice + g * size, size, d->taken)];
        worth[g] = sum;
    }
    memset(d->taken, 0, n);
    for (uint32_t k = 0; k < s->u.route.n_group_used; k++)
        pick(worth, n, d->taken);
    for (uint32_t e = 0; e < size * n; e++)
        if (!d->taken[e / size]) choice[e] = -INFINITY;
}

static void route_row(struct dev *d, const struct plan_step *s, const float *logits, float *ids,
                      float *weights)
{
    uint32_t n = s->n_src, n_used = s->u.route.n_used;
    float *p = d->tmp[0], *choice = d->tmp[1];
    const float *bias = ref_vector(d, s->w);
    double sum = 0;
    memcpy(p, logits, n * sizeof *p);
    if (s->u.route.gating == GATING_SOFTMAX) softmax(logits, n, p);
    for (uint32_t e = 0; e < n; e++) {
        if (s->u.route.gating == GATING_SIGMOID) p[e] = (float)(1 / (1 + exp(-(double)logits[e])));
        choice[e] = bias ? p[e] + bias[e] : p[e];
    }
    if (s->u.route.n_group > 1) rule_out(d, s, choice);
    memset(d->taken, 0, n);
    for (uint32_t k = 0; k < n_used; k++) {
        uint32_t e = pick(choice, n, d->taken);
        ids[k] = (float)e;
        weights[k] = p[e];
    }
    if (s->u.route.gating == GATING_SOFTMAX_CHOSEN) softmax(weights, n_used, weights);
    for (uint32_t k = 0; k < n_used; k++)
        sum += weights[k];
    if (s->u.route.norm)
        for (uint32_t k = 0; k < n_used; k++)
            weights[k] = (float)(weights[k] / fmax(sum, SMALLEST_SUM));
    if (s->scale != 0)
        for (uint32_t k = 0; k < n_used; k++)
            weights[k] *= s->scale;
}

void ref_op_route(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint32_t n_used = s->u.route.n_used;
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++)
        route_row(d, s, ref_row(d, s->src, s->n_src, i), ref_row(d, s->dst, n_used, i),
                  ref_row(d, s->dst2, n_used, i));
}

void ref_op_expert(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const struct plan_tensor *t = &d->plan->tensors[s->w];
    const float *bias = ref_vector(d, s->b);
    uint32_t n_used = s->u.route.n_used, cols = (uint32_t)t->cols;
    uint32_t rows = (uint32_t)(t->rows / t->n_parts);
    uint32_t step = s->n_src == cols ? 0 : cols; /* the same input for all, or one each */
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *ids = ref_row(d, s->src2, n_used, i), *x = ref_row(d, s->src, s->n_src, i);
        float *y = ref_row(d, s->dst, n_used * rows, i);
        for (uint32_t k = 0; k < n_used; k++) {
            uint32_t e = (uint32_t)ids[k];
            for (uint32_t r = 0; r < rows; r++) {
                ref_weight_row(d, s->w, e, r, d->tmp[0]);
                float v = ref_dot(d->tmp[0], x + (uint64_t)k * step, cols);
                y[(uint64_t)k * rows + r] = bias ? v + bias[(uint64_t)e * rows + r] : v;
            }
        }
    }
}

void ref_op_mix(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint32_t n_used = s->u.route.n_used;
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *x = ref_row(d, s->src, n_used * s->n, i);
        const float *w = ref_row(d, s->src2, n_used, i);
        float *y = ref_row(d, s->dst, s->n, i);
        for (uint32_t c = 0; c < s->n; c++) {
            double sum = 0;
            for (uint32_t k = 0; k < n_used; k++)
                sum += (double)w[k] * x[(uint64_t)k * s->n + c];
            y[c] = (float)sum;
        }
    }
}
