/* tok_scan: cuts text into words: one hand-written scanner for each shape of rule.
 *
 * A scanner gets the start of a word and returns its end; text that an expression does not match is
 * a word of its own up to the next match. The expression stands above each scanner, its variants
 * are told by the argument (tok_scan.h).
 *
 * Invariant: a scanner reads each character a bounded number of times over a whole text, and
 * returns more than it was given. Bytes that are no UTF-8 count as one character of category OTHER
 * each.
 *
 * Sources: the tokenizer.json files of the models; where those differ from llama.cpp's reading of
 * them, the files.
 */
#include "text/tok_scan.h"

#include <string.h>
#include <utf8proc.h>

#include "text/tok_unicode.h"

#include "base/utf8.h"

struct ch {
    uint32_t cp;
    uint32_t len; /* 0 at the end */
    uint32_t in;  /* bit of its category */
};

static inline struct ch peek(const char *p, size_t at, size_t end)
{
    if (at >= end) return (struct ch){UTF8_BAD, 0, TOK_IN(NONE)};
    uint8_t b = (uint8_t)p[at];
    if (b < 128) return (struct ch){b, 1, 1u << tok_unicode_ascii[b]};
    size_t n = 0;
    uint32_t cp = utf8_next((str){p + at, end - at}, &n);
    return (struct ch){cp, (uint32_t)n, cp == UTF8_BAD ? TOK_IN(OTHER) : 1u << tok_cat(cp)};
}

static inline size_t run(const char *p, size_t at, size_t end, uint32_t mask)
{
    for (struct ch c; (c = peek(p, at, end)).in & mask;)
        at += c.len;
    return at;
}

static inline bool is_nl(uint32_t cp)
{
    return cp == '\r' || cp == '\n';
}

