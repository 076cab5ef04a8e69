/* plan_attn: attention blocks.
 *
 * plan_attention() covers multi-head, grouped and multi-query attention with whatever the file has:
 * q, k, v apart or fused, biases, norms of q and k, clamps, windows, soft-caps, sinks, gates.
 * plan_latent_attention() is DeepSeek's multi-head latent attention (DeepSeek-V2, 2024, section
 * 2.1). Files with k_b and v_b run it absorbed: q meets k_b, so that all heads share one key, the
 * latent vector and its rotated part, which is all that the cache holds. Older files with kv_b
 * expand keys and values of every head first.
 */
#include <math.h>

#include "model/plan_int.h"

/* Some families leave the rotation out in some layers. */
static bool has_rope(const struct builder *b)
{
    unsigned flags = b->m->family->flags;

    if ((flags & FAMILY_ROPE_LOCAL) && b->m->window && !plan_layer(b)->swa) return false;
    if ((flags & FAMILY_NOPE_4TH) && (b->layer + 1) % 4 == 0) return false;
    return true;
}

static void rope(struct builder *b, enum plan_reg r, uint32_t n_head, uint32_t first)
{
    int table = plan_layer(b)->swa ? b->rope_local : b->rope_global;
    struct plan_step *s;

    if (table < 0 || !has_rope(b)) return;
    s = plan_emit(b, OP_ROPE, r, b->n[r], r);
    s->n_head = n_head;
    s->head_dim = b->n[r] / n_head;
    s->index = (uint32_t)table;
    s->u.rope.first = first;
}

/* Normalises heads in place if the file has a weight for it: of one head, of each, or of all of
 * them as one row. */
static enum err head_norm(struct builder *b, enum slot slot, enum plan_reg r, uint32_t head_dim)
{
    struct plan_tensor t;
    uint64_t have;

    if (!plan_peek(b, slot, &t)) return ERR_OK;
    have = t.rows * t.cols;
    if (have != b->n[r] && have != head_dim)
        return ERR_FAIL(b->e, FORMAT, "tensor 'blk.%d.%s' has %llu elements; a head has %u",
                        b->layer, plan_slot_name(slot), (unsigned long long)have, head_dim);
    return plan_norm_groups(b, slot, r, t.rows == 1 && have == b->n[r] ? b->n[r] : head_dim);
}

static void clamp(struct builder *b, enum plan_reg r)
{
    if (b->m->clamp_qkv > 0) plan_emit(b, OP_CLAMP, r, b->n[r], r)->scale = b->m->clamp_qkv;
}

/* The cache of this layer, made where it is first written. */
static uint32_t cache(struct builder *b, uint32_t n_head, uint32_t k_dim, uint32_t v_dim)
{
    b->caches[b->p->n_caches] = (struct plan_cache){n_head, k_dim, v_dim};
    return b->p->n_caches++;
}

/* Appends k and v to a cache of this layer's own. */
static void put(struct builder *b, enum plan_reg k, enum plan_reg v, uint32_t n_head_kv)
{
    struct plan_step *s = plan_emit(b, OP_KVPUT, REG_NONE, 0, k);

    s->src2 = v;
    s->n_src2 = b->n[v];
    s->n_head = n_head_kv;
    s->head_dim = b->n[k] / n_head_kv;
    s->index = cache(b, n_head_kv, s->head_dim, b->n[v] / n_head_kv);
    b->cache_of[b->layer] = s->index;
}

/* Lets q attend to the keys of layer `of`; the result is in REG_A. */
static enum err attend(struct builder *b, enum plan_reg q, uint32_t of, float scale)
{
    const struct meta *m = b->m;
    uint32_t n_head = plan_layer(b)->n_head, index = b->cache_of[of];
    struct plan_step *s = plan_emit(b, OP_ATTN, REG_A, n_head * b->caches[index].v_dim, q);

    s->n_head = n_head;
    s->head_dim = b->n[q] / n_head;
    s->scale = scale;
    s->index = index;
    s->u.attn.all = !m->causal;
    s->u.attn.window = plan_layer(b)->swa ? m->window : 0;
    s->u.attn.softcap = m->attn_softcap;
    s->u.attn.alibi = m->alibi;
    return plan_find_vec(b, SLOT_ATTN_SINKS, n_head, &s->w);
}

/* ---- queries, keys, values ---- */

