/* worker_imatrix: which columns of the weights matter, measured on a text.
 *
 * The text goes through the engine in windows, as an evaluation does; before each product the
 * squares of the inputs are added up, column by column and for each matrix of the tensor.
 * Quantising then weighs the error of a weight by the mean square of what it is multiplied with.
 * Experts count the tokens that chose them. The file is llama.cpp's GGUF form: for a tensor NAME
 * the sums "NAME.in_sum2" [columns][matrices] and "NAME.counts" [1][matrices].
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/opt.h"
#include "model/gguf_write.h"
#include "store/store.h"
#include "worker/worker.h"

#define DEFAULT_WINDOW 512

struct imatrix_opts {
    struct worker_conf conf;
    const char *model, *text, *out;
    int64_t tokens;
};

static const struct opt opts[] = {
    {"tokens", 'n', OPT_INT, offsetof(struct imatrix_opts, tokens), "N", "0", NULL, 0, 1e9, NULL,
     NULL, "tokens of the text to use; 0: all"},
    WORKER_OPTS(struct imatrix_opts, conf),
    {0},
};

static const struct opt_pos pos[] = {
    {"MODEL", offsetof(struct imatrix_opts, model), true, false,
     "a model here, a .gguf file or a Hugging Face directory"},
    {"TEXT", offsetof(struct imatrix_opts, text), true, false,
     "a text file of the kind that the model will meet"},
    {"OUT", offsetof(struct imatrix_opts, out), true, false, "the importance matrix to write"},
    {0},
};

/* ---- sums ---- */

struct sums {
    double *sum;  /* [mats][cols] */
    float *count; /* [mats] */
    uint64_t cols, mats;
};

struct watch {
    const struct plan *plan;
    struct sums *of; /* [plan.n_tensors] */
};

static void add_row(struct sums *s, uint64_t mat, const float *x)
{
    double *sum = s->sum + mat * s->cols;

    for (uint64_t i = 0; i < s->cols; i++)
        sum[i] += (double)x[i] * (double)x[i];
    s->count[mat]++;
}

static void see_experts(struct sums *s, const struct plan_step *st, const float *src,
                        const float *ids, uint32_t rows)
{
    uint32_t used = st->u.route.n_used;
    uint64_t step = st->n_src == s->cols ? 0 : s->cols; /* the same input for all, or one each */

    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t k = 0; k < used; k++) {
            float e = ids[(uint64_t)i * used + k];

            if (e >= 0 && e < (float)s->mats)
                add_row(s, (uint64_t)e, src + (uint64_t)i * st->n_src + k * step);
        }
}

static void see(void *owner, const struct plan_step *st, const float *src, const float *src2,
                uint32_t rows)
{
    const struct watch *w = owner;
    const int tensors[] = {st->w, st->w2, st->w3};

    switch (st->op) {
    case OP_EXPERT: see_experts(&w->of[st->w], st, src, src2, rows); return;
    case OP_HEADLIN:
        for (uint32_t i = 0; i < rows; i++)
            for (uint32_t h = 0; h < st->n_head && h < w->of[st->w].mats; h++)
                add_row(&w->of[st->w], h,
                        src + (uint64_t)i * st->n_src + h * st->u.headlin.in_stride);
        return;
    case OP_LINEAR:
    case OP_LINEAR2:
    case OP_LINEAR3:
    case OP_LINEAR_ADD:
    case OP_LINEAR_GLU:
        for (int k = 0; k < 3; k++)
            for (uint32_t i = 0; tensors[k] != PLAN_NO_TENSOR && i < rows; i++)
                add_row(&w->of[tensors[k]], 0, src + (uint64_t)i * st->n_src);
        return;
    default: return;
    }
}

static void free_sums(struct watch *w)
{
    for (uint32_t i = 0; w->of && i < w->plan->n_tensors; i++) {
        mem_free(w->of[i].sum);
        mem_free(w->of[i].count);
    }
    mem_free(w->of);
}

