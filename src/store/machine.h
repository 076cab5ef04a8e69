/* machine: what this computer and its worker are, as the judge needs it.
 *
 * One JSON object: names, the worker's --capabilities, and for its device the memory as it is now
 * and the rates that the worker's kernels were measured at (--measure, two to three seconds). Both
 * answers are kept in the state folder, machine-HASH.json, under a key of the worker's file, the
 * processor and the number of threads: another worker is asked again, the same one is not. A
 * measurement that had to share its cores is taken again later.
 *
 * machine_look() blocks while the worker runs: seconds the first time, a fraction of a millisecond
 * later. It may be called from any thread, and from several processes: one measures, the others
 * wait for it. machine_parse() reads the object back, whichever machine it came from.
 */
#ifndef STORE_MACHINE_H
#define STORE_MACHINE_H

#include <stdatomic.h>

#include "model/speed.h"
#include "model/verdict.h"
#include "store/store.h"

enum machine_measure {
    MACHINE_KNOWN,  /* take what is kept; rates may be missing */
    MACHINE_NEEDED, /* measure what is not kept */
    MACHINE_AGAIN   /* measure now */
};

struct machine_ask {
    const char *worker; /* path of the executable */
    const char *state;  /* folder that answers are kept in, made if missing */
    uint32_t threads;   /* of a worker; 0: all cores */
    enum machine_measure measure;
    const atomic_bool *stop; /* NULL, or: give up once it is true; ERR_CANCELLED */
};

/* Appends the JSON object to `out`. ERR_UNAVAILABLE when the worker does not say what it can run;
 * rates that cannot be measured or kept are no error. */
MUST_CHECK enum err machine_look(buf *out, const struct machine_ask *ask, struct err_info *e);

struct machine_device {
    str id, backend, worker; /* "cpu", the back end, the worker's id */
    uint64_t memory_total;
    struct caps caps;             /* of that back end of that worker */
    struct verdict_device device; /* its name is the machine's; memory is what is available */
    struct speed_rates rates;     /* device.rates points here once they were measured */
    bool measured;
};

struct machine {
    str name, os, arch, cpu;
    struct machine_device *devices; /* [n], in the arena */
    size_t n;
};

/* Strings are views of `v`; the rest is in the arena. ERR_FORMAT names what is missing. */
MUST_CHECK enum err machine_parse(struct machine *m, struct arena *a, const struct json *v,
                                  struct err_info *e);

#endif
