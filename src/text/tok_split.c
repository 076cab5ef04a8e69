/* tok_split: cuts text by patterns that no hand-written scanner stands for.
 *
 * A pattern of a tokenizer.json is Oniguruma's: it is rewritten for PCRE2 where the two differ (\s,
 * \w, \h, \u, the meaning of ^ and $) and refused where it cannot be (sets within sets). A text is
 * then a row of segments, matches and what lies between them, which the behaviours of
 * tokenizer.json join into words. The last match found is remembered for each stage, so text is
 * searched once.
 *
 * No JIT; the number of steps and the memory of one match are limited, and a pattern that needs
 * more fails the call with a reason. Invalid UTF-8 never matches.
 *
 * Source: huggingface/tokenizers, normalizer.rs (SplitDelimiterBehavior), for the behaviours.
 */
#include "text/tok_int.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/mem.h"
#include "base/utf8.h"

#define PATTERN_MAX    8192
#define MATCH_STEPS    10000000
#define MATCH_HEAP_KIB 65536

struct tok_split {
    const pcre2_code *code; /* NULL: text as it stands */
    str literal;
    enum tok_split_how how;
    bool invert;
};

/* ---- compiling ---- */

static void *from_arena(size_t n, void *a)
{
    return arena_alloc(a, n, 16);
}

static void keep(void *p, void *a)
{
    (void)p;
    (void)a;
}

/* White space by the property, which PCRE2's \s is not; word characters as Oniguruma has them. */
#define SPACES                                                                                     \
    "\\t\\n\\x0B\\f\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"      \
    "\\x{205F}\\x{3000}"
#define WORDS "\\p{Alphabetic}\\p{M}\\p{N}\\p{Pc}"
#define HEXES "0-9A-Fa-f"

static void put_class(buf *out, const char *what, bool in_set, bool negate)
{
    if (!in_set) buf_c(out, negate ? "[^" : "[");
    buf_c(out, what);
    if (!in_set) buf_c(out, "]");
}

/* What follows a backslash at s[*at]. False: not understood. */
static bool escape(str s, size_t *at, bool in_set, buf *out)
{
    if (*at >= s.n) return false;
    char c = s.p[(*at)++];
    switch (c) {
    case 's': put_class(out, SPACES, in_set, false); return true;
    case 'w': put_class(out, WORDS, in_set, false); return true;
    case 'h': put_class(out, HEXES, in_set, false); return true;
    case 'S':
    case 'W':
    case 'H':
        if (in_set) return false;
        put_class(out, c == 'S' ? SPACES : c == 'W' ? WORDS : HEXES, false, true);
        return true;
    case 'u':
        if (s.n - *at < 4) return false;
        buf_printf(out, "\\x{%.4s}", s.p + *at);
        *at += 4;
        return true;
    default: buf_printf(out, "\\%c", c); return true;
    }
}

/* Oniguruma's pattern as PCRE2 reads it. */
static enum err rewrite(str s, buf *out, struct err_info *e)
{
    bool in_set = false;
    for (size_t i = 0; i < s.n;) {
        char c = s.p[i++];
        bool good = true;
        if (c == '\\') {
            good = escape(s, &i, in_set, out);
        } else if (in_set && (c == '[' || (c == '&' && i < s.n && s.p[i] == '&'))) {
            good = false;
        } else {
            if (c == ']') in_set = false;
            buf_ch(out, c);
            if (c == '[' && !in_set) {
                in_set = true;
                if (i < s.n && s.p[i] == '^') buf_ch(out, s.p[i++]);
                if (i < s.n && s.p[i] == ']') buf_ch(out, s.p[i++]);
            }
        }
        if (!good)
            return ERR_FAIL(e, UNSUPPORTED, "pattern \"%.*s\": not understood at byte %zu",
                            (int)(s.n < 200 ? s.n : 200), s.p, i - 1);
    }
    return out->failed ? ERR_FAIL(e, NOMEM, "no memory for a pattern") : ERR_OK;
}

