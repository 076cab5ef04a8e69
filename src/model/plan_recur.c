/* plan_recur: blocks whose state goes from token to token in place of a cache of keys.
 *
 * Mamba (Gu and Dao 2023), Mamba-2 (Dao and Gu 2024), the gated delta net (Yang et al. 2024, as in
 * Qwen3-Next), LFM2's short convolution, and RWKV-6 and 7 (Peng et al. 2024, 2025). Products that
 * the file has fused are taken as parts, each with its part of the convolution, so that every
 * quantity is a register of its own. Sizes are those of the keys ssm.* and wkv.*; the ranks of
 * RWKV's small products are read from their tensors.
 */
#include <math.h>

#include "model/plan_int.h"

#define DELTA_REPEAT 16 /* most value heads of one key head */

static enum err no_key(const struct builder *b, const char *what)
{
    return ERR_FAIL(b->e, FORMAT, "blk.%d needs the key '%s.%s', which the file lacks", b->layer,
                    b->m->family->name, what);
}

/* r = silu(convolution of r) with rows first.. of the layer's kernel. */
static enum err convolve(struct builder *b, enum plan_reg r, uint64_t first, bool act)
{
    uint32_t n = b->n[r], k = b->m->ssm_conv;
    struct plan_step *s = plan_emit(b, OP_CONV, r, n, r);
    int whole, bias;
    enum err e;

    if ((e = plan_need(b, SLOT_SSM_CONV1D, 0, k, &whole)) ||
        (e = plan_slice(b, whole, first, n, &s->w)) ||
        (e = plan_find(b, SLOT_SSM_CONV1D_BIAS, 1, 0, &bias)) ||
        (bias != PLAN_NO_TENSOR && (e = plan_slice(b, bias, first, n, &s->b))))
        return e;
    s->index = plan_state(b, (uint64_t)n * (k - 1));
    if (act) plan_act(b, ACT_SILU, r, r);
    return ERR_OK;
}

static enum err ssm_keys(const struct builder *b)
{
    const struct meta *m = b->m;

    if (!m->ssm_inner) return no_key(b, "ssm.inner_size");
    if (!m->ssm_state) return no_key(b, "ssm.state_size");
    if (!m->ssm_rank) return no_key(b, "ssm.time_step_rank");
    return m->ssm_conv ? ERR_OK : no_key(b, "ssm.conv_kernel");
}

/* A norm that only some families have, and some without a weight. */
static enum err norm_if(struct builder *b, enum slot slot, enum plan_reg r)
{
    if (b->m->ssm_norms && !plan_peek(b, slot, NULL))
        return plan_norm_groups(b, SLOT_NONE, r, b->n[r]);
    return plan_peek(b, slot, NULL) ? plan_norm(b, slot, r, r) : ERR_OK;
}

/* x in T0, z in G, dt in T1, B in T2, C in T3, y in A. */
enum err plan_mamba(struct builder *b, enum plan_reg in)
{
    const struct meta *m = b->m;
    uint32_t n = m->ssm_inner, rank = m->ssm_rank, state = m->ssm_state;
    struct plan_step *s;
    enum err r;

