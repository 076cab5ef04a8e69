/* cmd_fit: `rbee fit`: whether models run on this machine, before anything is started.
 *
 * The judge is model/verdict; what the worker can run is what it prints itself (--capabilities),
 * the memory is what the system has available now, as the worker will ask it, and the speed follows
 * from how fast all cores together read memory, measured for a fifth of a second.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "cli/cli.h"
#include "model/source.h"
#include "model/verdict.h"
#include "store/store.h"

#define CAPS_MAX     MIB(4)
#define READ_BYTES   MIB(256) /* more than caches hold */
#define READ_NS      200000000u
#define READ_THREADS 64

struct fit_opts {
    struct opt_list models;
    int64_t context, slots, memory;
    double bandwidth;
    const char *kv_type;
    bool json;
};

static const struct opt fit_rows[] = {
    {"context", 'c', OPT_INT, offsetof(struct fit_opts, context), "N", NULL, NULL, 1,
     LIMIT_MODEL_CONTEXT, NULL, NULL, "positions of a sequence; default: as a worker takes"},
    {"slots", 's', OPT_INT, offsetof(struct fit_opts, slots), "N", NULL, NULL, 1, LIMIT_SLOTS, NULL,
     NULL, "sequences at once; default 16"},
    {"kv-type", 0, OPT_ENUM, offsetof(struct fit_opts, kv_type), "TYPE", "f16", DTYPE_KV_NAMES, 0,
     0, NULL, NULL, "type of the KV cache"},
    {"memory", 'm', OPT_SIZE, offsetof(struct fit_opts, memory), "BYTES", NULL, NULL, 1, 1e15, NULL,
     NULL, "judge for a machine with so much; default: what is available here"},
    {"bandwidth", 0, OPT_NUM, offsetof(struct fit_opts, bandwidth), "GB/S", NULL, NULL, 0.001, 1e6,
     NULL, NULL, "memory read a second; default: measured here"},
    {"json", 0, OPT_BOOL, offsetof(struct fit_opts, json), NULL, NULL, NULL, 0, 0, NULL, NULL,
     "print as JSON"},
    {0},
};

static const struct opt_pos fit_pos[] = {
    {"MODEL", offsetof(struct fit_opts, models), false, true,
     "names of models here, .gguf files or directories; none: all models here"},
    {0},
};

static const struct opt_spec fit_spec = {
    .opts = fit_rows,
    .pos = fit_pos,
    .command = "rbee fit",
    .summary = "Says whether models run on this machine, how fast, and why not.",
    .details = "\"high\" means that golden models of the family and of the type of the weights\n"
               "passed with this version, \"medium\" that every kernel exists. Tokens a second\n"
               "are those of one sequence, half of its context filled. A model that does not\n"
               "run ends the command with the exit code that running it would.",
    .examples = "rbee fit rbee-tiny\n"
                "rbee fit Qwen3-8B-Q4_K_M.gguf --context 16384 --slots 4",
};

/* ---- what the worker runs ---- */

static void become_worker(const char *exe, int out)
{
    if (dup2(out, 1) >= 0) execl(exe, exe, "--capabilities", (char *)NULL);
    _exit(127);
}

static enum err read_all(int fd, buf *out, const char *exe, struct err_info *e)
{
    char piece[4096];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) != 0) {
        if (n < 0 && errno != EINTR) return err_errno(e, errno, "read from", exe);
        if (n > 0) buf_put(out, piece, (size_t)n);
    }
    return out->failed ? ERR_FAIL(e, LIMIT, "%s prints too much", exe) : ERR_OK;
}

static enum err ask_worker(buf *out, struct err_info *e)
{
    char exe[STORE_PATH_MAX];
    int fd[2], status = 0;
    enum err err = cmd_worker_path(exe, sizeof exe, e);
    if (err) return err;
    if (pipe(fd)) return err_errno(e, errno, "make a pipe for", exe);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) become_worker(exe, fd[1]);
    close(fd[1]);
    err = pid < 0 ? err_errno(e, errno, "start", exe) : read_all(fd[0], out, exe, e);
    close(fd[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!err && (!WIFEXITED(status) || WEXITSTATUS(status)))
        return ERR_FAIL(e, UNAVAILABLE, "%s does not say what it can run", exe);
    return err;
}

