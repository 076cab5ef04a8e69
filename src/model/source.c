/* source: see source.h. */
#include "model/source.h"

#include "model/hf.h"

enum err source_open(struct gguf *g, const char *path, struct err_info *e)
{
    return hf_is_dir(path) ? hf_open(g, path, e) : gguf_open(g, path, e);
}

enum err source_open_as(struct gguf *g, const char *path, const struct quant_mix *mix,
                        uint32_t n_threads, struct err_info *e)
{
    if (!mix) return source_open(g, path, e);
    if (hf_is_dir(path)) return hf_open_as(g, path, mix, n_threads, e);
    return ERR_FAIL(e, INVALID,
                    "%s is a file, and only Hugging Face directories are quantised while they are "
                    "loaded; `rbee quantize` writes a GGUF file in another type",
                    path);
}
