/* test_sched: batches against a model of the cache, without a device.
 *
 * As in test_kv, a position's content is a hash of the tokens up to it. The next token of a
 * sequence is a function of that hash, so every reply is known in advance whatever the scheduler
 * does: batch neighbours, chunks, shared prefixes and parking must not show.
 */
#include "engine/sched.h"

#include "base/limits.h"
#include "base/mem.h"
#include "tap.h"

#define N_CTX      256
#define MAX_SLOTS  16
#define MAX_BLOCKS 256

static uint64_t content[MAX_BLOCKS][KV_BLOCK];

static void copy(void *owner, uint32_t from, uint32_t to, uint32_t n)
{
    ASSERT(owner == content && from != to);
    memcpy(content[to], content[from], n * sizeof content[0][0]);
}

static uint64_t rng_state = 3;

static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((rng_state >> 33) % n);
}

static uint64_t mix(uint64_t h, int32_t tok)
{
    return (h ^ (uint64_t)(tok + 1)) * 0x9e3779b97f4a7c15u + 11;
}

static int32_t next_of(uint64_t h)
{
    return (int32_t)((h >> 40) % 3);
}

struct job {
    struct gen_job gen;
    int32_t prompt[N_CTX], want[N_CTX];
    uint32_t n_gen, done;
    bool good;
};

/* sched_conf.long_from of the rig that is to run the jobs. Long sequences compute other contents.
 */
static uint32_t long_from;

static void job_init(struct job *j, uint32_t n_prompt, uint32_t n_gen)
{
    uint64_t h = long_from && n_prompt + n_gen > long_from ? 8 : 7;
    uint32_t kind = rnd(3), fork = rnd(N_CTX);
    memset(j, 0, sizeof *j);
    j->gen.params.max_tokens = n_gen;
    for (uint32_t i = 0; i < n_prompt; i++) {
        j->prompt[i] = (int32_t)(i < fork ? kind : rnd(3));
        h = mix(h, j->prompt[i]);
    }
    for (uint32_t i = 0; i < n_gen; i++) {
        j->want[i] = next_of(h);
        h = mix(h, j->want[i]);
    }
    j->gen.prompt = j->prompt;
    j->gen.n_prompt = n_prompt;
    j->n_gen = n_gen;
    j->good = true;
}

struct rig {
    struct kv *kv;
    struct sched s;
    uint32_t steps, parked, peak, longest_gap;
    uint32_t state[MAX_SLOTS]; /* positions that each set of states has seen */
    bool sound;
};

static void rig_open_conf(struct rig *r, uint32_t n_blocks, struct sched_conf c)
{
    struct err_info e;
    *r = (struct rig){.sound = true};
    c.n_ctx = N_CTX;
    ASSERT(kv_new(&r->kv, n_blocks, copy, content, &e) == ERR_OK);
    ASSERT(sched_init(&r->s, &c, r->kv, &e) == ERR_OK);
}

static void rig_open(struct rig *r, uint32_t n_blocks, uint32_t n_slots, uint32_t max_batch)
{
    rig_open_conf(r, n_blocks, (struct sched_conf){.n_slots = n_slots, .max_batch = max_batch});
}

static void rig_close(struct rig *r)
{
    sched_fini(&r->s);
    kv_free(r->kv);
}

/* Does what a device does with a batch, and looks whether it could. */
static bool compute(const struct batch *b)
{
    uint32_t row = 0, out = 0;
    for (uint32_t k = 0; k < b->n_spans; k++) {
        const struct batch_span *sp = &b->spans[k];
        if (sp->first != row || sp->n == 0) return false;
        for (uint32_t i = 0; i < sp->n; i++, row++) {
            uint32_t p = sp->pos + i;
            if (b->pos[row] != (int32_t)p) return false;
            uint64_t h = 7 + sp->rope_long;
            if (p > 0) h = content[sp->blocks[(p - 1) / KV_BLOCK]][(p - 1) % KV_BLOCK];
            content[sp->blocks[p / KV_BLOCK]][p % KV_BLOCK] = mix(h, b->tok[row]);
        }
    }
    for (; out < b->n_out; out++)
        if (b->out[out] >= b->n || (out && b->out[out] <= b->out[out - 1])) return false;
    return row == b->n;
}

/* A set of states goes on where it was, or begins anew. */
static bool states_go_on(struct rig *r, const struct batch *b)
{
    for (uint32_t k = 0; k < b->n_spans; k++) {
        const struct batch_span *sp = &b->spans[k];
        if (sp->pos != 0 && sp->pos != r->state[sp->state]) return false;
        r->state[sp->state] = sp->pos + sp->n;
    }
    return true;
}

static uint64_t hash_at(const struct slot *slot, uint32_t p)
{
    return content[slot->seq.blocks[p / KV_BLOCK]][p % KV_BLOCK];
}

