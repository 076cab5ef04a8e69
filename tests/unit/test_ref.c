/* test_ref: the reference back end against results worked out by hand or by a formula of their own.
 * What has a state from row to row is in test_ref_recur.
 */
#include "compute/ref/ref.h"

#include "opcase.h"

static struct dev_conf conf = {.n_threads = 1,
                               .max_batch = 64,
                               .max_out = 64,
                               .n_blocks = 4,
                               .n_states = 2,
                               .ktype = DTYPE_F32,
                               .vtype = DTYPE_F32};

/* A tensor with these values, of `parts` matrices one above the other. */
static int given_parts(struct opcase *c, uint32_t rows, uint32_t cols, uint32_t parts,
                       const float *v)
{
    int t = opcase_parts(c, DTYPE_F32, rows, cols, parts);
    memcpy((void *)(uintptr_t)c->w[t].data, v, sizeof *v * rows * cols);
    return t;
}

static int given(struct opcase *c, uint32_t rows, uint32_t cols, const float *v)
{
    return given_parts(c, rows, cols, 1, v);
}

static void input(struct opcase *c, enum plan_reg dst, uint32_t rows, uint32_t cols, const float *v)
{
    opcase_step(c, OP_EMBED, dst, cols)->w = given(c, rows, cols, v);
}

/* One step from REG_X of n_src columns to REG_H of n. */
static struct plan_step *from_x(struct opcase *c, enum op op, uint32_t n, uint32_t n_src)
{
    struct plan_step *s = opcase_step(c, op, REG_H, n);
    s->src = REG_X;
    s->n_src = n_src;
    return s;
}

/* Runs one sequence of n rows whose tokens are 0..n-1 and compares what comes out. */
static void expect_long(struct opcase *c, bool rope_long, uint32_t pos, uint32_t n,
                        const float *want, double bound, const char *what)
{
    static const uint32_t blocks[4] = {2, 0, 3, 1};
    int32_t tok[64], at[64];
    uint32_t out[64];
    float got[512];
    double worst = 0;
    struct batch_span span = {
        .n = n, .pos = pos, .blocks = blocks, .state = 1, .rope_long = rope_long};
    struct batch b = {n, tok, at, &span, 1, out, n};
    for (uint32_t i = 0; i < n; i++) {
        tok[i] = (int32_t)i;
        at[i] = (int32_t)(pos + i);
        out[i] = i;
    }
    size_t floats = opcase_run(c, &ref_backend, &conf, &b, 1, got);
    for (size_t i = 0; i < floats; i++)
        if (!(fabs((double)got[i] - want[i]) <= worst)) worst = fabs((double)got[i] - want[i]);
    ok(floats == (size_t)n * c->plan.width[REG_LOGITS] && worst <= bound, "%s: off by %.2g", what,
       worst);
    opcase_fini(c);
}

static void expect(struct opcase *c, uint32_t pos, uint32_t n, const float *want, const char *what)
{
    expect_long(c, false, pos, n, want, 1e-6, what);
}

/* ---- norms ---- */

static void test_norms(void)
{
    struct opcase c;
    struct plan_step *s;
    float r = sqrtf(12.5f), q = sqrtf(2);
    opcase_init(&c);
    input(&c, REG_X, 1, 4, (float[]){3, 4, 0, -2});
    s = from_x(&c, OP_RMSNORM, 4, 4);
    s->group = 2;
    s->eps = 0;
    s->w = given(&c, 1, 2, (float[]){1, 10});
    opcase_output(&c, REG_H, 4);
    expect(&c, 0, 1, (float[]){3 / r, 40 / r, 0, -20 / q}, "rmsnorm by groups of 2");

    opcase_init(&c);
    input(&c, REG_X, 1, 4, (float[]){3, 4, 0, -2});
    s = from_x(&c, OP_RMSNORM, 4, 4);
    s->group = 2;
    s->eps = 0;
    s->w = given(&c, 2, 2, (float[]){1, 10, 2, 3});
    opcase_output(&c, REG_H, 4);
    expect(&c, 0, 1, (float[]){3 / r, 40 / r, 0, -6 / q}, "rmsnorm with a weight a group");

    opcase_init(&c);
    input(&c, REG_X, 1, 4, (float[]){1, 3, 5, 11});
    s = from_x(&c, OP_LAYERNORM, 4, 4);
    s->eps = 0;
    s->w = given(&c, 1, 4, (float[]){1, 2, 3, 4});
    s->b = given(&c, 1, 4, (float[]){0.5f, 0, 0, -1});
    opcase_output(&c, REG_H, 4);
    r = sqrtf(14); /* mean 5, variance (16 + 4 + 0 + 36) / 4 */
    expect(&c, 0, 1, (float[]){-4 / r + 0.5f, -4 / r, 0, 24 / r - 1}, "layernorm");

    opcase_init(&c);
    input(&c, REG_X, 1, 4, (float[]){1, 3, 5, 11});
    s = from_x(&c, OP_LAYERNORM, 4, 4);
    s->group = 2;
    s->eps = 3;
    opcase_output(&c, REG_H, 4);
    r = sqrtf(12);
    expect(&c, 0, 1, (float[]){-0.5f, 0.5f, -3 / r, 3 / r}, "layernorm by groups, bare, with eps");

    opcase_init(&c);
    input(&c, REG_X, 1, 4, (float[]){3, -4, 0.125f, 0});
    s = from_x(&c, OP_L2NORM, 4, 4);
    s->group = 2;
    s->eps = 0.5f;
    opcase_output(&c, REG_H, 4);
    expect(&c, 0, 1, (float[]){0.6f, -0.8f, 0.25f, 0}, "l2norm, one length below eps");
}

