/* ref_recur: the ops that hand a state from row to row of a sequence.
 *
 * Rows are taken one after the other, also within a batch: there is no chunked form. A state is
 * float32 and each of its values is written once a row; sums over it are taken in double. States of
 * a sequence that begins in a batch are zeroed before the first step.
 */
#include <math.h>
#include <string.h>

#include "compute/ref/ref_int.h"

void ref_recur_begin(struct dev *d, const struct batch *b)
{
    for (uint32_t g = 0; g < b->n_spans && d->set > 0; g++)
        if (b->spans[g].pos == 0)
            memset(d->states + b->spans[g].state * d->set, 0, d->set * sizeof(float));
}

static float *state_of(const struct dev *d, const struct plan_step *s,
                       const struct batch_span *span)
{
    return d->states + span->state * d->set + d->state_at[s->index];
}

/* Calls row(d, s, i, state) for every row of the batch, in the order of each sequence. */
static void each_row(struct dev *d, const struct plan_step *s, const struct batch *b,
                     void (*row)(struct dev *d, const struct plan_step *s, uint32_t i,
                                 float *state))
{
    for (uint32_t g = 0; g < b->n_spans; g++) {
        const struct batch_span *span = &b->spans[g];
        for (uint32_t i = span->first; i < span->first + span->n; i++)
            row(d, s, i, state_of(d, s, span));
    }
}

/* ---- rows before this one ---- */

/* state [n]: the row before */
static void shift_row(struct dev *d, const struct plan_step *s, uint32_t i, float *state)
{
    const float *x = ref_row(d, s->src, s->n, i);
    float *y = ref_row(d, s->dst, s->n, i);
    for (uint32_t c = 0; c < s->n; c++) {
        float before = state[c];
        state[c] = x[c];
        y[c] = before;
    }
}

void ref_op_shift(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    each_row(d, s, b, shift_row);
}

void ref_op_lerp(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const float *w = ref_vector(d, s->w);
    uint64_t n_w = ref_vector_len(d, s->w);
    for (uint32_t i = 0; i < ref_rows(d, s, b); i++) {
        const float *from = ref_row(d, s->src, s->n, i), *to = ref_row(d, s->src2, s->n, i);
        const float *more = s->src3 == REG_NONE ? NULL : ref_row(d, s->src3, s->n, i);
        float *y = ref_row(d, s->dst, s->n, i);
        for (uint32_t c = 0; c < s->n; c++) {
            double by = (double)w[c % n_w] + (more ? more[c] : 0);
            y[c] = (float)(from[c] + ((double)to[c] - from[c]) * by);
        }
    }
}

/* state [k - 1][n]: the rows before, the oldest first; w [n][k] */
static void conv_row(struct dev *d, const struct plan_step *s, uint32_t i, float *state)
{
    const float *w = ref_vector(d, s->w), *bias = ref_vector(d, s->b);
    const float *x = ref_row(d, s->src, s->n, i);
    float *y = ref_row(d, s->dst, s->n, i);
    uint32_t before = (uint32_t)(ref_vector_len(d, s->w) / s->n) - 1;
    for (uint32_t c = 0; c < s->n; c++) {
        const float *kernel = w + (uint64_t)c * (before + 1);
        double sum = bias ? bias[c] : 0;
        for (uint32_t t = 0; t < before; t++) {
            sum += (double)kernel[t] * state[(uint64_t)t * s->n + c];
            state[(uint64_t)t * s->n + c] =
                t + 1 < before ? state[(uint64_t)(t + 1) * s->n + c] : x[c];
        }
        y[c] = (float)(sum + (double)kernel[before] * x[c]);
    }
}

void ref_op_conv(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    each_row(d, s, b, conv_row);
}

/* ---- state spaces ---- */

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

/* One column of a selective scan: its state [n] decays by exp(dt * A), takes in dt * x * B, and
 * gives out C s. A is one value for the whole state when `a_step` is 0. */
struct scan {
    const float *a, *b, *c;
    uint32_t n, a_step;
    double dt, x;
};

static double scan_column(const struct scan *v, float *state)
{
    double y = 0;
    for (uint32_t j = 0; j < v->n; j++) {
        double decay = exp(v->dt * v->a[(uint64_t)j * v->a_step]);
        state[j] = (float)(state[j] * decay + v->dt * v->b[j] * v->x);
        y += (double)state[j] * v->c[j];
    }
    return y;
}

/* Mamba: Gu and Dao 2023. state [n][n_state]; w = A [n][n_state], w2 = D [n] */
static void scan_row(struct dev *d, const struct plan_step *s, uint32_t i, float *state)
{
    const float *a = ref_vector(d, s->w), *skip = ref_vector(d, s->w2);
    const float *x = ref_row(d, s->src, s->n, i), *dt = ref_row(d, s->src2, s->n, i);
    float *y = ref_row(d, s->dst, s->n, i);
    uint32_t n = s->u.scan.n_state;
    struct scan v = {
        .b = ref_row(d, s->src3, n, i), .c = ref_row(d, s->src4, n, i), .n = n, .a_step = 1};
    for (uint32_t c = 0; c < s->n; c++) {
        v.a = a + (uint64_t)c * n;
        v.dt = softplus(dt[c]);
        v.x = x[c];
        double out = scan_column(&v, state + (uint64_t)c * n);
        y[c] = (float)(skip ? out + skip[c] * v.x : out);
    }
}

void ref_op_scan(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    each_row(d, s, b, scan_row);
}

