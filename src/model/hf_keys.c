/* hf_keys: keys that only some families have. Each function belongs to rows of hf_arch.def and runs
 * before the common keys are written, so that it may set the numbers those are made of.
 *
 * Names on the left are GGUF's (gguf-py), names on the right are those of transformers'
 * configuration classes, or of the models' own code where there is no such class.
 */
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "model/hf_int.h"

/* ---- helpers ---- */

/* GGUF assumes that the chosen experts' weights are divided by their sum, or that they are not. */
static enum err experts(struct hf *h, bool normalised)
{
    bool norm = normalised;
    enum err r;

    if ((r = hf_copy_u32(h, "expert_count", "num_experts|num_local_experts|n_routed_experts")) ||
        (r = hf_copy_u32(h, "expert_used_count", "num_experts_per_tok|num_experts_per_token")) ||
        (r = hf_copy_u32(h, "expert_feed_forward_length", "moe_intermediate_size")) ||
        (r = hf_read_bool(h, "norm_topk_prob", &norm)))
        return r;
    if (norm != normalised) hf_put_bool(h, "expert_weights_norm", norm);
    return ERR_OK;
}

/* Which layers see a window only, where that is not every layer but each `period`-th, as GGUF takes
 * it for this family. 0: every fourth by default, and GGUF always has the list. */
static enum err window(struct hf *h, uint32_t period)
{
    const struct json *types = hf_get(h, "layer_types");
    const struct json *text = hf_get(h, "sliding_window_pattern"); /* "LLLG", too */
    uint32_t stated = period ? period : 4;
    uint8_t sliding[LIMIT_MODEL_LAYERS];
    bool usual = true;
    enum err r;

    if ((r = hf_copy_u32(h, "attention.sliding_window", "sliding_window"))) return r;
    if (text && text->type != JSON_STR) text = NULL;
    if (!text && (r = hf_read_u32(h, "sliding_window_pattern|_sliding_window_pattern", &stated)))
        return r;
    if (!hf_get(h, "sliding_window")) return ERR_OK;
    if (types && (types->type != JSON_ARR || types->n < h->n_layer))
        return ERR_FAIL(h->e, FORMAT, "config.json: 'layer_types' is not a list of %u layers",
                        h->n_layer);
    for (uint32_t i = 0; i < h->n_layer; i++) {
        sliding[i] = stated && (i + 1) % stated != 0;
        if (text && text->s.n) sliding[i] = text->s.p[i % text->s.n] == 'L';
        if (types) sliding[i] = str_eqc(json_str(&types->items[i], S("")), "sliding_attention");
        usual = usual && period && sliding[i] == ((i + 1) % period != 0);
    }
    if (usual) return ERR_OK;
    str key = arena_printf(&h->tree, "%s.attention.sliding_window_pattern", h->gguf_arch);
    if (!key.p) return ERR_FAIL(h->e, NOMEM, "no memory for a key");
    gguf_write_kv(&h->w, &(struct gguf_kv){.key = key,
                                           .type = GGUF_ARR,
                                           .elem = GGUF_BOOL,
                                           .count = h->n_layer,
                                           .data = sliding,
                                           .bytes = h->n_layer});
    return ERR_OK;
}

/* The scores are divided by the root of this number and not of the head's size. */
static enum err score_scale(struct hf *h)
{
    double n = h->head_dim;
    enum err r = hf_read_f64(h, "query_pre_attn_scalar", &n);

    if (!r && n != h->head_dim && n > 0) hf_put_f32(h, "attention.scale", 1 / sqrt(n));
    return r;
}

/* head_count_kv for each layer: 0 where the layer has no attention. */
static enum err put_kv_heads(struct hf *h, const bool *attention)
{
    int32_t heads[LIMIT_MODEL_LAYERS];
    str key = arena_printf(&h->tree, "%s.attention.head_count_kv", h->gguf_arch);

    if (!key.p) return ERR_FAIL(h->e, NOMEM, "no memory for a key");
    for (uint32_t i = 0; i < h->n_layer; i++)
        heads[i] = attention[i] ? (int32_t)h->n_head_kv : 0;
    gguf_write_i32s(&h->w, key.p, heads, h->n_layer);
    return ERR_OK;
}

