/* upstream: see upstream.h. */
#include "queen/upstream.h"

#include <signal.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

#define TICK_MS    1000
#define LOST_NS    ((uint64_t)3 * 1000000000u)
#define RESTART_MS 500 /* after a life shorter than BRIEF_NS; else at once */
#define BRIEF_NS   ((uint64_t)5 * 1000000000u)
#define ARGS_MAX   32

struct upstream {
    struct upstream_conf conf;
    uv_timer_t tick, restart;
    uv_process_t process;
    uv_pipe_t out;
    int open_handles;
    bool running, exited, ready, closing;
    buf line;
    struct http_client *client;
    unsigned epoch, n_workers;
    uint64_t heard_ns, born_ns;
    struct upstream_ask *asking;
    buf status;
    void (*closed)(void *owner);
    void *closed_owner;
};

static void on_restart(uv_timer_t *t);

/* ---- whole-reply calls ---- */

struct upstream_ask {
    struct http_call *call;
    upstream_then *then;
    void *owner;
    int status;
    buf body;
};

static void ask_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    (void)h, (void)n;
    ((struct upstream_ask *)http_call_owner(c))->status = status;
}

static void ask_body(struct http_call *c, str bytes)
{
    buf_str(&((struct upstream_ask *)http_call_owner(c))->body, bytes);
}

static void ask_done(struct http_call *c, enum err code, const char *text)
{
    struct upstream_ask *a = http_call_owner(c);

    if (code)
        a->then(0, str_c(text ? text : "the hive did not answer"), code, a->owner);
    else if (a->body.failed)
        a->then(0, S("the hive's reply is too large"), ERR_LIMIT, a->owner);
    else
        a->then(a->status, buf_view(&a->body), ERR_OK, a->owner);
    buf_fini(&a->body);
    mem_free(a);
}

struct upstream_ask *upstream_ask(struct upstream *u, str method, str target, str body,
                                  upstream_then *then, void *owner)
{
    struct upstream_ask *a = mem_alloc(sizeof *a);
    struct http_call_conf cc = {.method = method,
                                .target = target,
                                .body = body,
                                .on_head = ask_head,
                                .on_body = ask_body,
                                .on_done = ask_done,
                                .owner = a};

    if (!a) return NULL;
    a->then = then;
    a->owner = owner;
    buf_init(&a->body, LIMIT_HTTP_REPLY);
    if (!u->client || !(a->call = http_call(u->client, &cc))) {
        mem_free(a);
        return NULL;
    }
    return a;
}

void upstream_cancel(struct upstream_ask *a)
{
    http_call_cancel(a->call);
    buf_fini(&a->body);
    mem_free(a);
}

/* ---- status ---- */

static void set_ready(struct upstream *u, bool ready)
{
    if (u->ready == ready) return;
    u->ready = ready;
    if (ready || !u->closing) log_ev(ready ? LOG_HIVE_CONNECTED : LOG_HIVE_LOST, "hive", "local");
    if (u->conf.changed) u->conf.changed(u->conf.owner);
}

static void on_status(int status, str body, enum err code, void *owner)
{
    struct upstream *u = owner;
    struct arena a;
    const struct json *v;
    const struct json *workers;

    u->asking = NULL;
    if (code || status != 200) return;
    arena_init(&a, MIB(64));
    if (json_parse(&a, body, &v, NULL) == ERR_OK) {
        buf_clear(&u->status);
        buf_str(&u->status, body);
        workers = json_get(v, "workers");
        u->n_workers = workers && workers->type == JSON_ARR ? (unsigned)workers->n : 0;
        u->heard_ns = os_now_ns();
        set_ready(u, true);
    }
    arena_fini(&a);
}

static void ask_status(struct upstream *u)
{
    if (u->client && !u->asking)
        u->asking = upstream_ask(u, S("GET"), S("/v1/status"), S(""), on_status, u);
}

static void on_tick(uv_timer_t *t)
{
    struct upstream *u = t->data;

    if (u->ready && os_now_ns() - u->heard_ns > LOST_NS) set_ready(u, false);
    ask_status(u);
}

/* ---- the child ---- */

static void end_if_closed(struct upstream *u)
{
    void (*closed)(void *) = u->closed;
    void *owner = u->closed_owner;

    if (u->open_handles > 0) return;
    buf_fini(&u->line);
    buf_fini(&u->status);
    mem_free(u);
    if (closed) closed(owner);
}

static void on_own_closed(uv_handle_t *h)
{
    struct upstream *u = h->data;

    u->open_handles--;
    end_if_closed(u);
}

static void close_own(struct upstream *u)
{
    uv_close((uv_handle_t *)&u->tick, on_own_closed);
    uv_close((uv_handle_t *)&u->restart, on_own_closed);
}

static void on_child_closed(uv_handle_t *h)
{
    struct upstream *u = h->data;

    if (--u->open_handles > 2) return; /* tick and restart stay */
    u->running = false;
    if (u->closing)
        close_own(u);
    else
        uv_timer_start(&u->restart, on_restart,
                       os_now_ns() - u->born_ns < BRIEF_NS ? RESTART_MS : 0, 0);
}

static void drop_client(struct upstream *u)
{
    struct http_client *c = u->client;

    u->client = NULL;
    if (c) http_client_free(c);
}

