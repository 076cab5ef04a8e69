/* bandwidth: see bandwidth.h. */
#include "worker/bandwidth.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"

#define PART    MIB(256) /* per thread: many times any last-level cache share */
#define PASSES  5
#define STREAMS 4

struct reader {
    const uint64_t *p;
    uint32_t index;
    pthread_barrier_t *gate;
    uint64_t sum; /* keeps the reads alive */
    uint64_t from_ns[PASSES], to_ns[PASSES];
};

static uint64_t read_all(const uint64_t *p, size_t n)
{
    size_t part = n / STREAMS;
    uint64_t s[STREAMS * 8] = {0}, sum = 0;

    for (size_t i = 0; i + 8 <= part; i += 8) {
        for (size_t k = 0; k < STREAMS; k++) {
            const uint64_t *q = p + k * part + i;

            __builtin_prefetch(q + 128);
            for (size_t j = 0; j < 8; j++)
                s[k * 8 + j] += q[j];
        }
    }
    for (size_t i = 0; i < STREAMS * 8; i++)
        sum += s[i];
    return sum;
}

static void *run(void *arg)
{
    struct reader *r = arg;

    os_pin_thread((int)r->index);
    for (int pass = 0; pass < PASSES; pass++) {
        pthread_barrier_wait(r->gate);
        r->from_ns[pass] = os_now_ns();
        r->sum += read_all(r->p, PART / sizeof *r->p);
        r->to_ns[pass] = os_now_ns();
    }
    return NULL;
}

static double best(const struct reader *r, uint32_t n)
{
    double top = 0;

    for (int pass = 0; pass < PASSES; pass++) {
        uint64_t from = r[0].from_ns[pass], to = r[0].to_ns[pass];
        double rate;

        for (uint32_t i = 1; i < n; i++) {
            if (r[i].from_ns[pass] < from) from = r[i].from_ns[pass];
            if (r[i].to_ns[pass] > to) to = r[i].to_ns[pass];
        }
        rate = (double)PART * n * 1e9 / (double)(to - from);
        if (rate > top) top = rate;
    }
    return top;
}

double bandwidth_measure(uint32_t n_threads)
{
    struct reader *r = mem_array(n_threads, sizeof *r);
    pthread_t *t = mem_array(n_threads, sizeof *t);
    char *p = mem_aligned(4096, PART * n_threads);
    pthread_barrier_t gate;
    double rate = 0;
    uint32_t started = 0;

    if (r && t && p && pthread_barrier_init(&gate, NULL, n_threads) == 0) {
        memset(p, 1, PART * n_threads); /* real pages, not the shared zero page */
        for (uint32_t i = 0; i < n_threads; i++) {
            r[i] = (struct reader){
                .p = (const uint64_t *)(void *)(p + PART * i), .index = i, .gate = &gate};
            if (pthread_create(&t[i], NULL, run, &r[i])) break;
            started++;
        }
        /* With a thread missing the others wait at the gate for ever: that is a system that cannot
         * start two threads, and nothing after it would work either. */
        for (uint32_t i = 0; i < started && started == n_threads; i++)
            pthread_join(t[i], NULL);
        if (started == n_threads) rate = best(r, n_threads);
        pthread_barrier_destroy(&gate);
    }
    mem_free(r);
    mem_free(t);
    mem_free(p);
    return rate;
}
