/* test_gguf: headers built in memory, one hostile fault each, and the real files of the shared
 * data. */
#include "tap.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "model/gguf_write.h"

/* ---- building headers ---- */

static uint32_t version;

static void put_u32(buf *b, uint32_t v)
{
    buf_put(b, &v, sizeof v);
}

static void put_u64(buf *b, uint64_t v)
{
    buf_put(b, &v, sizeof v);
}

static void put_size(buf *b, uint64_t v)
{
    if (version == 1)
        put_u32(b, (uint32_t)v);
    else
        put_u64(b, v);
}

static void put_str(buf *b, str s)
{
    put_size(b, s.n);
    buf_str(b, s);
}

static void begin(buf *b, uint32_t v, uint64_t n_tensors, uint64_t n_kv)
{
    buf_clear(b);
    version = v;
    buf_c(b, "GGUF");
    put_u32(b, v);
    put_size(b, n_tensors);
    put_size(b, n_kv);
}

static void put_key(buf *b, const char *key, enum gguf_type t)
{
    put_str(b, str_c(key));
    put_u32(b, t);
}

static void put_kv_u32(buf *b, const char *key, uint32_t v)
{
    put_key(b, key, GGUF_U32);
    put_u32(b, v);
}

static void put_kv_str(buf *b, const char *key, const char *v)
{
    put_key(b, key, GGUF_STR);
    put_str(b, str_c(v));
}

static void put_tensor(buf *b, const char *name, uint64_t cols, uint64_t rows, uint32_t type,
                       uint64_t offset)
{
    put_str(b, str_c(name));
    put_u32(b, 2);
    put_size(b, cols);
    put_size(b, rows);
    put_u32(b, type);
    put_u64(b, offset);
}

static void pad(buf *b, size_t align)
{
    while (b->n % align)
        buf_ch(b, 0);
}

static void zeros(buf *b, size_t n)
{
    while (n--)
        buf_ch(b, 0);
}

/* ---- running the parser ---- */

static struct arena arena;
static struct gguf g;
static struct err_info e;

/* Parses a copy of exact size, so that a sanitizer sees a read past its end. */
static enum err parse(const buf *b)
{
    uint8_t *p = mem_need(b->n + 1);
    static uint8_t *last;
    enum err r;

    mem_free(last);
    last = p;
    memcpy(p, b->p, b->n);
    arena_fini(&arena);
    arena_init(&arena, LIMIT_GGUF_ARENA);
    r = gguf_parse(&g, &arena, p, b->n, b->n, NULL, &e);
    return r;
}

static void refused(const buf *b, enum err code, const char *words, const char *what)
{
    enum err r = parse(b);

    if (!ok(r == code && strstr(e.text, words), "refused: %s", what))
        printf("#   got %s: %s\n", err_name(r), r ? e.text : "");
}

