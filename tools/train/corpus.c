/* corpus: the text that rbee-tiny learns from, generated from a grammar.
 *
 * This file is the template machine (syntax in corpus_int.h) and the choice of documents.
 * Everything is drawn from one splitmix64 stream seeded by the document's number; a document whose
 * combination belongs to the other split is thrown away and drawn again from the same stream.
 */
#include "corpus.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "corpus_int.h"

uint32_t corpus_pick(struct corpus_gen *g, uint32_t n)
{
    return rng_below(&g->r, n);
}

bool corpus_chance(struct corpus_gen *g, uint32_t percent)
{
    return rng_below(&g->r, 100) < percent;
}

/* ---- names and values ---- */

void corpus_bind(struct corpus_gen *g, const char *name, const char *value)
{
    size_t i = 0;
    ASSERT(strlen(name) < CORPUS_NAME_MAX && strlen(value) < CORPUS_VALUE_MAX);
    while (i < g->n_vars && strcmp(g->var[i].name, name) != 0)
        i++;
    ASSERT(i < CORPUS_VARS);
    if (i == g->n_vars) g->n_vars++;
    snprintf(g->var[i].name, sizeof g->var[i].name, "%s", name);
    snprintf(g->var[i].value, sizeof g->var[i].value, "%s", value);
}

const char *corpus_value(const struct corpus_gen *g, const char *name)
{
    for (size_t i = 0; i < g->n_vars; i++)
        if (strcmp(g->var[i].name, name) == 0) return g->var[i].value;
    return NULL;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static void expand(struct corpus_gen *g, str t, buf *out);

/* The friend is brought in at the first mention: "Rusty the fox", later "Rusty". */
static const char *friend_name(struct corpus_gen *g)
{
    if (corpus_value(g, "bseen")) return "b";
    corpus_bind(g, "bseen", "");
    return "bfirst";
}

/* $name: t begins after the '$'. Returns how many bytes the name has. */
static size_t reference(struct corpus_gen *g, str t, buf *out)
{
    char name[CORPUS_NAME_MAX];
    size_t n = 0, from = out->n;
    while (n < t.n && is_name(t.p[n]))
        n++;
    if (n == 0 || n >= sizeof name) BUG("corpus: a name is empty or too long");
    memcpy(name, t.p, n);
    name[n] = 0;
    bool capital = name[0] >= 'A' && name[0] <= 'Z';
    if (capital) name[0] = (char)(name[0] - 'A' + 'a');
    const char *value = corpus_value(g, strcmp(name, "b") == 0 ? friend_name(g) : name);
    if (strcmp(name, "bintro") == 0) corpus_bind(g, "bseen", "");
    if (value) {
        buf_c(out, value);
    } else {
        const struct corpus_macro *m = corpus_macros;
        while (m->name && strcmp(m->name, name) != 0)
            m++;
        if (!m->name) err_bug(__FILE__, __LINE__, name);
        expand(g, str_c(m->text), out);
    }
    if (capital && out->n > from && out->p[from] >= 'a' && out->p[from] <= 'z')
        out->p[from] = (char)(out->p[from] - 'a' + 'A');
    return n;
}

/* Length of the braced group that t begins with, braces included. */
static size_t group_length(str t)
{
    size_t depth = 0;
    for (size_t i = 0; i < t.n; i++) {
        if (t.p[i] == '{') depth++;
        if (t.p[i] == '}' && --depth == 0) return i + 1;
    }
    BUG("corpus: a brace is not closed");
}

/* Cuts `t` at the next `sep` outside braces. */
static str cut_flat(str *t, char sep)
{
    size_t depth = 0, i = 0;
    str all = *t;
    for (; i < all.n; i++) {
        if (all.p[i] == '{') depth++;
        if (all.p[i] == '}') depth--;
        if (all.p[i] == sep && depth == 0) break;
    }
    *t = i < all.n ? str_sub(all, i + 1, all.n) : (str){NULL, 0};
    return str_sub(all, 0, i);
}

static void bind_all(struct corpus_gen *g, str names, str values)
{
    while (names.n) {
        str name = str_cut(names, ',', &names), value = cut_flat(&values, '~');
        char c_name[CORPUS_NAME_MAX];
        buf b = {.cap = CORPUS_VALUE_MAX};
        expand(g, value, &b);
        buf_put(&b, "", 1);
        if (b.failed || name.n >= sizeof c_name) BUG("corpus: a binding is too long");
        memcpy(c_name, name.p, name.n);
        c_name[name.n] = 0;
        corpus_bind(g, c_name, b.p);
        buf_fini(&b);
    }
}

/* {...}: `t` is what stands between the braces. */
static void group(struct corpus_gen *g, str t, buf *out)
{
    size_t bind = 0;
    while (bind < t.n && (is_name(t.p[bind]) || t.p[bind] == ','))
        bind++;
    bool binds = bind > 0 && str_starts(str_sub(t, bind, 2), S(":="));
    str names = str_sub(t, 0, bind), body = binds ? str_sub(t, bind + 2, t.n) : t, rest = body;
    uint32_t count = 0;
    do {
        cut_flat(&rest, '|');
        count++;
    } while (rest.p);
    uint32_t take = corpus_pick(g, count);
    str chosen = cut_flat(&body, '|');
    while (take--)
        chosen = cut_flat(&body, '|');
    if (binds)
        bind_all(g, names, chosen);
    else
        expand(g, chosen, out);
}

static void expand(struct corpus_gen *g, str t, buf *out)
{
    for (size_t i = 0; i < t.n; i++) {
        if (t.p[i] == '{') {
            size_t n = group_length(str_sub(t, i, t.n));
            group(g, str_sub(t, i + 1, n - 2), out);
            i += n - 1;
        } else if (t.p[i] == '$') {
            i += reference(g, str_sub(t, i + 1, t.n), out);
        } else {
            buf_ch(out, t.p[i]);
        }
    }
}

void corpus_expand(struct corpus_gen *g, const char *text, buf *out)
{
    expand(g, str_c(text), out);
}

static void cut(buf *b, size_t n)
{
    b->n = n;
    if (b->p) b->p[n] = 0;
}

void corpus_articles(buf *out, size_t from)
{
    buf b = {.cap = MIB(64)};
    for (size_t i = from; i < out->n; i++) {
        if (out->p[i] != '@') {
            buf_ch(&b, out->p[i]);
            continue;
        }
        bool capital = i + 1 < out->n && out->p[i + 1] == '@';
        if (capital) i++;
        char next = i + 2 < out->n ? out->p[i + 2] : 'x';
        buf_ch(&b, capital ? 'A' : 'a');
        if (strchr("aeiouAEIOU", next)) buf_ch(&b, 'n');
    }
    cut(out, from);
    buf_put(out, b.p, b.n);
    buf_fini(&b);
}

/* ---- documents ---- */

void corpus_document(uint64_t n, bool held_out, buf *out)
{
    struct corpus_gen g = {.r = rng_from(n * 2 + held_out)};
    size_t from = out->n;
    for (;;) {
        g.n_vars = 0;
        g.key = 0;
        if (corpus_chance(&g, 30))
            corpus_story(&g, &(struct corpus_wish){0}, out);
        else
            corpus_chat(&g, out);
        corpus_articles(out, from);
        if ((g.key % 50 == 0) == held_out && g.key != 0) return;
        cut(out, from);
    }
}