/* ---- mixtures of experts ---- */

enum err hf_keys_moe(struct hf *h)
{
    bool mixtral = !strcmp(h->gguf_arch, "llama");
    enum err r =
        hf_copy_u32(h, "expert_shared_feed_forward_length", "shared_expert_intermediate_size");

    return r ? r : experts(h, mixtral);
}

enum err hf_keys_qwen3moe(struct hf *h)
{
    return experts(h, true);
}

enum err hf_keys_deepseek(struct hf *h)
{
    enum err r;

    hf_put_f32(h, "expert_weights_scale", 1);
    if ((r = hf_copy_u32(h, "leading_dense_block_count", "first_k_dense_replace")) ||
        (r = hf_copy_u32(h, "expert_shared_count", "n_shared_experts")))
        return r;
    return experts(h, false);
}

static enum err deepseek2_experts(struct hf *h)
{
    bool sigmoid = str_eqc(json_str(hf_get(h, "scoring_func"), S("")), "sigmoid");
    bool greedy = str_eqc(json_str(hf_get(h, "topk_method"), S("")), "greedy");
    uint32_t groups = 0, dense = 0, shared = 0;
    enum err r;

    if ((r = hf_read_u32(h, "first_k_dense_replace", &dense)) ||
        (r = hf_read_u32(h, "n_shared_experts", &shared)) ||
        (r = hf_read_u32(h, "n_group", &groups)))
        return r;
    hf_put_u32(h, "leading_dense_block_count", hf_get(h, "n_routed_experts") ? dense : h->n_layer);
    hf_put_u32(h, "expert_shared_count", shared);
    hf_put_u32(h, "expert_gating_func", sigmoid ? 2 : 1);
    if (groups > 1 && !greedy) {
        hf_put_u32(h, "expert_group_count", groups);
        if ((r = hf_copy_u32(h, "expert_group_used_count", "topk_group"))) return r;
    }
    if ((r = hf_copy_f32(h, "expert_weights_scale", "routed_scaling_factor"))) return r;
    return experts(h, false);
}

/* Latent attention: one key head, as wide as the latent vector and the rotated part together. */
static enum err latent(struct hf *h, uint32_t *kv_rank, uint32_t *nope, uint32_t *v_dim)
{
    uint32_t q_rank = 0;
    enum err r;

    *v_dim = 0;
    if ((r = hf_read_u32(h, "kv_lora_rank", kv_rank)) ||
        (r = hf_read_u32(h, "qk_nope_head_dim", nope)) ||
        (r = hf_read_u32(h, "v_head_dim", v_dim)) || (r = hf_read_u32(h, "q_lora_rank", &q_rank)))
        return r;
    if (*kv_rank == 0 || *nope == 0 || h->n_rot == 0 || *kv_rank > LIMIT_MODEL_DIM ||
        *nope > LIMIT_MODEL_DIM || h->n_rot > LIMIT_MODEL_DIM || *v_dim > LIMIT_MODEL_DIM)
        return ERR_FAIL(h->e, FORMAT,
                        "config.json: latent attention needs kv_lora_rank, qk_nope_head_dim and "
                        "qk_rope_head_dim from 1 to %u",
                        LIMIT_MODEL_DIM);
    hf_put_u32(h, "attention.q_lora_rank", q_rank);
    hf_put_u32(h, "attention.kv_lora_rank", *kv_rank);
    return ERR_OK;
}

enum err hf_keys_deepseek2(struct hf *h)
{
    uint32_t kv_rank = 0, nope = 0, v_dim;
    enum err r = latent(h, &kv_rank, &nope, &v_dim);

    if (r) return r;
    if (v_dim == 0) return ERR_FAIL(h->e, FORMAT, "config.json: 'v_head_dim' is missing");
    hf_put_u32(h, "attention.head_count_kv", 1);
    hf_put_u32(h, "attention.key_length", (uint64_t)kv_rank + h->n_rot);
    hf_put_u32(h, "attention.value_length", kv_rank);
    hf_put_u32(h, "attention.key_length_mla", (uint64_t)nope + h->n_rot);
    hf_put_u32(h, "attention.value_length_mla", v_dim);
    h->skip_mtp = true;
    return deepseek2_experts(h);
}