/* The views of *c are into `out` and the arena. */
static enum err read_caps(struct caps *c, struct arena *a, buf *out, struct err_info *e)
{
    const struct json *v;
    enum err err = ask_worker(out, e);
    if (err || (err = json_parse(a, buf_view(out), &v, e))) return err;
    return caps_parse(c, a, v, NULL, e);
}

/* ---- how fast memory is ---- */

struct reader {
    const uint64_t *p; /* its own piece */
    size_t n;
    uint64_t until, bytes, sum;
};

static void *read_piece(void *arg)
{
    struct reader *r = arg;
    do {
        uint64_t s[8] = {0};
        for (size_t i = 0; i + 8 <= r->n; i += 8)
            for (int k = 0; k < 8; k++)
                s[k] += r->p[i + (size_t)k];
        for (int k = 0; k < 8; k++)
            r->sum += s[k];
        r->bytes += r->n * sizeof *r->p;
    } while (os_now_ns() < r->until);
    return NULL;
}

/* Bytes a second that all cores read together; 0: could not be measured. */
static double measure_bandwidth(void)
{
    static struct reader readers[READ_THREADS];
    pthread_t threads[READ_THREADS];
    int n = os_cpu_count(), started = 0;
    uint64_t bytes = 0, start, *p = mem_aligned(64, READ_BYTES);
    if (!p) return 0;
    if (n > READ_THREADS) n = READ_THREADS;
    memset(p, 1, READ_BYTES);
    start = os_now_ns();
    for (int i = 0; i < n; i++) {
        size_t piece = READ_BYTES / sizeof *p / (size_t)n;
        readers[i] =
            (struct reader){.p = p + (size_t)i * piece, .n = piece, .until = start + READ_NS};
        if (pthread_create(&threads[i], NULL, read_piece, &readers[i])) break;
        started++;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        bytes += readers[i].bytes;
    }
    double seconds = (double)(os_now_ns() - start) / 1e9;
    mem_free(p);
    return seconds > 0 ? (double)bytes / seconds : 0;
}

/* ---- lines ---- */

struct fit {
    struct fit_opts o;
    struct store st;
    struct caps caps;
    struct verdict_device device;
    struct verdict_ask ask;
    struct arena arena; /* capabilities */
    buf caps_text, out;
    struct jsonw w;
    enum err failed; /* of the first model that does not run */
    struct err_info why;
};

static const char *word(const struct verdict *v)
{
    return !v->compatible ? "no" : v->fits ? "runs" : "too large";
}

static void print_line(struct fit *f, str name, const struct verdict *v)
{
    char mem[24] = "-", speed[24] = "-";
    str why = v->reasons.n ? v->reasons.line[0] : v->evidence;
    str advice = v->recommendations.n                        ? v->recommendations.line[0]
                 : v->warnings.n && v->compatible && v->fits ? v->warnings.line[0]
                                                             : S("");
    if (v->memory_known) cli_bytes(v->memory.total, mem);
    if (v->decode > 0) snprintf(speed, sizeof speed, v->decode < 10 ? "%.1f" : "%.0f", v->decode);
    buf_printf(&f->out, "%-32.*s  %-12s  %-9s  %-6s  %9s  %8s  %.*s%s%.*s\n",
               (int)(name.n > 120 ? 120 : name.n), name.p, "this machine", word(v),
               verdict_confidence_name(v->confidence), mem, speed, STR(why), advice.n ? "; " : "",
               STR(advice));
}

static void print_json(struct fit *f, str name, const char *path, const struct verdict *v)
{
    jsonw_obj(&f->w);
    jsonw_kstr(&f->w, "model", name);
    jsonw_kc(&f->w, "path", path);
    jsonw_kc(&f->w, "machine", "this machine");
    jsonw_kint(&f->w, "available", (int64_t)f->device.memory);
    jsonw_kstr(&f->w, "worker", f->caps.id);
    jsonw_key(&f->w, "verdict");
    verdict_write(v, &f->w);
    jsonw_end(&f->w, '}');
}

static void keep_failure(struct fit *f, const char *path, const struct verdict *v)
{
    if (f->failed || (v->compatible && v->fits)) return;
    str why = v->reasons.n ? v->reasons.line[0] : S("it does not run");
    if (v->compatible)
        f->failed = ERR_FAIL(&f->why, NOMEM, "%s: %.*s", path, STR(why));
    else
        f->failed = ERR_FAIL(&f->why, UNSUPPORTED, "%s: %.*s", path, STR(why));
}