static void test_versions(void)
{
    buf b;

    buf_init(&b, MIB(1));
    for (uint32_t v = 1; v <= 3; v++) {
        uint64_t i64 = (uint64_t)-5;
        const struct gguf_tensor *t;
        const str *strs;
        const float *f;
        const int32_t *ints;
        size_t n;
        uint32_t u = 7;
        float x = 0;
        bool yes = false;
        str s = {0};

        begin(&b, v, 2, 9);
        put_kv_str(&b, "general.architecture", "llama");
        put_kv_u32(&b, "general.alignment", 64);
        put_key(&b, "a.u16", GGUF_U16);
        buf_put(&b, "\x34\x12", 2);
        put_key(&b, "a.i64", GGUF_I64);
        put_u64(&b, i64);
        put_key(&b, "a.f64", GGUF_F64);
        buf_put(&b, &(double){0.5}, 8);
        put_key(&b, "a.bool", GGUF_BOOL);
        buf_ch(&b, 1);
        put_key(&b, "a.strs", GGUF_ARR);
        put_u32(&b, GGUF_STR);
        put_size(&b, 3);
        put_str(&b, S("one"));
        put_str(&b, S(""));
        put_str(&b, S("three"));
        put_key(&b, "a.floats", GGUF_ARR);
        put_u32(&b, GGUF_F32);
        put_size(&b, 2);
        buf_put(&b, &(float[]){1.5f, -2}, 8);
        put_key(&b, "a.bytes", GGUF_ARR);
        put_u32(&b, GGUF_I8);
        put_size(&b, 3);
        buf_put(&b, "\x01\xff\x80", 3);
        put_tensor(&b, "w", 32, 2, 2, 0);
        put_tensor(&b, "n", 4, 1, 0, 64);
        pad(&b, 64);
        zeros(&b, 64 + 16);

        is_int(parse(&b), ERR_OK, "a small file parses");
        is_int(g.version, v, "version");
        is_int(g.alignment, 64, "alignment");
        is_int(gguf_get_u32(&g, "a.u16", &u, &e), ERR_OK, "u16 reads as u32");
        is_int(u, 0x1234, "its value");
        is_int(gguf_get_u32(&g, "none", &u, &e), ERR_OK, "an absent key is no error");
        is_int(u, 0x1234, "and keeps the default");
        is_int(gguf_get_u32(&g, "a.i64", &u, &e), ERR_FORMAT, "-5 is no u32");
        ok(strstr(e.text, "a.i64"), "the message names the key: %s", e.text);
        ok(!gguf_get_f32(&g, "a.f64", &x, &e) && x == 0.5f, "f64 reads as f32");
        ok(!gguf_get_f32(&g, "a.i64", &x, &e) && x == -5.0f, "an integer reads as f32");
        ok(!gguf_get_bool(&g, "a.bool", &yes, &e) && yes, "bool");
        is_int(gguf_get_bool(&g, "a.u16", &yes, &e), ERR_FORMAT, "a u16 is no bool");
        is_int(gguf_get_str(&g, "general.architecture", &s, &e), ERR_OK, "string");
        is_str(s, S("llama"), "its bytes");
        is_int(gguf_get_str(&g, "a.strs", &s, &e), ERR_FORMAT, "an array is no string");
        ok(!gguf_get_strs(&g, "a.strs", &strs, &n, &e) && n == 3, "array of strings");
        is_str(strs[2], S("three"), "its last element");
        is_int(gguf_get_strs(&g, "a.floats", &strs, &n, &e), ERR_FORMAT, "floats are no strings");
        ok(!gguf_get_f32s(&g, &arena, "a.floats", &f, &n, &e) && n == 2 && f[1] == -2, "floats");
        ok(!gguf_get_i32s(&g, &arena, "a.bytes", &ints, &n, &e) && n == 3 && ints[1] == -1 &&
               ints[2] == -128,
           "bytes as integers");
        is_int(gguf_get_i32s(&g, &arena, "a.floats", &ints, &n, &e), ERR_FORMAT,
               "floats are no integers");
        t = gguf_tensor(&g, S("n"));
        ok(t && t->dtype == DTYPE_F32 && t->bytes == 16 && t->dim[0] == 4 && t->dim[3] == 1 &&
               t->offset % 64 == 0 && t->offset + 16 == b.n && t->data,
           "tensor found");
        ok(!gguf_tensor(&g, S("nn")), "no such tensor");
    }
    buf_fini(&b);
}

static void test_partial(void)
{
    buf b;
    uint64_t need = 0;
    enum err r = ERR_LIMIT;
    size_t n = 0, rounds = 0;

    buf_init(&b, MIB(1));
    begin(&b, 3, 1, 2);
    put_kv_str(&b, "general.architecture", "llama");
    put_kv_u32(&b, "x.y", 3);
    put_tensor(&b, "w", 32, 2, 2, 0);
    pad(&b, 32);
    zeros(&b, 36);
    for (int known = 0; known < 2; known++) {
        uint64_t size = known ? b.n : 0;
        bool grows = true;

        for (n = 0, rounds = 0, r = ERR_LIMIT; r == ERR_LIMIT && rounds < 100; rounds++) {
            arena_fini(&arena);
            arena_init(&arena, LIMIT_GGUF_ARENA);
            r = gguf_parse(&g, &arena, (uint8_t *)b.p, n, size, &need, &e);
            if (r != ERR_LIMIT) break;
            grows = grows && need > n && (!known || need <= b.n);
            n = need < b.n ? (size_t)need : b.n;
        }
        ok(r == ERR_OK && grows && rounds < 20, "a header fetched in pieces, size %s (%zu rounds)",
           known ? "known" : "unknown", rounds);
    }
    for (size_t cut = 1; cut < b.n; cut++) {
        buf c = {.cap = MIB(1)};

        buf_put(&c, b.p, cut);
        r = parse(&c);
        buf_fini(&c);
        if (r != ERR_FORMAT) break;
    }
    is_int(r, ERR_FORMAT, "a file cut at any byte is refused as malformed");
    buf_fini(&b);
}

