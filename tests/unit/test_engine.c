/* test_engine: many jobs on a tiny model: batching, sharing, ends, and what a step costs.
 *
 * The measure of nearly everything is the same: whatever happens around a job, its reply is the one
 * that it gives alone.
 */
#include "engine/engine.h"

#include "base/limits.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "model/meta.h"
#include "tap.h"
#include "tiny.h"

/* ---- counting every allocation of the process ---- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&       \
    !defined(SANITIZED)
#define COUNTING 1
static atomic_uint_fast64_t mallocs;
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t m);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void *malloc(size_t n)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t m)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_calloc(n, m);
}
void *realloc(void *p, size_t n)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_realloc(p, n);
}
void *aligned_alloc(size_t align, size_t n)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_memalign(align, n);
}
static uint64_t malloc_count(void)
{
    return atomic_load(&mallocs);
}
#else
static uint64_t malloc_count(void)
{
    return mem_count();
}
#endif

/* ---- jobs ---- */

#define MAX_IDS 600

struct reply {
    struct gen_job job;
    struct engine *en;
    int32_t prompt[TINY_CTX];
    int32_t ids[MAX_IDS];
    float logprobs[MAX_IDS];
    struct gen_logprob top[MAX_IDS][3];
    uint32_t n, done, cancel_after;
    buf text;
    enum gen_finish finish;
    enum err error;
    struct reply *then; /* submitted from within this one's last event */
};

static char model_path[64];

static void on_event(struct gen_job *job, const struct gen_event *ev)
{
    struct reply *r = job->owner;
    buf_str(&r->text, ev->text);
    if (ev->type == GEN_TOKEN) {
        if (ev->n_top >= 3) memcpy(r->top[r->n], ev->top, sizeof r->top[0]);
        r->logprobs[r->n] = ev->logprob;
        r->ids[r->n++] = ev->id;
        if (r->cancel_after && r->n == r->cancel_after) atomic_store(&job->cancel, true);
        return;
    }
    r->done++;
    r->finish = ev->finish;
    r->error = ev->error;
    struct err_info e;
    if (r->then) ASSERT(engine_submit(r->en, &r->then->job, &e) == ERR_OK);
}

/* A job of n pseudo-random prompt tokens, greedy, that does not end by itself. */
static struct reply *reply_new(uint32_t n, uint32_t kind, uint32_t max_tokens)
{
    struct reply *r = mem_need(sizeof *r);
    uint64_t state = kind * 77 + 5;
    r->prompt[0] = TINY_BOS;
    for (uint32_t i = 1; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        r->prompt[i] = (int32_t)(3 + (state >> 33) % (TINY_VOCAB - 3));
    }
    buf_init(&r->text, 1 << 20);
    ASSERT(buf_reserve(&r->text, 1 << 16));
    r->job = (struct gen_job){.prompt = r->prompt, .n_prompt = n, .on_event = on_event, .owner = r};
    params_default(&r->job.params);
    r->job.params.temperature = 0;
    r->job.params.ignore_eos = true;
    r->job.params.max_tokens = max_tokens;
    return r;
}

static void reply_free(struct reply *r)
{
    buf_fini(&r->text);
    mem_free(r);
}

static struct engine *open_path(const char *path, struct engine_conf conf)
{
    struct engine *en = NULL;
    struct err_info e;
    if (!conf.backend) conf.backend = &cpu_backend;
    if (!conf.n_threads) conf.n_threads = 1;
    if (engine_open(&en, path, &conf, &e) != ERR_OK) printf("# %s\n", e.text);
    ASSERT(en != NULL);
    return en;
}

static struct engine *open_conf(struct engine_conf conf)
{
    return open_path(model_path, conf);
}

static void submit(struct engine *en, struct reply *r)
{
    struct err_info e;
    r->en = en;
    enum err err = engine_submit(en, &r->job, &e);
    if (err) printf("# %s\n", e.text);
    ASSERT(err == ERR_OK);
}

static void drain(struct engine *en)
{
    while (engine_step(en))
        ;
}