    if ((r = ssm_keys(b)) || (r = plan_linear_part(b, SLOT_SSM_IN, SLOT_NONE, REG_T0, in, 0, n)) ||
        (r = plan_linear_part(b, SLOT_SSM_IN, SLOT_NONE, REG_G, in, n, n)) ||
        (r = convolve(b, REG_T0, 0, true)) ||
        (r = plan_linear_part(b, SLOT_SSM_X, SLOT_NONE, REG_T1, REG_T0, 0, rank)) ||
        (r = plan_linear_part(b, SLOT_SSM_X, SLOT_NONE, REG_T2, REG_T0, rank, state)) ||
        (r = plan_linear_part(b, SLOT_SSM_X, SLOT_NONE, REG_T3, REG_T0, rank + state, state)) ||
        (r = norm_if(b, SLOT_SSM_DT_NORM, REG_T1)) || (r = norm_if(b, SLOT_SSM_B_NORM, REG_T2)) ||
        (r = norm_if(b, SLOT_SSM_C_NORM, REG_T3)) ||
        (r = plan_linear(b, SLOT_SSM_DT, SLOT_SSM_DT_BIAS, REG_T4, REG_T1, n)))
        return r;
    s = plan_emit(b, OP_SCAN, REG_A, n, REG_T0);
    s->src2 = REG_T4;
    s->src3 = REG_T2;
    s->src4 = REG_T3;
    s->n_src2 = n;
    s->u.scan.n_state = state;
    s->u.scan.n_group = 1;
    s->index = plan_state(b, (uint64_t)n * state);
    if ((r = plan_need_vec(b, SLOT_SSM_A, (uint64_t)n * state, &s->w)) ||
        (r = plan_need_vec(b, SLOT_SSM_D, n, &s->w2)))
        return r;
    plan_glu(b, ACT_SILU, REG_A, REG_G, REG_A);
    return plan_linear(b, SLOT_SSM_OUT, SLOT_NONE, REG_D, REG_A, m->n_embd);
}

/* x in T0, B in T2, C in T3, dt in T1, z in G, y in A. */
enum err plan_mamba2(struct builder *b, enum plan_reg in)
{
    const struct meta *m = b->m;
    uint32_t n = m->ssm_inner, heads = m->ssm_rank, groups = m->ssm_group ? m->ssm_group : 1;
    uint32_t bc = groups * m->ssm_state;
    struct plan_step *s;
    enum err r = ssm_keys(b);

    if (r) return r;
    if (n % heads || heads % groups || n % groups)
        return ERR_FAIL(b->e, FORMAT,
                        "blk.%d: %u columns do not divide into %u heads and %u groups", b->layer, n,
                        heads, groups);
    if ((r = plan_linear_part(b, SLOT_SSM_IN, SLOT_NONE, REG_G, in, 0, n)) ||
        (r = plan_linear_part(b, SLOT_SSM_IN, SLOT_NONE, REG_T0, in, n, n)) ||
        (r = plan_linear_part(b, SLOT_SSM_IN, SLOT_NONE, REG_T2, in, 2 * n, bc)) ||
        (r = plan_linear_part(b, SLOT_SSM_IN, SLOT_NONE, REG_T3, in, 2 * n + bc, bc)) ||
        (r = plan_linear_part(b, SLOT_SSM_IN, SLOT_NONE, REG_T1, in, 2 * n + 2 * bc, heads)) ||
        (r = plan_need_vec(b, SLOT_SSM_DT_BIAS, heads, &b->steps[b->p->n_steps - 1].b)) ||
        (r = convolve(b, REG_T0, 0, true)) || (r = convolve(b, REG_T2, n, true)) ||
        (r = convolve(b, REG_T3, n + bc, true)))
        return r;
    s = plan_emit(b, OP_SCAN_HEADS, REG_A, n, REG_T0);
    s->src2 = REG_T1;
    s->src3 = REG_T2;
    s->src4 = REG_T3;
    s->n_src2 = heads;
    s->n_head = heads;
    s->head_dim = n / heads;
    s->u.scan.n_state = m->ssm_state;
    s->u.scan.n_group = groups;
    s->index = plan_state(b, (uint64_t)n * m->ssm_state);
    if ((r = plan_need_vec(b, SLOT_SSM_A, heads, &s->w)) ||
        (r = plan_need_vec(b, SLOT_SSM_D, heads, &s->w2)))
        return r;
    plan_glu(b, ACT_SILU, REG_A, REG_G, REG_A);
    if (plan_peek(b, SLOT_SSM_NORM, NULL) &&
        (r = plan_norm_groups(b, SLOT_SSM_NORM, REG_A, n / groups)))
        return r;
    return plan_linear(b, SLOT_SSM_OUT, SLOT_NONE, REG_D, REG_A, m->n_embd);
}

enum err plan_shortconv(struct builder *b, enum plan_reg in)
{
    uint32_t n = b->m->n_embd, k = b->m->conv_kernel;
    struct plan_step *s;
    enum err r;

