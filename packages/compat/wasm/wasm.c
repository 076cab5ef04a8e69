/* wasm: what a page or Node calls, and what the C below expects of a system that is not there.
 *
 * The module imports nothing. A caller asks for room, writes a request there, calls, and reads the
 * reply before the next call. Memory grows to what the largest request so far needed and is used
 * again; large buffers are given back to the heap first.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "compat.h"
#include "files.h"

/* The function of this module: compat_call or files_call. */
#ifndef CALL
#define CALL compat_call
#endif

#define EXPORT(name) __attribute__((export_name(#name), used))
#define KEEP         MIB(1) /* bytes of a buffer that is not given back */

char *compat_room(size_t n);
uint32_t compat_answer(size_t n);
const char *compat_reply(void);
size_t compat_reply_size(void);

static buf request = {.cap = COMPAT_REQUEST_MAX}, reply = {.cap = COMPAT_REQUEST_MAX};

static void trim(buf *b)
{
    if (b->size > KEEP) buf_fini(b);
    buf_clear(b);
}

/* Room for a request of n bytes; NULL: that is too large, or there is no memory. */
EXPORT(compat_room) char *compat_room(size_t n)
{
    trim(&reply);
    trim(&request);
    return buf_reserve(&request, n) ? request.p : NULL;
}

/* Answers the request of n bytes that lies in the room; the result is 0 or the number of an error
 * in err.def. */
EXPORT(compat_answer) uint32_t compat_answer(size_t n)
{
    enum err err = n < request.size ? CALL((str){request.p, n}, &reply) : ERR_INVALID;
    trim(&request);
    return (uint32_t)err;
}

EXPORT(compat_reply) const char *compat_reply(void)
{
    return reply.p;
}

EXPORT(compat_reply_size) size_t compat_reply_size(void)
{
    return reply.n;
}

/* ---- a system that is not there ---- */

void os_zero(void *p, size_t n)
{
    memset(p, 0, n);
}

/* A defect: the module stops and its caller makes a new one. */
_Noreturn void abort(void)
{
    __builtin_trap();
}

/* The last words of a defect go nowhere. These stand in for the C library's, which would bring its
 * files, and with them imports. */
extern char __stderr_FILE[1];
char __stderr_FILE[1];
FILE *const stderr = (FILE *)(void *)__stderr_FILE;

int fprintf(FILE *restrict f, const char *restrict fmt, ...)
{
    (void)f, (void)fmt;
    return 0;
}

int fputs(const char *restrict s, FILE *restrict f)
{
    (void)s, (void)f;
    return 0;
}
