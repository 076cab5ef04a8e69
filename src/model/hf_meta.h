/* hf_meta: what a model is by the small files of its repository alone: config.json and what lies
 * beside it, without a byte of weights.
 *
 * hf_meta_open() fills a struct gguf: the keys as hf_open() would have them, and in place of the
 * tensors of the files those matrices that a model of this class always has, in the shapes that its
 * numbers ask for and the type that config.json names. Norms, biases and what else is small and
 * optional is left out, so a plan of it is good for memory, speed and the question whether kernels
 * exist, and not for running. Pure.
 */
#ifndef MODEL_HF_META_H
#define MODEL_HF_META_H

#include "model/gguf.h"

/* Texts of the files; empty: not there. */
struct hf_meta_files {
    str config, tokenizer_config, generation_config;
    str chat_template; /* chat_template.jinja */
    str pooling;       /* 1_Pooling/config.json */
};

/* Errors name the fault: ERR_UNSUPPORTED for a class or a quantisation that is not read, ERR_FORMAT
 * for numbers that contradict each other. Afterwards hf_meta_close(). */
MUST_CHECK enum err hf_meta_open(struct gguf *g, const struct hf_meta_files *f, struct err_info *e);
void hf_meta_close(struct gguf *g);

/* Does the loader read weights that this "quant_method" of config.json packed? */
bool hf_meta_reads(str quant_method);

#endif
