/* http_server: listeners, the clock and the end of a server. See http.h.
 *
 * One timer looks at all connections a few times per shortest patience, which costs less than a
 * timer each. One idle handle is active while connections have something to do at the end of this
 * turn of the loop (`todo`): an idle handle keeps the loop from sleeping, so nothing waits for a
 * next event.
 *
 * Invariant: the server is freed when it is closing, has no connection left and all its handles are
 * closed; only then `done` is called.
 */
#include "net/http_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

#define HEAD_MS  10000
#define BODY_MS  60000
#define WRITE_MS 60000
#define IDLE_MS  75000
#define BACKLOG  1024

static int patience(int given, int dflt)
{
    return given > 0 ? given : dflt;
}

uint64_t http_server_now(const struct http_server *s)
{
    return uv_now(s->loop);
}

const char *http_server_date(struct http_server *s)
{
    int64_t now = os_unix_time();

    if (now != s->date_at) {
        time_t t = (time_t)now;
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        s->date_at = now;
    }
    return s->date;
}

/* ---- the clock and the turn ---- */

static void on_sweep(uv_timer_t *t)
{
    struct http_server *s = t->data;
    struct http_conn *next;

    for (struct http_conn *c = s->conns; c; c = next) {
        next = c->next;
        http_conn_sweep(c);
    }
}

static void on_turn(uv_idle_t *h)
{
    struct http_server *s = h->data;
    struct http_conn *list = s->todo;

    s->todo = NULL;
    while (list) {
        struct http_conn *c = list;

        list = c->todo_next;
        c->todo_next = NULL;
        c->queued = false;
        http_conn_turn(c);
    }
    if (!s->todo && !uv_is_closing((uv_handle_t *)h)) uv_idle_stop(h);
}

void http_server_wake(struct http_server *s)
{
    if (!uv_is_closing((uv_handle_t *)&s->turn)) uv_idle_start(&s->turn, on_turn);
}

static uint64_t sweep_ms(const struct http_conf *c)
{
    int ms = c->head_ms;

    if (c->body_ms < ms) ms = c->body_ms;
    if (c->write_ms < ms) ms = c->write_ms;
    if (c->idle_ms < ms) ms = c->idle_ms;
    ms /= 8;
    return (uint64_t)(ms < 10 ? 10 : ms > 1000 ? 1000 : ms);
}

enum err http_server_new(struct http_server **out, uv_loop_t *loop, const struct http_conf *conf,
                         struct err_info *e)
{
    struct http_server *s = mem_alloc(sizeof *s);
    uint64_t ms;

    *out = NULL;
    if (!s) return ERR_FAIL(e, NOMEM, "no memory for an HTTP server");
    if (conf->token && !http_parse_secret(str_c(conf->token))) {
        mem_free(s);
        return ERR_FAIL(e, INVALID, "a token must be printable ASCII without blanks");
    }
    s->loop = loop;
    s->conf = *conf;
    s->conf.head_ms = patience(conf->head_ms, HEAD_MS);
    s->conf.body_ms = patience(conf->body_ms, BODY_MS);
    s->conf.write_ms = patience(conf->write_ms, WRITE_MS);
    s->conf.idle_ms = patience(conf->idle_ms, IDLE_MS);
    s->spare.cap = LIMIT_HTTP_OUT;
    uv_timer_init(loop, &s->sweep);
    uv_idle_init(loop, &s->turn);
    s->sweep.data = s->turn.data = s;
    s->n_handles = 2;
    ms = sweep_ms(&s->conf);
    uv_timer_start(&s->sweep, on_sweep, ms, ms);
    uv_unref((uv_handle_t *)&s->sweep);
    *out = s;
    return ERR_OK;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

unsigned http_server_conns(const struct http_server *s)
{
    return s->n_conns;
}

/* ---- listening ---- */

static void on_connection(uv_stream_t *st, int status)
{
    struct http_listener *l = st->data;

    if (status == 0) http_conn_accept(l);
}

static void on_listener_closed(uv_handle_t *h)
{
    struct http_listener *l = h->data;
    struct http_server *s = l->server;

    mem_free(l);
    s->n_handles--;
    http_server_conn_gone(s);
}

static struct http_listener *new_listener(struct http_server *s)
{
    struct http_listener *l = mem_alloc(sizeof *l);

