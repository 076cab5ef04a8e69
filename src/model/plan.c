/* plan: compiles a family row, a meta and a tensor directory into a list of steps.
 *
 * The builder walks the layers in order and appends steps; whenever a step needs a tensor it looks
 * it up by slot (slot.def), checks its shape against what the step needs, and appends it to the
 * plan's tensors. A required tensor that is absent, or any of a wrong shape, ends the build with
 * its name. Optional tensors (biases, q/k norms) become part of the step when the file has them.
 *
 * Invariant: what plan_build() returns satisfies the contract of plan.h: registers are written
 * before they are read, every tensor index is valid, and shapes fit. It holds no pointer into the
 * builder.
 */
#include "model/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "model/plan_int.h"

enum slot {
#define SLOT_GLOBAL(NAME, name) SLOT_##NAME,
#define SLOT_LAYER(NAME, name)  SLOT_##NAME,
#include "model/slot.def"
    SLOT_COUNT
};

static const char *const slot_names[SLOT_COUNT] = {
#define SLOT_GLOBAL(NAME, name) [SLOT_##NAME] = name,
#define SLOT_LAYER(NAME, name)  [SLOT_##NAME] = name,
#include "model/slot.def"
};

enum { STEPS_PER_LAYER = 18, STEPS_OUTSIDE = 4 };

struct builder {
    struct plan *p;
    const struct meta *m;
    const struct plan_source *src;
    struct err_info *e;
    struct plan_step *steps;
    struct plan_tensor *tensors;
    size_t max_steps, max_tensors;
    int layer; /* -1 outside the layers */
};

/* ---- tables ---- */

static const struct {
    const char *name, *meaning;
} ops[OP_COUNT] = {
#define OP(NAME, listing, text) [OP_##NAME] = {listing, text},
#include "model/op.def"
#undef OP
};

static const char *const regs[REG_COUNT] = {
    [REG_X] = "x", [REG_H] = "h", [REG_Q] = "q",          [REG_K] = "k",
    [REG_V] = "v", [REG_A] = "a", [REG_G] = "g",          [REG_U] = "u",
    [REG_D] = "d", [REG_O] = "o", [REG_LOGITS] = "logits"};

const char *plan_op_name(enum op op)
{
    return (unsigned)op < OP_COUNT ? ops[op].name : "unknown";
}

const char *plan_op_meaning(enum op op)
{
    return (unsigned)op < OP_COUNT ? ops[op].meaning : "unknown";
}

const char *plan_reg_name(enum plan_reg r)
{
    return (unsigned)r < REG_COUNT ? regs[r] : "unknown";
}

uint32_t plan_reads(const struct plan_step *s)
{
    uint32_t src = 1u << s->src, src2 = 1u << s->src2, dst = 1u << s->dst;

    switch (s->op) {
    case OP_EMBED: return 0;
    case OP_ROPE: return dst;
    case OP_KVPUT:
    case OP_GLU:
    case OP_ADD: return src | src2;
    case OP_LINEAR_ADD: return src | dst;
    default: return src;
    }
}

uint32_t plan_writes(const struct plan_step *s)
{
    uint32_t dst = 1u << s->dst;

    switch (s->op) {
    case OP_KVPUT: return 0;
    case OP_LINEAR2: return dst | 1u << s->dst2;
    case OP_LINEAR3: return dst | 1u << s->dst2 | 1u << s->dst3;
    default: return dst;
    }
}

/* ---- tensors ---- */

/* Looks a slot up; *out is PLAN_NO_TENSOR when the file lacks it. rows or cols of 0: any. */
static enum err find(struct builder *b, enum slot slot, uint64_t rows, uint64_t cols, int *out)
{
    struct plan_tensor *t = &b->tensors[b->p->n_tensors];
    char name[64];
    int n;

    ASSERT(b->p->n_tensors < b->max_tensors);
    *out = PLAN_NO_TENSOR;
    if (b->layer < 0)
        n = snprintf(name, sizeof name, "%s", slot_names[slot]);
    else
        n = snprintf(name, sizeof name, "blk.%d.%s", b->layer, slot_names[slot]);
    if (!b->src->find(b->src->owner, (str){name, (size_t)n}, t, NULL)) return ERR_OK;
    if ((rows && t->rows != rows) || (cols && t->cols != cols))
        return ERR_FAIL(b->e, FORMAT,
                        "tensor '%s' is %llu x %llu, but the model's numbers need %llu x %llu",
                        name, (unsigned long long)t->cols, (unsigned long long)t->rows,
                        (unsigned long long)(cols ? cols : t->cols),
                        (unsigned long long)(rows ? rows : t->rows));
    /* Vectors are read as floats by every op; llama.cpp's converters write them so. */
    if (rows == 1 && t->dtype != DTYPE_F32)
        return ERR_FAIL(b->e, UNSUPPORTED, "tensor '%s' is %s; norms and biases must be f32", name,
                        dtype_info(t->dtype)->name);
    *out = (int)b->p->n_tensors++;
    return ERR_OK;
}

