/* cpu_ops: the ops of the CPU back end but attention.
 *
 * An op over few values runs on the calling thread; from SPLIT values on, its rows (or flat ranges)
 * are shared out. RoPE reads cosines and sines from a table made once a step. Writing the cache
 * transposes keys (cpu_int.h says how they lie).
 */
#include "compute/cpu/cpu_int.h"

#include <math.h>
#include <string.h>

#define SPLIT 16384u /* values: about 3 us of work, ten times the cost of a job */

struct work {
    struct dev *d;
    const struct plan_step *s;
    const struct batch *b;
    void (*rows)(const struct work *w, uint64_t from, uint64_t to);
    uint64_t n; /* rows */
};

static void run_share(void *arg, uint32_t thread, uint32_t n_threads)
{
    const struct work *w = arg;
    uint64_t from, to;
    pool_share(w->n, 1, thread, n_threads, &from, &to);
    if (from < to) w->rows(w, from, to);
}

/* Runs w->rows over all n rows; `values` is what they hold together. */
static void run(struct work *w, uint64_t values)
{
    if (values >= SPLIT && w->n > 1)
        pool_run(w->d->pool, run_share, w);
    else if (w->n > 0)
        w->rows(w, 0, w->n);
}

static bool is_output(enum plan_reg r)
{
    return r == REG_O || r == REG_LOGITS;
}

/* Steps at or after GATHER work on the wanted rows only. */
static uint32_t rows_of(const struct plan_step *s, const struct batch *b)
{
    return is_output(s->dst) || is_output(s->src) ? b->n_out : b->n;
}

static float *row_of(const struct dev *d, enum plan_reg r, uint64_t i)
{
    return d->reg[r] + i * d->plan->width[r];
}

static const float *small(const struct dev *d, int t)
{
    return t == PLAN_NO_TENSOR ? NULL : d->small[t];
}

/* ---- rows ---- */

static void embed_rows(const struct work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    const struct plan_tensor *t = &d->plan->tensors[w->s->w];
    const struct dtype_info *type = dtype_info(t->dtype);
    uint64_t bytes = t->cols / type->elems * type->bytes;
    for (uint64_t i = from; i < to; i++) {
        float *y = row_of(d, w->s->dst, i);
        const char *row = (const char *)d->w[w->s->w].data + (uint64_t)w->b->tok[i] * bytes;
        dtype_dequant(t->dtype, row, y, (size_t)t->cols);
        d->vec->scale(y, y, w->s->scale, t->cols);
    }
}

void cpu_op_embed(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    struct work w = {d, s, b, embed_rows, b->n};
    run(&w, (uint64_t)b->n * d->plan->width[s->dst]);
}

/* The weight spans a group, or the whole row. */
static void rmsnorm_rows(const struct work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint32_t width = d->plan->width[w->s->dst], group = w->s->group ? w->s->group : width;
    const float *weight = small(d, w->s->w);
    uint64_t period = weight ? d->plan->tensors[w->s->w].cols : 1;
    for (uint64_t i = from; i < to; i++)
        for (uint32_t g = 0; g < width; g += group)
            d->vec->rmsnorm(row_of(d, w->s->dst, i) + g, row_of(d, w->s->src, i) + g,
                            weight ? weight + g % period : NULL, group, w->s->eps);
}

void cpu_op_rmsnorm(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    struct work w = {d, s, b, rmsnorm_rows, rows_of(s, b)};
    run(&w, w.n * d->plan->width[s->dst]);
}

static void glu_rows(const struct work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint64_t width = d->plan->width[w->s->dst];
    d->vec->glu[w->s->act](row_of(d, w->s->dst, from), row_of(d, w->s->src, from),
                           row_of(d, w->s->src2, from), (to - from) * width);
}

void cpu_op_glu(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    struct work w = {d, s, b, glu_rows, rows_of(s, b)};
    run(&w, w.n * d->plan->width[s->dst]);
}

