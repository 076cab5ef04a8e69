/* catalog: an index of models in memory: judged, filtered, counted, sorted, paged.
 *
 * Rows come from what the Hub says of a repository (catalog_put). They are judged for machines by
 * judge_set(), the rule of verdict_hub(): for each set of weights, on which machines it runs.
 * A query asks for rows; a page of them says for each the best set, the machine, the memory and the
 * speed, or why it does not run.
 *
 * Filters on sets (format, quant, bytes, memory) and on machines hold together: a row is found when
 * one of its sets passes all of them on one machine, and the best of those is what the row shows.
 * Several values of a filter are alternatives, but for capabilities, which all must be there. What
 * a row does not say (no parameters, no date) passes no filter on it. Rows that pass the filters
 * but run on none of the machines asked for are hidden, and counted by reason.
 *
 * A catalogue belongs to one thread at a time. Pure: no files, no locale, no clock. Views of its
 * strings are good until the next put, remove or judge.
 */
#ifndef MODEL_CATALOG_H
#define MODEL_CATALOG_H

#include "model/judge.h"
#include "model/verdict.h"

/* ---- the fields of a query: catalog.def ---- */

enum catalog_field {
#define FIELD(NAME, name, KIND, facet, value, help) CATALOG_##NAME,
#include "model/catalog.def"
#undef FIELD
    CATALOG_FIELDS
};

enum catalog_kind {
    CATALOG_K_WORDS,    /* a text, cut at white space */
    CATALOG_K_TEXTS,    /* several, case ignored */
    CATALOG_K_FORMATS,  /* several, by filename_format_name() */
    CATALOG_K_QUANTS,   /* several, by filename_quant_from() */
    CATALOG_K_SIZES,    /* several ranges of parameters */
    CATALOG_K_CONTEXTS, /* several ranges of the context */
    CATALOG_K_CANS,     /* several capabilities, all of them */
    CATALOG_K_BOOL,     /* true, false; 1, 0 */
    CATALOG_K_PARAMS,   /* 7B, 500M, 1.5B */
    CATALOG_K_TOKENS,   /* 16384, 16k (of 1024) */
    CATALOG_K_BYTES,    /* 8GB (of 1000), 8GiB or 8G (of 1024) */
    CATALOG_K_TIME,     /* YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ, in UTC */
    CATALOG_K_COUNT,    /* a whole number of at least 1 */
    CATALOG_K_KV,       /* one of DTYPE_KV_NAMES */
    CATALOG_K_SORT,
    CATALOG_K_ORDER,
    CATALOG_K_CURSOR
};

struct catalog_field_info {
    const char *name; /* "min_params" */
    enum catalog_kind kind;
    bool facet, several;
    const char *value, *help; /* "N", "parameters, at least: 500M, 7B" */
};

const struct catalog_field_info *catalog_field(enum catalog_field f);
/* CATALOG_FIELDS when there is none; '-' and '_' are one, case is ignored ("minParams" too), and
 * "license", "quantization" and "creator" are understood. */
enum catalog_field catalog_field_from(str name);

/* ---- a query ---- */

#define CATALOG_PAGE_ROWS 50 /* of a page, unless the query says otherwise */

enum catalog_sort {
    CATALOG_BY_TRENDING,
    CATALOG_BY_DOWNLOADS,
    CATALOG_BY_LIKES,
    CATALOG_BY_UPDATED,
    CATALOG_BY_CREATED,
    CATALOG_BY_SIZE, /* bytes of the files of the set that is shown */
    CATALOG_BY_PARAMS,
    CATALOG_BY_SPEED, /* predicted tokens a second of the set that is shown */
    CATALOG_BY_NAME,
    CATALOG_SORTS
};

struct catalog_list {
    const str *v; /* sorted, each once; words as they came */
    size_t n;
};

/* Zero is valid: it asks for everything that runs. */
struct catalog_query {
    uint64_t given;                           /* bits 1 << enum catalog_field */
    struct catalog_list list[CATALOG_FIELDS]; /* of fields with several values, and of q */
    /* Of the others: a number, 0 or 1, seconds since 1970, an enum dtype, an enum catalog_sort, 1
     * for ascending. */
    uint64_t number[CATALOG_FIELDS];
    str cursor;
};

/* Empty: {0}. Adds one field: the text is not encoded, ',' separates several values. ERR_INVALID
 * names the field and says what would be right. */
MUST_CHECK enum err catalog_query_set(struct catalog_query *q, struct arena *a, str name, str text,
                                      struct err_info *e);
/* From a query string ("q=qwen&size=4-9B&all=1"), without '?'. Strict: unknown fields, a field of
 * one value twice, wrong percent-encoding are ERR_INVALID. A field with an empty value counts as
 * absent, since forms send such. */
MUST_CHECK enum err catalog_query_parse(struct catalog_query *q, struct arena *a, str text,
                                        struct err_info *e);
/* From a JSON object: names in either key style; values as text, number, boolean, null or a list.
 */
MUST_CHECK enum err catalog_query_json(struct catalog_query *q, struct arena *a,
                                       const struct json *v, struct err_info *e);
/* The canonical query string: the same for all spellings of one query; what is the default is left
 * out. catalog_query_parse() of it gives the same query. */
void catalog_query_write(const struct catalog_query *q, buf *out);

