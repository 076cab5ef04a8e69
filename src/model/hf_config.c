/* hf_config: config.json to GGUF keys.
 *
 * transformers' classes name the same number differently; each read takes a list of names and the
 * first that is there and not null counts. Multimodal models keep the language model's numbers in
 * "text_config": it is asked first, then the whole. Numbers that layouts are computed from are
 * checked here against limits.h, so that nothing below divides by zero or overflows; all others go
 * into the keys as they are and meta.c checks them as it would check a file's.
 *
 * Python writes Infinity and NaN into JSON; both mean nothing here and are read as null.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "model/hf_int.h"
#include "model/hf_meta.h"

/* ---- reading ---- */

static const struct json *get_in(const struct json *obj, const char *names)
{
    str rest = str_c(names), name;

    while (rest.n) {
        char key[64];
        const struct json *v;

        name = str_cut(rest, '|', &rest);
        snprintf(key, sizeof key, "%.*s", STR(name));
        v = json_get(obj, key);
        if (v && v->type != JSON_NULL) return v;
    }
    return NULL;
}

const struct json *hf_get(const struct hf *h, const char *names)
{
    const struct json *v = get_in(h->text, names);

    if (!v && h->text != h->root) v = get_in(h->root, names);
    return v ? v : get_in(h->defaults, names);
}

const struct json *hf_rope(const struct hf *h, const char *names)
{
    const struct json *p = hf_get(h, "rope_parameters"), *v;
    const struct json *full = json_get(p, "full_attention");

    if ((v = get_in(full, names)) || (v = get_in(p, names))) return v;
    return get_in(hf_get(h, "rope_scaling"), names);
}

static enum err wrong(struct hf *h, const char *names, const struct json *v, const char *wanted)
{
    return ERR_FAIL(h->e, FORMAT, "config.json: '%.*s' is %s where %s is needed", HF_NAME(v->key),
                    json_type_name(v->type), wanted ? wanted : names);
}

static enum err read_u32_of(struct hf *h, const struct json *v, uint32_t *out)
{
    int64_t i;

    if (!v) return ERR_OK;
    i = json_int(v, -1);
    if (i < 0 || i > UINT32_MAX) return wrong(h, NULL, v, "a whole number from 0 to 2^32 - 1");
    *out = (uint32_t)i;
    return ERR_OK;
}

enum err hf_read_u32(struct hf *h, const char *names, uint32_t *out)
{
    return read_u32_of(h, hf_get(h, names), out);
}

enum err hf_read_f64(struct hf *h, const char *names, double *out)
{
    const struct json *v = hf_get(h, names);

    if (!v) return ERR_OK;
    if (!json_is_num(v)) return wrong(h, names, v, "a number");
    *out = json_num(v, 0);
    return ERR_OK;
}

enum err hf_read_bool(struct hf *h, const char *names, bool *out)
{
    const struct json *v = hf_get(h, names);

    if (!v) return ERR_OK;
    if (v->type != JSON_BOOL) return wrong(h, names, v, "true or false");
    *out = v->b;
    return ERR_OK;
}

/* ---- writing ---- */

static const char *key_of(const struct hf *h, const char *suffix, char out[128])
{
    snprintf(out, 128, "%s.%s", h->gguf_arch, suffix);
    return out;
}

void hf_put_u32(struct hf *h, const char *suffix, uint64_t v)
{
    char key[128];

    gguf_write_u32(&h->w, key_of(h, suffix, key), v > UINT32_MAX ? UINT32_MAX : (uint32_t)v);
}

void hf_put_f32(struct hf *h, const char *suffix, double v)
{
    char key[128];

    gguf_write_f32(&h->w, key_of(h, suffix, key), (float)v);
}

void hf_put_bool(struct hf *h, const char *suffix, bool v)
{
    char key[128];

    gguf_write_bool(&h->w, key_of(h, suffix, key), v);
}

void hf_put_str(struct hf *h, const char *suffix, str v)
{
    char key[128];

    gguf_write_str(&h->w, key_of(h, suffix, key), v);
}

enum err hf_copy_u32(struct hf *h, const char *suffix, const char *names)
{
    uint32_t v = 0;
    enum err r = hf_read_u32(h, names, &v);

    if (!r && hf_get(h, names)) hf_put_u32(h, suffix, v);
    return r;
}

enum err hf_copy_f32(struct hf *h, const char *suffix, const char *names)
{
    double v = 0;
    enum err r = hf_read_f64(h, names, &v);

    if (!r && hf_get(h, names)) hf_put_f32(h, suffix, v);
    return r;
}

/* ---- the numbers every model has ---- */

static enum err check(struct hf *h, const char *what, uint32_t v, uint32_t most)
{
    if (v >= 1 && v <= most) return ERR_OK;
    return ERR_FAIL(h->e, FORMAT, "config.json: %s %s; 1 to %u are allowed", what,
                    v ? "is too large" : "is missing or 0", most);
}

