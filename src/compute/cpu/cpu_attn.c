/* cpu_attn: causal grouped-query attention over the paged cache.
 *
 * One routine serves decode and prefill. A tile is up to CPU_ROWS rows: the query heads that share
 * a kv head, times consecutive positions of one span. It goes over the keys in groups of CPU_GROUP
 * from position 0. For a group it makes the scores (a gemm with each block's keys, which lie
 * transposed), their softmax within the group, and the weighted values (a gemm with each block's
 * values): a part. Parts of the groups are merged in order by their maxima and sums, which is the
 * online softmax of Milakov and Gimelshein 2018 in the blocked form of Dao et al. 2022. Keys and
 * values thus stream through once a tile, each block prefetched while the one before is worked on;
 * float16 is widened on the fly where the tile is small, once a block where it is large.
 *
 * Tiles are dealt to the threads by a counter, long ones first. Where there are fewer tiles than
 * keep the threads busy, the groups of a tile are shared out as well and the parts merged
 * afterwards.
 *
 * Invariant: the sums of a row are cut at multiples of CPU_GROUP and nowhere else, and merged in
 * order, so its result is bitwise the same whatever tile it is in and whichever threads work on it.
 */
#include "compute/cpu/cpu_int.h"

#include <math.h>
#include <string.h>

#define PARTS_PER_THREAD 16 /* full parts kept for splitting, a thread */
#define ITEMS_PER_THREAD 4  /* from here on tiles alone keep the threads even */

/* One thread's scratch. */
struct scratch {
    float *q;    /* [pieces of CPU_GROUP columns][CPU_ROWS][CPU_LD], scaled */
    float *s;    /* [CPU_ROWS][CPU_LD] scores, then weights */
    float *wide; /* a piece of the cache as float32 */
    struct cpu_part group, all;
};

/* A tile and a kv head: what one thread works on at a time. */
struct item {
    const struct batch_span *span;
    uint32_t first, n_pos; /* rows of the span */
    uint32_t kv_head, head, n_heads;
    uint32_t rows; /* n_pos * n_heads; row = position * n_heads + head */
    uint32_t pos;  /* of the first */
};

struct job {
    struct dev *d;
    const struct plan_step *s;
    const struct batch *b;
    uint32_t cuts; /* tiles of query heads that one kv head needs, mostly 1 */
    uint32_t n_items, n_groups, wave;
    atomic_uint next;
};

/* ---- sizes ---- */

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static uint64_t part_floats(uint64_t rows, uint64_t width)
{
    return rows * (2 + width);
}

static uint64_t q_floats(uint64_t head_dim)
{
    return round_up(head_dim, CPU_GROUP) / CPU_GROUP * CPU_ROWS * CPU_LD;
}

static uint64_t wide_floats(uint64_t head_dim, uint64_t width)
{
    return KV_BLOCK * (head_dim > width ? head_dim : width);
}

uint64_t cpu_attn_thread_bytes(const struct plan *p)
{
    uint64_t width = round_up(p->meta->head_dim_v, 16), dim = p->meta->head_dim;
    uint64_t floats = q_floats(dim) + CPU_ROWS * CPU_LD + wide_floats(dim, width) +
                      2 * round_up(part_floats(CPU_ROWS, width), 16);
    return round_up(floats * sizeof(float), CPU_LINE);
}

uint64_t cpu_attn_part_bytes(const struct plan *p, uint32_t n_threads)
{
    uint64_t width = round_up(p->meta->head_dim_v, 16);
    uint64_t parts =
        n_threads > 1 ? (uint64_t)n_threads * (PARTS_PER_THREAD + ITEMS_PER_THREAD) : 0;
    return parts * part_floats(CPU_ROWS, width) * sizeof(float);
}

static struct cpu_part part_at(float *base, uint32_t rows)
{
    return (struct cpu_part){base, base + rows, base + 2 * (size_t)rows};
}

static struct scratch scratch_of(const struct dev *d, uint32_t thread)
{
    struct scratch t;
    size_t part = round_up(part_floats(CPU_ROWS, d->v.width), 16);
    t.q = (float *)(void *)(d->attn + thread * d->attn_thread);
    t.s = t.q + q_floats(d->k.dim);
    t.wide = t.s + CPU_ROWS * CPU_LD;
    float *parts = t.wide + wide_floats(d->k.dim, d->v.width);
    t.group = part_at(parts, CPU_ROWS);
    t.all = part_at(parts + part, CPU_ROWS);
    return t;
}

/* ---- one tile against one group ---- */

static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Queries of the item, scaled, in pieces of CPU_GROUP columns. */
static void pack_queries(const struct job *j, const struct item *it, const struct scratch *t)
{
    const struct dev *d = j->d;
    uint32_t dim = d->k.dim;
    for (uint32_t r = 0; r < it->rows; r++) {
        uint64_t row = it->span->first + it->first + r / it->n_heads;
        uint64_t head = it->head + r % it->n_heads;
        const float *q = d->reg[j->s->src] + row * d->plan->width[j->s->src] + head * dim;
        float *out = t->q + (size_t)r * CPU_LD;
        for (uint32_t c = 0; c < dim; c += CPU_GROUP, out += CPU_ROWS * CPU_LD)
            d->vec->scale(out, q + c, j->s->scale, min32(CPU_GROUP, dim - c));
    }
}

