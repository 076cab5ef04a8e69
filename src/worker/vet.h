/* vet: has a model opened by a process that can do no harm before this process opens it.
 *
 * Model files come from strangers. vet_run() forks a child, which enters the sandbox
 * (worker/sandbox.h), opens the model exactly as the worker is about to (container, metadata, plan,
 * tokenizer, chat template) and sends its verdict through a pipe. A child that dies, hangs or tries
 * something forbidden costs nothing but the model being refused, with a sentence that names the
 * file. After the verdict "good" the worker opens the file itself; its pages are in the cache by
 * then, so the price is the parsing, some milliseconds for a large vocabulary.
 *
 * The verdict is about bytes, not about intent: a file made to take over the process that reads it
 * could send "good" and try again on the worker. It would have to do so without a single forbidden
 * call the first time. What the vetting rules out is that damage, crashes, endless loops and greed
 * for memory reach a worker, and that a take-over stays unseen.
 *
 * Where the system refuses the filter (some containers do) VET_AUTO goes on with what is left - a
 * process of its own, limits, a deadline - and logs it; VET_REQUIRE refuses the model. Call it
 * before any thread is started.
 */
#ifndef WORKER_VET_H
#define WORKER_VET_H

#include <stdint.h>

#include "base/err.h"

enum vet_mode { VET_AUTO, VET_REQUIRE, VET_OFF };
#define VET_MODES "auto|require|off" /* the names, in order */

/* Opens the model and closes it again; runs in the child. */
typedef enum err vet_fn(void *arg, struct err_info *e);

struct vet {
    const char *path; /* of the model: a file or a folder */
    enum vet_mode mode;
    vet_fn *open;
    void *arg;
    uint32_t seconds; /* until a child that sends nothing is killed; 0: LIMIT_VET_SECONDS */
};

/* The error that `open` returned, or ERR_FORMAT when it did not return: the path and what became of
 * it. ERR_UNSUPPORTED when a sandbox is required and there is none. */
MUST_CHECK enum err vet_run(const struct vet *v, struct err_info *e);

enum vet_mode vet_mode(const char *name); /* one of VET_MODES */

#endif
