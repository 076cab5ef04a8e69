/* jinja_parse: tokens to statements; compiles and frees templates.
 *
 * A block's body is read until one of the tags that may follow it; the tag itself is left to the
 * caller. Filters and tests that do not exist are no error here but when they run, because
 * templates guard newer ones with conditions.
 *
 * Left out: what needs other files (extends, include, import), i18n and `do`, none of which
 * transformers offers.
 */
#include "text/jinja_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* ---- shared with jinja_expr.c ---- */

void *jinja_syntax(struct jparse *p, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    if (p->err) return NULL; /* the first one counts */
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->err = ERR_FAIL(p->e, FORMAT, "chat template, line %u: %s", p->tok->line, text);
    return NULL;
}

void *jinja_no_memory(struct jparse *p)
{
    if (!p->err)
        p->err = ERR_FAIL(p->e, NOMEM, "no memory for line %u of the chat template", p->tok->line);
    return NULL;
}

struct jnode *jinja_node(struct jparse *p, enum jnode_kind kind)
{
    struct jnode *n = ARENA_NEW(&p->t->arena, struct jnode, 1);

    if (!n) return jinja_no_memory(p);
    n->kind = (uint8_t)kind;
    n->line = p->tok->line;
    return n;
}

static bool grow_syms(struct jparse *p)
{
    struct jinja *t = p->t;
    size_t size = t->size_syms ? t->size_syms * 2 : 64;
    str *syms = ARENA_NEW(&t->arena, str, size);
    uint32_t *index = ARENA_NEW(&t->arena, uint32_t, size * 2);

    if (!syms || !index) return jinja_no_memory(p) != NULL;
    if (t->n_syms) memcpy(syms, t->syms, t->n_syms * sizeof *syms);
    for (size_t i = 0; i < t->n_syms; i++) {
        size_t at = str_hash(syms[i]) & (size * 2 - 1);

        while (index[at])
            at = (at + 1) & (size * 2 - 1);
        index[at] = (uint32_t)i + 1;
    }
    t->syms = syms;
    t->size_syms = size;
    t->sym_index = index;
    t->n_index = size * 2;
    return true;
}

uint32_t jinja_sym(struct jparse *p, str name)
{
    struct jinja *t = p->t;
    size_t at;

    if (t->n_syms == t->size_syms && !grow_syms(p)) return 0;
    at = str_hash(name) & (t->n_index - 1);
    while (t->sym_index[at]) {
        if (str_eq(t->syms[t->sym_index[at] - 1], name)) return t->sym_index[at] - 1;
        at = (at + 1) & (t->n_index - 1);
    }
    t->syms[t->n_syms] = name;
    t->sym_index[at] = (uint32_t)++t->n_syms;
    return (uint32_t)t->n_syms - 1;
}

bool jinja_at_op(const struct jparse *p, int op)
{
    return p->tok->kind == JTOK_OP && p->tok->op == op;
}

bool jinja_at_name(const struct jparse *p, const char *name)
{
    return p->tok->kind == JTOK_NAME && str_eqc(p->tok->s, name);
}

bool jinja_take_op(struct jparse *p, int op)
{
    if (!jinja_at_op(p, op)) return false;
    p->tok++;
    return true;
}

bool jinja_take_name(struct jparse *p, const char *name)
{
    if (!jinja_at_name(p, name)) return false;
    p->tok++;
    return true;
}

/* What stands at the token, for messages. */
static const char *found(const struct jparse *p, char out[64])
{
    const struct jtok *t = p->tok;

    switch (t->kind) {
    case JTOK_NAME: snprintf(out, 64, "'%.*s'", (int)(t->s.n < 40 ? t->s.n : 40), t->s.p); break;
    case JTOK_STR: snprintf(out, 64, "a string"); break;
    case JTOK_INT:
    case JTOK_FLOAT: snprintf(out, 64, "a number"); break;
    case JTOK_OP:
        snprintf(out, 64, "'%c%.1s'", t->op & 0xFF, (const char[]){(char)(t->op >> 8), 0});
        break;
    default: snprintf(out, 64, "the end of the tag"); break;
    }
    return out;
}

bool jinja_need_op(struct jparse *p, int op)
{
    char text[64];

    if (jinja_take_op(p, op)) return true;
    jinja_syntax(p, "'%c' was expected, not %s", op, found(p, text));
    return false;
}

bool jinja_enter(struct jparse *p)
{
    if (p->err) return false;
    if (p->depth >= JINJA_NEST_MAX) {
        jinja_syntax(p, "nested more than %d levels deep", JINJA_NEST_MAX);
        return false;
    }
    p->depth++;
    return true;
}

