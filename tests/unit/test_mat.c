/* test_mat: every type, isa, shape and epilogue of mat against a double precision oracle, and
 * mixtures of experts against a loop over their rows and slots.
 *
 * Weights are random blocks with sane scales, so no quantiser is needed. Two oracles: the exact
 * product of dequantised weights with activations that were rounded to int8 as mat.h promises
 * (tight), and with the unrounded activations (loose). Each matrix ends at a page that may not be
 * read.
 */
#include "compute/cpu/mat.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "compute/cpu/mat_int.h"
#include "tap.h"

enum act { F32, PER_32, PER_256 };

static const struct {
    enum dtype t;
    enum act act;
    uint8_t half[4]; /* byte offsets of half floats in a block, plus one; 0 ends */
} types[] = {
    /* clang-format off */
    {DTYPE_F32, F32, {0}},           {DTYPE_F16, F32, {1}},        {DTYPE_BF16, F32, {0}},
    {DTYPE_Q4_0, PER_32, {1}},       {DTYPE_Q4_1, PER_32, {1, 3}}, {DTYPE_Q5_0, PER_32, {1}},
    {DTYPE_Q5_1, PER_32, {1, 3}},    {DTYPE_Q8_0, PER_32, {1}},    {DTYPE_IQ4_NL, PER_32, {1}},
    {DTYPE_MXFP4, PER_32, {0}},
    {DTYPE_Q2_K, PER_256, {81, 83}}, {DTYPE_Q3_K, PER_256, {109}}, {DTYPE_Q4_K, PER_256, {1, 3}},
    {DTYPE_Q5_K, PER_256, {1, 3}},   {DTYPE_Q6_K, PER_256, {209}}, {DTYPE_IQ4_XS, PER_256, {1}},
    /* expanded to float32 */
    {DTYPE_F64, F32, {0}},           {DTYPE_Q8_1, F32, {1}},       {DTYPE_Q8_K, F32, {0}},
    {DTYPE_IQ1_S, F32, {1}},         {DTYPE_IQ1_M, F32, {0}},      {DTYPE_IQ2_XXS, F32, {1}},
    {DTYPE_IQ2_XS, F32, {1}},        {DTYPE_IQ2_S, F32, {1}},      {DTYPE_IQ3_XXS, F32, {1}},
    {DTYPE_IQ3_S, F32, {1}},         {DTYPE_TQ1_0, F32, {53}},     {DTYPE_TQ2_0, F32, {65}},
    {DTYPE_NVFP4, F32, {0}},         {DTYPE_Q1_0, F32, {1}},       {DTYPE_Q2_0, F32, {1}},
    {DTYPE_F8_E4M3, F32, {0}},       {DTYPE_F8_E5M2, F32, {0}},
    /* clang-format on */
};
#define N_TYPES (sizeof types / sizeof types[0])

static uint64_t seed = 88172645463325252u;

static uint32_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}

static float uniform(void)
{
    return (float)(rnd() >> 8) / 8388608.0f - 1.0f;
}

static float gauss(void)
{
    float s = 0;
    for (int i = 0; i < 12; i++)
        s += uniform();
    return s * 0.5f;
}

/* ---- memory that ends at a page which cannot be read ---- */

struct guarded {
    uint8_t *base, *p;
    size_t bytes;
};

static struct guarded guarded_new(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (n + page - 1) / page * page;
    struct guarded g = {.bytes = body + page};
    g.base = mmap(NULL, g.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.base == MAP_FAILED) abort();
    if (mprotect(g.base + body, page, PROT_NONE) != 0) abort();
    g.p = g.base + body - n;
    return g;
}

/* Makes what random bytes cannot be: scales that are neither halves nor any byte, plain floats. */
static void sane_block(enum dtype t, uint8_t *p)
{
    float f = gauss();
    double d = (double)f;
    uint16_t h = dtype_f32_to_bf16(f);
    switch (t) {
    case DTYPE_F32: memcpy(p, &f, sizeof f); break;
    case DTYPE_F64: memcpy(p, &d, sizeof d); break;
    case DTYPE_BF16: memcpy(p, &h, sizeof h); break;
    case DTYPE_Q8_K: memcpy(p, &f, sizeof f); break;
    case DTYPE_MXFP4: p[0] = (uint8_t)(120 + rnd() % 8); break;
    case DTYPE_IQ1_M: /* the top bits of four words: 1.0 */
        for (int i = 0; i < 4; i++)
            p[49 + 2 * i] = (uint8_t)((p[49 + 2 * i] & 15) | (0x3c00 >> (4 * i) & 15) << 4);
        break;
    case DTYPE_F8_E4M3: p[0] &= 0xf7; break;
    case DTYPE_F8_E5M2: p[0] &= 0xbf; break;
    default: break;
    }
}

