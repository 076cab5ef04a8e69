/* verdict_hub: the verdict on a repository, by what can be said without its bytes: format,
 * architecture, quantisation, shards, sizes. judge.c decides; here its reason becomes a sentence.
 */
#include <stdio.h>

#include "model/family.h"
#include "model/judge.h"
#include "model/verdict_int.h"

/* One repository that is judged. */
struct repo {
    struct arena *a;
    const struct hub_model *m;
    const struct caps *c;
    const struct verdict_device *d;
    const struct verdict_ask *ask;
    struct judge_model model;
    struct judge_beside beside;
};

/* ---- reasons ---- */

/* Formats by their names: "pytorch, onnx". */
static str names_of(struct arena *a, unsigned formats)
{
    char text[200];
    size_t n = 0;
    text[0] = 0;
    for (int i = 1; i < FILENAME_FORMATS && n + 24 < sizeof text; i++)
        if (formats & 1u << i)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "",
                                  filename_format_name((enum filename_format)i));
    return arena_str(a, str_c(text));
}

static void wrong_format(const struct repo *r, struct verdict *v, const struct hub_set *s)
{
    str have = names_of(r->a, r->m->formats), want = names_of(r->a, r->c->formats);
    if (s) {
        REFUSE(v, r->a, "%.*s does not read %s", NAME(r->c->id), filename_format_name(s->format));
        return;
    }
    REFUSE(v, r->a, "its weights are %.*s; %.*s reads %.*s", NAME(have), NAME(r->c->id),
           NAME(want));
    ADVISE(v, r->a, "look for the same model as GGUF or SafeTensors");
}

static void wrong_family(const struct repo *r, struct verdict *v)
{
    REFUSE(v, r->a, "%.*s does not run the architecture '%.*s'", NAME(r->c->id), NAME(r->m->arch));
}

static void wrong_class(const struct repo *r, struct verdict *v)
{
    REFUSE(v, r->a, "SafeTensors of the family %s are not read", r->m->family->name);
    ADVISE(v, r->a, "look for the same model as GGUF");
}

static void foreign(const struct repo *r, struct verdict *v, const struct hub_set *s)
{
    if (s && s->quant && s->dtype == DTYPE_COUNT)
        REFUSE(v, r->a, "%s is a quantisation that only other programs read", s->quant);
    else if (r->m->quant_method.n && !hf_meta_reads(r->m->quant_method))
        REFUSE(v, r->a, "its weights are quantised by '%.*s', which is not read",
               NAME(r->m->quant_method));
    else
        REFUSE(v, r->a, "its weights are packed into integers in a way that is not read");
    if (s && s->format == FILENAME_GGUF)
        ADVISE(v, r->a, "choose another quantisation of this model");
    else
        ADVISE(v, r->a, "take the repository with the plain weights, or a GGUF file");
}

static void wrong_cache(const struct repo *r, struct verdict *v)
{
    enum dtype t =
        r->c->kv[r->ask->ktype] && r->model.shape.k_unit % dtype_info(r->ask->ktype)->elems == 0
            ? r->ask->vtype
            : r->ask->ktype;
    if (r->c->kv[t])
        REFUSE(v, r->a,
               "a KV cache of type %s keeps heads of a multiple of %u columns, and this model has "
               "others",
               dtype_info(t)->name, dtype_info(t)->elems);
    else
        REFUSE(v, r->a, "%.*s has no KV cache of type %s", NAME(r->c->id), dtype_info(t)->name);
    ADVISE(v, r->a, "choose a KV cache of type f16");
}

