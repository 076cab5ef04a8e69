/* ref: every op of a plan as the plainest loop that is right.
 *
 * Registers are dense float32 matrices, one row of `plan.width[reg]` columns a row of the batch. A
 * weight row is dequantised to float32 and multiplied with every row of the batch, products summed
 * in double. The cache is [layer][block][position][kv head][head_dim], keys and values apart. Fused
 * ops call their parts. Invariant: nothing is allocated between open and close, and a row's result
 * is bitwise the same in any batch. There is no speed here on purpose.
 */
#include "compute/ref/ref.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"

struct cache {
    enum dtype type;
    uint32_t width; /* values of one position: n_head_kv * head dimension */
    union {
        void *p;
        float *f32;
        uint16_t *f16;
    } at; /* [n_layer][n_blocks][KV_BLOCK][width] */
};

struct dev {
    const struct plan *plan;
    const struct dev_weight *w;
    struct dev_conf conf;
    float *reg[REG_COUNT]; /* [rows][width] */
    struct cache k, v;
    float *row;     /* one dequantised weight row [max_row] */
    float *aux;     /* a dequantised vector: bias or norm weight [max_row] */
    double *scores; /* [n_blocks * KV_BLOCK] */
};

/* ---- sizes: open() and bytes() read the same figures ---- */

struct sizes {
    uint64_t reg[REG_COUNT];
    uint64_t k, v, row, scores; /* bytes */
    uint64_t total;
};

/* Saturates, so that an absurd configuration ends as "not enough memory". */
static uint64_t mul(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static uint64_t kv_bytes(const struct plan *p, const struct dev_conf *c, enum dtype t, uint32_t dim)
{
    uint64_t positions = mul(mul(p->meta->n_layer, c->n_blocks), KV_BLOCK);
    return mul(mul(positions, (uint64_t)p->meta->n_head_kv * dim), t == DTYPE_F16 ? 2 : 4);
}

static bool is_output(enum plan_reg r)
{
    return r == REG_O || r == REG_LOGITS;
}

static struct sizes measure(const struct plan *p, const struct dev_conf *c)
{
    struct sizes z = {0};
    uint64_t longest = 1;
    for (int r = 0; r < REG_COUNT; r++) {
        uint64_t rows = is_output((enum plan_reg)r) ? c->max_out : c->max_batch;
        z.reg[r] = mul(mul(rows, p->width[r]), sizeof(float));
        z.total = add(z.total, z.reg[r]);
        if (longest < p->width[r]) longest = p->width[r];
    }
    for (uint32_t t = 0; t < p->n_tensors; t++)
        if (longest < p->tensors[t].cols) longest = p->tensors[t].cols;
    z.k = kv_bytes(p, c, c->ktype, p->meta->head_dim);
    z.v = kv_bytes(p, c, c->vtype, p->meta->head_dim_v);
    z.row = mul(longest, sizeof(float));
    z.scores = mul(mul(c->n_blocks, KV_BLOCK), sizeof(double));
    z.total = add(add(z.total, add(z.k, z.v)), add(mul(2, z.row), z.scores));
    return z;
}

static uint64_t bytes(const struct plan *p, const struct dev_conf *c)
{
    return measure(p, c).total;
}

/* ---- life cycle ---- */

static bool has(enum op op, enum dtype w)
{
    switch (op) {
    case OP_ROPE:
    case OP_KVPUT:
    case OP_ATTN:
    case OP_GLU:
    case OP_ADD:
    case OP_GATHER: return true;
    case OP_COUNT: return false;
    default: return w < DTYPE_COUNT && dtype_info(w)->dequant != NULL;
    }
}

static bool has_kv(enum dtype ktype, enum dtype vtype)
{
    return (ktype == DTYPE_F32 || ktype == DTYPE_F16) && (vtype == DTYPE_F32 || vtype == DTYPE_F16);
}

static void ref_close(struct dev *d)
{
    if (!d) return;
    for (int r = 0; r < REG_COUNT; r++)
        mem_free(d->reg[r]);
    mem_free(d->k.at.p);
    mem_free(d->v.at.p);
    mem_free(d->row);
    mem_free(d->aux);
    mem_free(d->scores);
    mem_free(d);
}

/* Nothing asked for is nothing given: NULL with a size of 0 is no failure. */
static bool take(void **out, uint64_t n)
{
    *out = n > 0 && n <= SIZE_MAX ? mem_alloc((size_t)n) : NULL;
    return *out || n == 0;
}

static bool take_all(struct dev *d, const struct sizes *z)
{
    bool good = true;
    for (int r = 0; r < REG_COUNT; r++)
        good = good && take((void **)&d->reg[r], z->reg[r]);
    return good && take(&d->k.at.p, z->k) && take(&d->v.at.p, z->v) &&
           take((void **)&d->row, z->row) && take((void **)&d->aux, z->row) &&
           take((void **)&d->scores, z->scores);
}

static enum err ref_open(struct dev **out, const struct plan *p, const struct dev_weight *w,
                         const struct dev_conf *c, struct err_info *e)
{
    *out = NULL;
    if (!has_kv(c->ktype, c->vtype))
        return ERR_FAIL(e, UNSUPPORTED, "the reference back end keeps a cache of f32 or f16 only");
    const struct plan_step *bad = plan_unsupported(p, has);
    if (bad)
        return ERR_FAIL(e, UNSUPPORTED, "the reference back end cannot run the op %s of this model",
                        plan_op_name(bad->op));
    struct sizes z = measure(p, c);
    struct dev *d = mem_alloc(sizeof *d);
    if (!d || z.total > os_mem_total() || !take_all(d, &z)) {
        ref_close(d);
        return ERR_FAIL(e, NOMEM,
                        "not enough memory: the model needs %llu bytes beside its weights",
                        (unsigned long long)z.total);
    }
    d->plan = p;
    d->w = w;
    d->conf = *c;
    d->k.type = c->ktype;
    d->k.width = p->meta->n_head_kv * p->meta->head_dim;
    d->v.type = c->vtype;
    d->v.width = p->meta->n_head_kv * p->meta->head_dim_v;
    *out = d;
    return ERR_OK;
}

/* ---- registers and tensors ---- */

static float *row_of(const struct dev *d, enum plan_reg r, uint64_t i)
{
    return d->reg[r] + i * d->plan->width[r];
}

/* Steps at or after GATHER work on the wanted rows only. */
static uint32_t rows_of(const struct plan_step *s, const struct batch *b)
{
    return is_output(s->dst) || is_output(s->src) ? b->n_out : b->n;
}

/* Row r of tensor t as float32. */
static void weight_row(const struct dev *d, int t, uint64_t r, float *out)
{
    const struct plan_tensor *pt = &d->plan->tensors[t];
    const struct dtype_info *type = dtype_info(pt->dtype);
    uint64_t bytes_row = pt->cols / type->elems * type->bytes;
    dtype_dequant(pt->dtype, (const char *)d->w[t].data + r * bytes_row, out, (size_t)pt->cols);
}

/* A vector kept as a tensor (bias, norm weight): its one row, or NULL where there is none. */
static const float *vector(struct dev *d, int t)
{
    if (t == PLAN_NO_TENSOR) return NULL;
    weight_row(d, t, 0, d->aux);
    return d->aux;
}

/* ---- ops ---- */

static void op_embed(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        float *y = row_of(d, s->dst, i);
        weight_row(d, s->w, (uint64_t)b->tok[i], y);
        for (uint32_t c = 0; c < d->plan->width[s->dst]; c++)
            y[c] *= s->scale;
    }
}

