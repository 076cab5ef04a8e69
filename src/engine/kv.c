/* kv: the block pool of the paged KV cache, with shared prefixes.
 *
 * Every block is in one of three states:
 *   free   nobody holds it and it means nothing: in the free list;
 *   live   `ref` sequences hold it;
 *   idle   nobody holds it but it is cached: in the LRU list, oldest first.
 * A cached block is a node of a tree: its parent is the cached block of the positions before it (or
 * the root of its sequence's kind), its key the tokens it stands for. Sealed blocks, all KV_BLOCK
 * tokens, are also in a hash table keyed by (parent, tokens); the unfinished last block of a
 * released sequence is in the tree only. A cached block is never written, so a sequence that needs
 * the first part of one copies that part into a block of its own.
 *
 * Invariants:
 *   - free + live + idle = all blocks;
 *   - whoever holds a block holds its parent, so an idle block has only idle children;
 *   - sequences let go of their blocks last to first, so an idle block is younger than all its
 *     children: the head of the LRU list is always a leaf and eviction never orphans anything;
 *   - two cached siblings never have the same KV_BLOCK tokens: the later one is dropped for the
 * first.
 *
 * Left out: contents, which belong to the back end; moving blocks to slower memory.
 */
#include "engine/kv.h"

#include <string.h>

#include "base/mem.h"

#define NONE UINT32_MAX

struct block {
    uint32_t ref;
    uint32_t parent; /* cached: a cached block or a root */
    uint32_t child;  /* first of its children */
    uint32_t sib_next, sib_prev;
    uint32_t lru_next, lru_prev; /* idle; free blocks are chained by lru_next */
    uint32_t hash_next;
    uint32_t n_tok; /* tokens below; KV_BLOCK: sealed */
    bool cached;
    int32_t tok[KV_BLOCK];
};

struct kv {
    struct block *b; /* [n + KV_KINDS]; the last are the roots */
    uint32_t *bucket;
    uint32_t n, mask;
    uint32_t free_head, lru_head, lru_tail;
    uint32_t n_free, n_idle;
    kv_copy_fn *copy;
    void *owner;
};

uint32_t kv_blocks_for(uint32_t n_pos)
{
    return n_pos / KV_BLOCK + (n_pos % KV_BLOCK != 0);
}

static uint32_t bucket_count(uint32_t n_blocks)
{
    uint32_t c = 16;
    while (c < n_blocks && c < (1u << 30))
        c *= 2;
    return c;
}

uint64_t kv_bytes(uint32_t n_blocks)
{
    return ((uint64_t)n_blocks + KV_KINDS) * sizeof(struct block) +
           (uint64_t)bucket_count(n_blocks) * sizeof(uint32_t) + sizeof(struct kv);
}

enum err kv_new(struct kv **out, uint32_t n_blocks, kv_copy_fn *copy, void *owner,
                struct err_info *e)
{
    ASSERT(n_blocks > 0 && n_blocks < NONE - KV_KINDS);
    uint32_t n_bucket = bucket_count(n_blocks);
    struct kv *kv = mem_alloc(sizeof *kv);
    struct block *b = mem_array((size_t)n_blocks + KV_KINDS, sizeof *b);
    uint32_t *bucket = mem_array(n_bucket, sizeof *bucket);
    if (!kv || !b || !bucket) {
        mem_free(bucket);
        mem_free(b);
        mem_free(kv);
        return ERR_FAIL(e, NOMEM, "no memory for the table of %u cache blocks", n_blocks);
    }
    *kv = (struct kv){.b = b,
                      .bucket = bucket,
                      .n = n_blocks,
                      .mask = n_bucket - 1,
                      .copy = copy,
                      .owner = owner,
                      .free_head = 0,
                      .lru_head = NONE,
                      .lru_tail = NONE,
                      .n_free = n_blocks};
    for (uint32_t i = 0; i < n_bucket; i++)
        bucket[i] = NONE;
    for (uint32_t i = 0; i < n_blocks + KV_KINDS; i++) {
        b[i].child = NONE;
        b[i].lru_next = i + 1 < n_blocks ? i + 1 : NONE;
        b[i].cached = i >= n_blocks; /* the roots, held for ever */
        b[i].ref = i >= n_blocks ? UINT32_MAX : 0;
    }
    *out = kv;
    return ERR_OK;
}

