/* test_vet: what code inside the sandbox can do, what becomes of a child that misbehaves, and that
 * the verdict on a file is the one the worker itself would come to.
 *
 * Each attempt runs through vet_run() in place of a model's opening: it returns ERR_OK when it got
 * what it should not get. A denied call returns or ends the child; both are fine, success is not.
 */
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef RBEE_SECCOMP
#include <seccomp.h>
#endif

#include "base/log.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "engine/load.h"
#include "worker/sandbox.h"
#include "worker/vet.h"
#include "worker/worker.h"

#define MODEL RBEE_SOURCE_DIR "/models/rbee-tiny.gguf"

#if defined(__SANITIZE_ADDRESS__)
#define HEAP_IS_LIMITED false
#elif defined(__has_feature)
#define HEAP_IS_LIMITED (!__has_feature(address_sanitizer))
#else
#define HEAP_IS_LIMITED true
#endif

static char dir[64], victim[128], fresh[128], secret[128];
static struct err_info e;

static enum err vet_one(vet_fn *open_model, enum vet_mode mode, uint32_t seconds)
{
    struct vet v = {.path = victim, .mode = mode, .open = open_model, .seconds = seconds};

    memset(&e, 0, sizeof e);
    return vet_run(&v, &e);
}

/* ---- attempts ---- */

static enum err got(bool yes, struct err_info *out)
{
    return yes ? ERR_OK : ERR_FAIL(out, ACCESS, "denied: %s", strerror(errno));
}

static enum err try_socket(void *arg, struct err_info *out)
{
    (void)arg;
    return got(socket(AF_INET, SOCK_STREAM, 0) >= 0, out);
}

static enum err try_unix_socket(void *arg, struct err_info *out)
{
    int fd[2];

    (void)arg;
    return got(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0, out);
}

static enum err try_create(void *arg, struct err_info *out)
{
    (void)arg;
    return got(open(fresh, O_WRONLY | O_CREAT, 0600) >= 0, out);
}

static enum err try_write(void *arg, struct err_info *out)
{
    int fd = open(victim, O_RDWR);

    (void)arg;
    return got(fd >= 0 && write(fd, "XXXX", 4) == 4, out);
}

static enum err try_truncate(void *arg, struct err_info *out)
{
    (void)arg;
    return got(open(victim, O_RDONLY | O_TRUNC) >= 0 || truncate(victim, 0) == 0, out);
}

static enum err try_unlink(void *arg, struct err_info *out)
{
    (void)arg;
    return got(unlink(victim) == 0, out);
}

static enum err try_rename(void *arg, struct err_info *out)
{
    (void)arg;
    return got(rename(victim, fresh) == 0, out);
}

static enum err try_chmod(void *arg, struct err_info *out)
{
    (void)arg;
    return got(chmod(victim, 0777) == 0, out);
}

static enum err try_memfd(void *arg, struct err_info *out)
{
    (void)arg;
    return got(memfd_create("x", 0) >= 0, out);
}

static enum err try_exec(void *arg, struct err_info *out)
{
    char *const argv[] = {(char *)(uintptr_t) "/bin/true", NULL};

    (void)arg;
    execv(argv[0], argv); /* ends with status 0 and no verdict if it works */
    return got(false, out);
}

static enum err try_fork(void *arg, struct err_info *out)
{
    pid_t pid = fork();

    (void)arg;
    if (pid == 0) _exit(0);
    return got(pid > 0, out);
}

static void *nothing(void *arg)
{
    return arg;
}

static enum err try_thread(void *arg, struct err_info *out)
{
    pthread_t t;

    errno = pthread_create(&t, NULL, nothing, arg);
    return got(errno == 0, out);
}

static enum err try_kill(void *arg, struct err_info *out)
{
    (void)arg;
    return got(kill(getppid(), 0) == 0, out);
}

static enum err try_thread_kill(void *arg, struct err_info *out)
{
    (void)arg;
    return got(syscall(SYS_tgkill, getppid(), getppid(), 0) == 0, out);
}

static enum err try_ptrace(void *arg, struct err_info *out)
{
    (void)arg;
    return got(ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) == 0, out);
}

