/* db: tables on disk, behind the few verbs that this program needs of a
 * database.
 *
 * SQL is written in what SQLite and PostgreSQL have in common: parameters $1,
 * $2, ..., the types BIGINT, DOUBLE PRECISION and TEXT, INSERT ... ON CONFLICT.
 * What differs between them stays below this header; db_sqlite.c is the one
 * implementation, and tests/unit/test_db.c is written against this header only.
 *
 * A connection and its statements belong to one thread at a time. Several
 * processes and threads may have connections to one database: readers never
 * wait, writers wait for each other up to db_conf.busy_ms and then get
 * ERR_EXISTS. A transaction is there whole or not at all, whatever ends the
 * program.
 *
 * Errors: ERR_EXISTS another process writes; ERR_NOSPACE; ERR_ACCESS;
 * ERR_FORMAT a file that is damaged or none of ours; ERR_UNSUPPORTED written by
 * a newer version; ERR_INTERNAL wrong SQL.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct db;
struct db_stmt;

struct db_conf {
    const char *path;
    uint32_t busy_ms; /* how long a writer waits for another; 0: 10 s */
};

/* ---- life cycle ---- */

/* Creates the database where there is none; its folder exists. */
MUST_CHECK enum err db_open(struct db **out, const struct db_conf *c, struct err_info *e);
void db_close(struct db *d); /* rolls back what was not committed; NULL is fine */

/* Steps of a schema, each the SQL that leads from one version to the next;
 * appended to, never changed. Brings the part of the database that is called
 * `name` to version n, each step whole or not at all; ERR_UNSUPPORTED when it
 * is beyond that. */
MUST_CHECK enum err db_migrate(struct db *d, const char *name, const char *const *steps, size_t n,
                               struct err_info *e);

/* ---- use ---- */

/* Statements without parameters and results, separated by ';'. */
MUST_CHECK enum err db_exec(struct db *d, const char *sql, struct err_info *e);

/* A transaction that writes; they do not nest. A failed statement inside leaves
 * it open: roll back.
 */
MUST_CHECK enum err db_begin(struct db *d, struct err_info *e);
MUST_CHECK enum err db_commit(struct db *d, struct err_info *e);
void db_rollback(struct db *d); /* no effect outside of a transaction */
bool db_in_transaction(const struct db *d);

/* One statement, kept until db_finish(). */
MUST_CHECK enum err db_prepare(struct db *d, struct db_stmt **out, const char *sql,
                               struct err_info *e);
void db_finish(struct db_stmt *s); /* NULL is fine */

/* Parameter n is $n. Text is borrowed until the statement ends (db_reset,
 * db_run). What a binding cannot do is told by the next step. */
void db_bind_int(struct db_stmt *s, int n, int64_t v);
void db_bind_num(struct db_stmt *s, int n, double v);
void db_bind_text(struct db_stmt *s, int n, str v);
void db_bind_null(struct db_stmt *s, int n);

/* The next row; *row false: there is none, and the statement is reset. After an
 * error too. */
MUST_CHECK enum err db_step(struct db_stmt *s, bool *row, struct err_info *e);
void db_reset(struct db_stmt *s); /* ends it early; forgets what was bound */
/* Steps to the end, for statements without results. */
MUST_CHECK enum err db_run(struct db_stmt *s, struct err_info *e);
/* Rows that the last db_run() inserted, changed or deleted. */
uint64_t db_changes(const struct db *d);

/* Columns of the row, from 0. Another type is converted as SQL does; NULL is 0
 * and empty. Text is good until the next step. */
int64_t db_int(const struct db_stmt *s, int column);
double db_num(const struct db_stmt *s, int column);
str db_text(const struct db_stmt *s, int column);
bool db_is_null(const struct db_stmt *s, int column);

/* ---- inspect ---- */

/* Reads the whole database and says whether it holds together: ERR_FORMAT. */
MUST_CHECK enum err db_check(struct db *d, struct err_info *e);
uint64_t db_bytes(const struct db *d); /* on disk, with what belongs to it */
const char *db_path(const struct db *d);

#endif
