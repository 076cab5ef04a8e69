/* http_parse: bytes into messages, without sockets.
 *
 * A head is collected until its empty line while every byte is looked at (CRLF and nothing else
 * ends a line, no control characters, no folded lines, caps), then llhttp reads it in one go, then
 * the fields that decide where the message ends are checked again here, more strictly. Bodies are
 * framed here, because between two pieces the owner must be able to stop: a length counts down,
 * chunks are a small state machine, and trailers are checked and dropped.
 *
 * Invariant: after HTTP_EV_BAD nothing is consumed any more, so a refused byte can never become the
 * start of another message. The result does not depend on how the bytes were cut into pieces.
 *
 * Left out: obsolete line folding, transfer codings other than chunked, upgrades.
 */
#include "net/http_int.h"

#include <string.h>

#include <llhttp.h>

#include "base/mem.h"

enum {
    AT_HEAD,
    AT_LENGTH,     /* body of known length */
    AT_EOF_BODY,   /* body until the peer closes */
    AT_CHUNK_SIZE, /* hex digits */
    AT_CHUNK_EXT,
    AT_CHUNK_SIZE_LF,
    AT_CHUNK_DATA,
    AT_CHUNK_DATA_CR,
    AT_CHUNK_DATA_LF,
    AT_TRAILER,
    AT_END, /* HTTP_EV_DONE is due */
    AT_DONE,
    AT_BAD,
};

void http_parse_init(struct http_parse *p, bool response, size_t prefix)
{
    *p = (struct http_parse){
        .raw = {.cap = LIMIT_HTTP_HEAD}, .response = response, .prefix = prefix};
}

void http_parse_fini(struct http_parse *p)
{
    buf_fini(&p->raw);
    mem_free(p->block);
    p->block = NULL;
}

void http_parse_reset(struct http_parse *p)
{
    bool response = p->response;
    size_t prefix = p->prefix;

    http_parse_fini(p);
    http_parse_init(p, response, prefix);
}

static enum http_event bad(struct http_parse *p, int status, const char *why)
{
    p->state = AT_BAD;
    p->bad_status = (uint16_t)status;
    p->bad = why;
    return HTTP_EV_BAD;
}

/* ---- characters ---- */

static bool is_token_char(unsigned char c)
{
    static const char other[] = "!#$%&'*+-.^_`|~";

    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && memchr(other, c, sizeof other - 1));
}

bool http_parse_token(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_char((unsigned char)s.p[i])) return false;
    return s.n > 0;
}

bool http_parse_value(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

bool http_parse_secret(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= 0x20 || s.p[i] >= 0x7f) return false;
    return s.n > 0;
}

static bool all_of(str s, const char *extra)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c && strchr(extra, c))))
            return false;
    }
    return s.n > 0;
}

bool http_parse_host(str s)
{
    str name = s, port = {NULL, 0};
    size_t end;

    if (s.n > 261) return false;
    if (str_starts(s, S("["))) {
        end = str_find(s, S("]"), 0);
        if (end == SIZE_MAX || !all_of(str_sub(s, 1, end - 1), ":.")) return false;
        port = str_sub(s, end + 1, SIZE_MAX);
        if (port.n == 0) return true;
        if (port.p[0] != ':') return false;
        port = str_sub(port, 1, SIZE_MAX);
    } else {
        end = str_find(s, S(":"), 0);
        if (end != SIZE_MAX) {
            name = str_sub(s, 0, end);
            port = str_sub(s, end + 1, SIZE_MAX);
        }
        if (!all_of(name, "-._")) return false;
        if (end == SIZE_MAX) return true;
    }
    if (port.n < 1 || port.n > 5) return false;
    for (size_t i = 0; i < port.n; i++)
        if (port.p[i] < '0' || port.p[i] > '9') return false;
    return true;
}

str http_parse_find(const struct http_header *h, size_t n_headers, const char *name, int *n)
{
    str found = {NULL, 0}, want = str_c(name);
    int count = 0;

    for (size_t i = 0; i < n_headers; i++)
        if (str_ieq(h[i].name, want) && count++ == 0) found = h[i].value;
    if (n) *n = count;
    return found;
}