/* What a job gives with an engine to itself. */
static struct reply *alone(uint32_t n, uint32_t kind, uint32_t max_tokens)
{
    struct engine *en = open_conf((struct engine_conf){.n_slots = 1});
    struct reply *r = reply_new(n, kind, max_tokens);
    submit(en, r);
    drain(en);
    engine_close(en);
    return r;
}

static bool same(const struct reply *a, const struct reply *b)
{
    return a->done == 1 && b->done == 1 && a->n == b->n && a->finish == b->finish &&
           memcmp(a->ids, b->ids, a->n * sizeof *a->ids) == 0 && a->text.n == b->text.n &&
           memcmp(a->text.p, b->text.p, a->text.n) == 0;
}

/* ---- back ends agree ---- */

struct rows {
    float p[64][TINY_VOCAB];
    uint32_t n;
};

static void keep_row(uint32_t i, const float *row, void *owner)
{
    struct rows *r = owner;
    memcpy(r->p[i], row, sizeof r->p[i]);
    r->n++;
}

static double nmse(const float *got, const float *want, size_t n)
{
    double err = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i];
        err += d * d;
        power += (double)want[i] * (double)want[i];
    }
    return err / power;
}

static void test_backends(void)
{
    static struct rows a, b;
    struct err_info e;
    struct reply *r = reply_new(64, 1, 1);
    struct engine *ref =
        open_conf((struct engine_conf){.backend = &ref_backend, .max_batch = 64, .max_out = 64});
    struct engine *cpu = open_conf(
        (struct engine_conf){.max_batch = 16, .max_out = 7, .n_slots = 2, .n_threads = 2});
    bool good = engine_eval(ref, r->prompt, 64, keep_row, &a, &e) == ERR_OK &&
                engine_eval(cpu, r->prompt, 64, keep_row, &b, &e) == ERR_OK;
    double off = nmse(b.p[0], a.p[0], 64 * TINY_VOCAB);
    ok(good && a.n == 64 && b.n == 64 && off < 1e-10, "cpu against ref: NMSE %.1e", off);
    ok(engine_describe(cpu)[0] && engine_n_ctx(cpu) == TINY_CTX && engine_gguf(cpu) &&
           engine_plan(cpu)->n_steps > 10 && engine_meta(cpu)->n_vocab == TINY_VOCAB &&
           tok_count(engine_tok(cpu)) == TINY_VOCAB,
       "the engine says what it is: %s", engine_describe(cpu));
    engine_close(cpu);
    engine_close(ref);
    reply_free(r);
}

/* ---- neighbours and threads ---- */

static void test_neighbours(void)
{
    struct reply *solo = NULL;
    for (uint32_t threads = 1; threads <= 2; threads++)
        for (uint32_t n = 1; n <= 16; n += 15) {
            struct reply *r[16];
            struct engine *en =
                open_conf((struct engine_conf){.n_threads = threads, .max_batch = 64});
            for (uint32_t i = 0; i < n; i++) {
                r[i] =
                    reply_new(i == 7 || n == 1 ? 50 : 20 + 9 * i, i == 7 || n == 1 ? 0 : i + 1, 60);
                r[i]->job.want_logprobs = true;
                r[i]->job.params.top_logprobs = 3;
                submit(en, r[i]);
            }
            drain(en);
            struct reply *me = r[n == 1 ? 0 : 7];
            if (!solo) {
                solo = me;
                r[0] = NULL;
            } else {
                float x[60 * 4], y[60 * 4];
                for (uint32_t i = 0; i < 60; i++)
                    for (int k = 0; k < 4; k++) {
                        x[i * 4 + (uint32_t)k] = k < 3 ? me->top[i][k].logprob : me->logprobs[i];
                        y[i * 4 + (uint32_t)k] =
                            k < 3 ? solo->top[i][k].logprob : solo->logprobs[i];
                    }
                double off = nmse(x, y, 60 * 4);
                ok(same(me, solo) && off < 1e-8,
                   "%u neighbours, %u threads: the same text, log-probabilities NMSE %.1e", n - 1,
                   threads, off);
            }
            engine_close(en);
            for (uint32_t i = 0; i < n; i++)
                if (r[i]) reply_free(r[i]);
        }
    is_int(solo->n, 60, "60 tokens");
    reply_free(solo);
}

