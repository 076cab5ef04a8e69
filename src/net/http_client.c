/* http_client: calls to one peer over connections that are kept. See http.h.
 *
 * A call takes an idle connection or opens one; a connection carries one call at a time. The
 * request is one buffer, kept until the reply begins, so that a call sent on a kept connection
 * which the peer closed at that moment (no byte of a reply came) can be sent once more on a fresh
 * one. A reply that ends before its length, its last chunk or its head is ERR_CRASHED; a peer that
 * cannot be reached or leaves without a byte is ERR_UNAVAILABLE.
 *
 * Invariant: `conn->call` and `call->conn` point at each other or are NULL; a callback may cancel
 * any call or free the client, so after each callback the connection looks at itself again. Memory
 * of connections and of the client goes in close callbacks only.
 *
 * Left out: TLS, proxies, redirects, cookies; downloads use libcurl.
 */
#include "net/http_int.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define IDLE_KEEP_MS 30000
#define CONNECT_MS   10000

struct http_link {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    uv_timer_t timer;
    union {
        uv_connect_t connect;
        uv_getaddrinfo_t resolve;
        uv_write_t write;
    };
    struct http_client *client;
    struct http_link *prev, *next;
    struct http_call *call;
    struct http_parse parse;
    buf in;         /* bytes not yet given to a paused call */
    buf sent;       /* the request of a call that is over, while libuv still reads it */
    uint64_t heard; /* ms: when the last byte came */
    bool connected;
    bool reused;
    bool replied; /* a byte of the reply has come */
    bool writing;
    bool resolving;
    bool more;   /* the name has further addresses */
    bool queued; /* on the client's todo list */
    bool closing;
    int open_handles;
    struct http_link *todo_next;
};

struct http_call {
    struct http_client *client;
    struct http_link *conn;
    struct http_call_conf conf; /* method, target, body, headers are not kept: see request */
    buf request;
    uint64_t began;
    int address; /* which of the addresses of a name is tried */
    bool head_request;
    bool headed; /* on_head was called */
    bool paused;
    bool retried;
    bool on_loan; /* request.p is with libuv */
};

struct http_client {
    uv_loop_t *loop;
    uv_idle_t turn; /* active while todo is not empty */
    struct http_link *conns;
    struct http_link *todo;
    struct sockaddr_storage addr;
    bool resolved;
    char *unix_path, *host, *token;
    int port;
    unsigned n_conns;
    unsigned n_calls;
    bool freed;
    char rbuf[65536];
};

static enum err conn_open(struct http_call *call);
static void conn_input(struct http_link *c, str in);

/* ---- memory ---- */

static char *copy(const char *s)
{
    size_t n;
    char *p;

    if (!s) return NULL;
    n = strlen(s) + 1;
    if ((p = mem_alloc(n))) memcpy(p, s, n);
    return p;
}

static void client_destroy(uv_handle_t *h)
{
    struct http_client *cl = h->data;

    mem_free(cl->unix_path);
    mem_free(cl->host);
    mem_free(cl->token);
    mem_free(cl);
}

static void client_check_freed(struct http_client *cl)
{
    if (cl->freed && cl->n_conns == 0 && !uv_is_closing((uv_handle_t *)&cl->turn))
        uv_close((uv_handle_t *)&cl->turn, client_destroy);
}

static void conn_release(struct http_link *c)
{
    struct http_client *cl = c->client;

    if (c->open_handles || c->resolving) return;
    if (c->prev)
        c->prev->next = c->next;
    else
        cl->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    for (struct http_link **p = &cl->todo; c->queued && *p; p = &(*p)->todo_next) {
        if (*p != c) continue;
        *p = c->todo_next;
        break;
    }
    http_parse_fini(&c->parse);
    buf_fini(&c->in);
    buf_fini(&c->sent);
    mem_free(c);
    cl->n_conns--;
    client_check_freed(cl);
}

static void on_stream_closed(uv_handle_t *h)
{
    struct http_link *c = h->data;

    c->open_handles--;
    conn_release(c);
}

static void conn_close(struct http_link *c)
{
    if (c->closing) return;
    c->closing = true;
    if (c->resolving) uv_cancel((uv_req_t *)&c->resolve);
    uv_close(&c->handle, on_stream_closed);
    uv_close((uv_handle_t *)&c->timer, on_stream_closed);
}

static void call_free(struct http_call *call)
{
    call->client->n_calls--;
    buf_fini(&call->request);
    mem_free(call);
}

