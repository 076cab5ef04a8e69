/* opt: the parser of the command line.
 *
 * One pass over argv stores what flags and positionals give and remembers which rows were given; a
 * second pass over the table fills the others from the environment, the configuration file or the
 * default. So a broken environment variable does not stand in the way of --help, and no source ever
 * half overrides another. Values are checked in one place, value_from(), whatever their source.
 *
 * Invariant: after a successful parse every row of the table has been stored exactly once, lists
 * from one source only.
 *
 * Left out: abbreviated long options, and options with optional values.
 */
#include "base/opt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt_int.h"

#define ROWS_MAX 256

struct parser {
    const struct opt_spec *spec;
    int argc;
    char **argv;
    int at; /* the argument being read */
    char *out;
    struct err_info *e;
    int n_pos;            /* positionals stored so far */
    bool given[ROWS_MAX]; /* by a flag, per row of the table */
};

/* ---- one value ---- */

struct unit {
    const char *name;
    double factor;
};

static const struct unit size_units[] = {
    {"", 1},         {"b", 1},       {"k", 0x1p10},   {"kb", 0x1p10},  {"kib", 0x1p10},
    {"m", 0x1p20},   {"mb", 0x1p20}, {"mib", 0x1p20}, {"g", 0x1p30},   {"gb", 0x1p30},
    {"gib", 0x1p30}, {"t", 0x1p40},  {"tb", 0x1p40},  {"tib", 0x1p40}, {NULL, 0},
};

static const struct unit time_units[] = {
    {"ms", 1},     {"s", 1e3},    {"", 1e3},      {"m", 60e3},
    {"min", 60e3}, {"h", 3600e3}, {"d", 86400e3}, {NULL, 0},
};

/* strtod() takes more than people mean: hexadecimal, "inf", leading space. */
static bool decimal(const char *text, double *v, const char **rest)
{
    char *end;
    const char *p = text + (*text == '-' || *text == '+');

    if (!((*p >= '0' && *p <= '9') || (*p == '.' && p[1] >= '0' && p[1] <= '9'))) return false;
    if (*p == '0' && (p[1] == 'x' || p[1] == 'X')) return false;
    *v = strtod(text, &end);
    *rest = end;
    return isfinite(*v);
}

static bool with_unit(const char *text, const struct unit *units, int64_t *out)
{
    const char *rest;
    double v;

    if (!decimal(text, &v, &rest)) return false;
    for (const struct unit *u = units; u->name; u++) {
        if (!str_ieq(str_c(rest), str_c(u->name))) continue;
        v = round(v * u->factor);
        if (!(v > -0x1p63 && v < 0x1p63)) return false;
        *out = (int64_t)v;
        return true;
    }
    return false;
}

static bool boolean(const char *text, bool *out)
{
    static const char *const words[] = {"true", "yes", "on", "1", "false", "no", "off", "0"};

    for (int i = 0; i < 8; i++) {
        if (!str_ieq(str_c(text), str_c(words[i]))) continue;
        *out = i < 4;
        return true;
    }
    return false;
}

static enum err in_range(const struct opt *o, const char *source, const char *text, double v,
                         struct err_info *e)
{
    char lo[OPT_BOUND_TEXT], hi[OPT_BOUND_TEXT];

    if (!(o->min < o->max) || (v >= o->min && v <= o->max)) return ERR_OK;
    if (o->type == OPT_TIME && v == -1) return ERR_OK; /* for ever */
    return ERR_FAIL(e, INVALID, "%s: %s is not between %s and %s", source, text,
                    opt_bound(o, o->min, lo), opt_bound(o, o->max, hi));
}

static enum err number(const struct opt *o, const char *source, const char *text, void *field,
                       struct err_info *e)
{
    const char *rest, *want;
    int64_t i = 0;
    double d = 0;
    bool good;
    enum err err;

