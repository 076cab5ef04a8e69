/* snapshot: see snapshot.h.
 *
 * The reader cuts a stream of bytes into its outermost objects without parsing them: an array of
 * objects, objects in lines and a single object are all the same to it. Each object is then parsed
 * strictly; a file whose end is missing is refused.
 */
#include "store/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/os.h"
#include "store/modeldb_int.h"
#include "store/store.h"

#define CHUNK KIB(256)
#define VALUE_MOST                                                                                 \
    (LIMIT_CATALOG_ENTRY * 2) /* what the hub answers is longer than what is kept                  \
                               */
#define HASH_HEX 64

/* ---- cutting ---- */

struct cutter {
    snapshot_read_fn *read;
    void *source;
    buf b;         /* bytes not used up */
    size_t at;     /* of the next value's search in b */
    size_t hashed; /* bytes of b that are in the hash */
    EVP_MD_CTX *hash;
    uint64_t line; /* objects so far, for messages */
    bool ended, array, closed;
};

static enum err more(struct cutter *r, struct err_info *e)
{
    size_t got = 0;
    enum err err;

    if (!buf_reserve(&r->b, CHUNK))
        return r->b.no_memory ? ERR_FAIL(e, NOMEM, "no memory for an entry")
                              : ERR_FAIL(e, LIMIT, "entry %llu is larger than %zu bytes",
                                         (unsigned long long)r->line + 1, (size_t)VALUE_MOST);
    if ((err = r->read(r->source, r->b.p + r->b.n, CHUNK, &got, e))) return err;
    ASSERT(got <= CHUNK);
    r->b.n += got;
    r->b.p[r->b.n] = 0;
    r->ended = got == 0;
    return ERR_OK;
}

/* Into the hash, up to b's byte `upto`. */
static void hash_to(struct cutter *r, size_t upto)
{
    if (upto > r->hashed) EVP_DigestUpdate(r->hash, r->b.p + r->hashed, upto - r->hashed);
    r->hashed = upto;
}

/* The first byte of the next object; *end: there is none. */
static enum err find_start(struct cutter *r, bool *end, struct err_info *e)
{
    enum err err;

    for (;; r->at++) {
        char c;

        while (r->at == r->b.n && !r->ended)
            if ((err = more(r, e))) return err;
        *end = r->at == r->b.n;
        if (*end) return ERR_OK;
        c = r->b.p[r->at];
        if (c == '{' && !r->closed) return ERR_OK;
        if (c == '[' && !r->array && !r->line)
            r->array = true;
        else if (c == ']' && r->array && !r->closed)
            r->closed = true;
        else if (!(c == ',' && r->array && !r->closed && r->line) && c != ' ' && c != '\n' &&
                 c != '\r' && c != '\t')
            return ERR_FAIL(e, FORMAT, "behind entry %llu stands something that is no entry",
                            (unsigned long long)r->line);
    }
}

/* Behind its last byte. Braces inside of strings do not count. */
static enum err find_end(struct cutter *r, size_t *to, struct err_info *e)
{
    size_t i = r->at, depth = 0;
    bool text = false, escaped = false;
    enum err err;

    for (;; i++) {
        char c;

        while (i == r->b.n && !r->ended)
            if ((err = more(r, e))) return err;
        if (i == r->b.n)
            return ERR_FAIL(e, FORMAT, "it ends in the middle of entry %llu",
                            (unsigned long long)r->line + 1);
        c = r->b.p[i];
        if (text) {
            if (escaped)
                escaped = false;
            else if (c == '\\')
                escaped = true;
            else if (c == '"')
                text = false;
        } else if (c == '"') {
            text = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            break;
        }
    }
    *to = i + 1;
    return ERR_OK;
}

/* The next object, good until the next call; empty at the end. Everything before it is hashed. */
static enum err next_value(struct cutter *r, str *out, struct err_info *e)
{
    bool end;
    size_t to = 0;
    enum err err;

    hash_to(r, r->at);
    if (r->at >= CHUNK) { /* now and then: it moves the rest */
        buf_drop(&r->b, r->at);
        r->at = r->hashed = 0;
    }
    *out = (str){0};
    if ((err = find_start(r, &end, e))) return err;
    if (end && r->array && !r->closed) return ERR_FAIL(e, FORMAT, "the list has no end");
    if (end) return ERR_OK;
    hash_to(r, r->at);
    if ((err = find_end(r, &to, e))) return err;
    *out = str_sub(buf_view(&r->b), r->at, to - r->at);
    r->at = to;
    r->line++;
    return ERR_OK;
}