/* Mamba 2: Dao and Gu 2024. state [n_head][head_dim][n_state]; w = A [n_head], w2 = D [n_head] */
static void scan_heads_row(struct dev *d, const struct plan_step *s, uint32_t i, float *state)
{
    const float *a = ref_vector(d, s->w), *skip = ref_vector(d, s->w2);
    uint32_t n = s->u.scan.n_state, groups = s->u.scan.n_group ? s->u.scan.n_group : 1;
    const float *x = ref_row(d, s->src, s->n, i), *dt = ref_row(d, s->src2, s->n_head, i);
    const float *b = ref_row(d, s->src3, groups * n, i), *c = ref_row(d, s->src4, groups * n, i);
    float *y = ref_row(d, s->dst, s->n, i);
    for (uint32_t h = 0; h < s->n_head; h++) {
        uint64_t of = (uint64_t)(h / (s->n_head / groups)) * n;
        struct scan v = {.a = a + h, .b = b + of, .c = c + of, .n = n, .dt = softplus(dt[h])};
        for (uint32_t k = h * s->head_dim; k < (h + 1) * s->head_dim; k++) {
            v.x = x[k];
            double out = scan_column(&v, state + (uint64_t)k * n);
            y[k] = (float)(skip ? out + skip[h] * v.x : out);
        }
    }
}

void ref_op_scan_heads(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    each_row(d, s, b, scan_heads_row);
}

/* ---- linear attention ---- */

/* RWKV-6 "Finch": Peng et al. 2024. state [n_head][key][value]; w = first [n_head * head_dim] */
static void wkv6_row(struct dev *d, const struct plan_step *s, uint32_t i, float *state)
{
    const float *first = ref_vector(d, s->w);
    const float *r = ref_row(d, s->src, s->n, i), *k = ref_row(d, s->src2, s->n, i);
    const float *v = ref_row(d, s->src3, s->n, i), *decay = ref_row(d, s->src4, s->n, i);
    float *y = ref_row(d, s->dst, s->n, i);
    uint32_t dim = s->head_dim;
    for (uint32_t h = 0; h < s->n_head; h++, state += (uint64_t)dim * dim) {
        uint32_t at = h * dim;
        memset(d->sum, 0, dim * sizeof *d->sum);
        for (uint32_t a = 0; a < dim; a++) {
            for (uint32_t c = 0; c < dim; c++) {
                double kv = (double)k[at + a] * v[at + c], old = state[a * dim + c];
                d->sum[c] += r[at + a] * (first[at + a] * kv + old);
                state[a * dim + c] = (float)(old * decay[at + a] + kv);
            }
        }
        for (uint32_t c = 0; c < dim; c++)
            y[at + c] = (float)d->sum[c];
    }
}

void ref_op_wkv6(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    each_row(d, s, b, wkv6_row);
}

/* RWKV-7 "Goose": Peng et al. 2025. state [n_head][value][key] */
static void wkv7_row(struct dev *d, const struct plan_step *s, uint32_t i, float *state)
{
    const enum plan_reg src[6] = {s->src, s->src2, s->src3, s->src4, s->src5, s->src6};
    const float *in[6];
    float *y = ref_row(d, s->dst, s->n, i);
    uint32_t dim = s->head_dim;
    for (int o = 0; o < 6; o++)
        in[o] = ref_row(d, src[o], s->n, i);
    const float *r = in[0], *decay = in[1], *k = in[2], *v = in[3], *a = in[4], *b = in[5];
    for (uint32_t at = 0; at < s->n; at += dim) {
        for (uint32_t c = 0; c < dim; c++, state += dim) {
            double sa = 0, out = 0;
            for (uint32_t j = 0; j < dim; j++)
                sa += (double)a[at + j] * state[j];
            for (uint32_t j = 0; j < dim; j++) {
                state[j] = (float)((double)state[j] * decay[at + j] +
                                   (double)v[at + c] * k[at + j] + sa * b[at + j]);
                out += (double)r[at + j] * state[j];
            }
            d->sum[c] = out;
        }
        for (uint32_t c = 0; c < dim; c++)
            y[at + c] = (float)d->sum[c];
    }
}

void ref_op_wkv7(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    each_row(d, s, b, wkv7_row);
}

/* Gated delta rule: Yang, Kautz and Hatamizadeh 2024. state [n_head][key][value]; decay and beta
 * have a column a head. */
static void delta_row(struct dev *d, const struct plan_step *s, uint32_t i, float *state)
{
    uint32_t n_k = s->head_dim, n_v = s->n / s->n_head;
    const float *q = ref_row(d, s->src, s->n_head * n_k, i);
    const float *k = ref_row(d, s->src2, s->n_head * n_k, i), *v = ref_row(d, s->src3, s->n, i);
    const float *decay = ref_row(d, s->src4, s->n_head, i);
    const float *beta = ref_row(d, s->src5, s->n_head, i);
    float *y = ref_row(d, s->dst, s->n, i);
    for (uint32_t h = 0; h < s->n_head; h++, q += n_k, k += n_k, state += (uint64_t)n_k * n_v) {
        double g = exp(decay[h]);
        for (uint32_t c = 0; c < n_v; c++) {
            double known = 0, out = 0;
            for (uint32_t a = 0; a < n_k; a++)
                known += k[a] * (g * state[a * n_v + c]);
            double more = (v[h * n_v + c] - known) * beta[h];
            for (uint32_t a = 0; a < n_k; a++) {
                state[a * n_v + c] = (float)(g * state[a * n_v + c] + k[a] * more);
                out += (double)q[a] * s->scale * state[a * n_v + c];
            }
            d->sum[c] = out;
        }
        for (uint32_t c = 0; c < n_v; c++)
            y[h * n_v + c] = (float)d->sum[c];
    }
}

void ref_op_delta(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    each_row(d, s, b, delta_row);
}
