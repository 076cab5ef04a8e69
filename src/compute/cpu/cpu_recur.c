/* cpu_recur: the ops with a state that goes from row to row of a sequence.
 *
 * A unit of work is one span and some of its columns, or one head: it goes through the rows of the
 * span in order, and units do not touch one another's state, so they are shared out among the
 * threads, heads first, spans last: threads then have equal parts of a long span. The arithmetic
 * of a row is in cpu_kern_recur.h. There is no chunked form: a row costs what its state costs.
 *
 * Invariant: a row's result depends on the rows before it in its sequence only, bit for bit,
 * however the sequence was cut into batches.
 */
#include "compute/cpu/cpu_int.h"

#include <string.h>

/* The state of a span, from float `at` of the step's state; zeroed where the sequence begins. */
static float *state_of(const struct cpu_work *w, const struct batch_span *span, uint64_t at,
                       uint64_t n)
{
    const struct dev *d = w->d;
    float *state = d->states + span->state * d->state_floats + d->state_at[w->s->index] + at;
    if (span->pos == 0) memset(state, 0, n * sizeof *state);
    return state;
}

/* Operand r, from column `at`, of a span; rows are n columns apart. */
static struct cpu_seq operand(const struct cpu_work *w, const struct batch_span *span,
                              enum plan_reg r, uint64_t n, uint64_t at)
{
    return (struct cpu_seq){w->d->reg[r] + span->first * n + at, n};
}

/* Runs fn for all heads, or stretches of CPU_COLUMNS columns, of all spans. `cost` is about what a
 * row of all heads takes, in values. */
static void run(struct cpu_work w, uint64_t heads, uint64_t cost)
{
    w.n = heads * w.b->n_spans;
    cpu_run(&w, w.b->n * cost);
}

static uint32_t stretches(const struct plan_step *s)
{
    return (s->n + CPU_COLUMNS - 1) / CPU_COLUMNS;
}

static uint32_t stretch_of(const struct plan_step *s, uint64_t at)
{
    return s->n - at < CPU_COLUMNS ? (uint32_t)(s->n - at) : CPU_COLUMNS;
}

/* ---- rows before this one ---- */

/* Backwards, so that dst may be src. */
static void shift_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct plan_step *s = w->s;
    for (uint64_t u = from; u < to; u++) {
        const struct batch_span *span = &w->b->spans[u % w->b->n_spans];
        uint64_t at = u / w->b->n_spans * CPU_COLUMNS;
        size_t bytes = stretch_of(s, at) * sizeof(float);
        float *state =
            w->d->states + span->state * w->d->state_floats + w->d->state_at[s->index] + at;
        const float *x = w->d->reg[s->src] + (uint64_t)span->first * s->n + at;
        float *y = w->d->reg[s->dst] + (uint64_t)span->first * s->n + at, last[CPU_COLUMNS];
        if (span->n == 0) continue;
        if (span->pos == 0) memset(state, 0, bytes);
        memcpy(last, x + (uint64_t)(span->n - 1) * s->n, bytes);
        for (uint64_t t = span->n - 1; t > 0; t--)
            memcpy(y + t * s->n, x + (t - 1) * s->n, bytes);
        memcpy(y, state, bytes);
        memcpy(state, last, bytes);
    }
}

void cpu_op_shift(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run((struct cpu_work){d, s, b, shift_units, 0}, stretches(s), s->n);
}

static void conv_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct plan_step *s = w->s;
    const struct plan_tensor *t = &w->d->plan->tensors[s->w];
    const float *weight = cpu_small(w->d, s->w), *bias = cpu_small(w->d, s->b);
    uint32_t k = (uint32_t)(t->rows * t->cols / s->n);
    for (uint64_t u = from; u < to; u++) {
        const struct batch_span *span = &w->b->spans[u % w->b->n_spans];
        uint64_t at = u / w->b->n_spans * CPU_COLUMNS;
        struct cpu_conv c = {.x = operand(w, span, s->src, s->n, at),
                             .y = w->d->reg[s->dst] + (uint64_t)span->first * s->n + at,
                             .w = weight + at * k,
                             .b = bias ? bias + at : NULL,
                             .state_step = s->n,
                             .rows = span->n,
                             .n = stretch_of(s, at),
                             .k = k};
        c.state = w->d->states + span->state * w->d->state_floats + w->d->state_at[s->index] + at;
        for (uint32_t i = 0; span->pos == 0 && i + 1 < k; i++)
            memset(c.state + i * c.state_step, 0, c.n * sizeof(float));
        w->d->vec->conv(&c);
    }
}

void cpu_op_conv(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run((struct cpu_work){d, s, b, conv_units, 0}, stretches(s), (uint64_t)s->n * 4);
}

/* ---- state spaces ---- */

