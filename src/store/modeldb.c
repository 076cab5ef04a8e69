/* modeldb: rows, shapes, revisions and scopes in tables. See modeldb.h.
 *
 * A transaction draws its revision when it changes the first row; writers come one after the other,
 * so a reader that saw revision n has seen all that is at most n.
 */
#include "store/modeldb.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "model/repo.h"
#include "store/db.h"
#include "store/modeldb_int.h"
#include "store/store.h"

#define ARENA_CAP MIB(512)
#define KEY_MAX   256

static const char *const schema[] = {
    "CREATE TABLE model ("
    " key TEXT PRIMARY KEY," /* the id in lower case */
    " id TEXT NOT NULL,"
    " entry TEXT NOT NULL,"
    " detailed BIGINT NOT NULL,"
    " modified BIGINT NOT NULL,"
    " stored BIGINT NOT NULL,"
    " removed BIGINT NOT NULL,"
    " revision BIGINT NOT NULL);"
    "CREATE INDEX model_revision ON model (revision);"
    "CREATE TABLE shape ("
    " key TEXT NOT NULL,"
    " name TEXT NOT NULL,"
    " shape TEXT NOT NULL,"
    " PRIMARY KEY (key, name));"
    "CREATE TABLE member ("
    " scope TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " pass BIGINT NOT NULL,"
    " PRIMARY KEY (scope, key));"
    "CREATE INDEX member_key ON member (key);"
    "CREATE TABLE sync ("
    " scope TEXT PRIMARY KEY,"
    " endpoint TEXT NOT NULL,"
    " next TEXT NOT NULL,"
    " kind TEXT NOT NULL,"
    " want BIGINT NOT NULL,"
    " pass BIGINT NOT NULL,"
    " seen BIGINT NOT NULL,"
    " least BIGINT NOT NULL,"
    " started BIGINT NOT NULL,"
    " whole BIGINT NOT NULL,"
    " updated BIGINT NOT NULL,"
    " mark BIGINT NOT NULL,"
    " mark_next BIGINT NOT NULL);"
    "CREATE TABLE catalog (one BIGINT PRIMARY KEY, origin BIGINT NOT NULL, revision BIGINT NOT "
    "NULL)",
};

enum {
    GET,
    PUT,
    HIDE,
    MEMBER,
    DROP_MEMBER,
    SHAPE_PUT,
    SHAPE_DROP,
    SHAPES,
    SHAPE_ALL,
    TOUCH,
    EACH,
    REVISION,
    NEXT,
    SYNC_GET,
    SYNC_PUT,
    SWEEP,
    KEEP,
    FORGET,
    ORPHANS,
    COUNTS,
    SCOPES,
    STATEMENTS
};

