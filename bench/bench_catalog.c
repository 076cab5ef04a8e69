/* bench_catalog: milliseconds of processor time of everything that the index of models does.
 *
 *   bench_catalog [MODELS] [SEED]
 *   bench_catalog FILE.jsonl         what the Hub says, an entry a line (tools/hub-fixture --lines)
 *
 * Default 40,000 made-up models with some 7 sets each, judged for three machines. Each query runs
 * as page and as facets; the best and the worst of nine runs are printed. The first run of a
 * configuration that nobody has asked for yet (ctx=, slots=, kv_type=) judges every row, which is
 * printed apart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/map.h"
#include "base/mem.h"
#include "catalogue.h"

#define RUNS 9

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static const char *const queries[] = {
    "",
    "limit=1000",
    "all=1",
    "fits=0&sort=params",
    "q=qwen instruct",
    "q=v39999",
    "q=a",
    "sort=trending",
    "sort=name",
    "sort=speed",
    "sort=size",
    "architecture=qwen3,llama&size=4-9B&licence=apache-2.0",
    "quant=Q4_K_M&format=gguf",
    "quant=Q4_K_M&sort=speed",
    "max_bytes=8GiB&min_params=3B&sort=params",
    "machine=attic&max_memory=6GiB",
    "machine=attic,cellar 2&sort=speed",
    "backend=cuda&sort=size",
    "capability=chat,tools&language=en,de&context=32-128K,>128K",
    "created_after=2023-01-01&updated_before=2025-01-01&author=user7",
    "all=1&quant=Q8_0&max_memory=24GiB&sort=speed&q=instruct",
};

static bool run(struct catalog *c, const char *text, bool facets, double *ms, uint64_t *total)
{
    struct catalog_query q;
    struct catalog_page p = {0};
    struct catalog_facets f;
    struct err_info e;
    struct arena a;
    arena_init(&a, MIB(256));
    double from = now();
    bool good = !catalog_query_parse(&q, &a, str_c(text), &e) &&
                (facets ? !catalog_facets(c, &q, &a, &f, &e) : !catalog_find(c, &q, &a, &p, &e));
    *ms = now() - from;
    *total = p.total;
    if (!good) printf("%s: %s\n", text, e.text);
    arena_fini(&a);
    return good;
}

static void measure(struct catalog *c, const char *text)
{
    double best[2] = {1e9, 1e9}, worst[2] = {0};
    uint64_t total = 0, other;
    for (int i = 0; i < 2 * RUNS; i++) {
        double ms;
        if (!run(c, text, i % 2, &ms, i % 2 ? &other : &total)) return;
        if (ms < best[i % 2]) best[i % 2] = ms;
        if (ms > worst[i % 2]) worst[i % 2] = ms;
    }
    printf("  %8.2f %8.2f  %8.2f %8.2f  %8llu  %s\n", best[0], worst[0], best[1], worst[1],
           (unsigned long long)total, text);
}

static bool fill(struct catalog *c, uint32_t n, uint64_t seed)
{
    double made = 0, put = 0;
    struct err_info e;
    for (uint32_t i = 0; i < n; i++) {
        struct hub_model m;
        struct arena a;
        arena_init(&a, MIB(1));
        double from = now();
        catalogue_model(&m, &a, seed, i);
        double between = now();
        enum err err = catalog_put(c, &m, NULL, &e);
        put += now() - between;
        made += between - from;
        arena_fini(&a);
        if (err) {
            printf("%s\n", e.text);
            return false;
        }
    }
    printf("put        %8.1f ms  %zu models, %zu sets (making them up: %.0f ms)\n", put,
           catalog_count(c), catalog_sets(c), made);
    return true;
}

static bool fill_from(struct catalog *c, const char *path)
{
    double parse = 0, put = 0;
    struct err_info e;
    size_t bad = 0;
    struct map f;
    if (map_open(&f, path, &e)) {
        printf("%s\n", e.text);
        return false;
    }
    str rest = {(const char *)f.p, f.n};
    while (rest.n) {
        str line = str_cut(rest, '\n', &rest);
        const struct json *v;
        struct hub_model m;
        struct arena a;
        arena_init(&a, MIB(64));
        double from = now();
        bool good = !json_parse(&a, line, &v, &e) && !hub_parse(&m, &a, v, &e);
        double between = now();
        good = good && !catalog_put(c, &m, NULL, &e);
        put += now() - between;
        parse += between - from;
        if (!good && !bad++) printf("%s\n", e.text);
        arena_fini(&a);
    }
    map_close(&f);
    printf("parse      %8.1f ms\nput        %8.1f ms  %zu models, %zu sets; %zu refused\n", parse,
           put, catalog_count(c), catalog_sets(c), bad);
    return true;
}

int main(int argc, char **argv)
{
    bool file = argc > 1 && str_ends(str_c(argv[1]), S(".jsonl"));
    uint32_t n = argc > 1 && !file ? (uint32_t)strtoul(argv[1], NULL, 10) : 40000;
    uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 10) : 1, total;
    struct catalog_device machines[CATALOGUE_MACHINES];
    const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    struct catalog *c = catalog_new();
    struct err_info e;
    struct arena a;
    arena_init(&a, MIB(64));
    if (!c || !catalogue_machines(machines, &a) ||
        !(file ? fill_from(c, argv[1]) : fill(c, n, seed)))
        return 1;
    for (size_t k = 1; k <= CATALOGUE_MACHINES; k += 2) {
        double from = now();
        if (catalog_judge(c, machines, k, &ask, &e)) return 1;
        printf("judge      %8.1f ms  on %zu machine%s\n", now() - from, k, k == 1 ? "" : "s");
    }
    double ms;
    if (!run(c, "ctx=16384&slots=4", false, &ms, &total)) return 1;
    printf("first page %8.1f ms  ctx=16384&slots=4\n", ms);
    if (!run(c, "ctx=16384&slots=4", false, &ms, &total)) return 1;
    printf("the next   %8.1f ms\n", ms);
    printf("\n  page: best, worst   facets: best, worst    shown  query (ms)\n");
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
        measure(c, queries[i]);
    catalog_free(c);
    arena_fini(&a);
    return 0;
}
