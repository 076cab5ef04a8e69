/* test_cpu_ops: every op of the CPU back end but attention (test_attn) and those with a state
 * (test_cpu_recur) against the reference, on every instruction set this machine has, over odd and
 * usual shapes; and that results depend neither on threads nor on neighbours in the batch.
 */
#include "unit/cpu_case.h"

/* ---- rows of tables ---- */

static void test_embed(void)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    for (int t = 0; t < 3; t++) {
        struct opcase c;
        char what[64];
        opcase_init(&c);
        struct plan_step *s = opcase_step(&c, OP_EMBED, REG_X, 96);
        s->scale = 1.75f;
        s->w = opcase_tensor(&c, types[t], VOCAB, 96);
        opcase_output(&c, REG_X, 96);
        snprintf(what, sizeof what, "embed %s", dtype_info(types[t])->name);
        compare_rows(&c, 300, what);
        opcase_fini(&c);
    }
}

static void test_rowadd(enum dtype t, bool by_pos)
{
    struct opcase c;
    char what[64];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, 320);
    struct plan_step *s = opcase_step(&c, OP_ROWADD, REG_H, 320);
    s->src = REG_X;
    s->w = opcase_tensor(&c, t, LONGEST, 320);
    s->u.rowadd.by_pos = by_pos;
    opcase_output(&c, REG_H, 320);
    snprintf(what, sizeof what, "rowadd %s %s", dtype_info(t)->name, by_pos ? "by pos" : "row 0");
    compare_sequences(&c, F32_BOUND, what);
    opcase_fini(&c);
}

/* ---- norms ---- */

/* `w` and `b`: values of the weights, 0 for none. */
static void test_norm(enum op op, const uint32_t shape[4], uint32_t n)
{
    struct opcase c;
    char what[64];
    uint32_t width = shape[0], group = shape[1], w = shape[2], b = shape[3];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    memset(floats_of(&c, 0), 0, (group ? group : width) * sizeof(float)); /* a norm of nothing */
    struct plan_step *s = opcase_step(&c, op, REG_H, width);
    s->src = REG_X;
    s->group = group;
    if (w) s->w = opcase_tensor(&c, DTYPE_F16, w > width / 2 ? 1 : 2, w > width / 2 ? w : w / 2);
    if (b) s->b = opcase_tensor(&c, DTYPE_F32, 1, b);
    opcase_output(&c, REG_H, width);
    snprintf(what, sizeof what, "%s %u/%u w %u b %u x %u", plan_op_name(op), width, group, w, b, n);
    compare_rows(&c, n, what);
    opcase_fini(&c);
}