static void random_blocks(size_t type, uint8_t *p, size_t rows, size_t cols)
{
    const struct dtype_info *t = dtype_info(types[type].t);
    size_t blocks = rows * cols / t->elems;
    for (size_t i = 0; i < blocks; i++, p += t->bytes) {
        for (size_t b = 0; b < t->bytes; b++)
            p[b] = (uint8_t)rnd();
        for (int h = 0; h < 4 && types[type].half[h]; h++) {
            float f = t->elems == 1 ? gauss() : uniform() * 0.1f + 0.02f;
            uint16_t v = dtype_f32_to_f16(f);
            memcpy(p + types[type].half[h] - 1, &v, sizeof v);
        }
        sane_block(types[type].t, p);
    }
}

/* ---- oracles ---- */

static void round_activations(enum act act, const float *x, float *out, size_t n)
{
    size_t step = act == PER_32 ? 32 : 256;
    for (size_t at = 0; at < n; at += step) {
        float m = 0;
        for (size_t i = 0; i < step; i++)
            m = fmaxf(m, fabsf(x[at + i]));
        for (size_t i = 0; i < step; i++) {
            float q = m > 0 ? rintf(x[at + i] * (127.0f / m)) : 0;
            out[at + i] = q * (m * (1.0f / 127.0f));
        }
    }
}

struct problem {
    size_t type, rows, cols, n;
    struct guarded g;
    float *w, *x, *xq;     /* dequantised [rows][cols]; [n][cols] */
    double *exact, *ideal; /* [n][rows] */
    double energy;         /* what the sum of squares of random results is expected to be */
};

static struct problem problem_new(size_t type, size_t rows, size_t cols, size_t n)
{
    struct problem p = {.type = type, .rows = rows, .cols = cols, .n = n};
    uint64_t row_bytes = 0;
    if (!dtype_row_bytes(types[type].t, cols, &row_bytes)) abort();
    p.g = guarded_new(rows * row_bytes);
    random_blocks(type, p.g.p, rows, cols);
    p.w = mem_array(rows * cols, sizeof(float));
    p.x = mem_array(n * cols, sizeof(float));
    p.xq = mem_array(n * cols, sizeof(float));
    p.exact = mem_array(n * rows, sizeof(double));
    p.ideal = mem_array(n * rows, sizeof(double));
    if (!p.w || !p.x || !p.xq || !p.exact || !p.ideal) abort();
    for (size_t r = 0; r < rows; r++)
        dtype_dequant(types[type].t, p.g.p + r * row_bytes, p.w + r * cols, cols);
    for (size_t i = 0; i < n * cols; i++)
        p.x[i] = gauss();
    if (types[type].act == F32)
        memcpy(p.xq, p.x, n * cols * sizeof(float));
    else
        round_activations(types[type].act, p.x, p.xq, n * cols);
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < rows; r++) {
            double e = 0, f = 0;
            for (size_t c = 0; c < cols; c++) {
                double w = (double)p.w[r * cols + c], v = w * (double)p.x[i * cols + c];
                p.energy += v * v;
                e += w * (double)p.xq[i * cols + c];
                f += v;
            }
            p.exact[i * rows + r] = e;
            p.ideal[i * rows + r] = f;
        }
    return p;
}

static void problem_free(struct problem *p)
{
    munmap(p->g.base, p->g.bytes);
    mem_free(p->w);
    mem_free(p->x);
    mem_free(p->xq);
    mem_free(p->exact);
    mem_free(p->ideal);
}

