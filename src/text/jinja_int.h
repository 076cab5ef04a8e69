/* jinja_int: what the files of the Jinja machine share; nobody else includes it.
 *
 *   jinja_lex.c      source to tokens: white space control, raw, comments
 *   jinja_parse.c    tokens to statements     jinja_expr.c     tokens to expressions
 *   jinja_run.c      runs statements          jinja_eval.c     evaluates expressions, calls
 *   jinja_value.c    truth, equality, order, containers
 *   jinja_str.c      marked strings: building, cutting, characters
 *   jinja_show.c     str(), repr(), tojson; values from JSON
 *   jinja_filters.c  filters of strings and numbers, the table of all filters
 *   jinja_seq.c      filters of sequences
 *   jinja_tests.c    tests                    jinja_globals.c  global functions
 *   jinja_str_methods.c, jinja_methods.c      methods of str; of list, dict, loop, cycler
 *   jinja_builtin.c  all of these by name, and their arguments
 *
 * Functions that can fail return false with the reason in the machine; the first failure stays.
 */
#ifndef TEXT_JINJA_INT_H
#define TEXT_JINJA_INT_H

#include "text/jinja_node.h"

/* ---- values ---- */

struct jlist {
    struct jval *v;
    size_t n, size;
};

struct jentry {
    struct jval key, value;
};

struct jdict {
    struct jentry *v; /* in order of insertion */
    size_t n, size;
    uint32_t *index; /* open addressing, entry number + 1; NULL while small */
    size_t n_index;
};

struct jloop {
    const struct jval *items;
    size_t n, at;
    unsigned depth;
    struct jval changed;  /* JV_ABSENT at first */
    struct jmacro *again; /* for a recursive loop: what loop(...) runs */
};

struct jmacro {
    const struct jnode *node; /* JN_MACRO, JN_CALLBLOCK, or JN_FOR of a recursive loop */
    struct jscope *scope;     /* where it was defined */
    unsigned depth;           /* of a recursive loop */
};

struct jmethod {
    struct jval self;
    const struct jbuiltin *row;
};

struct jobject {
    bool is_cycler;
    bool used;
    struct jval sep;    /* joiner */
    struct jlist items; /* cycler */
    size_t at;
};

struct jscope {
    struct jscope *up; /* NULL: the globals come next */
    struct jbind {
        uint32_t sym;
        struct jval v;
    } * v;
    size_t n, size;
};

/* Bytes under construction, with their marks. On the heap for the output, else in the arena. */
struct jbuild {
    struct jmach *m;
    char *p, *mask; /* mask is NULL while nothing is marked */
    size_t n, size;
    size_t n_marked;
    bool heap;
};

enum jflow { JFLOW_ON, JFLOW_BREAK, JFLOW_CONTINUE };

struct jmach {
    const struct jinja *t;
    struct arena *a;
    size_t arena_from;
    uint64_t steps;
    unsigned depth;
    uint32_t line;
    enum jflow flow;
    struct jbuild *out;
    struct jscope *scope;
    struct jval *globals; /* by symbol */
    int64_t now;
    const char *const *unmarked;
    struct err_info *e;
    enum err err;
    const struct jval *filter_in;               /* what a filter without input applies to */
    uint32_t sym_loop, sym_varargs, sym_kwargs; /* UINT32_MAX: never mentioned */
    char *tail; /* end of the last concatenation and its mask, and the room behind them */
    char *tail_mask;
    size_t tail_room;
};

uint32_t jinja_find_sym(const struct jinja *t, str name); /* UINT32_MAX: not there */

#define JINJA_DEPTH_MAX 700 /* of the C stack, in calls of the evaluator */

