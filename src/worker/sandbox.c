/* sandbox: limits, closed descriptors, dropped capabilities, Landlock and seccomp. See sandbox.h.
 *
 * Beside base/os.c the only file that may name Linux.
 */
#include "worker/sandbox.h"

#include <stdbool.h>

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#elif __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif

#if defined(__linux__) && defined(RBEE_SECCOMP)

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef ADDRESS_SANITIZER
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* ---- limits ---- */

/* Bytes of private writable memory that the process has now: what RLIMIT_DATA counts. */
static uint64_t data_bytes(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long kib = 0;

    if (!f) return 0;
    while (fgets(line, sizeof line, f) && sscanf(line, "VmData: %llu", &kib) != 1) {
    }
    fclose(f);
    return (uint64_t)kib << 10;
}

static bool limit(int what, uint64_t soft, uint64_t hard)
{
    struct rlimit now, r = {soft, hard};

    if (getrlimit((__rlimit_resource_t)what, &now)) return false;
    if (r.rlim_max > now.rlim_max) r.rlim_max = now.rlim_max;
    if (r.rlim_cur > r.rlim_max) r.rlim_cur = r.rlim_max;
    return setrlimit((__rlimit_resource_t)what, &r) == 0;
}

/* The mapping of a model is shared and read-only: RLIMIT_DATA does not count it, so that the limit
 * holds for what is allocated, whatever size the model has. */
static bool limit_all(const struct sandbox *s)
{
    uint64_t data = data_bytes() + s->heap;

    return limit(RLIMIT_NPROC, 0, 0) && limit(RLIMIT_CORE, 0, 0) && limit(RLIMIT_MSGQUEUE, 0, 0) &&
           limit(RLIMIT_CPU, s->seconds, s->seconds + 1) &&
           (SANITIZED || (limit(RLIMIT_FSIZE, 0, 0) && limit(RLIMIT_DATA, data, data)));
}

static void close_range_or_each(unsigned from, unsigned to)
{
    if (from > to || syscall(SYS_close_range, from, to, 0) == 0) return;
    for (unsigned fd = from; fd <= to && fd < (1u << 16); fd++)
        close((int)fd);
}

static void close_others(int keep)
{
    close_range_or_each(0, SANITIZED ? 1 : 2);
    if (keep > 3) close_range_or_each(3, (unsigned)keep - 1);
    close_range_or_each((unsigned)keep + 1, ~0u);
}

/* Root keeps the right to read what it could read, so that the verdict is about the file. */
static void drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct cap[2] = {{0}};
    uint32_t read = CAP_TO_MASK(CAP_DAC_READ_SEARCH);

    if (syscall(SYS_capget, &head, cap)) return;
    read &= cap[0].permitted;
    memset(cap, 0, sizeof cap);
    cap[0].effective = cap[0].permitted = read;
    (void)syscall(SYS_capset, &head, cap);
}

/* ---- Landlock ---- */

static void allow_folder(int rules, const char *path)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
        .parent_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC),
    };

    if (rule.parent_fd < 0) return; /* opening the model will say why */
    (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

/* A second wall, where the kernel (5.13) has it: what took over the process could otherwise read
 * any file of the user's and put it into the sentence that it may write. */
static void restrict_reading(const struct sandbox *s)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs =
                                             (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
    int rules;

    if (!s->folders[0]) return;
    rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0) return;
    for (int i = 0; i < SANDBOX_FOLDERS_MAX && s->folders[i]; i++)
        allow_folder(rules, s->folders[i]);
    (void)syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}

/* ---- the filter ---- */

/* Reading, memory, time, and what libc calls in between. */
static const int allowed[] = {
    SCMP_SYS(access),
    SCMP_SYS(brk),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(close),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fstat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(futex),
    SCMP_SYS(getcwd),
    SCMP_SYS(getdents64),
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(getrandom),
    SCMP_SYS(gettid),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(lseek),
    SCMP_SYS(lstat),
    SCMP_SYS(madvise),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    SCMP_SYS(newfstatat),
    SCMP_SYS(pread64),
    SCMP_SYS(read),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(readv),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(stat),
    SCMP_SYS(statx),
    SCMP_SYS(sysinfo),
    SCMP_SYS(time),
    SCMP_SYS(uname),
};

/* Nothing that opens a model comes near these: whoever calls them is somebody else. */
static const int fatal[] = {
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(bind),
    SCMP_SYS(bpf),
    SCMP_SYS(chmod),
    SCMP_SYS(clone),
    SCMP_SYS(clone3),
    SCMP_SYS(connect),
    SCMP_SYS(creat),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(kill),
    SCMP_SYS(link),
    SCMP_SYS(linkat),
    SCMP_SYS(listen),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(mount),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(ptrace),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(rmdir),
    SCMP_SYS(rt_sigqueueinfo),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(setns),
    SCMP_SYS(socket),
    SCMP_SYS(socketpair),
    SCMP_SYS(symlink),
    SCMP_SYS(symlinkat),
    SCMP_SYS(tkill),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(unshare),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(vfork),
};

