/* tok_gguf: a vocabulary out of GGUF metadata.
 *
 * Spellings stay views into the file; types and flags are packed into one byte a token. What a file
 * leaves out (ids, types, the pre-tokenizer) is read as llama.cpp reads it.
 *
 * Source: the keys of the GGUF specification under tokenizer.ggml, and llama.cpp's defaults.
 */
#include "text/tok_int.h"
#include "text/tok_scan.h"

#include <string.h>

#include "base/limits.h"

#define PREFIX "tokenizer.ggml."

static const struct {
    const char *name;
    enum tok_algo algo;
    int32_t bos, eos, unk, sep; /* where the file names none */
} models[] = {
    {"llama", TOK_SPM, 1, 2, 0, -1},      {"gpt2", TOK_BPE, -1, -1, -1, -1},
    {"gemma4", TOK_BPE, -1, -1, -1, -1},  {"whitespace", TOK_BPE, -1, -1, -1, -1},
    {"bert", TOK_WPM, 101, -1, 100, 102}, {"t5", TOK_UGM, -1, 1, 2, -1},
    {"rwkv", TOK_RWKV, -1, -1, -1, -1},   {"plamo2", TOK_UGM, 1, 2, 0, -1},
};

static enum err read_tokens(struct tok_spec *s, struct arena *a, const struct gguf *g,
                            struct err_info *e)
{
    size_t n;
    enum err rc = gguf_get_strs(g, PREFIX "tokens", &s->text, &n, e);
    if (rc != ERR_OK) return rc;
    if (n == 0) return ERR_FAIL(e, FORMAT, PREFIX "tokens is missing or empty: no vocabulary");
    if (n > LIMIT_VOCAB)
        return ERR_FAIL(e, LIMIT, PREFIX "tokens has %zu entries, the limit is %u", n, LIMIT_VOCAB);
    s->n = (uint32_t)n;
    s->attr = ARENA_NEW(a, uint8_t, n);
    if (!s->attr) return ERR_FAIL(e, NOMEM, "no memory for %zu tokens", n);
    const int32_t *type;
    size_t n_type;
    rc = gguf_get_i32s(g, a, PREFIX "token_type", &type, &n_type, e);
    if (rc != ERR_OK || !type) return rc;
    if (n_type < n)
        return ERR_FAIL(e, FORMAT, PREFIX "token_type has %zu entries for %zu tokens", n_type, n);
    static const uint8_t kinds[] = {TOK_NORMAL, TOK_NORMAL, TOK_UNKNOWN, TOK_CONTROL,
                                    TOK_USER,   TOK_UNUSED, TOK_BYTE};
    for (size_t i = 0; i < n; i++)
        s->attr[i] = type[i] >= 0 && type[i] < (int32_t)sizeof kinds ? kinds[type[i]] : TOK_NORMAL;
    return ERR_OK;
}

static enum err read_scores(struct tok_spec *s, struct arena *a, const struct gguf *g,
                            struct err_info *e)
{
    size_t n;
    enum err rc = gguf_get_f32s(g, a, PREFIX "scores", &s->score, &n, e);
    if (rc == ERR_OK && s->score && n < s->n)
        return ERR_FAIL(e, FORMAT, PREFIX "scores has %zu entries for %u tokens", n, s->n);
    return rc;
}

/* An id by its key; `dflt` when the file has none and the vocabulary is that large. */
static enum err read_id(const struct tok_spec *s, const struct gguf *g, const char *key,
                        int32_t dflt, int32_t *out, struct err_info *e)
{
    uint32_t id = UINT32_MAX;
    *out = dflt >= 0 && (uint32_t)dflt < s->n ? dflt : -1;
    enum err rc = gguf_get_u32(g, key, &id, e);
    if (rc != ERR_OK) return rc;
    if (id == UINT32_MAX) return ERR_OK;
    if (id >= s->n)
        return ERR_FAIL(e, FORMAT, "%s is %u, the vocabulary has %u tokens", key, id, s->n);
    *out = (int32_t)id;
    return ERR_OK;
}

