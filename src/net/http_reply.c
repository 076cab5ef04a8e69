/* http_reply: what handlers call to answer, and the bytes of a reply. See http.h.
 *
 * A reply goes through http_conn_send() only, so everything of one turn of the loop leaves
 * together. A request whose client is gone, or is about to be found gone, swallows what is written.
 */
#include "net/http_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

static const struct {
    int status;
    enum err code; /* in the body of an error that the server itself makes */
    const char *reason;
} table[] = {
    {200, ERR_OK, "OK"},
    {201, ERR_OK, "Created"},
    {202, ERR_OK, "Accepted"},
    {204, ERR_OK, "No Content"},
    {301, ERR_OK, "Moved Permanently"},
    {302, ERR_OK, "Found"},
    {304, ERR_OK, "Not Modified"},
    {307, ERR_OK, "Temporary Redirect"},
    {400, ERR_INVALID, "Bad Request"},
    {401, ERR_AUTH, "Unauthorized"},
    {403, ERR_ACCESS, "Forbidden"},
    {404, ERR_NOTFOUND, "Not Found"},
    {405, ERR_METHOD, "Method Not Allowed"},
    {408, ERR_TIMEOUT, "Request Timeout"},
    {409, ERR_EXISTS, "Conflict"},
    {413, ERR_LIMIT, "Content Too Large"},
    {414, ERR_LIMIT, "URI Too Long"},
    {415, ERR_INVALID, "Unsupported Media Type"},
    {417, ERR_INVALID, "Expectation Failed"},
    {422, ERR_UNSUPPORTED, "Unprocessable Content"},
    {429, ERR_BUSY, "Too Many Requests"},
    {431, ERR_LIMIT, "Request Header Fields Too Large"},
    {499, ERR_CANCELLED, "Client Closed Request"},
    {500, ERR_INTERNAL, "Internal Server Error"},
    {501, ERR_UNSUPPORTED, "Not Implemented"},
    {502, ERR_CRASHED, "Bad Gateway"},
    {503, ERR_UNAVAILABLE, "Service Unavailable"},
    {504, ERR_TIMEOUT, "Gateway Timeout"},
    {505, ERR_UNSUPPORTED, "HTTP Version Not Supported"},
    {507, ERR_NOSPACE, "Insufficient Storage"},
};

#define N_TABLE (sizeof table / sizeof *table)

const char *http_reply_reason(int status)
{
    for (size_t i = 0; i < N_TABLE; i++)
        if (table[i].status == status) return table[i].reason;
    return "Status";
}

static enum err code_of(int status)
{
    for (size_t i = 0; i < N_TABLE; i++)
        if (table[i].status == status) return table[i].code;
    return ERR_INTERNAL;
}

/* Nothing that is written reaches anybody. */
static bool unheard(const struct http_conn *c)
{
    return c->state == CONN_DEAD || c->doomed;
}

/* ---- the head ---- */

static void put_request_id(buf *b, const struct http_req *r)
{
    str id = http_header(r, "x-request-id");

    if (id.n >= 1 && id.n <= 128 && http_parse_token(id))
        buf_printf(b, "X-Request-Id: %.*s\r\n", STR(id));
    else
        buf_printf(b, "X-Request-Id: %llu\r\n", (unsigned long long)r->id);
}

