/* catalog_view: what the queen's catalogue answers, as a person reads it.
 *
 * Takes the JSON of /v1/catalog/... (docs/http.md) and appends lines. Members that are absent or of
 * another type are left out: a later queen may say more, an earlier one less.
 */
#ifndef CLI_CATALOG_VIEW_H
#define CLI_CATALOG_VIEW_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "cli/table.h"

/* A page of models, then how many there are, and how many are hidden and why. */
void catalog_view_page(const struct json *page, const struct table_look *l, struct arena *a,
                       buf *out);
/* Each facet with its values and their counts. */
void catalog_view_facets(const struct json *facets, const struct table_look *l, struct arena *a,
                         buf *out);

#endif
