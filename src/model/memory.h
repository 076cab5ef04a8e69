/* memory: what a model needs at a context, a number of sequences and a type of KV cache.
 *
 * Pure arithmetic over a plan. The sizes of a configuration and the KV cache are the loader's own
 * (engine/load.c asks here), so they are exact. What a CPU worker takes beyond weights and cache is
 * counted by the same rules as in compute/cpu and engine, without their tables' padding and small
 * structures: it is within 5 % or 2 MiB of what the worker allocates, whichever is more.
 */
#ifndef MODEL_MEMORY_H
#define MODEL_MEMORY_H

#include "model/plan.h"

struct json;
struct jsonw;

#define MEMORY_BLOCK        32 /* positions that the KV cache is handed out by; KV_BLOCK of a back end */
#define MEMORY_SMALLEST_CTX 256        /* that is offered when memory is short */
#define MEMORY_KV_ALL       UINT64_MAX /* kv_budget: what all slots take, however much */

/* Zero: not asked for. */
struct memory_conf {
    uint32_t n_ctx;   /* positions of one sequence; default: the model's, at most 4096 */
    uint32_t n_slots; /* sequences at once; default 16 */
    uint32_t
        max_batch;    /* tokens of one step; default 512, a whole text where it must be one batch */
    uint32_t max_out; /* rows of results of one step */
    uint64_t kv_budget; /* bytes, for at least one sequence; default: what all slots take, and at
                           most 2 GiB unless both n_ctx and n_slots are asked for */
    enum dtype ktype, vtype;
    uint32_t n_threads;
    bool all_rows; /* results of all tokens are wanted, not only of the last ones */
};

/* Bytes. */
struct memory_need {
    uint64_t weights, kv, compute; /* compute: registers, states, scratch, the engine's own */
    uint64_t total;
    uint32_t n_blocks; /* of the cache */
};

/* What of a plan decides about memory, small enough to be kept for every model of a catalogue. All
 * zero: nothing is known. Every number is exact but those of an ESTIMATE. */
enum memory_source {
    MEMORY_NONE,
    MEMORY_ESTIMATE, /* from the number of parameters */
    MEMORY_CONFIG,   /* config.json: exact, if the weights are what it says */
    MEMORY_HEADER    /* the header of the weights */
};

/* Products in which each row of a batch stands for `mult` rows over `parts` matrices. */
struct memory_product {
    uint32_t mult, parts, cols;
};

#define MEMORY_PRODUCTS 3

struct memory_shape {
    enum memory_source source;
    uint32_t n_ctx_train;
    uint32_t n_ctx_learned;  /* positions that the model has learned; 0: any */
    uint32_t k_cols, v_cols; /* of one position, in all caches */
    uint32_t k_max, v_max;   /* the largest head */
    uint32_t k_unit, v_unit; /* heads are multiples of it; 0: not known */
    uint32_t states;         /* floats of one sequence */
    uint32_t vectors;        /* floats of norms, biases and the like */
    uint32_t row_cols;       /* registers of a row */
    uint32_t rope_cols, glu_cols;
    uint32_t result_cols; /* registers of a wanted row */
    uint32_t out_cols;    /* one result */
    struct memory_product product[MEMORY_PRODUCTS];
    bool whole;    /* a sequence is computed in one batch */
    bool all_rows; /* results of all tokens are wanted */
};

void memory_shape_of(struct memory_shape *s, const struct plan *p);
/* What is known of a model whose plan is not. */
struct memory_facts {
    const struct family *family; /* NULL: not known */
    uint64_t params;             /* 0: not known, and no shape */
    uint32_t n_ctx_train;        /* 0: not known */
};
void memory_shape_estimate(struct memory_shape *s, const struct memory_facts *f);
const char *memory_source_name(enum memory_source s);
/* As one JSON object, and back; ERR_FORMAT names a member that is no number. */
void memory_shape_write(const struct memory_shape *s, struct jsonw *w);
MUST_CHECK enum err memory_shape_read(struct memory_shape *s, const struct json *v,
                                      struct err_info *e);

/* The sizes that a worker takes when asked for c: defaults for what is zero, then what the shape
 * says about sizes that were asked for in vain. */
void memory_fill_of(struct memory_conf *c, const struct memory_shape *s);
struct memory_need memory_need_of(const struct memory_shape *s, const struct memory_conf *c,
                                  uint64_t weights);
/* As memory_shrink(). */
bool memory_shrink_of(const struct memory_shape *s, struct memory_conf *c, uint64_t weights,
                      uint64_t bytes);

/* Fills in what needs no plan: context, slots, batch. */
void memory_defaults(struct memory_conf *c, const struct meta *m);
/* What the plan says about sizes that nobody asked for, or that were asked for in vain;
 * `batch_asked`: max_batch is not a default. */
void memory_settle(struct memory_conf *c, const struct plan *p, bool batch_asked);
/* Blocks of the KV cache, at least one sequence. A model without attention has blocks of no bytes:
 * they count positions. */
uint32_t memory_blocks(const struct plan *p, const struct memory_conf *c);
uint64_t memory_kv(const struct plan *p, const struct memory_conf *c, uint64_t n_blocks);
/* The bytes of all tensors that the plan names, each once; bytes(owner, file index). */
uint64_t memory_weights(const struct plan *p, uint64_t (*bytes)(const void *owner, uint32_t file),
                        const void *owner);
/* The whole, for a settled configuration and a plan that is fused as the worker fuses it; that of
 * its shape. */
struct memory_need memory_need(const struct plan *p, const struct memory_conf *c, uint64_t weights);
/* One step down: fewer slots first, then a shorter context. False: there is none. */
bool memory_smaller(uint32_t *n_ctx, uint32_t *n_slots);
/* The largest smaller configuration that fits into `bytes`: fewer slots first, then a shorter
 * context. False: none does. */
bool memory_shrink(const struct plan *p, struct memory_conf *c, uint64_t weights, uint64_t bytes);

#endif
