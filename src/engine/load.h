/* load: from a path to a model that can run a step.
 *
 * A `struct load` owns the mapping, the plan, the tokenizer and the device; all of it is released
 * by load_close(), in the right order. One owner thread.
 */
#ifndef ENGINE_LOAD_H
#define ENGINE_LOAD_H

#include "base/arena.h"
#include "compute/backend.h"
#include "engine/engine.h"
#include "model/gguf.h"
#include "model/lora.h"
#include "model/meta.h"
#include "model/plan.h"
#include "text/tok.h"

struct load {
    struct engine_conf conf; /* every default filled in, `want` among them */
    struct gguf gguf;
    struct lora *loras; /* [conf.n_loras], in the arena */
    uint32_t n_loras;   /* open ones */
    struct arena arena; /* meta, plan, weight table */
    struct meta meta;
    struct plan plan;
    const struct dev_weight *weights; /* parallel to plan.tensors */
    struct tok *tok;
    struct dev *dev;
    uint32_t n_blocks; /* of the KV cache */
    uint64_t weight_bytes, kv_bytes, compute_bytes;
};

/* What the engine itself will allocate for a configuration, beside the device; `width` is that of a
 * row of results. */
typedef uint64_t load_extra_fn(const struct engine_conf *conf, uint32_t n_blocks, uint32_t width);

/* Errors: those of the file and of the plan; ERR_UNSUPPORTED naming op, tensor and type when the
 * back end lacks a kernel; ERR_NOMEM with the bytes short and what would fit; ERR_INVALID for a
 * configuration out of range. On failure nothing is left open. */
MUST_CHECK enum err load_open(struct load *l, const char *path, const struct engine_conf *conf,
                              load_extra_fn *extra, struct err_info *e);
/* All of load_open() that reads the file and nothing that reserves memory or starts threads:
 * everything but the look at the memory and the device (NULL). The same errors. For whoever wants
 * to know whether a file can be trusted with the rest (worker/vet.h). */
MUST_CHECK enum err load_check(struct load *l, const char *path, const struct engine_conf *conf,
                               struct err_info *e);
void load_close(struct load *l);

#endif
