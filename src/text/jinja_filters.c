/* jinja_filters: filters of strings, numbers and single values, and the table of all filters.
 *
 * Arguments come bound to the parameters of the row, JV_ABSENT where not given. Results that are
 * made of a string keep its marks.
 *
 * Left out: filesizeformat, pprint's line breaks, random, striptags, urlize, wordwrap, xmlattr.
 */
#include "text/jinja_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* ---- strings ---- */

static bool case_of(struct jmach *m, const struct jval *self, enum jcase how, struct jval *out)
{
    struct jval s;

    return jinja_str(m, self, &s) && jinja_case(m, &s, how, out);
}

#define CASE(name, how)                                                                            \
    static JBUILTIN(name)                                                                          \
    {                                                                                              \
        (void)v, (void)a;                                                                          \
        return case_of(m, self, (how), out);                                                       \
    }
CASE(f_lower, JCASE_LOWER)
CASE(f_upper, JCASE_UPPER)
CASE(f_title, JCASE_JTITLE)
CASE(f_capitalize, JCASE_CAPITAL)

static JBUILTIN(f_trim)
{
    struct jval s;

    (void)a;
    if (!jinja_str(m, self, &s)) return false;
    if (jinja_given(&v[0]) && v[0].type != JV_STR)
        return JFAIL(m, "trim needs a str, not %s", jinja_type_name(&v[0]));
    *out = jinja_strip(&s, jinja_given(&v[0]) ? &v[0] : NULL, 3);
    return jinja_step(m, s.n / 32);
}

static JBUILTIN(f_string)
{
    (void)v, (void)a;
    return jinja_str(m, self, out);
}

static JBUILTIN(f_pprint)
{
    struct jbuild b = {.m = m};

    (void)v, (void)a;
    if (!jinja_show(&b, self, true)) return false;
    *out = jinja_built(&b);
    return true;
}

static JBUILTIN(f_replace)
{
    struct jval s, old, by;
    int64_t count;

    (void)a;
    return jinja_str(m, self, &s) && jinja_str(m, &v[0], &old) && jinja_str(m, &v[1], &by) &&
           jinja_want_int(m, &v[2], -1, &count) && jinja_replace(m, &s, &old, &by, count, out);
}

static JBUILTIN(f_escape)
{
    struct jval s;

    (void)v, (void)a;
    if (!jinja_str(m, self, &s) || !jinja_escape(m, &s, out)) return false;
    out->of = 1;
    return true;
}

static JBUILTIN(f_forceescape)
{
    struct jval s;

    (void)v, (void)a;
    if (!jinja_str(m, self, &s)) return false;
    s.of = 0;
    return jinja_escape(m, &s, out);
}

static JBUILTIN(f_safe)
{
    (void)v, (void)a;
    if (!jinja_str(m, self, out)) return false;
    out->of = 1;
    return true;
}

static JBUILTIN(f_urlencode)
{
    struct jbuild b = {.m = m};
    struct jval s;

    (void)v, (void)a;
    if (!jinja_str(m, self, &s) || !jinja_step(m, s.n / 8)) return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char esc[4];

        if (jinja_is_alpha(c < 0x80 ? c : 0) || (c >= '0' && c <= '9') ||
            (c && strchr("_.-~/", c))) {
            if (!jinja_put_like(&b, s.p + i, 1, &s, i)) return false;
            continue;
        }
        snprintf(esc, sizeof esc, "%%%02X", c);
        if (!jinja_put_like(&b, esc, 3, &s, i)) return false;
    }
    *out = jinja_built(&b);
    return true;
}

/* The line of s at *at, without its end; *at moves behind that. */
static struct jval next_line(const struct jval *s, size_t *at)
{
    size_t from = *at, end = from;

    while (end < s->n && s->p[end] != '\n' && s->p[end] != '\r')
        end++;
    *at = end + 1;
    if (end + 1 < s->n && s->p[end] == '\r' && s->p[end + 1] == '\n') *at = end + 2;
    return jinja_cut(s, from, end);
}

