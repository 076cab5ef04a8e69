/* catalog_api: see catalog_api.h.
 *
 * A question goes: hives (who are the machines) -> lane (the shelf answers) -> reply; that on one
 * model may go from the lane to the fetcher and back, once for each thing that is missing.
 */
#include "queen/catalog_api.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/url.h"
#include "model/repo.h"
#include "queen/fetch.h"
#include "queen/lane.h"

#define QUESTIONS      256 /* that wait for the shelf */
#define QUESTION_ARENA MIB(256)
#define VIEW_OLD_NS    ((uint64_t)2 * 1000000000u)
#define MEASURE_NS     ((uint64_t)300 * 1000000000u)
#define WAIT_MOST      30 /* seconds */

/* How long an answer waits for what is missing unless the request says otherwise, seconds. */
static const unsigned patience[] = {
    [SHELF_NOTHING] = 0, [SHELF_ROW] = 10, [SHELF_DETAIL] = 3, [SHELF_HEADER] = 0};

enum kind { MODELS, FACETS, MODEL };

struct catalog_api {
    struct catalog_api_conf conf;
    char path[STORE_PATH_MAX];
    struct shelf *shelf; /* the lane's */
    struct lane *lane;
    struct fetcher *fetcher;
    struct hives_ask *refresh; /* in the background */
    uint64_t measured_ns;      /* when rates were asked for */
    uint64_t last_ns;
    struct question *parked; /* wait for the fetcher */
    bool stopped;
};

struct question {
    struct lane_job job;
    struct catalog_api *of;
    struct http_req *r; /* NULL: the client has gone */
    enum kind kind;
    struct arena a;
    struct catalog_query query;
    str id, set;
    bool may_fetch, wait_said, parked;
    unsigned wait;  /* seconds */
    unsigned asked; /* bits 1 << what was fetched for it */
    uint64_t since_ns, until_ns;
    struct hives_ask *asking;
    struct hives_view *view;
    struct err_info problem; /* why the last fetch failed */
    bool pending;
    buf out;
    enum err code;
    struct err_info e;
    struct shelf_answer answer;
    struct question *next; /* of the parked ones */
};

static void to_lane(struct question *q);

/* ---- life of a question ---- */

static void question_free(struct question *q)
{
    hives_drop(q->view);
    buf_fini(&q->out);
    arena_fini(&q->a);
    mem_free(q);
}

static void unpark(struct question *q)
{
    struct question **at = &q->of->parked;

    if (!q->parked) return;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    q->parked = false;
}

static void on_gone(struct http_req *r)
{
    struct question *q = r->owner;

    q->r = NULL;
    if (q->asking)
        hives_cancel(q->asking);
    else if (q->parked)
        unpark(q);
    else if (!lane_drop(q->of->lane, &q->job))
        return; /* it is being answered; on_done() ends it */
    question_free(q);
}

static void refuse(struct question *q, enum err code, const char *text)
{
    struct http_req *r = q->r;

    r->gone = NULL;
    if (code == ERR_BUSY) http_set_header(r, "Retry-After", "1");
    http_error(r, code, "%s", text);
    question_free(q); /* the text may be its own */
}

/* A model that the catalogue does not have. */
static void reply_missing(struct question *q)
{
    enum err code = q->problem.code;
    char text[ERR_TEXT_MAX];
    int n = (int)(q->id.n > 150 ? 150 : q->id.n);

    if (!code)
        snprintf(text, sizeof text,
                 "no model '%.*s' in the catalogue; `rbee catalog sync` fetches "
                 "what the Hub has",
                 n, q->id.p);
    else
        snprintf(text, sizeof text, "no model '%.*s' in the catalogue, and the Hub says: %.300s", n,
                 q->id.p, q->problem.text);
    if (!code || code == ERR_NOTFOUND || code == ERR_AUTH || code == ERR_ACCESS ||
        code == ERR_NOMODEL)
        refuse(q, ERR_NOMODEL, text);
    else
        refuse(q, ERR_UNAVAILABLE, text);
}