enum err hf_keys_minicpm3(struct hf *h)
{
    uint32_t kv_rank = 0, nope = 0, v_dim;
    enum err r = latent(h, &kv_rank, &nope, &v_dim);

    if (r) return r;
    hf_put_u32(h, "attention.head_count_kv", h->n_head_kv);
    hf_put_u32(h, "attention.key_length", (uint64_t)nope + h->n_rot);
    hf_put_u32(h, "attention.value_length", v_dim ? v_dim : h->head_dim);
    return ERR_OK;
}

enum err hf_keys_glm4moe(struct hf *h)
{
    enum err r;

    h->skip_mtp = true;
    hf_put_u32(h, "expert_gating_func", 2);
    if ((r = hf_copy_u32(h, "leading_dense_block_count", "first_k_dense_replace")) ||
        (r = hf_copy_u32(h, "expert_shared_count", "n_shared_experts")) ||
        (r = hf_copy_f32(h, "expert_weights_scale", "routed_scaling_factor")))
        return r;
    return experts(h, false);
}

enum err hf_keys_gpt_oss(struct hf *h)
{
    enum err r = experts(h, true);

    if (r) return r;
    hf_put_u32(h, "expert_feed_forward_length", h->n_ff);
    return window(h, 2);
}

/* ---- windows, caps and scales ---- */

enum err hf_keys_mistral3(struct hf *h)
{
    const struct json *beta = hf_rope(h, "llama_4_scaling_beta");

    if (!beta) return ERR_OK;
    /* Its queries grow with the position, which GGUF knows as an architecture of its own. */
    h->gguf_arch = "mistral3";
    hf_put_f32(h, "attention.temperature_scale", json_num(beta, 0));
    return ERR_OK;
}

enum err hf_keys_phi3(struct hf *h)
{
    uint32_t win = 0, ctx = h->n_ctx;
    enum err r;

    if ((r = hf_read_u32(h, "sliding_window", &win)) ||
        (r = hf_read_u32(h, "original_max_position_embeddings", &ctx)))
        return r;
    hf_put_u32(h, "rope.scaling.original_context_length", ctx);
    hf_put_u32(h, "attention.sliding_window", win);
    return ERR_OK;
}

enum err hf_keys_gemma2(struct hf *h)
{
    enum err r;

    if ((r = hf_copy_f32(h, "attn_logit_softcapping", "attn_logit_softcapping")) ||
        (r = hf_copy_f32(h, "final_logit_softcapping", "final_logit_softcapping")) ||
        (r = score_scale(h)))
        return r;
    return window(h, 2);
}

enum err hf_keys_gemma3(struct hf *h)
{
    const struct json *swa = json_get(hf_get(h, "rope_parameters"), "sliding_attention");
    double base = 10000;
    enum err r = hf_read_f64(h, "rope_local_base_freq", &base);

    if (r) return r;
    hf_put_f32(h, "rope.freq_base_swa", json_num(json_get(swa, "rope_theta"), base));
    if ((r = hf_copy_f32(h, "attn_logit_softcapping", "attn_logit_softcapping")) ||
        (r = hf_copy_f32(h, "final_logit_softcapping", "final_logit_softcapping")) ||
        (r = score_scale(h)))
        return r;
    return window(h, 6);
}

enum err hf_keys_granite(struct hf *h)
{
    enum err r;

    if ((r = hf_copy_f32(h, "attention.scale", "attention_multiplier")) ||
        (r = hf_copy_f32(h, "embedding_scale", "embedding_multiplier")) ||
        (r = hf_copy_f32(h, "residual_scale", "residual_multiplier")) ||
        (r = hf_copy_f32(h, "logit_scale", "logits_scaling")) ||
        (r = hf_copy_u32(h, "expert_shared_feed_forward_length", "shared_intermediate_size")))
        return r;
    return hf_get(h, "num_local_experts") ? experts(h, true) : ERR_OK;
}

enum err hf_keys_minicpm(struct hf *h)
{
    double emb = 1, depth = 1, base = h->n_embd;
    enum err r;