static enum err make_sums(struct watch *w, struct err_info *e)
{
    if (!(w->of = mem_array(w->plan->n_tensors, sizeof *w->of)))
        return ERR_FAIL(e, NOMEM, "no memory for %u tensors", w->plan->n_tensors);
    for (uint32_t i = 0; i < w->plan->n_tensors; i++) {
        const struct plan_tensor *t = &w->plan->tensors[i];
        struct sums *s = &w->of[i];

        s->cols = t->cols;
        s->mats = t->n_parts ? t->n_parts : 1;
        if (t->rows <= 1) continue;
        s->sum = mem_array((size_t)s->mats, (size_t)s->cols * sizeof *s->sum);
        s->count = mem_array((size_t)s->mats, sizeof *s->count);
        if (!s->sum || !s->count)
            return ERR_FAIL(e, NOMEM, "no memory for the sums of '%.*s'", STR(t->name));
    }
    return ERR_OK;
}

/* ---- the file ---- */

/* Has any matrix of it met a row? Parts of one tensor have the same input: the first stands. */
static bool is_written(const struct watch *w, uint32_t i)
{
    bool met = false;

    for (uint64_t k = 0; w->of[i].count && k < w->of[i].mats; k++)
        met = met || w->of[i].count[k] > 0;
    for (uint32_t k = 0; met && k < i; k++)
        met = !str_eq(w->plan->tensors[k].name, w->plan->tensors[i].name) || !w->of[k].count ||
              w->of[k].count[0] == 0;
    return met;
}

static void declare(struct gguf_write *w, const struct watch *m, const char *text)
{
    str source = str_c(text);
    char name[128];

    gguf_write_str(w, "general.type", S("imatrix"));
    gguf_write_strs(w, "imatrix.datasets", &source, 1);
    gguf_write_u32(w, "imatrix.chunk_size", DEFAULT_WINDOW);
    for (uint32_t i = 0; i < m->plan->n_tensors; i++) {
        const struct sums *s = &m->of[i];
        int n = (int)(m->plan->tensors[i].name.n > 100 ? 100 : m->plan->tensors[i].name.n);

        if (!is_written(m, i)) continue;
        snprintf(name, sizeof name, "%.*s.in_sum2", n, m->plan->tensors[i].name.p);
        gguf_write_tensor(w, str_c(name), DTYPE_F32, (uint64_t[]){s->cols, s->mats}, 2);
        snprintf(name, sizeof name, "%.*s.counts", n, m->plan->tensors[i].name.p);
        gguf_write_tensor(w, str_c(name), DTYPE_F32, (uint64_t[]){1, s->mats}, 2);
    }
}

static enum err write_sums(struct gguf_write *w, const struct sums *s, struct err_info *e)
{
    enum err r = gguf_write_align(w, e);

    for (uint64_t i = 0; i < s->mats * s->cols && !r; i++) {
        float f = (float)s->sum[i];

        r = gguf_write_data(w, &f, sizeof f, e);
    }
    if (!r) r = gguf_write_align(w, e);
    return r ? r : gguf_write_data(w, s->count, (size_t)s->mats * sizeof *s->count, e);
}

static enum err write_matrix(const struct watch *m, const struct imatrix_opts *o,
                             struct err_info *e)
{
    struct gguf_write w;
    char temp[STORE_PATH_MAX];
    enum err r;
    int n = snprintf(temp, sizeof temp, "%s.partial-%ld", o->out, (long)getpid());

    if (n < 0 || n >= (int)sizeof temp) return ERR_FAIL(e, INVALID, "the path is too long");
    gguf_write_init(&w);
    declare(&w, m, o->text);
    r = gguf_write_open(&w, temp, e);
    for (uint32_t i = 0; i < m->plan->n_tensors && !r; i++)
        if (is_written(m, i)) r = write_sums(&w, &m->of[i], e);
    if (!r) r = gguf_write_close(&w, e);
    gguf_write_fini(&w);
    if (!r && rename(temp, o->out)) r = ERR_FAIL(e, IO, "cannot rename %s to %s", temp, o->out);
    if (r) (void)unlink(temp);
    return r;
}

