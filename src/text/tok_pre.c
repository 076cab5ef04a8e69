/* tok_pre: which pre-tokenizer cuts text by which scanners.
 *
 * Every BPE vocabulary was trained on text cut by a certain regular expression, or by several in
 * turn, where each cuts the pieces that the one before it left. The first table names them as GGUF
 * does (tokenizer.ggml.pre); its rows are lists of scanners with an argument. The second one holds
 * the expressions as tokenizer.json spells them; one that is not there is run as a pattern
 * (tok_split.c).
 *
 * Sources: the tokenizer.json files of the models; names as llama.cpp gives them.
 */
#include "text/tok_int.h"
#include "text/tok_scan.h"

/* clang-format off */
#define WORDS(arg) {tok_scan_words, (arg), NULL}
#define SET(arg)   {tok_scan_set, (arg), NULL}
#define GPT2       {tok_scan_gpt2, 0, NULL}
#define LLAMA3     WORDS(3 | TOK_W_FRONT | TOK_W_TAIL_NL)
#define QWEN2      WORDS(1 | TOK_W_FRONT | TOK_W_TAIL_NL)
#define GPT4O      WORDS(3 | TOK_W_CASED | TOK_W_BACK | TOK_W_TAIL_NL | TOK_W_TAIL_SL)
#define TEKKEN     WORDS(1 | TOK_W_CASED | TOK_W_TAIL_NL | TOK_W_TAIL_SL)
#define ONE_DIGIT  SET(TOK_SET_NUMBER | TOK_AT_MOST(1))
#define NUMBERS3   SET(TOK_SET_NUMBER | TOK_AT_MOST(3))
#define DEEPSEEK3  {NUMBERS3, SET(TOK_SET_KANA), {tok_scan_deepseek3, 0, NULL}}
#define BLOOM      {tok_scan_spaced, TOK_SET_BLOOM | TOK_ONLY_BLANK, NULL}

