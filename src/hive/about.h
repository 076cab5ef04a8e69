/* about: GET /v1/machine, what this machine is: store/machine.h, asked off the loop.
 *
 * The first question makes the worker measure its kernels, for a few seconds; who asks meanwhile
 * waits for the same answer. While a worker is busy nothing is measured: the figures would be wrong
 * and the work would suffer. `?measure=no` never waits, `?measure=again` measures anew.
 */
#ifndef HIVE_ABOUT_H
#define HIVE_ABOUT_H

#include "hive/fleet.h"

struct about;

/* The strings are borrowed until about_free(). */
MUST_CHECK enum err about_new(struct about **out, uv_loop_t *loop, const struct fleet *f,
                              const char *worker, const char *state, uint32_t threads,
                              struct err_info *e);
/* What is under way ends soon; nothing new begins. */
void about_stop(struct about *x);
/* After the server is closed and the loop has ended. */
void about_free(struct about *x);
/* Answers the request, now or later. */
void about_reply(struct about *x, struct http_req *r);

#endif