static void reply(struct question *q)
{
    struct http_req *r = q->r;

    if (q->code == ERR_NOMODEL) {
        reply_missing(q);
        return;
    }
    if (q->code) {
        refuse(q, q->code, q->e.text);
        return;
    }
    r->gone = NULL;
    http_set_header(r, "Cache-Control", "no-cache");
    http_reply(r, q->answer.status, "application/json", buf_view(&q->out));
    question_free(q);
}

/* ---- the shelf ---- */

static void work(struct lane_job *j)
{
    struct question *q = (struct question *)(void *)j;
    struct shelf *s = q->of->shelf;
    const struct shelf_ask ask = {.id = q->id,
                                  .q = &q->query,
                                  .set = q->set,
                                  .pending = q->pending,
                                  .problem = str_c(q->problem.code ? q->problem.text : "")};

    buf_clear(&q->out);
    q->answer = (struct shelf_answer){.status = 200};
    if ((q->code = shelf_refresh(s, &q->view, &q->e))) return;
    switch (q->kind) {
    case MODELS: q->code = shelf_models(s, &q->query, &q->a, &q->out, &q->e); break;
    case FACETS: q->code = shelf_facets(s, &q->query, &q->a, &q->out, &q->e); break;
    case MODEL: q->code = shelf_model(s, &ask, &q->a, &q->answer, &q->out, &q->e); break;
    }
}

/* Has what is missing fetched. True: the question waits for it. */
static bool wait_for_more(struct question *q)
{
    struct catalog_api *x = q->of;
    enum shelf_missing m = q->answer.missing;
    const struct err_info *failed = fetch_failed(x->fetcher, m, q->id);
    unsigned wait = patience[m == SHELF_HEADER && q->answer.decides ? SHELF_DETAIL : m];
    uint64_t patient = (uint64_t)(q->wait_said ? q->wait : wait) * 1000000000u;

    if (!q->may_fetch || m == SHELF_NOTHING || q->asked & 1u << m) return false;
    if (failed) {
        q->problem = *failed;
        q->asked |= 1u << m;
        q->pending = false;
        to_lane(q); /* once more, to say so */
        return true;
    }
    if (!fetch_want(x->fetcher, m, q->id, q->answer.set, hives_last(x->conf.hives))) return false;
    q->until_ns = q->since_ns + patient;
    if (os_now_ns() >= q->until_ns) return false;
    q->parked = true;
    q->next = x->parked;
    x->parked = q;
    return true;
}

static void on_done(struct lane_job *j, bool ran)
{
    struct question *q = (struct question *)(void *)j;

    hives_drop(q->view);
    q->view = NULL;
    if (!q->r)
        question_free(q);
    else if (!ran)
        refuse(q, ERR_CANCELLED, "the queen is stopping");
    else if (q->kind != MODEL || (q->code && q->code != ERR_NOMODEL) || !wait_for_more(q))
        reply(q);
}

static void to_lane(struct question *q)
{
    q->job.work = work;
    q->job.done = on_done;
    if (!lane_push(q->of->lane, &q->job))
        refuse(q, ERR_BUSY, "too many questions wait for the catalogue; try again in a moment");
}

/* ---- machines ---- */

static void on_refreshed(struct hives_view *v, const struct err_info *e, void *owner)
{
    struct catalog_api *x = owner;

    (void)v, (void)e;
    x->refresh = NULL;
}

/* The next question shall know the memory of now, and rates, which take seconds to measure. */
static void refresh_later(struct catalog_api *x, const struct hives_view *v)
{
    uint64_t now = os_now_ns();
    bool measure = !v->measured && (!x->measured_ns || now - x->measured_ns > MEASURE_NS);

    if (x->refresh || (!measure && now - v->taken_ns < VIEW_OLD_NS)) return;
    if (measure) x->measured_ns = now;
    x->refresh = hives_ask(x->conf.hives, measure, on_refreshed, x);
}

static void on_view(struct hives_view *v, const struct err_info *e, void *owner)
{
    struct question *q = owner;

    (void)e; /* without machines nothing is judged, and the answer says so */
    q->asking = NULL;
    if ((q->view = v)) {
        hives_keep(v);
        refresh_later(q->of, v);
    }
    to_lane(q);
}