/* `energy` keeps a single result near zero from counting as a relative error. */
static double nmse(const double *want, const float *got, size_t n, double energy)
{
    double num = 0, den = energy + 1e-30;
    for (size_t i = 0; i < n; i++) {
        double d = want[i] - (double)got[i];
        num += d * d;
        den += want[i] * want[i];
    }
    return num / den;
}

/* ---- runs ---- */

static struct pool *pools[4];

static void *scratch_new(uint64_t n, uint64_t cols, uint64_t rows, uint32_t threads)
{
    void *s = mem_aligned(64, mat_scratch_bytes(n, cols, rows, threads));
    if (!s) abort();
    return s;
}

/* y is [n][rows + 3] with canaries in the last three columns. */
static bool run_one(const struct problem *p, enum mat_isa isa, uint32_t threads, float *y)
{
    size_t stride = p->rows + 3;
    struct mat_call c = {.x = p->x, .n = p->n, .cols = p->cols, .n_w = 1};
    c.w[0] = (struct mat_weight){
        .dtype = types[p->type].t, .w = p->g.p, .rows = p->rows, .y = y, .y_stride = stride};
    c.scratch = scratch_new(p->n, p->cols, p->rows, threads);
    for (size_t i = 0; i < p->n * stride; i++)
        y[i] = 1234.5f;
    mat_run(pools[threads], isa, &c);
    mem_free(c.scratch);
    bool intact = true;
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = p->rows; j < stride; j++)
            intact = intact && y[i * stride + j] == 1234.5f;
    for (size_t i = 1; i < p->n; i++)
        memmove(y + i * p->rows, y + i * stride, p->rows * 4);
    return intact;
}

static void test_shapes(size_t type, enum mat_isa isa)
{
    static const struct {
        uint16_t cols, rows;
    } k_shapes[] = {{256, 1}, {512, 13}, {768, 31}, {5632, 9}, {2048, 97}},
      b_shapes[] = {{32, 1}, {64, 5}, {96, 50}, {160, 33}, {352, 16}, {2048, 97}, {5632, 7}},
      f_shapes[] = {{1, 3}, {7, 17}, {33, 40}, {255, 16}, {640, 97}, {2048, 21}};
    static const uint8_t ns[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33};
    uint32_t elems = dtype_info(types[type].t)->elems;
    bool f = elems == 1, k = elems == 256;
    size_t n_shapes = k ? sizeof k_shapes / 4 : f ? sizeof f_shapes / 4 : sizeof b_shapes / 4;
    double worst = 0, loose = 0;
    bool intact = true, equal = true;
    for (size_t s = 0; s < n_shapes; s++) {
        size_t cols = k ? k_shapes[s].cols : f ? f_shapes[s].cols : b_shapes[s].cols;
        size_t rows = k ? k_shapes[s].rows : f ? f_shapes[s].rows : b_shapes[s].rows;
        bool expanded = types[type].act == F32 && types[type].t > DTYPE_F16 && cols > 2000;
        for (size_t i = 0; i < sizeof ns && cols % elems == 0; i += expanded ? 4 : 1) {
            struct problem p = problem_new(type, rows, cols, ns[i]);
            float *y = mem_array(ns[i] * (rows + 3), sizeof(float));
            float *y1 = mem_array(ns[i] * (rows + 3), sizeof(float));
            if (!y || !y1) abort();
            for (uint32_t threads = 1; threads <= 3; threads++) {
                intact = run_one(&p, isa, threads, y) && intact;
                double e = nmse(p.exact, y, p.n * rows, p.energy),
                       l = nmse(p.ideal, y, p.n * rows, p.energy);
                if (!(e <= 1e-10))
                    printf("# %s %s: cols %zu rows %zu n %u threads %u: %g\n",
                           dtype_info(types[type].t)->name, mat_isa_name(isa), cols, rows, ns[i],
                           threads, e);
                worst = e <= worst ? worst : e;
                if (rows > 8) loose = l <= loose ? loose : l;
                if (threads == 1)
                    memcpy(y1, y, p.n * rows * sizeof(float));
                else
                    equal = equal && memcmp(y1, y, p.n * rows * sizeof(float)) == 0;
            }
            mem_free(y);
            mem_free(y1);
            problem_free(&p);
        }
    }
    const char *name = dtype_info(types[type].t)->name;
    ok(worst <= 1e-10, "%s %s: exact to %.1e", name, mat_isa_name(isa), worst);
    ok(loose <= 5e-4, "%s %s: rounding of activations costs %.1e", name, mat_isa_name(isa), loose);
    ok(intact, "%s %s: nothing written beside y", name, mat_isa_name(isa));
    ok(equal, "%s %s: bit equal for 1, 2 and 3 threads", name, mat_isa_name(isa));
}

