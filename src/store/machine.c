/* machine: see machine.h. */
#include "store/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/os.h"

#define PATIENCE_MS  60000 /* for a worker's answer */
#define LOOK_MS      100   /* between looks at whether it is still wanted */
#define QUIET_ENOUGH 0.6   /* of its time that a measurement had its cores */
#define RETRY_AFTER  3600  /* seconds until a disturbed one is taken again */
#define DEVICES_MAX  64

/* ---- asking a worker ---- */

static uint32_t threads_of(const struct machine_ask *ask)
{
    return ask->threads ? ask->threads : (uint32_t)os_cpu_count();
}

static enum err spawn(const struct machine_ask *ask, const char *flag, int out, pid_t *pid,
                      struct err_info *e)
{
    posix_spawn_file_actions_t acts;
    posix_spawnattr_t attr;
    sigset_t none;
    char threads[32];
    char *args[4] = {(char *)(uintptr_t)ask->worker, (char *)(uintptr_t)flag, threads, NULL};
    int rc;

    snprintf(threads, sizeof threads, "--threads=%u", threads_of(ask));
    if ((rc = posix_spawn_file_actions_init(&acts))) return err_errno(e, rc, "start", ask->worker);
    if ((rc = posix_spawnattr_init(&attr))) {
        posix_spawn_file_actions_destroy(&acts);
        return err_errno(e, rc, "start", ask->worker);
    }
    sigemptyset(&none); /* threads of a pool may hold signals back */
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_addopen(&acts, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&acts, out, 1);
    rc = posix_spawn(pid, ask->worker, &acts, &attr, args, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&acts);
    return rc ? err_errno(e, rc, "start", ask->worker) : ERR_OK;
}

static enum err read_all(int fd, buf *out, const struct machine_ask *ask, struct err_info *e)
{
    uint64_t until = os_now_ns() + (uint64_t)PATIENCE_MS * 1000000u;
    const char *exe = ask->worker;
    char piece[4096];

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int rc = poll(&p, 1, LOOK_MS);
        ssize_t n;

        if (ask->stop && atomic_load(ask->stop))
            return ERR_FAIL(e, CANCELLED, "stopped while %s was asked", exe);
        if (rc == 0 && os_now_ns() < until) continue;
        if (rc == 0) return ERR_FAIL(e, TIMEOUT, "%s does not answer", exe);
        n = rc < 0 ? -1 : read(fd, piece, sizeof piece);
        if (n == 0) break;
        if (n < 0 && errno != EINTR) return err_errno(e, errno, "read from", exe);
        if (n > 0) buf_put(out, piece, (size_t)n);
    }
    return out->failed ? ERR_FAIL(e, LIMIT, "%s prints too much", exe) : ERR_OK;
}

/* What the worker prints for a flag, appended to `out`. */
static enum err ask_worker(const struct machine_ask *ask, const char *flag, buf *out,
                           struct err_info *e)
{
    int fd[2], status = 0;
    pid_t pid = 0;
    enum err code;

