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

#endif