    if (!l) return NULL;
    l->server = s;
    return l;
}

static void add_listener(struct http_server *s, struct http_listener *l)
{
    l->handle.data = l;
    l->next = s->listeners;
    s->listeners = l;
}

static void drop_listener(struct http_server *s, struct http_listener *l)
{
    l->handle.data = l;
    s->n_handles++; /* its close callback counts down */
    uv_close(&l->handle, on_listener_closed);
}

static bool is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

        return (ntohl(in->sin_addr.s_addr) >> 24) == 127;
    }
    return sa->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
}

/* A numeric address at once; a name through the resolver, first answer. */
static enum err resolve(struct http_server *s, const char *host, int port,
                        struct sockaddr_storage *out, struct err_info *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    uv_getaddrinfo_t req;
    int rc;

    if (port < 0 || port > 65535) return ERR_FAIL(e, INVALID, "port %d is not 0 to 65535", port);
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)out) == 0) return ERR_OK;
    if (uv_ip6_addr(host, port, (struct sockaddr_in6 *)out) == 0) return ERR_OK;
    rc = uv_getaddrinfo(s->loop, &req, NULL, host, NULL, &hints);
    if (rc || !req.addrinfo)
        return ERR_FAIL(e, NOTFOUND, "%s is no address of this machine: %s", host,
                        rc ? uv_strerror(rc) : "no answer");
    memcpy(out, req.addrinfo->ai_addr, req.addrinfo->ai_addrlen);
    if (out->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)out)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)out)->sin_port = htons((uint16_t)port);
    uv_freeaddrinfo(req.addrinfo);
    return ERR_OK;
}

static void note_address(struct http_server *s, struct http_listener *l)
{
    struct sockaddr_storage sa;
    int n = sizeof sa;
    char name[INET6_ADDRSTRLEN];

    if (uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&sa, &n)) return;
    if (sa.ss_family == AF_INET6) {
        uv_ip6_name((struct sockaddr_in6 *)&sa, name, sizeof name);
        snprintf(s->bound, sizeof s->bound, "[%s]", name);
        s->port = ntohs(((struct sockaddr_in6 *)&sa)->sin6_port);
    } else {
        uv_ip4_name((struct sockaddr_in *)&sa, name, sizeof name);
        snprintf(s->bound, sizeof s->bound, "%s", name);
        s->port = ntohs(((struct sockaddr_in *)&sa)->sin_port);
    }
}

enum err http_listen_tcp(struct http_server *s, const char *host, int port, struct err_info *e)
{
    struct sockaddr_storage sa = {0};
    struct http_listener *l;
    enum err err = resolve(s, host, port, &sa, e);
    int rc;

    if (err) return err;
    if (!is_loopback((struct sockaddr *)&sa) && !s->conf.token)
        return ERR_FAIL(e, ACCESS,
                        "%s can be reached from other machines, so a token is needed: set "
                        "RBEE_TOKEN or --token, or listen on 127.0.0.1",
                        host);
    if (!(l = new_listener(s))) return ERR_FAIL(e, NOMEM, "no memory for a listener");
    if ((rc = uv_tcp_init(s->loop, &l->tcp))) {
        mem_free(l);
        return ERR_FAIL(e, IO, "no socket: %s", uv_strerror(rc));
    }
    l->handle.data = l;
    /* libuv sets SO_REUSEADDR; bind errors may come only with listen. */
    if ((rc = uv_tcp_bind(&l->tcp, (struct sockaddr *)&sa, 0)) ||
        (rc = uv_listen(&l->stream, BACKLOG, on_connection))) {
        drop_listener(s, l);
        if (rc == UV_EADDRINUSE)
            return ERR_FAIL(e, EXISTS, "port %d of %s is in use by another program", port, host);
        return ERR_FAIL(e, IO, "cannot listen on %s port %d: %s", host, port, uv_strerror(rc));
    }
    add_listener(s, l);
    note_address(s, l);
    return ERR_OK;
}

