/* mat_rows: see mat_rows.h.
 *
 * Direct: each block of weights is read once and kept in registers against up to eight columns; the
 * rows that are worked on together lie a quarter (half) of the share apart, so that the memory
 * system sees streams that do not disturb each other. Panels: some rows are unpacked to bytes in
 * the second level cache, a strip, and multiplied with all panels of activations. A type without
 * kernels is dequantised into a small buffer in front of F32's.
 *
 * A row is always summed in the same order within a way, whatever its neighbours.
 */
#include "compute/cpu/mat_rows.h"

#include <string.h>

#define STRIP_BYTES (448u << 10) /* a strip and the panels it meets share a second level cache */
#define EXPAND      256 /* values dequantised at a time: a whole number of any type's blocks */

#define ACT_Q32(NAME, ...)  [DTYPE_##NAME] = MAT_ACT_Q32,
#define ACT_Q256(NAME, ...) [DTYPE_##NAME] = MAT_ACT_Q256,
#define ACT_F32(NAME)       [DTYPE_##NAME] = MAT_ACT_F32,
/* Types with kernels of their own. */
static const uint8_t acts[DTYPE_COUNT] = {MAT_TYPES_Q32(ACT_Q32) MAT_TYPES_Q256(ACT_Q256)
                                              MAT_TYPES_F(ACT_F32)};

enum mat_act mat_act_of(enum dtype t)
{
    if ((unsigned)t >= DTYPE_COUNT) return MAT_ACT_NONE;
    if (acts[t] != MAT_ACT_NONE) return (enum mat_act)acts[t];
    return dtype_info(t)->dequant ? MAT_ACT_F32 : MAT_ACT_NONE;
}

/* ---- sizes ---- */

uint64_t mat_rows_direct_bytes(enum mat_act act, uint64_t cols)
{
    if (act == MAT_ACT_Q32) return MAT_CEIL(cols, 128) * sizeof(struct mat_q32);
    if (act == MAT_ACT_Q256) return MAT_CEIL(cols, 256) * sizeof(struct mat_q256);
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
    return MAT_CEIL(cols, chunk_values(act)) * piece_size(act);
}

uint32_t mat_rows_strip(enum mat_act act, uint64_t cols)
{
    uint64_t n = STRIP_BYTES / strip_row_bytes(act, cols) / MAT_TILE * MAT_TILE;
    return n < MAT_TILE ? MAT_TILE : n > MAT_STRIP ? MAT_STRIP : (uint32_t)n;
}

uint64_t mat_rows_panel_bytes(enum mat_act act, uint64_t n, uint64_t cols)
{
    return MAT_CEIL(n, MAT_UNIT) * MAT_CEIL(cols, chunk_values(act)) * panel_size(act);
}

uint64_t mat_rows_own_bytes(uint64_t cols)
{
    uint64_t most = STRIP_BYTES;
    for (enum mat_act a = MAT_ACT_F32; a < MAT_ACT_COUNT; a++) {
        uint64_t tile = MAT_TILE * strip_row_bytes(a, cols);
        most = tile > most ? tile : most;
    }
    return sizeof(struct mat_own) + MAT_CEIL(most, MAT_ALIGN) * MAT_ALIGN;
}

/* ---- activations ---- */

static const float *column_x(const struct mat_cols *c, uint64_t i)
{
    return c->at ? c->at[i].x : c->x + i * c->x_stride;
}

void mat_rows_to_direct(const struct mat_isa_ops *ops, enum mat_act act, const struct mat_cols *c,
                        uint32_t thread, uint32_t n_threads)
{
    uint64_t step = act == MAT_ACT_Q32 ? 128 : 256, per = MAT_CEIL(c->cols, step), from, to;
    if (act == MAT_ACT_F32) return;
    pool_share(c->n * per, 1, thread, n_threads, &from, &to);
    for (uint64_t i = from; i < to; i++) {
        uint64_t at = i % per * step;
        const float *x = column_x(c, i / per) + at;
        if (act == MAT_ACT_Q32)
            ops->quant32(x, (uint32_t)MAT_MIN(c->cols - at, step), (struct mat_q32 *)c->direct + i);
        else
            ops->quant256(x, (struct mat_q256 *)c->direct + i);
    }
}

