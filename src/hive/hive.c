/* hive: the HTTP side. See hive.h; processes are in fleet.c. */
#include "hive/hive.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/os.h"
#include "hive/about.h"
#include "hive/fleet.h"
#include "model/dtype.h"
#include "net/address.h"
#include "net/relay.h"
#include "store/config.h"

struct hive_opts {
    const char *listen, *token, *log_level, *worker, *sandbox, *kv_type;
    int64_t keep_alive;
    int64_t ctx, slots, threads;
    bool with_parent, names_only;
};

struct hive {
    struct hive_opts o;
    struct store store;
    uv_loop_t loop;
    uv_signal_t term, intr;
    struct http_server *http;
    struct fleet *fleet;
    struct about *about;
    char worker_exe[STORE_PATH_MAX];
    char arg_text[4][32], level_text[32], sandbox_text[32], kv_text[32];
    const char *worker_args[9];
    bool stopping;
};

static const struct opt opts[] = {
    {"listen", 'l', OPT_STR, offsetof(struct hive_opts, listen), "ADDR", "127.0.0.1:7835", NULL, 0,
     0, "RBEE_HIVE_LISTEN", "hive_listen", "HOST:PORT or unix:PATH"},
    {"token", 0, OPT_STR, offsetof(struct hive_opts, token), "TOKEN", NULL, NULL, 0, 0,
     "RBEE_HIVE_TOKEN", "hive_token", "bearer token that a queen must send"},
    {"keep-alive", 0, OPT_TIME, offsetof(struct hive_opts, keep_alive), "TIME", "5m", NULL, 0, 0,
     "RBEE_KEEP_ALIVE", "keep_alive", "unload a model this long after its last request; -1: never"},
    {"ctx", 'c', OPT_SIZE, offsetof(struct hive_opts, ctx), "N", NULL, NULL, 0, 16777216,
     "RBEE_CTX", "ctx", "positions of one sequence; 0: the model's own, at most 4096"},
    {"slots", 0, OPT_INT, offsetof(struct hive_opts, slots), "N", NULL, NULL, 0, 256, "RBEE_SLOTS",
     "slots", "sequences decoded together by one worker; 0: 16"},
    {"threads", 't', OPT_INT, offsetof(struct hive_opts, threads), "N", NULL, NULL, 0, 256,
     "RBEE_THREADS", "threads", "kernel threads of one worker; 0: all cores"},
    {"kv-type", 0, OPT_ENUM, offsetof(struct hive_opts, kv_type), "TYPE", "f16", DTYPE_KV_NAMES, 0,
     0, "RBEE_KV_TYPE", "kv_type", "element type of the KV cache"},
    {"worker", 0, OPT_STR, offsetof(struct hive_opts, worker), "FILE", NULL, NULL, 0, 0,
     "RBEE_WORKER", "worker", "worker executable; default: beside this one"},
    {"sandbox", 0, OPT_ENUM, offsetof(struct hive_opts, sandbox), "MODE", "auto",
     "auto|require|off", 0, 0, "RBEE_SANDBOX", "sandbox",
     "let a sandboxed process open a model before a worker does; require: refuse models where the "
     "system allows no sandbox"},
    {"log-level", 0, OPT_ENUM, offsetof(struct hive_opts, log_level), "LEVEL", "info",
     "error|warn|info|debug", 0, 0, "RBEE_LOG", "log_level", "how much to log to standard error"},
    {"with-parent", 0, OPT_BOOL, offsetof(struct hive_opts, with_parent), NULL, NULL, NULL, 0, 0,
     NULL, NULL, "end when the process that started this one ends"},
    {"names-only", 0, OPT_BOOL, offsetof(struct hive_opts, names_only), NULL, NULL, NULL, 0, 0,
     NULL, NULL, "find models by name only, never by path"},
    {0},
};

/* ---- what is here ---- */

static void h_health(struct http_req *r, void *owner)
{
    (void)owner;
    http_reply(r, 200, "application/json", S("{\"status\":\"ok\"}"));
}