/* 's 't 'm 'd 're 've 'll: how long the one at p[at] is, 0 for none. */
static size_t contraction(const char *p, size_t at, size_t end, bool fold)
{
    if (end - at < 2 || p[at] != '\'') return 0;
    int bit = fold ? 0x20 : 0;
    int a = p[at + 1] | bit;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (end - at < 3) return 0;
    int b = p[at + 2] | bit;
    return (b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ ; without `lines` the first part is absent. */
static size_t spaces(const char *p, size_t at, size_t end, bool lines)
{
    size_t last = at, after_nl = 0, i = at;
    for (struct ch c; (c = peek(p, i, end)).in & TOK_IN(SPACE);) {
        last = i;
        i += c.len;
        if (is_nl(c.cp)) after_nl = i;
    }
    if (lines && after_nl) return after_nl;
    return i < end && last > at ? last : i;
}

/* \s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)| and so on down to |\s{4}(?!\S)|\s{1,2}(?!\S)|\s */
static size_t cascade(const char *p, size_t at, size_t end)
{
    size_t ends[512], n = 0, after_nl = 0, i = at; /* ends[k]: after k + 1 of them */
    bool more = false;
    for (struct ch c; (c = peek(p, i, end)).in & TOK_IN(SPACE);) {
        i += c.len;
        if (is_nl(c.cp)) after_nl = i;
        if (n < 512)
            ends[n++] = i;
        else
            more = true;
    }
    if (after_nl) return after_nl;
    more |= i == end; /* nothing that is no space comes next, however many are taken */
    for (size_t k = 512; k >= 4; k /= 2)
        if (n > k || (n == k && more)) return ends[k - 1];
    if (n > 2 || (n == 2 && more)) return ends[1];
    return ends[0];
}

/* '(s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t tok_scan_gpt2(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    size_t n = contraction(p, at, end, false);
    if (n) return at + n;
    struct ch c = peek(p, at, end);
    size_t from = at;
    if (c.cp == ' ') {
        struct ch next = peek(p, at + 1, end);
        if (!(next.in & (TOK_IN(SPACE) | TOK_IN(NONE)))) {
            c = next;
            from++;
        }
    }
    if (c.in & TOK_LETTERS) return run(p, from, end, TOK_LETTERS);
    if (c.in & TOK_IN(NUMBER)) return run(p, from, end, TOK_IN(NUMBER));
    if (c.in & TOK_IN(SPACE)) return spaces(p, at, end, false);
    return run(p, from, end, ~(TOK_LETTERS | TOK_IN(NUMBER) | TOK_IN(SPACE) | TOK_IN(NONE)));
}

#define UPPER (TOK_IN(LU) | TOK_IN(LT) | TOK_IN(LM) | TOK_IN(LO) | TOK_IN(MARK))
#define LOWER (TOK_IN(LL) | TOK_IN(LM) | TOK_IN(LO) | TOK_IN(MARK))

static bool is_han(uint32_t cp)
{
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
           (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2EBEF) ||
           (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

/* [UPPER]*[LOWER]+ or else [UPPER]+[LOWER]* : the end, or `at`. */
static size_t cased_word(const char *p, size_t at, size_t end, bool no_han)
{
    size_t i = at, both = at; /* `both`: after the last character that is UPPER and LOWER */
    struct ch c;
    for (; (c = peek(p, i, end)).in & UPPER && !(no_han && is_han(c.cp));) {
        i += c.len;
        if (c.in & LOWER) both = i;
    }
    size_t j = i;
    for (; (c = peek(p, j, end)).in & LOWER && !(no_han && is_han(c.cp));)
        j += c.len;
    if (j > i) return j;
    return both > at ? both : i;
}

/* \p{L}\p{M}*( ?\p{L}\p{M}*)* : the end, or `at`. */
static size_t phrase(const char *p, size_t at, size_t end)
{
    for (struct ch c = peek(p, at, end); c.in & TOK_LETTERS;) {
        at = run(p, at + c.len, end, TOK_IN(MARK));
        c = peek(p, at, end);
        struct ch next = c.cp == ' ' ? peek(p, at + 1, end) : c;
        if (c.cp != ' ' || !(next.in & TOK_LETTERS)) continue;
        at++;
        c = next;
    }
    return at;
}

/* The word at `at`, with the one character before it that is neither letter, digit nor line end. */
static size_t letters(const char *p, size_t at, size_t end, unsigned arg)
{
    struct ch c = peek(p, at, end);
    bool lead = !is_nl(c.cp) && !(c.in & (TOK_LETTERS | TOK_IN(NUMBER) | TOK_IN(NONE)));
    size_t to = at;
    if (arg & TOK_W_CASED) {
        bool no_han = arg & TOK_W_NO_HAN;
        if (c.in & TOK_IN(MARK)) lead = false; /* it is part of the word anyway */
        if (lead) to = cased_word(p, at + c.len, end, no_han);
        if (!lead || to == at + c.len) to = cased_word(p, at, end, no_han);
        return to > at && arg & TOK_W_BACK ? to + contraction(p, to, end, true) : to;
    }
    if (arg & TOK_W_PHRASE) {
        to = phrase(p, at, end);
        if (to > at || !lead) return to;
        to = phrase(p, at + c.len, end);
        return to > at + c.len ? to : at;
    }
    uint32_t mask = TOK_LETTERS | (arg & TOK_W_MARKS ? TOK_IN(MARK) : 0);
    if (c.in & mask) return run(p, at, end, mask);
    if (!lead) return at;
    to = run(p, at + c.len, end, mask);
    return to > at + c.len ? to : at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ and its relatives, by the bits above. */
size_t tok_scan_words(const char *p, size_t at, size_t end, unsigned arg)
{
    struct ch c = peek(p, at, end);
    if (arg & TOK_W_NO_HAN && is_han(c.cp)) {
        while (is_han((c = peek(p, at, end)).cp))
            at += c.len;
        return at;
    }
    size_t n = arg & TOK_W_FRONT ? contraction(p, at, end, true) : 0;
    if (n) return at + n;
    size_t to = letters(p, at, end, arg);
    if (to > at) return to;
    if (c.in & TOK_IN(NUMBER)) {
        unsigned left = arg & TOK_W_DIGITS;
        if (!left) return run(p, at, end, TOK_IN(NUMBER));
        for (; left && (c = peek(p, at, end)).in & TOK_IN(NUMBER); left--)
            at += c.len;
        return at;
    }
    uint32_t other = ~(TOK_LETTERS | TOK_IN(NUMBER) | TOK_IN(SPACE) | TOK_IN(NONE));
    if (arg & TOK_W_MARKS) other &= ~TOK_IN(MARK);
    size_t from = at + (c.cp == ' ');
    to = run(p, from, end, other);
    if (to == from) return arg & TOK_W_CASCADE ? cascade(p, at, end) : spaces(p, at, end, true);
    if (arg & TOK_W_TAIL_ONE)
        return to < end && (is_nl((uint8_t)p[to]) || p[to] == '/') ? to + 1 : to;
    while (to < end && (((arg & TOK_W_TAIL_NL) && is_nl((uint8_t)p[to])) ||
                        ((arg & TOK_W_TAIL_SL) && p[to] == '/')))
        to++;
    return to;
}

/* ---- sets of characters ---- */

struct range {
    uint32_t low, high;
};

static const struct range cased_letters[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},
    {0xD8, 0xF6},       {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},
    {0x295, 0x2AF},     {0x370, 0x373},     {0x376, 0x377},     {0x37B, 0x37D},
    {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},     {0x38C, 0x38C},
    {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
    {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},
    {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},
    {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},
    {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},
    {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
    {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},
    {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},
    {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
    {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},
    {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},
    {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},
    {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},
    {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
    {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};

static const struct range asian[] = {
    {0x0E40, 0x0EFF}, {0x1000, 0x109F}, {0x1100, 0x11FF}, {0x1780, 0x17FF}, {0x2F00, 0x2FDF},
    {0x3040, 0x30FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xA9E0, 0xA9FF}, {0xAA60, 0xAA7F},
    {0xAC00, 0xD7AF}, {0xF900, 0xFAFF}, {0xFF65, 0xFF9F},
};

static bool in_ranges(const struct range *r, size_t n, uint32_t cp)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (r[mid].high < cp)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && r[low].low <= cp;
}

static bool one_of(uint32_t cp, const char *ascii)
{
    for (; *ascii; ascii++)
        if (cp == (uint8_t)*ascii) return true;
    return false;
}

static bool bloom_breaks(struct ch c)
{
    static const uint16_t wide[] = {0x2026, 0x3002, 0xFF0C, 0x3001, 0x0964, 0x06D4, 0x060C};
    if (c.in & TOK_IN(SPACE)) return true;
    if (c.cp < 128) return one_of(c.cp, "(|.,!?)");
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        if (c.cp == wide[i]) return true;
    return false;
}

/* False at the end of the text, whatever the set. */
static bool in_set(enum tok_set set, struct ch c)
{
    uint32_t cp = c.cp;
    if (!c.len) return false;
    switch (set) {
    case TOK_SET_NUMBER: return c.in & TOK_IN(NUMBER);
    case TOK_SET_LETTER: return c.in & TOK_LETTERS;
    case TOK_SET_PUNCT: return c.in & TOK_IN(PUNCT);
    case TOK_SET_LINE_END: return is_nl(cp);
    case TOK_SET_LINE_FEED: return cp == '\n';
    case TOK_SET_FALCON: return c.in & TOK_IN(PUNCT) || (cp < 128 && one_of(cp, "$+<=>^~|`"));
    case TOK_SET_DEFAULT: return c.in & TOK_IN(PUNCT) || (cp < 128 && one_of(cp, "$+<=>^~|"));
    case TOK_SET_BLOOM: return !bloom_breaks(c);
    case TOK_SET_KANA: return (cp >= 0x4E00 && cp <= 0x9FA5) || (cp >= 0x3040 && cp <= 0x30FF);
    case TOK_SET_CJK: return (cp >= 0x800 && cp <= 0x9FA5) || (cp >= 0xAC00 && cp <= 0xD7FF);
    case TOK_SET_CASED:
        return in_ranges(cased_letters, sizeof cased_letters / sizeof cased_letters[0], cp);
    case TOK_SET_MARKS: return (c.in & TOK_IN(PUNCT)) || (cp < 128 && one_of(cp, "$+<=>^`|~"));
    case TOK_SET_ASIAN: return in_ranges(asian, sizeof asian / sizeof asian[0], cp);
    case TOK_SET_WIDE_PUNCT:
        return (cp >= 0x21 && cp <= 0x2F) || (cp >= 0x3A && cp <= 0x7E) ||
               (cp >= 0xFF01 && cp <= 0xFF0F) || (cp >= 0xFF1A && cp <= 0xFF5E) ||
               (cp >= 0x2018 && cp <= 0x201F) || (cp >= 0x3000 && cp <= 0x3002);
    }
    return false;
}

/* [set]{1,max}, max in the upper byte, 0 for no limit. */
size_t tok_scan_set(const char *p, size_t at, size_t end, unsigned arg)
{
    enum tok_set set = (enum tok_set)(arg & 255);
    size_t max = arg >> 8;
    bool want = in_set(set, peek(p, at, end));
    size_t n = 0;
    for (struct ch c; (c = peek(p, at, end)).len && in_set(set, c) == want; at += c.len)
        if (want && max && n++ == max) break;
    return at;
}

/* [0-9][0-9][0-9] */
size_t tok_scan_three(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    size_t digits = 0;
    for (size_t i = at; i < end; i++) {
        digits = p[i] >= '0' && p[i] <= '9' ? digits + 1 : 0;
        if (digits == 3) return i == at + 2 ? i + 1 : i - 2;
    }
    return end;
}

/* \s?[set]+ ; with TOK_ONLY_BLANK in place of \s a plain space. */
size_t tok_scan_spaced(const char *p, size_t at, size_t end, unsigned arg)
{
    enum tok_set set = (enum tok_set)(arg & 255);
    size_t from = at;
    struct ch c = peek(p, at, end);
    for (;;) {
        bool blank = arg & TOK_ONLY_BLANK ? c.cp == ' ' : (c.in & TOK_IN(SPACE)) != 0;
        struct ch next = peek(p, at + c.len, end);
        if (in_set(set, c) || (blank && in_set(set, next))) break;
        at += c.len;
        if (!next.len) return at;
        c = next;
    }
    if (at > from) return at;
    at += c.len;
    while (in_set(set, c = peek(p, at, end)))
        at += c.len;
    return at;
}

/* \s+$ */
size_t tok_scan_trailing(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    size_t start = end;
    while (start > at) {
        size_t i = start - 1;
        while (i > at && start - i < 4 && ((uint8_t)p[i] & 0xC0) == 0x80)
            i--;
        struct ch c = peek(p, i, start);
        if (!(c.in & TOK_IN(SPACE)) || i + c.len != start) break;
        start = i;
    }
    return start > at ? start : end;
}

/* [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ : the end, or `at` where nothing matches. Without `lines`:
 * ...| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+ */
static size_t match_deepseek3(const char *p, size_t at, size_t end, bool lines)
{
    const uint32_t word = TOK_LETTERS | TOK_IN(MARK), marks = TOK_IN(PUNCT) | TOK_IN(SYMBOL);
    struct ch c = peek(p, at, end), next = peek(p, at + c.len, end);
    if (c.cp < 128 && c.in & marks && next.cp < 128 && next.in & TOK_LETTERS) {
        at++;
        while (at < end && (uint8_t)p[at] < 128 && peek(p, at, end).in & TOK_LETTERS)
            at++;
        return at;
    }
    if (c.in & word) return run(p, at, end, word);
    if (!is_nl(c.cp) && !(c.in & marks) && next.in & word) return run(p, at + c.len, end, word);
    size_t from = at + (c.cp == ' '), to = run(p, from, end, marks);
    if (to > from) {
        while (lines && to < end && is_nl((uint8_t)p[to]))
            to++;
        return to;
    }
    if (!lines && is_nl(c.cp)) return at + 1;
    return c.in & TOK_IN(SPACE) ? spaces(p, at, end, lines) : at;
}

size_t tok_scan_deepseek3(const char *p, size_t at, size_t end, unsigned arg)
{
    bool lines = !arg;
    size_t to = match_deepseek3(p, at, end, lines);
    if (to > at) return to;
    do {
        at += peek(p, at, end).len;
    } while (at < end && match_deepseek3(p, at, end, lines) == at);
    return at;
}

/* ---- numbers in groups of three from the right ---- */

static bool is_digit(struct ch c)
{
    if (c.cp < 128) return c.cp >= '0' && c.cp <= '9';
    return c.in & TOK_IN(NUMBER) &&
           utf8proc_category((utf8proc_int32_t)c.cp) == UTF8PROC_CATEGORY_ND;
}

/* \w as Oniguruma has it: alphabetic, mark, number or connector. */
static bool is_wordy(struct ch c)
{
    uint32_t cp = c.cp;
    if (c.in & (TOK_LETTERS | TOK_IN(MARK) | TOK_IN(NUMBER))) return true;
    if (cp < 128) return cp == '_';
    if (c.in & TOK_IN(SYMBOL)) /* letters in circles and squares */
        return (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
               (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
    return c.in & TOK_IN(PUNCT) &&
           utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_PC;
}

struct digits {
    size_t n, end;
    size_t after[4]; /* 0 to 3 of them */
};

/* The run of digits (of numbers if `any`) at p[at]. */
static struct digits digits_at(const char *p, size_t at, size_t end, bool any)
{
    struct digits d = {.end = at, .after = {at, at, at, at}};
    for (struct ch c;
         (c = peek(p, d.end, end)).len && (any ? (c.in & TOK_IN(NUMBER)) != 0 : is_digit(c));) {
        d.end += c.len;
        if (++d.n <= 3) d.after[d.n] = d.end;
    }
    return d;
}

/* Where the first group ends, 1 to 3 of them, so that groups of three are left. */
static size_t first_group(const struct digits *d)
{
    return d->after[d->n % 3 ? d->n % 3 : 3];
}

/* \p{N} in runs: 1 to 3 and then threes; with `arg` the cuts of (?=(\d{3})+(?!\d)) alone. */
size_t tok_scan_threes(const char *p, size_t at, size_t end, unsigned arg)
{
    struct digits d = digits_at(p, at, end, !arg);
    if (d.n > 3) return first_group(&d);
    if (d.n && !arg) return d.end;
    for (size_t i = d.end; i < end;) {
        d = digits_at(p, i, end, !arg);
        if (d.n && (!arg || d.n % 3 == 0)) return i;
        if (d.n > 3) return first_group(&d);
        i = d.n ? d.end : i + peek(p, i, end).len;
    }
    return end;
}

/* \d{1,3}(?=(?:\d{3})*\b) */
size_t tok_scan_threes_word(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    size_t i = at;
    while (i < end) {
        struct digits d = digits_at(p, i, end, false);
        if (d.n && !is_wordy(peek(p, d.end, end))) return i > at ? i : first_group(&d);
        i = d.n ? d.end : i + peek(p, i, end).len;
    }
    return end;
}

/* ---- single models ---- */

static unsigned youtu_class(struct ch c)
{
    uint32_t cp = c.cp;
    if (!c.len || cp < 0x2000) return 0;
    if ((cp >= 0xAC00 && cp <= 0xD7A3) || (cp >= 0x3131 && cp <= 0x318E)) return 1;
    if (cp == 0xFF01 || cp == 0x2026 || (cp >= 0x2018 && cp <= 0x2019) || cp == 0x2014 ||
        (cp >= 0x201C && cp <= 0x201D) || cp == 0xFF1A || cp == 0xFF1B || cp == 0xFF0C ||
        (cp >= 0x3001 && cp <= 0x303F) || (cp >= 0xFE30 && cp <= 0xFE4F))
        return 2;
    if (cp >= 0x3105 && cp <= 0x312F) return 3;
    return in_set(TOK_SET_KANA, c) ? 4 : 0;
}

/* [\uAC00-\uD7A3\u3131-\u318E]+|[wide punctuation]+|[\u3105-\u312F]+|[Han and kana]+ */
size_t tok_scan_youtu(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    struct ch c = peek(p, at, end);
    unsigned want = youtu_class(c);
    for (; c.len && youtu_class(c) == want; c = peek(p, at, end))
        at += c.len;
    return at;
}

/* <sentinel:[0-9]+> : the end, or `at`. */
static size_t sentinel(const char *p, size_t at, size_t end)
{
    static const char head[] = "<sentinel:";
    size_t i = at + sizeof head - 1;
    if (i >= end || memcmp(p + at, head, sizeof head - 1) != 0) return at;
    size_t digits = i;
    while (i < end && p[i] >= '0' && p[i] <= '9')
        i++;
    return i > digits && i < end && p[i] == '>' ? i + 1 : at;
}

/* IMGIMG[A-I]{1,4}Z : the end, or `at`. */
static size_t image(const char *p, size_t at, size_t end)
{
    size_t i = at + 6;
    if (i >= end || memcmp(p + at, "IMGIMG", 6) != 0) return at;
    while (i < end && i < at + 10 && p[i] >= 'A' && p[i] <= 'I')
        i++;
    return i > at + 6 && i < end && p[i] == 'Z' ? i + 1 : at;
}

/* [\t\n]|four spaces|two spaces : the end, or `at`. */
static size_t indent(const char *p, size_t at, size_t end)
{
    if (p[at] == '\t' || p[at] == '\n') return at + 1;
    size_t n = 0;
    while (n < 4 && at + n < end && p[at + n] == ' ')
        n++;
    return at + (n == 4 ? 4 : n >= 2 ? 2 : 0);
}

/* Chameleon's three first stages. */
size_t tok_scan_chameleon(const char *p, size_t at, size_t end, unsigned arg)
{
    size_t (*const match)(const char *, size_t, size_t) = arg == 0   ? sentinel
                                                          : arg == 1 ? image
                                                                     : indent;
    size_t to = match(p, at, end);
    if (to > at) return to;
    do {
        at++;
    } while (at < end && match(p, at, end) == at);
    return at;
}

/* ---- what tokenizer.json names ---- */

/* \s+ is dropped; with `arg` a character of TOK_SET_MARKS is a word of its own. */
size_t tok_scan_blanks(const char *p, size_t at, size_t end, unsigned arg)
{
    struct ch c = peek(p, at, end);
    if (c.in & TOK_IN(SPACE)) return run(p, at, end, TOK_IN(SPACE)) | TOK_SKIP;
    if (arg && in_set(TOK_SET_MARKS, c)) return at + c.len;
    while (c.len && !(c.in & TOK_IN(SPACE)) && !(arg && in_set(TOK_SET_MARKS, c))) {
        at += c.len;
        c = peek(p, at, end);
    }
    return at;
}

static bool spelled_digit(uint8_t b)
{
    return (b >= '0' && b <= '9') || b == 0xB2 || b == 0xB3 || b == 0xB9 ||
           (b >= 0xBC && b <= 0xBE);
}

/* \p{N}+ over GPT-2's spelling of bytes as letters, where six more bytes are numbers; with `arg`
 * one by one. */
size_t tok_scan_spelled(const char *p, size_t at, size_t end, unsigned arg)
{
    bool digit = spelled_digit((uint8_t)p[at++]);
    if (digit && arg) return at;
    while (at < end && spelled_digit((uint8_t)p[at]) == digit)
        at++;
    return at;
}

/* U+2581 and what follows up to the next. */
size_t tok_scan_metaspace(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    size_t from = at + (end - at >= 3 && memcmp(p + at, "\xE2\x96\x81", 3) == 0 ? 3 : 0);
    const char *next = memmem(p + from, end - from, "\xE2\x96\x81", 3);
    return next ? (size_t)(next - p) : end;
}
