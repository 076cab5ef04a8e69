/* dequant: in place of the dequantisers of packed weights. The table of types says by a pointer
 * that a type can be run; the judge reads that and, of values, plain floats only, whose real ones
 * (dtype_plain.c) take precedence over these. */
#include "base/err.h"
#include "model/dtype_int.h"

#define DTYPE(NAME, id, text, elems, block)                                                        \
    dtype_dequant_fn dtype_dq_##block;                                                             \
    __attribute__((weak)) void dtype_dq_##block(const void *blocks, float *out, size_t n)          \
    {                                                                                              \
        (void)blocks, (void)out, (void)n;                                                          \
        BUG("packed weights are not read here");                                                   \
    }
#include "model/dtype.def"
#undef DTYPE