static void add_rows(const struct work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint64_t width = d->plan->width[w->s->dst];
    d->vec->add(row_of(d, w->s->dst, from), row_of(d, w->s->src, from), row_of(d, w->s->src2, from),
                (to - from) * width);
}

void cpu_op_add(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    struct work w = {d, s, b, add_rows, rows_of(s, b)};
    run(&w, w.n * d->plan->width[s->dst]);
}

void cpu_op_gather(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    size_t bytes = d->plan->width[s->dst] * sizeof(float);
    for (uint32_t i = 0; i < b->n_out; i++)
        memcpy(row_of(d, s->dst, i), row_of(d, s->src, b->out[i]), bytes);
}

/* ---- rope ---- */

static void table_rows(const struct work *w, uint64_t from, uint64_t to)
{
    const struct plan *p = w->d->plan;
    uint32_t half = p->n_rot / 2;
    for (uint64_t i = from; i < to; i++) {
        for (uint32_t j = 0; j < half; j++) {
            double angle = (double)w->b->pos[i] * (double)p->rope_freq[j];
            w->d->cos[i * half + j] = (float)(cos(angle) * (double)p->rope_mscale);
            w->d->sin[i * half + j] = (float)(sin(angle) * (double)p->rope_mscale);
        }
    }
}

void cpu_rope_table(struct dev *d, const struct batch *b)
{
    struct work w = {d, NULL, b, table_rows, b->n};
    if (d->cos) run(&w, (uint64_t)b->n * d->plan->n_rot * 32); /* a sine costs some 30 ns */
}

static void rope_rows(const struct work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint32_t half = d->plan->n_rot / 2;
    for (uint64_t i = from; i < to; i++) {
        const float *c = d->cos + i * half, *s = d->sin + i * half;
        float *x = row_of(d, w->s->dst, i);
        for (uint32_t h = 0; h < w->s->n_head; h++, x += w->s->head_dim) {
            if (d->plan->rope_pairs)
                d->vec->rope_pairs(x, c, s, half);
            else
                d->vec->rope_halves(x, c, s, half);
        }
    }
}

void cpu_op_rope(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    struct work w = {d, s, b, rope_rows, b->n};
    run(&w, w.n * d->plan->width[s->dst]);
}

/* ---- cache ---- */

void *cpu_cache_at(const struct dev *d, const struct cpu_cache *c, uint32_t layer, uint32_t block,
                   uint32_t head)
{
    uint64_t i = ((uint64_t)layer * d->conf.n_blocks + block) * d->n_head_kv + head;
    return c->at + i * c->piece;
}

static void put_key(const struct dev *d, void *piece, uint32_t at, const float *k)
{
    uint16_t half[256];
    for (uint32_t c = 0; c < d->k.dim; c += 256) {
        uint32_t n = d->k.dim - c < 256 ? d->k.dim - c : 256;
        if (d->k.type == DTYPE_F32) {
            float *out = (float *)piece + (size_t)c * KV_BLOCK + at;
            for (uint32_t i = 0; i < n; i++)
                out[(size_t)i * KV_BLOCK] = k[c + i];
        } else {
            uint16_t *out = (uint16_t *)piece + (size_t)c * KV_BLOCK + at;
            d->vec->to_f16(half, k + c, n);
            for (uint32_t i = 0; i < n; i++)
                out[(size_t)i * KV_BLOCK] = half[i];
        }
    }
}

static void put_value(const struct dev *d, void *piece, uint32_t at, const float *v)
{
    size_t first = (size_t)at * d->v.width;
    if (d->v.type == DTYPE_F32)
        memcpy((float *)piece + first, v, d->v.dim * sizeof *v);
    else
        d->vec->to_f16((uint16_t *)piece + first, v, d->v.dim);
}

