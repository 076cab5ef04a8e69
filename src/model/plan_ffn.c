/* plan_ffn: feed-forward blocks: dense, gated, and mixtures of experts.
 *
 * A dense block is gated where the file has a gate, apart or fused with the way up ([gate | up]);
 * else it is up, activation, down. A mixture (Shazeer et al. 2017, with the routing of Switch,
 * Mixtral and DeepSeek-V3) is a router, products with the chosen experts only, and their weighted
 * sum; experts shared by all tokens are a dense block whose result is added, through a gate of its
 * own where the file has one.
 */
#include <math.h>

#include "model/plan_int.h"

/* The tensors of one dense block. */
struct dense {
    enum slot gate, gate_bias, up, up_bias, sub_norm, down, down_bias;
};

static const struct dense ordinary = {SLOT_FFN_GATE,     SLOT_FFN_GATE_BIAS, SLOT_FFN_UP,
                                      SLOT_FFN_UP_BIAS,  SLOT_FFN_SUB_NORM,  SLOT_FFN_DOWN,
                                      SLOT_FFN_DOWN_BIAS};
static const struct dense shared = {
    SLOT_FFN_GATE_SHEXP, SLOT_NONE,           SLOT_FFN_UP_SHEXP, SLOT_NONE,
    SLOT_NONE,           SLOT_FFN_DOWN_SHEXP, SLOT_NONE};

/* Gate and up into REG_G and REG_U; without a gate REG_G holds the activated way up. n: columns of
 * the hidden layer; 0: what the file has. */
static enum err hidden(struct builder *b, const struct dense *d, enum plan_reg in, uint32_t n)
{
    struct plan_tensor up = {0}, down = {0};
    bool gate = plan_peek(b, d->gate, NULL), fused;
    enum err r;

    plan_peek(b, d->up, &up);
    plan_peek(b, d->down, &down);
    fused = !gate && up.rows == 2 * down.cols;
    if (n == 0) n = (uint32_t)(fused ? up.rows / 2 : up.rows);
    if (fused) {
        if ((r = plan_linear_part(b, d->up, d->up_bias, REG_G, in, 0, n)) ||
            (r = plan_linear_part(b, d->up, d->up_bias, REG_U, in, n, n)))
            return r;
    } else if (gate) {
        if ((r = plan_linear(b, d->gate, d->gate_bias, REG_G, in, n)) ||
            (r = plan_linear(b, d->up, d->up_bias, REG_U, in, n)))
            return r;
    } else {
        if ((r = plan_linear(b, d->up, d->up_bias, REG_G, in, n))) return r;
        plan_act(b, plan_ffn_act(b), REG_G, REG_G);
        return ERR_OK;
    }
    plan_glu(b, plan_ffn_act(b), REG_G, REG_G, REG_U);
    return ERR_OK;
}

static enum err dense(struct builder *b, const struct dense *d, enum plan_reg dst, enum plan_reg in,
                      uint32_t n)
{
    enum err r = hidden(b, d, in, n);

    if (r) return r;
    if (plan_peek(b, d->sub_norm, NULL) && (r = plan_norm(b, d->sub_norm, REG_G, REG_G))) return r;
    return plan_linear(b, d->down, d->down_bias, dst, REG_G, b->m->n_embd);
}

/* ---- experts ---- */

/* What the family's row says of routing, where the file says nothing. */
static void routing(const struct meta *m, struct plan_step *s)
{
    enum family_experts row = m->family->experts;

    s->u.route.gating = GATING_SOFTMAX;
    if (row == EXPERTS_CHOSEN) s->u.route.gating = GATING_SOFTMAX_CHOSEN;
    if (row == EXPERTS_SIGMOID_1) s->u.route.gating = GATING_SIGMOID;
    if (m->expert_gating) s->u.route.gating = (enum plan_gating)m->expert_gating;
    s->u.route.norm = row == EXPERTS_SOFTMAX_1 || row == EXPERTS_SIGMOID_1;
    if (m->expert_norm_said) s->u.route.norm = m->expert_norm;
    s->u.route.n_used = m->n_expert_used;
    s->u.route.n_group = m->n_expert_group;
    s->u.route.n_group_used = m->n_expert_group_used;
    s->scale = m->expert_scale != 0.0f ? m->expert_scale : 1.0f;
}

/* REG_E, REG_W = the chosen experts and their weights. */
static enum err route(struct builder *b, enum plan_reg in)
{
    const struct meta *m = b->m;
    struct plan_step *s;
    enum err r;

