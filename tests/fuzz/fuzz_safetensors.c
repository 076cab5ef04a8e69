/* fuzz_safetensors: arbitrary bytes as a SafeTensors file. What is accepted satisfies the whole
 * specification: names sorted and unique, spans as long as type and shape say, covering the data.
 * Its header alone says the same, also as the one shard of a model of which only headers are there.
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "model/hf.h"
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

/* The header of the file, and no byte behind it. */
static void check_header(const struct safetensors *s, struct arena *a, const uint8_t *data,
                         size_t size)
{
    struct safetensors h;
    struct err_info e = {0};
    uint64_t need = 0;
    uint8_t *copy;

    ASSERT(safetensors_parse_header(&h, a, data, 9, size, &need, &e) == ERR_LIMIT || need == 9);
    ASSERT(need >= 10 && need <= size);
    copy = arena_alloc(a, (size_t)need, 1);
    if (!copy) return;
    memcpy(copy, data, (size_t)need);
    ASSERT(!safetensors_parse_header(&h, a, copy, (size_t)need, size, &need, &e));
    ASSERT(h.n == s->n);
    for (size_t i = 0; i < h.n; i++)
        ASSERT(str_eq(h.tensors[i].name, s->tensors[i].name) && !h.tensors[i].data &&
               h.tensors[i].at == s->tensors[i].at && h.tensors[i].bytes == s->tensors[i].bytes);
}

/* A model of every kind of layout, of which these bytes are the weights. */
static void as_model(const uint8_t *data, size_t size)
{
    static const char *const configs[] = {
        "LlamaForCausalLM\"],\"quantization_config\":{\"quant_method\":\"fp8\"}",
        "GPT2LMHeadModel\"]",
        "FalconForCausalLM\"]",
        "MixtralForCausalLM\"]",
        "GptOssForCausalLM\"]",
        "MambaForCausalLM\"]",
        "Phi3ForCausalLM\"]"};

    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        char config[400];
        struct hf_file files[2] = {{.name = S("config.json")}, {.name = S("model.safetensors")}};
        struct err_info e = {0};
        struct gguf g;
        enum err r;

        snprintf(config, sizeof config,
                 "{\"vocab_size\":4,\"hidden_size\":4,\"num_hidden_layers\":1,"
                 "\"num_attention_heads\":2,\"max_position_embeddings\":8,"
                 "\"intermediate_size\":6,\"architectures\":[\"%s}",
                 configs[i]);
        files[0].bytes = str_c(config);
        files[0].size = files[0].bytes.n;
        files[1].bytes = (str){(const char *)data, size};
        files[1].size = size;
        r = hf_open_files(&g, "org/repo", files, 2, &e);
        if (r)
            ASSERT(e.code == r && e.text[0]);
        else
            gguf_close(&g);
    }
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
    else {
        check(&s, data, size);
        check_header(&s, &a, data, size);
        as_model(data, size);
    }
    arena_fini(&a);
    return 0;
}
