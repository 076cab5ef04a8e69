/* queen: options, routes and life. See queen.h. */
#include "queen/queen.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/os.h"
#include "model/dtype.h"
#include "net/http.h"
#include "queen/catalog_api.h"
#include "queen/gateway.h"
#include "queen/hives.h"
#include "queen/workers_api.h"
#include "store/config.h"
#include "store/store.h"

#define TICK_MS      1000
#define STOP_SOON_MS 50
#define ROW_ARGS     12

struct queen_opts {
    const char *host, *token, *log_level, *log_format;
    int64_t port, idle_exit;
    /* for the embedded hive */
    const char *keep_alive, *worker, *sandbox, *kv_type;
    int64_t ctx, slots, threads;
    bool with_parent;
};

struct queen {
    struct queen_opts o;
    struct store store;
    uv_loop_t loop;
    uv_signal_t term, intr;
    uv_timer_t tick;
    struct http_server *http;
    struct upstream *up;
    struct gateway *gateway;
    struct hives *hives;
    struct catalog_api *catalog;
    char exe[STORE_PATH_MAX], socket[STORE_PATH_MAX];
    char arg_text[ROW_ARGS][STORE_PATH_MAX];
    const char *hive_args[ROW_ARGS];
    uint64_t started_ns;
    bool stopping, loopback;
};

static const struct opt opts[] = {
    {"host", 0, OPT_STR, offsetof(struct queen_opts, host), "ADDR", "127.0.0.1", NULL, 0, 0,
     "RBEE_HOST", "host", "address to listen at; one off loopback needs --token"},
    {"port", 'p', OPT_INT, offsetof(struct queen_opts, port), "N", "7833", NULL, 0, 65535,
     "RBEE_PORT", "port", "port to listen at; 0 takes a free one"},
    {"token", 0, OPT_STR, offsetof(struct queen_opts, token), "TOKEN", NULL, NULL, 0, 0,
     "RBEE_TOKEN", "token", "bearer token that every client must send"},
    {"keep-alive", 0, OPT_STR, offsetof(struct queen_opts, keep_alive), "TIME", "5m", NULL, 0, 0,
     "RBEE_KEEP_ALIVE", "keep_alive", "unload a model this long after its last request; -1: never"},
    {"ctx", 'c', OPT_SIZE, offsetof(struct queen_opts, ctx), "N", NULL, NULL, 0, 16777216,
     "RBEE_CTX", "ctx", "positions of one sequence; 0: the model's own, at most 4096"},
    {"slots", 0, OPT_INT, offsetof(struct queen_opts, slots), "N", NULL, NULL, 0, 256, "RBEE_SLOTS",
     "slots", "sequences decoded together by one worker; 0: 16"},
    {"threads", 't', OPT_INT, offsetof(struct queen_opts, threads), "N", NULL, NULL, 0, 256,
     "RBEE_THREADS", "threads", "kernel threads of one worker; 0: all cores"},
    {"kv-type", 0, OPT_ENUM, offsetof(struct queen_opts, kv_type), "TYPE", "f16", DTYPE_KV_NAMES, 0,
     0, "RBEE_KV_TYPE", "kv_type", "element type of the KV cache"},
    {"worker", 0, OPT_STR, offsetof(struct queen_opts, worker), "FILE", NULL, NULL, 0, 0,
     "RBEE_WORKER", "worker", "worker executable; default: beside this one"},
    {"sandbox", 0, OPT_ENUM, offsetof(struct queen_opts, sandbox), "MODE", "auto",
     "auto|require|off", 0, 0, "RBEE_SANDBOX", "sandbox",
     "let a sandboxed process open a model before a worker does; require: refuse models where the "
     "system allows no sandbox"},
    {"log-level", 0, OPT_ENUM, offsetof(struct queen_opts, log_level), "LEVEL", "info",
     "error|warn|info|debug", 0, 0, "RBEE_LOG", "log_level", "how much to log to standard error"},
    {"log-format", 0, OPT_ENUM, offsetof(struct queen_opts, log_format), "FORMAT", "text",
     "text|json", 0, 0, "RBEE_LOG_FORMAT", "log_format", "lines for people or for programs"},
    {"idle-exit", 0, OPT_TIME, offsetof(struct queen_opts, idle_exit), "TIME", "-1", NULL, 0, 0,
     NULL, NULL, "end when no model was loaded and nobody asked for this long; -1: never"},
    {"with-parent", 0, OPT_BOOL, offsetof(struct queen_opts, with_parent), NULL, NULL, NULL, 0, 0,
     NULL, NULL, "end when the process that started this one ends"},
    {0},
};

