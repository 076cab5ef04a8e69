/* jinja_value: truth, equality, order and containers, as Python has them.
 *
 * Numbers of all kinds compare by value and are one key in a dict. Dicts keep the order of
 * insertion and get a hash index from nine entries on. Nothing is ever freed: values live in the
 * arena of the rendering.
 *
 * Left out: integers beyond 64 bits, sets, complex numbers, bytes.
 */
#include "text/jinja_int.h"

#include <math.h>
#include <string.h>

#define INDEX_FROM 9 /* entries; fewer are searched one by one */

/* ---- small ones ---- */

const char *jinja_type_name(const struct jval *v)
{
    static const char *const names[] = {
        [JV_ABSENT] = "nothing", [JV_UNDEF] = "Undefined", [JV_NONE] = "NoneType",
        [JV_BOOL] = "bool",      [JV_INT] = "int",         [JV_FLOAT] = "float",
        [JV_STR] = "str",        [JV_LIST] = "list",       [JV_TUPLE] = "tuple",
        [JV_DICT] = "dict",      [JV_NS] = "Namespace",    [JV_LOOP] = "LoopContext",
        [JV_MACRO] = "Macro",    [JV_FUNC] = "function",   [JV_METHOD] = "method",
        [JV_OBJECT] = "object",
    };
    return names[v->type];
}

struct jval jinja_bool(bool b)
{
    return (struct jval){.type = JV_BOOL, .b = b};
}

struct jval jinja_int(int64_t i)
{
    return (struct jval){.type = JV_INT, .i = i};
}

struct jval jinja_num(double d)
{
    return (struct jval){.type = JV_FLOAT, .d = d};
}

struct jval jinja_undef(str name, enum jtype of)
{
    return (struct jval){.type = JV_UNDEF, .of = (uint8_t)of, .p = name.p, .n = name.n};
}

bool jinja_undefined(struct jmach *m, const struct jval *v)
{
    int n = (int)(v->n < 80 ? v->n : 80);
    struct jval parent = {.type = v->of};

    if (v->of == JV_ABSENT) return JFAIL(m, "'%.*s' is undefined", n, v->p);
    if (v->of == JV_NONE) return JFAIL(m, "'None' has no attribute '%.*s'", n, v->p);
    return JFAIL(m, "'%s object' has no attribute '%.*s'", jinja_type_name(&parent), n, v->p);
}

bool jinja_is_num(const struct jval *v)
{
    return v->type == JV_BOOL || v->type == JV_INT || v->type == JV_FLOAT;
}

double jinja_as_num(const struct jval *v)
{
    return v->type == JV_FLOAT ? v->d : v->type == JV_BOOL ? (double)v->b : (double)v->i;
}

static int64_t as_int(const struct jval *v)
{
    return v->type == JV_BOOL ? v->b : v->i;
}

bool jinja_truth(const struct jval *v)
{
    switch (v->type) {
    case JV_ABSENT:
    case JV_UNDEF:
    case JV_NONE: return false;
    case JV_BOOL: return v->b;
    case JV_INT: return v->i != 0;
    case JV_FLOAT: return v->d != 0;
    case JV_STR: return v->n != 0;
    case JV_LIST:
    case JV_TUPLE: return v->list->n != 0;
    case JV_DICT: return v->dict->n != 0;
    case JV_LOOP: return v->loop->n != 0;
    default: return true;
    }
}

/* ---- equality and order ---- */

/* <0, 0, >0, or 2 when either is not a number at all (NaN). Exact for integers beyond 2^53. */
static int order_numbers(const struct jval *a, const struct jval *b)
{
    if (a->type != JV_FLOAT && b->type != JV_FLOAT) {
        int64_t x = as_int(a), y = as_int(b);
        return x < y ? -1 : x > y;
    }
    if (a->type == JV_FLOAT && b->type == JV_FLOAT)
        return isnan(a->d) || isnan(b->d) ? 2 : a->d < b->d ? -1 : a->d > b->d;
    if (a->type == JV_FLOAT) {
        int c = order_numbers(b, a);
        return c == 2 ? 2 : -c;
    }
    /* integer against float */
    if (isnan(b->d)) return 2;
    if (b->d >= 0x1p63) return -1;
    if (b->d < -0x1p63) return 1;
    double whole = floor(b->d);
    int64_t x = as_int(a), y = (int64_t)whole;
    return x < y ? -1 : x > y ? 1 : b->d > whole ? -1 : 0;
}

static bool equal_items(struct jmach *m, const struct jlist *a, const struct jlist *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        if (!jinja_equal(m, &a->v[i], &b->v[i], out)) return false;
    }
    return true;
}

static bool equal_dicts(struct jmach *m, const struct jdict *a, const struct jdict *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        const struct jval *other = jinja_dict_get(m, b, &a->v[i].key);

        if (!other)
            *out = false;
        else if (!jinja_equal(m, &a->v[i].value, other, out))
            return false;
    }
    return true;
}

