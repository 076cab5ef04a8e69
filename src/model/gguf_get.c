/* gguf_get: typed reads of GGUF metadata.
 *
 * A reader asks for the type it needs; the file may hold any type from which the value converts
 * without loss (a count stored as u64, a scale stored as an integer). Everything else is refused
 * with the key, what it holds and what was wanted. 64-bit floats are rounded to float32.
 */
#include <math.h>
#include <string.h>

#include "model/gguf_int.h"

static const struct {
    const char *name;
    size_t bytes;
} types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1},     [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},   [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},   [GGUF_BOOL] = {"bool", 1}, [GGUF_STR] = {"string", 0},
    [GGUF_ARR] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_type_name(enum gguf_type t)
{
    return (unsigned)t < GGUF_TYPE_COUNT ? types[t].name : "unknown";
}

size_t gguf_type_bytes(enum gguf_type t)
{
    return types[t].bytes;
}

/* Element i as an integer: magnitude and sign apart, so that all 64-bit values fit. */
static bool element_int(const struct gguf_kv *kv, size_t i, uint64_t *mag, bool *negative)
{
    size_t width = types[kv->elem].bytes;
    uint64_t u = 0;
    int64_t s;

    switch (kv->elem) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        memcpy(&u, kv->data + i * width, width);
        *mag = u;
        *negative = false;
        return true;
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        memcpy(&u, kv->data + i * width, width);
        if (width < 8 && u >> (8 * width - 1)) u |= ~(uint64_t)0 << (8 * width);
        memcpy(&s, &u, sizeof s);
        *negative = s < 0;
        *mag = s < 0 ? 0 - u : u;
        return true;
    default: return false;
    }
}

static bool element_f32(const struct gguf_kv *kv, size_t i, float *out)
{
    uint64_t mag;
    bool negative;
    double d;

    if (kv->elem == GGUF_F32) {
        memcpy(out, kv->data + i * sizeof *out, sizeof *out);
        return true;
    }
    if (kv->elem == GGUF_F64) {
        memcpy(&d, kv->data + i * sizeof d, sizeof d);
        *out = (float)d;
        return !isfinite(d) || isfinite(*out);
    }
    if (!element_int(kv, i, &mag, &negative) || mag > 1u << 24) return false;
    *out = negative ? -(float)mag : (float)mag;
    return true;
}

static bool element_i32(const struct gguf_kv *kv, size_t i, int32_t *out)
{
    uint64_t mag;
    bool negative;

    if (kv->elem == GGUF_BOOL) {
        *out = kv->data[i] != 0;
        return true;
    }
    if (!element_int(kv, i, &mag, &negative) || mag > (uint64_t)INT32_MAX + negative) return false;
    *out = (int32_t)(negative ? -(int64_t)mag : (int64_t)mag);
    return true;
}

static enum err wrong_type(const struct gguf_kv *kv, const char *wanted, struct err_info *e)
{
    bool arr = kv->type == GGUF_ARR;

    return ERR_FAIL(e, FORMAT, "key '%.*s' holds %s%s that is not %s", GGUF_NAME(kv->key),
                    arr ? "an array of " : "a value of type ", gguf_type_name(kv->elem), wanted);
}

enum err gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct err_info *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    uint64_t mag;
    bool negative;

    if (!kv) return ERR_OK;
    if (kv->type == GGUF_ARR || !element_int(kv, 0, &mag, &negative) || negative ||
        mag > UINT32_MAX)
        return wrong_type(kv, "an integer from 0 to 2^32 - 1", e);
    *out = (uint32_t)mag;
    return ERR_OK;
}

enum err gguf_get_f32(const struct gguf *g, const char *key, float *out, struct err_info *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    float f;

    if (!kv) return ERR_OK;
    if (kv->type == GGUF_ARR || !element_f32(kv, 0, &f)) return wrong_type(kv, "a number", e);
    *out = f;
    return ERR_OK;
}

enum err gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err_info *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);

    if (!kv) return ERR_OK;
    if (kv->type != GGUF_BOOL) return wrong_type(kv, "a bool", e);
    *out = kv->data[0] != 0;
    return ERR_OK;
}

enum err gguf_get_str(const struct gguf *g, const char *key, str *out, struct err_info *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);

    if (!kv) return ERR_OK;
    if (kv->type != GGUF_STR) return wrong_type(kv, "a string", e);
    *out = kv->strs[0];
    return ERR_OK;
}

enum err gguf_get_strs(const struct gguf *g, const char *key, const str **out, size_t *n,
                       struct err_info *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);

    *out = NULL;
    *n = 0;
    if (!kv) return ERR_OK;
    if (kv->type != GGUF_ARR || kv->elem != GGUF_STR)
        return wrong_type(kv, "an array of strings", e);
    *out = kv->strs;
    *n = (size_t)kv->count;
    return ERR_OK;
}

enum err gguf_get_f32s(const struct gguf *g, struct arena *a, const char *key, const float **out,
                       size_t *n, struct err_info *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    float *v;

    *out = NULL;
    *n = 0;
    if (!kv) return ERR_OK;
    if (kv->type != GGUF_ARR) return wrong_type(kv, "an array of numbers", e);
    v = ARENA_NEW(a, float, (size_t)kv->count);
    if (!v && kv->count) return ERR_FAIL(e, NOMEM, "key '%s': no memory for its values", key);
    for (size_t i = 0; i < kv->count; i++)
        if (!element_f32(kv, i, &v[i])) return wrong_type(kv, "an array of numbers", e);
    *out = v;
    *n = (size_t)kv->count;
    return ERR_OK;
}

enum err gguf_get_i32s(const struct gguf *g, struct arena *a, const char *key, const int32_t **out,
                       size_t *n, struct err_info *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    int32_t *v;

    *out = NULL;
    *n = 0;
    if (!kv) return ERR_OK;
    if (kv->type != GGUF_ARR) return wrong_type(kv, "an array of integers", e);
    v = ARENA_NEW(a, int32_t, (size_t)kv->count);
    if (!v && kv->count) return ERR_FAIL(e, NOMEM, "key '%s': no memory for its values", key);
    for (size_t i = 0; i < kv->count; i++)
        if (!element_i32(kv, i, &v[i])) return wrong_type(kv, "an array of 32-bit integers", e);
    *out = v;
    *n = (size_t)kv->count;
    return ERR_OK;
}
