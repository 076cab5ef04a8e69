/* tok_bpe: byte-level BPE, as GPT-2 defined it.
 *
 * Text is cut into words by the stages of a pre-tokenizer (tok_pre.c), the symbols of a word are
 * its bytes, and two neighbours join if the list of merges names them, lowest rank first. The
 * vocabulary spells bytes as characters (GPT-2's table: printable ones as themselves, the others
 * from U+0100 up); here text stays bytes and only the 256 single symbols and whole words are ever
 * spelled.
 *
 * The list of merges is turned into a hash table of pairs of ids by the first call that needs it
 * (once, under a lock). The result of a merge is mostly the token after the previous merge's
 * result, so that one is tried before the index is asked. A part or a result that the vocabulary
 * lacks gets an id beyond it, which can still merge on; what is left of such symbols is written as
 * bytes. Vocabularies that come as ranks have no list: there any two tokens join whose text is a
 * token, and the pairs are found by cutting every token in all ways.
 *
 * A `raw` vocabulary spells text as it is, so its symbols are characters; one that is no token
 * falls back to bytes or to the unknown token.
 *
 * Sources: openai/gpt-2 encoder.py; the order of ties and the treatment of symbols that are no
 * tokens follow llama.cpp.
 */
#include "text/tok_int.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"

#define K1 0x9E3779B97F4A7C15ull

