/* The index of models by what goes in: queries as text and as JSON with their canonical form, rows
 * that change, cursors over rows that come and go, memory that runs out. What comes out is held to
 * an oracle in test_catalog.c. */
#include "base/mem.h"
#include "catalogue.h"
#include "tap.h"

#define ROWS     260
#define MACHINES CATALOGUE_MACHINES

static struct arena arena;
static struct err_info err;
static struct catalog_device machines[MACHINES];
static struct hub_model models[ROWS];

/* ---- queries as text ---- */

static bool canonical(const char *text, const char *want)
{
    struct catalog_query q, again;
    buf out = {.cap = KIB(16)}, twice = {.cap = KIB(16)};
    if (catalog_query_parse(&q, &arena, str_c(text), &err)) {
        printf("# %s: %s\n", text, err.text);
        return false;
    }
    catalog_query_write(&q, &out);
    bool good = str_eqc(buf_view(&out), want) &&
                !catalog_query_parse(&again, &arena, arena_str(&arena, buf_view(&out)), &err);
    if (good) catalog_query_write(&again, &twice);
    good = good && str_eq(buf_view(&out), buf_view(&twice));
    if (!good) printf("# %s\n# gives %s\n# not   %s\n", text, out.n ? out.p : "", want);
    buf_fini(&out);
    buf_fini(&twice);
    return good;
}

static bool refused(const char *text, const char *why)
{
    struct catalog_query q;
    err.text[0] = 0;
    bool good = catalog_query_parse(&q, &arena, str_c(text), &err) && strstr(err.text, why);
    if (!good) printf("# %s: \"%s\", not with \"%s\"\n", text, err.text, why);
    return good;
}

static void test_queries(void)
{
    ok(canonical("", "") && canonical("&&q=&author=&limit=", ""), "nothing is the query for all");
    ok(canonical("fits=true&all=0&sort=downloads&order=desc&limit=50", ""),
       "what is the default is left out");
    ok(canonical("language=de&q=Qwen++7B&language=en,de&size=tiny,>70B",
                 "q=qwen%207b&language=de,en&size=%3C%3D1B,%3E70B"),
       "in order, each value once, in one spelling");
    ok(canonical("quant=q4-k-m,fp16&format=GGUF", "format=gguf&quant=F16,Q4_K_M"),
       "quantisations and formats by their one name");
    ok(canonical("max_bytes=8589934592&min_bytes=500MB", "min_bytes=500MB&max_bytes=8GiB") &&
           canonical("maxParams=1500000000&min-params=0.5b", "min_params=500M&max_params=1500M") &&
           canonical("min_context=32k", "min_context=32768"),
       "numbers with units");
    ok(canonical("created_after=2024-02-29&created_before=2024-03-01T00:00:01Z",
                 "created_after=2024-02-29&created_before=2024-03-01T00:00:01Z"),
       "days and times");
    ok(canonical("machine=a%2Cb,c+d&author=x%2Fy", "author=x/y&machine=a%2Cb,c%20d"),
       "a comma that is encoded belongs to the value");
    ok(canonical("sort=size&order=asc", "sort=size") &&
           canonical("sort=size&order=desc", "sort=size&order=desc") &&
           canonical("ctx=16k&slots=4&kv_type=Q8_0", "ctx=16384&slots=4&kv_type=q8_0"),
       "orders, and what is judged with");
    ok(canonical("license=MIT&Quantization=q8_0&creator=a", "author=a&licence=MIT&quant=Q8_0"),
       "other words for a field");
    ok(refused("nonsense=1", "no field 'nonsense'") && refused("q=%zz", "percent-encoding") &&
           refused("q=%ff", "UTF-8") && refused("author=%00", "control") &&
           refused("limit=5&limit=5", "'limit' is given twice") &&
           refused("limit=1001", "1 to 1000") && refused("limit=0", "'limit'") &&
           refused("slots=-1", "'slots'") && refused("size=7B", "20-70B") &&
           refused("created_after=2023-02-29", "YYYY-MM-DD") &&
           refused("max_bytes=12XB", "'max_bytes'") &&
           refused("max_bytes=99999999999TiB", "'max_bytes'") &&
           refused("kv_type=q4_K", "'kv_type'") && refused("gated=maybe", "true or false") &&
           refused("sort=beauty", "trending") &&
           refused("min_params=8B&max_params=7B", "'min_params' is beyond"),
       "what is wrong is refused with the name of the field");
    struct catalog_query q = {0};
    const struct json *v;
    buf out = {.cap = KIB(16)};
    ok(!json_parse(&arena,
                   S("{\"minParams\":7000000000,\"language\":[\"en\",\"a,b\"],\"all\":true,"
                     "\"q\":\"x y\",\"kv_type\":null}"),
                   &v, &err) &&
           !catalog_query_json(&q, &arena, v, &err),
       "a query as JSON");
    catalog_query_write(&q, &out);
    is_str(buf_view(&out), S("q=x%20y&language=a%2Cb,en&min_params=7B&all=true"), "says the same");
    buf_fini(&out);
    ok(!json_parse(&arena, S("{\"author\":\"a\\nb\"}"), &v, &err) &&
           catalog_query_json(&q, &arena, v, &err) == ERR_INVALID && strstr(err.text, "'author'"),
       "what no query string may hold, no object may");
    q = (struct catalog_query){0};
    ok(!catalog_query_set(&q, &arena, S("author"), S("a,b"), &err) &&
           !catalog_query_set(&q, &arena, S("min-context"), S("8k"), &err) &&
           q.list[CATALOG_AUTHOR].n == 2 && q.number[CATALOG_MIN_CONTEXT] == 8192,
       "field by field, as flags of a command are");
}

