/* meta: what a model is, in one normal form, whatever file it came from.
 *
 * Filled from a GGUF header today; config.json and Hub replies give the same struct. All strings
 * and arrays are views into the arena or mapping given to meta_from_*(). Every number was
 * range-checked: heads divide, dimensions are within limits.h, so what comes after need not check
 * again.
 */
#ifndef MODEL_META_H
#define MODEL_META_H

#include "base/arena.h"
#include "base/err.h"
#include "model/dtype.h"
#include "model/family.h"

struct gguf;

enum rope_scaling { ROPE_NONE, ROPE_LINEAR, ROPE_YARN, ROPE_LLAMA3 };

struct meta {
    const struct family *family;
    str arch; /* as the file says */
    str name; /* general.name, may be empty */
    uint32_t n_vocab, n_ctx_train, n_layer, n_embd, n_ff;
    uint32_t n_head, n_head_kv, head_dim, head_dim_v, n_rot;
    float norm_eps;
    /* RoPE */
    float rope_base;
    enum rope_scaling rope_scaling;
    float rope_factor;      /* 1 when there is no scaling */
    uint32_t rope_orig_ctx; /* yarn, llama3 */
    float yarn_attn_factor, yarn_ext_factor, yarn_beta_fast, yarn_beta_slow, yarn_log_mul;
    bool tied_head;                                 /* no output.weight: token_embd serves */
    float embed_scale, residual_scale, logit_scale; /* 1 when absent */
    /* what it weighs */
    uint64_t n_params, weight_bytes;
    enum dtype main_dtype; /* the type that holds most weight bytes */
    str file_type;         /* "Q4_K_M" and friends from general.file_type, else main_dtype's name */
    str chat_template;     /* empty: none */
    str tokenizer_model, tokenizer_pre;
};

/* Fails with ERR_UNSUPPORTED and the family's name when no row matches. */
MUST_CHECK enum err meta_from_gguf(struct meta *m, struct arena *a, const struct gguf *g,
                                   struct err_info *e);
const char *meta_rope_name(enum rope_scaling s);

/* The name of a value of general.file_type, NULL when it has none; and the way back, case ignored.
 */
const char *meta_file_type(uint32_t id);
bool meta_file_type_from(str name, uint32_t *id);

/* Bytes of KV cache of one position over all layers. */
uint64_t meta_kv_bytes_per_pos(const struct meta *m, enum dtype ktype, enum dtype vtype);

#endif
