/* The catalogue of workers: entries from real capabilities, filters, what must not be listed. */
#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "model/workers.h"
#include "tap.h"
#include "worker/worker.h"

static struct arena arena;
static struct err_info err;

/* ---- the worker of this machine ---- */

static const struct json *real_caps(void)
{
    static const struct backend *const all[] = {&cpu_backend, &ref_backend, NULL};
    const struct worker_kind kind = {"llm-worker-rbee-cpu", "cpu", all};
    const struct json *v = NULL;
    buf b;
    buf_init(&b, MIB(4));
    worker_capabilities(&kind, &b);
    str text = arena_str(&arena, buf_view(&b));
    buf_fini(&b);
    return json_parse(&arena, text, &v, &err) ? NULL : v;
}

static const struct json *parsed(const char *text)
{
    const struct json *v = NULL;
    return json_parse(&arena, str_c(text), &v, &err) ? NULL : v;
}

/* What the writer wrote, read again. */
static const struct json *written(const struct workers *w, const struct workers_filter *f)
{
    const struct json *v = NULL;
    struct jsonw out;
    buf b;
    buf_init(&b, MIB(4));
    jsonw_init(&out, &b);
    workers_write(w, f, &out);
    str text = arena_str(&arena, buf_view(&b));
    buf_fini(&b);
    return json_parse(&arena, text, &v, &err) ? NULL : json_get(v, "workers");
}

static bool lists(const struct json *v, const char *key, const char *want)
{
    const struct json *l = json_get(v, key);
    for (size_t i = 0; l && l->type == JSON_ARR && i < l->n; i++)
        if (str_eqc(json_str(&l->items[i], S("")), want)) return true;
    return false;
}

static void test_entry(const struct workers *w)
{
    static const char *const must[] = {"id",
                                       "implementation",
                                       "worker_type",
                                       "version",
                                       "platforms",
                                       "architectures",
                                       "name",
                                       "description",
                                       "license",
                                       "pkgbuild_url",
                                       "build_system",
                                       "source",
                                       "build",
                                       "depends",
                                       "makedepends",
                                       "binary_name",
                                       "install_path",
                                       "supported_formats",
                                       "max_context_length",
                                       "supports_streaming",
                                       "supports_batching",
                                       "supported_architectures",
                                       "supported_quantizations",
                                       "supported_parameters",
                                       "pure_backend",
                                       "supports_offloading"};
    const struct json *list = written(w, NULL), *x;
    if (!ok(list && list->n == 1, "one worker, written as a list")) return;
    x = &list->items[0];
    bool all = true;
    for (size_t i = 0; i < sizeof must / sizeof *must; i++)
        if (!json_get(x, must[i])) all = ok(false, "has %s", must[i]);
    ok(all, "all fields of a worker's entry");
    is_str(json_str(json_get(x, "id"), S("")), S("llm-worker-rbee-cpu"), "id");
    is_str(json_str(json_get(x, "version"), S("")), S(RBEE_VERSION), "version");
    ok(json_bool(json_get(x, "pure_backend"), false) &&
           !json_bool(json_get(x, "supports_offloading"), true),
       "one device, nothing offloaded");
    ok(lists(x, "supported_architectures", "llama") && lists(x, "supported_architectures", "bert"),
       "families");
    ok(lists(x, "supported_quantizations", "Q4_K_M") &&
           lists(x, "supported_quantizations", "BF16") &&
           !lists(x, "supported_quantizations", "Q4_0_4_4") &&
           !lists(x, "supported_quantizations", "INT8"),
       "quantisations that it has kernels for, no others");
    ok(lists(x, "supported_formats", "gguf") && lists(x, "supported_formats", "safetensors"),
       "formats");
    const struct json *p = json_get(json_get(x, "supported_parameters"), "top_p");
    ok(p && json_get(p, "min") && json_num(json_get(p, "max"), 0) == 1 && json_get(p, "default"),
       "a parameter with min, max and default");
    is_int(json_int(json_get(x, "max_context_length"), 0), LIMIT_MODEL_CONTEXT, "longest context");
}

static int count(const struct workers *w, const char *name, const char *value)
{
    struct workers_filter f = {0};
    if (workers_filter_set(&f, str_c(name), str_c(value), &err)) return -1;
    const struct json *l = written(w, &f);
    return l ? (int)l->n : -1;
}

static const char sparse[] =
    "{\"id\":\"future-worker\",\"version\":\"9\",\"formats\":[\"gguf\"],"
    "\"families\":[{\"name\":\"llama\"},{\"name\":\"brand-new\"}],"
    "\"backends\":[{\"name\":\"x\",\"ops\":[],\"dtypes\":[\"f16\"],\"kv_types\":[]}]}";

