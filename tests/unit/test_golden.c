/* test_golden: logits, vectors and greedy ids of real and of tiny models against those of an
 * independent engine.
 *
 * Every directory of the shared test data's golden/ is checked, as a GGUF file and, where it has
 * one, as a Hugging Face directory with the same weights; and every one of tests/golden/families/,
 * which come with the project. What a directory holds tells how it is checked: logits.f32 for
 * models that generate, embeddings.f32 and pooled.f32 for those that make vectors, logits_deq.f32
 * (the answer of the very weights) for quantised ones, exact-*.f32 where the other engine rounds
 * its GELU. The tolerances are those that come with the data: what they let through is rounding,
 * what they catch is a wrong rule.
 */
#include "engine/engine.h"

#include <dirent.h>
#include <sys/stat.h>

#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/mat.h"
#include "compute/cpu/mat.h"
#include "compute/ref/ref.h"
#include "engine/embed.h"
#include "model/gguf.h"
#include "model/meta.h"
#include "tap.h"

#define MAX_IDS    64
#define MAX_MODELS 512

static const struct machine {
    const char *name;
    const struct backend *backend;
    const char *isa;
} machines[] = {
    {"ref", &ref_backend, NULL},
    {"cpu generic", &cpu_backend, "generic"},
#if defined(__aarch64__)
    {"cpu neon", &cpu_backend, "neon"},
    {"cpu neon-dotprod", &cpu_backend, "neon-dotprod"},
#else
    {"cpu avx2", &cpu_backend, "avx2"},
    {"cpu avx512", &cpu_backend, "avx512"},
#endif
};

static bool have_isa(const char *isa)
{
    for (int i = 0; isa && i <= (int)mat_best_isa(); i++)
        if (strcmp(isa, mat_isa_name((enum mat_isa)i)) == 0) return true;
    return !isa;
}

/* ---- files ---- */

static char *slurp(const char *path, size_t *n)
{
    char *p = NULL;
    struct err_info e;
    struct stat st;
    *n = 0;
    if (!path || stat(path, &st) || map_read_file(path, (size_t)1 << 24, &p, n, &e) != ERR_OK)
        return NULL;
    return p;
}

static uint32_t read_ids(const char *path, int32_t *ids)
{
    size_t n;
    uint32_t count = 0;
    char *text = slurp(path, &n);
    if (!text) return 0;
    for (char *p = text, *end; count < MAX_IDS; p = end) {
        long v = strtol(p, &end, 10);
        if (end == p) break;
        ids[count++] = (int32_t)v;
    }
    mem_free(text);
    return count;
}

/* ---- logits ---- */

struct logits {
    float *p; /* [n][n_vocab] */
    uint32_t n, n_vocab;
};

static void keep_row(uint32_t i, const float *row, void *owner)
{
    struct logits *l = owner;
    memcpy(l->p + (size_t)i * l->n_vocab, row, l->n_vocab * sizeof *row);
    l->n = i + 1 > l->n ? i + 1 : l->n;
}

struct distance {
    double nmse, max;
};

static struct distance compare(const struct logits *got, const float *want)
{
    double err = 0, power = 0, max = 0;
    for (size_t i = 0; i < (size_t)got->n * got->n_vocab; i++) {
        double d = (double)got->p[i] - (double)want[i];
        if (!(fabs(d) < 1e30)) return (struct distance){INFINITY, INFINITY};
        err += d * d;
        power += (double)want[i] * (double)want[i];
        max = fabs(d) > max ? fabs(d) : max;
    }
    return (struct distance){err / power, max};
}

static bool evaluate(struct engine *en, const int32_t *ids, uint32_t n, struct logits *out)
{
    struct err_info e;
    out->n = 0;
    out->n_vocab = engine_meta(en)->n_vocab;
    out->p = mem_need((size_t)n * out->n_vocab * sizeof *out->p);
    if (engine_eval(en, ids, n, keep_row, out, &e) == ERR_OK && out->n == n) return true;
    printf("# eval: %s\n", e.text);
    return false;
}

/* ---- one model on one machine ---- */

enum weights {
    PLAIN,    /* F32, or numbers that F32 holds: one answer */
    HALF,     /* F16, BF16: float32 activations, the dequantised weights' answer */
    QUANTISED /* activations may be rounded to 8 bits */
};

struct values {
    float *p;
    size_t n;
};

