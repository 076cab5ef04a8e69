/* bench_attn: times attention and the small ops of the CPU back end on the TinyLlama shape.
 *
 *   bench_attn [THREADS] [ISA]
 *
 * Prints, for decode at 512 and 4096 positions and for prompts of 512 tokens, the time of
 * one layer and of 22, the bytes of cache read a second (to compare with the raw read rate, printed
 * first) and the arithmetic rate. Medians; every repetition uses another layer, so that the cache
 * of the processor does not hold the keys. Not run by the tests.
 */
#include "compute/cpu/cpu.h"

#include "base/os.h"
#include "compute/cpu/pool.h"
#include "opcase.h"

#define VOCAB  97
#define LAYERS 22
#define REPS   5

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* ---- raw read rate ---- */

#define READ_BYTES MIB(400)

struct reader {
    const uint64_t *p;
    uint64_t sum[256 * 8];
};

static void read_job(void *arg, uint32_t thread, uint32_t n_threads)
{
    struct reader *r = arg;
    uint64_t from, to, sum[4] = {0};
    pool_share(READ_BYTES / 8, 8, thread, n_threads, &from, &to);
    for (uint64_t i = from; i < to; i += 8) {
        __builtin_prefetch(r->p + i + 256);
        for (int k = 0; k < 4; k++)
            sum[k] += r->p[i + (uint64_t)k] ^ r->p[i + 4 + (uint64_t)k];
    }
    r->sum[thread * 8] = sum[0] + sum[1] + sum[2] + sum[3];
}

static void raw_read(uint32_t n_threads)
{
    struct pool *p;
    static struct reader r;
    uint64_t t[REPS], *data = mem_need(READ_BYTES);
    memset(data, 1, READ_BYTES);
    r.p = data;
    if (pool_new(&p, n_threads, NULL) != ERR_OK) return;
    for (int i = 0; i < REPS; i++) {
        uint64_t start = os_now_ns();
        pool_run(p, read_job, &r);
        t[i] = os_now_ns() - start;
    }
    qsort(t, REPS, sizeof *t, by_time);
    printf("raw read, %u threads: %.1f GB/s (%llx)\n", n_threads,
           (double)READ_BYTES / (double)t[REPS / 2], (unsigned long long)r.sum[0]);
    pool_free(p);
    mem_free(data);
}

/* ---- ops ---- */

struct bench {
    struct opcase c;
    struct dev *d;
    int put, attn, rope, norm, glu;
};

static void setup(struct bench *x)
{
    struct opcase *c = &x->c;
    opcase_init(c);
    c->meta.n_layer = LAYERS;
    c->meta.n_head = 32;
    c->meta.n_head_kv = 4;
    c->meta.head_dim = c->meta.head_dim_v = 64;
    opcase_input(c, REG_X, VOCAB, 2048);
    opcase_input(c, REG_Q, VOCAB, 2048);
    opcase_input(c, REG_K, VOCAB, 256);
    opcase_input(c, REG_V, VOCAB, 256);
    opcase_input(c, REG_G, VOCAB, 5632);
    opcase_input(c, REG_U, VOCAB, 5632);
    c->plan.width[REG_A] = c->plan.width[REG_H] = 2048;
    float *freq = ARENA_NEW(&c->a, float, 32);
    for (uint32_t i = 0; i < 32; i++)
        freq[i] = powf(10000, -2.0f * (float)i / 64);
    c->plan.rope_freq = freq;
    c->plan.n_rot = 64;
    c->plan.rope_pairs = true;
    struct plan_step *s = opcase_step(c, OP_RMSNORM);
    s->src = REG_X;
    s->dst = REG_H;
    s = opcase_step(c, OP_ROPE);
    s->dst = REG_Q;
    s->n_head = 32;
    s->head_dim = 64;
    s = opcase_step(c, OP_KVPUT);
    s->src = REG_K;
    s->src2 = REG_V;
    s = opcase_step(c, OP_ATTN);
    s->src = REG_Q;
    s->dst = REG_A;
    s->n_head = 32;
    s->head_dim = 64;
    s->scale = 0.125f;
    s = opcase_step(c, OP_GLU);
    s->src = s->dst = REG_G;
    s->src2 = REG_U;
}

