/* mat: the driver: picks kernels by type and isa, prepares activations, shares rows among threads.
 *
 * A call is one job of the pool. The weights are taken in passes, one for each form of activations
 * that they need: all threads prepare a share of the activations in the scratch, meet at a barrier,
 * then each walks its own contiguous share of rows (and, when done, what is left of the others').
 * Up to MAT_DIRECT_MAX columns go the direct way, more through strips and panels (mat_rows.c).
 *
 * A row is always summed in the same order within a way, whatever the number of threads, so results
 * are bit equal across thread counts; the two ways differ by float rounding only.
 */
#include "compute/cpu/mat.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "compute/cpu/mat_rows.h"
#include "compute/cpu/mat_share.h"

struct pass {
    enum mat_act act;
    bool panel;
};

struct run {
    const struct mat_call *c;
    const struct mat_isa_ops *ops;
    struct pool *pool;
    struct pass pass[3];
    uint32_t n_pass;
    uint8_t *acts;
    uint8_t *own; /* per-thread areas */
    size_t own_bytes;
    struct mat_lane *lanes; /* [threads] */
};

static const struct mat_isa_ops *const isa_ops[MAT_ISA_COUNT] = {
    [MAT_GENERIC] = &mat_ops_generic,
#if defined(__aarch64__)
    [MAT_NEON] = &mat_ops_neon,
    [MAT_DOTPROD] = &mat_ops_dotprod,
#elif defined(__x86_64__)
    [MAT_AVX2] = &mat_ops_avx2,
    [MAT_AVX512] = &mat_ops_avx512,
#endif
};

const struct mat_isa_ops *mat_ops_of(enum mat_isa isa)
{
    ASSERT((unsigned)isa < MAT_ISA_COUNT && isa_ops[isa]);
    return isa_ops[isa];
}

bool mat_has(enum dtype t)
{
    return mat_act_of(t) != MAT_ACT_NONE;
}

