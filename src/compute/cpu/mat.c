/* mat: the driver: picks kernels by type and isa, prepares activations, shares rows among threads.
 *
 * A call is one job of the pool. The weights are taken in passes, one for each form of activations
 * that they need: all threads prepare a share of the activations in the scratch, meet at a barrier,
 * then each walks its own contiguous share of rows (and, when done, what is left of the others').
 * Up to DIRECT_MAX columns go through the direct kernels, which read each block of weights once and
 * keep it in registers; the rows that are worked on together lie a quarter (half) of the share
 * apart, so that the memory system sees streams that do not disturb each other. More columns go
 * through strips: some rows are unpacked to bytes in the second level cache and multiplied with all
 * panels of activations.
 *
 * A row is always summed in the same order within a path, whatever the number of threads, so
 * results are bit equal across thread counts; the two paths differ by float rounding only.
 */
#include "compute/cpu/mat.h"

#include <string.h>

#include "compute/cpu/mat_int.h"
#include "compute/cpu/mat_share.h"

#define DIRECT_MAX    8
#define DIRECT_LEAST  256 /* rows of a piece: shorter streams cost more than they balance */
#define STRIP_BYTES   (448u << 10) /* a strip and the panels it meets share a second level cache */
#define ALIGN         64
#define MIN_U64(a, b) ((a) < (b) ? (a) : (b))
#define CEIL(a, b)    (((a) + (b)-1) / (b))

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

/* The per-thread area of the panel path; the strip follows. */
struct own {
    _Alignas(64) float o[MAT_STRIP][2 * MAT_UNIT];
    float t[2 * MAT_UNIT][MAT_STRIP];
};

static const struct mat_isa_ops *const isa_ops[MAT_ISA_COUNT] = {
    [MAT_GENERIC] = &mat_ops_generic,
#if defined(__x86_64__)
    [MAT_AVX2] = &mat_ops_avx2,
    [MAT_AVX512] = &mat_ops_avx512,
#endif
};

#define ACT_Q32(NAME, ...)  [DTYPE_##NAME] = MAT_ACT_Q32,
#define ACT_Q256(NAME, ...) [DTYPE_##NAME] = MAT_ACT_Q256,
#define ACT_F32(NAME)       [DTYPE_##NAME] = MAT_ACT_F32,
static const uint8_t acts[DTYPE_COUNT] = {MAT_TYPES_Q32(ACT_Q32) MAT_TYPES_Q256(ACT_Q256)
                                              MAT_TYPES_F(ACT_F32)};

enum mat_act mat_act_of(enum dtype t)
{
    return (unsigned)t < DTYPE_COUNT ? (enum mat_act)acts[t] : MAT_ACT_NONE;
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
#endif
    return MAT_GENERIC;
}

const char *mat_isa_name(enum mat_isa isa)
{
    static const char *const names[MAT_ISA_COUNT] = {"generic", "avx2", "avx512"};
    return (unsigned)isa < MAT_ISA_COUNT ? names[isa] : "unknown";
}

/* ---- sizes ---- */

/* Bytes of one column's direct form. */
static uint64_t direct_bytes(enum mat_act act, uint64_t cols)
{
    if (act == MAT_ACT_Q32) return CEIL(cols, 128) * sizeof(struct mat_q32);
    if (act == MAT_ACT_Q256) return CEIL(cols, 256) * sizeof(struct mat_q256);
    return 0;
}

static uint64_t chunk_values(enum mat_act act)
{
    return act == MAT_ACT_F32 ? MAT_FCHUNK : MAT_CHUNK;
}

static size_t panel_size(enum mat_act act)
{
    return act == MAT_ACT_F32 ? sizeof(struct mat_fpanel) : sizeof(struct mat_panel);
}

static size_t piece_size(enum mat_act act)
{
    return act == MAT_ACT_F32 ? sizeof(struct mat_fpiece) : sizeof(struct mat_piece);
}

static uint64_t strip_row_bytes(enum mat_act act, uint64_t cols)
{
    return CEIL(cols, chunk_values(act)) * piece_size(act);
}