/* ---- changes ---- */

static size_t names_of(struct catalog *c, const char *text, buf *out, str *next)
{
    struct catalog_query q;
    struct catalog_page p = {0};
    if (catalog_query_parse(&q, &arena, str_c(text), &err) ||
        catalog_find(c, &q, &arena, &p, &err)) {
        printf("# %s: %s\n", text, err.text);
        return SIZE_MAX;
    }
    for (size_t i = 0; i < p.n; i++)
        buf_printf(out, "%.*s ", STR(p.rows[i].id));
    *next = p.next;
    return p.n;
}

/* Half of the rows go and come between two pages; the others are each seen once. */
static void test_cursor(void)
{
    struct catalog *c = catalog_new();
    buf seen = {.cap = MIB(1)};
    str next = {0};
    size_t missed = 0, twice = 0;
    for (int i = 0; i < ROWS; i++)
        if (catalog_put(c, &models[i], NULL, &err)) missed++;
    do {
        const char *text =
            arena_printf(&arena, "sort=likes&limit=7%s%.*s", next.n ? "&cursor=" : "", STR(next)).p;
        if (names_of(c, text, &seen, &next) == SIZE_MAX) break;
        for (int i = 0; i < ROWS; i += 2)
            if (!catalog_remove(c, models[i].id) && catalog_put(c, &models[i], NULL, &err))
                missed++;
    } while (next.n);
    for (int i = 1; i < ROWS; i += 2) {
        str id = arena_printf(&arena, "%.*s ", STR(models[i].id));
        size_t at = str_find(buf_view(&seen), id, 0);
        missed += at == SIZE_MAX;
        twice += at != SIZE_MAX && str_find(buf_view(&seen), id, at + 1) != SIZE_MAX;
    }
    ok(!missed && !twice, "pages neither repeat nor skip what stays, while others come and go");
    struct catalog_query q;
    struct catalog_page p;
    ok(!catalog_query_parse(&q, &arena, S("sort=likes&cursor=downloads-desc:1:a"), &err) &&
           catalog_find(c, &q, &arena, &p, &err) == ERR_INVALID && strstr(err.text, "sorted by"),
       "a cursor of another order is refused");
    ok(!catalog_query_parse(&q, &arena, S("cursor=rubbish"), &err) &&
           catalog_find(c, &q, &arena, &p, &err) == ERR_INVALID,
       "and one that no page gave");
    buf_fini(&seen);
    catalog_free(c);
}

