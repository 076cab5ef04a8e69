/* lane: jobs that run off the loop, one after the other.
 *
 * What a lane's jobs touch needs no lock: at most one of them runs. A job is a member of its
 * owner's struct and belongs to the lane from lane_push() until `done` is called, on the loop's
 * thread, or lane_drop() has returned true. Everything here is called on the loop's thread.
 */
#ifndef QUEEN_LANE_H
#define QUEEN_LANE_H

#include <stdbool.h>
#include <uv.h>

struct lane_job {
    void (*work)(struct lane_job *j);           /* in a thread of the pool */
    void (*done)(struct lane_job *j, bool ran); /* ran false: the lane stopped before */
    /* ---- private ---- */
    struct lane_job *next;
};

struct lane;
struct lane *lane_new(uv_loop_t *loop, unsigned most); /* jobs that wait; NULL: no memory */
void lane_free(struct lane *l);                        /* after the loop has ended */
/* False: too many wait, or the lane is stopped. */
bool lane_push(struct lane *l, struct lane_job *j);
/* True: it had not begun and never will; done is not called. */
bool lane_drop(struct lane *l, struct lane_job *j);
/* What waits is done without having run; what runs, ends. */
void lane_stop(struct lane *l);

#endif
