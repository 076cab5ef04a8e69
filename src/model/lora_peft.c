/* lora_peft: adapters as PEFT saves them, a directory with adapter_config.json and
 * adapter_model.safetensors.
 *
 * Each module has a lora_A [rank][in] and a lora_B [out][rank]. Its name goes through the tables of
 * Hugging Face directories (hf_rules.c), by the architecture of the base model, and B goes through
 * the fix of its rule as a weight would: where a fix only reorders or splits rows, it does to B
 * what it did to the weight. Where the base is a GGUF file whose q and k rotate pairs, rows are
 * then reordered as convert.c does it. The result is a struct gguf with NAME.lora_a and
 * NAME.lora_b, as from an adapter's GGUF file, and the factor of each pair beside it.
 *
 * fan_in_fan_out needs nothing: it tells how the base model stores W; A and B lie the same.
 * Invariant: a tensor of the file is used, or the directory is refused.
 * Left out, and refused by name: everything of PEFT that is more than W + factor B A.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/convert.h"
#include "model/gguf_int.h"
#include "model/hf_int.h"
#include "model/lora.h"

#define CONFIG  "adapter_config.json"
#define WEIGHTS "adapter_model.safetensors"

enum { PATH_MAX_BYTES = 4096 };

struct peft {
    struct hf h; /* what rules and fixes look at; h.g is the adapter's */
    struct lora *l;
    const struct meta *base; /* NULL: only what needs no model is checked */
    const struct json *conf;
    struct safetensors st;
    uint32_t rank;
    double alpha;
    bool rslora;
};

bool lora_peft_is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- adapter_config.json ---- */

/* null, false, "none", [] and {} ask for nothing. */
static bool is_nothing(const struct json *v)
{
    if (!v || v->type == JSON_NULL) return true;
    if (v->type == JSON_BOOL) return !v->b;
    if (v->type == JSON_STR) return v->s.n == 0 || str_eqc(v->s, "none");
    return (v->type == JSON_ARR || v->type == JSON_OBJ) && v->n == 0;
}

static enum err check_extras(struct peft *p)
{
    static const char *const extras[] = {
        "bias",         "use_dora",          "lora_bias",         "use_qalora",
        "use_bdlora",   "modules_to_save",   "layer_replication", "trainable_token_indices",
        "arrow_config", "target_parameters", "velora_config",     "alora_invocation_tokens",
    };
    /* Ways to begin that leave the base model's weights alone. */
    static const char *const inits[] = {"gaussian", "eva", "orthogonal"};
    const struct json *init = json_get(p->conf, "init_lora_weights");
    bool plain = !init || init->type != JSON_STR;

    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++)
        if (!is_nothing(json_get(p->conf, extras[i])))
            return ERR_FAIL(p->h.e, UNSUPPORTED,
                            CONFIG ": the adapter uses '%s', which is not supported; merge it into "
                                   "its model with PEFT's merge_and_unload()",
                            extras[i]);
    for (size_t i = 0; i < sizeof inits / sizeof *inits; i++)
        plain = plain || str_eqc(init->s, inits[i]);
    if (plain) return ERR_OK;
    return ERR_FAIL(p->h.e, UNSUPPORTED,
                    CONFIG ": init_lora_weights is '%.*s', which changed the base model's weights; "
                           "save the adapter with path_initial_model_for_weight_conversion",
                    HF_NAME(init->s));
}

/* Keys of patterns are regular expressions to PEFT. Nearly all are plain ends of names. */
static enum err check_patterns(struct peft *p, const char *name)
{
    const struct json *map = json_get(p->conf, name);

