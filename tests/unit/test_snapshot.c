/* snapshot: out and in again; cut off and damaged anywhere; replies of the Hub in every form. */
#include "store/snapshot.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "tap.h"

static char home[] = "/tmp/rbee-snapshot-XXXXXX";

static const char *file(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", home, name);
    return p;
}

static struct modeldb *open_at(const char *name)
{
    struct err_info e = {0};
    struct modeldb *db;

    if (modeldb_open(&db, file(name), &e)) printf("# %s\n", e.text);
    return db;
}

struct text {
    str s;
    size_t at, step;
};

static enum err read_text(void *owner, void *p, size_t n, size_t *got, struct err_info *e)
{
    struct text *t = owner;

    (void)e;
    if (n > t->step) n = t->step;
    if (n > t->s.n - t->at) n = t->s.n - t->at;
    if (n) memcpy(p, t->s.p + t->at, n);
    t->at += n;
    *got = n;
    return ERR_OK;
}

static enum err import(struct modeldb *db, str s, size_t step, struct snapshot_done *d,
                       struct err_info *e)
{
    struct text t = {.s = s, .step = step};
    struct snapshot_conf c = {0};

    return snapshot_import_from(db, read_text, &t, &c, d, e);
}

static uint64_t models(struct modeldb *db)
{
    struct modeldb_status st = {0};
    struct err_info e;
    struct arena a;

    arena_init(&a, MIB(1));
    if (modeldb_status(db, &a, &st, &e)) printf("# %s\n", e.text);
    arena_fini(&a);
    return st.models;
}

static void fill(struct modeldb *db, int n)
{
    struct memory_shape shape = {.source = MEMORY_HEADER, .n_ctx_train = 4096, .k_cols = 1024};
    struct err_info e = {0};
    char x[512], id[32];

    for (int i = 0; i < n; i++) {
        snprintf(id, sizeof id, "a/m%d", i);
        snprintf(x, sizeof x,
                 "{\"id\":\"%s\",\"sha\":\"s%d\",\"lastModified\":\"2025-05-10T00:00:00.000Z\","
                 "\"tags\":[\"gguf\",\"a{b\\\"[}]\"],\"siblings\":[{\"rfilename\":\"x-Q4_0.gguf\","
                 "\"size\":%d}]}",
                 id, i, i * 1000);
        if (modeldb_put(db, S(""), str_c(x), &e)) printf("# %s\n", e.text);
    }
    if (modeldb_shape_put(db, S("a/m3"), S("x-Q4_0"), &shape, &e) ||
        modeldb_shape_put(db, S("a/m3"), S(""), &shape, &e))
        printf("# %s\n", e.text);
}

static str content(const char *path)
{
    struct err_info e;
    char *p;
    size_t n;

    if (!map_read_file(path, MIB(64), &p, &n, &e)) return (str){p, n};
    printf("# %s\n", e.text);
    return (str){0};
}

/* ---- out and in ---- */

static void test_round(void)
{
    struct modeldb *db = open_at("one.db"), *other = open_at("two.db");
    struct snapshot_conf c = {0};
    struct snapshot_done d;
    struct err_info e = {0};
    struct modeldb_row row;
    struct arena a;
    uint64_t n;
    str one, two;

    arena_init(&a, MIB(16));
    fill(db, 20);
    ok(!snapshot_export(db, file("one.jsonl"), &n, &e) && n == 20, "out: %s", e.text);
    ok(!snapshot_import(other, file("one.jsonl"), &c, &d, &e) && d.models == 20 && d.added == 20,
       "and in: %s", e.text);
    ok(!modeldb_get(other, S("a/m3"), &a, &row, &e) && row.n_shapes == 2 && row.detailed &&
           row.shapes[1].shape.k_cols == 1024 && str_eq(row.shapes[1].set, S("x-Q4_0")),
       "with shapes");
    ok(!snapshot_export(other, file("two.jsonl"), &n, &e), "out again");
    one = content(file("one.jsonl"));
    two = content(file("two.jsonl"));
    /* Heads have their time; the rest is the same but for the order of what changed last. */
    ok(one.n == two.n, "says the same");
    ok(!snapshot_import(other, file("one.jsonl"), &c, &d, &e) && d.added == 0 && d.changed == 0,
       "in again changes nothing");
    ok(access(file("one.jsonl.part"), F_OK) != 0, "nothing is left beside it");
    mem_free((char *)one.p);
    mem_free((char *)two.p);
    arena_fini(&a);
    modeldb_close(db);
    modeldb_close(other);
}

