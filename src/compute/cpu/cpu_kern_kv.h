/* cpu_kern_kv: the vector functions of attention and its cache, a part of cpu_kern.h.
 *
 * Beside what cpu_kern.h asks for, each instruction set defines
 *
 *   vf_bf16(p)       VW bfloat16 from p
 *   vf_i8(p)         VW signed bytes from p
 *   vf_u4(p, shift)  of VW bytes from p the four bits at `shift`, less 8
 */

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

/* What b is made of. Codes are multiplied by scale: of keys [k / 32][n], of values [k][n / 32]. */
enum kv_kind { KV_F32, KV_F16, KV_BF16, KV_Q8_KEYS, KV_Q8_VALUES };

INLINE vf b_load(const char *b, enum kv_kind kind, int v)
{
    if (kind == KV_F16) return vf_half((const uint16_t *)(const void *)b + v * VW);
    if (kind == KV_BF16) return vf_bf16((const uint16_t *)(const void *)b + v * VW);
    if (kind == KV_F32) return vf_load((const float *)(const void *)b + v * VW);
    return vf_i8((const int8_t *)b + v * VW);
}

/* The block of c at (row, col), rows x (vecs * VW), held in registers over all of k. */
INLINE void tile(const struct cpu_gemm *g, uint32_t row, uint32_t col, enum kv_kind kind,
                 const int rows, const int vecs)
{
    vf acc[12][2];
    const bool keys = kind == KV_Q8_KEYS, values = kind == KV_Q8_VALUES;
    size_t size = kind == KV_F32 ? 4 : keys || values ? 1 : 2, step = g->n * size, ldc = g->ldc;
    uint32_t n = g->k;
    const float *a = g->a + (size_t)row * CPU_LD;
    const char *b = (const char *)g->b + col * size, *next = (const char *)g->next + col * size;
    const float *scale = keys ? g->scale + col : values ? g->scale + col / 32 : NULL;
    vf s0 = {0}, s1 = {0};
    float *c = g->c + row * ldc + col;
    EACH_ROW(ROW_ZERO)
    if (g->onto) {
        EACH_ROW(ROW_LOAD)
    }
    for (uint32_t k = 0; k < n; k++) {
        vf b0 = b_load(b, kind, 0), b1 = vecs > 1 ? b_load(b, kind, 1) : b0;
        if (keys && k % 32 == 0) {
            s0 = vf_load(scale + k);
            if (vecs > 1) s1 = vf_load(scale + k + VW);
        } else if (values) {
            s0 = s1 = vf_set(scale[k * (g->n / 32)]);
        }
        if (keys || values) {
            b0 = b0 * s0;
            b1 = b1 * s1;
        }
        __builtin_prefetch(next);
        if (kind == KV_F32 && VW == 16 && vecs == 2) __builtin_prefetch(next + 64);
        EACH_ROW(ROW_STEP)
        b += step;
        next += step;
    }
    EACH_ROW(ROW_STORE)
}

/* A function for each height, so that each has the registers to itself. Heights above TILE are
 * never called and are made small. */
typedef void tile_fn(const struct cpu_gemm *g, uint32_t row, uint32_t col, bool pair);

#define TILE_FN(R, name, kind)                                                                     \
    static __attribute__((noinline)) void name##_##R(const struct cpu_gemm *g, uint32_t row,       \
                                                     uint32_t col, bool pair)                      \
    {                                                                                              \
        if (pair)                                                                                  \
            tile(g, row, col, kind, R <= TILE ? R : 1, 2);                                         \
        else if (VW == 16)                                                                         \
            tile(g, row, col, kind, R <= TILE ? R : 1, 1);                                         \
    }

