/* remote_int: what the files of remote share: the cache of first bytes. */
#ifndef STORE_REMOTE_INT_H
#define STORE_REMOTE_INT_H

#include "store/remote.h"

/* Names an entry. */
struct remote_key {
    str endpoint, id, commit, path;
    uint64_t bytes; /* of the whole file */
};

/* Appends the entry's bytes; false when there is none, or none that is whole. */
bool remote_cache_get(const char *dir, const struct remote_key *k, buf *out);
/* Best effort: what goes wrong here is nobody's error. */
void remote_cache_put(const char *dir, const struct remote_key *k, str body);

#endif
