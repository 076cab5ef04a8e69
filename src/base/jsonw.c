/* jsonw: the writer.
 *
 * Appends compact JSON to a buf. One bit a level says whether a comma must come before the next
 * item; nothing else is remembered, so what is opened must be closed by the caller. Nesting beyond
 * JSON_DEPTH_MAX marks the buf as failed, as a full buffer does.
 *
 * Left out: indentation and sorted keys.
 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

void jsonw_init(struct jsonw *w, buf *b)
{
    memset(w, 0, sizeof *w);
    w->b = b;
}

static void before_item(struct jsonw *w)
{
    uint32_t d = w->depth;

    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (d == 0 || d > JSON_DEPTH_MAX) return;
    d--;
    if (w->has[d / 64] >> (d % 64) & 1) buf_ch(w->b, ',');
    w->has[d / 64] |= (uint64_t)1 << (d % 64);
}

static void open_level(struct jsonw *w, char c)
{
    uint32_t d;

    before_item(w);
    buf_ch(w->b, c);
    d = w->depth++;
    if (d >= JSON_DEPTH_MAX)
        w->b->failed = true;
    else
        w->has[d / 64] &= ~((uint64_t)1 << (d % 64));
}

void jsonw_obj(struct jsonw *w)
{
    open_level(w, '{');
}

void jsonw_arr(struct jsonw *w)
{
    open_level(w, '[');
}

void jsonw_end(struct jsonw *w, char close)
{
    ASSERT(w->depth > 0 && !w->after_key);
    w->depth--;
    buf_ch(w->b, close);
}

/* What JSON escapes with one letter; 0: no escape, 1: \u00XX, else the letter. */
static char escape_of(unsigned char c)
{
    switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return c < 0x20 ? 1 : 0;
    }
}

static void put_string(buf *b, str s)
{
    size_t at = 0, from = 0;

    buf_ch(b, '"');
    while (at < s.n) {
        unsigned char c = (unsigned char)s.p[at];
        size_t here = at;
        char esc;

        if (c >= 0x80) {
            if (utf8_next(s, &at) != UTF8_BAD) continue;
            buf_put(b, s.p + from, here - from);
            buf_put(b, "\xEF\xBF\xBD", 3);
            from = at;
            continue;
        }
        at++;
        esc = escape_of(c);
        if (!esc) continue;
        buf_put(b, s.p + from, here - from);
        if (esc == 1) {
            buf_printf(b, "\\u%04x", c);
        } else {
            buf_ch(b, '\\');
            buf_ch(b, esc);
        }
        from = at;
    }
    if (at > from) buf_put(b, s.p + from, at - from);
    buf_ch(b, '"');
}

void jsonw_keystr(struct jsonw *w, str key)
{
    before_item(w);
    put_string(w->b, key);
    buf_ch(w->b, ':');
    w->after_key = true;
}

void jsonw_key(struct jsonw *w, const char *key)
{
    jsonw_keystr(w, str_c(key));
}

void jsonw_str(struct jsonw *w, str s)
{
    before_item(w);
    put_string(w->b, s);
}

void jsonw_c(struct jsonw *w, const char *s)
{
    if (s)
        jsonw_str(w, str_c(s));
    else
        jsonw_null(w);
}

void jsonw_int(struct jsonw *w, int64_t i)
{
    before_item(w);
    buf_printf(w->b, "%lld", (long long)i);
}

void jsonw_uint(struct jsonw *w, uint64_t u)
{
    before_item(w);
    buf_printf(w->b, "%llu", (unsigned long long)u);
}

void jsonw_num(struct jsonw *w, double d)
{
    char text[40];

    if (!isfinite(d)) {
        jsonw_null(w);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d) break;
    }
    before_item(w);
    /* "-0" would read back as the integer 0. */
    buf_c(w->b, d == 0 && signbit(d) ? "-0.0" : text);
}

void jsonw_bool(struct jsonw *w, bool b)
{
    before_item(w);
    buf_c(w->b, b ? "true" : "false");
}

void jsonw_null(struct jsonw *w)
{
    before_item(w);
    buf_put(w->b, "null", 4);
}

void jsonw_raw(struct jsonw *w, str json)
{
    before_item(w);
    buf_str(w->b, json);
}

void jsonw_value(struct jsonw *w, const struct json *v)
{
    if (w->b->failed) { /* also what ends the recursion beyond JSON_DEPTH_MAX */
        w->after_key = false;
        return;
    }
    switch (v->type) {
    case JSON_NULL: jsonw_null(w); break;
    case JSON_BOOL: jsonw_bool(w, v->b); break;
    case JSON_INT: jsonw_int(w, v->i); break;
    case JSON_UINT: jsonw_uint(w, v->u); break;
    case JSON_NUM: jsonw_num(w, v->d); break;
    case JSON_STR: jsonw_str(w, v->s); break;
    case JSON_ARR:
        jsonw_arr(w);
        for (size_t i = 0; i < v->n; i++)
            jsonw_value(w, &v->items[i]);
        jsonw_end(w, ']');
        break;
    case JSON_OBJ:
        jsonw_obj(w);
        for (size_t i = 0; i < v->n; i++) {
            jsonw_keystr(w, v->items[i].key);
            jsonw_value(w, &v->items[i]);
        }
        jsonw_end(w, '}');
        break;
    }
}

/* ---- key and value at once ---- */

void jsonw_kstr(struct jsonw *w, const char *key, str s)
{
    jsonw_key(w, key);
    jsonw_str(w, s);
}

void jsonw_kc(struct jsonw *w, const char *key, const char *s)
{
    jsonw_key(w, key);
    jsonw_c(w, s);
}

void jsonw_kint(struct jsonw *w, const char *key, int64_t i)
{
    jsonw_key(w, key);
    jsonw_int(w, i);
}

void jsonw_kuint(struct jsonw *w, const char *key, uint64_t n)
{
    jsonw_key(w, key);
    jsonw_uint(w, n);
}

void jsonw_kuint_if(struct jsonw *w, const char *key, uint64_t n, bool known)
{
    jsonw_key(w, key);
    if (known)
        jsonw_uint(w, n);
    else
        jsonw_null(w);
}

void jsonw_kstrs(struct jsonw *w, const char *key, const str *v, size_t n)
{
    jsonw_key(w, key);
    jsonw_arr(w);
    for (size_t i = 0; i < n; i++)
        jsonw_str(w, v[i]);
    jsonw_end(w, ']');
}

void jsonw_knum(struct jsonw *w, const char *key, double d)
{
    jsonw_key(w, key);
    jsonw_num(w, d);
}

void jsonw_kbool(struct jsonw *w, const char *key, bool b)
{
    jsonw_key(w, key);
    jsonw_bool(w, b);
}

/* ---- errors ---- */

void jsonw_error(buf *out, enum err code, const char *text)
{
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_key(&w, "error");
    jsonw_obj(&w);
    jsonw_kc(&w, "message", text);
    jsonw_kc(&w, "type", err_type(code));
    jsonw_key(&w, "param");
    jsonw_null(&w);
    jsonw_kc(&w, "code", err_name(code));
    jsonw_end(&w, '}');
    jsonw_end(&w, '}');
}
