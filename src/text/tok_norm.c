/* tok_norm: text as the vocabulary wants it, before it is cut into words.
 *
 * A vocabulary carries a list of steps; each reads the whole stretch of text and writes it anew,
 * the last one to the end of w->norm. Steps that cannot change plain ASCII are skipped for it.
 * Bytes that are no UTF-8 are kept as they are and stand as a border between what is around them.
 *
 * Unicode's normal forms come from utf8proc, but its own reordering of marks takes quadratic time
 * on long runs of them; here the marks of a run are sorted by counting.
 *
 * Sources: huggingface/tokenizers (the steps' meaning), google/sentencepiece (the compiled rules
 * and the treatment of spaces), Unicode Standard Annex 15.
 */
#include "text/tok_int.h"

#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok_unicode.h"

static bool is_ascii(str s)
{
    uint8_t all = 0;
    for (size_t i = 0; i < s.n; i++)
        all |= (uint8_t)s.p[i];
    return all < 0x80;
}

static void put_point(buf *out, uint32_t cp)
{
    char c[4];
    buf_put(out, c, utf8_put(c, cp));
}

/* ---- normal forms ---- */

static bool points_room(struct tok_work *w, size_t need)
{
    void *p = w->points;
    bool good = tok_work_grow(w, &p, &w->points_cap, need, sizeof *w->points);
    w->points = p;
    return good;
}

static unsigned mark_class(uint32_t cp)
{
    return cp < 0x300 ? 0 : (unsigned)utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
}

/* Marks in the order of their classes, those of one class as they stood. tmp has room for n. */
static void sort_marks(uint32_t *p, uint32_t *tmp, size_t n)
{
    size_t first[256] = {0};
    for (size_t i = 0; i < n; i++)
        first[mark_class(p[i])]++;
    for (size_t c = 0, at = 0; c < 256; c++) {
        size_t count = first[c];
        first[c] = at;
        at += count;
    }
    for (size_t i = 0; i < n; i++)
        tmp[first[mark_class(p[i])]++] = p[i];
    memcpy(p, tmp, n * sizeof *p);
}

static void insert_mark(uint32_t *p, size_t i)
{
    uint32_t cp = p[i];
    unsigned c = mark_class(cp);
    for (; i && mark_class(p[i - 1]) > c; i--)
        p[i] = p[i - 1];
    p[i] = cp;
}

/* Canonical order, run by run. The second half of p is scratch. */
static void order_marks(uint32_t *p, size_t n)
{
    for (size_t i = 0, to; i < n; i = to) {
        to = i + 1;
        if (!mark_class(p[i])) continue;
        while (to < n && mark_class(p[to]))
            to++;
        if (to - i > 32) {
            sort_marks(p + i, p + n, to - i);
            continue;
        }
        for (size_t k = i + 1; k < to; k++)
            insert_mark(p + i, k - i);
    }
}

#define DECOMPOSED_MAX 32 /* code points that one becomes: U+FDFA has 18 */

static void normal_run(struct tok_work *w, str s, utf8proc_option_t how, buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        if (!points_room(w, n + DECOMPOSED_MAX)) return;
        uint32_t cp = utf8_next(s, &i);
        if (cp < 0x80) {
            w->points[n++] = cp;
            continue;
        }
        int last = 0;
        utf8proc_int32_t *to = (utf8proc_int32_t *)w->points + n;
        utf8proc_ssize_t got =
            utf8proc_decompose_char((utf8proc_int32_t)cp, to, DECOMPOSED_MAX, how, &last);
        if (got > 0 && got <= DECOMPOSED_MAX)
            n += (size_t)got;
        else
            w->points[n++] = cp;
    }
    if (!points_room(w, 2 * n)) return;
    order_marks(w->points, n);
    if (how & UTF8PROC_COMPOSE) {
        utf8proc_option_t compose = UTF8PROC_COMPOSE | UTF8PROC_STABLE;
        utf8proc_ssize_t got =
            utf8proc_normalize_utf32((utf8proc_int32_t *)w->points, (utf8proc_ssize_t)n, compose);
        if (got >= 0) n = (size_t)got;
    }
    for (size_t i = 0; i < n; i++)
        put_point(out, w->points[i]);
}

