/* bench_attn: times attention and the small ops of the CPU back end.
 *
 *   bench_attn [THREADS] [ISA|best] [TYPE]
 *
 * Prints, for decode at 512 and 4096 positions and for prompts of 512 tokens, the time of
 * one layer and of 22, the bytes of cache read a second (to compare with the raw read rate, printed
 * first) and the arithmetic rate: on the TinyLlama shape with each type of cache, with a window,
 * and on the shape of absorbed MLA. Medians; every repetition uses another cache, so that the one
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
    const char *name;
    enum dtype type;
    uint32_t n_head, n_kv, k_dim, v_dim, layers, window;
    bool ops; /* the small ones as well */
};

struct run {
    struct opcase c;
    struct bench b;
    struct plan_cache caches[LAYERS];
    struct dev *d;
};

static void setup(struct run *x, const struct bench *want)
{
    struct opcase *c = &x->c;
    uint32_t q = want->n_head * want->k_dim, half = want->k_dim / 2;
    x->b = *want;
    opcase_init(c);
    opcase_input(c, REG_X, VOCAB, 2048);
    opcase_input(c, REG_Q, VOCAB, q);
    opcase_input(c, REG_K, VOCAB, want->n_kv * want->k_dim);
    opcase_input(c, REG_V, VOCAB, want->n_kv * want->v_dim);
    opcase_input(c, REG_G, VOCAB, 5632);
    opcase_input(c, REG_U, VOCAB, 5632);
    for (uint32_t i = 0; i < want->layers; i++)
        x->caches[i] = (struct plan_cache){want->n_kv, want->k_dim, want->v_dim};
    c->plan.caches = x->caches;
    c->plan.n_caches = want->layers;
    float *freq = ARENA_NEW(&c->a, float, half);
    for (uint32_t i = 0; i < half; i++)
        freq[i] = powf(10000, -(float)i / (float)half);
    opcase_rope(c, freq, want->k_dim, 1, true);
    opcase_step(c, OP_RMSNORM, REG_H, 2048)->src = REG_X;
    struct plan_step *s = opcase_step(c, OP_ROPE, REG_Q, q);
    s->n_head = want->n_head;
    s->head_dim = want->k_dim;
    s = opcase_step(c, OP_KVPUT, REG_NONE, 0);
    s->src = REG_K;
    s->src2 = REG_V;
    s = opcase_step(c, OP_ATTN, REG_A, want->n_head * want->v_dim);
    s->src = REG_Q;
    s->n_head = want->n_head;
    s->scale = 0.125f;
    s->u.attn.window = want->window;
    s = opcase_step(c, OP_GLU, REG_G, 5632);
    s->src = REG_G;
    s->src2 = REG_U;
    opcase_output(c, REG_A, 1);
}

/* Runs an op over `n` caches; the median of its times, ns. */
static double time_op(struct run *x, enum op op, const struct batch *b, uint32_t n)
{
    uint64_t t[LAYERS];
    struct plan_step *s = x->c.steps;
    while (s->op != op)
        s++;
    for (uint32_t l = 0; l < n; l++) {
        if (op == OP_KVPUT || op == OP_ATTN) s->index = l % x->b.layers;
        uint64_t start = os_now_ns();
        cpu_backend.op[op](x->d, s, b);
        t[l] = os_now_ns() - start;
    }
    qsort(t, (size_t)n, sizeof *t, by_time);
    return (double)t[n / 2];
}

/* Step of n rows for n_seqs sequences, all at `pos`, and its inputs. */
static struct batch prepare(struct run *x, uint32_t pos, uint32_t n, uint32_t n_seqs)
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

