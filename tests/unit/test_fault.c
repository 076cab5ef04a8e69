/* test_fault: no memory, at every allocation in turn.
 *
 * Each case runs with its first allocation failing, then with its second, until it runs through. A
 * run in which one failed has to return ERR_NOMEM; crashes and, under ASan, leaks end the program.
 */
#include "tap.h"

#include <dirent.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "engine/engine.h"
#include "engine/load.h"
#include "model/gguf.h"
#include "model/plan.h"
#include "proto/openai.h"
#include "text/chat.h"
#include "text/jinja.h"
#include "text/tok.h"

#define MODEL    RBEE_SOURCE_DIR "/models/rbee-tiny.gguf"
#define RUNS_MAX 20000 /* allocations of one case; more is a defect of the case */

static struct gguf file;
static struct tok *tok;

static const char messages[] =
    "[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Tell me a "
    "story about a fox and a bear, please \\u00e9\\ud83d\\ude00.\"}]";

static const char template[] =
    "{% macro head(r) %}<|{{ r|upper }}|>{% endmacro %}{% set ns = namespace(n=0) %}"
    "{% for m in messages if m.content %}{% set ns.n = ns.n + 1 %}{{ head(m.role) }}"
    "{{ m['content'].strip().replace('a', 'bb') ~ loop.index }}"
    "{{ m.items()|list|length }}{{ m|tojson(indent=2) }}{{ '%s-%5d' % (m.role, ns.n) }}"
    "{{ m.content.split(' ')|sort|join(', ') }}{% endfor %}"
    "{{ messages|map(attribute='role')|groupby(0)|list|length }}{{ range(5)|batch(2)|list }}"
    "{{ {'a': [1, (2, 3)], 'b': {'c': none}} }}{{ 'x{}y'.format(1.5) }}";

static enum err run_json(struct err_info *e)
{
    const struct json *v;
    struct arena a;
    enum err code;

    arena_init(&a, MIB(1));
    code = json_parse(&a, str_c(messages), &v, e);
    arena_fini(&a);
    return code;
}

/* The values come from a tree that was made before any fault. */
static const struct json *parsed(struct arena *a, const char *text)
{
    const struct json *v = NULL;
    struct err_info e;

    if (json_parse(a, str_c(text), &v, &e)) return NULL;
    return v;
}

static struct arena values;
static const struct json *conversation, *request;

static enum err run_jinja(struct err_info *e)
{
    struct jinja_var var = {.name = "messages", .value = conversation, .untrusted = true};
    struct jinja_input in = {.vars = &var, .n = 1};
    buf out = {.cap = MIB(1)}, marks = {.cap = MIB(1)};
    struct jinja *t;
    struct arena a;
    enum err code = jinja_compile(&t, str_c(template), e);

    if (code) return code;
    arena_init(&a, MIB(16));
    code = jinja_render(t, &a, &in, &out, &marks, e);
    arena_fini(&a);
    buf_fini(&out);
    buf_fini(&marks);
    jinja_free(t);
    return code;
}

static bool has_all(enum op op, enum dtype w)
{
    (void)op, (void)w;
    return true;
}

static enum err run_model(struct err_info *e)
{
    struct gguf g;
    struct arena a;
    struct meta m;
    struct plan p;
    struct plan_source src;
    enum err code = gguf_open(&g, MODEL, e);

    if (code) return code;
    arena_init(&a, LIMIT_GGUF_ARENA);
    src = gguf_source(&g);
    code = meta_from_gguf(&m, &a, &g, e);
    if (!code) code = plan_build(&p, &a, &m, &src, &(struct plan_conf){0}, e);
    if (!code) code = plan_fuse(&p, &a, has_all, e);
    arena_fini(&a);
    gguf_close(&g);
    return code;
}

static enum err run_tok(struct err_info *e)
{
    struct tok *t;
    struct arena a;
    int32_t *ids;
    size_t n;
    enum err code = tok_open(&t, &file, e);

    if (code) return code;
    arena_init(&a, MIB(16));
    code = tok_encode(t, &a, str_c(messages), TOK_ADD_SPECIAL | TOK_PARSE_SPECIAL, &ids, &n, e);
    arena_fini(&a);
    tok_close(t);
    return code;
}

static enum err run_chat(struct err_info *e)
{
    struct chat_input in = {.messages = conversation, .add_generation_prompt = true};
    struct chat *c;
    struct arena a;
    int32_t *ids;
    size_t n;
    enum err code = chat_open(&c, S(""), S("<s>"), S("</s>"), e);