/* Parts a call from its connection; the bytes libuv still writes stay with the connection. */
static void detach(struct http_call *call)
{
    struct http_link *c = call->conn;

    if (!c) return;
    if (call->on_loan && c->writing) {
        c->sent = call->request;
        call->request = (buf){.cap = c->sent.cap};
    }
    call->on_loan = false;
    call->conn = NULL;
    c->call = NULL;
}

/* ---- the end of a call ---- */

static void finish(struct http_call *call, enum err code, const char *text)
{
    void (*done)(struct http_call *, enum err, const char *) = call->conf.on_done;

    detach(call);
    if (done) done(call, code, text);
    call_free(call);
}

static const char *peer_name(const struct http_client *cl, char *out, size_t n)
{
    if (cl->unix_path)
        snprintf(out, n, "%s", cl->unix_path);
    else
        snprintf(out, n, strchr(cl->host, ':') ? "[%s]:%d" : "%s:%d", cl->host, cl->port);
    return out;
}

/* The connection failed: the call is tried once more when the peer cannot have seen it, or ends. */
static void conn_fail(struct http_link *c, const char *what, int uv)
{
    struct http_call *call = c->call;
    char text[512], name[300];
    bool replied = c->replied;

    if (call) {
        bool again = c->reused && !replied && !call->retried;

        if (again && !call->on_loan) again = call->request.n > 0;
        if (again && c->writing) again = false; /* libuv still holds the bytes */
        detach(call);
        conn_close(c);
        if (again) {
            call->retried = true;
            if (conn_open(call) == ERR_OK) return;
        }
        peer_name(c->client, name, sizeof name);
        if (uv)
            snprintf(text, sizeof text, "%s %s: %s", what, name, uv_strerror(uv));
        else
            snprintf(text, sizeof text, "%s %s", name, what);
        finish(call, replied ? ERR_CRASHED : ERR_UNAVAILABLE, text);
        return;
    }
    conn_close(c);
}

static void call_timeout(struct http_link *c, const char *what)
{
    struct http_call *call = c->call;
    char text[512], name[300];

    peer_name(c->client, name, sizeof name);
    snprintf(text, sizeof text, "%s %s", name, what);
    detach(call);
    conn_close(c);
    finish(call, ERR_TIMEOUT, text);
}

/* ---- time ---- */

static void on_timer(uv_timer_t *t);

/* Sets the timer to the next moment at which something could be late. */
static void arm(struct http_link *c)
{
    struct http_call *call = c->call;
    uint64_t now = uv_now(c->client->loop), at = 0;

    if (c->closing) return;
    if (!call)
        at = c->heard + IDLE_KEEP_MS;
    else if (!c->connected)
        at = call->began + CONNECT_MS;
    if (call && !call->headed && call->conf.timeout_ms > 0) {
        uint64_t head = call->began + (uint64_t)call->conf.timeout_ms;

        if (!at || head < at) at = head;
    }
    if (call && call->headed && call->conf.idle_ms > 0 && !call->paused)
        at = c->heard + (uint64_t)call->conf.idle_ms;
    if (!at)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_timer, at > now ? at - now : 0, 0);
}

static void on_timer(uv_timer_t *t)
{
    struct http_link *c = t->data;
    struct http_call *call = c->call;
    uint64_t now = uv_now(c->client->loop);

    if (!call) {
        if (now - c->heard >= IDLE_KEEP_MS)
            conn_close(c);
        else
            arm(c);
        return;
    }
    if (call->headed) {
        if (call->paused || now - c->heard < (uint64_t)call->conf.idle_ms)
            arm(c);
        else
            call_timeout(c, "sent nothing for too long");
    } else if (!c->connected && now - call->began >= CONNECT_MS) {
        call_timeout(c, "could not be connected in time");
    } else if (call->conf.timeout_ms > 0 && now - call->began >= (uint64_t)call->conf.timeout_ms) {
        call_timeout(c, "did not answer in time");
    } else {
        arm(c);
    }
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    struct http_link *c = h->data;

    (void)hint;
    *out = uv_buf_init(c->client->rbuf, sizeof c->client->rbuf);
}

static void on_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
    struct http_link *c = st->data;
    struct http_call *call = c->call;

    if (n == 0 || c->closing) return;
    if (n > 0) {
        c->heard = uv_now(c->client->loop);
        if (!call) {
            conn_close(c); /* nobody asked */
            return;
        }
        c->replied = true;
        conn_input(c, (str){b->base, (size_t)n});
        return;
    }
    if (n == UV_EOF && call && call->headed && c->in.n == 0 && http_parse_eof(&c->parse)) {
        conn_close(c);
        finish(call, ERR_OK, "");
        return;
    }
    conn_fail(c,
              n == UV_EOF ? (c->replied ? "closed the connection before the reply was complete"
                                        : "closed the connection without a reply")
                          : "lost the connection to",
              n == UV_EOF ? 0 : (int)n);
}

