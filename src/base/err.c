/* err: the table of errors and the one function where they are born. See err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static const struct row {
    const char *json;
    int http, exit;
    const char *type;
} rows[ERR_COUNT] = {
#define ERR(name, json, http, exit, type, text) [ERR_##name] = {json, http, exit, type},
#include "base/err.def"
#undef ERR
};

static const struct row *row_of(enum err code)
{
    return &rows[(unsigned)code < ERR_COUNT ? code : ERR_INTERNAL];
}

/* Texts quote names out of files: keep them one line of valid UTF-8. */
static void clean(char *text)
{
    str s = {text, strlen(text)};
    size_t at = 0;

    while (at < s.n) {
        size_t from = at;
        uint32_t cp = utf8_next(s, &at);

        if (cp == UTF8_BAD || cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
            memset(text + from, '?', at - from);
    }
}

enum err err_fail(struct err_info *e, enum err code, const char *file, int line, const char *fmt,
                  ...)
{
    va_list ap;

    if (!e) return code;
    e->code = code;
    e->file = file;
    e->line = line;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    clean(e->text);
    return code;
}

enum err err_errno(struct err_info *e, int errnum, const char *doing, const char *what)
{
    enum err code;

    switch (errnum) {
    case ENOENT:
    case ENOTDIR: code = ERR_NOTFOUND; break;
    case EACCES:
    case EPERM: code = ERR_ACCESS; break;
    case ENOSPC:
    case EDQUOT: code = ERR_NOSPACE; break;
    case ENOMEM: code = ERR_NOMEM; break;
    case EEXIST:
    case EADDRINUSE: code = ERR_EXISTS; break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE: code = ERR_UNAVAILABLE; break;
    case ETIMEDOUT: code = ERR_TIMEOUT; break;
    default: code = ERR_IO;
    }
    return err_fail(e, code, __FILE__, __LINE__, "cannot %s %s: %s", doing, what, strerror(errnum));
}

const char *err_name(enum err code)
{
    return row_of(code)->json;
}

int err_http(enum err code)
{
    return row_of(code)->http;
}

int err_exit(enum err code)
{
    return row_of(code)->exit;
}

const char *err_type(enum err code)
{
    return row_of(code)->type;
}

enum err err_from_name(const char *name, size_t n)
{
    for (int i = 0; i < ERR_COUNT; i++) {
        if (strlen(rows[i].json) == n && memcmp(rows[i].json, name, n) == 0) return (enum err)i;
    }
    return ERR_INTERNAL;
}

_Noreturn void err_bug(const char *file, int line, const char *what)
{
    fprintf(stderr, "rbee: a defect in rbee itself, at %s:%d: %s\n", file, line, what);
    abort();
}
