/* download_int: what the files of download share. */
#ifndef STORE_DOWNLOAD_INT_H
#define STORE_DOWNLOAD_INT_H

#include <curl/curl.h>

#include "store/download.h"
#include "store/store.h"

/* ---- whoever waits ---- */

static inline bool download_stopped(const struct download_conf *c)
{
    return c->stop && c->stop(c->owner);
}

static inline void download_show(const struct download_conf *c, const struct download_progress *p)
{
    if (c->progress) c->progress(p, c->owner);
}

/* ---- download_todo: what is missing ---- */

#define DOWNLOAD_RANGES 64 /* more than streams that can break off, and the tail */

struct download_range {
    uint64_t from, to;
};

/* Sorted; ranges neither touch nor overlap. */
struct download_todo {
    struct download_range r[DOWNLOAD_RANGES];
    size_t n;
};

/* Adds a range that overlaps none; joins neighbours. False: no room. */
bool download_todo_add(struct download_todo *t, uint64_t from, uint64_t to);
/* Takes at most `most` bytes from the front; false when nothing is left. */
bool download_todo_take(struct download_todo *t, uint64_t most, struct download_range *out);
uint64_t download_todo_bytes(const struct download_todo *t);
/* The journal's text. */
void download_todo_write(const struct download_todo *t, uint64_t bytes, str digest, buf *out);
/* False: it is damaged, or of a file with another size or hash. */
bool download_todo_parse(struct download_todo *t, str text, uint64_t bytes, str digest);

/* ---- download_part: the partial file ---- */

struct download_hash;
struct download_part {
    const struct download_job *job;
    int fd;     /* locked */
    bool fresh; /* there was no journal of it */
    char part[STORE_PATH_MAX], journal[STORE_PATH_MAX + 16];
    struct download_todo todo; /* missing and not under way */
    struct download_hash *hash;
    uint64_t hashed; /* bytes from the start */
};

/* Opens and locks the partial file and reads its journal; begins one where there is none. */
MUST_CHECK enum err download_part_open(struct download_part *p, const struct download_job *job,
                                       struct err_info *e);
/* Flushes the bytes and writes the journal: `under_way` are ranges missing beside p->todo. */
MUST_CHECK enum err download_part_save(const struct download_part *p,
                                       const struct download_range *under_way, size_t n,
                                       struct err_info *e);
MUST_CHECK enum err download_part_write(const struct download_part *p, uint64_t at,
                                        const void *bytes, size_t n, struct err_info *e);
/* Hashes on, at most `most` bytes and not beyond `upto`, before which everything is there. */
MUST_CHECK enum err download_part_hash(struct download_part *p, uint64_t upto, uint64_t most,
                                       struct err_info *e);
/* All is there and hashed: compares, flushes, renames; or removes it all. */
MUST_CHECK enum err download_part_finish(struct download_part *p, struct err_info *e);
void download_part_close(struct download_part *p);

/* ERR_OK with *same: has the file of that path the job's size and hash? `c` may stop it. */
MUST_CHECK enum err download_part_check(const struct download_conf *c,
                                        const struct download_job *job, bool *same,
                                        struct err_info *e);

/* ---- download_http: one request ---- */

#define DOWNLOAD_URL_MAX 8192

struct download_request {
    CURL *easy;
    struct curl_slist *headers;
    char url[DOWNLOAD_URL_MAX]; /* where it goes, redirections followed */
    int redirects;
    uint64_t at, end;          /* next byte; end 0: to the end, whatever that is */
    uint64_t size;             /* of the whole file; 0: not known */
    bool ranged, begun, wrong; /* wrong: the answer is not the range that was asked for */
    bool partial;              /* a range was answered with that range */
    uint64_t first, total;     /* of Content-Range */
    bool (*sink)(void *owner, uint64_t at, const void *bytes, size_t n); /* false: give up */
    void *owner;
};

enum download_outcome {
    DOWNLOAD_DONE,
    DOWNLOAD_MOVED, /* r->url is another now */
    DOWNLOAD_AGAIN, /* passing: *e says what, *pause_ms how long the server asks to wait, or 0 */
    DOWNLOAD_FAILED
};

/* Prepares r->easy for r->url and the range. */
MUST_CHECK enum err download_http_begin(struct download_request *r, const struct download_conf *c,
                                        struct err_info *e);
/* What became of it. */
enum download_outcome download_http_end(struct download_request *r, const struct download_conf *c,
                                        CURLcode code, const char *what, uint64_t *pause_ms,
                                        struct err_info *e);
void download_http_fini(struct download_request *r);

/* May a request go there? Same origin as the endpoint: the token may, too. */
bool download_http_allowed(const char *url, const char *endpoint);
bool download_http_same_origin(const char *url, const char *endpoint);
/* Milliseconds before the attempt after `failures` failures; `asked` is the server's wish. */
uint64_t download_http_pause(uint32_t failures, uint64_t asked);

#endif
