/* test_dtype: the table, the half-float conversions, and dequantised values against llama.cpp's. */
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

        same += dtype_from_ggml(i->ggml_id) == (enum dtype)t &&
                dtype_from_name(str_c(i->name)) == (enum dtype)t && i->bytes > 0 && i->elems > 0;
    }
    is_int(same, DTYPE_COUNT, "every type is found by id and by name");
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
    ok(!dtype_info(DTYPE_IQ1_S)->dequant && dtype_info(DTYPE_IQ4_XS)->dequant, "who can be run");
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
    test_golden();
    return tap_end();
}
