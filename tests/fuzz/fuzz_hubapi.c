/* fuzz_hubapi: arbitrary bytes as the Hub's answer on a repository, and as the name of one.
 *
 * What is accepted can become paths of the store and addresses: no path climbs, hides or holds a
 * control character, every digest is one, every address names the endpoint, the repository and the
 * commit. A choice among the files names each of them once and takes whole sets.
 */
#include <string.h>

#include "base/limits.h"
#include "model/repo.h"
#include "store/hubapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENDPOINT "https://hub.example"

static bool is_hex(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("0123456789abcdef", s.p[i]) || !s.p[i]) return false;
    return s.n == 40 || s.n == 64;
}

static void check_url(const struct hubapi_repo *r, struct arena *a, str path)
{
    const char *url = hubapi_url(r, a, ENDPOINT, path);
    str head = arena_printf(a, ENDPOINT "/%.*s/resolve/%.*s/", STR(r->id), STR(r->commit));

    if (!url || !head.p) return;
    ASSERT(str_starts(str_c(url), head));
    for (const char *p = url + head.n; *p; p++)
        ASSERT(*p > ' ' && *p < 0x7f && *p != '?' && *p != '#' && *p != '"');
}

static void check_pick(const struct hubapi_repo *r, const struct pick *p)
{
    bool main = false;

    ASSERT(p->n > 0 && p->n <= r->n_files && p->why[0]);
    for (size_t i = 0; i < p->n; i++) {
        ASSERT(p->files[i] < r->n_files);
        for (size_t k = 0; k < i && p->n < 64; k++)
            ASSERT(p->files[k] != p->files[i]);
        main = main || p->files[i] == p->main;
    }
    ASSERT(main && p->files[p->n - 1] == p->main);
    ASSERT(p->folder == str_eqc(r->files[p->main].path, "config.json") || !p->folder);
}

static void check(const struct hubapi_repo *r, struct arena *a)
{
    static const char *const wants[] = {"", "Q4_K_M", "UD-Q8_0", "safetensors", "a.gguf"};
    struct err_info e = {0};
    struct pick p;

    ASSERT(repo_id_ok(r->id) && is_hex(r->commit) && r->n_files <= LIMIT_HUB_FILES);
    for (size_t i = 0; i < r->n_files; i++) {
        ASSERT(repo_path_ok(r->files[i].path) && is_hex(r->files[i].digest));
        if (i < 16) check_url(r, a, r->files[i].path);
    }
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++)
        for (uint64_t memory = 0; memory <= 1000; memory += 1000) {
            enum err code = pick_files(r->files, r->n_files, str_c(wants[i]), memory, &p, a, &e);

            if (code)
                ASSERT(e.code == code && e.text[0]);
            else
                check_pick(r, &p);
        }
}

static void check_name(str text)
{
    struct err_info e = {0};
    struct pick_name n;

    if (pick_name(text, &n, &e)) {
        ASSERT(e.code == ERR_INVALID && e.text[0]);
        return;
    }
    ASSERT(repo_id_ok(n.id));
    ASSERT(!n.want.n || repo_path_ok(n.want));
    ASSERT(!n.revision.n || repo_revision_ok(n.revision));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = {(const char *)data, size};
    struct hubapi_repo r;
    struct err_info e = {0};
    struct arena a;
    enum err code;

    check_name(text);
    arena_init(&a, MIB(64));
    code = hubapi_parse(&r, &a, text, &e);
    if (code)
        ASSERT(e.code == code && e.text[0]);
    else
        check(&r, &a);
    arena_fini(&a);
    return 0;
}
