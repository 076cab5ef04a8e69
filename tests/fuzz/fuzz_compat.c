/* fuzz_compat: arbitrary bytes as requests to the package's two functions, one on a line, in order:
 * catalogues that one line makes are asked by the next. */
#include "base/json.h"
#include "catalogs.h"
#include "compat.h"
#include "files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every answer is JSON, and says that it is an error exactly if it is one. */
static void check(enum err err, const buf *reply)
{
    const struct json *v;
    struct arena a;
    struct err_info e;
    arena_init(&a, MIB(256));
    ASSERT(reply->n && !json_parse(&a, buf_view(reply), &v, &e));
    const struct json *code = json_get(json_get(v, "error"), "code");
    ASSERT(!err || str_eqc(json_str(code, S("")), err_name(err)));
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str rest = {(const char *)data, size};
    buf reply = {.cap = COMPAT_REQUEST_MAX};
    check(files_call(rest, &reply), &reply);
    while (rest.n)
        check(compat_call(str_cut(rest, '\n', &rest), &reply), &reply);
    catalogs_fini();
    buf_fini(&reply);
    return 0;
}
