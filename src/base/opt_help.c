/* opt_help: the help text of a command.
 *
 * Two columns: names on the left, as wide as the widest name that leaves room, and text on the
 * right, wrapped at the width. A name that is too wide stands on a line of its own. Everything
 * shown comes from the table that the parser reads, so the two cannot disagree.
 *
 * Left out: colours, which depend on where the text goes.
 */
#include "base/opt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/opt_int.h"

#define LEFT_MAX  30 /* columns of names at most */
#define WIDTH_MIN 40

/* ---- pieces ---- */

const char *opt_bound(const struct opt *o, double v, char out[OPT_BOUND_TEXT])
{
    static const struct {
        double factor;
        const char *unit;
    } sizes[] = {{0x1p40, "T"}, {0x1p30, "G"}, {0x1p20, "M"}, {0x1p10, "K"}},
      times[] = {{3600e3, "h"}, {60e3, "m"}, {1e3, "s"}, {1, "ms"}};

    if (v != 0 && (o->type == OPT_SIZE || o->type == OPT_TIME)) {
        for (int i = 0; i < 4; i++) {
            double f = o->type == OPT_SIZE ? sizes[i].factor : times[i].factor;

            if (fabs(v) < f || fmod(v, f) != 0) continue;
            snprintf(out, OPT_BOUND_TEXT, "%.0f%s", v / f,
                     o->type == OPT_SIZE ? sizes[i].unit : times[i].unit);
            return out;
        }
    }
    if (v == floor(v) && fabs(v) < 1e15)
        snprintf(out, OPT_BOUND_TEXT, "%.0f", v);
    else
        snprintf(out, OPT_BOUND_TEXT, "%g", v);
    return out;
}

static void pos_name(const struct opt_pos *pos, buf *out)
{
    buf_printf(out, "%s%s%s%s", pos->required ? "" : "[", pos->name, pos->rest ? "..." : "",
               pos->required ? "" : "]");
}

void opt_usage(const struct opt_spec *spec, buf *out)
{
    buf_printf(out, "%s%s", spec->command, spec->opts->flag ? " [OPTIONS]" : "");
    for (const struct opt_pos *pos = spec->pos; pos && pos->name; pos++) {
        buf_ch(out, ' ');
        pos_name(pos, out);
    }
}

static bool on_by_default(const struct opt *o)
{
    return o->type == OPT_BOOL && o->dflt && strcmp(o->dflt, "true") == 0;
}

static void opt_name(const struct opt *o, buf *out)
{
    if (o->letter)
        buf_printf(out, "-%c, ", o->letter);
    else
        buf_c(out, "    ");
    buf_printf(out, "--%s%s", on_by_default(o) ? "[no-]" : "", o->flag);
    if (o->arg) buf_printf(out, " %s", o->arg);
    if (o->type == OPT_LIST) buf_c(out, "...");
}

/* "(one of a, b; default a; env X)", nothing when there is nothing to add. */
static void opt_notes(const struct opt *o, buf *out)
{
    char lo[OPT_BOUND_TEXT], hi[OPT_BOUND_TEXT];
    const char *sep = " (";

    if (o->type == OPT_ENUM && o->choices) {
        str rest = str_c(o->choices);

        buf_printf(out, "%sone of ", sep);
        while (rest.p) {
            buf_str(out, str_cut(rest, '|', &rest));
            if (rest.p) buf_c(out, ", ");
        }
        sep = "; ";
    }
    if (o->min < o->max) {
        if (o->max < 1e15)
            buf_printf(out, "%s%s to %s", sep, opt_bound(o, o->min, lo), opt_bound(o, o->max, hi));
        else
            buf_printf(out, "%sat least %s", sep, opt_bound(o, o->min, lo));
        sep = "; ";
    }
    if (o->dflt && *o->dflt && o->type != OPT_BOOL) {
        buf_printf(out, "%sdefault %s", sep, o->dflt);
        sep = "; ";
    }
    if (on_by_default(o)) {
        buf_printf(out, "%son by default", sep);
        sep = "; ";
    }
    if (o->env) {
        buf_printf(out, "%senv %s", sep, o->env);
        sep = "; ";
    }
    if (sep[0] == ';') buf_ch(out, ')');
}

/* ---- layout ---- */

