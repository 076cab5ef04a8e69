/* tok_index: tokens by spelling, and special tokens in text.
 *
 * The index is one open-addressing table over the spellings, built in one pass; a slot keeps half
 * of the hash, so that a probe reads a spelling only when it is almost surely the right one. The
 * hash is seeded from the system. Special tokens lie sorted; the longest one at a position is found
 * by narrowing the range of candidates byte by byte, so the cost there is bounded by the longest of
 * them, not by their number.
 *
 * Invariant: the table is at most half full, so a probe ends.
 */
#include "text/tok_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"

#define K1 0x9E3779B97F4A7C15ull
#define K2 0xD6E8FEB86659FD93ull

static inline uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

uint64_t tok_hash(str s, uint64_t seed)
{
    uint64_t h = seed ^ (s.n * K1);
    const char *p = s.p;
    size_t n = s.n;
    for (; n > 8; p += 8, n -= 8)
        h = tok_mix(h ^ load(p, 8), K2);
    if (n >= 4)
        h ^= load(p, 4) | load(p + n - 4, 4) << 32;
    else if (n)
        h ^= (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8 |
             (uint64_t)(uint8_t)p[n - 1] << 16;
    h = tok_mix(h, K1);
    return h ^ h >> 29;
}

int32_t tok_index_find_hash(const struct tok_index *ix, const str *text, str s, uint64_t h)
{
    uint32_t tag = (uint32_t)(h >> 32);
    for (size_t i = (size_t)h & ix->mask; ix->slot[i].id1; i = (i + 1) & ix->mask) {
        if (ix->slot[i].tag != tag) continue;
        const str *have = &text[ix->slot[i].id1 - 1];
        if (have->n == s.n && (s.n == 0 || memcmp(have->p, s.p, s.n) == 0))
            return (int32_t)(ix->slot[i].id1 - 1);
    }
    return -1;
}

int32_t tok_index_find(const struct tok_index *ix, const str *text, str s)
{
    return tok_index_find_hash(ix, text, s, tok_hash(s, ix->seed));
}

const str *tok_index_likely(const struct tok_index *ix, const str *text, uint64_t h)
{
    uint32_t tag = (uint32_t)(h >> 32);
    for (size_t i = (size_t)h & ix->mask; ix->slot[i].id1; i = (i + 1) & ix->mask)
        if (ix->slot[i].tag == tag) return &text[ix->slot[i].id1 - 1];
    return NULL;
}

enum err tok_index_build(struct tok *t, struct err_info *e)
{
    struct tok_index *ix = &t->index;
    size_t slots = 16;
    while (slots < (size_t)t->n * 2)
        slots *= 2;
    ix->slot = ARENA_NEW(&t->arena, struct tok_slot, slots);
    if (!ix->slot) return ERR_FAIL(e, NOMEM, "no memory to index %u tokens", t->n);
    ix->mask = slots - 1;
    if (os_random(&ix->seed, sizeof ix->seed, NULL) != ERR_OK) ix->seed = (uintptr_t)t * K1;

    for (uint32_t id = 0; id < t->n; id++) {
        str s = t->text[id];
        uint64_t h = tok_hash(s, ix->seed);
        uint32_t tag = (uint32_t)(h >> 32);
        size_t i = (size_t)h & ix->mask;
        bool known = false;
        for (; ix->slot[i].id1 && !known; i = (i + 1) & ix->mask)
            known = ix->slot[i].tag == tag && str_eq(t->text[ix->slot[i].id1 - 1], s);
        if (!known) ix->slot[i] = (struct tok_slot){tag, id + 1};
    }
    return ERR_OK;
}

static int by_text(const void *a, const void *b)
{
    const struct tok_special *x = a, *y = b;
    int c = str_cmp(x->text, y->text);
    return c ? c : (x->id > y->id) - (x->id < y->id);
}

static bool is_special(const struct tok *t, uint32_t id)
{
    enum tok_kind k = tok_attr_kind(t->attr[id]);
    return (k == TOK_CONTROL || k == TOK_USER || k == TOK_UNKNOWN) && t->text[id].n > 0 &&
           t->text[id].n <= TOK_SPECIAL_LEN_MAX;
}

enum err tok_special_build(struct tok *t, struct err_info *e)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < t->n; id++)
        n += is_special(t, id);
    t->special = ARENA_NEW(&t->arena, struct tok_special, n ? n : 1);
    if (!t->special) return ERR_FAIL(e, NOMEM, "no memory for %u special tokens", n);
    for (uint32_t id = 0; id < t->n; id++)
        if (is_special(t, id)) {
            t->special[t->n_special++] = (struct tok_special){t->text[id], (int32_t)id};
            if (!tok_attr_hidden(t->attr[id])) t->user_special = true;
        }
    qsort(t->special, n, sizeof *t->special, by_text);
    uint32_t at = 0;
    for (unsigned b = 0; b < 256; b++) {
        t->special_first[b] = at;
        while (at < n && (uint8_t)t->special[at].text.p[0] == b)
            at++;
    }
    t->special_first[256] = n;
    return ERR_OK;
}

/* The first of special[low, high) whose byte at `depth` is at least `c`; all of them are longer. */
static uint32_t lower(const struct tok *t, uint32_t low, uint32_t high, size_t depth, unsigned c)
{
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if ((uint8_t)t->special[mid].text.p[depth] < c)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct tok_special *tok_special_at(const struct tok *t, str s, size_t at, bool control)
{
    const struct tok_special *best = NULL;
    unsigned c = (uint8_t)s.p[at];
    uint32_t low = t->special_first[c], high = t->special_first[c + 1];
    for (size_t depth = 1; low < high; depth++) {
        /* Those that end here sort before those that go on; of equal ones the lowest id is first.
         */
        const struct tok_special *first = NULL;
        for (; low < high && t->special[low].text.n == depth; low++)
            if (!first && (control || !tok_attr_hidden(t->attr[t->special[low].id])))
                first = &t->special[low];
        if (first) best = first;
        if (at + depth >= s.n) break;
        c = (uint8_t)s.p[at + depth];
        low = lower(t, low, high, depth, c);
        if (c < 255) high = lower(t, low, high, depth, c + 1);
    }
    return best;
}