static enum err compile(struct tok_split *sp, struct arena *a, str regex, struct err_info *e)
{
    if (regex.n > PATTERN_MAX)
        return ERR_FAIL(e, LIMIT, "a pattern of %zu bytes, the limit is %d", regex.n, PATTERN_MAX);
    if (!utf8_valid(regex)) return ERR_FAIL(e, FORMAT, "a pattern that is not valid UTF-8");
    buf b;
    buf_init(&b, 64 * PATTERN_MAX);
    enum err rc = rewrite(regex, &b, e);
    if (rc == ERR_OK) {
        int code = 0;
        size_t where = 0;
        pcre2_general_context *g = pcre2_general_context_create(from_arena, keep, a);
        pcre2_compile_context *c = g ? pcre2_compile_context_create(g) : NULL;
        if (c) {
            pcre2_set_parens_nest_limit(c, 100);
            sp->code = pcre2_compile((PCRE2_SPTR)(b.p ? b.p : ""), b.n,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE |
                                         PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE,
                                     &code, &where, c);
        }
        if (!sp->code) {
            PCRE2_UCHAR why[200] = "no memory";
            if (code) pcre2_get_error_message(code, why, sizeof why);
            rc = ERR_FAIL(e, UNSUPPORTED, "pattern \"%.*s\": %s at byte %zu",
                          (int)(regex.n < 200 ? regex.n : 200), regex.p, (char *)why, where);
        }
    }
    buf_fini(&b);
    return rc;
}

enum err tok_split_new(const struct tok_split **out, struct arena *a, str regex,
                       enum tok_split_how how, bool invert, struct err_info *e)
{
    struct tok_split *sp = ARENA_NEW(a, struct tok_split, 1);
    if (!sp) return ERR_FAIL(e, NOMEM, "no memory for a pattern");
    sp->how = how;
    sp->invert = invert;
    *out = sp;
    return compile(sp, a, regex, e);
}

enum err tok_split_literal(const struct tok_split **out, struct arena *a, str text,
                           enum tok_split_how how, bool invert, struct err_info *e)
{
    struct tok_split *sp = ARENA_NEW(a, struct tok_split, 1);
    if (!sp) return ERR_FAIL(e, NOMEM, "no memory for a pattern");
    *sp = (struct tok_split){.literal = text, .how = how, .invert = invert};
    *out = sp;
    return ERR_OK;
}

/* ---- matching ---- */

/* What was last found in p[start, end), at or after where it was asked for. */
struct found {
    size_t start, end;
    size_t from, to; /* `end` twice: nothing more */
    bool valid;
};

struct tok_match {
    size_t clean_from, clean_to; /* of w->base or what is searched: valid UTF-8 */
    const char *clean_in;
    pcre2_general_context *general;
    pcre2_match_context *limits;
    pcre2_match_data *data;
    struct found found[TOK_STAGES_MAX];
};

static void *from_heap(size_t n, void *unused)
{
    (void)unused;
    return mem_alloc(n);
}

static void to_heap(void *p, void *unused)
{
    (void)unused;
    mem_free(p);
}

void tok_split_fini(struct tok_work *w)
{
    struct tok_match *m = w->match;
    if (!m) return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    pcre2_general_context_free(m->general);
    mem_free(m);
}

static bool matcher(struct tok_work *w)
{
    if (w->match) return true;
    struct tok_match *m = w->match = mem_alloc(sizeof *m);
    if (m) m->general = pcre2_general_context_create(from_heap, to_heap, NULL);
    if (m && m->general) {
        m->limits = pcre2_match_context_create(m->general);
        m->data = pcre2_match_data_create(1, m->general);
    }
    if (!m || !m->limits || !m->data) {
        w->failed = true;
        return false;
    }
    pcre2_set_match_limit(m->limits, MATCH_STEPS);
    pcre2_set_heap_limit(m->limits, MATCH_HEAP_KIB);
    return true;
}

/* The valid UTF-8 around s[at], a border of characters: from where it was first seen to where it
 * ends. Remembered, so that a text is checked once. */
static str clean_around(struct tok_match *m, str s, size_t at)
{
    bool known = m->clean_in == s.p && m->clean_from <= at && at <= m->clean_to;
    if (!known || m->clean_to > s.n) {
        size_t to = at;
        for (size_t i = at; i < s.n && utf8_next(s, &i) != UTF8_BAD;)
            to = i;
        m->clean_in = s.p;
        m->clean_from = known ? m->clean_from : at;
        m->clean_to = to;
    }
    return (str){s.p + m->clean_from, m->clean_to - m->clean_from};
}

