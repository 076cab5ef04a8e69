/* json: the reader.
 *
 * A loop over two states, "a value must come" and "a value has come". Finished values are pushed on
 * one growable stack; when a container closes, its items are the top of the stack and are moved to
 * the arena as one array. Open containers are frames in a fixed array, so nesting costs no C stack.
 * Strings are scanned eight bytes at a time up to the first byte that needs a look; a string
 * without escapes stays a view of the text.
 *
 * Invariant: stack[frame.base .. n) holds exactly the finished items of the innermost open
 * container.
 *
 * Left out: extensions of any kind (comments, NaN, trailing commas, a byte order mark), and numbers
 * whose magnitude a double cannot hold.
 */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"

struct frame {
    size_t base; /* first item on the stack */
    str key;     /* of the container itself */
    bool is_obj;
};

struct reader {
    const char *start, *p, *end;
    struct arena *a;
    struct json *stack;
    size_t n, size;
    str key; /* of the value that comes next */
    unsigned depth;
    struct err_info *e;
    struct frame frames[JSON_DEPTH_MAX];
};

/* ---- failing ---- */

static enum err expected(struct reader *r, const char *what)
{
    size_t at = (size_t)(r->p - r->start);

    if (r->p == r->end) {
        return ERR_FAIL(r->e, FORMAT, "JSON ends at byte %zu where %s was expected", at, what);
    }
    unsigned char c = (unsigned char)*r->p;
    if (c > 0x20 && c < 0x7F) {
        return ERR_FAIL(r->e, FORMAT, "JSON has '%c' at byte %zu where %s was expected", c, at,
                        what);
    }
    return ERR_FAIL(r->e, FORMAT, "JSON has byte 0x%02X at byte %zu where %s was expected", c, at,
                    what);
}

static enum err bad(struct reader *r, const char *at, const char *what)
{
    return ERR_FAIL(r->e, FORMAT, "JSON has %s at byte %zu", what, (size_t)(at - r->start));
}

static enum err no_memory(struct reader *r)
{
    return ERR_FAIL(r->e, NOMEM, "no memory for the JSON value at byte %zu of %zu",
                    (size_t)(r->p - r->start), (size_t)(r->end - r->start));
}

/* ---- the stack of finished values ---- */

static enum err push(struct reader *r, struct json v)
{
    if (r->n == r->size) {
        size_t size = r->size ? r->size * 2 : 64;
        struct json *stack;

        if (r->n >= LIMIT_JSON_NODES) {
            return ERR_FAIL(r->e, LIMIT, "JSON has more than %u open values at byte %zu",
                            LIMIT_JSON_NODES, (size_t)(r->p - r->start));
        }
        stack = mem_resize(r->stack, size * sizeof *stack);
        if (!stack) return no_memory(r);
        r->stack = stack;
        r->size = size;
    }
    v.key = r->key;
    r->key = (str){0};
    r->stack[r->n++] = v;
    return ERR_OK;
}

static enum err open_container(struct reader *r, bool is_obj)
{
    if (r->depth == JSON_DEPTH_MAX) {
        return ERR_FAIL(r->e, LIMIT, "JSON is nested deeper than %d levels at byte %zu",
                        JSON_DEPTH_MAX, (size_t)(r->p - r->start));
    }
    r->frames[r->depth++] = (struct frame){.base = r->n, .key = r->key, .is_obj = is_obj};
    r->key = (str){0};
    return ERR_OK;
}

static enum err close_container(struct reader *r)
{
    struct frame *f = &r->frames[--r->depth];
    struct json v = {.type = f->is_obj ? JSON_OBJ : JSON_ARR};
    struct json *items = NULL;
    size_t n = r->n - f->base;

    if (n) {
        items = ARENA_NEW(r->a, struct json, n);
        if (!items) return no_memory(r);
        memcpy(items, r->stack + f->base, n * sizeof *items);
    }
    v.items = items;
    v.n = n;
    r->n = f->base;
    r->key = f->key;
    return push(r, v);
}

