/* test_http: http in memory: good and hostile messages at once, byte by byte and in odd pieces; the
 * table of routes; the two locks. */
#include "base/limits.h"
#include "net/http_int.h"
#include "tap.h"

/* ---- what the parser makes of bytes, as one line of text ---- */

static void note(struct http_parse *p, enum http_event ev, str piece, buf *out, bool *in_body)
{
    const struct http_head *h = &p->head;

    if (ev == HTTP_EV_BODY) {
        if (!*in_body) buf_c(out, " [");
        *in_body = true;
        buf_str(out, piece);
        return;
    }
    if (ev == HTTP_EV_MORE) return;
    if (*in_body) buf_ch(out, ']');
    *in_body = false;
    if (ev == HTTP_EV_HEAD) {
        if (p->response)
            buf_printf(out, "%d", h->status);
        else
            buf_printf(out, "%.*s %.*s", STR(h->method), STR(h->target));
        buf_printf(out, " %zu%s%s%s", h->n_headers, h->keep ? "" : " close",
                   h->expect ? " expect" : "", h->chunked ? " chunked" : "");
    } else if (ev == HTTP_EV_DONE) {
        buf_c(out, "; ");
    } else if (ev == HTTP_EV_BAD) {
        buf_printf(out, "!%d", p->bad_status);
    }
}

/* Feeds pieces of `step` bytes; 0: all at once. */
static void digest(str in, size_t step, bool response, buf *out)
{
    struct http_parse p;
    enum http_event ev = HTTP_EV_MORE;
    bool in_body = false;
    str piece = {NULL, 0};

    buf_clear(out);
    http_parse_init(&p, response, 16);
    while (in.n && ev != HTTP_EV_BAD) {
        str part = str_sub(in, 0, step ? step : in.n);

        in = str_sub(in, part.n, SIZE_MAX);
        do {
            ev = http_parse_next(&p, &part, &piece);
            note(&p, ev, piece, out, &in_body);
            if (ev == HTTP_EV_DONE) http_parse_reset(&p);
        } while (ev != HTTP_EV_BAD && (part.n || ev != HTTP_EV_MORE));
    }
    if (response && ev != HTTP_EV_BAD)
        buf_printf(out, "%s%s", in_body ? "]" : "", http_parse_eof(&p) ? "end" : "");
    http_parse_fini(&p);
}

#define G  "GET / HTTP/1.1\r\n"
#define P  "POST /p HTTP/1.1\r\n"
#define H  "Host: a\r\n"
#define CH "Transfer-Encoding: chunked\r\n"

