/* remote: the cache of first bytes: what is kept comes back, what is damaged does not, and it stays
 * within its caps. What comes over the network is in tests/wire. */
#include "store/remote.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "store/remote_int.h"
#include "tap.h"

#define COMMIT "c0ffee0000000000000000000000000000000000"

static char dir[512];

static struct remote_key key(const char *path, uint64_t bytes)
{
    return (struct remote_key){S("https://hub"), S("org/repo"), S(COMMIT), str_c(path), bytes};
}

static bool holds(const struct remote_key *k, str want)
{
    buf b = {.cap = MIB(64)};
    bool good = remote_cache_get(dir, k, &b) && str_eq(buf_view(&b), want);

    buf_fini(&b);
    return good;
}

/* Entries, and the path of the last one. */
static size_t entries(char *path, size_t size)
{
    DIR *d = opendir(dir);
    struct dirent *x;
    size_t n = 0;

    while (d && (x = readdir(d))) {
        if (x->d_name[0] == '.') continue;
        n++;
        if (path) snprintf(path, size, "%s/%s", dir, x->d_name);
    }
    if (d) closedir(d);
    return n;
}

static void clear(void)
{
    char path[1024];

    while (entries(path, sizeof path))
        unlink(path);
}

static const char *name_of(const char *file)
{
    static char path[1024];

    snprintf(path, sizeof path, "%s/%s", dir, file);
    return path;
}

/* A file of that age: 0 is now. */
static void stale(const char *file, time_t when)
{
    struct timespec t[2] = {{.tv_sec = when}, {.tv_sec = when}};
    int fd = open(name_of(file), O_WRONLY | O_CREAT, 0600);

    if (when) futimens(fd, t);
    close(fd);
}

static bool exists(const char *file)
{
    return access(name_of(file), F_OK) == 0;
}

static void test_kept(void)
{
    struct remote_key a = key("a.gguf", 100), b = key("b.gguf", 100), longer = key("a.gguf", 101);
    struct remote_key other = a;

    other.commit = S("0000000000000000000000000000000000000000");
    ok(!holds(&a, S("")), "nothing is there at first");
    remote_cache_put(dir, &a, S("header of a"));
    ok(holds(&a, S("header of a")), "what was put comes back");
    ok(!holds(&b, S("header of a")) && !holds(&other, S("header of a")), "for its path and commit");
    ok(!holds(&longer, S("header of a")), "and for a file of its size");
    remote_cache_put(dir, &a, S("header of a"));
    remote_cache_put(dir, &a, S("another"));
    ok(holds(&a, S("another")) && entries(NULL, 0) == 1, "the last one put, and nothing beside it");
    stale(".tmp-0123456789abcdef", 1000);
    stale(".tmp-fedcba9876543210", 0);
    remote_cache_put(dir, &a, S("another"));
    ok(!exists(".tmp-0123456789abcdef") && exists(".tmp-fedcba9876543210"),
       "what a killed writer left goes, not what one is writing");
    unlink(name_of(".tmp-fedcba9876543210"));
    remote_cache_put(dir, &b, S(""));
    remote_cache_put("", &b, S("b"));
    ok(!holds(&b, S("")) && !remote_cache_get("", &b, NULL), "no bytes and no folder: no entry");
    clear();
}

/* Every byte changed, and every length cut off. */
static void test_damaged(void)
{
    struct remote_key k = key("a.gguf", 100);
    char path[1024], text[512];
    bool all = true, gone = true;
    ssize_t n;
    int fd;

    remote_cache_put(dir, &k, S("header"));
    (void)entries(path, sizeof path);
    fd = open(path, O_RDONLY);
    n = read(fd, text, sizeof text);
    close(fd);
    ok(n > 100 && n < 400, "an entry of %zd bytes", n);
    for (ssize_t i = 0; i < 2 * n; i++) {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        text[i % n] = (char)(text[i % n] ^ 1);
        all = all && write(fd, text, (size_t)(i < n ? n : i - n)) >= 0;
        text[i % n] = (char)(text[i % n] ^ 1);
        close(fd);
        all = all && !holds(&k, S("header"));
        gone = gone && access(path, F_OK) != 0;
    }
    ok(all, "no damaged one is taken");
    ok(gone, "and each is removed");
    remote_cache_put(dir, &k, S("header"));
    ok(holds(&k, S("header")), "then it is kept anew");
    clear();
    ok(symlink("/etc/passwd", path) == 0 && !holds(&k, S("header")), "a link is not followed");
    unlink(path);
    mkdir(path, 0700);
    remote_cache_put(dir, &k, S("header"));
    ok(!holds(&k, S("header")), "what cannot be written is not kept, and no error");
    rmdir(path);
    clear();
}

static void test_caps(void)
{
    size_t n = MIB(60), most = LIMIT_REMOTE_CACHE / n;
    char *big = mem_need(n), name[32];
    struct remote_key k;

    memset(big, 'x', n);
    for (size_t i = 0; i < most + 2; i++) {
        struct timespec t[2] = {{.tv_sec = (time_t)(1000 + i)}, {.tv_sec = (time_t)(1000 + i)}};
        char path[1024], newest[1024] = "";
        DIR *d;
        struct dirent *x;

        snprintf(name, sizeof name, "f%zu", i);
        k = key(name, n);
        remote_cache_put(dir, &k, (str){big, n});
        d = opendir(dir);
        while ((x = readdir(d))) { /* the one without a time of ours */
            struct stat st;

            snprintf(path, sizeof path, "%s/%s", dir, x->d_name);
            if (x->d_name[0] != '.' && !stat(path, &st) && st.st_mtime > 100000)
                memcpy(newest, path, sizeof newest);
        }
        closedir(d);
        utimensat(AT_FDCWD, newest, t, 0);
    }
    ok(entries(NULL, 0) <= most && entries(NULL, 0) > 1, "the cache is capped: %zu entries",
       entries(NULL, 0));
    k = key("f0", n);
    ok(!remote_cache_get(dir, &k, &(buf){.cap = MIB(64)}), "the longest unused one went");
    k = key(name, n);
    ok(holds(&k, (str){big, n}), "the last one is there");
    k = key("huge", 1);
    remote_cache_put(dir, &k, (str){big, n * 2});
    ok(!holds(&k, (str){big, n * 2}), "one that is too large is not kept");
    mem_free(big);
    clear();
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/test_remote-XXXXXX");
    if (!mkdtemp(dir)) {
        skip("no temporary directory");
        return tap_end();
    }
    test_kept();
    test_damaged();
    test_caps();
    clear();
    rmdir(dir);
    return tap_end();
}