void kv_free(struct kv *kv)
{
    if (!kv) return;
    ASSERT(kv_live(kv) == 0);
    mem_free(kv->bucket);
    mem_free(kv->b);
    mem_free(kv);
}

/* ---- the tree of cached blocks ---- */

static uint32_t *bucket_of(const struct kv *kv, uint32_t parent, const int32_t *tok)
{
    uint64_t h = 0xcbf29ce484222325u ^ parent;
    for (uint32_t i = 0; i < KV_BLOCK; i++)
        h = (h ^ (uint32_t)tok[i]) * 0x100000001b3u;
    return &kv->bucket[(h ^ (h >> 32)) & kv->mask];
}

static uint32_t lookup(const struct kv *kv, uint32_t parent, const int32_t *tok)
{
    uint32_t i = *bucket_of(kv, parent, tok);
    while (i != NONE &&
           (kv->b[i].parent != parent || memcmp(kv->b[i].tok, tok, sizeof kv->b[i].tok) != 0))
        i = kv->b[i].hash_next;
    return i;
}

static void cache_add(struct kv *kv, uint32_t i, uint32_t parent, const int32_t *tok, uint32_t n)
{
    struct block *b = &kv->b[i], *p = &kv->b[parent];
    ASSERT(!b->cached && p->cached && n > 0 && n <= KV_BLOCK);
    memcpy(b->tok, tok, n * sizeof *tok);
    b->n_tok = n;
    b->cached = true;
    b->parent = parent;
    b->child = NONE;
    b->sib_prev = NONE;
    b->sib_next = p->child;
    if (p->child != NONE) kv->b[p->child].sib_prev = i;
    p->child = i;
    if (n == KV_BLOCK) {
        uint32_t *head = bucket_of(kv, parent, tok);
        b->hash_next = *head;
        *head = i;
    }
}

static void cache_remove(struct kv *kv, uint32_t i)
{
    struct block *b = &kv->b[i];
    ASSERT(b->cached && b->child == NONE);
    if (b->n_tok == KV_BLOCK) {
        uint32_t *at = bucket_of(kv, b->parent, b->tok);
        while (*at != i)
            at = &kv->b[*at].hash_next;
        *at = b->hash_next;
    }
    if (b->sib_next != NONE) kv->b[b->sib_next].sib_prev = b->sib_prev;
    if (b->sib_prev != NONE)
        kv->b[b->sib_prev].sib_next = b->sib_next;
    else
        kv->b[b->parent].child = b->sib_next;
    b->cached = false;
}

/* The child of `parent` that shares the longest beginning with tok[0..n); *common is how long. */
static uint32_t closest_child(const struct kv *kv, uint32_t parent, const int32_t *tok, uint32_t n,
                              uint32_t *common)
{
    uint32_t best = NONE;
    *common = 0;
    for (uint32_t i = kv->b[parent].child; i != NONE; i = kv->b[i].sib_next) {
        const struct block *b = &kv->b[i];
        uint32_t most = b->n_tok < n ? b->n_tok : n, same = 0;
        while (same < most && b->tok[same] == tok[same])
            same++;
        if (same > *common) {
            *common = same;
            best = i;
            if (same == n) break;
        }
    }
    return best;
}

/* ---- states ---- */

static void lru_remove(struct kv *kv, uint32_t i)
{
    struct block *b = &kv->b[i];
    if (b->lru_prev != NONE)
        kv->b[b->lru_prev].lru_next = b->lru_next;
    else
        kv->lru_head = b->lru_next;
    if (b->lru_next != NONE)
        kv->b[b->lru_next].lru_prev = b->lru_prev;
    else
        kv->lru_tail = b->lru_prev;
    kv->n_idle--;
}

