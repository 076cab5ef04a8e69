/* tok_pre: cuts text into words before BPE: one hand-written scanner for each shape of rule.
 *
 * Every BPE vocabulary was trained on text cut by a certain regular expression, or by several in
 * turn, where each cuts the pieces that the one before it left. The table at the end names them as
 * files do (tokenizer.ggml.pre); its rows are lists of scanners with an argument. A scanner gets
 * the start of a word and returns its end; text that an expression does not match is a word of its
 * own up to the next match. The expression stands above each scanner.
 *
 * Invariant: a scanner reads each character a bounded number of times over a whole text, and
 * returns more than it was given. Bytes that are no UTF-8 count as one character of category OTHER
 * each.
 *
 * Sources: the tokenizer.json files of the models; names as llama.cpp gives them.
 */
#include "text/tok_int.h"
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

/* '(s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t scan_gpt2(const char *p, size_t at, size_t end, unsigned arg)
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

/* What differs between the rules of the tiktoken family. */
enum {
    W_DIGITS = 15,   /* longest group of digits; 0: no limit */
    W_FRONT = 16,    /* a contraction is a word */
    W_BACK = 32,     /* a contraction ends a word (W_CASED) */
    W_CASED = 64,    /* a word is upper case and then lower case */
    W_MARKS = 128,   /* marks are part of words */
    W_TAIL_NL = 256, /* line ends follow punctuation */
    W_TAIL_SL = 512, /* and slashes */
    W_NO_HAN = 1024, /* Han is no part of other words */
};

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

