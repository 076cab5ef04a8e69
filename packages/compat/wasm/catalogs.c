/* catalogs: see catalogs.h. A slot owns a catalogue and the capabilities of the workers that it is
 * judged for. Numbers of catalogues are never used twice, so one that was freed is not found. */
#include "catalogs.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata.h"
#include "model/catalog.h"

static struct slot {
    uint32_t number; /* 0: free */
    struct catalog *catalog;
    struct arena machines; /* of the last judge */
} slots[CATALOGS_MAX];
static uint32_t last;

static const struct json *member(const struct json *v, const char *key)
{
    const struct json *x = json_get(v, key);
    return x && x->type != JSON_NULL ? x : NULL;
}

static enum err find_slot(struct slot **out, const struct json *v, struct err_info *e)
{
    int64_t n = json_int(json_get(v, "catalog"), 0);
    for (size_t i = 0; n > 0 && i < CATALOGS_MAX; i++) {
        *out = &slots[i];
        if (slots[i].number == (uint64_t)n) return ERR_OK;
    }
    return ERR_FAIL(e, NOTFOUND, "there is no catalogue of this number: it was freed");
}

static enum err get_id(str *out, const struct json *v, struct err_info *e)
{
    const struct json *x = member(v, "id");
    if (!x || x->type != JSON_STR)
        return ERR_FAIL(e, INVALID, "'id', a repository's name, is missing");
    *out = x->s;
    return ERR_OK;
}

static enum err get_query(struct catalog_query *q, const struct json *v, struct arena *a,
                          struct err_info *e)
{
    const struct json *x = member(v, "query");
    *q = (struct catalog_query){0};
    if (!x) return ERR_OK;
    return x->type == JSON_STR ? catalog_query_parse(q, a, x->s, e)
                               : catalog_query_json(q, a, x, e);
}

enum err catalogs_new(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    struct slot *s = NULL;
    (void)v, (void)a;
    for (size_t i = 0; !s && i < CATALOGS_MAX; i++)
        if (!slots[i].number) s = &slots[i];
    if (!s)
        return ERR_FAIL(e, LIMIT, "there are %d catalogues already: free one first", CATALOGS_MAX);
    if (!(s->catalog = catalog_new())) return ERR_FAIL(e, NOMEM, "no memory for a catalogue");
    arena_init(&s->machines, MIB(16));
    s->number = ++last;
    jsonw_obj(w);
    jsonw_kint(w, "catalog", s->number);
    jsonw_end(w, '}');
    return ERR_OK;
}

static void close_slot(struct slot *s)
{
    catalog_free(s->catalog);
    arena_fini(&s->machines);
    *s = (struct slot){0};
}

void catalogs_fini(void)
{
    for (size_t i = 0; i < CATALOGS_MAX; i++)
        if (slots[i].number) close_slot(&slots[i]);
    last = 0;
}

enum err catalogs_free(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    struct slot *s;
    enum err err = find_slot(&s, v, e);
    (void)a;
    if (!err) close_slot(s);
    jsonw_bool(w, !err);
    return ERR_OK;
}

/* ---- what is in it ---- */

/* Of a line of a snapshot, {entry, shapes: {set: shape}}: the first, if there is one. */
static enum err first_shape(struct memory_shape *out, bool *there, const struct json *line,
                            struct err_info *e)
{
    const struct json *shapes = json_get(line, "shapes");
    *there = shapes && shapes->type == JSON_OBJ && shapes->n;
    return *there ? memory_shape_read(out, &shapes->items[0], e) : ERR_OK;
}

/* A reply of the Hub, a few facts, or a line of a snapshot. */
static enum err put_one(struct slot *s, const struct json *model, struct arena *a,
                        struct err_info *e)
{
    const struct json *entry = json_get(model, "entry");
    struct memory_shape shape;
    struct hub_model m;
    bool known = false;
    enum err err = entry ? first_shape(&shape, &known, model, e) : ERR_OK;
    if (entry) model = entry;
    if (!err && metadata_is(model)) err = metadata_as_reply(&model, a, model, e);
    if (!err) err = hub_parse(&m, a, model, e);
    return err ? err : catalog_put(s->catalog, &m, known ? &shape : NULL, e);
}

enum err catalogs_put(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    const struct json *models = member(v, "models");
    struct arena each;
    struct slot *s;
    size_t added = 0;
    enum err err = find_slot(&s, v, e);
    if (err) return err;
    if (!models || models->type != JSON_ARR)
        return ERR_FAIL(e, INVALID, "'models', a list of replies of the Hub, is missing");
    (void)a;
    arena_init(&each, MIB(64));
    jsonw_obj(w);
    jsonw_key(w, "rejected");
    jsonw_arr(w);
    for (size_t i = 0; i < models->n; i++) {
        err = put_one(s, &models->items[i], &each, e);
        arena_clear(&each);
        added += err == ERR_OK;
        if (err == ERR_NOMEM || (err == ERR_LIMIT && catalog_count(s->catalog) >= LIMIT_INDEX_ROWS))
            break;
        if (!err) continue;
        jsonw_obj(w);
        jsonw_kint(w, "index", (int64_t)i);
        jsonw_kc(w, "message", e->text);
        jsonw_end(w, '}');
        err = ERR_OK;
    }
    arena_fini(&each);
    jsonw_end(w, ']');
    jsonw_kint(w, "added", (int64_t)added);
    jsonw_end(w, '}');
    return err;
}

