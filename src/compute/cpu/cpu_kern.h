/* cpu_kern: the vector functions of the CPU back end, written once for any width.
 *
 * Included by cpu_generic.c, cpu_avx2.c and cpu_avx512.c and by nothing else. Before, each defines
 *
 *   VW                 lanes                     KERN(name)   the struct cpu_vec to define
 *   TILE               rows of a gemm pass       KERN_NAME    its name as a string
 *   vf                 VW floats, a vector type of the compiler; vu the same of uint32_t
 *   vf_fma(a, b, c)    a * b + c rounded once (generic: twice)
 *   vf_max(a, b), vf_min(a, b)   b where either is NaN
 *   vf_half(p)         VW float16 from p         vf_to_half(p, v)   and back, nearest even
 *
 * Sums run over lanes first and over a vector last, so results differ between widths by rounding.
 * Tails go through a zeroed vector: nothing is read or written beyond an array.
 */
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

INLINE vf vf_load_n(const float *p, uint64_t n)
{
    vf v = {0};
    memcpy(&v, p, n * sizeof(float));
    return v;
}

INLINE void vf_store_n(float *p, vf v, uint64_t n)
{
    memcpy(p, &v, n * sizeof(float));
}

INLINE vf vf_set(float x)
{
    return x - (vf){0};
}

