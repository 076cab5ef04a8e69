/* download_part: the partial file: its lock, its journal, its hash and its end.
 *
 * The journal is written after the bytes it calls present were flushed, and replaced by renaming,
 * so that it is true after a crash of the program or the machine. The hash runs behind the front of
 * the file while later ranges still come.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "store/download_int.h"

/* ---- hash ---- */

struct download_hash {
    EVP_MD_CTX *ctx;
    uint8_t bytes[1 << 18];
};

static void hash_free(struct download_hash *h)
{
    if (!h) return;
    EVP_MD_CTX_free(h->ctx);
    mem_free(h);
}

/* git hashes a header with the size before the bytes. */
static enum err hash_new(struct download_hash **out, const struct download_job *job,
                         struct err_info *e)
{
    bool git = job->digest.n == 40;
    struct download_hash *h = mem_alloc(sizeof *h);
    char head[40];
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)job->bytes) + 1;
    bool good = h && (h->ctx = EVP_MD_CTX_new()) &&
                EVP_DigestInit_ex(h->ctx, git ? EVP_sha1() : EVP_sha256(), NULL) == 1 &&
                (!git || EVP_DigestUpdate(h->ctx, head, (size_t)n) == 1);

    *out = h;
    if (good) return ERR_OK;
    hash_free(h);
    *out = NULL;
    return ERR_FAIL(e, NOMEM, "no memory for the hash of %s", job->path);
}

static enum err hash_some(struct download_hash *h, int fd, uint64_t *at, uint64_t upto,
                          const char *path, struct err_info *e)
{
    while (*at < upto) {
        size_t want = upto - *at < sizeof h->bytes ? (size_t)(upto - *at) : sizeof h->bytes;
        ssize_t n = pread(fd, h->bytes, want, (off_t)*at);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_errno(e, errno, "read", path);
        if (n == 0) return ERR_FAIL(e, IO, "%s became shorter while it was read", path);
        if (EVP_DigestUpdate(h->ctx, h->bytes, (size_t)n) != 1)
            return ERR_FAIL(e, INTERNAL, "the hash of %s cannot be computed", path);
        *at += (uint64_t)n;
    }
    return ERR_OK;
}

static bool hash_is(struct download_hash *h, str digest)
{
    uint8_t sum[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    unsigned n = 0;

    if (EVP_DigestFinal_ex(h->ctx, sum, &n) != 1) return false;
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return str_ieq(str_c(hex), digest);
}

enum err download_part_check(const struct download_conf *c, const struct download_job *job,
                             bool *same, struct err_info *e)
{
    struct download_progress p = {.total = job->bytes, .checking = true};
    struct download_hash *h = NULL;
    struct stat st;
    enum err code = ERR_OK;
    int fd = open(job->path, O_RDONLY | O_CLOEXEC);

    *same = false;
    if (fd < 0) return errno == ENOENT ? ERR_OK : err_errno(e, errno, "open", job->path);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == job->bytes)
        code = hash_new(&h, job, e);
    while (h && !code && p.done < job->bytes) {
        uint64_t upto = job->bytes - p.done < MIB(16) ? job->bytes : p.done + MIB(16);

        if (download_stopped(c)) {
            code = ERR_FAIL(e, CANCELLED, "interrupted while %s was checked", job->path);
            break;
        }
        code = hash_some(h, fd, &p.done, upto, job->path, e);
        download_show(c, &p);
    }
    if (h && !code) *same = hash_is(h, job->digest);
    hash_free(h);
    close(fd);
    return code;
}

/* ---- names, lock ---- */

static bool names(struct download_part *p, const char *path)
{
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path) + 1 : 0;
    int n = snprintf(p->part, STORE_PATH_MAX, "%.*s.%s.part", dir, path, path + dir);

    if (n <= 0 || n >= STORE_PATH_MAX) return false;
    snprintf(p->journal, sizeof p->journal, "%s.todo", p->part);
    return true;
}

