/* cpu_attn: grouped-query attention over the paged cache, causal or not, with or without a window.
 *
 * One routine serves decode and prefill. A tile is up to CPU_ROWS rows: the query heads that share
 * a kv head, times consecutive positions of one span. It goes over the keys that its rows see in
 * groups of CPU_GROUP, counted from position 0. For a group it makes the scores (a gemm with each
 * block's keys, which lie transposed), their softmax within the group, and the weighted values (a
 * gemm with each block's values): a part. Parts of the groups are merged in order by their maxima
 * and sums, which is the online softmax of Milakov and Gimelshein 2018 in the blocked form of Dao
 * et al. 2022. Keys and values thus stream through once a tile, each block prefetched while the one
 * before is worked on; 16-bit values and 8-bit codes are widened on the fly where the tile is
 * small, once a block where it is large, 4-bit codes always once a block.
 *
 * Tiles are dealt to the threads by a counter, long ones first. Where there are fewer tiles than
 * keep the threads busy, the groups of a tile are shared out as well and the parts merged
 * afterwards.
 *
 * Invariant: the sums of a row are cut at multiples of CPU_GROUP and nowhere else, and merged in
 * order, so its result is bitwise the same whatever tile it is in and whichever threads work on it.
 * Blocks outside of a tile's window are skipped; a row that does not see a block which its tile
 * does see adds zeros for it.
 */
#include "compute/cpu/cpu_int.h"

#include <math.h>
#include <string.h>

#define PARTS_PER_THREAD 16 /* full parts kept for splitting, a thread */
#define ITEMS_PER_THREAD 4  /* from here on tiles alone keep the threads even */

/* What one tile got from one group of keys, or from all groups so far: rows of m (maximum), rows of
 * sum (0: no key seen), rows x width of the weighted values, not yet divided by sum. */
struct part {
    float *m, *sum, *o;
};

/* One thread's scratch. */
struct scratch {
    float *q;     /* [pieces of CPU_GROUP columns][CPU_ROWS][CPU_LD], scaled */
    float *s;     /* [CPU_ROWS][CPU_LD] scores, then weights */
    float *slope; /* [CPU_ROWS] of linear biases */
    float *wide;  /* a piece of the cache as float32 */
    struct part group, all;
};

/* A tile and a kv head: what one thread works on at a time. */
struct item {
    const struct batch_span *span;
    uint32_t first, n_pos; /* rows of the span */
    uint32_t kv_head, head, n_heads;
    uint32_t rows;             /* n_pos * n_heads; row = position * n_heads + head */
    uint32_t pos;              /* of the first */
    uint32_t key_from, key_to; /* positions that any row sees */
    uint32_t group_from, n_groups;
};

struct job {
    struct dev *d;
    const struct plan_step *s;
    const struct batch *b;
    const struct cpu_cache *c;
    const float *sinks; /* [n_head] or NULL */
    uint32_t per_kv;    /* query heads that share a kv head */
    uint32_t cuts;      /* tiles of query heads that one kv head needs, mostly 1 */
    uint32_t n_items, n_groups, most_rows, wave;
    atomic_uint next;
};

/* ---- sizes ---- */

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint64_t part_floats(uint64_t rows, uint64_t width)
{
    return rows * (2 + width);
}

static uint64_t q_floats(uint64_t dim)
{
    return round_up(dim, CPU_GROUP) / CPU_GROUP * CPU_ROWS * CPU_LD;
}

static uint64_t wide_floats(uint64_t dim, uint64_t width)
{
    uint64_t lines = dim < CPU_GROUP ? dim : CPU_GROUP; /* of keys, that are worked on at once */
    return KV_BLOCK * (lines > width ? lines : width);
}

