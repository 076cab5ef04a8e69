/* jinja_run: runs statements; the machine.
 *
 * Scopes are Jinja2's: a for-loop, a macro, a `with` and a call block have their own, an `if` has
 * not, and a name set inside a scope is gone after it. A macro sees the names of the place where it
 * was defined. What runs writes to the machine's current output, which macros and block assignments
 * replace for their time.
 *
 * Invariant: a function that returns false has left its reason in m->err and *m->e.
 */
#include "text/jinja_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- the machine ---- */

bool jinja_fail(struct jmach *m, enum err code, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;

    if (m->err) return false;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    m->err = err_fail(m->e, code, __FILE__, __LINE__, "chat template, line %u: %s", m->line, text);
    return false;
}

bool jinja_step(struct jmach *m, size_t n)
{
    m->steps += n;
    if (m->steps <= LIMIT_TEMPLATE_STEPS) return !m->err;
    return jinja_fail(m, ERR_LIMIT, "more than %d steps", LIMIT_TEMPLATE_STEPS);
}

void *jinja_alloc(struct jmach *m, size_t count, size_t n)
{
    size_t left = m->a->cap - m->a->used;
    void *p = NULL;

    if (m->a->used - m->arena_from <= LIMIT_TEMPLATE_ARENA && count <= LIMIT_TEMPLATE_ARENA &&
        n * count <= LIMIT_TEMPLATE_ARENA) {
        p = arena_array(m->a, count ? count : 1, n, n == 1 ? 1 : 16);
        if (!p && n * count + 16 < left) {
            jinja_fail(m, ERR_NOMEM, "no memory");
            return NULL;
        }
    }
    if (!p) jinja_fail(m, ERR_LIMIT, "more than %zu bytes of memory", LIMIT_TEMPLATE_ARENA);
    return p;
}

/* ---- names ---- */

bool jinja_bind(struct jmach *m, struct jscope *s, uint32_t sym, struct jval v)
{
    if (!s) {
        m->globals[sym] = v;
        return true;
    }
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].sym != sym) continue;
        s->v[i].v = v;
        return true;
    }
    if (s->n == s->size) {
        size_t size = s->size ? s->size * 2 : 4;
        struct jbind *grown = JINJA_NEW(m, struct jbind, size);

        if (!grown) return false;
        if (s->n) memcpy(grown, s->v, s->n * sizeof *grown);
        s->v = grown;
        s->size = size;
    }
    s->v[s->n++] = (struct jbind){sym, v};
    return true;
}

static bool unpack(struct jmach *m, const struct jnode *target, const struct jval *v)
{
    const struct jval *items;
    size_t n, want = 0;

    for (const struct jnode *t = target->list; t; t = t->next)
        want++;
    if (!jinja_items(m, v, &items, &n)) return false;
    if (n != want) return JFAIL(m, "%zu values for %zu names", n, want);
    for (const struct jnode *t = target->list; t; t = t->next) {
        if (!jinja_assign(m, t, items++)) return false;
    }
    return true;
}

bool jinja_assign(struct jmach *m, const struct jnode *target, const struct jval *v)
{
    struct jval ns;

    if (target->kind == JN_NAME) return jinja_bind(m, m->scope, target->sym, *v);
    if (target->kind == JN_TUPLE) return unpack(m, target, v);
    if (!jinja_eval(m, target->a, &ns)) return false;
    if (ns.type != JV_NS) return JFAIL(m, "an attribute can be set on a namespace only");
    return jinja_dict_set(m, ns.dict, target->value, *v);
}

static struct jscope *push_scope(struct jmach *m, struct jscope *up)
{
    struct jscope *s = JINJA_NEW(m, struct jscope, 1);

    if (s) s->up = up;
    return s;
}

/* Runs a list with its output caught in *out. */
static bool capture(struct jmach *m, const struct jnode *list, struct jval *out)
{
    struct jbuild b = {.m = m}, *outer = m->out;
    bool good;

    m->out = &b;
    good = jinja_exec(m, list);
    m->out = outer;
    *out = jinja_built(&b);
    return good;
}

/* ---- macros ---- */

static const struct jval *keyword(const struct jargs *a, str name)
{
    for (size_t i = 0; i < a->n_kw; i++) {
        if (str_eq(a->kw[i].name, name)) return &a->kw[i].v;
    }
    return NULL;
}