/* ---- products ---- */

static void test_products(void)
{
    static const float x[] = {1, 2, 3, -1, 0, 1}, w[] = {1, 0, 2, -1, 1, 1},
                       up[] = {0, 0, 1, 2, 0, 0};
    struct opcase c;
    struct plan_step *s;
    opcase_init(&c);
    input(&c, REG_X, 2, 3, x);
    input(&c, REG_Q, 2, 2, (float[]){100, 200, 300, 400});
    s = opcase_step(&c, OP_LINEAR_ADD, REG_Q, 2);
    s->src = REG_X;
    s->w = given(&c, 2, 3, w);
    s->b = given(&c, 1, 2, (float[]){0.5f, 0.25f});
    opcase_output(&c, REG_Q, 2);
    expect(&c, 0, 2, (float[]){107.5f, 204.25f, 301.5f, 402.25f}, "linear+add with a bias");

    opcase_init(&c);
    input(&c, REG_X, 2, 3, x);
    s = from_x(&c, OP_LINEAR3, 2, 3);
    s->dst2 = REG_K;
    s->dst3 = REG_V;
    s->w = given(&c, 2, 3, w);
    s->w2 = given(&c, 1, 3, (float[]){1, 1, 1});
    s->w3 = given(&c, 2, 3, up);
    s->b2 = given(&c, 1, 1, (float[]){10});
    opcase_width(&c, REG_K, 1);
    opcase_width(&c, REG_V, 2);
    s = opcase_step(&c, OP_MUL, REG_H, 2); /* column of k over both, then v */
    s->src = REG_H;
    s->src2 = REG_K;
    s->n_src2 = 1;
    s = opcase_step(&c, OP_ADD, REG_H, 2);
    s->src = REG_H;
    s->src2 = REG_V;
    s->scale = 100;
    opcase_output(&c, REG_H, 2);
    expect(&c, 0, 2, (float[]){7 * 16 + 300, 4 * 16 + 200, 10 + 100, 2 * 10 - 200},
           "linear3, mul by a column, add with a scale");

    opcase_init(&c);
    input(&c, REG_X, 2, 3, x);
    s = from_x(&c, OP_LINEAR_GLU, 2, 3);
    s->act = ACT_RELU;
    s->w = given(&c, 2, 3, w);
    s->w2 = given(&c, 2, 3, up);
    s->b = given(&c, 1, 2, (float[]){-2, 0});
    s->b2 = given(&c, 1, 2, (float[]){0, 1});
    opcase_output(&c, REG_H, 2);
    expect(&c, 0, 2, (float[]){15, 12, 0, -2}, "linear+glu with biases");
}

