/* gateway: see gateway.h.
 *
 * One request: read the model's name out of the body; with a remembered worker relay at once; else
 * ask the hive for one (which loads the model) and relay then. The body itself goes on as it came.
 */
#include "queen/gateway.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "net/relay.h"

#define PLACES      128 /* remembered models */
#define TRIES       3
#define PATIENCE_NS ((uint64_t)10 * 1000000000u) /* for a hive that restarts */

struct place {
    char model[256];
    uint32_t worker;
    unsigned epoch;
    uint64_t used;
};

struct gateway {
    uv_loop_t *loop;
    struct upstream *up;
    struct place places[PLACES];
    struct gateway_counts counts;
    uint64_t clock, last_ns;
    struct trip *parked; /* wait for the hive, latest first */
};

struct trip { /* one request under way; lives in the heap until the relay is done */
    struct gateway *g;
    struct http_req *r;
    struct upstream_ask *ask;
    str model, target; /* in the request's arena */
    char keep_alive[32];
    uint32_t worker;
    int tries;
    struct trip *next; /* of the parked ones */
    bool parked;
    uint64_t parked_ns;
};

static void send_on(struct trip *t);

/* ---- the table ---- */

static struct place *remembered(struct gateway *g, str model)
{
    for (int i = 0; i < PLACES; i++) {
        struct place *p = &g->places[i];

        if (p->worker && p->epoch == upstream_epoch(g->up) && str_eqc(model, p->model)) {
            p->used = ++g->clock;
            return p;
        }
    }
    return NULL;
}

static void remember(struct gateway *g, str model, uint32_t worker)
{
    struct place *oldest = &g->places[0];

    if (model.n >= sizeof oldest->model) return;
    for (int i = 1; i < PLACES; i++) {
        if (g->places[i].used < oldest->used) oldest = &g->places[i];
    }
    memcpy(oldest->model, model.p, model.n);
    oldest->model[model.n] = 0;
    oldest->worker = worker;
    oldest->epoch = upstream_epoch(g->up);
    oldest->used = ++g->clock;
}

static void forget(struct gateway *g, uint32_t worker)
{
    for (int i = 0; i < PLACES; i++) {
        if (g->places[i].worker == worker) g->places[i] = (struct place){0};
    }
}

/* ---- one request ---- */

static void unpark(struct trip *t)
{
    struct trip **at = &t->g->parked;

    if (!t->parked) return;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->parked = false;
}

static void trip_end(struct trip *t)
{
    unpark(t);
    t->g->counts.active--;
    t->g->last_ns = os_now_ns();
    mem_free(t);
}

static void fail(struct trip *t, enum err code, const char *text)
{
    struct http_req *r = t->r;

    t->g->counts.failed++;
    r->gone = NULL;
    trip_end(t);
    http_error(r, code, "%s", text);
}

static void on_gone(struct http_req *r)
{
    struct trip *t = r->owner;

    t->g->counts.cancelled++;
    if (t->ask) upstream_cancel(t->ask);
    trip_end(t);
}

/* The hive's error object, passed on with its own code. */
static void fail_with_reply(struct trip *t, int status, str body)
{
    struct arena a;
    const struct json *v, *err;
    enum err code = status == 404 ? ERR_NOMODEL : ERR_UNAVAILABLE;
    char text[ERR_TEXT_MAX];

    snprintf(text, sizeof text, "the hive answered with status %d", status);
    arena_init(&a, MIB(1));
    if (json_parse(&a, body, &v, NULL) == ERR_OK && (err = json_get(v, "error"))) {
        str name = json_str(json_get(err, "code"), S(""));

        code = err_from_name(name.p, name.n);
        snprintf(text, sizeof text, "%.*s", STR(json_str(json_get(err, "message"), S(""))));
    }
    arena_fini(&a);
    fail(t, code, text);
}

static void park(struct trip *t)
{
    t->r->owner = t;
    t->r->gone = on_gone;
    t->parked = true;
    t->parked_ns = os_now_ns();
    t->next = t->g->parked;
    t->g->parked = t;
}

static void on_worker(int status, str body, enum err code, void *owner)
{
    struct trip *t = owner;
    struct arena a;
    const struct json *v;
    int64_t id = 0;

    t->ask = NULL;
    if (code && ++t->tries < TRIES) {
        park(t);
        return;
    }
    if (code) {
        fail(t, ERR_UNAVAILABLE, "this machine's hive cannot be reached; it is being restarted");
        return;
    }
    if (status != 200) {
        fail_with_reply(t, status, body);
        return;
    }
    arena_init(&a, MIB(1));
    if (json_parse(&a, body, &v, NULL) == ERR_OK) id = json_int(json_get(v, "id"), 0);
    arena_fini(&a);
    if (id <= 0 || id > UINT32_MAX) {
        fail(t, ERR_INTERNAL, "the hive's reply names no worker");
        return;
    }
    t->worker = (uint32_t)id;
    remember(t->g, t->model, t->worker);
    send_on(t);
}

