/* tok: opens a vocabulary and drives a call.
 *
 * Opening reads the tokenizer's metadata out of a GGUF, keeps the spellings as views into the file,
 * packs types and flags into one byte a token, and builds the index of spellings and the list of
 * special tokens. A call walks over the text once: special tokens are recognised leftmost first, of
 * several at one place the longest, and the stretches between them go to tok_spm.c or tok_bpe.c.
 *
 * Some files give chat markers a type that would print them or make them from plain text. Tokens
 * with the names of the table below are control tokens whatever the file says.
 *
 * Invariant: after tok_open() nothing of a `struct tok` changes but the lazily built merges.
 *
 * It leaves out the clean-up of spaces before punctuation when decoding: text comes back as it went
 * in.
 */
#include "text/tok_int.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"

#define PREFIX "tokenizer.ggml."

static const struct {
    const char *name;
    bool end; /* of a turn */
} control_names[] = {
    {"<|eot_id|>", true},
    {"<|eom_id|>", true},
    {"<|im_end|>", true},
    {"<|end|>", true},
    {"<|return|>", true},
    {"<|call|>", true},
    {"<|flush|>", true},
    {"<|calls|>", true},
    {"<|endoftext|>", true},
    {"<|end_of_text|>", true},
    {"<end_of_turn>", true},
    {"<end_of_utterance>", true},
    {"</s>", true},
    {"<EOT>", true},
    {"_<EOT>", true},
    {"[EOT]", true},
    {"[EOS]", true},
    {"<eos>", true},
    {"[e~[", true},
    {"<\xEF\xBD\x9C"
     "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
     true},
    {"<|fim_pad|>", true},
    {"<fim-pad>", true},
    {"<fim_pad>", true},
    {"<PAD>", true},
    {"[PAD]", true},
    {"<|fim_repo|>", true},
    {"<|repo_name|>", true},
    {"<fim-repo>", true},
    {"<REPO>", true},
    {"<reponame>", true},
    {"<|file_sep|>", true},
    {"<|fim_prefix|>", false},
    {"<|fim_middle|>", false},
    {"<|fim_suffix|>", false},
    {"<fim-prefix>", false},
    {"<fim-middle>", false},
    {"<fim-suffix>", false},
    {"<fim_prefix>", false},
    {"<fim_middle>", false},
    {"<fim_suffix>", false},
    {"<PRE>", false},
    {"<MID>", false},
    {"<SUF>", false},
};

/* ---- opening ---- */

