/* What names of repositories and files say: cases by hand, and every name of a real catalogue. */
#include "base/arena.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/filename.h"
#include "tap.h"

static const struct {
    const char *name, *quant, *format, *kind;
    double b, b_active; /* 1e9 */
    uint32_t shard, n_shards;
} cases[] = {
    {"Qwen2.5-7B-Instruct-1M-Q4_K_M.gguf", "Q4_K_M", "gguf", "weights", 7, 0, 0, 0},
    {"Llama-3.2-1B-Instruct.IQ4_XS.gguf", "IQ4_XS", "gguf", "weights", 1, 0, 0, 0},
    {"Qwen3-30B-A3B-UD-Q4_K_XL.gguf", "Q4_K_XL", "gguf", "weights", 30, 3, 0, 0},
    {"BF16/Qwen3.5-35B-A3B-BF16-00001-of-00002.gguf", "BF16", "gguf", "weights", 35, 3, 1, 2},
    {"UD-Q2_K_XL/model-00003-of-00005.gguf", "Q2_K_XL", "gguf", "weights", 0, 0, 3, 5},
    {"mixtral-8x7b-instruct-v0.1.Q5_0.gguf", "Q5_0", "gguf", "weights", 56, 0, 0, 0},
    {"gemma-3-270m-it-F16.gguf", "F16", "gguf", "weights", 0.27, 0, 0, 0},
    {"gemma-2-27b-it.gguf", NULL, "gguf", "weights", 27, 0, 0, 0},
    {"qwen2-1_5b-instruct-q8_0.gguf", "Q8_0", "gguf", "weights", 1.5, 0, 0, 0},
    {"bloom-7b1-q4_0.gguf", "Q4_0", "gguf", "weights", 7.1, 0, 0, 0},
    {"gemma-3n-E4B-it-Q6_K.gguf", "Q6_K", "gguf", "weights", 4, 0, 0, 0},
    {"Llama-4-Scout-17B-16E-Instruct-IQ1_M.gguf", "IQ1_M", "gguf", "weights", 0, 17, 0, 0},
    {"Kimi-K2-1T-TQ1_0.gguf", "TQ1_0", "gguf", "weights", 1000, 0, 0, 0},
    {"gpt-oss-20b-MXFP4.gguf", "MXFP4", "gguf", "weights", 20, 0, 0, 0},
    {"model-f16.Q6_K.gguf", "Q6_K", "gguf", "weights", 0, 0, 0, 0},
    {"DevstralQ4_K_M.gguf", "Q4_K_M", "gguf", "weights", 0, 0, 0, 0},
    {"TinyLlama-1.1B-q4-k-m.gguf", "Q4_K_M", "gguf", "weights", 1.1, 0, 0, 0},
    {"phi-q4km.gguf", "Q4_K_M", "gguf", "weights", 0, 0, 0, 0},
    {"x-Q4_0_4_4.gguf", "Q4_0_4_4", "gguf", "weights", 0, 0, 0, 0},
    {"mtp-gemma-4-12B-it.gguf", NULL, "gguf", "adapter", 12, 0, 0, 0},
    {"vae-BF16.gguf", "BF16", "gguf", "other", 0, 0, 0, 0},
    {"Qwen3.6-27B-MTP-Q4_K_M.gguf", "Q4_K_M", "gguf", "weights", 27, 0, 0, 0},
    {"mmproj-BF16.gguf", "BF16", "gguf", "projector", 0, 0, 0, 0},
    {"Crow-9B.mmproj-Q8_0.gguf", "Q8_0", "gguf", "projector", 9, 0, 0, 0},
    {"Qwen3-8B.imatrix.gguf", NULL, "gguf", "imatrix", 8, 0, 0, 0},
    {"x-70B-Q8_0.gguf.part1of2", "Q8_0", "gguf", "piece", 70, 0, 0, 0},
    {"model-00001-of-00003.safetensors", NULL, "safetensors", "weights", 0, 0, 1, 3},
    {"model.safetensors.index.json", NULL, "safetensors", "index", 0, 0, 0, 0},
    {"pytorch_model-00001-of-00003.bin", NULL, "pytorch", "weights", 0, 0, 1, 3},
    {"consolidated.00.pth", NULL, "pytorch", "weights", 0, 0, 0, 0},
    {"training_args.bin", NULL, "unknown", "other", 0, 0, 0, 0},
    {"llama-7b.ggmlv3.q4_0.bin", "Q4_0", "ggml", "weights", 7, 0, 0, 0},
    {"onnx/model_q4f16.onnx", NULL, "onnx", "weights", 0, 0, 0, 0},
    {"weights.npz", NULL, "mlx", "weights", 0, 0, 0, 0},
    {"openvino_model.bin", NULL, "openvino", "weights", 0, 0, 0, 0},
    {"gptq_model-4bit-128g.safetensors", "4BIT", "gptq", "weights", 0, 0, 0, 0},
    {"adapter_model.safetensors", NULL, "safetensors", "adapter", 0, 0, 0, 0},
    {"gemma-3-1b.task", NULL, "tflite", "weights", 1, 0, 0, 0},
    {"m.mlpackage/Data/weights/weight.bin", NULL, "coreml", "weights", 0, 0, 0, 0},
    {"tf_model.h5", NULL, "tensorflow", "weights", 0, 0, 0, 0},
    {"flax_model.msgpack", NULL, "flax", "weights", 0, 0, 0, 0},
    {"config.json", NULL, "unknown", "config", 0, 0, 0, 0},
    {"tokenizer.model", NULL, "unknown", "tokenizer", 0, 0, 0, 0},
    {"README.md", NULL, "unknown", "card", 0, 0, 0, 0},
    {"LICENSE", NULL, "unknown", "licence", 0, 0, 0, 0},
    {"chat_template.jinja", NULL, "unknown", "template", 0, 0, 0, 0},
    /* ids of repositories */
    {"TheBloke/Llama-2-13B-chat-GPTQ", NULL, "gptq", "other", 13, 0, 0, 0},
    {"Qwen/Qwen2.5-72B-Instruct-AWQ", NULL, "awq", "other", 72, 0, 0, 0},
    {"mlx-community/Qwen3-8B-4bit", "4BIT", "unknown", "other", 8, 0, 0, 0},
    {"turboderp/Llama-3.1-8B-exl2", NULL, "exl2", "other", 8, 0, 0, 0},
    {"Qwen/Qwen3-235B-A22B-FP8", "FP8", "unknown", "other", 235, 22, 0, 0},
    {"HuggingFaceTB/SmolLM2-135M", NULL, "unknown", "other", 0.135, 0, 0, 0},
    {"meta-llama/Llama-3.1-8B", NULL, "unknown", "other", 8, 0, 0, 0},
    {"microsoft/Phi-3-mini-128k-instruct", NULL, "unknown", "other", 0, 0, 0, 0},
    {"", NULL, "unknown", "other", 0, 0, 0, 0},
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct filename f;
        filename_parse(&f, str_c(cases[i].name));
        bool quant = cases[i].quant ? f.quant && !strcmp(f.quant, cases[i].quant) : !f.quant;
        bool all = quant && !strcmp(filename_format_name(f.format), cases[i].format) &&
                   !strcmp(filename_kind_name(f.kind), cases[i].kind) &&
                   fabs((double)f.params / 1e9 - cases[i].b) < 1e-6 &&
                   fabs((double)f.params_active / 1e9 - cases[i].b_active) < 1e-6 &&
                   f.shard == cases[i].shard && f.n_shards == cases[i].n_shards;
        if (!ok(all, "%s", cases[i].name))
            printf("#   got %s %s %s %g (%g active) shard %u of %u\n", f.quant ? f.quant : "-",
                   filename_format_name(f.format), filename_kind_name(f.kind),
                   (double)f.params / 1e9, (double)f.params_active / 1e9, f.shard, f.n_shards);
    }
}

