/* plan_int: what the files of plan share: the builder and its verbs.
 *
 * plan.c drives a build; plan_build.c has the verbs below; plan_attn.c, plan_ffn.c and plan_recur.c
 * write the blocks; plan_rope.c the rotations; plan_fuse.c and plan_explain.c read the result.
 */
#ifndef MODEL_PLAN_INT_H
#define MODEL_PLAN_INT_H

#include "model/plan.h"

enum slot {
#define SLOT_GLOBAL(NAME, name) SLOT_##NAME,
#define SLOT_LAYER(NAME, name)  SLOT_##NAME,
#include "model/slot.def"
    SLOT_COUNT,
    SLOT_NONE = SLOT_COUNT
};

#define PLAN_STATES_PER_LAYER 6

struct builder {
    struct plan *p;
    const struct meta *m;
    const struct plan_source *src;
    const struct plan_conf *conf;
    struct arena *a;
    struct err_info *e;
    struct plan_step *steps;
    struct plan_tensor *tensors;
    struct plan_cache *caches;
    uint32_t *cache_of; /* [n_layer] the cache of each layer */
    uint32_t *states;
    size_t max_steps, max_tensors;
    int layer;             /* -1 outside the layers */
    uint32_t n[REG_COUNT]; /* columns that each register holds now */
    int rope_local;        /* plan.ropes of layers with a window, and of the others; -1: no RoPE */
    int rope_global;
};

/* ---- the last look: plan_check.c ---- */
/* Refuses a plan in which a step reads what was not written or reaches beyond its operands. */
MUST_CHECK enum err plan_check(const struct plan *p, struct err_info *e);

/* ---- verbs: plan_build.c ---- */
const char *plan_slot_name(enum slot s);
/* Does this layer (or the model, outside the layers) have the tensor? Its shape in *t if not NULL.
 */
bool plan_peek(const struct builder *b, enum slot slot, struct plan_tensor *t);
/* A matrix of rows x cols; *out is PLAN_NO_TENSOR when the file lacks it (find) or an error (need).
 * rows or cols of 0: any. */
MUST_CHECK enum err plan_find(struct builder *b, enum slot slot, uint64_t rows, uint64_t cols,
                              int *out);
MUST_CHECK enum err plan_need(struct builder *b, enum slot slot, uint64_t rows, uint64_t cols,
                              int *out);
/* Vectors of n values, whatever their shape in the file. */
MUST_CHECK enum err plan_find_vec(struct builder *b, enum slot slot, uint64_t n, int *out);
MUST_CHECK enum err plan_need_vec(struct builder *b, enum slot slot, uint64_t n, int *out);
/* Rows first..first+rows-1 of tensor t, as a tensor of its own. Of a vector: values. */
MUST_CHECK enum err plan_slice(struct builder *b, int t, uint64_t first, uint64_t rows, int *out);
/* A step that writes n columns of dst. Its operands' columns are those of their registers. */
struct plan_step *plan_emit(struct builder *b, enum op op, enum plan_reg dst, uint32_t n,
                            enum plan_reg src);
/* dst = the family's norm of src, over the whole row; without the weight only if `bare`. */
MUST_CHECK enum err plan_norm(struct builder *b, enum slot slot, enum plan_reg dst,
                              enum plan_reg src);
/* The same in groups of `group` columns with weights for n values. */
MUST_CHECK enum err plan_norm_groups(struct builder *b, enum slot slot, enum plan_reg r,
                                     uint32_t group);
/* dst = w src (+ bias), n rows (0: as many as the file has). */
MUST_CHECK enum err plan_linear(struct builder *b, enum slot weight, enum slot bias,
                                enum plan_reg dst, enum plan_reg src, uint32_t n);
/* The same with rows first..first+n-1 of a fused tensor and its bias. */
MUST_CHECK enum err plan_linear_part(struct builder *b, enum slot weight, enum slot bias,
                                     enum plan_reg dst, enum plan_reg src, uint64_t first,
                                     uint32_t n);
void plan_add(struct builder *b, enum plan_reg to, enum plan_reg what, float scale);
void plan_act(struct builder *b, enum plan_act act, enum plan_reg dst, enum plan_reg src);
void plan_glu(struct builder *b, enum plan_act act, enum plan_reg dst, enum plan_reg gate,
              enum plan_reg up);
void plan_mul(struct builder *b, enum plan_reg dst, enum plan_reg src, enum plan_reg by);
MUST_CHECK enum err plan_mul_vec(struct builder *b, enum slot slot, enum plan_reg dst,
                                 enum plan_reg src);
/* n_pieces pieces of `cols` columns from src to dst, which then has n columns. */
struct plan_step *plan_cols(struct builder *b, enum plan_reg dst, uint32_t n, enum plan_reg src,
                            uint32_t n_pieces, uint32_t cols);
/* A state of that many floats a sequence; its index. */
uint32_t plan_state(struct builder *b, uint64_t floats);
enum plan_act plan_ffn_act(const struct builder *b);
const struct meta_layer *plan_layer(const struct builder *b);

/* ---- blocks: each reads `in` and leaves its result in REG_D ---- */
MUST_CHECK enum err plan_attention(struct builder *b, enum plan_reg in);
MUST_CHECK enum err plan_latent_attention(struct builder *b, enum plan_reg in);
MUST_CHECK enum err plan_feed_forward(struct builder *b, enum plan_reg in);
/* The same for Gemma 4's mixtures, which stand beside a dense block and read x itself. */
MUST_CHECK enum err plan_mixture_beside(struct builder *b);
MUST_CHECK enum err plan_mamba(struct builder *b, enum plan_reg in);
MUST_CHECK enum err plan_mamba2(struct builder *b, enum plan_reg in);
MUST_CHECK enum err plan_shortconv(struct builder *b, enum plan_reg in);
MUST_CHECK enum err plan_delta_net(struct builder *b, enum plan_reg in);
MUST_CHECK enum err plan_rwkv6(struct builder *b, enum plan_reg in);
MUST_CHECK enum err plan_rwkv7(struct builder *b, enum plan_reg in);
MUST_CHECK enum err plan_channel_mix(struct builder *b, enum plan_reg in);

/* ---- Gemma's own: plan_gemma.c ---- */
/* The inputs of all layers, in REG_S. */
MUST_CHECK enum err plan_layer_inputs(struct builder *b);
/* x += what the layer makes of its own input; then the layer's scale. */
MUST_CHECK enum err plan_layer_input(struct builder *b);
/* Gemma 3n: x becomes several streams, a layer of them, x again. */
MUST_CHECK enum err plan_streams_open(struct builder *b);
MUST_CHECK enum err plan_streams_layer(struct builder *b);
MUST_CHECK enum err plan_streams_close(struct builder *b);

/* ---- the rest ---- */
/* Bit r is set when the step reads, or writes, register r. */
uint32_t plan_reads(const struct plan_step *s);
uint32_t plan_writes(const struct plan_step *s);
/* Fills ropes and rope_long_from of the plan, rope_local and rope_global of the builder. */
MUST_CHECK enum err plan_ropes(struct builder *b);

#endif