bool jinja_fail(struct jmach *m, enum err code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define JFAIL(m, ...) jinja_fail((m), ERR_INVALID, __VA_ARGS__)
bool jinja_step(struct jmach *m, size_t n); /* counts n steps; false: too many */
void *jinja_alloc(struct jmach *m, size_t count, size_t n);
#define JINJA_NEW(m, T, count) ((T *)jinja_alloc((m), (count), sizeof(T)))

/* ---- strings (jinja_str.c) ---- */

struct jval jinja_s(str s); /* unmarked, borrowed */
static inline struct jval jinja_lit(const char *c)
{
    return jinja_s(str_c(c));
}
static inline str jinja_view(const struct jval *s)
{
    return (str){s->p, s->n};
}
struct jval jinja_cut(const struct jval *s, size_t from, size_t to); /* bytes */
bool jinja_put(struct jbuild *b, const char *p, size_t n, bool marked);
bool jinja_puts(struct jbuild *b, const char *c); /* unmarked */
bool jinja_putv(struct jbuild *b, const struct jval *s);
/* Text that stands for the bytes of s at `at`: marked as they are. */
bool jinja_put_like(struct jbuild *b, const char *p, size_t n, const struct jval *s, size_t at);
struct jval jinja_built(struct jbuild *b);
void jinja_build_free(struct jbuild *b); /* of a heap one */
/* For HTML; what is `safe` stays as it is. */
bool jinja_escape(struct jmach *m, const struct jval *s, struct jval *out);
bool jinja_concat(struct jmach *m, const struct jval *a, const struct jval *b, struct jval *out);
size_t jinja_chars(str s);
size_t jinja_char_at(str s, size_t index); /* byte offset of a character, clamped */
uint32_t jinja_lower(uint32_t cp);
uint32_t jinja_upper(uint32_t cp);
bool jinja_is_alpha(uint32_t cp);
bool jinja_is_space(uint32_t cp);
struct jval jinja_strip(const struct jval *s, const struct jval *chars, int sides);
bool jinja_replace(struct jmach *m, const struct jval *s, const struct jval *old,
                   const struct jval *by, int64_t count, struct jval *out);
enum jcase { JCASE_LOWER, JCASE_UPPER, JCASE_TITLE, JCASE_CAPITAL, JCASE_SWAP, JCASE_JTITLE };
bool jinja_case(struct jmach *m, const struct jval *s, enum jcase how, struct jval *out);

/* ---- values (jinja_value.c) ---- */

const char *jinja_type_name(const struct jval *v); /* as Python calls it */
struct jval jinja_bool(bool b);
struct jval jinja_int(int64_t i);
struct jval jinja_num(double d);
struct jval jinja_undef(str name, enum jtype of);
bool jinja_is_num(const struct jval *v); /* bool, int, float */
double jinja_as_num(const struct jval *v);
bool jinja_truth(const struct jval *v);
bool jinja_equal(struct jmach *m, const struct jval *a, const struct jval *b, bool *out);
/* <0, 0, >0; false with a message when they have no order. */
bool jinja_order(struct jmach *m, const struct jval *a, const struct jval *b, int *out);
bool jinja_contains(struct jmach *m, const struct jval *in, const struct jval *what, bool *out);
bool jinja_length(struct jmach *m, const struct jval *v, size_t *out);
/* The items of anything that can be iterated: characters, list, keys. Fails by type. */
bool jinja_items(struct jmach *m, const struct jval *v, const struct jval **out, size_t *n);
bool jinja_list(struct jmach *m, enum jtype type, size_t size, struct jval *out);
bool jinja_push(struct jmach *m, struct jlist *l, struct jval v);
bool jinja_dict(struct jmach *m, enum jtype type, struct jval *out);
bool jinja_dict_set(struct jmach *m, struct jdict *d, struct jval key, struct jval value);
/* NULL: no such key. */
struct jval *jinja_dict_get(struct jmach *m, const struct jdict *d, const struct jval *key);
/* An undefined value used: sets the message that Jinja gives. */
bool jinja_undefined(struct jmach *m, const struct jval *v);

/* ---- text of values (jinja_show.c) ---- */

bool jinja_str(struct jmach *m, const struct jval *v, struct jval *out); /* str() */
bool jinja_show(struct jbuild *b, const struct jval *v, bool repr);
struct jinja_json_style {
    const char *item_sep, *key_sep;
    size_t item_n, key_n;
    int64_t indent; /* -1: none */
    bool ascii, sort;
};
bool jinja_tojson(struct jbuild *b, const struct jval *v, const struct jinja_json_style *style,
                  int level);
bool jinja_from_json(struct jmach *m, const struct json *j, bool untrusted, struct jval *out);
void jinja_float_text(double d, char out[32]);

/* ---- calls ---- */

struct jkw {
    str name;
    struct jval v;
};

struct jargs {
    struct jval *pos;
    size_t n;
    struct jkw *kw;
    size_t n_kw;
};

#define JINJA_PARAMS 6
/* What a filter, test, method or function is: its parameters by name, separated by spaces, the
 * value itself not counted; `*` at the end: the arguments as they are. */
struct jbuiltin {
    const char *name;
    const char *params;
    bool (*run)(struct jmach *m, const struct jval *self, struct jval *v, const struct jargs *a,
                struct jval *out);
    uint8_t arg;  /* for rows that share a function */
    uint8_t self; /* methods: enum jtype of the value */
};
#define JBUILTIN(name)                                                                             \
    bool name(struct jmach *m, const struct jval *self, struct jval *v, const struct jargs *a,     \
              struct jval *out)

/* Whether an argument is there and not none. */
bool jinja_given(const struct jval *v);
bool jinja_want_str(struct jmach *m, const char *what, const struct jval *v);
/* An integer or a boolean; `dflt` where nothing is given. */
bool jinja_want_int(struct jmach *m, const struct jval *v, int64_t dflt, int64_t *out);
bool jinja_run_builtin(struct jmach *m, const struct jbuiltin *row, const struct jval *self,
                       const struct jargs *a, struct jval *out);
bool jinja_call(struct jmach *m, const struct jval *f, const struct jargs *a, struct jval *out);
bool jinja_args(struct jmach *m, const struct jnode *list, struct jargs *out);
bool jinja_add_kw(struct jmach *m, struct jargs *a, str name, struct jval v);
/* Runs loop(...) of a recursive for-loop. */
bool jinja_loop_again(struct jmach *m, const struct jmacro *f, const struct jargs *a,
                      struct jval *out);
bool jinja_run_macro(struct jmach *m, const struct jmacro *f, const struct jargs *a,
                     struct jval *out);
bool jinja_eval(struct jmach *m, const struct jnode *n, struct jval *out);
bool jinja_exec(struct jmach *m, const struct jnode *list);
bool jinja_bind(struct jmach *m, struct jscope *s, uint32_t sym, struct jval v);
bool jinja_assign(struct jmach *m, const struct jnode *target, const struct jval *v);
struct jval jinja_lookup(struct jmach *m, uint32_t sym);
/* a.name: method or member, then key; a['name']: key first. */
bool jinja_attr(struct jmach *m, const struct jval *v, const struct jval *name, bool key_first,
                struct jval *out);
bool jinja_subscript(struct jmach *m, const struct jval *v, const struct jval *key,
                     struct jval *out);
bool jinja_binary(struct jmach *m, int op, const struct jval *a, const struct jval *b,
                  struct jval *out);
bool jinja_compare_op(struct jmach *m, int op, const struct jval *a, const struct jval *b,
                      bool *out);
bool jinja_format(struct jmach *m, const struct jval *fmt, const struct jval *args,
                  struct jval *out); /* % */

/* filters of sequences (jinja_seq.c) */
JBUILTIN(jinja_seq_length);
JBUILTIN(jinja_seq_first);
JBUILTIN(jinja_seq_last);
JBUILTIN(jinja_seq_join);
JBUILTIN(jinja_seq_list);
JBUILTIN(jinja_seq_reverse);
JBUILTIN(jinja_seq_items);
JBUILTIN(jinja_seq_sort);
JBUILTIN(jinja_seq_dictsort);
JBUILTIN(jinja_seq_min);
JBUILTIN(jinja_seq_max);
JBUILTIN(jinja_seq_unique);
JBUILTIN(jinja_seq_groupby);
JBUILTIN(jinja_seq_map);
JBUILTIN(jinja_seq_select);
JBUILTIN(jinja_seq_reject);
JBUILTIN(jinja_seq_selectattr);
JBUILTIN(jinja_seq_rejectattr);
JBUILTIN(jinja_seq_sum);
JBUILTIN(jinja_seq_batch);
JBUILTIN(jinja_seq_slice);

extern const struct jbuiltin jinja_filter_table[], jinja_test_table[], jinja_global_table[],
    jinja_str_method_table[], jinja_method_table[];
int jinja_find_builtin(const struct jbuiltin *table, str name); /* row or -1 */
bool jinja_run_test(struct jmach *m, str name, const struct jval *v, const struct jargs *a,
                    bool *out);
bool jinja_run_filter(struct jmach *m, str name, const struct jval *v, const struct jargs *a,
                      struct jval *out);
const struct jbuiltin *jinja_find_method(const struct jval *self, str name); /* or NULL */

#endif
