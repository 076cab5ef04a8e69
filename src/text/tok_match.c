/* tok_match: the kinds of vocabulary that look for whole tokens: WordPiece, Unigram, RWKV.
 *
 * WordPiece takes the longest token at each place of a word; a word that cannot be covered is one
 * unknown token. RWKV takes the longest token at each place of the bytes. Unigram finds the cut
 * with the best sum of scores by going over the places once and remembering at each the best way to
 * get there; a character that no token covers costs the worst score less ten.
 *
 * Invariant: at one place at most TOK_MATCH_LEN_MAX steps are made, so a word of n bytes costs
 * O(n).
 *
 * Sources: huggingface/transformers (BERT), google/sentencepiece (Unigram), BlinkDL/ChatRWKV,
 * ggml-org/llama.cpp (PLaMo).
 */
#include "text/tok_int.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* ---- what is looked for ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

str tok_match_unescape(struct arena *a, str s)
{
    if (s.n == 0 || !memchr(s.p, '\\', s.n)) return s.p ? s : S("");
    char *p = arena_alloc(a, s.n, 1);
    size_t n = 0;
    for (size_t i = 0; p && i < s.n; i++) {
        char c = s.p[i];
        if (c == '\\' && i + 1 < s.n) {
            c = s.p[++i];
            int high = c == 'x' && i + 2 < s.n ? hex(s.p[i + 1]) : -1;
            int low = high >= 0 ? hex(s.p[i + 2]) : -1;
            if (low >= 0) {
                c = (char)(high * 16 + low);
                i += 2;
            } else {
                c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
            }
        }
        p[n++] = c;
    }
    return (str){p, n};
}

static enum err unescape_all(struct tok *t, struct err_info *e)
{
    str *plain = ARENA_NEW(&t->arena, str, t->n);
    for (uint32_t id = 0; plain && id < t->n; id++) {
        plain[id] = tok_match_unescape(&t->arena, t->text[id]);
        if (!plain[id].p) plain = NULL;
    }
    t->plain = plain;
    return plain ? ERR_OK : ERR_FAIL(e, NOMEM, "no memory for %u tokens", t->n);
}

/* Where walking over `prefix` from the root ends; *none: nowhere. */
static uint32_t walk(const struct tok *t, str prefix, bool *none)
{
    uint32_t node = 0;
    for (size_t i = 0; i < prefix.n; i++) {
        node = tok_trie_step(&t->trie, node, (uint8_t)prefix.p[i]);
        if (!node) break;
    }
    *none = prefix.n && !node;
    return node;
}

static void set_unknown_score(struct tok *t)
{
    double least = DBL_MAX;
    for (uint32_t id = 0; t->score && id < t->n; id++)
        if (tok_attr_kind(t->attr[id]) == TOK_NORMAL && t->score[id] < least)
            least = (double)t->score[id];
    t->unk_score = (least == DBL_MAX ? 0 : least) - 10;
}

enum err tok_match_build(struct tok *t, struct err_info *e)
{
    if (t->algo == TOK_SPM || t->algo == TOK_BPE) return ERR_OK;
    enum err rc = t->algo == TOK_RWKV ? unescape_all(t, e) : ERR_OK;
    if (rc != ERR_OK) return rc;
    bool *use = mem_array(t->n, sizeof *use);
    if (!use) return ERR_FAIL(e, NOMEM, "no memory for %u tokens", t->n);
    for (uint32_t id = 0; id < t->n; id++) {
        enum tok_kind k = tok_attr_kind(t->attr[id]);
        use[id] = k == TOK_NORMAL || k == TOK_USER || k == TOK_UNUSED;
        if (t->algo == TOK_UGM && t->score &&
            !(t->score[id] >= -FLT_MAX && t->score[id] <= FLT_MAX))
            use[id] = false; /* no number */
    }
    rc = tok_trie_build(&t->trie, &t->arena, t->plain ? t->plain : t->text, use, t->n, e);
    mem_free(use);
    if (rc != ERR_OK) return rc;
    t->start_node = walk(t, t->word_start, &t->start_none);
    t->next_node = walk(t, t->word_next, &t->next_none);
    if (t->algo == TOK_UGM) set_unknown_score(t);
    return ERR_OK;
}

/* The longest token below `node` that p[at, end) begins with: its id or -1, its end in *to. */
static int32_t longest(const struct tok *t, uint32_t node, const char *p, size_t at, size_t end,
                       size_t *to)
{
    int32_t id = -1;
    for (size_t i = at; i < end;) {
        node = tok_trie_step(&t->trie, node, (uint8_t)p[i]);
        if (!node) break;
        i++;
        if (t->trie.node[node].id < 0) continue;
        id = t->trie.node[node].id;
        *to = i;
    }
    return id;
}

/* ---- WordPiece ---- */

static size_t characters(const char *p, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((uint8_t)p[i] & 0xC0) != 0x80;
    return count;
}

void tok_match_wpm(struct tok_work *w, size_t at, size_t len)
{
    const struct tok *t = w->t;
    size_t end = at + len, from = w->n;
    bool good = !t->word_max || characters(w->base + at, len) <= t->word_max;
    uint32_t node = t->start_node;
    bool none = t->start_none;
    for (size_t to = at; at < end && good; at = to) {
        int32_t id = none ? -1 : longest(t, node, w->base, at, end, &to);
        good = id >= 0;
        if (good) tok_emit(w, id);
        node = t->next_node;
        none = t->next_none;
    }
    if (good) return;
    w->n = from;
    tok_emit_unknown(w);
}

