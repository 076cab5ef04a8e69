/* fuzz_verdict: arbitrary bytes as a request to the judge, and as the header of a model that a
 * worker which can do everything is asked about. */
#include "base/limits.h"
#include "model/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void all_caps(struct caps *c, struct arena *a)
{
    size_t n;
    const struct family *all = family_all(&n);
    struct caps_family *f = ARENA_NEW(a, struct caps_family, n);
    int16_t *rows = ARENA_NEW(a, int16_t, n);
    *c = (struct caps){.id = S("worker"),
                       .formats = 1u << FILENAME_GGUF,
                       .families = f,
                       .rows = rows,
                       .n_rows = rows ? n : 0,
                       .max_ctx = LIMIT_MODEL_CONTEXT,
                       .max_slots = LIMIT_SLOTS};
    for (int i = 0; i < OP_COUNT; i++)
        c->op[i] = true;
    for (int i = 0; i < DTYPE_COUNT; i++)
        c->dtype[i] = c->kv[i] = true;
    for (; f && rows && c->n_families < n; c->n_families++) {
        f[c->n_families].family = &all[c->n_families];
        rows[c->n_families] = (int16_t)c->n_families;
    }
}

static void header(struct arena *a, const uint8_t *data, size_t size)
{
    struct verdict_device d = {
        .name = S("box"), .memory = GIB(1), .bandwidth = 1e9, .compute = 1e9};
    struct verdict_ask ask = {.ktype = DTYPE_F16, .vtype = DTYPE_Q8_0};
    struct err_info e;
    struct verdict v;
    struct caps c;
    struct gguf g;
    uint64_t need;
    if (gguf_parse(&g, a, data, size, 0, &need, &e)) return;
    all_caps(&c, a);
    verdict_header(&v, a, &g, &c, &d, &ask);
    ASSERT(v.compatible ? v.confidence != VERDICT_NONE : v.confidence == VERDICT_NONE);
    ASSERT(v.compatible || (!v.fits && v.reasons.n));
    ASSERT((v.short_by != 0) == (v.compatible && !v.fits));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_info e = {0};
    struct arena a;
    buf out = {.cap = MIB(16)};
    arena_init(&a, MIB(64));
    enum err err = verdict_call(&a, (str){(const char *)data, size}, &out, &e);
    ASSERT(!err || (e.code == err && e.text[0]));
    header(&a, data, size);
    buf_fini(&out);
    arena_fini(&a);
    return 0;
}