/* ---- faults ---- */

static void head_faults(buf *b)
{
    buf_clear(b);
    buf_c(b, "GG");
    refused(b, ERR_FORMAT, "truncated", "two bytes");
    buf_clear(b);
    buf_c(b, "PK\3\4 a zip file, not a model");
    refused(b, ERR_FORMAT, "not a GGUF file", "another format");
    buf_clear(b);
    buf_c(b, "tjgg old file");
    refused(b, ERR_UNSUPPORTED, "before GGUF", "GGJT");
    begin(b, 1, 0, 0);
    refused(b, ERR_FORMAT, "no metadata", "no metadata");
    begin(b, 4, 0, 0);
    refused(b, ERR_UNSUPPORTED, "version 4", "a later version");
    begin(b, 0, 0, 0);
    refused(b, ERR_FORMAT, "version 0", "version 0");
    begin(b, 0x03000000, 0, 0);
    refused(b, ERR_UNSUPPORTED, "big-endian", "big-endian");
    begin(b, 3, 0, 1000);
    refused(b, ERR_FORMAT, "1000 metadata keys", "more keys than bytes");
    begin(b, 3, 0, UINT64_MAX);
    refused(b, ERR_FORMAT, "metadata keys; that is over", "2^64 - 1 keys");
    begin(b, 3, UINT64_MAX / 2, 0);
    refused(b, ERR_FORMAT, "tensors; that is over", "2^63 - 1 tensors");
    begin(b, 3, 2, 0);
    zeros(b, 30);
    refused(b, ERR_FORMAT, "2 tensors; the file is too short", "more tensors than bytes");
}

static void key_faults(buf *b)
{
    begin(b, 3, 0, 2);
    put_kv_u32(b, "a.b", 1);
    put_kv_u32(b, "a.b", 1);
    refused(b, ERR_FORMAT, "'a.b' occurs twice", "a key twice");
    begin(b, 3, 0, 1);
    put_kv_u32(b, "", 1);
    refused(b, ERR_FORMAT, "0 bytes long", "an empty key");
    begin(b, 3, 0, 1);
    put_u64(b, UINT64_MAX);
    zeros(b, 32);
    refused(b, ERR_FORMAT, "truncated", "a key of 2^64 - 1 bytes");
    begin(b, 3, 0, 1);
    put_u64(b, 70000);
    for (int i = 0; i < 70000; i++)
        buf_ch(b, 'k');
    put_u32(b, GGUF_U8);
    buf_ch(b, 1);
    refused(b, ERR_FORMAT, "70000 bytes long", "a key of 70,000 bytes");
    begin(b, 3, 0, 1);
    put_kv_u32(b, "bad\xff", 1);
    refused(b, ERR_FORMAT, "is not text", "a key that is not UTF-8");
    begin(b, 3, 0, 1);
    put_key(b, "a.b", (enum gguf_type)13);
    put_u64(b, 0);
    refused(b, ERR_FORMAT, "'a.b' has value type 13", "an unknown value type");
    begin(b, 3, 0, 1);
    put_key(b, "a.b", GGUF_BOOL);
    buf_ch(b, 2);
    refused(b, ERR_FORMAT, "'a.b' holds the byte 2", "a bool of 2");
    begin(b, 3, 0, 1);
    put_key(b, "a.b", GGUF_STR);
    put_u64(b, UINT64_MAX - 7);
    refused(b, ERR_FORMAT, "key a.b at", "a string longer than memory");
    begin(b, 3, 0, 1);
    put_key(b, "a.b", GGUF_ARR);
    put_u32(b, GGUF_U64);
    put_u64(b, UINT64_MAX / 8 + 2);
    zeros(b, 64);
    refused(b, ERR_FORMAT, "'a.b' claims", "an array whose size wraps");
    begin(b, 3, 0, 1);
    put_key(b, "a.b", GGUF_ARR);
    put_u32(b, GGUF_STR);
    put_u64(b, (uint64_t)1 << 61);
    zeros(b, 64);
    refused(b, ERR_FORMAT, "'a.b' claims", "an array of 2^61 strings");
    begin(b, 3, 0, 1);
    put_key(b, "a.b", GGUF_ARR);
    put_u32(b, GGUF_STR);
    put_u64(b, 2);
    put_str(b, S("x"));
    put_u64(b, 100);
    refused(b, ERR_FORMAT, "key a.b at", "a string of an array past the end");
    begin(b, 3, 0, 1);
    put_key(b, "a.b", GGUF_ARR);
    put_u32(b, GGUF_ARR);
    put_u64(b, 1);
    zeros(b, 64);
    refused(b, ERR_UNSUPPORTED, "'a.b' is an array of arrays", "nested arrays");
    for (uint32_t a = 0; a < 100; a = a ? a * 3 : 1) {
        begin(b, 3, 0, 1);
        put_kv_u32(b, "general.alignment", a);
        refused(b, ERR_FORMAT, "general.alignment is", "an alignment that is no power of two >= 8");
    }
    begin(b, 3, 0, 1);
    put_kv_str(b, "general.alignment", "32");
    refused(b, ERR_FORMAT, "'general.alignment' holds a value of type string", "alignment as text");
}

