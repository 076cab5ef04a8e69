/* tok: opens a vocabulary and drives a call.
 *
 * A call walks over the text once: special tokens are recognised leftmost first, of several at one
 * place the longest, and the stretches between them are rewritten (tok_norm.c) where the vocabulary
 * says so, cut into words and tokenised.
 *
 * Invariant: once opened nothing of a `struct tok` changes but the lazily built merges.
 *
 * It leaves out the clean-up of spaces before punctuation when decoding: text comes back as it went
 * in. Special tokens are looked for in the text as it was given, not as rewritten.
 */
#include "text/tok_int.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok_unicode.h"

/* ---- opening ---- */

enum err tok_open(struct tok **out, const struct gguf *g, struct err_info *e)
{
    *out = NULL;
    if (g->dir) return tok_open_dir(out, g->dir, e);
    struct tok *t = tok_new();
    if (!t) return ERR_FAIL(e, NOMEM, "no memory for a tokenizer");
    struct tok_spec spec = {0};
    enum err rc = tok_spec_from_gguf(&spec, &t->arena, g, e);
    if (rc == ERR_OK) rc = tok_build(t, &spec, e);
    if (rc == ERR_OK)
        *out = t;
    else
        tok_close(t);
    return rc;
}

enum err tok_open_spec(struct tok **out, const struct tok_spec *spec, struct err_info *e)
{
    *out = NULL;
    struct tok *t = tok_new();
    if (!t) return ERR_FAIL(e, NOMEM, "no memory for a tokenizer");
    enum err rc = tok_build(t, spec, e);
    if (rc == ERR_OK)
        *out = t;
    else
        tok_close(t);
    return rc;
}

void tok_close(struct tok *t)
{
    if (!t) return;
    tok_bpe_free(t);
    pthread_mutex_destroy(&t->lock);
    arena_fini(&t->arena);
    for (size_t i = 0; i < TOK_FILES; i++)
        map_close(&t->file[i]);
    mem_free(t);
}

/* ---- text to tokens ---- */

/* The end of the white space at s[at]. */
static size_t after_blanks(str s, size_t at)
{
    for (size_t next = at; next < s.n; at = next) {
        uint32_t cp = utf8_next(s, &next);
        if (cp == UTF8_BAD || tok_cat(cp) != TOK_CAT_SPACE) break;
    }
    return at;
}

/* The beginning of the white space that ends at s[end], no further back than `from`. */
static size_t before_blanks(str s, size_t from, size_t end)
{
    while (end > from) {
        size_t at = end - 1;
        while (at > from && ((uint8_t)s.p[at] & 0xC0) == 0x80)
            at--;
        if (after_blanks((str){s.p, end}, at) != end) break;
        end = at;
    }
    return end;
}

static void encode_plain(struct tok_work *w, str text, size_t from, size_t to, unsigned edges)
{
    if (from == 0) edges |= TOK_EDGE_FIRST;
    /* Before a token that does not interrupt the text its beginning counts, even if empty. */
    bool begins = edges == (TOK_EDGE_FIRST | TOK_EDGE_RIGHT);
    if (w->failed || from > to || (from == to && !begins)) return;
    const struct tok *t = w->t;
    w->last = -1;
    if (t->n_norm) {
        size_t at = w->norm.n;
        tok_norm_text(w, str_sub(text, from, to - from), edges);
        w->base = w->norm.p;
        if (!w->failed && w->norm.n > at) tok_split_text(w, at, w->norm.n);
    } else if (t->algo == TOK_SPM) {
        tok_spm_text(w, str_sub(text, from, to - from), t->add_space && !(edges & TOK_EDGE_LEFT));
    } else {
        w->base = text.p;
        tok_split_text(w, from, to);
    }
}

/* Letters, digits and marks: what a token that stands only for a whole word may not touch. */
static bool word_at(str s, size_t at)
{
    if (at >= s.n) return false;
    uint32_t cp = utf8_next(s, &at);
    return cp != UTF8_BAD &&
           (cp == '_' || 1u << tok_cat(cp) & (TOK_LETTERS | TOK_IN(NUMBER) | TOK_IN(MARK)));
}

static bool word_before(str s, size_t at)
{
    if (!at) return false;
    do {
        at--;
    } while (at && ((uint8_t)s.p[at] & 0xC0) == 0x80);
    return word_at(s, at);
}

