/* fleet: see fleet.h. */
#include "hive/fleet.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

#define TICK_MS       1000
#define KILL_AFTER_NS ((uint64_t)10 * 1000000000u) /* from SIGTERM to SIGKILL */
#define STALL_LIMIT   3 /* questions in a row without a good answer: it is stuck */
#define ARGS_MAX      48

struct waiter {
    fleet_then *then;
    void *owner;
    struct waiter *next;
};

struct slot {              /* the private half of a worker */
    struct fleet_worker w; /* first */
    struct fleet *f;
    uv_process_t process;
    uv_pipe_t out;
    int open_handles;
    bool exited;
    bool pending; /* waits for another worker's memory, then starts again */
    int64_t exit_status;
    int exit_signal;
    uint64_t stop_ns;
    int stalls;
    buf line;        /* standard output up to the ready line */
    buf info, fresh; /* the last whole reply of /v1/info, the one that is coming in */
    int info_status;
    bool asking;
    bool doubted; /* see fleet_doubt() */
    struct waiter *waiters;
    void (*stopped)(void *owner);
    void *stopped_owner;
    char socket[128];
    enum err fail_code;
    char fail_text[ERR_TEXT_MAX];
    /* what it was asked with, to start it again after making room */
    char arg_text[10][32];
    char lora_text[STORE_PATH_MAX]; /* --lora=FILE[=SCALE],...; empty: none */
    int n_args;
};

struct fleet {
    struct fleet_conf conf;
    struct fleet_worker *list;
    uint32_t next_id;
    uv_timer_t tick;
    bool closing;
    void (*closed)(void *owner);
    void *closed_owner;
};

static struct slot *slot_of(struct fleet_worker *w)
{
    return (struct slot *)(void *)w;
}

const char *fleet_state_name(enum fleet_state s)
{
    static const char *const names[] = {"loading", "ready", "stopping"};

    return names[s];
}

/* Its pid may belong to somebody else once it has been waited for. */
static void kill_worker(struct slot *s, int sig)
{
    if (!s->exited) uv_process_kill(&s->process, sig);
}

/* ---- waiters ---- */

static void tell(struct slot *s, enum err code, const char *text)
{
    struct waiter *list = s->waiters;

    s->waiters = NULL;
    while (list) {
        struct waiter *next = list->next;

        list->then(code ? NULL : &s->w, code, text, list->owner);
        mem_free(list);
        list = next;
    }
}

void fleet_forget(struct fleet *f, void *owner)
{
    for (struct fleet_worker *w = f->list; w; w = w->next) {
        struct waiter **at = &slot_of(w)->waiters;

        while (*at) {
            struct waiter *x = *at;

            if (x->owner == owner) {
                *at = x->next;
                mem_free(x);
            } else {
                at = &x->next;
            }
        }
    }
}

/* ---- end of a worker ---- */

static void start_pending(struct fleet *f);
static void end_if_empty(struct fleet *f);

static void drop_client(struct slot *s)
{
    struct http_client *c = s->w.client;

    s->w.client = NULL;
    if (c) http_client_free(c);
}

static void slot_free(struct slot *s)
{
    struct fleet *f = s->f;
    struct fleet_worker **at = &f->list;
    void (*stopped)(void *) = s->stopped;
    void *owner = s->stopped_owner;

    while (*at != &s->w)
        at = &(*at)->next;
    *at = s->w.next;
    drop_client(s);
    if (s->socket[0]) unlink(s->socket);
    buf_fini(&s->line);
    buf_fini(&s->info);
    buf_fini(&s->fresh);
    mem_free(s);
    if (stopped) stopped(owner);
    if (f->closing)
        end_if_empty(f);
    else
        start_pending(f);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct slot *s = h->data;

    if (--s->open_handles > 0) return;
    if (s->pending)
        start_pending(s->f);
    else
        slot_free(s);
}

static void explain_exit(struct slot *s)
{
    if (s->fail_code) return;
    s->fail_code = ERR_CRASHED;
    if (s->exit_signal)
        snprintf(s->fail_text, sizeof s->fail_text,
                 "the worker of '%.200s' was killed by signal %d (%s)", s->w.name, s->exit_signal,
                 strsignal(s->exit_signal));
    else
        snprintf(s->fail_text, sizeof s->fail_text,
                 "the worker of '%.200s' ended with exit code %lld", s->w.name,
                 (long long)s->exit_status);
}

static void spawn(struct slot *s);

