/* hf_fix_more: layouts of single families, rearranged as llama.cpp's converter does.
 *
 * Shapes in comments are row-major, the last index contiguous, as SafeTensors states them.
 */
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "model/hf_int.h"

static enum err shape(struct hf *h, const struct hf_entry *x, const char *wanted)
{
    return ERR_FAIL(h->e, FORMAT,
                    "tensor '%.*s' does not have the shape that config.json asks for: %s",
                    HF_NAME(x->t->name), wanted);
}

/* Bytes of one index of the first dimension. */
static uint64_t row_bytes(const struct safetensors_tensor *t, const struct hf_values *v)
{
    return t->elems / t->dim[0] * v->size;
}

/* ---- state space ---- */

/* A_log [n] or [n][k] to A = -exp(A_log), a column for each row. */
enum err hf_fix_neg_exp(struct hf *h, const struct hf_entry *x)
{
    const struct safetensors_tensor *t = x->t;
    uint64_t dim[2] = {t->n_dims == 2 ? t->dim[1] : 1, t->dim[0]};
    struct hf_values v;
    uint8_t *out;
    enum err r;

    if (t->n_dims < 1 || t->n_dims > 2) return shape(h, x, "one or two dimensions");
    if ((r = hf_fix_values(h, t, &v)) || (r = hf_fix_room(h, t->elems * sizeof(float), &out)))
        return r;
    if (out) dtype_dequant(v.dtype, v.data, (float *)(void *)out, (size_t)t->elems);
    for (uint64_t i = 0; out && i < t->elems; i++) {
        float *f = (float *)(void *)out + i;

        *f = -expf(*f);
    }
    return hf_tensors_add(h, x->name, DTYPE_F32, dim, 2, out);
}

static enum err reshaped(struct hf *h, const struct hf_entry *x, uint64_t cols, uint32_t n_dims)
{
    const struct safetensors_tensor *t = x->t;
    uint64_t dim[2] = {cols, cols ? t->elems / cols : 0};
    struct hf_values v;
    uint8_t *out;
    enum err r;

    if (dim[1] == 0 || dim[0] * dim[1] != t->elems || (n_dims == 1 && dim[1] != 1))
        return shape(h, x, "another number of elements");
    if ((r = hf_fix_values(h, t, &v))) return r;
    if (v.dtype != DTYPE_F32) {
        if ((r = hf_fix_room(h, t->elems * sizeof(float), &out))) return r;
        if (out) dtype_dequant(v.dtype, v.data, (float *)(void *)out, (size_t)t->elems);
        v.data = out;
    }
    return hf_tensors_add(h, x->name, DTYPE_F32, dim, n_dims, v.data);
}

/* D [n] to a column. */
enum err hf_fix_column(struct hf *h, const struct hf_entry *x)
{
    return reshaped(h, x, 1, 2);
}

/* [1][n] to [n]. */
enum err hf_fix_flat(struct hf *h, const struct hf_entry *x)
{
    return reshaped(h, x, x->t->elems, 1);
}

/* [channels][1][kernel] to [channels][kernel]; the bias stays. */
enum err hf_fix_conv(struct hf *h, const struct hf_entry *x)
{
    if (x->t->n_dims <= 1) return hf_fix_keep(h, x);
    return reshaped(h, x, x->t->dim[x->t->n_dims - 1], 2);
}

/* A norm [n] over groups to [groups][n / groups]. */
enum err hf_fix_groups(struct hf *h, const struct hf_entry *x)
{
    uint32_t groups = 1;
    enum err r = hf_read_u32(h, "n_groups|mamba_n_groups", &groups);

    return r ? r : reshaped(h, x, groups ? x->t->elems / groups : 0, 2);
}

/* ---- transposed ---- */

/* out[c][r] = in[r][c], elements of v->size bytes. */
static void transpose(const struct hf_values *v, const uint8_t *in, uint64_t rows, uint64_t cols,
                      uint8_t *out)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++)
            memcpy(out + (c * rows + r) * v->size, in + (r * cols + c) * v->size, v->size);
}

