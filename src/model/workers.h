/* workers: the catalogue of workers: what each can run, and how to get it.
 *
 * An entry is what a worker printed for --capabilities, with the row of workers.def that says how
 * to get it. So only workers that exist are listed, and nothing here says of one what it does not
 * say of itself. A worker that has no row (a later one) is listed without that part.
 *
 * The one rule of filters: a filter on a field that a worker lacks excludes the worker.
 * Pure; everything lives in the arena or is a view of the JSON.
 */
#ifndef MODEL_WORKERS_H
#define MODEL_WORKERS_H

#include "model/caps.h"

struct workers_how; /* a row of workers.def */

struct workers_entry {
    struct caps caps;              /* of its first back end */
    const struct json *said;       /* the capabilities whole */
    const struct workers_how *how; /* NULL: no row */
    str type;                      /* "cpu", "cuda", "metal"; empty: not said */
    uint64_t max_context;          /* 0: not said */
};

struct workers {
    const struct workers_entry *entry;
    size_t n;
};

/* Zero or empty: does not matter. Words are compared without case. */
struct workers_filter {
    str worker_type, platform, architecture; /* of the machine: "linux", "x86_64" */
    str model_architecture; /* as GGUF, a class or a model type of config.json has it */
    str model_format;
    uint64_t min_context_length;
};

/* One capabilities object, or a list of them; the same worker in the same version counts once.
 * ERR_FORMAT names the worker by its place in the list and what is wrong. */
MUST_CHECK enum err workers_parse(struct workers *w, struct arena *a, const struct json *v,
                                  struct err_info *e);
/* NULL: none of this id. Of several versions the first that was given. */
const struct workers_entry *workers_get(const struct workers *w, str id);

/* Sets one field by its name, in either style ("model_format", "modelFormat"). ERR_INVALID: there
 * is no such field, or the value is no number where one is needed; the message lists the fields. */
MUST_CHECK enum err workers_filter_set(struct workers_filter *f, str name, str value,
                                       struct err_info *e);
/* The same from an object; NULL and null members do not matter. */
MUST_CHECK enum err workers_filter_read(struct workers_filter *f, const struct json *v,
                                        struct err_info *e);
bool workers_match(const struct workers_entry *x, const struct workers_filter *f);

/* One entry as an object; f NULL: all of {"workers": [...]}, else those that match. */
void workers_write_entry(const struct workers_entry *x, struct jsonw *w);
void workers_write(const struct workers *all, const struct workers_filter *f, struct jsonw *w);

#endif
