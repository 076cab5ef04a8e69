/* test_ref: the reference back end against results worked out by hand or by a formula of their own.
 */
#include "compute/ref/ref.h"

#include "opcase.h"

static const struct dev_conf conf = {.n_threads = 1,
                                     .max_batch = 64,
                                     .max_out = 64,
                                     .n_blocks = 4,
                                     .ktype = DTYPE_F32,
                                     .vtype = DTYPE_F32};

/* A tensor with these values. */
static int given(struct opcase *c, uint32_t rows, uint32_t cols, const float *v)
{
    int t = opcase_tensor(c, DTYPE_F32, rows, cols);
    memcpy((void *)(uintptr_t)c->w[t].data, v, sizeof *v * rows * cols);
    return t;
}

static void input(struct opcase *c, enum plan_reg dst, uint32_t rows, uint32_t cols, const float *v)
{
    struct plan_step *s = opcase_step(c, OP_EMBED);
    s->dst = dst;
    s->w = given(c, rows, cols, v);
    c->plan.width[dst] = cols;
}

/* Runs one sequence of n rows whose tokens are 0..n-1 and compares what comes out. */
static void expect(struct opcase *c, uint32_t pos, uint32_t n, const float *want, const char *what)
{
    static const uint32_t blocks[4] = {2, 0, 3, 1};
    int32_t tok[8], at[8];
    uint32_t out[8];
    float got[256];
    double worst = 0;
    struct batch_span span = {0, n, pos, blocks};
    struct batch b = {n, tok, at, &span, 1, out, n};
    for (uint32_t i = 0; i < n; i++) {
        tok[i] = (int32_t)i;
        at[i] = (int32_t)(pos + i);
        out[i] = i;
    }
    size_t floats = opcase_run(c, &ref_backend, &conf, &b, 1, got);
    for (size_t i = 0; i < floats; i++)
        if (!(fabs((double)got[i] - want[i]) <= worst)) worst = fabs((double)got[i] - want[i]);
    ok(floats == (size_t)n * c->plan.width[REG_LOGITS] && worst < 1e-6, "%s: off by %.2g", what,
       worst);
    opcase_fini(c);
}

static void test_rows(void)
{
    struct opcase c;
    opcase_init(&c);
    input(&c, REG_X, 1, 4, (float[]){3, 4, 0, -2});
    struct plan_step *s = opcase_step(&c, OP_RMSNORM);
    s->src = REG_X;
    s->dst = REG_H;
    s->group = 2;
    s->eps = 0;
    s->w = given(&c, 1, 2, (float[]){1, 10});
    c.plan.width[REG_H] = 4;
    opcase_output(&c, REG_H);
    float r = sqrtf(12.5f), q = sqrtf(2);
    expect(&c, 0, 1, (float[]){3 / r, 40 / r, 0, -20 / q}, "rmsnorm by groups of 2");

    opcase_init(&c);
    input(&c, REG_X, 1, 2, (float[]){1, -2});
    input(&c, REG_U, 1, 2, (float[]){3, 5});
    s = opcase_step(&c, OP_GLU);
    s->src = s->dst = REG_X;
    s->src2 = REG_U;
    opcase_output(&c, REG_X);
    expect(&c, 0, 1, (float[]){3 * 0.7310585786f, -10 * 0.1192029220f}, "silu glu");
}

static void test_linear(void)
{
    struct opcase c;
    opcase_init(&c);
    input(&c, REG_X, 2, 3, (float[]){1, 2, 3, -1, 0, 1});
    input(&c, REG_Q, 2, 2, (float[]){100, 200, 300, 400});
    struct plan_step *s = opcase_step(&c, OP_LINEAR_ADD);
    s->src = REG_X;
    s->dst = REG_Q;
    s->w = given(&c, 2, 3, (float[]){1, 0, 2, -1, 1, 1});
    s->b = given(&c, 1, 2, (float[]){0.5f, 0.25f});
    opcase_output(&c, REG_Q);
    expect(&c, 0, 2, (float[]){107.5f, 204.25f, 301.5f, 402.25f}, "linear+add with a bias");
}

static void test_rope(bool pairs)
{
    static const float freq[] = {1, 0.5f};
    struct opcase c;
    opcase_init(&c);
    input(&c, REG_Q, 1, 5, (float[]){1, 2, 3, 4, 9}); /* one head of 5, of which 4 turn */
    struct plan_step *s = opcase_step(&c, OP_ROPE);
    s->dst = REG_Q;
    s->n_head = 1;
    s->head_dim = 5;
    c.plan.rope_freq = freq;
    c.plan.n_rot = 4;
    c.plan.rope_mscale = 2;
    c.plan.rope_pairs = pairs;
    opcase_output(&c, REG_Q);
    float c3 = 2 * cosf(3), s3 = 2 * sinf(3), c1 = 2 * cosf(1.5f), s1 = 2 * sinf(1.5f);
    if (pairs)
        expect(&c, 3, 1, (float[]){c3 - 2 * s3, s3 + 2 * c3, 3 * c1 - 4 * s1, 3 * s1 + 4 * c1, 9},
               "rope of pairs at 3");
    else
        expect(&c, 3, 1, (float[]){c3 - 3 * s3, 2 * c1 - 4 * s1, s3 + 3 * c3, 2 * s1 + 4 * c1, 9},
               "rope of halves at 3");
}

/* Two query heads on one kv head of 2; scores are ln 1, ln 2, ln 4 so that weights are plain
 * numbers. */
static void test_attention(void)
{
    struct opcase c;
    float l = logf(2);
    opcase_init(&c);
    c.meta.n_head = 2;
    c.meta.head_dim = c.meta.head_dim_v = 2;
    input(&c, REG_Q, 3, 4, (float[]){1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1});
    input(&c, REG_K, 3, 2, (float[]){0, 0, 2 * l, 0, 4 * l, 0});
    input(&c, REG_V, 3, 2, (float[]){7, 1, 14, 2, 28, 3});
    c.plan.width[REG_A] = 4;
    struct plan_step *s = opcase_step(&c, OP_KVPUT);
    s->src = REG_K;
    s->src2 = REG_V;
    s = opcase_step(&c, OP_ATTN);
    s->src = REG_Q;
    s->dst = REG_A;
    s->n_head = s->head_dim = 2;
    s->scale = 0.5f;
    opcase_output(&c, REG_A);
    /* Head 0 weighs 1 : 2 : 4, head 1 evenly; row i sees keys 0..i. */
    expect(&c, 0, 3,
           (float[]){7, 1, 7, 1, 35.0f / 3, 5.0f / 3, 10.5f, 1.5f, 21, 17.0f / 7, 49.0f / 3, 2},
           "causal attention, two heads on one");
}

int main(void)
{
    test_rows();
    test_linear();
    test_rope(true);
    test_rope(false);
    test_attention();
    struct opcase c;
    struct err_info e;
    struct dev *d;
    opcase_init(&c);
    opcase_input(&c, REG_X, 4, 8);
    struct dev_conf bad = conf;
    bad.ktype = DTYPE_Q8_0;
    ok(ref_backend.open(&d, &c.plan, c.w, &bad, &e) == ERR_UNSUPPORTED && !d, "%s", e.text);
    ok(ref_backend.has(OP_LINEAR, DTYPE_Q4_K) && ref_backend.has(OP_EMBED, DTYPE_BF16),
       "has types");
    opcase_fini(&c);
    return tap_end();
}