/* The largest k_dim, and the largest v_dim rounded up. */
static void largest(const struct plan *p, uint32_t *dim, uint32_t *width)
{
    *dim = *width = 0;
    for (uint32_t i = 0; i < p->n_caches; i++) {
        uint32_t v = (uint32_t)round_up(p->caches[i].v_dim, 16);
        if (*dim < p->caches[i].k_dim) *dim = p->caches[i].k_dim;
        if (*width < v) *width = v;
    }
}

static uint64_t thread_bytes(const struct plan *p)
{
    uint32_t dim, width;
    largest(p, &dim, &width);
    if (p->n_caches == 0) return 0;
    uint64_t floats = q_floats(dim) + CPU_ROWS * CPU_LD + CPU_ROWS + wide_floats(dim, width) +
                      2 * round_up(part_floats(CPU_ROWS, width), 16);
    return round_up(floats * sizeof(float), CPU_LINE);
}

void cpu_attn_measure(struct cpu_layout *l, const struct plan *p, const struct dev_conf *c)
{
    uint32_t dim, width;
    largest(p, &dim, &width);
    uint64_t parts = c->n_threads > 1 && p->n_caches ? PARTS_PER_THREAD + ITEMS_PER_THREAD : 0;
    uint64_t part = part_floats(CPU_ROWS, width) * sizeof(float);
    l->kv.tiles = cpu_place(l, p->n_caches ? cpu_mul(c->max_batch, sizeof(struct cpu_tile)) : 0);
    l->kv.scratch = cpu_place(l, cpu_mul(thread_bytes(p), c->n_threads));
    l->kv.part = cpu_place(l, cpu_mul(cpu_mul(parts, c->n_threads), part));
}

void cpu_attn_bind(struct dev *d, const struct cpu_layout *l, char *base)
{
    largest(d->plan, &d->kv.dim, &d->kv.width);
    d->kv.tiles = (struct cpu_tile *)(void *)(base + l->kv.tiles);
    d->kv.scratch = base + l->kv.scratch;
    d->kv.thread_bytes = thread_bytes(d->plan);
    d->kv.part = (float *)(void *)(base + l->kv.part);
}

static struct part part_at(float *base, uint32_t rows)
{
    return (struct part){base, base + rows, base + 2 * (size_t)rows};
}

static struct scratch scratch_of(const struct dev *d, uint32_t thread)
{
    struct scratch t;
    size_t part = round_up(part_floats(CPU_ROWS, d->kv.width), 16);
    t.q = (float *)(void *)(d->kv.scratch + thread * d->kv.thread_bytes);
    t.s = t.q + q_floats(d->kv.dim);
    t.slope = t.s + CPU_ROWS * CPU_LD;
    t.wide = t.slope + CPU_ROWS;
    float *parts = t.wide + wide_floats(d->kv.dim, d->kv.width);
    t.group = part_at(parts, CPU_ROWS);
    t.all = part_at(parts + part, CPU_ROWS);
    return t;
}

/* ---- who sees what ---- */

/* Keys that the query at `pos` of the span sees: *from .. *to - 1. */
static void seen(const struct plan_step *s, const struct batch_span *span, uint32_t pos,
                 uint32_t *from, uint32_t *to)
{
    uint32_t window = s->u.attn.window, total = span->pos + span->n;
    uint32_t back = s->u.attn.all ? window / 2 : window - 1;
    *from = window && pos > back ? pos - back : 0;
    *to = pos + 1;
    if (!s->u.attn.all) return;
    *to = window && total - pos > window / 2 + 1 ? pos + window / 2 + 1 : total;
}

/* Slope of a head's linear bias: powers of two to the heads' number rounded down to such, then
 * those between them (Press et al. 2021). */
static float slope_of(const struct plan_step *s, uint32_t head)
{
    uint32_t n = 1;
    while (n <= s->n_head / 2)
        n *= 2;
    double steps = head < n ? head + 1.0 : (head - n) + 0.5;
    return (float)exp2(-(double)s->u.attn.alibi / n * steps);
}

/* ---- one tile against one group ---- */

