/* meta_attn: the part of a model's numbers that attention needs: heads, windows, scales, RoPE.
 *
 * Counts of heads may differ from layer to layer; the size of a head may not. Layers that see only
 * a window are told by an array of the file, by a period of the file, or by the family's period.
 */
#include <math.h>
#include <stddef.h>

#include "base/limits.h"
#include "model/meta_int.h"

#define GEMMA3N_OWN_KV 20 /* layers with keys and values of their own */

/* ---- heads ---- */

static enum err check_heads(struct meta_reader *r)
{
    for (uint32_t i = 0; i < r->m->n_layer; i++) {
        const struct meta_layer *l = &r->layers[i];

        if (l->n_head_kv == 0) continue;
        if (l->n_head == 0 || l->n_head % l->n_head_kv)
            return ERR_FAIL(r->e, FORMAT, "%u attention heads cannot share %u key heads evenly",
                            l->n_head, l->n_head_kv);
    }
    return ERR_OK;
}

static enum err head_sizes(struct meta_reader *r)
{
    struct meta *m = r->m;
    uint32_t split = m->n_embd % m->n_head ? 0 : m->n_embd / m->n_head;
    enum err err;

    if (!split && !meta_has(r, "attention.key_length"))
        return ERR_FAIL(r->e, FORMAT,
                        "an embedding of %u does not divide into %u heads, and the key '%s' is "
                        "absent",
                        m->n_embd, m->n_head, r->key);
    if ((err = meta_need_u32(r, "attention.key_length", &m->head_dim, split, LIMIT_MODEL_DIM)) ||
        (err = meta_need_u32(r, "attention.value_length", &m->head_dim_v, m->head_dim,
                             LIMIT_MODEL_DIM)) ||
        (err = meta_u32(r, "attention.key_length_mla", &m->head_dim_mla, LIMIT_MODEL_DIM)) ||
        (err = meta_u32(r, "attention.value_length_mla", &m->head_dim_v_mla, LIMIT_MODEL_DIM)) ||
        (err = meta_u32(r, "attention.q_lora_rank", &m->q_lora, LIMIT_MODEL_DIM)) ||
        (err = meta_u32(r, "attention.kv_lora_rank", &m->kv_lora, LIMIT_MODEL_DIM)) ||
        (err = meta_need_u32(r, "rope.dimension_count", &m->n_rot, m->head_dim, LIMIT_MODEL_DIM)) ||
        (err = meta_u32(r, "rope.dimension_count_swa", &m->n_rot_swa, LIMIT_MODEL_DIM)))
        return err;
    if ((uint64_t)m->n_head * m->head_dim > LIMIT_MODEL_DIM ||
        (uint64_t)m->n_head * m->head_dim_v > LIMIT_MODEL_DIM ||
        (uint64_t)m->n_head * m->head_dim_mla > LIMIT_MODEL_DIM ||
        (uint64_t)m->n_head * m->head_dim_v_mla > LIMIT_MODEL_DIM)
        return ERR_FAIL(r->e, FORMAT, "%u heads of %u and %u are wider than %u, the limit",
                        m->n_head, m->head_dim, m->head_dim_v, LIMIT_MODEL_DIM);
    if (m->n_rot > m->head_dim || m->n_rot % 2 || m->n_rot_swa > m->head_dim || m->n_rot_swa % 2)
        return ERR_FAIL(r->e, FORMAT,
                        "key '%s.rope.dimension_count' is %u; it must be even and at "
                        "most %u, the size of a head",
                        m->family->name, m->n_rot, m->head_dim);
    return ERR_OK;
}

static enum err read_heads(struct meta_reader *r)
{
    struct meta *m = r->m;
    bool found;
    enum err err = meta_each(r, "attention.head_count", offsetof(struct meta_layer, n_head),
                             LIMIT_MODEL_HEADS, &m->n_head, &found);

