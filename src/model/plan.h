/* plan: a model compiled to a straight-line program of ops.
 *
 * plan_build(family row + meta + tensor directory) gives a list of steps over a few registers, and
 * the list of tensors they need. The engine is the small machine that runs it; `rbee explain`
 * prints it; the verdict, the memory estimate, the binder and the profiler read it. A plan owns
 * nothing: all of it lives in the arena it was built in. It is pure data and the same on every
 * machine; plan_fuse() then rewrites it for one back end.
 *
 * Invariants: every register is written before it is read; every step names tensors whose shape was
 * checked against what the step needs; KVPUT and ATTN of a cache come in this order.
 */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/dtype.h"
#include "model/meta.h"

enum op {
#define OP(NAME, listing, weights, meaning) OP_##NAME,
#include "model/op.def"
#undef OP
    OP_COUNT
};

/* How a back end meets the weights of an op: see op.def. */
enum plan_weights { PLAN_W_NONE, PLAN_W_VEC, PLAN_W_MAT, PLAN_W_ROWS };

/* Registers. A register holds n columns a row, dense, n being what the step that writes it says;
 * plan.width[] is the most columns it ever holds. */
enum plan_reg {
    REG_X, /* residual stream */
    REG_H, /* normalised input of a block */
    REG_Q, /* queries */
    REG_K, /* keys */
    REG_V, /* values */
    REG_A, /* attention output */
    REG_G, /* gate */
    REG_U, /* up */
    REG_D, /* a block's output before it is added */
    REG_P, /* a second branch's output */
    REG_E, /* chosen experts, as whole numbers */
    REG_W, /* their weights */
    REG_T0,
    REG_T1,
    REG_T2,
    REG_T3, /* what a block computes on the way */
    REG_T4,
    REG_T5,
    REG_T6,
    REG_T7,
    REG_S,      /* kept through the layers */
    REG_L0,     /* what an adapter computes on the way (lora.h) */
    REG_L1,     /* and its result */
    REG_O,      /* gathered rows */
    REG_LOGITS, /* results, one row per wanted output */
    REG_COUNT,
    REG_NONE = REG_COUNT /* an operand that is not there */
};

/* dst = act(x); the last is a gate of two. ref_ops.c has the formulas. */
enum plan_act {
    ACT_SILU,
    ACT_GELU_TANH,
    ACT_GELU_ERF,
    ACT_GELU_QUICK, /* x sigmoid(1.702 x) */
    ACT_RELU,
    ACT_RELU_SQR, /* relu(x)^2 */
    ACT_SIGMOID,
    ACT_TANH,
    ACT_SOFTPLUS,
    ACT_NEG_EXP_DECAY,  /* exp(-exp(x)): RWKV-6 */
    ACT_SIGMOID_DECAY,  /* exp(-e^-0.5 sigmoid(x)): RWKV-7 */
    ACT_SWIGLU_CLAMPED, /* GLU only, gpt-oss: g = min(x, 7): g sigmoid(1.702 g) * (clamp(u, 7) + 1)
                         */
    ACT_COUNT
};

/* How ROUTE turns logits into the weights of the chosen experts. */
enum plan_gating {
    GATING_SOFTMAX = 1,       /* over all experts */
    GATING_SIGMOID = 2,       /* each by itself */
    GATING_SOFTMAX_CHOSEN = 3 /* over the chosen ones */
};

#define PLAN_NO_TENSOR (-1)

struct plan_step {
    enum op op;
    int layer; /* -1 outside the layers */
    enum plan_reg dst, dst2, dst3;
    enum plan_reg src, src2, src3, src4, src5, src6;
    int w, w2, w3; /* indices into plan.tensors; PLAN_NO_TENSOR: none */
    int b, b2, b3;
    uint32_t n;                /* columns of dst; of dst2 and dst3 of a product: rows of w2, w3 */
    uint32_t n_src, n_src2;    /* columns of src and src2 */
    uint32_t n_head, head_dim; /* ROPE: heads in dst; ATTN: query heads; recurrences: their heads */
    uint32_t group;            /* norms: columns of one group; COLS: of a piece */
    enum plan_act act;         /* ACT, GLU, LINEAR_GLU */
    float scale;               /* EMBED, ATTN, ADD, SCALE, SOFTCAP, CLAMP, ROUTE */
    float eps;                 /* norms */
    uint32_t index; /* ROPE: plan.ropes; KVPUT, ATTN: plan.caches; with a state: plan.states */
    union {
        struct {
            uint32_t first; /* column of a head at which the rotated ones begin */
        } rope;
        struct {
            bool by_pos; /* else row 0 */
        } rowadd;
        struct {
            uint32_t window; /* keys seen at most, the query's own included; 0: all */
            bool all;        /* not causal: every position of the span; window: this far each way */
            float softcap;   /* 0: none */
            float alibi;     /* largest slope's exponent ("max bias"), 0: none */
        } attn;
        struct { /* pieces i = 0..n_head-1: dst[to + i * to_stride] = src[from + i * from_stride] */
            uint32_t from, from_stride, to, to_stride;
            bool onto; /* other columns of dst were written before and stay */
        } cols;
        struct {
            uint32_t in_stride, out_stride; /* columns from head to head of src and dst */
        } headlin;
        struct {
            uint32_t n_used; /* experts chosen a row; EXPERT and MIX as well */
            enum plan_gating gating;
            bool norm;                      /* the chosen weights sum to one */
            uint32_t n_group, n_group_used; /* chosen among the best groups only; 0: no groups */
        } route;
        struct {
            uint32_t n_state, n_group; /* SCAN: size of the state, groups that share B and C */
        } scan;
    } u;
};

