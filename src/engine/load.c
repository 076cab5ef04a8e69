/* load: opens a model file for one back end, or says exactly why not.
 *
 * In order: map the file, read what the model is, compile the plan, fuse it for the back end, ask
 * whether every step has a kernel, bind the tensors to their bytes in the mapping, index the
 * vocabulary; that is load_check(). Then check that weights, KV cache and registers fit into memory
 * and open the device. Weights stay in the mapping, unless they are to be quantised on the way.
 *
 * Invariant: after load_open() every step of the plan can run, every weight points at all of its
 * bytes, and the KV cache holds at least one sequence of full length.
 */
#include "engine/load.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/os.h"
#include "model/memory.h"
#include "model/quant.h"
#include "model/source.h"

_Static_assert(MEMORY_BLOCK == KV_BLOCK, "one size of blocks");

/* ---- configuration ---- */

static enum err check_range(const char *what, uint64_t value, uint64_t most, struct err_info *e)
{
    if (value >= 1 && value <= most) return ERR_OK;
    return ERR_FAIL(e, INVALID, "%s is %llu; allowed are 1 to %llu", what,
                    (unsigned long long)value, (unsigned long long)most);
}

static struct memory_conf memory_conf_of(const struct engine_conf *c)
{
    return (struct memory_conf){.n_ctx = c->n_ctx,
                                .n_slots = c->n_slots,
                                .max_batch = c->max_batch,
                                .max_out = c->max_out,
                                .kv_budget = c->kv_budget,
                                .ktype = c->ktype,
                                .vtype = c->vtype,
                                .n_threads = c->n_threads,
                                .all_rows = c->want != ENGINE_LOGITS};
}

static void take_sizes(struct engine_conf *c, const struct memory_conf *m)
{
    c->n_ctx = m->n_ctx;
    c->n_slots = m->n_slots;
    c->max_batch = m->max_batch;
    c->max_out = m->max_out;
    c->kv_budget = m->kv_budget;
}

/* Fills in the defaults, which need the model, and checks what was given. */
static enum err settle_conf(struct load *l, const struct engine_conf *conf, struct err_info *e)
{
    struct engine_conf *c = &l->conf;
    enum err err;
    *c = *conf;
    if (!c->n_threads) c->n_threads = (uint32_t)os_cpu_count();
    struct memory_conf sizes = memory_conf_of(c);
    memory_defaults(&sizes, &l->meta);
    take_sizes(c, &sizes);
    if ((err = check_range("the number of threads", c->n_threads, LIMIT_THREADS, e)) ||
        (err = check_range("the context", c->n_ctx, LIMIT_MODEL_CONTEXT, e)) ||
        (err = check_range("the number of slots", c->n_slots, LIMIT_SLOTS, e)) ||
        (err = check_range("the batch", c->max_batch, LIMIT_BATCH, e)))
        return err;
    if (c->want == ENGINE_AUTO || c->want == ENGINE_VECTORS) {
        enum plan_want want = plan_want_of(&l->meta);
        bool text = want == PLAN_LOGITS && c->want == ENGINE_AUTO;
        c->want = text ? ENGINE_LOGITS : want == PLAN_RANK ? ENGINE_SCORES : ENGINE_HIDDEN;
    }
    return ERR_OK;
}

static struct dev_conf device_conf(const struct load *l, const struct engine_conf *c,
                                   uint32_t n_blocks)
{
    return (struct dev_conf){.n_threads = c->n_threads,
                             .max_batch = c->max_batch,
                             .max_out = c->max_out,
                             .n_blocks = n_blocks,
                             .n_states = l->plan.n_states ? c->n_slots : 0,
                             .ktype = c->ktype,
                             .vtype = c->vtype,
                             .isa = c->isa};
}

/* ---- kernels ---- */

/* Says which weight of the step has no kernel. */
static enum err refuse_step(const struct load *l, const struct plan_step *s, struct err_info *e)
{
    const int w[3] = {s->w, s->w2, s->w3};
    const struct backend *be = l->conf.backend;
    for (int i = 0; i < 3; i++) {
        if (w[i] == PLAN_NO_TENSOR) continue;
        const struct plan_tensor *t = &l->plan.tensors[w[i]];
        if (!be->has(s->op, t->dtype))
            return ERR_FAIL(
                e, UNSUPPORTED,
                "back end %s has no kernel for %s with weights of type %s (tensor %.*s); "
                "choose another quantisation of this model",
                be->name, plan_op_name(s->op), dtype_info(t->dtype)->name, STR(t->name));
    }
    return ERR_FAIL(e, UNSUPPORTED, "back end %s has no kernel for %s, which this model needs",
                    be->name, plan_op_name(s->op));
}

