/* gguf: the GGUF container, versions 1 to 3, read without trust.
 *
 * gguf_parse() is pure: it reads a header from bytes and never touches a file, so it serves a local
 * file, the first bytes of a remote one and the browser alike; when the header goes on past the
 * bytes given it says how many are needed. gguf_open() maps a file and all its split parts. Tensor
 * data is used from the mapping, never copied.
 *
 * Every line of the specification that a hostile file could bend is checked: counts and lengths
 * against the bytes that remain, dimensions and their product, alignment, offsets inside the file,
 * aligned, not overlapping, duplicate keys and tensors, types of values before they are read.
 * Strings and arrays are views into the bytes.
 */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H

#include "base/arena.h"
#include "base/err.h"
#include "base/map.h"
#include "base/str.h"
#include "model/dtype.h"
#include "model/plan.h"

enum gguf_type { /* ids of the specification */
                 GGUF_U8,
                 GGUF_I8,
                 GGUF_U16,
                 GGUF_I16,
                 GGUF_U32,
                 GGUF_I32,
                 GGUF_F32,
                 GGUF_BOOL,
                 GGUF_STR,
                 GGUF_ARR,
                 GGUF_U64,
                 GGUF_I64,
                 GGUF_F64,
                 GGUF_TYPE_COUNT
};

struct gguf_kv {
    str key;
    enum gguf_type type; /* GGUF_ARR: see elem and count */
    enum gguf_type elem;
    uint64_t count;      /* 1 for scalars */
    const uint8_t *data; /* the value's bytes in the file; strings in the file's own encoding */
    size_t bytes;        /* of data */
    const str *strs;     /* elements of a string or of an array of strings */
};

struct gguf_tensor {
    str name;
    uint32_t n_dims;
    uint64_t dim[4]; /* dim[0] is contiguous; 1 beyond n_dims */
    enum dtype dtype;
    uint64_t offset; /* in its file, from the start of the file */
    uint64_t bytes;
    uint32_t part;       /* which split file */
    const uint8_t *data; /* NULL when only a header was parsed, and when `parts` is set */
    /* Experts that lie apart: dim[2] pointers to bytes / dim[2] bytes each; else NULL. */
    const uint8_t *const *parts;
};

struct gguf_copy; /* owned memory that holds tensors whose layout in the file is another */

struct gguf_name {
    str name;
    uint32_t at; /* index into kv or tensors */
};

struct gguf {
    uint32_t version;
    uint32_t alignment;
    struct gguf_kv *kv;
    uint64_t n_kv;
    struct gguf_tensor *tensors; /* all parts, in file order */
    uint64_t n_tensors;
    uint32_t n_parts;
    uint64_t file_bytes; /* all parts */
    struct map *maps;    /* n_parts of them, when opened from files */
    const char *dir;     /* the Hugging Face directory it stands for (model/hf.h); else NULL */
    struct gguf_copy *copies;
    uint64_t copied_bytes; /* of all copies: memory, not mapping */
    /* ---- private ---- */
    struct gguf_name *kv_names, *tensor_names; /* sorted by name, one for each entry */
    struct arena arena;                        /* of gguf_open */
};

/* Parses one file's header out of `bytes`. file_size: size of the whole file (0: unknown, offsets
 * are then not checked against it). Returns ERR_FORMAT or ERR_UNSUPPORTED with a reason; when `n`
 * was too short and the file goes on, returns ERR_LIMIT and *need is a byte count worth trying
 * next. */
MUST_CHECK enum err gguf_parse(struct gguf *g, struct arena *a, const uint8_t *bytes, size_t n,
                               uint64_t file_size, uint64_t *need, struct err_info *e);

/* Opens a model: one file, or the first of its split parts ("...-00001-of-00003.gguf"). */
MUST_CHECK enum err gguf_open(struct gguf *g, const char *path, struct err_info *e);
void gguf_close(struct gguf *g);
/* Zeroed memory that lives until gguf_close(), for values that cannot stay where they are. Refused
 * with ERR_NOMEM when the machine has less available. */
MUST_CHECK enum err gguf_copy_new(struct gguf *g, uint64_t bytes, uint8_t **out,
                                  struct err_info *e);
/* The values of index i of the third dimension, wherever they lie: bytes / dim[2] bytes. */
const uint8_t *gguf_tensor_part(const struct gguf_tensor *t, uint64_t i);

/* Sorts the tensor names of g into g->tensor_names and refuses one that occurs twice: for whoever
 * puts the tensors of several headers into one. */
MUST_CHECK enum err gguf_index_tensors(struct gguf *g, struct arena *a, struct err_info *e);

/* NULL when there is no such key. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
/* Typed reads. Absent key: *out keeps its value and ERR_OK is returned; present with a type that
 * does not convert without loss: ERR_FORMAT naming the key. */
MUST_CHECK enum err gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out,
                                 struct err_info *e);
MUST_CHECK enum err gguf_get_f32(const struct gguf *g, const char *key, float *out,
                                 struct err_info *e);
MUST_CHECK enum err gguf_get_bool(const struct gguf *g, const char *key, bool *out,
                                  struct err_info *e);
MUST_CHECK enum err gguf_get_str(const struct gguf *g, const char *key, str *out,
                                 struct err_info *e);
/* Array of strings; *n is 0 and *out NULL when absent. */
MUST_CHECK enum err gguf_get_strs(const struct gguf *g, const char *key, const str **out, size_t *n,
                                  struct err_info *e);
/* Arrays of numbers, converted into the arena; bools as 0 and 1 in those of integers. */
MUST_CHECK enum err gguf_get_f32s(const struct gguf *g, struct arena *a, const char *key,
                                  const float **out, size_t *n, struct err_info *e);
MUST_CHECK enum err gguf_get_i32s(const struct gguf *g, struct arena *a, const char *key,
                                  const int32_t **out, size_t *n, struct err_info *e);

const struct gguf_tensor *gguf_tensor(const struct gguf *g, str name);
/* A plan_source over this file's tensors. */
struct plan_source gguf_source(const struct gguf *g);
const char *gguf_type_name(enum gguf_type t);

#endif
