/* base: strings, UTF-8, arenas, buffers, maps of files, errors, the log. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/url.h"
#include "base/utf8.h"
#include "tap.h"

static void test_str(void)
{
    str rest, s = S("a,bc,,d");
    int64_t i;
    double d;

    is_str(str_cut(s, ',', &rest), S("a"), "str_cut gives what is before the separator");
    is_str(str_cut(rest, ',', &rest), S("bc"), "and again");
    is_str(str_cut(rest, ',', &rest), S(""), "an empty field is one");
    is_str(str_cut(rest, ',', &rest), S("d"), "the last field");
    ok(rest.p == NULL, "after it there is no rest");
    is_str(str_sub(s, 2, 2), S("bc"), "str_sub");
    is_str(str_sub(s, 5, 100), S(",d"), "is clamped at the end");
    is_int(str_sub(s, 100, 5).n, 0, "and behind it");
    is_str(str_trim(S(" \t x y\r\n")), S("x y"), "str_trim");
    is_int(str_find(s, S("c,,"), 0), 3, "str_find");
    ok(str_find(s, S("cc"), 0) == SIZE_MAX && str_find(s, S("a"), 1) == SIZE_MAX, "and not found");
    is_int(str_find(s, S(""), 3), 3, "the empty needle is everywhere");
    ok(str_starts(s, S("a,")) && !str_starts(S("a"), S("a,")), "str_starts");
    ok(str_ends(s, S(",d")) && !str_ends(S("d"), S(",d")), "str_ends");
    ok(str_eq(S(""), (str){NULL, 0}) && !str_eq(S("a"), S("b")), "empty views are equal");
    ok(str_ieq(S("CoNtEnT"), S("content")) && !str_ieq(S("a["), S("a{")),
       "str_ieq folds letters only");
    ok(str_cmp(S("a"), S("ab")) < 0 && str_cmp(S("b"), S("ab")) > 0,
       "str_cmp: a prefix comes first");
    ok(str_int(S("-9223372036854775808"), &i) && i == INT64_MIN, "the least integer");
    ok(!str_int(S("9223372036854775808"), &i) && !str_int(S("-9223372036854775809"), &i),
       "one beyond");
    ok(!str_int(S(""), &i) && !str_int(S("1x"), &i) && !str_int(S(" 1"), &i) &&
           !str_int(S("-"), &i),
       "what is no integer");
    ok(str_num(S("2.5e3"), &d) && d == 2500 && !str_num(S("1e999"), &d) && !str_num(S("1,5"), &d),
       "str_num");
    ok(str_hash(S("a")) != str_hash(S("b")) && str_hash(S("")) == 0xcbf29ce484222325u,
       "str_hash is FNV-1a");
}

static void test_utf8(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        uint32_t cp;
    } cases[] = {
        {"a", 1, 'a'},
        {"\xc2\x80", 2, 0x80},
        {"\xdf\xbf", 2, 0x7ff},
        {"\xe0\xa0\x80", 3, 0x800},
        {"\xed\x9f\xbf", 3, 0xd7ff},
        {"\xee\x80\x80", 3, 0xe000},
        {"\xf0\x90\x80\x80", 4, 0x10000},
        {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
        {"\xc0\x80", 2, UTF8_BAD},         /* overlong NUL */
        {"\xe0\x80\x80", 3, UTF8_BAD},     /* overlong */
        {"\xf0\x80\x80\x80", 4, UTF8_BAD}, /* overlong */
        {"\xed\xa0\x80", 3, UTF8_BAD},     /* surrogate */
        {"\xf4\x90\x80\x80", 4, UTF8_BAD}, /* beyond the last */
        {"\xff", 1, UTF8_BAD},
        {"\x80", 1, UTF8_BAD},
        {"\xe2\x82", 2, UTF8_BAD}, /* cut */
    };
    bool good = true, back = true;
    char out[4];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        str s = {cases[i].bytes, cases[i].n};
        size_t at = 0;
        uint32_t cp = utf8_next(s, &at);

        good = good && cp == cases[i].cp && at == (cp == UTF8_BAD ? 1 : s.n);
        if (cp != UTF8_BAD) back = back && utf8_put(out, cp) == s.n && memcmp(out, s.p, s.n) == 0;
    }
    ok(good, "utf8_next reads the least and the greatest of each length and refuses the rest");
    ok(back, "utf8_put writes them back");
    ok(!utf8_put(out, 0xd800) && !utf8_put(out, 0x110000),
       "no surrogate and nothing too large is written");
    ok(utf8_valid(S("gr\xc3\xbc\xc3\x9f")) && !utf8_valid(S("gr\xc3")), "utf8_valid");
    is_int(utf8_partial(S("a\xf0\x9f\x98")), 3, "three bytes of four wait");
    is_int(utf8_partial(S("a\xe2\x82\xac")), 0, "a whole character does not");
    is_int(utf8_partial(S("a\xff")), 0, "nor does what can become none");
}