/* Queries and, in the same rows, a gate for each head's result: [head][q | gate]. */
static enum err gated_queries(struct builder *b, enum plan_reg in, uint32_t n)
{
    uint32_t n_head = plan_layer(b)->n_head, dim = n / n_head;
    enum err r = plan_linear(b, SLOT_ATTN_Q, SLOT_ATTN_Q_BIAS, REG_T0, in, 2 * n);

    if (r) return r;
    plan_cols(b, REG_Q, n, REG_T0, n_head, dim);
    plan_cols(b, REG_G, n, REG_T0, n_head, dim)->u.cols.from = dim;
    return ERR_OK;
}

static enum err fused(struct builder *b, enum plan_reg in, uint32_t q, uint32_t k, uint32_t v)
{
    struct plan_tensor t = {0};
    enum err r;

    plan_peek(b, SLOT_ATTN_QKV, &t);
    if (t.rows != (uint64_t)q + k + v)
        return ERR_FAIL(b->e, FORMAT,
                        "tensor 'blk.%d.attn_qkv.weight' has %llu rows; queries, keys and "
                        "values need %u",
                        b->layer, (unsigned long long)t.rows, q + k + v);
    if ((r = plan_linear_part(b, SLOT_ATTN_QKV, SLOT_ATTN_QKV_BIAS, REG_Q, in, 0, q)) ||
        (r = plan_linear_part(b, SLOT_ATTN_QKV, SLOT_ATTN_QKV_BIAS, REG_K, in, q, k)))
        return r;
    return plan_linear_part(b, SLOT_ATTN_QKV, SLOT_ATTN_QKV_BIAS, REG_V, in, q + k, v);
}

/* A layer that uses another's keys may have weights for its own all the same: they are named, so
 * that they count as known, and not used. */
static enum err pass_over(struct builder *b)
{
    static const enum slot slots[] = {SLOT_ATTN_K, SLOT_ATTN_V, SLOT_ATTN_K_NORM};
    enum err r = ERR_OK;
    int t;

    for (size_t i = 0; i < sizeof slots / sizeof *slots && !r; i++)
        r = plan_find(b, slots[i], 0, 0, &t);
    return r;
}

static enum err queries_keys_values(struct builder *b, enum plan_reg in, bool *gated)
{
    const struct meta_layer *l = plan_layer(b);
    uint32_t q = l->n_head * l->head_dim, k = l->n_head_kv * l->head_dim;
    uint32_t v = l->n_head_kv * l->head_dim_v;
    enum err r;

    *gated = b->m->family->flags & FAMILY_GATED_Q;
    if (plan_peek(b, SLOT_ATTN_QKV, NULL)) return fused(b, in, q, k, v);
    r = *gated ? gated_queries(b, in, q)
               : plan_linear(b, SLOT_ATTN_Q, SLOT_ATTN_Q_BIAS, REG_Q, in, q);
    if (r) return r;
    if (l->kv_of != (uint32_t)b->layer) return pass_over(b);
    if ((r = plan_linear(b, SLOT_ATTN_K, SLOT_ATTN_K_BIAS, REG_K, in, k))) return r;
    if (k != v || !(b->m->family->flags & FAMILY_V_NORM) || plan_peek(b, SLOT_ATTN_V, NULL))
        return plan_linear(b, SLOT_ATTN_V, SLOT_ATTN_V_BIAS, REG_V, in, v);
    plan_cols(b, REG_V, v, REG_K, 1, v); /* one product serves as both */
    return ERR_OK;
}

/* Gates the heads' results: by columns of the query product, or by a product of its own. */
static enum err gate(struct builder *b, enum plan_reg in, bool gated)
{
    enum err r;

    if (!gated && !plan_peek(b, SLOT_ATTN_GATE, NULL)) return ERR_OK;
    if (!gated && (r = plan_linear(b, SLOT_ATTN_GATE, SLOT_NONE, REG_G, in, 0))) return r;
    if (!b->n[REG_G] || b->n[REG_A] % b->n[REG_G])
        return ERR_FAIL(b->e, FORMAT, "tensor 'blk.%d.attn_gate.weight' has %u rows for %u columns",
                        b->layer, b->n[REG_G], b->n[REG_A]);
    plan_act(b, ACT_SIGMOID, REG_G, REG_G);
    plan_mul(b, REG_A, REG_A, REG_G);
    return ERR_OK;
}