    if (is_nothing(map)) return ERR_OK;
    if (map->type != JSON_OBJ)
        return ERR_FAIL(p->h.e, FORMAT, CONFIG ": '%s' is not an object", name);
    for (size_t i = 0; i < map->n; i++) {
        str key = map->items[i].key;

        for (size_t k = 0; k < key.n; k++) {
            bool escaped = key.p[k] == '\\' && k + 1 < key.n && key.p[k + 1] == '.';
            bool end = (key.p[k] == '^' && k == 0) || (key.p[k] == '$' && k + 1 == key.n);

            if (key.p[k] && (escaped || end || !strchr("\\^$*+?[](){}|", key.p[k]))) continue;
            return ERR_FAIL(p->h.e, UNSUPPORTED,
                            CONFIG ": '%.*s' in '%s' is a regular expression; only plain names of "
                                   "modules, or their ends, are read",
                            HF_NAME(key), name);
        }
        if (!json_is_num(&map->items[i]))
            return ERR_FAIL(p->h.e, FORMAT, CONFIG ": '%.*s' in '%s' is no number", HF_NAME(key),
                            name);
    }
    return ERR_OK;
}

/* Does the key stand for the whole name or its end behind a dot? "." stands for any character. */
static bool matches(str key, str module)
{
    bool whole = str_starts(key, S("^"));
    size_t n = 0, at;

    if (whole) key = str_sub(key, 1, key.n);
    if (str_ends(key, S("$"))) key.n--;
    for (size_t i = 0; i < key.n; i++)
        n += key.p[i] != '\\';
    if (n > module.n || (whole && n != module.n)) return false;
    at = module.n - n;
    if (at && module.p[at - 1] != '.') return false;
    for (size_t i = 0; i < key.n; i++) {
        bool escaped = key.p[i] == '\\';

        i += escaped;
        if (key.p[i] != module.p[at] && (escaped || key.p[i] != '.')) return false;
        at++;
    }
    return true;
}

static double by_pattern(const struct peft *p, const char *name, str module, double dflt)
{
    const struct json *map = json_get(p->conf, name);

    for (size_t i = 0; !is_nothing(map) && i < map->n; i++)
        if (matches(map->items[i].key, module)) return json_num(&map->items[i], dflt);
    return dflt;
}

static enum err read_conf(struct peft *p, const char *dir)
{
    char path[PATH_MAX_BYTES], *text, *copy;
    struct err_info why = {0};
    const struct json *r;
    str kind;
    size_t n;
    enum err err;
    int len = snprintf(path, sizeof path, "%s/" CONFIG, dir);
    struct stat st;

    if (len < 0 || len >= PATH_MAX_BYTES)
        return ERR_FAIL(p->h.e, INVALID, "the path of " CONFIG " is too long");
    if (stat(path, &st) != 0)
        return ERR_FAIL(p->h.e, INVALID, "it is no LoRA adapter: there is no " CONFIG " in it");
    if ((err = map_read_file(path, LIMIT_HF_INDEX, &text, &n, p->h.e))) return err;
    if ((copy = arena_alloc(&p->h.tree, n + 1, 1))) memcpy(copy, text, n);
    mem_free(text);
    if (!copy) return ERR_FAIL(p->h.e, NOMEM, "no memory for " CONFIG);
    if ((err = json_parse(&p->h.tree, (str){copy, n}, &p->conf, &why)))
        return err_fail(p->h.e, err, why.file, why.line, CONFIG ": %s", why.text);
    kind = json_str(json_get(p->conf, "peft_type"), S("none"));
    if (!str_eqc(kind, "LORA"))
        return ERR_FAIL(p->h.e, UNSUPPORTED, CONFIG ": peft_type is '%.*s'; only LORA is read",
                        HF_NAME(kind));
    if ((err = check_extras(p)) || (err = check_patterns(p, "rank_pattern")) ||
        (err = check_patterns(p, "alpha_pattern")))
        return err;
    r = json_get(p->conf, "r");
    p->alpha = json_num(json_get(p->conf, "lora_alpha"), NAN);
    p->rslora = json_bool(json_get(p->conf, "use_rslora"), false);
    if (!r || json_int(r, 0) < 1 || json_int(r, 0) > LIMIT_MODEL_DIM || !(fabs(p->alpha) < 1e6))
        return ERR_FAIL(p->h.e, FORMAT, CONFIG ": 'r' and 'lora_alpha' must be sensible numbers");
    p->rank = (uint32_t)json_int(r, 0);
    return ERR_OK;
}

/* ---- adapter_model.safetensors ---- */

