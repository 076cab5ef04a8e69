/* jinja_str: marked strings.
 *
 * A string is a view with either one mark for all of it or a mask of a byte each. Cutting moves
 * both pointers; building copies the marks along, so a mark follows its byte through every filter.
 * The builder makes a mask only when the first marked byte comes.
 *
 * Concatenation leaves room behind its result, and when the next one extends exactly that result it
 * is written in place: a template that grows one string over a loop stays linear in time and
 * memory.
 *
 * Left out: case mapping of scripts other than Latin, Greek, Cyrillic and Armenian.
 */
#include "text/jinja_int.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* ---- building ---- */

static bool grow(struct jbuild *b, size_t need)
{
    size_t size = b->size ? b->size * 2 : 64;
    char *p, *mask = NULL;

    if (need > LIMIT_TEMPLATE_OUT)
        return jinja_fail(b->m, ERR_LIMIT, "a text grew beyond %zu bytes", LIMIT_TEMPLATE_OUT);
    while (size < need)
        size *= 2;
    if (b->heap) {
        p = mem_resize(b->p, size);
        if (!p) return jinja_fail(b->m, ERR_NOMEM, "no memory for the text");
        b->p = p;
        if (b->mask) {
            mask = mem_resize(b->mask, size);
            if (!mask) return jinja_fail(b->m, ERR_NOMEM, "no memory for the text");
        }
    } else {
        p = jinja_alloc(b->m, size, 1);
        if (b->mask) mask = jinja_alloc(b->m, size, 1);
        if (!p || (b->mask && !mask)) return false;
        if (b->n) memcpy(p, b->p, b->n);
        if (b->n && mask) memcpy(mask, b->mask, b->n);
    }
    b->p = p;
    b->mask = mask;
    b->size = size;
    return true;
}

/* The mask begins with the first marked byte. */
static bool need_mask(struct jbuild *b)
{
    if (b->mask) return true;
    b->mask = b->heap ? mem_alloc(b->size) : jinja_alloc(b->m, b->size, 1);
    if (!b->mask) return jinja_fail(b->m, ERR_NOMEM, "no memory for the text");
    memset(b->mask, 0, b->n);
    return true;
}

bool jinja_put(struct jbuild *b, const char *p, size_t n, bool marked)
{
    if (n == 0) return true;
    if (b->size - b->n < n && !grow(b, b->n + n)) return false;
    if (marked && !need_mask(b)) return false;
    memcpy(b->p + b->n, p, n);
    if (b->mask) memset(b->mask + b->n, marked, n);
    b->n += n;
    b->n_marked += marked ? n : 0;
    return true;
}

bool jinja_puts(struct jbuild *b, const char *c)
{
    return jinja_put(b, c, strlen(c), false);
}

bool jinja_putv(struct jbuild *b, const struct jval *s)
{
    size_t from = b->n;

    if (!jinja_put(b, s->p, s->n, s->mask ? true : s->marked)) return false;
    if (s->mask) {
        b->n_marked -= s->n;
        memcpy(b->mask + from, s->mask, s->n);
        for (size_t i = 0; i < s->n; i++)
            b->n_marked += s->mask[i] != 0;
    }
    return true;
}

bool jinja_put_like(struct jbuild *b, const char *p, size_t n, const struct jval *s, size_t at)
{
    return jinja_put(b, p, n, s->mask ? s->mask[at] != 0 : s->marked);
}

struct jval jinja_built(struct jbuild *b)
{
    struct jval v = {.type = JV_STR, .p = b->n ? b->p : "", .n = b->n};

    if (b->n && b->n_marked == b->n)
        v.marked = true;
    else if (b->n_marked)
        v.mask = b->mask;
    return v;
}

void jinja_build_free(struct jbuild *b)
{
    if (!b->heap) return;
    mem_free(b->p);
    mem_free(b->mask);
}

struct jval jinja_s(str s)
{
    return (struct jval){.type = JV_STR, .p = s.n ? s.p : "", .n = s.n};
}

struct jval jinja_cut(const struct jval *s, size_t from, size_t to)
{
    struct jval v = *s;

    v.p += from;
    v.n = to - from;
    if (v.mask) v.mask += from;
    return v;
}

static void copy_marks(char *to, const struct jval *s)
{
    if (s->n == 0) return;
    if (s->mask)
        memcpy(to, s->mask, s->n);
    else
        memset(to, s->marked, s->n);
}

