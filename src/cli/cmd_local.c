/* cmd_local: `rbee explain`, `show` and `tokenize`: what a model file says, without any daemon. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/show_repo.h"
#include "model/gguf.h"
#include "model/plan.h"
#include "model/source.h"
#include "store/store.h"
#include "text/tok.h"

struct opened {
    struct gguf g;
    char path[STORE_PATH_MAX];
    struct meta meta; /* by open_meta() */
    struct arena arena;
};

static enum err open_model(struct opened *o, const char *name, struct err_info *e)
{
    static struct store st;
    enum err code;

    if ((code = store_init(&st, e)) || (code = store_resolve(&st, str_c(name), o->path, e)))
        return code;
    return source_open(&o->g, o->path, e);
}

static enum err close_meta(struct opened *o, enum err code, struct err_info *e)
{
    arena_fini(&o->arena);
    if (code) code = store_blame(o->path, e);
    gguf_close(&o->g);
    return code;
}

static enum err open_meta(struct opened *o, const char *name, struct err_info *e)
{
    enum err code = open_model(o, name, e);

    if (code) return code;
    arena_init(&o->arena, LIMIT_GGUF_ARENA);
    code = meta_from_gguf(&o->meta, &o->arena, &o->g, e);
    return code ? close_meta(o, code, e) : ERR_OK;
}

static enum err compile(struct opened *o, struct plan *p, struct err_info *e)
{
    struct plan_source src = gguf_source(&o->g);
    struct plan_conf conf = {.want = plan_want_of(&o->meta)};

    return plan_build(p, &o->arena, &o->meta, &src, &conf, e);
}

/* ---- explain ---- */

struct explain_opts {
    const char *model;
    bool full, json;
};

