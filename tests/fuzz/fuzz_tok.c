/* fuzz_tok: any text through a vocabulary of each kind, and any bytes as a vocabulary.
 *
 * The first byte chooses: a pre-tokenizer over the small BPE vocabulary, the small SPM vocabulary,
 * or a wild one of any kind whose tokens, types, scores and merges are cut out of the input; the
 * second byte holds the flags. Ids must be in range, text must come back, and the stream must say
 * what the decoder says.
 */
#include <stdlib.h>

#include "../vocab.h"
#include "base/mem.h"
#include "text/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const pres[] = {
    "default", "llama-bpe", "gpt-2", "qwen2", "falcon", "gpt-4o", "deepseek-llm", "deepseek-coder",
    "deepseek-v3", "bloom", "viking", "kimi-k2", "qwen35", "starcoder", "minicpm5", "laguna",
    /* after SPM and the wild ones */
    "jais-2", "spark2_5", "youtu", "chameleon", "superbpe", "tiny_aya", "afmoe", "exaone-moe"};
#define PRES (sizeof pres / sizeof pres[0])
enum { SPM = 16, WILD = 17, MORE = 18, WILD_MORE = MORE + PRES - SPM, CHOICES = WILD_MORE + 5 };

static struct vocab fixed[PRES + 2]; /* one for each choice but the wild ones */

static const struct tok *choose(unsigned which)
{
    struct vocab *v = &fixed[which];
    struct err_info e;
    if (v->tok) return v->tok;
    vocab_init(v);
    if (which == SPM)
        vocab_spm(v);
    else
        vocab_bpe(v, str_c(pres[which < SPM ? which : which - 2]));
    if (vocab_open(v, &e) != ERR_OK) abort();
    return v->tok;
}

/* Lines of the input are tokens and merges; the bytes of a line also choose its type and score. */
static void wild(struct vocab *v, const char *model, unsigned flags, str rest)
{
    str text[64], merge[64];
    int32_t type[64];
    float score[64];
    size_t n = 0, n_merges = 0;
    for (; rest.n && n < 64; n++) {
        text[n] = str_cut(rest, '\n', &rest);
        uint8_t last = text[n].n ? (uint8_t)text[n].p[text[n].n - 1] : 0;
        type[n] = last % 8;
        score[n] = (float)(int)last - 100;
        if (memchr(text[n].p, ' ', text[n].n)) merge[n_merges++] = text[n];
    }
    vocab_str(v, "tokenizer.ggml.model", str_c(model));
    vocab_strs(v, "tokenizer.ggml.tokens", text, n);
    if (flags & 2) vocab_i32s(v, "tokenizer.ggml.token_type", type, n);
    if (flags & 4) vocab_f32s(v, "tokenizer.ggml.scores", score, n);
    vocab_strs(v, "tokenizer.ggml.merges", merge, n_merges);
    if (flags & 8) vocab_str(v, "tokenizer.ggml.pre", S("llama-bpe"));
    if (flags & 1) vocab_bool(v, "tokenizer.ggml.remove_extra_whitespaces", true);
    if (flags & 4) vocab_bool(v, "tokenizer.ggml.add_space_prefix", flags & 8);
    if (flags & 16) vocab_str(v, "general.name", S("My Phi-3"));
}

static bool has(str s, const char *what)
{
    return str_find(s, str_c(what), 0) != SIZE_MAX;
}

static void use(const struct tok *t, str text, unsigned flags, bool faithful)
{
    struct arena a;
    struct err_info e;
    struct stream s;
    int32_t *ids;
    size_t n;
    buf whole, parts, clean;
    arena_init(&a, (size_t)64 << 20);
    buf_init(&whole, (size_t)64 << 20);
    buf_init(&parts, (size_t)64 << 20);
    buf_init(&clean, (size_t)64 << 20);
    if (tok_encode(t, &a, text, flags & 3, &ids, &n, &e) != ERR_OK) abort();
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= tok_count(t)) abort();
    tok_decode(t, ids, n, false, &whole);
    if (!utf8_valid(buf_view(&whole))) abort();
    if (faithful) {
        if (text.n) tok_clean(text, true, &clean);
        if (!str_eq(buf_view(&whole), buf_view(&clean))) abort();
    }
    static const str stops[] = {{"\n\n", 2}, {"User:", 5}, {"\xE2\x82", 2}};
    size_t n_stops = flags & 4 ? 3 : 0;
    if (stream_init(&s, t, stops, n_stops, true, &e) != ERR_OK) abort();
    for (size_t i = 0; i < n; i++)
        stream_push(&s, ids[i], &parts);
    stream_end(&s, &parts);
    if (!utf8_valid(buf_view(&parts))) abort();
    if (!n_stops && faithful && !str_eq(buf_view(&whole), buf_view(&parts))) abort();
    stream_fini(&s);
    buf_fini(&whole);
    buf_fini(&parts);
    buf_fini(&clean);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 4096) return 0;
    static const char *const models[] = {"bert", "t5", "rwkv", "gemma4", "plamo2"};
    unsigned which = data[0] % CHOICES, flags = data[1];
    str text = {(const char *)data + 2, size - 2};
    if (which != WILD && which < WILD_MORE) {
        bool same = !(flags & TOK_PARSE_SPECIAL);
        if (which == SPM) same = same && !has(text, "\xE2\x96\x81") && !has(text, "<user>");
        use(choose(which), text, flags, same);
        return 0;
    }
    struct vocab v;
    struct err_info e;
    vocab_init(&v);
    wild(&v, which > WILD ? models[which - WILD_MORE] : flags & 1 ? "gpt2" : "llama", flags, text);
    if (vocab_open(&v, &e) == ERR_OK) use(v.tok, text, flags >> 5, false);
    vocab_fini(&v);
    return 0;
}
