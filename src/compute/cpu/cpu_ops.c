/* cpu_ops: the ops of the CPU back end that work row by row or element by element.
 *
 * An op over few values runs on the calling thread; from SPLIT values on, its units are shared out:
 * rows, or for what is done element by element, stretches of STRETCH floats of the dense register.
 * RoPE reads cosines and sines from tables made once a step.
 *
 * Invariant: no value depends on which stretch or thread it falls to.
 */
#include "compute/cpu/cpu_int.h"

#include <math.h>
#include <string.h>

#define SPLIT   16384u /* values: about 3 us of work, ten times the cost of a job */
#define STRETCH 256u   /* floats */

/* ---- sharing out ---- */

static void run_share(void *arg, uint32_t thread, uint32_t n_threads)
{
    const struct cpu_work *w = arg;
    uint64_t from, to;
    pool_share(w->n, 1, thread, n_threads, &from, &to);
    if (from < to) w->units(w, from, to);
}

void cpu_run(struct cpu_work *w, uint64_t values)
{
    if (values >= SPLIT && w->n > 1)
        pool_run(w->d->pool, run_share, w);
    else if (w->n > 0)
        w->units(w, 0, w->n);
}

static bool is_output(enum plan_reg r)
{
    return r == REG_O || r == REG_LOGITS;
}

uint32_t cpu_rows(const struct dev *d, const struct plan_step *s, const struct batch *b)
{
    bool after = d->gather && s > d->gather && s < d->plan->steps + d->plan->n_steps;
    return after || is_output(s->dst) || is_output(s->src) ? b->n_out : b->n;
}

const float *cpu_small(const struct dev *d, int t)
{
    return t == PLAN_NO_TENSOR ? NULL : d->small[t];
}

/* Row i of a register whose rows have n columns. */
static float *row_of(const struct dev *d, enum plan_reg r, uint64_t i, uint64_t n)
{
    return d->reg[r] + i * n;
}

static uint64_t vector_floats(const struct dev *d, int t)
{
    return d->plan->tensors[t].rows * d->plan->tensors[t].cols;
}

/* By rows of n columns. */
static void run_rows(struct cpu_work w)
{
    w.n = cpu_rows(w.d, w.s, w.b);
    cpu_run(&w, w.n * w.s->n);
}

/* By stretches of all n columns of all rows. */
static void run_flat(struct cpu_work w)
{
    uint64_t values = (uint64_t)cpu_rows(w.d, w.s, w.b) * w.s->n;
    w.n = (values + STRETCH - 1) / STRETCH;
    cpu_run(&w, values);
}

/* Units from..to of run_flat() as floats: returns the first, sets *n to how many. */
static uint64_t flat(const struct cpu_work *w, uint64_t from, uint64_t to, uint64_t *n)
{
    uint64_t values = (uint64_t)cpu_rows(w->d, w->s, w->b) * w->s->n, last = to * STRETCH;
    *n = (last < values ? last : values) - from * STRETCH;
    return from * STRETCH;
}

/* ---- rows of a table ---- */

static const char *table_row(const struct dev *d, int tensor, uint64_t row)
{
    const struct plan_tensor *t = &d->plan->tensors[tensor];
    const struct dtype_info *type = dtype_info(t->dtype);
    return (const char *)d->w[tensor].data + row * (t->cols / type->elems * type->bytes);
}

static void embed_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_tensor *t = &d->plan->tensors[w->s->w];
    for (uint64_t i = from; i < to; i++) {
        float *y = row_of(d, w->s->dst, i, w->s->n);
        const char *row = table_row(d, w->s->w, (uint64_t)w->b->tok[i]);
        dtype_dequant(t->dtype, row, y, (size_t)t->cols);
        if (w->s->scale < 1 || w->s->scale > 1) d->vec->scale(y, y, w->s->scale, t->cols);
    }
}

void cpu_op_embed(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, embed_rows, 0});
}

#define PIECE 256 /* values dequantised at a time; a multiple of every block */

static void rowadd_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_tensor *t = &d->plan->tensors[w->s->w];
    const struct dtype_info *type = dtype_info(t->dtype);
    float piece[PIECE];
    for (uint64_t i = from; i < to; i++) {
        uint64_t row = w->s->u.rowadd.by_pos ? (uint64_t)w->b->pos[i] : 0;
        const char *data = table_row(d, w->s->w, row);
        const float *x = row_of(d, w->s->src, i, w->s->n);
        float *y = row_of(d, w->s->dst, i, w->s->n);
        ASSERT(row < t->rows);
        for (uint64_t c = 0; c < t->cols; c += PIECE) {
            uint64_t n = t->cols - c < PIECE ? t->cols - c : PIECE;
            dtype_dequant(t->dtype, data + c / type->elems * type->bytes, piece, (size_t)n);
            d->vec->add(y + c, x + c, piece, 1, n);
        }
    }
}

void cpu_op_rowadd(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, rowadd_rows, 0});
}

