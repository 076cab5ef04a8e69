/* The tokenizer: built-in vocabularies, hostile ones, and, where the shared data is, the real ones.
 */
#include <pthread.h>
#include <time.h>

#include "tap.h"
#include "tok_ids.h"
#include "vocab.h"

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "text/tok_scan.h"

#define RUN_BYTES ((size_t)128 << 10)

static struct err_info err;
static struct arena scratch;

static bool sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
    return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
    return false;
#endif
}

/* CPU time of this thread: other work on the machine does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double ms_since(uint64_t from)
{
    return (double)(cpu_ns() - from) / 1e6;
}

static str encode(const struct tok *t, str text, unsigned flags)
{
    return tok_ids(t, &scratch, text, flags);
}

static bool round_trip(const struct tok *t, str text, unsigned flags)
{
    int32_t *ids;
    size_t n;
    buf b;
    if (tok_encode(t, &scratch, text, flags, &ids, &n, &err) != ERR_OK) return false;
    buf_init(&b, (size_t)64 << 20);
    tok_decode(t, ids, n, false, &b);
    bool same = str_eq(buf_view(&b), text);
    buf_fini(&b);
    return same;
}

/* ---- built-in vocabularies ---- */

static void small_spm(void)
{
    struct vocab v;
    vocab_init(&v);
    vocab_spm(&v);
    if (!ok(vocab_open(&v, &err) == ERR_OK, "a small SPM vocabulary opens")) return;
    const struct tok *t = v.tok;
    char want[64];
    int32_t hello = tok_find(t, S("\xE2\x96\x81hello")),
            world = tok_find(t, S("\xE2\x96\x81world"));
    snprintf(want, sizeof want, "1 %d %d", hello, world);
    is_str(encode(t, S("hello world"), TOK_ADD_SPECIAL), str_c(want), "words, BOS in front");
    snprintf(want, sizeof want, "%d %d %d", tok_find(t, S("\xE2\x96\x81")), 3 + 0xE2, 3 + 0x82);
    str euro = encode(t, S("\xE2\x82"), 0);
    is_str(euro, str_c(want), "half a character is bytes");
    snprintf(want, sizeof want, "%d", hello);
    is_str(encode(t, S(""), 0), S(""), "nothing gives nothing");
    is_str(encode(t, S("hello"), 0), str_c(want), "no BOS unless asked");
    int32_t end = tok_find(t, S("<|im_end|>"));
    snprintf(want, sizeof want, "%d %d %d", hello, end, world);
    is_str(encode(t, S("hello<|im_end|>world"), TOK_PARSE_SPECIAL), str_c(want),
           "a control token is parsed and the text after it gets its space");
    str plain = encode(t, S("<|im_end|></s>"), 0);
    snprintf(want, sizeof want, " %d", end);
    ok(str_find(plain, str_c(want), 0) == SIZE_MAX, "and is plain text otherwise");
    ok(round_trip(t, S("<|im_end|></s><unk><0x41>"), 0), "which comes back as it was");
    int32_t user = tok_find(t, S("<user>"));
    snprintf(want, sizeof want, "%d %d", user, hello);
    is_str(encode(t, S("<user>hello"), 0), str_c(want), "a user-defined token is always found");
    ok(tok_is_end(t, end) && tok_is_end(t, 2) && !tok_is_end(t, 1) && !tok_is_end(t, hello) &&
           !tok_is_end(t, -1) && !tok_is_end(t, 1 << 30),
       "ends of a turn");
    ok(round_trip(t, S("  hello   world \n\xF0\x9F\x98\x80 h\xC3\xA9"), 0), "round trip");
    buf b;
    buf_init(&b, 4096);
    int32_t ids[] = {1, hello, 3 + 0xE2, 3 + 0x82, world, 3 + 0xFF, 99999, -5, end};
    tok_decode(t, ids, 9, false, &b);
    is_str(buf_view(&b), S("hello\xEF\xBF\xBD world\xEF\xBF\xBD"), "broken bytes become U+FFFD");
    buf_clear(&b);
    tok_decode(t, ids, 9, true, &b);
    ok(str_ends(buf_view(&b), S("<|im_end|>")), "control tokens are shown on demand");
    buf_fini(&b);
    is_str(str_c(tok_model_name(t)), S("llama"), "model name");
    ok(tok_strips_first_space(t) && tok_bos(t) == 1 && tok_eos(t) == 2 && tok_adds_bos(t),
       "its settings");
    vocab_fini(&v);
}

static void small_bpe(void)
{
    struct vocab v;
    vocab_init(&v);
    vocab_bpe(&v, S("gpt-2"));
    if (!ok(vocab_open(&v, &err) == ERR_OK, "a small BPE vocabulary opens")) return;
    const struct tok *t = v.tok;
    is_str(encode(t, S("hello world"), TOK_ADD_SPECIAL), S("259 264"), "words");
    is_str(encode(t, S("aaaaaa"), 0), S("266 265"), "leftmost first");
    is_str(encode(t, S("the<|eot_id|>the"), TOK_PARSE_SPECIAL), S("116 256 272 116 256"),
           "control token");
    is_str(encode(t, S("<user><|bos|>"), 0), S("273 60 124 98 111 115 124 62"),
           "user-defined tokens always, control tokens not");
    is_str(encode(t, S("\xFFhe\x80"), 0), S("255 256 128"), "bytes that are no text");
    ok(tok_is_end(t, 272) && !tok_is_end(t, 271), "ends of a turn");
    ok(round_trip(t, S("  hello   world \n\xF0\x9F\x98\x80 h\xC3\xA9"), 0), "round trip");
    vocab_fini(&v);
}