/* Queries of the item, scaled, in pieces of CPU_GROUP columns. */
static void pack_queries(const struct job *j, const struct item *it, const struct scratch *t)
{
    const struct dev *d = j->d;
    uint32_t dim = j->c->k.dim;
    for (uint32_t r = 0; r < it->rows; r++) {
        uint64_t row = it->span->first + it->first + r / it->n_heads;
        uint32_t head = it->head + r % it->n_heads;
        const float *q = d->reg[j->s->src] + (row * j->s->n_head + head) * dim;
        float *out = t->q + (size_t)r * CPU_LD;
        for (uint32_t c = 0; c < dim; c += CPU_GROUP, out += CPU_ROWS * CPU_LD)
            d->vec->scale(out, q + c, j->s->scale, min32(CPU_GROUP, dim - c));
        if (j->s->u.attn.alibi > 0) t->slope[r] = slope_of(j->s, head);
    }
}

/* Scales of a piece from line `first` on. */
static const char *scales_at(const struct cpu_side *side, const char *piece, uint32_t first,
                             bool keys)
{
    return piece + side->scales + (keys ? (size_t)first / 32 * KV_BLOCK * sizeof(uint16_t) : 0);
}

/* g->k lines of a piece from line `first` on to float32, if the gemm is to have them so. */
static bool widen(const struct job *j, const struct cpu_side *side, const char *piece,
                  uint32_t first, float *wide, const struct cpu_gemm *g)
{
    const struct cpu_vec *vec = j->d->vec;
    bool keys = side == &j->c->k;
    struct cpu_widen w = {.y = wide, .b = g->b, .next = g->next, .k = g->k, .n = g->n};
    w.scale = scales_at(side, piece, first, keys);
    switch (side->type) {
    case DTYPE_F16: vec->widen_f16(&w); return true;
    case DTYPE_BF16: vec->widen_bf16(&w); return true;
    case DTYPE_Q8_0: vec->widen_q8_0[keys ? 0 : 1](&w); return true;
    case DTYPE_Q4_0: vec->widen_q4_0[keys ? 0 : 1](&w); return true;
    default: return false;
    }
}

/* The gemm with codes as they lie; only their scales are widened before. */
static void multiply_q8(const struct job *j, const struct cpu_side *side, const char *piece,
                        uint32_t first, float *wide, struct cpu_gemm *g)
{
    bool keys = side == &j->c->k;
    const char *scales = scales_at(side, piece, first, keys);
    struct cpu_widen w = {.y = wide, .b = scales, .next = scales, .k = 1, .n = g->k * g->n / 32};
    j->d->vec->widen_f16(&w);
    g->scale = wide;
    j->d->vec->gemm_q8_0[keys ? 0 : 1](g);
}

/* c (+)= a times so many lines of a piece from line `first` on: g has the rest. */
static void multiply(const struct job *j, const struct cpu_side *side, const char *piece,
                     uint32_t first, float *wide, struct cpu_gemm *g)
{
    const struct cpu_vec *vec = j->d->vec;
    bool small = g->rows <= 2 * vec->tile;
    g->b = piece + first * side->line;
    g->n = side->width;
    if (small && side->type == DTYPE_F16) {
        vec->gemm_f16(g);
    } else if (small && side->type == DTYPE_BF16) {
        vec->gemm_bf16(g);
    } else if (small && side->type == DTYPE_Q8_0) {
        multiply_q8(j, side, piece, first, wide, g);
    } else {
        if (widen(j, side, piece, first, wide, g)) g->b = g->next = wide;
        vec->gemm_f32(g);
    }
}

