/* snapshot: the catalogue as one file, for machines without a network and for copies.
 *
 * Lines of JSON: a head with format and version, one line for each model (its entry and the shapes
 * that are known), an end with their number and the SHA-256 of everything before it. Reading takes
 * also what the Hub itself answers: a list, an entry or a detail, or such entries one after the
 * other.
 *
 * A file is taken as a whole or not at all: it is read in one transaction and checked while it is
 * read. Memory does not grow with the file.
 */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include "store/modeldb.h"

#define SNAPSHOT_FORMAT  "rbee catalogue"
#define SNAPSHOT_VERSION 1
#define SNAPSHOT_SCOPE   "import"

/* All models to the file, which appears whole or not at all, or to standard output ("-"). */
MUST_CHECK enum err snapshot_export(struct modeldb *db, const char *path, uint64_t *models,
                                    struct err_info *e);

struct snapshot_done {
    uint64_t models, added, changed, removed;
    uint64_t older; /* left alone: the catalogue knows a later state */
    uint64_t bad;   /* entries that cannot be read */
    char why[200];  /* of the first bad one */
};

struct snapshot_conf {
    bool replace;              /* what the file does not hold leaves the catalogue */
    bool (*stop)(void *owner); /* or NULL; true: ERR_CANCELLED, nothing is changed */
    void *owner;
};

/* From a file or standard input ("-"). ERR_FORMAT: nothing is changed. */
MUST_CHECK enum err snapshot_import(struct modeldb *db, const char *path,
                                    const struct snapshot_conf *c, struct snapshot_done *done,
                                    struct err_info *e);

/* The same from anywhere: up to n bytes into p, *got 0 at the end. */
typedef enum err snapshot_read_fn(void *owner, void *p, size_t n, size_t *got, struct err_info *e);
MUST_CHECK enum err snapshot_import_from(struct modeldb *db, snapshot_read_fn *read, void *source,
                                         const struct snapshot_conf *c, struct snapshot_done *done,
                                         struct err_info *e);

#endif
