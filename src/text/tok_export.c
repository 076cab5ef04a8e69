/* tok_export: a vocabulary as GGUF metadata, whatever file it came from.
 *
 * The counterpart of tok_gguf.c. Three things have another form there than in Hugging Face's files:
 * a list of merges over whole characters becomes SentencePiece's scores (the earlier the merge, the
 * better the score of what it makes, so the same neighbours join first); WordPiece marks the
 * beginning of a word with U+2581 and not its rest with "##"; and how words are cut is a name.
 */
#include "text/tok_int.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "model/gguf_write.h"

#define PREFIX "tokenizer.ggml."
#define SPACE  "\xE2\x96\x81" /* U+2581 */

enum { TYPE_UNUSED = 5 }; /* of token_type */

struct export
{
    const struct tok *t;
    struct gguf_write *w;
    struct arena a;
    uint32_t n; /* rows of the embedding */
    bool spm;   /* merges over characters, written as scores */
    struct err_info *e;
};

/* ---- the model's name ---- */

static enum err put_model(struct export *x)
{
    const struct tok *t = x->t;
    const char *name = tok_model_name(t), *pre;

    if (t->algo == TOK_BPE && (t->raw || t->byte_fallback)) {
        x->spm = true;
        name = "llama";
    }
    gguf_write_str(x->w, PREFIX "model", str_c(name));
    pre = t->algo != TOK_BPE || x->spm ? "default" : tok_pre_name(&t->pre);
    if (!pre)
        return ERR_FAIL(x->e, UNSUPPORTED,
                        "GGUF has no name for the way this tokenizer cuts text into words; the "
                        "directory itself runs as it is");
    gguf_write_str(x->w, PREFIX "pre", str_c(pre));
    if (t->by_rank)
        return ERR_FAIL(x->e, UNSUPPORTED,
                        "a vocabulary of ranks without merges, which GGUF has no form for; with a "
                        "tokenizer.json it can be written");
    return ERR_OK;
}

/* ---- tokens ---- */

/* WordPiece: "##rest" and "start" to "rest" and SPACE "start". */
static enum err word_piece(struct export *x, uint32_t id, str *out)
{
    const struct tok *t = x->t;
    str s = t->text[id];
    enum tok_kind k = tok_kind(t, (int32_t)id);

    *out = s;
    if (k == TOK_CONTROL || k == TOK_UNKNOWN || !t->word_next.n) return ERR_OK;
    if (str_starts(s, t->word_next) && s.n > t->word_next.n)
        *out = str_sub(s, t->word_next.n, s.n);
    else
        *out = arena_printf(&x->a, SPACE "%.*s", STR(s));
    return out->p ? ERR_OK : ERR_FAIL(x->e, NOMEM, "no memory for the vocabulary");
}

static enum err put_tokens(struct export *x)
{
    static const int32_t types[] = {[TOK_NORMAL] = 1, [TOK_UNKNOWN] = 2, [TOK_CONTROL] = 3,
                                    [TOK_USER] = 4,   [TOK_UNUSED] = 5,  [TOK_BYTE] = 6};
    str *text = ARENA_NEW(&x->a, str, x->n);
    int32_t *type = ARENA_NEW(&x->a, int32_t, x->n);

    if (!text || !type) return ERR_FAIL(x->e, NOMEM, "no memory for %u tokens", x->n);
    for (uint32_t i = 0; i < x->n; i++) {
        enum err r = ERR_OK;

        if (i >= x->t->n || !x->t->text[i].n) {
            text[i] = arena_printf(&x->a, "[PAD%u]", i);
            type[i] = TYPE_UNUSED;
            continue;
        }
        text[i] = x->t->text[i];
        type[i] = types[tok_kind(x->t, (int32_t)i)];
        /* Hugging Face has one kind for all special tokens. */
        if ((int32_t)i == x->t->unk && x->t->algo != TOK_WPM) type[i] = types[TOK_UNKNOWN];
        if (x->t->algo == TOK_WPM) r = word_piece(x, i, &text[i]);
        if (r) return r;
    }
    gguf_write_strs(x->w, PREFIX "tokens", text, x->n);
    gguf_write_i32s(x->w, PREFIX "token_type", type, x->n);
    return ERR_OK;
}

/* ---- scores and merges ---- */

/* The inverse of build_prio() in tok_build.c. */
static float score_of(uint32_t prio)
{
    uint32_t u = ~prio;
    float f;

    u = u & 0x80000000u ? u & 0x7FFFFFFFu : ~u;
    memcpy(&f, &u, sizeof f);
    return f == f ? f : -1e30f;
}

/* The two parts of merge i. */
static void merge_parts(const struct tok *t, size_t i, str *left, str *right)
{
    if (t->merge_pairs) {
        *left = t->merge[2 * i];
        *right = t->merge[2 * i + 1];
        return;
    }
    *left = str_cut(t->merge[i], ' ', right);
}

static enum err merge_scores(struct export *x, float *score)
{
    buf joined = {.cap = MIB(1)};

    for (size_t i = x->t->n_merges; i-- > 0;) { /* the first of several stands */
        str left, right;
        int32_t id;

        merge_parts(x->t, i, &left, &right);
        buf_clear(&joined);
        buf_str(&joined, left);
        buf_str(&joined, right);
        id = joined.failed ? -1 : tok_find(x->t, buf_view(&joined));
        if (id >= 0) score[id] = -(float)i;
    }
    buf_fini(&joined);
    return ERR_OK;
}