static void test_norms(void)
{
    static const uint32_t shapes[][4] = {
        {2048, 0, 2048, 0}, {20, 0, 20, 20}, {99, 0, 0, 0},   {8 * 128, 128, 128, 0},
        {32, 8, 8, 8},      {48, 8, 48, 48}, {7, 0, 7, 0},    {640, 64, 640, 0},
        {33, 0, 0, 33},     {1, 0, 1, 1},    {80, 20, 40, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (enum op op = OP_RMSNORM; op <= OP_L2NORM; op++) {
            uint32_t shape[4] = {shapes[i][0], shapes[i][1], 0, 0};
            if (op != OP_L2NORM) shape[2] = shapes[i][2];
            if (op == OP_LAYERNORM) shape[3] = shapes[i][3];
            test_norm(op, shape, i == 0 ? 40 : 3);
        }
}

/* ---- element by element ---- */

static void test_act(enum plan_act act, float scale, uint32_t width, uint32_t n)
{
    struct opcase c;
    char what[64];
    bool glu = act == ACT_SWIGLU_CLAMPED;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    opcase_input(&c, REG_U, VOCAB, width);
    c.steps[0].scale = scale; /* well into both tails */
    if (!glu) {
        struct plan_step *s = opcase_step(&c, OP_ACT, REG_H, width);
        s->src = REG_X;
        s->act = act;
    }
    struct plan_step *s = opcase_step(&c, OP_GLU, REG_X, width);
    s->src = REG_X;
    s->src2 = REG_U;
    s->act = act;
    opcase_output(&c, glu || scale > 100 ? REG_X : REG_H, width);
    snprintf(what, sizeof what, "%s of %g, %u x %u", plan_act_name(act), (double)scale, width, n);
    compare_rows(&c, n, what);
    c.steps[c.plan.n_steps - 1].src = REG_X;
    snprintf(what, sizeof what, "glu %s of %g, %u x %u", plan_act_name(act), (double)scale, width,
             n);
    compare_rows(&c, n, what);
    opcase_fini(&c);
}

static double exact(enum plan_act act, double x)
{
    double sig = 1 / (1 + exp(-x));
    switch (act) {
    case ACT_SILU: return x * sig;
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF: return 0.5 * x * erfc(-x / sqrt(2));
    case ACT_GELU_QUICK: return x / (1 + exp(-1.702 * x));
    case ACT_RELU: return x > 0 ? x : 0;
    case ACT_RELU_SQR: return x > 0 ? x * x : 0;
    case ACT_SIGMOID: return sig;
    case ACT_TANH: return tanh(x);
    case ACT_SOFTPLUS: return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    case ACT_NEG_EXP_DECAY: return exp(-exp(x));
    case ACT_SIGMOID_DECAY: return exp(-exp(-0.5) * sig);
    default: return NAN;
    }
}

/* Every activation over a fine grid from deep in one tail to the other: the worst error, in units
 * of float32 rounding (2^-24) of the result or, where it is smaller, of `floor`. */
static void test_act_digits(const struct cpu_vec *v, enum plan_act act, double floor)
{
    double worst = 0, at = 0;
    for (int i = -40000; i < 40000; i += 16) {
        float x[16], y[16];
        for (int k = 0; k < 16; k++) {
            double u = (i + k) / 40000.0;
            x[k] = (float)(u * fabs(u) * u * u * 30);
            if (u < 0) x[k] = -fabsf(x[k]);
        }
        v->act[act](y, x, 16);
        for (int k = 0; k < 16; k++) {
            double want = exact(act, (double)x[k]), size = fmax(fabs(want), floor);
            double err = fabs(y[k] - want) / size * 16777216;
            if (err > worst || isnan(err)) {
                worst = err;
                at = x[k];
            }
        }
    }
    ok(worst <= 6, "%s, %s: %.2f roundings off at most (at %g)", v->name, plan_act_name(act), worst,
       at);
}

/* NaN in, NaN out; huge values give what the limit is. */
static void test_act_ends(const struct cpu_vec *v)
{
    for (int act = 0; act < ACT_SWIGLU_CLAMPED; act++) {
        float x[5] = {NAN, 3e38f, -3e38f, INFINITY, 0}, y[5];
        v->act[act](y, x, 5);
        bool bounded = act == ACT_SIGMOID || act == ACT_TANH || act == ACT_NEG_EXP_DECAY ||
                       act == ACT_SIGMOID_DECAY;
        bool good = isnan(y[0]) && (bounded ? fabsf(y[1]) <= 1 : y[1] >= 3e38f);
        good = good && fabsf(y[2]) <= 1 && !isnan(y[3]) && isfinite(y[4]);
        if (act == ACT_RELU || act == ACT_RELU_SQR) good = y[2] == 0 && y[1] >= 3e38f;
        ok(good, "%s, %s at the ends: %g %g %g %g", v->name, plan_act_name((enum plan_act)act),
           (double)y[0], (double)y[1], (double)y[2], (double)y[3]);
    }
}

static void test_acts(void)
{
    for (int a = 0; a < ACT_COUNT; a++) {
        test_act((enum plan_act)a, 6, 37, 3);
        test_act((enum plan_act)a, 3, 1024, 50);
        if (a != ACT_RELU_SQR && a != ACT_NEG_EXP_DECAY) test_act((enum plan_act)a, 300, 40, 20);
    }
    for (int i = 0; i < n_isas; i++) {
        for (int a = 0; a < ACT_SWIGLU_CLAMPED; a++) {
            /* Left of 0 these are exponentials of something rounded: absolute there. */
            bool tail = a == ACT_NEG_EXP_DECAY || (a >= ACT_GELU_TANH && a <= ACT_GELU_QUICK);
            test_act_digits(cpu_vec_of((enum mat_isa)i), (enum plan_act)a, tail ? 0.1 : 1e-12);
        }
        test_act_ends(cpu_vec_of((enum mat_isa)i));
    }
}

static void test_element(enum op op, float by, uint32_t width, uint32_t n)
{
    struct opcase c;
    char what[64];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    opcase_input(&c, REG_U, VOCAB, width);
    struct plan_step *s = opcase_step(&c, op, REG_X, width);
    s->src = REG_X;
    s->src2 = op == OP_ADD || op == OP_MUL ? REG_U : REG_NONE;
    s->n_src2 = width;
    s->scale = by;
    opcase_output(&c, REG_X, width);
    snprintf(what, sizeof what, "%s by %g, %u x %u", plan_op_name(op), (double)by, width, n);
    compare_rows(&c, n, what);
    opcase_fini(&c);
}

/* src2 of `share` columns, or a weight of as many values. */
static void test_mul(uint32_t width, uint32_t share, bool weight)
{
    struct opcase c;
    char what[64];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    opcase_input(&c, REG_U, VOCAB, share);
    struct plan_step *s = opcase_step(&c, OP_MUL, REG_H, width);
    s->src = REG_X;
    s->src2 = weight ? REG_NONE : REG_U;
    s->n_src2 = share;
    if (weight) s->w = opcase_tensor(&c, DTYPE_F32, 1, share);
    opcase_output(&c, REG_H, width);
    snprintf(what, sizeof what, "mul %u by %s of %u", width, weight ? "weight" : "columns", share);
    compare_rows(&c, 31, what);
    opcase_fini(&c);
}

/* Two COLS into one register: heads of 24 of which the first 16 and the last 8 trade places. */
static void test_cols(void)
{
    struct opcase c;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, 5 * 24);
    struct plan_step *s = opcase_step(&c, OP_COLS, REG_H, 5 * 24);
    s->src = REG_X;
    s->n_head = 5;
    s->group = 16;
    s->u.cols.from_stride = s->u.cols.to_stride = 24;
    s->u.cols.to = 8;
    s = opcase_step(&c, OP_COLS, REG_H, 5 * 24);
    s->src = REG_X;
    s->n_head = 5;
    s->group = 8;
    s->u.cols.from = 16;
    s->u.cols.from_stride = s->u.cols.to_stride = 24;
    s->u.cols.onto = true;
    opcase_output(&c, REG_H, 5 * 24);
    compare_rows(&c, 200, "cols");
    opcase_fini(&c);
}

static void test_headsum(uint32_t n_head, uint32_t dim)
{
    struct opcase c;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, n_head * dim);
    struct plan_step *s = opcase_step(&c, OP_HEADSUM, REG_H, n_head);
    s->src = REG_X;
    s->n_src = n_head * dim;
    s->n_head = n_head;
    s->head_dim = dim;
    opcase_output(&c, REG_H, n_head);
    compare_rows(&c, 70, "headsum");
    opcase_fini(&c);
}

