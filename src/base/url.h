/* url: percent-encoding of RFC 3986, strict in reading.
 *
 * Decoding takes each "%XX" once and nothing else: '+' is a plus sign. What comes out is valid
 * UTF-8 without control characters, or an error: no name, path or word that we read from an address
 * may hold others.
 */
#ifndef BASE_URL_H
#define BASE_URL_H

#include "base/arena.h"
#include "base/buf.h"

/* NULL, or what is wrong as a phrase ("a wrong percent-encoding"). *out is `raw` itself where
 * nothing is encoded, else in the arena. */
const char *url_decode(str *out, struct arena *a, str raw);
/* Unreserved characters and those of `keep` stay, all others become "%XX". */
void url_encode(buf *out, str text, const char *keep);

#endif
