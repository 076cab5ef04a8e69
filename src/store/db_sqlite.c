/* db_sqlite: db.h over SQLite.
 *
 * Write-ahead log, so that readers and a writer do not wait for each other;
 * synchronous NORMAL: a crash of the system may lose the last transactions and
 * never breaks the file. The connection is SQLite's "multi-thread" kind: one
 * thread at a time, as db.h says. The file is not believed either: schemas in
 * it cannot call anything (trusted_schema), pages are checked when they are
 * read.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/db.h"

#define BUSY_MS     10000
#define PATH_MAX_DB 4096

struct db {
    sqlite3 *handle;
    uint32_t busy_ms;
    char path[PATH_MAX_DB];
};

struct db_stmt {
    struct db *d;
    sqlite3_stmt *handle;
    int bad; /* SQLite's code of a binding that failed */
};

/* ---- errors ---- */

static bool no_room(int errnum)
{
    return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG;
}

static enum err io_failed(const struct db *d, struct err_info *e)
{
    int errnum = d->handle ? sqlite3_system_errno(d->handle) : 0;

    if (no_room(errnum))
        return ERR_FAIL(e, NOSPACE, "%s cannot grow: the disk is full (%s); make room there",
                        d->path, strerror(errnum));
    return ERR_FAIL(e, IO, "%s: %s%s%s", d->path, sqlite3_errmsg(d->handle), errnum ? ": " : "",
                    errnum ? strerror(errnum) : "");
}

/* `doing`: "open", "write to", ... */
static enum err failed(const struct db *d, int code, const char *doing, struct err_info *e)
{
    const char *text = d->handle ? sqlite3_errmsg(d->handle) : sqlite3_errstr(code);
    int errnum = d->handle ? sqlite3_system_errno(d->handle) : 0;

    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_FAIL(e, EXISTS,
                        "%s is being written by another process; it did not end "
                        "within %u s, try "
                        "again later",
                        d->path, (d->busy_ms + 999) / 1000);
    case SQLITE_FULL:
        return ERR_FAIL(e, NOSPACE, "%s cannot grow: the disk is full; make room there", d->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_FAIL(e, FORMAT, "%s is damaged or no database of rbee (%s); move it away",
                        d->path, text);
    case SQLITE_CANTOPEN:
        if (no_room(errnum)) return io_failed(d, e);
        return ERR_FAIL(e, ACCESS, "cannot %s %s: %s", doing, d->path,
                        errnum ? strerror(errnum) : text);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return ERR_FAIL(e, ACCESS, "cannot %s %s: %s", doing, d->path, text);
    case SQLITE_NOMEM: return ERR_FAIL(e, NOMEM, "no memory to %s %s", doing, d->path);
    case SQLITE_TOOBIG:
        return ERR_FAIL(e, LIMIT, "cannot %s %s: a value is larger than %zu bytes", doing, d->path,
                        (size_t)LIMIT_DB_VALUE);
    case SQLITE_IOERR: return io_failed(d, e);
    case SQLITE_CONSTRAINT: return ERR_FAIL(e, INVALID, "cannot %s %s: %s", doing, d->path, text);
    default: return ERR_FAIL(e, INTERNAL, "cannot %s %s: %s", doing, d->path, text);
    }
}

/* ---- life cycle ---- */

