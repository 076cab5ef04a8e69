/* url: see url.h. */
#include "base/url.h"

#include <string.h>

#include "base/utf8.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static const char *unescape(str *out, struct arena *a, str raw)
{
    char *p = arena_alloc(a, raw.n, 1);
    size_t n = 0;

    if (!p) return "not enough memory";
    for (size_t i = 0; i < raw.n; i++) {
        int hi, lo;

        if (raw.p[i] != '%') {
            p[n++] = raw.p[i];
            continue;
        }
        if (raw.n - i < 3 || (hi = hex(raw.p[i + 1])) < 0 || (lo = hex(raw.p[i + 2])) < 0)
            return "a wrong percent-encoding";
        p[n++] = (char)(hi * 16 + lo);
        i += 2;
    }
    *out = (str){p, n};
    return NULL;
}

const char *url_decode(str *out, struct arena *a, str raw)
{
    const char *why;

    *out = raw;
    if (raw.n && memchr(raw.p, '%', raw.n) && (why = unescape(out, a, raw))) return why;
    for (size_t i = 0; i < out->n; i++)
        if ((unsigned char)out->p[i] < 0x20 || out->p[i] == 0x7f) return "a control character";
    return utf8_valid(*out) ? NULL : "bytes that are not UTF-8";
}

static bool plain(char c, const char *keep)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c != 0 && (strchr("-._~", c) || strchr(keep, c));
}

void url_encode(buf *out, str text, const char *keep)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (plain(text.p[i], keep)) {
            buf_ch(out, text.p[i]);
            continue;
        }
        buf_ch(out, '%');
        buf_ch(out, digits[c >> 4]);
        buf_ch(out, digits[c & 15]);
    }
}
