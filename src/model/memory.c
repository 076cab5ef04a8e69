/* memory: sizes of a configuration, KV cache, and what a CPU worker takes beside it. See memory.h.
 *
 * Sums saturate at UINT64_MAX: what does not fit into 64 bits fits into no machine.
 */
#include "model/memory.h"

#include "base/limits.h"

#define DEFAULT_CTX       4096
#define DEFAULT_SLOTS     16
#define DEFAULT_BATCH     512
#define DEFAULT_KV_BUDGET ((uint64_t)2 << 30)

/* Of compute/cpu: columns of a panel, bytes of a thread's strip and results, rows of a tile of
 * attention, keys that such a tile meets at once. */
#define UNIT        16
#define STRIP_BYTES ((448u + 24u) << 10)
#define DIRECT_MAX  8
#define TILE_ROWS   48
#define TILE_KEYS   256
#define TILE_LINE   272 /* floats of a row of a tile */
#define PARTS       20
/* Of the engine: a block of the cache and its index; a token's candidates. */
#define BLOCK_BYTES     176
#define CANDIDATE_BYTES 24

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static uint64_t mul(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

/* ---- sizes of a configuration ---- */

void memory_defaults(struct memory_conf *c, const struct meta *m)
{
    if (!c->n_ctx) c->n_ctx = m->n_ctx_train < DEFAULT_CTX ? m->n_ctx_train : DEFAULT_CTX;
    if (!c->n_slots) c->n_slots = DEFAULT_SLOTS;
    if (!c->max_batch) c->max_batch = DEFAULT_BATCH;
    /* Every decoding slot has its row and its results in every step. */
    if (c->max_batch < c->n_slots) c->max_batch = c->n_slots;
}

/* The positions that the model has learned; 0: it has learned none. */
static uint32_t learned_positions(const struct plan *p)
{
    uint64_t least = UINT32_MAX;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->op == OP_ROWADD && s->u.rowadd.by_pos && p->tensors[s->w].rows < least)
            least = p->tensors[s->w].rows;
    }
    return least < UINT32_MAX ? (uint32_t)least : 0;
}

void memory_settle(struct memory_conf *c, const struct plan *p, bool batch_asked)
{
    uint32_t learned = learned_positions(p);
    /* Also where more was asked for: that may have been meant for all models. A longer prompt is
     * refused with the number. */
    if (learned && c->n_ctx > learned) c->n_ctx = learned;
    /* A text that goes into one batch should fit. */
    if (p->whole && !batch_asked && c->max_batch < c->n_ctx)
        c->max_batch = c->n_ctx < LIMIT_BATCH ? c->n_ctx : LIMIT_BATCH;
    if (p->whole || c->all_rows) c->max_out = c->max_batch;
    if (c->max_out < c->n_slots) c->max_out = c->n_slots;
    if (c->max_out > c->max_batch) c->max_out = c->max_batch;
}

uint64_t memory_kv(const struct plan *p, const struct memory_conf *c, uint64_t n_blocks)
{
    return mul(mul(plan_kv_bytes_per_pos(p, c->ktype, c->vtype), MEMORY_BLOCK), n_blocks);
}

uint32_t memory_blocks(const struct plan *p, const struct memory_conf *c)
{
    uint64_t one = ((uint64_t)c->n_ctx + MEMORY_BLOCK - 1) / MEMORY_BLOCK, all = one * c->n_slots;
    uint64_t bytes = memory_kv(p, c, 1);
    uint64_t budget = c->kv_budget ? c->kv_budget : DEFAULT_KV_BUDGET;
    uint64_t n = bytes ? budget / bytes : all;
    if (!c->kv_budget && n > all) n = all;
    if (n < one) n = one;
    return n < UINT32_MAX / MEMORY_BLOCK ? (uint32_t)n : UINT32_MAX / MEMORY_BLOCK;
}

/* ---- weights ---- */

/* A tied head names the embedding a second time: its bytes are there once. */
static bool named_before(const struct plan *p, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (p->tensors[k].file == p->tensors[i].file) return true;
    return false;
}

uint64_t memory_weights(const struct plan *p, uint64_t (*bytes)(const void *owner, uint32_t file),
                        const void *owner)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->n_tensors; i++)
        if (!named_before(p, i)) sum = add(sum, bytes(owner, p->tensors[i].file));
    return sum;
}

/* ---- what a worker takes beside them ---- */

static uint64_t registers(const struct plan *p, const struct memory_conf *c)
{
    uint64_t rows = c->max_batch > c->max_out ? c->max_batch : c->max_out, sum = 0;
    for (int r = 0; r < REG_COUNT; r++) {
        bool out = r == REG_O || r == REG_LOGITS;
        sum = add(sum, mul(mul(out ? c->max_out : rows, p->width[r]), sizeof(float)));
    }
    for (uint32_t i = 0; i < p->n_ropes; i++) /* cos and sin of each position of a batch */
        sum = add(sum, mul(mul(p->ropes[i].n_rot, c->max_batch), sizeof(float)));
    return sum;
}

