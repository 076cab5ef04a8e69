/* hf_meta: see hf_meta.h. Keys by hf_config(), then a list of matrices by what kind of layer each
 * layer is, which the keys and the family's row tell. test_hf_meta.c holds it to directories that
 * were opened: caches, states and registers are equal.
 */
#include "model/hf_meta.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "model/hf_int.h"
#include "model/meta.h"

enum { GLOBAL_TENSORS = 8, LAYER_TENSORS = 24 };

/* ---- keys ---- */

static enum err parse(struct hf *h, str text, const char *name, const struct json **out)
{
    struct err_info why = {0};
    enum err r;

    *out = NULL;
    if (!text.n || !(r = json_parse(&h->tree, text, out, &why))) return ERR_OK;
    return err_fail(h->e, r, why.file, why.line, "%s: %s", name, why.text);
}

str hf_template(const struct json *v)
{
    str first = {0};

    if (v && v->type == JSON_STR) return v->s;
    for (size_t i = 0; v && v->type == JSON_ARR && i < v->n; i++) {
        str text = json_str(json_get(&v->items[i], "template"), S(""));

        if (!first.p) first = text;
        if (str_eqc(json_str(json_get(&v->items[i], "name"), S("")), "default")) return text;
    }
    return first;
}

/* A token's number, or the first of several. */
static void put_token(struct hf *h, const struct json *from, const char *member, const char *key)
{
    const struct json *v = json_get(from, member);

    if (!v || v->type == JSON_NULL) v = hf_get(h, member);
    if (v && v->type == JSON_ARR && v->n) v = &v->items[0];
    int64_t id = json_int(v, -1);
    if (id >= 0 && id < (int64_t)LIMIT_VOCAB) gguf_write_u32(&h->w, key, (uint32_t)id);
}

void hf_put_pooling(struct hf *h, const struct json *conf)
{
    static const struct {
        const char *member;
        uint32_t id; /* of the GGUF key */
    } kinds[] = {{"pooling_mode_mean_tokens", 1},
                 {"pooling_mode_cls_token", 2},
                 {"pooling_mode_lasttoken", 3}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (json_bool(json_get(conf, kinds[i].member), false)) {
            hf_put_u32(h, "pooling_type", kinds[i].id);
            return;
        }
}

static enum err other_files(struct hf *h, const struct hf_meta_files *f)
{
    const struct json *tok, *gen, *pool;
    str text = f->chat_template;
    enum err r;

    if ((r = parse(h, f->tokenizer_config, "tokenizer_config.json", &tok)) ||
        (r = parse(h, f->generation_config, "generation_config.json", &gen)) ||
        (r = parse(h, f->pooling, "1_Pooling/config.json", &pool)))
        return r;
    if (!text.n) text = hf_template(json_get(tok, "chat_template"));
    if (text.n && text.n <= LIMIT_TEMPLATE) gguf_write_str(&h->w, "tokenizer.chat_template", text);
    put_token(h, gen, "bos_token_id", "tokenizer.ggml.bos_token_id");
    put_token(h, gen, "eos_token_id", "tokenizer.ggml.eos_token_id");
    hf_put_pooling(h, pool);
    return ERR_OK;
}

static enum err keys(struct hf *h, const struct hf_meta_files *f)
{
    char *text = arena_alloc(&h->tree, f->config.n + 1, 1);
    enum err r;

    if (!text)
        return ERR_FAIL(h->e, NOMEM, "no memory for the %zu bytes of config.json", f->config.n);
    if (f->config.n) memcpy(text, f->config.p, f->config.n);
    if ((r = hf_config(h, text, f->config.n)) || (r = other_files(h, f))) return r;
    return ERR_OK;
}

enum err hf_take_keys(struct hf *h)
{
    struct arena *a = &h->g->arena;
    struct gguf read;
    buf head = {.cap = LIMIT_GGUF_HEADER};
    enum err r = gguf_write_header(&h->w, &head, h->e);
    uint8_t *own = r ? NULL : arena_alloc(a, head.n, 32);

    if (!r && !own) r = ERR_FAIL(h->e, NOMEM, "no memory for %zu bytes of keys", head.n);
    if (!r) {
        memcpy(own, head.p, head.n);
        r = gguf_parse(&read, a, own, head.n, head.n, NULL, h->e);
    }
    buf_fini(&head);
    if (r) return r;
    h->g->version = read.version;
    h->g->alignment = read.alignment;
    h->g->kv = read.kv;
    h->g->n_kv = read.n_kv;
    h->g->kv_names = read.kv_names;
    return ERR_OK;
}

/* ---- the type of the weights ---- */

bool hf_meta_reads(str quant_method)
{
    static const char *const known[] = {"fp8", "mxfp4", "compressed-tensors", "fbgemm_fp8"};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_eqc(quant_method, known[i])) return true;
    return false;
}