static void finish(buf *b, size_t data)
{
    pad(b, 32);
    zeros(b, data);
}

static void tensor_faults(buf *b)
{
    uint64_t huge[4] = {(uint64_t)1 << 32, (uint64_t)1 << 31, 2, 1};

    begin(b, 3, 2, 0);
    put_tensor(b, "w", 32, 1, 0, 0);
    put_tensor(b, "w", 32, 1, 0, 128);
    finish(b, 256);
    refused(b, ERR_FORMAT, "'w' occurs twice", "a tensor twice");
    for (uint32_t dims = 0; dims <= 5; dims += 5) {
        begin(b, 3, 1, 0);
        put_str(b, S("w"));
        put_u32(b, dims);
        finish(b, 256);
        refused(b, ERR_FORMAT, "1 to 4 are allowed", "0 and 5 dimensions");
    }
    begin(b, 3, 1, 0);
    put_tensor(b, "w", 32, 0, 0, 0);
    finish(b, 256);
    refused(b, ERR_FORMAT, "dimension 1 is 0", "a dimension of 0");
    begin(b, 3, 1, 0);
    put_str(b, S("w"));
    put_u32(b, 4);
    for (int i = 0; i < 4; i++)
        put_u64(b, huge[i]);
    put_u32(b, 0);
    put_u64(b, 0);
    finish(b, 256);
    refused(b, ERR_FORMAT, "more than 2^63 elements", "a product that overflows");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", (uint64_t)1 << 31, (uint64_t)1 << 31, 0, 0);
    finish(b, 256);
    refused(b, ERR_FORMAT, "larger than 2^64", "2^64 bytes");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", (uint64_t)1 << 31, (uint64_t)1 << 31, 28, 0);
    finish(b, 256);
    refused(b, ERR_FORMAT, "'w'", "2^65 bytes");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", 33, 1, 2, 0);
    finish(b, 256);
    refused(b, ERR_FORMAT, "not a multiple of the 32 of a q4_0", "a row that is no whole block");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", 32, 1, 4, 0);
    finish(b, 256);
    refused(b, ERR_UNSUPPORTED, "removed from ggml", "Q4_2");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", 32, 1, 137, 0);
    finish(b, 256);
    refused(b, ERR_UNSUPPORTED, "ik_llama", "a private type");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", 32, 1, UINT32_MAX, 0);
    finish(b, 256);
    refused(b, ERR_UNSUPPORTED, "'w' is stored as type 4294967295", "an unknown type");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", 32, 1, 0, 16);
    finish(b, 256);
    refused(b, ERR_FORMAT, "not a multiple of the alignment", "an offset that is not aligned");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", 32, 1, 0, 160);
    finish(b, 256);
    refused(b, ERR_FORMAT, "'w' ends at byte", "an end outside the file");
    begin(b, 3, 1, 0);
    put_tensor(b, "w", 32, 1, 0, UINT64_MAX - 31);
    finish(b, 256);
    refused(b, ERR_FORMAT, "past the end of any file", "an offset that wraps");
    begin(b, 3, 2, 0);
    put_tensor(b, "w2", 32, 2, 0, 96);
    put_tensor(b, "w1", 32, 1, 0, 0);
    finish(b, 512);
    refused(b, ERR_FORMAT, "'w1' and 'w2' overlap", "tensors that overlap");
    begin(b, 3, 1, 0);
    put_tensor(b, "a name of more than the sixty-four bytes that the specification allows", 32, 1,
               0, 0);
    finish(b, 256);
    refused(b, ERR_FORMAT, "1 to 64 are allowed", "a long tensor name");
}

