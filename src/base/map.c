/* map: files as read-only memory. See map.h. */
#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static enum err open_regular(const char *path, int *fd, size_t *size, struct err_info *e)
{
    struct stat st;

    /* O_NONBLOCK: opening a fifo by mistake must not hang. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return err_errno(e, errno, "open", path);
    if (fstat(*fd, &st) < 0) {
        enum err code = err_errno(e, errno, "look at", path);

        close(*fd);
        return code;
    }
    if (!S_ISREG(st.st_mode)) {
        close(*fd);
        return ERR_FAIL(e, FORMAT, "%s is %s, not a file", path,
                        S_ISDIR(st.st_mode) ? "a directory" : "a device or a pipe");
    }
    *size = (size_t)st.st_size;
    return ERR_OK;
}

enum err map_open(struct map *m, const char *path, struct err_info *e)
{
    int fd;
    void *p;

    *m = (struct map){0};
    enum err code = open_regular(path, &fd, &m->n, e);
    if (code) return code;
    if (m->n > 0) {
        p = mmap(NULL, m->n, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            code = err_errno(e, errno, "map", path);
            close(fd);
            m->n = 0;
            return code;
        }
        m->p = p;
    }
    close(fd);
    return ERR_OK;
}

void map_close(struct map *m)
{
    if (m->p) munmap((void *)(uintptr_t)m->p, m->n);
    *m = (struct map){0};
}

void map_willneed(const struct map *m)
{
    if (m->p) (void)madvise((void *)(uintptr_t)m->p, m->n, MADV_WILLNEED);
}

enum err map_read_file(const char *path, size_t cap, char **out, size_t *n, struct err_info *e)
{
    int fd;
    size_t size, at = 0;
    char *p;

    enum err code = open_regular(path, &fd, &size, e);
    if (code) return code;
    if (size > cap) {
        close(fd);
        return ERR_FAIL(e, LIMIT, "%s is %zu bytes, more than the %zu allowed here", path, size,
                        cap);
    }
    if (!(p = mem_alloc(size + 1))) {
        close(fd);
        return ERR_FAIL(e, NOMEM, "no memory for the %zu bytes of %s", size, path);
    }
    while (at < size) {
        ssize_t got = read(fd, p + at, size - at);

        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            code = err_errno(e, errno, "read", path);
            mem_free(p);
            close(fd);
            return code;
        }
        if (got == 0) break; /* shrank meanwhile */
        at += (size_t)got;
    }
    close(fd);
    p[at] = 0;
    *out = p;
    *n = at;
    return ERR_OK;
}
