/* pick: names of repositories, what of them may become a path, and which file is meant; the Hub's
 * list of files read without trust. */
#include "store/pick.h"

#include "base/limits.h"
#include "model/repo.h"
#include "store/hubapi.h"
#include "tap.h"

static void test_names(void)
{
    static const struct {
        const char *text, *id, *want, *revision;
    } good[] = {
        {"org/repo", "org/repo", "", ""},
        {"org/repo:Q4_K_M", "org/repo", "Q4_K_M", ""},
        {"org/repo:sub/x.gguf", "org/repo", "sub/x.gguf", ""},
        {"org/repo@v1.0:Q8_0", "org/repo", "Q8_0", "v1.0"},
        {"org/repo@refs/pr/3", "org/repo", "", "refs/pr/3"},
        {"hf.co/org/repo:Q8_0", "org/repo", "Q8_0", ""},
        {"https://huggingface.co/org/repo", "org/repo", "", ""},
        {"https://huggingface.co/org/repo/blob/main/x.gguf", "org/repo", "x.gguf", ""},
        {"https://hf.co/org/repo/resolve/v2/a/x.gguf?download=true", "org/repo", "a/x.gguf", "v2"},
        {"https://huggingface.co/org/repo/tree/main", "org/repo", "", ""},
    };
    static const char *const bad[] = {"",
                                      "org",
                                      "/",
                                      "org/",
                                      "/repo",
                                      "org/repo/x",
                                      "org//repo",
                                      "../repo",
                                      "org/..",
                                      "org/a..b",
                                      "org/.repo",
                                      "-org/repo",
                                      "org/repo:",
                                      "org/r epo",
                                      "org/repo:/",
                                      "org/r\\x",
                                      "org/repo:..",
                                      "org/repo:a//b",
                                      "org/repo@-x",
                                      "org/repo:.x",
                                      "org/re%2Fpo",
                                      "org/repo@a/../b"};
    struct pick_name n;
    struct err_info e;
    bool all = true, none = true;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (pick_name(str_c(good[i].text), &n, &e) == ERR_OK && str_eqc(n.id, good[i].id) &&
            str_eqc(n.want, good[i].want) && str_eqc(n.revision, good[i].revision))
            continue;
        printf("#   %s: %.*s, %.*s, %.*s\n", good[i].text, STR(n.id), STR(n.want), STR(n.revision));
        all = false;
    }
    ok(all, "names as people write them");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (pick_name(str_c(bad[i]), &n, &e) == ERR_INVALID) continue;
        printf("#   '%s' was taken\n", bad[i]);
        none = false;
    }
    ok(none, "and what names nothing");
    ok(repo_path_ok(S("a/b c.gguf")) && !repo_path_ok(S("a/../b")) && !repo_path_ok(S("/a")) &&
           !repo_path_ok(S("a\\b")) && !repo_path_ok(S("a\n")) && !repo_path_ok((str){"a\0b", 3}) &&
           !repo_path_ok(S("a\xc2\x9b"
                           "b")) &&
           !repo_path_ok(S("a\xe2\x80\xae"
                           "b")) &&
           !repo_path_ok(S("a\xff")) && repo_path_ok(S("\xc3\xa4.gguf")) &&
           !repo_path_ok(S(".a")) && !repo_path_ok(S("")) && !repo_path_ok(S("a/")),
       "paths");
}

struct repo {
    struct pick_file f[16];
    size_t n;
};

static void put(struct repo *r, const char *path, uint64_t bytes)
{
    r->f[r->n] = (struct pick_file){.path = str_c(path), .bytes = bytes};
    filename_parse(&r->f[r->n].name, r->f[r->n].path);
    r->n++;
}

