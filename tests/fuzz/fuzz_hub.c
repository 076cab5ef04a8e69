/* fuzz_hub: arbitrary bytes as a reply of the Hub: an entry, a list, and as a word for a family. */
#include "base/json.h"
#include "base/limits.h"
#include "model/hub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(struct arena *a, const struct json *v)
{
    struct err_info e = {0};
    struct hub_model m;
    struct jsonw w;
    const struct json *back;
    buf out = {.cap = MIB(64)};
    enum err err = hub_parse(&m, a, v, &e);
    if (err) {
        ASSERT(e.code == err && e.text[0]);
        return;
    }
    for (size_t i = 0; i < m.n_sets; i++) {
        ASSERT(m.sets[i].first < m.n_files && m.sets[i].n_files >= 1);
        ASSERT(m.files[m.sets[i].first].set == i);
    }
    jsonw_init(&w, &out);
    hub_write(&m, &w);
    if (!out.failed) ASSERT(!json_parse(a, buf_view(&out), &back, &e));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = {(const char *)data, size};
    const struct json *v;
    struct err_info e;
    struct arena a;
    arena_init(&a, MIB(64));
    (void)hub_family(text);
    if (!json_parse(&a, text, &v, &e)) {
        one(&a, v);
        for (size_t i = 0; v->type == JSON_ARR && i < v->n && i < 16; i++)
            one(&a, &v->items[i]);
    }
    arena_fini(&a);
    return 0;
}
