/* family: one row per model family, stating only what the file does not say.
 *
 * What a layer is made of is read from its tensors: attention with or without biases and q/k norms,
 * latent attention, a convolution, a scan, experts, shared experts, norms before or after, gates
 * fused or apart; numbers (scales, soft-caps, windows, RoPE scaling) from the metadata. A row says
 * what no file says: which norm, which activation, how RoPE pairs columns, and the family's habits.
 * To add a family that shares known blocks: one row in family.c and its golden.
 */
#ifndef MODEL_FAMILY_H
#define MODEL_FAMILY_H

#include "base/str.h"

enum family_norm { NORM_RMS, NORM_LAYER };

/* Where the feed-forward block takes its input from. */
enum family_block {
    BLOCK_SERIAL,   /* x += attn(norm x); x += ffn(norm x) */
    BLOCK_PARALLEL, /* x += attn(norm x) + ffn(norm x) */
    BLOCK_BY_KEY,   /* as the key use_parallel_residual says */
    BLOCK_BY_NORM   /* parallel where a layer has no norm of its own for the feed-forward block */
};

enum family_act {
    FFN_SILU,
    FFN_GELU, /* by tanh */
    FFN_GELU_ERF,
    FFN_RELU,
    FFN_RELU_SQR,
    FFN_SWIGLU_CLAMPED
};
enum family_rope { ROPE_NO, ROPE_PAIRS, ROPE_HALVES }; /* canonical (GGUF) layout */

/* How the weights of chosen experts come about unless the file says otherwise. */
enum family_experts {
    EXPERTS_NONE,      /* the family has none, or its files say all */
    EXPERTS_SOFTMAX,   /* softmax over all experts, the chosen ones as they are */
    EXPERTS_SOFTMAX_1, /* the same, the chosen ones made to sum to one */
    EXPERTS_CHOSEN,    /* softmax over the chosen ones */
    EXPERTS_SIGMOID_1  /* sigmoids, the chosen ones made to sum to one */
};

/* Habits. */
enum {
    FAMILY_EMBED_SQRT = 1 << 0,   /* embeddings times sqrt(n_embd) */
    FAMILY_NORM_BARE = 1 << 1,    /* norms without weights */
    FAMILY_LOGIT_DIVIDE = 1 << 2, /* logit_scale divides */
    FAMILY_NO_WINDOW = 1 << 3,    /* attention.sliding_window is in the files and not used */
    FAMILY_ROPE_LOCAL = 1 << 4,   /* RoPE only in layers with a window */
    FAMILY_NORM2_FFN = 1 << 5,    /* post_attention_norm is the feed-forward block's input norm */
    FAMILY_MINICPM = 1 << 6,      /* scales that older files lack */
    FAMILY_SCALE_EMBD_HEAD = 1 << 7, /* the largest size scales q by sqrt(n_embd / n_head) */
    FAMILY_NOPE_4TH = 1 << 9,        /* every fourth layer has no RoPE */
    FAMILY_FALCON_NORMS = 1 << 10, /* attn_norm_2, if any, is attention's; attn_norm the other's */
    FAMILY_BERT = 1 << 11,         /* not causal, norms after the residual sum */
    FAMILY_ROPE_FINETUNED = 1 << 12, /* RoPE only where rope.scaling.finetuned is not false */
    FAMILY_SWA_FIRST = 1 << 13, /* of a period the first layer is the global one, not the last */
    FAMILY_NORM_AFTER_ROPE = 1 << 14, /* q and k are normalised after their rotation */
    FAMILY_SWA_PLAIN_ROPE = 1 << 15,  /* layers with a window rotate without any scaling */
    FAMILY_MINICPM3 = 1 << 16,        /* scales that no key names */
    FAMILY_DELTA_TILED = 1 << 18,     /* key heads repeat as a whole, not one by one */
    FAMILY_NORM_IN_EMBD = 1 << 19,    /* token_embd_norm is the last norm, not the first */
    FAMILY_NOT_CAUSAL = 1 << 21,      /* an encoder, even where no key says so */
    FAMILY_FIRST_BARE = 1 << 22,      /* the first layer's attention reads x as it is */
    FAMILY_YARN_LOG_TENTH = 1 << 23,  /* yarn_log_multiplier comes multiplied by 0.1 */
    FAMILY_OUT_NORM_FFN = 1 << 20,    /* attn_output_norm is the feed-forward block's input norm */
    FAMILY_GATED_Q = 1 << 25,         /* the query product holds a gate for each head as well */
    FAMILY_V_NORM = 1 << 24,          /* values are normalised head by head, without a weight */
    FAMILY_BAICHUAN = 1 << 17,        /* the number of layers decides between RoPE and ALiBi */
};

struct family {
    const char *name; /* as the GGUF key general.architecture has it */
    enum family_norm norm;
    enum family_block block;
    enum family_act act;
    enum family_rope rope;
    enum family_experts experts;
    uint32_t swa_period; /* every swa_period-th layer sees all, others a window; 0: see the key */
    unsigned flags;
};

/* NULL when there is no such family. */
const struct family *family_find(str arch);
/* The golden models that a family's numbers are held to (proven.def). */
struct family_proof {
    const char *family, *golden;
    bool own;         /* in tests/golden/families; else in the shared test data */
    bool safetensors; /* as a SafeTensors directory too, not only as GGUF */
};
const struct family_proof *family_proofs(size_t *n);

/* The quantised golden models that hold weights of a type, all in the shared test data. */
struct dtype_proof {
    const char *dtype, *golden;
};
const struct dtype_proof *family_dtype_proofs(size_t *n);

/* All rows in order; *n is their count. */
const struct family *family_all(size_t *n);
/* The row of a family in that table; -1 for NULL. */
int family_row(const struct family *f);

#endif