static void class_runs(const struct tok *t, const char *name)
{
    static const struct {
        const char *what, *unit;
    } runs[] = {{"letters", "a"},
                {"spaces", " "},
                {"digits", "7"},
                {"line ends", "\n"},
                {"ideographs", "\xE4\xBD\xA0"},
                {"emoji", "\xF0\x9F\x98\x80"},
                {"marks", "\xCC\x81"},
                {"punctuation", "!"},
                {"quotes", "'"},
                {"less-than", "<|"},
                {"controls", "\x01"},
                {"broken bytes", "\xFF"}};
    double worst = 0;
    const char *which = "";
    size_t good = 0, n_runs = sizeof runs / sizeof runs[0];
    for (size_t i = 0; i < n_runs; i++) {
        buf b;
        buf_init(&b, RUN_BYTES * 2);
        while (b.n < RUN_BYTES)
            buf_c(&b, runs[i].unit);
        uint64_t from = cpu_ns();
        int32_t *ids;
        size_t n;
        good += tok_encode(t, &scratch, buf_view(&b), TOK_PARSE_SPECIAL, &ids, &n, &err) == ERR_OK;
        double ms = ms_since(from);
        if (ms > worst) {
            worst = ms;
            which = runs[i].what;
        }
        buf_fini(&b);
    }
    printf("# %s: slowest run of one class: %s, %.1f ms\n", name, which, worst);
    ok(good == n_runs && worst < (sanitized() ? 8000 : 800), "%s: 128 KiB of one class", name);
    arena_clear(&scratch);
}

/* Every pre-tokenizer with one text; the ids of vocab_bpe are the bytes unless something merges. */
static void pre_tokenizers(void)
{
    static const struct {
        const char *pre, *text, *want;
    } cases[] = {
        {"gpt-2", "12 12", "268 32 268"},    {"llama-bpe", "1212", "268 49 50"},
        {"llama-bpe", "12", "271 268"},      {"qwen2", "12", "49 50"},
        {"starcoder", "12", "49 50"},        {"falcon", "1212", "268 49 50"},
        {"default", "1212", "268 49 50"},    {"deepseek-v3", "1212", "268 49 50"},
        {"deepseek-llm", "1212", "268 268"}, {"deepseek-coder", "12", "49 50"},
        {"gpt-4o", "1212", "268 49 50"},     {"kimi-k2", "1212", "268 49 50"},
        {"tekken", "12", "271 49 50"},       {"bloom", "12(12", "268 40 268"},
        {"viking", "12", "49 50"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vocab v;
        vocab_init(&v);
        vocab_bpe(&v, str_c(cases[i].pre));
        enum err rc = vocab_open(&v, &err);
        bool bos = rc == ERR_OK && cases[i].want[0] == '2' && cases[i].want[1] == '7';
        str got = rc == ERR_OK ? encode(v.tok, str_c(cases[i].text), bos ? TOK_ADD_SPECIAL : 0)
                               : str_c(err.text);
        is_str(got, str_c(cases[i].want), cases[i].pre);
        if (rc == ERR_OK) class_runs(v.tok, cases[i].pre);
        vocab_fini(&v);
    }
    struct vocab v;
    vocab_init(&v);
    vocab_bpe(&v, S("nonsense"));
    ok(vocab_open(&v, &err) == ERR_UNSUPPORTED && strstr(err.text, "nonsense"),
       "an unknown pre-tokenizer is refused by name");
    vocab_fini(&v);
}

/* Every name that llama.cpp knows for byte-level and for character-level BPE. */
static void all_names(void)
{
    static const char *const names[] = {"default",
                                        "minicpm5",
                                        "llama3",
                                        "llama-v3",
                                        "llama-bpe",
                                        "falcon3",
                                        "falcon-h1",
                                        "pixtral",
                                        "midm-2.0",
                                        "lfm2",
                                        "jina-v5-nano",
                                        "deepseek-llm",
                                        "deepseek-coder",
                                        "deepseek-v3",
                                        "spark2_5",
                                        "youtu",
                                        "falcon",
                                        "mpt",
                                        "starcoder",
                                        "gpt-2",
                                        "phi-2",
                                        "jina-es",
                                        "jina-de",
                                        "gigachat",
                                        "jina-v2-es",
                                        "jina-v2-de",
                                        "a.x-4.0",
                                        "mellum",
                                        "modern-bert",
                                        "jais-2",
                                        "gemma4",
                                        "granite-embed-multi-311m",
                                        "sarvam-moe",
                                        "jina-v1-en",
                                        "jina-v2-code",
                                        "roberta-bpe",
                                        "whitespace",
                                        "refact",
                                        "command-r",
                                        "qwen2",
                                        "deepseek-r1-qwen",
                                        "kormo",
                                        "f2llmv2",
                                        "qwen35",
                                        "stablelm2",
                                        "olmo",
                                        "dbrx",
                                        "smaug-bpe",
                                        "poro-chat",
                                        "glm4",
                                        "chatglm-bpe",
                                        "viking",
                                        "jais",
                                        "tekken",
                                        "smollm",
                                        "codeshell",
                                        "bloom",
                                        "gpt3-finnish",
                                        "exaone",
                                        "exaone4",
                                        "exaone-moe",
                                        "chameleon",
                                        "minerva-7b",
                                        "megrez",
                                        "gpt-4o",
                                        "llama4",
                                        "kanana2",
                                        "talkie",
                                        "granite-embed-multi-97m",
                                        "tiny_aya",
                                        "cohere2moe",
                                        "superbpe",
                                        "trillion",
                                        "granite-docling",
                                        "bailingmoe",
                                        "bailingmoe2",
                                        "llada-moe",
                                        "seed-coder",
                                        "hunyuan",
                                        "hunyuan-dense",
                                        "hy_v4",
                                        "joyai-llm",
                                        "kimi-k2",
                                        "ufakzeka",
                                        "grok-2",
                                        "afmoe",
                                        "laguna",
                                        "minimax-m2",
                                        "solar-open",
                                        "mellum2"};
    size_t bad = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct vocab v;
        vocab_init(&v);
        vocab_bpe(&v, str_c(names[i]));
        bool good = vocab_open(&v, &err) == ERR_OK;
        good = good && str_find(encode(v.tok, S("hello"), 0), S("259"), 0) != SIZE_MAX;
        if (!good) printf("# %s: %s\n", names[i], err.text);
        bad += !good;
        vocab_fini(&v);
    }
    is_int(bad, 0, "every pre-tokenizer opens");
}