static bool is_param(const struct jnode *f, str name)
{
    for (const struct jnode *p = f->args; p; p = p->next) {
        if (str_eq(p->s, name)) return true;
    }
    return false;
}

/* What fits no parameter: varargs and kwargs, when the template uses these names, or an error. */
static bool bind_rest(struct jmach *m, const struct jnode *f, const struct jargs *a,
                      size_t n_params)
{
    struct jval rest, named, name;

    if (!jinja_list(m, JV_TUPLE, 0, &rest) || !jinja_dict(m, JV_DICT, &named)) return false;
    for (size_t i = n_params; i < a->n; i++) {
        if (!jinja_push(m, rest.list, a->pos[i])) return false;
    }
    for (size_t i = 0; i < a->n_kw; i++) {
        name = jinja_s(a->kw[i].name);
        if (is_param(f, a->kw[i].name) || str_eqc(a->kw[i].name, "caller")) continue;
        if (!jinja_dict_set(m, named.dict, name, a->kw[i].v)) return false;
    }
    if (rest.list->n && m->sym_varargs == UINT32_MAX)
        return JFAIL(m, "macro '%.*s' takes not more than %zu arguments", STR(f->s), n_params);
    if (named.dict->n && m->sym_kwargs == UINT32_MAX)
        return JFAIL(m, "macro '%.*s' takes no keyword argument '%.*s'", STR(f->s),
                     STR(jinja_view(&named.dict->v[0].key)));
    return (m->sym_varargs == UINT32_MAX || jinja_bind(m, m->scope, m->sym_varargs, rest)) &&
           (m->sym_kwargs == UINT32_MAX || jinja_bind(m, m->scope, m->sym_kwargs, named));
}

static bool bind_params(struct jmach *m, const struct jnode *f, const struct jargs *a)
{
    const struct jval *caller = keyword(a, S("caller"));
    size_t i = 0;

    for (const struct jnode *p = f->args; p; p = p->next, i++) {
        const struct jval *given = keyword(a, p->s);
        struct jval v = jinja_undef(p->s, JV_ABSENT);

        if (i < a->n && given)
            return JFAIL(m, "macro '%.*s' got '%.*s' twice", STR(f->s), STR(p->s));
        if (i < a->n) given = &a->pos[i];
        if (given)
            v = *given;
        else if (p->b && !jinja_eval(m, p->b, &v))
            return false;
        if (!jinja_bind(m, m->scope, p->sym, v)) return false;
    }
    if (caller && !is_param(f, S("caller"))) {
        uint32_t sym = jinja_find_sym(m->t, S("caller"));

        if (sym != UINT32_MAX && !jinja_bind(m, m->scope, sym, *caller)) return false;
    }
    return bind_rest(m, f, a, i);
}

bool jinja_run_macro(struct jmach *m, const struct jmacro *f, const struct jargs *a,
                     struct jval *out)
{
    struct jscope *outer = m->scope;
    bool good;

    m->scope = push_scope(m, f->scope);
    good = m->scope && bind_params(m, f->node, a) && capture(m, f->node->list, out);
    m->scope = outer;
    return good;
}

static bool make_macro(struct jmach *m, const struct jnode *n, struct jval *out)
{
    struct jmacro *f = JINJA_NEW(m, struct jmacro, 1);

    if (!f) return false;
    f->node = n;
    f->scope = m->scope;
    *out = (struct jval){.type = JV_MACRO, .macro = f};
    return true;
}

static bool call_block(struct jmach *m, const struct jnode *n)
{
    struct jval f, caller, text;
    struct jargs a;

    return jinja_eval(m, n->a->a, &f) && jinja_args(m, n->a->list, &a) &&
           make_macro(m, n, &caller) && jinja_add_kw(m, &a, S("caller"), caller) &&
           jinja_call(m, &f, &a, &text) && jinja_show(m->out, &text, false);
}

/* ---- loops ---- */

/* The items that pass the loop's condition, which sees the targets but not `loop`. */
static bool select_items(struct jmach *m, const struct jnode *n, const struct jval **items,
                         size_t *count)
{
    struct jval kept, v;

    if (!jinja_list(m, JV_LIST, 0, &kept)) return false;
    for (size_t i = 0; i < *count; i++) {
        m->scope->n = 0;
        if (!jinja_assign(m, n->a, &(*items)[i]) || !jinja_eval(m, n->c, &v)) return false;
        if (jinja_truth(&v) && !jinja_push(m, kept.list, (*items)[i])) return false;
    }
    *items = kept.list->v;
    *count = kept.list->n;
    return true;
}