static const char *const sql[STATEMENTS] = {
    [GET] = "SELECT id, entry, detailed, stored, revision, modified FROM model WHERE key = $1 AND "
            "removed = 0",
    [PUT] = "INSERT INTO model (key, id, entry, detailed, modified, stored, removed, revision) "
            "VALUES ($1, $2, $3, $4, $5, $6, 0, $7) ON CONFLICT (key) DO UPDATE SET id = "
            "excluded.id, entry = excluded.entry, detailed = excluded.detailed, modified = "
            "excluded.modified, stored = excluded.stored, removed = 0, revision = "
            "excluded.revision",
    [HIDE] = "UPDATE model SET entry = '', detailed = 0, removed = 1, stored = $2, revision = $3 "
             "WHERE key = $1 AND removed = 0",
    [MEMBER] = "INSERT INTO member (scope, key, pass) VALUES ($1, $2, $3) ON CONFLICT (scope, key) "
               "DO UPDATE SET pass = excluded.pass",
    [DROP_MEMBER] = "DELETE FROM member WHERE key = $1",
    [SHAPE_PUT] = "INSERT INTO shape (key, name, shape) VALUES ($1, $2, $3) ON CONFLICT (key, "
                  "name) DO UPDATE SET shape = excluded.shape",
    [SHAPE_DROP] = "DELETE FROM shape WHERE key = $1",
    [SHAPES] = "SELECT name, shape FROM shape WHERE key = $1 ORDER BY name",
    [SHAPE_ALL] = "SELECT COUNT(*) FROM shape WHERE key = $1",
    [TOUCH] = "UPDATE model SET stored = $2, revision = $3 WHERE key = $1 AND removed = 0",
    [EACH] = "SELECT id, entry, detailed, stored, revision, removed, key, (SELECT COUNT(*) FROM "
             "shape WHERE shape.key = model.key) FROM model WHERE revision > $1 AND removed <= $2 "
             "ORDER BY revision",
    [REVISION] = "SELECT revision, origin FROM catalog",
    [NEXT] = "UPDATE catalog SET revision = revision + 1",
    [SYNC_GET] = "SELECT endpoint, next, kind, want, pass, seen, least, started, whole, updated, "
                 "mark, mark_next FROM sync WHERE scope = $1",
    [SYNC_PUT] = "INSERT INTO sync (scope, endpoint, next, kind, want, pass, seen, least, started, "
                 "whole, updated, mark, mark_next) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, "
                 "$10, $11, $12, $13) ON CONFLICT (scope) DO UPDATE SET endpoint = "
                 "excluded.endpoint, next = excluded.next, kind = excluded.kind, want = "
                 "excluded.want, pass = excluded.pass, seen = excluded.seen, least = "
                 "excluded.least, started = excluded.started, whole = excluded.whole, updated = "
                 "excluded.updated, mark = excluded.mark, mark_next = excluded.mark_next",
    [SWEEP] = "DELETE FROM member WHERE scope = $1 AND pass <> $2",
    [KEEP] = "DELETE FROM member WHERE scope <> $1 OR pass <> $2",
    [FORGET] = "DELETE FROM sync",
    [ORPHANS] = "SELECT id FROM model WHERE removed = 0 AND NOT EXISTS (SELECT 1 FROM member WHERE "
                "member.key = model.key) LIMIT 1000",
    [COUNTS] = "SELECT COUNT(*), SUM(detailed), (SELECT COUNT(*) FROM shape) FROM model WHERE "
               "removed = 0",
    [SCOPES] = "SELECT scope, COUNT(*) FROM member GROUP BY scope UNION SELECT scope, 0 FROM sync "
               "WHERE scope NOT IN (SELECT scope FROM member) ORDER BY 1",
};

struct modeldb {
    struct db *db;
    struct db_stmt *s[STATEMENTS];
    struct arena a; /* of one put */
    buf text;
    uint64_t origin;
    uint64_t revision; /* of this transaction; 0: not drawn */
};

/* ---- life cycle ---- */

static enum err default_path(char out[STORE_PATH_MAX], struct err_info *e)
{
    struct store *s = mem_alloc(sizeof *s);
    enum err err;
    int n;

    if (!s) return ERR_FAIL(e, NOMEM, "no memory for the names of folders");
    if (!(err = store_init(s, e)) && !(err = os_mkdirs(s->state, e))) {
        n = snprintf(out, STORE_PATH_MAX, "%s/catalog.db", s->state);
        if (n >= STORE_PATH_MAX) err = ERR_FAIL(e, INVALID, "%s is too long", s->state);
    }
    mem_free(s);
    return err;
}

/* What to do about a file that cannot be used. */
static enum err advise(enum err err, struct err_info *e)
{
    char text[ERR_TEXT_MAX];

    if (err != ERR_FORMAT || strstr(e->text, "rbee catalog")) return err;
    snprintf(text, sizeof text, "%s", e->text);
    return err_fail(e, err, e->file, e->line, "%s, and `rbee catalog sync` makes a new one", text);
}

static enum err first_row(struct modeldb *m, struct err_info *e)
{
    uint64_t origin = 0;
    struct db_stmt *s = NULL;
    enum err err;

    if ((err = modeldb_revision(m, &(uint64_t){0}, e)) || m->origin) return err;
    if ((err = os_random(&origin, sizeof origin, e)) || (err = db_begin(m->db, e))) return err;
    err = db_prepare(m->db, &s,
                     "INSERT INTO catalog (one, origin, revision) VALUES (1, $1, 0) ON CONFLICT "
                     "(one) DO NOTHING",
                     e);
    if (!err) {
        db_bind_int(s, 1, (int64_t)(origin >> 1 | 1));
        err = db_run(s, e);
        db_finish(s);
    }
    if (!err) err = db_commit(m->db, e);
    if (err) db_rollback(m->db);
    return err ? err : modeldb_revision(m, &(uint64_t){0}, e);
}

static enum err set_up(struct modeldb *m, const char *path, struct err_info *e)
{
    struct db_conf c = {.path = path};
    enum err err;

