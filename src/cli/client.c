/* client: see client.h. */
#include "cli/client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/os.h"
#include "net/fetch.h"
#include "net/sse.h"
#include "store/store.h"

#define START_WAIT_NS ((uint64_t)15 * 1000000000u)
#define TAKEN_WAIT_NS ((uint64_t)2 * 1000000000u)
#define LOG_MAX       (4 << 20) /* a longer log begins anew with the next queen */

static atomic_bool interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    /* A second Ctrl-C means it. */
    if (atomic_exchange(&interrupted, true)) _exit(err_exit(ERR_CANCELLED));
}

atomic_bool *client_catch_interrupt(void)
{
    struct sigaction sa = {.sa_handler = on_interrupt};

    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    return &interrupted;
}

static struct http_peer peer_of(const struct client *c)
{
    return (struct http_peer){.host = c->host, .port = (int)c->port, .token = c->token};
}

bool client_alive(const struct client *c)
{
    struct fetch f = {
        .peer = peer_of(c), .method = S("GET"), .target = S("/health"), .timeout_ms = 2000};
    int status = 0;
    buf b = {.cap = KIB(64)};
    bool good = fetch_all(&f, &status, &b, NULL) == ERR_OK && status == 200;

    buf_fini(&b);
    return good;
}

/* ---- starting a queen ---- */

static void nap(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* In the child: a session of its own, output to the log, then `rbee queen`. */
_Noreturn static void become_queen(const char *exe, const char *port, int log_fd)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    setsid();
    dup2(null, 0);
    dup2(log_fd, 1);
    dup2(log_fd, 2);
    execl(exe, exe, "queen", "--idle-exit", "5m", "--port", port, (char *)NULL);
    _exit(127);
}

/* The last line that the dead queen wrote: mostly the reason. */
static void last_words(const char *log, buf *out)
{
    char *text;
    size_t n;
    str s;

    if (map_read_file(log, MIB(16), &text, &n, NULL)) return;
    s = str_trim((str){text, n});
    for (size_t i = s.n; i > 0; i--) {
        if (s.p[i - 1] == '\n') {
            s = str_sub(s, i, s.n);
            break;
        }
    }
    buf_str(out, str_sub(s, 0, 300));
    mem_free(text);
}

/* Waits for an answer, for as long as the started queen lives. One that found its port taken may
 * have met another one that is just starting: that gets a moment. */
static enum err wait_healthy(struct client *c, const char *log, struct err_info *e)
{
    uint64_t end = os_now_ns() + START_WAIT_NS;
    buf words = {.cap = KIB(1)};
    int status = 0;
    enum err code;

    while (os_now_ns() < end && !atomic_load(&interrupted)) {
        if (client_alive(c)) return ERR_OK;
        if (c->started_pid && waitpid(c->started_pid, &status, WNOHANG) == c->started_pid) {
            c->started_pid = 0;
            if (!WIFEXITED(status) || WEXITSTATUS(status) != err_exit(ERR_EXISTS)) break;
            end = os_now_ns() + TAKEN_WAIT_NS;
        }
        nap(20);
    }
    if (atomic_load(&interrupted)) {
        client_undo(c);
        return ERR_FAIL(e, CANCELLED, "interrupted");
    }
    if (c->started_pid) {
        client_undo(c);
        return ERR_FAIL(e, TIMEOUT, "the queen was started and did not become healthy; see %s",
                        log);
    }
    last_words(log, &words);
    code = WIFEXITED(status) && WEXITSTATUS(status) == err_exit(ERR_EXISTS) ? ERR_EXISTS
                                                                            : ERR_UNAVAILABLE;
    code =
        err_fail(e, code, __FILE__, __LINE__, "the queen did not start: %.*s (all of it is in %s)",
                 STR(buf_view(&words)), log);
    buf_fini(&words);
    return code;
}

static enum err start_queen(struct client *c, struct err_info *e)
{
    static struct store st;
    char exe[STORE_PATH_MAX], dir[STORE_PATH_MAX - 16], log[STORE_PATH_MAX], port[16];
    enum err code;
    int fd;

