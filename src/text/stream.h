/* stream: tokens in, safe text out: the last stage before a client.
 *
 * Holds back bytes of an incomplete character and any tail that may become a stop string, so that
 * what it hands out is always whole characters and never part of a stop. One per running job; made
 * in the job's memory, allocates nothing after stream_init().
 */
#ifndef TEXT_STREAM_H
#define TEXT_STREAM_H

#include "base/arena.h"
#include "text/tok.h"

struct stream {
    const struct tok *tok;
    const str *stops;
    size_t n_stops;
    buf pending;  /* decoded, not handed out yet */
    bool special; /* show control tokens */
    bool first;   /* nothing handed out yet: SPM's leading space */
    bool stopped; /* a stop string was met; nothing comes after it */
    str stop;     /* which one */
};

/* `strip_first`: drop the space SPM puts before the first word (a reply in a chat; not a raw
 * continuation). The stops are borrowed. */
MUST_CHECK enum err stream_init(struct stream *s, const struct tok *t, const str *stops,
                                size_t n_stops, bool strip_first, struct err_info *e);
void stream_fini(struct stream *s);
/* Feeds one token, appends what may be shown to *out (a caller's buffer with room). True when a
 * stop string was met: the text before it is out, the rest is dropped. */
bool stream_push(struct stream *s, int32_t id, buf *out);
/* The end of the reply: what was held back comes out; half a character becomes U+FFFD. */
void stream_end(struct stream *s, buf *out);

#endif