static const struct opt explain_rows[] = {
    {"full", 'f', OPT_BOOL, offsetof(struct explain_opts, full), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print every layer, also those that repeat"},
    {"json", 0, OPT_BOOL, offsetof(struct explain_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print the steps as JSON"},
    {0},
};

static const struct opt_pos explain_pos[] = {
    {"MODEL", offsetof(struct explain_opts, model), true, false,
     "name of a model here, or a .gguf file"},
    {0},
};

static const struct opt_spec explain_spec = {
    .opts = explain_rows,
    .pos = explain_pos,
    .command = "rbee explain",
    .summary = "Prints the plan of a model: the steps that a worker runs for each token.",
    .examples = "rbee explain rbee-tiny",
};

static void tensor_member(struct jsonw *w, const struct plan *p, const char *key, int at)
{
    if (at >= 0) jsonw_kstr(w, key, p->tensors[at].name);
}

static void explain_json(const struct plan *p, buf *out)
{
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_kstr(&w, "architecture", p->meta->arch);
    jsonw_key(&w, "steps");
    jsonw_arr(&w);
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];

        jsonw_obj(&w);
        jsonw_kc(&w, "op", plan_op_name(s->op));
        jsonw_kint(&w, "layer", s->layer);
        jsonw_kc(&w, "dst", plan_reg_name(s->dst));
        jsonw_kc(&w, "src", plan_reg_name(s->src));
        tensor_member(&w, p, "weight", s->w);
        tensor_member(&w, p, "bias", s->b);
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
    buf_ch(out, '\n');
}

static enum err run_explain(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct opened m;
    struct explain_opts o = {0};
    struct plan plan;
    buf out = {.cap = LIMIT_HTTP_REPLY};
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    if ((code = open_meta(&m, o.model, e))) return code;
    if (!(code = compile(&m, &plan, e))) {
        if (o.json)
            explain_json(&plan, &out);
        else
            plan_explain(&plan, o.full, &out);
        fwrite(out.p, 1, out.n, stdout);
    }
    buf_fini(&out);
    return close_meta(&m, code, e);
}

const struct cli_cmd cmd_explain = {
    .name = "explain",
    .group = "Look at models",
    .summary = "print the steps that a worker runs for a model",
    .spec = &explain_spec,
    .run = run_explain,
};

/* ---- show ---- */

struct show_opts {
    struct client client;
    const char *model;
    bool json, metadata, hub, files;
};

static const struct opt show_rows[] = {
    {"metadata", 0, OPT_BOOL, offsetof(struct show_opts, metadata), NULL, NULL, NULL, 0, 0, NULL,
     NULL, "list every metadata key of the file too"},
    {"hub", 0, OPT_BOOL, offsetof(struct show_opts, hub), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "show the repository of the Hub also where a model of that name is here"},
    {"files", 0, OPT_BOOL, offsetof(struct show_opts, files), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "list all files of the repository"},
    {"json", 0, OPT_BOOL, offsetof(struct show_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON"},
    CLIENT_OPTS(struct show_opts, client),
    {0},
};

static const struct opt_pos show_pos[] = {
    {"MODEL", offsetof(struct show_opts, model), true, false,
     "name of a model here, a .gguf file, or ORG/REPO of the Hub"},
    {0},
};

static const struct opt_spec show_spec = {
    .opts = show_rows,
    .pos = show_pos,
    .command = "rbee show",
    .summary = "Shows what a model file holds, or a repository of the Hub.",
    .details = "Of a repository it shows what the Hub says and, for each file of weights, whether "
               "it runs on your machines, in how much memory and how fast. Nothing is fetched but "
               "facts and the first bytes of files.",
    .examples = "rbee show rbee-tiny\nrbee show ./model.gguf --metadata\n"
                "rbee show Qwen/Qwen3-8B-GGUF",
};

/* The value of a number or a switch; 64-bit integers beyond 2^53 lose their last digits here. */
static double number_of(const struct gguf *g, const struct gguf_kv *kv)
{
    char key[256];
    uint32_t u = 0;
    float f = 0;

    snprintf(key, sizeof key, "%.*s", STR(str_sub(kv->key, 0, 255)));
    if (kv->type == GGUF_BOOL) return kv->data[0];
    if (gguf_get_u32(g, key, &u, NULL) == ERR_OK) return u;
    return gguf_get_f32(g, key, &f, NULL) == ERR_OK ? (double)f : 0;
}

static void metadata_json(const struct gguf *g, struct jsonw *w)
{
    jsonw_key(w, "metadata");
    jsonw_obj(w);
    for (uint64_t i = 0; i < g->n_kv; i++) {
        const struct gguf_kv *kv = &g->kv[i];

        jsonw_keystr(w, kv->key);
        if (kv->type == GGUF_ARR) {
            jsonw_obj(w);
            jsonw_kc(w, "elements", gguf_type_name(kv->elem));
            jsonw_kint(w, "count", (int64_t)kv->count);
            jsonw_end(w, '}');
        } else if (kv->type == GGUF_STR) {
            jsonw_str(w, kv->strs[0]);
        } else if (kv->type == GGUF_BOOL) {
            jsonw_bool(w, kv->data[0] != 0);
        } else {
            jsonw_num(w, number_of(g, kv));
        }
    }
    jsonw_end(w, '}');
}

/* What show has to tell beside the metadata: the plan, or why there is none. */
struct shown {
    struct plan plan;
    bool runs;
    struct err_info why;
};

static uint64_t kv_bytes(const struct shown *s)
{
    return s->runs ? plan_kv_bytes_per_pos(&s->plan, DTYPE_F16, DTYPE_F16) : 0;
}

static void show_json(const struct opened *m, const struct shown *s, bool metadata, buf *out)
{
    const struct meta *t = &m->meta;
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_kc(&w, "path", m->path);
    jsonw_kstr(&w, "name", t->name);
    jsonw_kc(&w, "format", m->g.dir ? "safetensors" : "gguf");
    jsonw_kint(&w, "version", m->g.version);
    jsonw_kint(&w, "bytes", (int64_t)m->g.file_bytes);
    jsonw_kstr(&w, "architecture", t->arch);
    jsonw_kstr(&w, "quantization", t->file_type);
    jsonw_kint(&w, "parameters", (int64_t)t->n_params);
    jsonw_kint(&w, "weight_bytes", (int64_t)t->weight_bytes);
    jsonw_kint(&w, "context", t->n_ctx_train);
    jsonw_kint(&w, "layers", t->n_layer);
    jsonw_kint(&w, "embedding", t->n_embd);
    jsonw_kint(&w, "heads", t->n_head);
    jsonw_kint(&w, "kv_heads", t->n_head_kv);
    jsonw_kint(&w, "head_dim", t->head_dim);
    jsonw_kint(&w, "vocabulary", t->n_vocab);
    jsonw_kstr(&w, "tokenizer", t->tokenizer_model);
    jsonw_kc(&w, "rope_scaling", meta_rope_name(t->rope_scaling));
    if (t->n_expert) jsonw_kint(&w, "experts", t->n_expert);
    if (t->n_expert) jsonw_kint(&w, "experts_used", t->n_expert_used);
    jsonw_kc(&w, "pooling", meta_pooling_name(t->pooling));
    jsonw_kint(&w, "kv_bytes_per_position", (int64_t)kv_bytes(s));
    if (s->runs) jsonw_kint(&w, "state_bytes", (int64_t)(4 * plan_state_floats(&s->plan)));
    jsonw_kbool(&w, "runs", s->runs);
    if (!s->runs) jsonw_kc(&w, "why_not", s->why.text);
    jsonw_kint(&w, "tensors", (int64_t)m->g.n_tensors);
    jsonw_kstr(&w, "chat_template", t->chat_template);
    if (metadata) metadata_json(&m->g, &w);
    jsonw_end(&w, '}');
    buf_ch(out, '\n');
}

static void show_text(const struct opened *m, const struct shown *s, buf *out)
{
    const struct meta *t = &m->meta;
    char a[24], b[24], c[24];

    buf_printf(out, "%s\n", m->path);
    if (t->name.n) buf_printf(out, "  name          %.*s\n", STR(t->name));
    if (m->g.dir)
        buf_printf(out, "  format        SafeTensors, %s%s\n", cli_bytes(m->g.file_bytes, a),
                   m->g.n_parts > 1 ? " in shards" : "");
    else
        buf_printf(out, "  format        GGUF v%u, %s%s\n", m->g.version,
                   cli_bytes(m->g.file_bytes, a), m->g.n_parts > 1 ? " in parts" : "");
    buf_printf(out, "  architecture  %.*s (family %s)\n", STR(t->arch), t->family->name);
    buf_printf(out, "  quantization  %.*s\n", STR(t->file_type));
    buf_printf(out, "  parameters    %.2f M in %llu tensors, %s\n", (double)t->n_params / 1e6,
               (unsigned long long)m->g.n_tensors, cli_bytes(t->weight_bytes, b));
    buf_printf(out, "  shape         %u layers, width %u, %u heads of %u, %u KV heads, FFN %u\n",
               t->n_layer, t->n_embd, t->n_head, t->head_dim, t->n_head_kv, t->n_ff);
    if (t->n_expert)
        buf_printf(out, "  experts       %u, %u used for each token\n", t->n_expert,
                   t->n_expert_used);
    if (s->runs && s->plan.n_states)
        buf_printf(out, "  states        %s a sequence\n",
                   cli_bytes(4 * plan_state_floats(&s->plan), c));
    buf_printf(out, "  context       %u positions, %s of f16 cache for 1,000, RoPE scaling: %s\n",
               t->n_ctx_train, cli_bytes(1000 * kv_bytes(s), c), meta_rope_name(t->rope_scaling));
    buf_printf(out, "  vocabulary    %u tokens", t->n_vocab);
    if (t->tokenizer_model.n)
        buf_printf(out, ", tokenizer %.*s%s%.*s", STR(t->tokenizer_model),
                   t->tokenizer_pre.n ? ", " : "", STR(t->tokenizer_pre));
    buf_ch(out, '\n');
    buf_printf(out, "  chat          %s\n",
               t->chat_template.n ? "has a chat template" : "no chat template");
    if (t->pooling) buf_printf(out, "  embeddings    pooling %s\n", meta_pooling_name(t->pooling));
    if (!s->runs) buf_printf(out, "  runs          no: %s\n", s->why.text);
}

static void show_metadata(const struct gguf *g, buf *out)
{
    buf_c(out, "\nmetadata\n");
    for (uint64_t i = 0; i < g->n_kv; i++) {
        const struct gguf_kv *kv = &g->kv[i];

        if (kv->type == GGUF_ARR)
            buf_printf(out, "  %.*s: %s[%llu]\n", STR(kv->key), gguf_type_name(kv->elem),
                       (unsigned long long)kv->count);
        else if (kv->type == GGUF_STR)
            buf_printf(out, "  %.*s: %.*s%s\n", STR(kv->key), STR(str_sub(kv->strs[0], 0, 200)),
                       kv->strs[0].n > 200 ? "..." : "");
        else
            buf_printf(out, "  %.*s: %.9g\n", STR(kv->key), number_of(g, kv));
    }
}

static enum err show_local(const struct show_opts *o, struct err_info *e)
{
    static struct opened m;
    static struct shown s;
    buf out = {.cap = LIMIT_HTTP_REPLY};
    enum err code = open_meta(&m, o->model, e);

    if (code) return code;
    s.runs = compile(&m, &s.plan, &s.why) == ERR_OK;
    if (o->json) {
        show_json(&m, &s, o->metadata, &out);
    } else {
        show_text(&m, &s, &out);
        if (o->metadata) show_metadata(&m.g, &out);
    }
    fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
    return close_meta(&m, ERR_OK, e);
}

static enum err run_show(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct show_opts o = {0};
    struct show_repo repo = {0};
    struct err_info why = {0};
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    if (!o.hub && (code = show_local(&o, e)) != ERR_NOMODEL) return code;
    code = pick_name(str_c(o.model), &repo.name, &why);
    if (code && o.hub) *e = why;
    if (code) return e->code; /* no name of a repository: then what was said first */
    repo.client = o.client;
    repo.all_files = o.files;
    repo.json = o.json;
    return show_repo(&repo, e);
}

const struct cli_cmd cmd_show = {
    .name = "show",
    .group = "Look at models",
    .summary = "show a model file, or a repository of the Hub file by file",
    .spec = &show_spec,
    .run = run_show,
};

/* ---- tokenize ---- */

struct tokenize_opts {
    const char *model, *file, *text;
    bool no_special, parse_special, json;
};

static const struct opt tokenize_rows[] = {
    {"file", 'f', OPT_STR, offsetof(struct tokenize_opts, file), "FILE", NULL, NULL, 0, 0, NULL,
     NULL, "text to tokenize; - is standard input"},
    {"text", 0, OPT_STR, offsetof(struct tokenize_opts, text), "TEXT", NULL, NULL, 0, 0, NULL, NULL,
     "text to tokenize"},
    {"no-special", 0, OPT_BOOL, offsetof(struct tokenize_opts, no_special), NULL, NULL, NULL, 0, 0,
     NULL, NULL, "add no BOS and no EOS"},
    {"parse-special", 0, OPT_BOOL, offsetof(struct tokenize_opts, parse_special), NULL, NULL, NULL,
     0, 0, NULL, NULL, "read control tokens written in the text as such; plain text otherwise"},
    {"json", 0, OPT_BOOL, offsetof(struct tokenize_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print ids and pieces as JSON"},
    {0},
};

static const struct opt_pos tokenize_pos[] = {
    {"MODEL", offsetof(struct tokenize_opts, model), true, false,
     "name of a model here, or a .gguf file"},
    {0},
};

static const struct opt_spec tokenize_spec = {
    .opts = tokenize_rows,
    .pos = tokenize_pos,
    .command = "rbee tokenize",
    .summary = "Prints the token ids of a text, separated by spaces, on one line.",
    .examples = "rbee tokenize rbee-tiny --text \"Once upon a time\"\n"
                "rbee tokenize ./model.gguf --file story.txt --no-special > story.ids",
};

static void print_ids(const struct tok *t, const int32_t *ids, size_t n, bool json)
{
    buf out = {.cap = GIB(4)}, piece = {.cap = MIB(1)};
    struct jsonw w;

    if (json) {
        jsonw_init(&w, &out);
        jsonw_arr(&w);
        for (size_t i = 0; i < n; i++) {
            buf_clear(&piece);
            tok_piece(t, ids[i], true, &piece);
            jsonw_obj(&w);
            jsonw_kint(&w, "id", ids[i]);
            jsonw_kstr(&w, "piece", buf_view(&piece));
            jsonw_end(&w, '}');
        }
        jsonw_end(&w, ']');
    } else {
        for (size_t i = 0; i < n; i++)
            buf_printf(&out, i ? " %d" : "%d", ids[i]);
    }
    buf_ch(&out, '\n');
    fwrite(out.p, 1, out.n, stdout);
    buf_fini(&piece);
    buf_fini(&out);
}

static enum err read_text(const struct tokenize_opts *o, char **out, str *text, struct err_info *e)
{
    buf b = {.cap = LIMIT_TEXT_FILE};
    char tmp[65536];
    size_t n;
    enum err code;

    *out = NULL;
    if (o->text && o->file) return ERR_FAIL(e, INVALID, "give --text or --file, not both");
    if (o->text) {
        *text = str_c(o->text);
        return ERR_OK;
    }
    if (!o->file) return ERR_FAIL(e, INVALID, "give the text with --text or --file");
    if (strcmp(o->file, "-") != 0) {
        code = map_read_file(o->file, LIMIT_TEXT_FILE, out, &n, e);
        if (!code) *text = (str){*out, n};
        return code;
    }
    while ((n = fread(tmp, 1, sizeof tmp, stdin)) > 0)
        buf_put(&b, tmp, n);
    if (b.failed) {
        buf_fini(&b);
        return ERR_FAIL(e, LIMIT, "standard input is larger than %zu bytes", LIMIT_TEXT_FILE);
    }
    *text = buf_view(&b);
    *out = buf_take(&b);
    return ERR_OK;
}

static enum err run_tokenize(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct opened m;
    struct tokenize_opts o = {0};
    struct tok *t = NULL;
    struct arena a;
    int32_t *ids;
    size_t n;
    char *bytes;
    str text;
    unsigned flags;
    bool help;
    enum err code;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    if ((code = read_text(&o, &bytes, &text, e))) return code;
    if (!(code = open_model(&m, o.model, e))) {
        arena_init(&a, GIB(4));
        flags = (o.no_special ? 0u : (unsigned)TOK_ADD_SPECIAL) |
                (o.parse_special ? (unsigned)TOK_PARSE_SPECIAL : 0u);
        if (!(code = tok_open(&t, &m.g, e))) code = tok_encode(t, &a, text, flags, &ids, &n, e);
        if (!code) print_ids(t, ids, n, o.json);
        if (t) tok_close(t);
        arena_fini(&a);
        if (code) code = store_blame(m.path, e);
        gguf_close(&m.g);
    }
    mem_free(bytes);
    return code;
}

const struct cli_cmd cmd_tokenize = {
    .name = "tokenize",
    .group = "Look at models",
    .summary = "print the token ids of a text",
    .spec = &tokenize_spec,
    .run = run_tokenize,
};