/* Units are tiles times kv heads: one thread writes the consecutive positions of a head. */
static void kvput_units(const struct work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint32_t layer = (uint32_t)w->s->layer;
    for (uint64_t u = from; u < to; u++) {
        const struct cpu_tile *t = &d->tiles[u / d->n_head_kv];
        const struct batch_span *span = &w->b->spans[t->span];
        uint32_t head = (uint32_t)(u % d->n_head_kv);
        for (uint32_t i = t->first; i < t->first + t->n; i++) {
            uint32_t pos = span->pos + i, block = span->blocks[pos / KV_BLOCK];
            const float *k = row_of(d, w->s->src, span->first + i) + (size_t)head * d->k.dim;
            const float *v = row_of(d, w->s->src2, span->first + i) + (size_t)head * d->v.dim;
            put_key(d, cpu_cache_at(d, &d->k, layer, block, head), pos % KV_BLOCK, k);
            put_value(d, cpu_cache_at(d, &d->v, layer, block, head), pos % KV_BLOCK, v);
        }
    }
}

void cpu_op_kvput(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    struct work w = {d, s, b, kvput_units, (uint64_t)d->n_tiles * d->n_head_kv};
    run(&w, (uint64_t)b->n * d->n_head_kv * (d->k.dim + d->v.dim));
}

/* ---- products ---- */

static struct mat_weight weight(const struct dev *d, int w, int b, enum plan_reg dst)
{
    const struct plan_tensor *t = &d->plan->tensors[w];
    return (struct mat_weight){.dtype = t->dtype,
                               .w = d->w[w].data,
                               .rows = t->rows,
                               .bias = small(d, b),
                               .y = d->reg[dst],
                               .y_stride = d->plan->width[dst]};
}

/* The first n_w weights of the step, all of one source. */
static void product(struct dev *d, const struct plan_step *s, const struct batch *b, uint32_t n_w,
                    enum mat_epilogue epilogue)
{
    struct mat_call c = {.x = d->reg[s->src],
                         .n = rows_of(s, b),
                         .cols = d->plan->tensors[s->w].cols,
                         .n_w = n_w,
                         .epilogue = epilogue,
                         .scratch = d->mat};
    if (c.n == 0) return;
    c.w[0] = weight(d, s->w, s->b, s->dst);
    if (n_w > 1) c.w[1] = weight(d, s->w2, s->b2, s->dst2);
    if (n_w > 2) c.w[2] = weight(d, s->w3, s->b3, s->dst3);
    mat_run(d->pool, d->isa, &c);
}

void cpu_op_linear(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, 1, MAT_STORE);
}

void cpu_op_linear2(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, 2, MAT_STORE);
}

void cpu_op_linear3(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, 3, MAT_STORE);
}

void cpu_op_linear_add(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    product(d, s, b, 1, MAT_ADD);
}

static void glu_kept_rows(const struct work *w, uint64_t from, uint64_t to)
{
    const struct dev *d = w->d;
    uint64_t width = d->plan->width[w->s->dst];
    float *y = row_of(d, w->s->dst, from);
    d->vec->glu[w->s->act](y, y, d->glu + from * width, (to - from) * width);
}

void cpu_op_linear_glu(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint64_t n = rows_of(s, b), width = d->plan->width[s->dst];
    struct mat_call c = {.x = d->reg[s->src],
                         .n = n,
                         .cols = d->plan->tensors[s->w].cols,
                         .n_w = 2,
                         .epilogue = s->act == ACT_SILU ? MAT_SILU_MUL : MAT_STORE,
                         .scratch = d->mat};
    if (n == 0) return;
    c.w[0] = weight(d, s->w, s->b, s->dst);
    c.w[1] = weight(d, s->w2, s->b2, s->dst);
    if (s->act != ACT_SILU) c.w[1].y = d->glu;
    mat_run(d->pool, d->isa, &c);
    if (s->act == ACT_SILU) return;
    struct work w = {d, s, b, glu_kept_rows, n};
    run(&w, n * width);
}