    if (!m->n_expert || !m->n_expert_used)
        return ERR_FAIL(b->e, FORMAT,
                        "blk.%d routes to experts, but the keys '%s.expert_count' and "
                        "'%s.expert_used_count' do not tell how many",
                        b->layer, m->family->name, m->family->name);
    if ((r = plan_linear(b, SLOT_FFN_GATE_INP, SLOT_FFN_GATE_INP_BIAS, REG_T0, in, m->n_expert)))
        return r;
    s = plan_emit(b, OP_ROUTE, REG_E, m->n_expert_used, REG_T0);
    s->dst2 = REG_W;
    b->n[REG_W] = m->n_expert_used;
    if (b->p->width[REG_W] < m->n_expert_used) b->p->width[REG_W] = m->n_expert_used;
    routing(m, s);
    return plan_find_vec(b, SLOT_EXP_PROBS_BIAS, m->n_expert, &s->w);
}

/* dst = the chosen experts' product of src, `rows` each (0: all that the file has), from row
 * `first` of each expert's matrix on. */
static enum err expert(struct builder *b, const enum slot wb[2], enum plan_reg dst,
                       enum plan_reg src, const uint32_t part[2])
{
    const struct meta *m = b->m;
    struct plan_tensor t;
    struct plan_step *s;
    uint32_t cols = src == REG_G ? b->n[src] / m->n_expert_used : b->n[src];
    int whole;
    enum err r = plan_need(b, wb[0], 0, cols, &whole);

    if (r) return r;
    t = b->tensors[whole];
    if (t.n_parts != m->n_expert)
        return ERR_FAIL(b->e, FORMAT, "tensor '%.*s' holds %u experts, but the model has %u",
                        STR(t.name), t.n_parts, m->n_expert);
    if (part[1] == 0 || part[1] * (uint64_t)t.n_parts == t.rows) {
        s = plan_emit(b, OP_EXPERT, dst, (uint32_t)(t.rows / t.n_parts) * m->n_expert_used, src);
        s->w = whole;
    } else {
        s = plan_emit(b, OP_EXPERT, dst, part[1] * m->n_expert_used, src);
        if ((r = plan_slice(b, whole, part[0], part[1], &s->w))) return r;
    }
    s->src2 = REG_E;
    s->n_src2 = b->n[REG_E];
    s->u.route.n_used = m->n_expert_used;
    return plan_find_vec(b, wb[1], b->tensors[s->w].rows, &s->b);
}

/* The experts' hidden layer in REG_G. */
static enum err expert_hidden(struct builder *b, enum plan_reg in)
{
    static const enum slot gate[] = {SLOT_FFN_GATE_EXPS, SLOT_FFN_GATE_EXPS_BIAS};
    static const enum slot up[] = {SLOT_FFN_UP_EXPS, SLOT_FFN_UP_EXPS_BIAS};
    static const enum slot both[] = {SLOT_FFN_GATE_UP_EXPS, SLOT_NONE};
    static const uint32_t all[2] = {0, 0};
    struct plan_tensor t;
    uint32_t n;
    enum err r;

    if (plan_peek(b, both[0], &t)) {
        n = (uint32_t)(t.rows / t.n_parts / 2);
        if ((r = expert(b, both, REG_G, in, (uint32_t[]){0, n})) ||
            (r = expert(b, both, REG_U, in, (uint32_t[]){n, n})))
            return r;
    } else if (plan_peek(b, gate[0], NULL)) {
        if ((r = expert(b, gate, REG_G, in, all)) || (r = expert(b, up, REG_U, in, all))) return r;
    } else {
        if ((r = expert(b, up, REG_G, in, all))) return r;
        plan_act(b, plan_ffn_act(b), REG_G, REG_G);
        return ERR_OK;
    }
    if (b->n[REG_G] != b->n[REG_U])
        return ERR_FAIL(b->e, FORMAT, "blk.%d: gate and up of the experts differ in size",
                        b->layer);
    plan_glu(b, plan_ffn_act(b), REG_G, REG_G, REG_U);
    return ERR_OK;
}

/* REG_P = the block of experts that all tokens share, gated where the file has a gate. */
static enum err shared_experts(struct builder *b, enum plan_reg in)
{
    enum err r = dense(b, &shared, REG_P, in, 0);

    if (r || !plan_peek(b, SLOT_FFN_GATE_INP_SHEXP, NULL)) return r;
    if ((r = plan_linear(b, SLOT_FFN_GATE_INP_SHEXP, SLOT_NONE, REG_T1, in, 1))) return r;
    plan_act(b, ACT_SIGMOID, REG_T1, REG_T1);
    plan_mul(b, REG_P, REG_P, REG_T1);
    return ERR_OK;
}

