/* feed: windows of tokens for training and for measuring the loss.
 *
 * A window begins with a document and is filled up with further ones, the last cut short; so a
 * document is seen at every distance from the beginning, and every window begins as a prompt does.
 * After each document stands </s>. target[i] is the id after ids[i].
 */
#ifndef TRAIN_FEED_H
#define TRAIN_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "spm.h"

/* [batch][window] each; from: where in its window the document of a token begins. */
struct feed_rows {
    int32_t *ids, *target, *from;
};

struct feed {
    const struct spm *spm;
    uint64_t next; /* document */
    bool held_out;
    buf text, ids;
};

void feed_init(struct feed *f, const struct spm *s, bool held_out);
void feed_fini(struct feed *f);
void feed_windows(struct feed *f, size_t batch, size_t window, struct feed_rows rows);

#endif
