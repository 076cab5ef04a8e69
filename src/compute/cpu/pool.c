/* pool: fork and join over pinned threads, by counters that are spun on and then slept on.
 *
 * Three counters, each a `gate` in cache lines of its own: `job` counts jobs begun, `done` the
 * threads that ended the present one, `meet` the arrivals at its barriers. Waiting for a gate means
 * spinning until its count reaches a target, for SPIN_NS at most, then sleeping on a condition
 * variable. A sleeper announces itself before it looks at the count a last time, and whoever raises
 * the count looks for sleepers afterwards; both in sequentially consistent order, so one of them
 * sees the other.
 *
 * Threads are pinned where the pool takes more than half of the usable cores: smaller pools leave
 * the choice to the system, lest the first cores of a machine be everybody's. A pool with more
 * threads than cores neither pins nor spins long, since the core it would spin on is needed by the
 * thread it waits for. The owner is pinned at its first job and stays so.
 */
#include "compute/cpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"

#define LINE 64
#define SPIN_NS                                                                                    \
    50000u /* longer than the serial gaps within a step, shorter than a wake-up matters */
#define SPIN_CROWDED_NS 500u

struct gate {
    _Alignas(LINE) atomic_uint count;
    _Alignas(LINE) atomic_uint sleepers;
    pthread_mutex_t lock;
    pthread_cond_t raised;
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    uint32_t index;
};

struct pool {
    struct gate job, done, meet;
    /* Written by the owner before `job` is raised, read by workers after. */
    _Alignas(LINE) pool_fn *fn;
    void *arg;
    bool stop;
    /* Constant after pool_new(). */
    _Alignas(LINE) uint32_t n;
    uint32_t spin_ns;
    bool pin;
    /* The owner's. */
    bool owner_pinned;
    uint32_t n_started;
    struct worker worker[];
};

/* ---- gates ---- */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static bool gate_init(struct gate *g)
{
    atomic_init(&g->count, 0);
    atomic_init(&g->sleepers, 0);
    if (pthread_mutex_init(&g->lock, NULL) != 0) return false;
    if (pthread_cond_init(&g->raised, NULL) == 0) return true;
    pthread_mutex_destroy(&g->lock);
    return false;
}

static void gate_fini(struct gate *g)
{
    pthread_cond_destroy(&g->raised);
    pthread_mutex_destroy(&g->lock);
}

/* Counts wrap: `reached` holds while target is at most 2^31 behind. */
static bool reached(struct gate *g, uint32_t target)
{
    return (int32_t)(atomic_load_explicit(&g->count, memory_order_acquire) - target) >= 0;
}

static void gate_wait(struct gate *g, uint32_t target, uint32_t spin_ns)
{
    uint64_t until = 0;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (reached(g, target)) return;
            relax();
        }
        uint64_t now = os_now_ns();
        if (until == 0) until = now + spin_ns;
        if (now >= until) break;
    }
    pthread_mutex_lock(&g->lock);
    atomic_fetch_add(&g->sleepers, 1);
    while ((int32_t)(atomic_load(&g->count) - target) < 0)
        pthread_cond_wait(&g->raised, &g->lock);
    atomic_fetch_sub(&g->sleepers, 1);
    pthread_mutex_unlock(&g->lock);
}

/* Returns the count after. */
static uint32_t gate_raise(struct gate *g)
{
    uint32_t count = atomic_fetch_add(&g->count, 1) + 1;
    if (atomic_load(&g->sleepers) > 0) {
        pthread_mutex_lock(&g->lock);
        pthread_cond_broadcast(&g->raised);
        pthread_mutex_unlock(&g->lock);
    }
    return count;
}

/* ---- threads ---- */

static void *work(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    if (p->pin) (void)os_pin_thread((int)w->index);
    for (uint32_t job = 1;; job++) {
        gate_wait(&p->job, job, p->spin_ns);
        if (p->stop) return NULL;
        p->fn(p->arg, w->index, p->n);
        (void)gate_raise(&p->done);
    }
}

