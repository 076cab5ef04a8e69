/* filename: what a name in a model repository says: format, kind, quantisation, shard, parameters.
 *
 * Names are hints and never proof: the judge uses them where no bytes are at hand, and to group the
 * files of a repository. A name is a path inside a repository ("Q4_K_M/x-00001-of-00003.gguf") or
 * the id of a repository ("org/x-8B-GGUF"). Pure; nothing is allocated, strings are views of the
 * name or static.
 */
#ifndef MODEL_FILENAME_H
#define MODEL_FILENAME_H

#include "base/str.h"
#include "model/dtype.h"

enum filename_format {
    FILENAME_NONE, /* the name does not say */
    FILENAME_GGUF,
    FILENAME_SAFETENSORS,
    FILENAME_PYTORCH,
    FILENAME_GGML, /* what came before GGUF */
    FILENAME_ONNX,
    FILENAME_MLX,
    FILENAME_GPTQ,
    FILENAME_AWQ,
    FILENAME_EXL2,
    FILENAME_EXL3,
    FILENAME_BNB, /* bitsandbytes */
    FILENAME_TFLITE,
    FILENAME_COREML,
    FILENAME_OPENVINO,
    FILENAME_TENSORFLOW,
    FILENAME_FLAX,
    FILENAME_FORMATS
};

enum filename_kind {
    FILENAME_OTHER,
    FILENAME_WEIGHTS,
    FILENAME_PROJECTOR, /* the eyes or ears of a model: mmproj */
    FILENAME_IMATRIX,   /* importance of weights, used while quantising */
    FILENAME_ADAPTER,   /* LoRA and the like: no model by itself */
    FILENAME_PIECE,     /* bytes of a file that was cut: to be joined before use */
    FILENAME_CONFIG,
    FILENAME_TOKENIZER,
    FILENAME_TEMPLATE,
    FILENAME_INDEX, /* which tensor lies in which shard */
    FILENAME_CARD,
    FILENAME_LICENCE,
    FILENAME_KINDS
};

struct filename {
    enum filename_format format;
    enum filename_kind kind;
    const char *quant;        /* one spelling for each: "Q4_K_M", "BF16"; NULL: not said */
    enum dtype dtype;         /* of most matrices then; DTYPE_COUNT: not said, or not one we know */
    uint32_t centibits;       /* typical for the quantisation, per weight, times 100; 0: unknown */
    bool dynamic;             /* "UD-": types chosen layer by layer */
    uint32_t shard, n_shards; /* 1-based; 0 and 0: one file */
    uint64_t params;          /* 0: not said. "8x7B" gives the product, an upper bound */
    uint64_t params_active;   /* of a mixture of experts, where the name says it */
    uint32_t n_expert;
    str set; /* all files of a shard set have the same; of a single file, the name without ending */
};

void filename_parse(struct filename *f, str name);
const char *filename_format_name(enum filename_format f); /* "gguf"; of NONE: "unknown" */
const char *filename_kind_name(enum filename_kind k);
/* The quantisation that is taken where nobody asks for one: the smallest whose answers are commonly
 * hard to tell from those of the whole model. */
#define FILENAME_USUAL "Q4_K_M"
/* How far another one is from it. `centibits` as above; 0, not known, is the farthest. */
uint32_t filename_distance(uint32_t centibits);
/* FILENAME_NONE when there is no such format. */
enum filename_format filename_format_from(str name);
/* The rest of `name` as a quantisation, whole: "q4-k-m" gives "Q4_K_M"; NULL: none. */
const char *filename_quant_from(str name);
/* All quantisations by their one spelling, with the type of most matrices (DTYPE_COUNT: none that
 * we know); NULL behind the last. */
const char *filename_quant_at(size_t i, enum dtype *dtype);

#endif
