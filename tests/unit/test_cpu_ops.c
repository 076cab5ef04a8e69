/* test_cpu_ops: every op of the CPU back end against the reference, on every instruction set this
 * machine has, over odd and usual shapes; and that results do not depend on threads or neighbours.
 */
#include "compute/cpu/cpu.h"

#include "compute/cpu/mat.h"
#include "compute/ref/ref.h"
#include "opcase.h"

#define VOCAB     97
#define F32_BOUND 1e-12 /* rounding of float32 sums is 1e-14 or so */

static const char *const isas[] = {"generic", "avx2", "avx512"};
static int n_isas;

static struct dev_conf conf_of(const char *isa, uint32_t n_threads, enum dtype kv)
{
    return (struct dev_conf){.n_threads = n_threads,
                             .max_batch = LIMIT_BATCH,
                             .max_out = LIMIT_BATCH,
                             .n_blocks = 64,
                             .ktype = kv,
                             .vtype = kv,
                             .isa = isa};
}

static size_t out_floats(const struct opcase *c, const struct batch *b, uint32_t n)
{
    size_t rows = 0;
    for (uint32_t i = 0; i < n; i++)
        rows += b[i].n_out;
    return rows * c->plan.width[REG_LOGITS];
}

/* Runs the case on ref and on every isa with 1, 2 and 3 threads, which must agree to the bit. */
static void compare(const struct opcase *c, const struct batch *b, uint32_t n_batches,
                    enum dtype kv, double bound, const char *what)
{
    size_t n = out_floats(c, b, n_batches);
    float *want = mem_need(n * 4), *got = mem_need(n * 4), *again = mem_need(n * 4);
    struct dev_conf conf = conf_of(NULL, 1, kv);
    ok(opcase_run(c, &ref_backend, &conf, b, n_batches, want) == n, "%s: ref runs", what);
    for (int i = 0; i < n_isas; i++) {
        bool same = true, ran = true;
        conf = conf_of(isas[i], 1, kv);
        ran = opcase_run(c, &cpu_backend, &conf, b, n_batches, got) == n;
        for (uint32_t t = 2; t <= 3 && ran; t++) {
            conf = conf_of(isas[i], t, kv);
            ran = opcase_run(c, &cpu_backend, &conf, b, n_batches, again) == n;
            same = same && memcmp(got, again, n * 4) == 0;
        }
        double nmse = opcase_nmse(got, want, n);
        ok(ran && nmse <= bound, "%s, %s: NMSE %.2g", what, isas[i], nmse);
        ok(same, "%s, %s: the same with 1, 2 and 3 threads", what, isas[i]);
    }
    mem_free(want);
    mem_free(got);
    mem_free(again);
}

/* One batch of n rows of one sequence. */
static struct batch rows_of(struct opcase *c, struct opcase_seq *q, uint32_t n)
{
    struct batch b = {0};
    opcase_blocks(q, 0, 1, 64);
    opcase_span(c, &b, q, n, VOCAB);
    return b;
}

/* ---- rows ---- */

static void test_embed(void)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    for (int t = 0; t < 3; t++) {
        struct opcase c;
        struct opcase_seq q;
        opcase_init(&c);
        struct plan_step *s = opcase_step(&c, OP_EMBED);
        s->dst = REG_X;
        s->scale = 1.75f;
        s->w = opcase_tensor(&c, types[t], VOCAB, 96);
        c.plan.width[REG_X] = 96;
        opcase_output(&c, REG_X);
        struct batch b = rows_of(&c, &q, 300);
        compare(&c, &b, 1, DTYPE_F32, F32_BOUND, dtype_info(types[t])->name);
        opcase_fini(&c);
    }
}

static void test_norm(uint32_t width, uint32_t group, bool weight, uint32_t n)
{
    struct opcase c;
    struct opcase_seq q;
    char what[64];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    struct plan_step *s = opcase_step(&c, OP_RMSNORM);
    s->src = REG_X;
    s->dst = REG_H;
    s->group = group;
    if (weight) s->w = opcase_tensor(&c, DTYPE_F16, 1, group ? group : width);
    c.plan.width[REG_H] = width;
    opcase_output(&c, REG_H);
    struct batch b = rows_of(&c, &q, n);
    snprintf(what, sizeof what, "rmsnorm %u/%u x %u%s", width, group, n, weight ? "" : " bare");
    compare(&c, &b, 1, DTYPE_F32, F32_BOUND, what);
    opcase_fini(&c);
}

