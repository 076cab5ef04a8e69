/* download: a file in parallel ranges; small answers in one piece. See download.h.
 *
 * The front of what is missing is handed out in pieces to the streams, so that the file grows from
 * its start and few ranges are ever open. One loop moves bytes, hashes what is complete at the
 * front, saves the journal, reports and asks whether to stop.
 */
#include "store/download.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/download_int.h"

#define PIECE_MOST   MIB(16)
#define PIECE_LEAST  MIB(1)
#define SAVE_NS      1000000000u /* between two journals */
#define REPORT_NS    100000000u
#define HASH_AT_ONCE MIB(8)
#define POLL_MS      50
#define RATE_SECONDS 4.0

struct stream {
    struct download_request r;
    bool active;
};

struct download {
    const struct download_conf *c;
    const struct download_job *job;
    struct download_part part;
    CURLM *multi;
    struct stream streams[LIMIT_PULL_STREAMS];
    char home[DOWNLOAD_URL_MAX]; /* where the job's url was redirected to; empty: not known */
    uint64_t piece;
    uint32_t failures;
    uint64_t wait_until; /* os_now_ns() before which nothing is begun */
    uint64_t started_ns, saved_ns, reported_ns;
    uint64_t got, got_saved, got_failed; /* bytes of this run: all, at the last journal, failure */
    uint64_t rate_got;
    double rate;
    struct err_info why;  /* of the last failure */
    struct err_info disk; /* of a write that failed; code 0: none */
};

enum err download_init(struct err_info *e)
{
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);

    return code ? ERR_FAIL(e, INTERNAL, "libcurl: %s", curl_easy_strerror(code)) : ERR_OK;
}

static const char *name_of(const struct download_job *job)
{
    const char *slash = strrchr(job->path, '/');

    return slash ? slash + 1 : job->path;
}

/* ---- streams ---- */

static bool on_bytes(void *owner, uint64_t at, const void *bytes, size_t n)
{
    struct download *d = owner;

    if (!d->disk.code && download_part_write(&d->part, at, bytes, n, &d->disk)) return false;
    d->got += n;
    return !d->disk.code;
}

static enum err begin(struct download *d, struct stream *s, struct err_info *e)
{
    enum err code = download_http_begin(&s->r, d->c, e);

    if (code) return code;
    if (curl_multi_add_handle(d->multi, s->r.easy))
        return ERR_FAIL(e, NOMEM, "no memory for a transfer");
    s->active = true;
    return ERR_OK;
}

static enum err hand_out(struct download *d, struct err_info *e)
{
    struct download_range range;
    uint64_t now = os_now_ns();
    enum err code;

    for (uint32_t i = 0; i < d->c->n_streams; i++) {
        struct stream *s = &d->streams[i];

        if (s->active) continue;
        if (now < d->wait_until || !download_todo_take(&d->part.todo, d->piece, &range)) break;
        s->r.at = range.from;
        s->r.end = range.to;
        s->r.ranged = range.from != 0 || range.to != d->job->bytes;
        s->r.redirects = d->home[0] ? 1 : 0;
        s->r.size = d->job->bytes;
        s->r.sink = on_bytes;
        s->r.owner = d;
        snprintf(s->r.url, sizeof s->r.url, "%s", d->home[0] ? d->home : d->job->url);
        if ((code = begin(d, s, e))) {
            ASSERT(download_todo_add(&d->part.todo, s->r.at, s->r.end));
            return code;
        }
        if (d->failures) break; /* one that tries, until bytes come again */
    }
    return ERR_OK;
}

static size_t under_way(const struct download *d, struct download_range *out)
{
    size_t n = 0;

    for (uint32_t i = 0; i < d->c->n_streams; i++) {
        const struct stream *s = &d->streams[i];

        if (s->active && s->r.at < s->r.end) out[n++] = (struct download_range){s->r.at, s->r.end};
    }
    return n;
}

static enum err again(struct download *d, uint64_t asked, struct err_info *e)
{
    char note[ERR_TEXT_MAX + 64];
    struct download_progress p = {.total = d->job->bytes, .note = note};
    uint64_t pause;

    if (d->got > d->got_failed) d->failures = 0;
    d->got_failed = d->got;
    d->home[0] = 0;
    if (d->failures && os_now_ns() < d->wait_until) return ERR_OK; /* of the same trouble */
    if (++d->failures > d->c->retries) {
        *e = d->why;
        return e->code;
    }
    pause = download_http_pause(d->failures, asked);
    d->wait_until = os_now_ns() + pause * 1000000u;
    p.done = d->job->bytes - download_todo_bytes(&d->part.todo);
    snprintf(note, sizeof note, "%.400s; trying again in %.1f s", d->why.text,
             (double)pause / 1000);
    if (d->failures > 1 || asked) download_show(d->c, &p);
    return ERR_OK;
}

static enum err on_done(struct download *d, struct stream *s, CURLcode result, struct err_info *e)
{
    enum download_outcome o;
    uint64_t asked;

