/* modeldb_int: what the files of modeldb share. */
#ifndef STORE_MODELDB_INT_H
#define STORE_MODELDB_INT_H

#include "store/modeldb.h"

/* What a row keeps beside its text. */
struct modeldb_entry {
    const struct json *v;
    str id, sha;
    int64_t modified; /* 0: not said */
    uint64_t downloads;
    bool detailed; /* a file has its size */
};

/* Everything lives in the arena or is a view of v. */
MUST_CHECK enum err modeldb_entry_of(struct modeldb_entry *x, struct arena *a, const struct json *v,
                                     struct err_info *e);
/* Do both describe the same commit, as far as they say? */
bool modeldb_entry_same_commit(const struct modeldb_entry *a, const struct modeldb_entry *b);
/* x shortened; what it lacks comes from `old` (may be NULL), the files too when only that one has
 * their sizes. Writing again what was written changes nothing. */
void modeldb_entry_write(const struct modeldb_entry *x, const struct modeldb_entry *old, buf *out);

#endif
