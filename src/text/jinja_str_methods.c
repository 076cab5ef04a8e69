/* jinja_str_methods: methods of Python's str.
 *
 * One row a name. Marks travel with the characters: what a method cuts, joins or pads keeps the
 * mark of each byte it came from.
 *
 * Left out: str.format() fields with members, translate, encode, expandtabs.
 */
#include "text/jinja_int.h"

#include <string.h>

#include "base/utf8.h"

/* ---- str: strip, case ---- */

static bool strip(struct jmach *m, const struct jval *self, const struct jval *chars, int sides,
                  struct jval *out)
{
    if (jinja_given(chars) && !jinja_want_str(m, "strip", chars)) return false;
    *out = jinja_strip(self, jinja_given(chars) ? chars : NULL, sides);
    return jinja_step(m, self->n / 32);
}

#define STRIP(name, sides)                                                                         \
    static JBUILTIN(name)                                                                          \
    {                                                                                              \
        (void)a;                                                                                   \
        return strip(m, self, &v[0], (sides), out);                                                \
    }
STRIP(m_strip, 3)
STRIP(m_lstrip, 1)
STRIP(m_rstrip, 2)

#define CASE(name, how)                                                                            \
    static JBUILTIN(name)                                                                          \
    {                                                                                              \
        (void)a, (void)v;                                                                          \
        return jinja_case(m, self, (how), out);                                                    \
    }
CASE(m_lower, JCASE_LOWER)
CASE(m_upper, JCASE_UPPER)
CASE(m_title, JCASE_TITLE)
CASE(m_capitalize, JCASE_CAPITAL)
CASE(m_swapcase, JCASE_SWAP)

/* ---- str: search ---- */

/* start and end of `s.find(x, start, end)` as bytes. */
static bool window(struct jmach *m, const struct jval *self, const struct jval *v, size_t *from,
                   size_t *to)
{
    int64_t lo, hi, n = (int64_t)jinja_chars(jinja_view(self));

    if (!jinja_want_int(m, &v[0], 0, &lo) || !jinja_want_int(m, &v[1], n, &hi)) return false;
    lo = lo < 0 ? lo + n < 0 ? 0 : lo + n : lo > n ? n : lo;
    hi = hi < 0 ? hi + n < 0 ? 0 : hi + n : hi > n ? n : hi;
    *from = jinja_char_at(jinja_view(self), (size_t)lo);
    *to = hi < lo ? *from : jinja_char_at(jinja_view(self), (size_t)hi);
    return jinja_step(m, self->n / 16);
}

static bool edge(struct jmach *m, const struct jval *self, struct jval *v, bool end,
                 struct jval *out)
{
    const struct jval *items = &v[0];
    size_t n = 1, from, to;
    str s;

    if (!window(m, self, &v[1], &from, &to)) return false;
    s = str_sub(jinja_view(self), from, to - from);
    if (v[0].type == JV_TUPLE && !jinja_items(m, &v[0], &items, &n)) return false;
    *out = jinja_bool(false);
    for (size_t i = 0; i < n && !out->b; i++) {
        if (!jinja_want_str(m, end ? "endswith" : "startswith", &items[i])) return false;
        out->b = end ? str_ends(s, jinja_view(&items[i])) : str_starts(s, jinja_view(&items[i]));
    }
    return true;
}

static JBUILTIN(m_startswith)
{
    (void)a;
    return edge(m, self, v, false, out);
}

static JBUILTIN(m_endswith)
{
    (void)a;
    return edge(m, self, v, true, out);
}

/* Byte offset of the last occurrence in s, or SIZE_MAX. */
static size_t find_last(str s, str needle)
{
    size_t hit = SIZE_MAX, at = 0;

    while ((at = str_find(s, needle, at)) != SIZE_MAX)
        hit = at++;
    return hit;
}

static bool find(struct jmach *m, const struct jval *self, struct jval *v, bool last, bool must,
                 struct jval *out)
{
    size_t from, to, hit;
    str s;

    if (!jinja_want_str(m, "find", &v[0]) || !window(m, self, &v[1], &from, &to)) return false;
    s = str_sub(jinja_view(self), from, to - from);
    hit = last ? find_last(s, jinja_view(&v[0])) : str_find(s, jinja_view(&v[0]), 0);
    if (hit == SIZE_MAX && must) return JFAIL(m, "substring not found");
    *out = jinja_int(
        hit == SIZE_MAX ? -1 : (int64_t)jinja_chars(str_sub(jinja_view(self), 0, from + hit)));
    return true;
}

