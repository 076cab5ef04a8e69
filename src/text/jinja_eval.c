/* jinja_eval: evaluates expressions.
 *
 * A recursive walk of the tree; every step is counted and the depth of the C stack is capped, so
 * any tree ends. Members follow Jinja2: `a.b` looks for a method of Python's type first and for a
 * key then, `a['b']` the other way round; what is not there is Undefined, and using that is an
 * error.
 *
 * Left out: methods that change a value, which transformers' sandbox refuses as well.
 */
#include "text/jinja_int.h"

#include <math.h>
#include <string.h>

/* ---- names and members ---- */

struct jval jinja_lookup(struct jmach *m, uint32_t sym)
{
    for (struct jscope *s = m->scope; s; s = s->up) {
        for (size_t i = s->n; i-- > 0;) {
            if (s->v[i].sym == sym) return s->v[i].v;
        }
    }
    return m->globals[sym];
}

static bool loop_attr(const struct jloop *l, str name, struct jval *out)
{
    const struct {
        const char *name;
        size_t value;
    } numbers[] = {
        {"index", l->at + 1},       {"index0", l->at},
        {"revindex", l->n - l->at}, {"revindex0", l->n - l->at - 1},
        {"length", l->n},           {"depth", l->depth + 1},
        {"depth0", l->depth},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!str_eqc(name, numbers[i].name)) continue;
        *out = jinja_int((int64_t)numbers[i].value);
        return true;
    }
    if (str_eqc(name, "first"))
        *out = jinja_bool(l->at == 0);
    else if (str_eqc(name, "last"))
        *out = jinja_bool(l->at + 1 == l->n);
    else if (str_eqc(name, "previtem") && l->at > 0)
        *out = l->items[l->at - 1];
    else if (str_eqc(name, "nextitem") && l->at + 1 < l->n)
        *out = l->items[l->at + 1];
    else
        return false;
    return true;
}

static bool method(struct jmach *m, const struct jval *v, str name, struct jval *out)
{
    const struct jbuiltin *row = jinja_find_method(v, name);
    struct jmethod *f;

    if (!row) return false;
    f = JINJA_NEW(m, struct jmethod, 1);
    if (!f) return false;
    f->self = *v;
    f->row = row;
    *out = (struct jval){.type = JV_METHOD, .method = f};
    return true;
}

bool jinja_attr(struct jmach *m, const struct jval *v, const struct jval *name, bool key_first,
                struct jval *out)
{
    str s = jinja_view(name);
    bool keyed = v->type == JV_DICT || v->type == JV_NS;
    const struct jval *hit =
        keyed && (key_first || v->type == JV_NS) ? jinja_dict_get(m, v->dict, name) : NULL;

    if (v->type == JV_UNDEF) return jinja_undefined(m, v);
    if (hit) {
        *out = *hit;
        return true;
    }
    if (v->type == JV_LOOP && loop_attr(v->loop, s, out)) return true;
    if (v->type == JV_TUPLE && v->of && (str_eqc(s, "grouper") || str_eqc(s, "list"))) {
        *out = v->list->v[str_eqc(s, "list")];
        return true;
    }
    if (v->type == JV_OBJECT && v->object->is_cycler && str_eqc(s, "current")) {
        *out = v->object->items.v[v->object->at];
        return true;
    }
    if (v->type == JV_MACRO && str_eqc(s, "name")) {
        *out = jinja_s(v->macro->node->s);
        return true;
    }
    if (method(m, v, s, out)) return true;
    if (m->err) return false;
    if (keyed && !key_first && (hit = jinja_dict_get(m, v->dict, name)) != NULL) {
        *out = *hit;
        return true;
    }
    *out = jinja_undef(s, (enum jtype)v->type);
    return !m->err;
}

/* A whole number of any type that Python takes as an index. */
static bool is_index(const struct jval *v, int64_t *i)
{
    if (v->type != JV_INT && v->type != JV_BOOL) return false;
    *i = v->type == JV_BOOL ? v->b : v->i;
    return true;
}

