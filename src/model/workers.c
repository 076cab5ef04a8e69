/* workers: see workers.h.
 *
 * Fields have the names that other catalogues of rbee workers have. A field about which nothing is
 * known is left out of an entry, but for the address of a package recipe, which is null: there is
 * none. supported_quantizations are those whose matrices are of a type that the worker multiplies.
 */
#include "model/workers.h"

#include "base/limits.h"
#include "model/hub.h"

struct workers_how {
    const char *id, *implementation, *name, *text, *platforms, *machines, *licence, *build, *source,
        *flags, *depends, *makedepends, *place;
};

#define WORKER(...) {__VA_ARGS__},
static const struct workers_how hows[] = {
#include "model/workers.def"
};
#undef WORKER

/* ---- reading ---- */

static const struct workers_how *how_to_get(str id)
{
    for (size_t i = 0; i < sizeof hows / sizeof *hows; i++)
        if (str_eqc(id, hows[i].id)) return &hows[i];
    return NULL;
}

static bool is_there(const struct workers *w, const struct caps *c)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->entry[i].caps.id, c->id) && str_eq(w->entry[i].caps.version, c->version))
            return true;
    return false;
}

enum err workers_parse(struct workers *w, struct arena *a, const struct json *v, struct err_info *e)
{
    bool many = v && v->type == JSON_ARR;
    size_t n = many ? v->n : 1;
    *w = (struct workers){0};
    if (!v || (!many && v->type != JSON_OBJ))
        return ERR_FAIL(e, FORMAT, "the capabilities of workers are %s and no object or list",
                        v ? json_type_name(v->type) : "missing");
    if (n > LIMIT_WORKERS)
        return ERR_FAIL(e, LIMIT, "%zu workers at once; at most %d are read", n, LIMIT_WORKERS);
    struct workers_entry *x = ARENA_NEW(a, struct workers_entry, n + 1);
    if (!x) return ERR_FAIL(e, NOMEM, "no memory for %zu workers", n);
    w->entry = x;
    for (size_t i = 0; i < n; i++) {
        const struct json *said = many ? &v->items[i] : v;
        struct err_info why = {.text = ""};
        struct caps c;
        enum err err = caps_parse(&c, a, said, NULL, &why);
        if (err) return err_fail(e, err, __FILE__, __LINE__, "worker %zu: %s", i + 1, why.text);
        if (is_there(w, &c)) continue;
        int64_t ctx = json_int(json_get(json_get(said, "limits"), "context"), 0);
        x[w->n++] = (struct workers_entry){.caps = c,
                                           .said = said,
                                           .how = how_to_get(c.id),
                                           .type = json_str(json_get(said, "type"), S("")),
                                           .max_context = ctx > 0 ? (uint64_t)ctx : 0};
    }
    return ERR_OK;
}

const struct workers_entry *workers_get(const struct workers *w, str id)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->entry[i].caps.id, id)) return &w->entry[i];
    return NULL;
}

/* ---- filters ---- */

static const struct field {
    const char *name;
    size_t at;
    bool number;
} fields[] = {
    {"worker_type", offsetof(struct workers_filter, worker_type), false},
    {"platform", offsetof(struct workers_filter, platform), false},
    {"architecture", offsetof(struct workers_filter, architecture), false},
    {"min_context_length", offsetof(struct workers_filter, min_context_length), true},
    {"model_architecture", offsetof(struct workers_filter, model_architecture), false},
    {"model_format", offsetof(struct workers_filter, model_format), false},
};

#define FIELDS                                                                                     \
    "worker_type, platform, architecture, min_context_length, model_architecture, model_format"

/* "model_format" as "modelFormat": the same letters, without case and underscores. */
static bool same_name(const char *snake, str name)
{
    size_t k = 0;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c == '_') continue;
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        while (snake[k] == '_')
            k++;
        if (!snake[k] || snake[k++] != c) return false;
    }
    return name.n && !snake[k];
}

