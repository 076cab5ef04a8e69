/* cmd_serve: `rbee serve`: a queen in the foreground, with what a person wants to know about it.
 *
 * The queen is a child process; this one loads the models named, asks a first question if told to,
 * prints the address and a line to try, and waits. Ctrl-C ends both. With --ask and no terminal it
 * ends after the answer, so that a script can use it as a smoke test.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/os.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "model/dtype.h"
#include "store/store.h"

struct serve_opts {
    struct ask_opts ask;
    struct opt_list models;
    const char *question, *ctx, *slots, *threads, *kv_type;
};

static struct opt rows[ASK_ROWS_MAX];

static const struct opt own[] = {
    {"ask", 0, OPT_STR, offsetof(struct serve_opts, question), "PROMPT", NULL, NULL, 0, 0, NULL,
     NULL, "ask the first model this and show the answer"},
    {"ctx", 'c', OPT_STR, offsetof(struct serve_opts, ctx), "N", NULL, NULL, 0, 0, NULL, NULL,
     "positions of one sequence"},
    {"slots", 0, OPT_STR, offsetof(struct serve_opts, slots), "N", NULL, NULL, 0, 0, NULL, NULL,
     "sequences decoded together by one worker"},
    {"threads", 't', OPT_STR, offsetof(struct serve_opts, threads), "N", NULL, NULL, 0, 0, NULL,
     NULL, "kernel threads of one worker"},
    {"kv-type", 0, OPT_ENUM, offsetof(struct serve_opts, kv_type), "TYPE", NULL, DTYPE_KV_NAMES, 0,
     0, NULL, NULL, "element type of the KV cache"},
    {0},
};

static const struct opt_pos pos[] = {
    {"MODEL", offsetof(struct serve_opts, models), false, true, "models to load at once"},
    {0},
};

static const struct opt_spec spec = {
    .opts = rows,
    .pos = pos,
    .command = "rbee serve",
    .summary = "Serves models to OpenAI clients until Ctrl-C.",
    .details =
        "Models load when they are first asked for; those named here load at once. Off loopback a "
        "token is needed: --host 0.0.0.0 --token SECRET.",
    .examples = "rbee serve\nrbee serve rbee-tiny --ask \"Tell me a story about a fox.\"",
};

#define QUEEN_ARGS_MAX 24

static pid_t start_queen(const struct serve_opts *o, int *out_fd, struct err_info *e)
{
    char exe[STORE_PATH_MAX], dir[STORE_PATH_MAX - 16], port[16];
    const char *args[QUEEN_ARGS_MAX];
    int n = 0, fds[2];
    pid_t pid;
    const struct {
        const char *flag, *value;
    } pass[] = {{"--host", o->ask.client.host},
                {"--port", port},
                {"--token", o->ask.client.token},
                {"--ctx", o->ctx},
                {"--slots", o->slots},
                {"--threads", o->threads},
                {"--kv-type", o->kv_type},
                {"--keep-alive", o->ask.keep_alive}};

    if (!os_exe_dir(dir, sizeof dir)) {
        (void)ERR_FAIL(e, INTERNAL, "cannot find this program's folder");
        return -1;
    }
    snprintf(exe, sizeof exe, "%s/rbee", dir);
    snprintf(port, sizeof port, "%lld", (long long)o->ask.client.port);
    args[n++] = exe;
    args[n++] = "queen";
    args[n++] = "--with-parent";
    args[n++] = "--log-level";
    args[n++] = "warn";
    for (size_t i = 0; i < sizeof pass / sizeof pass[0]; i++) {
        if (!pass[i].value) continue;
        args[n++] = pass[i].flag;
        args[n++] = pass[i].value;
    }
    args[n] = NULL;
    if (pipe(fds) < 0) {
        (void)err_errno(e, errno, "start", exe);
        return -1;
    }
    if ((pid = fork()) == 0) {
        setpgid(0, 0); /* Ctrl-C reaches it through us, in order */
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execv(exe, (char *const *)(uintptr_t)args);
        _exit(127);
    }
    close(fds[1]);
    if (pid < 0) {
        (void)err_errno(e, errno, "start", exe);
        close(fds[0]);
        return -1;
    }
    *out_fd = fds[0];
    return pid;
}

/* The queen's ready line, or what its exit means. Its own message went to standard error already.
 */
static enum err wait_ready(pid_t pid, int fd, int64_t *port, struct err_info *e)
{
    char line[256];
    size_t n = 0;
    ssize_t got;
    struct arena a;
    const struct json *v;
    int status;

    while (n < sizeof line - 1 && (got = read(fd, line + n, sizeof line - 1 - n)) > 0) {
        n += (size_t)got;
        if (memchr(line, '\n', n)) break;
    }
    arena_init(&a, KIB(64));
    if (n && json_parse(&a, str_trim((str){line, n}), &v, NULL) == ERR_OK && json_get(v, "port")) {
        *port = json_int(json_get(v, "port"), *port);
        arena_fini(&a);
        return ERR_OK;
    }
    arena_fini(&a);
    kill(pid, SIGTERM); /* it is ending already, unless a Ctrl-C came first */
    waitpid(pid, &status, 0);
    e->text[0] = 0;
    for (int code = ERR_OK + 1; code < ERR_COUNT && WIFEXITED(status); code++) {
        if (err_exit((enum err)code) == WEXITSTATUS(status)) return (enum err)code;
    }
    return ERR_UNAVAILABLE;
}

