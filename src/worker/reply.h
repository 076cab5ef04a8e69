/* reply: one HTTP request to the model, from its body to the last byte.
 *
 * A reply owns everything of its request: the arena with prompts and stops, one gen_job for each
 * choice, the text that is collected. It lives until every job has come back from the engine and
 * the HTTP side has ended, whichever is later: a client that goes away sets the cancel flags, and
 * the memory waits for the engine to let go. Loop thread only.
 */
#ifndef WORKER_REPLY_H
#define WORKER_REPLY_H

#include "net/http.h"
#include "proto/openai.h"
#include "text/chat.h"
#include "worker/chan.h"
#include "worker/host.h"

struct reply_model { /* what a request needs of the model; borrowed */
    struct host *host;
    const struct chat *chat;
    const char *name;
    struct reply *live; /* list of replies under way */
    uint32_t n_live;
    struct vectors_reply *vectors; /* the same of requests for vectors (reply_vectors.h) */
};

/* Handles a request body: answers with an error at once or starts jobs. */
void reply_start(struct reply_model *m, struct http_req *r, enum openai_kind kind);
/* An event from the engine (the job's owner is a choice of a reply, or a vectors_reply). */
void reply_on_msg(const struct chan_msg *msg, void *owner);
/* Called about every second: a streamed reply that was silent for REPLY_SILENCE_NS begins, if it
 * has not, and gets a comment, so that nobody on the way takes a long prompt for a dead peer. */
#define REPLY_SILENCE_NS ((uint64_t)10 * 1000000000u)
void reply_tick(struct reply_model *m);
/* Cancels every job under way (shutdown). */
void reply_cancel_all(struct reply_model *m);

#endif