static enum err read_around(struct tok_spec *s, const struct gguf *g, int32_t sep,
                            struct err_info *e)
{
    bool bos = s->algo == TOK_SPM || s->algo == TOK_WPM || (s->algo == TOK_BPE && s->pre.add_bos);
    bool eos = s->algo == TOK_UGM && !s->backwards;
    enum err rc = gguf_get_bool(g, PREFIX "add_bos_token", &bos, e);
    if (rc == ERR_OK) rc = gguf_get_bool(g, PREFIX "add_eos_token", &eos, e);
    if (s->algo == TOK_WPM) bos = eos = true; /* the marks of a sequence, whatever the file says */
    if (s->algo == TOK_BPE && s->pre.raw && str_eqc(S("gemma4"), s->pre.name)) bos = true;
    if (s->algo == TOK_RWKV) bos = eos = false;
    int32_t last = s->algo == TOK_WPM ? sep : s->eos;
    if (bos && s->bos >= 0) s->head[s->n_head++] = s->bos;
    if (eos && last >= 0) s->tail[s->n_tail++] = last;
    return rc;
}

static enum err read_ids(struct tok_spec *s, const struct gguf *g, size_t model, struct err_info *e)
{
    static const char *const ends[] = {PREFIX "eot_token_id", PREFIX "eom_token_id"};
    int32_t sep;
    enum err rc = read_id(s, g, PREFIX "bos_token_id", models[model].bos, &s->bos, e);
    if (rc == ERR_OK) rc = read_id(s, g, PREFIX "eos_token_id", models[model].eos, &s->eos, e);
    if (rc == ERR_OK) rc = read_id(s, g, PREFIX "unknown_token_id", models[model].unk, &s->unk, e);
    if (rc == ERR_OK) rc = read_id(s, g, PREFIX "seperator_token_id", models[model].sep, &sep, e);
    for (size_t i = 0; i < 2 && rc == ERR_OK; i++) {
        int32_t id;
        rc = read_id(s, g, ends[i], -1, &id, e);
        if (rc == ERR_OK && id >= 0) s->attr[id] |= TOK_ATTR_END;
    }
    return rc == ERR_OK ? read_around(s, g, sep, e) : rc;
}

static bool name_has(str name, str part)
{
    for (size_t i = 0; i + part.n <= name.n; i++)
        if (str_ieq(str_sub(name, i, part.n), part)) return true;
    return false;
}

static void strip_before(struct tok_spec *s, str text)
{
    for (uint32_t id = 0; id < s->n; id++)
        if (str_eq(s->text[id], text)) s->attr[id] |= TOK_ATTR_LSTRIP;
}

/* No file says it: white space after Phi-3's markers belongs to them, before the mask tokens of
 * some encoders to those. */
static enum err mark_strip(struct tok_spec *s, const struct gguf *g, struct err_info *e)
{
    str name = {NULL, 0}, pre = name, arch = name;
    enum err rc = gguf_get_str(g, "general.name", &name, e);
    if (rc == ERR_OK) rc = gguf_get_str(g, PREFIX "pre", &pre, e);
    if (rc == ERR_OK) rc = gguf_get_str(g, "general.architecture", &arch, e);
    if (rc != ERR_OK) return rc;
    if (name_has(pre, S("jina-v2-de")) || name_has(pre, S("jina-v2-es")) ||
        name_has(pre, S("jina-v2-code")) || name_has(arch, S("nomic-bert-moe")) ||
        name_has(arch, S("jina-bert-v3")))
        strip_before(s, S("<mask>"));
    else if (name_has(name, S("modern-bert")))
        strip_before(s, S("[MASK]"));
    if (!name_has(name, S("phi-3")) && !name_has(name, S("phi3"))) return ERR_OK;
    for (uint32_t id = 0; id < s->n; id++) {
        str x = s->text[id];
        enum tok_kind k = tok_attr_kind(s->attr[id]);
        bool special = k == TOK_CONTROL || k == TOK_USER || k == TOK_UNKNOWN ||
                       str_eq(x, S("</s>")) || (str_starts(x, S("<|")) && str_ends(x, S("|>")));
        if (!special || str_eq(x, S("<unk>")) || str_eq(x, S("<s>")) ||
            str_eq(x, S("<|endoftext|>")))
            continue;
        s->attr[id] |= TOK_ATTR_RSTRIP;
    }
    return ERR_OK;
}

