/* hf: a Hugging Face directory, presented as a GGUF file.
 *
 * GGUF's keys and tensor names are the one normal form of a model here. hf_open() reads config.json
 * and the SafeTensors files beside it and fills a struct gguf: keys as llama.cpp's converter names
 * them, tensors under GGUF names that point into the mapped files. Everything above (meta, plan,
 * binder) works on that struct and does not know where a model came from.
 *
 * Values stay where they lie. Copies, owned by the struct, are made of what GGUF stores
 * differently: norms stored minus one, fused rows in another order, transposed matrices, scaled
 * 8-bit floats. Rows of q and k are not reordered: where GGUF rotates neighbouring pairs and the
 * directory halves, the key "rbee.rope.halves" is true instead. Experts stored one by one are
 * tensors with `parts`.
 *
 * Keys that no GGUF file has, for the reader of keys: "rbee.rope.halves" (bool, see above),
 * "rbee.hidden_act" (string, the activation as config.json names it) and
 * "{arch}.rope.scaling.type" = "dynamic" (with factor and original_context_length).
 */
#ifndef MODEL_HF_H
#define MODEL_HF_H

#include "model/gguf.h"
#include "model/hf_class.h"

/* True when `path` is a directory that holds config.json. */
bool hf_is_dir(const char *path);

/* Opens a directory; gguf_close() releases it. Errors name the directory and the fault:
 * ERR_UNSUPPORTED for an architecture, a quantisation or a type by its name, ERR_FORMAT for files
 * that contradict each other or config.json. */
MUST_CHECK enum err hf_open(struct gguf *g, const char *dir, struct err_info *e);

struct quant_mix;
/* The same with the matrices quantised while they are read, tensor by tensor, into memory that g
 * owns; what is in the way of that (scaled 8-bit floats multiplied out, say) is freed after each.
 */
MUST_CHECK enum err hf_open_as(struct gguf *g, const char *dir, const struct quant_mix *mix,
                               uint32_t n_threads, struct err_info *e);

/* A file of a folder that is not here. */
struct hf_file {
    str name;      /* below the folder */
    str bytes;     /* of a .safetensors file the header at least, of others all */
    uint64_t size; /* of the whole file */
};
/* The same of a folder of which only these are known: `name` for its path, tensors as hf_open()
 * makes them but without values (data and parts NULL). For judging; nothing can run it. */
MUST_CHECK enum err hf_open_files(struct gguf *g, const char *name, const struct hf_file *files,
                                  size_t n, struct err_info *e);

/* The keys of a config.json alone, without tensors; gguf_close() releases them. */
MUST_CHECK enum err hf_parse_config(struct gguf *g, str config, struct err_info *e);

#endif
