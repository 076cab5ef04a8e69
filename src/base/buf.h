/* buf: a growable byte buffer with a cap.
 *
 * Invariant: p[n] is a NUL whenever p is not NULL. Failure is sticky: once a put would pass the
 * cap or the heap has no memory, `failed` is set, the content stays as it was and every further put
 * does nothing, so a writer checks once at the end. `buf b = {.cap = LIMIT_X};` is a valid buffer.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>

#include "base/str.h"

typedef struct buf {
    char *p;
    size_t n;
    size_t size; /* allocated */
    size_t cap;  /* n never exceeds this */
    bool failed;
    bool no_memory; /* what it failed for, if not for its cap */
} buf;

void buf_init(buf *b, size_t cap);
void buf_fini(buf *b);
void buf_clear(buf *b); /* keeps the memory, resets `failed` */

bool buf_reserve(buf *b, size_t more); /* room for `more` bytes without a further allocation */
void buf_put(buf *b, const void *p, size_t n);
void buf_str(buf *b, str s);
void buf_c(buf *b, const char *s);
void buf_ch(buf *b, char c);
void buf_printf(buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(buf *b, const char *fmt, va_list ap);
void buf_drop(buf *b, size_t n); /* removes the first n bytes */

str buf_view(const buf *b); /* borrowed until the next put */
char *buf_take(buf *b);     /* moves the bytes out (mem_free them); b is empty after it */

#endif
