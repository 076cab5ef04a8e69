/* fuzz_hub: arbitrary bytes as a reply of the Hub: an entry, a list, and as a word for a family.
 * What can be read is judged, by a worker that runs half of everything. */
#include "base/json.h"
#include "base/limits.h"
#include "model/hub.h"
#include "model/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void half_caps(struct caps *c, struct arena *a)
{
    size_t n;
    const struct family *all = family_all(&n);
    struct caps_family *f = ARENA_NEW(a, struct caps_family, n);
    int16_t *rows = ARENA_NEW(a, int16_t, n);
    *c = (struct caps){.id = S("worker"),
                       .formats = 1u << FILENAME_GGUF | 1u << FILENAME_SAFETENSORS,
                       .families = f,
                       .rows = rows,
                       .n_rows = rows ? n : 0,
                       .max_ctx = 32768,
                       .max_slots = 16};
    for (size_t i = 0; f && rows && i < n; i++) {
        rows[i] = i % 2 ? -1 : (int16_t)c->n_families;
        if (i % 2 == 0) f[c->n_families++].family = &all[i];
    }
    for (int i = 0; i < DTYPE_COUNT; i++)
        c->dtype[i] = c->kv[i] = i % 3 != 0;
}

static void judge(struct arena *a, const struct hub_model *m)
{
    struct verdict_device d = {.name = S("box"), .memory = GIB(4), .bandwidth = 1e9};
    struct verdict_ask ask = {.n_ctx = 8192, .n_slots = 2, .ktype = DTYPE_F16, .vtype = DTYPE_F16};
    struct verdict v;
    struct caps c;
    half_caps(&c, a);
    verdict_hub(&v, a, m, SIZE_MAX, &c, &d, &ask);
    ASSERT((v.why == JUDGE_RUNS) == (v.compatible && v.fits));
    ASSERT((v.why == JUDGE_RUNS) == (v.reasons.n == 0));
    ASSERT((v.why == JUDGE_MEMORY) == (v.short_by != 0));
    ASSERT(v.compatible == verdict_is_model_compatible(a, m, &c));
    for (size_t i = 0; i < m->n_sets && i < 8; i++) {
        verdict_hub(&v, a, m, i, &c, &d, &ask);
        ASSERT((v.why == JUDGE_RUNS) == (v.reasons.n == 0));
    }
}

static void one(struct arena *a, const struct json *v)
{
    struct err_info e = {0};
    struct hub_model m;
    struct jsonw w;
    const struct json *back;
    buf out = {.cap = MIB(64)};
    enum err err = hub_parse(&m, a, v, &e);
    if (err) {
        ASSERT(e.code == err && e.text[0]);
        return;
    }
    for (size_t i = 0; i < m.n_sets; i++) {
        ASSERT(m.sets[i].first < m.n_files && m.sets[i].n_files >= 1);
        ASSERT(m.files[m.sets[i].first].set == i);
    }
    judge(a, &m);
    jsonw_init(&w, &out);
    hub_write(&m, &w);
    if (!out.failed) ASSERT(!json_parse(a, buf_view(&out), &back, &e));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = {(const char *)data, size};
    const struct json *v;
    struct err_info e;
    struct arena a;
    arena_init(&a, MIB(64));
    (void)hub_family(text);
    if (!json_parse(&a, text, &v, &e)) {
        one(&a, v);
        for (size_t i = 0; v->type == JSON_ARR && i < v->n && i < 16; i++)
            one(&a, &v->items[i]);
    }
    arena_fini(&a);
    return 0;
}