    curl_multi_remove_handle(d->multi, s->r.easy);
    s->active = false;
    if (d->disk.code) {
        *e = d->disk;
        return e->code;
    }
    o = download_http_end(&s->r, d->c, result, name_of(d->job), &asked, &d->why);
    if (o == DOWNLOAD_MOVED) {
        enum err code = begin(d, s, e);

        if (!code) return ERR_OK;
        ASSERT(download_todo_add(&d->part.todo, s->r.at, s->r.end));
        return code;
    }
    ASSERT(download_todo_add(&d->part.todo, s->r.at, s->r.end));
    if (o == DOWNLOAD_DONE) {
        if (s->r.redirects) memcpy(d->home, s->r.url, sizeof d->home);
        d->failures = 0;
        return ERR_OK;
    }
    if (o == DOWNLOAD_AGAIN) return again(d, asked, e);
    *e = d->why;
    return e->code;
}

static enum err collect(struct download *d, struct err_info *e)
{
    CURLMsg *m;
    int left;
    enum err code = ERR_OK;

    while (!code && (m = curl_multi_info_read(d->multi, &left))) {
        struct download_request *r = NULL;

        if (m->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
        for (uint32_t i = 0; i < d->c->n_streams; i++) {
            if (&d->streams[i].r == r) {
                code = on_done(d, &d->streams[i], m->data.result, e);
                break;
            }
        }
    }
    return code;
}

/* ---- the loop ---- */

/* Everything before this offset is there. */
static uint64_t front(const struct download *d)
{
    struct download_range r[LIMIT_PULL_STREAMS];
    size_t n = under_way(d, r);
    uint64_t at = d->part.todo.n ? d->part.todo.r[0].from : d->job->bytes;

    for (size_t i = 0; i < n; i++)
        at = r[i].from < at ? r[i].from : at;
    return at;
}

static enum err save(struct download *d, bool now, struct err_info *e)
{
    struct download_range r[LIMIT_PULL_STREAMS];
    uint64_t t = os_now_ns();

    if (d->got == d->got_saved || (!now && t - d->saved_ns < SAVE_NS)) return ERR_OK;
    d->saved_ns = t;
    d->got_saved = d->got;
    return download_part_save(&d->part, r, under_way(d, r), e);
}

static void report(struct download *d, bool now)
{
    struct download_range r[LIMIT_PULL_STREAMS];
    struct download_progress p = {.total = d->job->bytes};
    uint64_t t = os_now_ns(), missing = download_todo_bytes(&d->part.todo);
    double seconds = (double)(t - d->reported_ns) / 1e9, window;
    size_t n = under_way(d, r);

    if (!now && t - d->reported_ns < REPORT_NS) return;
    for (size_t i = 0; i < n; i++)
        missing += r[i].to - r[i].from;
    p.done = p.total - missing;
    p.checking = missing == 0;
    window = (double)(t - d->started_ns) / 1e9;
    if (window > RATE_SECONDS) window = RATE_SECONDS;
    if (seconds > 0 && window >= seconds)
        d->rate += ((double)(d->got - d->rate_got) / seconds - d->rate) * seconds / window;
    p.rate = d->rate;
    d->rate_got = d->got;
    d->reported_ns = t;
    download_show(d->c, &p);
}

static enum err turn(struct download *d, struct err_info *e)
{
    int running, fds;
    uint64_t upto;
    enum err code;

    if (download_stopped(d->c))
        return ERR_FAIL(e, CANCELLED,
                        "interrupted; what came of %s is kept: the same command goes on from here",
                        name_of(d->job));
    if ((code = hand_out(d, e))) return code;
    if (curl_multi_perform(d->multi, &running)) return ERR_FAIL(e, INTERNAL, "libcurl gave up");
    if ((code = collect(d, e)) || (code = save(d, false, e))) return code;
    upto = front(d);
    if ((code = download_part_hash(&d->part, upto, HASH_AT_ONCE, e))) return code;
    report(d, false);
    if (d->part.hashed == upto && upto < d->job->bytes &&
        curl_multi_poll(d->multi, NULL, 0, POLL_MS, &fds))
        return ERR_FAIL(e, INTERNAL, "libcurl gave up");
    return ERR_OK;
}

static enum err run(struct download *d, struct err_info *e)
{
    struct err_info second;
    enum err code = ERR_OK;

    d->started_ns = d->reported_ns = d->saved_ns = os_now_ns();
    while (!code && d->part.hashed < d->job->bytes)
        code = turn(d, e);
    if (!code) {
        report(d, true);
        return download_part_finish(&d->part, e);
    }
    if (save(d, true, &second)) return code; /* the first error is the cause */
    return code;
}

static void close_streams(struct download *d)
{
    for (uint32_t i = 0; i < LIMIT_PULL_STREAMS; i++) {
        struct stream *s = &d->streams[i];

        if (s->active) curl_multi_remove_handle(d->multi, s->r.easy);
        download_http_fini(&s->r);
    }
    curl_multi_cleanup(d->multi);
}

static bool hash_ok(str digest)
{
    for (size_t i = 0; i < digest.n; i++) {
        if (!memchr("0123456789abcdefABCDEF", digest.p[i], 22)) return false;
    }
    return digest.n == 64 || digest.n == 40;
}

enum err download_file(const struct download_conf *c, const struct download_job *job,
                       struct err_info *e)
{
    struct download *d;
    bool same;
    enum err code;