/* ---- inference ---- */

static void h_chat(struct http_req *r, void *owner)
{
    struct queen *q = owner;

    gateway_serve(q->gateway, r, "/v1/chat/completions", q->loopback);
}

static void h_completion(struct http_req *r, void *owner)
{
    struct queen *q = owner;

    gateway_serve(q->gateway, r, "/v1/completions", q->loopback);
}

static void h_embeddings(struct http_req *r, void *owner)
{
    struct queen *q = owner;

    gateway_serve(q->gateway, r, "/v1/embeddings", q->loopback);
}

static void h_rerank(struct http_req *r, void *owner)
{
    struct queen *q = owner;

    gateway_serve(q->gateway, r, "/v1/rerank", q->loopback);
}

/* ---- asking the hive on behalf of a client ---- */

struct asking {
    struct queen *q;
    struct http_req *r;
    struct upstream_ask *ask;
    void (*answer)(struct asking *x, str body);
    str wanted; /* h_model: the id */
};

static void asking_gone(struct http_req *r)
{
    struct asking *x = r->owner;

    upstream_cancel(x->ask);
    mem_free(x);
}

static void on_answer(int status, str body, enum err code, void *owner)
{
    struct asking *x = owner;
    struct http_req *r = x->r;

    r->gone = NULL;
    if (code)
        http_error(r, ERR_UNAVAILABLE, "this machine's hive did not answer: %.*s", STR(body));
    else if (status != 200)
        http_reply(r, status, "application/json", body);
    else
        x->answer(x, body);
    mem_free(x);
}

static void pass_on(struct asking *x, str body)
{
    http_reply(x->r, 200, "application/json", body);
}

static void ask_hive(struct queen *q, struct http_req *r, str target, str wanted,
                     void (*answer)(struct asking *x, str body))
{
    struct asking *x = mem_alloc(sizeof *x);

    if (!x) {
        http_error(r, ERR_NOMEM, "no memory for the request");
        return;
    }
    *x = (struct asking){.q = q, .r = r, .answer = answer, .wanted = wanted};
    r->owner = x;
    r->gone = asking_gone;
    x->ask = upstream_ask(q->up, r->method, target, r->body, on_answer, x);
    if (x->ask) return;
    r->gone = NULL;
    mem_free(x);
    http_error(r, ERR_UNAVAILABLE, "this machine's hive is not ready; try again in a moment");
}

/* ---- models ---- */

static void write_model(struct jsonw *w, const struct json *m)
{
    static const char *const facts[] = {"architecture", "quantization",  "parameters",
                                        "context",      "chat_template", "bytes"};

    jsonw_obj(w);
    jsonw_kstr(w, "id", json_str(json_get(m, "name"), S("")));
    jsonw_kc(w, "object", "model");
    jsonw_kint(w, "created", json_int(json_get(m, "modified"), 0));
    jsonw_kc(w, "owned_by", "rbee");
    jsonw_key(w, "meta");
    jsonw_obj(w);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        const struct json *v = json_get(m, facts[i]);

        if (!v) continue;
        jsonw_key(w, facts[i]);
        jsonw_value(w, v);
    }
    jsonw_end(w, '}');
    jsonw_end(w, '}');
}

static const struct json *models_of(struct http_req *r, str body)
{
    const struct json *v, *list;

    if (json_parse(r->arena, body, &v, NULL)) return NULL;
    list = json_get(v, "models");
    return list && list->type == JSON_ARR ? list : NULL;
}