/* The path of what is picked, or the error's name. */
static const char *picked(const struct repo *r, const char *want, uint64_t memory, struct pick *p)
{
    static struct arena a;
    static char out[ERR_TEXT_MAX + 64];
    struct err_info e;
    enum err code;

    arena_fini(&a);
    arena_init(&a, MIB(1));
    code = pick_files(r->f, r->n, str_c(want), memory, p, &a, &e);
    if (code)
        snprintf(out, sizeof out, "%s: %s", err_name(code), e.text);
    else
        snprintf(out, sizeof out, "%.*s", STR(r->f[p->main].path));
    return out;
}

#define is_pick(r, want, memory, path)                                                             \
    is_str(str_c(picked((r), (want), (memory), &p)), S(path), "'" want "': " path)

static void test_gguf(void)
{
    struct repo r = {0}, none = {0};
    struct pick p;

    put(&r, "README.md", 5);
    put(&r, "mmproj-m-F16.gguf", 10);
    put(&r, "m-Q8_0.gguf", 800);
    put(&r, "m-UD-Q4_K_M.gguf", 410);
    put(&r, "m-Q4_K_M.gguf", 400);
    put(&r, "m-Q2_K.gguf", 200);
    put(&r, "BF16/m-BF16-00001-of-00002.gguf", 900);
    put(&r, "BF16/m-BF16-00002-of-00002.gguf", 700);
    is_pick(&r, "", 0, "m-Q4_K_M.gguf");
    is_pick(&r, "", 1000, "m-Q4_K_M.gguf");
    is_pick(&r, "", 300, "m-Q2_K.gguf");
    ok(strstr(p.why, "Q4_K_M would not") != NULL, "and it says why: %s", p.why);
    is_pick(&r, "", 100, "m-Q2_K.gguf");
    is_pick(&r, "q8_0", 100, "m-Q8_0.gguf");
    is_pick(&r, "Q4_K_M", 0, "m-Q4_K_M.gguf");
    is_pick(&r, "UD-Q4_K_M", 0, "m-UD-Q4_K_M.gguf");
    is_pick(&r, "m-Q2_K", 0, "m-Q2_K.gguf");
    is_pick(&r, "bf16", 0, "BF16/m-BF16-00001-of-00002.gguf");
    ok(p.n == 2 && p.bytes == 1600 && p.files[1] == p.main, "all parts, the first of them last");
    ok(strncmp(picked(&r, "Q3_K_M", 0, &p), "not_found", 9) == 0,
       "a quantisation that is not there");
    r.n--;
    ok(strncmp(picked(&r, "bf16", 0, &p), "malformed_file", 14) == 0, "a part that is missing");
    ok(strncmp(picked(&none, "", 0, &p), "unsupported", 11) == 0, "no files");
}

static void test_folder(void)
{
    struct repo r = {0};
    struct pick p;

    put(&r, "README.md", 5);
    put(&r, "pytorch_model.bin", 900);
    ok(strstr(picked(&r, "", 0, &p), "pytorch") != NULL, "another format, by its name");
    put(&r, "config.json", 7);
    put(&r, "tokenizer.json", 30);
    put(&r, "model-00001-of-00002.safetensors", 500);
    put(&r, "model-00002-of-00002.safetensors", 400);
    put(&r, "consolidated.safetensors", 900);
    put(&r, "onnx/config.json", 9);
    is_pick(&r, "", 0, "config.json");
    ok(p.folder && p.n == 4 && p.bytes == 937 && p.files[3] == p.main,
       "shards and tokenizer, config.json last, nothing twice");
    put(&r, "m-Q8_0.gguf", 800);
    is_pick(&r, "", 0, "m-Q8_0.gguf");
    is_pick(&r, "safetensors", 0, "config.json");
    r.n = 0;
    put(&r, "config.json", 7);
    put(&r, "consolidated-00001-of-00001.safetensors", 900);
    put(&r, "model.safetensors-00001-of-00002.safetensors", 500);
    put(&r, "model.safetensors-00002-of-00002.safetensors", 400);
    put(&r, "onnx/model-00001-of-00001.safetensors", 400);
    is_pick(&r, "", 0, "config.json");
    ok(p.n == 3 && p.bytes == 907, "parts of another name, without what is for other programs");
    put(&r, "model-00001-of-00001.safetensors", 850);
    is_pick(&r, "", 0, "config.json");
    ok(p.n == 2 && p.bytes == 857, "those of the usual name first");
    put(&r, "model.safetensors", 800);
    is_pick(&r, "", 0, "config.json");
    ok(p.n == 2 && p.bytes == 807, "one file before parts");
}

