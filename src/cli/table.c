/* table: see table.h.
 *
 * A table is laid out when it is written: every column as wide as its widest cell, then, while that
 * is too much, cells that may be cut give way down to their least width, then the column that
 * matters least goes and the others are laid out again.
 */
#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/err.h"
#include "base/utf8.h"

#define WIDTH_MIN 40
#define WIDTH_MAX 160 /* beyond it a line is hard to follow with the eye */
#define GAP       2   /* columns between columns */

#define FACT_INDENT 16

/* ---- where it goes ---- */

static bool locale_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *v = getenv(names[i]);

        if (v && *v) return strstr(v, "UTF-8") || strstr(v, "utf8") || strstr(v, "utf-8");
    }
    return false;
}

void table_look_of(struct table_look *l, int fd)
{
    const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
    struct winsize w;

    *l = (struct table_look){.utf8 = locale_is_utf8()};
    if (!isatty(fd)) return;
    l->width = 80;
    if (ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0) l->width = w.ws_col;
    if (l->width < WIDTH_MIN) l->width = WIDTH_MIN;
    if (l->width > WIDTH_MAX) l->width = WIDTH_MAX;
    l->colour = !(none && *none) && term && *term && strcmp(term, "dumb") != 0;
}

void table_tone(const struct table_look *l, enum table_tone tone, str text, buf *out)
{
    static const char *const codes[] = {[TABLE_HEAD] = "1",
                                        [TABLE_DIM] = "2",
                                        [TABLE_GOOD] = "32",
                                        [TABLE_WARN] = "33",
                                        [TABLE_BAD] = "31"};

    if (l->colour && tone != TABLE_PLAIN && text.n)
        buf_printf(out, "\033[%sm%.*s\033[0m", codes[tone], STR(text));
    else
        buf_str(out, text);
}

/* ---- text ---- */

/* Not shown as it is: what gives orders to the terminal or turns the direction of writing. */
static bool is_harmful(uint32_t c)
{
    utf8proc_category_t kind;

    if (c == UTF8_BAD) return true;
    kind = utf8proc_category((utf8proc_int32_t)c);
    return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF ||
           kind == UTF8PROC_CATEGORY_ZL || kind == UTF8PROC_CATEGORY_ZP;
}

str table_clean(struct arena *a, str text)
{
    bool good = true;
    size_t n = 0;
    char *p;

    for (size_t at = 0; at < text.n && good;)
        good = !is_harmful(utf8_next(text, &at));
    if (good) return text;
    if (!(p = arena_alloc(a, text.n, 1))) return S("?");
    for (size_t at = 0; at < text.n;) {
        size_t from = at;

        if (is_harmful(utf8_next(text, &at))) {
            p[n++] = '?';
            continue;
        }
        memcpy(p + n, text.p + from, at - from);
        n += at - from;
    }
    return (str){p, n};
}

static int columns_of(uint32_t c)
{
    return c == UTF8_BAD ? 1 : utf8proc_charwidth((utf8proc_int32_t)c);
}

int table_columns(str text)
{
    int n = 0;

    for (size_t at = 0; at < text.n;)
        n += columns_of(utf8_next(text, &at));
    return n;
}

/* Bytes at the beginning of text that take at most so many columns. */
static size_t head_bytes(str text, int columns)
{
    size_t at = 0;

    while (at < text.n) {
        size_t from = at;

        columns -= columns_of(utf8_next(text, &at));
        if (columns < 0) return from;
    }
    return at;
}

static size_t tail_from(str text, int columns)
{
    size_t at = 0;
    int skip = table_columns(text) - columns;

    while (at < text.n && skip > 0)
        skip -= columns_of(utf8_next(text, &at));
    return at;
}

void table_text(const struct table_look *l, int first, int indent, str text, buf *out)
{
    int at = first;
    bool begun = false;

    while (text.p && text.n) {
        str word = str_cut(text, ' ', &text);
        int n = table_columns(word);

        if (!word.n) continue;
        if (begun && l->width && at + 1 + n > l->width) {
            buf_printf(out, "\n%*s", indent, "");
            at = indent;
        } else if (begun) {
            buf_ch(out, ' ');
            at++;
        }
        buf_str(out, word);
        at += n;
        begun = true;
    }
    buf_ch(out, '\n');
}

void table_fact(const struct table_look *l, const char *label, enum table_tone tone, str text,
                buf *out)
{
    buf b = {.cap = 1 << 16};
    str rest, line;

    if (!text.n) return;
    table_text(l, FACT_INDENT, FACT_INDENT, text, &b);
    buf_c(out, "  ");
    table_tone(l, TABLE_DIM, str_c(label), out);
    buf_printf(out, "%*s", FACT_INDENT - 2 - (int)strlen(label), "");
    rest = buf_view(&b);
    for (bool first = true; rest.n; first = false) {
        line = str_cut(rest, '\n', &rest);
        if (!first) buf_printf(out, "%*s", FACT_INDENT, "");
        table_tone(l, tone, str_trim(line), out);
        buf_ch(out, '\n');
    }
    buf_fini(&b);
}

/* ---- rows ---- */

void table_init(struct table *t, struct arena *a, const struct table_col *col, size_t n_cols)
{
    ASSERT(n_cols > 0 && n_cols <= TABLE_COLS_MAX);
    *t = (struct table){.a = a, .col = col, .n_cols = n_cols};
}

void table_put(struct table *t, enum table_tone tone, str text)
{
    if (t->n_cells == t->room) {
        size_t room = t->room ? 2 * t->room : 16 * t->n_cols;
        struct table_cell *cell = ARENA_NEW(t->a, struct table_cell, room);

        if (!cell) return;
        if (t->n_cells) memcpy(cell, t->cell, t->n_cells * sizeof *cell);
        t->cell = cell;
        t->room = room;
    }
    text = table_clean(t->a, text);
    t->cell[t->n_cells++] =
        (struct table_cell){.text = text, .width = table_columns(text), .tone = tone};
}