/* n_inner, or the factor that a family states instead. */
static enum err read_ff(struct hf *h)
{
    uint32_t factor = 4;
    enum err r;

    if ((r = hf_read_u32(h, "expansion_ratio", &factor))) return r;
    h->n_ff = factor < 1024 ? factor * h->n_embd : 0;
    return hf_read_u32(h, "intermediate_size|ffn_hidden_size|n_inner|ffn_dim", &h->n_ff);
}

static enum err read_rot(struct hf *h)
{
    double part = 1;
    const struct json *v;
    enum err r;

    if ((r = hf_read_f64(h, "partial_rotary_factor|rotary_pct|rope_pct|rotary_emb_fraction",
                         &part)))
        return r;
    if ((v = hf_rope(h, "partial_rotary_factor"))) part = json_num(v, part);
    if (!(part >= 0 && part <= 1))
        return ERR_FAIL(h->e, FORMAT, "config.json: RoPE turns a fraction of %g of a head", part);
    h->n_rot = (uint32_t)(part * h->head_dim);
    return hf_read_u32(h, "rotary_dim|qk_rope_head_dim", &h->n_rot);
}

static enum err read_heads(struct hf *h)
{
    enum err r;

    if ((r = hf_read_u32(h, "num_attention_heads|n_head|n_heads", &h->n_head))) return r;
    if (h->n_head == 0) return ERR_OK; /* a model without attention */
    if ((r = check(h, "the number of attention heads", h->n_head, LIMIT_MODEL_HEADS))) return r;
    h->n_head_kv = h->n_head;
    if ((r = hf_read_u32(h, "num_key_value_heads|num_kv_heads|n_head_kv|multi_query_group_num",
                         &h->n_head_kv)) ||
        (r = check(h, "the number of key heads", h->n_head_kv, h->n_head)))
        return r;
    h->head_dim = h->n_embd / h->n_head;
    if ((r = hf_read_u32(h, "head_dim|kv_channels|attention_head_dim", &h->head_dim)) ||
        (r = check(h, "the size of a head", h->head_dim, LIMIT_MODEL_DIM / h->n_head)))
        return r;
    return read_rot(h);
}

static enum err read_numbers(struct hf *h)
{
    enum err r;

    h->tied = (h->arch->flags & HF_TIED) != 0;
    h->rope_base = 10000;
    if ((r = hf_read_u32(h, "hidden_size|n_embd|n_embed|d_model", &h->n_embd)) ||
        (r = check(h, "the hidden size", h->n_embd, LIMIT_MODEL_DIM)) ||
        (r = hf_read_u32(h, "num_hidden_layers|n_layer|n_layers|num_layers", &h->n_layer)) ||
        (r = check(h, "the number of layers", h->n_layer, LIMIT_MODEL_LAYERS)) ||
        (r = read_heads(h)) || (r = read_ff(h)) ||
        (r = hf_read_u32(h,
                         "max_position_embeddings|n_positions|max_sequence_length|max_seq_len|"
                         "seq_length|n_ctx|model_max_length|max_trained_positions",
                         &h->n_ctx)) ||
        (r = hf_read_f64(h, "rope_theta|rotary_emb_base", &h->rope_base)) ||
        (r = hf_read_bool(h, "tie_word_embeddings", &h->tied)))
        return r;
    if (hf_rope(h, "rope_theta")) h->rope_base = json_num(hf_rope(h, "rope_theta"), h->rope_base);
    return ERR_OK;
}

/* ---- the keys every model has ---- */

static enum err put_eps(struct hf *h)
{
    bool layer = h->arch->flags & HF_LAYER_NORM;
    double eps = layer ? 1e-5 : 1e-6;
    enum err r = hf_read_f64(h,
                             "rms_norm_eps|layer_norm_eps|layer_norm_epsilon|norm_epsilon|norm_eps|"
                             "layernorm_epsilon|layer_norm_rms_eps",
                             &eps);

    if (!r)
        hf_put_f32(h, layer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                   eps);
    return r;
}

/* Families whose key function writes the heads itself. */
static bool own_heads(const struct hf *h)
{
    static const char *const archs[] = {"deepseek2", "minicpm3", "jamba", "granitehybrid", "lfm2"};

    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (!strcmp(h->gguf_arch, archs[i])) return true;
    return false;
}

static enum err put_common(struct hf *h)
{
    uint32_t n_vocab = 0;
    const struct json *act =
        hf_get(h, "hidden_activation|hidden_act|activation_function|activation");
    enum err r;

