/* cpu_case: how an op of the CPU back end is held to the reference: on every instruction set of
 * this machine, over threads, neighbours in the batch, and ways to cut a sequence into batches. For
 * test_cpu_ops and test_cpu_recur.
 */
#ifndef TESTS_UNIT_CPU_CASE_H
#define TESTS_UNIT_CPU_CASE_H

#include "compute/cpu/cpu.h"

#include "compute/cpu/cpu_int.h"
#include "compute/ref/ref.h"
#include "opcase.h"

#define VOCAB     97
#define F32_BOUND 1e-12 /* rounding of float32 sums is 1e-14 or so */
#define LONGEST   512   /* positions of a sequence here */

static const char *isas[MAT_ISA_COUNT];
static int n_isas;

__attribute__((unused)) static struct dev_conf conf_of(const char *isa, uint32_t n_threads)
{
    return (struct dev_conf){.n_threads = n_threads,
                             .max_batch = LIMIT_BATCH,
                             .max_out = LIMIT_BATCH,
                             .n_blocks = 64,
                             .n_states = 5,
                             .ktype = DTYPE_F32,
                             .vtype = DTYPE_F32,
                             .isa = isa};
}

__attribute__((unused)) static size_t out_floats(const struct opcase *c, const struct batch *b,
                                                 uint32_t n)
{
    size_t rows = 0;
    for (uint32_t i = 0; i < n; i++)
        rows += b[i].n_out;
    return rows * c->plan.width[REG_LOGITS];
}

/* Runs the case on ref and on every isa with 1, 2 and 3 threads, which must agree to the bit. */
__attribute__((unused)) static void compare(const struct opcase *c, const struct batch *b,
                                            uint32_t n_batches, double bound, const char *what)
{
    size_t n = out_floats(c, b, n_batches);
    float *want = mem_need(n * 4), *got = mem_need(n * 4), *again = mem_need(n * 4);
    struct dev_conf conf = conf_of(NULL, 1);
    ok(opcase_run(c, &ref_backend, &conf, b, n_batches, want) == n, "%s: ref runs", what);
    for (int i = 0; i < n_isas; i++) {
        bool same = true, ran = true;
        conf = conf_of(isas[i], 1);
        ran = opcase_run(c, &cpu_backend, &conf, b, n_batches, got) == n;
        for (uint32_t t = 2; t <= 3 && ran; t++) {
            conf = conf_of(isas[i], t);
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
__attribute__((unused)) static struct batch rows_of(struct opcase *c, struct opcase_seq *q,
                                                    uint32_t n)
{
    struct batch b = {0};
    *q = (struct opcase_seq){0};
    opcase_blocks(q, 0, 1, 64);
    opcase_span(c, &b, q, n, VOCAB);
    return b;
}

__attribute__((unused)) static void compare_rows(struct opcase *c, uint32_t n, const char *what)
{
    struct opcase_seq q;
    struct batch b = rows_of(c, &q, n);
    compare(c, &b, 1, F32_BOUND, what);
}

__attribute__((unused)) static float *floats_of(struct opcase *c, int tensor)
{
    return (float *)(uintptr_t)c->w[tensor].data;
}

/* ---- sequences ---- */

/* Three sequences: two prompts together, then a third beside single steps, then single steps, and
 * at last a new sequence with the state that another one had. */
__attribute__((unused)) static uint32_t scenario(struct opcase *c, struct batch *b)
{
    static struct opcase_seq q[3];
    for (uint32_t i = 0; i < 3; i++) {
        q[i] = (struct opcase_seq){.state = 3 - i};
        opcase_blocks(&q[i], i, 3, 63);
    }
    memset(b, 0, 8 * sizeof *b);
    opcase_span(c, &b[0], &q[0], 70, VOCAB);
    opcase_span(c, &b[0], &q[1], 33, VOCAB);
    opcase_span(c, &b[1], &q[0], 1, VOCAB);
    opcase_span(c, &b[1], &q[2], 2, VOCAB);
    opcase_span(c, &b[1], &q[1], 1, VOCAB);
    opcase_span(c, &b[2], &q[0], 150, VOCAB);
    for (uint32_t i = 3; i < 6; i++)
        for (uint32_t s = 0; s < 3; s++)
            opcase_span(c, &b[i], &q[s], 1, VOCAB);
    q[1].n = 0;
    opcase_span(c, &b[6], &q[1], 9, VOCAB);
    opcase_span(c, &b[6], &q[0], 1, VOCAB);
    return 7;
}

/* One sequence in one piece, in odd pieces and singly, and beside others: bitwise the same. */
__attribute__((unused)) static void check_cuts(struct opcase *c, const char *what)
{
    enum { N = 90, OTHER = 9 };
    static struct opcase_seq q, other;
    struct batch whole = {0}, piece[N] = {{0}}, beside = {0};
    size_t width = c->plan.width[REG_LOGITS];
    uint32_t n_pieces = 0;
    q = (struct opcase_seq){.state = 2};
    other = (struct opcase_seq){.state = 4};
    opcase_blocks(&q, 0, 2, 64);
    opcase_blocks(&other, 1, 2, 63);
    opcase_span(c, &whole, &q, N, VOCAB);
    /* The same tokens, cut anew: spans and rows point into the whole batch. */
    for (uint32_t at = 0; at < N; n_pieces++) {
        uint32_t n = at < 10 ? 1 : 37 < N - at ? 37 : N - at;
        struct batch_span *s = ARENA_NEW(&c->a, struct batch_span, 1);
        *s = (struct batch_span){0, n, at, q.blocks, q.state, false};
        piece[n_pieces] = (struct batch){n, whole.tok + at, whole.pos + at, s, 1, whole.out, n};
        at += n;
    }
    q.n = 0;
    opcase_span(c, &beside, &other, OTHER, VOCAB);
    opcase_span(c, &beside, &q, N, VOCAB);
    memcpy((int32_t *)(uintptr_t)beside.tok + OTHER, whole.tok, N * sizeof(int32_t));
    float *a = mem_need(N * width * 4), *z = mem_need((N + OTHER) * width * 4);
    for (int i = 0; i < n_isas; i++) {
        struct dev_conf conf = conf_of(isas[i], 2);
        opcase_run(c, &cpu_backend, &conf, &whole, 1, a);
        size_t n = opcase_run(c, &cpu_backend, &conf, piece, n_pieces, z);
        ok(n == N * width && memcmp(a, z, n * 4) == 0, "%s, %s: in pieces as in one", what,
           isas[i]);
        n = opcase_run(c, &cpu_backend, &conf, &beside, 1, z);
        ok(n == (N + OTHER) * width && memcmp(a, z + OTHER * width, N * width * 4) == 0,
           "%s, %s: beside another as alone", what, isas[i]);
    }
    mem_free(a);
    mem_free(z);
}

__attribute__((unused)) static void compare_sequences(struct opcase *c, double bound,
                                                      const char *what)
{
    struct batch b[8];
    uint32_t n = scenario(c, b);
    compare(c, b, n, bound, what);
    check_cuts(c, what);
}

/* Fills the list of instruction sets; the first call of a main(). */
__attribute__((unused)) static void cpu_case_init(void)
{
    n_isas = (int)mat_best_isa() + 1;
    for (int i = 0; i < n_isas; i++)
        isas[i] = mat_isa_name((enum mat_isa)i);
}

#endif