    if (!k) return no_key(b, "shortconv.l_cache");
    if ((r = plan_linear_part(b, SLOT_SHORTCONV_IN, SLOT_NONE, REG_T0, in, 0, n)) ||
        (r = plan_linear_part(b, SLOT_SHORTCONV_IN, SLOT_NONE, REG_G, in, n, n)) ||
        (r = plan_linear_part(b, SLOT_SHORTCONV_IN, SLOT_NONE, REG_T1, in, 2 * n, n)))
        return r;
    plan_mul(b, REG_T0, REG_T0, REG_T1);
    s = plan_emit(b, OP_CONV, REG_T0, n, REG_T0);
    s->index = plan_state(b, (uint64_t)n * (k - 1));
    if ((r = plan_need(b, SLOT_SHORTCONV_CONV, n, k, &s->w))) return r;
    plan_mul(b, REG_T0, REG_T0, REG_G);
    return plan_linear(b, SLOT_SHORTCONV_OUT, SLOT_NONE, REG_D, REG_T0, n);
}

/* ---- gated delta net ---- */

struct delta {
    uint32_t k_heads, v_heads, dim; /* key heads are repeated to the value heads */
};

/* T1 = write strengths, T2 = log decays, a value head each. */
static enum err delta_gates(struct builder *b, enum plan_reg in, const struct delta *z)
{
    uint32_t n = z->v_heads, per = n / z->k_heads;
    struct plan_step *s;
    enum err r;

    if (plan_peek(b, SLOT_SSM_BA, NULL)) { /* [key head][strengths | decays] */
        if ((r = plan_linear(b, SLOT_SSM_BA, SLOT_NONE, REG_T0, in, 2 * n))) return r;
        plan_cols(b, REG_T1, n, REG_T0, z->k_heads, per);
        plan_cols(b, REG_T2, n, REG_T0, z->k_heads, per)->u.cols.from = per;
    } else if ((r = plan_linear(b, SLOT_SSM_BETA, SLOT_NONE, REG_T1, in, n)) ||
               (r = plan_linear(b, SLOT_SSM_ALPHA, SLOT_NONE, REG_T2, in, n))) {
        return r;
    }
    plan_act(b, ACT_SIGMOID, REG_T1, REG_T1);
    s = plan_emit(b, OP_ROWADD, REG_T2, n, REG_T2);
    if ((r = plan_need(b, SLOT_SSM_DT_BIAS, 1, n, &s->w))) return r;
    plan_act(b, ACT_SOFTPLUS, REG_T2, REG_T2);
    return plan_mul_vec(b, SLOT_SSM_A, REG_T2, REG_T2);
}

/* dst = heads of src, normalised and repeated to the value heads. */
static void delta_heads(struct builder *b, enum plan_reg dst, enum plan_reg src,
                        const struct delta *z)
{
    uint32_t per = z->v_heads / z->k_heads, n = z->v_heads * z->dim;
    bool tiled = b->m->family->flags & FAMILY_DELTA_TILED;
    struct plan_step *s = plan_emit(b, OP_RMSNORM, src, b->n[src], src);

    /* x / sqrt(x . x + eps), from the root of the mean */
    s->group = z->dim;
    s->eps = b->m->norm_eps / (float)z->dim;
    plan_emit(b, OP_SCALE, src, b->n[src], src)->scale = 1.0f / sqrtf((float)z->dim);
    for (uint32_t i = 0; i < per; i++) {
        s = plan_cols(b, dst, n, src, z->k_heads, z->dim);
        s->u.cols.onto = i > 0;
        s->u.cols.from_stride = z->dim;
        s->u.cols.to = i * z->dim * (tiled ? z->k_heads : 1);
        s->u.cols.to_stride = z->dim * (tiled ? 1 : per);
    }
}

enum err plan_delta_net(struct builder *b, enum plan_reg in)
{
    const struct meta *m = b->m;
    struct delta z = {m->ssm_group, m->ssm_rank, m->ssm_state};
    uint32_t k, v = m->ssm_inner;
    struct plan_step *s;
    enum err r = ssm_keys(b);

