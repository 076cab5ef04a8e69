/* address: see address.h. */
#include "net/address.h"

#include <string.h>

enum err address_listen(struct http_server *s, const char *text, struct err_info *e)
{
    str addr = str_c(text), host;
    char name[256];
    int64_t port;
    size_t colon = addr.n;

    if (str_starts(addr, S("unix:"))) return http_listen_unix(s, text + 5, e);
    while (colon > 0 && addr.p[colon - 1] != ':')
        colon--;
    host = str_sub(addr, 0, colon ? colon - 1 : 0);
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_sub(host, 1, host.n - 2);
    if (host.n == 0 || host.n >= sizeof name || !str_int(str_sub(addr, colon, addr.n), &port) ||
        port < 0 || port > 65535)
        return ERR_FAIL(e, INVALID, "cannot listen at '%s': write HOST:PORT or unix:PATH", text);
    memcpy(name, host.p, host.n);
    name[host.n] = 0;
    return http_listen_tcp(s, name, (int)port, e);
}