enum catalog_sort catalog_query_sort(const struct catalog_query *q);
bool catalog_query_ascending(const struct catalog_query *q);
const char *catalog_sort_name(enum catalog_sort s);
/* `base` with what the query says of context, slots and KV cache. */
struct verdict_ask catalog_query_ask(const struct catalog_query *q, const struct verdict_ask *base);

/* ---- life cycle ---- */

struct catalog;

/* A machine with a worker on it; a machine with several devices comes several times, under one
 * name. */
struct catalog_device {
    /* Borrowed, as are the device's rates: until the next catalog_judge() or catalog_free(). */
    const struct caps *caps;
    struct verdict_device device;
    str backend; /* "cpu" */
};

struct catalog *catalog_new(void); /* NULL: no memory */
void catalog_free(struct catalog *c);

/* Adds a model, or replaces that of the same id. `shape`: what its memory depends on, from a header
 * that was read; NULL: by what the reply says. Everything is copied. ERR_LIMIT, ERR_NOMEM: the
 * catalogue is as it was. */
MUST_CHECK enum err catalog_put(struct catalog *c, const struct hub_model *m,
                                const struct memory_shape *shape, struct err_info *e);
bool catalog_remove(struct catalog *c, str id);
size_t catalog_count(const struct catalog *c);
/* Sets of weights in all models; one for a model whose files are not known. */
size_t catalog_sets(const struct catalog *c);

/* Names the machines (at most LIMIT_INDEX_DEVICES, none: nothing is judged, all is shown) and the
 * configuration that is asked for unless a query says otherwise, and judges every row. Rows that
 * come later, and configurations that a query brings, are judged by the first query that needs it.
 */
MUST_CHECK enum err catalog_judge(struct catalog *c, const struct catalog_device *d, size_t n,
                                  const struct verdict_ask *ask, struct err_info *e);

/* ---- rows ---- */

struct catalog_row {
    str id, author, base_model, licence, task, library;
    str architecture, family; /* of known ones by our names, else as the Hub says */
    const str *languages, *quants;
    size_t n_languages, n_quants;
    int64_t created, updated;                                /* seconds since 1970; 0: not said */
    uint64_t downloads, likes, params, params_active, bytes; /* bytes: of the repository */
    double trending;
    uint32_t context, n_sets;
    unsigned can, formats; /* bits of enum hub_can, 1 << enum filename_format */
    bool gated;
    /* The best set that passes the filters, and how it does on the machine that it does best on. */
    bool judged; /* false: there are no machines, and nothing below but the set is known */
    str set;     /* its name; empty: the files are not known */
    str quant;   /* empty: not said */
    enum filename_format format;
    uint64_t set_bytes; /* of its files; 0: not known */
    bool set_estimated; /* by parameters and bits, since its files have no sizes */
    struct judge_out out;
    str machine, backend; /* that `out` is for */
    const str *machines;  /* on which one of the sets that pass the filters fits */
    size_t n_machines;
};

struct catalog_reason {
    enum judge_why why;
    uint64_t count;
};

struct catalog_page {
    const struct catalog_row *rows;
    size_t n;
    uint64_t total; /* rows that are shown, on all pages */
    str next;       /* cursor of the next page; empty: this is the last */
    uint64_t hidden;
    struct catalog_reason reasons[JUDGE_WHYS]; /* most frequent first */
    size_t n_reasons;
};

/* One page. A cursor holds the sort key and the id of the last row of a page: rows that come or go
 * between two pages neither repeat nor skip others. ERR_INVALID: a machine that is not there, a
 * cursor of another sort. */
MUST_CHECK enum err catalog_find(struct catalog *c, const struct catalog_query *q, struct arena *a,
                                 struct catalog_page *page, struct err_info *e);
/* One row, whatever filters and visibility say; `q` gives the configuration. ERR_NOMODEL. */
MUST_CHECK enum err catalog_get(struct catalog *c, const struct catalog_query *q, str id,
                                struct arena *a, struct catalog_row *row, struct err_info *e);

struct catalog_count {
    str value; /* as the field takes it */
    uint64_t count;
    bool chosen; /* the query names it */
};

struct catalog_facet {
    enum catalog_field field;
    const struct catalog_count *v; /* ranges in their order, others most frequent first */
    size_t n;
    size_t more; /* values beyond the first LIMIT_INDEX_FACET, which are left out */
};

struct catalog_facets {
    const struct catalog_facet *v;
    size_t n;
};

/* For each facet how many rows each value would show, were it the only one chosen in this facet:
 * every facet is counted without its own filter and with all others. With all=1, machines and back
 * ends count what would fit on them. */
MUST_CHECK enum err catalog_facets(struct catalog *c, const struct catalog_query *q,
                                   struct arena *a, struct catalog_facets *out, struct err_info *e);

/* ---- as JSON ---- */

void catalog_write_row(const struct catalog_row *r, struct jsonw *w);
/* {models, total, next, query, hidden: {count, reasons: [{reason, text, count}]}} */
void catalog_write_page(const struct catalog_page *p, const struct catalog_query *q,
                        struct jsonw *w);
/* {architecture: {values: [{value, count, chosen}], more}, ...} */
void catalog_write_facets(const struct catalog_facets *f, struct jsonw *w);

#endif