static JBUILTIN(f_indent)
{
    struct jbuild b = {.m = m};
    struct jval s, pad = v[0], line;
    int64_t width;
    size_t at = 0;
    bool first = jinja_truth(&v[1]), blank = jinja_truth(&v[2]);

    (void)a;
    if (!jinja_str(m, self, &s)) return false;
    if (pad.type != JV_STR) {
        if (!jinja_want_int(m, &v[0], 4, &width) ||
            !jinja_binary(m, '*', &(struct jval){.type = JV_STR, .p = " ", .n = 1},
                          &(struct jval){.type = JV_INT, .i = width}, &pad))
            return false;
    }
    /* A newline at the end makes one more, empty, line. */
    for (size_t n = 0; at <= s.n; n++) {
        line = next_line(&s, &at);
        if (n && !jinja_puts(&b, "\n")) return false;
        if ((n ? line.n || blank : first) && !jinja_putv(&b, &pad)) return false;
        if (!jinja_putv(&b, &line) || !jinja_step(m, 1)) return false;
    }
    *out = jinja_built(&b);
    return true;
}

static JBUILTIN(f_truncate)
{
    struct jbuild b = {.m = m};
    struct jval s, end = v[2].type == JV_STR ? v[2] : jinja_lit("..."), head;
    int64_t length, leeway, n, keep;

    (void)a;
    if (!jinja_str(m, self, &s) || !jinja_want_int(m, &v[0], 255, &length) ||
        !jinja_want_int(m, &v[3], 5, &leeway))
        return false;
    n = (int64_t)jinja_chars(jinja_view(&s));
    if (length < 0 || leeway < 0 || n - leeway <= length) {
        *out = s;
        return true;
    }
    keep = length - (int64_t)jinja_chars(jinja_view(&end));
    head = jinja_cut(&s, 0, jinja_char_at(jinja_view(&s), (size_t)(keep > 0 ? keep : 0)));
    if (!jinja_truth(&v[1])) {
        size_t cut = head.n;

        while (cut > 0 && head.p[cut - 1] != ' ')
            cut--;
        if (cut) head = jinja_cut(&head, 0, cut - 1);
    }
    if (!jinja_putv(&b, &head) || !jinja_putv(&b, &end)) return false;
    *out = jinja_built(&b);
    return true;
}

static JBUILTIN(f_center)
{
    struct jargs args = {.pos = v, .n = 1};
    struct jval s;

    (void)a;
    if (!jinja_given(&v[0])) v[0] = jinja_int(80);
    if (!jinja_str(m, self, &s)) return false;
    return jinja_run_builtin(m, jinja_find_method(&s, S("center")), &s, &args, out);
}

static JBUILTIN(f_wordcount)
{
    struct jval s;
    int64_t n = 0;
    bool inside = false;

    (void)v, (void)a;
    if (!jinja_str(m, self, &s) || !jinja_step(m, s.n / 16)) return false;
    for (size_t at = 0; at < s.n;) {
        uint32_t cp = utf8_next(jinja_view(&s), &at);
        bool word = cp == '_' || (cp >= '0' && cp <= '9') || jinja_is_alpha(cp);

        n += word && !inside;
        inside = word;
    }
    *out = jinja_int(n);
    return true;
}

/* ---- % formatting ---- */

struct spec {
    char text[32]; /* "%-5.2" and the like, the conversion not yet */
    size_t n;
    char conv;
};

/* The conversion at fmt[*at], behind the '%' and the key. */
static bool read_spec(struct jmach *m, str fmt, size_t *at, struct spec *s)
{
    s->text[0] = '%';
    s->n = 1;
    while (*at < fmt.n && memchr("-+ #0123456789.", fmt.p[*at], 15)) {
        if (s->n + 4 >= 12) return JFAIL(m, "a conversion after %% is too long");
        s->text[s->n++] = fmt.p[(*at)++];
    }
    while (*at < fmt.n && memchr("hlL", fmt.p[*at], 3))
        (*at)++;
    if (*at >= fmt.n) return JFAIL(m, "incomplete format");
    s->conv = fmt.p[(*at)++];
    return true;
}