/* kn values of column j into natural order, with their scales and sums. */
static void panel_column32(const struct mat_isa_ops *ops, const float *x, uint32_t kn, uint32_t j,
                           int8_t *q, struct mat_panel *p)
{
    struct mat_q32 g;
    for (uint32_t at = 0; at < MAT_CHUNK; at += 128) {
        uint32_t n = kn > at ? (uint32_t)MAT_MIN(kn - at, 128) : 0;
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

/* Columns first..first+n-1, n <= MAT_UNIT, at value `at`, of which kn are left; missing ones zero.
 */
struct unit {
    const struct mat_cols *c;
    uint64_t first, at;
    uint32_t n, kn;
};

static void panel_int(const struct mat_isa_ops *ops, enum mat_act act, const struct unit *u,
                      struct mat_panel *p)
{
    _Alignas(64) int8_t q[MAT_UNIT][MAT_CHUNK];
    if (u->n < MAT_UNIT) {
        memset(p, 0, sizeof *p);
        memset(q, 0, sizeof q);
    }
    for (uint32_t j = 0; j < u->n; j++) {
        const float *x = column_x(u->c, u->first + j) + u->at;
        if (act == MAT_ACT_Q32)
            panel_column32(ops, x, u->kn, j, q[j], p);
        else
            panel_column256(ops, x, j, q[j], p);
    }
    for (uint32_t k = 0; k < MAT_CHUNK / 4; k += 16)
        ops->transpose(q[0] + k * 4, MAT_CHUNK / 4, p->q[k], MAT_UNIT);
}

static void panel_float(const struct mat_isa_ops *ops, const struct unit *u, struct mat_fpanel *p)
{
    _Alignas(64) float t[MAT_UNIT][MAT_FCHUNK];
    if (u->n < MAT_UNIT || u->kn < MAT_FCHUNK) memset(t, 0, sizeof t);
    for (uint32_t j = 0; j < u->n; j++)
        memcpy(t[j], column_x(u->c, u->first + j) + u->at, u->kn * sizeof(float));
    for (uint32_t k = 0; k < MAT_FCHUNK; k += 16)
        ops->transpose(t[0] + k, MAT_FCHUNK, p->x[k], MAT_UNIT);
}

void mat_rows_to_panels(const struct mat_isa_ops *ops, enum mat_act act, const struct mat_cols *c,
                        uint32_t thread, uint32_t n_threads)
{
    uint64_t step = chunk_values(act), per = MAT_CEIL(c->cols, step), from, to;
    pool_share(MAT_CEIL(c->n, MAT_UNIT) * per, 1, thread, n_threads, &from, &to);
    for (uint64_t i = from; i < to; i++) {
        struct unit u = {.c = c, .first = i / per * MAT_UNIT, .at = i % per * step};
        u.n = (uint32_t)MAT_MIN(c->n - u.first, MAT_UNIT);
        u.kn = (uint32_t)MAT_MIN(c->cols - u.at, step);
        if (act == MAT_ACT_F32)
            panel_float(ops, &u, (struct mat_fpanel *)c->panels + i);
        else
            panel_int(ops, act, &u, (struct mat_panel *)c->panels + i);
    }
}

/* ---- rows ---- */

struct mat_job mat_rows_job(const struct mat_isa_ops *ops, const struct mat_cols *c, enum dtype t)
{
    struct mat_job j = {.ops = ops, .c = c, .dtype = t, .act = mat_act_of(t)};
    j.kernel = acts[t] != MAT_ACT_NONE ? t : DTYPE_F32;
    j.expand = ops->expand && ops->expand[t] ? ops->expand[t] : dtype_info(t)->dequant;
    if (!dtype_row_bytes(t, c->cols, &j.row_bytes)) BUG("mat: cols is no whole number of blocks");
    return j;
}

static void finish(const struct mat_job *j, uint64_t col, uint64_t row, const float *v, uint32_t n)
{
    const float *bias = j->bias ? j->bias + row : NULL;
    float *y = j->c->at ? j->c->at[col].y : j->c->y + col * j->c->y_stride;
    j->ops->finish(y + row, v, bias, n, j->fin);
}

static const void *direct_column(const struct mat_job *j, uint64_t col)
{
    if (j->act == MAT_ACT_F32) return column_x(j->c, col);
    if (j->c->at) return j->c->at[col].direct;
    return j->c->direct + col * mat_rows_direct_bytes(j->act, j->c->cols);
}

static const struct {
    uint8_t rows, cols;
} shapes[] = {[MAT_4X1] = {4, 1}, [MAT_2X2] = {2, 2}, [MAT_2X4] = {2, 4}, [MAT_1X8] = {1, 8}};

/* F32's kernel over rows that are dequantised a piece at a time. */
static void dot_expanded(const struct mat_job *j, enum mat_shape s, const struct mat_dot *a)
{
    const struct dtype_info *t = dtype_info(j->dtype);
    uint32_t n_rows = shapes[s].rows, n_cols = shapes[s].cols;
    float w[4][EXPAND], out[8];
    struct mat_dot part = {.dtype = DTYPE_F32, .out = out};
    memset(a->out, 0, n_rows * n_cols * sizeof *a->out);
    for (uint64_t at = 0; at < a->cols; at += EXPAND) {
        part.cols = MAT_MIN(a->cols - at, EXPAND);
        for (uint32_t r = 0; r < n_rows; r++) {
            bool same = r > 0 && a->w[r] == a->w[r - 1];
            if (!same) j->expand(a->w[r] + at / t->elems * t->bytes, w[r], part.cols);
            part.w[r] = same ? part.w[r - 1] : (const uint8_t *)w[r];
        }
        for (uint32_t c = 0; c < n_cols; c++)
            part.x[c] = (const float *)a->x[c] + at;
        j->ops->dots[DTYPE_F32][s](&part);
        for (uint32_t i = 0; i < n_rows * n_cols; i++)
            a->out[i] += out[i];
    }
}

/* n <= MAT_RUN rows of each of `streams` streams, the first at `row`, `apart` rows apart, against
 * columns first..last-1, at most as many as the shape has. */
static void direct_run(const struct mat_job *j, enum mat_shape s, const uint64_t at[2],
                       uint32_t streams, uint32_t n, const uint64_t cols[2])
{
    uint64_t row = at[0], apart = at[1], first = cols[0], last = cols[1];
    float out[8], v[8][4][MAT_RUN];
    struct mat_dot a = {.dtype = j->dtype, .cols = j->c->cols, .out = out};
    uint32_t width = shapes[s].cols, used = (uint32_t)(last - first);
    mat_dot_fn *dot = j->kernel == j->dtype ? j->ops->dots[j->dtype][s] : NULL;
    for (uint32_t g = 0; g < width; g++) /* a missing column repeats the last, as does a stream */
        a.x[g] = direct_column(j, MAT_MIN(first + g, last - 1));
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t t = 0; t < shapes[s].rows; t++)
            a.w[t] = j->w + (row + i + MAT_MIN(t, streams - 1u) * apart) * j->row_bytes;
        if (dot)
            dot(&a);
        else
            dot_expanded(j, s, &a);
        for (uint32_t t = 0; t < streams; t++)
            for (uint32_t g = 0; g < used; g++)
                v[g][t][i] = out[t * width + g];
    }
    for (uint32_t g = 0; g < used; g++)
        for (uint32_t t = 0; t < streams; t++)
            finish(j, first + g, row + t * apart, v[g][t], n);
}

