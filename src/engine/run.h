/* run: the machine that executes a plan. */
#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H

#include "compute/backend.h"

/* Runs every step of the plan on the batch. The results are then at backend->result(). Every op of
 * the plan must be one the back end has. Allocates nothing. */
void run_plan(const struct backend *be, struct dev *d, const struct plan *p, const struct batch *b);

#endif