static void test_replace(void)
{
    struct modeldb *db = open_at("one.db"), *other = open_at("three.db");
    struct snapshot_conf c = {.replace = true};
    struct snapshot_done d;
    struct err_info e = {0};
    char x[] = "{\"id\":\"b/mine\",\"tags\":[\"gguf\"]}";

    ok(!modeldb_put(other, S(""), str_c(x), &e), "a model that no file holds");
    ok(!snapshot_import(other, file("one.jsonl"), &c, &d, &e) && d.removed == 1 &&
           models(other) == 20,
       "leaves when the file replaces the catalogue");
    c.replace = false;
    ok(!modeldb_put(other, S(""), str_c(x), &e) &&
           !snapshot_import(other, file("one.jsonl"), &c, &d, &e) && models(other) == 21,
       "and stays otherwise");
    modeldb_close(db);
    modeldb_close(other);
}

/* ---- damage ---- */

static void test_damage(void)
{
    struct modeldb *db = open_at("damage.db");
    str s = content(file("one.jsonl"));
    char *copy = mem_need(s.n + 1);
    struct snapshot_done d;
    struct err_info e = {0};
    size_t taken = 0, tries = 0;

    for (size_t n = 0; n + 1 < s.n; n += n + 300 > s.n ? 1 : 37, tries++) {
        if (import(db, str_sub(s, 0, n), 4096, &d, &e)) continue;
        printf("# %zu bytes were taken\n", n);
        taken++;
    }
    ok(!taken && tries > 100 && models(db) == 0, "cut off anywhere it is refused (%zu times): %s",
       tries, e.text);
    taken = 0;
    for (size_t i = 0; i < s.n; i += 11) {
        memcpy(copy, s.p, s.n);
        copy[i] ^= 4;
        if (import(db, (str){copy, s.n}, 4096, &d, &e)) continue;
        taken += copy[i] != '\n' && copy[i] != ' ';
    }
    ok(!taken && models(db) == 0, "with another byte anywhere too: %s", e.text);
    memcpy(copy, s.p, s.n);
    for (size_t step = 1; step < 40; step += 6)
        if (import(db, s, step, &d, &e)) printf("# %s\n", e.text);
    ok(models(db) == 20, "however it comes in pieces");
    mem_free(copy);
    mem_free((char *)s.p);
    modeldb_close(db);
}

static void refuse(struct modeldb *db, const char *text, enum err want, const char *part)
{
    struct snapshot_done d;
    struct err_info e = {0};
    enum err err = import(db, str_c(text), 4096, &d, &e);

    ok(err == want && strstr(e.text, part) && models(db) == 0, "%.*s: %s", (int)strcspn(text, "\n"),
       text, e.text);
}

static void test_refused(void)
{
    struct modeldb *db = open_at("refused.db");

    refuse(db, "", ERR_FORMAT, "no entry");
    refuse(db, "[]", ERR_FORMAT, "no entry");
    refuse(db, "hello", ERR_FORMAT, "no entry");
    refuse(db, "[{\"id\":\"a/b\"}", ERR_FORMAT, "no end");
    refuse(db, "[{\"id\":\"a/b\"}] x", ERR_FORMAT, "no entry");
    refuse(db, "{\"id\":\"a/b\"", ERR_FORMAT, "middle");
    refuse(db, "{\"id\":\"a/b\"},{\"id\":\"a/c\"}", ERR_FORMAT, "no entry");
    refuse(db, "{\"id\":\"a/b\"}\n{\"id\":\"a/c\" \"x\"}", ERR_FORMAT, "entry 2");
    refuse(db, "{\"id\":\"../b\"}", ERR_FORMAT, "no entry of it");
    refuse(db, "{\"format\":\"something else\",\"version\":1}", ERR_FORMAT, "something else");
    refuse(db, "{\"format\":\"rbee catalogue\",\"version\":2}", ERR_UNSUPPORTED, "newer rbee");
    refuse(db, "{\"format\":\"rbee catalogue\",\"version\":1}", ERR_FORMAT, "end is missing");
    refuse(db, "{\"format\":\"rbee catalogue\",\"version\":1}\n{\"id\":\"a/b\"}", ERR_FORMAT,
           "no entry");
    refuse(db,
           "{\"format\":\"rbee catalogue\",\"version\":1}\n{\"entry\":{\"id\":\"a/b\"}}\n"
           "{\"end\":1,\"sha256\":\"0\"}",
           ERR_FORMAT, "damaged");
    modeldb_close(db);
}

