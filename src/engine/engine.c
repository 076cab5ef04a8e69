/* engine: jobs in, tokens out: the public face and the life of a job.
 *
 * One step: jobs whose cancel flag is set leave; waiting jobs get slots; sched plans a batch; run
 * executes the plan; every slot whose tokens are now all computed gets its next token from sample,
 * which goes through text/stream to the job's on_event. The part between planning and the callbacks
 * runs under mem_forbid(): it allocates nothing.
 *
 * Invariants: a job is in exactly one place: the caller's hands, the queue, a slot.
 * on_event(GEN_DONE) is the engine's last touch of a job, made after its slot is free, so the
 * callback may submit again.
 *
 * Left out: threads and locks (the caller drives), protocols, choosing among models.
 */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "engine/embed.h"
#include "engine/kv.h"
#include "engine/load.h"
#include "engine/run.h"
#include "engine/sample.h"
#include "engine/sched.h"

struct engine {
    struct load load;
    struct kv *kv;
    struct sched sched;
    struct sampler *sampler;
    struct embed embed;    /* when vectors are made */
    double *sums;          /* [n_slots][engine_width()], then too */
    buf text;              /* what one event carries */
    int32_t *eval_pos;     /* [max_batch] */
    uint32_t *eval_out;    /* [max_batch]: 0, 1, 2, ... */
    uint32_t *eval_blocks; /* [blocks of one sequence] */
    struct sample_logprob top[LIMIT_TOP_LOGPROBS];
    struct gen_logprob gen_top[LIMIT_TOP_LOGPROBS];
    struct engine_stats stats;
    struct run_watch watch; /* of engine_eval(), when it has a function */
};

/* ---- life cycle ---- */

static struct sched_conf sched_conf_of(const struct engine_conf *c)
{
    return (struct sched_conf){.n_slots = c->n_slots, .n_ctx = c->n_ctx, .max_batch = c->max_batch};
}

static uint64_t own_bytes(const struct engine_conf *c, uint32_t n_blocks, uint32_t width)
{
    struct sched_conf s = sched_conf_of(c);
    uint64_t bytes = kv_bytes(n_blocks) + sched_bytes(&s);
    if (c->want == ENGINE_LOGITS) return bytes + sample_bytes(width);
    return bytes + (uint64_t)c->n_slots * width * sizeof(double);
}

static void kv_copy_in_device(void *owner, uint32_t from, uint32_t to, uint32_t n)
{
    struct engine *en = owner;
    en->load.conf.backend->kv_copy(en->load.dev, from, to, n);
}

/* Bytes that one token can bring out at most: what was held back for a stop string and the longest
 * piece, each byte of which may turn out to be no character and be written as U+FFFD. */
static size_t text_room(const struct tok *t)
{
    return 3 * (tok_piece_max(t) + LIMIT_STOP_LEN) + 64;
}

static enum err open_parts(struct engine *en, struct err_info *e)
{
    const struct engine_conf *c = &en->load.conf;
    const struct plan *p = &en->load.plan;
    struct sched_conf sc = sched_conf_of(c);
    size_t room = text_room(en->load.tok);
    enum err err;
    sc.unshared = p->n_states > 0;
    sc.whole = p->whole;
    sc.long_from = p->rope_long_from;
    if ((err = kv_new(&en->kv, en->load.n_blocks, kv_copy_in_device, en, e)) ||
        (err = sched_init(&en->sched, &sc, en->kv, e)))
        return err;
    if (c->want == ENGINE_LOGITS) {
        if ((err = sample_new(&en->sampler, en->load.meta.n_vocab, e))) return err;
    } else if ((err = embed_init(&en->embed, &en->load.gguf, engine_width(en), e))) {
        return err;
    } else if (!(en->sums = mem_array((size_t)c->n_slots * engine_width(en), sizeof *en->sums))) {
        return ERR_FAIL(e, NOMEM, "no memory for %u vectors of %u values", c->n_slots,
                        engine_width(en));
    }
    buf_init(&en->text, room);
    en->eval_pos = mem_array(c->max_batch, sizeof *en->eval_pos);
    en->eval_out = mem_array(c->max_batch, sizeof *en->eval_out);
    en->eval_blocks = mem_array(kv_blocks_for(c->n_ctx), sizeof *en->eval_blocks);
    if (!buf_reserve(&en->text, room) || !en->eval_pos || !en->eval_out || !en->eval_blocks)
        return ERR_FAIL(e, NOMEM, "no memory for the engine's buffers");
    for (uint32_t i = 0; i < c->max_batch; i++)
        en->eval_out[i] = i;
    return ERR_OK;
}