    if (code) return code;
    arena_init(&a, MIB(16));
    code = chat_encode(c, tok, &a, &in, &ids, &n, e);
    arena_fini(&a);
    chat_close(c);
    return code;
}

static enum err run_request(struct err_info *e)
{
    struct openai_req r;
    struct arena a;
    enum err code;

    arena_init(&a, MIB(1));
    code = openai_parse(&r, OPENAI_CHAT, request, &a, e);
    arena_fini(&a);
    return code;
}

static enum err run_engine(struct err_info *e)
{
    struct engine_conf conf = {
        .backend = &cpu_backend, .n_threads = 2, .n_ctx = 64, .n_slots = 2, .max_batch = 32};
    struct engine *en;
    enum err code = engine_open(&en, MODEL, &conf, e);

    if (!code) engine_close(en);
    return code;
}

static void every(enum err (*run)(struct err_info *e), const char *what)
{
    for (uint64_t n = 1; n < RUNS_MAX; n++) {
        struct err_info e = {0};
        enum err code;

        mem_fail_after(n);
        code = run(&e);
        if (mem_fail_after(0)) {
            ok(code == ERR_OK && n > 1, "%s: %d allocations, each may fail", what, (int)n - 1);
            if (code) printf("#   %s: %s\n", err_name(code), e.text);
            return;
        }
        if (code != ERR_NOMEM || !e.text[0]) {
            ok(false, "%s: allocation %d fails: %s '%s'", what, (int)n, err_name(code), e.text);
            return;
        }
    }
    ok(false, "%s: more than %d allocations", what, RUNS_MAX);
}

/* ---- every kind of model that there is ---- */

static const char *model_path;

static enum err run_open(struct err_info *e)
{
    const struct engine_conf conf = {.backend = &cpu_backend, .n_threads = 1};
    struct chat *c;
    struct load l;
    enum err code = load_check(&l, model_path, &conf, e);

    if (code) return code;
    if (!(code = chat_open(&c, l.meta.chat_template, S("<s>"), S("</s>"), e))) chat_close(c);
    load_close(&l);
    return code;
}

/* A file that opens gives ERR_NOMEM when any allocation fails; one that is refused may be refused
 * all the same. False with *n at the allocation that did otherwise. */
static bool holds(uint64_t *n, enum err want, struct err_info *e)
{
    for (*n = 1; *n < RUNS_MAX; ++*n) {
        enum err code;

        memset(e, 0, sizeof *e);
        mem_fail_after(*n);
        code = run_open(e);
        if (mem_fail_after(0)) return code == want && *n > 1;
        if ((code != ERR_NOMEM && (!want || code != want)) || !e->text[0]) return false;
    }
    return false;
}

static void every_model(const char *root, const char *inner, const char *what)
{
    DIR *d = root ? opendir(root) : NULL;
    uint64_t n = 0, most = 0;
    int files = 0, bad = 0;
    struct dirent *x;
    struct err_info e;

    while (d && (x = readdir(d))) {
        char path[2048];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s/%s", root, x->d_name, inner);
        if (x->d_name[0] == '.' || stat(path, &st)) continue;
        model_path = path;
        files++;
        if (!holds(&n, run_open(&e), &e)) {
            printf("#   %s: allocation %d: %s: %s\n", x->d_name, (int)n, err_name(e.code), e.text);
            bad++;
        }
        most = n > most ? n : most;
    }
    if (d) closedir(d);
    if (files)
        ok(!bad, "%s: %d models, each allocation of opening them may fail, %d at most", what, files,
           (int)most - 1);
    else
        skip(what);
}

int main(void)
{
    struct err_info e;

    arena_init(&values, MIB(1));
    conversation = parsed(&values, messages);
    request =
        parsed(&values, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
                        "\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"5\":1},\"odd\":1,"
                        "\"stream\":true,\"temperature\":0.5}");
    if (!ok(conversation && request, "values") ||
        !ok(gguf_open(&file, MODEL, &e) == ERR_OK && tok_open(&tok, &file, &e) == ERR_OK, "model"))
        return tap_end();
    every(run_json, "JSON");
    every(run_jinja, "a template");
    every(run_model, "model file to plan");
    every(run_tok, "tokenizer");
    every(run_chat, "conversation to tokens");
    every(run_request, "request");
    every(run_engine, "engine");
    every_model(RBEE_SOURCE_DIR "/tests/golden/families", "model.gguf", "tests/golden/families");
    every_model(tap_data("golden"), "model.gguf", "golden");
    every_model(tap_data("golden"), "hf", "golden, as folders");
    tok_close(tok);
    gguf_close(&file);
    arena_fini(&values);
    return tap_end();
}