static bool item_at(struct jmach *m, const struct jval *v, int64_t i, struct jval *out)
{
    size_t n;

    if (!jinja_length(m, v, &n)) return false;
    if (i < 0) i += (int64_t)n;
    if (i < 0 || i >= (int64_t)n) {
        *out = jinja_undef(S("that element"), (enum jtype)v->type);
        return true;
    }
    if (v->type == JV_STR) {
        size_t from = jinja_char_at(jinja_view(v), (size_t)i);
        size_t to = from + jinja_char_at(str_sub(jinja_view(v), from, SIZE_MAX), 1);

        *out = jinja_cut(v, from, to);
        return true;
    }
    *out = v->list->v[i];
    return true;
}

bool jinja_subscript(struct jmach *m, const struct jval *v, const struct jval *key,
                     struct jval *out)
{
    const struct jval *hit;
    struct jval text;
    int64_t i;

    if (v->type == JV_UNDEF) return jinja_undefined(m, v);
    if (key->type == JV_STR) return jinja_attr(m, v, key, true, out);
    if ((v->type == JV_LIST || v->type == JV_TUPLE || v->type == JV_STR) && is_index(key, &i))
        return item_at(m, v, i, out);
    if (v->type == JV_DICT && (hit = jinja_dict_get(m, v->dict, key)) != NULL) {
        *out = *hit;
        return true;
    }
    if (!jinja_str(m, key, &text)) return false;
    *out = jinja_undef(jinja_view(&text), (enum jtype)v->type);
    return !m->err;
}

/* One bound of a slice; absent and None give `dflt`. */
static bool bound(struct jmach *m, const struct jnode *n, int64_t dflt, bool *given, int64_t *out)
{
    struct jval v = {.type = JV_NONE};

    if (n && !jinja_eval(m, n, &v)) return false;
    *out = dflt;
    *given = v.type != JV_NONE;
    if (!*given || is_index(&v, out)) return true;
    return JFAIL(m, "slice indices must be integers or None");
}

static int64_t clamp(int64_t i, int64_t n, int64_t lo, int64_t hi)
{
    if (i < 0) i = i < -n ? lo : i + n;
    return i < lo ? lo : i > hi ? hi : i;
}

/* Characters from..to of a string whose step is 1 stay a view. */
static bool slice_string(struct jmach *m, const struct jval *v, int64_t from, int64_t to,
                         int64_t step, struct jval *out)
{
    str s = jinja_view(v);
    const struct jval *chars;
    struct jbuild b = {.m = m};
    size_t n;

    if (step == 1) {
        size_t at = jinja_char_at(s, (size_t)from);
        size_t end =
            from < to ? at + jinja_char_at(str_sub(s, at, SIZE_MAX), (size_t)(to - from)) : at;

        *out = jinja_cut(v, at, end);
        return true;
    }
    if (!jinja_items(m, v, &chars, &n)) return false;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        if (!jinja_putv(&b, &chars[i])) return false;
    }
    *out = jinja_built(&b);
    return true;
}

static bool slice(struct jmach *m, const struct jval *v, const struct jnode *n, struct jval *out)
{
    bool has_from, has_to, has_step;
    int64_t from, to, step, size;
    size_t len;

    if (v->type == JV_UNDEF) return jinja_undefined(m, v);
    if (v->type != JV_STR && v->type != JV_LIST && v->type != JV_TUPLE)
        return JFAIL(m, "'%s' object cannot be sliced", jinja_type_name(v));
    if (!bound(m, n->a, 0, &has_from, &from) || !bound(m, n->b, 0, &has_to, &to) ||
        !bound(m, n->c, 1, &has_step, &step) || !jinja_length(m, v, &len))
        return false;
    size = (int64_t)len;
    if (step == 0) return JFAIL(m, "slice step cannot be zero");
    if (step > size + 1) step = size + 1; /* the same items, and no overflow */
    if (step < -size - 1) step = -size - 1;
    if (step > 0) {
        from = has_from ? clamp(from, size, 0, size) : 0;
        to = has_to ? clamp(to, size, 0, size) : size;
    } else {
        from = has_from ? clamp(from, size, -1, size - 1) : size - 1;
        to = has_to ? clamp(to, size, -1, size - 1) : -1;
    }
    if (v->type == JV_STR) return slice_string(m, v, from, to, step, out);
    if (!jinja_list(m, (enum jtype)v->type, 0, out)) return false;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        if (!jinja_step(m, 1) || !jinja_push(m, out->list, v->list->v[i])) return false;
    }
    return true;
}

