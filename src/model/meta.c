/* meta: fills the normal form of a model from a GGUF header.
 *
 * Keys are read under the architecture's prefix ("llama.block_count"), checked against limits.h,
 * and cross-checked with each other and with the tensor directory: layers that tensors name, rows
 * of the embedding, tokens of the vocabulary. A key that holds one value a layer is accepted when
 * all are equal. Shapes of the single weights are plan_build()'s business.
 *
 * Invariant: after success no later arithmetic on these numbers can overflow 32 bits (widths) or 64
 * bits (bytes). Left out: experts and tensors that no step would use; both are refused by name.
 */
#include "model/meta.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "model/gguf.h"

struct reader {
    struct meta *m;
    struct arena *a;
    const struct gguf *g;
    struct err_info *e;
    char key[128];
};

/* The key under the architecture's prefix; lives until the next call. */
static const char *key(struct reader *r, const char *suffix)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->m->family->name, suffix);
    return r->key;
}

/* ---- numbers ---- */

/* A number of the model, or of each layer if these are all the same. *out is unchanged if absent.
 */
static enum err read_u32(struct reader *r, const char *suffix, uint32_t *out)
{
    const struct gguf_kv *kv = gguf_find(r->g, key(r, suffix));
    const int32_t *v;
    size_t n;
    enum err err;

    if (!kv || kv->type != GGUF_ARR) return gguf_get_u32(r->g, r->key, out, r->e);
    if ((err = gguf_get_i32s(r->g, r->a, r->key, &v, &n, r->e))) return err;
    for (size_t i = 0; i < n; i++) {
        if (v[i] < 0) return ERR_FAIL(r->e, FORMAT, "key '%s' holds %d", r->key, v[i]);
        if (v[i] != v[0])
            return ERR_FAIL(r->e, UNSUPPORTED,
                            "key '%s' differs from layer to layer (%d, %d), which this version "
                            "does not run",
                            r->key, v[0], v[i]);
        *out = (uint32_t)v[i];
    }
    return ERR_OK;
}

/* A number that must be there unless `absent` is not 0, from 1 to max. */
static enum err need_u32(struct reader *r, const char *suffix, uint32_t *out, uint32_t absent,
                         size_t max)
{
    enum err err;

    *out = absent;
    if ((err = read_u32(r, suffix, out))) return err;
    if (!gguf_find(r->g, r->key) && absent == 0)
        return ERR_FAIL(r->e, FORMAT, "the GGUF file lacks the key '%s'", r->key);
    if (*out < 1 || *out > max)
        return ERR_FAIL(r->e, FORMAT, "key '%s' is %u; 1 to %zu are allowed", r->key, *out, max);
    return ERR_OK;
}

/* A finite number of at least `min`; *out keeps its value when the key is absent. */
static enum err read_f32(struct reader *r, const char *suffix, float *out, float min)
{
    enum err err = gguf_get_f32(r->g, key(r, suffix), out, r->e);

    if (err) return err;
    if (!isfinite(*out) || *out < min)
        return ERR_FAIL(r->e, FORMAT, "key '%s' is %g; a finite number of at least %g is needed",
                        r->key, (double)*out, (double)min);
    return ERR_OK;
}

/* ---- the parts of a header ---- */

static enum err read_family(struct reader *r)
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
    for (size_t i = 0; i < n; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", all[i].name);
    err =
        ERR_FAIL(r->e, UNSUPPORTED, "architecture '%.*s' is not one this version runs; it runs %s",
                 (int)(m->arch.n > 64 ? 64 : m->arch.n), m->arch.p, names.p ? names.p : "none");
    buf_fini(&names);
    return err;
}

static enum err read_heads(struct reader *r)
{
    struct meta *m = r->m;
    uint32_t split;
    enum err err;

