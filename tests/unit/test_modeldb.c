/* modeldb: what is kept of an entry, how entries of one model come together, revisions, scopes. */
#include "store/modeldb.h"

#include <unistd.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/hub.h"
#include "store/modeldb_int.h"
#include "tap.h"

static char home[] = "/tmp/rbee-modeldb-XXXXXX";
static struct arena a;

#define LIST                                                                                       \
    "{\"_id\":\"1\",\"id\":\"Acme/Big-8B-GGUF\",\"modelId\":\"Acme/Big-8B-GGUF\",\"likes\":3,"     \
    "\"downloads\":70,\"sha\":\"aaaa\",\"lastModified\":\"2025-05-21T15:38:00.000Z\",\"tags\":["   \
    "\"gguf\",\"arxiv:1234\",\"license:mit\",\"en\",\"region:us\"],\"gguf\":{\"total\":"           \
    "8000000000,"                                                                                  \
    "\"architecture\":\"llama\",\"context_length\":8192,\"chat_template\":\"{% if tools %}x{% "    \
    "endif "                                                                                       \
    "%}<think>\",\"totalFileSize\":123},\"siblings\":[{\"rfilename\":\"big-Q4_K_M.gguf\"}],"       \
    "\"widgetData\":[{\"text\":\"hi\"}],\"spaces\":[],\"private\":false}"
#define DETAIL                                                                                     \
    "{\"id\":\"acme/big-8b-gguf\",\"sha\":\"aaaa\",\"lastModified\":\"2025-05-21T15:38:00.000Z\"," \
    "\"downloads\":71,\"usedStorage\":555,\"siblings\":[{\"rfilename\":\"big-Q4_K_M.gguf\","       \
    "\"size\":"                                                                                    \
    "4000000000,\"blobId\":\"x\",\"lfs\":{\"size\":4000000001,\"sha256\":"                         \
    "\"0123456789012345678901234567890123456789012345678901234567890123\"}}]}"

static const char *file(const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", home, name);
    return path;
}

static struct modeldb *open_at(const char *name)
{
    struct err_info e = {0};
    struct modeldb *db;

    if (modeldb_open(&db, file(name), &e)) printf("# %s\n", e.text);
    return db;
}

static enum modeldb_change put_as(struct modeldb *db, const char *json, const char *scope,
                                  uint64_t pass)
{
    struct modeldb_put p = {.json = str_c(json), .scope = scope, .pass = pass};
    struct err_info e = {0};
    enum modeldb_change c;

    if (!modeldb_put_as(db, &p, &c, &e)) return c;
    printf("# %s\n", e.text);
    return (enum modeldb_change)99;
}

static uint64_t revision(struct modeldb *db)
{
    struct err_info e;
    uint64_t r = 0;

    if (modeldb_revision(db, &r, &e)) printf("# %s\n", e.text);
    return r;
}

static struct modeldb_row get(struct modeldb *db, const char *id)
{
    struct err_info e;
    struct modeldb_row row = {0};

    if (modeldb_get(db, str_c(id), &a, &row, &e)) row = (struct modeldb_row){0};
    return row;
}

static const struct json *tree(str text)
{
    struct err_info e;
    const struct json *v;

    return json_parse(&a, text, &v, &e) ? NULL : v;
}

/* ---- entries ---- */

static str shortened(const struct json *v, const struct json *old)
{
    struct modeldb_entry x, y;
    struct err_info e = {0};
    buf out = {.cap = LIMIT_CATALOG_ENTRY};
    str s = {0};

    if (modeldb_entry_of(&x, &a, v, &e) || (old && modeldb_entry_of(&y, &a, old, &e))) {
        printf("# %s\n", e.text);
        return s;
    }
    modeldb_entry_write(&x, old ? &y : NULL, &out);
    s = arena_str(&a, buf_view(&out));
    buf_fini(&out);
    return s;
}