/* ---- the head: bytes ---- */

/* Looks at the bytes of a head. Returns how many belong to it; *end is set when it is complete. */
static size_t scan_head(struct http_parse *p, str in, bool *end)
{
    size_t room = LIMIT_HTTP_HEAD - p->raw.n;

    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];

        if (i >= room) {
            bad(p, 431, "the head is too large");
            return 0;
        }
        if (c == '\n') {
            if (!p->cr) {
                bad(p, 400, "a line must end with CR LF");
                return 0;
            }
            p->cr = false;
            if (p->line == 0) {
                *end = true;
                return i + 1;
            }
            p->line = 0;
            if (++p->lines > LIMIT_HTTP_HEADERS + 1) {
                bad(p, 431, "too many header fields");
                return 0;
            }
            continue;
        }
        if (p->cr || (c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
            bad(p, 400, p->cr ? "a CR without LF" : "a control character in the head");
            return 0;
        }
        if (c == '\r') {
            p->cr = true;
            continue;
        }
        if (p->line == 0 && (c == ' ' || c == '\t')) {
            bad(p, 400, "a line that begins with white space");
            return 0;
        }
        if (++p->line > LIMIT_HTTP_TARGET + 32 && p->lines == 0) {
            bad(p, p->response ? 400 : 414, "the first line is too long");
            return 0;
        }
    }
    return in.n;
}

/* ---- the head: llhttp ---- */

struct reading {
    struct http_header rows[LIMIT_HTTP_HEADERS];
    size_t n;
    str target;
    bool complete;
};

static int on_url(llhttp_t *ll, const char *at, size_t n)
{
    struct reading *r = ll->data;

    r->target = (str){at, n};
    return 0;
}

static int on_field(llhttp_t *ll, const char *at, size_t n)
{
    struct reading *r = ll->data;

    if (r->n == LIMIT_HTTP_HEADERS) return HPE_USER;
    r->rows[r->n++] = (struct http_header){{at, n}, {at + n, 0}};
    return 0;
}

static int on_value(llhttp_t *ll, const char *at, size_t n)
{
    struct reading *r = ll->data;

    if (r->n == 0 || r->rows[r->n - 1].value.n) return HPE_USER;
    r->rows[r->n - 1].value = str_trim((str){at, n});
    return 0;
}

static int on_complete(llhttp_t *ll)
{
    ((struct reading *)ll->data)->complete = true;
    return HPE_PAUSED;
}

/* A request line is three words and nothing else; llhttp is more forgiving (HTTP/0.9, RTSP,
 * blanks). */
static enum http_event check_line(struct http_parse *p, str text)
{
    str rest, version, line = str_sub(text, 0, str_find(text, S("\r\n"), 0));
    str method = str_cut(line, ' ', &rest), target = str_cut(rest, ' ', &version);

    if (!http_parse_token(method) || target.n == 0 || version.n != 8 ||
        !str_starts(version, S("HTTP/")) || version.p[5] < '0' || version.p[5] > '9' ||
        version.p[6] != '.' || version.p[7] < '0' || version.p[7] > '9')
        return bad(p, 400, "a malformed request line");
    if (version.p[5] != '1' || version.p[7] > '1')
        return bad(p, 505, "only HTTP/1.1 is spoken here");
    for (size_t i = 0; i < target.n; i++)
        if (target.p[i] <= 0x20 || target.p[i] >= 0x7f || target.p[i] == '#')
            return bad(p, 400, "a character that a target cannot have");
    if (target.n > LIMIT_HTTP_TARGET) return bad(p, 414, "the target is too long");
    return HTTP_EV_HEAD;
}