static void ask_worker(struct trip *t)
{
    struct jsonw w;
    buf b;

    if (!upstream_ready(t->g->up)) {
        park(t);
        return;
    }
    buf_init(&b, KIB(16));
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kstr(&w, "model", t->model);
    if (t->keep_alive[0]) {
        jsonw_key(&w, "keep_alive_ms");
        jsonw_raw(&w, str_c(t->keep_alive));
    }
    jsonw_end(&w, '}');
    t->r->owner = t;
    t->r->gone = on_gone;
    t->ask = upstream_ask(t->g->up, S("POST"), S("/v1/workers"), buf_view(&b), on_worker, t);
    buf_fini(&b);
    if (!t->ask) fail(t, ERR_UNAVAILABLE, "this machine's hive takes no more connections");
}

void gateway_wake(struct gateway *g)
{
    struct trip *list = g->parked, *next;

    g->parked = NULL;
    for (struct trip *t = list; t; t = next) {
        next = t->next;
        t->parked = false;
        ask_worker(t);
    }
}

void gateway_tick(struct gateway *g)
{
    struct trip *next;

    for (struct trip *t = g->parked; t; t = next) {
        next = t->next;
        if (os_now_ns() - t->parked_ns > PATIENCE_NS)
            fail(t, ERR_UNAVAILABLE, "this machine's hive does not answer; try again in a moment");
    }
}

/* What a second try may mend: the worker has gone, or never answered. */
static bool worth_retry(int status)
{
    return status == 404 || status == 502 || status == 503;
}

static bool on_failed(struct http_req *r, int status, enum err code, const char *text, void *owner)
{
    struct trip *t = owner;

    (void)r, (void)status, (void)code, (void)text;
    forget(t->g, t->worker);
    if (t->tries >= TRIES) return false;
    t->g->counts.retried++;
    t->worker = 0; /* on_relay_done() of the failed relay sees that the trip goes on */
    return true;
}

static void on_relay_done(void *owner)
{
    struct trip *t = owner;

    if (t->worker == 0)
        ask_worker(t);
    else
        trip_end(t);
}

static void send_on(struct trip *t)
{
    struct http_header keep = {S("X-Rbee-Keep-Alive"), str_c(t->keep_alive)};
    struct relay_conf rc = {
        .to = upstream_client(t->g->up),
        .peer = "this machine's hive",
        .target = arena_printf(t->r->arena, "/workers/%u%.*s", t->worker, STR(t->target)),
        .headers = &keep,
        .n_headers = t->keep_alive[0] ? 1 : 0,
        .error_event = jsonw_error,
        .failed = on_failed,
        .done = on_relay_done,
        .owner = t,
    };

    if (!rc.to) {
        ask_worker(t);
        return;
    }
    t->tries++;
    if (t->tries < TRIES) rc.retry = worth_retry;
    if (!relay_start(t->r, t->g->loop, &rc))
        fail(t, ERR_UNAVAILABLE, "this machine's hive takes no more connections");
}

static bool is_path(str model)
{
    return str_starts(model, S("/")) || str_starts(model, S("./")) || str_starts(model, S("../")) ||
           str_starts(model, S("~"));
}

void gateway_serve(struct gateway *g, struct http_req *r, const char *target, bool paths)
{
    const struct json *body, *keep;
    struct err_info e;
    struct trip *t;
    struct place *p;
    str model;
    int64_t ms;

    g->counts.requests++;
    g->last_ns = os_now_ns();
    if (json_parse(r->arena, r->body, &body, &e)) {
        http_error(r, ERR_INVALID, "the body is not JSON: %s", e.text);
        return;
    }
    model = json_str(json_get(body, "model"), S(""));
    if (model.n == 0) {
        http_error(r, ERR_INVALID, "'model' is missing: name one of GET /v1/models");
        return;
    }
    if (!paths && is_path(model)) {
        http_error(r, ERR_NOMODEL,
                   "models are named by path only on a queen that listens on loopback");
        return;
    }
    if (!(t = mem_alloc(sizeof *t))) {
        http_error(r, ERR_NOMEM, "no memory for the request");
        return;
    }
    *t = (struct trip){.g = g, .r = r, .model = model, .target = str_c(target)};
    keep = json_get(body, "keep_alive");
    if (keep && openai_keep_alive(keep, &ms))
        snprintf(t->keep_alive, sizeof t->keep_alive, "%lld", (long long)ms);
    g->counts.active++;
    log_ev(LOG_REQUEST, "target", t->target.p);
    if ((p = remembered(g, model))) {
        t->worker = p->worker;
        send_on(t);
    } else {
        ask_worker(t);
    }
}

enum err gateway_new(struct gateway **out, uv_loop_t *loop, struct upstream *up, struct err_info *e)
{
    struct gateway *g = mem_alloc(sizeof *g);

    if (!g) return ERR_FAIL(e, NOMEM, "no memory for the gateway");
    g->loop = loop;
    g->up = up;
    g->last_ns = os_now_ns();
    *out = g;
    return ERR_OK;
}

void gateway_free(struct gateway *g)
{
    mem_free(g);
}

struct gateway_counts gateway_counts(const struct gateway *g)
{
    return g->counts;
}

uint64_t gateway_last_ns(const struct gateway *g)
{
    return g->last_ns;
}
