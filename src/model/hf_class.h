/* hf_class: which GGUF architecture a class of config.json is.
 *
 * The names of hf_arch.def and nothing of what reads a directory, so that a judge that sees names
 * only needs no loader. Pure.
 */
#ifndef MODEL_HF_CLASS_H
#define MODEL_HF_CLASS_H

#include "base/str.h"

/* The row of hf_arch.def that names a class of config.json's "architectures"; SIZE_MAX: none. */
size_t hf_class_row(str class_name);

/* The GGUF architecture for a class of config.json's "architectures"; NULL when there is none. */
const char *hf_arch_of(str class_name);
/* Classes of row i, separated by spaces, and their architecture; NULL behind the last row. */
const char *hf_classes(size_t i, const char **gguf);

#endif