static bool iterate(struct jmach *m, const struct jnode *n, const struct jval *values,
                    unsigned depth)
{
    struct jloop *loop = JINJA_NEW(m, struct jloop, 1);
    struct jval v = {.type = JV_LOOP, .loop = loop};
    struct jmacro *again = NULL;

    if (!loop || !jinja_items(m, values, &loop->items, &loop->n)) return false;
    if (n->c && !select_items(m, n, &loop->items, &loop->n)) return false;
    if (n->sym) {
        again = JINJA_NEW(m, struct jmacro, 1);
        if (!again) return false;
        *again = (struct jmacro){.node = n, .scope = m->scope->up, .depth = depth + 1};
    }
    loop->depth = depth;
    loop->again = again;
    for (; loop->at < loop->n; loop->at++) {
        m->scope->n = 0;
        if (!jinja_step(m, 1) || !jinja_assign(m, n->a, &loop->items[loop->at])) return false;
        if (m->sym_loop != UINT32_MAX && !jinja_bind(m, m->scope, m->sym_loop, v)) return false;
        if (!jinja_exec(m, n->list)) return false;
        if (m->flow == JFLOW_BREAK) break;
        m->flow = JFLOW_ON;
    }
    m->flow = JFLOW_ON;
    m->scope->n = 0;
    return loop->n || !n->els || jinja_exec(m, n->els->list);
}

static bool run_for(struct jmach *m, const struct jnode *n, const struct jval *values,
                    struct jscope *up, unsigned depth)
{
    struct jscope *outer = m->scope;
    bool good;

    m->scope = push_scope(m, up);
    good = m->scope && iterate(m, n, values, depth);
    m->scope = outer;
    return good;
}

bool jinja_loop_again(struct jmach *m, const struct jmacro *f, const struct jargs *a,
                      struct jval *out)
{
    struct jbuild b = {.m = m}, *outer = m->out;
    bool good;

    if (a->n != 1 || a->n_kw) return JFAIL(m, "loop() takes one argument");
    if (m->depth >= JINJA_DEPTH_MAX) return jinja_fail(m, ERR_LIMIT, "loops are nested too deeply");
    m->out = &b;
    m->depth++;
    good = run_for(m, f->node, &a->pos[0], f->scope, f->depth);
    m->depth--;
    m->out = outer;
    *out = jinja_built(&b);
    return good;
}

/* ---- other statements ---- */

static bool run_if(struct jmach *m, const struct jnode *n)
{
    struct jval v;

    for (; n && n->kind == JN_IF; n = n->c) {
        if (!jinja_eval(m, n->a, &v)) return false;
        if (jinja_truth(&v)) return jinja_exec(m, n->list);
    }
    return !n || jinja_exec(m, n->list);
}

/* Runs a list and sends its text through a chain of filters (NULL: none). */
static bool filtered(struct jmach *m, const struct jnode *n, struct jval *out)
{
    const struct jval *outer_in = m->filter_in;
    struct jval text;
    bool good;

    if (!capture(m, n->list, &text)) return false;
    *out = text;
    if (!n->b) return true;
    m->filter_in = &text;
    good = jinja_eval(m, n->b, out);
    m->filter_in = outer_in;
    return good;
}

static bool run_with(struct jmach *m, const struct jnode *n)
{
    struct jscope *outer = m->scope, *inner = push_scope(m, outer);
    struct jval v;
    bool good = inner != NULL;

    for (const struct jnode *p = n->args; p && good; p = p->next) {
        m->scope = outer; /* the values do not see each other */
        good = jinja_eval(m, p->b, &v);
        m->scope = inner;
        good = good && jinja_assign(m, p->a, &v);
    }
    m->scope = inner;
    good = good && jinja_exec(m, n->list);
    m->scope = outer;
    return good;
}

static bool run_body(struct jmach *m, const struct jnode *n)
{
    struct jscope *outer = m->scope;
    bool good;

    if (n->sym) m->scope = push_scope(m, outer);
    good = (!n->sym || m->scope) && jinja_exec(m, n->list);
    m->scope = outer;
    return good;
}

