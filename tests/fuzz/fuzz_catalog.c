/* fuzz_catalog: arbitrary bytes as a query of the index, and as a model that is put into it.
 *
 * A query that is taken has one canonical form, which reads back as itself; its pages are within
 * their limits, follow each other in order, and are not longer than they say in total; its facets
 * count no more than there is. */
#include "../catalogue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROWS 60

static struct catalog *made(void)
{
    static struct catalog *c;
    static struct arena a;
    struct catalog_device d[CATALOGUE_MACHINES];
    const struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16};
    struct err_info e;
    if (c) return c;
    arena_init(&a, MIB(256));
    c = catalog_new();
    ASSERT(c && catalogue_machines(d, &a));
    for (uint32_t i = 0; i < ROWS; i++) {
        struct hub_model m;
        catalogue_model(&m, &a, 4, i);
        ASSERT(!catalog_put(c, &m, NULL, &e));
    }
    ASSERT(!catalog_judge(c, d, CATALOGUE_MACHINES, &ask, &e));
    return c;
}

static void write_all(const struct catalog_page *p, const struct catalog_query *q,
                      const struct catalog_facets *f, struct arena *a)
{
    buf out = {.cap = MIB(16)};
    struct jsonw w;
    struct err_info e;
    const struct json *v;
    jsonw_init(&w, &out);
    jsonw_arr(&w);
    catalog_write_page(p, q, &w);
    catalog_write_facets(f, &w);
    jsonw_end(&w, ']');
    ASSERT(!out.failed && !json_parse(a, buf_view(&out), &v, &e));
    buf_fini(&out);
}

static void ask(const struct catalog_query *q, struct arena *a)
{
    struct catalog *c = made();
    struct catalog_page p, next;
    struct catalog_facets f;
    struct err_info e = {0};
    if (catalog_find(c, q, a, &p, &e)) {
        ASSERT(e.code == ERR_INVALID && e.text[0]);
        return;
    }
    ASSERT(p.total + p.hidden <= ROWS && p.n <= p.total && (p.n || !p.next.n));
    ASSERT(!catalog_facets(c, q, a, &f, &e));
    for (size_t i = 0; i < f.n; i++)
        for (size_t k = 0; k < f.v[i].n; k++)
            ASSERT(f.v[i].v[k].count <= ROWS);
    write_all(&p, q, &f, a);
    if (!p.next.n) return;
    struct catalog_query then = *q;
    then.cursor = p.next;
    then.given |= (uint64_t)1 << CATALOG_CURSOR;
    ASSERT(!catalog_find(c, &then, a, &next, &e) && next.n && next.total == p.total);
    ASSERT(!str_eq(next.rows[0].id, p.rows[p.n - 1].id));
}

static void query(const struct catalog_query *q, struct arena *a)
{
    buf one = {.cap = LIMIT_INDEX_QUERY}, two = {.cap = LIMIT_INDEX_QUERY};
    struct catalog_query again;
    struct err_info e;
    catalog_query_write(q, &one);
    ASSERT(!one.failed);
    ASSERT(!catalog_query_parse(&again, a, buf_view(&one), &e));
    catalog_query_write(&again, &two);
    ASSERT(str_eq(buf_view(&one), buf_view(&two)));
    ask(q, a);
    buf_fini(&one);
    buf_fini(&two);
}

static void model(const struct json *v, struct arena *a)
{
    struct catalog *c = made();
    struct hub_model m;
    struct catalog_row row;
    struct err_info e;
    if (hub_parse(&m, a, v, &e)) return;
    /* Those that are there stay. */
    if (!m.id.n || !catalog_get(c, NULL, m.id, a, &row, &e) || catalog_put(c, &m, NULL, &e)) return;
    ASSERT(!catalog_get(c, NULL, m.id, a, &row, &e) && str_eq(row.id, m.id) && row.judged);
    ASSERT(catalog_remove(c, m.id) && catalog_count(c) == ROWS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = {(const char *)data, size};
    struct catalog_query q;
    struct err_info e = {0};
    const struct json *v;
    struct arena a;
    arena_init(&a, MIB(64));
    if (!catalog_query_parse(&q, &a, text, &e))
        query(&q, &a);
    else
        ASSERT(e.code && e.text[0]);
    if (!json_parse(&a, text, &v, &e)) {
        if (!catalog_query_json(&q, &a, v, &e)) query(&q, &a);
        model(v, &a);
    }
    arena_fini(&a);
    return 0;
}
