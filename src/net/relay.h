/* relay: passes one request on to a peer and its reply back, byte by byte.
 *
 * Between queen and hive, and hive and worker. The body of the reply is not looked at: pieces go
 * out as they come in, with back pressure when the client is slow. When the peer fails before a
 * byte of the reply went out, the owner may take the request back and try elsewhere; when it fails
 * in the middle, a stream of events gets one terminal error event and is ended properly, anything
 * else is cut off. When the client goes away the call is cancelled at once.
 */
#ifndef NET_RELAY_H
#define NET_RELAY_H

#include "net/http.h"

struct relay_conf {
    struct http_client *to;
    const char *peer;                  /* what to call it to the client: "the worker" */
    str target;                        /* on the peer; method and body are the request's own */
    int timeout_ms;                    /* to the head of the reply; 0: none */
    const struct http_header *headers; /* added to the call */
    size_t n_headers;
    /* Writes the JSON of the terminal error event. */
    void (*error_event)(buf *out, enum err code, const char *text);
    /* The peer failed, or answered with a status for which `retry` says true, and nothing was sent
     * to the client: true means that the owner has the request back. NULL: never. */
    bool (*failed)(struct http_req *r, int status, enum err code, const char *text, void *owner);
    bool (*retry)(int status);
    /* The peer broke off or never answered; comes before the others. */
    void (*broke)(void *owner);
    /* Always the last call: the relay is over and the request is gone, unless `failed` took it
     * back. */
    void (*done)(void *owner);
    void *owner;
};

/* False when the call could not be started: the request is still the caller's, and neither failed()
 * nor done() was or will be called. */
bool relay_start(struct http_req *r, uv_loop_t *loop, const struct relay_conf *conf);

#endif