static const struct tok_pre table[] = {
    {.name = "default", .stage = {SET(TOK_SET_DEFAULT), GPT2, SET(TOK_SET_NUMBER), {tok_scan_three, 0, NULL}}},
    {.name = "llama-bpe", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "falcon3", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "falcon-h1", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "pixtral", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "midm-2.0", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "lfm2", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "jina-v5-nano", .stage = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "dbrx", .stage = {LLAMA3}},
    {.name = "smaug-bpe", .stage = {LLAMA3}},
    {.name = "chatglm-bpe", .stage = {LLAMA3}},
    {.name = "glm4", .stage = {LLAMA3}},
    {.name = "minicpm5", .stage = {SET(TOK_SET_NUMBER | TOK_AT_MOST(3)), WORDS(TOK_W_FRONT | TOK_W_TAIL_NL)}, .ignore_merges = true},
    {.name = "qwen2", .stage = {QWEN2}},
    {.name = "deepseek-r1-qwen", .stage = {QWEN2}},
    {.name = "kormo", .stage = {QWEN2}},
    {.name = "f2llmv2", .stage = {QWEN2}},
    {.name = "megrez", .stage = {QWEN2}},
    {.name = "stablelm2", .stage = {QWEN2}},
    {.name = "hunyuan", .stage = {QWEN2}},
    {.name = "solar-open", .stage = {QWEN2}},
    {.name = "grok-2", .stage = {QWEN2}},
    {.name = "bailingmoe", .stage = {QWEN2}},
    {.name = "bailingmoe2", .stage = {QWEN2}},
    {.name = "llada-moe", .stage = {QWEN2}},
    {.name = "laguna", .stage = {SET(TOK_SET_LINE_FEED), QWEN2}},
    {.name = "seed-coder", .stage = {WORDS(1 | TOK_W_FRONT)}},
    {.name = "ufakzeka", .stage = {WORDS(1 | TOK_W_TAIL_NL)}},
    {.name = "qwen35", .stage = {WORDS(1 | TOK_W_FRONT | TOK_W_TAIL_NL | TOK_W_MARKS)}},
    {.name = "gpt-4o", .stage = {GPT4O}},
    {.name = "llama4", .stage = {GPT4O}},
    {.name = "kanana2", .stage = {GPT4O}},
    {.name = "talkie", .stage = {GPT4O}},
    {.name = "minimax-m2", .stage = {GPT4O}},
    {.name = "tekken", .stage = {WORDS(1 | TOK_W_CASED | TOK_W_TAIL_NL | TOK_W_TAIL_SL)}, .ignore_merges = true, .add_bos = true},
    {.name = "kimi-k2", .stage = {WORDS(3 | TOK_W_CASED | TOK_W_BACK | TOK_W_TAIL_NL | TOK_W_NO_HAN)}},
    {.name = "gpt-2", .stage = {GPT2}},
    {.name = "phi-2", .stage = {GPT2}},
    {.name = "jina-es", .stage = {GPT2}},
    {.name = "jina-de", .stage = {GPT2}},
    {.name = "jina-v2-es", .stage = {GPT2}},
    {.name = "jina-v2-de", .stage = {GPT2}},
    {.name = "gigachat", .stage = {GPT2}},
    {.name = "a.x-4.0", .stage = {GPT2}},
    {.name = "mellum", .stage = {GPT2}},
    {.name = "modern-bert", .stage = {GPT2}},
    {.name = "exaone4", .stage = {GPT2}},
    {.name = "mpt", .stage = {GPT2}},
    {.name = "olmo", .stage = {GPT2}},
    {.name = "jais", .stage = {GPT2}},
    {.name = "trillion", .stage = {GPT2}},
    {.name = "granite-docling", .stage = {GPT2}},
    {.name = "starcoder", .stage = {ONE_DIGIT, GPT2}},
    {.name = "refact", .stage = {ONE_DIGIT, GPT2}},
    {.name = "command-r", .stage = {ONE_DIGIT, GPT2}},
    {.name = "smollm", .stage = {ONE_DIGIT, GPT2}},
    {.name = "codeshell", .stage = {ONE_DIGIT, GPT2}},
    {.name = "exaone", .stage = {ONE_DIGIT, GPT2}},
    {.name = "minerva-7b", .stage = {ONE_DIGIT, GPT2}},
    {.name = "mellum2", .stage = {ONE_DIGIT, GPT2}},
    {.name = "falcon", .stage = {SET(TOK_SET_FALCON), GPT2, {tok_scan_three, 0, NULL}}},
    {.name = "deepseek-llm", .stage =
     {SET(TOK_SET_LINE_END | TOK_AT_MOST(1)), {tok_scan_spaced, TOK_SET_CASED, NULL},
      {tok_scan_spaced, TOK_SET_WIDE_PUNCT, NULL},
      {tok_scan_trailing, 0, NULL}, SET(TOK_SET_CJK), SET(TOK_SET_NUMBER)}},
    {.name = "deepseek-coder", .stage =
     {SET(TOK_SET_LINE_END | TOK_AT_MOST(1)), {tok_scan_spaced, TOK_SET_LETTER, NULL},
      {tok_scan_spaced, TOK_SET_PUNCT, NULL},
      SET(TOK_SET_CJK), ONE_DIGIT}},
    {.name = "deepseek-v3", .stage = DEEPSEEK3},
    {.name = "hunyuan-dense", .stage = DEEPSEEK3},
    {.name = "joyai-llm", .stage = DEEPSEEK3},
    {.name = "hy_v4", .stage = DEEPSEEK3},
    {.name = "bloom", .stage = {BLOOM}},
    {.name = "poro-chat", .stage = {BLOOM}},
    {.name = "gpt3-finnish", .stage = {BLOOM}},
    {.name = "viking", .stage = {BLOOM, ONE_DIGIT}},
    {.name = "jina-v1-en", .stage = {GPT2}},
    {.name = "jina-v2-code", .stage = {GPT2}},
    {.name = "roberta-bpe", .stage = {GPT2}},
    {.name = "jais-2", .stage = {WORDS(3 | TOK_W_FRONT | TOK_W_TAIL_NL | TOK_W_CASCADE)}},
    {.name = "spark2_5", .stage = {NUMBERS3, SET(TOK_SET_KANA), {tok_scan_deepseek3, 1, NULL}, ONE_DIGIT}},
    {.name = "youtu", .stage = {{tok_scan_youtu, 0, NULL},
      WORDS(1 | TOK_W_CASED | TOK_W_BACK | TOK_W_TAIL_NL | TOK_W_TAIL_SL)}, .ignore_merges = true},
    {.name = "chameleon", .stage =
     {{tok_scan_chameleon, 0, NULL}, {tok_scan_chameleon, 1, NULL}, {tok_scan_chameleon, 2, NULL},
      ONE_DIGIT, SET(TOK_SET_MARKS | TOK_AT_MOST(1)), GPT2}, .add_bos = true},
    {.name = "granite-embed-multi-97m", .stage = {GPT4O}, .ignore_merges = true},
    {.name = "granite-embed-multi-311m", .stage = {SET(TOK_SET_LINE_FEED)},
     .add_bos = true, .whole_lines = true, .raw = true},
    {.name = "gemma4", .stage = {SET(TOK_SET_LINE_FEED)}, .add_bos = true, .whole_lines = true, .raw = true},
    {.name = "sarvam-moe", .stage = {SET(TOK_SET_LINE_FEED)}, .raw = true},
    {.name = "whitespace", .stage = {{tok_scan_blanks, 0, NULL}}, .raw = true},
    {.name = "tiny_aya", .stage = {{tok_scan_threes_word, 0, NULL}, GPT4O}},
    {.name = "cohere2moe", .stage = {{tok_scan_threes_word, 0, NULL}, GPT4O}},
    {.name = "superbpe", .stage = {SET(TOK_SET_NUMBER), {tok_scan_threes, 1, NULL}}},
    {.name = "afmoe", .stage = {{tok_scan_threes, 0, NULL}, SET(TOK_SET_ASIAN), {tok_scan_deepseek3, 0, NULL}}},
    {.name = "exaone-moe", .stage = {WORDS(1 | TOK_W_FRONT | TOK_W_PHRASE | TOK_W_TAIL_ONE)}},
};

