/* chan: the bounded byte queue from the engine thread to the loop thread.
 *
 * The engine writes events as records into one ring and never allocates; the loop reads them all in
 * one go when its async handle fires. When the ring is full the engine waits for the loop, which
 * never waits for the engine, so there is no cycle. One writer, one reader.
 */
#ifndef WORKER_CHAN_H
#define WORKER_CHAN_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"

struct chan;

/* What one record carries; strings are borrowed from the reader's scratch until the next read. */
struct chan_msg {
    struct gen_job *job;
    struct gen_event ev; /* ev.top and ev.message point into the record */
};

struct chan *chan_new(size_t bytes); /* NULL when there is no memory */
void chan_free(struct chan *c);

/* Engine thread. Returns true when the reader has to be woken (the ring was empty). Waits for room,
 * so the reader must go on reading as long as there is a writer. */
bool chan_put(struct chan *c, struct gen_job *job, const struct gen_event *ev);
/* Loop thread. False when there is nothing. */
bool chan_get(struct chan *c, struct chan_msg *out);
#endif