void cpu_op_gather(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n_out; i++)
        memcpy(row_of(d, s->dst, i, s->n), row_of(d, s->src, b->out[i], s->n),
               s->n * sizeof(float));
}

/* ---- norms: the weights span a group, or several, or the whole row ---- */

static uint32_t group_of(const struct plan_step *s)
{
    return s->group ? s->group : s->n;
}

static void rmsnorm_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint32_t group = group_of(w->s);
    const float *weight = cpu_small(d, w->s->w);
    uint64_t period = weight ? vector_floats(d, w->s->w) : 1;
    for (uint64_t i = from; i < to; i++)
        for (uint32_t g = 0; g < w->s->n; g += group)
            d->vec->rmsnorm(row_of(d, w->s->dst, i, w->s->n) + g,
                            row_of(d, w->s->src, i, w->s->n) + g,
                            weight ? weight + g % period : NULL, group, w->s->eps);
}

void cpu_op_rmsnorm(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, rmsnorm_rows, 0});
}

static void layernorm_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint32_t group = group_of(w->s);
    const float *weight = cpu_small(d, w->s->w), *bias = cpu_small(d, w->s->b);
    uint64_t period = weight ? vector_floats(d, w->s->w) : 1;
    uint64_t period_b = bias ? vector_floats(d, w->s->b) : 1;
    for (uint64_t i = from; i < to; i++) {
        for (uint32_t g = 0; g < w->s->n; g += group) {
            const float *wb[2] = {weight ? weight + g % period : NULL,
                                  bias ? bias + g % period_b : NULL};
            d->vec->layernorm(row_of(d, w->s->dst, i, w->s->n) + g,
                              row_of(d, w->s->src, i, w->s->n) + g, wb, group, w->s->eps);
        }
    }
}

void cpu_op_layernorm(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, layernorm_rows, 0});
}

static void l2norm_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint32_t group = group_of(w->s);
    for (uint64_t i = from; i < to; i++)
        for (uint32_t g = 0; g < w->s->n; g += group)
            d->vec->l2norm(row_of(d, w->s->dst, i, w->s->n) + g,
                           row_of(d, w->s->src, i, w->s->n) + g, group, w->s->eps);
}

void cpu_op_l2norm(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, l2norm_rows, 0});
}

/* ---- element by element ---- */

static void act_flat(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    uint64_t n, at = flat(w, from, to, &n);
    w->d->vec->act[w->s->act](w->d->reg[w->s->dst] + at, w->d->reg[w->s->src] + at, n);
}

void cpu_op_act(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_flat((struct cpu_work){d, s, b, act_flat, 0});
}

static void glu_flat(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    float *const *reg = w->d->reg;
    uint64_t n, at = flat(w, from, to, &n);
    w->d->vec->glu[w->s->act](reg[w->s->dst] + at, reg[w->s->src] + at, reg[w->s->src2] + at, n);
}

void cpu_op_glu(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_flat((struct cpu_work){d, s, b, glu_flat, 0});
}

static void add_flat(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    float *const *reg = w->d->reg;
    uint64_t n, at = flat(w, from, to, &n);
    w->d->vec->add(reg[w->s->dst] + at, reg[w->s->src] + at, reg[w->s->src2] + at, w->s->scale, n);
}

void cpu_op_add(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_flat((struct cpu_work){d, s, b, add_flat, 0});
}

static void scale_flat(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    uint64_t n, at = flat(w, from, to, &n);
    w->d->vec->scale(w->d->reg[w->s->dst] + at, w->d->reg[w->s->src] + at, w->s->scale, n);
}

void cpu_op_scale(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_flat((struct cpu_work){d, s, b, scale_flat, 0});
}

static void softcap_flat(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    uint64_t n, at = flat(w, from, to, &n);
    w->d->vec->softcap(w->d->reg[w->s->dst] + at, w->d->reg[w->s->src] + at, w->s->scale, n);
}

void cpu_op_softcap(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_flat((struct cpu_work){d, s, b, softcap_flat, 0});
}

static void clamp_flat(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    uint64_t n, at = flat(w, from, to, &n);
    w->d->vec->clamp(w->d->reg[w->s->dst] + at, w->d->reg[w->s->src] + at, w->s->scale, n);
}

void cpu_op_clamp(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_flat((struct cpu_work){d, s, b, clamp_flat, 0});
}

/* Columns of src2 or w, each over its share of the columns, or the vector again and again. */
static void mul_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_step *s = w->s;
    const float *weight = s->src2 == REG_NONE ? cpu_small(d, s->w) : NULL;
    uint32_t period = weight ? (uint32_t)vector_floats(d, s->w) : s->n_src2;
    uint32_t share = weight ? 1 : s->n / s->n_src2;
    for (uint64_t i = from; i < to; i++) {
        const float *x = row_of(d, s->src, i, s->n);
        float *y = row_of(d, s->dst, i, s->n);
        const float *by = weight ? weight : row_of(d, s->src2, i, s->n_src2);
        if (weight || share == 1)
            for (uint32_t c = 0; c < s->n; c += period)
                d->vec->mul(y + c, x + c, by, s->n - c < period ? s->n - c : period);
        else
            for (uint32_t c = 0; c < s->n_src2; c++)
                d->vec->scale(y + (uint64_t)c * share, x + (uint64_t)c * share, by[c], share);
    }
}