static const struct {
    const char *name, *in, *want;
} requests[] = {
    {"plain", G H "\r\n", "GET / 1; "},
    {"two in a row", G H "\r\n" G H "A: b\r\n\r\n", "GET / 1; GET / 2; "},
    {"an empty line before", "\r\n" G H "\r\n", "GET / 1; "},
    {"two empty lines before", "\r\n\r\n" G H "\r\n", "!400"},
    {"CR before", "\r" G H "\r\n", "!400"},
    {"body", P H "Content-Length: 3\r\n\r\nabc", "POST /p 2 [abc]; "},
    {"body and next", P H "Content-Length: 3\r\n\r\nabc" G H "\r\n", "POST /p 2 [abc]; GET / 1; "},
    {"empty body", P H "Content-Length: 0\r\n\r\n", "POST /p 2; "},
    {"chunks", P H CH "\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
     "POST /p 2 chunked [abc0123456789abcdef]; "},
    {"chunk extension", P H CH "\r\n1;a=\"b\"\r\nx\r\n0\r\n\r\n", "POST /p 2 chunked [x]; "},
    {"trailers", P H CH "\r\n1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n" G H "\r\n",
     "POST /p 2 chunked [x]; GET / 1; "},
    {"chunked in capitals", P H "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
     "POST /p 2 chunked; "},
    {"close", G H "Connection: close\r\n\r\n", "GET / 2 close; "},
    {"close in a list", G H "Connection: x , Close\r\n\r\n", "GET / 2 close; "},
    {"1.0", "GET / HTTP/1.0\r\n" H "\r\n", "GET / 1 close; "},
    {"1.0 kept", "GET / HTTP/1.0\r\n" H "Connection: keep-alive\r\n\r\n", "GET / 2; "},
    {"expect", P H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "POST /p 3 expect [x]; "},
    {"expect something else", P H "Expect: coffee\r\n\r\n", "!417"},
    {"empty value", G H "A:\r\n\r\n", "GET / 2; "},
    {"value of blanks", G H "A:   \t \r\n\r\n", "GET / 2; "},
    {"obs-text in a value", G H "A: \xc3\xa4\r\n\r\n", "GET / 2; "},
    {"host with port", G "Host: a.b:8080\r\n\r\n", "GET / 1; "},
    {"host v6", G "Host: [::1]:80\r\n\r\n", "GET / 1; "},
    {"OPTIONS *", "OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS * 1; "},
    {"query", "GET /a?b=%zz HTTP/1.1\r\n" H "\r\n", "GET /a?b=%zz 1; "},
    /* ---- hostile ---- */
    {"bare LF", "GET / HTTP/1.1\nHost: a\n\n", "!400"},
    {"bare LF in the fields", G "Host: a\n\r\n", "!400"},
    {"bare CR", G "Host: a\rb\r\n\r\n", "!400"},
    {"CR CR LF", G "Host: a\r\r\n\r\n", "!400"},
    {"obs-fold", G H "A: b\r\n c\r\n\r\n", "!400"},
    {"blank before the first field", G " " H "\r\n", "!400"},
    {"NUL in a value", G H "A: b@c\r\n\r\n", "!400"},
    {"NUL in the target", "GET /@ HTTP/1.1\r\n" H "\r\n", "!400"},
    {"escape in a value", G H "A: \x1b[31m\r\n\r\n", "!400"},
    {"DEL in a value", G H "A: \x7f\r\n\r\n", "!400"},
    {"control in the target", "GET /\x01 HTTP/1.1\r\n" H "\r\n", "!400"},
    {"high byte in the target", "GET /\xe4 HTTP/1.1\r\n" H "\r\n", "!400"},
    {"fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n", "!400"},
    {"blank before the colon", G H "A : b\r\n\r\n", "!400"},
    {"blank in a name", G H "A B: c\r\n\r\n", "!400"},
    {"no colon", G H "A\r\n\r\n", "!400"},
    {"empty name", G H ": b\r\n\r\n", "!400"},
    {"bracket in a name", G H "A(: b\r\n\r\n", "!400"},
    {"no host", G "A: b\r\n\r\n", "!400"},
    {"two hosts", G H H "\r\n", "!400"},
    {"empty host", G "Host:\r\n\r\n", "!400"},
    {"host with a path", G "Host: a/b\r\n\r\n", "!400"},
    {"host with user", G "Host: u@a\r\n\r\n", "!400"},
    {"host with two ports", G "Host: a:1:2\r\n\r\n", "!400"},
    {"host with an empty port", G "Host: a:\r\n\r\n", "!400"},
    {"host with a long port", G "Host: a:123456\r\n\r\n", "!400"},
    {"host with an open bracket", G "Host: [::1\r\n\r\n", "!400"},
    {"host list", G "Host: a, b\r\n\r\n", "!400"},
    {"TE and CL", P H CH "Content-Length: 3\r\n\r\nabc", "!400"},
    {"CL and TE", P H "Content-Length: 3\r\n" CH "\r\nabc", "!400"},
    {"two CL", P H "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "!400"},
    {"two equal CL", P H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "!400"},
    {"CL list", P H "Content-Length: 3, 3\r\n\r\nabc", "!400"},
    {"CL with a sign", P H "Content-Length: +3\r\n\r\nabc", "!400"},
    {"CL negative", P H "Content-Length: -3\r\n\r\nabc", "!400"},
    {"CL hex", P H "Content-Length: 0x3\r\n\r\nabc", "!400"},
    {"CL empty", P H "Content-Length:\r\n\r\nabc", "!400"},
    {"CL overflow", P H "Content-Length: 18446744073709551617\r\n\r\nabc", "!400"},
    {"two TE", P H CH CH "\r\n0\r\n\r\n", "!400"},
    {"TE gzip", P H "Transfer-Encoding: gzip\r\n\r\n", "!501"},
    {"TE gzip, chunked", P H "Transfer-Encoding: gzip, chunked\r\n\r\n", "!501"},
    {"TE chunked, identity", P H "Transfer-Encoding: chunked, identity\r\n\r\n", "!400"},
    {"TE xchunked", P H "Transfer-Encoding: xchunked\r\n\r\n", "!501"},
    {"TE in 1.0", "POST / HTTP/1.0\r\n" H CH "\r\n0\r\n\r\n", "!400"},
    {"chunk without size", P H CH "\r\n\r\n", "POST /p 2 chunked!400"},
    {"chunk size with a sign", P H CH "\r\n+1\r\nx\r\n", "POST /p 2 chunked!400"},
    {"chunk size with 0x", P H CH "\r\n0x1\r\nx\r\n", "POST /p 2 chunked!400"},
    {"chunk size too long", P H CH "\r\n0000000000000001\r\nx\r\n", "POST /p 2 chunked!400"},
    {"chunk size, bare LF", P H CH "\r\n1\nx\r\n0\r\n\r\n", "POST /p 2 chunked!400"},
    {"chunk too long", P H CH "\r\n1\r\nxy\r\n", "POST /p 2 chunked [x]!400"},
    {"chunk, bare LF behind", P H CH "\r\n1\r\nx\n0\r\n\r\n", "POST /p 2 chunked [x]!400"},
    {"trailer without colon", P H CH "\r\n0\r\nA\r\n\r\n", "POST /p 2 chunked!400"},
    {"trailer folded", P H CH "\r\n0\r\nA: b\r\n c\r\n\r\n", "POST /p 2 chunked!400"},
    {"trailer, bare LF", P H CH "\r\n0\r\nA: b\n\r\n", "POST /p 2 chunked!400"},
    {"control in an extension", P H CH "\r\n1;\x01\r\nx\r\n", "POST /p 2 chunked!400"},
    {"unknown method", "BREW / HTTP/1.1\r\n" H "\r\n", "!501"},
    {"method in small letters", "get / HTTP/1.1\r\n" H "\r\n", "!501"},
    {"method that is no token", "G(T / HTTP/1.1\r\n" H "\r\n", "!400"},
    {"HTTP/2.0", "GET / HTTP/2.0\r\n" H "\r\n", "!505"},
    {"HTTP/1.2", "GET / HTTP/1.2\r\n" H "\r\n", "!505"},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!505"},
    {"HTTP/0.9", "GET /\r\n\r\n", "!400"},
    {"RTSP", "GET / RTSP/1.0\r\n" H "\r\n", "!400"},
    {"two blanks", "GET  / HTTP/1.1\r\n" H "\r\n", "!400"},
    {"blank in the target", "GET /a b HTTP/1.1\r\n" H "\r\n", "!400"},
    {"tab in the request line", "GET\t/ HTTP/1.1\r\n" H "\r\n", "!400"},
    {"TLS", "\x16\x03\x01\x02\x01\x01", "!400"},
};

static const struct {
    const char *name, *in, *want;
} responses[] = {
    {"sized", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 1 [hi]; "},
    {"chunked", "HTTP/1.1 200 OK\r\n" CH "\r\n2\r\nhi\r\n0\r\n\r\n", "200 1 chunked [hi]; "},
    {"to the end", "HTTP/1.1 200 OK\r\n\r\nhi", "200 0 close [hi]end"},
    {"cut short", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "200 1 [hi]"},
    {"cut chunk", "HTTP/1.1 200 OK\r\n" CH "\r\n2\r\nhi\r\n", "200 1 chunked [hi]"},
    {"cut head", "HTTP/1.1 200 OK\r\nContent-", ""},
    {"continue first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
     "100 0; 204 0; "},
    {"304 has no body",
     "HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\n"
     "Content-Length: 0\r\n\r\n",
     "304 1; 200 1; "},
    {"TE and CL", "HTTP/1.1 200 OK\r\n" CH "Content-Length: 3\r\n\r\nabc", "!400"},
    {"101", "HTTP/1.1 101 Switching\r\n\r\n", "!400"},
    {"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "!400"},
    {"garbage", "hello there\r\n\r\n", "!400"},
    {"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", "!400"},
};

/* The tables are C strings, so a NUL is written '@' in them. */
static void all_ways(const char *name, const char *text, const char *want, bool response)
{
    buf in = {.cap = 4096}, got = {.cap = 65536};
    size_t steps[] = {0, 1, 2, 3, 7, 19};
    bool same = true;

    buf_c(&in, text);
    for (size_t i = 0; strncmp(name, "NUL", 3) == 0 && i < in.n; i++)
        if (in.p[i] == '@') in.p[i] = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        digest(buf_view(&in), steps[i], response, &got);
        if (str_eqc(buf_view(&got), want)) continue;
        printf("#   pieces of %zu: %.*s\n", steps[i], STR(buf_view(&got)));
        same = false;
    }
    ok(same, "%s: %s", response ? "reply" : "request", name);
    buf_fini(&in);
    buf_fini(&got);
}

/* A head of `fields` fields, each value `n` long, and a target of `target` bytes. */
static int status_of(int fields, int n, int target)
{
    buf in = {.cap = 4 << 20}, got = {.cap = 4 << 20};
    int status;

    buf_c(&in, "GET /");
    for (int i = 1; i < target; i++)
        buf_ch(&in, 'a');
    buf_c(&in, " HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < fields; i++)
        buf_printf(&in, "A%d: %0*d\r\n", i, n, 0);
    buf_c(&in, "\r\n");
    digest(buf_view(&in), 1000, false, &got);
    status = got.n && got.p[0] == '!' ? atoi(got.p + 1) : 200;
    buf_fini(&in);
    buf_fini(&got);
    return status;
}

static void test_caps(void)
{
    is_int(status_of(LIMIT_HTTP_HEADERS - 1, 10, 1), 200, "as many fields as allowed");
    is_int(status_of(LIMIT_HTTP_HEADERS, 10, 1), 431, "one more");
    is_int(status_of(1, (int)LIMIT_HTTP_HEAD - 200, 1), 200, "a large head");
    is_int(status_of(1, (int)LIMIT_HTTP_HEAD, 1), 431, "too large a head");
    is_int(status_of(0, 1, (int)LIMIT_HTTP_TARGET), 200, "a long target");
    is_int(status_of(0, 1, (int)LIMIT_HTTP_TARGET + 1), 414, "too long a target");
    is_int(status_of(0, 1, (int)LIMIT_HTTP_TARGET * 4), 414, "far too long a target");
}

/* ---- routes ---- */

static void h_none(struct http_req *r, void *owner)
{
    (void)r;
    (void)owner;
}

static const struct http_route rows[] = {
    {"GET", "/", 0, false, h_none},
    {"GET", "/v1/models", 0, false, h_none},
    {"GET", "/v1/models/{id}", 0, false, h_none},
    {"DELETE", "/v1/models/{id}", 0, false, h_none},
    {"GET", "/v1/models/{id}/files/{*}", 0, false, h_none},
    {"POST", "/v1/chat/completions", 1, false, h_none},
    {NULL, NULL, 0, false, NULL},
};

static const struct {
    const char *method, *target;
    int row, status; /* row -1: none */
    const char *path, *params, *allow;
} finds[] = {
    {"GET", "/", 0, 0, "/", "", NULL},
    {"GET", "/v1/models", 1, 0, "/v1/models", "", NULL},
    {"GET", "/v1/models?x=/..", 1, 0, "/v1/models", "", NULL},
    {"HEAD", "/v1/models", 1, 0, "/v1/models", "", NULL},
    {"GET", "/v1/models/", -1, 404, NULL, "", ""},
    {"GET", "/v1/models/a", 2, 0, "/v1/models/a", "a|", NULL},
    {"DELETE", "/v1/models/a", 3, 0, "/v1/models/a", "a|", NULL},
    {"GET", "/v1/models/a%2Fb", 2, 0, "/v1/models/a/b", "a/b|", NULL},
    {"GET", "/v1/models/%c3%a4", 2, 0, "/v1/models/\xc3\xa4", "\xc3\xa4|", NULL},
    {"GET", "/v1/models/a/files/x/y%20z", 4, 0, "/v1/models/a/files/x/y z", "a|x/y z|", NULL},
    {"GET", "/v1/models/a/files/", 4, 0, "/v1/models/a/files/", "a||", NULL},
    {"GET", "/v1/models/a/files", -1, 404, NULL, "", ""},
    {"GET", "/v1/models/a/b", -1, 404, NULL, "", ""},
    {"GET", "//v1/models", -1, 404, NULL, "", ""},
    {"GET", "/V1/models", -1, 404, NULL, "", ""},
    {"POST", "/v1/models/a", -1, 405, NULL, "", "GET, HEAD, DELETE"},
    {"GET", "/v1/chat/completions", -1, 405, NULL, "", "POST"},
    {"HEAD", "/v1/chat/completions", -1, 405, NULL, "", "POST"},
    {"OPTIONS", "/v1/models/a", -1, 204, NULL, "", "GET, HEAD, DELETE"},
    {"OPTIONS", "/nothing", -1, 404, NULL, "", ""},
    {"OPTIONS", "*", -1, 204, NULL, "", "GET, HEAD, DELETE, POST"},
    {"GET", "*", -1, 400, NULL, "", ""},
    {"GET", "http://a/", -1, 400, NULL, "", ""},
    {"GET", "/v1/../x", -1, 400, NULL, "", ""},
    {"GET", "/v1/%2e%2E/x", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/..%2fx", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/..%5cx", -1, 400, NULL, "", ""},
    {"GET", "/./v1", -1, 400, NULL, "", ""},
    {"GET", "/..", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/...", 2, 0, "/v1/models/...", "...|", NULL},
    {"GET", "/v1/models/%", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/%4", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/%zz", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/%00", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/%0a", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/%7f", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/%ff", -1, 400, NULL, "", ""},
    {"GET", "/v1/models/%c0%ae", -1, 400, NULL, "", ""},
};

static void test_routes(void)
{
    for (size_t i = 0; i < sizeof finds / sizeof *finds; i++) {
        struct arena a;
        struct http_match m;
        buf params = {.cap = 1024};
        bool good;

        arena_init(&a, LIMIT_REQ_ARENA);
        http_route_find(rows, str_c(finds[i].method), str_c(finds[i].target), &a, &m);
        for (int k = 0; m.route && k < m.n_params; k++)
            buf_printf(&params, "%.*s|", STR(m.param[k]));
        good = (m.route ? (int)(m.route - rows) : -1) == finds[i].row &&
               m.status == finds[i].status && str_eqc(buf_view(&params), finds[i].params) &&
               (!finds[i].path || str_eqc(m.path, finds[i].path)) &&
               (!finds[i].allow || strcmp(m.allow, finds[i].allow) == 0);
        ok(good, "route %s %s", finds[i].method, finds[i].target);
        if (!good)
            printf("#   status %d path %.*s params %.*s allow %s\n", m.status, STR(m.path),
                   STR(buf_view(&params)), m.allow);
        buf_fini(&params);
        arena_fini(&a);
    }
}

/* ---- locks ---- */

static bool opens(const char *name, const char *value, const char *token)
{
    struct http_header h = {str_c(name), str_c(value)};

    return http_route_token_ok(&h, 1, token);
}

static void test_locks(void)
{
    static const char *const hosts[] = {"box.lan", NULL};
    struct http_header two[] = {{S("Authorization"), S("Bearer abc")},
                                {S("Authorization"), S("Bearer abc")}};

    ok(opens("Authorization", "Bearer abc", "abc"), "the token");
    ok(opens("authorization", "bearer abc", "abc"), "in small letters");
    ok(opens("X-Api-Key", "abc", "abc"), "as X-Api-Key");
    ok(!opens("Authorization", "Bearer abd", "abc"), "another token");
    ok(!opens("Authorization", "Bearer ab", "abc"), "a shorter one");
    ok(!opens("Authorization", "Bearer abcabc", "abc"), "a repeated one");
    ok(!opens("Authorization", "Bearer ", "abc"), "an empty one");
    ok(!opens("Authorization", "Basic abc", "abc"), "another scheme");
    ok(!opens("Authorization", "abc", "abc"), "no scheme");
    ok(!opens("Authorization", "Bearer ", ""), "an empty token opens nothing");
    ok(!opens("Other", "abc", "abc"), "no token");
    ok(!http_route_token_ok(two, 2, "abc"), "two of them");
    ok(http_route_host_ok(S("localhost:80"), "", hosts), "localhost");
    ok(http_route_host_ok(S("LOCALHOST"), "", hosts), "LOCALHOST");
    ok(http_route_host_ok(S("127.0.0.1"), "", hosts), "127.0.0.1");
    ok(http_route_host_ok(S("[::1]:7"), "", hosts), "[::1]");
    ok(http_route_host_ok(S("http://localhost:3000"), "", hosts), "an origin");
    ok(http_route_host_ok(S("box.lan:1"), "", hosts), "a name of the list");
    ok(http_route_host_ok(S("127.0.0.2"), "127.0.0.2", NULL), "the bound address");
    ok(!http_route_host_ok(S("evil.example"), "", hosts), "another name");
    ok(!http_route_host_ok(S("localhost.evil.example"), "", hosts), "a name that begins alike");
    ok(!http_route_host_ok(S("http://evil.example"), "", hosts), "another origin");
    ok(!http_route_host_ok(S("null"), "", hosts), "the null origin");
    ok(!http_route_host_ok(S(""), "", NULL), "nothing");
}

static void test_foreign(void)
{
    static const struct {
        const char *origin, *site;
        bool foreign;
    } cases[] = {
        {NULL, NULL, false},
        {"http://127.0.0.1:7833", NULL, false},
        {"HTTP://127.0.0.1:7833", "same-origin", false},
        {NULL, "none", false},
        {"http://127.0.0.1", NULL, true},
        {"http://127.0.0.1:7834", NULL, true},
        {"http://evil127.0.0.1:7833", NULL, true},
        {"127.0.0.1:7833", NULL, true},
        {"null", NULL, true},
        {NULL, "same-site", true},
        {"http://127.0.0.1:7833", "cross-site", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_header h[3] = {{S("host"), S("127.0.0.1:7833")}};
        struct http_req r = {.headers = h, .n_headers = 1};
        if (cases[i].origin)
            h[r.n_headers++] = (struct http_header){S("Origin"), str_c(cases[i].origin)};
        if (cases[i].site)
            h[r.n_headers++] = (struct http_header){S("Sec-Fetch-Site"), str_c(cases[i].site)};
        ok(http_foreign(&r) == cases[i].foreign, "origin %s, site %s: %s",
           cases[i].origin ? cases[i].origin : "-", cases[i].site ? cases[i].site : "-",
           cases[i].foreign ? "foreign" : "ours");
    }
}

int main(void)
{
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        all_ways(requests[i].name, requests[i].in, requests[i].want, false);
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++)
        all_ways(responses[i].name, responses[i].in, responses[i].want, true);
    test_caps();
    test_routes();
    test_locks();
    test_foreign();
    return tap_end();
}
