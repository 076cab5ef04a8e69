/* vet: a child, a pipe, a verdict. See vet.h.
 *
 * The verdict is one struct of fixed size, smaller than PIPE_BUF, so that it arrives whole or not
 * at all. It counts only when the child then ends by itself with status 0. Nothing in it is
 * believed: the code is checked against the table and the text goes through err_fail(), which makes
 * it printable.
 */
#include "worker/vet.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/os.h"
#include "worker/sandbox.h"

struct verdict {
    uint32_t magic;
    uint32_t code;           /* enum err */
    uint32_t weak;           /* the sandbox is not complete: `why` */
    char text[ERR_TEXT_MAX]; /* of the error */
    char why[ERR_TEXT_MAX];
};

#define VERDICT_MAGIC 0x76657431u
_Static_assert(sizeof(struct verdict) <= 4096, "a write of at most PIPE_BUF bytes is not split");

/* ---- the child ---- */

static void say_nothing(enum log_id id, const char *const *kv, int n_pairs, void *owner)
{
    (void)id, (void)kv, (void)n_pairs, (void)owner;
}

/* Handlers of this program would touch descriptors that the child no longer has. */
static void default_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The folders that hold the model's bytes: its own, and those that its files are links into (the
 * cache of the Hub is a folder of links). More than there is room for: reading is not restricted to
 * folders. */
struct folders {
    char path[SANDBOX_FOLDERS_MAX][PATH_MAX];
    int n;
    bool more;
};

static void add_folder(struct folders *f, const char *real)
{
    for (int i = 0; i < f->n; i++)
        if (!strcmp(f->path[i], real)) return;
    if (f->n == SANDBOX_FOLDERS_MAX)
        f->more = true;
    else
        snprintf(f->path[f->n++], PATH_MAX, "%s", real);
}

static void add_folder_of(struct folders *f, const char *file)
{
    char real[PATH_MAX], *slash;

    if (!realpath(file, real) || !(slash = strrchr(real, '/'))) return;
    slash[slash == real] = 0;
    add_folder(f, real);
}

static void add_links(struct folders *f, const char *folder)
{
    char path[PATH_MAX];
    struct dirent *x;
    struct stat st;
    DIR *d = opendir(folder);

    while (d && !f->more && (x = readdir(d))) {
        int n = snprintf(path, sizeof path, "%s/%s", folder, x->d_name);

        if (n > 0 && (size_t)n < sizeof path && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
            add_folder_of(f, path);
    }
    if (d) closedir(d);
}

static void find_folders(struct folders *f, const char *path)
{
    char folder[PATH_MAX], real[PATH_MAX], *slash;
    struct stat st;

    snprintf(folder, sizeof folder, "%s", path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        add_links(f, folder);
    } else {
        add_folder_of(f, path);
        if ((slash = strrchr(folder, '/')))
            slash[slash == folder] = 0;
        else
            snprintf(folder, sizeof folder, ".");
        if (strstr(path, "-of-")) add_links(f, folder); /* parts of a split file */
    }
    if (realpath(folder, real)) add_folder(f, real);
}

/* What the child may use up. */
struct allowance {
    uint64_t heap;
    uint32_t seconds;
};

/* A GGUF file is used where it lies. Of a folder some weights may have to be multiplied out (8-bit
 * floats with scales, four times as large as F32), which costs memory and time in proportion. */
static struct allowance allow(const struct vet *v)
{
    struct allowance a = {.heap = LIMIT_VET_HEAP,
                          .seconds = v->seconds ? v->seconds : LIMIT_VET_SECONDS};
    char path[PATH_MAX];
    struct dirent *x;
    struct stat st;
    uint64_t bytes = 0;
    DIR *d = opendir(v->path); /* fails for a file */

    while (d && (x = readdir(d))) {
        int n = snprintf(path, sizeof path, "%s/%s", v->path, x->d_name);

        if (n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
            __builtin_add_overflow(bytes, (uint64_t)st.st_size, &bytes))
            bytes = UINT64_MAX;
    }
    if (d) closedir(d);
    if (bytes > LIMIT_VET_FOLDER) bytes = LIMIT_VET_FOLDER;
    a.heap += 4 * bytes;
    if (!v->seconds) a.seconds += (uint32_t)(bytes >> 26); /* 64 MiB a second */
    return a;
}

_Noreturn static void child(const struct vet *v, struct allowance a, int fd, pid_t parent)
{
    static struct verdict out = {.magic = VERDICT_MAGIC};
    static struct err_info e;
    static struct folders folders;
    struct sandbox s = {.fd = fd, .heap = a.heap, .seconds = a.seconds};
    enum err code;

    default_signals();
    log_set_sink(say_nothing, NULL);
    find_folders(&folders, v->path);
    for (int i = 0; i < folders.n && !folders.more; i++)
        s.folders[i] = folders.path[i];
    if ((code = sandbox_enter(&s, &e))) {
        out.weak = 1;
        snprintf(out.why, sizeof out.why, "%s", e.text);
    }
    if (getppid() != parent) _exit(1); /* it went before the sandbox was tied to it */
    if (!code || v->mode != VET_REQUIRE) code = v->open(v->arg, &e);
    out.code = code;
    if (code) snprintf(out.text, sizeof out.text, "%s", e.text);
    _exit(write(fd, &out, sizeof out) == sizeof out ? 0 : 1);
}

/* ---- the parent ---- */

static int left_ms(uint64_t until)
{
    uint64_t now = os_now_ns();

    return now < until ? (int)((until - now) / 1000000u) + 1 : 0;
}

enum wait { WAIT_DONE, WAIT_LATE };

/* Reads until the child closes its end; *n is what came. */
static enum wait hear(int fd, struct verdict *out, size_t *n, uint64_t until)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char rest;

    *n = 0;
    for (;;) {
        int ready = poll(&p, 1, left_ms(until));
        bool full = *n == sizeof *out;
        ssize_t got;

        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0) return WAIT_LATE;
        got = read(fd, full ? &rest : (char *)out + *n, full ? 1 : sizeof *out - *n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return WAIT_DONE;
        *n += full ? sizeof *out : (size_t)got; /* more than a verdict is none */
    }
}

