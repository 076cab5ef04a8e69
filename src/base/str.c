/* str: views of bytes. See str.h. */
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

str str_c(const char *c)
{
    return (str){c, c ? strlen(c) : 0};
}

bool str_eq(str a, str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eqc(str a, const char *c)
{
    return str_eq(a, str_c(c));
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_ieq(str a, str b)
{
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i])) return false;
    }
    return true;
}

int str_cmp(str a, str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    if (c) return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool str_starts(str s, str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends(str s, str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

str str_sub(str s, size_t from, size_t n)
{
    if (from > s.n) from = s.n;
    if (n > s.n - from) n = s.n - from;
    return (str){s.p ? s.p + from : NULL, n};
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

str str_trim(str s)
{
    while (s.n && is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

size_t str_find(str s, str needle, size_t from)
{
    const char *p;

    if (from > s.n || needle.n > s.n - from) return SIZE_MAX;
    if (needle.n == 0) return from;
    p = memmem(s.p + from, s.n - from, needle.p, needle.n);
    return p ? (size_t)(p - s.p) : SIZE_MAX;
}

str str_cut(str s, char sep, str *rest)
{
    const char *p = s.n ? memchr(s.p, sep, s.n) : NULL;
    size_t at;

    if (!p) {
        *rest = (str){NULL, 0};
        return s;
    }
    at = (size_t)(p - s.p);
    *rest = (str){p + 1, s.n - at - 1};
    return (str){s.p, at};
}

bool str_int(str s, int64_t *out)
{
    bool neg = false;
    uint64_t v = 0;
    size_t i = 0;

    if (s.n && (s.p[0] == '-' || s.p[0] == '+')) {
        neg = s.p[0] == '-';
        i = 1;
    }
    if (i == s.n) return false;
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        if (__builtin_mul_overflow(v, 10u, &v)) return false;
        if (__builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v)) return false;
    }
    if (neg) {
        if (v > (uint64_t)INT64_MAX + 1) return false;
        *out = v == (uint64_t)INT64_MAX + 1 ? INT64_MIN : -(int64_t)v;
        return true;
    }
    if (v > INT64_MAX) return false;
    *out = (int64_t)v;
    return true;
}

bool str_num(str s, double *out)
{
    char tmp[64], *end;

    /* strtod takes white space, "inf", "nan" and hexadecimal too; decimals only here. */
    if (s.n == 0 || s.n >= sizeof tmp) return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!memchr("0123456789+-.eE", s.p[i], 15)) return false;
    }
    memcpy(tmp, s.p, s.n);
    tmp[s.n] = 0;
    errno = 0;
    *out = strtod(tmp, &end);
    return *end == 0 && end != tmp && !(errno == ERANGE && (*out > 1 || *out < -1));
}

uint64_t str_hash(str s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < s.n; i++) {
        h ^= (uint8_t)s.p[i];
        h *= 0x100000001b3u;
    }
    return h;
}
