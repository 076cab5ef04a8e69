/* team: a fixed set of threads that share out numbered tasks.
 *
 * team_for() runs fn(arg, task, thread) for every task of 0..n-1 and returns when all are done.
 * Which thread runs a task is not determined, so a task may write only what no other task touches,
 * and its result may not depend on the thread; then every thread count gives the same bytes.
 * `thread` picks scratch memory only.
 */
#ifndef TRAIN_TEAM_H
#define TRAIN_TEAM_H

#include <stddef.h>

#define TEAM_MAX 64

typedef void team_fn(void *arg, size_t task, unsigned thread);

struct team;

struct team *team_new(unsigned threads); /* clamped to 1..TEAM_MAX */
void team_free(struct team *t);
unsigned team_threads(const struct team *t);
void team_for(struct team *t, size_t n, team_fn *fn, void *arg);

#endif