/* Asked before this process pins its first thread: afterwards a pinned thread would be told 1. */
static uint32_t cores;

static void count_cores(void)
{
    int n = os_cpu_count();
    cores = n > 0 ? (uint32_t)n : 1;
}

static enum err start(struct pool *p, struct err_info *e)
{
    for (uint32_t t = 1; t < p->n; t++) {
        struct worker *w = &p->worker[t];
        w->pool = p;
        w->index = t;
        int bad = pthread_create(&w->thread, NULL, work, w);
        if (bad) return err_errno(e, bad, "start", "a kernel thread");
        p->n_started = t;
    }
    return ERR_OK;
}

enum err pool_new(struct pool **out, uint32_t n_threads, struct err_info *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *out = NULL;
    if (n_threads < 1 || n_threads > LIMIT_THREADS)
        return ERR_FAIL(e, INVALID, "%u threads asked for: choose between 1 and %d", n_threads,
                        LIMIT_THREADS);
    pthread_once(&once, count_cores);
    struct pool *p = mem_aligned(LINE, sizeof *p + n_threads * sizeof p->worker[0]);
    if (!p) return ERR_FAIL(e, NOMEM, "not enough memory for a pool of %u threads", n_threads);
    p->n = n_threads;
    p->spin_ns = n_threads > cores ? SPIN_CROWDED_NS : SPIN_NS;
    p->pin = n_threads > 1 && n_threads <= cores && 2 * n_threads > cores;
    struct gate *gates[] = {&p->job, &p->done, &p->meet};
    for (int i = 0; i < 3; i++) {
        if (gate_init(gates[i])) continue;
        while (i-- > 0)
            gate_fini(gates[i]);
        mem_free(p);
        return ERR_FAIL(e, NOMEM, "the system has no more locks");
    }
    enum err bad = start(p, e);
    if (bad) {
        pool_free(p);
        return bad;
    }
    *out = p;
    return ERR_OK;
}

void pool_free(struct pool *p)
{
    if (!p) return;
    p->stop = true;
    (void)gate_raise(&p->job);
    for (uint32_t t = 1; t <= p->n_started; t++)
        pthread_join(p->worker[t].thread, NULL);
    gate_fini(&p->job);
    gate_fini(&p->done);
    gate_fini(&p->meet);
    mem_free(p);
}

uint32_t pool_threads(const struct pool *p)
{
    return p->n;
}

void pool_run(struct pool *p, pool_fn *fn, void *arg)
{
    if (p->n == 1) {
        fn(arg, 0, 1);
        return;
    }
    if (p->pin && !p->owner_pinned) {
        (void)os_pin_thread(0);
        p->owner_pinned = true;
    }
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->done.count, 0, memory_order_relaxed);
    atomic_store_explicit(&p->meet.count, 0, memory_order_relaxed);
    (void)gate_raise(&p->job);
    fn(arg, 0, p->n);
    gate_wait(&p->done, p->n - 1, p->spin_ns);
}

/* The k-th barrier of a job is passed when k * n arrivals were counted. */
void pool_barrier(struct pool *p)
{
    if (p->n == 1) return;
    uint32_t arrived = gate_raise(&p->meet);
    uint32_t target = (arrived + p->n - 1) / p->n * p->n;
    if (arrived != target) gate_wait(&p->meet, target, p->spin_ns);
}

void pool_share(uint64_t n, uint64_t unit, uint32_t thread, uint32_t n_threads, uint64_t *from,
                uint64_t *to)
{
    uint64_t units = n / unit + (n % unit != 0);
    uint64_t base = units / n_threads, more = units % n_threads;
    uint64_t first = thread * base + (thread < more ? thread : more);
    uint64_t last = first + base + (thread < more);
    *from = first * unit < n ? first * unit : n;
    *to = last * unit < n ? last * unit : n;
}
