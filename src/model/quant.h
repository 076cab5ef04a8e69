/* quant: float32 rows to blocks, the inverse of dtype_dequant().
 *
 * For tools and tests, and for weights that are quantised while they are loaded. Scales are
 * searched around the obvious choice and fitted by least squares, codebooks are searched to the
 * last point, so that the error is that of a good quantiser, not of the first that comes to mind.
 * What is made small is the sum of squared errors, weighted by importance where that is known.
 * Deterministic.
 */
#ifndef MODEL_QUANT_H
#define MODEL_QUANT_H

#include "model/dtype.h"

/* Can rows be quantised to this type? */
bool quant_has(enum dtype t);
/* n elements, a multiple of the type's block, to blocks; dtype_row_bytes() bytes are written.
 * Values that are not finite give some finite value of the block's range. */
void quant_row(enum dtype t, const float *x, void *blocks, size_t n);
/* The same, with the squared error of element i counting importance[i] times (mean squares of the
 * activations that meet the column, as an importance matrix has them). NULL: all alike. Values
 * below 0 or not finite count as 0. Types of 8 bits and more do not care. */
void quant_row_weighted(enum dtype t, const float *x, const float *importance, void *blocks,
                        size_t n);

/* A recipe for a whole model. */
struct quant_mix {
    const char *name; /* "Q4_K_M", or the name of a plain type */
    enum dtype base;  /* most matrices */
    uint64_t rules;   /* which rules of quant_mix.c it takes part in; 0: all matrices have `base` */
};

/* What a mix wants to know of a model. */
struct quant_model {
    uint32_t n_layer;
    uint32_t n_gqa;    /* query heads of a key head */
    uint32_t n_expert; /* 0: none */
    bool tied;         /* token_embd.weight serves as the head, too */
    bool importance;   /* quant_row_weighted() will have some */
};

/* By the name of a mix or of a type that can be written; false when there is none such. The mix
 * where both have the name, as people mean it: "Q2_K" has some matrices in Q3_K. */
bool quant_mix_from(str name, struct quant_mix *mix);
/* The name of mix i, NULL behind the last. */
const char *quant_mix_name(size_t i);
/* Matrices that no mix changes: norms, routers, convolutions and the like. */
bool quant_mix_keeps(str tensor);
/* The type of a matrix of this name with rows of `cols`. Where these are no whole number of blocks
 * it is a type of shorter ones, at worst F16. */
enum dtype quant_mix_pick(const struct quant_mix *mix, str tensor, const struct quant_model *m,
                          uint64_t cols);

#endif
