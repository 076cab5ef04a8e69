/* corpus_int: the generator's state and its template language, shared by the files of corpus.
 *
 * A template is text with
 *   {a|b|c}      one of the alternatives, which may nest and may be empty
 *   {x:=a|b}     binds x to one alternative and writes nothing; {x,y:=a~b|c~d} binds several at
 * once $x           the value of x, or of the macro x expanded anew; $X writes it with a capital
 *   @ word       "a word" or "an word" as the word needs; @@ begins a sentence ("A", "An")
 * Bound values are expanded when they are bound. An unknown name is a defect and aborts.
 */
#ifndef TRAIN_CORPUS_INT_H
#define TRAIN_CORPUS_INT_H

#include "base/buf.h"
#include "base/str.h"
#include "rng.h"

enum { CORPUS_VARS = 96, CORPUS_NAME_MAX = 16, CORPUS_VALUE_MAX = 160 };

struct corpus_gen {
    struct rng r;
    struct {
        char name[CORPUS_NAME_MAX];
        char value[CORPUS_VALUE_MAX];
    } var[CORPUS_VARS];
    size_t n_vars;
    uint64_t key; /* hash of the choices that decide the split */
};

struct corpus_macro {
    const char *name, *text;
};

/* An animal: what stories and questions need to know. */
struct corpus_animal {
    const char *kind, *home; /* "fox", "den" */
    const char *where;       /* "in a den in the forest" */
    const char *food, *sound;
    const char *plural;
    bool hero; /* may walk about in stories */
};

extern const struct corpus_animal corpus_animals[];
extern const size_t corpus_n_animals;
extern const struct corpus_macro corpus_macros[]; /* ends with a NULL name */
extern const char *const corpus_plots[];
extern const size_t corpus_n_plots;

/* ---- the template machine (corpus.c) ---- */
void corpus_expand(struct corpus_gen *g, const char *text, buf *out);
void corpus_bind(struct corpus_gen *g, const char *name, const char *value);
const char *corpus_value(const struct corpus_gen *g, const char *name); /* NULL: unbound */
uint32_t corpus_pick(struct corpus_gen *g, uint32_t n);
bool corpus_chance(struct corpus_gen *g, uint32_t percent);
/* Resolves every @ in out from byte `from` on. */
void corpus_articles(buf *out, size_t from);

/* ---- parts of documents ---- */
/* What a story has to be about; NULL: free choice. */
struct corpus_wish {
    const struct corpus_animal *hero, *friend;
    const char *name, *gender; /* a child "boy" or "girl" */
    const char *trait, *object;
};

/* Writes a story; the generator's variables afterwards tell who was in it. */
void corpus_story(struct corpus_gen *g, const struct corpus_wish *wish, buf *out);
/* Writes a chat of one to three turns, in ChatML. */
void corpus_chat(struct corpus_gen *g, buf *out);
/* A made-up or common first name. */
void corpus_name(struct corpus_gen *g, bool girl, char *out, size_t size);

#endif