static void refuse(const struct repo *r, struct verdict *v, const struct hub_set *s,
                   enum judge_why why)
{
    struct arena *a = r->a;
    switch (why) {
    case JUDGE_DISABLED: REFUSE(v, a, "the Hub has disabled the repository"); return;
    case JUDGE_NO_MODEL:
        if (s->kind == FILENAME_OTHER)
            REFUSE(v, a, "the file is a part of the model that lies beside it");
        else
            REFUSE(v, a, "the file is no model by itself but: %s", filename_kind_name(s->kind));
        return;
    case JUDGE_FORMAT: wrong_format(r, v, s); return;
    case JUDGE_PIECES:
        REFUSE(v, a, "its files were cut into pieces, which have to be joined first");
        return;
    case JUDGE_NO_WEIGHTS: REFUSE(v, a, "the repository has no weights"); return;
    case JUDGE_NO_FORMAT: REFUSE(v, a, "nothing says in which format its weights are"); return;
    case JUDGE_FAMILY: wrong_family(r, v); return;
    case JUDGE_TASK:
        REFUSE(v, a, "it is for %.*s; %.*s makes text and vectors of text",
               NAME(r->m->task.n ? r->m->task : r->m->library), NAME(r->c->id));
        return;
    case JUDGE_NO_ARCH: REFUSE(v, a, "nothing says of which architecture it is"); return;
    case JUDGE_HF_CLASS: wrong_class(r, v); return;
    case JUDGE_FOREIGN_QUANT: foreign(r, v, s); return;
    case JUDGE_DTYPE:
        REFUSE(v, a, "%.*s has no kernel for weights of type %s", NAME(r->c->id),
               dtype_info(s->dtype)->name);
        return;
    case JUDGE_SHARDS:
        REFUSE(v, a, "%u of its %u shards are there", s->n_files, s->n_expected);
        return;
    case JUDGE_CONTEXT:
        REFUSE(v, a, "%.*s runs contexts of at most %u", NAME(r->c->id), r->c->max_ctx);
        return;
    case JUDGE_SLOTS:
        REFUSE(v, a, "%.*s runs at most %u slots", NAME(r->c->id), r->c->max_slots);
        return;
    case JUDGE_KV_TYPE: wrong_cache(r, v); return;
    case JUDGE_OP: /* the three that need a header */
    case JUDGE_TOKENIZER:
    case JUDGE_HEADER:
    case JUDGE_MEMORY:
    case JUDGE_RUNS:
    case JUDGE_WHYS: return;
    }
}

/* ---- one set ---- */

static void warn(const struct repo *r, struct verdict *v, const struct judge_out *o)
{
    if (r->ask->n_ctx && r->m->context && r->ask->n_ctx > r->m->context)
        WARN(v, r->a, "the model was trained for %u positions and %u are asked for", r->m->context,
             r->ask->n_ctx);
    if (r->m->arch_by_name) WARN(v, r->a, "its architecture is read from its name");
    if (r->m->context > r->c->max_ctx)
        WARN(v, r->a, "the model was trained for %u positions; %.*s runs at most %u", r->m->context,
             NAME(r->c->id), r->c->max_ctx);
    if (r->m->gated) WARN(v, r->a, "gated: its owner has to be asked on the Hub before a download");
    if (r->model.vision) WARN(v, r->a, "it sees images elsewhere; here it reads text only");
    if (r->model.scaled && o->format == FILENAME_SAFETENSORS)
        WARN(v, r->a, "its 8-bit floats are multiplied out while they are read");
    if (!o->memory_known)
        WARN(v, r->a, "neither sizes nor parameters are known: the memory is not judged");
    else if (!o->cache_known)
        WARN(v, r->a, "the KV cache is not counted: only the file's header says how large it is");
    else if (o->cache_estimated)
        WARN(v, r->a, "KV cache and compute are estimated from the number of parameters");
}

/* What the judge said of a set, NULL when the reply names no files, in words. */
static void tell(const struct repo *r, struct verdict *v, const struct hub_set *s,
                 const struct judge_out *o)
{
    *v = (struct verdict){.compatible = o->compatible,
                          .fits = o->fits,
                          .why = o->why,
                          .fit_kv = DTYPE_COUNT,
                          .format = (enum filename_format)o->format,
                          .n_ctx = o->n_ctx,
                          .n_slots = o->n_slots,
                          .arch = r->m->family ? str_c(r->m->family->name) : r->m->arch,
                          .quant = s && s->quant ? str_c(s->quant) : S(""),
                          .shape = r->model.shape,
                          .memory = o->memory,
                          .memory_known = o->memory_known,
                          .cache_known = o->cache_known,
                          .cache_estimated = o->cache_estimated,
                          .decode = (double)o->decode,
                          .prefill = (double)o->prefill};
    if (!o->compatible) {
        refuse(r, v, s, o->why);
        return;
    }
    v->confidence = VERDICT_LOW;
    v->evidence = r->model.shape.source == MEMORY_HEADER
                      ? S("names, what the Hub says, the header of another file")
                  : r->model.shape.source == MEMORY_CONFIG
                      ? S("names, what the Hub says, config.json")
                      : S("names and what the Hub says");
    warn(r, v, o);
    if (o->why != JUDGE_MEMORY) return;
    verdict_short(v, r->a, r->d);
    if (o->cache_known) (void)verdict_shrink(v, r->a, &r->beside.conf, r->c, r->d);
}

