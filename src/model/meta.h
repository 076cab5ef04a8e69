/* meta: what a model is, in one normal form, whatever file it came from.
 *
 * Filled from the keys and the tensor directory of a `struct gguf`, the form in which Hugging Face
 * directories are presented as well. All strings and arrays are views into the arena or mapping
 * given to meta_from_gguf(). Every number was range-checked: heads divide, dimensions are within
 * limits.h, so what comes after need not check again.
 */
#ifndef MODEL_META_H
#define MODEL_META_H

#include "base/arena.h"
#include "base/err.h"
#include "model/dtype.h"
#include "model/family.h"

struct gguf;

enum rope_scaling { ROPE_NONE, ROPE_LINEAR, ROPE_YARN, ROPE_LLAMA3, ROPE_LONGROPE, ROPE_DYNAMIC };

/* How one vector is made of the hidden rows of a text; ids of the key pooling_type. */
enum meta_pooling { POOLING_NONE, POOLING_MEAN, POOLING_CLS, POOLING_LAST, POOLING_RANK };

/* What may differ from layer to layer. */
struct meta_layer {
    uint32_t n_head, n_head_kv; /* n_head_kv 0: no attention in this layer */
    uint32_t head_dim, head_dim_v;
    uint32_t n_ff;
    bool swa;       /* sees only a window */
    uint32_t kv_of; /* the layer whose keys and values it uses, mostly its own */
};

struct meta {
    const struct family *family;
    enum family_act act; /* the family's, unless the source says which GELU it is */
    str arch;            /* as the file says */
    str name;            /* general.name, may be empty */
    uint32_t n_vocab, n_ctx_train, n_embd;
    uint32_t n_layer;                 /* that a token goes through */
    uint32_t n_layer_nextn;           /* further ones in the file, which predict tokens ahead */
    const struct meta_layer *layers;  /* [n_layer] */
    uint32_t n_ff, n_head, n_head_kv; /* the largest of any layer; heads 0: no attention at all */
    uint32_t head_dim, head_dim_v, n_rot; /* of layers without a window */
    uint32_t n_rot_swa; /* of layers with a window, where the file says otherwise */
    float norm_eps;
    bool causal;
    enum meta_pooling pooling;
    /* attention */
    uint32_t window;                                     /* keys; 0: none */
    float attn_scale;                                    /* 0: 1 / sqrt(head_dim) */
    float attn_softcap, final_softcap, clamp_qkv, alibi; /* 0: none */
    bool parallel;                                       /* use_parallel_residual */
    uint32_t q_lora, kv_lora;                            /* latent attention; kv_lora 0: none */
    uint32_t head_dim_mla, head_dim_v_mla; /* of the heads before they are absorbed; 0: not said */
    uint32_t n_embd_layer;                 /* width of the inputs that single layers get; 0: none */
    /* experts */
    uint32_t n_expert, n_expert_used, n_expert_group, n_expert_group_used;
    uint32_t expert_gating; /* enum plan_gating, 0: not said */
    bool expert_norm, expert_norm_said;
    float expert_scale; /* 0: none */
    /* recurrent blocks */
    uint32_t ssm_conv, ssm_inner, ssm_state, ssm_rank, ssm_group;
    bool ssm_norms; /* dt, B and C are normalised, without weights */
    uint32_t wkv_head, wkv_rescale, conv_kernel;
    /* RoPE */
    float rope_base, rope_base_swa;
    enum rope_scaling rope_scaling;
    float rope_factor;      /* 1 when there is no scaling */
    uint32_t rope_orig_ctx; /* yarn, llama3, longrope, dynamic */
    bool no_rope;           /* the file says that attention has none */
    bool rope_halves; /* the source's q and k are laid out for halves whatever the family says */
    float yarn_attn_factor, yarn_ext_factor, yarn_beta_fast, yarn_beta_slow, yarn_log_mul;
    bool tied_head;                                 /* no output.weight: token_embd serves */
    float embed_scale, residual_scale, logit_scale; /* 1 when absent; logits are multiplied */
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
const char *meta_pooling_name(enum meta_pooling p);

/* The name of a value of general.file_type, NULL when it has none; and the way back, case ignored.
 */
const char *meta_file_type(uint32_t id);
bool meta_file_type_from(str name, uint32_t *id);

#endif
