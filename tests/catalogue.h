/* catalogue: models as the Hub would describe them, made up by a seed: what tests and benchmarks of
 * the index are fed with. Shapes follow real ones: most repositories are GGUF with a row of
 * quantisations, some are SafeTensors, a good part is of formats, families or types that nothing
 * here runs; a part has files without sizes, parameters in the name only, no date, no licence. */
#ifndef TESTS_CATALOGUE_H
#define TESTS_CATALOGUE_H

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/limits.h"
#include "compute/cpu/cpu.h"
#include "model/catalog.h"
#include "model/family.h"
#include "worker/worker.h"

struct catalogue_rng {
    uint64_t s;
};

static inline uint64_t catalogue_next(struct catalogue_rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 to n - 1 */
static inline uint32_t catalogue_below(struct catalogue_rng *r, uint32_t n)
{
    return (uint32_t)((catalogue_next(r) >> 32) * n >> 32);
}

static inline bool catalogue_of_100(struct catalogue_rng *r, uint32_t percent)
{
    return catalogue_below(r, 100) < percent;
}

static const char *const catalogue_authors[] = {
    "TheBloke", "bartowski",   "unsloth",     "mradermacher", "MaziyarPanahi", "lmstudio-community",
    "Qwen",     "mistralai",   "google",      "meta-llama",   "microsoft",     "nomic-ai",
    "BAAI",     "deepseek-ai", "ibm-granite", "allenai",      "tiiuae",        "HuggingFaceTB"};
static const char *const catalogue_licences[] = {"apache-2.0", "mit",   "llama3.1",
                                                 "gemma",      "other", "cc-by-nc-4.0"};
static const char *const catalogue_tasks[] = {"text-generation", "text-generation",
                                              "image-text-to-text", "feature-extraction",
                                              "text-ranking"};
static const char *const catalogue_languages[] = {"en", "de", "fr", "zh", "es", "ja", "hi", "ar"};
static const char *const catalogue_lines[] = {
    "llama", "qwen2", "qwen3",    "gemma2",  "gemma3", "phi3",  "llama",
    "qwen2", "mamba", "qwen3moe", "granite", "bert",   "olmo2", "whisper-like"};
static const char *const catalogue_quants[] = {
    "Q4_K_M", "Q8_0",   "Q5_K_M", "Q6_K",   "Q4_K_S", "Q3_K_M",  "Q2_K",    "Q5_K_S",
    "IQ4_XS", "Q3_K_L", "Q4_0",   "IQ3_M",  "IQ2_M",  "IQ3_XXS", "IQ2_XXS", "F16",
    "BF16",   "Q3_K_S", "Q5_0",   "IQ4_NL", "IQ1_M",  "Q4_1",    "Q4_0_4_4"};
static const double catalogue_sizes[] = {0.135, 0.5,  0.6,  1.0,  1.5,   3.0,  4.0,
                                         7.0,   7.6,  8.0,  9.0,  12.0,  14.8, 20.0,
                                         27.0,  32.8, 70.0, 72.7, 123.0, 405.0};

#define CATALOGUE_PICK(r, list) (list)[catalogue_below((r), sizeof(list) / sizeof *(list))]

static inline void catalogue_set(struct hub_set *s, struct arena *a, const char *base,
                                 const char *quant, const char *ending, uint64_t params)
{
    struct filename f;
    str path = quant ? arena_printf(a, "%s-%s.%s", base, quant, ending)
                     : arena_printf(a, "%s.%s", base, ending);
    filename_parse(&f, path);
    *s = (struct hub_set){.name = f.set,
                          .format = f.format,
                          .kind = f.kind,
                          .quant = f.quant,
                          .dtype = f.dtype,
                          .centibits = f.centibits,
                          .n_files = 1,
                          .n_expected = 1};
    s->bytes = params * (f.centibits ? f.centibits : 1600) / 800;
}

static inline void catalogue_files(struct hub_model *m, struct catalogue_rng *r, struct arena *a,
                                   const char *base)
{
    struct hub_set *s = ARENA_NEW(a, struct hub_set, 32);
    uint32_t kind = catalogue_below(r, 100), n = 0;
    bool sizes = catalogue_of_100(r, 75);
    m->files_said = true;
    if (kind < 62) {
        uint32_t many = 1 + catalogue_below(r, 20);
        for (uint32_t i = 0, k = catalogue_below(r, 4); i < many && k < 23; i++, k++)
            catalogue_set(&s[n++], a, base, catalogue_quants[k], "gguf", m->params);
        if (catalogue_of_100(r, 10)) catalogue_set(&s[n++], a, "mmproj", "F16", "gguf", 400000000);
        if (catalogue_of_100(r, 8)) catalogue_set(&s[n++], a, base, NULL, "safetensors", m->params);
    } else if (kind < 84) {
        catalogue_set(&s[n++], a, "model", NULL, "safetensors", m->params);
        if (catalogue_of_100(r, 20)) catalogue_set(&s[n++], a, "model", NULL, "bin", m->params);
    } else if (kind < 90) {
        catalogue_set(&s[n++], a, "model", NULL, "safetensors", m->params / 4);
        s[0].format = catalogue_of_100(r, 50) ? FILENAME_GPTQ : FILENAME_MLX;
    } else if (kind < 94) {
        catalogue_set(&s[n++], a, "pytorch_model", NULL, "bin", m->params);
    } else if (kind < 97) {
        m->files_said = false;
        m->formats = catalogue_of_100(r, 50) ? 1u << FILENAME_GGUF : 1u << FILENAME_SAFETENSORS;
    } else if (kind < 98) {
        catalogue_set(&s[n++], a, base, "Q4_K_M", "gguf", m->params);
        s[0].kind = FILENAME_PIECE;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!sizes) s[i].bytes = 0;
        /* One in a while is unpacked while it is loaded. */
        s[i].loaded = s[i].bytes * (catalogue_of_100(r, 3) ? 2 : 1);
        if (s[i].kind == FILENAME_WEIGHTS) m->formats |= 1u << s[i].format;
        if (catalogue_of_100(r, 2)) s[i].n_expected = 3;
    }
    m->sets = s;
    m->n_sets = n;
}