bool jinja_equal(struct jmach *m, const struct jval *a, const struct jval *b, bool *out)
{
    bool good = true;

    if (jinja_is_num(a) && jinja_is_num(b)) {
        *out = order_numbers(a, b) == 0;
        return true;
    }
    *out = false;
    if (a->type != b->type) return true;
    switch (a->type) {
    case JV_STR:
        *out = str_eq(jinja_view(a), jinja_view(b));
        return a->n < 64 || jinja_step(m, a->n / 32);
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
        if (m->depth >= JINJA_DEPTH_MAX)
            return jinja_fail(m, ERR_LIMIT, "values are nested too deeply");
        m->depth++;
        good = jinja_step(m, 1) && (a->type == JV_DICT ? equal_dicts(m, a->dict, b->dict, out)
                                                       : equal_items(m, a->list, b->list, out));
        m->depth--;
        return good;
    case JV_UNDEF:
    case JV_NONE: *out = true; return true;
    case JV_FUNC: *out = a->i == b->i; return true;
    default: *out = a->p == b->p; return true; /* the same object */
    }
}

bool jinja_order(struct jmach *m, const struct jval *a, const struct jval *b, int *out)
{
    if (jinja_is_num(a) && jinja_is_num(b)) {
        *out = order_numbers(a, b);
        return true;
    }
    if (a->type == JV_STR && b->type == JV_STR) {
        *out = str_cmp(jinja_view(a), jinja_view(b));
        return jinja_step(m, 1 + (a->n < b->n ? a->n : b->n) / 32);
    }
    if ((a->type == JV_LIST || a->type == JV_TUPLE) && a->type == b->type) {
        size_t n = a->list->n < b->list->n ? a->list->n : b->list->n;
        bool good = true;

        if (m->depth >= JINJA_DEPTH_MAX)
            return jinja_fail(m, ERR_LIMIT, "values are nested too deeply");
        m->depth++;
        *out = 0;
        for (size_t i = 0; good && *out == 0 && i < n; i++) {
            bool same;

            good = jinja_equal(m, &a->list->v[i], &b->list->v[i], &same);
            if (good && !same) good = jinja_order(m, &a->list->v[i], &b->list->v[i], out);
        }
        m->depth--;
        if (*out == 0) *out = a->list->n < b->list->n ? -1 : a->list->n > b->list->n;
        return good;
    }
    if (a->type == JV_UNDEF || b->type == JV_UNDEF)
        return jinja_undefined(m, a->type == JV_UNDEF ? a : b);
    return JFAIL(m, "'%s' and '%s' have no order", jinja_type_name(a), jinja_type_name(b));
}

bool jinja_contains(struct jmach *m, const struct jval *in, const struct jval *what, bool *out)
{
    *out = false;
    switch (in->type) {
    case JV_STR:
        if (what->type != JV_STR)
            return JFAIL(m, "'in <string>' requires string as left operand, not %s",
                         jinja_type_name(what));
        *out = str_find(jinja_view(in), jinja_view(what), 0) != SIZE_MAX;
        return jinja_step(m, 1 + in->n / 32);
    case JV_LIST:
    case JV_TUPLE:
        for (size_t i = 0; !*out && i < in->list->n; i++) {
            if (!jinja_step(m, 1) || !jinja_equal(m, &in->list->v[i], what, out)) return false;
        }
        return true;
    case JV_DICT: *out = jinja_dict_get(m, in->dict, what) != NULL; return true;
    case JV_UNDEF: return true; /* iterates as nothing */
    default: return JFAIL(m, "argument of type '%s' is not iterable", jinja_type_name(in));
    }
}

/* ---- sequences ---- */

bool jinja_length(struct jmach *m, const struct jval *v, size_t *out)
{
    *out = 0;
    switch (v->type) {
    case JV_STR: *out = jinja_chars(jinja_view(v)); return jinja_step(m, v->n / 32);
    case JV_LIST:
    case JV_TUPLE: *out = v->list->n; return true;
    case JV_DICT: *out = v->dict->n; return true;
    case JV_LOOP: *out = v->loop->n; return true;
    case JV_UNDEF: return true;
    default: return JFAIL(m, "object of type '%s' has no len()", jinja_type_name(v));
    }
}

bool jinja_list(struct jmach *m, enum jtype type, size_t size, struct jval *out)
{
    struct jlist *l = JINJA_NEW(m, struct jlist, 1);

    if (!l) return false;
    if (size && !(l->v = JINJA_NEW(m, struct jval, size))) return false;
    l->size = size;
    *out = (struct jval){.type = (uint8_t)type, .list = l};
    return true;
}

bool jinja_push(struct jmach *m, struct jlist *l, struct jval v)
{
    if (l->n == l->size) {
        size_t size = l->size ? l->size * 2 : 8;
        struct jval *grown = JINJA_NEW(m, struct jval, size);

        if (!grown) return false;
        if (l->n) memcpy(grown, l->v, l->n * sizeof *grown);
        l->v = grown;
        l->size = size;
    }
    l->v[l->n++] = v;
    return true;
}

