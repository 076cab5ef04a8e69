/* ref: life cycle and table of the back end that does every op by the plainest loop that is right.
 *
 * One allocation holds it all: registers, caches, states, float32 copies of the vectors, scratch;
 * carve() says where, and by the same figures how much. Registers are dense float32 matrices, rows
 * of as many columns as the step that writes them says. Registers that are written only at or after
 * the GATHER have rows for results only.
 *
 * Invariant: nothing is allocated between open and close. There is no speed here on purpose.
 */
#include "compute/ref/ref_int.h"

#include "base/mem.h"
#include "base/os.h"

#define ALIGN 64

/* ---- room: open() and bytes() read the same figures ---- */

/* Where the next piece goes. Only counts while `base` is NULL. Saturates, so that an absurd
 * configuration ends as "not enough memory". */
struct room {
    char *base;
    uint64_t at;
};

static uint64_t mul(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

static void *take(struct room *m, uint64_t count, uint64_t size)
{
    uint64_t bytes = mul(count, size), padded, at = m->at;
    if (__builtin_add_overflow(bytes, ALIGN - 1, &padded) ||
        __builtin_add_overflow(at, padded / ALIGN * ALIGN, &m->at))
        m->at = UINT64_MAX;
    return m->base ? m->base + at : NULL;
}

static uint32_t find_gather(const struct plan *p)
{
    uint32_t i = 0;
    while (i < p->n_steps && p->steps[i].op != OP_GATHER)
        i++;
    return i;
}

static void carve_registers(struct dev *d, const struct plan *p, struct room *m)
{
    bool early[REG_COUNT + 1] = {false}; /* written before the GATHER */
    for (uint32_t i = 0; i < find_gather(p); i++)
        early[p->steps[i].dst] = early[p->steps[i].dst2] = early[p->steps[i].dst3] = true;
    for (int r = 0; r < REG_COUNT; r++) {
        uint32_t rows = early[r] ? d->conf.max_batch : d->conf.max_out;
        d->reg[r] = take(m, mul(rows, p->width[r]), sizeof(float));
    }
}

static struct ref_cache carve_cache(const struct dev *d, enum dtype type, uint32_t n_head,
                                    uint32_t dim, struct room *m)
{
    struct ref_cache c = {.type = type, .n_head = n_head, .dim = dim};
    if (!dtype_row_bytes(type, dim, &c.row)) c.row = 0;
    uint64_t rows = mul(mul(d->conf.n_blocks, KV_BLOCK), n_head);
    c.at = take(m, rows, c.row);
    return c;
}

static void carve_caches(struct dev *d, const struct plan *p, struct room *m)
{
    d->k = take(m, p->n_caches, sizeof *d->k);
    d->v = take(m, p->n_caches, sizeof *d->v);
    for (uint32_t i = 0; i < p->n_caches; i++) {
        const struct plan_cache *c = &p->caches[i];
        struct ref_cache k = carve_cache(d, d->conf.ktype, c->n_head, c->k_dim, m);
        struct ref_cache v = carve_cache(d, d->conf.vtype, c->n_head, c->v_dim, m);
        if (!m->base) continue;
        d->k[i] = k;
        d->v[i] = v;
    }
}

static void carve_states(struct dev *d, const struct plan *p, struct room *m)
{
    uint64_t at = 0;
    d->state_at = take(m, p->n_states, sizeof *d->state_at);
    for (uint32_t i = 0; i < p->n_states; at += p->states[i++])
        if (m->base) d->state_at[i] = at;
    d->set = at;
    d->states = take(m, mul(d->conf.n_states, at), sizeof(float));
}

struct vectors {
    struct dev *d;
    const struct plan *p;
    struct room *m;
};

/* Matrices of one tensor: rows * cols values each. */
static uint64_t part_rows(const struct plan_tensor *t)
{
    return t->n_parts > 1 ? t->rows / t->n_parts : t->rows;
}

static void carve_vector(void *arg, int t)
{
    struct vectors *v = arg;
    const struct plan_tensor *pt = &v->p->tensors[t];
    if (v->m->base && v->d->vec[t]) return;
    float *out = take(v->m, mul(pt->rows, pt->cols), sizeof(float));
    if (!v->m->base) return;
    for (uint64_t r = 0; r < pt->rows; r++) {
        uint64_t part = r / part_rows(pt);
        ref_weight_row(v->d, t, (uint32_t)part, r - part * part_rows(pt), out + r * pt->cols);
    }
    v->d->vec[t] = out;
}

/* Columns of the longest row of anything. */
static uint64_t longest(const struct plan *p)
{
    uint64_t most = 1;
    for (int r = 0; r < REG_COUNT; r++)
        if (most < p->width[r]) most = p->width[r];
    for (uint32_t t = 0; t < p->n_tensors; t++)
        if (most < p->tensors[t].cols) most = p->tensors[t].cols;
    for (uint32_t i = 0; i < p->n_caches; i++) {
        if (most < p->caches[i].k_dim) most = p->caches[i].k_dim;
        if (most < p->caches[i].v_dim) most = p->caches[i].v_dim;
    }
    return most;
}

/* Places everything from `base` on; returns the bytes. */
static uint64_t carve(struct dev *d, const struct plan *p, char *base)
{
    struct room m = {.base = base};
    struct vectors v = {d, p, &m};
    uint64_t most = longest(p);
    carve_registers(d, p, &m);
    carve_caches(d, p, &m);
    carve_states(d, p, &m);
    for (int i = 0; i < 3; i++)
        d->tmp[i] = take(&m, most, sizeof(float));
    d->sum = take(&m, most, sizeof(double));
    d->taken = take(&m, most, sizeof(bool));
    d->scores = take(&m, mul(d->conf.n_blocks, KV_BLOCK), sizeof(double));
    d->vec = take(&m, p->n_tensors, sizeof *d->vec);
    plan_each_vector(p, carve_vector, &v);
    return m.at;
}

static uint64_t ref_bytes(const struct plan *p, const struct dev_conf *c)
{
    struct dev d = {.conf = *c};
    return carve(&d, p, NULL);
}

/* ---- life cycle ---- */

static bool has(enum op op, enum dtype w)
{
    if ((unsigned)op >= OP_COUNT || !ref_backend.op[op]) return false;
    if (plan_op_weights(op) == PLAN_W_NONE) return true;
    return (unsigned)w < DTYPE_COUNT && dtype_info(w)->dequant != NULL;
}

static bool kv_type(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_Q8_0 ||
           t == DTYPE_Q4_0;
}

static bool has_kv(enum dtype ktype, enum dtype vtype)
{
    return kv_type(ktype) && kv_type(vtype);
}

/* A head's row must be a whole number of blocks. */
static enum err check_caches(const struct plan *p, const struct dev_conf *c, struct err_info *e)
{
    uint64_t bytes;
    if (!has_kv(c->ktype, c->vtype))
        return ERR_FAIL(e, UNSUPPORTED,
                        "the reference back end keeps a cache of f32, f16, bf16, q8_0 or q4_0");
    for (uint32_t i = 0; i < p->n_caches; i++) {
        const uint32_t dim[2] = {p->caches[i].k_dim, p->caches[i].v_dim};
        const enum dtype type[2] = {c->ktype, c->vtype};
        for (int k = 0; k < 2; k++)
            if (!dtype_row_bytes(type[k], dim[k], &bytes))
                return ERR_FAIL(e, UNSUPPORTED,
                                "a KV cache of type %s needs heads of a multiple of %u columns, "
                                "and this model has %u: choose f16, bf16 or f32",
                                dtype_info(type[k])->name, dtype_info(type[k])->elems, dim[k]);
    }
    return ERR_OK;
}

static void ref_close(struct dev *d)
{
    if (!d) return;
    mem_free(d->memory);
    mem_free(d);
}

static enum err ref_open(struct dev **out, const struct plan *p, const struct dev_weight *w,
                         const struct dev_conf *c, struct err_info *e)
{
    *out = NULL;
    enum err err = check_caches(p, c, e);
    if (err) return err;
    const struct plan_step *bad = plan_unsupported(p, has);
    if (bad)
        return ERR_FAIL(e, UNSUPPORTED, "the reference back end cannot run the op %s of this model",
                        plan_op_name(bad->op));
    uint64_t bytes = ref_bytes(p, c);
    struct dev *d = mem_alloc(sizeof *d);
    if (d && bytes <= os_mem_total()) d->memory = mem_aligned(ALIGN, (size_t)bytes);
    if (!d || !d->memory) {
        ref_close(d);
        return ERR_FAIL(e, NOMEM,
                        "not enough memory: the model needs %llu bytes beside its weights",
                        (unsigned long long)bytes);
    }
    d->plan = p;
    d->w = w;
    d->conf = *c;
    d->gather = find_gather(p);
    carve(d, p, d->memory);
    *out = d;
    return ERR_OK;
}

/* ---- registers and tensors ---- */

uint32_t ref_rows(const struct dev *d, const struct plan_step *s, const struct batch *b)
{
    return (uint64_t)(s - d->plan->steps) >= d->gather ? b->n_out : b->n;
}

float *ref_row(const struct dev *d, enum plan_reg r, uint32_t n, uint64_t i)
{
    return d->reg[r] + i * n;
}

const float *ref_vector(const struct dev *d, int t)
{
    return t == PLAN_NO_TENSOR ? NULL : d->vec[t];
}

uint64_t ref_vector_len(const struct dev *d, int t)
{
    return t == PLAN_NO_TENSOR ? 1 : d->plan->tensors[t].rows * d->plan->tensors[t].cols;
}

void ref_weight_row(const struct dev *d, int t, uint32_t part, uint64_t r, float *out)
{
    const struct plan_tensor *pt = &d->plan->tensors[t];
    const struct dev_weight *w = &d->w[t];
    const struct dtype_info *type = dtype_info(pt->dtype);
    uint64_t row = pt->cols / type->elems * type->bytes;
    const char *at = w->parts ? w->parts[part] : (const char *)w->data + part * part_rows(pt) * row;
    dtype_dequant(pt->dtype, at + r * row, out, (size_t)pt->cols);
}

float ref_dot(const float *a, const float *b, uint64_t n)
{
    double sum = 0;
    for (uint64_t c = 0; c < n; c++)
        sum += (double)a[c] * b[c];
    return (float)sum;
}

/* ---- the table ---- */

static void ref_end(struct dev *d, const struct batch *b)
{
    (void)d;
    (void)b;
}

static const float *ref_result(struct dev *d, uint32_t i)
{
    return ref_row(d, d->plan->out, d->plan->width[d->plan->out], i);
}

static const float *reg(struct dev *d, enum plan_reg r)
{
    return d->reg[r];
}

static const char *describe(const struct dev *d)
{
    (void)d;
    return "scalar reference, 1 thread";
}

const struct backend ref_backend = {
    .name = "ref",
    .has = has,
    .has_kv = has_kv,
    .bytes = ref_bytes,
    .open = ref_open,
    .close = ref_close,
    .op =
        {
            [OP_EMBED] = ref_op_embed,
            [OP_ROWADD] = ref_op_rowadd,
            [OP_GATHER] = ref_op_gather,
            [OP_RMSNORM] = ref_op_rmsnorm,
            [OP_LAYERNORM] = ref_op_layernorm,
            [OP_L2NORM] = ref_op_l2norm,
            [OP_LINEAR] = ref_op_linear,
            [OP_HEADLIN] = ref_op_headlin,
            [OP_ROPE] = ref_op_rope,
            [OP_KVPUT] = ref_op_kvput,
            [OP_ATTN] = ref_op_attn,
            [OP_ACT] = ref_op_act,
            [OP_GLU] = ref_op_glu,
            [OP_ADD] = ref_op_add,
            [OP_MUL] = ref_op_mul,
            [OP_SCALE] = ref_op_scale,
            [OP_SOFTCAP] = ref_op_softcap,
            [OP_TOPGAUSS] = ref_op_topgauss,
            [OP_HEADSUM] = ref_op_headsum,
            [OP_CLAMP] = ref_op_clamp,
            [OP_COLS] = ref_op_cols,
            [OP_ROUTE] = ref_op_route,
            [OP_EXPERT] = ref_op_expert,
            [OP_MIX] = ref_op_mix,
            [OP_SHIFT] = ref_op_shift,
            [OP_LERP] = ref_op_lerp,
            [OP_CONV] = ref_op_conv,
            [OP_SCAN] = ref_op_scan,
            [OP_SCAN_HEADS] = ref_op_scan_heads,
            [OP_WKV6] = ref_op_wkv6,
            [OP_WKV7] = ref_op_wkv7,
            [OP_DELTA] = ref_op_delta,
            [OP_LINEAR2] = ref_op_linear2,
            [OP_LINEAR3] = ref_op_linear3,
            [OP_LINEAR_ADD] = ref_op_linear_add,
            [OP_LINEAR_GLU] = ref_op_linear_glu,
        },
    .begin = ref_recur_begin,
    .end = ref_end,
    .result = ref_result,
    .kv_copy = ref_kv_copy,
    .reg = reg,
    .describe = describe,
};