/* Most rows of a strip: what fits the cache, at least one tile. */
static uint32_t strip_rows(enum mat_act act, uint64_t cols)
{
    uint64_t n = STRIP_BYTES / strip_row_bytes(act, cols) / MAT_TILE * MAT_TILE;
    return n < MAT_TILE ? MAT_TILE : n > MAT_STRIP ? MAT_STRIP : (uint32_t)n;
}

static uint64_t acts_bytes(uint64_t n, uint64_t cols)
{
    uint64_t most = 0;
    for (enum mat_act a = MAT_ACT_F32; a < MAT_ACT_COUNT; a++) {
        uint64_t direct = n * direct_bytes(a, cols);
        uint64_t panel = CEIL(n, MAT_UNIT) * CEIL(cols, chunk_values(a)) * panel_size(a);
        most = direct > most ? direct : most;
        most = panel > most ? panel : most;
    }
    return CEIL(most, ALIGN) * ALIGN;
}

/* Grows with cols, so that the largest call's scratch serves every other. */
static size_t own_bytes(uint64_t n, uint64_t cols)
{
    uint64_t most = 0;
    if (n <= DIRECT_MAX) return 0;
    for (enum mat_act a = MAT_ACT_F32; a < MAT_ACT_COUNT; a++) {
        uint64_t tile = MAT_TILE * strip_row_bytes(a, cols);
        most = tile > most ? tile : most;
    }
    return sizeof(struct own) + CEIL(most > STRIP_BYTES ? most : STRIP_BYTES, ALIGN) * ALIGN;
}

size_t mat_scratch_bytes(uint64_t n, uint64_t cols, uint64_t max_rows, uint32_t n_threads)
{
    (void)max_rows; /* strips are bounded by the cache, not by the matrix */
    return acts_bytes(n, cols) + n_threads * (own_bytes(n, cols) + sizeof(struct mat_lane));
}

/* ---- activations ---- */

static void prepare_direct(const struct run *r, enum mat_act act, uint32_t thread,
                           uint32_t n_threads)
{
    const struct mat_call *c = r->c;
    uint64_t step = act == MAT_ACT_Q32 ? 128 : 256, per = CEIL(c->cols, step), from, to;
    if (act == MAT_ACT_F32) return;
    pool_share(c->n * per, 1, thread, n_threads, &from, &to);
    for (uint64_t i = from; i < to; i++) {
        uint64_t at = i % per * step;
        const float *x = c->x + i / per * c->cols + at;
        if (act == MAT_ACT_Q32)
            r->ops->quant32(x, (uint32_t)MIN_U64(c->cols - at, step),
                            (struct mat_q32 *)r->acts + i);
        else
            r->ops->quant256(x, (struct mat_q256 *)r->acts + i);
    }
}

/* kn values of column j into natural order, with their scales and sums. */
static void panel_column32(const struct mat_isa_ops *ops, const float *x, uint32_t kn, uint32_t j,
                           int8_t *q, struct mat_panel *p)
{
    struct mat_q32 g;
    for (uint32_t at = 0; at < MAT_CHUNK; at += 128) {
        uint32_t n = kn > at ? (uint32_t)MIN_U64(kn - at, 128) : 0;
        ops->quant32(x + (n ? at : 0), n, &g);
        for (uint32_t b = 0; b < 4; b++) {
            uint32_t k = at / 32 + b;
            const int32_t *s = g.nsum + 4 * b;
            memcpy(q + k * 32, g.q + b * 16, 16);
            memcpy(q + k * 32 + 16, g.q + 64 + b * 16, 16);
            p->d[k][j] = g.d[4 * b];
            p->nsum[2 * k][j] = s[0] + s[1] + s[2] + s[3];
            p->nsum[2 * k + 1][j] = 0;
        }
    }
}

static void panel_column256(const struct mat_isa_ops *ops, const float *x, uint32_t j, int8_t *q,
                            struct mat_panel *p)
{
    struct mat_q256 s;
    ops->quant256(x, &s);
    memcpy(q, s.q, sizeof s.q);
    p->d[0][j] = s.d;
    for (uint32_t i = 0; i < 16; i++)
        p->nsum[i][j] = s.nsum[i];
}

