/* db: the suite that every implementation of store/db.h has to pass:
 * statements, types, text that is hostile to SQL, transactions, migrations,
 * several connections, damage, a full disk. */
#include "store/db.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "tap.h"

static char home[] = "/tmp/rbee-db-XXXXXX";

static const char *file(const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", home, name);
    return path;
}

static struct db *open_at(const char *name, uint32_t busy_ms)
{
    struct db_conf c = {.path = file(name), .busy_ms = busy_ms};
    struct err_info e = {0};
    struct db *d;

    if (db_open(&d, &c, &e)) printf("# %s\n", e.text);
    return d;
}

static bool exec(struct db *d, const char *sql)
{
    struct err_info e = {0};

    if (!db_exec(d, sql, &e)) return true;
    printf("# %s\n", e.text);
    return false;
}

static int64_t one(struct db *d, const char *sql)
{
    struct err_info e = {0};
    struct db_stmt *s;
    bool row = false;
    int64_t v = -1;

    if (db_prepare(d, &s, sql, &e)) {
        printf("# %s\n", e.text);
        return -1;
    }
    if (!db_step(s, &row, &e) && row) v = db_int(s, 0);
    db_finish(s);
    return v;
}

/* ---- statements ---- */

static void test_types(void)
{
    struct err_info e = {0};
    struct db *d = open_at("types.db", 0);
    struct db_stmt *put, *get;
    bool row = false;
    str odd = {"a'b\";-- \0 z", 11};

    ok(exec(d, "CREATE TABLE t (a BIGINT, b DOUBLE PRECISION, c TEXT, d TEXT)"), "a table");
    ok(!db_prepare(d, &put, "INSERT INTO t (c, a, b, d) VALUES ($3, $1, $2, $4)", &e), "prepared");
    db_bind_int(put, 1, INT64_MIN);
    db_bind_num(put, 2, 0.1);
    db_bind_text(put, 3, odd);
    db_bind_null(put, 4);
    ok(!db_run(put, &e) && db_changes(d) == 1,
       "numbered parameters go where their numbers say, whatever their order");
    db_bind_int(put, 1, INT64_MAX);
    db_bind_text(put, 3, (str){0});
    ok(!db_run(put, &e), "again, with others");
    ok(!db_prepare(d, &get, "SELECT a, b, c, d FROM t ORDER BY a", &e), "a query");
    ok(!db_step(get, &row, &e) && row && db_int(get, 0) == INT64_MIN && db_num(get, 1) == 0.1,
       "64-bit integers and doubles are exact");
    is_str(db_text(get, 2), odd, "text is bytes: quotes, semicolons and NUL are nothing special");
    ok(db_is_null(get, 3) && db_int(get, 3) == 0 && db_text(get, 3).n == 0, "null is null");
    ok(!db_step(get, &row, &e) && row && db_int(get, 0) == INT64_MAX && !db_is_null(get, 2) &&
           db_text(get, 2).n == 0 && db_is_null(get, 1),
       "empty text is not null; what was not bound again is");
    ok(!db_step(get, &row, &e) && !row, "the end");
    ok(!db_step(get, &row, &e) && row && db_int(get, 0) == INT64_MIN, "and from the start again");
    db_reset(get);
    db_bind_int(put, 7, 1);
    ok(db_run(put, &e) == ERR_INTERNAL && e.text[0], "a parameter that is not there is told");
    ok(!db_run(put, &e), "once");
    db_finish(get);
    ok(db_prepare(d, &get, "SELECT nonsense FROM nowhere", &e) == ERR_INTERNAL &&
           strstr(e.text, "nowhere"),
       "SQL that is wrong: %s", e.text);
    db_finish(put);
    db_close(d);
}

static void test_upsert(void)
{
    struct err_info e = {0};
    struct db *d = open_at("upsert.db", 0);
    struct db_stmt *s;

    ok(exec(d, "CREATE TABLE k (k TEXT PRIMARY KEY, v BIGINT NOT NULL)"), "a table with a key");
    ok(!db_prepare(d, &s,
                   "INSERT INTO k (k, v) VALUES ($1, $2) ON CONFLICT (k) DO "
                   "UPDATE SET v = "
                   "excluded.v",
                   &e),
       "an upsert");
    for (int i = 0; i < 3; i++) {
        db_bind_text(s, 1, S("x"));
        db_bind_int(s, 2, i);
        if (db_run(s, &e)) ok(false, "%s", e.text);
    }
    ok(one(d, "SELECT COUNT(*) FROM k") == 1 && one(d, "SELECT v FROM k") == 2, "updates");
    db_finish(s);
    ok(db_exec(d, "INSERT INTO k (k, v) VALUES ('x', 9)", &e) == ERR_INVALID, "a key twice: %s",
       e.text);
    ok(db_exec(d, "INSERT INTO k (k, v) VALUES ('y', NULL)", &e) == ERR_INVALID, "no value: %s",
       e.text);
    db_close(d);
}

