/* hf_int: what the files of hf share.
 *
 * One `struct hf` lives while a directory is opened: the trees of its JSON files, the row of its
 * architecture, the numbers of config.json that layouts depend on (checked, all within limits.h),
 * the tensors of all shards, and the GGUF header under construction.
 */
#ifndef MODEL_HF_INT_H
#define MODEL_HF_INT_H

#include "base/json.h"
#include "model/gguf_write.h"
#include "model/hf.h"
#include "model/quant.h"
#include "model/safetensors.h"

/* The arguments of a "%.*s" for a name out of a file: long ones are cut. */
#define HF_NAME(s) (int)((s).n > 80 ? 80 : (s).n), (s).p

struct hf;

/* A tensor of the files and where it goes. */
struct hf_entry {
    const struct safetensors_tensor *t;
    const struct hf_rule *rule;
    str name;      /* GGUF name */
    int32_t layer; /* -1: none */
    int32_t part;  /* number of the expert or head it belongs to; -1: none */
};

/* Adds the GGUF tensor, or tensors, that an entry stands for. NULL in a rule: it stays as it is. */
typedef enum err hf_fix_fn(struct hf *h, const struct hf_entry *x);

struct hf_rule {
    const char *hf;   /* name without root, "layers.N." and ".weight"; "#" stands for a number */
    const char *gguf; /* without "blk.N." and ".weight"; NULL: the tensor is not needed */
    hf_fix_fn *fix;
};

enum {                    /* flags of an architecture */
       HF_LAYER_NORM = 1, /* the epsilon is of a LayerNorm, not of an RMSNorm */
       HF_HALVES = 2,     /* q and k rotate by halves, where GGUF rotates pairs */
       HF_NO_ROPE = 4,
       HF_NORM_PLUS_1 = 8, /* GGUF stores the norms + 1 */
       HF_TIED = 16        /* the head is tied unless config.json says no */
};

struct hf_arch { /* of hf_arch.def */
    const char *gguf;
    unsigned flags;
    enum err (*keys)(struct hf *h); /* keys that only this one has; may be NULL */
    const char *defaults;           /* JSON: what absent members mean; may be NULL */
};

struct hf {
    struct gguf *g;
    struct err_info *e;
    struct arena tree;       /* of the JSON files; gone when the directory is open */
    const struct json *root; /* config.json */
    const struct json *text; /* its text_config, or root again */
    const struct json *defaults;
    const struct hf_arch *arch;
    const char *gguf_arch; /* mostly arch->gguf; a key function may decide otherwise */
    struct gguf_write w;
    /* numbers of config.json */
    uint32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_rot, n_ff, n_ctx;
    double rope_base;
    bool tied, skip_mtp;
    /* tensors */
    struct safetensors *shards;
    size_t n_shards, n_all;
    const struct safetensors_tensor **all; /* of all shards, sorted by name */
    uint64_t max_tensors;                  /* room in g->tensors */
    const struct hf_file *given; /* instead of a folder: nothing is mapped, no tensor has values */
    size_t n_given;
    const struct quant_mix *mix; /* matrices are quantised as they are added; or NULL */
    struct quant_model model;
    uint32_t n_threads;
};

/* ---- hf_config: config.json ---- */
/* The value of the first of the names "a|b|c" that is there and not null: in the text part, in the
 * whole, in the defaults of the architecture. */
const struct json *hf_get(const struct hf *h, const char *names);
/* The same in the description of RoPE, old style and new. */
const struct json *hf_rope(const struct hf *h, const char *names);
/* Typed reads; *out keeps its value when nothing is there. */
MUST_CHECK enum err hf_read_u32(struct hf *h, const char *names, uint32_t *out);
MUST_CHECK enum err hf_read_f64(struct hf *h, const char *names, double *out);
MUST_CHECK enum err hf_read_bool(struct hf *h, const char *names, bool *out);
/* Write "{arch}.suffix". */
void hf_put_u32(struct hf *h, const char *suffix, uint64_t v);
void hf_put_f32(struct hf *h, const char *suffix, double v);
void hf_put_bool(struct hf *h, const char *suffix, bool v);
void hf_put_str(struct hf *h, const char *suffix, str v);
/* Copies a number or a flag of config.json when it is there. */
MUST_CHECK enum err hf_copy_u32(struct hf *h, const char *suffix, const char *names);
MUST_CHECK enum err hf_copy_f32(struct hf *h, const char *suffix, const char *names);
/* Finds the row of the architecture, reads the numbers, writes all keys into h->w. */
MUST_CHECK enum err hf_config(struct hf *h, char *text, size_t n);

/* ---- hf_meta: what needs no weights ---- */
/* Turns what was written into h->w into the keys of h->g. */
MUST_CHECK enum err hf_take_keys(struct hf *h);
/* A template, or of a list of named ones the default. */
str hf_template(const struct json *v);
/* How token vectors become one, as sentence-transformers says in 1_Pooling/config.json; NULL: it
 * does not. */
void hf_put_pooling(struct hf *h, const struct json *conf);

/* ---- hf_rope: scalings ---- */
MUST_CHECK enum err hf_rope_keys(struct hf *h);
MUST_CHECK enum err hf_rope_tensors(struct hf *h); /* factors, where the scaling has some */