static void hex_of(EVP_MD_CTX *hash, char out[HASH_HEX + 1])
{
    uint8_t sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    unsigned n = 0;

    out[0] = 0;
    if (copy && EVP_MD_CTX_copy_ex(copy, hash) && EVP_DigestFinal_ex(copy, sum, &n))
        for (unsigned i = 0; i < n && i < HASH_HEX / 2; i++)
            snprintf(out + 2 * i, 3, "%02x", sum[i]);
    EVP_MD_CTX_free(copy);
}

static enum err hash_new(EVP_MD_CTX **out, struct err_info *e)
{
    *out = EVP_MD_CTX_new();
    if (*out && EVP_DigestInit_ex(*out, EVP_sha256(), NULL)) return ERR_OK;
    EVP_MD_CTX_free(*out);
    *out = NULL;
    return ERR_FAIL(e, NOMEM, "no memory for a hash");
}

/* ---- reading ---- */

struct import {
    struct modeldb *db;
    const struct snapshot_conf *c;
    struct snapshot_done *done;
    struct cutter r;
    struct arena a;
    uint64_t pass;
    bool snapshot; /* with a head, so an end must come */
    bool end;
};

static void note_bad(struct import *x, const struct json *v, const struct err_info *why)
{
    str id = json_str(json_get(v, "id"), S("an entry without a name"));
    struct err_info line; /* an error keeps no control characters */

    if (x->done->bad++) return;
    (void)err_fail(&line, why->code, why->file, why->line, "%.*s: %.100s", STR(str_sub(id, 0, 80)),
                   why->text);
    snprintf(x->done->why, sizeof x->done->why, "%.199s", line.text);
}

static enum err take_shapes(struct import *x, str id, const struct json *shapes, struct err_info *e)
{
    struct memory_shape shape;
    enum err err = ERR_OK;

    for (size_t i = 0; shapes && shapes->type == JSON_OBJ && i < shapes->n && !err; i++) {
        const struct json *s = &shapes->items[i];

        if ((err = memory_shape_read(&shape, s, e))) return err;
        err = modeldb_shape_put(x->db, id, s->key, &shape, e);
    }
    return err;
}

static enum err take_entry(struct import *x, const struct json *v, const struct json *shapes,
                           struct err_info *e)
{
    struct modeldb_put put = {
        .v = v, .scope = SNAPSHOT_SCOPE, .pass = x->pass, .only_newer = !x->c->replace};
    enum modeldb_change change;
    struct err_info why;
    enum err err = modeldb_put_as(x->db, &put, &change, &why);

    if (err == ERR_FORMAT || err == ERR_INVALID || err == ERR_LIMIT) {
        note_bad(x, v, &why);
        return ERR_OK;
    }
    if (err) {
        *e = why;
        return err;
    }
    x->done->models++;
    x->done->added += change == MODELDB_ADDED;
    x->done->changed += change == MODELDB_CHANGED;
    x->done->older += change == MODELDB_OLDER;
    if (change == MODELDB_OLDER) return ERR_OK;
    return take_shapes(x, json_str(json_get(v, "id"), S("")), shapes, e);
}

static enum err take_head(struct import *x, const struct json *v, struct err_info *e)
{
    int64_t version = json_int(json_get(v, "version"), 0);

    if (!str_eqc(json_str(json_get(v, "format"), S("")), SNAPSHOT_FORMAT))
        return ERR_FAIL(e, FORMAT, "it says that it is something else than a catalogue");
    if (version < 1) return ERR_FAIL(e, FORMAT, "its head names no version");
    if (version > SNAPSHOT_VERSION)
        return ERR_FAIL(e, UNSUPPORTED,
                        "it was written by a newer rbee (version %lld of the format, this one "
                        "reads %d): update rbee",
                        (long long)version, SNAPSHOT_VERSION);
    x->snapshot = true;
    return ERR_OK;
}

static enum err take_end(struct import *x, const struct json *v, struct err_info *e)
{
    uint64_t lines = x->r.line - 2;
    char hex[HASH_HEX + 1];

    hex_of(x->r.hash, hex);
    if (json_int(json_get(v, "end"), -1) != (int64_t)lines ||
        !str_eqc(json_str(json_get(v, "sha256"), S("")), hex))
        return ERR_FAIL(e, FORMAT, "it is damaged: its end does not fit what comes before it");
    x->end = true;
    return ERR_OK;
}

