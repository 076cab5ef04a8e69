/* Tokenizers out of the files of a Hugging Face folder: what the same vocabulary gives from each of
 * its files, small ones built here, hostile ones, and, where the shared data is, the real ones.
 */
#include <ftw.h>
#include <unistd.h>

#include "tap.h"

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "text/tok.h"
#include "text/tok_spec.h"

static struct err_info err;
static struct arena scratch;

static str ids_of(const struct tok *t, str text, unsigned flags)
{
    int32_t *ids;
    size_t n;
    buf b;
    if (tok_encode(t, &scratch, text, flags, &ids, &n, &err) != ERR_OK) return str_c(err.text);
    buf_init(&b, (size_t)64 << 20);
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, i ? " %d" : "%d", ids[i]);
    str s = arena_str(&scratch, buf_view(&b));
    buf_fini(&b);
    return s;
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
                                    "na\xC3\xAFve caf\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD "
                                    "\xF0\x9F\x98\x80\xF0\x9F\x91\xA8\xE2\x80\x8D",
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

int main(void)
{
    arena_init(&scratch, (size_t)1 << 30);
    llama2();
    goldens();
    ok(tok_open_dir(&(struct tok *){NULL}, "/nonexistent", &err) == ERR_NOTFOUND, "no folder: %s",
       err.text);
    arena_fini(&scratch);
    return tap_end();
}
