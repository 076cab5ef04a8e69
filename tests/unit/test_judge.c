/* The judge over everything in ../shared/data/hub, the real words of thousands of repositories: no
 * entry breaks it, each refusal has its reason, and how many fall to which reason stands in
 * tests/golden/verdicts/hub.txt. And the shapes it rests on: estimates against real models, their
 * JSON, and the words of the reasons.
 *
 * RBEE_SHOW=1 prints every verdict, for reading.
 */
#include <dirent.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/judge.h"
#include "model/verdict.h"
#include "tap.h"

static struct arena arena;
static struct caps caps;
static struct err_info err;
static buf counted = {.cap = MIB(1)};

static const struct verdict_device laptop = {
    .name = {"laptop", 6}, .memory = GIB(16), .bandwidth = 40e9, .compute = 1e12, .threads = 4};
static const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};

static str read_text(const char *path)
{
    char *text;
    size_t n;
    if (!path || map_read_file(path, MIB(64), &text, &n, &err)) return (str){0};
    str kept = arena_str(&arena, (str){text, n});
    mem_free(text);
    return kept;
}

static const struct json *read_json(const char *path)
{
    const struct json *v = NULL;
    str text = read_text(path);
    return text.p && !json_parse(&arena, text, &v, &err) ? v : NULL;
}

/* ---- one entry ---- */

struct tally {
    const char *name;
    size_t n, broken, odd, why[JUDGE_WHYS];
};

/* What the judge without words says of the best set, by its own way. */
static enum judge_why best_why(const struct hub_model *m)
{
    struct judge_model j;
    struct judge_out best, one;
    bool any = false;
    judge_model_from(&j, m);
    judge_set(&best, &j, NULL, &caps, &laptop, &ask);
    if (!best.compatible) return best.why;
    for (size_t i = 0; i < m->n_sets; i++) {
        struct judge_set s;
        judge_set_from(&s, &m->sets[i]);
        if (s.kind != FILENAME_WEIGHTS) continue;
        judge_set(&one, &j, &s, &caps, &laptop, &ask);
        if (!any || judge_better(&one, &best)) best = one;
        any = true;
    }
    return best.why;
}

/* What must hold of every verdict. */
static bool sound(const struct hub_model *m, const struct verdict *v)
{
    bool runs = v->compatible && v->fits;
    return v->why == best_why(m) && runs == (v->why == JUDGE_RUNS) && runs == (v->reasons.n == 0) &&
           v->compatible == (v->confidence == VERDICT_LOW) &&
           (v->short_by != 0) == (v->why == JUDGE_MEMORY) &&
           (!v->cache_known ||
            v->memory.total == v->memory.weights + v->memory.kv + v->memory.compute) &&
           (v->why != JUDGE_MEMORY || v->recommendations.n) &&
           v->compatible == verdict_is_model_compatible(&arena, m, &caps);
}

static void entry(struct tally *t, const struct json *x)
{
    struct hub_model m;
    struct verdict v;
    t->n++;
    if (hub_parse(&m, &arena, x, &err)) {
        if (t->broken++ == 0) printf("#   %s\n", err.text);
        return;
    }
    verdict_hub(&v, &arena, &m, SIZE_MAX, &caps, &laptop, &ask);
    if (!sound(&m, &v) && t->odd++ == 0) printf("#   odd: %.*s\n", STR(m.id));
    t->why[v.why]++;
    if (getenv("RBEE_SHOW"))
        printf("SHOW\t%s\t%s\t%.*s\t%.*s\t%.*s\t%.*s\n", t->name, judge_why_name(v.why), STR(m.id),
               STR(v.arch), STR(v.quant), STR(v.reasons.n ? v.reasons.line[0] : S("")));
}

static void entry_text(struct tally *t, buf *text)
{
    const struct json *v;
    str kept = arena_str(&arena, buf_view(text));
    bool good = !text->failed && !json_parse(&arena, kept, &v, &err);
    if (good)
        entry(t, v);
    else
        t->n++, t->broken++;
    buf_clear(text);
}

