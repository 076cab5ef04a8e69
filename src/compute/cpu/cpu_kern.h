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

/* ---- arrays ---- */

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

#include "compute/cpu/cpu_kern_act.h"
#include "compute/cpu/cpu_kern_kv.h"
#include "compute/cpu/cpu_kern_recur.h"

/* ---- norms ---- */

INLINE float sum_of_squares(const float *x, uint32_t n)
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
    return vf_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static void rmsnorm(float *y, const float *x, const float *w, uint32_t n, float eps)
{
    vf inv = vf_set(1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps));
    if (w)
        MAP(y, n, AT(x) * inv * AT(w));
    else
        MAP(y, n, AT(x) * inv);
}

static void l2norm(float *y, const float *x, uint32_t n, float eps)
{
    float length = sqrtf(sum_of_squares(x, n));
    scale(y, x, 1.0f / (length > eps ? length : eps), n);
}

static float sum(const float *x, uint32_t n)
{
    vf part[2] = {{0}, {0}};
    uint32_t j = 0;
    for (; j + 2 * VW <= n; j += 2 * VW) {
        part[0] += vf_load(x + j);
        part[1] += vf_load(x + j + VW);
    }
    for (; j < n; j += VW)
        part[0] += vf_load_n(x + j, n - j < VW ? n - j : VW);
    return vf_sum(part[0] + part[1]);
}

static void layernorm(float *y, const float *x, const float *const wb[2], uint32_t n, float eps)
{
    const float *w = wb[0], *b = wb[1];
    vf mean = vf_set(sum(x, n) / (float)n);
    MAP(y, n, AT(x) - mean);
    vf inv = vf_set(1.0f / sqrtf(sum_of_squares(y, n) / (float)n + eps));
    if (w && b)
        MAP(y, n, vf_fma(AT(y) * inv, AT(w), AT(b)));
    else if (w)
        MAP(y, n, AT(y) * inv * AT(w));
    else if (b)
        MAP(y, n, vf_fma(AT(y), inv, AT(b)));
    else
        MAP(y, n, AT(y) * inv);
}

/* ---- rotation ---- */

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

const struct cpu_vec KERN = {
    .name = KERN_NAME,
    KERN_KV,
    KERN_ACT,
    KERN_RECUR,
    .rmsnorm = rmsnorm,
    .layernorm = layernorm,
    .l2norm = l2norm,
    .sum = sum,
    .rope_pairs = rope_pairs,
    .rope_halves = rope_halves,
};