/* ---- transactions ---- */

static void test_transactions(void)
{
    struct err_info e = {0};
    struct db *d = open_at("trans.db", 0), *other = open_at("trans.db", 200);
    uint64_t began;

    ok(exec(d, "CREATE TABLE t (a BIGINT)"), "a table");
    ok(!db_begin(d, &e) && db_in_transaction(d) && exec(d, "INSERT INTO t VALUES (1)"), "begun");
    ok(one(d, "SELECT COUNT(*) FROM t") == 1 && one(other, "SELECT COUNT(*) FROM t") == 0,
       "only who writes sees it before it is committed, and readers do not wait");
    began = os_now_ns();
    ok(db_begin(other, &e) == ERR_EXISTS && strstr(e.text, "another process"),
       "a second writer gives up: %s", e.text);
    ok(os_now_ns() - began > 150000000u, "after it has waited");
    db_rollback(d);
    ok(!db_in_transaction(d) && one(d, "SELECT COUNT(*) FROM t") == 0, "rolled back");
    db_rollback(d);
    ok(!db_begin(d, &e) && exec(d, "INSERT INTO t VALUES (2)") && !db_commit(d, &e) &&
           one(other, "SELECT a FROM t") == 2,
       "committed: everybody sees it");
    ok(!db_begin(d, &e) && exec(d, "INSERT INTO t VALUES (3)"), "begun again");
    db_close(d);
    ok(one(other, "SELECT COUNT(*) FROM t") == 1, "closed without a commit: rolled back");
    db_close(other);
}

/* A process that dies in a transaction. */
static void test_killed(void)
{
    struct db *d = open_at("killed.db", 0);
    int status = 0;
    pid_t child;

    ok(exec(d, "CREATE TABLE t (a BIGINT)"), "a table");
    db_close(d);
    fflush(stdout);
    if ((child = fork()) == 0) {
        struct err_info e;
        struct db *mine = open_at("killed.db", 0);

        if (!mine || db_begin(mine, &e) || db_exec(mine, "INSERT INTO t VALUES (1)", &e) ||
            db_commit(mine, &e) || db_begin(mine, &e) ||
            db_exec(mine, "INSERT INTO t VALUES (2)", &e))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    waitpid(child, &status, 0);
    d = open_at("killed.db", 0);
    ok(WIFSIGNALED(status) && one(d, "SELECT COUNT(*) FROM t") == 1 &&
           one(d, "SELECT a FROM t") == 1,
       "after a kill what was committed is there, and nothing else");
    ok(exec(d, "INSERT INTO t VALUES (3)"), "and no lock is left");
    db_close(d);
}

/* Two processes, each adding to one number a hundred times. */
static void test_writers(void)
{
    struct db *d = open_at("writers.db", 0);
    int status, good = 0;
    pid_t child[2];

    ok(exec(d, "CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (0)"), "a number");
    db_close(d);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        if ((child[i] = fork())) continue;
        struct err_info e;
        struct db *mine = open_at("writers.db", 20000);
        bool bad = !mine;

        for (int n = 0; n < 100 && !bad; n++)
            bad = db_begin(mine, &e) || db_exec(mine, "UPDATE t SET a = a + 1", &e) ||
                  db_commit(mine, &e);
        db_close(mine);
        _exit(bad);
    }
    for (int i = 0; i < 2; i++)
        good += waitpid(child[i], &status, 0) == child[i] && WIFEXITED(status) &&
                WEXITSTATUS(status) == 0;
    d = open_at("writers.db", 0);
    ok(good == 2 && one(d, "SELECT a FROM t") == 200, "two writers lose nothing");
    db_close(d);
}

/* ---- schema ---- */

static void test_migrate(void)
{
    static const char *const steps[] = {
        "CREATE TABLE m (a BIGINT); INSERT INTO m VALUES (1)",
        "ALTER TABLE m ADD COLUMN b BIGINT NOT NULL DEFAULT 7",
        "CREATE TABLE broken (a BIGINT); INSERT INTO nowhere VALUES (1)",
    };
    struct err_info e = {0};
    struct db *d = open_at("migrate.db", 0), *again;

    ok(!db_migrate(d, "part", steps, 1, &e) && one(d, "SELECT a FROM m") == 1, "version 1");
    ok(!db_migrate(d, "part", steps, 1, &e) && one(d, "SELECT COUNT(*) FROM m") == 1,
       "a step is taken once");
    ok(!db_migrate(d, "part", steps, 2, &e) && one(d, "SELECT b FROM m") == 7,
       "version 2, what was there stays");
    ok(db_migrate(d, "part", steps, 3, &e) == ERR_INTERNAL && !db_in_transaction(d) &&
           one(d, "SELECT COUNT(*) FROM db_schema WHERE version = 2") == 1,
       "a step that fails is not taken");
    ok(!db_migrate(d, "part", steps, 2, &e) && db_exec(d, "SELECT * FROM broken", &e),
       "not even in part");
    ok(db_migrate(d, "part", steps, 1, &e) == ERR_UNSUPPORTED && strstr(e.text, "newer rbee"),
       "beyond what is known: %s", e.text);
    ok(!db_migrate(d, "other", steps + 1, 0, &e), "another part has its own version");
    again = open_at("migrate.db", 0);
    ok(again && !db_migrate(again, "part", steps, 2, &e), "a second connection");
    db_close(again);
    db_close(d);
}

