/* worker_bench: prefill and decode speed of one model on this machine, measured through the engine.
 *
 * Every repetition uses fresh random tokens, so that no prefix is reused. Prefill is the time from
 * a job's admission to its first token; decode the time of the tokens after it. Figures are
 * medians, and decode is also given as a share of the read bandwidth measured in the same run:
 * bytes of the weights that a token reads times tokens per second, over that bandwidth.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/os.h"
#include "worker/bandwidth.h"
#include "store/store.h"
#include "worker/worker.h"

#define REPS_MAX 25

struct bench_opts {
    struct worker_conf conf;
    const char *model;
    int64_t prompt, gen, reps, streams;
    bool json;
};

static const struct opt opts[] = {
    {"prompt", 'p', OPT_INT, offsetof(struct bench_opts, prompt), "N", "512", NULL, 0, 1000000,
     NULL, NULL, "prompt tokens of the prefill measurement; 0: skip it"},
    {"gen", 'n', OPT_INT, offsetof(struct bench_opts, gen), "N", "64", NULL, 0, 1000000, NULL, NULL,
     "tokens of the decode measurement; 0: skip it"},
    {"reps", 'r', OPT_INT, offsetof(struct bench_opts, reps), "N", "3", NULL, 1, REPS_MAX, NULL,
     NULL, "repetitions; the median is reported"},
    {"streams", 's', OPT_INT, offsetof(struct bench_opts, streams), "N", "1", NULL, 1, LIMIT_SLOTS,
     NULL, NULL, "sequences decoded together"},
    {"json", 0, OPT_BOOL, offsetof(struct bench_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print the result as JSON"},
    WORKER_OPTS(struct bench_opts, conf),
    {0},
};

static const struct opt_pos pos[] = {
    {"MODEL", offsetof(struct bench_opts, model), true, false, "GGUF file"},
    {0},
};

struct run {
    struct engine *en;
    struct gen_job *jobs; /* [streams] */
    int32_t *ids;         /* [streams][longest prompt] */
    uint32_t live, n_vocab;
    uint64_t noise;
    uint64_t first_ns; /* when all streams had their first token */
    uint32_t firsts;
    enum err error;
    char text[ERR_TEXT_MAX];
};

static void on_event(struct gen_job *job, const struct gen_event *ev)
{
    struct run *r = job->owner;

    if (ev->type == GEN_TOKEN) {
        /* Each job counts once, with its first token. */
        if (!job->strip_first) return;
        job->strip_first = false;
        if (++r->firsts == r->live) r->first_ns = os_now_ns();
        return;
    }
    r->live--;
    if (ev->finish == GEN_ERROR) {
        r->error = ev->error;
        snprintf(r->text, sizeof r->text, "%s", ev->message ? ev->message : "");
    }
}

static int32_t random_id(struct run *r)
{
    r->noise = r->noise * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((r->noise >> 33) % r->n_vocab);
}

/* n jobs of the given lengths together; *prefill_ns until all have their first token, *decode_ns
 * from there to the end. */
static enum err measure(struct run *r, uint32_t n, uint32_t prompt, int64_t gen,
                        uint64_t *prefill_ns, uint64_t *decode_ns, struct err_info *e)
{
    uint64_t start = os_now_ns();
    enum err code;

    r->live = n;
    r->firsts = 0;
    r->error = ERR_OK;
    for (uint32_t i = 0; i < n; i++) {
        struct gen_job *j = &r->jobs[i];
        int32_t *ids = r->ids + (size_t)i * prompt;

        for (uint32_t k = 0; k < prompt; k++)
            ids[k] = random_id(r);
        *j = (struct gen_job){.prompt = ids,
                              .n_prompt = prompt,
                              .strip_first = true,
                              .on_event = on_event,
                              .owner = r};
        params_default(&j->params);
        j->params.max_tokens = gen;
        j->params.temperature = 0;
        j->params.ignore_eos = true;
        if ((code = engine_submit(r->en, j, e))) {
            for (uint32_t k = 0; k < i; k++)
                atomic_store(&r->jobs[k].cancel, true);
            while (engine_step(r->en)) {
            }
            return code;
        }
    }
    while (engine_step(r->en)) {
    }
    if (r->error) return ERR_FAIL(e, INTERNAL, "%s", r->text);
    *prefill_ns = r->first_ns - start;
    *decode_ns = os_now_ns() - r->first_ns;
    return ERR_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Bytes of weights that one decoded token reads: the operands of every matrix product, of experts
 * the chosen ones. */
static uint64_t bytes_per_token(const struct plan *p)
{
    uint64_t sum = 0, row;

    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        const int w[] = {s->w, s->w2, s->w3};

        if (s->op == OP_EMBED) continue;
        for (size_t k = 0; k < 3; k++) {
            if (w[k] < 0 || !dtype_row_bytes(p->tensors[w[k]].dtype, p->tensors[w[k]].cols, &row))
                continue;
            row *= p->tensors[w[k]].rows;
            if (s->op == OP_EXPERT && p->tensors[w[k]].n_parts)
                row = row / p->tensors[w[k]].n_parts * s->u.route.n_used;
            sum += row;
        }
    }
    return sum;
}

struct result {
    double prefill, decode, bandwidth;
    uint64_t token_bytes;
    uint32_t threads;
};

static enum err run_reps(struct run *r, const struct bench_opts *o, struct result *out,
                         struct err_info *e)
{
    double pre[REPS_MAX] = {0}, dec[REPS_MAX] = {0};
    uint64_t a, b;
    enum err code;