enum err engine_open(struct engine **out, const char *path, const struct engine_conf *conf,
                     struct err_info *e)
{
    uint64_t start = os_now_ns();
    struct engine *en = mem_alloc(sizeof *en);
    if (!en) return ERR_FAIL(e, NOMEM, "no memory for an engine");
    enum err err = load_open(&en->load, path, conf, own_bytes, e);
    if (err) {
        mem_free(en);
        return err;
    }
    if ((err = open_parts(en, e))) {
        engine_close(en);
        return err;
    }
    en->stats = (struct engine_stats){
        .slots = en->load.conf.n_slots,
        .weight_bytes = en->load.weight_bytes,
        .kv_bytes = en->load.kv_bytes,
        .compute_bytes = en->load.compute_bytes,
        .load_ns = os_now_ns() - start,
    };
    *out = en;
    return ERR_OK;
}

void engine_close(struct engine *en)
{
    if (!en) return;
    sched_fini(&en->sched);
    kv_free(en->kv);
    sample_free(en->sampler);
    mem_free(en->sums);
    embed_fini(&en->embed);
    buf_fini(&en->text);
    mem_free(en->eval_pos);
    mem_free(en->eval_out);
    mem_free(en->eval_blocks);
    load_close(&en->load);
    mem_free(en);
}

/* ---- the life of a job ---- */

static enum err check_ids(const struct engine *en, const int32_t *ids, uint32_t n,
                          struct err_info *e)
{
    uint32_t n_vocab = en->load.meta.n_vocab, n_ctx = en->load.conf.n_ctx;
    if (n == 0) return ERR_FAIL(e, INVALID, "the prompt is empty: at least one token is needed");
    if (n > n_ctx)
        return ERR_FAIL(
            e, CONTEXT,
            "the prompt has %u tokens, the context holds %u; shorten the prompt or load "
            "the model with a larger context",
            n, n_ctx);
    if (n > engine_n_prompt(en))
        return ERR_FAIL(e, CONTEXT,
                        "the text has %u tokens, and this model reads a text in one batch, which "
                        "holds %u; shorten the text or load the model with a larger batch",
                        n, engine_n_prompt(en));
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= n_vocab)
            return ERR_FAIL(e, INVALID, "token %u of the prompt is %d; the vocabulary has 0 to %u",
                            i, ids[i], n_vocab - 1);
    return ERR_OK;
}

/* A reply from a model that makes vectors, or the other way round. */
static enum err check_kind(const struct engine *en, const struct gen_job *job, struct err_info *e)
{
    bool scores = en->load.conf.want == ENGINE_SCORES;
    if (en->load.conf.want == ENGINE_LOGITS) {
        if (!job->vector) return ERR_OK;
        return ERR_FAIL(e, INVALID,
                        "this model was loaded to generate text, not to make vectors of texts; use "
                        "an embedding model");
    }
    if (!job->vector)
        return ERR_FAIL(e, INVALID, "this model makes %s of texts, it does not generate text",
                        scores ? "scores" : "vectors");
    if (scores != (job->pooling == POOLING_RANK))
        return ERR_FAIL(e, INVALID, "this model makes %s of texts, not %s",
                        scores ? "scores" : "vectors", scores ? "vectors" : "scores");
    return ERR_OK;
}

enum err engine_submit(struct engine *en, struct gen_job *job, struct err_info *e)
{
    enum err err = check_kind(en, job, e);
    if (err || (err = check_ids(en, job->prompt, job->n_prompt, e))) return err;
    if (job->n_stops > LIMIT_STOP_STRINGS)
        return ERR_FAIL(e, LIMIT, "%zu stop strings; at most %d are allowed", job->n_stops,
                        LIMIT_STOP_STRINGS);
    for (size_t i = 0; i < job->n_stops; i++)
        if (job->stops[i].n == 0 || job->stops[i].n > LIMIT_STOP_LEN)
            return ERR_FAIL(e, LIMIT, "stop string %zu has %zu bytes; allowed are 1 to %zu", i,
                            job->stops[i].n, LIMIT_STOP_LEN);
    if (!sched_push(&en->sched, job))
        return ERR_FAIL(e, BUSY, "%d requests are waiting already; try again later",
                        LIMIT_JOB_QUEUE);
    job->rows = GEN_ROWS_LAST;
    if (job->vector) job->rows = embed_rows(job->pooling, en->load.meta.causal);
    job->usage = (struct gen_usage){.prompt_tokens = job->n_prompt};
    job->submitted_ns = os_now_ns();
    return ERR_OK;
}

