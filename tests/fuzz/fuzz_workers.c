/* fuzz_workers: arbitrary JSON as what a machine says of itself and its workers, with a filter: the
 * catalogue of workers and the matrix of it are JSON and CSV whatever is in there. */
#include "base/json.h"
#include "base/limits.h"
#include "model/matrix.h"
#include "store/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COLUMNS 8

static void check_json(struct arena *a, const buf *b)
{
    const struct json *v;
    ASSERT(b->failed || json_parse(a, buf_view(b), &v, NULL) == ERR_OK);
}

/* Every row has all columns, quoted where need be. */
static void check_csv(str s)
{
    size_t commas = 0;
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"') quoted = !quoted;
        if (quoted) continue;
        commas += s.p[i] == ',';
        if (s.p[i] != '\n') continue;
        ASSERT(s.p[i - 1] == '\r' && commas == COLUMNS - 1);
        commas = 0;
    }
    ASSERT(!quoted && commas == 0 && str_ends(s, S("\r\n")));
}

static void write_all(struct arena *a, const struct workers *w, const struct workers_filter *f)
{
    const struct matrix_filter all = {.worker = f->worker_type};
    buf out = {.cap = MIB(32)};
    struct jsonw j;
    jsonw_init(&j, &out);
    workers_write(w, f, &j);
    check_json(a, &out);
    buf_clear(&out);
    jsonw_init(&j, &out);
    matrix_write_json(w, &all, &j);
    check_json(a, &out);
    buf_clear(&out);
    matrix_write_csv(w, &all, &out);
    if (!out.failed) check_csv(buf_view(&out));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct workers_filter f = {0};
    struct err_info e = {0};
    const struct json *v;
    struct workers w;
    struct machine m;
    struct arena a;
    arena_init(&a, MIB(256));
    if (!json_parse(&a, (str){(const char *)data, size}, &v, &e)) {
        enum err err = machine_parse(&m, &a, v, &e);
        ASSERT(!err || (e.code == err && e.text[0]));
        err = workers_filter_read(&f, json_get(v, "filter"), &e);
        ASSERT(!err || (e.code == err && e.text[0]));
        err = workers_parse(&w, &a, json_get(v, "workers"), &e);
        ASSERT(!err || (e.code == err && e.text[0]));
        if (!err) write_all(&a, &w, &f);
    }
    arena_fini(&a);
    return 0;
}