static enum dtype plain_type(const struct hf *h)
{
    str name = json_str(hf_get(h, "torch_dtype|dtype"), S("bfloat16")), rest;

    if (str_starts(name, S("torch."))) name = str_sub(name, 6, name.n);
    (void)str_cut(name, ' ', &rest);
    if (str_eqc(name, "float32")) return DTYPE_F32;
    return str_eqc(name, "float16") || str_eqc(name, "half") ? DTYPE_F16 : DTYPE_BF16;
}

/* Of matrices, and of those of experts where they differ. */
static void types(const struct hf *h, enum dtype *plain, enum dtype *experts)
{
    const struct json *q = hf_get(h, "quantization_config|compression_config");
    str method = json_str(json_get(q, "quant_method"), S(""));

    *plain = *experts = plain_type(h);
    if (str_eqc(method, "mxfp4"))
        *experts = DTYPE_MXFP4;
    else if (method.n) /* scaled 8-bit floats, multiplied out */
        *plain = *experts = DTYPE_F32;
}

/* ---- matrices ---- */

struct list {
    struct hf *h;
    const struct meta *m;
    enum dtype plain, experts;
    uint64_t room;
    uint32_t ff, shared_ff, dense_layers; /* of experts */
    int layer;                            /* -1: outside the layers */
    enum err err;                         /* the first; then nothing is added */
};

/* rows x cols, `parts` of them. A type whose blocks do not divide a row is taken as F32. */
static void add(struct list *l, const char *name, enum dtype t, uint64_t rows, uint64_t cols,
                uint64_t parts)
{
    struct gguf *g = l->h->g;
    struct gguf_tensor *x = &g->tensors[g->n_tensors];
    uint64_t row, matrix;

    if (l->err) return;
    if (cols % dtype_info(t)->elems) t = DTYPE_F32;
    *x = (struct gguf_tensor){
        .n_dims = parts > 1 ? 3 : 2, .dim = {cols, rows, parts, 1}, .dtype = t};
    if (l->layer < 0)
        x->name = arena_printf(&g->arena, "%s.weight", name);
    else
        x->name = arena_printf(&g->arena, "blk.%d.%s.weight", l->layer, name);
    if (!x->name.p || g->n_tensors == l->room)
        l->err = ERR_FAIL(l->h->e, NOMEM, "no memory for the tensors of a model");
    else if (rows == 0 || cols == 0 || parts == 0 || !dtype_row_bytes(t, cols, &row) ||
             __builtin_mul_overflow(row, rows, &matrix) ||
             __builtin_mul_overflow(matrix, parts, &x->bytes) || rows > UINT64_MAX / cols / parts)
        l->err =
            ERR_FAIL(l->h->e, FORMAT, "config.json: %s would be %llu matrices of %llu x %llu", name,
                     (unsigned long long)parts, (unsigned long long)rows, (unsigned long long)cols);
    else
        g->n_tensors++;
}

static void matrix(struct list *l, const char *name, uint64_t rows, uint64_t cols)
{
    add(l, name, l->plain, rows, cols, 1);
}

