/* cpu: opens, sizes and describes the CPU back end; the ops are in its other files (cpu_int.h).
 *
 * Everything a model needs beside its weights is one zeroed allocation, laid out by measure(),
 * which bytes() reads as well, so that what is announced is what is taken; the system gives its
 * pages as they are first written. Norm weights, biases and the like are copied into it as float32,
 * being small and of any type and alignment in the file; matrices stay where they lie.
 *
 * Rows of a batch do not depend on one another nor on the number of threads, bit for bit, but for
 * products: mat.h says how those round.
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
#if defined(__aarch64__)
    [MAT_NEON] = &cpu_neon,
    [MAT_DOTPROD] = &cpu_neon,
#elif defined(__x86_64__)
    [MAT_AVX2] = &cpu_avx2,
    [MAT_AVX512] = &cpu_avx512,
#endif
};

const struct cpu_vec *cpu_vec_of(enum mat_isa isa)
{
    return vectors[isa];
}

static bool can_dequant(enum dtype t)
{
    return (unsigned)t < DTYPE_COUNT && dtype_info(t)->dequant != NULL;
}

static bool has(enum op op, enum dtype w)
{
    if ((unsigned)op >= OP_COUNT) return false;
    switch (plan_op_weights(op)) {
    case PLAN_W_NONE: return true;
    case PLAN_W_MAT: return mat_has(w);
    case PLAN_W_VEC:
    case PLAN_W_ROWS: return can_dequant(w);
    }
    return false;
}

/* ---- layout ---- */

