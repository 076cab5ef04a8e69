/* vocab: GGUF headers with a vocabulary, built in memory, for the tests of the tokenizer.
 *
 * A `struct vocab` collects key-value pairs; vocab_open() writes the header, parses it and opens
 * the tokenizer over it. vocab_spm() and vocab_bpe() are small vocabularies that need no file.
 */
#ifndef TESTS_VOCAB_H
#define TESTS_VOCAB_H

#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/utf8.h"
#include "model/gguf.h"
#include "text/tok.h"

#define VOCAB_UNUSED __attribute__((unused)) static

struct vocab {
    buf kv;
    uint64_t n_kv;
    buf file;
    struct arena arena;
    struct gguf g;
    struct tok *tok;
};

VOCAB_UNUSED void vocab_init(struct vocab *v)
{
    memset(v, 0, sizeof *v);
    buf_init(&v->kv, (size_t)256 << 20);
    buf_init(&v->file, (size_t)256 << 20);
    arena_init(&v->arena, (size_t)512 << 20);
}

VOCAB_UNUSED void vocab_fini(struct vocab *v)
{
    tok_close(v->tok);
    arena_fini(&v->arena);
    buf_fini(&v->kv);
    buf_fini(&v->file);
}

VOCAB_UNUSED void vocab_put(buf *b, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        buf_ch(b, (char)(value >> (8 * i)));
}

VOCAB_UNUSED void vocab_text(buf *b, str s)
{
    vocab_put(b, s.n, 8);
    buf_str(b, s);
}

VOCAB_UNUSED void vocab_key(struct vocab *v, const char *key, enum gguf_type type)
{
    vocab_text(&v->kv, str_c(key));
    vocab_put(&v->kv, type, 4);
    v->n_kv++;
}

VOCAB_UNUSED void vocab_str(struct vocab *v, const char *key, str s)
{
    vocab_key(v, key, GGUF_STR);
    vocab_text(&v->kv, s);
}

VOCAB_UNUSED void vocab_u32(struct vocab *v, const char *key, uint32_t x)
{
    vocab_key(v, key, GGUF_U32);
    vocab_put(&v->kv, x, 4);
}

VOCAB_UNUSED void vocab_bool(struct vocab *v, const char *key, bool x)
{
    vocab_key(v, key, GGUF_BOOL);
    vocab_put(&v->kv, x, 1);
}

VOCAB_UNUSED void vocab_arr(struct vocab *v, const char *key, enum gguf_type elem, uint64_t n)
{
    vocab_key(v, key, GGUF_ARR);
    vocab_put(&v->kv, elem, 4);
    vocab_put(&v->kv, n, 8);
}

VOCAB_UNUSED void vocab_strs(struct vocab *v, const char *key, const str *s, size_t n)
{
    vocab_arr(v, key, GGUF_STR, n);
    for (size_t i = 0; i < n; i++)
        vocab_text(&v->kv, s[i]);
}

