/* tok_merge: the merging of one word, and the memory of one call.
 *
 * Both kinds of vocabulary work the same way: a word begins as its smallest symbols, and again and
 * again the neighbours that join earliest (ties: leftmost) become one symbol, until no two
 * neighbours join. Short words are merged in small arrays by looking at all pairs each time; long
 * ones over a linked list with a heap of candidates, where a candidate whose symbols have changed
 * since is recognised by its length and dropped. A word that was met before in the same call is
 * copied from where its ids already stand in the output.
 *
 * Invariant: every candidate is pushed at most once per change of a symbol, so a word of n symbols
 * costs n log n.
 */
#include "text/tok_int.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define SHORT_SYMS 24
#define NO_PAIR    UINT32_MAX
#define SEEN_LEN   64   /* longer words are not remembered */
#define SEEN_MAX   8192 /* words */

void tok_work_init(struct tok_work *w, const struct tok *t, size_t text_len)
{
    *w = (struct tok_work){.t = t, .last = -1};
    buf_init(&w->norm, UINT32_MAX - 1); /* symbols hold 32-bit offsets */
    buf_init(&w->tmp[0], UINT32_MAX - 1);
    buf_init(&w->tmp[1], UINT32_MAX - 1);
    size_t words = 0;
    if (text_len >= 256)
        for (words = 64; words < SEEN_MAX && words < text_len / 8;)
            words *= 2;
    if (words) w->seen = mem_array(words, sizeof *w->seen);
    w->seen_mask = words - 1;
}

void tok_work_fini(struct tok_work *w)
{
    mem_free(w->out);
    mem_free(w->sym);
    mem_free(w->heap);
    mem_free(w->seen);
    mem_free(w->points);
    mem_free(w->best);
    tok_split_fini(w);
    buf_fini(&w->norm);
    buf_fini(&w->tmp[0]);
    buf_fini(&w->tmp[1]);
}

bool tok_work_grow(struct tok_work *w, void **p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap) return true;
    size_t want = *cap ? *cap : 64, bytes;
    while (want < need)
        want *= 2;
    void *q = mem_mul(want, size, &bytes) ? mem_resize(*p, bytes) : NULL;
    if (!q) {
        w->failed = true;
        return false;
    }
    *p = q;
    *cap = want;
    return true;
}

static bool out_room(struct tok_work *w, size_t more)
{
    void *p = w->out;
    bool good = tok_work_grow(w, &p, &w->cap, w->n + more, sizeof *w->out);
    w->out = p;
    return good;
}

void tok_emit(struct tok_work *w, int32_t id)
{
    if (w->n == w->cap && !out_room(w, 1)) return;
    w->out[w->n++] = w->last = id;
}

void tok_emit_unknown(struct tok_work *w)
{
    w->unknown++;
    if (w->t->unk < 0 || (w->t->fuse_unk && w->last == w->t->unk)) return;
    tok_emit(w, w->t->unk);
}

void tok_emit_bytes(struct tok_work *w, str s)
{
    const struct tok *t = w->t;
    bool all = t->byte_fallback;
    for (size_t i = 0; i < s.n && all; i++)
        all = t->byte_id[(uint8_t)s.p[i]] >= 0;
    if (!all) {
        tok_emit_unknown(w);
        return;
    }
    for (size_t i = 0; i < s.n; i++)
        tok_emit(w, t->byte_id[(uint8_t)s.p[i]]);
}

static inline bool pair(const struct tok_work *w, const struct tok_sym *l, const struct tok_sym *r,
                        uint32_t *prio, int32_t *id)
{
    return w->t->algo == TOK_BPE ? tok_bpe_pair(w, l, r, prio, id)
                                 : tok_spm_pair(w, l, r, prio, id);
}

static void emit_symbol(struct tok_work *w, const struct tok_sym *s)
{
    if (w->t->algo == TOK_BPE)
        tok_bpe_emit(w, s);
    else
        tok_spm_emit(w, s);
}

/* Symbols are bytes, not characters. */
static inline bool bytewise(const struct tok_work *w)
{
    return w->t->algo == TOK_BPE && !w->t->raw;
}