/* Root mean square normalisation (Zhang and Sennrich 2019), each group of columns by itself. The
 * weight spans a group, or the whole row. */
static void op_rmsnorm(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint32_t width = d->plan->width[s->dst];
    uint32_t group = s->group ? s->group : width;
    const float *w = vector(d, s->w);
    uint64_t period = w ? d->plan->tensors[s->w].cols : 1;
    for (uint32_t i = 0; i < rows_of(s, b); i++) {
        for (uint32_t g = 0; g < width; g += group) {
            const float *x = row_of(d, s->src, i) + g;
            float *y = row_of(d, s->dst, i) + g;
            double sum = 0;
            for (uint32_t c = 0; c < group; c++)
                sum += (double)x[c] * x[c];
            double inv = 1.0 / sqrt(sum / group + s->eps);
            for (uint32_t c = 0; c < group; c++)
                y[c] = (float)(x[c] * inv * (w ? w[(g + c) % period] : 1.0f));
        }
    }
}

static float dot(const float *a, const float *b, uint64_t n)
{
    double sum = 0;
    for (uint64_t c = 0; c < n; c++)
        sum += (double)a[c] * b[c];
    return (float)sum;
}

/* dst = w src (+ b), or dst += with `onto`. */
static void linear(struct dev *d, enum plan_reg dst, enum plan_reg src, const int wb[2], uint32_t n,
                   bool onto)
{
    const struct plan_tensor *t = &d->plan->tensors[wb[0]];
    const float *bias = vector(d, wb[1]);
    for (uint64_t r = 0; r < t->rows; r++) {
        weight_row(d, wb[0], r, d->row);
        for (uint32_t i = 0; i < n; i++) {
            float *y = row_of(d, dst, i) + r;
            float v = dot(d->row, row_of(d, src, i), t->cols) + (bias ? bias[r] : 0.0f);
            *y = onto ? *y + v : v;
        }
    }
}

