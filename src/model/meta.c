/* meta: fills the normal form of a model from a GGUF header.
 *
 * Keys are read under the architecture's prefix ("llama.block_count"), checked against limits.h,
 * and cross-checked with each other and with the tensor directory: layers that tensors name, rows
 * of the embedding, tokens of the vocabulary. Shapes of the single weights, and whether each of
 * them has a use, are plan_build()'s business.
 *
 * Invariant: after success no later arithmetic on these numbers can overflow 32 bits (widths) or 64
 * bits (bytes).
 */
#include "model/meta.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "model/meta_int.h"

#define NAMES_SHOWN 12 /* of the families, where one is refused */

/* ---- the parts of a header ---- */

static enum err read_family(struct meta_reader *r)
{
    struct meta *m = r->m;
    buf names = {.cap = KIB(4)};
    const struct family *all;
    size_t n;
    enum err err = gguf_get_str(r->g, "general.architecture", &m->arch, r->e);

    if (err) return err;
    if (m->arch.n == 0)
        return ERR_FAIL(r->e, FORMAT, "the GGUF file lacks the key 'general.architecture'");
    if ((m->family = family_find(m->arch))) return ERR_OK;
    all = family_all(&n);
    for (size_t i = 0; i < n && i < NAMES_SHOWN; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", all[i].name);
    if (n > NAMES_SHOWN) buf_printf(&names, " and %zu more", n - NAMES_SHOWN);
    err =
        ERR_FAIL(r->e, UNSUPPORTED, "architecture '%.*s' is not one this version runs; it runs %s",
                 (int)(m->arch.n > 64 ? 64 : m->arch.n), m->arch.p, names.p ? names.p : "none");
    buf_fini(&names);
    return err;
}

static enum err read_vocabulary(struct meta_reader *r)
{
    struct meta *m = r->m;
    const struct gguf_tensor *embd = gguf_tensor(r->g, S("token_embd.weight"));
    const struct gguf_kv *tokens = gguf_find(r->g, "tokenizer.ggml.tokens");
    uint64_t n_tokens = tokens && tokens->type == GGUF_ARR ? tokens->count : 0;
    uint32_t said = 0;
    uint64_t n;
    enum err err;

    if ((err = meta_u32(r, "vocab_size", &said, UINT32_MAX)) ||
        (err = gguf_get_str(r->g, "tokenizer.ggml.model", &m->tokenizer_model, r->e)) ||
        (err = gguf_get_str(r->g, "tokenizer.ggml.pre", &m->tokenizer_pre, r->e)) ||
        (err = gguf_get_str(r->g, "tokenizer.chat_template", &m->chat_template, r->e)))
        return err;
    n = embd ? embd->dim[1] : n_tokens ? n_tokens : said;
    if (n == 0)
        return ERR_FAIL(r->e, FORMAT,
                        "the model lacks the tensor 'token_embd.weight', and no key "
                        "tells the size of its vocabulary");
    if (n > LIMIT_VOCAB)
        return ERR_FAIL(r->e, FORMAT, "a vocabulary of %llu tokens; 1 to %u are allowed",
                        (unsigned long long)n, LIMIT_VOCAB);
    if (n_tokens > n)
        return ERR_FAIL(r->e, FORMAT,
                        "the tokenizer has %llu tokens, but token_embd.weight only %llu rows",
                        (unsigned long long)n_tokens, (unsigned long long)n);
    m->n_vocab = (uint32_t)n;
    return ERR_OK;
}

/* "gelu" of a config.json is the exact one. GGUF files do not tell, and there families keep to the
 * approximation by tanh, as Gemma's classes do whatever their configuration says. */
static enum err read_activation(struct meta_reader *r)
{
    struct meta *m = r->m;
    str act = {0};
    enum err err = gguf_get_str(r->g, "rbee.hidden_act", &act, r->e);

    m->act = m->family->act;
    if (!err && m->act == FFN_GELU && str_eqc(act, "gelu") && !str_starts(m->arch, S("gemma")))
        m->act = FFN_GELU_ERF;
    return err;
}

static enum err read_scales(struct meta_reader *r)
{
    struct meta *m = r->m;
    unsigned flags = m->family->flags;
    bool mini = flags & (FAMILY_MINICPM | FAMILY_MINICPM3);
    enum err err;

    m->embed_scale = flags & FAMILY_EMBED_SQRT ? sqrtf((float)m->n_embd) : 1.0f;
    m->residual_scale = mini ? 1.4f / sqrtf((float)m->n_layer) : 1.0f;
    m->logit_scale = mini ? 256.0f / (float)m->n_embd : 1.0f;
    if ((err = meta_f32(r, "embedding_scale", &m->embed_scale, -1e6f)) ||
        (err = meta_f32(r, "residual_scale", &m->residual_scale, -1e6f)) ||
        (err = meta_f32(r, "logit_scale", &m->logit_scale, -1e6f)))
        return err;
    if (m->logit_scale == 0.0f) m->logit_scale = 1.0f; /* "not set" */
    if (flags & FAMILY_LOGIT_DIVIDE) m->logit_scale = 1.0f / m->logit_scale;
    return ERR_OK;
}

static enum err read_experts(struct meta_reader *r)
{
    struct meta *m = r->m;
    enum err err;

