/* store_repo: models by the names they have on the Hub.
 *
 * `rbee pull ORG/REPO` puts files into the folder ORG/REPO below the store; which of them a name
 * means is decided by the rule that chose them for the download.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "model/repo.h"
#include "store/pick.h"
#include "store/store.h"

#define FILES_MAX 4096

struct listing {
    struct arena *a;
    struct pick_file *files;
    size_t n, skip; /* skip: bytes of the folder's own path */
};

static void add(struct listing *l, const char *path, uint64_t bytes)
{
    struct pick_file *f = &l->files[l->n];

    *f = (struct pick_file){.path = arena_str(l->a, str_c(path + l->skip)), .bytes = bytes};
    if (!f->path.p || !repo_path_ok(f->path)) return;
    filename_parse(&f->name, f->path);
    l->n++;
}

static void list(struct listing *l, const char *dir, int depth)
{
    char path[STORE_PATH_MAX];
    struct dirent *ent;
    struct stat st;
    DIR *d = opendir(dir);

    if (!d) return;
    while ((ent = readdir(d)) && l->n < FILES_MAX) {
        int n = snprintf(path, sizeof path, "%s/%s", dir, ent->d_name);

        if (ent->d_name[0] == '.' || n < 0 || n >= (int)sizeof path || stat(path, &st) < 0)
            continue;
        if (S_ISREG(st.st_mode))
            add(l, path, (uint64_t)st.st_size);
        else if (S_ISDIR(st.st_mode) && depth < LIMIT_STORE_DEPTH)
            list(l, path, depth + 1);
    }
    closedir(d);
}

static enum err find_in(const char *dir, str want, struct arena *a, char out[STORE_PATH_MAX],
                        struct err_info *e)
{
    struct listing l = {.a = a, .skip = strlen(dir) + 1};
    struct pick p;
    enum err code;
    int n;

    if (!(l.files = ARENA_NEW(a, struct pick_file, FILES_MAX)))
        return ERR_FAIL(e, NOMEM, "no memory for a list of files");
    list(&l, dir, 0);
    if ((code = pick_files(l.files, l.n, want, 0, &p, a, e)))
        return code == ERR_UNSUPPORTED ? ERR_NOMODEL : code;
    n = p.folder ? snprintf(out, STORE_PATH_MAX, "%s", dir)
                 : snprintf(out, STORE_PATH_MAX, "%s/%.*s", dir, STR(l.files[p.main].path));
    return n < STORE_PATH_MAX ? ERR_OK : ERR_FAIL(e, INVALID, "the path of the model is too long");
}

enum err store_repo_find(const struct store *s, str name, char out[STORE_PATH_MAX],
                         struct err_info *e)
{
    struct pick_name want;
    char dir[STORE_PATH_MAX];
    struct arena a;
    enum err code = ERR_NOMODEL;

    if (pick_name(name, &want, e)) return ERR_NOMODEL;
    arena_init(&a, LIMIT_STORE_ARENA);
    for (int i = 0; i < s->n_roots && code == ERR_NOMODEL; i++) {
        struct stat st;
        int n = snprintf(dir, sizeof dir, "%s/%.*s", s->roots[i], STR(want.id));

        if (n > 0 && n < (int)sizeof dir && stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
            code = find_in(dir, want.want, &a, out, e);
    }
    arena_fini(&a);
    return code;
}
