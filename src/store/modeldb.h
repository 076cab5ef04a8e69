/* modeldb: the catalogue of models on disk: what the Hub says of each, and what their headers said.
 *
 * A row is a repository: its entry in the Hub's list or its detail as one line of JSON, shortened
 * to what hub_parse() and people want (modeldb_entry.c), which hub_parse() reads. A detail knows
 * more than a list, so a list entry of the same commit only refreshes it. Ids are found whatever
 * their case. Shapes are what the headers of a repository's weights said about memory, by the name
 * of the set; a row that changes its commit loses them.
 *
 * Every change gets a revision, one for each transaction: a reader keeps the revision it has read
 * up to and asks for what is newer. A removed row stays behind as its id, so that such readers hear
 * of it. `origin` is drawn when the file is made: another origin is another catalogue, whose
 * revisions mean nothing to a reader of this one.
 *
 * Who put a row in is its scope: a synchronised list ("gguf", "safetensors"), an import, a
 * question. A list that was gone through to its end takes out what it no longer holds and nobody
 * else put in.
 *
 * A modeldb belongs to one thread at a time; several, in any process, may be open on one file.
 */
#ifndef STORE_MODELDB_H
#define STORE_MODELDB_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "model/memory.h"

struct modeldb;

/* ---- life cycle ---- */

/* path NULL: catalog.db in the state folder (store.h), which is made. */
MUST_CHECK enum err modeldb_open(struct modeldb **out, const char *path, struct err_info *e);
void modeldb_close(struct modeldb *db); /* NULL is fine; rolls back */

/* Many changes as one. Every change outside of begin and commit is one of its own. */
MUST_CHECK enum err modeldb_begin(struct modeldb *db, struct err_info *e);
MUST_CHECK enum err modeldb_commit(struct modeldb *db, struct err_info *e);
void modeldb_rollback(struct modeldb *db);

/* ---- change ---- */

enum modeldb_change {
    MODELDB_SAME,
    MODELDB_ADDED,
    MODELDB_CHANGED,
    MODELDB_OLDER,  /* only_newer: it was not put */
    MODELDB_SKIPPED /* only_there: the same */
};

#define MODELDB_ASKED "asked" /* the scope of modeldb_put() */

struct modeldb_put {
    str id;               /* that the reply must be of, case ignored; empty: whatever it is of */
    str json;             /* a list entry or a detail of the Hub */
    const struct json *v; /* the same, parsed already; or NULL */
    const char *scope;
    uint64_t pass;   /* of the scope; see modeldb_sync */
    bool only_newer; /* leave a row alone that changed later on the hub */
    bool only_there; /* make no new row */
};

/* ERR_FORMAT: no entry that hub_parse() takes, or of another repository. */
MUST_CHECK enum err modeldb_put(struct modeldb *db, str id, str json, struct err_info *e);
MUST_CHECK enum err modeldb_put_as(struct modeldb *db, const struct modeldb_put *p,
                                   enum modeldb_change *change, struct err_info *e);
/* ERR_NOTFOUND. */
MUST_CHECK enum err modeldb_remove(struct modeldb *db, str id, struct err_info *e);

/* What the header of a set of the repository said; the set "" is the repository's own (of
 * config.json). ERR_NOTFOUND: no such row. */
MUST_CHECK enum err modeldb_shape_put(struct modeldb *db, str id, str set,
                                      const struct memory_shape *shape, struct err_info *e);

/* ---- read ---- */

struct modeldb_shape {
    str set;
    struct memory_shape shape;
};

struct modeldb_row {
    str id;
    str entry;      /* JSON; empty when removed */
    bool removed;   /* then only id and revision count */
    bool detailed;  /* sizes of files are known */
    int64_t stored; /* unix time of the last change */
    uint64_t revision;
    const struct modeldb_shape *shapes; /* the repository's own first */
    size_t n_shapes;
};

/* The row in the arena. ERR_NOTFOUND. */
MUST_CHECK enum err modeldb_get(struct modeldb *db, str id, struct arena *a,
                                struct modeldb_row *row, struct err_info *e);

/* Rows newer than *revision, in the order of their revisions; removed ones only when *revision is
 * not 0. The row is good during the call; an error from fn ends it and is returned. *revision
 * becomes what was read up to. fn must not use db. */
typedef enum err modeldb_fn(void *owner, const struct modeldb_row *row, struct err_info *e);
MUST_CHECK enum err modeldb_each(struct modeldb *db, uint64_t *revision, modeldb_fn *fn,
                                 void *owner, struct err_info *e);

/* Cheap: asked before each use of what was read. */
MUST_CHECK enum err modeldb_revision(struct modeldb *db, uint64_t *revision, struct err_info *e);
uint64_t modeldb_origin(const struct modeldb *db);

/* ---- synchronisation: where a walk through a list stands (store/hubsync) ---- */

struct modeldb_sync {
    str scope, endpoint;
    str next;          /* address of the next page; empty: none under way */
    str kind;          /* of the walk under way */
    uint64_t want;     /* models; 0: all */
    uint64_t pass;     /* number of the walk */
    uint64_t seen;     /* models of it so far */
    uint64_t least;    /* downloads of the last model of the last whole walk */
    int64_t started;   /* unix times; 0: never */
    int64_t whole;     /* end of the last whole walk */
    int64_t updated;   /* end of the last walk */
    int64_t mark;      /* newest lastModified that is known to be in */
    int64_t mark_next; /* and that of the walk under way */
    uint64_t models;   /* rows of the scope; only read */
};

/* All zero when there is none of that scope. Strings in the arena. */
MUST_CHECK enum err modeldb_sync_get(struct modeldb *db, str scope, struct arena *a,
                                     struct modeldb_sync *out, struct err_info *e);
MUST_CHECK enum err modeldb_sync_put(struct modeldb *db, const struct modeldb_sync *s,
                                     struct err_info *e);
/* The scope was gone through: what it holds of other passes leaves it. *removed: rows that nobody
 * else holds, which are gone. */
MUST_CHECK enum err modeldb_sync_sweep(struct modeldb *db, str scope, uint64_t pass,
                                       uint64_t *removed, struct err_info *e);

/* Nothing stays but what this pass of the scope put in; no list is synchronised any more. */
MUST_CHECK enum err modeldb_keep_only(struct modeldb *db, const char *scope, uint64_t pass,
                                      uint64_t *removed, struct err_info *e);

/* ---- inspect ---- */

struct modeldb_status {
    const char *path;
    uint64_t models, detailed, shapes, revision, bytes;
    const struct modeldb_sync *scopes; /* also those that nothing synchronises: without times */
    size_t n_scopes;
};

MUST_CHECK enum err modeldb_status(struct modeldb *db, struct arena *a, struct modeldb_status *s,
                                   struct err_info *e);
/* Reads all of it. */
MUST_CHECK enum err modeldb_check(struct modeldb *db, struct err_info *e);

#endif