/* The index after many changes says the same as one that is made at once. */
static void test_changes(void)
{
    struct catalogue_rng r = {3};
    struct catalog *c = catalog_new(), *fresh = catalog_new();
    bool in[ROWS] = {0};
    size_t bad = 0, n = 0;
    const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    for (int i = 0; i < 20000; i++) {
        uint32_t k = catalogue_below(&r, ROWS);
        bool put = catalogue_of_100(&r, 60);
        if (put)
            bad += catalog_put(c, &models[k], NULL, &err) != 0;
        else
            bad += catalog_remove(c, models[k].id) != in[k];
        n += (size_t)put - in[k];
        in[k] = put;
        bad += catalog_count(c) != n;
    }
    for (int i = 0; i < ROWS; i++)
        if (in[i]) bad += catalog_put(fresh, &models[i], NULL, &err) != 0;
    ok(!bad && catalog_count(c) == catalog_count(fresh) && catalog_sets(c) == catalog_sets(fresh),
       "20,000 changes leave %zu rows", n);
    buf a = {.cap = MIB(16)}, b = {.cap = MIB(16)};
    struct catalog *both[2] = {c, fresh};
    buf *out[2] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        struct catalog_query q = {0};
        struct catalog_page p;
        struct catalog_facets f;
        struct jsonw w;
        ok(!catalog_query_parse(&q, &arena, S("limit=1000&fits=0&sort=speed"), &err) &&
               !catalog_judge(both[i], machines, MACHINES, &ask, &err) &&
               !catalog_find(both[i], &q, &arena, &p, &err) &&
               !catalog_facets(both[i], &q, &arena, &f, &err),
           "and are judged");
        jsonw_init(&w, out[i]);
        catalog_write_page(&p, &q, &w);
        jsonw_init(&w, out[i]);
        catalog_write_facets(&f, &w);
    }
    ok(a.n > 10000 && str_eq(buf_view(&a), buf_view(&b)),
       "as an index that is made at once, to the byte");
    const struct json *v;
    ok(!json_parse(&arena, str_sub(buf_view(&a), 0, str_find(buf_view(&a), S("}{"), 0) + 1), &v,
                   &err),
       "a page is JSON");
    buf_fini(&a);
    buf_fini(&b);
    catalog_free(c);
    catalog_free(fresh);
}

static void test_empty(void)
{
    struct catalog *c = catalog_new();
    struct catalog_query q = {0};
    struct catalog_page p;
    struct catalog_facets f;
    struct catalog_row row;
    const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    ok(!catalog_find(c, &q, &arena, &p, &err) && !p.n && !p.total && !p.next.n, "an empty index");
    ok(!catalog_facets(c, &q, &arena, &f, &err) && f.n > 10, "its facets");
    ok(catalog_get(c, NULL, S("a/b"), &arena, &row, &err) == ERR_NOMODEL &&
           !catalog_remove(c, S("a/b")),
       "a model that is not there");
    ok(!catalog_judge(c, machines, MACHINES, &ask, &err) && !catalog_find(c, &q, &arena, &p, &err),
       "can be judged");
    ok(!catalog_put(c, &models[0], NULL, &err) && !catalog_judge(c, NULL, 0, &ask, &err) &&
           !catalog_find(c, &q, &arena, &p, &err) && p.n == 1 && !p.rows[0].judged,
       "without machines everything is shown, and not judged");
    ok(!catalog_query_parse(&q, &arena, S("machine=moon"), &err) &&
           catalog_find(c, &q, &arena, &p, &err) == ERR_INVALID && strstr(err.text, "'moon'"),
       "a machine that is not there is refused by name");
    catalog_free(c);
}

/* Every allocation that fails once: the catalogue stays as it was, and usable. */
static void test_no_memory(void)
{
    size_t bad = 0, hits = 0;
    const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    for (uint64_t at = 1; at < 500; at++) {
        struct catalog_query q = {0};
        struct catalog_page p;
        struct catalog_facets f;
        struct arena a;
        size_t in = 0;
        arena_init(&a, MIB(16));
        mem_fail_after(at);
        struct catalog *c = catalog_new();
        for (int i = 0; c && i < 40; i++)
            in += !catalog_put(c, &models[i], NULL, &err);
        bool judged = c && !catalog_judge(c, machines, MACHINES, &ask, &err);
        bool found = c && !catalog_find(c, &q, &a, &p, &err);
        bool counted = c && !catalog_facets(c, &q, &a, &f, &err);
        hits += in < 40 || !judged || !found || !counted;
        mem_fail_after(0);
        bad += c && catalog_count(c) != in;
        if (!c) c = catalog_new();
        for (int i = 0; i < 40; i++)
            bad += catalog_put(c, &models[i], NULL, &err) != 0;
        bad += catalog_count(c) != 40 || catalog_judge(c, machines, MACHINES, &ask, &err) ||
               catalog_find(c, &q, &a, &p, &err) || catalog_facets(c, &q, &a, &f, &err);
        arena_fini(&a);
        catalog_free(c);
    }
    is_int(bad, 0, "without memory nothing is half done");
    ok(hits > 60, "in %zu places", hits);
}