/* How long the smallest symbol at p[at] is: a byte for byte-level BPE, else a character. */
static size_t step(const struct tok_work *w, size_t at, size_t end)
{
    if (bytewise(w) || (uint8_t)w->base[at] < 0x80) return 1;
    size_t n = 0;
    utf8_next((str){w->base + at, end - at}, &n);
    return n;
}

static struct tok_sym first_symbol(const struct tok_work *w, size_t at, size_t len)
{
    struct tok_sym s = {(uint32_t)at, (uint32_t)len, 0, 0, -1};
    if (bytewise(w)) {
        s.id = (int32_t)w->m->byte[(uint8_t)w->base[at]];
    } else {
        s.id = tok_index_find(&w->t->index, w->t->text, (str){w->base + at, len});
        if (s.id >= 0 && tok_attr_hidden(w->t->attr[s.id])) s.id = -1;
    }
    return s;
}

static void look(const struct tok_work *w, const struct tok_sym *l, uint32_t *prio, int32_t *id)
{
    if (!pair(w, l, l + 1, prio, id)) *prio = NO_PAIR;
}

/* False when the word has too many symbols for it. */
static bool merge_short(struct tok_work *w, size_t at, size_t end)
{
    struct tok_sym sym[SHORT_SYMS];
    uint32_t prio[SHORT_SYMS];
    int32_t id[SHORT_SYMS];
    size_t n = 0;
    for (size_t i = at, len; i < end; i += len) {
        if (n == SHORT_SYMS) return false;
        len = step(w, i, end);
        sym[n++] = first_symbol(w, i, len);
    }
    for (size_t i = 0; i + 1 < n; i++)
        look(w, &sym[i], &prio[i], &id[i]);
    for (;;) {
        size_t best = 0;
        uint32_t least = NO_PAIR;
        for (size_t i = 0; i + 1 < n; i++)
            if (prio[i] < least) {
                least = prio[i];
                best = i;
            }
        if (least == NO_PAIR) break;
        sym[best].len += sym[best + 1].len;
        sym[best].id = id[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            sym[i] = sym[i + 1];
            prio[i] = prio[i + 1];
            id[i] = id[i + 1];
        }
        if (best + 1 < n) look(w, &sym[best], &prio[best], &id[best]);
        if (best > 0) look(w, &sym[best - 1], &prio[best - 1], &id[best - 1]);
    }
    for (size_t i = 0; i < n; i++)
        emit_symbol(w, &sym[i]);
    return true;
}

