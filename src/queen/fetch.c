/* fetch: see fetch.h. */
#include "queen/fetch.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "model/repo.h"
#include "store/modeldb.h"

#define AT_ONCE    2
#define WAITING    64
#define REMEMBERED 64
#define FAILED_NS  ((uint64_t)60 * 1000000000u)

struct one {
    struct fetcher *of;
    struct one *next;
    uv_work_t work;
    bool running;
    enum shelf_missing what;
    char id[LIMIT_HUB_STR], set[LIMIT_HUB_STR];
    struct hives_view *view;
    struct remote_conf remote;
    uint64_t until_ns;
    struct shelf_header *header;
    enum err code;
    struct err_info e;
};

struct failure {
    char id[LIMIT_HUB_STR];
    enum shelf_missing what;
    struct err_info e;
    uint64_t at_ns;
};

struct fetcher {
    struct fetch_conf conf;
    struct one *all;
    unsigned n, n_running;
    atomic_bool stop;
    struct failure failed[REMEMBERED];
    unsigned next_failed;
};

/* ---- in a thread of the pool ---- */

static bool must_stop(void *owner)
{
    const struct one *x = owner;

    return atomic_load(&x->of->stop) || os_now_ns() > x->until_ns;
}

static enum err fetch_detail(struct one *x, struct modeldb *db, struct arena *a)
{
    struct hubapi_repo repo;
    struct pick_name name;
    enum err err;

    if ((err = pick_name(str_c(x->id), &name, &x->e)) ||
        (err = hubapi_list(&repo, a, &x->remote.net, &name, &x->e)))
        return err;
    if (!str_ieq(repo.id, str_c(x->id)))
        return ERR_FAIL(&x->e, NOTFOUND, "the Hub calls it '%.*s' now", STR(repo.id));
    if ((err = modeldb_put(db, repo.id, repo.text, &x->e)) || repo.n_files) return err;
    /* The row is better than nothing, but asking again would not make it a detail. */
    return ERR_FAIL(&x->e, UNAVAILABLE, "the Hub does not say how large its files are");
}

/* Is it one of the files that make the set a model? Of a folder all small ones at its top may be.
 */
static bool belongs(const struct hub_model *m, const struct hub_file *f, uint32_t set)
{
    bool folder = m->sets[set].format == FILENAME_SAFETENSORS;

    if (f->set == set) return true;
    if (!folder || f->set != UINT32_MAX) return false;
    return str_find(f->path, S("/"), 0) == SIZE_MAX || str_eqc(f->path, "1_Pooling/config.json");
}

static enum err pick_set(struct one *x, struct precheck *c, uint32_t set)
{
    const struct hub_model *m = &c->hub;
    struct pick_file *files = ARENA_NEW(c->a, struct pick_file, m->n_files + 1);
    struct pick *p = &c->pick;

    c->repo = (struct hubapi_repo){.id = m->id, .commit = m->sha, .files = files};
    p->files = ARENA_NEW(c->a, uint32_t, m->n_files + 1);
    p->folder = m->sets[set].format == FILENAME_SAFETENSORS;
    if (!files || !p->files) return ERR_FAIL(&x->e, NOMEM, "no memory for %zu files", m->n_files);
    for (uint32_t i = 0; i < m->n_files; i++) {
        const struct hub_file *f = &m->files[i];
        uint32_t at = (uint32_t)c->repo.n_files;

        if (!belongs(m, f, set) || !f->bytes || !repo_path_ok(f->path)) continue;
        if (p->folder ? str_eqc(f->path, "config.json") : i == m->sets[set].first) p->main = at;
        p->files[p->n++] = at;
        files[c->repo.n_files++] =
            (struct pick_file){.path = f->path, .bytes = f->bytes, .name = f->name};
        p->bytes += f->bytes;
    }
    if (!p->n) return ERR_FAIL(&x->e, NOTFOUND, "the files of '%s' have no sizes", x->set);
    return ERR_OK;
}

/* What the header says about memory, for all sets of the repository. */
static enum err keep_shape(struct one *x, struct modeldb *db, const struct shelf_header *h)
{
    static const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    const struct machine *m = x->view && x->view->n ? x->view->machine : NULL;
    struct precheck p = h->pre;
    struct verdict v;
    struct arena a;
    enum err err = ERR_OK;

    if (!m || !m->n || !p.remote.opened) return ERR_OK;
    const struct precheck_for f = {&m->devices[0].caps, &m->devices[0].device, &ask};
    arena_init(&a, LIMIT_GGUF_ARENA);
    p.a = &a;
    precheck_judge(&p, &f, &v);
    if (v.shape.source == MEMORY_HEADER || v.shape.source == MEMORY_CONFIG)
        err = modeldb_shape_put(db, p.hub.id, h->set, &v.shape, &x->e);
    arena_fini(&a);
    return err;
}

static enum err read_header(struct one *x, struct modeldb *db, struct shelf_header *h)
{
    struct precheck *p = &h->pre;
    const struct json *v;
    struct modeldb_row row;
    uint32_t set = 0;
    enum err err;

