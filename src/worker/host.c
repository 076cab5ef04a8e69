/* host: runs the engine. See host.h. */
#include "worker/host.h"

#include <pthread.h>
#include <time.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/queue.h"

#define CHAN_BYTES MIB(1)

struct host {
    struct engine *en;
    struct queue *jobs;
    struct chan *chan;
    void (*wake)(void *owner);
    void *owner;
    pthread_t thread;
    atomic_bool stopping, ended;
    atomic_bool busy;
    atomic_uint_fast64_t beat; /* when the last step ended */
    pthread_mutex_t lock;      /* of stats */
    struct engine_stats stats;
};

/* gen_job.owner belongs to the worker's reply; the host finds itself through this thread-local, set
 * once by the only thread that runs the engine. */
static _Thread_local struct host *current;

static void on_event(struct gen_job *job, const struct gen_event *ev)
{
    if (chan_put(current->chan, job, ev)) current->wake(current->owner);
}

static void refuse(struct host *h, struct gen_job *job, const struct err_info *e)
{
    struct gen_event ev = {
        .type = GEN_DONE, .finish = GEN_ERROR, .error = e->code, .message = e->text};

    if (chan_put(h->chan, job, &ev)) h->wake(h->owner);
}

static void publish(struct host *h, bool busy)
{
    struct engine_stats s;

    engine_stats(h->en, &s);
    pthread_mutex_lock(&h->lock);
    h->stats = s;
    pthread_mutex_unlock(&h->lock);
    atomic_store(&h->beat, os_now_ns());
    atomic_store(&h->busy, busy);
}

static void *run(void *arg)
{
    struct host *h = arg;
    struct gen_job *job;
    struct err_info e;
    bool busy = false;

    current = h;
    while (busy || !atomic_load(&h->stopping)) {
        while ((job = queue_pop(h->jobs, busy ? 0 : -1))) {
            if (!busy) publish(h, true); /* the idle time is over */
            busy = true;
            if (engine_submit(h->en, job, &e)) refuse(h, job, &e);
        }
        busy = engine_step(h->en);
        publish(h, busy);
    }
    while ((job = queue_pop(h->jobs, 0))) {
        ERR_FAIL(&e, CANCELLED, "the worker is stopping");
        refuse(h, job, &e);
    }
    atomic_store(&h->ended, true);
    return NULL;
}

enum err host_open(struct host **out, struct engine *en, void (*wake)(void *owner), void *owner,
                   struct err_info *e)
{
    struct host *h = mem_alloc(sizeof *h);
    int rc;

    if (!h) return ERR_FAIL(e, NOMEM, "no memory for the engine's queues");
    h->en = en;
    h->wake = wake;
    h->owner = owner;
    h->jobs = queue_new(LIMIT_JOB_QUEUE);
    h->chan = chan_new(CHAN_BYTES);
    pthread_mutex_init(&h->lock, NULL);
    if (!h->jobs || !h->chan) {
        chan_free(h->chan);
        queue_free(h->jobs);
        mem_free(h);
        return ERR_FAIL(e, NOMEM, "no memory for the engine's queues");
    }
    publish(h, false);
    if ((rc = pthread_create(&h->thread, NULL, run, h))) {
        chan_free(h->chan);
        queue_free(h->jobs);
        mem_free(h);
        return err_errno(e, rc, "start", "the engine's thread");
    }
    *out = h;
    return ERR_OK;
}

void host_close(struct host *h, void (*on_msg)(const struct chan_msg *m, void *owner), void *owner)
{
    if (!h) return;
    atomic_store(&h->stopping, true);
    queue_close(h->jobs);
    /* The thread may be waiting for room in the ring: drain until it has ended. */
    while (!atomic_load(&h->ended)) {
        host_drain(h, on_msg, owner);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    pthread_join(h->thread, NULL);
    host_drain(h, on_msg, owner);
    engine_close(h->en);
    chan_free(h->chan);
    queue_free(h->jobs);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

enum err host_submit(struct host *h, struct gen_job *job, struct err_info *e)
{
    job->on_event = on_event;
    job->submitted_ns = os_now_ns();
    if (!queue_push(h->jobs, job))
        return ERR_FAIL(e, BUSY, "%d requests are waiting already; try again in a moment",
                        LIMIT_JOB_QUEUE);
    return ERR_OK;
}

void host_drain(struct host *h, void (*on_msg)(const struct chan_msg *m, void *owner), void *owner)
{
    struct chan_msg m;

    while (chan_get(h->chan, &m))
        on_msg(&m, owner);
}

void host_stats(struct host *h, struct engine_stats *out)
{
    pthread_mutex_lock(&h->lock);
    *out = h->stats;
    pthread_mutex_unlock(&h->lock);
}

struct host_health host_health(struct host *h)
{
    struct host_health r = {.busy = atomic_load(&h->busy)};

    if (r.busy) r.still_ns = os_now_ns() - atomic_load(&h->beat);
    return r;
}

const struct engine *host_engine(const struct host *h)
{
    return h->en;
}
