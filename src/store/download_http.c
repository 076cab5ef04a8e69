/* download_http: one request of a download: where it may go, what it carries, what came of it.
 *
 * libcurl speaks HTTP and TLS; redirections are followed here, one request each, so that every
 * address is judged and the token goes to one origin only.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/download_int.h"

#define REDIRECTS_MAX 5
#define PAUSE_FIRST   500   /* milliseconds */
#define PAUSE_MOST    30000 /* of our own */
#define PAUSE_ASKED   120000
#define BODY_IGNORED  MIB(1) /* of an answer that is not the file */

/* ---- addresses ---- */

struct address {
    char *scheme, *host, *port;
    bool plain; /* neither user nor password in it */
};

static void address_fini(struct address *a)
{
    curl_free(a->scheme);
    curl_free(a->host);
    curl_free(a->port);
}

/* Read by the parser that connects, so that both see one host. */
static bool address_of(struct address *a, const char *url)
{
    CURLU *u = curl_url();
    char *user = NULL;
    bool good;

    *a = (struct address){0};
    good = u && !curl_url_set(u, CURLUPART_URL, url, 0) &&
           !curl_url_get(u, CURLUPART_SCHEME, &a->scheme, 0) &&
           !curl_url_get(u, CURLUPART_HOST, &a->host, 0) &&
           !curl_url_get(u, CURLUPART_PORT, &a->port, CURLU_DEFAULT_PORT);
    if (good) a->plain = curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER;
    curl_free(user);
    curl_url_cleanup(u);
    return good;
}

static bool is_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* The Hub's own hosts, and those that its files lie on. */
static bool is_hub(const char *host)
{
    static const char *const names[] = {"huggingface.co", "hf.co"};
    str h = str_c(host);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        str name = str_c(names[i]);

        if (str_ieq(h, name)) return true;
        if (h.n > name.n && h.p[h.n - name.n - 1] == '.' &&
            str_ieq(str_sub(h, h.n - name.n, name.n), name))
            return true;
    }
    return false;
}

enum err download_check_endpoint(const char *endpoint, struct err_info *e)
{
    struct address a;
    bool good =
        address_of(&a, endpoint) && a.plain && !strpbrk(endpoint, "?#") &&
        (strcmp(a.scheme, "https") == 0 || (strcmp(a.scheme, "http") == 0 && is_loopback(a.host)));

    address_fini(&a);
    if (good && strlen(endpoint) < 1024) return ERR_OK;
    return ERR_FAIL(e, INVALID,
                    "'%.200s' is no hub: give https://HOST, or http:// with a loopback address",
                    endpoint);
}

bool download_http_same_origin(const char *url, const char *endpoint)
{
    struct address a, b;
    bool good = address_of(&a, url), also = address_of(&b, endpoint);
    bool same = good && also && strcmp(a.scheme, b.scheme) == 0 &&
                strcasecmp(a.host, b.host) == 0 && strcmp(a.port, b.port) == 0;

    address_fini(&a);
    address_fini(&b);
    return same;
}

bool download_http_allowed(const char *url, const char *endpoint)
{
    struct address a, b;
    bool good = address_of(&a, url), also = address_of(&b, endpoint), allowed = false;

    if (good && also && a.plain) {
        if (strcmp(a.scheme, "https") == 0)
            allowed = is_hub(a.host) || strcasecmp(a.host, b.host) == 0;
        else
            allowed = strcmp(a.scheme, "http") == 0 && strcmp(b.scheme, "http") == 0 &&
                      is_loopback(a.host) && is_loopback(b.host);
    }
    address_fini(&a);
    address_fini(&b);
    return allowed;
}

/* ---- a request ---- */

/* "bytes 5-9/100" */
static void read_content_range(struct download_request *r, str v)
{
    str rest;
    int64_t from, to, total;

    v = str_trim(v);
    r->partial = false;
    if (v.n < 6 || !str_ieq(str_sub(v, 0, 6), S("bytes "))) return;
    v = str_sub(v, 6, v.n);
    if (!str_int(str_cut(v, '-', &rest), &from) || !str_int(str_cut(rest, '/', &rest), &to) ||
        !str_int(rest, &total) || from < 0 || to < from || total <= to)
        return;
    r->partial = true;
    r->first = (uint64_t)from;
    r->total = (uint64_t)total;
}

static size_t on_header(char *p, size_t size, size_t n, void *owner)
{
    struct download_request *r = owner;
    str value, line = {p, size * n}, name;

    if (str_starts(line, S("HTTP/"))) r->partial = false;
    name = str_cut(line, ':', &value);
    if (value.p && str_ieq(name, S("content-range"))) read_content_range(r, value);
    return size * n;
}