/* x: first column of the unit at the chunk's first value; n <= MAT_UNIT columns, the rest zero. */
static void panel_int(const struct run *r, enum mat_act act, const float *x, uint32_t n,
                      uint32_t kn, struct mat_panel *p)
{
    _Alignas(64) int8_t q[MAT_UNIT][MAT_CHUNK];
    if (n < MAT_UNIT) {
        memset(p, 0, sizeof *p);
        memset(q, 0, sizeof q);
    }
    for (uint32_t j = 0; j < n; j++) {
        if (act == MAT_ACT_Q32)
            panel_column32(r->ops, x + j * r->c->cols, kn, j, q[j], p);
        else
            panel_column256(r->ops, x + j * r->c->cols, j, q[j], p);
    }
    for (uint32_t k = 0; k < MAT_CHUNK / 4; k += 16)
        r->ops->transpose(q[0] + k * 4, MAT_CHUNK / 4, p->q[k], MAT_UNIT);
}

static void panel_float(const struct run *r, const float *x, uint32_t n, uint32_t kn,
                        struct mat_fpanel *p)
{
    _Alignas(64) float t[MAT_UNIT][MAT_FCHUNK];
    if (n < MAT_UNIT || kn < MAT_FCHUNK) memset(t, 0, sizeof t);
    for (uint32_t j = 0; j < n; j++)
        memcpy(t[j], x + j * r->c->cols, kn * sizeof(float));
    for (uint32_t k = 0; k < MAT_FCHUNK; k += 16)
        r->ops->transpose(t[0] + k, MAT_FCHUNK, p->x[k], MAT_UNIT);
}

/* Panels lie as [unit][chunk]. */
static void prepare_panels(const struct run *r, enum mat_act act, uint32_t thread,
                           uint32_t n_threads)
{
    const struct mat_call *c = r->c;
    uint64_t step = chunk_values(act), per = CEIL(c->cols, step), from, to;
    pool_share(CEIL(c->n, MAT_UNIT) * per, 1, thread, n_threads, &from, &to);
    for (uint64_t i = from; i < to; i++) {
        uint64_t at = i % per * step, col = i / per * MAT_UNIT;
        uint32_t n = (uint32_t)MIN_U64(c->n - col, MAT_UNIT);
        uint32_t kn = (uint32_t)MIN_U64(c->cols - at, step);
        const float *x = c->x + col * c->cols + at;
        if (act == MAT_ACT_F32)
            panel_float(r, x, n, kn, (struct mat_fpanel *)r->acts + i);
        else
            panel_int(r, act, x, n, kn, (struct mat_panel *)r->acts + i);
    }
}

/* ---- rows ---- */

/* One weight of the call as a thread sees it. */
struct job {
    const struct run *r;
    const struct mat_weight *w;
    enum mat_act act;
    enum mat_finish fin;
    float *y; /* where results go: the first weight's y for MAT_SILU_MUL */
    uint64_t y_stride, row_bytes;
    uint64_t from, to;
    struct own *own;
};

static void finish(const struct job *j, uint64_t col, uint64_t row, const float *v, uint32_t n)
{
    const float *bias = j->w->bias ? j->w->bias + row : NULL;
    j->r->ops->finish(j->y + col * j->y_stride + row, v, bias, n, j->fin);
}

static const void *direct_column(const struct job *j, uint64_t col)
{
    const struct run *r = j->r;
    if (j->act == MAT_ACT_F32) return r->c->x + col * r->c->cols;
    return r->acts + col * direct_bytes(j->act, r->c->cols);
}

static const struct {
    uint8_t rows, cols;
} shapes[] = {[MAT_4X1] = {4, 1}, [MAT_2X2] = {2, 2}, [MAT_2X4] = {2, 4}, [MAT_1X8] = {1, 8}};

/* n <= MAT_RUN rows of each of `streams` streams, the first at `row`, `apart` rows apart, against
 * columns first..last-1, at most as many as the shape has. */
