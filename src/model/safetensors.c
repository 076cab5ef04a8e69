/* safetensors: see safetensors.h. The format is that of huggingface/safetensors.
 *
 * The header becomes a JSON tree in an arena of its own, which is gone when the parser returns;
 * from each member one row is filled and checked. Then two sorts: by place, to see that the spans
 * follow each other exactly, and by name, to refuse duplicates and to find tensors.
 *
 * Left out: types of less than a byte (F4, F6), refused by name.
 */
#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"

/* The arguments of a "%.*s" for a name out of a file: long ones are cut. */
#define NAME(s) (int)((s).n > 80 ? 80 : (s).n), (s).p

enum { LENGTH_BYTES = 8 };

static const struct safetensors_type types[] = {
    {"F32", 4, "f32"},         {"F16", 2, "f16"},         {"BF16", 2, "bf16"}, {"F64", 8, "f64"},
    {"F8_E4M3", 1, "f8_e4m3"}, {"F8_E5M2", 1, "f8_e5m2"}, {"I8", 1, "i8"},     {"I16", 2, "i16"},
    {"I32", 4, "i32"},         {"I64", 8, "i64"},         {"U8", 1, NULL},     {"U16", 2, NULL},
    {"U32", 4, NULL},          {"U64", 8, NULL},          {"BOOL", 1, NULL},   {"F8_E8M0", 1, NULL},
    {"C64", 8, NULL},
};

struct parser {
    const uint8_t *data; /* behind the header; NULL: only the header is there */
    uint64_t n;          /* bytes behind it */
    struct arena *a;
    struct err_info *e;
};

/* A whole number of at least 0 that the JSON holds exactly. */
static bool read_size(const struct json *v, uint64_t *out)
{
    if (!v || (v->type != JSON_INT && v->type != JSON_UINT)) return false;
    if (v->type == JSON_INT && v->i < 0) return false;
    *out = v->type == JSON_INT ? (uint64_t)v->i : v->u;
    return true;
}

static enum err read_type(struct parser *p, const struct json *v, struct safetensors_tensor *t)
{
    str name = json_str(v, S(""));

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!str_eqc(name, types[i].name)) continue;
        t->type = &types[i];
        t->dtype = types[i].dtype ? dtype_from_name(str_c(types[i].dtype)) : DTYPE_COUNT;
        return ERR_OK;
    }
    if (!v || v->type != JSON_STR)
        return ERR_FAIL(p->e, FORMAT, "tensor '%.*s' has no dtype", NAME(t->name));
    return ERR_FAIL(p->e, UNSUPPORTED,
                    "tensor '%.*s' is stored as %.*s, which is not supported; F32, F16, BF16, "
                    "F8_E4M3 and F8_E5M2 weights are",
                    NAME(t->name), NAME(name));
}

static enum err read_shape(struct parser *p, const struct json *v, struct safetensors_tensor *t)
{
    if (!v || v->type != JSON_ARR)
        return ERR_FAIL(p->e, FORMAT, "tensor '%.*s' has no shape", NAME(t->name));
    if (v->n > SAFETENSORS_DIMS)
        return ERR_FAIL(p->e, FORMAT, "tensor '%.*s' has %zu dimensions; at most %d are allowed",
                        NAME(t->name), v->n, SAFETENSORS_DIMS);
    t->n_dims = (uint32_t)v->n;
    t->elems = 1;
    for (size_t i = 0; i < v->n; i++) {
        if (!read_size(&v->items[i], &t->dim[i]))
            return ERR_FAIL(p->e, FORMAT, "dimension %zu of tensor '%.*s' is not a size", i,
                            NAME(t->name));
        if (__builtin_mul_overflow(t->elems, t->dim[i], &t->elems) || t->elems > INT64_MAX)
            return ERR_FAIL(p->e, FORMAT, "tensor '%.*s' has more than 2^63 elements",
                            NAME(t->name));
    }
    return ERR_OK;
}

static enum err read_span(struct parser *p, const struct json *v, struct safetensors_tensor *t)
{
    uint64_t begin, end;

