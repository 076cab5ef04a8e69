/* measure: how fast this worker's kernels are here, for `--measure`.
 *
 * Prints the rates that model/speed.h predicts speeds from, as one JSON object; two to three
 * seconds. They are worth as much as the machine was quiet: "quiet" says what share of its time the
 * measurement had its cores.
 */
#ifndef WORKER_MEASURE_H
#define WORKER_MEASURE_H

#include "base/buf.h"
#include "model/speed.h"
#include "worker/worker.h"

/* n_threads 0: all cores. ERR_NOMEM when there is no room for a fair measurement. */
MUST_CHECK enum err measure_rates(struct speed_rates *r, const struct backend *be,
                                  uint32_t n_threads, struct err_info *e);

#endif
