/* verdict: can this worker run this model, on this machine, and how sure is that.
 *
 * The rule: the model's plan compiles, the worker has a kernel for every step on the types of its
 * weights, and weights, KV cache and registers fit into the machine's memory. There is no list of
 * architectures here: families, ops and types are what the worker says of itself (caps.h).
 *
 * Confidence says what the verdict rests on. HIGH: the real header was judged, and this worker's
 * version passed golden models of the family in this format and of the type that holds most
 * weights. MEDIUM: the real header was judged, all kernels exist. LOW: names and what the Hub says;
 * bytes may disagree. NONE: not compatible.
 *
 * `compatible` is about the worker, `fits` about the memory of the machine; a model runs when both
 * hold. All strings are in the arena. Pure, and the same bytes of JSON on every machine.
 */
#ifndef MODEL_VERDICT_H
#define MODEL_VERDICT_H

#include "model/caps.h"
#include "model/gguf.h"
#include "model/hf_meta.h"
#include "model/hub.h"
#include "model/judge.h"
#include "model/memory.h"

enum verdict_confidence { VERDICT_NONE, VERDICT_LOW, VERDICT_MEDIUM, VERDICT_HIGH };

struct speed_rates;

struct verdict_device {
    str name;
    uint64_t memory;  /* bytes for the model; 0: not known, everything fits */
    double bandwidth; /* bytes of weights read a second; 0: not known */
    double compute;   /* multiplications and additions a second, each counted; 0: not known */
    uint32_t threads; /* of a worker; 0: as 1 */
    const struct speed_rates *rates; /* what its kernels were measured at; NULL: not known */
};

/* Zero: the worker's default. The types as they are: F32 is zero, so say F16. */
struct verdict_ask {
    uint32_t n_ctx, n_slots;
    enum dtype ktype, vtype;
};

#define VERDICT_LINES 8

struct verdict_lines {
    str line[VERDICT_LINES];
    uint32_t n;
};

struct verdict {
    bool compatible, fits;
    enum judge_why why; /* the first reason; JUDGE_RUNS exactly if compatible and fits */
    enum verdict_confidence confidence;
    str evidence; /* what the confidence rests on */
    struct verdict_lines reasons, warnings, recommendations;
    str arch, quant;
    enum filename_format format;
    uint32_t n_ctx, n_slots;   /* that were judged */
    struct memory_shape shape; /* what the memory follows from */
    struct memory_need memory;
    bool memory_known;           /* false: neither sizes nor parameters are known */
    bool cache_known;            /* false: memory.kv and memory.compute are not */
    bool cache_estimated;        /* by the number of parameters */
    uint64_t short_by;           /* bytes; 0 when it fits */
    uint32_t fit_ctx, fit_slots; /* a smaller configuration that fits; 0: none, or not needed */
    enum dtype fit_kv;           /* a type of KV cache with which it fits; DTYPE_COUNT: none */
    str fit_set; /* of a repository, the best set that fits, if need be so; empty: none */
    double decode, prefill; /* tokens a second; 0: not known */
};

/* A model whose header was read: a GGUF file, or a directory presented as one. */
void verdict_header(struct verdict *v, struct arena *a, const struct gguf *g, const struct caps *c,
                    const struct verdict_device *d, const struct verdict_ask *ask);
/* A SafeTensors repository by its small files; bytes: of its weights by the sizes of their files,
 * 0: as the numbers of config.json have it. Cache and compute are exact, confidence is LOW. */
void verdict_config(struct verdict *v, struct arena *a, const struct hf_meta_files *f,
                    uint64_t bytes, const struct caps *c, const struct verdict_device *d,
                    const struct verdict_ask *ask);
/* A set of a repository, by what the Hub says; SIZE_MAX: the best one, as judge_better()
 * has it. */
void verdict_hub(struct verdict *v, struct arena *a, const struct hub_model *m, size_t set,
                 const struct caps *c, const struct verdict_device *d,
                 const struct verdict_ask *ask);

/* Of the verdicts on one model on n devices the best: one that runs, the fastest of those. n: it
 * runs on none. */
size_t verdict_best(const struct verdict *v, size_t n);
/* Names that device to all that do not run it for want of memory. */
void verdict_elsewhere(struct verdict *v, size_t n, struct arena *a,
                       const struct verdict_device *d);

/* A worker runs the repository, whatever the machine. */
bool verdict_is_model_compatible(struct arena *a, const struct hub_model *m, const struct caps *c);
/* Moves the compatible ones to the front, in their order; returns how many. */
size_t verdict_filter_compatible_models(struct arena *a, const struct hub_model **models, size_t n,
                                        const struct caps *c);

/* The same in JSON, appended to `out`. The request is an object:
 *   call     "is_model_compatible" or "check_model_worker_compatibility" (a verdict; the first
 *            whatever the device), "filter_compatible_models" (the ids that are)
 *   worker   capabilities; model or models: replies of the Hub
 *   files    a list of paths or {path, size}, in place of those of model: optional
 *   config   config.json, with or in place of model; tokenizer_config, generation_config: optional;
 *            each as an object or as its text
 *   device   see verdict_device_read(); context, slots, kv_type, set: optional
 * ERR_INVALID and ERR_FORMAT name the member. */
MUST_CHECK enum err verdict_call(struct arena *a, str request, buf *out, struct err_info *e);

/* {name, memory, bandwidth, compute, threads, rates}; each, and the whole, may be absent or null.
 * ERR_INVALID and ERR_FORMAT name the member. */
MUST_CHECK enum err verdict_device_read(struct verdict_device *d, struct arena *a,
                                        const struct json *v, struct err_info *e);
/* {context, slots, kv_type or kvType}, the same; f16 unless it is said. */
MUST_CHECK enum err verdict_ask_read(struct verdict_ask *ask, const struct json *v,
                                     struct err_info *e);

const char *verdict_confidence_name(enum verdict_confidence c);
/* As one JSON object, always the same members in the same order. */
void verdict_write(const struct verdict *v, struct jsonw *w);

#endif