/* Two heads with matrices of 2 x 2: once adjacent, once apart. */
static void test_headlin(bool apart)
{
    static const float w[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const void *parts[2];
    struct opcase c;
    opcase_init(&c);
    input(&c, REG_X, 1, 6, (float[]){1, 10, -1, 1, 0, -1});
    input(&c, REG_H, 1, 6, (float[]){-7, -7, -7, -7, -7, -7});
    struct plan_step *s = from_x(&c, OP_HEADLIN, 6, 6);
    s->n_head = 2;
    s->u.headlin.in_stride = s->u.headlin.out_stride = 3;
    s->w = given_parts(&c, 4, 2, 2, w);
    if (apart) { /* the other way round in memory */
        float *data = (float *)(uintptr_t)c.w[s->w].data;
        memcpy(data, w + 4, 4 * sizeof *w);
        memcpy(data + 4, w, 4 * sizeof *w);
        parts[0] = data + 4;
        parts[1] = data;
        c.w[s->w] = (struct dev_weight){NULL, parts};
    }
    opcase_output(&c, REG_H, 6);
    expect(&c, 0, 1, (float[]){21, 43, -7, 5, 7, -7},
           apart ? "headlin, matrices apart" : "headlin");
}

/* ---- element by element ---- */

static void test_activations(void)
{
    static const struct {
        enum plan_act act;
        float y[4]; /* of -2.5, -0.5, 0.75, 3 */
    } cases[] = {
        {ACT_SILU, {-0.18964545f, -0.188770334f, 0.509384024f, 2.85772238f}},
        {ACT_GELU_TANH, {-0.0150842661f, -0.15428599f, 0.579960555f, 2.99636261f}},
        {ACT_GELU_ERF, {-0.0155241633f, -0.154268769f, 0.580029486f, 2.99595031f}},
        {ACT_GELU_QUICK, {-0.034986165f, -0.149611563f, 0.586390058f, 2.98192869f}},
        {ACT_RELU, {0, 0, 0.75f, 3}},
        {ACT_RELU_SQR, {0, 0, 0.5625f, 9}},
        {ACT_SIGMOID, {0.07585818f, 0.377540669f, 0.679178699f, 0.952574127f}},
        {ACT_TANH, {-0.986614298f, -0.462117157f, 0.635148952f, 0.995054754f}},
        {ACT_SOFTPLUS, {0.0788897343f, 0.474076984f, 1.13687101f, 3.04858735f}},
        {ACT_NEG_EXP_DECAY, {0.921193655f, 0.545239212f, 0.120392262f, 1.89217869e-09f}},
        {ACT_SIGMOID_DECAY, {0.955032114f, 0.795336494f, 0.662362225f, 0.561150907f}},
    };
    struct opcase c;
    struct plan_step *s;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float twice[4];
        opcase_init(&c);
        input(&c, REG_X, 1, 4, (float[]){-2.5f, -0.5f, 0.75f, 3});
        input(&c, REG_U, 1, 4, (float[]){2, 2, 2, 2});
        from_x(&c, OP_ACT, 4, 4)->act = cases[i].act;
        s = opcase_step(&c, OP_ADD, REG_H, 4);
        s->src = s->src2 = REG_H;
        s = opcase_step(&c, OP_GLU, REG_X, 4);
        s->src = REG_X;
        s->src2 = REG_U;
        s->act = cases[i].act;
        s = opcase_step(&c, OP_ADD, REG_X, 4);
        s->src = REG_X;
        s->src2 = REG_H;
        s->scale = 0.5f;
        opcase_output(&c, REG_X, 4);
        for (int k = 0; k < 4; k++)
            twice[k] = 3 * cases[i].y[k];
        expect(&c, 0, 1, twice, plan_act_name(cases[i].act));
    }
    opcase_init(&c);
    input(&c, REG_X, 1, 4, (float[]){-1.5f, 9, 3, 0.5f});
    input(&c, REG_U, 1, 4, (float[]){2, -9, 8.5f, -0.25f});
    s = from_x(&c, OP_GLU, 4, 4);
    s->src2 = REG_U;
    s->act = ACT_SWIGLU_CLAMPED;
    opcase_output(&c, REG_H, 4);
    expect_long(&c, false, 0, 1,
                (float[]){-0.3250134047f, -41.99971877f, 23.85542952f, 0.2627913275f}, 4e-6,
                "swiglu, clamped");
    opcase_init(&c);
    input(&c, REG_X, 1, 3, (float[]){-1000, 1000, 90});
    from_x(&c, OP_ACT, 3, 3)->act = ACT_SOFTPLUS;
    opcase_output(&c, REG_H, 3);
    expect(&c, 0, 1, (float[]){0, 1000, 90}, "softplus of huge values");
}

