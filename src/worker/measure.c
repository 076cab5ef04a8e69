/* measure: see measure.h.
 *
 * The kernels are those of the back end, asked through its ops on small plans made by hand. Weights
 * lie in one region larger than the caches, as several matrices that are taken in turn, so that
 * they come from memory as a model's do; their bytes are such that they are ordinary numbers in
 * every type. What a call costs beside its work is measured with a matrix of next to nothing.
 *
 * A rate is that of a typical call of several rounds over all types, since a machine that is shared
 * changes its pace: a type that was unlucky once is not so each time. The median call counts.
 * Where most are disturbed, the time counts that the threads had cores.
 */
#include "worker/measure.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"

#define REGION        MIB(192) /* and where there are many threads so much for each: */
#define REGION_THREAD MIB(16)
#define REGION_LEAST  MIB(64) /* the largest matrix */
#define MATRICES      256     /* at most, that lie in it */
#define COLS          2048
#define DECODE_ROWS   4096
#define NARROW        4 /* times so many rows of so many times fewer columns, for what a row costs */
#define PREFILL_ROWS  384 /* more where a thread would have few of them */
#define ROWS_A_THREAD 96
#define MANY          256 /* rows of a prompt's batch */
#define FEW           32
#define ROUNDS        3
#define PATIENCE_NS   5000000000u /* no further round after it */
#define QUIET         0.6 /* share of its time that a thread has its core, where nothing disturbs */
#define CALLS         48  /* of one kind, that are counted */
#define LEAST_CALLS   2   /* of a round, whatever they take */
#define ROUND_NS      4000000u
_Static_assert(REGION_LEAST >= (size_t)DECODE_ROWS * COLS * 8, "one matrix of doubles");
/* The heads of a common model, and how many positions they look back. */
#define HEADS_KV 8
#define GROUP    4
#define HEAD_DIM 128
#define BACK     2048
#define LANES    6 /* sequences of that length, taken in turn */
#define PROMPT   128

/* Of each call the time that passed, and that its threads had cores. */
struct times {
    uint64_t ns[CALLS], core_ns[CALLS];
    uint32_t n;
};

/* One plan, opened. Steps are called in turn. */
struct rig {
    const struct backend *be;
    uint32_t n_threads;
    const uint8_t *region;
    size_t size, at; /* of the region; where the next matrices begin */
    struct plan plan;
    struct plan_tensor tensors[MATRICES];
    struct plan_step steps[MATRICES];
    struct dev_weight weights[MATRICES];
    struct plan_cache cache;
    uint32_t prefill_rows;
    uint64_t begun_ns, begun_core_ns; /* when it began, and the time of this thread then */
    int ids[LIMIT_THREADS + 1];       /* of the threads that work, this one first */
    int n_ids;
    struct dev *dev;
};

/* ---- time ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t core_ns(const struct rig *r, int n_ids)
{
    uint64_t sum = 0;
    for (int i = 0; i < n_ids; i++)
        sum += os_thread_ns(r->ids[i]);
    return sum;
}

/* The share of its time that this thread, which works or spins, had its core since the rig was
 * made. */
static double quiet_of(const struct rig *r)
{
    uint64_t took = os_now_ns() - r->begun_ns, had = core_ns(r, 1) - r->begun_core_ns;
    return r->n_ids && had < took ? (double)had / (double)took : 1;
}

static uint64_t quantile(uint64_t *ns, uint32_t n, uint32_t i)
{
    qsort(ns, n, sizeof *ns, by_value);
    return ns[i];
}

/* Seconds of a typical undisturbed call; 0: none. Where calls are interrupted, threads together had
 * cores for so long as they would have had alone, or a little longer while one waited for another.
 */
static double typical(struct times *t, double quiet)
{
    if (t->n == 0) return 0;
    if (quiet >= QUIET) return (double)quantile(t->ns, t->n, t->n / 2) / 1e9;
    uint64_t fastest = quantile(t->ns, t->n, 0), core = quantile(t->core_ns, t->n, t->n / 3);
    return (double)(core && core < fastest ? core : fastest) / 1e9;
}