/* GPT-2 multiplies from the left: [in][out]. */
enum err hf_fix_transpose(struct hf *h, const struct hf_entry *x)
{
    const struct safetensors_tensor *t = x->t;
    uint64_t dim[2] = {t->dim[0], t->dim[1]};
    struct hf_values v;
    uint8_t *out;
    enum err r;

    if (t->n_dims != 2) return hf_fix_keep(h, x);
    if ((r = hf_fix_values(h, t, &v)) || (r = hf_fix_room(h, t->elems * v.size, &out))) return r;
    if (out) transpose(&v, v.data, t->dim[0], t->dim[1], out);
    return hf_tensors_add(h, x->name, v.dtype, dim, 2, out);
}

/* kv_b_proj [head][nope + v][rank] to k_b [head][rank][nope] and v_b [head][v][rank]. */
enum err hf_fix_kv_b(struct hf *h, const struct hf_entry *x)
{
    const struct safetensors_tensor *t = x->t;
    uint32_t nope = 0, v_dim = 0;
    uint64_t rank, k_bytes, v_bytes;
    struct hf_values v;
    uint8_t *k_b, *v_b;
    enum err r;

    if ((r = hf_read_u32(h, "qk_nope_head_dim", &nope)) ||
        (r = hf_read_u32(h, "v_head_dim", &v_dim)))
        return r;
    if (t->n_dims != 2 || nope == 0 || v_dim == 0 ||
        t->dim[0] != (uint64_t)h->n_head * ((uint64_t)nope + v_dim))
        return shape(h, x, "heads x (qk_nope_head_dim + v_head_dim) rows");
    if ((r = hf_fix_values(h, t, &v))) return r;
    rank = t->dim[1];
    k_bytes = nope * rank * v.size;
    v_bytes = v_dim * rank * v.size;
    if ((r = hf_fix_room(h, h->n_head * k_bytes, &k_b)) ||
        (r = hf_fix_room(h, h->n_head * v_bytes, &v_b)))
        return r;
    for (uint64_t i = 0; k_b && v_b && i < h->n_head; i++) {
        const uint8_t *head = v.data + i * (k_bytes + v_bytes);

        transpose(&v, head, nope, rank, k_b + i * k_bytes);
        memcpy(v_b + i * v_bytes, head + k_bytes, v_bytes);
    }
    if ((r = hf_tensors_add(h, hf_fix_name(h, x, "attn_k_b.weight"), v.dtype,
                            (uint64_t[]){nope, rank, h->n_head}, 3, k_b)))
        return r;
    return hf_tensors_add(h, hf_fix_name(h, x, "attn_v_b.weight"), v.dtype,
                          (uint64_t[]){rank, v_dim, h->n_head}, 3, v_b);
}

/* ---- q, k and v in one ---- */

struct qkv {
    struct hf_values v;
    uint64_t group;  /* bytes of the rows of one head */
    uint64_t q, kv;  /* bytes of all heads */
    uint64_t cols;   /* 1: a bias */
    uint32_t n_dims; /* of the parts */
};

static enum err read_qkv(struct hf *h, const struct hf_entry *x, struct qkv *m)
{
    const struct safetensors_tensor *t = x->t;
    uint64_t heads = (uint64_t)h->n_head + 2 * (uint64_t)h->n_head_kv;
    enum err r;

    if (h->n_head == 0 || h->n_head % h->n_head_kv || t->n_dims < 1 || t->n_dims > 2 ||
        t->dim[0] != heads * h->head_dim)
        return shape(h, x, "(heads + 2 key heads) x head size rows");
    if ((r = hf_fix_values(h, t, &m->v))) return r;
    m->cols = t->n_dims == 2 ? t->dim[1] : 1;
    m->n_dims = t->n_dims;
    m->group = h->head_dim * row_bytes(t, &m->v);
    m->q = h->n_head * m->group;
    m->kv = h->n_head_kv * m->group;
    return ERR_OK;
}

/* Rows as [key head][its queries, key, value][head size] to all queries, all keys, all values. */
static void ungroup(const struct hf *h, const struct qkv *m, uint8_t *q, uint8_t *k, uint8_t *v)
{
    uint64_t queries = h->n_head / h->n_head_kv * m->group;
    const uint8_t *in = m->v.data;

    for (uint32_t i = 0; i < h->n_head_kv; i++) {
        memcpy(q + i * queries, in, queries);
        memcpy(k + i * m->group, in + queries, m->group);
        memcpy(v + i * m->group, in + queries + m->group, m->group);
        in += queries + 2 * m->group;
    }
}

