/* jinja_globals: the global functions: range, dict, namespace, joiner, cycler, and the two that
 * chat templates expect, raise_exception and strftime_now.
 */
#include "text/jinja_int.h"

#include <string.h>
#include <time.h>

#include "base/utf8.h"

#define RANGE_MAX 100000 /* items; the same as Jinja2's sandbox */

static JBUILTIN(f_range)
{
    int64_t from = 0, to = 0, step = 1, n = 0;

    (void)self;
    if (a->n == 0) return JFAIL(m, "range() needs an argument");
    for (size_t i = 0; i < a->n; i++) {
        if (v[i].type != JV_INT && v[i].type != JV_BOOL)
            return JFAIL(m, "range() needs integers, not %s", jinja_type_name(&v[i]));
    }
    if (!jinja_want_int(m, &v[0], 0, a->n == 1 ? &to : &from) ||
        (a->n > 1 && !jinja_want_int(m, &v[1], 0, &to)) || !jinja_want_int(m, &v[2], 1, &step))
        return false;
    if (step == 0) return JFAIL(m, "range() step must not be zero");
    if (!jinja_list(m, JV_LIST, 0, out)) return false;
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        if (++n > RANGE_MAX)
            return jinja_fail(m, ERR_LIMIT, "range() has more than %d items", RANGE_MAX);
        if (!jinja_step(m, 1) || !jinja_push(m, out->list, jinja_int(i))) return false;
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return true;
}

/* dict(pairs, a=1): shared with namespace(). */
static bool fill_dict(struct jmach *m, const struct jargs *a, struct jdict *d)
{
    const struct jval *items, *pair;
    size_t n, n_pair;

    if (a->n > 1) return JFAIL(m, "at most one positional argument is taken");
    if (a->n && (a->pos[0].type == JV_DICT || a->pos[0].type == JV_NS)) {
        const struct jdict *from = a->pos[0].dict;

        for (size_t i = 0; i < from->n; i++) {
            if (!jinja_step(m, 1) || !jinja_dict_set(m, d, from->v[i].key, from->v[i].value))
                return false;
        }
    } else if (a->n) {
        if (!jinja_items(m, &a->pos[0], &items, &n)) return false;
        for (size_t i = 0; i < n; i++) {
            if (!jinja_step(m, 1) || !jinja_items(m, &items[i], &pair, &n_pair)) return false;
            if (n_pair != 2) return JFAIL(m, "a dict is made of pairs");
            if (!jinja_dict_set(m, d, pair[0], pair[1])) return false;
        }
    }
    for (size_t i = 0; i < a->n_kw; i++) {
        if (!jinja_dict_set(m, d, jinja_s(a->kw[i].name), a->kw[i].v)) return false;
    }
    return true;
}

static JBUILTIN(f_dict)
{
    (void)self, (void)v;
    return jinja_dict(m, JV_DICT, out) && fill_dict(m, a, out->dict);
}

static JBUILTIN(f_namespace)
{
    (void)self, (void)v;
    return jinja_dict(m, JV_NS, out) && fill_dict(m, a, out->dict);
}

static JBUILTIN(f_joiner)
{
    (void)self, (void)a;
    *out = (struct jval){.type = JV_OBJECT, .object = JINJA_NEW(m, struct jobject, 1)};
    if (!out->object) return false;
    out->object->sep = jinja_given(&v[0]) ? v[0] : jinja_lit(", ");
    return true;
}

static JBUILTIN(f_cycler)
{
    (void)self, (void)v;
    if (a->n == 0) return JFAIL(m, "at least one item has to be provided");
    *out = (struct jval){.type = JV_OBJECT, .object = JINJA_NEW(m, struct jobject, 1)};
    if (!out->object) return false;
    out->object->is_cycler = true;
    for (size_t i = 0; i < a->n; i++) {
        if (!jinja_push(m, &out->object->items, a->pos[i])) return false;
    }
    return true;
}

static JBUILTIN(f_raise)
{
    struct jval text = jinja_lit("the template refuses this conversation");

    (void)self, (void)a, (void)out;
    if (v[0].type != JV_ABSENT && !jinja_str(m, &v[0], &text)) return false;
    if (!m->err) m->err = ERR_FAIL(m->e, INVALID, "%.*s", STR(jinja_view(&text)));
    return false;
}

static JBUILTIN(f_strftime)
{
    time_t t = (time_t)m->now;
    struct tm tm;
    char fmt[128], text[512], *copy;
    size_t n;

    (void)self, (void)a;
    if (!jinja_want_str(m, "strftime_now", &v[0])) return false;
    if (v[0].n == 0) {
        *out = jinja_lit("");
        return true;
    }
    if (v[0].n >= sizeof fmt || memchr(v[0].p, 0, v[0].n))
        return JFAIL(m, "strftime_now: the format is too long");
    memcpy(fmt, v[0].p, v[0].n);
    fmt[v[0].n] = 0;
    if (!gmtime_r(&t, &tm)) return JFAIL(m, "strftime_now: no such time");
    n = strftime(text, sizeof text, fmt, &tm);
    copy = jinja_alloc(m, n + 1, 1);
    if (!copy) return false;
    memcpy(copy, text, n);
    *out = jinja_s((str){copy, n});
    if (!utf8_valid(jinja_view(out))) return JFAIL(m, "strftime_now: the format is not text");
    return true;
}

const struct jbuiltin jinja_global_table[] = {
    {.name = "range", .params = "start stop step", .run = f_range},
    {.name = "dict", .params = "*", .run = f_dict},
    {.name = "namespace", .params = "*", .run = f_namespace},
    {.name = "joiner", .params = "sep", .run = f_joiner},
    {.name = "cycler", .params = "*", .run = f_cycler},
    {.name = "raise_exception", .params = "message", .run = f_raise},
    {.name = "strftime_now", .params = "format", .run = f_strftime},
    {.name = NULL},
};
