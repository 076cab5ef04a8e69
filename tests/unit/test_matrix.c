/* The matrix of what runs: it agrees with the verdict on every golden model, names what does not
 * run, and its CSV is CSV whatever a worker is called. */
#include <dirent.h>

#include "base/json.h"
#include "base/limits.h"
#include "compute/cpu/cpu.h"
#include "model/matrix.h"
#include "model/source.h"
#include "tap.h"
#include "worker/worker.h"

static struct arena arena;
static struct err_info err;

static bool read_workers(struct workers *w)
{
    static const struct backend *const backends[] = {&cpu_backend, NULL};
    const struct worker_kind kind = {"llm-worker-rbee-cpu", "cpu", backends};
    const struct json *v;
    buf b = {.cap = MIB(4)};
    worker_capabilities(&kind, &b);
    str text = arena_str(&arena, buf_view(&b));
    buf_fini(&b);
    return !json_parse(&arena, text, &v, &err) && !workers_parse(w, &arena, v, &err);
}

struct tally {
    size_t n, level[VERDICT_HIGH + 1];
    enum verdict_confidence last;
};

static void count(void *owner, const struct matrix_row *r)
{
    struct tally *t = owner;
    t->n++;
    t->level[r->confidence]++;
    t->last = r->confidence;
}

static struct tally rows(const struct workers *w, const char *arch, const char *format,
                         const char *quant)
{
    struct matrix_filter f = {S(""), str_c(arch), str_c(format), str_c(quant), false};
    struct tally t = {0};
    matrix_each(w, &f, count, &t);
    return t;
}

static void test_rows(const struct workers *w)
{
    struct tally t = rows(w, "", "", "");
    ok(t.n > 3000 && t.level[VERDICT_HIGH] > 1000 && t.level[VERDICT_NONE] > 0,
       "%zu rows: %zu proven, %zu with kernels, %zu not", t.n, t.level[VERDICT_HIGH],
       t.level[VERDICT_MEDIUM], t.level[VERDICT_NONE]);
    t = rows(w, "llama", "gguf", "q4_k_m");
    ok(t.n == 1 && t.last == VERDICT_HIGH, "Llama as Q4_K_M is proven");
    t = rows(w, "LlamaForCausalLM", "safetensors", "BF16");
    ok(t.n == 1 && t.last == VERDICT_HIGH, "and its SafeTensors in BF16, by the class's name");
    t = rows(w, "llama", "safetensors", "Q4_K_M");
    ok(t.n == 0, "SafeTensors hold no K-quants");
    t = rows(w, "llama", "gguf", "FP8");
    ok(t.n == 0, "GGUF holds no 8-bit floats");
    t = rows(w, "llama", "gguf", "NVFP4");
    ok(t.n == 1 && t.last == VERDICT_MEDIUM, "a type without a golden model is less sure");
    t = rows(w, "", "gptq", "");
    ok(t.n == 1 && t.last == VERDICT_NONE, "a format that is not read is named");
    t = rows(w, "no-such-thing", "", "");
    ok(t.n == 0, "an architecture that nobody knows has no rows");
}

static void test_set(void)
{
    struct matrix_filter f = {0};
    ok(!matrix_filter_set(&f, S("model_format"), S("gguf"), &err) &&
           !matrix_filter_set(&f, S("compatible"), S("true"), &err) && f.compatible,
       "filters by name");
    is_int(matrix_filter_set(&f, S("compatible"), S("yes"), &err), ERR_INVALID, "a wrong value");
    is_int(matrix_filter_set(&f, S("formats"), S("gguf"), &err), ERR_INVALID, "no such filter");
}

/* ---- against the verdict ---- */

struct seek {
    str arch;
    enum verdict_confidence found;
    size_t n;
};

static void seek_row(void *owner, const struct matrix_row *r)
{
    struct seek *s = owner;
    if (!str_eq(r->architecture, s->arch)) return;
    s->found = r->confidence;
    s->n++;
}