/* length: of the body, or -1 for a stream. */
static void put_head(struct http_conn *c, int status, const char *type, int64_t length)
{
    struct http_server *s = c->server;
    buf head = {.cap = LIMIT_HTTP_EXTRA + KIB(4)};

    ASSERT(!c->begun && status >= 200 && status <= 599);
    c->begun = true;
    c->bodiless = c->head || status == 204 || status == 304;
    c->chunked = length < 0 && c->minor == 1 && !c->bodiless;
    /* Without chunks only the end of the connection can end the body. */
    if (s->closing || (length < 0 && c->minor == 0)) c->keep = false;
    buf_printf(&head, "HTTP/1.1 %d %s\r\nServer: %s\r\nDate: %s\r\n", status,
               http_reply_reason(status), s->conf.name ? s->conf.name : "rbee",
               http_server_date(s));
    if (c->req) put_request_id(&head, c->req);
    if (type) buf_printf(&head, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", type);
    if (length >= 0 && status != 204 && status != 304)
        buf_printf(&head, "Content-Length: %lld\r\n", (long long)length);
    else if (length < 0 && c->minor == 1 && status != 204 && status != 304)
        buf_c(&head, "Transfer-Encoding: chunked\r\n");
    if (!c->keep)
        buf_c(&head, "Connection: close\r\n");
    else if (c->minor == 0)
        buf_c(&head, "Connection: keep-alive\r\n");
    buf_str(&head, buf_view(&c->extra));
    buf_c(&head, "\r\n");
    if (head.failed)
        http_conn_doom(c);
    else
        http_conn_send(c, buf_view(&head));
    buf_fini(&head);
    buf_fini(&c->extra);
}

static void add_header(struct http_conn *c, const char *name, const char *value)
{
    str v = str_trim(str_c(value));

    if (http_parse_value(v)) buf_printf(&c->extra, "%s: %.*s\r\n", name, STR(v));
}

void http_set_header(struct http_req *r, const char *name, const char *value)
{
    static const char *const ours[] = {"content-length", "transfer-encoding", "connection", "date",
                                       "server",         "x-request-id"};
    struct http_conn *c = r->conn;

    ASSERT(http_parse_token(str_c(name)) && !c->begun);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        ASSERT(!str_ieq(str_c(name), str_c(ours[i])));
    add_header(c, name, value);
}

str http_header(const struct http_req *r, const char *name)
{
    return http_parse_find(r->headers, r->n_headers, name, NULL);
}

/* ---- whole replies ---- */

static void reply(struct http_conn *c, int status, const char *type, str body)
{
    if (!unheard(c)) {
        put_head(c, status, type, (int64_t)body.n);
        if (!c->bodiless && body.n && !c->doomed) http_conn_send(c, body);
    }
    http_conn_end(c);
}

void http_reply(struct http_req *r, int status, const char *content_type, str body)
{
    reply(r->conn, status, content_type, body);
}

static void error_reply(struct http_conn *c, int status, enum err code, const char *text)
{
    buf body = {.cap = KIB(16)};

    if (!unheard(c)) jsonw_error(&body, code, text);
    reply(c, status, "application/json", buf_view(&body));
    buf_fini(&body);
}

void http_reply_status(struct http_conn *c, int status, const char *text, const char *header,
                       const char *value)
{
    if (header) add_header(c, header, value);
    if (status == 204)
        reply(c, status, NULL, (str){NULL, 0});
    else
        error_reply(c, status, code_of(status), text);
}

void http_error(struct http_req *r, enum err code, const char *fmt, ...)
{
    struct http_conn *c = r->conn;
    char text[ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    /* A stream that has begun cannot change its status; cutting it is the only honest sign. */
    if (c->begun)
        http_abort(r);
    else
        error_reply(c, err_http(code), code, text);
}

void http_error_info(struct http_req *r, const struct err_info *e)
{
    http_error(r, e->code, "%s", e->text);
}

/* ---- streams ---- */

void http_begin(struct http_req *r, int status, const char *content_type)
{
    struct http_conn *c = r->conn;

    if (unheard(c))
        c->begun = true;
    else
        put_head(c, status, content_type, -1);
}

/* A stream that its client does not read is cut rather than kept in memory. */
static void check_backlog(struct http_conn *c)
{
    if (http_conn_pending(c) > LIMIT_HTTP_OUT) http_conn_doom(c);
}

void http_write(struct http_req *r, str bytes)
{
    struct http_conn *c = r->conn;
    char size[24];
    int n;

    ASSERT(c->begun);
    if (unheard(c) || c->bodiless || bytes.n == 0) return;
    if (c->chunked) {
        n = snprintf(size, sizeof size, "%zx\r\n", bytes.n);
        http_conn_send(c, (str){size, (size_t)n});
    }
    http_conn_send(c, bytes);
    if (c->chunked) http_conn_send(c, S("\r\n"));
    check_backlog(c);
}

void http_end(struct http_req *r)
{
    struct http_conn *c = r->conn;

    ASSERT(c->begun);
    if (!unheard(c) && c->chunked) http_conn_send(c, S("0\r\n\r\n"));
    http_conn_end(c);
}

void http_abort(struct http_req *r)
{
    http_conn_cut(r->conn);
}

bool http_begun(const struct http_req *r)
{
    return r->conn->begun;
}

size_t http_pending(const struct http_req *r)
{
    return http_conn_pending(r->conn);
}

/* ---- sse ---- */

void http_sse_begin(struct http_req *r)
{
    http_set_header(r, "Cache-Control", "no-store");
    http_set_header(r, "X-Accel-Buffering", "no");
    http_begin(r, 200, "text/event-stream");
}

/* Every line of `text` behind `prefix`, and an empty line: a line end inside must not end the
 * event. */
static void sse_lines(struct http_req *r, const char *prefix, str text)
{
    buf b = {.cap = LIMIT_HTTP_OUT};
    size_t from = 0;

    if (unheard(r->conn)) return;
    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && text.p[i] != '\n' && text.p[i] != '\r') continue;
        buf_c(&b, prefix);
        buf_put(&b, text.p ? text.p + from : "", i - from);
        buf_ch(&b, '\n');
        if (i + 1 < text.n && text.p[i] == '\r' && text.p[i + 1] == '\n') i++;
        from = i + 1;
    }
    buf_ch(&b, '\n');
    if (b.failed)
        http_conn_doom(r->conn);
    else
        http_write(r, buf_view(&b));
    buf_fini(&b);
}

void http_sse_data(struct http_req *r, str data)
{
    sse_lines(r, "data: ", data);
}

void http_sse_comment(struct http_req *r, str text)
{
    sse_lines(r, ": ", text);
}