static void test_glu(enum plan_act act, uint32_t width, uint32_t n)
{
    struct opcase c;
    struct opcase_seq q;
    char what[64];
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, width);
    opcase_input(&c, REG_U, VOCAB, width);
    c.steps[0].scale = 6; /* well into both tails */
    struct plan_step *s = opcase_step(&c, OP_GLU);
    s->src = s->dst = REG_X;
    s->src2 = REG_U;
    s->act = act;
    struct plan_step *sum = opcase_step(&c, OP_ADD);
    sum->src = REG_X;
    sum->dst = sum->src2 = REG_U;
    opcase_output(&c, REG_U);
    struct batch b = rows_of(&c, &q, n);
    snprintf(what, sizeof what, "glu %d and add, %u x %u", (int)act, width, n);
    compare(&c, &b, 1, DTYPE_F32, F32_BOUND, what);
    opcase_fini(&c);
}

/* Inputs whose exponentials leave float32: silu(-200) is -0 and silu(200) is 200, never NaN. */
static void test_glu_extremes(void)
{
    struct opcase c;
    struct opcase_seq q;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, 40);
    opcase_input(&c, REG_U, VOCAB, 40);
    c.steps[0].scale = 300;
    struct plan_step *s = opcase_step(&c, OP_GLU);
    s->src = s->dst = REG_X;
    s->src2 = REG_U;
    opcase_output(&c, REG_X);
    struct batch b = rows_of(&c, &q, 20);
    compare(&c, &b, 1, DTYPE_F32, F32_BOUND, "glu of huge values");
    opcase_fini(&c);
}

static void test_rope(bool pairs, uint32_t head_dim, uint32_t n_rot, uint32_t pos, uint32_t n)
{
    struct opcase c;
    struct opcase_seq q;
    struct batch b = {0};
    char what[64];
    float *freq;
    opcase_init(&c);
    opcase_input(&c, REG_Q, VOCAB, 6 * head_dim);
    struct plan_step *s = opcase_step(&c, OP_ROPE);
    s->dst = s->src = REG_Q;
    s->n_head = 6;
    s->head_dim = head_dim;
    freq = ARENA_NEW(&c.a, float, n_rot / 2);
    for (uint32_t i = 0; i < n_rot / 2; i++)
        freq[i] = powf(10000, -2.0f * (float)i / (float)n_rot);
    c.plan.rope_freq = freq;
    c.plan.n_rot = n_rot;
    c.plan.rope_mscale = 1.1f;
    c.plan.rope_pairs = pairs;
    opcase_output(&c, REG_Q);
    opcase_blocks(&q, 0, 1, 64);
    q.n = pos;
    opcase_span(&c, &b, &q, n, VOCAB);
    snprintf(what, sizeof what, "rope %s %u of %u at %u x %u", pairs ? "pairs" : "halves", n_rot,
             head_dim, pos, n);
    compare(&c, &b, 1, DTYPE_F32, F32_BOUND, what);
    opcase_fini(&c);
}

/* ---- products: mat has tests of its own, here it is how the ops call it ---- */

static void test_linear(enum op op, enum plan_act act, bool bias, uint32_t n)
{
    struct opcase c;
    struct opcase_seq q;
    char what[64];
    uint32_t cols = 64, rows = 48;
    opcase_init(&c);
    opcase_input(&c, REG_X, VOCAB, cols);
    if (op == OP_LINEAR_ADD) opcase_input(&c, REG_Q, VOCAB, rows);
    struct plan_step *s = opcase_step(&c, op);
    s->src = REG_X;
    s->dst = REG_Q;
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
    c.plan.width[REG_Q] = c.plan.width[REG_K] = c.plan.width[REG_V] = rows;
    enum plan_reg most = op == OP_LINEAR3 ? REG_V : op == OP_LINEAR2 ? REG_K : REG_Q;
    if (most != REG_Q) {
        struct plan_step *sum = opcase_step(&c, OP_GLU);
        sum->src = most;
        sum->src2 = sum->dst = REG_Q;
    }
    opcase_output(&c, REG_Q);
    struct batch b = rows_of(&c, &q, n);
    snprintf(what, sizeof what, "%s act %d%s x %u", plan_op_name(op), (int)act, bias ? " bias" : "",
             n);
    compare(&c, &b, 1, DTYPE_F32, F32_BOUND, what);
    opcase_fini(&c);
}