/* Where the words of a text end, first stage after stage: "a|b|c" for a scanner. */
static str cut(tok_scan_fn *scan, const char *text, unsigned arg)
{
    static char out[256];
    size_t n = 0, end = strlen(text);
    for (size_t at = 0; at < end;) {
        size_t to = scan(text, at, end, arg);
        bool skip = to & TOK_SKIP;
        to &= ~TOK_SKIP;
        if (n) out[n++] = skip ? '^' : '|';
        if (!skip) memcpy(out + n, text + at, to - at);
        if (!skip) n += to - at;
        at = to;
    }
    return (str){out, n};
}

static void scanners(void)
{
    static const struct {
        tok_scan_fn *scan;
        unsigned arg;
        const char *text, *want;
    } cases[] = {
        {tok_scan_words, 3 | TOK_W_FRONT | TOK_W_TAIL_NL | TOK_W_CASCADE, "a           b",
         "a|        |  | b"},
        {tok_scan_words, 3 | TOK_W_FRONT | TOK_W_TAIL_NL | TOK_W_CASCADE, "a   ", "a|  | "},
        {tok_scan_words, 1 | TOK_W_FRONT | TOK_W_PHRASE | TOK_W_TAIL_ONE, "the cat  12!!//\n\n",
         "the cat| | |1|2|!!//\n|\n"},
        {tok_scan_threes, 0, "ab1234567 12", "ab|1|234|567| |12"},
        {tok_scan_threes, 1, "12345a678 90", "12|345a|678 90"},
        {tok_scan_threes_word, 0, "1234 1234x 12", "1|234| 1234x |12"},
        {tok_scan_chameleon, 0, "a<sentinel:12><sentinel:>", "a|<sentinel:12>|<sentinel:>"},
        {tok_scan_chameleon, 1, "IMGIMGABZIMGIMGZ", "IMGIMGABZ|IMGIMGZ"},
        {tok_scan_chameleon, 2, "a\t       b", "a|\t|    |  | b"},
        {tok_scan_youtu, 0, "a\xE3\x84\xB1\xE3\x84\x85\xE3\x80\x81x",
         "a|\xE3\x84\xB1|\xE3\x84\x85|\xE3\x80\x81|x"},
        {tok_scan_deepseek3, 1, "a!\n\nb  c", "a|!|\n|\n|b| | c"},
        {tok_scan_blanks, 1, "a,  b", "a|,^|b"},
        {tok_scan_metaspace, 0,
         "a\xE2\x96\x81\xE2\x96\x81"
         "b",
         "a|\xE2\x96\x81|\xE2\x96\x81"
         "b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        is_str(cut(cases[i].scan, cases[i].text, cases[i].arg), str_c(cases[i].want),
               cases[i].text);
}

/* ---- the kinds that match whole tokens ---- */

static void put_vocab(struct vocab *v, const char *model, const char *const *words,
                      const int32_t *type, size_t n)
{
    str text[32];
    for (size_t i = 0; i < n; i++)
        text[i] = str_c(words[i]);
    vocab_str(v, "tokenizer.ggml.model", str_c(model));
    vocab_strs(v, "tokenizer.ggml.tokens", text, n);
    vocab_i32s(v, "tokenizer.ggml.token_type", type, n);
}

#define SP "\xE2\x96\x81"

static void small_wpm(void)
{
    static const char *const words[] = {
        "[UNK]", "[CLS]",  "[SEP]", SP "un",           "aff",     "able",
        SP "!",  SP "caf", "e",     SP "\xE4\xBD\xA0", SP "able", SP "caf\xC3\xA9"};
    static const int32_t type[] = {3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (unsigned cased = 0; cased < 2; cased++) {
        struct vocab v;
        vocab_init(&v);
        put_vocab(&v, "bert", words, type, 12);
        vocab_u32(&v, "tokenizer.ggml.cls_token_id", 1);
        vocab_u32(&v, "tokenizer.ggml.bos_token_id", 1);
        vocab_u32(&v, "tokenizer.ggml.seperator_token_id", 2);
        vocab_u32(&v, "tokenizer.ggml.unknown_token_id", 0);
        if (cased) vocab_bool(&v, "tokenizer.ggml.normalizer.lowercase", false);
        if (!ok(vocab_open(&v, &err) == ERR_OK, "a small WordPiece vocabulary opens")) return;
        str text = S("UNaffable! caf\xC3\xA9 \xE4\xBD\xA0\xE4\xBD\xA0 able\x01x");
        is_str(encode(v.tok, text, TOK_ADD_SPECIAL),
               cased ? S("1 0 6 11 9 9 0 2") : S("1 3 4 5 6 7 8 9 9 0 2"),
               cased ? "with case and accents" : "without");
        is_str(str_c(tok_model_name(v.tok)), S("bert"), "model name");
        buf b;
        buf_init(&b, 256);
        tok_decode(v.tok, (int32_t[]){3, 4, 5, 6, 7, 8}, 6, false, &b);
        is_str(buf_view(&b), S("unaffable ! cafe"), "and back");
        buf_fini(&b);
        class_runs(v.tok, "bert");
        vocab_fini(&v);
    }
}

static void small_ugm(void)
{
    static const char *const words[] = {"<pad>", "</s>", "<unk>", SP,     "a",  "b",  "ab",
                                        SP "ab", "abc",  "c",     SP "a", "bc", "<u>"};
    static const int32_t type[] = {3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4};
    static const float score[] = {0, 0, 0, -2, -3, -3, -4, -5.5f, -9, -3.5f, -4.5f, -4, 0};
    struct vocab v;
    vocab_init(&v);
    put_vocab(&v, "t5", words, type, 13);
    vocab_f32s(&v, "tokenizer.ggml.scores", score, 13);
    vocab_bool(&v, "tokenizer.ggml.add_space_prefix", true);
    vocab_bool(&v, "tokenizer.ggml.remove_extra_whitespaces", true);
    if (!ok(vocab_open(&v, &err) == ERR_OK, "a small Unigram vocabulary opens")) return;
    is_str(encode(v.tok, S("abc ab"), 0), S("10 11 7"), "the best sum of scores");
    is_str(encode(v.tok, S("  xyab \n  "), 0), S("3 2 6 3 2"), "unknown characters in one");
    is_str(encode(v.tok, S("a bc"), TOK_ADD_SPECIAL), S("10 3 11 1"), "EOS after the text");
    ok(round_trip(v.tok, S("ab abc"), 0), "round trip");
    is_str(str_c(tok_model_name(v.tok)), S("t5"), "model name");
    class_runs(v.tok, "t5");
    vocab_fini(&v);
}

static void small_rwkv(void)
{
    static const char *const words[] = {"<s>",   "a",  "b",   "\\n",  "\\x00", "\\xe4\\xbd",
                                        "\\xa0", "ab", "a b", "\\\\", "\\'",   "\\t\\t"};
    static const int32_t type[] = {3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    struct vocab v;
    vocab_init(&v);
    put_vocab(&v, "rwkv", words, type, 12);
    if (!ok(vocab_open(&v, &err) == ERR_OK, "a small RWKV vocabulary opens")) return;
    const struct tok *t = v.tok;
    is_str(encode(t, S("aba b\n\\'\t\t"), TOK_ADD_SPECIAL), S("7 8 3 9 10 11"), "longest first");
    is_str(encode(t, (str){"\0\xE4\xBD\xA0", 4}, 0), S("4 5 6"), "bytes");
    is_str(encode(t, S("<s>a"), 0), S("1"), "what is no token is left out");
    is_str(encode(t, S("<s>a"), TOK_PARSE_SPECIAL), S("0 1"), "control tokens on demand");
    ok(round_trip(t, S("a bb\n\\'\t\t\xE4\xBD\xA0"), 0), "round trip");
    class_runs(t, "rwkv");
    vocab_fini(&v);
}

static void small_plamo(void)
{
    static const char *const words[] = {"<unk>", "<s>", "</s>", "a", "b", "ab", "bc", "c", " a"};
    static const int32_t type[] = {2, 3, 3, 1, 1, 1, 1, 1, 1};
    static const float score[] = {0, 0, 0, -1, -1, -1.5f, -1, -1.5f, -2};
    struct vocab v;
    str text[9 + 256];
    int32_t types[9 + 256];
    float scores[9 + 256];
    static char bytes[256][8];
    for (size_t i = 0; i < 9; i++) {
        text[i] = str_c(words[i]);
        types[i] = type[i];
        scores[i] = score[i];
    }
    for (size_t i = 0; i < 256; i++) {
        snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", (unsigned)i);
        text[9 + i] = str_c(bytes[i]);
        types[9 + i] = 6;
        scores[9 + i] = 0;
    }
    vocab_init(&v);
    vocab_str(&v, "tokenizer.ggml.model", S("plamo2"));
    vocab_strs(&v, "tokenizer.ggml.tokens", text, 265);
    vocab_i32s(&v, "tokenizer.ggml.token_type", types, 265);
    vocab_f32s(&v, "tokenizer.ggml.scores", scores, 265);
    if (!ok(vocab_open(&v, &err) == ERR_OK, "a small PLaMo vocabulary opens")) return;
    is_str(encode(v.tok, S("abc a"), 0), S("3 6 8"), "the cheapest way");
    is_str(encode(v.tok,
                  S("\xEF\xBB\xBF"
                    "ab\xC3\xA9"),
                  0),
           S("5 204 178"), "bytes for the rest, no byte order mark");
    is_str(encode(v.tok, S("bcc"), 0), S("6 7"), "from the end");
    ok(round_trip(v.tok, S("abc a\xF0\x9F\x98\x80"), 0), "round trip");
    is_str(str_c(tok_model_name(v.tok)), S("plamo2"), "model name");
    class_runs(v.tok, "plamo2");
    vocab_fini(&v);
}

/* A charsmap whose unit points outside of it, and one shorter than it says. */
static void broken_charsmaps(void)
{
    static const char *const words[] = {"<pad>", "</s>", "<unk>", "a"};
    static const int32_t type[] = {3, 3, 2, 1};
    static const char maps[][12] = {{4, 0, 0, 0, 0, (char)0xFF, (char)0xFF, 0x7F, 'a', 0, 'b', 0},
                                    {(char)0xFF, (char)0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                                    {0}};
    for (size_t i = 0; i < 3; i++) {
        struct vocab v;
        vocab_init(&v);
        put_vocab(&v, "t5", words, type, 4);
        vocab_arr(&v, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, 12);
        buf_put(&v.kv, maps[i], 12);
        if (ok(vocab_open(&v, &err) == ERR_OK, "a broken charsmap"))
            is_str(encode(v.tok, S("a"), 0), S("3"), "changes nothing");
        vocab_fini(&v);
    }
}

/* ---- hostile vocabularies ---- */

enum fault {
    NO_MODEL,
    BAD_MODEL,
    NO_TOKENS,
    TOKENS_NOT_STRINGS,
    SHORT_TYPES,
    SHORT_SCORES,
    BAD_BYTE,
    BAD_BOS,
    NO_MERGES,
    MERGES_NOT_STRINGS,
    FAULTS
};

static enum err open_faulty(enum fault f)
{
    static const str text[] = {{"a", 1}, {"b", 1}, {"ab", 2}, {"<0xZZ>", 6}};
    static const int32_t type[] = {1, 1, 1, 6};
    static const float score[] = {0, 0, 0, 0};
    struct vocab v;
    vocab_init(&v);
    bool bpe = f >= NO_MERGES;
    if (f != NO_MODEL)
        vocab_str(&v, "tokenizer.ggml.model",
                  f == BAD_MODEL ? S("abacus")
                  : bpe          ? S("gpt2")
                                 : S("llama"));
    if (f == TOKENS_NOT_STRINGS)
        vocab_i32s(&v, "tokenizer.ggml.tokens", type, 4);
    else if (f != NO_TOKENS)
        vocab_strs(&v, "tokenizer.ggml.tokens", text, 4);
    vocab_i32s(&v, "tokenizer.ggml.token_type", type, f == SHORT_TYPES ? 2 : f == BAD_BYTE ? 4 : 4);
    vocab_f32s(&v, "tokenizer.ggml.scores", score, f == SHORT_SCORES ? 3 : 4);
    if (f == BAD_BOS) vocab_u32(&v, "tokenizer.ggml.bos_token_id", 4);
    if (f == MERGES_NOT_STRINGS) vocab_i32s(&v, "tokenizer.ggml.merges", type, 4);
    enum err rc = vocab_open(&v, &err);
    vocab_fini(&v);
    return rc;
}

static void hostile(void)
{
    static const char *const name[FAULTS] = {"no model",
                                             "an unknown model",
                                             "no tokens",
                                             "tokens that are numbers",
                                             "too few types",
                                             "too few scores",
                                             "a byte token that is none",
                                             "BOS beyond the vocabulary",
                                             "no merges",
                                             "merges that are numbers"};
    for (unsigned f = 0; f < FAULTS; f++)
        ok(open_faulty((enum fault)f) != ERR_OK && err.text[0], "refused: %s (%s)", name[f],
           err.text);

    /* Odd but harmless: duplicates, empty tokens, merges of what is not there. */
    static const str text[] = {{"a", 1}, {"a", 1}, {"", 0}, {"", 0}, {"b", 1}, {"abc", 3}};
    static const str merge[] = {{"a b", 3}, {"ab c", 4}, {"a b", 3}, {"", 0},
                                {" ", 1},   {"a", 1},    {"a ", 2},  {" a", 2},
                                {"x y", 3}, {"xy z", 4}, {"  ", 2}};
    struct vocab v;
    vocab_init(&v);
    vocab_str(&v, "tokenizer.ggml.model", S("gpt2"));
    vocab_strs(&v, "tokenizer.ggml.tokens", text, 6);
    vocab_strs(&v, "tokenizer.ggml.merges", merge, 11);
    if (ok(vocab_open(&v, &err) == ERR_OK, "odd merges and doubles open")) {
        is_str(encode(v.tok, S("abc"), 0), S("5"), "merges go on over a part that is no token");
        is_str(encode(v.tok, S("ab"), 0), S("0 4"), "what is left of it is written as bytes");
        is_str(encode(v.tok, S("xyz!"), 0), S(""), "bytes without a token vanish");
    }
    vocab_fini(&v);
}

/* ---- real vocabularies ---- */

static uint64_t rng = 88172645463325252ull;
static uint32_t random_below(uint32_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 33) % n;
}

/* Some vocabularies lack tokens for bytes; such text cannot come back. */
static bool can_spell(const struct tok *t, str s)
{
    for (size_t i = 0; i < s.n && strcmp(tok_model_name(t), "gpt2") == 0; i++) {
        struct arena a;
        arena_init(&a, 1 << 16);
        str one = vocab_spell(&a, str_sub(s, i, 1));
        bool has = tok_find(t, one) >= 0;
        arena_fini(&a);
        if (!has) return false;
    }
    return true;
}

static str random_text(const struct tok *t, buf *b)
{
    static const uint32_t top[] = {0x80, 0x80, 0x250, 0x600, 0x3000, 0xA000, 0x1F700, 0x110000};
    buf_clear(b);
    for (uint32_t n = random_below(60); n; n--) {
        char c[4];
        uint32_t cp = random_below(4) ? random_below(top[random_below(8)]) : 32;
        if (cp == 0x2581) continue; /* SPM's own spelling of a space */
        str one = {c, utf8_put(c, cp)};
        if (can_spell(t, one)) buf_str(b, one);
    }
    return buf_view(b);
}

static void round_trips(const struct tok *t, const char *name)
{
    char *text;
    size_t n, bad = 0;
    const char *p = tap_data("text/war-and-peace-400k.txt");
    if (p && map_read_file(p, 1 << 20, &text, &n, &err) == ERR_OK) {
        uint64_t from = cpu_ns();
        int32_t *ids;
        size_t n_ids;
        double first, best = 1e9;
        ok(tok_encode(t, &scratch, (str){text, n}, 0, &ids, &n_ids, &err) == ERR_OK &&
               round_trip(t, (str){text, n}, 0),
           "%s: a novel comes back, %zu tokens", name, n_ids);
        first = ms_since(from);
        for (int i = 0; i < 3; i++) {
            arena_clear(&scratch);
            from = cpu_ns();
            if (tok_encode(t, &scratch, (str){text, n}, 0, &ids, &n_ids, &err) != ERR_OK) break;
            if (ms_since(from) < best) best = ms_since(from);
        }
        printf("# %s: %.1f MB/s (there and back, first time: %.0f ms)\n", name,
               (double)n / 1e3 / best, first);
        mem_free(text);
    }
    buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 3000; i++) {
        str s = random_text(t, &b);
        bad += !round_trip(t, s, i % 2 ? 0 : TOK_ADD_SPECIAL);
        if (i % 256 == 0) arena_clear(&scratch);
    }
    ok(bad == 0, "%s: 3000 random texts come back, %zu do not", name, bad);
    buf_fini(&b);
    arena_clear(&scratch);
}

static void all_about(const struct tok *t, const char *name)
{
    tok_vocab_cases(t, &scratch, name);
    class_runs(t, name);
    round_trips(t, name);
}

static void from_files(void)
{
    static const char *const names[] = {"llama-spm", "phi-3", "gpt-2", "falcon"};
    for (size_t i = 0; i < 4; i++) {
        char rel[128];
        struct gguf g;
        struct tok *t;
        snprintf(rel, sizeof rel, "tokenizers/ggml-vocab-%s.gguf", names[i]);
        const char *p = tap_data(rel);
        if (!p) {
            skip("no shared test data");
            continue;
        }
        if (!ok(gguf_open(&g, p, &err) == ERR_OK, "%s opens", rel)) continue;
        uint64_t from = cpu_ns();
        if (ok(tok_open(&t, &g, &err) == ERR_OK, "%s: its tokenizer", names[i])) {
            printf("# %s: %u tokens opened in %.1f ms\n", names[i], tok_count(t), ms_since(from));
            all_about(t, names[i]);
            tok_close(t);
        }
        gguf_close(&g);
    }
}

/* Opens what was collected, with the times the contract asks for. */
static void timed(struct vocab *v, const char *name)
{
    if (!ok(vocab_parse(v, &err) == ERR_OK, "%s: header parses", name)) return;
    double open = 1e9, first = 1e9;
    for (int i = 0; i < 3; i++) {
        tok_close(v->tok);
        uint64_t from = cpu_ns();
        if (tok_open(&v->tok, &v->g, &err) != ERR_OK) break;
        double ms = ms_since(from);
        if (ms < open) open = ms;
        from = cpu_ns();
        encode(v->tok, S("Hello world"), 0);
        ms = ms_since(from);
        if (ms < first) first = ms;
    }
    if (!ok(v->tok != NULL, "%s: opens", name)) return;
    printf("# %s: %u tokens: opened in %.1f ms, first text after %.1f ms more\n", name,
           tok_count(v->tok), open, first);
    ok(open < (sanitized() ? 600 : 100) && first < (sanitized() ? 2500 : 300), "%s: in time", name);
    all_about(v->tok, name);
}

static void llama3(void)
{
    const char *enc = tap_data("tokenizers/llama3.2/encoder.json"),
               *mrg = tap_data("tokenizers/llama3.2/merges.txt");
    if (!enc || !mrg) {
        skip("no shared test data");
        return;
    }
    struct vocab v;
    struct arena a;
    char *text, *merges;
    size_t n_text, n_merges, n = 0;
    const struct json *root;
    vocab_init(&v);
    arena_init(&a, (size_t)256 << 20);
    if (!ok(map_read_file(enc, 8 << 20, &text, &n_text, &err) == ERR_OK &&
                map_read_file(mrg, 8 << 20, &merges, &n_merges, &err) == ERR_OK &&
                json_parse(&a, (str){text, n_text}, &root, &err) == ERR_OK,
            "encoder.json and merges.txt"))
        return;
    str *tokens = ARENA_NEW(&a, str, root->n), *pairs = ARENA_NEW(&a, str, 400000);
    for (size_t i = 0; i < root->n; i++)
        tokens[root->items[i].i] = root->items[i].key;
    for (str rest = {merges, n_merges}; rest.n && n < 400000;)
        pairs[n++] = str_cut(rest, '\n', &rest);
    vocab_str(&v, "tokenizer.ggml.model", S("gpt2"));
    vocab_str(&v, "tokenizer.ggml.pre", S("llama-bpe"));
    vocab_strs(&v, "tokenizer.ggml.tokens", tokens, root->n);
    vocab_strs(&v, "tokenizer.ggml.merges", pairs, n);
    timed(&v, "llama-bpe");
    vocab_fini(&v);
    arena_fini(&a);
    mem_free(text);
    mem_free(merges);
}

/* ---- tiktoken: ranks of byte strings; the merges are worked out from them ---- */

struct ranks {
    str *text;
    uint32_t n, *slot;
    size_t mask;
};

static uint32_t rank_of(const struct ranks *r, const char *p, size_t n)
{
    str s = {p, n};
    for (size_t i = str_hash(s) & r->mask; r->slot[i]; i = (i + 1) & r->mask)
        if (str_eq(r->text[r->slot[i] - 1], s)) return r->slot[i] - 1;
    return UINT32_MAX;
}

/* Where the two parts of a token meet: all merges below its own rank done. 0: a single byte. */
static size_t cut_of(const struct ranks *r, uint32_t id)
{
    size_t cut[257], n = r->text[id].n;
    const char *p = r->text[id].p;
    if (n < 2 || n > 256) return 0;
    for (size_t i = 0; i <= n; i++)
        cut[i] = i;
    while (n > 2) {
        uint32_t best = id;
        size_t at = 0;
        for (size_t i = 0; i + 2 <= n; i++) {
            uint32_t rank = rank_of(r, p + cut[i], cut[i + 2] - cut[i]);
            if (rank >= best) continue;
            best = rank;
            at = i + 1;
        }
        if (!at) return 0;
        memmove(&cut[at], &cut[at + 1], (n - at) * sizeof cut[0]);
        n--;
    }
    return cut[1];
}

static str base64(struct arena *a, str s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *p = arena_alloc(a, s.n, 1);
    size_t n = 0;
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < s.n && s.p[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, s.p[i]) - digits);
        if ((have += 6) >= 8) p[n++] = (char)(bits >> (have -= 8));
    }
    return (str){p, n};
}

