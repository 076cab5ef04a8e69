/* tok_use: what the fuzz targets do with a tokenizer that opened: every id must be in range, the
 * text that comes out valid UTF-8, whatever the vocabulary. */
#ifndef TESTS_FUZZ_TOK_USE_H
#define TESTS_FUZZ_TOK_USE_H

#include <stdlib.h>

#include "base/utf8.h"
#include "text/tok.h"
#include "text/tok_spec.h"

static inline void tok_use(const struct tok *t, str text)
{
    struct arena a;
    struct err_info e;
    int32_t *ids;
    size_t n;
    buf out;
    arena_init(&a, (size_t)64 << 20);
    buf_init(&out, (size_t)64 << 20);
    for (unsigned flags = 0; flags < 4; flags++) {
        enum err rc = tok_encode(t, &a, text, flags, &ids, &n, &e);
        if (rc != ERR_OK && rc != ERR_LIMIT && rc != ERR_NOMEM) abort();
        for (size_t i = 0; i < n; i++)
            if (ids[i] < 0 || (uint32_t)ids[i] >= tok_count(t)) abort();
        for (size_t i = 0; i < n; i++) {
            buf piece;
            buf_init(&piece, (size_t)64 << 20);
            tok_piece(t, ids[i], true, &piece);
            if (piece.n > tok_piece_max(t)) abort();
            buf_fini(&piece);
        }
        buf_clear(&out);
        tok_decode(t, ids, n, flags & 1, &out);
        if (!out.failed && !utf8_valid(buf_view(&out))) abort();
    }
    buf_fini(&out);
    arena_fini(&a);
}

/* What is left of an input after a part that a NUL ends. */
static inline str tok_part(str *rest)
{
    return str_cut(*rest, 0, rest);
}

/* Opens what was read and uses it. */
static inline void tok_try(enum err rc, const struct tok_spec *spec, str text)
{
    struct err_info e;
    struct tok *t;
    if (rc != ERR_OK || tok_open_spec(&t, spec, &e) != ERR_OK) return;
    tok_use(t, text);
    tok_close(t);
}

#endif
