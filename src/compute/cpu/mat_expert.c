/* mat_expert: products of which each row chooses its own matrices.
 *
 * A pair is a row and one of its slots: one column for one matrix. The caller's thread sorts the
 * pairs by matrix (counting sort, all in the scratch) and makes a group of each matrix that anybody
 * wants; then one job of the pool prepares the activations, meets at a barrier and multiplies.
 * Groups of many columns take the way of panels, the others the direct one. All rows of all groups
 * of a way lie behind one another as if they were one tall matrix, of which each thread has an
 * equal share and helps the others when done (mat_share.h). So one token keeps all threads busy to
 * the end, whatever the number of its experts; a matrix that nobody chose is never touched.
 *
 * Rows of y are summed as in mat.c: equal bits for any number of threads, float rounding between
 * the two ways.
 */
#include "compute/cpu/mat.h"

#include <string.h>

#include "compute/cpu/mat_rows.h"
#include "compute/cpu/mat_share.h"

enum way { PANEL, DIRECT, WAYS };

/* One matrix and the columns that want it. */
struct group {
    const uint8_t *w;
    const float *bias;
    struct mat_cols cols;
};

struct run {
    const struct mat_experts *c;
    const struct mat_isa_ops *ops;
    struct pool *pool;
    enum mat_act act;
    struct group *groups; /* those of panels first */
    uint32_t n_groups[WAYS];
    struct mat_cols direct; /* what is to be brought into the direct form */
    uint8_t *own;
    uint64_t own_bytes;
    struct mat_lane *lanes;
};

/* Offsets of the parts of the scratch. */
struct layout {
    uint64_t count, at, groups, direct, panels, own, lanes, total;
};

static uint64_t place(struct layout *l, uint64_t bytes)
{
    uint64_t at = l->total;
    l->total += MAT_CEIL(bytes, MAT_ALIGN) * MAT_ALIGN;
    return at;
}

/* Every part grows with every dimension, so that the largest call's scratch serves every other. */
static struct layout layout_of(const struct mat_experts *c, uint32_t n_threads)
{
    struct layout l = {0};
    uint64_t pairs = c->n * c->n_used, most = MAT_MIN(pairs, c->n_experts), direct = 0, panels = 0;
    uint64_t units = pairs / MAT_UNIT + most; /* each group ends with a unit that is not full */
    for (enum mat_act a = MAT_ACT_F32; a < MAT_ACT_COUNT; a++) {
        uint64_t d = pairs * mat_rows_direct_bytes(a, c->cols);
        uint64_t p = units * mat_rows_panel_bytes(a, MAT_UNIT, c->cols);
        direct = d > direct ? d : direct;
        panels = p > panels ? p : panels;
    }
    if (pairs <= MAT_DIRECT_MAX) panels = 0; /* no group can have more columns than there are */
    l.count = place(&l, c->n_experts * sizeof(uint32_t));
    l.at = place(&l, pairs * sizeof(struct mat_col));
    l.groups = place(&l, most * sizeof(struct group));
    l.direct = place(&l, direct);
    l.panels = place(&l, panels);
    l.own = place(&l, panels ? n_threads * mat_rows_own_bytes(c->cols) : 0);
    l.lanes = place(&l, n_threads * sizeof(struct mat_lane));
    return l;
}

size_t mat_experts_scratch_bytes(const struct mat_experts *most, uint32_t n_threads)
{
    return layout_of(most, n_threads).total;
}

/* ---- sorting ---- */

static uint32_t expert_of(const struct mat_experts *c, uint64_t row, uint32_t slot)
{
    if (!c->ids) return slot;
    float id = c->ids[row * c->n_used + slot];
    ASSERT(id >= 0 && id < (float)c->n_experts);
    return (uint32_t)id;
}

static enum way way_of(const struct run *r, uint32_t n)
{
    return n > MAT_DIRECT_MAX && r->ops->strips ? PANEL : DIRECT;
}

/* A group for each matrix that is wanted. count[e] is the number of e's pairs and becomes the place
 * of its first one in `at`; n_pairs, of either way, is filled in. */
static void make_groups(struct run *r, uint32_t *count, struct mat_col *at, uint8_t *panels,
                        uint64_t n_pairs[WAYS])
{
    const struct mat_experts *c = r->c;
    uint64_t matrix = mat_rows_job(r->ops, &r->direct, c->dtype).row_bytes * c->rows;
    for (uint32_t e = 0; e < c->n_experts; e++) {
        r->n_groups[way_of(r, count[e])] += count[e] > 0;
        n_pairs[way_of(r, count[e])] += count[e];
    }
    uint64_t next[WAYS] = {0, n_pairs[PANEL]};
    struct group *group[WAYS] = {r->groups, r->groups + r->n_groups[PANEL]};
    for (uint32_t e = 0; e < c->n_experts; e++) {
        uint32_t n = count[e];
        enum way way = way_of(r, n);
        count[e] = (uint32_t)next[way];
        if (n == 0) continue;
        *group[way]++ = (struct group){
            .w = c->parts ? c->parts[e] : (const uint8_t *)c->w + e * matrix,
            .bias = c->bias ? c->bias + e * c->rows : NULL,
            .cols = {.n = n, .cols = c->cols, .at = at + next[way], .panels = panels}};
        next[way] += n;
        if (way == PANEL) panels += mat_rows_panel_bytes(r->act, n, c->cols);
    }
}

