/* fuzz_safetensors: arbitrary bytes as a SafeTensors file. What is accepted satisfies the whole
 * specification: names sorted and unique, spans as long as type and shape say, covering the data.
 */
#include <string.h>

#include "base/limits.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct safetensors *s, const uint8_t *data, size_t size)
{
    uint64_t bytes = 0, header;

    memcpy(&header, data, sizeof header);
    for (size_t i = 0; i < s->n; i++) {
        const struct safetensors_tensor *t = &s->tensors[i];
        uint64_t n = 1;

        for (uint32_t k = 0; k < t->n_dims; k++)
            n *= t->dim[k];
        ASSERT(n == t->elems && t->bytes == n * t->type->bytes);
        ASSERT(t->data >= data + 8 + header && t->data + t->bytes <= data + size);
        ASSERT(i == 0 || str_cmp(s->tensors[i - 1].name, t->name) < 0);
        ASSERT(safetensors_find(s, t->name) == t);
        if (t->elems && t->dtype != DTYPE_COUNT && dtype_info(t->dtype)->dequant) {
            float x;

            dtype_dequant(t->dtype, t->data + t->bytes - t->type->bytes, &x, 1);
        }
        bytes += t->bytes;
    }
    ASSERT(bytes == size - 8 - header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors s;
    struct err_info e = {0};
    struct arena a;
    enum err r;

    arena_init(&a, MIB(64));
    r = safetensors_parse(&s, &a, data, size, &e);
    if (r)
        ASSERT(e.code == r && e.text[0]);
    else
        check(&s, data, size);
    arena_fini(&a);
    return 0;
}
