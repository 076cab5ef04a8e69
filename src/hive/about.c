/* about: see about.h.
 *
 * Two lanes, each with one look at a time: what is known at once, and what may have to be measured.
 */
#include "hive/about.h"

#include "base/limits.h"
#include "base/mem.h"
#include "store/machine.h"

struct lane;

struct asker {
    struct lane *lane;
    struct http_req *r;
    bool again;
    struct asker *next;
};

struct lane {
    struct about *of;
    struct asker *waiting; /* for the look after this one */
    struct asker *served;  /* by the one that is under way */
    bool looking;
    uv_work_t work;
    struct machine_ask ask;
    buf out;
    enum err code;
    struct err_info e;
};

struct about {
    uv_loop_t *loop;
    const struct fleet *fleet;
    atomic_bool stop;
    struct lane known, measured;
};

static void look(uv_work_t *work)
{
    struct lane *l = work->data;

    l->code = machine_look(&l->out, &l->ask, &l->e);
}

static void begin(struct lane *l);

static void answer(struct lane *l, struct http_req *r, int status)
{
    r->gone = NULL;
    if (status)
        http_error(r, ERR_CANCELLED, "stopping");
    else if (l->code)
        http_error_info(r, &l->e);
    else
        http_reply(r, 200, "application/json", buf_view(&l->out));
}

static void looked(uv_work_t *work, int status)
{
    struct lane *l = work->data;

    l->looking = false;
    while (l->served) {
        struct asker *k = l->served;

        l->served = k->next;
        answer(l, k->r, status);
        mem_free(k);
    }
    buf_fini(&l->out);
    if (l->waiting) begin(l);
}

static bool busy(const struct fleet *f)
{
    for (const struct fleet_worker *w = fleet_list(f); w; w = w->next)
        if (w->inflight || w->state == FLEET_LOADING) return true;
    return false;
}

/* One look for all who wait. */
static void begin(struct lane *l)
{
    struct about *x = l->of;
    bool again = false;

    for (const struct asker *k = l->waiting; k; k = k->next)
        again = again || k->again;
    l->ask.measure = l == &x->known || busy(x->fleet) ? MACHINE_KNOWN
                     : again                          ? MACHINE_AGAIN
                                                      : MACHINE_NEEDED;
    l->served = l->waiting;
    l->waiting = NULL;
    buf_init(&l->out, LIMIT_HTTP_REPLY);
    l->work.data = l;
    l->looking = true;
    if (uv_queue_work(x->loop, &l->work, look, looked)) {
        l->code = ERR_FAIL(&l->e, NOMEM, "no thread to look at this machine");
        looked(&l->work, 0);
    }
}

static void unlist(struct asker **at, const struct asker *k)
{
    while (*at && *at != k)
        at = &(*at)->next;
    if (*at) *at = k->next;
}

static void gone(struct http_req *r)
{
    struct asker *k = r->owner;

    unlist(&k->lane->waiting, k);
    unlist(&k->lane->served, k);
    mem_free(k);
}

void about_reply(struct about *x, struct http_req *r)
{
    struct asker *k = mem_alloc(sizeof *k);

    if (!k) {
        http_error(r, ERR_NOMEM, "no memory for the request");
        return;
    }
    *k = (struct asker){.lane = str_eqc(r->query, "measure=no") ? &x->known : &x->measured,
                        .r = r,
                        .again = str_eqc(r->query, "measure=again")};
    k->next = k->lane->waiting;
    k->lane->waiting = k;
    r->owner = k;
    r->gone = gone;
    if (!k->lane->looking) begin(k->lane);
}

enum err about_new(struct about **out, uv_loop_t *loop, const struct fleet *f, const char *worker,
                   const char *state, uint32_t threads, struct err_info *e)
{
    struct about *x = mem_alloc(sizeof *x);

    if (!x) return ERR_FAIL(e, NOMEM, "no memory for the description of this machine");
    x->loop = loop;
    x->fleet = f;
    x->known.of = x->measured.of = x;
    x->known.ask = x->measured.ask = (struct machine_ask){
        .worker = worker, .state = state, .threads = threads, .stop = &x->stop};
    *out = x;
    return ERR_OK;
}

void about_stop(struct about *x)
{
    if (x) atomic_store(&x->stop, true);
}

void about_free(struct about *x)
{
    mem_free(x);
}