/* ---- statements ---- */

static struct jnode *parse_body(struct jparse *p, const char *ends, const struct jtok *open);

static bool need_end(struct jparse *p)
{
    char text[64];

    if (p->tok->kind == JTOK_END) {
        p->tok++;
        return true;
    }
    jinja_syntax(p, "the end of the tag was expected, not %s", found(p, text));
    return false;
}

/* A body up to `{% end %}`, that tag included. A NULL body is good; see p->err. */
static struct jnode *closed_body(struct jparse *p, const char *end, const struct jtok *open)
{
    struct jnode *list = parse_body(p, end, open);

    if (p->err) return NULL;
    p->tok++;
    return need_end(p) ? list : NULL;
}

static struct jnode *target_item(struct jparse *p, bool with_attr)
{
    struct jnode *n, *attr;

    if (jinja_take_op(p, '(')) {
        if (!jinja_enter(p)) return NULL;
        n = jinja_target(p, false);
        p->depth--;
        return n && jinja_need_op(p, ')') ? n : NULL;
    }
    if (p->tok->kind != JTOK_NAME) return jinja_syntax(p, "a name to assign to was expected");
    n = jinja_node(p, JN_NAME);
    if (!n) return NULL;
    n->s = p->tok->s;
    n->sym = jinja_sym(p, n->s);
    p->tok++;
    if (!with_attr || !jinja_take_op(p, '.')) return n;
    if (p->tok->kind != JTOK_NAME) return jinja_syntax(p, "a name was expected after '.'");
    attr = jinja_node(p, JN_ATTR);
    if (!attr) return NULL;
    attr->a = n;
    attr->s = p->tok->s;
    attr->value = jinja_s(attr->s);
    p->tok++;
    return attr;
}

struct jnode *jinja_target(struct jparse *p, bool with_attr)
{
    struct jnode *n = target_item(p, with_attr), *tuple, **tail;

    if (!n || !jinja_at_op(p, ',')) return n;
    tuple = jinja_node(p, JN_TUPLE);
    if (!tuple) return NULL;
    tuple->list = n;
    tail = &n->next;
    while (jinja_take_op(p, ',')) {
        if (p->tok->kind != JTOK_NAME && !jinja_at_op(p, '(')) break;
        n = target_item(p, with_attr);
        if (!n) return NULL;
        *tail = n;
        tail = &n->next;
    }
    return tuple;
}

static struct jnode *parse_if(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_IF), *last = n;

    while (n) {
        last->a = jinja_tuple(p, 0);
        if (!last->a || !need_end(p)) return NULL;
        last->list = parse_body(p, "elif else endif", open);
        if (p->err) return NULL;
        if (!jinja_take_name(p, "elif")) break;
        last->c = jinja_node(p, JN_IF);
        last = last->c;
        if (!last) return NULL;
    }
    if (n && jinja_take_name(p, "else")) {
        if (!need_end(p)) return NULL;
        last->c = jinja_node(p, JN_BODY);
        if (!last->c) return NULL;
        last->c->list = parse_body(p, "endif", open);
        if (p->err) return NULL;
        p->tok++;
    } else if (n) {
        p->tok++;
    }
    return n && need_end(p) ? n : NULL;
}

static struct jnode *parse_for(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_FOR);

    if (!n || !(n->a = jinja_target(p, false))) return NULL;
    if (!jinja_take_name(p, "in")) return jinja_syntax(p, "'in' was expected");
    n->b = jinja_tuple(p, 0);
    if (!n->b) return NULL;
    if (jinja_take_name(p, "if") && !(n->c = jinja_expr(p, true))) return NULL;
    n->sym = jinja_take_name(p, "recursive");
    if (!need_end(p)) return NULL;
    p->loops++;
    n->list = parse_body(p, "else endfor", open);
    p->loops--;
    if (p->err) return NULL;
    if (jinja_take_name(p, "else")) {
        if (!need_end(p)) return NULL;
        n->els = jinja_node(p, JN_BODY);
        if (!n->els) return NULL;
        n->els->list = parse_body(p, "endfor", open);
        if (p->err) return NULL;
    }
    p->tok++;
    return need_end(p) ? n : NULL;
}

static struct jnode *parse_set(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_SET);

    if (!n || !(n->a = jinja_target(p, true))) return NULL;
    if (jinja_take_op(p, '=')) {
        n->b = jinja_tuple(p, JEXPR_COND);
        return n->b && need_end(p) ? n : NULL;
    }
    n->kind = JN_SETBLOCK;
    if (jinja_take_op(p, '|') && !(n->b = jinja_filters(p, NULL))) return NULL;
    if (!need_end(p)) return NULL;
    n->list = closed_body(p, "endset", open);
    return p->err ? NULL : n;
}