    if ((err = need_u32(r, "attention.head_count", &m->n_head, 0, LIMIT_MODEL_HEADS)) ||
        (err = need_u32(r, "attention.head_count_kv", &m->n_head_kv, m->n_head, LIMIT_MODEL_HEADS)))
        return err;
    if (m->n_head % m->n_head_kv)
        return ERR_FAIL(r->e, FORMAT, "%u attention heads cannot share %u key heads evenly",
                        m->n_head, m->n_head_kv);
    split = m->n_embd % m->n_head ? 0 : m->n_embd / m->n_head;
    if (!split && !gguf_find(r->g, key(r, "attention.key_length")))
        return ERR_FAIL(r->e, FORMAT,
                        "an embedding of %u does not divide into %u heads, and the key '%s' is "
                        "absent",
                        m->n_embd, m->n_head, r->key);
    if ((err = need_u32(r, "attention.key_length", &m->head_dim, split, LIMIT_MODEL_DIM)) ||
        (err =
             need_u32(r, "attention.value_length", &m->head_dim_v, m->head_dim, LIMIT_MODEL_DIM)) ||
        (err = need_u32(r, "rope.dimension_count", &m->n_rot, m->head_dim, LIMIT_MODEL_DIM)))
        return err;
    if ((uint64_t)m->n_head * m->head_dim > LIMIT_MODEL_DIM ||
        (uint64_t)m->n_head * m->head_dim_v > LIMIT_MODEL_DIM)
        return ERR_FAIL(r->e, FORMAT, "%u heads of %u and %u are wider than %u, the limit",
                        m->n_head, m->head_dim, m->head_dim_v, LIMIT_MODEL_DIM);
    if (m->n_rot > m->head_dim || m->n_rot % 2)
        return ERR_FAIL(r->e, FORMAT,
                        "key '%s.rope.dimension_count' is %u; it must be even and at "
                        "most %u, the size of a head",
                        m->family->name, m->n_rot, m->head_dim);
    return ERR_OK;
}

static enum err read_scaling_type(struct reader *r)
{
    str type = {0};
    enum err err = gguf_get_str(r->g, key(r, "rope.scaling.type"), &type, r->e);

    if (err) return err;
    if (type.p == NULL) {
        /* Older files state the factor alone. */
        r->m->rope_scaling = r->m->rope_factor == 1.0f ? ROPE_NONE : ROPE_LINEAR;
        return ERR_OK;
    }
    for (int i = ROPE_NONE; i <= ROPE_LLAMA3; i++) {
        if (!str_eqc(type, meta_rope_name((enum rope_scaling)i))) continue;
        r->m->rope_scaling = (enum rope_scaling)i;
        return ERR_OK;
    }
    return ERR_FAIL(r->e, UNSUPPORTED,
                    "RoPE scaling '%.*s' is not one this version runs; it runs linear, yarn and "
                    "llama3",
                    (int)(type.n > 64 ? 64 : type.n), type.p);
}

static enum err read_rope(struct reader *r)
{
    struct meta *m = r->m;
    float attn = 1.0f;
    enum err err;

