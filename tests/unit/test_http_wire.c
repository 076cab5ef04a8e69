/* test_http_wire: server and client over loopback in one loop: streams, pauses, clients that leave,
 * hostile bytes on a real socket, patience, limits, both kinds of sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/http.h"
#include "tap.h"

/* ---- a server with a handler for every situation ---- */

static struct {
    struct http_req *held[256];
    int n_held;
    int gone;
    int calls;
} seen;

static void on_gone(struct http_req *r)
{
    seen.gone++;
    for (int i = 0; i < seen.n_held; i++)
        if (seen.held[i] == r) seen.held[i] = seen.held[--seen.n_held];
}

static void h_hello(struct http_req *r, void *owner)
{
    (void)owner;
    seen.calls++;
    http_reply(r, 200, "text/plain", S("hello"));
}

static void h_echo(struct http_req *r, void *owner)
{
    (void)owner;
    http_reply(r, 200, "application/octet-stream", r->body);
}

static void h_param(struct http_req *r, void *owner)
{
    (void)owner;
    http_set_header(r, "X-Bad", "a\nb");
    http_set_header(r, "X-Good", "fine");
    http_reply(r, 200, "text/plain", r->param[0]);
}

static void h_hold(struct http_req *r, void *owner)
{
    (void)owner;
    ASSERT(seen.n_held < 256);
    r->gone = on_gone;
    seen.held[seen.n_held++] = r;
}

static void h_zombie(struct http_req *r, void *owner)
{
    (void)owner;
    seen.held[seen.n_held++] = r;
}

static void h_sse(struct http_req *r, void *owner)
{
    http_sse_begin(r);
    http_sse_data(r, S("first"));
    h_hold(r, owner);
}

static void h_big(struct http_req *r, void *owner)
{
    static char block[8192];
    char label[16];

    (void)owner;
    http_begin(r, 200, "text/plain");
    for (int i = 0; i < 256; i++) {
        memset(block, 'a' + i % 26, sizeof block);
        snprintf(label, sizeof label, "%08d", i);
        memcpy(block, label, 8);
        http_write(r, (str){block, sizeof block});
    }
    http_end(r);
}

static void h_flood(struct http_req *r, void *owner)
{
    static char block[65536];

    (void)owner;
    r->gone = on_gone;
    http_begin(r, 200, "text/plain");
    for (int i = 0; i < 400; i++)
        http_write(r, (str){block, sizeof block});
    seen.held[seen.n_held++] = r;
}

static void h_abort(struct http_req *r, void *owner)
{
    (void)owner;
    http_begin(r, 200, "text/plain");
    http_write(r, S("part"));
    seen.held[seen.n_held++] = r;
    r->gone = on_gone;
}

static uv_loop_t loop;
static uv_timer_t late;

static void on_late(uv_timer_t *t)
{
    http_reply(t->data, 200, "text/plain", S("late"));
    uv_close((uv_handle_t *)t, NULL);
}

/* Answered from a timer that is due together with the server's own look at its connections. */
static void h_late(struct http_req *r, void *owner)
{
    (void)owner;
    uv_timer_init(&loop, &late);
    late.data = r;
    uv_timer_start(&late, on_late, 0, 0);
    usleep(60000);
}

static void h_fail(struct http_req *r, void *owner)
{
    (void)owner;
    http_error(r, ERR_CONTEXT, "%d tokens \"too\" many", 3);
}

static const struct http_route routes[] = {
    {"GET", "/health", 0, true, h_hello},
    {"GET", "/hello", 0, false, h_hello},
    {"POST", "/echo", 1 << 20, false, h_echo},
    {"GET", "/v1/models/{id}", 0, false, h_param},
    {"GET", "/hold", 0, false, h_hold},
    {"GET", "/zombie", 0, false, h_zombie},
    {"GET", "/sse", 0, false, h_sse},
    {"GET", "/big", 0, false, h_big},
    {"GET", "/flood", 0, false, h_flood},
    {"GET", "/abort", 0, false, h_abort},
    {"GET", "/fail", 0, false, h_fail},
    {"GET", "/late", 0, false, h_late},
    {NULL, NULL, 0, false, NULL},
};

