/* fetch: a loop that lives as long as one call. See fetch.h. */
#include "net/fetch.h"

#include "base/limits.h"

#define LOOK_MS 50 /* how often *cancel is looked at */

struct run {
    const struct fetch *f;
    struct http_client *client;
    struct http_call *call;
    uv_timer_t look;
    int status;
    enum err code;
    struct err_info *e;
};

static void end(struct run *r, enum err code)
{
    r->code = code;
    r->call = NULL;
    if (!uv_is_closing((uv_handle_t *)&r->look)) uv_close((uv_handle_t *)&r->look, NULL);
    http_client_free(r->client);
}

static void on_look(uv_timer_t *t)
{
    struct run *r = t->data;

    if (!r->call || !atomic_load(r->f->cancel)) return;
    http_call_cancel(r->call);
    end(r, ERR_FAIL(r->e, CANCELLED, "stopped"));
}

static void on_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    struct run *r = http_call_owner(c);

    r->status = status;
    if (r->f->on_head) r->f->on_head(r->f->owner, status, h, n);
}

static void on_body(struct http_call *c, str bytes)
{
    struct run *r = http_call_owner(c);

    if (!r->f->on_bytes || r->f->on_bytes(r->f->owner, bytes)) return;
    http_call_cancel(c);
    end(r, ERR_OK);
}

static void on_done(struct http_call *c, enum err code, const char *text)
{
    struct run *r = http_call_owner(c);

    if (code) err_fail(r->e, code, __FILE__, __LINE__, "%s", text);
    end(r, code);
}

enum err fetch_run(const struct fetch *f, int *status, struct err_info *e)
{
    struct run r = {.f = f, .e = e};
    struct http_call_conf conf = {
        .method = f->method,
        .target = f->target,
        .body = f->body,
        .content_type = f->content_type,
        .headers = f->headers,
        .n_headers = f->n_headers,
        .timeout_ms = f->timeout_ms,
        .idle_ms = f->idle_ms,
        .on_head = on_head,
        .on_body = on_body,
        .on_done = on_done,
        .owner = &r,
    };
    uv_loop_t loop;
    enum err err;

    if (status) *status = 0;
    if (uv_loop_init(&loop)) return ERR_FAIL(e, IO, "no event loop: too many open files?");
    err = http_client_new(&r.client, &loop, &f->peer, e);
    if (!err) {
        uv_timer_init(&loop, &r.look);
        r.look.data = &r;
        if (f->cancel) uv_timer_start(&r.look, on_look, LOOK_MS, LOOK_MS);
        r.call = http_call(r.client, &conf);
        if (!r.call)
            end(&r, ERR_FAIL(e, INVALID, "the request %.*s %.*s cannot be sent", STR(f->method),
                             STR(f->target)));
        uv_run(&loop, UV_RUN_DEFAULT);
        err = r.code;
    }
    if (uv_loop_close(&loop)) BUG("a handle outlived its loop");
    if (status) *status = r.status;
    return err;
}

/* ---- the whole body ---- */

struct whole {
    const struct fetch *f;
    buf *out;
};

static void whole_head(void *owner, int status, const struct http_header *h, size_t n)
{
    struct whole *w = owner;

    if (w->f->on_head) w->f->on_head(w->f->owner, status, h, n);
}

static bool whole_bytes(void *owner, str bytes)
{
    struct whole *w = owner;

    buf_str(w->out, bytes);
    return !w->out->failed;
}

enum err fetch_all(const struct fetch *f, int *status, buf *out, struct err_info *e)
{
    struct whole w = {f, out};
    struct fetch g = *f;
    enum err err;

    g.on_head = whole_head;
    g.on_bytes = whole_bytes;
    g.owner = &w;
    if (out->cap == 0) out->cap = LIMIT_HTTP_REPLY;
    err = fetch_run(&g, status, e);
    if (!err && out->failed)
        return ERR_FAIL(e, LIMIT, "the reply is larger than %zu bytes", out->cap);
    return err;
}
