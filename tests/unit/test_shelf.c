/* The queen's catalogue: lanes keep their order, rows of the database come, change and go, machines
 * change, and the answer on one model says what it rests on. */
#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "queen/lane.h"
#include "queen/shelf.h"
#include "store/modeldb.h"
#include "tap.h"
#include "worker/worker.h"

static struct arena arena;
static struct err_info err;
static char path[256];

/* ---- lanes ---- */

struct note {
    struct lane_job job;
    char name;
};

static char seen[64];
static size_t n_seen;
static struct lane *lane;

static void noted(char c)
{
    if (n_seen < sizeof seen - 1) seen[n_seen++] = c;
}

static void work(struct lane_job *j)
{
    usleep(1000);
    noted(((struct note *)(void *)j)->name);
}

static void done(struct lane_job *j, bool ran)
{
    noted(ran ? '.' : '!');
    if (((struct note *)(void *)j)->name == 'b') lane_stop(lane);
}

static void test_lane(void)
{
    struct note n[6];
    uv_loop_t loop;
    uv_loop_init(&loop);
    lane = lane_new(&loop, 4);
    for (int i = 0; i < 6; i++)
        n[i] = (struct note){{.work = work, .done = done}, (char)('a' + i)};
    for (int i = 0; i < 5; i++)
        ok(lane_push(lane, &n[i].job), "job %d waits or runs", i);
    ok(!lane_push(lane, &n[5].job), "one more is too many");
    ok(lane_drop(lane, &n[4].job) && !lane_drop(lane, &n[4].job),
       "one that waits is dropped, once");
    ok(!lane_drop(lane, &n[0].job), "one that runs is not");
    uv_run(&loop, UV_RUN_DEFAULT);
    const str order = {seen, n_seen};
    is_str(order, S("a.b.!!"), "in their order, and none after the stop");
    ok(!lane_push(lane, &n[5].job), "a stopped lane takes none");
    lane_free(lane);
    is_int(uv_loop_close(&loop), 0, "nothing is left");
}

/* ---- machines ---- */

static const struct json *caps(void)
{
    static const struct backend *const backends[] = {&cpu_backend, NULL};
    const struct worker_kind kind = {"llm-worker-rbee-cpu", "cpu", backends};
    const struct json *v = NULL;
    buf b = {.cap = MIB(4)};
    worker_capabilities(&kind, &b);
    str text = arena_str(&arena, buf_view(&b));
    buf_fini(&b);
    return json_parse(&arena, text, &v, &err) ? NULL : v;
}

static void one_machine(struct machine *m, const char *name, uint64_t bytes)
{
    const struct json *said;
    struct jsonw w;
    buf b = {.cap = MIB(4)};
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kc(&w, "name", name);
    jsonw_key(&w, "devices");
    jsonw_raw(&w, arena_printf(&arena,
                               "[{\"id\":\"cpu\",\"backend\":\"cpu\",\"worker\":\"llm-worker-rbee-"
                               "cpu\",\"memory_total\":%llu,\"memory_available\":%llu,"
                               "\"threads\":2,\"rates\":null}]",
                               (unsigned long long)GIB(64), (unsigned long long)bytes));
    jsonw_key(&w, "workers");
    jsonw_arr(&w);
    jsonw_value(&w, caps());
    jsonw_end(&w, ']');
    jsonw_end(&w, '}');
    str text = arena_str(&arena, buf_view(&b));
    buf_fini(&b);
    if (json_parse(&arena, text, &said, &err) || machine_parse(m, &arena, said, &err)) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
}

/* A view of one machine with so much memory, or of a second one too; lives as long as the test. */
static struct hives_view *machines_of(uint64_t bytes, uint64_t second)
{
    struct hives_view *v = ARENA_NEW(&arena, struct hives_view, 1);
    struct machine *m = ARENA_NEW(&arena, struct machine, 2);
    one_machine(&m[0], "box", bytes);
    if (second) one_machine(&m[1], "stick", second);
    *v = (struct hives_view){.machine = m, .n = second ? 2 : 1, .refs = 1};
    return v;
}

static struct hives_view *machine_of(uint64_t bytes)
{
    return machines_of(bytes, 0);
}

/* ---- rows ---- */

static const char *entry(const char *id, const char *arch, unsigned gigabytes)
{
    return arena_printf(&arena,
                        "{\"id\":\"%s\",\"sha\":\"%040d\",\"lastModified\":\"2025-01-0%uT00:00:00."
                        "000Z\",\"tags\":[\"gguf\"],\"gguf\":{\"architecture\":\"%s\",\"total\":%u"
                        "000000000,\"context_length\":4096},\"siblings\":[{\"rfilename\":\"x-Q8_0."
                        "gguf\",\"size\":%u000000000},{\"rfilename\":\"README.md\",\"size\":9},"
                        "{\"rfilename\":\".gitattributes\",\"size\":9}]}",
                        id, 7, gigabytes % 9 + 1, arch, gigabytes, gigabytes)
        .p;
}