/* A run of rows against all columns, eight at a time: the run stays in cache. */
static void direct_cols(const struct mat_job *j, enum mat_shape s, uint64_t row, uint64_t apart,
                        uint32_t streams, uint32_t n)
{
    uint64_t n_cols = j->c->n, width = shapes[s].cols, at[2] = {row, apart};
    for (uint64_t col = 0; col < n_cols; col += width) {
        uint64_t cols[2] = {col, MAT_MIN(n_cols, col + width)};
        direct_run(j, s, at, streams, n, cols);
    }
}

void mat_rows_direct(const struct mat_job *j)
{
    uint64_t n = j->c->n;
    enum mat_shape s = n == 1 ? MAT_4X1 : n == 2 ? MAT_2X2 : n <= 5 ? MAT_2X4 : MAT_1X8;
    uint32_t streams = shapes[s].rows;
    uint64_t apart = (j->to - j->from) / streams;
    for (uint64_t i = 0; i < apart; i += MAT_RUN)
        direct_cols(j, s, j->from + i, apart, streams, (uint32_t)MAT_MIN(apart - i, MAT_RUN));
    uint64_t row = j->from + apart * streams;
    if (row < j->to) direct_cols(j, s, row, 1, (uint32_t)(j->to - row), 1);
}

/* One row of a strip: its pieces lie `apart` bytes apart. */
static void unpack_row(const struct mat_job *j, const uint8_t *w, uint8_t *to, size_t apart)
{
    uint64_t cols = j->c->cols, step = chunk_values(j->act);
    const struct dtype_info *t = dtype_info(j->dtype);
    mat_unpack_fn *unpack = j->ops->strips[j->dtype].unpack;
    for (uint64_t at = 0; at < cols; at += step, to += apart)
        unpack(w + at / t->elems * t->bytes, (uint32_t)MAT_MIN(cols - at, step), to);
}

