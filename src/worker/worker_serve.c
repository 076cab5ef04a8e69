/* worker_serve: the worker's HTTP side: a loop, a few routes, one engine behind them.
 *
 * When the model is loaded and the socket listens, one line of JSON goes to standard output, so
 * that the hive need not poll; when loading fails, the line holds the error instead and the program
 * ends with the error's exit code. SIGTERM and SIGINT stop accepting, cancel what runs, and end.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/os.h"
#include "net/address.h"
#include "worker/reply_vectors.h"
#include "worker/worker.h"

struct serve_opts {
    struct worker_conf conf;
    const char *model, *name, *listen, *log_level;
    bool with_parent;
};

struct serve {
    const struct worker_kind *kind;
    struct serve_opts o;
    uv_loop_t loop;
    uv_async_t wake;
    uv_signal_t term, intr;
    uv_timer_t tick;
    struct http_server *http;
    struct host *host;
    struct chat *chat;
    struct reply_model model;
    uint64_t started_ns;
    bool stopping;
};

#define TICK_MS 1000
/* A step longer than this means that the engine is stuck: even a full batch on a slow core ends
 * sooner. */
#define STALL_NS ((uint64_t)60 * 1000000000u)

static const struct opt opts[] = {
    {"model", 'm', OPT_STR, offsetof(struct serve_opts, model), "FILE", NULL, NULL, 0, 0, NULL,
     NULL, "GGUF file to load"},
    {"name", 0, OPT_STR, offsetof(struct serve_opts, name), "NAME", NULL, NULL, 0, 0, NULL, NULL,
     "name of the model in replies; default: the file's"},
    {"listen", 'l', OPT_STR, offsetof(struct serve_opts, listen), "ADDR", "127.0.0.1:8080", NULL, 0,
     0, NULL, NULL, "127.0.0.1:PORT or unix:PATH"},
    {"log-level", 0, OPT_ENUM, offsetof(struct serve_opts, log_level), "LEVEL", "info",
     "error|warn|info|debug", 0, 0, "RBEE_LOG", NULL, "how much to log to standard error"},
    {"with-parent", 0, OPT_BOOL, offsetof(struct serve_opts, with_parent), NULL, NULL, NULL, 0, 0,
     NULL, NULL, "end when the process that started this one ends"},
    WORKER_OPTS(struct serve_opts, conf),
    {0},
};

/* ---- routes ---- */

/* Health means that tokens come, not that a port accepts. */
static bool stalled(struct serve *s, struct http_req *r)
{
    struct host_health h = host_health(s->host);

    if (h.still_ns <= STALL_NS) return false;
    http_error(r, ERR_UNAVAILABLE, "the engine has made no progress for %llu s",
               (unsigned long long)(h.still_ns / 1000000000u));
    return true;
}

static void h_health(struct http_req *r, void *owner)
{
    if (!stalled(owner, r)) http_reply(r, 200, "application/json", S("{\"status\":\"ok\"}"));
}

static void h_chat(struct http_req *r, void *owner)
{
    reply_start(&((struct serve *)owner)->model, r, OPENAI_CHAT);
}

static void h_completion(struct http_req *r, void *owner)
{
    reply_start(&((struct serve *)owner)->model, r, OPENAI_COMPLETION);
}

static void h_embeddings(struct http_req *r, void *owner)
{
    reply_vectors_start(&((struct serve *)owner)->model, r, VECTORS_EMBED);
}

static void h_rerank(struct http_req *r, void *owner)
{
    reply_vectors_start(&((struct serve *)owner)->model, r, VECTORS_RERANK);
}

static const char *task_of(const struct engine *en)
{
    switch (engine_want(en)) {
    case ENGINE_HIDDEN: return "embeddings";
    case ENGINE_SCORES: return "rerank";
    default: return "text";
    }
}

