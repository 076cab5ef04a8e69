/* fuzz_gguf: arbitrary bytes as a GGUF file: parsed, read as a model, compiled, fused and printed.
 *
 * The bytes are parsed twice: as a whole file, and as the beginning of a longer one.
 */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/gguf.h"
#include "model/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool all_ops(enum op op, enum dtype w)
{
    (void)op;
    (void)w;
    return true;
}

static void compile(const struct gguf *g, struct arena *a)
{
    struct plan_source src = gguf_source(g);
    struct err_info e;
    struct meta m;
    struct plan p;
    buf out = {.cap = MIB(4)};

    if (meta_from_gguf(&m, a, g, &e) || plan_build(&p, a, &m, &src, &e)) return;
    plan_explain(&p, false, &out);
    if (!plan_fuse(&p, a, all_ops, &e)) plan_explain(&p, true, &out);
    buf_fini(&out);
}

static void look_up(const struct gguf *g, struct arena *a)
{
    struct err_info e;

    for (uint64_t i = 0; i < g->n_kv; i++) {
        const str *strs;
        const float *f;
        const int32_t *ints;
        char key[64];
        uint32_t u = 0;
        float x = 0;
        size_t n;
        str s;

        if (g->kv[i].key.n >= sizeof key) continue;
        memcpy(key, g->kv[i].key.p, g->kv[i].key.n);
        key[g->kv[i].key.n] = 0;
        ASSERT(gguf_find(g, key) == &g->kv[i]);
        (void)!gguf_get_u32(g, key, &u, &e);
        (void)!gguf_get_f32(g, key, &x, &e);
        (void)!gguf_get_str(g, key, &s, &e);
        (void)!gguf_get_strs(g, key, &strs, &n, &e);
        (void)!gguf_get_f32s(g, a, key, &f, &n, &e);
        (void)!gguf_get_i32s(g, a, key, &ints, &n, &e);
    }
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];

        ASSERT(gguf_tensor(g, t->name) == t);
        /* The first block of every tensor lies in the file. */
        if (t->data && dtype_info(t->dtype)->dequant) {
            float x[256];

            dtype_dequant(t->dtype, t->data, x, dtype_info(t->dtype)->elems);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint64_t sizes[2] = {size, 0};

    for (int i = 0; i < 2; i++) {
        struct arena a;
        struct gguf g;
        struct err_info e;
        uint64_t need = 0;
        enum err r;

        arena_init(&a, MIB(64));
        r = gguf_parse(&g, &a, data, size, sizes[i], &need, &e);
        if (!r) {
            look_up(&g, &a);
            compile(&g, &a);
        } else {
            ASSERT(e.code == r && e.text[0]);
            ASSERT(r != ERR_LIMIT || need > size);
        }
        arena_fini(&a);
    }
    return 0;
}