    if (r) return r;
    if (!z.k_heads || z.v_heads % z.k_heads || z.v_heads / z.k_heads > DELTA_REPEAT ||
        v != z.v_heads * z.dim)
        return ERR_FAIL(b->e, FORMAT, "blk.%d: %u value heads of %u over %u key heads", b->layer,
                        z.v_heads, z.dim, z.k_heads);
    k = z.k_heads * z.dim;
    if ((r = plan_linear_part(b, SLOT_ATTN_QKV, SLOT_NONE, REG_Q, in, 0, k)) ||
        (r = plan_linear_part(b, SLOT_ATTN_QKV, SLOT_NONE, REG_K, in, k, k)) ||
        (r = plan_linear_part(b, SLOT_ATTN_QKV, SLOT_NONE, REG_V, in, 2 * k, v)) ||
        (r = plan_linear(b, SLOT_ATTN_GATE, SLOT_NONE, REG_G, in, v)) ||
        (r = delta_gates(b, in, &z)) || (r = convolve(b, REG_Q, 0, true)) ||
        (r = convolve(b, REG_K, k, true)) || (r = convolve(b, REG_V, 2 * k, true)))
        return r;
    delta_heads(b, REG_T3, REG_Q, &z);
    delta_heads(b, REG_T4, REG_K, &z);
    s = plan_emit(b, OP_DELTA, REG_A, v, REG_T3);
    s->src2 = REG_T4;
    s->src3 = REG_V;
    s->src4 = REG_T2;
    s->src5 = REG_T1;
    s->n_src2 = b->n[REG_T4];
    s->n_head = z.v_heads;
    s->head_dim = z.dim;
    s->scale = 1.0f / sqrtf((float)z.dim);
    s->index = plan_state(b, (uint64_t)z.v_heads * z.dim * z.dim);
    if ((r = plan_norm_groups(b, SLOT_SSM_NORM, REG_A, z.dim))) return r;
    plan_glu(b, ACT_SILU, REG_A, REG_G, REG_A);
    return plan_linear(b, SLOT_SSM_OUT, SLOT_NONE, REG_D, REG_A, m->n_embd);
}

/* ---- RWKV ---- */

/* dst = in moved towards the row before it (REG_P) by part i of the fused mix vectors, or by a
 * vector of its own, plus `more` if that is a register. */
static enum err mix(struct builder *b, enum plan_reg dst, enum plan_reg in, enum slot slot,
                    const int part[2], enum plan_reg more)
{
    uint32_t n = b->n[in];
    struct plan_step *s = plan_emit(b, OP_LERP, dst, n, in);
    int whole;
    enum err r;

    s->src2 = REG_P;
    s->n_src2 = n;
    s->src3 = more;
    if (!part) return plan_need_vec(b, slot, n, &s->w);
    if ((r = plan_need(b, slot, 0, n, &whole))) return r;
    if (b->tensors[whole].rows != (uint64_t)part[1])
        return ERR_FAIL(b->e, FORMAT, "tensor 'blk.%d.%s' holds %llu mixes, not %d", b->layer,
                        plan_slot_name(slot), (unsigned long long)b->tensors[whole].rows, part[1]);
    b->tensors[whole].n_parts = 1;
    return plan_slice(b, whole, (uint64_t)part[0], 1, &s->w);
}

/* REG_P = the row before. */
static void shift(struct builder *b, enum plan_reg in)
{
    plan_emit(b, OP_SHIFT, REG_P, b->n[in], in)->index = plan_state(b, b->n[in]);
}

static enum err wkv_heads(const struct builder *b, uint32_t *heads)
{
    uint32_t n = b->m->n_embd, dim = b->m->wkv_head;

    if (!dim) return no_key(b, "wkv.head_size");
    if (n % dim)
        return ERR_FAIL(b->e, FORMAT, "an embedding of %u does not divide into heads of %u", n,
                        dim);
    *heads = n / dim;
    return ERR_OK;
}

