/* jinja_methods: methods of Python's list, tuple and dict, of loops and cyclers.
 *
 * One row a name and type. Methods that change their value are known by name, so that using one is
 * refused with the words of transformers' sandbox.
 */
#include "text/jinja_int.h"

/* ---- list and tuple ---- */

static JBUILTIN(m_list_index)
{
    bool same = false;

    (void)a;
    for (size_t i = 0; i < self->list->n; i++) {
        if (!jinja_step(m, 1) || !jinja_equal(m, &self->list->v[i], &v[0], &same)) return false;
        *out = jinja_int((int64_t)i);
        if (same) return true;
    }
    return JFAIL(m, "the value is not in the list");
}

static JBUILTIN(m_list_count)
{
    int64_t n = 0;
    bool same;

    (void)a;
    for (size_t i = 0; i < self->list->n; i++) {
        if (!jinja_step(m, 1) || !jinja_equal(m, &self->list->v[i], &v[0], &same)) return false;
        n += same;
    }
    *out = jinja_int(n);
    return true;
}

static JBUILTIN(m_copy)
{
    (void)m, (void)v, (void)a;
    *out = *self; /* nothing changes a value, so the same one is as good as a copy */
    return true;
}

static JBUILTIN(m_unsafe)
{
    (void)v, (void)a, (void)out;
    return JFAIL(m, "a template may not change a %s", jinja_type_name(self));
}

/* ---- dict ---- */

static JBUILTIN(m_get)
{
    const struct jval *hit = jinja_dict_get(m, self->dict, &v[0]);

    (void)a;
    *out = hit ? *hit : v[1].type != JV_ABSENT ? v[1] : (struct jval){.type = JV_NONE};
    return !m->err;
}

static JBUILTIN(m_items)
{
    (void)v, (void)a;
    if (!jinja_list(m, JV_LIST, self->dict->n, out)) return false;
    for (size_t i = 0; i < self->dict->n; i++) {
        struct jval pair;

        if (!jinja_step(m, 1) || !jinja_list(m, JV_TUPLE, 2, &pair) ||
            !jinja_push(m, pair.list, self->dict->v[i].key) ||
            !jinja_push(m, pair.list, self->dict->v[i].value) || !jinja_push(m, out->list, pair))
            return false;
    }
    return true;
}

static bool column(struct jmach *m, const struct jval *self, bool keys, struct jval *out)
{
    if (!jinja_step(m, self->dict->n / 4) || !jinja_list(m, JV_LIST, self->dict->n, out))
        return false;
    for (size_t i = 0; i < self->dict->n; i++) {
        if (!jinja_push(m, out->list, keys ? self->dict->v[i].key : self->dict->v[i].value))
            return false;
    }
    return true;
}

static JBUILTIN(m_keys)
{
    (void)v, (void)a;
    return column(m, self, true, out);
}

static JBUILTIN(m_values)
{
    (void)v, (void)a;
    return column(m, self, false, out);
}

/* ---- cycler ---- */

static JBUILTIN(m_next)
{
    struct jobject *o = self->object;

    (void)v, (void)a;
    if (!o->is_cycler) return JFAIL(m, "a joiner has no next()");
    *out = o->items.v[o->at];
    o->at = (o->at + 1) % o->items.n;
    return true;
}

static JBUILTIN(m_reset)
{
    (void)m, (void)v, (void)a;
    self->object->at = 0;
    *out = (struct jval){.type = JV_NONE};
    return true;
}

/* ---- loop ---- */

static JBUILTIN(m_cycle)
{
    (void)v;
    if (a->n == 0) return JFAIL(m, "no items for cycling given");
    *out = a->pos[self->loop->at % a->n];
    return true;
}

static JBUILTIN(m_changed)
{
    struct jval now;
    bool same = false;

    (void)v;
    if (!jinja_list(m, JV_TUPLE, 0, &now)) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (!jinja_push(m, now.list, a->pos[i])) return false;
    }
    if (self->loop->changed.type == JV_TUPLE && !jinja_equal(m, &self->loop->changed, &now, &same))
        return false;
    self->loop->changed = now;
    *out = jinja_bool(!same);
    return true;
}

const struct jbuiltin jinja_method_table[] = {
    {.self = JV_LIST, .name = "index", .params = "value", .run = m_list_index},
    {.self = JV_LIST, .name = "count", .params = "value", .run = m_list_count},
    {.self = JV_LIST, .name = "copy", .params = "", .run = m_copy},
    {.self = JV_LIST, .name = "append", .params = "*", .run = m_unsafe},
    {.self = JV_LIST, .name = "extend", .params = "*", .run = m_unsafe},
    {.self = JV_LIST, .name = "insert", .params = "*", .run = m_unsafe},
    {.self = JV_LIST, .name = "pop", .params = "*", .run = m_unsafe},
    {.self = JV_LIST, .name = "remove", .params = "*", .run = m_unsafe},
    {.self = JV_LIST, .name = "clear", .params = "*", .run = m_unsafe},
    {.self = JV_LIST, .name = "reverse", .params = "*", .run = m_unsafe},
    {.self = JV_LIST, .name = "sort", .params = "*", .run = m_unsafe},
    {.self = JV_TUPLE, .name = "index", .params = "value", .run = m_list_index},
    {.self = JV_TUPLE, .name = "count", .params = "value", .run = m_list_count},
    {.self = JV_DICT, .name = "get", .params = "key default", .run = m_get},
    {.self = JV_DICT, .name = "items", .params = "", .run = m_items},
    {.self = JV_DICT, .name = "keys", .params = "", .run = m_keys},
    {.self = JV_DICT, .name = "values", .params = "", .run = m_values},
    {.self = JV_DICT, .name = "copy", .params = "", .run = m_copy},
    {.self = JV_DICT, .name = "update", .params = "*", .run = m_unsafe},
    {.self = JV_DICT, .name = "pop", .params = "*", .run = m_unsafe},
    {.self = JV_DICT, .name = "popitem", .params = "*", .run = m_unsafe},
    {.self = JV_DICT, .name = "setdefault", .params = "*", .run = m_unsafe},
    {.self = JV_DICT, .name = "clear", .params = "*", .run = m_unsafe},
    {.self = JV_OBJECT, .name = "next", .params = "", .run = m_next},
    {.self = JV_OBJECT, .name = "reset", .params = "", .run = m_reset},
    {.self = JV_LOOP, .name = "cycle", .params = "*", .run = m_cycle},
    {.self = JV_LOOP, .name = "changed", .params = "*", .run = m_changed},
    {.name = NULL},
};