#define FIND(name, last, must)                                                                     \
    static JBUILTIN(name)                                                                          \
    {                                                                                              \
        (void)a;                                                                                   \
        return find(m, self, v, (last), (must), out);                                              \
    }
FIND(m_find, false, false)
FIND(m_rfind, true, false)
FIND(m_index, false, true)
FIND(m_rindex, true, true)

static JBUILTIN(m_count)
{
    size_t from, to, at = 0;
    int64_t n = 0;
    str s;

    (void)a;
    if (!jinja_want_str(m, "count", &v[0]) || !window(m, self, &v[1], &from, &to)) return false;
    s = str_sub(jinja_view(self), from, to - from);
    while (v[0].n && (at = str_find(s, jinja_view(&v[0]), at)) != SIZE_MAX) {
        at += v[0].n;
        n++;
    }
    *out = jinja_int(v[0].n ? n : (int64_t)jinja_chars(s) + 1);
    return true;
}

static JBUILTIN(m_replace)
{
    int64_t count;

    (void)a;
    if (!jinja_want_str(m, "replace", &v[0]) || !jinja_want_str(m, "replace", &v[1]) ||
        !jinja_want_int(m, &v[2], -1, &count))
        return false;
    return jinja_replace(m, self, &v[0], &v[1], count, out);
}

/* ---- str: split, join ---- */

/* At white space, runs of it as one. */
static bool split_blanks(struct jmach *m, const struct jval *self, int64_t most, bool from_end,
                         struct jlist *l)
{
    struct jval rest = jinja_strip(self, NULL, from_end ? 2 : 1);

    while (rest.n) {
        str s = jinja_view(&rest);
        size_t cut = SIZE_MAX;
        struct jval part, other;

        if (!jinja_step(m, 1)) return false;
        if (most != 0 && !from_end) {
            for (size_t at = 0, from = 0; at < s.n && cut == SIZE_MAX; from = at) {
                if (jinja_is_space(utf8_next(s, &at))) cut = from;
            }
        }
        for (size_t end = s.n; most != 0 && from_end && end > 0 && cut == SIZE_MAX; end--) {
            size_t at = end - 1;

            if (((unsigned char)s.p[at] & 0xC0) != 0x80 && jinja_is_space(utf8_next(s, &at)))
                cut = at;
        }
        if (cut == SIZE_MAX) return jinja_push(m, l, rest);
        part = jinja_cut(&rest, 0, cut);
        other = jinja_cut(&rest, cut, rest.n);
        if (!jinja_push(m, l, from_end ? other : part)) return false;
        rest = from_end ? jinja_strip(&part, NULL, 2) : jinja_strip(&other, NULL, 1);
        most -= most > 0;
    }
    return true;
}

static bool split_at(struct jmach *m, const struct jval *self, const struct jval *sep, int64_t most,
                     bool from_end, struct jlist *l)
{
    struct jval rest = *self;

    for (;;) {
        str s = jinja_view(&rest);
        size_t hit = most == 0  ? SIZE_MAX
                     : from_end ? find_last(s, jinja_view(sep))
                                : str_find(s, jinja_view(sep), 0);

        if (!jinja_step(m, 1 + (from_end ? s.n / 32 : 0))) return false;
        if (hit == SIZE_MAX) return jinja_push(m, l, rest);
        if (!jinja_push(
                m, l, from_end ? jinja_cut(&rest, hit + sep->n, rest.n) : jinja_cut(&rest, 0, hit)))
            return false;
        rest = from_end ? jinja_cut(&rest, 0, hit) : jinja_cut(&rest, hit + sep->n, rest.n);
        most -= most > 0;
    }
}

static bool split(struct jmach *m, const struct jval *self, struct jval *v, bool from_end,
                  struct jval *out)
{
    int64_t most;
    bool good;

    if (jinja_given(&v[0]) && !jinja_want_str(m, "split", &v[0])) return false;
    if (jinja_given(&v[0]) && v[0].n == 0) return JFAIL(m, "empty separator");
    if (!jinja_want_int(m, &v[1], -1, &most) || !jinja_list(m, JV_LIST, 0, out)) return false;
    if (!jinja_step(m, self->n / 32)) return false;
    good = jinja_given(&v[0]) ? split_at(m, self, &v[0], most, from_end, out->list)
                              : split_blanks(m, self, most, from_end, out->list);
    for (size_t i = 0, j = out->list->n; good && from_end && i + 1 < j--; i++) {
        struct jval swap = out->list->v[i];
        out->list->v[i] = out->list->v[j];
        out->list->v[j] = swap;
    }
    return good;
}