static void test_many(void)
{
    struct reply *r[32];
    uint32_t good = 0;
    struct engine_stats st;
    struct engine *en = open_conf((struct engine_conf){.n_slots = 4, .max_batch = 48});
    for (uint32_t i = 0; i < 32; i++)
        submit(en, r[i] = reply_new(1 + i * 5, i, 5 + i));
    engine_stats(en, &st);
    is_int(st.waiting, 32, "32 jobs wait");
    engine_step(en);
    engine_stats(en, &st);
    is_int(st.active, 4, "four run");
    drain(en);
    engine_stats(en, &st);
    for (uint32_t i = 0; i < 32; i++) {
        struct reply *want = alone(1 + i * 5, i, 5 + i);
        good += same(r[i], want) && r[i]->finish == GEN_LENGTH && r[i]->n == 5 + i &&
                r[i]->job.usage.completion_tokens == 5 + i;
        reply_free(want);
        reply_free(r[i]);
    }
    is_int(good, 32, "32 jobs over 4 slots give what each gives alone");
    ok(st.jobs_done == 32 && st.active == 0 && st.waiting == 0 && st.kv_blocks_used == 0 &&
           st.completion_tokens == 32 * 5 + 31 * 16,
       "the statistics add up");
    engine_close(en);
}

/* ---- room ---- */

static void test_preemption(void)
{
    struct reply *r[6];
    uint32_t good = 0;
    struct engine_stats st;
    /* a budget of one byte: the least there is, one sequence of full length */
    struct engine *en = open_conf((struct engine_conf){.kv_budget = 1, .n_slots = 6});
    for (uint32_t i = 0; i < 6; i++)
        submit(en, r[i] = reply_new(30 + i, i, 300));
    uint32_t together = 0;
    while (engine_step(en)) {
        engine_stats(en, &st);
        together = st.active > together ? st.active : together;
    }
    is_int(st.kv_blocks, TINY_CTX / KV_BLOCK, "blocks for one full sequence");
    ok(together >= 3, "%u jobs ran together", together);
    for (uint32_t i = 0; i < 6; i++) {
        struct reply *want = alone(30 + i, i, 300);
        good += same(r[i], want) && r[i]->finish == GEN_LENGTH;
        reply_free(want);
        reply_free(r[i]);
    }
    is_int(good, 6, "with a third of the blocks they need, all end as they would alone");
    engine_close(en);
}

static void test_prefix(void)
{
    struct engine *en = open_conf((struct engine_conf){0});
    struct reply *a = reply_new(100, 3, 50), *b = reply_new(100, 3, 50), *c = reply_new(100, 3, 20);
    submit(en, a);
    drain(en);
    is_int(a->job.usage.cached_tokens, 0, "the first has nothing to reuse");
    submit(en, b);
    drain(en);
    is_int(b->job.usage.cached_tokens, 99, "the same prompt again: all but the last token");
    ok(same(a, b), "and the same reply");
    /* a conversation goes on: prompt, reply, and something new */
    memcpy(c->prompt + 100, a->ids, 50 * sizeof *a->ids);
    for (int i = 150; i < 160; i++)
        c->prompt[i] = i;
    c->job.n_prompt = 160;
    submit(en, c);
    drain(en);
    is_int(c->job.usage.cached_tokens, 149, "a longer conversation reuses the reply as well");
    struct engine *fresh = open_conf((struct engine_conf){0});
    struct reply *d = reply_new(1, 0, 20);
    memcpy(d->prompt, c->prompt, sizeof d->prompt);
    d->job.n_prompt = 160;
    submit(fresh, d);
    drain(fresh);
    ok(same(c, d) && d->job.usage.cached_tokens == 0, "and gives what it gives without the cache");
    engine_close(fresh);
    engine_close(en);
    reply_free(a);
    reply_free(b);
    reply_free(c);
    reply_free(d);
}

/* ---- ends ---- */