static void heap_push(struct tok_work *w, struct tok_cand c)
{
    void *p = w->heap;
    bool good = tok_work_grow(w, &p, &w->heap_cap, w->heap_n + 1, sizeof *w->heap);
    w->heap = p;
    if (!good) return;
    size_t i = w->heap_n++;
    for (; i && w->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
}

static struct tok_cand heap_pop(struct tok_work *w)
{
    struct tok_cand top = w->heap[0], last = w->heap[--w->heap_n];
    size_t i = 0;
    for (size_t kid; (kid = 2 * i + 1) < w->heap_n; i = kid) {
        if (kid + 1 < w->heap_n && w->heap[kid + 1].key < w->heap[kid].key) kid++;
        if (w->heap[kid].key >= last.key) break;
        w->heap[i] = w->heap[kid];
    }
    w->heap[i] = last;
    return top;
}

static void offer(struct tok_work *w, int32_t left)
{
    if (left < 0 || w->sym[left].next < 0) return;
    const struct tok_sym *l = &w->sym[left], *r = &w->sym[l->next];
    uint32_t prio;
    int32_t id;
    if (pair(w, l, r, &prio, &id) && prio != NO_PAIR)
        heap_push(w, (struct tok_cand){(uint64_t)prio << 32 | (uint32_t)left, l->len + r->len, id});
}

static void merge_long(struct tok_work *w, size_t at, size_t end)
{
    size_t n = 0;
    void *p = w->sym;
    bool good = tok_work_grow(w, &p, &w->sym_cap, end - at, sizeof *w->sym);
    w->sym = p;
    if (!good) return;
    for (size_t i = at, len; i < end; i += len, n++) {
        len = step(w, i, end);
        w->sym[n] = first_symbol(w, i, len);
        w->sym[n].prev = (int32_t)n - 1;
        w->sym[n].next = i + len < end ? (int32_t)n + 1 : -1;
    }
    w->heap_n = 0;
    for (size_t i = 0; i + 1 < n; i++)
        offer(w, (int32_t)i);
    while (w->heap_n && !w->failed) {
        struct tok_cand c = heap_pop(w);
        int32_t left = (int32_t)(uint32_t)c.key;
        struct tok_sym *l = &w->sym[left];
        if (!l->len || l->next < 0 || l->len + w->sym[l->next].len != c.len) continue;
        struct tok_sym *r = &w->sym[l->next];
        l->len = c.len;
        l->id = c.id;
        l->next = r->next;
        r->len = 0;
        if (l->next >= 0) w->sym[l->next].prev = left;
        offer(w, l->prev);
        offer(w, left);
    }
    for (int32_t i = 0; i >= 0 && !w->failed; i = w->sym[i].next)
        emit_symbol(w, &w->sym[i]);
}

static void one_word(struct tok_work *w, size_t at, size_t len)
{
    const struct tok *t = w->t;
    if (!t->fuse_text) w->last = -1;
    switch (t->algo) {
    case TOK_WPM: tok_match_wpm(w, at, len); return;
    case TOK_UGM: tok_match_ugm(w, at, len); return;
    case TOK_RWKV: tok_match_rwkv(w, at, len); return;
    case TOK_SPM:
    case TOK_BPE: break;
    }
    int32_t id = t->algo == TOK_BPE ? tok_bpe_whole(w, at, len) : -1;
    if (id >= 0)
        tok_emit(w, id);
    else if (!merge_short(w, at, at + len))
        merge_long(w, at, at + len);
}

void tok_merge_word(struct tok_work *w, size_t at, size_t len)
{
    if (w->failed || !len) return;
    if (!w->seen || len > SEEN_LEN) {
        one_word(w, at, len);
        return;
    }
    str word = {w->base + at, len};
    struct tok_seen *s = &w->seen[tok_hash(word, w->t->index.seed) & w->seen_mask];
    if (s->len == len && memcmp(w->base + s->at, word.p, len) == 0) {
        if (!s->count) return;
        if (!out_room(w, s->count)) return;
        for (uint32_t i = 0; i < s->count; i++)
            w->out[w->n + i] = w->out[s->ids + i];
        w->n += s->count;
        w->last = w->out[w->n - 1];
        return;
    }
    size_t from = w->n, unknown = w->unknown;
    one_word(w, at, len);
    if (w->unknown != unknown) return; /* depends on what stood before it */
    *s = (struct tok_seen){(uint32_t)at, (uint32_t)len, (uint32_t)from, (uint32_t)(w->n - from)};
}

void tok_split_text(struct tok_work *w, size_t at, size_t end)
{
    const struct tok_stage *stage = w->t->pre.stage;
    size_t starts[TOK_STAGES_MAX], ends[TOK_STAGES_MAX];
    unsigned depth = 0;
    if (!stage[0].scan && !stage[0].split) {
        tok_merge_word(w, at, end - at);
        return;
    }
    tok_split_begin(w);
    starts[0] = at;
    ends[0] = end;
    while (at < end && !w->failed) {
        const struct tok_stage *s = &stage[depth];
        size_t to = s->split ? tok_split_next(w, depth, s->split, starts[depth], at, ends[depth])
                             : s->scan(w->base, at, ends[depth], s->arg);
        bool skip = to & TOK_SKIP;
        to &= ~TOK_SKIP;
        if (!skip && depth + 1 < TOK_STAGES_MAX && (s[1].scan || s[1].split)) {
            depth++;
            starts[depth] = at;
            ends[depth] = to;
            continue;
        }
        if (!skip) tok_merge_word(w, at, to - at);
        at = to;
        while (depth && at == ends[depth])
            depth--;
    }
}
