/* family: one row per model family, stating only what the file does not say.
 *
 * Biases, tied heads, q/k norms, RoPE scaling, expert counts and scales are read from the file: an
 * optional tensor that exists is used. To add a family that shares a known block: one row in
 * family.c and its golden.
 */
#ifndef MODEL_FAMILY_H
#define MODEL_FAMILY_H

#include "base/str.h"

enum family_norm { NORM_RMS, NORM_LAYER };
enum family_block { BLOCK_PRE }; /* x += attn(norm x); x += ffn(norm x) */
enum family_ffn { FFN_SWIGLU };
enum family_rope { ROPE_PAIRS, ROPE_HALVES }; /* canonical (GGUF) layout of the rotated pairs */

struct family {
    const char *name; /* as the GGUF key general.architecture has it */
    const char *hf;   /* architectures of config.json, separated by spaces */
    enum family_norm norm;
    enum family_block block;
    enum family_ffn ffn;
    enum family_rope rope;
};

/* NULL when there is no such family. */
const struct family *family_find(str arch);
/* All rows in order; *n is their count. */
const struct family *family_all(size_t *n);

#endif
