/* convert: writes a model as one GGUF file, as it is or quantised; or quantises it where it lies.
 *
 * The source is any struct gguf: a file, a split one, or a Hugging Face directory (model/hf.h).
 * What GGUF has otherwise than such a directory is put right on the way: rows of q and k are
 * reordered where the architecture rotates pairs, 8-bit floats become BF16 (exactly), keys of our
 * own are left out. Matrices are read, converted and written row by row: memory stays at some rows,
 * whatever the size of the model.
 */
#ifndef MODEL_CONVERT_H
#define MODEL_CONVERT_H

#include "model/gguf_write.h"
#include "model/quant.h"

struct convert {
    const struct quant_mix *mix; /* NULL: every tensor keeps its type */
    /* An importance matrix, as llama.cpp's GGUF form has it ("NAME.in_sum2", "NAME.counts"); NULL:
     * none. */
    const struct gguf *importance;
    uint32_t n_threads; /* 0: one */
    bool force;         /* an existing file is replaced */
    /* Adds keys to those of the source, such as those of a tokenizer that lies beside it. */
    enum err (*keys)(struct gguf_write *w, void *owner, struct err_info *e);
    /* Called before each tensor, with the bytes of the source that are done and their sum. */
    void (*progress)(void *owner, str tensor, uint64_t done, uint64_t total);
    void *owner;
};

/* Writes `path` under a temporary name beside it and renames it when it is complete: on any error
 * there is no file, or the old one. ERR_INVALID when it exists and `force` is not set; ERR_NOSPACE
 * when the disk is too full. */
MUST_CHECK enum err convert_write(const struct gguf *g, const char *path, const struct convert *c,
                                  struct err_info *e);

/* What a mix wants to know of a model, by the names and shapes of its tensors. */
void convert_learn(const struct gguf *g, struct quant_model *m);
/* The type that a tensor of this name, type and shape gets. */
enum dtype convert_type(const struct quant_mix *mix, const struct quant_model *m,
                        const struct gguf_tensor *t);

/* Where a Hugging Face directory that rotates halves has the row that is row i of GGUF's q or k,
 * which rotates pairs: heads of `head` rows, the first n_rot of which turn. */
uint64_t convert_source_row(uint64_t head, uint64_t n_rot, uint64_t i);

/* Quantises the matrices among g's tensors first..n-1 into memory that g owns; the others stay. */
MUST_CHECK enum err convert_in_place(struct gguf *g, uint64_t first, const struct quant_mix *mix,
                                     const struct quant_model *m, uint32_t n_threads,
                                     struct err_info *e);

#endif