static void op_linear(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    linear(d, s->dst, s->src, (int[]){s->w, s->b}, rows_of(s, b), false);
}

static void op_linear2(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    op_linear(d, s, b);
    linear(d, s->dst2, s->src, (int[]){s->w2, s->b2}, rows_of(s, b), false);
}

static void op_linear3(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    op_linear2(d, s, b);
    linear(d, s->dst3, s->src, (int[]){s->w3, s->b3}, rows_of(s, b), false);
}

static void op_linear_add(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    linear(d, s->dst, s->src, (int[]){s->w, s->b}, rows_of(s, b), true);
}

static float activate(enum plan_act act, float v)
{
    double x = v;
    switch (act) {
    case ACT_SILU: return (float)(x / (1 + exp(-x)));
    /* Hendrycks and Gimpel 2016: sqrt(2 / pi) and 0.044715 are the paper's. */
    case ACT_GELU_TANH:
        return (float)(0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))));
    case ACT_GELU_ERF: return (float)(0.5 * x * (1 + erf(x * 0.70710678118654752440)));
    case ACT_RELU: return v > 0 ? v : 0;
    }
    BUG("unknown activation");
}

static void op_linear_glu(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const struct plan_tensor *t = &d->plan->tensors[s->w];
    uint32_t n = rows_of(s, b);
    linear(d, s->dst, s->src, (int[]){s->w, s->b}, n, false);
    const float *bias = vector(d, s->b2);
    for (uint64_t r = 0; r < t->rows; r++) {
        weight_row(d, s->w2, r, d->row);
        for (uint32_t i = 0; i < n; i++) {
            float *y = row_of(d, s->dst, i) + r;
            float up = dot(d->row, row_of(d, s->src, i), t->cols) + (bias ? bias[r] : 0.0f);
            *y = activate(s->act, *y) * up;
        }
    }
}

/* Rotary position embedding (Su et al. 2021); columns n_rot.. of a head stay as they are. */
static void op_rope(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    const struct plan *p = d->plan;
    uint32_t half = p->n_rot / 2;
    for (uint32_t i = 0; i < b->n; i++) {
        for (uint32_t h = 0; h < s->n_head; h++) {
            float *x = row_of(d, s->dst, i) + (uint64_t)h * s->head_dim;
            for (uint32_t j = 0; j < half; j++) {
                double angle = (double)b->pos[i] * (double)p->rope_freq[j];
                double c = cos(angle) * p->rope_mscale, si = sin(angle) * p->rope_mscale;
                float *a = p->rope_pairs ? x + 2 * j : x + j;
                float *z = p->rope_pairs ? x + 2 * j + 1 : x + j + half;
                double u = *a, v = *z;
                *a = (float)(u * c - v * si);
                *z = (float)(u * si + v * c);
            }
        }
    }
}

/* ---- cache ---- */

/* Index of the first value of a position in a block of a layer. */
static uint64_t slot(const struct dev *d, const struct cache *c, uint64_t layer, uint32_t block,
                     uint32_t pos)
{
    return ((layer * d->conf.n_blocks + block) * KV_BLOCK + pos) * c->width;
}

static float cache_get(const struct cache *c, uint64_t i)
{
    return c->type == DTYPE_F16 ? dtype_f16_to_f32(c->at.f16[i]) : c->at.f32[i];
}

static void cache_put(struct cache *c, uint64_t at, const float *x)
{
    for (uint32_t j = 0; j < c->width; j++) {
        if (c->type == DTYPE_F16)
            c->at.f16[at + j] = dtype_f32_to_f16(x[j]);
        else
            c->at.f32[at + j] = x[j];
    }
}

static void op_kvput(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint64_t layer = (uint64_t)s->layer;
    for (uint32_t g = 0; g < b->n_spans; g++) {
        const struct batch_span *span = &b->spans[g];
        for (uint32_t i = 0; i < span->n; i++) {
            uint32_t pos = span->pos + i, block = span->blocks[pos / KV_BLOCK];
            uint32_t in = pos % KV_BLOCK;
            cache_put(&d->k, slot(d, &d->k, layer, block, in), row_of(d, s->src, span->first + i));
            cache_put(&d->v, slot(d, &d->v, layer, block, in), row_of(d, s->src2, span->first + i));
        }
    }
}

