/* source: see source.h. */
#include "model/source.h"

#include "model/hf.h"

enum err source_open(struct gguf *g, const char *path, struct err_info *e)
{
    return hf_is_dir(path) ? hf_open(g, path, e) : gguf_open(g, path, e);
}