static void test_rope(bool pairs, const uint32_t shape[3], uint32_t pos, uint32_t n)
{
    struct opcase c;
    struct opcase_seq q = {0}, far = {.rope_long = true};
    struct batch b = {0};
    char what[96];
    uint32_t head_dim = shape[0], first = shape[1], n_rot = shape[2];
    opcase_init(&c);
    opcase_input(&c, REG_Q, VOCAB, 6 * head_dim);
    float *freq = ARENA_NEW(&c.a, float, n_rot);
    for (uint32_t i = 0; i < n_rot; i++) /* the second half is the long table */
        freq[i] =
            powf(10000, -2.0f * (float)(i % (n_rot / 2)) / (float)n_rot) / (i < n_rot / 2 ? 1 : 4);
    opcase_rope(&c, freq + n_rot / 2, 2, 1, true);
    struct plan_step *s = opcase_step(&c, OP_ROPE, REG_Q, 6 * head_dim);
    s->src = REG_Q;
    s->n_head = 6;
    s->head_dim = head_dim;
    s->u.rope.first = first;
    s->index = opcase_rope(&c, freq, n_rot, 1.1f, pairs);
    c.ropes[s->index].freq_long = freq + n_rot / 2;
    c.ropes[s->index].mscale_long = 1.3f;
    opcase_output(&c, REG_Q, 6 * head_dim);
    opcase_blocks(&q, 0, 1, 64);
    opcase_blocks(&far, 32, 1, 64);
    q.n = far.n = pos;
    opcase_span(&c, &b, &q, n, VOCAB);
    opcase_span(&c, &b, &far, n, VOCAB);
    snprintf(what, sizeof what, "rope %s %u..%u of %u at %u x %u", pairs ? "pairs" : "halves",
             first, first + n_rot, head_dim, pos, n);
    compare(&c, &b, 1, F32_BOUND, what);
    opcase_fini(&c);
}