    m->rope_base = 10000.0f;
    m->rope_factor = 1.0f;
    m->yarn_attn_factor = 1.0f;
    m->yarn_ext_factor = 1.0f;
    m->yarn_beta_fast = 32.0f;
    m->yarn_beta_slow = 1.0f;
    if ((err = read_f32(r, "rope.freq_base", &m->rope_base, 1e-6f)) ||
        (err = read_f32(r, "rope.scale_linear", &m->rope_factor, 0.0f)) ||
        (err = read_f32(r, "rope.scaling.factor", &m->rope_factor, 0.0f)))
        return err;
    if (m->rope_factor == 0.0f) m->rope_factor = 1.0f; /* ggml's way to say "no scaling" */
    if ((err = read_scaling_type(r)) ||
        (err = need_u32(r, "rope.scaling.original_context_length", &m->rope_orig_ctx,
                        m->n_ctx_train, LIMIT_MODEL_CONTEXT)) ||
        (err = read_f32(r, "rope.scaling.yarn_ext_factor", &m->yarn_ext_factor, -1e6f)) ||
        (err = read_f32(r, "rope.scaling.yarn_beta_fast", &m->yarn_beta_fast, 1e-6f)) ||
        (err = read_f32(r, "rope.scaling.yarn_beta_slow", &m->yarn_beta_slow, 1e-6f)) ||
        (err = read_f32(r, "rope.scaling.yarn_log_multiplier", &m->yarn_log_mul, 0.0f)) ||
        (err = read_f32(r, "rope.scaling.yarn_attn_factor", &m->yarn_attn_factor, 1e-6f)) ||
        (err = read_f32(r, "rope.scaling.attn_factor", &attn, 1e-6f)))
        return err;
    /* yarn derives its own factor and takes only the general one on top. */
    if (m->rope_scaling == ROPE_YARN) m->yarn_attn_factor = 1.0f;
    m->yarn_attn_factor *= attn;
    if (m->yarn_ext_factor < 0) m->yarn_ext_factor = 1.0f; /* "not set" */
    if (m->rope_scaling == ROPE_NONE) m->rope_factor = 1.0f;
    if (m->rope_scaling == ROPE_NONE && gguf_tensor(r->g, S("rope_freqs.weight")))
        m->rope_scaling = ROPE_LLAMA3;
    if (m->rope_scaling == ROPE_LLAMA3) {
        m->rope_factor = 1.0f; /* it is in the factors of the tensor */
        if (r->g->n_tensors && !gguf_tensor(r->g, S("rope_freqs.weight")))
            return ERR_FAIL(r->e, FORMAT,
                            "RoPE scaling 'llama3' needs the tensor "
                            "'rope_freqs.weight', which the file lacks");
    }
    return ERR_OK;
}

static enum err read_vocabulary(struct reader *r)
{
    struct meta *m = r->m;
    const struct gguf_tensor *embd = gguf_tensor(r->g, S("token_embd.weight"));
    const struct gguf_kv *tokens = gguf_find(r->g, "tokenizer.ggml.tokens");
    uint64_t n_tokens = tokens && tokens->type == GGUF_ARR ? tokens->count : 0;
    uint32_t said = 0;
    uint64_t n;
    enum err err;