    if (err) return err;
    if (!found) return ERR_FAIL(r->e, FORMAT, "the GGUF file lacks the key '%s'", r->key);
    for (uint32_t i = 0; i < m->n_layer; i++)
        r->layers[i].n_head_kv = r->layers[i].n_head;
    m->n_head_kv = m->n_head;
    if (m->n_head == 0) return ERR_OK; /* no layer attends */
    if (meta_has(r, "attention.head_count_kv") &&
        (err = meta_each(r, "attention.head_count_kv", offsetof(struct meta_layer, n_head_kv),
                         LIMIT_MODEL_HEADS, &m->n_head_kv, &found)))
        return err;
    if ((err = check_heads(r))) return err;
    return head_sizes(r);
}

/* ---- windows ---- */

static bool by_period(const struct meta *m, uint32_t layer, uint32_t period)
{
    if (period <= 1) return period == 0;
    if (m->family->flags & FAMILY_SWA_FIRST) return layer % period != 0;
    return layer % period < period - 1;
}

static enum err read_window(struct meta_reader *r)
{
    struct meta *m = r->m;
    const struct gguf_kv *pattern =
        gguf_find(r->g, meta_key(r, "attention.sliding_window_pattern"));
    uint32_t period = m->family->swa_period;
    const int32_t *v = NULL;
    size_t n = 0;
    enum err err = ERR_OK;

    if (pattern && pattern->type == GGUF_ARR)
        err = gguf_get_i32s(r->g, r->a, r->key, &v, &n, r->e);
    else if (pattern)
        err = gguf_get_u32(r->g, r->key, &period, r->e);
    if (err) return err;
    if (v && n < m->n_layer)
        return ERR_FAIL(r->e, FORMAT, "key '%s' has %zu values for %u layers", r->key, n,
                        m->n_layer);
    if ((m->family->flags & FAMILY_NO_WINDOW) || (!pattern && period == 0)) return ERR_OK;
    if ((err = meta_u32(r, "attention.sliding_window", &m->window, UINT32_MAX))) return err;
    for (uint32_t i = 0; m->window && i < m->n_layer; i++)
        r->layers[i].swa = v ? v[i] != 0 : by_period(m, i, period);
    return ERR_OK;
}

/* ---- scales ---- */

static enum err read_scales(struct meta_reader *r)
{
    struct meta *m = r->m;
    unsigned flags = m->family->flags;
    enum err err;

    if ((err = meta_f32(r, "attention.scale", &m->attn_scale, 0.0f)) ||
        (err = meta_f32(r, "attn_logit_softcapping", &m->attn_softcap, 0.0f)) ||
        (err = meta_f32(r, "final_logit_softcapping", &m->final_softcap, 0.0f)) ||
        (err = meta_f32(r, "attention.clamp_kqv", &m->clamp_qkv, 0.0f)) ||
        (err = meta_f32(r, "attention.max_alibi_bias", &m->alibi, 0.0f)))
        return err;
    /* Gemma's 27B models, told by their layers. */
    if ((flags & FAMILY_SCALE_EMBD_HEAD) && m->attn_scale == 0.0f &&
        (m->n_layer == 46 || m->n_layer == 62))
        m->attn_scale = 1.0f / sqrtf((float)m->n_embd / (float)m->n_head);
    /* Baichuan's sizes, told by their layers: 7B has RoPE, 13B has ALiBi. */
    if (flags & FAMILY_BAICHUAN) {
        m->no_rope = m->n_layer != 32;
        if (m->n_layer == 40) m->alibi = 8;
    }
    return ERR_OK;
}

/* Heads of layers with a window may have another size. */
static enum err layer_heads(struct meta_reader *r)
{
    struct meta *m = r->m;
    uint32_t k = m->head_dim, v = m->head_dim_v;
    enum err err;

