/* ref_int: the open state of the reference back end and what its files share.
 *
 * ref.c opens, closes and holds the table of ops; ref_ops.c has the ops that treat rows one by one,
 * ref_attn.c those around the KV cache, ref_moe.c mixtures of experts, ref_recur.c what has a
 * state.
 */
#ifndef COMPUTE_REF_REF_INT_H
#define COMPUTE_REF_REF_INT_H

#include "compute/ref/ref.h"

/* Keys or values of one plan_cache. A head's row at a position is rounded to the cache's type. */
struct ref_cache {
    enum dtype type;
    uint32_t n_head, dim; /* values of a head's row */
    uint64_t row;         /* bytes of a head's row */
    char *at;             /* [n_blocks][KV_BLOCK][n_head][row] */
};

struct dev {
    const struct plan *plan;
    const struct dev_weight *w;
    struct dev_conf conf;
    uint32_t gather; /* index of the first GATHER; n_steps: there is none */
    char *memory;    /* the one allocation; all below points into it */
    float *reg[REG_COUNT];
    struct ref_cache *k, *v; /* [plan.n_caches] */
    float *states;           /* [conf.n_states][set] */
    uint64_t *state_at;      /* [plan.n_states] where in a set */
    uint64_t set;            /* floats of all states of a sequence */
    const float **vec;       /* [plan.n_tensors] norm weights and biases; NULL for others */
    float *tmp[3];           /* [longest row of anything] */
    double *sum;             /* the same */
    bool *taken;             /* the same */
    double *scores;          /* [n_blocks * KV_BLOCK] */
};

/* ---- ref.c ---- */
/* Rows of the batch that the step is for. */
uint32_t ref_rows(const struct dev *d, const struct plan_step *s, const struct batch *b);
/* Row i of a register that holds n columns now. */
float *ref_row(const struct dev *d, enum plan_reg r, uint32_t n, uint64_t i);
/* Values of a vector, rows * cols of them, or NULL where there is none. */
const float *ref_vector(const struct dev *d, int t);
/* How many values it has; 1 where there is none. */
uint64_t ref_vector_len(const struct dev *d, int t);
/* Row r of matrix `part` of tensor t as float32; a tensor of one matrix has part 0 only. */
void ref_weight_row(const struct dev *d, int t, uint32_t part, uint64_t r, float *out);
/* Sum of products in double, in index order. */
float ref_dot(const float *a, const float *b, uint64_t n);

/* ---- ref_ops.c ---- */
backend_op_fn ref_op_embed, ref_op_rowadd, ref_op_gather, ref_op_rmsnorm, ref_op_layernorm,
    ref_op_l2norm, ref_op_linear, ref_op_linear2, ref_op_linear3, ref_op_linear_add,
    ref_op_linear_glu, ref_op_headlin, ref_op_act, ref_op_glu, ref_op_add, ref_op_mul, ref_op_scale,
    ref_op_softcap, ref_op_topgauss, ref_op_headsum, ref_op_clamp, ref_op_cols;
/* ---- ref_attn.c ---- */
backend_op_fn ref_op_rope, ref_op_kvput, ref_op_attn;
void ref_kv_copy(struct dev *d, uint32_t from, uint32_t to, uint32_t n);
/* ---- ref_moe.c ---- */
backend_op_fn ref_op_route, ref_op_expert, ref_op_mix;
/* ---- ref_recur.c ---- */
backend_op_fn ref_op_shift, ref_op_lerp, ref_op_conv, ref_op_scan, ref_op_scan_heads, ref_op_wkv6,
    ref_op_wkv7, ref_op_delta;
/* Sequences that begin in this batch get states of zeros. */
void ref_recur_begin(struct dev *d, const struct batch *b);

#endif
