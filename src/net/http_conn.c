/* http_conn: one connection of a server: reading, the request under way, writing, its end.
 *
 * A connection is a state machine over whole events of http_parse: HEAD -> BODY -> BUSY (a handler
 * has the request) -> HEAD again, or LINGER -> DEAD. It reads in every state: while a handler
 * works, so that a client that leaves is noticed, and while lingering, so that unread bytes do not
 * turn the last reply into a reset. Bytes of later requests wait in `in`, at most LIMIT_HTTP_PIPE
 * or so, then reading stops. What is written collects in `out` and goes out at the end of the turn.
 *
 * Invariant: a connection is freed only after its handle is closed and its request is gone; a
 * request without a gone callback may outlive its connection and the server. An idle connection
 * holds no buffer: `in`, `body`, `out` and the request's block are allocated on demand.
 *
 * Left out: upgrades, TLS.
 */
#include "net/http_int.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

#define LINGER_MS  2000
#define BACKLOG    KIB(256) /* unread reply bytes beyond which the next request waits */
#define DIRECT_MIN KIB(8)   /* writes this large are not copied into `out` first */

struct http_write {
    uv_write_t req;
    struct http_conn *c;
    buf bytes;
};

static void run(struct http_conn *c, str *in);

static void set_state(struct http_conn *c, enum http_conn_state state)
{
    c->state = (uint8_t)state;
    if (c->server) c->since = http_server_now(c->server);
}

/* ---- birth and death ---- */

static void free_request(struct http_conn *c)
{
    arena_fini(&c->arena);
    mem_free(c->block);
    c->block = NULL;
    c->req = NULL;
    c->route = NULL;
    buf_fini(&c->body);
    buf_fini(&c->extra);
    c->got = 0;
    c->begun = c->chunked = c->bodiless = c->head = false;
}

static void free_conn(struct http_conn *c)
{
    buf_fini(&c->in);
    buf_fini(&c->out);
    mem_free(c);
}

static void on_closed(uv_handle_t *h)
{
    struct http_conn *c = h->data;
    struct http_server *s = c->server;

    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    for (struct http_conn **p = &s->todo; c->queued && *p; p = &(*p)->todo_next) {
        if (*p != c) continue;
        *p = c->todo_next;
        break;
    }
    c->queued = false;
    c->server = NULL;
    c->eof = true;
    s->n_conns--;
    if (!c->req) free_conn(c);
    http_server_conn_gone(s);
}

static void close_handle(struct http_conn *c)
{
    set_state(c, CONN_DEAD);
    c->keep = false;
    http_parse_fini(&c->parse);
    buf_fini(&c->in);
    buf_fini(&c->out);
    uv_close(&c->handle, on_closed);
}

/* The connection is over. A handler that has the request is told, or may keep a request that leads
 * nowhere until it answers. */
static void lost(struct http_conn *c)
{
    bool busy = c->state == CONN_BUSY;
    struct http_req *r = c->req;
    void (*gone)(struct http_req *) = r && busy ? r->gone : NULL;

    if (c->state == CONN_DEAD) return;
    close_handle(c);
    if (busy && r && !gone) return;
    if (gone) {
        r->gone = NULL;
        gone(r);
    }
    if (c->req) free_request(c);
}

void http_conn_cut(struct http_conn *c)
{
    if (c->state != CONN_DEAD) close_handle(c);
    free_request(c);
    if (c->eof) free_conn(c);
}

void http_conn_later(struct http_conn *c)
{
    struct http_server *s = c->server;

    if (c->queued || c->state == CONN_DEAD) return;
    c->queued = true;
    c->todo_next = s->todo;
    s->todo = c;
    http_server_wake(s);
}

void http_conn_doom(struct http_conn *c)
{
    c->doomed = true;
    http_conn_later(c);
}

/* ---- writing ---- */

size_t http_conn_pending(const struct http_conn *c)
{
    if (c->state == CONN_DEAD) return 0;
    return c->out.n + uv_stream_get_write_queue_size(&c->stream);
}

static void on_written(uv_write_t *req, int status)
{
    struct http_write *w = req->data;
    struct http_conn *c = w->c;

    buf_fini(&w->bytes);
    mem_free(w);
    c->writing = NULL;
    if (c->state == CONN_DEAD) return;
    if (status < 0) {
        lost(c);
        return;
    }
    c->moved = http_server_now(c->server);
    http_conn_turn(c);
}

/* Gives `out` to libuv, which keeps it until the socket takes it. False: the connection is broken.
 */
