/* sse: reads server-sent events from bytes in pieces of any size (WHATWG HTML, section 9.2).
 *
 * Feed bytes with sse_feed(); each complete event is given to on_event. The views are good during
 * the call only. An event without data is not given. Lines end with CR, LF or CRLF; a byte order
 * mark at the start and comments are skipped. A line or an event longer than LIMIT_SSE_EVENT is
 * refused.
 *
 * Left out: reconnecting; `retry` is read and kept for whoever reconnects.
 */
#ifndef NET_SSE_H
#define NET_SSE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct sse_event {
    str type; /* "message" when the stream names none */
    str data; /* lines joined by LF */
    str id;   /* the last id seen */
};

struct sse {
    void (*on_event)(void *owner, const struct sse_event *ev);
    void (*on_comment)(void *owner, str text); /* or NULL */
    void *owner;
    int64_t retry_ms; /* -1: none seen */
    /* ---- private ---- */
    buf line, data, type, id;
    unsigned bom;  /* bytes of the byte order mark seen; 4: past the start */
    bool cr;       /* the byte before was a CR */
    bool has_data; /* a data line came, be it empty */
};

void sse_init(struct sse *s, void (*on_event)(void *owner, const struct sse_event *ev),
              void *owner);
void sse_fini(struct sse *s);
/* ERR_LIMIT or ERR_NOMEM when an event cannot be held; the reader is of no use then. */
MUST_CHECK enum err sse_feed(struct sse *s, str bytes, struct err_info *e);

#endif
