/* jinja: a Jinja2 machine without input or output, for chat templates.
 *
 * jinja_compile() turns source into a tree that is never changed again: one template may be
 * rendered from several threads at once, each with its own arena. Settings are those of
 * transformers: trim_blocks, lstrip_blocks, break and continue, the `generation` tag, tojson
 * without escaping for HTML, raise_exception() and strftime_now(), no autoescape, and no method
 * that changes a value.
 *
 * Rendering is bounded by LIMIT_TEMPLATE_STEPS, LIMIT_TEMPLATE_OUT, LIMIT_TEMPLATE_ARENA and a
 * nesting cap, so hostile templates and hostile values end with an error, not with the process.
 *
 * Every string remembers, byte by byte, whether it came from an untrusted variable, through all
 * filters and methods. The output carries the same marks.
 */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

struct jinja;

struct jinja_var {
    const char *name;
    const struct json *value; /* NULL: `text` is the value */
    str text;
    bool untrusted; /* its strings are marked in the output */
};

struct jinja_input {
    const struct jinja_var *vars; /* a later one of the same name wins */
    size_t n;
    int64_t now; /* unix time that strftime_now() shows, as UTC */
    /* Strings of untrusted variables that equal one of these are not marked ("user", "assistant":
     * templates build control tokens of them). Ends with NULL; may be NULL. */
    const char *const *unmarked;
};

/* ---- life cycle ---- */
/* `source` is copied. Errors name the line. */
MUST_CHECK enum err jinja_compile(struct jinja **out, str source, struct err_info *e);
void jinja_free(struct jinja *t);

/* ---- use ---- */
/* Appends the text to *out and, unless marks is NULL, one byte a byte of it to *marks: 1 where it
 * came from an untrusted variable, else 0. raise_exception(text) gives ERR_INVALID with that text.
 */
MUST_CHECK enum err jinja_render(const struct jinja *t, struct arena *scratch,
                                 const struct jinja_input *in, buf *out, buf *marks,
                                 struct err_info *e);

/* ---- inspect ---- */
/* Whether the template reads the variable or attribute `name` anywhere ("tools"). */
bool jinja_mentions(const struct jinja *t, str name);

#endif