static const struct tok_special *special_at(const struct tok *t, str text, size_t at, bool control)
{
    uint8_t b = (uint8_t)text.p[at];
    if (t->special_first[b] == t->special_first[b + 1]) return NULL;
    const struct tok_special *s = tok_special_at(t, text, at, control);
    if (s && t->attr[s->id] & TOK_ATTR_WORD &&
        (word_before(text, at) || word_at(text, at + s->text.n)))
        return NULL;
    return s;
}

static void encode_text(struct tok_work *w, str text, bool control)
{
    const struct tok *t = w->t;
    size_t from = 0;
    unsigned left_edge = 0;
    for (size_t i = 0; (control || t->user_special) && i < text.n && !w->failed;) {
        const struct tok_special *s = special_at(t, text, i, control);
        if (!s) {
            i++;
            continue;
        }
        bool left = t->attr[s->id] & TOK_ATTR_LSTRIP;
        bool joins = t->user_joins && tok_attr_kind(t->attr[s->id]) == TOK_USER;
        encode_plain(w, text, from, left ? before_blanks(text, from, i) : i,
                     left_edge | (joins ? (unsigned)TOK_EDGE_RIGHT : 0));
        left_edge = joins ? TOK_EDGE_LEFT : 0;
        tok_emit(w, s->id);
        i += s->text.n;
        if (t->attr[s->id] & TOK_ATTR_RSTRIP) i = after_blanks(text, i);
        from = i;
    }
    encode_plain(w, text, from, text.n, left_edge);
}

enum err tok_encode(const struct tok *t, struct arena *a, str text, unsigned flags, int32_t **out,
                    size_t *n, struct err_info *e)
{
    *out = NULL;
    *n = 0;
    if (text.n > LIMIT_TOK_TEXT)
        return ERR_FAIL(e, LIMIT, "a text of %zu bytes is over the limit of %zu", text.n,
                        LIMIT_TOK_TEXT);
    struct tok_work w;
    enum err rc = ERR_OK;
    tok_work_init(&w, t, text.n);
    if (t->algo == TOK_BPE) rc = tok_bpe_prepare(&w, e);
    if (rc != ERR_OK) goto done;
    bool special = flags & TOK_ADD_SPECIAL;
    for (uint32_t i = 0; special && i < t->n_head; i++)
        tok_emit(&w, t->head[i]);
    encode_text(&w, text, flags & TOK_PARSE_SPECIAL);
    for (uint32_t i = 0; special && i < t->n_tail; i++)
        tok_emit(&w, t->tail[i]);
    if (w.failed && w.why) {
        rc = ERR_FAIL(e, LIMIT, "cannot tokenize %zu bytes: %s", text.n, w.why);
        goto done;
    }
    int32_t *ids = w.failed ? NULL : ARENA_NEW(a, int32_t, w.n ? w.n : 1);
    if (!ids) {
        rc = ERR_FAIL(e, NOMEM, "no memory to tokenize %zu bytes", text.n);
        goto done;
    }
    if (w.n) memcpy(ids, w.out, w.n * sizeof *ids);
    *out = ids;
    *n = w.n;
done:
    tok_work_fini(&w);
    return rc;
}

/* ---- tokens to text ---- */

static void piece_spm(str s, buf *out)
{
    for (size_t i = 0; i < s.n;) {
        size_t space = str_find(s, S(TOK_SPACE), i);
        if (space == SIZE_MAX) space = s.n;
        buf_put(out, s.p + i, space - i);
        if (space < s.n) buf_ch(out, ' ');
        i = space + 3;
    }
}

static void piece_bpe(str s, buf *out)
{
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        int byte = tok_bpe_byte(utf8_next(s, &i));
        if (byte >= 0)
            buf_ch(out, (char)byte);
        else
            buf_put(out, s.p + from, i - from);
    }
}

/* WordPiece that marks what goes on rather than what begins. */
static void piece_wpm(const struct tok *t, str s, buf *out)
{
    if (str_starts(s, t->word_next)) {
        buf_put(out, s.p + t->word_next.n, s.n - t->word_next.n);
        return;
    }
    buf_ch(out, ' ');
    buf_str(out, s);
}