    if (pipe2(fd, O_CLOEXEC)) return err_errno(e, errno, "make a pipe for", ask->worker);
    code = spawn(ask, flag, fd[1], &pid, e);
    close(fd[1]);
    if (!code) {
        code = read_all(fd[0], out, ask, e);
        if (code) kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    close(fd[0]);
    if (!code && (!WIFEXITED(status) || WEXITSTATUS(status)))
        code = ERR_FAIL(e, UNAVAILABLE, "%s does not answer %s", ask->worker, flag);
    return code;
}

/* ---- what is kept ---- */

struct kept {
    struct arena a;
    char *text; /* of the file, which the rest is views of */
    str caps, rates;
    double quiet;
    int64_t measured_at;
};

static void key_of(const struct machine_ask *ask, char *out, size_t size)
{
    struct stat st = {0};

    (void)stat(ask->worker, &st);
    snprintf(out, size, "%s|%lld|%lld.%09ld|%llu|%s|%u|" RBEE_VERSION, ask->worker,
             (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
             (unsigned long long)st.st_ino, os_cpu_name(), threads_of(ask));
}

/* Its bytes as they stand in the text; objects only. */
static str again(struct arena *a, const struct json *v)
{
    struct jsonw w;
    buf b = {.cap = MIB(4)};
    str s = {0};

    if (v && v->type == JSON_OBJ) {
        jsonw_init(&w, &b);
        jsonw_value(&w, v);
        if (!b.failed) s = arena_str(a, buf_view(&b));
    }
    buf_fini(&b);
    return s;
}

/* What the file holds under this key; nothing where it holds something else, or rubbish. */
static void keep_read(struct kept *k, const char *file, const char *key)
{
    const struct json *v;
    struct err_info e;
    size_t n;

    mem_free(k->text);
    k->text = NULL;
    if (map_read_file(file, MIB(4), &k->text, &n, &e)) return;
    if (json_parse(&k->a, (str){k->text, n}, &v, &e)) return;
    if (!str_eqc(json_str(json_get(v, "key"), S("")), key)) return;
    k->caps = again(&k->a, json_get(v, "capabilities"));
    k->rates = again(&k->a, json_get(v, "rates"));
    k->measured_at = json_int(json_get(v, "measured_at"), 0);
    k->quiet = json_num(json_get(json_get(v, "rates"), "quiet"), 0);
}

/* A file that cannot be written costs time the next time, nothing else. */
static void keep_write(const struct kept *k, const char *file, const char *key)
{
    char temp[STORE_PATH_MAX + 48];
    struct jsonw w;
    buf b = {.cap = MIB(8)};
    FILE *f;

    snprintf(temp, sizeof temp, "%s.%d", file, (int)getpid());
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kc(&w, "key", key);
    jsonw_kint(&w, "measured_at", k->measured_at);
    jsonw_key(&w, "capabilities");
    jsonw_raw(&w, k->caps);
    jsonw_key(&w, "rates");
    jsonw_raw(&w, k->rates.n ? k->rates : S("null"));
    jsonw_end(&w, '}');
    if (!b.failed && (f = fopen(temp, "we"))) {
        bool good = fwrite(b.p, 1, b.n, f) == b.n;

        good = fclose(f) == 0 && good;
        if (!good || rename(temp, file)) unlink(temp);
    }
    buf_fini(&b);
}

static bool rates_wanted(const struct kept *k, const struct machine_ask *ask)
{
    if (ask->measure == MACHINE_KNOWN) return false;
    if (ask->measure == MACHINE_AGAIN || !k->rates.n) return true;
    return k->quiet < QUIET_ENOUGH && os_unix_time() - k->measured_at > RETRY_AFTER;
}

/* The answer to a flag as compact JSON in the arena; empty when it is no object. */
static enum err ask_json(struct kept *k, const struct machine_ask *ask, const char *flag, str *out,
                         struct err_info *e)
{
    buf text = {.cap = MIB(4)};
    const struct json *v;
    enum err code = ask_worker(ask, flag, &text, e);

    if (!code) code = json_parse(&k->a, buf_view(&text), &v, e);
    if (!code) *out = again(&k->a, v);
    if (!code && !out->n)
        code = ERR_FAIL(e, UNAVAILABLE, "%s answers %s with no object", ask->worker, flag);
    buf_fini(&text);
    return code;
}

/* The lock's descriptor; -1 where none can be had, which may cost a second measurement. */
static int lock_of(const char *file, const struct machine_ask *ask)
{
    char name[STORE_PATH_MAX + 8];
    int fd;

    snprintf(name, sizeof name, "%s.lock", file);
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
        if ((errno == EWOULDBLOCK || errno == EINTR) && !(ask->stop && atomic_load(ask->stop))) {
            poll(NULL, 0, LOOK_MS);
            continue;
        }
        close(fd);
        fd = -1;
    }
    return fd;
}

static double quiet_of(struct kept *k, str rates)
{
    const struct json *v;
    struct err_info e;

    return json_parse(&k->a, rates, &v, &e) ? 0 : json_num(json_get(v, "quiet"), 0);
}

/* Without rates speeds are not known, and everything else is. Of two that were disturbed the one
 * that was less so stays. */
static void measure(struct kept *k, const struct machine_ask *ask, const char *file,
                    const char *key)
{
    struct err_info e;
    str rates;
    int fd = lock_of(file, ask);

    if (fd >= 0) keep_read(k, file, key); /* another process may just have done it */
    if (ask->stop && atomic_load(ask->stop)) {
        if (fd >= 0) close(fd);
        return;
    }
    if (rates_wanted(k, ask) && ask_json(k, ask, "--measure", &rates, &e) == ERR_OK) {
        double quiet = quiet_of(k, rates);

        if (ask->measure == MACHINE_AGAIN || !k->rates.n || quiet >= k->quiet) k->rates = rates;
        k->measured_at = os_unix_time();
        keep_write(k, file, key);
    }
    if (fd >= 0) close(fd);
}

static enum err learn(struct kept *k, const struct machine_ask *ask, struct err_info *e)
{
    char file[STORE_PATH_MAX], key[STORE_PATH_MAX + 512];
    enum err code;
    int n = snprintf(file, sizeof file, "%s/machine-%016llx.json", ask->state,
                     (unsigned long long)str_hash(str_c(ask->worker)));