bool jinja_concat(struct jmach *m, const struct jval *a, const struct jval *b, struct jval *out)
{
    size_t n = a->n + b->n, size = n < 256 ? n : n * 2;
    bool mixed = a->mask || b->mask || (a->marked != b->marked && a->n && b->n);
    bool extends = a->n && b->n <= m->tail_room && a->p + a->n == m->tail &&
                   (!mixed || (a->mask && a->mask + a->n == m->tail_mask));
    char *p, *mask = NULL;

    if (b->n == 0 || a->n == 0) {
        *out = b->n == 0 ? *a : *b;
        out->of = 0;
        return true;
    }
    if (n > LIMIT_TEMPLATE_OUT)
        return jinja_fail(m, ERR_LIMIT, "a text grew beyond %zu bytes", LIMIT_TEMPLATE_OUT);
    if (extends) {
        memcpy(m->tail, b->p, b->n);
        if (mixed) copy_marks(m->tail_mask, b);
        *out = *a;
        out->n = n;
        out->of = 0;
        m->tail += b->n;
        m->tail_mask = mixed ? m->tail_mask + b->n : NULL;
        m->tail_room -= b->n;
        return true;
    }
    p = jinja_alloc(m, size, 1);
    if (mixed) mask = jinja_alloc(m, size, 1);
    if (!p || (mixed && !mask)) return false;
    memcpy(p, a->p, a->n);
    memcpy(p + a->n, b->p, b->n);
    if (mixed) {
        copy_marks(mask, a);
        copy_marks(mask + a->n, b);
    }
    m->tail = p + n;
    m->tail_mask = mixed ? mask + n : NULL;
    m->tail_room = size - n;
    *out =
        (struct jval){.type = JV_STR, .p = p, .n = n, .mask = mask, .marked = a->marked && !mixed};
    return true;
}

/* ---- characters ---- */

size_t jinja_chars(str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

size_t jinja_char_at(str s, size_t index)
{
    size_t at = 0;

    for (; at < s.n; at++) {
        if (((unsigned char)s.p[at] & 0xC0) != 0x80 && index-- == 0) break;
    }
    return at;
}

/* Upper case letters from..to whose lower case is `by` further on, every `step`-th of them. */
static const struct {
    uint32_t from, to, step;
    int32_t by;
} cases[] = {
    {'A', 'Z', 1, 32},         {0xC0, 0xD6, 1, 32},     {0xD8, 0xDE, 1, 32},
    {0x100, 0x12E, 2, 1},      {0x132, 0x136, 2, 1},    {0x139, 0x147, 2, 1},
    {0x14A, 0x176, 2, 1},      {0x178, 0x178, 1, -121}, {0x179, 0x17D, 2, 1},
    {0x1CD, 0x1DB, 2, 1},      {0x1DE, 0x1EE, 2, 1},    {0x1F8, 0x21E, 2, 1},
    {0x222, 0x232, 2, 1},      {0x386, 0x386, 1, 38},   {0x388, 0x38A, 1, 37},
    {0x38C, 0x38C, 1, 64},     {0x38E, 0x38F, 1, 63},   {0x391, 0x3A1, 1, 32},
    {0x3A3, 0x3AB, 1, 32},     {0x3D8, 0x3EE, 2, 1},    {0x400, 0x40F, 1, 80},
    {0x410, 0x42F, 1, 32},     {0x460, 0x480, 2, 1},    {0x48A, 0x4BE, 2, 1},
    {0x4C0, 0x4C0, 1, 15},     {0x4C1, 0x4CD, 2, 1},    {0x4D0, 0x52E, 2, 1},
    {0x531, 0x556, 1, 48},     {0x1E00, 0x1E94, 2, 1},  {0x1EA0, 0x1EFE, 2, 1},
    {0x2160, 0x216F, 1, 16},   {0x24B6, 0x24CF, 1, 26}, {0xFF21, 0xFF3A, 1, 32},
    {0x10400, 0x10427, 1, 40},
};

uint32_t jinja_lower(uint32_t cp)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cp >= cases[i].from && cp <= cases[i].to && (cp - cases[i].from) % cases[i].step == 0)
            return (uint32_t)((int32_t)cp + cases[i].by);
    }
    return cp;
}

uint32_t jinja_upper(uint32_t cp)
{
    if (cp == 0xB5) return 0x39C;
    if (cp == 0x131) return 'I';
    if (cp == 0x3C2) return 0x3A3;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t up = (uint32_t)((int32_t)cp - cases[i].by);

        if (up >= cases[i].from && up <= cases[i].to && (up - cases[i].from) % cases[i].step == 0)
            return up;
    }
    return cp;
}

bool jinja_is_alpha(uint32_t cp)
{
    if (cp < 0x80) return (cp | 32) >= 'a' && (cp | 32) <= 'z';
    if (cp < 0xC0) return cp == 0xAA || cp == 0xB5 || cp == 0xBA;
    /* Beyond Latin-1 letters are the rule; what is not: signs, spaces, punctuation, symbols. */
    return cp != 0xD7 && cp != 0xF7 && !(cp >= 0x2000 && cp <= 0x2BFF) &&
           !(cp >= 0x3000 && cp <= 0x3004) && !(cp >= 0x3008 && cp <= 0x3020) &&
           !(cp >= 0xE000 && cp <= 0xF8FF) && !(cp >= 0xFE00 && cp <= 0xFE6F) &&
           !(cp >= 0xFF00 && cp <= 0xFF20) && !(cp >= 0x1F000 && cp <= 0x1FAFF);
}