static enum err try_peek(void *arg, struct err_info *out)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {dir, 1};

    (void)arg;
    return got(process_vm_readv(getppid(), &here, 1, &there, 1, 0) == 1, out);
}

static enum err try_code(void *arg, struct err_info *out)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)arg;
    return got(p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0, out);
}

static enum err try_map_code(void *arg, struct err_info *out)
{
    (void)arg;
    return got(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                    0) != MAP_FAILED,
               out);
}

static enum err try_shared_memory(void *arg, struct err_info *out)
{
    (void)arg;
    return got(mmap(NULL, (size_t)8 << 30, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED,
               out);
}

static enum err try_limits(void *arg, struct err_info *out)
{
    struct rlimit r = {RLIM_INFINITY, RLIM_INFINITY};

    (void)arg;
    return got(setrlimit(RLIMIT_FSIZE, &r) == 0, out);
}

static enum err try_output(void *arg, struct err_info *out)
{
    (void)arg;
    return got(write(1, "# written from the sandbox\n", 27) > 0, out);
}

static enum err try_secret(void *arg, struct err_info *out)
{
    (void)arg;
    return got(open(secret, O_RDONLY) >= 0, out);
}

static enum err try_heap(void *arg, struct err_info *out)
{
    (void)arg;
    return got(mmap(NULL, (size_t)5 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                    0) != MAP_FAILED,
               out);
}

static const struct {
    const char *what;
    vet_fn *try;
} attempts[] = {
    {"opens a socket", try_socket},
    {"opens a pair of local sockets", try_unix_socket},
    {"creates a file", try_create},
    {"writes to the model", try_write},
    {"truncates the model", try_truncate},
    {"removes the model", try_unlink},
    {"renames the model", try_rename},
    {"changes the mode of a file", try_chmod},
    {"makes a file in memory", try_memfd},
    {"executes a program", try_exec},
    {"forks", try_fork},
    {"starts a thread", try_thread},
    {"sends its parent a signal", try_kill},
    {"sends its parent's thread a signal", try_thread_kill},
    {"traces its parent", try_ptrace},
    {"reads its parent's memory", try_peek},
    {"makes memory executable", try_code},
    {"maps executable memory", try_map_code},
    {"maps shared memory beyond all limits", try_shared_memory},
    {"lifts its limits", try_limits},
    {"writes to standard output", try_output},
};

static bool unharmed(void)
{
    struct stat st;
    char text[16] = {0};
    FILE *f = fopen(victim, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;

    if (f) fclose(f);
    return n == 5 && !strcmp(text, "model") && stat(victim, &st) == 0 &&
           (st.st_mode & 0777) == 0600 && stat(fresh, &st) < 0;
}

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
}

static void test_attempts(void)
{
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        enum err code = vet_one(attempts[i].try, VET_REQUIRE, 20);

        bool killed = code == ERR_FORMAT && strstr(e.text, "never needs");

        if (!ok((killed || code == ERR_ACCESS) && unharmed(), "code in the sandbox that %s fails",
                attempts[i].what))
            printf("#   %s: %s\n", err_name(code), e.text);
    }
    if (has_landlock())
        is_int(vet_one(try_secret, VET_REQUIRE, 20), ERR_ACCESS, "a file elsewhere is not read");
    else
        skip("this kernel has no Landlock");
    if (HEAP_IS_LIMITED)
        is_int(vet_one(try_heap, VET_REQUIRE, 20), ERR_ACCESS, "5 GiB of memory are not given");
    else
        skip("under AddressSanitizer memory is not limited");
    if (HEAP_IS_LIMITED) {
        struct vet v = {.path = dir, .mode = VET_REQUIRE, .open = try_heap};
        int fd = open(fresh, O_WRONLY | O_CREAT, 0600);

        ok(fd >= 0 && ftruncate(fd, (off_t)2 << 30) == 0 && vet_run(&v, &e) == ERR_OK,
           "but they are for a folder of 2 GiB, whose weights may have to be multiplied out");
        close(fd);
        unlink(fresh);
    }
    vet_one(try_socket, VET_REQUIRE, 20);
    ok(strstr(e.text, victim) || e.code == ERR_ACCESS, "the refusal: %s", e.text);
}

