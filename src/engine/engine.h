/* engine: one loaded model that turns prompts into tokens, or texts into vectors, for many clients
 * at once.
 *
 * Two nouns. An `engine` is a loaded model with its device, KV cache and scheduler; it belongs to
 * one thread, which calls engine_step() in a loop. A `gen_job` is one request: the caller fills it,
 * hands it over with engine_submit(), and gets it back through its on_event callback when it is
 * done; in between it belongs to the engine. Only gen_job.cancel may be touched from another
 * thread.
 *
 * The header is narrow on purpose: prefix reuse, paging, chunked prefill, batching and sampling are
 * inside. The caller always gives the whole prompt. The engine knows neither HTTP nor JSON.
 *
 * A step takes at most one chunk of prefill tokens plus one token of each decoding job, runs the
 * plan once, samples, and emits. A decode step allocates nothing.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "compute/backend.h"
#include "model/meta.h"
#include "proto/params.h"
#include "text/tok.h"

struct engine;

/* What the model is opened for. */
enum engine_want {
    ENGINE_AUTO,   /* what it was made for */
    ENGINE_LOGITS, /* text */
    ENGINE_HIDDEN, /* vectors of texts */
    ENGINE_SCORES, /* what its classifier head says of texts */
    ENGINE_VECTORS /* scores if it has a classifier head, else vectors */
};

struct engine_lora {
    const char *path; /* an adapter's file: model/lora.h */
    float scale;
};

struct engine_conf {
    const struct backend *backend;
    uint32_t n_threads; /* 0: all usable cores */
    uint32_t n_ctx;     /* positions of one sequence; 0: the model's, at most 4096 */
    uint32_t n_slots;   /* sequences at once; 0: 16 */
    uint32_t max_batch; /* tokens of one step; 0: 512 */
    uint32_t max_out;   /* logits rows of one step; 0: n_slots */
    uint64_t kv_budget; /* bytes of KV cache; 0: n_slots sequences of n_ctx, at least one, and at
                           most 2 GiB unless both are given */
    enum dtype ktype, vtype; /* of the KV cache: F32, F16, BF16, Q8_0, Q4_0; zero is F32 */
    const char *isa;         /* see dev_conf */
    enum engine_want want;
    const struct engine_lora *loras; /* [n_loras], borrowed during engine_open() */
    uint32_t n_loras;
    const char *quantize; /* type or mix for the matrices of a SafeTensors model; NULL: as stored */
};

struct gen_logprob {
    int32_t id;
    float logprob;
};

enum gen_event_type { GEN_TOKEN, GEN_DONE };
enum gen_finish { GEN_STOP, GEN_LENGTH, GEN_CANCELLED, GEN_ERROR };

struct gen_usage {
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
    uint64_t queue_ns, prefill_ns, decode_ns;
};

struct gen_event {
    enum gen_event_type type;
    int32_t id;    /* GEN_TOKEN */
    str text;      /* may be empty: held back; borrowed during the call */
    float logprob; /* when params.top_logprobs >= 0 was asked: gen_job.want_logprobs */
    const struct gen_logprob *top;
    uint32_t n_top;
    enum gen_finish finish; /* GEN_DONE; text is what was still held back */
    enum err error;         /* GEN_ERROR */
    const char *message;
};

/* Of which tokens results are needed; the engine's business. */
enum gen_rows { GEN_ROWS_LAST, GEN_ROWS_ALL, GEN_ROWS_FIRST };

