/* http_int: what the files of http share. See http.h for what http is.
 *
 *   bytes -> http_parse (head, body framing) -> http_route (who may, which handler) -> handler
 *         -> http_reply (bytes of the reply) -> http_conn (the socket)
 *
 * http_parse and the checks of http_route touch no socket: tests and fuzzers drive them in memory.
 */
#ifndef NET_HTTP_INT_H
#define NET_HTTP_INT_H

#include "base/limits.h"
#include "net/http.h"

/* ---- http_parse: one message after the other, in pieces of any size ---- */

enum http_event {
    HTTP_EV_MORE, /* all input was taken, the message is not complete */
    HTTP_EV_HEAD, /* `head` is filled */
    HTTP_EV_BODY, /* a piece of the body */
    HTTP_EV_DONE, /* the message is complete; http_parse_reset() before the next */
    HTTP_EV_BAD,  /* refused: bad_status and bad say why; nothing more can be read */
};

struct http_head {
    str method, target; /* of a request */
    int minor;          /* HTTP/1.minor */
    int status;         /* of a response */
    struct http_header *headers;
    size_t n_headers;
    uint64_t length; /* of the body, when `sized` */
    bool sized, chunked;
    bool keep;   /* the peer lets the connection live on */
    bool expect; /* Expect: 100-continue */
};

struct http_parse {
    struct http_head head;
    char *block;   /* memory of the head: `prefix` zeroed bytes, header rows, text */
    size_t prefix; /* bytes the owner wants in front */
    buf raw;       /* a head that came in pieces */
    uint64_t left; /* bytes of the body or of the chunk still to come */
    uint32_t line; /* bytes of the line under way */
    uint32_t lines;
    uint32_t extra; /* bytes of trailers and chunk extensions */
    uint16_t bad_status;
    uint8_t state;
    bool response;
    bool no_body; /* response to a HEAD request: set by the owner before the head */
    bool cr;      /* the byte before was a CR */
    bool colon;   /* the trailer line has its colon */
    const char *bad;
};

void http_parse_init(struct http_parse *p, bool response, size_t prefix);
void http_parse_fini(struct http_parse *p);
/* Ready for the next message. The block of the last head is freed unless taken. */
void http_parse_reset(struct http_parse *p);
/* Takes bytes from the front of *in and says what they were. HTTP_EV_BODY sets *piece, a view of
 * *in.
 */
enum http_event http_parse_next(struct http_parse *p, str *in, str *piece);
/* The peer ended the connection: true when that ends the message properly. */
bool http_parse_eof(const struct http_parse *p);
/* True when no byte of a message has come. */
bool http_parse_fresh(const struct http_parse *p);
/* The value of header `name`; *n (may be NULL) counts how often it occurs. */
str http_parse_find(const struct http_header *h, size_t n_headers, const char *name, int *n);
bool http_parse_token(str s);  /* an RFC 9110 token */
bool http_parse_secret(str s); /* printable, no blanks, not empty */
bool http_parse_host(str s);   /* host or [v6], and an optional port */
bool http_parse_value(str s);  /* no control characters but tab */

/* ---- http_route ---- */

struct http_match {
    const struct http_route *route; /* NULL: see status */
    str path, query;
    str param[4];
    int n_params;
    int status; /* 0, 400, 404, 405, or 204 for OPTIONS */
    const char *why;
    char allow[64]; /* "GET, HEAD, POST": methods of the path */
};

/* Splits and decodes the target, finds the row. Memory only from `a`, and only for a path with
 * percent signs. */
void http_route_find(const struct http_route *routes, str method, str target, struct arena *a,
                     struct http_match *out);
/* The name of a Host or Origin value, without scheme and port, is localhost, a loopback address,
 * `bound` or one of `hosts`. */
bool http_route_host_ok(str value, const char *bound, const char *const *hosts);
/* The token is there and right; the time taken does not tell where it differs. */
bool http_route_token_ok(const struct http_header *h, size_t n, const char *token);