static inline void catalogue_words(struct hub_model *m, struct catalogue_rng *r, struct arena *a)
{
    str *l = ARENA_NEW(a, str, 4);
    m->languages = l;
    if (catalogue_of_100(r, 60)) l[m->n_languages++] = S("en");
    for (int i = 0; i < 2 && catalogue_of_100(r, 30); i++)
        l[m->n_languages++] = str_c(CATALOGUE_PICK(r, catalogue_languages));
    if (catalogue_of_100(r, 85)) m->licence = str_c(CATALOGUE_PICK(r, catalogue_licences));
    if (catalogue_of_100(r, 90)) m->task = str_c(CATALOGUE_PICK(r, catalogue_tasks));
    m->library = S("transformers");
    m->can =
        (catalogue_of_100(r, 70) ? HUB_CHAT : 0u) | (catalogue_of_100(r, 40) ? HUB_TOOLS : 0u) |
        (catalogue_of_100(r, 20) ? HUB_REASONING : 0u) |
        (catalogue_of_100(r, 10) ? HUB_VISION : 0u) |
        (catalogue_of_100(r, 8) ? HUB_EMBEDDING : 0u) | (catalogue_of_100(r, 4) ? HUB_RERANK : 0u);
}

/* The model of a number; the same for the same seed. Strings are in the arena. */
static inline void catalogue_model(struct hub_model *m, struct arena *a, uint64_t seed, uint32_t i)
{
    struct catalogue_rng g = {seed ^ (i * 0x632be59bd9b4e019u)}, *r = &g;
    const char *line = CATALOGUE_PICK(r, catalogue_lines);
    double size = CATALOGUE_PICK(r, catalogue_sizes);
    char base[80];
    *m = (struct hub_model){0};
    m->author = catalogue_of_100(r, 60) ? str_c(CATALOGUE_PICK(r, catalogue_authors))
                                        : arena_printf(a, "user%u", catalogue_below(r, 4000));
    snprintf(base, sizeof base, "%s%s-%gB-v%u", line,
             catalogue_of_100(r, 50) ? "-Instruct" : "_chat", size, i);
    m->base_model = catalogue_of_100(r, 70) ? arena_printf(a, "Origin/%s-%gB", line, size) : S("");
    m->id = arena_printf(a, "%.*s/%s", STR(m->author), base);
    if (catalogue_of_100(r, 95)) m->arch = str_c(line);
    m->family = m->arch.n ? family_find(m->arch) : NULL;
    m->hf_loads = m->family && catalogue_of_100(r, 80);
    if (catalogue_of_100(r, 93)) {
        m->params = (uint64_t)(size * 1e9);
        m->params_from = catalogue_of_100(r, 80) ? HUB_BY_API : HUB_BY_NAME;
        if (!strcmp(line, "qwen3moe")) m->params_active = m->params / 10;
    }
    if (catalogue_of_100(r, 80)) m->context = 2048u << catalogue_below(r, 9);
    if (catalogue_of_100(r, 95)) m->created = 1600000000 + catalogue_below(r, 160000000);
    if (catalogue_of_100(r, 95)) m->updated = 1640000000 + catalogue_below(r, 120000000);
    m->downloads = (uint64_t)1 << catalogue_below(r, 24);
    m->downloads = catalogue_of_100(r, 10) ? 0 : catalogue_next(r) % m->downloads;
    m->likes = m->downloads / 100;
    m->trending = catalogue_of_100(r, 80) ? 0 : catalogue_below(r, 1000) / 8.0;
    m->gated = catalogue_of_100(r, 8);
    m->disabled = catalogue_of_100(r, 1);
    catalogue_words(m, r, a);
    catalogue_files(m, r, a, base);
    m->bytes = m->params * 3;
}

