/* buf: a growable byte buffer with a cap. See buf.h. */
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void buf_init(buf *b, size_t cap)
{
    *b = (buf){.cap = cap};
}

void buf_fini(buf *b)
{
    mem_free(b->p);
    *b = (buf){.cap = b->cap};
}

void buf_clear(buf *b)
{
    b->n = 0;
    b->failed = b->no_memory = false;
    if (b->p) b->p[0] = 0;
}

bool buf_reserve(buf *b, size_t more)
{
    size_t need, size;
    char *p;

    if (b->failed) return false;
    if (!mem_add(b->n, more, &need) || need > b->cap) goto fail;
    if (b->p && need < b->size) return true;
    size = b->size ? b->size : 64;
    while (size <= need)
        size = size > SIZE_MAX / 2 ? need + 1 : size * 2;
    if (size > b->cap && b->cap < SIZE_MAX) size = b->cap + 1;
    if (!(p = mem_resize(b->p, size))) {
        b->no_memory = true;
        goto fail;
    }
    b->p = p;
    b->size = size;
    p[b->n] = 0;
    return true;
fail:
    b->failed = true;
    return false;
}

void buf_put(buf *b, const void *p, size_t n)
{
    if (!buf_reserve(b, n)) return;
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_str(buf *b, str s)
{
    buf_put(b, s.p, s.n);
}

void buf_c(buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_ch(buf *b, char c)
{
    buf_put(b, &c, 1);
}

void buf_vprintf(buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if (!buf_reserve(b, (size_t)n)) return;
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    b->n += (size_t)n;
}

void buf_printf(buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_drop(buf *b, size_t n)
{
    if (n > b->n) n = b->n;
    if (n == 0) return;
    b->n -= n;
    memmove(b->p, b->p + n, b->n);
    b->p[b->n] = 0;
}

str buf_view(const buf *b)
{
    return (str){b->p, b->n};
}

char *buf_take(buf *b)
{
    char *p = b->p;

    *b = (buf){.cap = b->cap};
    return p;
}