    if ((code = store_init(&st, e)) || (code = os_mkdirs(st.state, e))) return code;
    if (!os_exe_dir(dir, sizeof dir))
        return ERR_FAIL(e, INTERNAL, "cannot find this program's folder");
    snprintf(exe, sizeof exe, "%s/rbee", dir);
    snprintf(log, sizeof log, "%.4000s/queen.log", st.state);
    snprintf(port, sizeof port, "%lld", (long long)c->port);
    if ((fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
        return err_errno(e, errno, "write", log);
    if (lseek(fd, 0, SEEK_END) > LOG_MAX && ftruncate(fd, 0)) {
        close(fd);
        return err_errno(e, errno, "shorten", log);
    }
    if ((c->started_pid = fork()) == 0) become_queen(exe, port, fd);
    close(fd);
    if (c->started_pid < 0) {
        c->started_pid = 0;
        return err_errno(e, errno, "start", exe);
    }
    return wait_healthy(c, log, e);
}

bool client_is_local(const struct client *c)
{
    const char *host = c->host;

    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

enum err client_ensure(struct client *c, struct err_info *e)
{
    c->started_pid = 0;
    if (client_alive(c)) return ERR_OK;
    if (!client_is_local(c))
        return ERR_FAIL(e, UNAVAILABLE,
                        "no queen answers at %s:%lld; start one there with `rbee serve`", c->host,
                        (long long)c->port);
    return start_queen(c, e);
}

void client_undo(struct client *c)
{
    if (c->started_pid <= 0) return;
    kill(c->started_pid, SIGTERM);
    for (int ms = 0; ms < 5000; ms += 20) {
        if (waitpid(c->started_pid, NULL, WNOHANG) != 0) break;
        nap(20);
    }
    c->started_pid = 0;
}

/* ---- calls ---- */

/* {"error": {"message", "code"}} as our own error. */
static enum err error_of(const struct json *v, int status, struct err_info *e)
{
    const struct json *err = json_get(v, "error");
    str name = json_str(json_get(err, "code"), S(""));
    str text = json_str(json_get(err, "message"), S(""));
    enum err code = err_from_name(name.p, name.n);

    if (!err) return ERR_FAIL(e, INTERNAL, "the queen answered with status %d", status);
    return err_fail(e, code ? code : ERR_INTERNAL, __FILE__, __LINE__, "%.*s", STR(text));
}

enum err client_json(const struct client *c, struct arena *a, const char *method,
                     const char *target, str body, const struct json **out, struct err_info *e)
{
    struct fetch f = {.peer = peer_of(c),
                      .method = str_c(method),
                      .target = str_c(target),
                      .body = body,
                      .cancel = &interrupted};
    buf b = {.cap = LIMIT_HTTP_REPLY};
    int status = 0;
    enum err code = fetch_all(&f, &status, &b, e);

    if (!code) {
        str text = arena_str(a, buf_view(&b));

        code = text.p ? json_parse(a, text, out, e) : ERR_FAIL(e, NOMEM, "no memory for the reply");
    }
    if (!code && status >= 400) code = error_of(*out, status, e);
    buf_fini(&b);
    return code;
}

struct streaming {
    const struct client_stream *s;
    struct sse sse;
    buf whole; /* a reply that is not a stream: an error */
    int status;
    bool events, done;
    enum err code;
    struct err_info *e;
};

static void on_event(void *owner, const struct sse_event *ev)
{
    struct streaming *x = owner;
    struct arena a;
    const struct json *v, *choice;

    if (x->code || str_eqc(ev->data, "[DONE]")) {
        x->done = true;
        return;
    }
    arena_init(&a, LIMIT_SSE_EVENT * 4);
    if ((x->code = json_parse(&a, ev->data, &v, x->e))) {
        arena_fini(&a);
        return;
    }
    if (json_get(v, "error")) {
        x->code = error_of(v, x->status, x->e);
    } else {
        const struct json *choices = json_get(v, "choices"), *text;

        choice = choices && choices->type == JSON_ARR && choices->n ? &choices->items[0] : NULL;
        text = json_get(json_get(choice, "delta"), "content");
        if (!text) text = json_get(choice, "text");
        if (text && text->type == JSON_STR && text->s.n && !x->s->on_text(x->s->owner, text->s))
            x->code = ERR_FAIL(x->e, IO, "nobody takes the text any more");
        if (x->s->usage && json_get(v, "usage") && !choice) {
            buf_clear(x->s->usage);
            buf_str(x->s->usage, ev->data);
        }
    }
    arena_fini(&a);
}

static void on_head(void *owner, int status, const struct http_header *h, size_t n)
{
    struct streaming *x = owner;

    x->status = status;
    for (size_t i = 0; i < n; i++) {
        if (str_ieq(h[i].name, S("Content-Type")))
            x->events = str_starts(h[i].value, S("text/event-stream"));
    }
}

static bool on_bytes(void *owner, str bytes)
{
    struct streaming *x = owner;

    if (!x->events) {
        buf_str(&x->whole, bytes);
        return true;
    }
    if (!x->code) x->code = sse_feed(&x->sse, bytes, x->e);
    return x->code == ERR_OK;
}

enum err client_stream(const struct client *c, const struct client_stream *s, struct err_info *e)
{
    struct streaming x = {.s = s, .e = e, .whole = {.cap = MIB(1)}};
    struct fetch f = {.peer = peer_of(c),
                      .method = S("POST"),
                      .target = str_c(s->target),
                      .body = s->body,
                      .cancel = &interrupted,
                      .on_head = on_head,
                      .on_bytes = on_bytes,
                      .owner = &x};
    struct arena a;
    const struct json *v;
    enum err code;

    sse_init(&x.sse, on_event, &x);
    code = fetch_run(&f, NULL, e);
    if (!code) code = x.code;
    if (!code && !x.events) {
        arena_init(&a, MIB(8));
        code = json_parse(&a, buf_view(&x.whole), &v, e);
        if (!code) code = error_of(v, x.status, e);
        arena_fini(&a);
    } else if (!code && !x.done) {
        code = ERR_FAIL(e, CRASHED, "the stream ended before the reply did");
    }
    sse_fini(&x.sse);
    buf_fini(&x.whole);
    return code;
}