/* ---- operators ---- */

static bool overflow(struct jmach *m)
{
    return JFAIL(m, "an integer grew beyond 64 bits");
}

static bool divide(struct jmach *m, int op, const struct jval *a, const struct jval *b,
                   struct jval *out)
{
    double x = jinja_as_num(a), y = jinja_as_num(b);

    if (y == 0) return JFAIL(m, "division by zero");
    if (op == '/') {
        *out = jinja_num(x / y);
    } else if (a->type == JV_FLOAT || b->type == JV_FLOAT) {
        double rest = fmod(x, y);

        if (rest != 0 && (rest < 0) != (y < 0)) rest += y;
        *out = jinja_num(op == '%' ? rest : floor((x - rest) / y + 0.5));
    } else {
        int64_t i = a->type == JV_BOOL ? a->b : a->i, j = b->type == JV_BOOL ? b->b : b->i, q, r;

        if (j == -1) { /* INT64_MIN / -1 traps */
            if (i == INT64_MIN) return overflow(m);
            *out = jinja_int(op == '%' ? 0 : -i);
            return true;
        }
        q = i / j;
        r = i % j;
        if (r != 0 && (r < 0) != (j < 0)) {
            q--;
            r += j;
        }
        *out = jinja_int(op == '%' ? r : q);
    }
    return true;
}

static bool power(struct jmach *m, const struct jval *a, const struct jval *b, struct jval *out)
{
    int64_t base, exp, r = 1;

    if (!is_index(a, &base) || !is_index(b, &exp) || exp < 0) {
        *out = jinja_num(pow(jinja_as_num(a), jinja_as_num(b)));
        return true;
    }
    for (; exp > 0; exp >>= 1) {
        if ((exp & 1) && __builtin_mul_overflow(r, base, &r)) return overflow(m);
        if (exp > 1 && __builtin_mul_overflow(base, base, &base)) return overflow(m);
    }
    *out = jinja_int(r);
    return true;
}

static bool arithmetic(struct jmach *m, int op, const struct jval *a, const struct jval *b,
                       struct jval *out)
{
    int64_t i, j, r = 0;

    if (op == '/' || op == '%' || op == JOP('/', '/')) return divide(m, op, a, b, out);
    if (op == JOP('*', '*')) return power(m, a, b, out);
    if (!is_index(a, &i) || !is_index(b, &j)) {
        double x = jinja_as_num(a), y = jinja_as_num(b);

        *out = jinja_num(op == '+' ? x + y : op == '-' ? x - y : x * y);
        return true;
    }
    if (op == '+'   ? __builtin_add_overflow(i, j, &r)
        : op == '-' ? __builtin_sub_overflow(i, j, &r)
                    : __builtin_mul_overflow(i, j, &r))
        return overflow(m);
    *out = jinja_int(r);
    return true;
}

static bool join_lists(struct jmach *m, const struct jval *a, const struct jval *b,
                       struct jval *out)
{
    size_t n = a->list->n + b->list->n;

    if (!jinja_step(m, n / 8) || !jinja_list(m, (enum jtype)a->type, n, out)) return false;
    if (a->list->n) memcpy(out->list->v, a->list->v, a->list->n * sizeof *out->list->v);
    if (b->list->n)
        memcpy(out->list->v + a->list->n, b->list->v, b->list->n * sizeof *out->list->v);
    out->list->n = n;
    return true;
}

static bool repeat(struct jmach *m, const struct jval *v, int64_t times, struct jval *out)
{
    struct jbuild b = {.m = m};

    if (v->type != JV_STR && !jinja_list(m, (enum jtype)v->type, 0, out)) return false;
    if (v->type == JV_STR ? v->n == 0 : v->list->n == 0) times = 0;
    for (int64_t i = 0; i < times; i++) {
        if (!jinja_step(m, 1)) return false;
        if (v->type == JV_STR && !jinja_putv(&b, v)) return false;
        for (size_t k = 0; v->type != JV_STR && k < v->list->n; k++) {
            if (!jinja_step(m, 1) || !jinja_push(m, out->list, v->list->v[k])) return false;
        }
    }
    if (v->type == JV_STR) {
        *out = jinja_built(&b);
        out->of = v->of;
    }
    return true;
}

