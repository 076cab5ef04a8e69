/* sse: a line reader and a table of four fields. See sse.h.
 *
 * Invariant: what is given to on_event does not depend on how the bytes were cut into pieces. An
 * event that the end of the stream cuts off is never given.
 */
#include "net/sse.h"

#include <string.h>

#include "base/limits.h"

#define LIMIT_NAME KIB(4) /* of an event type or id */

void sse_init(struct sse *s, void (*on_event)(void *owner, const struct sse_event *ev), void *owner)
{
    *s = (struct sse){.on_event = on_event,
                      .owner = owner,
                      .retry_ms = -1,
                      .line = {.cap = LIMIT_SSE_EVENT + 64},
                      .data = {.cap = LIMIT_SSE_EVENT},
                      .type = {.cap = LIMIT_NAME},
                      .id = {.cap = LIMIT_NAME}};
}

void sse_fini(struct sse *s)
{
    buf_fini(&s->line);
    buf_fini(&s->data);
    buf_fini(&s->type);
    buf_fini(&s->id);
}

/* ---- fields ---- */

static void set(buf *b, str v)
{
    buf_clear(b);
    buf_str(b, v);
}

static void on_data(struct sse *s, str v)
{
    if (s->has_data) buf_ch(&s->data, '\n');
    buf_str(&s->data, v);
    s->has_data = true;
}

static void on_type(struct sse *s, str v)
{
    set(&s->type, v);
}

static void on_id(struct sse *s, str v)
{
    if (v.n == 0 || !memchr(v.p, 0, v.n)) set(&s->id, v);
}

static void on_retry(struct sse *s, str v)
{
    int64_t ms;

    if (v.n && v.p[0] >= '0' && v.p[0] <= '9' && str_int(v, &ms)) s->retry_ms = ms;
}

static const struct {
    const char *name;
    void (*set)(struct sse *s, str v);
} fields[] = {{"data", on_data}, {"event", on_type}, {"id", on_id}, {"retry", on_retry}};

static void dispatch(struct sse *s)
{
    struct sse_event ev = {
        .type = s->type.n ? buf_view(&s->type) : S("message"),
        .data = buf_view(&s->data),
        .id = buf_view(&s->id),
    };

    if (s->has_data) s->on_event(s->owner, &ev);
    s->has_data = false;
    buf_clear(&s->data);
    buf_clear(&s->type);
    if (s->data.size > KIB(64)) buf_fini(&s->data);
}

static void end_line(struct sse *s, str line)
{
    str value, name = str_cut(line, ':', &value);

    if (line.n == 0) {
        dispatch(s);
        return;
    }
    if (value.n && value.p[0] == ' ') value = str_sub(value, 1, SIZE_MAX);
    if (line.p[0] == ':') {
        if (s->on_comment) s->on_comment(s->owner, value);
        return;
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (str_eqc(name, fields[i].name)) fields[i].set(s, value);
}

/* ---- bytes ---- */

/* Skips a byte order mark that may come in pieces; what was no mark goes to the line. */
static str skip_bom(struct sse *s, str in)
{
    static const char mark[] = "\xEF\xBB\xBF";

    while (s->bom < 3 && in.n) {
        if (in.p[0] != mark[s->bom]) {
            buf_put(&s->line, mark, s->bom);
            s->bom = 4;
            return in;
        }
        s->bom++;
        in = str_sub(in, 1, SIZE_MAX);
    }
    if (s->bom == 3) s->bom = 4;
    return in;
}

static bool failed(const struct sse *s)
{
    return s->line.failed || s->data.failed || s->type.failed || s->id.failed;
}

enum err sse_feed(struct sse *s, str in, struct err_info *e)
{
    if (s->bom < 4) in = skip_bom(s, in);
    while (in.n && !failed(s)) {
        size_t n = 0;
        str line;

        if (s->cr && in.p[0] == '\n') {
            s->cr = false;
            in = str_sub(in, 1, SIZE_MAX);
            continue;
        }
        s->cr = false;
        while (n < in.n && in.p[n] != '\n' && in.p[n] != '\r')
            n++;
        line = str_sub(in, 0, n);
        if (n == in.n || s->line.n) {
            buf_str(&s->line, line);
            if (n == in.n) break;
            line = buf_view(&s->line);
        }
        s->cr = in.p[n] == '\r';
        in = str_sub(in, n + 1, SIZE_MAX);
        if (s->line.failed) break;
        end_line(s, line);
        buf_clear(&s->line);
        if (s->line.size > KIB(64)) buf_fini(&s->line);
    }
    if (failed(s))
        return ERR_FAIL(e, LIMIT, "an event of the stream is larger than %zu bytes",
                        (size_t)LIMIT_SSE_EVENT);
    return ERR_OK;
}