/* ---- attention ---- */

struct shape {
    uint32_t n_head, n_head_kv, dim, dim_v;
};

static void attention_case(struct opcase *c, const struct shape *h)
{
    opcase_init(c);
    c->meta.n_layer = 2;
    c->meta.n_head = h->n_head;
    c->meta.n_head_kv = h->n_head_kv;
    c->meta.head_dim = h->dim;
    c->meta.head_dim_v = h->dim_v;
    opcase_input(c, REG_Q, VOCAB, h->n_head * h->dim);
    opcase_input(c, REG_K, VOCAB, h->n_head_kv * h->dim);
    opcase_input(c, REG_V, VOCAB, h->n_head_kv * h->dim_v);
    c->plan.width[REG_A] = h->n_head * h->dim_v;
    struct plan_step *put = opcase_step(c, OP_KVPUT);
    put->src = REG_K;
    put->src2 = REG_V;
    struct plan_step *attn = opcase_step(c, OP_ATTN);
    attn->src = REG_Q;
    attn->dst = REG_A;
    attn->n_head = h->n_head;
    attn->head_dim = h->dim;
    attn->scale = 2.0f / sqrtf((float)h->dim);
    put->layer = attn->layer = 1;
    opcase_output(c, REG_A);
}

/* Three sequences: two prompts together, then a third beside single steps, then single steps. */
static uint32_t scenario(struct opcase *c, struct batch *b)
{
    static struct opcase_seq q[3];
    for (uint32_t i = 0; i < 3; i++)
        opcase_blocks(&q[i], i, 3, 63);
    memset(b, 0, 6 * sizeof *b);
    opcase_span(c, &b[0], &q[0], 70, VOCAB);
    opcase_span(c, &b[0], &q[1], 33, VOCAB);
    opcase_span(c, &b[1], &q[0], 1, VOCAB);
    opcase_span(c, &b[1], &q[2], 5, VOCAB);
    opcase_span(c, &b[1], &q[1], 1, VOCAB);
    opcase_span(c, &b[2], &q[0], 270, VOCAB);
    for (uint32_t i = 3; i < 6; i++)
        for (uint32_t s = 0; s < 3; s++)
            opcase_span(c, &b[i], &q[s], 1, VOCAB);
    return 6;
}

static void test_attention(const struct shape *h, enum dtype kv)
{
    struct opcase c;
    struct batch b[6];
    char what[64];
    attention_case(&c, h);
    uint32_t n = scenario(&c, b);
    snprintf(what, sizeof what, "attention %u/%u heads of %u/%u, %s", h->n_head, h->n_head_kv,
             h->dim, h->dim_v, dtype_info(kv)->name);
    compare(&c, b, n, kv, F32_BOUND, what);
    opcase_fini(&c);
}

/* Few heads and a long context: the work is split over the sequence, in several waves. */
static void test_long(void)
{
    static const struct shape h = {8, 1, 32, 32};
    struct opcase c;
    struct opcase_seq q;
    struct batch b[4] = {{0}};
    attention_case(&c, &h);
    opcase_blocks(&q, 5, 7, 64);
    opcase_span(&c, &b[0], &q, 1100, VOCAB);
    opcase_span(&c, &b[1], &q, 42, VOCAB);
    opcase_span(&c, &b[2], &q, 1, VOCAB);
    opcase_span(&c, &b[3], &q, 1, VOCAB);
    compare(&c, b, 4, DTYPE_F16, F32_BOUND, "one kv head, 1100 positions");
    opcase_fini(&c);
}

/* One sequence by itself, in one piece, in odd pieces, singly, and beside others: bitwise the same.
 */
