/* speed: how many tokens a second a device makes of a model, from what its kernels were measured
 * at.
 *
 * The rates are those that the worker itself measures (--measure): for each type of weights, how
 * many it takes a second when one row meets them (decode) and when many rows do (prefill), and what
 * a step costs whatever its size. A plan is a list of products: their weights over these rates, the
 * cache over its own, and the rest by the memory that it moves, add up to the seconds of a step.
 *
 * Pure arithmetic; no allocation. What was not measured follows from the bandwidth.
 */
#ifndef MODEL_SPEED_H
#define MODEL_SPEED_H

#include "base/err.h"
#include "base/json.h"
#include "model/dtype.h"

/* Of one worker on one device. Zero: not measured. */
struct speed_rates {
    uint32_t threads;
    double bandwidth;            /* bytes that all threads together read a second */
    double step;                 /* seconds that a step takes beyond its work */
    double decode[DTYPE_COUNT];  /* weights a second, one row */
    double prefill[DTYPE_COUNT]; /* weights times rows a second, many rows */
    double quiet; /* share of its time that the measurement had its cores, 0 to 1; 1: undisturbed */
};

/* Rates from their JSON; types that this version does not know are left out. ERR_FORMAT when it is
 * no object. */
MUST_CHECK enum err speed_rates_parse(struct speed_rates *r, const struct json *v,
                                      struct err_info *e);
/* As one JSON object. */
void speed_rates_write(const struct speed_rates *r, struct jsonw *w);

#endif