/* Stops the idle worker that was used least recently; false when all are busy. */
static bool make_room(struct fleet *f)
{
    struct fleet_worker *oldest = NULL;

    for (struct fleet_worker *w = f->list; w; w = w->next) {
        if (w->state != FLEET_READY || w->inflight) continue;
        if (!oldest || w->last_used_ns < oldest->last_used_ns) oldest = w;
    }
    if (!oldest) return false;
    fleet_stop(f, oldest, NULL, NULL);
    return true;
}

static void start_pending(struct fleet *f)
{
    for (struct fleet_worker *w = f->list; w; w = w->next) {
        if (w->state == FLEET_STOPPING) return; /* its memory is not free yet */
    }
    for (struct fleet_worker *w = f->list; w; w = w->next) {
        struct slot *s = slot_of(w);

        if (!s->pending || s->open_handles) continue;
        s->pending = false;
        s->exited = s->doubted = s->asking = false;
        s->stalls = 0;
        s->fail_code = ERR_OK;
        buf_clear(&s->line);
        spawn(s);
        return;
    }
}

static void on_gone(struct slot *s)
{
    bool wanted = s->w.state == FLEET_STOPPING;
    bool died = s->w.state == FLEET_READY; /* who waits for it wants it alive, not this one */

    explain_exit(s);
    if (!wanted && s->waiters && !s->f->closing &&
        (died || (s->fail_code == ERR_NOMEM && make_room(s->f)))) {
        log_ev(died ? LOG_WORKER_CRASHED : LOG_WORKER_EXITED, "model", s->w.name, "why",
               s->fail_text);
        s->pending = true;
        s->w.state = FLEET_LOADING;
        drop_client(s);
        uv_close((uv_handle_t *)&s->out, on_handle_closed);
        uv_close((uv_handle_t *)&s->process, on_handle_closed);
        return;
    }
    log_ev(wanted ? LOG_WORKER_EXITED : LOG_WORKER_CRASHED, "model", s->w.name, "why",
           wanted ? NULL : s->fail_text);
    s->w.state = FLEET_STOPPING;
    tell(s, s->fail_code, s->fail_text);
    uv_close((uv_handle_t *)&s->out, on_handle_closed);
    uv_close((uv_handle_t *)&s->process, on_handle_closed);
}

static void on_exit(uv_process_t *p, int64_t status, int sig)
{
    struct slot *s = p->data;

    s->exited = true;
    s->exit_status = status;
    s->exit_signal = sig;
    /* What it wrote last may still be in the pipe: on_out() ends it then. */
    if (uv_is_active((uv_handle_t *)&s->out)) return;
    on_gone(s);
}

/* ---- the ready line ---- */

static void on_ready(struct slot *s, const struct json *v)
{
    struct http_peer peer = {.unix_path = s->socket};
    struct err_info e;
    buf b;
    struct jsonw w;

    if (http_client_new(&s->w.client, s->f->conf.loop, &peer, &e)) {
        s->fail_code = e.code;
        snprintf(s->fail_text, sizeof s->fail_text, "%s", e.text);
        kill_worker(s, SIGKILL);
        return;
    }
    buf_init(&b, KIB(64));
    jsonw_init(&w, &b);
    jsonw_value(&w, json_get(v, "info"));
    buf_clear(&s->info);
    buf_str(&s->info, buf_view(&b));
    buf_fini(&b);
    s->w.info = s->info.p;
    s->w.state = FLEET_READY;
    s->w.last_used_ns = os_now_ns();
    log_ev(LOG_MODEL_READY, "model", s->w.name);
    tell(s, ERR_OK, NULL);
}

static void read_line(struct slot *s, str line)
{
    struct arena a;
    struct err_info e = {0};
    const struct json *v, *err;

    arena_init(&a, MIB(1));
    if (json_parse(&a, line, &v, &e) == ERR_OK) {
        if (json_bool(json_get(v, "ready"), false)) {
            on_ready(s, v);
        } else if ((err = json_get(v, "error"))) {
            str code = json_str(json_get(err, "code"), S(""));
            str text = json_str(json_get(err, "message"), S("the worker gave no reason"));

            e.code = err_from_name(code.p, code.n);
            snprintf(e.text, sizeof e.text, "%.*s", STR(text));
            s->fail_code = store_blame(s->w.path, &e);
            snprintf(s->fail_text, sizeof s->fail_text, "%s", e.text);
            log_ev(LOG_MODEL_FAILED, "model", s->w.name, "why", s->fail_text);
        }
    }
    arena_fini(&a);
}

