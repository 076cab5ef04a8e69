/* hubsync_http: one request for a page of the list, repeated until it is whole.
 *
 * Pages are large texts, so they come compressed. A stalled connection is ended by download_http's
 * rules, one that only drips by a time limit here.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "store/hubsync_int.h"

#define POLL_US      50000
#define PAGE_MS      600000 /* of one answer */
#define ASKED_MOST   600000 /* that a server may make us wait */
#define QUOTA_MOST_S 3600

/* ---- headers ---- */

/* One "<address>; rel=next" of the list. */
static bool is_next(str one, str *address)
{
    str rest, a = str_trim(str_cut(one, ';', &rest));

    if (a.n < 2 || a.p[0] != '<' || a.p[a.n - 1] != '>') return false;
    *address = str_sub(a, 1, a.n - 2);
    while (rest.p) {
        str p = str_trim(str_cut(rest, ';', &rest));

        if (str_ieq(p, S("rel=next")) || str_ieq(p, S("rel=\"next\""))) return true;
    }
    return false;
}

static bool plain_query(str q)
{
    for (size_t i = 0; i < q.n; i++)
        if (q.p[i] <= 0x20 || q.p[i] >= 0x7f || q.p[i] == '#') return false;
    return q.n > 0;
}

bool hubsync_http_next(char out[DOWNLOAD_URL_MAX], const char *endpoint, str link)
{
    str rest = link, address, query;

    out[0] = 0;
    while (rest.p) {
        /* A comma separates links; inside of <> it is part of one. */
        size_t close = str_find(rest, S(">"), 0), comma;
        str one = rest;

        if (close == SIZE_MAX) return false;
        comma = str_find(rest, S(","), close);
        if (comma != SIZE_MAX) one = str_sub(rest, 0, comma);
        rest = comma != SIZE_MAX ? str_sub(rest, comma + 1, rest.n) : (str){0};
        if (!is_next(str_trim(one), &address)) continue;
        address = str_cut(address, '?', &query);
        if (!query.p || !plain_query(query) || !str_ends(address, S("/api/models"))) return false;
        return snprintf(out, DOWNLOAD_URL_MAX, "%s/api/models?%.*s", endpoint, STR(query)) <
                   DOWNLOAD_URL_MAX ||
               (out[0] = 0);
    }
    return false;
}

uint64_t hubsync_http_quota(str header)
{
    int64_t left = -1, seconds = -1;
    str rest = header;

    while (rest.p) {
        str p = str_trim(str_cut(rest, ';', &rest)), value, key = str_cut(p, '=', &value);

        if (value.p && str_eq(key, S("r")) && !str_int(value, &left)) left = -1;
        if (value.p && str_eq(key, S("t")) && !str_int(value, &seconds)) seconds = -1;
    }
    if (left != 0 || seconds < 1) return 0;
    return (uint64_t)(seconds < QUOTA_MOST_S ? seconds : QUOTA_MOST_S) * 1000;
}

static str header_of(CURL *easy, const char *name)
{
    struct curl_header *h;

    return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? str_c(h->value)
                                                                              : S("");
}

/* ---- a request ---- */

struct page {
    const struct download_conf *conf;
    buf *out;
};

static bool on_bytes(void *owner, uint64_t at, const void *bytes, size_t n)
{
    struct page *p = owner;

    (void)at;
    buf_put(p->out, bytes, n);
    return !p->out->failed;
}

static int on_tick(void *owner, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct page *p = owner;

    (void)a, (void)b, (void)c, (void)d;
    return p->conf->stop(p->conf->owner);
}

static enum err stopped(struct err_info *e)
{
    return ERR_FAIL(e, CANCELLED,
                    "interrupted; what came is kept: the same command goes on from here");
}

static enum err wait_until(const struct hubsync_http *h, uint64_t ns, struct err_info *e)
{
    while (os_now_ns() < ns && !h->conf->stop(h->conf->owner))
        usleep(POLL_US);
    return h->conf->stop(h->conf->owner) ? stopped(e) : ERR_OK;
}

