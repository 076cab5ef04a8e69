/* workers_api: see workers_api.h. */
#include "queen/workers_api.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/url.h"
#include "model/matrix.h"

/* One request that waits for what the hives say. */
struct waiting {
    struct http_req *r;
    struct hives_ask *ask;
    void (*answer)(struct http_req *r, const struct hives_view *v);
    bool even_lost; /* it has an answer also where no hive has */
};

/* ---- waiting ---- */

static void gone(struct http_req *r)
{
    struct waiting *x = r->owner;

    hives_cancel(x->ask);
    mem_free(x);
}

static void on_view(struct hives_view *v, const struct err_info *e, void *owner)
{
    struct waiting *x = owner;

    x->r->gone = NULL;
    if (v || x->even_lost)
        x->answer(x->r, v);
    else
        http_error_info(x->r, e);
    mem_free(x);
}

static void when_known(struct hives *h, struct http_req *r, bool measure, bool even_lost,
                       void (*answer)(struct http_req *r, const struct hives_view *v))
{
    struct waiting *x = mem_alloc(sizeof *x);

    if (x) {
        *x = (struct waiting){.r = r, .answer = answer, .even_lost = even_lost};
        r->owner = x;
        r->gone = gone;
        if ((x->ask = hives_ask(h, measure, on_view, x))) return;
        r->gone = NULL;
        mem_free(x);
    }
    http_error(r, ERR_NOMEM, "no memory for the request");
}

/* What workers can do does not change while they live: the last answer will do. */
static void with_workers(struct hives *h, struct http_req *r,
                         void (*answer)(struct http_req *r, const struct hives_view *v))
{
    if (hives_last(h) && hives_ready(h))
        answer(r, hives_last(h));
    else
        when_known(h, r, false, false, answer);
}

/* ---- queries ---- */

/* Takes "name=value" off the front of *rest. False at the end, or with an error replied. */
static bool next_param(struct http_req *r, str *rest, str *name, str *value, bool *bad)
{
    str part;
    const char *why;

    do {
        if (!rest->n) return false;
        part = str_cut(*rest, '&', rest);
    } while (!part.n);
    part = str_cut(part, '=', value);
    if (!(why = url_decode(name, r->arena, part)) && !(why = url_decode(value, r->arena, *value)))
        return true;
    *bad = true;
    http_error(r, ERR_INVALID, "%s in the query", why);
    return false;
}

/* ---- GET /v1/hives ---- */

static void write_hive(struct jsonw *w, const struct json *said)
{
    jsonw_obj(w);
    jsonw_kc(w, "id", "local");
    jsonw_kc(w, "state", said ? "ready" : "lost");
    for (size_t i = 0; said && i < said->n; i++) {
        jsonw_keystr(w, said->items[i].key);
        jsonw_value(w, &said->items[i]);
    }
    jsonw_end(w, '}');
}

static void answer_hives(struct http_req *r, const struct hives_view *v)
{
    struct jsonw w;
    buf b;

    buf_init(&b, LIMIT_HTTP_REPLY);
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_key(&w, "hives");
    jsonw_arr(&w);
    for (size_t i = 0; v && i < v->n; i++)
        write_hive(&w, &v->said[i]);
    if (!v) write_hive(&w, NULL);
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
    http_reply(r, 200, "application/json", buf_view(&b));
    buf_fini(&b);
}

void workers_api_hives(struct hives *h, struct http_req *r)
{
    str rest = r->query, name, value;
    bool measure = true, bad = false;

    while (next_param(r, &rest, &name, &value, &bad)) {
        if (!str_eqc(name, "measure") || (!str_eqc(value, "yes") && !str_eqc(value, "no"))) {
            http_error(r, ERR_INVALID, "'%.*s' is no parameter here; there is measure=yes|no",
                       STR(str_sub(name, 0, 40)));
            return;
        }
        measure = str_eqc(value, "yes");
    }
    if (!bad) when_known(h, r, measure, true, answer_hives);
}

/* ---- GET /workers, /workers/{id} ---- */