static enum err need(struct builder *b, enum slot slot, uint64_t rows, uint64_t cols, int *out)
{
    enum err r = find(b, slot, rows, cols, out);

    if (r || *out != PLAN_NO_TENSOR) return r;
    if (b->layer < 0)
        return ERR_FAIL(b->e, FORMAT, "the model lacks the tensor '%s'", slot_names[slot]);
    return ERR_FAIL(b->e, FORMAT, "the model lacks the tensor 'blk.%d.%s'", b->layer,
                    slot_names[slot]);
}

/* ---- steps ---- */

static struct plan_step *step(struct builder *b, enum op op, enum plan_reg dst, enum plan_reg src)
{
    struct plan_step *s = &b->steps[b->p->n_steps];

    ASSERT(b->p->n_steps < b->max_steps);
    b->p->n_steps++;
    *s = (struct plan_step){.op = op, .layer = b->layer, .dst = dst, .src = src};
    s->w = s->w2 = s->w3 = s->b = s->b2 = s->b3 = PLAN_NO_TENSOR;
    return s;
}

static enum err norm(struct builder *b, enum slot slot, enum plan_reg dst, enum plan_reg src)
{
    struct plan_step *s = step(b, OP_RMSNORM, dst, src);

    s->eps = b->m->norm_eps;
    s->group = b->p->width[src];
    return need(b, slot, 1, s->group, &s->w);
}

/* Normalises the heads of r in place if the file has a weight for it: one head's or all of them. */
static enum err head_norm(struct builder *b, enum slot slot, enum plan_reg r)
{
    uint64_t width = b->p->width[r], cols;
    struct plan_step *s;
    int w;
    enum err err = find(b, slot, 1, 0, &w);

    if (err || w == PLAN_NO_TENSOR) return err;
    cols = b->tensors[w].cols;
    if (cols != width && cols != b->m->head_dim)
        return ERR_FAIL(b->e, FORMAT, "tensor 'blk.%d.%s' has %llu elements; a head has %u",
                        b->layer, slot_names[slot], (unsigned long long)cols, b->m->head_dim);
    s = step(b, OP_RMSNORM, r, r);
    s->eps = b->m->norm_eps;
    s->group = (uint32_t)cols;
    s->w = w;
    return ERR_OK;
}

static enum err linear(struct builder *b, enum slot weight, enum slot bias, enum plan_reg dst,
                       enum plan_reg src)
{
    struct plan_step *s = step(b, OP_LINEAR, dst, src);
    enum err r = need(b, weight, b->p->width[dst], b->p->width[src], &s->w);

    return r ? r : find(b, bias, 1, b->p->width[dst], &s->b);
}

static void rope(struct builder *b, enum plan_reg r, uint32_t n_head)
{
    struct plan_step *s = step(b, OP_ROPE, r, r);

    s->n_head = n_head;
    s->head_dim = b->m->head_dim;
}

static void add(struct builder *b, enum plan_reg to, enum plan_reg what)
{
    step(b, OP_ADD, to, to)->src2 = what;
}

static enum err attention(struct builder *b)
{
    const struct meta *m = b->m;
    struct plan_step *s;
    enum err r;

    if ((r = norm(b, SLOT_ATTN_NORM, REG_H, REG_X)) ||
        (r = linear(b, SLOT_ATTN_Q, SLOT_ATTN_Q_BIAS, REG_Q, REG_H)) ||
        (r = linear(b, SLOT_ATTN_K, SLOT_ATTN_K_BIAS, REG_K, REG_H)) ||
        (r = linear(b, SLOT_ATTN_V, SLOT_ATTN_V_BIAS, REG_V, REG_H)) ||
        (r = head_norm(b, SLOT_ATTN_Q_NORM, REG_Q)) || (r = head_norm(b, SLOT_ATTN_K_NORM, REG_K)))
        return r;
    rope(b, REG_Q, m->n_head);
    rope(b, REG_K, m->n_head_kv);
    s = step(b, OP_KVPUT, REG_K, REG_K);
    s->src2 = REG_V;
    s->n_head = m->n_head_kv;
    s->head_dim = m->head_dim;
    s = step(b, OP_ATTN, REG_A, REG_Q);
    s->n_head = m->n_head;
    s->head_dim = m->head_dim;
    s->scale = 1.0f / sqrtf((float)m->head_dim);
    if ((r = linear(b, SLOT_ATTN_OUTPUT, SLOT_ATTN_OUTPUT_BIAS, REG_D, REG_A))) return r;
    add(b, REG_X, REG_D);
    return ERR_OK;
}

