/* cpu: opens, sizes and describes the CPU back end; the ops are in cpu_ops.c and cpu_attn.c.
 *
 * Everything a model needs beside its weights is one zeroed allocation, laid out by measure(),
 * which bytes() reads as well, so that what is announced is what is taken; the system gives its
 * pages as they are first written. Norm weights and biases are copied into it as float32, being
 * small and of any type and alignment in the file; matrices stay where they lie.
 */
#include "compute/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "compute/cpu/cpu_int.h"

/* ---- what there is ---- */

static const struct cpu_vec *const vectors[MAT_ISA_COUNT] = {
    [MAT_GENERIC] = &cpu_generic,
#if defined(__x86_64__)
    [MAT_AVX2] = &cpu_avx2,
    [MAT_AVX512] = &cpu_avx512,
#endif
};

static bool can_dequant(enum dtype t)
{
    return t < DTYPE_COUNT && dtype_info(t)->dequant != NULL;
}

static bool has(enum op op, enum dtype w)
{
    switch (op) {
    case OP_EMBED:
    case OP_RMSNORM: return can_dequant(w);
    case OP_LINEAR:
    case OP_LINEAR2:
    case OP_LINEAR3:
    case OP_LINEAR_ADD:
    case OP_LINEAR_GLU: return mat_has(w);
    case OP_COUNT: return false;
    default: return true;
    }
}

static bool has_kv(enum dtype ktype, enum dtype vtype)
{
    return (ktype == DTYPE_F32 || ktype == DTYPE_F16) && (vtype == DTYPE_F32 || vtype == DTYPE_F16);
}

/* ---- layout ---- */

/* Both saturate, so that an absurd configuration ends as "not enough memory". */
static uint64_t mul(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

/* Gives n bytes the next place; returns where. */
static uint64_t place(struct cpu_layout *l, uint64_t n)
{
    uint64_t at = l->total, padded;
    if (__builtin_add_overflow(n, CPU_LINE - 1, &padded) ||
        __builtin_add_overflow(at, padded / CPU_LINE * CPU_LINE, &l->total))
        l->total = UINT64_MAX / CPU_LINE * CPU_LINE;
    return at;
}

static struct cpu_cache cache_shape(enum dtype t, uint32_t dim, uint32_t width)
{
    struct cpu_cache c = {.type = t, .dim = dim, .width = width, .size = t == DTYPE_F16 ? 2 : 4};
    c.piece = (uint64_t)width * KV_BLOCK * c.size;
    return c;
}

static struct cpu_cache key_shape(const struct plan *p, const struct dev_conf *c)
{
    return cache_shape(c->ktype, p->meta->head_dim, p->meta->head_dim);
}

static struct cpu_cache value_shape(const struct plan *p, const struct dev_conf *c)
{
    return cache_shape(c->vtype, p->meta->head_dim_v, (p->meta->head_dim_v + 15) / 16 * 16);
}

/* Calls fn for every tensor used as a vector: norm weights and biases. */
static void each_small(const struct plan *p, void (*fn)(void *arg, int tensor), void *arg)
{
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        int t[4] = {s->op == OP_RMSNORM ? s->w : PLAN_NO_TENSOR, s->b, s->b2, s->b3};
        for (int k = 0; k < 4; k++)
            if (t[k] != PLAN_NO_TENSOR) fn(arg, t[k]);
    }
}

struct counted {
    const struct plan *p;
    uint64_t bytes;
};

static void count_small(void *arg, int tensor)
{
    struct counted *c = arg;
    const struct plan_tensor *t = &c->p->tensors[tensor];
    c->bytes += mul(t->rows * t->cols, sizeof(float));
}

static bool is_linear(enum op op)
{
    return op == OP_LINEAR || op == OP_LINEAR2 || op == OP_LINEAR3 || op == OP_LINEAR_ADD ||
           op == OP_LINEAR_GLU;
}

/* Scratch of products: mat's own, and the second product of a GLU that mat does not fuse. */
static void measure_products(struct cpu_layout *l, const struct plan *p, const struct dev_conf *c)
{
    uint64_t cols = 1, rows = 1, glu = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (!is_linear(s->op)) continue;
        int t[3] = {s->w, s->w2, s->w3};
        for (int k = 0; k < 3; k++) {
            if (t[k] == PLAN_NO_TENSOR) continue;
            if (cols < p->tensors[t[k]].cols) cols = p->tensors[t[k]].cols;
            if (rows < p->tensors[t[k]].rows) rows = p->tensors[t[k]].rows;
        }
        if (s->op == OP_LINEAR_GLU && s->act != ACT_SILU && glu < p->width[s->dst])
            glu = p->width[s->dst];
    }
    uint64_t n = c->max_batch > c->max_out ? c->max_batch : c->max_out;
    l->glu = place(l, mul(mul(n, glu), sizeof(float)));
    l->mat = place(l, mat_scratch_bytes(n, cols, rows, c->n_threads));
}

