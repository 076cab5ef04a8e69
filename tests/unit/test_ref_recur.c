/* test_ref_recur: the reference's ops with a state, each against what its recurrence comes to when
 * it is written out as a sum over all rows before.
 *
 * Two sequences of random rows, cut into batches so that each begins, goes on beside the other and
 * goes on alone; before that, another sequence has left its traces in both sets of states.
 */
#include "compute/ref/ref.h"

#include "opcase.h"

#define VOCAB 29
#define ROWS  9 /* of a sequence at most */

enum { SRC = 6 };
static const enum plan_reg regs[SRC] = {REG_T0, REG_T1, REG_T2, REG_T3, REG_T4, REG_T5};

struct recur {
    struct opcase c;
    uint32_t n_src, width[SRC];
    struct plan_step *s;
    /* one sequence, as the expectation sees it */
    const float *in[SRC][ROWS];
};

/* Row t of the result, n values. */
typedef void expect_fn(const struct recur *r, uint32_t t, double *y);

/* A step that reads n_src registers of these widths, each made of a table of its own. */
static struct plan_step *setup(struct recur *r, enum op op, uint32_t n, uint32_t n_src,
                               const uint32_t *width)
{
    opcase_init(&r->c);
    r->n_src = n_src;
    for (uint32_t i = 0; i < n_src; i++) {
        r->width[i] = width[i];
        opcase_input(&r->c, regs[i], VOCAB, width[i]);
    }
    r->s = opcase_step(&r->c, op, REG_A, n);
    enum plan_reg *src[SRC] = {&r->s->src,  &r->s->src2, &r->s->src3,
                               &r->s->src4, &r->s->src5, &r->s->src6};
    for (uint32_t i = 0; i < n_src; i++)
        *src[i] = regs[i];
    r->s->n_src = width[0];
    r->s->n_src2 = n_src > 1 ? width[1] : 0;
    return r->s;
}

static float *values(const struct recur *r, int tensor)
{
    return (float *)(uintptr_t)r->c.w[tensor].data;
}

/* Makes the values of source i lie within lo and hi. */
static void between(struct recur *r, uint32_t i, float lo, float hi)
{
    float *v = values(r, r->c.steps[i].w);
    for (uint32_t k = 0; k < VOCAB * r->width[i]; k++)
        v[k] = lo + (hi - lo) / (1 + expf(-v[k]));
}

static double worst_of(struct recur *r, expect_fn *fn, const int32_t *tok, uint32_t n,
                       const float *got)
{
    double worst = 0, y[64];
    for (uint32_t i = 0; i < r->n_src; i++)
        for (uint32_t t = 0; t < n; t++)
            r->in[i][t] = values(r, r->c.steps[i].w) + (uint32_t)tok[t] * r->width[i];
    for (uint32_t t = 0; t < n; t++) {
        fn(r, t, y);
        for (uint32_t k = 0; k < r->s->n; k++) {
            double off = fabs(got[t * r->s->n + k] - y[k]) / (1 + fabs(y[k]));
            if (!(off <= worst)) worst = off;
        }
    }
    return worst;
}

