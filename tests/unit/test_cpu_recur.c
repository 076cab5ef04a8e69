/* test_cpu_recur: the ops of the CPU back end that carry a state from row to row, against the
 * reference; and that results do not depend on threads, neighbours in the batch or how a sequence
 * was cut into batches.
 */
#include "unit/cpu_case.h"

static void test_shift(uint32_t width)
{
    struct opcase c;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    struct plan_step *s = opcase_step(&c, OP_SHIFT, REG_H, width);
    s->src = REG_X;
    opcase_state(&c, 3); /* not the first, and odd */
    s->index = opcase_state(&c, width);
    opcase_output(&c, REG_H, width);
    compare_sequences(&c, 0, "shift");
    c.steps[1].dst = c.steps[2].src = REG_X;
    compare_sequences(&c, 0, "shift in place");
    opcase_fini(&c);
}

static void test_lerp(uint32_t width, bool more)
{
    struct opcase c;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    opcase_input(&c, REG_H, VOCAB, width);
    opcase_input(&c, REG_U, VOCAB, width);
    struct plan_step *s = opcase_step(&c, OP_LERP, REG_D, width);
    s->src = REG_X;
    s->src2 = REG_H;
    s->w = opcase_tensor(&c, DTYPE_F32, 1, width);
    if (more) s->src3 = REG_U;
    opcase_output(&c, REG_D, width);
    compare_rows(&c, 45, more ? "lerp with columns" : "lerp");
    opcase_fini(&c);
}

static void test_conv(uint32_t width, uint32_t k, bool bias)
{
    struct opcase c;
    char what[64];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    struct plan_step *s = opcase_step(&c, OP_CONV, REG_H, width);
    s->src = REG_X;
    s->w = opcase_tensor(&c, DTYPE_F16, width, k);
    if (bias) s->b = opcase_tensor(&c, DTYPE_F32, 1, width);
    s->index = opcase_state(&c, (k - 1) * width);
    opcase_output(&c, REG_H, width);
    snprintf(what, sizeof what, "conv of %u taps, %u columns%s", k, width, bias ? ", bias" : "");
    compare_sequences(&c, F32_BOUND, what);
    c.steps[1].dst = c.steps[2].src = REG_X;
    compare_sequences(&c, F32_BOUND, "conv in place");
    opcase_fini(&c);
}

/* A tensor of values below 0, as a decay is in a file. */
static int decays(struct opcase *c, uint32_t rows, uint32_t cols)
{
    int t = opcase_tensor(c, DTYPE_F32, rows, cols);
    for (uint32_t i = 0; i < rows * cols; i++)
        floats_of(c, t)[i] = -fabsf(floats_of(c, t)[i]);
    return t;
}

static void test_scan(uint32_t width, uint32_t n_state, bool skip)
{
    struct opcase c;
    char what[64];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    opcase_input(&c, REG_T0, VOCAB, width);
    opcase_input(&c, REG_T1, VOCAB, n_state);
    opcase_input(&c, REG_T2, VOCAB, n_state);
    struct plan_step *s = opcase_step(&c, OP_SCAN, REG_H, width);
    s->src = REG_X;
    s->src2 = REG_T0;
    s->src3 = REG_T1;
    s->src4 = REG_T2;
    s->w = decays(&c, width, n_state);
    if (skip) s->w2 = opcase_tensor(&c, DTYPE_F32, 1, width);
    s->u.scan.n_state = n_state;
    s->u.scan.n_group = 1;
    s->index = opcase_state(&c, width * n_state);
    opcase_output(&c, REG_H, width);
    snprintf(what, sizeof what, "scan %u x %u", width, n_state);
    compare_sequences(&c, F32_BOUND, what);
    opcase_fini(&c);
}

static void test_scan_heads(const uint32_t shape[4])
{
    struct opcase c;
    char what[96];
    uint32_t n_head = shape[0], dim = shape[1], n_state = shape[2], n_group = shape[3];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, n_head * dim);
    opcase_input(&c, REG_T0, VOCAB, n_head);
    opcase_input(&c, REG_T1, VOCAB, n_group * n_state);
    opcase_input(&c, REG_T2, VOCAB, n_group * n_state);
    struct plan_step *s = opcase_step(&c, OP_SCAN_HEADS, REG_H, n_head * dim);
    s->src = REG_X;
    s->src2 = REG_T0;
    s->src3 = REG_T1;
    s->src4 = REG_T2;
    s->n_head = n_head;
    s->head_dim = dim;
    s->w = decays(&c, n_head, 1);
    s->w2 = opcase_tensor(&c, DTYPE_F32, n_head, 1);
    s->u.scan.n_state = n_state;
    s->u.scan.n_group = n_group;
    s->index = opcase_state(&c, n_head * dim * n_state);
    opcase_output(&c, REG_H, n_head * dim);
    snprintf(what, sizeof what, "scan of %u heads of %u x %u, %u groups", n_head, dim, n_state,
             n_group);
    compare_sequences(&c, F32_BOUND, what);
    opcase_fini(&c);
}

static void apply(struct opcase *c, enum op op, enum plan_reg r, uint32_t n, enum plan_act act)
{
    struct plan_step *s = opcase_step(c, op, r, n);
    s->src = r;
    s->act = act;
}