static void normal_form(struct tok_work *w, str s, utf8proc_option_t how, buf *out)
{
    for (size_t i = 0, from = 0; i <= s.n && !w->failed;) {
        size_t at = i;
        if (i < s.n && utf8_next(s, &i) != UTF8_BAD) continue;
        normal_run(w, str_sub(s, from, at - from), how, out);
        if (at == s.n) return;
        buf_ch(out, s.p[at]);
        from = i;
    }
}

static utf8proc_option_t form_of(enum tok_norm_op op)
{
    switch (op) {
    case TOK_NORM_NFC: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPOSE;
    case TOK_NORM_NFKC:
        return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE;
    case TOK_NORM_NFKD: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    default: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    }
}

/* ---- character by character ---- */

static void put_lower(buf *out, uint32_t cp)
{
    if (cp < 0x80) {
        buf_ch(out, (char)(cp >= 'A' && cp <= 'Z' ? cp + 32 : cp));
    } else if (cp == 0x130) { /* the one letter whose small form is two characters */
        buf_c(out, "i\xCC\x87");
    } else {
        put_point(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
    }
}

static bool is_control(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO ||
           c == UTF8PROC_CATEGORY_CS;
}

/* As BERT's own code has it, with its gap between U+2B81F and U+2B920. */
static bool is_han(uint32_t cp)
{
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
           (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B81F) ||
           (cp >= 0x2B920 && cp <= 0x2CEAF) || (cp >= 0xF900 && cp <= 0xFAFF) ||
           (cp >= 0x2F800 && cp <= 0x2FA1F);
}

static void bert_clean(str s, unsigned flags, buf *out)
{
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        uint32_t cp = utf8_next(s, &i);
        if (cp >= 0x21 && cp <= 0x7E) {
            buf_ch(out, (char)cp);
            continue;
        }
        if (flags & TOK_BERT_CLEAN) {
            bool space = cp != UTF8_BAD && tok_cat(cp) == TOK_CAT_SPACE;
            if (space) {
                buf_ch(out, ' ');
                continue;
            }
            if (cp == UTF8_BAD || cp == 0 || cp == 0xFFFD || is_control(cp)) continue;
        }
        bool han = flags & TOK_BERT_HAN && is_han(cp);
        if (han) buf_ch(out, ' ');
        buf_put(out, s.p + from, i - from);
        if (han) buf_ch(out, ' ');
    }
}

static void strip_marks(str s, bool only_nonspacing, buf *out)
{
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        uint32_t cp = utf8_next(s, &i);
        bool mark = cp != UTF8_BAD && cp >= 0x300 && tok_cat(cp) == TOK_CAT_MARK;
        if (mark && only_nonspacing)
            mark = utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_MN;
        if (!mark) buf_put(out, s.p + from, i - from);
    }
}

static void lower(str s, buf *out)
{
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        uint32_t cp = utf8_next(s, &i);
        if (cp == UTF8_BAD)
            buf_put(out, s.p + from, i - from);
        else
            put_lower(out, cp);
    }
}

/* SentencePiece's "nmt" rules beyond NFKC: controls go, odd spaces become spaces. */
static void nmt(str s, buf *out)
{
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        uint32_t cp = utf8_next(s, &i);
        if ((cp >= 1 && cp <= 8) || cp == 11 || (cp >= 14 && cp <= 31) || cp == 127 || cp == 0x8F ||
            cp == 0x9F)
            continue;
        bool space = cp == 9 || cp == 10 || cp == 12 || cp == 13 || cp == 0x1680 ||
                     (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 ||
                     cp == 0x2581 || cp == 0xFEFF || cp == 0xFFFD;
        if (space)
            buf_ch(out, ' ');
        else
            buf_put(out, s.p + from, i - from);
    }
}

/* ---- spaces and other texts ---- */

static void replace(str s, str from, str to, buf *out)
{
    for (size_t i = 0; i <= s.n;) {
        size_t at = from.n ? str_find(s, from, i) : SIZE_MAX;
        if (at == SIZE_MAX) at = s.n;
        if (at > i) buf_put(out, s.p + i, at - i);
        if (at == s.n) return;
        buf_str(out, to);
        i = at + from.n;
    }
}

static bool blank_at(str s, size_t *at)
{
    uint32_t cp = utf8_next(s, at);
    return cp != UTF8_BAD && tok_cat(cp) == TOK_CAT_SPACE;
}

