/* shelf: see shelf.h; one model is in shelf_model.c. */
#include "queen/shelf.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "queen/shelf_int.h"

#define ROW_ARENA MIB(64)

/* ---- life cycle ---- */

enum err shelf_new(struct shelf **out, const struct shelf_conf *c, struct err_info *e)
{
    struct shelf *s = mem_alloc(sizeof *s);

    if (!s) return ERR_FAIL(e, NOMEM, "no memory for the catalogue");
    if (snprintf(s->path, sizeof s->path, "%s", c->path) >= (int)sizeof s->path) {
        mem_free(s);
        return ERR_FAIL(e, INVALID, "the path of the catalogue is too long");
    }
    s->ask = c->ask;
    *out = s;
    return ERR_OK;
}

static void forget(struct shelf *s)
{
    modeldb_close(s->db);
    catalog_free(s->catalog);
    s->db = NULL;
    s->catalog = NULL;
    s->revision = s->skipped = 0;
}

void shelf_free(struct shelf *s)
{
    if (!s) return;
    forget(s);
    for (size_t i = 0; i < SHELF_HEADERS; i++)
        shelf_header_free(s->header[i]);
    mem_free(s);
}

struct hives_view *shelf_view(struct shelf *s)
{
    return s->view;
}

/* ---- headers ---- */

void shelf_header_free(struct shelf_header *h)
{
    if (!h) return;
    precheck_close(&h->pre);
    arena_fini(&h->arena);
    mem_free(h);
}

/* In place of one of the same set, of nothing, or of the one that was used longest ago. */
void shelf_keep(struct shelf *s, struct shelf_header *h)
{
    size_t at = 0;

    for (size_t i = 0; i < SHELF_HEADERS; i++) {
        const struct shelf_header *x = s->header[i], *y = s->header[at];

        if (x && str_eq(x->pre.hub.id, h->pre.hub.id) && str_eq(x->set, h->set)) {
            at = i;
            break;
        }
        if (y && (!x || x->used < y->used)) at = i;
    }
    shelf_header_free(s->header[at]);
    h->used = ++s->clock;
    s->header[at] = h;
}

size_t shelf_headers_of(struct shelf *s, const struct hub_model *m,
                        const struct shelf_header *out[SHELF_HEADERS])
{
    size_t n = 0;

    for (size_t i = 0; i < SHELF_HEADERS; i++) {
        struct shelf_header *h = s->header[i];

        if (!h || !str_eq(h->pre.hub.id, m->id) || !str_eq(h->pre.hub.sha, m->sha)) continue;
        h->used = ++s->clock;
        out[n++] = h;
    }
    return n;
}

/* ---- rows ---- */

struct load {
    struct shelf *s;
    struct arena a;
};

/* A row that cannot be read is left out: it must not take the others with it. */
static enum err on_row(void *owner, const struct modeldb_row *row, struct err_info *e)
{
    struct load *l = owner;
    const struct memory_shape *shape = row->n_shapes ? &row->shapes[0].shape : NULL;
    const struct json *v;
    struct hub_model m;
    enum err err;

    if (row->removed) {
        catalog_remove(l->s->catalog, row->id);
        return ERR_OK;
    }
    arena_clear(&l->a);
    if ((err = json_parse(&l->a, row->entry, &v, e)) || (err = hub_parse(&m, &l->a, v, e)) ||
        (err = catalog_put(l->s->catalog, &m, shape, e)))
        l->s->skipped++;
    return err == ERR_NOMEM ? err : ERR_OK;
}

static enum err load(struct shelf *s, struct err_info *e)
{
    struct load l = {.s = s};
    enum err err;

    arena_init(&l.a, ROW_ARENA);
    err = modeldb_each(s->db, &s->revision, on_row, &l, e);
    arena_fini(&l.a);
    return err;
}

static enum err start_anew(struct shelf *s, struct err_info *e)
{
    forget(s);
    s->judged = false;
    if (!(s->catalog = catalog_new())) return ERR_FAIL(e, NOMEM, "no memory for the catalogue");
    return ERR_OK;
}

/* Opens the file that is there now; without one the catalogue is empty. */
static enum err open_file(struct shelf *s, struct err_info *e)
{
    struct stat st;
    bool there = stat(s->path, &st) == 0;
    enum err err;

    if (s->catalog && there == (s->db != NULL) &&
        (!there || (st.st_ino == s->inode && st.st_dev == s->device)))
        return ERR_OK;
    if ((err = start_anew(s, e)) || !there) return err;
    s->inode = st.st_ino;
    s->device = st.st_dev;
    if ((err = modeldb_open(&s->db, s->path, e))) forget(s);
    if (!err) s->origin = modeldb_origin(s->db);
    return err;
}

static enum err read_news(struct shelf *s, struct err_info *e)
{
    uint64_t revision;
    enum err err = open_file(s, e);

    if (err || !s->db) return err;
    if ((err = modeldb_revision(s->db, &revision, e))) return err;
    if (revision < s->revision) { /* somebody put an older file in its place */
        forget(s);
        if ((err = open_file(s, e))) return err;
    }
    return revision == s->revision ? ERR_OK : load(s, e);
}

/* ---- machines ---- */