static struct http_server *server;
static struct http_client *client;

static struct http_server *start(const char *token, int short_ms)
{
    struct http_conf conf = {.name = "test/1",
                             .routes = routes,
                             .token = token,
                             .head_ms = short_ms,
                             .body_ms = short_ms,
                             .write_ms = short_ms,
                             .idle_ms = short_ms};
    struct http_server *s;
    struct err_info e;

    memset(&seen, 0, sizeof seen);
    if (http_server_new(&s, &loop, &conf, &e) || http_listen_tcp(s, "127.0.0.1", 0, &e)) {
        printf("Bail out! %s\n", e.text);
        exit(1);
    }
    return s;
}

static bool closed;

static void on_closed(void *owner)
{
    (void)owner;
    closed = true;
}

static void stop(struct http_server *s)
{
    closed = false;
    http_server_close(s, 0, on_closed, NULL);
    while (!closed)
        uv_run(&loop, UV_RUN_ONCE);
}

static struct http_client *connect_to(struct http_server *s, const char *token)
{
    struct http_peer peer = {.host = "127.0.0.1", .port = http_server_port(s), .token = token};
    struct http_client *c;
    struct err_info e;

    if (http_client_new(&c, &loop, &peer, &e)) BUG("client");
    return c;
}

static void on_tick(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

/* Runs the loop for a while. */
static void turn(int ms)
{
    uv_timer_t t;
    bool over = false;

    uv_timer_init(&loop, &t);
    t.data = &over;
    uv_timer_start(&t, on_tick, (uint64_t)ms, 0);
    while (!over)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

/* ---- calls ---- */

struct result {
    int status, heads, dones;
    enum err code;
    char text[256];
    char allow[64], id[64], good[64];
    bool bad;
    buf body;
    struct http_call *call;
};

static void on_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    struct result *r = http_call_owner(c);

    r->status = status;
    r->heads++;
    for (size_t i = 0; i < n; i++) {
        if (str_ieq(h[i].name, S("allow")))
            snprintf(r->allow, sizeof r->allow, "%.*s", STR(h[i].value));
        if (str_ieq(h[i].name, S("x-request-id")))
            snprintf(r->id, sizeof r->id, "%.*s", STR(h[i].value));
        if (str_ieq(h[i].name, S("x-good")))
            snprintf(r->good, sizeof r->good, "%.*s", STR(h[i].value));
        if (str_ieq(h[i].name, S("x-bad"))) r->bad = true;
    }
}

static void on_body(struct http_call *c, str bytes)
{
    struct result *r = http_call_owner(c);

    buf_str(&r->body, bytes);
}

static void on_done(struct http_call *c, enum err code, const char *text)
{
    struct result *r = http_call_owner(c);

    r->dones++;
    r->code = code;
    r->call = NULL;
    snprintf(r->text, sizeof r->text, "%s", text);
}

static bool begin(struct result *r, struct http_client *cl, const char *method, const char *target,
                  str body)
{
    struct http_call_conf conf = {.method = str_c(method),
                                  .target = str_c(target),
                                  .body = body,
                                  .on_head = on_head,
                                  .on_body = on_body,
                                  .on_done = on_done,
                                  .owner = r};

    buf_fini(&r->body);
    *r = (struct result){.body = {.cap = LIMIT_HTTP_REPLY}};
    r->call = http_call(cl, &conf);
    return r->call != NULL;
}

static void wait_done(struct result *r)
{
    while (!r->dones)
        uv_run(&loop, UV_RUN_ONCE);
}

static struct result *call(struct result *r, const char *method, const char *target, str body)
{
    if (begin(r, client, method, target, body)) wait_done(r);
    return r;
}

/* ---- raw sockets ---- */

static int dial(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)http_server_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (connect(fd, (struct sockaddr *)&sa, sizeof sa)) BUG("connect");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text)) printf("# short write\n");
}

