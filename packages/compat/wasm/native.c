/* native: the package's one function as a program, to compare it with what WebAssembly answers.
 *
 * Reads requests, one on a line, and writes their answers, one on a line. With --tables it writes
 * the tables that the package's types are made of.
 */
#include <stdio.h>
#include <string.h>

#include "compat.h"
#include "tables.h"

int main(int argc, char **argv)
{
    buf line = {.cap = COMPAT_REQUEST_MAX}, reply = {.cap = COMPAT_REQUEST_MAX};
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
        (void)compat_call(buf_view(&line), &reply);
        fwrite(reply.p, 1, reply.n, stdout);
        putchar('\n');
        fflush(stdout);
        buf_clear(&line);
    }
    buf_fini(&line);
    buf_fini(&reply);
    return 0;
}
