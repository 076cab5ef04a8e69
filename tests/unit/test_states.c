/* test_states: models with recurrent states, and sequences that RoPE treats as long, in an engine
 * that serves many at once.
 *
 * The measure is that of test_engine: whatever happens around a job, its reply is the one that it
 * gives alone. States can be neither shared nor rewound, so nothing may be taken from the cache,
 * and a job that had to make room begins again.
 */
#include "base/mem.h"
#include "compute/ref/ref.h"
#include "engine/engine.h"
#include "tap.h"

#define FAMILIES RBEE_SOURCE_DIR "/tests/golden/families/"
#define MAX_IDS  200

struct reply {
    struct gen_job job;
    int32_t prompt[MAX_IDS], ids[MAX_IDS];
    float logprob[MAX_IDS];
    uint32_t n;
    enum gen_finish finish;
    bool done;
};

static void on_event(struct gen_job *job, const struct gen_event *ev)
{
    struct reply *r = job->owner;
    if (ev->type == GEN_TOKEN && r->n < MAX_IDS) {
        r->logprob[r->n] = ev->logprob;
        r->ids[r->n++] = ev->id;
    }
    if (ev->type != GEN_DONE) return;
    r->done = true;
    r->finish = ev->finish;
}

/* n_prompt ids that depend on `kind`, of a vocabulary of 64. */
static void reply_init(struct reply *r, uint32_t n_prompt, uint32_t kind, int64_t max_tokens)
{
    memset(r, 0, sizeof *r);
    for (uint32_t i = 0; i < n_prompt; i++)
        r->prompt[i] = (int32_t)(3 + (kind * 7 + i * i * 5 + i / 3) % 60);
    r->job = (struct gen_job){.prompt = r->prompt,
                              .n_prompt = n_prompt,
                              .want_logprobs = true,
                              .on_event = on_event,
                              .owner = r};
    params_default(&r->job.params);
    r->job.params.temperature = 0;
    r->job.params.repeat_penalty = 1.3; /* replies that do not run in circles */
    r->job.params.max_tokens = max_tokens;
    r->job.params.ignore_eos = true;
}

static void submit(struct engine *en, struct reply *r)
{
    struct err_info e;
    if (engine_submit(en, &r->job, &e) != ERR_OK) printf("# %s\n", e.text);
}

static void drain(struct engine *en)
{
    while (engine_step(en))
        ;
}

static struct engine *open_path(const char *path, struct engine_conf conf)
{
    struct engine *en = NULL;
    struct err_info e;
    if (!conf.backend) conf.backend = &ref_backend;
    conf.n_threads = 1;
    if (engine_open(&en, path, &conf, &e) != ERR_OK) printf("# %s: %s\n", path, e.text);
    return en;
}

static bool same(const struct reply *a, const struct reply *b)
{
    return a->done && b->done && a->finish == b->finish && a->n == b->n &&
           memcmp(a->ids, b->ids, a->n * sizeof *a->ids) == 0;
}

/* Six jobs with room for one and a half of them: chunks, neighbours, slots used again, parking. */
static void test_family(const char *name)
{
    enum { N = 6 };
    static struct reply r[N], alone[N], again;
    char path[1024];
    uint32_t good = 0, together = 0, cached = 0;
    struct engine_stats st;
    snprintf(path, sizeof path, FAMILIES "%s/model.gguf", name);
    struct engine *en = open_path(path, (struct engine_conf){.n_ctx = 128});
    if (!en) {
        ok(false, "%s opens", name);
        return;
    }
    for (uint32_t i = 0; i < N; i++) {
        reply_init(&alone[i], 20 + 11 * i, i, 30);
        submit(en, &alone[i]);
        drain(en);
    }
    reply_init(&again, 20, 0, 30);
    submit(en, &again);
    drain(en);
    ok(same(&again, &alone[0]) && again.job.usage.cached_tokens == 0,
       "%s: the same prompt again gives the same reply and takes nothing over", name);
    engine_close(en);
    en = open_path(
        path, (struct engine_conf){.n_ctx = 128, .n_slots = 4, .max_batch = 48, .kv_budget = 1});
    for (uint32_t i = 0; i < N; i++) {
        reply_init(&r[i], 20 + 11 * i, i, 30);
        submit(en, &r[i]);
    }
    while (engine_step(en)) {
        engine_stats(en, &st);
        together = st.active > together ? st.active : together;
    }
    for (uint32_t i = 0; i < N; i++) {
        good += same(&r[i], &alone[i]) && r[i].n == 30;
        cached += r[i].job.usage.cached_tokens;
    }
    ok(good == N && together > 1 && cached == 0,
       "%s: %u of %d jobs, %u at once, get the reply that they give alone", name, good, N,
       together);
    engine_close(en);
}

static void keep(uint32_t i, const float *row, void *owner)
{
    ((double *)owner)[i] = (double)row[7];
}

/* An evaluation needs a set of states: not while a job has it. */
static void test_eval(void)
{
    static struct reply r;
    double row[32];
    struct err_info e;
    struct engine *en = open_path(FAMILIES "mamba-norms/model.gguf", (struct engine_conf){0});
    if (!ok(en != NULL, "mamba opens")) return;
    reply_init(&r, 20, 1, 5);
    submit(en, &r);
    engine_step(en);
    ok(engine_eval(en, r.prompt, 20, keep, row, &e) == ERR_BUSY, "busy: %s", e.text);
    drain(en);
    ok(engine_eval(en, r.prompt, 20, keep, row, &e) == ERR_OK, "idle: it runs");
    engine_close(en);
}

/* ---- long sequences ---- */

/* Two tokens of a reply, whatever it might come to. */
static void begin(struct engine *en, struct reply *r)
{
    submit(en, r);
    while (r->n < 2 && engine_step(en))
        ;
    atomic_store(&r->job.cancel, true);
    drain(en);
}

/* Beyond the length that the model was first trained for RoPE takes other factors. What a sequence
 * may come to decides, and blocks are shared only among those of a kind. */
static void test_long(void)
{
    static struct reply brief, brief2, longer, longer2;
    const char *path = tap_data("golden/phi3-longrope-short/model.gguf");
    if (!path) {
        skip("no shared test data");
        return;
    }
    struct engine *en = open_path(path, (struct engine_conf){.n_ctx = 2048});
    uint32_t from = en ? engine_plan(en)->rope_long_from : 0;
    if (!ok(from > 40 && from < 2048, "the second factors are for more than %u positions", from)) {
        engine_close(en);
        return;
    }
    reply_init(&brief, 36, 1, from - 36);
    reply_init(&longer, 36, 1, from - 35);
    reply_init(&brief2, 36, 1, 2);
    reply_init(&longer2, 36, 1, -1);
    begin(en, &brief);
    begin(en, &longer);
    ok(longer.job.usage.cached_tokens == 0 && longer.logprob[0] != brief.logprob[0],
       "one position more: another sequence, that takes nothing from the shorter one");
    begin(en, &brief2);
    begin(en, &longer2);
    ok(brief2.job.usage.cached_tokens == 35 && brief2.logprob[0] == brief.logprob[0],
       "another short one takes the short one's blocks");
    ok(longer2.job.usage.cached_tokens == 35 && longer2.logprob[0] == longer.logprob[0],
       "another long one the long one's");
    engine_close(en);
}

int main(void)
{
    static const char *const names[] = {"mamba-norms", "mamba2-groups", "falcon-h1",     "lfm2",
                                        "qwen3next",   "nemotron_h",    "rwkv6-rescaled"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        test_family(names[i]);
    test_eval();
    test_long();
    return tap_end();
}
