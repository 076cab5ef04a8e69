/* judge: the verdict on one set of files of a repository, from what the Hub says of it.
 *
 * verdict.h without words: numbers in, a reason code and numbers out, nothing allocated, so that
 * the catalogues of a whole Hub are judged in milliseconds. verdict_hub() asks here and renders the
 * code into sentences; there is no second copy of the rule.
 *
 * A set is compatible when the worker reads its format, knows its family and has kernels for its
 * type; it fits when weights, cache and compute fit into the memory of the machine. Order matters:
 * the first no is the reason.
 */
#ifndef MODEL_JUDGE_H
#define MODEL_JUDGE_H

#include "model/caps.h"
#include "model/hub.h"
#include "model/memory.h"

struct verdict_device;
struct verdict_ask;

enum judge_why {
#define JUDGE(NAME, name, text, brief) JUDGE_##NAME,
#include "model/judge.def"
#undef JUDGE
    JUDGE_WHYS
};

/* What of a repository counts. */
struct judge_model {
    int16_t family; /* row of the family table; -1: none that we know */
    bool arch_said; /* the reply names an architecture */
    bool hf_loads;  /* a class that SafeTensors are read as */
    bool disabled, gated, vision;
    bool files_said;        /* the reply lists files */
    bool pieces;            /* some of them are bytes of a file that was cut */
    bool foreign_quant;     /* weights packed by a method that is not read */
    bool scaled;            /* 8-bit floats that are multiplied out */
    bool other_task;        /* neither text nor vectors of text come out of it */
    uint32_t formats;       /* bits 1 << enum filename_format */
    uint32_t context;       /* 0: not said */
    uint64_t params;        /* 0: not known */
    uint64_t params_active; /* of a mixture; 0: not said */
    struct memory_shape shape;
};

/* What of a set counts. */
struct judge_set {
    uint8_t format;     /* enum filename_format */
    uint8_t kind;       /* enum filename_kind */
    uint8_t dtype;      /* of most matrices; DTYPE_COUNT: not known */
    bool foreign_quant; /* a quantisation that only other programs read */
    bool whole;         /* all shards are there */
    uint16_t centibits; /* a weight, times 100; 0: not known */
    uint64_t bytes;     /* 0: not said */
};

struct judge_out {
    enum judge_why why; /* JUDGE_RUNS exactly if compatible and fits */
    bool compatible, fits;
    uint8_t format;       /* that was judged */
    uint32_t distance;    /* of the quantisation: filename_distance() */
    bool memory_known;    /* false: neither sizes nor parameters are */
    bool cache_known;     /* false: memory.kv and memory.compute are not */
    bool cache_estimated; /* they follow from the number of parameters */
    struct memory_need memory;
    uint64_t short_by;       /* bytes; 0 when it fits */
    uint32_t n_ctx, n_slots; /* that were judged */
    float decode, prefill;   /* tokens a second; 0: not known */
};

/* The shape is the model's estimate; one that is known better may replace it afterwards. */
void judge_model_from(struct judge_model *j, const struct hub_model *m);
void judge_set_from(struct judge_set *j, const struct hub_set *s);

/* What a model takes beside its weights; the same for all of its sets. */
struct judge_beside {
    struct memory_conf conf; /* as the worker would run it */
    struct memory_need need; /* weights 0 */
};
void judge_beside(struct judge_beside *b, const struct judge_model *m,
                  const struct verdict_device *d, const struct verdict_ask *ask);
/* s NULL: files are not said. b NULL: it is computed here. */
void judge_set(struct judge_out *o, const struct judge_model *m, const struct judge_set *s,
               const struct caps *c, const struct verdict_device *d, const struct verdict_ask *ask);
void judge_set_with(struct judge_out *o, const struct judge_model *m, const struct judge_set *s,
                    const struct judge_beside *b, const struct caps *c,
                    const struct verdict_device *d, const struct verdict_ask *ask);
/* The two halves of it, for who asks about many sets and shows one. */
void judge_fit(struct judge_out *o, const struct judge_model *m, const struct judge_set *s,
               const struct judge_beside *b, const struct caps *c, const struct verdict_device *d,
               const struct verdict_ask *ask);
void judge_speed(struct judge_out *o, const struct judge_model *m, const struct judge_set *s,
                 const struct verdict_device *d, const struct verdict_ask *ask);
/* Of two verdicts on sets of one model the better one: what runs before what does not fit before
 * what is not compatible; of those that fit the nearest to the usual
 * quantisation and then the larger weights, else the smaller weights. */
bool judge_better(const struct judge_out *a, const struct judge_out *b);

const char *judge_why_name(enum judge_why why);  /* a word, of JSON and queries */
const char *judge_why_text(enum judge_why why);  /* a phrase behind "N hidden because " */
const char *judge_why_brief(enum judge_why why); /* of one, for a column: "no weights" */
enum judge_why judge_why_from(str name);         /* JUDGE_WHYS when there is none */

#endif
