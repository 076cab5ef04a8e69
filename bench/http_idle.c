/* http_idle: what 5,000 idle server-sent-event streams cost a server.
 *
 *   http_idle [STREAMS]
 *
 * The parent serves on a free port of loopback; a child opens the streams, reads the first event of
 * each and stays. Printed: resident memory of the server before and after, kB a stream, the time to
 * open them all, the time to send one event to every stream, and processor time while nothing
 * happens.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "net/http.h"

static struct http_req **streams;
static int n_streams, wanted;
static uint64_t began, rss_before;
static uv_timer_t timer;
static struct rusage idle_from;
static pid_t child;

static void on_gone(struct http_req *r)
{
    (void)r; /* only at the end, when the child leaves */
}

static double cpu_ms(const struct rusage *a, const struct rusage *b)
{
    return (double)(b->ru_utime.tv_sec + b->ru_stime.tv_sec - a->ru_utime.tv_sec -
                    a->ru_stime.tv_sec) *
               1e3 +
           (double)(b->ru_utime.tv_usec + b->ru_stime.tv_usec - a->ru_utime.tv_usec -
                    a->ru_stime.tv_usec) /
               1e3;
}

static void on_idle_over(uv_timer_t *t)
{
    struct rusage now;
    uint64_t from = os_now_ns();

    getrusage(RUSAGE_SELF, &now);
    printf("idle_cpu_ms_per_s %.2f\n", cpu_ms(&idle_from, &now) / 2);
    for (int i = 0; i < n_streams; i++)
        http_sse_data(streams[i], S("{\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}"));
    uv_run(t->loop, UV_RUN_NOWAIT);
    printf("event_to_all_ms %.1f\n", (double)(os_now_ns() - from) / 1e6);
    printf("rss_after_event_kb %llu\n", (unsigned long long)(os_rss() / 1024));
    kill(child, SIGTERM);
    uv_stop(t->loop);
}

static void on_all_open(uv_timer_t *t)
{
    uint64_t rss = os_rss();

    printf("rss_before_kb %llu\n", (unsigned long long)(rss_before / 1024));
    printf("rss_kb %llu\n", (unsigned long long)(rss / 1024));
    printf("kb_per_stream %.2f\n", (double)(rss - rss_before) / 1024 / n_streams);
    getrusage(RUSAGE_SELF, &idle_from);
    uv_timer_start(t, on_idle_over, 2000, 0);
}

static void h_stream(struct http_req *r, void *owner)
{
    (void)owner;
    r->gone = on_gone;
    http_sse_begin(r);
    http_sse_data(r, S("{\"choices\":[]}"));
    streams[n_streams++] = r;
    if (n_streams < wanted) return;
    printf("streams %d\nopen_ms %.0f\n", n_streams, (double)(os_now_ns() - began) / 1e6);
    uv_timer_start(&timer, on_all_open, 500, 0);
}

static void open_streams(int port)
{
    static const char ask[] = "GET /stream HTTP/1.1\r\nHost: localhost\r\nAccept: "
                              "text/event-stream\r\nUser-Agent: http_idle\r\n\r\n";
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char reply[1024];

    for (int i = 0; i < wanted; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) ||
            write(fd, ask, sizeof ask - 1) < 0 || read(fd, reply, sizeof reply) <= 0) {
            perror("http_idle: stream");
            _exit(1);
        }
    }
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    static const struct http_route routes[] = {{"GET", "/stream", 0, false, h_stream},
                                               {NULL, NULL, 0, false, NULL}};
    struct http_conf conf = {.name = "bench", .routes = routes};
    struct http_server *s;
    struct err_info e;
    uv_loop_t *loop = uv_default_loop();

    wanted = argc > 1 ? atoi(argv[1]) : 5000;
    if (wanted < 1 || wanted > 16000) return 64;
    streams = mem_need((size_t)wanted * sizeof *streams);
    signal(SIGPIPE, SIG_IGN);
    if (http_server_new(&s, loop, &conf, &e) || http_listen_tcp(s, "127.0.0.1", 0, &e)) {
        fprintf(stderr, "http_idle: %s\n", e.text);
        return 1;
    }
    fflush(stdout);
    child = fork();
    if (child == 0) open_streams(http_server_port(s));
    uv_timer_init(loop, &timer);
    began = os_now_ns();
    rss_before = os_rss();
    uv_run(loop, UV_RUN_DEFAULT);
    waitpid(child, NULL, 0);
    return 0;
}