static bool put_spec(struct jbuild *b, struct spec *s, const struct jval *v, bool escape)
{
    struct jmach *m = b->m;
    char text[1200];
    struct jval shown;
    int64_t width = 0;
    bool left = memchr(s->text, '-', s->n) != NULL;

    if (strchr("diuxXoeEfFgG", s->conv)) {
        if (!jinja_is_num(v))
            return JFAIL(m, "%%%c: a number is required, not %s", s->conv, jinja_type_name(v));
        if (strchr("diuxXo", s->conv)) {
            long long i = v->type == JV_FLOAT ? (long long)v->d
                                              : (long long)(v->type == JV_BOOL ? v->b : v->i);

            if (v->type == JV_FLOAT && !(fabs(v->d) < 0x1p62))
                return JFAIL(m, "%%%c: the number is too large", s->conv);
            snprintf(s->text + s->n, sizeof s->text - s->n, "ll%c", s->conv == 'u' ? 'd' : s->conv);
            snprintf(text, sizeof text, s->text, i);
        } else {
            snprintf(s->text + s->n, sizeof s->text - s->n, "%c", s->conv);
            snprintf(text, sizeof text, s->text, jinja_as_num(v));
        }
        return jinja_puts(b, text);
    }
    if (s->conv != 's' && s->conv != 'r' && s->conv != 'c')
        return JFAIL(m, "unsupported format character '%c'", s->conv);
    struct jbuild one = {.m = m};
    if (!jinja_show(&one, v, s->conv == 'r')) return false;
    shown = jinja_built(&one);
    if (escape) {
        struct jval plain = shown;

        plain.of = v->type == JV_STR ? v->of : 0;
        if (!jinja_escape(m, &plain, &shown)) return false;
    }
    s->text[s->n] = 0;
    const char *dot = strchr(s->text, '.'), *digit = s->text + 1;
    if (dot)
        shown = jinja_cut(&shown, 0, jinja_char_at(jinja_view(&shown), strtoul(dot + 1, NULL, 10)));
    while (*digit && strchr("-+ #0", *digit))
        digit++;
    width = strtol(digit, NULL, 10) - (int64_t)jinja_chars(jinja_view(&shown));
    if (width > 4096) return JFAIL(m, "a width after %% is too large");
    for (; !left && width > 0; width--)
        jinja_puts(b, " ");
    jinja_putv(b, &shown);
    for (; width > 0; width--)
        jinja_puts(b, " ");
    return !m->err;
}

bool jinja_format(struct jmach *m, const struct jval *fmt, const struct jval *args,
                  struct jval *out)
{
    struct jbuild b = {.m = m};
    str f = jinja_view(fmt);
    bool tuple = args->type == JV_TUPLE;
    size_t used = 0, n = tuple ? args->list->n : 1, at = 0;

    while (at < f.n) {
        size_t hit = str_find(f, S("%"), at);
        struct jval part = jinja_cut(fmt, at, hit == SIZE_MAX ? f.n : hit);
        const struct jval *v;
        struct spec s;

        if (!jinja_putv(&b, &part) || !jinja_step(m, 1)) return false;
        if (hit == SIZE_MAX) break;
        at = hit + 1;
        if (at < f.n && f.p[at] == '%') {
            if (!jinja_put_like(&b, "%", 1, fmt, at)) return false;
            at++;
            continue;
        }
        if (at < f.n && f.p[at] == '(') {
            size_t end = str_find(f, S(")"), at);
            struct jval key;

            if (end == SIZE_MAX) return JFAIL(m, "incomplete format key");
            key = jinja_cut(fmt, at + 1, end);
            v = args->type == JV_DICT ? jinja_dict_get(m, args->dict, &key) : NULL;
            if (!v) return JFAIL(m, "%% has no argument '%.*s'", STR(jinja_view(&key)));
            at = end + 1;
            used = n;
        } else {
            if (used >= n) return JFAIL(m, "not enough arguments for format string");
            v = tuple ? &args->list->v[used] : args;
            used++;
        }
        if (!read_spec(m, f, &at, &s) || !put_spec(&b, &s, v, fmt->of)) return false;
    }
    if (used < n && args->type != JV_DICT && args->type != JV_LIST)
        return JFAIL(m, "not all arguments converted during string formatting");
    *out = jinja_built(&b);
    out->of = fmt->of;
    return true;
}