uint64_t cpu_mul(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

uint64_t cpu_place(struct cpu_layout *l, uint64_t n)
{
    uint64_t at = l->total, padded;
    if (__builtin_add_overflow(n, CPU_LINE - 1, &padded) ||
        __builtin_add_overflow(at, padded / CPU_LINE * CPU_LINE, &l->total))
        l->total = UINT64_MAX / CPU_LINE * CPU_LINE;
    return at;
}

struct counted {
    const struct plan *p;
    uint64_t floats;
};

static void count_small(void *arg, int tensor)
{
    struct counted *c = arg;
    const struct plan_tensor *t = &c->p->tensors[tensor];
    uint64_t n = cpu_mul(t->rows, t->cols);
    if (__builtin_add_overflow(c->floats, n, &c->floats)) c->floats = UINT64_MAX;
}

/* cos and sin of every rope, one after the other, each of max_batch rows. */
static uint64_t table_floats(const struct plan *p, const struct dev_conf *c)
{
    uint64_t columns = 0;
    for (uint32_t i = 0; i < p->n_ropes; i++)
        columns += p->ropes[i].n_rot / 2 * (uint64_t)2;
    return cpu_mul(columns, c->max_batch);
}

static struct cpu_layout measure(const struct plan *p, const struct dev_conf *c)
{
    struct cpu_layout l = {.total = CPU_LINE}; /* room to align the start */
    struct counted small = {p, 0};
    uint64_t rows = c->max_batch > c->max_out ? c->max_batch : c->max_out;
    for (int r = 0; r < REG_COUNT; r++) {
        bool out = r == REG_O || r == REG_LOGITS;
        l.reg[r] =
            cpu_place(&l, cpu_mul(cpu_mul(out ? c->max_out : rows, p->width[r]), sizeof(float)));
    }
    l.tables = cpu_place(&l, cpu_mul(p->n_ropes, sizeof(struct cpu_table)));
    l.table = cpu_place(&l, cpu_mul(table_floats(p, c), sizeof(float)));
    l.states = cpu_place(&l, cpu_mul(cpu_mul(plan_state_floats(p), c->n_states), sizeof(float)));
    l.state_at = cpu_place(&l, cpu_mul(p->n_states, sizeof(uint64_t)));
    /* A vector named by several steps counts several times. */
    plan_each_vector(p, count_small, &small);
    l.small = cpu_place(&l, cpu_mul(p->n_tensors, sizeof(float *)));
    l.floats = cpu_place(&l, cpu_mul(small.floats, sizeof(float)));
    cpu_product_measure(&l, p, c);
    cpu_kv_measure(&l, p, c);
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
    const struct dev_weight *w = &f->d->w[tensor];
    uint64_t n = t->rows * t->cols;
    if (f->d->small[tensor]) return;
    if (w->parts) {
        uint64_t each = n / t->n_parts;
        for (uint32_t i = 0; i < t->n_parts; i++)
            dtype_dequant(t->dtype, w->parts[i], f->next + i * each, (size_t)each);
    } else {
        dtype_dequant(t->dtype, w->data, f->next, (size_t)n);
    }
    f->d->small[tensor] = f->next;
    f->next += n;
}

static void bind_tables(struct dev *d, const struct cpu_layout *l, char *base)
{
    float *at = (float *)(void *)(base + l->table);
    d->tables = (struct cpu_table *)(void *)(base + l->tables);
    for (uint32_t i = 0; i < d->plan->n_ropes; i++) {
        uint64_t floats = (uint64_t)d->plan->ropes[i].n_rot / 2 * d->conf.max_batch;
        d->tables[i] = (struct cpu_table){at, at + floats};
        at += 2 * floats;
    }
}

static void bind_states(struct dev *d, const struct cpu_layout *l, char *base)
{
    d->states = (float *)(void *)(base + l->states);
    d->state_at = (uint64_t *)(void *)(base + l->state_at);
    for (uint32_t i = 0; i < d->plan->n_states; i++) {
        d->state_at[i] = d->state_floats;
        d->state_floats += d->plan->states[i];
    }
}

static void bind(struct dev *d, const struct cpu_layout *l)
{
    uintptr_t start = (uintptr_t)d->memory;
    char *base = d->memory + (CPU_LINE - start % CPU_LINE) % CPU_LINE - CPU_LINE;
    for (int r = 0; r < REG_COUNT; r++)
        d->reg[r] = d->plan->width[r] ? (float *)(void *)(base + l->reg[r]) : NULL;
    bind_tables(d, l, base);
    bind_states(d, l, base);
    d->small = (const float **)(void *)(base + l->small);
    d->glu = (float *)(void *)(base + l->glu);
    d->mat = base + l->mat;
    cpu_kv_bind(d, l, base);
    struct filled f = {d, (float *)(void *)(base + l->floats)};
    plan_each_vector(d->plan, fill_small, &f);
    for (uint32_t i = 0; i < d->plan->n_steps && !d->gather; i++)
        if (d->plan->steps[i].op == OP_GATHER) d->gather = &d->plan->steps[i];
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

/* What the fixed arrays of some ops hold. */
static enum err check_sizes(const struct plan *p, struct err_info *e)
{
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->op == OP_CONV && p->tensors[s->w].cols > CPU_TAPS)
            return ERR_FAIL(e, UNSUPPORTED,
                            "the CPU back end has no convolution over %llu rows (tensor %.*s); %d "
                            "is the most",
                            (unsigned long long)p->tensors[s->w].cols, STR(p->tensors[s->w].name),
                            CPU_TAPS);
        if (s->op == OP_ROUTE && s->n_src > CPU_EXPERTS)
            return ERR_FAIL(e, UNSUPPORTED,
                            "the CPU back end chooses among at most %d experts, not %u",
                            CPU_EXPERTS, s->n_src);
    }
    return ERR_OK;
}