static JBUILTIN(m_split)
{
    (void)a;
    return split(m, self, v, false, out);
}

static JBUILTIN(m_rsplit)
{
    (void)a;
    return split(m, self, v, true, out);
}

static JBUILTIN(m_splitlines)
{
    size_t from = 0;

    (void)a;
    if (!jinja_list(m, JV_LIST, 0, out)) return false;
    while (from < self->n) {
        size_t at = from, end;

        while (at < self->n && self->p[at] != '\n' && self->p[at] != '\r')
            at++;
        end = at < self->n ? at + 1 : at;
        if (at + 1 < self->n && self->p[at] == '\r' && self->p[at + 1] == '\n') end++;
        if (!jinja_step(m, 1) ||
            !jinja_push(m, out->list, jinja_cut(self, from, jinja_truth(&v[0]) ? end : at)))
            return false;
        from = end;
    }
    return true;
}

static bool partition(struct jmach *m, const struct jval *self, const struct jval *sep, bool last,
                      struct jval *out)
{
    size_t hit;
    struct jval empty = jinja_lit("");

    if (!jinja_want_str(m, "partition", sep)) return false;
    if (sep->n == 0) return JFAIL(m, "empty separator");
    if (!jinja_step(m, self->n / 32) || !jinja_list(m, JV_TUPLE, 3, out)) return false;
    hit = last ? find_last(jinja_view(self), jinja_view(sep))
               : str_find(jinja_view(self), jinja_view(sep), 0);
    if (hit == SIZE_MAX)
        return jinja_push(m, out->list, last ? empty : *self) && jinja_push(m, out->list, empty) &&
               jinja_push(m, out->list, last ? *self : empty);
    return jinja_push(m, out->list, jinja_cut(self, 0, hit)) &&
           jinja_push(m, out->list, jinja_cut(self, hit, hit + sep->n)) &&
           jinja_push(m, out->list, jinja_cut(self, hit + sep->n, self->n));
}

static JBUILTIN(m_partition)
{
    (void)a;
    return partition(m, self, &v[0], false, out);
}

static JBUILTIN(m_rpartition)
{
    (void)a;
    return partition(m, self, &v[0], true, out);
}