static void test_cancel(void)
{
    struct engine *en = open_conf((struct engine_conf){.n_slots = 2, .max_batch = 32});
    struct reply *a = reply_new(10, 1, 400), *b = reply_new(300, 2, 10), *c = reply_new(5, 3, 5);
    a->cancel_after = 7;
    submit(en, a);
    submit(en, b);
    submit(en, c);
    engine_step(en);
    atomic_store(&c->job.cancel, true);
    atomic_store(&b->job.cancel, true);
    engine_step(en);
    ok(b->done == 1 && b->finish == GEN_CANCELLED && b->n == 0, "cancelled within its prompt");
    ok(c->done == 1 && c->finish == GEN_CANCELLED && c->n == 0, "cancelled while it waits");
    while (a->n < 7)
        engine_step(en);
    engine_step(en);
    ok(a->done == 1 && a->n == 7 && a->finish == GEN_CANCELLED, "cancelled within one step");
    ok(!engine_step(en), "nothing is left to do");
    struct engine_stats st;
    engine_stats(en, &st);
    ok(st.jobs_cancelled == 3 && st.kv_blocks_used == 0, "counted, no block held");
    engine_close(en);
    reply_free(a);
    reply_free(b);
    reply_free(c);
}

static void test_stops(void)
{
    struct reply *whole = alone(20, 4, 60);
    struct engine *en = open_conf((struct engine_conf){0});
    str text = buf_view(&whole->text);
    size_t at = 0;
    for (size_t i = 9; i + 8 < text.n && !at; i++) /* across tokens, and seen for the first time */
        if (i % 2 && str_find(text, str_sub(text, i, 4), 0) == i) at = i;
    if (ok(at > 0, "the reply has a stop string to look for")) {
        struct reply *r = reply_new(20, 4, 60);
        str stops[2] = {S("\x01never\x01"), str_sub(text, at, 4)};
        r->job.stops = stops;
        r->job.n_stops = 2;
        submit(en, r);
        drain(en);
        is_str(buf_view(&r->text), str_sub(text, 0, at), "the text ends before the stop string");
        ok(r->finish == GEN_STOP && r->n < whole->n, "and so does the job");
        reply_free(r);
    }
    engine_close(en);
    reply_free(whole);
}

static void test_lengths(void)
{
    struct engine *en = open_conf((struct engine_conf){.n_ctx = 128});
    struct reply *r;
    struct err_info e;
    submit(en, r = reply_new(40, 1, 0));
    drain(en);
    ok(r->done == 1 && r->n == 0 && r->finish == GEN_LENGTH,
       "max_tokens 0 computes the prompt only");
    reply_free(r);
    r = reply_new(100, 1, 0);
    r->job.params.max_tokens = -1;
    submit(en, r);
    drain(en);
    ok(r->n == 28 && r->finish == GEN_LENGTH, "no max_tokens: until the context is full");
    reply_free(r);
    submit(en, r = reply_new(128, 1, 10));
    drain(en);
    ok(r->n == 0 && r->finish == GEN_LENGTH, "a prompt that fills the context leaves no room");
    r->job.n_prompt = 129;
    enum err err = engine_submit(en, &r->job, &e);
    ok(err == ERR_CONTEXT && strstr(e.text, "129") && strstr(e.text, "128"), "one more: %s",
       e.text);
    r->job.n_prompt = 0;
    is_int(engine_submit(en, &r->job, &e), ERR_INVALID, "an empty prompt is refused");
    r->job.n_prompt = 3;
    r->prompt[2] = TINY_VOCAB;
    is_int(engine_submit(en, &r->job, &e), ERR_INVALID, "an id beyond the vocabulary is refused");
    r->prompt[2] = -1;
    is_int(engine_submit(en, &r->job, &e), ERR_INVALID, "a negative id is refused");
    is_int(r->done, 1, "a refused job gets no event");
    reply_free(r);

    static struct gen_job jobs[LIMIT_JOB_QUEUE];
    struct reply *sink = reply_new(2, 1, 1);
    for (int i = 0; i < LIMIT_JOB_QUEUE; i++) {
        jobs[i] = sink->job;
        atomic_store(&jobs[i].cancel, true);
        ASSERT(engine_submit(en, &jobs[i], &e) == ERR_OK);
    }
    is_int(engine_submit(en, &sink->job, &e), ERR_BUSY, "a full queue says so");
    drain(en);
    is_int(sink->done, LIMIT_JOB_QUEUE, "all of it can be cancelled");
    reply_free(sink);
    engine_close(en);
}