static void test_elements(void)
{
    static const float x[] = {-6, -1, 0, 0.5f, 2, 6};
    struct opcase c;
    struct plan_step *s;
    opcase_init(&c);
    input(&c, REG_X, 1, 6, x);
    s = opcase_step(&c, OP_CLAMP, REG_X, 6);
    s->src = REG_X;
    s->scale = 2;
    s = from_x(&c, OP_SCALE, 6, 6);
    s->scale = -1.5f;
    s = opcase_step(&c, OP_MUL, REG_H, 6);
    s->src = REG_H;
    s->w = given(&c, 1, 3, (float[]){1, 2, 4});
    opcase_output(&c, REG_H, 6);
    expect(&c, 0, 1, (float[]){3, 3, 0, -0.75f, -6, -12}, "clamp, scale, mul by a vector");

    opcase_init(&c);
    input(&c, REG_X, 1, 6, x);
    input(&c, REG_U, 1, 2, (float[]){10, -1});
    s = from_x(&c, OP_MUL, 6, 6);
    s->src2 = REG_U;
    s->n_src2 = 2;
    opcase_output(&c, REG_H, 6);
    expect(&c, 0, 1, (float[]){-60, -10, 0, -0.5f, -2, -6}, "mul, each column over three");

    opcase_init(&c);
    input(&c, REG_X, 1, 6, x);
    s = from_x(&c, OP_HEADSUM, 2, 6);
    s->n_head = 2;
    s->head_dim = 3;
    opcase_output(&c, REG_H, 2);
    expect(&c, 0, 1, (float[]){-7, 8.5f}, "headsum");

    opcase_init(&c);
    input(&c, REG_X, 1, 3, (float[]){0, 1.0986122887f, -1e9f}); /* tanh(ln 3) = 4 / 5 */
    s = opcase_step(&c, OP_SCALE, REG_X, 3);
    s->src = REG_X;
    s->scale = 30;
    from_x(&c, OP_SOFTCAP, 3, 3)->scale = 30;
    opcase_output(&c, REG_H, 3);
    expect_long(&c, false, 0, 1, (float[]){0, 24, -30}, 4e-6, "softcap");

    opcase_init(&c);
    input(&c, REG_X, 2, 2, (float[]){1, 2, 3, 4});
    s = opcase_step(&c, OP_ROWADD, REG_X, 2);
    s->src = REG_X;
    s->w = given(&c, 4, 2, (float[]){10, 20, 30, 40, 50, 60, 70, 80});
    s->u.rowadd.by_pos = true;
    s = from_x(&c, OP_ROWADD, 2, 2);
    s->w = given(&c, 2, 2, (float[]){0.5f, 0.25f, 9, 9});
    opcase_output(&c, REG_H, 2);
    expect(&c, 2, 2, (float[]){51.5f, 62.25f, 73.5f, 84.25f},
           "rowadd of the position and of row 0");

    opcase_init(&c);
    input(&c, REG_X, 2, 6, (float[]){0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15});
    input(&c, REG_H, 2, 5, (float[]){-1, -1, -1, -1, -1, -2, -2, -2, -2, -2});
    s = from_x(&c, OP_COLS, 5, 6);
    s->n_head = 2;
    s->group = 2;
    s->u.cols.from = 1;
    s->u.cols.from_stride = 3;
    s->u.cols.to_stride = 3;
    s->u.cols.onto = true;
    opcase_output(&c, REG_H, 5);
    expect(&c, 0, 2, (float[]){1, 2, -1, 4, 5, 11, 12, -2, 14, 15}, "cols onto others");
}

/* Steps after GATHER are for the wanted rows, whatever register they use. */
static void test_after_gather(void)
{
    static const uint32_t blocks[4] = {0, 1, 2, 3};
    struct opcase c;
    float got[4];
    opcase_init(&c);
    input(&c, REG_X, 3, 2, (float[]){1, 2, 3, 4, 5, 6});
    opcase_step(&c, OP_GATHER, REG_O, 2)->src = REG_X;
    struct plan_step *s = opcase_step(&c, OP_SCALE, REG_X, 2);
    s->src = REG_O;
    s->scale = 10;
    s = opcase_step(&c, OP_ADD, REG_LOGITS, 2);
    s->src = REG_X;
    s->src2 = REG_O;
    struct batch_span span = {.n = 3, .blocks = blocks};
    struct batch b = {3, (int32_t[]){0, 1, 2}, (int32_t[]){0, 1, 2}, &span, 1, (uint32_t[]){0, 2},
                      2};
    size_t n = opcase_run(&c, &ref_backend, &conf, &b, 1, got);
    ok(n == 4 && got[0] == 11 && got[1] == 22 && got[2] == 55 && got[3] == 66,
       "a register that is used again after gather");
    opcase_fini(&c);
}

/* ---- positions ---- */

static void test_rope(bool pairs)
{
    static const float freq[] = {1, 0.5f};
    struct opcase c;
    opcase_init(&c);
    input(&c, REG_Q, 1, 5, (float[]){1, 2, 3, 4, 9}); /* one head of 5, of which 4 turn */
    struct plan_step *s = opcase_step(&c, OP_ROPE, REG_Q, 5);
    s->n_head = 1;
    s->head_dim = 5;
    s->index = opcase_rope(&c, freq, 4, 2, pairs);
    opcase_output(&c, REG_Q, 5);
    float c3 = 2 * cosf(3), s3 = 2 * sinf(3), c1 = 2 * cosf(1.5f), s1 = 2 * sinf(1.5f);
    if (pairs)
        expect(&c, 3, 1, (float[]){c3 - 2 * s3, s3 + 2 * c3, 3 * c1 - 4 * s1, 3 * s1 + 4 * c1, 9},
               "rope of pairs at 3");
    else
        expect(&c, 3, 1, (float[]){c3 - 3 * s3, 2 * c1 - 4 * s1, s3 + 3 * c3, 2 * s1 + 4 * c1, 9},
               "rope of halves at 3");
}

