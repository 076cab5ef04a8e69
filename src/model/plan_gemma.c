/* plan_gemma: what Gemma 3n and Gemma 4 do beside attention and feed-forward blocks.
 *
 * Both may give each layer an input of its own, looked up by token and mixed with a projection of
 * the embedding. Gemma 3n also carries four streams instead of one (AltUp, Baykal et al. 2023): a
 * layer predicts all of them, computes one, and corrects the others by what it got wrong; beside
 * its attention runs a product of small rank (LAuReL, Menghani et al. 2024); and the gates of its
 * first layers keep only the values far above their mean.
 *
 * Registers that live through the layers: REG_S holds the inputs of all layers, REG_P the streams.
 */
#include <math.h>

#include "model/plan_int.h"

enum {
    STREAMS = 4,       /* the first of them is computed */
    SPARSE_LAYERS = 10 /* whose gates are thinned out */
};

#define SPARSE_DEVIATIONS 1.6448533535003662f /* the normal distribution's 95 % */

static void scale(struct builder *b, enum plan_reg r, float by)
{
    plan_emit(b, OP_SCALE, r, b->n[r], r)->scale = by;
}

static void l2(struct builder *b, enum plan_reg dst, enum plan_reg src)
{
    struct plan_step *s = plan_emit(b, OP_L2NORM, dst, b->n[src], src);

    s->group = b->n[src];
    s->eps = 1e-20f;
}

/* ---- inputs of single layers ---- */

enum err plan_layer_inputs(struct builder *b)
{
    const struct meta *m = b->m;
    uint32_t n = m->n_embd_layer;
    uint64_t all = (uint64_t)n * m->n_layer;
    struct plan_step *s;
    enum err r;

    if (!n || !plan_peek(b, SLOT_PER_LAYER_TOKEN_EMBD, NULL)) return ERR_OK;
    if (all > UINT32_MAX / sizeof(float))
        return ERR_FAIL(b->e, FORMAT, "%u layers with inputs of %u are too wide", m->n_layer, n);
    s = plan_emit(b, OP_EMBED, REG_S, (uint32_t)all, REG_NONE);
    s->scale = sqrtf((float)n);
    if ((r = plan_need(b, SLOT_PER_LAYER_TOKEN_EMBD, m->n_vocab, all, &s->w)) ||
        (r = plan_linear(b, SLOT_PER_LAYER_MODEL_PROJ, SLOT_NONE, REG_T0, REG_X, (uint32_t)all)))
        return r;
    scale(b, REG_T0, 1.0f / sqrtf((float)m->n_embd));
    if ((r = plan_norm_groups(b, SLOT_PER_LAYER_PROJ_NORM, REG_T0, n))) return r;
    plan_add(b, REG_S, REG_T0, 1.0f);
    scale(b, REG_S, sqrtf(0.5f));
    return ERR_OK;
}

/* REG_D = what the layer makes of its own input, gated by `from`. */
static enum err layer_input(struct builder *b, enum plan_reg from)
{
    uint32_t n = b->m->n_embd_layer;
    enum err r = plan_linear(b, SLOT_INP_GATE, SLOT_NONE, REG_G, from, n);

    if (r) return r;
    plan_cols(b, REG_U, n, REG_S, 1, n)->u.cols.from = (uint32_t)b->layer * n;
    plan_glu(b, ACT_GELU_TANH, REG_G, REG_G, REG_U);
    if ((r = plan_linear(b, SLOT_PROJ, SLOT_NONE, REG_D, REG_G, b->m->n_embd))) return r;
    return plan_norm(b, SLOT_POST_NORM, REG_D, REG_D);
}

enum err plan_layer_input(struct builder *b)
{
    struct plan_step *s;
    enum err r;

    if (b->m->n_embd_layer && plan_peek(b, SLOT_INP_GATE, NULL)) {
        if ((r = layer_input(b, REG_X))) return r;
        plan_add(b, REG_X, REG_D, 1.0f);
    }
    if (!plan_peek(b, SLOT_LAYER_OUTPUT_SCALE, NULL)) return ERR_OK;
    s = plan_emit(b, OP_MUL, REG_X, b->m->n_embd, REG_X);
    return plan_need_vec(b, SLOT_LAYER_OUTPUT_SCALE, 1, &s->w);
}