static bool write_rest(struct http_conn *c)
{
    struct http_write *w = mem_alloc(sizeof *w);
    uv_buf_t b;

    if (!w) return false;
    w->c = c;
    w->req.data = w;
    w->bytes = c->out;
    c->out = (buf){.cap = w->bytes.cap};
    b = uv_buf_init(w->bytes.p, (unsigned)w->bytes.n);
    c->put += w->bytes.n;
    if (uv_write(&w->req, &c->stream, &b, 1, on_written)) {
        buf_fini(&w->bytes);
        mem_free(w);
        return false;
    }
    c->writing = w;
    c->moved = http_server_now(c->server);
    c->taken = 0;
    return true;
}

/* Keeps one buffer for the next reply of any connection; idle ones hold none. */
static void release_out(struct http_conn *c)
{
    struct http_server *s = c->server;

    if (!s->spare.p && c->out.size <= KIB(64)) {
        size_t cap = c->out.cap;

        s->spare = c->out;
        buf_clear(&s->spare);
        c->out = (buf){.cap = cap};
    } else {
        buf_fini(&c->out);
    }
}

static void take_spare(struct http_conn *c)
{
    struct http_server *s = c->server;

    if (c->out.p || !s->spare.p) return;
    s->spare.cap = c->out.cap;
    c->out = s->spare;
    s->spare = (buf){.cap = c->out.cap};
}

/* Writes what there is. False: the connection is broken. */
static bool flush(struct http_conn *c)
{
    uv_buf_t b;
    int n;

    if (c->out.failed) return false;
    if (c->writing || c->out.n == 0) return true;
    b = uv_buf_init(c->out.p, (unsigned)c->out.n);
    n = uv_try_write(&c->stream, &b, 1);
    if (n < 0 && n != UV_EAGAIN) return false;
    if (n > 0) {
        c->moved = http_server_now(c->server);
        buf_drop(&c->out, (size_t)n);
    }
    if (c->out.n) return write_rest(c);
    release_out(c);
    return true;
}

void http_conn_send(struct http_conn *c, str bytes)
{
    uv_buf_t b[2];
    size_t n;
    int rc;

    take_spare(c);
    if (bytes.n >= DIRECT_MIN && !c->writing && !c->out.failed) {
        b[0] = uv_buf_init(c->out.p, (unsigned)c->out.n);
        b[1] = uv_buf_init((char *)(uintptr_t)bytes.p, (unsigned)bytes.n);
        rc = c->out.n ? uv_try_write(&c->stream, b, 2) : uv_try_write(&c->stream, b + 1, 1);
        n = rc > 0 ? (size_t)rc : 0;
        if (n) c->moved = http_server_now(c->server);
        if (n <= c->out.n) {
            buf_drop(&c->out, n);
        } else {
            bytes = str_sub(bytes, n - c->out.n, SIZE_MAX);
            buf_clear(&c->out);
        }
    }
    buf_str(&c->out, bytes);
    if (c->out.failed)
        http_conn_doom(c);
    else if (!c->running)
        http_conn_later(c);
}

static void on_shut(uv_shutdown_t *req, int status)
{
    (void)status;
    mem_free(req);
}

/* Everything is written: ends our side and waits for the peer's. */
static void shut(struct http_conn *c)
{
    uv_shutdown_t *req;

    if (c->shut) return;
    c->shut = true;
    set_state(c, CONN_LINGER);
    req = mem_alloc(sizeof *req);
    if (!req || uv_shutdown(req, &c->stream, on_shut)) {
        mem_free(req);
        lost(c);
    }
}

/* ---- requests ---- */

/* Refuses before a handler sees it. A body that is still to come ends the connection. */
static void reject(struct http_conn *c, int status, const char *text, const char *header,
                   const char *value)
{
    if (c->parse.head.chunked || c->parse.head.length) c->keep = false;
    set_state(c, CONN_BUSY);
    http_reply_status(c, status, text, header, value);
}

static void refuse_bad(struct http_conn *c, int status, const char *why)
{
    char number[16];

    snprintf(number, sizeof number, "%d", status);
    log_ev(LOG_REQUEST_BAD, "status", number, "reason", why);
    c->keep = false;
    set_state(c, CONN_BUSY);
    http_reply_status(c, status, why, NULL, NULL);
}

