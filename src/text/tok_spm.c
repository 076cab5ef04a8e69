/* tok_spm: SentencePiece-style text to tokens, as llama.cpp's "llama" vocabularies mean it.
 *
 * A space is written as U+2581, one is put before the text where the model says so, and neighbours
 * join into whatever token has the best score. A character that is no token falls back to its
 * bytes. Where no token of the vocabulary continues past a space that ends a word, nothing can join
 * across that place, so the text is cut there and words are merged one by one with the same result.
 *
 * Vocabularies whose files carry SentencePiece's own normalisation have steps for tok_norm.c
 * instead of what tok_spm_text() does.
 */
#include "text/tok_int.h"

#include <string.h>

bool tok_spm_pair(const struct tok_work *w, const struct tok_sym *l, const struct tok_sym *r,
                  uint32_t *prio, int32_t *id)
{
    const struct tok *t = w->t;
    size_t len = (size_t)l->len + r->len;
    if (len > t->text_max) return false;
    int32_t found = tok_index_find(&t->index, t->text, (str){w->base + l->at, len});
    if (found < 0 || tok_attr_hidden(t->attr[found]) || tok_attr_kind(t->attr[found]) == TOK_BYTE)
        return false;
    *prio = t->prio[found];
    *id = found;
    return true;
}

void tok_spm_emit(struct tok_work *w, const struct tok_sym *s)
{
    const struct tok *t = w->t;
    if (s->id >= 0) {
        tok_emit(w, s->id);
        return;
    }
    if (t->fuse_unk) {
        tok_emit_bytes(w, (str){w->base + s->at, s->len});
        return;
    }
    for (uint32_t i = 0; i < s->len; i++) {
        int32_t id = t->byte_id[(uint8_t)w->base[s->at + i]];
        if (id < 0) id = t->unk;
        if (id >= 0) tok_emit(w, id);
    }
}

static bool space_at(str s, size_t at)
{
    return at + 3 <= s.n && memcmp(s.p + at, TOK_SPACE, 3) == 0;
}

void tok_spm_text(struct tok_work *w, str text, bool space_first)
{
    size_t from = w->norm.n;
    if (space_first) buf_put(&w->norm, TOK_SPACE, 3);
    for (size_t i = 0; i < text.n;) {
        const char *space = memchr(text.p + i, ' ', text.n - i);
        size_t run = space ? (size_t)(space - (text.p + i)) : text.n - i;
        buf_put(&w->norm, text.p + i, run);
        i += run;
        if (space) buf_put(&w->norm, TOK_SPACE, 3);
        i += space != NULL;
    }
    if (w->norm.failed) {
        w->failed = true;
        return;
    }
    w->base = w->norm.p;
    str s = buf_view(&w->norm);
    if (!w->t->word_bounds) {
        tok_merge_word(w, from, s.n - from);
        return;
    }
    while (from < s.n) {
        size_t at = from;
        while (space_at(s, at))
            at += 3;
        while (at < s.n && !space_at(s, at))
            at++;
        tok_merge_word(w, from, at - from);
        from = at;
    }
}
