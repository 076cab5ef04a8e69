/* test_safetensors: the reader against tiny real files of every type, and against one crafted file
 * for each fault it must name. */
#include "tap.h"

#include <dirent.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/safetensors.h"

static buf file;

/* A file of this header and n bytes of data, counting up. */
static void make(const char *header, size_t n)
{
    uint64_t len = strlen(header);

    buf_clear(&file);
    buf_put(&file, &len, sizeof len);
    buf_c(&file, header);
    for (size_t i = 0; i < n; i++)
        buf_ch(&file, (char)i);
}

static enum err parse(struct safetensors *s, struct arena *a, struct err_info *e)
{
    arena_init(a, MIB(64));
    *e = (struct err_info){0};
    return safetensors_parse(s, a, (const uint8_t *)file.p, file.n, e);
}

/* ---- faults ---- */

#define T(name, type, shape, span)                                                                 \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" span "}"

static const struct fault {
    const char *what, *header;
    size_t data;
    const char *says; /* part of the message */
} faults[] = {
    {"text instead of a header", "not json, surely", 0, "does not begin with '{'"},
    {"broken JSON", "{\"a\":", 0, "JSON ends"},
    {"something behind the object", "{} {}", 0, "JSON has '{'"},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "unknown member 'x'"},
    {"no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "has 2 members"},
    {"a member twice",
     "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "has 4 members"},
    {"a type that is a number", "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "has no dtype"},
    {"an unknown type", "{" T("a", "F4", "[1]", "[0,4]") "}", 4, "is stored as F4"},
    {"a shape that is no list", "{" T("a", "F32", "4", "[0,4]") "}", 4, "has no shape"},
    {"a negative dimension", "{" T("a", "F32", "[-1]", "[0,4]") "}", 4, "is not a size"},
    {"a fraction as dimension", "{" T("a", "F32", "[1.5]", "[0,4]") "}", 4, "is not a size"},
    {"nine dimensions", "{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4,
     "has 9 dimensions"},
    {"a product past 2^63", "{" T("a", "F32", "[4294967296,4294967296]", "[0,4]") "}", 4,
     "more than 2^63"},
    {"bytes past 2^64", "{" T("a", "F32", "[4611686018427387905]", "[0,4]") "}", 4,
     "but a span of 4 bytes"},
    {"offsets that are no pair", "{" T("a", "F32", "[1]", "[0]") "}", 4, "has no data_offsets"},
    {"a span that ends before it begins", "{" T("a", "F32", "[1]", "[4,0]") "}", 4,
     "lies at bytes"},
    {"a span past the end", "{" T("a", "F32", "[2]", "[0,8]") "}", 4, "truncated or damaged"},
    {"a span too short for the shape", "{" T("a", "F32", "[2]", "[0,4]") "}", 4,
     "has 2 elements of F32"},
    {"a span too long for the shape", "{" T("a", "F32", "[1]", "[0,8]") "}", 8,
     "but a span of 8 bytes"},
    {"overlapping spans", "{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[1]", "[4,8]") "}",
     8, "tensors overlap"},
    {"the same span twice", "{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[0,4]") "}",
     4, "tensors overlap"},
    {"a hole", "{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12,
     "leave a hole"},
    {"a hole at the beginning", "{" T("a", "F32", "[1]", "[4,8]") "}", 8, "leave a hole"},
    {"bytes behind the last tensor", "{" T("a", "F32", "[1]", "[0,4]") "}", 8, "end at byte 4"},
    {"a tensor twice", "{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8,
     "'a' occurs twice"},
    {"a tensor without a name", "{" T("", "F32", "[1]", "[0,4]") "}", 4, "is not text of 1 to"},
    {"a NUL in a name", "{" T("a\\u0000b", "F32", "[1]", "[0,4]") "}", 4, "is not text of 1 to"},
    {"a tensor that is a number", "{\"a\":1}", 0, "by integer, not an object"},
    {"metadata that is a list", "{\"__metadata__\":[]}", 0, "__metadata__ is not"},
    {"metadata that holds a number", "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ is not"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "has 0 members"},
};