static void done(const struct tally *t)
{
    ok(t->n > 0 && t->broken == 0 && t->odd == 0, "%s: %zu entries, each judged", t->name, t->n);
    for (int i = 0; i < JUDGE_WHYS; i++)
        if (t->why[i])
            buf_printf(&counted, "%s %s %zu\n", t->name, judge_why_name((enum judge_why)i),
                       t->why[i]);
}

/* ---- the collections ---- */

static void api(const char *name)
{
    char path[64];
    struct tally t = {.name = name};
    snprintf(path, sizeof path, "hub/%s.json", name);
    const struct json *v = read_json(tap_data(path));
    if (v && v->type == JSON_OBJ) entry(&t, v);
    for (size_t i = 0; v && v->type == JSON_ARR && i < v->n; i++)
        entry(&t, &v->items[i]);
    done(&t);
}

/* "4.1 GB" */
static uint64_t size_of(str s)
{
    char text[32];
    double n = 0;
    snprintf(text, sizeof text, "%.*s", STR(s));
    for (char *p = text; *p == '.' || (*p >= '0' && *p <= '9'); p++)
        if (*p == '.') {
            n += (double)(p[1] >= '0' && p[1] <= '9' ? p[1] - '0' : 0) / 10;
            break;
        } else {
            n = n * 10 + (*p - '0');
        }
    return (uint64_t)(n * (strstr(text, "GB") ? 1e9 : strstr(text, "MB") ? 1e6 : 1));
}