/* ---- products: mat has tests of its own, here it is how the ops call it ---- */

static void test_linear(enum op op, enum plan_act act, bool bias, uint32_t n)
{
    struct opcase c;
    char what[64];
    uint32_t cols = 64, rows = 48;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, cols);
    if (op == OP_LINEAR_ADD) opcase_input(&c, REG_Q, VOCAB, rows);
    struct plan_step *s = opcase_step(&c, op, REG_Q, rows);
    s->src = REG_X;
    s->n_src = cols;
    s->dst2 = REG_K;
    s->dst3 = REG_V;
    s->act = act;
    s->w = opcase_tensor(&c, DTYPE_F32, rows, cols);
    s->w2 = opcase_tensor(&c, DTYPE_F32, rows, cols);
    s->w3 = opcase_tensor(&c, DTYPE_F32, rows, cols);
    if (bias) {
        s->b = opcase_tensor(&c, DTYPE_F32, 1, rows);
        s->b2 = opcase_tensor(&c, DTYPE_F16, 1, rows);
        s->b3 = opcase_tensor(&c, DTYPE_F32, 1, rows);
    }
    opcase_width(&c, REG_K, rows);
    opcase_width(&c, REG_V, rows);
    enum plan_reg most = op == OP_LINEAR3 ? REG_V : op == OP_LINEAR2 ? REG_K : REG_Q;
    if (most != REG_Q) {
        struct plan_step *sum = opcase_step(&c, OP_GLU, REG_Q, rows);
        sum->src = most;
        sum->src2 = REG_Q;
    }
    opcase_output(&c, REG_Q, rows);
    snprintf(what, sizeof what, "%s act %d%s x %u", plan_op_name(op), (int)act, bias ? " bias" : "",
             n);
    compare_rows(&c, n, what);
    opcase_fini(&c);
}

/* Makes the matrices of a tensor lie apart, in an order of their own. */
static void spread_parts(struct opcase *c, int tensor)
{
    struct plan_tensor *t = &c->tensors[tensor];
    size_t bytes = (size_t)t->rows * t->cols * 4 / t->n_parts;
    const void **parts = ARENA_NEW(&c->a, const void *, t->n_parts);
    for (uint32_t i = 0; i < t->n_parts; i++) {
        char *copy = arena_alloc(&c->a, bytes + 64, 64);
        memcpy(copy, (const char *)c->w[tensor].data + i * bytes, bytes);
        parts[i] = copy;
    }
    c->w[tensor].data = NULL;
    c->w[tensor].parts = parts;
}

/* Heads of `in` columns, the first `cols` of which meet matrices of rows x cols. */
static void test_headlin(const uint32_t shape[4], bool apart, uint32_t n)
{
    struct opcase c;
    char what[64];
    uint32_t n_head = shape[0], in = shape[1], cols = shape[2], rows = shape[3], out = rows + 8;
    opcase_init(&c);
    opcase_input(&c, REG_Q, VOCAB, n_head * in);
    opcase_input(&c, REG_H, VOCAB, n_head * out);
    struct plan_step *s = opcase_step(&c, OP_HEADLIN, REG_H, n_head * out);
    s->src = REG_Q;
    s->n_src = n_head * in;
    s->n_head = n_head;
    s->u.headlin.in_stride = in;
    s->u.headlin.out_stride = out;
    s->w = opcase_parts(&c, DTYPE_F32, n_head * rows, cols, n_head);
    if (apart) spread_parts(&c, s->w);
    opcase_output(&c, REG_H, n_head * out);
    snprintf(what, sizeof what, "headlin %u heads of %u x %u%s x %u", n_head, rows, cols,
             apart ? " apart" : "", n);
    compare_rows(&c, n, what);
    opcase_fini(&c);
}

