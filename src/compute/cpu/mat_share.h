/* mat_share: rows of a weight handed out to the threads of a job.
 *
 * Every thread has a lane, its contiguous share of the rows, and takes pieces of it from the front:
 * half of what is left each time, but at least `least` rows, so that the first pieces are long
 * enough for the memory system's streams. Who has finished his own lane takes pieces of the others'
 * in the same way: a thread that the system holds up costs the job a piece, not half of the rows.
 * On a quiet machine nothing is taken from anybody. Each row is handed out exactly once.
 */
#ifndef COMPUTE_CPU_MAT_SHARE_H
#define COMPUTE_CPU_MAT_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MAT_SHARE_WEIGHTS 3

struct mat_lane {
    _Alignas(64) _Atomic uint64_t at[MAT_SHARE_WEIGHTS]; /* next row of each weight */
    uint64_t end[MAT_SHARE_WEIGHTS];
};

/* Lanes of weight i; before the job starts. */
void mat_share_init(struct mat_lane *lanes, uint32_t n_threads, uint32_t i, uint64_t rows,
                    uint64_t unit);
/* The next piece for this thread; false when all rows are handed out. */
bool mat_share_take(struct mat_lane *lanes, uint32_t thread, uint32_t n_threads, uint32_t i,
                    uint64_t least, uint64_t piece[2]);

#endif