void tok_piece(const struct tok *t, int32_t id, bool special, buf *out)
{
    if (id < 0 || (uint32_t)id >= t->n) return;
    str s = t->text[id];
    int byte;
    if (t->algo == TOK_RWKV) s = t->plain[id];
    switch (tok_attr_kind(t->attr[id])) {
    case TOK_CONTROL:
    case TOK_UNKNOWN:
        if (special) buf_str(out, s);
        return;
    case TOK_USER: buf_str(out, s); return;
    case TOK_BYTE:
        byte = tok_byte_of(s);
        if (byte >= 0) {
            buf_ch(out, (char)byte);
            return;
        }
        break;
    case TOK_NORMAL:
    case TOK_UNUSED: break;
    }
    if (t->algo == TOK_RWKV || t->backwards)
        buf_str(out, s);
    else if (t->algo == TOK_BPE && !t->raw)
        piece_bpe(s, out);
    else if (t->algo == TOK_WPM && t->word_next.n)
        piece_wpm(t, s, out);
    else
        piece_spm(s, out);
}

/* How many bytes at s[at] are the longest beginning of some character. */
static size_t beginning(str s, size_t at)
{
    uint8_t b = (uint8_t)s.p[at];
    size_t want = b >= 0xF0 && b <= 0xF4  ? 4
                  : b >= 0xE0 && b < 0xF0 ? 3
                  : b >= 0xC2 && b < 0xE0 ? 2
                                          : 1;
    uint8_t low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
    uint8_t high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
    size_t n = 1;
    for (; n < want && at + n < s.n; n++, low = 0x80, high = 0xBF) {
        uint8_t c = (uint8_t)s.p[at + n];
        if (c < low || c > high) break;
    }
    return n;
}

size_t tok_clean(str s, bool last, buf *out)
{
    size_t end = last ? s.n : s.n - utf8_partial(s), good = 0;
    for (size_t i = 0; i < end;) {
        size_t from = i;
        if (utf8_next((str){s.p, end}, &i) != UTF8_BAD) continue;
        buf_put(out, s.p + good, from - good);
        buf_c(out, "\xEF\xBF\xBD");
        i = good = from + beginning((str){s.p, end}, from);
    }
    if (end > good) buf_put(out, s.p + good, end - good);
    return end;
}

void tok_decode(const struct tok *t, const int32_t *ids, size_t n, bool special, buf *out)
{
    buf raw;
    buf_init(&raw, out->cap);
    bool strip = tok_strips_first_space(t);
    for (size_t i = 0; i < n; i++) {
        size_t had = raw.n;
        tok_piece(t, ids[i], special, &raw);
        if (raw.n == had || tok_kind(t, ids[i]) == TOK_CONTROL) continue;
        if (strip && had == 0 && raw.p[0] == ' ') buf_drop(&raw, 1);
        strip = false;
    }
    if (raw.failed)
        out->failed = true;
    else if (raw.n)
        tok_clean(buf_view(&raw), true, out);
    buf_fini(&raw);
}

/* ---- inspect ---- */

size_t tok_piece_max(const struct tok *t)
{
    return t->text_max + 1;
}

uint32_t tok_count(const struct tok *t)
{
    return t->n;
}

str tok_text(const struct tok *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n ? t->text[id] : (str){NULL, 0};
}

enum tok_kind tok_kind(const struct tok *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n ? tok_attr_kind(t->attr[id]) : TOK_UNKNOWN;
}

int32_t tok_bos(const struct tok *t)
{
    return t->bos;
}

int32_t tok_eos(const struct tok *t)
{
    return t->eos;
}

bool tok_adds_bos(const struct tok *t)
{
    return t->bos >= 0 && t->n_head && t->head[0] == t->bos;
}

bool tok_is_end(const struct tok *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n && t->attr[id] & TOK_ATTR_END;
}

int32_t tok_find(const struct tok *t, str text)
{
    return tok_index_find(&t->index, t->text, text);
}

bool tok_strips_first_space(const struct tok *t)
{
    return t->strips_space;
}

/* By algorithm, as GGUF files call them. */
static const char *const model_names[] = {"llama", "gpt2", "bert", "t5", "rwkv", "plamo2"};

const char *tok_model_name(const struct tok *t)
{
    return model_names[t->backwards ? TOK_RWKV + 1 : t->algo];
}

const char *const *tok_model_names(size_t *n)
{
    *n = sizeof model_names / sizeof *model_names;
    return model_names;
}