static JBUILTIN(m_join)
{
    struct jbuild b = {.m = m};
    const struct jval *items;
    size_t n;

    (void)a;
    if (!jinja_items(m, &v[0], &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (!jinja_step(m, 1) || !jinja_want_str(m, "join", &items[i]) ||
            (i && !jinja_putv(&b, self)) || !jinja_putv(&b, &items[i]))
            return false;
    }
    *out = jinja_built(&b);
    return true;
}

static JBUILTIN(m_removeprefix)
{
    (void)a;
    if (!jinja_want_str(m, "removeprefix", &v[0])) return false;
    *out =
        str_starts(jinja_view(self), jinja_view(&v[0])) ? jinja_cut(self, v[0].n, self->n) : *self;
    return true;
}

static JBUILTIN(m_removesuffix)
{
    (void)a;
    if (!jinja_want_str(m, "removesuffix", &v[0])) return false;
    *out = str_ends(jinja_view(self), jinja_view(&v[0])) ? jinja_cut(self, 0, self->n - v[0].n)
                                                         : *self;
    return true;
}

/* ---- str: kinds of characters ---- */

static bool is_digit(uint32_t cp)
{
    return (cp >= '0' && cp <= '9') || (cp >= 0x660 && cp <= 0x669) ||
           (cp >= 0x966 && cp <= 0x96F) || (cp >= 0xFF10 && cp <= 0xFF19);
}

static bool is_alnum(uint32_t cp)
{
    return is_digit(cp) || jinja_is_alpha(cp);
}

static bool all_of(struct jmach *m, const struct jval *self, bool (*is)(uint32_t), struct jval *out)
{
    str s = jinja_view(self);
    bool yes = s.n > 0;

    for (size_t at = 0; at < s.n && yes;)
        yes = is(utf8_next(s, &at));
    *out = jinja_bool(yes);
    return jinja_step(m, s.n / 16);
}

#define ALL_OF(name, is)                                                                           \
    static JBUILTIN(name)                                                                          \
    {                                                                                              \
        (void)a, (void)v;                                                                          \
        return all_of(m, self, (is), out);                                                         \
    }
ALL_OF(m_isdigit, is_digit)
ALL_OF(m_isalpha, jinja_is_alpha)
ALL_OF(m_isalnum, is_alnum)
ALL_OF(m_isspace, jinja_is_space)

static bool run_case_test(struct jmach *m, const char *name, const struct jval *self,
                          struct jval *out)
{
    struct jargs none = {0};
    bool yes;

    if (!jinja_run_test(m, str_c(name), self, &none, &yes)) return false;
    *out = jinja_bool(yes);
    return true;
}

static JBUILTIN(m_isupper)
{
    (void)a, (void)v;
    return run_case_test(m, "upper", self, out);
}

static JBUILTIN(m_islower)
{
    (void)a, (void)v;
    return run_case_test(m, "lower", self, out);
}

/* ---- str: padding ---- */

static bool pad(struct jmach *m, const struct jval *self, struct jval *v, int side,
                struct jval *out)
{
    struct jbuild b = {.m = m};
    struct jval fill = jinja_lit(" ");
    int64_t width, n = (int64_t)jinja_chars(jinja_view(self)), left;

    if (!jinja_want_int(m, &v[0], 0, &width)) return false;
    if (jinja_given(&v[1])) fill = v[1];
    if (!jinja_want_str(m, "padding", &fill)) return false;
    if (width > (int64_t)LIMIT_TEMPLATE_OUT)
        return jinja_fail(m, ERR_LIMIT, "a width of %lld", (long long)width);
    left = width <= n ? 0 : width - n;
    /* Python's center() gives the odd blank to the left when both numbers are odd. */
    left = side == 0 ? left / 2 + (left & width & 1) : side < 0 ? left : 0;
    for (int64_t i = 0; i < left; i++) {
        if (!jinja_step(m, 1) || !jinja_putv(&b, &fill)) return false;
    }
    if (!jinja_putv(&b, self)) return false;
    for (int64_t i = left + n; i < width; i++) {
        if (!jinja_step(m, 1) || !jinja_putv(&b, &fill)) return false;
    }
    *out = jinja_built(&b);
    return true;
}

static JBUILTIN(m_center)
{
    (void)a;
    return pad(m, self, v, 0, out);
}

static JBUILTIN(m_ljust)
{
    (void)a;
    return pad(m, self, v, 1, out);
}

static JBUILTIN(m_rjust)
{
    (void)a;
    return pad(m, self, v, -1, out);
}

static JBUILTIN(m_zfill)
{
    struct jbuild b = {.m = m};
    size_t sign = self->n && (self->p[0] == '-' || self->p[0] == '+');
    int64_t width;
    struct jval head = jinja_cut(self, 0, sign), tail = jinja_cut(self, sign, self->n), padded;
    struct jval args[2] = {{0}};

    (void)a;
    if (!jinja_want_int(m, &v[0], 0, &width)) return false;
    args[0] = jinja_int(width - (int64_t)sign);
    args[1] = jinja_lit("0");
    if (!pad(m, &tail, args, -1, &padded) || !jinja_putv(&b, &head) || !jinja_putv(&b, &padded))
        return false;
    *out = jinja_built(&b);
    return true;
}

/* ---- str.format ---- */

/* The field behind '{': a number, a name, or nothing for the next in turn; conversions and formats
 * after it are refused. */
static bool field(struct jmach *m, str name, size_t *turn, const struct jargs *a,
                  const struct jval **out)
{
    int64_t i;

    if (name.n == 0 || str_int(name, &i)) {
        if (name.n == 0) i = (int64_t)(*turn)++;
        if (i < 0 || i >= (int64_t)a->n)
            return JFAIL(m, "format() has no argument %lld", (long long)i);
        *out = &a->pos[i];
        return true;
    }
    for (size_t k = 0; k < a->n_kw; k++) {
        if (!str_eq(a->kw[k].name, name)) continue;
        *out = &a->kw[k].v;
        return true;
    }
    return JFAIL(m, "format() has no argument '%.*s'", STR(name));
}

static JBUILTIN(m_format)
{
    struct jbuild b = {.m = m};
    str s = jinja_view(self);
    const struct jval *arg = NULL;
    size_t turn = 0, at = 0, end;
    struct jval part;

    (void)v;
    while (at < s.n) {
        bool brace = s.p[at] == '{' || s.p[at] == '}';

        end = at + 1;
        if (!jinja_step(m, 1)) return false;
        if (brace && end < s.n && s.p[end] == s.p[at]) { /* doubled: itself */
            part = jinja_cut(self, at, end++);
        } else if (s.p[at] == '}' || (brace && (end = str_find(s, S("}"), at)) == SIZE_MAX)) {
            return JFAIL(m, "format(): a single brace");
        } else if (brace) {
            if (!field(m, str_sub(s, at + 1, end - at - 1), &turn, a, &arg) ||
                !jinja_str(m, arg, &part))
                return false;
            end++;
        } else {
            while (end < s.n && s.p[end] != '{' && s.p[end] != '}')
                end++;
            part = jinja_cut(self, at, end);
        }
        if (!jinja_putv(&b, &part)) return false;
        at = end;
    }
    *out = jinja_built(&b);
    return true;
}

const struct jbuiltin jinja_str_method_table[] = {
    {.self = JV_STR, .name = "strip", .params = "chars", .run = m_strip},
    {.self = JV_STR, .name = "lstrip", .params = "chars", .run = m_lstrip},
    {.self = JV_STR, .name = "rstrip", .params = "chars", .run = m_rstrip},
    {.self = JV_STR, .name = "split", .params = "sep maxsplit", .run = m_split},
    {.self = JV_STR, .name = "rsplit", .params = "sep maxsplit", .run = m_rsplit},
    {.self = JV_STR, .name = "splitlines", .params = "keepends", .run = m_splitlines},
    {.self = JV_STR, .name = "partition", .params = "sep", .run = m_partition},
    {.self = JV_STR, .name = "rpartition", .params = "sep", .run = m_rpartition},
    {.self = JV_STR, .name = "startswith", .params = "prefix start end", .run = m_startswith},
    {.self = JV_STR, .name = "endswith", .params = "suffix start end", .run = m_endswith},
    {.self = JV_STR, .name = "lower", .params = "", .run = m_lower},
    {.self = JV_STR, .name = "casefold", .params = "", .run = m_lower},
    {.self = JV_STR, .name = "upper", .params = "", .run = m_upper},
    {.self = JV_STR, .name = "title", .params = "", .run = m_title},
    {.self = JV_STR, .name = "capitalize", .params = "", .run = m_capitalize},
    {.self = JV_STR, .name = "swapcase", .params = "", .run = m_swapcase},
    {.self = JV_STR, .name = "replace", .params = "old new count", .run = m_replace},
    {.self = JV_STR, .name = "find", .params = "sub start end", .run = m_find},
    {.self = JV_STR, .name = "rfind", .params = "sub start end", .run = m_rfind},
    {.self = JV_STR, .name = "index", .params = "sub start end", .run = m_index},
    {.self = JV_STR, .name = "rindex", .params = "sub start end", .run = m_rindex},
    {.self = JV_STR, .name = "count", .params = "sub start end", .run = m_count},
    {.self = JV_STR, .name = "join", .params = "iterable", .run = m_join},
    {.self = JV_STR, .name = "removeprefix", .params = "prefix", .run = m_removeprefix},
    {.self = JV_STR, .name = "removesuffix", .params = "suffix", .run = m_removesuffix},
    {.self = JV_STR, .name = "isdigit", .params = "", .run = m_isdigit},
    {.self = JV_STR, .name = "isdecimal", .params = "", .run = m_isdigit},
    {.self = JV_STR, .name = "isnumeric", .params = "", .run = m_isdigit},
    {.self = JV_STR, .name = "isalpha", .params = "", .run = m_isalpha},
    {.self = JV_STR, .name = "isalnum", .params = "", .run = m_isalnum},
    {.self = JV_STR, .name = "isspace", .params = "", .run = m_isspace},
    {.self = JV_STR, .name = "isupper", .params = "", .run = m_isupper},
    {.self = JV_STR, .name = "islower", .params = "", .run = m_islower},
    {.self = JV_STR, .name = "center", .params = "width fillchar", .run = m_center},
    {.self = JV_STR, .name = "ljust", .params = "width fillchar", .run = m_ljust},
    {.self = JV_STR, .name = "rjust", .params = "width fillchar", .run = m_rjust},
    {.self = JV_STR, .name = "zfill", .params = "width", .run = m_zfill},
    {.self = JV_STR, .name = "format", .params = "*", .run = m_format},
    {.name = NULL},
};