/* Groups of three weights of different types, bias, add. */
static void test_group(enum mat_isa isa, size_t n)
{
    static const enum dtype want[3] = {DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_Q8_0};
    struct problem p[3];
    size_t cols = 512, rows[3] = {40, 17, 64};
    float bias[64], *y[3];
    struct mat_call c = {.n = n, .cols = cols, .n_w = 3, .epilogue = MAT_ADD};
    double worst = 0;
    for (size_t i = 0; i < 64; i++)
        bias[i] = gauss();
    for (size_t i = 0; i < 3; i++) {
        size_t t = 0;
        while (types[t].t != want[i])
            t++;
        uint64_t keep = seed;
        p[i] = problem_new(t, rows[i], cols, n);
        seed = keep + 1;
        y[i] = mem_array(n * rows[i], sizeof(float));
        if (!y[i]) abort();
    }
    c.x = p[0].x;
    /* All weights share the first problem's activations: redo the other oracles with them. */
    for (size_t i = 1; i < 3; i++) {
        round_activations(types[p[i].type].act, p[0].x, p[i].xq, n * cols);
        for (size_t a = 0; a < n; a++)
            for (size_t r = 0; r < rows[i]; r++) {
                double e = 0;
                for (size_t k = 0; k < cols; k++)
                    e += (double)p[i].w[r * cols + k] * (double)p[i].xq[a * cols + k];
                p[i].exact[a * rows[i] + r] = e;
            }
    }
    for (size_t i = 0; i < 3; i++) {
        for (size_t a = 0; a < n * rows[i]; a++)
            y[i][a] = 0.5f;
        c.w[i] = (struct mat_weight){.dtype = want[i],
                                     .w = p[i].g.p,
                                     .rows = rows[i],
                                     .bias = i == 1 ? NULL : bias,
                                     .y = y[i],
                                     .y_stride = rows[i]};
    }
    c.scratch = scratch_new(n, cols, 64, 2);
    mat_run(pools[2], isa, &c);
    for (size_t i = 0; i < 3; i++) {
        for (size_t a = 0; a < n * rows[i]; a++)
            p[i].exact[a] += 0.5 + (i == 1 ? 0.0 : (double)bias[a % rows[i]]);
        double e = nmse(p[i].exact, y[i], n * rows[i], 0);
        worst = e <= worst ? worst : e;
    }
    ok(worst <= 1e-10, "%s: mixed group of three, n %zu, bias and add: %.1e", mat_isa_name(isa), n,
       worst);
    mem_free(c.scratch);
    for (size_t i = 0; i < 3; i++) {
        mem_free(y[i]);
        problem_free(&p[i]);
    }
}

static void test_silu(enum mat_isa isa, size_t n)
{
    size_t rows = 83, cols = 256, t = 0;
    while (types[t].t != DTYPE_Q4_0)
        t++;
    struct problem g = problem_new(t, rows, cols, n), u = problem_new(t, rows, cols, n);
    float *y = mem_array(n * rows, sizeof(float)), bias[83];
    double *want = mem_array(n * rows, sizeof(double)), worst = 0;
    if (!y || !want) abort();
    for (size_t i = 0; i < rows; i++)
        bias[i] = gauss();
    struct mat_call c = {.x = g.x, .n = n, .cols = cols, .n_w = 2, .epilogue = MAT_SILU_MUL};
    c.w[0] = (struct mat_weight){.dtype = DTYPE_Q4_0, .w = g.g.p, .rows = rows, .y = y};
    c.w[0].y_stride = rows;
    c.w[1] = c.w[0];
    c.w[1].w = u.g.p;
    c.w[1].y = NULL;
    c.w[1].bias = bias;
    c.scratch = scratch_new(n, cols, rows, 2);
    mat_run(pools[2], isa, &c);
    for (size_t a = 0; a < n; a++)
        for (size_t r = 0; r < rows; r++) {
            double up = (double)bias[r], gate = g.exact[a * rows + r];
            for (size_t k = 0; k < cols; k++)
                up += (double)u.w[r * cols + k] * (double)g.xq[a * cols + k];
            want[a * rows + r] = gate / (1.0 + exp(-gate)) * up;
        }
    worst = nmse(want, y, n * rows, 0);
    ok(worst <= 1e-10, "%s: silu(gate) * (up + b), n %zu: %.1e", mat_isa_name(isa), n, worst);
    mem_free(c.scratch);
    mem_free(y);
    mem_free(want);
    problem_free(&g);
    problem_free(&u);
}