/* A product by way of a small rank: dst = w2 act(w1 src) + b. */
static enum err low_rank(struct builder *b, const enum slot w[3], enum plan_reg dst,
                         enum plan_reg src, enum plan_act act)
{
    enum err r = plan_linear(b, w[0], SLOT_NONE, REG_U, src, 0);

    if (r) return r;
    if (act != ACT_COUNT) plan_act(b, act, REG_U, REG_U);
    return plan_linear(b, w[1], w[2], dst, REG_U, b->m->n_embd);
}

/* REG_A normalised head by head, as both RWKVs do. */
static enum err wkv_norm(struct builder *b, uint32_t n)
{
    struct plan_step *s = plan_emit(b, OP_LAYERNORM, REG_A, n, REG_A);
    enum err r;

    s->group = b->m->wkv_head;
    s->eps = 64e-5f;
    if ((r = plan_need_vec(b, SLOT_TIME_MIX_LN, n, &s->w))) return r;
    return plan_find_vec(b, SLOT_TIME_MIX_LN_BIAS, n, &s->b);
}

/* The five mixes of RWKV-6 depend on the input by way of a product of small rank: T0..T4 = inputs
 * of decay, key, value, receptance, gate. */
static enum err mixes6(struct builder *b, enum plan_reg in)
{
    struct plan_tensor t = {0};
    uint32_t n = b->n[in], rank;
    int whole, part;
    struct plan_step *s;
    enum err r = mix(b, REG_U, in, SLOT_TIME_MIX_LERP_X, NULL, REG_NONE);

    if (r) return r;
    if (!plan_peek(b, SLOT_TIME_MIX_W1, &t) || t.rows % 5)
        return ERR_FAIL(b->e, FORMAT, "blk.%d.time_mix_w1.weight does not hold five products",
                        b->layer);
    rank = (uint32_t)(t.rows / 5);
    if ((r = plan_linear(b, SLOT_TIME_MIX_W1, SLOT_NONE, REG_G, REG_U, 5 * rank))) return r;
    plan_act(b, ACT_TANH, REG_G, REG_G);
    if ((r = plan_need(b, SLOT_TIME_MIX_W2, 5 * (uint64_t)n, rank, &whole))) return r;
    b->tensors[whole].n_parts = 1;
    for (int i = 0; i < 5; i++) {
        plan_cols(b, REG_U, rank, REG_G, 1, rank)->u.cols.from = (uint32_t)i * rank;
        if ((r = plan_slice(b, whole, (uint64_t)i * n, n, &part))) return r;
        s = plan_emit(b, OP_LINEAR, REG_A, n, REG_U);
        s->w = part;
        if ((r = mix(b, (enum plan_reg)(REG_T0 + i), in, SLOT_TIME_MIX_LERP_FUSED, (int[]){i, 5},
                     REG_A)))
            return r;
    }
    return ERR_OK;
}

enum err plan_rwkv6(struct builder *b, enum plan_reg in)
{
    static const enum slot decay[] = {SLOT_TIME_MIX_DECAY_W1, SLOT_TIME_MIX_DECAY_W2,
                                      SLOT_TIME_MIX_DECAY};
    uint32_t n = b->m->n_embd, heads;
    struct plan_step *s;
    enum err r = wkv_heads(b, &heads);