static void sort_pairs(struct run *r, uint8_t *scratch, const struct layout *l)
{
    const struct mat_experts *c = r->c;
    uint32_t *count = (uint32_t *)(void *)(scratch + l->count);
    struct mat_col *at = (struct mat_col *)(void *)(scratch + l->at);
    uint64_t n_pairs[WAYS] = {0}, bytes = mat_rows_direct_bytes(r->act, c->cols);
    bool shared = c->x_slot == 0;
    memset(count, 0, c->n_experts * sizeof *count);
    for (uint64_t i = 0; i < c->n; i++)
        for (uint32_t k = 0; k < c->n_used; k++)
            count[expert_of(c, i, k)]++;
    r->direct = (struct mat_cols){.cols = c->cols, .direct = scratch + l->direct};
    make_groups(r, count, at, scratch + l->panels, n_pairs);
    for (uint64_t i = 0; i < c->n; i++)
        for (uint32_t k = 0; k < c->n_used; k++) {
            uint64_t p = count[expert_of(c, i, k)]++;
            uint64_t form = shared ? i : p - n_pairs[PANEL]; /* unused where p is of a panel */
            at[p] = (struct mat_col){.x = c->x + i * c->x_row + k * c->x_slot,
                                     .direct = r->direct.direct + form * bytes,
                                     .y = c->y + i * c->y_row + k * c->y_slot};
        }
    if (r->n_groups[DIRECT] == 0) return;
    r->direct.n = shared ? c->n : n_pairs[DIRECT];
    r->direct.x = c->x;
    r->direct.x_stride = c->x_row;
    r->direct.at = shared ? NULL : at + n_pairs[PANEL];
}

/* ---- the call ---- */

/* Rows from..to-1 of all the groups of a way, one below the other. */
static void run_piece(const struct run *r, enum way way, const uint64_t piece[2], uint32_t thread)
{
    const struct mat_experts *c = r->c;
    const struct group *groups = r->groups + (way == PANEL ? 0 : r->n_groups[PANEL]);
    for (uint64_t row = piece[0]; row < piece[1];) {
        const struct group *g = groups + row / c->rows;
        struct mat_job j = mat_rows_job(r->ops, &g->cols, c->dtype);
        j.w = g->w;
        j.bias = g->bias;
        j.fin = MAT_FIN_STORE;
        j.own = (struct mat_own *)(void *)(r->own + thread * r->own_bytes);
        j.from = row % c->rows;
        j.to = MAT_MIN(c->rows, j.from + piece[1] - row);
        (way == PANEL ? mat_rows_panel : mat_rows_direct)(&j);
        row += j.to - j.from;
    }
}

static void work(void *arg, uint32_t thread, uint32_t n_threads)
{
    const struct run *r = arg;
    uint64_t piece[2], least[WAYS] = {mat_rows_strip(r->act, r->c->cols), MAT_DIRECT_LEAST};
    mat_rows_to_direct(r->ops, r->act, &r->direct, thread, n_threads);
    for (uint32_t g = 0; g < r->n_groups[PANEL]; g++)
        mat_rows_to_panels(r->ops, r->act, &r->groups[g].cols, thread, n_threads);
    if (r->n_groups[PANEL] > 0 || r->act != MAT_ACT_F32) pool_barrier(r->pool);
    for (enum way way = PANEL; way < WAYS; way++)
        while (mat_share_take(r->lanes, thread, n_threads, way, least[way], piece))
            run_piece(r, way, piece, thread);
}

void mat_experts_run(struct pool *p, enum mat_isa isa, const struct mat_experts *c)
{
    struct run r = {.c = c, .ops = mat_ops_of(isa), .pool = p, .act = mat_act_of(c->dtype)};
    struct layout l = layout_of(c, pool_threads(p));
    uint8_t *scratch = c->scratch;
    ASSERT(r.act != MAT_ACT_NONE && (c->ids || c->n_used <= c->n_experts));
    if (c->n == 0 || c->n_used == 0 || c->rows == 0) return;
    r.groups = (struct group *)(void *)(scratch + l.groups);
    r.own = scratch + l.own;
    r.own_bytes = mat_rows_own_bytes(c->cols);
    r.lanes = (struct mat_lane *)(void *)(scratch + l.lanes);
    sort_pairs(&r, scratch, &l);
    for (enum way way = PANEL; way < WAYS; way++)
        mat_share_init(r.lanes, pool_threads(p), way, r.n_groups[way] * c->rows, MAT_RUN);
    pool_run(p, work, &r);
}
