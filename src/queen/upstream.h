/* upstream: the queen's connection to a hive, and the embedded hive's process.
 *
 * The embedded hive is a child, restarted when it dies; it is asked for its status every second and
 * is lost after three seconds of silence. `epoch` counts its lives: what was learned in an earlier
 * one (which worker has which model) is void.
 */
#ifndef QUEEN_UPSTREAM_H
#define QUEEN_UPSTREAM_H

#include "base/json.h"
#include "net/http.h"

struct upstream;

struct upstream_conf {
    uv_loop_t *loop;
    const char *exe;              /* this program, to start `rbee hive` */
    const char *socket;           /* where the hive shall listen */
    const char *const *hive_args; /* NULL-terminated */
    void (*changed)(void *owner); /* ready or lost; may be NULL */
    void *owner;
};

MUST_CHECK enum err upstream_new(struct upstream **out, const struct upstream_conf *conf,
                                 struct err_info *e);
/* Stops the child, then calls done. */
void upstream_close(struct upstream *u, void (*done)(void *owner), void *owner);

bool upstream_ready(const struct upstream *u);
unsigned upstream_epoch(const struct upstream *u);
struct http_client *upstream_client(const struct upstream *u);
/* The last status as JSON text, "{}" before the first; borrowed until the loop turns. */
str upstream_status(const struct upstream *u);
unsigned upstream_workers(const struct upstream *u); /* in that status */

/* One call whose whole reply is wanted. `then` is called once: status 0 on a transport failure,
 * with the reason as body. Cancel with http_call_cancel() only through upstream_cancel(). */
struct upstream_ask;
typedef void upstream_then(int status, str body, enum err code, void *owner);
struct upstream_ask *upstream_ask(struct upstream *u, str method, str target, str body,
                                  upstream_then *then, void *owner);
void upstream_cancel(struct upstream_ask *a); /* then is not called */

#endif
