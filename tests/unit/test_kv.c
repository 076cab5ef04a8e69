/* test_kv: the block pool against a model of block contents.
 *
 * Each position's content is a hash of all tokens up to it. Blocks are written and copied as a back
 * end would, so a wrong share, a lost copy or a block handed out twice shows as wrong content.
 */
#include "engine/kv.h"

#include "base/mem.h"
#include "tap.h"

#define MAX_BLOCKS 64
#define MAX_POS    (12 * KV_BLOCK)
#define MAX_SEQS   8

static uint64_t content[MAX_BLOCKS][KV_BLOCK];
static uint32_t copies;

static void copy(void *owner, uint32_t from, uint32_t to, uint32_t n)
{
    ASSERT(owner == content && from != to);
    memcpy(content[to], content[from], n * sizeof content[0][0]);
    copies++;
}

static uint64_t rng_state = 1;

static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((rng_state >> 33) % n);
}

struct seq {
    struct kv_seq kv;
    uint32_t blocks[MAX_POS / KV_BLOCK];
    int32_t tok[MAX_POS];
    uint32_t n; /* known tokens; 0: not in use */
    uint32_t kind;
};

static uint64_t hash_upto(const struct seq *s, uint32_t n)
{
    uint64_t h = 7 + s->kind;
    for (uint32_t i = 0; i < n; i++)
        h = (h ^ (uint64_t)(s->tok[i] + 1)) * 0x9e3779b97f4a7c15u + 11;
    return h;
}

static bool content_right(const struct seq *s)
{
    for (uint32_t p = 0; p < s->kv.n_pos; p++)
        if (content[s->kv.blocks[p / KV_BLOCK]][p % KV_BLOCK] != hash_upto(s, p + 1)) return false;
    return true;
}

static void compute(struct kv *kv, struct seq *s, uint32_t n)
{
    for (uint32_t p = s->kv.n_pos; p < s->kv.n_pos + n; p++)
        content[s->kv.blocks[p / KV_BLOCK]][p % KV_BLOCK] = hash_upto(s, p + 1);
    kv_commit(kv, &s->kv, s->tok, n);
}

static void begin(struct seq *s)
{
    s->kv = (struct kv_seq){.blocks = s->blocks, .kind = s->kind};
}

static struct kv *pool(uint32_t n)
{
    struct kv *kv = NULL;
    struct err_info e;
    ASSERT(kv_new(&kv, n, copy, content, &e) == ERR_OK);
    return kv;
}

/* Runs a sequence of n tokens from start to end; returns how many came from the cache. */
static uint32_t run(struct kv *kv, struct seq *s, uint32_t n)
{
    s->n = n;
    begin(s);
    uint32_t cached = kv_reuse(kv, &s->kv, s->tok, n - 1);
    ASSERT(kv_grow(kv, &s->kv, n));
    compute(kv, s, n - s->kv.n_pos);
    ASSERT(content_right(s));
    kv_release(kv, &s->kv, s->tok);
    return cached;
}

static void test_prefix(void)
{
    struct kv *kv = pool(8);
    static struct seq a, b;
    for (int i = 0; i < MAX_POS; i++)
        a.tok[i] = b.tok[i] = i % 50;
    is_int(run(kv, &a, 100), 0, "an empty cache has nothing");
    is_int(run(kv, &a, 100), 99, "a repeated prompt is reused but for its last token");
    is_int(run(kv, &a, 96), 95, "also when it ends on a block boundary");
    is_int(run(kv, &a, 1), 0, "one token is always computed");
    b.tok[70] = 999;
    is_int(run(kv, &b, 100), 70, "a common beginning is reused to the token, partial block copied");
    ok(copies > 0, "by copying");
    is_int(run(kv, &a, 100), 99, "and the first one is untouched");
    b.tok[0] = 5;
    is_int(run(kv, &b, 100), 0, "another beginning shares nothing");
    a.kind = 1;
    is_int(run(kv, &a, 64), 0, "nor does the same beginning of another kind");
    is_int(run(kv, &a, 64), 63, "which is kept by itself");
    a.kind = 0;
    is_int(kv_live(kv), 0, "nothing is held at the end");
    ok(kv_check(kv) == NULL, "invariants hold");
    kv_free(kv);
}

static void test_eviction(void)
{
    struct kv *kv = pool(4);
    static struct seq a, b, c;
    for (int i = 0; i < MAX_POS; i++) {
        a.tok[i] = 1;
        b.tok[i] = 2;
        c.tok[i] = 3;
    }
    run(kv, &a, 64);
    run(kv, &b, 64);
    is_int(kv_idle(kv), 4, "four blocks cached");
    is_int(run(kv, &a, 64), 63, "a is still cached: and used again");
    run(kv, &c, 64);
    is_int(run(kv, &a, 64), 63, "the one least recently used made room");
    is_int(run(kv, &b, 64), 0, "which was b");

    begin(&a);
    begin(&b);
    a.n = b.n = 64;
    ok(kv_grow(kv, &a.kv, 65), "three blocks of four");
    ok(!kv_grow(kv, &b.kv, 64) && b.kv.n_blocks == 0, "two more are refused, nothing taken");
    ok(kv_grow(kv, &b.kv, 32) && kv_avail(kv) == 0, "one more is there");
    kv_release(kv, &a.kv, a.tok);
    kv_release(kv, &b.kv, b.tok);
    is_int(kv_avail(kv), 4, "blocks never computed are free again");
    ok(kv_check(kv) == NULL, "invariants hold");
    kv_free(kv);
}

