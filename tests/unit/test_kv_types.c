/* test_kv_types: what each type of KV cache does to the logits of a trained model.
 *
 * The model that ships has heads of 64. Its logits over a text, with a cache of each type, are held
 * against those with a cache of F32: the error must lie within what was measured, and must be
 * there, for a type that is not rounded is not used.
 */
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"
#include "engine/engine.h"
#include "tap.h"

static const char text[] =
    "Once upon a time there was a little fox who lived in the forest. One day the fox met a bird "
    "and they went to play near the river. The bird said that it was late, and so they both ran "
    "home before the dark came. At home the mother of the fox had made a soup.";

struct rows {
    float *p;
    uint32_t n, width;
};

static void keep(uint32_t i, const float *row, void *owner)
{
    struct rows *r = owner;
    memcpy(r->p + (size_t)i * r->width, row, r->width * sizeof *row);
    r->n = i + 1;
}

/* The logits of the text; `n` is 0 when something failed. */
static struct rows logits(const struct backend *be, enum dtype k, enum dtype v)
{
    struct engine_conf conf = {.backend = be,
                               .n_threads = 1,
                               .n_ctx = 256,
                               .n_slots = 1,
                               .max_out = 64,
                               .ktype = k,
                               .vtype = v};
    struct engine *en = NULL;
    struct arena a;
    struct err_info e;
    struct rows r = {0};
    int32_t *ids;
    size_t n;
    arena_init(&a, 1 << 20);
    enum err err = engine_open(&en, RBEE_SOURCE_DIR "/models/rbee-tiny.gguf", &conf, &e);
    if (!err) err = tok_encode(engine_tok(en), &a, str_c(text), TOK_ADD_SPECIAL, &ids, &n, &e);
    if (!err) {
        r.width = engine_width(en);
        r.p = mem_need(n * r.width * sizeof *r.p);
        err = engine_eval(en, ids, (uint32_t)n, keep, &r, &e);
    }
    if (err) printf("# %s\n", e.text);
    engine_close(en);
    arena_fini(&a);
    return r;
}

static void test_type(const struct backend *be, const struct rows *want, enum dtype k, enum dtype v,
                      const double bound[2])
{
    struct rows got = logits(be, k, v);
    double err = 0, power = 0;
    bool good = got.n == want->n && got.n > 50;
    for (size_t i = 0; good && i < (size_t)got.n * got.width; i++) {
        double d = (double)got.p[i] - (double)want->p[i];
        err += d * d;
        power += (double)want->p[i] * (double)want->p[i];
    }
    double nmse = err / power;
    ok(good && nmse >= bound[0] && nmse <= bound[1], "%s: keys %s, values %s: NMSE %.1e", be->name,
       dtype_info(k)->name, dtype_info(v)->name, nmse);
    mem_free(got.p);
}

int main(void)
{
    static const struct {
        enum dtype k, v;
        double bound[2];
    } cases[] = {
        {DTYPE_F16, DTYPE_F16, {1e-9, 1e-7}},   {DTYPE_BF16, DTYPE_BF16, {1e-7, 4e-6}},
        {DTYPE_Q8_0, DTYPE_Q8_0, {1e-6, 4e-5}}, {DTYPE_Q4_0, DTYPE_Q4_0, {5e-4, 6e-3}},
        {DTYPE_F16, DTYPE_Q8_0, {1e-6, 4e-5}},  {DTYPE_Q8_0, DTYPE_Q4_0, {3e-4, 5e-3}},
        {DTYPE_Q4_0, DTYPE_BF16, {3e-4, 5e-3}},
    };
    static const struct backend *const backends[] = {&ref_backend, &cpu_backend};
    for (int b = 0; b < 2; b++) {
        struct rows want = logits(backends[b], DTYPE_F32, DTYPE_F32);
        ok(want.n > 0, "%s: the model runs", backends[b]->name);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            test_type(backends[b], &want, cases[i].k, cases[i].v, cases[i].bound);
        mem_free(want.p);
    }
    return tap_end();
}