static void test_filters(const struct workers *w)
{
    static const struct {
        const char *name, *value;
        int real, poor; /* how many match of the real worker, of one that says little */
    } cases[] = {
        {"worker_type", "cpu", 1, 0},
        {"workerType", "CPU", 1, 0},
        {"worker_type", "cuda", 0, 0},
        {"platform", "linux", 1, 0},
        {"platform", "windows", 0, 0},
        {"architecture", "aarch64", 1, 0},
        {"architecture", "riscv64", 0, 0},
        {"min_context_length", "32768", 1, 0},
        {"minContextLength", "99999999", 0, 0},
        {"min_context_length", "0", 1, 1},
        {"model_architecture", "llama", 1, 1},
        {"modelArchitecture", "LlamaForCausalLM", 1, 1},
        {"model_architecture", "qwen2", 1, 0},
        {"model_architecture", "brand-new", 0, 1},
        {"model_architecture", "stable-diffusion", 0, 0},
        {"model_format", "GGUF", 1, 1},
        {"modelFormat", "safetensors", 1, 0},
        {"model_format", "pytorch", 0, 0},
    };
    struct workers poor;
    if (!ok(!workers_parse(&poor, &arena, parsed(sparse), &err), "a worker that says little"))
        return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ok(count(w, cases[i].name, cases[i].value) == cases[i].real, "%s=%s: %d here",
           cases[i].name, cases[i].value, cases[i].real);
        ok(count(&poor, cases[i].name, cases[i].value) == cases[i].poor,
           "%s=%s: %d of those that say little", cases[i].name, cases[i].value, cases[i].poor);
    }
    is_int(count(w, "modelformats", "gguf"), -1, "no such filter");
    ok(strstr(err.text, "model_format") != NULL, "and the message lists them: %s", err.text);
    is_int(count(w, "min_context_length", "8k"), -1, "no number");
}

static void test_filter_object(const struct workers *w)
{
    struct workers_filter f;
    ok(!workers_filter_read(&f,
                            parsed("{\"workerType\":\"cpu\",\"minContextLength\":8192,"
                                   "\"model_format\":null}"),
                            &err) &&
           f.min_context_length == 8192 && workers_match(&w->entry[0], &f),
       "an object, both styles");
    ok(!workers_filter_read(&f, NULL, &err) && workers_match(&w->entry[0], &f), "none: all");
    is_int(workers_filter_read(&f, parsed("{\"platform\":3}"), &err), ERR_INVALID, "a wrong type");
    is_int(workers_filter_read(&f, parsed("{\"minContextLength\":-1}"), &err), ERR_INVALID,
           "a negative number");
    is_int(workers_filter_read(&f, parsed("[1]"), &err), ERR_INVALID, "a list is no filter");
}

static void test_many(const struct json *real)
{
    struct json list[3] = {*real, *parsed(sparse), *real};
    struct json v = {.type = JSON_ARR};
    struct workers w;
    v.items = list;
    v.n = 3;
    ok(!workers_parse(&w, &arena, &v, &err) && w.n == 2, "the same worker counts once");
    ok(workers_get(&w, S("future-worker")) == &w.entry[1] && !workers_get(&w, S("sd-worker")),
       "get by id");
    const struct json *x = written(&w, NULL);
    ok(x && x->n == 2 && !json_get(&x->items[1], "platforms") &&
           !json_get(&x->items[1], "max_context_length") &&
           lists(&x->items[1], "supported_architectures", "brand-new") &&
           lists(&x->items[1], "supported_quantizations", "F16") &&
           !lists(&x->items[1], "supported_quantizations", "Q8_0"),
       "what is not known of a worker is not said");
    ok(!workers_parse(&w, &arena, parsed("[]"), &err) && w.n == 0 && written(&w, NULL)->n == 0,
       "no workers, an empty list");
    is_int(workers_parse(&w, &arena, parsed("[{}]"), &err), ERR_FORMAT, "no capabilities");
    ok(strstr(err.text, "worker 1") != NULL, "named by its place: %s", err.text);
    is_int(workers_parse(&w, &arena, parsed("7"), &err), ERR_FORMAT, "a number");
    is_int(workers_parse(&w, &arena, NULL, &err), ERR_FORMAT, "nothing");
}

/* The packages to build with are those that the set-up script installs. */
static void test_packages(const struct workers *w)
{
    const struct json *list = written(w, NULL), *need = NULL;
    char *text;
    size_t n;
    if (list && list->n) need = json_get(&list->items[0], "makedepends");
    if (map_read_file(RBEE_SOURCE_DIR "/tools/setup", MIB(1), &text, &n, &err)) {
        ok(false, "%s", err.text);
        return;
    }
    bool all = need && need->n;
    for (size_t i = 0; need && i < need->n; i++)
        if (str_find((str){text, n}, json_str(&need->items[i], S("?")), 0) == SIZE_MAX) all = false;
    ok(all, "tools/setup installs every package that building the worker needs");
    mem_free(text);
}

int main(void)
{
    const struct json *real;
    struct workers w;
    arena_init(&arena, MIB(64));
    real = real_caps();
    if (ok(real && !workers_parse(&w, &arena, real, &err), "capabilities of this build")) {
        test_entry(&w);
        test_filters(&w);
        test_filter_object(&w);
        test_many(real);
        test_packages(&w);
    }
    arena_fini(&arena);
    return tap_end();
}