static enum err open_weights(struct peft *p, const char *dir)
{
    struct gguf *g = &p->l->gguf;
    char path[PATH_MAX_BYTES];
    struct err_info why = {0};
    struct stat st;
    enum err r;
    int n = snprintf(path, sizeof path, "%s/" WEIGHTS, dir);

    if (n < 0 || n >= PATH_MAX_BYTES)
        return ERR_FAIL(p->h.e, INVALID, "the path of " WEIGHTS " is too long");
    if (stat(path, &st) != 0)
        return ERR_FAIL(p->h.e, INVALID,
                        "there is no " WEIGHTS " in it; PEFT's save_pretrained() writes one "
                        "(adapter_model.bin is not read)");
    if (!(g->maps = ARENA_NEW(&g->arena, struct map, 1)))
        return ERR_FAIL(p->h.e, NOMEM, "no memory to open " WEIGHTS);
    if ((r = map_open(&g->maps[0], path, p->h.e))) return r;
    g->n_parts = 1;
    g->file_bytes = g->maps[0].n;
    if ((r = safetensors_parse(&p->st, &g->arena, g->maps[0].p, g->maps[0].n, &why)))
        return err_fail(p->h.e, r, why.file, why.line, WEIGHTS ": %s", why.text);
    if (p->st.n == 0) return ERR_FAIL(p->h.e, FORMAT, WEIGHTS ": there are no tensors in it");
    if (p->st.n > LIMIT_ST_TENSORS || p->st.n > LIMIT_GGUF_TENSORS)
        return ERR_FAIL(p->h.e, FORMAT, WEIGHTS ": there are more than %u tensors in it",
                        LIMIT_GGUF_TENSORS);
    return ERR_OK;
}

struct module {
    str name; /* in the base model: "model.layers.0.self_attn.q_proj" */
    const struct safetensors_tensor *a, *b;
};

static enum err not_read(struct peft *p, str name)
{
    const char *what = "it belongs to no product that an adapter of plain matrices changes";

    if (str_find(name, S("lora_embedding_"), 0) != SIZE_MAX)
        what = "adapters of embeddings are not supported";
    else if (str_find(name, S("lora_magnitude_vector"), 0) != SIZE_MAX)
        what = "DoRA is not supported";
    return ERR_FAIL(p->h.e, UNSUPPORTED, WEIGHTS ": tensor '%.*s': %s", HF_NAME(name), what);
}

/* The pair that a tensor belongs to, "base_model.model.MODULE.lora_A[.ADAPTER].weight". */
static enum err find_module(struct peft *p, const struct safetensors_tensor *t, struct module *m)
{
    const str root = S("base_model.model.");
    const struct safetensors_tensor *other;
    char name[LIMIT_ST_NAME + 1];
    size_t at = str_find(t->name, S(".lora_A."), 0);
    bool is_a = at != SIZE_MAX;

    if (!is_a) at = str_find(t->name, S(".lora_B."), 0);
    if (at == SIZE_MAX || at <= root.n || !str_starts(t->name, root) ||
        !str_ends(t->name, S(".weight")) || t->name.n > LIMIT_ST_NAME)
        return not_read(p, t->name);
    memcpy(name, t->name.p, t->name.n);
    name[at + 6] = is_a ? 'B' : 'A';
    other = safetensors_find(&p->st, (str){name, t->name.n});
    if (!other)
        return ERR_FAIL(p->h.e, FORMAT, WEIGHTS ": tensor '%.*s' has no lora_%c beside it",
                        HF_NAME(t->name), name[at + 6]);
    *m = (struct module){.name = str_sub(t->name, root.n, at - root.n),
                         .a = is_a ? t : other,
                         .b = is_a ? other : t};
    return ERR_OK;
}

static enum err check_shapes(struct peft *p, const struct module *m, double *factor)
{
    double rank = by_pattern(p, "rank_pattern", m->name, p->rank);
    double alpha = by_pattern(p, "alpha_pattern", m->name, p->alpha);
    const struct safetensors_tensor *a = m->a, *b = m->b;