/* Hands the job back. It is in no slot and in no queue any more. */
static void done(struct engine *en, struct gen_job *job, struct gen_event ev)
{
    ev.type = GEN_DONE;
    en->stats.jobs_done++;
    if (ev.finish == GEN_CANCELLED) en->stats.jobs_cancelled++;
    job->on_event(job, &ev);
}

static void finish(struct engine *en, struct slot *slot, struct gen_event ev)
{
    struct gen_job *job = slot->job;
    uint64_t now = os_now_ns();
    struct gen_usage *u = &job->usage;
    u->completion_tokens = slot->n_gen;
    en->stats.prompt_tokens += u->prompt_tokens;
    en->stats.cached_tokens += u->cached_tokens;
    u->queue_ns = slot->admitted_ns - job->submitted_ns;
    u->prefill_ns = (slot->first_ns ? slot->first_ns : now) - slot->admitted_ns;
    u->decode_ns = slot->first_ns ? now - slot->first_ns : 0;
    if (slot->has_stream) {
        buf_clear(&en->text);
        if (ev.finish != GEN_CANCELLED && !slot->stream.stopped)
            stream_end(&slot->stream, &en->text);
        ev.text = buf_view(&en->text);
        stream_fini(&slot->stream);
        slot->has_stream = false;
    }
    sched_remove(&en->sched, slot);
    done(en, job, ev);
}

static void fail(struct engine *en, struct slot *slot, enum err error, const char *message)
{
    finish(en, slot, (struct gen_event){.finish = GEN_ERROR, .error = error, .message = message});
}

/* What a slot needs before its first step; all that a job allocates is allocated here. */
static void start(struct engine *en, struct slot *slot)
{
    struct gen_job *job = slot->job;
    struct err_info e;
    slot->admitted_ns = os_now_ns();
    slot->seed = (uint64_t)job->params.seed;
    slot->has_stream = false;
    if (job->vector) return;
    enum err err = ERR_OK;
    if (job->params.seed < 0) err = os_random(&slot->seed, sizeof slot->seed, &e);
    if (!err) {
        err = stream_init(&slot->stream, en->load.tok, job->stops, job->n_stops, job->strip_first,
                          &e);
        slot->has_stream = !err;
        slot->stream.special = job->show_special;
    }
    if (err) fail(en, slot, err, e.text);
}

/* ---- a step ---- */

/* True when at least one job left. */
static bool reap(struct engine *en)
{
    bool any = false;
    struct sched *s = &en->sched;
    struct gen_job *job;
    for (uint32_t i = 0; i < s->n_active;) {
        struct slot *slot = s->order[i];
        if (!atomic_load_explicit(&slot->job->cancel, memory_order_relaxed)) {
            i++;
            continue;
        }
        finish(en, slot, (struct gen_event){.finish = GEN_CANCELLED, .error = ERR_CANCELLED});
        any = true;
    }
    while ((job = sched_take_cancelled(s))) {
        job->usage.queue_ns = os_now_ns() - job->submitted_ns;
        done(en, job, (struct gen_event){.finish = GEN_CANCELLED, .error = ERR_CANCELLED});
        any = true;
    }
    return any;
}

static bool admit(struct engine *en)
{
    bool any = false;
    struct slot *slot;
    while ((slot = sched_admit(&en->sched))) {
        start(en, slot);
        any = true;
    }
    return any;
}

/* Has the reply come to its length? */
static bool full(const struct engine *en, const struct slot *slot)
{
    int64_t most = slot->job->params.max_tokens;
    return slot->n_tok == en->load.conf.n_ctx || (most >= 0 && slot->n_gen >= most);
}