static bool fail(struct tok_work *w, int rc)
{
    w->failed = true;
    if (rc != PCRE2_ERROR_NOMEMORY)
        w->why = "the pattern that cuts text into words takes too long on it";
    return false;
}

/* The first match in s at or after `at`. False: none, or w->failed. */
static bool find(struct tok_work *w, const struct tok_split *sp, str s, size_t at, size_t *from,
                 size_t *to)
{
    if (!sp->code) {
        *from = sp->literal.n ? str_find(s, sp->literal, at) : SIZE_MAX;
        if (*from == SIZE_MAX) return false;
        *to = *from + sp->literal.n;
        return true;
    }
    if (!matcher(w)) return false;
    struct tok_match *m = w->match;
    for (; at <= s.n; at++) { /* past the byte that ended the stretch before */
        str clean = clean_around(m, s, at);
        size_t skip = (size_t)(clean.p - s.p);
        int rc = pcre2_match(sp->code, (PCRE2_SPTR)clean.p, clean.n, at - skip, PCRE2_NO_UTF_CHECK,
                             m->data, m->limits);
        if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) return fail(w, rc);
        const size_t *v = pcre2_get_ovector_pointer(m->data);
        *from = skip + v[0];
        *to = skip + v[1];
        if (rc >= 0 && *from >= at && *to >= *from) return true; /* \\K could say otherwise */
        at = skip + clean.n;
    }
    return false;
}

static size_t one_on(str s, size_t at)
{
    if (at < s.n) utf8_next(s, &at);
    return at;
}

/* The end of the segment at `at`, and whether it is a match. */
static size_t segment(struct tok_work *w, unsigned depth, const struct tok_split *sp, size_t start,
                      size_t at, size_t end, bool *match)
{
    struct found *f = &w->match->found[depth];
    str s = {w->base + start, end - start};
    *match = false;
    if (!f->valid || f->start != start || f->end != end || f->from < at)
        *f = (struct found){start, end, at, at, true};
    if (f->from == at && f->to == at) { /* nothing yet, or an empty match, which only cuts */
        size_t from, to, i = at - start;
        bool good = find(w, sp, s, i, &from, &to);
        if (good && to == from && from == i) {
            i = one_on(s, i);
            good = i < s.n && find(w, sp, s, i, &from, &to);
        }
        f->from = good ? start + from : end;
        f->to = good ? start + to : end;
    }
    if (f->from > at) return f->from;
    *match = f->to > at;
    return *match ? f->to : end;
}

size_t tok_split_next(struct tok_work *w, unsigned depth, const struct tok_split *sp, size_t start,
                      size_t at, size_t end)
{
    if (!matcher(w)) return end;
    bool match, next;
    size_t to = segment(w, depth, sp, start, at, end, &match);
    match ^= sp->invert;
    if (w->failed) return end;
    if (sp->how == TOK_SPLIT_REMOVED) return match ? to | TOK_SKIP : to;
    if (to >= end || sp->how == TOK_SPLIT_ISOLATED) return to;
    bool all = sp->how == TOK_SPLIT_CONTIGUOUS;
    bool join = all || (sp->how == TOK_SPLIT_PREVIOUS ? !match : match);
    while (join) {
        size_t more = segment(w, depth, sp, start, to, end, &next);
        if (w->failed) return end;
        next ^= sp->invert;
        if (all ? next != match : sp->how == TOK_SPLIT_NEXT ? next : !next) break;
        to = more;
        join = all && to < end;
    }
    return to;
}

void tok_split_begin(struct tok_work *w)
{
    if (!w->match) return;
    w->match->clean_in = NULL;
    for (size_t i = 0; i < TOK_STAGES_MAX; i++)
        w->match->found[i].valid = false;
}

void tok_split_replace(struct tok_work *w, const struct tok_split *sp, str s, str to, buf *out)
{
    if (!s.n) return;
    tok_split_begin(w);
    for (size_t i = 0, done = 0, from, end; !w->failed;) {
        bool good = i <= s.n && find(w, sp, s, i, &from, &end);
        if (!good) from = end = s.n;
        buf_put(out, s.p + done, from - done);
        if (!good) return;
        buf_str(out, to);
        done = end;
        i = end > from ? end : one_on(s, end);
        if (i == end && end == from) return;
    }
}