/* Behind '(': names with defaults. */
static bool parse_params(struct jparse *p, struct jnode **list)
{
    struct jnode **tail = list;

    while (!jinja_take_op(p, ')')) {
        struct jnode *n = jinja_node(p, JN_PAIR);

        if (!n || (*list && !jinja_need_op(p, ','))) return false;
        if (jinja_take_op(p, ')')) break;
        if (p->tok->kind != JTOK_NAME)
            return jinja_syntax(p, "a parameter's name was expected") != NULL;
        n->s = p->tok->s;
        n->sym = jinja_sym(p, n->s);
        p->tok++;
        if (jinja_take_op(p, '=') && !(n->b = jinja_expr(p, true))) return false;
        *tail = n;
        tail = &n->next;
    }
    return true;
}

/* The body of a macro or a call block: `break` does not reach through it. */
static struct jnode *macro_body(struct jparse *p, const char *end, const struct jtok *open)
{
    unsigned loops = p->loops;
    struct jnode *list;

    p->loops = 0;
    list = closed_body(p, end, open);
    p->loops = loops;
    return list;
}

static struct jnode *parse_macro(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_MACRO);

    if (!n) return NULL;
    if (p->tok->kind != JTOK_NAME) return jinja_syntax(p, "the macro's name was expected");
    n->s = p->tok->s;
    n->sym = jinja_sym(p, n->s);
    p->tok++;
    if (!jinja_need_op(p, '(') || !parse_params(p, &n->args) || !need_end(p)) return NULL;
    jinja_sym(p, S("caller"));
    n->list = macro_body(p, "endmacro", open);
    return p->err ? NULL : n;
}

static struct jnode *parse_call_block(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_CALLBLOCK);

    if (!n) return NULL;
    n->s = S("caller");
    if (jinja_take_op(p, '(') && !parse_params(p, &n->args)) return NULL;
    n->a = jinja_expr(p, true);
    if (n->a && n->a->kind != JN_CALL) return jinja_syntax(p, "a call was expected");
    if (!n->a || !need_end(p)) return NULL;
    n->list = macro_body(p, "endcall", open);
    return p->err ? NULL : n;
}

static struct jnode *parse_filter_block(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_FILTERBLOCK);

    if (!n || !(n->b = jinja_filters(p, NULL)) || !need_end(p)) return NULL;
    n->list = closed_body(p, "endfilter", open);
    return p->err ? NULL : n;
}

static struct jnode *parse_with(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_WITH), **tail = n ? &n->args : NULL, *pair;

    while (n && p->tok->kind != JTOK_END) {
        if (n->args && !jinja_need_op(p, ',')) return NULL;
        pair = jinja_node(p, JN_PAIR);
        if (!pair || !(pair->a = jinja_target(p, false)) || !jinja_need_op(p, '=')) return NULL;
        pair->b = jinja_expr(p, true);
        if (!pair->b) return NULL;
        *tail = pair;
        tail = &pair->next;
    }
    if (!n || !need_end(p)) return NULL;
    n->list = closed_body(p, "endwith", open);
    return p->err ? NULL : n;
}

static struct jnode *parse_generation(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_BODY);

    if (!n || !need_end(p)) return NULL;
    n->list = closed_body(p, "endgeneration", open);
    return p->err ? NULL : n;
}

static struct jnode *parse_block(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, JN_BODY);

    if (!n) return NULL;
    n->sym = 1;
    if (p->tok->kind != JTOK_NAME) return jinja_syntax(p, "the block's name was expected");
    p->tok++;
    if (!need_end(p)) return NULL;
    n->list = parse_body(p, "endblock", open);
    if (p->err) return NULL;
    p->tok++;
    if (p->tok->kind == JTOK_NAME) p->tok++;
    return need_end(p) ? n : NULL;
}

static struct jnode *parse_break(struct jparse *p, const struct jtok *open)
{
    struct jnode *n = jinja_node(p, str_eqc(open->s, "break") ? JN_BREAK : JN_CONTINUE);

    if (n && !p->loops) return jinja_syntax(p, "break and continue need a loop around them");
    return n && need_end(p) ? n : NULL;
}

static const struct {
    const char *name;
    struct jnode *(*parse)(struct jparse *p, const struct jtok *open);
} statements[] = {
    {"if", parse_if},           {"for", parse_for},
    {"set", parse_set},         {"macro", parse_macro},
    {"call", parse_call_block}, {"filter", parse_filter_block},
    {"with", parse_with},       {"generation", parse_generation},
    {"block", parse_block},     {"break", parse_break},
    {"continue", parse_break},
};

