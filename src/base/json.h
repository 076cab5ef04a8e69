/* json: strict RFC 8259 in, compact JSON out.
 *
 * Reading builds a tree in an arena: keys keep their order, 64-bit integers stay exact, strings are
 * views (of the text where nothing was escaped, else of the arena), so the text must outlive the
 * tree. Duplicate keys are kept; json_get() finds the last. Invalid UTF-8, lone surrogates, control
 * characters, leading zeros, trailing commas and anything after the value are refused, with the
 * byte offset in the message. Depth and node count are capped; the parser does not recurse.
 *
 * Writing appends to a buf; the writer adds commas and colons itself. Strings are written as valid
 * UTF-8: bytes that are not, become U+FFFD.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_UINT,
    JSON_NUM,
    JSON_STR,
    JSON_ARR,
    JSON_OBJ
};

struct json {
    enum json_type type;
    str key; /* when it is a member of an object */
    union {
        bool b;
        int64_t i;  /* JSON_INT: every integer that fits */
        uint64_t u; /* JSON_UINT: above INT64_MAX */
        double d;   /* JSON_NUM: fractions, exponents, larger integers */
        str s;
        struct {
            const struct json *items; /* JSON_ARR, JSON_OBJ: n items in order */
            size_t n;
        };
    };
};

#define JSON_DEPTH_MAX 128

/* ---- read ---- */
MUST_CHECK enum err json_parse(struct arena *a, str text, const struct json **out,
                               struct err_info *e);
/* The member `key` of an object; NULL when v is NULL, not an object, or lacks it. */
const struct json *json_get(const struct json *v, const char *key);
/* Typed reads; the default when v is NULL or of another type. Integral doubles count as integers.
 */
int64_t json_int(const struct json *v, int64_t dflt);
double json_num(const struct json *v, double dflt);
bool json_bool(const struct json *v, bool dflt);
str json_str(const struct json *v, str dflt);
bool json_is_num(const struct json *v); /* any of INT, UINT, NUM */
const char *json_type_name(enum json_type t);

/* ---- write ---- */
struct jsonw {
    buf *b;
    uint32_t depth;
    uint64_t has[JSON_DEPTH_MAX / 64]; /* bit d: level d already holds an item */
    bool after_key;
};

void jsonw_init(struct jsonw *w, buf *b);
void jsonw_obj(struct jsonw *w);             /* { */
void jsonw_arr(struct jsonw *w);             /* [ */
void jsonw_end(struct jsonw *w, char close); /* '}' or ']' */
void jsonw_key(struct jsonw *w, const char *key);
void jsonw_keystr(struct jsonw *w, str key);
void jsonw_str(struct jsonw *w, str s);
void jsonw_c(struct jsonw *w, const char *s); /* NULL writes null */
void jsonw_int(struct jsonw *w, int64_t i);
void jsonw_uint(struct jsonw *w, uint64_t u);
void jsonw_num(struct jsonw *w, double d); /* shortest that reads back equal; not finite: null */
void jsonw_bool(struct jsonw *w, bool b);
void jsonw_null(struct jsonw *w);
void jsonw_raw(struct jsonw *w, str json);               /* already JSON */
void jsonw_value(struct jsonw *w, const struct json *v); /* a tree, keys included only below */
/* key and value at once */
void jsonw_kstr(struct jsonw *w, const char *key, str s);
void jsonw_kc(struct jsonw *w, const char *key, const char *s);
void jsonw_kint(struct jsonw *w, const char *key, int64_t i);
void jsonw_kuint(struct jsonw *w, const char *key, uint64_t n);
void jsonw_kuint_if(struct jsonw *w, const char *key, uint64_t n, bool known); /* else null */
void jsonw_kstrs(struct jsonw *w, const char *key, const str *v, size_t n);    /* a list */
void jsonw_knum(struct jsonw *w, const char *key, double d);
void jsonw_kbool(struct jsonw *w, const char *key, bool b);

/* {"error": {...}} as OpenAI has it: the body of every failed reply, the last event of a stream
 * that breaks off. */
void jsonw_error(buf *out, enum err code, const char *text);

#endif