    if (!v || v->type != JSON_ARR || v->n != 2 || !read_size(&v->items[0], &begin) ||
        !read_size(&v->items[1], &end))
        return ERR_FAIL(p->e, FORMAT, "tensor '%.*s' has no data_offsets", NAME(t->name));
    if (begin > end || end > p->n)
        return ERR_FAIL(p->e, FORMAT,
                        "tensor '%.*s' lies at bytes %llu to %llu, but the file has %llu bytes of "
                        "data: it is truncated or damaged; fetch it again",
                        NAME(t->name), (unsigned long long)begin, (unsigned long long)end,
                        (unsigned long long)p->n);
    if (__builtin_mul_overflow(t->elems, t->type->bytes, &t->bytes) || t->bytes != end - begin)
        return ERR_FAIL(p->e, FORMAT,
                        "tensor '%.*s' has %llu elements of %s, but a span of %llu bytes",
                        NAME(t->name), (unsigned long long)t->elems, t->type->name,
                        (unsigned long long)(end - begin));
    t->at = begin;
    t->data = p->data ? p->data + begin : NULL;
    return ERR_OK;
}

static enum err read_tensor(struct parser *p, const struct json *v, struct safetensors_tensor *t)
{
    enum err r;

    if (v->key.n == 0 || v->key.n > LIMIT_ST_NAME || memchr(v->key.p, 0, v->key.n))
        return ERR_FAIL(p->e, FORMAT, "tensor name '%.*s' is not text of 1 to %d bytes",
                        NAME(v->key), LIMIT_ST_NAME);
    t->name = v->key;
    if (v->type != JSON_OBJ)
        return ERR_FAIL(p->e, FORMAT, "the header describes tensor '%.*s' by %s, not an object",
                        NAME(t->name), json_type_name(v->type));
    for (size_t i = 0; i < v->n; i++) {
        str k = v->items[i].key;

        if (!str_eqc(k, "dtype") && !str_eqc(k, "shape") && !str_eqc(k, "data_offsets"))
            return ERR_FAIL(p->e, FORMAT, "tensor '%.*s' has an unknown member '%.*s'",
                            NAME(t->name), NAME(k));
    }
    if (v->n != 3)
        return ERR_FAIL(p->e, FORMAT,
                        "tensor '%.*s' has %zu members; dtype, shape and data_offsets, each once, "
                        "are needed",
                        NAME(t->name), v->n);
    if ((r = read_type(p, json_get(v, "dtype"), t)) ||
        (r = read_shape(p, json_get(v, "shape"), t)) ||
        (r = read_span(p, json_get(v, "data_offsets"), t)))
        return r;
    t->name = arena_str(p->a, v->key);
    return t->name.p ? ERR_OK : ERR_FAIL(p->e, NOMEM, "no memory for tensor names");
}

/* ---- the directory ---- */

static int by_place(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;

    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct safetensors_tensor *)a)->name,
                   ((const struct safetensors_tensor *)b)->name);
}

static enum err check_cover(struct parser *p, struct safetensors *s)
{
    uint64_t at = 0;

    if (s->n) qsort(s->tensors, s->n, sizeof *s->tensors, by_place);
    for (size_t i = 0; i < s->n; i++) {
        const struct safetensors_tensor *t = &s->tensors[i];
        uint64_t begin = t->at;

        if (begin != at)
            return ERR_FAIL(p->e, FORMAT,
                            "tensor '%.*s' begins at byte %llu of the data where byte %llu is "
                            "due: tensors %s",
                            NAME(t->name), (unsigned long long)begin, (unsigned long long)at,
                            begin < at ? "overlap" : "leave a hole");
        at = begin + t->bytes;
    }
    if (at != p->n)
        return ERR_FAIL(p->e, FORMAT,
                        "the tensors end at byte %llu of the data, but there are %llu bytes",
                        (unsigned long long)at, (unsigned long long)p->n);
    return ERR_OK;
}

static enum err check_names(struct parser *p, struct safetensors *s)
{
    if (s->n) qsort(s->tensors, s->n, sizeof *s->tensors, by_name);
    for (size_t i = 1; i < s->n; i++)
        if (str_eq(s->tensors[i - 1].name, s->tensors[i].name))
            return ERR_FAIL(p->e, FORMAT, "tensor '%.*s' occurs twice", NAME(s->tensors[i].name));
    return ERR_OK;
}