static struct cpu_layout measure(const struct plan *p, const struct dev_conf *c)
{
    struct cpu_layout l = {.total = CPU_LINE}; /* room to align the start */
    struct counted small = {p, 0};
    for (int r = 0; r < REG_COUNT; r++) {
        bool out = r == REG_O || r == REG_LOGITS;
        l.reg[r] = place(&l, mul(mul(out ? c->max_out : c->max_batch, p->width[r]), sizeof(float)));
    }
    uint64_t table = mul(mul(c->max_batch, p->n_rot / 2), sizeof(float));
    l.cos = place(&l, table);
    l.sin = place(&l, table);
    l.tiles = place(&l, mul(c->max_batch, sizeof(struct cpu_tile)));
    each_small(p, count_small, &small);
    /* First a pointer a tensor, then the vectors; one named by several steps counts several times.
     */
    l.small = place(&l, mul(p->n_tensors, sizeof(float *)));
    place(&l, small.bytes);
    measure_products(&l, p, c);
    l.attn_thread = cpu_attn_thread_bytes(p);
    l.attn = place(&l, mul(l.attn_thread, c->n_threads));
    l.part = place(&l, cpu_attn_part_bytes(p, c->n_threads));
    uint64_t pieces = mul(mul(p->meta->n_layer, c->n_blocks), p->meta->n_head_kv);
    l.k = place(&l, mul(pieces, key_shape(p, c).piece));
    l.v = place(&l, mul(pieces, value_shape(p, c).piece));
    return l;
}

static uint64_t bytes(const struct plan *p, const struct dev_conf *c)
{
    return measure(p, c).total + sizeof(struct dev);
}

/* ---- life cycle ---- */

static void cpu_close(struct dev *d)
{
    if (!d) return;
    pool_free(d->pool);
    mem_free(d->memory);
    mem_free(d);
}

struct filled {
    struct dev *d;
    float *next;
};

static void fill_small(void *arg, int tensor)
{
    struct filled *f = arg;
    const struct plan_tensor *t = &f->d->plan->tensors[tensor];
    if (f->d->small[tensor]) return;
    dtype_dequant(t->dtype, f->d->w[tensor].data, f->next, (size_t)(t->rows * t->cols));
    f->d->small[tensor] = f->next;
    f->next += t->rows * t->cols;
}

static void bind(struct dev *d, const struct cpu_layout *l)
{
    uintptr_t start = (uintptr_t)d->memory;
    char *base = d->memory + (CPU_LINE - start % CPU_LINE) % CPU_LINE - CPU_LINE;
    for (int r = 0; r < REG_COUNT; r++)
        d->reg[r] = d->plan->width[r] ? (float *)(void *)(base + l->reg[r]) : NULL;
    d->k = key_shape(d->plan, &d->conf);
    d->v = value_shape(d->plan, &d->conf);
    d->k.at = base + l->k;
    d->v.at = base + l->v;
    if (d->plan->n_rot) {
        d->cos = (float *)(void *)(base + l->cos);
        d->sin = (float *)(void *)(base + l->sin);
    }
    d->tiles = (struct cpu_tile *)(void *)(base + l->tiles);
    d->small = (const float **)(void *)(base + l->small);
    d->glu = (float *)(void *)(base + l->glu);
    d->mat = base + l->mat;
    d->attn = base + l->attn;
    d->attn_thread = l->attn_thread;
    d->part = (float *)(void *)(base + l->part);
    uint64_t table = mul(d->plan->n_tensors, sizeof(float *));
    uint64_t after = l->small + (table + CPU_LINE - 1) / CPU_LINE * CPU_LINE;
    struct filled f = {d, (float *)(void *)(base + after)};
    each_small(d->plan, fill_small, &f);
}

struct refused {
    const struct plan *p;
    int tensor;
};

static void check_small(void *arg, int tensor)
{
    struct refused *r = arg;
    if (!can_dequant(r->p->tensors[tensor].dtype)) r->tensor = tensor;
}

static enum err check(const struct plan *p, const struct dev_conf *c, struct err_info *e)
{
    if (!has_kv(c->ktype, c->vtype))
        return ERR_FAIL(e, UNSUPPORTED,
                        "the CPU back end keeps a cache of f32 or f16, not %s and %s",
                        dtype_info(c->ktype)->name, dtype_info(c->vtype)->name);
    const struct plan_step *s = plan_unsupported(p, has);
    if (s && s->w != PLAN_NO_TENSOR)
        return ERR_FAIL(e, UNSUPPORTED,
                        "the CPU back end has no %s for weights of type %s (tensor %.*s)",
                        plan_op_name(s->op), dtype_info(p->tensors[s->w].dtype)->name,
                        STR(p->tensors[s->w].name));
    if (s)
        return ERR_FAIL(e, UNSUPPORTED, "the CPU back end cannot run the op %s",
                        plan_op_name(s->op));
    struct refused r = {p, PLAN_NO_TENSOR};
    each_small(p, check_small, &r);
    if (r.tensor != PLAN_NO_TENSOR)
        return ERR_FAIL(e, UNSUPPORTED, "tensor %.*s has type %s, which cannot be read",
                        STR(p->tensors[r.tensor].name),
                        dtype_info(p->tensors[r.tensor].dtype)->name);
    return ERR_OK;
}