static void measure(struct run *x, const char *what, uint32_t pos, uint32_t n, uint32_t n_seqs)
{
    const struct bench *w = &x->b;
    uint32_t reps = n > 1 ? REPS : w->layers > REPS ? w->layers : REPS;
    struct batch b = prepare(x, pos, n, n_seqs);
    double put = time_op(x, OP_KVPUT, &b, reps), attn = time_op(x, OP_ATTN, &b, reps);
    const struct dtype_info *t = dtype_info(w->type);
    double values = (double)w->n_kv * (w->k_dim + w->v_dim);
    double kv = (double)n_seqs * (pos + n) * values * t->bytes / t->elems;
    double pairs = (double)n_seqs * n * (pos + (n + 1) / 2.0) * w->n_head;
    printf("%-18s attention %9.1f us a layer, %7.2f ms of 22 | ", what, attn / 1e3,
           attn * 22 / 1e6);
    if (w->window == 0)
        printf("%5.1f GB/s of cache | %5.1f GFLOP/s | ", kv / attn,
               pairs * (w->k_dim + w->v_dim) * 2 / attn);
    printf("us: kvput %.1f", put / 1e3);
    if (w->ops)
        printf(" norm %.1f rope %.1f glu %.1f", time_op(x, OP_RMSNORM, &b, reps) / 1e3,
               time_op(x, OP_ROPE, &b, reps) / 1e3, time_op(x, OP_GLU, &b, reps) / 1e3);
    printf("\n");
}

static bool bench(const struct bench *want, const struct dev_conf *base)
{
    static struct run x;
    struct dev_conf conf = *base;
    struct err_info e;
    conf.ktype = conf.vtype = want->type;
    memset(&x, 0, sizeof x);
    setup(&x, want);
    if (cpu_backend.open(&x.d, &x.c.plan, x.c.w, &conf, &e) != ERR_OK) {
        fprintf(stderr, "%s\n", e.text);
        return false;
    }
    printf("%s, %s: %u query and %u kv heads of %u and %u, %s cache\n", cpu_backend.describe(x.d),
           want->name, want->n_head, want->n_kv, want->k_dim, want->v_dim,
           dtype_info(want->type)->name);
    for (uint32_t pos = 0; pos < 8192; pos += 1024) {
        struct batch b = prepare(&x, pos, 1024, 1);
        time_op(&x, OP_KVPUT, &b, want->layers);
    }
    measure(&x, "decode at 512", 511, 1, 1);
    measure(&x, "decode at 4096", 4095, 1, 1);
    measure(&x, "16 decode at 1024", 1023, 1, 16);
    measure(&x, "prompt of 512", 0, 512, 1);
    measure(&x, "512 after 1536", 1536, 512, 1);
    cpu_backend.close(x.d);
    opcase_fini(&x.c);
    return true;
}

int main(int argc, char **argv)
{
    static const struct bench all[] = {
        {"TinyLlama shape", DTYPE_F16, 32, 4, 64, 64, LAYERS, 0, true},
        {"TinyLlama shape", DTYPE_BF16, 32, 4, 64, 64, LAYERS, 0, false},
        {"TinyLlama shape", DTYPE_Q8_0, 32, 4, 64, 64, LAYERS, 0, false},
        {"TinyLlama shape", DTYPE_Q4_0, 32, 4, 64, 64, LAYERS, 0, false},
        {"every head its own", DTYPE_F16, 16, 16, 64, 64, LAYERS, 0, false},
        {"every head its own", DTYPE_Q8_0, 16, 16, 64, 64, LAYERS, 0, false},
        {"a window of 512", DTYPE_F16, 32, 4, 64, 64, LAYERS, 512, false},
        {"absorbed MLA", DTYPE_F16, 128, 1, 576, 512, 4, 0, false},
    };
    struct dev_conf conf = {.n_threads = argc > 1 ? (uint32_t)atoi(argv[1]) : 2,
                            .max_batch = 1024,
                            .max_out = 1,
                            .n_blocks = 256,
                            .isa = argc > 2 && strcmp(argv[2], "best") != 0 ? argv[2] : NULL};
    bool good = true;
    raw_read(conf.n_threads);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (argc < 4 || strcmp(argv[3], dtype_info(all[i].type)->name) == 0)
            good = bench(&all[i], &conf) && good;
    return good ? 0 : 1;
}
