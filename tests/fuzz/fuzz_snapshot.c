/* fuzz_snapshot: arbitrary bytes as a catalogue to import. What is taken goes out and in again. */
#include "base/limits.h"
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

/* Every row reads back as an entry and says the same when it is put again. */
static enum err on_row(void *owner, const struct modeldb_row *row, struct err_info *e)
{
    struct modeldb *other = owner;
    struct modeldb_put put = {.id = row->id, .json = row->entry, .scope = "x"};
    enum modeldb_change change;

    ASSERT(!modeldb_put_as(other, &put, &change, e) && change == MODELDB_ADDED);
    ASSERT(!modeldb_put_as(other, &put, &change, e) && change == MODELDB_SAME);
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text t = {data, size, size ? data[0] % 64 + 1 : 1};
    struct snapshot_conf c = {.replace = size && data[size - 1] == ' '};
    struct modeldb *db, *other;
    struct snapshot_done done;
    struct err_info e = {0};
    uint64_t since = 0;
    enum err err;

    ASSERT(!modeldb_open(&db, ":memory:", &e) && !modeldb_open(&other, ":memory:", &e));
    err = snapshot_import_from(db, read_text, &t, &c, &done, &e);
    ASSERT(!err || e.text[0]);
    ASSERT(!modeldb_each(db, &since, on_row, other, &e));
    ASSERT(!err || !since);
    modeldb_close(db);
    modeldb_close(other);
    return 0;
}