/* The last two columns of two heads of three turn, by the second of two tables. */
static void test_rope_long(bool longer, bool second)
{
    static const float freq[] = {1}, freq_long[] = {0.25f};
    struct opcase c;
    opcase_init(&c);
    input(&c, REG_Q, 1, 6, (float[]){7, 1, 2, 8, 3, 4});
    struct plan_step *s = opcase_step(&c, OP_ROPE, REG_Q, 6);
    s->n_head = 2;
    s->head_dim = 3;
    s->u.rope.first = 1;
    opcase_rope(&c, freq, 2, 100, true);
    s->index = opcase_rope(&c, freq, 2, 1, true);
    if (second) c.ropes[1].freq_long = freq_long;
    c.ropes[1].mscale_long = 3;
    opcase_output(&c, REG_Q, 6);
    float a = longer && second ? 0.5f : 2, m = longer && second ? 3 : 1;
    float x = m * cosf(a), y = m * sinf(a);
    expect_long(&c, longer, 2, 1,
                (float[]){7, x - 2 * y, y + 2 * x, 8, 3 * x - 4 * y, 3 * y + 4 * x}, 2e-6,
                longer ? second ? "rope of a long sequence" : "rope without a second table"
                       : "rope of a short sequence");
}

/* ---- attention ---- */

/* One head; the score of key j is score[j] for all queries, its value is j's of `value`. */
static struct plan_step *attention_case(struct opcase *c, const float score[3],
                                        const float value[3])
{
    opcase_init(c);
    input(c, REG_Q, 3, 1, (float[]){2, 2, 2});
    input(c, REG_K, 3, 1, (float[]){score[0], score[1], score[2]});
    input(c, REG_V, 3, 1, value);
    uint32_t cache = opcase_cache(c, 1, 1, 1);
    struct plan_step *s = opcase_step(c, OP_KVPUT, REG_NONE, 0);
    s->src = REG_K;
    s->src2 = REG_V;
    s->index = cache;
    s = opcase_step(c, OP_ATTN, REG_A, 1);
    s->src = REG_Q;
    s->n_head = s->head_dim = 1;
    s->scale = 0.5f;
    s->index = cache;
    return s;
}

static void test_attention_forms(void)
{
    static const float value[3] = {7, 14, 28};
    struct opcase c;
    struct plan_step *s;
    float l = logf(2), weigh[3] = {0, l, 2 * l}; /* 1 : 2 : 4 */
    s = attention_case(&c, weigh, value);
    s->u.attn.window = 2;
    opcase_output(&c, REG_A, 1);
    expect(&c, 0, 3, (float[]){7, 35.0f / 3, 70.0f / 3}, "a window of two");

    s = attention_case(&c, weigh, value);
    s->u.attn.all = true;
    opcase_output(&c, REG_A, 1);
    expect_long(&c, false, 0, 3, (float[]){21, 21, 21}, 4e-6, "all see all");

    s = attention_case(&c, weigh, value);
    s->u.attn.all = true;
    s->u.attn.window = 3;
    opcase_output(&c, REG_A, 1);
    expect_long(&c, false, 0, 3, (float[]){35.0f / 3, 21, 70.0f / 3}, 4e-6, "all within a window");

    s = attention_case(&c, weigh, value);
    s->w = given(&c, 1, 1, (float[]){l});
    opcase_output(&c, REG_A, 1);
    expect(&c, 0, 3, (float[]){7.0f / 3, 7, 147.0f / 9}, "a sink of weight 2");

    /* 1.5 tanh(x / 1.5) = 0, l, 2l for these; cap below 2 ln 2 would not do */
    float cap = 1.5f, before[3] = {0, cap * atanhf(l / cap), cap * atanhf(2 * l / cap)};
    s = attention_case(&c, before, value);
    s->u.attn.softcap = cap;
    opcase_output(&c, REG_A, 1);
    expect_long(&c, false, 0, 3, (float[]){7, 35.0f / 3, 21}, 2e-5, "soft-capped scores");

    /* slope of one head 2^-max_bias: a step further weighs half as much */
    float bias = -log2f(l);
    s = attention_case(&c, (float[]){0, 0, 0}, value);
    s->u.attn.alibi = bias;
    opcase_output(&c, REG_A, 1);
    expect_long(&c, false, 0, 3, (float[]){7, 35.0f / 3, 21}, 4e-6, "alibi, causal");

    s = attention_case(&c, (float[]){0, 0, 0}, value);
    s->u.attn.alibi = bias;
    s->u.attn.all = true;
    opcase_output(&c, REG_A, 1);
    expect_long(&c, false, 0, 3, (float[]){12, 15.75f, 21}, 4e-6, "alibi both ways");
}