static void answer_models(struct asking *x, str body)
{
    const struct json *list = models_of(x->r, body);
    struct jsonw w;
    buf b;

    buf_init(&b, LIMIT_HTTP_REPLY);
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kc(&w, "object", "list");
    jsonw_key(&w, "data");
    jsonw_arr(&w);
    for (size_t i = 0; list && i < list->n; i++) {
        if (json_bool(json_get(&list->items[i], "runnable"), false))
            write_model(&w, &list->items[i]);
    }
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
    http_reply(x->r, 200, "application/json", buf_view(&b));
    buf_fini(&b);
}

static void answer_model(struct asking *x, str body)
{
    const struct json *list = models_of(x->r, body);
    struct jsonw w;
    buf b;

    for (size_t i = 0; list && i < list->n; i++) {
        const struct json *m = &list->items[i];

        if (!str_eq(json_str(json_get(m, "name"), S("")), x->wanted)) continue;
        if (!json_bool(json_get(m, "runnable"), false)) {
            http_error(x->r, ERR_UNSUPPORTED, "'%.*s' cannot be run here: %.*s", STR(x->wanted),
                       STR(json_str(json_get(m, "problem"), S("no reason given"))));
            return;
        }
        buf_init(&b, MIB(1));
        jsonw_init(&w, &b);
        write_model(&w, m);
        http_reply(x->r, 200, "application/json", buf_view(&b));
        buf_fini(&b);
        return;
    }
    http_error(x->r, ERR_NOMODEL, "no model '%.*s' here; GET /v1/models lists what there is",
               STR(str_sub(x->wanted, 0, 200)));
}

static void h_models(struct http_req *r, void *owner)
{
    ask_hive(owner, r, S("/v1/models"), S(""), answer_models);
}

static void h_model(struct http_req *r, void *owner)
{
    ask_hive(owner, r, S("/v1/models"), r->param[0], answer_model);
}

/* Everything that lies here, runnable or not, with paths and problems: for `rbee ls`. */
static void h_store(struct http_req *r, void *owner)
{
    ask_hive(owner, r, S("/v1/models"), S(""), pass_on);
}

/* ---- workers ---- */

static void h_workers(struct http_req *r, void *owner)
{
    ask_hive(owner, r, S("/v1/status"), S(""), pass_on);
}

/* A page of a foreign site may send simple requests here without being asked. Reading a reply is
 * refused to it anyway; what changes something is refused outright. */
static bool from_foreign_page(struct http_req *r)
{
    if (!http_foreign(r)) return false;
    http_error(r, ERR_ACCESS, "pages of other sites may not do this");
    return true;
}

static void h_load(struct http_req *r, void *owner)
{
    if (from_foreign_page(r)) return;
    ask_hive(owner, r, S("/v1/workers"), S(""), pass_on);
}

static void h_stop(struct http_req *r, void *owner)
{
    ask_hive(owner, r, arena_printf(r->arena, "/v1/workers/%.*s", STR(r->param[0])), S(""),
             pass_on);
}

/* ---- what there is ---- */

static void h_hives(struct http_req *r, void *owner)
{
    workers_api_hives(((struct queen *)owner)->hives, r);
}

static void h_kinds(struct http_req *r, void *owner)
{
    workers_api_list(((struct queen *)owner)->hives, r);
}

static void h_kind(struct http_req *r, void *owner)
{
    workers_api_one(((struct queen *)owner)->hives, r);
}

static void h_matrix(struct http_req *r, void *owner)
{
    workers_api_matrix(((struct queen *)owner)->hives, r);
}

static void h_catalog(struct http_req *r, void *owner)
{
    catalog_api_models(((struct queen *)owner)->catalog, r);
}

static void h_catalog_model(struct http_req *r, void *owner)
{
    catalog_api_model(((struct queen *)owner)->catalog, r);
}

