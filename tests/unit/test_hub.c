/* Replies of the Hub: fields by hand, wrong types, and the real captures of the shared data. */
#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/family.h"
#include "model/hub.h"
#include "tap.h"

static struct arena arena;
static struct err_info err;

static bool read_text(struct hub_model *m, const char *text)
{
    const struct json *v;
    return !json_parse(&arena, str_c(text), &v, &err) && !hub_parse(m, &arena, v, &err);
}

static const char detail[] =
    "{\"id\":\"acme/Tiny-8B-GGUF\",\"sha\":\"abc\",\"createdAt\":\"2024-02-29T12:34:56.000Z\","
    "\"lastModified\":\"2025-01-01T00:00:00.000Z\",\"downloads\":12,\"likes\":3,\"gated\":\"auto\","
    "\"private\":false,\"pipeline_tag\":\"text-generation\",\"library_name\":\"gguf\","
    "\"tags\":[\"gguf\",\"en\",\"de\",\"license:mit\",\"base_model:acme/Tiny-8B\","
    "\"base_model:quantized:acme/Tiny-8B\",\"conversational\",\"region:us\"],"
    "\"cardData\":{\"license\":[\"apache-2.0\"],\"language\":[\"fr\",7,\"it\"]},"
    "\"usedStorage\":123456,"
    "\"gguf\":{\"total\":8030261248,\"architecture\":\"qwen3\",\"context_length\":40960,"
    "\"chat_template\":\"{% if tools %}x{% endif %}<think>\"},"
    "\"siblings\":[{\"rfilename\":\"README.md\",\"size\":10},"
    "{\"rfilename\":\"Tiny-8B-Q4_K_M.gguf\",\"size\":100,\"lfs\":{\"size\":4000,\"sha256\":\"ff\"}}"
    ","
    "{\"rfilename\":\"BF16/Tiny-8B-BF16-00001-of-00002.gguf\",\"size\":8000},"
    "{\"rfilename\":\"BF16/Tiny-8B-BF16-00002-of-00002.gguf\",\"size\":7000},"
    "{\"rfilename\":\"mmproj-F16.gguf\"}]}";

static void test_detail(void)
{
    struct hub_model m;
    if (!ok(read_text(&m, detail), "a detail is read")) return;
    is_str(m.id, S("acme/Tiny-8B-GGUF"), "id");
    is_str(m.author, S("acme"), "author, from the id");
    is_int(m.created, 1709210096, "created: the 29th of February 2024");
    is_int(m.updated, 1735689600, "updated: the first of January 2025");
    ok(m.downloads == 12 && m.likes == 3 && m.bytes == 123456, "counts");
    ok(m.gated && !m.is_private && !m.disabled, "gated, by a word");
    is_str(m.licence, S("apache-2.0"), "the licence of the card comes before that of the tags");
    is_str(m.base_model, S("acme/Tiny-8B"), "base model");
    ok(m.family && !strcmp(m.family->name, "qwen3"), "family");
    ok(m.params == 8030261248 && m.params_from == HUB_BY_API && m.context == 40960,
       "parameters and context");
    is_int(m.can, HUB_CHAT | HUB_TOOLS | HUB_REASONING | HUB_VISION, "what it can do");
    ok(m.n_languages == 2 && str_eqc(m.languages[1], "it"),
       "languages of the card, without what is none");
    is_int(m.formats, 1 << FILENAME_GGUF, "formats");
    is_int(m.n_sets, 3, "three sets");
    ok(m.sets[0].bytes == 4000 && str_eqc(m.files[1].sha256, "ff"),
       "size and hash of a large file");
    ok(m.sets[1].bytes == 15000 && m.sets[1].n_files == 2 && m.sets[1].n_expected == 2,
       "two shards, one set, all bytes");
    ok(m.sets[2].kind == FILENAME_PROJECTOR && m.sets[2].bytes == 0, "a projector of unknown size");
}

static void test_parts(void)
{
    struct hub_model m;
    ok(read_text(&m, "{\"id\":\"a/b\",\"siblings\":[{\"rfilename\":\"2_Dense/model.safetensors\"},"
                     "{\"rfilename\":\"model-00001-of-00001.safetensors\"},"
                     "{\"rfilename\":\"consolidated.safetensors\"}]}") &&
           m.n_sets == 3 && m.sets[0].kind == FILENAME_OTHER &&
           m.sets[1].kind == FILENAME_WEIGHTS && m.sets[2].kind == FILENAME_OTHER,
       "SafeTensors beside those of the repository are parts of it");
    ok(read_text(&m,
                 "{\"id\":\"a/b\",\"siblings\":[{\"rfilename\":\"bf16/model.safetensors\"}]}") &&
           m.sets[0].kind == FILENAME_WEIGHTS,
       "those of a folder alone are the model");
}

