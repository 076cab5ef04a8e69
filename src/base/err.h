/* err: errors as values.
 *
 * A function that can fail returns `enum err` and takes a `struct err_info *` that it fills on
 * failure with one sentence: what went wrong, with which input, what to do next. The one table
 * err.def gives each code its JSON name, HTTP status and exit code. All errors are born in
 * err_fail(), so one breakpoint sees every one of them.
 *
 * Three classes, never mixed: a bug is BUG() and aborts; the world (files, peers, users) is
 * returned; memory is returned as ERR_NOMEM for anything whose size comes from outside.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

enum err {
#define ERR(name, json, http, exit, type, text) ERR_##name,
#include "base/err.def"
#undef ERR
    ERR_COUNT
};

#define ERR_TEXT_MAX 512

struct err_info {
    enum err code;
    const char *file; /* where it was born */
    int line;
    char text[ERR_TEXT_MAX]; /* NUL-terminated, valid UTF-8, control characters replaced */
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Sets *e (which may be NULL) and returns `code`. */
enum err err_fail(struct err_info *e, enum err code, const char *file, int line, const char *fmt,
                  ...) __attribute__((format(printf, 5, 6), noinline));
#define ERR_FAIL(e, NAME, ...) err_fail((e), ERR_##NAME, __FILE__, __LINE__, __VA_ARGS__)

/* Maps errno of a failed call on `what` (a path, mostly) to a code and a sentence. */
enum err err_errno(struct err_info *e, int errnum, const char *doing, const char *what);

const char *err_name(enum err code); /* JSON name */
int err_http(enum err code);
int err_exit(enum err code);
const char *err_type(enum err code); /* OpenAI's error.type */
/* The code of a JSON name, or ERR_INTERNAL. */
enum err err_from_name(const char *name, size_t n);

/* A broken invariant of our own: prints it and aborts. */
_Noreturn void err_bug(const char *file, int line, const char *what);
#define BUG(what) err_bug(__FILE__, __LINE__, (what))
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) err_bug(__FILE__, __LINE__, #cond);                                           \
    } while (0)

#endif
