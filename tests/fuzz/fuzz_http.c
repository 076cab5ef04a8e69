/* fuzz_http: any bytes through the parser, as requests and as replies, and every head through the
 * routes and locks. The first byte says how the rest is cut into pieces; what the parser makes of
 * it must not depend on that. */
#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "net/http_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void handler(struct http_req *r, void *owner)
{
    (void)r;
    (void)owner;
}

static const struct http_route rows[] = {
    {"GET", "/", 0, true, handler},
    {"GET", "/v1/models/{id}", 0, false, handler},
    {"POST", "/v1/{a}/{b}/{*}", 100, false, handler},
    {"DELETE", "/{*}", 0, false, handler},
    {NULL, NULL, 0, false, NULL},
};

/* What must hold for every head that was let through. */
static void look_at_head(const struct http_head *h)
{
    static const char *const hosts[] = {"a", NULL};
    struct arena a;
    struct http_match m;
    int n;

    for (size_t i = 0; i < h->n_headers; i++)
        ASSERT(http_parse_token(h->headers[i].name) && http_parse_value(h->headers[i].value));
    ASSERT(!(h->sized && h->chunked) && h->n_headers <= LIMIT_HTTP_HEADERS);
    if (!h->method.n) return;
    ASSERT(http_parse_host(http_parse_find(h->headers, h->n_headers, "host", &n)) && n == 1);
    http_route_host_ok(http_parse_find(h->headers, h->n_headers, "origin", &n), "b", hosts);
    http_route_token_ok(h->headers, h->n_headers, "secret");
    arena_init(&a, LIMIT_REQ_ARENA);
    http_route_find(rows, h->method, h->target, &a, &m);
    ASSERT(m.route ? m.status == 0 : m.status != 0);
    for (int i = 0; m.route && i < m.n_params; i++)
        ASSERT(!str_eqc(m.param[i], "..") &&
               (!m.param[i].n || !memchr(m.param[i].p, 0, m.param[i].n)));
    arena_fini(&a);
}

static uint64_t mix(uint64_t sum, str s)
{
    for (size_t i = 0; i < s.n; i++)
        sum = (sum ^ (unsigned char)s.p[i]) * 1099511628211u;
    return sum;
}

/* A sum over what came out; pieces of a body are one. */
static uint64_t parse(str in, size_t step, bool response)
{
    struct http_parse p;
    enum http_event ev = HTTP_EV_MORE;
    uint64_t sum = 14695981039346656037u;
    str piece;

    http_parse_init(&p, response, sizeof(struct http_req));
    while (in.n && ev != HTTP_EV_BAD) {
        str part = str_sub(in, 0, step);
        /* A copy of its own size lets the sanitizer see a read past the piece. */
        buf copy = {.cap = part.n};

        buf_str(&copy, part);
        in = str_sub(in, part.n, SIZE_MAX);
        part = buf_view(&copy);
        do {
            size_t before = part.n;

            ev = http_parse_next(&p, &part, &piece);
            ASSERT(part.n <= before);
            if (ev == HTTP_EV_HEAD) {
                look_at_head(&p.head);
                sum = mix(sum, p.head.target) + (uint64_t)p.head.status + p.head.n_headers;
            } else if (ev == HTTP_EV_BODY) {
                ASSERT(piece.n > 0);
                sum = mix(sum, piece);
            } else if (ev == HTTP_EV_DONE) {
                http_parse_reset(&p);
                sum = mix(sum, S("done"));
            } else if (ev == HTTP_EV_BAD) {
                ASSERT(p.bad && p.bad_status >= 400);
                sum = mix(sum, str_c(p.bad)) + p.bad_status;
            }
        } while (ev != HTTP_EV_BAD && (part.n || ev != HTTP_EV_MORE));
        buf_fini(&copy);
    }
    if (ev != HTTP_EV_BAD) sum += http_parse_eof(&p);
    http_parse_fini(&p);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str in;
    size_t step;

    if (size < 2) return 0;
    step = data[0] ? data[0] : 1;
    in = (str){(const char *)data + 1, size - 1};
    ASSERT(parse(in, step, false) == parse(in, in.n, false));
    ASSERT(parse(in, step, true) == parse(in, in.n, true));
    return 0;
}
