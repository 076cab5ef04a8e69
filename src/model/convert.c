/* convert: see convert.h.
 *
 * A tensor goes through in chunks of rows: each thread dequantises and quantises its share of a
 * chunk into one buffer, which is then written. A tensor whose type stays and whose rows keep their
 * order is written from where it lies.
 *
 * Invariant: what is declared in the header is what is written; gguf_write_close() checks the sum.
 */
#include "model/convert.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/meta.h"

enum { THREADS_MAX = 64, CHUNK_FLOATS = 1 << 20, PATH_MAX_BYTES = 4096 };

/* The bytes of a path that a new name beside it needs. */
#define TEMP_FORMAT "%s.partial-%ld"

/* ---- rows ---- */

struct rows {
    const struct gguf_tensor *t;
    uint64_t cols, n; /* of the tensor; a vector that is reordered has rows of one */
    uint64_t from_bytes, to_bytes;
    enum dtype to;
    uint64_t head, n_rot;    /* rows of a head, how many of them turn; 0: the order stays */
    const float *importance; /* [third dimension][cols], or NULL */
};

uint64_t convert_source_row(uint64_t head, uint64_t n_rot, uint64_t i)
{
    uint64_t in = i % head;

    if (in >= n_rot) return i;
    return i - in + (in % 2 ? n_rot / 2 : 0) + in / 2;
}

static const uint8_t *row_at(const struct rows *r, uint64_t i)
{
    uint64_t per_part = r->t->n_dims > 1 ? r->t->dim[1] : r->n;

    if (r->head) i = convert_source_row(r->head, r->n_rot, i);
    if (!r->t->parts) return r->t->data + i * r->from_bytes;
    return r->t->parts[i / per_part] + i % per_part * r->from_bytes;
}

struct share {
    const struct rows *r;
    uint64_t first, n;
    uint8_t *out;
    float *row; /* [cols] */
    pthread_t thread;
    bool started;
};

static void *convert_share(void *arg)
{
    const struct share *s = arg;
    const struct rows *r = s->r;

    for (uint64_t i = 0; i < s->n; i++) {
        const uint8_t *in = row_at(r, s->first + i);
        uint8_t *out = s->out + i * r->to_bytes;

        if (r->to == r->t->dtype) {
            memcpy(out, in, (size_t)r->to_bytes);
            continue;
        }
        dtype_dequant(r->t->dtype, in, s->row, (size_t)r->cols);
        if (r->importance && r->t->n_dims > 1)
            quant_row_weighted(r->to, s->row,
                               r->importance + (s->first + i) / r->t->dim[1] * r->cols, out,
                               (size_t)r->cols);
        else
            quant_row(r->to, s->row, out, (size_t)r->cols);
    }
    return NULL;
}

/* Rows first..first+n-1 to out, on several threads. */
static enum err convert_rows(const struct rows *r, uint64_t first, uint64_t n, uint8_t *out,
                             uint32_t n_threads, struct err_info *e)
{
    struct share s[THREADS_MAX];
    uint32_t used = n_threads < 1 ? 1 : n_threads > THREADS_MAX ? THREADS_MAX : n_threads;
    float *scratch;

    if (used > n) used = n ? (uint32_t)n : 1;
    scratch = mem_array((size_t)r->cols, used * sizeof *scratch);
    if (!scratch) return ERR_FAIL(e, NOMEM, "no memory for a row of '%.*s'", STR(r->t->name));
    for (uint32_t i = 0; i < used; i++) {
        uint64_t from = n * i / used, to = n * (i + 1) / used;

        s[i] = (struct share){.r = r,
                              .first = first + from,
                              .n = to - from,
                              .out = out + from * r->to_bytes,
                              .row = scratch + i * r->cols};
        /* The last share is ours; one whose thread does not start, too. */
        s[i].started = i + 1 < used && !pthread_create(&s[i].thread, NULL, convert_share, &s[i]);
        if (!s[i].started) convert_share(&s[i]);
    }
    for (uint32_t i = 0; i < used; i++)
        if (s[i].started) pthread_join(s[i].thread, NULL);
    mem_free(scratch);
    return ERR_OK;
}