static void begin(struct question *q)
{
    struct catalog_api *x = q->of;
    struct hives_view *v = hives_last(x->conf.hives);

    q->r->owner = q;
    q->r->gone = on_gone;
    if (v)
        on_view(v, NULL, q);
    else if (!(q->asking = hives_ask(x->conf.hives, false, on_view, q)))
        refuse(q, ERR_NOMEM, "no memory for the request");
}

/* ---- the fetcher ---- */

static void on_fetched(str id, void *owner)
{
    struct catalog_api *x = owner;
    struct question *q = x->parked, *next;

    for (; q; q = next) {
        const struct err_info *failed;

        next = q->next;
        if (!str_ieq(q->id, id)) continue;
        unpark(q);
        failed = fetch_failed(x->fetcher, q->answer.missing, id);
        q->asked |= 1u << q->answer.missing;
        if (failed) q->problem = *failed;
        q->pending = !failed;
        to_lane(q);
    }
}

struct keeping {
    struct lane_job job;
    struct catalog_api *of;
    struct shelf_header *header;
};

static void keep(struct lane_job *j)
{
    struct keeping *k = (struct keeping *)(void *)j;

    shelf_keep(k->of->shelf, k->header);
    k->header = NULL;
}

static void kept(struct lane_job *j, bool ran)
{
    struct keeping *k = (struct keeping *)(void *)j;

    (void)ran;
    shelf_header_free(k->header);
    mem_free(k);
}

/* Comes before on_fetched(), and the lane keeps the order. */
static void on_header(struct shelf_header *h, void *owner)
{
    struct catalog_api *x = owner;
    struct keeping *k = mem_alloc(sizeof *k);

    if (k) *k = (struct keeping){{.work = keep, .done = kept}, x, h};
    if (k && lane_push(x->lane, &k->job)) return;
    shelf_header_free(h);
    mem_free(k);
}

void catalog_api_tick(struct catalog_api *x)
{
    struct question *q = x ? x->parked : NULL, *next;

    for (; q; q = next) {
        next = q->next;
        if (os_now_ns() < q->until_ns) continue;
        unpark(q);
        q->asked |= 1u << q->answer.missing; /* it goes on, but this answer is as it is */
        q->pending = true;
        to_lane(q);
    }
}

/* ---- routes ---- */

static struct question *question(struct catalog_api *x, struct http_req *r, enum kind kind)
{
    struct question *q = mem_alloc(sizeof *q);

    if (!q) {
        http_error(r, ERR_NOMEM, "no memory for the request");
        return NULL;
    }
    q->of = x;
    q->r = r;
    q->kind = kind;
    q->since_ns = x->last_ns = os_now_ns();
    arena_init(&q->a, QUESTION_ARENA);
    buf_init(&q->out, LIMIT_HTTP_REPLY);
    return q;
}

/* The query is read from a copy: it outlives the request. */
static enum err read_query(struct question *q, str text)
{
    str copy = arena_str(&q->a, text);

    if (text.n && !copy.p) return ERR_FAIL(&q->e, NOMEM, "no memory for the request");
    return catalog_query_parse(&q->query, &q->a, copy, &q->e);
}

static void list(struct catalog_api *x, struct http_req *r, enum kind kind)
{
    struct question *q = question(x, r, kind);

    if (!q) return;
    if (read_query(q, r->query))
        refuse(q, q->e.code, q->e.text);
    else
        begin(q);
}

void catalog_api_models(struct catalog_api *x, struct http_req *r)
{
    list(x, r, MODELS);
}

void catalog_api_facets(struct catalog_api *x, struct http_req *r)
{
    list(x, r, FACETS);
}

static enum err read_wait(struct question *q, str text)
{
    int64_t n;

    if (!str_int(text, &n) || n < 0 || n > WAIT_MOST)
        return ERR_FAIL(&q->e, INVALID, "'wait' is '%.*s' and no whole number of 0 to %d seconds",
                        STR(str_sub(text, 0, 40)), WAIT_MOST);
    q->wait = (unsigned)n;
    q->wait_said = true;
    return ERR_OK;
}

