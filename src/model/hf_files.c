/* hf_files: the SafeTensors files of a directory, mapped and joined.
 *
 * Either model.safetensors is there alone, or model.safetensors.index.json names the shards and
 * which tensor lies in which. Shard names become paths, so they must be plain file names. Every
 * tensor of the index must be in the file it is said to be in, and no name may occur in two files.
 *
 * Invariant: after hf_files_open() every tensor of h->all lies in a mapping of h->g, or, where
 * files are given instead of a folder, none has values.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/hf_int.h"

enum { PATH_MAX_BYTES = 4096 };

/* ---- the index ---- */

static enum err check_file(str name, struct err_info *e)
{
    bool good = name.n && name.n < 256 && name.p[0] != '.' && str_ends(name, S(".safetensors"));

    for (size_t i = 0; good && i < name.n; i++)
        good = (unsigned char)name.p[i] > ' ' && name.p[i] != '/' && name.p[i] != '\\' &&
               name.p[i] != 0x7F;
    if (good) return ERR_OK;
    return ERR_FAIL(e, FORMAT,
                    "the index names '%.*s'; shards must be plain names of .safetensors files",
                    HF_NAME(name));
}

/* The number of a file, appended to the list when it is new. */
static enum err file_of(str *files, size_t *n, str name, size_t *out, struct err_info *e)
{
    enum err r;

    /* Tensors of a file stand together: the last one is nearly always right. */
    for (size_t i = *n; i-- > 0;) {
        if (!str_eq(files[i], name)) continue;
        *out = i;
        return ERR_OK;
    }
    if (*n == LIMIT_ST_SHARDS)
        return ERR_FAIL(e, FORMAT, "the index names more than %d files", LIMIT_ST_SHARDS);
    if ((r = check_file(name, e))) return r;
    files[*n] = name;
    *out = (*n)++;
    return ERR_OK;
}

enum err hf_files_index(struct hf_index *x, struct arena *a, str text, struct err_info *e)
{
    const struct json *root, *map;
    struct hf_index_entry *entries;
    str *files;
    enum err r;

    *x = (struct hf_index){0};
    if ((r = json_parse(a, text, &root, e))) return r;
    map = json_get(root, "weight_map");
    if (!map || map->type != JSON_OBJ || map->n == 0)
        return ERR_FAIL(e, FORMAT, "the index has no object 'weight_map' with tensors in it");
    if (map->n > LIMIT_ST_TENSORS)
        return ERR_FAIL(e, FORMAT, "the index names %zu tensors; at most %u are allowed", map->n,
                        LIMIT_ST_TENSORS);
    entries = ARENA_NEW(a, struct hf_index_entry, map->n);
    files = ARENA_NEW(a, str, LIMIT_ST_SHARDS);
    if (!entries || !files) return ERR_FAIL(e, NOMEM, "no memory for the index");
    for (size_t i = 0; i < map->n; i++) {
        const struct json *v = &map->items[i];

        entries[i].tensor = v->key;
        if (v->type != JSON_STR)
            return ERR_FAIL(e, FORMAT, "the index does not name a file for tensor '%.*s'",
                            HF_NAME(v->key));
        if ((r = file_of(files, &x->n_files, v->s, &entries[i].file, e))) return r;
    }
    x->files = files;
    x->entries = entries;
    x->n_entries = map->n;
    return ERR_OK;
}

/* ---- files ---- */

static enum err path_of(struct hf *h, const char *dir, str name, char out[PATH_MAX_BYTES])
{
    int n = snprintf(out, PATH_MAX_BYTES, "%s/%.*s", dir, STR(name));

    if (n > 0 && n < PATH_MAX_BYTES) return ERR_OK;
    return ERR_FAIL(h->e, INVALID, "the path of %.*s is too long", HF_NAME(name));
}

static enum err open_shard(struct hf *h, const char *dir, str name, size_t i)
{
    struct map *m = &h->g->maps[i];
    char path[PATH_MAX_BYTES];
    struct err_info why = {0};
    enum err r;

    if ((r = path_of(h, dir, name, path)) || (r = map_open(m, path, h->e))) return r;
    h->g->file_bytes += m->n;
    r = safetensors_parse(&h->shards[i], &h->g->arena, m->p, m->n, &why);
    return r ? err_fail(h->e, r, why.file, why.line, "%.*s: %s", HF_NAME(name), why.text) : ERR_OK;
}

/* A shard of which the header is given. */
static enum err read_shard(struct hf *h, const struct hf_file *f, size_t i)
{
    struct err_info why = {0};
    uint64_t need;
    enum err r = safetensors_parse_header(&h->shards[i], &h->g->arena, (const uint8_t *)f->bytes.p,
                                          f->bytes.n, f->size, &need, &why);

    h->g->file_bytes += f->size;
    return r ? err_fail(h->e, r, why.file, why.line, "%.*s: %s", HF_NAME(f->name), why.text)
             : ERR_OK;
}

static enum err count(struct hf *h, size_t i)
{
    h->n_all += h->shards[i].n;
    if (h->n_all <= LIMIT_ST_TENSORS) return ERR_OK;
    return ERR_FAIL(h->e, FORMAT, "the shards hold more than %u tensors", LIMIT_ST_TENSORS);
}

