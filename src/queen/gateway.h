/* gateway: requests to a model: find the worker, pass the request on, try again when that is safe.
 *
 * A small table remembers which worker has which model; it is a hint, checked by the hive, and void
 * when the hive has restarted. A request of which no byte was sent to the client is tried a second
 * time on a worker that is made sure of first; any other failure ends the stream with one error
 * event.
 */
#ifndef QUEEN_GATEWAY_H
#define QUEEN_GATEWAY_H

#include "net/http.h"
#include "proto/openai.h"
#include "queen/upstream.h"

struct gateway;

struct gateway_counts {
    uint64_t requests, failed, cancelled, retried;
    uint32_t active;
};

MUST_CHECK enum err gateway_new(struct gateway **out, uv_loop_t *loop, struct upstream *up,
                                struct err_info *e);
void gateway_free(struct gateway *g); /* no request may be under way */

/* An endpoint of a worker, by its path there (which outlives the request). `paths`: a model may be
 * named by an absolute path. */
void gateway_serve(struct gateway *g, struct http_req *r, const char *target, bool paths);
/* The hive is there again: requests that waited for it go on. */
void gateway_wake(struct gateway *g);
/* Called about every second: requests that waited too long for a hive are refused. */
void gateway_tick(struct gateway *g);
struct gateway_counts gateway_counts(const struct gateway *g);
uint64_t gateway_last_ns(const struct gateway *g); /* when the last request began or ended */

#endif