/* GPT-2's table: the bytes that are not printable Latin-1 go to U+0100 and up, in order. */
static bool plain_byte(unsigned b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

uint32_t tok_bpe_point(unsigned byte)
{
    if (plain_byte(byte)) return byte;
    if (byte <= 0x20) return 0x100 + byte;
    if (byte <= 0xA0) return 0x121 + byte - 0x7F;
    return 0x143;
}

int tok_bpe_byte(uint32_t cp)
{
    if (cp < 256) return plain_byte(cp) ? (int)cp : -1;
    if (cp <= 0x120) return (int)(cp - 0x100);
    if (cp <= 0x142) return (int)(cp - 0x121 + 0x7F);
    return cp == 0x143 ? 0xAD : -1;
}

/* ---- the table of merges ---- */

/* Symbols that the vocabulary lacks: ids from t->n up. */
struct extra {
    struct tok_index index;
    str *text;
    uint32_t n, cap;
};

static bool extra_grow(struct extra *x)
{
    uint32_t cap = x->cap ? x->cap * 2 : 512;
    str *text = mem_array(cap, sizeof *text);
    struct tok_slot *slot = mem_array((size_t)cap * 2, sizeof *slot);
    if (!text || !slot) {
        mem_free(text);
        mem_free(slot);
        return false;
    }
    if (x->n) memcpy(text, x->text, x->n * sizeof *text);
    mem_free(x->text);
    mem_free(x->index.slot);
    x->text = text;
    x->cap = cap;
    x->index.slot = slot;
    x->index.mask = (size_t)cap * 2 - 1;
    for (uint32_t i = 0; i < x->n; i++) {
        uint64_t h = tok_hash(text[i], x->index.seed);
        size_t at = (size_t)h & x->index.mask;
        while (slot[at].id1)
            at = (at + 1) & x->index.mask;
        slot[at] = (struct tok_slot){(uint32_t)(h >> 32), i + 1};
    }
    return true;
}

struct build {
    const struct tok *t;
    struct tok_merges *m;
    struct extra extra;
    bool failed;
};

/* The id of a spelling with its hash. `keep`: its bytes live as long as the table does. */
static uint32_t symbol(struct build *b, str s, uint64_t h, bool keep)
{
    int32_t id = tok_index_find_hash(&b->t->index, b->t->text, s, h);
    if (id >= 0) return (uint32_t)id;
    struct extra *x = &b->extra;
    if (x->n) {
        id = tok_index_find_hash(&x->index, x->text, s, h);
        if (id >= 0) return b->t->n + (uint32_t)id;
    }
    if (x->n == x->cap && !extra_grow(x)) b->failed = true;
    if (!keep) s = arena_str(&b->m->arena, s);
    if (!s.p) b->failed = true;
    if (b->failed) return 0;
    size_t at = (size_t)h & x->index.mask;
    while (x->index.slot[at].id1)
        at = (at + 1) & x->index.mask;
    x->index.slot[at] = (struct tok_slot){(uint32_t)(h >> 32), x->n + 1};
    x->text[x->n] = s;
    return b->t->n + x->n++;
}

static inline size_t pair_slot(const struct tok_merges *m, uint64_t key, uint64_t seed)
{
    return (size_t)tok_mix(key ^ seed, K1) & m->mask;
}

static void put_pair(struct build *b, uint32_t l, uint32_t r, uint32_t rank, uint32_t id)
{
    struct tok_merges *m = b->m;
    uint64_t key = ((uint64_t)l << 32 | r) + 1;
    size_t i = pair_slot(m, key, b->t->index.seed);
    for (; m->pair[i].key; i = (i + 1) & m->mask)
        if (m->pair[i].key == key) return; /* the first rank stands */
    m->pair[i] = (struct tok_pair){key, rank, id};
}

#define BATCH      32
#define BATCH_TEXT 64

/* One merge on its way into the table: left, right and their join. */
struct merge {
    uint32_t rank;
    str part[3];
    uint64_t hash[3];
    uint32_t id[3];
    char text[BATCH_TEXT]; /* of part[2], where it fits */
};

/* False for an entry that is no merge. */
static bool read_merge(const struct tok *t, uint32_t rank, struct merge *m)
{
    str l, r;
    if (t->merge_pairs) {
        l = t->merge[2 * (size_t)rank];
        r = t->merge[2 * (size_t)rank + 1];
    } else {
        str s = t->merge[rank];
        const char *space = s.n > 1 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
        if (!space) return false;
        l = (str){s.p, (size_t)(space - s.p)};
        r = (str){space + 1, s.n - (size_t)(space - s.p) - 1};
    }
    if (l.n == 0 || r.n == 0 || l.n + r.n > TOK_MERGE_LEN_MAX) return false;
    m->rank = rank;
    m->part[0] = l;
    m->part[1] = r;
    m->part[2] = (str){NULL, l.n + r.n};
    if (l.n + r.n <= BATCH_TEXT) {
        memcpy(m->text, l.p, l.n);
        memcpy(m->text + l.n, r.p, r.n);
        m->part[2].p = m->text;
    }
    for (size_t k = 0; k < 3; k++) {
        if (!m->part[k].p) continue;
        m->hash[k] = tok_hash(m->part[k], t->index.seed);
        __builtin_prefetch(&t->index.slot[m->hash[k] & t->index.mask]);
    }
    return true;
}

/* Two steps further: the spelling that the slot names, then its bytes. */
static void touch(const struct tok *t, const struct merge *m, bool bytes)
{
    for (size_t k = 0; k < 3; k++) {
        const str *s = m->part[k].p ? tok_index_likely(&t->index, t->text, m->hash[k]) : NULL;
        if (!s) continue;
        if (bytes)
            __builtin_prefetch(s->p);
        else
            __builtin_prefetch(s);
    }
}

static void resolve(struct build *b, struct merge *m)
{
    if (m->part[2].p) {
        m->id[2] = symbol(b, m->part[2], m->hash[2], false);
    } else {
        char text[TOK_MERGE_LEN_MAX];
        memcpy(text, m->part[0].p, m->part[0].n);
        memcpy(text + m->part[0].n, m->part[1].p, m->part[1].n);
        str s = {text, m->part[2].n};
        m->id[2] = symbol(b, s, tok_hash(s, b->t->index.seed), false);
    }
    for (size_t k = 0; k < 2; k++)
        m->id[k] = symbol(b, m->part[k], m->hash[k], true);
    uint64_t key = ((uint64_t)m->id[0] << 32 | m->id[1]) + 1;
    __builtin_prefetch(&b->m->pair[pair_slot(b->m, key, b->t->index.seed)], 1);
}

static void add_merges(struct build *b)
{
    struct merge m[BATCH];
    for (size_t rank = 0; rank < b->t->n_merges && !b->failed;) {
        size_t n = 0;
        for (; n < BATCH && rank < b->t->n_merges; rank++)
            n += read_merge(b->t, (uint32_t)rank, &m[n]);
        for (size_t i = 0; i < n; i++)
            touch(b->t, &m[i], false);
        for (size_t i = 0; i < n; i++)
            touch(b->t, &m[i], true);
        for (size_t i = 0; i < n && !b->failed; i++)
            resolve(b, &m[i]);
        for (size_t i = 0; i < n && !b->failed; i++)
            put_pair(b, m[i].id[0], m[i].id[1], m[i].rank, m[i].id[2]);
    }
}

static void merges_free(struct tok_merges *m)
{
    if (!m) return;
    arena_fini(&m->arena);
    mem_free(m->pair);
    mem_free(m);
}

/* ---- merges from ranks ---- */

/* Every way to cut a token into two tokens, for all of them, as {left, right, token}. */
struct cuts {
    uint32_t (*cut)[3];
    size_t n, cap;
};

static bool add_cut(struct cuts *c, int32_t left, int32_t right, uint32_t id)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 4096, bytes;
        void *p = mem_mul(cap, sizeof *c->cut, &bytes) ? mem_resize(c->cut, bytes) : NULL;
        if (!p) return false;
        c->cut = p;
        c->cap = cap;
    }
    uint32_t *cut = c->cut[c->n++];
    cut[0] = (uint32_t)left;
    cut[1] = (uint32_t)right;
    cut[2] = id;
    return true;
}

