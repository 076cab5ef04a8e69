/* bench_modeldb: milliseconds of processor time of the catalogue on disk.
 *
 *   tools/hub-fixture 40000 > hub.json; bench_modeldb hub.json
 *
 * The file is imported into a new catalogue; then all of it is read as text, as models, one model
 * after the other by name, and imported again, which changes nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/os.h"
#include "model/hub.h"
#include "store/snapshot.h"

struct reader {
    struct arena a;
    bool parse;
    size_t n, bytes;
    char (*ids)[256];
};

static enum err on_row(void *owner, const struct modeldb_row *row, struct err_info *e)
{
    struct reader *r = owner;
    const struct json *v;
    struct hub_model m;
    enum err err;

    if (r->ids && r->n < 100000) snprintf(r->ids[r->n], sizeof r->ids[0], "%.*s", STR(row->id));
    r->n++;
    r->bytes += row->entry.n;
    if (!r->parse) return ERR_OK;
    arena_clear(&r->a);
    if ((err = json_parse(&r->a, row->entry, &v, e))) return err;
    return hub_parse(&m, &r->a, v, e);
}

/* Of the processor, so that a busy machine says the same; the disk is not in it. */
static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double since(uint64_t *t)
{
    uint64_t now = now_ns(), was = *t;

    *t = now;
    return (double)(now - was) / 1e6;
}

static enum err bench(struct modeldb *db, const char *file, struct err_info *e)
{
    struct reader r = {.ids = calloc(100000, sizeof *r.ids)};
    struct snapshot_conf c = {0};
    struct snapshot_done d;
    struct modeldb_status st;
    struct modeldb_row row;
    uint64_t t = now_ns(), revision = 0;
    enum err err;

    arena_init(&r.a, MIB(512));
    if ((err = snapshot_import(db, file, &c, &d, e)) || (err = modeldb_status(db, &r.a, &st, e)))
        return err;
    printf("import    %9.1f ms  %llu models, %.1f MiB on disk\n", since(&t),
           (unsigned long long)d.models, (double)st.bytes / 1048576);
    if ((err = modeldb_each(db, &revision, on_row, &r, e))) return err;
    printf("read      %9.1f ms  %zu entries, %.1f MiB\n", since(&t), r.n,
           (double)r.bytes / 1048576);
    r.parse = true;
    revision = r.n = 0;
    if ((err = modeldb_each(db, &revision, on_row, &r, e))) return err;
    printf("as models %9.1f ms\n", since(&t));
    for (size_t i = 0; i < r.n && i < 10000; i++) {
        arena_clear(&r.a);
        if ((err = modeldb_get(db, str_c(r.ids[i * 7919 % r.n]), &r.a, &row, e))) return err;
    }
    printf("one model %9.4f ms  by name\n", since(&t) / (double)(r.n < 10000 ? r.n : 10000));
    if ((err = snapshot_import(db, file, &c, &d, e))) return err;
    printf("again     %9.1f ms  %llu changed\n", since(&t), (unsigned long long)d.changed);
    printf("memory    %9.1f MiB at most\n", (double)os_rss_peak() / 1048576);
    arena_fini(&r.a);
    free(r.ids);
    return ERR_OK;
}

int main(int argc, char **argv)
{
    char home[] = "/tmp/rbee-bench-XXXXXX", path[256], clean[256];
    struct err_info e = {0};
    struct modeldb *db;
    enum err err;

    if (argc != 2 || !mkdtemp(home)) {
        fprintf(stderr, "usage: bench_modeldb FILE\n");
        return 64;
    }
    snprintf(path, sizeof path, "%s/catalog.db", home);
    err = modeldb_open(&db, path, &e);
    if (!err) err = bench(db, argv[1], &e);
    if (err) fprintf(stderr, "bench_modeldb: %s\n", e.text);
    modeldb_close(err && !db ? NULL : db);
    snprintf(clean, sizeof clean, "rm -rf %s", home);
    return system(clean) || err != ERR_OK;
}
