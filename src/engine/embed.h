/* embed: one vector out of the rows of a text.
 *
 * Rows come in the order of their tokens. The mean is summed in double, in this order, so that it
 * depends neither on the batches that the rows come in nor on other texts. Some models have dense
 * layers after the pooling (tensors dense_2.weight and dense_3.weight, as Sentence Transformers'
 * modules are numbered): they take the pooled row, and their result is the vector.
 */
#ifndef ENGINE_EMBED_H
#define ENGINE_EMBED_H

#include <stdint.h>

#include "engine/engine.h"
#include "model/gguf.h"

#define EMBED_DENSE 2

/* What a model's vectors need; one for an engine. */
struct embed {
    uint32_t width, n; /* values of a row, and of a vector */
    const struct gguf_tensor *dense[EMBED_DENSE];
    uint32_t n_dense;
    float *scratch; /* [3][most], owned */
    uint32_t most;
};

/* One text under way. */
struct embed_text {
    enum meta_pooling pooling;
    double *sum; /* [width], the caller's */
    float *out;  /* [n], or [tokens][width] with POOLING_NONE */
};

/* ERR_FORMAT for dense layers that do not fit. The file is borrowed. */
MUST_CHECK enum err embed_init(struct embed *m, const struct gguf *g, uint32_t width,
                               struct err_info *e);
void embed_fini(struct embed *m);

/* Which tokens' rows a pooling needs; those of a classifier are of the last token where a token
 * sees only what is before it, else of the first. */
enum gen_rows embed_rows(enum meta_pooling pooling, bool causal);
/* The row of token `pos`; a mean begins anew with token 0. */
void embed_row(const struct embed *m, struct embed_text *t, uint32_t pos, const float *row);
/* After the last of n_tok tokens: the vector. */
void embed_end(const struct embed *m, struct embed_text *t, uint32_t n_tok);

/* Divides by its length, unless that is 0. */
void embed_normalise(float *v, uint32_t n);
/* What a classifier's labels say as one number from 0 to 1: the logistic function of the one label,
 * or the share of the first among several. */
double embed_score(const float *labels, uint32_t n);
/* Labels as shares of one (softmax), in place. */
void embed_shares(float *labels, uint32_t n);

#endif