/* Reads for at most ms until the peer closes; true when it did. */
static bool hear(int fd, char *out, size_t size, int ms)
{
    size_t n = 0;

    out[0] = 0;
    for (int i = 0; i < ms; i++) {
        ssize_t got = read(fd, out + n, size - 1 - n);

        if (got == 0) return true;
        if (got > 0) {
            n += (size_t)got;
            out[n] = 0;
            continue;
        }
        if (errno != EAGAIN) return true;
        turn(1);
    }
    return false;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

/* ---- tests ---- */

static void test_calls(void)
{
    struct result r = {0};
    static char big[900000];

    call(&r, "GET", "/hello", S(""));
    is_int(r.code, ERR_OK, "a call ends well");
    is_int(r.status, 200, "status 200");
    is_str(buf_view(&r.body), S("hello"), "body arrives");
    ok(r.id[0] != 0, "X-Request-Id is there: %s", r.id);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7 + i / 251);
    call(&r, "POST", "/echo", (str){big, sizeof big});
    ok(r.body.n == sizeof big && memcmp(r.body.p, big, sizeof big) == 0, "900 kB go and come back");
    call(&r, "GET", "/v1/models/org%2Fname", S(""));
    is_str(buf_view(&r.body), S("org/name"), "an encoded slash stays in its segment");
    ok(strcmp(r.good, "fine") == 0 && !r.bad, "headers set; one with a line feed left out");
    call(&r, "GET", "/nothing", S(""));
    is_int(r.status, 404, "404");
    call(&r, "DELETE", "/hello", S(""));
    is_int(r.status, 405, "405");
    is_str(str_c(r.allow), S("GET, HEAD"), "Allow");
    call(&r, "OPTIONS", "/echo", S(""));
    ok(r.status == 204 && strcmp(r.allow, "POST") == 0, "OPTIONS: %d %s", r.status, r.allow);
    call(&r, "HEAD", "/hello", S(""));
    ok(r.status == 200 && r.body.n == 0 && r.code == ERR_OK, "HEAD has no body");
    call(&r, "HEAD", "/big", S(""));
    ok(r.status == 200 && r.body.n == 0 && r.code == ERR_OK, "HEAD of a stream has no body");
    call(&r, "GET", "/fail", S(""));
    is_int(r.status, 400, "http_error takes the status of the code");
    is_str(buf_view(&r.body),
           S("{\"error\":{\"message\":\"3 tokens \\\"too\\\" many\",\"type\":\"invalid_request_"
             "error\",\"param\":null,\"code\":\"context_length_exceeded\"}}"),
           "OpenAI's error shape");
    call(&r, "GET", "/big", S(""));
    ok(r.body.n == 256 * 8192 && memcmp(r.body.p + 255 * 8192, "00000255", 8) == 0,
       "2 MB in chunks");
    buf_fini(&r.body);
}

static void test_many(void)
{
    struct result r = {0};
    int good = 0;

    for (int i = 0; i < 1000; i++) {
        call(&r, "GET", "/hello", S(""));
        good += r.code == ERR_OK && r.status == 200 && r.body.n == 5;
    }
    is_int(good, 1000, "1000 requests one after the other");
    is_int(http_server_conns(server), 1, "on one connection");
    buf_fini(&r.body);
}

