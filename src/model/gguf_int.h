/* gguf_int: what the files of gguf share. */
#ifndef MODEL_GGUF_INT_H
#define MODEL_GGUF_INT_H

#include "model/gguf.h"

/* The arguments of a "%.*s" for a name out of a file: long ones are cut. */
#define GGUF_NAME(s) (int)((s).n > 80 ? 80 : (s).n), (s).p

/* Bytes of a scalar of this type; 0 for strings and arrays. */
size_t gguf_type_bytes(enum gguf_type t);

/* Copies are a stack. Takes those made since `mark` (g->copies of then) off it, as a list. */
struct gguf_copy *gguf_copy_cut(struct gguf *g, struct gguf_copy *mark);
/* Does the tensor lie in one of the list? */
bool gguf_copy_holds(const struct gguf_copy *list, const struct gguf_tensor *t);
/* Puts a list back; frees one. */
void gguf_copy_join(struct gguf *g, struct gguf_copy *list);
void gguf_copy_drop(struct gguf *g, struct gguf_copy *list);

#endif
