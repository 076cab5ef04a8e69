/* requant: converts the matrices of a GGUF model to another type.
 *
 *   requant IN.gguf OUT.gguf TYPE       TYPE: q8_0, q4_K, ..., or a mix such as Q4_K_M
 *
 * Metadata is copied; vectors (norms, biases) stay as they are; a matrix is read row by row from
 * the mapping, dequantised, quantised and written, so memory stays at one row. Split inputs become
 * one file. Meant for F32, F16 and BF16 sources; others work, with the error of both types.
 */
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/gguf_write.h"
#include "model/meta.h"
#include "model/quant.h"

/* Keys that describe the file and not the model. */
static bool of_file(str key)
{
    return str_eq(key, S("general.alignment")) || str_eq(key, S("general.file_type")) ||
           str_starts(key, S("split."));
}

struct job {
    struct gguf in;
    struct gguf_write out;
    struct quant_mix mix;
    struct quant_model model;
};

static enum dtype type_of(const struct job *j, const struct gguf_tensor *t)
{
    if (t->n_dims < 2 || !dtype_info(t->dtype)->dequant || quant_mix_keeps(t->name))
        return t->dtype;
    return quant_mix_pick(&j->mix, t->name, &j->model, t->dim[0]);
}

/* What the choice of types asks for, by names and shapes of the tensors, so that any architecture
 * works: layers, query heads of a key head, experts. */
static void learn(const struct gguf *g, struct quant_model *m)
{
    uint64_t q = 0, k = 0;

    *m = (struct quant_model){.tied = !gguf_tensor(g, S("output.weight"))};
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        int64_t layer;
        str role;

        if (!str_starts(t->name, S("blk.")) ||
            !str_int(str_cut(str_sub(t->name, 4, t->name.n), '.', &role), &layer) || layer < 0 ||
            layer >= LIMIT_MODEL_LAYERS)
            continue;
        if (layer >= m->n_layer) m->n_layer = (uint32_t)layer + 1;
        if (str_eq(role, S("attn_q.weight"))) q = t->dim[1];
        if (str_eq(role, S("attn_k.weight"))) k = t->dim[1];
        if (str_eq(role, S("ffn_gate_inp.weight"))) m->n_expert = (uint32_t)t->dim[1];
    }
    m->n_gqa = k ? (uint32_t)(q / k) : 1;
}

static void declare(struct job *j)
{
    uint32_t file_type;

    for (uint64_t i = 0; i < j->in.n_kv; i++)
        if (!of_file(j->in.kv[i].key)) gguf_write_kv(&j->out, &j->in.kv[i]);
    if (meta_file_type_from(str_c(j->mix.name), &file_type))
        gguf_write_u32(&j->out, "general.file_type", file_type);
    for (uint64_t i = 0; i < j->in.n_tensors; i++) {
        const struct gguf_tensor *t = &j->in.tensors[i];

        gguf_write_tensor(&j->out, t->name, type_of(j, t), t->dim, t->n_dims);
    }
}

static enum err convert(struct job *j, const struct gguf_tensor *t, struct err_info *e)
{
    enum dtype to = type_of(j, t);
    uint64_t rows = t->dim[1] * t->dim[2] * t->dim[3], from_bytes, to_bytes;
    float *x;
    void *blocks;
    enum err r = gguf_write_align(&j->out, e);

    if (r) return r;
    if (to == t->dtype) return gguf_write_data(&j->out, t->data, (size_t)t->bytes, e);
    if (!dtype_row_bytes(t->dtype, t->dim[0], &from_bytes) ||
        !dtype_row_bytes(to, t->dim[0], &to_bytes))
        return ERR_FAIL(e, INTERNAL, "tensor '%.*s': row size", STR(t->name));
    x = mem_array((size_t)t->dim[0], sizeof *x);
    blocks = mem_alloc((size_t)to_bytes);
    if (!x || !blocks) r = ERR_FAIL(e, NOMEM, "no memory for a row of '%.*s'", STR(t->name));
    for (uint64_t i = 0; i < rows && !r; i++) {
        dtype_dequant(t->dtype, t->data + i * from_bytes, x, (size_t)t->dim[0]);
        quant_row(to, x, blocks, (size_t)t->dim[0]);
        r = gguf_write_data(&j->out, blocks, (size_t)to_bytes, e);
    }
    mem_free(x);
    mem_free(blocks);
    return r;
}

static enum err run(struct job *j, char **argv, struct err_info *e)
{
    enum err r;

    if (!quant_mix_from(str_c(argv[3]), &j->mix))
        return ERR_FAIL(e, INVALID, "'%s' is neither a type that can be written nor a mix",
                        argv[3]);
    if ((r = gguf_open(&j->in, argv[1], e))) return r;
    learn(&j->in, &j->model);
    declare(j);
    if ((r = gguf_write_open(&j->out, argv[2], e))) return r;
    for (uint64_t i = 0; i < j->in.n_tensors; i++)
        if ((r = convert(j, &j->in.tensors[i], e))) return r;
    return gguf_write_close(&j->out, e);
}

int main(int argc, char **argv)
{
    struct job j = {0};
    struct err_info e;
    enum err r;

    if (argc != 4) {
        fprintf(stderr, "usage: requant IN.gguf OUT.gguf TYPE\n");
        return err_exit(ERR_INVALID);
    }
    gguf_write_init(&j.out);
    r = run(&j, argv, &e);
    if (r) fprintf(stderr, "requant: %s\n", e.text);
    gguf_write_fini(&j.out);
    gguf_close(&j.in);
    return err_exit(r);
}