static enum err no_number(const struct field *d, str value, struct err_info *e)
{
    return ERR_FAIL(e, INVALID, "'%s' is '%.*s', which is no whole number", d->name,
                    STR(str_sub(value, 0, 40)));
}

static const struct field *field_of(str name, struct err_info *e)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (same_name(fields[i].name, name)) return &fields[i];
    (void)ERR_FAIL(e, INVALID, "'%.*s' is no filter of workers; there are " FIELDS,
                   STR(str_sub(name, 0, 40)));
    return NULL;
}

enum err workers_filter_set(struct workers_filter *f, str name, str value, struct err_info *e)
{
    const struct field *d = field_of(name, e);
    int64_t n;
    if (!d) return ERR_INVALID;
    char *at = (char *)f + d->at;
    if (!d->number) {
        *(str *)(void *)at = value;
        return ERR_OK;
    }
    if (!str_int(value, &n) || n < 0) return no_number(d, value, e);
    *(uint64_t *)(void *)at = (uint64_t)n;
    return ERR_OK;
}

enum err workers_filter_read(struct workers_filter *f, const struct json *v, struct err_info *e)
{
    *f = (struct workers_filter){0};
    if (!v || v->type == JSON_NULL) return ERR_OK;
    if (v->type != JSON_OBJ)
        return ERR_FAIL(e, INVALID, "a filter is an object with some of " FIELDS);
    for (size_t i = 0; i < v->n; i++) {
        const struct json *x = &v->items[i];
        const struct field *d = field_of(x->key, e);
        if (!d) return ERR_INVALID;
        char *at = (char *)f + d->at;
        if (x->type == JSON_NULL) continue;
        if (d->number) {
            int64_t n = json_int(x, -1);
            if (n < 0) return no_number(d, json_str(x, str_c(json_type_name(x->type))), e);
            *(uint64_t *)(void *)at = (uint64_t)n;
        } else if (x->type == JSON_STR) {
            *(str *)(void *)at = x->s;
        } else {
            return ERR_FAIL(e, INVALID, "'%s' of a filter is %s and no string", d->name,
                            json_type_name(x->type));
        }
    }
    return ERR_OK;
}

static bool in_words(const char *words, str want)
{
    str rest = str_c(words);
    while (rest.n)
        if (str_ieq(str_cut(rest, ' ', &rest), want)) return true;
    return false;
}

static bool in_list(const struct json *list, str want)
{
    for (size_t i = 0; list && list->type == JSON_ARR && i < list->n; i++)
        if (str_ieq(json_str(&list->items[i], S("")), want)) return true;
    return false;
}

/* By the worker's own words, for families that came after this version, or by our names for them.
 */
static bool runs_family(const struct workers_entry *x, str word)
{
    const struct json *list = json_get(x->said, "families");
    const struct family *f = hub_family(word);
    if (f && caps_family(&x->caps, f)) return true;
    for (size_t i = 0; list && list->type == JSON_ARR && i < list->n; i++)
        if (str_ieq(json_str(json_get(&list->items[i], "name"), S("")), word) ||
            in_list(json_get(&list->items[i], "huggingface"), word))
            return true;
    return false;
}

bool workers_match(const struct workers_entry *x, const struct workers_filter *f)
{
    if (f->worker_type.n && !str_ieq(x->type, f->worker_type)) return false;
    if (f->platform.n && !(x->how && in_words(x->how->platforms, f->platform))) return false;
    if (f->architecture.n && !(x->how && in_words(x->how->machines, f->architecture))) return false;
    if (f->min_context_length && x->max_context < f->min_context_length) return false;
    if (f->model_architecture.n && !runs_family(x, f->model_architecture)) return false;
    return !f->model_format.n || in_list(json_get(x->said, "formats"), f->model_format);
}

/* ---- writing ---- */