static const struct catalog_facet *facet(const struct catalog_facets *f, enum catalog_field field)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].field == field) return &f->v[i];
    return NULL;
}

/* Lines of architectures, of known ones and of classes; words that differ in case are one. */
static void test_words(void)
{
    static const char *const lines[][2] = {{"qwen2moe", "qwen"},
                                           {"Qwen2_5_VLForConditionalGeneration", "qwen"},
                                           {"granitehybrid", "granite"},
                                           {"olmoe", "olmoe"},
                                           {"phimoe", "phi"},
                                           {"t5", "t5"},
                                           {"GPTBigCodeLMHeadModel", "gptbigcode"},
                                           {"nomic-bert-moe", "nomic-bert"},
                                           {"falcon-h1", "falcon"},
                                           {"gpt-oss", "gpt-oss"},
                                           {"jina-bert-v2", "jina-bert"},
                                           {"4d", "4d"}};
    struct catalog *c = catalog_new();
    struct catalog_query q = {0};
    struct catalog_facets f;
    size_t bad = 0;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct hub_model m = {.id = str_c(lines[i][0]), .arch = str_c(lines[i][0])};
        struct catalog_row row;
        m.licence = i % 2 ? S("MIT") : S("mit");
        bad += catalog_put(c, &m, NULL, &err) || catalog_get(c, NULL, m.id, &arena, &row, &err) ||
               !str_eqc(row.family, lines[i][1]) || !str_eq(row.architecture, m.arch);
    }
    is_int(bad, 0, "lines of architectures");
    const struct catalog_facet *l =
        catalog_facets(c, &q, &arena, &f, &err) ? NULL : facet(&f, CATALOG_LICENCE);
    ok(l && l->n == 1 && l->v[0].count == catalog_count(c), "a word is one in either case");
    catalog_free(c);
}

/* Two devices of one machine are one machine with two back ends. */
static void test_devices(void)
{
    const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    struct catalog *c = catalog_new();
    struct catalog_device d[MACHINES];
    struct catalog_query q;
    struct catalog_page p;
    struct catalog_facets f;
    size_t bad = 0;
    memcpy(d, machines, sizeof d);
    d[2].device.name = S("TOWER");
    for (int i = 0; i < ROWS; i++)
        bad += catalog_put(c, &models[i], NULL, &err) != 0;
    ok(!bad && !catalog_judge(c, d, MACHINES, &ask, &err) &&
           !catalog_query_parse(&q, &arena, S("machine=tower&limit=1000"), &err) &&
           !catalog_find(c, &q, &arena, &p, &err) && !catalog_facets(c, &q, &arena, &f, &err),
       "a machine with two devices");
    const struct catalog_facet *m = facet(&f, CATALOG_MACHINE), *b = facet(&f, CATALOG_BACKEND);
    ok(m && m->n == 2 && str_eqc(m->v[1].value, "Tower") && m->v[1].chosen &&
           m->v[1].count == p.total,
       "is counted as one");
    ok(b && b->n == 2 && b->v[0].count <= p.total && b->v[1].count <= p.total &&
           b->v[0].count + b->v[1].count > p.total,
       "with two back ends");
    for (size_t i = 0; i < p.n; i++)
        bad += p.rows[i].n_machines != 1 || !str_ieq(p.rows[i].machines[0], S("tower"));
    is_int(bad, 0, "and named once");
    catalog_free(c);
}

int main(void)
{
    arena_init(&arena, GIB(2));
    ok(catalogue_machines(machines, &arena), "three machines");
    for (uint32_t i = 0; i < ROWS; i++)
        catalogue_model(&models[i], &arena, 11, i);
    test_queries();
    test_empty();
    test_words();
    test_devices();
    test_cursor();
    test_changes();
    test_no_memory();
    arena_fini(&arena);
    return tap_end();
}
