/* team: a fixed set of threads that share out numbered tasks.
 *
 * The caller is thread 0 and works too. Workers sleep on a condition variable between calls, since
 * the machine is shared; tasks are handed out by one atomic counter. Invariant: outside team_for()
 * no worker touches the task fields.
 */
#include "team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct team {
    unsigned threads;
    pthread_t id[TEAM_MAX];
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    uint64_t round;   /* counts team_for() calls */
    unsigned running; /* workers that have not finished this round */
    bool quit;
    team_fn *fn;
    void *arg;
    size_t n;
    atomic_size_t next;
};

struct seat {
    struct team *team;
    unsigned index;
};

static void drain(struct team *t, unsigned thread)
{
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
        if (task >= t->n) return;
        t->fn(t->arg, task, thread);
    }
}

static void *work(void *p)
{
    struct seat seat = *(struct seat *)p;
    struct team *t = seat.team;
    uint64_t seen = 0;
    mem_free(p);
    for (;;) {
        pthread_mutex_lock(&t->lock);
        while (t->round == seen && !t->quit)
            pthread_cond_wait(&t->start, &t->lock);
        seen = t->round;
        bool quit = t->quit;
        pthread_mutex_unlock(&t->lock);
        if (quit) return NULL;
        drain(t, seat.index);
        pthread_mutex_lock(&t->lock);
        if (--t->running == 0) pthread_cond_signal(&t->done);
        pthread_mutex_unlock(&t->lock);
    }
}

struct team *team_new(unsigned threads)
{
    struct team *t = mem_need(sizeof *t);
    t->threads = threads < 1 ? 1 : threads > TEAM_MAX ? TEAM_MAX : threads;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->start, NULL);
    pthread_cond_init(&t->done, NULL);
    for (unsigned i = 1; i < t->threads; i++) {
        struct seat *seat = mem_need(sizeof *seat);
        *seat = (struct seat){t, i};
        if (pthread_create(&t->id[i], NULL, work, seat) != 0) {
            mem_free(seat);
            t->threads = i;
        }
    }
    return t;
}

void team_free(struct team *t)
{
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    t->quit = true;
    pthread_cond_broadcast(&t->start);
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 1; i < t->threads; i++)
        pthread_join(t->id[i], NULL);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->start);
    pthread_cond_destroy(&t->done);
    mem_free(t);
}

unsigned team_threads(const struct team *t)
{
    return t->threads;
}

void team_for(struct team *t, size_t n, team_fn *fn, void *arg)
{
    pthread_mutex_lock(&t->lock);
    t->fn = fn;
    t->arg = arg;
    t->n = n;
    atomic_store(&t->next, 0);
    t->running = t->threads - 1;
    t->round++;
    pthread_cond_broadcast(&t->start);
    pthread_mutex_unlock(&t->lock);
    drain(t, 0);
    pthread_mutex_lock(&t->lock);
    while (t->running)
        pthread_cond_wait(&t->done, &t->lock);
    pthread_mutex_unlock(&t->lock);
}