    if ((err = db_open(&m->db, &c, e)) ||
        (err = db_migrate(m->db, "catalog", schema, sizeof schema / sizeof *schema, e)))
        return err;
    for (int i = 0; i < STATEMENTS; i++)
        if ((err = db_prepare(m->db, &m->s[i], sql[i], e))) return err;
    return first_row(m, e);
}

enum err modeldb_open(struct modeldb **out, const char *path, struct err_info *e)
{
    char own[STORE_PATH_MAX];
    struct modeldb *m;
    enum err err;

    *out = NULL;
    if (!path && (err = default_path(own, e))) return err;
    if (!(m = mem_alloc(sizeof *m))) return ERR_FAIL(e, NOMEM, "no memory for a catalogue");
    arena_init(&m->a, ARENA_CAP);
    buf_init(&m->text, LIMIT_CATALOG_ENTRY);
    if ((err = set_up(m, path ? path : own, e))) {
        modeldb_close(m);
        return advise(err, e);
    }
    *out = m;
    return ERR_OK;
}

void modeldb_close(struct modeldb *m)
{
    if (!m) return;
    for (int i = 0; i < STATEMENTS; i++)
        db_finish(m->s[i]);
    db_close(m->db);
    arena_fini(&m->a);
    buf_fini(&m->text);
    mem_free(m);
}

enum err modeldb_begin(struct modeldb *m, struct err_info *e)
{
    m->revision = 0;
    return db_begin(m->db, e);
}

enum err modeldb_commit(struct modeldb *m, struct err_info *e)
{
    enum err err = db_commit(m->db, e);

    m->revision = 0;
    if (err) db_rollback(m->db);
    return err;
}

void modeldb_rollback(struct modeldb *m)
{
    m->revision = 0;
    db_rollback(m->db);
}

/* Around a change: begins where nothing is begun. */
static enum err enter(struct modeldb *m, bool *own, struct err_info *e)
{
    *own = !db_in_transaction(m->db);
    return *own ? modeldb_begin(m, e) : ERR_OK;
}

static enum err leave(struct modeldb *m, bool own, enum err err, struct err_info *e)
{
    if (!own) return err;
    if (!err) return modeldb_commit(m, e);
    modeldb_rollback(m);
    return err;
}

/* The revision of this transaction. */
static enum err draw(struct modeldb *m, struct err_info *e)
{
    enum err err;

    if (m->revision) return ERR_OK;
    if ((err = db_run(m->s[NEXT], e))) return err;
    return modeldb_revision(m, &m->revision, e);
}

enum err modeldb_revision(struct modeldb *m, uint64_t *revision, struct err_info *e)
{
    struct db_stmt *s = m->s[REVISION];
    bool row;
    enum err err = db_step(s, &row, e);

    *revision = 0;
    if (err || !row) return err;
    *revision = (uint64_t)db_int(s, 0);
    m->origin = (uint64_t)db_int(s, 1);
    db_reset(s);
    return ERR_OK;
}

uint64_t modeldb_origin(const struct modeldb *m)
{
    return m->origin;
}

/* ---- rows ---- */

struct key {
    char text[KEY_MAX];
    str s;
};

static enum err key_of(struct key *k, str id, struct err_info *e)
{
    if (!repo_id_ok(id) || id.n >= sizeof k->text)
        return ERR_FAIL(e, INVALID, "'%.*s' is no name of a repository: give ORG/REPO",
                        STR(str_sub(id, 0, 200)));
    for (size_t i = 0; i < id.n; i++)
        k->text[i] = (char)(id.p[i] >= 'A' && id.p[i] <= 'Z' ? id.p[i] + 32 : id.p[i]);
    k->s = (str){k->text, id.n};
    return ERR_OK;
}

/* The row as a tree; *there false: none. */
static enum err old_row(struct modeldb *m, const struct key *k, struct modeldb_entry *old,
                        str *text, bool *there, struct err_info *e)
{
    struct db_stmt *s = m->s[GET];
    struct err_info ignored;
    const struct json *v;
    enum err err;

    db_bind_text(s, 1, k->s);
    if ((err = db_step(s, there, e)) || !*there) return err;
    *text = arena_str(&m->a, db_text(s, 1));
    *old = (struct modeldb_entry){.detailed = db_int(s, 2) != 0, .modified = db_int(s, 5)};
    db_reset(s);
    if (!text->p) return ERR_FAIL(e, NOMEM, "no memory for an entry of the catalogue");
    if (json_parse(&m->a, *text, &v, &ignored) || v->type != JSON_OBJ)
        return ERR_OK; /* nothing to merge: it is replaced */
    old->v = v;
    old->sha = json_str(json_get(v, "sha"), S(""));
    return ERR_OK;
}

