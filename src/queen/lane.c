/* lane: see lane.h. */
#include "queen/lane.h"

#include "base/mem.h"

struct lane {
    uv_loop_t *loop;
    uv_work_t work;
    struct lane_job *first, *running; /* first: of those that wait */
    unsigned n, most;
    bool stopped;
};

static void begin(struct lane *l);

static void run(uv_work_t *work)
{
    struct lane *l = work->data;

    l->running->work(l->running);
}

static void ran(uv_work_t *work, int status)
{
    struct lane *l = work->data;
    struct lane_job *j = l->running;

    l->running = NULL;
    j->done(j, status == 0);
    if (!l->running) begin(l); /* unless done() has pushed one */
}

static void begin(struct lane *l)
{
    struct lane_job *j = l->first;

    if (!j || l->running) return;
    l->first = j->next;
    l->n--;
    l->running = j;
    l->work.data = l;
    if (uv_queue_work(l->loop, &l->work, run, ran)) ran(&l->work, UV_ENOMEM);
}

struct lane *lane_new(uv_loop_t *loop, unsigned most)
{
    struct lane *l = mem_alloc(sizeof *l);

    if (!l) return NULL;
    l->loop = loop;
    l->most = most;
    return l;
}

void lane_free(struct lane *l)
{
    mem_free(l);
}

bool lane_push(struct lane *l, struct lane_job *j)
{
    struct lane_job **at = &l->first;

    if (l->stopped || l->n >= l->most) return false;
    while (*at)
        at = &(*at)->next;
    *at = j;
    j->next = NULL;
    l->n++;
    begin(l);
    return true;
}

bool lane_drop(struct lane *l, struct lane_job *j)
{
    for (struct lane_job **at = &l->first; *at; at = &(*at)->next) {
        if (*at != j) continue;
        *at = j->next;
        l->n--;
        return true;
    }
    return false;
}

void lane_stop(struct lane *l)
{
    struct lane_job *j;

    l->stopped = true;
    while ((j = l->first)) {
        l->first = j->next;
        l->n--;
        j->done(j, false);
    }
}
