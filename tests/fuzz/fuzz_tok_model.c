/* fuzz_tok_model: any bytes as SentencePiece's tokenizer.model. The first byte says how many of the
 * last bytes are text. */
#include "tok_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct err_info e;
    struct tok_spec spec = {0};
    if (!size || size > 1 << 16 || (size_t)data[0] + 1 > size) return 0;
    str all = {(const char *)data + 1, size - 1};
    str model = str_sub(all, 0, all.n - data[0]), text = str_sub(all, all.n - data[0], SIZE_MAX);
    arena_init(&a, (size_t)256 << 20);
    tok_try(tok_spec_from_model(&spec, &a, model, (str){NULL, 0}, &e), &spec, text);
    arena_fini(&a);
    return 0;
}