/* A question about a row that is there does not keep it when its list drops it. */
static enum err hold(struct modeldb *m, const struct key *k, const struct modeldb_put *p,
                     bool there, struct err_info *e)
{
    struct db_stmt *s = m->s[MEMBER];

    if (there && strcmp(p->scope, MODELDB_ASKED) == 0) return ERR_OK;
    db_bind_text(s, 1, str_c(p->scope));
    db_bind_text(s, 2, k->s);
    db_bind_int(s, 3, (int64_t)p->pass);
    return db_run(s, e);
}

static enum err drop_shapes(struct modeldb *m, const struct key *k, struct err_info *e)
{
    db_bind_text(m->s[SHAPE_DROP], 1, k->s);
    return db_run(m->s[SHAPE_DROP], e);
}

static enum err store_row(struct modeldb *m, const struct key *k, const struct modeldb_entry *x,
                          bool detailed, struct err_info *e)
{
    struct db_stmt *s = m->s[PUT];
    enum err err = draw(m, e);

    if (err) return err;
    db_bind_text(s, 1, k->s);
    db_bind_text(s, 2, x->id);
    db_bind_text(s, 3, buf_view(&m->text));
    db_bind_int(s, 4, detailed);
    db_bind_int(s, 5, x->modified);
    db_bind_int(s, 6, os_unix_time());
    db_bind_int(s, 7, (int64_t)m->revision);
    return db_run(s, e);
}

static enum err put_entry(struct modeldb *m, const struct modeldb_put *p,
                          const struct modeldb_entry *x, enum modeldb_change *change,
                          struct err_info *e)
{
    struct modeldb_entry old;
    struct key k;
    str text;
    bool there, same;
    enum err err;

    if ((err = key_of(&k, x->id, e)) || (err = old_row(m, &k, &old, &text, &there, e))) return err;
    *change = there ? MODELDB_CHANGED : MODELDB_ADDED;
    if (!there && p->only_there) *change = MODELDB_SKIPPED;
    if (*change == MODELDB_SKIPPED) return ERR_OK;
    if (there && p->only_newer && x->modified < old.modified) *change = MODELDB_OLDER;
    if (*change == MODELDB_OLDER) return hold(m, &k, p, there, e);
    same = there && old.v && modeldb_entry_same_commit(x, &old);
    buf_clear(&m->text);
    modeldb_entry_write(x, same ? &old : NULL, &m->text);
    if (m->text.failed)
        return m->text.no_memory ? ERR_FAIL(e, NOMEM, "no memory for an entry of the catalogue")
                                 : ERR_FAIL(e, LIMIT, "%.*s: its entry is larger than %zu bytes",
                                            STR(x->id), (size_t)LIMIT_CATALOG_ENTRY);
    if (there && str_eq(buf_view(&m->text), text)) *change = MODELDB_SAME;
    if (*change != MODELDB_SAME &&
        (err = store_row(m, &k, x, x->detailed || (same && old.detailed), e)))
        return err;
    if (there && !same && (err = drop_shapes(m, &k, e))) return err;
    return hold(m, &k, p, there, e);
}

enum err modeldb_put_as(struct modeldb *m, const struct modeldb_put *p, enum modeldb_change *change,
                        struct err_info *e)
{
    const struct json *v = p->v;
    struct modeldb_entry x;
    bool own;
    enum err err;

    *change = MODELDB_SAME;
    arena_clear(&m->a);
    if (!v && (err = json_parse(&m->a, p->json, &v, e))) return err;
    if ((err = modeldb_entry_of(&x, &m->a, v, e))) return err;
    if (p->id.n && !str_ieq(p->id, x.id))
        return ERR_FAIL(e, FORMAT, "the hub answers for %.*s with an entry of %.*s",
                        STR(str_sub(p->id, 0, 150)), STR(str_sub(x.id, 0, 150)));
    if ((err = enter(m, &own, e))) return err;
    return leave(m, own, put_entry(m, p, &x, change, e), e);
}

enum err modeldb_put(struct modeldb *m, str id, str json, struct err_info *e)
{
    struct modeldb_put p = {.id = id, .json = json, .scope = MODELDB_ASKED};
    enum modeldb_change change;

