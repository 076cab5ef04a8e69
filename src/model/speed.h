/* speed: how many tokens a second a device makes of a model, from what its kernels were measured
 * at.
 *
 * The rates are those that the worker itself measures (--measure): for each type of weights, how
 * many it takes a second when one row meets them (decode) and when many do (prefill), what
 * attention makes of a cache, and what a product costs whatever its size. A plan is a list of
 * steps: the seconds of each add up to those of a token.
 *
 * Decode is one sequence that has grown to half of its context; prefill a prompt of 512 tokens, or
 * of the whole context where that is shorter. Pure arithmetic; no allocation.
 */
#ifndef MODEL_SPEED_H
#define MODEL_SPEED_H

#include "base/err.h"
#include "base/json.h"
#include "model/dtype.h"
#include "model/memory.h"
#include "model/plan.h"

/* Of one worker on one device. Zero: not measured. */
struct speed_rates {
    uint32_t threads;
    double bandwidth;            /* bytes of weights a second, of the type that gets most */
    double step;                 /* seconds that a product takes beyond its work */
    double row;                  /* and each row of its matrix, one row of numbers meeting it */
    double values;               /* a second, of what works element by element */
    double decode[DTYPE_COUNT];  /* weights a second, one row */
    double prefill[DTYPE_COUNT]; /* weights times rows a second, many rows */
    double unpack[DTYPE_COUNT];  /* weights a second, once for all of many rows */
    double cache[DTYPE_COUNT];   /* keys' and values' numbers a second that one row meets */
    double attend[DTYPE_COUNT];  /* numbers times query heads times rows a second, many rows */
    double quiet; /* share of its time that the measurement had its cores, 0 to 1; 1: undisturbed */
};

/* Rates from their JSON; types that this version does not know are left out. ERR_FORMAT when it is
 * no object. */
MUST_CHECK enum err speed_rates_parse(struct speed_rates *r, const struct json *v,
                                      struct err_info *e);
/* As one JSON object. */
void speed_rates_write(const struct speed_rates *r, struct jsonw *w);

/* What is known of a device: measured rates, or two figures of its makers. */
struct speed_device {
    const struct speed_rates *rates; /* NULL: not measured */
    double bandwidth;                /* bytes a second; 0: not known */
    double compute;                  /* multiplications and additions a second; 0: not known */
};

struct speed_ask {
    uint32_t n_ctx; /* positions of a sequence */
    enum dtype ktype, vtype;
};

/* Tokens a second; 0: not known. */
struct speed {
    double decode, prefill;
};
/* One of the two as a member of JSON: to a hundredth, beyond which it is noise; null: not known. */
void speed_write(struct jsonw *w, const char *key, double v);

/* Of a plan as the worker fuses it. */
struct speed speed_of_plan(const struct plan *p, const struct speed_ask *ask,
                           const struct speed_device *d);
/* Of a model of which only sizes are known: the bytes of weights that a token meets, the type of
 * most of them (DTYPE_COUNT: not known), and what its memory depends on. */
struct speed speed_of_sizes(double bytes, enum dtype t, const struct memory_shape *s,
                            const struct speed_ask *ask, const struct speed_device *d);

#endif