static enum http_event refuse(struct http_parse *p, enum llhttp_errno err)
{
    if (p->response) return bad(p, 400, "a malformed reply");
    switch (err) {
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT:
    case HPE_PAUSED_H2_UPGRADE: return bad(p, 501, "an unknown method");
    case HPE_INVALID_URL: return bad(p, 400, "a malformed target");
    case HPE_INVALID_TRANSFER_ENCODING: return bad(p, 400, "a malformed Transfer-Encoding");
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH: return bad(p, 400, "a wrong or repeated Content-Length");
    default: return bad(p, 400, "a malformed head");
    }
}

/* llhttp takes blanks and an empty name when it was not built strict. */
static bool names_ok(const struct reading *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (!http_parse_token(r->rows[i].name)) return false;
    return true;
}

/* Copies what outlives the input: rows, then the text they point into. */
static bool keep_head(struct http_parse *p, const struct reading *r, str text)
{
    size_t rows = r->n * sizeof r->rows[0];
    char *copy;
    struct http_header *h;

    p->block = mem_alloc(p->prefix + rows + text.n + 1);
    if (!p->block) return false;
    h = (struct http_header *)(void *)(p->block + p->prefix);
    copy = p->block + p->prefix + rows;
    memcpy(copy, text.p, text.n);
    for (size_t i = 0; i < r->n; i++) {
        h[i].name = (str){copy + (r->rows[i].name.p - text.p), r->rows[i].name.n};
        h[i].value = (str){copy + (r->rows[i].value.p - text.p), r->rows[i].value.n};
    }
    p->head.headers = h;
    p->head.n_headers = r->n;
    if (p->response) return true;
    p->head.target = (str){copy + (r->target.p - text.p), r->target.n};
    p->head.method = str_sub((str){copy, text.n}, 0, str_find(text, S(" "), 0));
    return true;
}

/* ---- the head: meaning ---- */

static void read_connection(struct http_parse *p)
{
    struct http_head *h = &p->head;
    bool close = false, keep = false;

    for (size_t i = 0; i < h->n_headers; i++) {
        str rest = h->headers[i].value;

        if (!str_ieq(h->headers[i].name, S("connection"))) continue;
        while (rest.p) {
            str word = str_trim(str_cut(rest, ',', &rest));

            close |= str_ieq(word, S("close"));
            keep |= str_ieq(word, S("keep-alive"));
        }
    }
    h->keep = !close && (h->minor == 1 || keep);
}

/* Length and coding. A message that names both, or one of them twice, has been tampered with. */
static enum http_event read_framing(struct http_parse *p)
{
    struct http_head *h = &p->head;
    int n_te, n_cl;
    str te = http_parse_find(h->headers, h->n_headers, "transfer-encoding", &n_te);
    str cl = http_parse_find(h->headers, h->n_headers, "content-length", &n_cl);
    int64_t length;

    if (n_te && n_cl) return bad(p, 400, "both Transfer-Encoding and Content-Length");
    if (n_te > 1 || n_cl > 1) return bad(p, 400, "a repeated Transfer-Encoding or Content-Length");
    if (n_te) {
        if (h->minor == 0) return bad(p, 400, "Transfer-Encoding in HTTP/1.0");
        if (!str_ieq(te, S("chunked"))) return bad(p, 501, "an unknown transfer coding");
        h->chunked = true;
    }
    if (n_cl) {
        if (!cl.n || cl.p[0] < '0' || cl.p[0] > '9' || !str_int(cl, &length))
            return bad(p, 400, "a wrong Content-Length");
        h->length = (uint64_t)length;
        h->sized = true;
    }
    return HTTP_EV_HEAD;
}

static enum http_event read_request(struct http_parse *p)
{
    struct http_head *h = &p->head;
    int n_host, n_expect;
    str host = http_parse_find(h->headers, h->n_headers, "host", &n_host);
    str expect = http_parse_find(h->headers, h->n_headers, "expect", &n_expect);

    if (n_host != 1) return bad(p, 400, n_host ? "several Host fields" : "no Host field");
    if (!http_parse_host(host)) return bad(p, 400, "an invalid Host field");
    if (n_expect && h->minor == 1) {
        if (n_expect > 1 || !str_ieq(expect, S("100-continue")))
            return bad(p, 417, "an expectation other than 100-continue");
        h->expect = true;
    }
    if (h->chunked)
        p->state = AT_CHUNK_SIZE;
    else if (h->length)
        p->state = AT_LENGTH;
    else
        p->state = AT_END;
    return HTTP_EV_HEAD;
}

