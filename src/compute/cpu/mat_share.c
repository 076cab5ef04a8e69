/* mat_share: see mat_share.h. */
#include "compute/cpu/mat_share.h"

#include "compute/cpu/pool.h"

void mat_share_init(struct mat_lane *lanes, uint32_t n_threads, uint32_t i, uint64_t rows,
                    uint64_t unit)
{
    for (uint32_t t = 0; t < n_threads; t++) {
        uint64_t from, to;
        pool_share(rows, unit, t, n_threads, &from, &to);
        atomic_store_explicit(&lanes[t].at[i], from, memory_order_relaxed);
        lanes[t].end[i] = to;
    }
}

/* Relaxed order is enough: the piece is only a pair of numbers; what it stands for was published
 * when the job began. */
static bool take(struct mat_lane *l, uint32_t i, uint64_t least, uint64_t piece[2])
{
    uint64_t at = atomic_load_explicit(&l->at[i], memory_order_relaxed), end = l->end[i];
    while (at < end) {
        uint64_t left = end - at, n = (left / 2 + least - 1) / least * least;
        if (n < least || n > left) n = n < least && least < left ? least : left;
        if (!atomic_compare_exchange_weak_explicit(&l->at[i], &at, at + n, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        piece[0] = at;
        piece[1] = at + n;
        return true;
    }
    return false;
}

bool mat_share_take(struct mat_lane *lanes, uint32_t thread, uint32_t n_threads, uint32_t i,
                    uint64_t least, uint64_t piece[2])
{
    for (uint32_t k = 0; k < n_threads; k++) {
        uint32_t t = thread + k < n_threads ? thread + k : thread + k - n_threads;
        if (take(&lanes[t], i, least, piece)) return true;
    }
    return false;
}
