/* relay: see relay.h.
 *
 * Back pressure: when the client has more than HIGH bytes to take, reading from the peer is paused
 * and a timer looks every few milliseconds whether it has caught up to LOW.
 *
 * Of a stream of events only whole events go out, so that an error event can follow at any moment;
 * the beginning of one waits in `tail`. Mostly pieces end where events end and nothing is copied.
 */
#include "net/relay.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

#define HIGH    ((size_t)512 * 1024)
#define LOW     ((size_t)64 * 1024)
#define LOOK_MS 10

struct relay {
    struct http_req *r; /* NULL once it has ended */
    struct http_call *call;
    struct relay_conf conf;
    uv_timer_t timer;
    int status;
    bool events; /* the reply is an event stream */
    buf tail;    /* of it: the beginning of an event */
    bool paused;
    bool skip; /* the reply is being dropped: the owner will retry */
};

/* Headers of the peer's reply that are the client's business. */
static const char *const passed[] = {"Retry-After", "X-Rbee-Ignored", "X-Rbee-Worker", "Allow"};

static void on_timer_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

static void finish(struct relay *y)
{
    void (*done)(void *) = y->conf.done;
    void *owner = y->conf.owner;

    buf_fini(&y->tail);
    uv_close((uv_handle_t *)&y->timer, on_timer_closed);
    if (done) done(owner);
}

static void on_gone(struct http_req *r)
{
    struct relay *y = r->owner;

    y->r = NULL;
    http_call_cancel(y->call);
    finish(y);
}

static void look(uv_timer_t *t)
{
    struct relay *y = t->data;

    if (y->r && http_pending(y->r) > LOW) return;
    uv_timer_stop(t);
    y->paused = false;
    http_call_pause(y->call, false);
}

static void on_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    struct relay *y = http_call_owner(c);
    char type[256] = "application/octet-stream", value[512];

    y->status = status;
    if (y->conf.retry && y->conf.failed && y->conf.retry(status)) {
        y->skip = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (str_ieq(h[i].name, S("Content-Type")) && h[i].value.n < sizeof type) {
            memcpy(type, h[i].value.p, h[i].value.n);
            type[h[i].value.n] = 0;
        }
        for (size_t k = 0; k < sizeof passed / sizeof passed[0]; k++) {
            if (!str_ieq(h[i].name, str_c(passed[k])) || h[i].value.n >= sizeof value) continue;
            memcpy(value, h[i].value.p, h[i].value.n);
            value[h[i].value.n] = 0;
            http_set_header(y->r, passed[k], value);
        }
    }
    y->events = str_starts(str_c(type), S("text/event-stream"));
    if (y->events) http_set_header(y->r, "Cache-Control", "no-cache");
    http_begin(y->r, status, type);
}

static void pass_events(struct relay *y, str bytes)
{
    size_t end;

    if (y->tail.n == 0 && str_ends(bytes, S("\n\n"))) {
        http_write(y->r, bytes);
        return;
    }
    buf_str(&y->tail, bytes);
    if (y->tail.failed) { /* no event may be so large: its reader will say so */
        http_write(y->r, buf_view(&y->tail));
        http_write(y->r, bytes);
        buf_clear(&y->tail);
        return;
    }
    for (end = y->tail.n; end >= 2; end--) {
        if (y->tail.p[end - 1] == '\n' && y->tail.p[end - 2] == '\n') break;
    }
    if (end < 2) return;
    http_write(y->r, str_sub(buf_view(&y->tail), 0, end));
    buf_drop(&y->tail, end);
}

static void on_body(struct http_call *c, str bytes)
{
    struct relay *y = http_call_owner(c);

    if (y->skip) return;
    if (y->events)
        pass_events(y, bytes);
    else
        http_write(y->r, bytes);
    /* http_write() may have closed a client that is too slow, which ends in on_gone(). */
    if (y->r && !y->paused && http_pending(y->r) > HIGH) {
        y->paused = true;
        http_call_pause(c, true);
        uv_timer_start(&y->timer, look, LOOK_MS, LOOK_MS);
    }
}

/* What the client is told; addresses and the like are not its business. */
static const char *reason(const struct relay *y, enum err code, char out[ERR_TEXT_MAX])
{
    const char *what = code == ERR_TIMEOUT       ? "did not answer in time"
                       : code == ERR_UNAVAILABLE ? "cannot be reached"
                       : code == ERR_LIMIT       ? "sent a reply larger than is passed on"
                                                 : "ended before the reply was complete";

    snprintf(out, ERR_TEXT_MAX, "%s %s", y->conf.peer, what);
    return out;
}

static void break_off(struct relay *y, enum err code)
{
    char text[ERR_TEXT_MAX];
    buf b;

    if (!y->events || !y->conf.error_event) {
        http_abort(y->r);
        return;
    }
    buf_init(&b, 4096);
    y->conf.error_event(&b, code, reason(y, code, text));
    http_sse_data(y->r, buf_view(&b));
    buf_fini(&b);
    http_end(y->r);
}

static void end_whole(struct relay *y)
{
    if (y->tail.n) http_write(y->r, buf_view(&y->tail));
    http_end(y->r);
}

static void on_done(struct http_call *c, enum err code, const char *text)
{
    struct relay *y = http_call_owner(c);
    struct http_req *r = y->r;
    bool (*failed)(struct http_req *, int, enum err, const char *, void *) = y->conf.failed;
    void *owner = y->conf.owner;
    char told[ERR_TEXT_MAX];

    if (code && y->conf.broke) y->conf.broke(owner);
    y->r = NULL;
    r->gone = NULL;
    if (http_begun(r)) {
        y->r = r;
        if (code)
            break_off(y, code == ERR_CANCELLED ? ERR_CRASHED : code);
        else
            end_whole(y);
        finish(y);
        return;
    }
    /* A status without a reply, or a pool of connections that was closed under the call. */
    if (code == ERR_OK || code == ERR_CANCELLED) code = ERR_UNAVAILABLE;
    if (!failed || !failed(r, y->skip ? y->status : 0, code, text ? text : "", owner))
        http_error(r, code, "%s", reason(y, code, told));
    finish(y);
}

bool relay_start(struct http_req *r, uv_loop_t *loop, const struct relay_conf *conf)
{
    struct relay *y = mem_alloc(sizeof *y);
    struct http_call_conf cc = {
        .method = r->method,
        .target = conf->target,
        .body = r->body,
        .headers = conf->headers,
        .n_headers = conf->n_headers,
        .timeout_ms = conf->timeout_ms,
        .on_head = on_head,
        .on_body = on_body,
        .on_done = on_done,
        .owner = y,
    };

    if (!y) return false;
    y->r = r;
    y->conf = *conf;
    buf_init(&y->tail, LIMIT_SSE_EVENT);
    r->owner = y;
    r->gone = on_gone;
    uv_timer_init(loop, &y->timer);
    y->timer.data = y;
    if (!(y->call = http_call(conf->to, &cc))) {
        r->gone = NULL;
        uv_close((uv_handle_t *)&y->timer, on_timer_closed);
        return false;
    }
    return true;
}
