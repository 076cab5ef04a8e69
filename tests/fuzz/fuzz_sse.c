/* fuzz_sse: any bytes as a stream of events; the first byte says how they are cut into pieces, and
 * the events must not depend on that. */
#include "base/err.h"
#include "net/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add(uint64_t *sum, str s)
{
    for (size_t i = 0; i < s.n; i++)
        *sum = (*sum ^ (unsigned char)s.p[i]) * 1099511628211u;
    *sum = *sum * 31 + s.n;
}

static void on_event(void *owner, const struct sse_event *ev)
{
    add(owner, ev->type);
    add(owner, ev->data);
    add(owner, ev->id);
}

static void on_comment(void *owner, str text)
{
    add(owner, text);
}

static uint64_t events(str in, size_t step)
{
    struct sse s;
    uint64_t sum = 1;
    enum err err = ERR_OK;

    sse_init(&s, on_event, &sum);
    s.on_comment = on_comment;
    while (in.n && !err) {
        str part = str_sub(in, 0, step);
        buf copy = {.cap = part.n};

        buf_str(&copy, part);
        err = sse_feed(&s, buf_view(&copy), NULL);
        in = str_sub(in, part.n, SIZE_MAX);
        buf_fini(&copy);
    }
    sum += (uint64_t)s.retry_ms;
    sse_fini(&s);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str in;

    if (size < 2) return 0;
    in = (str){(const char *)data + 1, size - 1};
    ASSERT(events(in, data[0] ? data[0] : 1) == events(in, in.n));
    return 0;
}
