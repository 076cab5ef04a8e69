/* utf8: strict UTF-8. See utf8.h; the well-formed byte sequences are Unicode's table 3-7. */
#include "base/utf8.h"

uint32_t utf8_next(str s, size_t *at)
{
    const uint8_t *p = (const uint8_t *)s.p + *at;
    size_t left = s.n - *at;
    uint32_t cp;
    size_t n;

    if (p[0] < 0x80) {
        ++*at;
        return p[0];
    }
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;
        cp = p[0] & 0x1fu;
    } else if ((p[0] & 0xf0) == 0xe0) {
        n = 3;
        cp = p[0] & 0x0fu;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        cp = p[0] & 0x07u;
    } else {
        goto bad;
    }
    if (left < n) goto bad;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) goto bad;
        cp = cp << 6 | (p[i] & 0x3fu);
    }
    if (n == 3 && (cp < 0x800 || (cp >= 0xd800 && cp <= 0xdfff))) goto bad;
    if (n == 4 && (cp < 0x10000 || cp > 0x10ffff)) goto bad;
    *at += n;
    return cp;
bad:
    ++*at;
    return UTF8_BAD;
}

size_t utf8_put(char out[4], uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xd800 && cp <= 0xdfff) return 0;
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff) return 0;
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool utf8_valid(str s)
{
    size_t at = 0;

    while (at < s.n) {
        if ((uint8_t)s.p[at] < 0x80)
            at++;
        else if (utf8_next(s, &at) == UTF8_BAD)
            return false;
    }
    return true;
}

size_t utf8_partial(str s)
{
    for (size_t back = 1; back <= 3 && back <= s.n; back++) {
        uint8_t c = (uint8_t)s.p[s.n - back];
        size_t want = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;

        if ((c & 0xc0) == 0x80) continue;
        return c < 0xf5 && want > back ? back : 0;
    }
    return 0;
}
