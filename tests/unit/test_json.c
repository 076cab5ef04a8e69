/* test_json: reader, writer and accessors; JSONTestSuite and a real vocabulary where the data is.
 */
#include <dirent.h>
#include <time.h>

#include "tap.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"

static struct arena arena;
static struct err_info err;

static const struct json *parse(str text)
{
    const struct json *v = NULL;

    if (json_parse(&arena, text, &v, &err)) return NULL;
    return v;
}

static void round_trip(const char *in, const char *want)
{
    buf b = {.cap = KIB(64)};
    struct jsonw w;
    const struct json *v = parse(str_c(in));

    jsonw_init(&w, &b);
    if (v) jsonw_value(&w, v);
    is_str(v ? buf_view(&b) : str_c(err.text), str_c(want), want);
    buf_fini(&b);
}

static void test_values(void)
{
    static const char *const cases[][2] = {
        {"null", "null"},
        {" true ", "true"},
        {"\t[false ,\r{} , [] ]", "[false,{},[]]"},
        {"{\"b\":1,\"a\":2,\"b\":3}", "{\"b\":1,\"a\":2,\"b\":3}"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775808", "9223372036854775808"},
        {"18446744073709551615", "18446744073709551615"},
        {"18446744073709551616", "1.8446744073709552e+19"},
        {"-9223372036854775809", "-9.223372036854776e+18"},
        {"-0", "0"},
        {"-0.0", "-0.0"},
        {"0.1", "0.1"},
        {"1e3", "1000"},
        {"1E-400", "0"},
        {"2.2250738585072011e-308", "2.225073858507201e-308"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"123456789012345678901234567890123456789012345678901234567890123456789.5",
         "1.234567890123457e+68"},
        {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"a\\\"\\\\/\\b\\f\\n\\r\\t\""},
        {"\"\\u00e9\\u20ac\\ud834\\udd1e\"", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\""},
        {"\"\xC3\xA9\x7F\"", "\"\xC3\xA9\x7F\""},
        {"\"\\u0000\\u001f\"", "\"\\u0000\\u001f\""},
        {"{\"\":{\"k\\n\":[[1],[2,[3]]]}}", "{\"\":{\"k\\n\":[[1],[2,[3]]]}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        round_trip(cases[i][0], cases[i][1]);
}

static void test_refused(void)
{
    static const char *const cases[][2] = {
        {"", "JSON ends at byte 0 where a value was expected"},
        {"[1,]", "JSON has ']' at byte 3 where a value was expected"},
        {"{\"a\":1,}", "JSON has '}' at byte 7 where a key in quotes was expected"},
        {"[1 2]", "JSON has '2' at byte 3 where ',' or ']' was expected"},
        {"{\"a\" 1}", "JSON has '1' at byte 5 where ':' was expected"},
        {"[1}", "JSON has '}' at byte 2 where ',' or ']' was expected"},
        {"{\"a\":1]", "JSON has ']' at byte 6 where ',' or '}' was expected"},
        {"01", "JSON has a number with a leading zero at byte 0"},
        {"-", "JSON ends at byte 1 where a digit was expected"},
        {"1.", "JSON ends at byte 2 where a digit was expected"},
        {"1e+", "JSON ends at byte 3 where a digit was expected"},
        {".5", "JSON has '.' at byte 0 where a value was expected"},
        {"1e999", "JSON has a number too large for a double at byte 0"},
        {"nul", "JSON has 'n' at byte 0 where a value was expected"},
        {"NaN", "JSON has 'N' at byte 0 where a value was expected"},
        {"1 2", "JSON has '2' at byte 2 where the end of the text was expected"},
        {"\"abc", "JSON ends at byte 4 where the end of a string was expected"},
        {"\"\\", "JSON ends at byte 2 where the rest of an escape was expected"},
        {"\"\\x\"", "JSON has an unknown escape at byte 1"},
        {"\"\\u12g4\"", "JSON has a broken or unpaired \\u escape at byte 1"},
        {"\"\\ud800\"", "JSON has a broken or unpaired \\u escape at byte 1"},
        {"\"\\udc00\"", "JSON has a broken or unpaired \\u escape at byte 1"},
        {"\"\\ud800\\u0041\"", "JSON has a broken or unpaired \\u escape at byte 1"},
        {"\"12345678\n\"", "JSON has a bare control character in a string at byte 9"},
        {"\"12345678\xC0\x80\"", "JSON has bytes that are not valid UTF-8 at byte 9"},
        {"\"\xED\xA0\x80\"", "JSON has bytes that are not valid UTF-8 at byte 1"},
        {"\xEF\xBB\xBF{}", "JSON has byte 0xEF at byte 0 where a value was expected"},
        {"[", "JSON ends at byte 1 where a value was expected"},
        {"{", "JSON ends at byte 1 where a key in quotes was expected"},
        {"]", "JSON has ']' at byte 0 where a value was expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct json *v = parse(str_c(cases[i][0]));

        is_str(v ? S("accepted") : str_c(err.text), str_c(cases[i][1]), "refused with its reason");
    }
}

static void test_depth(void)
{
    char text[4 * JSON_DEPTH_MAX];
    buf b = {.cap = KIB(64)};
    struct jsonw w;

    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    const struct json *v = parse((str){text, 2 * JSON_DEPTH_MAX});
    ok(v != NULL, "the deepest nesting is read");
    jsonw_init(&w, &b);
    jsonw_value(&w, v);
    is_str(buf_view(&b), ((str){text, 2 * JSON_DEPTH_MAX}), "and written");
    buf_clear(&b);
    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_key(&w, "x");
    jsonw_value(&w, v);
    jsonw_end(&w, '}');
    ok(b.failed, "one level more fails the buffer");
    buf_fini(&b);

    memset(text, '[', JSON_DEPTH_MAX + 1);
    ok(!parse((str){text, JSON_DEPTH_MAX + 1}) && err.code == ERR_LIMIT, "one more is refused");
    b = (buf){.cap = MIB(2)};
    for (int i = 0; i < 200000; i++)
        buf_c(&b, "{\"\":");
    ok(!parse(buf_view(&b)) && err.code == ERR_LIMIT, "200,000 levels are refused");
    buf_fini(&b);
}

static void test_access(void)
{
    const struct json *v = parse(S("{\"i\":7,\"u\":18446744073709551615,\"d\":2.5,\"f\":3.0,"
                                   "\"s\":\"x\",\"t\":true,\"n\":null,\"i\":8}"));

    if (!ok(v != NULL, "parses")) return;
    is_int(json_int(json_get(v, "i"), -1), 8, "the last of two equal keys");
    is_int(json_int(json_get(v, "d"), -1), -1, "a fraction is no integer");
    is_int(json_int(json_get(v, "f"), -1), 3, "an integral double is one");
    is_int(json_int(json_get(v, "u"), -1), -1, "too large for int64");
    ok(json_num(json_get(v, "d"), 0) == 2.5, "num");
    ok(json_num(json_get(v, "u"), 0) == 18446744073709551615.0, "num of uint");
    is_str(json_str(json_get(v, "s"), S("?")), S("x"), "str");
    is_str(json_str(json_get(v, "i"), S("?")), S("?"), "str of another type");
    ok(json_bool(json_get(v, "t"), false), "bool");
    ok(!json_get(v, "zz") && !json_get(NULL, "i"), "missing");
    ok(json_get(json_get(v, "s"), "x") == NULL, "member of a string");
    ok(json_is_num(json_get(v, "u")) && !json_is_num(json_get(v, "n")), "is_num");
    is_str(str_c(json_type_name(JSON_OBJ)), S("object"), "type name");
}

static void test_writer(void)
{
    buf b = {.cap = KIB(64)};
    struct jsonw w;

    jsonw_init(&w, &b);
    jsonw_obj(&w);
    jsonw_kstr(&w, "s", S("\xFF\"\x01 \xC3"));
    jsonw_key(&w, "a");
    jsonw_arr(&w);
    jsonw_int(&w, -5);
    jsonw_uint(&w, UINT64_MAX);
    jsonw_obj(&w);
    jsonw_end(&w, '}');
    jsonw_raw(&w, S("[1]"));
    jsonw_num(&w, 0.1 + 0.2);
    jsonw_num(&w, INFINITY);
    jsonw_end(&w, ']');
    jsonw_kc(&w, "c", NULL);
    jsonw_kint(&w, "i", 1);
    jsonw_knum(&w, "d", 1e21);
    jsonw_kbool(&w, "b", false);
    jsonw_end(&w, '}');
    is_str(
        buf_view(&b),
        S("{\"s\":\"\xEF\xBF\xBD\\\"\\u0001 \xEF\xBF\xBD\",\"a\":[-5,18446744073709551615,{},[1],"
          "0.30000000000000004,null],\"c\":null,\"i\":1,\"d\":1e+21,\"b\":false}"),
        "commas, colons, escapes, invalid UTF-8");
    ok(!b.failed, "not failed");
    buf_fini(&b);

    b = (buf){.cap = 4};
    jsonw_init(&w, &b);
    jsonw_arr(&w);
    jsonw_c(&w, "too long");
    jsonw_end(&w, ']');
    ok(b.failed, "a full buffer is seen at the end");
    buf_fini(&b);
}

static void test_doubles(void)
{
    uint64_t x = 88172645463325252u;
    int bad = 0;
    buf b = {.cap = 64};
    struct jsonw w;

    for (int i = 0; i < 20000; i++) {
        double d, got;
        const struct json *v;

        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(&d, &x, 8);
        if (!isfinite(d)) continue;
        buf_clear(&b);
        arena_clear(&arena);
        jsonw_init(&w, &b);
        jsonw_num(&w, d);
        v = parse(buf_view(&b));
        got = json_num(v, NAN);
        if (memcmp(&got, &d, 8) != 0) bad++;
    }
    is_int(bad, 0, "20,000 doubles of random bits read back equal");
    buf_fini(&b);
}

static void test_small_arena(void)
{
    struct arena tiny;
    const struct json *v;
    buf b = {.cap = MIB(1)};

    buf_ch(&b, '[');
    for (int i = 0; i < 5000; i++)
        buf_c(&b, "[1],");
    buf_c(&b, "2]");
    arena_init(&tiny, KIB(64));
    ok(json_parse(&tiny, buf_view(&b), &v, &err) == ERR_NOMEM, "an arena's cap is an error");
    arena_fini(&tiny);
    buf_fini(&b);
}

static void test_suite(void)
{
    const char *dir = tap_data("json");
    DIR *d = dir ? opendir(dir) : NULL;
    struct dirent *f;
    char path[2048];
    int n = 0;

    if (!d) {
        skip("JSONTestSuite is not here");
        return;
    }
    while ((f = readdir(d))) {
        char *p;
        size_t size;
        bool got;

        if (!strstr(f->d_name, ".json")) continue;
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (map_read_file(path, MIB(1), &p, &size, &err)) continue;
        got = parse((str){p, size}) != NULL;
        if (f->d_name[0] == 'i')
            n++;
        else
            n += ok(got == (f->d_name[0] == 'y'), "%s", f->d_name);
        mem_free(p);
        arena_clear(&arena);
    }
    closedir(d);
    ok(n > 200, "%d files of JSONTestSuite", n);
}

static void test_vocabulary(void)
{
    const char *path = tap_data("tokenizers/llama3.2/encoder.json");
    char *p;
    size_t size;

    if (!path || map_read_file(path, MIB(16), &p, &size, &err)) {
        skip("no vocabulary here");
        return;
    }
    clock_t t0 = clock();
    const struct json *v = parse((str){p, size});
    double ms = 1000.0 * (double)(clock() - t0) / CLOCKS_PER_SEC;
    ok(v && v->type == JSON_OBJ && v->n == 128000, "128,000 entries");
    is_int(json_int(json_get(v, "Ġthe"), -1), 279, "an entry");
    ok(ms < 2000, "%.1f ms for %zu bytes", ms, size);
    mem_free(p);
}

int main(void)
{
    arena_init(&arena, MIB(256));
    test_values();
    test_refused();
    test_depth();
    test_access();
    test_writer();
    test_doubles();
    test_small_arena();
    test_suite();
    test_vocabulary();
    arena_fini(&arena);
    return tap_end();
}
