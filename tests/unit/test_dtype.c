/* test_dtype: the table, the conversions of small floats, and dequantised values against
 * llama.cpp's.
 */
#include "tap.h"

#include <dirent.h>

#include "model/blocks.h"
#include "model/dtype.h"
#include "model/gguf.h"

static void test_table(void)
{
    char text[48];
    uint64_t bytes;
    int same = 0;

    for (int t = 0; t < DTYPE_COUNT; t++) {
        const struct dtype_info *i = dtype_info((enum dtype)t);
        enum dtype by_id = t < DTYPE_F8_E4M3 ? (enum dtype)t : DTYPE_COUNT;

        same += dtype_from_ggml(i->ggml_id) == by_id &&
                dtype_from_name(str_c(i->name)) == (enum dtype)t && i->bytes > 0 && i->elems > 0;
    }
    is_int(same, DTYPE_COUNT, "every type is found by name and, where GGUF has it, by id");
    is_int(dtype_info(DTYPE_Q4_K)->bytes, 144, "bytes of a q4_K block");
    is_int(dtype_from_name(S("Q4_k")), DTYPE_Q4_K, "names fold case");
    is_int(dtype_from_name(S("q4")), DTYPE_COUNT, "no such name");
    is_int(dtype_from_ggml(4), DTYPE_COUNT, "id 4 was removed");
    ok(strstr(dtype_ggml_name(137, text), "ik_llama"), "a private id has a name: %s", text);
    ok(!strcmp(dtype_ggml_name(12, text), "q4_K"), "a known id has its name");
    ok(strstr(dtype_ggml_name(UINT32_MAX, text), "unknown"), "any id has a name: %s", text);
    ok(dtype_row_bytes(DTYPE_Q6_K, 512, &bytes) && bytes == 420, "bytes of a row");
    ok(!dtype_row_bytes(DTYPE_Q6_K, 100, &bytes), "not a whole number of blocks");
    ok(!dtype_row_bytes(DTYPE_F64, UINT64_MAX / 4, &bytes), "overflow");
    for (int t = same = 0; t < DTYPE_COUNT; t++)
        same += !dtype_info((enum dtype)t)->dequant;
    ok(same == 4 && !dtype_info(DTYPE_I8)->dequant && !dtype_info(DTYPE_I64)->dequant,
       "every type but the integers can be run");
}

static float bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t unbits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

/* Every half survives the way to float and back; rounding goes to the nearest, ties to even. */
static void test_halves(void)
{
    int bad = 0;

    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = dtype_f16_to_f32((uint16_t)h);
        bool nan = (h & 0x7fff) > 0x7c00;

        bad += nan ? !isnan(f) || !isnan(dtype_f16_to_f32(dtype_f32_to_f16(f)))
                   : dtype_f32_to_f16(f) != h;
    }
    is_int(bad, 0, "65,536 halves survive the round trip");
    bad = 0;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float lo = dtype_f16_to_f32((uint16_t)h), hi = dtype_f16_to_f32((uint16_t)(h + 1));
        float mid = (lo + hi) / 2;
        uint32_t even = h % 2 ? h + 1 : h;

        bad += !(lo < hi) || dtype_f32_to_f16(mid) != even ||
               dtype_f32_to_f16(bits(unbits(mid) - 1)) != h ||
               dtype_f32_to_f16(bits(unbits(mid) + 1)) != h + 1 ||
               dtype_f32_to_f16(-mid) != (even | 0x8000);
    }
    is_int(bad, 0, "every midpoint of two halves rounds to even, its neighbours to the nearest");
    ok(dtype_f16_to_f32(1) == 0x1p-24f && dtype_f16_to_f32(0x3c00) == 1.0f &&
           dtype_f16_to_f32(0x7bff) == 65504.0f,
       "known halves");
    ok(dtype_f32_to_f16(65519.99f) == 0x7bff && dtype_f32_to_f16(65520.0f) == 0x7c00 &&
           dtype_f32_to_f16(INFINITY) == 0x7c00 && dtype_f32_to_f16(-1e30f) == 0xfc00,
       "overflow becomes infinity");
    ok(dtype_f32_to_bf16(1.0f) == 0x3f80 && dtype_bf16_to_f32(0x3f80) == 1.0f, "bf16 one");
    ok(dtype_f32_to_bf16(bits(0x3f808000)) == 0x3f80 &&
           dtype_f32_to_bf16(bits(0x3f818000)) == 0x3f82 &&
           dtype_f32_to_bf16(bits(0x3f808001)) == 0x3f81,
       "bf16 rounds to nearest even");
    ok(isnan(dtype_bf16_to_f32(dtype_f32_to_bf16(bits(0x7f800001)))), "a bf16 NaN stays one");
}

