/* native: the package's one function as a program, to compare it with what WebAssembly answers.
 *
 * Reads requests, one on a line, and writes their answers, one on a line; with --files those of the
 * other module, where a tab and a path behind a request stand for the bytes of that file. With
 * --tables it writes the tables that the package's types are made of.
 */
#include <stdio.h>
#include <string.h>

#include "catalogs.h"
#include "compat.h"
#include "files.h"
#include "tables.h"

/* "REQUEST\tPATH" becomes REQUEST, a NUL, and the bytes of the file. */
static void add_file(buf *line)
{
    const char *tab = line->n ? memchr(line->p, '\t', line->n) : NULL;
    char part[4096], path[4096];
    size_t n;
    if (!tab) return;
    snprintf(path, sizeof path, "%s", tab + 1);
    line->n = (size_t)(tab - line->p);
    buf_ch(line, 0);
    FILE *f = fopen(path, "rb");
    while (f && (n = fread(part, 1, sizeof part, f)) > 0)
        buf_put(line, part, n);
    if (f) fclose(f);
}

int main(int argc, char **argv)
{
    buf line = {.cap = COMPAT_REQUEST_MAX}, reply = {.cap = COMPAT_REQUEST_MAX};
    bool files = argc == 2 && !strcmp(argv[1], "--files");
    int ch;
    if (argc == 2 && !strcmp(argv[1], "--tables")) {
        tables_write(&reply);
        puts(reply.p);
        buf_fini(&reply);
        return 0;
    }
    while ((ch = getchar()) != EOF) {
        if (ch != '\n') {
            buf_ch(&line, (char)ch);
            continue;
        }
        if (files) add_file(&line);
        (void)(files ? files_call : compat_call)(buf_view(&line), &reply);
        fwrite(reply.p, 1, reply.n, stdout);
        putchar('\n');
        fflush(stdout);
        buf_clear(&line);
    }
    catalogs_fini();
    buf_fini(&line);
    buf_fini(&reply);
    return 0;
}