    if (a->n_dims != 2 || b->n_dims != 2 || a->dim[0] != b->dim[1] || a->elems == 0 ||
        b->elems == 0 || a->dim[0] > LIMIT_MODEL_DIM || a->dim[1] > LIMIT_MODEL_DIM ||
        b->dim[0] > LIMIT_MODEL_DIM)
        return ERR_FAIL(p->h.e, FORMAT,
                        WEIGHTS ": tensor '%.*s' and its lora_B are not matrices of one rank",
                        HF_NAME(a->name));
    if ((double)a->dim[0] != rank)
        return ERR_FAIL(p->h.e, FORMAT,
                        WEIGHTS ": tensor '%.*s' has rank %u, and " CONFIG " states %g",
                        HF_NAME(a->name), (unsigned)a->dim[0], rank);
    *factor = alpha / (p->rslora ? sqrt(rank) : rank);
    if (fabs(*factor) < 1e6) return ERR_OK;
    return ERR_FAIL(p->h.e, FORMAT, CONFIG ": the alpha of '%.*s' is no sensible number",
                    HF_NAME(m->name));
}

/* ---- to the names and rows of the base model ---- */

/* What may happen to B: nothing of these looks at columns. A transposed weight has a B that is not.
 */
static hf_fix_fn *fix_of(const struct hf_rule *rule)
{
    hf_fix_fn *f = rule->fix;

    if (!f || f == hf_fix_keep || f == hf_fix_transpose) return hf_fix_keep;
    if (f == hf_fix_qkv_heads || f == hf_fix_qkv_groups || f == hf_fix_qkv_rows) return f;
    return f == hf_fix_gate_up ? f : NULL;
}

static enum err turn_rows(struct peft *p, struct gguf_tensor *t)
{
    const struct meta *m = p->base;
    uint64_t row = t->bytes / t->dim[1];
    uint8_t *out;
    enum err r;

    if (!(p->h.arch->flags & HF_HALVES) || m->rope_halves || m->head_dim == 0 ||
        t->dim[1] % m->head_dim ||
        !(str_ends(t->name, S(".attn_q.weight")) || str_ends(t->name, S(".attn_k.weight"))))
        return ERR_OK;
    if ((r = hf_fix_room(&p->h, t->bytes, &out))) return r;
    for (uint64_t i = 0; i < t->dim[1]; i++)
        memcpy(out + i * row, t->data + convert_source_row(m->head_dim, m->n_rot, i) * row,
               (size_t)row);
    t->data = out;
    return ERR_OK;
}

/* B is tensor `b` now; A comes beside it. */
static enum err add_pair(struct peft *p, const struct module *m, uint64_t b, double factor)
{
    struct gguf *g = &p->l->gguf;
    struct hf_entry x = {.t = m->a, .layer = -1, .part = -1};
    str name = g->tensors[b].name;
    enum err r = turn_rows(p, &g->tensors[b]);

    if (r) return r;
    x.name = arena_printf(&g->arena, "%.*s.lora_a", STR(name));
    g->tensors[b].name = arena_printf(&g->arena, "%.*s.lora_b", STR(name));
    if (!x.name.p || !g->tensors[b].name.p)
        return ERR_FAIL(p->h.e, NOMEM, "no memory for tensor names");
    p->l->factors[g->n_tensors] = (float)factor;
    return hf_fix_keep(&p->h, &x);
}

static enum err add_module(struct peft *p, const struct module *m, double factor)
{
    struct gguf *g = &p->l->gguf;
    struct safetensors_tensor b = *m->b;
    struct hf_entry x = {0};
    hf_fix_fn *fix;
    uint64_t first = g->n_tensors, last;
    enum err r;

