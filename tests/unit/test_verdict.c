/* Verdicts: every golden model is compatible exactly if the loader takes it, with high confidence;
 * each refusal names its reason; repositories by hand-written replies of the Hub, whose verdicts
 * stand in tests/golden/verdicts/cases.json and must come out byte for byte.
 *
 * RBEE_SHOW=1 prints what came out where it differs.
 */
#include <dirent.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "engine/load.h"
#include "model/source.h"
#include "model/verdict.h"
#include "tap.h"
#include "worker/worker.h"

static struct arena arena;
static struct caps caps;
static struct err_info err;
static const struct verdict_ask plain = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
static const struct verdict_device large = {
    .name = {"box", 3}, .memory = GIB(64), .bandwidth = 1e9, .compute = 1e11, .threads = 2};

static void read_caps(void)
{
    static const struct backend *const backends[] = {&cpu_backend, NULL};
    static const struct worker_kind kind = {
        .name = "llm-worker-rbee-cpu", .device = "cpu", .backends = backends};
    const struct json *v;
    buf out = {.cap = MIB(4)};
    worker_capabilities(&kind, &out);
    str text = arena_str(&arena, buf_view(&out));
    ok(!json_parse(&arena, text, &v, &err) && !caps_parse(&caps, &arena, v, NULL, &err),
       "this worker's capabilities are read");
    ok(caps.formats == (1u << FILENAME_GGUF | 1u << FILENAME_SAFETENSORS) && caps.n_families > 50 &&
           caps.dtype[DTYPE_Q4_K] && !caps.dtype[DTYPE_I32] && caps.kv[DTYPE_Q8_0] &&
           !caps.kv[DTYPE_Q4_K] && caps.op[OP_ATTN] && str_eqc(caps.backend, "cpu") &&
           caps.proof[DTYPE_Q4_K].n && !caps.proof[DTYPE_Q8_K].n,
       "and say what they say");
    size_t n = 0;
    for (int op = 0; op < OP_COUNT; op++)
        for (int t = 0; t < DTYPE_COUNT; t++)
            n += caps_has(&caps, (enum op)op, (enum dtype)t) !=
                 (cpu_backend.op[op] && cpu_backend.has((enum op)op, (enum dtype)t));
    is_int(n, 0, "they agree with the back end about every op on every type");
    buf_fini(&out);
}

/* ---- golden models ---- */

static bool loads(const char *path, struct err_info *e)
{
    struct engine_conf conf = {
        .backend = &cpu_backend, .n_threads = 1, .ktype = DTYPE_F16, .vtype = DTYPE_F16};
    struct load l;
    if (load_check(&l, path, &conf, e)) return false;
    load_close(&l);
    return true;
}

static bool judge_path(struct verdict *v, const char *path, const struct caps *c,
                       const struct verdict_device *d, const struct verdict_ask *ask)
{
    struct gguf g;
    if (source_open(&g, path, &err)) return false;
    verdict_header(v, &arena, &g, c, d, ask);
    gguf_close(&g);
    return true;
}

static void one_golden(const char *dir, const char *name, const char *file, enum filename_format f)
{
    char path[1024];
    struct verdict v;
    struct stat st;
    snprintf(path, sizeof path, "%s/%s/%s", dir, name, file);
    if (stat(path, &st)) return;
    bool runs = loads(path, &err);
    if (!judge_path(&v, path, &caps, &large, &plain)) {
        ok(!runs, "%s/%s does not open, and does not load", name, file);
        return;
    }
    bool good = v.compatible == runs && v.format == f && (!runs || v.fits) &&
                (runs ? v.confidence == VERDICT_HIGH : v.reasons.n > 0);
    if (!ok(good, "%s/%s: compatible, for it loads; %s", name, file,
            verdict_confidence_name(v.confidence)))
        printf("#   compatible %d, loads %d (%s), %.*s; %.*s\n", v.compatible, runs,
               runs ? "" : err.text, STR(v.evidence), STR(v.reasons.line[0]));
}