/* What opening a model needs is there. */
static enum err read_much(void *arg, struct err_info *out)
{
    int fd = open(victim, O_RDONLY | O_CLOEXEC);
    struct stat st;
    struct timespec t;
    DIR *d = opendir(dir);
    FILE *f = fopen(victim, "re");
    char text[5], *heap = mem_alloc((size_t)64 << 20);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 5, PROT_READ, MAP_SHARED, fd, 0);
    bool fine = fd >= 0 && d && readdir(d) && f && fread(text, 1, 5, f) == 5 && heap &&
                map != MAP_FAILED && pread(fd, text, 5, 0) == 5 && fstat(fd, &st) == 0 &&
                lseek(fd, 0, SEEK_END) == 5 && clock_gettime(CLOCK_REALTIME, &t) == 0 &&
                !memcmp(map, "model", 5);

    (void)arg;
    if (!fine) return ERR_FAIL(out, IO, "%s", strerror(errno));
    memset(heap, 1, (size_t)64 << 20);
    heap = mem_resize(heap, (size_t)128 << 20);
    mem_free(heap);
    closedir(d);
    fclose(f);
    close(fd);
    munmap(map, 5);
    return ERR_OK;
}

/* ---- children that misbehave ---- */

static volatile bool forever = true;

static enum err crash(void *arg, struct err_info *out)
{
    char *p = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)arg, (void)out;
    p[0] = 1;
    return ERR_OK;
}

static enum err give_up(void *arg, struct err_info *out)
{
    (void)arg, (void)out;
    abort();
}

static enum err overflow(void *arg, struct err_info *out)
{
    volatile char big[4096];

    big[0] = 0;
    if (forever && overflow(arg, out)) big[0] = 1;
    return (enum err)big[0];
}

static enum err spin(void *arg, struct err_info *out)
{
    volatile uint64_t n = 0;

    (void)arg, (void)out;
    while (forever)
        n = n + 1;
    return ERR_OK;
}

static enum err hang(void *arg, struct err_info *out)
{
    int zero = 0;

    (void)arg, (void)out;
    while (forever)
        syscall(SYS_futex, &zero, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return ERR_OK;
}

static enum err vanish(void *arg, struct err_info *out)
{
    (void)arg, (void)out;
    _exit(0);
}

static enum err vanish_loudly(void *arg, struct err_info *out)
{
    (void)arg, (void)out;
    _exit(3);
}

static enum err forge(void *arg, struct err_info *out)
{
    char zeros[4096] = {0};

    (void)arg, (void)out;
    for (int fd = 0; fd < 64; fd++)
        if (fd > 2) (void)!write(fd, zeros, 100);
    _exit(0);
}

static enum err forge_more(void *arg, struct err_info *out)
{
    char zeros[4096] = {0};

