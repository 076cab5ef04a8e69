/* utf8: decoding and encoding of UTF-8, strict (no surrogates, no overlong forms, at most
 * U+10FFFF). */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/str.h"

#define UTF8_BAD 0xFFFFFFFFu

/* Decodes the code point at s[*at] and advances *at past it. On an invalid or cut sequence it
 * returns UTF8_BAD and advances by one byte. Must not be called with *at == s.n. */
uint32_t utf8_next(str s, size_t *at);
/* Writes 1 to 4 bytes, returns how many; 0 for a surrogate or a value that is too large. */
size_t utf8_put(char out[4], uint32_t cp);
bool utf8_valid(str s);
/* How many bytes at the end of s are the beginning of a character that is not complete (0 to 3). */
size_t utf8_partial(str s);

#endif
