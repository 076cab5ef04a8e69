/* plan: compiles a family row, a meta and a tensor directory into a list of steps.
 *
 * The builder walks the layers in order. What a layer is made of is what tensors it has: a block
 * that mixes tokens (attention, latent attention, a state space, RWKV) and a feed-forward block,
 * each with its norms before or after, one after the other or side by side. The blocks are in
 * plan_attn.c, plan_recur.c and plan_ffn.c.
 *
 * Invariant: what plan_build() returns satisfies the contract of plan.h: registers are written
 * before they are read, every tensor index is valid, shapes fit, and every tensor of the file is
 * used by some step or is known to be ignorable. It holds no pointer into the builder.
 */
#include "model/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "model/plan_int.h"

enum {
    STEPS_PER_LAYER = 128,
    STEPS_OUTSIDE = 16,
    TENSORS_PER_LAYER = 64, /* slices of fused ones counted each */
    TENSORS_OUTSIDE = 32
};

/* ---- tables ---- */

static const struct {
    const char *name, *meaning;
    enum plan_weights weights;
} ops[OP_COUNT] = {
#define OP(NAME, listing, weights, text) [OP_##NAME] = {listing, text, PLAN_W_##weights},
#include "model/op.def"
#undef OP
};

static const char *const regs[REG_COUNT] = {
    [REG_X] = "x",   [REG_H] = "h",   [REG_Q] = "q",   [REG_K] = "k",   [REG_V] = "v",
    [REG_A] = "a",   [REG_G] = "g",   [REG_U] = "u",   [REG_D] = "d",   [REG_P] = "p",
    [REG_E] = "e",   [REG_W] = "w",   [REG_T0] = "t0", [REG_T1] = "t1", [REG_T2] = "t2",
    [REG_T3] = "t3", [REG_T4] = "t4", [REG_T5] = "t5", [REG_T6] = "t6", [REG_T7] = "t7",
    [REG_S] = "s",   [REG_L0] = "l0", [REG_L1] = "l1", [REG_O] = "o",   [REG_LOGITS] = "logits"};

static const char *const acts[ACT_COUNT] = {[ACT_SILU] = "silu",
                                            [ACT_GELU_TANH] = "gelu (tanh)",
                                            [ACT_GELU_ERF] = "gelu (erf)",
                                            [ACT_GELU_QUICK] = "gelu (quick)",
                                            [ACT_RELU] = "relu",
                                            [ACT_RELU_SQR] = "relu^2",
                                            [ACT_SIGMOID] = "sigmoid",
                                            [ACT_TANH] = "tanh",
                                            [ACT_SOFTPLUS] = "softplus",
                                            [ACT_NEG_EXP_DECAY] = "exp(-exp)",
                                            [ACT_SIGMOID_DECAY] = "exp(-sigmoid / sqrt e)",
                                            [ACT_SWIGLU_CLAMPED] = "swiglu, clamped"};

const char *plan_op_name(enum op op)
{
    return (unsigned)op < OP_COUNT ? ops[op].name : "unknown";
}

const char *plan_op_meaning(enum op op)
{
    return (unsigned)op < OP_COUNT ? ops[op].meaning : "unknown";
}

enum plan_weights plan_op_weights(enum op op)
{
    return (unsigned)op < OP_COUNT ? ops[op].weights : PLAN_W_NONE;
}

const char *plan_reg_name(enum plan_reg r)
{
    return (unsigned)r < REG_COUNT ? regs[r] : "unknown";
}

const char *plan_act_name(enum plan_act act)
{
    return (unsigned)act < ACT_COUNT ? acts[act] : "unknown";
}

/* ---- what a step touches ---- */

static uint32_t bit(enum plan_reg r)
{
    return r < REG_COUNT ? 1u << r : 0;
}

uint32_t plan_reads(const struct plan_step *s)
{
    uint32_t r =
        bit(s->src) | bit(s->src2) | bit(s->src3) | bit(s->src4) | bit(s->src5) | bit(s->src6);

    switch (s->op) {
    case OP_EMBED: return 0;
    case OP_ROPE:
    case OP_LINEAR_ADD: return r | bit(s->dst);
    case OP_COLS: return s->u.cols.onto ? r | bit(s->dst) : r;
    default: return r;
    }
}

uint32_t plan_writes(const struct plan_step *s)
{
    return bit(s->dst) | bit(s->dst2) | bit(s->dst3);
}

