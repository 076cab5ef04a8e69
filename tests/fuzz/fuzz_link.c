/* fuzz_link: arbitrary bytes as an rbee:// link; what is taken is written and read back the same,
 * and names nothing that may not become a path. */
#include "base/limits.h"
#include "model/link.h"
#include "model/repo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_info e;
    struct link l, again;
    struct arena a;
    buf b = {.cap = 4 * LIMIT_LINK}, twice = {.cap = 4 * LIMIT_LINK};

    arena_init(&a, 16 * LIMIT_LINK);
    if (link_parse(&l, &a, (str){(const char *)data, size}, &e) == ERR_OK) {
        ASSERT(repo_id_ok(l.id) && (!l.want.n || repo_path_ok(l.want)));
        ASSERT(l.worker.n <= 64 && (l.action == LINK_INSTALL || !l.worker.n));
        link_write(&l, &b);
        ASSERT(link_parse(&again, &a, buf_view(&b), &e) == ERR_OK || b.n > LIMIT_LINK);
        if (b.n <= LIMIT_LINK) {
            ASSERT(again.action == l.action && str_eq(again.id, l.id) &&
                   str_eq(again.want, l.want));
            ASSERT(str_eq(again.worker, l.worker));
            link_write(&again, &twice);
            ASSERT(str_eq(buf_view(&b), buf_view(&twice)));
        }
    } else {
        ASSERT(e.code == ERR_INVALID && e.text[0]);
    }
    buf_fini(&twice);
    buf_fini(&b);
    arena_fini(&a);
    return 0;
}