    switch (o->type) {
    case OPT_INT:
        want = "a whole number";
        good = str_int(str_c(text), &i);
        break;
    case OPT_SIZE:
        want = "a size such as 512K, 16M or 2G";
        good = with_unit(text, size_units, &i) && i >= 0;
        break;
    case OPT_TIME:
        want = "a time such as 500ms, 10s, 5m or 2h, or -1 for ever";
        good = with_unit(text, time_units, &i);
        if (good && i < 0) {
            good = strcmp(text, "-1") == 0;
            i = -1;
        }
        break;
    default:
        want = "a number";
        good = decimal(text, &d, &rest) && !*rest;
        break;
    }
    if (!good) return ERR_FAIL(e, INVALID, "%s: '%s' is not %s", source, text, want);
    err = in_range(o, source, text, o->type == OPT_NUM ? d : (double)i, e);
    if (err) return err;
    if (o->type == OPT_NUM)
        memcpy(field, &d, sizeof d);
    else
        memcpy(field, &i, sizeof i);
    return ERR_OK;
}

static enum err choice(const struct opt *o, const char *source, const char *text, void *field,
                       struct err_info *e)
{
    str rest = str_c(o->choices), word;
    char list[256];
    size_t n = 0;

    while (rest.p) {
        word = str_cut(rest, '|', &rest);
        if (str_eqc(word, text)) {
            memcpy(field, &text, sizeof text);
            return ERR_OK;
        }
        int wrote = snprintf(list + n, sizeof list - n, "%s%.*s", n ? ", " : "", STR(word));
        n += (size_t)wrote < sizeof list - n ? (size_t)wrote : 0;
    }
    return ERR_FAIL(e, INVALID, "%s: '%s' is not one of %s", source, text, list);
}

static enum err value_from(const struct opt *o, const char *source, const char *text, void *field,
                           struct err_info *e)
{
    struct opt_list *list = field;
    bool b;

    switch (o->type) {
    case OPT_BOOL:
        if (!boolean(text, &b))
            return ERR_FAIL(e, INVALID, "%s: '%s' is neither true nor false", source, text);
        memcpy(field, &b, sizeof b);
        return ERR_OK;
    case OPT_STR: memcpy(field, &text, sizeof text); return ERR_OK;
    case OPT_ENUM: return choice(o, source, text, field, e);
    case OPT_LIST:
        if (list->n == OPT_LIST_MAX)
            return ERR_FAIL(e, LIMIT, "%s: given more than %d times", source, OPT_LIST_MAX);
        list->v[list->n++] = text;
        return ERR_OK;
    case OPT_INT:
    case OPT_NUM:
    case OPT_SIZE:
    case OPT_TIME: return number(o, source, text, field, e);
    }
    BUG("option type");
}

enum err opt_value(const struct opt *o, const char *text, void *out, struct err_info *e)
{
    char source[80];

    snprintf(source, sizeof source, "%s%s", o->flag ? "--" : "", o->flag ? o->flag : "value");
    return value_from(o, source, text, (char *)out + o->at, e);
}

static size_t field_size(enum opt_type t)
{
    static const size_t sizes[] = {
        [OPT_BOOL] = sizeof(bool),         [OPT_INT] = sizeof(int64_t),
        [OPT_NUM] = sizeof(double),        [OPT_STR] = sizeof(const char *),
        [OPT_ENUM] = sizeof(const char *), [OPT_SIZE] = sizeof(int64_t),
        [OPT_TIME] = sizeof(int64_t),      [OPT_LIST] = sizeof(struct opt_list),
    };
    return sizes[t];
}

/* ---- unknown options ---- */

/* Edits (insert, delete, replace, swap neighbours) from a to b, or `most` + 1 where it is more or
 * the names are too long to be worth it. */
static int edits(const char *a, const char *b, int most)
{
    int row[3][48];
    int n = (int)strlen(a), m = (int)strlen(b);

    if (n >= 48 || m >= 48) return most + 1;
    for (int j = 0; j <= m; j++)
        row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *cur = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];

        cur[0] = i;
        for (int j = 1; j <= m; j++) {
            int v = up[j - 1] + (a[i - 1] != b[j - 1]);

            if (up[j] + 1 < v) v = up[j] + 1;
            if (cur[j - 1] + 1 < v) v = cur[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                up2[j - 2] + 1 < v)
                v = up2[j - 2] + 1;
            cur[j] = v;
        }
    }
    return row[n % 3][m] <= most ? row[n % 3][m] : most + 1;
}