static bool is_sequence(const struct jval *v)
{
    return v->type == JV_STR || v->type == JV_LIST || v->type == JV_TUPLE;
}

/* As markupsafe: when one side is safe for HTML the other is escaped. */
static bool add_strings(struct jmach *m, const struct jval *a, const struct jval *b,
                        struct jval *out)
{
    struct jval x, y;

    if (!a->of && !b->of) return jinja_concat(m, a, b, out);
    if (!jinja_escape(m, a, &x) || !jinja_escape(m, b, &y) || !jinja_concat(m, &x, &y, out))
        return false;
    out->of = 1;
    return true;
}

bool jinja_binary(struct jmach *m, int op, const struct jval *a, const struct jval *b,
                  struct jval *out)
{
    struct jval x, y;
    int64_t times;

    if (op == '~')
        return jinja_str(m, a, &x) && jinja_str(m, b, &y) && jinja_concat(m, &x, &y, out);
    if (jinja_is_num(a) && jinja_is_num(b)) return arithmetic(m, op, a, b, out);
    if (a->type == JV_UNDEF) return jinja_undefined(m, a);
    if (op == '%' && a->type == JV_STR) return jinja_format(m, a, b, out);
    if (b->type == JV_UNDEF) return jinja_undefined(m, b);
    if (op == '+' && a->type == JV_STR && b->type == JV_STR) return add_strings(m, a, b, out);
    if (op == '+' && a->type == b->type && (a->type == JV_LIST || a->type == JV_TUPLE))
        return join_lists(m, a, b, out);
    if (op == '*' && is_sequence(a) && is_index(b, &times)) return repeat(m, a, times, out);
    if (op == '*' && is_sequence(b) && is_index(a, &times)) return repeat(m, b, times, out);
    if (op == '+' && a->type == JV_STR)
        return JFAIL(m, "can only concatenate str (not \"%s\") to str", jinja_type_name(b));
    return JFAIL(m, "unsupported operand types for %c%.1s: '%s' and '%s'", op & 0xFF,
                 (const char[]){(char)(op >> 8), 0}, jinja_type_name(a), jinja_type_name(b));
}

bool jinja_compare_op(struct jmach *m, int op, const struct jval *a, const struct jval *b,
                      bool *out)
{
    int c;

    switch (op) {
    case JOP('=', '='): return jinja_equal(m, a, b, out);
    case 'i': return jinja_contains(m, b, a, out);
    case JOP('!', '='):
    case 'n':
        if (!(op == 'n' ? jinja_contains(m, b, a, out) : jinja_equal(m, a, b, out))) return false;
        *out = !*out;
        return true;
    default: break;
    }
    if (!jinja_order(m, a, b, &c)) return false;
    if (c == 2) /* not a number */
        *out = false;
    else
        *out = op == '<' ? c < 0 : op == '>' ? c > 0 : op == JOP('<', '=') ? c <= 0 : c >= 0;
    return true;
}

static bool compare(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jval left, right;
    bool holds = true;

    if (!jinja_eval(m, n->a, &left)) return false;
    for (const struct jnode *o = n->list; o && holds; o = o->next) {
        if (!jinja_eval(m, o->a, &right) || !jinja_compare_op(m, o->op, &left, &right, &holds))
            return false;
        left = right;
    }
    *out = jinja_bool(holds);
    return true;
}

static bool unary(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jval v;

    if (!jinja_eval(m, n->a, &v)) return false;
    if (v.type == JV_UNDEF) return jinja_undefined(m, &v);
    if (!jinja_is_num(&v))
        return JFAIL(m, "bad operand type for unary %c: '%s'", n->op, jinja_type_name(&v));
    if (v.type == JV_FLOAT)
        *out = jinja_num(n->op == '-' ? -v.d : v.d);
    else
        return arithmetic(m, n->op, &(struct jval){.type = JV_INT}, &v, out);
    return true;
}

/* ---- literals ---- */