/* Takes the head out of the parser: from here on it is the request's. */
static void new_request(struct http_conn *c, struct http_match *m)
{
    struct http_server *s = c->server;
    const struct http_head *h = &c->parse.head;
    struct http_req *r;

    c->block = c->parse.block;
    c->parse.block = NULL;
    arena_init(&c->arena, LIMIT_REQ_ARENA);
    r = c->req = (struct http_req *)(void *)c->block;
    c->keep = h->keep && !s->closing;
    c->minor = (uint8_t)h->minor;
    c->head = str_eqc(h->method, "HEAD");
    c->used = true;
    http_route_find(s->conf.routes, h->method, h->target, &c->arena, m);
    r->method = h->method;
    r->target = h->target;
    r->path = m->path;
    r->query = m->query;
    r->headers = h->headers;
    r->n_headers = h->n_headers;
    memcpy(r->param, m->param, sizeof r->param);
    r->n_params = m->n_params;
    r->from_unix = c->unix_peer;
    r->id = ++s->next_id;
    r->start_ns = os_now_ns();
    r->arena = &c->arena;
    r->conn = c;
    c->route = m->route;
}

/* Host, and Origin when a browser says one, must be names of ours while there is no token. */
static bool names_ok(const struct http_conn *c)
{
    const struct http_server *s = c->server;
    const struct http_head *h = &c->parse.head;
    int n_origin;
    str origin = http_parse_find(h->headers, h->n_headers, "origin", &n_origin);

    if (s->conf.token || c->unix_peer) return true;
    if (n_origin && !http_route_host_ok(origin, s->bound, s->conf.hosts)) return false;
    return http_route_host_ok(http_parse_find(h->headers, h->n_headers, "host", NULL), s->bound,
                              s->conf.hosts);
}

static void on_head(struct http_conn *c)
{
    struct http_server *s = c->server;
    struct http_head *h = &c->parse.head;
    struct http_match m;

    new_request(c, &m);
    if (!names_ok(c)) {
        reject(c, 403, "this Host or Origin is not served without a token", NULL, NULL);
        return;
    }
    if (s->conf.token && !(m.route && m.route->open) &&
        !http_route_token_ok(h->headers, h->n_headers, s->conf.token)) {
        reject(c, 401, "a bearer token is needed: Authorization: Bearer TOKEN", "WWW-Authenticate",
               "Bearer");
        return;
    }
    if (!m.route) {
        reject(c, m.status, m.why, m.allow[0] ? "Allow" : NULL, m.allow);
        return;
    }
    if (h->length > m.route->body_cap) {
        reject(c, 413, "the body is larger than this path takes", NULL, NULL);
        return;
    }
    buf_init(&c->body, m.route->body_cap);
    set_state(c, CONN_BODY);
    if (h->expect && (h->length || h->chunked)) {
        take_spare(c);
        buf_c(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        http_conn_later(c);
    }
}

static void on_body(struct http_conn *c, str piece)
{
    if (piece.n > c->body.cap - c->body.n) {
        reject(c, 413, "the body is larger than this path takes", NULL, NULL);
        return;
    }
    buf_str(&c->body, piece);
    c->got += piece.n;
    if (c->body.failed) reject(c, 503, "not enough memory for the body", NULL, NULL);
}

static void dispatch(struct http_conn *c)
{
    http_parse_reset(&c->parse);
    c->req->body = buf_view(&c->body);
    set_state(c, CONN_BUSY);
    c->route->handler(c->req, c->server->conf.owner);
}

void http_conn_end(struct http_conn *c)
{
    free_request(c);
    if (c->state == CONN_DEAD) {
        if (c->eof) free_conn(c);
        return;
    }
    http_parse_reset(&c->parse);
    set_state(c, c->keep ? CONN_HEAD : CONN_LINGER);
    if (!c->running) http_conn_later(c);
}

/* Parses and answers until the input is used up or a handler keeps the request. */
static void run(struct http_conn *c, str *in)
{
    str piece;

    c->running = true;
    while (!c->doomed && (c->state == CONN_HEAD || c->state == CONN_BODY)) {
        bool fresh = http_parse_fresh(&c->parse);
        enum http_event ev;

        if (c->state == CONN_HEAD && http_conn_pending(c) > BACKLOG) break;
        ev = http_parse_next(&c->parse, in, &piece);
        if (ev == HTTP_EV_MORE) {
            if (fresh && !http_parse_fresh(&c->parse)) set_state(c, CONN_HEAD);
            break;
        }
        switch (ev) {
        case HTTP_EV_HEAD: on_head(c); break;
        case HTTP_EV_BODY: on_body(c, piece); break;
        case HTTP_EV_DONE: dispatch(c); break;
        default: refuse_bad(c, c->parse.bad_status, c->parse.bad);
        }
    }
    c->running = false;
    if (c->state == CONN_LINGER) in->n = 0;
}

/* ---- the loop's callbacks ---- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    struct http_conn *c = h->data;

    (void)hint;
    *out = uv_buf_init(c->server->rbuf, sizeof c->server->rbuf);
}

static void on_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b);

static void set_reading(struct http_conn *c, bool on)
{
    if (c->reading == on || c->state == CONN_DEAD) return;
    c->reading = on;
    if (on)
        uv_read_start(&c->stream, on_alloc, on_read);
    else
        uv_read_stop(&c->stream);
}

/* What comes after every change: write, go on with waiting input, end. */
void http_conn_turn(struct http_conn *c)
{
    if (c->state == CONN_DEAD) return;
    if (c->doomed || !flush(c)) {
        lost(c);
        return;
    }
    if (c->in.n && (c->state == CONN_HEAD || c->state == CONN_BODY)) {
        str in = buf_view(&c->in);
        size_t n = in.n;

        run(c, &in);
        if (c->state == CONN_DEAD) return;
        buf_drop(&c->in, n - in.n);
        if (c->in.n == 0) buf_fini(&c->in);
        if (c->doomed || !flush(c)) {
            lost(c);
            return;
        }
    }
    set_reading(c, c->in.n < LIMIT_HTTP_PIPE);
    /* run() stopped at the backlog and the kernel took it all: no callback will come by itself. */
    if (c->in.n && c->state == CONN_HEAD && !c->writing) http_conn_later(c);
    if (c->state == CONN_LINGER && !c->writing && c->out.n == 0) shut(c);
}

static void on_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
    struct http_conn *c = st->data;
    str in = {b->base, n > 0 ? (size_t)n : 0};

    if (n == 0 || c->state == CONN_DEAD) return;
    if (n < 0) {
        lost(c);
        return;
    }
    if (c->state == CONN_LINGER) return;
    if (c->in.n == 0) run(c, &in);
    if (c->state == CONN_DEAD) return;
    buf_str(&c->in, in);
    if (c->in.failed) c->doomed = true;
    http_conn_turn(c);
}

