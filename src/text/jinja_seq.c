/* jinja_seq: filters of sequences.
 *
 * What Python gives as a generator is a list here. Sorting is a stable merge sort over precomputed
 * keys; strings compare without case unless asked otherwise, as Jinja2 has it.
 *
 * Left out: several attributes in one sort ("a,b").
 */
#include "text/jinja_int.h"

#include <string.h>

/* The member of `item` by a dotted path or an index; `item` itself without one. */
static bool member(struct jmach *m, const struct jval *item, const struct jval *path,
                   struct jval *out)
{
    str rest = jinja_view(path);
    int64_t i;

    *out = *item;
    if (!jinja_given(path)) return true;
    if (path->type == JV_INT) return jinja_subscript(m, item, path, out);
    if (path->type != JV_STR) return JFAIL(m, "an attribute is a name or an index");
    while (rest.p) {
        str part = str_cut(rest, '.', &rest);
        struct jval key = str_int(part, &i) ? jinja_int(i) : jinja_s(part), next;

        if (!jinja_subscript(m, out, &key, &next)) return false;
        *out = next;
    }
    return true;
}

/* What an item is sorted by: its member, strings in lower case unless `exact`. */
static bool sort_key(struct jmach *m, const struct jval *item, const struct jval *path, bool exact,
                     struct jval *out)
{
    struct jval v;

    if (!member(m, item, path, &v)) return false;
    if (v.type == JV_STR && !exact) return jinja_case(m, &v, JCASE_LOWER, out);
    *out = v;
    return true;
}

/* ---- ends, length, text ---- */

JBUILTIN(jinja_seq_length)
{
    size_t n;

    (void)v, (void)a;
    if (!jinja_length(m, self, &n)) return false;
    *out = jinja_int((int64_t)n);
    return true;
}

static bool end_of(struct jmach *m, const struct jval *self, bool last, struct jval *out)
{
    const struct jval *items;
    size_t n;

    if (!jinja_items(m, self, &items, &n)) return false;
    *out = n ? items[last ? n - 1 : 0] : jinja_undef(S("the item of an empty sequence"), JV_ABSENT);
    return true;
}

JBUILTIN(jinja_seq_first)
{
    (void)v, (void)a;
    return end_of(m, self, false, out);
}

JBUILTIN(jinja_seq_last)
{
    (void)v, (void)a;
    return end_of(m, self, true, out);
}

JBUILTIN(jinja_seq_join)
{
    struct jbuild b = {.m = m};
    const struct jval *items;
    struct jval item, sep = jinja_lit("");
    size_t n;

    (void)a;
    if (!jinja_items(m, self, &items, &n) || (v[0].type && !jinja_str(m, &v[0], &sep)))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!jinja_step(m, 1) || !member(m, &items[i], &v[1], &item) ||
            (i && !jinja_putv(&b, &sep)) || !jinja_show(&b, &item, false))
            return false;
    }
    *out = jinja_built(&b);
    return true;
}

static bool copy_list(struct jmach *m, const struct jval *self, struct jval *out)
{
    const struct jval *items;
    size_t n;

    if (!jinja_items(m, self, &items, &n) || !jinja_step(m, n / 8) ||
        !jinja_list(m, JV_LIST, n, out))
        return false;
    if (n) memcpy(out->list->v, items, n * sizeof *items);
    out->list->n = n;
    return true;
}

JBUILTIN(jinja_seq_list)
{
    (void)v, (void)a;
    return copy_list(m, self, out);
}

JBUILTIN(jinja_seq_reverse)
{
    struct jbuild b = {.m = m};
    struct jlist *l;

    (void)v, (void)a;
    if (!copy_list(m, self, out)) return false;
    l = out->list;
    for (size_t i = 0, j = l->n; i + 1 < j--; i++) {
        struct jval swap = l->v[i];
        l->v[i] = l->v[j];
        l->v[j] = swap;
    }
    if (self->type != JV_STR) return true;
    for (size_t i = 0; i < l->n; i++) {
        if (!jinja_putv(&b, &l->v[i])) return false;
    }
    *out = jinja_built(&b);
    return true;
}