/* By config.json alone the same, but for the confidence. */
static void golden_config(const char *dir, const char *name)
{
    struct hf_meta_files f = {0};
    char path[1024], *text;
    struct verdict v, w;
    size_t n;
    snprintf(path, sizeof path, "%s/%s/hf/config.json", dir, name);
    if (access(path, R_OK) || map_read_file(path, MIB(1), &text, &n, &err)) return;
    f.config = (str){text, n};
    path[strlen(path) - strlen("/config.json")] = 0;
    if (judge_path(&v, path, &caps, &large, &plain)) {
        verdict_config(&w, &arena, &f, v.memory.weights, &caps, &large, &plain);
        ok(w.compatible == v.compatible && w.confidence == VERDICT_LOW &&
               w.memory.kv == v.memory.kv && w.shape.source == MEMORY_CONFIG &&
               fabs((double)w.memory.total / (double)v.memory.total - 1) < 0.02,
           "%s: by config.json alone the same", name);
    }
    mem_free(text);
}

static void goldens_of(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *x;
    if (!d) {
        skip(dir);
        return;
    }
    while ((x = readdir(d))) {
        if (x->d_name[0] == '.') continue;
        one_golden(dir, x->d_name, "model.gguf", FILENAME_GGUF);
        one_golden(dir, x->d_name, "hf", FILENAME_SAFETENSORS);
        golden_config(dir, x->d_name);
    }
    closedir(d);
}

static void test_goldens(void)
{
    const char *shared = tap_data("golden");
    goldens_of(RBEE_SOURCE_DIR "/tests/golden/families");
    if (shared)
        goldens_of(shared);
    else
        skip("no ../shared/data/golden");
}

/* ---- refusals of headers ---- */

static const char llama[] = RBEE_SOURCE_DIR "/tests/golden/families/llama-gqa8/model.gguf";

static bool refused(const struct verdict *v, const char *part)
{
    bool named = false;
    for (uint32_t i = 0; i < v->reasons.n; i++)
        named = named || str_find(v->reasons.line[i], str_c(part), 0) != SIZE_MAX;
    return !v->compatible && !v->fits && v->confidence == VERDICT_NONE && named;
}

static void test_refusals(void)
{
    struct verdict v;
    struct caps c = caps;
    struct verdict_ask ask = plain;
    c.op[OP_ATTN] = false;
    ok(judge_path(&v, llama, &c, &large, &plain) && refused(&v, plan_op_name(OP_ATTN)),
       "an op that is missing, by its name");
    c = caps;
    c.dtype[DTYPE_F32] = false;
    ok(judge_path(&v, llama, &c, &large, &plain) && refused(&v, "f32") && v.recommendations.n,
       "a type that is missing, by its name, and what to do");
    c = caps;
    c.n_families = 0;
    ok(judge_path(&v, llama, &c, &large, &plain) && refused(&v, "family llama"),
       "a family that is missing");
    c = caps;
    c.formats = 1u << FILENAME_SAFETENSORS;
    ok(judge_path(&v, llama, &c, &large, &plain) && refused(&v, "gguf"), "a format");
    c = caps;
    c.n_tokenizers = 1;
    c.tokenizers = (const str[]){{"none", 4}};
    ok(judge_path(&v, llama, &c, &large, &plain) && refused(&v, "tokenizer"), "a tokenizer");
    ask.ktype = DTYPE_Q4_K;
    ok(judge_path(&v, llama, &caps, &large, &ask) && refused(&v, "KV cache of type q4_K"),
       "a type of KV cache");
    ask = plain;
    ask.n_ctx = LIMIT_MODEL_CONTEXT + 1;
    ok(judge_path(&v, llama, &caps, &large, &ask) && refused(&v, "at most"), "a context");
    c = caps;
    struct caps_family *f = ARENA_NEW(&arena, struct caps_family, c.n_families);
    memcpy(f, caps.families, c.n_families * sizeof *f);
    for (size_t k = 0; k < c.n_families; k++)
        f[k].gguf = S("");
    c.families = f;
    ok(judge_path(&v, llama, &c, &large, &plain) && v.compatible && v.confidence == VERDICT_MEDIUM,
       "without a golden model, medium");
}