/* g->b and g->next are pieces of cache c; k rows of them of n values. */
static void multiply(const struct dev *d, const struct cpu_cache *c, const struct scratch *t,
                     struct cpu_gemm *g)
{
    bool half = c->type == DTYPE_F16;
    if (half && g->rows > 2 * d->vec->tile) {
        d->vec->from_f16(t->wide, g->b, (uint64_t)g->k * g->n);
        g->b = g->next = t->wide;
        half = false;
    }
    if (half)
        d->vec->gemm_f16(g);
    else
        d->vec->gemm_f32(g);
}

/* Scores of a block: the columns of the queries in pieces, as they were packed. */
static void score(const struct dev *d, const struct scratch *t, const char *keys, const char *next,
                  float *s, uint32_t rows)
{
    size_t piece = (size_t)CPU_GROUP * KV_BLOCK * d->k.size;
    const float *q = t->q;
    for (uint32_t c = 0; c < d->k.dim; c += CPU_GROUP) {
        struct cpu_gemm g = {.c = s,
                             .a = q,
                             .b = keys,
                             .next = next,
                             .ldc = CPU_LD,
                             .rows = rows,
                             .k = min32(CPU_GROUP, d->k.dim - c),
                             .n = KV_BLOCK,
                             .onto = c > 0};
        multiply(d, &d->k, t, &g);
        q += CPU_ROWS * CPU_LD;
        keys += piece;
        next += piece;
    }
}

/* Keys `from`.. of one group, of which the last row sees n; part rows that see none get sum 0. */
static void weigh(const struct item *it, const struct cpu_vec *vec, float *s, uint32_t from,
                  uint32_t n, struct cpu_part *out)
{
    uint32_t n_all = (uint32_t)round_up(n, KV_BLOCK);
    for (uint32_t r = 0; r < it->rows; r++) {
        uint32_t seen = it->pos + r / it->n_heads + 1;
        float *row = s + (size_t)r * CPU_LD;
        if (seen > from) {
            out->m[r] = vec->softmax(row, min32(seen - from, n), n_all, &out->sum[r]);
        } else {
            memset(row, 0, n_all * sizeof *row);
            out->m[r] = out->sum[r] = 0;
        }
    }
}

static void attend_group(const struct job *j, const struct item *it, const struct scratch *t,
                         uint32_t group, struct cpu_part *out)
{
    const struct dev *d = j->d;
    uint32_t layer = (uint32_t)j->s->layer, head = it->kv_head, from = group * CPU_GROUP;
    uint32_t n_keys = it->pos + it->n_pos, n = min32(CPU_GROUP, n_keys - from);
    uint32_t n_blocks = (n + KV_BLOCK - 1) / KV_BLOCK;
    const uint32_t *blocks = it->span->blocks + from / KV_BLOCK;
    const char *k = cpu_cache_at(d, &d->k, layer, blocks[0], head);
    const char *v = cpu_cache_at(d, &d->v, layer, blocks[0], head);
    for (uint32_t i = 0; i < n_blocks; i++) {
        bool last = i + 1 == n_blocks;
        const char *next = last ? v : cpu_cache_at(d, &d->k, layer, blocks[i + 1], head);
        score(d, t, k, next, t->s + (size_t)i * KV_BLOCK, it->rows);
        k = next;
    }
    weigh(it, d->vec, t->s, from, n, out);
    for (uint32_t i = 0; i < n_blocks; i++) {
        bool last = i + 1 == n_blocks, more = from + n < n_keys;
        const char *next = v;
        if (!last)
            next = cpu_cache_at(d, &d->v, layer, blocks[i + 1], head);
        else if (more)
            next = cpu_cache_at(d, &d->k, layer, blocks[n_blocks], head);
        struct cpu_gemm g = {.c = out->o,
                             .a = t->s + (size_t)i * KV_BLOCK,
                             .b = v,
                             .next = next,
                             .ldc = d->v.width,
                             .rows = it->rows,
                             .k = min32(KV_BLOCK, n - i * KV_BLOCK),
                             .n = d->v.width,
                             .onto = i > 0};
        multiply(d, &d->v, t, &g);
        v = next;
    }
}

/* all += group, each row's maximum and sum kept right. */
static void merge(const struct dev *d, struct cpu_part *all, const struct cpu_part *group,
                  uint32_t rows)
{
    size_t width = d->v.width;
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
            a = d->vec->exp1(all->m[r] - group->m[r]);
            all->m[r] = group->m[r];
        } else {
            b = d->vec->exp1(group->m[r] - all->m[r]);
        }
        all->sum[r] = all->sum[r] * a + group->sum[r] * b;
        d->vec->blend(o, a, x, b, (uint32_t)width);
    }
}

