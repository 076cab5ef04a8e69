/* host: the engine's thread and its two queues.
 *
 * The loop thread owns sockets, the host's thread owns the engine: model, KV cache, scheduler. Jobs
 * go down a bounded queue of pointers, events come up a bounded ring of bytes (chan.h); nothing
 * else is shared but the snapshot of the statistics (under a lock) and each job's cancel flag.
 * host_submit(), host_drain() and the reads are the loop's.
 */
#ifndef WORKER_HOST_H
#define WORKER_HOST_H

#include "engine/engine.h"
#include "worker/chan.h"

struct host;

struct host_health {
    bool busy;         /* a step is under way or work waits */
    uint64_t still_ns; /* since the last step ended, while busy; else 0 */
};

/* Takes the opened engine. `wake` is called from the engine's thread when events wait for
 * host_drain(); it must only signal (uv_async_send). */
MUST_CHECK enum err host_open(struct host **out, struct engine *en, void (*wake)(void *owner),
                              void *owner, struct err_info *e);
/* Ends the thread and closes the engine. Every job inside should have been cancelled before, for a
 * job that was not is served to its end. Their last events come through `on_msg` meanwhile. */
void host_close(struct host *h, void (*on_msg)(const struct chan_msg *m, void *owner), void *owner);

/* Moves the job to the engine. ERR_BUSY when the queue is full: the job stays with the caller. */
MUST_CHECK enum err host_submit(struct host *h, struct gen_job *job, struct err_info *e);
/* Delivers every waiting event. After a GEN_DONE the job is the caller's again. */
void host_drain(struct host *h, void (*on_msg)(const struct chan_msg *m, void *owner), void *owner);

void host_stats(struct host *h, struct engine_stats *out);
struct host_health host_health(struct host *h);
/* Immutable parts only: tokenizer, meta, description. */
const struct engine *host_engine(const struct host *h);

#endif
