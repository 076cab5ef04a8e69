/* relay: a client, a relaying server and a peer in one loop. What passes, what breaks, who waits.
 */
#include "net/relay.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "tap.h"

#define WAIT_NS ((uint64_t)20 * 1000000000u)
#define BIG     ((size_t)24 << 20)

static uv_loop_t loop;
static struct http_server *front, *peer;
static struct http_client *to_front, *to_peer;

/* ---- the peer ---- */

static int peer_gone;
static size_t peer_wrote;
static uv_timer_t pump;
static struct http_req *pumped, *cut;

static void p_echo(struct http_req *r, void *owner)
{
    (void)owner;
    http_set_header(r, "Retry-After", "7");
    http_set_header(r, "X-Secret", "inner");
    http_reply(r, 201, "text/x-test",
               arena_printf(r->arena, "%.*s:%.*s", STR(http_header(r, "X-Added")), STR(r->body)));
}

static void p_events(struct http_req *r, void *owner)
{
    (void)owner;
    http_sse_begin(r);
    for (int i = 0; i < 100; i++)
        http_sse_data(r, arena_printf(r->arena, "event %d", i));
    http_sse_data(r, S("[DONE]"));
    http_end(r);
}

/* An event comes in two pieces, and the second never comes. */
static void p_cut(struct http_req *r, void *owner)
{
    (void)owner;
    cut = r;
    http_sse_begin(r);
    http_sse_data(r, S("whole"));
    http_write(r, S("data: half of an ev"));
}

static void p_cut_plain(struct http_req *r, void *owner)
{
    (void)owner;
    cut = r;
    http_begin(r, 200, "text/plain");
    http_write(r, S("half"));
}

static void p_die(struct http_req *r, void *owner)
{
    (void)owner;
    http_abort(r);
}

static void p_busy(struct http_req *r, void *owner)
{
    (void)owner;
    http_error(r, ERR_UNAVAILABLE, "not now");
}

static void on_peer_gone(struct http_req *r)
{
    (void)r;
    peer_gone++;
}

static void p_wait(struct http_req *r, void *owner)
{
    (void)owner;
    r->gone = on_peer_gone;
}

static void on_pump(uv_timer_t *t)
{
    static char piece[65536];

    (void)t;
    while (pumped && http_pending(pumped) < KIB(512) && peer_wrote < BIG) {
        memset(piece, 'a' + (int)(peer_wrote / sizeof piece % 26), sizeof piece);
        http_write(pumped, (str){piece, sizeof piece});
        peer_wrote += sizeof piece;
    }
    if (pumped && peer_wrote >= BIG) {
        http_end(pumped);
        pumped = NULL;
    }
}

static void p_big(struct http_req *r, void *owner)
{
    (void)owner;
    pumped = r;
    peer_wrote = 0;
    http_begin(r, 200, "application/octet-stream");
}

static const struct http_route peer_routes[] = {
    {"POST", "/echo", MIB(1), true, p_echo},
    {"GET", "/events", 0, true, p_events},
    {"GET", "/cut", 0, true, p_cut},
    {"GET", "/cut-plain", 0, true, p_cut_plain},
    {"GET", "/die", 0, true, p_die},
    {"GET", "/busy", 0, true, p_busy},
    {"GET", "/wait", 0, true, p_wait},
    {"GET", "/big", 0, true, p_big},
    {0},
};

/* ---- the server in the middle ---- */

static int n_done, n_failed, n_broke, take_back;
static struct http_req *taken;

static void on_done(void *owner)
{
    (void)owner;
    n_done++;
}

static void on_broke(void *owner)
{
    (void)owner;
    n_broke++;
}

static bool retry(int status)
{
    return status == 503;
}

static bool on_failed(struct http_req *r, int status, enum err code, const char *text, void *owner)
{
    (void)status, (void)code, (void)text, (void)owner;
    n_failed++;
    if (!take_back) return false;
    taken = r;
    return true;
}

static void error_event(buf *out, enum err code, const char *text)
{
    buf_printf(out, "{\"broken\":\"%s\",\"why\":\"%s\"}", err_name(code), text);
}