/* The child closed its end, so it is about to end, if it is honest. */
static enum wait reap(pid_t pid, int *status, uint64_t until)
{
    const struct timespec nap = {.tv_nsec = 200000};

    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);

        if (got == pid) return WAIT_DONE;
        if (got < 0 && errno != EINTR) {
            *status = -1;
            return WAIT_DONE;
        }
        if (left_ms(until) == 0) return WAIT_LATE;
        nanosleep(&nap, NULL);
    }
}

static enum wait listen_to(pid_t pid, int fd, struct verdict *out, size_t *n, int *status,
                           uint64_t until)
{
    enum wait w = hear(fd, out, n, until);

    if (w == WAIT_DONE) w = reap(pid, status, until);
    if (w == WAIT_LATE) {
        kill(pid, SIGKILL);
        while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
        }
    }
    return w;
}

/* What became of a child that did not end by itself with status 0. */
static enum err refuse(const struct vet *v, uint32_t seconds, int status, enum wait w,
                       struct err_info *e)
{
    const char *advice = "it is damaged, made to do harm, or meets a defect of rbee, and is "
                         "refused; fetch it again from a source that you trust";
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

    if (w == WAIT_LATE || sig == SIGXCPU)
        return ERR_FAIL(e, FORMAT, "%.250s: opening it took more than %u s; %s", v->path, seconds,
                        advice);
    if (sig == SIGSYS)
        return ERR_FAIL(e, FORMAT,
                        "%.250s: while it was opened in the sandbox, something tried what opening "
                        "a model never needs; %s",
                        v->path, advice);
    if (sig == SIGKILL)
        return ERR_FAIL(e, NOMEM,
                        "%.250s: the system killed the process that looked at it, most likely "
                        "because memory ran out",
                        v->path);
    if (sig)
        return ERR_FAIL(e, FORMAT,
                        "%.250s: opening it crashed the process that looks at models first "
                        "(signal %d, %s); %s",
                        v->path, sig, strsignal(sig), advice);
    return ERR_FAIL(e, FORMAT,
                    "%.250s: the process that looks at models first ended without a "
                    "verdict (status %d); %s",
                    v->path, WIFEXITED(status) ? WEXITSTATUS(status) : status, advice);
}

static enum err believe(const struct vet *v, struct verdict *in, struct err_info *e)
{
    in->text[sizeof in->text - 1] = in->why[sizeof in->why - 1] = 0;
    if (in->weak && v->mode == VET_REQUIRE)
        return ERR_FAIL(e, UNSUPPORTED,
                        "%.250s: the option --sandbox require refuses to open it, because there is "
                        "no sandbox here: %.160s",
                        v->path, in->why);
    if (in->weak) log_ev(LOG_SANDBOX_WEAK, "why", in->why);
    if (in->code == ERR_OK) return ERR_OK;
    if (in->code >= ERR_COUNT) return ERR_FAIL(e, INTERNAL, "%s: a verdict without sense", v->path);
    return err_fail(e, (enum err)in->code, __FILE__, __LINE__, "%s", in->text);
}

/* The verdict of a child, or what became of it. */
static enum err ask_child(const struct vet *v, struct err_info *e)
{
    const struct allowance a = allow(v);
    static struct verdict in;
    int fds[2], status = 0;
    pid_t pid, self = getpid();
    size_t n;
    enum wait w;

    if (pipe(fds)) return err_errno(e, errno, "make a pipe to look at", v->path);
    pid = fork();
    if (pid == 0) {
        close(fds[0]);
        child(v, a, fds[1], self);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return err_errno(e, errno, "start a process to look at", v->path);
    }
    w = listen_to(pid, fds[0], &in, &n, &status, os_now_ns() + a.seconds * (uint64_t)1000000000u);
    close(fds[0]);
    if (w == WAIT_LATE || n != sizeof in || in.magic != VERDICT_MAGIC || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 0)
        return refuse(v, a.seconds, status, w, e);
    return believe(v, &in, e);
}

enum err vet_run(const struct vet *v, struct err_info *e)
{
    const struct sigaction plain = {.sa_handler = SIG_DFL};
    struct sigaction before;
    enum err code;

    if (v->mode == VET_OFF) return ERR_OK;
    /* Who started this program may have had SIGCHLD ignored: no status would come then. */
    sigaction(SIGCHLD, &plain, &before);
    code = ask_child(v, e);
    sigaction(SIGCHLD, &before, NULL);
    return code;
}

enum vet_mode vet_mode(const char *name)
{
    return !strcmp(name, "off") ? VET_OFF : !strcmp(name, "require") ? VET_REQUIRE : VET_AUTO;
}