VOCAB_UNUSED void vocab_i32s(struct vocab *v, const char *key, const int32_t *x, size_t n)
{
    vocab_arr(v, key, GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        vocab_put(&v->kv, (uint32_t)x[i], 4);
}

VOCAB_UNUSED void vocab_f32s(struct vocab *v, const char *key, const float *x, size_t n)
{
    vocab_arr(v, key, GGUF_F32, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        vocab_put(&v->kv, u, 4);
    }
}

VOCAB_UNUSED enum err vocab_parse(struct vocab *v, struct err_info *e)
{
    uint64_t need;
    buf_put(&v->file, "GGUF", 4);
    vocab_put(&v->file, 3, 4);
    vocab_put(&v->file, 0, 8);
    vocab_put(&v->file, v->n_kv, 8);
    buf_put(&v->file, v->kv.p, v->kv.n);
    while (v->file.n % 32)
        buf_ch(&v->file, 0);
    return gguf_parse(&v->g, &v->arena, (const uint8_t *)v->file.p, v->file.n, v->file.n, &need, e);
}

VOCAB_UNUSED enum err vocab_open(struct vocab *v, struct err_info *e)
{
    enum err rc = vocab_parse(v, e);
    return rc == ERR_OK ? tok_open(&v->tok, &v->g, e) : rc;
}

/* GPT-2's spelling of bytes. */
VOCAB_UNUSED str vocab_spell(struct arena *a, str bytes)
{
    char *p = arena_alloc(a, bytes.n * 2 + 1, 1);
    size_t n = 0;
    for (size_t i = 0; p && i < bytes.n; i++) {
        uint32_t b = (uint8_t)bytes.p[i], cp = b, k = 0;
        bool plain = (b > 32 && b < 127) || (b > 160 && b != 173);
        for (uint32_t c = 0; c < b; c++)
            k += !((c > 32 && c < 127) || (c > 160 && c != 173));
        if (!plain) cp = 256 + k;
        n += utf8_put(p + n, cp);
    }
    return (str){p, p ? n : 0};
}

#define VOCAB_MAX 400

/* <unk> <s> </s>, 256 bytes, letters, and a few words. 0 <unk>, 1 <s>, 2 </s>, 3.. bytes. */
VOCAB_UNUSED void vocab_spm(struct vocab *v)
{
    static const char *const words[] = {"\xE2\x96\x81",
                                        "a",
                                        "b",
                                        "c",
                                        "d",
                                        "e",
                                        "h",
                                        "i",
                                        "l",
                                        "n",
                                        "o",
                                        "r",
                                        "s",
                                        "t",
                                        "w",
                                        "\xC3\xA9",
                                        "he",
                                        "ll",
                                        "\xE2\x96\x81h",
                                        "\xE2\x96\x81he",
                                        "llo",
                                        "\xE2\x96\x81hello",
                                        "\xE2\x96\x81w",
                                        "or",
                                        "ld",
                                        "\xE2\x96\x81wor",
                                        "\xE2\x96\x81world",
                                        "aa",
                                        "aaaa",
                                        "\xE2\x96\x81\xE2\x96\x81",
                                        "\xE2\x96\x81\xE2\x96\x81\xE2\x96\x81\xE2\x96\x81",
                                        "th",
                                        "the",
                                        "\xE2\x96\x81the"};
    str text[VOCAB_MAX];
    float score[VOCAB_MAX];
    int32_t type[VOCAB_MAX];
    size_t n = 0;
    static char bytes[256][8];
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    for (size_t i = 0; i < 3; i++) {
        text[n] = str_c(first[i]);
        type[n] = i ? 3 : 2;
        score[n++] = 0;
    }
    for (size_t i = 0; i < 256; i++) {
        static const char hex[] = "0123456789ABCDEF";
        char spelled[8] = {'<', '0', 'x', hex[i >> 4], hex[i & 15], '>', 0, 0};
        memcpy(bytes[i], spelled, 8);
        text[n] = (str){bytes[i], 6};
        type[n] = 6;
        score[n++] = 0;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        text[n] = str_c(words[i]);
        type[n] = 1;
        score[n++] = -(float)i;
    }
    text[n] = S("<|im_end|>");
    type[n] = 3;
    score[n++] = 0;
    text[n] = S("<user>");
    type[n] = 4;
    score[n++] = 0;
    vocab_str(v, "tokenizer.ggml.model", S("llama"));
    vocab_strs(v, "tokenizer.ggml.tokens", text, n);
    vocab_f32s(v, "tokenizer.ggml.scores", score, n);
    vocab_i32s(v, "tokenizer.ggml.token_type", type, n);
    vocab_u32(v, "tokenizer.ggml.bos_token_id", 1);
    vocab_u32(v, "tokenizer.ggml.eos_token_id", 2);
}

/* 256 bytes (ids are the bytes), the results of the merges from 256, <|bos|>, <|eot_id|>, <user>.
 */
VOCAB_UNUSED void vocab_bpe(struct vocab *v, str pre)
{
    static const char *const merges[] = {"h e",    "l l",          "ll o",
                                         "he llo", "\xC4\xA0 w",   "o r",
                                         "l d",    "\xC4\xA0w or", "\xC4\xA0wor ld",
                                         "a a",    "aa aa",        "\xC4\xA0 \xC4\xA0",
                                         "1 2",    "t h",          "th e"};
    str text[VOCAB_MAX], merge[VOCAB_MAX];
    int32_t type[VOCAB_MAX];
    size_t n = 0, n_merges = sizeof merges / sizeof merges[0];
    for (size_t i = 0; i < 256; i++) {
        char b = (char)i;
        text[n] = vocab_spell(&v->arena, (str){&b, 1});
        type[n++] = 1;
    }
    for (size_t i = 0; i < n_merges; i++) {
        str rest, left = str_cut(str_c(merges[i]), ' ', &rest);
        merge[i] = str_c(merges[i]);
        text[n] = arena_printf(&v->arena, "%.*s%.*s", STR(left), STR(rest));
        type[n++] = 1;
    }
    static const char *const last[] = {"<|bos|>", "<|eot_id|>", "<user>"};
    for (size_t i = 0; i < 3; i++) {
        text[n] = str_c(last[i]);
        type[n++] = i == 2 ? 4 : 3;
    }
    vocab_str(v, "tokenizer.ggml.model", S("gpt2"));
    vocab_str(v, "tokenizer.ggml.pre", pre);
    vocab_strs(v, "tokenizer.ggml.tokens", text, n);
    vocab_i32s(v, "tokenizer.ggml.token_type", type, n);
    vocab_strs(v, "tokenizer.ggml.merges", merge, n_merges);
    vocab_u32(v, "tokenizer.ggml.bos_token_id", (uint32_t)n - 3);
    vocab_u32(v, "tokenizer.ggml.eos_token_id", (uint32_t)n - 2);
}

#endif
