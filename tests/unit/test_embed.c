/* test_embed: vectors of texts from the tiny encoders of tests/golden/families.
 *
 * What an engine gives is held against the answers that lie beside the models (tests/golden/
 * families/README.md says where they come from and how exact they are), pooled vectors against sums
 * over the rows, and texts among others against texts alone.
 */
#include "engine/embed.h"

#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "model/gguf.h"
#include "tap.h"

#define FAMILIES  RBEE_SOURCE_DIR "/tests/golden/families/"
#define MAX_IDS   64
#define MAX_WIDTH 64

static struct engine *open_family(const char *name, struct engine_conf conf)
{
    char path[1024];
    struct engine *en = NULL;
    struct err_info e;
    snprintf(path, sizeof path, FAMILIES "%s/model.gguf", name);
    if (!conf.backend) conf.backend = &ref_backend;
    conf.n_threads = 1;
    if (engine_open(&en, path, &conf, &e) != ERR_OK) printf("# %s: %s\n", name, e.text);
    return en;
}

static uint32_t ids_of(const char *name, int32_t *ids)
{
    char path[1024], *p = NULL;
    struct err_info e;
    uint32_t n = 0;
    size_t bytes;
    snprintf(path, sizeof path, FAMILIES "%s/tokens.txt", name);
    if (map_read_file(path, 1 << 16, &p, &bytes, &e) != ERR_OK) return 0;
    for (char *at = p, *end; n < MAX_IDS; at = end) {
        long v = strtol(at, &end, 10);
        if (end == at) break;
        ids[n++] = (int32_t)v;
    }
    mem_free(p);
    return n;
}

/* NMSE of n values against a file; 1e30 when it holds another number of them. */
static double distance(const char *name, const char *file, const float *got, size_t n)
{
    char path[1024], *p = NULL;
    struct err_info e;
    size_t bytes;
    double err = 0, power = 0;
    snprintf(path, sizeof path, FAMILIES "%s/%s", name, file);
    if (map_read_file(path, 1 << 20, &p, &bytes, &e) != ERR_OK || bytes != n * sizeof(float)) {
        mem_free(p);
        return 1e30;
    }
    const float *want = (const float *)(const void *)p;
    for (size_t i = 0; i < n; i++) {
        err += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        power += (double)want[i] * (double)want[i];
    }
    mem_free(p);
    return err / power;
}

struct rows {
    float p[MAX_IDS][MAX_WIDTH];
    uint32_t n, width;
};

static void keep(uint32_t i, const float *row, void *owner)
{
    struct rows *r = owner;
    memcpy(r->p[i], row, r->width * sizeof *row);
    r->n = i + 1;
}

/* ---- against the answers that lie beside the models ---- */

static void test_answers(const struct backend *be, const char *name)
{
    int32_t ids[MAX_IDS];
    uint32_t n = ids_of(name, ids);
    struct engine *en = open_family(name, (struct engine_conf){.backend = be});
    struct err_info e = {0};
    float v[MAX_WIDTH];
    if (!en) {
        ok(false, "%s opens on %s", name, be->name);
        return;
    }
    bool good = engine_embed(en, ids, n, engine_pooling(en), v, &e) == ERR_OK;
    double off = distance(name, "exact-pooled.f32", v, engine_vector(en));
    ok(good && off <= 1e-10, "%s on %s: its %s, NMSE %.1e %s", name, be->name,
       engine_want(en) == ENGINE_SCORES ? "score" : "vector", off, e.text);
    engine_close(en);
}

/* ---- pooling ---- */