/* Zero, huge and non-finite activations: finite where the answer is, and no trap. */
static void test_odd_activations(enum mat_isa isa)
{
    for (size_t t = 0; t < N_TYPES; t++) {
        struct problem p = problem_new(t, 20, 256, 20);
        float *y = mem_array(20 * 23, sizeof(float));
        if (!y) abort();
        memset(p.x, 0, 20 * 256 * sizeof(float));
        for (size_t i = 0; i < 256; i++)
            p.x[256 * 3 + i] = 1e-42f;
        p.x[256 * 5 + 17] = INFINITY;
        p.x[256 * 6 + 1] = NAN;
        run_one(&p, isa, 1, y);
        bool zero = true;
        for (size_t i = 0; i < 20; i++)
            for (size_t r = 0; r < 20 && i != 5 && i != 6; r++)
                zero = zero && fabsf(y[i * 20 + r]) < 1e-30f;
        ok(zero, "%s %s: zero and tiny columns beside infinite ones", dtype_info(types[t].t)->name,
           mat_isa_name(isa));
        mem_free(y);
        problem_free(&p);
    }
}

/* What an isa expands by itself has the bits that dtype_dequant() gives, NaN aside. */
static void test_expand(enum mat_isa isa)
{
    const struct mat_isa_ops *ops = mat_ops_of(isa);
    static uint8_t blocks[64 * 300];
    static float want[64 * 256], got[64 * 256];
    int types_checked = 0, bad = 0;
    for (size_t i = 0; i < N_TYPES; i++) {
        const struct dtype_info *t = dtype_info(types[i].t);
        size_t n = t->elems == 1 ? 61 : 64 * t->elems; /* an odd end where there may be one */
        if (!ops->expand[types[i].t]) continue;
        types_checked++;
        random_blocks(i, blocks, 1, n);
        for (size_t b = 0; t->elems == 1 && b < n; b++)
            blocks[b] = (uint8_t)rnd(); /* all codes, NaN included */
        dtype_dequant(types[i].t, blocks, want, n);
        ops->expand[types[i].t](blocks, got, n);
        for (size_t k = 0; k < n; k++)
            if (isnan(want[k]) ? !isnan(got[k]) : memcmp(&want[k], &got[k], sizeof *got)) bad++;
    }
    ok(bad == 0 && types_checked == 14, "%s: %d types expand to the same bits", mat_isa_name(isa),
       types_checked);
}

/* ---- experts ---- */

struct expert_case {
    enum dtype t;
    uint32_t n, n_used, n_experts;
    uint16_t rows, cols;
    bool per_slot, parts, bias;
    uint8_t load; /* 0: as it comes; 1: nearly all rows want the first ones; 2: no ids */
};

static const struct expert_case expert_cases[] = {
    {DTYPE_Q4_K, 1, 4, 16, 70, 512, false, false, true, 0},
    {DTYPE_Q4_K, 40, 2, 8, 33, 256, true, true, false, 1},
    {DTYPE_Q8_0, 1, 1, 3, 5, 96, true, false, false, 0},
    {DTYPE_Q8_0, 19, 6, 64, 40, 160, false, true, true, 0},
    {DTYPE_MXFP4, 33, 4, 32, 37, 96, true, false, true, 1},
    {DTYPE_IQ2_XS, 23, 2, 4, 31, 512, false, false, false, 1},
    {DTYPE_NVFP4, 2, 8, 8, 64, 192, true, true, true, 2},
    {DTYPE_F16, 30, 3, 5, 50, 77, false, false, true, 1},
    {DTYPE_F32, 12, 7, 7, 17, 33, true, false, false, 2},
    {DTYPE_F32, 1, 2, 300, 300, 130, false, false, false, 0},
    {DTYPE_Q6_K, 600, 1, 2, 20, 256, false, false, false, 1},
};