static void vector(struct list *l, const char *name, uint64_t n)
{
    add(l, name, DTYPE_F32, 1, n, 1);
}

/* The same without ".weight". */
static void bare(struct list *l, const char *name, const char *suffix, uint64_t n)
{
    struct gguf *g = l->h->g;

    vector(l, name, n);
    if (l->err) return;
    struct gguf_tensor *x = &g->tensors[g->n_tensors - 1];
    x->name = arena_printf(&g->arena, "blk.%d.%s%s", l->layer, name, suffix);
    if (!x->name.p) l->err = ERR_FAIL(l->h->e, NOMEM, "no memory for tensor names");
}

static void attention(struct list *l, const struct meta_layer *x)
{
    uint64_t n = l->m->n_embd, q = (uint64_t)x->n_head * x->head_dim;

    matrix(l, "attn_q", q * (l->m->family->flags & FAMILY_GATED_Q ? 2 : 1), n);
    matrix(l, "attn_k", (uint64_t)x->n_head_kv * x->head_dim, n);
    matrix(l, "attn_v", (uint64_t)x->n_head_kv * x->head_dim_v, n);
    matrix(l, "attn_output", n, (uint64_t)x->n_head * x->head_dim_v);
}

static void latent(struct list *l, const struct meta_layer *x)
{
    const struct meta *m = l->m;
    uint64_t n = m->n_embd, heads = x->n_head;
    uint32_t k = m->head_dim_mla ? m->head_dim_mla : m->head_dim;
    uint32_t v = m->head_dim_v_mla ? m->head_dim_v_mla : m->head_dim_v;
    bool absorbed = m->head_dim_mla != 0;
    uint64_t nope = k > m->n_rot ? k - m->n_rot : 0;

    if (m->q_lora) {
        matrix(l, "attn_q_a", m->q_lora, n);
        vector(l, "attn_q_a_norm", m->q_lora);
        matrix(l, "attn_q_b", heads * k, m->q_lora);
    } else {
        matrix(l, "attn_q", heads * k, n);
    }
    matrix(l, "attn_kv_a_mqa", (uint64_t)m->kv_lora + m->n_rot, n);
    vector(l, "attn_kv_a_norm", m->kv_lora);
    if (absorbed) {
        add(l, "attn_k_b", l->plain, m->kv_lora, nope, heads);
        add(l, "attn_v_b", l->plain, v, m->kv_lora, heads);
    } else {
        matrix(l, "attn_kv_b", heads * (nope + v), m->kv_lora);
    }
    matrix(l, "attn_output", n, heads * v);
}

static void mamba(struct list *l)
{
    const struct meta *m = l->m;
    uint64_t n = m->n_embd, inner = m->ssm_inner, state = m->ssm_state, rank = m->ssm_rank;

    matrix(l, "ssm_in", 2 * inner, n);
    matrix(l, "ssm_conv1d", inner, m->ssm_conv);
    matrix(l, "ssm_x", rank + 2 * state, inner);
    matrix(l, "ssm_dt", inner, rank);
    bare(l, "ssm_a", "", inner * state);
    bare(l, "ssm_d", "", inner);
    matrix(l, "ssm_out", n, inner);
}

static void mamba2(struct list *l)
{
    const struct meta *m = l->m;
    uint64_t groups = m->ssm_group ? m->ssm_group : 1, inner = m->ssm_inner, heads = m->ssm_rank;
    uint64_t both = 2 * groups * m->ssm_state;

    matrix(l, "ssm_in", 2 * inner + both + heads, m->n_embd);
    matrix(l, "ssm_conv1d", inner + both, m->ssm_conv);
    bare(l, "ssm_dt", ".bias", heads);
    bare(l, "ssm_a", "", heads);
    bare(l, "ssm_d", "", heads);
    vector(l, "ssm_norm", inner);
    matrix(l, "ssm_out", m->n_embd, inner);
}

