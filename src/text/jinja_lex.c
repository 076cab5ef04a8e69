/* jinja_lex: source to tokens.
 *
 * Follows Jinja2's lexer with trim_blocks and lstrip_blocks: a tag's `-` eats all white space on
 * its side, `+` keeps what the two settings would take, the newline after a block or a comment
 * goes, and so do blanks between the start of a line and a block or a comment. Inside brackets `}}`
 * and `%}` do not end a tag.
 *
 * Invariant: every token's text is a view of the normalised source (newlines are \n, one trailing
 * newline gone) or, for strings with escapes, of the arena.
 *
 * Left out: line statements and configurable delimiters.
 */
#include "text/jinja_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

struct lexer {
    struct jinja *t;
    str s;
    size_t at;
    uint32_t line;
    size_t line_at;  /* up to where lines are counted */
    bool line_start; /* the last token ended with a newline */
    struct jtok *tok;
    size_t n, size;
    struct err_info *e;
};

#define BRACKETS_MAX 256

/* ---- helpers ---- */

static uint32_t line_of(struct lexer *x, size_t at)
{
    for (; x->line_at < at; x->line_at++)
        x->line += x->s.p[x->line_at] == '\n';
    return x->line;
}

static enum err fault(struct lexer *x, size_t at, const char *what)
{
    return ERR_FAIL(x->e, FORMAT, "chat template, line %u: %s", line_of(x, at), what);
}

static enum err push(struct lexer *x, struct jtok tok, size_t at)
{
    if (x->n == x->size) {
        size_t size = x->size ? x->size * 2 : 256;
        struct jtok *grown = ARENA_NEW(&x->t->arena, struct jtok, size);

        if (!grown) return ERR_FAIL(x->e, NOMEM, "no memory for the chat template's tokens");
        if (x->n) memcpy(grown, x->tok, x->n * sizeof *grown);
        x->tok = grown;
        x->size = size;
    }
    tok.line = line_of(x, at);
    x->tok[x->n++] = tok;
    return ERR_OK;
}

static char peek(const struct lexer *x, size_t ahead)
{
    return x->at + ahead < x->s.n ? x->s.p[x->at + ahead] : 0;
}

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
}

