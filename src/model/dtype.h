/* dtype: the element types of tensors: names, ids, block sizes, and exact dequantisation.
 *
 * One table, dtype.def. A tensor row is a whole number of blocks; a block packs `elems` weights
 * with their scales, and its byte size is sizeof its struct (model/blocks.h), asserted against
 * ggml's published layout. dtype_dequant() turns blocks into float32 and is the definition of what
 * a weight is worth; every faster path is tested against it.
 */
#ifndef MODEL_DTYPE_H
#define MODEL_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum dtype {
#define DTYPE(NAME, id, name, elems, block) DTYPE_##NAME,
#include "model/dtype.def"
#undef DTYPE
    DTYPE_COUNT
};

#define DTYPE_NO_GGML UINT32_MAX /* the id of a type that GGUF files cannot hold */

/* The types that a KV cache may have, as an option names them. */
#define DTYPE_KV_NAMES "f32|f16|bf16|q8_0|q4_0"

typedef void dtype_dequant_fn(const void *blocks, float *out, size_t n);

struct dtype_info {
    const char *name; /* "q4_K", as people write it */
    uint32_t ggml_id;
    uint32_t elems;            /* elements of a block */
    uint32_t bytes;            /* bytes of a block */
    dtype_dequant_fn *dequant; /* NULL: known by name, cannot be run */
};

const struct dtype_info *dtype_info(enum dtype t);
/* DTYPE_COUNT when the id is none of ggml's; DTYPE_NO_GGML is none. */
enum dtype dtype_from_ggml(uint32_t id);
/* A name for any id, "type 97 (ik_llama private)" and the like included; static storage or `out`.
 */
const char *dtype_ggml_name(uint32_t id, char out[48]);
/* DTYPE_COUNT when unknown; case is ignored. */
enum dtype dtype_from_name(str name);

/* Bytes of a row of n elements; false when n is not a whole number of blocks or on overflow. */
bool dtype_row_bytes(enum dtype t, uint64_t n, uint64_t *bytes);
/* n elements (a multiple of the block) to float32. The type must have a dequantiser. */
void dtype_dequant(enum dtype t, const void *blocks, float *out, size_t n);

float dtype_f16_to_f32(uint16_t h);
uint16_t dtype_f32_to_f16(float f); /* round to nearest even */
float dtype_bf16_to_f32(uint16_t h);
uint16_t dtype_f32_to_bf16(float f); /* round to nearest even, NaN kept */

#endif