static void test_faults(void)
{
    buf b;

    buf_init(&b, MIB(1));
    head_faults(&b);
    key_faults(&b);
    tensor_faults(&b);
    buf_fini(&b);
}

/* ---- files ---- */

static char dir[64];

static void write_file(const char *name, const buf *b)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f || fwrite(b->p, 1, b->n, f) != b->n || fclose(f)) printf("# cannot write %s\n", path);
}

/* Part `no` of `count`: one tensor "tNO". */
static void write_part(buf *b, uint32_t no, uint32_t count, uint32_t says_no, uint32_t total,
                       const char *tensor)
{
    char name[64];

    begin(b, 3, 1, 3);
    put_key(b, "split.no", GGUF_U16);
    buf_put(b, &(uint16_t){(uint16_t)says_no}, 2);
    put_key(b, "split.count", GGUF_U16);
    buf_put(b, &(uint16_t){(uint16_t)count}, 2);
    put_key(b, "split.tensors.count", GGUF_I32);
    put_u32(b, total);
    put_tensor(b, tensor, 32, 1, 0, 0);
    finish(b, 128);
    b->p[b->n - 1] = (char)('0' + no);
    snprintf(name, sizeof name, "m-%05u-of-%05u.gguf", no + 1, count);
    write_file(name, b);
}

static enum err open_in_dir(const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return gguf_open(&g, path, &e);
}

static void refused_file(const char *name, enum err code, const char *words, const char *what)
{
    enum err r = open_in_dir(name);

    if (!ok(r == code && strstr(e.text, words), "refused: %s", what))
        printf("#   got %s: %s\n", err_name(r), r ? e.text : "");
    if (!r) gguf_close(&g);
}