static void expand_row(const struct mat_job *j, const uint8_t *w, uint8_t *to, size_t apart)
{
    uint64_t cols = j->c->cols;
    const struct dtype_info *t = dtype_info(j->dtype);
    float v[EXPAND];
    for (uint64_t at = 0; at < cols; at += EXPAND) {
        uint64_t n = MAT_MIN(cols - at, EXPAND);
        j->expand(w + at / t->elems * t->bytes, v, n);
        for (uint64_t i = 0; i < n; i += MAT_FCHUNK, to += apart)
            memcpy(to, v + i, MAT_MIN(n - i, MAT_FCHUNK) * sizeof *v);
    }
}

static void unpack_strip(const struct mat_job *j, uint64_t row, uint32_t rows, uint32_t padded,
                         uint8_t *strip)
{
    size_t piece = piece_size(j->act);
    for (uint32_t i = 0; i < padded; i++) { /* rows past the end repeat the last one */
        const uint8_t *w = j->w + (row + MAT_MIN(i, rows - 1u)) * j->row_bytes;
        if (j->kernel == j->dtype)
            unpack_row(j, w, strip + i * piece, padded * piece);
        else
            expand_row(j, w, strip + i * piece, padded * piece);
    }
}

/* The strip against one or two units of columns. */
static void strip_units(const struct mat_job *j, uint64_t row, uint32_t rows, uint32_t padded,
                        uint64_t unit)
{
    const struct mat_cols *c = j->c;
    struct mat_own *own = j->own;
    uint64_t step = chunk_values(j->act), chunks = MAT_CEIL(c->cols, step);
    size_t panel = panel_size(j->act), piece = piece_size(j->act);
    uint64_t col = unit * MAT_UNIT, n = MAT_MIN(c->n - col, 2 * MAT_UNIT);
    const struct mat_strip *kernel = &j->ops->strips[j->kernel];
    struct mat_gemm g = {.rows = padded, .units = n > MAT_UNIT ? 2 : 1, .off = kernel->off};
    g.o = own->o[0];
    memset(own->o, 0, padded * sizeof own->o[0]);
    for (uint64_t i = 0; i < chunks; i++) {
        g.w = (const uint8_t *)(own + 1) + i * padded * piece;
        g.x[0] = c->panels + (unit * chunks + i) * panel;
        g.x[1] = c->panels + ((unit + g.units - 1) * chunks + i) * panel;
        g.k = (uint32_t)MAT_MIN(c->cols - i * step, step);
        kernel->gemm(&g);
    }
    for (uint32_t i = 0; i < padded; i += 16) /* the areas hold a multiple of 16 rows */
        for (uint32_t u = 0; u < g.units; u++)
            j->ops->transpose(own->o[i] + u * MAT_UNIT, 2 * MAT_UNIT, own->t[u * MAT_UNIT] + i,
                              MAT_STRIP);
    for (uint64_t i = 0; i < n; i++)
        finish(j, col + i, row, own->t[i], rows);
}

void mat_rows_panel(const struct mat_job *j)
{
    uint64_t n = j->to - j->from, units = MAT_CEIL(j->c->n, MAT_UNIT);
    uint64_t n_strips = MAT_CEIL(n, mat_rows_strip(j->act, j->c->cols));
    if (n == 0) return;
    uint64_t each = MAT_CEIL(MAT_CEIL(n, n_strips), MAT_TILE) * MAT_TILE;
    for (uint64_t row = j->from; row < j->to; row += each) {
        uint32_t rows = (uint32_t)MAT_MIN(each, j->to - row);
        uint32_t padded = (uint32_t)(MAT_CEIL(rows, MAT_TILE) * MAT_TILE);
        unpack_strip(j, row, rows, padded, (uint8_t *)(j->own + 1));
        for (uint64_t u = 0; u < units; u += 2)
            strip_units(j, row, rows, padded, u);
    }
}
