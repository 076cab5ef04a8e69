/* verdict_json: the judge behind one function of JSON, for callers that have no structs: see
 * verdict_call(). Names of members are read in both styles, kv_type and kvType; one is written. */
#include "base/limits.h"
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

/* A whole number of 0 to most; absent: 0. */
static enum err get_count(struct call *c, const char *key, uint64_t most, uint64_t *out)
{
    const struct json *x = json_get(c->v, key);
    int64_t n = json_int(x, x ? -1 : 0);
    *out = (uint64_t)n;
    if (n >= 0 && (uint64_t)n <= most) return ERR_OK;
    return ERR_FAIL(c->e, INVALID, "'%s' is no whole number of 0 to %llu", key,
                    (unsigned long long)most);
}

static enum err get_type(struct call *c)
{
    str name = json_str(either(c->v, "kv_type", "kvType"), S("f16"));
    enum dtype t = dtype_from_name(name);
    if (t == DTYPE_COUNT)
        return ERR_FAIL(c->e, INVALID, "'kv_type' is '%.*s'; known are " DTYPE_KV_NAMES,
                        (int)(name.n > 40 ? 40 : name.n), name.p);
    c->ask.ktype = c->ask.vtype = t;
    return ERR_OK;
}

static void get_device(struct call *c)
{
    const struct json *d = json_get(c->v, "device");
    int64_t memory = json_int(json_get(d, "memory"), 0);
    int64_t threads = json_int(json_get(d, "threads"), 0);
    c->device = (struct verdict_device){
        .name = json_str(json_get(d, "name"), S("the machine")),
        .memory = memory > 0 ? (uint64_t)memory : 0,
        .bandwidth = json_num(json_get(d, "bandwidth"), 0),
        .compute = json_num(json_get(d, "compute"), 0),
        .threads = threads > 0 && threads <= LIMIT_THREADS ? (uint32_t)threads : 0};
}

static enum err read_call(struct call *c)
{
    const struct json *worker = json_get(c->v, "worker");
    uint64_t n;
    enum err err;
    if (!worker) return ERR_FAIL(c->e, INVALID, "'worker', its capabilities, is missing");
    if ((err = caps_parse(&c->caps, c->a, worker, NULL, c->e)) || (err = get_type(c)) ||
        (err = get_count(c, "context", UINT32_MAX, &n)))
        return err;
    c->ask.n_ctx = (uint32_t)n;
    if ((err = get_count(c, "slots", UINT32_MAX, &n))) return err;
    c->ask.n_slots = (uint32_t)n;
    if ((err = get_count(c, "set", LIMIT_HUB_FILES, &n))) return err;
    c->set = json_get(c->v, "set") ? (size_t)n : SIZE_MAX;
    get_device(c);
    return ERR_OK;
}

static enum err judge_one(struct call *c, struct jsonw *w)
{
    const struct json *model = json_get(c->v, "model");
    struct hub_model m;
    struct verdict v;
    enum err err;
    if (!model) return ERR_FAIL(c->e, INVALID, "'model', a reply of the Hub, is missing");
    if ((err = hub_parse(&m, c->a, model, c->e))) return err;
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
