/* The last stage before a client: whole characters, stop strings, no allocation after the start. */
#include "tap.h"
#include "vocab.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/stream.h"

static struct err_info err;
static struct vocab spm, bpe;

/* Feeds text a byte a token (ids of vocab_bpe are bytes) and checks what comes out after each. */
static bool feed(struct stream *s, const char *text, buf *out)
{
    for (; *text; text++) {
        if (stream_push(s, (uint8_t)*text, out)) return true;
        if (!utf8_valid(buf_view(out))) return false;
    }
    return false;
}

static void plain(void)
{
    struct stream s;
    buf out;
    buf_init(&out, 4096);
    ok(stream_init(&s, bpe.tok, NULL, 0, true, &err) == ERR_OK, "without stop strings");
    feed(&s, "a\xF0\x9F", &out);
    is_str(buf_view(&out), S("a"), "half a character is held back");
    feed(&s, "\x98\x80", &out);
    is_str(buf_view(&out), S("a\xF0\x9F\x98\x80"), "until it is whole");
    feed(&s, "\xE2\x82", &out);
    stream_end(&s, &out);
    is_str(buf_view(&out), S("a\xF0\x9F\x98\x80\xEF\xBF\xBD"), "the end turns a half into U+FFFD");
    buf_clear(&out);
    feed(&s, "\xE2x\xFFy", &out);
    is_str(buf_view(&out), S("\xEF\xBF\xBDx\xEF\xBF\xBDy"), "broken bytes do not block");
    stream_fini(&s);
    buf_fini(&out);
}

static void stops(void)
{
    static const struct {
        const char *text, *shown, *all, *stop;
    } cases[] = {
        {"abc", "abc", "abc", ""},
        {"ab\n", "ab", "ab\n", ""},
        {"ab\nUser", "ab", "ab\nUser", ""},
        {"ab\nUser:", "ab", "ab", "\nUser:"},
        {"ab\nUsual", "ab\nUsual", "ab\nUsual", ""},
        {"a\n\nUser:x", "a\n", "a\n", "\nUser:"},
        {"xEN", "x", "xEN", ""},
        {"xENEND", "xEN", "xEN", "END"},
        {"xENDING", "x", "x", "END"},
        {"\xC3\xA9\xE2\x82\xAC!", "\xC3\xA9", "\xC3\xA9", "\xE2\x82\xAC"},
        {"\xE2\x82\xA5!", "\xE2\x82\xA5!", "\xE2\x82\xA5!", ""},
        {"\xC3"
         "END",
         "\xEF\xBF\xBD", "\xEF\xBF\xBD", "END"},
    };
    static const str list[] = {{"\nUser:", 6}, {"END", 3}, {"\xE2\x82\xAC", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stream s;
        buf out;
        buf_init(&out, 4096);
        if (stream_init(&s, bpe.tok, list, 3, false, &err) != ERR_OK) return;
        bool stopped = feed(&s, cases[i].text, &out);
        is_str(buf_view(&out), str_c(cases[i].shown), "shown so far");
        ok(stopped == (cases[i].stop[0] != 0) && stopped == s.stopped, "stopped or not");
        is_str(s.stop, str_c(cases[i].stop), "by which");
        stream_end(&s, &out);
        is_str(buf_view(&out), str_c(cases[i].all), "in the end");
        if (stopped) {
            ok(stream_push(&s, 'z', &out), "and nothing comes after it");
            is_str(buf_view(&out), str_c(cases[i].all), "not a letter");
        }
        stream_fini(&s);
        buf_fini(&out);
    }
}

static void first_space(void)
{
    int32_t hello = tok_find(spm.tok, S("\xE2\x96\x81hello"));
    for (int strip = 0; strip < 2; strip++) {
        struct stream s;
        buf out;
        buf_init(&out, 4096);
        if (stream_init(&s, spm.tok, NULL, 0, strip, &err) != ERR_OK) return;
        stream_push(&s, 1, &out);
        stream_push(&s, hello, &out);
        stream_push(&s, hello, &out);
        is_str(buf_view(&out), strip ? S("hello hello") : S(" hello hello"),
               strip ? "SPM's first space is dropped" : "or kept");
        s.special = true;
        stream_push(&s, 2, &out);
        ok(str_ends(buf_view(&out), S("</s>")), "control tokens on demand");
        stream_fini(&s);
        buf_fini(&out);
    }
}

static void refused(void)
{
    static const char long_stop[LIMIT_STOP_LEN + 1] = "x";
    const str bad[] = {{"", 0}, {long_stop, sizeof long_stop}};
    str many[LIMIT_STOP_STRINGS + 1];
    struct stream s;
    for (size_t i = 0; i <= LIMIT_STOP_STRINGS; i++)
        many[i] = S("x");
    for (size_t i = 0; i < 2; i++) {
        ok(stream_init(&s, bpe.tok, &bad[i], 1, false, &err) == ERR_INVALID, "refused: %s",
           err.text);
        stream_fini(&s);
    }
    ok(stream_init(&s, bpe.tok, many, LIMIT_STOP_STRINGS + 1, false, &err) == ERR_INVALID,
       "refused: %s", err.text);
    stream_fini(&s);
}

/* Random tokens and stops against the plain definition: cut the whole text at the first stop. */
static void against_definition(void)
{
    static const str list[] = {{"aab", 3}, {"ba", 2}, {"aaaa", 4}};
    uint32_t seed = 1;
    size_t bad = 0;
    uint64_t allocations = 0;
    for (int round = 0; round < 2000; round++) {
        char text[64];
        size_t n = 0;
        struct stream s;
        buf out;
        buf_init(&out, 4096);
        if (!buf_reserve(&out, 1000) || stream_init(&s, bpe.tok, list, 3, false, &err) != ERR_OK)
            return;
        for (; n < 40; n++) {
            seed = seed * 1664525 + 1013904223;
            text[n] = "abcabcaa"[seed >> 29];
        }
        uint64_t before = mem_count();
        for (size_t i = 0; i < n; i++)
            stream_push(&s, text[i], &out);
        stream_end(&s, &out);
        allocations += mem_count() - before;
        size_t end = n;
        for (size_t k = 0; k < 3; k++) {
            size_t at = str_find((str){text, n}, list[k], 0);
            if (at != SIZE_MAX && at < end) end = at;
        }
        bad += !str_eq(buf_view(&out), (str){text, end});
        stream_fini(&s);
        buf_fini(&out);
    }
    is_int(bad, 0, "2000 random replies are cut where they should be");
    is_int(allocations, 0, "nothing is allocated after the start");
}

int main(void)
{
    vocab_init(&spm);
    vocab_init(&bpe);
    vocab_spm(&spm);
    vocab_bpe(&bpe, S("gpt-2"));
    if (ok(vocab_open(&spm, &err) == ERR_OK && vocab_open(&bpe, &err) == ERR_OK, "vocabularies")) {
        plain();
        stops();
        first_space();
        refused();
        against_definition();
    }
    vocab_fini(&spm);
    vocab_fini(&bpe);
    return tap_end();
}
