/* tok_build: makes a vocabulary of a spec.
 *
 * It builds what calls look things up in: the index of spellings, the list of special tokens, byte
 * tokens, priorities or a trie, according to the kind. The merges of BPE are left to the first call
 * that needs them. Some files give chat markers a type that would print them or make them from
 * plain text: tokens with the names of the table below are control tokens whatever the file says.
 *
 * Invariant: every id that is kept is below n, whatever the spec held.
 */
#include "text/tok_int.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

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

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

int tok_byte_of(str s)
{
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    int high = hex_digit(s.p[3]), low = hex_digit(s.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static void set_kind(struct tok *t, int32_t id, enum tok_kind kind)
{
    t->attr[id] = (uint8_t)((t->attr[id] & ~(unsigned)TOK_ATTR_KIND) | (unsigned)kind);
}

void tok_mark_names(struct tok *t)
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

/* Scores as numbers of which the smallest is best: the order of floats kept, reversed. */
static enum err build_prio(struct tok *t, struct err_info *e)
{
    t->prio = ARENA_NEW(&t->arena, uint32_t, t->n);
    if (!t->prio) return ERR_FAIL(e, NOMEM, "no memory for %u scores", t->n);
    for (uint32_t i = 0; t->score && i < t->n; i++) {
        float f = t->score[i] + 0.0f; /* one zero */
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        u = u >> 31 ? ~u : u | 0x80000000u;
        t->prio[i] = f != f ? UINT32_MAX - 1 : ~u;
    }
    return ERR_OK;
}

static enum err build_bytes(struct tok *t, struct err_info *e)
{
    for (uint32_t id = 0; id < t->n; id++) {
        if (tok_attr_kind(t->attr[id]) != TOK_BYTE) continue;
        int b = tok_byte_of(t->text[id]);
        if (b < 0)
            return ERR_FAIL(e, FORMAT, "token %u \"%.*s\" is of type byte but not spelled <0xHH>",
                            id, (int)(t->text[id].n < 64 ? t->text[id].n : 64), t->text[id].p);
        if (t->byte_id[b] < 0) t->byte_id[b] = (int32_t)id;
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

/* U+2581, any number of them, and what follows up to the next. */
static size_t scan_bounds(const char *p, size_t at, size_t end, unsigned arg)
{
    (void)arg;
    while (at + 3 <= end && memcmp(p + at, TOK_SPACE, 3) == 0)
        at += 3;
    size_t next = str_find((str){p, end}, S(TOK_SPACE), at);
    return next == SIZE_MAX ? end : next;
}

static void add_bounds_stage(struct tok *t)
{
    size_t i = 0;
    while (i < TOK_STAGES_MAX && (t->pre.stage[i].scan || t->pre.stage[i].split))
        i++;
    if (i < TOK_STAGES_MAX) t->pre.stage[i].scan = scan_bounds;
}

static bool known(const struct tok *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n;
}

static void copy(struct tok *t, const struct tok_spec *s)
{
    t->algo = s->algo;
    t->raw = s->algo == TOK_BPE && s->pre.raw;
    t->n = s->n;
    t->text = s->text;
    t->attr = s->attr;
    t->score = s->score;
    t->bos = known(t, s->bos) ? s->bos : -1;
    t->eos = known(t, s->eos) ? s->eos : -1;
    t->unk = known(t, s->unk) ? s->unk : -1;
    for (uint32_t i = 0; i < s->n_head && i < TOK_AROUND_MAX; i++)
        if (known(t, s->head[i])) t->head[t->n_head++] = s->head[i];
    for (uint32_t i = 0; i < s->n_tail && i < TOK_AROUND_MAX; i++)
        if (known(t, s->tail[i])) t->tail[t->n_tail++] = s->tail[i];
    t->add_space = s->add_space;
    t->strips_space = s->strips_space;
    t->backwards = s->backwards;
    t->user_joins = s->user_joins;
    t->byte_fallback = s->byte_fallback;
    t->fuse_unk = s->fuse_unk;
    t->pre = s->pre;
    t->n_norm = s->n_norm < TOK_NORMS_MAX ? s->n_norm : TOK_NORMS_MAX;
    memcpy(t->norm, s->norm, t->n_norm * sizeof t->norm[0]);
    t->word_start = s->word_start;
    t->word_next = s->word_next;
    t->word_max = s->word_max;
    t->merge = s->merge;
    t->n_merges = s->n_merges;
    t->merge_pairs = s->merge_pairs;
    t->by_rank = s->by_rank;
    for (size_t i = 0; i < 256; i++)
        t->byte_id[i] = -1;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->text[i].n > t->text_max) t->text_max = t->text[i].n;
}

enum err tok_build(struct tok *t, const struct tok_spec *s, struct err_info *e)
{
    if (!s->n || s->n > LIMIT_VOCAB)
        return ERR_FAIL(e, LIMIT, "a vocabulary of %u tokens, the limit is %u", s->n, LIMIT_VOCAB);
    copy(t, s);
    enum err rc = tok_index_build(t, e);
    if (rc != ERR_OK) return rc;
    tok_mark_names(t);
    if (t->eos >= 0) t->attr[t->eos] |= TOK_ATTR_END;
    bool spaced = t->algo == TOK_SPM || t->algo == TOK_UGM || t->raw;
    if (spaced) rc = build_bytes(t, e);
    if (rc == ERR_OK && t->algo == TOK_SPM) rc = build_prio(t, e);
    if (rc == ERR_OK) rc = tok_special_build(t, e);
    if (rc == ERR_OK && spaced) t->word_bounds = has_word_bounds(t);
    if (rc == ERR_OK) rc = tok_match_build(t, e);
    t->fuse_text = !t->pre.stage[0].scan && !t->pre.stage[0].split;
    if (t->word_bounds && t->algo != TOK_SPM) add_bounds_stage(t);
    if (t->word_bounds && t->n_norm && t->algo == TOK_SPM) add_bounds_stage(t);
    return rc;
}

struct tok *tok_new(void)
{
    struct tok *t = mem_alloc(sizeof *t);
    if (!t) return NULL;
    arena_init(&t->arena, LIMIT_TOK_ARENA);
    pthread_mutex_init(&t->lock, NULL);
    return t;
}