void table_printf(struct table *t, enum table_tone tone, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    str s;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    s = arena_str(t->a, str_c(text));
    table_put(t, tone, s.p ? s : S("?"));
}

/* ---- layout ---- */

struct layout {
    int width[TABLE_COLS_MAX]; /* 0: left out */
    size_t n_rows;
};

static int natural(const struct table *t, size_t n_rows, size_t col)
{
    int most = 0;

    for (size_t r = 0; r < n_rows; r++) {
        int w = t->cell[r * t->n_cols + col].width;

        most = w > most ? w : most;
    }
    if (!most && n_rows) return 0; /* nothing in it */
    return most > (int)strlen(t->col[col].head) ? most : (int)strlen(t->col[col].head);
}

static int least(const struct table *t, size_t col, int width)
{
    int min = t->col[col].min > (int)strlen(t->col[col].head) ? t->col[col].min
                                                              : (int)strlen(t->col[col].head);

    return t->col[col].cut && min < width ? min : width;
}

static int total(const int *width, size_t n)
{
    int sum = 0;

    for (size_t i = 0; i < n; i++)
        if (width[i]) sum += width[i] + (sum ? GAP : 0);
    return sum;
}

/* Takes one column of the terminal from the widest column that can spare it. */
static bool narrow(const struct table *t, struct layout *x)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < t->n_cols; i++)
        if (x->width[i] > least(t, i, x->width[i]) &&
            (best == SIZE_MAX || x->width[i] > x->width[best]))
            best = i;
    if (best == SIZE_MAX) return false;
    x->width[best]--;
    return true;
}

static bool leave_one_out(const struct table *t, int *width)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < t->n_cols; i++)
        if (width[i] && t->col[i].drop && (best == SIZE_MAX || t->col[i].drop > t->col[best].drop))
            best = i;
    if (best == SIZE_MAX) return false;
    width[best] = 0;
    return true;
}

static void lay_out(const struct table *t, int room, struct layout *x)
{
    int full[TABLE_COLS_MAX] = {0}, min[TABLE_COLS_MAX] = {0};

    x->n_rows = t->n_cells / t->n_cols;
    for (size_t i = 0; i < t->n_cols; i++)
        full[i] = natural(t, x->n_rows, i);
    for (;;) {
        for (size_t i = 0; i < t->n_cols; i++)
            min[i] = full[i] ? least(t, i, full[i]) : 0;
        if (!room || total(min, t->n_cols) <= room || !leave_one_out(t, full)) break;
    }
    memcpy(x->width, full, sizeof full);
    while (room && total(x->width, t->n_cols) > room && narrow(t, x))
        ;
}

static void cut_cell(const struct table_look *l, enum table_cut how, str text, int width, buf *out)
{
    str dots = l->utf8 ? S("\342\200\246") : S("~");
    int head = how == TABLE_CUT_MIDDLE ? width / 2 : width - 1;

    buf_str(out, str_sub(text, 0, head_bytes(text, head)));
    buf_str(out, dots);
    if (how == TABLE_CUT_MIDDLE)
        buf_str(out, str_sub(text, tail_from(text, width - 1 - head), text.n));
}

static void write_cell(const struct table_look *l, const struct table_col *col,
                       const struct table_cell *c, int width, bool last, buf *out)
{
    buf cut = {.cap = 4096};
    str text = c->text;
    int w = c->width;

    if (w > width) {
        cut_cell(l, col->cut, text, width, &cut);
        text = buf_view(&cut);
        w = table_columns(text);
    }
    if (col->right) buf_printf(out, "%*s", width - w, "");
    table_tone(l, c->tone, text, out);
    if (!col->right && !last) buf_printf(out, "%*s", width - w, "");
    buf_fini(&cut);
}

/* Spaces at the end of a line are nobody's friend: cells without text at the end are not written.
 */
static void write_row(const struct table *t, const struct table_look *l, const struct layout *x,
                      const struct table_cell *cells, buf *out)
{
    size_t last = 0;
    bool first = true;

    for (size_t i = 0; i < t->n_cols; i++)
        if (x->width[i] && cells[i].text.n) last = i;
    for (size_t i = 0; i <= last; i++) {
        if (!x->width[i]) continue;
        if (!first) buf_printf(out, "%*s", GAP, "");
        first = false;
        write_cell(l, &t->col[i], &cells[i], x->width[i], i == last, out);
    }
    buf_ch(out, '\n');
}

uint32_t table_write(const struct table *t, const struct table_look *l, int indent, buf *out)
{
    struct table_cell head[TABLE_COLS_MAX] = {0};
    struct layout x = {0};
    bool headed = false;
    uint32_t written = 0;

    lay_out(t, l->width ? l->width - indent : 0, &x);
    for (size_t i = 0; i < t->n_cols; i++) {
        headed |= t->col[i].head[0] != 0;
        written |= x.width[i] ? (uint32_t)1 << i : 0;
        head[i] = (struct table_cell){.text = str_c(t->col[i].head),
                                      .width = (int)strlen(t->col[i].head),
                                      .tone = TABLE_HEAD};
    }
    if (headed) {
        buf_printf(out, "%*s", indent, "");
        write_row(t, l, &x, head, out);
    }
    for (size_t r = 0; r < x.n_rows; r++) {
        buf_printf(out, "%*s", indent, "");
        write_row(t, l, &x, t->cell + r * t->n_cols, out);
    }
    return written;
}