static void write_worker(struct jsonw *w, const struct fleet_worker *x)
{
    uint64_t now = os_now_ns();
    int64_t idle = (int64_t)((now - x->last_used_ns) / 1000000u);

    jsonw_obj(w);
    jsonw_kint(w, "id", x->id);
    jsonw_kc(w, "model", x->name);
    jsonw_kc(w, "path", x->path);
    jsonw_kc(w, "state", fleet_state_name(x->state));
    jsonw_kint(w, "pid", x->pid);
    jsonw_kint(w, "inflight", x->inflight);
    jsonw_kint(w, "idle_ms", x->inflight ? 0 : idle);
    jsonw_key(w, "expires_in_ms");
    if (x->keep_alive_ms == INT64_MAX || x->inflight)
        jsonw_null(w);
    else
        jsonw_int(w, x->keep_alive_ms > idle ? x->keep_alive_ms - idle : 0);
    jsonw_key(w, "info");
    jsonw_raw(w, str_c(x->info));
    jsonw_end(w, '}');
}

static void h_status(struct http_req *r, void *owner)
{
    struct hive *h = owner;
    struct jsonw w;
    char host[256] = "";
    buf b;

    gethostname(host, sizeof host - 1);
    buf_init(&b, LIMIT_HTTP_REPLY);
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kc(&w, "version", RBEE_VERSION);
    jsonw_kc(&w, "hostname", host);
    jsonw_key(&w, "devices");
    jsonw_arr(&w);
    jsonw_obj(&w);
    jsonw_kc(&w, "id", "cpu");
    jsonw_kc(&w, "name", os_cpu_name());
    jsonw_kint(&w, "cores", os_cpu_count());
    jsonw_kint(&w, "memory_total", (int64_t)os_mem_total());
    jsonw_kint(&w, "memory_available", (int64_t)os_mem_available());
    jsonw_end(&w, '}');
    jsonw_end(&w, ']');
    jsonw_key(&w, "workers");
    jsonw_arr(&w);
    for (const struct fleet_worker *x = fleet_list(h->fleet); x; x = x->next)
        write_worker(&w, x);
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
    http_reply(r, 200, "application/json", buf_view(&b));
    buf_fini(&b);
}

static void h_machine(struct http_req *r, void *owner)
{
    about_reply(((struct hive *)owner)->about, r);
}

/* ---- the list of models: read by a pool thread, for it opens every file ---- */

struct listing {
    uv_work_t work;
    struct hive *h;
    struct http_req *r; /* NULL once the client has gone */
    struct arena a;
    struct store_model *models;
    size_t n;
    enum err code;
    struct err_info e;
};

static void list_work(uv_work_t *work)
{
    struct listing *l = work->data;

    l->code = store_list(&l->h->store, &l->a, &l->models, &l->n, &l->e);
}

static void write_model(struct jsonw *w, const struct store_model *m)
{
    jsonw_obj(w);
    jsonw_kstr(w, "name", m->name);
    jsonw_kstr(w, "path", m->path);
    jsonw_kint(w, "bytes", (int64_t)m->bytes);
    jsonw_kint(w, "modified", m->modified);
    jsonw_kbool(w, "runnable", m->runnable);
    if (m->runnable) {
        jsonw_kstr(w, "architecture", m->architecture);
        jsonw_kstr(w, "quantization", m->quantization);
        jsonw_kint(w, "parameters", (int64_t)m->n_params);
        jsonw_kint(w, "context", m->n_ctx);
        jsonw_kbool(w, "chat_template", m->chat);
    } else {
        jsonw_kstr(w, "problem", m->problem);
    }
    jsonw_end(w, '}');
}

static void list_done(uv_work_t *work, int status)
{
    struct listing *l = work->data;
    struct jsonw w;
    buf b;

    buf_init(&b, LIMIT_HTTP_REPLY);
    if (!l->r) {
        /* nobody waits any more */
    } else if (status || l->code) {
        l->r->gone = NULL;
        http_error(l->r, l->code ? l->code : ERR_CANCELLED, "%s", l->code ? l->e.text : "stopping");
    } else {
        l->r->gone = NULL;
        jsonw_init(&w, &b);
        jsonw_obj(&w);
        jsonw_key(&w, "models");
        jsonw_arr(&w);
        for (size_t i = 0; i < l->n; i++)
            write_model(&w, &l->models[i]);
        jsonw_end(&w, ']');
        jsonw_end(&w, '}');
        http_reply(l->r, 200, "application/json", buf_view(&b));
    }
    buf_fini(&b);
    arena_fini(&l->a);
    mem_free(l);
}