static enum err check_kernels(const struct load *l, struct err_info *e)
{
    const struct backend *be = l->conf.backend;
    const struct plan_step *s = plan_unsupported(&l->plan, be->has);
    if (s) return refuse_step(l, s, e);
    for (uint32_t i = 0; i < l->plan.n_steps; i++)
        if (!be->op[l->plan.steps[i].op]) return refuse_step(l, &l->plan.steps[i], e);
    return ERR_OK;
}

/* A head's row must be a whole number of blocks of the type. */
static enum err check_cache(const struct load *l, const struct plan_cache *c, struct err_info *e)
{
    const enum dtype type[2] = {l->conf.ktype, l->conf.vtype};
    const uint32_t dim[2] = {c->k_dim, c->v_dim};
    for (int i = 0; i < 2; i++) {
        const struct dtype_info *t = dtype_info(type[i]);
        if (dim[i] % t->elems)
            return ERR_FAIL(e, UNSUPPORTED,
                            "a KV cache of type %s keeps heads of a multiple of %u columns, and "
                            "this model has heads of %u; choose f16, bf16 or f32",
                            t->name, t->elems, dim[i]);
    }
    return ERR_OK;
}

static enum err check_kv(const struct load *l, struct err_info *e)
{
    const struct backend *be = l->conf.backend;
    if (!be->has_kv(l->conf.ktype, l->conf.vtype))
        return ERR_FAIL(e, UNSUPPORTED, "back end %s has no KV cache of type %s and %s", be->name,
                        dtype_info(l->conf.ktype)->name, dtype_info(l->conf.vtype)->name);
    for (uint32_t i = 0; i < l->plan.n_caches; i++) {
        enum err err = check_cache(l, &l->plan.caches[i], e);
        if (err) return err;
    }
    return ERR_OK;
}

/* ---- weights ---- */

/* A tied head names the embedding a second time: its bytes are there once. */
static bool named_before(const struct plan *p, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (p->tensors[k].file == p->tensors[i].file) return true;
    }
    return false;
}

/* The model's own tensors come first, then those of the adapters. */
static const struct gguf_tensor *tensor_of(const struct load *l, const struct plan_tensor *t)
{
    if (t->file < l->gguf.n_tensors) return &l->gguf.tensors[t->file];
    return lora_tensor(l->loras, l->n_loras, t->file - l->gguf.n_tensors);
}

/* A piece of a vector begins at a column. */
static enum err bind_columns(const struct plan_tensor *t, const struct gguf_tensor *g,
                             struct dev_weight *w, struct err_info *e)
{
    uint64_t before, bytes;
    if (!dtype_row_bytes(t->dtype, t->first, &before) ||
        !dtype_row_bytes(t->dtype, t->cols, &bytes))
        return ERR_FAIL(e, UNSUPPORTED,
                        "tensor %.*s: values %llu to %llu are wanted, and its type %s has blocks "
                        "of %u",
                        STR(t->name), (unsigned long long)t->first,
                        (unsigned long long)(t->first + t->cols - 1), dtype_info(t->dtype)->name,
                        dtype_info(t->dtype)->elems);
    if (before > g->bytes || bytes > g->bytes - before) return ERR_FORMAT;
    w->data = g->data + before;
    return ERR_OK;
}

/* Rows first.. of each of the matrices, which lie one after the other with all their rows, or apart
 * from each other. */