static void child_gone(struct upstream *u)
{
    u->epoch++;
    u->n_workers = 0;
    set_ready(u, false);
    drop_client(u);
    uv_close((uv_handle_t *)&u->out, on_child_closed);
    uv_close((uv_handle_t *)&u->process, on_child_closed);
}

static void on_exit(uv_process_t *p, int64_t status, int sig)
{
    struct upstream *u = p->data;

    (void)status, (void)sig;
    u->exited = true;
    if (!uv_is_active((uv_handle_t *)&u->out)) child_gone(u);
}

static void on_alloc(uv_handle_t *h, size_t want, uv_buf_t *out)
{
    struct upstream *u = h->data;

    (void)want;
    *out = buf_reserve(&u->line, 4096) ? uv_buf_init(u->line.p + u->line.n, 4096)
                                       : uv_buf_init(NULL, 0);
}

static void on_line(struct upstream *u, str line)
{
    struct http_peer peer = {.unix_path = u->conf.socket};
    struct err_info e = {.text = ""};
    struct arena a;
    const struct json *v;

    arena_init(&a, KIB(64));
    if (json_parse(&a, line, &v, &e) == ERR_OK && json_bool(json_get(v, "ready"), false)) {
        if (http_client_new(&u->client, u->conf.loop, &peer, &e) == ERR_OK) ask_status(u);
    } else {
        str text = json_str(json_get(json_get(v, "error"), "message"), S("no reason given"));
        str copy = arena_str(&a, text);

        log_ev(LOG_HIVE_LOST, "hive", "local", "why", copy.p);
    }
    arena_fini(&a);
}

static void on_out(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
    struct upstream *u = st->data;
    size_t nl;

    (void)b;
    if (n < 0) {
        uv_read_stop(st);
        if (u->exited) child_gone(u);
        return;
    }
    u->line.n += (size_t)n;
    while ((nl = str_find(buf_view(&u->line), S("\n"), 0)) != SIZE_MAX) {
        if (!u->client) on_line(u, str_sub(buf_view(&u->line), 0, nl));
        buf_drop(&u->line, nl + 1);
    }
}

static void start_child(struct upstream *u)
{
    char *args[ARGS_MAX], listen[160];
    int n = 0;
    uv_stdio_container_t io[3] = {
        {.flags = UV_IGNORE}, {0}, {.flags = UV_INHERIT_FD, .data.fd = 2}};
    uv_process_options_t po = {.file = u->conf.exe,
                               .args = args,
                               .exit_cb = on_exit,
                               .stdio = io,
                               .stdio_count = 3,
                               .flags = UV_PROCESS_DETACHED};
    const char *fixed[] = {u->conf.exe, "hive", "--with-parent", "--listen", listen};

    str socket = str_c(u->conf.socket);
    memcpy(listen, "unix:", 5);
    memcpy(listen + 5, socket.p, socket.n + 1);
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        args[n++] = (char *)(uintptr_t)fixed[i];
    for (int i = 0; u->conf.hive_args && u->conf.hive_args[i] && n < ARGS_MAX - 1; i++)
        args[n++] = (char *)(uintptr_t)u->conf.hive_args[i];
    args[n] = NULL;
    u->exited = false;
    u->born_ns = os_now_ns();
    buf_clear(&u->line);
    uv_pipe_init(u->conf.loop, &u->out, 0);
    u->out.data = u->process.data = u;
    io[1].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
    io[1].data.stream = (uv_stream_t *)&u->out;
    u->open_handles += 2;
    u->running = true;
    if (uv_spawn(u->conf.loop, &u->process, &po)) {
        child_gone(u);
        return;
    }
    uv_read_start((uv_stream_t *)&u->out, on_alloc, on_out);
}

static void on_restart(uv_timer_t *t)
{
    start_child(t->data);
}

enum err upstream_new(struct upstream **out, const struct upstream_conf *conf, struct err_info *e)
{
    struct upstream *u;

    if (strlen(conf->socket) > 150) return ERR_FAIL(e, INVALID, "the socket's path is too long");
    if (!(u = mem_alloc(sizeof *u))) return ERR_FAIL(e, NOMEM, "no memory for the hive");
    u->conf = *conf;
    buf_init(&u->line, MIB(1));
    buf_init(&u->status, LIMIT_HTTP_REPLY);
    uv_timer_init(conf->loop, &u->tick);
    uv_timer_init(conf->loop, &u->restart);
    u->tick.data = u->restart.data = u;
    u->open_handles = 2;
    uv_timer_start(&u->tick, on_tick, TICK_MS, TICK_MS);
    start_child(u);
    *out = u;
    return ERR_OK;
}

void upstream_close(struct upstream *u, void (*done)(void *owner), void *owner)
{
    u->closing = true;
    u->closed = done;
    u->closed_owner = owner;
    if (u->running)
        uv_process_kill(&u->process, SIGTERM);
    else
        close_own(u);
}

bool upstream_ready(const struct upstream *u)
{
    return u->ready;
}

unsigned upstream_epoch(const struct upstream *u)
{
    return u->epoch;
}

struct http_client *upstream_client(const struct upstream *u)
{
    return u->client;
}

str upstream_status(const struct upstream *u)
{
    return u->status.n ? buf_view(&u->status) : S("{}");
}

unsigned upstream_workers(const struct upstream *u)
{
    return u->n_workers;
}