static void list_gone(struct http_req *r)
{
    ((struct listing *)r->owner)->r = NULL;
}

static void h_models(struct http_req *r, void *owner)
{
    struct hive *h = owner;
    struct listing *l = mem_alloc(sizeof *l);

    if (!l) {
        http_error(r, ERR_NOMEM, "no memory for the list of models");
        return;
    }
    l->h = h;
    l->r = r;
    l->work.data = l;
    arena_init(&l->a, LIMIT_STORE_ARENA);
    r->owner = l;
    r->gone = list_gone;
    if (uv_queue_work(&h->loop, &l->work, list_work, list_done)) {
        r->gone = NULL;
        http_error(r, ERR_NOMEM, "no thread for the list of models");
        arena_fini(&l->a);
        mem_free(l);
    }
}

/* ---- workers ---- */

struct wanting {
    struct hive *h;
    struct http_req *r;
    int64_t keep_alive_ms; /* -1: as it is */
};

static void want_gone(struct http_req *r)
{
    struct wanting *x = r->owner;

    fleet_forget(x->h->fleet, x);
    mem_free(x);
}

static void on_worker(struct fleet_worker *fw, enum err code, const char *text, void *owner)
{
    struct wanting *x = owner;
    struct http_req *r = x->r;
    struct jsonw w;
    buf b;

    r->gone = NULL;
    if (code) {
        http_error(r, code, "%s", text);
    } else {
        if (x->keep_alive_ms >= 0) fw->keep_alive_ms = x->keep_alive_ms;
        fw->last_used_ns = os_now_ns();
        buf_init(&b, MIB(1));
        jsonw_init(&w, &b);
        write_worker(&w, fw);
        http_reply(r, 200, "application/json", buf_view(&b));
        buf_fini(&b);
    }
    mem_free(x);
}

static void h_want(struct http_req *r, void *owner)
{
    struct hive *h = owner;
    const struct json *body, *keep;
    struct err_info e;
    char path[STORE_PATH_MAX], name[1024];
    struct wanting *x;
    str model;

    if (json_parse(r->arena, r->body, &body, &e)) {
        http_error_info(r, &e);
        return;
    }
    model = json_str(json_get(body, "model"), S(""));
    if (h->o.names_only && json_get(body, "lora")) {
        http_error(r, ERR_ACCESS,
                   "adapters are named by path, and only on a queen that listens on loopback");
        return;
    }
    if ((h->o.names_only ? store_find : store_resolve)(&h->store, model, path, &e)) {
        http_error_info(r, &e);
        return;
    }
    if (!(x = mem_alloc(sizeof *x))) {
        http_error(r, ERR_NOMEM, "no memory for the request");
        return;
    }
    *x = (struct wanting){.h = h, .r = r, .keep_alive_ms = -1};
    keep = json_get(body, "keep_alive_ms");
    if (keep && json_is_num(keep)) x->keep_alive_ms = json_int(keep, -1);
    snprintf(name, sizeof name, "%.*s",
             STR(str_sub(store_name_of(&h->store, str_c(path)), 0, 1000)));
    r->owner = x;
    r->gone = want_gone;
    fleet_want(h->fleet, name, path, body, on_worker, x);
}

static struct fleet_worker *worker_of(struct hive *h, struct http_req *r)
{
    int64_t id;
    struct fleet_worker *w = NULL;

    if (str_int(r->param[0], &id) && id > 0 && id <= UINT32_MAX)
        w = fleet_find(h->fleet, (uint32_t)id);
    if (!w) http_error(r, ERR_NOTFOUND, "no worker %.*s here", STR(str_sub(r->param[0], 0, 20)));
    return w;
}

static void stop_gone(struct http_req *r)
{
    *(struct http_req **)r->owner = NULL;
}

static void on_stopped(void *owner)
{
    struct http_req **x = owner, *r = *x;

    if (r) {
        r->gone = NULL;
        http_reply(r, 200, "application/json", S("{\"stopped\":true}"));
    }
    mem_free(x);
}