static enum err take_value(struct import *x, str text, struct err_info *e)
{
    const struct json *v, *entry;
    struct err_info why;
    enum err err;

    arena_clear(&x->a);
    if ((err = json_parse(&x->a, text, &v, &why)))
        return err_fail(e, err, why.file, why.line, "entry %llu: %s", (unsigned long long)x->r.line,
                        why.text);
    if (x->end) return ERR_FAIL(e, FORMAT, "something follows behind its end");
    if (x->r.line == 1 && json_get(v, "format")) return take_head(x, v, e);
    if (!x->snapshot) return take_entry(x, v, NULL, e);
    if (json_get(v, "end")) return take_end(x, v, e);
    if (!(entry = json_get(v, "entry")) || entry->type != JSON_OBJ)
        return ERR_FAIL(e, FORMAT, "line %llu holds no entry", (unsigned long long)x->r.line);
    return take_entry(x, entry, json_get(v, "shapes"), e);
}

static enum err take_all(struct import *x, struct err_info *e)
{
    str text;
    enum err err;

    for (;;) {
        if (x->c->stop && x->c->stop(x->c->owner))
            return ERR_FAIL(e, CANCELLED, "interrupted; the catalogue is as it was");
        if ((err = next_value(&x->r, &text, e))) return err;
        if (!text.n) break;
        if ((err = take_value(x, text, e))) return err;
    }
    if (x->snapshot && !x->end) return ERR_FAIL(e, FORMAT, "its end is missing: it was cut off");
    if (!x->r.line) return ERR_FAIL(e, FORMAT, "there is no entry in it");
    if (!x->done->models && x->done->bad)
        return ERR_FAIL(e, FORMAT, "no entry of it can be read: %s", x->done->why);
    return ERR_OK;
}

static enum err take(struct import *x, struct err_info *e)
{
    struct snapshot_done *done = x->done;
    enum err err;

    if ((err = modeldb_begin(x->db, e))) return err;
    err = take_all(x, e);
    if (!err && x->c->replace)
        err = modeldb_keep_only(x->db, SNAPSHOT_SCOPE, x->pass, &done->removed, e);
    if (!err) return modeldb_commit(x->db, e);
    modeldb_rollback(x->db);
    return err;
}

enum err snapshot_import_from(struct modeldb *db, snapshot_read_fn *read, void *source,
                              const struct snapshot_conf *c, struct snapshot_done *done,
                              struct err_info *e)
{
    struct import x = {.db = db, .c = c, .done = done, .pass = c->replace ? os_now_ns() >> 1 : 0};
    enum err err;

    *done = (struct snapshot_done){0};
    x.r = (struct cutter){.read = read, .source = source};
    if ((err = hash_new(&x.r.hash, e))) return err;
    buf_init(&x.r.b, VALUE_MOST + 3 * CHUNK);
    arena_init(&x.a, GIB(1));
    err = take(&x, e);
    arena_fini(&x.a);
    buf_fini(&x.r.b);
    EVP_MD_CTX_free(x.r.hash);
    return err;
}

static enum err read_fd(void *source, void *p, size_t n, size_t *got, struct err_info *e)
{
    const int *fd = source;
    ssize_t r;

    do
        r = read(*fd, p, n);
    while (r < 0 && errno == EINTR);
    if (r < 0) return err_errno(e, errno, "read", "the catalogue");
    *got = (size_t)r;
    return ERR_OK;
}

enum err snapshot_import(struct modeldb *db, const char *path, const struct snapshot_conf *c,
                         struct snapshot_done *done, struct err_info *e)
{
    bool in = strcmp(path, "-") == 0;
    int fd = in ? 0 : open(path, O_RDONLY | O_CLOEXEC);
    struct err_info why;
    enum err err;

    *done = (struct snapshot_done){0};
    if (fd < 0) return err_errno(e, errno, "open", path);
    err = snapshot_import_from(db, read_fd, &fd, c, done, &why);
    if (!in) close(fd);
    if (err == ERR_FORMAT || err == ERR_UNSUPPORTED || err == ERR_LIMIT)
        return err_fail(e, err, why.file, why.line, "%s cannot be imported: %s",
                        in ? "standard input" : path, why.text);
    if (err) *e = why;
    return err;
}

/* ---- writing ---- */

struct export
{
    FILE *f;
    const char *path;
    EVP_MD_CTX *hash;
    buf line;
    uint64_t n;
};

