/* params: the parameters of one generation, a struct made from the table params.def.
 *
 * Pure data: the engine reads it and knows nothing of JSON. Values are within the table's ranges.
 */
#ifndef PROTO_PARAMS_H
#define PROTO_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int64_t params_INT;
typedef double params_NUM;
typedef bool params_BOOL;

struct params {
#define PARAM(field, TYPE, json, aliases, dflt, min, max, help) params_##TYPE field;
#include "proto/params.def"
#undef PARAM
};

enum params_type { PARAMS_INT, PARAMS_NUM, PARAMS_BOOL };

struct params_row {
    const char *name, *aliases;
    enum params_type type;
    size_t at; /* offsetof in struct params */
    double dflt, min, max;
    const char *help;
};

void params_default(struct params *p);
const struct params_row *params_rows(size_t *n);
/* By name or alias; NULL when there is none. */
const struct params_row *params_find(const char *name, size_t n);

#endif
