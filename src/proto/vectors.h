/* vectors: the bodies of /v1/embeddings and /v1/rerank, in both directions.
 *
 * The first is OpenAI's; the second is the one of Jina, Cohere and llama.cpp, which agree. As in
 * openai.h all faults of a request are reported in one sentence list, and fields without effect are
 * named in `ignored`. The writers know nothing of sockets and models.
 */
#ifndef PROTO_VECTORS_H
#define PROTO_VECTORS_H

#include "base/json.h"
#include "model/meta.h"
#include "proto/openai.h"

#define VECTORS_INPUTS_MAX 2048 /* of one request, as OpenAI allows */

enum vectors_kind { VECTORS_EMBED, VECTORS_RERANK };

struct vectors_req {
    enum vectors_kind kind;
    str model;
    const struct openai_prompt *inputs; /* texts or ids; of a rerank: the documents' texts */
    size_t n_inputs;
    /* embeddings */
    bool base64;
    uint32_t dimensions; /* the first so many values only; 0: all */
    bool normalise;      /* vectors of length 1; true unless "normalize" says otherwise */
    bool has_pooling;    /* "pooling": mean, cls or last; else as the model says */
    enum meta_pooling pooling;
    /* rerank */
    str query;
    size_t top_n; /* the best only; 0: all */
    bool with_documents, raw_scores;
    str ignored; /* as openai_req.ignored */
};

/* `body` is the parsed tree; strings and arrays of *r are views into it or live in `a`. */
MUST_CHECK enum err vectors_parse(struct vectors_req *r, enum vectors_kind kind,
                                  const struct json *body, struct arena *a, struct err_info *e);

/* ---- replies ---- */
/* One row of n values for each input, one after the other `stride` values apart. */
void vectors_reply(buf *out, const struct vectors_req *r, str model, const float *rows,
                   size_t stride, uint32_t n, uint64_t tokens);

struct vectors_rank {
    size_t index; /* of the document */
    double score;
};

/* Best first; equal ones in their order. */
void vectors_sort(struct vectors_rank *ranks, size_t n);
void vectors_rerank_reply(buf *out, const struct vectors_req *r, str model,
                          const struct vectors_rank *ranks, uint64_t tokens);

#endif