bool jinja_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

/* ---- strip, replace ---- */

static bool to_strip(str s, size_t at, size_t *next, const struct jval *chars)
{
    uint32_t cp;

    *next = at;
    cp = utf8_next(s, next);
    if (!chars) return jinja_is_space(cp);
    return str_find(jinja_view(chars), str_sub(s, at, *next - at), 0) != SIZE_MAX;
}

struct jval jinja_strip(const struct jval *s, const struct jval *chars, int sides)
{
    str v = jinja_view(s);
    size_t from = 0, to = s->n, next;

    while ((sides & 1) && from < to && to_strip(v, from, &next, chars))
        from = next;
    while ((sides & 2) && to > from) {
        size_t at = to - 1;

        while (at > from && ((unsigned char)v.p[at] & 0xC0) == 0x80)
            at--;
        if (!to_strip(v, at, &next, chars)) break;
        to = at;
    }
    return jinja_cut(s, from, to);
}

bool jinja_replace(struct jmach *m, const struct jval *s, const struct jval *old,
                   const struct jval *by, int64_t count, struct jval *out)
{
    struct jbuild b = {.m = m};
    str v = jinja_view(s);
    size_t from = 0, at = 0;
    struct jval part;

    if (!jinja_step(m, s->n / 32)) return false;
    while (count != 0) {
        size_t hit = old->n ? str_find(v, jinja_view(old), at) : at;

        if (hit == SIZE_MAX) break;
        part = jinja_cut(s, from, hit);
        if (!jinja_putv(&b, &part) || !jinja_putv(&b, by) || !jinja_step(m, 1)) return false;
        from = at = hit + old->n;
        if (count > 0) count--;
        if (old->n == 0) { /* between all characters, and at both ends */
            if (at == v.n) break;
            utf8_next(v, &at);
        }
    }
    if (from == 0 && b.n == 0) {
        *out = *s;
        return true;
    }
    part = jinja_cut(s, from, s->n);
    if (!jinja_putv(&b, &part)) return false;
    *out = jinja_built(&b);
    return true;
}

/* ---- case ---- */

/* Where a word begins for the filter `title`: after blanks and opening brackets. */
static bool opens_word(uint32_t cp)
{
    return jinja_is_space(cp) || cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<';
}

bool jinja_case(struct jmach *m, const struct jval *s, enum jcase how, struct jval *out)
{
    struct jbuild b = {.m = m};
    str v = jinja_view(s);
    bool inside = false; /* the character before belongs to the same word */
    size_t at = 0;

    if (!jinja_step(m, s->n / 16)) return false;
    while (at < v.n) {
        size_t from = at;
        uint32_t cp = utf8_next(v, &at), to = cp;
        bool up = how == JCASE_UPPER;
        char text[4];

        if (how == JCASE_SWAP) up = jinja_lower(cp) == cp;
        if (how == JCASE_TITLE || how == JCASE_CAPITAL || how == JCASE_JTITLE) up = !inside;
        if (how == JCASE_TITLE)
            inside = jinja_is_alpha(cp);
        else if (how == JCASE_JTITLE)
            inside = !opens_word(cp);
        else
            inside = true;
        to = up ? jinja_upper(cp) : jinja_lower(cp);
        if (up && cp == 0xDF) {
            if (!jinja_put_like(&b, how == JCASE_UPPER ? "SS" : "Ss", 2, s, from)) return false;
            continue;
        }
        if (!jinja_put_like(&b, text, utf8_put(text, to), s, from)) return false;
    }
    *out = jinja_built(&b);
    out->of = s->of;
    return true;
}

bool jinja_escape(struct jmach *m, const struct jval *s, struct jval *out)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct jbuild b = {.m = m};
    struct jval part;
    size_t at = 0;

    *out = *s;
    if (s->of) return true;
    if (!jinja_step(m, s->n / 16)) return false;
    for (size_t i = 0; i < s->n; i++) {
        const char *hit = s->p[i] ? strchr(from, s->p[i]) : NULL;

        if (!hit) continue;
        part = jinja_cut(s, at, i);
        if (!jinja_putv(&b, &part) ||
            !jinja_put_like(&b, to[hit - from], strlen(to[hit - from]), s, i))
            return false;
        at = i + 1;
    }
    part = jinja_cut(s, at, s->n);
    if (!jinja_putv(&b, &part)) return false;
    *out = jinja_built(&b);
    out->of = 1;
    return true;
}