static enum err open_spm(struct tok_spec *s, struct arena *a, const struct gguf *g,
                         struct err_info *e)
{
    enum err rc = read_scores(s, a, g, e);
    if (rc != ERR_OK) return rc;
    /* Old files carry no types: what is spelled like a byte is one. */
    for (uint32_t id = 0; id < s->n && !gguf_find(g, PREFIX "token_type"); id++)
        if (tok_byte_of(s->text[id]) >= 0) s->attr[id] = TOK_BYTE;
    s->add_space = s->byte_fallback = true;
    rc = gguf_get_bool(g, PREFIX "add_space_prefix", &s->add_space, e);
    s->strips_space = s->add_space;
    return rc;
}

static enum err open_bpe(struct tok_spec *s, const struct gguf *g, str model, struct err_info *e)
{
    str pre = S("default"); /* as llama.cpp reads a file without the key */
    enum err rc = gguf_get_str(g, PREFIX "pre", &pre, e);
    if (rc != ERR_OK) return rc;
    if (str_eq(model, S("gemma4"))) pre = model;
    const struct tok_pre *p = tok_pre_find(pre);
    if (!p)
        return ERR_FAIL(e, UNSUPPORTED, "unknown pre-tokenizer \"%.*s\" (" PREFIX "pre)",
                        (int)(pre.n < 64 ? pre.n : 64), pre.p);
    s->pre = *p;
    rc = gguf_get_strs(g, PREFIX "merges", &s->merge, &s->n_merges, e);
    if (rc != ERR_OK) return rc;
    if (!gguf_find(g, PREFIX "merges") && !str_eq(pre, S("kimi-k2")))
        return ERR_FAIL(e, FORMAT,
                        PREFIX "merges is missing: BPE needs it, convert the model anew");
    if (s->n_merges > LIMIT_VOCAB)
        return ERR_FAIL(e, LIMIT, PREFIX "merges has %zu entries, the limit is %u", s->n_merges,
                        LIMIT_VOCAB);
    s->byte_fallback = s->pre.raw;
    if (s->pre.raw && !str_eq(pre, S("whitespace")))
        s->norm[s->n_norm++] = (struct tok_norm){.op = TOK_NORM_SPACES, .flags = TOK_SPACES_ESCAPE};
    bool lower = false;
    rc = gguf_get_bool(g, PREFIX "normalizer.lowercase", &lower, e);
    if (str_eq(model, S("whitespace")) && lower)
        s->norm[s->n_norm++] = (struct tok_norm){.op = TOK_NORM_LOWER};
    return rc;
}

/* Whether some word of the vocabulary has a capital: then it tells them from small letters. */
static bool is_cased(const struct tok_spec *s)
{
    for (uint32_t id = 0; id < s->n; id++) {
        str x = s->text[id];
        if (tok_attr_kind(s->attr[id]) != TOK_NORMAL || (x.n && x.p[0] == '[')) continue;
        for (size_t i = 0; i < x.n; i++)
            if (x.p[i] >= 'A' && x.p[i] <= 'Z') return true;
    }
    return false;
}