static void h_facets(struct http_req *r, void *owner)
{
    catalog_api_facets(((struct queen *)owner)->catalog, r);
}

/* ---- health, metrics ---- */

static void h_health(struct http_req *r, void *owner)
{
    struct queen *q = owner;

    if (upstream_ready(q->up))
        http_reply(r, 200, "application/json",
                   S("{\"status\":\"ok\",\"version\":\"" RBEE_VERSION "\"}"));
    else
        http_error(r, ERR_UNAVAILABLE, "no hive answers: no token could be produced");
}

static void metric(buf *b, const char *name, const char *type, const char *help, double v)
{
    buf_printf(b, "# HELP rbee_queen_%s %s\n# TYPE rbee_queen_%s %s\nrbee_queen_%s %.17g\n", name,
               help, name, type, name, v);
}

static void h_metrics(struct http_req *r, void *owner)
{
    struct queen *q = owner;
    struct gateway_counts c = gateway_counts(q->gateway);
    buf b;

    buf_init(&b, KIB(64));
    metric(&b, "requests_total", "counter", "inference requests", (double)c.requests);
    metric(&b, "requests_failed_total", "counter", "inference requests answered with an error",
           (double)c.failed);
    metric(&b, "requests_cancelled_total", "counter", "clients that went away before an answer",
           (double)c.cancelled);
    metric(&b, "requests_retried_total", "counter", "requests tried a second time",
           (double)c.retried);
    metric(&b, "requests_active", "gauge", "inference requests under way", c.active);
    metric(&b, "connections", "gauge", "open client connections", http_server_conns(q->http));
    metric(&b, "hives", "gauge", "hives that answer", upstream_ready(q->up) ? 1 : 0);
    metric(&b, "workers", "gauge", "workers, loading ones included", upstream_workers(q->up));
    metric(&b, "uptime_seconds", "gauge", "since the start",
           (double)((os_now_ns() - q->started_ns) / 1000000u) / 1e3);
    metric(&b, "rss_bytes", "gauge", "resident memory", (double)os_rss());
    http_reply(r, 200, "text/plain; version=0.0.4", buf_view(&b));
    buf_fini(&b);
}

static void h_root(struct http_req *r, void *owner)
{
    (void)owner;
    http_reply(
        r, 200, "text/plain; charset=utf-8",
        S("rbee " RBEE_VERSION " is running.\n"
          "OpenAI clients: use this address with /v1 as base URL; GET /v1/models lists models.\n"));
}

static void stop(struct queen *q, int grace_ms);

static void on_stop_soon(uv_timer_t *t)
{
    stop(t->data, 500);
}

/* Only on loopback: there whoever reaches the port could as well send a signal. */
static void h_shutdown(struct http_req *r, void *owner)
{
    struct queen *q = owner;

    if (from_foreign_page(r)) return;
    if (!q->loopback) {
        http_error(r, ERR_ACCESS,
                   "a queen that listens off loopback is stopped on its own machine");
        return;
    }
    http_reply(r, 200, "application/json", S("{\"stopping\":true}"));
    uv_timer_start(&q->tick, on_stop_soon, STOP_SOON_MS, 0); /* the answer goes out first */
}

static const struct http_route routes[] = {
    {"GET", "/", 0, true, h_root},
    {"GET", "/health", 0, true, h_health},
    {"GET", "/metrics", 0, false, h_metrics},
    {"GET", "/v1/models", 0, false, h_models},
    {"GET", "/v1/models/{*}", 0, false, h_model},
    {"POST", "/v1/chat/completions", LIMIT_HTTP_BODY, false, h_chat},
    {"POST", "/v1/completions", LIMIT_HTTP_BODY, false, h_completion},
    {"POST", "/v1/embeddings", LIMIT_HTTP_BODY, false, h_embeddings},
    {"POST", "/v1/rerank", LIMIT_HTTP_BODY, false, h_rerank},
    {"GET", "/v1/store", 0, false, h_store},
    {"GET", "/v1/workers", 0, false, h_workers},
    {"POST", "/v1/workers", KIB(64), false, h_load},
    {"DELETE", "/v1/workers/{id}", 0, false, h_stop},
    {"GET", "/v1/hives", 0, false, h_hives},
    {"GET", "/workers", 0, false, h_kinds},
    {"GET", "/workers/{id}", 0, false, h_kind},
    {"GET", "/compatibility", 0, false, h_matrix},
    {"GET", "/v1/catalog/models", 0, false, h_catalog},
    {"GET", "/v1/catalog/models/{*}", 0, false, h_catalog_model},
    {"GET", "/v1/catalog/facets", 0, false, h_facets},
    {"POST", "/v1/shutdown", KIB(1), false, h_shutdown},
    {0},
};