/* ---- types ---- */

void convert_learn(const struct gguf *g, struct quant_model *m)
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

enum dtype convert_type(const struct quant_mix *mix, const struct quant_model *m,
                        const struct gguf_tensor *t)
{
    /* GGUF has no 8-bit floats; BF16 holds each of them exactly. */
    enum dtype plain = dtype_info(t->dtype)->ggml_id == DTYPE_NO_GGML ? DTYPE_BF16 : t->dtype;
    enum dtype to;

    if (!mix || t->n_dims < 2 || !str_ends(t->name, S(".weight")) ||
        !dtype_info(t->dtype)->dequant || quant_mix_keeps(t->name))
        return plain;
    to = quant_mix_pick(mix, t->name, m, t->dim[0]);
    return quant_has(to) ? to : plain;
}

static enum err rows_of(struct rows *r, const struct gguf_tensor *t, enum dtype to,
                        struct err_info *e)
{
    *r = (struct rows){.t = t, .to = to, .cols = t->dim[0], .n = t->dim[1] * t->dim[2] * t->dim[3]};
    if (!t->data && !t->parts)
        return ERR_FAIL(e, INVALID, "tensor '%.*s': its values are not at hand", STR(t->name));
    if (!dtype_row_bytes(t->dtype, r->cols, &r->from_bytes) ||
        !dtype_row_bytes(to, r->cols, &r->to_bytes))
        return ERR_FAIL(e, INTERNAL, "tensor '%.*s': row size", STR(t->name));
    return ERR_OK;
}

/* ---- in place ---- */

enum err convert_in_place(struct gguf *g, uint64_t first, const struct quant_mix *mix,
                          const struct quant_model *m, uint32_t n_threads, struct err_info *e)
{
    for (uint64_t i = first; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        enum dtype to = convert_type(mix, m, t);
        struct rows r;
        uint8_t *out;
        enum err code;

        if (to == t->dtype || dtype_info(t->dtype)->bytes * dtype_info(to)->elems <=
                                  dtype_info(to)->bytes * dtype_info(t->dtype)->elems)
            continue; /* it would not become smaller */
        if ((code = rows_of(&r, t, to, e)) ||
            (code = gguf_copy_new(g, r.n * r.to_bytes, &out, e)) ||
            (code = convert_rows(&r, 0, r.n, out, n_threads, e)))
            return code;
        t->data = out;
        t->parts = NULL;
        t->dtype = to;
        t->bytes = r.n * r.to_bytes;
    }
    return ERR_OK;
}

/* ---- a file ---- */

struct job {
    const struct gguf *g;
    const struct convert *c;
    struct gguf_write w;
    struct quant_model model;
    bool halves;
    uint64_t head, n_rot;
    uint64_t done, total;
    struct err_info *e;
};

static uint32_t number(const struct job *j, const char *suffix)
{
    char key[128];
    str arch = {0};
    uint32_t v = 0;

    if (gguf_get_str(j->g, "general.architecture", &arch, NULL)) return 0;
    snprintf(key, sizeof key, "%.*s.%s", (int)(arch.n > 60 ? 60 : arch.n), arch.p, suffix);
    return gguf_get_u32(j->g, key, &v, NULL) ? 0 : v;
}

/* How rows of q and k lie in a directory that has halves where GGUF has pairs. */
static void learn_heads(struct job *j)
{
    uint32_t heads = number(j, "attention.head_count");

    if (gguf_get_bool(j->g, "rbee.rope.halves", &j->halves, NULL)) j->halves = false;
    j->head = number(j, "attention.key_length");
    if (!j->head && heads) j->head = number(j, "embedding_length") / heads;
    j->n_rot = number(j, "rope.dimension_count");
    if (j->n_rot == 0 || j->n_rot > j->head) j->n_rot = j->head;
}

