/* hf_fix: values as the model wants them: most where they lie, few as copies.
 *
 * hf_fix_values() is the one place that decides. A matrix of F32, F16, BF16 or plain 8-bit floats
 * stays in the mapping. A vector becomes F32, for every op reads norms and biases so. 8-bit floats
 * with a scale beside them are multiplied out: to BF16 where the products are exact in it (scales
 * of at most four significant bits, powers of two among them), else to F32. F64 becomes F32.
 * Whatever is not aligned to its element is copied.
 *
 * The fixes for layouts of single families are in hf_fix_more.c.
 */
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/hf_int.h"

enum { SMALL = 64 << 10 }; /* bytes of a copy that the arena takes */

bool hf_fix_reads(const struct hf *h)
{
    return !h->given;
}

const uint8_t *hf_fix_at(const uint8_t *data, uint64_t bytes)
{
    return data ? data + bytes : NULL;
}

enum err hf_fix_room(struct hf *h, uint64_t bytes, uint8_t **out)
{
    if (!hf_fix_reads(h)) {
        *out = NULL;
        h->g->copied_bytes += bytes;
        return ERR_OK;
    }
    if (bytes > SMALL) return gguf_copy_new(h->g, bytes, out, h->e);
    *out = arena_alloc(&h->g->arena, (size_t)bytes, 64);
    if (!*out)
        return ERR_FAIL(h->e, NOMEM, "no memory for a tensor of %llu bytes",
                        (unsigned long long)bytes);
    h->g->copied_bytes += bytes;
    return ERR_OK;
}

str hf_fix_name(struct hf *h, const struct hf_entry *x, const char *name)
{
    return arena_printf(&h->g->arena, "blk.%d.%s", x->layer, name);
}

/* ---- scales of 8-bit floats ---- */

static bool is_f8(const struct safetensors_tensor *t)
{
    return t->type->bytes == 1 && str_starts(str_c(t->type->name), S("F8_E")) &&
           t->dtype != DTYPE_COUNT;
}

bool hf_fix_is_scale(const struct hf *h, str name)
{
    static const char *const kinds[] = {"weight_scale_inv", "weight_scale",   "input_scale",
                                        "activation_scale", "input_scale_ub", "k_scale",
                                        "v_scale",          "output_scale"};
    const struct safetensors_tensor *owner;
    char weight[LIMIT_ST_NAME + 8];

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i]);

        if (name.n <= n + 1 || name.n > LIMIT_ST_NAME || !str_ends(name, str_c(kinds[i])) ||
            name.p[name.n - n - 1] != '.')
            continue;
        memcpy(weight, name.p, name.n - n);
        memcpy(weight + name.n - n, "weight", 6);
        owner = hf_files_find(h, (str){weight, name.n - n + 6});
        return owner && is_f8(owner);
    }
    return false;
}

static const struct safetensors_tensor *
scale_of(const struct hf *h, const struct safetensors_tensor *t, const char *suffix)
{
    char name[LIMIT_ST_NAME + 16];

    if (!str_ends(t->name, S(".weight")) || t->name.n > LIMIT_ST_NAME) return NULL;
    memcpy(name, t->name.p, t->name.n);
    memcpy(name + t->name.n, suffix, strlen(suffix));
    return hf_files_find(h, (str){name, t->name.n + strlen(suffix)});
}

/* How the scales lie over a matrix: one for block_rows x block_cols elements. */
struct grid {
    const float *scale; /* [rows / block_rows][per_row] */
    uint64_t block_rows, block_cols, per_row;
};

static enum err block_size(struct hf *h, struct grid *g)
{
    const struct json *q = hf_get(h, "quantization_config");
    const struct json *b = json_get(q, "weight_block_size");

    g->block_rows = g->block_cols = 128;
    if (!b) return ERR_OK;
    if (b->type != JSON_ARR || b->n != 2 || json_int(&b->items[0], 0) < 1 ||
        json_int(&b->items[1], 0) < 1)
        return ERR_FAIL(h->e, FORMAT, "config.json: 'weight_block_size' is not a pair of sizes");
    g->block_rows = (uint64_t)json_int(&b->items[0], 0);
    g->block_cols = (uint64_t)json_int(&b->items[1], 0);
    return ERR_OK;
}

static uint64_t blocks(uint64_t n, uint64_t size)
{
    return n / size + (n % size != 0);
}