/* The line, with its end. */
static enum err put_line(struct export *x, struct err_info *e)
{
    buf_ch(&x->line, '\n');
    if (x->line.failed) return ERR_FAIL(e, NOMEM, "no memory for a line of the catalogue");
    EVP_DigestUpdate(x->hash, x->line.p, x->line.n);
    errno = 0;
    if (fwrite(x->line.p, 1, x->line.n, x->f) != x->line.n)
        return err_errno(e, errno ? errno : EIO, "write", x->path);
    buf_clear(&x->line);
    return ERR_OK;
}

static enum err put_row(void *owner, const struct modeldb_row *row, struct err_info *e)
{
    struct export *x = owner;
    struct jsonw w;

    jsonw_init(&w, &x->line);
    jsonw_obj(&w);
    jsonw_key(&w, "entry");
    jsonw_raw(&w, row->entry);
    if (row->n_shapes) {
        jsonw_key(&w, "shapes");
        jsonw_obj(&w);
        for (size_t i = 0; i < row->n_shapes; i++) {
            jsonw_keystr(&w, row->shapes[i].set);
            memory_shape_write(&row->shapes[i].shape, &w);
        }
        jsonw_end(&w, '}');
    }
    jsonw_end(&w, '}');
    x->n++;
    return put_line(x, e);
}

static enum err put_head(struct export *x, struct err_info *e)
{
    time_t now = (time_t)os_unix_time();
    char when[32];
    struct jsonw w;
    struct tm t;

    gmtime_r(&now, &t);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &t);
    jsonw_init(&w, &x->line);
    jsonw_obj(&w);
    jsonw_kc(&w, "format", SNAPSHOT_FORMAT);
    jsonw_kint(&w, "version", SNAPSHOT_VERSION);
    jsonw_kc(&w, "created", when);
    jsonw_end(&w, '}');
    return put_line(x, e);
}

static enum err put_end(struct export *x, struct err_info *e)
{
    char hex[HASH_HEX + 1];
    struct jsonw w;

    hex_of(x->hash, hex);
    jsonw_init(&w, &x->line);
    jsonw_obj(&w);
    jsonw_kint(&w, "end", (int64_t)x->n);
    jsonw_kc(&w, "sha256", hex);
    jsonw_end(&w, '}');
    return put_line(x, e);
}

static enum err put_all(struct export *x, struct modeldb *db, struct err_info *e)
{
    uint64_t since = 0;
    enum err err;

    if ((err = put_head(x, e)) || (err = modeldb_each(db, &since, put_row, x, e)) ||
        (err = put_end(x, e)))
        return err;
    errno = 0;
    if (fflush(x->f)) return err_errno(e, errno ? errno : EIO, "write", x->path);
    return ERR_OK;
}

static enum err write_to(struct modeldb *db, FILE *f, const char *path, uint64_t *models,
                         struct err_info *e)
{
    struct export x = {.f = f, .path = path, .line = {.cap = LIMIT_CATALOG_ENTRY * 2}};
    enum err err = hash_new(&x.hash, e);

    if (!err) err = put_all(&x, db, e);
    *models = x.n;
    EVP_MD_CTX_free(x.hash);
    buf_fini(&x.line);
    return err;
}

/* A device or a pipe is written to and keeps its place. */
static bool is_replaced(const char *path)
{
    struct stat st;
    return stat(path, &st) || S_ISREG(st.st_mode);
}

enum err snapshot_export(struct modeldb *db, const char *path, uint64_t *models, struct err_info *e)
{
    char part[STORE_PATH_MAX];
    int n = snprintf(part, sizeof part, "%s.part-%ld", path, (long)getpid());
    FILE *f;
    enum err err;

    *models = 0;
    if (strcmp(path, "-") == 0) return write_to(db, stdout, "standard output", models, e);
    if (n >= STORE_PATH_MAX) return ERR_FAIL(e, INVALID, "the path is too long: %.100s...", path);
    bool replaced = is_replaced(path);
    if (!(f = fopen(replaced ? part : path, replaced ? "wxe" : "we")))
        return err_errno(e, errno, "create", replaced ? part : path);
    err = write_to(db, f, path, models, e);
    if (!err && replaced && fsync(fileno(f))) err = err_errno(e, errno, "write", path);
    if (fclose(f) && !err) err = err_errno(e, errno, "write", path);
    if (!err && replaced && rename(part, path)) err = err_errno(e, errno, "create", path);
    if (err && replaced) unlink(part);
    return err;
}
