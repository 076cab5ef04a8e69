/* gguf: parses a GGUF header out of bytes.
 *
 * The layout (GGUF specification, ggml/docs/gguf.md; all integers little-endian):
 *
 *   "GGUF"  u32 version  size n_tensors  size n_kv
 *   n_kv times:      string key, u32 type, value
 *   n_tensors times: string name, u32 n_dims, size dim[n_dims], u32 dtype, u64 offset
 *   padding to the alignment, then tensor data; offsets count from there
 *
 * A string is `size n` and n bytes; an array is `u32 type, size count` and the values; `size` is 32
 * bits wide in version 1 and 64 bits in versions 2 and 3. The parser walks the bytes once with a
 * cursor that knows how many bytes there are and how many the file has. Every length is compared
 * with what remains before it is used, so no sum of two lengths can wrap.
 *
 * Invariant: after success every view lies inside the bytes given, names are unique, and tensors
 * lie inside the file, aligned and apart. Left out: nested arrays and big-endian files, refused by
 * name.
 */
#include "model/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "model/gguf_int.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are used in file order");

enum { ALIGNMENT_DEFAULT = 32, ALIGNMENT_MIN = 8, ALIGNMENT_MAX = 1 << 20, TENSOR_NAME_MAX = 64 };

struct cursor {
    const uint8_t *p;
    size_t n, at;
    uint64_t file_size; /* 0: unknown */
    uint32_t version;
    uint64_t *need;
    struct err_info *e;
};

/* Sees to it that `bytes` more can be read; `what` and `name` tell whose they are. */
static enum err more(struct cursor *c, uint64_t bytes, const char *what, str name)
{
    uint64_t end;

    if (bytes <= c->n - c->at) return ERR_OK;
    if (__builtin_add_overflow(c->at, bytes, &end) || (c->file_size && end > c->file_size))
        return ERR_FAIL(c->e, FORMAT,
                        "truncated GGUF file: %s%s%.*s at byte %zu needs %llu bytes, but the file "
                        "ends at %llu",
                        what, name.n ? " " : "", GGUF_NAME(name), c->at, (unsigned long long)bytes,
                        (unsigned long long)(c->file_size ? c->file_size : c->n));
    if (end > LIMIT_GGUF_HEADER)
        return ERR_FAIL(c->e, FORMAT,
                        "%s%s%.*s would make the GGUF header larger than %zu MiB, the limit", what,
                        name.n ? " " : "", GGUF_NAME(name), LIMIT_GGUF_HEADER >> 20);
    if (c->need) {
        *c->need = end < 2 * (uint64_t)c->n ? 2 * (uint64_t)c->n : end;
        if (c->file_size && *c->need > c->file_size) *c->need = c->file_size;
    }
    return ERR_FAIL(c->e, LIMIT, "the GGUF header goes on past the %zu bytes at hand", c->n);
}

/* The bytes of the file from the cursor on, as far as known: no count may exceed them. */
static uint64_t remaining(const struct cursor *c)
{
    uint64_t end = c->n > LIMIT_GGUF_HEADER ? c->n : LIMIT_GGUF_HEADER;

    return (c->file_size ? c->file_size : end) - c->at;
}

static enum err read_u32(struct cursor *c, uint32_t *out, const char *what, str name)
{
    enum err r = more(c, sizeof *out, what, name);

    if (r) return r;
    memcpy(out, c->p + c->at, sizeof *out);
    c->at += sizeof *out;
    return ERR_OK;
}

static enum err read_u64(struct cursor *c, uint64_t *out, const char *what, str name)
{
    enum err r = more(c, sizeof *out, what, name);

    if (r) return r;
    memcpy(out, c->p + c->at, sizeof *out);
    c->at += sizeof *out;
    return ERR_OK;
}

/* Counts, lengths and dimensions: 32 bits in version 1. */
static enum err read_size(struct cursor *c, uint64_t *out, const char *what, str name)
{
    uint32_t u;
    enum err r;

    if (c->version > 1) return read_u64(c, out, what, name);
    r = read_u32(c, &u, what, name);
    if (!r) *out = u;
    return r;
}

static enum err read_str(struct cursor *c, str *out, const char *what, str name)
{
    uint64_t n;
    enum err r;

    if ((r = read_size(c, &n, what, name)) || (r = more(c, n, what, name))) return r;
    *out = (str){(const char *)c->p + c->at, (size_t)n};
    c->at += (size_t)n;
    return ERR_OK;
}