    if ((err = meta_u32(r, "attention.key_length_swa", &k, LIMIT_MODEL_DIM)) ||
        (err = meta_u32(r, "attention.value_length_swa", &v, LIMIT_MODEL_DIM)))
        return err;
    if ((uint64_t)m->n_head * k > LIMIT_MODEL_DIM || (uint64_t)m->n_head * v > LIMIT_MODEL_DIM)
        return ERR_FAIL(r->e, FORMAT, "%u heads of %u and %u are wider than %u, the limit",
                        m->n_head, k, v, LIMIT_MODEL_DIM);
    for (uint32_t i = 0; i < m->n_layer; i++) {
        r->layers[i].head_dim = r->layers[i].swa ? k : m->head_dim;
        r->layers[i].head_dim_v = r->layers[i].swa ? v : m->head_dim_v;
    }
    if (m->n_head && (m->n_rot_swa ? m->n_rot_swa : m->n_rot) > k)
        return ERR_FAIL(r->e, FORMAT, "key '%s' is %u, less than the columns that RoPE turns",
                        meta_key(r, "attention.key_length_swa"), k);
    return ERR_OK;
}

/* The last layers may use keys and values of the last one of their kind (with a window, or without)
 * that has its own. */
static enum err shared_kv(struct meta_reader *r)
{
    struct meta *m = r->m;
    bool fixed = str_eqc(m->arch, "gemma3n"); /* whatever its key says */
    uint32_t shared = 0, own;
    enum err err = meta_u32(r, "attention.shared_kv_layers", &shared, m->n_layer - 1);

    if (err) return err;
    own = fixed ? GEMMA3N_OWN_KV : m->n_layer - shared;
    for (uint32_t i = 0; i < m->n_layer; i++) {
        uint32_t of = i;

        if (i >= own)
            for (of = own; of-- > 0;)
                if (r->layers[of].swa == r->layers[i].swa) break;
        if (of == UINT32_MAX || r->layers[of].n_head_kv != r->layers[i].n_head_kv)
            return ERR_FAIL(r->e, FORMAT,
                            "layer %u is to use keys of an earlier layer, and none is of its kind",
                            i);
        r->layers[i].kv_of = of;
    }
    return ERR_OK;
}

enum err meta_attention(struct meta_reader *r)
{
    struct meta *m = r->m;
    uint32_t pooling = POOLING_NONE;
    enum err err;

    m->causal = !(m->family->flags & (FAMILY_BERT | FAMILY_NOT_CAUSAL));
    if ((err = gguf_get_bool(r->g, meta_key(r, "attention.causal"), &m->causal, r->e)) ||
        (err = gguf_get_bool(r->g, meta_key(r, "use_parallel_residual"), &m->parallel, r->e)) ||
        (err = meta_u32(r, "pooling_type", &pooling, POOLING_RANK)) || (err = read_heads(r)) ||
        (err = read_window(r)) || (err = layer_heads(r)) || (err = shared_kv(r)) ||
        (err = meta_u32(r, "embedding_length_per_layer_input", &m->n_embd_layer, LIMIT_MODEL_DIM)))
        return err;
    m->pooling = (enum meta_pooling)pooling;
    return read_scales(r);
}

/* ---- RoPE ---- */

static bool has_tensor(const struct meta_reader *r, const char *name)
{
    return gguf_tensor(r->g, str_c(name)) != NULL;
}

static enum err scaling_type(struct meta_reader *r)
{
    struct meta *m = r->m;
    str type = {0};
    enum err err = gguf_get_str(r->g, meta_key(r, "rope.scaling.type"), &type, r->e);

    if (err) return err;
    if (type.p == NULL) {
        /* Older files state the factor alone. */
        m->rope_scaling = m->rope_factor == 1.0f ? ROPE_NONE : ROPE_LINEAR;
        return ERR_OK;
    }
    for (int i = ROPE_NONE; i <= ROPE_DYNAMIC; i++) {
        if (!str_eqc(type, meta_rope_name((enum rope_scaling)i))) continue;
        m->rope_scaling = (enum rope_scaling)i;
        return ERR_OK;
    }
    return ERR_FAIL(r->e, UNSUPPORTED,
                    "RoPE scaling '%.*s' is not one this version runs; it runs linear, yarn, "
                    "llama3, longrope and dynamic",
                    (int)(type.n > 64 ? 64 : type.n), type.p);
}

/* Scalings that are in tensors, whatever the type says. */
static enum err scaling_by_tensors(struct meta_reader *r)
{
    struct meta *m = r->m;

