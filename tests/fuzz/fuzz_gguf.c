/* fuzz_gguf: arbitrary bytes as a GGUF file: parsed, read as a model, compiled, fused and printed.
 *
 * The bytes are parsed twice: as a whole file, and as the beginning of a longer one. Half of the
 * mutations know the format: they change a number among the metadata, a dimension, a type or an
 * offset of a tensor, or the architecture, and leave the rest as it is, because random bytes hardly
 * ever get past the container.
 */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/gguf.h"
#include "model/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
/* libFuzzer's own mutations; not there when a corpus is replayed. */
extern size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));

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

    if (meta_from_gguf(&m, a, g, &e) ||
        plan_build(&p, a, &m, &src, &(struct plan_conf){.want = plan_want_of(&m)}, &e))
        return;
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
        /* The first and the last block of every tensor lie in the file. */
        if (t->data && dtype_info(t->dtype)->dequant) {
            const struct dtype_info *d = dtype_info(t->dtype);
            float x[256];

            dtype_dequant(t->dtype, t->data, x, d->elems);
            dtype_dequant(t->dtype, t->data + t->bytes - d->bytes, x, d->elems);
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

/* ---- mutations that know the format ---- */

static const uint64_t numbers[] = {0,
                                   1,
                                   2,
                                   3,
                                   4,
                                   5,
                                   7,
                                   8,
                                   16,
                                   32,
                                   33,
                                   64,
                                   96,
                                   127,
                                   128,
                                   256,
                                   1000,
                                   0x7fffffff,
                                   0x80000000u,
                                   0xffffffffu,
                                   (uint64_t)1 << 32,
                                   (uint64_t)1 << 40,
                                   INT64_MAX,
                                   (uint64_t)1 << 63,
                                   UINT64_MAX};

static uint64_t draw(uint64_t *state, uint64_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return n ? (*state >> 33) % n : 0;
}

static void overwrite(uint8_t *at, size_t width, uint64_t *state)
{
    uint64_t v = 0;

    memcpy(&v, at, width);
    switch (draw(state, 4)) {
    case 0: v += draw(state, 9) - 4; break;
    case 1: v ^= (uint64_t)1 << draw(state, 8 * width); break;
    default: v = numbers[draw(state, sizeof numbers / sizeof *numbers)]; break;
    }
    memcpy(at, &v, width);
}

/* One value among the metadata; of an array one element. */
static bool change_key(uint8_t *data, const struct gguf *g, uint64_t *state)
{
    const struct gguf_kv *kv = g->n_kv ? &g->kv[draw(state, g->n_kv)] : NULL;
    size_t width;

    if (!kv || kv->elem == GGUF_STR || kv->count == 0) return false;
    width = kv->bytes / kv->count;
    overwrite(data + (kv->data - data) + draw(state, kv->count) * width, width, state);
    return true;
}

/* One field of a tensor's entry, which follows its name: dimensions, type, offset. */
static bool change_tensor(uint8_t *data, size_t size, const struct gguf *g, uint64_t *state)
{
    const struct gguf_tensor *t = g->n_tensors ? &g->tensors[draw(state, g->n_tensors)] : NULL;
    size_t at, field;

    if (!t) return false;
    at = (size_t)((const uint8_t *)t->name.p - data) + t->name.n;
    field = draw(state, t->n_dims + 3);
    if (field == 0) /* the number of dimensions */
        field = at;
    else
        at += 4, field = at + (field <= t->n_dims ? 8 * (field - 1) : 8 * t->n_dims);
    if (field + 12 > size) return false;
    overwrite(data + field, draw(state, 2) ? 4 : 8, state);
    return true;
}

/* Another family, where its name is as long. */
static bool change_family(uint8_t *data, size_t size, const struct gguf *g, uint64_t *state)
{
    const struct gguf_kv *kv = gguf_find(g, "general.architecture");
    size_t n;
    const struct family *f = family_all(&n);
    str now = kv && kv->type == GGUF_STR ? kv->strs[0] : S("");
    str then = str_c(f[draw(state, n)].name);
    char old[64];

    if (now.n == 0 || now.n != then.n || now.n > sizeof old) return false;
    memcpy(old, now.p, now.n);
    for (size_t at = 0; at + then.n <= size; at++)
        if (!memcmp(data + at, old, then.n)) memcpy(data + at, then.p, then.n);
    return true;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    uint64_t state = seed;
    struct arena a;
    struct err_info e;
    struct gguf g;
    bool done = false;

    arena_init(&a, MIB(64));
    if (draw(&state, 2) && !gguf_parse(&g, &a, data, size, 0, &(uint64_t){0}, &e)) {
        switch (draw(&state, 8)) {
        case 0: done = change_family(data, size, &g, &state); break;
        case 1:
        case 2:
        case 3: done = change_tensor(data, size, &g, &state); break;
        default: done = change_key(data, &g, &state); break;
        }
    }
    arena_fini(&a);
    return done ? size : LLVMFuzzerMutate(data, size, max);
}