struct gen_job {
    const int32_t *prompt; /* [n_prompt], n_prompt >= 1, borrowed until GEN_DONE */
    uint32_t n_prompt;
    /* For an engine that makes vectors: where the one of this prompt goes, [engine_vector()], or
     * with POOLING_NONE the rows of all tokens, [engine_width()] each. NULL: a reply is wanted, as
     * below.
     */
    float *vector;
    enum meta_pooling pooling;
    enum gen_rows rows; /* set by engine_submit() */
    struct params params;
    const str *stops; /* borrowed until GEN_DONE */
    size_t n_stops;
    bool want_logprobs;
    bool strip_first; /* see stream_init */
    bool show_special;
    atomic_bool cancel; /* set from any thread; seen before the next step */
    /* On the engine's thread. After GEN_DONE the job is the caller's again. */
    void (*on_event)(struct gen_job *job, const struct gen_event *ev);
    void *owner;
    struct gen_usage usage; /* valid at GEN_DONE */
    uint64_t submitted_ns;  /* set by engine_submit() */
    struct gen_job *next;   /* the engine's queue */
};

/* ---- life cycle ---- */
/* Opens a model file (the first part of a split one). Errors: those of the file; ERR_UNSUPPORTED
 * naming the op, the tensor and its type; ERR_NOMEM with the bytes short and what would fit;
 * ERR_INVALID for a configuration out of range. */
MUST_CHECK enum err engine_open(struct engine **out, const char *path,
                                const struct engine_conf *conf, struct err_info *e);
void engine_close(struct engine *en); /* no job may be in it */

/* ---- use, all on one thread ---- */
/* Checks the prompt (ids, length against the context) and queues. On error the job stays with the
 * caller and on_event is not called. */
MUST_CHECK enum err engine_submit(struct engine *en, struct gen_job *job, struct err_info *e);
/* Runs one step. False when there was nothing to do. */
bool engine_step(struct engine *en);

/* One forward pass over a whole sequence without sampling: calls row(i, values) for every token
 * with its logits, or whatever the model was opened for. For eval and tests; uses the same plan,
 * cache and batching. */
MUST_CHECK enum err engine_eval(struct engine *en, const int32_t *ids, uint32_t n,
                                void (*row)(uint32_t i, const float *values, void *owner),
                                void *owner, struct err_info *e);
/* The vector of one text: as a job would get it. Nothing else may be in the engine. */
MUST_CHECK enum err engine_embed(struct engine *en, const int32_t *ids, uint32_t n,
                                 enum meta_pooling pooling, float *vector, struct err_info *e);

/* Has `see` called before every step of the plan in engine_eval(), with the registers that the step
 * reads; NULL ends that. ERR_UNSUPPORTED when the back end does not show its registers. */
MUST_CHECK enum err engine_watch(struct engine *en,
                                 void (*see)(void *owner, const struct plan_step *s,
                                             const float *src, const float *src2, uint32_t rows),
                                 void *owner, struct err_info *e);

/* ---- inspect ---- */
struct engine_stats {
    uint32_t slots, active, waiting;
    uint32_t kv_blocks, kv_blocks_used, kv_blocks_cached;
    uint64_t steps, prompt_tokens, cached_tokens, completion_tokens;
    uint64_t jobs_done, jobs_cancelled;
    uint64_t weight_bytes, kv_bytes, compute_bytes, load_ns;
};
void engine_stats(const struct engine *en, struct engine_stats *out);
const struct tok *engine_tok(const struct engine *en);
const struct meta *engine_meta(const struct engine *en);
const struct plan *engine_plan(const struct engine *en);
const struct gguf *engine_gguf(const struct engine *en);
uint32_t engine_n_ctx(const struct engine *en);
/* Tokens of the longest prompt: less than the context where a prompt is computed in one batch. */
uint32_t engine_n_prompt(const struct engine *en);
enum engine_want engine_want(const struct engine *en); /* LOGITS, HIDDEN or SCORES */
/* Values of a row of results: n_vocab, n_embd, or the labels of a classifier. */
uint32_t engine_width(const struct engine *en);
uint32_t engine_vector(const struct engine *en); /* values of a vector of a text; 0: makes none */
/* How vectors are pooled where nobody asks otherwise: as the model says, else the mean, or the last
 * token where tokens see only what is before them. */
enum meta_pooling engine_pooling(const struct engine *en);
const char *engine_describe(const struct engine *en); /* back end and threads */

#endif
