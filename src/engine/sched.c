/* sched: continuous batching over a pool of slots.
 *
 * A plan is made in three passes over the running slots, oldest first. (1) Parked slots return
 * while there is room. (2) Each slot with one token to compute takes one row; if its next block is
 * missing, the youngest slot is parked until there is one. (3) Slots with more to compute share
 * what is left of the batch; while others decode, that is at most a quarter of it, so that a long
 * prompt slows a running reply by a bounded amount. A chunk that does not finish its prompt ends on
 * a block boundary, where the next one can again take over cached blocks. Where a prompt must go
 * into one batch there is only pass 3, and who does not fit waits for the next step.
 *
 * Invariants: a slot that is not parked holds the blocks of all its known tokens but the last;
 * slots parked in pass 2 are younger than every slot planned so far; the queue is admitted from
 * only when nobody is parked, so nobody is overtaken.
 */
#include "engine/sched.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

#define MIXED_SHARE 4 /* of the batch, for prefill while others decode */

/* The arrays of a scheduler in one allocation; sizes only when `base` is NULL. */
static uint64_t carve(struct sched *s, const struct sched_conf *c, char *base)
{
    uint64_t at = 0;
    uint64_t per_seq = kv_blocks_for(c->n_ctx);
#define CARVE(field, T, count)                                                                     \
    do {                                                                                           \
        if (base) s->field = (T *)(void *)(base + at);                                             \
        at += ((uint64_t)(count) * sizeof(T) + 63) / 64 * 64;                                      \
    } while (0)
    CARVE(slots, struct slot, c->n_slots);
    CARVE(order, struct slot *, c->n_slots);
    CARVE(outs, struct slot *, c->n_slots);
    CARVE(spans, struct batch_span, c->n_slots);
    CARVE(out, uint32_t, c->max_batch);
    CARVE(tok, int32_t, c->max_batch);
    CARVE(pos, int32_t, c->max_batch);
    for (uint32_t i = 0; i < c->n_slots; i++) {
        CARVE(slots[i].tok, int32_t, c->n_ctx);
        CARVE(slots[i].seq.blocks, uint32_t, per_seq);
    }
#undef CARVE
    return at;
}

uint64_t sched_bytes(const struct sched_conf *conf)
{
    return carve(NULL, conf, NULL);
}

enum err sched_init(struct sched *s, const struct sched_conf *conf, struct kv *kv,
                    struct err_info *e)
{
    uint64_t bytes = sched_bytes(conf);
    ASSERT(conf->n_slots > 0 && conf->n_slots <= conf->max_batch);
    ASSERT(conf->n_ctx > 0 && kv_blocks_for(conf->n_ctx) <= kv_total(kv));
    *s = (struct sched){.conf = *conf, .kv = kv};
    s->memory = bytes <= SIZE_MAX ? mem_aligned(64, (size_t)bytes) : NULL;
    if (!s->memory)
        return ERR_FAIL(e, NOMEM, "no memory for %u slots of %u positions", conf->n_slots,
                        conf->n_ctx);
    carve(s, conf, s->memory);
    return ERR_OK;
}

void sched_fini(struct sched *s)
{
    ASSERT(s->n_active == 0 && s->n_waiting == 0);
    mem_free(s->memory);
    s->memory = NULL;
}

/* ---- the queue ---- */

bool sched_push(struct sched *s, struct gen_job *job)
{
    if (s->n_waiting >= LIMIT_JOB_QUEUE) return false;
    job->next = NULL;
    if (s->tail)
        s->tail->next = job;
    else
        s->head = job;
    s->tail = job;
    s->n_waiting++;
    return true;
}

/* Takes out the job after `before`, or the first one when that is NULL. */
static struct gen_job *unlink_after(struct sched *s, struct gen_job *before)
{
    struct gen_job *job = before ? before->next : s->head;
    if (before)
        before->next = job->next;
    else
        s->head = job->next;
    if (s->tail == job) s->tail = before;
    job->next = NULL;
    s->n_waiting--;
    return job;
}

struct gen_job *sched_take_cancelled(struct sched *s)
{
    struct gen_job *before = NULL;
    for (struct gen_job *j = s->head; j; before = j, j = j->next)
        if (atomic_load_explicit(&j->cancel, memory_order_relaxed)) return unlink_after(s, before);
    return NULL;
}

/* ---- room ---- */

/* Takes what the cache has of the slot's tokens and holds blocks for the rest. False when there is
 * no room; one spare block for each running slot is left, so that a newcomer does not push one out.
 */
static bool settle(struct sched *s, struct slot *slot)
{
    uint32_t need = kv_blocks_for(slot->n_tok), holders = 0, held;
    for (uint32_t i = 0; i < s->n_active; i++)
        holders += s->order[i]->seq.n_blocks > 0;
    if (holders > 0) {
        held = kv_peek(s->kv, &slot->seq, slot->tok, slot->n_tok - 1);
        if (need + holders - held > kv_avail(s->kv)) return false;
    }
    uint32_t cached = kv_reuse(s->kv, &slot->seq, slot->tok, slot->n_tok - 1);
    if (!kv_grow(s->kv, &slot->seq, slot->n_tok)) {
        kv_release(s->kv, &slot->seq, slot->tok);
        return false;
    }
    if (!slot->resumed) slot->job->usage.cached_tokens += cached;
    slot->parked = false;
    return true;
}

static void park(struct sched *s, struct slot *slot)
{
    kv_release(s->kv, &slot->seq, slot->tok);
    slot->parked = slot->resumed = true;
}