static void test_memory(void)
{
    struct verdict v, w;
    struct verdict_device d = large;
    struct verdict_ask ask = {.n_ctx = 512, .n_slots = 8, .ktype = DTYPE_F16, .vtype = DTYPE_F16};
    ok(judge_path(&v, llama, &caps, &d, &ask) && v.fits && v.short_by == 0 && v.cache_known &&
           v.memory.total == v.memory.weights + v.memory.kv + v.memory.compute,
       "what is needed adds up");
    d.memory = v.memory.total;
    ok(judge_path(&w, llama, &caps, &d, &ask) && w.fits, "exactly enough fits");
    d.memory--;
    ok(judge_path(&w, llama, &caps, &d, &ask) && w.compatible && !w.fits && w.short_by == 1 &&
           w.fit_slots == 4 && w.fit_ctx == 512,
       "a byte less does not, and half the slots do");
    d.memory = 1;
    ok(judge_path(&w, llama, &caps, &d, &ask) && !w.fits && w.fit_ctx == 0 &&
           w.short_by == v.memory.total - 1,
       "nothing fits into one byte");
    d = large;
    d.bandwidth *= 2; /* of memory; the steps themselves take their time */
    ok(judge_path(&w, llama, &caps, &d, &ask) && v.decode > 0 && w.decode / v.decode > 1.2 &&
           w.decode / v.decode <= 2 && fabs(w.prefill / v.prefill - 1) < 0.02,
       "more bandwidth decodes faster, at most in proportion, and hardly prefills faster");
}

/* ---- repositories ---- */

static const struct json *read_json(const char *path)
{
    const struct json *v = NULL;
    char *text;
    size_t n;
    if (map_read_file(path, MIB(16), &text, &n, &err)) return NULL;
    str kept = arena_str(&arena, (str){text, n});
    mem_free(text);
    return json_parse(&arena, kept, &v, &err) ? NULL : v;
}

static void one_case(const struct json *x, const struct caps *c)
{
    const struct json *model = json_get(x, "model"), *dev = json_get(x, "device");
    str name = json_str(json_get(x, "name"), S("?"));
    struct verdict_device d = {.name = json_str(json_get(dev, "name"), S("")),
                               .memory = (uint64_t)json_int(json_get(dev, "memory"), 0),
                               .bandwidth = json_num(json_get(dev, "bandwidth"), 0),
                               .compute = json_num(json_get(dev, "compute"), 0)};
    struct verdict_ask ask = plain;
    struct hub_model m;
    struct verdict v;
    struct jsonw w;
    buf got = {.cap = MIB(1)}, want = {.cap = MIB(1)};
    ask.n_ctx = (uint32_t)json_int(json_get(x, "context"), 0);
    ask.n_slots = (uint32_t)json_int(json_get(x, "slots"), 0);
    if (!model || hub_parse(&m, &arena, model, &err)) {
        ok(false, "%.*s: %s", STR(name), model ? err.text : "no model");
        return;
    }
    verdict_hub(&v, &arena, &m, (size_t)json_int(json_get(x, "set"), -1), c, &d, &ask);
    jsonw_init(&w, &got);
    verdict_write(&v, &w);
    jsonw_init(&w, &want);
    if (json_get(x, "want")) jsonw_value(&w, json_get(x, "want"));
    if (!is_str(buf_view(&got), buf_view(&want), "") && getenv("RBEE_SHOW"))
        printf("SHOW %.*s\t%.*s\n", STR(name), STR(buf_view(&got)));
    ok(v.compatible == verdict_is_model_compatible(&arena, &m, c) || json_get(x, "set") ||
           (!v.compatible && (ask.n_ctx || ask.n_slots)),
       "%.*s", STR(name));
    buf_fini(&got);
    buf_fini(&want);
}