static void put(const char *id, const char *arch, unsigned gigabytes)
{
    struct modeldb *db;
    if (modeldb_open(&db, path, &err) ||
        modeldb_put(db, S(""), str_c(entry(id, arch, gigabytes)), &err))
        printf("Bail out! %s\n", err.text);
    modeldb_close(db);
}

static void take_out(const char *id)
{
    struct modeldb *db;
    if (modeldb_open(&db, path, &err) || modeldb_remove(db, str_c(id), &err))
        printf("Bail out! %s\n", err.text);
    modeldb_close(db);
}

/* What a list answers; NULL on an error. *view as shelf_refresh() has it. */
static const struct json *list(struct shelf *s, struct hives_view **view, const char *query)
{
    struct catalog_query q = {0};
    const struct json *v = NULL;
    buf b = {.cap = MIB(4)};
    if (!shelf_refresh(s, view, &err) && !catalog_query_parse(&q, &arena, str_c(query), &err) &&
        !shelf_models(s, &q, &arena, &b, &err)) {
        str text = arena_str(&arena, buf_view(&b));
        if (json_parse(&arena, text, &v, &err)) v = NULL;
    }
    buf_fini(&b);
    return v;
}

static int total(struct shelf *s, const char *query)
{
    struct hives_view *none = NULL;
    const struct json *v = list(s, &none, query);
    return v ? (int)json_int(json_get(v, "total"), -1) : -1;
}

static void test_rows(struct shelf *s)
{
    struct hives_view *v = NULL;
    const struct json *x = list(s, &v, "");
    ok(x && json_get(x, "hint")->type == JSON_STR && access(path, F_OK) != 0,
       "no file: an empty catalogue with a hint, and still no file");
    put("acme/one", "llama", 2);
    put("acme/two", "qwen2", 3);
    is_int(total(s, ""), 2, "without machines all is shown");
    v = machine_of(GIB(60));
    struct hives_view *mine = v;
    x = list(s, &v, "");
    ok(x && v == NULL && shelf_view(s) == mine, "the view is taken");
    put("acme/three", "no-such-thing", 2);
    is_int(total(s, ""), 2, "what no worker runs is hidden");
    is_int(total(s, "all=1"), 3, "and shown on demand, with the row that came");
    take_out("acme/one");
    is_int(total(s, "all=1"), 2, "a row that went is gone");
    put("acme/two", "qwen2", 900);
    is_int(total(s, ""), 0, "a row that changed is judged again");
    unlink(path);
    is_int(total(s, "all=1"), 0, "the file is gone: empty");
    put("acme/four", "llama", 2);
    is_int(total(s, ""), 1, "another file in its place: its rows only");
}

static void test_machines(struct shelf *s)
{
    struct hives_view *before = shelf_view(s), *v = machine_of(GIB(60) - MIB(300)), *same = v;
    list(s, &v, "");
    ok(v == same && shelf_view(s) == before, "a little less memory is the same machine");
    v = machine_of(GIB(2));
    const struct json *x = list(s, &v, "");
    ok(v == before && json_int(json_get(x, "total"), -1) == 0,
       "much less is another: judged again");
    v = NULL;
    ok(list(s, &v, "") && v == NULL && shelf_view(s) != NULL, "no news of machines: as before");
    v = machine_of(GIB(60));
    list(s, &v, "");
    is_int(total(s, ""), 1, "and back");
}

static const struct json *model(struct shelf *s, const char *id, const char *query, const char *set,
                                struct shelf_answer *a)
{
    struct catalog_query q = {0};
    struct hives_view *none = NULL;
    const struct json *v = NULL;
    buf b = {.cap = MIB(4)};
    struct shelf_ask ask = {.id = str_c(id), .q = &q, .set = str_c(set)};
    if (!shelf_refresh(s, &none, &err) && !catalog_query_parse(&q, &arena, str_c(query), &err) &&
        !shelf_model(s, &ask, &arena, a, &b, &err)) {
        str text = arena_str(&arena, buf_view(&b));
        if (json_parse(&arena, text, &v, &err)) v = NULL;
    }
    buf_fini(&b);
    return v;
}