static enum err check_name(struct cursor *c, str name, size_t max, const char *what)
{
    if (name.n == 0 || name.n > max)
        return ERR_FAIL(c->e, FORMAT, "%s '%.*s' is %zu bytes long; 1 to %zu are allowed", what,
                        GGUF_NAME(name), name.n, max);
    if (!utf8_valid(name) || memchr(name.p, 0, name.n))
        return ERR_FAIL(c->e, FORMAT, "%s '%.*s' is not text", what, GGUF_NAME(name));
    return ERR_OK;
}

/* ---- names ---- */

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct gguf_name *)a)->name, ((const struct gguf_name *)b)->name);
}

static enum err index_names(struct gguf_name *names, uint64_t n, const char *what,
                            struct err_info *e)
{
    if (n) qsort(names, (size_t)n, sizeof *names, by_name);
    for (uint64_t i = 1; i < n; i++)
        if (str_eq(names[i - 1].name, names[i].name))
            return ERR_FAIL(e, FORMAT, "%s '%.*s' occurs twice", what, GGUF_NAME(names[i].name));
    return ERR_OK;
}

static const struct gguf_name *find_name(const struct gguf_name *names, uint64_t n, str name)
{
    struct gguf_name key = {.name = name};

    return n ? bsearch(&key, names, (size_t)n, sizeof key, by_name) : NULL;
}

enum err gguf_index_tensors(struct gguf *g, struct arena *a, struct err_info *e)
{
    g->tensor_names = ARENA_NEW(a, struct gguf_name, (size_t)g->n_tensors);
    if (g->n_tensors && !g->tensor_names) return ERR_FAIL(e, NOMEM, "no memory for tensor names");
    for (uint64_t i = 0; i < g->n_tensors; i++)
        g->tensor_names[i] = (struct gguf_name){g->tensors[i].name, (uint32_t)i};
    return index_names(g->tensor_names, g->n_tensors, "tensor", e);
}

/* ---- metadata ---- */

static enum err parse_strings(struct cursor *c, struct arena *a, struct gguf_kv *kv)
{
    size_t start = c->at, width = c->version > 1 ? 8 : 4;
    str *s;

    if (kv->count > remaining(c) / width)
        return ERR_FAIL(c->e, FORMAT, "key '%.*s' claims %llu strings, more than the file can hold",
                        GGUF_NAME(kv->key), (unsigned long long)kv->count);
    enum err r = more(c, kv->count * width, "key", kv->key);
    if (r) return r;
    s = ARENA_NEW(a, str, (size_t)kv->count);
    if (kv->count && !s)
        return ERR_FAIL(c->e, NOMEM, "key '%.*s': no memory for %llu strings", GGUF_NAME(kv->key),
                        (unsigned long long)kv->count);
    for (uint64_t i = 0; i < kv->count; i++)
        if ((r = read_str(c, &s[i], "key", kv->key))) return r;
    kv->strs = s;
    kv->data = c->p + start;
    kv->bytes = c->at - start;
    return ERR_OK;
}

static enum err parse_numbers(struct cursor *c, struct gguf_kv *kv)
{
    size_t width = gguf_type_bytes(kv->elem);
    enum err r;

    if (kv->count > remaining(c) / width)
        return ERR_FAIL(c->e, FORMAT, "key '%.*s' claims %llu values, more than the file can hold",
                        GGUF_NAME(kv->key), (unsigned long long)kv->count);
    if ((r = more(c, kv->count * width, "key", kv->key))) return r;
    kv->data = c->p + c->at;
    kv->bytes = (size_t)kv->count * width;
    c->at += kv->bytes;
    for (size_t i = 0; kv->elem == GGUF_BOOL && i < kv->bytes; i++)
        if (kv->data[i] > 1)
            return ERR_FAIL(c->e, FORMAT, "key '%.*s' holds the byte %u where a bool is 0 or 1",
                            GGUF_NAME(kv->key), kv->data[i]);
    return ERR_OK;
}

static enum err read_type(struct cursor *c, enum gguf_type *out, str key)
{
    uint32_t t;
    enum err r = read_u32(c, &t, "key", key);

    if (r) return r;
    if (t >= GGUF_TYPE_COUNT)
        return ERR_FAIL(c->e, FORMAT, "key '%.*s' has value type %u; the types are 0 to %d",
                        GGUF_NAME(key), t, GGUF_TYPE_COUNT - 1);
    *out = (enum gguf_type)t;
    return ERR_OK;
}

static enum err parse_kv(struct cursor *c, struct arena *a, struct gguf_kv *kv)
{
    enum err r;