JBUILTIN(jinja_seq_items)
{
    struct jargs none = {0};

    (void)v, (void)a;
    if (self->type == JV_UNDEF) return jinja_list(m, JV_LIST, 0, out);
    if (self->type != JV_DICT)
        return JFAIL(m, "items needs a mapping, not %s", jinja_type_name(self));
    return jinja_run_builtin(m, jinja_find_method(self, S("items")), self, &none, out);
}

/* ---- sorting ---- */

struct sorter {
    struct jmach *m;
    struct jval *keys;
    size_t *order, *tmp;
    bool reverse;
};

/* Merges the sorted runs [from, mid) and [mid, to). A reversed sort keeps equals in order too. */
static bool merge(struct sorter *s, size_t from, size_t mid, size_t to)
{
    size_t i = from, j = mid, w = from;

    while (i < mid && j < to) {
        int c;

        if (!jinja_step(s->m, 1) ||
            !jinja_order(s->m, &s->keys[s->order[i]], &s->keys[s->order[j]], &c))
            return false;
        s->tmp[w++] = (s->reverse ? c < 0 : c > 0) ? s->order[j++] : s->order[i++];
    }
    while (i < mid)
        s->tmp[w++] = s->order[i++];
    while (j < to)
        s->tmp[w++] = s->order[j++];
    memcpy(s->order + from, s->tmp + from, (to - from) * sizeof *s->order);
    return true;
}

/* Sorts items by keys of the same number. */
static bool sort(struct jmach *m, struct jval *items, struct jval *keys, size_t n, bool reverse)
{
    struct sorter s = {.m = m, .keys = keys, .reverse = reverse};
    struct jval *sorted;

    if (n == 0) return true;
    sorted = JINJA_NEW(m, struct jval, n);
    s.order = JINJA_NEW(m, size_t, n);
    s.tmp = JINJA_NEW(m, size_t, n);
    if (!sorted || !s.order || !s.tmp) return false;
    for (size_t i = 0; i < n; i++)
        s.order[i] = i;
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t from = 0; from + run < n; from += 2 * run) {
            if (!merge(&s, from, from + run, from + 2 * run < n ? from + 2 * run : n)) return false;
        }
    }
    for (size_t i = 0; i < n; i++)
        sorted[i] = items[s.order[i]];
    memcpy(items, sorted, n * sizeof *items);
    return true;
}

static bool sort_by(struct jmach *m, struct jlist *l, const struct jval *path, bool exact,
                    bool reverse)
{
    struct jval *keys = JINJA_NEW(m, struct jval, l->n);

    if (!keys) return false;
    for (size_t i = 0; i < l->n; i++) {
        if (!sort_key(m, &l->v[i], path, exact, &keys[i])) return false;
    }
    return sort(m, l->v, keys, l->n, reverse);
}

JBUILTIN(jinja_seq_sort)
{
    (void)a;
    return copy_list(m, self, out) &&
           sort_by(m, out->list, &v[2], jinja_truth(&v[1]), jinja_truth(&v[0]));
}

JBUILTIN(jinja_seq_dictsort)
{
    struct jval column = jinja_int(0);

    if (jinja_given(&v[1])) {
        if (v[1].type != JV_STR ||
            (!str_eqc(jinja_view(&v[1]), "key") && !str_eqc(jinja_view(&v[1]), "value")))
            return JFAIL(m, "you can only sort by either 'key' or 'value'");
        column.i = str_eqc(jinja_view(&v[1]), "value");
    }
    return jinja_seq_items(m, self, v, a, out) &&
           sort_by(m, out->list, &column, jinja_truth(&v[0]), jinja_truth(&v[2]));
}

static bool extreme(struct jmach *m, const struct jval *self, struct jval *v, int sign,
                    struct jval *out)
{
    const struct jval *items;
    struct jval best, key;
    size_t n, at = 0;
    int c;