static const char *nearest(const struct opt_spec *spec, const char *name)
{
    int most = (int)strlen(name) / 3 + 1, best = most + 1;
    const char *hit = NULL;

    for (const struct opt *o = spec->opts; o->flag; o++) {
        int d = edits(name, o->flag, most);

        /* What was cut short ("temp") is near, however much is missing. */
        if (strlen(name) >= 3 && strncmp(name, o->flag, strlen(name)) == 0) d = 1;
        if (d < best) {
            best = d;
            hit = o->flag;
        }
    }
    return hit ? hit : edits(name, "help", 1) <= 1 ? "help" : NULL;
}

static enum err unknown(struct parser *p, const char *shown, const char *name)
{
    const char *near = name ? nearest(p->spec, name) : NULL;

    if (near) {
        return ERR_FAIL(p->e, INVALID,
                        "unknown option %s; did you mean --%s? (%s --help lists all)", shown, near,
                        p->spec->command);
    }
    return ERR_FAIL(p->e, INVALID, "unknown option %s (%s --help lists all)", shown,
                    p->spec->command);
}

/* ---- flags ---- */

static const struct opt *find_long(const struct opt_spec *spec, str name)
{
    for (const struct opt *o = spec->opts; o->flag; o++) {
        if (str_eqc(name, o->flag)) return o;
    }
    return NULL;
}

static const struct opt *find_letter(const struct opt_spec *spec, char letter)
{
    for (const struct opt *o = spec->opts; o->flag; o++) {
        if (o->letter == letter && letter) return o;
    }
    return NULL;
}

static enum err store(struct parser *p, const struct opt *o, const char *source, const char *text)
{
    size_t row = (size_t)(o - p->spec->opts);
    char *field = p->out + o->at;

    ASSERT(row < ROWS_MAX);
    if (!p->given[row]) memset(field, 0, field_size(o->type));
    p->given[row] = true;
    return value_from(o, source, text, field, p->e);
}

/* The value of an option that needs one: the next argument, unless that is plainly an option. */
static enum err next_value(struct parser *p, const struct opt *o, const char *source)
{
    const char *text = p->at + 1 < p->argc ? p->argv[p->at + 1] : NULL;
    bool is_option = false;

    if (text && text[0] == '-' && text[1] == '-') {
        str rest, name = str_cut(str_c(text + 2), '=', &rest);
        is_option = text[2] == 0 || str_eqc(name, "help") || find_long(p->spec, name);
    }
    if (!text || is_option) {
        return ERR_FAIL(p->e, INVALID, "%s needs a value%s%s%s%s", source, o->arg ? ": " : "",
                        o->arg ? source : "", o->arg ? " " : "", o->arg ? o->arg : "");
    }
    p->at++;
    return store(p, o, source, text);
}

static enum err long_option(struct parser *p, const char *arg, bool *help)
{
    str value, name = str_cut(str_c(arg + 2), '=', &value);
    const struct opt *o = find_long(p->spec, name);
    char shown[96];

    snprintf(shown, sizeof shown, "--%.*s", STR(name));
    if (!o && str_eqc(name, "help") && !value.p) {
        *help = true;
        return ERR_OK;
    }
    if (!o && str_starts(name, S("no-"))) {
        o = find_long(p->spec, str_sub(name, 3, SIZE_MAX));
        if (o && o->type == OPT_BOOL && !value.p) return store(p, o, shown, "false");
        o = NULL;
    }
    if (!o) return unknown(p, shown, shown + 2);
    if (value.p) return store(p, o, shown, value.p);
    if (o->type == OPT_BOOL) return store(p, o, shown, "true");
    return next_value(p, o, shown);
}

static enum err letters(struct parser *p, const char *arg, bool *help)
{
    char shown[3] = "-?";
    enum err err;