/* ---- life ---- */

static void on_up_closed(void *owner)
{
    struct queen *q = owner;

    q->up = NULL;
    uv_close((uv_handle_t *)&q->term, NULL);
    uv_close((uv_handle_t *)&q->intr, NULL);
    uv_close((uv_handle_t *)&q->tick, NULL);
}

static void on_http_closed(void *owner)
{
    struct queen *q = owner;

    q->http = NULL;
    catalog_api_stop(q->catalog);
    if (q->up)
        upstream_close(q->up, on_up_closed, q);
    else
        on_up_closed(q);
}

static void stop(struct queen *q, int grace_ms)
{
    if (q->stopping) return;
    q->stopping = true;
    if (q->http)
        http_server_close(q->http, grace_ms, on_http_closed, q);
    else
        on_http_closed(q);
}

static void on_signal(uv_signal_t *sig, int signum)
{
    (void)signum;
    log_ev(LOG_STOP, "program", "queen");
    stop(sig->data, 500);
}

static void on_tick(uv_timer_t *t)
{
    struct queen *q = t->data;
    uint64_t last = gateway_last_ns(q->gateway), asked = catalog_api_last_ns(q->catalog), idle;

    gateway_tick(q->gateway);
    hives_tick(q->hives);
    catalog_api_tick(q->catalog);
    if (q->o.idle_exit < 0 || upstream_workers(q->up) || gateway_counts(q->gateway).active) return;
    idle = os_now_ns() - (asked > last ? asked : last);
    if (idle > (uint64_t)q->o.idle_exit * 1000000u) stop(q, 0);
}

static void hive_arg(struct queen *q, int *n, const char *flag, const char *value)
{
    snprintf(q->arg_text[*n], sizeof q->arg_text[0], "--%s=%s", flag, value);
    q->hive_args[*n] = q->arg_text[*n];
    ++*n;
}

static void hive_args(struct queen *q)
{
    char num[32];
    int n = 0;
    const struct {
        const char *flag;
        int64_t v;
    } ints[] = {{"ctx", q->o.ctx}, {"slots", q->o.slots}, {"threads", q->o.threads}};

    hive_arg(q, &n, "keep-alive", q->o.keep_alive);
    hive_arg(q, &n, "log-level", q->o.log_level);
    hive_arg(q, &n, "sandbox", q->o.sandbox);
    hive_arg(q, &n, "kv-type", q->o.kv_type);
    if (q->o.worker) hive_arg(q, &n, "worker", q->o.worker);
    if (!q->loopback) q->hive_args[n++] = "--names-only";
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
        if (ints[i].v == 0) continue;
        snprintf(num, sizeof num, "%lld", (long long)ints[i].v);
        hive_arg(q, &n, ints[i].flag, num);
    }
}

static void on_upstream_changed(void *owner)
{
    struct queen *q = owner;

    if (q->gateway && upstream_ready(q->up)) gateway_wake(q->gateway);
    if (q->hives && upstream_ready(q->up)) hives_wake(q->hives);
}