static bool rig_step(struct rig *r)
{
    struct sched *s = &r->s;
    struct slot *done[MAX_SLOTS];
    uint32_t n_done = 0, parked = 0;
    while (sched_admit(s))
        ;
    if (!sched_plan(s)) return false;
    r->sound = r->sound && s->batch.n <= s->conf.max_batch && compute(&s->batch);
    if (s->conf.unshared) r->sound = r->sound && states_go_on(r, &s->batch);
    sched_commit(s);
    r->steps++;
    r->peak = s->n_active > r->peak ? s->n_active : r->peak;
    for (uint32_t i = 0; i < s->n_active; i++)
        parked += s->order[i]->parked;
    r->parked += parked;
    if (s->n_active > 0 && (s->order[0]->parked || s->order[0]->rows == 0)) r->sound = false;
    for (uint32_t i = 0; i < s->n_outs; i++) {
        struct slot *slot = s->outs[i];
        struct job *j = (struct job *)(void *)slot->job;
        int32_t id = next_of(hash_at(slot, slot->n_tok - 1));
        if (slot->n_gen < j->n_gen) {
            j->good = j->good && id == j->want[slot->n_gen];
            slot->tok[slot->n_tok++] = id;
            slot->n_gen++;
        }
        if (slot->n_gen == j->n_gen || slot->n_tok == N_CTX) done[n_done++] = slot;
    }
    for (uint32_t i = 0; i < n_done; i++) {
        ((struct job *)(void *)done[i]->job)->done++;
        sched_remove(s, done[i]);
    }
    return true;
}

static void test_many(uint32_t n_blocks, struct sched_conf conf, const char *what)
{
    enum { N = 120 };
    static struct job jobs[N];
    struct rig r;
    uint32_t sent = 0, done = 0, good = 0, cached = 0;
    const char *why = NULL;
    rig_open_conf(&r, n_blocks, conf);
    long_from = conf.long_from;
    for (int i = 0; i < N; i++) {
        uint32_t n = 1 + rnd(N_CTX - 1);
        job_init(&jobs[i], n, 1 + rnd(N_CTX - n));
    }
    for (uint32_t i = 0; i < 200000; i++) {
        if (sent < N && rnd(4) == 0) ASSERT(sched_push(&r.s, &jobs[sent++].gen));
        if (!rig_step(&r) && sent == N) break;
        if (i % 16 == 0 && !why) why = kv_check(r.kv);
    }
    for (int i = 0; i < N; i++) {
        done += jobs[i].done;
        good += jobs[i].good;
        cached += jobs[i].gen.usage.cached_tokens;
        if (jobs[i].gen.usage.cached_tokens >= jobs[i].gen.n_prompt) r.sound = false;
    }
    ok(done == N && good == N && r.sound && !why,
       "%s: %u of %d jobs done, %u right, %u steps, at most %u at once, parked %u times, %u cached",
       what, done, N, good, r.steps, r.peak, r.parked, cached);
    is_int(kv_live(r.kv), 0, "no block is held at the end");
    if (conf.unshared) is_int(cached, 0, "and nothing was taken from others");
    long_from = 0;
    rig_close(&r);
}

/* Texts for vectors where a text must be in one batch: each once, all of it, with the rows it
 * wants, and the oldest in every step. */
static void test_whole(void)
{
    enum { N = 60 };
    static struct job jobs[N];
    static float vector[1];
    struct rig r;
    uint32_t done = 0, rows = 0, texts = 0;
    bool good = true;
    rig_open_conf(&r, MAX_BLOCKS,
                  (struct sched_conf){.n_slots = 8, .max_batch = 128, .whole = true});
    for (uint32_t i = 0; i < N; i++) {
        job_init(&jobs[i], i % 9 == 0 ? 128 : 1 + rnd(60), 0);
        jobs[i].gen.vector = vector;
        jobs[i].gen.rows = (enum gen_rows)(i % 3);
        ASSERT(sched_push(&r.s, &jobs[i].gen));
    }
    while (done < N) {
        while (sched_admit(&r.s))
            ;
        if (!sched_plan(&r.s)) break;
        struct slot *oldest = r.s.order[0];
        good = good && oldest->rows > 0 && compute(&r.s.batch);
        sched_commit(&r.s);
        for (uint32_t i = r.s.n_active; i-- > 0;) {
            struct slot *slot = r.s.order[i];
            uint32_t first = r.s.batch.out[slot->out == SCHED_NO_OUT ? 0 : slot->out];
            if (slot->rows == 0) continue;
            good = good && slot->rows == slot->n_tok && slot->out != SCHED_NO_OUT;
            const struct batch_span *sp = r.s.batch.spans;
            while (sp->state != (uint32_t)(slot - r.s.slots))
                sp++;
            uint32_t want = slot->job->rows == GEN_ROWS_LAST ? sp->first + sp->n - 1 : sp->first;
            good = good && sp->n == slot->n_tok && first == want;
            rows += slot->job->rows == GEN_ROWS_ALL ? slot->n_tok : 1;
            texts++;
            sched_remove(&r.s, slot);
            done++;
        }
        rows -= r.s.batch.n_out;
    }
    ok(done == N && good && rows == 0, "%u texts, each in one batch, with the rows it wants",
       texts);
    rig_close(&r);
}