static bool same_device(const struct machine_device *a, const struct machine_device *b)
{
    uint64_t more = a->device.memory, less = b->device.memory;

    if (more < less) {
        more = b->device.memory;
        less = a->device.memory;
    }
    return str_eq(a->worker, b->worker) && str_eq(a->backend, b->backend) &&
           str_eq(a->caps.version, b->caps.version) && str_eq(a->device.name, b->device.name) &&
           a->measured == b->measured && a->device.threads == b->device.threads &&
           memcmp(&a->rates, &b->rates, sizeof a->rates) == 0 &&
           more - less <= a->memory_total / 50;
}

static bool same_machines(const struct hives_view *a, const struct hives_view *b)
{
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (a->machine[i].n != b->machine[i].n) return false;
        for (size_t k = 0; k < a->machine[i].n; k++)
            if (!same_device(&a->machine[i].devices[k], &b->machine[i].devices[k])) return false;
    }
    return true;
}

static enum err judge(struct shelf *s, struct err_info *e)
{
    struct catalog_device *d = s->devices;
    enum err err;

    s->n_devices = 0;
    for (size_t i = 0; s->view && i < s->view->n; i++) {
        const struct machine *m = &s->view->machine[i];

        for (size_t k = 0; k < m->n && s->n_devices < LIMIT_INDEX_DEVICES; k++) {
            s->of[s->n_devices] = &m->devices[k];
            d[s->n_devices++] = (struct catalog_device){&m->devices[k].caps, m->devices[k].device,
                                                        m->devices[k].backend};
        }
    }
    err = catalog_judge(s->catalog, d, s->n_devices, &s->ask, e);
    s->judged = !err;
    return err;
}

enum err shelf_refresh(struct shelf *s, struct hives_view **view, struct err_info *e)
{
    struct hives_view *old = s->view;
    enum err err = read_news(s, e);

    if (*view && (!old || !same_machines(old, *view))) {
        s->view = *view;
        *view = old;
        s->judged = false;
    }
    if (!s->catalog) return err;
    if (!s->judged) {
        enum err failed = judge(s, err ? NULL : e);

        if (failed) forget(s); /* its devices may be those of the view before */
        if (!err) err = failed;
    }
    return err;
}

/* ---- answers ---- */

void shelf_write_machines(const struct shelf *s, struct jsonw *w)
{
    jsonw_key(w, "machines");
    jsonw_arr(w);
    for (size_t i = 0; i < s->n_devices; i++) {
        const struct machine_device *d = s->of[i];

        jsonw_obj(w);
        jsonw_kstr(w, "machine", d->device.name);
        jsonw_kstr(w, "device", d->id);
        jsonw_kstr(w, "backend", d->backend);
        jsonw_kstr(w, "worker", d->worker);
        jsonw_kint(w, "memory", (int64_t)d->device.memory);
        jsonw_kbool(w, "measured", d->measured);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

static void write_index(const struct shelf *s, struct jsonw *w)
{
    jsonw_key(w, "index");
    jsonw_obj(w);
    jsonw_kint(w, "models", (int64_t)catalog_count(s->catalog));
    jsonw_kint(w, "revision", (int64_t)s->revision);
    jsonw_kint(w, "left_out", (int64_t)s->skipped);
    jsonw_end(w, '}');
    jsonw_key(w, "hint");
    if (catalog_count(s->catalog) == 0)
        jsonw_c(w, "the catalogue is empty: `rbee catalog sync` fetches the Hub's, `rbee catalog "
                   "import FILE` reads a snapshot");
    else if (s->n_devices == 0)
        jsonw_c(w, "no machine is known yet: nothing is judged, everything is shown");
    else
        jsonw_null(w);
}

/* Joins what the shelf has to say to the object that out ends with. */
static enum err finish(const struct shelf *s, buf *out, struct err_info *e)
{
    struct jsonw w;
    buf more = {.cap = MIB(1)};

    jsonw_init(&w, &more);
    jsonw_obj(&w);
    shelf_write_machines(s, &w);
    write_index(s, &w);
    jsonw_end(&w, '}');
    if (!out->failed && out->n && out->p[out->n - 1] == '}') {
        out->n--;
        buf_ch(out, ',');
    }
    buf_str(out, str_sub(buf_view(&more), 1, SIZE_MAX));
    if (more.failed) out->failed = true;
    buf_fini(&more);
    return out->failed ? ERR_FAIL(e, LIMIT, "the answer is too large; ask for fewer models")
                       : ERR_OK;
}

enum err shelf_models(struct shelf *s, const struct catalog_query *q, struct arena *a, buf *out,
                      struct err_info *e)
{
    struct catalog_page page;
    struct jsonw w;
    enum err err = catalog_find(s->catalog, q, a, &page, e);

    if (err) return err;
    jsonw_init(&w, out);
    catalog_write_page(&page, q, &w);
    return finish(s, out, e);
}

enum err shelf_facets(struct shelf *s, const struct catalog_query *q, struct arena *a, buf *out,
                      struct err_info *e)
{
    struct catalog_facets f;
    struct jsonw w;
    enum err err = catalog_facets(s->catalog, q, a, &f, e);

    if (err) return err;
    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_key(&w, "facets");
    catalog_write_facets(&f, &w);
    jsonw_end(&w, '}');
    return finish(s, out, e);
}
