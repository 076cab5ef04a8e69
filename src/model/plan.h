/* plan: a model compiled to a straight-line program of ops.
 *
 * plan_build(family row + meta + tensor directory) gives a list of steps over a few registers, and
 * the list of tensors they need. The engine is the small machine that runs it; `rbee explain`
 * prints it; the verdict, the memory estimate, the binder and the profiler read it. A plan owns
 * nothing: all of it lives in the arena it was built in. It is pure data and the same on every
 * machine; plan_fuse() then rewrites it for one back end.
 *
 * Invariants: every register is written before it is read; every step names tensors whose shape was
 * checked against what the step needs; KVPUT and ATTN of a layer come in this order.
 */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/dtype.h"
#include "model/meta.h"

enum op {
#define OP(NAME, listing, meaning) OP_##NAME,
#include "model/op.def"
#undef OP
    OP_COUNT
};

/* Registers. WIDTH below: columns of each, in plan.width[]. */
enum plan_reg {
    REG_X,      /* residual stream [n_embd] */
    REG_H,      /* normalised input of a block [n_embd] */
    REG_Q,      /* [n_head * head_dim] */
    REG_K,      /* [n_head_kv * head_dim] */
    REG_V,      /* [n_head_kv * head_dim_v] */
    REG_A,      /* attention output [n_head * head_dim_v] */
    REG_G,      /* gate [n_ff] */
    REG_U,      /* up [n_ff] */
    REG_D,      /* a block's output before it is added [n_embd] */
    REG_O,      /* gathered rows [n_embd] */
    REG_LOGITS, /* [n_vocab], one row per wanted output */
    REG_COUNT
};

enum plan_act { ACT_SILU, ACT_GELU_TANH, ACT_GELU_ERF, ACT_RELU };

#define PLAN_NO_TENSOR (-1)

struct plan_step {
    enum op op;
    int layer; /* -1 outside the layers */
    enum plan_reg dst, dst2, dst3;
    enum plan_reg src, src2;
    int w, w2, w3; /* indices into plan.tensors; PLAN_NO_TENSOR: none */
    int b, b2, b3;
    uint32_t n_head, head_dim; /* ROPE: heads in dst; ATTN: query heads */
    uint32_t group;            /* RMSNORM: columns of one group */
    enum plan_act act;         /* GLU, LINEAR_GLU */
    float scale;               /* EMBED, ATTN */
    float eps;                 /* RMSNORM */
};

/* A tensor the plan needs: rows x cols, where cols is the contiguous (first) ggml dimension. */
struct plan_tensor {
    str name;      /* GGUF name */
    uint32_t file; /* index into the model's tensor directory */
    enum dtype dtype;
    uint64_t rows, cols;
};

struct plan {
    const struct meta *meta;
    const struct plan_step *steps;
    uint32_t n_steps;
    const struct plan_tensor *tensors;
    uint32_t n_tensors;
    uint32_t width[REG_COUNT]; /* columns; 0: unused */
    /* RoPE, shared by all ROPE steps: angle of pair i at position p is p * rope_freq[i], cos and
     * sin multiplied by rope_mscale. Scalings (linear, llama3, yarn, factor tensors) are already in
     * it. */
    const float *rope_freq; /* [n_rot / 2] */
    uint32_t n_rot;
    float rope_mscale;
    bool rope_pairs; /* rotate (2i, 2i+1); else (i, i + n_rot/2) */
};

/* What the plan asks about a tensor by name; fills *t (file, dtype, rows, cols) or returns false.
 * `data` points at the values where the bytes are at hand (RoPE factor tensors), else NULL. */
struct plan_source {
    bool (*find)(const void *owner, str name, struct plan_tensor *t, const void **data);
    const void *owner;
};

MUST_CHECK enum err plan_build(struct plan *p, struct arena *a, const struct meta *m,
                               const struct plan_source *src, struct err_info *e);

/* Rewrites for a back end: `has(op, dtype)` tells which fused ops it can run on which weights. */
typedef bool plan_has_fn(enum op op, enum dtype w);
MUST_CHECK enum err plan_fuse(struct plan *p, struct arena *a, plan_has_fn *has,
                              struct err_info *e);

/* First step that the back end cannot run, or NULL. The verdict and the loader both ask this. */
const struct plan_step *plan_unsupported(const struct plan *p, plan_has_fn *has);

/* The listing of `rbee explain`; `full` prints every layer, else layers that repeat are folded. */
void plan_explain(const struct plan *p, bool full, buf *out);

const char *plan_op_name(enum op op);
const char *plan_op_meaning(enum op op);
const char *plan_reg_name(enum plan_reg r);

#endif
