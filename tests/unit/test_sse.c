/* test_sse: the reader of server-sent events, fed at once and in pieces of every small size. */
#include "base/limits.h"
#include "net/sse.h"
#include "tap.h"

static void on_event(void *owner, const struct sse_event *ev)
{
    buf *out = owner;

    buf_printf(out, "%.*s(%.*s)%.*s;", STR(ev->type), STR(ev->data), STR(ev->id));
}

static const struct {
    const char *name, *in, *want;
} cases[] = {
    {"one", "data: a\n\n", "message(a);"},
    {"CRLF", "data: a\r\n\r\n", "message(a);"},
    {"CR", "data: a\r\r", "message(a);"},
    {"mixed ends", "data: a\r\ndata: b\rdata: c\n\r\n", "message(a\nb\nc);"},
    {"two lines", "data: a\ndata: b\n\n", "message(a\nb);"},
    {"two events", "data: a\n\ndata: b\n\n", "message(a);message(b);"},
    {"no blank", "data:a\n\n", "message(a);"},
    {"one blank only", "data:  a\n\n", "message( a);"},
    {"no colon", "data\n\n", "message();"},
    {"two empty lines of data", "data\ndata\n\n", "message(\n);"},
    {"no data", "event: x\n\n", ""},
    {"type", "event: x\ndata: a\n\ndata: b\n\n", "x(a);message(b);"},
    {"last type wins", "event: x\nevent: y\ndata: a\n\n", "y(a);"},
    {"id stays", "id: 7\ndata: a\n\ndata: b\n\n", "message(a)7;message(b)7;"},
    {"id cleared", "id: 7\ndata: a\n\nid\ndata: b\n\n", "message(a)7;message(b);"},
    {"comment", ": hello\ndata: a\n:\n\n", "message(a);"},
    {"mark",
     "\xEF\xBB\xBF"
     "data: a\n\n",
     "message(a);"},
    {"half a mark",
     "\xEF\xBB"
     "data: a\n\ndata: b\n\n",
     "message(b);"},
    {"mark twice",
     "\xEF\xBB\xBF\xEF\xBB\xBF"
     "data: a\n\ndata: b\n\n",
     "message(b);"},
    {"unknown field", "datum: x\nDATA: y\ndata: a\n\n", "message(a);"},
    {"blank before the name", " data: a\n\n", ""},
    {"cut off", "data: a\n", ""},
    {"colons in the value", "data: a:b: c\n\n", "message(a:b: c);"},
    {"empty lines", "\n\n\ndata: a\n\n\n\n", "message(a);"},
    {"json", "data: {\"a\":[1,2]}\n\ndata: [DONE]\n\n", "message({\"a\":[1,2]});message([DONE]);"},
};

static void feed(struct sse *s, str in, size_t step, enum err want)
{
    enum err err = ERR_OK;

    while (in.n && !err) {
        err = sse_feed(s, str_sub(in, 0, step), NULL);
        in = str_sub(in, step, SIZE_MAX);
    }
    if (err != want) printf("#   error %s\n", err_name(err));
}

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool same = true;

        for (size_t step = 1; step < 20; step++) {
            struct sse s;
            buf got = {.cap = 4096};

            sse_init(&s, on_event, &got);
            feed(&s, str_c(cases[i].in), step, ERR_OK);
            if (!str_eqc(buf_view(&got), cases[i].want)) {
                printf("#   pieces of %zu: %.*s\n", step, STR(buf_view(&got)));
                same = false;
            }
            sse_fini(&s);
            buf_fini(&got);
        }
        ok(same, "%s", cases[i].name);
    }
}

static void on_large(void *owner, const struct sse_event *ev)
{
    *(size_t *)owner = ev->data.n;
}

static void test_limits(void)
{
    static char block[65536];
    struct sse s;
    size_t n = 0;
    enum err err = ERR_OK;

    memset(block, 'x', sizeof block);
    sse_init(&s, on_large, &n);
    feed(&s, S("data: "), 6, ERR_OK);
    for (int i = 0; i < 60; i++)
        feed(&s, (str){block, sizeof block}, sizeof block, ERR_OK);
    feed(&s, S("\n\n"), 2, ERR_OK);
    is_int(n, 60 * 65536, "an event of 3.75 MiB");
    for (int i = 0; i < 200 && !err; i++)
        err = sse_feed(&s, (str){block, sizeof block}, NULL);
    is_int(err, ERR_LIMIT, "a line without end is refused");
    sse_fini(&s);

    sse_init(&s, on_large, &n);
    err = ERR_OK;
    for (int i = 0; i < 200 && !err; i++) {
        err = sse_feed(&s, S("data: "), NULL);
        if (!err) err = sse_feed(&s, (str){block, sizeof block}, NULL);
        if (!err) err = sse_feed(&s, S("\n"), NULL);
    }
    is_int(err, ERR_LIMIT, "an event without end is refused");
    sse_fini(&s);

    sse_init(&s, on_large, &n);
    feed(&s, S("retry: 250\nretry: x\nretry: -1\n\n"), 5, ERR_OK);
    is_int(s.retry_ms, 250, "retry");
    sse_fini(&s);
}

int main(void)
{
    test_cases();
    test_limits();
    return tap_end();
}
