/* Tokenizers out of the files of a Hugging Face folder: what the same vocabulary gives from each of
 * its files, small ones built here, hostile ones, and, where the shared data is, the real ones.
 */
#include <ftw.h>
#include <time.h>
#include <unistd.h>

#include "tok_ids.h"

#include "text/tok_spec.h"
#include "tok_cases.h"

static struct err_info err;
static struct arena scratch;

static str ids_of(const struct tok *t, str text, unsigned flags)
{
    return tok_ids(t, &scratch, text, flags);
}

/* ---- folders ---- */

static char folder[64];

static int unlink_it(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st;
    (void)flag;
    (void)f;
    return remove(path);
}

static void folder_new(void)
{
    snprintf(folder, sizeof folder, "/tmp/rbee-tok-XXXXXX");
    if (!mkdtemp(folder)) folder[0] = 0;
}

static void folder_free(void)
{
    if (folder[0]) nftw(folder, unlink_it, 8, FTW_DEPTH | FTW_PHYS);
}

static void folder_put(const char *name, str content)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f) return;
    fwrite(content.p, 1, content.n, f);
    fclose(f);
}

static void folder_copy(const char *name, const char *from)
{
    char *p;
    size_t n;
    if (map_read_file(from, (size_t)64 << 20, &p, &n, &err) != ERR_OK) return;
    folder_put(name, (str){p, n});
    mem_free(p);
}

/* ---- one vocabulary, several files ---- */

/* Texts on which sources are compared. */
static const char *const texts[] = {"Hello world",
                                    " leading and   inner  spaces ",
                                    "",
                                    " ",
                                    "   ",
                                    "\n\n\t x\r\n",
                                    ("na\xC3\xAFve caf\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD "
                                     "\xF0\x9F\x98\x80\xF0\x9F\x91\xA8\xE2\x80\x8D"),
                                    "don't I'LL we're 1234567 3.14",
                                    "<s>not a token</s> <unk><|im_end|>",
                                    "\xE2\x96\x81 and \xE2\x96\x81\xE2\x96\x81 as text",
                                    "\xFF\xC3 broken \xE2\x82",
                                    "e\xCC\x81 \xEF\xAC\x81 \xC2\xBD",
                                    "foo(bar)[1]+=x**2;//don't"};
#define TEXTS (sizeof texts / sizeof texts[0])

/* How many of the texts, and of a novel's lines, two tokenizers cut differently. */
static size_t differ(const struct tok *a, const struct tok *b, const char *names)
{
    size_t bad = 0, n;
    char *novel = NULL;
    const char *path = tap_data("text/war-and-peace-400k.txt");
    for (size_t i = 0; i < TEXTS; i++)
        for (unsigned flags = 0; flags < 4; flags++) {
            str x = ids_of(a, str_c(texts[i]), flags), y = ids_of(b, str_c(texts[i]), flags);
            if (str_eq(x, y)) continue;
            bad++;
            printf("# %s \"%s\"\n#  %.*s\n#  %.*s\n", names, texts[i], STR(x), STR(y));
        }
    if (path && map_read_file(path, 1 << 20, &novel, &n, &err) == ERR_OK)
        bad += !str_eq(ids_of(a, (str){novel, n}, 0), ids_of(b, (str){novel, n}, 0));
    mem_free(novel);
    arena_clear(&scratch);
    return bad;
}

static void llama2(void)
{
    const char *json = tap_data("tokenizers/llama2/tokenizer.json"),
               *model = tap_data("tokenizers/llama2/tokenizer.model"),
               *config = tap_data("tokenizers/llama2/tokenizer_config.json"),
               *ggml = tap_data("tokenizers/ggml-vocab-llama-spm.gguf");
    if (!json || !model || !config || !ggml) {
        skip("no shared test data");
        return;
    }
    struct gguf g;
    struct tok *from_gguf, *from_json, *from_model;
    folder_new();
    folder_copy("tokenizer.model", model);
    folder_copy("tokenizer_config.json", config);
    if (ok(gguf_open(&g, ggml, &err) == ERR_OK && tok_open(&from_gguf, &g, &err) == ERR_OK &&
               tok_open_dir(&from_model, folder, &err) == ERR_OK,
           "llama2: GGUF and tokenizer.model")) {
        folder_copy("tokenizer.json", json);
        if (ok(tok_open_dir(&from_json, folder, &err) == ERR_OK, "llama2: tokenizer.json")) {
            is_int(differ(from_gguf, from_model, "gguf, model"), 0,
                   "GGUF and tokenizer.model agree");
            is_int(differ(from_gguf, from_json, "gguf, json"), 0, "GGUF and tokenizer.json agree");
            ok(tok_bos(from_json) == 1 && tok_eos(from_json) == 2 && tok_adds_bos(from_json) &&
                   tok_is_end(from_json, 2) && tok_count(from_json) == tok_count(from_gguf) &&
                   tok_adds_bos(from_model) && tok_bos(from_model) == 1,
               "its special tokens");
            tok_close(from_json);
        }
        tok_close(from_gguf);
        tok_close(from_model);
        gguf_close(&g);
    }
    folder_free();
}