    return modeldb_put_as(m, &p, &change, e);
}

static enum err hide(struct modeldb *m, const struct key *k, bool *there, struct err_info *e)
{
    struct db_stmt *s = m->s[HIDE];
    enum err err;

    *there = false;
    if ((err = draw(m, e))) return err;
    db_bind_text(s, 1, k->s);
    db_bind_int(s, 2, os_unix_time());
    db_bind_int(s, 3, (int64_t)m->revision);
    if ((err = db_run(s, e))) return err;
    *there = db_changes(m->db) > 0;
    if ((err = drop_shapes(m, k, e))) return err;
    db_bind_text(m->s[DROP_MEMBER], 1, k->s);
    return db_run(m->s[DROP_MEMBER], e);
}

static enum err no_row(str id, struct err_info *e)
{
    return ERR_FAIL(e, NOTFOUND, "the catalogue has no model '%.*s'", STR(str_sub(id, 0, 200)));
}

enum err modeldb_remove(struct modeldb *m, str id, struct err_info *e)
{
    struct key k;
    bool own, there;
    enum err err;

    if ((err = key_of(&k, id, e)) || (err = enter(m, &own, e))) return err;
    err = hide(m, &k, &there, e);
    if (!err && !there) err = no_row(id, e);
    return leave(m, own, err, e);
}

/* ---- shapes ---- */

static enum err put_shape(struct modeldb *m, const struct key *k, str id, str set, str text,
                          struct err_info *e)
{
    struct db_stmt *s = m->s[TOUCH];
    bool row, full;
    enum err err = draw(m, e);

    if (err) return err;
    db_bind_text(s, 1, k->s);
    db_bind_int(s, 2, os_unix_time());
    db_bind_int(s, 3, (int64_t)m->revision);
    if ((err = db_run(s, e))) return err;
    if (!db_changes(m->db)) return no_row(id, e);
    s = m->s[SHAPE_ALL];
    db_bind_text(s, 1, k->s);
    if ((err = db_step(s, &row, e))) return err;
    full = row && db_int(s, 0) >= LIMIT_CATALOG_SETS;
    db_reset(s);
    if (full && (err = drop_shapes(m, k, e))) return err; /* they can be read again */
    s = m->s[SHAPE_PUT];
    db_bind_text(s, 1, k->s);
    db_bind_text(s, 2, set);
    db_bind_text(s, 3, text);
    return db_run(s, e);
}

enum err modeldb_shape_put(struct modeldb *m, str id, str set, const struct memory_shape *shape,
                           struct err_info *e)
{
    struct jsonw w;
    struct key k;
    bool own;
    enum err err;

    if ((err = key_of(&k, id, e))) return err;
    if (set.n > LIMIT_HUB_STR)
        return ERR_FAIL(e, LIMIT, "%.*s: a set's name of %zu bytes", STR(id), set.n);
    buf_clear(&m->text);
    jsonw_init(&w, &m->text);
    memory_shape_write(shape, &w);
    if (m->text.failed) return ERR_FAIL(e, NOMEM, "no memory for the shape of a model");
    if ((err = enter(m, &own, e))) return err;
    return leave(m, own, put_shape(m, &k, id, set, buf_view(&m->text), e), e);
}

/* Those of a row, in the arena; one that cannot be read is left out. */
static enum err read_shapes(struct modeldb *m, struct arena *a, str key, size_t n,
                            struct modeldb_row *row, struct err_info *e)
{
    struct modeldb_shape *out = n ? ARENA_NEW(a, struct modeldb_shape, n) : NULL;
    struct db_stmt *s = m->s[SHAPES];
    const struct json *v;
    struct err_info ignored;
    bool more;
    enum err err;

    row->n_shapes = 0;
    row->shapes = out;
    if (!n) return ERR_OK;
    if (!out) return ERR_FAIL(e, NOMEM, "no memory for the shapes of a model");
    db_bind_text(s, 1, key);
    while (!(err = db_step(s, &more, e)) && more && row->n_shapes < n) {
        str name = arena_str(a, db_text(s, 0)), text = arena_str(a, db_text(s, 1));

        out[row->n_shapes].set = name;
        if (name.p && text.p && !json_parse(a, text, &v, &ignored) &&
            !memory_shape_read(&out[row->n_shapes].shape, v, &ignored))
            row->n_shapes++;
    }
    db_reset(s);
    return err;
}