/* Scores of a block: the columns of the queries in pieces, as they were packed. */
static void score(const struct job *j, const struct scratch *t, const char *keys, const char *next,
                  float *s, uint32_t rows)
{
    const struct cpu_side *side = &j->c->k;
    const float *q = t->q;
    for (uint32_t c = 0; c < side->dim; c += CPU_GROUP, q += CPU_ROWS * CPU_LD) {
        struct cpu_gemm g = {.c = s,
                             .a = q,
                             .next = next + c * side->line,
                             .ldc = CPU_LD,
                             .rows = rows,
                             .k = min32(CPU_GROUP, side->dim - c),
                             .onto = c > 0};
        multiply(j, side, keys, c, t->wide, &g);
    }
}

/* Scores of keys base.. base + n - 1 to weights; rows that see none of them get sum 0. */
static void weigh(const struct job *j, const struct item *it, const struct scratch *t,
                  uint32_t base, uint32_t n, struct part *out)
{
    const struct cpu_vec *vec = j->d->vec;
    const struct plan_step *s = j->s;
    uint32_t n_all = (uint32_t)round_up(n, KV_BLOCK), from, to;
    for (uint32_t r = 0; r < it->rows; r++) {
        uint32_t pos = it->pos + r / it->n_heads;
        float *row = t->s + (size_t)r * CPU_LD;
        seen(s, it->span, pos, &from, &to);
        from = from > base ? from - base : 0;
        to = to > base ? min32(to - base, n) : 0;
        if (from >= to) {
            memset(row, 0, n_all * sizeof *row);
            out->m[r] = out->sum[r] = 0;
            continue;
        }
        float *x = row + from;
        if (s->u.attn.softcap > 0) vec->softcap(x, x, s->u.attn.softcap, to - from);
        if (s->u.attn.alibi > 0)
            vec->alibi(x, t->slope[r], (float)pos - (float)(base + from), to - from);
        memset(row, 0, from * sizeof *row);
        /* What is zeroed beyond n_all lies in the odd line between rows. */
        out->m[r] = vec->softmax(x, to - from, (uint32_t)round_up(n_all - from, 16), &out->sum[r]);
    }
}

static void attend_group(const struct job *j, const struct item *it, const struct scratch *t,
                         uint32_t group, struct part *out)
{
    const struct cpu_cache *c = j->c;
    uint32_t head = it->kv_head, base = group * CPU_GROUP;
    uint32_t n = min32(CPU_GROUP, it->key_to - base), n_blocks = (n + KV_BLOCK - 1) / KV_BLOCK;
    uint32_t first = it->key_from > base ? (it->key_from - base) / KV_BLOCK : 0;
    const uint32_t *blocks = it->span->blocks + base / KV_BLOCK;
    const char *k = cpu_cache_piece(c, &c->k, blocks[first], head);
    const char *v = cpu_cache_piece(c, &c->v, blocks[first], head);
    for (uint32_t i = first; i < n_blocks; i++) {
        bool last = i + 1 == n_blocks;
        const char *next = last ? v : cpu_cache_piece(c, &c->k, blocks[i + 1], head);
        score(j, t, k, next, t->s + (size_t)i * KV_BLOCK, it->rows);
        k = next;
    }
    weigh(j, it, t, base, n, out);
    for (uint32_t i = first; i < n_blocks; i++) {
        bool last = i + 1 == n_blocks, more = base + n < it->key_to;
        const char *next = v;
        if (!last)
            next = cpu_cache_piece(c, &c->v, blocks[i + 1], head);
        else if (more)
            next = cpu_cache_piece(c, &c->k, blocks[n_blocks], head);
        struct cpu_gemm g = {.c = out->o,
                             .a = t->s + (size_t)i * KV_BLOCK,
                             .next = next,
                             .ldc = c->v.width,
                             .rows = it->rows,
                             .k = min32(KV_BLOCK, n - i * KV_BLOCK),
                             .onto = i > first};
        multiply(j, &c->v, v, 0, t->wide, &g);
        v = next;
    }
}