static void test_sse(void)
{
    enum { N = 200 };
    static struct result rs[N];
    int firsts = 0, seconds = 0, ends = 0;

    for (int i = 0; i < N; i++)
        if (!begin(&rs[i], client, "GET", "/sse", S(""))) BUG("call");
    for (int i = 0; i < 500 && seen.n_held < N; i++)
        turn(2);
    turn(20);
    for (int i = 0; i < N; i++)
        firsts += rs[i].body.n == strlen("data: first\n\n");
    is_int(firsts, N, "200 streams have their first event");
    for (int i = 0; i < N; i++) {
        http_sse_data(seen.held[i], S("two\nlines"));
        http_sse_comment(seen.held[i], S("beat"));
    }
    turn(50);
    for (int i = 0; i < N; i++)
        seconds +=
            str_eq(buf_view(&rs[i].body), S("data: first\n\ndata: two\ndata: lines\n\n: beat\n\n"));
    is_int(seconds, N, "and their second, with two lines, and a comment");
    for (int i = 0; i < 50; i++)
        http_call_cancel(rs[i].call);
    for (int i = 0; i < 200 && seen.gone < 50; i++)
        turn(2);
    is_int(seen.gone, 50, "cancelled calls reach the handler as gone");
    is_int(seen.n_held, 150, "the others live");
    while (seen.n_held)
        http_end(seen.held[--seen.n_held]);
    turn(50);
    for (int i = 50; i < N; i++)
        ends += rs[i].dones == 1 && rs[i].code == ERR_OK;
    is_int(ends, 150, "ended streams end well");
    for (int i = 0; i < N; i++)
        buf_fini(&rs[i].body);
    seen.gone = 0;
}

static void test_pause(void)
{
    struct result r = {0};
    size_t before;

    begin(&r, client, "GET", "/big", S(""));
    while (!r.heads)
        uv_run(&loop, UV_RUN_ONCE);
    http_call_pause(r.call, true);
    before = r.body.n;
    turn(50);
    ok(r.body.n == before && r.dones == 0, "a paused call gets nothing");
    http_call_pause(r.call, false);
    wait_done(&r);
    ok(r.code == ERR_OK && r.body.n == 256 * 8192 && memcmp(r.body.p + 8192, "00000001", 8) == 0,
       "and everything afterwards");
    buf_fini(&r.body);
}

static void test_leaving(void)
{
    struct result r = {0};
    struct http_req *zombie;

    begin(&r, client, "GET", "/hold", S(""));
    while (!seen.n_held)
        uv_run(&loop, UV_RUN_ONCE);
    http_call_cancel(r.call);
    for (int i = 0; i < 200 && !seen.gone; i++)
        turn(1);
    is_int(seen.gone, 1, "gone while the handler thinks");
    begin(&r, client, "GET", "/zombie", S(""));
    while (!seen.n_held)
        uv_run(&loop, UV_RUN_ONCE);
    zombie = seen.held[--seen.n_held];
    http_call_cancel(r.call);
    turn(30);
    ok(str_eq(zombie->path, S("/zombie")), "a request without a gone callback stays valid");
    http_begin(zombie, 200, "text/plain");
    http_write(zombie, S("to nobody"));
    http_end(zombie);
    begin(&r, client, "GET", "/abort", S(""));
    while (!r.body.n)
        uv_run(&loop, UV_RUN_ONCE);
    http_abort(seen.held[--seen.n_held]);
    wait_done(&r);
    is_int(r.code, ERR_CRASHED, "a cut stream is not a proper end");
    is_int(seen.gone, 1, "http_abort does not call gone");
    buf_fini(&r.body);
    seen.gone = 0;
}

