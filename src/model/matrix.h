/* matrix: which worker runs which architecture in which format and quantisation, as a table.
 *
 * Derived: families, formats and types are the worker's own words, combined by the rule of the
 * verdict as far as it can be told without a model: the worker knows the family, reads the format
 * for it, and multiplies the type of most matrices. HIGH: golden models of the family in that
 * format and of that type were passed; MEDIUM: none was, the kernels exist; NONE: it does not run.
 * Memory and what a single file holds are no part of it.
 *
 * A row whose architecture and quantisation are "*" names a format that no model is read from.
 * Pure; nothing is allocated.
 */
#ifndef MODEL_MATRIX_H
#define MODEL_MATRIX_H

#include "model/verdict.h"
#include "model/workers.h"

struct matrix_row {
    const struct workers_entry *worker;
    str architecture, quantization;
    enum filename_format format;
    enum verdict_confidence confidence;
    str golden_family, golden_type; /* of HIGH; one may be empty where the other says all */
};

/* Empty: does not matter. Words are compared without case; an architecture as GGUF, a class or a
 * model type of config.json has it. */
struct matrix_filter {
    str worker, architecture, format, quantization;
    bool compatible; /* only what runs */
};

/* ERR_INVALID: no such filter, or a value that nothing has. */
MUST_CHECK enum err matrix_filter_set(struct matrix_filter *f, str name, str value,
                                      struct err_info *e);

typedef void matrix_fn(void *owner, const struct matrix_row *row);
/* Rows by worker, architecture, format and quantisation, in the order of their tables. */
void matrix_each(const struct workers *all, const struct matrix_filter *f, matrix_fn *fn,
                 void *owner);

/* {"rows": [{...}]} */
void matrix_write_json(const struct workers *all, const struct matrix_filter *f, struct jsonw *w);
/* RFC 4180, with a line of names. */
void matrix_write_csv(const struct workers *all, const struct matrix_filter *f, buf *out);

#endif