static void test_wkv6(uint32_t n_head, uint32_t dim)
{
    struct opcase c;
    char what[64];
    uint32_t n = n_head * dim;
    opcase_init(&c);
    opcase_input(&c, REG_Q, VOCAB, n);
    opcase_input(&c, REG_K, VOCAB, n);
    opcase_input(&c, REG_V, VOCAB, n);
    opcase_input(&c, REG_T0, VOCAB, n);
    apply(&c, OP_ACT, REG_T0, n, ACT_NEG_EXP_DECAY);
    struct plan_step *s = opcase_step(&c, OP_WKV6, REG_H, n);
    s->src = REG_Q;
    s->src2 = REG_K;
    s->src3 = REG_V;
    s->src4 = REG_T0;
    s->n_head = n_head;
    s->head_dim = dim;
    s->w = opcase_tensor(&c, DTYPE_F32, n_head, dim);
    s->index = opcase_state(&c, n * dim);
    opcase_output(&c, REG_H, n);
    snprintf(what, sizeof what, "wkv6 %u heads of %u", n_head, dim);
    compare_sequences(&c, F32_BOUND, what);
    opcase_fini(&c);
}

static void test_wkv7(uint32_t n_head, uint32_t dim)
{
    static const enum plan_reg in[6] = {REG_Q, REG_T0, REG_K, REG_V, REG_T1, REG_T2};
    struct opcase c;
    char what[64];
    uint32_t n = n_head * dim;
    opcase_init(&c);
    for (int i = 0; i < 6; i++)
        opcase_input(&c, in[i], VOCAB, n);
    apply(&c, OP_ACT, REG_T0, n, ACT_SIGMOID_DECAY);
    apply(&c, OP_L2NORM, REG_T1, n, 0);
    c.steps[c.plan.n_steps - 1].group = dim;
    apply(&c, OP_SCALE, REG_T2, n, 0); /* b = -0.3 a */
    c.steps[c.plan.n_steps - 1].src = REG_T1;
    c.steps[c.plan.n_steps - 1].scale = -0.3f;
    struct plan_step *s = opcase_step(&c, OP_WKV7, REG_H, n);
    s->src = in[0];
    s->src2 = in[1];
    s->src3 = in[2];
    s->src4 = in[3];
    s->src5 = in[4];
    s->src6 = in[5];
    s->n_head = n_head;
    s->head_dim = dim;
    s->index = opcase_state(&c, n * dim);
    opcase_output(&c, REG_H, n);
    snprintf(what, sizeof what, "wkv7 %u heads of %u", n_head, dim);
    compare_sequences(&c, F32_BOUND, what);
    opcase_fini(&c);
}

static void test_delta(uint32_t n_head, uint32_t n_k, uint32_t n_v)
{
    struct opcase c;
    char what[64];
    opcase_init(&c);
    opcase_input(&c, REG_Q, VOCAB, n_head * n_k);
    opcase_input(&c, REG_K, VOCAB, n_head * n_k);
    opcase_input(&c, REG_V, VOCAB, n_head * n_v);
    opcase_input(&c, REG_T0, VOCAB, n_head);
    opcase_input(&c, REG_T1, VOCAB, n_head);
    apply(&c, OP_L2NORM, REG_Q, n_head * n_k, 0);
    c.steps[c.plan.n_steps - 1].group = n_k;
    apply(&c, OP_L2NORM, REG_K, n_head * n_k, 0);
    c.steps[c.plan.n_steps - 1].group = n_k;
    apply(&c, OP_ACT, REG_T0, n_head, ACT_SOFTPLUS);
    apply(&c, OP_SCALE, REG_T0, n_head, 0);
    c.steps[c.plan.n_steps - 1].scale = -0.2f;
    apply(&c, OP_ACT, REG_T1, n_head, ACT_SIGMOID);
    struct plan_step *s = opcase_step(&c, OP_DELTA, REG_H, n_head * n_v);
    s->src = REG_Q;
    s->src2 = REG_K;
    s->src3 = REG_V;
    s->src4 = REG_T0;
    s->src5 = REG_T1;
    s->n_head = n_head;
    s->head_dim = n_k;
    s->scale = 1 / sqrtf((float)n_k);
    s->index = opcase_state(&c, n_head * n_k * n_v);
    opcase_output(&c, REG_H, n_head * n_v);
    snprintf(what, sizeof what, "delta %u heads of %u x %u", n_head, n_k, n_v);
    compare_sequences(&c, F32_BOUND, what);
    opcase_fini(&c);
}

int main(void)
{
    cpu_case_init();
    test_shift(5);
    test_shift(200);
    test_lerp(37, false);
    test_lerp(1000, true);
    test_conv(100, 4, true);
    test_conv(64, 3, false);
    test_conv(7, 2, true);
    test_conv(33, 1, false);
    test_conv(20, 9, true);
    test_conv(16, CPU_TAPS, false);
    test_scan(70, 16, true);
    test_scan(9, 5, false);
    test_scan(128, 33, true);
    test_scan_heads((const uint32_t[]){8, 16, 64, 2});
    test_scan_heads((const uint32_t[]){3, 5, 20, 1});
    test_scan_heads((const uint32_t[]){2, 64, 128, 2});
    test_wkv6(3, 64);
    test_wkv6(2, 20);
    test_wkv7(3, 64);
    test_wkv7(2, 20);
    test_delta(4, 64, 128);
    test_delta(3, 20, 24);
    return tap_end();
}