/* The reply is complete: the connection waits for the next call, if both sides agree. */
static void reply_done(struct http_link *c, bool clean)
{
    struct http_call *call = c->call;
    bool keep = clean && c->parse.head.keep && !c->writing && !c->client->freed;

    http_parse_reset(&c->parse);
    detach(call);
    if (keep) {
        c->reused = true;
        c->replied = false;
        c->heard = uv_now(c->client->loop);
        buf_fini(&c->in);
        arm(c);
        uv_unref(&c->handle);
        uv_unref((uv_handle_t *)&c->timer);
    } else {
        conn_close(c);
    }
    finish(call, ERR_OK, "");
}

static void on_reply_head(struct http_link *c)
{
    struct http_call *call = c->call;
    struct http_head *h = &c->parse.head;

    if (h->status < 200) return; /* 100 Continue and the like */
    call->headed = true;
    arm(c);
    if (call->conf.on_head) call->conf.on_head(call, h->status, h->headers, h->n_headers);
}

/* Gives what came to the call until it pauses, ends or is cancelled. */
static void conn_input(struct http_link *c, str in)
{
    while (c->call && !c->closing) {
        struct http_call *call = c->call;
        enum http_event ev;
        str piece;

        if (call->paused) {
            buf_str(&c->in, in);
            if (c->in.failed) conn_fail(c, "sent more than can be held for a paused call", 0);
            return;
        }
        c->parse.no_body = call->head_request;
        ev = http_parse_next(&c->parse, &in, &piece);
        if (ev == HTTP_EV_MORE) return;
        if (ev == HTTP_EV_BAD) {
            conn_fail(c, c->parse.bad, 0);
            return;
        }
        if (ev == HTTP_EV_HEAD) {
            on_reply_head(c);
        } else if (ev == HTTP_EV_BODY) {
            if (call->conf.on_body) call->conf.on_body(call, piece);
        } else if (c->parse.head.status < 200) {
            http_parse_reset(&c->parse);
        } else {
            reply_done(c, in.n == 0);
            return;
        }
    }
}

/* ---- sending ---- */

static void on_sent(uv_write_t *w, int status)
{
    struct http_link *c = w->handle->data;

    (void)status; /* the read side tells: an early reply may still be waiting there */
    c->writing = false;
    buf_fini(&c->sent);
    if (c->call) c->call->on_loan = false;
}

static void conn_send(struct http_link *c)
{
    struct http_call *call = c->call;
    str rest = buf_view(&call->request);
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)rest.p, (unsigned)rest.n);
    int n = uv_try_write(&c->stream, &b, 1);

    if (n < 0) n = 0; /* a broken connection shows on the read side */
    if ((size_t)n < rest.n) {
        b = uv_buf_init((char *)(uintptr_t)rest.p + n, (unsigned)(rest.n - (size_t)n));
        if (uv_write(&c->write, &c->stream, &b, 1, on_sent) == 0) {
            c->writing = true;
            call->on_loan = true;
        }
    }
}

static void on_connected(uv_connect_t *req, int status)
{
    struct http_link *c = req->handle->data;

    if (c->closing || !c->call) return;
    if (status < 0 && c->more) {
        struct http_call *call = c->call;

        detach(call);
        conn_close(c);
        call->address++;
        if (conn_open(call) != ERR_OK) finish(call, ERR_UNAVAILABLE, "no memory to connect");
        return;
    }
    if (status < 0) {
        conn_fail(c, "cannot connect to", status);
        return;
    }
    c->connected = true;
    c->heard = uv_now(c->client->loop);
    if (!c->client->unix_path) uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start(&c->stream, on_alloc, on_read);
    if (c->call->paused) uv_read_stop(&c->stream);
    conn_send(c);
    arm(c);
}

static void set_port(struct sockaddr *sa, int port)
{
    if (sa->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)sa)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)(void *)sa)->sin_port = htons((uint16_t)port);
}

/* A name can have several addresses ("localhost" is ::1 and 127.0.0.1): the call's turn decides
 * which is tried, and a refused connection takes the next. */