static void shortconv(struct list *l)
{
    uint64_t n = l->m->n_embd;

    matrix(l, "shortconv.in_proj", 3 * n, n);
    matrix(l, "shortconv.conv", n, l->m->conv_kernel);
    matrix(l, "shortconv.out_proj", n, n);
}

/* False: the layer has no such part. */
static bool mixer(struct list *l, const struct meta_layer *x)
{
    const struct meta *m = l->m;
    bool heads = m->ssm_group || !strcmp(m->family->name, "mamba2");

    if (m->kv_lora)
        latent(l, x);
    else if (x->n_head_kv)
        attention(l, x);
    else if (m->conv_kernel)
        shortconv(l);
    else if (m->ssm_inner && heads)
        mamba2(l);
    else if (m->ssm_inner)
        mamba(l);
    else
        return false;
    return true;
}

/* Families of the older kind have a way up, an activation and a way down. */
static bool gated(const struct meta *m)
{
    enum family_act act = m->family->act;

    return act != FFN_RELU_SQR && act != FFN_RELU &&
           !(m->family->norm == NORM_LAYER && (act == FFN_GELU || act == FFN_GELU_ERF));
}

static void dense(struct list *l, const char *suffix, uint64_t ff)
{
    static const char *const ways[] = {"ffn_gate", "ffn_up"};
    char name[40];

    for (size_t i = gated(l->m) ? 0 : 1; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", ways[i], suffix);
        matrix(l, name, ff, l->m->n_embd);
    }
    snprintf(name, sizeof name, "ffn_down%s", suffix);
    matrix(l, name, l->m->n_embd, ff);
}

static void mixture(struct list *l)
{
    const struct meta *m = l->m;

    matrix(l, "ffn_gate_inp", m->n_expert, m->n_embd);
    if (gated(m)) add(l, "ffn_gate_exps", l->experts, l->ff, m->n_embd, m->n_expert);
    add(l, "ffn_up_exps", l->experts, l->ff, m->n_embd, m->n_expert);
    add(l, "ffn_down_exps", l->experts, m->n_embd, l->ff, m->n_expert);
    if (l->shared_ff) dense(l, "_shexp", l->shared_ff);
}

/* Which layers have experts: classes count them in three ways. */
static bool has_experts(const struct list *l)
{
    const struct hf *h = l->h;
    const struct json *only = hf_get(h, "mlp_only_layers");
    int64_t layer = l->layer, step = json_int(hf_get(h, "decoder_sparse_step"), 1);
    int64_t period = json_int(hf_get(h, "expert_layer_period"), 0);
    int64_t offset = json_int(hf_get(h, "expert_layer_offset"), 1);

    if (l->m->n_expert < 2 || (uint32_t)layer < l->dense_layers) return false;
    for (size_t i = 0; only && only->type == JSON_ARR && i < only->n; i++)
        if (json_int(&only->items[i], -1) == layer) return false;
    if (!strcmp(l->m->family->name, "jamba") && !period) period = 2;
    if (period > 0) return layer % period == offset;
    return step <= 1 || (layer + 1) % step == 0;
}

/* Classes whose blocks read x as it is and normalise what they give. */
static bool norms_behind(const struct meta *m)
{
    return !strcmp(m->family->name, "olmo2") || !strcmp(m->family->name, "exaone4");
}

static void layer(struct list *l, const struct meta_layer *x)
{
    const struct meta *m = l->m;
    unsigned flags = m->family->flags;
    bool norms = !(flags & (FAMILY_NORM_BARE | FAMILY_BERT));
    bool parallel = m->family->block == BLOCK_PARALLEL, behind = norms_behind(m);
    const char *second = behind                     ? "post_ffw_norm"
                         : flags & FAMILY_NORM2_FFN ? "post_attention_norm"
                                                    : "ffn_norm";

    if (norms) vector(l, behind ? "post_attention_norm" : "attn_norm", m->n_embd);
    (void)mixer(l, x);
    if (!x->n_ff && !(m->n_expert > 1 && l->ff)) return;
    if (norms && !parallel) vector(l, second, m->n_embd);
    if (has_experts(l))
        mixture(l);
    else
        dense(l, "", x->n_ff);
}

