/* verdict_json: the judge behind one function of JSON, for callers that have no structs: see
 * verdict_call(). Names of members are read in both styles, kv_type and kvType; one is written. */
#include "base/limits.h"
#include "model/speed.h"
#include "model/verdict.h"

struct call {
    struct arena *a;
    const struct json *v;
    struct err_info *e;
    struct caps caps;
    struct verdict_device device;
    struct verdict_ask ask;
    size_t set;
};

static const struct json *either(const struct json *v, const char *snake, const char *camel)
{
    const struct json *x = json_get(v, snake);
    return x ? x : json_get(v, camel);
}

/* A whole number of 0 to most; absent or null: 0. */
static enum err get_count(const struct json *v, const char *key, uint64_t most, uint64_t *out,
                          struct err_info *e)
{
    const struct json *x = json_get(v, key);
    bool none = !x || x->type == JSON_NULL;
    int64_t n = json_int(x, none ? 0 : -1);
    *out = (uint64_t)n;
    if (n >= 0 && (uint64_t)n <= most) return ERR_OK;
    return ERR_FAIL(e, INVALID, "'%s' is no whole number of 0 to %llu", key,
                    (unsigned long long)most);
}

/* A number of at least 0; absent or null: 0. */
static enum err get_rate(const struct json *v, const char *key, double *out, struct err_info *e)
{
    const struct json *x = json_get(v, key);
    bool none = !x || x->type == JSON_NULL;
    *out = json_num(x, none ? 0 : -1);
    if (*out >= 0) return ERR_OK;
    return ERR_FAIL(e, INVALID, "'%s' of a device is no number of at least 0", key);
}

enum err verdict_device_read(struct verdict_device *d, struct arena *a, const struct json *v,
                             struct err_info *e)
{
    const struct json *name = json_get(v, "name"), *rates = json_get(v, "rates");
    uint64_t memory, threads;
    enum err err;
    *d = (struct verdict_device){.name = S("the machine")};
    if (!v || v->type == JSON_NULL) return ERR_OK;
    if (v->type != JSON_OBJ)
        return ERR_FAIL(e, INVALID, "a device is %s and no object", json_type_name(v->type));
    if (name && name->type != JSON_NULL && name->type != JSON_STR)
        return ERR_FAIL(e, INVALID, "'name' of a device is no string");
    d->name = json_str(name, d->name);
    if ((err = get_count(v, "memory", INT64_MAX, &memory, e)) ||
        (err = get_count(v, "threads", LIMIT_THREADS, &threads, e)) ||
        (err = get_rate(v, "bandwidth", &d->bandwidth, e)) ||
        (err = get_rate(v, "compute", &d->compute, e)))
        return err;
    d->memory = memory;
    d->threads = (uint32_t)threads;
    if (!rates || rates->type == JSON_NULL) return ERR_OK;
    struct speed_rates *r = ARENA_NEW(a, struct speed_rates, 1);
    if (!r) return ERR_FAIL(e, NOMEM, "no memory for a device");
    d->rates = r;
    return speed_rates_parse(r, rates, e);
}