/* ---- hf_arch, hf_keys, hf_rules: the tables ---- */
const struct hf_arch *hf_arch_find(str class_name);
size_t hf_arch_row(const struct hf_arch *arch); /* of hf_arch.def */
/* The first row of a GGUF architecture: all of them share names of tensors and layouts. */
const struct hf_arch *hf_arch_of_gguf(str gguf);
/* Passes the fault r on to e, with the directory's name unless it has that already. Returns r. */
enum err hf_blame(enum err r, const char *dir, const struct err_info *why, struct err_info *e);
void hf_arch_names(buf *out); /* all GGUF names, for a refusal */
const struct hf_rule *hf_rules_find(const struct hf_arch *arch, str name, bool in_layer,
                                    str *suffix);

typedef enum err hf_keys_fn(struct hf *h);
hf_keys_fn hf_keys_bert, hf_keys_chatglm, hf_keys_cohere, hf_keys_cohere2, hf_keys_deepseek,
    hf_keys_deepseek2, hf_keys_exaone4, hf_keys_falcon, hf_keys_glm4moe, hf_keys_lfm2,
    hf_keys_gemma2, hf_keys_gemma3, hf_keys_gpt_oss, hf_keys_granite, hf_keys_hybrid, hf_keys_jamba,
    hf_keys_mamba, hf_keys_mamba2, hf_keys_minicpm, hf_keys_minicpm3, hf_keys_mistral3, hf_keys_moe,
    hf_keys_mpt, hf_keys_olmo, hf_keys_olmo2, hf_keys_parallel, hf_keys_phi3, hf_keys_qwen3moe,
    hf_keys_smollm3, hf_keys_starcoder;
extern const struct hf_rule hf_rules_baichuan[], hf_rules_bert[], hf_rules_bloom[],
    hf_rules_deepseek2[], hf_rules_exaone[], hf_rules_falcon[], hf_rules_gemma2[], hf_rules_glm4[],
    hf_rules_glm4moe[], hf_rules_lfm2[], hf_rules_gpt2[], hf_rules_gpt_oss[], hf_rules_gptneox[],
    hf_rules_granitemoe[], hf_rules_hybrid[], hf_rules_internlm2[], hf_rules_jamba[],
    hf_rules_mamba[], hf_rules_mamba2[], hf_rules_nomic[], hf_rules_stablelm[],
    hf_rules_starcoder[];

/* ---- hf_files: shards ---- */
MUST_CHECK enum err hf_files_open(struct hf *h, const char *dir);
/* A tensor of any shard; NULL when there is none. */
const struct safetensors_tensor *hf_files_find(const struct hf *h, str name);

/* What model.safetensors.index.json says. */
struct hf_index {
    const str *files; /* plain names, each once */
    size_t n_files;
    const struct hf_index_entry {
        str tensor;
        size_t file; /* index into files */
    } * entries;
    size_t n_entries;
};
/* Views into the text and the arena. */
MUST_CHECK enum err hf_files_index(struct hf_index *x, struct arena *a, str json,
                                   struct err_info *e);

/* ---- hf_tensors: entries to tensors ---- */
MUST_CHECK enum err hf_tensors(struct hf *h);
/* Which rule a tensor of the files falls under and what it is called in GGUF; x->rule is NULL when
 * the model does not need it. */
MUST_CHECK enum err hf_tensors_resolve(struct hf *h, const struct safetensors_tensor *t,
                                       struct hf_entry *x);
/* Appends a tensor to the model. dim[0] is the contiguous one. The name is copied. */
MUST_CHECK enum err hf_tensors_add(struct hf *h, str name, enum dtype t, const uint64_t *dim,
                                   uint32_t n_dims, const uint8_t *data);

/* ---- hf_fix, hf_fix_more: layouts ---- */
hf_fix_fn hf_fix_keep, hf_fix_f32, hf_fix_neg_exp, hf_fix_column, hf_fix_conv, hf_fix_transpose,
    hf_fix_flat, hf_fix_groups, hf_fix_kv_b, hf_fix_qkv_heads, hf_fix_qkv_groups, hf_fix_qkv_rows,
    hf_fix_gate_up_exps, hf_fix_gate_up, hf_fix_oss_gate_up, hf_fix_oss_down,
    hf_fix_oss_gate_up_bias, hf_fix_oss_blocks;
/* n entries that are the parts of one tensor, sorted. */
MUST_CHECK enum err hf_fix_parts(struct hf *h, const struct hf_entry *x, size_t n);
/* A tensor that says how to read another one, or how to compute with it, and is no weight. */
bool hf_fix_is_scale(const struct hf *h, str name);

/* Are there values to read? Not where only headers are given: then a fix makes the tensors and
 * counts the room that it would take, and neither reads nor writes. */
bool hf_fix_reads(const struct hf *h);
/* Values `bytes` further on; NULL where there are none. */
const uint8_t *hf_fix_at(const uint8_t *data, uint64_t bytes);
/* Values that can be used or rearranged: aligned, unscaled, one element after the other. */
struct hf_values {
    enum dtype dtype;    /* F32 for vectors */
    size_t size;         /* bytes of an element */
    const uint8_t *data; /* in the mapping, or owned by the model */
};
MUST_CHECK enum err hf_fix_values(struct hf *h, const struct safetensors_tensor *t,
                                  struct hf_values *v);
/* Zeroed memory of the model; NULL where values are not read. */
MUST_CHECK enum err hf_fix_room(struct hf *h, uint64_t bytes, uint8_t **out);
/* "blk.N.name" in the model's arena; .p is NULL when there is no memory. */
str hf_fix_name(struct hf *h, const struct hf_entry *x, const char *name);

#endif