/* Slopes of three heads, max bias 8: 2^-4, 2^-8, then 2^-2 of the row between. */
static void test_alibi_heads(void)
{
    struct opcase c;
    opcase_init(&c);
    input(&c, REG_Q, 2, 3, (float[]){0, 0, 0, 0, 0, 0});
    input(&c, REG_K, 2, 1, (float[]){0, 0});
    input(&c, REG_V, 2, 1, (float[]){0, 1});
    uint32_t cache = opcase_cache(&c, 1, 1, 1);
    struct plan_step *s = opcase_step(&c, OP_KVPUT, REG_NONE, 0);
    s->src = REG_K;
    s->src2 = REG_V;
    s = opcase_step(&c, OP_ATTN, REG_A, 3);
    s->src = REG_Q;
    s->n_head = 3;
    s->index = cache;
    s->u.attn.alibi = 8;
    opcase_output(&c, REG_A, 3);
    expect(&c, 0, 2,
           (float[]){0, 0, 0, 1 / (1 + expf(-0.0625f)), 1 / (1 + expf(-0.00390625f)),
                     1 / (1 + expf(-0.25f))},
           "alibi slopes of three heads");
}

/* Two query heads on one kv head of 2; scores are ln 1, ln 2, ln 4 so that weights are plain
 * numbers. A cache before this one must not be met. */
static void test_attention(void)
{
    struct opcase c;
    float l = logf(2);
    opcase_init(&c);
    opcase_cache(&c, 3, 5, 7);
    input(&c, REG_Q, 3, 4, (float[]){1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1});
    input(&c, REG_K, 3, 2, (float[]){0, 0, 2 * l, 0, 4 * l, 0});
    input(&c, REG_V, 3, 3, (float[]){7, 1, 0, 14, 2, 0, 28, 3, 0});
    uint32_t cache = opcase_cache(&c, 1, 2, 3);
    struct plan_step *s = opcase_step(&c, OP_KVPUT, REG_NONE, 0);
    s->src = REG_K;
    s->src2 = REG_V;
    s->index = cache;
    s = opcase_step(&c, OP_ATTN, REG_A, 6);
    s->src = REG_Q;
    s->n_head = s->head_dim = 2;
    s->scale = 0.5f;
    s->index = cache;
    opcase_output(&c, REG_A, 6);
    /* Head 0 weighs 1 : 2 : 4, head 1 evenly; row i sees keys 0..i. */
    expect_long(&c, false, 0, 3,
                (float[]){7, 1, 0, 7, 1, 0, 35.0f / 3, 5.0f / 3, 0, 10.5f, 1.5f, 0, 21, 17.0f / 7,
                          0, 49.0f / 3, 2, 0},
                2e-6, "causal attention, two heads on one, values wider than keys");
}

/* Keys of one value each are kept exactly in every type; values are rounded as the type rounds. */
static void test_kv_types(void)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0};
    static const double bound[] = {1e-7, 1e-3, 8e-3, 8e-3, 0.15}; /* of values up to 2 */
    struct dev_conf before = conf;
    for (int k = 0; k < 5; k++)
        for (int v = 0; v < 5; v++) {
            struct opcase c;
            char what[64];
            float q[32] = {0}, key[64] = {0}, value[64], want[64];
            opcase_init(&c);
            for (int i = 0; i < 64; i++)
                value[i] = 2 * sinf((float)i);
            q[3] = 1;
            key[3] = 1;
            key[35] = 1; /* the same score twice */
            input(&c, REG_Q, 1, 32, q);
            c.steps[0].w = given(&c, 2, 32, (float[64]){[3] = 1, [35] = 1});
            input(&c, REG_K, 2, 32, key);
            input(&c, REG_V, 2, 32, value);
            uint32_t cache = opcase_cache(&c, 1, 32, 32);
            struct plan_step *s = opcase_step(&c, OP_KVPUT, REG_NONE, 0);
            s->src = REG_K;
            s->src2 = REG_V;
            s = opcase_step(&c, OP_ATTN, REG_A, 32);
            s->src = REG_Q;
            s->n_head = 1;
            s->head_dim = 32;
            s->index = cache;
            opcase_output(&c, REG_A, 32);
            for (int i = 0; i < 32; i++) {
                want[i] = value[i];
                want[32 + i] = (value[i] + value[32 + i]) / 2;
            }
            conf.ktype = types[k];
            conf.vtype = types[v];
            snprintf(what, sizeof what, "keys %s, values %s", dtype_info(types[k])->name,
                     dtype_info(types[v])->name);
            expect_long(&c, false, 0, 2, want, bound[v], what);
        }
    conf = before;
}