static void test_end_token(void)
{
    char path[64];
    ASSERT(tiny_write(&(struct tiny){.always_ends = true}, path));
    struct engine *en = open_path(path, (struct engine_conf){0});
    struct reply *a = reply_new(10, 1, 10), *b = reply_new(10, 1, 10);
    a->job.params.ignore_eos = false;
    submit(en, a);
    submit(en, b);
    drain(en);
    ok(a->finish == GEN_STOP && a->n == 0 && a->text.n == 0, "the end token ends the reply");
    ok(b->finish == GEN_LENGTH && b->n == 10 && b->ids[9] == TINY_EOS && b->text.n == 0,
       "ignore_eos goes past it");
    engine_close(en);
    reply_free(a);
    reply_free(b);
    remove(path);
}

static void test_chain(void)
{
    struct engine *en = open_conf((struct engine_conf){.n_slots = 1});
    struct reply *a = reply_new(10, 1, 5), *b = reply_new(10, 2, 5);
    a->then = b;
    submit(en, a);
    drain(en);
    ok(a->done == 1 && b->done == 1 && b->n == 5, "a job submitted from the last event runs");
    engine_close(en);
    reply_free(a);
    reply_free(b);
}

/* ---- sampling through the engine ---- */

static struct reply *sampled(uint32_t neighbours, int64_t seed)
{
    struct engine *en = open_conf((struct engine_conf){0});
    struct reply *r = reply_new(30, 5, 40), *other[15];
    r->job.params.temperature = 1.5;
    r->job.params.seed = seed;
    for (uint32_t i = 0; i < neighbours; i++) {
        other[i] = reply_new(10 + i, i, 40);
        other[i]->job.params.temperature = 1;
        submit(en, other[i]);
    }
    submit(en, r);
    drain(en);
    engine_close(en);
    for (uint32_t i = 0; i < neighbours; i++)
        reply_free(other[i]);
    return r;
}

static void test_seeds(void)
{
    struct reply *r[6] = {sampled(0, 11), sampled(0, 11), sampled(15, 11),
                          sampled(0, 12), sampled(0, -1), sampled(0, -1)};
    ok(same(r[0], r[1]), "the same seed, the same reply");
    ok(same(r[0], r[2]), "also among 15 neighbours");
    ok(!same(r[0], r[3]), "another seed, another reply");
    ok(!same(r[4], r[5]), "no seed: a fresh one each time");
    for (int i = 0; i < 6; i++)
        reply_free(r[i]);
}

static void test_logprobs(void)
{
    static struct rows rows;
    struct err_info e;
    struct engine *en = open_conf((struct engine_conf){.max_out = 64});
    struct reply *r = reply_new(24, 6, 40);
    r->job.want_logprobs = true;
    r->job.params.top_logprobs = 3;
    r->job.params.temperature = 1;
    r->job.params.seed = 3;
    submit(en, r);
    drain(en);
    int32_t ids[64];
    memcpy(ids, r->prompt, 24 * sizeof *ids);
    memcpy(ids + 24, r->ids, 40 * sizeof *ids);
    bool good = engine_eval(en, ids, 64, keep_row, &rows, &e) == ERR_OK;
    double worst = 0;
    for (uint32_t i = 0; good && i < 40; i++) {
        const float *x = rows.p[24 + i - 1];
        double sum = 0, best = -INFINITY;
        for (int k = 0; k < TINY_VOCAB; k++) {
            sum += exp((double)x[k]);
            best = fmax(best, (double)x[k]);
        }
        double off = fabs((double)x[r->ids[i]] - log(sum) - (double)r->logprobs[i]);
        double off_top = fabs(best - log(sum) - (double)r->top[i][0].logprob);
        worst = fmax(worst, fmax(off, off_top));
    }
    ok(good && worst < 1e-3, "log-probabilities are the log-softmax of the logits, within %.1e",
       worst);
    engine_close(en);
    reply_free(r);
}

