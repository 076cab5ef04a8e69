/* verdict: the verdict on a header. See verdict.h for what a verdict means.
 *
 * A header is judged as the loader would load it: meta, plan, fusion, kernels, KV cache, tokenizer,
 * memory, in that order, and the first no is the reason.
 * How fast it then is, model/speed says.
 */
#include "model/verdict.h"

#include "model/family.h"
#include "model/speed.h"
#include "model/verdict_int.h"

/* ---- what a model is judged with ---- */

struct judge {
    struct verdict *v;
    struct arena *a;
    const struct caps *c;
    const struct verdict_device *d;
    const struct verdict_ask *ask;
    const struct verdict_basis *basis;
    struct meta m;
    struct plan p;
};

/* ---- kernels ---- */

/* plan_fuse() asks a function without an owner. */
static _Thread_local const struct caps *fusing;

static bool fusing_has(enum op op, enum dtype w)
{
    return caps_has(fusing, op, w);
}

static bool step_runs(struct judge *j, const struct plan_step *s)
{
    const int w[3] = {s->w, s->w2, s->w3};
    for (int i = 0; i < 3; i++) {
        if (w[i] == PLAN_NO_TENSOR) continue;
        const struct plan_tensor *t = &j->p.tensors[w[i]];
        if (caps_has(j->c, s->op, t->dtype)) continue;
        REFUSE_FOR(j->v, j->a, JUDGE_DTYPE,
                   "%.*s has no kernel for %s with weights of type %s (tensor %.*s)",
                   NAME(j->c->id), plan_op_name(s->op), dtype_info(t->dtype)->name, NAME(t->name));
        ADVISE(j->v, j->a, "choose another quantisation of this model");
        return false;
    }
    if (j->c->op[s->op]) return true;
    REFUSE_FOR(j->v, j->a, JUDGE_OP, "%.*s has no kernel for %s, which this model needs",
               NAME(j->c->id), plan_op_name(s->op));
    return false;
}

static bool kernels(struct judge *j)
{
    for (uint32_t i = 0; i < j->p.n_steps; i++)
        if (!step_runs(j, &j->p.steps[i])) return false;
    return true;
}

/* A head's row must be a whole number of blocks of the type. */
static bool cache_type(struct judge *j, enum dtype t, const char *of)
{
    if (!j->c->kv[t]) {
        REFUSE_FOR(j->v, j->a, JUDGE_KV_TYPE, "%.*s has no KV cache of type %s", NAME(j->c->id),
                   dtype_info(t)->name);
        return false;
    }
    for (uint32_t i = 0; i < j->p.n_caches; i++) {
        uint32_t dim = of[0] == 'k' ? j->p.caches[i].k_dim : j->p.caches[i].v_dim;
        if (dim % dtype_info(t)->elems == 0) continue;
        REFUSE_FOR(
            j->v, j->a, JUDGE_KV_TYPE,
            "a KV cache of type %s keeps heads of a multiple of %u columns, and this model has "
            "heads of %u",
            dtype_info(t)->name, dtype_info(t)->elems, dim);
        ADVISE(j->v, j->a, "choose a KV cache of type f16");
        return false;
    }
    return true;
}

static bool tokenizer(struct judge *j)
{
    for (size_t i = 0; i < j->c->n_tokenizers; i++)
        if (str_eq(j->c->tokenizers[i], j->m.tokenizer_model)) return true;
    /* Not said; or in files of its own beside SafeTensors. */
    if (!j->c->n_tokenizers || j->v->format == FILENAME_SAFETENSORS) return true;
    if (!j->m.tokenizer_model.n)
        REFUSE_FOR(j->v, j->a, JUDGE_TOKENIZER, "the file has no tokenizer");
    else
        REFUSE_FOR(j->v, j->a, JUDGE_TOKENIZER, "%.*s does not know the tokenizer '%.*s'",
                   NAME(j->c->id), NAME(j->m.tokenizer_model));
    return false;
}

/* ---- confidence ---- */

