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

static void defaults(struct memory_conf *c, uint32_t n_ctx_train)
{
    /* Who says how many of which length means that all of them have room. */
    if (c->n_ctx && c->n_slots && !c->kv_budget) c->kv_budget = MEMORY_KV_ALL;
    if (!c->n_ctx) c->n_ctx = n_ctx_train < DEFAULT_CTX ? n_ctx_train : DEFAULT_CTX;
    if (!c->n_slots) c->n_slots = DEFAULT_SLOTS;
    if (!c->max_batch) c->max_batch = DEFAULT_BATCH;
    /* Every decoding slot has its row and its results in every step. */
    if (c->max_batch < c->n_slots) c->max_batch = c->n_slots;
}

void memory_defaults(struct memory_conf *c, const struct meta *m)
{
    defaults(c, m->n_ctx_train);
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

static void settle(struct memory_conf *c, uint32_t learned, bool whole, bool batch_asked)
{
    /* Also where more was asked for: that may have been meant for all models. A longer prompt is
     * refused with the number. */
    if (learned && c->n_ctx > learned) c->n_ctx = learned;
    /* A text that goes into one batch should fit. */
    if (whole && !batch_asked && c->max_batch < c->n_ctx)
        c->max_batch = c->n_ctx < LIMIT_BATCH ? c->n_ctx : LIMIT_BATCH;
    if (whole || c->all_rows) c->max_out = c->max_batch;
    if (c->max_out < c->n_slots) c->max_out = c->n_slots;
    if (c->max_out > c->max_batch) c->max_out = c->max_batch;
}

void memory_settle(struct memory_conf *c, const struct plan *p, bool batch_asked)
{
    settle(c, learned_positions(p), p->whole, batch_asked);
}

void memory_fill_of(struct memory_conf *c, const struct memory_shape *s)
{
    bool batch_asked = c->max_batch != 0;
    c->all_rows = c->all_rows || s->all_rows;
    defaults(c, s->n_ctx_train);
    settle(c, s->n_ctx_learned, s->whole, batch_asked);
}

/* ---- the KV cache ---- */

uint64_t memory_kv(const struct plan *p, const struct memory_conf *c, uint64_t n_blocks)
{
    return mul(mul(plan_kv_bytes_per_pos(p, c->ktype, c->vtype), MEMORY_BLOCK), n_blocks);
}

/* Of one position; heads are whole blocks of the type, which the judge and the loader see to. */
static uint64_t cols_bytes(enum dtype t, uint32_t cols)
{
    const struct dtype_info *d = dtype_info(t);
    return mul(((uint64_t)cols + d->elems - 1) / d->elems, d->bytes);
}

static uint64_t block_bytes(const struct memory_shape *s, const struct memory_conf *c)
{
    return mul(add(cols_bytes(c->ktype, s->k_cols), cols_bytes(c->vtype, s->v_cols)), MEMORY_BLOCK);
}

/* Blocks of so many bytes. */
static uint32_t blocks_of(const struct memory_conf *c, uint64_t bytes)
{
    uint64_t one = ((uint64_t)c->n_ctx + MEMORY_BLOCK - 1) / MEMORY_BLOCK, all = one * c->n_slots;
    uint64_t budget = c->kv_budget ? c->kv_budget : DEFAULT_KV_BUDGET;
    uint64_t n = bytes ? budget / bytes : all;
    if (n > all && (!c->kv_budget || c->kv_budget == MEMORY_KV_ALL)) n = all;
    if (n < one) n = one;
    return n < UINT32_MAX / MEMORY_BLOCK ? (uint32_t)n : UINT32_MAX / MEMORY_BLOCK;
}

uint32_t memory_blocks(const struct plan *p, const struct memory_conf *c)
{
    return blocks_of(c, memory_kv(p, c, 1));
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

/* ---- the shape of a plan ---- */

static uint32_t cap32(uint64_t n)
{
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void most(uint32_t *of, uint64_t n)
{
    if (*of < n) *of = cap32(n);
}

static bool covers(const struct memory_product *a, const struct memory_product *b)
{
    return a->mult >= b->mult && a->parts >= b->parts && a->cols >= b->cols;
}

/* Keeps the products that may be the largest one of some batch; the last place takes what finds
 * none, which only makes it larger. */
static void keep_product(struct memory_shape *s, struct memory_product x)
{
    struct memory_product *last = &s->product[MEMORY_PRODUCTS - 1];
    for (int i = 0; i < MEMORY_PRODUCTS; i++)
        if (covers(&s->product[i], &x)) return;
    for (int i = 0; i < MEMORY_PRODUCTS; i++) {
        if (!covers(&x, &s->product[i])) continue;
        s->product[i] = x;
        return;
    }
    most(&last->mult, x.mult);
    most(&last->parts, x.parts);
    most(&last->cols, x.cols);
}

static void shape_products(struct memory_shape *s, const struct plan *p)
{
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *x = &p->steps[i];
        const int w[3] = {x->w, x->w2, x->w3};
        if (plan_op_weights(x->op) != PLAN_W_MAT) continue;
        if (x->op == OP_LINEAR_GLU && x->act != ACT_SILU) most(&s->glu_cols, x->n);
        for (int k = 0; k < 3; k++) {
            if (w[k] == PLAN_NO_TENSOR) continue;
            const struct plan_tensor *t = &p->tensors[w[k]];
            uint32_t mult = 1;
            if (x->op == OP_EXPERT) mult = x->u.route.n_used;
            if (x->op == OP_HEADLIN) mult = x->n_head;
            keep_product(
                s, (struct memory_product){mult, t->n_parts > 1 ? t->n_parts : 0, cap32(t->cols)});
        }
    }
}

static uint32_t unit_of(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void shape_caches(struct memory_shape *s, const struct plan *p)
{
    uint64_t k = 0, v = 0;
    for (uint32_t i = 0; i < p->n_caches; i++) {
        const struct plan_cache *c = &p->caches[i];
        k = add(k, mul(c->n_head, c->k_dim));
        v = add(v, mul(c->n_head, c->v_dim));
        most(&s->k_max, c->k_dim);
        most(&s->v_max, c->v_dim);
        s->k_unit = unit_of(s->k_unit, c->k_dim);
        s->v_unit = unit_of(s->v_unit, c->v_dim);
    }
    s->k_cols = cap32(k);
    s->v_cols = cap32(v);
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

static uint32_t vectors_of(const struct plan *p)
{
    struct vectors v = {p, 0};
    plan_each_vector(p, count_vector, &v);
    return cap32(v.floats);
}

void memory_shape_of(struct memory_shape *s, const struct plan *p)
{
    uint64_t row = 0, result = 0, rope = 0;
    for (int r = 0; r < REG_COUNT; r++) {
        bool out = r == REG_O || r == REG_LOGITS;
        uint64_t *sum = out ? &result : &row;
        *sum = add(*sum, p->width[r]);
    }
    for (uint32_t i = 0; i < p->n_ropes; i++)
        rope = add(rope, p->ropes[i].n_rot);
    *s = (struct memory_shape){.source = MEMORY_HEADER,
                               .n_ctx_train = p->meta ? p->meta->n_ctx_train : 0,
                               .n_ctx_learned = learned_positions(p),
                               .states = cap32(plan_state_floats(p)),
                               .vectors = vectors_of(p),
                               .row_cols = cap32(row),
                               .rope_cols = cap32(rope),
                               .result_cols = cap32(result),
                               .out_cols = p->width[p->out],
                               .whole = p->whole,
                               .all_rows = p->meta && plan_want_of(p->meta) != PLAN_LOGITS};
    shape_products(s, p);
    shape_caches(s, p);
}

/* ---- what a worker takes beside weights and cache ---- */

static uint64_t floats(uint64_t rows, uint64_t cols)
{
    return mul(mul(rows, cols), sizeof(float));
}

static uint64_t panels(uint64_t rows, uint64_t cols)
{
    return floats((rows + UNIT - 1) / UNIT * UNIT, (cols + 127) / 128 * 128);
}

/* The rows of one step as the largest product wants them. */
static uint64_t product_scratch(const struct memory_shape *s, const struct memory_conf *c)
{
    uint64_t n = c->max_batch > c->max_out ? c->max_batch : c->max_out, largest = 0;
    for (int i = 0; i < MEMORY_PRODUCTS; i++) {
        const struct memory_product *x = &s->product[i];
        uint64_t rows = mul(n, x->mult);
        /* Each group of rows ends with a unit that is not full. */
        if (x->parts) rows = add(rows, mul(UNIT, x->parts < rows ? x->parts : rows));
        uint64_t bytes = panels(rows, x->cols);
        if (largest < bytes) largest = bytes;
    }
    uint64_t own = n > DIRECT_MAX ? STRIP_BYTES : 0;
    return add(add(largest, mul(c->n_threads, own)), floats(n, s->glu_cols));
}

static uint64_t attention_scratch(const struct memory_shape *s, const struct memory_conf *c)
{
    uint64_t k = s->k_max, v = ((uint64_t)s->v_max + 15) / 16 * 16;
    if (!k && !v) return 0;
    uint64_t lines = k < TILE_KEYS ? k : TILE_KEYS, part = TILE_ROWS * (2 + v);
    uint64_t queries = (k + TILE_KEYS - 1) / TILE_KEYS * TILE_ROWS * TILE_LINE;
    uint64_t n = queries + TILE_ROWS * TILE_LINE + TILE_ROWS +
                 MEMORY_BLOCK * (lines > v ? lines : v) + 2 * part;
    if (c->n_threads > 1) n += PARTS * part;
    return floats(n, c->n_threads);
}

static uint64_t own_of_engine(const struct memory_shape *s, const struct memory_conf *c,
                              uint32_t n_blocks)
{
    uint64_t sum = mul(n_blocks, BLOCK_BYTES);
    sum = add(sum, mul(mul(c->n_slots, c->n_ctx), 2 * sizeof(int32_t)));
    return add(sum, c->all_rows ? mul(mul(c->n_slots, s->out_cols), sizeof(double))
                                : mul(s->out_cols, CANDIDATE_BYTES));
}

/* Results of a batch, and cos and sin of each of its positions. */
static uint64_t registers(const struct memory_shape *s, const struct memory_conf *c)
{
    uint64_t rows = c->max_batch > c->max_out ? c->max_batch : c->max_out;
    uint64_t sum = add(floats(rows, s->row_cols), floats(c->max_out, s->result_cols));
    return add(sum, floats(c->max_batch, s->rope_cols));
}

struct memory_need memory_need_of(const struct memory_shape *s, const struct memory_conf *c,
                                  uint64_t weights)
{
    uint64_t block = block_bytes(s, c);
    struct memory_need n = {.weights = weights, .n_blocks = blocks_of(c, block)};
    n.kv = mul(block, n.n_blocks);
    n.compute = add(registers(s, c), add(floats(c->n_slots, s->states), floats(1, s->vectors)));
    n.compute = add(n.compute, product_scratch(s, c));
    n.compute = add(n.compute, attention_scratch(s, c));
    n.compute = add(n.compute, own_of_engine(s, c, n.n_blocks));
    n.total = add(add(n.weights, n.kv), n.compute);
    return n;
}

struct memory_need memory_need(const struct plan *p, const struct memory_conf *c, uint64_t weights)
{
    struct memory_shape s;
    memory_shape_of(&s, p);
    return memory_need_of(&s, c, weights);
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

bool memory_shrink_of(const struct memory_shape *s, struct memory_conf *c, uint64_t weights,
                      uint64_t bytes)
{
    c->kv_budget = MEMORY_KV_ALL; /* as if asked for: so it will be */
    for (;;) {
        if (memory_need_of(s, c, weights).total <= bytes) return true;
        if (!memory_smaller(&c->n_ctx, &c->n_slots)) return false;
    }
}

bool memory_shrink(const struct plan *p, struct memory_conf *c, uint64_t weights, uint64_t bytes)
{
    struct memory_shape s;
    memory_shape_of(&s, p);
    return memory_shrink_of(&s, c, weights, bytes);
}
