/* tap: the smallest test harness that prints TAP (Test Anything Protocol).
 *
 *   int main(void) { ok(1 + 1 == 2, "adds"); is_int(f(), 3, "f"); skip("no GPU here"); return
 * tap_end(); }
 *
 * ok() and the is_*() family count one test each, print a line, and on failure say where and what.
 * A test program ends with tap_end(), which prints the plan. skip() counts one skipped test.
 * tap_data() finds the shared test data or returns NULL.
 */
#ifndef TESTS_TAP_H
#define TESTS_TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

static int tap_n, tap_bad;

__attribute__((format(printf, 4, 5), unused)) static bool tap_ok(bool good, const char *file,
                                                                 int line, const char *fmt, ...)
{
    va_list ap;
    printf("%sok %d - ", good ? "" : "not ", ++tap_n);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (!good) {
        printf("#   at %s:%d\n", file, line);
        tap_bad++;
    }
    fflush(stdout);
    return good;
}

#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)

__attribute__((unused)) static bool tap_is_int(int64_t got, int64_t want, const char *file,
                                               int line, const char *what)
{
    bool good = tap_ok(got == want, file, line, "%s", what);
    if (!good) printf("#   got %lld, want %lld\n", (long long)got, (long long)want);
    return good;
}

#define is_int(got, want, what)                                                                    \
    tap_is_int((int64_t)(got), (int64_t)(want), __FILE__, __LINE__, (what))

__attribute__((unused)) static bool tap_is_str(str got, str want, const char *file, int line,
                                               const char *what)
{
    bool good = got.n == want.n && (got.n == 0 || memcmp(got.p, want.p, got.n) == 0);
    tap_ok(good, file, line, "%s", what);
    if (!good) printf("#   got  \"%.*s\"\n#   want \"%.*s\"\n", STR(got), STR(want));
    return good;
}

#define is_str(got, want, what) tap_is_str((got), (want), __FILE__, __LINE__, (what))

#define skip(why) (printf("ok %d # SKIP %s\n", ++tap_n, (why)), fflush(stdout))

__attribute__((unused)) static int tap_end(void)
{
    printf("1..%d\n", tap_n);
    return tap_bad ? 1 : 0;
}

/* Path of `rel` in the shared test data: $RBEE_TEST_DATA, else ../shared/data from the source tree.
 * NULL when it is not there. The result is good until the next four calls. */
__attribute__((unused)) static const char *tap_data(const char *rel)
{
    static char out[4][1024];
    static unsigned turn;
    struct stat st;
    const char *root = getenv("RBEE_TEST_DATA");
    char *p = out[turn++ % 4];
    if (root)
        snprintf(p, sizeof out[0], "%s/%s", root, rel);
    else
        snprintf(p, sizeof out[0], "%s/../shared/data/%s", RBEE_SOURCE_DIR, rel);
    return stat(p, &st) == 0 ? p : NULL;
}

#endif
