/* address: "HOST:PORT", "[::1]:PORT" and "unix:PATH" as people write them. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include "net/http.h"

/* Listens there. The error names the text and says what is expected. */
MUST_CHECK enum err address_listen(struct http_server *s, const char *text, struct err_info *e);

#endif