static void refuse(const char *what, const char *says)
{
    struct safetensors s;
    struct err_info e;
    struct arena a;
    enum err r = parse(&s, &a, &e);

    if (!ok(r != ERR_OK && r != ERR_NOMEM && strstr(e.text, says), "refused: %s", what))
        printf("# says: %s\n", e.text);
    arena_fini(&a);
}

static void test_faults(void)
{
    uint64_t len = LIMIT_ST_HEADER + 1;

    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        make(faults[i].header, faults[i].data);
        refuse(faults[i].what, faults[i].says);
    }
    buf_clear(&file);
    buf_c(&file, "short");
    refuse("a file of five bytes", "only 5 bytes");
    buf_clear(&file);
    refuse("an empty file", "only 0 bytes");
    make("{}        ", 0);
    memcpy(file.p, &len, sizeof len);
    refuse("a header over 100 MB", "at most 100000000");
    len = 1000;
    memcpy(file.p, &len, sizeof len);
    refuse("a header longer than the file", "truncated SafeTensors");
}

/* ---- what is right ---- */

static void test_good(void)
{
    struct safetensors s;
    struct err_info e;
    struct arena a;
    const struct safetensors_tensor *t;

    make("{" T("z", "BF16", "[2,3]", "[4,16]") "," T("a", "F32", "[]", "[0,4]") "," T(
             "none", "F32", "[0,7]", "[16,16]") ",\"__metadata__\":{\"format\":\"pt\"}}   ",
         16);
    ok(parse(&s, &a, &e) == ERR_OK, "a scalar, an empty tensor, metadata and padding");
    is_int(s.n, 3, "three tensors");
    t = safetensors_find(&s, S("z"));
    if (ok(t != NULL, "found by name")) {
        ok(t->n_dims == 2 && t->dim[0] == 2 && t->dim[1] == 3 && t->elems == 6 && t->bytes == 12,
           "its shape");
        ok(t->dtype == DTYPE_BF16 && t->data[0] == 4 && t->data[11] == 15, "its type and bytes");
    }
    t = safetensors_find(&s, S("a"));
    ok(t && t->n_dims == 0 && t->elems == 1, "a scalar has one element");
    t = safetensors_find(&s, S("none"));
    ok(t && t->elems == 0 && t->bytes == 0, "an empty tensor has none");
    ok(!safetensors_find(&s, S("b")), "an unknown name is not found");
    arena_fini(&a);
    make("{}", 0);
    ok(parse(&s, &a, &e) == ERR_OK && s.n == 0, "a file without tensors");
    ok(!safetensors_find(&s, S("a")), "has none");
    arena_fini(&a);
}

/* Every cut of a good file is refused, without a look past its end. */
static void test_cuts(void)
{
    size_t whole, refused = 0;

    make("{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F16", "[2,1]", "[8,12]") "}", 12);
    whole = file.n;
    for (size_t n = 0; n < whole; n++) {
        uint8_t *copy = mem_alloc(n ? n : 1);
        struct safetensors s;
        struct err_info e;
        struct arena a;

        if (!copy) break;
        memcpy(copy, file.p, n);
        arena_init(&a, MIB(1));
        refused += safetensors_parse(&s, &a, copy, n, &e) != ERR_OK;
        arena_fini(&a);
        mem_free(copy);
    }
    is_int(refused, whole, "every cut of a file is refused");
}

static void test_real(void)
{
    const char *dir = tap_data("safetensors");
    DIR *d = dir ? opendir(dir) : NULL;
    struct dirent *ent;

    if (!d) {
        skip("no SafeTensors files here");
        return;
    }
    while ((ent = readdir(d))) {
        struct safetensors s;
        struct err_info e = {0};
        struct arena a;
        struct map m;
        char path[512];

        if (!str_ends(str_c(ent->d_name), S(".safetensors"))) continue;
        snprintf(path, sizeof path, "%s/%s", dir, ent->d_name);
        if (map_open(&m, path, &e)) continue;
        arena_init(&a, MIB(1));
        if (!ok(!safetensors_parse(&s, &a, m.p, m.n, &e) && s.n > 0, "%s", ent->d_name))
            printf("# %s\n", e.text);
        arena_fini(&a);
        map_close(&m);
    }
    closedir(d);
}

int main(void)
{
    buf_init(&file, MIB(1));
    test_good();
    test_faults();
    test_cuts();
    test_real();
    buf_fini(&file);
    return tap_end();
}