struct case_ {
    const char *name; /* of the directory */
    char path[1024];  /* of the model */
    bool hf;          /* a Hugging Face directory */
    enum weights weights;
    const struct machine *machine;
    int32_t ids[MAX_IDS], greedy[MAX_IDS];
    uint32_t n_ids, n_greedy;
    struct values logits, deq, rows, pooled; /* what the data has of them */
};

static struct engine *open_engine(const struct case_ *c, bool stepwise, enum dtype kv)
{
    struct engine *en = NULL;
    struct err_info e;
    struct engine_conf conf = {.backend = c->machine->backend,
                               .isa = c->machine->isa,
                               .n_threads = 2,
                               .n_ctx = c->logits.p ? 128 : 0,
                               .n_slots = 1,
                               .max_batch = stepwise ? 1 : 64,
                               .max_out = stepwise ? 1 : 64,
                               .ktype = kv,
                               .vtype = kv};
    if (engine_open(&en, c->path, &conf, &e) == ERR_OK) return en;
    printf("# %s on %s: %s\n", c->path, c->machine->name, e.text);
    return NULL;
}

struct bound {
    double nmse, max;
};

static struct bound bound_of(const struct case_ *c, bool f16_kv)
{
    bool exact = c->machine->backend == &ref_backend || c->weights != QUANTISED;
    bool mixture = strstr(c->name, "MXFP4_MOE") != NULL; /* rounding may choose other experts */
    if (!exact) return (struct bound){mixture ? 3e-2 : 3e-3, INFINITY};
    if (f16_kv) return (struct bound){1e-5, 0.1};
    return (struct bound){c->weights == PLAIN ? 1e-10 : 1e-9,
                          c->weights == PLAIN ? 2e-4 : INFINITY};
}

static bool near_enough(const struct case_ *c, bool f16_kv, const struct logits *got,
                        const char *how)
{
    struct bound bound = bound_of(c, f16_kv);
    struct distance d = compare(got, c->deq.p ? c->deq.p : c->logits.p), q;
    if (c->weights == QUANTISED && (q = compare(got, c->logits.p)).nmse < d.nmse &&
        c->machine->backend != &ref_backend)
        d = q;
    bool good = d.nmse <= bound.nmse && d.max <= bound.max;
    if (!good)
        printf("# %s on %s, %s: NMSE %.2e (allowed %.0e), largest %.2e\n", c->path,
               c->machine->name, how, d.nmse, bound.nmse, d.max);
    return good;
}

static bool check_logits(const struct case_ *c, bool stepwise, enum dtype kv)
{
    char how[64];
    struct logits got = {0};
    struct engine *en = open_engine(c, stepwise, kv);
    if (!en) return false;
    snprintf(how, sizeof how, "%s, %s KV", stepwise ? "one by one" : "at once",
             dtype_info(kv)->name);
    bool good = evaluate(en, c->ids, c->n_ids, &got) &&
                (size_t)got.n * got.n_vocab == c->logits.n &&
                near_enough(c, kv == DTYPE_F16, &got, how);
    mem_free(got.p);
    engine_close(en);
    return good;
}

struct reply {
    struct gen_job job;
    int32_t ids[MAX_IDS];
    uint32_t n;
    buf text;
    bool done;
    enum gen_finish finish;
};

static void on_event(struct gen_job *job, const struct gen_event *ev)
{
    struct reply *r = job->owner;
    buf_str(&r->text, ev->text);
    if (ev->type == GEN_TOKEN && r->n < MAX_IDS) r->ids[r->n++] = ev->id;
    if (ev->type != GEN_DONE) return;
    r->done = true;
    r->finish = ev->finish;
}

static bool generate(struct engine *en, const int32_t *ids, uint32_t n, uint32_t max_tokens,
                     struct reply *r)
{
    struct err_info e;
    *r = (struct reply){.text = {.cap = 1 << 20}};
    r->job = (struct gen_job){.prompt = ids, .n_prompt = n, .on_event = on_event, .owner = r};
    params_default(&r->job.params);
    r->job.params.temperature = 0;
    r->job.params.max_tokens = max_tokens;
    if (engine_submit(en, &r->job, &e) != ERR_OK) {
        printf("# submit: %s\n", e.text);
        return false;
    }
    while (engine_step(en))
        ;
    return r->done && r->finish != GEN_ERROR;
}

