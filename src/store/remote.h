/* remote: what a model on the Hub is, read from the first bytes of its files.
 *
 * Of GGUF the headers of all parts come by range and become one struct gguf, as the loader has it.
 * Of SafeTensors come config.json and the small files beside it, and the headers of the shards;
 * they become the struct gguf that the loader would make of the folder, without values. Weights are
 * not fetched.
 *
 * What was read stays in a cache in the state folder, by repository, commit and path, so that
 * judging a model, pulling it and pulling on after an interruption fetch its header once. Entries
 * carry their own hash: a damaged one counts as absent. The cache is capped, the longest unused
 * entries go first; where it cannot be written, everything works without it.
 *
 * Blocking; a thread may use its own struct remote_conf.
 */
#ifndef STORE_REMOTE_H
#define STORE_REMOTE_H

#include "model/gguf.h"
#include "model/hf_meta.h"
#include "store/hubapi.h"
#include "store/store.h"

/* Points into itself: not to be copied. */
struct remote_conf {
    char endpoint[1024], token[LIMIT_PULL_TOKEN];
    char cache[STORE_PATH_MAX]; /* its folder; empty: none */
    struct download_conf net;   /* of the two above; the caller may set what else is in it */
};

/* The hub, the token and the cache of this user, with the defaults of a download. */
MUST_CHECK enum err remote_conf_init(struct remote_conf *c, const struct store *s,
                                     struct err_info *e);

struct remote {
    bool folder;
    bool opened; /* g is there; false: `refused` says why not */
    /* All parts, or the folder as hf_open() presents it; no values. */
    struct gguf g;
    bool headers; /* g has the tensors as they are in the files; false: the keys of a config.json */
    struct hf_meta_files texts; /* of a folder, in the arena */
    enum err refused;           /* what was read is no model that is read here; ERR_OK: it may be */
    char why[ERR_TEXT_MAX];
    uint64_t fetched; /* bytes that came over the network */
};

/* ERR_OK also when r->refused is set; errors are those of the network and of memory. The texts and
 * the header live in the arena; remote_close() releases the rest. */
MUST_CHECK enum err remote_open(struct remote *r, struct arena *a, const struct remote_conf *c,
                                const struct hubapi_repo *repo, const struct pick *p,
                                struct err_info *e);
void remote_close(struct remote *r);

#endif
