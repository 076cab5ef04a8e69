/* hf_arch: what the loader does for each class of config.json: hf_arch.def without the names of
 * tensors, which are looked up by hf_rules.c alone. */
#include <string.h>

#include "model/hf_int.h"

static const struct hf_arch rows[] = {
#define HF_ARCH(classes, gguf, flags, rules, keys, defaults) {gguf, flags, keys, defaults},
#include "model/hf_arch.def"
#undef HF_ARCH
};

const struct hf_arch *hf_arch_find(str class_name)
{
    size_t row = hf_class_row(class_name);

    return row < SIZE_MAX ? &rows[row] : NULL;
}

size_t hf_arch_row(const struct hf_arch *arch)
{
    return (size_t)(arch - rows);
}

const struct hf_arch *hf_arch_of_gguf(str gguf)
{
    if (str_eqc(gguf, "mistral3")) gguf = S("llama"); /* a name that hf_keys_mistral3 chooses */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_eqc(gguf, rows[i].gguf)) return &rows[i];
    return NULL;
}

void hf_arch_names(buf *out)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (i == 0 || strcmp(rows[i - 1].gguf, rows[i].gguf) != 0)
            buf_printf(out, "%s%s", i ? ", " : "", rows[i].gguf);
}