static JBUILTIN(f_format)
{
    struct jval fmt, args;

    (void)v;
    if (a->n && a->n_kw) return JFAIL(m, "format takes positional or keyword arguments, not both");
    if (!jinja_str(m, self, &fmt)) return false;
    if (a->n_kw) {
        if (!jinja_dict(m, JV_DICT, &args)) return false;
        for (size_t i = 0; i < a->n_kw; i++) {
            if (!jinja_dict_set(m, args.dict, jinja_s(a->kw[i].name), a->kw[i].v)) return false;
        }
    } else {
        if (!jinja_list(m, JV_TUPLE, a->n, &args)) return false;
        for (size_t i = 0; i < a->n; i++) {
            if (!jinja_push(m, args.list, a->pos[i])) return false;
        }
    }
    return jinja_format(m, &fmt, &args, out);
}

/* ---- numbers ---- */

static bool parse_float(const struct jval *s, double *out)
{
    str t = str_trim(jinja_view(s));

    if (str_ieq(t, S("inf")) || str_ieq(t, S("infinity")))
        *out = INFINITY;
    else if (str_ieq(t, S("-inf")))
        *out = -INFINITY;
    else if (str_ieq(t, S("nan")))
        *out = NAN;
    else
        return str_num(t, out);
    return true;
}

static bool to_int(double d, int64_t *out)
{
    if (!(d > -0x1p63 && d < 0x1p63)) return false;
    *out = (int64_t)d;
    return true;
}

static JBUILTIN(f_int)
{
    int64_t i = 0, base;
    double d;
    bool good = false;

    (void)a;
    if (!jinja_want_int(m, &v[1], 10, &base)) return false;
    if (self->type == JV_STR && base != 10) {
        char text[80], *end;
        str t = str_trim(jinja_view(self));

        if (t.n > 0 && t.n < sizeof text && base >= 2 && base <= 36) {
            memcpy(text, t.p, t.n);
            text[t.n] = 0;
            if (base == 2 && t.n > 2 && text[0] == '0' && (text[1] | 32) == 'b')
                memset(text, '0', 2);
            if (base == 8 && t.n > 2 && text[0] == '0' && (text[1] | 32) == 'o')
                memset(text, '0', 2);
            i = strtoll(text, &end, (int)base);
            good = *end == 0;
        }
    } else if (self->type == JV_STR) {
        good = str_int(str_trim(jinja_view(self)), &i) || (parse_float(self, &d) && to_int(d, &i));
    } else if (self->type == JV_FLOAT) {
        good = to_int(self->d, &i);
    } else if (jinja_is_num(self)) {
        good = true;
        i = self->type == JV_BOOL ? self->b : self->i;
    } else if (self->type == JV_UNDEF) {
        return jinja_undefined(m, self);
    }
    *out = good ? jinja_int(i) : v[0].type != JV_ABSENT ? v[0] : jinja_int(0);
    return true;
}

static JBUILTIN(f_float)
{
    double d;

    (void)a;
    if (self->type == JV_UNDEF) return jinja_undefined(m, self);
    if (jinja_is_num(self))
        *out = jinja_num(jinja_as_num(self));
    else if (self->type == JV_STR && parse_float(self, &d))
        *out = jinja_num(d);
    else
        *out = v[0].type != JV_ABSENT ? v[0] : jinja_num(0);
    return true;
}

