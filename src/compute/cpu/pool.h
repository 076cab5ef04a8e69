/* pool: the worker's kernel threads.
 *
 * n threads, the caller being thread 0, each pinned to a core of its own. pool_run() starts fn on
 * all of them and returns when all are done: a generation counter starts a job, a done counter ends
 * it, both in cache lines of their own. Idle threads spin for a bounded time (about 50 us), then
 * sleep on a futex, so a pool costs nothing between requests and about 0.3 us per job within a
 * step. Only the owner thread may call pool_run(); jobs do not nest.
 */
#ifndef COMPUTE_CPU_POOL_H
#define COMPUTE_CPU_POOL_H

#include <stdint.h>

#include "base/err.h"

struct pool;

MUST_CHECK enum err pool_new(struct pool **out, uint32_t n_threads, struct err_info *e);
void pool_free(struct pool *p);
uint32_t pool_threads(const struct pool *p);

/* fn(arg, thread, n_threads) on every thread; returns after all have returned. */
typedef void pool_fn(void *arg, uint32_t thread, uint32_t n_threads);
void pool_run(struct pool *p, pool_fn *fn, void *arg);
/* Inside a job: waits until all threads of the job have come here. */
void pool_barrier(struct pool *p);

/* The thread's share [*from, *to) of n items, in units of `unit`. */
void pool_share(uint64_t n, uint64_t unit, uint32_t thread, uint32_t n_threads, uint64_t *from,
                uint64_t *to);

#endif