static enum err open_wpm(struct tok_spec *s, const struct gguf *g, struct err_info *e)
{
    bool lower = !is_cased(s);
    enum err rc = gguf_get_bool(g, PREFIX "normalizer.lowercase", &lower, e);
    bool accents = lower;
    if (rc == ERR_OK) rc = gguf_get_bool(g, PREFIX "normalizer.strip_accents", &accents, e);
    unsigned flags = TOK_BERT_CLEAN | TOK_BERT_HAN | (lower ? (unsigned)TOK_BERT_LOWER : 0) |
                     (accents ? (unsigned)TOK_BERT_ACCENTS : 0);
    s->norm[s->n_norm++] = (struct tok_norm){.op = TOK_NORM_BERT, .flags = flags};
    s->pre.stage[0] = (struct tok_stage){.scan = tok_scan_blanks, .arg = 1};
    s->word_start = S(TOK_SPACE);
    s->strips_space = true;
    return rc;
}

static enum err open_ugm(struct tok_spec *s, struct arena *a, const struct gguf *g,
                         struct err_info *e)
{
    bool prefix = false, merge = false;
    enum err rc = read_scores(s, a, g, e);
    if (s->backwards) {
        s->byte_fallback = true;
        return rc;
    }
    if (rc == ERR_OK) rc = gguf_get_bool(g, PREFIX "add_space_prefix", &prefix, e);
    if (rc == ERR_OK) rc = gguf_get_bool(g, PREFIX "remove_extra_whitespaces", &merge, e);
    if (rc != ERR_OK) return rc;
    const struct gguf_kv *kv = gguf_find(g, PREFIX "precompiled_charsmap");
    if (kv) {
        if (kv->type != GGUF_ARR || (kv->elem != GGUF_U8 && kv->elem != GGUF_I8))
            return ERR_FAIL(e, FORMAT, PREFIX "precompiled_charsmap is no array of bytes");
        s->norm[s->n_norm++] =
            (struct tok_norm){.op = TOK_NORM_CHARSMAP, .from = {(const char *)kv->data, kv->bytes}};
    }
    unsigned flags = TOK_SPACES_ESCAPE | (prefix ? (unsigned)TOK_SPACES_PREFIX : 0) |
                     (merge ? (unsigned)TOK_SPACES_MERGE : 0);
    s->norm[s->n_norm++] = (struct tok_norm){.op = TOK_NORM_SPACES, .flags = flags};
    s->strips_space = prefix;
    s->fuse_unk = true;
    return ERR_OK;
}

enum err tok_spec_from_gguf(struct tok_spec *s, struct arena *a, const struct gguf *g,
                            struct err_info *e)
{
    str model = {NULL, 0};
    size_t i = 0;
    enum err rc = gguf_get_str(g, PREFIX "model", &model, e);
    if (rc != ERR_OK) return rc;
    if (!model.n) return ERR_FAIL(e, FORMAT, PREFIX "model is missing: the file has no tokenizer");
    while (i < sizeof models / sizeof models[0] && !str_eqc(model, models[i].name))
        i++;
    if (i == sizeof models / sizeof models[0])
        return ERR_FAIL(e, UNSUPPORTED, "unknown tokenizer \"%.*s\" (" PREFIX "model)",
                        (int)(model.n < 64 ? model.n : 64), model.p);
    s->algo = models[i].algo;
    s->backwards = str_eq(model, S("plamo2"));
    rc = read_tokens(s, a, g, e);
    if (rc != ERR_OK) return rc;
    switch (s->algo) {
    case TOK_SPM: rc = open_spm(s, a, g, e); break;
    case TOK_BPE: rc = open_bpe(s, g, model, e); break;
    case TOK_WPM: rc = open_wpm(s, g, e); break;
    case TOK_UGM: rc = open_ugm(s, a, g, e); break;
    case TOK_RWKV: break;
    }
    if (rc == ERR_OK) rc = read_ids(s, g, i, e);
    if (rc == ERR_OK) rc = mark_strip(s, g, e);
    return rc;
}