static void check(struct recur *r, expect_fn *fn, const char *what)
{
    static const struct dev_conf conf = {.n_threads = 1,
                                         .max_batch = 16,
                                         .max_out = 16,
                                         .n_blocks = 2,
                                         .n_states = 2,
                                         .ktype = DTYPE_F32,
                                         .vtype = DTYPE_F32};
    struct opcase_seq old = {0}, a = {0}, z = {0};
    struct batch b[4] = {{0}};
    uint32_t n = r->s->n;
    int32_t tok[2][ROWS];
    float *got = ARENA_NEW(&r->c.a, float, 24 * n), seq[2][ROWS * 64];
    opcase_output(&r->c, REG_A, n);
    opcase_span(&r->c, &b[0], &old, 3, VOCAB);
    old.n = 0;
    old.state = a.state = 1;
    opcase_span(&r->c, &b[0], &old, 2, VOCAB);
    opcase_span(&r->c, &b[1], &a, 3, VOCAB);
    opcase_span(&r->c, &b[2], &a, 2, VOCAB);
    opcase_span(&r->c, &b[2], &z, 4, VOCAB);
    opcase_span(&r->c, &b[3], &z, 1, VOCAB);
    opcase_span(&r->c, &b[3], &a, 4, VOCAB);
    size_t floats = opcase_run(&r->c, &ref_backend, &conf, b, 4, got);
    got += 5 * n;
    memcpy(seq[0], got, 5 * n * sizeof(float)); /* a: batch 1 and the start of batch 2 */
    memcpy(seq[1], got + 5 * n, 5 * n * sizeof(float));
    memcpy(seq[0] + 5 * n, got + 10 * n, 4 * n * sizeof(float));
    memcpy(tok[0], b[1].tok, 3 * sizeof(int32_t));
    memcpy(tok[0] + 3, b[2].tok, 2 * sizeof(int32_t));
    memcpy(tok[0] + 5, b[3].tok + 1, 4 * sizeof(int32_t));
    memcpy(tok[1], b[2].tok + 2, 4 * sizeof(int32_t));
    tok[1][4] = b[3].tok[0];
    double one = worst_of(r, fn, tok[0], 9, seq[0]), two = worst_of(r, fn, tok[1], 5, seq[1]);
    ok(floats == 19 * (size_t)n && one < 2e-6 && two < 2e-6, "%s: off by %.2g and %.2g", what, one,
       two);
    opcase_fini(&r->c);
}

/* ---- rows before ---- */

static void expect_shift(const struct recur *r, uint32_t t, double *y)
{
    for (uint32_t c = 0; c < 5; c++)
        y[c] = t ? r->in[0][t - 1][c] : 0;
}

static void expect_conv(const struct recur *r, uint32_t t, double *y)
{
    const float *w = values(r, r->s->w);
    uint32_t k = r->c.tensors[r->s->w].cols == 1 ? 1 : 4;
    for (uint32_t c = 0; c < 5; c++) {
        y[c] = r->s->b == PLAN_NO_TENSOR ? 0 : values(r, r->s->b)[c];
        for (uint32_t back = 0; back < k && back <= t; back++)
            y[c] += w[c * k + k - 1 - back] * r->in[0][t - back][c];
    }
}

static void expect_lerp(const struct recur *r, uint32_t t, double *y)
{
    for (uint32_t c = 0; c < 6; c++) {
        double by = values(r, r->s->w)[c] + (r->n_src > 2 ? r->in[2][t][c] : 0);
        y[c] = r->in[0][t][c] * (1 - by) + r->in[1][t][c] * by;
    }
}

static void test_rows_before(void)
{
    static struct recur r;
    struct plan_step *s = setup(&r, OP_SHIFT, 5, 1, (uint32_t[]){5});
    opcase_state(&r.c, 3); /* another's */
    s->index = opcase_state(&r.c, 5);
    check(&r, expect_shift, "shift");

    s = setup(&r, OP_CONV, 5, 1, (uint32_t[]){5});
    s->index = opcase_state(&r.c, 3 * 5);
    s->w = opcase_tensor(&r.c, DTYPE_F32, 5, 4);
    s->b = opcase_tensor(&r.c, DTYPE_F32, 1, 5);
    check(&r, expect_conv, "conv of 4 with a bias");

    s = setup(&r, OP_CONV, 5, 1, (uint32_t[]){5});
    s->index = opcase_state(&r.c, 0);
    s->w = opcase_tensor(&r.c, DTYPE_F32, 5, 1);
    check(&r, expect_conv, "conv of 1");

    for (uint32_t more = 0; more < 2; more++) {
        s = setup(&r, OP_LERP, 6, 2 + more, (uint32_t[]){6, 6, 6});
        s->w = opcase_tensor(&r.c, DTYPE_F32, 1, 6);
        check(&r, expect_lerp, more ? "lerp with more" : "lerp");
    }
}

