/* str: a view of bytes, pointer and length; never owns, never NUL-terminated by promise.
 *
 * A `str` is a value. Its bytes belong to somebody else (a mapping, an arena, a buffer) and live as
 * long as that owner says. The empty view may have a NULL pointer. Comparison is by bytes.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct str {
    const char *p;
    size_t n;
} str;

/* A view of a string literal. */
#define S(lit) ((str){(lit), sizeof(lit) - 1})
/* The two arguments of a "%.*s". */
#define STR(s) (int)(s).n, (s).p

str str_c(const char *c); /* NULL gives the empty view */
bool str_eq(str a, str b);
bool str_eqc(str a, const char *c);
bool str_ieq(str a, str b); /* ASCII case folded */
int str_cmp(str a, str b);
bool str_starts(str s, str prefix);
bool str_ends(str s, str suffix);
str str_sub(str s, size_t from, size_t n); /* clamped to s */
str str_trim(str s);                       /* ASCII white space at both ends */
/* Offset of the first `needle` at or after `from`, or SIZE_MAX. */
size_t str_find(str s, str needle, size_t from);
/* Cuts at the first `sep`: returns what is before it and leaves what is after it in *rest
 * (an empty view with p == NULL when there was no separator). */
str str_cut(str s, char sep, str *rest);
/* Whole-view decimal parse. False on empty input, any other character, or overflow. */
bool str_int(str s, int64_t *out);
bool str_num(str s, double *out);
uint64_t str_hash(str s); /* FNV-1a, 64 bit */

#endif