/* All .safetensors files that are given: the index says no more than their headers do. */
static enum err read_shards(struct hf *h)
{
    size_t n = 0;
    enum err r;

    h->shards = ARENA_NEW(&h->tree, struct safetensors, h->n_given);
    if (h->n_given && !h->shards)
        return ERR_FAIL(h->e, NOMEM, "no memory for %zu shards", h->n_given);
    for (size_t i = 0; i < h->n_given; i++) {
        if (!str_ends(h->given[i].name, S(".safetensors"))) continue;
        if ((r = read_shard(h, &h->given[i], n)) || (r = count(h, n))) return r;
        n++;
    }
    h->n_shards = n;
    h->g->n_parts = (uint32_t)n;
    return n ? ERR_OK : ERR_FAIL(h->e, NOMODEL, "there is no model.safetensors in it");
}

static enum err open_shards(struct hf *h, const char *dir, const str *names, size_t n)
{
    enum err r;

    h->shards = ARENA_NEW(&h->tree, struct safetensors, n);
    h->g->maps = ARENA_NEW(&h->g->arena, struct map, n);
    if (!h->shards || !h->g->maps) return ERR_FAIL(h->e, NOMEM, "no memory for %zu shards", n);
    h->g->n_parts = (uint32_t)n;
    h->n_shards = n;
    for (size_t i = 0; i < n; i++) {
        if ((r = open_shard(h, dir, names[i], i)) || (r = count(h, i))) return r;
    }
    return ERR_OK;
}

static enum err check_index(struct hf *h, const struct hf_index *x)
{
    for (size_t i = 0; i < x->n_entries; i++)
        if (!safetensors_find(&h->shards[x->entries[i].file], x->entries[i].tensor))
            return ERR_FAIL(h->e, FORMAT,
                            "the index says that tensor '%.*s' is in %.*s, but it is not",
                            HF_NAME(x->entries[i].tensor), HF_NAME(x->files[x->entries[i].file]));
    return ERR_OK;
}

static enum err open_index(struct hf *h, const char *dir, const char *path)
{
    struct hf_index x;
    struct err_info why = {0};
    char *text;
    size_t n;
    enum err r;

    if ((r = map_read_file(path, LIMIT_HF_INDEX, &text, &n, h->e))) return r;
    if ((r = hf_files_index(&x, &h->tree, (str){text, n}, &why)))
        r = err_fail(h->e, r, why.file, why.line, "model.safetensors.index.json: %s", why.text);
    if (!r) r = open_shards(h, dir, x.files, x.n_files);
    if (!r) r = check_index(h, &x);
    mem_free(text);
    return r;
}

/* ---- all tensors ---- */

static int by_name(const void *a, const void *b)
{
    return str_cmp((*(const struct safetensors_tensor *const *)a)->name,
                   (*(const struct safetensors_tensor *const *)b)->name);
}

static enum err join(struct hf *h)
{
    size_t n = 0;

    h->all = ARENA_NEW(&h->tree, const struct safetensors_tensor *, h->n_all);
    if (h->n_all && !h->all) return ERR_FAIL(h->e, NOMEM, "no memory for %zu tensors", h->n_all);
    for (size_t i = 0; i < h->n_shards; i++)
        for (size_t k = 0; k < h->shards[i].n; k++)
            h->all[n++] = &h->shards[i].tensors[k];
    if (n) qsort(h->all, n, sizeof *h->all, by_name);
    for (size_t i = 1; i < n; i++)
        if (str_eq(h->all[i - 1]->name, h->all[i]->name))
            return ERR_FAIL(h->e, FORMAT, "tensor '%.*s' occurs in two shards",
                            HF_NAME(h->all[i]->name));
    return ERR_OK;
}

const struct safetensors_tensor *hf_files_find(const struct hf *h, str name)
{
    const struct safetensors_tensor key = {.name = name}, *p = &key;
    const struct safetensors_tensor **found =
        h->n_all ? bsearch(&p, h->all, h->n_all, sizeof *h->all, by_name) : NULL;

    return found ? *found : NULL;
}

enum err hf_files_open(struct hf *h, const char *dir)
{
    static const char *const other[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                        "consolidated.safetensors"};
    const str single = S("model.safetensors");
    char path[PATH_MAX_BYTES];
    enum err r;

    if (h->given) {
        r = read_shards(h);
        return r ? r : join(h);
    }
    if ((r = path_of(h, dir, S("model.safetensors.index.json"), path))) return r;
    if (access(path, F_OK) == 0) {
        r = open_index(h, dir, path);
        return r ? r : join(h);
    }
    if ((r = path_of(h, dir, single, path))) return r;
    if (access(path, F_OK) == 0) {
        r = open_shards(h, dir, &single, 1);
        return r ? r : join(h);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (!path_of(h, dir, str_c(other[i]), path) && access(path, F_OK) == 0)
            return ERR_FAIL(h->e, UNSUPPORTED,
                            "there is %s but no model.safetensors; take a repository with "
                            "SafeTensors or a GGUF file",
                            other[i]);
    return ERR_FAIL(h->e, NOMODEL,
                    "there is neither model.safetensors nor model.safetensors.index.json in it");
}