/* The golden models whose GGUF cuts text as their tokenizer.json says. */
static void goldens(void)
{
    static const char *const names[] = {"llama",   "llama-bf16", "llama-linear", "llama-yarn",
                                        "gemma",   "gemma2",     "gemma3",       "mistral",
                                        "mixtral", "phi3",       "phi2"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char rel[128];
        struct gguf g;
        struct tok *a, *b;
        snprintf(rel, sizeof rel, "golden/%s/model.gguf", names[i]);
        const char *ggml = tap_data(rel);
        snprintf(rel, sizeof rel, "golden/%s/hf", names[i]);
        const char *dir = tap_data(rel);
        if (!ggml || !dir) {
            skip("no shared test data");
            continue;
        }
        if (!ok(gguf_open(&g, ggml, &err) == ERR_OK && tok_open(&a, &g, &err) == ERR_OK &&
                    tok_open_dir(&b, dir, &err) == ERR_OK,
                "%s: both sources open", names[i])) {
            printf("# %s\n", err.text);
            continue;
        }
        is_int(differ(a, b, names[i]), 0, names[i]);
        ok(tok_count(a) == tok_count(b) && tok_bos(a) == tok_bos(b) && tok_eos(a) == tok_eos(b) &&
               tok_adds_bos(a) == tok_adds_bos(b),
           "%s: the same special tokens", names[i]);
        tok_close(a);
        tok_close(b);
        gguf_close(&g);
    }
}

/* A folder of the shared data with a configuration, against llama.cpp's cases. */
static void cases_of(const char *name, const char *files[][2], const char *config)
{
    struct tok *t;
    folder_new();
    for (size_t i = 0; files[i][0]; i++) {
        const char *from = tap_data(files[i][1]);
        if (!from) {
            skip("no shared test data");
            folder_free();
            return;
        }
        folder_copy(files[i][0], from);
    }
    if (config) folder_put("tokenizer_config.json", str_c(config));
    if (ok(tok_open_dir(&t, folder, &err) == ERR_OK, "%s opens", name)) {
        tok_vocab_cases(t, &scratch, name);
        tok_close(t);
    } else {
        printf("# %s\n", err.text);
    }
    folder_free();
}

static void ranks_and_merges(void)
{
    const char *qwen[][2] = {{"qwen.tiktoken", "tokenizers/qwen2/qwen.tiktoken"}, {NULL, NULL}};
    const char *llama3[][2] = {{"encoder.json", "tokenizers/llama3.2/encoder.json"},
                               {"merges.txt", "tokenizers/llama3.2/merges.txt"},
                               {NULL, NULL}};
    cases_of("qwen2", qwen, NULL);
    cases_of("llama-bpe", llama3, "{\"tokenizer_class\":\"Llama3Tokenizer\"}");
}

/* ---- small files ---- */

/* A tokenizer.json with ' for ", opened; it lives in the arena. */
static enum err open_json(struct tok **t, struct arena *a, const char *quoted, str config)
{
    str json = arena_str(a, str_c(quoted));
    for (size_t i = 0; i < json.n; i++)
        if (json.p[i] == '\'') ((char *)(uintptr_t)json.p)[i] = '"';
    struct tok_spec spec = {0};
    enum err rc = tok_spec_from_json(&spec, a, json, config, (str){NULL, 0}, &err);
    return rc == ERR_OK ? tok_open_spec(t, &spec, &err) : rc;
}