static enum err choose_isa(const char *name, enum mat_isa *isa, struct err_info *e)
{
    *isa = mat_best_isa();
    if (!name) return ERR_OK;
    for (int i = 0; i < MAT_ISA_COUNT; i++) {
        if (strcmp(name, mat_isa_name((enum mat_isa)i)) != 0) continue;
        if (i > (int)*isa)
            return ERR_FAIL(e, UNSUPPORTED, "this processor has no %s; it has %s", name,
                            mat_isa_name(*isa));
        *isa = (enum mat_isa)i;
        return ERR_OK;
    }
    return ERR_FAIL(e, INVALID, "no instruction set is called \"%s\": use generic, avx2 or avx512",
                    name);
}

static uint32_t tile_rows(const struct plan *p)
{
    uint32_t per_kv = p->meta->n_head / p->meta->n_head_kv;
    return per_kv < CPU_ROWS ? CPU_ROWS / per_kv : 1;
}

static enum err cpu_open(struct dev **out, const struct plan *p, const struct dev_weight *w,
                         const struct dev_conf *c, struct err_info *e)
{
    enum mat_isa isa;
    *out = NULL;
    enum err bad = check(p, c, e);
    if (!bad) bad = choose_isa(c->isa, &isa, e);
    if (bad) return bad;
    struct cpu_layout l = measure(p, c);
    struct dev *d = mem_alloc(sizeof *d);
    if (!d) return ERR_FAIL(e, NOMEM, "not enough memory to open a model");
    *d = (struct dev){.plan = p, .w = w, .conf = *c, .isa = isa, .vec = vectors[isa]};
    d->n_layer = p->meta->n_layer;
    d->n_head_kv = p->meta->n_head_kv;
    d->tile_rows = tile_rows(p);
    /* More than the machine has must fail here: its pages are given only when they are written. */
    d->memory = l.total <= os_mem_total() ? mem_alloc((size_t)l.total) : NULL;
    if (!d->memory) {
        cpu_close(d);
        return ERR_FAIL(e, NOMEM,
                        "not enough memory: the model needs %llu bytes beside its weights",
                        (unsigned long long)l.total);
    }
    bad = pool_new(&d->pool, c->n_threads, e);
    if (bad) {
        cpu_close(d);
        return bad;
    }
    bind(d, &l);
    snprintf(d->text, sizeof d->text, "%s, %u thread%s", d->vec->name, c->n_threads,
             c->n_threads == 1 ? "" : "s");
    *out = d;
    return ERR_OK;
}

/* ---- steps ---- */

static void begin(struct dev *d, const struct batch *b)
{
    cpu_rope_table(d, b);
    cpu_attn_begin(d, b);
}

static void end(struct dev *d, const struct batch *b)
{
    (void)d;
    (void)b;
}

static const float *logits(struct dev *d, uint32_t i)
{
    return d->reg[REG_LOGITS] + (uint64_t)i * d->plan->width[REG_LOGITS];
}

/* Keys lie by column, values by position. */
static void kv_copy(struct dev *d, uint32_t from, uint32_t to, uint32_t n)
{
    if (from == to || n == 0) return;
    for (uint32_t l = 0; l < d->n_layer; l++) {
        for (uint32_t h = 0; h < d->n_head_kv; h++) {
            const char *k = cpu_cache_at(d, &d->k, l, from, h);
            char *k2 = cpu_cache_at(d, &d->k, l, to, h);
            size_t row = (size_t)KV_BLOCK * d->k.size;
            for (uint32_t c = 0; c < d->k.dim; c++)
                memcpy(k2 + c * row, k + c * row, (size_t)n * d->k.size);
            memcpy(cpu_cache_at(d, &d->v, l, to, h), cpu_cache_at(d, &d->v, l, from, h),
                   (size_t)n * d->v.width * d->v.size);
        }
    }
}

static const char *describe(const struct dev *d)
{
    return d->text;
}

const struct backend cpu_backend = {
    .name = "cpu",
    .has = has,
    .has_kv = has_kv,
    .bytes = bytes,
    .open = cpu_open,
    .close = cpu_close,
    .op =
        {
            [OP_EMBED] = cpu_op_embed,
            [OP_RMSNORM] = cpu_op_rmsnorm,
            [OP_LINEAR] = cpu_op_linear,
            [OP_ROPE] = cpu_op_rope,
            [OP_KVPUT] = cpu_op_kvput,
            [OP_ATTN] = cpu_op_attn,
            [OP_GLU] = cpu_op_glu,
            [OP_ADD] = cpu_op_add,
            [OP_GATHER] = cpu_op_gather,
            [OP_LINEAR2] = cpu_op_linear2,
            [OP_LINEAR3] = cpu_op_linear3,
            [OP_LINEAR_ADD] = cpu_op_linear_add,
            [OP_LINEAR_GLU] = cpu_op_linear_glu,
        },
    .begin = begin,
    .end = end,
    .logits = logits,
    .kv_copy = kv_copy,
    .describe = describe,
};