    if (!jinja_items(m, self, &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (!jinja_step(m, 1) || !sort_key(m, &items[i], &v[1], jinja_truth(&v[0]), &key))
            return false;
        if (i && !jinja_order(m, &key, &best, &c)) return false;
        if (i && (c == 2 || c * sign <= 0)) continue;
        best = key;
        at = i;
    }
    *out = n ? items[at] : jinja_undef(S("the item of an empty sequence"), JV_ABSENT);
    return true;
}

JBUILTIN(jinja_seq_min)
{
    (void)a;
    return extreme(m, self, v, -1, out);
}

JBUILTIN(jinja_seq_max)
{
    (void)a;
    return extreme(m, self, v, 1, out);
}

JBUILTIN(jinja_seq_unique)
{
    const struct jval *items;
    struct jval seen, key;
    size_t n;

    (void)a;
    if (!jinja_items(m, self, &items, &n) || !jinja_dict(m, JV_DICT, &seen) ||
        !jinja_list(m, JV_LIST, 0, out))
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t before = seen.dict->n;

        if (!jinja_step(m, 1) || !sort_key(m, &items[i], &v[1], jinja_truth(&v[0]), &key) ||
            !jinja_dict_set(m, seen.dict, key, key))
            return false;
        if (seen.dict->n > before && !jinja_push(m, out->list, items[i])) return false;
    }
    return true;
}

JBUILTIN(jinja_seq_groupby)
{
    struct jval sorted, key, shown, last = {0}, group = {0}, pair;
    bool exact = jinja_truth(&v[2]), same;

    (void)a;
    if (!jinja_given(&v[0])) return JFAIL(m, "groupby needs an attribute");
    if (!copy_list(m, self, &sorted)) return false;
    struct jval *keys = JINJA_NEW(m, struct jval, sorted.list->n);
    if (!keys) return false;
    for (size_t i = 0; i < sorted.list->n; i++) {
        if (!sort_key(m, &sorted.list->v[i], &v[0], exact, &keys[i])) return false;
        if (keys[i].type == JV_UNDEF && v[1].type) keys[i] = v[1];
    }
    if (!sort(m, sorted.list->v, keys, sorted.list->n, false) || !jinja_list(m, JV_LIST, 0, out))
        return false;
    for (size_t i = 0; i < sorted.list->n; i++) {
        const struct jval *item = &sorted.list->v[i];

        if (!sort_key(m, item, &v[0], exact, &key) || !member(m, item, &v[0], &shown)) return false;
        if (key.type == JV_UNDEF && v[1].type) key = shown = v[1];
        same = false;
        if (last.type && !jinja_equal(m, &key, &last, &same)) return false;
        if (!same) {
            if (!jinja_list(m, JV_LIST, 0, &group) || !jinja_list(m, JV_TUPLE, 2, &pair) ||
                !jinja_push(m, pair.list, shown) || !jinja_push(m, pair.list, group))
                return false;
            pair.of = 1; /* .grouper and .list */
            if (!jinja_push(m, out->list, pair)) return false;
        }
        if (!jinja_push(m, group.list, *item)) return false;
        last = key;
    }
    return true;
}

/* ---- map, select, sum ---- */

/* As jinja_items(), and nothing for whatever is false: None has no items but may stand here. */
static bool items_or_none(struct jmach *m, const struct jval *v, const struct jval **items,
                          size_t *n)
{
    *n = 0;
    *items = NULL;
    return !jinja_truth(v) || jinja_items(m, v, items, n);
}

/* The arguments from the n-th on. */
static struct jargs args_from(const struct jargs *a, size_t n)
{
    struct jargs rest = *a;

    rest.pos += n;
    rest.n -= n;
    return rest;
}

JBUILTIN(jinja_seq_map)
{
    struct jargs rest;
    const struct jval *items;
    struct jval item, path = {0}, dflt = {0};
    size_t n;

    (void)v;
    if (!items_or_none(m, self, &items, &n) || !jinja_list(m, JV_LIST, n, out)) return false;
    for (size_t i = 0; a->n == 0 && i < a->n_kw; i++) {
        if (str_eqc(a->kw[i].name, "attribute"))
            path = a->kw[i].v;
        else if (str_eqc(a->kw[i].name, "default"))
            dflt = a->kw[i].v;
    }
    if (a->n == 0 && !jinja_given(&path)) return JFAIL(m, "map needs a filter or an attribute");
    if (a->n && a->pos[0].type != JV_STR) return JFAIL(m, "map needs the name of a filter");
    if (a->n) rest = args_from(a, 1);
    for (size_t i = 0; i < n; i++) {
        if (!jinja_step(m, 1)) return false;
        if (a->n ? !jinja_run_filter(m, jinja_view(&a->pos[0]), &items[i], &rest, &item)
                 : !member(m, &items[i], &path, &item))
            return false;
        if (item.type == JV_UNDEF && dflt.type) item = dflt;
        if (!jinja_push(m, out->list, item)) return false;
    }
    return true;
}