    b.name = arena_printf(&p->h.tree, "%.*s.weight", STR(m->name));
    if (!b.name.p) return ERR_FAIL(p->h.e, NOMEM, "no memory for tensor names");
    if ((r = hf_tensors_resolve(&p->h, &b, &x))) return r;
    b.name = m->b->name;
    fix = x.rule && x.part < 0 ? fix_of(x.rule) : NULL;
    if (!fix)
        return ERR_FAIL(p->h.e, UNSUPPORTED,
                        WEIGHTS ": tensor '%.*s' changes %s; merge the adapter into its model with "
                                "PEFT's merge_and_unload()",
                        HF_NAME(b.name),
                        x.rule && x.part >= 0 ? "an expert, and only plain matrices can be changed"
                                              : "what this version stores in another form");
    if (x.layer >= 0 && (uint32_t)x.layer >= p->base->n_layer)
        return ERR_FAIL(p->h.e, INVALID,
                        WEIGHTS ": tensor '%.*s' is of layer %d, and the model has %u layers; the "
                                "adapter was made for another model",
                        HF_NAME(b.name), x.layer, p->base->n_layer);
    if ((r = fix(&p->h, &x))) return r;
    last = g->n_tensors;
    for (uint64_t i = first; i < last; i++)
        if ((r = add_pair(p, m, i, factor))) return r;
    return ERR_OK;
}

static enum err add_all(struct peft *p)
{
    for (size_t i = 0; i < p->st.n; i++) {
        struct module m = {0};
        double factor = 0;
        enum err r = find_module(p, &p->st.tensors[i], &m);

        if (r) return r;
        if (m.a != &p->st.tensors[i]) continue; /* done with its A */
        if ((r = check_shapes(p, &m, &factor)) || (p->base && (r = add_module(p, &m, factor))))
            return r;
    }
    return ERR_OK;
}

/* Rules and numbers of the base model. `experts` is memory for config.json's one member that a fix
 * reads. */
static enum err learn_base(struct peft *p, struct json *experts, struct json *root)
{
    const struct meta *m = p->base;
    struct hf *h = &p->h;
    struct gguf *g = &p->l->gguf;

    h->arch = hf_arch_of_gguf(m->arch);
    if (!h->arch)
        return ERR_FAIL(h->e, UNSUPPORTED,
                        "names of tensors of architecture '%.*s' are not known as PEFT has them; "
                        "convert the adapter with llama.cpp's convert_lora_to_gguf.py",
                        HF_NAME(m->arch));
    *experts = (struct json){.type = JSON_INT, .key = S("num_local_experts"), .i = m->n_expert};
    *root = (struct json){.type = JSON_OBJ, .items = experts, .n = 1};
    h->root = h->text = root;
    h->gguf_arch = h->arch->gguf;
    h->n_layer = LIMIT_MODEL_LAYERS; /* layers are judged here */
    h->n_embd = m->n_embd;
    h->n_head = m->n_head;
    h->n_head_kv = m->n_head_kv ? m->n_head_kv : 1;
    h->head_dim = m->head_dim;
    h->n_rot = m->n_rot;
    h->max_tensors = 3 * (uint64_t)p->st.n; /* a pair can become three */
    if (h->max_tensors > LIMIT_GGUF_TENSORS) h->max_tensors = LIMIT_GGUF_TENSORS;
    g->tensors = ARENA_NEW(&g->arena, struct gguf_tensor, (size_t)h->max_tensors);
    p->l->factors = ARENA_NEW(&g->arena, float, (size_t)h->max_tensors + 1);
    if (g->tensors && p->l->factors) return ERR_OK;
    return ERR_FAIL(h->e, NOMEM, "no memory for %zu tensors", p->st.n);
}

static enum err open_all(struct peft *p, const char *dir)
{
    struct json experts, root;
    enum err r;

    if ((r = read_conf(p, dir)) || (r = open_weights(p, dir)) ||
        (p->base && (r = learn_base(p, &experts, &root))) || (r = add_all(p)))
        return r;
    return p->base ? gguf_index_tensors(&p->l->gguf, &p->l->gguf.arena, p->h.e) : ERR_OK;
}

enum err lora_peft_open(struct lora *l, const char *dir, const struct meta *base,
                        struct err_info *e)
{
    struct err_info why = {.code = ERR_OK};
    struct peft p = {.l = l, .base = base};
    enum err r;

    arena_init(&l->gguf.arena, LIMIT_HF_ARENA);
    arena_init(&p.h.tree, LIMIT_ST_ARENA);
    p.h.g = &l->gguf;
    p.h.e = &why;
    r = open_all(&p, dir);
    arena_fini(&p.h.tree);
    return hf_blame(r, dir, &why, e);
}