/* ---- state spaces ---- */

/* y_t = C_t sum over s <= t of exp(A (dt_s+1 + .. + dt_t)) dt_s B_s x_s, plus D x_t. `column` of x,
 * `dt` its column of dt, `a` its row of A with a step, `of` its group's first column of B and C. */
struct column {
    uint32_t column, dt, of, n_state, a_step;
    const float *a;
};

static double scan_sum(const struct recur *r, uint32_t t, const struct column *k)
{
    double y = 0, span = 0;
    for (uint32_t s = t + 1; s-- > 0;) {
        double dt = log1p(exp((double)r->in[1][s][k->dt]));
        for (uint32_t j = 0; j < k->n_state; j++)
            y += (double)r->in[3][t][k->of + j] * exp((double)k->a[j * k->a_step] * span) * dt *
                 r->in[2][s][k->of + j] * r->in[0][s][k->column];
        span += dt;
    }
    return y;
}

static void expect_scan(const struct recur *r, uint32_t t, double *y)
{
    for (uint32_t c = 0; c < 6; c++) {
        struct column k = {c, c, 0, 3, 1, values(r, r->s->w) + 3 * c};
        y[c] = scan_sum(r, t, &k) + values(r, r->s->w2)[c] * r->in[0][t][c];
    }
}

/* 4 heads of 2 columns, two to a group */
static void expect_scan_heads(const struct recur *r, uint32_t t, double *y)
{
    for (uint32_t c = 0; c < 8; c++) {
        struct column k = {c, c / 2, c / 4 * 3, 3, 0, values(r, r->s->w) + c / 2};
        y[c] = scan_sum(r, t, &k) + values(r, r->s->w2)[c / 2] * r->in[0][t][c];
    }
}

static void negative(struct recur *r, int tensor)
{
    const struct plan_tensor *t = &r->c.tensors[tensor];
    for (uint64_t i = 0; i < t->rows * t->cols; i++)
        values(r, tensor)[i] = -fabsf(values(r, tensor)[i]);
}

static void test_scans(void)
{
    static struct recur r;
    struct plan_step *s = setup(&r, OP_SCAN, 6, 4, (uint32_t[]){6, 6, 3, 3});
    s->u.scan.n_state = 3;
    s->u.scan.n_group = 1;
    s->index = opcase_state(&r.c, 6 * 3);
    s->w = opcase_tensor(&r.c, DTYPE_F32, 6, 3);
    s->w2 = opcase_tensor(&r.c, DTYPE_F32, 1, 6);
    negative(&r, s->w);
    check(&r, expect_scan, "scan");

    s = setup(&r, OP_SCAN_HEADS, 8, 4, (uint32_t[]){8, 4, 6, 6});
    s->n_head = 4;
    s->head_dim = 2;
    s->u.scan.n_state = 3;
    s->u.scan.n_group = 2;
    s->index = opcase_state(&r.c, 8 * 3);
    s->w = opcase_tensor(&r.c, DTYPE_F32, 1, 4);
    s->w2 = opcase_tensor(&r.c, DTYPE_F32, 1, 4);
    negative(&r, s->w);
    check(&r, expect_scan_heads, "scan by heads");
}

/* ---- linear attention: two heads ---- */

enum { DIM = 4, WIDE = 8 };

/* y_t[j] = sum_i r_t[i] (first[i] k_t[i] v_t[j] + sum over s < t of
 * decay_s+1[i] .. decay_t-1[i] k_s[i] v_s[j]) */
static void expect_wkv6(const struct recur *r, uint32_t t, double *y)
{
    for (uint32_t c = 0; c < WIDE; c++) {
        y[c] = 0;
        for (uint32_t i = c / DIM * DIM; i < c / DIM * DIM + DIM; i++) {
            double decay = 1, q = r->in[0][t][i];
            y[c] += q * values(r, r->s->w)[i] * r->in[1][t][i] * r->in[2][t][c];
            for (uint32_t s = t; s-- > 0; decay *= r->in[3][s][i])
                y[c] += q * decay * r->in[1][s][i] * r->in[2][s][c];
        }
    }
}

