/* chan: events come out as they went in, round the end of the ring, from one thread to another. */
#include "worker/chan.h"

#include <pthread.h>
#include <sched.h>

#include "base/limits.h"
#include "tap.h"

#define MANY 1000000

/* Event i: its sizes and bytes follow from i, so that the reader knows what must come. */
static void make(uint32_t i, struct gen_event *ev, struct gen_logprob top[20], char text[300])
{
    uint32_t n_text = i % 257 == 0 ? 0 : i * 7 % 300;

    *ev = (struct gen_event){.type = i % 11 ? GEN_TOKEN : GEN_DONE,
                             .id = (int32_t)i,
                             .logprob = (float)i,
                             .n_top = i % 21,
                             .finish = GEN_LENGTH};
    for (uint32_t k = 0; k < ev->n_top; k++)
        top[k] = (struct gen_logprob){(int32_t)(i + k), (float)k};
    for (uint32_t k = 0; k < n_text; k++)
        text[k] = (char)('a' + (i + k) % 26);
    ev->text = (str){text, n_text};
    ev->top = top;
    if (i % 13 == 0) ev->message = "a message";
}

static bool same(const struct chan_msg *m, uint32_t i)
{
    struct gen_event want;
    struct gen_logprob top[20];
    char text[300];

    make(i, &want, top, text);
    if (m->job != (struct gen_job *)(uintptr_t)(i + 1) || m->ev.type != want.type ||
        m->ev.id != want.id || m->ev.n_top != want.n_top || !str_eq(m->ev.text, want.text))
        return false;
    if (m->ev.n_top && memcmp(m->ev.top, top, want.n_top * sizeof top[0]) != 0) return false;
    return want.message ? m->ev.message && strcmp(m->ev.message, want.message) == 0
                        : !m->ev.message;
}

static bool put(struct chan *c, uint32_t i)
{
    struct gen_event ev;
    struct gen_logprob top[20];
    char text[300];

    make(i, &ev, top, text);
    return chan_put(c, (struct gen_job *)(uintptr_t)(i + 1), &ev);
}

static void test_alone(void)
{
    struct chan *c = chan_new(KIB(256));
    struct chan_msg m;
    bool good = true, woke = true;

    ok(!chan_get(c, &m), "an empty ring gives nothing");
    ok(put(c, 0), "the first event wakes the reader");
    ok(!put(c, 1), "the second does not");
    ok(chan_get(c, &m) && same(&m, 0) && chan_get(c, &m) && same(&m, 1) && !chan_get(c, &m),
       "both come out");
    for (uint32_t i = 0; i < 20000; i++) { /* several times round */
        woke = put(c, i) && woke;
        good = chan_get(c, &m) && same(&m, i) && good;
    }
    ok(good && woke, "twenty thousand one by one, several times round the ring");
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 300; i++)
            put(c, round + i);
        for (uint32_t i = 0; i < 300; i++)
            good = chan_get(c, &m) && same(&m, round + i) && good;
    }
    ok(good && !chan_get(c, &m), "and in bursts");
    chan_free(c);
}

static void *write_all(void *arg)
{
    for (uint32_t i = 0; i < MANY; i++)
        put(arg, i);
    return NULL;
}

static void test_threads(void)
{
    struct chan *c = chan_new(KIB(256));
    struct chan_msg m;
    pthread_t t;
    uint32_t n = 0;
    bool good = true;

    if (pthread_create(&t, NULL, write_all, c)) {
        ok(false, "a thread");
        return;
    }
    while (n < MANY && good) {
        if (chan_get(c, &m))
            good = same(&m, n++);
        else
            sched_yield();
    }
    ok(good && n == MANY, "a million events from one thread to another, whole and in order");
    while (!good && n < MANY)
        n += chan_get(c, &m); /* lets the writer end */
    pthread_join(t, NULL);
    ok(!chan_get(c, &m), "and nothing more");
    chan_free(c);
}

int main(void)
{
    test_alone();
    test_threads();
    return tap_end();
}
