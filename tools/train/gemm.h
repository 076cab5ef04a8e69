/* gemm: single-precision matrix products whose result depends on nothing but the operands.
 *
 * Each element of C is one chain of fused multiply-adds over k in rising order, whatever the tile
 * sizes, the thread count and the instruction set, so training gives the same bytes everywhere.
 * Operands are views with a row and a column stride, so that a transpose costs nothing to name.
 */
#ifndef TRAIN_GEMM_H
#define TRAIN_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "team.h"

struct gemm_view {
    const float *p;
    size_t rs, cs; /* element (r, c) is p[r * rs + c * cs] */
};

struct gemm_job {
    float *c; /* [m][n], row stride ldc */
    size_t ldc;
    struct gemm_view a; /* [m][k] */
    struct gemm_view b; /* [k][n] */
    size_t m, n, k;
    bool add; /* C += A B, else C = A B */
};

/* Packing space of one thread; grows as needed. */
struct gemm_room {
    float *a, *b;
    size_t a_size, b_size;
};

void gemm_room_fini(struct gemm_room *r);
/* On the calling thread alone. */
void gemm_one(struct gemm_room *room, const struct gemm_job *job);
/* Shared out over a team; room[] has one entry a thread. */
void gemm_all(struct team *t, struct gemm_room *room, const struct gemm_job *job);

#endif
