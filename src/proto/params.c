/* params: the table of generation parameters, made from params.def.
 *
 * Invariant: row i describes the i-th field of struct params; every default lies within its range.
 * Reading JSON or flags is the business of whoever owns that syntax.
 */
#include "proto/params.h"

#include <string.h>

/* clang-format off */
static const struct params_row rows[] = {
#define PARAM(field, TYPE, json, aliases, dflt, min, max, help)                                    \
    {json, aliases, PARAMS_##TYPE, offsetof(struct params, field), dflt, min, max, help},
#include "proto/params.def"
#undef PARAM
};
/* clang-format on */

void params_default(struct params *p)
{
    *p = (struct params){
#define PARAM(field, TYPE, json, aliases, dflt, min, max, help) .field = (params_##TYPE)(dflt),
#include "proto/params.def"
#undef PARAM
    };
}

const struct params_row *params_rows(size_t *n)
{
    *n = sizeof rows / sizeof rows[0];
    return rows;
}

/* Is `name` one of the names in `list`, which are separated by |? */
static bool listed(const char *list, const char *name, size_t n)
{
    while (*list) {
        size_t len = strcspn(list, "|");
        if (len == n && memcmp(list, name, n) == 0) return true;
        list += len + (list[len] == '|');
    }
    return false;
}

const struct params_row *params_find(const char *name, size_t n)
{
    if (n == 0) return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (listed(rows[i].name, name, n) || listed(rows[i].aliases, name, n)) return &rows[i];
    return NULL;
}