    if ((r = hf_read_f64(h, "scale_emb", &emb)) || (r = hf_read_f64(h, "scale_depth", &depth)) ||
        (r = hf_read_f64(h, "dim_model_base", &base)))
        return r;
    if (!(base > 0)) return ERR_FAIL(h->e, FORMAT, "config.json: 'dim_model_base' is %g", base);
    hf_put_f32(h, "embedding_scale", emb);
    hf_put_f32(h, "residual_scale", depth / sqrt(h->n_layer));
    hf_put_f32(h, "logit_scale", h->n_embd / base);
    return hf_get(h, "num_experts") ? experts(h, true) : ERR_OK;
}

enum err hf_keys_olmo(struct hf *h)
{
    return hf_copy_f32(h, "attention.clamp_kqv", "clip_qkv");
}

enum err hf_keys_olmo2(struct hf *h)
{
    return window(h, 0);
}

enum err hf_keys_exaone4(struct hf *h)
{
    return window(h, 4);
}

enum err hf_keys_cohere(struct hf *h)
{
    hf_put_str(h, "rope.scaling.type", S("none"));
    return hf_copy_f32(h, "logit_scale", "logit_scale");
}

enum err hf_keys_cohere2(struct hf *h)
{
    enum err r = hf_copy_f32(h, "logit_scale", "logit_scale");

    return r ? r : window(h, 4);
}

/* ---- attention of other kinds ---- */

enum err hf_keys_falcon(struct hf *h)
{
    bool modern = false, one_key = true, alibi = false, parallel = true;
    enum err r;

    if ((r = hf_read_bool(h, "new_decoder_architecture", &modern)) ||
        (r = hf_read_bool(h, "multi_query", &one_key)) || (r = hf_read_bool(h, "alibi", &alibi)) ||
        (r = hf_read_bool(h, "parallel_attn", &parallel)))
        return r;
    if (alibi || !(parallel || modern))
        return ERR_FAIL(h->e, UNSUPPORTED,
                        "config.json: a Falcon with alibi or without parallel_attn, which this "
                        "version does not run");
    if (!modern) h->n_head_kv = one_key ? 1 : h->n_head;
    hf_put_str(h, "tensor_data_layout", S("jploski"));
    return ERR_OK;
}

enum err hf_keys_starcoder(struct hf *h)
{
    bool one_key = true;
    enum err r = hf_read_bool(h, "multi_query", &one_key);

    h->n_head_kv = one_key ? 1 : h->n_head;
    return r;
}

enum err hf_keys_parallel(struct hf *h)
{
    bool parallel = false;
    enum err r = hf_read_bool(h, "use_parallel_residual", &parallel);

    hf_put_bool(h, "use_parallel_residual", parallel);
    return r;
}

enum err hf_keys_mpt(struct hf *h)
{
    const struct json *attn = hf_get(h, "attn_config");
    const struct json *clip = json_get(attn, "clip_qkv"), *kv = json_get(attn, "kv_n_heads");
    bool alibi = json_bool(json_get(attn, "alibi"), true);

    if (kv && kv->type == JSON_INT) {
        if (kv->i < 1 || kv->i > h->n_head)
            return ERR_FAIL(h->e, FORMAT, "config.json: 'kv_n_heads' is %lld", (long long)kv->i);
        h->n_head_kv = (uint32_t)kv->i;
    }
    if (json_is_num(clip)) hf_put_f32(h, "attention.clamp_kqv", json_num(clip, 0));
    hf_put_f32(h, "attention.max_alibi_bias",
               alibi ? json_num(json_get(attn, "alibi_bias_max"), 8) : 0);
    return ERR_OK;
}

enum err hf_keys_chatglm(struct hf *h)
{
    bool grouped = true;
    double ratio = 1;
    enum err r;

    if ((r = hf_read_bool(h, "multi_query_attention", &grouped)) ||
        (r = hf_read_f64(h, "rope_ratio", &ratio)))
        return r;
    if (!grouped) h->n_head_kv = h->n_head;
    h->rope_base *= ratio;
    return ERR_OK;
}