static void test_neighbours(void)
{
    static const struct shape h = {8, 2, 24, 24};
    enum { N = 300 };
    struct opcase c;
    struct opcase_seq q, other;
    struct batch whole = {0}, *piece, *beside;
    attention_case(&c, &h);
    size_t width = c.plan.width[REG_LOGITS];
    piece = ARENA_NEW(&c.a, struct batch, N);
    beside = ARENA_NEW(&c.a, struct batch, 3);
    opcase_blocks(&q, 0, 2, 64);
    opcase_blocks(&other, 1, 2, 63);
    opcase_span(&c, &whole, &q, N, VOCAB);
    /* The same tokens, cut anew: spans and rows point into the whole batch. */
    uint32_t n_pieces = 0;
    for (uint32_t at = 0; at < N; n_pieces++) {
        uint32_t n = at < 100 ? 1 : 37 < N - at ? 37 : N - at;
        struct batch_span *s = ARENA_NEW(&c.a, struct batch_span, 1);
        *s = (struct batch_span){0, n, at, q.blocks};
        piece[n_pieces] = (struct batch){n, whole.tok + at, whole.pos + at, s, 1, whole.out, n};
        at += n;
    }
    opcase_span(&c, &beside[0], &other, 9, VOCAB);
    q.n = 0;
    opcase_span(&c, &beside[0], &q, N, VOCAB);
    memcpy((int32_t *)(uintptr_t)beside[0].tok + 9, whole.tok, N * sizeof(int32_t));
    float *a = mem_need(N * width * 4), *z = mem_need((N + 9) * width * 4);
    for (int i = 0; i < n_isas; i++) {
        struct dev_conf conf = conf_of(isas[i], 2, DTYPE_F16);
        opcase_run(&c, &cpu_backend, &conf, &whole, 1, a);
        size_t n = opcase_run(&c, &cpu_backend, &conf, piece, n_pieces, z);
        ok(n == N * width && memcmp(a, z, n * 4) == 0, "%s: in pieces as in one", isas[i]);
        n = opcase_run(&c, &cpu_backend, &conf, beside, 1, z);
        ok(n == (N + 9) * width && memcmp(a, z + 9 * width, N * width * 4) == 0,
           "%s: beside another as alone", isas[i]);
    }
    mem_free(a);
    mem_free(z);
    opcase_fini(&c);
}

/* A step on copied blocks gives what it gives on the originals; positions beyond n are not touched.
 */
static void test_kv_copy(const struct backend *be, const char *isa, enum dtype kv)
{
    static const struct shape h = {4, 2, 20, 24};
    struct opcase c;
    struct opcase_seq q, twin;
    struct batch b[3] = {{0}};
    struct dev *d;
    float want[96], got[96];
    attention_case(&c, &h);
    opcase_blocks(&q, 0, 1, 64);
    opcase_blocks(&twin, 32, 1, 64);
    opcase_span(&c, &b[0], &q, 50, VOCAB);
    opcase_span(&c, &b[1], &q, 1, VOCAB);
    twin.n = 50;
    opcase_span(&c, &b[2], &twin, 1, VOCAB);
    memcpy((int32_t *)(uintptr_t)b[2].tok, b[1].tok, sizeof(int32_t));
    struct dev_conf conf = conf_of(isa, 2, kv);
    if (!ok(be->open(&d, &c.plan, c.w, &conf, NULL) == ERR_OK, "%s opens", isa)) return;
    opcase_step_run(d, &c, be, &b[0]);
    be->kv_copy(d, 0, 32, KV_BLOCK);
    be->kv_copy(d, 1, 33, 50 - KV_BLOCK);
    opcase_step_run(d, &c, be, &b[1]);
    memcpy(want, be->logits(d, 0), sizeof want);
    opcase_step_run(d, &c, be, &b[2]);
    memcpy(got, be->logits(d, 0), sizeof got);
    ok(memcmp(want, got, sizeof want) == 0, "%s %s: copied blocks serve as the originals", isa,
       dtype_info(kv)->name);
    be->close(d);
    opcase_fini(&c);
}

/* ---- opening ---- */