static enum http_event read_response(struct http_parse *p)
{
    struct http_head *h = &p->head;

    if (h->status == 101) return bad(p, 400, "an upgrade that nobody asked for");
    if (p->no_body || h->status < 200 || h->status == 204 || h->status == 304)
        p->state = AT_END;
    else if (h->chunked)
        p->state = AT_CHUNK_SIZE;
    else if (h->sized)
        p->state = h->length ? AT_LENGTH : AT_END;
    else {
        p->state = AT_EOF_BODY;
        h->keep = false;
    }
    return HTTP_EV_HEAD;
}

static enum http_event read_head(struct http_parse *p, str text)
{
    static const llhttp_settings_t settings = {.on_url = on_url,
                                               .on_header_field = on_field,
                                               .on_header_value = on_value,
                                               .on_headers_complete = on_complete};
    struct reading r;
    llhttp_t ll;
    enum llhttp_errno err;

    if (!p->response && check_line(p, text) == HTTP_EV_BAD) return HTTP_EV_BAD;
    r.n = 0;
    r.target = (str){NULL, 0};
    r.complete = false;
    llhttp_init(&ll, p->response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
    ll.data = &r;
    err = llhttp_execute(&ll, text.p, text.n);
    if (!r.complete) return refuse(p, err);
    if (!names_ok(&r)) return bad(p, 400, "a malformed field name");
    if (ll.http_major != 1 || ll.http_minor > 1)
        return bad(p, 400, "a message that is not HTTP/1.1");
    p->head = (struct http_head){.minor = ll.http_minor, .status = ll.status_code};
    if (!keep_head(p, &r, text)) return bad(p, 503, "not enough memory");
    read_connection(p);
    if (read_framing(p) == HTTP_EV_BAD) return HTTP_EV_BAD;
    p->left = p->head.length;
    return p->response ? read_response(p) : read_request(p);
}

static enum http_event next_head(struct http_parse *p, str *in)
{
    bool end = false;
    size_t n;
    enum http_event ev;

