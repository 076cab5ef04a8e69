/* hives: what the queen knows of her machines: devices, memory, rates, capabilities of workers.
 *
 * A hive says it (GET /v1/machine); here it becomes a view, which never changes once it is made and
 * lives while somebody holds it, so that other threads may read one. References are counted on the
 * loop's thread. Today there is the embedded hive; a view has a list.
 *
 * Nothing here blocks: who asks while the hive starts or measures waits, up to HIVES_PATIENCE_MS.
 */
#ifndef QUEEN_HIVES_H
#define QUEEN_HIVES_H

#include "model/workers.h"
#include "queen/upstream.h"
#include "store/machine.h"

#define HIVES_PATIENCE_MS 20000

struct hives_view {
    const struct machine *machine; /* [n] */
    size_t n;
    struct workers workers;  /* of all machines, each once */
    const struct json *said; /* [n], what each machine said */
    bool measured;           /* the rates of every device are known */
    uint64_t taken_ns;       /* os_now_ns() of the answer */
    /* ---- private ---- */
    unsigned refs;
    struct arena arena;
};

struct hives;
struct hives_ask;
/* e NULL: v is what the hive says now, borrowed unless it is kept; else v is NULL. */
typedef void hives_then(struct hives_view *v, const struct err_info *e, void *owner);

/* ---- life cycle ---- */
MUST_CHECK enum err hives_new(struct hives **out, struct upstream *up, struct err_info *e);
void hives_free(struct hives *h); /* the upstream is closed; who still waits is not called */
void hives_wake(struct hives *h); /* the hive is there again */
void hives_tick(struct hives *h); /* about every second */

/* ---- use ---- */
/* measure: have the rates measured if they are not known, which takes seconds; where it takes more
 * than our patience, the answer is without them. NULL: no memory. */
struct hives_ask *hives_ask(struct hives *h, bool measure, hives_then *then, void *owner);
void hives_cancel(struct hives_ask *k); /* then is not called */
/* The last view, NULL before the first; borrowed until the loop turns. */
struct hives_view *hives_last(struct hives *h);
void hives_keep(struct hives_view *v);
void hives_drop(struct hives_view *v);   /* NULL is none */
bool hives_ready(const struct hives *h); /* the hive answers */

#endif