/* A file that cannot even be opened is a line as well. */
static void one_model(struct fit *f, const char *path)
{
    str name = store_name_of(&f->st, str_c(path));
    struct err_info e = {0};
    struct verdict v = {0};
    struct arena a;
    struct gguf g;
    arena_init(&a, LIMIT_GGUF_ARENA);
    if (source_open(&g, path, &e)) {
        v.reasons = (struct verdict_lines){.line = {str_c(e.text)}, .n = 1};
        if (!f->failed) {
            f->failed = store_blame(path, &e);
            f->why = e;
        }
        if (f->o.json)
            print_json(f, name, path, &v);
        else
            print_line(f, name, &v);
    } else {
        verdict_header(&v, &a, &g, &f->caps, &f->device, &f->ask);
        if (f->o.json)
            print_json(f, name, path, &v);
        else
            print_line(f, name, &v);
        keep_failure(f, path, &v);
        gguf_close(&g);
    }
    arena_fini(&a);
}

/* ---- the command ---- */

static enum err named_models(struct fit *f, struct err_info *e)
{
    char path[STORE_PATH_MAX];
    for (int i = 0; i < f->o.models.n; i++) {
        enum err err = store_resolve(&f->st, str_c(f->o.models.v[i]), path, e);
        if (err) return err;
        one_model(f, path);
    }
    return ERR_OK;
}

static enum err all_models(struct fit *f, struct err_info *e)
{
    struct store_model *m;
    struct arena a;
    size_t n;
    arena_init(&a, LIMIT_STORE_ARENA);
    enum err err = store_list(&f->st, &a, &m, &n, e);
    for (size_t i = 0; !err && i < n; i++)
        one_model(f, m[i].path.p);
    arena_fini(&a);
    f->failed = ERR_OK; /* nobody asked for a certain one */
    return err;
}

static enum err judge_all(struct fit *f, struct err_info *e)
{
    enum err err;
    if ((err = store_init(&f->st, e)) || (err = read_caps(&f->caps, &f->arena, &f->caps_text, e)))
        return err;
    f->device = (struct verdict_device){
        .name = S("this machine"),
        .memory = f->o.memory ? (uint64_t)f->o.memory : os_mem_available(),
        .bandwidth = f->o.bandwidth > 0 ? f->o.bandwidth * 1e9 : measure_bandwidth(),
        .threads = (uint32_t)os_cpu_count()};
    f->ask = (struct verdict_ask){(uint32_t)f->o.context, (uint32_t)f->o.slots,
                                  dtype_from_name(str_c(f->o.kv_type)),
                                  dtype_from_name(str_c(f->o.kv_type))};
    jsonw_init(&f->w, &f->out);
    if (f->o.json)
        jsonw_arr(&f->w);
    else
        buf_printf(&f->out, "%-32s  %-12s  %-9s  %-6s  %9s  %8s  %s\n", "MODEL", "MACHINE",
                   "VERDICT", "SURE", "MEMORY", "TOKENS/S", "WHY");
    err = f->o.models.n ? named_models(f, e) : all_models(f, e);
    if (f->o.json) jsonw_end(&f->w, ']');
    if (f->o.json) buf_ch(&f->out, '\n');
    return err;
}

static enum err run_fit(const struct cli_cmd *cmd, int argc, char **argv, struct err_info *e)
{
    static struct fit f;
    bool help;
    enum err err = cli_parse(cmd, argc, argv, &f.o, &help, e);
    if (err || help) return err;
    f.caps_text.cap = CAPS_MAX;
    f.out.cap = LIMIT_HTTP_REPLY;
    arena_init(&f.arena, LIMIT_STORE_ARENA);
    err = judge_all(&f, e);
    if (!err && f.out.n) fwrite(f.out.p, 1, f.out.n, stdout);
    buf_fini(&f.out);
    buf_fini(&f.caps_text);
    arena_fini(&f.arena);
    if (!err && f.failed) {
        *e = f.why;
        err = f.failed;
    }
    return err;
}

const struct cli_cmd cmd_fit = {
    .name = "fit",
    .group = "Look at models",
    .summary = "whether models run on this machine, and how fast",
    .spec = &fit_spec,
    .run = run_fit,
};