static str strip(str s, unsigned sides)
{
    for (size_t next = 0; sides & 1 && s.n && blank_at(s, &next); next = 0)
        s = str_sub(s, next, SIZE_MAX);
    while (sides & 2 && s.n) {
        size_t from = s.n - 1;
        while (from && ((uint8_t)s.p[from] & 0xC0) == 0x80)
            from--;
        size_t next = from;
        if (!blank_at(s, &next) || next != s.n) break;
        s.n = from;
    }
    return s;
}

static void put_space(buf *out, bool escape)
{
    if (escape)
        buf_put(out, TOK_SPACE, 3);
    else
        buf_ch(out, ' ');
}

/* SentencePiece: only U+0020 counts; what else is a space the compiled rules have turned into it.
 */
static void spaces(str s, unsigned flags, buf *out)
{
    bool escape = flags & TOK_SPACES_ESCAPE, merge = flags & TOK_SPACES_MERGE;
    while (merge && s.n && s.p[0] == ' ')
        s = str_sub(s, 1, SIZE_MAX);
    while (merge && s.n && s.p[s.n - 1] == ' ')
        s.n--;
    if (!s.n) return;
    if (flags & TOK_SPACES_PREFIX) put_space(out, escape);
    for (size_t i = 0; i < s.n;) {
        const char *space = memchr(s.p + i, ' ', s.n - i);
        size_t run = space ? (size_t)(space - (s.p + i)) : s.n - i;
        buf_put(out, s.p + i, run);
        i += run;
        if (!space) break;
        put_space(out, escape);
        do {
            i++;
        } while (merge && i < s.n && s.p[i] == ' ');
    }
    if (flags & TOK_SPACES_SUFFIX) put_space(out, escape);
}

static void words(str s, buf *out)
{
    bool inside = false;
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        if (blank_at(s, &i)) {
            inside = false;
            continue;
        }
        if (!inside && !str_starts(str_sub(s, from, SIZE_MAX), S(TOK_SPACE))) put_space(out, true);
        inside = true;
        buf_put(out, s.p + from, i - from);
    }
}

static void metaspace(str s, const struct tok_norm *step, bool first, buf *out)
{
    bool prefix = step->flags & TOK_PREFIX_ALWAYS || (step->flags & TOK_PREFIX_FIRST && first);
    if (!s.n) return;
    if (prefix && !str_starts(s, step->to) && !(step->to.n && s.p[0] == ' '))
        buf_str(out, step->to);
    replace(s, step->from, step->to, out);
}

/* ---- SentencePiece's compiled rules ---- */

static uint32_t load32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* The map is the size of a double array, the array of 32-bit units, and texts that end with NUL. */
static size_t map_units(str map)
{
    if (map.n < 4) return 0;
    size_t bytes = load32(map.p);
    return bytes <= map.n - 4 ? bytes / 4 : 0;
}

/* The longest rule that s[at] begins with (the shortest if so told): its length, its replacement in
 * *to. */
static size_t find_rule(str map, str s, size_t at, bool shortest, str *to)
{
    size_t units = map_units(map);
    if (!units) return 0;
    const char *unit = map.p + 4;
    size_t best = 0;
    uint32_t value = 0, u = load32(unit), node = (u >> 10) << ((u & (1u << 9)) >> 6);
    for (size_t i = at; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        node ^= c;
        if (!c || node >= units) break;
        u = load32(unit + 4 * (size_t)node);
        if ((u & ((1u << 31) | 0xFF)) != c) break;
        node ^= (u >> 10) << ((u & (1u << 9)) >> 6);
        if (!((u >> 8) & 1)) continue;
        if (node >= units) break;
        value = load32(unit + 4 * (size_t)node) & 0x7FFFFFFFu;
        best = i + 1 - at;
        if (shortest) break;
    }
    if (!best) return 0;
    str texts = str_sub(map, 4 + units * 4, SIZE_MAX);
    const char *end = value < texts.n ? memchr(texts.p + value, 0, texts.n - value) : NULL;
    if (!end) return 0;
    *to = (str){texts.p + value, (size_t)(end - (texts.p + value))};
    return best;
}

static void charsmap(str map, str s, buf *out)
{
    for (size_t i = 0; i < s.n;) {
        str to;
        size_t from = i, n = find_rule(map, s, i, false, &to);
        if (n) {
            buf_str(out, to);
            i += n;
        } else if (utf8_next(s, &i) == UTF8_BAD) {
            buf_c(out, "\xEF\xBF\xBD");
        } else {
            buf_put(out, s.p + from, i - from);
        }
    }
}

