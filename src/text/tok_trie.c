/* tok_trie: tokens as a tree of bytes, for the kinds that look for whole tokens in text.
 *
 * The spellings are sorted once; the tree is then laid out level by level, so that the children of
 * a node lie side by side, sorted by byte, and a step is a search among them. A node costs twelve
 * bytes and there are at most as many as the vocabulary has bytes.
 *
 * Invariant: a child's index is larger than its parent's, so a walk ends.
 */
#include "text/tok_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* A spelling with its first bytes as a number that sorts like them. */
struct entry {
    uint64_t key;
    str s;
    uint32_t id;
};

static int by_text(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    int c = str_cmp(x->s, y->s);
    return c ? c : (x->id > y->id) - (x->id < y->id);
}

static uint64_t key_of(str s)
{
    uint64_t k = 0;
    for (size_t i = 0; i < 8; i++)
        k = k << 8 | (i < s.n ? (uint8_t)s.p[i] : 0);
    return k;
}

/* Entries [low, high) share their first `depth` bytes and belong below `node`. */
struct span {
    uint32_t low, high, node;
};

/* The children of one node: one for each byte that follows. Returns the new number of spans. */
static size_t expand(struct tok_trie *tr, const struct entry *e, struct span s, uint32_t depth,
                     struct span *next, size_t n_next)
{
    uint32_t i = s.low;
    for (; i < s.high && e[i].s.n == depth; i++)
        if (tr->node[s.node].id < 0) tr->node[s.node].id = (int32_t)e[i].id;
    tr->node[s.node].kid = tr->n;
    while (i < s.high) {
        uint8_t byte = (uint8_t)e[i].s.p[depth];
        uint32_t from = i;
        while (i < s.high && (uint8_t)e[i].s.p[depth] == byte)
            i++;
        next[n_next++] = (struct span){from, i, tr->n};
        tr->node[tr->n++] = (struct tok_node){.byte = byte, .id = -1};
        tr->node[s.node].n_kid++;
    }
    return n_next;
}

static enum err lay_out(struct tok_trie *tr, const struct entry *e, uint32_t n,
                        struct err_info *err)
{
    struct span *now = mem_array(n ? n : 1, sizeof *now), *next = mem_array(n ? n : 1, sizeof *now);
    enum err rc = now && next ? ERR_OK : ERR_FAIL(err, NOMEM, "no memory to index %u tokens", n);
    size_t n_now = 1;
    if (rc == ERR_OK) now[0] = (struct span){0, n, 0};
    for (uint32_t depth = 0; n_now && rc == ERR_OK; depth++) {
        size_t n_next = 0;
        for (size_t i = 0; i < n_now; i++)
            n_next = expand(tr, e, now[i], depth, next, n_next);
        struct span *t = now;
        now = next;
        next = t;
        n_now = n_next;
    }
    mem_free(now);
    mem_free(next);
    return rc;
}

enum err tok_trie_build(struct tok_trie *tr, struct arena *a, const str *text, const bool *use,
                        uint32_t n, struct err_info *err)
{
    struct entry *e = mem_array(n ? n : 1, sizeof *e);
    if (!e) return ERR_FAIL(err, NOMEM, "no memory to index %u tokens", n);
    uint32_t m = 0;
    for (uint32_t id = 0; id < n; id++)
        if (use[id] && text[id].n && text[id].n <= TOK_MATCH_LEN_MAX)
            e[m++] = (struct entry){key_of(text[id]), text[id], id};
    qsort(e, m, sizeof *e, by_text);
    size_t nodes = 1;
    for (uint32_t i = 0; i < m; i++) {
        size_t same = 0;
        while (i && same < e[i].s.n && same < e[i - 1].s.n && e[i].s.p[same] == e[i - 1].s.p[same])
            same++;
        nodes += e[i].s.n - same;
    }
    enum err rc = ERR_OK;
    tr->node = nodes < UINT32_MAX ? ARENA_NEW(a, struct tok_node, nodes) : NULL;
    if (!tr->node) {
        rc = ERR_FAIL(err, NOMEM, "no memory to index %u tokens", n);
    } else {
        tr->node[0].id = -1;
        tr->n = 1;
        rc = lay_out(tr, e, m, err);
    }
    mem_free(e);
    return rc;
}

uint32_t tok_trie_step(const struct tok_trie *tr, uint32_t node, uint8_t byte)
{
    uint32_t low = tr->node[node].kid, high = low + tr->node[node].n_kid;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (tr->node[mid].byte < byte)
            low = mid + 1;
        else if (tr->node[mid].byte > byte)
            high = mid;
        else
            return mid;
    }
    return 0;
}