/* Columns that s takes on a terminal: one a code point. */
static int columns(str s)
{
    int n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

static void pad(buf *out, int n)
{
    for (int i = 0; i < n; i++)
        buf_ch(out, ' ');
}

/* Words of `text`, the first at column `at`, following lines indented by `indent`. */
static void wrap(buf *out, str text, int at, int indent, int width)
{
    bool first = true;

    while (text.p) {
        str word = str_cut(text, ' ', &text);
        int n = columns(word);

        if (n == 0) continue;
        if (!first && at + 1 + n > width) {
            buf_ch(out, '\n');
            pad(out, indent);
            at = indent;
        } else if (!first) {
            buf_ch(out, ' ');
            at++;
        }
        buf_str(out, word);
        at += n;
        first = false;
    }
    buf_ch(out, '\n');
}

static void row(buf *out, str name, str text, int left, int width)
{
    int n = columns(name);

    buf_c(out, "  ");
    buf_str(out, name);
    if (n > left) {
        buf_ch(out, '\n');
        pad(out, left + 4);
    } else {
        pad(out, left - n + 2);
    }
    wrap(out, text, left + 4, left + 4, width);
}

/* Lines that begin with a space stay as they are; others are wrapped. */
static void paragraphs(buf *out, const char *text, int width)
{
    str rest = str_c(text);

    while (rest.p) {
        str line = str_cut(rest, '\n', &rest);

        if (!rest.p && line.n == 0) break;
        if (line.n && line.p[0] == ' ') {
            buf_str(out, line);
            buf_ch(out, '\n');
        } else {
            wrap(out, line, 0, 0, width);
        }
    }
}

/* The width of the left column: the widest name that still leaves the text most of the line. */
static int left_width(const struct opt_spec *spec, int width)
{
    int most = width * 2 / 5 < LEFT_MAX ? width * 2 / 5 : LEFT_MAX,
        left = (int)sizeof "-h, --help" - 1;
    buf name = {.cap = 4096};

    for (const struct opt_pos *pos = spec->pos; pos && pos->name; pos++) {
        buf_clear(&name);
        pos_name(pos, &name);
        int n = columns(buf_view(&name));
        if (n > left && n <= most) left = n;
    }
    for (const struct opt *o = spec->opts; o->flag; o++) {
        buf_clear(&name);
        opt_name(o, &name);
        int n = columns(buf_view(&name));
        if (n > left && n <= most) left = n;
    }
    buf_fini(&name);
    return left;
}

static void option_rows(const struct opt_spec *spec, buf *out, int left, int width)
{
    buf name = {.cap = 4096}, text = {.cap = 4096};
    bool own_h = false;

    buf_c(out, "\nOptions:\n");
    for (const struct opt *o = spec->opts; o->flag; o++) {
        buf_clear(&name);
        buf_clear(&text);
        opt_name(o, &name);
        buf_c(&text, o->help ? o->help : "");
        opt_notes(o, &text);
        row(out, buf_view(&name), buf_view(&text), left, width);
        own_h = own_h || o->letter == 'h';
    }
    row(out, own_h ? S("    --help") : S("-h, --help"), S("Show this help."), left, width);
    buf_fini(&name);
    buf_fini(&text);
}

void opt_help(const struct opt_spec *spec, buf *out, int width)
{
    int left;

    if (width <= 0) width = 80;
    if (width < WIDTH_MIN) width = WIDTH_MIN;
    left = left_width(spec, width);
    wrap(out, str_c(spec->summary), 0, 0, width);
    buf_c(out, "\nUsage: ");
    opt_usage(spec, out);
    buf_ch(out, '\n');
    if (spec->pos && spec->pos->name) {
        buf name = {.cap = 4096};

        buf_c(out, "\nArguments:\n");
        for (const struct opt_pos *pos = spec->pos; pos->name; pos++) {
            buf_clear(&name);
            pos_name(pos, &name);
            row(out, buf_view(&name), str_c(pos->help), left, width);
        }
        buf_fini(&name);
    }
    option_rows(spec, out, left, width);
    if (spec->details) {
        buf_ch(out, '\n');
        paragraphs(out, spec->details, width);
    }
    if (spec->examples) {
        str rest = str_c(spec->examples);

        buf_c(out, "\nExamples:\n");
        while (rest.p) {
            str line = str_cut(rest, '\n', &rest);

            if (line.n) buf_printf(out, "  %.*s", STR(line));
            if (line.n || rest.p) buf_ch(out, '\n');
        }
    }
}

void opt_print(const struct opt_spec *spec, int width)
{
    buf b = {.cap = KIB(64)};

    opt_help(spec, &b, width);
    fwrite(b.p, 1, b.n, stdout);
    buf_fini(&b);
}