    if (m->rope_scaling == ROPE_NONE) m->rope_factor = 1.0f;
    if (m->rope_scaling == ROPE_NONE && has_tensor(r, "rope_freqs.weight"))
        m->rope_scaling = ROPE_LLAMA3;
    if (m->rope_scaling == ROPE_NONE && has_tensor(r, "rope_factors_long.weight"))
        m->rope_scaling = ROPE_LONGROPE;
    if (m->rope_scaling != ROPE_LLAMA3 && m->rope_scaling != ROPE_LONGROPE) return ERR_OK;
    m->rope_factor = 1.0f; /* it is in the factors of the tensors */
    if (m->rope_scaling == ROPE_LLAMA3 && r->g->n_tensors && !has_tensor(r, "rope_freqs.weight"))
        return ERR_FAIL(r->e, FORMAT,
                        "RoPE scaling 'llama3' needs the tensor "
                        "'rope_freqs.weight', which the file lacks");
    return ERR_OK;
}

static enum err yarn(struct meta_reader *r)
{
    struct meta *m = r->m;
    float attn = 1.0f;
    enum err err;

    m->yarn_attn_factor = 1.0f;
    m->yarn_ext_factor = 1.0f;
    m->yarn_beta_fast = 32.0f;
    m->yarn_beta_slow = 1.0f;
    if ((err = meta_f32(r, "rope.scaling.yarn_ext_factor", &m->yarn_ext_factor, -1e6f)) ||
        (err = meta_f32(r, "rope.scaling.yarn_beta_fast", &m->yarn_beta_fast, 1e-6f)) ||
        (err = meta_f32(r, "rope.scaling.yarn_beta_slow", &m->yarn_beta_slow, 1e-6f)) ||
        (err = meta_f32(r, "rope.scaling.yarn_log_multiplier", &m->yarn_log_mul, 0.0f)) ||
        (err = meta_f32(r, "rope.scaling.yarn_attn_factor", &m->yarn_attn_factor, 1e-6f)) ||
        (err = meta_f32(r, "rope.scaling.attn_factor", &attn, 1e-6f)))
        return err;
    /* yarn derives its own factor and takes only the general one on top. */
    if (m->rope_scaling == ROPE_YARN) m->yarn_attn_factor = 1.0f;
    m->yarn_attn_factor *= attn;
    if (m->yarn_ext_factor < 0) m->yarn_ext_factor = 1.0f; /* "not set" */
    if (m->family->flags & FAMILY_YARN_LOG_TENTH) m->yarn_log_mul /= 0.1f;
    return ERR_OK;
}

enum err meta_rope(struct meta_reader *r)
{
    struct meta *m = r->m;
    bool finetuned = true;
    enum err err;

    m->rope_base = 10000.0f;
    m->rope_factor = 1.0f;
    if ((err = meta_f32(r, "rope.freq_base", &m->rope_base, 1e-6f)) ||
        (err = meta_f32(r, "rope.freq_base_swa", &m->rope_base_swa, 0.0f)) ||
        (err = meta_f32(r, "rope.scale_linear", &m->rope_factor, 0.0f)) ||
        (err = meta_f32(r, "rope.scaling.factor", &m->rope_factor, 0.0f)))
        return err;
    if (m->rope_factor == 0.0f) m->rope_factor = 1.0f; /* ggml's way to say "no scaling" */
    if ((err = scaling_type(r)) ||
        (err = meta_need_u32(r, "rope.scaling.original_context_length", &m->rope_orig_ctx,
                             m->n_ctx_train, LIMIT_MODEL_CONTEXT)) ||
        (err = yarn(r)) || (err = scaling_by_tensors(r)) ||
        (err = gguf_get_bool(r->g, meta_key(r, "rope.scaling.finetuned"), &finetuned, r->e)) ||
        (err = gguf_get_bool(r->g, "rbee.rope.halves", &m->rope_halves, r->e)))
        return err;
    if ((m->family->flags & FAMILY_ROPE_FINETUNED) && !finetuned) m->no_rope = true;
    return ERR_OK;
}