/* ---- reading ---- */

enum err modeldb_get(struct modeldb *m, str id, struct arena *a, struct modeldb_row *row,
                     struct err_info *e)
{
    struct db_stmt *s = m->s[GET];
    struct key k;
    int64_t n = 0;
    bool there;
    enum err err;

    *row = (struct modeldb_row){0};
    if ((err = key_of(&k, id, e))) return err;
    db_bind_text(s, 1, k.s);
    if ((err = db_step(s, &there, e))) return err;
    if (!there) return no_row(id, e);
    *row = (struct modeldb_row){.id = arena_str(a, db_text(s, 0)),
                                .entry = arena_str(a, db_text(s, 1)),
                                .detailed = db_int(s, 2) != 0,
                                .stored = db_int(s, 3),
                                .revision = (uint64_t)db_int(s, 4)};
    db_reset(s);
    if (!row->id.p || !row->entry.p) return ERR_FAIL(e, NOMEM, "no memory for a model's entry");
    db_bind_text(m->s[SHAPE_ALL], 1, k.s);
    if ((err = db_step(m->s[SHAPE_ALL], &there, e))) return err;
    if (there) n = db_int(m->s[SHAPE_ALL], 0);
    db_reset(m->s[SHAPE_ALL]);
    return read_shapes(m, a, k.s, n > 0 ? (size_t)n : 0, row, e);
}

enum err modeldb_each(struct modeldb *m, uint64_t *revision, modeldb_fn *fn, void *owner,
                      struct err_info *e)
{
    struct db_stmt *s = m->s[EACH];
    bool more;
    enum err err;

    db_bind_int(s, 1, (int64_t)*revision);
    db_bind_int(s, 2, *revision ? 1 : 0);
    while (!(err = db_step(s, &more, e)) && more) {
        struct modeldb_row row = {.id = db_text(s, 0),
                                  .entry = db_text(s, 1),
                                  .detailed = db_int(s, 2) != 0,
                                  .stored = db_int(s, 3),
                                  .revision = (uint64_t)db_int(s, 4),
                                  .removed = db_int(s, 5) != 0};
        int64_t n = db_int(s, 7);

        if (n > 0) {
            arena_clear(&m->a);
            if ((err = read_shapes(m, &m->a, db_text(s, 6), (size_t)n, &row, e))) break;
        }
        if ((err = fn(owner, &row, e))) break;
        *revision = row.revision;
    }
    db_reset(s);
    return err;
}

/* ---- synchronisation ---- */

static enum err sync_row(struct modeldb *m, struct arena *a, struct modeldb_sync *out,
                         struct err_info *e)
{
    struct db_stmt *s = m->s[SYNC_GET];
    bool there;
    enum err err;

    db_bind_text(s, 1, out->scope);
    if ((err = db_step(s, &there, e)) || !there) return err;
    out->endpoint = arena_str(a, db_text(s, 0));
    out->next = arena_str(a, db_text(s, 1));
    out->kind = arena_str(a, db_text(s, 2));
    out->want = (uint64_t)db_int(s, 3);
    out->pass = (uint64_t)db_int(s, 4);
    out->seen = (uint64_t)db_int(s, 5);
    out->least = (uint64_t)db_int(s, 6);
    out->started = db_int(s, 7);
    out->whole = db_int(s, 8);
    out->updated = db_int(s, 9);
    out->mark = db_int(s, 10);
    out->mark_next = db_int(s, 11);
    db_reset(s);
    if (!out->endpoint.p || !out->next.p || !out->kind.p)
        return ERR_FAIL(e, NOMEM, "no memory for where a synchronisation stands");
    return ERR_OK;
}

enum err modeldb_sync_get(struct modeldb *m, str scope, struct arena *a, struct modeldb_sync *out,
                          struct err_info *e)
{
    *out = (struct modeldb_sync){.scope = scope};
    return sync_row(m, a, out, e);
}

enum err modeldb_sync_put(struct modeldb *m, const struct modeldb_sync *x, struct err_info *e)
{
    struct db_stmt *s = m->s[SYNC_PUT];
    const int64_t numbers[] = {(int64_t)x->want,  (int64_t)x->pass, (int64_t)x->seen,
                               (int64_t)x->least, x->started,       x->whole,
                               x->updated,        x->mark,          x->mark_next};

