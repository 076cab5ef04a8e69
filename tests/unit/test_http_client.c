/* test_http_client: the client against peers that break the rules, and the blocking fetch.
 *
 * The peer is a socket that sends one canned text for each read and then closes or stays. fetch
 * runs in a thread of its own while the main thread's loop serves it.
 */
#include <signal.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/fetch.h"
#include "tap.h"

static uv_loop_t loop;

/* ---- a peer that says what it is told ---- */

#define CLOSE "\x01" /* at the end of a text: close after it */

static struct {
    uv_tcp_t listener;
    const char *const *texts; /* one for each read, NULL ends */
    int accepted;
    int port;
} peer;

static void on_peer_closed(uv_handle_t *h)
{
    mem_free(h);
}

static void peer_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    static char room[65536];

    (void)h;
    (void)hint;
    *out = uv_buf_init(room, sizeof room);
}

static void peer_close(uv_stream_t *st)
{
    if (!uv_is_closing((uv_handle_t *)st)) uv_close((uv_handle_t *)st, on_peer_closed);
}

static void peer_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
    const char *text = *peer.texts;
    size_t len;
    uv_buf_t out;

    (void)b;
    if (n < 0 || !text) {
        peer_close(st);
        return;
    }
    peer.texts++;
    len = strlen(text);
    out = uv_buf_init((char *)(uintptr_t)text, (unsigned)len);
    if (len && text[len - 1] == CLOSE[0]) out.len--;
    if (out.len && uv_try_write(st, &out, 1) != (int)out.len) printf("# short write\n");
    if (out.len != len) peer_close(st);
}

static void peer_accept(uv_stream_t *st, int status)
{
    uv_tcp_t *t = mem_need(sizeof *t);

    (void)status;
    uv_tcp_init(&loop, t);
    if (uv_accept(st, (uv_stream_t *)t)) BUG("accept");
    peer.accepted++;
    uv_read_start((uv_stream_t *)t, peer_alloc, peer_read);
}

static void peer_start(void)
{
    struct sockaddr_in sa;
    int n = sizeof sa;

    uv_ip4_addr("127.0.0.1", 0, &sa);
    uv_tcp_init(&loop, &peer.listener);
    if (uv_tcp_bind(&peer.listener, (struct sockaddr *)&sa, 0) ||
        uv_listen((uv_stream_t *)&peer.listener, 16, peer_accept))
        BUG("listen");
    uv_tcp_getsockname(&peer.listener, (struct sockaddr *)&sa, &n);
    peer.port = ntohs(sa.sin_port);
}

/* ---- calls ---- */

struct result {
    int status, dones, cancel_at;
    enum err code;
    char text[600];
    buf body;
    struct http_call *call;
};

static void on_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    struct result *r = http_call_owner(c);

    (void)h;
    (void)n;
    r->status = status;
    if (r->cancel_at == 1) {
        r->dones = 1;
        http_call_cancel(c);
    }
}

static void on_body(struct http_call *c, str bytes)
{
    struct result *r = http_call_owner(c);

    buf_str(&r->body, bytes);
    if (r->cancel_at == 2) {
        r->dones = 1;
        http_call_cancel(c);
    }
}

static void on_done(struct http_call *c, enum err code, const char *text)
{
    struct result *r = http_call_owner(c);

    r->dones++;
    r->code = code;
    snprintf(r->text, sizeof r->text, "%s", text);
}

static void call(struct http_client *cl, struct result *r, int timeout_ms, int idle_ms)
{
    struct http_call_conf conf = {.method = S("POST"),
                                  .target = S("/x"),
                                  .body = S("{}"),
                                  .timeout_ms = timeout_ms,
                                  .idle_ms = idle_ms,
                                  .on_head = on_head,
                                  .on_body = on_body,
                                  .on_done = on_done,
                                  .owner = r};

    buf_fini(&r->body);
    *r = (struct result){.body = {.cap = 1 << 20}, .cancel_at = r->cancel_at};
    if (!http_call(cl, &conf)) BUG("call");
    while (!r->dones)
        uv_run(&loop, UV_RUN_ONCE);
}

static struct http_client *client_for(const char *host, int port)
{
    struct http_peer to = {.host = host, .port = port};
    struct http_client *cl;
    struct err_info e;

    if (http_client_new(&cl, &loop, &to, &e)) BUG(e.text);
    return cl;
}