void plan_each_vector(const struct plan *p, void (*fn)(void *arg, int tensor), void *arg)
{
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        bool vec = ops[s->op].weights == PLAN_W_VEC;
        int t[6] = {s->b,
                    s->b2,
                    s->b3,
                    vec ? s->w : PLAN_NO_TENSOR,
                    vec ? s->w2 : PLAN_NO_TENSOR,
                    vec ? s->w3 : PLAN_NO_TENSOR};

        for (int k = 0; k < 6; k++)
            if (t[k] != PLAN_NO_TENSOR) fn(arg, t[k]);
    }
}

/* A row of a cache; one that is no whole number of blocks is rounded up to one. */
static uint64_t cache_row(enum dtype t, uint64_t n)
{
    const struct dtype_info *i = dtype_info(t);

    return (n + i->elems - 1) / i->elems * i->bytes;
}

uint64_t plan_kv_bytes_per_pos(const struct plan *p, enum dtype ktype, enum dtype vtype)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < p->n_caches; i++)
        sum += p->caches[i].n_head *
               (cache_row(ktype, p->caches[i].k_dim) + cache_row(vtype, p->caches[i].v_dim));
    return sum;
}

uint64_t plan_state_floats(const struct plan *p)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < p->n_states; i++)
        sum += p->states[i];
    return sum;
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

/* ---- layers ---- */

typedef enum err block_fn(struct builder *b, enum plan_reg in);

/* The tensor that tells that a layer has this block in the place of attention. */
static const struct mixer {
    enum slot tell;
    block_fn *build;
} mixers[] = {
    {SLOT_TIME_MIX_W0, plan_rwkv7},
    {SLOT_TIME_MIX_W1, plan_rwkv6},
    {SLOT_SSM_X, plan_mamba},
    {SLOT_SSM_IN, plan_mamba2},
    {SLOT_SSM_BA, plan_delta_net},
    {SLOT_SSM_BETA, plan_delta_net},
    {SLOT_SHORTCONV_IN, plan_shortconv},
    {SLOT_ATTN_KV_A_MQA, plan_latent_attention},
    {SLOT_ATTN_OUTPUT, plan_attention},
    {SLOT_ATTN_QKV, plan_attention},
    {SLOT_ATTN_Q, plan_attention},
};

/* Attention and a state space side by side on the same input. */
static enum err both(struct builder *b, enum plan_reg in)
{
    enum err r = plan_mamba2(b, in);

    if (r) return r;
    plan_cols(b, REG_P, b->m->n_embd, REG_D, 1, b->m->n_embd);
    if ((r = plan_attention(b, in))) return r;
    plan_add(b, REG_D, REG_P, 1.0f);
    return ERR_OK;
}

/* NULL: a layer without any. */
static block_fn *mixer_of(const struct builder *b)
{
    if (plan_peek(b, SLOT_SSM_IN, NULL) && plan_peek(b, SLOT_ATTN_OUTPUT, NULL)) return both;
    for (size_t i = 0; i < sizeof mixers / sizeof *mixers; i++)
        if (plan_peek(b, mixers[i].tell, NULL)) return mixers[i].build;
    return NULL;
}

static bool has_ffn(const struct builder *b)
{
    static const enum slot any[] = {SLOT_FFN_UP, SLOT_FFN_GATE_INP, SLOT_FFN_DOWN, SLOT_FFN_GATE,
                                    SLOT_FFN_NORM};

    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        if (plan_peek(b, any[i], NULL)) return true;
    return false;
}

/* x = x + d, at the scale of the model, normalised first if the file has a norm for it, or after.
 */
static enum err join(struct builder *b, enum slot before, enum slot after)
{
    enum err r;

    if (plan_peek(b, before, NULL) && (r = plan_norm(b, before, REG_D, REG_D))) return r;
    plan_add(b, REG_X, REG_D, b->m->residual_scale);
    return plan_peek(b, after, NULL) ? plan_norm(b, after, REG_X, REG_X) : ERR_OK;
}

/* Reads x normalised by `slot` into REG_H and says so in *in; families that normalise only what a
 * block gives have no such weight and read x itself. */
static enum err input(struct builder *b, enum slot slot, enum slot post, enum plan_reg *in)
{
    unsigned flags = b->m->family->flags;

    *in = REG_X;
    if (!plan_peek(b, slot, NULL) && !(flags & FAMILY_NORM_BARE) &&
        ((flags & FAMILY_BERT) || plan_peek(b, post, NULL) ||
         ((flags & FAMILY_FIRST_BARE) && b->layer == 0 && slot == SLOT_ATTN_NORM)))
        return ERR_OK;
    *in = REG_H;
    return plan_norm(b, slot, REG_H, REG_X);
}