static void test_formats(void)
{
    struct hub_model m;
    ok(read_text(&m,
                 "{\"id\":\"a/b-7B-GPTQ\",\"siblings\":[{\"rfilename\":\"model.safetensors\"},"
                 "{\"rfilename\":\"config.json\"}],\"config\":{\"architectures\":"
                 "[\"LlamaForCausalLM\"],\"quantization_config\":{\"quant_method\":\"gptq\"}}}") &&
           m.formats == 1u << FILENAME_GPTQ && m.sets[0].format == FILENAME_GPTQ,
       "SafeTensors quantised by GPTQ are GPTQ");
    ok(m.family && !strcmp(m.family->name, "llama") && m.hf_loads && m.params == 7000000000 &&
           m.params_from == HUB_BY_NAME,
       "a class names the family, the id the parameters");
    ok(read_text(&m, "{\"id\":\"a/b\",\"siblings\":[{\"rfilename\":\"README.md\"}],\"tags\":"
                     "[\"safetensors\"]}") &&
           m.formats == 0 && m.files_said,
       "a repository without weights has no format, whatever its tags say");
    ok(read_text(&m, "{\"id\":\"mlx-community/x-4bit\",\"tags\":[\"mlx\",\"safetensors\"]}") &&
           m.formats == 1u << FILENAME_MLX && !m.files_said,
       "MLX, by a tag");
    ok(read_text(&m, "{\"id\":\"x\",\"safetensors\":{\"parameters\":{\"BF16\":5,\"F32\":2}}}") &&
           m.params == 7 && m.n_dtypes == 2 && str_eqc(m.dtypes[0].name, "BF16"),
       "parameters of types add up");
    ok(read_text(&m, "{\"id\":\"x\",\"gated\":null,\"tags\":null,\"gguf\":null}"),
       "null is absent");
}

static void test_families(void)
{
    static const char *const same[][2] = {
        {"qwen3", "qwen3"},           {"deepseek_v3", "deepseek2"}, {"mistral", "llama"},
        {"gpt_oss", "gpt-oss"},       {"Phi3ForCausalLM", "phi3"},  {"cohere", "command-r"},
        {"gpt_bigcode", "starcoder"}, {"qwen3_5", "qwen35"},        {"stablelm", "stablelm"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const struct family *f = hub_family(str_c(same[i][0]));
        ok(f && !strcmp(f->name, same[i][1]), "%s is %s", same[i][0], same[i][1]);
    }
    ok(!hub_family(S("")) && !hub_family(S("-")) && !hub_family(S("kimi_k3")),
       "nothing is no family, and what is new is none");
}

/* Names of real repositories of which nothing else is said. */
static void test_names(void)
{
    static const char *const names[][2] = {
        {"unsloth/DeepSeek-R1-0528-Qwen3-8B-GGUF", "qwen3"},
        {"a/Qwen3.6-35B-A3B-Kimi-K2.6-Reasoning-Distilled-GGUF", "qwen35moe"},
        {"a/Qwen2.5-7B-Instruct-GGUF", "qwen2"},
        {"a/gemma-2b-it-GGUF", "gemma"},
        {"a/gemma-2-9b-it-GGUF", "gemma2"},
        {"a/gemma-3n-E4B-it-GGUF", "gemma3n"},
        {"a/Qwen3-30B-A3B-GGUF", "qwen3moe"},
        {"a/DeepSeek-R1-Distill-Llama-8B-GGUF", "llama"},
        {"a/DeepSeek-R1-Distill-Qwen-7B-GGUF", NULL},
        {"a/Qwen3-8B-Gemini-2.5-Pro-Distill-GGUF", "qwen3"},
        {"a/phi-4-GGUF", NULL},
        {"a/Llama-4-Scout-17B-16E-GGUF", NULL},
        {"a/Meta-Llama-3.1-8B-Instruct-GGUF", "llama"},
        {"qwen3/mystery-GGUF", NULL},
    };
    char text[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct hub_model m;
        snprintf(text, sizeof text, "{\"id\":\"%s\",\"tags\":[\"gguf\"]}", names[i][0]);
        bool good = read_text(&m, text);
        const char *got = good && m.family ? m.family->name : NULL, *want = names[i][1];
        ok(good && m.arch_by_name == (want != NULL) &&
               (want ? got && !strcmp(got, want) : got == NULL),
           "%s: %s", names[i][0], got ? got : "nothing");
    }
    struct hub_model m;
    ok(read_text(&m, "{\"id\":\"openai/whisper\",\"pipeline_tag\":\"automatic-speech-recognition\","
                     "\"tags\":[\"transformers\",\"pytorch\",\"safetensors\",\"whisper\","
                     "\"automatic-speech-recognition\",\"yi\"]}") &&
           !m.family && str_eqc(m.arch, "whisper") && m.other_task,
       "the tag of the model type counts before a language that is called like a family");
    ok(read_text(&m,
                 "{\"id\":\"a/b\",\"tags\":[\"diffusers\",\"safetensors\",\"text-to-image\"]}") &&
           m.other_task && !m.arch.n && str_eqc(m.task, "text-to-image"),
       "a task among the tags");
    ok(read_text(&m, "{\"id\":\"a/b\",\"gguf\":{\"architecture\":\"mistral3\"},\"config\":"
                     "{\"architectures\":[\"MistralForCausalLM\"]}}") &&
           !m.family && str_eqc(m.arch, "mistral3"),
       "the word of a GGUF file stands, whatever else is said");
}

/* SafeTensors that only other programs read, and those that grow while they are read. */
static void test_packing(void)
{
    static const struct {
        const char *rest;
        bool foreign, scaled;
    } cases[] = {
        {"\"tags\":[\"safetensors\"],\"safetensors\":{\"parameters\":{\"BF16\":10,\"I32\":30}}",
         true, false},
        {"\"tags\":[\"safetensors\"],\"safetensors\":{\"parameters\":{\"BF16\":1000,\"I64\":3}}",
         false, false},
        {"\"tags\":[\"safetensors\"],\"config\":{\"quantization_config\":{\"quant_method\":\"hqq\"}"
         "}",
         true, false},
        {"\"tags\":[\"safetensors\"],\"config\":{\"quantization_config\":{\"bits\":4}}", true,
         false},
        {"\"tags\":[\"safetensors\"],\"config\":{\"quantization_config\":{\"quant_method\":\"fp8\"}"
         "}",
         false, true},
        {"\"tags\":[\"safetensors\"],\"config\":{\"quantization_config\":{\"quant_method\":"
         "\"mxfp4\"}},"
         "\"safetensors\":{\"parameters\":{\"BF16\":1,\"U8\":9}}",
         false, false},
        {"\"siblings\":[{\"rfilename\":\"model-w4a16.safetensors\"}]", true, false},
        {"\"siblings\":[{\"rfilename\":\"model.safetensors\"}]", false, false},
    };
    char text[400];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hub_model m;
        snprintf(text, sizeof text, "{\"id\":\"a/b\",%s}", cases[i].rest);
        ok(read_text(&m, text) && m.foreign_quant == cases[i].foreign &&
               m.scaled == cases[i].scaled,
           "%s%s: %s", cases[i].foreign ? "foreign" : "read",
           cases[i].scaled ? ", multiplied out" : "", cases[i].rest);
    }
}