/* ---- mixtures of experts ---- */

struct routing {
    enum plan_gating gating;
    uint32_t n, n_used, n_group, n_group_used;
    bool norm, bias;
    float scale;
};

static void route_step(struct opcase *c, const struct routing *r)
{
    struct plan_step *s = opcase_step(c, OP_ROUTE, REG_E, r->n_used);
    s->dst2 = REG_W;
    s->src = REG_G;
    s->n_src = r->n;
    s->scale = r->scale;
    if (r->bias) s->w = opcase_tensor(c, DTYPE_F32, 1, r->n);
    s->u.route.n_used = r->n_used;
    s->u.route.gating = r->gating;
    s->u.route.norm = r->norm;
    s->u.route.n_group = r->n_group;
    s->u.route.n_group_used = r->n_group_used;
    opcase_width(c, REG_W, r->n_used);
}

/* The ids must be equal: one that differs is far beyond the bound. */
static void test_route(const struct routing *r, bool ties)
{
    struct opcase c;
    char what[96];
    opcase_init(&c);
    opcase_input(&c, REG_G, VOCAB, r->n);
    for (uint32_t i = 0; ties && i < VOCAB * r->n; i++)
        floats_of(&c, 0)[i] = floorf(floats_of(&c, 0)[i]);
    route_step(&c, r);
    opcase_output(&c, REG_E, r->n_used);
    snprintf(what, sizeof what, "route %d, %u of %u, %u of %u groups%s%s%s", (int)r->gating,
             r->n_used, r->n, r->n_group_used, r->n_group, r->norm ? ", norm" : "",
             r->bias ? ", bias" : "", ties ? ", ties" : "");
    compare_rows(&c, 60, what);
    c.steps[c.plan.n_steps - 1].src = REG_W;
    compare_rows(&c, 60, what);
    opcase_fini(&c);
}

static void test_routes(void)
{
    static const struct routing all[] = {
        {GATING_SOFTMAX, 8, 2, 0, 0, false, false, 0},
        {GATING_SOFTMAX, 60, 4, 0, 0, true, false, 2.5f},
        {GATING_SIGMOID, 256, 8, 8, 4, true, true, 2.5f},
        {GATING_SIGMOID, 16, 1, 0, 0, false, false, 1},
        {GATING_SOFTMAX_CHOSEN, 32, 4, 0, 0, false, true, 1},
        {GATING_SOFTMAX, 12, 3, 3, 1, false, false, 16},
        {GATING_SIGMOID, 6, 6, 6, 6, true, true, 1},
        {GATING_SOFTMAX, 5, 5, 1, 1, true, false, -1},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        test_route(&all[i], false);
        test_route(&all[i], true);
    }
}

/* Logits that are no numbers: different experts that exist, whatever they are. */
static void test_route_nan(void)
{
    static const struct routing r = {GATING_SIGMOID, 16, 4, 4, 2, true, true, 1};
    struct opcase c;
    struct opcase_seq q;
    float id[20 * 4];
    bool good = true;
    opcase_init(&c);
    opcase_input(&c, REG_G, VOCAB, r.n);
    for (uint32_t i = 0; i < VOCAB * r.n; i++)
        if (i / r.n % 3 || i % 2) floats_of(&c, 0)[i] = i % 5 ? NAN : -INFINITY;
    route_step(&c, &r);
    opcase_output(&c, REG_E, r.n_used);
    struct batch b = rows_of(&c, &q, 20);
    struct dev_conf conf = conf_of(NULL, 1);
    ok(opcase_run(&c, &cpu_backend, &conf, &b, 1, id) == 80, "route of NaN runs");
    for (int i = 0; i < 80; i++) {
        good = good && id[i] >= 0 && id[i] < 16;
        for (int k = i / 4 * 4; k < i; k++)
            good = good && (id[k] < id[i] || id[k] > id[i]);
    }
    ok(good, "route of NaN names different experts that exist");
    opcase_fini(&c);
}