/* all += group, each row's maximum and sum kept right. */
static void merge(const struct job *j, struct part *all, const struct part *group, uint32_t rows)
{
    const struct cpu_vec *vec = j->d->vec;
    size_t width = j->c->v.width;
    for (uint32_t r = 0; r < rows; r++) {
        float *o = all->o + r * width;
        const float *x = group->o + r * width;
        if (group->sum[r] == 0) continue;
        if (all->sum[r] == 0) {
            memcpy(o, x, width * sizeof *o);
            all->m[r] = group->m[r];
            all->sum[r] = group->sum[r];
            continue;
        }
        float a = 1, b = 1;
        if (group->m[r] > all->m[r]) {
            a = vec->exp1(all->m[r] - group->m[r]);
            all->m[r] = group->m[r];
        } else {
            b = vec->exp1(group->m[r] - all->m[r]);
        }
        all->sum[r] = all->sum[r] * a + group->sum[r] * b;
        vec->blend(o, a, x, b, (uint32_t)width);
    }
}

/* A sink joins the sum of a row and nothing else. */
static float factor(const struct cpu_vec *vec, float m, float sum, const float *sink)
{
    if (!sink) return 1.0f / sum;
    if (*sink <= m) return 1.0f / (sum + vec->exp1(*sink - m));
    float less = vec->exp1(m - *sink);
    return less / (sum * less + 1.0f);
}

static void store(const struct job *j, const struct item *it, const struct part *all)
{
    const struct dev *d = j->d;
    uint32_t dim = j->c->v.dim;
    for (uint32_t r = 0; r < it->rows; r++) {
        uint64_t row = it->span->first + it->first + r / it->n_heads;
        uint32_t head = it->head + r % it->n_heads;
        float *out = d->reg[j->s->dst] + (row * j->s->n_head + head) * dim;
        float by = factor(d->vec, all->m[r], all->sum[r], j->sinks ? j->sinks + head : NULL);
        d->vec->scale(out, all->o + (size_t)r * j->c->v.width, by, dim);
    }
}

/* ---- dealing out ---- */

/* Items in order: tiles last to first, so that of a long prompt the longest come first. */
static struct item item_at(const struct job *j, uint32_t i)
{
    const struct cpu_kv *kv = &j->d->kv;
    uint32_t per_tile = j->c->n_head * j->cuts, cut = i % per_tile % j->cuts, unused;
    const struct cpu_tile *t = &kv->tiles[kv->n_tiles - 1 - i / per_tile];
    struct item it = {.span = &j->b->spans[t->span], .first = t->first, .n_pos = t->n};
    it.kv_head = i % per_tile / j->cuts;
    it.head = it.kv_head * j->per_kv + cut * CPU_ROWS;
    it.n_heads = min32(j->per_kv - cut * CPU_ROWS, CPU_ROWS);
    it.rows = it.n_pos * it.n_heads;
    it.pos = it.span->pos + t->first;
    seen(j->s, it.span, it.pos, &it.key_from, &unused);
    seen(j->s, it.span, it.pos + it.n_pos - 1, &unused, &it.key_to);
    it.group_from = it.key_from / CPU_GROUP;
    it.n_groups = (it.key_to + CPU_GROUP - 1) / CPU_GROUP - it.group_from;
    return it;
}

static void whole_items(void *arg, uint32_t thread, uint32_t n_threads)
{
    struct job *j = arg;
    struct scratch t = scratch_of(j->d, thread);
    (void)n_threads;
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed);
        if (i >= j->n_items) return;
        struct item it = item_at(j, i);
        pack_queries(j, &it, &t);
        memset(t.all.sum, 0, it.rows * sizeof *t.all.sum);
        for (uint32_t g = 0; g < it.n_groups; g++) {
            attend_group(j, &it, &t, it.group_from + g, &t.group);
            merge(j, &t.all, &t.group, it.rows);
        }
        store(j, &it, &t.all);
    }
}

/* The same for few items: in waves of `wave` groups, parts by (item, group), then merged by item.
 */
