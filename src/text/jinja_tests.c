/* jinja_tests: the tests of Jinja2, `x is name`. One row a name.
 *
 * Left out: nothing.
 */
#include "text/jinja_int.h"

#include <string.h>

#include "base/utf8.h"

/* Kinds of values as sets of types. */
#define BIT(t)   (1u << (t))
#define NUMBER   (BIT(JV_BOOL) | BIT(JV_INT) | BIT(JV_FLOAT))
#define SEQUENCE (BIT(JV_STR) | BIT(JV_LIST) | BIT(JV_TUPLE) | BIT(JV_DICT) | BIT(JV_UNDEF))
#define ITERABLE (SEQUENCE | BIT(JV_LOOP))
#define CALLABLE (BIT(JV_MACRO) | BIT(JV_FUNC) | BIT(JV_METHOD) | BIT(JV_OBJECT) | BIT(JV_UNDEF))
#define MISSING  (BIT(JV_UNDEF) | BIT(JV_ABSENT))

static bool of_kind(const struct jval *self, unsigned kinds, struct jval *out)
{
    *out = jinja_bool(kinds >> self->type & 1);
    return true;
}

#define KIND_TEST(name, kinds)                                                                     \
    static JBUILTIN(name)                                                                          \
    {                                                                                              \
        (void)m, (void)v, (void)a;                                                                 \
        return of_kind(self, (kinds), out);                                                        \
    }

KIND_TEST(is_undefined, MISSING)
KIND_TEST(is_defined, ~MISSING)
KIND_TEST(is_none, BIT(JV_NONE))
KIND_TEST(is_boolean, BIT(JV_BOOL))
KIND_TEST(is_integer, BIT(JV_INT))
KIND_TEST(is_float, BIT(JV_FLOAT))
KIND_TEST(is_number, NUMBER)
KIND_TEST(is_string, BIT(JV_STR))
KIND_TEST(is_mapping, BIT(JV_DICT))
KIND_TEST(is_sequence, SEQUENCE)
KIND_TEST(is_iterable, ITERABLE)
KIND_TEST(is_callable, CALLABLE)

static JBUILTIN(is_escaped)
{
    (void)m, (void)v, (void)a;
    *out = jinja_bool(self->type == JV_STR && self->of);
    return true;
}

static JBUILTIN(is_true)
{
    (void)m, (void)v, (void)a;
    *out = jinja_bool(self->type == JV_BOOL && self->b);
    return true;
}

static JBUILTIN(is_false)
{
    (void)m, (void)v, (void)a;
    *out = jinja_bool(self->type == JV_BOOL && !self->b);
    return true;
}

static bool modulo(struct jmach *m, const struct jval *self, struct jval by, struct jval *out)
{
    struct jval rest, zero = jinja_int(0);
    bool divides;

    if (self->type == JV_STR) return JFAIL(m, "a test of divisibility needs a number, not str");
    if (!jinja_binary(m, '%', self, &by, &rest) || !jinja_equal(m, &rest, &zero, &divides))
        return false;
    *out = jinja_bool(divides);
    return true;
}

static JBUILTIN(is_even)
{
    (void)v, (void)a;
    return modulo(m, self, jinja_int(2), out);
}

static JBUILTIN(is_odd)
{
    (void)v, (void)a;
    if (!modulo(m, self, jinja_int(2), out)) return false;
    *out = jinja_bool(!out->b);
    return true;
}

static JBUILTIN(is_divisible)
{
    (void)a;
    return modulo(m, self, v[0], out);
}

/* Whether there are letters, and all of them are of one case. */
static bool one_case(const struct jval *self, uint32_t (*other)(uint32_t),
                     uint32_t (*this)(uint32_t))
{
    str s = jinja_view(self);
    bool any = false;

    for (size_t at = 0; self->type == JV_STR && at < s.n;) {
        uint32_t cp = utf8_next(s, &at);

        if (this(cp) != cp) return false;
        any = any || other(cp) != cp;
    }
    return any;
}

static JBUILTIN(is_lower)
{
    (void)v, (void)a;
    *out = jinja_bool(one_case(self, jinja_upper, jinja_lower));
    return jinja_step(m, self->type == JV_STR ? self->n / 16 : 0);
}

