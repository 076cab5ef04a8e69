/* bench_mat: speed of mat's kernels beside the memory bandwidth measured in the same run.
 *
 *   bench_mat [-t THREADS] [-i ISA] [-n COLUMNS,...] [-r REPETITIONS] [-s MIB] [TYPE...]
 *
 * For every type (those with kernels of their own unless types are named) and the shapes 5632 x
 * 2048 and 2048 x 5632: GB/s of weights for 1 column over a set of matrices larger than the caches,
 * and GOP/s (2 x rows x cols x n / time) for the other counts; then one column against 8 experts of
 * 768 x 2048, other ones each time. Values are those of the best repetition, with one thread in CPU
 * time, since others may use the machine. -s gives the size of the set of weights (384), so that
 * kernels can be timed from cache. Weights are random bytes: speed does not depend on them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/os.h"
#include "compute/cpu/mat.h"

#define SET_MIB 384 /* weights walked in turn: far more than any cache */

static bool cpu_time; /* one thread: CPU time, so that others on the machine count less */

static uint64_t now_ns(void)
{
    struct timespec t;
    if (!cpu_time || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) return os_now_ns();
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- raw read ---- */

struct raw {
    const uint64_t *p;
    size_t words;
    volatile uint64_t sink[64 * 8];
};

static void raw_read(void *arg, uint32_t thread, uint32_t n_threads)
{
    struct raw *r = arg;
    uint64_t from, to, s[4] = {0};
    pool_share(r->words, 64, thread, n_threads, &from, &to);
    size_t q = (to - from) / 4 / 16 * 16;
    for (size_t i = 0; i < q; i += 8)
        for (size_t k = 0; k < 4; k++) {
            const uint64_t *p = r->p + from + k * q + i;
            __builtin_prefetch(p + 128);
            s[k] += p[0] ^ p[1] ^ p[2] ^ p[3] ^ p[4] ^ p[5] ^ p[6] ^ p[7];
        }
    r->sink[thread % 64 * 8] = s[0] + s[1] + s[2] + s[3];
}

static double raw_bandwidth(struct pool *p, const void *data, size_t n)
{
    static struct raw r;
    double best = 0;
    r.p = data;
    r.words = n / 8;
    for (int i = 0; i < 10; i++) {
        uint64_t t = now_ns();
        pool_run(p, raw_read, &r);
        double v = (double)n / (double)(now_ns() - t);
        best = v > best ? v : best;
    }
    return best;
}

/* ---- products ---- */

struct bench {
    struct pool *pool;
    enum mat_isa isa;
    uint8_t *set;
    size_t set_bytes;
    float *x, *y;
    void *scratch;
    int reps;
};

static double seconds_per_call(const struct bench *b, enum dtype t, uint64_t rows, uint64_t cols,
                               uint64_t n)
{
    uint64_t row_bytes = 0;
    double best = 0;
    if (!dtype_row_bytes(t, cols, &row_bytes)) return 0;
    uint64_t bytes = rows * row_bytes, matrices = b->set_bytes / bytes + (b->set_bytes < bytes);
    uint64_t walk = n >= 64                    ? 1
                    : n >= 8                   ? (matrices + 3) / 4
                    : b->set_bytes < 64u << 20 ? 20
                                               : matrices;
    struct mat_call c = {.x = b->x, .n = n, .cols = cols, .n_w = 1, .scratch = b->scratch};
    for (int rep = -1; rep < b->reps; rep++) {
        uint64_t t0 = now_ns();
        for (uint64_t m = 0; m < walk; m++) {
            c.w[0] = (struct mat_weight){.dtype = t,
                                         .w = b->set + m % matrices * bytes,
                                         .rows = rows,
                                         .y = b->y,
                                         .y_stride = rows};
            mat_run(b->pool, b->isa, &c);
        }
        double v = (double)(now_ns() - t0) * 1e-9 / (double)walk;
        if (rep == 0 || (rep > 0 && v < best)) best = v;
    }
    return best;
}

static void bench_type(const struct bench *b, enum dtype t, const uint64_t *ns, int n_ns)
{
    static const uint32_t shapes[][2] = {{5632, 2048}, {2048, 5632}};
    for (int s = 0; s < 2; s++) {
        uint64_t rows = shapes[s][0], cols = shapes[s][1], row_bytes = 0;
        if (!dtype_row_bytes(t, cols, &row_bytes)) continue;
        printf("%-8s %5llu x %-5llu", dtype_info(t)->name, (unsigned long long)rows,
               (unsigned long long)cols);
        for (int i = 0; i < n_ns; i++) {
            double sec = seconds_per_call(b, t, rows, cols, ns[i]);
            double gb = (double)(rows * row_bytes) / sec * 1e-9;
            double gop = 2.0 * (double)(rows * cols * ns[i]) / sec * 1e-9;
            if (ns[i] <= 16)
                printf("  %5.1f GB/s", gb);
            else
                printf("  %6.0f GOP/s", gop);
            fflush(stdout);
        }
        printf("\n");
    }
}

/* One token of a mixture: 8 small matrices that lie apart. */
static void bench_experts(const struct bench *b, enum dtype t)
{
    enum { ROWS = 768, COLS = 2048, USED = 8 };
    uint64_t row_bytes = 0;
    double best = 0;
    float ids[USED];
    if (!dtype_row_bytes(t, COLS, &row_bytes)) return;
    struct mat_experts c = {.dtype = t,
                            .w = b->set,
                            .n_experts = (uint32_t)(b->set_bytes / (row_bytes * ROWS)),
                            .rows = ROWS,
                            .cols = COLS,
                            .ids = ids,
                            .n = 1,
                            .n_used = USED,
                            .x = b->x,
                            .x_row = COLS,
                            .y = b->y,
                            .y_row = USED * ROWS,
                            .y_slot = ROWS,
                            .scratch = NULL};
    if (c.n_experts < USED) return;
    c.scratch = mem_aligned(64, mat_experts_scratch_bytes(&c, pool_threads(b->pool)));
    if (!c.scratch) return;
    uint32_t calls = c.n_experts / USED;
    for (int rep = -1; rep < b->reps; rep++) {
        uint64_t t0 = now_ns();
        for (uint32_t i = 0; i < calls; i++) {
            for (uint32_t k = 0; k < USED; k++) /* far apart, each one once a repetition */
                ids[k] = (float)(k * calls + i);
            mat_experts_run(b->pool, b->isa, &c);
        }
        double v = (double)(now_ns() - t0) * 1e-9 / calls;
        if (rep == 0 || (rep > 0 && v < best)) best = v;
    }
    printf("%-8s %d experts of %d x %d  %5.1f GB/s\n", dtype_info(t)->name, USED, ROWS, COLS,
           (double)(USED * ROWS * row_bytes) / best * 1e-9);
    mem_free(c.scratch);
}

static bool wanted(enum dtype t, char **names, int n)
{
    static const enum dtype usual[] = {DTYPE_Q4_0, DTYPE_Q4_1,   DTYPE_Q5_0, DTYPE_Q5_1,
                                       DTYPE_Q8_0, DTYPE_IQ4_NL, DTYPE_Q2_K, DTYPE_Q3_K,
                                       DTYPE_Q4_K, DTYPE_Q5_K,   DTYPE_Q6_K, DTYPE_IQ4_XS,
                                       DTYPE_F16,  DTYPE_BF16,   DTYPE_F32,  DTYPE_MXFP4};
    for (int a = 0; a < n; a++)
        if (str_ieq(str_c(names[a]), str_c(dtype_info(t)->name))) return true;
    for (size_t k = 0; k < sizeof usual / sizeof usual[0]; k++)
        if (n == 0 && usual[k] == t) return true;
    return false;
}

static int parse_counts(const char *text, uint64_t *ns)
{
    int n = 0;
    for (char *end = NULL; n < 8 && *text; text = *end == ',' ? end + 1 : end) {
        ns[n] = strtoull(text, &end, 10);
        if (end == text || ns[n] < 1 || ns[n] > 512) return 0;
        n++;
    }
    return n;
}

int main(int argc, char **argv)
{
    struct bench b = {.isa = mat_best_isa(), .reps = 10, .set_bytes = (size_t)SET_MIB << 20};
    size_t held;
    uint64_t ns[8] = {1, 512};
    uint32_t threads = (uint32_t)os_cpu_count();
    int n_ns = 2, i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (argv[i][1] == 't') threads = (uint32_t)atoi(argv[i + 1]);
        if (argv[i][1] == 'n') n_ns = parse_counts(argv[i + 1], ns);
        if (argv[i][1] == 's') b.set_bytes = (size_t)atoi(argv[i + 1]) << 20;
        if (argv[i][1] == 'r') b.reps = atoi(argv[i + 1]);
        for (enum mat_isa k = MAT_GENERIC; argv[i][1] == 'i' && k < MAT_ISA_COUNT; k++)
            if (strcmp(argv[i + 1], mat_isa_name(k)) == 0) b.isa = k;
    }
    if (n_ns == 0 || b.reps < 1 || b.isa > mat_best_isa()) {
        fprintf(stderr, "usage: bench_mat [-t THREADS] [-i ISA] [-n COLUMNS,...] [-r REPETITIONS] "
                        "[-s MIB] [TYPE...]\n");
        return 2;
    }
    cpu_time = threads == 1;
    struct err_info e;
    if (pool_new(&b.pool, threads, &e) != ERR_OK) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    held = b.set_bytes < 64u << 20 ? 64u << 20 : b.set_bytes; /* the largest matrix fits */
    b.set = mem_aligned(64, held);
    b.x = mem_array(512 * 5632, sizeof(float));
    b.y = mem_array(512 * 5632, sizeof(float));
    b.scratch = mem_aligned(64, mat_scratch_bytes(512, 5632, 5632, threads));
    if (!b.set || !b.x || !b.y || !b.scratch) return 1;
    for (size_t k = 0; k < held; k++)
        b.set[k] = (uint8_t)(k * 2654435761u >> 24 & 0x3b);
    for (size_t k = 0; k < 512 * 5632; k++)
        b.x[k] = (float)(k * 2654435761u >> 20 & 255) - 128.0f;
    printf("%s, %u threads, raw read %.1f GB/s; columns:", mat_isa_name(b.isa), threads,
           raw_bandwidth(b.pool, b.set, held));
    for (int k = 0; k < n_ns; k++)
        printf(" %llu", (unsigned long long)ns[k]);
    printf("\n");
    for (enum dtype t = 0; t < DTYPE_COUNT; t++) {
        if (!mat_has(t) || !wanted(t, argv + i, argc - i)) continue;
        bench_type(&b, t, ns, n_ns);
        bench_experts(&b, t);
    }
    printf("raw read again %.1f GB/s\n", raw_bandwidth(b.pool, b.set, held));
    pool_free(b.pool);
    mem_free(b.set);
    mem_free(b.x);
    mem_free(b.y);
    mem_free(b.scratch);
    return 0;
}