static void prove(struct judge *j)
{
    if (j->basis->config) {
        j->v->confidence = VERDICT_LOW;
        j->v->evidence = S("config.json");
        return;
    }
    const struct caps_family *f = caps_family(j->c, j->m.family);
    str family = j->v->format == FILENAME_SAFETENSORS ? f->safetensors : f->gguf;
    str type = j->c->proof[j->m.main_dtype];
    const char *main_type = dtype_info(j->m.main_dtype)->name;
    /* Golden models of a family are F32. */
    bool plain = j->m.main_dtype == DTYPE_F32;
    j->v->confidence = family.n && (type.n || plain) ? VERDICT_HIGH : VERDICT_MEDIUM;
    if (j->v->confidence == VERDICT_HIGH)
        j->v->evidence = plain
                             ? arena_printf(j->a, "header; golden model %.*s", NAME(family))
                             : arena_printf(j->a, "header; golden models %.*s (%s), %.*s (%s)",
                                            NAME(family), j->m.family->name, NAME(type), main_type);
    else
        j->v->evidence = arena_printf(j->a, "header; all kernels exist, no golden model of %s %s",
                                      family.n ? "weights of" : j->m.family->name,
                                      family.n ? main_type : filename_format_name(j->v->format));
}

/* ---- memory and speed ---- */

static uint64_t tensor_bytes(const void *owner, uint32_t file)
{
    const struct gguf *g = owner;
    return g->tensors[file].bytes;
}

static void speed(struct judge *j)
{
    const struct speed_device d = {j->d->rates, j->d->bandwidth, j->d->compute};
    const struct speed_ask ask = {j->v->n_ctx, j->ask->ktype, j->ask->vtype};
    struct speed s = speed_of_plan(&j->p, &ask, &d);
    j->v->decode = s.decode;
    j->v->prefill = s.prefill;
}

static void weigh(struct judge *j, const struct gguf *g)
{
    struct verdict *v = j->v;
    struct memory_conf c = {.n_ctx = j->ask->n_ctx,
                            .n_slots = j->ask->n_slots,
                            .n_threads = j->d->threads ? j->d->threads : 1,
                            .ktype = j->ask->ktype,
                            .vtype = j->ask->vtype};
    memory_shape_of(&v->shape, &j->p);
    uint64_t bytes = j->basis->bytes;
    if (j->basis->config) v->shape.source = MEMORY_CONFIG;
    memory_fill_of(&c, &v->shape);
    v->memory =
        memory_need_of(&v->shape, &c, bytes ? bytes : memory_weights(&j->p, tensor_bytes, g));
    v->memory_known = v->cache_known = true;
    v->n_ctx = c.n_ctx;
    v->n_slots = c.n_slots;
    if (j->ask->n_ctx > j->m.n_ctx_train)
        WARN(v, j->a, "the model was trained for %u positions and %u are asked for",
             j->m.n_ctx_train, j->ask->n_ctx);
    if (!j->d->memory || v->memory.total <= j->d->memory) return;
    verdict_short(v, j->a, j->d);
    if (!verdict_shrink(v, j->a, &c, j->c, j->d))
        ADVISE(v, j->a, "choose a smaller quantisation, or a machine with more memory");
}

/* ---- a header ---- */

static bool limits(struct judge *j)
{
    if (j->ask->n_ctx > j->c->max_ctx)
        REFUSE_FOR(j->v, j->a, JUDGE_CONTEXT, "%.*s runs contexts of at most %u", NAME(j->c->id),
                   j->c->max_ctx);
    else if (j->ask->n_slots > j->c->max_slots)
        REFUSE_FOR(j->v, j->a, JUDGE_SLOTS, "%.*s runs at most %u slots", NAME(j->c->id),
                   j->c->max_slots);
    else
        return true;
    return false;
}

static bool compiles(struct judge *j, const struct gguf *g)
{
    struct plan_source src = gguf_source(g);
    struct err_info e = {0};
    enum err err = meta_from_gguf(&j->m, j->a, g, &e);
    if (!err) {
        struct plan_conf pc = {.want = plan_want_of(&j->m), .n_ctx = j->ask->n_ctx};
        j->v->arch = j->m.arch;
        j->v->quant = j->m.file_type;
        if (!pc.n_ctx) {
            struct memory_conf c = {0};
            memory_defaults(&c, &j->m);
            pc.n_ctx = c.n_ctx;
        }
        err = plan_build(&j->p, j->a, &j->m, &src, &pc, &e);
    }
    if (!err) {
        fusing = j->c;
        err = plan_fuse(&j->p, j->a, fusing_has, &e);
        fusing = NULL;
    }
    if (err)
        REFUSE_FOR(j->v, j->a, err == ERR_UNSUPPORTED && !j->m.family ? JUDGE_FAMILY : JUDGE_HEADER,
                   "%s", e.text);
    return !err;
}