static bool is_turned(const struct job *j, const struct gguf_tensor *t)
{
    str rest = t->name, role;

    if (!j->halves || !j->head || !str_starts(t->name, S("blk."))) return false;
    (void)str_cut(str_sub(t->name, 4, t->name.n), '.', &rest);
    role = str_cut(rest, '.', &rest);
    return (str_eqc(role, "attn_q") || str_eqc(role, "attn_k")) &&
           t->dim[t->n_dims > 1] % j->head == 0;
}

/* Keys that describe the file, or how this program had it in memory, and not the model. */
static bool is_left_out(const struct job *j, str key)
{
    return str_eq(key, S("general.alignment")) || str_starts(key, S("split.")) ||
           str_starts(key, S("rbee.")) || str_eq(key, S("general.quantization_version")) ||
           (j->c->mix && str_eq(key, S("general.file_type")));
}

static enum err declare(struct job *j)
{
    uint32_t id;
    enum err r;

    for (uint64_t i = 0; i < j->g->n_kv; i++)
        if (!is_left_out(j, j->g->kv[i].key)) gguf_write_kv(&j->w, &j->g->kv[i]);
    if (j->c->keys && (r = j->c->keys(&j->w, j->c->owner, j->e))) return r;
    if (j->c->mix && meta_file_type_from(str_c(j->c->mix->name), &id))
        gguf_write_u32(&j->w, "general.file_type", id);
    gguf_write_u32(&j->w, "general.quantization_version", 2);
    for (uint64_t i = 0; i < j->g->n_tensors; i++) {
        const struct gguf_tensor *t = &j->g->tensors[i];

        gguf_write_tensor(&j->w, t->name, convert_type(j->c->mix, &j->model, t), t->dim, t->n_dims);
        j->total += t->bytes;
    }
    return ERR_OK;
}

/* Mean squares of the columns that a tensor's inputs had; NULL where the matrix knows none. */
static enum err importance_of(const struct job *j, const struct gguf_tensor *t, float **out)
{
    const struct gguf *m = j->c->importance;
    const struct gguf_tensor *sum, *count;
    char name[160];
    int n = (int)(t->name.n > 128 ? 128 : t->name.n);
    uint64_t mats;
    float *w;

    *out = NULL;
    if (!m || t->n_dims < 2) return ERR_OK;
    snprintf(name, sizeof name, "%.*s.in_sum2", n, t->name.p);
    sum = gguf_tensor(m, str_c(name));
    snprintf(name, sizeof name, "%.*s.counts", n, t->name.p);
    count = gguf_tensor(m, str_c(name));
    if (!sum || !count) return ERR_OK;
    mats = t->dim[2] * t->dim[3];
    if (sum->dtype != DTYPE_F32 || count->dtype != DTYPE_F32 || sum->dim[0] != t->dim[0] ||
        sum->bytes != mats * t->dim[0] * sizeof *w || count->bytes != mats * sizeof *w)
        return ERR_FAIL(j->e, FORMAT,
                        "the importance matrix was made for another model: '%.*s' has other sizes",
                        n, t->name.p);
    if (!(w = mem_array((size_t)mats, (size_t)sum->dim[0] * sizeof *w)))
        return ERR_FAIL(j->e, NOMEM, "no memory for the importance of '%.*s'", n, t->name.p);
    for (uint64_t i = 0; i < mats * t->dim[0]; i++) {
        float c, s;

        memcpy(&c, count->data + i / t->dim[0] * sizeof c, sizeof c);
        memcpy(&s, sum->data + i * sizeof s, sizeof s);
        w[i] = c > 0 ? s / c : 1; /* an expert that no token chose */
    }
    *out = w;
    return ERR_OK;
}

static enum err write_rows(struct job *j, const struct rows *r)
{
    uint64_t step =
        CHUNK_FLOATS / (r->cols ? r->cols : 1) * (j->c->n_threads ? j->c->n_threads : 1);
    uint8_t *out;
    enum err code = ERR_OK;