enum err catalogs_remove(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    struct slot *s;
    str id;
    enum err err;
    (void)a;
    if ((err = find_slot(&s, v, e)) || (err = get_id(&id, v, e))) return err;
    jsonw_bool(w, catalog_remove(s->catalog, id));
    return ERR_OK;
}

enum err catalogs_count(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    struct slot *s;
    enum err err = find_slot(&s, v, e);
    (void)a;
    if (err) return err;
    jsonw_obj(w);
    jsonw_kint(w, "models", (int64_t)catalog_count(s->catalog));
    jsonw_kint(w, "sets", (int64_t)catalog_sets(s->catalog));
    jsonw_end(w, '}');
    return ERR_OK;
}

/* ---- machines ---- */

/* The request's text does not outlive the call; what a machine keeps does. */
static enum err keep_tree(const struct json **out, struct arena *a, const struct json *v,
                          struct err_info *e)
{
    struct jsonw w;
    buf b = {.cap = MIB(4)};
    jsonw_init(&w, &b);
    jsonw_value(&w, v);
    str text = b.failed ? (str){0} : arena_str(a, buf_view(&b));
    buf_fini(&b);
    if (!text.p) return ERR_FAIL(e, NOMEM, "no memory for a machine");
    return json_parse(a, text, out, e);
}

static enum err read_machine(struct catalog_device *d, struct arena *a, const struct json *v,
                             struct err_info *e)
{
    const struct json *kept, *backend;
    struct caps *caps = ARENA_NEW(a, struct caps, 1);
    enum err err;
    if (!caps) return ERR_FAIL(e, NOMEM, "no memory for a machine");
    if ((err = keep_tree(&kept, a, v, e)) || (err = verdict_device_read(&d->device, a, kept, e)) ||
        (err = caps_parse(caps, a, json_get(kept, "worker"), NULL, e)))
        return err;
    backend = json_get(kept, "backend");
    d->caps = caps;
    d->backend = json_str(backend, caps->backend);
    return ERR_OK;
}

enum err catalogs_judge(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    const struct json *machines = member(v, "machines");
    size_t n = machines && machines->type == JSON_ARR ? machines->n : 0;
    struct catalog_device *d;
    struct verdict_ask ask;
    struct arena own;
    struct slot *s;
    enum err err;
    if ((err = find_slot(&s, v, e)) || (err = verdict_ask_read(&ask, v, e))) return err;
    if (machines && machines->type != JSON_ARR)
        return ERR_FAIL(e, INVALID, "'machines' is no list");
    if (n > LIMIT_INDEX_DEVICES)
        return ERR_FAIL(e, LIMIT, "%zu machines at once; at most %d", n, LIMIT_INDEX_DEVICES);
    if (!(d = ARENA_NEW(a, struct catalog_device, n + 1)))
        return ERR_FAIL(e, NOMEM, "no memory for machines");
    arena_init(&own, MIB(16));
    for (size_t i = 0; !err && i < n; i++)
        err = read_machine(&d[i], &own, &machines->items[i], e);
    if (err) {
        arena_fini(&own);
        return err;
    }
    err = catalog_judge(s->catalog, d, n, &ask, e); /* borrows what `own` holds, whatever comes */
    arena_fini(&s->machines);
    s->machines = own;
    jsonw_bool(w, true);
    return err;
}

/* ---- questions ---- */

enum err catalogs_find(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    struct catalog_query q;
    struct catalog_page page;
    struct slot *s;
    enum err err;
    if ((err = find_slot(&s, v, e)) || (err = get_query(&q, v, a, e)) ||
        (err = catalog_find(s->catalog, &q, a, &page, e)))
        return err;
    catalog_write_page(&page, &q, w);
    return ERR_OK;
}

enum err catalogs_get(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    struct catalog_query q;
    struct catalog_row row;
    struct slot *s;
    enum err err;
    str id;
    if ((err = find_slot(&s, v, e)) || (err = get_id(&id, v, e)) ||
        (err = get_query(&q, v, a, e)) || (err = catalog_get(s->catalog, &q, id, a, &row, e)))
        return err;
    catalog_write_row(&row, w);
    return ERR_OK;
}

enum err catalogs_facets(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    struct catalog_query q;
    struct catalog_facets f;
    struct slot *s;
    enum err err;
    if ((err = find_slot(&s, v, e)) || (err = get_query(&q, v, a, e)) ||
        (err = catalog_facets(s->catalog, &q, a, &f, e)))
        return err;
    catalog_write_facets(&f, w);
    return ERR_OK;
}

enum err catalogs_query(const struct json *v, struct arena *a, struct jsonw *w, struct err_info *e)
{
    struct catalog_query q;
    buf text = {.cap = LIMIT_INDEX_QUERY};
    enum err err = get_query(&q, v, a, e);
    if (err) return err;
    catalog_query_write(&q, &text);
    err = text.failed ? ERR_FAIL(e, LIMIT, "the query is too long") : ERR_OK;
    if (!err) jsonw_str(w, buf_view(&text));
    buf_fini(&text);
    return err;
}