/* Falcon, GPT-NeoX, BLOOM: grouped, and one tensor in GGUF, too. */
enum err hf_fix_qkv_heads(struct hf *h, const struct hf_entry *x)
{
    struct qkv m;
    uint8_t *out;
    enum err r;

    if ((r = read_qkv(h, x, &m))) return r;
    if (h->n_head_kv > 1) {
        if ((r = hf_fix_room(h, m.q + 2 * m.kv, &out))) return r;
        if (out) ungroup(h, &m, out, out + m.q, out + m.q + m.kv);
        m.v.data = out;
    }
    return hf_tensors_add(h, x->name, m.v.dtype,
                          m.n_dims == 2 ? (uint64_t[]){m.cols, x->t->dim[0]}
                                        : (uint64_t[]){x->t->dim[0], 1},
                          m.n_dims, m.v.data);
}

static enum err add_qkv(struct hf *h, const struct hf_entry *x, const struct qkv *m,
                        const uint8_t *const part[3])
{
    static const char *const names[2][3] = {{"attn_q.bias", "attn_k.bias", "attn_v.bias"},
                                            {"attn_q.weight", "attn_k.weight", "attn_v.weight"}};

    for (int i = 0; i < 3; i++) {
        uint64_t rows = (uint64_t)(i ? h->n_head_kv : h->n_head) * h->head_dim;
        uint64_t dim[2] = {m->n_dims == 2 ? m->cols : rows, rows};
        enum err r = hf_tensors_add(h, hf_fix_name(h, x, names[m->n_dims - 1][i]), m->v.dtype, dim,
                                    m->n_dims, part[i]);

        if (r) return r;
    }
    return ERR_OK;
}

/* InternLM2: grouped, three tensors in GGUF. */
enum err hf_fix_qkv_groups(struct hf *h, const struct hf_entry *x)
{
    struct qkv m;
    uint8_t *out;
    enum err r;

    if ((r = read_qkv(h, x, &m)) || (r = hf_fix_room(h, m.q + 2 * m.kv, &out))) return r;
    if (out) ungroup(h, &m, out, out + m.q, out + m.q + m.kv);
    return add_qkv(h, x, &m,
                   (const uint8_t *const[]){out, hf_fix_at(out, m.q), hf_fix_at(out, m.q + m.kv)});
}

/* Baichuan: all queries, all keys, all values; three tensors in GGUF. */
enum err hf_fix_qkv_rows(struct hf *h, const struct hf_entry *x)
{
    struct qkv m;
    enum err r = read_qkv(h, x, &m);

    if (r) return r;
    return add_qkv(h, x, &m,
                   (const uint8_t *const[]){m.v.data, hf_fix_at(m.v.data, m.q),
                                            hf_fix_at(m.v.data, m.q + m.kv)});
}

/* ---- gate and up in one ---- */

static bool has_experts(const struct hf *h)
{
    return json_int(hf_get(h, "num_local_experts"), 0) > 0;
}

/* [2 f][d], gate first, to two; or the way down, which only needs its name. */
enum err hf_fix_gate_up(struct hf *h, const struct hf_entry *x)
{
    const struct safetensors_tensor *t = x->t;
    bool shared = has_experts(h);
    struct hf_entry named = *x;
    uint64_t dim[2] = {t->dim[1], t->dim[0] / 2};
    struct hf_values v;
    enum err r;

    if (str_eqc(str_c(x->rule->gguf), "ffn_down")) {
        named.name = hf_fix_name(h, x, shared ? "ffn_down_shexp.weight" : "ffn_down.weight");
        return named.name.p ? hf_fix_keep(h, &named)
                            : ERR_FAIL(h->e, NOMEM, "no memory for tensor names");
    }
    if (t->n_dims != 2 || t->dim[0] % 2) return shape(h, x, "an even number of rows");
    if ((r = hf_fix_values(h, t, &v))) return r;
    if ((r = hf_tensors_add(h,
                            hf_fix_name(h, x, shared ? "ffn_gate_shexp.weight" : "ffn_gate.weight"),
                            v.dtype, dim, 2, v.data)))
        return r;
    return hf_tensors_add(h, hf_fix_name(h, x, shared ? "ffn_up_shexp.weight" : "ffn_up.weight"),
                          v.dtype, dim, 2, hf_fix_at(v.data, t->elems / 2 * v.size));
}

