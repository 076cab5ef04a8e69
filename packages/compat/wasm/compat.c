/* compat: the table of calls, and those that no other module has. See compat.h. */
#include "compat.h"

#include "base/arena.h"
#include "base/json.h"
#include "catalogs.h"
#include "metadata.h"
#include "model/hub.h"
#include "model/matrix.h"
#include "model/verdict.h"
#include "model/workers.h"

struct call {
    struct arena *a;
    str text;             /* the request */
    const struct json *v; /* the same as a tree */
    buf *out;
    struct jsonw w; /* of out */
    struct err_info *e;
};

static const struct json *member(struct call *c, const char *key)
{
    const struct json *x = json_get(c->v, key);
    return x && x->type != JSON_NULL ? x : NULL;
}

/* ---- models ---- */

/* The request with its model as a reply of the Hub. */
static enum err with_reply(struct call *c, const struct json *model)
{
    const struct json *reply;
    struct jsonw w;
    buf b = {.cap = COMPAT_REQUEST_MAX};
    enum err err = metadata_as_reply(&reply, c->a, model, c->e);
    if (err) return err;
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    for (size_t i = 0; i < c->v->n; i++) {
        const struct json *x = &c->v->items[i];
        jsonw_keystr(&w, x->key);
        jsonw_value(&w, x == model ? reply : x);
    }
    jsonw_end(&w, '}');
    c->text = b.failed ? (str){0} : arena_str(c->a, buf_view(&b));
    buf_fini(&b);
    return c->text.p ? ERR_OK : ERR_FAIL(c->e, NOMEM, "no memory for a model");
}

static enum err verdict(struct call *c)
{
    const struct json *model = member(c, "model");
    enum err err = metadata_is(model) ? with_reply(c, model) : ERR_OK;
    if (member(c, "config"))
        return ERR_FAIL(c->e, UNSUPPORTED,
                        "'config', a config.json, is judged by the module files");
    return err ? err : verdict_call(c->a, c->text, c->out, c->e);
}

/* The places of those that are compatible, in order. What is no model is not. */
static enum err compatible_indexes(struct call *c)
{
    const struct json *models = member(c, "models");
    struct caps caps;
    enum err err = caps_parse(&caps, c->a, member(c, "worker"), NULL, c->e);
    if (err) return err;
    if (!models || models->type != JSON_ARR)
        return ERR_FAIL(c->e, INVALID, "'models', a list of replies of the Hub, is missing");
    jsonw_arr(&c->w);
    for (size_t i = 0; i < models->n; i++) {
        const struct json *one = &models->items[i];
        struct hub_model m;
        err = metadata_is(one) ? metadata_as_reply(&one, c->a, one, c->e) : ERR_OK;
        if (!err) err = hub_parse(&m, c->a, one, c->e);
        if (err == ERR_NOMEM) return err;
        if (!err && verdict_is_model_compatible(c->a, &m, &caps)) jsonw_uint(&c->w, i);
    }
    jsonw_end(&c->w, ']');
    return ERR_OK;
}

/* ---- workers ---- */

static enum err list_workers(struct call *c)
{
    struct workers all;
    enum err err = workers_parse(&all, c->a, member(c, "workers"), c->e);
    if (!err) workers_write(&all, NULL, &c->w);
    return err;
}

static enum err get_worker(struct call *c)
{
    const struct json *id = member(c, "id");
    const struct workers_entry *x;
    struct workers all;
    enum err err = workers_parse(&all, c->a, member(c, "workers"), c->e);
    if (err) return err;
    if (!id || id->type != JSON_STR)
        return ERR_FAIL(c->e, INVALID, "'id', a worker's name, is missing");
    if (!(x = workers_get(&all, id->s)))
        return ERR_FAIL(c->e, NOTFOUND, "there is no worker '%.*s'", STR(str_sub(id->s, 0, 80)));
    workers_write_entry(x, &c->w);
    return ERR_OK;
}

static enum err filter_workers(struct call *c)
{
    struct workers_filter f;
    struct workers all;
    enum err err;
    if ((err = workers_parse(&all, c->a, member(c, "workers"), c->e)) ||
        (err = workers_filter_read(&f, member(c, "filter"), c->e)))
        return err;
    workers_write(&all, &f, &c->w);
    return ERR_OK;
}