/* Keys and values clamped, normalised, rotated and put away. */
static enum err keys_values(struct builder *b)
{
    const struct meta_layer *l = plan_layer(b);
    unsigned flags = b->m->family->flags;
    bool late = flags & FAMILY_NORM_AFTER_ROPE;
    enum err r;

    clamp(b, REG_K);
    clamp(b, REG_V);
    if (late) rope(b, REG_K, l->n_head_kv, 0);
    if ((r = head_norm(b, SLOT_ATTN_K_NORM, REG_K, l->head_dim))) return r;
    if ((flags & FAMILY_V_NORM) && (r = plan_norm_groups(b, SLOT_NONE, REG_V, l->head_dim_v)))
        return r;
    if (!late) rope(b, REG_K, l->n_head_kv, 0);
    put(b, REG_K, REG_V, l->n_head_kv);
    return ERR_OK;
}

enum err plan_attention(struct builder *b, enum plan_reg in)
{
    const struct meta *m = b->m;
    const struct meta_layer *l = plan_layer(b);
    bool late = m->family->flags & FAMILY_NORM_AFTER_ROPE, gated;
    float scale = m->attn_scale != 0.0f ? m->attn_scale : 1.0f / sqrtf((float)l->head_dim);
    enum err r;

    if (l->n_head_kv == 0)
        return ERR_FAIL(b->e, FORMAT, "blk.%d attends, but the file says that it has no key heads",
                        b->layer);
    if ((r = queries_keys_values(b, in, &gated))) return r;
    clamp(b, REG_Q);
    if (late) rope(b, REG_Q, l->n_head, 0);
    if ((r = head_norm(b, SLOT_ATTN_Q_NORM, REG_Q, l->head_dim))) return r;
    if (!late) rope(b, REG_Q, l->n_head, 0);
    if ((l->kv_of == (uint32_t)b->layer && (r = keys_values(b))) ||
        (r = attend(b, REG_Q, l->kv_of, scale)) || (r = gate(b, in, gated)))
        return r;
    if (plan_peek(b, SLOT_ATTN_SUB_NORM, NULL) &&
        (r = plan_norm(b, SLOT_ATTN_SUB_NORM, REG_A, REG_A)))
        return r;
    return plan_linear(b, SLOT_ATTN_OUTPUT, SLOT_ATTN_OUTPUT_BIAS, REG_D, REG_A, m->n_embd);
}

/* ---- latent attention ---- */

/* Sizes of a head before anything is absorbed. */
struct latent {
    uint32_t n_head, nope, rot, v, lora;
};

static enum err latent_sizes(const struct builder *b, struct latent *z)
{
    const struct meta *m = b->m;
    uint32_t k = m->head_dim_mla ? m->head_dim_mla : m->head_dim;

    *z = (struct latent){.n_head = plan_layer(b)->n_head,
                         .rot = m->n_rot,
                         .v = m->head_dim_v_mla ? m->head_dim_v_mla : m->head_dim_v,
                         .lora = m->kv_lora};
    if (k <= m->n_rot)
        return ERR_FAIL(b->e, FORMAT, "latent attention: heads of %u with %u rotated columns", k,
                        m->n_rot);
    z->nope = k - m->n_rot;
    return ERR_OK;
}

/* [head][nope | rot], the rotated columns rotated. */
static enum err latent_queries(struct builder *b, enum plan_reg in, const struct latent *z)
{
    uint32_t n = z->n_head * (z->nope + z->rot);
    enum err r;

    if (!plan_peek(b, SLOT_ATTN_Q_A, NULL)) {
        r = plan_linear(b, SLOT_ATTN_Q, SLOT_NONE, REG_Q, in, n);
    } else if (!(r = plan_linear(b, SLOT_ATTN_Q_A, SLOT_NONE, REG_T0, in, b->m->q_lora)) &&
               !(r = plan_norm(b, SLOT_ATTN_Q_A_NORM, REG_T0, REG_T0))) {
        r = plan_linear(b, SLOT_ATTN_Q_B, SLOT_NONE, REG_Q, REG_T0, n);
    }
    if (!r) rope(b, REG_Q, z->n_head, z->nope);
    return r;
}

static enum err head_linear(struct builder *b, enum slot slot, enum plan_reg dst, enum plan_reg src,
                            const uint32_t shape[4])
{
    uint32_t n_head =
        plan_layer(b)->n_head; /* shape: rows, cols, columns from head to head out, in */
    struct plan_step *s = plan_emit(b, OP_HEADLIN, dst, n_head * shape[2], src);

    s->n_head = n_head;
    s->u.headlin.out_stride = shape[2];
    s->u.headlin.in_stride = shape[3];
    return plan_need(b, slot, (uint64_t)n_head * shape[0], shape[1], &s->w);
}