struct filter {
    scmp_filter_ctx ctx;
    int rc; /* of the first rule that failed */
};

/* `call` may pass when its arguments match; several rules for one call are alternatives. */
static void pass(struct filter *f, int call, unsigned n, const struct scmp_arg_cmp *args)
{
    int rc = seccomp_rule_add_array(f->ctx, SCMP_ACT_ALLOW, call, n, args);

    if (rc < 0 && !f->rc) f->rc = rc;
}

/* These bits of an argument must be 0. */
#define WITHOUT(arg, bits) SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(bits), 0)
#define EQUALS(arg, value) SCMP_CMP64(arg, SCMP_CMP_EQ, (scmp_datum_t)(value), 0)

static void add_rules(struct filter *f, int fd)
{
    const unsigned writes = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND;
    const struct scmp_arg_cmp open_args[] = {WITHOUT(1, writes)};
    const struct scmp_arg_cmp openat_args[] = {WITHOUT(2, writes)};
    const struct scmp_arg_cmp map_file[] = {WITHOUT(2, PROT_EXEC), WITHOUT(3, MAP_ANONYMOUS)};
    const struct scmp_arg_cmp map_heap[] = {WITHOUT(2, PROT_EXEC), WITHOUT(3, MAP_SHARED)};
    const struct scmp_arg_cmp protect[] = {WITHOUT(2, PROT_EXEC)};
    const struct scmp_arg_cmp to_parent[] = {EQUALS(0, fd)};
    const struct scmp_arg_cmp to_stderr[] = {EQUALS(0, 2)};
    const struct scmp_arg_cmp abort_self[] = {EQUALS(0, getpid()), EQUALS(2, SIGABRT)};

    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        pass(f, allowed[i], 0, NULL);
    pass(f, SCMP_SYS(open), 1, open_args);
    pass(f, SCMP_SYS(openat), 1, openat_args);
    pass(f, SCMP_SYS(mmap), 2, map_file);
    pass(f, SCMP_SYS(mmap), 2, map_heap);
    pass(f, SCMP_SYS(mprotect), 1, protect);
    pass(f, SCMP_SYS(write), 1, to_parent);
    pass(f, SCMP_SYS(tgkill), 2, abort_self);
    for (int cmd = F_GETFD; cmd <= F_GETFL; cmd++) {
        const struct scmp_arg_cmp args[] = {EQUALS(1, cmd)};

        pass(f, SCMP_SYS(fcntl), 1, args);
    }
    if (SANITIZED) {
        pass(f, SCMP_SYS(write), 1, to_stderr);
        pass(f, SCMP_SYS(rt_sigaction), 0, NULL);
        pass(f, SCMP_SYS(sigaltstack), 0, NULL);
        return;
    }
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        int rc = seccomp_rule_add(f->ctx, SCMP_ACT_KILL_PROCESS, fatal[i], 0);

        if (rc < 0 && !f->rc) f->rc = rc;
    }
}

static enum err install_filter(int fd, struct err_info *e)
{
    struct filter f = {.ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM))};

    if (!f.ctx) return ERR_FAIL(e, UNSUPPORTED, "libseccomp has no filter for this system");
    add_rules(&f, fd);
    if (!f.rc) f.rc = seccomp_load(f.ctx);
    seccomp_release(f.ctx);
    if (f.rc)
        return ERR_FAIL(e, UNSUPPORTED, "the system refused a filter of system calls: %s",
                        strerror(-f.rc));
    return ERR_OK;
}

/* ---- the whole ---- */

const char *sandbox_missing(void)
{
#ifdef THREAD_SANITIZER
    return "this build checks threads (ThreadSanitizer), which a filter of system calls would stop";
#else
    return NULL;
#endif
}

enum err sandbox_enter(const struct sandbox *s, struct err_info *e)
{
    bool limited = limit_all(s), tied = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;

    close_others(s->fd);
    drop_capabilities();
    if (!limited || !tied || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return ERR_FAIL(e, UNSUPPORTED, "the system refused a limit on this process");
#ifdef THREAD_SANITIZER
    (void)install_filter, (void)restrict_reading;
    return ERR_FAIL(e, UNSUPPORTED, "%s", sandbox_missing());
#else
    restrict_reading(s);
    return install_filter(s->fd, e);
#endif
}

#else

const char *sandbox_missing(void)
{
#ifdef __linux__
    return "this program was built without libseccomp";
#else
    return "this system has no sandbox that rbee knows";
#endif
}

enum err sandbox_enter(const struct sandbox *s, struct err_info *e)
{
    (void)s;
    return ERR_FAIL(e, UNSUPPORTED, "%s", sandbox_missing());
}

#endif