/* Items that pass (`want` true) or fail a test, on themselves or on a member. */
static bool choose(struct jmach *m, const struct jval *self, const struct jargs *a, bool by_member,
                   bool want, struct jval *out)
{
    size_t skip = by_member, n;
    struct jargs rest = {0};
    const struct jval *items, *path = a->pos;
    struct jval v;
    bool yes;

    if (by_member && a->n == 0) return JFAIL(m, "an attribute is needed");
    if (!items_or_none(m, self, &items, &n) || !jinja_list(m, JV_LIST, 0, out)) return false;
    if (a->n > skip && a->pos[skip].type != JV_STR) return JFAIL(m, "the name of a test is needed");
    if (a->n > skip) rest = args_from(a, skip + 1);
    for (size_t i = 0; i < n; i++) {
        v = items[i];
        if (!jinja_step(m, 1) || (by_member && !member(m, &items[i], path, &v))) return false;
        if (a->n == skip)
            yes = jinja_truth(&v);
        else if (!jinja_run_test(m, jinja_view(&a->pos[skip]), &v, &rest, &yes))
            return false;
        if (yes == want && !jinja_push(m, out->list, items[i])) return false;
    }
    return true;
}

JBUILTIN(jinja_seq_select)
{
    (void)v;
    return choose(m, self, a, false, true, out);
}

JBUILTIN(jinja_seq_reject)
{
    (void)v;
    return choose(m, self, a, false, false, out);
}

JBUILTIN(jinja_seq_selectattr)
{
    (void)v;
    return choose(m, self, a, true, true, out);
}

JBUILTIN(jinja_seq_rejectattr)
{
    (void)v;
    return choose(m, self, a, true, false, out);
}

JBUILTIN(jinja_seq_sum)
{
    const struct jval *items;
    struct jval item, total = v[1].type ? v[1] : jinja_int(0);
    size_t n;

    (void)a;
    if (!jinja_items(m, self, &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (!jinja_step(m, 1) || !member(m, &items[i], &v[0], &item) ||
            !jinja_binary(m, '+', &total, &item, out))
            return false;
        total = *out;
    }
    *out = total;
    return true;
}

/* ---- cutting ---- */

JBUILTIN(jinja_seq_batch)
{
    const struct jval *items;
    struct jval row = {0};
    int64_t width = 0;
    size_t n;

    (void)a;
    if (!jinja_want_int(m, &v[0], 0, &width) || !jinja_items(m, self, &items, &n) ||
        !jinja_list(m, JV_LIST, 0, out))
        return false;
    if (width <= 0 || width > 1000000) return JFAIL(m, "batch needs a positive number");
    for (size_t i = 0; i < n; i++) {
        if (i % (size_t)width == 0 &&
            (!jinja_list(m, JV_LIST, 0, &row) || !jinja_push(m, out->list, row)))
            return false;
        if (!jinja_step(m, 1) || !jinja_push(m, row.list, items[i])) return false;
    }
    while (n && jinja_given(&v[1]) && row.list->n < (size_t)width) {
        if (!jinja_step(m, 1) || !jinja_push(m, row.list, v[1])) return false;
    }
    return true;
}

JBUILTIN(jinja_seq_slice)
{
    const struct jval *items;
    struct jval row;
    int64_t slices = 0;
    size_t n, each, longer, at = 0;

    (void)a;
    if (!jinja_want_int(m, &v[0], 0, &slices) || !jinja_items(m, self, &items, &n) ||
        !jinja_list(m, JV_LIST, 0, out))
        return false;
    if (slices <= 0 || slices > 1000000) return JFAIL(m, "slice needs a positive number");
    each = n / (size_t)slices;
    longer = n % (size_t)slices;
    for (size_t i = 0; i < (size_t)slices; i++) {
        size_t count = each + (i < longer);

        if (!jinja_list(m, JV_LIST, count + 1, &row) || !jinja_step(m, 1 + count)) return false;
        for (size_t k = 0; k < count; k++) {
            if (!jinja_push(m, row.list, items[at++])) return false;
        }
        if (jinja_given(&v[1]) && i >= longer && longer && !jinja_push(m, row.list, v[1]))
            return false;
        if (!jinja_push(m, out->list, row)) return false;
    }
    return true;
}