    if (n <= 0 || (size_t)n >= sizeof file)
        return ERR_FAIL(e, LIMIT, "the path %.200s is too long", ask->state);
    key_of(ask, key, sizeof key);
    keep_read(k, file, key);
    if (!k->caps.n) {
        if ((code = ask_json(k, ask, "--capabilities", &k->caps, e))) return code;
        if (os_mkdirs(ask->state, e) == ERR_OK) keep_write(k, file, key);
    }
    if (rates_wanted(k, ask)) measure(k, ask, file, key);
    return ERR_OK;
}

/* ---- the object ---- */

static void lower(char *s)
{
    for (; *s; s++)
        if (*s >= 'A' && *s <= 'Z') *s = (char)(*s + 32);
}

static void write_device(struct jsonw *w, const struct kept *k, const struct json *caps,
                         const struct json *backend, const struct machine_ask *ask)
{
    const struct json *name = json_get(backend, "name");

    jsonw_obj(w);
    jsonw_kstr(w, "id", json_str(json_get(caps, "type"), S("")));
    jsonw_kstr(w, "name", json_str(json_get(caps, "device_name"), S("")));
    jsonw_kstr(w, "backend", json_str(name, S("")));
    jsonw_kstr(w, "worker", json_str(json_get(caps, "id"), S("")));
    jsonw_kint(w, "memory_total", (int64_t)os_mem_total());
    jsonw_kint(w, "memory_available", (int64_t)os_mem_available());
    jsonw_kint(w, "threads", threads_of(ask));
    jsonw_key(w, "rates");
    jsonw_raw(w, k->rates.n ? k->rates : S("null"));
    jsonw_end(w, '}');
}

/* The worker's first back end is the one that it runs models with. */
static enum err write_all(struct kept *k, const struct machine_ask *ask, buf *out,
                          struct err_info *e)
{
    const struct json *caps, *backends;
    struct utsname u = {0};
    char host[256] = "";
    struct jsonw w;
    enum err code = json_parse(&k->a, k->caps, &caps, e);

    if (code) return code;
    backends = json_get(caps, "backends");
    if (!backends || backends->type != JSON_ARR || !backends->n)
        return ERR_FAIL(e, UNAVAILABLE, "%s names no back end", ask->worker);
    (void)uname(&u);
    lower(u.sysname);
    gethostname(host, sizeof host - 1);
    jsonw_init(&w, out);
    jsonw_obj(&w);
    jsonw_kc(&w, "name", host);
    jsonw_kc(&w, "version", RBEE_VERSION);
    jsonw_kc(&w, "os", u.sysname);
    jsonw_kc(&w, "arch", u.machine);
    jsonw_kc(&w, "cpu", os_cpu_name());
    jsonw_key(&w, "devices");
    jsonw_arr(&w);
    write_device(&w, k, caps, &backends->items[0], ask);
    jsonw_end(&w, ']');
    jsonw_key(&w, "workers");
    jsonw_arr(&w);
    jsonw_raw(&w, k->caps);
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
    return out->failed ? ERR_FAIL(e, NOMEM, "no memory to describe this machine") : ERR_OK;
}

enum err machine_look(buf *out, const struct machine_ask *ask, struct err_info *e)
{
    struct kept k = {0};
    enum err code;