#define TILE_FNS(name, kind)                                                                       \
    TILE_FN(1, name, kind)                                                                         \
    TILE_FN(2, name, kind)                                                                         \
    TILE_FN(3, name, kind)                                                                         \
    TILE_FN(4, name, kind)                                                                         \
    TILE_FN(5, name, kind)                                                                         \
    TILE_FN(6, name, kind)                                                                         \
    TILE_FN(7, name, kind)                                                                         \
    TILE_FN(8, name, kind)                                                                         \
    TILE_FN(9, name, kind)                                                                         \
    TILE_FN(10, name, kind)                                                                        \
    TILE_FN(11, name, kind)                                                                        \
    TILE_FN(12, name, kind)                                                                        \
    static tile_fn *const name[13] = {NULL,      name##_1,  name##_2, name##_3, name##_4,          \
                                      name##_5,  name##_6,  name##_7, name##_8, name##_9,          \
                                      name##_10, name##_11, name##_12};

TILE_FNS(tile_f32, KV_F32)
TILE_FNS(tile_f16, KV_F16)
TILE_FNS(tile_bf16, KV_BF16)
TILE_FNS(tile_q8_keys, KV_Q8_KEYS)
TILE_FNS(tile_q8_values, KV_Q8_VALUES)

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

static void gemm_bf16(const struct cpu_gemm *g)
{
    gemm(g, tile_bf16);
}

static void gemm_q8_keys(const struct cpu_gemm *g)
{
    gemm(g, tile_q8_keys);
}

static void gemm_q8_values(const struct cpu_gemm *g)
{
    gemm(g, tile_q8_values);
}

/* ---- lines of the cache to float32 ---- */

INLINE void widen_plain(const struct cpu_widen *w, enum kv_kind kind)
{
    const char *b = w->b, *next = w->next;
    uint64_t n = (uint64_t)w->k * w->n;
    for (uint64_t i = 0; i < n; i += 16) {
        for (uint64_t v = 0; v < 16; v += VW)
            vf_store(w->y + i + v, b_load(b + (i + v) * 2, kind, 0));
        __builtin_prefetch(next + i * 2);
    }
}

static void widen_f16(const struct cpu_widen *w)
{
    widen_plain(w, KV_F16);
}

static void widen_bf16(const struct cpu_widen *w)
{
    widen_plain(w, KV_BF16);
}

/* 32 codes of `bytes` at p, times s[0], or s[i] for vector i. */
INLINE void widen_codes(float *y, const char *p, const vf *s, bool each, const int bits)
{
    const uint8_t *u = (const uint8_t *)p;
    for (int i = 0; i < 32 / VW; i++) {
        vf code = bits == 8 ? vf_i8((const int8_t *)p + i * VW)
                            : vf_u4(u + i * VW % 16, i * VW < 16 ? 0 : 4);
        vf_store(y + i * VW, code * s[each ? i : 0]);
    }
}

/* Lines of 32 keys: a line of scales for 32 lines. */
INLINE void widen_keys(const struct cpu_widen *w, const int bits)
{
    const uint16_t *scale = w->scale;
    const char *b = w->b, *next = w->next;
    float *y = w->y;
    for (uint32_t k = 0; k < w->k; k += 32, scale += 32) {
        vf s[32 / VW];
        for (int i = 0; i < 32 / VW; i++)
            s[i] = vf_half(scale + i * VW);
        for (uint32_t line = 0; line < 32; line++, y += 32, b += 4 * bits, next += 4 * bits) {
            widen_codes(y, b, s, true, bits);
            __builtin_prefetch(next);
        }
    }
}

/* Lines of n values: a scale for 32 of a line. */
INLINE void widen_values(const struct cpu_widen *w, const int bits)
{
    const uint16_t *scale = w->scale;
    const char *b = w->b, *next = w->next;
    uint64_t groups = (uint64_t)w->k * (w->n / 32);
    float s[VW];
    for (uint64_t g = 0; g < groups; g++, b += 4 * bits, next += 4 * bits) {
        if (g % VW == 0) vf_store(s, vf_half(scale + g));
        vf one = vf_set(s[g % VW]);
        widen_codes(w->y + g * 32, b, &one, false, bits);
        __builtin_prefetch(next);
    }
}

static void widen_q8_keys(const struct cpu_widen *w)
{
    widen_keys(w, 8);
}

static void widen_q8_values(const struct cpu_widen *w)
{
    widen_values(w, 8);
}

static void widen_q4_keys(const struct cpu_widen *w)
{
    widen_keys(w, 4);
}

static void widen_q4_values(const struct cpu_widen *w)
{
    widen_values(w, 4);
}

/* ---- 32 floats to codes, to the bit as model/quant does it ---- */

/* The largest magnitude of those that are finite; 0 where that is next to nothing. */
static float largest_of_32(const float *x)
{
    vf top = {0};
    for (int i = 0; i < 32; i += VW) {
        vf v = vf_load(x + i), a = vf_max(v, -v);
        vu bits, finite;
        memcpy(&bits, &a, sizeof bits);
        finite = (vu)(bits < 0x7f800000u);
        bits &= finite;
        memcpy(&a, &bits, sizeof a);
        top = vf_max(top, a);
    }
    float most = vf_top(top);
    return most < 1e-30f ? 0 : most;
}

/* Rounds to even within lo .. hi; NaN becomes lo. */
INLINE vf round_within(vf v, float lo, float hi)
{
    const vf magic = vf_set(12582912.0f);
    vf near = vf_min(vf_max(v, vf_set(lo)), vf_set(hi)) + magic;
    return near - magic;
}

static uint16_t quant_q8_0(int8_t *q, const float *x)
{
    float d = largest_of_32(x) / 127, inverse = d > 0 ? 1 / d : 0, code[32];
    for (int i = 0; i < 32; i += VW)
        vf_store(code + i, round_within(vf_load(x + i) * vf_set(inverse), -127, 127));
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)code[i];
    return dtype_f32_to_f16(d);
}