/* Both blocks read the same x. */
static enum err parallel_layer(struct builder *b, block_fn *mixer)
{
    bool falcon =
        (b->m->family->flags & FAMILY_FALCON_NORMS) && plan_peek(b, SLOT_ATTN_NORM_2, NULL);
    enum err r = plan_norm(b, falcon ? SLOT_ATTN_NORM_2 : SLOT_ATTN_NORM, REG_H, REG_X);

    if (r || (r = mixer(b, REG_H))) return r;
    plan_cols(b, REG_P, b->m->n_embd, REG_D, 1, b->m->n_embd);
    if (falcon)
        r = plan_norm(b, SLOT_ATTN_NORM, REG_H, REG_X);
    else if (plan_peek(b, SLOT_FFN_NORM, NULL))
        r = plan_norm(b, SLOT_FFN_NORM, REG_H, REG_X);
    if (r || (r = plan_feed_forward(b, REG_H))) return r;
    plan_add(b, REG_X, REG_P, b->m->residual_scale);
    return join(b, SLOT_NONE, SLOT_NONE);
}

/* The norm of the feed-forward block's input goes by several names. */
static enum slot ffn_norm(const struct builder *b, bool mixer)
{
    unsigned flags = b->m->family->flags;

    if (flags & FAMILY_NORM2_FFN) return SLOT_POST_ATTENTION_NORM;
    if (flags & FAMILY_OUT_NORM_FFN) return SLOT_ATTN_OUTPUT_NORM;
    if (!mixer) return SLOT_ATTN_NORM;
    return plan_peek(b, SLOT_FFN_NORM_SHORT, NULL) ? SLOT_FFN_NORM_SHORT : SLOT_FFN_NORM;
}

static enum err mixer_half(struct builder *b, block_fn *mixer)
{
    unsigned flags = b->m->family->flags;
    enum slot post = flags & FAMILY_NORM2_FFN ? SLOT_NONE : SLOT_POST_ATTENTION_NORM;
    enum slot out = flags & FAMILY_OUT_NORM_FFN ? SLOT_NONE : SLOT_ATTN_OUTPUT_NORM;
    bool twice = (flags & FAMILY_BERT) && plan_peek(b, SLOT_ATTN_NORM_2, NULL);
    enum plan_reg in;
    enum err r;

    if (twice) plan_cols(b, REG_S, b->m->n_embd, REG_X, 1, b->m->n_embd);
    if ((r = input(b, SLOT_ATTN_NORM, post, &in)) || (r = mixer(b, in)) ||
        (r = join(b, post, out)) || !twice)
        return r;
    plan_add(b, REG_X, REG_S, 1.0f);
    return plan_norm(b, SLOT_ATTN_NORM_2, REG_X, REG_X);
}

static enum err serial_layer(struct builder *b, block_fn *mixer)
{
    enum plan_reg in;
    enum err r;

    if (mixer && (r = mixer_half(b, mixer))) return r;
    if (plan_peek(b, SLOT_CHANNEL_MIX_KEY, NULL)) {
        if ((r = input(b, SLOT_ATTN_NORM_2, SLOT_NONE, &in)) || (r = plan_channel_mix(b, in)))
            return r;
        r = join(b, SLOT_NONE, SLOT_NONE);
        if (b->m->wkv_rescale && (uint32_t)(b->layer + 1) % b->m->wkv_rescale == 0)
            plan_emit(b, OP_SCALE, REG_X, b->m->n_embd, REG_X)->scale = 0.5f;
        return r;
    }
    if (!has_ffn(b)) return ERR_OK;
    if (plan_peek(b, SLOT_PRE_FFW_NORM_2, NULL)) {
        if ((r = plan_mixture_beside(b))) return r;
        return join(b, SLOT_POST_FFW_NORM, SLOT_NONE);
    }
    if ((r = input(b, ffn_norm(b, mixer != NULL), SLOT_POST_FFW_NORM, &in)) ||
        (r = plan_feed_forward(b, in)))
        return r;
    return join(b, SLOT_POST_FFW_NORM, SLOT_LAYER_OUTPUT_NORM);
}

static enum err layer(struct builder *b)
{
    block_fn *mixer = mixer_of(b);
    enum family_block shape = b->m->family->block;
    bool parallel = shape == BLOCK_PARALLEL || (shape == BLOCK_BY_KEY && b->m->parallel) ||
                    (shape == BLOCK_BY_NORM && !plan_peek(b, SLOT_FFN_NORM, NULL));
    enum err r;