static int32_t next_token(struct engine *en, const struct slot *slot, const float *logits,
                          struct gen_event *ev)
{
    const struct params *p = &slot->job->params;
    struct sample_input in = {.logits = logits,
                              .params = p,
                              .seed = slot->seed,
                              .index = slot->n_gen,
                              .prior = slot->tok,
                              .n_prior = slot->n_tok};
    int32_t id = sample_token(en->sampler, &in);
    if (id < 0 || !slot->job->want_logprobs) return id;
    uint32_t n = p->top_logprobs > 0 ? (uint32_t)p->top_logprobs : 0;
    ev->n_top = sample_logprobs(en->sampler, logits, id, &ev->logprob, en->top, n);
    for (uint32_t i = 0; i < ev->n_top; i++)
        en->gen_top[i] = (struct gen_logprob){en->top[i].id, en->top[i].logprob};
    ev->top = en->gen_top;
    return id;
}

/* The slot's tokens are all computed: finds the next one and hands it out. Returns with allocation
 * allowed. */
static void advance(struct engine *en, struct slot *slot)
{
    struct gen_job *job = slot->job;
    struct gen_event ev = {.type = GEN_TOKEN};
    const struct load *l = &en->load;
    if (!slot->first_ns) slot->first_ns = os_now_ns();
    if (full(en, slot)) {
        mem_forbid(false);
        finish(en, slot, (struct gen_event){.finish = GEN_LENGTH});
        return;
    }
    ev.id = next_token(en, slot, l->conf.backend->result(l->dev, slot->out), &ev);
    bool stop = ev.id >= 0 && (uint32_t)ev.id < tok_count(l->tok) && !job->params.ignore_eos &&
                tok_is_end(l->tok, ev.id);
    bool hit = false;
    if (ev.id >= 0 && !stop) {
        slot->tok[slot->n_tok++] = ev.id;
        slot->n_gen++;
        buf_clear(&en->text);
        hit = stream_push(&slot->stream, ev.id, &en->text);
        ev.text = buf_view(&en->text);
    }
    mem_forbid(false);
    if (ev.id < 0) {
        fail(en, slot, ERR_INTERNAL, "the model computed no finite logits");
        return;
    }
    if (!stop) {
        en->stats.completion_tokens++;
        job->on_event(job, &ev);
    }
    if (stop || hit)
        finish(en, slot, (struct gen_event){.finish = GEN_STOP});
    else if (full(en, slot))
        finish(en, slot, (struct gen_event){.finish = GEN_LENGTH});
}

/* Takes the rows that the step computed for jobs that want vectors, and hands out whole ones. */
static void collect(struct engine *en)
{
    const struct load *l = &en->load;
    struct sched *s = &en->sched;
    for (uint32_t i = 0; i < s->n_active;) {
        struct slot *slot = s->order[i];
        struct embed_text t = {slot->job->pooling,
                               en->sums + (size_t)(slot - s->slots) * engine_width(en),
                               slot->job->vector};
        uint32_t from = slot->seq.n_pos - slot->rows, row = slot->out;
        for (uint32_t pos = from; pos < slot->seq.n_pos && row != SCHED_NO_OUT; pos++)
            if (sched_wants(slot, pos))
                embed_row(&en->embed, &t, pos, l->conf.backend->result(l->dev, row++));
        if (slot->rows == 0 || slot->seq.n_pos < slot->n_tok) { /* more to come */
            i++;
            continue;
        }
        embed_end(&en->embed, &t, slot->n_tok);
        finish(en, slot, (struct gen_event){.finish = GEN_STOP});
    }
}

bool engine_step(struct engine *en)
{
    struct sched *s = &en->sched;
    bool moved = reap(en);
    moved |= admit(en);
    mem_forbid(true);
    bool work = sched_plan(s);
    if (work) {
        run_plan(en->load.conf.backend, en->load.dev, &en->load.plan, &s->batch);
        sched_commit(s);
        en->stats.steps++;
    }
    if (en->load.conf.want == ENGINE_LOGITS) {
        for (uint32_t i = 0; i < s->n_outs; i++) {
            mem_forbid(true);
            advance(en, s->outs[i]);
        }
    }
    mem_forbid(false);
    if (work && en->load.conf.want != ENGINE_LOGITS) collect(en);
    return work || moved;
}

/* ---- evaluation ---- */

