/* http: the one strict HTTP/1.1 module, for queen, hive and worker alike.
 *
 * A server is a libuv loop, a listener (TCP or unix socket) and a table of routes; one thread. A
 * request arrives whole: when its handler is called the head and the body are complete, the body is
 * at most the route's cap. The handler answers at once or keeps the request and answers later from
 * the same thread. Everything of a request lives in req->arena until http_end() or, when the client
 * goes away, until the gone callback has returned.
 *
 * Strict means: llhttp behind checks of our own, no obs-fold, no bare LF, no request with both
 * Transfer-Encoding and Content-Length, no unknown transfer coding, one valid Host header,
 * printable targets, caps on everything. Slow clients: a head must be complete within 10 s; a body
 * may take 60 s, and longer only while it has come in at 1 KiB/s on average; a reply that cannot be
 * written for 60 s closes the connection, and so do 75 s without a request.
 *
 * Writing: http_reply() for a whole reply, http_begin() + http_write() + http_end() for a stream
 * (chunked). http_write() never blocks; http_pending() tells how much the client has not taken, and
 * beyond LIMIT_HTTP_OUT the connection is closed as too slow. Bytes leave once a turn of the loop,
 * so that what one callback writes goes out together.
 *
 * A client that ends its side of the connection has gone away, whether or not it still reads.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <uv.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct http_server;
struct http_req;

typedef void http_handler(struct http_req *r, void *owner);

struct http_route {
    const char *method; /* "GET"; HEAD is answered for every GET, OPTIONS with Allow unless a row
                           says otherwise */
    const char *path;   /* "/v1/models/{id}"; "{id}" takes one segment, a final "{*}" the rest */
    size_t body_cap;
    bool open; /* no token needed (health) */
    http_handler *handler;
};

struct http_header {
    str name, value;
};

struct http_req {
    /* ---- read by handlers ---- */
    str method, target, path, query; /* path is percent-decoded and checked; query is raw */
    const struct http_header *headers;
    size_t n_headers;
    str body;
    str param[4]; /* what the braces of the route took */
    int n_params;
    bool from_unix; /* the peer came over a unix socket */
    uint64_t id;    /* counts from 1; also the X-Request-Id when the client sent none */
    uint64_t start_ns;
    struct arena *arena;
    /* Called once if the client goes away before the reply ended; after it the request is gone. It
     * comes from the loop, never from inside a call of the handler's. While it is NULL the request
     * stays valid until it is answered, and what is written to it is dropped. */
    void (*gone)(struct http_req *r);
    void *owner; /* the handler's */
    /* ---- private ---- */
    struct http_conn *conn;
};

struct http_conf {
    const char *name;                /* "rbee-queen/0.1.0" for the Server header */
    const struct http_route *routes; /* ends with a row whose path is NULL */
    void *owner;                     /* given to handlers */
    const char *token; /* "Authorization: Bearer" or "X-Api-Key" must carry it; NULL: none needed */
    const char *const *hosts; /* allowed Host names besides localhost, 127.0.0.1, [::1] and the
                                 bound address; NULL-terminated or NULL. A token lifts the check. */
    /* Patience in milliseconds; 0: what the head comment says. */
    int head_ms, body_ms, write_ms, idle_ms;
};

/* ---- server ---- */
MUST_CHECK enum err http_server_new(struct http_server **out, uv_loop_t *loop,
                                    const struct http_conf *conf, struct err_info *e);
/* host may be a name or an address; port 0 takes a free one. Refuses a non-loopback address when
 * there is no token, and says how to make one. */
MUST_CHECK enum err http_listen_tcp(struct http_server *s, const char *host, int port,
                                    struct err_info *e);
MUST_CHECK enum err http_listen_unix(struct http_server *s, const char *path, struct err_info *e);
int http_server_port(const struct http_server *s);
unsigned http_server_conns(const struct http_server *s);
/* Stops accepting, closes idle connections, lets requests end for up to grace_ms, then frees and
 * calls done. */
void http_server_close(struct http_server *s, int grace_ms, void (*done)(void *owner), void *owner);

/* ---- answering ---- */
str http_header(const struct http_req *r, const char *name); /* empty when absent; case ignored */
/* A browser sends this for a page of another origin: by its Origin, which names more than our Host,
 * or by Sec-Fetch-Site. What no browser sent is never foreign. */
bool http_foreign(const struct http_req *r);
void http_reply(struct http_req *r, int status, const char *content_type, str body);
void http_error(struct http_req *r, enum err code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void http_error_info(struct http_req *r, const struct err_info *e);
/* Adds a header to the coming reply (before http_reply or http_begin). A value with control
 * characters is left out. Length, coding, Connection, Date, Server and X-Request-Id are set here,
 * not by the handler. */
void http_set_header(struct http_req *r, const char *name, const char *value);
void http_begin(struct http_req *r, int status, const char *content_type); /* chunked stream */
void http_write(struct http_req *r, str bytes);
void http_end(struct http_req *r); /* r is gone after it */
/* Cuts the connection without a proper end; gone is not called, r is gone after it. */
void http_abort(struct http_req *r);
bool http_begun(const struct http_req *r);
size_t http_pending(const struct http_req *r);

/* ---- sse ---- */
void http_sse_begin(struct http_req *r); /* 200 text/event-stream, no buffering, no caching */
void http_sse_data(struct http_req *r, str data);
void http_sse_comment(struct http_req *r, str text);

/* ---- client: keep-alive connections on the same loop ---- */
struct http_client; /* a pool of connections to one peer */
struct http_call;

struct http_peer {
    const char *unix_path; /* or */
    const char *host;      /* numeric address or name */
    int port;
    const char *token; /* sent as Bearer, or NULL */
};

struct http_call_conf {
    str method, target;
    str body;                 /* copied */
    const char *content_type; /* NULL: application/json when there is a body */
    const struct http_header *headers;
    size_t n_headers;
    int timeout_ms; /* to the head of the reply; 0: none */
    int idle_ms;    /* between bytes of the body; 0: none */
    /* All optional but on_done. on_head: status and headers, once. on_body: pieces as they come.
     * on_done: once, with ERR_OK or why it failed; the call is gone after it. */
    void (*on_head)(struct http_call *c, int status, const struct http_header *h, size_t n);
    void (*on_body)(struct http_call *c, str bytes);
    void (*on_done)(struct http_call *c, enum err code, const char *text);
    void *owner;
};

MUST_CHECK enum err http_client_new(struct http_client **out, uv_loop_t *loop,
                                    const struct http_peer *peer, struct err_info *e);
void http_client_free(struct http_client *c); /* cancels what is under way: on_done(CANCELLED) */
/* NULL without memory or connections; on_done is then not called. */
struct http_call *http_call(struct http_client *c, const struct http_call_conf *conf);
void *http_call_owner(struct http_call *c);
void http_call_cancel(struct http_call *c); /* closes its connection; on_done is not called */
void http_call_pause(struct http_call *c, bool paused); /* back pressure */

#endif
