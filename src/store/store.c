/* store: directories, names and the list of models. See store.h. */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "model/hf.h"
#include "model/meta.h"
#include "model/source.h"

/* ---- directories ---- */

static bool join(char out[STORE_PATH_MAX], const char *a, const char *b)
{
    int n = snprintf(out, STORE_PATH_MAX, "%s%s%s", a, *b ? "/" : "", b);

    return n > 0 && n < STORE_PATH_MAX;
}

/* $var/rbee, or $HOME/fallback/rbee. */
static bool xdg(char out[STORE_PATH_MAX], const char *var, const char *fallback, const char *tail)
{
    const char *v = getenv(var), *home = getenv("HOME");
    const struct passwd *user;
    char base[STORE_PATH_MAX];

    if (v && v[0] == '/') return join(out, v, tail); /* relative values are invalid by the spec */
    if (!home && (user = getpwuid(getuid()))) home = user->pw_dir; /* a service may have no HOME */
    return home && home[0] == '/' && join(base, home, fallback) && join(out, base, tail);
}

static bool is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void add_root(struct store *s, const char *path)
{
    char real[STORE_PATH_MAX];

    if (s->n_roots == STORE_ROOTS_MAX || !realpath(path, real)) return;
    for (int i = 0; i < s->n_roots; i++) {
        if (strcmp(s->roots[i], real) == 0) return;
    }
    memcpy(s->roots[s->n_roots++], real, sizeof real);
}

/* Models that came with the program: in a package, or in the source tree it was built in. */
static void add_shipped_roots(struct store *s)
{
    static const char *const places[] = {"../share/rbee/models", "../../models", "../../../models"};
    char exe[STORE_PATH_MAX - 64], path[STORE_PATH_MAX];

    if (!os_exe_dir(exe, sizeof exe)) return;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (join(path, exe, places[i]) && is_dir(path)) add_root(s, path);
    }
}

enum err store_init(struct store *s, struct err_info *e)
{
    const char *models = getenv("RBEE_MODELS"), *run = getenv("XDG_RUNTIME_DIR");
    bool good;

    *s = (struct store){0};
    good =
        models ? join(s->own, models, "") : xdg(s->own, "XDG_CACHE_HOME", ".cache", "rbee/models");
    good = good && xdg(s->state, "XDG_DATA_HOME", ".local/share", "rbee");
    good = good && xdg(s->config, "XDG_CONFIG_HOME", ".config", "rbee");
    if (!good)
        return ERR_FAIL(e, INVALID, "neither HOME nor the XDG variables name an absolute folder");
    if (run && run[0] == '/' && is_dir(run))
        good = join(s->run, run, "rbee");
    else
        good = join(s->run, s->state, "run");
    if (!good) return ERR_FAIL(e, INVALID, "the path of the state folder is too long");
    /* A unix socket's path has room for about 100 bytes. */
    if (strlen(s->run) > 80)
        snprintf(s->run, sizeof s->run, "/tmp/rbee-%u-%08x", (unsigned)getuid(),
                 (unsigned)str_hash(str_c(s->state)));
    add_root(s, s->own);
    add_shipped_roots(s);
    return ERR_OK;
}

/* ---- names ---- */

static bool name_ok(str name)
{
    str rest = name, part;

    if (name.n == 0 || name.n > 1024) return false;
    for (size_t i = 0; i < name.n; i++) {
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f || name.p[i] == '\\') return false;
    }
    do {
        part = str_cut(rest, '/', &rest);
        if (part.n == 0 || str_eqc(part, ".") || str_eqc(part, "..")) return false;
    } while (rest.p);
    return true;
}

static bool exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

static bool looks_like_path(str name)
{
    return str_starts(name, S("/")) || str_starts(name, S("./")) || str_starts(name, S("../")) ||
           str_ends(name, S(".gguf"));
}

/* A Hugging Face directory beside the caller, named without "./". */
static bool is_model_dir(str name)
{
    char path[STORE_PATH_MAX];

    if (name.n >= sizeof path || memchr(name.p, 0, name.n)) return false;
    memcpy(path, name.p, name.n);
    path[name.n] = 0;
    return hf_is_dir(path);
}

static enum err resolve_path(str name, char out[STORE_PATH_MAX], struct err_info *e)
{
    char path[STORE_PATH_MAX];

    if (name.n >= sizeof path || memchr(name.p, 0, name.n))
        return ERR_FAIL(e, INVALID, "the path of the model is too long");
    memcpy(path, name.p, name.n);
    path[name.n] = 0;
    if (!realpath(path, out)) return err_errno(e, errno, "open the model", path);
    return ERR_OK;
}

enum err store_find(const struct store *s, str name, char out[STORE_PATH_MAX], struct err_info *e)
{
    static const char *const ends[] = {"", ".gguf"};
    char path[STORE_PATH_MAX];
    enum err code;

    for (int i = 0; i < s->n_roots && name_ok(name); i++) {
        for (size_t k = 0; k < sizeof ends / sizeof ends[0]; k++) {
            int n = snprintf(path, sizeof path, "%s/%.*s%s", s->roots[i], STR(name), ends[k]);

            if (n < 0 || n >= (int)sizeof path || !exists(path)) continue;
            if (is_dir(path) && !hf_is_dir(path)) continue;
            if (!realpath(path, out)) return err_errno(e, errno, "open the model", path);
            return ERR_OK;
        }
    }
    if ((code = store_repo_find(s, name, out, e)) != ERR_NOMODEL) return code;
    return ERR_FAIL(e, NOMODEL,
                    "no model '%.*s' here; `rbee ls` lists what there is, `rbee pull` fetches "
                    "more, and a path to a .gguf file or to a Hugging Face directory works too",
                    STR(str_sub(name, 0, 200)));
}