    m->expert_norm_said = meta_has(r, "expert_weights_norm");
    if ((err = gguf_get_bool(r->g, r->key, &m->expert_norm, r->e)) ||
        (err = meta_u32(r, "expert_count", &m->n_expert, LIMIT_MODEL_EXPERTS)) ||
        (err = meta_u32(r, "expert_used_count", &m->n_expert_used, LIMIT_MODEL_EXPERTS_USED)) ||
        (err = meta_u32(r, "expert_group_count", &m->n_expert_group, LIMIT_MODEL_EXPERTS)) ||
        (err = meta_u32(r, "expert_group_used_count", &m->n_expert_group_used,
                        LIMIT_MODEL_EXPERTS)) ||
        (err = meta_u32(r, "expert_gating_func", &m->expert_gating, GATING_SOFTMAX_CHOSEN)) ||
        (err = meta_f32(r, "expert_weights_scale", &m->expert_scale, -1e6f)))
        return err;
    if (m->n_expert_used > m->n_expert)
        return ERR_FAIL(r->e, FORMAT, "%u of %u experts are to be used", m->n_expert_used,
                        m->n_expert);
    if (m->n_expert_group <= 1) m->n_expert_group = m->n_expert_group_used = 0;
    if (!m->n_expert_group) return ERR_OK;
    if (m->n_expert % m->n_expert_group || m->n_expert_group_used < 1 ||
        m->n_expert_group_used > m->n_expert_group ||
        m->n_expert / m->n_expert_group * m->n_expert_group_used < m->n_expert_used)
        return ERR_FAIL(r->e, FORMAT,
                        "%u experts in %u groups, %u of them used: %u experts cannot be chosen",
                        m->n_expert, m->n_expert_group, m->n_expert_group_used, m->n_expert_used);
    return ERR_OK;
}

static enum err read_recurrent(struct meta_reader *r)
{
    struct meta *m = r->m;
    const struct {
        const char *key;
        uint32_t *out;
        size_t max;
    } numbers[] = {
        {"ssm.conv_kernel", &m->ssm_conv, 64},
        {"ssm.inner_size", &m->ssm_inner, LIMIT_MODEL_DIM},
        {"ssm.state_size", &m->ssm_state, 1024},
        {"ssm.time_step_rank", &m->ssm_rank, LIMIT_MODEL_DIM},
        {"ssm.group_count", &m->ssm_group, LIMIT_MODEL_DIM},
        {"rescale_every_n_layers", &m->wkv_rescale, LIMIT_MODEL_LAYERS},
        {"wkv.head_size", &m->wkv_head, 1024},
        {"shortconv.l_cache", &m->conv_kernel, 64},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        enum err err = meta_u32(r, numbers[i].key, numbers[i].out, numbers[i].max);

        if (err) return err;
    }
    return gguf_get_bool(r->g, meta_key(r, "ssm.dt_b_c_rms"), &m->ssm_norms, r->e);
}

/* ---- tensors ---- */

static enum err check_tensor(struct meta_reader *r, const struct gguf_tensor *t)
{
    str rest = t->name, number;
    bool in_layer = str_starts(t->name, S("blk."));
    int64_t layer;

    if (in_layer) {
        number = str_cut(str_sub(t->name, 4, t->name.n), '.', &rest);
        if (!str_int(number, &layer) || layer < 0)
            return ERR_FAIL(r->e, FORMAT, "tensor '%.*s' has no layer number", STR(t->name));
        if (layer >= (int64_t)r->m->n_layer + r->m->n_layer_nextn)
            return ERR_FAIL(r->e, FORMAT,
                            "tensor '%.*s' belongs to layer %lld, but '%s.block_count' "
                            "is %u",
                            STR(t->name), (long long)layer, r->m->family->name,
                            r->m->n_layer + r->m->n_layer_nextn);
    }
    return ERR_OK;
}

static enum err weigh(struct meta_reader *r)
{
    struct meta *m = r->m;
    uint64_t bytes[DTYPE_COUNT] = {0};
    enum err err;