    (void)arg;
    for (int fd = 3; fd < 64; fd++)
        (void)!write(fd, zeros, sizeof zeros);
    return ERR_FAIL(out, IO, "after too much");
}

static enum err close_and_stay(void *arg, struct err_info *out)
{
    for (int fd = 0; fd < 64; fd++)
        close(fd);
    return hang(arg, out);
}

static enum err odd_text(void *arg, struct err_info *out)
{
    (void)arg;
    out->code = ERR_FORMAT;
    memset(out->text, '\x1b', sizeof out->text);
    out->text[1] = '\xff';
    return ERR_FORMAT;
}

static enum err odd_code(void *arg, struct err_info *out)
{
    (void)arg, (void)out;
    return (enum err)4711;
}

static const struct {
    const char *what;
    vet_fn *open;
    uint32_t seconds;
    enum err code;
    const char *words;
} misdeeds[] = {
    {"a crash", crash, 20, ERR_FORMAT, "signal 11"},
    {"an abort", give_up, 20, ERR_FORMAT, "signal 6"},
    {"a stack without end", overflow, 20, ERR_FORMAT, "signal 11"},
    {"an endless loop", spin, 1, ERR_FORMAT, "more than 1 s"},
    {"a hang", hang, 1, ERR_FORMAT, "more than 1 s"},
    {"an end without a word", vanish, 20, ERR_FORMAT, "without a verdict (status 0)"},
    {"an exit", vanish_loudly, 20, ERR_FORMAT, "without a verdict (status 3)"},
    {"half a verdict", forge, 20, ERR_FORMAT, "without a verdict"},
    {"too much of a verdict", forge_more, 20, ERR_FORMAT, "without a verdict"},
    {"a closed pipe and a hang", close_and_stay, 1, ERR_FORMAT, "more than 1 s"},
    {"a code out of range", odd_code, 20, ERR_INTERNAL, "without sense"},
};

static int open_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_misdeeds(void)
{
    int fds = open_fds();

    for (size_t i = 0; i < sizeof misdeeds / sizeof *misdeeds; i++) {
        enum err code = vet_one(misdeeds[i].open, VET_AUTO, misdeeds[i].seconds);

        if (!ok(code == misdeeds[i].code && strstr(e.text, misdeeds[i].words) &&
                    strstr(e.text, victim),
                "%s is reported with the file's name", misdeeds[i].what))
            printf("#   %s: %s\n", err_name(code), e.text);
    }
    is_int(vet_one(odd_text, VET_AUTO, 20), ERR_FORMAT, "a text of escape characters");
    ok(!strchr(e.text, '\x1b') && !strchr(e.text, '\xff'), "is made harmless");
    is_int(vet_one(crash, VET_OFF, 20), ERR_OK, "switched off, nothing runs");
    signal(SIGCHLD, SIG_IGN);
    is_int(vet_one(read_much, VET_AUTO, 20), ERR_OK, "started with SIGCHLD ignored, all is well");
    ok(signal(SIGCHLD, SIG_DFL) == SIG_IGN, "and it is ignored again afterwards");
    ok(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "no child is left");
    is_int(open_fds(), fds, "no descriptor is left");
}

/* ---- a system that refuses the filter ---- */

static int warnings;

static void count_warnings(enum log_id id, const char *const *kv, int n, void *owner)
{
    (void)kv, (void)n, (void)owner;
    warnings += id == LOG_SANDBOX_WEAK;
}

#ifdef RBEE_SECCOMP
/* As some containers do it. Returns a byte of bits: what held. */
static int without_seccomp(void)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    int held = 0;

    seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(seccomp), 0);
    seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 1,
                     SCMP_CMP64(0, SCMP_CMP_EQ, 22 /* PR_SET_SECCOMP */, 0));
    if (seccomp_load(f)) return 64;
    log_set_sink(count_warnings, NULL);
    held |= vet_one(read_much, VET_AUTO, 20) == ERR_OK ? 1 : 0;
    held |= warnings == 1 ? 2 : 0;
    held |= vet_one(crash, VET_AUTO, 20) == ERR_FORMAT ? 4 : 0;
    held |= vet_one(try_create, VET_AUTO, 20) != ERR_OK ? 8 : 0; /* Landlock, where it is */
    held |= vet_one(read_much, VET_REQUIRE, 20) == ERR_UNSUPPORTED &&
                    strstr(e.text, "--sandbox require") && strstr(e.text, victim)
                ? 16
                : 0;
    return held;
}
#endif

static void test_refused_filter(void)
{
#ifdef RBEE_SECCOMP
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) _exit(without_seccomp());
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 64) {
        skip("no filter can be set here at all");
        return;
    }
    status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    ok(status >= 0 && status & 1, "without the filter a good model is opened");
    ok(status >= 0 && status & 2, "and a warning says why");
    ok(status >= 0 && status & 4, "a crash is still caught");
    ok(status >= 0 && (status & 8 || !has_landlock() || sandbox_missing()),
       "and Landlock still forbids a new file");
    ok(status >= 0 && status & 16, "--sandbox require refuses, and says so");
#else
    skip("built without libseccomp");
#endif
}

/* ---- models ---- */

static void same_verdict(const char *path)
{
    static const struct worker_conf conf = {.sandbox = "auto"};
    static const struct engine_conf ec = {.backend = &cpu_backend, .n_threads = 1};
    struct err_info direct = {0};
    struct load l;
    enum err want = load_check(&l, path, &ec, &direct), code;

    if (!want) load_close(&l);
    code = worker_vet(path, &conf, &ec, false, &e);
    if (code != want || (want && !strstr(e.text, direct.text))) {
        ok(false, "%s: the same verdict inside and outside", path);
        printf("#   inside %s: %s\n#   outside %s: %s\n", err_name(code), code ? e.text : "",
               err_name(want), want ? direct.text : "");
    }
}

