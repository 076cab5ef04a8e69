/* hub: what the Hugging Face Hub's API says of a repository, in one normal form.
 *
 * Takes an entry of a list (/api/models) or a detail (/api/models/{id}), which have the same
 * fields, the detail more of them. Strict about the types of what it reads (ERR_FORMAT names the
 * field) and tolerant of everything absent: an absent or null field is zero or empty here.
 * `cardData` is what people wrote by hand: what has another form there counts as absent.
 *
 * Files are grouped into sets: one file, or all shards of one model. Everything lives in the arena
 * or is a view of the JSON text. Pure.
 */
#ifndef MODEL_HUB_H
#define MODEL_HUB_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "model/filename.h"

struct family;
struct memory_shape;

enum hub_can { /* bits */
               HUB_CHAT = 1,
               HUB_TOOLS = 2,
               HUB_REASONING = 4,
               HUB_VISION = 8,
               HUB_EMBEDDING = 16,
               HUB_RERANK = 32
};

/* What a number of parameters rests on. */
enum hub_source { HUB_NOT_SAID, HUB_BY_NAME, HUB_BY_API };

struct hub_file {
    str path;
    uint64_t bytes; /* 0: not said */
    str sha256;     /* of a large file, where the reply has it */
    struct filename name;
    uint32_t set; /* index into sets; UINT32_MAX: no weights */
};

/* Weights that are loaded together. */
struct hub_set {
    str name;
    enum filename_format format;
    enum filename_kind kind; /* WEIGHTS, PROJECTOR, ADAPTER, IMATRIX or PIECE; OTHER: a part */
    const char *quant;       /* NULL: not said */
    enum dtype dtype;        /* DTYPE_COUNT: not said or not known */
    uint32_t centibits;      /* per weight, typical; 0: unknown */
    uint32_t first;          /* a file of it, of the lowest index */
    uint32_t n_files, n_expected;
    uint64_t bytes;  /* of all files; 0 when one of them has no size */
    uint64_t loaded; /* that its weights take in memory; 0: not known */
};

struct hub_dtype {
    str name;
    uint64_t params;
};

struct hub_model {
    str id, author, sha;
    int64_t created, updated; /* seconds since 1970; 0: not said */
    uint64_t downloads, likes;
    double trending;
    bool gated, is_private, disabled;
    str task, library, licence, base_model;
    str arch; /* GGUF architecture, class or model type, as the reply says; empty: it does not */
    bool arch_of_file;           /* by a GGUF file itself */
    bool arch_by_name;           /* by the name of the repository only */
    const struct family *family; /* that this is; NULL: none that we know */
    bool hf_loads;               /* a class that SafeTensors are read as */
    unsigned formats;            /* bits 1 << enum filename_format */
    bool files_said;             /* the reply lists files, even if none */
    enum hub_source params_from;
    uint64_t params, params_active; /* active: 0 when not said */
    const struct hub_dtype *dtypes; /* of SafeTensors */
    size_t n_dtypes;
    uint32_t context; /* 0: not said */
    bool other_task;  /* neither text nor vectors of text come out of it */
    str chat_template;
    str quant_method;   /* of config.json; empty: none said */
    bool foreign_quant; /* SafeTensors packed in a way that is not read */
    bool scaled;        /* SafeTensors of scaled 8-bit floats, which are multiplied out */
    unsigned can;       /* enum hub_can */
    const str *languages;
    size_t n_languages;
    const struct hub_file *files;
    size_t n_files;
    const struct hub_set *sets;
    size_t n_sets;
    uint64_t bytes; /* of the repository; 0: not said */
    /* By the header of one of its files, where a caller has read that; NULL: not known. */
    const struct memory_shape *shape;
};

MUST_CHECK enum err hub_parse(struct hub_model *m, struct arena *a, const struct json *v,
                              struct err_info *e);
/* The family that a word names: an architecture of GGUF, a class or a model type of config.json,
 * case, '-' and '_' ignored. NULL: none. */
const struct family *hub_family(str word);
/* As one JSON object, always the same members in the same order. */
void hub_write(const struct hub_model *m, struct jsonw *w);

#endif
