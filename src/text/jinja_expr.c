/* jinja_expr: tokens to expressions.
 *
 * One function a level of Jinja2's grammar, lowest first: a if b else c, or, and, not, comparisons,
 * + -, ~, * / // %, **, unary, then a primary with its postfixes and filters. Loops build chains of
 * equal level; what recurses counts its depth.
 *
 * Left out: nothing of the expression grammar.
 */
#include "text/jinja_int.h"

#include <string.h>

static struct jnode *parse_or(struct jparse *p);
static struct jnode *parse_unary(struct jparse *p, bool with_filters);

/* Appends to a list built in order. */
static void append(struct jnode ***tail, struct jnode *n)
{
    **tail = n;
    *tail = &n->next;
}

static struct jnode *binary(struct jparse *p, enum jnode_kind kind, int op, struct jnode *a,
                            struct jnode *b)
{
    struct jnode *n = b ? jinja_node(p, kind) : NULL;

    if (!n) return NULL;
    n->op = op;
    n->a = a;
    n->b = b;
    n->line = a->line;
    return n;
}

/* ---- primary ---- */

static struct jnode *constant(struct jparse *p, struct jval v)
{
    struct jnode *n = jinja_node(p, JN_CONST);

    if (n) n->value = v;
    return n;
}

static struct jnode *parse_name(struct jparse *p)
{
    static const struct {
        const char *name;
        struct jval value;
    } constants[] = {
        {"true", {.type = JV_BOOL, .b = true}},
        {"True", {.type = JV_BOOL, .b = true}},
        {"false", {.type = JV_BOOL}},
        {"False", {.type = JV_BOOL}},
        {"none", {.type = JV_NONE}},
        {"None", {.type = JV_NONE}},
    };
    str name = p->tok->s;
    struct jnode *n;

    p->tok++;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (str_eqc(name, constants[i].name)) return constant(p, constants[i].value);
    }
    n = jinja_node(p, JN_NAME);
    if (!n) return NULL;
    n->s = name;
    n->sym = jinja_sym(p, name);
    return n;
}

static struct jnode *parse_string(struct jparse *p)
{
    str s = p->tok->s;

    p->tok++;
    while (p->tok->kind == JTOK_STR) { /* neighbours are one string, as in Python */
        str more = p->tok->s;
        char *joined = arena_alloc(&p->t->arena, s.n + more.n + 1, 1);

        if (!joined) return jinja_no_memory(p);
        if (s.n) memcpy(joined, s.p, s.n);
        if (more.n) memcpy(joined + s.n, more.p, more.n);
        s = (str){joined, s.n + more.n};
        p->tok++;
    }
    return constant(p, jinja_s(s));
}

static struct jnode *parse_list(struct jparse *p)
{
    struct jnode *n = jinja_node(p, JN_LIST), *item, **tail = n ? &n->list : NULL;

    p->tok++;
    while (n && !jinja_take_op(p, ']')) {
        if (n->list && !jinja_need_op(p, ',')) return NULL;
        if (jinja_take_op(p, ']')) break;
        item = jinja_expr(p, true);
        if (!item) return NULL;
        append(&tail, item);
    }
    return n;
}

static struct jnode *parse_dict(struct jparse *p)
{
    struct jnode *n = jinja_node(p, JN_DICT), *key, *pair, **tail = n ? &n->list : NULL;

    p->tok++;
    while (n && !jinja_take_op(p, '}')) {
        if (n->list && !jinja_need_op(p, ',')) return NULL;
        if (jinja_take_op(p, '}')) break;
        key = jinja_expr(p, true);
        if (!key || !jinja_need_op(p, ':')) return NULL;
        pair = binary(p, JN_PAIR, 0, key, jinja_expr(p, true));
        if (!pair) return NULL;
        append(&tail, pair);
    }
    return n;
}

static struct jnode *parse_primary(struct jparse *p)
{
    struct jnode *n;
    struct jval v = {0};

