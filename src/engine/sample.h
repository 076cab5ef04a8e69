/* sample: from a row of logits to a token.
 *
 * A table of stages narrows the candidates: penalties, top_k, top_p, min_p, temperature; then one
 * is drawn. The draw number is a hash of (seed, index of the token), so it depends on nothing else:
 * not on batch neighbours, threads, or whether the sequence was computed twice. Candidates stay in
 * order of their ids, so that logits that differ in the last bit lead to the same token.
 *
 * One `sampler` serves one engine thread; it allocates only in sample_new().
 */
#ifndef ENGINE_SAMPLE_H
#define ENGINE_SAMPLE_H

#include <stdint.h>

#include "base/err.h"
#include "proto/params.h"

struct sampler;

struct sample_input {
    const float *logits; /* [n_vocab], not changed */
    const struct params *params;
    uint64_t seed;
    uint64_t index;       /* of the token within its reply */
    const int32_t *prior; /* the tokens before it, prompt included: what penalties look at */
    uint32_t n_prior;
};

struct sample_logprob {
    int32_t id;
    float logprob;
};

/* ---- life cycle ---- */
MUST_CHECK enum err sample_new(struct sampler **out, uint32_t n_vocab, struct err_info *e);
void sample_free(struct sampler *s);
uint64_t sample_bytes(uint32_t n_vocab); /* that sample_new() allocates */

/* ---- use ---- */
/* The next token, or -1 when no logit is a finite number. */
int32_t sample_token(struct sampler *s, const struct sample_input *in);
/* Log-probabilities of the unmodified distribution (log-softmax of the logits): that of `id`, and
 * the n likeliest in order into top[n]. Fewer than n exist in a small vocabulary: the count is
 * returned. */
uint32_t sample_logprobs(struct sampler *s, const float *logits, int32_t id, float *logprob,
                         struct sample_logprob *top, uint32_t n);

/* ---- inspect ---- */
/* Name of stage i in the order they run, NULL at the end. */
const char *sample_stage_name(uint32_t i);

#endif