static void test_sets(void)
{
    struct filename a, b;
    filename_parse(&a, S("Q8_0/x-70B-Q8_0-00001-of-00002.gguf"));
    filename_parse(&b, S("Q8_0/x-70B-Q8_0-00002-of-00002.gguf"));
    is_str(a.set, S("Q8_0/x-70B-Q8_0"), "a shard's set is its name without number and ending");
    ok(str_eq(a.set, b.set), "two shards, one set");
    is_int(a.dtype, DTYPE_Q8_0, "the type of its matrices");
    filename_parse(&a, S("Qwen3-30B-A3B-UD-Q4_K_XL.gguf"));
    ok(a.dynamic && a.dtype == DTYPE_Q4_K, "UD: chosen layer by layer, mostly Q4_K");
    filename_parse(&a, S("x-00004-of-00002.gguf"));
    ok(!a.shard && !a.n_shards, "shard 4 of 2 is none");
    filename_parse(&a, S("x-IQ4_KSS.gguf"));
    ok(a.quant && !strcmp(a.quant, "IQ4_KSS") && a.dtype == DTYPE_COUNT,
       "a type of another program has a name and no type here");
    filename_parse(&a, S("mixtral-8x22B.gguf"));
    ok(a.n_expert == 8, "8x22B has eight experts");
    ok(filename_quant_from(S("q4-k-m")) && !strcmp(filename_quant_from(S("q4-k-m")), "Q4_K_M") &&
           !filename_quant_from(S("Q4_K_M.gguf")) && !filename_quant_from(S("")),
       "a quantisation as a whole word");
    is_int(filename_format_from(S("GGUF")), FILENAME_GGUF, "a format by its name");
    is_int(filename_format_from(S("unknown")), FILENAME_NONE, "and none by no name");
}