static void scan_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct plan_step *s = w->s;
    uint32_t n_state = s->u.scan.n_state;
    const float *skip = cpu_small(w->d, s->w2);
    for (uint64_t u = from; u < to; u++) {
        const struct batch_span *span = &w->b->spans[u % w->b->n_spans];
        uint64_t at = u / w->b->n_spans * CPU_COLUMNS;
        struct cpu_recur r = {
            .in = {operand(w, span, s->src, s->n, at), operand(w, span, s->src2, s->n, at),
                   operand(w, span, s->src3, n_state, 0), operand(w, span, s->src4, n_state, 0)},
            .y = w->d->reg[s->dst] + (uint64_t)span->first * s->n + at,
            .y_step = s->n,
            .w = cpu_small(w->d, s->w) + at * n_state,
            .w2 = skip ? skip + at : NULL,
            .rows = span->n,
            .dim = stretch_of(s, at),
            .dim2 = n_state};
        r.state = state_of(w, span, at * n_state, (uint64_t)r.dim * n_state);
        w->d->vec->scan(&r);
    }
}

void cpu_op_scan(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run((struct cpu_work){d, s, b, scan_units, 0}, stretches(s),
        (uint64_t)s->n * s->u.scan.n_state * 4);
}

static void scan_heads_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct plan_step *s = w->s;
    uint32_t n_state = s->u.scan.n_state, dim = s->head_dim;
    uint32_t n_group = s->u.scan.n_group ? s->u.scan.n_group : 1;
    const float *skip = cpu_small(w->d, s->w2);
    for (uint64_t u = from; u < to; u++) {
        const struct batch_span *span = &w->b->spans[u % w->b->n_spans];
        uint64_t h = u / w->b->n_spans, at = h * dim;
        uint64_t group = h / (s->n_head / n_group) * n_state, groups = (uint64_t)n_group * n_state;
        struct cpu_recur r = {.in = {operand(w, span, s->src, s->n, at),
                                     operand(w, span, s->src2, s->n_head, h),
                                     operand(w, span, s->src3, groups, group),
                                     operand(w, span, s->src4, groups, group)},
                              .y = w->d->reg[s->dst] + (uint64_t)span->first * s->n + at,
                              .y_step = s->n,
                              .w = cpu_small(w->d, s->w) + h,
                              .w2 = skip ? skip + h : NULL,
                              .rows = span->n,
                              .dim = dim,
                              .dim2 = n_state};
        r.state = state_of(w, span, at * n_state, (uint64_t)dim * n_state);
        w->d->vec->scan_head(&r);
    }
}

void cpu_op_scan_heads(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run((struct cpu_work){d, s, b, scan_heads_units, 0}, s->n_head,
        (uint64_t)s->n * s->u.scan.n_state);
}

/* ---- linear attention ---- */

static struct cpu_recur wkv_unit(const struct cpu_work *w, uint64_t u)
{
    const struct plan_step *s = w->s;
    const struct batch_span *span = &w->b->spans[u % w->b->n_spans];
    const enum plan_reg src[6] = {s->src, s->src2, s->src3, s->src4, s->src5, s->src6};
    uint64_t at = u / w->b->n_spans * s->head_dim, square = (uint64_t)s->head_dim * s->head_dim;
    const float *first = cpu_small(w->d, s->w);
    struct cpu_recur r = {.y = w->d->reg[s->dst] + (uint64_t)span->first * s->n + at,
                          .y_step = s->n,
                          .w = first ? first + at : NULL,
                          .rows = span->n,
                          .dim = s->head_dim,
                          .dim2 = s->head_dim};
    for (int i = 0; i < (s->op == OP_WKV7 ? 6 : 4); i++)
        r.in[i] = operand(w, span, src[i], s->n, at);
    r.state = state_of(w, span, u / w->b->n_spans * square, square);
    return r;
}

static void wkv6_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    for (uint64_t u = from; u < to; u++) {
        struct cpu_recur r = wkv_unit(w, u);
        w->d->vec->wkv6(&r);
    }
}

void cpu_op_wkv6(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run((struct cpu_work){d, s, b, wkv6_units, 0}, s->n_head, (uint64_t)s->n * s->head_dim);
}

static void wkv7_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    for (uint64_t u = from; u < to; u++) {
        struct cpu_recur r = wkv_unit(w, u);
        w->d->vec->wkv7(&r);
    }
}

void cpu_op_wkv7(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run((struct cpu_work){d, s, b, wkv7_units, 0}, s->n_head, (uint64_t)s->n * s->head_dim);
}

static void delta_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct plan_step *s = w->s;
    uint32_t n_k = s->head_dim, n_v = s->n / s->n_head;
    uint64_t keys = (uint64_t)s->n_head * n_k, square = (uint64_t)n_k * n_v;
    for (uint64_t u = from; u < to; u++) {
        const struct batch_span *span = &w->b->spans[u % w->b->n_spans];
        uint64_t h = u / w->b->n_spans;
        struct cpu_recur r = {.in = {operand(w, span, s->src, keys, h * n_k),
                                     operand(w, span, s->src2, keys, h * n_k),
                                     operand(w, span, s->src3, s->n, h * n_v),
                                     operand(w, span, s->src4, s->n_head, h),
                                     operand(w, span, s->src5, s->n_head, h)},
                              .y = w->d->reg[s->dst] + (uint64_t)span->first * s->n + h * n_v,
                              .y_step = s->n,
                              .rows = span->n,
                              .dim = n_k,
                              .dim2 = n_v,
                              .scale = s->scale};
        r.state = state_of(w, span, h * square, square);
        w->d->vec->delta(&r);
    }
}

void cpu_op_delta(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run((struct cpu_work){d, s, b, delta_units, 0}, s->n_head, (uint64_t)s->n * s->head_dim * 2);
}