/* F32 weights: the very ids. The end token is in the file, not in the events. */
static bool check_greedy(const struct case_ *c)
{
    struct reply r;
    struct engine *en = open_engine(c, false, DTYPE_F32);
    if (!en) return false;
    bool good = generate(en, c->ids, c->n_ids, c->n_greedy, &r);
    uint32_t want = c->n_greedy;
    if (r.finish == GEN_STOP && want > 0) want--;
    good = good && r.n == want && memcmp(r.ids, c->greedy, want * sizeof *r.ids) == 0;
    if (!good) {
        printf("# %s on %s: greedy ids", c->path, c->machine->name);
        for (uint32_t i = 0; i < r.n; i++)
            printf(" %d%s", r.ids[i], r.ids[i] == c->greedy[i] ? "" : "!");
        printf("\n");
    }
    buf_fini(&r.text);
    engine_close(en);
    return good;
}

/* Quantised weights: rounding may turn a near tie, so each id of the file, given those before it,
 * must be within twice the largest measured rounding (0.3) of the best. */
static bool check_forced(const struct case_ *c)
{
    int32_t ids[2 * MAX_IDS];
    struct logits got = {0};
    struct engine *en = open_engine(c, false, DTYPE_F32);
    if (!en) return false;
    memcpy(ids, c->ids, c->n_ids * sizeof *ids);
    memcpy(ids + c->n_ids, c->greedy, c->n_greedy * sizeof *ids);
    bool good = evaluate(en, ids, c->n_ids + c->n_greedy - 1, &got);
    for (uint32_t i = 0; good && i < c->n_greedy; i++) {
        const float *row = got.p + (size_t)(c->n_ids + i - 1) * got.n_vocab;
        float best = row[0];
        for (uint32_t k = 1; k < got.n_vocab; k++)
            best = row[k] > best ? row[k] : best;
        good = best - row[c->greedy[i]] <= 0.6f;
        if (!good)
            printf("# greedy id %u is %.2f below the best\n", i,
                   (double)(best - row[c->greedy[i]]));
    }
    mem_free(got.p);
    engine_close(en);
    return good;
}

static bool check_text(const struct case_ *c)
{
    static const enum dtype kv[2] = {DTYPE_F32, DTYPE_F16};
    bool good = true;
    for (int k = 0; k < (c->hf ? 1 : 4); k++)
        good = check_logits(c, k & 1, kv[k >> 1]) && good;
    if (!c->n_greedy) return good;
    return (c->weights == PLAIN ? check_greedy(c) : check_forced(c)) && good;
}

/* ---- vectors ---- */

static bool same(const struct case_ *c, const float *got, const struct values *want,
                 const char *what)
{
    struct logits l = {.p = (float *)(uintptr_t)got, .n = 1, .n_vocab = (uint32_t)want->n};
    struct distance d = compare(&l, want->p);
    bool good = d.nmse <= 1e-10 && d.max <= 2e-4;
    if (!good)
        printf("# %s on %s, %s: NMSE %.2e, largest %.2e\n", c->path, c->machine->name, what, d.nmse,
               d.max);
    return good;
}

static bool check_vectors(const struct case_ *c)
{
    struct logits got = {0};
    struct err_info e;
    struct engine *en = open_engine(c, false, DTYPE_F32);
    bool good = en != NULL;
    if (good && c->rows.p) {
        got.n_vocab = engine_width(en);
        got.p = mem_need((size_t)c->n_ids * got.n_vocab * sizeof *got.p);
        good = engine_eval(en, c->ids, c->n_ids, keep_row, &got, &e) == ERR_OK &&
               (size_t)got.n * got.n_vocab == c->rows.n && same(c, got.p, &c->rows, "rows");
        mem_free(got.p);
    }
    if (good && c->pooled.p) {
        float *v = mem_need((engine_vector(en) + engine_width(en)) * sizeof *v);
        enum err err = engine_embed(en, c->ids, c->n_ids, engine_pooling(en), v, &e);
        if (err) printf("# %s: %s\n", c->path, e.text);
        if (!err && engine_want(en) == ENGINE_SCORES && engine_meta(en)->causal)
            embed_shares(v, engine_vector(en)); /* as the other engine gives them */
        good = !err && same(c, v, &c->pooled, "pooled");
        mem_free(v);
    }
    if (en) engine_close(en);
    return good;
}

/* ---- directories ---- */