/* REG_D = the chosen experts' results for `in`, weighted by `w` and summed. */
static enum err experts(struct builder *b, enum plan_reg in, enum plan_reg w)
{
    static const enum slot down[] = {SLOT_FFN_DOWN_EXPS, SLOT_FFN_DOWN_EXPS_BIAS};
    const struct meta *m = b->m;
    struct plan_step *s;
    enum err r = expert_hidden(b, in);

    if (r || (r = expert(b, down, REG_T0, REG_G, (uint32_t[]){0, m->n_embd}))) return r;
    if (b->n[REG_T0] != m->n_embd * m->n_expert_used)
        return ERR_FAIL(b->e, FORMAT, "blk.%d.ffn_down_exps.weight does not give %u columns",
                        b->layer, m->n_embd);
    s = plan_emit(b, OP_MIX, REG_D, m->n_embd, REG_T0);
    s->src2 = w;
    s->n_src2 = b->n[w];
    s->u.route.n_used = m->n_expert_used;
    return ERR_OK;
}

static enum err mixture(struct builder *b, enum plan_reg in)
{
    bool has_shared = plan_peek(b, SLOT_FFN_UP_SHEXP, NULL);
    enum err r;

    if ((r = route(b, in)) || (has_shared && (r = shared_experts(b, in))) ||
        (r = experts(b, in, REG_W)))
        return r;
    if (has_shared) plan_add(b, REG_D, REG_P, 1.0f);
    return ERR_OK;
}

/* REG_T2 = the weights of the chosen experts, each times its expert's own scale: a product with
 * matrices of one value. */
static enum err scaled_weights(struct builder *b, enum plan_reg *w)
{
    const struct meta *m = b->m;
    struct plan_step *s;
    enum err r;

    *w = REG_W;
    if (!plan_peek(b, SLOT_FFN_DOWN_EXPS_SCALE, NULL)) return ERR_OK;
    *w = REG_T2;
    s = plan_emit(b, OP_EXPERT, REG_T2, m->n_expert_used, REG_W);
    s->src2 = REG_E;
    s->n_src2 = b->n[REG_E];
    s->u.route.n_used = m->n_expert_used;
    if ((r = plan_need_vec(b, SLOT_FFN_DOWN_EXPS_SCALE, m->n_expert, &s->w))) return r;
    b->tensors[s->w].rows = b->tensors[s->w].n_parts = m->n_expert;
    b->tensors[s->w].cols = 1;
    return ERR_OK;
}

enum err plan_mixture_beside(struct builder *b)
{
    uint32_t n = b->m->n_embd;
    struct plan_step *s;
    enum plan_reg w;
    enum err r;

    if ((r = plan_norm(b, SLOT_FFN_NORM, REG_H, REG_X)) ||
        (r = dense(b, &ordinary, REG_P, REG_H, plan_layer(b)->n_ff)) ||
        (r = plan_norm(b, SLOT_POST_FFW_NORM_1, REG_P, REG_P)))
        return r;
    /* The router reads x normalised without a weight. */
    s = plan_emit(b, OP_RMSNORM, REG_H, n, REG_X);
    s->group = n;
    s->eps = b->m->norm_eps;
    plan_emit(b, OP_SCALE, REG_H, n, REG_H)->scale = 1.0f / sqrtf((float)n);
    if ((r = plan_mul_vec(b, SLOT_FFN_GATE_INP_SCALE, REG_H, REG_H)) || (r = route(b, REG_H)) ||
        (r = scaled_weights(b, &w)) || (r = plan_norm(b, SLOT_PRE_FFW_NORM_2, REG_H, REG_X)) ||
        (r = experts(b, REG_H, w)) || (r = plan_norm(b, SLOT_POST_FFW_NORM_2, REG_D, REG_D)))
        return r;
    plan_add(b, REG_D, REG_P, 1.0f);
    return ERR_OK;
}

enum err plan_feed_forward(struct builder *b, enum plan_reg in)
{
    if (plan_peek(b, SLOT_FFN_GATE_INP, NULL)) return mixture(b, in);
    if (plan_layer(b)->n_ff == 0)
        return ERR_FAIL(
            b->e, FORMAT,
            "blk.%d has a feed-forward block, but the key '%s.feed_forward_length' is 0", b->layer,
            b->m->family->name);
    return dense(b, &ordinary, REG_D, in, plan_layer(b)->n_ff);
}