    for (uint64_t i = 0; i < r->g->n_tensors; i++) {
        const struct gguf_tensor *t = &r->g->tensors[i];

        if ((err = check_tensor(r, t))) return err;
        m->n_params += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        m->weight_bytes += t->bytes;
        bytes[t->dtype] += t->bytes;
    }
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (bytes[t] > bytes[m->main_dtype]) m->main_dtype = (enum dtype)t;
    m->tied_head = !gguf_tensor(r->g, S("output.weight"));
    return ERR_OK;
}

/* general.file_type, as llama.cpp numbers its mixes. */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",       [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",      [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M",    [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS",    [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL",    [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS",    [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4_MOE", [39] = "NVFP4",  [40] = "Q1_0",
    [41] = "Q2_0"};

const char *meta_file_type(uint32_t id)
{
    id &= 1023; /* bit 10: guessed by the writer */
    return id < sizeof file_types / sizeof *file_types ? file_types[id] : NULL;
}

bool meta_file_type_from(str name, uint32_t *id)
{
    for (uint32_t i = 0; i < sizeof file_types / sizeof *file_types; i++) {
        if (!file_types[i] || !str_ieq(str_c(file_types[i]), name)) continue;
        *id = i;
        return true;
    }
    return false;
}

static enum err read_file_type(struct meta_reader *r)
{
    uint32_t id = UINT32_MAX;
    const char *name = NULL;
    enum err err = gguf_get_u32(r->g, "general.file_type", &id, r->e);

    if (err) return err;
    if (id != UINT32_MAX) name = meta_file_type(id);
    r->m->file_type = str_c(name ? name : dtype_info(r->m->main_dtype)->name);
    return ERR_OK;
}

/* How many layers, and what differs between them. */
static enum err read_layers(struct meta_reader *r)
{
    struct meta *m = r->m;
    bool found;
    enum err err;

    if ((err = meta_need_u32(r, "block_count", &m->n_layer, 0, LIMIT_MODEL_LAYERS)) ||
        (err = meta_u32(r, "nextn_predict_layers", &m->n_layer_nextn, LIMIT_MODEL_LAYERS)))
        return err;
    if (m->n_layer_nextn >= m->n_layer)
        return ERR_FAIL(r->e, FORMAT, "key '%s' is %u of %u layers", r->key, m->n_layer_nextn,
                        m->n_layer);
    m->n_layer -= m->n_layer_nextn;
    r->layers = ARENA_NEW(r->a, struct meta_layer, m->n_layer);
    if (!r->layers) return ERR_FAIL(r->e, NOMEM, "no memory for %u layers", m->n_layer);
    memset(r->layers, 0, m->n_layer * sizeof *r->layers);
    m->layers = r->layers;
    if ((err = meta_each(r, "feed_forward_length", offsetof(struct meta_layer, n_ff),
                         LIMIT_MODEL_DIM, &m->n_ff, &found)))
        return err;
    return found ? ERR_OK : ERR_FAIL(r->e, FORMAT, "the GGUF file lacks the key '%s'", r->key);
}

static enum err read_eps(struct meta_reader *r)
{
    bool rms = meta_has(r, "attention.layer_norm_rms_epsilon");
    bool other = meta_has(r, "attention.layer_norm_epsilon");
    bool want_rms = r->m->family->norm == NORM_RMS;

    if (!rms && !other)
        return ERR_FAIL(r->e, FORMAT, "the GGUF file lacks the key '%s'",
                        meta_key(r, want_rms ? "attention.layer_norm_rms_epsilon"
                                             : "attention.layer_norm_epsilon"));
    return meta_f32(r,
                    rms && (want_rms || !other) ? "attention.layer_norm_rms_epsilon"
                                                : "attention.layer_norm_epsilon",
                    &r->m->norm_eps, 0.0f);
}

enum err meta_from_gguf(struct meta *m, struct arena *a, const struct gguf *g, struct err_info *e)
{
    struct meta_reader r = {.m = m, .a = a, .g = g, .e = e};
    enum err err;

    memset(m, 0, sizeof *m);
    if ((err = read_family(&r)) || (err = gguf_get_str(g, "general.name", &m->name, e)) ||
        (err = meta_need_u32(&r, "context_length", &m->n_ctx_train, 0, LIMIT_MODEL_CONTEXT)) ||
        (err = meta_need_u32(&r, "embedding_length", &m->n_embd, 0, LIMIT_MODEL_DIM)) ||
        (err = read_layers(&r)) || (err = read_eps(&r)) || (err = read_experts(&r)) ||
        (err = read_recurrent(&r)) || (err = read_activation(&r)) || (err = meta_attention(&r)) ||
        (err = meta_rope(&r)) || (err = read_vocabulary(&r)) || (err = read_scales(&r)) ||
        (err = weigh(&r)))
        return err;
    return read_file_type(&r);
}

const char *meta_rope_name(enum rope_scaling s)
{
    static const char *const names[] = {
        [ROPE_NONE] = "none",     [ROPE_LINEAR] = "linear",     [ROPE_YARN] = "yarn",
        [ROPE_LLAMA3] = "llama3", [ROPE_LONGROPE] = "longrope", [ROPE_DYNAMIC] = "dynamic"};

    return (size_t)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

const char *meta_pooling_name(enum meta_pooling p)
{
    static const char *const names[] = {[POOLING_NONE] = "none",
                                        [POOLING_MEAN] = "mean",
                                        [POOLING_CLS] = "cls",
                                        [POOLING_LAST] = "last",
                                        [POOLING_RANK] = "rank"};

    return (size_t)p < sizeof names / sizeof *names ? names[p] : "unknown";
}