    switch (p->tok->kind) {
    case JTOK_NAME: return parse_name(p);
    case JTOK_STR: return parse_string(p);
    case JTOK_INT:
        v.type = JV_INT;
        v.i = p->tok++->i;
        return constant(p, v);
    case JTOK_FLOAT:
        v.type = JV_FLOAT;
        v.d = p->tok++->d;
        return constant(p, v);
    default: break;
    }
    if (jinja_at_op(p, '[')) return parse_list(p);
    if (jinja_at_op(p, '{')) return parse_dict(p);
    if (jinja_take_op(p, '(')) {
        n = jinja_tuple(p, JEXPR_COND | JEXPR_PARENS);
        return n && jinja_need_op(p, ')') ? n : NULL;
    }
    return jinja_syntax(p, "an expression was expected");
}

/* ---- postfix ---- */

/* Behind '(': positional, name=, *list, **dict. */
static bool parse_args(struct jparse *p, struct jnode **list)
{
    struct jnode **tail = list, *arg;
    bool keyword = false;

    while (!jinja_take_op(p, ')')) {
        if (*list && !jinja_need_op(p, ',')) return false;
        if (jinja_take_op(p, ')')) break;
        if (jinja_at_op(p, '*') || jinja_at_op(p, JOP('*', '*'))) {
            arg = jinja_node(p, JN_STAR);
            if (!arg) return false;
            arg->sym = p->tok++->op != '*';
            arg->b = jinja_expr(p, true);
            if (!arg->b) return false;
        } else if (p->tok->kind == JTOK_NAME && p->tok[1].kind == JTOK_OP && p->tok[1].op == '=') {
            arg = jinja_node(p, JN_PAIR);
            if (!arg) return false;
            arg->s = p->tok->s;
            p->tok += 2;
            arg->b = jinja_expr(p, true);
            if (!arg->b) return false;
            keyword = true;
        } else {
            arg = jinja_expr(p, true);
            if (arg && keyword) arg = jinja_syntax(p, "a positional argument follows name=value");
            if (!arg) return false;
        }
        append(&tail, arg);
    }
    return true;
}

/* Behind '[': an index or a slice. */
static struct jnode *parse_index(struct jparse *p)
{
    struct jnode *part[3] = {NULL}, *n;
    int i = 0;

    if (!jinja_at_op(p, ':')) {
        part[0] = jinja_tuple(p, JEXPR_COND);
        if (!part[0]) return NULL;
        if (jinja_take_op(p, ']')) return part[0];
    }
    while (!jinja_take_op(p, ']')) {
        if (i == 2 || !jinja_need_op(p, ':'))
            return i == 2 ? jinja_syntax(p, "a slice has at most three parts") : NULL;
        i++;
        if (jinja_at_op(p, ':') || jinja_at_op(p, ']')) continue;
        part[i] = jinja_expr(p, true);
        if (!part[i]) return NULL;
    }
    n = jinja_node(p, JN_SLICE);
    if (!n) return NULL;
    n->a = part[0];
    n->b = part[1];
    n->c = part[2];
    return n;
}

static struct jnode *parse_member(struct jparse *p, struct jnode *of)
{
    struct jnode *n;

    if (p->tok->kind == JTOK_INT) {
        struct jval v = {.type = JV_INT, .i = p->tok++->i};
        return binary(p, JN_ITEM, 0, of, constant(p, v));
    }
    if (p->tok->kind != JTOK_NAME) return jinja_syntax(p, "a name was expected after '.'");
    n = jinja_node(p, JN_ATTR);
    if (!n) return NULL;
    n->a = of;
    n->s = p->tok->s;
    n->value = jinja_s(n->s);
    jinja_sym(p, n->s); /* for jinja_mentions() */
    p->tok++;
    return n;
}

static struct jnode *parse_call(struct jparse *p, struct jnode *f)
{
    struct jnode *n = jinja_node(p, JN_CALL);

    if (!n) return NULL;
    n->a = f;
    return parse_args(p, &n->list) ? n : NULL;
}