/* At the name of a tag. */
static struct jnode *parse_statement(struct jparse *p)
{
    const struct jtok *open = p->tok;
    struct jnode *n = NULL;

    if (open->kind != JTOK_NAME) return jinja_syntax(p, "a tag's name was expected");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!str_eqc(open->s, statements[i].name)) continue;
        if (!jinja_enter(p)) return NULL;
        p->tok++;
        n = statements[i].parse(p, open);
        p->depth--;
        return n;
    }
    return jinja_syntax(p, "unknown tag '%.*s'", (int)(open->s.n < 60 ? open->s.n : 60), open->s.p);
}

/* Whether the name at hand is one of the words of `ends`. */
static bool is_end(const struct jparse *p, const char *ends)
{
    str rest = str_c(ends);

    while (rest.p && p->tok->kind == JTOK_NAME) {
        if (str_eq(str_cut(rest, ' ', &rest), p->tok->s)) return true;
    }
    return false;
}

/* Statements up to a tag named in `ends` (left with its name at hand), or the end of the source. */
static struct jnode *parse_body(struct jparse *p, const char *ends, const struct jtok *open)
{
    struct jnode *list = NULL, **tail = &list, *n;

    for (;;) {
        switch (p->tok->kind) {
        case JTOK_TEXT:
            n = jinja_node(p, JN_TEXT);
            if (n) n->s = p->tok->s;
            p->tok++;
            break;
        case JTOK_PRINT:
            p->tok++;
            n = jinja_node(p, JN_PRINT);
            if (n && !(n->a = jinja_tuple(p, JEXPR_COND))) n = NULL;
            if (n && !need_end(p)) n = NULL;
            break;
        case JTOK_TAG:
            p->tok++;
            if (is_end(p, ends)) return list;
            n = parse_statement(p);
            break;
        default:
            if (open)
                jinja_syntax(p, "the tag '%.*s' of line %u is not closed", STR(open->s),
                             open->line);
            return list;
        }
        if (!n) return NULL;
        *tail = n;
        tail = &n->next;
    }
}

/* ---- compile ---- */

/* Newlines become \n, one trailing newline goes. */
static enum err normalise(struct jinja *t, str source, struct err_info *e)
{
    char *w = arena_alloc(&t->arena, source.n + 1, 1);
    size_t n = 0;

    if (!w) return ERR_FAIL(e, NOMEM, "no memory for a chat template of %zu bytes", source.n);
    for (size_t i = 0; i < source.n; i++) {
        char c = source.p[i];

        if (c == '\r') {
            if (i + 1 < source.n && source.p[i + 1] == '\n') i++;
            c = '\n';
        }
        w[n++] = c;
    }
    if (n && w[n - 1] == '\n') n--;
    t->source = (str){w, n};
    return ERR_OK;
}

enum err jinja_compile(struct jinja **out, str source, struct err_info *e)
{
    struct jinja *t;
    struct jparse p = {.e = e};
    struct jtok *tok;
    enum err err;

    *out = NULL;
    if (source.n > LIMIT_TEMPLATE)
        return ERR_FAIL(e, LIMIT, "the chat template has %zu bytes, more than %zu", source.n,
                        LIMIT_TEMPLATE);
    if (!utf8_valid(source)) return ERR_FAIL(e, FORMAT, "the chat template is not valid UTF-8");
    t = mem_alloc(sizeof *t);
    if (!t) return ERR_FAIL(e, NOMEM, "no memory for a chat template");
    arena_init(&t->arena, LIMIT_TEMPLATE_ARENA * 4);
    err = normalise(t, source, e);
    if (!err) err = jinja_lex(t, &tok, e);
    if (!err) {
        p.t = t;
        p.tok = tok;
        t->body = parse_body(&p, "", NULL);
        err = p.err;
    }
    if (err)
        jinja_free(t);
    else
        *out = t;
    return err;
}

void jinja_free(struct jinja *t)
{
    if (!t) return;
    arena_fini(&t->arena);
    mem_free(t);
}

uint32_t jinja_find_sym(const struct jinja *t, str name)
{
    size_t at;

    if (!t->n_index) return UINT32_MAX;
    for (at = str_hash(name) & (t->n_index - 1); t->sym_index[at];
         at = (at + 1) & (t->n_index - 1)) {
        if (str_eq(t->syms[t->sym_index[at] - 1], name)) return t->sym_index[at] - 1;
    }
    return UINT32_MAX;
}

bool jinja_mentions(const struct jinja *t, str name)
{
    return jinja_find_sym(t, name) != UINT32_MAX;
}