/* Two processes that open a new file at once may find each other in the way. */
static int use_wal(struct db *d)
{
    uint64_t end = os_now_ns() + (uint64_t)d->busy_ms * 1000000u;
    int code;

    do {
        code = sqlite3_exec(d->handle, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if ((code & 0xff) != SQLITE_BUSY) return code;
        sqlite3_sleep(20);
    } while (os_now_ns() < end);
    return code;
}

static int configure(struct db *d)
{
    int code, was;

    sqlite3_extended_result_codes(d->handle, 1);
    sqlite3_busy_timeout(d->handle, (int)d->busy_ms);
    sqlite3_limit(d->handle, SQLITE_LIMIT_LENGTH, (int)LIMIT_DB_VALUE);
    sqlite3_limit(d->handle, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_db_config(d->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, &was);
    sqlite3_db_config(d->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, &was);
    if ((code = sqlite3_exec(d->handle, "PRAGMA cell_size_check = ON", NULL, NULL, NULL)) ||
        (code = use_wal(d)))
        return code;
    return sqlite3_exec(d->handle, "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON", NULL,
                        NULL, NULL);
}

enum err db_open(struct db **out, const struct db_conf *c, struct err_info *e)
{
    struct db *d;
    enum err err;
    int code;

    *out = NULL;
    if (!c->path[0] || strlen(c->path) >= PATH_MAX_DB - 16)
        return ERR_FAIL(e, INVALID, "the path of a database is empty or too long");
    if (!(d = mem_alloc(sizeof *d))) return ERR_FAIL(e, NOMEM, "no memory for a database");
    d->busy_ms = c->busy_ms ? c->busy_ms : BUSY_MS;
    snprintf(d->path, sizeof d->path, "%s", c->path);
    code = sqlite3_open_v2(c->path, &d->handle,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (!code) code = configure(d);
    if (!code) {
        *out = d;
        return ERR_OK;
    }
    err = failed(d, code, "open", e);
    db_close(d);
    return err;
}

void db_close(struct db *d)
{
    if (!d) return;
    ASSERT(sqlite3_close(d->handle) == SQLITE_OK); /* no statement outlives its connection */
    mem_free(d);
}

/* ---- statements ---- */

enum err db_exec(struct db *d, const char *sql, struct err_info *e)
{
    int code = sqlite3_exec(d->handle, sql, NULL, NULL, NULL);

    return code ? failed(d, code, "write to", e) : ERR_OK;
}

enum err db_begin(struct db *d, struct err_info *e)
{
    ASSERT(!db_in_transaction(d));
    return db_exec(d, "BEGIN IMMEDIATE", e);
}

enum err db_commit(struct db *d, struct err_info *e)
{
    ASSERT(db_in_transaction(d));
    return db_exec(d, "COMMIT", e);
}

void db_rollback(struct db *d)
{
    if (db_in_transaction(d)) (void)sqlite3_exec(d->handle, "ROLLBACK", NULL, NULL, NULL);
}

bool db_in_transaction(const struct db *d)
{
    return !sqlite3_get_autocommit(d->handle);
}

enum err db_prepare(struct db *d, struct db_stmt **out, const char *sql, struct err_info *e)
{
    struct db_stmt *s = mem_alloc(sizeof *s);
    int code;

    *out = NULL;
    if (!s) return ERR_FAIL(e, NOMEM, "no memory for a statement");
    s->d = d;
    code = sqlite3_prepare_v3(d->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->handle, NULL);
    if (code) {
        mem_free(s);
        return failed(d, code, "read", e);
    }
    *out = s;
    return ERR_OK;
}

void db_finish(struct db_stmt *s)
{
    if (!s) return;
    sqlite3_finalize(s->handle);
    mem_free(s);
}

/* "$3" is a name to SQLite, whose own numbers follow the order of appearance.
 */
static int at(struct db_stmt *s, int n)
{
    char name[16];

    snprintf(name, sizeof name, "$%d", n);
    return sqlite3_bind_parameter_index(s->handle, name);
}

static void bound(struct db_stmt *s, int code)
{
    if (code && !s->bad) s->bad = code;
}

void db_bind_int(struct db_stmt *s, int n, int64_t v)
{
    bound(s, sqlite3_bind_int64(s->handle, at(s, n), v));
}

void db_bind_num(struct db_stmt *s, int n, double v)
{
    bound(s, sqlite3_bind_double(s->handle, at(s, n), v));
}

void db_bind_text(struct db_stmt *s, int n, str v)
{
    bound(s, sqlite3_bind_text64(s->handle, at(s, n), v.p ? v.p : "", v.n, SQLITE_STATIC,
                                 SQLITE_UTF8));
}

void db_bind_null(struct db_stmt *s, int n)
{
    bound(s, sqlite3_bind_null(s->handle, at(s, n)));
}

void db_reset(struct db_stmt *s)
{
    (void)sqlite3_reset(s->handle); /* repeats the code of the last step */
    (void)sqlite3_clear_bindings(s->handle);
    s->bad = 0;
}

enum err db_step(struct db_stmt *s, bool *row, struct err_info *e)
{
    int code = s->bad ? s->bad : sqlite3_step(s->handle);
    enum err err = ERR_OK;

    *row = code == SQLITE_ROW;
    if (*row) return ERR_OK;
    if (code != SQLITE_DONE)
        err = failed(s->d, code, sqlite3_stmt_readonly(s->handle) ? "read" : "write to", e);
    db_reset(s);
    return err;
}

enum err db_run(struct db_stmt *s, struct err_info *e)
{
    bool row;
    enum err err;

    do
        err = db_step(s, &row, e);
    while (!err && row);
    return err;
}

uint64_t db_changes(const struct db *d)
{
    return (uint64_t)sqlite3_changes64(d->handle);
}

int64_t db_int(const struct db_stmt *s, int column)
{
    return sqlite3_column_int64(s->handle, column);
}

double db_num(const struct db_stmt *s, int column)
{
    return sqlite3_column_double(s->handle, column);
}

str db_text(const struct db_stmt *s, int column)
{
    const unsigned char *p = sqlite3_column_text(s->handle, column);

    if (!p) return S("");
    return (str){(const char *)p, (size_t)sqlite3_column_bytes(s->handle, column)};
}

bool db_is_null(const struct db_stmt *s, int column)
{
    return sqlite3_column_type(s->handle, column) == SQLITE_NULL;
}

/* ---- schema ---- */

static enum err version_of(struct db *d, const char *name, int64_t *version, struct err_info *e)
{
    struct db_stmt *s;
    bool row;
    enum err err;

    *version = 0;
    if ((err = db_prepare(d, &s, "SELECT version FROM db_schema WHERE name = $1", e))) return err;
    db_bind_text(s, 1, str_c(name));
    err = db_step(s, &row, e);
    if (!err && row) *version = db_int(s, 0);
    db_finish(s);
    return err;
}

static enum err set_version(struct db *d, const char *name, int64_t version, struct err_info *e)
{
    struct db_stmt *s;
    enum err err = db_prepare(d, &s,
                              "INSERT INTO db_schema (name, version) VALUES ($1, $2) "
                              "ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                              e);

    if (err) return err;
    db_bind_text(s, 1, str_c(name));
    db_bind_int(s, 2, version);
    err = db_run(s, e);
    db_finish(s);
    return err;
}

/* One step in one transaction; *done: there is none left. */
static enum err migrate_one(struct db *d, const char *name, const char *const *steps, size_t n,
                            bool *done, struct err_info *e)
{
    int64_t version;
    enum err err;

    if ((err = db_begin(d, e))) return err;
    err = version_of(d, name, &version, e);
    *done = !err && version == (int64_t)n;
    if (!err && (version < 0 || version > (int64_t)n))
        err = ERR_FAIL(e, UNSUPPORTED,
                       "%s was written by a newer rbee (version %lld of '%s', this "
                       "one knows %zu): "
                       "update rbee, or move the file away",
                       d->path, (long long)version, name, n);
    if (!err && !*done) err = db_exec(d, steps[version], e);
    if (!err && !*done) err = set_version(d, name, version + 1, e);
    if (!err) err = db_commit(d, e);
    if (err) db_rollback(d);
    return err;
}

enum err db_migrate(struct db *d, const char *name, const char *const *steps, size_t n,
                    struct err_info *e)
{
    int64_t version;
    bool done = false;
    enum err err = db_exec(d,
                           "CREATE TABLE IF NOT EXISTS db_schema (name TEXT PRIMARY KEY, "
                           "version BIGINT NOT NULL)",
                           e);

    if (err || (err = version_of(d, name, &version, e))) return err;
    done = version == (int64_t)n; /* the common case writes nothing */
    while (!err && !done)
        err = migrate_one(d, name, steps, n, &done, e);
    return err;
}

/* ---- inspect ---- */

enum err db_check(struct db *d, struct err_info *e)
{
    struct db_stmt *s;
    bool row;
    enum err err;

    if ((err = db_prepare(d, &s, "PRAGMA integrity_check(1)", e))) return err;
    err = db_step(s, &row, e);
    if (!err && row && !str_eq(db_text(s, 0), S("ok")))
        err = ERR_FAIL(e, FORMAT, "%s is damaged: %.*s; move it away", d->path,
                       STR(str_sub(db_text(s, 0), 0, 200)));
    db_finish(s);
    return err;
}

uint64_t db_bytes(const struct db *d)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[PATH_MAX_DB + 8];
    uint64_t sum = 0;
    struct stat st;

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s%s", d->path, ends[i]);
        if (stat(path, &st) == 0 && st.st_size > 0) sum += (uint64_t)st.st_size;
    }
    return sum;
}

const char *db_path(const struct db *d)
{
    return d->path;
}
