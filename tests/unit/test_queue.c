/* queue: order, bounds, waiting, closing, and two threads. */
#include "base/queue.h"

#include <pthread.h>

#include "base/os.h"
#include "tap.h"

#define MANY ((uintptr_t)500000)

static void *push_all(void *arg)
{
    struct queue *q = arg;

    for (uintptr_t i = 1; i <= MANY; i++) {
        while (!queue_push(q, (void *)i)) {
        }
    }
    queue_close(q);
    return NULL;
}

static void *pop_one(void *arg)
{
    return queue_pop(arg, -1);
}

static void test_alone(void)
{
    struct queue *q = queue_new(3);
    uint64_t t;
    int a, b, c, d;

    ok(queue_pop(q, 0) == NULL, "an empty queue polls as NULL");
    ok(queue_push(q, &a) && queue_push(q, &b) && queue_push(q, &c),
       "it takes as many as it was made for");
    ok(!queue_push(q, &d) && queue_count(q) == 3, "and not one more");
    ok(queue_pop(q, 0) == &a && queue_push(q, &d), "a place is free again");
    ok(queue_pop(q, 0) == &b && queue_pop(q, 0) == &c && queue_pop(q, 0) == &d,
       "first in, first out, round the end");
    t = os_now_ns();
    ok(queue_pop(q, 50) == NULL && os_now_ns() - t >= 45000000u, "a wait ends after its time");
    queue_push(q, &a);
    queue_close(q);
    ok(!queue_push(q, &b), "after close nothing goes in");
    ok(queue_pop(q, -1) == &a && queue_pop(q, -1) == NULL,
       "what is inside comes out, then NULL without a wait");
    queue_free(q);
}

static void test_threads(void)
{
    struct queue *q = queue_new(64);
    pthread_t t;
    uintptr_t want = 1;
    void *item;

    if (pthread_create(&t, NULL, push_all, q)) {
        ok(false, "a thread");
        return;
    }
    while ((item = queue_pop(q, -1)) && (uintptr_t)item == want)
        want++;
    ok(want == MANY + 1 && !item, "half a million items from one thread to another, in order");
    pthread_join(t, NULL);
    queue_free(q);
}

static void test_wake(void)
{
    struct queue *q = queue_new(4);
    pthread_t t[2];
    void *got = q;

    for (int i = 0; i < 2; i++) {
        if (pthread_create(&t[i], NULL, pop_one, q)) ok(false, "a thread");
    }
    queue_close(q);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], &got);
        ok(got == NULL, "queue_close wakes who waits");
    }
    queue_free(q);
}

int main(void)
{
    test_alone();
    test_threads();
    test_wake();
    return tap_end();
}