static void test_cases(void)
{
    const struct json *cases = read_json(RBEE_SOURCE_DIR "/tests/golden/verdicts/cases.json");
    const struct json *cv = read_json(RBEE_SOURCE_DIR "/tests/golden/verdicts/caps.json");
    struct caps c;
    if (!ok(cases && cases->type == JSON_ARR && cases->n > 20 && cv &&
                !caps_parse(&c, &arena, cv, NULL, &err),
            "the vectors are there"))
        return;
    for (size_t i = 0; i < cases->n; i++)
        one_case(&cases->items[i], &c);
}

static void test_filter(void)
{
    static const char *const texts[] = {"{\"id\":\"a\",\"tags\":[\"gguf\",\"llama\"]}",
                                        "{\"id\":\"b\",\"tags\":[\"onnx\"]}",
                                        "{\"id\":\"c\",\"tags\":[\"safetensors\",\"qwen3\"]}"};
    struct hub_model m[3];
    const struct hub_model *list[3];
    bool good = true;
    for (int i = 0; i < 3; i++) {
        const struct json *v;
        good = good && !json_parse(&arena, str_c(texts[i]), &v, &err) &&
               !hub_parse(&m[i], &arena, v, &err);
        list[i] = &m[i];
    }
    ok(good && verdict_filter_compatible_models(&arena, list, 3, &caps) == 2 &&
           str_eqc(list[0]->id, "a") && str_eqc(list[1]->id, "c"),
       "the compatible ones are kept, in their order");
}

/* ---- the judge in JSON ---- */

static str called(const char *call, const char *rest, const char *caps_text)
{
    static buf out;
    buf request = {.cap = MIB(4)};
    struct err_info e = {0};
    buf_fini(&out);
    buf_init(&out, MIB(1));
    buf_printf(&request, "{\"call\":\"%s\",%s,\"worker\":%s}", call, rest, caps_text);
    if (verdict_call(&arena, arena_str(&arena, buf_view(&request)), &out, &e)) {
        ok(out.n == 0, "nothing is written of a call that fails");
        buf_c(&out, e.text);
    }
    buf_fini(&request);
    return buf_view(&out);
}

static bool has(str s, const char *part)
{
    return str_find(s, str_c(part), 0) != SIZE_MAX;
}

static void test_calls(void)
{
    static const char model[] = "\"model\":{\"id\":\"a/m-8B-GGUF\",\"tags\":[\"gguf\",\"llama\"],"
                                "\"siblings\":[{\"rfilename\":\"m-Q8_0.gguf\",\"size\":9000}]}";
    char text[1024], *caps_text;
    size_t n;
    if (map_read_file(RBEE_SOURCE_DIR "/tests/golden/verdicts/caps.json", MIB(1), &caps_text, &n,
                      &err)) {
        ok(false, "%s", err.text);
        return;
    }
    snprintf(text, sizeof text,
             "%s,\"device\":{\"name\":\"pc\",\"memory\":100},\"kvType\":\"q8_0\"", model);
    str s = called("check_model_worker_compatibility", text, caps_text);
    ok(has(s, "\"compatible\":true,\"fits\":false") && has(s, "\"why\":\"memory\""),
       "check: on that machine it does not fit");
    s = called("isModelCompatible", text, caps_text);
    ok(has(s, "\"compatible\":true,\"fits\":true"), "is: whatever the machine it is compatible");
    s = called("filter_compatible_models",
               "\"models\":[{\"id\":\"a\",\"tags\":[\"onnx\"]},{\"id\":\"b\",\"tags\":[\"gguf\","
               "\"phi3\"]}]",
               caps_text);
    is_str(s, S("[\"b\"]"), "filter: the ids");
    ok(has(called("judge", text, caps_text), "'judge'"), "another function is refused by name");
    ok(has(called("is_model_compatible", "\"x\":1", caps_text), "'model'"), "a missing model");
    ok(has(called("filter_compatible_models", model, caps_text), "'models'"), "missing models");
    ok(has(called("is_model_compatible", text, "null"), "'id'"), "a worker that says nothing");
    snprintf(text, sizeof text, "%s,\"slots\":-1", model);
    ok(has(called("is_model_compatible", text, caps_text), "'slots'"), "a negative number");
    snprintf(text, sizeof text, "%s,\"kv_type\":\"q9\"", model);
    ok(has(called("is_model_compatible", text, caps_text), "q9"), "an unknown type");
    mem_free(caps_text);
}