/* Calls the steps in turn for a round; the first call, in which pages are new, does not count. */
static void call(const struct rig *r, uint32_t n_steps, const struct batch *b, uint32_t n_batches,
                 struct times *t)
{
    uint64_t begun = os_now_ns(), now = begun;
    for (uint32_t i = 0; i <= CALLS / ROUNDS; i++) {
        if (i > LEAST_CALLS && now - begun >= ROUND_NS) break;
        const struct plan_step *s = &r->steps[i % n_steps];
        const struct batch *x = &b[i % n_batches];
        r->be->begin(r->dev, x);
        uint64_t core = core_ns(r, r->n_ids), start = os_now_ns();
        r->be->op[s->op](r->dev, s, x);
        now = os_now_ns();
        if (i == 0 || t->n == CALLS) continue;
        t->core_ns[t->n] = (core_ns(r, r->n_ids) - core) / r->n_threads;
        t->ns[t->n++] = now - start;
    }
}

/* ---- rigs ---- */

static struct plan_step step_of(enum op op)
{
    return (struct plan_step){.op = op,
                              .src = REG_H,
                              .src2 = REG_NONE,
                              .dst = REG_G,
                              .w = PLAN_NO_TENSOR,
                              .w2 = PLAN_NO_TENSOR,
                              .w3 = PLAN_NO_TENSOR,
                              .b = PLAN_NO_TENSOR,
                              .b2 = PLAN_NO_TENSOR,
                              .b3 = PLAN_NO_TENSOR};
}

static enum err open_rig(struct rig *r, uint32_t rows, uint32_t n_blocks, enum dtype kv,
                         struct err_info *e)
{
    struct dev_conf c = {.n_threads = r->n_threads,
                         .max_batch = rows,
                         .max_out = rows,
                         .n_blocks = n_blocks,
                         .ktype = kv,
                         .vtype = kv};
    r->plan.steps = r->steps;
    r->plan.tensors = r->tensors;
    r->plan.out = REG_G;
    enum err err = r->be->open(&r->dev, &r->plan, r->weights, &c, e);
    r->n_ids = os_threads(r->ids, (int)r->n_threads);
    return err;
}

/* Products with as many matrices as the region holds. The first lies where the last plan's ended or
 * so: what was read last may be in a cache. */
static void plan_products(struct rig *r, enum dtype t, uint32_t rows, uint32_t cols)
{
    uint64_t row = 0;
    (void)dtype_row_bytes(t, cols, &row);
    uint64_t matrix = row * rows, last = r->size - matrix + 64;
    r->plan = (struct plan){.width = {[REG_H] = cols, [REG_G] = rows}};
    for (uint32_t n = 0; n < MATRICES && (n + 1) * matrix <= r->size; n++) {
        r->tensors[n] =
            (struct plan_tensor){.name = S("measured"), .dtype = t, .rows = rows, .cols = cols};
        r->weights[n] =
            (struct dev_weight){.data = r->region + (r->at + n * matrix) % last / 64 * 64};
        r->steps[n] = step_of(OP_LINEAR);
        r->steps[n].w = (int)n;
        r->steps[n].n = rows;
        r->steps[n].n_src = cols;
        r->plan.n_tensors = r->plan.n_steps = n + 1;
    }
    r->at = (r->at + r->size / 3) % r->size;
}

/* ---- products ---- */

#define ROW_TYPE  DTYPE_Q4_K /* which every back end has */
#define TINY_ROWS 32

enum kind { DECODE, PREFILL_FEW, PREFILL_MANY, KINDS };

struct measured {
    struct times product[DTYPE_COUNT][KINDS];
    struct times tiny, narrow, values;
    struct times decode[DTYPE_COUNT], prompt[DTYPE_COUNT]; /* of attention, by type of cache */
};

static const int32_t zeros[MANY];

static struct batch rows_of(uint32_t n, struct batch_span *span)
{
    span->n = n;
    return (struct batch){.n = n, .tok = zeros, .pos = zeros, .spans = span, .n_spans = 1};
}

static enum err products(struct rig *r, enum dtype t, struct times *out, struct err_info *e)
{
    struct batch_span span[3] = {0};
    struct batch one = rows_of(1, &span[0]), few = rows_of(FEW, &span[1]),
                 many = rows_of(MANY, &span[2]);
    enum err err;
    plan_products(r, t, DECODE_ROWS, COLS);
    if ((err = open_rig(r, 1, 1, DTYPE_F16, e))) return err;
    call(r, r->plan.n_steps, &one, 1, &out[DECODE]);
    r->be->close(r->dev);
    plan_products(r, t, r->prefill_rows, COLS);
    if ((err = open_rig(r, MANY, 1, DTYPE_F16, e))) return err;
    call(r, r->plan.n_steps, &few, 1, &out[PREFILL_FEW]);
    call(r, r->plan.n_steps, &many, 1, &out[PREFILL_MANY]);
    r->be->close(r->dev);
    return ERR_OK;
}