static bool find_cuts(const struct tok *t, struct cuts *c)
{
    for (uint32_t id = 0; id < t->n; id++) {
        str s = t->text[id];
        if (tok_attr_kind(t->attr[id]) != TOK_NORMAL || s.n > TOK_RANK_LEN_MAX) continue;
        for (size_t at = 0; at < s.n;) {
            utf8_next(s, &at);
            if (at >= s.n) break;
            int32_t left = tok_index_find(&t->index, t->text, str_sub(s, 0, at));
            if (left < 0 || tok_attr_kind(t->attr[left]) != TOK_NORMAL) continue;
            int32_t right = tok_index_find(&t->index, t->text, str_sub(s, at, SIZE_MAX));
            if (right < 0 || tok_attr_kind(t->attr[right]) != TOK_NORMAL) continue;
            if (!add_cut(c, left, right, id)) return false;
        }
    }
    return true;
}

static bool alloc_pairs(struct tok_merges *m, size_t n)
{
    size_t slots = 16;
    while (slots < n + n / 2)
        slots *= 2;
    m->pair = mem_array(slots, sizeof *m->pair);
    m->mask = slots - 1;
    return m->pair != NULL;
}

static void add_ranks(struct build *b)
{
    struct cuts c = {0};
    b->failed = !find_cuts(b->t, &c) || !alloc_pairs(b->m, c.n);
    for (size_t i = 0; i < c.n && !b->failed; i++)
        put_pair(b, c.cut[i][0], c.cut[i][1], c.cut[i][2], c.cut[i][2]);
    mem_free(c.cut);
}

static struct tok_merges *merges_new(const struct tok *t)
{
    struct tok_merges *m = mem_alloc(sizeof *m);
    if (!m) return NULL;
    arena_init(&m->arena, LIMIT_TOK_ARENA);
    struct build b = {.t = t, .m = m};
    b.extra.index.seed = t->index.seed;
    for (unsigned i = 0; i < 256 && !b.failed && !t->raw; i++) {
        char c[4];
        str s = {c, utf8_put(c, tok_bpe_point(i))};
        m->byte[i] = symbol(&b, s, tok_hash(s, t->index.seed), false);
    }
    if (!b.failed && t->by_rank)
        add_ranks(&b);
    else if (!b.failed && alloc_pairs(m, t->n_merges))
        add_merges(&b);
    else
        b.failed = true;
    mem_free(b.extra.text);
    mem_free(b.extra.index.slot);
    if (!b.failed) return m;
    merges_free(m);
    return NULL;
}

