/* download_todo: the ranges of a file that are missing, and their journal.
 *
 * The journal is text: the file's size and hash, one line a range, a last line that shows that it
 * is whole. It says "missing" of everything that might not be on the disk.
 */
#include <string.h>

#include "store/download_int.h"

bool download_todo_add(struct download_todo *t, uint64_t from, uint64_t to)
{
    size_t i = 0;

    if (from >= to) return true;
    while (i < t->n && t->r[i].to < from)
        i++;
    if (i < t->n && t->r[i].to == from) {
        t->r[i].to = to;
    } else if (i < t->n && t->r[i].from == to) {
        t->r[i].from = from;
    } else {
        if (t->n == DOWNLOAD_RANGES) return false;
        memmove(&t->r[i + 1], &t->r[i], (t->n - i) * sizeof *t->r);
        t->r[i] = (struct download_range){from, to};
        t->n++;
    }
    if (i + 1 < t->n && t->r[i].to == t->r[i + 1].from) {
        t->r[i].to = t->r[i + 1].to;
        t->n--;
        memmove(&t->r[i + 1], &t->r[i + 2], (t->n - i - 1) * sizeof *t->r);
    }
    return true;
}

bool download_todo_take(struct download_todo *t, uint64_t most, struct download_range *out)
{
    if (t->n == 0) return false;
    *out = t->r[0];
    if (out->to - out->from > most) {
        out->to = out->from + most;
        t->r[0].from = out->to;
    } else {
        t->n--;
        memmove(&t->r[0], &t->r[1], t->n * sizeof *t->r);
    }
    return true;
}

uint64_t download_todo_bytes(const struct download_todo *t)
{
    uint64_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += t->r[i].to - t->r[i].from;
    return n;
}

void download_todo_write(const struct download_todo *t, uint64_t bytes, str digest, buf *out)
{
    buf_printf(out, "rbee download 1\nbytes %llu\ndigest %.*s\n", (unsigned long long)bytes,
               STR(digest));
    for (size_t i = 0; i < t->n; i++)
        buf_printf(out, "todo %llu %llu\n", (unsigned long long)t->r[i].from,
                   (unsigned long long)t->r[i].to);
    buf_c(out, "end\n");
}

/* "WORD rest": the rest. */
static bool line_of(str line, str word, str *rest)
{
    if (!str_starts(line, word)) return false;
    *rest = str_sub(line, word.n, line.n);
    return true;
}

static bool parse_range(str text, uint64_t least, uint64_t bytes, struct download_range *out)
{
    str to;
    int64_t a, b;
    str from = str_cut(text, ' ', &to);

    if (!str_int(from, &a) || !str_int(to, &b) || a < 0 || b <= a) return false;
    *out = (struct download_range){(uint64_t)a, (uint64_t)b};
    return out->from >= least && out->to <= bytes;
}

bool download_todo_parse(struct download_todo *t, str text, uint64_t bytes, str digest)
{
    str rest = text, v;
    int64_t size;
    uint64_t least = 0;

    t->n = 0;
    if (!str_eqc(str_cut(rest, '\n', &rest), "rbee download 1")) return false;
    if (!line_of(str_cut(rest, '\n', &rest), S("bytes "), &v) || !str_int(v, &size) || size < 0 ||
        (uint64_t)size != bytes)
        return false;
    if (!line_of(str_cut(rest, '\n', &rest), S("digest "), &v) || !str_eq(v, digest)) return false;
    while (rest.p) {
        str line = str_cut(rest, '\n', &rest);

        if (str_eqc(line, "end")) return rest.p && rest.n == 0;
        if (t->n == DOWNLOAD_RANGES || !line_of(line, S("todo "), &v) ||
            !parse_range(v, least, bytes, &t->r[t->n]))
            break;
        least = t->r[t->n++].to;
    }
    t->n = 0;
    return false;
}