    if ((r = read_str(c, &kv->key, "metadata key", S(""))) ||
        (r = check_name(c, kv->key, LIMIT_GGUF_KEY - 1, "metadata key")) ||
        (r = read_type(c, &kv->type, kv->key)))
        return r;
    kv->elem = kv->type;
    kv->count = 1;
    if (kv->type == GGUF_ARR) {
        if ((r = read_type(c, &kv->elem, kv->key)) ||
            (r = read_size(c, &kv->count, "key", kv->key)))
            return r;
        if (kv->elem == GGUF_ARR)
            return ERR_FAIL(c->e, UNSUPPORTED,
                            "key '%.*s' is an array of arrays, which no known "
                            "model uses",
                            GGUF_NAME(kv->key));
    }
    return kv->elem == GGUF_STR ? parse_strings(c, a, kv) : parse_numbers(c, kv);
}

static enum err parse_metadata(struct cursor *c, struct arena *a, struct gguf *g)
{
    enum err r;

    g->kv = ARENA_NEW(a, struct gguf_kv, (size_t)g->n_kv);
    g->kv_names = ARENA_NEW(a, struct gguf_name, (size_t)g->n_kv);
    if (g->n_kv && (!g->kv || !g->kv_names))
        return ERR_FAIL(c->e, NOMEM, "no memory for %llu metadata keys",
                        (unsigned long long)g->n_kv);
    for (uint64_t i = 0; i < g->n_kv; i++) {
        if ((r = parse_kv(c, a, &g->kv[i]))) return r;
        g->kv_names[i] = (struct gguf_name){g->kv[i].key, (uint32_t)i};
    }
    return index_names(g->kv_names, g->n_kv, "metadata key", c->e);
}

static enum err check_alignment(struct cursor *c, struct gguf *g)
{
    enum err r;

    g->alignment = ALIGNMENT_DEFAULT;
    r = gguf_get_u32(g, "general.alignment", &g->alignment, c->e);
    if (r) return r;
    if (g->alignment < ALIGNMENT_MIN || g->alignment > ALIGNMENT_MAX ||
        (g->alignment & (g->alignment - 1)))
        return ERR_FAIL(c->e, FORMAT,
                        "general.alignment is %u; it must be a power of two from %d to %d",
                        g->alignment, ALIGNMENT_MIN, ALIGNMENT_MAX);
    return ERR_OK;
}

/* ---- tensors ---- */

static enum err parse_shape(struct cursor *c, struct gguf_tensor *t)
{
    uint64_t elements = 1;
    enum err r;

    if ((r = read_u32(c, &t->n_dims, "tensor", t->name))) return r;
    if (t->n_dims < 1 || t->n_dims > 4)
        return ERR_FAIL(c->e, FORMAT, "tensor '%.*s' has %u dimensions; 1 to 4 are allowed",
                        GGUF_NAME(t->name), t->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        t->dim[i] = 1;
        if (i < t->n_dims && (r = read_size(c, &t->dim[i], "tensor", t->name))) return r;
        if (t->dim[i] == 0)
            return ERR_FAIL(c->e, FORMAT, "tensor '%.*s' has no elements: dimension %u is 0",
                            GGUF_NAME(t->name), i);
        if (__builtin_mul_overflow(elements, t->dim[i], &elements) || elements > INT64_MAX)
            return ERR_FAIL(c->e, FORMAT, "tensor '%.*s' has more than 2^63 elements",
                            GGUF_NAME(t->name));
    }
    return ERR_OK;
}

static enum err parse_tensor(struct cursor *c, struct gguf_tensor *t)
{
    char unknown[48];
    uint64_t row;
    uint32_t id;
    enum err r;

    if ((r = read_str(c, &t->name, "tensor name", S(""))) ||
        (r = check_name(c, t->name, TENSOR_NAME_MAX, "tensor name")) || (r = parse_shape(c, t)) ||
        (r = read_u32(c, &id, "tensor", t->name)) ||
        (r = read_u64(c, &t->offset, "tensor", t->name)))
        return r;
    t->dtype = dtype_from_ggml(id);
    if (t->dtype == DTYPE_COUNT)
        return ERR_FAIL(c->e, UNSUPPORTED, "tensor '%.*s' is stored as %s, which is not supported",
                        GGUF_NAME(t->name), dtype_ggml_name(id, unknown));
    if (t->dim[0] % dtype_info(t->dtype)->elems)
        return ERR_FAIL(c->e, FORMAT,
                        "tensor '%.*s' has rows of %llu elements, not a multiple of the %u of a %s "
                        "block",
                        GGUF_NAME(t->name), (unsigned long long)t->dim[0],
                        dtype_info(t->dtype)->elems, dtype_info(t->dtype)->name);
    if (!dtype_row_bytes(t->dtype, t->dim[0], &row) ||
        __builtin_mul_overflow(row, t->dim[1] * t->dim[2] * t->dim[3], &t->bytes))
        return ERR_FAIL(c->e, FORMAT, "tensor '%.*s' is larger than 2^64 bytes",
                        GGUF_NAME(t->name));
    return ERR_OK;
}