/* ---- server and connections ---- */

struct http_listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    struct http_server *server;
    struct http_listener *next;
};

struct http_server {
    uv_loop_t *loop;
    struct http_conf conf;
    struct http_listener *listeners;
    struct http_conn *conns; /* doubly linked */
    struct http_conn *todo;  /* singly linked: something to flush, run or end this turn */
    unsigned n_conns;
    unsigned n_handles; /* uv handles of the server itself not yet closed */
    uint64_t next_id;
    int port;
    char bound[64]; /* address of the TCP listener as in a URL */
    bool closing;
    uint64_t close_at; /* ms of uv_now() when grace ends */
    void (*done)(void *owner);
    void *done_owner;
    uv_timer_t sweep; /* one timer for the patience of all connections */
    uv_idle_t turn;   /* active while todo is not empty */
    int64_t date_at;
    char date[32];
    buf spare;        /* one output buffer kept between replies */
    char rbuf[65536]; /* every read lands here first */
};

enum http_conn_state {
    CONN_HEAD, /* between requests or reading a head */
    CONN_BODY,
    CONN_BUSY,   /* a handler has the request */
    CONN_LINGER, /* the last reply is written; what still comes is thrown away */
    CONN_DEAD,   /* uv_close() called or due */
};

struct http_conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    struct http_server *server; /* NULL once the server is freed */
    struct http_conn *prev, *next, *todo_next;
    struct http_parse parse;
    buf in;    /* bytes of later requests */
    buf body;  /* of the request */
    buf out;   /* bytes of the reply not yet given to the kernel */
    buf extra; /* headers set by the handler */
    struct http_req *req;
    char *block; /* memory of req and its head */
    struct arena arena;
    const struct http_route *route;
    struct http_write *writing; /* the uv_write under way */
    uint64_t since;             /* ms: when the state began */
    uint64_t moved;             /* ms: when the kernel last took bytes */
    uint64_t taken;             /* bytes the kernel took so far, as seen at `moved` */
    uint64_t put;               /* bytes given to uv_write so far */
    uint64_t got;               /* bytes of the body so far */
    uint8_t state;
    uint8_t minor;
    bool keep;     /* the connection lives on after this reply */
    bool head;     /* the method is HEAD */
    bool begun;    /* the reply's head is written */
    bool chunked;  /* the reply is chunked */
    bool bodiless; /* the reply has no body */
    bool reading;  /* uv_read is on */
    bool running;  /* http_conn_run() is on the stack */
    bool queued;   /* in server->todo */
    bool doomed;   /* to be closed at the end of the turn */
    bool eof;      /* closed by uv, memory may go once the request is gone */
    bool shut;     /* our side is shut down */
    bool unix_peer;
    bool used; /* it has had a request */
};

uint64_t http_server_now(const struct http_server *s); /* ms, of this turn */
const char *http_server_date(struct http_server *s);
void http_server_wake(struct http_server *s);      /* todo is not empty */
void http_server_conn_gone(struct http_server *s); /* the last step of http_server_close() */

void http_conn_accept(struct http_listener *l);
/* Notes that c has bytes to write, input to go on with or an end to meet. */
void http_conn_later(struct http_conn *c);
void http_conn_turn(struct http_conn *c);  /* called for each of server->todo */
void http_conn_sweep(struct http_conn *c); /* looks at the clock */
void http_conn_doom(struct http_conn *c);  /* closes at the end of this turn */
void http_conn_end(struct http_conn *c);   /* the reply is complete: free the request, go on */
/* Puts bytes behind c->out; large ones go to the kernel at once, as far as it takes them. */
void http_conn_send(struct http_conn *c, str bytes);
size_t http_conn_pending(const struct http_conn *c);
void http_conn_cut(struct http_conn *c); /* closes now, without the gone callback */

/* A reply of the server itself, before or instead of a handler. */
void http_reply_status(struct http_conn *c, int status, const char *text, const char *header,
                       const char *value);
const char *http_reply_reason(int status);

#endif