/* A socket file that nobody answers on is left over from a crash and goes; anything else stays. */
static enum err clear_stale(const char *path, struct err_info *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct stat st;
    int fd, rc;

    if (strlen(path) >= sizeof sa.sun_path)
        return ERR_FAIL(e, LIMIT, "the socket path %s is longer than %zu bytes", path,
                        sizeof sa.sun_path - 1);
    if (lstat(path, &st)) return errno == ENOENT ? ERR_OK : err_errno(e, errno, "look at", path);
    if (!S_ISSOCK(st.st_mode))
        return ERR_FAIL(e, EXISTS, "%s exists and is not a socket; remove it or use another path",
                        path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return err_errno(e, errno, "open a socket for", path);
    rc = connect(fd, (struct sockaddr *)&sa, sizeof sa) ? errno : 0;
    close(fd);
    /* EAGAIN: its backlog is full, so somebody is there. */
    if (rc == 0 || rc == EAGAIN) return ERR_FAIL(e, EXISTS, "another program answers on %s", path);
    if (rc != ECONNREFUSED && rc != ENOENT) return err_errno(e, rc, "connect to", path);
    if (unlink(path) && errno != ENOENT) return err_errno(e, errno, "remove", path);
    return ERR_OK;
}

enum err http_listen_unix(struct http_server *s, const char *path, struct err_info *e)
{
    enum err err = clear_stale(path, e);
    struct http_listener *l;
    mode_t mask;
    int rc;

    if (err) return err;
    if (!(l = new_listener(s))) return ERR_FAIL(e, NOMEM, "no memory for a listener");
    uv_pipe_init(s->loop, &l->pipe, 0);
    l->handle.data = l;
    /* The file is born with mode 0600: bind() obeys the mask, a later chmod would leave a gap. */
    mask = umask(0177);
    rc = uv_pipe_bind(&l->pipe, path);
    umask(mask);
    if (rc || (rc = uv_listen(&l->stream, BACKLOG, on_connection))) {
        drop_listener(s, l);
        return ERR_FAIL(e, IO, "cannot listen on %s: %s", path, uv_strerror(rc));
    }
    add_listener(s, l);
    return ERR_OK;
}

/* ---- the end ---- */

static void finish(struct http_server *s)
{
    void (*done)(void *) = s->done;
    void *owner = s->done_owner;

    buf_fini(&s->spare);
    mem_free(s);
    if (done) done(owner);
}

static void on_own_closed(uv_handle_t *h)
{
    struct http_server *s = h->data;

    if (--s->n_handles == 0) finish(s);
}

void http_server_conn_gone(struct http_server *s)
{
    if (!s->closing || s->n_conns || s->n_handles != 2 || uv_is_closing((uv_handle_t *)&s->sweep))
        return;
    uv_close((uv_handle_t *)&s->sweep, on_own_closed);
    uv_close((uv_handle_t *)&s->turn, on_own_closed);
}

void http_server_close(struct http_server *s, int grace_ms, void (*done)(void *owner), void *owner)
{
    struct http_listener *next_l;
    struct http_conn *next_c;

    ASSERT(!s->closing);
    s->closing = true;
    s->done = done;
    s->done_owner = owner;
    s->close_at = uv_now(s->loop) + (uint64_t)(grace_ms > 0 ? grace_ms : 0);
    for (struct http_listener *l = s->listeners; l; l = next_l) {
        next_l = l->next;
        drop_listener(s, l); /* libuv removes the file of a unix socket on close */
    }
    s->listeners = NULL;
    uv_ref((uv_handle_t *)&s->sweep);
    uv_timer_start(&s->sweep, on_sweep, 0, 20);
    for (struct http_conn *c = s->conns; c; c = next_c) {
        next_c = c->next;
        http_conn_sweep(c);
    }
    http_server_conn_gone(s);
}
