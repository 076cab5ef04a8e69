/* gguf_int: what the files of gguf share. */
#ifndef MODEL_GGUF_INT_H
#define MODEL_GGUF_INT_H

#include "model/gguf.h"

/* The arguments of a "%.*s" for a name out of a file: long ones are cut. */
#define GGUF_NAME(s) (int)((s).n > 80 ? 80 : (s).n), (s).p

/* Bytes of a scalar of this type; 0 for strings and arrays. */
size_t gguf_type_bytes(enum gguf_type t);

/* Sorts the tensor names of g into g->tensor_names and refuses one that occurs twice. */
enum err gguf_index_tensors(struct gguf *g, struct arena *a, struct err_info *e);

#endif
