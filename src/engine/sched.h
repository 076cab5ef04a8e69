/* sched: which sequences take part in the next step, and with how many tokens.
 *
 * A `slot` is a running sequence: the tokens known so far, of which the first seq.n_pos are
 * computed. One rule covers prefill, decode and recomputation: a slot whose known tokens will all
 * be computed by this step gets a row of logits and thereby its next token. Jobs that want vectors
 * get the rows that they ask for and no next token. Jobs wait in one queue,
 * first come first served, until a slot is free and the blocks of their prompt are at hand.
 *
 * When a decoding slot needs a block and none is left, the youngest slot is parked: it gives up its
 * blocks (they stay cached while there is room) and is computed again when there is room. The pool
 * holds at least one sequence of full length, so the oldest slot always advances and nothing fails.
 *
 * One owner thread. Planning and committing allocate nothing.
 */
#ifndef ENGINE_SCHED_H
#define ENGINE_SCHED_H

#include "engine/engine.h"
#include "engine/kv.h"
#include "text/stream.h"

struct slot {
    struct gen_job *job; /* NULL: free */
    int32_t *tok;        /* [n_ctx] */
    uint32_t n_tok;      /* known: prompt and reply */
    uint32_t n_gen;      /* reply tokens among them */
    struct kv_seq seq;
    bool rope_long;                 /* may come to more than conf.long_from positions */
    uint32_t rows;                  /* in the planned step */
    uint32_t out;                   /* its first row of results, or SCHED_NO_OUT */
    bool parked;                    /* holds no blocks, waits for room */
    bool resumed;                   /* was parked before: what it reuses now is not news */
    uint64_t admitted_ns, first_ns; /* 0: not yet */
    /* the engine's */
    uint64_t seed;
    struct stream stream;
    bool has_stream;
};

#define SCHED_NO_OUT UINT32_MAX

struct sched_conf {
    uint32_t n_slots, n_ctx, max_batch; /* n_slots <= max_batch */
    bool unshared;      /* what is computed for one sequence serves no other: recurrent states */
    bool whole;         /* a prompt goes into one batch; none is longer than max_batch */
    uint32_t long_from; /* sequences that may come to more positions are kept apart; 0: none */
};

struct sched {
    struct sched_conf conf;
    struct kv *kv;
    struct slot *slots;  /* [n_slots] */
    struct slot **order; /* [n_slots]: the n_active running ones, oldest first */
    uint32_t n_active;
    struct gen_job *head, *tail; /* waiting */
    uint32_t n_waiting;
    struct batch batch; /* of the planned step; its arrays: */
    int32_t *tok, *pos;
    uint32_t *out;
    struct batch_span *spans;
    struct slot **outs; /* [n_outs]: who gets results */
    uint32_t n_outs;
    void *memory;
};

/* ---- life cycle ---- */
/* The kv is borrowed; it must hold a sequence of n_ctx positions. */
MUST_CHECK enum err sched_init(struct sched *s, const struct sched_conf *conf, struct kv *kv,
                               struct err_info *e);
void sched_fini(struct sched *s);
uint64_t sched_bytes(const struct sched_conf *conf);

/* ---- use ---- */
/* False when LIMIT_JOB_QUEUE jobs wait already. */
bool sched_push(struct sched *s, struct gen_job *job);
/* Removes the first waiting job whose cancel flag is set; NULL when there is none. */
struct gen_job *sched_take_cancelled(struct sched *s);
/* Gives the first waiting job a slot, its prompt copied; NULL when none waits or there is no room.
 */
struct slot *sched_admit(struct sched *s);
/* Frees the slot: the job is the caller's, what was computed stays cached. */
void sched_remove(struct sched *s, struct slot *slot);
/* Fills s->batch, s->outs, and slot.rows and slot.out of each running slot. False when there is
 * nothing to do. */
bool sched_plan(struct sched *s);
/* Does the slot need the results of the token at this position? */
bool sched_wants(const struct slot *slot, uint32_t pos);
/* The planned step has run. */
void sched_commit(struct sched *s);

#endif