static void split_items(void *arg, uint32_t thread, uint32_t n_threads)
{
    struct job *j = arg;
    struct dev *d = j->d;
    struct scratch t = scratch_of(d, thread);
    size_t slot = part_floats(j->most_rows, j->c->v.width);
    float *sums = d->kv.part, *parts = sums + j->n_items * slot;
    uint64_t from, to, item_from, item_to;
    pool_share(j->n_items, 1, thread, n_threads, &item_from, &item_to);
    for (uint32_t first = 0; first < j->n_groups; first += j->wave) {
        uint32_t wave = min32(j->wave, j->n_groups - first), packed = UINT32_MAX;
        pool_share((uint64_t)j->n_items * wave, 1, thread, n_threads, &from, &to);
        for (uint64_t u = from; u < to; u++) {
            uint32_t i = (uint32_t)(u / wave), g = first + (uint32_t)(u % wave);
            struct item it = item_at(j, i);
            if (g >= it.n_groups) continue;
            if (packed != i) pack_queries(j, &it, &t);
            packed = i;
            struct part part = part_at(parts + u * slot, it.rows);
            attend_group(j, &it, &t, it.group_from + g, &part);
        }
        pool_barrier(d->pool);
        for (uint64_t i = item_from; i < item_to; i++) {
            struct item it = item_at(j, (uint32_t)i);
            struct part all = part_at(sums + i * slot, it.rows);
            if (first == 0) memset(all.sum, 0, it.rows * sizeof *all.sum);
            for (uint32_t g = 0; g < wave && first + g < it.n_groups; g++) {
                struct part part = part_at(parts + (i * wave + g) * slot, it.rows);
                merge(j, &all, &part, it.rows);
            }
            if (first + wave >= j->n_groups) store(j, &it, &all);
        }
        pool_barrier(d->pool);
    }
}

void cpu_kv_begin(struct dev *d, const struct batch *b)
{
    (void)b;
    d->kv.tile_rows = 0;
}

/* Layers mostly share a number of query heads, and with it the cut of the batch. */
static void cut_batch(struct cpu_kv *kv, const struct batch *b, uint32_t rows)
{
    if (kv->tile_rows == rows) return;
    kv->tile_rows = rows;
    kv->n_tiles = 0;
    for (uint32_t s = 0; s < b->n_spans; s++)
        for (uint32_t i = 0; i < b->spans[s].n; i += rows)
            kv->tiles[kv->n_tiles++] = (struct cpu_tile){s, i, min32(rows, b->spans[s].n - i)};
}

void cpu_op_attn(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint32_t n_threads = pool_threads(d->pool);
    struct job j = {.d = d, .s = s, .b = b, .c = &d->kv.caches[s->index]};
    j.sinks = cpu_small(d, s->w);
    j.per_kv = s->n_head / j.c->n_head;
    j.cuts = (j.per_kv + CPU_ROWS - 1) / CPU_ROWS;
    cut_batch(&d->kv, b, j.per_kv < CPU_ROWS ? CPU_ROWS / j.per_kv : 1);
    j.n_items = d->kv.n_tiles * j.c->n_head * j.cuts;
    atomic_init(&j.next, 0);
    bool few = n_threads > 1 && j.n_items < ITEMS_PER_THREAD * n_threads && j.n_items % n_threads;
    for (uint32_t i = 0; few && i < j.n_items; i++) {
        struct item it = item_at(&j, i);
        if (j.n_groups < it.n_groups) j.n_groups = it.n_groups;
        if (j.most_rows < it.rows) j.most_rows = it.rows;
    }
    if (few && j.n_groups > 1) {
        uint64_t room = (uint64_t)n_threads * PARTS_PER_THREAD * CPU_ROWS;
        j.wave = (uint32_t)(room / (j.most_rows * j.n_items));
        pool_run(d->pool, split_items, &j);
    } else if (j.n_items > 1) {
        pool_run(d->pool, whole_items, &j);
    } else {
        whole_items(&j, 0, 1);
    }
}