    /* Names the tensor that an ordinary layer would have. */
    if (!mixer && !has_ffn(b))
        return ERR_FAIL(b->e, FORMAT, "the model lacks the tensor 'blk.%d.attn_output.weight'",
                        b->layer);
    if (plan_peek(b, SLOT_ALTUP_ROUTER, NULL)) return plan_streams_layer(b);
    r = parallel && mixer ? parallel_layer(b, mixer) : serial_layer(b, mixer);
    return r ? r : plan_layer_input(b);
}

/* ---- ends ---- */

static enum err rowadd(struct builder *b, enum slot slot, bool by_pos)
{
    struct plan_step *s = plan_emit(b, OP_ROWADD, REG_X, b->m->n_embd, REG_X);

    s->u.rowadd.by_pos = by_pos;
    return plan_need(b, slot, 0, b->m->n_embd, &s->w);
}

static enum err embed(struct builder *b)
{
    struct plan_step *s = plan_emit(b, OP_EMBED, REG_X, b->m->n_embd, REG_NONE);
    enum err r;

    s->scale = b->m->embed_scale;
    if ((r = plan_need(b, SLOT_TOKEN_EMBD, b->m->n_vocab, b->m->n_embd, &s->w)) ||
        (plan_peek(b, SLOT_TOKEN_TYPES, NULL) && (r = rowadd(b, SLOT_TOKEN_TYPES, false))) ||
        (plan_peek(b, SLOT_POSITION_EMBD, NULL) && (r = rowadd(b, SLOT_POSITION_EMBD, true))))
        return r;
    if (!(b->m->family->flags & FAMILY_NORM_IN_EMBD) && plan_peek(b, SLOT_TOKEN_EMBD_NORM, NULL) &&
        (r = plan_norm(b, SLOT_TOKEN_EMBD_NORM, REG_X, REG_X)))
        return r;
    if ((r = plan_layer_inputs(b))) return r;
    return plan_peek(b, SLOT_ALTUP_PROJ, NULL) ? plan_streams_open(b) : ERR_OK;
}

/* The scores of a classifier over one row: through a hidden layer where the file has two. */
static enum err rank_head(struct builder *b)
{
    struct plan_tensor t;
    bool two = plan_peek(b, SLOT_CLS, NULL) && plan_peek(b, SLOT_CLS_OUT, NULL);
    enum slot last = plan_peek(b, SLOT_CLS_OUT, &t) ? SLOT_CLS_OUT : SLOT_CLS;
    enum err r;

    if (!plan_peek(b, last, &t))
        return ERR_FAIL(b->e, FORMAT, "the model has no classifier: no tensor 'cls.output.weight'");
    if (two) {
        if ((r = plan_linear(b, SLOT_CLS, SLOT_CLS_BIAS, REG_H, REG_O, 0))) return r;
        plan_act(b, ACT_TANH, REG_H, REG_H);
        if (plan_peek(b, SLOT_CLS_NORM, NULL) && (r = plan_norm(b, SLOT_CLS_NORM, REG_H, REG_H)))
            return r;
    }
    return plan_linear(b, last, last == SLOT_CLS ? SLOT_CLS_BIAS : SLOT_CLS_OUT_BIAS, REG_LOGITS,
                       two ? REG_H : REG_O, 0);
}

static enum err logits(struct builder *b)
{
    const struct meta *m = b->m;
    enum err r = plan_linear(b, m->tied_head ? SLOT_TOKEN_EMBD : SLOT_OUTPUT, SLOT_OUTPUT_BIAS,
                             REG_LOGITS, REG_O, m->n_vocab);

    if (r) return r;
    if (m->logit_scale != 1.0f)
        plan_emit(b, OP_SCALE, REG_LOGITS, m->n_vocab, REG_LOGITS)->scale = m->logit_scale;
    if (m->final_softcap > 0)
        plan_emit(b, OP_SOFTCAP, REG_LOGITS, m->n_vocab, REG_LOGITS)->scale = m->final_softcap;
    return ERR_OK;
}

static enum err head(struct builder *b)
{
    unsigned flags = b->m->family->flags;
    enum slot norm = (flags & FAMILY_NORM_IN_EMBD) && !plan_peek(b, SLOT_OUTPUT_NORM, NULL)
                         ? SLOT_TOKEN_EMBD_NORM
                         : SLOT_OUTPUT_NORM;
    enum err r;

