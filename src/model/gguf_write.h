/* gguf_write: writes GGUF version 3 files.
 *
 * Metadata and the tensor directory are collected in memory; gguf_write_open() then writes the
 * header and the caller streams the data of the tensors in the order they were declared, calling
 * gguf_write_align() before each. Nothing of the data is kept. Failures while collecting are sticky
 * and reported by gguf_write_header() and gguf_write_open().
 */
#ifndef MODEL_GGUF_WRITE_H
#define MODEL_GGUF_WRITE_H

#include <stdio.h>

#include "base/buf.h"
#include "model/gguf.h"

struct gguf_write {
    buf kv, dir;
    uint64_t n_kv, n_tensors;
    uint64_t declared; /* bytes of all tensors declared, aligned */
    uint64_t written;  /* bytes of tensor data written, padding included */
    uint32_t alignment;
    FILE *file;
};

/* ---- life cycle ---- */
void gguf_write_init(struct gguf_write *w);
void gguf_write_fini(struct gguf_write *w); /* closes the file, too, if it is still open */

/* ---- collect ---- */
void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t v);
void gguf_write_f32(struct gguf_write *w, const char *key, float v);
void gguf_write_bool(struct gguf_write *w, const char *key, bool v);
void gguf_write_str(struct gguf_write *w, const char *key, str v);
void gguf_write_strs(struct gguf_write *w, const char *key, const str *v, size_t n);
void gguf_write_f32s(struct gguf_write *w, const char *key, const float *v, size_t n);
void gguf_write_i32s(struct gguf_write *w, const char *key, const int32_t *v, size_t n);
/* A key as it was read from another file, of any version. */
void gguf_write_kv(struct gguf_write *w, const struct gguf_kv *kv);
/* dim[0] is the contiguous one and a multiple of the type's block. Returns the tensor's bytes. */
uint64_t gguf_write_tensor(struct gguf_write *w, str name, enum dtype t, const uint64_t *dim,
                           uint32_t n_dims);

/* ---- write ---- */
/* The whole header, padded to where tensor data begins. */
MUST_CHECK enum err gguf_write_header(const struct gguf_write *w, buf *out, struct err_info *e);
MUST_CHECK enum err gguf_write_open(struct gguf_write *w, const char *path, struct err_info *e);
/* Pads to the alignment: before a tensor's first byte. */
MUST_CHECK enum err gguf_write_align(struct gguf_write *w, struct err_info *e);
MUST_CHECK enum err gguf_write_data(struct gguf_write *w, const void *p, size_t n,
                                    struct err_info *e);
/* Pads, checks that all declared bytes were written, and closes. */
MUST_CHECK enum err gguf_write_close(struct gguf_write *w, struct err_info *e);

#endif