/* ---- streams ---- */

/* dst = stream i of src, or the other way round. */
static void take(struct builder *b, enum plan_reg dst, enum plan_reg src, uint32_t i)
{
    uint32_t n = b->m->n_embd;

    plan_cols(b, dst, n, src, 1, n)->u.cols.from = i * n;
}

static void place(struct builder *b, enum plan_reg dst, uint32_t i, enum plan_reg src)
{
    uint32_t n = b->m->n_embd;
    struct plan_step *s = plan_cols(b, dst, STREAMS * n, src, 1, n);

    s->u.cols.to = i * n;
    s->u.cols.onto = i > 0;
}

/* T2 = product of `from` with matrix i of the tensor, made as long as `like`. */
static enum err resized(struct builder *b, enum slot slot, uint32_t i, enum plan_reg from,
                        enum plan_reg like)
{
    uint32_t n = b->m->n_embd;
    struct plan_step *s;
    int whole;
    enum err r = plan_need(b, slot, (uint64_t)(STREAMS - 1) * n, n, &whole);

    if (r) return r;
    b->tensors[whole].n_parts = 1;
    s = plan_emit(b, OP_LINEAR, REG_T2, n, from);
    if ((r = plan_slice(b, whole, (uint64_t)i * n, n, &s->w))) return r;
    /* length(x) = x . x / length(x) */
    l2(b, REG_T3, like);
    plan_mul(b, REG_T3, REG_T3, like);
    s = plan_emit(b, OP_HEADSUM, REG_T4, 1, REG_T3);
    s->n_head = 1;
    s->head_dim = n;
    l2(b, REG_T2, REG_T2);
    plan_mul(b, REG_T2, REG_T2, REG_T4);
    return ERR_OK;
}

enum err plan_streams_open(struct builder *b)
{
    enum err r;

    place(b, REG_P, 0, REG_X);
    for (uint32_t i = 1; i < STREAMS; i++) {
        if ((r = resized(b, SLOT_ALTUP_PROJ, i - 1, REG_X, REG_X))) return r;
        place(b, REG_P, i, REG_T2);
    }
    return ERR_OK;
}

enum err plan_streams_close(struct builder *b)
{
    enum err r;

    take(b, REG_X, REG_P, 0);
    take(b, REG_D, REG_P, 0);
    for (uint32_t i = 1; i < STREAMS; i++) {
        take(b, REG_T0, REG_P, i);
        if ((r = resized(b, SLOT_ALTUP_UNEMBD_PROJ, i - 1, REG_T0, REG_D))) return r;
        plan_add(b, REG_X, REG_T2, 1.0f);
    }
    scale(b, REG_X, 1.0f / STREAMS);
    return ERR_OK;
}

/* dst = a few numbers that tell how the streams mix, from r. */
static enum err mixing(struct builder *b, enum slot coef, enum plan_reg dst, enum plan_reg r,
                       uint32_t n)
{
    enum err e = plan_norm(b, SLOT_ALTUP_ROUTER_NORM, REG_T1, r);

    if (e) return e;
    scale(b, REG_T1, 1.0f / (float)b->m->n_embd);
    if ((e = plan_linear(b, SLOT_ALTUP_ROUTER, SLOT_NONE, REG_T2, REG_T1, STREAMS))) return e;
    plan_act(b, ACT_TANH, REG_T2, REG_T2);
    return plan_linear(b, coef, SLOT_NONE, dst, REG_T2, n);
}

/* P = the streams as the layer expects them, X = the one it computes. */
static enum err predict(struct builder *b)
{
    uint32_t n = b->m->n_embd;
    struct plan_step *s;
    enum err r;

    take(b, REG_X, REG_P, 0);
    if ((r = mixing(b, SLOT_ALTUP_PREDICT_COEF, REG_T3, REG_X, STREAMS * STREAMS))) return r;
    for (uint32_t i = 0; i < STREAMS; i++) {
        plan_cols(b, REG_T4, STREAMS, REG_T3, 1, STREAMS)->u.cols.from = i * STREAMS;
        s = plan_emit(b, OP_MIX, REG_T5, n, REG_P);
        s->src2 = REG_T4;
        s->n_src2 = STREAMS;
        s->u.route.n_used = STREAMS;
        place(b, REG_T7, i, REG_T5);
    }
    plan_add(b, REG_P, REG_T7, 1.0f);
    take(b, REG_X, REG_P, 0);
    return ERR_OK;
}