static bool sequence(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jval v;

    if (!jinja_list(m, n->kind == JN_LIST ? JV_LIST : JV_TUPLE, 0, out)) return false;
    for (const struct jnode *i = n->list; i; i = i->next) {
        if (!jinja_eval(m, i, &v) || !jinja_push(m, out->list, v)) return false;
    }
    return true;
}

static bool dict(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jval key, value;

    if (!jinja_dict(m, JV_DICT, out)) return false;
    for (const struct jnode *i = n->list; i; i = i->next) {
        if (!jinja_eval(m, i->a, &key) || !jinja_eval(m, i->b, &value) ||
            !jinja_dict_set(m, out->dict, key, value))
            return false;
    }
    return true;
}

/* ---- calls ---- */

bool jinja_add_kw(struct jmach *m, struct jargs *a, str name, struct jval v)
{
    struct jkw *grown;

    for (size_t i = 0; i < a->n_kw; i++) {
        if (str_eq(a->kw[i].name, name))
            return JFAIL(m, "the keyword argument '%.*s' is given twice", STR(name));
    }
    if (a->n_kw >= 256) return JFAIL(m, "more than 256 keyword arguments");
    /* Room for 4, 8, 16, ...: reached exactly when the count is one of them. */
    if (a->n_kw == 0 || (a->n_kw >= 4 && (a->n_kw & (a->n_kw - 1)) == 0)) {
        grown = JINJA_NEW(m, struct jkw, a->n_kw ? a->n_kw * 2 : 4);
        if (!grown) return false;
        if (a->n_kw) memcpy(grown, a->kw, a->n_kw * sizeof *grown);
        a->kw = grown;
    }
    a->kw[a->n_kw++] = (struct jkw){name, v};
    return true;
}

static bool spread(struct jmach *m, struct jargs *a, struct jlist *pos, const struct jnode *n)
{
    const struct jval *items;
    struct jval v;
    size_t count;

    if (!jinja_eval(m, n->b, &v)) return false;
    if (n->sym == 0) {
        if (!jinja_items(m, &v, &items, &count)) return false;
        for (size_t i = 0; i < count; i++) {
            if (!jinja_step(m, 1) || !jinja_push(m, pos, items[i])) return false;
        }
        return true;
    }
    if (v.type != JV_DICT)
        return JFAIL(m, "an argument after ** must be a dict, not %s", jinja_type_name(&v));
    for (size_t i = 0; i < v.dict->n; i++) {
        if (v.dict->v[i].key.type != JV_STR) return JFAIL(m, "keywords must be strings");
        if (!jinja_add_kw(m, a, jinja_view(&v.dict->v[i].key), v.dict->v[i].value)) return false;
    }
    return true;
}

bool jinja_args(struct jmach *m, const struct jnode *list, struct jargs *out)
{
    struct jlist pos = {0};
    struct jval v;

    *out = (struct jargs){0};
    for (const struct jnode *n = list; n; n = n->next) {
        if (n->kind == JN_STAR) {
            if (!spread(m, out, &pos, n)) return false;
        } else if (n->kind == JN_PAIR) {
            if (!jinja_eval(m, n->b, &v) || !jinja_add_kw(m, out, n->s, v)) return false;
        } else {
            if (!jinja_eval(m, n, &v) || !jinja_push(m, &pos, v)) return false;
        }
    }
    out->pos = pos.v;
    out->n = pos.n;
    return true;
}

static bool call_object(struct jmach *m, struct jobject *o, struct jval *out)
{
    (void)m;
    *out = o->used ? o->sep : jinja_lit("");
    o->used = true;
    return true;
}

bool jinja_call(struct jmach *m, const struct jval *f, const struct jargs *a, struct jval *out)
{
    switch (f->type) {
    case JV_UNDEF: return jinja_undefined(m, f);
    case JV_FUNC: return jinja_run_builtin(m, &jinja_global_table[f->i], f, a, out);
    case JV_METHOD: return jinja_run_builtin(m, f->method->row, &f->method->self, a, out);
    case JV_MACRO: return jinja_run_macro(m, f->macro, a, out);
    case JV_LOOP:
        if (f->loop->again) return jinja_loop_again(m, f->loop->again, a, out);
        return JFAIL(m, "the loop is called but not marked as recursive");
    case JV_OBJECT:
        if (!f->object->is_cycler) return call_object(m, f->object, out);
        break;
    default: break;
    }
    return JFAIL(m, "'%s' object is not callable", jinja_type_name(f));
}