static void small_files(void)
{
    for (size_t i = 0; i < sizeof tok_cases / sizeof tok_cases[0]; i++) {
        struct arena a;
        struct tok *t = NULL;
        arena_init(&a, (size_t)64 << 20);
        enum err rc = open_json(&t, &a, tok_cases[i].json, (str){NULL, 0});
        if (ok(rc == ERR_OK, "%s opens", tok_cases[i].name))
            for (size_t k = 0; k < 4 && tok_cases[i].text[k].text; k++)
                is_str(ids_of(t, str_c(tok_cases[i].text[k].text),
                              TOK_ADD_SPECIAL | TOK_PARSE_SPECIAL),
                       str_c(tok_cases[i].text[k].ids), tok_cases[i].name);
        else
            printf("# %s\n", err.text);
        tok_close(t);
        arena_fini(&a);
    }
    arena_clear(&scratch);
}

#define BYTES      "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false}"
#define BYTES_STEP "{'type':'ByteLevel','add_prefix_space':false}"
#define BPE(rest)  "{'model':{'type':'BPE','vocab':{'a':0,'b':1,'ab':2},'merges':['a b']}" rest "}"
#define ADDED                                                                                      \
    ",'added_tokens':[{'id':3,'content':'<s>','special':true},"                                    \
    "{'id':4,'content':'</s>','special':true}]"

static void settings(void)
{
    struct arena a;
    struct tok *t = NULL;
    arena_init(&a, (size_t)64 << 20);
    str config = S("{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"</s>\","
                   "\"add_bos_token\":true,\"add_eos_token\":true}");
    if (ok(open_json(&t, &a, BPE("," BYTES ADDED), config) == ERR_OK, "a configuration")) {
        ok(tok_bos(t) == 3 && tok_eos(t) == 4 && tok_adds_bos(t) && tok_is_end(t, 4),
           "names the special tokens");
        is_str(ids_of(t, S("ab"), TOK_ADD_SPECIAL), S("3 2 4"), "and puts them around the text");
        is_str(ids_of(t, S("ab</s>"), 0), S("2"), "but text makes none");
        is_str(ids_of(t, S("ab</s>"), TOK_PARSE_SPECIAL), S("2 4"), "unless it may");
    }
    tok_close(t);
    t = NULL;
    config = S("{\"add_bos_token\":false,\"bos_token\":\"<s>\"}");
    const char *around =
        BPE("," BYTES ADDED ",'post_processor':{'type':'TemplateProcessing','single':["
            "{'SpecialToken':{'id':'<s>'}},{'Sequence':{'id':'A'}}],"
            "'special_tokens':{'<s>':{'ids':[3]}}}");
    if (ok(open_json(&t, &a, around, config) == ERR_OK, "a configuration against the template"))
        is_str(ids_of(t, S("ab"), TOK_ADD_SPECIAL), S("2"), "takes the token away");
    tok_close(t);
    t = NULL;
    const char *pairs = "{'model':{'vocab':{'a':0,'b c':1,'ab c':2},'merges':[['a','b c']]}}";
    if (ok(open_json(&t, &a, pairs, (str){NULL, 0}) == ERR_OK, "merges as pairs, no type"))
        is_int(tok_find(t, S("ab c")), 2, "may hold spaces");
    tok_close(t);
    arena_fini(&a);
}

/* ---- hostile files ---- */