#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static const struct {
    const char *name;
    const char *texts[4];
    int status;
    enum err code;
    const char *body;
} cases[] = {
    {"a good reply", {OK2}, 200, ERR_OK, "hi"},
    {"a good reply, then closed", {OK2 CLOSE}, 200, ERR_OK, "hi"},
    {"continue first", {"HTTP/1.1 100 Continue\r\n\r\n" OK2}, 200, ERR_OK, "hi"},
    {"to the end", {"HTTP/1.1 200 OK\r\n\r\nhi" CLOSE}, 200, ERR_OK, "hi"},
    {"no reply", {CLOSE}, 0, ERR_UNAVAILABLE, ""},
    {"half a head", {"HTTP/1.1 200 OK\r\nConte" CLOSE}, 0, ERR_CRASHED, ""},
    {"short body",
     {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi" CLOSE},
     200,
     ERR_CRASHED,
     "hi"},
    {"no last chunk",
     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" CLOSE},
     200,
     ERR_CRASHED,
     "hi"},
    {"a broken chunk",
     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhix"},
     200,
     ERR_CRASHED,
     "hi"},
    {"garbage", {"SSH-2.0-OpenSSH\r\n\r\n"}, 0, ERR_CRASHED, ""},
    {"both lengths",
     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi"},
     0,
     ERR_CRASHED,
     ""},
    {"more than announced", {OK2 "HTTP/1.1 200 OK\r\n"}, 200, ERR_OK, "hi"},
    {"silence", {""}, 0, ERR_TIMEOUT, ""},
    {"silence after the head",
     {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"},
     200,
     ERR_TIMEOUT,
     "hi"},
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_client *cl = client_for("127.0.0.1", peer.port);
        struct result r = {0};
        bool good;

        peer.texts = cases[i].texts;
        call(cl, &r, 100, 100);
        good = r.status == cases[i].status && r.code == cases[i].code &&
               str_eqc(buf_view(&r.body), cases[i].body) && r.dones == 1;
        ok(good, "%s: %s", cases[i].name, r.text);
        if (!good) printf("#   %d %s [%.*s]\n", r.status, err_name(r.code), STR(buf_view(&r.body)));
        http_client_free(cl);
        buf_fini(&r.body);
    }
}

static void test_reuse(void)
{
    static const char *const dies[] = {OK2, CLOSE, OK2, NULL};
    static const char *const late[] = {OK2, "HTTP/1.1 2" CLOSE, OK2, NULL};
    static const char *const twice[] = {OK2, CLOSE, CLOSE, NULL};
    struct http_client *cl = client_for("127.0.0.1", peer.port);
    struct result r = {0};

    peer.texts = dies;
    peer.accepted = 0;
    call(cl, &r, 0, 0);
    call(cl, &r, 0, 0);
    ok(r.code == ERR_OK && r.status == 200 && peer.accepted == 2,
       "a kept connection that dies without a byte is replaced");
    http_client_free(cl);
    cl = client_for("127.0.0.1", peer.port);
    peer.texts = late;
    call(cl, &r, 0, 0);
    call(cl, &r, 0, 0);
    is_int(r.code, ERR_CRASHED, "not when a byte of the reply came");
    http_client_free(cl);
    cl = client_for("127.0.0.1", peer.port);
    peer.texts = twice;
    call(cl, &r, 0, 0);
    call(cl, &r, 0, 0);
    is_int(r.code, ERR_UNAVAILABLE, "and not twice");
    http_client_free(cl);
    for (int at = 1; at <= 2; at++) {
        cl = client_for("127.0.0.1", peer.port);
        peer.texts = dies;
        r.cancel_at = at;
        call(cl, &r, 0, 0);
        ok(r.dones == 1 && r.status == 200, "cancelled inside %s", at == 1 ? "on_head" : "on_body");
        http_client_free(cl);
    }
    r.cancel_at = 0;
    cl = client_for("localhost", peer.port);
    peer.texts = dies;
    call(cl, &r, 0, 0);
    is_int(r.code, ERR_OK, "a name is looked up, all its addresses are tried");
    http_client_free(cl);
    cl = client_for("nowhere.invalid", 80);
    call(cl, &r, 0, 0);
    ok(r.code == ERR_UNAVAILABLE, "%s", r.text);
    http_client_free(cl);
    cl = client_for("127.0.0.1", 1);
    call(cl, &r, 0, 0);
    ok(r.code == ERR_UNAVAILABLE, "%s", r.text);
    http_client_free(cl);
    buf_fini(&r.body);
}

/* ---- fetch ---- */

static struct http_req *streams[4];
static int n_streams;

static void on_gone(struct http_req *r)
{
    for (int i = 0; i < n_streams; i++)
        if (streams[i] == r) streams[i] = streams[--n_streams];
}

static void h_hi(struct http_req *r, void *owner)
{
    (void)owner;
    http_reply(r, 200, "text/plain", S("hi there"));
}

static void h_stream(struct http_req *r, void *owner)
{
    (void)owner;
    r->gone = on_gone;
    http_sse_begin(r);
    http_sse_data(r, S("x"));
    streams[n_streams++] = r;
}

static const struct http_route routes[] = {{"GET", "/hi", 0, false, h_hi},
                                           {"GET", "/stream", 0, false, h_stream},
                                           {NULL, NULL, 0, false, NULL}};

struct job {
    int port;
    atomic_bool cancel;
    int stop_after;
    bool cancel_in_bytes;
    uv_async_t done;
    bool over;
};

static bool on_bytes(void *owner, str bytes)
{
    struct job *j = owner;

    (void)bytes;
    if (j->cancel_in_bytes) atomic_store(&j->cancel, true);
    return !j->stop_after;
}

static void fetch_thread(void *arg)
{
    struct job *j = arg;
    struct fetch f = {.peer = {.host = "127.0.0.1", .port = j->port},
                      .method = S("GET"),
                      .target = S("/hi"),
                      .cancel = &j->cancel,
                      .on_bytes = on_bytes,
                      .owner = j};
    buf out = {.cap = 0};
    struct err_info e = {0};
    int status;

    is_int(fetch_all(&f, &status, &out, &e), ERR_OK, "fetch_all");
    ok(status == 200 && str_eqc(buf_view(&out), "hi there"), "status and body");
    buf_fini(&out);
    out.cap = 3;
    is_int(fetch_all(&f, &status, &out, &e), ERR_LIMIT, "the cap of the buffer holds");
    buf_fini(&out);
    f.target = S("/nothing");
    ok(fetch_run(&f, &status, &e) == ERR_OK && status == 404, "a 404 is no error of fetch");
    f.target = S("/stream");
    j->stop_after = 1;
    is_int(fetch_run(&f, &status, &e), ERR_OK, "on_bytes ends a stream");
    j->stop_after = 0;
    j->cancel_in_bytes = true;
    is_int(fetch_run(&f, &status, &e), ERR_CANCELLED, "a flag ends a stream");
    atomic_store(&j->cancel, false);
    f.target = S("/bad target");
    is_int(fetch_run(&f, &status, &e), ERR_INVALID, "a target with a blank");
    f.target = S("/hi");
    f.peer.port = 1;
    is_int(fetch_run(&f, &status, &e), ERR_UNAVAILABLE, "nobody there");
    f.peer.port = 0;
    is_int(fetch_run(&f, &status, &e), ERR_INVALID, "no port");
    uv_async_send(&j->done);
}

static void on_job_done(uv_async_t *a)
{
    *(bool *)a->data = true;
}

static void test_fetch(void)
{
    struct http_conf conf = {.name = "test/1", .routes = routes};
    struct http_server *s;
    struct err_info e;
    struct job j = {0};
    uv_thread_t t;

    if (http_server_new(&s, &loop, &conf, &e) || http_listen_tcp(s, "127.0.0.1", 0, &e))
        BUG(e.text);
    j.port = http_server_port(s);
    j.done.data = &j.over;
    uv_async_init(&loop, &j.done, on_job_done);
    if (uv_thread_create(&t, fetch_thread, &j)) BUG("thread");
    while (!j.over)
        uv_run(&loop, UV_RUN_ONCE);
    uv_thread_join(&t);
    uv_close((uv_handle_t *)&j.done, NULL);
    http_server_close(s, 0, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    is_int(n_streams, 0, "both streams are known to be gone");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR);
    uv_loop_init(&loop);
    peer_start();
    test_cases();
    test_reuse();
    uv_close((uv_handle_t *)&peer.listener, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    test_fetch();
    is_int(uv_loop_close(&loop), 0, "no handle is left");
    return tap_end();
}