/* [expert][2 f][d], gate first: two tensors whose experts lie apart. */
enum err hf_fix_gate_up_exps(struct hf *h, const struct hf_entry *x)
{
    static const char *const names[] = {"ffn_gate_exps.weight", "ffn_up_exps.weight"};
    const struct safetensors_tensor *t = x->t;
    uint64_t half = t->n_dims == 3 ? t->dim[1] / 2 * t->dim[2] : 0;
    struct hf_values v;
    enum err r;

    if (t->n_dims != 3 || t->dim[1] % 2) return shape(h, x, "experts x an even number of rows");
    if ((r = hf_fix_values(h, t, &v))) return r;
    for (uint64_t k = 0; k < 2; k++) {
        const uint8_t **parts = ARENA_NEW(&h->g->arena, const uint8_t *, (size_t)t->dim[0]);

        if (!parts) return ERR_FAIL(h->e, NOMEM, "no memory for experts");
        for (uint64_t i = 0; i < t->dim[0]; i++)
            parts[i] = hf_fix_at(v.data, (2 * i + k) * half * v.size);
        if ((r = hf_tensors_add(h, hf_fix_name(h, x, names[k]), v.dtype,
                                (uint64_t[]){t->dim[2], t->dim[1] / 2, t->dim[0]}, 3, NULL)))
            return r;
        if (hf_fix_reads(h)) h->g->tensors[h->g->n_tensors - 1].parts = parts;
    }
    return ERR_OK;
}

/* ---- gpt-oss: gate and up in turns, and transposed ---- */

/* [expert][d][2 f], gate in even columns, to gate and up [expert][f][d]. */
enum err hf_fix_oss_gate_up(struct hf *h, const struct hf_entry *x)
{
    static const char *const names[] = {"ffn_gate_exps.weight", "ffn_up_exps.weight"};
    const struct safetensors_tensor *t = x->t;
    uint64_t n = t->dim[0], d = t->dim[1], f = t->dim[2] / 2;
    struct hf_values v;
    enum err r;

    if (t->n_dims != 3 || t->dim[2] % 2) return shape(h, x, "experts x width x twice the inner");
    if ((r = hf_fix_values(h, t, &v))) return r;
    for (uint64_t k = 0; k < 2; k++) {
        uint8_t *out, *p;

        if ((r = hf_fix_room(h, n * d * f * v.size, &out))) return r;
        p = out;
        for (uint64_t e = 0; out && e < n; e++)
            for (uint64_t i = 0; i < f; i++)
                for (uint64_t j = 0; j < d; j++, p += v.size)
                    memcpy(p, v.data + ((e * d + j) * 2 * f + 2 * i + k) * v.size, v.size);
        if ((r = hf_tensors_add(h, hf_fix_name(h, x, names[k]), v.dtype, (uint64_t[]){d, f, n}, 3,
                                out)))
            return r;
    }
    return ERR_OK;
}

/* [expert][f][d] to [expert][d][f]. */
enum err hf_fix_oss_down(struct hf *h, const struct hf_entry *x)
{
    const struct safetensors_tensor *t = x->t;
    uint64_t n = t->dim[0], f = t->dim[1], d = t->dim[2];
    struct hf_values v;
    uint8_t *out;
    enum err r;

    if (t->n_dims != 3) return shape(h, x, "experts x inner x width");
    if ((r = hf_fix_values(h, t, &v)) || (r = hf_fix_room(h, t->elems * v.size, &out))) return r;
    for (uint64_t e = 0; out && e < n; e++)
        transpose(&v, v.data + e * f * d * v.size, f, d, out + e * f * d * v.size);
    return hf_tensors_add(h, x->name, v.dtype, (uint64_t[]){f, d, n}, 3, out);
}