void http_conn_accept(struct http_listener *l)
{
    struct http_server *s = l->server;
    struct http_conn *c = mem_alloc(sizeof *c);

    if (!c) return;
    c->unix_peer = l->handle.type == UV_NAMED_PIPE;
    if (c->unix_peer)
        uv_pipe_init(s->loop, &c->pipe, 0);
    else
        uv_tcp_init(s->loop, &c->tcp);
    c->handle.data = c;
    c->server = s;
    c->minor = 1;
    c->moved = http_server_now(s);
    c->in.cap = LIMIT_HTTP_PIPE + sizeof s->rbuf;
    c->out.cap = LIMIT_HTTP_REPLY + KIB(64);
    c->extra.cap = LIMIT_HTTP_EXTRA;
    http_parse_init(&c->parse, false, sizeof(struct http_req));
    c->next = s->conns;
    if (s->conns) s->conns->prev = c;
    s->conns = c;
    s->n_conns++;
    set_state(c, CONN_HEAD);
    if (uv_accept(&l->stream, &c->stream) || s->n_conns > LIMIT_HTTP_CONNS) {
        close_handle(c);
        return;
    }
    if (!c->unix_peer) uv_tcp_nodelay(&c->tcp, 1);
    set_reading(c, true);
}

/* ---- the clock ---- */

/* Bytes wait and the kernel has taken none of them for too long. */
static bool stuck(struct http_conn *c, uint64_t now)
{
    uint64_t taken = c->put - uv_stream_get_write_queue_size(&c->stream);

    if (http_conn_pending(c) == 0 || taken != c->taken) {
        c->taken = taken;
        c->moved = now;
    }
    return now - c->moved > (uint64_t)c->server->conf.write_ms;
}

void http_conn_sweep(struct http_conn *c)
{
    struct http_server *s = c->server;
    uint64_t now = http_server_now(s), waited = now > c->since ? now - c->since : 0;
    bool fresh = http_parse_fresh(&c->parse);

    if (c->state == CONN_DEAD) return;
    if (stuck(c, now) || (s->closing && now >= s->close_at)) {
        lost(c);
        return;
    }
    switch ((enum http_conn_state)c->state) {
    case CONN_HEAD:
        if (fresh) {
            int patience = c->used ? s->conf.idle_ms : s->conf.head_ms;

            if (http_conn_pending(c) || c->in.n) break;
            if (waited > (uint64_t)patience || s->closing) lost(c);
        } else if (waited > (uint64_t)s->conf.head_ms) {
            refuse_bad(c, 408, "the head did not come in time");
        }
        break;
    case CONN_BODY:
        if (waited > (uint64_t)s->conf.body_ms && c->got < waited * KIB(1) / 1000) {
            c->keep = false;
            refuse_bad(c, 408, "the body comes too slowly");
        }
        break;
    case CONN_LINGER:
        if (c->shut && waited > LINGER_MS) lost(c);
        break;
    default: break;
    }
}
