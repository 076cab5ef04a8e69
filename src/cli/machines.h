/* machines: what a command judges for: the machines of the queen's hives where a queen runs, else
 * this one, as its worker describes it. */
#ifndef CLI_MACHINES_H
#define CLI_MACHINES_H

#include "cli/client.h"
#include "store/machine.h"

struct machines_ask {
    const struct client *queen; /* NULL: this machine, whatever runs */
    bool measure;               /* have speeds measured that are not known, which takes seconds */
};

struct machines {
    const struct machine *machine; /* [n] */
    size_t n, n_devices;
};

/* In the arena. Blocks while a worker measures; ERR_UNAVAILABLE names a worker that does not say
 * what it can run. */
MUST_CHECK enum err machines_get(struct machines *m, struct arena *a,
                                 const struct machines_ask *ask, struct err_info *e);

#endif