static void test_refused(void)
{
    static const char *const bad[][2] = {
        {"[]", "not an object"},
        {"{}", "'id'"},
        {"{\"id\":5}", "'id'"},
        {"{\"id\":\"x\",\"downloads\":-1}", "'downloads'"},
        {"{\"id\":\"x\",\"downloads\":\"many\"}", "'downloads'"},
        {"{\"id\":\"x\",\"tags\":{}}", "'tags'"},
        {"{\"id\":\"x\",\"tags\":[1]}", "'tags'"},
        {"{\"id\":\"x\",\"siblings\":[5]}", "'siblings'"},
        {"{\"id\":\"x\",\"siblings\":[{}]}", "without a name"},
        {"{\"id\":\"x\",\"siblings\":[{\"rfilename\":\"a\",\"size\":1.5}]}", "'size'"},
        {"{\"id\":\"x\",\"gguf\":[]}", "'gguf'"},
        {"{\"id\":\"x\",\"gguf\":{\"total\":true}}", "'total'"},
        {"{\"id\":\"x\",\"safetensors\":{\"parameters\":{\"F32\":-4}}}", "'parameters'"},
        {"{\"id\":\"x\",\"createdAt\":\"yesterday\"}", "'createdAt'"},
        {"{\"id\":\"x\",\"createdAt\":\"2024-13-01T00:00:00.000Z\"}", "'createdAt'"},
        {"{\"id\":\"x\",\"gated\":1}", "'gated'"},
        {"{\"id\":\"x\",\"config\":{\"architectures\":[3]}}", "'architectures'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct hub_model m;
        err = (struct err_info){0};
        bool good =
            !read_text(&m, bad[i][0]) && err.code == ERR_FORMAT && strstr(err.text, bad[i][1]);
        if (!ok(good, "refused, and says why: %s", bad[i][0])) printf("#   %s\n", err.text);
    }
}

static void test_write(void)
{
    static const char want[] =
        "{\"id\":\"o/"
        "m-1B\",\"author\":\"o\",\"created\":0,\"updated\":0,\"downloads\":0,\"likes\":0,"
        "\"gated\":false,\"private\":false,\"disabled\":false,\"task\":\"\",\"library\":\"\","
        "\"licence\":\"\",\"base_model\":\"\",\"architecture\":\"\",\"family\":null,"
        "\"parameters\":1000000000,\"parameters_active\":0,\"parameters_from\":\"name\","
        "\"context\":0,\"bytes\":0,\"capabilities\":[],\"formats\":[\"gguf\"],\"languages\":[],"
        "\"sets\":[{\"name\":\"m-Q8_0\",\"format\":\"gguf\",\"kind\":\"weights\","
        "\"quantization\":\"Q8_0\",\"files\":1,\"expected\":1,\"bytes\":9}]}";
    struct hub_model m;
    struct jsonw w;
    buf out = {.cap = KIB(64)};
    ok(read_text(&m,
                 "{\"id\":\"o/m-1B\",\"siblings\":[{\"rfilename\":\"m-Q8_0.gguf\",\"size\":9}]}"),
       "a small reply");
    jsonw_init(&w, &out);
    hub_write(&m, &w);
    is_str(buf_view(&out), S(want), "and its one form");
    buf_fini(&out);
}

/* ---- real captures ---- */

static bool has_tag(const struct json *entry, const char *tag)
{
    const struct json *t = json_get(entry, "tags");
    for (size_t i = 0; t && i < t->n; i++)
        if (str_eqc(json_str(&t->items[i], S("")), tag)) return true;
    return false;
}

static bool read_file(const char *rel, const struct json **v, char **text)
{
    const char *path = tap_data(rel);
    size_t n;
    *text = NULL;
    if (!path) {
        skip(rel);
        return false;
    }
    return ok(!map_read_file(path, MIB(16), text, &n, &err) &&
                  !json_parse(&arena, (str){*text, n}, v, &err),
              "%s is JSON", rel);
}

static void test_captures(void)
{
    const struct json *v;
    struct hub_model m;
    char *text;
    if (read_file("hub/api_model_gguf.json", &v, &text)) {
        ok(!hub_parse(&m, &arena, v, &err) && m.family && !strcmp(m.family->name, "gemma3") &&
               m.params == 11765788416 && m.context == 131072 && m.n_files == 6 && m.n_sets == 4 &&
               str_eqc(m.licence, "gemma") && str_eqc(m.base_model, "google/gemma-3-12b-it") &&
               (m.can & (HUB_CHAT | HUB_VISION)) == (HUB_CHAT | HUB_VISION) &&
               m.formats == 1u << FILENAME_GGUF,
           "a GGUF repository, as captured");
    }
    mem_free(text);
    if (read_file("hub/api_model_safetensors.json", &v, &text)) {
        ok(!hub_parse(&m, &arena, v, &err) && m.family && !strcmp(m.family->name, "llama") &&
               m.hf_loads && m.params == 7000000000 && m.params_from == HUB_BY_NAME &&
               m.formats == (1u << FILENAME_SAFETENSORS | 1u << FILENAME_PYTORCH) &&
               m.n_sets == 2 && m.sets[0].n_files == 3 && str_eqc(m.licence, "apache-2.0"),
           "a SafeTensors repository, as captured: two formats, three shards each");
    }
    mem_free(text);
    if (read_file("hub/api_models_list.json", &v, &text)) {
        size_t n = 0;
        for (size_t i = 0; i < v->n; i++)
            n += !hub_parse(&m, &arena, &v->items[i], &err) && m.formats && m.created &&
                 !m.files_said;
        is_int(n, v->n, "each entry of a list, as captured, has formats and a date");
    }
    mem_free(text);
    if (read_file("hub/hub_list_tags.json", &v, &text)) {
        size_t good = 0, formats = 0, families = 0, tagged = 0;
        for (size_t i = 0; i < v->n; i++) {
            if (hub_parse(&m, &arena, &v->items[i], &err)) continue;
            good++;
            tagged += has_tag(&v->items[i], "gguf") || has_tag(&v->items[i], "safetensors");
            formats += m.formats != 0 &&
                       (has_tag(&v->items[i], "gguf") || has_tag(&v->items[i], "safetensors"));
            families += m.family != NULL;
        }
        printf("# %zu entries: %zu with a format, %zu of a family that we know\n", good, formats,
               families);
        ok(good == v->n && formats == tagged && tagged > 50,
           "entries with real tags are read, and each that names a format has one");
    }
    mem_free(text);
}

int main(void)
{
    arena_init(&arena, MIB(256));
    test_detail();
    test_formats();
    test_parts();
    test_families();
    test_names();
    test_packing();
    test_refused();
    test_write();
    test_captures();
    arena_fini(&arena);
    return tap_end();
}