static struct jnode *parse_postfix(struct jparse *p, struct jnode *n)
{
    while (n) {
        if (jinja_take_op(p, '.'))
            n = parse_member(p, n);
        else if (jinja_take_op(p, '['))
            n = binary(p, JN_ITEM, 0, n, parse_index(p));
        else if (jinja_take_op(p, '('))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* ---- filters and tests ---- */

static str dotted_name(struct jparse *p)
{
    str name = p->tok->s;

    if (p->tok->kind != JTOK_NAME) {
        jinja_syntax(p, "a name was expected");
        return (str){0};
    }
    p->tok++;
    return name;
}

struct jnode *jinja_filters(struct jparse *p, struct jnode *in)
{
    do {
        struct jnode *n = jinja_node(p, JN_FILTER);

        if (!n) return NULL;
        n->a = in;
        n->s = dotted_name(p);
        if (!n->s.p) return NULL;
        n->sym = (uint32_t)jinja_find_builtin(jinja_filter_table, n->s);
        if (jinja_take_op(p, '(') && !parse_args(p, &n->list)) return NULL;
        in = n;
    } while (jinja_take_op(p, '|'));
    return in;
}

/* An argument without brackets: "is divisibleby 3". */
static bool bare_argument(const struct jparse *p)
{
    switch (p->tok->kind) {
    case JTOK_NAME:
        return !jinja_at_name(p, "else") && !jinja_at_name(p, "or") && !jinja_at_name(p, "and") &&
               !jinja_at_name(p, "is") && !jinja_at_name(p, "if");
    case JTOK_STR:
    case JTOK_INT:
    case JTOK_FLOAT: return true;
    default: return jinja_at_op(p, '[') || jinja_at_op(p, '{');
    }
}

static struct jnode *parse_test(struct jparse *p, struct jnode *of)
{
    struct jnode *n = jinja_node(p, JN_TEST);

    if (!n) return NULL;
    n->a = of;
    if (jinja_take_name(p, "not")) n->op = 'n';
    n->s = dotted_name(p);
    if (!n->s.p) return NULL;
    n->sym = (uint32_t)jinja_find_builtin(jinja_test_table, n->s);
    if (jinja_take_op(p, '(')) {
        if (!parse_args(p, &n->list)) return NULL;
    } else if (bare_argument(p)) {
        n->list = jinja_primary_chain(p, false);
        if (!n->list) return NULL;
    }
    return n;
}

static struct jnode *parse_filter_chain(struct jparse *p, struct jnode *n)
{
    while (n) {
        if (jinja_take_op(p, '|'))
            n = jinja_filters(p, n);
        else if (jinja_take_name(p, "is"))
            n = parse_test(p, n);
        else if (jinja_take_op(p, '('))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

struct jnode *jinja_primary_chain(struct jparse *p, bool with_filters)
{
    struct jnode *n = parse_postfix(p, parse_primary(p));

    return with_filters ? parse_filter_chain(p, n) : n;
}

/* ---- operators ---- */

static struct jnode *parse_unary(struct jparse *p, bool with_filters)
{
    struct jnode *n, *arg;

    if (!jinja_at_op(p, '-') && !jinja_at_op(p, '+')) return jinja_primary_chain(p, with_filters);
    if (!jinja_enter(p)) return NULL;
    n = jinja_node(p, JN_UNARY);
    if (!n) return NULL;
    n->op = p->tok++->op;
    arg = parse_unary(p, false);
    p->depth--;
    if (!arg) return NULL;
    n->a = arg;
    n = parse_postfix(p, n);
    return with_filters ? parse_filter_chain(p, n) : n;
}

static struct jnode *parse_pow(struct jparse *p)
{
    struct jnode *n = parse_unary(p, true);

    while (n && jinja_take_op(p, JOP('*', '*')))
        n = binary(p, JN_BINARY, JOP('*', '*'), n, parse_unary(p, true));
    return n;
}

static struct jnode *parse_math2(struct jparse *p)
{
    struct jnode *n = parse_pow(p);

    while (n && (jinja_at_op(p, '*') || jinja_at_op(p, '/') || jinja_at_op(p, JOP('/', '/')) ||
                 jinja_at_op(p, '%'))) {
        int op = p->tok++->op;
        n = binary(p, JN_BINARY, op, n, parse_pow(p));
    }
    return n;
}

static struct jnode *parse_concat(struct jparse *p)
{
    struct jnode *n = parse_math2(p);

    while (n && jinja_take_op(p, '~'))
        n = binary(p, JN_BINARY, '~', n, parse_math2(p));
    return n;
}

static struct jnode *parse_math1(struct jparse *p)
{
    struct jnode *n = parse_concat(p);

    while (n && (jinja_at_op(p, '+') || jinja_at_op(p, '-'))) {
        int op = p->tok++->op;
        n = binary(p, JN_BINARY, op, n, parse_concat(p));
    }
    return n;
}

/* The comparison at hand, stepped over; 0: none. */
static int comparison(struct jparse *p)
{
    static const int ops[] = {JOP('=', '='), JOP('!', '='), JOP('<', '='), JOP('>', '='), '<', '>'};

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (jinja_take_op(p, ops[i])) return ops[i];
    }
    if (jinja_take_name(p, "in")) return 'i';
    if (jinja_at_name(p, "not") && p->tok[1].kind == JTOK_NAME && str_eqc(p->tok[1].s, "in")) {
        p->tok += 2;
        return 'n';
    }
    return 0;
}

static struct jnode *parse_compare(struct jparse *p)
{
    struct jnode *first = parse_math1(p), *n = NULL, *operand, **tail = NULL;
    int op;

    while (first && (op = comparison(p)) != 0) {
        operand = jinja_node(p, JN_OPERAND);
        if (!operand) return NULL;
        operand->op = op;
        operand->a = parse_math1(p);
        if (!operand->a) return NULL;
        if (!n) {
            n = jinja_node(p, JN_CMP);
            if (!n) return NULL;
            n->a = first;
            n->line = first->line;
            tail = &n->list;
        }
        append(&tail, operand);
    }
    return n ? n : first;
}

static struct jnode *parse_not(struct jparse *p)
{
    struct jnode *n;

    if (!jinja_at_name(p, "not")) return parse_compare(p);
    if (!jinja_enter(p)) return NULL;
    n = jinja_node(p, JN_NOT);
    p->tok++;
    if (n) n->a = parse_not(p);
    p->depth--;
    return n && n->a ? n : NULL;
}

static struct jnode *parse_and(struct jparse *p)
{
    struct jnode *n = parse_not(p);

    while (n && jinja_take_name(p, "and"))
        n = binary(p, JN_AND, 0, n, parse_not(p));
    return n;
}

static struct jnode *parse_or(struct jparse *p)
{
    struct jnode *n = parse_and(p);

    while (n && jinja_take_name(p, "or"))
        n = binary(p, JN_OR, 0, n, parse_and(p));
    return n;
}

struct jnode *jinja_expr(struct jparse *p, bool with_cond)
{
    struct jnode *n, *cond;

    if (!jinja_enter(p)) return NULL;
    n = parse_or(p);
    while (n && with_cond && jinja_take_name(p, "if")) {
        cond = jinja_node(p, JN_COND);
        if (!cond) return NULL;
        cond->line = n->line;
        cond->a = n;
        cond->b = parse_or(p);
        if (!cond->b) return NULL;
        if (jinja_take_name(p, "else")) {
            cond->c = jinja_expr(p, true);
            if (!cond->c) return NULL;
        }
        n = cond;
    }
    p->depth--;
    return n;
}

static bool tuple_ends(const struct jparse *p)
{
    return p->tok->kind == JTOK_END || p->tok->kind == JTOK_EOF || jinja_at_op(p, ')') ||
           jinja_at_op(p, ']') || jinja_at_op(p, ':') || jinja_at_name(p, "recursive");
}

struct jnode *jinja_tuple(struct jparse *p, unsigned flags)
{
    struct jnode *tuple, *item, **tail;

    if (tuple_ends(p)) {
        if (!(flags & JEXPR_PARENS)) return jinja_syntax(p, "an expression was expected");
        return jinja_node(p, JN_TUPLE);
    }
    item = jinja_expr(p, flags & JEXPR_COND);
    if (!item || !jinja_at_op(p, ',')) return item;
    tuple = jinja_node(p, JN_TUPLE);
    if (!tuple) return NULL;
    tail = &tuple->list;
    append(&tail, item);
    while (jinja_take_op(p, ',') && !tuple_ends(p)) {
        item = jinja_expr(p, flags & JEXPR_COND);
        if (!item) return NULL;
        append(&tail, item);
    }
    return tuple;
}
