/* lm: a Llama-family language model with its gradient and its optimiser.
 *
 * The block is Llama's as GGUF lays it out: RMS norm, grouped-query attention with rotary pairs
 * (2i, 2i+1), SwiGLU, output head tied to the embedding. All weights are one float array; matrices
 * are [rows out][columns in]. A step runs B windows of T tokens at once, forward and backward;
 * every sum has a fixed order, so the result depends on seed and data only, not on threads or
 * machine.
 */
#ifndef TRAIN_LM_H
#define TRAIN_LM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gemm.h"
#include "team.h"

#define LM_EPS   1e-5f
#define LM_THETA 10000.0f

struct lm_shape {
    size_t vocab, embd, layers, heads, kv_heads, head_dim, ff;
};

/* Where one matrix or norm lies in the weights. */
struct lm_slot {
    size_t at, rows, cols; /* rows == 1: a norm */
};

enum lm_part { LM_NORM1, LM_Q, LM_K, LM_V, LM_O, LM_NORM2, LM_GATE, LM_UP, LM_DOWN, LM_PARTS };
#define LM_LAYERS_MAX 16

struct lm {
    struct lm_shape s;
    struct lm_slot embd, norm, layer[LM_LAYERS_MAX][LM_PARTS];
    size_t n_weights;
    float *w;       /* [n_weights] */
    float *grad;    /* [n_weights], or NULL for a model that only runs */
    float *m1, *m2; /* Adam's moments, likewise */
    uint64_t n_steps;
};

/* Random weights from `seed`. With `train`, room for gradients and moments too. */
void lm_init(struct lm *m, struct lm_shape s, uint64_t seed, bool train);
void lm_fini(struct lm *m);

/* Activations of B windows of T tokens. */
struct lm_acts;
struct lm_acts *lm_acts_new(const struct lm *m, size_t batch, size_t window, struct team *t);
void lm_acts_free(struct lm_acts *a);

struct lm_batch {
    const int32_t *ids, *target, *from; /* [B][T] each */
};

/* Mean cross entropy in nats of target[i] given the tokens before it; ids and target are [B][T], a
 * negative target does not count. Row i looks back no further than position from[i] of its window
 * (NULL: the whole window), so that documents packed together do not see each other. With m->grad
 * and `backward`, adds the gradient to m->grad. */
double lm_loss(struct lm *m, struct lm_acts *a, const struct lm_batch *b, bool backward);

struct lm_adam {
    float rate, beta1, beta2, eps, decay, clip;
};
/* One AdamW step (Loshchilov and Hutter) on m->grad, clipped to the global norm, which is returned;
 * the gradient is zero after it. Norms and embedding do not decay. */
double lm_adam_step(struct lm *m, struct lm_adam opt, struct team *t);

/* ---- running ---- */
struct lm_run; /* a KV cache and one token's activations */
struct lm_run *lm_run_new(const struct lm *m, size_t context);
void lm_run_free(struct lm_run *r);
/* Appends one token; returns its logits [vocab], good until the next call. NULL when full. */
const float *lm_run_step(const struct lm *m, struct lm_run *r, int32_t id);

#endif