static void test_split(void)
{
    buf b;

    buf_init(&b, MIB(1));
    snprintf(dir, sizeof dir, "test_gguf.%d", (int)getpid());
    if (mkdir(dir, 0700)) printf("# cannot create %s\n", dir);
    for (uint32_t i = 0; i < 3; i++)
        write_part(&b, i, 3, i, 3, (const char *[]){"t0", "t1", "t2"}[i]);
    if (ok(!open_in_dir("m-00001-of-00003.gguf"), "three parts open")) {
        const struct gguf_tensor *t = gguf_tensor(&g, S("t2"));

        is_int(g.n_tensors, 3, "tensors of all parts");
        is_int(g.n_parts, 3, "parts");
        is_int(g.file_bytes, 3 * b.n, "bytes of all parts");
        ok(t && t->part == 2 && t->data[127] == '2', "the third part's tensor has its data");
        gguf_close(&g);
    }
    refused_file("m-00002-of-00003.gguf", ERR_INVALID, "give the first part", "a later part");
    write_part(&b, 1, 3, 2, 3, "t1");
    refused_file("m-00001-of-00003.gguf", ERR_FORMAT, "says it is part 3 of 3", "a wrong number");
    write_part(&b, 1, 3, 1, 3, "t0");
    refused_file("m-00001-of-00003.gguf", ERR_FORMAT, "'t0' occurs twice", "a tensor in two parts");
    write_part(&b, 1, 3, 1, 3, "t1");
    write_part(&b, 0, 3, 0, 9, "t0");
    refused_file("m-00001-of-00003.gguf", ERR_FORMAT, "split.tensors.count is 9", "a wrong sum");
    write_part(&b, 0, 3, 0, 3, "t0");
    write_file("other.gguf", &b);
    refused_file("other.gguf", ERR_FORMAT, "must end in -00001-of-00003.gguf", "a renamed part");
    write_part(&b, 0, 4, 0, 4, "t0");
    refused_file("m-00001-of-00004.gguf", ERR_NOTFOUND, "m-00002-of-00004.gguf", "a missing part");
    write_part(&b, 0, 2, 5, 4, "t0");
    refused_file("m-00001-of-00002.gguf", ERR_FORMAT, "split.no is 5", "a number over the count");
    buf_clear(&b);
    write_file("empty.gguf", &b);
    refused_file("empty.gguf", ERR_FORMAT, "is empty", "an empty file");
    refused_file("", ERR_FORMAT, "directory", "a directory");
    refused_file("none.gguf", ERR_NOTFOUND, "none.gguf", "no file");
    buf_fini(&b);
    if (chdir(dir) == 0) {
        DIR *d = opendir(".");
        struct dirent *x;

        while (d && (x = readdir(d)))
            if (x->d_name[0] != '.') unlink(x->d_name);
        if (d) closedir(d);
        if (chdir("..") || rmdir(dir)) printf("# cannot remove %s\n", dir);
    }
}

/* What the writer writes, the reader reads; a key copied from version 1 keeps its value. */
static void test_write(void)
{
    const str words[2] = {S("one"), S("two")};
    const float x[4] = {1, -2, 3, -4};
    const uint64_t dim[2] = {4, 1}, wide[2] = {32, 3};
    struct gguf_write w;
    struct gguf_kv old;
    const struct gguf_tensor *t;
    const str *strs;
    uint32_t u = 0;
    size_t n;
    buf b;

    buf_init(&b, MIB(1));
    begin(&b, 1, 0, 1);
    put_key(&b, "old.words", GGUF_ARR);
    put_u32(&b, GGUF_STR);
    put_size(&b, 1);
    put_str(&b, S("kept"));
    ok(!parse(&b), "a version 1 header to copy from");
    old = g.kv[0];

    gguf_write_init(&w);
    gguf_write_kv(&w, &old);
    gguf_write_u32(&w, "a.number", 77);
    gguf_write_strs(&w, "a.words", words, 2);
    gguf_write_tensor(&w, S("x"), DTYPE_F32, dim, 1);
    is_int(gguf_write_tensor(&w, S("y"), DTYPE_Q8_0, wide, 2), 3 * 34, "bytes of a tensor");
    ok(!gguf_write_open(&w, "test_gguf.out", &e) && !gguf_write_data(&w, x, sizeof x, &e) &&
           !gguf_write_align(&w, &e) && !gguf_write_data(&w, (char[102]){5}, 102, &e) &&
           !gguf_write_close(&w, &e),
       "a file is written");
    gguf_write_fini(&w);
    if (ok(!gguf_open(&g, "test_gguf.out", &e), "and opens")) {
        ok(!gguf_get_u32(&g, "a.number", &u, &e) && u == 77, "its number");
        ok(!gguf_get_strs(&g, "old.words", &strs, &n, &e) && n == 1 && str_eq(strs[0], S("kept")),
           "its copied words");
        t = gguf_tensor(&g, S("x"));
        ok(t && t->n_dims == 1 && !memcmp(t->data, x, sizeof x), "its first tensor");
        t = gguf_tensor(&g, S("y"));
        ok(t && t->dtype == DTYPE_Q8_0 && t->data[0] == 5, "its second tensor");
        gguf_close(&g);
    }
    gguf_write_init(&w);
    gguf_write_tensor(&w, S("x"), DTYPE_F32, dim, 1);
    ok(!gguf_write_open(&w, "test_gguf.out", &e) && gguf_write_close(&w, &e) == ERR_INTERNAL,
       "a tensor that was declared and not written is noticed");
    gguf_write_fini(&w);
    unlink("test_gguf.out");
    buf_fini(&b);
}