    /* One warm-up: pages of the mapping come in, threads wake up. */
    if ((code = measure(r, 1, o->prompt ? (uint32_t)o->prompt : 1, 2, &a, &b, e))) return code;
    for (int i = 0; i < (int)o->reps; i++) {
        if (o->prompt) {
            if ((code = measure(r, 1, (uint32_t)o->prompt, 1, &a, &b, e))) return code;
            pre[i] = (double)o->prompt * 1e9 / (double)a;
        }
        if (o->gen) {
            if ((code = measure(r, (uint32_t)o->streams, 1, o->gen + 1, &a, &b, e))) return code;
            dec[i] = (double)(o->gen * o->streams) * 1e9 / (double)b;
        }
    }
    out->prefill = median(pre, (int)o->reps);
    out->decode = median(dec, (int)o->reps);
    return ERR_OK;
}

static void print_json(const struct bench_opts *o, const struct run *r, const struct result *res)
{
    struct engine_stats st;
    struct jsonw w;
    buf b;

    engine_stats(r->en, &st);
    buf_init(&b, KIB(16));
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kc(&w, "model", o->model);
    jsonw_kstr(&w, "quantization", engine_meta(r->en)->file_type);
    jsonw_kc(&w, "backend", engine_describe(r->en));
    jsonw_kint(&w, "threads", res->threads);
    jsonw_kint(&w, "prompt_tokens", o->prompt);
    jsonw_kint(&w, "gen_tokens", o->gen);
    jsonw_kint(&w, "streams", o->streams);
    jsonw_kint(&w, "reps", o->reps);
    jsonw_knum(&w, "prefill_tokens_per_second", res->prefill);
    jsonw_knum(&w, "decode_tokens_per_second", res->decode);
    jsonw_kint(&w, "bytes_per_token", (int64_t)res->token_bytes);
    jsonw_knum(&w, "read_bandwidth_bytes_per_second", res->bandwidth);
    jsonw_knum(&w, "decode_bandwidth_share",
               res->bandwidth > 0
                   ? res->decode / (double)o->streams * (double)res->token_bytes / res->bandwidth
                   : 0);
    jsonw_knum(&w, "load_ms", (double)st.load_ns / 1e6);
    jsonw_end(&w, '}');
    puts(b.p);
    buf_fini(&b);
}

static void print_text(const struct bench_opts *o, const struct run *r, const struct result *res)
{
    printf("%s, %s\n", o->model, engine_describe(r->en));
    if (o->prompt)
        printf("  prefill %5lld tokens   %9.1f tokens/s\n", (long long)o->prompt, res->prefill);
    if (o->gen) {
        printf("  decode  %5lld tokens   %9.1f tokens/s", (long long)o->gen, res->decode);
        if (o->streams > 1) printf(" over %lld streams", (long long)o->streams);
        putchar('\n');
        if (res->bandwidth > 0)
            printf("  memory  %.1f GB/s read by decode, %.0f %% of the %.1f GB/s measured here\n",
                   res->decode / (double)o->streams * (double)res->token_bytes / 1e9,
                   100 * res->decode / (double)o->streams * (double)res->token_bytes /
                       res->bandwidth,
                   res->bandwidth / 1e9);
    }
}

static enum err run(const struct worker_kind *kind, const struct bench_opts *o, struct err_info *e)
{
    struct engine_conf conf;
    struct run r = {.noise = 0x9e3779b97f4a7c15u};
    struct result res = {0};
    int64_t longest = o->prompt > 1 ? o->prompt : 1, need;
    enum err code;

    if ((code = worker_conf_engine(kind, &o->conf, &conf, e))) return code;
    need = (o->prompt > o->gen + 1 ? o->prompt : o->gen + 1) + 2;
    if (conf.n_ctx == 0) conf.n_ctx = (uint32_t)(need < 64 ? 64 : need);
    if (conf.n_slots == 0) conf.n_slots = (uint32_t)o->streams;
    if ((code = worker_vet(o->model, &o->conf, &conf, false, e))) return code;
    res.threads = conf.n_threads ? conf.n_threads : (uint32_t)os_cpu_count();
    res.bandwidth = bandwidth_measure(res.threads);
    if ((code = engine_open(&r.en, o->model, &conf, e))) return code;
    r.n_vocab = engine_meta(r.en)->n_vocab;
    r.jobs = mem_array((size_t)o->streams, sizeof *r.jobs);
    r.ids = mem_array((size_t)(o->streams * longest), sizeof *r.ids);
    if (!r.jobs || !r.ids)
        code = ERR_FAIL(e, NOMEM, "no memory for %lld streams", (long long)o->streams);
    else
        code = run_reps(&r, o, &res, e);
    if (!code) {
        res.token_bytes = bytes_per_token(engine_plan(r.en));
        (o->json ? print_json : print_text)(o, &r, &res);
    }
    mem_free(r.jobs);
    mem_free(r.ids);
    engine_close(r.en);
    return code;
}

enum err worker_bench(const struct worker_kind *kind, int argc, char **argv, struct err_info *e)
{
    struct bench_opts o = {0};
    const struct opt_spec spec = {
        .opts = opts,
        .pos = pos,
        .command = "rbee bench",
        .summary = "Measures prefill and decode speed of a model on this machine.",
        .examples = "rbee bench MODEL -p 512 -n 64 -t 2 --json"};
    char path[STORE_PATH_MAX];
    bool help;
    enum err code;

    if ((code = opt_parse(&spec, argc, argv, &o, &help, e))) return code;
    if (help) {
        opt_print(&spec, 0);
        return ERR_OK;
    }
    if ((code = worker_resolve(o.model, path, e))) return code;
    o.model = path;
    return run(kind, &o, e);
}
