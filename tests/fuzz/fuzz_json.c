/* fuzz_json: any text; what is accepted must be written, read and compared equal. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Trees are at most JSON_DEPTH_MAX deep. Integral doubles may come back as integers. */
static bool same(const struct json *a, const struct json *b)
{
    if (!str_eq(a->key, b->key)) return false;
    if (json_is_num(a) && json_is_num(b)) {
        if (a->type != JSON_NUM && (a->type != b->type || a->u != b->u)) return false;
        return json_num(a, 0) == json_num(b, 1);
    }
    if (a->type != b->type) return false;
    if (a->type == JSON_BOOL) return a->b == b->b;
    if (a->type == JSON_STR) return str_eq(a->s, b->s);
    if (a->type == JSON_NULL) return true;
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (!same(&a->items[i], &b->items[i])) return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct err_info e;
    const struct json *one, *two;
    struct jsonw w;
    buf text = {.cap = MIB(8)};

    arena_init(&a, MIB(16));
    if (json_parse(&a, (str){(const char *)data, size}, &one, &e) == ERR_OK) {
        jsonw_init(&w, &text);
        jsonw_value(&w, one);
        ASSERT(!text.failed);
        ASSERT(json_parse(&a, buf_view(&text), &two, &e) == ERR_OK);
        ASSERT(same(one, two));
    } else {
        ASSERT(e.code != ERR_OK && e.text[0]);
    }
    buf_fini(&text);
    arena_fini(&a);
    return 0;
}