static void qwen2(void)
{
    const char *path = tap_data("tokenizers/qwen2/qwen.tiktoken");
    if (!path) {
        skip("no shared test data");
        return;
    }
    struct vocab v;
    struct arena a;
    char *text;
    size_t n_text, slots = 1 << 19, n = 0;
    vocab_init(&v);
    arena_init(&a, (size_t)256 << 20);
    if (!ok(map_read_file(path, 8 << 20, &text, &n_text, &err) == ERR_OK, "qwen.tiktoken")) return;
    struct ranks r = {ARENA_NEW(&a, str, 200000), 0, ARENA_NEW(&a, uint32_t, slots), slots - 1};
    for (str rest = {text, n_text}; rest.n && r.n < 200000;) {
        str s = r.text[r.n] = base64(&a, str_cut(str_cut(rest, '\n', &rest), ' ', &(str){0}));
        size_t i = str_hash(s) & r.mask;
        while (r.slot[i])
            i = (i + 1) & r.mask;
        r.slot[i] = ++r.n;
    }
    str *tokens = ARENA_NEW(&a, str, r.n), *pairs = ARENA_NEW(&a, str, r.n);
    for (uint32_t i = 0; i < r.n; i++) {
        size_t cut = cut_of(&r, i);
        tokens[i] = vocab_spell(&a, r.text[i]);
        if (!cut) continue;
        str l = vocab_spell(&a, str_sub(r.text[i], 0, cut)),
            rr = vocab_spell(&a, str_sub(r.text[i], cut, SIZE_MAX));
        pairs[n++] = arena_printf(&a, "%.*s %.*s", STR(l), STR(rr));
    }
    vocab_str(&v, "tokenizer.ggml.model", S("gpt2"));
    vocab_str(&v, "tokenizer.ggml.pre", S("qwen2"));
    vocab_strs(&v, "tokenizer.ggml.tokens", tokens, r.n);
    vocab_strs(&v, "tokenizer.ggml.merges", pairs, n);
    timed(&v, "qwen2");
    vocab_fini(&v);
    arena_fini(&a);
    mem_free(text);
}

