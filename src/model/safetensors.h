/* safetensors: the SafeTensors container, read without trust.
 *
 * A file is eight bytes of length, a JSON header of that length that names tensors with their type,
 * shape and span of bytes, and the bytes. safetensors_parse() is pure: it reads bytes and touches
 * no file. What it returns satisfies the whole specification: the header is at most 100 MB of
 * strict JSON, names are unique, every span is as long as type and shape say, and the spans cover
 * the data without gap and without overlap. Values are used where they lie; nothing promises that
 * they are aligned to their type.
 */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "model/dtype.h"

#define SAFETENSORS_DIMS 8

struct safetensors_type {
    const char *name; /* as the header has it: "BF16" */
    uint32_t bytes;
    const char *dtype; /* the name of the type in dtype.def; NULL: a container of bits only */
};

struct safetensors_tensor {
    str name;
    const struct safetensors_type *type;
    enum dtype dtype;               /* DTYPE_COUNT when the type has none */
    uint32_t n_dims;                /* 0: one value */
    uint64_t dim[SAFETENSORS_DIMS]; /* the last one is contiguous; may be 0 */
    uint64_t elems, bytes;
    uint64_t at;         /* where its values begin, from the end of the header */
    const uint8_t *data; /* NULL when only a header was parsed */
};

struct safetensors {
    struct safetensors_tensor *tensors; /* sorted by name; in the arena */
    size_t n;
};

/* The whole file, which must outlive the result. Names are copied into the arena. */
MUST_CHECK enum err safetensors_parse(struct safetensors *s, struct arena *a, const uint8_t *bytes,
                                      size_t n, struct err_info *e);
/* The first n bytes of a file of file_bytes; a header is enough. ERR_LIMIT when it goes on behind
 * them: *need is how many are needed. */
MUST_CHECK enum err safetensors_parse_header(struct safetensors *s, struct arena *a,
                                             const uint8_t *bytes, size_t n, uint64_t file_bytes,
                                             uint64_t *need, struct err_info *e);
/* NULL when there is no such tensor. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *s, str name);

#endif