/* The file that the name means may be another when the lock is there: the one before got its final
 * name meanwhile. */
static enum err lock(struct download_part *p, struct err_info *e)
{
    struct stat mine, named;

    for (int i = 0; i < 100; i++) {
        p->fd = open(p->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (p->fd < 0) return err_errno(e, errno, "write", p->part);
        if (flock(p->fd, LOCK_EX | LOCK_NB) < 0) {
            if (errno != EWOULDBLOCK) return err_errno(e, errno, "lock", p->part);
            return ERR_FAIL(e, EXISTS, "another process downloads %s at this moment", p->job->path);
        }
        if (fstat(p->fd, &mine) == 0 && lstat(p->part, &named) == 0 &&
            mine.st_ino == named.st_ino && mine.st_dev == named.st_dev)
            return ERR_OK;
        close(p->fd);
        p->fd = -1;
    }
    return ERR_FAIL(e, EXISTS, "other processes keep replacing %s", p->part);
}

/* ---- room ---- */

static enum err no_room(const struct download_part *p, int errnum, struct err_info *e)
{
    if (errnum == EFBIG)
        return ERR_FAIL(e, NOSPACE,
                        "%s is larger than files may be here (%llu bytes): raise the limit "
                        "(`ulimit -f`) or use another disk (RBEE_MODELS)",
                        p->job->path, (unsigned long long)p->job->bytes);
    if (errnum == ENOSPC || errnum == EDQUOT)
        return ERR_FAIL(e, NOSPACE,
                        "the disk is full while %s is written; make room and run this again: it "
                        "goes on from here",
                        p->job->path);
    return err_errno(e, errnum, "write", p->part);
}

static enum err check_room(const struct download_part *p, struct err_info *e)
{
    struct statvfs v;
    struct stat st;
    uint64_t have, need;

    if (fstatvfs(p->fd, &v) < 0 || fstat(p->fd, &st) < 0)
        return err_errno(e, errno, "look at", p->part);
    have = (uint64_t)v.f_bavail * v.f_frsize;
    need = p->job->bytes;
    need -= (uint64_t)st.st_blocks * 512 < need ? (uint64_t)st.st_blocks * 512 : need;
    if (need <= have) return ERR_OK;
    return ERR_FAIL(e, NOSPACE,
                    "%s needs %llu more bytes on its disk and %llu are free: %llu short; make room "
                    "or name a folder on another disk with RBEE_MODELS",
                    p->job->path, (unsigned long long)need, (unsigned long long)have,
                    (unsigned long long)(need - have));
}

/* ---- life ---- */

static bool read_journal(struct download_part *p)
{
    char text[DOWNLOAD_RANGES * 64];
    struct stat st;
    size_t n;
    FILE *f = fopen(p->journal, "re");

    if (!f) return false;
    n = fread(text, 1, sizeof text, f);
    fclose(f);
    return fstat(p->fd, &st) == 0 && (uint64_t)st.st_size == p->job->bytes &&
           download_todo_parse(&p->todo, (str){text, n}, p->job->bytes, p->job->digest);
}

enum err download_part_open(struct download_part *p, const struct download_job *job,
                            struct err_info *e)
{
    enum err code;