INLINE float vf_sum(vf v)
{
    float lane[VW], sum = 0;
    memcpy(lane, &v, sizeof v);
    for (int n = VW / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            lane[i] += lane[i + n];
    sum = lane[0];
    return sum;
}

INLINE float vf_top(vf v)
{
    float lane[VW];
    memcpy(lane, &v, sizeof v);
    for (int n = VW / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            lane[i] = lane[i] >= lane[i + n] ? lane[i] : lane[i + n];
    return lane[0];
}

/* exp to about 1 ulp: 2^n * e^r with r within half of ln 2, e^r by the polynomial of Cephes' expf.
 * Clamped to [-87.3, 88], where results are normal floats; NaN stays NaN. Adding 1.5 * 2^23 rounds
 * to an integer and leaves it in the low bits. */
INLINE vf vf_exp(vf x)
{
    const vf magic = vf_set(12582912.0f);
    x = vf_min(vf_set(88.0f), vf_max(vf_set(-87.3f), x));
    vf shifted = vf_fma(x, vf_set(1.44269504088896341f), magic);
    vf n = shifted - magic;
    vf r = vf_fma(n, vf_set(-0.693359375f), x);
    r = vf_fma(n, vf_set(2.12194440e-4f), r);
    vf p = vf_set(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set(5.0000001201e-1f));
    p = vf_fma(p, r * r, r) + vf_set(1.0f);
    vu bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    vf power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* ---- gemm ---- */

/* Written out by row rather than looped over, so that every compiler keeps `acc` in registers. */
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define ROW_LOAD(r)                                                                                \
    if (r < rows) {                                                                                \
        acc[r][0] = vf_load(c + r * ldc);                                                          \
        if (vecs > 1) acc[r][1] = vf_load(c + r * ldc + VW);                                       \
    }
#define ROW_ZERO(r) acc[r][0] = acc[r][1] = (vf){0};
#define ROW_STEP(r)                                                                                \
    if (r < rows) {                                                                                \
        vf x = vf_set(a[(size_t)r * CPU_LD + k]);                                                  \
        acc[r][0] = vf_fma(x, b0, acc[r][0]);                                                      \
        if (vecs > 1) acc[r][1] = vf_fma(x, b1, acc[r][1]);                                        \
    }
#define ROW_STORE(r)                                                                               \
    if (r < rows) {                                                                                \
        vf_store(c + r * ldc, acc[r][0]);                                                          \
        if (vecs > 1) vf_store(c + r * ldc + VW, acc[r][1]);                                       \
    }

INLINE vf b_load(const char *b, bool half, int v)
{
    return half ? vf_half((const uint16_t *)(const void *)b + v * VW)
                : vf_load((const float *)(const void *)b + v * VW);
}

/* The block of c at (row, col), rows x (vecs * VW), held in registers over all of k. */
INLINE void tile(const struct cpu_gemm *g, uint32_t row, uint32_t col, bool half, const int rows,
                 const int vecs)
{
    vf acc[12][2];
    size_t size = half ? 2 : 4, step = g->n * size, ldc = g->ldc;
    uint32_t n = g->k;
    const float *a = g->a + (size_t)row * CPU_LD;
    const char *b = (const char *)g->b + col * size, *next = (const char *)g->next + col * size;
    float *c = g->c + row * ldc + col;
    EACH_ROW(ROW_ZERO)
    if (g->onto) {
        EACH_ROW(ROW_LOAD)
    }
    for (uint32_t k = 0; k < n; k++) {
        vf b0 = b_load(b, half, 0), b1 = vecs > 1 ? b_load(b, half, 1) : b0;
        __builtin_prefetch(next);
        if (!half && VW == 16 && vecs == 2) __builtin_prefetch(next + 64);
        EACH_ROW(ROW_STEP)
        b += step;
        next += step;
    }
    EACH_ROW(ROW_STORE)
}

/* A function for each height, so that each has the registers to itself. Heights above TILE are
 * never called and are made small. */
typedef void tile_fn(const struct cpu_gemm *g, uint32_t row, uint32_t col, bool pair);

#define TILE_FN(R, name, half)                                                                     \
    static __attribute__((noinline)) void name##_##R(const struct cpu_gemm *g, uint32_t row,       \
                                                     uint32_t col, bool pair)                      \
    {                                                                                              \
        if (pair)                                                                                  \
            tile(g, row, col, half, R <= TILE ? R : 1, 2);                                         \
        else if (VW == 16)                                                                         \
            tile(g, row, col, half, R <= TILE ? R : 1, 1);                                         \
    }

#define TILE_FNS(name, half)                                                                       \
    TILE_FN(1, name, half)                                                                         \
    TILE_FN(2, name, half)                                                                         \
    TILE_FN(3, name, half)                                                                         \
    TILE_FN(4, name, half)                                                                         \
    TILE_FN(5, name, half)                                                                         \
    TILE_FN(6, name, half)                                                                         \
    TILE_FN(7, name, half)                                                                         \
    TILE_FN(8, name, half)                                                                         \
    TILE_FN(9, name, half)                                                                         \
    TILE_FN(10, name, half)                                                                        \
    TILE_FN(11, name, half)                                                                        \
    TILE_FN(12, name, half)                                                                        \
    static tile_fn *const name[13] = {NULL,      name##_1,  name##_2, name##_3, name##_4,          \
                                      name##_5,  name##_6,  name##_7, name##_8, name##_9,          \
                                      name##_10, name##_11, name##_12};

TILE_FNS(tile_f32, false)
TILE_FNS(tile_f16, true)

/* As few passes over b as TILE allows, of even heights. */
static void gemm(const struct cpu_gemm *g, tile_fn *const *tiles)
{
    uint32_t passes = (g->rows + TILE - 1) / TILE;
    for (uint32_t p = 0; p < passes; p++) {
        uint32_t row = p * g->rows / passes, rows = (p + 1) * g->rows / passes - row, col = 0;
        for (; col + 2 * VW <= g->n; col += 2 * VW)
            tiles[rows](g, row, col, true);
        if (col < g->n) tiles[rows](g, row, col, false);
    }
}

static void gemm_f32(const struct cpu_gemm *g)
{
    gemm(g, tile_f32);
}

static void gemm_f16(const struct cpu_gemm *g)
{
    gemm(g, tile_f16);
}

/* ---- softmax ---- */

static float softmax(float *s, uint32_t n, uint32_t n_all, float *sum)
{
    uint32_t whole = n / VW * VW, rest = n - whole;
    float top = s[0];
    vf most = vf_set(s[0]), total = {0};
    for (uint32_t i = 0; i < whole; i += VW)
        most = vf_max(most, vf_load(s + i));
    top = vf_top(most);
    for (uint32_t i = whole; i < n; i++)
        if (!(top >= s[i])) top = s[i];
    for (uint32_t i = 0; i < whole; i += VW) {
        vf e = vf_exp(vf_load(s + i) - vf_set(top));
        total += e;
        vf_store(s + i, e);
    }
    if (rest) {
        vf e = vf_exp(vf_load_n(s + whole, rest) - vf_set(top)), kept = {0};
        memcpy(&kept, &e, rest * sizeof(float));
        total += kept;
        vf_store(s + whole, kept);
        whole += VW;
    }
    for (uint32_t i = whole; i < n_all; i += VW)
        vf_store(s + i, (vf){0});
    *sum = vf_sum(total);
    return top;
}

static float exp1(float x)
{
    return vf_exp(vf_set(x))[0];
}

/* ---- rows ---- */

/* Runs EXPR, of a vector at `i` made with AT(p), over n elements into y. */
#define MAP(y, n, EXPR)                                                                            \
    do {                                                                                           \
        uint64_t i = 0;                                                                            \
        for (; i + VW <= (n); i += VW) {                                                           \
            const uint64_t left = VW;                                                              \
            vf_store((y) + i, (EXPR));                                                             \
        }                                                                                          \
        if (i < (n)) {                                                                             \
            const uint64_t left = (n)-i;                                                           \
            vf_store_n((y) + i, (EXPR), left);                                                     \
        }                                                                                          \
    } while (0)
#define AT(p) (left == VW ? vf_load((p) + i) : vf_load_n((p) + i, left))

static void blend(float *o, float a, const float *x, float b, uint32_t n)
{
    MAP(o, n, vf_fma(AT(x), vf_set(b), AT(o) * vf_set(a)));
}

static void add(float *y, const float *a, const float *b, uint64_t n)
{
    MAP(y, n, AT(a) + AT(b));
}

static void scale(float *y, const float *x, float by, uint64_t n)
{
    MAP(y, n, AT(x) * vf_set(by));
}

static void rmsnorm(float *y, const float *x, const float *w, uint32_t n, float eps)
{
    vf sum[4] = {{0}, {0}, {0}, {0}};
    uint32_t j = 0;
    for (; j + 4 * VW <= n; j += 4 * VW) {
        for (uint32_t v = 0; v < 4; v++) {
            vf t = vf_load(x + j + v * VW);
            sum[v] = vf_fma(t, t, sum[v]);
        }
    }
    for (; j < n; j += VW) {
        vf t = vf_load_n(x + j, n - j < VW ? n - j : VW);
        sum[0] = vf_fma(t, t, sum[0]);
    }
    vf inv = vf_set(1.0f / sqrtf(vf_sum((sum[0] + sum[1]) + (sum[2] + sum[3])) / (float)n + eps));
    if (w)
        MAP(y, n, AT(x) * inv * AT(w));
    else
        MAP(y, n, AT(x) * inv);
}

INLINE vf sigmoid(vf x)
{
    return vf_set(1.0f) / (vf_set(1.0f) + vf_exp(-x));
}

/* 0.5 x (1 + tanh u) is x sigmoid(2 u); sqrt(2 / pi) and 0.044715 are of Hendrycks and Gimpel 2016.
 */
INLINE vf gelu(vf x)
{
    vf cubic = vf_fma(x * x, x * vf_set(0.044715f), x);
    return x * sigmoid(cubic * vf_set(2 * 0.79788456080286536f));
}

static void glu_silu(float *y, const float *g, const float *u, uint64_t n)
{
    MAP(y, n, AT(g) * sigmoid(AT(g)) * AT(u));
}

static void glu_gelu_tanh(float *y, const float *g, const float *u, uint64_t n)
{
    MAP(y, n, gelu(AT(g)) * AT(u));
}

static void glu_gelu_erf(float *y, const float *g, const float *u, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        y[i] = 0.5f * g[i] * (1.0f + erff(g[i] * 0.70710678118654752f)) * u[i];
}

static void glu_relu(float *y, const float *g, const float *u, uint64_t n)
{
    MAP(y, n, vf_max((vf){0}, AT(g)) * AT(u));
}

static void rope_pairs(float *restrict x, const float *restrict c, const float *restrict s,
                       uint32_t half)
{
    for (uint32_t j = 0; j < half; j++) {
        float a = x[2 * j], b = x[2 * j + 1];
        x[2 * j] = a * c[j] - b * s[j];
        x[2 * j + 1] = a * s[j] + b * c[j];
    }
}

static void rope_halves(float *restrict x, const float *restrict c, const float *restrict s,
                        uint32_t half)
{
    for (uint32_t j = 0; j < half; j++) {
        float a = x[j], b = x[j + half];
        x[j] = a * c[j] - b * s[j];
        x[j + half] = a * s[j] + b * c[j];
    }
}

static void to_f16(uint16_t *y, const float *x, uint64_t n)
{
    uint64_t i = 0;
    uint16_t rest[VW];
    for (; i + VW <= n; i += VW)
        vf_to_half(y + i, vf_load(x + i));
    if (i < n) {
        vf_to_half(rest, vf_load_n(x + i, n - i));
        memcpy(y + i, rest, (n - i) * sizeof *y);
    }
}

static void from_f16(float *y, const uint16_t *x, uint64_t n)
{
    uint64_t i = 0;
    uint16_t rest[VW] = {0};
    for (; i + VW <= n; i += VW)
        vf_store(y + i, vf_half(x + i));
    if (i < n) {
        memcpy(rest, x + i, (n - i) * sizeof *x);
        vf_store_n(y + i, vf_half(rest), n - i);
    }
}

const struct cpu_vec KERN = {
    .name = KERN_NAME,
    .tile = TILE,
    .gemm_f32 = gemm_f32,
    .gemm_f16 = gemm_f16,
    .softmax = softmax,
    .blend = blend,
    .exp1 = exp1,
    .rmsnorm = rmsnorm,
    .glu =
        {
            [ACT_SILU] = glu_silu,
            [ACT_GELU_TANH] = glu_gelu_tanh,
            [ACT_GELU_ERF] = glu_gelu_erf,
            [ACT_RELU] = glu_relu,
        },
    .add = add,
    .scale = scale,
    .rope_pairs = rope_pairs,
    .rope_halves = rope_halves,
    .to_f16 = to_f16,
    .from_f16 = from_f16,
};
