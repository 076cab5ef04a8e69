/* family: the table of model families. See family.h for what a row may state. */
#include "model/family.h"

/* clang-format off */
static const struct family rows[] = {
    /* name    Hugging Face architectures             norm      block      ffn         rope */
    {"llama", "LlamaForCausalLM MistralForCausalLM", NORM_RMS, BLOCK_PRE, FFN_SWIGLU, ROPE_PAIRS},
    {"qwen2", "Qwen2ForCausalLM",                    NORM_RMS, BLOCK_PRE, FFN_SWIGLU, ROPE_HALVES},
    {"qwen3", "Qwen3ForCausalLM",                    NORM_RMS, BLOCK_PRE, FFN_SWIGLU, ROPE_HALVES},
};
/* clang-format on */

const struct family *family_all(size_t *n)
{
    *n = sizeof rows / sizeof *rows;
    return rows;
}

const struct family *family_find(str arch)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (str_eqc(arch, rows[i].name)) return &rows[i];
    return NULL;
}