struct experts {
    struct mat_experts c;
    const void *parts[300];
    float *ids, *x, *xq, *w, *y;
    struct guarded g;
    uint64_t x_floats, y_floats;
};

/* y has room between the slots, and x, where each slot has its own. */
static void experts_new(struct experts *e, const struct expert_case *k)
{
    size_t type = 0;
    uint64_t row_bytes = 0, slots = (uint64_t)k->n * k->n_used;
    while (types[type].t != k->t)
        type++;
    if (!dtype_row_bytes(k->t, k->cols, &row_bytes)) abort();
    size_t rows = (size_t)k->rows * k->n_experts;
    memset(e, 0, sizeof *e);
    e->g = guarded_new(rows * row_bytes);
    random_blocks(type, e->g.p, rows, k->cols);
    e->c = (struct mat_experts){.dtype = k->t,
                                .w = k->parts ? NULL : e->g.p,
                                .parts = k->parts ? e->parts : NULL,
                                .n_experts = k->n_experts,
                                .rows = k->rows,
                                .cols = k->cols,
                                .n = k->n,
                                .n_used = k->n_used,
                                .x_slot = k->per_slot ? k->cols + 5u : 0,
                                .y_slot = k->rows + 3u,
                                .y_row = k->n_used * (k->rows + 3u) + 7u};
    e->c.x_row = k->per_slot ? k->n_used * e->c.x_slot + 2 : k->cols + 1u;
    e->x_floats = k->n * e->c.x_row;
    e->y_floats = k->n * e->c.y_row;
    e->ids = mem_array(slots, sizeof(float));
    e->x = mem_array(e->x_floats, sizeof(float));
    e->xq = mem_array(k->cols, sizeof(float));
    e->w = mem_array(rows * k->cols, sizeof(float));
    e->y = mem_array(e->y_floats, sizeof(float));
    float *bias = mem_array(rows, sizeof(float));
    if (!e->ids || !e->x || !e->xq || !e->w || !e->y || !bias) abort();
    for (uint32_t i = 0; i < k->n_experts; i++) /* not in their order in memory */
        e->parts[i] = e->g.p + (k->n_experts - 1 - i) * k->rows * row_bytes;
    for (size_t i = 0; i < rows; i++) {
        dtype_dequant(k->t, e->g.p + i * row_bytes, e->w + i * k->cols, k->cols);
        bias[i] = gauss();
    }
    for (uint64_t i = 0; i < e->x_floats; i++)
        e->x[i] = gauss();
    for (uint64_t i = 0; i < slots; i++) { /* experts of a row differ, as a router's do */
        uint32_t first = k->load == 1 && rnd() % 8 ? 0 : rnd() % k->n_experts;
        uint32_t slot = (uint32_t)(i % k->n_used);
        float before = slot ? e->ids[i - 1] : 0;
        e->ids[i] = slot ? (float)(((uint32_t)before + 1) % k->n_experts) : (float)first;
    }
    e->c.ids = k->load == 2 ? NULL : e->ids;
    e->c.bias = k->bias ? bias : NULL;
    e->c.x = e->x;
    e->c.y = e->y;
    if (!k->bias) mem_free(bias);
}

static void experts_free(struct experts *e)
{
    munmap(e->g.base, e->g.bytes);
    mem_free((void *)(uintptr_t)e->c.bias);
    mem_free(e->ids);
    mem_free(e->x);
    mem_free(e->xq);
    mem_free(e->w);
    mem_free(e->y);
}

