/* source: opens a model by its path, whatever form it has. */
#ifndef MODEL_SOURCE_H
#define MODEL_SOURCE_H

#include "model/gguf.h"

/* A directory with config.json is a Hugging Face model (model/hf.h); anything else is opened as a
 * GGUF file. gguf_close() releases either. */
MUST_CHECK enum err source_open(struct gguf *g, const char *path, struct err_info *e);

struct quant_mix;
/* The same, quantised while it is read: Hugging Face directories only, ERR_INVALID for a file. No
 * mix: as source_open(). */
MUST_CHECK enum err source_open_as(struct gguf *g, const char *path, const struct quant_mix *mix,
                                   uint32_t n_threads, struct err_info *e);

#endif