/* Positions that the job may come to. */
static uint32_t longest(const struct sched *s, const struct gen_job *job)
{
    int64_t more = job->vector ? 0 : job->params.max_tokens;
    uint32_t left = s->conf.n_ctx - job->n_prompt;
    return more < 0 || more > left ? s->conf.n_ctx : job->n_prompt + (uint32_t)more;
}

struct slot *sched_admit(struct sched *s)
{
    struct slot *slot = s->slots;
    if (!s->head || s->n_active == s->conf.n_slots) return NULL;
    for (uint32_t i = 0; i < s->n_active; i++)
        if (s->order[i]->parked) return NULL;
    while (slot->job)
        slot++;
    struct gen_job *job = s->head;
    ASSERT(job->n_prompt > 0 && job->n_prompt <= s->conf.n_ctx);
    slot->job = job;
    slot->n_tok = job->n_prompt;
    memcpy(slot->tok, job->prompt, job->n_prompt * sizeof *slot->tok);
    slot->n_gen = slot->rows = 0;
    slot->out = SCHED_NO_OUT;
    slot->rope_long = s->conf.long_from && longest(s, job) > s->conf.long_from;
    slot->seq.kind = slot->rope_long;
    slot->seq.unshared = s->conf.unshared || s->conf.whole || job->rows != GEN_ROWS_LAST;
    slot->resumed = false;
    slot->admitted_ns = slot->first_ns = 0;
    if (!settle(s, slot)) {
        slot->job = NULL;
        return NULL;
    }
    unlink_after(s, NULL);
    s->order[s->n_active++] = slot;
    return slot;
}

void sched_remove(struct sched *s, struct slot *slot)
{
    uint32_t i = 0;
    while (s->order[i] != slot)
        i++;
    s->n_active--;
    memmove(s->order + i, s->order + i + 1, (s->n_active - i) * sizeof *s->order);
    kv_release(s->kv, &slot->seq, slot->tok);
    slot->job = NULL;
    slot->parked = false;
}

/* ---- a step ---- */

static uint32_t pending(const struct slot *slot)
{
    return slot->n_tok - slot->seq.n_pos;
}

bool sched_wants(const struct slot *slot, uint32_t pos)
{
    switch (slot->job->rows) {
    case GEN_ROWS_ALL: return true;
    case GEN_ROWS_FIRST: return pos == 0;
    default: return pos + 1 == slot->n_tok;
    }
}

static void add_rows(struct sched *s, struct slot *slot, uint32_t n)
{
    struct batch *b = &s->batch;
    uint32_t pos = slot->seq.n_pos;
    s->spans[b->n_spans++] = (struct batch_span){.first = b->n,
                                                 .n = n,
                                                 .pos = pos,
                                                 .blocks = slot->seq.blocks,
                                                 .state = (uint32_t)(slot - s->slots),
                                                 .rope_long = slot->rope_long};
    for (uint32_t i = 0; i < n; i++) {
        s->tok[b->n] = slot->tok[pos + i];
        s->pos[b->n] = (int32_t)(pos + i);
        if (sched_wants(slot, pos + i)) {
            if (slot->out == SCHED_NO_OUT) slot->out = b->n_out;
            s->out[b->n_out++] = b->n;
        }
        b->n++;
    }
    slot->rows = n;
    if (slot->out != SCHED_NO_OUT) s->outs[s->n_outs++] = slot;
}

/* Blocks for all of the slot's tokens; parks others, youngest first, and the slot itself at last.
 */
static bool make_room(struct sched *s, struct slot *slot)
{
    while (!kv_grow(s->kv, &slot->seq, slot->n_tok)) {
        uint32_t i = s->n_active;
        while (s->order[i - 1]->seq.n_blocks == 0)
            i--;
        park(s, s->order[i - 1]);
        if (slot->parked) return false;
    }
    return true;
}

static void plan_prefill(struct sched *s, uint32_t room)
{
    for (uint32_t i = 0; i < s->n_active && room > 0; i++) {
        struct slot *slot = s->order[i];
        if (slot->parked || slot->rows > 0) continue;
        uint32_t more = kv_reuse(s->kv, &slot->seq, slot->tok, slot->n_tok - 1);
        if (!slot->resumed) slot->job->usage.cached_tokens += more;
        uint32_t n = pending(slot);
        if (n > room && s->conf.whole) continue;
        if (n > room) {
            uint32_t over = (slot->seq.n_pos + room) % KV_BLOCK;
            n = room > over ? room - over : room;
        }
        add_rows(s, slot, n);
        room = n < room ? room - n : 0;
    }
}

bool sched_plan(struct sched *s)
{
    s->batch = (struct batch){.tok = s->tok, .pos = s->pos, .spans = s->spans, .out = s->out};
    s->n_outs = 0;
    for (uint32_t i = 0; i < s->n_active; i++) {
        s->order[i]->rows = 0;
        s->order[i]->out = SCHED_NO_OUT;
    }
    for (uint32_t i = 0; i < s->n_active; i++)
        if (s->order[i]->parked && !settle(s, s->order[i])) break;
    for (uint32_t i = 0; i < s->n_active; i++) {
        struct slot *slot = s->order[i];
        if (s->conf.whole || slot->parked || pending(slot) != 1) continue;
        if (make_room(s, slot)) add_rows(s, slot, 1);
    }
    uint32_t room = s->conf.max_batch - s->batch.n, share = s->conf.max_batch / MIXED_SHARE;
    if (share < KV_BLOCK) share = KV_BLOCK;
    plan_prefill(s, s->batch.n > 0 && room > share ? share : room);
    return s->batch.n > 0;
}

void sched_commit(struct sched *s)
{
    for (uint32_t i = 0; i < s->n_active; i++) {
        struct slot *slot = s->order[i];
        if (slot->rows > 0) kv_commit(s->kv, &slot->seq, slot->tok, slot->rows);
    }
}