static void test_folder(const char *rel, const char *inner)
{
    const char *root = tap_data(rel);
    DIR *d = root ? opendir(root) : NULL;
    struct dirent *x;
    int n = 0;

    if (!d) {
        skip(rel);
        return;
    }
    while ((x = readdir(d))) {
        char path[2048];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s%s", root, x->d_name, inner);
        if (x->d_name[0] == '.' || stat(path, &st)) continue;
        same_verdict(path);
        n++;
    }
    closedir(d);
    ok(n > 0, "%s: the same verdict inside and outside, %d files", rel, n);
}

/* The cache of the Hub: a folder of links to files that lie in another one. */
static void test_links(const struct worker_conf *conf, const struct engine_conf *ec)
{
    const char *root = tap_data("golden/qwen2/hf");
    DIR *d = root ? opendir(root) : NULL;
    char folder[128], path[512], target[2048];
    struct dirent *x;

    if (!d) {
        skip("golden/qwen2/hf");
        return;
    }
    snprintf(folder, sizeof folder, "%s/snapshot", dir);
    ok(!mkdir(folder, 0700), "a folder of links");
    for (int round = 0; round < 2; round++, rewinddir(d)) {
        while ((x = readdir(d))) {
            snprintf(path, sizeof path, "%s/%.200s", folder, x->d_name);
            snprintf(target, sizeof target, "%s/%s", root, x->d_name);
            if (x->d_name[0] == '.') continue;
            if (round ? unlink(path) : symlink(target, path)) printf("# %s\n", strerror(errno));
        }
        if (round == 0 && !ok(!worker_vet(folder, conf, ec, true, &e), "passes"))
            printf("#   %s\n", e.text);
    }
    closedir(d);
    rmdir(folder);
}

static void test_models(void)
{
    static const struct worker_conf conf = {.sandbox = "auto"};
    static const struct engine_conf ec = {.backend = &cpu_backend, .n_threads = 1};
    char link[128];
    struct timespec a, b;

    clock_gettime(CLOCK_MONOTONIC, &a);
    is_int(worker_vet(MODEL, &conf, &ec, true, &e), ERR_OK, "a model passes");
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("#   in %.1f ms\n",
           (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
    snprintf(link, sizeof link, "%s/link.gguf", dir);
    if (symlink(MODEL, link)) printf("# cannot link\n");
    is_int(worker_vet(link, &conf, &ec, true, &e), ERR_OK, "a link to a model elsewhere passes");
    unlink(link);
    is_int(worker_vet("none.gguf", &conf, &ec, true, &e), ERR_NOTFOUND, "no file");
    is_int(worker_vet(victim, &conf, &ec, true, &e), ERR_FORMAT, "a file of five bytes");
    ok(strstr(e.text, victim), "is refused by name: %s", e.text);
    test_folder("hostile", "");
    test_folder("golden", "/model.gguf");
    test_folder("golden", "/hf");
    test_links(&conf, &ec);
}

int main(void)
{
    FILE *f;

    snprintf(dir, sizeof dir, "/tmp/test_vet.%d", (int)getpid());
    snprintf(victim, sizeof victim, "%s/model.gguf", dir);
    snprintf(fresh, sizeof fresh, "%s/new.gguf", dir);
    snprintf(secret, sizeof secret, "%s.secret", dir);
    if (mkdir(dir, 0700) || !(f = fopen(victim, "w")) || fputs("model", f) < 0 || fclose(f) ||
        chmod(victim, 0600) || !(f = fopen(secret, "w")) || fclose(f)) {
        ok(false, "cannot write to %s", dir);
        return tap_end();
    }
    is_int(vet_one(read_much, VET_AUTO, 20), ERR_OK, "what opening a model needs is allowed");
    if (sandbox_missing())
        skip(sandbox_missing());
    else
        test_attempts();
    test_misdeeds();
    test_refused_filter();
    test_models();
    unlink(victim);
    unlink(fresh);
    unlink(secret);
    rmdir(dir);
    return tap_end();
}