static void golden(void)
{
    const char *path = tap_data("golden/tokenize.json");
    char *text;
    size_t n, tried = 0;
    const struct json *root;
    struct arena a;
    if (!path) {
        skip("no shared test data");
        return;
    }
    arena_init(&a, (size_t)64 << 20);
    if (!ok(map_read_file(path, 1 << 20, &text, &n, &err) == ERR_OK &&
                json_parse(&a, (str){text, n}, &root, &err) == ERR_OK,
            "tokenize.json"))
        return;
    size_t bad = 0;
    for (size_t i = 0; i < root->n; i++) {
        const struct json *c = &root->items[i], *want = json_get(c, "ids");
        str model = json_str(json_get(c, "model"), S(""));
        char rel[256];
        struct gguf g;
        struct tok *t;
        snprintf(rel, sizeof rel, "golden/%.*s/model.gguf", STR(model));
        const char *p = tap_data(rel);
        if (!p || gguf_open(&g, p, &err) != ERR_OK) continue;
        if (tok_open(&t, &g, &err) == ERR_OK) {
            buf b;
            buf_init(&b, 1 << 20);
            for (size_t k = 0; k < want->n; k++)
                buf_printf(&b, k ? " %d" : "%d", (int)want->items[k].i);
            unsigned flags =
                (json_bool(json_get(c, "add_special"), false) ? TOK_ADD_SPECIAL : 0u) |
                (json_bool(json_get(c, "parse_special"), false) ? TOK_PARSE_SPECIAL : 0u);
            str s = json_str(json_get(c, "text"), S("")), got = encode(t, s, flags);
            tried++;
            if (!str_eq(got, buf_view(&b))) {
                bad++;
                printf("# %.*s flags %u \"%.*s\"\n#  got %.*s\n# want %.*s\n", STR(model), flags,
                       STR(s), STR(got), STR(buf_view(&b)));
            }
            buf_fini(&b);
            tok_close(t);
        } else {
            bad++;
            printf("# %.*s: %s\n", STR(model), err.text);
        }
        gguf_close(&g);
    }
    ok(tried == root->n && bad == 0, "tokenize.json: %zu cases, %zu differ", tried, bad);
    arena_fini(&a);
    mem_free(text);
}

