/* tok_dir: a tokenizer out of a folder as Hugging Face has it.
 *
 * The best source that is there is mapped and read: tokenizer.json says everything; tokenizer.model
 * is SentencePiece's (or, under the same name, tiktoken's ranks); *.tiktoken holds ranks only, and
 * vocab.json with merges.txt a list of merges, so for these two the pre-tokenizer follows from the
 * class that tokenizer_config.json names, or from the file's name.
 *
 * Invariant: the mappings belong to the tokenizer and are closed with it.
 */
#include "text/tok_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"

#define PATH_BYTES 4096

static enum err path_of(char out[PATH_BYTES], const char *dir, const char *name, struct err_info *e)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", dir, name);
    if (n < 0 || n >= PATH_BYTES) return ERR_FAIL(e, LIMIT, "%s: the path is too long", dir);
    return ERR_OK;
}

/* Maps dir/name; an absent file leaves *out empty. */
static enum err map_in(struct tok *t, unsigned slot, const char *dir, const char *name, str *out,
                       struct err_info *e)
{
    char path[PATH_BYTES];
    enum err rc = path_of(path, dir, name, e);
    if (rc == ERR_OK) rc = map_open(&t->file[slot], path, e);
    if (rc == ERR_NOTFOUND) return ERR_OK;
    if (rc != ERR_OK) return rc;
    *out = (str){(const char *)t->file[slot].p, t->file[slot].n};
    if (out->n > LIMIT_TOK_FILE)
        return ERR_FAIL(e, LIMIT, "%s: %zu bytes, the limit is %zu", path, out->n, LIMIT_TOK_FILE);
    return ERR_OK;
}

/* ---- which pre-tokenizer ---- */

static const struct {
    const char *what, *pre;
} classes[] = {
    {"Qwen2Tokenizer", "qwen2"},
    {"Qwen2TokenizerFast", "qwen2"},
    {"QWenTokenizer", "qwen2"},
    {"GPT2Tokenizer", "gpt-2"},
    {"GPT2TokenizerFast", "gpt-2"},
    {"RobertaTokenizer", "roberta-bpe"},
    {"RobertaTokenizerFast", "roberta-bpe"},
    {"CodeGenTokenizer", "phi-2"},
    {"CodeGenTokenizerFast", "phi-2"},
    {"GPTNeoXTokenizerFast", "gpt-2"},
    {"TikTokenTokenizer", "kimi-k2"},
    {"Llama3Tokenizer", "llama-bpe"},
    {"DbrxTokenizer", "dbrx"},
    {"GLM4Tokenizer", "glm4"},
    {"ChatGLM4Tokenizer", "glm4"},
    {"StarCoder2Tokenizer", "starcoder"},
};

static const struct {
    const char *part, *pre;
} file_names[] = {{"qwen", "qwen2"},       {"cl100k", "dbrx"}, {"o200k", "gpt-4o"},
                  {"llama3", "llama-bpe"}, {"p50k", "gpt-2"},  {"r50k", "gpt-2"},
                  {"gpt2", "gpt-2"},       {"kimi", "kimi-k2"}};

static str pre_of_class(str config)
{
    struct arena a;
    const struct json *root;
    str pre = {NULL, 0};
    arena_init(&a, LIMIT_TOK_ARENA);
    if (config.n && json_parse(&a, config, &root, NULL) == ERR_OK) {
        str name = json_str(json_get(root, "tokenizer_class"), S(""));
        for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
            if (str_eqc(name, classes[i].what)) pre = str_c(classes[i].pre);
    }
    arena_fini(&a);
    return pre;
}

static str pre_of_file(const char *name)
{
    for (size_t i = 0; i < sizeof file_names / sizeof file_names[0]; i++)
        if (str_find(str_c(name), str_c(file_names[i].part), 0) != SIZE_MAX)
            return str_c(file_names[i].pre);
    return (str){NULL, 0};
}

static enum err no_pre(const char *dir, const char *name, struct err_info *e)
{
    return ERR_FAIL(e, UNSUPPORTED,
                    "%s/%s: nothing says how text is cut into words; a tokenizer.json or the "
                    "tokenizer_class in tokenizer_config.json would",
                    dir, name);
}

/* ---- the sources ---- */

