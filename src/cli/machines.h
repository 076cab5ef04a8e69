/* machines: what a command judges for: the machines of the queen's hives where a queen runs, else
 * this one, as its worker describes it. */
#ifndef CLI_MACHINES_H
#define CLI_MACHINES_H

#include "base/limits.h"
#include "cli/client.h"
#include "store/machine.h"

/* How a model shall run there: the settings of a hive, under their names. */
struct machines_conf {
    int64_t context, slots, threads; /* 0: as a worker takes */
    const char *kv_type;
};

/* Rows for a command's option table, with the member of type struct machines_conf. */
/* clang-format off */
#define MACHINES_OPTS(T, member)                                                                   \
    {"context", 'c', OPT_SIZE, offsetof(T, member.context), "N", NULL, NULL, 0,                    \
     LIMIT_MODEL_CONTEXT, "RBEE_CTX", "ctx",                                                       \
     "positions of one sequence; 0: the model's own, at most 4096"},                               \
    {"slots", 's', OPT_INT, offsetof(T, member.slots), "N", NULL, NULL, 0, LIMIT_SLOTS,            \
     "RBEE_SLOTS", "slots", "sequences at once; 0: 16"},                                           \
    {"kv-type", 0, OPT_ENUM, offsetof(T, member.kv_type), "TYPE", "f16", DTYPE_KV_NAMES, 0, 0,     \
     "RBEE_KV_TYPE", "kv_type", "element type of the KV cache"},                                   \
    {"threads", 't', OPT_INT, offsetof(T, member.threads), "N", NULL, NULL, 0, LIMIT_THREADS,      \
     "RBEE_THREADS", "threads", "kernel threads of this machine's worker; 0: all cores"}
/* clang-format on */

struct verdict_ask machines_verdict_ask(const struct machines_conf *c);

struct machines_ask {
    const struct client *queen; /* NULL: this machine, whatever runs */
    uint32_t threads;           /* of this machine's worker; 0: all cores */
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
