/* hubsync: the Hub's list of models into the catalogue, page by page.
 *
 * A list ("gguf", "safetensors": its tag) is gone through in one of two walks. A whole walk takes
 * the `want` most downloaded models, or all, and then the trending ones; what the list no longer
 * holds leaves the catalogue at its end. A recent walk takes what changed since the last walk, as
 * far as the catalogue has it or it has enough downloads; it is chosen while the last whole walk is
 * younger than a week, and gives way to a whole one when that costs less.
 *
 * Each page and the address of the next are one transaction, so that a walk that ends at any moment
 * goes on from there; a page that came is never lost. Requests follow the rules of download.h; the
 * next page is always asked of the endpoint, whatever host its address names. Between requests lies
 * a pause, a longer one where the Hub's RateLimit header says that its quota is used up.
 *
 * One thread. download_init() before.
 */
#ifndef STORE_HUBSYNC_H
#define STORE_HUBSYNC_H

#include "store/download.h"
#include "store/modeldb.h"

#define HUBSYNC_WANT 20000 /* models of a list that are kept unless something else is asked for */

struct hubsync_progress {
    const char *list;
    bool whole;
    uint64_t seen, want; /* models of this walk; want 0: nobody knows */
    uint64_t bytes;      /* of this run, as they came */
    double rate;         /* models a second in this run */
    const char *note;    /* a pause and its reason; mostly NULL */
};

struct hubsync_conf {
    const struct download_conf *http; /* its progress is not used; owner is given to stop */
    const char *list;
    uint64_t want;    /* 0: all */
    bool whole;       /* a whole walk, even where a recent one would do */
    uint32_t pace_ms; /* between requests, at least */
    void (*progress)(const struct hubsync_progress *p, void *owner); /* after each page and note */
    void *owner;
};

/* Also filled when it ends with an error: what came until then. */
struct hubsync_done {
    bool whole, resumed;
    uint64_t seen; /* of this run */
    uint64_t added, changed, removed;
    uint64_t bad; /* entries that cannot be read */
    uint64_t requests, bytes;
    char why[200]; /* of the first bad one */
};

/* ERR_CANCELLED: stopped, goes on with the next call. ERR_UNAVAILABLE, ERR_BUSY, ERR_TIMEOUT after
 * all retries: the same. ERR_EXISTS: another process is at it. */
MUST_CHECK enum err hubsync_run(struct modeldb *db, const struct hubsync_conf *c,
                                struct hubsync_done *done, struct err_info *e);

#endif