/* Two sequences compute the same blocks side by side: the second gives its copy up. */
static void test_twins(void)
{
    struct kv *kv = pool(16);
    static struct seq a, b;
    for (int i = 0; i < MAX_POS; i++)
        a.tok[i] = b.tok[i] = i;
    begin(&a);
    begin(&b);
    ASSERT(kv_grow(kv, &a.kv, 128) && kv_grow(kv, &b.kv, 128));
    is_int(kv_live(kv), 8, "eight blocks held");
    compute(kv, &a, 64);
    compute(kv, &b, 64);
    is_int(kv_live(kv), 6, "equal blocks are held once");
    struct kv_seq third = {.kind = 0}, other = {.kind = 1}, loner = {.unshared = true};
    is_int(kv_peek(kv, &third, a.tok, 128), 2, "a third would get them for nothing");
    ok(kv_peek(kv, &other, a.tok, 128) == 0 && kv_peek(kv, &loner, a.tok, 128) == 0,
       "one of another kind would not, nor one that shares nothing");
    compute(kv, &a, 32);
    is_int(kv_reuse(kv, &b.kv, b.tok, 128), 32, "b takes over what a computed meanwhile");
    is_int(kv_live(kv), 5, "and gives its own block back");
    ok(content_right(&a) && content_right(&b) && !kv_check(kv), "contents and invariants hold");
    b.kv.unshared = a.kv.unshared = true;
    kv_release(kv, &a.kv, a.tok);
    kv_release(kv, &b.kv, b.tok);
    is_int(kv_live(kv), 0, "released");
    kv_free(kv);
}

/* One random operation on one of the sequences. */
static void random_op(struct kv *kv, struct seq *s, uint32_t *reused)
{
    if (s->n == 0) { /* a new one: few distinct beginnings, so that prefixes meet */
        s->kind = rnd(KV_KINDS);
        begin(s);
        s->n = 1 + rnd(MAX_POS - 1);
        uint32_t kind = rnd(3), fork = rnd(MAX_POS);
        for (uint32_t i = 0; i < MAX_POS; i++)
            s->tok[i] = (int32_t)(i < fork ? kind : rnd(2));
        s->kv.unshared = rnd(16) == 0;
        *reused += kv_reuse(kv, &s->kv, s->tok, s->n - 1);
        return;
    }
    uint32_t left = s->n - s->kv.n_pos, op = rnd(8);
    if (op == 0 || left == 0) {
        kv_release(kv, &s->kv, s->tok);
        s->n = 0;
    } else if (op == 1) {
        *reused += kv_reuse(kv, &s->kv, s->tok, s->n - 1);
    } else {
        uint32_t n = 1 + rnd(left);
        uint32_t had = s->kv.n_blocks, avail = kv_avail(kv);
        if (kv_grow(kv, &s->kv, s->kv.n_pos + n))
            compute(kv, s, n);
        else
            ASSERT(s->kv.n_blocks == had && kv_avail(kv) == avail);
    }
}

static void test_random(void)
{
    static struct seq seqs[MAX_SEQS];
    uint32_t reused = 0, before = copies;
    bool good = true;
    const char *why = NULL;
    for (uint32_t round = 0; round < 20 && good && !why; round++) {
        struct kv *kv = pool(12 + rnd(MAX_BLOCKS - 12));
        memset(seqs, 0, sizeof seqs);
        for (uint32_t i = 0; i < 2000 && good && !why; i++) {
            random_op(kv, &seqs[rnd(MAX_SEQS)], &reused);
            if (i % 4 == 0) why = kv_check(kv);
            for (uint32_t k = 0; k < MAX_SEQS; k++)
                good = good && content_right(&seqs[k]);
        }
        for (uint32_t k = 0; k < MAX_SEQS; k++)
            kv_release(kv, &seqs[k].kv, seqs[k].tok);
        good = good && kv_live(kv) == 0 && kv_avail(kv) == kv_total(kv);
        kv_free(kv);
    }
    ok(good, "40,000 random operations: every sequence sees its own contents");
    ok(!why, "invariants hold throughout (%s)", why ? why : "all");
    ok(reused > 1000 && copies > before + 100, "with %u positions reused, %u partial copies",
       reused, copies - before);
}

int main(void)
{
    test_prefix();
    test_eviction();
    test_twins();
    test_random();
    return tap_end();
}