    if (r) return r;
    shift(b, in);
    if ((r = mixes6(b, in)) || (r = low_rank(b, decay, REG_T5, REG_T0, ACT_TANH)) ||
        (r = plan_linear(b, SLOT_TIME_MIX_KEY, SLOT_NONE, REG_K, REG_T1, n)) ||
        (r = plan_linear(b, SLOT_TIME_MIX_VALUE, SLOT_NONE, REG_V, REG_T2, n)) ||
        (r = plan_linear(b, SLOT_TIME_MIX_RECEPTANCE, SLOT_NONE, REG_Q, REG_T3, n)) ||
        (r = plan_linear(b, SLOT_TIME_MIX_GATE, SLOT_NONE, REG_G, REG_T4, n)))
        return r;
    plan_act(b, ACT_NEG_EXP_DECAY, REG_T5, REG_T5);
    s = plan_emit(b, OP_WKV6, REG_A, n, REG_Q);
    s->src2 = REG_K;
    s->src3 = REG_V;
    s->src4 = REG_T5;
    s->n_src2 = n;
    s->n_head = heads;
    s->head_dim = b->m->wkv_head;
    s->index = plan_state(b, (uint64_t)n * b->m->wkv_head);
    if ((r = plan_need_vec(b, SLOT_TIME_MIX_FIRST, n, &s->w)) || (r = wkv_norm(b, n))) return r;
    plan_glu(b, ACT_SILU, REG_A, REG_G, REG_A);
    return plan_linear(b, SLOT_TIME_MIX_OUTPUT, SLOT_NONE, REG_D, REG_A, n);
}

/* REG_V of later layers moves towards that of the first, which REG_S keeps. `x` is its input. */
static enum err first_value(struct builder *b, enum plan_reg x)
{
    static const enum slot value[] = {SLOT_TIME_MIX_V1, SLOT_TIME_MIX_V2, SLOT_TIME_MIX_V0};
    uint32_t n = b->m->n_embd;
    enum err r;

    if (b->layer == 0) {
        plan_cols(b, REG_S, n, REG_V, 1, n);
        return ERR_OK;
    }
    if ((r = low_rank(b, value, REG_T6, x, ACT_COUNT))) return r;
    plan_act(b, ACT_SIGMOID, REG_T6, REG_T6);
    plan_cols(b, REG_T7, n, REG_S, 1, n);
    plan_add(b, REG_T7, REG_V, -1.0f);
    plan_mul(b, REG_T7, REG_T7, REG_T6);
    plan_add(b, REG_V, REG_T7, 1.0f);
    return ERR_OK;
}

/* K = key made smaller where the state learns slowly; T2 = -kk, T3 = kk * rate, kk being the
 * normalised removal key; T4 holds the rate. */
static enum err removal_key(struct builder *b)
{
    uint32_t n = b->m->n_embd;
    struct plan_step *s;
    enum err r = plan_mul_vec(b, SLOT_TIME_MIX_K_K, REG_T3, REG_K);

    if (r) return r;
    s = plan_emit(b, OP_L2NORM, REG_T3, n, REG_T3);
    s->group = b->m->wkv_head;
    s->eps = 1e-12f;
    plan_emit(b, OP_SCALE, REG_T2, n, REG_T3)->scale = -1.0f;
    plan_mul(b, REG_T3, REG_T3, REG_T4);
    if ((r = plan_mul_vec(b, SLOT_TIME_MIX_K_A, REG_T6, REG_K))) return r; /* k k_a */
    plan_mul(b, REG_T7, REG_T6, REG_T4);                                   /* k k_a a */
    plan_add(b, REG_K, REG_T7, 1.0f);
    plan_add(b, REG_K, REG_T6, -1.0f);
    return ERR_OK;
}

/* A += v * sum over a head of (r * k * r_k). */
static enum err bonus(struct builder *b, uint32_t heads)
{
    uint32_t n = b->m->n_embd;
    struct plan_step *s;
    enum err r;

    plan_mul(b, REG_T6, REG_Q, REG_K);
    if ((r = plan_mul_vec(b, SLOT_TIME_MIX_R_K, REG_T6, REG_T6))) return r;
    s = plan_emit(b, OP_HEADSUM, REG_T7, heads, REG_T6);
    s->n_head = heads;
    s->head_dim = n / heads;
    plan_mul(b, REG_T6, REG_V, REG_T7);
    plan_add(b, REG_A, REG_T6, 1.0f);
    return ERR_OK;
}

