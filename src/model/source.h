/* source: opens a model by its path, whatever form it has. */
#ifndef MODEL_SOURCE_H
#define MODEL_SOURCE_H

#include "model/gguf.h"

/* A directory with config.json is a Hugging Face model (model/hf.h); anything else is opened as a
 * GGUF file. gguf_close() releases either. */
MUST_CHECK enum err source_open(struct gguf *g, const char *path, struct err_info *e);

#endif