static void direct_run(const struct job *j, enum mat_shape s, const uint64_t at[2],
                       uint32_t streams, uint32_t n, const uint64_t cols[2])
{
    uint64_t row = at[0], apart = at[1], first = cols[0], last = cols[1];
    float out[8], v[8][4][MAT_RUN];
    struct mat_dot a = {.dtype = j->w->dtype, .cols = j->r->c->cols, .out = out};
    uint32_t width = shapes[s].cols, used = (uint32_t)(last - first);
    mat_dot_fn *dot = j->r->ops->dots[j->w->dtype][s];
    for (uint32_t g = 0; g < width; g++) /* a missing column repeats the last, as does a stream */
        a.x[g] = direct_column(j, MIN_U64(first + g, last - 1));
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t t = 0; t < shapes[s].rows; t++)
            a.w[t] = (const uint8_t *)j->w->w +
                     (row + i + MIN_U64(t, streams - 1u) * apart) * j->row_bytes;
        dot(&a);
        for (uint32_t t = 0; t < streams; t++)
            for (uint32_t g = 0; g < used; g++)
                v[g][t][i] = out[t * width + g];
    }
    for (uint32_t g = 0; g < used; g++)
        for (uint32_t t = 0; t < streams; t++)
            finish(j, first + g, row + t * apart, v[g][t], n);
}

/* A run of rows against all columns, eight at a time: the run stays in cache. */
static void direct_cols(const struct job *j, enum mat_shape s, uint64_t row, uint64_t apart,
                        uint32_t streams, uint32_t n)
{
    uint64_t n_cols = j->r->c->n, width = shapes[s].cols, at[2] = {row, apart};
    for (uint64_t col = 0; col < n_cols; col += width) {
        uint64_t cols[2] = {col, MIN_U64(n_cols, col + width)};
        direct_run(j, s, at, streams, n, cols);
    }
}

static void direct_rows(const struct job *j)
{
    uint64_t n = j->r->c->n;
    enum mat_shape s = n == 1 ? MAT_4X1 : n == 2 ? MAT_2X2 : n <= 5 ? MAT_2X4 : MAT_1X8;
    uint32_t streams = shapes[s].rows;
    uint64_t apart = (j->to - j->from) / streams;
    for (uint64_t i = 0; i < apart; i += MAT_RUN)
        direct_cols(j, s, j->from + i, apart, streams, (uint32_t)MIN_U64(apart - i, MAT_RUN));
    uint64_t row = j->from + apart * streams;
    if (row < j->to) direct_cols(j, s, row, 1, (uint32_t)(j->to - row), 1);
}

static void unpack_strip(const struct job *j, uint64_t row, uint32_t rows, uint32_t padded,
                         uint8_t *strip)
{
    uint64_t cols = j->r->c->cols, step = chunk_values(j->act), piece = piece_size(j->act);
    const struct dtype_info *t = dtype_info(j->w->dtype);
    const struct mat_strip *kernel = &j->r->ops->strips[j->w->dtype];
    for (uint32_t i = 0; i < padded; i++) { /* rows past the end repeat the last one */
        const uint8_t *w = (const uint8_t *)j->w->w + (row + MIN_U64(i, rows - 1u)) * j->row_bytes;
        for (uint64_t at = 0; at < cols; at += step)
            kernel->unpack(w + at / t->elems * t->bytes, (uint32_t)MIN_U64(cols - at, step),
                           strip + (at / step * padded + i) * piece);
    }
}

/* The strip against one or two units of columns. */
static void strip_units(const struct job *j, uint64_t row, uint32_t rows, uint32_t padded,
                        uint64_t unit)
{
    const struct mat_call *c = j->r->c;
    struct own *own = j->own;
    uint64_t step = chunk_values(j->act), chunks = CEIL(c->cols, step);
    size_t panel = panel_size(j->act), piece = piece_size(j->act);
    uint64_t col = unit * MAT_UNIT, n = MIN_U64(c->n - col, 2 * MAT_UNIT);
    const struct mat_strip *kernel = &j->r->ops->strips[j->w->dtype];
    struct mat_gemm g = {.rows = padded, .units = n > MAT_UNIT ? 2 : 1, .off = kernel->off};
    g.o = own->o[0];
    memset(own->o, 0, padded * sizeof own->o[0]);
    for (uint64_t i = 0; i < chunks; i++) {
        g.w = (const uint8_t *)(own + 1) + i * padded * piece;
        g.x[0] = j->r->acts + (unit * chunks + i) * panel;
        g.x[1] = j->r->acts + ((unit + g.units - 1) * chunks + i) * panel;
        g.k = (uint32_t)MIN_U64(c->cols - i * step, step);
        kernel->gemm(&g);
    }
    for (uint32_t i = 0; i < padded; i += 16) /* the areas hold a multiple of 16 rows */
        for (uint32_t u = 0; u < g.units; u++)
            j->r->ops->transpose(own->o[i] + u * MAT_UNIT, 2 * MAT_UNIT, own->t[u * MAT_UNIT] + i,
                                 MAT_STRIP);
    for (uint64_t i = 0; i < n; i++)
        finish(j, col + i, row, own->t[i], rows);
}