/* A tensor the plan needs: rows x cols, where cols is the contiguous (first) ggml dimension. A
 * slice of a fused tensor begins at row `first`; of a vector (rows == 1), at column `first`. */
struct plan_tensor {
    str name;      /* GGUF name */
    uint32_t file; /* index into the model's tensor directory */
    enum dtype dtype;
    uint64_t rows, cols;
    uint64_t first;
    uint32_t n_parts; /* matrices one above the other (experts, heads); rows are of all together */
};

/* Angle of pair i at position p is p * freq[i], cos and sin multiplied by mscale. Scalings (linear,
 * llama3, yarn, factor tensors) are already in it. Sequences that may grow beyond
 * plan.rope_long_from positions use the second table. */
struct plan_rope {
    const float *freq, *freq_long; /* [n_rot / 2]; freq_long may be NULL */
    float mscale, mscale_long;
    uint32_t n_rot;
    bool pairs; /* rotate (2i, 2i+1); else (i, i + n_rot/2) */
};

/* Keys and values of one layer, or of several that share them. */
struct plan_cache {
    uint32_t n_head, k_dim, v_dim;
};

struct plan {
    const struct meta *meta;
    const struct plan_step *steps;
    uint32_t n_steps;
    const struct plan_tensor *tensors;
    uint32_t n_tensors;
    uint32_t width[REG_COUNT]; /* most columns; 0: unused */
    const struct plan_rope *ropes;
    uint32_t n_ropes;
    uint32_t rope_long_from; /* 0: no second tables */
    const struct plan_cache *caches;
    uint32_t n_caches;
    const uint32_t *states; /* floats of each state, of one sequence */
    uint32_t n_states;
    bool whole; /* a sequence must be computed in one batch (attention is not causal) */
    enum plan_reg out;
};

/* What the plan asks about a tensor by name; fills *t (name, file, dtype, rows, cols, n_parts) or
 * returns false. `data` points at the values where the bytes are at hand (RoPE factor tensors),
 * else NULL. */
struct plan_source {
    bool (*find)(const void *owner, str name, struct plan_tensor *t, const void **data);
    str (*name)(const void *owner, uint32_t i); /* of the tensor with that index, i < count */
    uint32_t count;
    const void *owner;
};

/* What a plan computes for each wanted row. */
enum plan_want {
    PLAN_LOGITS, /* [n_vocab] */
    PLAN_HIDDEN, /* [n_embd] after the last norm */
    PLAN_RANK    /* the scores of a classifier head */
};

/* What a model is for: a classifier's scores, hidden rows of an encoder, or the next token. */
enum plan_want plan_want_of(const struct meta *m);

struct plan_conf {
    enum plan_want want;
    uint32_t n_ctx; /* the longest sequence; 0: as trained. Dynamic RoPE depends on it */
};

MUST_CHECK enum err plan_build(struct plan *p, struct arena *a, const struct meta *m,
                               const struct plan_source *src, const struct plan_conf *conf,
                               struct err_info *e);

/* Rewrites for a back end: `has(op, dtype)` tells which fused ops it can run on which weights. */
typedef bool plan_has_fn(enum op op, enum dtype w);
MUST_CHECK enum err plan_fuse(struct plan *p, struct arena *a, plan_has_fn *has,
                              struct err_info *e);

/* First step that the back end cannot run, or NULL. The verdict and the loader both ask this. */
const struct plan_step *plan_unsupported(const struct plan *p, plan_has_fn *has);

/* Calls fn for every use of a tensor as a vector: norm weights, biases and the like. */
void plan_each_vector(const struct plan *p, void (*fn)(void *arg, int tensor), void *arg);

/* Bytes that keys and values of one position take in all caches. */
uint64_t plan_kv_bytes_per_pos(const struct plan *p, enum dtype ktype, enum dtype vtype);
/* Floats of all states of one sequence. */
uint64_t plan_state_floats(const struct plan *p);

/* The listing of `rbee explain`; `full` prints every layer, else layers that repeat are folded. */
void plan_explain(const struct plan *p, bool full, buf *out);

const char *plan_op_name(enum op op);
const char *plan_op_meaning(enum op op);
enum plan_weights plan_op_weights(enum op op);
const char *plan_reg_name(enum plan_reg r);
const char *plan_act_name(enum plan_act act);

#endif
