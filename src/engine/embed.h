/* embed: one vector out of the rows of a text.
 *
 * Rows come in the order of their tokens. The mean is summed in double, in this order, so that it
 * depends neither on the batches that the rows come in nor on other texts.
 */
#ifndef ENGINE_EMBED_H
#define ENGINE_EMBED_H

#include <stdint.h>

#include "engine/engine.h"

struct embed {
    enum meta_pooling pooling;
    uint32_t width; /* values of a row */
    double *sum;    /* [width], the caller's; for POOLING_MEAN only */
    float *out;     /* [width], or [tokens][width] with POOLING_NONE */
};

/* Which tokens' rows a pooling needs; those of a classifier are of the last token where a token
 * sees only what is before it, else of the first. */
enum gen_rows embed_rows(enum meta_pooling pooling, bool causal);
/* The row of token `pos`; a row of token 0 begins anew. */
void embed_row(struct embed *m, uint32_t pos, const float *row);
/* After the last of n_tok tokens. */
void embed_end(struct embed *m, uint32_t n_tok);

/* Divides by its length, unless that is 0. */
void embed_normalise(float *v, uint32_t n);
/* What a classifier's labels say as one number from 0 to 1: the logistic function of the one label,
 * or the share of the first among several. */
double embed_score(const float *labels, uint32_t n);

#endif