/* `wait` and `set` are of this route; what is left is a query as for lists. */
static enum err read_model_query(struct question *q, str text)
{
    buf rest = {.cap = LIMIT_HTTP_TARGET + 1};
    enum err err = ERR_OK;

    while (text.n && !err) {
        str part = str_cut(text, '&', &text), value = {0};
        str name = str_cut(part, '=', &value);
        const char *why = NULL;

        if (str_eqc(name, "wait")) {
            err = read_wait(q, value);
        } else if (str_eqc(name, "set")) {
            str copy = arena_str(&q->a, value);

            why = url_decode(&q->set, &q->a, copy);
        } else {
            if (rest.n) buf_ch(&rest, '&');
            buf_str(&rest, part);
        }
        if (why) err = ERR_FAIL(&q->e, INVALID, "'set': %s", why);
    }
    if (!err) err = read_query(q, buf_view(&rest));
    buf_fini(&rest);
    return err;
}

void catalog_api_model(struct catalog_api *x, struct http_req *r)
{
    struct question *q;

    if (!repo_id_ok(r->param[0])) {
        http_error(r, ERR_NOMODEL, "'%.*s' is no model of the Hub: those are called ORG/REPO",
                   STR(str_sub(r->param[0], 0, 200)));
        return;
    }
    if (!(q = question(x, r, MODEL))) return;
    q->id = arena_str(&q->a, r->param[0]);
    /* Pages of other sites can have a browser ask, though not read the answer: they shall not make
     * us ask the Hub. */
    q->may_fetch = !http_foreign(r);
    q->pending = q->may_fetch;
    if (read_model_query(q, r->query))
        refuse(q, q->e.code, q->e.text);
    else
        begin(q);
}

/* ---- life cycle ---- */

static enum err make_parts(struct catalog_api *x, struct err_info *e)
{
    struct shelf_conf sc = {.path = x->path, .ask = x->conf.ask};
    struct fetch_conf fc = {.loop = x->conf.loop,
                            .store = x->conf.store,
                            .path = x->path,
                            .got = on_header,
                            .ended = on_fetched,
                            .owner = x};
    int n = snprintf(x->path, sizeof x->path, "%s/catalog.db", x->conf.store->state);
    enum err err;

    if (n <= 0 || n >= (int)sizeof x->path)
        return ERR_FAIL(e, INVALID, "the path of the catalogue is too long");
    if ((err = shelf_new(&x->shelf, &sc, e)) || (err = fetch_new(&x->fetcher, &fc, e))) return err;
    if (!(x->lane = lane_new(x->conf.loop, QUESTIONS)))
        return ERR_FAIL(e, NOMEM, "no memory for the catalogue");
    return ERR_OK;
}

enum err catalog_api_new(struct catalog_api **out, const struct catalog_api_conf *c,
                         struct err_info *e)
{
    struct catalog_api *x = mem_alloc(sizeof *x);
    enum err err;

    if (!x) return ERR_FAIL(e, NOMEM, "no memory for the catalogue");
    x->conf = *c;
    if ((err = make_parts(x, e)))
        catalog_api_free(x);
    else
        *out = x;
    return err;
}

void catalog_api_stop(struct catalog_api *x)
{
    if (!x || x->stopped) return;
    x->stopped = true;
    if (x->refresh) hives_cancel(x->refresh);
    x->refresh = NULL;
    fetch_stop(x->fetcher);
    lane_stop(x->lane);
}

void catalog_api_free(struct catalog_api *x)
{
    struct hives_view *v;

    if (!x) return;
    v = x->shelf ? shelf_view(x->shelf) : NULL;
    shelf_free(x->shelf);
    hives_drop(v);
    fetch_free(x->fetcher);
    lane_free(x->lane);
    mem_free(x);
}

uint64_t catalog_api_last_ns(const struct catalog_api *x)
{
    return x->last_ns;
}
