/* kv: who owns which block of the paged KV cache.
 *
 * Bookkeeping only: blocks are numbers, their contents lie in the back end. A `kv_seq` is one
 * running sequence and holds a list of blocks; a block whose KV_BLOCK positions are all computed is
 * sealed: it becomes immutable and can be found by (parent block, its tokens), so that any later
 * sequence with the same beginning takes it instead of computing it. When its last holder lets go,
 * a sealed block stays as cache until its room is needed, least recently used first.
 *
 * One owner thread. Nothing allocates after kv_new().
 */
#ifndef ENGINE_KV_H
#define ENGINE_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "compute/backend.h"

struct kv;

struct kv_seq {
    uint32_t *blocks;  /* the caller's array, room for kv_blocks_for(longest sequence) */
    uint32_t n_blocks; /* held */
    uint32_t n_pos;    /* positions computed */
    bool unshared;     /* neither take blocks of others nor leave any behind */
    uint32_t kind;     /* < KV_KINDS: the same tokens mean the same keys only within a kind */
};

#define KV_KINDS 2

/* Copies the first n positions of block `from` to block `to`, in all layers. */
typedef void kv_copy_fn(void *owner, uint32_t from, uint32_t to, uint32_t n);

/* ---- life cycle ---- */
MUST_CHECK enum err kv_new(struct kv **out, uint32_t n_blocks, kv_copy_fn *copy, void *owner,
                           struct err_info *e);
void kv_free(struct kv *kv); /* no sequence may hold a block */
/* Bytes that kv_new() allocates. */
uint64_t kv_bytes(uint32_t n_blocks);

/* ---- use ---- */
uint32_t kv_blocks_for(uint32_t n_pos);
/* Makes the sequence hold enough blocks for n_pos positions, dropping cached ones where it must.
 * False, and nothing changed, when there are not enough. */
bool kv_grow(struct kv *kv, struct kv_seq *s, uint32_t n_pos);
/* Takes over what the cache knows of tok[n_pos..limit): n_pos advances past it; returns by how
 * many. Does nothing unless n_pos is a multiple of KV_BLOCK. Blocks already held beyond n_pos are
 * used or given back. */
uint32_t kv_reuse(struct kv *kv, struct kv_seq *s, const int32_t *tok, uint32_t limit);
/* How many of the blocks that the sequence, still fresh, would take for these tokens are held by
 * running sequences, that is, cost nothing. */
uint32_t kv_peek(const struct kv *kv, const struct kv_seq *s, const int32_t *tok, uint32_t limit);
/* The next n positions are computed; tok is the whole sequence from its first token. */
void kv_commit(struct kv *kv, struct kv_seq *s, const int32_t *tok, uint32_t n);
/* Lets go of everything; what was computed stays findable while there is room. */
void kv_release(struct kv *kv, struct kv_seq *s, const int32_t *tok);

/* ---- inspect ---- */
uint32_t kv_total(const struct kv *kv);
uint32_t kv_live(const struct kv *kv);  /* held by sequences */
uint32_t kv_idle(const struct kv *kv);  /* cached, held by nobody */
uint32_t kv_avail(const struct kv *kv); /* free or idle: what kv_grow() can hand out */
/* NULL, or the first broken invariant in words. Linear in the pool squared: for tests. */
const char *kv_check(const struct kv *kv);

#endif