static void store(const struct job *j, const struct item *it, const struct cpu_part *all)
{
    const struct dev *d = j->d;
    uint32_t dim = d->v.dim;
    for (uint32_t r = 0; r < it->rows; r++) {
        uint64_t row = it->span->first + it->first + r / it->n_heads;
        uint64_t head = it->head + r % it->n_heads;
        float *out = d->reg[j->s->dst] + row * d->plan->width[j->s->dst] + head * dim;
        d->vec->scale(out, all->o + (size_t)r * d->v.width, 1.0f / all->sum[r], dim);
    }
}

/* ---- dealing out ---- */

/* Items in order: tiles last to first, so that of a long prompt the longest come first. */
static struct item item_at(const struct job *j, uint32_t i)
{
    const struct dev *d = j->d;
    uint32_t per_kv = j->s->n_head / d->n_head_kv, per_tile = d->n_head_kv * j->cuts;
    const struct cpu_tile *t = &d->tiles[d->n_tiles - 1 - i / per_tile];
    uint32_t cut = i % per_tile % j->cuts;
    struct item it = {.span = &j->b->spans[t->span], .first = t->first, .n_pos = t->n};
    it.kv_head = i % per_tile / j->cuts;
    it.head = it.kv_head * per_kv + cut * CPU_ROWS;
    it.n_heads = min32(per_kv - cut * CPU_ROWS, CPU_ROWS);
    it.rows = it.n_pos * it.n_heads;
    it.pos = it.span->pos + t->first;
    return it;
}

static uint32_t groups_of(const struct item *it)
{
    return (it->pos + it->n_pos + CPU_GROUP - 1) / CPU_GROUP;
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
        for (uint32_t g = 0; g < groups_of(&it); g++) {
            attend_group(j, &it, &t, g, &t.group);
            merge(j->d, &t.all, &t.group, it.rows);
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
    size_t slot = part_floats(item_at(j, 0).rows, d->v.width);
    float *sums = d->part, *parts = sums + j->n_items * part_floats(CPU_ROWS, d->v.width);
    uint64_t from, to, item_from, item_to;
    pool_share(j->n_items, 1, thread, n_threads, &item_from, &item_to);
    for (uint32_t first = 0; first < j->n_groups; first += j->wave) {
        uint32_t wave = min32(j->wave, j->n_groups - first), packed = UINT32_MAX;
        pool_share((uint64_t)j->n_items * wave, 1, thread, n_threads, &from, &to);
        for (uint64_t u = from; u < to; u++) {
            uint32_t i = (uint32_t)(u / wave), g = first + (uint32_t)(u % wave);
            struct item it = item_at(j, i);
            if (g >= groups_of(&it)) continue;
            if (packed != i) pack_queries(j, &it, &t);
            packed = i;
            struct cpu_part part = part_at(parts + u * slot, it.rows);
            attend_group(j, &it, &t, g, &part);
        }
        pool_barrier(d->pool);
        for (uint64_t i = item_from; i < item_to; i++) {
            struct item it = item_at(j, (uint32_t)i);
            struct cpu_part all = part_at(sums + i * part_floats(CPU_ROWS, d->v.width), it.rows);
            if (first == 0) memset(all.sum, 0, it.rows * sizeof *all.sum);
            for (uint32_t g = 0; g < wave && first + g < groups_of(&it); g++) {
                struct cpu_part part = part_at(parts + (i * wave + g) * slot, it.rows);
                merge(d, &all, &part, it.rows);
            }
            if (first + wave >= j->n_groups) store(j, &it, &all);
        }
        pool_barrier(d->pool);
    }
}

void cpu_attn_begin(struct dev *d, const struct batch *b)
{
    d->n_tiles = 0;
    for (uint32_t s = 0; s < b->n_spans; s++)
        for (uint32_t i = 0; i < b->spans[s].n; i += d->tile_rows)
            d->tiles[d->n_tiles++] =
                (struct cpu_tile){s, i, min32(d->tile_rows, b->spans[s].n - i)};
}

void cpu_op_attn(struct dev *d, const struct plan_step *s, const struct batch *b)
{
    uint32_t n_threads = pool_threads(d->pool), most_rows = 1;
    struct job j = {.d = d, .s = s, .b = b};
    j.cuts = (s->n_head / d->n_head_kv + CPU_ROWS - 1) / CPU_ROWS;
    j.n_items = d->n_tiles * d->n_head_kv * j.cuts;
    atomic_init(&j.next, 0);
    bool few = n_threads > 1 && j.n_items < ITEMS_PER_THREAD * n_threads && j.n_items % n_threads;
    for (uint32_t i = 0; few && i < j.n_items; i++) {
        struct item it = item_at(&j, i);
        if (j.n_groups < groups_of(&it)) j.n_groups = groups_of(&it);
        if (most_rows < it.rows) most_rows = it.rows;
        if (it.rows != item_at(&j, 0).rows) few = false; /* parts of one size keep their places */
    }
    if (few && j.n_groups > 1) {
        uint64_t room = (uint64_t)n_threads * PARTS_PER_THREAD * CPU_ROWS;
        j.wave = (uint32_t)(room / (most_rows * j.n_items));
        pool_run(d->pool, split_items, &j);
    } else if (j.n_items > 1) {
        pool_run(d->pool, whole_items, &j);
    } else {
        whole_items(&j, 0, 1);
    }
}