    if (!hash_ok(job->digest) || job->bytes > INT64_MAX || strlen(job->url) >= DOWNLOAD_URL_MAX)
        return ERR_FAIL(e, FORMAT, "%s: the hub names no hash or no size that we can use",
                        name_of(job));
    if ((code = download_part_check(c, job, &same, e)) || same) return code;
    if (!(d = mem_alloc(sizeof *d))) return ERR_FAIL(e, NOMEM, "no memory for a download");
    d->c = c;
    d->job = job;
    d->piece = job->bytes / (c->n_streams * 4) + 1;
    d->piece = d->piece < PIECE_LEAST ? PIECE_LEAST : d->piece > PIECE_MOST ? PIECE_MOST : d->piece;
    code = download_part_open(&d->part, job, e);
    /* Another process may have ended its download between the look and the lock. */
    if (!code && d->part.fresh && !(code = download_part_check(c, job, &same, e)) && same) {
        unlink(d->part.part);
    } else if (!code) {
        if (!(d->multi = curl_multi_init()))
            code = ERR_FAIL(e, NOMEM, "no memory for a download");
        else
            code = run(d, e);
        close_streams(d);
        if (code && d->part.fresh && !d->got) { /* nothing to go on from */
            unlink(d->part.part);
            unlink(d->part.journal);
        }
    }
    download_part_close(&d->part);
    mem_free(d);
    return code;
}

/* ---- small answers ---- */

struct small {
    const struct download_conf *c;
    buf *out;
};

static bool on_small(void *owner, uint64_t at, const void *bytes, size_t n)
{
    struct small *s = owner;

    (void)at;
    buf_put(s->out, bytes, n);
    return !s->out->failed;
}

static int on_tick(void *owner, curl_off_t a, curl_off_t b, curl_off_t x, curl_off_t y)
{
    struct small *s = owner;

    (void)a, (void)b, (void)x, (void)y;
    return download_stopped(s->c);
}

static enum err wait_ms(const struct download_conf *c, uint64_t ms, struct err_info *e)
{
    uint64_t end = os_now_ns() + ms * 1000000u;

    while (os_now_ns() < end && !download_stopped(c))
        usleep(POLL_MS * 1000);
    return download_stopped(c) ? ERR_FAIL(e, CANCELLED, "interrupted") : ERR_OK;
}

static enum err get_once(struct download_request *r, struct small *s, const char *what,
                         uint64_t *asked, enum download_outcome *o, struct err_info *e)
{
    enum err code;
    CURLcode result;

    do {
        if ((code = download_http_begin(r, s->c, e))) return code;
        curl_easy_setopt(r->easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(r->easy, CURLOPT_XFERINFOFUNCTION, on_tick);
        curl_easy_setopt(r->easy, CURLOPT_XFERINFODATA, s);
        result = curl_easy_perform(r->easy);
        if (s->out->failed)
            return ERR_FAIL(e, LIMIT, "%s: the answer is larger than %zu bytes", what, s->out->cap);
        if (result == CURLE_ABORTED_BY_CALLBACK) return ERR_FAIL(e, CANCELLED, "interrupted");
        *o = download_http_end(r, s->c, result, what, asked, e);
    } while (*o == DOWNLOAD_MOVED);
    return *o == DOWNLOAD_DONE ? ERR_OK : e->code;
}

enum err download_get(const struct download_conf *c, const char *url, const char *what,
                      uint64_t from, uint64_t n, buf *out, struct err_info *e)
{
    struct small s = {.c = c, .out = out};
    struct download_request *r = mem_alloc(sizeof *r);
    enum download_outcome o = DOWNLOAD_FAILED;
    size_t before = out->n;
    uint64_t asked = 0;
    enum err code;

    if (!r) return ERR_FAIL(e, NOMEM, "no memory for a transfer");
    for (uint32_t failures = 0;;) {
        r->at = from;
        r->end = n ? from + n : 0;
        r->ranged = n != 0;
        r->redirects = 0;
        r->sink = on_small;
        r->owner = &s;
        snprintf(r->url, sizeof r->url, "%s", url);
        o = DOWNLOAD_FAILED;
        code = get_once(r, &s, what, &asked, &o, e);
        if (!code || o != DOWNLOAD_AGAIN || ++failures > c->retries) break;
        out->n = before;
        if ((code = wait_ms(c, download_http_pause(failures, asked), e))) break;
    }
    download_http_fini(r);
    mem_free(r);
    return code;
}