static void skip_blanks(struct lexer *x)
{
    while (x->at < x->s.n && blank(x->s.p[x->at]))
        x->at++;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* ---- text and white space control ---- */

/* The text s[from..to) before a tag whose sign is `sign`. */
static enum err push_text(struct lexer *x, size_t from, size_t to, char sign, bool lstrip)
{
    size_t end = to;

    if (sign == '-') {
        while (end > from && blank(x->s.p[end - 1]))
            end--;
    } else if (sign != '+' && lstrip) {
        size_t bol = end;

        while (bol > from && x->s.p[bol - 1] != '\n' && blank(x->s.p[bol - 1]))
            bol--;
        if (bol > from ? x->s.p[bol - 1] == '\n' : x->line_start) end = bol;
    }
    if (end == from) return ERR_OK;
    return push(x, (struct jtok){.kind = JTOK_TEXT, .s = str_sub(x->s, from, end - from)}, from);
}

/* At the closing delimiter's first character or its sign; steps over what the closing takes. */
static bool close_tag(struct lexer *x, const char *delim, bool trim)
{
    char sign = peek(x, 0);
    size_t skip = sign == '-' || (sign == '+' && trim) ? 1 : 0;

    if (peek(x, skip) != delim[0] || peek(x, skip + 1) != delim[1]) return false;
    x->at += skip + 2;
    if (skip && sign == '-')
        skip_blanks(x);
    else if (!skip && trim && peek(x, 0) == '\n')
        x->at++;
    x->line_start = x->s.p[x->at - 1] == '\n';
    return true;
}

/* Whether a tag `{% word %}` opens at `at`; *after is behind the word and the blanks. */
static bool is_word_tag(struct lexer *x, size_t at, const char *word, size_t *after)
{
    size_t n = strlen(word);

    at += 2;
    if (at < x->s.n && (x->s.p[at] == '-' || x->s.p[at] == '+')) at++;
    while (at < x->s.n && blank(x->s.p[at]))
        at++;
    if (x->s.n - at < n || memcmp(x->s.p + at, word, n) != 0) return false;
    at += n;
    while (at < x->s.n && blank(x->s.p[at]))
        at++;
    *after = at;
    if (at < x->s.n && x->s.p[at] == '-')
        at++;
    else if (at < x->s.n && x->s.p[at] == '+' && word[0] == 'e')
        at++;
    return x->s.n - at >= 2 && x->s.p[at] == '%' && x->s.p[at + 1] == '}';
}

static enum err lex_raw(struct lexer *x, size_t open, size_t after)
{
    size_t from, at;

    x->at = after;
    if (peek(x, 0) == '-') {
        x->at += 3;
        skip_blanks(x);
    } else {
        x->at += 2;
    }
    x->line_start = x->s.p[x->at - 1] == '\n';
    from = at = x->at;
    while ((at = str_find(x->s, S("{%"), at)) != SIZE_MAX) {
        if (is_word_tag(x, at, "endraw", &after)) {
            enum err err = push_text(x, from, at, x->s.p[at + 2], true);

            x->at = after;
            if (!err) close_tag(x, "%}", true);
            return err;
        }
        at++;
    }
    return fault(x, open, "{% raw %} is not closed by {% endraw %}");
}

static enum err lex_comment(struct lexer *x)
{
    size_t open = x->at, from = open + 2;

    if (x->s.n > from && (x->s.p[from] == '-' || x->s.p[from] == '+')) from++;
    for (;;) {
        size_t end = str_find(x->s, S("#}"), from);

        if (end == SIZE_MAX) return fault(x, open, "a comment {# is not closed by #}");
        x->at = end;
        if (end > from && (x->s.p[end - 1] == '-' || x->s.p[end - 1] == '+')) x->at = end - 1;
        if (close_tag(x, "#}", true)) return ERR_OK;
        from = end + 1;
    }
}

/* ---- inside a tag ---- */

static int hex_digits(str s, size_t at, int n, uint32_t *out)
{
    uint32_t v = 0;

    for (int i = 0; i < n; i++) {
        char c = at + (size_t)i < s.n ? s.p[at + (size_t)i] : 0;

        if (c >= '0' && c <= '9')
            v = v * 16 + (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v * 16 + (uint32_t)((c | 32) - 'a' + 10);
        else
            return 0;
    }
    *out = v;
    return n;
}

/* One escape of a Python string at raw[*at] (the backslash). */
static bool unescape(str raw, size_t *at, char **w)
{
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = raw.p[*at + 1];
    const char *hit = memchr(from, c, sizeof from - 1);
    uint32_t cp = 0;
    int n = 0;
    size_t put;

    if (hit) {
        *(*w)++ = to[hit - from];
        *at += 2;
        return true;
    }
    if (c == '\n') {
        *at += 2;
        return true;
    }
    if (c >= '0' && c <= '7') {
        for (; n < 3 && *at + 1 + (size_t)n < raw.n; n++) {
            char o = raw.p[*at + 1 + (size_t)n];
            if (o < '0' || o > '7') break;
            cp = cp * 8 + (uint32_t)(o - '0');
        }
        *at += 1 + (size_t)n;
    } else if (c == 'x' || c == 'u' || c == 'U') {
        n = hex_digits(raw, *at + 2, c == 'x' ? 2 : c == 'u' ? 4 : 8, &cp);
        if (!n) return false;
        *at += 2 + (size_t)n;
    } else {
        *(*w)++ = '\\'; /* an unknown escape stands for itself */
        *at += 1;
        return true;
    }
    put = utf8_put(*w, cp);
    *w += put;
    return put > 0;
}

static enum err lex_string(struct lexer *x)
{
    char quote = x->s.p[x->at], *w, *text;
    size_t open = x->at++, from = x->at, at = 0;
    bool escaped = false;
    str raw;

    while (x->at < x->s.n && x->s.p[x->at] != quote) {
        if (x->s.p[x->at] == '\\') {
            escaped = true;
            x->at++;
        }
        x->at++;
    }
    if (x->at >= x->s.n) return fault(x, open, "a string is not closed");
    raw = str_sub(x->s, from, x->at - from);
    x->at++;
    if (!escaped) return push(x, (struct jtok){.kind = JTOK_STR, .s = raw}, open);

    text = w = arena_alloc(&x->t->arena, raw.n + 4, 1);
    if (!text) return ERR_FAIL(x->e, NOMEM, "no memory for the chat template's strings");
    while (at < raw.n) {
        if (raw.p[at] != '\\')
            *w++ = raw.p[at++];
        else if (!unescape(raw, &at, &w))
            return fault(x, open, "a string has a broken \\x or \\u escape");
    }
    return push(x, (struct jtok){.kind = JTOK_STR, .s = {text, (size_t)(w - text)}}, open);
}

struct digits {
    char p[64]; /* without '_' */
    size_t n;
};

static bool is_digit(char c, int base)
{
    if (base == 16 && (c | 32) >= 'a' && (c | 32) <= 'f') return true;
    return c >= '0' && c <= '9';
}

/* Reads digits, with single '_' between them; false: too many. */
static bool take_digits(struct lexer *x, struct digits *d, int base)
{
    while (is_digit(peek(x, 0), base) || (peek(x, 0) == '_' && is_digit(peek(x, 1), base))) {
        if (d->n + 4 >= sizeof d->p) return false;
        if (peek(x, 0) != '_') d->p[d->n++] = peek(x, 0);
        x->at++;
    }
    return true;
}

/* The fraction and the exponent of a number, when they are there. */
static bool take_fraction(struct lexer *x, struct digits *d, bool *is_float)
{
    size_t sign;

    if (peek(x, 0) == '.' && is_digit(peek(x, 1), 10)) {
        *is_float = true;
        d->p[d->n++] = '.';
        x->at++;
        if (!take_digits(x, d, 10)) return false;
    }
    sign = peek(x, 1) == '+' || peek(x, 1) == '-';
    if ((peek(x, 0) | 32) == 'e' && is_digit(peek(x, 1 + sign), 10)) {
        *is_float = true;
        d->p[d->n++] = 'e';
        if (sign) d->p[d->n++] = peek(x, 1);
        x->at += 1 + sign;
        return take_digits(x, d, 10);
    }
    return true;
}

static enum err lex_number(struct lexer *x)
{
    struct jtok tok = {.kind = JTOK_INT};
    struct digits d = {.n = 0};
    size_t from = x->at;
    bool after_dot = x->n && x->tok[x->n - 1].kind == JTOK_OP && x->tok[x->n - 1].op == '.';
    bool is_float = false, good;
    int base = 10;

    if (peek(x, 0) == '0' && peek(x, 1) && strchr("xXoObB", peek(x, 1))) {
        char c = (char)(peek(x, 1) | 32);

        base = c == 'x' ? 16 : c == 'o' ? 8 : 2;
        x->at += 2;
    }
    good = take_digits(x, &d, base);
    if (good && base == 10 && !after_dot) good = take_fraction(x, &d, &is_float);
    if (!good) return fault(x, from, "a number is too long");
    d.p[d.n] = 0;
    if (is_float) {
        tok.kind = JTOK_FLOAT;
        tok.d = strtod(d.p, NULL);
    } else if (base == 10) {
        if (!str_int((str){d.p, d.n}, &tok.i)) return fault(x, from, "an integer is too large");
    } else {
        char *end;

        tok.i = (int64_t)(strtoull(d.p, &end, base) & INT64_MAX);
        if (d.n == 0 || *end || (base == 16 && d.n > 15))
            return fault(x, from, "an integer is broken or too large");
    }
    return push(x, tok, from);
}

/* Longest first. */
static int operator_at(const struct lexer *x)
{
    static const char two[][3] = {"**", "//", "==", "!=", "<=", ">="};

    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        if (peek(x, 0) == two[i][0] && peek(x, 1) == two[i][1]) return JOP(two[i][0], two[i][1]);
    }
    return peek(x, 0) && strchr("+-/*%~[](){}<>=.:|,;", peek(x, 0)) ? peek(x, 0) : 0;
}

static enum err lex_operator(struct lexer *x, char *stack, unsigned *depth)
{
    size_t from = x->at;
    int op = operator_at(x);

    if (!op) return fault(x, from, "a character that means nothing in a tag");
    if (op == '(' || op == '[' || op == '{') {
        if (*depth == BRACKETS_MAX) return fault(x, from, "brackets are nested too deeply");
        stack[(*depth)++] = op == '(' ? ')' : op == '[' ? ']' : '}';
    } else if (op == ')' || op == ']' || op == '}') {
        if (*depth == 0 || stack[--*depth] != op)
            return fault(x, from, "a closing bracket fits none");
    }
    x->at += op > 0xFF ? 2 : 1;
    return push(x, (struct jtok){.kind = JTOK_OP, .op = op}, from);
}

static enum err lex_tag(struct lexer *x, bool block)
{
    size_t open = x->at;
    char stack[BRACKETS_MAX];
    unsigned depth = 0;
    enum err err = push(x, (struct jtok){.kind = block ? JTOK_TAG : JTOK_PRINT}, open);

    x->at += 2;
    if (peek(x, 0) == '-' || peek(x, 0) == '+') x->at++;
    while (!err) {
        char c;

        skip_blanks(x);
        if (x->at >= x->s.n)
            return fault(x, open,
                         block ? "a tag {% is not closed by %}" : "a tag {{ is not closed by }}");
        if (depth == 0) {
            size_t at = x->at;
            if (close_tag(x, block ? "%}" : "}}", block))
                return push(x, (struct jtok){.kind = JTOK_END}, at);
        }
        c = x->s.p[x->at];
        if (c == '"' || c == '\'') {
            err = lex_string(x);
        } else if (c >= '0' && c <= '9') {
            err = lex_number(x);
        } else if (name_char(c)) {
            size_t from = x->at;

            while (name_char(peek(x, 0)))
                x->at++;
            err = push(x, (struct jtok){.kind = JTOK_NAME, .s = str_sub(x->s, from, x->at - from)},
                       from);
        } else {
            err = lex_operator(x, stack, &depth);
        }
    }
    return err;
}

/* ---- the whole ---- */

/* Offset of the next "{{", "{%" or "{#", or the end. */
static size_t next_tag(str s, size_t at)
{
    while (at + 1 < s.n) {
        const char *p = memchr(s.p + at, '{', s.n - 1 - at);

        if (!p) break;
        if (p[1] == '{' || p[1] == '%' || p[1] == '#') return (size_t)(p - s.p);
        at = (size_t)(p - s.p) + 1;
    }
    return s.n;
}

enum err jinja_lex(struct jinja *t, struct jtok **out, struct err_info *e)
{
    struct lexer x = {.t = t, .s = t->source, .line = 1, .line_start = true, .e = e};
    enum err err = ERR_OK;

    while (!err && x.at < x.s.n) {
        size_t open = next_tag(x.s, x.at), after;
        char kind = open < x.s.n ? x.s.p[open + 1] : 0;
        char sign = open + 2 < x.s.n ? x.s.p[open + 2] : 0;

        err = push_text(&x, x.at, open, kind ? sign : '+', kind == '%' || kind == '#');
        if (err) break;
        x.at = open;
        if (!kind) break;
        if (kind == '#')
            err = lex_comment(&x);
        else if (kind == '%' && is_word_tag(&x, open, "raw", &after))
            err = lex_raw(&x, open, after);
        else
            err = lex_tag(&x, kind == '%');
    }
    if (!err) err = push(&x, (struct jtok){.kind = JTOK_EOF}, x.s.n);
    *out = x.tok;
    return err;
}