enum err verdict_ask_read(struct verdict_ask *ask, const struct json *v, struct err_info *e)
{
    const struct json *kv = either(v, "kv_type", "kvType");
    uint64_t ctx, slots;
    enum err err;
    *ask = (struct verdict_ask){.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    if (kv && kv->type != JSON_NULL) {
        str name = json_str(kv, S(""));
        ask->ktype = ask->vtype = dtype_from_name(name);
        if (ask->ktype == DTYPE_COUNT)
            return ERR_FAIL(e, INVALID, "'kv_type' is '%.*s'; known are " DTYPE_KV_NAMES,
                            STR(str_sub(name, 0, 40)));
    }
    if ((err = get_count(v, "context", UINT32_MAX, &ctx, e)) ||
        (err = get_count(v, "slots", UINT32_MAX, &slots, e)))
        return err;
    ask->n_ctx = (uint32_t)ctx;
    ask->n_slots = (uint32_t)slots;
    return ERR_OK;
}

static enum err read_call(struct call *c)
{
    const struct json *worker = json_get(c->v, "worker"), *set = json_get(c->v, "set");
    uint64_t n;
    enum err err;
    if (!worker) return ERR_FAIL(c->e, INVALID, "'worker', its capabilities, is missing");
    if ((err = caps_parse(&c->caps, c->a, worker, NULL, c->e)) ||
        (err = verdict_ask_read(&c->ask, c->v, c->e)) ||
        (err = get_count(c->v, "set", LIMIT_HUB_FILES, &n, c->e)) ||
        (err = verdict_device_read(&c->device, c->a, json_get(c->v, "device"), c->e)))
        return err;
    c->set = set && set->type != JSON_NULL ? (size_t)n : SIZE_MAX;
    return ERR_OK;
}

/* ---- the model ---- */

/* A small file, as its text or as what the text means; empty: absent. */
static enum err text_of(struct call *c, const char *snake, const char *camel, str *out)
{
    const struct json *x = either(c->v, snake, camel);
    buf text = {.cap = LIMIT_HF_INDEX};
    struct jsonw w;
    *out = (str){0};
    if (!x || x->type == JSON_NULL) return ERR_OK;
    if (x->type == JSON_STR) {
        *out = x->s;
        return ERR_OK;
    }
    if (x->type != JSON_OBJ)
        return ERR_FAIL(c->e, INVALID, "'%s' is %s and neither an object nor its text", snake,
                        json_type_name(x->type));
    jsonw_init(&w, &text);
    jsonw_value(&w, x);
    *out = text.failed ? (str){0} : arena_str(c->a, buf_view(&text));
    buf_fini(&text);
    return out->p ? ERR_OK : ERR_FAIL(c->e, NOMEM, "no memory for '%s'", snake);
}

/* The reply of the Hub with another list of files. */
static enum err with_files(struct call *c, const struct json **model)
{
    const struct json *files = json_get(c->v, "files");
    size_t n = (*model)->n;
    if (!files || files->type == JSON_NULL) return ERR_OK;
    if (files->type != JSON_ARR || (*model)->type != JSON_OBJ)
        return ERR_FAIL(c->e, INVALID, "'files' is no list of {path, size}");
    struct json *members = ARENA_NEW(c->a, struct json, n + 1),
                *own = ARENA_NEW(c->a, struct json, 1);
    if (!members || !own) return ERR_FAIL(c->e, NOMEM, "no memory for a list of files");
    for (size_t i = 0; i < n; i++)
        members[i] = (*model)->items[i];
    members[n] = *files; /* of two members of one name the last counts */
    members[n].key = S("siblings");
    *own = **model;
    own->items = members;
    own->n = n + 1;
    *model = own;
    return ERR_OK;
}

/* Bytes of the largest set of SafeTensors; 0: not said. */
static uint64_t safetensors_bytes(const struct hub_model *m)
{
    uint64_t most = 0;
    for (size_t i = 0; i < m->n_sets; i++) {
        const struct hub_set *s = &m->sets[i];
        bool own = s->format == FILENAME_SAFETENSORS && s->kind == FILENAME_WEIGHTS;
        if (own && s->loaded > most) most = s->loaded;
    }
    return most;
}

/* By config.json alone, or beside a reply of the Hub, whose sizes and other formats count too. */
static void judge_config(struct call *c, const struct hf_meta_files *f, struct hub_model *m,
                         struct verdict *v)
{
    bool plain = !m || (!m->disabled && !(m->formats & ~(1u << FILENAME_SAFETENSORS)));
    struct memory_shape shape;
    verdict_config(v, c->a, f, m ? safetensors_bytes(m) : 0, &c->caps, &c->device, &c->ask);
    if (plain) return;
    shape = v->shape;
    if (shape.source != MEMORY_NONE) m->shape = &shape;
    verdict_hub(v, c->a, m, c->set, &c->caps, &c->device, &c->ask);
    m->shape = NULL;
}

static enum err judge_one(struct call *c, struct jsonw *w)
{
    const struct json *model = json_get(c->v, "model");
    struct hf_meta_files f;
    struct hub_model m;
    struct verdict v;
    enum err err;
    if ((err = text_of(c, "config", "config", &f.config)) ||
        (err = text_of(c, "tokenizer_config", "tokenizerConfig", &f.tokenizer_config)) ||
        (err = text_of(c, "generation_config", "generationConfig", &f.generation_config)))
        return err;
    f.chat_template = f.pooling = (str){0};
    if (!model && !f.config.n)
        return ERR_FAIL(c->e, INVALID, "'model', a reply of the Hub, is missing");
    if (model && ((err = with_files(c, &model)) || (err = hub_parse(&m, c->a, model, c->e))))
        return err;
    if (f.config.n)
        judge_config(c, &f, model ? &m : NULL, &v);
    else
        verdict_hub(&v, c->a, &m, c->set, &c->caps, &c->device, &c->ask);
    verdict_write(&v, w);
    return ERR_OK;
}

/* The ids of the compatible ones, in their order. */
static enum err filter(struct call *c, struct jsonw *w)
{
    const struct json *models = json_get(c->v, "models");
    enum err err = ERR_OK;
    if (!models || models->type != JSON_ARR)
        return ERR_FAIL(c->e, INVALID, "'models', a list of replies of the Hub, is missing");
    jsonw_arr(w);
    for (size_t i = 0; !err && i < models->n; i++) {
        struct hub_model m;
        err = hub_parse(&m, c->a, &models->items[i], c->e);
        if (!err && verdict_is_model_compatible(c->a, &m, &c->caps)) jsonw_str(w, m.id);
    }
    jsonw_end(w, ']');
    return err;
}

static enum err answer(struct call *c, str what, struct jsonw *w)
{
    if (str_eqc(what, "filter_compatible_models") || str_eqc(what, "filterCompatibleModels"))
        return filter(c, w);
    if (str_eqc(what, "is_model_compatible") || str_eqc(what, "isModelCompatible")) {
        c->device = (struct verdict_device){.name = S("the machine")};
        return judge_one(c, w);
    }
    if (str_eqc(what, "check_model_worker_compatibility") ||
        str_eqc(what, "checkModelWorkerCompatibility"))
        return judge_one(c, w);
    return ERR_FAIL(c->e, INVALID, "'call' is '%.*s', which is no function of the judge",
                    (int)(what.n > 40 ? 40 : what.n), what.p);
}

enum err verdict_call(struct arena *a, str request, buf *out, struct err_info *e)
{
    struct call c = {.a = a, .e = e};
    struct jsonw w;
    size_t before = out->n;
    enum err err;
    if ((err = json_parse(a, request, &c.v, e)) || (err = read_call(&c))) return err;
    jsonw_init(&w, out);
    err = answer(&c, json_str(json_get(c.v, "call"), S("")), &w);
    if (!err && out->failed) err = ERR_FAIL(e, NOMEM, "no memory for the answer");
    if (err && !out->failed) out->n = before;
    return err;
}