/* Layers without rotation: every fourth, as GGUF has it for this family. */
enum err hf_keys_smollm3(struct hf *h)
{
    const struct json *v = hf_get(h, "no_rope_layers"); /* 1: with, 0: without */

    for (uint32_t i = 0; v && v->type == JSON_ARR && v->n && i < h->n_layer; i++)
        if (i >= v->n || (json_int(&v->items[i], -1) != 0) != ((i + 1) % 4 != 0))
            return ERR_FAIL(h->e, UNSUPPORTED,
                            "config.json: 'no_rope_layers' is not every fourth layer, which this "
                            "version does not run");
    return ERR_OK;
}

/* ---- encoders ---- */

enum err hf_keys_bert(struct hf *h)
{
    uint32_t types = 1;
    enum err r = hf_read_u32(h, "type_vocab_size", &types);

    hf_put_bool(h, "attention.causal", false);
    gguf_write_u32(&h->w, "tokenizer.ggml.token_type_count", types);
    return r;
}

/* ---- state space ---- */

static enum err ssm(struct hf *h, uint64_t inner, uint64_t rank, const char *conv,
                    const char *state)
{
    enum err r;

    if (inner == 0 || inner > LIMIT_MODEL_DIM || rank == 0 || rank > LIMIT_MODEL_DIM)
        return ERR_FAIL(h->e, FORMAT,
                        "config.json: a state-space block of %llu columns and rank %llu",
                        (unsigned long long)inner, (unsigned long long)rank);
    hf_put_u32(h, "ssm.inner_size", inner);
    hf_put_u32(h, "ssm.time_step_rank", rank);
    if ((r = hf_copy_u32(h, "ssm.conv_kernel", conv))) return r;
    return hf_copy_u32(h, "ssm.state_size", state);
}

enum err hf_keys_mamba(struct hf *h)
{
    const struct json *auto_rank = hf_get(h, "time_step_rank|dt_rank");
    uint32_t inner = 2 * h->n_embd, rank = (h->n_embd + 15) / 16;
    enum err r;

    if ((r = hf_read_u32(h, "intermediate_size|d_inner", &inner))) return r;
    if (!(auto_rank && auto_rank->type == JSON_STR) &&
        (r = hf_read_u32(h, "time_step_rank|dt_rank", &rank)))
        return r;
    h->n_ff = 0;
    h->n_ctx = 1u << 20;
    if (str_eqc(json_str(hf_get(h, "model_type"), S("")), "falcon_mamba"))
        hf_put_bool(h, "ssm.dt_b_c_rms", true);
    return ssm(h, inner, rank, "conv_kernel|d_conv", "state_size|d_state");
}

enum err hf_keys_mamba2(struct hf *h)
{
    uint32_t inner = 2 * h->n_embd, head = 64, groups = 1;
    enum err r;

    if ((r = hf_read_u32(h, "intermediate_size|d_inner", &inner)) ||
        (r = hf_read_u32(h, "head_dim", &head)) || (r = hf_read_u32(h, "n_groups", &groups)))
        return r;
    h->n_ff = 0;
    h->n_ctx = 1u << 20;
    hf_put_u32(h, "ssm.group_count", groups);
    return ssm(h, inner, head ? inner / head : 0, "conv_kernel|d_conv", "state_size|d_state");
}

enum err hf_keys_jamba(struct hf *h)
{
    const struct json *auto_rank = hf_get(h, "mamba_dt_rank");
    uint32_t expand = 2, rank = (h->n_embd + 15) / 16, period = 8, offset = 4;
    bool attention[LIMIT_MODEL_LAYERS] = {false};
    enum err r;

    if ((r = hf_read_u32(h, "mamba_expand", &expand)) ||
        (r = hf_read_u32(h, "attn_layer_period", &period)) ||
        (r = hf_read_u32(h, "attn_layer_offset", &offset)))
        return r;
    if (!(auto_rank && auto_rank->type == JSON_STR) && (r = hf_read_u32(h, "mamba_dt_rank", &rank)))
        return r;
    for (uint32_t i = 0; i < h->n_layer; i++)
        attention[i] = period && i % period == offset;
    if ((r = put_kv_heads(h, attention)) || (r = experts(h, false))) return r;
    return ssm(h, (uint64_t)expand * h->n_embd, rank, "mamba_d_conv", "mamba_d_state");
}

