/* fetch: one HTTP call that blocks, for programs without a loop of their own (the CLI).
 *
 * fetch_run() opens a loop, makes one call with the http client, gives head and body to the
 * callbacks as they come and returns when the reply has ended. It can be stopped from a signal
 * handler or another thread by setting *cancel, and from on_bytes by returning false.
 */
#ifndef NET_FETCH_H
#define NET_FETCH_H

#include <stdatomic.h>

#include "net/http.h"

struct fetch {
    struct http_peer peer;
    str method, target;
    str body;
    const char *content_type; /* NULL: application/json when there is a body */
    const struct http_header *headers;
    size_t n_headers;
    int timeout_ms;      /* to the head of the reply; 0: none */
    int idle_ms;         /* between bytes of the body; 0: none */
    atomic_bool *cancel; /* or NULL; looked at 20 times a second */
    /* Both optional. The views are good during the call only. */
    void (*on_head)(void *owner, int status, const struct http_header *h, size_t n);
    bool (*on_bytes)(void *owner, str bytes); /* false: enough, fetch_run() returns ERR_OK */
    void *owner;
};

/* *status (may be NULL) is 0 when no head came. ERR_CANCELLED after *cancel; ERR_UNAVAILABLE when
 * the peer cannot be reached; ERR_CRASHED when the reply was cut; ERR_TIMEOUT. A reply with an
 * error status is not an error here. */
MUST_CHECK enum err fetch_run(const struct fetch *f, int *status, struct err_info *e);

/* The same, with the body collected in *out (its cap holds; ERR_LIMIT beyond). on_bytes is not
 * used. */
MUST_CHECK enum err fetch_all(const struct fetch *f, int *status, buf *out, struct err_info *e);

#endif