#define FOLDED  "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define ENDING  "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LEAD    "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPERS  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWERS  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(suffix) LEAD UPPERS "*" LOWERS "+" suffix "|" LEAD UPPERS "+" LOWERS "*" suffix
#define OTHERS  "| ?[^\\s\\p{L}\\p{N}]+"

static const struct {
    const char *regex;
    struct tok_stage stage;
} patterns[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+" OTHERS "|\\s+(?!\\S)|\\s+", GPT2},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+" OTHERS "|\\s+(?!\\S)|\\s+", GPT2},
    {FOLDED "|" LEAD "\\p{L}+|\\p{N}{1,3}" OTHERS "[\\r\\n]*" ENDING, LLAMA3},
    {FOLDED "|" LEAD "\\p{L}+|\\p{N}" OTHERS "[\\r\\n]*" ENDING, QWEN2},
    {LEAD "\\p{L}+|\\p{N}" OTHERS "[\\r\\n]*" ENDING, WORDS(1 | TOK_W_TAIL_NL)},
    {FOLDED "|" LEAD "\\p{L}+|\\p{N}+" OTHERS "[\\r\\n]*" ENDING,
     WORDS(TOK_W_FRONT | TOK_W_TAIL_NL)},
    {FOLDED "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" ENDING,
     WORDS(1 | TOK_W_FRONT | TOK_W_TAIL_NL | TOK_W_MARKS)},
    {CASED(FOLDED "?") "|\\p{N}{1,3}" OTHERS "[\\r\\n/]*" ENDING, GPT4O},
    {CASED("") "|\\p{N}" OTHERS "[\\r\\n/]*" ENDING, TEKKEN},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
     "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" ENDING, {tok_scan_deepseek3, 0, NULL}},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
     "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
     {tok_scan_deepseek3, 0, NULL}},
    {"[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+",
     SET(TOK_SET_KANA)},
    {"\\p{N}{1,3}", NUMBERS3},
    {"\\p{N}", ONE_DIGIT},
    {"\\p{N}+", SET(TOK_SET_NUMBER)},
    {"[0-9][0-9][0-9]", {tok_scan_three, 0, NULL}},
    {" ?[^(\\s|[.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C])]+",
     BLOOM},
    {"\\d{1,3}(?=(?:\\d{3})*\\b)", {tok_scan_threes_word, 0, NULL}},
    {"(?=(\\d{3})+(?!\\d))", {tok_scan_threes, 1, NULL}},
};
/* clang-format on */

const struct tok_pre *tok_pre_find(str name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (str_eqc(name, table[i].name)) return &table[i];
    return NULL;
}

const char *tok_pre_name(const struct tok_pre *pre)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct tok_pre *p = &table[i];
        bool same = p->ignore_merges == pre->ignore_merges && p->raw == pre->raw &&
                    p->whole_lines == pre->whole_lines;
        for (size_t k = 0; same && k < TOK_STAGES_MAX; k++)
            same = p->stage[k].scan == pre->stage[k].scan && p->stage[k].arg == pre->stage[k].arg &&
                   p->stage[k].split == pre->stage[k].split;
        if (same) return p->name;
    }
    return NULL;
}

bool tok_pre_pattern(str regex, struct tok_stage *out)
{
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        if (!str_eqc(regex, patterns[i].regex)) continue;
        *out = patterns[i].stage;
        return true;
    }
    return false;
}