/* A vocabulary of 256k strings is indexed in one pass. */
static void test_large(void)
{
    struct timespec t0, t1;
    double ms, best = 1e9;
    buf b;

    buf_init(&b, MIB(16));
    begin(&b, 3, 0, 1);
    put_key(&b, "tokenizer.ggml.tokens", GGUF_ARR);
    put_u32(&b, GGUF_STR);
    put_u64(&b, 256000);
    for (int i = 0; i < 256000; i++) {
        char text[16];

        snprintf(text, sizeof text, "tok%d", i);
        put_str(&b, str_c(text));
    }
    for (int i = 0; i < 5; i++) {
        arena_fini(&arena);
        arena_init(&arena, LIMIT_GGUF_ARENA);
        clock_gettime(CLOCK_MONOTONIC, &t0);
        if (gguf_parse(&g, &arena, (uint8_t *)b.p, b.n, b.n, NULL, &e)) break;
        clock_gettime(CLOCK_MONOTONIC, &t1);
        ms = (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6;
        if (ms < best) best = ms;
    }
    ok(best < 100, "256,000 strings indexed in %.1f ms", best);
    buf_fini(&b);
}

/* Tensors of files that llama.cpp wrote lie one after the other, which proves every block size. */
static bool packed(void)
{
    for (uint64_t i = 1; i < g.n_tensors; i++) {
        const struct gguf_tensor *a = &g.tensors[i - 1], *b = &g.tensors[i];
        uint64_t end = (a->offset + a->bytes + g.alignment - 1) / g.alignment * g.alignment;

        if (b->offset != end) {
            printf("#   %.*s (%s) ends at %llu, next begins at %llu\n", STR(a->name),
                   dtype_info(a->dtype)->name, (unsigned long long)end,
                   (unsigned long long)b->offset);
            return false;
        }
    }
    return true;
}

static void test_folder(const char *rel, const char *inner)
{
    const char *root = tap_data(rel);
    struct dirent *x;
    int n = 0, bad = 0;
    DIR *d = root ? opendir(root) : NULL;

    if (!d) {
        skip(rel);
        return;
    }
    while ((x = readdir(d))) {
        char path[2048];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s%s", root, x->d_name, inner);
        if (x->d_name[0] == '.' || !str_ends(str_c(path), S(".gguf")) || stat(path, &st)) continue;
        n++;
        if (gguf_open(&g, path, &e)) {
            printf("#   %s\n", e.text);
            bad++;
            continue;
        }
        if (!packed() || !gguf_find(&g, "general.architecture") || g.file_bytes == 0) {
            printf("#   %s\n", path);
            bad++;
        }
        gguf_close(&g);
    }
    closedir(d);
    ok(n > 0 && bad == 0, "%s: %d files open, %d fail", rel, n, bad);
}

static void test_hostile(void)
{
    const char *root = tap_data("hostile");
    struct dirent *x;
    DIR *d = root ? opendir(root) : NULL;

    if (!d) {
        skip("hostile");
        return;
    }
    while ((x = readdir(d))) {
        char path[2048];
        enum err r;

        if (x->d_name[0] == '.' || strncmp(x->d_name, "gguf", 4)) continue;
        snprintf(path, sizeof path, "%s/%s", root, x->d_name);
        r = gguf_open(&g, path, &e);
        if (!strcmp(x->d_name, "gguf-valid-small.gguf"))
            ok(!r, "%s opens%s%s", x->d_name, r ? ": " : "", r ? e.text : "");
        else
            ok((r == ERR_FORMAT || r == ERR_UNSUPPORTED) && e.text[0], "%s refused: %s", x->d_name,
               r ? e.text : "it was not");
        if (!r) gguf_close(&g);
    }
    closedir(d);
}

int main(void)
{
    arena_init(&arena, LIMIT_GGUF_ARENA);
    test_versions();
    test_partial();
    test_faults();
    test_split();
    test_write();
    test_large();
    test_folder("golden", "/model.gguf");
    test_folder("models", "");
    test_folder("tokenizers", "");
    test_hostile();
    arena_fini(&arena);
    return tap_end();
}