/* With S_t = S_t-1 M_t + v_t k_t', M_t = diag(decay_t) + a_t b_t': y_t = S_t r_t is the sum over s
 * of v_s (k_s . u_s) where u_t = r_t and u_s-1 = M_s u_s. */
static void expect_wkv7(const struct recur *r, uint32_t t, double *y)
{
    for (uint32_t h = 0; h < WIDE; h += DIM) {
        double u[DIM];
        for (uint32_t i = 0; i < DIM; i++) {
            u[i] = r->in[0][t][h + i];
            y[h + i] = 0;
        }
        for (uint32_t s = t + 1; s-- > 0;) {
            double ku = 0, bu = 0;
            for (uint32_t i = 0; i < DIM; i++) {
                ku += r->in[2][s][h + i] * u[i];
                bu += r->in[5][s][h + i] * u[i];
            }
            for (uint32_t i = 0; i < DIM; i++) {
                y[h + i] += r->in[3][s][h + i] * ku;
                u[i] = r->in[1][s][h + i] * u[i] + r->in[4][s][h + i] * bu;
            }
        }
    }
}

/* With S_t = g_t (I - beta_t k_t k_t') S_t-1 + beta_t k_t v_t': y_t = q_t' S_t, taken from the
 * left. Keys of 4, values of 3. */
static void expect_delta(const struct recur *r, uint32_t t, double *y)
{
    for (uint32_t h = 0; h < 2; h++) {
        double u[DIM];
        for (uint32_t i = 0; i < DIM; i++)
            u[i] = 0.5 * r->in[0][t][h * DIM + i];
        for (uint32_t c = 0; c < 3; c++)
            y[h * 3 + c] = 0;
        for (uint32_t s = t + 1; s-- > 0;) {
            const float *k = r->in[1][s] + h * DIM;
            double uk = 0, beta = r->in[4][s][h], g = exp((double)r->in[3][s][h]);
            for (uint32_t i = 0; i < DIM; i++)
                uk += u[i] * k[i];
            for (uint32_t c = 0; c < 3; c++)
                y[h * 3 + c] += beta * uk * r->in[2][s][h * 3 + c];
            for (uint32_t i = 0; i < DIM; i++)
                u[i] = g * (u[i] - beta * uk * k[i]);
        }
    }
}

static void test_linear_attention(void)
{
    static struct recur r;
    static const uint32_t wide[SRC] = {WIDE, WIDE, WIDE, WIDE, WIDE, WIDE};
    struct plan_step *s = setup(&r, OP_WKV6, WIDE, 4, wide);
    between(&r, 3, 0, 1);
    s->n_head = 2;
    s->head_dim = DIM;
    s->index = opcase_state(&r.c, WIDE * DIM);
    s->w = opcase_tensor(&r.c, DTYPE_F32, 2, DIM);
    check(&r, expect_wkv6, "wkv6");

    s = setup(&r, OP_WKV7, WIDE, 6, wide);
    between(&r, 1, 0, 1);
    between(&r, 4, -0.5f, 0.5f);
    between(&r, 5, -0.5f, 0.5f);
    s->n_head = 2;
    s->head_dim = DIM;
    s->index = opcase_state(&r.c, WIDE * DIM);
    check(&r, expect_wkv7, "wkv7");

    s = setup(&r, OP_DELTA, 6, 5, (uint32_t[]){WIDE, WIDE, 6, 2, 2});
    between(&r, 1, -0.5f, 0.5f);
    between(&r, 3, -1, 0);
    between(&r, 4, 0, 1);
    s->n_head = 2;
    s->head_dim = DIM;
    s->scale = 0.5f;
    s->index = opcase_state(&r.c, 2 * DIM * 3);
    check(&r, expect_delta, "delta");
}

int main(void)
{
    test_rows_before();
    test_scans();
    test_linear_attention();
    return tap_end();
}
