/* test_golden: logits and greedy ids of real and of tiny models against those of an independent
 * engine.
 *
 * Needs the shared test data; without it every part is skipped. The tolerances are those that come
 * with the data: what they let through is rounding, what they catch is a wrong rule.
 */
#include "engine/engine.h"

#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "model/meta.h"
#include "tap.h"

#define MAX_IDS 64

enum weights {
    PLAIN,    /* F32: one answer */
    HALF,     /* F16, BF16: float32 activations, the dequantised weights' answer */
    QUANTISED /* activations may be rounded to 8 bits */
};

static const struct model {
    const char *name;
    enum weights weights;
} models[] = {
    {"llama", PLAIN},
    {"llama3", PLAIN},
    {"llama-linear", PLAIN},
    {"llama-yarn", PLAIN},
    {"llama-bias", PLAIN},
    {"llama-bf16", PLAIN},
    {"mistral", PLAIN},
    {"qwen2", PLAIN},
    {"qwen3", PLAIN},
    {"quant32-llama-F16", HALF},
    {"quant32-llama-BF16", HALF},
    {"quant32-llama-Q4_0", QUANTISED},
    {"quant32-llama-Q4_1", QUANTISED},
    {"quant32-llama-Q5_0", QUANTISED},
    {"quant32-llama-Q5_1", QUANTISED},
    {"quant32-llama-Q8_0", QUANTISED},
    {"quant32-llama-IQ4_NL", QUANTISED},
    {"quant256-llama-Q2_K", QUANTISED},
    {"quant256-llama-Q3_K_S", QUANTISED},
    {"quant256-llama-Q3_K_M", QUANTISED},
    {"quant256-llama-Q3_K_L", QUANTISED},
    {"quant256-llama-Q4_K_S", QUANTISED},
    {"quant256-llama-Q4_K_M", QUANTISED},
    {"quant256-llama-Q5_K_S", QUANTISED},
    {"quant256-llama-Q5_K_M", QUANTISED},
    {"quant256-llama-Q6_K", QUANTISED},
    {"quant256-llama-IQ4_XS", QUANTISED},
    {"quant256-qwen2-Q4_K_M", QUANTISED},
};

static const struct machine {
    const char *name;
    const struct backend *backend;
    const char *isa;
} machines[] = {
    {"ref", &ref_backend, NULL},
    {"cpu generic", &cpu_backend, "generic"},
    {"cpu avx2", &cpu_backend, "avx2"},
    {"cpu avx512", &cpu_backend, "avx512"},
};

static bool have_isa(const char *isa)
{
#if defined(__x86_64__)
    if (isa && strcmp(isa, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa && strcmp(isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vnni");
    return true;
#else
    return !isa || strcmp(isa, "generic") == 0;
#endif
}

/* ---- files ---- */

static const char *path_of(const char *model, const char *file)
{
    char rel[256];
    snprintf(rel, sizeof rel, "golden/%s/%s", model, file);
    return tap_data(rel);
}

static char *slurp(const char *path, size_t *n)
{
    char *p = NULL;
    struct err_info e;
    if (!path || map_read_file(path, (size_t)1 << 24, &p, n, &e) != ERR_OK) return NULL;
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

struct case_ {
    const struct model *model;
    const struct machine *machine;
    int32_t ids[MAX_IDS], greedy[MAX_IDS];
    uint32_t n_ids, n_greedy;
    float *logits, *logits_deq; /* the second is NULL for PLAIN */
};

static struct engine *open_engine(const struct case_ *c, bool stepwise, enum dtype kv)
{
    struct engine *en = NULL;
    struct err_info e;
    struct engine_conf conf = {.backend = c->machine->backend,
                               .isa = c->machine->isa,
                               .n_threads = 2,
                               .n_ctx = 128,
                               .n_slots = 1,
                               .max_batch = stepwise ? 1 : 64,
                               .max_out = stepwise ? 1 : 64,
                               .ktype = kv,
                               .vtype = kv};
    if (engine_open(&en, path_of(c->model->name, "model.gguf"), &conf, &e) == ERR_OK) return en;
    printf("# %s on %s: %s\n", c->model->name, c->machine->name, e.text);
    return NULL;
}

static bool near_enough(const struct case_ *c, bool f16_kv, const struct logits *got,
                        const char *how)
{
    const struct model *m = c->model;
    bool exact = c->machine->backend == &ref_backend || m->weights == HALF;
    struct distance d = compare(got, m->weights == PLAIN ? c->logits : c->logits_deq);
    struct distance q = compare(got, c->logits);
    double nmse, max = INFINITY;
    if (m->weights == QUANTISED && !exact) {
        nmse = 3e-3;
        if (q.nmse < d.nmse) d = q;
    } else if (f16_kv) {
        nmse = 1e-5;
        max = 0.1;
    } else {
        nmse = m->weights == PLAIN ? 1e-10 : 1e-9;
        if (m->weights == PLAIN) max = 2e-4;
    }
    bool good = d.nmse <= nmse && d.max <= max;
    if (!good)
        printf("# %s on %s, %s: NMSE %.2e (allowed %.0e), largest %.2e\n", m->name,
               c->machine->name, how, d.nmse, nmse, d.max);
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
    bool good = evaluate(en, c->ids, c->n_ids, &got) && near_enough(c, kv == DTYPE_F16, &got, how);
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
        printf("# %s on %s: greedy ids", c->model->name, c->machine->name);
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

static void check_case(const struct case_ *c)
{
    static const enum dtype kv[2] = {DTYPE_F32, DTYPE_F16};
    bool good = true;
    for (int k = 0; k < 4; k++)
        good = check_logits(c, k & 1, kv[k >> 1]) && good;
    good = (c->model->weights == PLAIN ? check_greedy(c) : check_forced(c)) && good;
    ok(good, "%s on %s", c->model->name, c->machine->name);
}

static void check_model(const struct model *m)
{
    struct case_ c = {.model = m};
    size_t n = 0, n_deq = 0;
    const char *tokens = path_of(m->name, "tokens.txt");
    if (!tokens) {
        skip("no shared test data");
        return;
    }
    c.n_ids = read_ids(tokens, c.ids);
    c.n_greedy = read_ids(path_of(m->name, "greedy.txt"), c.greedy);
    c.logits = (float *)(void *)slurp(path_of(m->name, "logits.f32"), &n);
    if (m->weights != PLAIN)
        c.logits_deq = (float *)(void *)slurp(path_of(m->name, "logits_deq.f32"), &n_deq);
    size_t want = (size_t)c.n_ids * 320 * sizeof(float);
    bool whole = c.n_ids > 0 && c.n_greedy > 0 && n == want && (!n_deq || n_deq == want);
    if (!whole) ok(false, "%s: the test data is whole", m->name);
    for (size_t i = 0; whole && i < sizeof machines / sizeof machines[0]; i++) {
        c.machine = &machines[i];
        if (have_isa(c.machine->isa))
            check_case(&c);
        else
            skip("this processor lacks the instruction set");
    }
    mem_free(c.logits);
    mem_free(c.logits_deq);
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

/* With an argument only the models whose names contain it are checked. */
int main(int argc, char **argv)
{
    static const char *const stories[2] = {"stories260K-F32", "stories260K-F16"};
    const char *only = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (strstr(models[i].name, only)) check_model(&models[i]);
    for (size_t i = 0; i < 2 * sizeof machines / sizeof machines[0]; i++)
        if (strstr(stories[i % 2], only)) check_story(stories[i % 2], &machines[i / 2]);
    if (strstr("others", only)) check_others();
    return tap_end();
}