static void h_stop(struct http_req *r, void *owner)
{
    struct hive *h = owner;
    struct fleet_worker *w = worker_of(h, r);
    struct http_req **x;

    if (!w) return;
    if (!(x = mem_alloc(sizeof *x))) {
        http_error(r, ERR_NOMEM, "no memory for the request");
        return;
    }
    *x = r;
    r->owner = x;
    r->gone = stop_gone;
    fleet_stop(h->fleet, w, on_stopped, x);
}

struct use {
    struct hive *h;
    uint32_t id;
};

static void use_done(void *owner)
{
    struct use *u = owner;

    fleet_end_use(u->h->fleet, u->id);
    mem_free(u);
}

static void use_broke(void *owner)
{
    struct use *u = owner;

    fleet_doubt(u->h->fleet, u->id);
}

static void h_relay(struct http_req *r, void *owner)
{
    struct hive *h = owner;
    struct fleet_worker *w = worker_of(h, r);
    int64_t keep_ms;
    struct use *u;
    str keep;

    if (!w) return; /* and r is gone */
    keep = http_header(r, "X-Rbee-Keep-Alive");
    if (w->state != FLEET_READY || !(u = mem_alloc(sizeof *u))) {
        http_error(r, ERR_UNAVAILABLE, "worker %u is not ready", w->id);
        return;
    }
    if (keep.n && str_int(keep, &keep_ms) && keep_ms >= 0) w->keep_alive_ms = keep_ms;
    *u = (struct use){h, w->id};
    struct relay_conf rc = {.to = w->client,
                            .peer = "the worker",
                            .target = arena_printf(r->arena, "/%.*s", STR(r->param[1])),
                            .error_event = jsonw_error,
                            .broke = use_broke,
                            .done = use_done,
                            .owner = u};

    fleet_begin_use(h->fleet, w);
    if (relay_start(r, &h->loop, &rc)) return;
    use_done(u);
    http_error(r, ERR_UNAVAILABLE, "worker %u takes no more connections", w->id);
}

static const struct http_route routes[] = {
    {"GET", "/health", 0, true, h_health},
    {"GET", "/v1/status", 0, false, h_status},
    {"GET", "/v1/machine", 0, false, h_machine},
    {"GET", "/v1/models", 0, false, h_models},
    {"POST", "/v1/workers", KIB(64), false, h_want},
    {"DELETE", "/v1/workers/{id}", 0, false, h_stop},
    {"GET", "/workers/{id}/{*}", 0, false, h_relay},
    {"POST", "/workers/{id}/{*}", LIMIT_HTTP_BODY, false, h_relay},
    {0},
};

/* ---- life ---- */

static void on_fleet_closed(void *owner)
{
    struct hive *h = owner;

    uv_close((uv_handle_t *)&h->term, NULL);
    uv_close((uv_handle_t *)&h->intr, NULL);
}

static void on_http_closed(void *owner)
{
    struct hive *h = owner;

    h->http = NULL;
    if (h->fleet)
        fleet_close(h->fleet, on_fleet_closed, h);
    else
        on_fleet_closed(h);
}

static void stop(struct hive *h, int grace_ms)
{
    if (h->stopping) return;
    h->stopping = true;
    about_stop(h->about);
    if (h->http)
        http_server_close(h->http, grace_ms, on_http_closed, h);
    else if (h->fleet)
        fleet_close(h->fleet, on_fleet_closed, h);
    else
        on_fleet_closed(h);
}

static void on_signal(uv_signal_t *sig, int signum)
{
    (void)signum;
    log_ev(LOG_STOP, "program", "hive");
    stop(sig->data, 500);
}

static void worker_arg(struct hive *h, int *n, const char *flag, int64_t v)
{
    int at = *n;

    if (v == 0) return;
    snprintf(h->arg_text[at], sizeof h->arg_text[0], "%s=%lld", flag, (long long)v);
    h->worker_args[at] = h->arg_text[at];
    *n = at + 1;
}