static void refused(void)
{
    static const struct {
        const char *json, *why;
    } cases[] = {
        {"", "byte"},
        {"[]", "model"},
        {"{}", "model"},
        {"{'model':{'type':'WordLevel','vocab':{'a':0}}}", "WordLevel"},
        {"{'model':{'type':'Abacus','vocab':{'a':0}}}", "Abacus"},
        {"{'model':{'type':'BPE','vocab':{},'merges':[]}}", "empty"},
        {"{'model':{'type':'BPE','vocab':{'a':0}}}", "merges"},
        {"{'model':{'type':'BPE','vocab':{'a':-1},'merges':[]}}", "negative"},
        {"{'model':{'type':'BPE','vocab':{'a':9999999},'merges':[]}}", "9999999"},
        {"{'model':{'type':'BPE','vocab':{'a':3000000},'merges':[]}}", "3000000"},
        {"{'model':{'type':'BPE','vocab':{'a':0.5},'merges':[]}}", "integer"},
        {"{'model':{'type':'BPE','vocab':{'a':0},'merges':['ab']}}", "merges[0]"},
        {"{'model':{'type':'BPE','vocab':{'a':0},'merges':[['a','b'],'a b']}}", "merges[1]"},
        {"{'model':{'type':'BPE','vocab':{'a':0},'merges':[],'end_of_word_suffix':'</w>'}}",
         "end_of_word_suffix"},
        {"{'model':{'type':'BPE','vocab':{'a':0},'merges':[],'unk_token':'?'}}", "unk_token"},
        {"{'model':{'type':'Unigram','vocab':[['a',1],['b']]}}", "vocab[1]"},
        {"{'model':{'type':'Unigram','vocab':[['a',1]],'unk_id':1}}", "unk_id"},
        {BPE(",'added_tokens':[{'id':5000000,'content':'x'}]"), "5000000"},
        {BPE(",'added_tokens':[{'id':5}]"), "content"},
        {BPE(",'normalizer':{'type':'Magic'}"), "Magic"},
        {BPE(",'normalizer':{'type':'Precompiled','precompiled_charsmap':'%%'}"), "base64"},
        {BPE(",'pre_tokenizer':{'type':'UnicodeScripts'}"), "UnicodeScripts"},
        {BPE(",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'(('},'behavior':'Isolated'}"),
         "(("},
        {BPE(",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'[a[b]]'},'behavior':'Isolated'"
             "}"),
         "[a[b]]"},
        {BPE(",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'a'},'behavior':'Odd'}"), "Odd"},
        {BPE(",'pre_tokenizer':{'type':'Sequence','pretokenizers':[" BYTES_STEP
             ",{'type':'Punctuation'}]}"),
         "after ByteLevel"},
        {BPE(",'decoder':{'type':'Ring'}"), "Ring"},
        {BPE(",'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':"
             "{'id':'x'}}],'special_tokens':{}}"),
         "special_tokens"},
        {BPE(",'post_processor':{'type':'BertProcessing','cls':['x',7],'sep':['y',8]}"),
         "not in the vocabulary"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena a;
        struct tok *t = NULL;
        arena_init(&a, (size_t)256 << 20);
        err.text[0] = 0;
        enum err rc = open_json(&t, &a, cases[i].json, (str){NULL, 0});
        ok(rc != ERR_OK && strstr(err.text, cases[i].why), "refused: %s", err.text);
        tok_close(t);
        arena_fini(&a);
    }
}

/* Sequences in one another, deeper than anyone needs. */
static void nested(void)
{
    struct arena a;
    struct tok *t = NULL;
    buf b;
    arena_init(&a, (size_t)64 << 20);
    buf_init(&b, 1 << 20);
    buf_c(&b, "{'model':{'type':'BPE','vocab':{'a':0},'merges':[]},'normalizer':");
    for (size_t i = 0; i < 40; i++)
        buf_c(&b, "{'type':'Sequence','normalizers':[");
    buf_c(&b, "{'type':'NFC'}");
    for (size_t i = 0; i < 40; i++)
        buf_c(&b, "]}");
    buf_c(&b, "}");
    ok(open_json(&t, &a, b.p, (str){NULL, 0}) == ERR_LIMIT, "refused: %s", err.text);
    buf_fini(&b);
    arena_fini(&a);
}

/* A pattern that would take for ever on some text: an error, soon. */
static void slow_pattern(void)
{
    struct arena a;
    struct tok *t = NULL;
    arena_init(&a, (size_t)64 << 20);
    const char *json =
        BPE(",'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Split',"
            "'pattern':{'Regex':'(a+)+(?:c|d)'},'behavior':'Isolated'}," BYTES_STEP "]}");
    if (ok(open_json(&t, &a, json, (str){NULL, 0}) == ERR_OK, "a pattern that explodes")) {
        int32_t *ids;
        size_t n;
        str text = S("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
        ok(tok_encode(t, &scratch, text, 0, &ids, &n, &err) == ERR_LIMIT, "%s", err.text);
    }
    tok_close(t);
    arena_fini(&a);
}

/* Long texts of one kind through patterns and normal forms: linear, so soon. */
static void long_texts(void)
{
    static const char *const units[] = {
        "a", " ", "1", "\n", "\xCC\x81\xCC\xA3", "\xEA\xB0\x80", "word ", "\xFF", "\xEF\xB7\xBA"};
    struct arena a;
    struct tok *t = NULL;
    arena_init(&a, (size_t)64 << 20);
    const char *json = BPE(",'normalizer':{'type':'Sequence','normalizers':[{'type':'NFKC'},"
                           "{'type':'BertNormalizer'},{'type':'Replace','pattern':{'Regex':"
                           "' {2,}'},'content':' '}]},'pre_tokenizer':{'type':'Sequence',"
                           "'pretokenizers':[{'type':'Split','pattern':{'Regex':'[a-z]+|\\\\s+(?!"
                           "\\\\S)|\\\\s'},'behavior':'Isolated'}," BYTES_STEP "]}");
    if (ok(open_json(&t, &a, json, (str){NULL, 0}) == ERR_OK, "patterns and normal forms"))
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
            struct timespec from, to;
            int32_t *ids;
            size_t n;
            buf b;
            buf_init(&b, 1 << 20);
            while (b.n < (size_t)128 << 10)
                buf_c(&b, units[i]);
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
            enum err rc = tok_encode(t, &scratch, buf_view(&b), 0, &ids, &n, &err);
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
            double s =
                (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
            ok(rc == ERR_OK && s < 8, "128 KiB of one unit, case %zu", i);
            buf_fini(&b);
        }
    else
        printf("# %s\n", err.text);
    tok_close(t);
    arena_fini(&a);
    arena_clear(&scratch);
}

/* ---- tokenizer.model ---- */

static void put_piece(buf *b, const char *text, float score, uint8_t type)
{
    uint8_t n = (uint8_t)strlen(text);
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    buf_ch(b, 0x0A);
    buf_ch(b, (char)(n + 9));
    buf_ch(b, 0x0A);
    buf_ch(b, (char)n);
    buf_c(b, text);
    buf_ch(b, 0x15);
    buf_put(b, &bits, 4);
    buf_ch(b, 0x18);
    buf_ch(b, (char)type);
}

/* trainer_spec: the kind and byte_fallback; normalizer_spec: no merging of spaces. */
static void put_specs(buf *b, char kind, char fallback)
{
    const char trainer[] = {0x12, 0x05, 0x18, kind, (char)0x98, 0x02, fallback};
    const char norm[] = {0x1A, 0x02, 0x20, 0x00};
    buf_put(b, trainer, sizeof trainer);
    buf_put(b, norm, sizeof norm);
}

static void pieces(buf *b)
{
    static const char *const words[] = {"\xE2\x96\x81", "a", "b", "ab",
                                        ("\xE2\x96\x81"
                                         "ab")};
    put_piece(b, "<unk>", 0, 2);
    put_piece(b, "<s>", 0, 3);
    put_piece(b, "</s>", 0, 3);
    for (size_t i = 0; i < 5; i++)
        put_piece(b, words[i], -(float)i - 1, 1);
    put_piece(b, "<u>", 0, 4);
}

static enum err open_model(struct tok **t, struct arena *a, const buf *b)
{
    struct tok_spec spec = {0};
    enum err rc = tok_spec_from_model(&spec, a, buf_view(b), (str){NULL, 0}, &err);
    return rc == ERR_OK ? tok_open_spec(t, &spec, &err) : rc;
}

static void models(void)
{
    struct arena a;
    struct tok *t = NULL;
    buf b;
    arena_init(&a, (size_t)64 << 20);
    buf_init(&b, 1 << 20);
    pieces(&b);
    put_specs(&b, 1, 0);
    if (ok(open_model(&t, &a, &b) == ERR_OK, "tokenizer.model, Unigram")) {
        is_str(ids_of(t, S("ab b<u>xx"), 0), S("7 3 5 8 0"), "its ids: SentencePiece's own");
        is_str(str_c(tok_model_name(t)), S("t5"), "its kind");
    }
    tok_close(t);
    t = NULL;
    for (size_t cut = 1; cut < b.n; cut++) {
        buf half;
        buf_init(&half, 1 << 20);
        buf_put(&half, b.p, cut);
        if (open_model(&t, &a, &half) == ERR_OK && !tok_count(t)) ok(false, "cut at %zu", cut);
        tok_close(t);
        t = NULL;
        buf_fini(&half);
    }
    ok(true, "cut short anywhere: no harm");
    buf_clear(&b);
    pieces(&b);
    put_specs(&b, 3, 0);
    ok(open_model(&t, &a, &b) == ERR_UNSUPPORTED, "refused: %s", err.text);
    buf_clear(&b);
    put_piece(&b, "a", NAN, 1);
    put_piece(&b, "aa", NAN, 1);
    put_specs(&b, 2, 0);
    if (ok(open_model(&t, &a, &b) == ERR_OK, "scores that are no numbers"))
        is_str(ids_of(t, S("aaa"), 0), S("0 1 0"), "join last, leftmost first");
    tok_close(t);
    buf_fini(&b);
    arena_fini(&a);
}

/* ---- ranks and merges ---- */

static void ranks(void)
{
    struct arena a;
    struct tok *t = NULL;
    struct tok_spec spec = {0};
    arena_init(&a, (size_t)64 << 20);
    str lines = S("YQ== 0\nYg== 1\nYWI= 2\nYmI= 3\n/w== 4\n\nYWJi 7\n");
    enum err rc = tok_spec_from_ranks(&spec, &a, lines, S("gpt-2"), (str){NULL, 0}, &err);
    if (ok(rc == ERR_OK && tok_open_spec(&t, &spec, &err) == ERR_OK, "ranks")) {
        is_str(ids_of(t, S("abb"), 0), S("7"), "a word that is a token");
        is_str(ids_of(t, S("abbb\xFF"), 0), S("2 3 4"), "lowest rank first, then leftmost");
        is_int(tok_count(t), 8, "gaps are unused tokens");
    }
    tok_close(t);
    static const struct {
        const char *lines, *why;
    } bad[] = {{"YQ==\n", "line 1"}, {"YQ== 0\n?? 1\n", "base64"},  {"YQ== 0\nYg== 0\n", "twice"},
               {"YQ== -1\n", "-1"},  {"YQ== 9999999\n", "9999999"}, {"", "without a line"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tok_spec s = {0};
        rc = tok_spec_from_ranks(&s, &a, str_c(bad[i].lines), S("gpt-2"), (str){NULL, 0}, &err);
        ok(rc != ERR_OK && strstr(err.text, bad[i].why), "refused: %s", err.text);
    }
    struct tok_spec s = {0};
    rc = tok_spec_from_ranks(&s, &a, lines, S("none"), (str){NULL, 0}, &err);
    ok(rc == ERR_UNSUPPORTED, "refused: %s", err.text);
    arena_fini(&a);
}

static void folders(void)
{
    struct tok *t = NULL;
    folder_new();
    ok(tok_open_dir(&t, folder, &err) == ERR_NOTFOUND, "an empty folder: %s", err.text);
    folder_put("vocab.json", S("{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3}"));
    folder_put("merges.txt", S("#version: 0.2\na b\r\n"));
    ok(tok_open_dir(&t, folder, &err) == ERR_UNSUPPORTED, "no class: %s", err.text);
    folder_put("tokenizer_config.json",
               S("{\"tokenizer_class\":\"GPT2Tokenizer\",\"bos_token\":\"<s>\"}"));
    if (ok(tok_open_dir(&t, folder, &err) == ERR_OK, "vocab.json and merges.txt")) {
        is_str(ids_of(t, S("abba"), 0), S("2 1 0"), "ids");
        is_int(tok_bos(t), 3, "BOS of the configuration");
    }
    tok_close(t);
    folder_put("qwen.tiktoken", S("YQ== 1\nYg== 0\nYWI= 2\n"));
    if (ok(tok_open_dir(&t, folder, &err) == ERR_OK, "*.tiktoken goes before it"))
        is_str(ids_of(t, S("abba"), 0), S("2 0 1"), "ids");
    tok_close(t);
    folder_put("tokenizer.model", S("YQ== 2\nYg== 1\nYWI= 0\n"));
    if (ok(tok_open_dir(&t, folder, &err) == ERR_OK, "ranks named tokenizer.model go before it"))
        is_str(ids_of(t, S("abba"), 0), S("0 1 2"), "ids");
    tok_close(t);
    folder_put("tokenizer.json", S("{\"model\":"));
    ok(tok_open_dir(&t, folder, &err) == ERR_FORMAT && !t, "half a tokenizer.json: %s", err.text);
    folder_free();
}

int main(void)
{
    arena_init(&scratch, (size_t)1 << 30);
    small_files();
    settings();
    refused();
    nested();
    slow_pattern();
    long_texts();
    models();
    ranks();
    folders();
    llama2();
    goldens();
    ranks_and_merges();
    ok(tok_open_dir(&(struct tok *){NULL}, "/nonexistent", &err) == ERR_NOTFOUND, "no folder: %s",
       err.text);
    arena_fini(&scratch);
    return tap_end();
}