    if (plan_peek(b, SLOT_ALTUP_UNEMBD_PROJ, NULL) && (r = plan_streams_close(b))) return r;
    plan_emit(b, OP_GATHER, REG_O, b->m->n_embd, REG_X);
    /* Models whose layers end with a norm have none here. */
    if ((!(flags & FAMILY_BERT) || plan_peek(b, norm, NULL)) &&
        (r = plan_norm(b, norm, REG_O, REG_O)))
        return r;
    b->p->out = b->conf->want == PLAN_HIDDEN ? REG_O : REG_LOGITS;
    if (b->conf->want == PLAN_HIDDEN) return ERR_OK;
    return b->conf->want == PLAN_RANK ? rank_head(b) : logits(b);
}

/* ---- the whole ---- */

enum plan_want plan_want_of(const struct meta *m)
{
    if (m->pooling == POOLING_RANK) return PLAN_RANK;
    return m->causal && m->pooling == POOLING_NONE ? PLAN_LOGITS : PLAN_HIDDEN;
}

/* Tensors that a plan need not use: constants that every program computes, heads for other tasks
 * than the plan's, and layers that only predict further tokens ahead. */
static bool ignorable(const struct builder *b, str name)
{
    static const char *const parts[] = {
        "rope_freqs.weight",
        "rope_factors_",
        "attn.rot_embd",
        "attn_rot_embd.weight",
        ".nextn.",
        "blk.0.time_mix_v0.weight",
        "blk.0.time_mix_v1.",
        "blk.0.time_mix_v2.",
    };
    static const char *const heads[] = {"output.weight", "output.bias", "cls.", "dense_"};
    str rest = name;
    int64_t layer;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (str_find(name, str_c(parts[i]), 0) != SIZE_MAX) return true;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (str_starts(name, str_c(heads[i]))) return true;
    return str_starts(name, S("blk.")) &&
           str_int(str_cut(str_sub(name, 4, name.n), '.', &rest), &layer) && layer >= b->m->n_layer;
}

/* A tensor left out would silently change the model. */
static enum err check_used(struct builder *b)
{
    uint32_t n = b->src->count;
    uint8_t *used = ARENA_NEW(b->a, uint8_t, n);

    if (n && !used) return ERR_FAIL(b->e, NOMEM, "no memory for the list of %u tensors", n);
    if (n) memset(used, 0, n);
    for (uint32_t i = 0; i < b->p->n_tensors; i++)
        used[b->tensors[i].file] = 1;
    for (uint32_t i = 0; i < n; i++) {
        str name = b->src->name(b->src->owner, i);

        if (used[i] || ignorable(b, name)) continue;
        return ERR_FAIL(b->e, UNSUPPORTED,
                        "tensor '%.*s' has no place in a model of architecture '%s' as this "
                        "version knows it; leaving it out would change the model",
                        STR(name), b->m->family->name);
    }
    return ERR_OK;
}

static enum err make_room(struct builder *b)
{
    size_t n = b->m->n_layer;

    b->max_steps = n * STEPS_PER_LAYER + STEPS_OUTSIDE;
    b->max_tensors = n * TENSORS_PER_LAYER + TENSORS_OUTSIDE;
    if (n * 16 > LIMIT_PLAN_STEPS)
        return ERR_FAIL(b->e, LIMIT, "a plan of %zu layers is too long", n);
    b->steps = ARENA_NEW(b->a, struct plan_step, b->max_steps);
    b->tensors = ARENA_NEW(b->a, struct plan_tensor, b->max_tensors);
    b->caches = ARENA_NEW(b->a, struct plan_cache, n);
    b->cache_of = ARENA_NEW(b->a, uint32_t, n);
    b->states = ARENA_NEW(b->a, uint32_t, n * PLAN_STATES_PER_LAYER);
    if (!b->steps || !b->tensors || !b->caches || !b->cache_of || !b->states)
        return ERR_FAIL(b->e, NOMEM, "no memory for a plan of %zu layers", n);
    b->p->steps = b->steps;
    b->p->tensors = b->tensors;
    b->p->caches = b->caches;
    b->p->states = b->states;
    return ERR_OK;
}

enum err plan_build(struct plan *p, struct arena *a, const struct meta *m,
                    const struct plan_source *src, const struct plan_conf *conf, struct err_info *e)
{
    struct builder b = {.p = p, .m = m, .src = src, .conf = conf, .a = a, .e = e, .layer = -1};
    enum err r;

    memset(p, 0, sizeof *p);
    p->meta = m;
    p->whole = !m->causal;
    if ((r = make_room(&b)) || (r = plan_ropes(&b)) || (r = embed(&b))) return r;
    for (b.layer = 0; b.layer < (int)m->n_layer; b.layer++)
        if ((r = layer(&b))) return r;
    b.layer = -1;
    if ((r = head(&b))) return r;
    return (r = check_used(&b)) ? r : plan_check(p, e);
}
