/* reply_vectors: one HTTP request for vectors or scores of texts, from its body to its last byte.
 *
 * As reply.h: it owns the ids of all texts and the memory that the engine writes to, and lives
 * until every job has come back and the HTTP side has ended. Loop thread only.
 */
#ifndef WORKER_REPLY_VECTORS_H
#define WORKER_REPLY_VECTORS_H

#include "proto/vectors.h"
#include "worker/reply.h"

void reply_vectors_start(struct reply_model *m, struct http_req *r, enum vectors_kind kind);
/* An event of a job that has a vector. */
void reply_vectors_on_msg(const struct chan_msg *msg);
void reply_vectors_cancel_all(struct reply_model *m);

#endif