static void one_golden(const struct workers *w, const char *dir, const char *name, const char *file)
{
    static const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    const struct verdict_device box = {.name = S("box"), .memory = GIB(64)};
    struct verdict v;
    struct gguf g;
    char path[1024];
    snprintf(path, sizeof path, "%s/%s/%s", dir, name, file);
    if (source_open(&g, path, &err)) return;
    verdict_header(&v, &arena, &g, &w->entry[0].caps, &box, &ask);
    struct matrix_filter f = {S(""), v.arch, str_c(filename_format_name(v.format)), v.quant, false};
    struct seek s = {.arch = v.arch};
    if (v.compatible) matrix_each(w, &f, seek_row, &s);
    /* Of a name that says no quantisation, and of mixes made for the tests, there is no row. */
    if (s.n && !ok(s.n == 1 && s.found == v.confidence, "%s/%s, %.*s: as the verdict", name, file,
                   STR(v.quant)))
        printf("#   %s, the verdict is %s\n", verdict_confidence_name(s.found),
               verdict_confidence_name(v.confidence));
    gguf_close(&g);
}

static void test_goldens(const struct workers *w, const char *dir)
{
    DIR *d = dir ? opendir(dir) : NULL;
    struct dirent *x;
    int before = tap_n;
    if (!d) {
        skip("no golden models here");
        return;
    }
    while ((x = readdir(d))) {
        if (x->d_name[0] == '.') continue;
        one_golden(w, dir, x->d_name, "model.gguf");
        one_golden(w, dir, x->d_name, "hf");
    }
    closedir(d);
    ok(tap_n - before > 20, "golden models have rows");
}

/* ---- text ---- */

static void test_text(const struct workers *w)
{
    struct matrix_filter f = {.format = S("gguf"), .architecture = S("llama")};
    const struct json *v, *list = NULL;
    struct jsonw out;
    buf b = {.cap = MIB(8)};
    size_t lines = 0, n = rows(w, "llama", "gguf", "").n;
    jsonw_init(&out, &b);
    matrix_write_json(w, &f, &out);
    if (!json_parse(&arena, buf_view(&b), &v, &err)) list = json_get(v, "rows");
    ok(list && list->n == n, "JSON has the rows");
    const struct json *x = list && list->n ? &list->items[0] : NULL;
    ok(json_bool(json_get(x, "compatible"), false) &&
           str_eqc(json_str(json_get(x, "confidence"), S("")), "high") &&
           json_get(x, "evidence")->n >= 1,
       "each with its evidence");
    buf_clear(&b);
    matrix_write_csv(w, &f, &b);
    for (size_t i = 0; i < b.n; i++)
        lines += b.p[i] == '\n' && b.p[i - 1] == '\r';
    is_int(lines, n + 1, "CSV has a line for each and one of names");
    ok(str_starts(buf_view(&b), S("worker,version,architecture,format,quantization,compatible,")),
       "the names");
    buf_fini(&b);
}

static void test_csv_quotes(void)
{
    static const char odd[] =
        "{\"id\":\"a \\\"b\\\", c\\n\",\"version\":\"1\",\"formats\":[\"gguf\"],\"families\":[],"
        "\"backends\":[{\"name\":\"x\",\"ops\":[],\"dtypes\":[],\"kv_types\":[]}]}";
    struct matrix_filter f = {.format = S("onnx")};
    const struct json *v;
    struct workers w;
    buf b = {.cap = MIB(1)};
    if (!ok(!json_parse(&arena, str_c(odd), &v, &err) && !workers_parse(&w, &arena, v, &err),
            "a worker with an odd name"))
        return;
    matrix_write_csv(&w, &f, &b);
    ok(str_ends(buf_view(&b), S("\"a \"\"b\"\", c\n\",1,*,onnx,*,false,none,\r\n")), "is quoted");
    buf_fini(&b);
}

int main(void)
{
    struct workers w;
    arena_init(&arena, GIB(1));
    if (ok(read_workers(&w), "capabilities of this build")) {
        test_rows(&w);
        test_set();
        test_goldens(&w, RBEE_SOURCE_DIR "/tests/golden/families");
        test_goldens(&w, tap_data("golden"));
        test_text(&w);
        test_csv_quotes();
    }
    arena_fini(&arena);
    return tap_end();
}