static bool known_family(struct judge *j)
{
    if (caps_family(j->c, j->m.family)) return true;
    REFUSE_FOR(j->v, j->a, JUDGE_FAMILY, "%.*s does not run models of the family %s",
               NAME(j->c->id), j->m.family->name);
    return false;
}

void verdict_of(struct verdict *v, struct arena *a, const struct gguf *g,
                const struct verdict_basis *basis, const struct caps *c,
                const struct verdict_device *d, const struct verdict_ask *ask)
{
    struct judge j = {.v = v, .a = a, .c = c, .d = d, .ask = ask, .basis = basis};
    *v = (struct verdict){.fits = true,
                          .fit_kv = DTYPE_COUNT,
                          .format = g->dir ? FILENAME_SAFETENSORS : FILENAME_GGUF,
                          .n_ctx = ask->n_ctx,
                          .n_slots = ask->n_slots};
    if (!(c->formats & 1u << v->format)) {
        REFUSE_FOR(v, a, JUDGE_FORMAT, "%.*s does not read %s", NAME(c->id),
                   filename_format_name(v->format));
        v->fits = false;
        return;
    }
    v->compatible = limits(&j) && compiles(&j, g) && known_family(&j) && kernels(&j) &&
                    cache_type(&j, ask->ktype, "k") && cache_type(&j, ask->vtype, "v") &&
                    tokenizer(&j);
    if (!v->compatible) {
        v->fits = false;
        return;
    }
    prove(&j);
    weigh(&j, g);
    speed(&j);
    if (plan_want_of(&j.m) == PLAN_LOGITS && !j.m.chat_template.n)
        WARN(v, a, "the file has no chat template: it completes text, it does not chat");
}

void verdict_header(struct verdict *v, struct arena *a, const struct gguf *g, const struct caps *c,
                    const struct verdict_device *d, const struct verdict_ask *ask)
{
    verdict_of(v, a, g, &(struct verdict_basis){0}, c, d, ask);
}

/* ---- out ---- */

const char *verdict_confidence_name(enum verdict_confidence c)
{
    static const char *const names[] = {"none", "low", "medium", "high"};
    return names[c];
}

void verdict_write(const struct verdict *v, struct jsonw *w)
{
    jsonw_obj(w);
    jsonw_kbool(w, "compatible", v->compatible);
    jsonw_kbool(w, "fits", v->fits);
    jsonw_kc(w, "confidence", verdict_confidence_name(v->confidence));
    jsonw_kstr(w, "evidence", v->evidence);
    jsonw_kc(w, "why", judge_why_name(v->why));
    jsonw_kstrs(w, "reasons", v->reasons.line, v->reasons.n);
    jsonw_kstrs(w, "warnings", v->warnings.line, v->warnings.n);
    jsonw_kstrs(w, "recommendations", v->recommendations.line, v->recommendations.n);
    jsonw_kstr(w, "architecture", v->arch);
    jsonw_kc(w, "format", filename_format_name(v->format));
    jsonw_kstr(w, "quantization", v->quant);
    jsonw_kint(w, "context", v->n_ctx);
    jsonw_kint(w, "slots", v->n_slots);
    jsonw_key(w, "memory");
    jsonw_obj(w);
    jsonw_kuint_if(w, "weights", v->memory.weights, v->memory_known);
    jsonw_kuint_if(w, "kv", v->memory.kv, v->cache_known);
    jsonw_kuint_if(w, "compute", v->memory.compute, v->cache_known);
    jsonw_kuint_if(w, "total", v->memory.total, v->memory_known);
    jsonw_kbool(w, "estimated", v->cache_estimated);
    jsonw_end(w, '}');
    jsonw_kuint(w, "short_by", v->short_by);
    jsonw_key(w, "fitting");
    jsonw_obj(w);
    jsonw_kint(w, "context", v->fit_ctx);
    jsonw_kint(w, "slots", v->fit_slots);
    jsonw_kc(w, "kv_type", v->fit_kv < DTYPE_COUNT ? dtype_info(v->fit_kv)->name : NULL);
    jsonw_kstr(w, "file", v->fit_set);
    jsonw_end(w, '}');
    speed_write(w, "decode_tokens_per_s", v->decode);
    speed_write(w, "prefill_tokens_per_s", v->prefill);
    jsonw_end(w, '}');
}
