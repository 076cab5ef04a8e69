/* opcase: small plans made by hand, run step by step on a back end, without a model file.
 *
 *   struct opcase c;
 *   opcase_init(&c);
 *   opcase_tensor(&c, DTYPE_F32, rows, cols);       random, the same in every run
 *   opcase_step(&c, OP_ACT, REG_H, n)->src = REG_X; ...
 *   opcase_run(&c, &ref_backend, &conf, batches, n_batches, out);
 *
 * Inputs come in through EMBED (any register may be its dst), results go out through a last GATHER
 * into REG_LOGITS: opcase_run() collects the wanted rows of all batches, in order. A case that has
 * a cache, ropes or states says so: opcase_cache(), opcase_rope(), opcase_state().
 */
#ifndef TESTS_OPCASE_H
#define TESTS_OPCASE_H

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/mem.h"
#include "compute/backend.h"
#include "tap.h"

#define OPCASE_STEPS   32
#define OPCASE_TENSORS 24
#define OPCASE_STATES  4

struct opcase {
    struct arena a;
    struct plan plan;
    struct plan_step steps[OPCASE_STEPS];
    struct plan_tensor tensors[OPCASE_TENSORS];
    struct dev_weight w[OPCASE_TENSORS];
    struct plan_cache caches[OPCASE_STATES];
    struct plan_rope ropes[OPCASE_STATES];
    uint32_t states[OPCASE_STATES];
    uint64_t seed;
};

static inline uint32_t opcase_random(struct opcase *c)
{
    c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(c->seed >> 33);
}

/* About normal, standard deviation 1. */
static inline float opcase_normal(struct opcase *c)
{
    double sum = 0;
    for (int i = 0; i < 6; i++)
        sum += opcase_random(c) / 2147483648.0 - 0.5;
    return (float)(sum * 1.4142135623730951);
}

static inline void opcase_init(struct opcase *c)
{
    memset(c, 0, sizeof *c);
    arena_init(&c->a, GIB(1));
    c->seed = 42;
    c->plan.steps = c->steps;
    c->plan.tensors = c->tensors;
    c->plan.caches = c->caches;
    c->plan.ropes = c->ropes;
    c->plan.states = c->states;
    c->plan.out = REG_LOGITS;
}

static inline void opcase_fini(struct opcase *c)
{
    arena_fini(&c->a);
}

/* Adds a random tensor of F32, F16 or Q8_0; returns its index. Rows of `parts` matrices are of all
 * together. */
static inline int opcase_parts(struct opcase *c, enum dtype t, uint32_t rows, uint32_t cols,
                               uint32_t parts)
{
    int i = (int)c->plan.n_tensors++;
    const struct dtype_info *type = dtype_info(t);
    size_t n = (size_t)rows * cols;
    uint8_t *data = arena_alloc(&c->a, n / type->elems * type->bytes, 64);
    if (i >= OPCASE_TENSORS || !data) BUG("a test case that is too large");
    for (size_t k = 0; k < n; k++) {
        float x = opcase_normal(c);
        uint16_t h = dtype_f32_to_f16(x);
        if (t == DTYPE_F32) {
            memcpy(data + k * 4, &x, 4);
        } else if (t == DTYPE_F16) {
            memcpy(data + k * 2, &h, 2);
        } else { /* Q8_0: a float16 scale and 32 bytes */
            uint16_t d = dtype_f32_to_f16(0.01f);
            memcpy(data + k / 32 * 34, &d, 2);
            data[k / 32 * 34 + 2 + k % 32] = (uint8_t)(int8_t)lrintf(x * 30);
        }
    }
    c->tensors[i] = (struct plan_tensor){.name = S("test"),
                                         .file = (uint32_t)i,
                                         .dtype = t,
                                         .rows = rows,
                                         .cols = cols,
                                         .n_parts = parts};
    c->w[i].data = data;
    return i;
}

static inline int opcase_tensor(struct opcase *c, enum dtype t, uint32_t rows, uint32_t cols)
{
    return opcase_parts(c, t, rows, cols, 1);
}

/* Register r holds n columns at some step. */
static inline void opcase_width(struct opcase *c, enum plan_reg r, uint32_t n)
{
    if (c->plan.width[r] < n) c->plan.width[r] = n;
}

/* A step that writes n columns of dst (REG_NONE: none); other operands are none until set. */
static inline struct plan_step *opcase_step(struct opcase *c, enum op op, enum plan_reg dst,
                                            uint32_t n)
{
    struct plan_step *s = &c->steps[c->plan.n_steps++];
    if (c->plan.n_steps > OPCASE_STEPS) BUG("a test case that is too long");
    *s = (struct plan_step){.op = op, .dst = dst, .n = n, .n_src = n, .scale = 1, .eps = 1e-5f};
    s->dst2 = s->dst3 = REG_NONE;
    s->src = s->src2 = s->src3 = s->src4 = s->src5 = s->src6 = REG_NONE;
    s->w = s->w2 = s->w3 = s->b = s->b2 = s->b3 = PLAN_NO_TENSOR;
    if (dst != REG_NONE) opcase_width(c, dst, n);
    return s;
}

