/* lora: low-rank adapters (Hu et al. 2021), applied while a model runs.
 *
 * An adapter holds, for some matrices W of a model, two thin ones: A of r rows and B of r columns.
 * lora_apply() rewrites a plan so that each product W x becomes W x + scale * B (A x): steps that
 * every back end has anyway. Weights stay as they are, so adapters of different sizes work together
 * and on quantised models. Files are GGUF as llama.cpp's convert_lora_to_gguf.py writes them:
 * general.type "adapter", tensors NAME.lora_a and NAME.lora_b. Directories are those of PEFT
 * (lora_peft.c), brought into the same form.
 *
 * Left out: adapters of embeddings and of experts, which are refused by name.
 */
#ifndef MODEL_LORA_H
#define MODEL_LORA_H

#include "model/gguf.h"
#include "model/meta.h"
#include "model/plan.h"

struct lora {
    struct gguf gguf;
    const char *path; /* borrowed */
    float scale;      /* as asked for; the file's alpha over the rank is a factor of each pair */
    float alpha;      /* 0: none */
    float *factors;   /* of a directory: for each lora_a what multiplies the pair; else NULL */
};

/* A file or a directory, for a model with these keys; base NULL: it is read and checked as far as
 * that goes without a model. Errors: those of the file; ERR_INVALID when it is no adapter, or one
 * for another architecture; ERR_UNSUPPORTED for what of PEFT is not done. lora_close() releases it.
 */
MUST_CHECK enum err lora_open(struct lora *l, const char *path, float scale,
                              const struct meta *base, struct err_info *e);
void lora_close(struct lora *l);

/* The parts of lora_open() for directories. lora_close() after an error, too. */
bool lora_peft_is_dir(const char *path);
MUST_CHECK enum err lora_peft_open(struct lora *l, const char *dir, const struct meta *base,
                                   struct err_info *e);

/* Adapters in the order of the array. The tensors that the plan gets name their file by
 * first_file + (index among all tensors of all adapters): see lora_tensor(). To be called before
 * plan_fuse(). ERR_UNSUPPORTED for a pair that changes what is no plain product, ERR_INVALID for
 * one that the model has no matrix for, ERR_FORMAT for shapes that do not fit. */
MUST_CHECK enum err lora_apply(struct plan *p, struct arena *a, const struct lora *l, uint32_t n,
                               uint32_t first_file, struct err_info *e);
const struct gguf_tensor *lora_tensor(const struct lora *l, uint32_t n, uint64_t index);

#endif