static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct http_link *c = (struct http_link *)req->data;
    struct http_client *cl = c->client;
    struct addrinfo *ai = list;
    int rc = status;

    c->resolving = false;
    if (c->closing || !c->call) {
        uv_freeaddrinfo(list);
        conn_release(c);
        return;
    }
    for (int i = 0; ai && i < c->call->address; i++)
        ai = ai->ai_next;
    if (rc == 0 && !ai) rc = UV_ECONNREFUSED;
    if (rc == 0) {
        c->more = ai->ai_next != NULL;
        set_port(ai->ai_addr, cl->port);
        rc = uv_tcp_connect(&c->connect, &c->tcp, ai->ai_addr, on_connected);
    }
    uv_freeaddrinfo(list);
    if (rc) conn_fail(c, status ? "cannot find the address of" : "cannot connect to", rc);
}

/* Opens a connection for the call. Errors of the connection come later, from the loop. */
static enum err conn_open(struct http_call *call)
{
    struct http_client *cl = call->client;
    struct http_link *c;

    if (cl->freed || cl->n_conns >= LIMIT_HTTP_CALLS) return ERR_BUSY;
    if (!(c = mem_alloc(sizeof *c))) return ERR_NOMEM;
    c->client = cl;
    http_parse_init(&c->parse, true, 0);
    c->in.cap = KIB(256);
    uv_timer_init(cl->loop, &c->timer);
    if (cl->unix_path)
        uv_pipe_init(cl->loop, &c->pipe, 0);
    else
        uv_tcp_init(cl->loop, &c->tcp);
    c->handle.data = c->timer.data = c;
    c->open_handles = 2;
    c->next = cl->conns;
    if (cl->conns) cl->conns->prev = c;
    cl->conns = c;
    cl->n_conns++;
    c->call = call;
    call->conn = c;
    arm(c);
    if (cl->unix_path) {
        uv_pipe_connect(&c->connect, &c->pipe, cl->unix_path, on_connected);
    } else if (cl->resolved) {
        int rc = uv_tcp_connect(&c->connect, &c->tcp, (struct sockaddr *)&cl->addr, on_connected);

        if (rc) {
            detach(call);
            conn_close(c);
            return ERR_UNAVAILABLE;
        }
    } else {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM};

        c->resolve.data = c;
        if (uv_getaddrinfo(cl->loop, &c->resolve, on_resolved, cl->host, NULL, &hints)) {
            detach(call);
            conn_close(c);
            return ERR_UNAVAILABLE;
        }
        c->resolving = true;
    }
    return ERR_OK;
}

/* ---- calls ---- */

static void put_request(struct http_call *call, const struct http_call_conf *conf)
{
    struct http_client *cl = call->client;
    buf *b = &call->request;
    char name[300];

    buf_printf(b, "%.*s %.*s HTTP/1.1\r\nHost: %s\r\n", STR(conf->method), STR(conf->target),
               cl->unix_path ? "localhost" : peer_name(cl, name, sizeof name));
    if (cl->token) buf_printf(b, "Authorization: Bearer %s\r\n", cl->token);
    if (conf->body.n) {
        const char *type = conf->content_type ? conf->content_type : "application/json";

        buf_printf(b, "Content-Type: %s\r\n", type);
    }
    if (conf->body.n || str_eqc(conf->method, "POST") || str_eqc(conf->method, "PUT"))
        buf_printf(b, "Content-Length: %zu\r\n", conf->body.n);
    for (size_t i = 0; i < conf->n_headers; i++) {
        const struct http_header *h = &conf->headers[i];

        if (!http_parse_token(h->name) || !http_parse_value(h->value)) continue;
        buf_printf(b, "%.*s: %.*s\r\n", STR(h->name), STR(h->value));
    }
    buf_c(b, "\r\n");
    buf_str(b, conf->body);
}

static bool target_ok(str t)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] <= 0x20 || t.p[i] >= 0x7f) return false;
    return t.n > 0 && t.n <= LIMIT_HTTP_TARGET && t.p[0] == '/';
}

static struct http_link *idle_conn(struct http_client *cl)
{
    for (struct http_link *c = cl->conns; c; c = c->next)
        if (c->connected && !c->call && !c->closing && !c->writing) return c;
    return NULL;
}

struct http_call *http_call(struct http_client *cl, const struct http_call_conf *conf)
{
    struct http_call *call;
    struct http_link *c;

