/* table: columns and paragraphs for people, on terminals of any width and in pipes.
 *
 * On a terminal no line is longer than it is wide: cells are shortened, and columns that matter
 * least are left out. In a pipe nothing is shortened, left out or coloured. Colour only repeats
 * what words say; NO_COLOR and a dumb terminal have none.
 *
 * Text comes from the Hub and from files: control characters, bytes that are no UTF-8 and
 * characters that turn the direction of writing are replaced, so that no cell can write over
 * another or give the terminal an order. A table lives in its arena; where that is full, rows are
 * left out.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/arena.h"
#include "base/buf.h"

enum table_tone { TABLE_PLAIN, TABLE_HEAD, TABLE_DIM, TABLE_GOOD, TABLE_WARN, TABLE_BAD };
enum table_cut { TABLE_NO_CUT, TABLE_CUT_END, TABLE_CUT_MIDDLE };

/* Where the text goes. */
struct table_look {
    int width; /* columns; 0: no end */
    bool colour, utf8;
};
void table_look_of(struct table_look *l, int fd);

struct table_col {
    const char *head;
    bool right; /* aligned */
    enum table_cut cut;
    int min;  /* columns that a cell keeps when it is cut */
    int drop; /* left out when there is no room, the highest first; 0: never */
};

struct table_cell {
    str text;
    int width;
    enum table_tone tone;
};

struct table {
    struct arena *a;
    const struct table_col *col;
    size_t n_cols, n_cells, room;
    struct table_cell *cell; /* [row][col] */
};

#define TABLE_COLS_MAX 20

/* The columns must outlive the table. */
void table_init(struct table *t, struct arena *a, const struct table_col *col, size_t n_cols);
/* The next cell of the row, or the first of the next one. */
void table_put(struct table *t, enum table_tone tone, str text);
void table_printf(struct table *t, enum table_tone tone, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The heading, if there is one, and all rows, each line after `indent` spaces. Columns without any
 * text are left out. Returns the columns that were written, bits 1 << index. */
uint32_t table_write(const struct table *t, const struct table_look *l, int indent, buf *out);

/* A paragraph, broken at spaces; `first` columns of its first line are written already, further
 * lines begin after `indent` spaces. Ends with a newline. */
void table_text(const struct table_look *l, int first, int indent, str text, buf *out);
/* "  label       text", the text broken where it is too long; nothing when there is none. */
void table_fact(const struct table_look *l, const char *label, enum table_tone tone, str text,
                buf *out);
/* One word in a tone. */
void table_tone(const struct table_look *l, enum table_tone tone, str text, buf *out);
/* `text` as it may be shown, in the arena or as it is. */
str table_clean(struct arena *a, str text);
/* Columns of a terminal that a clean text takes. */
int table_columns(str text);

#endif