static void f_relay(struct http_req *r, void *owner)
{
    static const struct http_header added = {{"X-Added", 7}, {"yes", 3}};
    struct relay_conf rc = {.to = to_peer,
                            .peer = "the peer",
                            .target = r->target,
                            .headers = &added,
                            .n_headers = 1,
                            .error_event = error_event,
                            .failed = on_failed,
                            .retry = take_back ? retry : NULL,
                            .broke = on_broke,
                            .done = on_done};

    (void)owner;
    if (!relay_start(r, &loop, &rc)) http_error(r, ERR_UNAVAILABLE, "no relay");
}

static const struct http_route front_routes[] = {
    {"GET", "/{*}", 0, true, f_relay},
    {"POST", "/{*}", MIB(1), true, f_relay},
    {0},
};

/* ---- the client ---- */

struct asked {
    struct http_call *call;
    int status;
    char type[64], retry[16], secret[16];
    buf body;
    size_t n_body;
    bool over, keep;
    enum err code;
};

static void c_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    struct asked *a = http_call_owner(c);
    const struct {
        const char *name;
        char *out;
        size_t size;
    } wanted[] = {{"Content-Type", a->type, sizeof a->type},
                  {"Retry-After", a->retry, sizeof a->retry},
                  {"X-Secret", a->secret, sizeof a->secret}};

    a->status = status;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < 3; k++) {
            if (str_ieq(h[i].name, str_c(wanted[k].name)))
                snprintf(wanted[k].out, wanted[k].size, "%.*s", STR(h[i].value));
        }
    }
}

static void c_body(struct http_call *c, str bytes)
{
    struct asked *a = http_call_owner(c);

    a->n_body += bytes.n;
    if (a->keep) buf_str(&a->body, bytes);
}

static void c_done(struct http_call *c, enum err code, const char *text)
{
    struct asked *a = http_call_owner(c);

    (void)text;
    a->over = true;
    a->code = code;
}

static void ask(struct asked *a, const char *method, const char *target, const char *body)
{
    struct http_call_conf cc = {.method = str_c(method),
                                .target = str_c(target),
                                .body = str_c(body),
                                .on_head = c_head,
                                .on_body = c_body,
                                .on_done = c_done,
                                .owner = a};

    *a = (struct asked){.keep = true};
    buf_init(&a->body, MIB(4));
    n_done = n_failed = n_broke = 0;
    a->call = http_call(to_front, &cc);
    if (!a->call) a->over = true;
}

static void turn_until(const bool *flag, uint64_t ns)
{
    uint64_t end = os_now_ns() + ns;

    while (!(flag && *flag) && os_now_ns() < end)
        uv_run(&loop, UV_RUN_ONCE);
}

static void finish(struct asked *a)
{
    turn_until(&a->over, WAIT_NS);
}

static void turn(int ms)
{
    turn_until(NULL, (uint64_t)ms * 1000000u);
}

/* ---- cases ---- */

static void test_pass(void)
{
    struct asked a;

    ask(&a, "POST", "/echo", "hello");
    finish(&a);
    ok(a.code == ERR_OK && a.status == 201 && str_eqc(str_c(a.type), "text/x-test"),
       "status and type pass");
    is_str(buf_view(&a.body), S("yes:hello"),
           "bodies pass both ways, the added header reaches the peer");
    ok(strcmp(a.retry, "7") == 0 && !a.secret[0], "Retry-After passes, other headers do not");
    ok(n_done == 1 && n_failed == 0 && n_broke == 0, "done came once, nothing else");
    buf_fini(&a.body);
    ask(&a, "GET", "/events", "");
    finish(&a);
    ok(a.code == ERR_OK && str_starts(str_c(a.type), S("text/event-stream")), "a stream of events");
    ok(str_starts(buf_view(&a.body), S("data: event 0\n\ndata: event 1\n\n")) &&
           str_ends(buf_view(&a.body), S("data: event 99\n\ndata: [DONE]\n\n")),
       "comes whole and in order");
    buf_fini(&a.body);
}

static void test_cut(void)
{
    struct asked a;

    ask(&a, "GET", "/cut", "");
    turn(100);
    is_str(buf_view(&a.body), S("data: whole\n\n"), "of a stream only whole events go out");
    http_abort(cut);
    finish(&a);
    ok(a.code == ERR_OK, "a stream that broke ends properly");
    is_str(buf_view(&a.body),
           S("data: whole\n\ndata: {\"broken\":\"worker_crashed\",\"why\":\"the peer ended before "
             "the reply was complete\"}\n\n"),
           "with one error event after the last whole one");
    ok(n_done == 1 && n_broke == 1 && n_failed == 0, "the owner heard that it broke");
    buf_fini(&a.body);
    ask(&a, "GET", "/cut-plain", "");
    turn(100);
    http_abort(cut);
    finish(&a);
    ok(a.code != ERR_OK && n_done == 1,
       "anything else is cut off, so that nobody takes it for whole");
    buf_fini(&a.body);
}

