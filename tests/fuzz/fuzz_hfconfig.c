/* fuzz_hfconfig: arbitrary bytes as config.json, its keys read as a model and compiled as far as a
 * model without tensors goes; and as a whole directory, with tensors that such a model might have.
 */
#include <string.h>

#include "base/limits.h"
#include "model/hf_int.h"
#include "model/hf_meta.h"
#include "model/memory.h"
#include "model/meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keys_alone(str config)
{
    struct err_info e = {0};
    struct arena a;
    struct gguf g;
    struct meta m;
    enum err r = hf_parse_config(&g, config, &e);

    if (r) {
        ASSERT(e.code == r && e.text[0]);
        return;
    }
    arena_init(&a, MIB(64));
    ASSERT(gguf_find(&g, "general.architecture"));
    (void)!meta_from_gguf(&m, &a, &g, &e);
    arena_fini(&a);
    gguf_close(&g);
}

/* The matrices that such a model would have, compiled and weighed; the text as every small file. */
static void without_tensors(str config)
{
    struct hf_meta_files f = {.config = config, .tokenizer_config = config, .pooling = config};
    struct err_info e = {0};
    struct memory_shape s;
    struct arena a;
    struct gguf g;
    struct meta m;
    struct plan p;
    enum err r = hf_meta_open(&g, &f, &e);

    if (r) {
        ASSERT(e.code == r && e.text[0]);
        return;
    }
    arena_init(&a, MIB(256));
    struct plan_source src = gguf_source(&g);
    struct plan_conf conf = {0};
    if (!meta_from_gguf(&m, &a, &g, &e)) {
        conf.want = plan_want_of(&m);
        if (!plan_build(&p, &a, &m, &src, &conf, &e)) {
            struct memory_conf c = {.ktype = DTYPE_F16, .vtype = DTYPE_Q8_0};
            memory_shape_of(&s, &p);
            memory_fill_of(&c, &s);
            ASSERT(memory_need_of(&s, &c, 1).total > 0);
        }
    }
    arena_fini(&a);
    hf_meta_close(&g);
}

/* The tensors of a directory, each of a shape that the fuzzer chooses by its own bytes. */
static void with_tensors(str config)
{
    static const char *const names[] = {
        "transformer.h.0.self_attention.query_key_value.weight",
        "model.layers.0.attention.wqkv.weight",
        "model.layers.0.self_attn.W_pack.weight",
        "model.layers.0.self_attn.kv_b_proj.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.q_proj.weight_scale_inv",
        "model.layers.0.mlp.experts.0.gate_proj.weight",
        "model.layers.0.mlp.experts.1.gate_proj.weight",
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.mlp.experts.gate_up_proj_blocks",
        "model.layers.0.mlp.experts.gate_up_proj_scales",
        "model.layers.0.mlp.experts.gate_up_proj_bias",
        "model.layers.0.mlp.experts.down_proj",
        "model.layers.0.block_sparse_moe.input_linear.weight",
        "model.layers.0.shared_mlp.input_linear.weight",
        "model.layers.0.mamba.conv1d.weight",
        "model.layers.0.mamba.norm.weight",
        "backbone.layers.0.mixer.A_log",
        "backbone.layers.0.mixer.D",
        "h.0.attn.c_attn.weight",
        "model.norm.weight",
    };
    static const char *const types[] = {"F32", "BF16", "F8_E4M3", "U8", "F64", "F32"};
    static uint8_t values[4096];
    struct err_info e = {0};
    struct gguf g = {0};
    struct hf h = {.g = &g, .e = &e};
    const struct safetensors_tensor *all[sizeof names / sizeof *names];
    struct safetensors_tensor t[sizeof names / sizeof *names];
    buf head = {.cap = MIB(1)};
    size_t n = 0;

    arena_init(&g.arena, MIB(64));
    arena_init(&h.tree, MIB(64));
    gguf_write_init(&h.w);
    buf_str(&head, config);
    if (head.p && !hf_config(&h, head.p, head.n)) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            uint8_t b = config.n ? (uint8_t)config.p[i * 7 % config.n] : 0;
            struct safetensors file;
            buf f = {.cap = MIB(1)};
            uint64_t dim[4], len, elems = 1;
            uint32_t dims = b % 5;

            for (uint32_t k = 0; k < dims; k++)
                elems *= dim[k] = 1 + (uint64_t)(b >> k) % 4 + (k == dims - 1 ? 3 : 0);
            if (b % 3 == 0) continue;
            buf_put(&f, values, 8);
            buf_printf(&f, "{\"%s\":{\"dtype\":\"%s\",\"shape\":[", names[i], types[b % 6]);
            for (uint32_t k = 0; k < dims; k++)
                buf_printf(&f, "%s%llu", k ? "," : "", (unsigned long long)dim[k]);
            buf_printf(&f, "],\"data_offsets\":[0,%llu]}}",
                       (unsigned long long)(elems * (uint64_t[]){4, 2, 1, 1, 8, 4}[b % 6]));
            len = f.n - 8;
            memcpy(f.p, &len, sizeof len);
            buf_put(&f, values, elems * (size_t[]){4, 2, 1, 1, 8, 4}[b % 6]);
            char *own = arena_alloc(&g.arena, f.n, 64);
            if (own) memcpy(own, f.p, f.n);
            if (own && !safetensors_parse(&file, &g.arena, (const uint8_t *)own, f.n, &e)) {
                t[n] = file.tensors[0];
                all[n] = &t[n];
                n++;
            }
            buf_fini(&f);
        }
        for (size_t i = 1; i < n; i++) /* sorted by name, as the files of a directory are */
            for (size_t k = i; k > 0 && str_cmp(all[k - 1]->name, all[k]->name) > 0; k--) {
                const struct safetensors_tensor *x = all[k];

                all[k] = all[k - 1];
                all[k - 1] = x;
            }
        h.all = all;
        h.n_all = n;
        (void)!hf_tensors(&h);
    }
    buf_fini(&head);
    gguf_write_fini(&h.w);
    arena_fini(&h.tree);
    gguf_close(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str config = {(const char *)data, size};

    keys_alone(config);
    without_tensors(config);
    with_tensors(config);
    return 0;
}