/* ---- RWKV ---- */

void tok_match_rwkv(struct tok_work *w, size_t at, size_t len)
{
    for (size_t end = at + len, to = at; at < end && !w->failed; at = to) {
        int32_t id = longest(w->t, 0, w->base, at, end, &to);
        if (id >= 0) {
            tok_emit(w, id);
            continue;
        }
        tok_emit_unknown(w);
        to = at + 1;
    }
}

/* ---- Unigram ---- */

/* The best way to get to a place of the text. */
struct tok_best {
    double score;
    uint32_t from; /* where its last token begins */
    int32_t id;    /* -1: no token */
};

static void better(struct tok_best *b, double score, uint32_t from, int32_t id)
{
    if (score > b->score) *b = (struct tok_best){score, from, id};
}

/* Fills w->best[0, len] for the text p[0, len). */
static void go_over(struct tok_work *w, const char *p, size_t len)
{
    const struct tok *t = w->t;
    struct tok_best *best = w->best;
    best[0] = (struct tok_best){0, 0, -1};
    for (size_t i = 1; i <= len; i++)
        best[i] = (struct tok_best){-DBL_MAX, 0, -1};
    for (size_t at = 0, step; at < len; at += step) {
        step = 0;
        utf8_next((str){p + at, len - at}, &step);
        bool whole = false;
        uint32_t node = 0;
        for (size_t i = at; i < len;) {
            node = tok_trie_step(&t->trie, node, (uint8_t)p[i]);
            if (!node) break;
            i++;
            int32_t id = t->trie.node[node].id;
            if (id < 0) continue;
            whole |= i - at == step;
            bool user = tok_attr_kind(t->attr[id]) == TOK_USER;
            double score = user || !t->score ? 0 : (double)t->score[id];
            better(&best[i], best[at].score + score, (uint32_t)at, id);
        }
        if (!whole) better(&best[at + step], best[at].score + t->unk_score, (uint32_t)at, -1);
    }
}

/* ---- Unigram as PLaMo has it ---- */

#define PLAMO_UNKNOWN 1e7 /* what a character costs that is no token: -1000 */
#define PLAMO_WORST   2e7 /* tokens that cost more do not count */

static double plamo_cost(const struct tok *t, int32_t id)
{
    return t->score ? -round((double)t->score[id] * 1e4) : 0;
}

/* From the end to the beginning: the cheapest way from each place on, of equal ones that with the
 * longer token. Costs are whole numbers, so sums are exact. */
static void go_back(struct tok_work *w, const char *p, size_t len)
{
    const struct tok *t = w->t;
    struct tok_best *best = w->best;
    for (size_t i = 0; i <= len; i++)
        best[i] = (struct tok_best){DBL_MAX, 0, -1};
    for (size_t i = 0; i < len;) { /* where characters begin, and where each ends */
        size_t from = i;
        utf8_next((str){p, len}, &i);
        best[from].from = (uint32_t)i;
    }
    best[len].score = 0;
    for (size_t at = len; at-- > 0;) {
        if (!best[at].from) continue;
        best[at].score = best[best[at].from].score + PLAMO_UNKNOWN;
        uint32_t node = 0;
        for (size_t i = at; i < len;) {
            node = tok_trie_step(&t->trie, node, (uint8_t)p[i]);
            if (!node) break;
            i++;
            int32_t id = t->trie.node[node].id;
            double cost = id < 0 ? DBL_MAX : plamo_cost(t, id);
            if (id < 0 || cost >= PLAMO_WORST || best[i].score + cost > best[at].score) continue;
            best[at] = (struct tok_best){best[i].score + cost, (uint32_t)i, id};
        }
    }
}

static void match_plamo(struct tok_work *w, size_t at, size_t len)
{
    if (at == 0 && len >= 3 && memcmp(w->base, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark */
        at += 3;
        len -= 3;
    }
    go_back(w, w->base + at, len);
    for (size_t i = 0, to; i < len && !w->failed; i = to) {
        to = w->best[i].from;
        if (w->best[i].id >= 0)
            tok_emit(w, w->best[i].id);
        else
            tok_emit_bytes(w, (str){w->base + at + i, to - i});
    }
}

void tok_match_ugm(struct tok_work *w, size_t at, size_t len)
{
    void *p = w->best;
    bool room = tok_work_grow(w, &p, &w->best_cap, len + 1, sizeof *w->best);
    w->best = p;
    if (!room) return;
    if (w->t->backwards) {
        match_plamo(w, at, len);
        return;
    }
    go_over(w, w->base + at, len);
    /* Turned around: from[] now says where the token that begins here ends. */
    struct tok_best *best = w->best;
    size_t i = len;
    uint32_t end = 0;
    int32_t id = -1;
    while (i) {
        uint32_t from = best[i].from;
        int32_t own = best[i].id;
        best[i].from = end;
        best[i].id = id;
        end = (uint32_t)i;
        id = own;
        i = from;
    }
    best[0].from = end;
    best[0].id = id;
    for (i = 0; i < len && !w->failed; i = end) {
        end = best[i].from;
        if (best[i].id >= 0)
            tok_emit(w, best[i].id);
        else
            tok_emit_bytes(w, (str){w->base + at + i, end - i});
    }
}