static void write_info(struct serve *s, buf *b)
{
    const struct engine *en = host_engine(s->host);
    const struct meta *m = engine_meta(en);
    struct engine_stats st;
    struct jsonw w;

    host_stats(s->host, &st);
    jsonw_init(&w, b);
    jsonw_obj(&w);
    jsonw_kc(&w, "model", s->o.name);
    jsonw_kc(&w, "path", s->o.model);
    jsonw_kint(&w, "pid", getpid());
    jsonw_kc(&w, "worker", s->kind->name);
    jsonw_kc(&w, "version", RBEE_VERSION);
    jsonw_kc(&w, "device", s->kind->device);
    jsonw_kc(&w, "backend", engine_describe(en));
    jsonw_kstr(&w, "architecture", m->arch);
    jsonw_kstr(&w, "quantization", m->file_type);
    jsonw_kc(&w, "task", task_of(en));
    jsonw_kint(&w, "parameters", (int64_t)m->n_params);
    jsonw_kint(&w, "context", engine_n_ctx(en));
    jsonw_kint(&w, "slots", st.slots);
    jsonw_kint(&w, "active", st.active);
    jsonw_kint(&w, "waiting", st.waiting);
    jsonw_kint(&w, "kv_blocks", st.kv_blocks);
    jsonw_kint(&w, "kv_blocks_used", st.kv_blocks_used);
    jsonw_kint(&w, "kv_blocks_cached", st.kv_blocks_cached);
    jsonw_kint(&w, "weight_bytes", (int64_t)st.weight_bytes);
    jsonw_kint(&w, "kv_bytes", (int64_t)st.kv_bytes);
    jsonw_kint(&w, "compute_bytes", (int64_t)st.compute_bytes);
    jsonw_kint(&w, "rss_bytes", (int64_t)os_rss());
    jsonw_knum(&w, "load_ms", (double)(st.load_ns / 1000) / 1e3);
    jsonw_kint(&w, "steps", (int64_t)st.steps);
    jsonw_kint(&w, "prompt_tokens", (int64_t)st.prompt_tokens);
    jsonw_kint(&w, "cached_tokens", (int64_t)st.cached_tokens);
    jsonw_kint(&w, "completion_tokens", (int64_t)st.completion_tokens);
    jsonw_kint(&w, "jobs_done", (int64_t)st.jobs_done);
    jsonw_kint(&w, "jobs_cancelled", (int64_t)st.jobs_cancelled);
    jsonw_kbool(&w, "chat_template", !chat_is_default(s->chat));
    jsonw_end(&w, '}');
}

static void h_info(struct http_req *r, void *owner)
{
    buf b;

    if (stalled(owner, r)) return;
    buf_init(&b, KIB(64));
    write_info(owner, &b);
    http_reply(r, 200, "application/json", buf_view(&b));
    buf_fini(&b);
}

static void metric(buf *b, const char *name, const char *type, const char *help, double v)
{
    buf_printf(b, "# HELP rbee_worker_%s %s\n# TYPE rbee_worker_%s %s\nrbee_worker_%s %.17g\n",
               name, help, name, type, name, v);
}

static void h_metrics(struct http_req *r, void *owner)
{
    struct serve *s = owner;
    struct engine_stats st;
    buf b;

    host_stats(s->host, &st);
    buf_init(&b, KIB(64));
    metric(&b, "slots", "gauge", "sequences that can be decoded together", st.slots);
    metric(&b, "active", "gauge", "requests being served", st.active);
    metric(&b, "waiting", "gauge", "requests waiting for a slot", st.waiting);
    metric(&b, "kv_blocks", "gauge", "blocks of the KV cache", st.kv_blocks);
    metric(&b, "kv_blocks_used", "gauge", "blocks in use", st.kv_blocks_used);
    metric(&b, "kv_blocks_cached", "gauge", "unused blocks kept for their prefix",
           st.kv_blocks_cached);
    metric(&b, "steps_total", "counter", "forward passes", (double)st.steps);
    metric(&b, "prompt_tokens_total", "counter", "prompt tokens", (double)st.prompt_tokens);
    metric(&b, "cached_tokens_total", "counter", "prompt tokens taken from the cache",
           (double)st.cached_tokens);
    metric(&b, "completion_tokens_total", "counter", "tokens generated",
           (double)st.completion_tokens);
    metric(&b, "jobs_done_total", "counter", "requests finished", (double)st.jobs_done);
    metric(&b, "jobs_cancelled_total", "counter", "requests cancelled", (double)st.jobs_cancelled);
    metric(&b, "rss_bytes", "gauge", "resident memory", (double)os_rss());
    http_reply(r, 200, "text/plain; version=0.0.4", buf_view(&b));
    buf_fini(&b);
}

static const struct http_route routes[] = {
    {"GET", "/health", 0, true, h_health},
    {"GET", "/metrics", 0, true, h_metrics},
    {"GET", "/v1/info", 0, true, h_info},
    {"POST", "/v1/chat/completions", LIMIT_HTTP_BODY, false, h_chat},
    {"POST", "/v1/completions", LIMIT_HTTP_BODY, false, h_completion},
    {"POST", "/v1/embeddings", LIMIT_HTTP_BODY, false, h_embeddings},
    {"POST", "/v1/rerank", LIMIT_HTTP_BODY, false, h_rerank},
    {0},
};

/* ---- life ---- */

static void wake_loop(void *owner)
{
    (void)uv_async_send(&((struct serve *)owner)->wake);
}

static void on_wake(uv_async_t *a)
{
    struct serve *s = a->data;

    host_drain(s->host, reply_on_msg, NULL);
}

static void on_tick(uv_timer_t *t)
{
    reply_tick(&((struct serve *)t->data)->model);
}

static void on_closed(void *owner)
{
    struct serve *s = owner;

    s->http = NULL;
    uv_close((uv_handle_t *)&s->wake, NULL);
    uv_close((uv_handle_t *)&s->term, NULL);
    uv_close((uv_handle_t *)&s->intr, NULL);
    uv_close((uv_handle_t *)&s->tick, NULL);
}

