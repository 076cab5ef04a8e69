/* fuzz_snapshot: arbitrary bytes as a catalogue to import. What is taken can be read. */
#include "base/limits.h"
#include "store/modeldb_int.h"
#include "store/snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    const uint8_t *p;
    size_t n, step;
};

static enum err read_text(void *owner, void *p, size_t n, size_t *got, struct err_info *e)
{
    struct text *t = owner;

    (void)e;
    if (n > t->step) n = t->step;
    if (n > t->n) n = t->n;
    __builtin_memcpy(p, t->p, n);
    t->p += n;
    t->n -= n;
    *got = n;
    return ERR_OK;
}

/* Every row reads back as an entry, and shortening it again changes nothing. */
static enum err on_row(void *owner, const struct modeldb_row *row, struct err_info *e)
{
    struct arena *a = owner;
    struct modeldb_entry x;
    const struct json *v;
    buf again = {.cap = LIMIT_CATALOG_ENTRY};

    ASSERT(!json_parse(a, row->entry, &v, e) && !modeldb_entry_of(&x, a, v, e));
    ASSERT(str_eq(x.id, row->id) && x.detailed == row->detailed);
    modeldb_entry_write(&x, NULL, &again);
    ASSERT(str_eq(buf_view(&again), row->entry));
    buf_fini(&again);
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text t = {data, size, size ? data[0] % 64 + 1 : 1};
    struct snapshot_conf c = {.replace = size && data[size - 1] == ' '};
    struct modeldb *db;
    struct snapshot_done done;
    struct arena a;
    struct err_info e = {0};
    uint64_t since = 0;
    enum err err;

    arena_init(&a, MIB(256));
    ASSERT(!modeldb_open(&db, ":memory:", &e));
    err = snapshot_import_from(db, read_text, &t, &c, &done, &e);
    ASSERT(!err || e.text[0]);
    ASSERT(!modeldb_each(db, &since, on_row, &a, &e));
    ASSERT(!err || !since);
    modeldb_close(db);
    arena_fini(&a);
    return 0;
}