enum err tok_bpe_prepare(struct tok_work *w, struct err_info *e)
{
    /* Everything but the lock and this pointer is immutable once opened. */
    struct tok *t = (struct tok *)(uintptr_t)w->t;
    struct tok_merges *m = atomic_load_explicit(&t->merges, memory_order_acquire);
    if (!m) {
        pthread_mutex_lock(&t->lock);
        m = atomic_load_explicit(&t->merges, memory_order_relaxed);
        if (!m) {
            m = merges_new(t);
            atomic_store_explicit(&t->merges, m, memory_order_release);
        }
        pthread_mutex_unlock(&t->lock);
    }
    w->m = m;
    if (!m) return ERR_FAIL(e, NOMEM, "no memory for a table of %zu merges", t->n_merges);
    return ERR_OK;
}

void tok_bpe_free(struct tok *t)
{
    merges_free(atomic_load(&t->merges));
}

/* ---- use ---- */

bool tok_bpe_pair(const struct tok_work *w, const struct tok_sym *l, const struct tok_sym *r,
                  uint32_t *prio, int32_t *id)
{
    const struct tok_merges *m = w->m;
    uint64_t key = ((uint64_t)(uint32_t)l->id << 32 | (uint32_t)r->id) + 1;
    for (size_t i = pair_slot(m, key, w->t->index.seed); m->pair[i].key; i = (i + 1) & m->mask) {
        if (m->pair[i].key != key) continue;
        *prio = m->pair[i].rank;
        *id = (int32_t)m->pair[i].id;
        return true;
    }
    return false;
}

void tok_bpe_emit(struct tok_work *w, const struct tok_sym *s)
{
    const struct tok *t = w->t;
    if ((uint32_t)s->id < t->n) {
        tok_emit(w, s->id);
        return;
    }
    if (t->raw) {
        tok_emit_bytes(w, (str){w->base + s->at, s->len});
        return;
    }
    for (uint32_t i = 0; i < s->len; i++) {
        uint32_t id = w->m->byte[(uint8_t)w->base[s->at + i]];
        if (id < t->n) tok_emit(w, (int32_t)id);
    }
}

int32_t tok_bpe_whole(const struct tok_work *w, size_t at, size_t len)
{
    const struct tok *t = w->t;
    char spelled[2 * 256];
    if (!t->pre.ignore_merges && !(t->pre.whole_lines && w->base[at] == '\n')) return -1;
    if (len > t->text_max) return -1;
    if (t->raw) {
        int32_t raw = tok_index_find(&t->index, t->text, (str){w->base + at, len});
        return raw >= 0 && tok_attr_kind(t->attr[raw]) == TOK_NORMAL ? raw : -1;
    }
    if (len > sizeof spelled / 2) return -1;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t b = (uint8_t)w->base[at + i];
        if (b >= 0x21 && b <= 0x7E)
            spelled[n++] = (char)b;
        else
            n += utf8_put(spelled + n, tok_bpe_point(b));
    }
    int32_t id = tok_index_find(&t->index, t->text, (str){spelled, n});
    return id >= 0 && !tok_attr_hidden(t->attr[id]) ? id : -1;
}

str tok_bpe_spell(struct arena *a, str bytes)
{
    char *p = bytes.n <= SIZE_MAX / 2 - 1 ? arena_alloc(a, bytes.n * 2 + 1, 1) : NULL;
    if (!p) return (str){NULL, 0};
    size_t n = 0;
    for (size_t i = 0; i < bytes.n; i++)
        n += utf8_put(p + n, tok_bpe_point((uint8_t)bytes.p[i]));
    return (str){p, n};
}