enum err plan_rwkv7(struct builder *b, enum plan_reg in)
{
    static const enum slot decay[] = {SLOT_TIME_MIX_W1, SLOT_TIME_MIX_W2, SLOT_TIME_MIX_W0};
    static const enum slot rate[] = {SLOT_TIME_MIX_A1, SLOT_TIME_MIX_A2, SLOT_TIME_MIX_A0};
    static const enum slot gate[] = {SLOT_TIME_MIX_G1, SLOT_TIME_MIX_G2, SLOT_NONE};
    bool gated = plan_peek(b, SLOT_TIME_MIX_G1, NULL);
    uint32_t n = b->m->n_embd, heads;
    struct plan_step *s;
    enum err r = wkv_heads(b, &heads);

    if (r) return r;
    shift(b, in);
    for (int i = 0; i < 5 + gated; i++) /* inputs of r, decay, k, v, rate, gate: T0..T5 */
        if ((r = mix(b, (enum plan_reg)(REG_T0 + i), in, SLOT_TIME_MIX_LERP_FUSED,
                     (int[]){i, 5 + gated}, REG_NONE)))
            return r;
    if ((r = plan_linear(b, SLOT_TIME_MIX_RECEPTANCE, SLOT_NONE, REG_Q, REG_T0, n)) ||
        (r = low_rank(b, decay, REG_T1, REG_T1, ACT_TANH)) ||
        (r = plan_linear(b, SLOT_TIME_MIX_KEY, SLOT_NONE, REG_K, REG_T2, n)) ||
        (r = plan_linear(b, SLOT_TIME_MIX_VALUE, SLOT_NONE, REG_V, REG_T3, n)) ||
        (r = first_value(b, REG_T3)) || (r = low_rank(b, rate, REG_T4, REG_T4, ACT_COUNT)) ||
        (gated && (r = low_rank(b, gate, REG_G, REG_T5, ACT_SIGMOID))))
        return r;
    plan_act(b, ACT_SIGMOID_DECAY, REG_T1, REG_T1);
    plan_act(b, ACT_SIGMOID, REG_T4, REG_T4);
    if ((r = removal_key(b))) return r;
    s = plan_emit(b, OP_WKV7, REG_A, n, REG_Q);
    s->src2 = REG_T1;
    s->src3 = REG_K;
    s->src4 = REG_V;
    s->src5 = REG_T2;
    s->src6 = REG_T3;
    s->n_src2 = n;
    s->n_head = heads;
    s->head_dim = b->m->wkv_head;
    s->index = plan_state(b, (uint64_t)n * b->m->wkv_head);
    if ((r = wkv_norm(b, n)) || (r = bonus(b, heads))) return r;
    if (gated) plan_mul(b, REG_A, REG_A, REG_G);
    return plan_linear(b, SLOT_TIME_MIX_OUTPUT, SLOT_NONE, REG_D, REG_A, n);
}

/* RWKV's feed-forward block; that of RWKV-6 has a receptance. */
enum err plan_channel_mix(struct builder *b, enum plan_reg in)
{
    uint32_t n = b->m->n_embd;
    bool gated = plan_peek(b, SLOT_CHANNEL_MIX_RECEPTANCE, NULL);
    enum err r;

    shift(b, in);
    if ((r = mix(b, REG_T0, in, SLOT_CHANNEL_MIX_LERP_K, NULL, REG_NONE)) ||
        (r = plan_linear(b, SLOT_CHANNEL_MIX_KEY, SLOT_NONE, REG_G, REG_T0, plan_layer(b)->n_ff)))
        return r;
    plan_act(b, ACT_RELU_SQR, REG_G, REG_G);
    if ((r = plan_linear(b, SLOT_CHANNEL_MIX_VALUE, SLOT_NONE, REG_D, REG_G, n)) || !gated)
        return r;
    if ((r = mix(b, REG_T1, in, SLOT_CHANNEL_MIX_LERP_R, NULL, REG_NONE)) ||
        (r = plan_linear(b, SLOT_CHANNEL_MIX_RECEPTANCE, SLOT_NONE, REG_T2, REG_T1, n)))
        return r;
    plan_act(b, ACT_SIGMOID, REG_T2, REG_T2);
    plan_mul(b, REG_D, REG_D, REG_T2);
    return ERR_OK;
}