#define FITS     19 /* scales that quant_fit() tries */
#define FIT_VECS ((FITS + VW - 1) / VW)

/* The scale that quant_fit() finds, with a lane for each of those it tries. top: the largest of x,
 * with its sign. */
static float fit_q4_0(const float *x, float top)
{
    float scale = 0, best = -1;
    float inverse[FIT_VECS * VW] = {0}, sum_xq[FIT_VECS * VW], sum_qq[FIT_VECS * VW];
    for (int t = 0; t < FITS; t++) {
        float more = 0.1f * (float)(t - FITS / 2); /* a statement of its own: no fused rounding */
        inverse[t] = -(8.0f + more) / top;
    }
    for (int v = 0; v < FIT_VECS; v++) {
        vf by = vf_load(inverse + v * VW), xq = {0}, qq = {0};
        for (int i = 0; i < 32; i++) {
            vf one = vf_set(x[i]), c = round_within(one * by, -8, 7), p = one * c, cc = c * c;
            xq = xq + p;
            qq = qq + cc;
        }
        vf_store(sum_xq + v * VW, xq);
        vf_store(sum_qq + v * VW, qq);
    }
    for (int t = 0; t < FITS; t++) {
        float xq = sum_xq[t], qq = sum_qq[t];
        if (!(qq > 0 && xq * xq > best * qq)) continue;
        best = xq * xq / qq;
        scale = xq / qq;
    }
    return scale;
}

static uint16_t quant_q4_0(int8_t *q, const float *from)
{
    const float reach = 1e9f; /* as quant_row() brings values into reach */
    float x[32], top = 0, scale, code[32];
    for (int i = 0; i < 32; i++)
        x[i] = isnan(from[i]) ? 0 : from[i] > reach ? reach : from[i] < -reach ? -reach : from[i];
    float most = largest_of_32(x);
    for (int i = 32; i-- > 0 && most > 0;)
        if (fabsf(x[i]) == most) top = x[i];
    scale = top == 0 ? 0 : fit_q4_0(x, top);
    uint16_t half = dtype_f32_to_f16(scale > 65504 ? 65504 : scale < -65504 ? -65504 : scale);
    float d = dtype_f16_to_f32(half), inverse = d < 0 || d > 0 ? 1 / d : 0;
    for (int i = 0; i < 32; i += VW)
        vf_store(code + i, round_within(vf_load(x + i) * vf_set(inverse), -8, 7));
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)code[i];
    return half;
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

static void blend(float *o, float a, const float *x, float b, uint32_t n)
{
    MAP(o, n, vf_fma(AT(x), vf_set(b), AT(o) * vf_set(a)));
}

INLINE vf alibi_one(vf s, vf away, float slope)
{
    return s - vf_set(slope) * vf_max(away, -away);
}

/* s -= slope * |at - i|, i the index: linear biases (Press et al. 2021). */
static void alibi(float *s, float slope, float at, uint32_t n)
{
    vf away;
    for (int l = 0; l < VW; l++)
        away[l] = at - (float)l;
    MAP(s, n, alibi_one(AT(s), away - vf_set((float)i), slope));
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

/* Round to nearest even; a NaN keeps its sign and is made quiet. */
static void to_bf16(uint16_t *y, const float *x, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += VW) {
        uint64_t left = n - i < VW ? n - i : VW;
        vf v = vf_load_n(x + i, left);
        vu bits, rounded, quiet;
        uint32_t lane[VW];
        memcpy(&bits, &v, sizeof bits);
        rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        quiet = bits >> 16 | 0x40u;
        vu nan = (vu)((bits & 0x7fffffffu) > 0x7f800000u);
        rounded = (rounded & ~nan) | (quiet & nan);
        memcpy(lane, &rounded, sizeof lane);
        for (uint64_t l = 0; l < left; l++)
            y[i + l] = (uint16_t)lane[l];
    }
}

#define KERN_KV                                                                                    \
    .tile = TILE, .gemm_f32 = gemm_f32, .gemm_f16 = gemm_f16, .gemm_bf16 = gemm_bf16,              \
    .gemm_q8_0 = {gemm_q8_keys, gemm_q8_values}, .widen_f16 = widen_f16, .widen_bf16 = widen_bf16, \
    .widen_q8_0 = {widen_q8_keys, widen_q8_values},                                                \
    .widen_q4_0 = {widen_q4_keys, widen_q4_values}, .quant_q8_0 = quant_q8_0,                      \
    .quant_q4_0 = quant_q4_0, .softmax = softmax, .blend = blend, .exp1 = exp1, .alibi = alibi,    \
    .to_f16 = to_f16, .to_bf16 = to_bf16