/* The name of the first *.tiktoken file by order of names; empty: none. */
static enum err find_ranks(const char *dir, char out[256], struct err_info *e)
{
    DIR *d = opendir(dir);
    out[0] = 0;
    if (!d) return err_errno(e, errno, "open", dir);
    for (struct dirent *x; (x = readdir(d));) {
        str name = str_c(x->d_name);
        if (!str_ends(name, S(".tiktoken")) || name.n >= 256) continue;
        if (!out[0] || strcmp(x->d_name, out) < 0) memcpy(out, x->d_name, name.n + 1);
    }
    closedir(d);
    return ERR_OK;
}

static enum err from_ranks(struct tok *t, const char *dir, const char *name, str config,
                           struct tok_spec *s, struct err_info *e)
{
    str ranks = {(const char *)t->file[0].p, t->file[0].n}, pre = pre_of_class(config);
    enum err rc = ranks.n ? ERR_OK : map_in(t, 0, dir, name, &ranks, e);
    if (rc != ERR_OK) return rc;
    if (!pre.n) pre = pre_of_file(name);
    if (!pre.n && str_eqc(S("tokenizer.model"), name)) pre = S("llama-bpe"); /* Meta's own */
    if (!pre.n) return no_pre(dir, name, e);
    return tok_spec_from_ranks(s, &t->arena, ranks, pre, config, e);
}

static enum err from_merges(struct tok *t, const char *dir, str config, struct tok_spec *s,
                            struct err_info *e)
{
    static const char *const names[] = {"vocab.json", "encoder.json"};
    str vocab = {NULL, 0}, merges = vocab, pre = pre_of_class(config);
    enum err rc = ERR_OK;
    size_t i = 0;
    for (; i < 2 && !vocab.n && rc == ERR_OK; i++)
        rc = map_in(t, 0, dir, names[i], &vocab, e);
    if (rc == ERR_OK && vocab.n) rc = map_in(t, 3, dir, "merges.txt", &merges, e);
    if (rc != ERR_OK) return rc;
    if (!vocab.n || !merges.n)
        return ERR_FAIL(e, NOTFOUND,
                        "%s: no tokenizer.json, tokenizer.model, *.tiktoken or vocab.json with "
                        "merges.txt",
                        dir);
    if (!pre.n) return no_pre(dir, names[i - 1], e);
    return tok_spec_from_merges(s, &t->arena, vocab, merges, pre, config, e);
}

/* SentencePiece's file begins with a field of a message, ranks with base64. */
static bool is_ranks(str s)
{
    size_t line = 0;
    while (line < s.n && line < 64 && (uint8_t)s.p[line] >= ' ' && (uint8_t)s.p[line] < 127)
        line++;
    return line && line < s.n && s.p[line] == '\n' && memchr(s.p, ' ', line) != NULL;
}

static enum err read_dir(struct tok *t, const char *dir, struct tok_spec *s, struct err_info *e)
{
    str config = {NULL, 0}, special = config, main_file = config;
    char ranks[256];
    enum err rc = map_in(t, 1, dir, "tokenizer_config.json", &config, e);
    if (rc == ERR_OK) rc = map_in(t, 2, dir, "special_tokens_map.json", &special, e);
    if (rc == ERR_OK) rc = map_in(t, 0, dir, "tokenizer.json", &main_file, e);
    if (rc != ERR_OK) return rc;
    if (main_file.n) return tok_spec_from_json(s, &t->arena, main_file, config, special, e);
    rc = map_in(t, 0, dir, "tokenizer.model", &main_file, e);
    if (rc != ERR_OK) return rc;
    if (is_ranks(main_file)) return from_ranks(t, dir, "tokenizer.model", config, s, e);
    if (main_file.n) return tok_spec_from_model(s, &t->arena, main_file, config, e);
    rc = find_ranks(dir, ranks, e);
    if (rc != ERR_OK) return rc;
    return ranks[0] ? from_ranks(t, dir, ranks, config, s, e) : from_merges(t, dir, config, s, e);
}

enum err tok_open_dir(struct tok **out, const char *dir, struct err_info *e)
{
    *out = NULL;
    struct tok *t = tok_new();
    if (!t) return ERR_FAIL(e, NOMEM, "no memory for a tokenizer");
    struct tok_spec spec = {0};
    enum err rc = read_dir(t, dir, &spec, e);
    if (rc == ERR_OK) rc = tok_build(t, &spec, e);
    if (rc == ERR_OK)
        *out = t;
    else
        tok_close(t);
    return rc;
}