static void on_alloc(uv_handle_t *h, size_t want, uv_buf_t *out)
{
    struct slot *s = h->data;

    (void)want;
    if (buf_reserve(&s->line, 4096))
        *out = uv_buf_init(s->line.p + s->line.n, 4096);
    else
        *out = uv_buf_init(NULL, 0);
}

static void on_out(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
    struct slot *s = st->data;
    size_t nl;

    (void)b;
    if (n < 0) {
        uv_read_stop(st);
        if (s->exited) on_gone(s);
        return;
    }
    s->line.n += (size_t)n;
    while ((nl = str_find(buf_view(&s->line), S("\n"), 0)) != SIZE_MAX) {
        if (s->w.state == FLEET_LOADING) read_line(s, str_sub(buf_view(&s->line), 0, nl));
        buf_drop(&s->line, nl + 1);
    }
}

/* ---- start ---- */

static void add_arg(char **args, int *n, const char *a)
{
    if (*n < ARGS_MAX - 1) args[(*n)++] = (char *)(uintptr_t)a;
    args[*n] = NULL;
}

static void spawn(struct slot *s)
{
    struct fleet *f = s->f;
    char *args[ARGS_MAX], listen[160];
    int n = 0, rc;
    uv_stdio_container_t io[3] = {
        {.flags = UV_IGNORE}, {0}, {.flags = UV_INHERIT_FD, .data.fd = 2}};
    uv_process_options_t po = {.file = f->conf.worker_exe,
                               .args = args,
                               .exit_cb = on_exit,
                               .stdio = io,
                               .stdio_count = 3,
                               .flags = UV_PROCESS_DETACHED};

    snprintf(s->socket, sizeof s->socket, "%s/w%d-%u.sock", f->conf.run_dir, (int)getpid(),
             s->w.id);
    snprintf(listen, sizeof listen, "unix:%s", s->socket);
    add_arg(args, &n, f->conf.worker_exe);
    add_arg(args, &n, "serve");
    add_arg(args, &n, "--model");
    add_arg(args, &n, s->w.path);
    add_arg(args, &n, "--name");
    add_arg(args, &n, s->w.name);
    add_arg(args, &n, "--listen");
    add_arg(args, &n, listen);
    add_arg(args, &n, "--with-parent");
    for (int i = 0; f->conf.worker_args && f->conf.worker_args[i]; i++)
        add_arg(args, &n, f->conf.worker_args[i]);
    for (int i = 0; i < s->n_args; i++)
        add_arg(args, &n, s->arg_text[i]);
    if (s->lora_text[0]) add_arg(args, &n, s->lora_text);
    uv_pipe_init(f->conf.loop, &s->out, 0);
    s->out.data = s->process.data = s;
    io[1].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
    io[1].data.stream = (uv_stream_t *)&s->out;
    s->open_handles = 2;
    s->w.state = FLEET_LOADING;
    s->w.started_ns = os_now_ns();
    rc = uv_spawn(f->conf.loop, &s->process, &po);
    if (rc) {
        char text[ERR_TEXT_MAX];

        snprintf(text, sizeof text, "cannot start %.300s: %s", f->conf.worker_exe, uv_strerror(rc));
        s->w.state = FLEET_STOPPING;
        tell(s, ERR_UNAVAILABLE, text);
        uv_close((uv_handle_t *)&s->out, on_handle_closed);
        uv_close((uv_handle_t *)&s->process, on_handle_closed);
        return;
    }
    s->w.pid = s->process.pid;
    log_ev(LOG_WORKER_SPAWNED, "model", s->w.name, "path", s->w.path);
    uv_read_start((uv_stream_t *)&s->out, on_alloc, on_out);
}

/* Options of a worker that a request may set: JSON key, flag. */
static const struct {
    const char *key, *flag;
} extras[] = {
    {"ctx", "--ctx"},
    {"slots", "--slots"},
    {"threads", "--threads"},
    {"batch", "--batch"},
    {"kv_type", "--kv-type"},
    {"kv_type_k", "--kv-type-k"},
    {"kv_type_v", "--kv-type-v"},
    {"backend", "--backend"},
    {"kv_budget", "--kv-budget"},
};

static void read_extras(struct slot *s, const struct json *v)
{
    for (size_t i = 0; i < sizeof extras / sizeof extras[0]; i++) {
        const struct json *x = json_get(v, extras[i].key);
        char *out = s->arg_text[s->n_args];

        if (!x || x->type == JSON_NULL) continue;
        if (x->type == JSON_STR && x->s.n < 12)
            snprintf(out, sizeof s->arg_text[0], "%s=%.*s", extras[i].flag, STR(x->s));
        else if (x->type == JSON_INT && x->i >= 0)
            snprintf(out, sizeof s->arg_text[0], "%s=%lld", extras[i].flag, (long long)x->i);
        else
            continue;
        s->n_args++;
    }
    str lora = json_str(json_get(v, "lora"), S(""));
    if (lora.n && lora.n < sizeof s->lora_text - 8)
        snprintf(s->lora_text, sizeof s->lora_text, "--lora=%.*s", STR(lora));
}