static void test_kv_copy(void)
{
    static const uint32_t a[1] = {2}, z[1] = {1};
    struct opcase c;
    struct dev *d;
    struct err_info e;
    opcase_init(&c);
    input(&c, REG_Q, 3, 1, (float[]){0, 0, 0});
    input(&c, REG_K, 3, 1, (float[]){0, 0, 0});
    input(&c, REG_V, 3, 1, (float[]){1, 3, 8});
    opcase_cache(&c, 1, 1, 1);
    struct plan_step *s = opcase_step(&c, OP_KVPUT, REG_NONE, 0);
    s->src = REG_K;
    s->src2 = REG_V;
    s = opcase_step(&c, OP_ATTN, REG_A, 1);
    s->src = REG_Q;
    s->n_head = 1;
    opcase_output(&c, REG_A, 1);
    if (!ok(ref_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_OK, "opens")) return;
    struct batch_span span = {.n = 2, .blocks = a};
    struct batch b = {2, (int32_t[]){0, 1}, (int32_t[]){0, 1}, &span, 1, (uint32_t[]){1}, 1};
    opcase_step_run(d, &c, &ref_backend, &b);
    ref_backend.kv_copy(d, 2, 1, 2);
    span = (struct batch_span){.n = 1, .pos = 2, .blocks = z};
    b = (struct batch){1, (int32_t[]){2}, (int32_t[]){2}, &span, 1, (uint32_t[]){0}, 1};
    opcase_step_run(d, &c, &ref_backend, &b);
    ok(fabsf(ref_backend.result(d, 0)[0] - 4) < 1e-6f, "copied positions serve as the originals");
    ref_backend.close(d);
    opcase_fini(&c);
}

/* ---- experts ---- */

struct routing {
    const char *what;
    enum plan_gating gating;
    const float *logits, *bias; /* [4] */
    bool norm;
    uint32_t groups; /* of which the best one is used */
    float scale;
    float want[4]; /* two ids, two weights */
};