/* ---- strings ---- */

#define ONES  0x0101010101010101u
#define HIGHS 0x8080808080808080u

/* The first byte from p on that is a quote, a backslash, a control character or not ASCII. */
static const char *skip_plain(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t w, q, b;

        memcpy(&w, p, 8);
        q = w ^ ONES * '"';
        b = w ^ ONES * '\\';
        /* A byte of the sum's high bits is set for a zero byte of q or b, for w < 0x20, and
         * (through w itself) for w >= 0x80; a false alarm only ends the stride early. */
        if (((q - ONES) | (b - ONES) | (w - ONES * 0x20) | w) & HIGHS) break;
        p += 8;
    }
    while (p < end) {
        unsigned char c = (unsigned char)*p;

        if (c < 0x20 || c == '"' || c == '\\' || c >= 0x80) break;
        p++;
    }
    return p;
}

static int hex4(const char *p)
{
    int v = 0;

    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d;

        if (c >= '0' && c <= '9')
            d = c - '0';
        else if (c >= 'a' && c <= 'f')
            d = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
            d = c - 'A' + 10;
        else
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* \uXXXX at p (the backslash), a pair taken as one. Returns the bytes read, 0 on a fault. */
static size_t unescape_u(const char *p, const char *end, uint32_t *cp)
{
    int hi, lo;

    if (end - p < 6 || (hi = hex4(p + 2)) < 0) return 0;
    *cp = (uint32_t)hi;
    if (hi < 0xD800 || hi > 0xDFFF) return 6;
    if (hi > 0xDBFF || end - p < 12 || p[6] != '\\' || p[7] != 'u') return 0;
    lo = hex4(p + 8);
    if (lo < 0xDC00 || lo > 0xDFFF) return 0;
    *cp = 0x10000 + (((uint32_t)hi - 0xD800) << 10) + ((uint32_t)lo - 0xDC00);
    return 12;
}

/* Decodes the escapes of p[0..n), which is known to be UTF-8 without control characters. */
static enum err unescape(struct reader *r, const char *p, size_t n, str *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *end = p + n;
    char *w = arena_alloc(r->a, n, 1); /* an escape is never shorter than what it stands for */

    if (!w) return no_memory(r);
    out->p = w;
    while (p < end) {
        const char *esc = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((esc ? esc : end) - p);

        memcpy(w, p, plain);
        w += plain;
        p += plain;
        if (!esc) break;
        if (p[1] == 'u') {
            uint32_t cp;
            size_t used = unescape_u(p, end, &cp);

            if (!used) return bad(r, p, "a broken or unpaired \\u escape");
            p += used;
            w += utf8_put(w, cp);
        } else {
            const char *hit = memchr(from, p[1], sizeof from - 1);

            if (!hit) return bad(r, p, "an unknown escape");
            *w++ = to[hit - from];
            p += 2;
        }
    }
    out->n = (size_t)(w - out->p);
    return ERR_OK;
}

/* r->p is behind the opening quote. */
static enum err read_string(struct reader *r, str *out)
{
    const char *start = r->p;
    bool escaped = false;

    for (;;) {
        r->p = skip_plain(r->p, r->end);
        if (r->p == r->end) return expected(r, "the end of a string");
        unsigned char c = (unsigned char)*r->p;
        if (c == '"') break;
        if (c == '\\') {
            escaped = true;
            if (r->end - r->p < 2) {
                r->p = r->end;
                return expected(r, "the rest of an escape");
            }
            if ((unsigned char)r->p[1] < 0x20 || (unsigned char)r->p[1] >= 0x80)
                return bad(r, r->p, "an unknown escape");
            r->p += 2;
        } else if (c < 0x20) {
            return bad(r, r->p, "a bare control character in a string");
        } else {
            str rest = {r->p, (size_t)(r->end - r->p)};
            size_t at = 0;

            if (utf8_next(rest, &at) == UTF8_BAD)
                return bad(r, r->p, "bytes that are not valid UTF-8");
            r->p += at;
        }
    }
    *out = (str){start, (size_t)(r->p - start)};
    r->p++;
    return escaped ? unescape(r, start, out->n, out) : ERR_OK;
}

/* ---- numbers ---- */

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static bool read_integer(const char *p, size_t n, bool minus, struct json *v)
{
    uint64_t u = 0;

    if (n > 20) return false;
    for (size_t i = 0; i < n; i++) {
        unsigned d = (unsigned)(p[i] - '0');

        if (u > (UINT64_MAX - d) / 10) return false;
        u = u * 10 + d;
    }
    if (u <= INT64_MAX) {
        v->type = JSON_INT;
        v->i = minus ? -(int64_t)u : (int64_t)u;
    } else if (minus) {
        if (u != (uint64_t)INT64_MAX + 1) return false;
        v->type = JSON_INT;
        v->i = INT64_MIN;
    } else {
        v->type = JSON_UINT;
        v->u = u;
    }
    return true;
}

/* strtod() wants a NUL, which the text does not promise. */
static enum err read_double(struct reader *r, const char *p, size_t n, struct json *v)
{
    char small[64], *copy = small;

    if (n >= sizeof small && !(copy = arena_alloc(r->a, n + 1, 1))) return no_memory(r);
    memcpy(copy, p, n);
    copy[n] = 0;
    v->type = JSON_NUM;
    v->d = strtod(copy, NULL);
    if (!isfinite(v->d)) return bad(r, p, "a number too large for a double");
    return ERR_OK;
}

static enum err read_number(struct reader *r)
{
    const char *start = r->p, *p = r->p, *int_end, *q;
    bool minus = *p == '-', integral = true;
    struct json v = {0};
    enum err err;

    if (minus) p++;
    int_end = digits(p, r->end);
    if (int_end == p) {
        r->p = p;
        return expected(r, "a digit");
    }
    if (*p == '0' && int_end - p > 1) return bad(r, p, "a number with a leading zero");
    r->p = int_end;
    if (r->p < r->end && *r->p == '.') {
        integral = false;
        q = digits(++r->p, r->end);
        if (q == r->p) return expected(r, "a digit");
        r->p = q;
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        integral = false;
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-')) r->p++;
        q = digits(r->p, r->end);
        if (q == r->p) return expected(r, "a digit");
        r->p = q;
    }
    if (!integral || !read_integer(p, (size_t)(int_end - p), minus, &v)) {
        err = read_double(r, start, (size_t)(r->p - start), &v);
        if (err) return err;
    }
    return push(r, v);
}

/* ---- the loop ---- */

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

static enum err read_word(struct reader *r, const char *word, struct json v)
{
    size_t n = strlen(word);

    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0) return expected(r, "a value");
    r->p += n;
    return push(r, v);
}