static void ends(struct list *l)
{
    const struct meta *m = l->m;
    unsigned flags = m->family->flags;
    const char *norm = flags & FAMILY_NORM_IN_EMBD ? "token_embd_norm" : "output_norm";
    bool learned = m->family->rope == ROPE_NO && m->alibi == 0.0f && !m->ssm_inner && m->n_head;

    l->layer = -1;
    matrix(l, "token_embd", m->n_vocab, m->n_embd);
    if (learned) matrix(l, "position_embd", m->n_ctx_train, m->n_embd);
    if (!(flags & (FAMILY_NORM_BARE | FAMILY_BERT))) vector(l, norm, m->n_embd);
    if (!l->h->tied && !(flags & FAMILY_BERT) && plan_want_of(m) == PLAN_LOGITS)
        matrix(l, "output", m->n_vocab, m->n_embd);
}

static enum err expert_sizes(struct list *l)
{
    const struct gguf *g = l->h->g;
    struct {
        const char *suffix;
        uint32_t value;
    } k[] = {{"expert_feed_forward_length", l->m->n_ff},
             {"expert_shared_feed_forward_length", 0},
             {"expert_shared_count", 0},
             {"leading_dense_block_count", 0}};
    char key[128];
    enum err r;

    for (size_t i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s.%s", l->h->gguf_arch, k[i].suffix);
        if ((r = gguf_get_u32(g, key, &k[i].value, l->h->e))) return r;
        if (k[i].value > LIMIT_MODEL_DIM)
            return ERR_FAIL(l->h->e, FORMAT, "config.json: '%s' is %u", k[i].suffix, k[i].value);
    }
    l->ff = k[0].value;
    l->shared_ff = k[1].value ? k[1].value : k[2].value * l->ff;
    l->dense_layers = k[3].value;
    return ERR_OK;
}

static enum err matrices(struct hf *h, const struct meta *m)
{
    struct list l = {.h = h, .m = m, .room = GLOBAL_TENSORS + (uint64_t)m->n_layer * LAYER_TENSORS};
    enum err r = expert_sizes(&l);

    if (r) return r;
    types(h, &l.plain, &l.experts);
    h->g->tensors = ARENA_NEW(&h->g->arena, struct gguf_tensor, (size_t)l.room + 1);
    if (!h->g->tensors) return ERR_FAIL(h->e, NOMEM, "no memory for the tensors of a model");
    if (!m->n_vocab) return ERR_FAIL(h->e, FORMAT, "config.json: 'vocab_size' is missing");
    ends(&l);
    for (uint32_t i = 0; i < m->n_layer; i++) {
        l.layer = (int)i;
        layer(&l, &m->layers[i]);
    }
    return l.err ? l.err : gguf_index_tensors(h->g, &h->g->arena, h->e);
}

/* ---- the whole ---- */

static enum err open_all(struct hf *h, const struct hf_meta_files *f)
{
    struct meta m;
    enum err r;

    if ((r = keys(h, f))) return r;
    if ((r = hf_take_keys(h)) || (r = meta_from_gguf(&m, &h->tree, h->g, h->e))) return r;
    return matrices(h, &m);
}

enum err hf_meta_open(struct gguf *g, const struct hf_meta_files *f, struct err_info *e)
{
    struct hf h = {.g = g, .e = e};
    enum err r;

    *g = (struct gguf){.dir = ""}; /* as a directory: values lie as SafeTensors have them */
    arena_init(&g->arena, LIMIT_HF_ARENA);
    arena_init(&h.tree, LIMIT_ST_ARENA);
    gguf_write_init(&h.w);
    r = open_all(&h, f);
    gguf_write_fini(&h.w);
    arena_fini(&h.tree);
    if (r) hf_meta_close(g);
    return r;
}

void hf_meta_close(struct gguf *g)
{
    arena_fini(&g->arena);
    *g = (struct gguf){0};
}
