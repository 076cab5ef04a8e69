/* test_pool: every thread runs every job once, barriers hold, sleeping threads wake, shares cover.
 */
#include "compute/cpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/limits.h"
#include "base/os.h"
#include "tap.h"

#define MOST 16

static void pause_us(long us)
{
    struct timespec t = {0, us * 1000};
    nanosleep(&t, NULL);
}

struct count {
    struct {
        _Alignas(64) uint64_t n; /* plain: one thread writes it, pool_run() orders it */
    } ran[MOST];
    uint32_t n_threads;
    atomic_uint wrong;
};

static void count_job(void *arg, uint32_t thread, uint32_t n_threads)
{
    struct count *c = arg;
    if (n_threads != c->n_threads || thread >= n_threads)
        atomic_fetch_add(&c->wrong, 1);
    else
        c->ran[thread].n++;
}

/* Jobs back to back, and with gaps around the spinning time so that threads are met spinning, going
 * to sleep and asleep. */
static void test_jobs(uint32_t n)
{
    struct pool *p;
    struct count c = {.n_threads = n};
    uint64_t jobs = 20000, gaps = 300;
    if (!ok(pool_new(&p, n, NULL) == ERR_OK, "a pool of %u", n)) return;
    is_int(pool_threads(p), n, "knows its threads");
    for (uint64_t i = 0; i < jobs; i++)
        pool_run(p, count_job, &c);
    for (uint64_t i = 0; i < gaps; i++) {
        pause_us((long)(i % 120));
        pool_run(p, count_job, &c);
    }
    bool all = atomic_load(&c.wrong) == 0;
    for (uint32_t t = 0; t < n; t++)
        all = all && c.ran[t].n == jobs + gaps;
    ok(all, "%u threads: each ran each of %d jobs once", n, (int)(jobs + gaps));
    pool_free(p);
}

struct meet {
    struct pool *pool;
    uint32_t rounds;
    struct {
        _Alignas(64) uint32_t at;
    } seen[MOST];
    atomic_uint wrong;
};

static void meet_job(void *arg, uint32_t thread, uint32_t n_threads)
{
    struct meet *m = arg;
    for (uint32_t r = 1; r <= m->rounds; r++) {
        m->seen[thread].at = r;
        if ((r + thread) % 97 == 0) pause_us(80);
        pool_barrier(m->pool);
        for (uint32_t t = 0; t < n_threads; t++)
            if (m->seen[t].at != r) atomic_fetch_add(&m->wrong, 1);
        pool_barrier(m->pool);
    }
}

static void test_barriers(uint32_t n)
{
    struct meet m = {.rounds = 1500};
    if (!ok(pool_new(&m.pool, n, NULL) == ERR_OK, "a pool of %u", n)) return;
    for (int i = 0; i < 3; i++)
        pool_run(m.pool, meet_job, &m);
    ok(atomic_load(&m.wrong) == 0, "%u threads: nobody is ahead of or behind a barrier", n);
    pool_free(m.pool);
}

static void test_life(void)
{
    struct pool *p;
    struct err_info e;
    bool good = true;
    for (uint32_t i = 0; i < 200; i++) {
        struct count c = {.n_threads = 1 + i % 5};
        good = good && pool_new(&p, c.n_threads, &e) == ERR_OK;
        if (!good) break;
        if (i % 3) pool_run(p, count_job, &c);
        if (i % 7 == 0) pause_us(100);
        pool_free(p);
    }
    ok(good, "200 pools live and die, used or not, awake or asleep");
    ok(pool_new(&p, 0, &e) == ERR_INVALID && p == NULL, "no threads: refused");
    ok(pool_new(&p, LIMIT_THREADS + 1, &e) == ERR_INVALID && p == NULL, "too many: refused");
    pool_free(NULL);
}

/* Asleep, the pool uses no processor: 100 ms of idling must cost far less than that. */
static void test_idle(void)
{
    struct pool *p;
    struct count c = {.n_threads = 2};
    struct timespec a, b;
    if (!ok(pool_new(&p, 2, NULL) == ERR_OK, "a pool of 2")) return;
    pool_run(p, count_job, &c);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    for (int i = 0; i < 10; i++)
        pause_us(10000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double used = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    ok(used < 20, "idle for 100 ms: %.2f ms of processor time", used);
    pool_free(p);
}

static void test_share(void)
{
    static const uint64_t sizes[] = {0, 1, 7, 31, 32, 33, 1000, 4096, 151936};
    static const uint64_t units[] = {1, 4, 16, 96};
    bool good = true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            for (uint32_t n = 1; n <= 9; n++) {
                uint64_t at = 0, least = UINT64_MAX, most = 0;
                for (uint32_t t = 0; t < n; t++) {
                    uint64_t from, to;
                    pool_share(sizes[i], units[u], t, n, &from, &to);
                    good = good && from == at && to >= from;
                    good = good && (from % units[u] == 0 || from == sizes[i]);
                    uint64_t share = (to - from + units[u] - 1) / units[u];
                    if (share < least) least = share;
                    if (share > most) most = share;
                    at = to;
                }
                good = good && at == sizes[i] && most - least <= 1;
            }
        }
    }
    ok(good, "shares are adjacent, whole units, even, and cover everything");
}

/* A thread of its own for each case: the owner of a pool may stay pinned. */
static void *run_cases(void *arg)
{
    (void)arg;
    for (uint32_t n = 1; n <= 4; n++) {
        test_jobs(n);
        test_barriers(n);
    }
    return NULL;
}

int main(void)
{
    pthread_t t;
    test_share();
    test_idle();
    test_life();
    int bad = pthread_create(&t, NULL, run_cases, NULL);
    if (!bad) bad = pthread_join(t, NULL);
    ok(!bad, "a thread owned the pools");
    return tap_end();
}