/* ---- every code of every block type ----
 *
 * 1,024 blocks of random bytes whose half-float scales are powers of two, so that each value is
 * exact whatever the order of multiplications; the digests are those of ggml's own functions fed
 * with the same bytes. */

static const struct {
    enum dtype t;
    uint8_t half[2]; /* byte offsets of half floats in a block, plus one */
    uint64_t digest;
} known[] = {
    /* clang-format off */
    {DTYPE_Q4_0, {1}, 0x1dd605da4cec86b1},
    {DTYPE_Q4_1, {1, 3}, 0x926de0765c4a5bfe},
    {DTYPE_Q5_0, {1}, 0x002d70227275744f},
    {DTYPE_Q5_1, {1, 3}, 0x493552d9ebd86484},
    {DTYPE_Q8_0, {1}, 0x91950152f816ed0f},
    {DTYPE_Q2_K, {81, 83}, 0x7de95c56de843d1d},
    {DTYPE_Q3_K, {109}, 0x2484b3aeb33cf6b1},
    {DTYPE_Q4_K, {1, 3}, 0xc0ddb12897f44dbf},
    {DTYPE_Q5_K, {1, 3}, 0xfa47a91b7996e0b0},
    {DTYPE_Q6_K, {209}, 0xd656df88e90c846f},
    {DTYPE_IQ2_XXS, {1}, 0x88430abaf3ef6cf3},
    {DTYPE_IQ2_XS, {1}, 0xbc62ffc99cf9a378},
    {DTYPE_IQ3_XXS, {1}, 0xb0caa4768f3c7560},
    {DTYPE_IQ1_S, {1}, 0x921a4917886b9b75},
    {DTYPE_IQ4_NL, {1}, 0xa92738b11e44658e},
    {DTYPE_IQ3_S, {1}, 0xb2c27e2de044e700},
    {DTYPE_IQ2_S, {1}, 0x6c5f58a0f8c17653},
    {DTYPE_IQ4_XS, {1}, 0xd0934ec3ea040700},
    {DTYPE_IQ1_M, {0}, 0xe2d457fef48d286d},
    {DTYPE_TQ1_0, {53}, 0xa87b72115bb2dda4},
    {DTYPE_TQ2_0, {65}, 0x6130b1468c6b6a24},
    {DTYPE_MXFP4, {0}, 0x168259470993e017},
    {DTYPE_NVFP4, {0}, 0x98f334e926374536},
    {DTYPE_Q1_0, {1}, 0xb0f2e0fe401b9645},
    {DTYPE_Q2_0, {1}, 0xe6ca1406bc9db7a9},
    /* clang-format on */
};

static uint32_t rnd(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* A power of two between 2^-3 and 2^3 or its negative. */
static uint16_t random_half(uint64_t *state)
{
    uint32_t v = rnd(state);

    return (uint16_t)((12 + v % 7) << 10 | (v >> 8 & 1) << 15);
}

static void random_block(size_t k, uint64_t *state, uint8_t *b)
{
    for (uint32_t i = 0; i < dtype_info(known[k].t)->bytes; i++)
        b[i] = (uint8_t)rnd(state);
    for (int i = 0; i < 2 && known[k].half[i]; i++) {
        uint16_t h = random_half(state);

        memcpy(b + known[k].half[i] - 1, &h, sizeof h);
    }
    if (known[k].t == DTYPE_IQ1_M) {
        uint16_t h = random_half(state);

        for (int w = 0; w < 4; w++)
            b[49 + 2 * w] = (uint8_t)((b[49 + 2 * w] & 15) | (h >> (4 * w) & 15) << 4);
    }
}

static uint64_t digest(size_t k)
{
    uint64_t state = 1, d = 14695981039346656037u;
    static uint8_t block[300];
    static float v[256];

    for (int n = 0; n < 1024; n++) {
        random_block(k, &state, block);
        dtype_dequant(known[k].t, block, v, dtype_info(known[k].t)->elems);
        for (uint32_t i = 0; i < dtype_info(known[k].t)->elems; i++) {
            uint32_t u = unbits(v[i]);

            d = (d ^ (u == 0x80000000 ? 0 : u)) * 1099511628211u;
            d ^= d >> 29;
        }
    }
    return d;
}

static void test_digests(void)
{
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        uint64_t d = digest(k);

        ok(d == known[k].digest, "%s: all values of 1,024 random blocks (%016llx)",
           dtype_info(known[k].t)->name, (unsigned long long)d);
    }
}