static enum err start(struct hive *h, struct err_info *e)
{
    struct http_conf hc = {.name = "rbee-hive/" RBEE_VERSION, .routes = routes, .owner = h};
    struct fleet_conf fc = {.loop = &h->loop,
                            .worker_exe = h->worker_exe,
                            .run_dir = h->store.run,
                            .keep_alive_ms = h->o.keep_alive < 0 ? INT64_MAX : h->o.keep_alive,
                            .worker_args = h->worker_args};
    char dir[STORE_PATH_MAX - 64];
    enum err code;
    int n = 0;

    /* A socket in the file system is guarded by its folder's permissions. */
    if (!str_starts(str_c(h->o.listen), S("unix:"))) hc.token = h->o.token;
    if ((code = os_mkdirs(h->store.run, e))) return code;
    if (h->o.worker)
        snprintf(h->worker_exe, sizeof h->worker_exe, "%s", h->o.worker);
    else if (os_exe_dir(dir, sizeof dir))
        snprintf(h->worker_exe, sizeof h->worker_exe, "%s/llm-worker-rbee-cpu", dir);
    else
        return ERR_FAIL(e, UNAVAILABLE, "cannot find the worker executable; name it with --worker");
    worker_arg(h, &n, "--ctx", h->o.ctx);
    worker_arg(h, &n, "--slots", h->o.slots);
    worker_arg(h, &n, "--threads", h->o.threads);
    snprintf(h->level_text, sizeof h->level_text, "--log-level=%s", h->o.log_level);
    h->worker_args[n++] = h->level_text;
    snprintf(h->sandbox_text, sizeof h->sandbox_text, "--sandbox=%s", h->o.sandbox);
    h->worker_args[n++] = h->sandbox_text;
    snprintf(h->kv_text, sizeof h->kv_text, "--kv-type=%s", h->o.kv_type);
    h->worker_args[n] = h->kv_text;
    if ((code = http_server_new(&h->http, &h->loop, &hc, e))) return code;
    if ((code = address_listen(h->http, h->o.listen, e))) return code;
    if ((code = fleet_new(&h->fleet, &fc, e))) return code;
    return about_new(&h->about, &h->loop, h->fleet, h->worker_exe, h->store.state,
                     (uint32_t)h->o.threads, e);
}

/* False when nobody can read it. */
static bool say(struct hive *h, enum err code, const struct err_info *e)
{
    buf b;

    buf_init(&b, KIB(4));
    if (code)
        jsonw_error(&b, code, e->text);
    else
        buf_printf(&b, "{\"ready\":true,\"port\":%d}", http_server_port(h->http));
    puts(b.p);
    buf_fini(&b);
    return fflush(stdout) == 0;
}

enum err hive_main(int argc, char **argv, struct err_info *e)
{
    static struct hive h; /* several paths of 4 KiB: not on the stack */
    const struct opt_spec spec = {.opts = opts,
                                  .command = "rbee hive",
                                  .summary = "Looks after the workers of this machine."};
    enum log_level level;
    enum err code;
    bool help;

    if ((code = config_parse(&spec, argc, argv, &h.o, &help, e))) return code;
    if (help) {
        opt_print(&spec, 0);
        return ERR_OK;
    }
    if (log_level_from(h.o.log_level, &level)) log_set_level(level);
    log_set_name("rbee-hive");
    if (h.o.with_parent) os_die_with_parent();
    if ((code = store_init(&h.store, e))) return code;
    if (uv_loop_init(&h.loop)) return ERR_FAIL(e, INTERNAL, "no event loop");
    h.term.data = h.intr.data = &h;
    uv_signal_init(&h.loop, &h.term);
    uv_signal_init(&h.loop, &h.intr);
    uv_signal_start(&h.term, on_signal, SIGTERM);
    uv_signal_start(&h.intr, on_signal, SIGINT);
    code = start(&h, e);
    if (!say(&h, code, e) && h.o.with_parent)
        stop(&h, 0); /* the parent died before os_die_with_parent() could notice */
    else if (code)
        stop(&h, 0);
    else
        log_ev(LOG_LISTEN, "address", h.o.listen);
    uv_run(&h.loop, UV_RUN_DEFAULT);
    about_free(h.about);
    uv_loop_close(&h.loop);
    return code;
}