    if (cl->freed || cl->n_calls >= LIMIT_HTTP_CALLS || !http_parse_token(conf->method) ||
        !target_ok(conf->target) || !(call = mem_alloc(sizeof *call)))
        return NULL;
    call->client = cl;
    cl->n_calls++;
    call->conf = *conf;
    call->conf.method = call->conf.target = call->conf.body = (str){NULL, 0};
    call->conf.headers = NULL;
    call->conf.content_type = NULL;
    call->head_request = str_eqc(conf->method, "HEAD");
    call->request.cap = LIMIT_HTTP_REPLY + LIMIT_HTTP_HEAD;
    call->began = uv_now(cl->loop);
    put_request(call, conf);
    if (call->request.failed) {
        call_free(call);
        return NULL;
    }
    if ((c = idle_conn(cl))) {
        call->conn = c;
        c->call = call;
        uv_ref(&c->handle);
        uv_ref((uv_handle_t *)&c->timer);
        conn_send(c);
        arm(c);
        return call;
    }
    if (conn_open(call) != ERR_OK) {
        call_free(call);
        return NULL;
    }
    return call;
}

void *http_call_owner(struct http_call *c)
{
    return c->conf.owner;
}

void http_call_cancel(struct http_call *call)
{
    struct http_link *c = call->conn;

    detach(call);
    if (c) conn_close(c);
    call_free(call);
}

static void on_turn(uv_idle_t *h)
{
    struct http_client *cl = h->data;
    struct http_link *list = cl->todo;

    cl->todo = NULL;
    uv_idle_stop(h);
    while (list) {
        struct http_link *c = list;
        buf in;

        list = c->todo_next;
        c->queued = false;
        if (c->closing || !c->call || c->call->paused) continue;
        in = c->in;
        c->in = (buf){.cap = in.cap};
        if (in.n) conn_input(c, buf_view(&in));
        buf_fini(&in);
        /* conn_input() may have paused it again. */
        if (!c->closing && c->connected && !(c->call && c->call->paused))
            uv_read_start(&c->stream, on_alloc, on_read);
    }
}

void http_call_pause(struct http_call *call, bool paused)
{
    struct http_link *c = call->conn;

    if (call->paused == paused) return;
    call->paused = paused;
    if (!c || c->closing || !c->connected) return;
    if (paused) {
        uv_read_stop(&c->stream);
        arm(c);
        return;
    }
    /* Held bytes go out from the loop, not from inside this call. */
    c->heard = uv_now(c->client->loop);
    arm(c);
    if (c->queued) return;
    c->queued = true;
    c->todo_next = c->client->todo;
    c->client->todo = c;
    uv_idle_start(&c->client->turn, on_turn);
}

/* ---- the client ---- */

enum err http_client_new(struct http_client **out, uv_loop_t *loop, const struct http_peer *peer,
                         struct err_info *e)
{
    struct http_client *cl;
    const char *host = peer->host ? peer->host : "127.0.0.1";

    *out = NULL;
    if (peer->token && !http_parse_secret(str_c(peer->token)))
        return ERR_FAIL(e, INVALID, "a token must be printable ASCII without blanks");
    if (!peer->unix_path && (peer->port < 1 || peer->port > 65535))
        return ERR_FAIL(e, INVALID, "port %d of %s is not 1 to 65535", peer->port, host);
    if (strlen(host) > 255 || (!strchr(host, ':') && !http_parse_host(str_c(host))))
        return ERR_FAIL(e, INVALID, "%s is not a host name or address", host);
    if (!(cl = mem_alloc(sizeof *cl))) return ERR_FAIL(e, NOMEM, "no memory for an HTTP client");
    cl->loop = loop;
    cl->port = peer->port;
    cl->unix_path = copy(peer->unix_path);
    cl->host = copy(host);
    cl->token = copy(peer->token);
    cl->resolved = uv_ip4_addr(host, cl->port, (struct sockaddr_in *)&cl->addr) == 0 ||
                   uv_ip6_addr(host, cl->port, (struct sockaddr_in6 *)&cl->addr) == 0;
    if (!cl->host || (peer->unix_path && !cl->unix_path) || (peer->token && !cl->token)) {
        mem_free(cl->unix_path);
        mem_free(cl->host);
        mem_free(cl->token);
        mem_free(cl);
        return ERR_FAIL(e, NOMEM, "no memory for an HTTP client");
    }
    uv_idle_init(loop, &cl->turn);
    cl->turn.data = cl;
    *out = cl;
    return ERR_OK;
}

void http_client_free(struct http_client *cl)
{
    struct http_link *c;

    if (!cl || cl->freed) return;
    cl->freed = true;
    uv_idle_stop(&cl->turn);
    do {
        for (c = cl->conns; c && c->closing && !c->call; c = c->next)
            ;
        if (c) {
            struct http_call *call = c->call;

            if (call) detach(call);
            conn_close(c);
            if (call) finish(call, ERR_CANCELLED, "the client is closed");
        }
    } while (c);
    client_check_freed(cl);
}