static void lru_append(struct kv *kv, uint32_t i)
{
    struct block *b = &kv->b[i];
    b->lru_next = NONE;
    b->lru_prev = kv->lru_tail;
    if (kv->lru_tail != NONE)
        kv->b[kv->lru_tail].lru_next = i;
    else
        kv->lru_head = i;
    kv->lru_tail = i;
    kv->n_idle++;
}

/* One more holder of a cached block. */
static void take(struct kv *kv, uint32_t i)
{
    if (kv->b[i].ref++ == 0) lru_remove(kv, i);
}

static void drop(struct kv *kv, uint32_t i)
{
    struct block *b = &kv->b[i];
    ASSERT(b->ref > 0);
    if (--b->ref > 0) return;
    if (b->cached) {
        lru_append(kv, i);
    } else {
        b->lru_next = kv->free_head;
        kv->free_head = i;
        kv->n_free++;
    }
}

/* A fresh block with one holder, or NONE. */
static uint32_t obtain(struct kv *kv)
{
    uint32_t i = kv->free_head;
    if (i != NONE) {
        kv->free_head = kv->b[i].lru_next;
        kv->n_free--;
    } else {
        i = kv->lru_head;
        if (i == NONE) return NONE;
        lru_remove(kv, i);
        cache_remove(kv, i);
    }
    kv->b[i].ref = 1;
    return i;
}

/* ---- use ---- */

bool kv_grow(struct kv *kv, struct kv_seq *s, uint32_t n_pos)
{
    uint32_t want = kv_blocks_for(n_pos);
    if (want <= s->n_blocks) return true;
    if (want - s->n_blocks > kv_avail(kv)) return false;
    while (s->n_blocks < want)
        s->blocks[s->n_blocks++] = obtain(kv);
    return true;
}

static uint32_t parent_of(const struct kv *kv, const struct kv_seq *s, uint32_t index)
{
    return index ? s->blocks[index - 1] : kv->n + s->kind;
}

/* Puts cached block i at `index`, giving back the block the sequence had there. */
static void place(struct kv *kv, struct kv_seq *s, uint32_t index, uint32_t i)
{
    take(kv, i);
    if (index < s->n_blocks)
        drop(kv, s->blocks[index]);
    else
        s->n_blocks++;
    s->blocks[index] = i;
}

uint32_t kv_reuse(struct kv *kv, struct kv_seq *s, const int32_t *tok, uint32_t limit)
{
    uint32_t start = s->n_pos, index = s->n_pos / KV_BLOCK, common;
    if (s->unshared || s->n_pos % KV_BLOCK != 0) return 0;
    for (; s->n_pos + KV_BLOCK <= limit; index++, s->n_pos += KV_BLOCK) {
        uint32_t i = lookup(kv, parent_of(kv, s, index), tok + s->n_pos);
        if (i == NONE) break;
        place(kv, s, index, i);
    }
    uint32_t rest = limit > s->n_pos ? limit - s->n_pos : 0;
    if (rest > KV_BLOCK) rest = KV_BLOCK;
    if (rest == 0) return s->n_pos - start;
    uint32_t from = closest_child(kv, parent_of(kv, s, index), tok + s->n_pos, rest, &common);
    if (from == NONE) return s->n_pos - start;
    take(kv, from); /* so that making room does not evict it */
    if (index < s->n_blocks || kv_grow(kv, s, s->n_pos + 1)) {
        kv->copy(kv->owner, from, s->blocks[index], common);
        s->n_pos += common;
    }
    drop(kv, from);
    return s->n_pos - start;
}

uint32_t kv_peek(const struct kv *kv, const struct kv_seq *s, const int32_t *tok, uint32_t limit)
{
    uint32_t parent = kv->n + s->kind, held = 0;
    if (s->unshared) return 0;
    for (uint32_t at = 0; at + KV_BLOCK <= limit; at += KV_BLOCK) {
        parent = lookup(kv, parent, tok + at);
        if (parent == NONE || kv->b[parent].ref == 0) break;
        held++;
    }
    return held;
}