static struct slot *slot_new(struct fleet *f, const char *name, const char *path,
                             const struct json *extra)
{
    struct slot *s = mem_alloc(sizeof *s);
    uint32_t n = 0;

    for (struct fleet_worker *w = f->list; w; w = w->next)
        n++;
    if (!s || n >= LIMIT_WORKERS) {
        mem_free(s);
        return NULL;
    }
    s->f = f;
    s->w.id = ++f->next_id;
    snprintf(s->w.name, sizeof s->w.name, "%s", name);
    snprintf(s->w.path, sizeof s->w.path, "%s", path);
    s->w.keep_alive_ms = f->conf.keep_alive_ms;
    s->w.last_used_ns = os_now_ns();
    buf_init(&s->line, MIB(1));
    buf_init(&s->info, MIB(1));
    buf_init(&s->fresh, MIB(1));
    s->w.info = "{}";
    if (extra) read_extras(s, extra);
    s->w.next = f->list;
    f->list = &s->w;
    return s;
}

void fleet_want(struct fleet *f, const char *name, const char *path, const struct json *extra,
                fleet_then *then, void *owner)
{
    struct slot *s = NULL;
    struct waiter *x;

    if (f->closing) {
        then(NULL, ERR_UNAVAILABLE, "the hive is stopping", owner);
        return;
    }
    for (struct fleet_worker *w = f->list; w && !s; w = w->next) {
        if (w->state != FLEET_STOPPING && strcmp(w->path, path) == 0) s = slot_of(w);
    }
    if (s && s->w.state == FLEET_READY && !s->doubted) {
        then(&s->w, ERR_OK, NULL, owner);
        return;
    }
    if (!(x = mem_alloc(sizeof *x))) {
        then(NULL, ERR_NOMEM, "no memory for the request", owner);
        return;
    }
    *x = (struct waiter){.then = then, .owner = owner};
    if (s) {
        x->next = s->waiters;
        s->waiters = x;
        return;
    }
    if (!(s = slot_new(f, name, path, extra))) {
        mem_free(x);
        then(NULL, ERR_BUSY, "this machine runs as many workers as it may; stop one first", owner);
        return;
    }
    s->waiters = x;
    spawn(s);
}

/* ---- asking a worker how it is ---- */

static void on_info_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    (void)h, (void)n;
    ((struct slot *)http_call_owner(c))->info_status = status;
}

static void on_info_body(struct http_call *c, str bytes)
{
    struct slot *s = http_call_owner(c);

    if (s->info_status == 200) buf_str(&s->fresh, bytes);
}

static void on_info_done(struct http_call *c, enum err code, const char *text)
{
    struct slot *s = http_call_owner(c);

    (void)text;
    s->asking = false;
    if (s->w.state != FLEET_READY) return;
    s->stalls = code || s->info_status != 200 ? s->stalls + 1 : 0;
    if (s->stalls == 0 && s->fresh.n) {
        buf_clear(&s->info);
        buf_str(&s->info, buf_view(&s->fresh));
        s->w.info = s->info.p;
    }
    if (s->stalls == 0 && s->doubted) {
        s->doubted = false;
        tell(s, ERR_OK, NULL);
    }
    /* A worker in doubt whose socket refuses is on its way out: help it. */
    if (s->stalls < STALL_LIMIT && !(s->doubted && code && code != ERR_TIMEOUT)) return;
    if (s->stalls >= STALL_LIMIT) log_ev(LOG_WORKER_STALLED, "model", s->w.name);
    s->fail_code = s->stalls >= STALL_LIMIT ? ERR_TIMEOUT : ERR_CRASHED;
    snprintf(s->fail_text, sizeof s->fail_text, "the worker of '%.200s' %s and was ended",
             s->w.name, s->stalls >= STALL_LIMIT ? "made no progress" : "broke off a request");
    kill_worker(s, SIGKILL);
}

static void ask(struct slot *s)
{
    struct http_call_conf cc = {.method = S("GET"),
                                .target = S("/v1/info"),
                                .timeout_ms = 10000,
                                .idle_ms = 10000,
                                .on_head = on_info_head,
                                .on_body = on_info_body,
                                .on_done = on_info_done,
                                .owner = s};

    s->info_status = 0;
    buf_clear(&s->fresh);
    s->asking = s->w.client && http_call(s->w.client, &cc) != NULL;
}