/* Each returns the index of the new one. */
static inline uint32_t opcase_cache(struct opcase *c, uint32_t n_head, uint32_t k_dim,
                                    uint32_t v_dim)
{
    if (c->plan.n_caches == OPCASE_STATES) BUG("a test case of too many caches");
    c->caches[c->plan.n_caches] = (struct plan_cache){n_head, k_dim, v_dim};
    return c->plan.n_caches++;
}

static inline uint32_t opcase_rope(struct opcase *c, const float *freq, uint32_t n_rot,
                                   float mscale, bool pairs)
{
    if (c->plan.n_ropes == OPCASE_STATES) BUG("a test case of too many ropes");
    c->ropes[c->plan.n_ropes] =
        (struct plan_rope){.freq = freq, .n_rot = n_rot, .mscale = mscale, .pairs = pairs};
    return c->plan.n_ropes++;
}

static inline uint32_t opcase_state(struct opcase *c, uint32_t floats)
{
    if (c->plan.n_states == OPCASE_STATES) BUG("a test case of too many states");
    c->states[c->plan.n_states] = floats;
    return c->plan.n_states++;
}

/* EMBED of a new random table of `vocab` rows into a register of that width. */
static inline void opcase_input(struct opcase *c, enum plan_reg dst, uint32_t vocab, uint32_t width)
{
    struct plan_step *s = opcase_step(c, OP_EMBED, dst, width);
    s->w = opcase_tensor(c, DTYPE_F32, vocab, width);
}

static inline void opcase_output(struct opcase *c, enum plan_reg src, uint32_t n)
{
    opcase_step(c, OP_GATHER, REG_LOGITS, n)->src = src;
}

static inline void opcase_step_run(struct dev *d, const struct opcase *c, const struct backend *be,
                                   const struct batch *b)
{
    be->begin(d, b);
    for (uint32_t s = 0; s < c->plan.n_steps; s++)
        be->op[c->plan.steps[s].op](d, &c->plan.steps[s], b);
    be->end(d, b);
}

/* Runs the batches and copies the wanted rows to out; returns floats written, 0 when open() failed.
 */
static inline size_t opcase_run(const struct opcase *c, const struct backend *be,
                                const struct dev_conf *conf, const struct batch *b,
                                uint32_t n_batches, float *out)
{
    struct dev *d;
    struct err_info e = {0};
    size_t n = 0, width = c->plan.width[REG_LOGITS];
    if (be->open(&d, &c->plan, c->w, conf, &e) != ERR_OK) {
        printf("# open: %s\n", e.text);
        return 0;
    }
    for (uint32_t i = 0; i < n_batches; i++) {
        opcase_step_run(d, c, be, &b[i]);
        for (uint32_t r = 0; r < b[i].n_out; r++, n += width)
            memcpy(out + n, be->result(d, r), width * sizeof *out);
    }
    be->close(d);
    return n;
}

/* Squared error over squared reference; 1e30 when anything is not finite. */
static inline double opcase_nmse(const float *got, const float *want, size_t n)
{
    double err = 0, ref = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i]) || !isfinite(want[i])) return 1e30;
        err += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        ref += (double)want[i] * want[i];
    }
    return ref > 0 ? err / ref : err > 0 ? 1e30 : 0;
}

/* ---- batches ---- */

/* A sequence of a scenario: its positions go to blocks in an order of its own. */
struct opcase_seq {
    uint32_t n; /* positions so far */
    uint32_t state;
    bool rope_long;
    uint32_t blocks[256];
};

/* Adds a span of n rows to a batch being built in arena memory; all rows are wanted. */
static inline void opcase_span(struct opcase *c, struct batch *b, struct opcase_seq *q, uint32_t n,
                               uint32_t vocab)
{
    if (!b->tok) {
        b->tok = ARENA_NEW(&c->a, int32_t, LIMIT_BATCH);
        b->pos = ARENA_NEW(&c->a, int32_t, LIMIT_BATCH);
        b->out = ARENA_NEW(&c->a, uint32_t, LIMIT_BATCH);
        b->spans = ARENA_NEW(&c->a, struct batch_span, LIMIT_SLOTS);
        if (!b->tok || !b->pos || !b->out || !b->spans) BUG("a test case that is too large");
    }
    struct batch_span *spans = (struct batch_span *)(uintptr_t)b->spans;
    int32_t *tok = (int32_t *)(uintptr_t)b->tok, *pos = (int32_t *)(uintptr_t)b->pos;
    uint32_t *out = (uint32_t *)(uintptr_t)b->out;
    spans[b->n_spans++] = (struct batch_span){b->n, n, q->n, q->blocks, q->state, q->rope_long};
    for (uint32_t i = 0; i < n; i++) {
        tok[b->n] = (int32_t)(opcase_random(c) % vocab);
        pos[b->n] = (int32_t)q->n++;
        out[b->n] = b->n;
        b->n++;
    }
    b->n_out = b->n;
}

/* Blocks first, first + step, ... modulo n_blocks. */
static inline void opcase_blocks(struct opcase_seq *q, uint32_t first, uint32_t step,
                                 uint32_t n_blocks)
{
    q->n = 0;
    for (uint32_t i = 0; i < 256; i++)
        q->blocks[i] = (first + i * step) % n_blocks;
}

#endif