static void test_arena(void)
{
    struct arena a;
    str s;
    char *p;
    bool aligned = true, zero = true;

    arena_init(&a, KIB(256));
    for (size_t n = 1; n < 200; n++) {
        p = arena_alloc(&a, n, (size_t)1 << n % 6);
        aligned = aligned && p && (uintptr_t)p % ((size_t)1 << n % 6) == 0;
        for (size_t i = 0; p && i < n; i++)
            zero = zero && p[i] == 0;
        if (p) memset(p, 0xee, n);
    }
    ok(aligned && zero, "arena memory is aligned and zeroed");
    s = arena_str(&a, S("abc"));
    ok(str_eqc(s, "abc") && s.p[3] == 0, "arena_str ends with NUL");
    is_str(arena_printf(&a, "%d-%s", 7, "x"), S("7-x"), "arena_printf");
    ok(!arena_alloc(&a, KIB(300), 8), "beyond the cap there is NULL");
    ok(!arena_array(&a, SIZE_MAX / 2, 4, 4), "and where count times size overflows");
    arena_clear(&a);
    p = arena_alloc(&a, 100, 8);
    for (int i = 0; p && i < 100; i++)
        zero = zero && p[i] == 0;
    ok(p && zero, "after arena_clear memory is zero again");
    ok(arena_alloc(&a, KIB(100), 8) && a.used <= a.cap, "and the cap is free again");
    arena_fini(&a);
}

static void test_buf(void)
{
    buf b;
    char *p;

    buf_init(&b, 10);
    buf_c(&b, "12345");
    buf_ch(&b, '6');
    buf_printf(&b, "%d", 78);
    is_str(buf_view(&b), S("12345678"), "a buffer collects");
    buf_c(&b, "9ab");
    ok(b.failed && b.n <= 10, "beyond the cap it fails and stays within");
    buf_c(&b, "c");
    ok(b.failed, "and goes on failing, so that one look at the end is enough");
    buf_clear(&b);
    buf_c(&b, "abc");
    ok(!b.failed, "buf_clear makes it good again");
    buf_drop(&b, 2);
    is_str(buf_view(&b), S("c"), "buf_drop");
    buf_drop(&b, 9);
    is_int(b.n, 0, "of more than there is drops all");
    buf_c(&b, "xyz");
    p = buf_take(&b);
    ok(p && strcmp(p, "xyz") == 0 && b.n == 0 && b.p == NULL, "buf_take moves the bytes out");
    mem_free(p);
    buf_fini(&b);
}

static void test_mem(void)
{
    size_t n;

    ok(mem_mul(3, 4, &n) && n == 12 && !mem_mul(SIZE_MAX, 2, &n), "mem_mul");
    ok(mem_add(3, 4, &n) && n == 7 && !mem_add(SIZE_MAX, 1, &n), "mem_add");
    ok(!mem_array(SIZE_MAX / 4, 8), "mem_array of too much is NULL");
}

static void test_map(void)
{
    char dir[] = "/tmp/rbee-base-XXXXXX", path[64], *text;
    struct err_info e;
    struct map m;
    size_t n;
    FILE *f;

    if (!mkdtemp(dir)) {
        ok(false, "a folder for the test");
        return;
    }
    snprintf(path, sizeof path, "%s/f", dir);
    ok(map_open(&m, path, &e) == ERR_NOTFOUND && strstr(e.text, path), "no such file, by name");
    ok(map_open(&m, dir, &e) == ERR_FORMAT && strstr(e.text, dir), "a directory");
    ok(map_open(&m, "/dev/null", &e) == ERR_FORMAT, "a device");
    f = fopen(path, "w");
    if (f) fclose(f);
    ok(map_open(&m, path, &e) == ERR_OK && m.n == 0 && m.p == NULL, "an empty file");
    map_close(&m);
    if ((f = fopen(path, "w"))) {
        fputs("hello", f);
        fclose(f);
    }
    ok(map_open(&m, path, &e) == ERR_OK && m.n == 5 && memcmp(m.p, "hello", 5) == 0, "a file");
    map_close(&m);
    ok(map_read_file(path, 5, &text, &n, &e) == ERR_OK && n == 5 && strcmp(text, "hello") == 0,
       "map_read_file, with a NUL after it");
    mem_free(text);
    ok(map_read_file(path, 4, &text, &n, &e) == ERR_LIMIT, "one byte over the cap");
    if (geteuid() != 0) {
        chmod(path, 0);
        ok(map_open(&m, path, &e) == ERR_ACCESS, "a file that may not be read");
    } else {
        skip("root may read everything");
    }
    unlink(path);
    snprintf(path, sizeof path, "%s/a/b/c", dir);
    ok(os_mkdirs(path, &e) == ERR_OK && os_mkdirs(path, &e) == ERR_OK, "os_mkdirs, twice");
    ok(os_mkdirs("/dev/null/x", &e) != ERR_OK && strstr(e.text, "/dev/null"),
       "and where it cannot");
    for (int i = 0; i < 4; i++) {
        rmdir(path);
        *strrchr(path, '/') = 0;
    }
}

