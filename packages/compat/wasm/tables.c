/* tables: see tables.h. */
#include "tables.h"

#include "base/err.h"
#include "base/json.h"
#include "model/catalog_int.h"
#include "model/filename.h"
#include "model/judge.h"
#include "model/verdict.h"

static const struct {
    const char *name, *text;
    int http, exit;
    const char *type;
} errors[] = {
#define ERR(name, json, http, exit, type, text) {json, text, http, exit, type},
#include "base/err.def"
#undef ERR
};

static void write_errors(struct jsonw *w)
{
    jsonw_key(w, "errors");
    jsonw_arr(w);
    for (size_t i = 1; i < sizeof errors / sizeof *errors; i++) { /* the first is none */
        jsonw_obj(w);
        jsonw_kc(w, "code", errors[i].name);
        jsonw_kint(w, "status", errors[i].http);
        jsonw_kint(w, "exit", errors[i].exit);
        jsonw_kc(w, "type", errors[i].type);
        jsonw_kc(w, "text", errors[i].text);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

static const char *format_at(size_t i)
{
    return i < FILENAME_FORMATS ? filename_format_name((enum filename_format)i) : NULL;
}

static const char *confidence_at(size_t i)
{
    return i <= VERDICT_HIGH ? verdict_confidence_name((enum verdict_confidence)i) : NULL;
}

static const char *quant_at(size_t i)
{
    enum dtype t;
    return filename_quant_at(i, &t);
}

static const char *why_at(size_t i)
{
    return i < JUDGE_WHYS ? judge_why_name((enum judge_why)i) : NULL;
}

static const char *size_at(size_t i)
{
    return catalog_bucket_name(CATALOG_K_SIZES, (unsigned)i);
}

static const char *context_at(size_t i)
{
    return catalog_bucket_name(CATALOG_K_CONTEXTS, (unsigned)i);
}

static const char *can_at(size_t i)
{
    return catalog_can_name((unsigned)i);
}

static const char *sort_at(size_t i)
{
    return i < CATALOG_SORTS ? catalog_sort_name((enum catalog_sort)i) : NULL;
}

static const char *facet_at(size_t i)
{
    for (int f = 0; f < CATALOG_FIELDS; f++) {
        const struct catalog_field_info *x = catalog_field((enum catalog_field)f);
        if (x->facet && !i--) return x->name;
    }
    return NULL;
}

static void write_words(struct jsonw *w, const char *key, const char *(*at)(size_t i))
{
    const char *word;
    jsonw_key(w, key);
    jsonw_arr(w);
    for (size_t i = 0; (word = at(i)); i++)
        jsonw_c(w, word);
    jsonw_end(w, ']');
}

static void write_kv_types(struct jsonw *w)
{
    str rest = S(DTYPE_KV_NAMES);
    jsonw_key(w, "kv_types");
    jsonw_arr(w);
    while (rest.n)
        jsonw_str(w, str_cut(rest, '|', &rest));
    jsonw_end(w, ']');
}

/* The fields of a query, with a word for the type of each. */
static void write_fields(struct jsonw *w)
{
    static const char *const kinds[] = {
        [CATALOG_K_WORDS] = "text",     [CATALOG_K_TEXTS] = "text",
        [CATALOG_K_FORMATS] = "format", [CATALOG_K_QUANTS] = "quant",
        [CATALOG_K_SIZES] = "size",     [CATALOG_K_CONTEXTS] = "context",
        [CATALOG_K_CANS] = "can",       [CATALOG_K_BOOL] = "bool",
        [CATALOG_K_PARAMS] = "amount",  [CATALOG_K_TOKENS] = "amount",
        [CATALOG_K_BYTES] = "amount",   [CATALOG_K_TIME] = "text",
        [CATALOG_K_COUNT] = "number",   [CATALOG_K_KV] = "kv",
        [CATALOG_K_SORT] = "sort",      [CATALOG_K_ORDER] = "order",
        [CATALOG_K_CURSOR] = "text",
    };
    jsonw_key(w, "fields");
    jsonw_arr(w);
    for (int f = 0; f < CATALOG_FIELDS; f++) {
        const struct catalog_field_info *x = catalog_field((enum catalog_field)f);
        jsonw_obj(w);
        jsonw_kc(w, "name", x->name);
        jsonw_kc(w, "kind", kinds[x->kind]);
        jsonw_kbool(w, "several", x->several);
        jsonw_kc(w, "help", x->help);
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

void tables_write(buf *out)
{
    struct jsonw w;
    jsonw_init(&w, out);
    jsonw_obj(&w);
    write_errors(&w);
    write_words(&w, "formats", format_at);
    write_words(&w, "quantizations", quant_at);
    write_words(&w, "confidences", confidence_at);
    write_words(&w, "whys", why_at);
    write_words(&w, "sizes", size_at);
    write_words(&w, "contexts", context_at);
    write_words(&w, "capabilities", can_at);
    write_words(&w, "sorts", sort_at);
    write_words(&w, "facets", facet_at);
    write_kv_types(&w);
    write_fields(&w);
    jsonw_end(&w, '}');
}