static str described(const struct json *v)
{
    struct hub_model m;
    struct err_info e;
    struct jsonw w;
    buf out = {.cap = MIB(64)};
    str s;

    if (!v || hub_parse(&m, &a, v, &e)) return S("");
    jsonw_init(&w, &out);
    hub_write(&m, &w);
    buf_printf(&out, " %.*s %.*s %d%d%d%d%d%d%d %g %zu", STR(m.sha), STR(m.quant_method),
               m.hf_loads, m.arch_of_file, m.arch_by_name, m.other_task, m.foreign_quant, m.scaled,
               m.files_said, m.trending, m.n_files);
    for (size_t i = 0; i < m.n_dtypes; i++)
        buf_printf(&out, " %.*s=%llu", STR(m.dtypes[i].name),
                   (unsigned long long)m.dtypes[i].params);
    for (size_t i = 0; i < m.n_files; i++)
        buf_printf(&out, " %.*s=%llu", STR(m.files[i].path), (unsigned long long)m.files[i].bytes);
    s = arena_str(&a, buf_view(&out));
    buf_fini(&out);
    return s;
}

/* Short, and to hub_parse() the same model; shortening again changes nothing. */
static bool keeps_what_counts(const struct json *v)
{
    str once = shortened(v, NULL), twice, was = described(v);
    const struct json *back = tree(once);

    if (!was.n || !back) return false;
    twice = shortened(back, NULL);
    if (str_eq(once, twice) && str_eq(was, described(back))) return true;
    printf("# %.*s\n# %.*s\n", STR(str_sub(was, 0, 900)), STR(str_sub(described(back), 0, 900)));
    return false;
}

static void test_entry(void)
{
    str s;

    arena_clear(&a);
    s = shortened(tree(S(LIST)), NULL);
    ok(s.n && keeps_what_counts(tree(S(LIST))), "a list entry is the same model when shortened");
    ok(str_find(s, S("widget"), 0) == SIZE_MAX && str_find(s, S("arxiv"), 0) == SIZE_MAX &&
           str_find(s, S("_id"), 0) == SIZE_MAX && str_find(s, S("spaces"), 0) == SIZE_MAX,
       "without what nobody asks for");
    ok(str_find(s, S("{#- left out: tools <think> -#}"), 0) != SIZE_MAX,
       "of a template a remark stays that tells what it can: %.*s", STR(s));
    ok(keeps_what_counts(tree(S(DETAIL))), "and so is a detail");
    s = shortened(tree(S(DETAIL)), tree(S(LIST)));
    ok(str_find(s, S("4000000001"), 0) != SIZE_MAX && str_find(s, S("llama"), 0) != SIZE_MAX &&
           str_find(s, S("555"), 0) != SIZE_MAX,
       "a detail gets what only the list had");
    s = shortened(tree(S(LIST)), tree(s));
    ok(str_find(s, S("4000000001"), 0) != SIZE_MAX &&
           str_find(s, S("\"downloads\":70"), 0) != SIZE_MAX,
       "a list entry refreshes a detail and keeps its sizes");
}

static void each_entry(const char *rel, const char *what)
{
    const char *path = tap_data(rel);
    struct err_info e;
    const struct json *v;
    char *text;
    size_t n, good = 0, all = 0;

    if (!path) {
        skip("no shared data");
        return;
    }
    if (map_read_file(path, MIB(64), &text, &n, &e) || json_parse(&a, (str){text, n}, &v, &e)) {
        ok(false, "%s: %s", rel, e.text);
        return;
    }
    if (v->type == JSON_OBJ) {
        all = 1;
        good = keeps_what_counts(v);
    }
    for (size_t i = 0; v->type == JSON_ARR && i < v->n; i++, all++)
        good += keeps_what_counts(&v->items[i]);
    ok(good == all && all, "%s: %zu of %zu are the same when shortened", what, good, all);
    mem_free(text);
    arena_clear(&a);
}

/* ---- rows ---- */