/* ---- what goes wrong ---- */

static void test_damage(void)
{
    struct err_info e = {0};
    struct db_conf c = {.path = file("damaged.db")};
    struct db *d;
    FILE *f = fopen(c.path, "w");
    char zeros[4096] = {0};

    for (int i = 0; i < 100; i++)
        fprintf(f, "this is no database at all, line %d\n", i);
    fclose(f);
    ok(db_open(&d, &c, &e) == ERR_FORMAT && !d && strstr(e.text, "damaged.db"),
       "a file that is none of ours: %s", e.text);
    d = open_at("holes.db", 0);
    ok(exec(d, "CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT)") && exec(d, "BEGIN"), "a table");
    for (int i = 0; i < 3000; i++) {
        char sql[200];

        snprintf(sql, sizeof sql, "INSERT INTO t VALUES (%d, '%0100d')", i * 7919 % 10007, i);
        if (!exec(d, sql)) break;
    }
    ok(exec(d, "COMMIT") && !db_check(d, &e) && db_bytes(d) > 100000, "many rows, and sound");
    db_close(d);
    if ((f = fopen(file("holes.db"), "r+"))) {
        for (int page = 5; page < 40; page++)
            if (fseek(f, page * 4096L, SEEK_SET) || fwrite(zeros, 1, sizeof zeros, f) == 0) break;
        fclose(f);
    }
    d = open_at("holes.db", 0);
    ok(d && db_check(d, &e) == ERR_FORMAT, "holes in it are found: %s", e.text);
    ok(db_exec(d, "UPDATE t SET b = 'x'; DELETE FROM t", &e) == ERR_FORMAT,
       "and an error where they are met: %s", e.text);
    db_close(d);
}

static void test_places(void)
{
    struct err_info e = {0};
    struct db_conf c = {.path = file("nowhere/x.db")};
    struct db *d;

    ok(db_open(&d, &c, &e) == ERR_ACCESS && !d && strstr(e.text, "nowhere"), "no such folder: %s",
       e.text);
    c.path = home;
    ok(db_open(&d, &c, &e) != ERR_OK && !d && e.text[0], "a folder: %s", e.text);
    c.path = "";
    ok(db_open(&d, &c, &e) == ERR_INVALID, "no path");
}

/* A child, because the limit stays. */
static void test_full(void)
{
    int status = 0;
    pid_t child;

    fflush(stdout);
    if ((child = fork()) == 0) {
        struct rlimit limit = {1 << 20, 1 << 20};
        struct err_info e = {0};
        struct db *d;
        enum err err = ERR_OK;
        char sql[300];

        os_prepare();
        d = open_at("full.db", 0);
        if (!d || db_exec(d, "CREATE TABLE t (a TEXT)", &e) || db_begin(d, &e)) _exit(1);
        setrlimit(RLIMIT_FSIZE, &limit);
        for (int i = 0; i < 50000 && !err; i++) {
            snprintf(sql, sizeof sql, "INSERT INTO t VALUES ('%0200d')", i);
            err = db_exec(d, sql, &e);
        }
        if (!err) err = db_commit(d, &e);
        printf("# %s\n", e.text);
        fflush(stdout);
        db_rollback(d);
        if (one(d, "SELECT COUNT(*) FROM t") != 0) err = ERR_OK;
        db_close(d);
        _exit(err == ERR_NOSPACE ? 0 : 2);
    }
    waitpid(child, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
       "a disk without room is an error of its own, and nothing is half there");
}

int main(void)
{
    if (!mkdtemp(home)) return 1;
    test_types();
    test_upsert();
    test_transactions();
    test_killed();
    test_writers();
    test_migrate();
    test_damage();
    test_places();
    test_full();
    ok(chdir(home) == 0 && system("rm -f *.db *.db-wal *.db-shm") == 0 && rmdir(home) == 0,
       "cleaned up");
    return tap_end();
}