/* P = the streams, each moved by its share of what X got that was not predicted. */
static enum err correct(struct builder *b)
{
    enum err r = mixing(b, SLOT_ALTUP_CORRECT_COEF, REG_T3, REG_X, STREAMS);

    if (r) return r;
    take(b, REG_T4, REG_P, 0);
    plan_add(b, REG_X, REG_T4, -1.0f);
    for (uint32_t i = 0; i < STREAMS; i++) {
        plan_cols(b, REG_T5, 1, REG_T3, 1, 1)->u.cols.from = i;
        plan_mul(b, REG_T6, REG_X, REG_T5);
        plan_add(b, REG_T6, REG_X, 1.0f);
        place(b, REG_T7, i, REG_T6);
    }
    plan_add(b, REG_P, REG_T7, 1.0f);
    return ERR_OK;
}

/* The layer's own input goes to all streams but the computed one. */
static enum err feed(struct builder *b)
{
    enum err r;

    take(b, REG_X, REG_P, 0);
    if ((r = plan_mul_vec(b, SLOT_ALTUP_CORRECT_SCALE, REG_T0, REG_X)) ||
        (r = layer_input(b, REG_T0)))
        return r;
    for (uint32_t i = 0; i < STREAMS; i++)
        place(b, REG_T7, i, REG_D);
    plan_add(b, REG_P, REG_T7, 1.0f);
    plan_cols(b, REG_P, STREAMS * b->m->n_embd, REG_X, 1, b->m->n_embd)->u.cols.onto = true;
    return ERR_OK;
}

static enum err attention(struct builder *b)
{
    enum err r;

    if ((r = plan_norm(b, SLOT_ATTN_NORM, REG_H, REG_X)) ||
        (r = plan_linear(b, SLOT_LAUREL_L, SLOT_NONE, REG_T0, REG_H, 0)) ||
        (r = plan_linear(b, SLOT_LAUREL_R, SLOT_NONE, REG_U, REG_T0, b->m->n_embd)) ||
        (r = plan_norm(b, SLOT_LAUREL_POST_NORM, REG_U, REG_U)))
        return r;
    plan_add(b, REG_U, REG_H, 1.0f);
    if ((r = plan_attention(b, REG_H)) ||
        (r = plan_norm(b, SLOT_POST_ATTENTION_NORM, REG_D, REG_D)))
        return r;
    plan_add(b, REG_X, REG_D, 1.0f);
    plan_add(b, REG_X, REG_U, 1.0f);
    scale(b, REG_X, sqrtf(0.5f));
    return ERR_OK;
}

static enum err feed_forward(struct builder *b)
{
    uint32_t n = plan_layer(b)->n_ff;
    enum err r;

    if ((r = plan_norm(b, SLOT_FFN_NORM, REG_H, REG_X)) ||
        (r = plan_linear(b, SLOT_FFN_GATE, SLOT_NONE, REG_G, REG_H, n)) ||
        (r = plan_linear(b, SLOT_FFN_UP, SLOT_NONE, REG_U, REG_H, n)))
        return r;
    if (b->layer < SPARSE_LAYERS)
        plan_emit(b, OP_TOPGAUSS, REG_G, n, REG_G)->scale = SPARSE_DEVIATIONS;
    plan_glu(b, ACT_GELU_TANH, REG_G, REG_G, REG_U);
    if ((r = plan_linear(b, SLOT_FFN_DOWN, SLOT_NONE, REG_D, REG_G, b->m->n_embd)) ||
        (r = plan_norm(b, SLOT_POST_FFW_NORM, REG_D, REG_D)))
        return r;
    plan_add(b, REG_X, REG_D, 1.0f);
    return ERR_OK;
}

enum err plan_streams_layer(struct builder *b)
{
    enum err r;

    if ((r = predict(b)) || (r = attention(b)) || (r = feed_forward(b)) || (r = correct(b)))
        return r;
    return feed(b);
}