/* Turns offsets from the data section into offsets from the start of the file. */
static enum err place_tensor(struct cursor *c, struct gguf *g, struct gguf_tensor *t, uint64_t data)
{
    uint64_t end;

    if (t->offset % g->alignment)
        return ERR_FAIL(c->e, FORMAT,
                        "tensor '%.*s' has offset %llu, which is not a multiple of "
                        "the alignment %u",
                        GGUF_NAME(t->name), (unsigned long long)t->offset, g->alignment);
    if (__builtin_add_overflow(t->offset, data, &t->offset) ||
        __builtin_add_overflow(t->offset, t->bytes, &end))
        return ERR_FAIL(c->e, FORMAT, "tensor '%.*s' has an offset past the end of any file",
                        GGUF_NAME(t->name));
    if (c->file_size && end > c->file_size)
        return ERR_FAIL(c->e, FORMAT,
                        "tensor '%.*s' ends at byte %llu, but the file has %llu: it is truncated "
                        "or damaged; fetch it again",
                        GGUF_NAME(t->name), (unsigned long long)end,
                        (unsigned long long)c->file_size);
    if (c->file_size && c->n == c->file_size) t->data = c->p + t->offset;
    return ERR_OK;
}

static int by_offset(const void *a, const void *b)
{
    uint64_t x = (*(const struct gguf_tensor *const *)a)->offset;
    uint64_t y = (*(const struct gguf_tensor *const *)b)->offset;

    return (x > y) - (x < y);
}

static enum err check_overlap(struct cursor *c, struct arena *a, const struct gguf *g)
{
    const struct gguf_tensor **order =
        ARENA_NEW(a, const struct gguf_tensor *, (size_t)g->n_tensors);
    bool sorted = true;

    if (g->n_tensors && !order) return ERR_FAIL(c->e, NOMEM, "no memory to compare tensors");
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        order[i] = &g->tensors[i];
        sorted = sorted && (i == 0 || order[i - 1]->offset <= order[i]->offset);
    }
    if (!sorted) qsort(order, (size_t)g->n_tensors, sizeof *order, by_offset);
    for (uint64_t i = 1; i < g->n_tensors; i++)
        if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes)
            return ERR_FAIL(c->e, FORMAT, "tensors '%.*s' and '%.*s' overlap",
                            GGUF_NAME(order[i - 1]->name), GGUF_NAME(order[i]->name));
    return ERR_OK;
}

static enum err parse_tensors(struct cursor *c, struct arena *a, struct gguf *g)
{
    uint64_t data;
    enum err r;

    g->tensors = ARENA_NEW(a, struct gguf_tensor, (size_t)g->n_tensors);
    if (g->n_tensors && !g->tensors)
        return ERR_FAIL(c->e, NOMEM, "no memory for %llu tensors",
                        (unsigned long long)g->n_tensors);
    for (uint64_t i = 0; i < g->n_tensors; i++)
        if ((r = parse_tensor(c, &g->tensors[i]))) return r;
    data = ((uint64_t)c->at + g->alignment - 1) & ~((uint64_t)g->alignment - 1);
    for (uint64_t i = 0; i < g->n_tensors; i++)
        if ((r = place_tensor(c, g, &g->tensors[i], data))) return r;
    if ((r = check_overlap(c, a, g))) return r;
    return gguf_index_tensors(g, a, c->e);
}

/* ---- header ---- */

static enum err parse_magic(struct cursor *c, struct gguf *g)
{
    static const char *const older[] = {"lmgg", "fmgg", "tjgg", "algg"}; /* as they lie in a file */
    uint32_t swapped;
    enum err r;