/* ---- replies of the Hub ---- */

static void take(const char *name, str text, uint64_t want, uint64_t bad)
{
    struct modeldb *db = open_at("replies.db");
    struct snapshot_done d = {0};
    struct err_info e = {0};
    enum err err = import(db, text, 4096, &d, &e);

    ok(!err && d.models == want && d.bad == bad && models(db) == want, "%s: %llu, %llu bad: %s",
       name, (unsigned long long)d.models, (unsigned long long)d.bad, err ? e.text : d.why);
    modeldb_close(db);
    unlink(file("replies.db"));
}

static void test_replies(void)
{
    static const struct {
        const char *rel;
        uint64_t n, bad;
    } real[] = {{"hub/api_models_list.json", 6, 0},
                {"hub/api_model_gguf.json", 1, 0},
                {"hub/api_model_safetensors.json", 1, 0},
                {"hub/hub_list_tags.json", 100, 52}}; /* of other places than the Hub */

    take("a list", S("[{\"id\":\"a/b\"},\n {\"id\":\"a/c\"}]\n"), 2, 0);
    take("a detail", S("  {\"id\":\"a/b\",\"siblings\":[]}"), 1, 0);
    take("lines", S("{\"id\":\"a/b\"}\n\n{\"id\":\"a/c\"}"), 2, 0);
    take("one that cannot be read among them",
         S("[{\"id\":\"a/b\"},{\"id\":7},{\"id\":\"a/c\",\"likes\":-1},{\"id\":\"a/d\"}]"), 2, 2);
    take("text that looks like an end", S("[{\"id\":\"a/b\",\"x\":\"}]\\\\\\\"}\"}]"), 1, 0);
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        const char *path = tap_data(real[i].rel);
        str s;

        if (!path) {
            skip("no shared data");
            continue;
        }
        s = content(path);
        take(real[i].rel, s, real[i].n, real[i].bad);
        mem_free((char *)s.p);
    }
}

static void test_places(void)
{
    struct modeldb *db = open_at("one.db");
    struct snapshot_conf c = {0};
    struct snapshot_done d;
    struct err_info e = {0};
    struct stat st;
    uint64_t n;

    ok(snapshot_import(db, file("none"), &c, &d, &e) == ERR_NOTFOUND && strstr(e.text, "none"),
       "no such file: %s", e.text);
    ok(snapshot_import(db, home, &c, &d, &e) != ERR_OK, "a folder: %s", e.text);
    ok(snapshot_export(db, file("no/where"), &n, &e) != ERR_OK && strstr(e.text, "no/where"),
       "no such folder: %s", e.text);
    if (access("/dev/full", W_OK) == 0 && symlink("/dev/full", file("full")) == 0) {
        ok(snapshot_export(db, file("full"), &n, &e) == ERR_NOSPACE &&
               lstat(file("full"), &st) == 0 && S_ISLNK(st.st_mode),
           "a device behind a link is written to, and both keep their place: %s", e.text);
    } else {
        skip("no /dev/full");
    }
    FILE *f = fopen(file("other"), "w");
    ok(f && fclose(f) == 0 && symlink(file("other"), file("link")) == 0 &&
           snapshot_export(db, file("link"), &n, &e) == ERR_OK && stat(file("other"), &st) == 0 &&
           st.st_size == 0 && lstat(file("link"), &st) == 0 && S_ISREG(st.st_mode),
       "a link to a file is replaced, not followed");
    modeldb_close(db);
}

int main(void)
{
    char cmd[128];

    if (!mkdtemp(home)) return 1;
    test_round();
    test_replace();
    test_damage();
    test_refused();
    test_replies();
    test_places();
    snprintf(cmd, sizeof cmd, "rm -rf %s", home);
    ok(system(cmd) == 0, "cleaned up");
    return tap_end();
}