static bool statement(struct jmach *m, const struct jnode *n)
{
    struct jval v;

    switch ((enum jnode_kind)n->kind) {
    case JN_TEXT: return jinja_put(m->out, n->s.p, n->s.n, false);
    case JN_PRINT: return jinja_eval(m, n->a, &v) && jinja_show(m->out, &v, false);
    case JN_IF: return run_if(m, n);
    case JN_BODY: return run_body(m, n);
    case JN_FOR: return jinja_eval(m, n->b, &v) && run_for(m, n, &v, m->scope, 0);
    case JN_SET: return jinja_eval(m, n->b, &v) && jinja_assign(m, n->a, &v);
    case JN_SETBLOCK: return filtered(m, n, &v) && jinja_assign(m, n->a, &v);
    case JN_MACRO: return make_macro(m, n, &v) && jinja_bind(m, m->scope, n->sym, v);
    case JN_CALLBLOCK: return call_block(m, n);
    case JN_FILTERBLOCK: return filtered(m, n, &v) && jinja_show(m->out, &v, false);
    case JN_WITH: return run_with(m, n);
    case JN_BREAK: m->flow = JFLOW_BREAK; return true;
    case JN_CONTINUE: m->flow = JFLOW_CONTINUE; return true;
    default: return JFAIL(m, "a statement of an unknown kind");
    }
}

bool jinja_exec(struct jmach *m, const struct jnode *list)
{
    bool good = true;

    if (m->depth >= JINJA_DEPTH_MAX)
        return jinja_fail(m, ERR_LIMIT, "nested more than %d levels deep", JINJA_DEPTH_MAX);
    m->depth++;
    for (const struct jnode *n = list; n && good && m->flow == JFLOW_ON; n = n->next) {
        m->line = n->line;
        good = jinja_step(m, 1) && statement(m, n);
    }
    m->depth--;
    return good && !m->err;
}

/* ---- render ---- */

static bool set_globals(struct jmach *m, const struct jinja_input *in)
{
    m->globals = JINJA_NEW(m, struct jval, m->t->n_syms + 1);
    if (!m->globals) return false;
    for (size_t i = 0; jinja_global_table[i].name; i++) {
        uint32_t sym = jinja_find_sym(m->t, str_c(jinja_global_table[i].name));

        if (sym != UINT32_MAX) m->globals[sym] = (struct jval){.type = JV_FUNC, .i = (int64_t)i};
    }
    for (size_t i = 0; i < in->n; i++) {
        const struct jinja_var *v = &in->vars[i];
        uint32_t sym = jinja_find_sym(m->t, str_c(v->name));

        if (sym == UINT32_MAX) continue;
        if (v->value) {
            if (!jinja_from_json(m, v->value, v->untrusted, &m->globals[sym])) return false;
        } else {
            m->globals[sym] = jinja_s(v->text);
            m->globals[sym].marked = v->untrusted;
        }
    }
    return true;
}

/* Copies the finished text and its marks to the caller's buffers. */
static bool deliver(struct jmach *m, const struct jbuild *b, buf *out, buf *marks)
{
    buf_put(out, b->p, b->n);
    if (marks && b->mask) {
        buf_put(marks, b->mask, b->n);
    } else if (marks && b->n && buf_reserve(marks, b->n)) {
        memset(marks->p + marks->n, 0, b->n + 1);
        marks->n += b->n;
    }
    if (out->failed || (marks && marks->failed))
        return jinja_fail(m, out->no_memory || (marks && marks->no_memory) ? ERR_NOMEM : ERR_LIMIT,
                          "no room for a prompt of %zu bytes", b->n);
    return true;
}

enum err jinja_render(const struct jinja *t, struct arena *scratch, const struct jinja_input *in,
                      buf *out, buf *marks, struct err_info *e)
{
    struct jmach m = {.t = t,
                      .a = scratch,
                      .arena_from = scratch->used,
                      .e = e,
                      .now = in->now,
                      .unmarked = in->unmarked};
    struct jbuild b = {.m = &m, .heap = true};

    m.out = &b;
    m.sym_loop = jinja_find_sym(t, S("loop"));
    m.sym_varargs = jinja_find_sym(t, S("varargs"));
    m.sym_kwargs = jinja_find_sym(t, S("kwargs"));
    if (set_globals(&m, in) && jinja_exec(&m, t->body)) deliver(&m, &b, out, marks);
    jinja_build_free(&b);
    return m.err;
}