enum mat_isa mat_best_isa(void)
{
#if defined(__x86_64__)
    /* The compiler's cpuid support asks the system for the saved state as well. */
    __builtin_cpu_init();
    bool v2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi2");
    if (v2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni"))
        return MAT_AVX512;
    if (v2) return MAT_AVX2;
#elif defined(__APPLE__) && defined(__aarch64__)
    return MAT_DOTPROD;
#elif defined(__aarch64__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? MAT_DOTPROD : MAT_NEON;
#endif
#if !defined(__aarch64__)
    return MAT_GENERIC;
#endif
}

const char *mat_isa_name(enum mat_isa isa)
{
#if defined(__aarch64__)
    static const char *const names[MAT_ISA_COUNT] = {"generic", "neon", "neon-dotprod"};
#elif defined(__x86_64__)
    static const char *const names[MAT_ISA_COUNT] = {"generic", "avx2", "avx512"};
#else
    static const char *const names[MAT_ISA_COUNT] = {"generic"};
#endif
    return (unsigned)isa < MAT_ISA_COUNT ? names[isa] : "unknown";
}

/* ---- sizes ---- */

static uint64_t acts_bytes(uint64_t n, uint64_t cols)
{
    uint64_t most = 0;
    for (enum mat_act a = MAT_ACT_F32; a < MAT_ACT_COUNT; a++) {
        uint64_t direct = n * mat_rows_direct_bytes(a, cols);
        uint64_t panel = mat_rows_panel_bytes(a, n, cols);
        most = direct > most ? direct : most;
        most = panel > most ? panel : most;
    }
    return MAT_CEIL(most, MAT_ALIGN) * MAT_ALIGN;
}

static size_t own_bytes(uint64_t n, uint64_t cols)
{
    return n <= MAT_DIRECT_MAX ? 0 : mat_rows_own_bytes(cols);
}

size_t mat_scratch_bytes(uint64_t n, uint64_t cols, uint64_t max_rows, uint32_t n_threads)
{
    (void)max_rows; /* strips are bounded by the cache, not by the matrix */
    return acts_bytes(n, cols) + n_threads * (own_bytes(n, cols) + sizeof(struct mat_lane));
}

/* ---- the call ---- */

static struct pass pass_of(const struct run *r, const struct mat_weight *w)
{
    struct pass p = {.act = mat_act_of(w->dtype)};
    p.panel = r->c->n > MAT_DIRECT_MAX && r->ops->strips;
    return p;
}

/* The columns as weight i meets them: its results go to `y`, the first weight's for MAT_SILU_MUL.
 */
static struct mat_cols cols_of(const struct run *r, uint32_t i)
{
    const struct mat_call *c = r->c;
    const struct mat_weight *y = &c->w[c->epilogue == MAT_SILU_MUL ? 0 : i];
    return (struct mat_cols){.n = c->n,
                             .cols = c->cols,
                             .x = c->x,
                             .x_stride = c->cols,
                             .y = y->y,
                             .y_stride = y->y_stride,
                             .direct = r->acts,
                             .panels = r->acts};
}

static struct mat_job job_of(const struct run *r, uint32_t i, const struct mat_cols *cols,
                             uint32_t thread)
{
    const struct mat_call *c = r->c;
    struct mat_job j = mat_rows_job(r->ops, cols, c->w[i].dtype);
    j.w = c->w[i].w;
    j.bias = c->w[i].bias;
    j.fin = c->epilogue == MAT_ADD                 ? MAT_FIN_ADD
            : c->epilogue == MAT_SILU_MUL && i > 0 ? MAT_FIN_SILU_MUL
                                                   : MAT_FIN_STORE;
    j.own = (struct mat_own *)(void *)(r->own + thread * r->own_bytes);
    return j;
}

static bool in_pass(const struct run *r, uint32_t i, struct pass q)
{
    struct pass o = pass_of(r, &r->c->w[i]);
    return o.act == q.act && o.panel == q.panel;
}

/* Rows of weight i until all are handed out. Gate and up of MAT_SILU_MUL go together where one pass
 * serves both, because a row of up needs its row of gate. */
static void run_weight(const struct run *r, uint32_t i, struct pass q, uint32_t thread,
                       uint32_t n_threads)
{
    bool pair = r->c->epilogue == MAT_SILU_MUL && i == 0 && in_pass(r, 1, q);
    struct mat_cols cols = cols_of(r, i);
    struct mat_job j[2] = {job_of(r, i, &cols, thread), job_of(r, pair ? 1 : i, &cols, thread)};
    uint64_t least = q.panel ? mat_rows_strip(q.act, r->c->cols) : MAT_DIRECT_LEAST, piece[2];
    while (mat_share_take(r->lanes, thread, n_threads, i, least, piece)) {
        for (uint32_t k = 0; k < (pair ? 2 : 1); k++) {
            j[k].from = piece[0];
            j[k].to = piece[1];
            (q.panel ? mat_rows_panel : mat_rows_direct)(&j[k]);
        }
    }
}

static void work(void *arg, uint32_t thread, uint32_t n_threads)
{
    const struct run *r = arg;
    for (uint32_t p = 0; p < r->n_pass; p++) {
        struct pass q = r->pass[p];
        if (p > 0) pool_barrier(r->pool); /* the scratch is about to be overwritten */
        struct mat_cols cols = cols_of(r, 0);
        (q.panel ? mat_rows_to_panels : mat_rows_to_direct)(r->ops, q.act, &cols, thread,
                                                            n_threads);
        if (q.panel || q.act != MAT_ACT_F32) pool_barrier(r->pool);
        for (uint32_t i = 0; i < r->c->n_w; i++) {
            bool with_gate = i == 1 && r->c->epilogue == MAT_SILU_MUL && in_pass(r, 0, q);
            if (in_pass(r, i, q) && !with_gate) run_weight(r, i, q, thread, n_threads);
        }
    }
}

void mat_run(struct pool *p, enum mat_isa isa, const struct mat_call *c)
{
    struct run r = {.c = c, .ops = mat_ops_of(isa), .pool = p, .acts = c->scratch};
    ASSERT(c->n_w >= 1 && c->n_w <= 3 && (c->epilogue != MAT_SILU_MUL || c->n_w == 2));
    if (c->n == 0) return;
    r.own = r.acts + acts_bytes(c->n, c->cols);
    r.own_bytes = own_bytes(c->n, c->cols);
    r.lanes = (struct mat_lane *)(void *)(r.own + pool_threads(p) * r.own_bytes);
    for (uint32_t i = 0; i < c->n_w; i++)
        mat_share_init(r.lanes, pool_threads(p), i, c->w[i].rows, MAT_RUN);
    for (uint32_t i = 0; i < c->n_w; i++) {
        struct pass q = pass_of(&r, &c->w[i]);
        uint32_t have = 0;
        ASSERT(mat_has(c->w[i].dtype));
        while (have < r.n_pass && (r.pass[have].act != q.act || r.pass[have].panel != q.panel))
            have++;
        if (have == r.n_pass) r.pass[r.n_pass++] = q;
    }
    pool_run(p, work, &r);
}