    if ((r = hf_read_u32(h, "padded_vocab_size|vocab_size", &n_vocab))) return r;
    if (n_vocab) hf_put_u32(h, "vocab_size", n_vocab);
    if (h->n_ctx) hf_put_u32(h, "context_length", h->n_ctx);
    hf_put_u32(h, "embedding_length", h->n_embd);
    hf_put_u32(h, "block_count", h->n_layer);
    hf_put_u32(h, "feed_forward_length", h->n_ff);
    hf_put_u32(h, "attention.head_count", h->n_head);
    if (h->n_head && !own_heads(h)) hf_put_u32(h, "attention.head_count_kv", h->n_head_kv);
    if (h->n_head && !own_heads(h) && h->head_dim * h->n_head != h->n_embd) {
        hf_put_u32(h, "attention.key_length", h->head_dim);
        hf_put_u32(h, "attention.value_length", h->head_dim);
    }
    if (!(h->arch->flags & HF_NO_ROPE) && h->n_rot) {
        hf_put_u32(h, "rope.dimension_count", h->n_rot);
        if ((r = hf_rope_keys(h))) return r;
    }
    if (act && act->type == JSON_STR) gguf_write_str(&h->w, "rbee.hidden_act", act->s);
    if (h->arch->flags & HF_HALVES) gguf_write_bool(&h->w, "rbee.rope.halves", true);
    return put_eps(h);
}

/* ---- the whole ---- */

static enum err find_arch(struct hf *h)
{
    const struct json *list = json_get(h->root, "architectures");
    str first = {0};
    buf names = {.cap = ERR_TEXT_MAX / 2};

    for (size_t i = 0; list && list->type == JSON_ARR && i < list->n; i++) {
        str name = json_str(&list->items[i], S(""));

        if (!first.n) first = name;
        if ((h->arch = hf_arch_find(name))) {
            h->gguf_arch = h->arch->gguf;
            return ERR_OK;
        }
    }
    if (!first.n) return ERR_FAIL(h->e, FORMAT, "config.json names no class under 'architectures'");
    hf_arch_names(&names);
    err_fail(h->e, ERR_UNSUPPORTED, __FILE__, __LINE__,
             "a model of class '%.*s' is not one this version reads from SafeTensors; a GGUF file "
             "of it may run; read are %s",
             HF_NAME(first), names.p ? names.p : "none");
    buf_fini(&names);
    return ERR_UNSUPPORTED;
}

/* Weights packed by a method whose layout is not read here are refused before their names are. */
static enum err check_quantisation(struct hf *h)
{
    const struct json *q = hf_get(h, "quantization_config|compression_config");
    str method = json_str(json_get(q, "quant_method"), S(""));

    if (!q || hf_meta_reads(method)) return ERR_OK;
    return ERR_FAIL(h->e, UNSUPPORTED,
                    "the weights are quantised by '%.*s', which is not read; take the repository "
                    "with the plain weights, or a GGUF file",
                    HF_NAME(method));
}

/* Replaces NaN, Infinity and -Infinity outside strings by null of the same length. */
static void drop_infinities(char *p, size_t n)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\' && in_string) {
            i++;
        } else if (p[i] == '"') {
            in_string = !in_string;
        } else if (!in_string && (p[i] == 'I' || p[i] == 'N' || p[i] == '-')) {
            for (size_t k = 0; k < 3; k++) {
                size_t len = strlen(words[k]);

                if (n - i < len || memcmp(p + i, words[k], len) != 0) continue;
                memset(p + i, ' ', len);
                /* null is a letter longer than NaN: 0 does as well, for nobody reads such a
                 * member. */
                memcpy(p + i, len > 3 ? "null" : "0", len > 3 ? 4 : 1);
                break;
            }
        }
    }
}

enum err hf_config(struct hf *h, char *text, size_t n)
{
    enum err r;

    drop_infinities(text, n);
    if ((r = json_parse(&h->tree, (str){text, n}, &h->root, h->e))) {
        struct err_info why = *h->e;

        return err_fail(h->e, r, why.file, why.line, "config.json: %s", why.text);
    }
    if (h->root->type != JSON_OBJ)
        return ERR_FAIL(h->e, FORMAT, "config.json holds %s, not an object",
                        json_type_name(h->root->type));
    h->text = json_get(h->root, "text_config");
    if (!h->text || h->text->type != JSON_OBJ) h->text = h->root;
    if ((r = find_arch(h))) return r;
    if (h->arch->defaults &&
        (r = json_parse(&h->tree, str_c(h->arch->defaults), &h->defaults, h->e)))
        return r;
    if ((r = check_quantisation(h)) || (r = read_numbers(h))) return r;
    /* The function may change the architecture's name, so it goes first. */
    if (h->arch->keys && (r = h->arch->keys(h))) return r;
    gguf_write_str(&h->w, "general.architecture", str_c(h->gguf_arch));
    gguf_write_str(&h->w, "general.type", S("model"));
    return put_common(h);
}