/* The attention layers of a hybrid, and whether all are. */
static enum err attention_layers(struct hf *h, bool *attention, bool *all)
{
    const struct json *types = hf_get(h, "layer_types|layers_block_type");
    const struct json *list = hf_get(h, "attn_layer_indices");

    *all = true;
    if (types && (types->type != JSON_ARR || types->n < h->n_layer))
        return ERR_FAIL(h->e, FORMAT, "config.json: 'layer_types' is not a list of %u layers",
                        h->n_layer);
    for (uint32_t i = 0; i < h->n_layer; i++) {
        if (types) attention[i] = str_eqc(json_str(&types->items[i], S("")), "attention");
        for (size_t k = 0; list && list->type == JSON_ARR && k < list->n; k++)
            attention[i] = attention[i] || json_int(&list->items[k], -1) == (int64_t)i;
        *all = *all && attention[i];
    }
    return ERR_OK;
}

/* LFM2 states the inner size before two thirds of it are taken and rounded up. */
static enum err lfm2_ff(struct hf *h)
{
    uint32_t ff = h->n_ff, unit = 256;
    double factor = 1;
    bool adjust = true;
    enum err r;

    if ((r = hf_read_u32(h, "block_ff_dim", &ff)) ||
        (r = hf_read_u32(h, "block_multiple_of", &unit)) ||
        (r = hf_read_f64(h, "block_ffn_dim_multiplier", &factor)) ||
        (r = hf_read_bool(h, "block_auto_adjust_ff_dim", &adjust)))
        return r;
    if (adjust) {
        if (!(factor > 0 && factor < 64) || unit == 0 || ff > LIMIT_MODEL_DIM)
            return ERR_FAIL(h->e, FORMAT, "config.json: 'block_ff_dim' and what adjusts it");
        ff = (uint32_t)(factor * (2 * ff / 3));
        ff = (ff + unit - 1) / unit * unit;
    }
    h->n_ff = ff;
    return ERR_OK;
}

enum err hf_keys_lfm2(struct hf *h)
{
    const struct json *list = hf_get(h, "full_attn_idxs"), *types = hf_get(h, "layer_types");
    bool attention[LIMIT_MODEL_LAYERS] = {false};
    enum err r;

    for (uint32_t i = 0; i < h->n_layer; i++) {
        for (size_t k = 0; list && list->type == JSON_ARR && k < list->n; k++)
            attention[i] = attention[i] || json_int(&list->items[k], -1) == (int64_t)i;
        if (types && types->type == JSON_ARR && i < types->n)
            attention[i] = str_eqc(json_str(&types->items[i], S("")), "full_attention");
    }
    if ((r = lfm2_ff(h)) || (r = put_kv_heads(h, attention))) return r;
    return hf_copy_u32(h, "shortconv.l_cache", "conv_L_cache");
}

enum err hf_keys_hybrid(struct hf *h)
{
    bool attention[LIMIT_MODEL_LAYERS] = {false}, all;
    uint32_t heads = 0, size = 0, groups = 1;
    enum err r = attention_layers(h, attention, &all);

    if (r) return r;
    if (all) {
        uint32_t n = 0;

        if ((r = hf_read_u32(h, "num_local_experts", &n))) return r;
        h->gguf_arch = n ? "granitemoe" : "granite";
        return hf_keys_granite(h);
    }
    if ((r = hf_read_u32(h, "mamba_n_heads", &heads)) ||
        (r = hf_read_u32(h, "mamba_d_head", &size)) ||
        (r = hf_read_u32(h, "mamba_n_groups", &groups)) || (r = put_kv_heads(h, attention)))
        return r;
    hf_put_u32(h, "ssm.group_count", groups);
    hf_put_bool(h, "rope.scaling.finetuned",
                str_eqc(json_str(hf_get(h, "position_embedding_type"), S("")), "rope"));
    if ((r = ssm(h, (uint64_t)heads * size, heads, "mamba_d_conv", "mamba_d_state"))) return r;
    return hf_keys_granite(h);
}
