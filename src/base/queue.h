/* queue: a bounded queue of pointers between two threads.
 *
 * queue_push() never blocks: it returns false when the queue is full, and the pusher keeps the
 * item. queue_pop() waits up to a time. Items are moved: whoever pops owns. queue_close() wakes
 * everybody; after it push fails and pop drains what is left.
 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct queue;
struct queue *queue_new(size_t cap); /* NULL when there is no memory */
void queue_free(struct queue *q);    /* must be empty */

bool queue_push(struct queue *q, void *item);
/* wait_ms: 0 polls, -1 waits for ever. NULL when nothing came. */
void *queue_pop(struct queue *q, int wait_ms);
void queue_close(struct queue *q);
size_t queue_count(struct queue *q);

#endif