static enum err feed_forward(struct builder *b)
{
    struct plan_step *s;
    enum err r;

    if ((r = norm(b, SLOT_FFN_NORM, REG_H, REG_X)) ||
        (r = linear(b, SLOT_FFN_GATE, SLOT_FFN_GATE_BIAS, REG_G, REG_H)) ||
        (r = linear(b, SLOT_FFN_UP, SLOT_FFN_UP_BIAS, REG_U, REG_H)))
        return r;
    s = step(b, OP_GLU, REG_G, REG_G);
    s->src2 = REG_U;
    s->act = ACT_SILU;
    if ((r = linear(b, SLOT_FFN_DOWN, SLOT_FFN_DOWN_BIAS, REG_D, REG_G))) return r;
    add(b, REG_X, REG_D);
    return ERR_OK;
}

static enum err embed(struct builder *b)
{
    struct plan_step *s = step(b, OP_EMBED, REG_X, REG_X);

    s->scale = b->m->embed_scale;
    return need(b, SLOT_TOKEN_EMBD, b->m->n_vocab, b->m->n_embd, &s->w);
}

static enum err head(struct builder *b)
{
    enum err r;

    b->layer = -1;
    step(b, OP_GATHER, REG_O, REG_X);
    if ((r = norm(b, SLOT_OUTPUT_NORM, REG_O, REG_O))) return r;
    return linear(b, b->m->tied_head ? SLOT_TOKEN_EMBD : SLOT_OUTPUT, SLOT_OUTPUT_BIAS, REG_LOGITS,
                  REG_O);
}

static enum err check_family(struct builder *b)
{
    const struct family *f = b->m->family;

    /* Rows that need more than the blocks below would have to be taught here first. */
    ASSERT(f->norm == NORM_RMS && f->block == BLOCK_PRE && f->ffn == FFN_SWIGLU);
    if (b->m->residual_scale != 1.0f || b->m->logit_scale != 1.0f)
        return ERR_FAIL(b->e, UNSUPPORTED,
                        "residual_scale %g and logit_scale %g: this version runs only 1 and 1",
                        (double)b->m->residual_scale, (double)b->m->logit_scale);
    return ERR_OK;
}

static void set_widths(struct plan *p, const struct meta *m)
{
    p->width[REG_X] = p->width[REG_H] = p->width[REG_D] = p->width[REG_O] = m->n_embd;
    p->width[REG_Q] = m->n_head * m->head_dim;
    p->width[REG_K] = m->n_head_kv * m->head_dim;
    p->width[REG_V] = m->n_head_kv * m->head_dim_v;
    p->width[REG_A] = m->n_head * m->head_dim_v;
    p->width[REG_G] = p->width[REG_U] = m->n_ff;
    p->width[REG_LOGITS] = m->n_vocab;
}

enum err plan_build(struct plan *p, struct arena *a, const struct meta *m,
                    const struct plan_source *src, struct err_info *e)
{
    struct builder b = {.p = p, .m = m, .src = src, .e = e, .layer = -1};
    enum err r;

    memset(p, 0, sizeof *p);
    p->meta = m;
    set_widths(p, m);
    b.max_steps = (size_t)m->n_layer * STEPS_PER_LAYER + STEPS_OUTSIDE;
    b.max_tensors = ((size_t)m->n_layer + 1) * SLOT_COUNT;
    if (b.max_steps > LIMIT_PLAN_STEPS)
        return ERR_FAIL(e, LIMIT, "a plan of %u layers is too long", m->n_layer);
    b.steps = ARENA_NEW(a, struct plan_step, b.max_steps);
    b.tensors = ARENA_NEW(a, struct plan_tensor, b.max_tensors);
    if (!b.steps || !b.tensors)
        return ERR_FAIL(e, NOMEM, "no memory for a plan of %u layers", m->n_layer);
    p->steps = b.steps;
    p->tensors = b.tensors;
    if ((r = check_family(&b)) || (r = embed(&b))) return r;
    for (b.layer = 0; b.layer < (int)m->n_layer; b.layer++)
        if ((r = attention(&b)) || (r = feed_forward(&b))) return r;
    if ((r = head(&b))) return r;
    return plan_rope(p, a, src, e);
}

const struct plan_step *plan_unsupported(const struct plan *p, plan_has_fn *has)
{
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        const int w[3] = {s->w, s->w2, s->w3};

        if (s->w == PLAN_NO_TENSOR && !has(s->op, DTYPE_F32)) return s;
        for (int k = 0; k < 3; k++)
            if (w[k] != PLAN_NO_TENSOR && !has(s->op, p->tensors[w[k]].dtype)) return s;
    }
    return NULL;
}