static void test_rows(void)
{
    struct err_info e = {0};
    struct modeldb *db = open_at("rows.db");
    struct modeldb_row row;
    uint64_t r;

    arena_clear(&a);
    ok(db && revision(db) == 0 && modeldb_origin(db) != 0, "a new catalogue");
    ok(put_as(db, LIST, "gguf", 1) == MODELDB_ADDED && revision(db) == 1, "a row");
    ok(put_as(db, LIST, "gguf", 1) == MODELDB_SAME && revision(db) == 1,
       "the same again is no change");
    row = get(db, "acme/big-8b-GGUF");
    ok(str_eq(row.id, S("Acme/Big-8B-GGUF")) && !row.detailed && row.revision == 1,
       "found whatever the case of its name");
    ok(!modeldb_put(db, S("ACME/big-8b-gguf"), S(DETAIL), &e) && revision(db) == 2,
       "its detail: %s", e.text);
    row = get(db, "Acme/Big-8B-GGUF");
    ok(row.detailed && str_find(row.entry, S("llama"), 0) != SIZE_MAX, "is one row with it");
    ok(put_as(db, LIST, "gguf", 1) == MODELDB_CHANGED && get(db, "acme/big-8b-gguf").detailed,
       "and stays one when the list is seen again");
    r = revision(db);
    ok(modeldb_put(db, S("acme/other"), S(DETAIL), &e) == ERR_FORMAT &&
           strstr(e.text, "acme/other"),
       "an answer for another model: %s", e.text);
    ok(modeldb_put(db, S(""), S("{\"id\":\"../../etc\"}"), &e) == ERR_INVALID, "a bad name: %s",
       e.text);
    ok(modeldb_put(db, S(""), S("{\"id\":\"a/b\",\"downloads\":\"many\"}"), &e) == ERR_FORMAT,
       "a field of another type: %s", e.text);
    ok(modeldb_put(db, S(""), S("{\"id\":\"a/b\""), &e) == ERR_FORMAT && revision(db) == r,
       "half an answer; none of it changed anything");
    ok(modeldb_remove(db, S("acme/BIG-8b-gguf"), &e) == ERR_OK && !get(db, "acme/big-8b-gguf").id.n,
       "removed");
    ok(modeldb_remove(db, S("acme/big-8b-gguf"), &e) == ERR_NOTFOUND, "once: %s", e.text);
    ok(revision(db) == r + 1, "that is a revision");
    ok(put_as(db, LIST, "gguf", 1) == MODELDB_ADDED && !get(db, "acme/big-8b-gguf").detailed,
       "and it may come back, as new");
    modeldb_close(db);
}

static void entry(char out[256], const char *id, const char *sha, const char *day, int downloads)
{
    snprintf(
        out, 256,
        "{\"id\":\"%s\",\"sha\":\"%s\",\"lastModified\":\"2025-05-%sT00:00:00.000Z\",\"downloads\":"
        "%d,\"tags\":[\"gguf\"]}",
        id, sha, day, downloads);
}

static void test_newer(void)
{
    struct modeldb *db = open_at("newer.db");
    struct modeldb_put p = {.scope = "import", .only_newer = true};
    struct err_info e;
    enum modeldb_change c;
    char x[256];

    arena_clear(&a);
    entry(x, "a/b", "one", "10", 5);
    (void)put_as(db, x, "gguf", 1);
    entry(x, "a/b", "zero", "09", 4);
    p.json = str_c(x);
    ok(!modeldb_put_as(db, &p, &c, &e) && c == MODELDB_OLDER && get(db, "a/b").revision == 1,
       "an older entry of an import leaves a row alone");
    entry(x, "a/b", "two", "11", 6);
    p.json = str_c(x);
    ok(!modeldb_put_as(db, &p, &c, &e) && c == MODELDB_CHANGED, "a newer one does not");
    modeldb_close(db);
}

/* ---- shapes ---- */