static enum err read_grid(struct hf *h, const struct safetensors_tensor *t,
                          const struct safetensors_tensor *s, bool inv, struct grid *g)
{
    uint64_t rows = t->dim[0], cols = t->dim[1];
    float *f;
    enum err r;

    if (t->n_dims != 2 || s->dtype == DTYPE_COUNT || !dtype_info(s->dtype)->dequant || is_f8(s))
        return ERR_FAIL(h->e, UNSUPPORTED, "tensor '%.*s' scales '%.*s' in a way that is not read",
                        HF_NAME(s->name), HF_NAME(t->name));
    if (inv) {
        if ((r = block_size(h, g))) return r;
    } else {
        g->block_rows = s->elems == 1 ? rows : 1;
        g->block_cols = cols;
    }
    g->per_row = blocks(cols, g->block_cols);
    if (s->elems != blocks(rows, g->block_rows) * g->per_row)
        return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' has %llu scales; '%.*s' needs %llu",
                        HF_NAME(s->name), (unsigned long long)s->elems, HF_NAME(t->name),
                        (unsigned long long)(blocks(rows, g->block_rows) * g->per_row));
    f = ARENA_NEW(&h->tree, float, (size_t)s->elems);
    if (!f) return ERR_FAIL(h->e, NOMEM, "no memory for %llu scales", (unsigned long long)s->elems);
    if (hf_fix_reads(h)) dtype_dequant(s->dtype, s->data, f, (size_t)s->elems);
    g->scale = f;
    return ERR_OK;
}

/* An 8-bit float has at most four significant bits and BF16 eight: four are left for the scale. */
static bool exact_in_bf16(const struct safetensors_tensor *s, const struct grid *g)
{
    for (uint64_t i = 0; i < s->elems; i++) {
        uint32_t bits;

        memcpy(&bits, &g->scale[i], sizeof bits);
        if (bits & 0xFFFFF || fabsf(g->scale[i]) > 1e30f || fabsf(g->scale[i]) < 1e-25f)
            return false;
    }
    return true;
}

static enum err multiply(struct hf *h, const struct safetensors_tensor *t,
                         const struct safetensors_tensor *s, bool inv, struct hf_values *v)
{
    uint64_t rows = t->dim[0], cols = t->dim[1];
    struct grid g = {0};
    uint8_t *out;
    float *row;
    enum err r;

    if ((r = read_grid(h, t, s, inv, &g))) return r;
    v->dtype = exact_in_bf16(s, &g) ? DTYPE_BF16 : DTYPE_F32;
    v->size = dtype_info(v->dtype)->bytes;
    if (t->elems > UINT64_MAX / v->size)
        return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' is too large", HF_NAME(t->name));
    if ((r = hf_fix_room(h, t->elems * v->size, &out))) return r;
    v->data = out;
    if (!hf_fix_reads(h)) return ERR_OK;
    row = mem_array((size_t)cols, sizeof *row);
    if (!row) return ERR_FAIL(h->e, NOMEM, "no memory for a row of '%.*s'", HF_NAME(t->name));
    for (uint64_t i = 0; i < rows; i++) {
        const float *scale = g.scale + i / g.block_rows * g.per_row;

        dtype_dequant(t->dtype, t->data + i * cols, row, (size_t)cols);
        for (uint64_t k = 0; k < cols; k++) {
            float x = row[k] * scale[k / g.block_cols];
            uint16_t half = v->size == 2 ? dtype_f32_to_bf16(x) : 0;

            memcpy(out, v->size == 2 ? (void *)&half : (void *)&x, v->size);
            out += v->size;
        }
    }
    mem_free(row);
    return ERR_OK;
}

/* ---- values ---- */

static enum err to_f32(struct hf *h, const struct safetensors_tensor *t, struct hf_values *v)
{
    uint8_t *out;
    enum err r;

    if (t->elems > UINT64_MAX / sizeof(float))
        return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' is too large", HF_NAME(t->name));
    if ((r = hf_fix_room(h, t->elems * sizeof(float), &out))) return r;
    if (out) dtype_dequant(t->dtype, t->data, (float *)(void *)out, (size_t)t->elems);
    *v = (struct hf_values){DTYPE_F32, sizeof(float), out};
    return ERR_OK;
}

static enum err values(struct hf *h, const struct safetensors_tensor *t, bool want_f32,
                       struct hf_values *v)
{
    const struct safetensors_tensor *s;
    uint8_t *out;
    enum err r;

    if (t->dtype == DTYPE_COUNT || !dtype_info(t->dtype)->dequant ||
        !(str_starts(str_c(t->type->name), S("F")) || str_starts(str_c(t->type->name), S("BF"))))
        return ERR_FAIL(h->e, UNSUPPORTED,
                        "tensor '%.*s' is stored as %s, which is not read as weights; take the "
                        "repository with the plain weights, or a GGUF file",
                        HF_NAME(t->name), t->type->name);
    *v = (struct hf_values){t->dtype, t->type->bytes, t->data};
    if (is_f8(t)) {
        if ((s = scale_of(h, t, "_scale_inv"))) return multiply(h, t, s, true, v);
        if ((s = scale_of(h, t, "_scale"))) return multiply(h, t, s, false, v);
    }
    if (t->dtype == DTYPE_F64 || (want_f32 && t->dtype != DTYPE_F32)) return to_f32(h, t, v);
    if ((uintptr_t)t->data % v->size == 0) return ERR_OK;
    if ((r = hf_fix_room(h, t->bytes, &out))) return r;
    memcpy(out, t->data, (size_t)t->bytes);
    v->data = out;
    return ERR_OK;
}

enum err hf_fix_values(struct hf *h, const struct safetensors_tensor *t, struct hf_values *v)
{
    return values(h, t, t->n_dims <= 1, v);
}