/* ---- what a step costs ---- */

static void test_allocations(void)
{
    struct engine *en = open_conf((struct engine_conf){.n_threads = 2});
    struct reply *r[16];
    struct engine_stats st;
    for (uint32_t i = 0; i < 16; i++) {
        r[i] = reply_new(20 + i, i, 400);
        r[i]->job.params.temperature = i % 2 ? 0.8 : 0;
        r[i]->job.params.repeat_penalty = 1.1;
        r[i]->job.want_logprobs = i % 4 == 0;
        r[i]->job.params.top_logprobs = 3;
        submit(en, r[i]);
    }
    while (r[15]->n < 2)
        engine_step(en);
    uint64_t before = malloc_count(), before_mem = mem_count();
    for (int i = 0; i < 100; i++)
        engine_step(en);
    uint64_t after = malloc_count(), after_mem = mem_count();
    engine_stats(en, &st);
    is_int(st.active, 16, "16 jobs decode");
    is_int(after - before, 0, "100 steps of 16 jobs call malloc never");
    is_int(after_mem - before_mem, 0, "nor the program's own heap functions");
    for (uint32_t i = 0; i < 16; i++)
        atomic_store(&r[i]->job.cancel, true);
    drain(en);
    for (uint32_t i = 0; i < 16; i++) {
        const struct gen_usage *u = &r[i]->job.usage;
        if (i == 0)
            ok(u->prompt_tokens == 20 && u->completion_tokens == r[0]->n && u->prefill_ns > 0 &&
                   u->decode_ns > 0,
               "usage and timings are filled in");
        reply_free(r[i]);
    }
    engine_close(en);
}

/* ---- what is refused ---- */

static void refused(const char *path, struct engine_conf conf, enum err want, const char *word,
                    const char *what)
{
    struct engine *en = NULL;
    struct err_info e = {0};
    if (!conf.backend) conf.backend = &cpu_backend;
    enum err err = engine_open(&en, path, &conf, &e);
    ok(err == want && strstr(e.text, word), "%s: %s", what, e.text);
    if (!err) engine_close(en);
}

static void test_refusals(void)
{
    char path[64];
    refused(model_path, (struct engine_conf){.kv_budget = (uint64_t)1 << 48}, ERR_NOMEM, "fits",
            "no memory");
    refused(model_path, (struct engine_conf){.n_slots = LIMIT_SLOTS + 1}, ERR_INVALID, "slots",
            "too many slots");
    refused(model_path, (struct engine_conf){.max_batch = LIMIT_BATCH + 1}, ERR_INVALID, "batch",
            "too large a batch");
    refused(model_path, (struct engine_conf){.ktype = DTYPE_Q4_K}, ERR_UNSUPPORTED, "KV",
            "a KV cache of a type there is no kernel for");
    refused(model_path, (struct engine_conf){.vtype = DTYPE_Q8_0}, ERR_UNSUPPORTED, "heads of 16",
            "a KV cache of blocks that the heads do not fill");
    refused("/nonexistent/model.gguf", (struct engine_conf){0}, ERR_NOTFOUND, "nonexistent",
            "no such file");
    ASSERT(tiny_write(&(struct tiny){.attn_q = DTYPE_I16}, path));
    refused(path, (struct engine_conf){0}, ERR_UNSUPPORTED, "attn_q", "weights without a kernel");
    remove(path);
}

int main(void)
{
    if (!tiny_write(&(struct tiny){0}, model_path)) {
        ok(false, "a temporary model file can be written");
        return tap_end();
    }
    test_backends();
    test_neighbours();
    test_many();
    test_preemption();
    test_prefix();
    test_cancel();
    test_stops();
    test_lengths();
    test_end_token();
    test_chain();
    test_seeds();
    test_logprobs();
    test_allocations();
    test_refusals();
    remove(model_path);
    return tap_end();
}
