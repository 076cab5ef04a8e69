/* store: directories, names that become paths and names that do not, the list of models. */
#include "store/store.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/os.h"
#include "tap.h"
#include "tiny_model.h"

static char home[] = "/tmp/rbee-store-XXXXXX";

static const char *in_home(const char *rel)
{
    static char out[4][512];
    static unsigned turn;

    snprintf(out[turn % 4], sizeof out[0], "%s%s%s", home, *rel ? "/" : "", rel);
    return out[turn++ % 4];
}

static void put(const char *rel, const char *text)
{
    FILE *f = fopen(in_home(rel), "w");

    if (!f) return;
    fputs(text, f);
    fclose(f);
}

static bool put_model(const char *rel)
{
    struct tiny t = tiny_default("llama");
    struct err_info e;
    FILE *f = NULL;
    bool good = tiny_build(&t, &e) == ERR_OK && (f = fopen(in_home(rel), "wb"));

    good = good && fwrite(t.bytes.p, 1, t.bytes.n, f) == t.bytes.n;
    if (f) fclose(f);
    tiny_fini(&t);
    return good;
}

static void clear_env(void)
{
    static const char *const vars[] = {"RBEE_MODELS", "XDG_CACHE_HOME", "XDG_DATA_HOME",
                                       "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"};

    for (size_t i = 0; i < sizeof vars / sizeof vars[0]; i++)
        unsetenv(vars[i]);
    setenv("HOME", home, 1);
}

static void test_folders(struct store *s)
{
    struct err_info e;

    ok(store_init(s, &e) == ERR_OK, "store_init");
    is_str(str_c(s->state), str_c(in_home(".local/share/rbee")), "state below HOME");
    is_str(str_c(s->config), str_c(in_home(".config/rbee")), "configuration below HOME");
    setenv("XDG_DATA_HOME", "/data", 1);
    setenv("XDG_CONFIG_HOME", "relative", 1);
    ok(store_init(s, &e) == ERR_OK && strcmp(s->state, "/data/rbee") == 0,
       "XDG_DATA_HOME moves the state");
    is_str(str_c(s->config), str_c(in_home(".config/rbee")), "a relative XDG variable is ignored");
    setenv("XDG_RUNTIME_DIR", home, 1);
    ok(store_init(s, &e) == ERR_OK && strcmp(s->run, in_home("rbee")) == 0,
       "sockets lie in XDG_RUNTIME_DIR");
    unsetenv("XDG_RUNTIME_DIR");
    setenv("XDG_DATA_HOME",
           "/a-path-that-is-much-too-long-for-the-name-of-a-unix-socket/and-goes-on-for-a-while/"
           "until-it-is",
           1);
    ok(store_init(s, &e) == ERR_OK && strlen(s->run) < 80,
       "a path too long for a socket is replaced by a short one");
    clear_env();
    setenv("HOME", "relative", 1);
    ok(store_init(s, &e) == ERR_INVALID && strstr(e.text, "HOME"), "a relative HOME is refused");
    unsetenv("HOME"); /* as a service has it: the user's entry tells, where there is one */
    ok(store_init(s, &e) == ERR_INVALID || s->state[0] == '/',
       "without HOME the folders are absolute");
    clear_env();
}

