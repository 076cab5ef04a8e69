/* test_quant: quantise, dequantise, and hold the error against what each type is known for. */
#include "tap.h"

#include "base/mem.h"
#include "model/quant.h"

enum { ROWS = 64, COLS = 1024, N = ROWS * COLS };

/* Normal deviates, deterministic (Box-Muller over an LCG of Knuth's MMIX). */
static float normal(uint64_t *state)
{
    double u[2];

    for (int i = 0; i < 2; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        u[i] = ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
    }
    return (float)(sqrt(-2 * log(u[0])) * cos(6.283185307179586 * u[1]));
}

/* Upper bounds of NMSE on N(0, 0.02): measured here, a tenth on top. */
static const struct {
    enum dtype t;
    double nmse;
} known[] = {
    {DTYPE_F32, 0},        {DTYPE_F64, 0},       {DTYPE_F16, 5e-8},      {DTYPE_BF16, 3.1e-6},
    {DTYPE_Q8_0, 3.2e-5},  {DTYPE_Q8_1, 3.2e-5}, {DTYPE_Q8_K, 5.4e-5},   {DTYPE_Q6_K, 3.3e-4},
    {DTYPE_Q5_0, 1.8e-3},  {DTYPE_Q5_1, 1.3e-3}, {DTYPE_Q5_K, 1.5e-3},   {DTYPE_Q4_0, 7.3e-3},
    {DTYPE_Q4_1, 5.5e-3},  {DTYPE_Q4_K, 5.7e-3}, {DTYPE_IQ4_NL, 6.2e-3}, {DTYPE_IQ4_XS, 6.4e-3},
    {DTYPE_MXFP4, 1.5e-2}, {DTYPE_Q3_K, 2.3e-2}, {DTYPE_Q2_K, 8.1e-2},
};

static double nmse(const float *x, const float *y, size_t n)
{
    double err = 0, sum = 0;

    for (size_t i = 0; i < n; i++) {
        err += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
        sum += (double)x[i] * (double)x[i];
    }
    return sum > 0 ? err / sum : err;
}

static float *x, *y;
static uint8_t *blocks;

static void round_trip(enum dtype t, size_t n)
{
    uint64_t bytes;

    if (!dtype_row_bytes(t, n, &bytes)) return;
    memset(blocks, 0xa5, bytes + 16);
    quant_row(t, x, blocks, n);
    if (blocks[bytes] != 0xa5) printf("# %s wrote past its row\n", dtype_info(t)->name);
    dtype_dequant(t, blocks, y, n);
}

static void test_error(void)
{
    uint64_t seed = 1;

    for (int i = 0; i < N; i++)
        x[i] = 0.02f * normal(&seed);
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        double got;

        round_trip(known[k].t, N);
        got = nmse(x, y, N);
        ok(got <= known[k].nmse, "%s: NMSE %.3g, at most %.3g", dtype_info(known[k].t)->name, got,
           known[k].nmse);
    }
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (quant_has((enum dtype)t) && !dtype_info((enum dtype)t)->dequant)
            ok(false, "%s can be written but not read", dtype_info((enum dtype)t)->name);
}

/* Zeros stay zeros; constants, one outlier, and values of either sign keep their scale. */
static void test_edges(void)
{
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        enum dtype t = known[k].t;
        const char *name = dtype_info(t)->name;
        bool zero = true, finite = true;

        memset(x, 0, 512 * sizeof *x);
        round_trip(t, 512);
        for (int i = 0; i < 512; i++)
            zero = zero && y[i] == 0;
        ok(zero, "%s: zeros stay zeros", name);
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int i = 0; i < 512; i++)
                x[i] = (float)sign * 0.37f;
            round_trip(t, 512);
            ok(nmse(x, y, 512) < 0.02, "%s: a constant of sign %d survives", name, sign);
        }
        memset(x, 0, 512 * sizeof *x);
        x[5] = -3;
        x[300] = 5;
        round_trip(t, 512);
        ok(fabsf(y[5] + 3) < 0.5f && fabsf(y[300] - 5) <= 1 && fabsf(y[6]) < 0.2f,
           "%s: outliers survive", name);
        for (int i = 0; i < 512; i++)
            x[i] = i % 7 ? 1e38f : i % 2 ? NAN : -INFINITY;
        round_trip(t, 512);
        quant_row(t, x, blocks, 512);
        for (int i = 0; i < 512; i++)
            x[i] = (float)i * 1e-38f;
        round_trip(t, 512);
        for (int i = 0; i < 512; i++)
            finite = finite && isfinite(y[i]);
        ok(finite, "%s: tiny values give finite ones", name);
    }
}

/* A dequantised block quantises to itself, or nearly: the codes are a fixed point. */
static void test_again(void)
{
    uint64_t seed = 7;

    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        for (int i = 0; i < COLS; i++)
            x[i] = normal(&seed);
        round_trip(known[k].t, COLS);
        memcpy(x, y, COLS * sizeof *x);
        round_trip(known[k].t, COLS);
        ok(nmse(x, y, COLS) <= known[k].nmse / 4, "%s: again, NMSE %.2g",
           dtype_info(known[k].t)->name, nmse(x, y, COLS));
    }
}

int main(void)
{
    x = mem_need(N * sizeof *x);
    y = mem_need(N * sizeof *y);
    blocks = mem_need(N * sizeof(double) + 16);
    test_error();
    test_edges();
    test_again();
    mem_free(x);
    mem_free(y);
    mem_free(blocks);
    return tap_end();
}