void kv_commit(struct kv *kv, struct kv_seq *s, const int32_t *tok, uint32_t n)
{
    uint32_t index = s->n_pos / KV_BLOCK;
    s->n_pos += n;
    ASSERT(kv_blocks_for(s->n_pos) <= s->n_blocks);
    if (s->unshared) return;
    for (; (index + 1) * KV_BLOCK <= s->n_pos; index++) {
        const int32_t *t = tok + (size_t)index * KV_BLOCK;
        uint32_t parent = parent_of(kv, s, index), twin = lookup(kv, parent, t);
        if (twin == NONE)
            cache_add(kv, s->blocks[index], parent, t, KV_BLOCK);
        else if (twin != s->blocks[index])
            place(kv, s, index, twin);
    }
}

void kv_release(struct kv *kv, struct kv_seq *s, const int32_t *tok)
{
    uint32_t index = s->n_pos / KV_BLOCK, tail = s->n_pos % KV_BLOCK, common;
    if (tail > 0 && !s->unshared) {
        const int32_t *t = tok + (size_t)index * KV_BLOCK;
        uint32_t parent = parent_of(kv, s, index);
        closest_child(kv, parent, t, tail, &common);
        if (common < tail) cache_add(kv, s->blocks[index], parent, t, tail);
    }
    while (s->n_blocks > 0)
        drop(kv, s->blocks[--s->n_blocks]);
    s->n_pos = 0;
}

/* ---- inspect ---- */

uint32_t kv_total(const struct kv *kv)
{
    return kv->n;
}

uint32_t kv_live(const struct kv *kv)
{
    return kv->n - kv->n_free - kv->n_idle;
}

uint32_t kv_idle(const struct kv *kv)
{
    return kv->n_idle;
}

uint32_t kv_avail(const struct kv *kv)
{
    return kv->n_free + kv->n_idle;
}

/* What is wrong with one cached block's place in the tree, or NULL. */
static const char *check_node(const struct kv *kv, uint32_t i)
{
    const struct block *b = &kv->b[i], *p = &kv->b[b->parent];
    uint32_t n = 0;
    if (!p->cached) return "a cached block's parent is not cached";
    if (b->ref > p->ref) return "a block has more holders than its parent";
    if (p->n_tok != KV_BLOCK && b->parent < kv->n) return "an unfinished block has a child";
    if (b->n_tok == KV_BLOCK && lookup(kv, b->parent, b->tok) != i)
        return "a sealed block is not found, or has a twin";
    for (uint32_t c = p->child; c != NONE; c = kv->b[c].sib_next)
        n += c == i;
    if (n != 1) return "a block is not among its parent's children";
    if (b->ref == 0) { /* idle: the parent must come later in the LRU list, or be live */
        uint32_t at = i;
        while (p->ref == 0 && at != NONE && at != b->parent)
            at = kv->b[at].lru_next;
        if (at == NONE) return "a parent is older than its child";
    }
    return NULL;
}

const char *kv_check(const struct kv *kv)
{
    uint32_t n_free = 0, n_idle = 0, n_live = 0;
    for (uint32_t i = kv->free_head; i != NONE; i = kv->b[i].lru_next, n_free++)
        if (kv->b[i].ref || kv->b[i].cached || n_free > kv->n) return "the free list is wrong";
    for (uint32_t i = kv->lru_head; i != NONE; i = kv->b[i].lru_next, n_idle++)
        if (kv->b[i].ref || !kv->b[i].cached || n_idle > kv->n) return "the LRU list is wrong";
    for (uint32_t i = 0; i < kv->n; i++) {
        const char *why = kv->b[i].cached ? check_node(kv, i) : NULL;
        if (why) return why;
        n_live += kv->b[i].ref > 0;
    }
    if (n_free != kv->n_free || n_idle != kv->n_idle || n_free + n_idle + n_live != kv->n)
        return "the counts do not add up";
    return NULL;
}
