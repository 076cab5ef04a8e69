/* chan: a ring of bytes under one lock. See chan.h.
 *
 * A record is a header, the alternatives and the text, laid out contiguously: when it does not fit
 * before the end of the ring, a header of size 0 says "go on at the start". Records are aligned
 * to 16.
 */
#include "worker/chan.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct record {
    size_t bytes; /* whole record; 0: the rest of the ring is unused */
    struct gen_job *job;
    struct gen_event ev;
    size_t message; /* bytes of ev.message, its NUL included */
};

struct chan {
    pthread_mutex_t lock;
    pthread_cond_t room;
    size_t size, head, used; /* head: next byte to read; used includes skipped tails */
    char *ring;
    char *scratch; /* the reader's copy of one record */
};

#define RECORD_MAX ((size_t)65536)

struct chan *chan_new(size_t bytes)
{
    struct chan *c = mem_alloc(sizeof *c);

    if (!c) return NULL;
    ASSERT(bytes >= 4 * RECORD_MAX && bytes % 16 == 0);
    c->size = bytes;
    c->ring = mem_aligned(16, bytes);
    c->scratch = mem_aligned(16, RECORD_MAX);
    if (!c->ring || !c->scratch) {
        mem_free(c->ring);
        mem_free(c->scratch);
        mem_free(c);
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->room, NULL);
    return c;
}

void chan_free(struct chan *c)
{
    if (!c) return;
    pthread_cond_destroy(&c->room);
    pthread_mutex_destroy(&c->lock);
    mem_free(c->ring);
    mem_free(c->scratch);
    mem_free(c);
}

/* Finds contiguous room for n bytes, waiting for the reader. */
static char *make_room(struct chan *c, size_t n)
{
    for (;;) {
        size_t tail = (c->head + c->used) % c->size;
        size_t to_end = c->size - tail;
        size_t need = n <= to_end ? n : to_end + n;

        if (need <= c->size - c->used) {
            if (n > to_end) {
                ((struct record *)(void *)(c->ring + tail))->bytes = 0;
                c->used += to_end;
                tail = 0;
            }
            c->used += n;
            return c->ring + tail;
        }
        pthread_cond_wait(&c->room, &c->lock);
    }
}

bool chan_put(struct chan *c, struct gen_job *job, const struct gen_event *ev)
{
    struct record r = {.job = job, .ev = *ev, .message = ev->message ? strlen(ev->message) + 1 : 0};
    size_t top = ev->n_top * sizeof *ev->top;
    char *p;
    bool was_empty;

    r.bytes = (sizeof r + top + ev->text.n + r.message + 15) & ~(size_t)15;
    ASSERT(r.bytes <= RECORD_MAX);
    pthread_mutex_lock(&c->lock);
    was_empty = c->used == 0;
    p = make_room(c, r.bytes);
    memcpy(p, &r, sizeof r);
    p += sizeof r;
    if (top) memcpy(p, ev->top, top);
    if (ev->text.n) memcpy(p + top, ev->text.p, ev->text.n);
    if (r.message) memcpy(p + top + ev->text.n, ev->message, r.message);
    pthread_mutex_unlock(&c->lock);
    return was_empty;
}

bool chan_get(struct chan *c, struct chan_msg *out)
{
    struct record r;
    char *p;
    size_t top;

    pthread_mutex_lock(&c->lock);
    if (c->used == 0) {
        pthread_mutex_unlock(&c->lock);
        return false;
    }
    memcpy(&r.bytes, c->ring + c->head, sizeof r.bytes);
    if (r.bytes == 0) {
        c->used -= c->size - c->head;
        c->head = 0;
    }
    memcpy(&r, c->ring + c->head, sizeof r);
    memcpy(c->scratch, c->ring + c->head, r.bytes);
    c->head = (c->head + r.bytes) % c->size;
    c->used -= r.bytes;
    pthread_cond_signal(&c->room);
    pthread_mutex_unlock(&c->lock);

    p = c->scratch + sizeof r;
    top = r.ev.n_top * sizeof *r.ev.top;
    out->job = r.job;
    out->ev = r.ev;
    out->ev.top = (const struct gen_logprob *)(const void *)p;
    out->ev.text.p = p + top;
    out->ev.message = r.message ? p + top + r.ev.text.n : NULL;
    return true;
}