/* A product with next to nothing to do, what a gate does for each value, a product of short rows.
 */
static enum err small_steps(struct rig *r, struct measured *m, struct err_info *e)
{
    struct batch_span span[2] = {0};
    struct batch one = rows_of(1, &span[0]), many = rows_of(MANY, &span[1]);
    enum err err;
    plan_products(r, ROW_TYPE, TINY_ROWS, COLS);
    r->plan.width[REG_H] = r->plan.width[REG_G] = COLS;
    r->steps[0] = step_of(OP_GLU);
    r->steps[0].src2 = REG_H;
    r->steps[0].n = COLS;
    if ((err = open_rig(r, MANY, 1, DTYPE_F16, e))) return err;
    call(r, 1, &many, 1, &m->values);
    memmove(r->steps, r->steps + 1, (MATRICES - 1) * sizeof *r->steps);
    call(r, r->plan.n_steps - 1, &one, 1, &m->tiny);
    r->be->close(r->dev);
    plan_products(r, ROW_TYPE, NARROW * DECODE_ROWS, COLS / NARROW);
    if ((err = open_rig(r, 1, 1, DTYPE_F16, e))) return err;
    call(r, r->plan.n_steps, &one, 1, &m->narrow);
    r->be->close(r->dev);
    return ERR_OK;
}

/* ---- attention ---- */

static enum err attention(struct rig *r, enum dtype t, struct measured *m, struct err_info *e)
{
    enum { BLOCKS = BACK / KV_BLOCK };
    static uint32_t blocks[LANES][BLOCKS];
    struct batch_span put = {.n = KV_BLOCK, .blocks = blocks[0]}, span[2 * LANES];
    struct batch b[2 * LANES], first = rows_of(KV_BLOCK, &put);
    enum err err;
    r->plan = (struct plan){
        .width = {[REG_H] = HEADS_KV * GROUP * HEAD_DIM, [REG_G] = HEADS_KV * GROUP * HEAD_DIM},
        .n_steps = 2,
        .caches = &r->cache,
        .n_caches = 1};
    r->cache = (struct plan_cache){HEADS_KV, HEAD_DIM, HEAD_DIM};
    r->steps[0] = step_of(OP_ATTN);
    r->steps[0].n_head = HEADS_KV * GROUP;
    r->steps[0].head_dim = HEAD_DIM;
    r->steps[0].n = r->steps[0].n_src = HEADS_KV * GROUP * HEAD_DIM;
    r->steps[0].scale = 0.1f;
    r->steps[1] = step_of(OP_KVPUT);
    r->steps[1].src2 = REG_H;
    r->steps[1].dst = REG_NONE;
    r->steps[1].n = r->steps[1].n_src = r->steps[1].n_src2 = HEADS_KV * HEAD_DIM;
    for (uint32_t i = 0; i < LANES; i++) {
        for (uint32_t k = 0; k < BLOCKS; k++)
            blocks[i][k] = i * BLOCKS + k;
        span[i] = (struct batch_span){.pos = BACK - 1, .blocks = blocks[i]};
        b[i] = rows_of(1, &span[i]);
        span[LANES + i] = (struct batch_span){.pos = BACK - PROMPT, .blocks = blocks[i]};
        b[LANES + i] = rows_of(PROMPT, &span[LANES + i]);
    }
    if ((err = open_rig(r, PROMPT, LANES * BLOCKS, t, e))) return err;
    r->be->op[OP_KVPUT](r->dev, &r->steps[1], &first);
    for (uint32_t i = 1; i < LANES * BLOCKS; i++)
        r->be->kv_copy(r->dev, 0, i, KV_BLOCK);
    for (int round = 0; round < ROUNDS; round++)
        call(r, 1, b, LANES, &m->decode[t]);
    call(r, 1, b + LANES, LANES, &m->prompt[t]);
    r->be->close(r->dev);
    return ERR_OK;
}

/* ---- rates ---- */

static double rate(double work, double seconds)
{
    return seconds > 0 ? work / seconds : 0;
}

/* From the times of one type; few and many rows tell apart what is done once for a matrix and what
 * for each row. */