static void panel_rows(const struct job *j)
{
    uint64_t n = j->to - j->from, units = CEIL(j->r->c->n, MAT_UNIT);
    uint64_t n_strips = CEIL(n, strip_rows(j->act, j->r->c->cols));
    if (n == 0) return;
    uint64_t each = CEIL(CEIL(n, n_strips), MAT_TILE) * MAT_TILE;
    for (uint64_t row = j->from; row < j->to; row += each) {
        uint32_t rows = (uint32_t)MIN_U64(each, j->to - row);
        uint32_t padded = (uint32_t)(CEIL(rows, MAT_TILE) * MAT_TILE);
        unpack_strip(j, row, rows, padded, (uint8_t *)(j->own + 1));
        for (uint64_t u = 0; u < units; u += 2)
            strip_units(j, row, rows, padded, u);
    }
}

/* ---- the call ---- */

static struct pass pass_of(const struct run *r, const struct mat_weight *w)
{
    struct pass p = {.act = mat_act_of(w->dtype)};
    p.panel = r->c->n > DIRECT_MAX && r->ops->strips;
    return p;
}

static struct job job_of(const struct run *r, uint32_t i, uint32_t thread)
{
    const struct mat_call *c = r->c;
    const struct mat_weight *w = &c->w[i], *y = c->epilogue == MAT_SILU_MUL ? &c->w[0] : w;
    struct job j = {.r = r, .w = w, .act = mat_act_of(w->dtype)};
    j.y = y->y;
    j.y_stride = y->y_stride;
    j.fin = c->epilogue == MAT_ADD                 ? MAT_FIN_ADD
            : c->epilogue == MAT_SILU_MUL && i > 0 ? MAT_FIN_SILU_MUL
                                                   : MAT_FIN_STORE;
    j.own = (struct own *)(void *)(r->own + thread * r->own_bytes);
    if (!dtype_row_bytes(w->dtype, c->cols, &j.row_bytes))
        BUG("mat: cols is no whole number of blocks");
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
    struct job j[2] = {job_of(r, i, thread), job_of(r, pair ? 1 : i, thread)};
    uint64_t least = q.panel ? strip_rows(q.act, r->c->cols) : DIRECT_LEAST, piece[2];
    while (mat_share_take(r->lanes, thread, n_threads, i, least, piece)) {
        for (uint32_t k = 0; k < (pair ? 2 : 1); k++) {
            j[k].from = piece[0];
            j[k].to = piece[1];
            (q.panel ? panel_rows : direct_rows)(&j[k]);
        }
    }
}

static void work(void *arg, uint32_t thread, uint32_t n_threads)
{
    const struct run *r = arg;
    for (uint32_t p = 0; p < r->n_pass; p++) {
        struct pass q = r->pass[p];
        if (p > 0) pool_barrier(r->pool); /* the scratch is about to be overwritten */
        if (q.panel)
            prepare_panels(r, q.act, thread, n_threads);
        else
            prepare_direct(r, q.act, thread, n_threads);
        if (q.panel || q.act != MAT_ACT_F32) pool_barrier(r->pool);
        for (uint32_t i = 0; i < r->c->n_w; i++) {
            bool with_gate = i == 1 && r->c->epilogue == MAT_SILU_MUL && in_pass(r, 0, q);
            if (in_pass(r, i, q) && !with_gate) run_weight(r, i, q, thread, n_threads);
        }
    }
}

void mat_run(struct pool *p, enum mat_isa isa, const struct mat_call *c)
{
    struct run r = {.c = c, .ops = isa_ops[isa], .pool = p, .acts = c->scratch};
    ASSERT(r.ops != NULL);
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
