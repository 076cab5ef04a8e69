/* store: where things lie on disk, and which models are there.
 *
 * Directories follow the XDG variables: models in ~/.cache/rbee/models, state in
 * ~/.local/share/rbee, configuration in ~/.config/rbee; RBEE_MODELS overrides the first. Models
 * that came with the program (beside the executable) are found too. A model is named by a path, by
 * its file's path below one of the model folders without ".gguf", or as the Hub has it:
 * "ORG/REPO:QUANT" and what else pick.h reads, looked for in the folder ORG/REPO. Names are checked
 * before they become paths: no "..", no absolute parts, no control characters.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define STORE_PATH_MAX  4096
#define STORE_ROOTS_MAX 4

struct store {
    char roots[STORE_ROOTS_MAX][STORE_PATH_MAX]; /* model folders, the user's own first */
    int n_roots;
    char own[STORE_PATH_MAX]; /* where new models go, the first root once it exists */
    char state[STORE_PATH_MAX];
    char config[STORE_PATH_MAX];
    char run[STORE_PATH_MAX]; /* sockets: XDG_RUNTIME_DIR/rbee, else below state */
};

/* Works out the directories; creates none. */
MUST_CHECK enum err store_init(struct store *s, struct err_info *e);

/* The absolute path of the model of that name below the roots; never one that a path was given for.
 */
MUST_CHECK enum err store_find(const struct store *s, str name, char out[STORE_PATH_MAX],
                               struct err_info *e);
/* The same for "ORG/REPO[:QUANT|:FILE]" among the files in that folder; store_find() asks it last.
 * ERR_NOTFOUND when none of the folder's models is meant; ERR_NOMODEL when there is no folder. */
MUST_CHECK enum err store_repo_find(const struct store *s, str name, char out[STORE_PATH_MAX],
                                    struct err_info *e);
/* The absolute path of the file that `name` means, be it a name or a path, NUL-terminated in `out`.
 * ERR_NOMODEL says what to do. Whether the file is a model is for others to find out. */
MUST_CHECK enum err store_resolve(const struct store *s, str name, char out[STORE_PATH_MAX],
                                  struct err_info *e);
/* The name under which a path is known: relative to its root without ".gguf", else the file's own
 * name. */
str store_name_of(const struct store *s, str path);

struct store_model {
    str name, path;
    uint64_t bytes;   /* all parts */
    int64_t modified; /* unix time */
    str architecture, quantization;
    uint64_t n_params;
    uint32_t n_ctx;
    bool chat;
    bool runnable;
    str problem; /* why not, when it is not */
    enum err problem_code;
};

/* Puts the file's path before the text of *e where the text does not name it; returns e->code. */
enum err store_blame(const char *path, struct err_info *e);
/* Every model below the roots, sorted by name; headers are read. At most LIMIT_STORE_MODELS. */
MUST_CHECK enum err store_list(const struct store *s, struct arena *a, struct store_model **out,
                               size_t *n, struct err_info *e);
/* One file. A file that is not a model this version runs is described, with runnable false. */
MUST_CHECK enum err store_inspect(const struct store *s, struct arena *a, const char *path,
                                  struct store_model *out, struct err_info *e);

#endif
