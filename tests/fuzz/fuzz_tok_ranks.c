/* fuzz_tok_ranks: any bytes as tiktoken's ranks, or as vocab.json and merges.txt, then text; parts
 * end with a NUL and the first byte chooses. */
#include "tok_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct err_info e;
    struct tok_spec spec = {0};
    if (!size || size > 1 << 16) return 0;
    str rest = {(const char *)data + 1, size - 1};
    str one = tok_part(&rest), two = tok_part(&rest), none = {NULL, 0};
    arena_init(&a, (size_t)256 << 20);
    enum err rc = data[0] & 1 ? tok_spec_from_merges(&spec, &a, one, two, S("gpt-2"), none, &e)
                              : tok_spec_from_ranks(&spec, &a, one, S("llama-bpe"), two, &e);
    tok_try(rc, &spec, rest);
    arena_fini(&a);
    return 0;
}
