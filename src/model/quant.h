/* quant: float32 rows to blocks, the inverse of dtype_dequant().
 *
 * For tools and tests, and for weights that are quantised while they are loaded. Scales are
 * searched a little around the obvious choice and fitted by least squares, so that the error is
 * that of a good quantiser, not of the first that comes to mind; there is no importance matrix.
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

/* A recipe for a whole model: the type of each matrix by its role. */
struct quant_mix {
    const char *name; /* "Q4_K_M", or the name of a plain type */
    enum dtype base;  /* most matrices */
    enum dtype more;  /* attn_v and ffn_down of about half the layers */
    enum dtype head;  /* output.weight, and token_embd.weight where it serves as such */
};

/* By the name of a mix or of a type that can be written; false when there is none such. */
bool quant_mix_from(str name, struct quant_mix *mix);
/* The type of a matrix of this name with rows of `cols`. Rows that are no whole number of blocks
 * get Q8_0 or F16 instead. */
enum dtype quant_mix_pick(const struct quant_mix *mix, str tensor, uint32_t n_layer, bool tied,
                          uint64_t cols);

#endif
