/* worker_caps: `--capabilities`, made from the tables of families, types, ops and parameters. */
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/os.h"
#include "model/family.h"
#include "model/hf.h"
#include "model/plan.h"
#include "proto/params.h"
#include "text/tok.h"
#include "worker/worker.h"

static void dtypes_of(struct jsonw *w, const struct backend *be)
{
    jsonw_key(w, "dtypes");
    jsonw_arr(w);
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (be->has(OP_LINEAR, (enum dtype)t)) jsonw_c(w, dtype_info((enum dtype)t)->name);
    }
    jsonw_end(w, ']');
    jsonw_key(w, "kv_types");
    jsonw_arr(w);
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (be->has_kv((enum dtype)t, (enum dtype)t)) jsonw_c(w, dtype_info((enum dtype)t)->name);
    }
    jsonw_end(w, ']');
    jsonw_key(w, "ops");
    jsonw_arr(w);
    for (int op = 0; op < OP_COUNT; op++) {
        if (be->op[op]) jsonw_c(w, plan_op_name((enum op)op));
    }
    jsonw_end(w, ']');
}

/* The goldens of one family that were checked in this format. */
static void goldens(struct jsonw *w, const char *format, const char *family, bool safetensors)
{
    size_t n;
    const struct family_proof *p = family_proofs(&n);

    jsonw_key(w, format);
    jsonw_arr(w);
    for (size_t i = 0; i < n; i++)
        if (strcmp(p[i].family, family) == 0 && (p[i].safetensors || !safetensors))
            jsonw_c(w, p[i].golden);
    jsonw_end(w, ']');
}

static void dtype_proofs(struct jsonw *w)
{
    size_t n;
    const struct dtype_proof *p = family_dtype_proofs(&n);

    jsonw_key(w, "proven_dtypes");
    jsonw_obj(w);
    for (size_t i = 0; i < n; i++) {
        bool first = i == 0 || strcmp(p[i].dtype, p[i - 1].dtype) != 0;

        if (first && i) jsonw_end(w, ']');
        if (first) jsonw_key(w, p[i].dtype);
        if (first) jsonw_arr(w);
        jsonw_c(w, p[i].golden);
    }
    if (n) jsonw_end(w, ']');
    jsonw_end(w, '}');
}

static void classes(struct jsonw *w, const char *family)
{
    const char *all, *gguf;

    jsonw_key(w, "huggingface");
    jsonw_arr(w);
    for (size_t i = 0; (all = hf_classes(i, &gguf)); i++) {
        str rest = str_c(strcmp(gguf, family) == 0 ? all : "");

        while (rest.n)
            jsonw_str(w, str_cut(rest, ' ', &rest));
    }
    jsonw_end(w, ']');
}

static void families(struct jsonw *w)
{
    size_t n;
    const struct family *f = family_all(&n);

    jsonw_key(w, "families");
    jsonw_arr(w);
    for (size_t i = 0; i < n; i++) {
        jsonw_obj(w);
        jsonw_kc(w, "name", f[i].name);
        classes(w, f[i].name);
        jsonw_key(w, "proven");
        jsonw_obj(w);
        goldens(w, "gguf", f[i].name, false);
        goldens(w, "safetensors", f[i].name, true);
        jsonw_end(w, '}');
        jsonw_end(w, '}');
    }
    jsonw_end(w, ']');
}

static void names(struct jsonw *w, const char *key, const char *(*name)(int), int n)
{
    jsonw_key(w, key);
    jsonw_arr(w);
    for (int i = 0; i < n; i++)
        jsonw_c(w, name(i));
    jsonw_end(w, ']');
}

static const char *rope_name(int i)
{
    return meta_rope_name((enum rope_scaling)i);
}

static const char *pooling_name(int i)
{
    return meta_pooling_name((enum meta_pooling)i);
}

static void tokenizers(struct jsonw *w)
{
    size_t n;
    const char *const *all = tok_model_names(&n);

    jsonw_key(w, "tokenizers");
    jsonw_arr(w);
    for (size_t i = 0; i < n; i++)
        jsonw_c(w, all[i]);
    jsonw_end(w, ']');
}

static void formats(struct jsonw *w)
{
    static const char *const all[] = {"gguf", "safetensors"};

    jsonw_key(w, "formats");
    jsonw_arr(w);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        jsonw_c(w, all[i]);
    jsonw_end(w, ']');
}

static void parameters(struct jsonw *w)
{
    size_t n;
    const struct params_row *p = params_rows(&n);

    jsonw_key(w, "supported_parameters");
    jsonw_obj(w);
    for (size_t i = 0; i < n; i++) {
        jsonw_key(w, p[i].name);
        jsonw_obj(w);
        jsonw_knum(w, "min", p[i].min);
        jsonw_knum(w, "max", p[i].max);
        jsonw_knum(w, "default", p[i].dflt);
        jsonw_end(w, '}');
    }
    jsonw_end(w, '}');
}

void worker_capabilities(const struct worker_kind *kind, buf *out)
{
    struct jsonw w;

    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_kc(&w, "id", kind->name);
    jsonw_kc(&w, "version", RBEE_VERSION);
    jsonw_kc(&w, "type", kind->device);
    jsonw_kc(&w, "device_name", os_cpu_name());
    jsonw_kbool(&w, "pure_backend", true);
    jsonw_kbool(&w, "supports_offloading", false);
    formats(&w);
    families(&w);
    dtype_proofs(&w);
    names(&w, "rope_scalings", rope_name, ROPE_DYNAMIC + 1);
    tokenizers(&w);
    names(&w, "poolings", pooling_name, POOLING_RANK + 1);
    jsonw_key(&w, "backends");
    jsonw_arr(&w);
    for (size_t i = 0; kind->backends[i]; i++) {
        jsonw_obj(&w);
        jsonw_kc(&w, "name", kind->backends[i]->name);
        dtypes_of(&w, kind->backends[i]);
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    parameters(&w);
    jsonw_key(&w, "limits");
    jsonw_obj(&w);
    jsonw_kint(&w, "context", LIMIT_MODEL_CONTEXT);
    jsonw_kint(&w, "slots", LIMIT_SLOTS);
    jsonw_kint(&w, "batch", LIMIT_BATCH);
    jsonw_kint(&w, "queue", LIMIT_JOB_QUEUE);
    jsonw_end(&w, '}');
    jsonw_end(&w, '}');
}