    if (c->n == 0 && c->file_size == 0) return more(c, 4, "the magic", S(""));
    if (c->n >= 4) {
        for (size_t i = 0; i < sizeof older / sizeof *older; i++)
            if (!memcmp(c->p, older[i], 4))
                return ERR_FAIL(c->e, UNSUPPORTED,
                                "this is a GGML file from before GGUF (2023); convert it first");
        if (!memcmp(c->p, "FUGG", 4))
            return ERR_FAIL(c->e, UNSUPPORTED,
                            "this GGUF file is big-endian; only little-endian "
                            "files are supported");
    }
    if (c->n && memcmp(c->p, "GGUF", c->n < 4 ? c->n : 4))
        return ERR_FAIL(c->e, FORMAT, "not a GGUF file: it does not begin with \"GGUF\"");
    if ((r = more(c, 4, "the magic", S("")))) return r;
    c->at = 4;
    if ((r = read_u32(c, &g->version, "the version", S("")))) return r;
    swapped = __builtin_bswap32(g->version);
    if (swapped >= 1 && swapped <= 3)
        return ERR_FAIL(c->e, UNSUPPORTED,
                        "this GGUF file is big-endian (version %u); only "
                        "little-endian files are supported",
                        swapped);
    if (g->version == 0) return ERR_FAIL(c->e, FORMAT, "GGUF version 0 does not exist");
    if (g->version > 3)
        return ERR_FAIL(c->e, UNSUPPORTED, "GGUF version %u is not supported; versions 1 to 3 are",
                        g->version);
    c->version = g->version;
    return ERR_OK;
}

/* A count against its cap and against the bytes that its entries take at least. */
static enum err check_count(struct cursor *c, uint64_t n, uint64_t cap, uint64_t least,
                            const char *what)
{
    if (n > cap || n > remaining(c) / least)
        return ERR_FAIL(c->e, FORMAT, "the GGUF header claims %llu %s; %s", (unsigned long long)n,
                        what,
                        n > cap ? "that is over the limit" : "the file is too short for them");
    return ERR_OK;
}

enum err gguf_parse(struct gguf *g, struct arena *a, const uint8_t *bytes, size_t n,
                    uint64_t file_size, uint64_t *need, struct err_info *e)
{
    struct cursor c = {.p = bytes, .n = n, .file_size = file_size, .need = need, .e = e};
    uint64_t size_bytes;
    enum err r;

    memset(g, 0, sizeof *g);
    if (file_size && n > file_size) c.n = (size_t)file_size;
    if ((r = parse_magic(&c, g)) || (r = read_size(&c, &g->n_tensors, "the tensor count", S(""))) ||
        (r = read_size(&c, &g->n_kv, "the metadata count", S(""))))
        return r;
    size_bytes = c.version > 1 ? 8 : 4;
    if ((r = check_count(&c, g->n_kv, LIMIT_GGUF_KV, size_bytes + 1 + 4 + 1, "metadata keys")) ||
        (r = check_count(&c, g->n_tensors, LIMIT_GGUF_TENSORS, 2 * size_bytes + 1 + 4 + 4 + 8,
                         "tensors")) ||
        (r = parse_metadata(&c, a, g)) || (r = check_alignment(&c, g)) ||
        (r = parse_tensors(&c, a, g)))
        return r;
    if (g->n_kv == 0)
        return ERR_FAIL(e, FORMAT,
                        "this GGUF file (version %u) has no metadata; a model has at "
                        "least general.architecture",
                        g->version);
    g->n_parts = 1;
    g->file_bytes = file_size;
    return ERR_OK;
}

/* ---- look-up ---- */

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    const struct gguf_name *n = find_name(g->kv_names, g->n_kv, str_c(key));

    return n ? &g->kv[n->at] : NULL;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, str name)
{
    const struct gguf_name *n = find_name(g->tensor_names, g->n_tensors, name);

    return n ? &g->tensors[n->at] : NULL;
}

static bool find_tensor(const void *owner, str name, struct plan_tensor *t, const void **data)
{
    const struct gguf *g = owner;
    const struct gguf_tensor *found = gguf_tensor(g, name);

    if (!found) return false;
    *t = (struct plan_tensor){
        .name = found->name,
        .file = (uint32_t)(found - g->tensors),
        .dtype = found->dtype,
        .rows = found->dim[1] * found->dim[2] * found->dim[3],
        .cols = found->dim[0],
        .n_parts = (uint32_t)(found->dim[2] * found->dim[3]),
    };
    if (data) *data = found->data;
    return true;
}

static str tensor_name(const void *owner, uint32_t i)
{
    const struct gguf *g = owner;

    return g->tensors[i].name;
}

struct plan_source gguf_source(const struct gguf *g)
{
    return (struct plan_source){find_tensor, tensor_name, (uint32_t)g->n_tensors, g};
}
