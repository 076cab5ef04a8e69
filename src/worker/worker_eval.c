/* worker_eval: logits, perplexity or vectors of a sequence of token ids, computed by this
 * executable, without daemons.
 *
 * The sequence goes through the engine as it would in service: same plan, same cache, same kernels,
 * chunks of the batch size. Logits are written as raw little-endian float32, one row of n_vocab for
 * each token; so are the hidden rows of `--embeddings`, of n_embd, and the one vector of
 * `--pooled`, which is neither shortened nor normalised. Perplexity is exp of the mean negative
 * log-likelihood of each token given those before it in its window; texts longer than the context
 * are cut into windows.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/opt.h"
#include "engine/embed.h"
#include "store/store.h"
#include "worker/worker.h"

struct eval_opts {
    struct worker_conf conf;
    const char *model, *tokens, *logits, *embeddings, *pooled;
    bool json;
};

static const struct opt opts[] = {
    {"tokens", 0, OPT_STR, offsetof(struct eval_opts, tokens), "FILE", NULL, NULL, 0, 0, NULL, NULL,
     "token ids, separated by white space"},
    {"logits", 0, OPT_STR, offsetof(struct eval_opts, logits), "OUT", NULL, NULL, 0, 0, NULL, NULL,
     "write float32 logits here, a row per token; without it the perplexity is printed"},
    {"embeddings", 0, OPT_STR, offsetof(struct eval_opts, embeddings), "OUT", NULL, NULL, 0, 0,
     NULL, NULL, "write float32 hidden rows here, after the last norm, a row per token"},
    {"pooled", 0, OPT_STR, offsetof(struct eval_opts, pooled), "OUT", NULL, NULL, 0, 0, NULL, NULL,
     "write the float32 vector of the text here, or its scores where the model has a classifier"},
    {"json", 0, OPT_BOOL, offsetof(struct eval_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print the result as JSON"},
    WORKER_OPTS(struct eval_opts, conf),
    {0},
};

static const struct opt_pos pos[] = {
    {"MODEL", offsetof(struct eval_opts, model), true, false, "GGUF file"},
    {0},
};

static enum err parse_ids(str text, const char *path, int32_t **out, uint32_t *n,
                          struct err_info *e)
{
    size_t cap = text.n / 2 + 1, count = 0;
    int32_t *ids = mem_array(cap, sizeof *ids);

    if (!ids) return ERR_FAIL(e, NOMEM, "no memory for the ids of %s", path);
    while ((text = str_trim(text)).n) {
        size_t end = 0;
        int64_t id;

        while (end < text.n && !strchr(" \t\r\n\v\f", text.p[end]))
            end++;
        if (!str_int(str_sub(text, 0, end), &id) || id < 0 || id > INT32_MAX) {
            mem_free(ids);
            return ERR_FAIL(e, INVALID, "%s: '%.*s' is not a token id", path,
                            (int)(end < 40 ? end : 40), text.p);
        }
        ids[count++] = (int32_t)id;
        text = str_sub(text, end, text.n);
    }
    if (count == 0) {
        mem_free(ids);
        return ERR_FAIL(e, INVALID, "%s holds no token ids", path);
    }
    *out = ids;
    *n = (uint32_t)count;
    return ERR_OK;
}

struct sink {
    FILE *f;
    const int32_t *ids;
    uint32_t n, width; /* of a row */
    double nll;
    uint32_t scored;
    int write_error;
};

/* log softmax(logits)[id], summed in double: the float sum of 150k terms is not good enough. */
static double log_prob(const float *logits, uint32_t n, int32_t id)
{
    double sum = 0;
    float max = logits[0];

    for (uint32_t i = 1; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - (double)max);
    return (double)logits[id] - (double)max - log(sum);
}

static void on_row(uint32_t i, const float *logits, void *owner)
{
    struct sink *s = owner;

    if (s->f) {
        if (fwrite(logits, sizeof *logits, s->width, s->f) != s->width && !s->write_error)
            s->write_error = errno;
    } else if (i + 1 < s->n) {
        s->nll -= log_prob(logits, s->width, s->ids[i + 1]);
        s->scored++;
    }
}

static enum err pool(struct engine *en, struct sink *s, struct err_info *e)
{
    uint32_t n = engine_vector(en);
    float *vector = mem_array(n, sizeof *vector);
    enum err code;

    if (!vector) return ERR_FAIL(e, NOMEM, "no memory for a vector of %u values", n);
    code = engine_embed(en, s->ids, s->n, engine_pooling(en), vector, e);
    s->width = n;
    /* Rerankers that generate choose between words ("yes", "no"): their labels are shares. */
    if (!code && engine_want(en) == ENGINE_SCORES && engine_meta(en)->causal && n > 1)
        embed_shares(vector, n);
    if (!code) on_row(0, vector, s);
    mem_free(vector);
    return code;
}

/* Writes all rows, or the vector of the text. */
static enum err run_rows(struct engine *en, const char *path, bool pooled, struct sink *s,
                         struct err_info *e)
{
    enum err code;

