/* backend: one set of named ops over one device, chosen when the worker is linked.
 *
 * A back end is a `const struct backend`. A `struct dev` is its open state for one loaded model: it
 * knows the plan, the weights (used where they lie when the device can read the mapping), owns the
 * registers and the KV cache, and is driven by one thread, the engine's. There is no fallback: an
 * op or a weight type that has() denies is refused when the model is loaded, never replaced.
 *
 * The KV cache is paged. The back end holds `n_blocks` blocks of KV_BLOCK positions for every layer
 * in a layout of its own; the engine only names blocks by number and decides which sequence uses
 * which. Position p of a sequence lives in block blocks[p / KV_BLOCK] at p % KV_BLOCK.
 *
 * Recurrent states (plan.states) are float32, `n_states` sets of them, one set a running sequence.
 * They can be neither shared nor rewound: a sequence that has to go back begins again at position
 * 0.
 *
 * Rows at or after GATHER are those of batch.out. A back end reads the plan and never its meta.
 *
 * Determinism: the result of a row depends only on that row, its sequence's cache and the weights,
 * not on the other rows of the batch nor on the number of threads, up to the rounding of sums: back
 * ends say in their head comment where that is exact and where it is not.
 */
#ifndef COMPUTE_BACKEND_H
#define COMPUTE_BACKEND_H

#include "base/err.h"
#include "model/plan.h"

#define KV_BLOCK 32 /* positions */

/* Rows first..first+n-1 of a batch: n consecutive positions of one sequence. */
struct batch_span {
    uint32_t first, n;
    uint32_t pos;           /* of the first row; the cache holds 0..pos-1 already */
    const uint32_t *blocks; /* block numbers, enough for pos + n positions */
    uint32_t state;         /* which set of recurrent states is the sequence's; a row at position 0
                               begins from zeroed states, whatever the set holds */
    bool rope_long;         /* the sequence may grow beyond plan.rope_long_from: second tables */
};

struct batch {
    uint32_t n;                     /* rows */
    const int32_t *tok;             /* [n] token ids, each < n_vocab */
    const int32_t *pos;             /* [n] positions */
    const struct batch_span *spans; /* cover the rows, in order, without gaps */
    uint32_t n_spans;
    const uint32_t *out; /* [n_out] rows whose results are wanted, ascending */
    uint32_t n_out;
};

struct dev_conf {
    uint32_t n_threads;      /* CPU back ends */
    uint32_t max_batch;      /* rows of one step */
    uint32_t max_out;        /* rows of results of one step */
    uint32_t n_blocks;       /* of the KV cache */
    uint32_t n_states;       /* sets of recurrent states */
    enum dtype ktype, vtype; /* of the cache: F32 F16 BF16 Q8_0 Q4_0, each by itself */
    const char *isa;         /* CPU: NULL = best; a name of CPU_ISAS to force one (tests) */
};

struct dev_weight {   /* parallel to plan.tensors */
    const void *data; /* in the mapping, at the file's alignment (at least 1, mostly 32); of a
                         slice, its first row. NULL when the matrices lie apart: */
    const void *const *parts; /* [n_parts] one pointer a matrix (expert, head); NULL: adjacent */
};

struct dev;
typedef void backend_op_fn(struct dev *d, const struct plan_step *s, const struct batch *b);

struct backend {
    const char *name; /* "ref", "cpu" */
    /* Can this op run with weights of this type? For ops without weights `w` is ignored. */
    plan_has_fn *has;
    bool (*has_kv)(enum dtype ktype, enum dtype vtype);
    /* Bytes that open() will allocate beyond the weights: registers, scratch, KV cache. */
    uint64_t (*bytes)(const struct plan *p, const struct dev_conf *c);
    /* The plan (already fused for this back end) and the weights are borrowed until close(). */
    enum err (*open)(struct dev **d, const struct plan *p, const struct dev_weight *w,
                     const struct dev_conf *c, struct err_info *e);
    void (*close)(struct dev *d);
    backend_op_fn *op[OP_COUNT]; /* NULL: not supported. May allocate nothing. */
    /* Called before the first and after the last op of a step (pool wake-up, stream sync). */
    void (*begin)(struct dev *d, const struct batch *b);
    void (*end)(struct dev *d, const struct batch *b);
    /* Row i of the last step's results, plan.out, [plan.width[plan.out]], readable by the caller
     * until the next step. */
    const float *(*result)(struct dev *d, uint32_t i);
    /* Copies the first n positions of a block, all layers (copy on write of a shared prefix). */
    void (*kv_copy)(struct dev *d, uint32_t from, uint32_t to, uint32_t n);
    /* A register between two ops, [rows][columns of the step that wrote it], readable until the
     * next op; NULL: this device does not show them. */
    const float *(*reg)(struct dev *d, enum plan_reg r);
    /* What is in use, for people: "avx512-vnni, 2 threads". Borrowed until close(). */
    const char *(*describe)(const struct dev *d);
};

#endif