struct vectors {
    const struct plan *p;
    uint64_t floats;
};

static void count_vector(void *arg, int tensor)
{
    struct vectors *v = arg;
    const struct plan_tensor *t = &v->p->tensors[tensor];
    v->floats = add(v->floats, mul(t->rows, t->cols));
}

static uint64_t panels(uint64_t rows, uint64_t cols)
{
    return mul(mul((rows + UNIT - 1) / UNIT * UNIT, (cols + 127) / 128 * 128), sizeof(float));
}

/* The rows of one step as the largest product wants them. */
static uint64_t product_scratch(const struct plan *p, const struct memory_conf *c)
{
    uint64_t n = c->max_batch > c->max_out ? c->max_batch : c->max_out;
    uint64_t most = 0, glu = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        const int w[3] = {s->w, s->w2, s->w3};
        if (plan_op_weights(s->op) != PLAN_W_MAT) continue;
        if (s->op == OP_LINEAR_GLU && s->act != ACT_SILU && glu < s->n) glu = s->n;
        for (int k = 0; k < 3; k++) {
            if (w[k] == PLAN_NO_TENSOR) continue;
            const struct plan_tensor *t = &p->tensors[w[k]];
            uint64_t parts = t->n_parts > 1 ? t->n_parts : 0, rows = n;
            if (s->op == OP_EXPERT) rows = mul(n, s->u.route.n_used);
            if (s->op == OP_HEADLIN) rows = mul(n, s->n_head);
            /* Each group of rows ends with a unit that is not full. */
            if (parts) rows = add(rows, mul(UNIT, parts < rows ? parts : rows));
            uint64_t bytes = panels(rows, t->cols);
            if (most < bytes) most = bytes;
        }
    }
    uint64_t own = n > DIRECT_MAX ? STRIP_BYTES : 0;
    return add(add(most, mul(c->n_threads, own)), mul(mul(n, glu), sizeof(float)));
}

static uint64_t attention_scratch(const struct plan *p, const struct memory_conf *c)
{
    uint64_t k = 0, v = 0;
    for (uint32_t i = 0; i < p->n_caches; i++) {
        uint64_t width = ((uint64_t)p->caches[i].v_dim + 15) / 16 * 16;
        if (k < p->caches[i].k_dim) k = p->caches[i].k_dim;
        if (v < width) v = width;
    }
    if (!p->n_caches) return 0;
    uint64_t lines = k < TILE_KEYS ? k : TILE_KEYS, part = TILE_ROWS * (2 + v);
    uint64_t queries = (k + TILE_KEYS - 1) / TILE_KEYS * TILE_ROWS * TILE_LINE;
    uint64_t floats = queries + TILE_ROWS * TILE_LINE + TILE_ROWS +
                      MEMORY_BLOCK * (lines > v ? lines : v) + 2 * part;
    if (c->n_threads > 1) floats += PARTS * part;
    return mul(mul(floats, sizeof(float)), c->n_threads);
}

static uint64_t own_of_engine(const struct plan *p, const struct memory_conf *c, uint32_t n_blocks)
{
    uint64_t width = p->width[p->out];
    uint64_t sum = mul(n_blocks, BLOCK_BYTES);
    sum = add(sum, mul(mul(c->n_slots, c->n_ctx), 2 * sizeof(int32_t)));
    return add(sum, c->all_rows ? mul(mul(c->n_slots, width), sizeof(double))
                                : mul(width, CANDIDATE_BYTES));
}

struct memory_need memory_need(const struct plan *p, const struct memory_conf *c, uint64_t weights)
{
    struct memory_need n = {.weights = weights, .n_blocks = memory_blocks(p, c)};
    struct vectors v = {p, 0};
    uint64_t states = mul(plan_state_floats(p), p->n_states ? c->n_slots : 0);
    plan_each_vector(p, count_vector, &v);
    n.kv = memory_kv(p, c, n.n_blocks);
    n.compute = add(registers(p, c), mul(add(states, v.floats), sizeof(float)));
    n.compute = add(n.compute, product_scratch(p, c));
    n.compute = add(n.compute, attention_scratch(p, c));
    n.compute = add(n.compute, own_of_engine(p, c, n.n_blocks));
    n.total = add(add(n.weights, n.kv), n.compute);
    return n;
}

bool memory_smaller(uint32_t *n_ctx, uint32_t *n_slots)
{
    if (*n_slots > 1)
        *n_slots /= 2;
    else if (*n_ctx / 2 >= MEMORY_SMALLEST_CTX)
        *n_ctx /= 2;
    else
        return false;
    return true;
}

bool memory_shrink(const struct plan *p, struct memory_conf *c, uint64_t weights, uint64_t bytes)
{
    c->kv_budget = 0;
    for (;;) {
        if (memory_need(p, c, weights).total <= bytes) return true;
        if (!memory_smaller(&c->n_ctx, &c->n_slots)) return false;
    }
}
