/* caps: what a worker can run, read from what it prints for --capabilities.
 *
 * One back end of one worker, in the terms of the tables that are compiled in: what it names and
 * this version does not know (a later family, a later type) is left out, since nothing here could
 * compile a plan for it. Pure; in the arena.
 */
#ifndef MODEL_CAPS_H
#define MODEL_CAPS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "model/family.h"
#include "model/filename.h"
#include "model/plan.h"

struct caps_family {
    const struct family *family;
    str gguf, safetensors; /* a golden model that proves it in this format; empty: none */
};

struct caps {
    str id, version, backend;
    unsigned formats; /* bits 1 << enum filename_format */
    const struct caps_family *families;
    size_t n_families;
    const int16_t *rows; /* by row of the family table: index into families; -1: not run */
    size_t n_rows;
    bool op[OP_COUNT], dtype[DTYPE_COUNT], kv[DTYPE_COUNT];
    str proof[DTYPE_COUNT]; /* a golden model that holds weights of the type; empty: none */
    const str *tokenizers;
    size_t n_tokenizers;
    uint32_t max_ctx, max_slots;
};

/* backend NULL: the worker's first. ERR_FORMAT names what is missing or of another type. */
MUST_CHECK enum err caps_parse(struct caps *c, struct arena *a, const struct json *v,
                               const char *backend, struct err_info *e);
/* Can an op run with weights of this type? As backend.has(). */
bool caps_has(const struct caps *c, enum op op, enum dtype w);
/* NULL when the worker does not run the family. */
const struct caps_family *caps_family(const struct caps *c, const struct family *f);
/* The same by a row of the family table, without a search. */
const struct caps_family *caps_row(const struct caps *c, size_t row);

#endif