static enum err read_tokens(struct tok *t, const struct gguf *g, struct err_info *e)
{
    size_t n;
    enum err rc = gguf_get_strs(g, PREFIX "tokens", &t->text, &n, e);
    if (rc != ERR_OK) return rc;
    if (n == 0) return ERR_FAIL(e, FORMAT, PREFIX "tokens is missing or empty: no vocabulary");
    if (n > LIMIT_VOCAB)
        return ERR_FAIL(e, LIMIT, PREFIX "tokens has %zu entries, the limit is %u", n, LIMIT_VOCAB);
    t->n = (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        if (t->text[i].n > t->text_max) t->text_max = t->text[i].n;

    t->attr = ARENA_NEW(&t->arena, uint8_t, n);
    if (!t->attr) return ERR_FAIL(e, NOMEM, "no memory for %zu tokens", n);
    const int32_t *type;
    size_t n_type;
    rc = gguf_get_i32s(g, &t->arena, PREFIX "token_type", &type, &n_type, e);
    if (rc != ERR_OK || !type) return rc;
    if (n_type < n)
        return ERR_FAIL(e, FORMAT, PREFIX "token_type has %zu entries for %zu tokens", n_type, n);
    static const uint8_t kinds[] = {TOK_NORMAL, TOK_NORMAL, TOK_UNKNOWN, TOK_CONTROL,
                                    TOK_USER,   TOK_UNUSED, TOK_BYTE};
    for (size_t i = 0; i < n; i++)
        t->attr[i] = type[i] >= 0 && type[i] < (int32_t)sizeof kinds ? kinds[type[i]] : TOK_NORMAL;
    return ERR_OK;
}

/* Scores as numbers of which the smallest is best: the order of floats kept, reversed. */
static enum err read_scores(struct tok *t, const struct gguf *g, struct err_info *e)
{
    const float *score;
    size_t n;
    enum err rc = gguf_get_f32s(g, &t->arena, PREFIX "scores", &score, &n, e);
    if (rc != ERR_OK) return rc;
    if (score && n < t->n)
        return ERR_FAIL(e, FORMAT, PREFIX "scores has %zu entries for %u tokens", n, t->n);
    t->prio = ARENA_NEW(&t->arena, uint32_t, t->n);
    if (!t->prio) return ERR_FAIL(e, NOMEM, "no memory for %u scores", t->n);
    for (uint32_t i = 0; score && i < t->n; i++) {
        float f = score[i] + 0.0f; /* one zero */
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        u = u >> 31 ? ~u : u | 0x80000000u;
        t->prio[i] = f != f ? UINT32_MAX - 1 : ~u;
    }
    return ERR_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/* "<0x0A>" is 10; anything else -1. */
static int byte_of(str s)
{
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    int high = hex_digit(s.p[3]), low = hex_digit(s.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static enum err read_bytes(struct tok *t, struct err_info *e)
{
    for (size_t i = 0; i < 256; i++)
        t->byte_id[i] = -1;
    for (uint32_t id = 0; id < t->n; id++) {
        if (tok_attr_kind(t->attr[id]) != TOK_BYTE) continue;
        int b = byte_of(t->text[id]);
        if (b < 0)
            return ERR_FAIL(e, FORMAT, "token %u \"%.*s\" is of type byte but not spelled <0xHH>",
                            id, (int)(t->text[id].n < 64 ? t->text[id].n : 64), t->text[id].p);
        if (t->byte_id[b] < 0) t->byte_id[b] = (int32_t)id;
    }
    return ERR_OK;
}

/* Old files carry no types: what is spelled like a byte is one. */
static void types_from_spelling(struct tok *t)
{
    for (uint32_t id = 0; id < t->n; id++)
        if (byte_of(t->text[id]) >= 0) t->attr[id] = TOK_BYTE;
}

static enum err read_id(const struct tok *t, const struct gguf *g, const char *key, int32_t *out,
                        struct err_info *e)
{
    uint32_t id = UINT32_MAX;
    enum err rc = gguf_get_u32(g, key, &id, e);
    if (rc != ERR_OK) return rc;
    if (id == UINT32_MAX) return ERR_OK;
    if (id >= t->n)
        return ERR_FAIL(e, FORMAT, "%s is %u, the vocabulary has %u tokens", key, id, t->n);
    *out = (int32_t)id;
    return ERR_OK;
}

static void set_kind(struct tok *t, int32_t id, enum tok_kind kind)
{
    t->attr[id] = (uint8_t)((t->attr[id] & ~(unsigned)TOK_ATTR_KIND) | (unsigned)kind);
}

static void mark_names(struct tok *t)
{
    for (size_t i = 0; i < sizeof control_names / sizeof control_names[0]; i++) {
        int32_t id = tok_find(t, str_c(control_names[i].name));
        if (id < 0) continue;
        set_kind(t, id, TOK_CONTROL);
        if (control_names[i].end) t->attr[id] |= TOK_ATTR_END;
    }
    /* Harmony-style vocabularies end a message, not a turn, with <|end|>. */
    int32_t end = tok_find(t, S("<|end|>"));
    bool call = tok_find(t, S("<|call|>")) >= 0 || tok_find(t, S("<|calls|>")) >= 0;
    bool last = tok_find(t, S("<|return|>")) >= 0 || tok_find(t, S("<|flush|>")) >= 0;
    if (end >= 0 && call && last) t->attr[end] &= (uint8_t)~TOK_ATTR_END;
}

static enum err read_ids(struct tok *t, const struct gguf *g, struct err_info *e)
{
    static const char *const ends[] = {PREFIX "eos_token_id", PREFIX "eot_token_id",
                                       PREFIX "eom_token_id"};
    t->bos = t->eos = t->unk = -1;
    if (!t->bpe) { /* what a file without these keys means */
        t->unk = 0;
        if (t->n > 1) t->bos = 1;
        if (t->n > 2) t->eos = 2;
    }
    enum err rc = read_id(t, g, PREFIX "bos_token_id", &t->bos, e);
    if (rc == ERR_OK) rc = read_id(t, g, ends[0], &t->eos, e);
    if (rc == ERR_OK) rc = read_id(t, g, PREFIX "unknown_token_id", &t->unk, e);
    if (rc != ERR_OK) return rc;
    mark_names(t);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        int32_t id = i ? -1 : t->eos;
        if (i) rc = read_id(t, g, ends[i], &id, e);
        if (rc != ERR_OK) return rc;
        if (id >= 0) t->attr[id] |= TOK_ATTR_END;
    }
    t->add_bos = t->bpe ? t->pre->add_bos : true;
    rc = gguf_get_bool(g, PREFIX "add_bos_token", &t->add_bos, e);
    if (rc == ERR_OK) rc = gguf_get_bool(g, PREFIX "add_eos_token", &t->add_eos, e);
    if (t->bos < 0) t->add_bos = false;
    if (t->eos < 0) t->add_eos = false;
    return rc;
}

/* No file says it: white space after Phi-3's markers belongs to them. */
static enum err mark_strip(struct tok *t, const struct gguf *g, struct err_info *e)
{
    str name = {NULL, 0};
    enum err rc = gguf_get_str(g, "general.name", &name, e);
    bool phi3 = false;
    for (size_t i = 0; i < name.n && rc == ERR_OK; i++)
        phi3 |= str_ieq(str_sub(name, i, 5), S("phi-3")) || str_ieq(str_sub(name, i, 4), S("phi3"));
    if (!phi3) return rc;
    for (uint32_t i = 0; i < t->n_special; i++) {
        str s = t->special[i].text;
        if (str_eq(s, S("<unk>")) || str_eq(s, S("<s>")) || str_eq(s, S("<|endoftext|>"))) continue;
        t->attr[t->special[i].id] |= TOK_ATTR_RSTRIP;
    }
    return ERR_OK;
}

/* Whether no token holds U+2581 after something else. */
static bool has_word_bounds(const struct tok *t)
{
    for (uint32_t id = 0; id < t->n; id++) {
        str s = t->text[id];
        size_t i = 0;
        while (i + 3 <= s.n && memcmp(s.p + i, TOK_SPACE, 3) == 0)
            i += 3;
        if (tok_attr_hidden(t->attr[id])) continue;
        if (str_find(s, S(TOK_SPACE), i) != SIZE_MAX) return false;
    }
    return true;
}

static enum err open_spm(struct tok *t, const struct gguf *g, struct err_info *e)
{
    enum err rc = read_scores(t, g, e);
    if (rc != ERR_OK) return rc;
    if (!gguf_find(g, PREFIX "token_type")) types_from_spelling(t);
    rc = read_bytes(t, e);
    t->add_space = true;
    if (rc == ERR_OK) rc = gguf_get_bool(g, PREFIX "add_space_prefix", &t->add_space, e);
    return rc;
}

static enum err open_bpe(struct tok *t, const struct gguf *g, struct err_info *e)
{
    str pre = S("default"); /* as llama.cpp reads a file without the key */
    enum err rc = gguf_get_str(g, PREFIX "pre", &pre, e);
    if (rc != ERR_OK) return rc;
    t->pre = tok_pre_find(pre);
    if (!t->pre)
        return ERR_FAIL(e, UNSUPPORTED, "unknown pre-tokenizer \"%.*s\" (" PREFIX "pre)",
                        (int)(pre.n < 64 ? pre.n : 64), pre.p);
    rc = gguf_get_strs(g, PREFIX "merges", &t->merge_text, &t->n_merges, e);
    if (rc != ERR_OK) return rc;
    if (!gguf_find(g, PREFIX "merges"))
        return ERR_FAIL(e, FORMAT,
                        PREFIX "merges is missing: BPE needs it, convert the model anew");
    if (t->n_merges > LIMIT_VOCAB)
        return ERR_FAIL(e, LIMIT, PREFIX "merges has %zu entries, the limit is %u", t->n_merges,
                        LIMIT_VOCAB);
    return ERR_OK;
}

static enum err open_model(struct tok *t, const struct gguf *g, struct err_info *e)
{
    str model = {NULL, 0};
    enum err rc = gguf_get_str(g, PREFIX "model", &model, e);
    if (rc != ERR_OK) return rc;
    if (!model.n) return ERR_FAIL(e, FORMAT, PREFIX "model is missing: the file has no tokenizer");
    t->bpe = str_eq(model, S("gpt2"));
    if (!t->bpe && !str_eq(model, S("llama")))
        return ERR_FAIL(e, UNSUPPORTED, "unknown tokenizer \"%.*s\" (" PREFIX "model)",
                        (int)(model.n < 64 ? model.n : 64), model.p);
    rc = read_tokens(t, g, e);
    if (rc == ERR_OK) rc = t->bpe ? open_bpe(t, g, e) : open_spm(t, g, e);
    if (rc == ERR_OK) rc = tok_index_build(t, e);
    if (rc == ERR_OK) rc = read_ids(t, g, e);
    if (rc == ERR_OK) rc = tok_special_build(t, e);
    if (rc == ERR_OK) rc = mark_strip(t, g, e);
    if (rc == ERR_OK && !t->bpe) t->word_bounds = has_word_bounds(t);
    return rc;
}

enum err tok_open(struct tok **out, const struct gguf *g, struct err_info *e)
{
    *out = NULL;
    struct tok *t = mem_alloc(sizeof *t);
    if (!t) return ERR_FAIL(e, NOMEM, "no memory for a tokenizer");
    arena_init(&t->arena, LIMIT_TOK_ARENA);
    pthread_mutex_init(&t->lock, NULL);
    enum err rc = open_model(t, g, e);
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
    mem_free(t);
}

/* ---- text to tokens ---- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void encode_plain(struct tok_work *w, str text, size_t from, size_t to, bool space_first)
{
    if (from >= to) return;
    if (w->t->bpe) {
        w->base = text.p;
        tok_bpe_text(w, from, to);
    } else {
        tok_spm_text(w, str_sub(text, from, to - from), space_first);
    }
}

static void encode_text(struct tok_work *w, str text, bool control)
{
    const struct tok *t = w->t;
    size_t from = 0;
    bool space_first = t->add_space;
    for (size_t i = 0; (control || t->user_special) && i < text.n && !w->failed;) {
        uint8_t b = (uint8_t)text.p[i];
        const struct tok_special *s = NULL;
        if (t->special_first[b] < t->special_first[b + 1]) s = tok_special_at(t, text, i, control);
        if (!s) {
            i++;
            continue;
        }
        encode_plain(w, text, from, i, space_first);
        tok_emit(w, s->id);
        i += s->text.n;
        if (t->attr[s->id] & TOK_ATTR_RSTRIP)
            while (i < text.n && is_blank(text.p[i]))
                i++;
        from = i;
        space_first = t->add_space;
    }
    encode_plain(w, text, from, text.n, space_first);
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
    if (t->bpe) rc = tok_bpe_prepare(&w, e);
    if (rc != ERR_OK) goto done;
    bool special = flags & TOK_ADD_SPECIAL;
    if (special && t->add_bos) tok_emit(&w, t->bos);
    encode_text(&w, text, flags & TOK_PARSE_SPECIAL);
    if (special && t->add_eos) tok_emit(&w, t->eos);
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

void tok_piece(const struct tok *t, int32_t id, bool special, buf *out)
{
    if (id < 0 || (uint32_t)id >= t->n) return;
    str s = t->text[id];
    int byte;
    switch (tok_attr_kind(t->attr[id])) {
    case TOK_CONTROL:
    case TOK_UNKNOWN:
        if (special) buf_str(out, s);
        return;
    case TOK_USER: buf_str(out, s); return;
    case TOK_BYTE:
        byte = byte_of(s);
        if (byte >= 0) {
            buf_ch(out, (char)byte);
            return;
        }
        break;
    case TOK_NORMAL:
    case TOK_UNUSED: break;
    }
    if (t->bpe)
        piece_bpe(s, out);
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
    return t->text_max;
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
    return t->add_bos;
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
    return !t->bpe && t->add_space;
}

const char *tok_model_name(const struct tok *t)
{
    return t->bpe ? "gpt2" : "llama";
}