    if ((err = modeldb_get(db, str_c(x->id), p->a, &row, &x->e)) ||
        (err = json_parse(p->a, row.entry, &v, &x->e)) ||
        (err = hub_parse(&p->hub, p->a, v, &x->e)))
        return err;
    while (set < p->hub.n_sets && !str_eqc(p->hub.sets[set].name, x->set))
        set++;
    if (set == p->hub.n_sets)
        return ERR_FAIL(&x->e, NOTFOUND, "the repository no longer has '%s'", x->set);
    h->set = p->hub.sets[set].name;
    if ((err = pick_set(x, p, set)) ||
        (err = remote_open(&p->remote, p->a, &x->remote, &p->repo, &p->pick, &x->e)))
        return err;
    p->picked = true;
    return keep_shape(x, db, h);
}

static enum err fetch_header(struct one *x, struct modeldb *db)
{
    struct shelf_header *h = mem_alloc(sizeof *h);
    enum err err;

    if (!h) return ERR_FAIL(&x->e, NOMEM, "no memory for a header");
    arena_init(&h->arena, LIMIT_GGUF_ARENA + LIMIT_HF_ARENA);
    h->pre.a = &h->arena;
    if ((err = read_header(x, db, h)))
        shelf_header_free(h);
    else
        x->header = h;
    return err;
}

static void work(uv_work_t *w)
{
    struct one *x = w->data;
    struct modeldb *db;
    struct arena a;

    x->until_ns = os_now_ns() + (uint64_t)FETCH_MS * 1000000u;
    if ((x->code = modeldb_open(&db, x->of->conf.path, &x->e))) return;
    arena_init(&a, LIMIT_STORE_ARENA + LIMIT_PULL_REPLY);
    x->code = x->what == SHELF_HEADER ? fetch_header(x, db) : fetch_detail(x, db, &a);
    arena_fini(&a);
    modeldb_close(db);
}

/* ---- on the loop ---- */

static void remember(struct fetcher *f, const struct one *x)
{
    struct failure *k = &f->failed[f->next_failed++ % REMEMBERED];

    snprintf(k->id, sizeof k->id, "%s", x->id);
    k->what = x->what;
    k->e = x->e;
    k->at_ns = os_now_ns();
}

const struct err_info *fetch_failed(const struct fetcher *f, enum shelf_missing what, str id)
{
    for (unsigned i = 0; i < REMEMBERED; i++) {
        const struct failure *k = &f->failed[i];

        if (k->at_ns && k->what == what && str_ieq(id, str_c(k->id)) &&
            os_now_ns() - k->at_ns < FAILED_NS)
            return &k->e;
    }
    return NULL;
}

static void begin(struct fetcher *f);

static void one_free(struct one *x)
{
    struct one **at = &x->of->all;

    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    x->of->n--;
    hives_drop(x->view);
    shelf_header_free(x->header);
    mem_free(x);
}

static void done(uv_work_t *w, int status)
{
    struct one *x = w->data;
    struct fetcher *f = x->of;
    struct shelf_header *h = x->header;
    char id[LIMIT_HUB_STR];

    f->n_running--;
    if (status) x->code = ERR_FAIL(&x->e, NOMEM, "no thread to ask the Hub with");
    if (x->code) remember(f, x);
    memcpy(id, x->id, sizeof id);
    x->header = NULL;
    one_free(x);
    if (atomic_load(&f->stop)) {
        shelf_header_free(h);
        return;
    }
    if (h) f->conf.got(h, f->conf.owner);
    f->conf.ended(str_c(id), f->conf.owner);
    begin(f);
}

static void begin(struct fetcher *f)
{
    for (struct one *x = f->all; x && f->n_running < AT_ONCE; x = x->next) {
        if (x->running) continue;
        x->running = true;
        x->work.data = x;
        f->n_running++;
        if (uv_queue_work(f->conf.loop, &x->work, work, done)) {
            done(&x->work, UV_ENOMEM);
            return;
        }
    }
}

bool fetch_want(struct fetcher *f, enum shelf_missing what, str id, str set, struct hives_view *v)
{
    struct one *x;

    for (x = f->all; x; x = x->next)
        if (x->what == what && str_ieq(id, str_c(x->id)) && str_eqc(set, x->set)) return true;
    if (atomic_load(&f->stop) || f->n >= WAITING || id.n >= sizeof x->id ||
        set.n >= sizeof x->set || !(x = mem_alloc(sizeof *x)))
        return false;
    x->of = f;
    x->what = what;
    memcpy(x->id, id.p, id.n);
    if (set.n) memcpy(x->set, set.p, set.n);
    if (remote_conf_init(&x->remote, f->conf.store, &x->e)) {
        x->code = x->e.code;
        remember(f, x);
        mem_free(x);
        return false;
    }
    x->remote.net.stop = must_stop;
    x->remote.net.owner = x;
    if ((x->view = v)) hives_keep(v);
    x->next = f->all;
    f->all = x;
    f->n++;
    begin(f);
    return true;
}

enum err fetch_new(struct fetcher **out, const struct fetch_conf *c, struct err_info *e)
{
    struct fetcher *f = mem_alloc(sizeof *f);

    if (!f) return ERR_FAIL(e, NOMEM, "no memory to ask the Hub with");
    f->conf = *c;
    *out = f;
    return ERR_OK;
}

void fetch_stop(struct fetcher *f)
{
    struct one *next;

    atomic_store(&f->stop, true);
    for (struct one *x = f->all; x; x = next) {
        next = x->next;
        if (!x->running) one_free(x);
    }
}

void fetch_free(struct fetcher *f)
{
    mem_free(f);
}