    *p = (struct download_part){.job = job, .fd = -1};
    if (!names(p, job->path)) return ERR_FAIL(e, INVALID, "the path %.200s is too long", job->path);
    if ((code = lock(p, e)) || (code = hash_new(&p->hash, job, e))) return code;
    if (!read_journal(p)) {
        p->fresh = true;
        p->todo.n = 0;
        (void)download_todo_add(&p->todo, 0, job->bytes);
        unlink(p->journal);
        if (ftruncate(p->fd, 0) < 0) return no_room(p, errno, e);
    }
    if ((code = check_room(p, e))) return code;
    if (ftruncate(p->fd, (off_t)job->bytes) < 0) return no_room(p, errno, e);
    return ERR_OK;
}

static enum err write_all(const char *path, str text, struct err_info *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool good;

    if (fd < 0) return err_errno(e, errno, "write", path);
    errno = EIO;
    good = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    if (!good) (void)err_errno(e, errno, "write", path);
    close(fd);
    return good ? ERR_OK : e->code;
}

enum err download_part_save(const struct download_part *p, const struct download_range *under_way,
                            size_t n, struct err_info *e)
{
    struct download_todo all = p->todo;
    char tmp[STORE_PATH_MAX + 32];
    buf text = {.cap = DOWNLOAD_RANGES * 64};
    enum err code;

    for (size_t i = 0; i < n; i++)
        ASSERT(download_todo_add(&all, under_way[i].from, under_way[i].to));
    if (fdatasync(p->fd) < 0) return no_room(p, errno, e);
    download_todo_write(&all, p->job->bytes, p->job->digest, &text);
    snprintf(tmp, sizeof tmp, "%s.new", p->journal);
    code = text.failed ? ERR_FAIL(e, NOMEM, "no memory for the journal of %s", p->job->path)
                       : write_all(tmp, buf_view(&text), e);
    if (!code && rename(tmp, p->journal) < 0) code = err_errno(e, errno, "write", p->journal);
    if (code) unlink(tmp);
    buf_fini(&text);
    return code;
}

enum err download_part_write(const struct download_part *p, uint64_t at, const void *bytes,
                             size_t n, struct err_info *e)
{
    const char *from = bytes;

    while (n) {
        ssize_t k = pwrite(p->fd, from, n, (off_t)at);

        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return no_room(p, k < 0 ? errno : ENOSPC, e);
        from += k;
        at += (uint64_t)k;
        n -= (size_t)k;
    }
    return ERR_OK;
}

enum err download_part_hash(struct download_part *p, uint64_t upto, uint64_t most,
                            struct err_info *e)
{
    if (upto - p->hashed > most) upto = p->hashed + most;
    return hash_some(p->hash, p->fd, &p->hashed, upto, p->part, e);
}

/* The new name is on the disk, not only in memory. */
static void sync_folder(const char *path)
{
    char dir[STORE_PATH_MAX];
    int fd, n = snprintf(dir, sizeof dir, "%s", path);
    char *slash = n > 0 && n < STORE_PATH_MAX ? strrchr(dir, '/') : NULL;

    if (!slash || slash == dir) return;
    *slash = 0;
    if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) return;
    (void)fsync(fd);
    close(fd);
}

enum err download_part_finish(struct download_part *p, struct err_info *e)
{
    ASSERT(p->hashed == p->job->bytes);
    if (!hash_is(p->hash, p->job->digest)) {
        unlink(p->part);
        unlink(p->journal);
        return ERR_FAIL(e, FORMAT,
                        "the bytes that came for %s do not have the hash that the hub names, so "
                        "they were removed; run this again",
                        p->job->path);
    }
    if (fsync(p->fd) < 0) return no_room(p, errno, e);
    if (rename(p->part, p->job->path) < 0) return err_errno(e, errno, "write", p->job->path);
    unlink(p->journal);
    sync_folder(p->job->path);
    return ERR_OK;
}

void download_part_close(struct download_part *p)
{
    hash_free(p->hash);
    if (p->fd >= 0) close(p->fd);
    p->hash = NULL;
    p->fd = -1;
}

uint64_t download_missing(const struct download_job *job)
{
    struct download_part p = {.job = job};
    struct stat st;

    if (stat(job->path, &st) == 0 && (uint64_t)st.st_size == job->bytes) return 0;
    if (!names(&p, job->path) || stat(p.part, &st) < 0) return job->bytes;
    return job->bytes -
           ((uint64_t)st.st_blocks * 512 < job->bytes ? (uint64_t)st.st_blocks * 512 : job->bytes);
}