/* Route, two products and the sum: inputs shared by the slots, then one a slot. */
static void test_experts(bool bias, bool apart, uint32_t n)
{
    static const struct routing r = {GATING_SOFTMAX, 6, 3, 0, 0, true, false, 1};
    struct opcase c;
    char what[64];
    uint32_t embd = 40, ff = 24;
    opcase_init(&c);
    opcase_input(&c, REG_H, VOCAB, embd);
    opcase_input(&c, REG_G, VOCAB, r.n);
    route_step(&c, &r);
    struct plan_step *s = opcase_step(&c, OP_EXPERT, REG_U, r.n_used * ff);
    s->src = REG_H;
    s->n_src = embd;
    s->src2 = REG_E;
    s->u.route.n_used = r.n_used;
    s->w = opcase_parts(&c, DTYPE_F32, r.n * ff, embd, r.n);
    if (bias) s->b = opcase_tensor(&c, DTYPE_F32, r.n, ff);
    if (apart) spread_parts(&c, s->w);
    s = opcase_step(&c, OP_EXPERT, REG_D, r.n_used * embd);
    s->src = REG_U;
    s->n_src = r.n_used * ff;
    s->src2 = REG_E;
    s->u.route.n_used = r.n_used;
    s->w = opcase_parts(&c, DTYPE_F32, r.n * embd, ff, r.n);
    if (bias) s->b = opcase_tensor(&c, DTYPE_F32, r.n, embd);
    s = opcase_step(&c, OP_MIX, REG_X, embd);
    s->src = REG_D;
    s->n_src = r.n_used * embd;
    s->src2 = REG_W;
    s->u.route.n_used = r.n_used;
    opcase_output(&c, REG_X, embd);
    snprintf(what, sizeof what, "experts%s%s x %u", bias ? ", bias" : "", apart ? ", apart" : "",
             n);
    compare_rows(&c, n, what);
    opcase_fini(&c);
}

static void test_mix(uint32_t width, uint32_t n_used)
{
    struct opcase c;
    opcase_init(&c);
    opcase_input(&c, REG_D, VOCAB, width * n_used);
    opcase_input(&c, REG_W, VOCAB, n_used);
    struct plan_step *s = opcase_step(&c, OP_MIX, REG_X, width);
    s->src = REG_D;
    s->n_src = width * n_used;
    s->src2 = REG_W;
    s->u.route.n_used = n_used;
    opcase_output(&c, REG_X, width);
    compare_rows(&c, 10, "mix");
    opcase_fini(&c);
}

/* ---- after GATHER ---- */

/* Steps after GATHER work on the wanted rows, whatever registers they use. */
static void test_after_gather(void)
{
    struct opcase c;
    struct opcase_seq q;
    uint32_t wanted[3] = {4, 5, 39};
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, 50);
    struct plan_step *s = opcase_step(&c, OP_GATHER, REG_O, 50);
    s->src = REG_X;
    s = opcase_step(&c, OP_RMSNORM, REG_T0, 50);
    s->src = REG_O;
    s = opcase_step(&c, OP_ACT, REG_T1, 50);
    s->src = REG_T0;
    s->act = ACT_TANH;
    s = opcase_step(&c, OP_SOFTCAP, REG_LOGITS, 50);
    s->src = REG_T1;
    s->scale = 0.7f;
    struct batch b = rows_of(&c, &q, 40);
    b.out = wanted;
    b.n_out = 3;
    compare(&c, &b, 1, F32_BOUND, "after gather");
    opcase_fini(&c);
}

/* ---- opening ---- */