static enum err start(struct queen *q, struct err_info *e)
{
    struct http_conf hc = {
        .name = "rbee/" RBEE_VERSION, .routes = routes, .owner = q, .token = q->o.token};
    struct upstream_conf uc = {.loop = &q->loop,
                               .exe = q->exe,
                               .socket = q->socket,
                               .hive_args = q->hive_args,
                               .changed = on_upstream_changed,
                               .owner = q};
    enum dtype kv = dtype_from_name(str_c(q->o.kv_type));
    struct catalog_api_conf cc = {.loop = &q->loop,
                                  .store = &q->store,
                                  .ask = {(uint32_t)q->o.ctx, (uint32_t)q->o.slots, kv, kv}};
    char dir[STORE_PATH_MAX - 64];
    enum err code;

    if (!os_exe_dir(dir, sizeof dir))
        return ERR_FAIL(e, INTERNAL, "cannot find this program's folder");
    snprintf(q->exe, sizeof q->exe, "%s/rbee", dir);
    if ((code = http_server_new(&q->http, &q->loop, &hc, e))) return code;
    if ((code = http_listen_tcp(q->http, q->o.host, (int)q->o.port, e))) return code;
    if ((code = os_mkdirs(q->store.run, e))) return code;
    /* Several queens of one user may run, on other ports: each has its own hive. */
    snprintf(q->socket, sizeof q->socket, "%.120s/hive-%d.sock", q->store.run,
             http_server_port(q->http));
    hive_args(q);
    if ((code = upstream_new(&q->up, &uc, e))) return code;
    if ((code = gateway_new(&q->gateway, &q->loop, q->up, e))) return code;
    if ((code = hives_new(&q->hives, q->up, e))) return code;
    cc.hives = q->hives;
    return catalog_api_new(&q->catalog, &cc, e);
}

static void init_handles(struct queen *q)
{
    q->term.data = q->intr.data = q->tick.data = q;
    uv_signal_init(&q->loop, &q->term);
    uv_signal_init(&q->loop, &q->intr);
    uv_timer_init(&q->loop, &q->tick);
    uv_signal_start(&q->term, on_signal, SIGTERM);
    uv_signal_start(&q->intr, on_signal, SIGINT);
}

static bool is_loopback(const char *host)
{
    str h = str_c(host);

    return str_eqc(h, "localhost") || str_eqc(h, "::1") || str_starts(h, S("127."));
}

static enum err run(struct queen *q, struct err_info *e)
{
    char port[16];
    enum err code;

    if (uv_loop_init(&q->loop)) return ERR_FAIL(e, INTERNAL, "no event loop");
    init_handles(q);
    q->loopback = is_loopback(q->o.host);
    if ((code = start(q, e))) {
        stop(q, 0);
    } else {
        snprintf(port, sizeof port, "%d", http_server_port(q->http));
        log_ev(LOG_LISTEN, "host", q->o.host, "port", port);
        printf("{\"ready\":true,\"port\":%s}\n", port);
        if (fflush(stdout) && q->o.with_parent) stop(q, 0); /* the parent is gone already */
        uv_timer_start(&q->tick, on_tick, TICK_MS, TICK_MS);
    }
    uv_run(&q->loop, UV_RUN_DEFAULT);
    gateway_free(q->gateway);
    catalog_api_free(q->catalog);
    hives_free(q->hives);
    uv_loop_close(&q->loop);
    return code;
}

enum err queen_main(int argc, char **argv, struct err_info *e)
{
    static struct queen q; /* several paths of 4 KiB: not on the stack */
    const struct opt_spec spec = {
        .opts = opts, .command = "rbee queen", .summary = "Answers clients and routes to workers."};
    enum log_level level;
    enum err code;
    bool help;

    q.started_ns = os_now_ns();
    if ((code = config_parse(&spec, argc, argv, &q.o, &help, e))) return code;
    if (help) {
        opt_print(&spec, 0);
        return ERR_OK;
    }
    if (log_level_from(q.o.log_level, &level)) log_set_level(level);
    log_set_json(strcmp(q.o.log_format, "json") == 0);
    log_set_name("rbee-queen");
    if (q.o.with_parent) os_die_with_parent();
    if ((code = store_init(&q.store, e))) return code;
    return run(&q, e);
}