/* The first byte decides whether this is what was asked for. */
static bool begin_body(struct download_request *r)
{
    long status = 0;

    r->begun = true;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 206)
        r->wrong =
            !r->ranged || !r->partial || r->first != r->at || (r->size && r->total != r->size);
    else if (status == 200)
        r->wrong = r->at != 0; /* all of it instead: good for the first range */
    else
        return false;
    return true;
}

static size_t on_body(char *p, size_t size, size_t n, void *owner)
{
    struct download_request *r = owner;
    size_t len = size * n;
    long status = 0;

    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!r->begun) (void)begin_body(r);
    if (status != 200 && status != 206) {
        curl_off_t got = 0;

        curl_easy_getinfo(r->easy, CURLINFO_SIZE_DOWNLOAD_T, &got);
        return got > (curl_off_t)BODY_IGNORED ? 0 : len;
    }
    if (r->wrong) return 0;
    if (r->end && len > r->end - r->at) len = (size_t)(r->end - r->at);
    if (len && !r->sink(r->owner, r->at, p, len)) return 0;
    r->at += len;
    return len; /* less than there was: ends the transfer */
}

static bool set_headers(struct download_request *r, const struct download_conf *c)
{
    char line[1100];
    struct curl_slist *more;

    curl_slist_free_all(r->headers);
    r->headers = NULL;
    if (!c->token || !download_http_same_origin(r->url, c->endpoint)) return true;
    snprintf(line, sizeof line, "Authorization: Bearer %.1000s", c->token);
    more = curl_slist_append(NULL, line);
    r->headers = more;
    return more != NULL;
}

enum err download_http_begin(struct download_request *r, const struct download_conf *c,
                             struct err_info *e)
{
    char range[64];
    CURLcode bad = CURLE_OK;

    if (!download_http_allowed(r->url, c->endpoint))
        return ERR_FAIL(e, ACCESS, "the hub sent us to an address that downloads may not use: %.*s",
                        (int)strcspn(r->url, "?#") < 200 ? (int)strcspn(r->url, "?#") : 200,
                        r->url);
    if (!r->easy && !(r->easy = curl_easy_init()))
        return ERR_FAIL(e, NOMEM, "no memory for a transfer");
    curl_easy_reset(r->easy); /* connections stay */
    r->begun = r->wrong = r->partial = false;
    snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)r->at,
             (unsigned long long)(r->end ? r->end - 1 : 0));
#define SET(option, value)                                                                         \
    if (!bad) bad = curl_easy_setopt(r->easy, CURLOPT_##option, value)
    SET(URL, r->url);
    SET(PROTOCOLS_STR, "http,https");
    SET(FOLLOWLOCATION, 0L);
    SET(USERAGENT, "rbee/" RBEE_VERSION);
    SET(NOSIGNAL, 1L);
    SET(CONNECTTIMEOUT_MS, (long)c->stall_ms);
    SET(LOW_SPEED_LIMIT, 1L);
    SET(LOW_SPEED_TIME, (long)(c->stall_ms + 999) / 1000);
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* one connection a range */
    SET(HEADERFUNCTION, on_header);
    SET(HEADERDATA, r);
    SET(WRITEFUNCTION, on_body);
    SET(WRITEDATA, r);
    SET(PRIVATE, r);
    if (r->ranged) SET(RANGE, range);
    if (!set_headers(r, c)) bad = CURLE_OUT_OF_MEMORY;
    SET(HTTPHEADER, r->headers);
#undef SET
    /* Only for speed: refused while the buffer of a transfer that failed early still exists. */
    (void)curl_easy_setopt(r->easy, CURLOPT_BUFFERSIZE, 256L * 1024);
    return bad ? ERR_FAIL(e, INTERNAL, "libcurl: %s", curl_easy_strerror(bad)) : ERR_OK;
}

void download_http_fini(struct download_request *r)
{
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->headers);
    r->easy = NULL;
    r->headers = NULL;
}

/* ---- what came of it ---- */

static enum download_outcome moved(struct download_request *r, const char *what, struct err_info *e)
{
    char *to = NULL;

    curl_easy_getinfo(r->easy, CURLINFO_REDIRECT_URL, &to);
    if (!to || strlen(to) >= sizeof r->url || ++r->redirects > REDIRECTS_MAX) {
        (void)ERR_FAIL(e, UNAVAILABLE, "%s: the hub's redirections lead nowhere", what);
        return DOWNLOAD_FAILED;
    }
    snprintf(r->url, sizeof r->url, "%s", to);
    return DOWNLOAD_MOVED;
}