/* ---- threads ---- */

static void *encode_thread(void *arg)
{
    const struct tok *t = arg;
    struct arena a;
    size_t good = 0;
    arena_init(&a, 1 << 20);
    for (int i = 0; i < 50; i++) {
        int32_t *ids;
        size_t n;
        struct err_info e;
        good += tok_encode(t, &a, S("hello world"), 0, &ids, &n, &e) == ERR_OK && n == 2 &&
                ids[0] == 259;
    }
    arena_fini(&a);
    return (void *)good;
}

static void threads(void)
{
    struct vocab v;
    pthread_t id[4];
    size_t good = 0;
    vocab_init(&v);
    vocab_bpe(&v, S("llama-bpe"));
    if (vocab_open(&v, &err) == ERR_OK) {
        for (int i = 0; i < 4; i++)
            pthread_create(&id[i], NULL, encode_thread, v.tok);
        for (int i = 0; i < 4; i++) {
            void *n;
            pthread_join(id[i], &n);
            good += (size_t)n;
        }
    }
    is_int(good, 200, "four threads build the merges once and agree");
    vocab_fini(&v);
}

int main(void)
{
    arena_init(&scratch, (size_t)1 << 30);
    small_spm();
    small_bpe();
    pre_tokenizers();
    all_names();
    scanners();
    small_wpm();
    small_ugm();
    small_rwkv();
    small_plamo();
    broken_charsmaps();
    hostile();
    threads();
    from_files();
    llama3();
    qwen2();
    golden();
    arena_fini(&scratch);
    return tap_end();
}