static void test_err(void)
{
    struct err_info e;
    char big[2000];
    bool round = true, codes = true;

    for (int c = 0; c < ERR_COUNT; c++) {
        const char *name = err_name((enum err)c);

        round = round && err_from_name(name, strlen(name)) == (enum err)c;
        codes = codes && err_http((enum err)c) >= 200 && err_http((enum err)c) < 600 &&
                err_exit((enum err)c) >= 0 && err_exit((enum err)c) < 256;
    }
    ok(round, "every error's name leads back to it");
    ok(codes, "and has an HTTP status and an exit code");
    is_int(err_from_name("nonsense", 8), ERR_INTERNAL, "an unknown name is an internal error");
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    is_int(ERR_FAIL(&e, FORMAT, "%s", big), ERR_FORMAT, "ERR_FAIL returns the code");
    ok(strlen(e.text) < sizeof e.text && e.line > 0, "a long text is cut, the place is kept");
    (void)ERR_FAIL(&e, FORMAT, "a\nb\x1b[31m\xff");
    ok(!strpbrk(e.text, "\n\x1b") && utf8_valid(str_c(e.text)),
       "control characters and bad bytes do not get through");
    (void)ERR_FAIL(&e, FORMAT,
                   "a\xc2\x9b"
                   "31m");
    ok(strcmp(e.text, "a??31m") == 0, "nor do those that are two bytes long");
    ok(err_errno(&e, ENOSPC, "write", "f") == ERR_NOSPACE &&
           err_errno(&e, ENOENT, "open", "f") == ERR_NOTFOUND &&
           err_errno(NULL, EACCES, "open", "f") == ERR_ACCESS,
       "err_errno maps what the system says");
}

static int n_events;
static char last_event[256];

static void sink(enum log_id id, const char *const *kv, int n_pairs, void *owner)
{
    (void)owner;
    n_events++;
    snprintf(last_event, sizeof last_event, "%s", log_name(id));
    for (int i = 0; i < n_pairs; i++) {
        size_t n = strlen(last_event);

        snprintf(last_event + n, sizeof last_event - n, " %s=%s", kv[2 * i], kv[2 * i + 1]);
    }
}

static void test_log(void)
{
    enum log_level level;

    log_set_sink(sink, NULL);
    log_ev(LOG_MODEL_READY, "model", "m", "gone", NULL, "n", "1");
    is_str(str_c(last_event), S("model_ready model=m n=1"),
           "an event has its pairs, without the NULL one");
    log_set_level(LOG_LEVEL_ERROR);
    log_ev(LOG_MODEL_READY, "model", "m");
    is_int(n_events, 1, "below the level nothing comes");
    log_ev(LOG_MODEL_FAILED, "model", "m");
    is_int(n_events, 2, "an error does");
    ok(log_level_from("debug", &level) && level == LOG_LEVEL_DEBUG &&
           !log_level_from("loud", &level),
       "log_level_from");
    log_set_sink(NULL, NULL);
    log_set_level(LOG_LEVEL_INFO);
}

static void test_url(void)
{
    static const char *const bad[] = {"%",   "%2",  "a%4",  "%zz", "%0g",       "%00",
                                      "%0a", "%7F", "a\tb", "%c3", "%ed%a0%80", "%C0%AF"};
    buf b = {.cap = 64};
    struct arena a;
    bool refused = true;
    str out, raw = S("org%2Frepo%3AQ4");

    arena_init(&a, 4096);
    ok(!url_decode(&out, &a, raw) && str_eqc(out, "org/repo:Q4"), "percent-encoding is taken off");
    raw = S("a+b%2B%2520");
    ok(!url_decode(&out, &a, raw) && str_eqc(out, "a+b+%20"), "once, and a plus is a plus");
    raw = S("plain");
    ok(!url_decode(&out, &a, raw) && out.p == raw.p, "what has none stays where it is");
    ok(!url_decode(&out, &a, S("")) && out.n == 0, "nothing is nothing");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused &= url_decode(&out, &a, str_c(bad[i])) != NULL;
    ok(refused, "cut, wrong, control characters, bytes that are no text: refused");
    url_encode(&b, S("org/re po:\303\244%"), "/");
    is_str(buf_view(&b), S("org/re%20po%3A%C3%A4%25"), "and put on, all but what may stay");
    buf_fini(&b);
    arena_fini(&a);
}

int main(void)
{
    test_str();
    test_utf8();
    test_url();
    test_arena();
    test_buf();
    test_mem();
    test_map();
    test_err();
    test_log();
    return tap_end();
}