/* The word at `at`, with the one character before it that is neither letter, digit nor line end. */
static size_t letters(const char *p, size_t at, size_t end, unsigned arg)
{
    struct ch c = peek(p, at, end);
    bool lead = !is_nl(c.cp) && !(c.in & (TOK_LETTERS | TOK_IN(NUMBER) | TOK_IN(NONE)));
    size_t to = at;
    if (arg & W_CASED) {
        bool no_han = arg & W_NO_HAN;
        if (c.in & TOK_IN(MARK)) lead = false; /* it is part of the word anyway */
        if (lead) to = cased_word(p, at + c.len, end, no_han);
        if (!lead || to == at + c.len) to = cased_word(p, at, end, no_han);
        return to > at && arg & W_BACK ? to + contraction(p, to, end, true) : to;
    }
    uint32_t mask = TOK_LETTERS | (arg & W_MARKS ? TOK_IN(MARK) : 0);
    if (c.in & mask) return run(p, at, end, mask);
    if (!lead) return at;
    to = run(p, at + c.len, end, mask);
    return to > at + c.len ? to : at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ and its relatives, by the bits above. */
static size_t scan_words(const char *p, size_t at, size_t end, unsigned arg)
{
    struct ch c = peek(p, at, end);
    if (arg & W_NO_HAN && is_han(c.cp)) {
        while (is_han((c = peek(p, at, end)).cp))
            at += c.len;
        return at;
    }
    size_t n = arg & W_FRONT ? contraction(p, at, end, true) : 0;
    if (n) return at + n;
    size_t to = letters(p, at, end, arg);
    if (to > at) return to;
    if (c.in & TOK_IN(NUMBER)) {
        unsigned left = arg & W_DIGITS;
        if (!left) return run(p, at, end, TOK_IN(NUMBER));
        for (; left && (c = peek(p, at, end)).in & TOK_IN(NUMBER); left--)
            at += c.len;
        return at;
    }
    uint32_t other = ~(TOK_LETTERS | TOK_IN(NUMBER) | TOK_IN(SPACE) | TOK_IN(NONE));
    if (arg & W_MARKS) other &= ~TOK_IN(MARK);
    size_t from = at + (c.cp == ' ');
    to = run(p, from, end, other);
    if (to == from) return spaces(p, at, end, true);
    while (to < end &&
           (((arg & W_TAIL_NL) && is_nl((uint8_t)p[to])) || ((arg & W_TAIL_SL) && p[to] == '/')))
        to++;
    return to;
}

/* ---- sets of characters ---- */

enum set {
    SET_NUMBER,
    SET_LETTER,
    SET_PUNCT,
    SET_LINE_END,  /* [\r\n] */
    SET_LINE_FEED, /* [\n] */
    SET_FALCON,    /* [\p{P}$+<=>^~|`] */
    SET_DEFAULT,   /* [\p{P}$+<=>^~|] */
    SET_BLOOM,     /* [^(\s|.,!?…。，、।۔،)] */
    SET_KANA,      /* [一-龥぀-ゟ゠-ヿ] */
    SET_CJK,       /* [一-龥ࠀ-一가-퟿] */
    SET_CASED,     /* the letters with case that DeepSeek LLM lists */
    SET_WIDE_PUNCT /* [!-/:-~！-／：-～‘-‟　-。] */
};

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
static bool in_set(enum set set, struct ch c)
{
    uint32_t cp = c.cp;
    if (!c.len) return false;
    switch (set) {
    case SET_NUMBER: return c.in & TOK_IN(NUMBER);
    case SET_LETTER: return c.in & TOK_LETTERS;
    case SET_PUNCT: return c.in & TOK_IN(PUNCT);
    case SET_LINE_END: return is_nl(cp);
    case SET_LINE_FEED: return cp == '\n';
    case SET_FALCON: return c.in & TOK_IN(PUNCT) || (cp < 128 && one_of(cp, "$+<=>^~|`"));
    case SET_DEFAULT: return c.in & TOK_IN(PUNCT) || (cp < 128 && one_of(cp, "$+<=>^~|"));
    case SET_BLOOM: return !bloom_breaks(c);
    case SET_KANA: return (cp >= 0x4E00 && cp <= 0x9FA5) || (cp >= 0x3040 && cp <= 0x30FF);
    case SET_CJK: return (cp >= 0x800 && cp <= 0x9FA5) || (cp >= 0xAC00 && cp <= 0xD7FF);
    case SET_CASED:
        return in_ranges(cased_letters, sizeof cased_letters / sizeof cased_letters[0], cp);
    case SET_WIDE_PUNCT:
        return (cp >= 0x21 && cp <= 0x2F) || (cp >= 0x3A && cp <= 0x7E) ||
               (cp >= 0xFF01 && cp <= 0xFF0F) || (cp >= 0xFF1A && cp <= 0xFF5E) ||
               (cp >= 0x2018 && cp <= 0x201F) || (cp >= 0x3000 && cp <= 0x3002);
    }
    return false;
}

/* [set]{1,max}, max in the upper byte, 0 for no limit. */
#define AT_MOST(n) ((unsigned)(n) << 8)
static size_t scan_set(const char *p, size_t at, size_t end, unsigned arg)
{
    enum set set = (enum set)(arg & 255);
    size_t max = arg >> 8;
    bool want = in_set(set, peek(p, at, end));
    size_t n = 0;
    for (struct ch c; (c = peek(p, at, end)).len && in_set(set, c) == want; at += c.len)
        if (want && max && n++ == max) break;
    return at;
}

/* [0-9][0-9][0-9] */
static size_t scan_three(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    size_t digits = 0;
    for (size_t i = at; i < end; i++) {
        digits = p[i] >= '0' && p[i] <= '9' ? digits + 1 : 0;
        if (digits == 3) return i == at + 2 ? i + 1 : i - 2;
    }
    return end;
}

/* \s?[set]+ ; with ONLY_BLANK in place of \s a plain space. */
#define ONLY_BLANK 256u
static size_t scan_spaced(const char *p, size_t at, size_t end, unsigned arg)
{
    enum set set = (enum set)(arg & 255);
    size_t from = at;
    struct ch c = peek(p, at, end);
    for (;;) {
        bool blank = arg & ONLY_BLANK ? c.cp == ' ' : (c.in & TOK_IN(SPACE)) != 0;
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
static size_t scan_trailing(const char *p, size_t at, size_t end, unsigned arg)
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
 * \s*[\r\n]+|\s+(?!\S)|\s+ : the end, or `at` where nothing matches. */
static size_t match_deepseek3(const char *p, size_t at, size_t end)
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
        while (to < end && is_nl((uint8_t)p[to]))
            to++;
        return to;
    }
    return c.in & TOK_IN(SPACE) ? spaces(p, at, end, true) : at;
}

static size_t scan_deepseek3(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    size_t to = match_deepseek3(p, at, end);
    if (to > at) return to;
    do {
        at += peek(p, at, end).len;
    } while (at < end && match_deepseek3(p, at, end) == at);
    return at;
}

/* ---- the names ---- */

#define GPT2                                                                                       \
    {                                                                                              \
        scan_gpt2, 0                                                                               \
    }
#define WORDS(arg)                                                                                 \
    {                                                                                              \
        scan_words, (arg)                                                                          \
    }
#define SET(arg)                                                                                   \
    {                                                                                              \
        scan_set, (arg)                                                                            \
    }
#define LLAMA3    WORDS(3 | W_FRONT | W_TAIL_NL)
#define QWEN2     WORDS(1 | W_FRONT | W_TAIL_NL)
#define GPT4O     WORDS(3 | W_CASED | W_BACK | W_TAIL_NL | W_TAIL_SL)
#define ONE_DIGIT SET(SET_NUMBER | AT_MOST(1))
#define DEEPSEEK3                                                                                  \
    {                                                                                              \
        SET(SET_NUMBER | AT_MOST(3)), SET(SET_KANA),                                               \
        {                                                                                          \
            scan_deepseek3, 0                                                                      \
        }                                                                                          \
    }
#define BLOOM                                                                                      \
    {                                                                                              \
        scan_spaced, SET_BLOOM | ONLY_BLANK                                                        \
    }

/* clang-format off */
static const struct tok_pre table[] = {
    /* name, stages, ignore_merges, add_bos */
    {"default", {SET(SET_DEFAULT), GPT2, SET(SET_NUMBER), {scan_three, 0}}, false, false},
    {"llama-bpe",    {LLAMA3}, true, true},
    {"llama3",       {LLAMA3}, true, true},
    {"llama-v3",     {LLAMA3}, true, true},
    {"falcon3",      {LLAMA3}, true, true},
    {"falcon-h1",    {LLAMA3}, true, true},
    {"pixtral",      {LLAMA3}, true, true},
    {"midm-2.0",     {LLAMA3}, true, true},
    {"lfm2",         {LLAMA3}, true, true},
    {"jina-v5-nano", {LLAMA3}, true, true},
    {"dbrx",         {LLAMA3}, false, false},
    {"smaug-bpe",    {LLAMA3}, false, false},
    {"chatglm-bpe",  {LLAMA3}, false, false},
    {"glm4",         {LLAMA3}, false, false},
    {"minicpm5", {SET(SET_NUMBER | AT_MOST(3)), WORDS(W_FRONT | W_TAIL_NL)}, true, false},
    {"qwen2",            {QWEN2}, false, false},
    {"deepseek-r1-qwen", {QWEN2}, false, false},
    {"kormo",            {QWEN2}, false, false},
    {"f2llmv2",          {QWEN2}, false, false},
    {"megrez",           {QWEN2}, false, false},
    {"stablelm2",        {QWEN2}, false, false},
    {"hunyuan",          {QWEN2}, false, false},
    {"solar-open",       {QWEN2}, false, false},
    {"grok-2",           {QWEN2}, false, false},
    {"bailingmoe",       {QWEN2}, false, false},
    {"bailingmoe2",      {QWEN2}, false, false},
    {"llada-moe",        {QWEN2}, false, false},
    {"laguna", {SET(SET_LINE_FEED), QWEN2}, false, false},
    {"seed-coder", {WORDS(1 | W_FRONT)}, false, false},
    {"ufakzeka",   {WORDS(1 | W_TAIL_NL)}, false, false},
    {"qwen35",     {WORDS(1 | W_FRONT | W_TAIL_NL | W_MARKS)}, false, false},
    {"gpt-4o",     {GPT4O}, false, false},
    {"llama4",     {GPT4O}, false, false},
    {"kanana2",    {GPT4O}, false, false},
    {"talkie",     {GPT4O}, false, false},
    {"minimax-m2", {GPT4O}, false, false},
    {"tekken",     {WORDS(1 | W_CASED | W_TAIL_NL | W_TAIL_SL)}, true, true},
    {"kimi-k2",    {WORDS(3 | W_CASED | W_BACK | W_TAIL_NL | W_NO_HAN)}, false, false},
    {"gpt-2",       {GPT2}, false, false},
    {"phi-2",       {GPT2}, false, false},
    {"jina-es",     {GPT2}, false, false},
    {"jina-de",     {GPT2}, false, false},
    {"jina-v2-es",  {GPT2}, false, false},
    {"jina-v2-de",  {GPT2}, false, false},
    {"gigachat",    {GPT2}, false, false},
    {"a.x-4.0",     {GPT2}, false, false},
    {"mellum",      {GPT2}, false, false},
    {"modern-bert", {GPT2}, false, false},
    {"exaone4",     {GPT2}, false, false},
    {"mpt",         {GPT2}, false, false},
    {"olmo",        {GPT2}, false, false},
    {"jais",        {GPT2}, false, false},
    {"trillion",    {GPT2}, false, false},
    {"granite-docling", {GPT2}, false, false},
    {"starcoder",  {ONE_DIGIT, GPT2}, false, false},
    {"refact",     {ONE_DIGIT, GPT2}, false, false},
    {"command-r",  {ONE_DIGIT, GPT2}, false, false},
    {"smollm",     {ONE_DIGIT, GPT2}, false, false},
    {"codeshell",  {ONE_DIGIT, GPT2}, false, false},
    {"exaone",     {ONE_DIGIT, GPT2}, false, false},
    {"minerva-7b", {ONE_DIGIT, GPT2}, false, false},
    {"mellum2",    {ONE_DIGIT, GPT2}, false, false},
    {"falcon", {SET(SET_FALCON), GPT2, {scan_three, 0}}, false, false},
    {"deepseek-llm",
     {SET(SET_LINE_END | AT_MOST(1)), {scan_spaced, SET_CASED}, {scan_spaced, SET_WIDE_PUNCT},
      {scan_trailing, 0}, SET(SET_CJK), SET(SET_NUMBER)}, false, false},
    {"deepseek-coder",
     {SET(SET_LINE_END | AT_MOST(1)), {scan_spaced, SET_LETTER}, {scan_spaced, SET_PUNCT},
      SET(SET_CJK), ONE_DIGIT}, false, false},
    {"deepseek-v3",   DEEPSEEK3, false, false},
    {"hunyuan-dense", DEEPSEEK3, false, false},
    {"joyai-llm",     DEEPSEEK3, false, false},
    {"hy_v4",         DEEPSEEK3, false, false},
    {"bloom",        {BLOOM}, false, false},
    {"poro-chat",    {BLOOM}, false, false},
    {"gpt3-finnish", {BLOOM}, false, false},
    {"viking",       {BLOOM, ONE_DIGIT}, false, false},
};
/* clang-format on */

const struct tok_pre *tok_pre_find(str name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (str_eqc(name, table[i].name)) return &table[i];
    return NULL;
}