/* ---- tensors that stay as they are ---- */

/* Small matrices that are read as floats. */
static bool is_f32(str name)
{
    static const char *const ends[] = {
        "norm.weight",        "ffn_gate_inp.weight", "position_embd.weight",
        "token_types.weight", "exps.bias",           "ffn_gate_inp_shexp.weight"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (str_ends(name, str_c(ends[i]))) return true;
    return false;
}

static enum err add(struct hf *h, const struct hf_entry *x, const struct hf_values *v)
{
    const struct safetensors_tensor *t = x->t;
    uint64_t dim[4] = {1, 1, 1, 1};

    if (t->n_dims > 4)
        return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' has %u dimensions; at most 4 are read",
                        HF_NAME(t->name), t->n_dims);
    for (uint32_t i = 0; i < t->n_dims; i++)
        dim[i] = t->dim[t->n_dims - 1 - i];
    return hf_tensors_add(h, x->name, v->dtype, dim, t->n_dims ? t->n_dims : 1, v->data);
}

enum err hf_fix_f32(struct hf *h, const struct hf_entry *x)
{
    struct hf_values v;
    enum err r = values(h, x->t, true, &v);

    return r ? r : add(h, x, &v);
}

enum err hf_fix_keep(struct hf *h, const struct hf_entry *x)
{
    struct hf_values v;
    enum err r = values(h, x->t, x->t->n_dims <= 1 || is_f32(x->name), &v);

    if (!r && (h->arch->flags & HF_NORM_PLUS_1) && str_ends(x->name, S("norm.weight"))) {
        uint8_t *out;
        float *f;

        if (v.dtype != DTYPE_F32)
            return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' is scaled, which a norm cannot be",
                            HF_NAME(x->t->name));
        if ((r = hf_fix_room(h, x->t->elems * sizeof *f, &out))) return r;
        f = (float *)(void *)out;
        if (f) memcpy(f, v.data, (size_t)x->t->elems * sizeof *f);
        for (uint64_t i = 0; f && i < x->t->elems; i++)
            f[i] += 1;
        v.data = out;
    }
    return r ? r : add(h, x, &v);
}

/* ---- experts ---- */

static enum err check_part(struct hf *h, const struct hf_entry *first, const struct hf_entry *x,
                           size_t i)
{
    const struct safetensors_tensor *a = first->t, *b = x->t;
    bool same = a->n_dims == b->n_dims;

    if (x->part != (int32_t)i)
        return ERR_FAIL(h->e, FORMAT, "tensor '%.*s': part %zu of it %s, the next is '%.*s'",
                        HF_NAME(x->name), i, x->part < (int32_t)i ? "occurs twice" : "is missing",
                        HF_NAME(b->name));
    for (uint32_t k = 0; same && k < a->n_dims; k++)
        same = a->dim[k] == b->dim[k];
    if (same) return ERR_OK;
    return ERR_FAIL(h->e, FORMAT, "tensors '%.*s' and '%.*s' have different shapes",
                    HF_NAME(a->name), HF_NAME(b->name));
}

/* Vectors are stacked; matrices stay where they lie. */
enum err hf_fix_parts(struct hf *h, const struct hf_entry *x, size_t n)
{
    const struct safetensors_tensor *t = x->t;
    const uint8_t **parts = ARENA_NEW(&h->g->arena, const uint8_t *, n);
    uint64_t dim[4] = {t->n_dims ? t->dim[t->n_dims - 1] : 1, n, n, 1};
    enum dtype dtype = DTYPE_COUNT;
    uint8_t *stack = NULL;
    enum err r;

    if (!parts) return ERR_FAIL(h->e, NOMEM, "no memory for %zu experts", n);
    if (t->n_dims < 1 || t->n_dims > 2)
        return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' has %u dimensions; 1 or 2 are read",
                        HF_NAME(t->name), t->n_dims);
    if (t->n_dims == 1 && (r = hf_fix_room(h, n * t->elems * sizeof(float), &stack))) return r;
    if (t->n_dims == 2) dim[1] = t->dim[0];
    for (size_t i = 0; i < n; i++) {
        struct hf_values v;

        if ((r = check_part(h, x, &x[i], i)) || (r = hf_fix_values(h, x[i].t, &v))) return r;
        if (dtype == DTYPE_COUNT) dtype = v.dtype;
        if (v.dtype != dtype)
            return ERR_FAIL(h->e, FORMAT, "tensors '%.*s' and '%.*s' have different types",
                            HF_NAME(t->name), HF_NAME(x[i].t->name));
        parts[i] = v.data;
        if (stack) memcpy(stack + i * t->elems * sizeof(float), v.data, t->elems * sizeof(float));
    }
    if ((r = hf_tensors_add(h, x->name, dtype, dim, t->n_dims + 1, stack))) return r;
    if (t->n_dims == 2 && hf_fix_reads(h)) h->g->tensors[h->g->n_tensors - 1].parts = parts;
    return ERR_OK;
}