static void test_open(void)
{
    struct opcase c;
    struct dev *d;
    struct err_info e;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, 40);
    opcase_output(&c, REG_X, 40);
    struct dev_conf conf = conf_of("pentium", 1);
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_INVALID && !d, "an unknown isa: %s",
       e.text);
    conf = conf_of(NULL, 0);
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_INVALID && !d, "%s", e.text);
    conf = conf_of(NULL, 1);
    conf.max_batch = UINT32_MAX;
    c.plan.width[REG_X] = UINT32_MAX;
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_NOMEM && !d, "%s", e.text);
    c.plan.width[REG_X] = 40;
    conf = conf_of(NULL, 2);
    opcase_state(&c, 100);
    opcase_state(&c, 60);
    uint64_t small = cpu_backend.bytes(&c.plan, &conf);
    conf.n_states += 10;
    is_int(cpu_backend.bytes(&c.plan, &conf) - small, 10 * 160 * 4, "bytes() counts the states");
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_OK, "opens");
    if (d) printf("# %s, %llu bytes\n", cpu_backend.describe(d), (unsigned long long)small);
    cpu_backend.close(d);
    cpu_backend.close(NULL);
    struct plan_step *s = opcase_step(&c, OP_CONV, REG_X, 2);
    s->src = REG_X;
    s->w = opcase_tensor(&c, DTYPE_F32, 2, CPU_TAPS + 1);
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_UNSUPPORTED && !d, "%s", e.text);
    ok(cpu_backend.has(OP_EMBED, DTYPE_Q4_0) && !cpu_backend.has(OP_EMBED, DTYPE_Q8_1 + 1000),
       "embeds any type that can be read");
    for (int op = 0; op < OP_COUNT; op++)
        if (!cpu_backend.op[op] || !cpu_backend.has((enum op)op, DTYPE_F32))
            ok(false, "has the op %s", plan_op_name((enum op)op));
    ok(!cpu_backend.has(OP_COUNT, DTYPE_F32), "has every op and no other");
    opcase_fini(&c);
}

int main(void)
{
    static const enum op elements[] = {OP_ADD, OP_MUL, OP_SCALE, OP_SOFTCAP, OP_CLAMP, OP_TOPGAUSS};
    cpu_case_init();
    test_open();
    test_embed();
    test_rowadd(DTYPE_F32, true);
    test_rowadd(DTYPE_F16, false);
    test_rowadd(DTYPE_Q8_0, true);
    test_norms();
    test_acts();
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        test_element(elements[i], 0.37f, 99, 7);
        test_element(elements[i], 1, 1024, 40);
    }
    test_mul(96, 12, false);
    test_mul(96, 96, true);
    test_mul(96, 24, true);
    test_mul(100, 4, false);
    test_cols();
    test_headsum(5, 20);
    test_headsum(12, 64);
    test_rope(true, (const uint32_t[]){64, 0, 64}, 0, 100);
    test_rope(true, (const uint32_t[]){8, 0, 8}, 30, 5);
    test_rope(false, (const uint32_t[]){128, 0, 128}, 4096, 9);
    test_rope(false, (const uint32_t[]){80, 0, 32}, 1000, 70);
    test_rope(true, (const uint32_t[]){20, 4, 12}, 5, 1);
    test_rope(false, (const uint32_t[]){192, 128, 64}, 5, 20);
    for (enum op op = OP_LINEAR2; op <= OP_LINEAR_ADD; op++)
        test_linear(op, ACT_SILU, op != OP_LINEAR2, op == OP_LINEAR3 ? 1 : 21);
    test_linear(OP_LINEAR, ACT_SILU, true, 7);
    for (int a = 0; a < ACT_COUNT; a++)
        test_linear(OP_LINEAR_GLU, (enum plan_act)a, true, a == ACT_RELU ? 1 : 18);
    test_headlin((const uint32_t[]){4, 24, 16, 20}, false, 1);
    test_headlin((const uint32_t[]){5, 48, 32, 64}, true, 30);
    test_headlin((const uint32_t[]){16, 64, 64, 40}, false, 6);
    test_routes();
    test_route_nan();
    test_experts(false, false, 1);
    test_experts(true, false, 40);
    test_experts(true, true, 9);
    test_mix(2500, 4);
    test_mix(17, 1);
    test_after_gather();
    return tap_end();
}
