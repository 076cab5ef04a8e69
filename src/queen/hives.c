/* hives: see hives.h. */
#include "queen/hives.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"

#define VIEW_ARENA MIB(64)

struct hives_ask {
    struct hives *of;
    struct upstream_ask *call; /* NULL: waits for the hive */
    bool measure;
    uint64_t since_ns;
    hives_then *then;
    void *owner;
    struct hives_ask *next;
};

struct hives {
    struct upstream *up;
    struct hives_view *last;
    struct hives_ask *asks;
};

/* ---- views ---- */

void hives_keep(struct hives_view *v)
{
    v->refs++;
}

void hives_drop(struct hives_view *v)
{
    if (!v || --v->refs) return;
    arena_fini(&v->arena);
    mem_free(v);
}

struct hives_view *hives_last(struct hives *h)
{
    return h->last;
}

bool hives_ready(const struct hives *h)
{
    return upstream_ready(h->up);
}

static enum err read_view(struct hives_view *v, str body, struct err_info *e)
{
    str text = arena_str(&v->arena, body);
    struct machine *m = ARENA_NEW(&v->arena, struct machine, 1);
    const struct json *said;
    enum err err;

    if (!text.p || !m) return ERR_FAIL(e, NOMEM, "no memory for what the hive says");
    if ((err = json_parse(&v->arena, text, &said, e)) ||
        (err = machine_parse(m, &v->arena, said, e)) ||
        (err = workers_parse(&v->workers, &v->arena, json_get(said, "workers"), e)))
        return err;
    v->machine = m;
    v->said = said;
    v->n = 1;
    v->measured = m->n > 0;
    for (size_t i = 0; i < m->n; i++)
        v->measured = v->measured && m->devices[i].measured;
    v->taken_ns = os_now_ns();
    return ERR_OK;
}

static enum err view_of(struct hives_view **out, str body, struct err_info *e)
{
    struct hives_view *v = mem_alloc(sizeof *v);
    enum err err;

    if (!v) return ERR_FAIL(e, NOMEM, "no memory for what the hive says");
    arena_init(&v->arena, VIEW_ARENA);
    v->refs = 1;
    if ((err = read_view(v, body, e)))
        hives_drop(v);
    else
        *out = v;
    return err;
}

/* ---- asking ---- */

static void unlist(struct hives_ask *k)
{
    struct hives_ask **at = &k->of->asks;

    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
}

static void end(struct hives_ask *k, struct hives_view *v, const struct err_info *e)
{
    hives_then *then = k->then;
    void *owner = k->owner;

    unlist(k);
    mem_free(k);
    then(v, e, owner);
}

/* The hive's error object, with its own code. */
static void read_error(struct err_info *e, int status, str body)
{
    struct arena a;
    const struct json *v, *x = NULL;
    enum err code = ERR_UNAVAILABLE;

    arena_init(&a, MIB(1));
    if (json_parse(&a, body, &v, NULL) == ERR_OK) x = json_get(v, "error");
    if (x) {
        str name = json_str(json_get(x, "code"), S(""));

        code = err_from_name(name.p, name.n);
        err_fail(e, code, __FILE__, __LINE__, "%.*s",
                 STR(json_str(json_get(x, "message"), S("no reason given"))));
    } else {
        err_fail(e, code, __FILE__, __LINE__, "this machine's hive answered with status %d",
                 status);
    }
    arena_fini(&a);
}

static void on_answer(int status, str body, enum err code, void *owner)
{
    struct hives_ask *k = owner;
    struct hives *h = k->of;
    struct hives_view *v = NULL;
    struct err_info e = {.text = ""};

    k->call = NULL;
    if (code) return; /* the hive is restarted: hives_wake() asks again, hives_tick() gives up */
    if (status != 200) {
        read_error(&e, status, body);
        end(k, NULL, &e);
    } else if (view_of(&v, body, &e)) {
        end(k, NULL, &e);
    } else {
        hives_drop(h->last);
        h->last = v;
        hives_keep(v);
        end(k, v, NULL);
        hives_drop(v);
    }
}

static void send_on(struct hives_ask *k)
{
    if (k->call || !upstream_ready(k->of->up)) return;
    k->call = upstream_ask(k->of->up, S("GET"),
                           k->measure ? S("/v1/machine") : S("/v1/machine?measure=no"), S(""),
                           on_answer, k);
}

struct hives_ask *hives_ask(struct hives *h, bool measure, hives_then *then, void *owner)
{
    struct hives_ask *k = mem_alloc(sizeof *k);

    if (!k) return NULL;
    *k = (struct hives_ask){.of = h,
                            .measure = measure,
                            .since_ns = os_now_ns(),
                            .then = then,
                            .owner = owner,
                            .next = h->asks};
    h->asks = k;
    send_on(k);
    return k;
}

void hives_cancel(struct hives_ask *k)
{
    if (k->call) upstream_cancel(k->call);
    unlist(k);
    mem_free(k);
}

void hives_wake(struct hives *h)
{
    for (struct hives_ask *k = h->asks; k; k = k->next)
        send_on(k);
}

void hives_tick(struct hives *h)
{
    struct err_info e;
    struct hives_ask *k = h->asks;

    while (k) {
        if (os_now_ns() - k->since_ns < (uint64_t)HIVES_PATIENCE_MS * 1000000u) {
            send_on(k);
            k = k->next;
            continue;
        }
        if (k->call) upstream_cancel(k->call);
        k->call = NULL;
        if (k->measure) { /* that takes long here: what is known without it */
            k->measure = false;
            k->since_ns = os_now_ns();
            continue;
        }
        (void)ERR_FAIL(&e, UNAVAILABLE,
                       "this machine's hive does not answer; try again in a moment");
        end(k, NULL, &e);
        k = h->asks; /* whoever was called may have asked or cancelled */
    }
}

/* ---- life cycle ---- */

enum err hives_new(struct hives **out, struct upstream *up, struct err_info *e)
{
    struct hives *h = mem_alloc(sizeof *h);

    if (!h) return ERR_FAIL(e, NOMEM, "no memory for the list of hives");
    h->up = up;
    *out = h;
    return ERR_OK;
}

void hives_free(struct hives *h)
{
    struct hives_ask *next;

    if (!h) return;
    for (struct hives_ask *k = h->asks; k; k = next) {
        next = k->next;
        mem_free(k);
    }
    hives_drop(h->last);
    mem_free(h);
}