static enum err put_scores(struct export *x)
{
    const struct tok *t = x->t;
    float *score;
    enum err r = ERR_OK;

    if (t->algo != TOK_SPM && t->algo != TOK_UGM && !x->spm) return ERR_OK;
    score = ARENA_NEW(&x->a, float, x->n);
    if (!score) return ERR_FAIL(x->e, NOMEM, "no memory for %u scores", x->n);
    for (uint32_t i = 0; i < t->n && i < x->n; i++) {
        if (t->algo == TOK_SPM && t->prio) score[i] = score_of(t->prio[i]);
        if (t->algo == TOK_UGM && t->score) score[i] = t->score[i];
    }
    if (x->spm) r = merge_scores(x, score);
    gguf_write_f32s(x->w, PREFIX "scores", score, x->n);
    return r;
}

static enum err put_merges(struct export *x)
{
    const struct tok *t = x->t;
    str *merges;

    if (t->algo != TOK_BPE || x->spm) return ERR_OK;
    merges = ARENA_NEW(&x->a, str, t->n_merges);
    if (t->n_merges && !merges)
        return ERR_FAIL(x->e, NOMEM, "no memory for %zu merges", t->n_merges);
    for (size_t i = 0; i < t->n_merges; i++) {
        str left, right;

        merge_parts(t, i, &left, &right);
        merges[i] =
            t->merge_pairs ? arena_printf(&x->a, "%.*s %.*s", STR(left), STR(right)) : t->merge[i];
        if (!merges[i].p) return ERR_FAIL(x->e, NOMEM, "no memory for %zu merges", t->n_merges);
    }
    gguf_write_strs(x->w, PREFIX "merges", merges, t->n_merges);
    return ERR_OK;
}

/* ---- rules ---- */

static void put_ids(struct export *x)
{
    const struct tok *t = x->t;
    bool bos = t->n_head > 0, eos = t->n_tail > 0;

    if (t->bos >= 0) gguf_write_u32(x->w, PREFIX "bos_token_id", (uint32_t)t->bos);
    if (t->eos >= 0) gguf_write_u32(x->w, PREFIX "eos_token_id", (uint32_t)t->eos);
    if (t->unk >= 0) gguf_write_u32(x->w, PREFIX "unknown_token_id", (uint32_t)t->unk);
    if (t->algo == TOK_WPM && bos && t->bos < 0)
        gguf_write_u32(x->w, PREFIX "bos_token_id", (uint32_t)t->head[0]);
    if (t->algo == TOK_WPM && eos)
        gguf_write_u32(x->w, PREFIX "seperator_token_id", (uint32_t)t->tail[0]);
    for (uint32_t i = 0; i < t->n; i++) /* the end of a turn, where that is another token */
        if (t->attr[i] & TOK_ATTR_END && (int32_t)i != t->eos) {
            gguf_write_u32(x->w, PREFIX "eot_token_id", i);
            break;
        }
    if (t->algo == TOK_WPM || t->algo == TOK_RWKV) return;
    gguf_write_bool(x->w, PREFIX "add_bos_token", bos);
    gguf_write_bool(x->w, PREFIX "add_eos_token", eos);
}

static void put_norms(struct export *x)
{
    const struct tok *t = x->t;
    bool prefix = t->add_space, merge = false;

    if (t->algo == TOK_WPM || (t->algo == TOK_BPE && !x->spm)) return;
    for (uint32_t i = 0; i < t->n_norm; i++) {
        const struct tok_norm *n = &t->norm[i];

        if (n->op == TOK_NORM_PREPEND) prefix = true;
        if (n->op == TOK_NORM_METASPACE && n->flags & (TOK_PREFIX_FIRST | TOK_PREFIX_ALWAYS))
            prefix = true;
        if (n->op == TOK_NORM_SPACES) {
            prefix = prefix || n->flags & TOK_SPACES_PREFIX;
            merge = merge || n->flags & TOK_SPACES_MERGE;
        }
        if (n->op == TOK_NORM_CHARSMAP)
            gguf_write_kv(x->w, &(struct gguf_kv){.key = S(PREFIX "precompiled_charsmap"),
                                                  .type = GGUF_ARR,
                                                  .elem = GGUF_U8,
                                                  .count = n->from.n,
                                                  .data = (const uint8_t *)n->from.p,
                                                  .bytes = n->from.n});
    }
    gguf_write_bool(x->w, PREFIX "add_space_prefix", prefix);
    if (t->algo == TOK_UGM) gguf_write_bool(x->w, PREFIX "remove_extra_whitespaces", merge);
}

enum err tok_export(const struct tok *t, uint32_t n_vocab, struct gguf_write *w, struct err_info *e)
{
    struct export x = {.t = t, .w = w, .n = n_vocab > t->n ? n_vocab : t->n, .e = e};
    enum err r;

    arena_init(&x.a, LIMIT_TOK_ARENA);
    if (!(r = put_model(&x)) && !(r = put_tokens(&x)) && !(r = put_scores(&x)) &&
        !(r = put_merges(&x))) {
        put_ids(&x);
        put_norms(&x);
    }
    arena_fini(&x.a);
    return r;
}
