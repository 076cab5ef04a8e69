/* gguf_write: see gguf_write.h. The layout is described at the head of gguf.c; this is version 3.
 */
#include "model/gguf_write.h"

#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "model/gguf_int.h"

enum { VERSION = 3, ALIGNMENT = 32 };

static const char zeros[ALIGNMENT];

void gguf_write_init(struct gguf_write *w)
{
    *w = (struct gguf_write){.alignment = ALIGNMENT};
    buf_init(&w->kv, LIMIT_GGUF_HEADER);
    buf_init(&w->dir, LIMIT_GGUF_HEADER);
}

void gguf_write_fini(struct gguf_write *w)
{
    if (w->file) fclose(w->file);
    buf_fini(&w->kv);
    buf_fini(&w->dir);
    *w = (struct gguf_write){0};
}

/* ---- collect ---- */

static void put_u32(buf *b, uint32_t v)
{
    buf_put(b, &v, sizeof v);
}

static void put_u64(buf *b, uint64_t v)
{
    buf_put(b, &v, sizeof v);
}

static void put_str(buf *b, str s)
{
    put_u64(b, s.n);
    buf_str(b, s);
}

static void put_key(struct gguf_write *w, str key, enum gguf_type t)
{
    put_str(&w->kv, key);
    put_u32(&w->kv, t);
    w->n_kv++;
}

static void put_array(struct gguf_write *w, str key, enum gguf_type elem, uint64_t n)
{
    put_key(w, key, GGUF_ARR);
    put_u32(&w->kv, elem);
    put_u64(&w->kv, n);
}

void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t v)
{
    put_key(w, str_c(key), GGUF_U32);
    put_u32(&w->kv, v);
}

void gguf_write_f32(struct gguf_write *w, const char *key, float v)
{
    put_key(w, str_c(key), GGUF_F32);
    buf_put(&w->kv, &v, sizeof v);
}

void gguf_write_bool(struct gguf_write *w, const char *key, bool v)
{
    put_key(w, str_c(key), GGUF_BOOL);
    buf_ch(&w->kv, v ? 1 : 0);
}

void gguf_write_str(struct gguf_write *w, const char *key, str v)
{
    put_key(w, str_c(key), GGUF_STR);
    put_str(&w->kv, v);
}

void gguf_write_strs(struct gguf_write *w, const char *key, const str *v, size_t n)
{
    put_array(w, str_c(key), GGUF_STR, n);
    for (size_t i = 0; i < n; i++)
        put_str(&w->kv, v[i]);
}

void gguf_write_f32s(struct gguf_write *w, const char *key, const float *v, size_t n)
{
    put_array(w, str_c(key), GGUF_F32, n);
    buf_put(&w->kv, v, n * sizeof *v);
}

void gguf_write_i32s(struct gguf_write *w, const char *key, const int32_t *v, size_t n)
{
    put_array(w, str_c(key), GGUF_I32, n);
    buf_put(&w->kv, v, n * sizeof *v);
}

void gguf_write_kv(struct gguf_write *w, const struct gguf_kv *kv)
{
    if (kv->type == GGUF_ARR)
        put_array(w, kv->key, kv->elem, kv->count);
    else
        put_key(w, kv->key, kv->type);
    if (kv->elem != GGUF_STR) {
        buf_put(&w->kv, kv->data, kv->bytes);
        return;
    }
    for (uint64_t i = 0; i < kv->count; i++)
        put_str(&w->kv, kv->strs[i]);
}

static uint64_t aligned(const struct gguf_write *w, uint64_t n)
{
    return (n + w->alignment - 1) & ~((uint64_t)w->alignment - 1);
}

uint64_t gguf_write_tensor(struct gguf_write *w, str name, enum dtype t, const uint64_t *dim,
                           uint32_t n_dims)
{
    uint64_t bytes;

    ASSERT(n_dims >= 1 && n_dims <= 4 && dtype_row_bytes(t, dim[0], &bytes));
    put_str(&w->dir, name);
    put_u32(&w->dir, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) {
        put_u64(&w->dir, dim[i]);
        if (i) bytes *= dim[i];
    }
    put_u32(&w->dir, dtype_info(t)->ggml_id);
    put_u64(&w->dir, w->declared);
    w->declared += aligned(w, bytes);
    w->n_tensors++;
    return bytes;
}

/* ---- write ---- */

enum err gguf_write_header(const struct gguf_write *w, buf *out, struct err_info *e)
{
    buf_c(out, "GGUF");
    put_u32(out, VERSION);
    put_u64(out, w->n_tensors);
    put_u64(out, w->n_kv);
    buf_str(out, buf_view(&w->kv));
    buf_str(out, buf_view(&w->dir));
    buf_put(out, zeros, (size_t)(aligned(w, out->n) - out->n));
    if (w->kv.no_memory || w->dir.no_memory || out->no_memory)
        return ERR_FAIL(e, NOMEM, "no memory for the GGUF header");
    if (w->kv.failed || w->dir.failed || out->failed)
        return ERR_FAIL(e, LIMIT, "the GGUF header is larger than %zu MiB, the limit",
                        LIMIT_GGUF_HEADER >> 20);
    return ERR_OK;
}

enum err gguf_write_open(struct gguf_write *w, const char *path, struct err_info *e)
{
    buf head = {.cap = LIMIT_GGUF_HEADER};
    enum err r = gguf_write_header(w, &head, e);

    if (!r && !(w->file = fopen(path, "wb"))) r = err_errno(e, errno, "create", path);
    if (!r) setvbuf(w->file, NULL, _IOFBF, (size_t)1 << 20); /* rows are small, files are not */
    if (!r && fwrite(head.p, 1, head.n, w->file) != head.n) r = err_errno(e, errno, "write", path);
    buf_fini(&head);
    return r;
}

enum err gguf_write_data(struct gguf_write *w, const void *p, size_t n, struct err_info *e)
{
    if (fwrite(p, 1, n, w->file) != n) return err_errno(e, errno, "write", "the GGUF file");
    w->written += n;
    return ERR_OK;
}

enum err gguf_write_align(struct gguf_write *w, struct err_info *e)
{
    return gguf_write_data(w, zeros, (size_t)(aligned(w, w->written) - w->written), e);
}

enum err gguf_write_close(struct gguf_write *w, struct err_info *e)
{
    enum err r = gguf_write_align(w, e);
    FILE *f = w->file;

    w->file = NULL;
    if (fclose(f) && !r) r = err_errno(e, errno, "write", "the GGUF file");
    if (!r && w->written != w->declared)
        r = ERR_FAIL(e, INTERNAL, "%llu bytes of tensors were declared, %llu written",
                     (unsigned long long)w->declared, (unsigned long long)w->written);
    return r;
}