/* Runs an op over `n` layers; the median of its times, ns. */
static double time_op(struct bench *x, enum op op, const struct batch *b, int n)
{
    uint64_t t[LAYERS];
    struct plan_step *s = x->c.steps;
    while (s->op != op)
        s++;
    for (int l = 0; l < n; l++) {
        s->layer = l;
        uint64_t start = os_now_ns();
        cpu_backend.op[op](x->d, s, b);
        t[l] = os_now_ns() - start;
    }
    qsort(t, (size_t)n, sizeof *t, by_time);
    return (double)t[n / 2];
}

/* Step of n rows for n_seqs sequences, all at `pos`, and its inputs. */
static struct batch prepare(struct bench *x, uint32_t pos, uint32_t n, uint32_t n_seqs)
{
    struct batch b = {0};
    static struct opcase_seq q[16];
    for (uint32_t i = 0; i < n_seqs; i++) {
        opcase_blocks(&q[i], i, 1, 256);
        q[i].n = pos;
        opcase_span(&x->c, &b, &q[i], n, VOCAB);
    }
    cpu_backend.begin(x->d, &b);
    for (uint32_t i = 0; x->c.steps[i].op == OP_EMBED; i++)
        cpu_backend.op[OP_EMBED](x->d, &x->c.steps[i], &b);
    return b;
}

static void measure(struct bench *x, const char *what, uint32_t pos, uint32_t n, uint32_t n_seqs)
{
    int reps = n > 1 ? REPS : LAYERS;
    struct batch b = prepare(x, pos, n, n_seqs);
    double norm = time_op(x, OP_RMSNORM, &b, reps), rope = time_op(x, OP_ROPE, &b, reps);
    double put = time_op(x, OP_KVPUT, &b, reps), glu = time_op(x, OP_GLU, &b, reps);
    double attn = time_op(x, OP_ATTN, &b, reps);
    double kv = (double)n_seqs * (pos + n) * 4 * 64 * 2 * 2;
    double pairs = (double)n_seqs * n * (pos + (n + 1) / 2.0) * 32;
    printf("%-18s attention %9.1f us a layer, %7.2f ms of 22 | ", what, attn / 1e3,
           attn * 22 / 1e6);
    printf("%5.1f GB/s of cache | %5.1f GFLOP/s", kv / attn, pairs * 64 * 4 / attn);
    printf(" | us: norm %.1f rope %.1f kvput %.1f glu %.1f\n", norm / 1e3, rope / 1e3, put / 1e3,
           glu / 1e3);
}

int main(int argc, char **argv)
{
    static struct bench x;
    struct dev_conf conf = {.n_threads = argc > 1 ? (uint32_t)atoi(argv[1]) : 2,
                            .max_batch = 2048,
                            .max_out = 1,
                            .n_blocks = 256,
                            .ktype = DTYPE_F16,
                            .vtype = DTYPE_F16,
                            .isa = argc > 2 ? argv[2] : NULL};
    struct err_info e;
    raw_read(conf.n_threads);
    setup(&x);
    if (cpu_backend.open(&x.d, &x.c.plan, x.c.w, &conf, &e) != ERR_OK) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    printf("%s, TinyLlama shape: 32 query and 4 kv heads of 64, f16 cache\n",
           cpu_backend.describe(x.d));
    for (uint32_t pos = 0; pos < 8192; pos += 2048) {
        struct batch b = prepare(&x, pos, 2048, 1);
        time_op(&x, OP_KVPUT, &b, LAYERS);
    }
    measure(&x, "decode at 512", 511, 1, 1);
    measure(&x, "decode at 4096", 4095, 1, 1);
    measure(&x, "16 decode at 1024", 1023, 1, 16);
    measure(&x, "prompt of 512", 0, 512, 1);
    measure(&x, "512 after 1536", 1536, 512, 1);
    cpu_backend.close(x.d);
    opcase_fini(&x.c);
    return 0;
}