static enum download_outcome refused(long status, const struct download_conf *c, const char *what,
                                     struct err_info *e)
{
    const char *token = c->token ? "the token that was sent does not open it"
                                 : "set HF_TOKEN, or log in with the hub's own program";

    if (status == 401)
        (void)ERR_FAIL(e, AUTH, "%s: the hub wants a token, or there is no such thing: %s", what,
                       token);
    else if (status == 403)
        (void)ERR_FAIL(e, ACCESS,
                       "%s: the hub denies access; accept its conditions on its page there, then "
                       "%s",
                       what, c->token ? "run this again" : token);
    else if (status == 404 || status == 410)
        (void)ERR_FAIL(e, NOTFOUND, "%s: the hub has no such thing", what);
    else
        (void)ERR_FAIL(e, UNAVAILABLE, "%s: the hub answers with status %ld", what, status);
    return DOWNLOAD_FAILED;
}

static enum download_outcome by_status(struct download_request *r, const struct download_conf *c,
                                       const char *what, uint64_t *pause_ms, struct err_info *e)
{
    long status = 0;
    curl_off_t seconds = 0;

    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308)
        return moved(r, what, e);
    if (status == 429 || status == 408 || status >= 500) {
        curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &seconds);
        *pause_ms = seconds > 0 && seconds < 86400 ? (uint64_t)seconds * 1000 : 0;
        if (seconds >= 86400) *pause_ms = PAUSE_ASKED;
        if (status == 429)
            (void)ERR_FAIL(e, BUSY, "%s: the hub asks for fewer requests (status 429)", what);
        else
            (void)ERR_FAIL(e, UNAVAILABLE, "%s: the hub answers with status %ld", what, status);
        return DOWNLOAD_AGAIN;
    }
    /* An address that files were redirected to expires. */
    if (r->redirects && (status == 401 || status == 403 || status == 404 || status == 410)) {
        (void)ERR_FAIL(e, UNAVAILABLE, "%s: the host that keeps it answers with status %ld", what,
                       status);
        return DOWNLOAD_AGAIN;
    }
    if (status == 200 || status == 206) return DOWNLOAD_DONE;
    return refused(status, c, what, e);
}

enum download_outcome download_http_end(struct download_request *r, const struct download_conf *c,
                                        CURLcode code, const char *what, uint64_t *pause_ms,
                                        struct err_info *e)
{
    enum download_outcome o;

    *pause_ms = 0;
    if (r->wrong) {
        (void)ERR_FAIL(e, UNAVAILABLE, "%s: the hub sent other bytes than were asked for", what);
        return DOWNLOAD_AGAIN;
    }
    if (r->end && r->at == r->end && r->begun) return DOWNLOAD_DONE; /* even if it went on */
    if (code == CURLE_OK) {
        if ((o = by_status(r, c, what, pause_ms, e)) != DOWNLOAD_DONE || !r->end) return o;
        (void)ERR_FAIL(e, UNAVAILABLE, "%s: the connection ended before the bytes did", what);
        return DOWNLOAD_AGAIN;
    }
    if (code == CURLE_OPERATION_TIMEDOUT)
        (void)ERR_FAIL(e, TIMEOUT, "%s: no byte came for %u s", what, (c->stall_ms + 999) / 1000);
    else if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT)
        (void)ERR_FAIL(e, UNAVAILABLE,
                       "%s: %s, or where it sends us, cannot be reached (%s): is there a network? "
                       "RBEE_HUB_URL names a mirror",
                       what, c->endpoint, curl_easy_strerror(code));
    else
        (void)ERR_FAIL(e, UNAVAILABLE, "%s: %s", what, curl_easy_strerror(code));
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return DOWNLOAD_FAILED;
    return DOWNLOAD_AGAIN;
}

uint64_t download_http_pause(uint32_t failures, uint64_t asked)
{
    uint64_t own = PAUSE_FIRST;
    uint16_t dice = 0;
    struct err_info ignored;

    for (uint32_t i = 1; i < failures && own < PAUSE_MOST; i++)
        own *= 2;
    if (own > PAUSE_MOST) own = PAUSE_MOST;
    if (os_random(&dice, sizeof dice, &ignored)) dice = 0;
    own = own / 2 + own * dice / 65536 / 2; /* many clients do not come back together */
    if (asked > PAUSE_ASKED) asked = PAUSE_ASKED;
    return asked > own ? asked : own;
}