static void test_names(struct store *s)
{
    static const char *const bad[] = {
        "",     ".",       "..",    "../secret", "sub/../../secret", "/",
        "a//b", "sub/./m", "m\x01", "m\x7f",     "..\\secret",       "sub",
        "none", "./",      "sub/",  "m.gguf/",   "m/../m",           "m.gguf.gguf"};
    char path[STORE_PATH_MAX], longer[3000];
    struct err_info e;
    bool none = true;

    setenv("RBEE_MODELS", in_home("models"), 1);
    ok(store_init(s, &e) == ERR_OK, "RBEE_MODELS names the model folder");
    ok(store_find(s, S("m"), path, &e) == ERR_OK && strcmp(path, in_home("models/m.gguf")) == 0,
       "a name");
    ok(store_find(s, S("m.gguf"), path, &e) == ERR_OK, "with its suffix");
    ok(store_find(s, S("sub/n"), path, &e) == ERR_OK &&
           strcmp(path, in_home("models/sub/n.gguf")) == 0,
       "a name in a folder");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (store_find(s, str_c(bad[i]), path, &e) == ERR_NOMODEL) continue;
        printf("#   \"%s\" became %s\n", bad[i], path);
        none = false;
    }
    ok(none, "names that climb, are absolute, empty or hold control characters find nothing");
    ok(store_find(s, (str){"m\0x", 3}, path, &e) == ERR_NOMODEL, "nor does one with a NUL");
    memset(longer, 'a', sizeof longer);
    ok(store_find(s, (str){longer, sizeof longer}, path, &e) == ERR_NOMODEL,
       "nor one that is too long");
    ok(store_find(s, str_c(in_home("secret.gguf")), path, &e) == ERR_NOMODEL,
       "store_find takes no path");
    ok(store_resolve(s, str_c(in_home("secret.gguf")), path, &e) == ERR_OK, "store_resolve does");
    ok(store_resolve(s, str_c(in_home("models/../secret.gguf")), path, &e) == ERR_OK &&
           strcmp(path, in_home("secret.gguf")) == 0,
       "and makes it absolute");
    ok(store_resolve(s, str_c(in_home("none.gguf")), path, &e) == ERR_NOTFOUND &&
           strstr(e.text, "none.gguf"),
       "a path to nothing is named");
    is_str(store_name_of(s, str_c(in_home("models/sub/n.gguf"))), S("sub/n"),
           "the name of a path below a root");
    is_str(store_name_of(s, S("/else/where.gguf")), S("where"), "and of one elsewhere");
}

static void test_list(struct store *s)
{
    struct store_model *list, one;
    struct err_info e = {0};
    struct arena a;
    size_t n, mine = 0;
    bool sorted = true;

    arena_init(&a, LIMIT_STORE_ARENA);
    ok(store_list(s, &a, &list, &n, &e) == ERR_OK, "store_list");
    for (size_t i = 0; i < n; i++) {
        if (i && str_cmp(list[i - 1].name, list[i].name) > 0) sorted = false;
        if (!str_starts(list[i].path, str_c(home))) continue;
        mine++;
        if (str_eqc(list[i].name, "good"))
            ok(list[i].runnable && str_eqc(list[i].architecture, "llama") && list[i].n_params > 0,
               "a good file runs");
        else
            ok(!list[i].runnable && list[i].problem.n &&
                   str_find(list[i].problem, list[i].path, 0) != SIZE_MAX,
               "%.*s does not, and its problem names it", STR(list[i].name));
    }
    ok(sorted, "in order");
    is_int(mine, 4, "without hidden files, later parts and other suffixes");
    ok(store_inspect(s, &a, in_home("models/none.gguf"), &one, &e) == ERR_NOTFOUND,
       "store_inspect of nothing");
    e.code = ERR_FORMAT;
    snprintf(e.text, sizeof e.text, "broken");
    is_int(store_blame("/x/y", &e), ERR_FORMAT, "store_blame keeps the code");
    is_str(str_c(e.text), S("/x/y: broken"), "and names the file");
    (void)store_blame("/x/y", &e);
    is_str(str_c(e.text), S("/x/y: broken"), "once");
    arena_fini(&a);
}

int main(void)
{
    static struct store s;
    struct err_info e;

    if (!mkdtemp(home) || os_mkdirs(in_home("models/sub"), &e)) {
        ok(false, "a folder for the test");
        return tap_end();
    }
    clear_env();
    put("models/m.gguf", "x");
    put("models/sub/n.gguf", "x");
    put("models/.hidden.gguf", "x");
    put("models/big-00001-of-00002.gguf", "x");
    put("models/big-00002-of-00002.gguf", "x");
    put("models/readme.txt", "x");
    put("secret.gguf", "x");
    ok(put_model("models/good.gguf"), "a model for the list");
    test_folders(&s);
    test_names(&s);
    test_list(&s);
    clear_env();
    /* The folder is small and below /tmp; its files are known. */
    static const char *const files[] = {"models/m.gguf",
                                        "models/sub/n.gguf",
                                        "models/.hidden.gguf",
                                        "models/big-00001-of-00002.gguf",
                                        "models/big-00002-of-00002.gguf",
                                        "models/readme.txt",
                                        "models/good.gguf",
                                        "secret.gguf"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        unlink(in_home(files[i]));
    rmdir(in_home("models/sub"));
    rmdir(in_home("models"));
    rmdir(home);
    return tap_end();
}