static enum err check(const struct plan *p, const struct dev_conf *c, struct err_info *e)
{
    enum err bad = cpu_kv_check(p, c, e);
    if (bad) return bad;
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
    plan_each_vector(p, check_small, &r);
    if (r.tensor != PLAN_NO_TENSOR)
        return ERR_FAIL(e, UNSUPPORTED, "tensor %.*s has type %s, which cannot be read",
                        STR(p->tensors[r.tensor].name),
                        dtype_info(p->tensors[r.tensor].dtype)->name);
    return check_sizes(p, e);
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
    return ERR_FAIL(e, INVALID, "no instruction set is called \"%s\": use generic or %s", name,
                    mat_isa_name(mat_best_isa()));
}

/* The vector functions' name says more where mat's half needs more than they do. */
static const char *isa_text(const struct dev *d)
{
    const char *mat = mat_isa_name(d->isa);
    return strlen(mat) > strlen(d->vec->name) ? mat : d->vec->name;
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
    snprintf(d->text, sizeof d->text, "%s, %u thread%s", isa_text(d), c->n_threads,
             c->n_threads == 1 ? "" : "s");
    *out = d;
    return ERR_OK;
}

/* ---- steps ---- */

static void begin(struct dev *d, const struct batch *b)
{
    cpu_rope_tables(d, b);
    cpu_kv_begin(d, b);
}

static void end(struct dev *d, const struct batch *b)
{
    (void)d;
    (void)b;
}

static const float *result(struct dev *d, uint32_t i)
{
    return d->reg[d->plan->out] + (uint64_t)i * d->plan->width[d->plan->out];
}

static const float *reg(struct dev *d, enum plan_reg r)
{
    return d->reg[r];
}

static const char *describe(const struct dev *d)
{
    return d->text;
}

const struct backend cpu_backend = {
    .name = "cpu",
    .has = has,
    .has_kv = cpu_kv_has,
    .bytes = bytes,
    .open = cpu_open,
    .close = cpu_close,
    .op =
        {
            [OP_EMBED] = cpu_op_embed,
            [OP_ROWADD] = cpu_op_rowadd,
            [OP_GATHER] = cpu_op_gather,
            [OP_RMSNORM] = cpu_op_rmsnorm,
            [OP_LAYERNORM] = cpu_op_layernorm,
            [OP_L2NORM] = cpu_op_l2norm,
            [OP_LINEAR] = cpu_op_linear,
            [OP_HEADLIN] = cpu_op_headlin,
            [OP_ROPE] = cpu_op_rope,
            [OP_KVPUT] = cpu_op_kvput,
            [OP_ATTN] = cpu_op_attn,
            [OP_ACT] = cpu_op_act,
            [OP_GLU] = cpu_op_glu,
            [OP_ADD] = cpu_op_add,
            [OP_MUL] = cpu_op_mul,
            [OP_SCALE] = cpu_op_scale,
            [OP_SOFTCAP] = cpu_op_softcap,
            [OP_TOPGAUSS] = cpu_op_topgauss,
            [OP_HEADSUM] = cpu_op_headsum,
            [OP_CLAMP] = cpu_op_clamp,
            [OP_COLS] = cpu_op_cols,
            [OP_ROUTE] = cpu_op_route,
            [OP_EXPERT] = cpu_op_expert,
            [OP_MIX] = cpu_op_mix,
            [OP_SHIFT] = cpu_op_shift,
            [OP_LERP] = cpu_op_lerp,
            [OP_CONV] = cpu_op_conv,
            [OP_SCAN] = cpu_op_scan,
            [OP_SCAN_HEADS] = cpu_op_scan_heads,
            [OP_WKV6] = cpu_op_wkv6,
            [OP_WKV7] = cpu_op_wkv7,
            [OP_DELTA] = cpu_op_delta,
            [OP_LINEAR2] = cpu_op_linear2,
            [OP_LINEAR3] = cpu_op_linear3,
            [OP_LINEAR_ADD] = cpu_op_linear_add,
            [OP_LINEAR_GLU] = cpu_op_linear_glu,
        },
    .begin = begin,
    .end = end,
    .result = result,
    .kv_copy = cpu_kv_copy,
    .reg = reg,
    .describe = describe,
};