/* ---- use ---- */

struct fleet_worker *fleet_find(struct fleet *f, uint32_t id)
{
    for (struct fleet_worker *w = f->list; w; w = w->next) {
        if (w->id == id && w->state != FLEET_STOPPING) return w;
    }
    return NULL;
}

const struct fleet_worker *fleet_list(const struct fleet *f)
{
    return f->list;
}

void fleet_begin_use(struct fleet *f, struct fleet_worker *w)
{
    (void)f;
    w->inflight++;
    w->last_used_ns = os_now_ns();
}

void fleet_end_use(struct fleet *f, uint32_t id)
{
    for (struct fleet_worker *w = f->list; w; w = w->next) {
        if (w->id != id) continue;
        w->inflight--;
        w->last_used_ns = os_now_ns();
        if (w->inflight == 0 && w->keep_alive_ms == 0 && w->state == FLEET_READY)
            fleet_stop(f, w, NULL, NULL);
        return;
    }
}

void fleet_stop(struct fleet *f, struct fleet_worker *w, void (*then)(void *owner), void *owner)
{
    struct slot *s = slot_of(w);

    (void)f;
    if (then) {
        s->stopped = then;
        s->stopped_owner = owner;
    }
    if (s->pending) { /* no process: it ends when its turn would have come */
        s->pending = false;
        w->state = FLEET_STOPPING;
        tell(s, ERR_CANCELLED, "the model was unloaded while it waited for memory");
        if (s->open_handles == 0) slot_free(s);
        return;
    }
    if (w->state == FLEET_STOPPING) return;
    w->state = FLEET_STOPPING;
    if (!s->fail_code) {
        s->fail_code = ERR_CANCELLED;
        snprintf(s->fail_text, sizeof s->fail_text, "the model was unloaded");
    }
    s->stop_ns = os_now_ns();
    log_ev(LOG_MODEL_UNLOADED, "model", w->name);
    kill_worker(s, SIGTERM);
}

void fleet_doubt(struct fleet *f, uint32_t id)
{
    struct fleet_worker *w = fleet_find(f, id);

    if (!w || w->state != FLEET_READY) return;
    slot_of(w)->doubted = true;
    if (!slot_of(w)->asking) ask(slot_of(w));
}

/* ---- every second: ask, unload the idle, end the stubborn ---- */

static void on_tick(uv_timer_t *t)
{
    struct fleet *f = t->data;
    uint64_t now = os_now_ns();
    struct fleet_worker *next;

    for (struct fleet_worker *w = f->list; w; w = next) {
        struct slot *s = slot_of(w);

        next = w->next;
        if (w->state == FLEET_STOPPING && s->stop_ns && now - s->stop_ns > KILL_AFTER_NS &&
            !s->exited)
            kill_worker(s, SIGKILL);
        if (w->state != FLEET_READY) continue;
        if (w->inflight == 0 && w->keep_alive_ms != INT64_MAX &&
            now - w->last_used_ns > (uint64_t)w->keep_alive_ms * 1000000u)
            fleet_stop(f, w, NULL, NULL);
        else if (!s->asking)
            ask(s);
    }
}

enum err fleet_new(struct fleet **out, const struct fleet_conf *conf, struct err_info *e)
{
    struct fleet *f = mem_alloc(sizeof *f);

    if (!f) return ERR_FAIL(e, NOMEM, "no memory for the table of workers");
    f->conf = *conf;
    uv_timer_init(conf->loop, &f->tick);
    f->tick.data = f;
    uv_timer_start(&f->tick, on_tick, TICK_MS, TICK_MS);
    *out = f;
    return ERR_OK;
}

static void on_tick_closed(uv_handle_t *h)
{
    struct fleet *f = h->data;

    if (f->closed) f->closed(f->closed_owner);
    mem_free(f);
}

static void end_if_empty(struct fleet *f)
{
    if (f->closing && !f->list && !uv_is_closing((uv_handle_t *)&f->tick))
        uv_close((uv_handle_t *)&f->tick, on_tick_closed);
}

void fleet_close(struct fleet *f, void (*done)(void *owner), void *owner)
{
    struct fleet_worker *next;

    f->closing = true;
    f->closed = done;
    f->closed_owner = owner;
    for (struct fleet_worker *w = f->list; w; w = next) {
        next = w->next;
        fleet_stop(f, w, NULL, NULL);
    }
    end_if_empty(f);
}