static void test_pooling(void)
{
    static struct rows r;
    int32_t ids[MAX_IDS];
    uint32_t n = ids_of("modern-bert", ids);
    float none[MAX_IDS * MAX_WIDTH], v[MAX_WIDTH], want[MAX_WIDTH];
    struct err_info e;
    struct engine *en = open_family("modern-bert", (struct engine_conf){0});
    if (!ok(en && n > 3, "an encoder opens")) return;
    r.width = engine_width(en);
    ok(engine_eval(en, ids, n, keep, &r, &e) == ERR_OK && r.n == n, "a row for each token");
    ok(engine_embed(en, ids, n, POOLING_NONE, none, &e) == ERR_OK, "no pooling");
    bool same = true;
    for (uint32_t i = 0; i < n; i++)
        same = same && memcmp(none + i * r.width, r.p[i], r.width * sizeof(float)) == 0;
    ok(same, "gives the same rows");
    ok(engine_embed(en, ids, n, POOLING_CLS, v, &e) == ERR_OK &&
           memcmp(v, r.p[0], r.width * sizeof *v) == 0,
       "cls is the first row");
    ok(engine_embed(en, ids, n, POOLING_LAST, v, &e) == ERR_OK &&
           memcmp(v, r.p[n - 1], r.width * sizeof *v) == 0,
       "last is the last row");
    for (uint32_t c = 0; c < r.width; c++) {
        double sum = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += (double)r.p[i][c];
        want[c] = (float)(sum / n);
    }
    ok(engine_embed(en, ids, n, POOLING_MEAN, v, &e) == ERR_OK &&
           memcmp(v, want, r.width * sizeof *v) == 0,
       "mean is the mean of all");
    embed_normalise(v, r.width);
    double length = 0;
    for (uint32_t c = 0; c < r.width; c++)
        length += (double)v[c] * (double)v[c];
    ok(fabs(length - 1) < 1e-6 && fabs((double)(v[0] / v[1] - want[0] / want[1])) < 1e-4,
       "normalised: of length 1, in the same direction");
    memset(v, 0, sizeof v);
    embed_normalise(v, r.width);
    ok(v[0] == 0, "a vector of zeros stays one");
    enum err err = engine_embed(en, ids, n, POOLING_RANK, v, &e);
    ok(err == ERR_INVALID && strstr(e.text, "vectors"), "no scores: %s", e.text);
    engine_close(en);
}

/* y = w x of a float32 tensor. */
static void multiply(const struct engine *en, const char *name, const double *x, double *y)
{
    const struct gguf_tensor *t = gguf_tensor(engine_gguf(en), str_c(name));
    const float *w = (const float *)(const void *)t->data;
    for (uint64_t r = 0; r < t->dim[1]; r++) {
        y[r] = 0;
        for (uint64_t c = 0; c < t->dim[0]; c++)
            y[r] += (double)w[r * t->dim[0] + c] * x[c];
    }
}

/* The layers after the pooling, as Sentence Transformers' Dense modules. */
static void test_dense(void)
{
    static struct rows r;
    int32_t ids[MAX_IDS];
    const char *name = "gemma-embedding-dense";
    uint32_t n = ids_of(name, ids);
    double mean[MAX_WIDTH] = {0}, middle[MAX_WIDTH], want[MAX_WIDTH], worst = 0;
    float v[MAX_WIDTH];
    struct err_info e;
    struct engine *en = open_family(name, (struct engine_conf){0});
    if (!ok(en && engine_vector(en) == 32, "an encoder with dense layers opens")) return;
    r.width = engine_width(en);
    ok(engine_eval(en, ids, n, keep, &r, &e) == ERR_OK &&
           engine_embed(en, ids, n, POOLING_MEAN, v, &e) == ERR_OK,
       "and runs");
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < r.width; c++)
            mean[c] += (double)r.p[i][c] / n;
    multiply(en, "dense_2.weight", mean, middle);
    multiply(en, "dense_3.weight", middle, want);
    for (uint32_t c = 0; c < 32; c++)
        worst = fmax(worst, fabs((double)v[c] - want[c]));
    ok(worst < 1e-6, "its vector is their result, off by %.1e", worst);
    engine_close(en);
}

static void test_scores(void)
{
    const float one[] = {0.8472978604f}, two[] = {0, 1.0986122887f}; /* ln (7 / 3), ln 3 */
    ok(fabs(embed_score(one, 1) - 0.7) < 1e-7, "one label: the logistic function");
    ok(fabs(embed_score(two, 2) - 0.25) < 1e-7, "several: the share of the first");
    ok(embed_score((float[]){-1000}, 1) == 0 && embed_score((float[]){1000}, 1) == 1 &&
           embed_score((float[]){-1000, 1000}, 2) == 0,
       "far out it is 0 or 1");
}

/* ---- many at once ---- */

struct text {
    struct gen_job job;
    int32_t ids[MAX_IDS];
    float v[MAX_WIDTH], alone[MAX_WIDTH];
    int done;
    enum gen_finish finish;
};

static void on_event(struct gen_job *job, const struct gen_event *ev)
{
    struct text *t = job->owner;
    if (ev->type != GEN_DONE) return;
    t->done++;
    t->finish = ev->finish;
}

static bool near(const float *a, const float *b, uint32_t n)
{
    float worst = 0;
    for (uint32_t c = 0; c < n; c++)
        worst = fmaxf(worst, fabsf(a[c] - b[c]));
    return worst < 1e-5f;
}