    /* One empty line before a request is forgiven, as RFC 9112 2.2 asks. */
    if (!p->response && p->lines == 0 && p->line == 0 && !p->extra && p->raw.n < 2) {
        while (in->n && p->raw.n < 2 && in->p[0] == "\r\n"[p->raw.n]) {
            buf_put(&p->raw, in->p, 1);
            *in = str_sub(*in, 1, SIZE_MAX);
        }
        if (p->raw.n == 2) {
            buf_fini(&p->raw);
            p->extra = 1;
        } else if (p->raw.n == 1 && in->n) {
            return bad(p, 400, "a CR without LF");
        }
        if (in->n == 0) return HTTP_EV_MORE;
    }
    n = scan_head(p, *in, &end);
    if (p->state == AT_BAD) return HTTP_EV_BAD;
    if (end && p->raw.n == 0) {
        str text = str_sub(*in, 0, n);

        *in = str_sub(*in, n, SIZE_MAX);
        return read_head(p, text);
    }
    buf_put(&p->raw, in->p, n);
    *in = str_sub(*in, n, SIZE_MAX);
    if (p->raw.failed) return bad(p, 503, "not enough memory");
    if (!end) return HTTP_EV_MORE;
    ev = read_head(p, buf_view(&p->raw));
    buf_fini(&p->raw);
    return ev;
}

/* ---- the body ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The size of a chunk: at most 15 digits, so that it cannot overflow. */
static bool chunk_size(struct http_parse *p, char c)
{
    int d = hex(c);

    if (d >= 0) {
        if (++p->line > 15) return bad(p, 400, "a chunk size with too many digits"), false;
        p->left = p->left * 16 + (uint64_t)d;
        return true;
    }
    if (p->line == 0 || (c != ';' && c != '\r')) return bad(p, 400, "a wrong chunk size"), false;
    p->line = 0;
    p->state = c == ';' ? AT_CHUNK_EXT : AT_CHUNK_SIZE_LF;
    return true;
}

static bool chunk_ext(struct http_parse *p, char c)
{
    if (++p->extra > LIMIT_HTTP_EXTRA) return bad(p, 400, "chunk extensions too long"), false;
    if (c == '\r')
        p->state = AT_CHUNK_SIZE_LF;
    else if (!http_parse_value((str){&c, 1}))
        return bad(p, 400, "a control character in a chunk extension"), false;
    return true;
}

static bool trailer(struct http_parse *p, char c)
{
    if (++p->extra > LIMIT_HTTP_EXTRA) return bad(p, 431, "trailers too long"), false;
    if (p->cr) {
        if (c != '\n') return bad(p, 400, "a CR without LF"), false;
        if (p->line && !p->colon) return bad(p, 400, "a malformed trailer"), false;
        if (p->line == 0) p->state = AT_END;
        p->cr = p->colon = false;
        p->line = 0;
        return true;
    }
    if (c == '\r') {
        p->cr = true;
        return true;
    }
    if (!p->colon && c == ':' && p->line)
        p->colon = true;
    else if (!(p->colon ? http_parse_value((str){&c, 1}) : is_token_char((unsigned char)c)))
        return bad(p, 400, "a malformed trailer"), false;
    p->line++;
    return true;
}

static bool expect_char(struct http_parse *p, char c, char want, uint8_t state)
{
    if (c != want) return bad(p, 400, "a chunk must end with CR LF"), false;
    p->state = state;
    return true;
}

/* One byte of a chunked body that is not data. */
static bool chunk_byte(struct http_parse *p, char c)
{
    switch (p->state) {
    case AT_CHUNK_SIZE: return chunk_size(p, c);
    case AT_CHUNK_EXT: return chunk_ext(p, c);
    case AT_CHUNK_SIZE_LF: return expect_char(p, c, '\n', p->left ? AT_CHUNK_DATA : AT_TRAILER);
    case AT_CHUNK_DATA_CR: return expect_char(p, c, '\r', AT_CHUNK_DATA_LF);
    case AT_CHUNK_DATA_LF: return expect_char(p, c, '\n', AT_CHUNK_SIZE);
    case AT_TRAILER: return trailer(p, c);
    default: BUG("a state without framing bytes");
    }
}

static enum http_event data(struct http_parse *p, str *in, str *piece)
{
    size_t n = in->n;

    if (p->state != AT_EOF_BODY) {
        if (n > p->left) n = (size_t)p->left;
        p->left -= n;
        if (p->left == 0) p->state = p->state == AT_LENGTH ? AT_END : AT_CHUNK_DATA_CR;
    }
    *piece = str_sub(*in, 0, n);
    *in = str_sub(*in, n, SIZE_MAX);
    return HTTP_EV_BODY;
}

enum http_event http_parse_next(struct http_parse *p, str *in, str *piece)
{
    for (;;) {
        if (p->state == AT_END) {
            p->state = AT_DONE;
            return HTTP_EV_DONE;
        }
        if (p->state == AT_BAD) return HTTP_EV_BAD;
        if (in->n == 0 || p->state == AT_DONE) return HTTP_EV_MORE;
        switch (p->state) {
        case AT_HEAD: return next_head(p, in);
        case AT_LENGTH:
        case AT_EOF_BODY:
        case AT_CHUNK_DATA: return data(p, in, piece);
        default:
            if (!chunk_byte(p, in->p[0])) return HTTP_EV_BAD;
            *in = str_sub(*in, 1, SIZE_MAX);
        }
    }
}

bool http_parse_eof(const struct http_parse *p)
{
    return p->state == AT_EOF_BODY || p->state == AT_DONE || p->state == AT_END;
}

bool http_parse_fresh(const struct http_parse *p)
{
    return p->state == AT_HEAD && p->lines == 0 && p->line == 0 && !p->cr && p->raw.n == 0;
}