    if ((err = read_u32(r, "vocab_size", &said)) ||
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

static enum err read_scales(struct reader *r)
{
    struct meta *m = r->m;
    enum err err;

    m->embed_scale = m->residual_scale = m->logit_scale = 1.0f;
    if ((err = read_f32(r, "embedding_scale", &m->embed_scale, -1e6f)) ||
        (err = read_f32(r, "residual_scale", &m->residual_scale, -1e6f)))
        return err;
    return read_f32(r, "logit_scale", &m->logit_scale, -1e6f);
}

/* ---- tensors ---- */

static bool known_tensor(str name, bool in_layer)
{
    static const char *const global[] = {
#define SLOT_GLOBAL(NAME, name) name,
#include "model/slot.def"
        NULL};
    static const char *const layer[] = {
#define SLOT_LAYER(NAME, name) name,
#include "model/slot.def"
        /* written by old converters, a constant of the rotation that every program computes */
        "attn.rot_embd", "attn_rot_embd.weight", "rope_freqs.weight", NULL};

    for (const char *const *k = in_layer ? layer : global; *k; k++)
        if (str_eqc(name, *k)) return true;
    return false;
}

static enum err check_tensor(struct reader *r, const struct gguf_tensor *t)
{
    str rest = t->name, number;
    bool in_layer = str_starts(t->name, S("blk."));
    int64_t layer;

    if (in_layer) {
        number = str_cut(str_sub(t->name, 4, t->name.n), '.', &rest);
        if (!str_int(number, &layer) || layer < 0)
            return ERR_FAIL(r->e, FORMAT, "tensor '%.*s' has no layer number", STR(t->name));
        if (layer >= r->m->n_layer)
            return ERR_FAIL(r->e, FORMAT,
                            "tensor '%.*s' belongs to layer %lld, but '%s.block_count' "
                            "is %u",
                            STR(t->name), (long long)layer, r->m->family->name, r->m->n_layer);
    }
    if (known_tensor(rest, in_layer)) return ERR_OK;
    if (str_find(rest, S("_exps"), 0) != SIZE_MAX || str_starts(rest, S("ffn_gate_inp")))
        return ERR_FAIL(r->e, UNSUPPORTED,
                        "tensor '%.*s': a mixture of experts, which this version does not run",
                        STR(t->name));
    return ERR_FAIL(r->e, UNSUPPORTED,
                    "tensor '%.*s' has no place in a model of architecture '%s' as this version "
                    "knows it; leaving it out would change the model",
                    STR(t->name), r->m->family->name);
}

static enum err weigh(struct reader *r)
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
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4"};

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

static enum err read_file_type(struct reader *r)
{
    uint32_t id = UINT32_MAX;
    const char *name = NULL;
    enum err err = gguf_get_u32(r->g, "general.file_type", &id, r->e);

    if (err) return err;
    if (id != UINT32_MAX) name = meta_file_type(id);
    r->m->file_type = str_c(name ? name : dtype_info(r->m->main_dtype)->name);
    return ERR_OK;
}

enum err meta_from_gguf(struct meta *m, struct arena *a, const struct gguf *g, struct err_info *e)
{
    struct reader r = {.m = m, .a = a, .g = g, .e = e};
    uint32_t experts = 0;
    enum err err;

    memset(m, 0, sizeof *m);
    if ((err = read_family(&r)) || (err = gguf_get_str(g, "general.name", &m->name, e)) ||
        (err = read_u32(&r, "expert_count", &experts)))
        return err;
    if (experts)
        return ERR_FAIL(e, UNSUPPORTED,
                        "a mixture of %u experts (key '%s', tensors 'blk.*.ffn_*_exps'): this "
                        "version runs dense models only",
                        experts, r.key);
    if ((err = need_u32(&r, "context_length", &m->n_ctx_train, 0, LIMIT_MODEL_CONTEXT)) ||
        (err = need_u32(&r, "block_count", &m->n_layer, 0, LIMIT_MODEL_LAYERS)) ||
        (err = need_u32(&r, "embedding_length", &m->n_embd, 0, LIMIT_MODEL_DIM)) ||
        (err = need_u32(&r, "feed_forward_length", &m->n_ff, 0, LIMIT_MODEL_DIM)) ||
        (err = read_f32(&r, "attention.layer_norm_rms_epsilon", &m->norm_eps, 0.0f)))
        return err;
    if (!gguf_find(g, r.key)) return ERR_FAIL(e, FORMAT, "the GGUF file lacks the key '%s'", r.key);
    if ((err = read_heads(&r)) || (err = read_rope(&r)) || (err = read_vocabulary(&r)) ||
        (err = read_scales(&r)) || (err = weigh(&r)))
        return err;
    return read_file_type(&r);
}

const char *meta_rope_name(enum rope_scaling s)
{
    switch (s) {
    case ROPE_NONE: return "none";
    case ROPE_LINEAR: return "linear";
    case ROPE_YARN: return "yarn";
    case ROPE_LLAMA3: return "llama3";
    }
    return "unknown";
}

/* Bytes of a cache row; a row that is no whole number of blocks is rounded up to one. */
static uint64_t cache_row(enum dtype t, uint64_t n)
{
    const struct dtype_info *i = dtype_info(t);

    return (n + i->elems - 1) / i->elems * i->bytes;
}

uint64_t meta_kv_bytes_per_pos(const struct meta *m, enum dtype ktype, enum dtype vtype)
{
    return m->n_layer * (cache_row(ktype, (uint64_t)m->n_head_kv * m->head_dim) +
                         cache_row(vtype, (uint64_t)m->n_head_kv * m->head_dim_v));
}