#define CATALOGUE_MACHINES 3

/* Three machines, the second with a worker that knows less. False: the worker's own capabilities do
 * not read. */
static inline bool catalogue_machines(struct catalog_device out[CATALOGUE_MACHINES],
                                      struct arena *a)
{
    static const struct backend *const backends[] = {&cpu_backend, NULL};
    static const struct worker_kind kind = {
        .name = "llm-worker-rbee-cpu", .device = "cpu", .backends = backends};
    struct caps *caps = ARENA_NEW(a, struct caps, 1), *narrow = ARENA_NEW(a, struct caps, 1);
    buf text = {.cap = MIB(4)};
    struct err_info e;
    const struct json *v;
    worker_capabilities(&kind, &text);
    bool good =
        !json_parse(a, arena_str(a, buf_view(&text)), &v, &e) && !caps_parse(caps, a, v, NULL, &e);
    buf_fini(&text);
    *narrow = *caps;
    narrow->id = S("narrow");
    narrow->formats = 1u << FILENAME_GGUF;
    narrow->dtype[DTYPE_Q5_K] = narrow->dtype[DTYPE_BF16] = false;
    narrow->max_ctx = 32768;
    struct verdict_device d = {
        .name = S("attic"), .memory = GIB(8), .bandwidth = 2e10, .compute = 5e11, .threads = 4};
    out[0] = (struct catalog_device){caps, d, S("cpu")};
    d = (struct verdict_device){
        .name = S("Tower"), .memory = GIB(24), .bandwidth = 9e11, .compute = 5e13, .threads = 1};
    out[1] = (struct catalog_device){narrow, d, S("cuda")};
    d = (struct verdict_device){.name = S("cellar 2"),
                                .memory = GIB(96),
                                .bandwidth = 9e10,
                                .compute = 2e12,
                                .threads = 16};
    out[2] = (struct catalog_device){caps, d, S("cpu")};
    return good;
}

#endif