static void write_words(struct jsonw *w, const char *key, const char *words)
{
    str rest = str_c(words);
    jsonw_key(w, key);
    jsonw_arr(w);
    while (rest.n)
        jsonw_str(w, str_cut(rest, ' ', &rest));
    jsonw_end(w, ']');
}

static void write_how(struct jsonw *w, const struct workers_how *h)
{
    write_words(w, "platforms", h->platforms);
    write_words(w, "architectures", h->machines);
    jsonw_kc(w, "name", h->name);
    jsonw_kc(w, "description", h->text);
    jsonw_kc(w, "license", h->licence);
    jsonw_kc(w, "pkgbuild_url", NULL);
    jsonw_kc(w, "build_system", h->build);
    jsonw_key(w, "source");
    jsonw_obj(w);
    jsonw_kc(w, "type", h->source);
    jsonw_kc(w, "url", NULL);
    jsonw_end(w, '}');
    jsonw_key(w, "build");
    jsonw_obj(w);
    write_words(w, "flags", h->flags);
    jsonw_end(w, '}');
    write_words(w, "depends", h->depends);
    write_words(w, "makedepends", h->makedepends);
    jsonw_kc(w, "binary_name", h->id);
    jsonw_kc(w, "install_path", h->place);
}

static void write_families(struct jsonw *w, const struct json *list)
{
    jsonw_key(w, "supported_architectures");
    jsonw_arr(w);
    for (size_t i = 0; list && i < list->n; i++)
        jsonw_str(w, json_str(json_get(&list->items[i], "name"), S("")));
    jsonw_end(w, ']');
}

static void write_quants(struct jsonw *w, const struct caps *c)
{
    enum dtype t;
    const char *name;
    jsonw_key(w, "supported_quantizations");
    jsonw_arr(w);
    for (size_t i = 0; (name = filename_quant_at(i, &t)); i++)
        if (t != DTYPE_COUNT && c->dtype[t]) jsonw_c(w, name);
    jsonw_end(w, ']');
}

/* A member of the capabilities as it is, where there is one. */
static void copy(struct jsonw *w, const struct json *from, const char *key, const char *as)
{
    const struct json *v = json_get(from, key);
    if (!v) return;
    jsonw_key(w, as);
    jsonw_value(w, v);
}

void workers_write_entry(const struct workers_entry *x, struct jsonw *w)
{
    const struct json *limits = json_get(x->said, "limits");
    jsonw_obj(w);
    jsonw_kstr(w, "id", x->caps.id);
    if (x->how) jsonw_kc(w, "implementation", x->how->implementation);
    if (x->type.n) jsonw_kstr(w, "worker_type", x->type);
    jsonw_kstr(w, "version", x->caps.version);
    if (x->how) write_how(w, x->how);
    copy(w, x->said, "formats", "supported_formats");
    write_families(w, json_get(x->said, "families"));
    write_quants(w, &x->caps);
    copy(w, x->said, "supported_parameters", "supported_parameters");
    if (x->max_context) jsonw_kint(w, "max_context_length", (int64_t)x->max_context);
    if (x->how) jsonw_kbool(w, "supports_streaming", true); /* every worker of ours */
    if (json_get(limits, "slots"))
        jsonw_kbool(w, "supports_batching", json_int(json_get(limits, "slots"), 1) > 1);
    copy(w, x->said, "pure_backend", "pure_backend");
    copy(w, x->said, "supports_offloading", "supports_offloading");
    jsonw_end(w, '}');
}

void workers_write(const struct workers *all, const struct workers_filter *f, struct jsonw *w)
{
    jsonw_obj(w);
    jsonw_key(w, "workers");
    jsonw_arr(w);
    for (size_t i = 0; i < all->n; i++)
        if (!f || workers_match(&all->entry[i], f)) workers_write_entry(&all->entry[i], w);
    jsonw_end(w, ']');
    jsonw_end(w, '}');
}