/* ---- the run ---- */

static void ignore(uint32_t i, const float *values, void *owner)
{
    (void)i;
    (void)values;
    (void)owner;
}

static enum err run_text(struct engine *en, const int32_t *ids, size_t n, struct err_info *e)
{
    uint32_t window = engine_n_ctx(en);
    bool show = isatty(2);
    enum err r = ERR_OK;

    for (size_t at = 0; at < n && !r; at += window) {
        if (show) fprintf(stderr, "\r%3.0f %%", n ? 100.0 * (double)at / (double)n : 0);
        r = engine_eval(en, ids + at, (uint32_t)(n - at < window ? n - at : window), ignore, NULL,
                        e);
    }
    if (show) fprintf(stderr, "\r     \r");
    return r;
}

static enum err measure(struct engine *en, const struct imatrix_opts *o, str text,
                        struct err_info *e)
{
    struct watch w = {.plan = engine_plan(en)};
    struct arena a;
    int32_t *ids;
    size_t n;
    enum err r;

    arena_init(&a, GIB(4));
    r = tok_encode(engine_tok(en), &a, text, TOK_ADD_SPECIAL, &ids, &n, e);
    if (!r && n == 0) r = ERR_FAIL(e, INVALID, "%s holds no text", o->text);
    if (!r && o->tokens && n > (size_t)o->tokens) n = (size_t)o->tokens;
    if (!r) r = make_sums(&w, e);
    if (!r) r = engine_watch(en, see, &w, e);
    if (!r) r = run_text(en, ids, n, e);
    if (!r) r = write_matrix(&w, o, e);
    if (!r) printf("%s: from %zu tokens\n", o->out, n);
    free_sums(&w);
    arena_fini(&a);
    return r;
}

static enum err run(const struct worker_kind *kind, struct imatrix_opts *o, struct err_info *e)
{
    struct engine_conf conf;
    struct engine *en;
    char *text;
    size_t n;
    enum err r;

    if ((r = worker_conf_engine(kind, &o->conf, &conf, e)) ||
        (r = map_read_file(o->text, LIMIT_TEXT_FILE, &text, &n, e)))
        return r;
    conf.n_slots = 1;
    if (!conf.n_ctx) conf.n_ctx = DEFAULT_WINDOW;
    if (!conf.max_out) conf.max_out = 64;
    r = worker_vet(o->model, &o->conf, &conf, false, e);
    if (!r && !(r = engine_open(&en, o->model, &conf, e))) {
        r = measure(en, o, (str){text, n}, e);
        engine_close(en);
    }
    mem_free(text);
    return r;
}

enum err worker_imatrix(const struct worker_kind *kind, int argc, char **argv, struct err_info *e)
{
    struct imatrix_opts o = {0};
    const struct opt_spec spec = {
        .opts = opts,
        .pos = pos,
        .command = "rbee imatrix",
        .summary = "Measures on a text which columns of a model's weights matter, for `rbee "
                   "quantize --imatrix`.",
        .examples = "rbee imatrix model-F16.gguf letters.txt model.imatrix\n"
                    "rbee quantize model-F16.gguf model-IQ3_S.gguf IQ3_S --imatrix model.imatrix"};
    char path[STORE_PATH_MAX];
    bool help;
    enum err r;

    if ((r = opt_parse(&spec, argc, argv, &o, &help, e))) return r;
    if (help) {
        opt_print(&spec, 0);
        return ERR_OK;
    }
    if ((r = worker_resolve(o.model, path, e))) return r;
    o.model = path;
    return run(kind, &o, e);
}
