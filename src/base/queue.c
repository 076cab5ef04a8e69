/* queue: a ring under one lock. See queue.h. */
#include "base/queue.h"

#include <pthread.h>
#include <time.h>

#include "base/mem.h"

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    bool closed;
    size_t cap, head, n;
    void *item[];
};

struct queue *queue_new(size_t cap)
{
    struct queue *q = mem_alloc(sizeof *q + cap * sizeof q->item[0]);
    pthread_condattr_t attr;

    if (!q) return NULL;
    q->cap = cap;
    pthread_mutex_init(&q->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&q->ready, &attr);
    pthread_condattr_destroy(&attr);
    return q;
}

void queue_free(struct queue *q)
{
    if (!q) return;
    pthread_cond_destroy(&q->ready);
    pthread_mutex_destroy(&q->lock);
    mem_free(q);
}

bool queue_push(struct queue *q, void *item)
{
    bool room;

    pthread_mutex_lock(&q->lock);
    room = !q->closed && q->n < q->cap;
    if (room) {
        q->item[(q->head + q->n) % q->cap] = item;
        q->n++;
        pthread_cond_signal(&q->ready);
    }
    pthread_mutex_unlock(&q->lock);
    return room;
}

static void wait_ready(struct queue *q, int wait_ms)
{
    struct timespec t;

    if (wait_ms < 0) {
        while (q->n == 0 && !q->closed)
            pthread_cond_wait(&q->ready, &q->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += wait_ms / 1000;
    t.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    while (q->n == 0 && !q->closed) {
        if (pthread_cond_timedwait(&q->ready, &q->lock, &t)) break;
    }
}

void *queue_pop(struct queue *q, int wait_ms)
{
    void *item = NULL;

    pthread_mutex_lock(&q->lock);
    if (q->n == 0 && wait_ms != 0) wait_ready(q, wait_ms);
    if (q->n > 0) {
        item = q->item[q->head];
        q->head = (q->head + 1) % q->cap;
        q->n--;
    }
    pthread_mutex_unlock(&q->lock);
    return item;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->ready);
    pthread_mutex_unlock(&q->lock);
}

size_t queue_count(struct queue *q)
{
    size_t n;

    pthread_mutex_lock(&q->lock);
    n = q->n;
    pthread_mutex_unlock(&q->lock);
    return n;
}
