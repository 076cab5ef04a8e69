/* hubapi: see hubapi.h. */
#include "store/hubapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/limits.h"
#include "model/repo.h"

#define HUB "https://huggingface.co"

/* ---- settings ---- */

enum err hubapi_endpoint(char out[1024], struct err_info *e)
{
    const char *url = getenv("RBEE_HUB_URL");
    enum err code;
    size_t n;

    if (!url || !*url) url = getenv("HF_ENDPOINT");
    if (!url || !*url) url = HUB;
    if ((code = download_check_endpoint(url, e))) return code;
    n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    snprintf(out, 1024, "%.*s", (int)n, url);
    return ERR_OK;
}

/* Visible characters only, so that it cannot end the header it goes into. */
static bool take_token(const char *text, char out[LIMIT_PULL_TOKEN])
{
    str t = str_trim(str_c(text));

    if (t.n == 0 || t.n >= LIMIT_PULL_TOKEN) return false;
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] <= 0x20 || t.p[i] >= 0x7f) return false;
    snprintf(out, LIMIT_PULL_TOKEN, "%.*s", STR(t));
    return true;
}

static bool token_file(char path[4096])
{
    static const struct {
        const char *var, *below;
    } places[] = {{"HF_TOKEN_PATH", ""},
                  {"HF_HOME", "/token"},
                  {"XDG_CACHE_HOME", "/huggingface/token"},
                  {"HOME", "/.cache/huggingface/token"}};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *dir = getenv(places[i].var);
        int n = dir && *dir ? snprintf(path, 4096, "%s%s", dir, places[i].below) : 0;

        if (n > 0) return n < 4096;
    }
    return false;
}

bool hubapi_token(char out[LIMIT_PULL_TOKEN])
{
    const char *env = getenv("HF_TOKEN");
    char path[4096], text[LIMIT_PULL_TOKEN + 64];
    size_t n;
    FILE *f;

    if (env && *env) return take_token(env, out);
    if (!token_file(path) || !(f = fopen(path, "re"))) return false;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    return take_token(text, out);
}

/* ---- replies ---- */

/* Large files have a sha256, small ones the hash of their git blob. */
static str digest_of(const struct json *v)
{
    str sha = json_str(json_get(json_get(v, "lfs"), "sha256"), S(""));

    return sha.n ? sha : json_str(json_get(v, "blobId"), S(""));
}

static bool is_hex(str s, size_t n)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == 0 || !strchr("0123456789abcdef", s.p[i])) return false;
    return s.n == n;
}

static bool read_file(struct pick_file *f, const struct json *v)
{
    int64_t bytes = json_int(json_get(v, "size"), -1);

    *f = (struct pick_file){.path = json_str(json_get(v, "rfilename"), S("")),
                            .digest = digest_of(v)};
    if (bytes < 0) bytes = json_int(json_get(json_get(v, "lfs"), "size"), -1);
    if (bytes < 0 || !repo_path_ok(f->path)) return false;
    if (!is_hex(f->digest, 64) && !is_hex(f->digest, 40)) return false;
    f->bytes = (uint64_t)bytes;
    filename_parse(&f->name, f->path);
    return true;
}

enum err hubapi_parse(struct hubapi_repo *r, struct arena *a, str text, struct err_info *e)
{
    const struct json *v, *list, *gated;
    struct pick_file *files;
    struct err_info why;
    enum err code;

    *r = (struct hubapi_repo){.text = text};
    if ((code = json_parse(a, text, &v, &why)))
        return err_fail(e, code, why.file, why.line, "the hub's answer: %s", why.text);
    list = json_get(v, "siblings");
    gated = json_get(v, "gated");
    r->id = json_str(json_get(v, "id"), S(""));
    r->commit = json_str(json_get(v, "sha"), S(""));
    r->gated = gated && (gated->type == JSON_STR || json_bool(gated, false));
    if (!repo_id_ok(r->id) || !is_hex(r->commit, 40) || !list || list->type != JSON_ARR)
        return ERR_FAIL(e, FORMAT,
                        "the hub's answer names no repository, no commit or no list of files");
    if (list->n > LIMIT_HUB_FILES)
        return ERR_FAIL(e, LIMIT, "%.*s has %zu files; at most %u can be read", STR(r->id), list->n,
                        LIMIT_HUB_FILES);
    files = ARENA_NEW(a, struct pick_file, list->n ? list->n : 1);
    if (!files) return ERR_FAIL(e, NOMEM, "no memory for a list of %zu files", list->n);
    for (size_t i = 0; i < list->n; i++)
        r->n_files += read_file(&files[r->n_files], &list->items[i]);
    r->files = files;
    return ERR_OK;
}

enum err hubapi_list(struct hubapi_repo *r, struct arena *a, const struct download_conf *c,
                     const struct pick_name *name, struct err_info *e)
{
    buf reply = {.cap = LIMIT_PULL_REPLY}, url = {.cap = 4096};
    char what[256];
    struct err_info why;
    enum err code;
    str text;

    snprintf(what, sizeof what, "%.*s", STR(str_sub(name->id, 0, 200)));
    buf_printf(&url, "%s/api/models/%.*s", c->endpoint, STR(name->id));
    if (name->revision.n) {
        buf_c(&url, "/revision/");
        for (size_t i = 0; i < name->revision.n; i++) {
            if (name->revision.p[i] == '/')
                buf_c(&url, "%2F");
            else
                buf_ch(&url, name->revision.p[i]);
        }
    }
    buf_c(&url, "?blobs=true");
    code = url.failed ? ERR_FAIL(e, NOMEM, "no memory for the address of %s", what)
                      : download_get(c, url.p, what, 0, 0, &reply, e);
    if (!code) {
        text = arena_str(a, buf_view(&reply));
        code = text.p ? hubapi_parse(r, a, text, &why)
                      : ERR_FAIL(&why, NOMEM, "no memory for the list of files");
        if (code) (void)err_fail(e, code, why.file, why.line, "%s: %s", what, why.text);
    }
    buf_fini(&reply);
    buf_fini(&url);
    return code;
}

const char *hubapi_url(const struct hubapi_repo *r, struct arena *a, const char *endpoint, str path)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~/";
    buf url = {.cap = KIB(8)};
    str copy;

    buf_printf(&url, "%s/%.*s/resolve/%.*s/", endpoint, STR(r->id), STR(r->commit));
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] && strchr(plain, path.p[i]))
            buf_ch(&url, path.p[i]);
        else
            buf_printf(&url, "%%%02X", (unsigned)(unsigned char)path.p[i]);
    }
    copy = url.failed ? (str){0} : arena_str(a, buf_view(&url));
    buf_fini(&url);
    return copy.p;
}