static void test_failed(void)
{
    struct asked a;

    ask(&a, "GET", "/die", "");
    finish(&a);
    ok(a.status == 503 &&
           str_find(buf_view(&a.body), S("the peer cannot be reached"), 0) != SIZE_MAX &&
           n_failed == 1 && n_broke == 1 && n_done == 1,
       "a peer that dies before the head is a 503");
    ok(str_find(buf_view(&a.body), S(".sock"), 0) == SIZE_MAX, "that tells no addresses");
    buf_fini(&a.body);
    ask(&a, "GET", "/busy", "");
    finish(&a);
    ok(a.status == 503 && str_find(buf_view(&a.body), S("not now"), 0) != SIZE_MAX && n_failed == 0,
       "an error status passes");
    buf_fini(&a.body);
    take_back = 1;
    taken = NULL;
    ask(&a, "GET", "/busy", "");
    turn(100);
    ok(taken && n_failed == 1 && n_done == 1 && !a.over && n_broke == 0,
       "a status worth a second try gives the request back");
    if (taken) http_reply(taken, 200, "text/plain", S("by another"));
    finish(&a);
    is_str(buf_view(&a.body), S("by another"), "which the owner may answer otherwise");
    buf_fini(&a.body);
    take_back = 0;
}

static void test_gone(void)
{
    struct asked a;

    ask(&a, "GET", "/wait", "");
    turn(100);
    ok(!a.over && peer_gone == 0, "a request under way");
    http_call_cancel(a.call);
    turn(100);
    ok(peer_gone == 1 && n_done == 1, "a client that goes away ends it at the peer");
    buf_fini(&a.body);
}

static void test_pressure(void)
{
    struct asked a;
    size_t held;

    ask(&a, "GET", "/big", "");
    a.keep = false;
    for (int i = 0; i < 200 && a.n_body == 0; i++)
        turn(5);
    http_call_pause(a.call, true);
    turn(700);
    held = peer_wrote;
    ok(held < BIG / 2, "a client that takes nothing stops the peer after %zu KiB", held / 1024);
    turn(200);
    is_int(peer_wrote, held, "for good");
    http_call_pause(a.call, false);
    finish(&a);
    ok(a.over && a.code == ERR_OK && a.n_body == BIG, "and gets everything when it goes on");
    buf_fini(&a.body);
}

static void on_closed(void *owner)
{
    (void)owner;
}

static enum err set_up(char *dir, struct err_info *e)
{
    struct http_conf fc = {.name = "front", .routes = front_routes},
                     pc = {.name = "peer", .routes = peer_routes};
    char front_path[128], peer_path[128];
    struct http_peer fp = {.unix_path = front_path}, pp = {.unix_path = peer_path};
    enum err code;

    snprintf(front_path, sizeof front_path, "%s/front.sock", dir);
    snprintf(peer_path, sizeof peer_path, "%s/peer.sock", dir);
    if ((code = http_server_new(&front, &loop, &fc, e)) ||
        (code = http_server_new(&peer, &loop, &pc, e)) ||
        (code = http_listen_unix(front, front_path, e)) ||
        (code = http_listen_unix(peer, peer_path, e)) ||
        (code = http_client_new(&to_front, &loop, &fp, e)))
        return code;
    return http_client_new(&to_peer, &loop, &pp, e);
}

int main(void)
{
    char dir[] = "/tmp/rbee-relay-XXXXXX";
    struct err_info e;

    if (!mkdtemp(dir) || uv_loop_init(&loop) || set_up(dir, &e)) {
        ok(false, "two servers in one loop");
        return tap_end();
    }
    uv_timer_init(&loop, &pump);
    uv_timer_start(&pump, on_pump, 2, 2);
    test_pass();
    test_cut();
    test_failed();
    test_gone();
    test_pressure();
    http_client_free(to_front);
    http_client_free(to_peer);
    uv_close((uv_handle_t *)&pump, NULL);
    http_server_close(front, 0, on_closed, NULL);
    http_server_close(peer, 0, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ok(uv_loop_close(&loop) == 0, "everything is closed in the end");
    rmdir(dir);
    return tap_end();
}