enum err engine_eval(struct engine *en, const int32_t *ids, uint32_t n,
                     void (*row)(uint32_t i, const float *values, void *owner), void *owner,
                     struct err_info *e)
{
    const struct engine_conf *c = &en->load.conf;
    const struct plan *p = &en->load.plan;
    struct kv_seq seq = {.blocks = en->eval_blocks, .unshared = true};
    uint32_t most = c->max_out < c->max_batch ? c->max_out : c->max_batch;
    enum err err = check_ids(en, ids, n, e);
    if (err) return err;
    if ((p->n_states && en->sched.n_active) || !kv_grow(en->kv, &seq, n))
        return ERR_FAIL(e, BUSY, "the KV cache is in use; try again when no job is running");
    while (seq.n_pos < n) {
        uint32_t some = n - seq.n_pos < most ? n - seq.n_pos : most, from = seq.n_pos;
        struct batch_span span = {.n = some,
                                  .pos = from,
                                  .blocks = seq.blocks,
                                  .rope_long = p->rope_long_from && n > p->rope_long_from};
        struct batch b = {.n = some,
                          .tok = ids + from,
                          .pos = en->eval_pos,
                          .spans = &span,
                          .n_spans = 1,
                          .out = en->eval_out,
                          .n_out = some};
        for (uint32_t i = 0; i < some; i++)
            en->eval_pos[i] = (int32_t)(from + i);
        if (en->watch.see)
            run_plan_watched(c->backend, en->load.dev, p, &b, &en->watch);
        else
            run_plan(c->backend, en->load.dev, p, &b);
        kv_commit(en->kv, &seq, ids, some);
        for (uint32_t i = 0; i < some; i++)
            row(from + i, c->backend->result(en->load.dev, i), owner);
    }
    kv_release(en->kv, &seq, ids);
    return ERR_OK;
}

enum err engine_watch(struct engine *en,
                      void (*see)(void *owner, const struct plan_step *s, const float *src,
                                  const float *src2, uint32_t rows),
                      void *owner, struct err_info *e)
{
    if (see && !en->load.conf.backend->reg)
        return ERR_FAIL(e, UNSUPPORTED, "back end %s does not show its registers",
                        en->load.conf.backend->name);
    en->watch = (struct run_watch){see, owner};
    return ERR_OK;
}

static void on_embed_event(struct gen_job *job, const struct gen_event *ev)
{
    if (ev->type == GEN_DONE) *(struct gen_event *)job->owner = *ev;
}

enum err engine_embed(struct engine *en, const int32_t *ids, uint32_t n, enum meta_pooling pooling,
                      float *vector, struct err_info *e)
{
    struct gen_event end = {.type = GEN_TOKEN};
    struct gen_job job = {.prompt = ids,
                          .n_prompt = n,
                          .vector = vector,
                          .pooling = pooling,
                          .on_event = on_embed_event,
                          .owner = &end};
    enum err err = engine_submit(en, &job, e);
    if (err) return err;
    while (end.type != GEN_DONE)
        engine_step(en);
    return ERR_OK;
}

/* ---- inspect ---- */

void engine_stats(const struct engine *en, struct engine_stats *out)
{
    *out = en->stats;
    out->active = en->sched.n_active;
    out->waiting = en->sched.n_waiting;
    out->kv_blocks = kv_total(en->kv);
    out->kv_blocks_used = kv_live(en->kv);
    out->kv_blocks_cached = kv_idle(en->kv);
}

const struct tok *engine_tok(const struct engine *en)
{
    return en->load.tok;
}

const struct meta *engine_meta(const struct engine *en)
{
    return &en->load.meta;
}

const struct plan *engine_plan(const struct engine *en)
{
    return &en->load.plan;
}

const struct gguf *engine_gguf(const struct engine *en)
{
    return &en->load.gguf;
}

uint32_t engine_n_ctx(const struct engine *en)
{
    return en->load.conf.n_ctx;
}

uint32_t engine_n_prompt(const struct engine *en)
{
    const struct engine_conf *c = &en->load.conf;
    return en->load.plan.whole && c->max_batch < c->n_ctx ? c->max_batch : c->n_ctx;
}

enum engine_want engine_want(const struct engine *en)
{
    return en->load.conf.want;
}

uint32_t engine_width(const struct engine *en)
{
    return en->load.plan.width[en->load.plan.out];
}

uint32_t engine_vector(const struct engine *en)
{
    return en->embed.n;
}

enum meta_pooling engine_pooling(const struct engine *en)
{
    const struct meta *m = &en->load.meta;
    if (en->load.conf.want == ENGINE_SCORES) return POOLING_RANK;
    if (m->pooling != POOLING_NONE && m->pooling != POOLING_RANK) return m->pooling;
    return m->causal ? POOLING_LAST : POOLING_MEAN;
}

const char *engine_describe(const struct engine *en)
{
    return en->load.conf.backend->describe(en->load.dev);
}