static enum err read_key(struct reader *r)
{
    enum err err;

    skip_space(r);
    if (r->p == r->end || *r->p != '"') return expected(r, "a key in quotes");
    r->p++;
    err = read_string(r, &r->key);
    if (err) return err;
    skip_space(r);
    if (r->p == r->end || *r->p != ':') return expected(r, "':'");
    r->p++;
    return ERR_OK;
}

/* Reads a scalar or opens a container. *opened: a container with content was opened, so a value
 * must follow; else a value is complete. */
static enum err read_value(struct reader *r, bool *opened)
{
    struct json v = {0};
    enum err err;

    *opened = false;
    skip_space(r);
    if (r->p == r->end) return expected(r, "a value");
    switch (*r->p) {
    case '{':
    case '[': {
        bool is_obj = *r->p == '{';

        err = open_container(r, is_obj);
        if (err) return err;
        r->p++;
        skip_space(r);
        if (r->p < r->end && *r->p == (is_obj ? '}' : ']')) {
            r->p++;
            return close_container(r);
        }
        *opened = true;
        return is_obj ? read_key(r) : ERR_OK;
    }
    case '"':
        r->p++;
        v.type = JSON_STR;
        err = read_string(r, &v.s);
        return err ? err : push(r, v);
    case 't': return read_word(r, "true", (struct json){.type = JSON_BOOL, .b = true});
    case 'f': return read_word(r, "false", (struct json){.type = JSON_BOOL, .b = false});
    case 'n': return read_word(r, "null", (struct json){.type = JSON_NULL});
    default:
        if (*r->p == '-' || (*r->p >= '0' && *r->p <= '9')) return read_number(r);
        return expected(r, "a value");
    }
}