static void product_rates(struct speed_rates *r, const struct rig *rig, enum dtype t,
                          struct times *times)
{
    double one = typical(&times[DECODE], r->quiet), few = typical(&times[PREFILL_FEW], r->quiet);
    double many = typical(&times[PREFILL_MANY], r->quiet), n = (double)rig->prefill_rows * COLS;
    double per_row = (many - few) / (MANY - FEW);
    double fixed = r->step + r->row * DECODE_ROWS;
    r->decode[t] = rate((double)DECODE_ROWS * COLS, one > 2 * fixed ? one - fixed : one);
    r->prefill[t] = rate(n, per_row > 0 ? per_row : many / MANY);
    r->unpack[t] = rate(n, few - r->step - FEW * per_row);
    double bytes = r->decode[t] * dtype_info(t)->bytes / dtype_info(t)->elems;
    if (bytes > r->bandwidth) r->bandwidth = bytes;
}

static void all_rates(struct speed_rates *r, const struct rig *rig, struct measured *m)
{
    double values = HEADS_KV * 2.0 * HEAD_DIM, keys = BACK - (PROMPT - 1) / 2.0;
    double narrow = typical(&m->narrow, r->quiet),
           wide = typical(&m->product[ROW_TYPE][DECODE], r->quiet);
    double tiny = typical(&m->tiny, r->quiet), work = wide * TINY_ROWS / DECODE_ROWS;
    r->step = tiny > work ? tiny - work : 0;
    if (narrow > wide) r->row = (narrow - wide) / ((NARROW - 1) * DECODE_ROWS);
    r->values = rate((double)MANY * COLS, typical(&m->values, r->quiet));
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (rig->be->has(OP_LINEAR, (enum dtype)t))
            product_rates(r, rig, (enum dtype)t, m->product[t]);
        double decode = typical(&m->decode[t], r->quiet), prompt = typical(&m->prompt[t], r->quiet);
        r->cache[t] = rate(values * BACK, decode > 2 * r->step ? decode - r->step : decode);
        r->attend[t] = rate(values * GROUP * keys * PROMPT, prompt);
    }
}

static enum err all(struct rig *r, struct measured *m, struct err_info *e)
{
    enum err err = ERR_OK;
    for (int round = 0; round < ROUNDS && (!round || os_now_ns() - r->begun_ns < PATIENCE_NS);
         round++) {
        if ((err = small_steps(r, m, e))) return err;
        for (int t = 0; t < DTYPE_COUNT; t++)
            if (r->be->has(OP_LINEAR, (enum dtype)t) &&
                (err = products(r, (enum dtype)t, m->product[t], e)))
                return err;
    }
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (r->be->has_kv((enum dtype)t, (enum dtype)t) &&
            (err = attention(r, (enum dtype)t, m, e)))
            return err;
    return ERR_OK;
}

/* Bytes of 0x28 to 0x37: as float16, bfloat16, float32 and as scales these are plain numbers. */
static void fill(uint8_t *p, size_t n)
{
    uint64_t x = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < n; i += 8) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint64_t v = 0x2828282828282828u + (x >> 4 & 0x0f0f0f0f0f0f0f0fu);
        memcpy(p + i, &v, 8);
    }
}

static size_t region_size(uint32_t n_threads)
{
    size_t n = REGION, each = REGION_THREAD * n_threads;
    if (n < each) n = each;
    while (n > REGION_LEAST && n > os_mem_available() / 2)
        n /= 2;
    return n > REGION_LEAST ? n : REGION_LEAST;
}

enum err measure_rates(struct speed_rates *rates, const struct backend *be, uint32_t n_threads,
                       struct err_info *e)
{
    uint32_t threads = n_threads ? n_threads : (uint32_t)os_cpu_count();
    struct rig *r = mem_alloc(sizeof *r);
    struct measured *m = mem_alloc(sizeof *m);
    size_t size = region_size(threads);
    uint8_t *region = mem_aligned(4096, size);
    enum err err;
    *rates = (struct speed_rates){.threads = threads};
    if (!r || !m || !region) {
        err = ERR_FAIL(e, NOMEM, "no memory to measure with: %zu bytes are needed", size);
    } else {
        fill(region, size);
        *r = (struct rig){.be = be, .n_threads = threads, .region = region, .size = size};
        r->prefill_rows = ROWS_A_THREAD * threads;
        if (r->prefill_rows < PREFILL_ROWS) r->prefill_rows = PREFILL_ROWS;
        r->n_ids = os_threads(r->ids, 1);
        r->begun_ns = os_now_ns();
        r->begun_core_ns = core_ns(r, 1);
        err = all(r, m, e);
        rates->quiet = quiet_of(r);
        if (!err) all_rates(rates, r, m);
    }
    mem_free(region);
    mem_free(m);
    mem_free(r);
    return err;
}
