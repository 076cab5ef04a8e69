/* stream: tokens in, safe text out.
 *
 * Each push appends a piece to the pending bytes, looks for the earliest stop string in them, and
 * hands out everything up to the first byte that may yet belong to a stop string or to a character
 * that is not complete. What stays behind is shorter than the longest stop string plus one
 * character, so the room taken at the start is enough for ever.
 *
 * Invariant: pending never holds a whole stop string between two pushes.
 */
#include "text/stream.h"

#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"

#define PARTIAL_MAX 3

enum err stream_init(struct stream *s, const struct tok *t, const str *stops, size_t n_stops,
                     bool strip_first, struct err_info *e)
{
    *s = (struct stream){.tok = t, .stops = stops, .n_stops = n_stops};
    size_t longest = 0;
    if (n_stops > LIMIT_STOP_STRINGS)
        return ERR_FAIL(e, INVALID, "%zu stop strings given, at most %d are allowed", n_stops,
                        LIMIT_STOP_STRINGS);
    for (size_t i = 0; i < n_stops; i++) {
        if (stops[i].n == 0 || stops[i].n > LIMIT_STOP_LEN)
            return ERR_FAIL(e, INVALID, "stop string %zu has %zu bytes, 1 to %zu are allowed", i,
                            stops[i].n, LIMIT_STOP_LEN);
        if (stops[i].n > longest) longest = stops[i].n;
    }
    size_t room = tok_piece_max(t) + longest + PARTIAL_MAX + 1;
    buf_init(&s->pending, room);
    if (!buf_reserve(&s->pending, room))
        return ERR_FAIL(e, NOMEM, "no memory for %zu bytes of pending text", room);
    s->first = strip_first && tok_strips_first_space(t);
    return ERR_OK;
}

void stream_fini(struct stream *s)
{
    buf_fini(&s->pending);
}

/* The earliest stop string in the pending bytes; of several at one place the longest. */
static size_t find_stop(const struct stream *s, str *which)
{
    size_t at = SIZE_MAX;
    for (size_t i = 0; i < s->n_stops; i++) {
        size_t p = str_find(buf_view(&s->pending), s->stops[i], 0);
        if (p == SIZE_MAX || p > at || (p == at && s->stops[i].n <= which->n)) continue;
        at = p;
        *which = s->stops[i];
    }
    return at;
}

/* How many bytes at the end of `text` may be the beginning of `stop`. */
static size_t held(str text, str stop)
{
    size_t most = stop.n - 1 < text.n ? stop.n - 1 : text.n;
    for (const char *p = text.p + text.n - most, *end = text.p + text.n; p < end; p++) {
        p = memchr(p, stop.p[0], (size_t)(end - p));
        if (!p) return 0;
        if (memcmp(p, stop.p, (size_t)(end - p)) == 0) return (size_t)(end - p);
    }
    return 0;
}

bool stream_push(struct stream *s, int32_t id, buf *out)
{
    if (s->stopped) return true;
    tok_piece(s->tok, id, s->special, &s->pending);
    if (s->pending.n == 0) return false;
    if (s->first) {
        s->first = false;
        if (s->pending.p[0] == ' ') buf_drop(&s->pending, 1);
    }
    size_t stop = find_stop(s, &s->stop);
    if (stop != SIZE_MAX) {
        tok_clean((str){s->pending.p, stop}, true, out);
        buf_clear(&s->pending);
        s->stopped = true;
        return true;
    }
    str text = buf_view(&s->pending);
    size_t keep = 0;
    for (size_t i = 0; i < s->n_stops && text.n; i++) {
        size_t n = held(text, s->stops[i]);
        if (n > keep) keep = n;
    }
    size_t used = tok_clean((str){text.p, text.n - keep}, false, out);
    if (used) buf_drop(&s->pending, used);
    return false;
}

void stream_end(struct stream *s, buf *out)
{
    if (!s->stopped && s->pending.n) tok_clean(buf_view(&s->pending), true, out);
    buf_clear(&s->pending);
}