    for (const char *c = arg + 1; *c; c++) {
        const struct opt *o = find_letter(p->spec, *c);

        shown[1] = *c;
        if (!o && *c == 'h') {
            *help = true;
            return ERR_OK;
        }
        if (!o) return unknown(p, (unsigned char)*c < 0x80 ? shown : arg, NULL);
        if (o->type != OPT_BOOL) return c[1] ? store(p, o, shown, c + 1) : next_value(p, o, shown);
        err = store(p, o, shown, "true");
        if (err) return err;
    }
    return ERR_OK;
}

static enum err positional(struct parser *p, const char *text)
{
    const struct opt_pos *pos = p->spec->pos;

    for (int i = 0; pos && pos[i].name; i++) {
        struct opt row = {.type = OPT_LIST};

        if (pos[i].rest) return value_from(&row, pos[i].name, text, p->out + pos[i].at, p->e);
        if (i < p->n_pos) continue;
        p->n_pos++;
        memcpy(p->out + pos[i].at, &text, sizeof text);
        return ERR_OK;
    }
    return ERR_FAIL(p->e, INVALID, "unexpected argument '%s' (%s --help shows the usage)", text,
                    p->spec->command);
}

/* "-5" is a number where no option is called -5. */
static bool is_number(const struct opt_spec *spec, const char *arg)
{
    const char *rest;
    double v;

    return !find_letter(spec, arg[1]) && decimal(arg, &v, &rest) && !*rest;
}

static enum err arguments(struct parser *p, bool *help)
{
    bool only_pos = false;
    enum err err = ERR_OK;

    for (p->at = 1; p->at < p->argc && !err && !*help; p->at++) {
        const char *arg = p->argv[p->at];

        if (only_pos || arg[0] != '-' || !arg[1] || is_number(p->spec, arg))
            err = positional(p, arg);
        else if (arg[1] != '-')
            err = letters(p, arg, help);
        else if (arg[2])
            err = long_option(p, arg, help);
        else
            only_pos = true;
    }
    return err;
}

/* ---- the other sources ---- */

static enum err fill_row(struct parser *p, const struct opt *o)
{
    const struct opt_spec *spec = p->spec;
    const char *env = o->env ? getenv(o->env) : NULL;
    const char *text = o->key && spec->config ? spec->config(o->key, spec->config_owner) : NULL;
    char source[96];

    if (env && *env) {
        snprintf(source, sizeof source, "environment variable %s", o->env);
        return store(p, o, source, env);
    }
    if (text) {
        snprintf(source, sizeof source, "configuration key %s", o->key);
        return store(p, o, source, text);
    }
    if (o->dflt) {
        snprintf(source, sizeof source, "default of --%s", o->flag);
        return store(p, o, source, o->dflt);
    }
    memset(p->out + o->at, 0, field_size(o->type));
    return ERR_OK;
}

static enum err missing(struct parser *p, const struct opt_pos *pos)
{
    buf usage = {.cap = 4096};
    enum err err;

    opt_usage(p->spec, &usage);
    err = ERR_FAIL(p->e, INVALID, "%s is missing; usage: %.*s", pos->name, STR(buf_view(&usage)));
    buf_fini(&usage);
    return err;
}

enum err opt_parse(const struct opt_spec *spec, int argc, char **argv, void *out, bool *help,
                   struct err_info *e)
{
    struct parser p = {.spec = spec, .argc = argc, .argv = argv, .out = out, .e = e};
    const struct opt_pos *pos = spec->pos;
    enum err err;

    *help = false;
    for (int i = 0; pos && pos[i].name; i++) {
        memset(p.out + pos[i].at, 0, pos[i].rest ? sizeof(struct opt_list) : sizeof(const char *));
    }
    err = arguments(&p, help);
    if (err || *help) return err;
    for (const struct opt *o = spec->opts; o->flag; o++) {
        if (!p.given[o - spec->opts] && (err = fill_row(&p, o))) return err;
    }
    for (int i = 0; pos && pos[i].name; i++) {
        const struct opt_list *list = (const void *)(p.out + pos[i].at);

        if (pos[i].required && (pos[i].rest ? list->n == 0 : i >= p.n_pos))
            return missing(&p, &pos[i]);
    }
    return ERR_OK;
}
