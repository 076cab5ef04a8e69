/* tables: see tables.h. */
#include "tables.h"

#include "base/err.h"
#include "base/json.h"
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
    write_kv_types(&w);
    jsonw_end(&w, '}');
}