/* One query head over positions 0..n-1 of a sequence. */
static void attend(struct dev *d, const struct plan_step *s, const uint32_t *blocks, uint32_t n,
                   uint32_t kv_head, const float *q, float *out)
{
    uint32_t dim_v = d->plan->meta->head_dim_v;
    uint64_t layer = (uint64_t)s->layer;
    double max = -INFINITY, sum = 0;
    for (uint32_t p = 0; p < n; p++) {
        uint64_t k = slot(d, &d->k, layer, blocks[p / KV_BLOCK], p % KV_BLOCK);
        k += (uint64_t)kv_head * s->head_dim;
        double score = 0;
        for (uint32_t c = 0; c < s->head_dim; c++)
            score += (double)q[c] * cache_get(&d->k, k + c);
        d->scores[p] = score * s->scale;
        if (max < d->scores[p]) max = d->scores[p];
    }
    for (uint32_t p = 0; p < n; p++) {
        d->scores[p] = exp(d->scores[p] - max);
        sum += d->scores[p];
    }
    for (uint32_t c = 0; c < dim_v; c++) {
        double acc = 0;
        for (uint32_t p = 0; p < n; p++) {
            uint64_t v = slot(d, &d->v, layer, blocks[p / KV_BLOCK], p % KV_BLOCK);
            acc += d->scores[p] * cache_get(&d->v, v + (uint64_t)kv_head * dim_v + c);
        }
        out[c] = (float)(acc / sum);
    }
}

static void op_attn(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint32_t per_kv = s->n_head / d->plan->meta->n_head_kv; /* query heads sharing a kv head */
    uint32_t dim_v = d->plan->meta->head_dim_v;
    for (uint32_t g = 0; g < b->n_spans; g++) {
        const struct batch_span *span = &b->spans[g];
        for (uint32_t i = 0; i < span->n; i++) {
            const float *q = row_of(d, s->src, span->first + i);
            float *out = row_of(d, s->dst, span->first + i);
            for (uint32_t h = 0; h < s->n_head; h++)
                attend(d, s, span->blocks, span->pos + i + 1, h / per_kv,
                       q + (uint64_t)h * s->head_dim, out + (uint64_t)h * dim_v);
        }
    }
}

/* ---- the rest ---- */

static void op_glu(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint64_t n = (uint64_t)rows_of(s, b) * d->plan->width[s->dst];
    const float *g = d->reg[s->src], *u = d->reg[s->src2];
    for (uint64_t i = 0; i < n; i++)
        d->reg[s->dst][i] = activate(s->act, g[i]) * u[i];
}

static void op_add(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint64_t n = (uint64_t)rows_of(s, b) * d->plan->width[s->dst];
    const float *x = d->reg[s->src], *y = d->reg[s->src2];
    for (uint64_t i = 0; i < n; i++)
        d->reg[s->dst][i] = x[i] + y[i];
}

static void op_gather(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n_out; i++)
        memcpy(row_of(d, s->dst, i), row_of(d, s->src, b->out[i]),
               d->plan->width[s->dst] * sizeof(float));
}

static void no_work(struct dev *d, const struct batch *b)
{
    (void)d;
    (void)b;
}

static const float *logits(struct dev *d, uint32_t i)
{
    return row_of(d, REG_LOGITS, i);
}

static void copy_positions(struct dev *d, struct cache *c, uint32_t from, uint32_t to, uint32_t n)
{
    size_t size = c->type == DTYPE_F16 ? 2 : 4;
    for (uint32_t l = 0; l < d->plan->meta->n_layer; l++)
        memcpy((char *)c->at.p + slot(d, c, l, to, 0) * size,
               (const char *)c->at.p + slot(d, c, l, from, 0) * size, (size_t)n * c->width * size);
}

static void kv_copy(struct dev *d, uint32_t from, uint32_t to, uint32_t n)
{
    if (from == to) return;
    copy_positions(d, &d->k, from, to, n);
    copy_positions(d, &d->v, from, to, n);
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
    .bytes = bytes,
    .open = ref_open,
    .close = ref_close,
    .op =
        {
            [OP_EMBED] = op_embed,
            [OP_RMSNORM] = op_rmsnorm,
            [OP_LINEAR] = op_linear,
            [OP_ROPE] = op_rope,
            [OP_KVPUT] = op_kvput,
            [OP_ATTN] = op_attn,
            [OP_GLU] = op_glu,
            [OP_ADD] = op_add,
            [OP_GATHER] = op_gather,
            [OP_LINEAR2] = op_linear2,
            [OP_LINEAR3] = op_linear3,
            [OP_LINEAR_ADD] = op_linear_add,
            [OP_LINEAR_GLU] = op_linear_glu,
        },
    .begin = no_work,
    .end = no_work,
    .logits = logits,
    .kv_copy = kv_copy,
    .describe = describe,
};