/* The size of a file as the catalogue writes it: "4.1 GB", in units of 1024. */
static double bytes_of(str s)
{
    double v = 0;
    str unit, n = str_cut(s, ' ', &unit);
    if (!str_num(n, &v)) return 0;
    return v * (str_eqc(unit, "GB") ? 0x1p30 : str_eqc(unit, "MB") ? 0x1p20 : 0);
}

struct counts {
    int names, quants, types, params, projectors, imatrices, sized, near;
};

static void count_file(struct counts *c, const struct json *file)
{
    struct filename f;
    str path = json_str(json_get(file, "path"), S(""));
    size_t cut = str_find(path, S("/resolve/main/"), 0);
    if (cut != SIZE_MAX) path = str_sub(path, cut + 14, path.n);
    filename_parse(&f, path);
    c->names++;
    c->projectors += f.kind == FILENAME_PROJECTOR;
    c->imatrices += f.kind == FILENAME_IMATRIX;
    if (f.kind != FILENAME_WEIGHTS) return;
    c->quants += f.quant != NULL;
    c->types += f.dtype != DTYPE_COUNT;
    c->params += f.params != 0;
    if (!f.quant && getenv("SHOW")) printf("# no quantisation: %.*s\n", STR(path));
    double bytes = bytes_of(json_str(json_get(file, "file_size"), S("")));
    if (bytes <= 0 || !f.params || !f.centibits || f.n_shards || f.n_expert) return;
    double want = (double)f.params * f.centibits / 800;
    c->sized++;
    c->near += bytes > want * 0.7 && bytes < want * 1.4;
    if ((bytes <= want * 0.7 || bytes >= want * 1.4) && getenv("SHOW"))
        printf("# %g GB and not %g: %.*s\n", bytes / 1e9, want / 1e9, STR(path));
}

static void test_catalogue(void)
{
    const char *path = tap_data("hub/gguf_repositories.json");
    struct counts c = {0};
    struct err_info e;
    struct arena a;
    const struct json *all;
    char *text;
    size_t n;
    if (!path) {
        skip("no ../shared/data/hub/gguf_repositories.json");
        return;
    }
    arena_init(&a, MIB(256));
    if (map_read_file(path, MIB(64), &text, &n, &e) || json_parse(&a, (str){text, n}, &all, &e)) {
        ok(false, "the catalogue is JSON: %s", e.text);
        arena_fini(&a);
        return;
    }
    ok(all->type == JSON_ARR, "the catalogue is a list");
    for (size_t i = 0; i < all->n; i++) {
        const struct json *q = json_get(&all->items[i], "quants");
        for (size_t k = 0; q && k < q->n; k++)
            count_file(&c, &q->items[k]);
    }
    int weights = c.names - c.projectors - c.imatrices;
    printf("# %d names: %d weights (quantisation %d, type %d, parameters %d), %d projectors, %d "
           "importance matrices; %d of %d sizes as expected\n",
           c.names, weights, c.quants, c.types, c.params, c.projectors, c.imatrices, c.near,
           c.sized);
    ok(c.names > 7000, "there are thousands of names");
    ok(c.quants * 1000 > weights * 990, "99 %% of weights name their quantisation");
    ok(c.types * 1000 > weights * 980, "98 %% name a type that we know");
    ok(c.near * 100 > c.sized * 90, "90 %% are as large as name and quantisation say");
    mem_free(text);
    arena_fini(&a);
}

int main(void)
{
    test_cases();
    test_sets();
    test_catalogue();
    return tap_end();
}