    arena_init(&k.a, MIB(64));
    code = learn(&k, ask, e);
    if (!code) code = write_all(&k, ask, out, e);
    mem_free(k.text);
    arena_fini(&k.a);
    return code;
}

/* ---- and back ---- */

static uint64_t bytes(const struct json *v)
{
    int64_t n = json_int(v, 0);

    return n > 0 ? (uint64_t)n : 0;
}

static const struct json *worker_of(const struct json *workers, str id)
{
    for (size_t i = 0; i < workers->n; i++)
        if (str_eq(json_str(json_get(&workers->items[i], "id"), S("")), id))
            return &workers->items[i];
    return NULL;
}

static enum err read_device(struct machine_device *d, const struct machine *m, struct arena *a,
                            const struct json *v, const struct json *workers, struct err_info *e)
{
    const struct json *worker, *rates = json_get(v, "rates");
    int64_t threads = json_int(json_get(v, "threads"), 0);
    char backend[64];
    enum err code;

    d->id = json_str(json_get(v, "id"), S(""));
    d->backend = json_str(json_get(v, "backend"), S(""));
    d->worker = json_str(json_get(v, "worker"), S(""));
    d->memory_total = bytes(json_get(v, "memory_total"));
    if (!(worker = worker_of(workers, d->worker)))
        return ERR_FAIL(e, FORMAT, "%.*s: no worker '%.*s' is described",
                        STR(str_sub(m->name, 0, 80)), STR(str_sub(d->worker, 0, 80)));
    snprintf(backend, sizeof backend, "%.*s", STR(str_sub(d->backend, 0, sizeof backend - 1)));
    if ((code = caps_parse(&d->caps, a, worker, backend, e))) return code;
    d->device = (struct verdict_device){
        .name = m->name,
        .memory = bytes(json_get(v, "memory_available")),
        .threads = threads > 0 && threads <= LIMIT_THREADS ? (uint32_t)threads : 0};
    d->measured = rates && rates->type == JSON_OBJ;
    if (d->measured && (code = speed_rates_parse(&d->rates, rates, e))) return code;
    d->device.bandwidth = d->rates.bandwidth;
    if (d->measured) d->device.rates = &d->rates;
    return ERR_OK;
}

static enum err list_of(const struct json *v, const char *key, const struct json **out,
                        struct err_info *e)
{
    *out = json_get(v, key);
    if (*out && (*out)->type == JSON_ARR && (*out)->n <= DEVICES_MAX) return ERR_OK;
    return ERR_FAIL(e, FORMAT, "the description of a machine: '%s' is no list of at most %d", key,
                    DEVICES_MAX);
}

enum err machine_parse(struct machine *m, struct arena *a, const struct json *v, struct err_info *e)
{
    const struct json *devices, *workers;
    enum err code;

    *m = (struct machine){.name = json_str(json_get(v, "name"), S("")),
                          .os = json_str(json_get(v, "os"), S("")),
                          .arch = json_str(json_get(v, "arch"), S("")),
                          .cpu = json_str(json_get(v, "cpu"), S(""))};
    if ((code = list_of(v, "devices", &devices, e)) || (code = list_of(v, "workers", &workers, e)))
        return code;
    m->devices = ARENA_NEW(a, struct machine_device, devices->n + 1);
    if (!m->devices) return ERR_FAIL(e, NOMEM, "no memory for %zu devices", devices->n);
    for (; m->n < devices->n; m->n++)
        if ((code = read_device(&m->devices[m->n], m, a, &devices->items[m->n], workers, e)))
            return code;
    return ERR_OK;
}