static void test_shapes(void)
{
    struct modeldb *db = open_at("shapes.db");
    struct memory_shape s = {
        .source = MEMORY_HEADER, .n_ctx_train = 4096, .k_cols = 1024, .v_cols = 512};
    struct err_info e = {0};
    struct modeldb_row row;
    char x[256];
    uint64_t r;

    arena_clear(&a);
    entry(x, "a/b", "one", "10", 5);
    (void)put_as(db, x, "gguf", 1);
    r = revision(db);
    ok(!modeldb_shape_put(db, S("A/b"), S("b-Q4_K_M"), &s, &e) && revision(db) == r + 1,
       "a shape is a change of its row: %s", e.text);
    s.source = MEMORY_CONFIG;
    ok(!modeldb_shape_put(db, S("a/b"), S(""), &s, &e), "another");
    row = get(db, "a/b");
    ok(row.n_shapes == 2 && row.shapes[0].set.n == 0 && str_eq(row.shapes[1].set, S("b-Q4_K_M")) &&
           row.shapes[1].shape.k_cols == 1024 && row.shapes[1].shape.source == MEMORY_HEADER &&
           row.shapes[0].shape.source == MEMORY_CONFIG && row.shapes[0].shape.n_ctx_train == 4096,
       "both are there, the repository's own first");
    entry(x, "a/b", "one", "10", 6);
    (void)put_as(db, x, "gguf", 1);
    ok(get(db, "a/b").n_shapes == 2, "they stay with the commit");
    entry(x, "a/b", "two", "11", 6);
    (void)put_as(db, x, "gguf", 1);
    ok(get(db, "a/b").n_shapes == 0, "and go with it");
    ok(modeldb_shape_put(db, S("a/none"), S(""), &s, &e) == ERR_NOTFOUND, "of no row: %s", e.text);
    modeldb_close(db);
}

/* ---- readers ---- */

struct reader {
    size_t n, removed, shapes;
    uint64_t revision;
    bool order, stop;
    char last[64];
};

static enum err on_row(void *owner, const struct modeldb_row *row, struct err_info *e)
{
    struct reader *r = owner;

    r->n++;
    r->removed += row->removed;
    r->shapes += row->n_shapes;
    r->order = r->order && row->revision >= r->revision;
    r->revision = row->revision;
    snprintf(r->last, sizeof r->last, "%.*s", STR(row->id));
    return r->stop && r->n == 2 ? ERR_FAIL(e, CANCELLED, "enough") : ERR_OK;
}

static struct reader read_from(struct modeldb *db, uint64_t *since)
{
    struct reader r = {.order = true};
    struct err_info e;

    if (modeldb_each(db, since, on_row, &r, &e)) printf("# %s\n", e.text);
    return r;
}

static void test_reading(void)
{
    struct modeldb *db = open_at("reading.db"), *other = open_at("reading.db");
    struct memory_shape s = {.source = MEMORY_HEADER, .k_cols = 7};
    struct err_info e = {0};
    struct reader r;
    uint64_t since = 0;
    char x[256], id[32];

    ok(modeldb_origin(db) == modeldb_origin(other), "two readers of one catalogue");
    ok(!modeldb_begin(db, &e), "many at once");
    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof id, "a/m%d", i);
        entry(x, id, "s", "10", i);
        (void)put_as(db, x, "gguf", 1);
    }
    ok(revision(other) == 0, "are not there before the end");
    ok(!modeldb_commit(db, &e) && revision(other) == 1, "and are one revision");
    r = read_from(other, &since);
    ok(r.n == 50 && r.order && since == 1, "all are read");
    r = read_from(other, &since);
    ok(r.n == 0 && since == 1, "once");
    entry(x, "a/m7", "s", "10", 99);
    (void)put_as(db, x, "gguf", 1);
    ok(!modeldb_remove(db, S("a/m8"), &e) && !modeldb_shape_put(db, S("a/m9"), S(""), &s, &e),
       "three changes");
    r = read_from(other, &since);
    ok(r.n == 3 && r.order && r.removed == 1 && r.shapes == 1 && since == revision(db) &&
           strcmp(r.last, "a/m9") == 0,
       "are what is read next, a removal among them");
    since = 0;
    r = read_from(other, &since);
    ok(r.n == 49 && !r.removed, "who begins does not hear of what is gone");
    r = (struct reader){.order = true, .stop = true};
    since = 0;
    ok(modeldb_each(other, &since, on_row, &r, &e) == ERR_CANCELLED && r.n == 2 && since <= 1,
       "a reader may stop");
    ok(!modeldb_begin(db, &e) && !modeldb_remove(db, S("a/m1"), &e), "a change");
    modeldb_rollback(db);
    ok(get(db, "a/m1").id.n > 0, "that is taken back");
    modeldb_close(db);
    modeldb_close(other);
}

/* ---- scopes ---- */