void cpu_op_mul(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, mul_rows, 0});
}

/* The deviation is that of a sample (n - 1). Two passes, as a difference of squares would cancel.
 */
static void topgauss_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint32_t n = w->s->n;
    for (uint64_t i = from; i < to; i++) {
        const float *x = row_of(d, w->s->src, i, n);
        float *y = row_of(d, w->s->dst, i, n);
        float mean = d->vec->sum(x, n) / (float)n;
        double var = 0;
        for (uint32_t c = 0; c < n; c++)
            var += (double)(x[c] - mean) * (double)(x[c] - mean);
        float least = mean + w->s->scale * (n > 1 ? (float)sqrt(var / (n - 1)) : 0);
        for (uint32_t c = 0; c < n; c++)
            y[c] = x[c] > least ? x[c] - least : 0;
    }
}

void cpu_op_topgauss(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, topgauss_rows, 0});
}

static void headsum_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint32_t n_head = w->s->n_head, dim = w->s->head_dim;
    for (uint64_t i = from; i < to; i++) {
        const float *x = row_of(d, w->s->src, i, (uint64_t)n_head * dim);
        float *y = row_of(d, w->s->dst, i, n_head);
        for (uint32_t h = 0; h < n_head; h++)
            y[h] = d->vec->sum(x + (uint64_t)h * dim, dim);
    }
}

void cpu_op_headsum(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, headsum_rows, 0});
}

static void cols_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_step *s = w->s;
    for (uint64_t i = from; i < to; i++) {
        const float *x = row_of(d, s->src, i, s->n_src) + s->u.cols.from;
        float *y = row_of(d, s->dst, i, s->n) + s->u.cols.to;
        for (uint32_t k = 0; k < s->n_head; k++)
            memcpy(y + (uint64_t)k * s->u.cols.to_stride, x + (uint64_t)k * s->u.cols.from_stride,
                   s->group * sizeof *y);
    }
}

void cpu_op_cols(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, cols_rows, 0});
}

static void lerp_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_step *s = w->s;
    const float *weight = cpu_small(d, s->w);
    for (uint64_t i = from; i < to; i++) {
        const float *by[2] = {weight, s->src3 == REG_NONE ? NULL : row_of(d, s->src3, i, s->n)};
        d->vec->lerp(row_of(d, s->dst, i, s->n), row_of(d, s->src, i, s->n),
                     row_of(d, s->src2, i, s->n), by, s->n);
    }
}

void cpu_op_lerp(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, lerp_rows, 0});
}

/* ---- rope ---- */

/* Units are rows times ropes. */
static void table_units(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct plan *p = w->d->plan;
    for (uint64_t u = from; u < to; u++) {
        uint64_t row = u / p->n_ropes, i = u % p->n_ropes;
        const struct plan_rope *r = &p->ropes[i];
        const struct batch_span *span = w->b->spans;
        while (row >= (uint64_t)span->first + span->n)
            span++;
        bool far = span->rope_long && r->freq_long;
        const float *freq = far ? r->freq_long : r->freq;
        double scale = (double)(far ? r->mscale_long : r->mscale), pos = w->b->pos[row];
        uint32_t half = r->n_rot / 2;
        float *c = w->d->tables[i].cos + row * half, *s = w->d->tables[i].sin + row * half;
        for (uint32_t j = 0; j < half; j++) {
            double angle = pos * (double)freq[j];
            c[j] = (float)(cos(angle) * scale);
            s[j] = (float)(sin(angle) * scale);
        }
    }
}

void cpu_rope_tables(struct dev *d, const struct batch *b)
{
    struct cpu_work w = {d, NULL, b, table_units, (uint64_t)b->n * d->plan->n_ropes};
    if (w.n) cpu_run(&w, w.n * d->plan->ropes[0].n_rot * 32); /* a sine costs some 30 ns */
}

static void rope_rows(const struct cpu_work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_rope *r = &d->plan->ropes[w->s->index];
    const struct cpu_table *t = &d->tables[w->s->index];
    uint32_t half = r->n_rot / 2;
    for (uint64_t i = from; i < to; i++) {
        const float *c = t->cos + i * half, *s = t->sin + i * half;
        float *x = row_of(d, w->s->dst, i, w->s->n) + w->s->u.rope.first;
        for (uint32_t h = 0; h < w->s->n_head; h++, x += w->s->head_dim) {
            if (r->pairs)
                d->vec->rope_pairs(x, c, s, half);
            else
                d->vec->rope_halves(x, c, s, half);
        }
    }
}

void cpu_op_rope(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    run_rows((struct cpu_work){d, s, b, rope_rows, 0});
}
