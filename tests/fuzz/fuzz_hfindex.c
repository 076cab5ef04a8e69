/* fuzz_hfindex: arbitrary bytes as model.safetensors.index.json. Names of files that are accepted
 * name nothing but a file in the directory. */
#include <string.h>

#include "base/limits.h"
#include "model/hf_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hf_index x;
    struct err_info e = {0};
    struct arena a;
    enum err r;

    arena_init(&a, MIB(64));
    r = hf_files_index(&x, &a, (str){(const char *)data, size}, &e);
    if (r) {
        ASSERT(e.code == r && e.text[0]);
    } else {
        ASSERT(x.n_files && x.n_files <= x.n_entries);
        for (size_t i = 0; i < x.n_files; i++)
            ASSERT(!memchr(x.files[i].p, '/', x.files[i].n) && x.files[i].p[0] != '.' &&
                   !memchr(x.files[i].p, 0, x.files[i].n) &&
                   str_ends(x.files[i], S(".safetensors")));
        for (size_t i = 0; i < x.n_entries; i++)
            ASSERT(x.entries[i].file < x.n_files);
    }
    arena_fini(&a);
    return 0;
}