static JBUILTIN(f_abs)
{
    (void)v, (void)a;
    if (self->type == JV_UNDEF) return jinja_undefined(m, self);
    if (!jinja_is_num(self))
        return JFAIL(m, "bad operand type for abs(): '%s'", jinja_type_name(self));
    if (self->type == JV_FLOAT)
        *out = jinja_num(fabs(self->d));
    else if (self->type == JV_INT && self->i == INT64_MIN)
        return JFAIL(m, "an integer grew beyond 64 bits");
    else
        *out = jinja_int(self->type == JV_BOOL ? self->b : self->i < 0 ? -self->i : self->i);
    return true;
}

static JBUILTIN(f_round)
{
    int64_t digits;
    double x = 0, scale;
    char text[400];
    bool floor_it, ceil_it;

    (void)a;
    if (self->type == JV_UNDEF) return jinja_undefined(m, self);
    if (!jinja_is_num(self)) return JFAIL(m, "round needs a number, not %s", jinja_type_name(self));
    if (!jinja_want_int(m, &v[0], 0, &digits)) return false;
    floor_it = v[1].type == JV_STR && str_eqc(jinja_view(&v[1]), "floor");
    ceil_it = v[1].type == JV_STR && str_eqc(jinja_view(&v[1]), "ceil");
    if (jinja_given(&v[1]) && !floor_it && !ceil_it &&
        !(v[1].type == JV_STR && str_eqc(jinja_view(&v[1]), "common")))
        return JFAIL(m, "method must be common, ceil or floor");
    if (digits > 300 || digits < -300) return JFAIL(m, "round to %lld digits", (long long)digits);
    x = jinja_as_num(self);
    scale = pow(10, (double)digits);
    if (floor_it || ceil_it) {
        *out = jinja_num((floor_it ? floor(x * scale) : ceil(x * scale)) / scale);
        return true;
    }
    if (self->type != JV_FLOAT && digits >= 0) {
        *out = jinja_int(self->type == JV_BOOL ? self->b : self->i);
        return true;
    }
    if (digits < 0 || !isfinite(x) || fabs(x) > 1e60) {
        *out = digits < 0 ? jinja_num(nearbyint(x * scale) / scale) : *self;
        if (self->type != JV_FLOAT) *out = jinja_int((int64_t)out->d);
        return true;
    }
    /* printf rounds the exact binary value, half to even, as Python does. */
    snprintf(text, sizeof text, "%.*f", (int)digits, x);
    *out = jinja_num(strtod(text, NULL));
    return true;
}

/* ---- any value ---- */

static JBUILTIN(f_default)
{
    (void)m, (void)a;
    if (self->type == JV_UNDEF || (jinja_truth(&v[1]) && !jinja_truth(self)))
        *out = v[0].type != JV_ABSENT ? v[0] : jinja_lit("");
    else
        *out = *self;
    return true;
}

static JBUILTIN(f_attr)
{
    (void)a;
    if (v[0].type != JV_STR) return JFAIL(m, "attr needs a name");
    /* Keys are no attributes: only what `.` finds before it looks for keys. */
    if (self->type == JV_DICT) {
        if (!jinja_find_method(self, jinja_view(&v[0]))) {
            *out = jinja_undef(jinja_view(&v[0]), JV_DICT);
            return true;
        }
    }
    return jinja_attr(m, self, &v[0], false, out);
}

/* separators=(item, key) */
static bool separators(struct jmach *m, const struct jval *v, struct jinja_json_style *style)
{
    const struct jval *items;
    size_t n;

    if (!jinja_items(m, v, &items, &n)) return false;
    if (n != 2 || items[0].type != JV_STR || items[1].type != JV_STR)
        return JFAIL(m, "tojson: separators are two strings");
    style->item_sep = items[0].p;
    style->item_n = items[0].n;
    style->key_sep = items[1].p;
    style->key_n = items[1].n;
    return true;
}