static void test_route(void)
{
    static const float thirds[4] = {0, 1.0986122887f, 0.6931471806f, 0.6931471806f}; /* 1 3 2 2 */
    static const float odds[4] = {0, 1.0986122887f, -1.0986122887f, 0};
    static const float bias[4] = {0, -0.5f, 0.25f, 0}, pairs[4] = {0, 1.0986122887f, 0.9f, 0.9f};
    static const float broken[4] = {NAN, NAN, NAN, NAN};
    static const struct routing cases[] = {
        {"softmax, a tie", GATING_SOFTMAX, thirds, NULL, false, 0, 0, {1, 2, 0.375f, 0.25f}},
        {"softmax, made one", GATING_SOFTMAX, thirds, NULL, true, 0, 0, {1, 2, 0.6f, 0.4f}},
        {"chosen", GATING_SOFTMAX_CHOSEN, thirds, NULL, false, 0, 2, {1, 2, 1.2f, 0.8f}},
        {"sigmoid", GATING_SIGMOID, odds, NULL, false, 0, 0, {1, 0, 0.75f, 0.5f}},
        {"bias of the choice", GATING_SIGMOID, odds, bias, false, 0, 0, {0, 2, 0.5f, 0.25f}},
        {"made one, scaled", GATING_SIGMOID, odds, bias, true, 0, 3, {0, 2, 2, 1}},
        {"the best group", GATING_SOFTMAX, pairs, NULL, false, 2, 0, {2, 3, 0, 0}},
        {"no number at all", GATING_SOFTMAX, broken, NULL, false, 2, 0, {0, 1, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct routing *r = &cases[i];
        struct opcase c;
        float want[4];
        opcase_init(&c);
        input(&c, REG_X, 1, 4, r->logits);
        struct plan_step *s = opcase_step(&c, OP_ROUTE, REG_E, 2);
        s->src = REG_X;
        s->n_src = 4;
        s->dst2 = REG_W;
        s->scale = r->scale;
        if (r->bias) s->w = given(&c, 1, 4, r->bias);
        s->u.route.n_used = 2;
        s->u.route.gating = r->gating;
        s->u.route.norm = r->norm;
        s->u.route.n_group = r->groups;
        s->u.route.n_group_used = 1;
        opcase_width(&c, REG_W, 2);
        if (r->want[2] == 0) { /* ids only */
            s = opcase_step(&c, OP_CLAMP, REG_W, 2);
            s->src = REG_E;
            s->scale = 0;
        }
        struct plan_step *put = opcase_step(&c, OP_COLS, REG_H, 4);
        put->src = REG_E;
        put->n_src = 2;
        put->n_head = 1;
        put->group = 2;
        put = opcase_step(&c, OP_COLS, REG_H, 4);
        put->src = REG_W;
        put->n_src = 2;
        put->n_head = 1;
        put->group = 2;
        put->u.cols.to = 2;
        put->u.cols.onto = true;
        opcase_output(&c, REG_H, 4);
        memcpy(want, r->want, sizeof want);
        expect(&c, 0, 1, want, r->what);
    }
}

/* Three experts of 2 x 2; rows choose (2, 0) and (1, 2). */
static void test_experts(bool own, bool apart)
{
    static const float w[] = {1, 0, 0, 1, 2, 0, 0, 3, 0, 1, 1, 0};
    const void *parts[3];
    struct opcase c;
    opcase_init(&c);
    if (own)
        input(&c, REG_X, 2, 4, (float[]){1, 2, 10, 20, 3, 4, 30, 40});
    else
        input(&c, REG_X, 2, 2, (float[]){1, 2, 3, 4});
    input(&c, REG_E, 2, 2, (float[]){2, 0, 1, 2});
    input(&c, REG_W, 2, 2, (float[]){0.5f, 2, 1, -1});
    struct plan_step *s = opcase_step(&c, OP_EXPERT, REG_H, 4);
    s->src = REG_X;
    s->src2 = REG_E;
    s->n_src = own ? 4 : 2;
    s->u.route.n_used = 2;
    s->w = given_parts(&c, 6, 2, 3, w);
    s->b = given(&c, 3, 2, (float[]){0, 0, 100, 200, 0, 1000});
    if (apart) {
        for (int e = 0; e < 3; e++)
            parts[e] = w + 4 * e;
        c.w[s->w] = (struct dev_weight){NULL, parts};
    }
    s = opcase_step(&c, OP_MIX, REG_D, 2);
    s->src = REG_H;
    s->src2 = REG_W;
    s->n_src = 4;
    s->u.route.n_used = 2;
    opcase_output(&c, REG_D, 2);
    if (own)
        expect(&c, 0, 2, (float[]){21, 540.5f, 66, -818}, "experts with an input each");
    else
        expect(&c, 0, 2, (float[]){3, 504.5f, 102, -791},
               apart ? "experts that lie apart" : "experts, biases and their sum");
}

/* ---- opening ---- */

static void test_open(void)
{
    struct opcase c;
    struct err_info e;
    struct dev *d;
    opcase_init(&c);
    opcase_input(&c, REG_X, 4, 8);
    opcase_cache(&c, 2, 48, 32);
    struct dev_conf bad = conf;
    bad.ktype = DTYPE_Q4_K;
    ok(ref_backend.open(&d, &c.plan, c.w, &bad, &e) == ERR_UNSUPPORTED && !d, "%s", e.text);
    bad.ktype = DTYPE_F16;
    bad.vtype = DTYPE_Q4_0;
    ok(ref_backend.open(&d, &c.plan, c.w, &bad, &e) == ERR_OK, "values of 32 may be q4_0");
    ref_backend.close(d);
    bad.ktype = DTYPE_Q8_0;
    ok(ref_backend.open(&d, &c.plan, c.w, &bad, &e) == ERR_UNSUPPORTED && !d &&
           strstr(e.text, "48"),
       "%s", e.text);
    bad = conf;
    uint64_t few = ref_backend.bytes(&c.plan, &bad);
    bad.n_blocks += 10;
    is_int(ref_backend.bytes(&c.plan, &bad) - few, 10 * KV_BLOCK * (2 * (48 + 32) * 4 + 8),
           "bytes() counts the cache");
    bad.n_blocks = UINT32_MAX;
    ok(ref_backend.open(&d, &c.plan, c.w, &bad, &e) == ERR_NOMEM && !d, "%s", e.text);
    c.plan.n_caches = 0;
    ok(ref_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_OK, "a plan without caches opens");
    ref_backend.close(d);
    ref_backend.close(NULL);
    ok(ref_backend.has(OP_LINEAR, DTYPE_Q4_K) && ref_backend.has(OP_EMBED, DTYPE_BF16) &&
           ref_backend.has(OP_GATHER, DTYPE_COUNT) && !ref_backend.has(OP_LINEAR, DTYPE_COUNT) &&
           !ref_backend.has(OP_COUNT, DTYPE_F32),
       "has types");
    for (int op = 0; op < OP_COUNT; op++)
        if (!ref_backend.has((enum op)op, DTYPE_F32)) ok(false, "%s", plan_op_name((enum op)op));
    opcase_fini(&c);
}

int main(void)
{
    test_norms();
    test_products();
    test_headlin(false);
    test_headlin(true);
    test_activations();
    test_elements();
    test_after_gather();
    test_rope(true);
    test_rope(false);
    test_rope_long(false, true);
    test_rope_long(true, true);
    test_rope_long(true, false);
    test_attention();
    test_attention_forms();
    test_alibi_heads();
    test_kv_types();
    test_kv_copy();
    test_route();
    test_experts(false, false);
    test_experts(false, true);
    test_experts(true, false);
    test_open();
    return tap_end();
}