/* Texts of all lengths, in fewer slots than there are texts, in small batches. */
static void test_many(const struct backend *be, const char *name, enum meta_pooling pooling)
{
    enum { N = 40 };
    static struct text t[N];
    struct engine_conf conf = {.backend = be, .n_slots = 5, .max_batch = 64, .n_ctx = 64};
    struct engine *en = open_family(name, conf);
    struct err_info e;
    uint32_t good = 0, tokens = 0, width;
    struct engine_stats st;
    bool exact = be == &ref_backend; /* others up to the rounding of sums */
    if (!ok(en != NULL, "%s opens on %s", name, be->name)) return;
    for (uint32_t i = 0; i < N; i++) {
        uint32_t n = 1 + i * 29 % 60;
        memset(&t[i], 0, sizeof t[i]);
        for (uint32_t k = 0; k < n; k++)
            t[i].ids[k] = (int32_t)((i / 2 + k * k) % 60); /* twins, so that beginnings are equal */
        t[i].job = (struct gen_job){.prompt = t[i].ids,
                                    .n_prompt = n,
                                    .vector = t[i].v,
                                    .pooling = pooling,
                                    .on_event = on_event,
                                    .owner = &t[i]};
        tokens += n;
        ASSERT(engine_embed(en, t[i].ids, n, pooling, t[i].alone, &e) == ERR_OK);
    }
    for (uint32_t i = 0; i < N; i++)
        ASSERT(engine_submit(en, &t[i].job, &e) == ERR_OK);
    while (engine_step(en))
        ;
    width = engine_vector(en);
    for (uint32_t i = 0; i < N; i++) {
        bool same = memcmp(t[i].v, t[i].alone, width * sizeof(float)) == 0;
        if (!exact) same = near(t[i].v, t[i].alone, width);
        good += t[i].done == 1 && t[i].finish == GEN_STOP &&
                t[i].job.usage.prompt_tokens == t[i].job.n_prompt && same;
    }
    engine_stats(en, &st);
    ok(good == N && st.kv_blocks_used == 0 && st.prompt_tokens == 2 * tokens,
       "%s on %s, %s: %u of %d texts get the vector that they get alone", name, be->name,
       meta_pooling_name(pooling), good, N);
    engine_close(en);
}

/* ---- limits ---- */

static void test_limits(void)
{
    int32_t ids[2 * MAX_IDS] = {0};
    float v[MAX_WIDTH];
    struct err_info e;
    struct text t = {.job = {.prompt = ids, .n_prompt = 4, .on_event = on_event, .owner = &t}};
    struct engine *en = open_family("modern-bert", (struct engine_conf){.max_batch = 32});
    if (!ok(en && engine_n_prompt(en) == 32, "a text goes into one batch")) return;
    enum err err = engine_embed(en, ids, 33, POOLING_MEAN, v, &e);
    ok(err == ERR_CONTEXT && strstr(e.text, "33") && strstr(e.text, "32"), "33 of 32: %s", e.text);
    ok(engine_embed(en, ids, 32, POOLING_MEAN, v, &e) == ERR_OK, "32 fit");
    ok(engine_submit(en, &t.job, &e) == ERR_INVALID, "no reply: %s", e.text);
    engine_close(en);
    en = open_family("bert-rank", (struct engine_conf){.n_ctx = 4096});
    if (!ok(en && engine_n_ctx(en) == 64, "learned positions are the limit whatever is asked for"))
        return;
    err = engine_embed(en, ids, 65, POOLING_RANK, v, &e);
    ok(err == ERR_CONTEXT && strstr(e.text, "64"), "one more: %s", e.text);
    engine_close(en);
    en = open_family("llama-gqa8", (struct engine_conf){0});
    if (!ok(en && engine_want(en) == ENGINE_LOGITS && engine_vector(en) == 0, "a text model"))
        return;
    ok(engine_embed(en, ids, 3, POOLING_MEAN, v, &e) == ERR_INVALID, "no vector: %s", e.text);
    engine_close(en);
    en = open_family("llama-gqa8", (struct engine_conf){.want = ENGINE_HIDDEN});
    ok(en && engine_embed(en, ids, 3, engine_pooling(en), v, &e) == ERR_OK &&
           engine_pooling(en) == POOLING_LAST,
       "unless it is opened for that");
    engine_close(en);
}

int main(void)
{
    static const char *const names[] = {"bert-rank",    "gemma-embedding", "gemma-embedding-dense",
                                        "jina-bert-v2", "modern-bert",     "nomic-bert-moe"};
    static const struct backend *const backends[] = {&ref_backend, &cpu_backend};
    for (int b = 0; b < 2; b++) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            test_answers(backends[b], names[i]);
        test_many(backends[b], "modern-bert", POOLING_MEAN);
        test_many(backends[b], "jina-bert-v2", POOLING_CLS);
        test_many(backends[b], "bert-rank", POOLING_RANK);
    }
    test_pooling();
    test_dense();
    test_scores();
    test_limits();
    return tap_end();
}
