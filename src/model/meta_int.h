/* meta_int: what the files of meta share: a reader of keys under the architecture's prefix.
 *
 * meta.c drives and reads sizes and tensors; meta_keys.c has the readers; meta_attn.c reads heads,
 * windows and RoPE.
 */
#ifndef MODEL_META_INT_H
#define MODEL_META_INT_H

#include "model/gguf.h"
#include "model/meta.h"

struct meta_reader {
    struct meta *m;
    struct arena *a;
    const struct gguf *g;
    struct err_info *e;
    struct meta_layer *layers; /* m->layers, to be filled */
    char key[128];             /* the last one asked for */
};

/* The key under the architecture's prefix; lives until the next call. */
const char *meta_key(struct meta_reader *r, const char *suffix);
bool meta_has(struct meta_reader *r, const char *suffix);

/* A number up to max; *out keeps its value when the key is absent. An array is accepted when all
 * its elements are equal. */
MUST_CHECK enum err meta_u32(struct meta_reader *r, const char *suffix, uint32_t *out, size_t max);
/* A number that must be there unless `absent` is not 0, from 1 to max. */
MUST_CHECK enum err meta_need_u32(struct meta_reader *r, const char *suffix, uint32_t *out,
                                  uint32_t absent, size_t max);
/* One number a layer, or one for all, into the field at `offset` of each meta_layer; *top is the
 * largest. False in *found when the key is absent. */
MUST_CHECK enum err meta_each(struct meta_reader *r, const char *suffix, size_t offset, size_t max,
                              uint32_t *top, bool *found);
/* A finite number of at least `min`; *out keeps its value when the key is absent. */
MUST_CHECK enum err meta_f32(struct meta_reader *r, const char *suffix, float *out, float min);

/* Heads, windows, scales of attention; RoPE. */
MUST_CHECK enum err meta_attention(struct meta_reader *r);
MUST_CHECK enum err meta_rope(struct meta_reader *r);

#endif