static bool characters(struct jmach *m, const struct jval *s, const struct jval **out, size_t *n)
{
    size_t count = jinja_chars(jinja_view(s)), at = 0;
    struct jval *v;

    if (!jinja_step(m, count / 4)) return false;
    *n = count;
    *out = v = count ? JINJA_NEW(m, struct jval, count) : NULL;
    if (count && !v) return false;
    for (size_t i = 0; i < count; i++) {
        size_t from = at++;

        while (at < s->n && ((unsigned char)s->p[at] & 0xC0) == 0x80)
            at++;
        v[i] = jinja_cut(s, from, at);
    }
    return true;
}

bool jinja_items(struct jmach *m, const struct jval *v, const struct jval **out, size_t *n)
{
    struct jval *keys;

    *n = 0;
    *out = NULL;
    switch (v->type) {
    case JV_UNDEF: return true;
    case JV_LIST:
    case JV_TUPLE:
        *out = v->list->v;
        *n = v->list->n;
        return true;
    case JV_STR: return characters(m, v, out, n);
    case JV_DICT:
        if (v->dict->n == 0) return true;
        keys = JINJA_NEW(m, struct jval, v->dict->n);
        if (!keys) return false;
        for (size_t i = 0; i < v->dict->n; i++)
            keys[i] = v->dict->v[i].key;
        *out = keys;
        *n = v->dict->n;
        return true;
    default: return JFAIL(m, "'%s' object is not iterable", jinja_type_name(v));
    }
}

/* ---- dicts ---- */

bool jinja_dict(struct jmach *m, enum jtype type, struct jval *out)
{
    struct jdict *d = JINJA_NEW(m, struct jdict, 1);

    *out = (struct jval){.type = (uint8_t)type, .dict = d};
    return d != NULL;
}

static uint64_t hash(const struct jval *v)
{
    uint64_t h = 7;
    double d;

    if (v->type == JV_STR) return str_hash(jinja_view(v));
    if (jinja_is_num(v)) {
        d = jinja_as_num(v) + 0.0; /* both zeros are one key */
        if (d == 0) d = 0;
        memcpy(&h, &d, sizeof h);
        return (h ^ h >> 32) * 0x9E3779B97F4A7C15u >> 7;
    }
    if (v->type == JV_TUPLE) {
        for (size_t i = 0; i < v->list->n && i < 8; i++) {
            const struct jval *item = &v->list->v[i];
            h = h * 31 + (item->type == JV_TUPLE ? 1 : hash(item));
        }
    }
    return h;
}

static bool build_index(struct jmach *m, struct jdict *d)
{
    size_t n = d->size * 2;

    while (n & (n - 1))
        n += n & (~n + 1); /* up to a power of two */
    d->index = JINJA_NEW(m, uint32_t, n);
    if (!d->index) return false;
    d->n_index = n;
    for (size_t i = 0; i < d->n; i++) {
        size_t at = hash(&d->v[i].key) & (n - 1);

        while (d->index[at])
            at = (at + 1) & (n - 1);
        d->index[at] = (uint32_t)i + 1;
    }
    return true;
}

struct jval *jinja_dict_get(struct jmach *m, const struct jdict *d, const struct jval *key)
{
    bool same;

    if (!d->index) {
        for (size_t i = 0; i < d->n; i++) {
            if (jinja_equal(m, &d->v[i].key, key, &same) && same) return &d->v[i].value;
        }
        return NULL;
    }
    for (size_t at = hash(key) & (d->n_index - 1); d->index[at]; at = (at + 1) & (d->n_index - 1)) {
        struct jentry *e = &d->v[d->index[at] - 1];

        if (!jinja_step(m, 1)) return NULL;
        if (jinja_equal(m, &e->key, key, &same) && same) return &e->value;
    }
    return NULL;
}

bool jinja_dict_set(struct jmach *m, struct jdict *d, struct jval key, struct jval value)
{
    struct jval *old;

    if (key.type == JV_LIST || key.type == JV_DICT || key.type == JV_NS)
        return JFAIL(m, "unhashable type: '%s'", jinja_type_name(&key));
    old = jinja_dict_get(m, d, &key);
    if (old) {
        *old = value;
        return true;
    }
    if (m->err) return false;
    if (d->n == d->size) {
        size_t size = d->size ? d->size * 2 : 4;
        struct jentry *grown = JINJA_NEW(m, struct jentry, size);

        if (!grown) return false;
        if (d->n) memcpy(grown, d->v, d->n * sizeof *grown);
        d->v = grown;
        d->size = size;
        d->index = NULL;
    }
    d->v[d->n++] = (struct jentry){key, value};
    if (d->n < INDEX_FROM) return true;
    if (!d->index) return build_index(m, d);
    size_t at = hash(&key) & (d->n_index - 1);
    while (d->index[at])
        at = (at + 1) & (d->n_index - 1);
    d->index[at] = (uint32_t)d->n;
    return true;
}