/* Two long replies that together need more blocks than there are. */
static void test_parking(void)
{
    static struct job a, b;
    struct rig r;
    rig_open(&r, N_CTX / KV_BLOCK + 2, 4, 64);
    job_init(&a, 40, 200);
    job_init(&b, 50, 200);
    sched_push(&r.s, &a.gen);
    sched_push(&r.s, &b.gen);
    bool together = false;
    while (rig_step(&r)) {
        together |= r.s.n_active == 2 && !r.s.order[1]->parked;
        if (a.done && b.done) break;
        if (!a.done && b.done) r.sound = false;
    }
    ok(together && r.parked > 0, "both ran together, then the younger was parked");
    ok(a.done && b.done && a.good && b.good && r.sound, "both ended right, the older one first");
    rig_close(&r);
}

/* A long prompt must not hold up a running reply: it comes in chunks. */
static void test_mixed(void)
{
    static struct job a, b;
    struct rig r;
    rig_open(&r, MAX_BLOCKS, 4, 128);
    job_init(&a, 4, 60);
    job_init(&b, 250, 3);
    sched_push(&r.s, &a.gen);
    rig_step(&r);
    sched_push(&r.s, &b.gen);
    uint32_t chunks = 0, biggest = 0;
    while (!b.done) {
        rig_step(&r);
        for (uint32_t i = 0; i < r.s.n_active; i++) {
            const struct slot *slot = r.s.order[i];
            if (slot->job == &a.gen && slot->rows != 1) r.sound = false;
            if (slot->job != &b.gen || slot->rows < 2) continue;
            chunks++;
            biggest = slot->rows > biggest ? slot->rows : biggest;
        }
    }
    ok(r.sound && chunks >= 7 && biggest <= 32,
       "the reply advances in every step beside %u chunks of at most %u", chunks, biggest);
    while (rig_step(&r))
        ;
    ok(a.good && b.good && a.done && b.done, "both are right");
    rig_close(&r);
}

/* Equal prompts that arrive together are computed once. */
static void test_together(void)
{
    static struct job j[8];
    struct rig r;
    uint32_t rows = 0, cached = 0;
    rig_open(&r, MAX_BLOCKS, 8, 64);
    job_init(&j[0], 200, 5);
    for (int i = 0; i < 8; i++) {
        j[i] = j[0];
        j[i].gen.prompt = j[i].prompt;
        sched_push(&r.s, &j[i].gen);
    }
    while (rig_step(&r))
        rows += r.s.batch.n;
    bool good = r.sound;
    for (int i = 0; i < 8; i++) {
        good = good && j[i].good && j[i].done;
        cached += j[i].gen.usage.cached_tokens;
    }
    ok(good && rows < 2 * 200 + 8 * 40, "8 equal prompts of 200: %u rows, %u cached", rows, cached);
    rig_close(&r);
}

static void test_queue(void)
{
    static struct job j[LIMIT_JOB_QUEUE + 1];
    struct rig r;
    rig_open(&r, MAX_BLOCKS, 1, 64);
    uint32_t pushed = 0;
    for (uint32_t i = 0; i <= LIMIT_JOB_QUEUE; i++) {
        job_init(&j[i], 3, 1);
        pushed += sched_push(&r.s, &j[i].gen);
    }
    is_int(pushed, LIMIT_JOB_QUEUE, "the queue takes LIMIT_JOB_QUEUE jobs");
    ok(sched_take_cancelled(&r.s) == NULL, "none is cancelled");
    uint32_t which[3] = {0, 500, LIMIT_JOB_QUEUE - 1};
    for (int i = 0; i < 3; i++)
        atomic_store(&j[which[i]].gen.cancel, true);
    for (int i = 0; i < 3; i++)
        ok(sched_take_cancelled(&r.s) == &j[which[i]].gen, "cancelled job %u is found", which[i]);
    ok(sched_take_cancelled(&r.s) == NULL, "no more");
    job_init(&j[0], 3, 1);
    ok(sched_push(&r.s, &j[0].gen) && r.s.tail == &j[0].gen, "room again, at the end");
    uint32_t expect = 1;
    bool fifo = true;
    while (rig_step(&r)) {
        if (expect == 500) expect++;
        fifo = fifo && (j[expect].done || j[0].done);
        expect++;
    }
    ok(fifo && j[0].done && r.s.n_waiting == 0, "first come, first served");
    rig_close(&r);
}

int main(void)
{
    test_queue();
    test_mixed();
    test_together();
    test_parking();
    test_whole();
    struct sched_conf c = {.n_slots = 16, .max_batch = 128};
    test_many(MAX_BLOCKS, c, "plenty of blocks");
    test_many(20, c, "few blocks");
    c.long_from = 150;
    test_many(MAX_BLOCKS, c, "long ones apart");
    c.long_from = 0;
    c.unshared = true;
    test_many(MAX_BLOCKS, c, "states");
    test_many(20, c, "states, few blocks");
    c = (struct sched_conf){.n_slots = 16, .max_batch = 16};
    test_many(N_CTX / KV_BLOCK, c, "one sequence's worth of blocks");
    c = (struct sched_conf){.n_slots = 1, .max_batch = 1};
    test_many(N_CTX / KV_BLOCK, c, "one slot, one row");
    return tap_end();
}
