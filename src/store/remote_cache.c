/* remote_cache: first bytes of files of the Hub, kept in files of our own.
 *
 * One file an entry, named by the hash of its key: a line of form, sizes and the body's hash, a
 * line with the key, the body. It is written beside its place and renamed, so that readers see all
 * of it or nothing; what is not exactly so is removed. Nothing is locked: two writers of one entry
 * write the same bytes. Reading an entry makes it the latest used one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/remote_int.h"

#define SUFFIX     ".head"
#define HEX        64 /* digits of a SHA-256 */
#define STALE_SECS 3600

static bool sha256(str text, char hex[HEX + 1])
{
    uint8_t sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (EVP_Digest(text.p, text.n, sum, &n, EVP_sha256(), NULL) != 1 || n != HEX / 2) return false;
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return true;
}

/* The line that an entry says of itself; names on the Hub hold no line feeds. */
static void put_key(buf *b, const struct remote_key *k)
{
    buf_printf(b, "%.*s %.*s %.*s %.*s\n", STR(k->endpoint), STR(k->id), STR(k->commit),
               STR(k->path));
}

static bool path_of(const char *dir, const struct remote_key *k, char out[STORE_PATH_MAX])
{
    buf b = {.cap = KIB(8)};
    char hex[HEX + 1];
    int n = 0;

    put_key(&b, k);
    if (dir[0] && !b.failed && sha256(buf_view(&b), hex))
        n = snprintf(out, STORE_PATH_MAX, "%s/%s" SUFFIX, dir, hex);
    buf_fini(&b);
    return n > 0 && n < STORE_PATH_MAX;
}

/* ---- reading ---- */

static bool read_whole(int fd, size_t most, buf *out)
{
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
        (uint64_t)st.st_size > most + KIB(8) || !buf_reserve(out, (size_t)st.st_size))
        return false;
    while (out->n < (size_t)st.st_size) {
        char piece[KIB(64)];

        n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        buf_put(out, piece, (size_t)n);
    }
    return !out->failed && out->n == (size_t)st.st_size;
}

/* The head that an entry with that body has. */
static bool put_head(buf *b, const struct remote_key *k, str body)
{
    char hex[HEX + 1];

    if (!sha256(body, hex)) return false;
    buf_printf(b, "rbee-head 1 %s %llu %zu\n", hex, (unsigned long long)k->bytes, body.n);
    put_key(b, k);
    return !b->failed;
}

/* Is that the entry of k? What it should say is written anew and compared. */
static bool is_entry(str text, const struct remote_key *k, str *body)
{
    size_t line = str_find(text, S("\n"), 0), key = str_find(text, S("\n"), line + 1);
    buf head = {.cap = KIB(8)};
    bool good = line != SIZE_MAX && key != SIZE_MAX;

    if (good) {
        *body = str_sub(text, key + 1, text.n);
        good = put_head(&head, k, *body) && str_starts(text, buf_view(&head)) && head.n == key + 1;
    }
    buf_fini(&head);
    return good;
}

bool remote_cache_get(const char *dir, const struct remote_key *k, buf *out)
{
    char path[STORE_PATH_MAX];
    buf text = {.cap = LIMIT_REMOTE_ENTRY + KIB(16)};
    bool good;
    str body;
    int fd;

    if (!path_of(dir, k, path) || (fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0)
        return false;
    good = read_whole(fd, LIMIT_REMOTE_ENTRY, &text) && is_entry(buf_view(&text), k, &body);
    if (good) {
        (void)futimens(fd, NULL);
        buf_str(out, body);
        good = !out->failed;
    } else {
        (void)unlink(path);
    }
    close(fd);
    buf_fini(&text);
    return good;
}

/* ---- room ---- */

struct entry {
    char name[HEX + sizeof SUFFIX];
    int64_t used; /* seconds */
    uint64_t bytes;
};

/* Leaves of a writer that was killed. */
static bool is_stale(const char *name, const struct stat *st)
{
    return strncmp(name, ".tmp-", 5) == 0 && os_unix_time() - st->st_mtime > STALE_SECS;
}

static size_t list(int dir_fd, DIR *d, struct entry *all, size_t most)
{
    struct dirent *x;
    struct stat st;
    size_t n = 0;

    while (n < most && (x = readdir(d))) {
        str name = str_c(x->d_name);

        if (fstatat(dir_fd, x->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode)) continue;
        if (is_stale(x->d_name, &st)) (void)unlinkat(dir_fd, x->d_name, 0);
        if (name.n != HEX + sizeof SUFFIX - 1 || !str_ends(name, S(SUFFIX))) continue;
        memcpy(all[n].name, name.p, name.n + 1);
        all[n].used = st.st_mtime;
        all[n++].bytes = (uint64_t)st.st_size;
    }
    return n;
}

/* Removes the longest unused entries until the rest is within both caps. */
static void make_room(const char *dir)
{
    size_t n = 0, most = 2 * LIMIT_REMOTE_ENTRIES;
    struct entry *all = mem_array(most, sizeof *all);
    DIR *d = all ? opendir(dir) : NULL;
    uint64_t bytes = 0;

    if (d) n = list(dirfd(d), d, all, most);
    for (size_t i = 0; i < n; i++)
        bytes += all[i].bytes;
    while (n && (bytes > LIMIT_REMOTE_CACHE || n > LIMIT_REMOTE_ENTRIES)) {
        size_t old = 0;

        for (size_t i = 1; i < n; i++)
            if (all[i].used < all[old].used) old = i;
        (void)unlinkat(dirfd(d), all[old].name, 0);
        bytes -= all[old].bytes;
        all[old] = all[--n];
    }
    if (d) closedir(d);
    mem_free(all);
}

/* ---- writing ---- */

static bool write_whole(int fd, str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        s = str_sub(s, (size_t)n, s.n);
    }
    return true;
}

void remote_cache_put(const char *dir, const struct remote_key *k, str body)
{
    char path[STORE_PATH_MAX], tmp[STORE_PATH_MAX + 32];
    buf head = {.cap = KIB(8)};
    struct err_info ignored;
    uint64_t dice = 0;
    bool good;
    int fd;

    if (body.n == 0 || body.n > LIMIT_REMOTE_ENTRY || !path_of(dir, k, path) ||
        os_mkdirs(dir, &ignored) || os_random(&dice, sizeof dice, &ignored))
        return;
    snprintf(tmp, sizeof tmp, "%s/.tmp-%016llx", dir, (unsigned long long)dice);
    if ((fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0) return;
    good = put_head(&head, k, body) && write_whole(fd, buf_view(&head)) && write_whole(fd, body);
    good = close(fd) == 0 && good;
    if (!good || rename(tmp, path))
        (void)unlink(tmp);
    else
        make_room(dir);
    buf_fini(&head);
}