/* 8-bit floats by the tables of OCP's specification: only E5M2 has infinities. */
static void test_floats8(void)
{
    static const struct {
        uint8_t code;
        float want;
    } e4m3[] = {{0x00, 0},      {0x01, 0x1p-9f}, {0x07, 0x7p-9f}, {0x08, 0x1p-6f}, {0x38, 1},
                {0x39, 1.125f}, {0x7e, 448},     {0xb8, -1},      {0x81, -0x1p-9f}},
      e5m2[] = {{0x00, 0},     {0x01, 0x1p-16f}, {0x04, 0x1p-14f}, {0x3c, 1},        {0x3d, 1.25f},
                {0x7b, 57344}, {0x7c, INFINITY}, {0xbc, -1},       {0xfc, -INFINITY}};
    int bad = 0;
    float got;

    for (size_t i = 0; i < sizeof e4m3 / sizeof *e4m3; i++) {
        dtype_dequant(DTYPE_F8_E4M3, &e4m3[i].code, &got, 1);
        bad += got != e4m3[i].want;
        dtype_dequant(DTYPE_F8_E5M2, &e5m2[i].code, &got, 1);
        bad += got != e5m2[i].want;
    }
    is_int(bad, 0, "8-bit floats: subnormal, normal, largest, negative");
    bad = 0;
    for (int i = 0; i < 256; i++) {
        uint8_t code = (uint8_t)i;

        dtype_dequant(DTYPE_F8_E4M3, &code, &got, 1);
        bad += isnan(got) != ((code & 0x7f) == 0x7f);
        dtype_dequant(DTYPE_F8_E5M2, &code, &got, 1);
        bad += isnan(got) != ((code & 0x7f) > 0x7c);
    }
    is_int(bad, 0, "8-bit floats: which codes are NaN");
}

/* ---- golden ---- */

static bool near(float got, float want)
{
    return fabsf(got - want) <= 1e-6f * fabsf(want) || got == want;
}

static void compare(const struct gguf *g, const char *path, str name, int count[DTYPE_COUNT])
{
    const struct gguf_tensor *t = gguf_tensor(g, name);
    static float want[1024], got[1024];
    size_t n, bad = 0;
    FILE *f;

    if (!t) {
        ok(false, "%s: no such tensor", path);
        return;
    }
    if (!dtype_info(t->dtype)->dequant) return;
    f = fopen(path, "rb");
    n = f ? fread(want, sizeof *want, 1024, f) : 0;
    if (f) fclose(f);
    dtype_dequant(t->dtype, t->data, got, n);
    for (size_t i = 0; i < n; i++)
        bad += !near(got[i], want[i]);
    count[t->dtype]++;
    if (n == 0 || bad) ok(false, "%s: %zu of %zu values differ", path, bad, n);
}

static void test_golden(void)
{
    const char *root = tap_data("golden");
    int count[DTYPE_COUNT] = {0};
    struct dirent *x, *y;
    DIR *d = root ? opendir(root) : NULL;

    if (!d) {
        skip("no golden data");
        return;
    }
    while ((x = readdir(d))) {
        char path[2048];
        struct gguf g;
        struct err_info e;
        DIR *in;

        snprintf(path, sizeof path, "%s/%s", root, x->d_name);
        if (x->d_name[0] == '.' || !(in = opendir(path))) continue;
        snprintf(path, sizeof path, "%s/%s/model.gguf", root, x->d_name);
        if (gguf_open(&g, path, &e)) {
            ok(false, "%s", e.text);
            closedir(in);
            continue;
        }
        while ((y = readdir(in))) {
            str s = str_c(y->d_name);

            if (!str_starts(s, S("deq.")) || !str_ends(s, S(".f32"))) continue;
            snprintf(path, sizeof path, "%s/%s/%s", root, x->d_name, y->d_name);
            compare(&g, path, str_sub(s, 4, s.n - 8), count);
        }
        gguf_close(&g);
        closedir(in);
    }
    closedir(d);
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (count[t]) ok(true, "%s: %d tensors equal", dtype_info((enum dtype)t)->name, count[t]);
}

int main(void)
{
    test_table();
    test_halves();
    test_digests();
    test_floats8();
    test_golden();
    return tap_end();
}