#define SHA "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
#define GIT "da39a3ee5e6b4b0d3255bfef95601890afd80709"

static void test_reply(void)
{
    static const char reply[] =
        "{\"id\":\"o/r\",\"sha\":\"" GIT "\",\"gated\":\"manual\",\"siblings\":["
        "{\"rfilename\":\"a b.gguf\",\"size\":7,\"lfs\":{\"sha256\":\"" SHA "\",\"size\":7}},"
        "{\"rfilename\":\"config.json\",\"size\":2,\"blobId\":\"" GIT "\"},"
        "{\"rfilename\":\"../up.gguf\",\"size\":2,\"blobId\":\"" GIT "\"},"
        "{\"rfilename\":\"no-size\",\"blobId\":\"" GIT "\"},"
        "{\"rfilename\":\"no-hash\",\"size\":1},"
        "{\"rfilename\":\"odd-hash\",\"size\":1,\"blobId\":\"../x\"},"
        "{\"rfilename\":7,\"size\":1,\"blobId\":\"" GIT "\"},null,[]]}";
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"id\":\"o/r\",\"siblings\":[]}",
        "{\"id\":\"o/../r\",\"sha\":\"" GIT "\",\"siblings\":[]}",
        "{\"id\":\"o/r\",\"sha\":\"main/../x\",\"siblings\":[]}",
        "{\"id\":\"o/r\",\"sha\":\"" GIT "\",\"siblings\":{}}",
    };
    struct hubapi_repo r;
    struct arena a;
    struct err_info e;
    bool none = true;

    arena_init(&a, MIB(1));
    ok(hubapi_parse(&r, &a, str_c(reply), &e) == ERR_OK && r.n_files == 2 && r.gated,
       "files with a good name, a size and a hash");
    is_str(r.files[0].digest, S(SHA), "sha256 of a large file");
    is_str(r.files[1].digest, S(GIT), "the git hash of a small one");
    is_str(str_c(hubapi_url(&r, &a, "https://h", r.files[0].path)),
           S("https://h/o/r/resolve/" GIT "/a%20b.gguf"), "a file's address");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (hubapi_parse(&r, &a, str_c(bad[i]), &e) == ERR_FORMAT) continue;
        printf("#   taken: %s\n", bad[i]);
        none = false;
    }
    ok(none, "replies that are none");
    arena_fini(&a);
}

static void test_settings(void)
{
    char url[1024], token[LIMIT_PULL_TOKEN];
    struct err_info e;

    unsetenv("RBEE_HUB_URL");
    unsetenv("HF_ENDPOINT");
    ok(hubapi_endpoint(url, &e) == ERR_OK && strcmp(url, "https://huggingface.co") == 0, "the Hub");
    setenv("HF_ENDPOINT", "https://mirror.example/", 1);
    ok(hubapi_endpoint(url, &e) == ERR_OK && strcmp(url, "https://mirror.example") == 0,
       "a mirror");
    setenv("RBEE_HUB_URL", "http://mirror.example", 1);
    ok(hubapi_endpoint(url, &e) == ERR_INVALID, "none without encryption");
    setenv("HF_TOKEN", " hf_abc\n", 1);
    ok(hubapi_token(token) && strcmp(token, "hf_abc") == 0, "a token");
    setenv("HF_TOKEN", "hf_abc\r\nX-Header: 1", 1);
    ok(!hubapi_token(token), "none that would add a header");
}

int main(void)
{
    test_names();
    test_gguf();
    test_folder();
    test_reply();
    test_settings();
    return tap_end();
}
