/* hf_class: the first two columns of hf_arch.def. See hf_class.h. */
#include "model/hf_class.h"

#include <stdint.h>

static const struct {
    const char *classes, *gguf;
} rows[] = {
#define HF_ARCH(classes, gguf, flags, rules, keys, defaults) {classes, gguf},
#include "model/hf_arch.def"
#undef HF_ARCH
};

size_t hf_class_row(str class_name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        str rest = str_c(rows[i].classes);

        while (rest.n)
            if (str_eq(str_cut(rest, ' ', &rest), class_name)) return i;
    }
    return SIZE_MAX;
}

const char *hf_arch_of(str class_name)
{
    size_t row = hf_class_row(class_name);

    return row < SIZE_MAX ? rows[row].gguf : NULL;
}

const char *hf_classes(size_t i, const char **gguf)
{
    if (i >= sizeof rows / sizeof *rows) return NULL;
    *gguf = rows[i].gguf;
    return rows[i].classes;
}