/* NMSE of y, and whether what lies between the results is untouched. */
static double experts_error(struct experts *e, enum act act, bool *intact)
{
    const struct mat_experts *c = &e->c;
    double num = 0, den = 1e-30;
    for (uint64_t i = 0; i < c->n; i++)
        for (uint32_t k = 0; k < c->n_used; k++) {
            uint32_t id = c->ids ? (uint32_t)c->ids[i * c->n_used + k] : k;
            uint32_t at = c->parts ? c->n_experts - 1 - id : id;
            const float *x = c->x + i * c->x_row + k * c->x_slot;
            float *y = c->y + i * c->y_row + k * c->y_slot;
            memcpy(e->xq, x, c->cols * sizeof *x);
            if (act != F32) round_activations(act, x, e->xq, c->cols);
            for (uint64_t r = 0; r < c->rows; r++) {
                const float *w = e->w + (at * c->rows + r) * c->cols;
                double want = c->bias ? (double)c->bias[id * c->rows + r] : 0;
                for (uint64_t j = 0; j < c->cols; j++) {
                    double v = (double)w[j] * (double)e->xq[j];
                    want += v;
                    den += v * v;
                }
                num += (want - (double)y[r]) * (want - (double)y[r]);
            }
            for (uint64_t r = c->rows; r < c->y_slot; r++)
                *intact = *intact && y[r] == 1234.5f;
        }
    return num / den;
}

static void test_experts(const struct expert_case *k, enum mat_isa isa)
{
    struct experts e;
    experts_new(&e, k);
    float *first = mem_array(e.y_floats, sizeof(float));
    double worst = 0;
    bool intact = true, equal = true;
    if (!first) abort();
    enum act act = F32;
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].t == k->t) act = types[i].act;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        size_t bytes = mat_experts_scratch_bytes(&e.c, threads);
        struct guarded scratch = guarded_new(bytes);
        e.c.scratch = scratch.p - (uintptr_t)scratch.p % 64;
        for (uint64_t i = 0; i < e.y_floats; i++)
            e.y[i] = 1234.5f;
        mat_experts_run(pools[threads], isa, &e.c);
        double error = experts_error(&e, act, &intact);
        worst = error <= worst ? worst : error;
        if (threads == 1) memcpy(first, e.y, e.y_floats * sizeof(float));
        equal = equal && memcmp(first, e.y, e.y_floats * sizeof(float)) == 0;
        munmap(scratch.base, scratch.bytes);
    }
    ok(worst <= 1e-10 && intact && equal,
       "%s %s: %u of %u experts, %u rows: %.1e, nothing beside, bit equal for 1, 2 and 3 threads",
       dtype_info(k->t)->name, mat_isa_name(isa), k->n_used, k->n_experts, k->n, worst);
    mem_free(first);
    experts_free(&e);
}

int main(void)
{
    const char *only = getenv("RBEE_TEST_ISA");
    for (uint32_t i = 1; i <= 3; i++) {
        struct err_info e;
        if (pool_new(&pools[i], i, &e) != ERR_OK) {
            printf("Bail out! %s\n", e.text);
            return 1;
        }
    }
    int listed = 0, runs = 0;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        runs += mat_has((enum dtype)t);
        if (mat_has((enum dtype)t) != (dtype_info((enum dtype)t)->dequant != NULL))
            ok(false, "%s: mat runs what can be dequantised", dtype_info((enum dtype)t)->name);
        for (size_t i = 0; i < N_TYPES; i++)
            listed += types[i].t == (enum dtype)t;
    }
    ok(!mat_has(DTYPE_I32) && listed == runs && runs == N_TYPES, "every type that runs is tested");
    for (enum mat_isa isa = MAT_GENERIC; isa < MAT_ISA_COUNT; isa++) {
        if (isa > mat_best_isa()) {
            skip(mat_isa_name(isa));
            continue;
        }
        if (only && strcmp(only, mat_isa_name(isa)) != 0) continue;
        for (size_t t = 0; t < N_TYPES; t++)
            test_shapes(t, isa);
        test_group(isa, 1);
        test_group(isa, 3);
        test_group(isa, 20);
        test_silu(isa, 1);
        test_silu(isa, 4);
        test_silu(isa, 19);
        test_odd_activations(isa);
        if (mat_ops_of(isa)->expand) test_expand(isa);
        for (size_t i = 0; i < sizeof expert_cases / sizeof *expert_cases; i++)
            test_experts(&expert_cases[i], isa);
    }
    for (uint32_t i = 1; i <= 3; i++)
        pool_free(pools[i]);
    return tap_end();
}
