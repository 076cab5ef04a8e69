/* hubsync_int: what the files of hubsync share. */
#ifndef STORE_HUBSYNC_INT_H
#define STORE_HUBSYNC_INT_H

#include "base/buf.h"
#include "store/download_int.h"
#include "store/hubsync.h"

/* What an answer says beside its body. */
struct hubsync_answer {
    long status;                 /* of the last attempt; 0: none came */
    int64_t date;                /* the hub's clock; 0: not said */
    uint64_t pause_ms;           /* that its quota asks for before the next request */
    uint64_t bytes;              /* on the wire */
    char next[DOWNLOAD_URL_MAX]; /* the next page, at the endpoint; empty: none */
};

struct hubsync_http {
    const struct download_conf *conf;
    void (*note)(void *owner, const char *text); /* of a pause */
    void *owner;
    struct download_request r; /* keeps its connection */
    uint64_t free_ns;          /* when the next request may begin */
    uint64_t quota_ms;         /* that it waits for a quota until then */
    uint32_t pace_ms;
};

/* A page of the list as text, whole: what ends early is fetched again. `check` says whether a body
 * is one (an answer may be cut off before it is sent); *out is emptied first. */
MUST_CHECK enum err hubsync_http_get(struct hubsync_http *h, const char *url,
                                     enum err (*check)(void *owner, str body, struct err_info *e),
                                     buf *out, struct hubsync_answer *a, struct err_info *e);
void hubsync_http_fini(struct hubsync_http *h);

/* The next page that a Link header names, as an address of the endpoint; false: none. */
bool hubsync_http_next(char out[DOWNLOAD_URL_MAX], const char *endpoint, str link);
/* Milliseconds to wait for a quota as in `"api";r=0;t=55`; 0: none is used up. */
uint64_t hubsync_http_quota(str header);

#endif