static JBUILTIN(is_upper)
{
    (void)v, (void)a;
    *out = jinja_bool(one_case(self, jinja_lower, jinja_upper));
    return jinja_step(m, self->type == JV_STR ? self->n / 16 : 0);
}

static bool compare(struct jmach *m, int op, const struct jval *x, const struct jval *y,
                    struct jval *out)
{
    bool yes;

    if (!jinja_compare_op(m, op, x, y, &yes)) return false;
    *out = jinja_bool(yes);
    return true;
}

#define OP_TEST(name, op)                                                                          \
    static JBUILTIN(name)                                                                          \
    {                                                                                              \
        (void)a;                                                                                   \
        return compare(m, (op), self, &v[0], out);                                                 \
    }

OP_TEST(is_eq, JOP('=', '='))
OP_TEST(is_ne, JOP('!', '='))
OP_TEST(is_gt, '>')
OP_TEST(is_ge, JOP('>', '='))
OP_TEST(is_lt, '<')
OP_TEST(is_le, JOP('<', '='))
OP_TEST(is_in, 'i')

static JBUILTIN(is_same)
{
    const struct jval *b = &v[0];

    (void)a;
    if (self->type != b->type) {
        *out = jinja_bool(false);
        return true;
    }
    if (self->type < JV_LIST) return compare(m, JOP('=', '='), self, b, out);
    *out = jinja_bool(self->p == b->p);
    return true;
}

static JBUILTIN(is_filter)
{
    (void)m, (void)v, (void)a;
    *out = jinja_bool(self->type == JV_STR &&
                      jinja_find_builtin(jinja_filter_table, jinja_view(self)) >= 0);
    return true;
}

static JBUILTIN(is_test)
{
    (void)m, (void)v, (void)a;
    *out = jinja_bool(self->type == JV_STR &&
                      jinja_find_builtin(jinja_test_table, jinja_view(self)) >= 0);
    return true;
}

const struct jbuiltin jinja_test_table[] = {
    {.name = "defined", .params = "", .run = is_defined},
    {.name = "undefined", .params = "", .run = is_undefined},
    {.name = "none", .params = "", .run = is_none},
    {.name = "boolean", .params = "", .run = is_boolean},
    {.name = "true", .params = "", .run = is_true},
    {.name = "false", .params = "", .run = is_false},
    {.name = "integer", .params = "", .run = is_integer},
    {.name = "float", .params = "", .run = is_float},
    {.name = "number", .params = "", .run = is_number},
    {.name = "string", .params = "", .run = is_string},
    {.name = "mapping", .params = "", .run = is_mapping},
    {.name = "sequence", .params = "", .run = is_sequence},
    {.name = "iterable", .params = "", .run = is_iterable},
    {.name = "callable", .params = "", .run = is_callable},
    {.name = "escaped", .params = "", .run = is_escaped},
    {.name = "lower", .params = "", .run = is_lower},
    {.name = "upper", .params = "", .run = is_upper},
    {.name = "odd", .params = "", .run = is_odd},
    {.name = "even", .params = "", .run = is_even},
    {.name = "divisibleby", .params = "num", .run = is_divisible},
    {.name = "in", .params = "seq", .run = is_in},
    {.name = "sameas", .params = "other", .run = is_same},
    {.name = "filter", .params = "", .run = is_filter},
    {.name = "test", .params = "", .run = is_test},
    {.name = "==", .params = "other", .run = is_eq},
    {.name = "eq", .params = "other", .run = is_eq},
    {.name = "equalto", .params = "other", .run = is_eq},
    {.name = "!=", .params = "other", .run = is_ne},
    {.name = "ne", .params = "other", .run = is_ne},
    {.name = ">", .params = "other", .run = is_gt},
    {.name = "gt", .params = "other", .run = is_gt},
    {.name = "greaterthan", .params = "other", .run = is_gt},
    {.name = ">=", .params = "other", .run = is_ge},
    {.name = "ge", .params = "other", .run = is_ge},
    {.name = "<", .params = "other", .run = is_lt},
    {.name = "lt", .params = "other", .run = is_lt},
    {.name = "lessthan", .params = "other", .run = is_lt},
    {.name = "<=", .params = "other", .run = is_le},
    {.name = "le", .params = "other", .run = is_le},
    {.name = NULL},
};