static void read_answer(struct hubsync_http *h, struct hubsync_answer *a)
{
    curl_off_t n = 0;

    curl_easy_getinfo(h->r.easy, CURLINFO_RESPONSE_CODE, &a->status);
    if (!curl_easy_getinfo(h->r.easy, CURLINFO_SIZE_DOWNLOAD_T, &n) && n > 0)
        a->bytes += (uint64_t)n;
    a->pause_ms = hubsync_http_quota(header_of(h->r.easy, "ratelimit"));
    a->date = (int64_t)curl_getdate(header_of(h->r.easy, "date").p, NULL);
    if (a->date < 0) a->date = 0;
    (void)hubsync_http_next(a->next, h->conf->endpoint, header_of(h->r.easy, "link"));
}

/* Redirections followed. */
static enum err once(struct hubsync_http *h, struct page *p, struct hubsync_answer *a,
                     uint64_t *asked, enum download_outcome *o, struct err_info *e)
{
    struct download_request *r = &h->r;
    CURLcode code;
    enum err err;

    do {
        if ((err = download_http_begin(r, h->conf, e))) return err;
        curl_easy_setopt(r->easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(r->easy, CURLOPT_XFERINFOFUNCTION, on_tick);
        curl_easy_setopt(r->easy, CURLOPT_XFERINFODATA, p);
        curl_easy_setopt(r->easy, CURLOPT_ACCEPT_ENCODING, "");
        curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)PAGE_MS);
        buf_clear(p->out);
        code = curl_easy_perform(r->easy);
        if (p->out->no_memory) return ERR_FAIL(e, NOMEM, "no memory for a page of the hub's list");
        if (p->out->failed)
            return ERR_FAIL(e, LIMIT, "a page of the hub's list is larger than %zu bytes",
                            p->out->cap);
        if (code == CURLE_ABORTED_BY_CALLBACK) return stopped(e);
        read_answer(h, a);
        *o = download_http_end(r, h->conf, code, "the hub's list of models", asked, e);
    } while (*o == DOWNLOAD_MOVED);
    return *o == DOWNLOAD_DONE ? ERR_OK : e->code;
}

static void begin(struct hubsync_http *h, const char *url, struct page *p)
{
    struct download_request *r = &h->r;

    r->at = r->end = r->size = 0;
    r->ranged = false;
    r->redirects = 0;
    r->sink = on_bytes;
    r->owner = p;
    snprintf(r->url, sizeof r->url, "%s", url);
}

static void tell(struct hubsync_http *h, const char *why, uint64_t ms)
{
    char text[ERR_TEXT_MAX + 64];

    snprintf(text, sizeof text, "%.400s; going on in %.0f s", why, (double)ms / 1000);
    h->note(h->owner, text);
}

/* A pause before the next attempt. */
static enum err pause_for(struct hubsync_http *h, uint32_t failures, uint64_t asked,
                          const struct err_info *why, struct err_info *e)
{
    uint64_t ms = download_http_pause(failures, 0);

    if (asked > ASKED_MOST) asked = ASKED_MOST;
    if (asked > ms) ms = asked;
    if (ms >= 1000) tell(h, why->text, ms);
    return wait_until(h, os_now_ns() + ms * 1000000u, e);
}

enum err hubsync_http_get(struct hubsync_http *h, const char *url,
                          enum err (*check)(void *owner, str body, struct err_info *e), buf *out,
                          struct hubsync_answer *a, struct err_info *e)
{
    struct page p = {.conf = h->conf, .out = out};
    enum download_outcome o;
    struct err_info why;
    uint64_t asked;
    enum err err;

    *a = (struct hubsync_answer){0};
    for (uint32_t failures = 0;;) {
        if (h->quota_ms) tell(h, "the hub's quota of requests is used up", h->quota_ms);
        h->quota_ms = 0;
        if ((err = wait_until(h, h->free_ns, e))) return err;
        begin(h, url, &p);
        o = DOWNLOAD_FAILED;
        asked = 0;
        err = once(h, &p, a, &asked, &o, e);
        h->free_ns = os_now_ns() + (uint64_t)h->pace_ms * 1000000u;
        if (!err && (err = check(h->owner, buf_view(out), e)) == ERR_FORMAT) o = DOWNLOAD_AGAIN;
        if (!err || o != DOWNLOAD_AGAIN || ++failures > h->conf->retries) break;
        why = *e;
        if ((err = pause_for(h, failures, asked ? asked : a->pause_ms, &why, e))) return err;
    }
    if (!err && a->pause_ms) {
        h->quota_ms = a->pause_ms;
        h->free_ns = os_now_ns() + a->pause_ms * 1000000u;
    }
    return err;
}

void hubsync_http_fini(struct hubsync_http *h)
{
    download_http_fini(&h->r);
}