static void judge_one(const struct repo *r, const struct hub_set *s, struct judge_out *o)
{
    struct judge_set set;
    if (s) judge_set_from(&set, s);
    judge_set_with(o, &r->model, s ? &set : NULL, &r->beside, r->c, r->d, r->ask);
}

/* ---- the repository ---- */

/* The best set, or NULL when none is judged: o is the verdict on it. */
static const struct hub_set *best_of(const struct repo *r, struct judge_out *o)
{
    const struct hub_set *best = NULL;
    judge_one(r, NULL, o);
    bool any = o->compatible;
    for (size_t i = 0; any && i < r->m->n_sets; i++) {
        const struct hub_set *s = &r->m->sets[i];
        struct judge_out one;
        if (s->kind != FILENAME_WEIGHTS) continue;
        judge_one(r, s, &one);
        if (best && !judge_better(&one, o)) continue;
        *o = one;
        best = s;
    }
    return best;
}

/* The best set that fits as it was asked for. */
static bool smaller_set(const struct repo *r, struct verdict *v)
{
    const struct hub_set *best = NULL;
    struct judge_out one, o;
    for (size_t i = 0; i < r->m->n_sets; i++) {
        const struct hub_set *s = &r->m->sets[i];
        judge_one(r, s, &one);
        if (one.why != JUDGE_RUNS || !s->loaded || (best && !judge_better(&one, &o))) continue;
        best = s;
        o = one;
    }
    if (!best) return false;
    v->fit_set = best->name;
    ADVISE(v, r->a, "%.*s of the same repository fits", NAME(best->name));
    return true;
}

/* The smallest set, in a smaller configuration. */
static bool smallest_set(const struct repo *r, struct verdict *v)
{
    const struct hub_set *best = NULL;
    struct memory_conf c = r->beside.conf;
    struct judge_out one;
    for (size_t i = 0; i < r->m->n_sets; i++) {
        const struct hub_set *s = &r->m->sets[i];
        judge_one(r, s, &one);
        if (one.compatible && s->loaded && (!best || s->loaded < best->loaded)) best = s;
    }
    if (!best || best->loaded >= v->memory.weights || !v->cache_known ||
        !memory_shrink_of(&r->model.shape, &c, best->loaded, r->d->memory))
        return false;
    v->fit_set = best->name;
    v->fit_ctx = c.n_ctx;
    v->fit_slots = c.n_slots;
    ADVISE(v, r->a, "%.*s of the same repository fits with a context of %u and %u slot%s",
           NAME(best->name), c.n_ctx, c.n_slots, c.n_slots == 1 ? "" : "s");
    return true;
}

static void nearest(const struct repo *r, struct verdict *v)
{
    bool some = v->recommendations.n != 0;
    some = smaller_set(r, v) || some;
    if (!some) some = smallest_set(r, v);
    if (!some) ADVISE(v, r->a, "choose a smaller model, or a machine with more memory");
}

void verdict_hub(struct verdict *v, struct arena *a, const struct hub_model *m, size_t set,
                 const struct caps *c, const struct verdict_device *d,
                 const struct verdict_ask *ask)
{
    struct repo r = {.a = a, .m = m, .c = c, .d = d, .ask = ask};
    const struct hub_set *s = NULL;
    struct judge_out o;
    judge_model_from(&r.model, m);
    judge_beside(&r.beside, &r.model, d, ask);
    if (set < m->n_sets) {
        s = &m->sets[set];
        judge_one(&r, s, &o);
    } else {
        s = best_of(&r, &o);
    }
    tell(&r, v, s, &o);
    if (v->why == JUDGE_MEMORY) nearest(&r, v);
}

bool verdict_is_model_compatible(struct arena *a, const struct hub_model *m, const struct caps *c)
{
    struct verdict_device any = {0};
    struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    struct repo r = {.a = a, .m = m, .c = c, .d = &any, .ask = &ask};
    struct judge_out o;
    judge_model_from(&r.model, m);
    judge_beside(&r.beside, &r.model, &any, &ask);
    (void)best_of(&r, &o);
    return o.compatible;
}

size_t verdict_filter_compatible_models(struct arena *a, const struct hub_model **models, size_t n,
                                        const struct caps *c)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (verdict_is_model_compatible(a, models[i], c)) models[kept++] = models[i];
    return kept;
}
