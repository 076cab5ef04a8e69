/* fuzz_tok_json: any bytes as tokenizer.json, tokenizer_config.json and special_tokens_map.json,
 * each ended by a NUL, and the rest of the input as text. */
#include "tok_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct err_info e;
    struct tok_spec spec = {0};
    if (size > 1 << 16) return 0;
    str rest = {(const char *)data, size};
    str json = tok_part(&rest), config = tok_part(&rest), special = tok_part(&rest);
    arena_init(&a, (size_t)256 << 20);
    tok_try(tok_spec_from_json(&spec, &a, json, config, special, &e), &spec, rest);
    arena_fini(&a);
    return 0;
}
