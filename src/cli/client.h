/* client: the command line's side of the queen's API.
 *
 * A `struct client` names a queen. client_ensure() finds it or, when the address is this machine's
 * own, starts one in the background and waits until it is healthy. Calls block; Ctrl-C sets a flag
 * that ends them, so that the queen sees the connection close and cancels the job.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/opt.h"

struct client {
    const char *host;
    int64_t port;
    const char *token;
    /* ---- set by client_ensure ---- */
    int started_pid; /* of a queen that this call started; 0: it was there */
};

/* Rows for a command's option table, with the member of type struct client. */
#define CLIENT_OPTS(T, member)                                                                     \
    {"host", 0,           OPT_STR, offsetof(T, member.host), "ADDR", "127.0.0.1", NULL, 0,         \
     0,      "RBEE_HOST", "host",  "the queen's address"},                                         \
        {"port", 0,           OPT_INT, offsetof(T, member.port), "N", "7833", NULL, 1,             \
         65535,  "RBEE_PORT", "port",  "the queen's port"},                                        \
    {                                                                                              \
        "token", 0, OPT_STR, offsetof(T, member.token), "TOKEN", NULL, NULL, 0, 0, "RBEE_TOKEN",   \
            "token", "bearer token, where the queen needs one"                                     \
    }

/* Ctrl-C from here on sets the flag instead of ending the program. */
atomic_bool *client_catch_interrupt(void);

/* Is it an address of this machine? Then model files can be looked at before it is asked. */
bool client_is_local(const struct client *c);
/* Healthy already? */
bool client_alive(const struct client *c);
MUST_CHECK enum err client_ensure(struct client *c, struct err_info *e);
/* Stops the queen that client_ensure() started (after a failure, so that nothing stays behind). */
void client_undo(struct client *c);

/* One call; the reply parsed into the arena. An error status becomes the error it names. */
MUST_CHECK enum err client_json(const struct client *c, struct arena *a, const char *method,
                                const char *target, str body, const struct json **out,
                                struct err_info *e);

/* Streams a completion. on_text gets pieces as they come; *last (may be NULL) the final usage
 * object as JSON text. */
struct client_stream {
    const char *target; /* "/v1/chat/completions" */
    str body;
    bool (*on_text)(void *owner, str text); /* false: nobody wants more */
    void *owner;
    buf *usage; /* NULL or where the last event goes */
};
MUST_CHECK enum err client_stream(const struct client *c, const struct client_stream *s,
                                  struct err_info *e);

#endif