static void test_raw(void)
{
    static char text[262144];
    char path[100];
    size_t big = 0;
    int fd = dial();

    say(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hello HTTP/1.1\r\nHost: "
            "localhost\r\n\r\nHEAD /hello HTTP/1.1\r\nHost: x@y\r\n\r\n");
    ok(hear(fd, text, sizeof text, 500), "closed after a malformed request");
    is_int(count(text, "HTTP/1.1 200 OK"), 2, "pipelined requests are answered in order");
    is_int(count(text, "HTTP/1.1 400 "), 1, "then the malformed one");
    close(fd);

    fd = dial();
    for (int i = 0; i < 500; i++)
        say(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    say(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    ok(hear(fd, text, sizeof text, 1000), "Connection: close is obeyed");
    is_int(count(text, "\r\n\r\nhello"), 501, "501 pipelined requests");
    close(fd);

    fd = dial();
    for (int i = 0; i < 5; i++)
        say(fd, "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (int i = 0; i < 3000 && big < (size_t)5 * 256 * 8192; i++) {
        ssize_t n = read(fd, text, sizeof text);

        if (n > 0)
            big += (size_t)n;
        else
            turn(1);
    }
    ok(big > (size_t)5 * 256 * 8192, "pipelined large replies wait for each other");
    close(fd);

    fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n");
    ok(hear(fd, text, sizeof text, 500) && strstr(text, " 413 "), "413 before the body is sent");
    close(fd);

    fd = dial();
    say(fd,
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n");
    memset(text, 'x', 200000);
    text[200000] = 0;
    for (int i = 0; i < 6; i++) {
        if (write(fd, text, 200000) < 0) break;
        turn(2);
    }
    ok(hear(fd, text, sizeof text, 500) && strstr(text, " 413 "), "413 when chunks pass the cap");
    close(fd);

    fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
            "2\r\n\r\n");
    hear(fd, text, sizeof text, 20);
    is_str(str_c(text), S("HTTP/1.1 100 Continue\r\n\r\n"), "100 Continue");
    say(fd, "hi");
    hear(fd, text, sizeof text, 20);
    ok(strstr(text, "\r\n\r\nhi") != NULL, "then the reply");
    close(fd);

    fd = dial();
    say(fd, "GET /big HTTP/1.0\r\nHost: localhost\r\n\r\n");
    ok(hear(fd, text, 4096, 0) || 1, "HTTP/1.0");
    turn(20);
    hear(fd, text, 4096, 1);
    ok(strstr(text, "Connection: close") && !strstr(text, "chunked"), "1.0 streams end by closing");
    close(fd);

    fd = dial();
    say(fd, "GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    hear(fd, text, sizeof text, 20);
    ok(strstr(text, " 403 ") != NULL, "a foreign Host is refused");
    say(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n");
    hear(fd, text, sizeof text, 20);
    ok(strstr(text, " 403 ") != NULL, "a foreign Origin is refused");
    say(fd, "GET /hello HTTP/1.1\r\nHost: 127.0.0.1:80\r\nX-Request-Id: abc-1\r\n\r\n");
    hear(fd, text, sizeof text, 20);
    ok(strstr(text, " 200 ") && strstr(text, "X-Request-Id: abc-1\r\n"), "X-Request-Id is echoed");
    close(fd);

    fd = dial();
    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = 0;
    for (int i = 0; i < 700; i++)
        if (write(fd, path, sizeof path - 1) < 0) break;
    ok(hear(fd, text, sizeof text, 200) && strstr(text, " 414 "), "414 for an endless first line");
    close(fd);
    turn(20);
}

static void test_slow(void)
{
    static char text[8192];
    int fd, small = 4096, late_ok = 0;
    struct result r = {0};

    server = start(NULL, 150);
    fd = dial();
    for (int i = 0; i < 12; i++) {
        if (write(fd, "G", 1) < 0) break;
        turn(25);
    }
    ok(hear(fd, text, sizeof text, 500) && strstr(text, " 408 "), "a slow head is 408");
    close(fd);
    fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc");
    ok(hear(fd, text, sizeof text, 800) && strstr(text, " 408 "), "a slow body is 408");
    close(fd);
    fd = dial();
    ok(hear(fd, text, sizeof text, 800) && !text[0], "a silent connection is closed");
    close(fd);
    fd = dial();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    say(fd, "GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (int i = 0; i < 1000 && !seen.gone; i++)
        turn(1);
    is_int(seen.gone, 1, "a client that reads nothing is cut at the cap");
    close(fd);
    fd = dial();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (int i = 0; i < 8; i++)
        say(fd, "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (int i = 0; i < 1500 && http_server_conns(server); i++)
        turn(1);
    is_int(http_server_conns(server), 0, "a reply that cannot be written ends the connection");
    close(fd);
    for (int i = 0; i < 8; i++) {
        fd = dial();
        say(fd, "GET /late HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        late_ok += hear(fd, text, sizeof text, 800) && strstr(text, "late");
        close(fd);
    }
    is_int(late_ok, 8, "the first reply of a connection may wait for its turn");
    client = connect_to(server, NULL);
    call(&r, "GET", "/hello", S(""));
    turn(400);
    is_int(http_server_conns(server), 0, "an idle connection is closed");
    call(&r, "GET", "/hello", S(""));
    is_int(r.status, 200, "and the client opens another");
    begin(&r, client, "GET", "/sse", S(""));
    turn(600);
    ok(r.dones == 0 && seen.n_held == 1, "an idle stream is not cut");
    http_call_cancel(r.call);
    http_client_free(client);
    turn(20);
    stop(server);
    buf_fini(&r.body);
}

static void test_token(void)
{
    struct result r = {0};
    struct http_client *with;

    server = start("s3cret", 0);
    client = connect_to(server, NULL);
    with = connect_to(server, "s3cret");
    call(&r, "GET", "/hello", S(""));
    is_int(r.status, 401, "401 without the token");
    call(&r, "GET", "/nothing", S(""));
    is_int(r.status, 401, "nor is it told what exists");
    call(&r, "GET", "/health", S(""));
    is_int(r.status, 200, "an open route needs none");
    begin(&r, with, "GET", "/hello", S(""));
    wait_done(&r);
    is_int(r.status, 200, "200 with it");
    http_client_free(client);
    client = connect_to(server, "s3creT");
    call(&r, "GET", "/hello", S(""));
    is_int(r.status, 401, "401 with another");
    http_client_free(client);
    http_client_free(with);
    stop(server);
    buf_fini(&r.body);
}

static unsigned dice(unsigned n)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % n);
}

/* Answers or drops one of the requests that handlers hold, in any way a handler may. */
static void answer_one(void)
{
    struct http_req *r;
    int i;

    if (!seen.n_held) return;
    i = (int)dice((unsigned)seen.n_held);
    r = seen.held[i];
    if (http_begun(r) && dice(3)) {
        http_write(r, S("more"));
        return;
    }
    seen.held[i] = seen.held[--seen.n_held];
    if (dice(4) == 0)
        http_abort(r);
    else if (http_begun(r))
        http_end(r);
    else if (dice(2))
        http_error(r, ERR_BUSY, "full");
    else
        http_reply(r, 200, "text/plain", S("late"));
}

/* Many clients at once that send right and broken requests in odd pieces, read or do not, and leave
 * when they like; afterwards nothing may be left. */
static void test_chaos(void)
{
    static const char *const texts[] = {
        "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /abort HTTP/1.0\r\nHost: localhost\r\n\r\n",
        "GET /zombie HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123456789",
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n0\r\n\r\n",
        "POST /hello HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        "Content-Length: 3\r\n\r\nabc",
        "GET /hello HTTP/1.1\r\nHost: localhost\r\n bad: x\r\n\r\n",
    };
    static char sink[65536];
    enum { CLIENTS = 40, STEPS = 12000 };
    struct {
        int fd;
        const char *at; /* what is still to be said */
    } cl[CLIENTS];

    server = start(NULL, 0);
    for (int i = 0; i < CLIENTS; i++)
        cl[i].fd = -1;
    for (int step = 0; step < STEPS; step++) {
        int i = (int)dice(CLIENTS);
        size_t n;

        if (cl[i].fd < 0) {
            cl[i].fd = dial();
            cl[i].at = "";
        } else if (dice(12) == 0) {
            close(cl[i].fd);
            cl[i].fd = -1;
        } else if (dice(3) == 0) {
            if (read(cl[i].fd, sink, sizeof sink) == 0) {
                close(cl[i].fd);
                cl[i].fd = -1;
            }
        } else {
            if (!*cl[i].at) cl[i].at = texts[dice(sizeof texts / sizeof *texts)];
            n = 1 + dice((unsigned)strlen(cl[i].at));
            if (write(cl[i].fd, cl[i].at, n) == (ssize_t)n) cl[i].at += n;
        }
        if (dice(2)) uv_run(&loop, UV_RUN_NOWAIT);
        if (dice(3) == 0 || seen.n_held > 200) answer_one();
    }
    for (int i = 0; i < CLIENTS; i++)
        if (cl[i].fd >= 0) close(cl[i].fd);
    for (int i = 0; i < 2000 && http_server_conns(server); i++)
        turn(1);
    is_int(http_server_conns(server), 0, "after 12,000 random steps no connection is left");
    ok(seen.calls > 20, "%d requests were answered meanwhile", seen.calls);
    stop(server);
    while (seen.n_held)
        answer_one();
    is_int(seen.n_held, 0, "requests whose client and server are gone can still be answered");
}

static void test_grace(void)
{
    struct result r = {0};

    server = start(NULL, 0);
    client = connect_to(server, NULL);
    begin(&r, client, "GET", "/hold", S(""));
    while (!seen.n_held)
        uv_run(&loop, UV_RUN_ONCE);
    closed = false;
    http_server_close(server, 5000, on_closed, NULL);
    turn(50);
    ok(!closed && !r.dones, "a closing server waits for a request under way");
    http_reply(seen.held[--seen.n_held], 200, "text/plain", S("late"));
    for (int i = 0; i < 500 && !closed; i++)
        turn(1);
    ok(closed && r.status == 200 && r.code == ERR_OK, "and ends when it is answered");
    http_client_free(client);
    turn(5);
    buf_fini(&r.body);
}

static void test_unix(void)
{
    char path[64];
    struct err_info e = {0};
    struct http_conf conf = {.name = "test/1", .routes = routes};
    struct http_server *other;
    struct http_peer peer = {.unix_path = path};
    struct result r = {0};
    struct stat st;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd;

    snprintf(path, sizeof path, "test_http.%d.sock", (int)getpid());
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ok(bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0, "a stale socket file is made");
    close(fd);
    server = start(NULL, 0);
    is_int(http_listen_unix(server, path, &e), ERR_OK, "and replaced");
    ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "mode 0600");
    if (http_server_new(&other, &loop, &conf, &e)) BUG("server");
    is_int(http_listen_unix(other, path, &e), ERR_EXISTS, "a socket somebody answers on stays");
    is_int(http_listen_unix(other, "/dev/null", &e), ERR_EXISTS, "a file that is no socket stays");
    is_int(http_listen_tcp(other, "127.0.0.1", http_server_port(server), &e), ERR_EXISTS,
           "a port in use is reported");
    is_int(http_listen_tcp(other, "0.0.0.0", 0, &e), ERR_ACCESS, "no token, no open address");
    ok(strstr(e.text, "RBEE_TOKEN") != NULL, "and it says how: %s", e.text);
    stop(other);
    if (http_client_new(&client, &loop, &peer, &e)) BUG("client");
    call(&r, "POST", "/echo", S("over unix"));
    is_str(buf_view(&r.body), S("over unix"), "a call over a unix socket");
    begin(&r, client, "GET", "/hold", S(""));
    turn(10);
    ok(seen.n_held == 1 && seen.held[0]->from_unix, "from_unix");
    stop(server);
    is_int(seen.gone, 1, "closing the server ends what is under way");
    turn(10);
    is_int(r.code, ERR_UNAVAILABLE, "and the client hears of it");
    ok(stat(path, &st) != 0, "the socket file is gone");
    call(&r, "GET", "/hello", S(""));
    is_int(r.code, ERR_UNAVAILABLE, "nobody there");
    ok(strstr(r.text, path) != NULL, "%s", r.text);
    http_client_free(client);
    turn(5);
    buf_fini(&r.body);
}

int main(void)
{
    struct http_client *lonely;

    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR);
    uv_loop_init(&loop);
    server = start(NULL, 0);
    client = connect_to(server, NULL);
    test_calls();
    test_many();
    test_sse();
    test_pause();
    test_leaving();
    test_raw();
    lonely = connect_to(server, NULL);
    http_client_free(lonely);
    http_client_free(client);
    stop(server);
    test_slow();
    test_token();
    test_chaos();
    test_grace();
    test_unix();
    uv_run(&loop, UV_RUN_DEFAULT);
    is_int(uv_loop_close(&loop), 0, "no handle is left");
    return tap_end();
}