static void answer_list(struct http_req *r, const struct hives_view *v)
{
    struct workers_filter f = {0};
    struct err_info e = {.text = ""};
    str rest = r->query, name, value;
    struct jsonw w;
    bool bad = false;
    buf b;

    while (next_param(r, &rest, &name, &value, &bad)) {
        if (workers_filter_set(&f, name, value, &e)) {
            http_error_info(r, &e);
            return;
        }
    }
    if (bad) return;
    buf_init(&b, LIMIT_HTTP_REPLY);
    jsonw_init(&w, &b);
    workers_write(&v->workers, &f, &w);
    http_reply(r, 200, "application/json", buf_view(&b));
    buf_fini(&b);
}

static void answer_one(struct http_req *r, const struct hives_view *v)
{
    const struct workers_entry *x = workers_get(&v->workers, r->param[0]);
    struct jsonw w;
    buf b;

    if (!x) {
        http_error(r, ERR_NOTFOUND, "no worker '%.*s' on any machine; GET /workers lists them",
                   STR(str_sub(r->param[0], 0, 200)));
        return;
    }
    buf_init(&b, LIMIT_HTTP_REPLY);
    jsonw_init(&w, &b);
    workers_write_entry(x, &w);
    http_reply(r, 200, "application/json", buf_view(&b));
    buf_fini(&b);
}

void workers_api_list(struct hives *h, struct http_req *r)
{
    with_workers(h, r, answer_list);
}

void workers_api_one(struct hives *h, struct http_req *r)
{
    with_workers(h, r, answer_one);
}

/* ---- GET /compatibility ---- */

/* The quality, 0 to 1000, that an Accept header gives to a type; -1: it does not name it. */
static int accepted(str accept, const char *type)
{
    while (accept.n) {
        str one = str_cut(accept, ',', &accept), rest;
        str name = str_trim(str_cut(one, ';', &rest));
        double q = 1;

        if (!str_ieq(name, str_c(type))) continue;
        while (rest.n) {
            str p = str_trim(str_cut(rest, ';', &rest));

            if (str_starts(p, S("q=")) && !str_num(str_sub(p, 2, SIZE_MAX), &q)) q = 0;
        }
        return q <= 0 ? 0 : q >= 1 ? 1000 : (int)(q * 1000);
    }
    return -1;
}

static void reply_matrix(struct http_req *r, const struct workers *all,
                         const struct matrix_filter *f, bool csv)
{
    struct jsonw w;
    buf b;

    buf_init(&b, LIMIT_HTTP_REPLY);
    if (csv) {
        matrix_write_csv(all, f, &b);
    } else {
        jsonw_init(&w, &b);
        matrix_write_json(all, f, &w);
    }
    http_set_header(r, "Vary", "Accept");
    if (b.failed)
        http_error(r, ERR_LIMIT, "the matrix is too large; name a worker or an architecture");
    else
        http_reply(r, 200, csv ? "text/csv; charset=utf-8; header=present" : "application/json",
                   buf_view(&b));
    buf_fini(&b);
}

static void answer_matrix(struct http_req *r, const struct hives_view *v)
{
    str rest = r->query, name, value, accept = http_header(r, "Accept");
    bool csv = accepted(accept, "text/csv") > accepted(accept, "application/json"), bad = false;
    struct matrix_filter f = {0};
    struct err_info e = {.text = ""};

    while (next_param(r, &rest, &name, &value, &bad)) {
        if (str_eqc(name, "format") && (str_eqc(value, "csv") || str_eqc(value, "json"))) {
            csv = str_eqc(value, "csv");
        } else if (str_eqc(name, "format")) {
            http_error(r, ERR_INVALID, "'format' is '%.*s' and neither csv nor json",
                       STR(str_sub(value, 0, 40)));
            return;
        } else if (matrix_filter_set(&f, name, value, &e)) {
            http_error_info(r, &e);
            return;
        }
    }
    if (!bad) reply_matrix(r, &v->workers, &f, csv);
}

void workers_api_matrix(struct hives *h, struct http_req *r)
{
    with_workers(h, r, answer_matrix);
}
