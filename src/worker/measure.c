/* measure: see measure.h. */
#include "worker/measure.h"

#include "base/os.h"
#include "worker/bandwidth.h"

enum err measure_rates(struct speed_rates *r, const struct backend *be, uint32_t n_threads,
                       struct err_info *e)
{
    (void)be;
    *r = (struct speed_rates){.threads = n_threads ? n_threads : (uint32_t)os_cpu_count(),
                              .quiet = 1};
    r->bandwidth = bandwidth_measure(r->threads);
    if (r->bandwidth <= 0) return ERR_FAIL(e, NOMEM, "no memory to measure how fast it is read");
    return ERR_OK;
}