static void on_signal(uv_signal_t *sig, int signum)
{
    struct serve *s = sig->data;

    (void)signum;
    if (s->stopping) return;
    s->stopping = true;
    log_ev(LOG_STOP, "model", s->o.name);
    reply_cancel_all(&s->model);
    http_server_close(s->http, 2000, on_closed, s);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static enum err load(struct serve *s, struct err_info *e)
{
    struct engine_conf conf;
    struct engine *en;
    enum err code;

    if ((code = worker_conf_engine(s->kind, &s->o.conf, &conf, e))) return code;
    log_ev(LOG_MODEL_LOADING, "path", s->o.model);
    if ((code = worker_vet(s->o.model, &s->o.conf, &conf, true, e)) ||
        (code = engine_open(&en, s->o.model, &conf, e)))
        return code;
    code = worker_chat(&s->chat, engine_meta(en), engine_tok(en), e);
    if (!code) code = host_open(&s->host, en, wake_loop, s, e);
    if (code) {
        engine_close(en);
        return code;
    }
    s->model = (struct reply_model){.host = s->host, .chat = s->chat, .name = s->o.name};
    return ERR_OK;
}

static void say_error(enum err code, const struct err_info *e)
{
    buf b;

    buf_init(&b, KIB(4));
    jsonw_error(&b, code, e->text);
    puts(b.p);
    fflush(stdout);
    buf_fini(&b);
}

/* False when nobody can read it. */
static bool say_ready(struct serve *s)
{
    bool heard;
    buf b;

    buf_init(&b, KIB(64));
    buf_printf(&b, "{\"ready\":true,\"port\":%d,\"info\":", http_server_port(s->http));
    write_info(s, &b);
    buf_c(&b, "}\n");
    fwrite(b.p, 1, b.n, stdout);
    heard = fflush(stdout) == 0;
    buf_fini(&b);
    log_ev(LOG_MODEL_READY, "model", s->o.name, "listen", s->o.listen, "backend",
           engine_describe(host_engine(s->host)));
    return heard;
}

static enum err start(struct serve *s, struct err_info *e)
{
    struct http_conf hc = {.name = "rbee-worker/" RBEE_VERSION, .routes = routes, .owner = s};
    enum err code;

    s->wake.data = s->term.data = s->intr.data = s->tick.data = s;
    if (uv_async_init(&s->loop, &s->wake, on_wake)) return ERR_FAIL(e, INTERNAL, "no event loop");
    uv_signal_init(&s->loop, &s->term);
    uv_signal_init(&s->loop, &s->intr);
    uv_timer_init(&s->loop, &s->tick);
    uv_signal_start(&s->term, on_signal, SIGTERM);
    uv_signal_start(&s->intr, on_signal, SIGINT);
    if ((code = http_server_new(&s->http, &s->loop, &hc, e))) return code;
    if ((code = address_listen(s->http, s->o.listen, e))) return code;
    if ((code = load(s, e))) return code;
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    return ERR_OK;
}

/* Runs what is left of the loop so that every handle is closed before it goes. */
static void run_down(struct serve *s)
{
    if (s->http) http_server_close(s->http, 0, on_closed, s);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    host_close(s->host, reply_on_msg, NULL);
    chat_close(s->chat);
    uv_loop_close(&s->loop);
}

enum err worker_serve(const struct worker_kind *kind, int argc, char **argv, struct err_info *e)
{
    struct serve s = {.kind = kind, .started_ns = os_now_ns()};
    const struct opt_spec spec = {.opts = opts,
                                  .command = "llm-worker-rbee-cpu serve",
                                  .summary = "Answers requests for one model."};
    enum log_level level;
    bool help;
    enum err code;

    if ((code = opt_parse(&spec, argc, argv, &s.o, &help, e))) {
        say_error(code, e);
        return code;
    }
    if (help) {
        opt_print(&spec, 0);
        return ERR_OK;
    }
    if (!s.o.model) return ERR_FAIL(e, INVALID, "--model is missing: which GGUF file?");
    if (!s.o.name) s.o.name = base_name(s.o.model);
    if (log_level_from(s.o.log_level, &level)) log_set_level(level);
    log_set_name(kind->name);
    if (s.o.with_parent) os_die_with_parent();
    if (uv_loop_init(&s.loop)) return ERR_FAIL(e, INTERNAL, "no event loop");
    if ((code = start(&s, e))) {
        say_error(code, e);
        if (!s.http && s.wake.data) on_closed(&s);
    } else if (say_ready(&s) || !s.o.with_parent) {
        /* Otherwise the parent died before os_die_with_parent() could notice. */
        uv_run(&s.loop, UV_RUN_DEFAULT);
    }
    run_down(&s);
    return code;
}