/* The end of the grapheme at s[at]. */
static size_t grapheme(str s, size_t at)
{
    uint32_t a = utf8_next(s, &at);
    utf8proc_int32_t state = 0;
    while (at < s.n) {
        size_t next = at;
        uint32_t b = utf8_next(s, &next);
        if (a == UTF8_BAD || b == UTF8_BAD) break;
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)a, (utf8proc_int32_t)b, &state))
            break;
        a = b;
        at = next;
    }
    return at;
}

/* As the tokenizers library applies the same rules: to short graphemes as a whole (the shortest
 * rule that one begins with stands for all of it), else to their characters. */
static void charsmap_graphemes(str map, str s, buf *out)
{
    for (size_t i = 0, end; i < s.n; i = end) {
        str to;
        end = grapheme(s, i);
        if (end - i < 6 && find_rule(map, str_sub(s, 0, end), i, true, &to)) {
            buf_str(out, to);
            continue;
        }
        for (size_t from = i; i < end; from = i) {
            utf8_next(s, &i);
            if (find_rule(map, str_sub(s, 0, i), from, true, &to))
                buf_str(out, to);
            else
                buf_put(out, s.p + from, i - from);
        }
    }
}

/* ---- the steps ---- */

static void bert(struct tok_work *w, str s, unsigned flags, buf *out, buf *spare)
{
    if (is_ascii(s)) flags &= ~(unsigned)TOK_BERT_ACCENTS;
    bool more = flags & (TOK_BERT_ACCENTS | TOK_BERT_LOWER);
    bert_clean(s, flags, more ? spare : out);
    if (!more) return;
    if (flags & TOK_BERT_ACCENTS) {
        buf nfd;
        buf_init(&nfd, spare->cap);
        normal_form(w, buf_view(spare), form_of(TOK_NORM_NFD), &nfd);
        if (nfd.failed) w->failed = true;
        buf_clear(spare);
        strip_marks(buf_view(&nfd), true, flags & TOK_BERT_LOWER ? spare : out);
        buf_fini(&nfd);
    }
    if (flags & TOK_BERT_LOWER) lower(buf_view(spare), out);
    if (spare->failed) w->failed = true;
}

static void one_step(struct tok_work *w, const struct tok_norm *step, str s, bool first, buf *out)
{
    buf spare;
    switch (step->op) {
    case TOK_NORM_NFC:
    case TOK_NORM_NFD:
    case TOK_NORM_NFKC:
    case TOK_NORM_NFKD:
        if (is_ascii(s))
            buf_str(out, s);
        else
            normal_form(w, s, form_of(step->op), out);
        break;
    case TOK_NORM_LOWER: lower(s, out); break;
    case TOK_NORM_STRIP_MARKS: strip_marks(s, false, out); break;
    case TOK_NORM_BERT:
        buf_init(&spare, out->cap);
        bert(w, s, step->flags, out, &spare);
        buf_fini(&spare);
        break;
    case TOK_NORM_REPLACE:
        if (step->split)
            tok_split_replace(w, step->split, s, step->to, out);
        else
            replace(s, step->from, step->to, out);
        break;
    case TOK_NORM_PREPEND:
        if (s.n) buf_str(out, step->to);
        buf_str(out, s);
        break;
    case TOK_NORM_STRIP: buf_str(out, strip(s, step->flags)); break;
    case TOK_NORM_CHARSMAP:
        (step->flags ? charsmap_graphemes : charsmap)(step->from, s, out);
        break;
    case TOK_NORM_NMT: nmt(s, out); break;
    case TOK_NORM_SPACES: spaces(s, step->flags, out); break;
    case TOK_NORM_WORDS: words(s, out); break;
    case TOK_NORM_METASPACE: metaspace(s, step, first, out); break;
    }
    if (out->failed) w->failed = true;
}

void tok_norm_text(struct tok_work *w, str text, bool first)
{
    const struct tok *t = w->t;
    for (uint32_t i = 0; i < t->n_norm && !w->failed; i++) {
        buf *out = i + 1 == t->n_norm ? &w->norm : &w->tmp[i & 1];
        if (out != &w->norm) buf_clear(out);
        one_step(w, &t->norm[i], text, first, out);
        text = buf_view(out);
    }
}
