/* jinja_builtin: filters, tests, methods and functions by name, and their arguments.
 *
 * A call binds what it is given to the parameters that the row names; the function finds them in
 * that order, JV_ABSENT where nothing was given.
 */
#include "text/jinja_int.h"

/* ---- arguments ---- */

bool jinja_given(const struct jval *v)
{
    return v->type != JV_ABSENT && v->type != JV_NONE;
}

bool jinja_want_str(struct jmach *m, const char *what, const struct jval *v)
{
    if (v->type == JV_STR) return true;
    return JFAIL(m, "%s needs a str, not %s", what, v->type ? jinja_type_name(v) : "nothing");
}

bool jinja_want_int(struct jmach *m, const struct jval *v, int64_t dflt, int64_t *out)
{
    *out = dflt;
    if (!jinja_given(v)) return true;
    if (v->type != JV_INT && v->type != JV_BOOL)
        return JFAIL(m, "an integer is needed, not %s", jinja_type_name(v));
    *out = v->type == JV_BOOL ? v->b : v->i;
    return true;
}

/* The parameter of that name as a number, from "a b c"; -1: none. */
static int param_index(const char *params, str name)
{
    str rest = str_c(params);

    for (int i = 0; rest.p && rest.n; i++) {
        if (str_eq(str_cut(rest, ' ', &rest), name)) return i;
    }
    return -1;
}

static size_t param_count(const char *params)
{
    size_t n = *params != 0;

    for (; *params; params++)
        n += *params == ' ';
    return n;
}

bool jinja_run_builtin(struct jmach *m, const struct jbuiltin *row, const struct jval *self,
                       const struct jargs *a, struct jval *out)
{
    struct jval v[JINJA_PARAMS] = {{0}};
    bool open = row->params[0] == '*';

    if (!jinja_step(m, 1)) return false;
    if (open) return row->run(m, self, v, a, out);
    if (a->n > param_count(row->params))
        return JFAIL(m, "%s takes at most %zu arguments, %zu are given", row->name,
                     param_count(row->params), a->n);
    for (size_t i = 0; i < a->n; i++)
        v[i] = a->pos[i];
    for (size_t i = 0; i < a->n_kw; i++) {
        int at = param_index(row->params, a->kw[i].name);

        if (at < 0) return JFAIL(m, "%s has no argument '%.*s'", row->name, STR(a->kw[i].name));
        if (v[at].type != JV_ABSENT)
            return JFAIL(m, "%s: argument '%.*s' is given twice", row->name, STR(a->kw[i].name));
        v[at] = a->kw[i].v;
    }
    return row->run(m, self, v, a, out);
}

/* ---- by name ---- */

int jinja_find_builtin(const struct jbuiltin *table, str name)
{
    for (int i = 0; table[i].name; i++) {
        if (str_eqc(name, table[i].name)) return i;
    }
    return -1;
}

bool jinja_run_test(struct jmach *m, str name, const struct jval *v, const struct jargs *a,
                    bool *out)
{
    int row = jinja_find_builtin(jinja_test_table, name);
    struct jval yes;

    if (row < 0) return JFAIL(m, "no test named '%.*s'", STR(name));
    if (!jinja_run_builtin(m, &jinja_test_table[row], v, a, &yes)) return false;
    *out = jinja_truth(&yes);
    return true;
}

bool jinja_run_filter(struct jmach *m, str name, const struct jval *v, const struct jargs *a,
                      struct jval *out)
{
    int row = jinja_find_builtin(jinja_filter_table, name);

    if (row < 0) return JFAIL(m, "no filter named '%.*s'", STR(name));
    return jinja_run_builtin(m, &jinja_filter_table[row], v, a, out);
}

const struct jbuiltin *jinja_find_method(const struct jval *self, str name)
{
    const struct jbuiltin *row = self->type == JV_STR ? jinja_str_method_table : jinja_method_table;

    for (; row->name; row++) {
        if (row->self == self->type && str_eqc(name, row->name)) return row;
    }
    return NULL;
}
