/* os: the parts that differ between Linux and macOS. See os.h. */
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <dirent.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/random.h>
#endif
#ifdef __APPLE__
#include <mach-o/dyld.h>
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

void os_prepare(void)
{
    struct rlimit files;
    int fd;

    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2) {
    }
    if (fd > 2) close(fd);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

uint64_t os_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t os_unix_time(void)
{
    return (int64_t)time(NULL);
}

#ifdef __linux__

/* cgroup v2: "max 100000" or "200000 100000" (quota and period in microseconds). */
static int cgroup_cpus(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long quota = 0, period = 0;
    int n = 0;

    if (!f) return 0;
    if (fscanf(f, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0)
        n = (int)((quota + period - 1) / period);
    fclose(f);
    return n;
}

int os_cpu_count(void)
{
    cpu_set_t set;
    int n = 1, limit;

    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    limit = cgroup_cpus();
    if (limit > 0 && limit < n) n = limit;
    return n > 0 ? n : 1;
}

/* The process's own cores, read before the first pinning narrows the calling thread's. */
static cpu_set_t usable;
static pthread_once_t usable_once = PTHREAD_ONCE_INIT;

static void read_usable(void)
{
    if (sched_getaffinity(getpid(), sizeof usable, &usable) != 0) CPU_ZERO(&usable);
}

bool os_pin_thread(int cpu_index)
{
    cpu_set_t one;

    pthread_once(&usable_once, read_usable);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &usable) || cpu_index-- > 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        return pthread_setaffinity_np(pthread_self(), sizeof one, &one) == 0;
    }
    return false;
}

int os_threads(int *ids, int most)
{
    DIR *d = opendir("/proc/self/task");
    const struct dirent *x;
    int n = 0, self = gettid();

    if (!d) return 0;
    if (most > 0) ids[n++] = self;
    while (n < most && (x = readdir(d))) {
        long id = strtol(x->d_name, NULL, 10);

        if (id > 0 && id != self) ids[n++] = (int)id;
    }
    closedir(d);
    return n;
}

/* The clock of a thread by its number, as the kernel composes it (clock_gettime(2), NOTES). */
uint64_t os_thread_ns(int id)
{
    struct timespec t;
    clockid_t clock = (clockid_t)(~(unsigned)id << 3 | 6);

    if (clock_gettime(clock, &t)) return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t proc_kib(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[256];
    uint64_t v = 0;
    size_t n = strlen(key);

    if (!f) return 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) == 0) {
            v = strtoull(line + n, NULL, 10) * 1024;
            break;
        }
    }
    fclose(f);
    return v;
}

static uint64_t cgroup_bytes(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned long long v = 0;

    if (!f) return 0;
    if (fscanf(f, "%llu", &v) != 1) v = 0;
    fclose(f);
    return v;
}

uint64_t os_mem_total(void)
{
    uint64_t total = proc_kib("/proc/meminfo", "MemTotal:");
    uint64_t limit = cgroup_bytes("/sys/fs/cgroup/memory.max");

    return limit && limit < total ? limit : total;
}

uint64_t os_mem_available(void)
{
    uint64_t free_bytes = proc_kib("/proc/meminfo", "MemAvailable:");
    uint64_t limit = cgroup_bytes("/sys/fs/cgroup/memory.max");
    uint64_t used = cgroup_bytes("/sys/fs/cgroup/memory.current");

    if (limit && limit - (used < limit ? used : limit) < free_bytes)
        return limit - (used < limit ? used : limit);
    return free_bytes;
}

uint64_t os_rss(void)
{
    return proc_kib("/proc/self/status", "VmRSS:");
}

void os_zero(void *p, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)p, to = from + n;
    uintptr_t inner = (from + page - 1) & ~(page - 1), end = to & ~(page - 1);

    if (n < ((size_t)1 << 20) || madvise((void *)inner, end - inner, MADV_DONTNEED) != 0) {
        memset(p, 0, n);
        return;
    }
    memset(p, 0, inner - from);
    memset((void *)end, 0, to - end);
}

uint64_t os_rss_peak(void)
{
    return proc_kib("/proc/self/status", "VmHWM:");
}

void os_die_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

enum err os_random(void *p, size_t n, struct err_info *e)
{
    char *at = p;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);

        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return err_errno(e, errno, "read", "random bytes");
        at += got;
        n -= (size_t)got;
    }
    return ERR_OK;
}

static bool exe_path(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);

    if (n <= 0 || (size_t)n >= size - 1) return false;
    out[n] = 0;
    return true;
}

static void read_cpu_name(char *out, size_t size)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256], *v;

    snprintf(out, size, "unknown");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "model name", 10) != 0 || !(v = strchr(line, ':'))) continue;
        v += strspn(v + 1, " ") + 1;
        v[strcspn(v, "\n")] = 0;
        snprintf(out, size, "%s", v);
        break;
    }
    fclose(f);
}

#else /* macOS and other POSIX systems */

int os_cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (int)n : 1;
}

int os_threads(int *ids, int most)
{
    (void)ids;
    (void)most;
    return 0;
}

uint64_t os_thread_ns(int id)
{
    (void)id;
    return 0;
}

bool os_pin_thread(int cpu_index)
{
    (void)cpu_index; /* macOS has no thread affinity; its scheduler keeps busy threads in place */
    return false;
}

uint64_t os_mem_total(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t os_mem_available(void)
{
#ifdef __APPLE__
    vm_statistics64_data_t vm;
    mach_msg_type_number_t n = HOST_VM_INFO64_COUNT;

    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &n) == KERN_SUCCESS)
        return ((uint64_t)vm.free_count + vm.inactive_count) * (uint64_t)sysconf(_SC_PAGESIZE);
#endif
    return os_mem_total() / 2;
}

uint64_t os_rss_peak(void)
{
    struct rusage u;

    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss : 0;
}

uint64_t os_rss(void)
{
    return os_rss_peak();
}

void os_zero(void *p, size_t n)
{
    memset(p, 0, n);
}

void os_die_with_parent(void)
{
}

enum err os_random(void *p, size_t n, struct err_info *e)
{
    (void)e;
    arc4random_buf(p, n);
    return ERR_OK;
}

static bool exe_path(char *out, size_t size)
{
#ifdef __APPLE__
    uint32_t n = (uint32_t)size;

    return _NSGetExecutablePath(out, &n) == 0;
#else
    (void)out, (void)size;
    return false;
#endif
}

static void read_cpu_name(char *out, size_t size)
{
    snprintf(out, size, "unknown");
#ifdef __APPLE__
    sysctlbyname("machdep.cpu.brand_string", out, &size, NULL, 0);
#endif
}

#endif

bool os_exe_dir(char *out, size_t size)
{
    char *slash;

    if (!exe_path(out, size)) return false;
    slash = strrchr(out, '/');
    if (!slash) return false;
    *slash = 0;
    return true;
}

static char cpu_name[128];

static void make_cpu_name(void)
{
    read_cpu_name(cpu_name, sizeof cpu_name);
}

const char *os_cpu_name(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_cpu_name);
    return cpu_name;
}

enum err os_mkdirs(const char *path, struct err_info *e)
{
    char tmp[4096];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof tmp) return ERR_FAIL(e, INVALID, "path too long: %.64s...", path);
    memcpy(tmp, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (tmp[i] != '/' && tmp[i] != 0) continue;
        tmp[i] = 0;
        if (mkdir(tmp, 0700) < 0 && errno != EEXIST) return err_errno(e, errno, "create", tmp);
        if (i < n) tmp[i] = '/';
    }
    return ERR_OK;
}
