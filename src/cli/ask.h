/* ask: what `run`, `chat` and `serve --ask` share: generation options and asking with them.
 *
 * The options are made from params.def, so a new sampler parameter is a flag everywhere at once.
 */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "cli/client.h"
#include "proto/params.h"

struct ask_opts {
    struct client client;
    struct params params;
    const char *system;
    struct opt_list stop;
    const char *keep_alive;
    bool raw, json, verbose;
};

#define ASK_ROWS_MAX 48
/* Fills rows[] with the options above (at offset `at` of the command's struct), then `own` (ends
 * with a NULL flag). */
void ask_rows(struct opt rows[ASK_ROWS_MAX], size_t at, const struct opt *own);

struct ask_turn {
    const char *role; /* "user", "assistant", "system" */
    str text;
};

/* Sends the turns (one user turn with `raw`) and prints the reply as it comes; with opts->json the
 * whole reply object at the end. The text is also collected in *reply when that is not NULL. */
MUST_CHECK enum err ask_model(const struct ask_opts *o, const char *model,
                              const struct ask_turn *turns, size_t n, buf *reply,
                              struct err_info *e);
/* The name under which the queen knows the model. Where the queen is this machine's, the file is
 * looked at first, so that what cannot run is refused before anything is started, and `out` is its
 * absolute path. */
MUST_CHECK enum err ask_resolve(const struct client *c, const char *model, char *out, size_t size,
                                struct err_info *e);

#endif