enum err store_resolve(const struct store *s, str name, char out[STORE_PATH_MAX],
                       struct err_info *e)
{
    enum err code = store_find(s, name, out, e);

    if (code == ERR_NOMODEL && (looks_like_path(name) || is_model_dir(name)))
        return resolve_path(name, out, e);
    return code;
}

str store_name_of(const struct store *s, str path)
{
    size_t slash = path.n;

    for (int i = 0; i < s->n_roots; i++) {
        str root = str_c(s->roots[i]);

        if (str_starts(path, root) && path.n > root.n && path.p[root.n] == '/') {
            path = str_sub(path, root.n + 1, path.n);
            goto cut;
        }
    }
    while (slash > 0 && path.p[slash - 1] != '/')
        slash--;
    path = str_sub(path, slash, path.n);
cut:
    if (str_ends(path, S(".gguf"))) path.n -= 5;
    return path;
}

enum err store_blame(const char *path, struct err_info *e)
{
    char text[ERR_TEXT_MAX];

    if (str_find(str_c(e->text), str_c(path), 0) != SIZE_MAX) return e->code;
    snprintf(text, sizeof text, "%s", e->text);
    return err_fail(e, e->code, e->file, e->line, "%.300s: %s", path, text);
}

/* ---- models ---- */

enum err store_inspect(const struct store *s, struct arena *a, const char *path,
                       struct store_model *out, struct err_info *e)
{
    struct gguf g;
    struct meta m;
    struct stat st;
    struct arena tmp;
    enum err code;

    *out = (struct store_model){.path = arena_str(a, str_c(path))};
    if (!out->path.p) return ERR_FAIL(e, NOMEM, "no memory to look at %s", path);
    out->name = store_name_of(s, out->path);
    if (stat(path, &st) < 0) return err_errno(e, errno, "look at", path);
    out->modified = (int64_t)st.st_mtime;
    out->bytes = (uint64_t)st.st_size;
    if ((code = source_open(&g, path, e))) {
        out->problem = arena_str(a, str_c(e->text));
        out->problem_code = code;
        return ERR_OK;
    }
    out->bytes = g.file_bytes;
    arena_init(&tmp, LIMIT_GGUF_ARENA);
    if ((code = meta_from_gguf(&m, &tmp, &g, e))) {
        code = store_blame(path, e);
        out->problem = arena_str(a, str_c(e->text));
        out->problem_code = code;
    } else {
        out->runnable = true;
        out->architecture = arena_str(a, m.arch);
        out->quantization = arena_str(a, m.file_type);
        out->n_params = m.n_params;
        out->n_ctx = m.n_ctx_train;
        out->chat = m.chat_template.n > 0;
    }
    arena_fini(&tmp);
    gguf_close(&g);
    return ERR_OK;
}

struct walk {
    const struct store *s;
    struct arena *a;
    str *paths;
    size_t n;
};

/* Parts after the first belong to the first: "-00002-of-00003.gguf". */
static bool is_later_part(str name)
{
    size_t at = str_find(name, S("-of-"), 0);

    return at != SIZE_MAX && at >= 6 && name.p[at - 6] == '-' &&
           !str_eqc(str_sub(name, at - 5, 5), "00001");
}

static void walk_dir(struct walk *w, const char *dir, int depth)
{
    DIR *d = opendir(dir);
    struct dirent *ent;
    char path[STORE_PATH_MAX];

    if (!d) return;
    while ((ent = readdir(d)) && w->n < LIMIT_STORE_MODELS) {
        str name = str_c(ent->d_name);

        if (name.p[0] == '.' || !join(path, dir, ent->d_name)) continue;
        if (is_dir(path) && !hf_is_dir(path)) {
            if (depth < LIMIT_STORE_DEPTH) walk_dir(w, path, depth + 1);
        } else if (is_dir(path) || (str_ends(name, S(".gguf")) && !is_later_part(name))) {
            w->paths[w->n] = arena_str(w->a, str_c(path));
            if (w->paths[w->n].p) w->n++;
        }
    }
    closedir(d);
}

static int by_name(const void *x, const void *y)
{
    return str_cmp(((const struct store_model *)x)->name, ((const struct store_model *)y)->name);
}

enum err store_list(const struct store *s, struct arena *a, struct store_model **out, size_t *n,
                    struct err_info *e)
{
    struct walk w = {.s = s, .a = a, .paths = mem_array(LIMIT_STORE_MODELS, sizeof *w.paths)};
    struct store_model *list;
    enum err code = ERR_OK;

    *n = 0;
    if (!w.paths) return ERR_FAIL(e, NOMEM, "no memory for the list of models");
    for (int i = 0; i < s->n_roots; i++)
        walk_dir(&w, s->roots[i], 0);
    list = ARENA_NEW(a, struct store_model, w.n);
    if (!list && w.n) code = ERR_FAIL(e, NOMEM, "no memory for the list of models");
    for (size_t i = 0; i < w.n && !code; i++) {
        struct err_info ignored;

        /* A file that vanished meanwhile is not in the list. */
        if (!store_inspect(s, a, w.paths[i].p, &list[*n], &ignored)) ++*n;
    }
    if (*n) qsort(list, *n, sizeof *list, by_name);
    *out = list;
    mem_free(w.paths);
    return code;
}