    if (!(s->f = fopen(path, "wbe"))) return err_errno(e, errno, "write", path);
    code = pooled ? pool(en, s, e) : engine_eval(en, s->ids, s->n, on_row, s, e);
    if (fclose(s->f) && !s->write_error) s->write_error = errno;
    if (!code && s->write_error) code = err_errno(e, s->write_error, "write", path);
    if (code) remove(path);
    return code;
}

static enum err run_perplexity(struct engine *en, struct sink *s, bool json, struct err_info *e)
{
    uint32_t window = engine_n_ctx(en), total = s->n;
    const int32_t *ids = s->ids;
    enum err code;
    double mean;

    if (total < 2) return ERR_FAIL(e, INVALID, "perplexity needs at least two tokens");
    for (uint32_t at = 0; at + 1 < total; at += window) {
        s->ids = ids + at;
        s->n = total - at < window ? total - at : window;
        if ((code = engine_eval(en, s->ids, s->n, on_row, s, e))) return code;
    }
    mean = s->nll / s->scored;
    if (json)
        printf("{\"perplexity\":%.6f,\"nll\":%.8f,\"tokens\":%u}\n", exp(mean), mean, s->scored);
    else
        printf("perplexity %.4f over %u tokens\n", exp(mean), s->scored);
    return ERR_OK;
}

/* One of the outputs asked for, from an engine opened for it; without a path, the perplexity. */
static enum err run_one(struct eval_opts *o, struct engine_conf conf, const char *out,
                        const struct sink *ids, struct err_info *e)
{
    struct engine *en;
    struct sink s = *ids;
    enum err code;

    /* Rows are asked for the whole sequence at once; a perplexity goes window by window. */
    if (out && conf.n_ctx == 0) conf.n_ctx = s.n;
    if (out && conf.max_batch == 0 && s.n > 512)
        conf.max_batch = s.n < LIMIT_BATCH ? s.n : LIMIT_BATCH;
    if ((code = worker_vet(o->model, &o->conf, &conf, false, e)) ||
        (code = engine_open(&en, o->model, &conf, e)))
        return code;
    s.width = engine_width(en);
    code = out ? run_rows(en, out, conf.want == ENGINE_VECTORS, &s, e)
               : run_perplexity(en, &s, o->json, e);
    engine_close(en);
    return code;
}

static enum err run(const struct worker_kind *kind, struct eval_opts *o, struct err_info *e)
{
    const struct {
        const char *path;
        enum engine_want want;
    } outs[] = {
        {o->logits, ENGINE_LOGITS}, {o->embeddings, ENGINE_HIDDEN}, {o->pooled, ENGINE_VECTORS}};
    struct engine_conf conf;
    struct sink s = {0};
    char *text = NULL;
    int32_t *ids = NULL;
    bool any = false;
    size_t n;
    enum err code;

    if (!o->conf.kv_type) o->conf.kv_type = "f32"; /* a measure, not a compromise */
    if ((code = worker_conf_engine(kind, &o->conf, &conf, e))) return code;
    if ((code = map_read_file(o->tokens, LIMIT_TEXT_FILE, &text, &n, e))) return code;
    code = parse_ids((str){text, n}, o->tokens, &ids, &s.n, e);
    mem_free(text);
    if (code) return code;
    s.ids = ids;
    conf.n_slots = 1;
    if (conf.max_out == 0) conf.max_out = 64;
    for (size_t i = 0; i < sizeof outs / sizeof *outs && !code; i++) {
        if (!outs[i].path) continue;
        any = true;
        conf.want = outs[i].want;
        code = run_one(o, conf, outs[i].path, &s, e);
    }
    conf.want = ENGINE_LOGITS;
    if (!any) code = run_one(o, conf, NULL, &s, e);
    mem_free(ids);
    return code;
}

enum err worker_eval(const struct worker_kind *kind, int argc, char **argv, struct err_info *e)
{
    struct eval_opts o = {0};
    const struct opt_spec spec = {
        .opts = opts,
        .pos = pos,
        .command = "rbee eval",
        .summary = "Writes the logits or vectors of a token file, or its perplexity.",
        .examples = "rbee tokenize MODEL --file story.txt > story.ids\n"
                    "rbee eval MODEL --tokens story.ids\n"
                    "rbee eval MODEL --tokens story.ids --logits out.f32\n"
                    "rbee eval MODEL --tokens story.ids --pooled vector.f32"};
    char path[STORE_PATH_MAX];
    bool help;
    enum err code;

    if ((code = opt_parse(&spec, argc, argv, &o, &help, e))) return code;
    if (help) {
        opt_print(&spec, 0);
        return ERR_OK;
    }
    if (!o.tokens) return ERR_FAIL(e, INVALID, "--tokens is missing: which file of token ids?");
    if ((code = worker_resolve(o.model, path, e))) return code;
    o.model = path;
    return run(kind, &o, e);
}