static void test_open(void)
{
    static const struct shape h = {8, 2, 20, 24};
    struct opcase c;
    struct dev *d;
    struct err_info e;
    attention_case(&c, &h);
    struct dev_conf conf = conf_of("pentium", 1, DTYPE_F32);
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_INVALID && !d, "an unknown isa: %s",
       e.text);
    conf = conf_of(NULL, 1, DTYPE_Q4_K);
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_UNSUPPORTED && !d, "%s", e.text);
    conf = conf_of(NULL, 0, DTYPE_F16);
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_INVALID && !d, "%s", e.text);
    conf = conf_of(NULL, 1, DTYPE_F16);
    conf.n_blocks = UINT32_MAX;
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_NOMEM && !d, "%s", e.text);
    conf = conf_of(NULL, 2, DTYPE_F16);
    uint64_t small = cpu_backend.bytes(&c.plan, &conf);
    conf.n_blocks += 10;
    uint64_t more = cpu_backend.bytes(&c.plan, &conf) - small;
    /* layers * blocks * kv heads * positions * (20 + 24 rounded up to 32) * 2 bytes */
    is_int(more, 2 * 10 * 2 * KV_BLOCK * (20 + 32) * 2, "bytes() counts the cache");
    ok(cpu_backend.open(&d, &c.plan, c.w, &conf, &e) == ERR_OK, "opens");
    if (d)
        printf("# %s, %llu bytes\n", cpu_backend.describe(d), (unsigned long long)(small + more));
    cpu_backend.close(d);
    cpu_backend.close(NULL);
    ok(cpu_backend.has(OP_EMBED, DTYPE_Q4_0) && !cpu_backend.has(OP_EMBED, DTYPE_Q8_1 + 1000),
       "embeds any type that can be read");
    ok(cpu_backend.has(OP_LINEAR, DTYPE_F32) == mat_has(DTYPE_F32) && cpu_backend.has(OP_ATTN, 0),
       "has the ops");
    opcase_fini(&c);
}

int main(void)
{
    static const struct shape shapes[] = {
        {4, 2, 8, 8},   {32, 4, 64, 64},   {14, 2, 64, 64}, {5, 5, 20, 20},  {8, 1, 80, 80},
        {6, 3, 96, 96}, {16, 8, 128, 128}, {60, 1, 16, 16}, {4, 2, 272, 40}, {3, 3, 24, 112},
    };
    n_isas = (int)mat_best_isa() + 1;
    test_open();
    test_embed();
    test_norm(2048, 0, true, 1);
    test_norm(2048, 0, true, 40);
    test_norm(20, 0, true, 3);
    test_norm(99, 0, false, 5);
    test_norm(8 * 128, 128, true, 33);
    test_norm(4 * 8, 8, true, 2);
    for (int a = ACT_SILU; a <= ACT_RELU; a++) {
        test_glu((enum plan_act)a, 37, 3);
        test_glu((enum plan_act)a, 1024, 50);
    }
    test_glu_extremes();
    test_rope(true, 64, 64, 0, 100);
    test_rope(true, 8, 8, 30, 5);
    test_rope(false, 128, 128, 4096, 9);
    test_rope(false, 80, 32, 1000, 70);
    test_rope(true, 20, 12, 5, 1);
    for (enum op op = OP_LINEAR2; op <= OP_LINEAR_ADD; op++)
        test_linear(op, ACT_SILU, op != OP_LINEAR2, op == OP_LINEAR3 ? 1 : 21);
    test_linear(OP_LINEAR, ACT_SILU, true, 7);
    for (int a = ACT_SILU; a <= ACT_RELU; a++)
        test_linear(OP_LINEAR_GLU, (enum plan_act)a, true, a == ACT_RELU ? 1 : 18);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        test_attention(&shapes[i], DTYPE_F32);
        test_attention(&shapes[i], DTYPE_F16);
    }
    test_long();
    test_neighbours();
    for (int i = 0; i < n_isas; i++)
        test_kv_copy(&cpu_backend, isas[i], i ? DTYPE_F16 : DTYPE_F32);
    test_kv_copy(&ref_backend, NULL, DTYPE_F16);
    return tap_end();
}