static void test_call_config(void)
{
    static const char config[] =
        "{\"architectures\":[\"Qwen3ForCausalLM\"],\"hidden_size\":1024,"
        "\"intermediate_size\":3072,\"num_hidden_layers\":28,\"num_attention_heads\":16,"
        "\"num_key_value_heads\":8,\"head_dim\":128,\"vocab_size\":151936,"
        "\"max_position_embeddings\":40960,\"tie_word_embeddings\":true}";
    char text[2048], *caps_text;
    size_t n;
    if (map_read_file(RBEE_SOURCE_DIR "/tests/golden/verdicts/caps.json", MIB(1), &caps_text, &n,
                      &err)) {
        ok(false, "%s", err.text);
        return;
    }
    snprintf(text, sizeof text, "\"config\":%s,\"context\":4096,\"slots\":1", config);
    str s = called("is_model_compatible", text, caps_text);
    /* 28 layers, 8 heads of 128, keys and values, 2 bytes, 4096 positions */
    ok(has(s, "\"compatible\":true") && has(s, "\"kv\":469762048") &&
           has(s, "\"estimated\":false") && has(s, "\"evidence\":\"config.json\""),
       "config.json alone: an exact cache");
    snprintf(text, sizeof text,
             "\"config\":%s,\"context\":4096,\"slots\":1,\"model\":{\"id\":\"a/b\",\"tags\":"
             "[\"gguf\",\"qwen3\"]},\"files\":[\"README.md\",{\"path\":\"b-Q8_0.gguf\",\"size\":"
             "640000000}]",
             config);
    s = called("check_model_worker_compatibility", text, caps_text);
    ok(has(s, "\"weights\":640000000,\"kv\":469762048") && has(s, "\"quantization\":\"Q8_0\""),
       "beside a list of files: their sizes, its cache");
    s = called("is_model_compatible",
               "\"config\":{\"architectures\":[\"OPTForCausalLM\"],\"model_type\":\"opt\"}",
               caps_text);
    ok(has(s, "\"compatible\":false") && has(s, "\"why\":\"family\"") && has(s, "OPTForCausalLM"),
       "a class that nobody runs, by its name");
    ok(has(called("is_model_compatible", "\"config\":5", caps_text), "'config'"),
       "a number is no config.json");
    ok(has(called("is_model_compatible", "\"model\":{\"id\":\"a\"},\"files\":{}", caps_text),
           "'files'"),
       "an object is no list of files");
    s = called("is_model_compatible", "\"config\":\"{\\\"architectures\\\":[]}\"", caps_text);
    ok(has(s, "\"why\":\"no_architecture\""), "a text of config.json that names no class");
    mem_free(caps_text);
}

static void test_bad_caps(void)
{
    static const char *const bad[][2] = {
        {"{}", "'id'"},
        {"{\"id\":\"w\"}", "'formats'"},
        {"{\"id\":\"w\",\"formats\":[]}", "'families'"},
        {"{\"id\":\"w\",\"formats\":[],\"families\":[{}]}", "'name'"},
        {"{\"id\":\"w\",\"formats\":[],\"families\":[],\"backends\":[]}", "no back end"},
        {"{\"id\":\"w\",\"formats\":[],\"families\":[],\"backends\":[{\"name\":\"x\"}]}", "'ops'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct json *v;
        struct caps c;
        ok(!json_parse(&arena, str_c(bad[i][0]), &v, &err) &&
               caps_parse(&c, &arena, v, NULL, &err) == ERR_FORMAT && strstr(err.text, bad[i][1]),
           "capabilities without %s are refused", bad[i][1]);
    }
}

int main(void)
{
    arena_init(&arena, GIB(1));
    read_caps();
    test_call_config();
    test_bad_caps();
    test_goldens();
    test_refusals();
    test_memory();
    test_filter();
    test_calls();
    test_cases();
    arena_fini(&arena);
    return tap_end();
}
