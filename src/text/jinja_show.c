/* jinja_show: values as text: str(), repr(), tojson; and values from JSON trees.
 *
 * Text of a string keeps the string's marks byte by byte, escapes included; what the machine adds
 * (quotes, commas, numbers) is unmarked.
 *
 * Left out: repr() of characters that Python knows to be unprintable by its full tables; the common
 * ones are escaped.
 */
#include "text/jinja_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* ---- numbers ---- */

/* As Python's repr(): the shortest digits that read back equal; exponent form outside 1e-4..1e16.
 */
void jinja_float_text(double d, char out[32])
{
    char sci[32], digits[20];
    int exp, n = 0, w = 0;

    if (!isfinite(d)) {
        snprintf(out, 32, "%s", isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    for (int prec = 0; prec <= 16; prec++) {
        snprintf(sci, sizeof sci, "%.*e", prec, d);
        if (strtod(sci, NULL) == d) break;
    }
    exp = (int)strtol(strchr(sci, 'e') + 1, NULL, 10);
    for (const char *p = sci; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    }
    if (sci[0] == '-') out[w++] = '-';
    if (exp < -4 || exp >= 16) {
        w += snprintf(out + w, 32 - (size_t)w, "%c%s%.*s", digits[0], n > 1 ? "." : "", n - 1,
                      digits + 1);
        snprintf(out + w, 32 - (size_t)w, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
    } else if (exp < 0) {
        snprintf(out + w, 32 - (size_t)w, "0.%.*s%.*s", -exp - 1, "0000", n, digits);
    } else if (n <= exp + 1) {
        snprintf(out + w, 32 - (size_t)w, "%.*s%.*s.0", n, digits, exp + 1 - n, "0000000000000000");
    } else {
        snprintf(out + w, 32 - (size_t)w, "%.*s.%.*s", exp + 1, digits, n - exp - 1,
                 digits + exp + 1);
    }
}

static bool put_number(struct jbuild *b, const struct jval *v)
{
    char text[32];

    if (v->type == JV_FLOAT)
        jinja_float_text(v->d, text);
    else
        snprintf(text, sizeof text, "%lld", (long long)v->i);
    return jinja_puts(b, text);
}

/* ---- str() and repr() ---- */

static bool printable(uint32_t cp)
{
    if (cp < 0x20 || (cp >= 0x7F && cp <= 0xA0) || cp == 0xAD) return false;
    if (cp != ' ' && jinja_is_space(cp)) return false;
    return !(cp >= 0x200B && cp <= 0x200F) && !(cp >= 0x202A && cp <= 0x202E) &&
           !(cp >= 0x2060 && cp <= 0x206F) && !(cp >= 0xE000 && cp <= 0xF8FF) && cp != 0xFEFF &&
           !(cp >= 0xFFF0 && cp <= 0xFFFB) && cp < 0xE0000;
}

static bool repr_string(struct jbuild *b, const struct jval *s)
{
    str v = jinja_view(s);
    char quote = s->n && memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n) ? '"' : '\'';
    size_t at = 0;

    if (!jinja_step(b->m, s->n / 16) || !jinja_put(b, &quote, 1, false)) return false;
    while (at < v.n) {
        size_t from = at;
        uint32_t cp = utf8_next(v, &at);
        char esc[16];

        if (cp == (uint32_t)quote || cp == '\\')
            snprintf(esc, sizeof esc, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            snprintf(esc, sizeof esc, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
        else if (printable(cp))
            esc[0] = 0;
        else
            snprintf(esc, sizeof esc,
                     cp < 0x100     ? "\\x%02x"
                     : cp < 0x10000 ? "\\u%04x"
                                    : "\\U%08x",
                     cp);
        if (!(esc[0] ? jinja_put_like(b, esc, strlen(esc), s, from)
                     : jinja_put_like(b, v.p + from, at - from, s, from)))
            return false;
    }
    return jinja_put(b, &quote, 1, false);
}

static bool show_list(struct jbuild *b, const struct jval *v)
{
    bool tuple = v->type == JV_TUPLE;

    if (!jinja_puts(b, tuple ? "(" : "[")) return false;
    for (size_t i = 0; i < v->list->n; i++) {
        if (i && !jinja_puts(b, ", ")) return false;
        if (!jinja_show(b, &v->list->v[i], true)) return false;
    }
    return jinja_puts(b, tuple ? v->list->n == 1 ? ",)" : ")" : "]");
}

static bool show_dict(struct jbuild *b, const struct jdict *d)
{
    if (!jinja_puts(b, "{")) return false;
    for (size_t i = 0; i < d->n; i++) {
        if (i && !jinja_puts(b, ", ")) return false;
        if (!jinja_show(b, &d->v[i].key, true) || !jinja_puts(b, ": ") ||
            !jinja_show(b, &d->v[i].value, true))
            return false;
    }
    return jinja_puts(b, "}");
}

static bool show_other(struct jbuild *b, const struct jval *v)
{
    char text[64];
    struct jval name;

    switch (v->type) {
    case JV_NS: return jinja_puts(b, "<Namespace ") && show_dict(b, v->dict) && jinja_puts(b, ">");
    case JV_LOOP:
        snprintf(text, sizeof text, "<LoopContext %zu/%zu>", v->loop->at + 1, v->loop->n);
        return jinja_puts(b, text);
    case JV_MACRO:
        name = jinja_s(v->macro->node->s);
        return jinja_puts(b, "<Macro ") && repr_string(b, &name) && jinja_puts(b, ">");
    default: snprintf(text, sizeof text, "<%s>", jinja_type_name(v)); return jinja_puts(b, text);
    }
}

bool jinja_show(struct jbuild *b, const struct jval *v, bool repr)
{
    struct jmach *m = b->m;
    bool good;

    if (!jinja_step(m, 1)) return false;
    switch (v->type) {
    case JV_ABSENT: return true;
    case JV_UNDEF: return repr ? jinja_puts(b, "Undefined") : true;
    case JV_NONE: return jinja_puts(b, "None");
    case JV_BOOL: return jinja_puts(b, v->b ? "True" : "False");
    case JV_INT:
    case JV_FLOAT: return put_number(b, v);
    case JV_STR: return repr ? repr_string(b, v) : jinja_putv(b, v);
    default: break;
    }
    if (m->depth >= JINJA_DEPTH_MAX)
        return jinja_fail(m, ERR_LIMIT, "values are nested too deeply");
    m->depth++;
    if (v->type == JV_LIST || v->type == JV_TUPLE)
        good = show_list(b, v);
    else
        good = v->type == JV_DICT ? show_dict(b, v->dict) : show_other(b, v);
    m->depth--;
    return good;
}

bool jinja_str(struct jmach *m, const struct jval *v, struct jval *out)
{
    struct jbuild b = {.m = m};

    if (v->type == JV_STR) {
        *out = *v;
        return true;
    }
    if (!jinja_show(&b, v, false)) return false;
    *out = jinja_built(&b);
    return true;
}

/* ---- tojson ---- */

static bool json_string(struct jbuild *b, const struct jval *s, bool ascii)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    str v = jinja_view(s);
    size_t at = 0;

    if (!jinja_step(b->m, s->n / 16) || !jinja_puts(b, "\"")) return false;
    while (at < v.n) {
        size_t start = at;
        uint32_t cp = utf8_next(v, &at);
        const char *hit = cp && cp < 0x80 ? strchr(from, (char)cp) : NULL;
        char esc[16] = "";

        if (hit)
            snprintf(esc, sizeof esc, "\\%c", to[hit - from]);
        else if (cp < 0x20 || (ascii && cp >= 0x80 && cp < 0x10000))
            snprintf(esc, sizeof esc, "\\u%04x", cp);
        else if (ascii && cp >= 0x10000)
            snprintf(esc, sizeof esc, "\\u%04x\\u%04x", 0xD800 + ((cp - 0x10000) >> 10),
                     0xDC00 + ((cp - 0x10000) & 0x3FF));
        if (!(esc[0] ? jinja_put_like(b, esc, strlen(esc), s, start)
                     : jinja_put_like(b, v.p + start, at - start, s, start)))
            return false;
    }
    return jinja_puts(b, "\"");
}

static bool new_line(struct jbuild *b, const struct jinja_json_style *style, int level)
{
    if (style->indent < 0) return true;
    if (!jinja_puts(b, "\n")) return false;
    for (int64_t i = 0; i < style->indent * level; i++) {
        if (!jinja_puts(b, " ")) return false;
    }
    return true;
}

/* JSON has only strings for keys; Python's json writes numbers, booleans and None as such. */
static bool json_key(struct jbuild *b, const struct jval *key, const struct jinja_json_style *style)
{
    struct jval text = jinja_lit(key->type != JV_BOOL ? "null" : key->b ? "true" : "false");

    if (key->type == JV_STR) return json_string(b, key, style->ascii);
    if (key->type == JV_INT || key->type == JV_FLOAT) {
        if (!jinja_str(b->m, key, &text)) return false;
    } else if (key->type != JV_BOOL && key->type != JV_NONE) {
        return JFAIL(b->m, "tojson: keys must be strings, not %s", jinja_type_name(key));
    }
    return json_string(b, &text, style->ascii);
}

/* Entries in order of their keys: an insertion sort of pointers, steps counted. */
static bool sorted(struct jmach *m, const struct jdict *d, const struct jentry ***out)
{
    const struct jentry **v = JINJA_NEW(m, const struct jentry *, d->n);

    if (!v) return false;
    for (size_t i = 0; i < d->n; i++) {
        size_t at = i;

        for (; at > 0; at--) {
            int c;

            if (!jinja_order(m, &v[at - 1]->key, &d->v[i].key, &c)) return false;
            if (c <= 0) break;
            v[at] = v[at - 1];
        }
        v[at] = &d->v[i];
    }
    *out = v;
    return true;
}

static bool json_dict(struct jbuild *b, const struct jdict *d, const struct jinja_json_style *style,
                      int level)
{
    const struct jentry **order = NULL;

    if (d->n == 0) return jinja_puts(b, "{}");
    if (style->sort && !sorted(b->m, d, &order)) return false;
    if (!jinja_puts(b, "{")) return false;
    for (size_t i = 0; i < d->n; i++) {
        const struct jentry *e = order ? order[i] : &d->v[i];

        if (i && !jinja_put(b, style->item_sep, style->item_n, false)) return false;
        if (!new_line(b, style, level + 1) || !json_key(b, &e->key, style) ||
            !jinja_put(b, style->key_sep, style->key_n, false) ||
            !jinja_tojson(b, &e->value, style, level + 1))
            return false;
    }
    return new_line(b, style, level) && jinja_puts(b, "}");
}

static bool json_list(struct jbuild *b, const struct jlist *l, const struct jinja_json_style *style,
                      int level)
{
    if (l->n == 0) return jinja_puts(b, "[]");
    if (!jinja_puts(b, "[")) return false;
    for (size_t i = 0; i < l->n; i++) {
        if (i && !jinja_put(b, style->item_sep, style->item_n, false)) return false;
        if (!new_line(b, style, level + 1) || !jinja_tojson(b, &l->v[i], style, level + 1))
            return false;
    }
    return new_line(b, style, level) && jinja_puts(b, "]");
}

bool jinja_tojson(struct jbuild *b, const struct jval *v, const struct jinja_json_style *style,
                  int level)
{
    struct jmach *m = b->m;
    bool good;

    if (!jinja_step(m, 1)) return false;
    switch (v->type) {
    case JV_NONE: return jinja_puts(b, "null");
    case JV_BOOL: return jinja_puts(b, v->b ? "true" : "false");
    case JV_STR: return json_string(b, v, style->ascii);
    case JV_FLOAT:
        if (!isfinite(v->d))
            return jinja_puts(b, isnan(v->d) ? "NaN" : v->d < 0 ? "-Infinity" : "Infinity");
        return put_number(b, v);
    case JV_INT: return put_number(b, v);
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT: break;
    default: return JFAIL(m, "tojson: an object of type %s is not JSON", jinja_type_name(v));
    }
    if (m->depth >= JINJA_DEPTH_MAX)
        return jinja_fail(m, ERR_LIMIT, "values are nested too deeply");
    m->depth++;
    good = v->type == JV_DICT ? json_dict(b, v->dict, style, level)
                              : json_list(b, v->list, style, level);
    m->depth--;
    return good;
}

/* ---- from JSON ---- */

static bool is_unmarked(const struct jmach *m, str s)
{
    for (const char *const *w = m->unmarked; w && *w; w++) {
        if (str_eqc(s, *w)) return true;
    }
    return false;
}

bool jinja_from_json(struct jmach *m, const struct json *j, bool untrusted, struct jval *out)
{
    struct jval item, key;

    switch (j->type) {
    case JSON_NULL: *out = (struct jval){.type = JV_NONE}; return true;
    case JSON_BOOL: *out = jinja_bool(j->b); return true;
    case JSON_INT: *out = jinja_int(j->i); return true;
    case JSON_UINT: *out = jinja_num((double)j->u); return true;
    case JSON_NUM: *out = jinja_num(j->d); return true;
    case JSON_STR:
        *out = jinja_s(j->s);
        out->marked = untrusted && !is_unmarked(m, j->s);
        return true;
    case JSON_ARR:
        if (!jinja_list(m, JV_LIST, j->n, out)) return false;
        for (size_t i = 0; i < j->n; i++) {
            if (!jinja_from_json(m, &j->items[i], untrusted, &item) ||
                !jinja_push(m, out->list, item))
                return false;
        }
        return true;
    case JSON_OBJ:
        if (!jinja_dict(m, JV_DICT, out)) return false;
        for (size_t i = 0; i < j->n; i++) {
            key = jinja_s(j->items[i].key);
            key.marked = untrusted;
            if (!jinja_from_json(m, &j->items[i], untrusted, &item) ||
                !jinja_dict_set(m, out->dict, key, item))
                return false;
        }
        return true;
    }
    return true;
}