static enum err bind_rows(struct load *l, const struct plan_tensor *t, const struct gguf_tensor *g,
                          struct dev_weight *w, struct err_info *e)
{
    uint64_t n = t->n_parts ? t->n_parts : 1, rows = t->rows / n, row;
    if (!dtype_row_bytes(t->dtype, t->cols, &row) || row == 0) return ERR_FORMAT;
    uint64_t have = g->bytes / n / row; /* of one matrix */
    if (t->first > have || rows > have - t->first || (g->parts && n != g->dim[2]))
        return ERR_FORMAT;
    w->data = (g->parts ? g->parts[0] : g->data) + t->first * row;
    if (n == 1 || (rows == have && !g->parts)) return ERR_OK;
    const void **parts = ARENA_NEW(&l->arena, const void *, n);
    if (!parts)
        return ERR_FAIL(e, NOMEM, "no memory for a table of %llu matrices", (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++)
        parts[i] = (g->parts ? g->parts[i] : g->data + i * have * row) + t->first * row;
    *w = (struct dev_weight){.parts = parts};
    return ERR_OK;
}

/* ERR_FORMAT without words: the file holds too few bytes. */
static enum err bind_tensor(struct load *l, const struct plan_tensor *t, struct dev_weight *w,
                            struct err_info *e)
{
    const struct gguf_tensor *g = tensor_of(l, t);
    ASSERT(g->dtype == t->dtype);
    if (!g->data && !g->parts) return ERR_FORMAT;
    bool vector = g->dim[1] * g->dim[2] * g->dim[3] == 1;
    return vector ? bind_columns(t, g, w, e) : bind_rows(l, t, g, w, e);
}

static enum err bind(struct load *l, struct err_info *e)
{
    struct dev_weight *w = ARENA_NEW(&l->arena, struct dev_weight, l->plan.n_tensors);
    if (!w) return ERR_FAIL(e, NOMEM, "no memory for the table of %u tensors", l->plan.n_tensors);
    l->weight_bytes = 0;
    for (uint32_t i = 0; i < l->plan.n_tensors; i++) {
        const struct plan_tensor *t = &l->plan.tensors[i];
        enum err err = bind_tensor(l, t, &w[i], e);
        if (err == ERR_FORMAT)
            return ERR_FAIL(e, FORMAT, "tensor %.*s: the file holds too few bytes for it",
                            STR(t->name));
        if (err) return err;
        if (!named_before(&l->plan, i)) l->weight_bytes += tensor_of(l, t)->bytes;
    }
    l->weights = w;
    return ERR_OK;
}

/* ---- memory ---- */

struct need {
    uint64_t total, kv, compute;
    uint32_t n_blocks;
};

static struct need needs(const struct load *l, const struct engine_conf *c, load_extra_fn *extra)
{
    struct memory_conf sizes = memory_conf_of(c);
    struct need n = {.n_blocks = memory_blocks(&l->plan, &sizes)};
    struct dev_conf d = device_conf(l, c, n.n_blocks);
    uint64_t dev = c->backend->bytes(&l->plan, &d);
    n.kv = memory_kv(&l->plan, &sizes, n.n_blocks);
    n.compute = (dev > n.kv ? dev - n.kv : 0) + extra(c, n.n_blocks, l->plan.width[l->plan.out]);
    /* Copies are in memory already and no longer among what is available. */
    uint64_t mapped =
        l->weight_bytes > l->gguf.copied_bytes ? l->weight_bytes - l->gguf.copied_bytes : 0;
    n.total = mapped + n.kv + n.compute;
    return n;
}

/* The largest smaller configuration that fits: fewer slots first, then a shorter context. */
static bool smaller(const struct load *l, load_extra_fn *extra, uint64_t avail,
                    struct engine_conf *c)
{
    c->kv_budget = MEMORY_KV_ALL;
    for (;;) {
        if (needs(l, c, extra).total <= avail) return true;
        if (!memory_smaller(&c->n_ctx, &c->n_slots)) return false;
        if (c->want == ENGINE_LOGITS && !l->plan.whole) c->max_out = c->n_slots;
    }
}

static enum err check_memory(struct load *l, load_extra_fn *extra, struct err_info *e)
{
    struct need n = needs(l, &l->conf, extra);
    uint64_t avail = os_mem_available();
    struct engine_conf c = l->conf;
    char hint[160] = "no smaller context fits either";
    l->n_blocks = n.n_blocks;
    l->kv_bytes = n.kv;
    l->compute_bytes = n.compute;
    if (n.total <= avail) return ERR_OK;
    if (smaller(l, extra, avail, &c))
        snprintf(hint, sizeof hint, "a context of %u with %u slot%s fits", c.n_ctx, c.n_slots,
                 c.n_slots == 1 ? "" : "s");
    return ERR_FAIL(
        e, NOMEM,
        "the model needs %llu bytes (weights %llu, KV cache %llu, compute %llu) and %llu "
        "are available: %llu short; %s",
        (unsigned long long)n.total, (unsigned long long)l->weight_bytes, (unsigned long long)n.kv,
        (unsigned long long)n.compute, (unsigned long long)avail,
        (unsigned long long)(n.total - avail), hint);
}

/* ---- the whole ---- */

static enum err open_loras(struct load *l, const struct engine_conf *conf, struct err_info *e)
{
    if (conf->n_loras == 0) return ERR_OK;
    l->loras = ARENA_NEW(&l->arena, struct lora, conf->n_loras);
    if (!l->loras) return ERR_FAIL(e, NOMEM, "no memory for %u adapters", conf->n_loras);
    for (uint32_t i = 0; i < conf->n_loras; i++) {
        const struct engine_lora *lora = &conf->loras[i];
        enum err err = lora_open(&l->loras[i], lora->path, lora->scale, &l->meta, e);
        if (err) return err;
        l->n_loras++;
    }
    return lora_apply(&l->plan, &l->arena, l->loras, l->n_loras, (uint32_t)l->gguf.n_tensors, e);
}

/* All that the file has a say in. */
static enum err read_parts(struct load *l, const struct engine_conf *conf, struct err_info *e)
{
    static const enum plan_want wants[] = {
        [ENGINE_LOGITS] = PLAN_LOGITS, [ENGINE_HIDDEN] = PLAN_HIDDEN, [ENGINE_SCORES] = PLAN_RANK};
    struct plan_source source = gguf_source(&l->gguf);
    struct plan_conf pc = {0};
    enum err err;
    if ((err = meta_from_gguf(&l->meta, &l->arena, &l->gguf, e)) || (err = settle_conf(l, conf, e)))
        return err;
    pc = (struct plan_conf){.want = wants[l->conf.want], .n_ctx = l->conf.n_ctx};
    if ((err = plan_build(&l->plan, &l->arena, &l->meta, &source, &pc, e)) ||
        (err = open_loras(l, conf, e)) ||
        (err = plan_fuse(&l->plan, &l->arena, conf->backend->has, e)))
        return err;
    struct memory_conf sizes = memory_conf_of(&l->conf);
    memory_settle(&sizes, &l->plan, conf->max_batch != 0);
    take_sizes(&l->conf, &sizes);
    if ((err = check_kernels(l, e)) || (err = check_kv(l, e)) || (err = bind(l, e))) return err;
    if ((err = tok_open(&l->tok, &l->gguf, e))) {
        l->tok = NULL;
        return err;
    }
    if (tok_count(l->tok) > l->meta.n_vocab)
        return ERR_FAIL(e, FORMAT, "the vocabulary has %u tokens, the embedding only %u rows",
                        tok_count(l->tok), l->meta.n_vocab);
    return ERR_OK;
}

static enum err open_device(struct load *l, load_extra_fn *extra, struct err_info *e)
{
    enum err err = check_memory(l, extra, e);
    if (err) return err;
    struct dev_conf d = device_conf(l, &l->conf, l->n_blocks);
    if ((err = l->conf.backend->open(&l->dev, &l->plan, l->weights, &d, e))) l->dev = NULL;
    return err;
}

static enum err open_model(struct load *l, const char *path, const struct engine_conf *conf,
                           struct err_info *e)
{
    struct quant_mix mix;
    if (!conf->quantize) return source_open(&l->gguf, path, e);
    if (!quant_mix_from(str_c(conf->quantize), &mix))
        return ERR_FAIL(e, INVALID,
                        "'%s' is no type that weights can be quantised to; see "
                        "`rbee quantize --help`",
                        conf->quantize);
    return source_open_as(&l->gguf, path, &mix,
                          conf->n_threads ? conf->n_threads : (uint32_t)os_cpu_count(), e);
}

enum err load_check(struct load *l, const char *path, const struct engine_conf *conf,
                    struct err_info *e)
{
    *l = (struct load){0};
    enum err err = open_model(l, path, conf, e);
    if (err) return err;
    arena_init(&l->arena, LIMIT_GGUF_ARENA);
    err = read_parts(l, conf, e);
    if (err) load_close(l);
    return err;
}

enum err load_open(struct load *l, const char *path, const struct engine_conf *conf,
                   load_extra_fn *extra, struct err_info *e)
{
    enum err err = load_check(l, path, conf, e);
    if (!err && (err = open_device(l, extra, e))) load_close(l);
    return err;
}

void load_close(struct load *l)
{
    if (l->tok) tok_close(l->tok);
    if (l->dev) l->conf.backend->close(l->dev);
    for (uint32_t i = 0; i < l->n_loras; i++)
        lora_close(&l->loras[i]);
    arena_fini(&l->arena);
    gguf_close(&l->gguf);
    *l = (struct load){0};
}
