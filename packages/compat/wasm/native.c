/* native: the package's one function as a program, to compare it with what WebAssembly answers.
 *
 * Reads requests, one on a line, and writes their answers, one on a line.
 */
#include <stdio.h>
#include <string.h>

#include "compat.h"

int main(void)
{
    buf line = {.cap = COMPAT_REQUEST_MAX}, reply = {.cap = COMPAT_REQUEST_MAX};
    char part[4096];
    while (fgets(part, sizeof part, stdin)) {
        buf_c(&line, part);
        if (!line.n || line.p[line.n - 1] != '\n') continue;
        (void)compat_call((str){line.p, line.n - 1}, &reply);
        fwrite(reply.p, 1, reply.n, stdout);
        putchar('\n');
        fflush(stdout);
        buf_clear(&line);
    }
    buf_fini(&line);
    buf_fini(&reply);
    return 0;
}