    if (step == 0) step = 1;
    if (step > r->n) step = r->n;
    out = mem_array((size_t)step, (size_t)r->to_bytes);
    if (!out) return ERR_FAIL(j->e, NOMEM, "no memory for rows of '%.*s'", STR(r->t->name));
    for (uint64_t at = 0; at < r->n && !code; at += step) {
        uint64_t n = r->n - at < step ? r->n - at : step;

        code = convert_rows(r, at, n, out, j->c->n_threads, j->e);
        if (!code) code = gguf_write_data(&j->w, out, (size_t)(n * r->to_bytes), j->e);
    }
    mem_free(out);
    return code;
}

static enum err write_tensor(struct job *j, const struct gguf_tensor *t)
{
    enum dtype to = convert_type(j->c->mix, &j->model, t);
    float *importance = NULL;
    struct rows r;
    enum err code = gguf_write_align(&j->w, j->e);

    if (code || (code = rows_of(&r, t, to, j->e))) return code;
    if (is_turned(j, t)) {
        r.head = j->head;
        r.n_rot = j->n_rot;
        if (t->n_dims == 1) {
            r.n = t->dim[0];
            r.cols = 1;
            r.from_bytes = r.to_bytes = dtype_info(to)->bytes;
        }
    } else if (to == t->dtype && t->data) {
        return gguf_write_data(&j->w, t->data, (size_t)t->bytes, j->e);
    }
    if (to != t->dtype && (code = importance_of(j, t, &importance))) return code;
    r.importance = importance;
    code = write_rows(j, &r);
    mem_free(importance);
    return code;
}

/* The header is small against the weights: what is declared decides. */
static enum err check_disk(struct job *j, const char *path)
{
    char dir[PATH_MAX_BYTES];
    const char *slash = strrchr(path, '/');
    struct statvfs s;
    uint64_t need = j->w.declared + j->w.kv.n + j->w.dir.n, have;

    if (slash)
        snprintf(dir, sizeof dir, "%.*s/", (int)(slash - path), path);
    else
        snprintf(dir, sizeof dir, ".");
    if (statvfs(dir, &s)) return err_errno(j->e, errno, "look at the disk of", path);
    have = (uint64_t)s.f_bavail * s.f_frsize;
    if (need <= have) return ERR_OK;
    return ERR_FAIL(j->e, NOSPACE, "%s needs %llu bytes, but its disk has %llu left", path,
                    (unsigned long long)need, (unsigned long long)have);
}

static enum err write_all(struct job *j, const char *path, const char *temp)
{
    enum err r;

    learn_heads(j);
    convert_learn(j->g, &j->model);
    j->model.importance = j->c->importance != NULL;
    if ((r = declare(j)) || (r = check_disk(j, path)) || (r = gguf_write_open(&j->w, temp, j->e)))
        return r;
    for (uint64_t i = 0; i < j->g->n_tensors; i++) {
        const struct gguf_tensor *t = &j->g->tensors[i];

        if (j->c->progress) j->c->progress(j->c->owner, t->name, j->done, j->total);
        if ((r = write_tensor(j, t))) return r;
        j->done += t->bytes;
    }
    if (j->c->progress) j->c->progress(j->c->owner, S(""), j->done, j->total);
    return gguf_write_close(&j->w, j->e);
}

enum err convert_write(const struct gguf *g, const char *path, const struct convert *c,
                       struct err_info *e)
{
    struct job j = {.g = g, .c = c, .e = e};
    char temp[PATH_MAX_BYTES];
    int n = snprintf(temp, sizeof temp, TEMP_FORMAT, path, (long)getpid());
    enum err r;

    if (n < 0 || n >= PATH_MAX_BYTES) return ERR_FAIL(e, INVALID, "the path is too long: %s", path);
    if (!c->force && access(path, F_OK) == 0)
        return ERR_FAIL(e, INVALID, "%s exists; --force replaces it", path);
    gguf_write_init(&j.w);
    r = write_all(&j, path, temp);
    gguf_write_fini(&j.w);
    if (!r && rename(temp, path)) r = err_errno(e, errno, "rename to", path);
    if (r) (void)unlink(temp);
    return r;
}