static enum err wait_healthy(const struct client *c, const atomic_bool *interrupted,
                             struct err_info *e)
{
    for (int i = 0; i < 500; i++) {
        if (client_alive(c)) return ERR_OK;
        if (atomic_load(interrupted)) return ERR_FAIL(e, CANCELLED, "interrupted");
        usleep(20000);
    }
    return ERR_FAIL(e, TIMEOUT, "the hive did not become healthy in 10 s");
}

static enum err load(const struct serve_opts *o, const char *model, struct err_info *e)
{
    struct arena a;
    const struct json *v, *info;
    struct jsonw w;
    char mem[24];
    buf b = {.cap = KIB(16)};
    enum err code;

    arena_init(&a, MIB(4));
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kc(&w, "model", model);
    jsonw_end(&w, '}');
    code = client_json(&o->ask.client, &a, "POST", "/v1/workers", buf_view(&b), &v, e);
    if (!code) {
        info = json_get(v, "info");
        printf("loaded   %.*s: %.*s, %s, %.*s, in %.2f s\n",
               STR(json_str(json_get(v, "model"), S("?"))),
               STR(json_str(json_get(info, "quantization"), S("?"))),
               cli_bytes((uint64_t)json_int(json_get(info, "weight_bytes"), 0), mem),
               STR(json_str(json_get(info, "backend"), S("?"))),
               json_num(json_get(info, "load_ms"), 0) / 1e3);
        fflush(stdout);
    }
    buf_fini(&b);
    arena_fini(&a);
    return code;
}

static void print_address(const struct serve_opts *o, const char *model)
{
    const char *host =
        strcmp(o->ask.client.host, "0.0.0.0") == 0 ? "127.0.0.1" : o->ask.client.host;
    long long port = (long long)o->ask.client.port;

    printf(
        "\nrbee answers at http://%s:%lld (OpenAI base URL: http://%s:%lld/v1)\nTry:\n"
        "  curl http://%s:%lld/v1/chat/completions %s-H 'Content-Type: application/json' \\\n"
        "    -d '{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]}'\n",
        host, port, host, port, host, port,
        o->ask.client.token ? "-H \"Authorization: Bearer $RBEE_TOKEN\" " : "", model);
    fflush(stdout);
}

static enum err use(struct serve_opts *o, const atomic_bool *interrupted, struct err_info *e)
{
    const char *first = o->models.n ? o->models.v[0] : "rbee-tiny";
    struct ask_turn turn = {"user", str_c(o->question)};
    char path[STORE_PATH_MAX];
    enum err code;

    if ((code = wait_healthy(&o->ask.client, interrupted, e))) return code;
    for (int i = 0; i < o->models.n; i++) {
        if ((code = ask_resolve(&o->ask.client, o->models.v[i], path, sizeof path, e))) return code;
        if ((code = load(o, path, e))) return code;
    }
    if (o->question) {
        printf("\n>>> %s\n", o->question);
        if ((code = ask_model(&o->ask, first, &turn, 1, NULL, e))) return code;
    }
    print_address(o, first);
    return ERR_OK;
}

/* Ends the queen: at once, or when it is interrupted (then a Ctrl-C between two looks is not lost).
 */
static int end_queen(pid_t pid, const atomic_bool *interrupted, bool at_once)
{
    bool told = false;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (!told && (at_once || atomic_load(interrupted))) {
            kill(pid, SIGTERM);
            told = true;
        }
        usleep(told ? 5000 : 50000);
    }
    return status;
}

static void prepare(void)
{
    ask_rows(rows, offsetof(struct serve_opts, ask), own);
}

static enum err run(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    struct serve_opts o = {0};
    atomic_bool *interrupted;
    enum err code;
    bool help, stay;
    pid_t pid;
    int fd, status;

    if ((code = cli_parse(cmd, argc, argv, &o, &help, e)) || help) return code;
    interrupted = client_catch_interrupt();
    if ((pid = start_queen(&o, &fd, e)) < 0) return e->code;
    if ((code = wait_ready(pid, fd, &o.ask.client.port, e))) {
        close(fd);
        return code;
    }
    code = use(&o, interrupted, e);
    stay = !code && !(o.question && !isatty(1));
    if (stay) printf("\nCtrl-C ends.\n");
    fflush(stdout);
    status = end_queen(pid, interrupted, !stay);
    close(fd);
    if (stay && !atomic_load(interrupted))
        return ERR_FAIL(e, CRASHED, "the queen ended unexpectedly (status %d)", status);
    return code == ERR_CANCELLED && atomic_load(interrupted) ? ERR_OK : code;
}

const struct cli_cmd cmd_serve = {
    .name = "serve",
    .group = "Use models",
    .summary = "serve models to OpenAI clients until Ctrl-C",
    .spec = &spec,
    .prepare = prepare,
    .run = run,
};