/* [expert][2 f] to two [expert][f], F32. */
enum err hf_fix_oss_gate_up_bias(struct hf *h, const struct hf_entry *x)
{
    static const char *const names[] = {"ffn_gate_exps.bias", "ffn_up_exps.bias"};
    const struct safetensors_tensor *t = x->t;
    uint64_t n = t->elems / 2;
    struct hf_values v;
    enum err r;

    if (t->n_dims != 2 || t->dim[1] % 2) return shape(h, x, "experts x twice the inner");
    if ((r = hf_fix_values(h, t, &v))) return r;
    for (uint64_t k = 0; k < 2; k++) {
        uint8_t *out;

        if ((r = hf_fix_room(h, n * sizeof(float), &out))) return r;
        for (uint64_t i = 0; out && i < n; i++)
            dtype_dequant(v.dtype, v.data + (2 * i + k) * v.size, (float *)(void *)out + i, 1);
        if ((r = hf_tensors_add(h, hf_fix_name(h, x, names[k]), DTYPE_F32,
                                (uint64_t[]){t->dim[1] / 2, t->dim[0]}, 2, out)))
            return r;
    }
    return ERR_OK;
}

/* 16 bytes of 32 values, two neighbours a byte, to ggml's order: value i beside value i + 16. */
static void repack_mxfp4(const uint8_t *in, uint8_t scale, uint8_t *out)
{
    *out++ = scale;
    for (int i = 0; i < 16; i++) {
        uint8_t low = i % 2 ? in[i / 2] >> 4 : in[i / 2] & 15;
        uint8_t high = i % 2 ? in[8 + i / 2] >> 4 : in[8 + i / 2] & 15;

        out[i] = (uint8_t)(low | high << 4);
    }
}

/* Rows first, first + step, ... of each expert. */
static enum err oss_matrix(struct hf *h, str name, const struct safetensors_tensor *b,
                           const struct safetensors_tensor *s, const uint64_t row[2])
{
    uint64_t n = b->dim[0], rows = b->dim[1], nb = b->dim[2],
             block = dtype_info(DTYPE_MXFP4)->bytes;
    uint64_t dim[3] = {nb * dtype_info(DTYPE_MXFP4)->elems, rows / row[1], n};
    uint8_t *out, *p;
    enum err r = hf_fix_room(h, n * (rows / row[1]) * nb * block, &out);

    if (r) return r;
    p = out;
    for (uint64_t e = 0; out && e < n; e++)
        for (uint64_t i = row[0]; i < rows; i += row[1])
            for (uint64_t k = 0; k < nb; k++, p += block) {
                uint64_t at = (e * rows + i) * nb + k;

                repack_mxfp4(b->data + 16 * at, s->data[at], p);
            }
    return hf_tensors_add(h, name, DTYPE_MXFP4, dim, 3, out);
}

/* blocks U8 [expert][rows][n][16] with scales U8 [expert][rows][n] to MXFP4. */
enum err hf_fix_oss_blocks(struct hf *h, const struct hf_entry *x)
{
    const struct safetensors_tensor *b = x->t, *s;
    bool down = x->rule->gguf[0] != 0;
    char name[LIMIT_ST_NAME];
    size_t stem = b->name.n - strlen("blocks");
    enum err r;

    memcpy(name, b->name.p, stem);
    memcpy(name + stem, "scales", 6);
    s = hf_files_find(h, (str){name, stem + 6});
    if (!s) return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' lacks its scales", HF_NAME(b->name));
    if (b->n_dims != 4 || b->dim[3] != 16 || b->type->bytes != 1 || s->type->bytes != 1 ||
        s->elems != b->elems / 16 || (!down && b->dim[1] % 2))
        return shape(h, x, "experts x rows x blocks x 16 bytes, with a scale for each block");
    if (down) return oss_matrix(h, x->name, b, s, (uint64_t[]){0, 1});
    if ((r = oss_matrix(h, hf_fix_name(h, x, "ffn_gate_exps.weight"), b, s, (uint64_t[]){0, 2})))
        return r;
    return oss_matrix(h, hf_fix_name(h, x, "ffn_up_exps.weight"), b, s, (uint64_t[]){1, 2});
}
