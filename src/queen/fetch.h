/* fetch: asks the Hub for what the catalogue lacks: the detail of a repository, the header of a
 * set.
 *
 * Runs in threads of the pool, at most two at once, each for at most FETCH_MS; one question about
 * the same thing is asked once. A detail goes into the database, so does the shape of the memory
 * that a header tells of; the header itself is handed to `got`. What failed is not tried again for
 * a while. Everything here is called on the loop's thread.
 */
#ifndef QUEEN_FETCH_H
#define QUEEN_FETCH_H

#include "queen/shelf.h"

#define FETCH_MS 30000

struct fetch_conf {
    uv_loop_t *loop;
    const struct store *store; /* outlives the fetcher */
    const char *path;          /* of the database, likewise */
    /* A header; belongs to the callee. */
    void (*got)(struct shelf_header *h, void *owner);
    void (*ended)(str id, void *owner); /* one thing about this repository has ended */
    void *owner;
};

struct fetcher;
MUST_CHECK enum err fetch_new(struct fetcher **out, const struct fetch_conf *c, struct err_info *e);
void fetch_stop(struct fetcher *f); /* what runs ends soon, without callbacks; nothing begins */
void fetch_free(struct fetcher *f); /* after the loop has ended */

/* ROW, DETAIL, or the HEADER of `set`, for whose shape the view's first worker is asked; v may be
 * NULL. True: it is under way, or will be. */
bool fetch_want(struct fetcher *f, enum shelf_missing what, str id, str set, struct hives_view *v);
/* Why that failed a short while ago; NULL: it did not. Borrowed until the next call. */
const struct err_info *fetch_failed(const struct fetcher *f, enum shelf_missing what, str id);

#endif