static bool call(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jargs a;
    struct jval f;

    if (!jinja_eval(m, n->a, &f) || !jinja_args(m, n->list, &a)) return false;
    m->line = n->line;
    return jinja_call(m, &f, &a, out);
}

static bool filter(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jargs a;
    struct jval in;

    if (n->a) {
        if (!jinja_eval(m, n->a, &in)) return false;
    } else {
        in = *m->filter_in;
    }
    if (!jinja_args(m, n->list, &a)) return false;
    m->line = n->line;
    if (n->sym == UINT32_MAX) return JFAIL(m, "no filter named '%.*s'", STR(n->s));
    return jinja_run_builtin(m, &jinja_filter_table[n->sym], &in, &a, out);
}

static bool test(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jargs a;
    struct jval in;

    if (!jinja_eval(m, n->a, &in) || !jinja_args(m, n->list, &a)) return false;
    if (n->sym == UINT32_MAX) return JFAIL(m, "no test named '%.*s'", STR(n->s));
    if (!jinja_run_builtin(m, &jinja_test_table[n->sym], &in, &a, out)) return false;
    *out = jinja_bool(jinja_truth(out) != (n->op == 'n'));
    return true;
}

/* ---- the walk ---- */

static bool two(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jval a, b;

    if (!jinja_eval(m, n->a, &a)) return false;
    if (n->kind == JN_ITEM && n->b->kind == JN_SLICE) return slice(m, &a, n->b, out);
    if (!jinja_eval(m, n->b, &b)) return false;
    m->line = n->line;
    return n->kind == JN_ITEM ? jinja_subscript(m, &a, &b, out)
                              : jinja_binary(m, n->op, &a, &b, out);
}

static bool member(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jval a;

    if (!jinja_eval(m, n->a, &a)) return false;
    m->line = n->line;
    return jinja_attr(m, &a, &n->value, false, out);
}

static bool choose(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jval c;

    if (!jinja_eval(m, n->b, &c)) return false;
    if (jinja_truth(&c)) return jinja_eval(m, n->a, out);
    if (n->c) return jinja_eval(m, n->c, out);
    *out = jinja_undef(S("the value of an 'if' without 'else'"), JV_ABSENT);
    return true;
}

static bool eval(struct jmach *m, const struct jnode *n, struct jval *out)
{
    switch ((enum jnode_kind)n->kind) {
    case JN_CONST: *out = n->value; return true;
    case JN_NAME:
        *out = jinja_lookup(m, n->sym);
        if (out->type == JV_ABSENT) *out = jinja_undef(n->s, JV_ABSENT);
        return true;
    case JN_LIST:
    case JN_TUPLE: return sequence(m, n, out);
    case JN_DICT: return dict(m, n, out);
    case JN_UNARY: return unary(m, n, out);
    case JN_ITEM:
    case JN_BINARY: return two(m, n, out);
    case JN_AND:
    case JN_OR:
        if (!jinja_eval(m, n->a, out)) return false;
        return jinja_truth(out) == (n->kind == JN_OR) || jinja_eval(m, n->b, out);
    case JN_NOT:
        if (!jinja_eval(m, n->a, out)) return false;
        *out = jinja_bool(!jinja_truth(out));
        return true;
    case JN_CMP: return compare(m, n, out);
    case JN_COND: return choose(m, n, out);
    case JN_ATTR: return member(m, n, out);
    case JN_CALL: return call(m, n, out);
    case JN_FILTER: return filter(m, n, out);
    case JN_TEST: return test(m, n, out);
    default: return JFAIL(m, "an expression of an unknown kind");
    }
}

bool jinja_eval(struct jmach *m, const struct jnode *n, struct jval *out)
{
    bool good;

    m->line = n->line;
    if (m->depth >= JINJA_DEPTH_MAX)
        return jinja_fail(m, ERR_LIMIT, "nested more than %d levels deep", JINJA_DEPTH_MAX);
    if (!jinja_step(m, 1)) return false;
    m->depth++;
    good = eval(m, n, out);
    m->depth--;
    return good && !m->err;
}