static enum err check_metadata(struct parser *p, const struct json *v)
{
    bool good = v->type == JSON_OBJ;

    for (size_t i = 0; good && i < v->n; i++)
        good = v->items[i].type == JSON_STR;
    return good ? ERR_OK
                : ERR_FAIL(p->e, FORMAT, "__metadata__ is not an object that holds strings only");
}

static enum err read_header(struct parser *p, struct safetensors *s, const struct json *h)
{
    enum err r;

    if (h->n > LIMIT_ST_TENSORS)
        return ERR_FAIL(p->e, FORMAT, "the header names %zu tensors; at most %u are allowed", h->n,
                        LIMIT_ST_TENSORS);
    s->tensors = ARENA_NEW(p->a, struct safetensors_tensor, h->n);
    if (h->n && !s->tensors) return ERR_FAIL(p->e, NOMEM, "no memory for %zu tensors", h->n);
    for (size_t i = 0; i < h->n; i++) {
        const struct json *v = &h->items[i];

        if (str_eqc(v->key, "__metadata__") && v == json_get(h, "__metadata__"))
            r = check_metadata(p, v);
        else
            r = read_tensor(p, v, &s->tensors[s->n++]);
        if (r) return r;
    }
    if ((r = check_cover(p, s))) return r;
    return check_names(p, s);
}

/* A file of file_bytes, the first n of which are there: all of them, or the header. */
static enum err parse(struct safetensors *s, struct parser *p, const uint8_t *bytes, size_t n,
                      uint64_t file_bytes, uint64_t *len)
{
    struct err_info *e = p->e;
    const struct json *header;
    struct arena tree;
    enum err r;

    *s = (struct safetensors){0};
    *len = 0;
    if (file_bytes < LENGTH_BYTES + 2 || n < LENGTH_BYTES + 1)
        return ERR_FAIL(e, FORMAT, "not a SafeTensors file: it has only %llu bytes",
                        (unsigned long long)file_bytes);
    memcpy(len, bytes, sizeof *len);
    if (*len > LIMIT_ST_HEADER)
        return ERR_FAIL(e, FORMAT,
                        "not a SafeTensors file: its header would have %llu bytes; at most %d are "
                        "allowed",
                        (unsigned long long)*len, LIMIT_ST_HEADER);
    if (*len > file_bytes - LENGTH_BYTES)
        return ERR_FAIL(e, FORMAT,
                        "truncated SafeTensors file: the header has %llu bytes, the file only %llu",
                        (unsigned long long)*len, (unsigned long long)file_bytes);
    if (bytes[LENGTH_BYTES] != '{')
        return ERR_FAIL(e, FORMAT, "not a SafeTensors file: its header does not begin with '{'");
    if (*len > n - LENGTH_BYTES)
        return ERR_FAIL(e, LIMIT, "the header has %llu bytes", (unsigned long long)*len);
    if (p->data) p->data = bytes + LENGTH_BYTES + *len;
    p->n = file_bytes - LENGTH_BYTES - *len;
    arena_init(&tree, LIMIT_ST_ARENA);
    r = json_parse(&tree, (str){(const char *)bytes + LENGTH_BYTES, (size_t)*len}, &header, e);
    if (!r) r = read_header(p, s, header);
    arena_fini(&tree);
    return r;
}

enum err safetensors_parse(struct safetensors *s, struct arena *a, const uint8_t *bytes, size_t n,
                           struct err_info *e)
{
    struct parser p = {.a = a, .e = e, .data = bytes};
    uint64_t len;

    return parse(s, &p, bytes, n, n, &len);
}

enum err safetensors_parse_header(struct safetensors *s, struct arena *a, const uint8_t *bytes,
                                  size_t n, uint64_t file_bytes, uint64_t *need, struct err_info *e)
{
    struct parser p = {.a = a, .e = e};
    uint64_t len;
    enum err r = parse(s, &p, bytes, n, file_bytes, &len);

    *need = LENGTH_BYTES + len;
    return r;
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *s, str name)
{
    struct safetensors_tensor key = {.name = name};

    return s->n ? bsearch(&key, s->tensors, s->n, sizeof key, by_name) : NULL;
}