static struct values values_of(const char *dir, const char *file)
{
    char path[1024];
    size_t n;
    snprintf(path, sizeof path, "%s/exact-%s", dir, file);
    char *p = slurp(path, &n);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (!p) p = slurp(path, &n);
    return (struct values){(float *)(void *)p, n / sizeof(float)};
}

static enum weights weights_of(const char *name, bool deq)
{
    size_t n = strlen(name);
    if (!deq) return PLAIN;
    return n > 3 && strcmp(name + n - 3, "F16") == 0 ? HALF : QUANTISED;
}

static void on_machines(struct case_ *c)
{
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        c->machine = &machines[i];
        if (!have_isa(c->machine->isa)) {
            skip("this processor lacks the instruction set");
            continue;
        }
        ok(c->logits.p ? check_text(c) : check_vectors(c), "%s%s on %s", c->name,
           c->hf ? " (SafeTensors)" : "", c->machine->name);
    }
}

static bool is_proof(const char *name, bool own)
{
    size_t n;
    const struct family_proof *p = family_proofs(&n);
    for (size_t i = 0; i < n; i++)
        if (p[i].own == own && strcmp(p[i].golden, name) == 0) return true;
    return false;
}

static void check_dir(const char *root, const char *name, bool own)
{
    struct case_ c = {.name = name};
    char dir[512], path[600];
    struct stat st;
    snprintf(dir, sizeof dir, "%s/%s", root, name);
    snprintf(path, sizeof path, "%s/tokens.txt", dir);
    c.n_ids = read_ids(path, c.ids);
    snprintf(path, sizeof path, "%s/greedy.txt", dir);
    c.n_greedy = read_ids(path, c.greedy);
    c.logits = values_of(dir, "logits.f32");
    c.deq = values_of(dir, "logits_deq.f32");
    c.rows = values_of(dir, "embeddings.f32");
    c.pooled = values_of(dir, "pooled.f32");
    c.weights = weights_of(name, c.deq.p != NULL);
    if (ok(c.n_ids > 0 && (c.logits.n || c.rows.n || c.pooled.n), "%s: the data is whole", name)) {
        if (!c.deq.p) ok(is_proof(name, own), "%s is in proven.def", name);
        snprintf(c.path, sizeof c.path, "%s/model.gguf", dir);
        on_machines(&c);
        snprintf(c.path, sizeof c.path, "%s/hf", dir);
        c.hf = true;
        if (stat(c.path, &st) == 0) on_machines(&c);
    }
    mem_free(c.logits.p);
    mem_free(c.deq.p);
    mem_free(c.rows.p);
    mem_free(c.pooled.p);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Every directory under root that holds a model and whose name contains `only`. */
static void check_root(const char *root, const char *only, bool own)
{
    char *names[MAX_MODELS], path[1024];
    size_t n = 0;
    struct dirent *x;
    struct stat st;
    DIR *d = opendir(root);
    while (d && (x = readdir(d)) && n < MAX_MODELS) {
        snprintf(path, sizeof path, "%s/%s/model.gguf", root, x->d_name);
        if (stat(path, &st) || !strstr(x->d_name, only)) continue;
        names[n] = mem_need(strlen(x->d_name) + 1);
        strcpy(names[n++], x->d_name);
    }
    if (d) closedir(d);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        check_dir(root, names[i], own);
        mem_free(names[i]);
    }
    if (!*only) ok(n > 30, "%zu golden models in %s", n, root);
}

/* ---- real models ---- */

static void check_story(const char *gguf, const struct machine *m)
{
    struct engine *en = NULL;
    struct err_info e;
    struct reply r;
    struct arena a;
    int32_t *ids;
    size_t n_ids, n_want;
    char rel[128];
    str prompt = S("Once upon a time");
    struct engine_conf conf = {.backend = m->backend, .isa = m->isa, .n_threads = 2, .n_slots = 1};
    snprintf(rel, sizeof rel, "models/%s.gguf", gguf);
    const char *path = tap_data(rel);
    snprintf(rel, sizeof rel, "models/%s.greedy.txt", gguf);
    char *want = slurp(tap_data(rel), &n_want);
    if (!path || !want || !have_isa(m->isa)) {
        skip(path && want ? "this processor lacks the instruction set" : "no shared test data");
        mem_free(want);
        return;
    }
    arena_init(&a, 1 << 20);
    enum err err = engine_open(&en, path, &conf, &e);
    if (!err) err = tok_encode(engine_tok(en), &a, prompt, TOK_ADD_SPECIAL, &ids, &n_ids, &e);
    if (err) {
        ok(false, "%s on %s: %s", gguf, m->name, e.text);
    } else {
        ok(generate(en, ids, (uint32_t)n_ids, 120, &r), "%s on %s runs", gguf, m->name);
        buf whole = {.cap = 1 << 20};
        buf_str(&whole, prompt);
        buf_str(&whole, buf_view(&r.text));
        is_str(str_trim(buf_view(&whole)), str_trim((str){want, n_want}), "its text to the letter");
        buf_fini(&whole);
        buf_fini(&r.text);
    }
    engine_close(en);
    arena_fini(&a);
    mem_free(want);
}

