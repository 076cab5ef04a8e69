/* run: the machine that executes a plan. */
#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H

#include "compute/backend.h"

/* Runs every step of the plan on the batch. The results are then at backend->result(). Every op of
 * the plan must be one the back end has. Allocates nothing. */
void run_plan(const struct backend *be, struct dev *d, const struct plan *p, const struct batch *b);

/* Sees each step before it runs: the registers that it reads, and how many rows they have. */
struct run_watch {
    void (*see)(void *owner, const struct plan_step *s, const float *src, const float *src2,
                uint32_t rows);
    void *owner;
};

/* The same under watch; the back end must show its registers. */
void run_plan_watched(const struct backend *be, struct dev *d, const struct plan *p,
                      const struct batch *b, const struct run_watch *w);

#endif