/* T0 = latent vector, T1 = its rotated part. */
static enum err absorbed(struct builder *b, const struct latent *z, float scale)
{
    uint32_t wide = z->lora + z->rot, in = z->nope + z->rot;
    struct plan_step *s;
    enum err r =
        head_linear(b, SLOT_ATTN_K_B, REG_T2, REG_Q, (uint32_t[]){z->lora, z->nope, wide, in});

    if (r) return r;
    s = plan_cols(b, REG_T2, z->n_head * wide, REG_Q, z->n_head, z->rot);
    s->u.cols.from = z->nope;
    s->u.cols.from_stride = in;
    s->u.cols.to = z->lora;
    s->u.cols.to_stride = wide;
    s->u.cols.onto = true;
    plan_cols(b, REG_K, wide, REG_T0, 1, z->lora);
    s = plan_cols(b, REG_K, wide, REG_T1, 1, z->rot);
    s->u.cols.to = z->lora;
    s->u.cols.onto = true;
    put(b, REG_K, REG_T0, 1);
    if ((r = attend(b, REG_T2, (uint32_t)b->layer, scale))) return r;
    return head_linear(b, SLOT_ATTN_V_B, REG_T3, REG_A, (uint32_t[]){z->v, z->lora, z->v, z->lora});
}

static enum err expanded(struct builder *b, const struct latent *z, float scale)
{
    uint32_t out = z->nope + z->v, k = z->nope + z->rot;
    struct plan_step *s;
    enum err r = plan_linear(b, SLOT_ATTN_KV_B, SLOT_NONE, REG_T2, REG_T0, z->n_head * out);

    if (r) return r;
    plan_cols(b, REG_K, z->n_head * k, REG_T2, z->n_head, z->nope);
    s = plan_cols(b, REG_K, z->n_head * k, REG_T1, z->n_head, z->rot);
    s->u.cols.from_stride = 0; /* one rotated part for all heads */
    s->u.cols.to = z->nope;
    s->u.cols.to_stride = k;
    s->u.cols.onto = true;
    plan_cols(b, REG_V, z->n_head * z->v, REG_T2, z->n_head, z->v)->u.cols.from = z->nope;
    put(b, REG_K, REG_V, z->n_head);
    return attend(b, REG_Q, (uint32_t)b->layer, scale);
}

/* YaRN lengthens scores by the square of its factor where the file names one for latent attention;
 * the rotation then keeps its length (plan_rope). */
static float latent_scale(const struct meta *m, const struct latent *z)
{
    double length = 1;

    if (m->rope_scaling == ROPE_YARN && m->rope_factor > 1.0f)
        length += 0.1 * (double)m->yarn_log_mul * log((double)m->rope_factor);
    return (float)(length * length / sqrt((double)(z->nope + z->rot)));
}

enum err plan_latent_attention(struct builder *b, enum plan_reg in)
{
    struct latent z;
    uint32_t lora = b->m->kv_lora;
    bool latent = plan_peek(b, SLOT_ATTN_K_B, NULL);
    float scale;
    enum err r;

    if (!lora)
        return ERR_FAIL(b->e, FORMAT, "latent attention, but no key '%s.attention.kv_lora_rank'",
                        b->m->family->name);
    if ((r = latent_sizes(b, &z)) || (r = latent_queries(b, in, &z)) ||
        (r = plan_linear_part(b, SLOT_ATTN_KV_A_MQA, SLOT_NONE, REG_T0, in, 0, lora)) ||
        (r = plan_linear_part(b, SLOT_ATTN_KV_A_MQA, SLOT_NONE, REG_T1, in, lora, z.rot)) ||
        (r = plan_norm(b, SLOT_ATTN_KV_A_NORM, REG_T0, REG_T0)))
        return r;
    rope(b, REG_T1, 1, 0);
    scale = latent_scale(b->m, &z);
    r = latent ? absorbed(b, &z, scale) : expanded(b, &z, scale);
    if (r) return r;
    return plan_linear(b, SLOT_ATTN_OUTPUT, SLOT_NONE, REG_D, latent ? REG_T3 : REG_A,
                       b->m->n_embd);
}