static void test_model(struct shelf *s)
{
    struct shelf_answer a;
    const struct json *x = model(s, "acme/nope", "", "", &a);
    ok(!x && err.code == ERR_NOMODEL && a.missing == SHELF_ROW, "no row: it is missing");
    x = model(s, "acme/four", "", "", &a);
    if (!ok(x && a.status == 200 && a.missing == SHELF_HEADER && str_eqc(a.set, "x-Q8_0"),
            "a detail: the header is missing"))
        return;
    ok(json_bool(json_get(x, "runs"), false) && json_get(x, "sets")->n == 1, "one set, which runs");
    const struct json *files = json_get(x, "files");
    ok(json_get(files, "shown")->n == 2 && json_get(files, "more")->n == 1, "files in two lists");
    ok(!json_bool(json_get(json_get(x, "rests_on"), "complete"), true), "not all is known");
    x = model(s, "acme/four", "", "Q8_0", &a);
    ok(x && a.missing == SHELF_HEADER, "a set by its quantisation");
    x = model(s, "acme/four", "", "Q2_K", &a);
    ok(!x && err.code == ERR_NOTFOUND, "one that is not there: %s", err.text);
    put("acme/huge", "llama", 900);
    x = model(s, "acme/huge", "", "", &a);
    const struct json *e = json_get(x, "error");
    ok(a.status == 404 && json_get(e, "reasons")->n > 0 &&
           str_eqc(json_str(json_get(e, "why"), S("")), "memory"),
       "too large: 404 with the reasons");
    x = model(s, "acme/huge", "fits=0", "", &a);
    ok(x && a.status == 200, "shown where that is asked for");
    put("acme/odd", "no-such-thing", 1);
    model(s, "acme/odd", "fits=0", "", &a);
    is_int(a.status, 404, "what no worker runs is hidden from that, too");
    x = model(s, "acme/odd", "all=1", "", &a);
    ok(x && a.status == 200 && !json_bool(json_get(x, "runs"), true) && a.missing == SHELF_NOTHING,
       "and shown with all=1; no header would help");
}

static void test_two(struct shelf *s)
{
    struct hives_view *before = shelf_view(s), *v = machines_of(GIB(60), MIB(300));
    struct shelf_answer a;
    const struct json *x = list(s, &v, "q=four");
    ok(x && v == before && json_get(x, "machines")->n == 2, "two machines");
    x = json_get(&json_get(x, "models")->items[0], "verdict");
    ok(str_eqc(json_str(json_get(x, "machine"), S("")), "box") && json_get(x, "machines")->n == 1,
       "the list names the one that runs it");
    is_int(total(s, "machine=stick"), 0, "nothing runs on the other");
    is_int(total(s, "q=four&machine=box"), 1, "by machine");
    x = json_get(&json_get(model(s, "acme/four", "", "", &a), "sets")->items[0], "verdicts");
    if (!ok(x && x->n == 2, "one model: a verdict for each machine")) return;
    const struct json *no = json_get(&x->items[1], "verdict");
    ok(str_eqc(json_str(json_get(&x->items[1], "machine"), S("")), "stick") &&
           !json_bool(json_get(no, "fits"), true),
       "it does not fit the small one");
    const struct json *tips = json_get(no, "recommendations");
    bool named = false;
    for (size_t i = 0; tips && i < tips->n; i++)
        named = named || str_find(tips->items[i].s, S("box"), 0) != SIZE_MAX;
    ok(named, "which is told where it runs");
    v = machine_of(GIB(60));
    list(s, &v, "");
}

static void test_broken(struct shelf *s)
{
    FILE *f;
    unlink(path);
    f = fopen(path, "w");
    for (int i = 0; f && i < 1000; i++)
        fputs("no database ", f);
    if (f) fclose(f);
    is_int(total(s, ""), -1, "a file that is no database");
    ok(strstr(err.text, path) != NULL, "is named: %s", err.text);
    unlink(path);
    is_int(total(s, ""), 0, "and when it has gone, all is well");
}

int main(void)
{
    struct shelf_conf c = {.path = path, .ask = {.ktype = DTYPE_F16, .vtype = DTYPE_F16}};
    char dir[] = "/tmp/rbee-shelf-XXXXXX";
    struct shelf *s;
    if (!mkdtemp(dir)) return 1;
    snprintf(path, sizeof path, "%s/catalog.db", dir);
    arena_init(&arena, GIB(1));
    test_lane();
    if (ok(!shelf_new(&s, &c, &err), "a shelf")) {
        test_rows(s);
        test_machines(s);
        test_model(s);
        test_two(s);
        test_broken(s);
        shelf_free(s);
    }
    arena_fini(&arena);
    for (int i = 0; i < 3; i++) {
        static const char *const endings[] = {"", "-wal", "-shm"};
        char name[300];
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        unlink(name);
    }
    rmdir(dir);
    return tap_end();
}
