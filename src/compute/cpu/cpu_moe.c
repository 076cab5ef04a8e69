/* cpu_moe: mixtures of experts: which experts a row uses, and how their results come together.
 *
 * The products themselves are cpu_op_expert() of cpu_product.c. Weights are worked out in double:
 * there are few of them, and a choice made by other rounding than the reference's would show.
 */
#include "compute/cpu/cpu_int.h"

#include <math.h>
#include <string.h>

#define WEIGHT_FLOOR                                                                               \
    6.103515625e-5f /* of the sum that weights are divided by: llama.cpp's 2^-14                   \
                     */

struct choice {
    float p[CPU_EXPERTS];    /* what an expert would weigh */
    float rank[CPU_EXPERTS]; /* what it is chosen by */
    bool taken[CPU_EXPERTS];
};

/* The index of the largest value not taken before, of equals the lowest. Whatever the values are,
 * NaN among them, each call gives another index. */
static uint32_t pick(const float *v, uint32_t n, bool *taken)
{
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++)
        if (!taken[i] && (best == n || v[i] > v[best])) best = i;
    if (best == n) return 0; /* fewer values than calls, which no plan has */
    taken[best] = true;
    return best;
}

/* p = exp(x - max) / sum; p may be x. */
static void softmax(float *p, const float *x, uint32_t n)
{
    double sum = 0;
    float max = x[0];
    for (uint32_t i = 1; i < n; i++)
        if (max < x[i]) max = x[i];
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    for (uint32_t i = 0; i < n; i++)
        p[i] = (float)(exp((double)x[i] - max) / sum);
}

/* Rules out the experts of all but the best groups; a group is worth the sum of its two best. */
static void rule_out(struct choice *c, uint32_t n, uint32_t n_group, uint32_t n_keep)
{
    float worth[CPU_EXPERTS];
    uint32_t size = n / n_group;
    for (uint32_t g = 0; g < n_group; g++) {
        const float *rank = c->rank + (size_t)g * size;
        memset(c->taken, 0, size);
        worth[g] = rank[pick(rank, size, c->taken)];
        if (size > 1) worth[g] += rank[pick(rank, size, c->taken)];
    }
    memset(c->taken, 0, n_group);
    for (uint32_t k = 0; k < n_keep; k++)
        pick(worth, n_group, c->taken);
    for (uint32_t e = 0; e < size * n_group; e++)
        if (!c->taken[e / size]) c->rank[e] = -INFINITY;
}

static void rate(const struct plan_step *s, const float *logits, const float *bias,
                 struct choice *c)
{
    uint32_t n = s->n_src;
    if (s->u.route.gating == GATING_SOFTMAX)
        softmax(c->p, logits, n);
    else
        for (uint32_t i = 0; i < n; i++)
            c->p[i] = s->u.route.gating == GATING_SIGMOID
                          ? (float)(1 / (1 + exp(-(double)logits[i])))
                          : logits[i];
    for (uint32_t i = 0; i < n; i++)
        c->rank[i] = bias ? c->p[i] + bias[i] : c->p[i];
}

static void weigh(const struct plan_step *s, float *weight)
{
    uint32_t n = s->u.route.n_used;
    float scale = s->scale;
    if (s->u.route.gating == GATING_SOFTMAX_CHOSEN) softmax(weight, weight, n);
    if (s->u.route.norm) {
        double sum = 0;
        for (uint32_t k = 0; k < n; k++)
            sum += weight[k];
        for (uint32_t k = 0; k < n; k++)
            weight[k] = (float)(weight[k] / fmax(sum, (double)WEIGHT_FLOOR));
    }
    if (scale > 0 || scale < 0)
        for (uint32_t k = 0; k < n; k++)
            weight[k] *= scale;
}

static void route_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_step *s = w->s;
    uint32_t n = s->n_src, n_used = s->u.route.n_used;
    struct choice c;
    for (uint64_t i = from; i < to; i++) {
        float *id = d->reg[s->dst] + i * n_used, *weight = d->reg[s->dst2] + i * n_used;
        rate(s, d->reg[s->src] + i * n, cpu_small(d, s->w), &c);
        if (s->u.route.n_group > 1) rule_out(&c, n, s->u.route.n_group, s->u.route.n_group_used);
        memset(c.taken, 0, n);
        for (uint32_t k = 0; k < n_used; k++) {
            uint32_t e = pick(c.rank, n, c.taken);
            id[k] = (float)e;
            weight[k] = c.p[e];
        }
        weigh(s, weight);
    }
}

void cpu_op_route(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    struct cpu_work w = {d, s, b, route_rows, cpu_rows(d, s, b)};
    cpu_run(&w, w.n * s->n_src * s->u.route.n_used);
}

/* Stretches of MIX_COLUMNS columns, so that one row can be shared out. */
#define MIX_COLUMNS 1024u

static uint32_t mix_pieces(const struct plan_step *s)
{
    return (s->n + MIX_COLUMNS - 1) / MIX_COLUMNS;
}

static void mix_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_step *s = w->s;
    uint32_t pieces = mix_pieces(s), n_used = s->u.route.n_used;
    for (uint64_t u = from; u < to; u++) {
        uint64_t row = u / pieces, c = u % pieces * MIX_COLUMNS;
        uint64_t n = s->n - c < MIX_COLUMNS ? s->n - c : MIX_COLUMNS;
        const float *x = d->reg[s->src] + row * n_used * s->n + c;
        const float *weight = d->reg[s->src2] + row * n_used;
        float *y = d->reg[s->dst] + row * s->n + c;
        d->vec->scale(y, x, weight[0], n);
        for (uint32_t k = 1; k < n_used; k++)
            d->vec->add(y, y, x + (uint64_t)k * s->n, weight[k], n);
    }
}

void cpu_op_mix(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint64_t rows = cpu_rows(d, s, b);
    struct cpu_work w = {d, s, b, mix_units, rows * mix_pieces(s)};
    cpu_run(&w, rows * s->n * s->u.route.n_used);
}