static void check_others(void)
{
    struct engine *en = NULL;
    struct err_info e;
    struct engine_conf conf = {.backend = &cpu_backend, .n_threads = 1};
    const char *v1 = tap_data("models/tinyllamas-stories-260k-f32.v1.gguf");
    const char *tiny = tap_data("models/llama-2-tiny-random.gguf");
    if (!v1 || !tiny) {
        skip("no shared test data");
        return;
    }
    enum err err = engine_open(&en, v1, &conf, &e);
    ok(!err || e.text[0], "a file of version 1 loads or is refused: %s", err ? e.text : "loads");
    if (!err) engine_close(en);
    err = engine_open(&en, tiny, &conf, &e);
    if (ok(!err, "llama-2-tiny-random loads: %s", err ? e.text : "yes")) {
        int32_t ids[3] = {1, 15043, 3186};
        struct reply r;
        ok(generate(en, ids, 3, 16, &r) && (r.n == 16 || r.finish == GEN_STOP), "and generates");
        buf_fini(&r.text);
        engine_close(en);
    }
}

/* The table of what is proven names every golden model of a family, and only those that are there.
 */
static void check_proofs(const char *shared)
{
    size_t n;
    const struct family_proof *p = family_proofs(&n);
    const char *own = RBEE_SOURCE_DIR "/tests/golden/families";
    for (size_t i = 0; i < n; i++) {
        char path[1024];
        struct gguf g;
        struct err_info e;
        str arch = {0};
        struct stat st;
        if (!p[i].own && !shared) continue;
        snprintf(path, sizeof path, "%s/%s/model.gguf", p[i].own ? own : shared, p[i].golden);
        bool good = gguf_open(&g, path, &e) == ERR_OK;
        if (good) {
            good = gguf_get_str(&g, "general.architecture", &arch, &e) == ERR_OK &&
                   str_eqc(arch, p[i].family);
            gguf_close(&g);
        }
        snprintf(path, sizeof path, "%s/%s/hf", p[i].own ? own : shared, p[i].golden);
        ok(good && p[i].safetensors == (stat(path, &st) == 0), "%s is proven by %s", p[i].family,
           p[i].golden);
    }
}

/* Every type of the second list is in its golden model. */
static void check_dtype_proofs(const char *shared)
{
    size_t n;
    const struct dtype_proof *p = family_dtype_proofs(&n);
    for (size_t i = 0; i < n; i++) {
        char path[1024];
        struct gguf g;
        struct err_info e;
        bool found = false;
        snprintf(path, sizeof path, "%s/%s/model.gguf", shared, p[i].golden);
        enum err err = gguf_open(&g, path, &e);
        for (uint64_t t = 0; !err && t < g.n_tensors; t++)
            found = found || strcmp(dtype_info(g.tensors[t].dtype)->name, p[i].dtype) == 0;
        if (!err) gguf_close(&g);
        ok(found, "%s is proven by %s", p[i].dtype, p[i].golden);
    }
}

/* With an argument only the models whose names contain it are checked. */
int main(int argc, char **argv)
{
    static const char *const stories[2] = {"stories260K-F32", "stories260K-F16"};
    const char *only = argc > 1 ? argv[1] : "";
    const char *shared = tap_data("golden");
    check_root(RBEE_SOURCE_DIR "/tests/golden/families", only, true);
    if (shared)
        check_root(shared, only, false);
    else
        skip("no shared test data");
    if (!*only) check_proofs(shared);
    if (!*only && shared) check_dtype_proofs(shared);
    for (size_t i = 0; i < 2 * sizeof machines / sizeof machines[0]; i++)
        if (strstr(stories[i % 2], only)) check_story(stories[i % 2], &machines[i / 2]);
    if (strstr("others", only)) check_others();
    return tap_end();
}
