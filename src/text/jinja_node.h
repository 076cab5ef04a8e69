/* jinja_node: what a template is between its source and its output: tokens, the tree, constants.
 *
 * The lexer makes tokens, the parser makes the tree in the template's arena and the machine only
 * reads it, so that a compiled template may run many times.
 */
#ifndef TEXT_JINJA_NODE_H
#define TEXT_JINJA_NODE_H

#include "base/limits.h"
#include "text/jinja.h"

/* ---- tokens ---- */

enum jtok_kind {
    JTOK_TEXT,
    JTOK_PRINT, /* {{ */
    JTOK_TAG,   /* {% */
    JTOK_END,   /* }} or %} */
    JTOK_NAME,
    JTOK_STR, /* decoded */
    JTOK_INT,
    JTOK_FLOAT,
    JTOK_OP,
    JTOK_EOF,
};

/* One or two characters as one number: JOP('*', '*'). */
#define JOP(a, b) ((a) | (b) << 8)

struct jtok {
    enum jtok_kind kind;
    int op;
    uint32_t line;
    str s; /* TEXT, NAME, STR */
    union {
        int64_t i;
        double d;
    };
};

/* ---- the tree ---- */

enum jnode_kind {
    /* expressions */
    JN_CONST,   /* value */
    JN_NAME,    /* sym */
    JN_LIST,    /* list */
    JN_TUPLE,   /* list */
    JN_DICT,    /* list of JN_PAIR */
    JN_PAIR,    /* a key, b value; in arguments: s name, b value */
    JN_STAR,    /* b: *args; sym 1: **kwargs */
    JN_UNARY,   /* op '-' or '+', a */
    JN_BINARY,  /* op, a, b */
    JN_AND,     /* a, b */
    JN_OR,      /* a, b */
    JN_NOT,     /* a */
    JN_CMP,     /* a, list of JN_OPERAND */
    JN_OPERAND, /* op: a comparison, 'i' in, 'n' not in; a */
    JN_COND,    /* a if b else c; c may be NULL */
    JN_ATTR,    /* a.s */
    JN_ITEM,    /* a[b] */
    JN_SLICE,   /* a:b:c, each may be NULL; only as b of JN_ITEM */
    JN_CALL,    /* a(list) */
    JN_FILTER,  /* a|s(list); sym: row of the table; a NULL in a filter block */
    JN_TEST,    /* a is s(list); sym: row of the table; op 'n': is not */
    /* statements */
    JN_TEXT,        /* s */
    JN_PRINT,       /* a */
    JN_IF,          /* a condition, list body, c the JN_IF of elif or the JN_BODY of else */
    JN_BODY,        /* list; sym 1: with a scope of its own */
    JN_FOR,         /* a target, b values, c filter, list body, els; sym 1: recursive */
    JN_SET,         /* a target, b value */
    JN_SETBLOCK,    /* a target, b chain of filters or NULL, list */
    JN_MACRO,       /* sym name, args: JN_PAIR sym name and b default, list body */
    JN_CALLBLOCK,   /* a call, args and list: the caller's */
    JN_FILTERBLOCK, /* b chain of filters, list */
    JN_WITH,        /* args: JN_PAIR a target, b value; list */
    JN_BREAK,
    JN_CONTINUE,
};

enum jtype {
    JV_ABSENT, /* no value at all: an argument not given, a name not bound */
    JV_UNDEF,  /* Jinja's Undefined: s is the name that was missing, of: in what */
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_FLOAT,
    JV_STR,
    JV_LIST,
    JV_TUPLE,
    JV_DICT,
    JV_NS, /* namespace() */
    JV_LOOP,
    JV_MACRO,
    JV_FUNC,   /* i: row of the table of global functions */
    JV_METHOD, /* of a value */
    JV_OBJECT, /* joiner, cycler */
};

struct jval {
    uint8_t type; /* enum jtype */
    uint8_t of;   /* JV_UNDEF: enum jtype of the parent, JV_ABSENT for a plain name;
                   * JV_STR: 1 when `safe` for HTML, so that `+` escapes what joins it;
                   * JV_TUPLE: 1 for a group of groupby */
    bool marked;  /* JV_STR without mask: all of it came from an untrusted variable */
    union {
        bool b;
        int64_t i;
        double d;
        const char *p;
        struct jlist *list;
        struct jdict *dict; /* JV_DICT, JV_NS */
        struct jloop *loop;
        struct jmacro *macro;
        struct jmethod *method;
        struct jobject *object;
    };
    size_t n;         /* JV_STR, JV_UNDEF: bytes at p, valid UTF-8 */
    const char *mask; /* JV_STR: NULL, or a byte each: 1 where untrusted */
};

struct jnode {
    uint8_t kind;
    uint32_t line;
    uint32_t sym;
    int op;
    struct jnode *next; /* in a list */
    struct jnode *a, *b, *c;
    struct jnode *list, *args, *els;
    str s;
    struct jval value;
};

struct jinja {
    struct arena arena;
    str source; /* normalised copy */
    str *syms;  /* names, by symbol */
    size_t n_syms, size_syms;
    uint32_t *sym_index; /* open addressing, symbol + 1 */
    size_t n_index;
    struct jnode *body;
};

/* Token array of a whole template, ended by JTOK_EOF. */
MUST_CHECK enum err jinja_lex(struct jinja *t, struct jtok **out, struct err_info *e);

struct jparse {
    struct jinja *t;
    const struct jtok *tok; /* the one at hand */
    struct err_info *e;
    enum err err;
    unsigned depth;
    unsigned loops; /* for-loops around, within the macro */
};

#define JINJA_NEST_MAX 200 /* of source: brackets, operators and blocks within each other */

struct jnode *jinja_node(struct jparse *p, enum jnode_kind kind);
void *jinja_syntax(struct jparse *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *jinja_no_memory(struct jparse *p);
uint32_t jinja_sym(struct jparse *p, str name);
bool jinja_at_op(const struct jparse *p, int op);
bool jinja_at_name(const struct jparse *p, const char *name);
bool jinja_take_op(struct jparse *p, int op);
bool jinja_take_name(struct jparse *p, const char *name);
bool jinja_need_op(struct jparse *p, int op);
bool jinja_enter(struct jparse *p); /* one level deeper; false: too deep */

enum { JEXPR_COND = 1, JEXPR_PARENS = 2 };
struct jnode *jinja_expr(struct jparse *p, bool with_cond);
/* An expression or, with commas, a tuple. */
struct jnode *jinja_tuple(struct jparse *p, unsigned flags);
struct jnode *jinja_primary_chain(struct jparse *p, bool with_filters);
/* Filters from the name on (no '|' before the first); `in` is what they apply to or NULL. */
struct jnode *jinja_filters(struct jparse *p, struct jnode *in);
struct jnode *jinja_target(struct jparse *p, bool with_attr);

#endif