static void one_repository(struct tally *t, const struct json *x, buf *text)
{
    const struct json *quants = json_get(x, "quants");
    struct jsonw w;
    jsonw_init(&w, text);
    jsonw_obj(&w);
    jsonw_kstr(&w, "id",
               arena_printf(&arena, "%.*s/%.*s", STR(json_str(json_get(x, "developer"), S("?"))),
                            STR(json_str(json_get(x, "model_name"), S("?")))));
    jsonw_key(&w, "siblings");
    jsonw_arr(&w);
    for (size_t i = 0; quants && i < quants->n; i++) {
        str url = json_str(json_get(&quants->items[i], "path"), S("")), rest;
        size_t at = str_find(url, S("/resolve/main/"), 0);
        rest = at == SIZE_MAX ? url : str_sub(url, at + 14, url.n);
        jsonw_obj(&w);
        jsonw_kstr(&w, "rfilename", rest);
        jsonw_key(&w, "size");
        jsonw_uint(&w, size_of(json_str(json_get(&quants->items[i], "file_size"), S(""))));
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
    entry_text(t, text);
}

static void repositories(void)
{
    const struct json *v = read_json(tap_data("hub/gguf_repositories.json"));
    struct tally t = {.name = "gguf_repositories"};
    buf text = {.cap = MIB(4)};
    for (size_t i = 0; v && i < v->n; i++)
        one_repository(&t, &v->items[i], &text);
    done(&t);
    buf_fini(&text);
}

/* Facts as a list entry with its config would say them. */
static void facts(void)
{
    const struct json *v = read_json(tap_data("hub/model_facts.json"));
    struct tally t = {.name = "model_facts"};
    buf text = {.cap = MIB(1)};
    for (size_t i = 0; v && i < v->n; i++) {
        const struct json *x = &v->items[i];
        struct jsonw w;
        jsonw_init(&w, &text);
        jsonw_obj(&w);
        jsonw_kstr(&w, "id", json_str(json_get(x, "name"), S("?")));
        jsonw_key(&w, "tags");
        jsonw_arr(&w);
        jsonw_str(&w, json_str(json_get(x, "format"), S("safetensors")));
        jsonw_end(&w, ']');
        jsonw_key(&w, "config");
        jsonw_obj(&w);
        jsonw_kstr(&w, "model_type", json_str(json_get(x, "architecture"), S("")));
        jsonw_end(&w, '}');
        jsonw_key(&w, "safetensors");
        jsonw_obj(&w);
        jsonw_kint(&w, "total", json_int(json_get(x, "parameters_raw"), 0));
        jsonw_end(&w, '}');
        jsonw_end(&w, '}');
        entry_text(&t, &text);
    }
    done(&t);
    buf_fini(&text);
}

static void tags(void)
{
    const struct json *v = read_json(tap_data("hub/hub_list_tags.json"));
    struct tally t = {.name = "hub_list_tags"};
    for (size_t i = 0; v && i < v->n; i++)
        entry(&t, &v->items[i]);
    done(&t);
}

/* Names only, as the last resort has them. */
static void names(const char *name, str list, bool json)
{
    struct tally t = {.name = name};
    const struct json *v = NULL;
    buf text = {.cap = MIB(1)};
    if (json && json_parse(&arena, list, &v, &err)) v = NULL;
    for (size_t i = 0; json ? v && i < v->n : list.n > 0; i++) {
        str line = json ? json_str(json_get(&v->items[i], "fullname"), S("?"))
                        : str_cut(str_cut(list, '\n', &list), '\t', &(str){0});
        struct jsonw w;
        jsonw_init(&w, &text);
        jsonw_obj(&w);
        jsonw_kstr(&w, "id", line);
        jsonw_end(&w, '}');
        entry_text(&t, &text);
    }
    done(&t);
    buf_fini(&text);
}

static void configs(void)
{
    const char *root = tap_data("hub/configs");
    struct tally t = {.name = "configs"};
    char path[1400], folder[1024];
    DIR *d = root ? opendir(root) : NULL;
    struct dirent *x;
    snprintf(folder, sizeof folder, "%s", root ? root : "");
    while (d && (x = readdir(d))) {
        struct hf_meta_files f = {0};
        struct verdict v;
        if (!strstr(x->d_name, ".json")) continue;
        snprintf(path, sizeof path, "%s/%s", folder, x->d_name);
        f.config = read_text(path);
        verdict_config(&v, &arena, &f, 0, &caps, &laptop, &ask);
        t.n++;
        t.why[v.why]++;
        t.odd += (v.compatible && v.fits) != (v.why == JUDGE_RUNS) ||
                 (v.why != JUDGE_RUNS) != (v.reasons.n > 0) ||
                 v.compatible != (v.shape.source == MEMORY_CONFIG);
        if (getenv("RBEE_SHOW"))
            printf("SHOW\t%s\t%s\t%s\t%.*s\t%.*s\t%.*s\n", t.name, judge_why_name(v.why), x->d_name,
                   STR(v.arch), STR(v.quant), STR(v.reasons.n ? v.reasons.line[0] : S("")));
    }
    if (d) closedir(d);
    done(&t);
}

static void test_collections(void)
{
    if (!tap_data("hub/model_facts.json")) {
        skip("no ../shared/data/hub");
        return;
    }
    api("api_model_gguf");
    api("api_model_safetensors");
    api("api_models_list");
    repositories();
    facts();
    tags();
    names("leaderboard", read_text(tap_data("hub/leaderboard.json")), true);
    names("model_ids", read_text(tap_data("hub/model_ids.tsv")), false);
    configs();
    str want = read_text(RBEE_SOURCE_DIR "/tests/golden/verdicts/hub.txt");
    if (!is_str(buf_view(&counted), want, "as many fall to each reason as were read by hand"))
        printf("%.*s", STR(buf_view(&counted)));
}

/* ---- estimates ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Entries whose number of parameters is not that of packed integers. */
static bool plain_name(str name)
{
    static const char *const marks[] = {"AWQ",  "GPTQ", "FP4",  "FP8",  "MLX",    "mlx",
                                        "bnb",  "4a16", "4A16", "int4", "4bit",   "8bit",
                                        "6bit", "5bit", "bit",  "Int",  "DFlash", "tiny"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (str_find(name, str_c(marks[i]), 0) != SIZE_MAX) return false;
    return true;
}

/* Families all of whose layers attend, each to its own keys, and whose keys are not latent. */
static bool plain_cache(const struct family *f)
{
    static const char *const others[] = {
        "deepseek2",      "qwen35",     "qwen35moe", "qwen3next", "lfm2",
        "lfm2moe",        "nemotron_h", "jamba",     "gemma3n",   "granitehybrid",
        "nemotron_h_moe", "gemma4",     "falcon"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(f->name, others[i])) return false;
    return true;
}

static void test_estimates(void)
{
    const struct json *v = read_json(tap_data("hub/model_facts.json"));
    static double off[2000];
    size_t n = 0;
    if (!v) {
        skip("no ../shared/data/hub");
        return;
    }
    for (size_t i = 0; i < v->n && n < 2000; i++) {
        const struct json *x = &v->items[i];
        str name = json_str(json_get(x, "name"), S(""));
        int64_t layers = json_int(json_get(x, "num_hidden_layers"), 0);
        int64_t heads = json_int(json_get(x, "num_key_value_heads"), 0);
        int64_t dim = json_int(json_get(x, "head_dim"), 0);
        int64_t params = json_int(json_get(x, "parameters_raw"), 0);
        const struct family *f = hub_family(json_str(json_get(x, "architecture"), S("")));
        struct memory_facts facts = {f, (uint64_t)params, 0};
        struct memory_shape s;
        if (!f || !plain_cache(f) || params < 100000000 || !plain_name(name) || layers < 1 ||
            heads < 1 || dim < 1)
            continue;
        memory_shape_estimate(&s, &facts);
        off[n++] = fabs(log((double)s.k_cols / (double)(layers * heads * dim)));
    }
    qsort(off, n, sizeof *off, by_value);
    printf("# %zu models: half within %.2f times, nine of ten within %.2f times\n", n,
           exp(off[n / 2]), exp(off[n * 9 / 10]));
    ok(n > 200 && exp(off[n / 2]) < 1.05 && exp(off[n * 9 / 10]) < 2.5,
       "the estimated cache of real models is near theirs");
}

static void test_known(void)
{
    static const struct {
        const char *family;
        uint32_t millions;
    } table[] = {
#define KNOWN(family, millions, k, v, width, states) {family, millions},
#include "model/memory_known.def"
    };
    bool sorted = true, known = true;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int c = i ? strcmp(table[i - 1].family, table[i].family) : -1;
        known = known && family_find(str_c(table[i].family));
        sorted = sorted && (c < 0 || (c == 0 && table[i - 1].millions < table[i].millions));
    }
    ok(sorted && known, "the table of known models is sorted, its families are families");
    struct memory_shape s;
    memory_shape_estimate(&s, &(struct memory_facts){0});
    ok(s.source == MEMORY_NONE, "without parameters there is no shape");
    memory_shape_estimate(&s, &(struct memory_facts){.params = UINT64_MAX});
    ok(s.source == MEMORY_ESTIMATE && s.k_cols > 0, "an absurd number gives one all the same");
    memory_shape_estimate(&s, &(struct memory_facts){family_find(S("qwen3")), 8190735360, 40960});
    ok(s.k_cols == 36 * 8 * 128 && s.v_cols == s.k_cols && s.n_ctx_train == 40960,
       "of Qwen3 8B: 36 layers of 8 heads of 128");
}

/* ---- words and shapes ---- */

static void test_words(void)
{
    bool good = true;
    for (int i = 0; i < JUDGE_WHYS; i++)
        for (int k = 0; k <= i; k++)
            good = good && judge_why_text((enum judge_why)i)[0] &&
                   (k == i) == !strcmp(judge_why_name((enum judge_why)i),
                                       judge_why_name((enum judge_why)k));
    ok(good, "each reason has a word of its own and a sentence");
    good = judge_why_from(S("no such reason")) == JUDGE_WHYS;
    for (int i = 0; i < JUDGE_WHYS; i++)
        good = good &&
               judge_why_from(str_c(judge_why_name((enum judge_why)i))) == (enum judge_why)i &&
               judge_why_brief((enum judge_why)i)[0] &&
               strlen(judge_why_brief((enum judge_why)i)) <= 48;
    ok(good, "is found by it, and has a few words for a column");
}

static void test_shapes(void)
{
    struct memory_shape s, back;
    const struct json *v;
    struct jsonw w;
    buf out = {.cap = MIB(1)};
    memory_shape_estimate(&s, &(struct memory_facts){family_find(S("qwen35")), 9410000000, 262144});
    s.product[1] = (struct memory_product){8, 128, 768};
    s.k_unit = 64;
    s.whole = s.all_rows = true;
    jsonw_init(&w, &out);
    memory_shape_write(&s, &w);
    str text = arena_str(&arena, buf_view(&out));
    ok(!json_parse(&arena, text, &v, &err) && !memory_shape_read(&back, v, &err) &&
           back.source == MEMORY_ESTIMATE && back.states == s.states && back.k_cols == s.k_cols &&
           !memcmp(back.product, s.product, sizeof s.product) && back.whole && back.all_rows,
       "a shape comes back from its JSON");
    static const char *const bad[] = {"[]",
                                      "{\"source\":\"guess\"}",
                                      "{\"k_columns\":-1}",
                                      "{\"states\":\"many\"}",
                                      "{\"products\":[[1,2]]}",
                                      "{\"products\":[[1,2,3],[1,2,3],[1,2,3],[1,2,3]]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(!json_parse(&arena, str_c(bad[i]), &v, &err) &&
               memory_shape_read(&back, v, &err) == ERR_FORMAT,
           "%s is no shape", bad[i]);
    buf_fini(&out);
}

/* A header that was read of one file serves the others. */
static void test_sibling(void)
{
    const struct json *v;
    struct hub_model m;
    struct verdict a, b;
    struct memory_shape s = {.source = MEMORY_HEADER,
                             .n_ctx_train = 8192,
                             .k_cols = 1000,
                             .v_cols = 1000,
                             .k_unit = 25,
                             .v_unit = 25};
    if (json_parse(&arena,
                   S("{\"id\":\"a/b\",\"tags\":[\"gguf\",\"llama\"],\"siblings\":[{\"rfilename\":"
                     "\"b-Q8_0.gguf\",\"size\":1000000}]}"),
                   &v, &err) ||
        hub_parse(&m, &arena, v, &err)) {
        ok(false, "%s", err.text);
        return;
    }
    m.shape = &s;
    struct verdict_ask q8 = {.n_ctx = 1024, .n_slots = 1, .ktype = DTYPE_Q8_0, .vtype = DTYPE_F16};
    struct verdict_ask f16 = q8;
    f16.ktype = DTYPE_F16;
    verdict_hub(&a, &arena, &m, 0, &caps, &laptop, &f16);
    verdict_hub(&b, &arena, &m, 0, &caps, &laptop, &q8);
    ok(a.memory.kv == 1024 * 4000 && !a.cache_estimated && a.compatible &&
           str_find(a.evidence, S("another file"), 0) != SIZE_MAX,
       "its cache is counted by the other's header");
    ok(!b.compatible && b.why == JUDGE_KV_TYPE && b.reasons.n,
       "and a type of cache that its heads do not fit is refused");
}

static void test_devices(void)
{
    struct verdict v[3] = {{.why = JUDGE_MEMORY, .compatible = true},
                           {.compatible = true, .fits = true, .decode = 5},
                           {.compatible = true, .fits = true, .decode = 9}};
    const struct verdict_device d[3] = {
        {.name = {"small", 5}}, {.name = {"slow", 4}}, {.name = {"fast", 4}}};
    ok(verdict_best(v, 3) == 2 && verdict_best(v, 1) == 1, "the fastest machine that runs it");
    verdict_elsewhere(v, 3, &arena, d);
    ok(v[0].recommendations.n == 1 && !v[1].recommendations.n &&
           str_eqc(v[0].recommendations.line[0], "it runs on fast"),
       "is named to the one that is too small");
}

int main(void)
{
    arena_init(&arena, GIB(4));
    const struct json *c = read_json(RBEE_SOURCE_DIR "/tests/golden/verdicts/caps.json");
    if (ok(c && !caps_parse(&caps, &arena, c, NULL, &err), "the capabilities are there")) {
        test_collections();
        test_estimates();
        test_known();
        test_words();
        test_shapes();
        test_sibling();
        test_devices();
    }
    buf_fini(&counted);
    arena_fini(&arena);
    return tap_end();
}