    db_bind_text(s, 1, x->scope);
    db_bind_text(s, 2, x->endpoint);
    db_bind_text(s, 3, x->next);
    db_bind_text(s, 4, x->kind);
    for (int i = 0; i < 9; i++)
        db_bind_int(s, 5 + i, numbers[i]);
    return db_run(s, e);
}

/* A thousand ids are taken at a time, since what is read may not change under the reading. */
static enum err hide_orphans(struct modeldb *m, uint64_t *removed, struct err_info *e)
{
    struct db_stmt *s = m->s[ORPHANS];
    size_t n = 1;
    enum err err = ERR_OK;

    while (!err && n) {
        struct key *keys;
        bool more, there;

        arena_clear(&m->a);
        n = 0;
        if (!(keys = ARENA_NEW(&m->a, struct key, 1000)))
            return ERR_FAIL(e, NOMEM, "no memory for a list of models");
        while (!(err = db_step(s, &more, e)) && more && n < 1000)
            if (!key_of(&keys[n], db_text(s, 0), e)) n++;
        db_reset(s);
        for (size_t i = 0; i < n && !err; i++) {
            err = hide(m, &keys[i], &there, e);
            *removed += there;
        }
    }
    return err;
}

static enum err sweep(struct modeldb *m, str scope, uint64_t pass, uint64_t *removed,
                      struct err_info *e)
{
    struct db_stmt *s = m->s[SWEEP];
    enum err err;

    db_bind_text(s, 1, scope);
    db_bind_int(s, 2, (int64_t)pass);
    if ((err = db_run(s, e))) return err;
    return hide_orphans(m, removed, e);
}

enum err modeldb_sync_sweep(struct modeldb *m, str scope, uint64_t pass, uint64_t *removed,
                            struct err_info *e)
{
    bool own;
    enum err err;

    *removed = 0;
    if ((err = enter(m, &own, e))) return err;
    return leave(m, own, sweep(m, scope, pass, removed, e), e);
}

static enum err keep_only(struct modeldb *m, const char *scope, uint64_t pass, uint64_t *removed,
                          struct err_info *e)
{
    struct db_stmt *s = m->s[KEEP];
    enum err err;

    db_bind_text(s, 1, str_c(scope));
    db_bind_int(s, 2, (int64_t)pass);
    if ((err = db_run(s, e)) || (err = db_run(m->s[FORGET], e))) return err;
    return hide_orphans(m, removed, e);
}

enum err modeldb_keep_only(struct modeldb *m, const char *scope, uint64_t pass, uint64_t *removed,
                           struct err_info *e)
{
    bool own;
    enum err err;

    *removed = 0;
    if ((err = enter(m, &own, e))) return err;
    return leave(m, own, keep_only(m, scope, pass, removed, e), e);
}

/* ---- inspect ---- */

#define SCOPES_MOST 64

static enum err scopes(struct modeldb *m, struct arena *a, struct modeldb_status *st,
                       struct err_info *e)
{
    struct modeldb_sync *out = ARENA_NEW(a, struct modeldb_sync, SCOPES_MOST);
    struct db_stmt *s = m->s[SCOPES];
    bool more;
    enum err err;

    if (!out) return ERR_FAIL(e, NOMEM, "no memory for the state of the catalogue");
    while (!(err = db_step(s, &more, e)) && more && st->n_scopes < SCOPES_MOST) {
        out[st->n_scopes].scope = arena_str(a, db_text(s, 0));
        out[st->n_scopes++].models = (uint64_t)db_int(s, 1);
    }
    db_reset(s);
    st->scopes = out;
    for (size_t i = 0; i < st->n_scopes && !err; i++)
        err = sync_row(m, a, &out[i], e);
    return err;
}

enum err modeldb_status(struct modeldb *m, struct arena *a, struct modeldb_status *st,
                        struct err_info *e)
{
    struct db_stmt *s = m->s[COUNTS];
    bool row;
    enum err err;

    *st = (struct modeldb_status){.path = db_path(m->db), .bytes = db_bytes(m->db)};
    if ((err = modeldb_revision(m, &st->revision, e)) || (err = db_step(s, &row, e))) return err;
    if (row) {
        st->models = (uint64_t)db_int(s, 0);
        st->detailed = (uint64_t)db_int(s, 1);
        st->shapes = (uint64_t)db_int(s, 2);
    }
    db_reset(s);
    return scopes(m, a, st, e);
}

enum err modeldb_check(struct modeldb *m, struct err_info *e)
{
    return advise(db_check(m->db, e), e);
}
