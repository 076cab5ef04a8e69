/* fuzz_jinja: any template over a small context. Renders twice: same text, same marks, a mark a
 * byte. */
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char context[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\" Hi <|x|> \\u00e9\\n\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\","
    "\"arguments\":{\"a\":1,\"b\":[1.5,true]}}}]}],\"n\":3,\"s\":\"text\",\"l\":[3,1,2],\"d\":{"
    "\"k\":\"v\"}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const roles[] = {"user", NULL};
    struct arena a;
    struct err_info e;
    struct jinja *t;
    const struct json *ctx;
    struct jinja_var vars[16];
    struct jinja_input in = {.vars = vars, .now = 1721952000, .unmarked = roles};
    buf text = {.cap = LIMIT_TEMPLATE_OUT}, marks = {.cap = LIMIT_TEMPLATE_OUT};

    if (jinja_compile(&t, (str){(const char *)data, size}, &e)) {
        ASSERT(e.text[0]);
        return 0;
    }
    arena_init(&a, MIB(256));
    ASSERT(json_parse(&a, S(context), &ctx, &e) == ERR_OK);
    vars[in.n++] = (struct jinja_var){.name = "bos_token", .text = S("<s>")};
    for (size_t i = 0; i < ctx->n; i++)
        vars[in.n++] = (struct jinja_var){
            .name = arena_str(&a, ctx->items[i].key).p, .value = &ctx->items[i], .untrusted = true};
    if (jinja_render(t, &a, &in, &text, &marks, &e) == ERR_OK) {
        size_t n = text.n;

        ASSERT(marks.n == n && utf8_valid(buf_view(&text)));
        arena_clear(&a);
        ASSERT(json_parse(&a, S(context), &ctx, &e) == ERR_OK);
        for (size_t i = 0; i < ctx->n; i++) {
            vars[i + 1].name = arena_str(&a, ctx->items[i].key).p;
            vars[i + 1].value = &ctx->items[i];
        }
        ASSERT(jinja_render(t, &a, &in, &text, &marks, &e) == ERR_OK ||
               text.n > LIMIT_TEMPLATE_OUT / 2);
        if (text.n == 2 * n && n) {
            ASSERT(memcmp(text.p, text.p + n, n) == 0 && memcmp(marks.p, marks.p + n, n) == 0);
        }
    } else {
        ASSERT(e.text[0]);
    }
    buf_fini(&text);
    buf_fini(&marks);
    arena_fini(&a);
    jinja_free(t);
    return 0;
}