static void test_scopes(void)
{
    struct modeldb *db = open_at("scopes.db");
    struct modeldb_sync sync = {.scope = S("gguf"),
                                .endpoint = S("https://hub"),
                                .next = S("u?a=b"),
                                .kind = S("whole"),
                                .want = 20000,
                                .pass = 2,
                                .seen = 7,
                                .least = 9,
                                .started = 1,
                                .whole = 2,
                                .updated = 3,
                                .mark = 4,
                                .mark_next = 5};
    struct modeldb_sync back;
    struct modeldb_status st;
    struct err_info e = {0};
    uint64_t removed = 9;
    char x[256];

    arena_clear(&a);
    for (int i = 0; i < 4; i++) {
        char id[8] = {'a', '/', (char)('a' + i), 0};

        entry(x, id, "s", "10", i);
        (void)put_as(db, x, "gguf", 1);
        if (i == 1) (void)put_as(db, x, "import", 0);
        if (i == 2) (void)put_as(db, x, MODELDB_ASKED, 0);
    }
    entry(x, "a/asked", "s", "10", 1);
    ok(!modeldb_put(db, S("a/asked"), str_c(x), &e), "one that only somebody asked for");
    entry(x, "a/a", "s", "10", 50);
    ok(put_as(db, x, "gguf", 2) == MODELDB_CHANGED, "a second walk finds one of four");
    ok(!modeldb_sync_sweep(db, S("gguf"), 2, &removed, &e) && removed == 2, "two are gone");
    ok(get(db, "a/a").id.n && get(db, "a/b").id.n && !get(db, "a/c").id.n && !get(db, "a/d").id.n,
       "not the one that was seen, nor the one of an import");
    ok(get(db, "a/asked").id.n > 0, "nor the one that was asked for");
    ok(!modeldb_sync_put(db, &sync, &e) && !modeldb_sync_get(db, S("gguf"), &a, &back, &e),
       "where a walk stands: %s", e.text);
    ok(str_eq(back.endpoint, sync.endpoint) && str_eq(back.next, sync.next) &&
           str_eq(back.kind, sync.kind) && back.want == 20000 && back.pass == 2 && back.seen == 7 &&
           back.least == 9 && back.started == 1 && back.whole == 2 && back.updated == 3 &&
           back.mark == 4 && back.mark_next == 5,
       "is read as it was written");
    ok(!modeldb_sync_get(db, S("none"), &a, &back, &e) && !back.started && !back.next.n,
       "none of another");
    ok(!modeldb_status(db, &a, &st, &e) && st.models == 3 && st.n_scopes == 3 && st.bytes > 0 &&
           str_eq(st.scopes[1].scope, S("gguf")) && st.scopes[1].models == 1 &&
           st.scopes[1].want == 20000,
       "status");
    ok(!modeldb_check(db, &e), "sound");
    modeldb_close(db);
}

static void test_places(void)
{
    struct err_info e = {0};
    struct modeldb *db;
    FILE *f = fopen(file("bad.db"), "w");

    fputs("SQLite format 3 no more than that, whatever else may follow here", f);
    fclose(f);
    ok(modeldb_open(&db, file("bad.db"), &e) == ERR_FORMAT && !db &&
           strstr(e.text, "rbee catalog sync"),
       "a broken file, and what to do: %s", e.text);
    setenv("XDG_DATA_HOME", home, 1);
    ok(!modeldb_open(&db, NULL, &e) && access(file("rbee/catalog.db"), F_OK) == 0,
       "its own place: %s", e.text);
    modeldb_close(db);
}

int main(void)
{
    char cmd[128];

    if (!mkdtemp(home)) return 1;
    arena_init(&a, GIB(1));
    test_entry();
    each_entry("hub/api_models_list.json", "a real list");
    each_entry("hub/api_model_gguf.json", "a real GGUF repository");
    each_entry("hub/api_model_safetensors.json", "a real SafeTensors repository");
    each_entry("hub/hub_list_tags.json", "real tags");
    test_rows();
    test_newer();
    test_shapes();
    test_reading();
    test_scopes();
    test_places();
    arena_fini(&a);
    snprintf(cmd, sizeof cmd, "rm -rf %s", home);
    ok(system(cmd) == 0, "cleaned up");
    return tap_end();
}