/* A value is complete: closes what closes, until another value must come or all is closed. */
static enum err after_value(struct reader *r)
{
    enum err err;

    while (r->depth) {
        bool is_obj = r->frames[r->depth - 1].is_obj;

        skip_space(r);
        if (r->p < r->end && *r->p == ',') {
            r->p++;
            return is_obj ? read_key(r) : ERR_OK;
        }
        if (r->p == r->end || *r->p != (is_obj ? '}' : ']'))
            return expected(r, is_obj ? "',' or '}'" : "',' or ']'");
        r->p++;
        err = close_container(r);
        if (err) return err;
    }
    return ERR_OK;
}

enum err json_parse(struct arena *a, str text, const struct json **out, struct err_info *e)
{
    struct reader r;
    struct json *root;
    bool opened;
    enum err err;

    memset(&r, 0, offsetof(struct reader, frames));
    r.a = a;
    r.e = e;
    r.start = r.p = text.n ? text.p : "";
    r.end = r.start + text.n;
    do {
        err = read_value(&r, &opened);
        if (!err && !opened) err = after_value(&r);
    } while (!err && r.depth);
    if (!err) {
        skip_space(&r);
        if (r.p != r.end) err = expected(&r, "the end of the text");
    }
    if (!err) {
        root = ARENA_NEW(a, struct json, 1);
        if (root) {
            *root = r.stack[0];
            *out = root;
        } else {
            err = no_memory(&r);
        }
    }
    mem_free(r.stack);
    return err;
}

/* ---- access ---- */

const struct json *json_get(const struct json *v, const char *key)
{
    if (!v || v->type != JSON_OBJ) return NULL;
    for (size_t i = v->n; i-- > 0;) {
        if (str_eqc(v->items[i].key, key)) return &v->items[i];
    }
    return NULL;
}

int64_t json_int(const struct json *v, int64_t dflt)
{
    if (!v) return dflt;
    if (v->type == JSON_INT) return v->i;
    /* Both bounds are powers of two, so the comparison is exact. */
    if (v->type == JSON_NUM && v->d >= -0x1p63 && v->d < 0x1p63 && v->d == floor(v->d))
        return (int64_t)v->d;
    return dflt;
}

double json_num(const struct json *v, double dflt)
{
    if (!v) return dflt;
    switch (v->type) {
    case JSON_INT: return (double)v->i;
    case JSON_UINT: return (double)v->u;
    case JSON_NUM: return v->d;
    default: return dflt;
    }
}

bool json_bool(const struct json *v, bool dflt)
{
    return v && v->type == JSON_BOOL ? v->b : dflt;
}

str json_str(const struct json *v, str dflt)
{
    return v && v->type == JSON_STR ? v->s : dflt;
}

bool json_is_num(const struct json *v)
{
    return v && (v->type == JSON_INT || v->type == JSON_UINT || v->type == JSON_NUM);
}

const char *json_type_name(enum json_type t)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",    [JSON_BOOL] = "boolean", [JSON_INT] = "integer",
        [JSON_UINT] = "integer", [JSON_NUM] = "number",   [JSON_STR] = "string",
        [JSON_ARR] = "array",    [JSON_OBJ] = "object",
    };
    return names[t];
}
