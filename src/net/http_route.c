/* http_route: from a request head to the row of the table that answers it, and whether it may.
 *
 * A path is matched segment by segment on the raw target and decoded afterwards, so an encoded
 * slash stays inside its segment: "/v1/models/org%2Fname" is one {id} "org/name". The first row
 * that fits wins. A path that fits only rows of other methods is 405 and says which; OPTIONS tells
 * the same.
 *
 * Two locks: the token, and without a token the names by which this server may be addressed, since
 * a web page can point its own name at 127.0.0.1 (DNS rebinding) or post to it from elsewhere.
 *
 * Left out: absolute-form targets; this is no proxy.
 */
#include "net/http_int.h"

#include <stdio.h>
#include <string.h>

#include "base/url.h"

/* A "." or ".." between slashes or backslashes of the decoded path. */
static bool has_dots(str path)
{
    size_t from = 0;

    for (size_t i = 0; i <= path.n; i++) {
        str seg;

        if (i < path.n && path.p[i] != '/' && path.p[i] != '\\') continue;
        seg = str_sub(path, from, i - from);
        if (str_eq(seg, S(".")) || str_eq(seg, S(".."))) return true;
        from = i + 1;
    }
    return false;
}

/* ---- matching ---- */

/* The segment that begins at *at (after a slash); *at moves behind it. */
static str segment(str path, size_t *at)
{
    size_t end = str_find(path, S("/"), *at);
    str s;

    if (end == SIZE_MAX) end = path.n;
    s = str_sub(path, *at, end - *at);
    *at = end + 1;
    return s;
}

/* Fills m->param with raw views. */
static bool match_path(const char *pattern, str path, struct http_match *m)
{
    str pat = str_c(pattern);
    size_t i = 1, j = 1;

    m->n_params = 0;
    while (i <= pat.n) {
        str want = segment(pat, &i), got;

        if (j > path.n) return false;
        if (str_eq(want, S("{*}"))) {
            m->param[m->n_params++] = str_sub(path, j, SIZE_MAX);
            return true;
        }
        got = segment(path, &j);
        if (want.n && want.p[0] == '{') {
            if (got.n == 0) return false;
            ASSERT(m->n_params < 4);
            m->param[m->n_params++] = got;
            continue;
        }
        /* Literal segments may come encoded as well ("%76" is "v"), but none of ours needs to. */
        if (!str_eq(want, got)) return false;
    }
    return j > path.n;
}

static void allow(struct http_match *m, const char *method)
{
    size_t n = strlen(m->allow);

    if (strstr(m->allow, method)) return;
    snprintf(m->allow + n, sizeof m->allow - n, "%s%s", n ? ", " : "", method);
    if (strcmp(method, "GET") == 0) allow(m, "HEAD");
}

static void refuse(struct http_match *m, int status, const char *why)
{
    m->route = NULL;
    m->status = status;
    m->why = why;
}

void http_route_find(const struct http_route *routes, str method, str target, struct arena *a,
                     struct http_match *out)
{
    bool head = str_eqc(method, "HEAD"), options = str_eqc(method, "OPTIONS");
    str raw = str_cut(target, '?', &out->query);
    struct http_match trial = {0};
    const char *why;

    *out = (struct http_match){.query = out->query, .path = raw};
    if (options && str_eqc(target, "*")) {
        for (const struct http_route *r = routes; r->path; r++)
            allow(out, r->method);
        refuse(out, 204, "");
        return;
    }
    if (raw.n == 0 || raw.p[0] != '/') {
        refuse(out, 400, "the target must begin with a slash");
        return;
    }
    if ((why = url_decode(&out->path, a, raw)) ||
        (has_dots(out->path) && (why = "dots in the path"))) {
        refuse(out, 400, why);
        return;
    }
    for (const struct http_route *r = routes; r->path; r++) {
        if (!match_path(r->path, raw, &trial)) continue;
        allow(out, r->method);
        if (!str_eqc(method, r->method) && !(head && strcmp(r->method, "GET") == 0)) continue;
        out->route = r;
        out->n_params = trial.n_params;
        for (int i = 0; i < trial.n_params; i++)
            if ((why = url_decode(&out->param[i], a, trial.param[i]))) refuse(out, 400, why);
        return;
    }
    if (out->allow[0] == 0)
        refuse(out, 404, "there is nothing at this path");
    else if (options)
        refuse(out, 204, "");
    else
        refuse(out, 405, "the path exists, the method does not");
}

/* ---- locks ---- */

/* "http://name:port" or "name:port" to "name"; brackets of an IPv6 address stay. */
static str host_name(str v)
{
    size_t at = str_find(v, S("://"), 0), end;

    if (at != SIZE_MAX) v = str_sub(v, at + 3, SIZE_MAX);
    end = str_starts(v, S("[")) ? str_find(v, S("]"), 0) : str_find(v, S(":"), 0);
    if (end == SIZE_MAX) return v;
    return str_sub(v, 0, v.p[0] == '[' ? end + 1 : end);
}

bool http_route_host_ok(str value, const char *bound, const char *const *hosts)
{
    static const char *const own[] = {"localhost", "127.0.0.1", "[::1]"};
    str name = host_name(value);

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (str_ieq(name, str_c(own[i]))) return true;
    if (bound && bound[0] && str_ieq(name, str_c(bound))) return true;
    for (; hosts && *hosts; hosts++)
        if (str_ieq(name, host_name(str_c(*hosts)))) return true;
    return false;
}

bool http_foreign(const struct http_req *r)
{
    str origin = http_header(r, "Origin"), site = http_header(r, "Sec-Fetch-Site");
    size_t at = str_find(origin, S("://"), 0);

    if (site.n && !str_ieq(site, S("same-origin")) && !str_ieq(site, S("none"))) return true;
    if (!origin.n) return false;
    return at == SIZE_MAX || !str_ieq(str_sub(origin, at + 3, SIZE_MAX), http_header(r, "Host"));
}

/* Time depends on the length of what the client sent, never on the token. */
static bool same_secret(str got, str want)
{
    unsigned diff = got.n != want.n;

    if (want.n == 0) return false;
    for (size_t i = 0; i < got.n; i++)
        diff |= (unsigned)(unsigned char)(got.p[i] ^ want.p[i % want.n]);
    return diff == 0;
}

bool http_route_token_ok(const struct http_header *h, size_t n, const char *token)
{
    int n_auth, n_key;
    str auth = http_parse_find(h, n, "authorization", &n_auth);
    str key = http_parse_find(h, n, "x-api-key", &n_key);

    if (n_auth > 1 || n_key > 1) return false;
    if (n_auth) {
        if (!str_ieq(str_sub(auth, 0, 7), S("bearer "))) return false;
        return same_secret(str_trim(str_sub(auth, 7, SIZE_MAX)), str_c(token));
    }
    return n_key && same_secret(key, str_c(token));
}
