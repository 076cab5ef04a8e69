/* hubapi: what `rbee pull` asks the Hugging Face Hub, or a mirror that speaks its API.
 *
 * One request lists a repository's files with sizes and hashes at one commit; the addresses made
 * here name that commit, so that all files of a model belong together even when the repository
 * changes meanwhile. Files whose names cannot become paths of the store are left out.
 */
#ifndef STORE_HUBAPI_H
#define STORE_HUBAPI_H

#include "base/arena.h"
#include "base/limits.h"
#include "store/download.h"
#include "store/pick.h"

struct hubapi_repo {
    str id;
    str commit; /* what the files' addresses name */
    bool gated;
    const struct pick_file *files; /* those with a size and a hash */
    size_t n_files;
    str text; /* the reply, for model/hub.h */
};

/* RBEE_HUB_URL, else HF_ENDPOINT, else the Hub; without a slash at its end. */
MUST_CHECK enum err hubapi_endpoint(char out[1024], struct err_info *e);
/* HF_TOKEN, else the file that the Hub's own program keeps (HF_TOKEN_PATH, HF_HOME); false: none.
 */
bool hubapi_token(char out[LIMIT_PULL_TOKEN]);

/* The reply to hubapi_list(), read without trust. `json` must outlive the result. */
MUST_CHECK enum err hubapi_parse(struct hubapi_repo *r, struct arena *a, str json,
                                 struct err_info *e);
MUST_CHECK enum err hubapi_list(struct hubapi_repo *r, struct arena *a,
                                const struct download_conf *c, const struct pick_name *name,
                                struct err_info *e);
/* The address of a file, in the arena; NULL: no memory. */
const char *hubapi_url(const struct hubapi_repo *r, struct arena *a, const char *endpoint,
                       str path);

#endif
