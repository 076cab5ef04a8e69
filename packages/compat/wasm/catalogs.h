/* catalogs: the calls of catalogues, which live between calls under a number. */
#ifndef COMPAT_CATALOGS_H
#define COMPAT_CATALOGS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

#define CATALOGS_MAX 16 /* at once */

/* `v` is the request; what is of it only lives in `a`. */
typedef enum err catalogs_fn(const struct json *v, struct arena *a, struct jsonw *w,
                             struct err_info *e);

catalogs_fn catalogs_new;    /* {} -> {catalog} */
catalogs_fn catalogs_free;   /* {catalog} -> true; false: there was none */
catalogs_fn catalogs_put;    /* {catalog, models} -> {added, rejected: [{index, message}]} */
catalogs_fn catalogs_remove; /* {catalog, id} -> true, false */
catalogs_fn catalogs_count;  /* {catalog} -> {models, sets} */
/* {catalog, machines: [{name, ..., worker, backend}], context, slots, kv_type} -> true. Without
 * machines nothing is judged and everything is shown. */
catalogs_fn catalogs_judge;
catalogs_fn catalogs_find;   /* {catalog, query} -> a page; a query is a string or an object */
catalogs_fn catalogs_get;    /* {catalog, id, query} -> a row, whatever hides it */
catalogs_fn catalogs_facets; /* {catalog, query} -> facets */
catalogs_fn catalogs_query;  /* {query} -> its canonical string */

/* Frees all of them and begins with number 1 again. */
void catalogs_fini(void);

#endif