/* modelFormat as model_format; an empty one: no memory, or a name that none is as long as. */
static str snake(struct arena *a, str name)
{
    char *out = name.n < 80 ? ARENA_NEW(a, char, 2 * name.n + 1) : NULL;
    size_t n = 0;
    for (size_t i = 0; out && i < name.n; i++) {
        bool upper = name.p[i] >= 'A' && name.p[i] <= 'Z';
        if (upper) out[n++] = '_';
        out[n++] = (char)(upper ? name.p[i] - 'A' + 'a' : name.p[i]);
    }
    return (str){out, n};
}

/* {workers, filter: {worker, model_architecture, model_format, quantization, compatible}} ->
 * {rows} */
static enum err compatibility(struct call *c)
{
    const struct json *f = member(c, "filter");
    struct matrix_filter filter = {.compatible = false};
    struct workers all;
    enum err err = workers_parse(&all, c->a, member(c, "workers"), c->e);
    if (!err && f && f->type != JSON_OBJ) err = ERR_FAIL(c->e, INVALID, "'filter' is no object");
    for (size_t i = 0; !err && f && i < f->n; i++) {
        const struct json *x = &f->items[i];
        str value = x->type == JSON_BOOL ? x->b ? S("true") : S("false") : json_str(x, (str){0});
        if (x->type == JSON_NULL) continue;
        err = value.p ? matrix_filter_set(&filter, snake(c->a, x->key), value, c->e)
                      : ERR_FAIL(c->e, INVALID, "'%.*s' of the filter is no text",
                                 STR(str_sub(x->key, 0, 40)));
    }
    if (!err) matrix_write_json(&all, &filter, &c->w);
    return err;
}

/* ---- the table ---- */

static const struct {
    const char *snake, *camel;
    enum err (*fn)(struct call *c);
    catalogs_fn *catalogs; /* where fn is NULL */
} calls[] = {
    {"is_model_compatible", "isModelCompatible", verdict, NULL},
    {"check_model_worker_compatibility", "checkModelWorkerCompatibility", verdict, NULL},
    {"filter_compatible_models", "filterCompatibleModels", verdict, NULL},
    {"compatible_indexes", "compatibleIndexes", compatible_indexes, NULL},
    {"list_workers", "listWorkers", list_workers, NULL},
    {"get_worker", "getWorker", get_worker, NULL},
    {"filter_workers", "filterWorkers", filter_workers, NULL},
    {"compatibility", "compatibility", compatibility, NULL},
    {"catalog_new", "catalogNew", NULL, catalogs_new},
    {"catalog_free", "catalogFree", NULL, catalogs_free},
    {"catalog_put", "catalogPut", NULL, catalogs_put},
    {"catalog_remove", "catalogRemove", NULL, catalogs_remove},
    {"catalog_count", "catalogCount", NULL, catalogs_count},
    {"catalog_judge", "catalogJudge", NULL, catalogs_judge},
    {"catalog_find", "catalogFind", NULL, catalogs_find},
    {"catalog_get", "catalogGet", NULL, catalogs_get},
    {"catalog_facets", "catalogFacets", NULL, catalogs_facets},
    {"catalog_query", "catalogQuery", NULL, catalogs_query},
};

static enum err answer(struct call *c)
{
    enum err err = json_parse(c->a, c->text, &c->v, c->e);
    if (err) return err;
    const struct json *name = member(c, "call");
    if (!name || name->type != JSON_STR)
        return ERR_FAIL(c->e, INVALID, "'call', the name of a function, is missing");
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (str_eqc(name->s, calls[i].snake) || str_eqc(name->s, calls[i].camel))
            return calls[i].fn ? calls[i].fn(c) : calls[i].catalogs(c->v, c->a, &c->w, c->e);
    return ERR_FAIL(c->e, INVALID, "there is no function '%.*s'", STR(str_sub(name->s, 0, 40)));
}

enum err compat_call(str request, buf *reply)
{
    struct err_info e = {.text = ""};
    struct arena a;
    struct call c = {.a = &a, .text = request, .out = reply, .e = &e};
    enum err err;
    arena_init(&a, COMPAT_ARENA_MAX);
    buf_clear(reply);
    jsonw_init(&c.w, reply);
    err = answer(&c);
    if (!err && reply->failed)
        err = reply->no_memory ? ERR_FAIL(&e, NOMEM, "no memory for the answer")
                               : ERR_FAIL(&e, LIMIT, "the answer would be larger than %zu bytes",
                                          COMPAT_REQUEST_MAX);
    arena_fini(&a);
    if (err) {
        buf_clear(reply);
        jsonw_error(reply, err, e.text);
    }
    return err;
}