static JBUILTIN(f_tojson)
{
    struct jinja_json_style style = {.item_sep = ", ", .item_n = 2, .key_sep = ": ", .key_n = 2};
    struct jbuild b = {.m = m};

    (void)a;
    style.ascii = jinja_truth(&v[0]);
    style.sort = jinja_truth(&v[3]);
    if (!jinja_want_int(m, &v[1], -1, &style.indent)) return false;
    if (style.indent > 64) return JFAIL(m, "tojson: an indent of %lld", (long long)style.indent);
    if (jinja_given(&v[1]) && style.indent < 0) style.indent = 0;
    if (style.indent >= 0) {
        style.item_sep = ",";
        style.item_n = 1;
    }
    if (jinja_given(&v[2]) && !separators(m, &v[2], &style)) return false;
    if (!jinja_tojson(&b, self, &style, 0)) return false;
    *out = jinja_built(&b);
    return true;
}

/* ---- the table ---- */

const struct jbuiltin jinja_filter_table[] = {
    {.name = "abs", .params = "", .run = f_abs},
    {.name = "attr", .params = "name", .run = f_attr},
    {.name = "batch", .params = "linecount fill_with", .run = jinja_seq_batch},
    {.name = "capitalize", .params = "", .run = f_capitalize},
    {.name = "center", .params = "width", .run = f_center},
    {.name = "count", .params = "", .run = jinja_seq_length},
    {.name = "d", .params = "default_value boolean", .run = f_default},
    {.name = "default", .params = "default_value boolean", .run = f_default},
    {.name = "dictsort", .params = "case_sensitive by reverse", .run = jinja_seq_dictsort},
    {.name = "e", .params = "", .run = f_escape},
    {.name = "escape", .params = "", .run = f_escape},
    {.name = "first", .params = "", .run = jinja_seq_first},
    {.name = "float", .params = "default", .run = f_float},
    {.name = "forceescape", .params = "", .run = f_forceescape},
    {.name = "format", .params = "*", .run = f_format},
    {.name = "groupby", .params = "attribute default case_sensitive", .run = jinja_seq_groupby},
    {.name = "indent", .params = "width first blank", .run = f_indent},
    {.name = "int", .params = "default base", .run = f_int},
    {.name = "items", .params = "", .run = jinja_seq_items},
    {.name = "join", .params = "d attribute", .run = jinja_seq_join},
    {.name = "last", .params = "", .run = jinja_seq_last},
    {.name = "length", .params = "", .run = jinja_seq_length},
    {.name = "list", .params = "", .run = jinja_seq_list},
    {.name = "lower", .params = "", .run = f_lower},
    {.name = "map", .params = "*", .run = jinja_seq_map},
    {.name = "max", .params = "case_sensitive attribute", .run = jinja_seq_max},
    {.name = "min", .params = "case_sensitive attribute", .run = jinja_seq_min},
    {.name = "pprint", .params = "", .run = f_pprint},
    {.name = "reject", .params = "*", .run = jinja_seq_reject},
    {.name = "rejectattr", .params = "*", .run = jinja_seq_rejectattr},
    {.name = "replace", .params = "old new count", .run = f_replace},
    {.name = "reverse", .params = "", .run = jinja_seq_reverse},
    {.name = "round", .params = "precision method", .run = f_round},
    {.name = "safe", .params = "", .run = f_safe},
    {.name = "select", .params = "*", .run = jinja_seq_select},
    {.name = "selectattr", .params = "*", .run = jinja_seq_selectattr},
    {.name = "slice", .params = "slices fill_with", .run = jinja_seq_slice},
    {.name = "sort", .params = "reverse case_sensitive attribute", .run = jinja_seq_sort},
    {.name = "string", .params = "", .run = f_string},
    {.name = "sum", .params = "attribute start", .run = jinja_seq_sum},
    {.name = "title", .params = "", .run = f_title},
    {.name = "tojson", .params = "ensure_ascii indent separators sort_keys", .run = f_tojson},
    {.name = "trim", .params = "chars", .run = f_trim},
    {.name = "truncate", .params = "length killwords end leeway", .run = f_truncate},
    {.name = "unique", .params = "case_sensitive attribute", .run = jinja_seq_unique},
    {.name = "upper", .params = "", .run = f_upper},
    {.name = "urlencode", .params = "", .run = f_urlencode},
    {.name = "wordcount", .params = "", .run = f_wordcount},
    {.name = NULL},
};
