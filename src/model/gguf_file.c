/* gguf_file: opens a model's GGUF file, or all parts of a split one, as mappings.
 *
 * The first part's metadata is the model's; it says in split.count how many files there are, and
 * the names of the others follow from its own: "NAME-00001-of-00003.gguf". Each part has a header
 * with its own tensors; these are joined into one directory. A part must agree about its number and
 * the count, and the sum of tensors must be what split.tensors.count says.
 *
 * Invariant: on failure nothing stays mapped; on success every tensor's data points into a mapping.
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/os.h"
#include "model/gguf_int.h"

struct split {
    uint32_t no, count, tensors; /* tensors: 0 when the file does not say */
};

static enum err read_split(const struct gguf *g, struct split *s, struct err_info *e)
{
    enum err r;

    *s = (struct split){.count = 1};
    if ((r = gguf_get_u32(g, "split.count", &s->count, e)) ||
        (r = gguf_get_u32(g, "split.no", &s->no, e)) ||
        (r = gguf_get_u32(g, "split.tensors.count", &s->tensors, e)))
        return r;
    if (s->count == 0) s->count = 1; /* written so by some tools for files in one piece */
    if (s->count > LIMIT_GGUF_SPLITS)
        return ERR_FAIL(e, FORMAT, "split.count is %u; at most %d parts are allowed", s->count,
                        LIMIT_GGUF_SPLITS);
    if (s->no >= s->count)
        return ERR_FAIL(e, FORMAT, "split.no is %u, but there are only %u parts", s->no, s->count);
    return ERR_OK;
}

static enum err open_part(struct gguf *g, struct arena *a, struct map *m, const char *path,
                          struct err_info *e)
{
    struct err_info why = {.code = ERR_OK};
    enum err r = map_open(m, path, e);

    if (r) return r;
    if (m->n == 0) return ERR_FAIL(e, FORMAT, "%s: the file is empty", path);
    r = gguf_parse(g, a, m->p, m->n, m->n, NULL, &why);
    if (r && e) {
        char head[ERR_TEXT_MAX / 2];

        /* The fault matters more than a long path. */
        snprintf(head, sizeof head, "%s", path);
        err_fail(e, r, why.file, why.line, "%s: %s", head, why.text);
    }
    return r;
}

/* Path of part `no` (from 0) of `count`, given the path of part 0; false when that is not named so.
 */
static bool part_path(const char *first, uint32_t no, uint32_t count, char *out, size_t size)
{
    char tail[64];
    size_t n = strlen(first);
    int k = snprintf(tail, sizeof tail, "-%05u-of-%05u.gguf", 1u, count);

    if (n <= (size_t)k || strcmp(first + n - (size_t)k, tail)) return false;
    k = snprintf(out, size, "%.*s-%05u-of-%05u.gguf", (int)(n - (size_t)k), first, no + 1, count);
    return k > 0 && (size_t)k < size;
}

/* Opens part `no` and appends its tensors to g's, which have room for LIMIT_GGUF_TENSORS. */
static enum err join_part(struct gguf *g, const char *first, const struct split *whole, uint32_t no,
                          struct err_info *e)
{
    char path[4096];
    struct gguf part;
    struct split s;
    enum err r;

    if (!part_path(first, no, whole->count, path, sizeof path))
        return ERR_FAIL(e, FORMAT,
                        "%s is the first of %u parts, so its name must end in "
                        "-00001-of-%05u.gguf",
                        first, whole->count, whole->count);
    if ((r = open_part(&part, &g->arena, &g->maps[no], path, e)) || (r = read_split(&part, &s, e)))
        return r;
    if (s.no != no || s.count != whole->count)
        return ERR_FAIL(e, FORMAT, "%s says it is part %u of %u, expected part %u of %u", path,
                        s.no + 1, s.count, no + 1, whole->count);
    if (part.n_tensors > LIMIT_GGUF_TENSORS - g->n_tensors)
        return ERR_FAIL(e, FORMAT, "%s: the parts hold more than %u tensors", path,
                        LIMIT_GGUF_TENSORS);
    for (uint64_t i = 0; i < part.n_tensors; i++) {
        g->tensors[g->n_tensors + i] = part.tensors[i];
        g->tensors[g->n_tensors + i].part = no;
    }
    g->n_tensors += part.n_tensors;
    g->file_bytes += part.file_bytes;
    return ERR_OK;
}

static enum err join_parts(struct gguf *g, const char *path, const struct split *s,
                           struct err_info *e)
{
    struct gguf_tensor *all = ARENA_NEW(&g->arena, struct gguf_tensor, LIMIT_GGUF_TENSORS);
    enum err r;

    if (!all)
        return ERR_FAIL(e, NOMEM, "%s: no memory for the tensors of %u parts", path, s->count);
    if (g->n_tensors) memcpy(all, g->tensors, (size_t)g->n_tensors * sizeof *all);
    g->tensors = all;
    for (uint32_t no = 1; no < s->count; no++)
        if ((r = join_part(g, path, s, no, e))) return r;
    if (s->tensors && s->tensors != g->n_tensors)
        return ERR_FAIL(e, FORMAT, "%s: the %u parts hold %llu tensors, split.tensors.count is %u",
                        path, s->count, (unsigned long long)g->n_tensors, s->tensors);
    return gguf_index_tensors(g, &g->arena, e);
}

static enum err open_all(struct gguf *g, const char *path, struct err_info *e)
{
    struct arena arena;
    struct map first = {0};
    struct split s;
    struct map *maps;
    enum err r;

    /* gguf_parse() clears g, so what must survive it is kept aside. */
    arena_init(&arena, LIMIT_GGUF_ARENA);
    r = open_part(g, &arena, &first, path, e);
    g->arena = arena;
    g->maps = NULL;
    g->n_parts = 0;
    if (!r) r = read_split(g, &s, e);
    if (!r && s.no != 0)
        r = ERR_FAIL(e, INVALID,
                     "%s is part %u of %u; give the first part, whose name ends in "
                     "-00001-of-%05u.gguf",
                     path, s.no + 1, s.count, s.count);
    maps = r ? NULL : ARENA_NEW(&g->arena, struct map, s.count);
    if (!r && !maps) r = ERR_FAIL(e, NOMEM, "%s: no memory to open it", path);
    if (r) {
        map_close(&first);
        return r;
    }
    maps[0] = first;
    g->maps = maps;
    g->n_parts = s.count;
    return s.count > 1 ? join_parts(g, path, &s, e) : ERR_OK;
}

enum err gguf_open(struct gguf *g, const char *path, struct err_info *e)
{
    enum err r;

    memset(g, 0, sizeof *g);
    r = open_all(g, path, e);
    if (r) gguf_close(g);
    return r;
}

/* ---- copies ---- */

struct gguf_copy {
    struct gguf_copy *next;
    uint64_t bytes;
    _Alignas(64) uint8_t data[];
};

enum err gguf_copy_new(struct gguf *g, uint64_t bytes, uint8_t **out, struct err_info *e)
{
    uint64_t avail = os_mem_available();
    struct gguf_copy *c = NULL;

    if (bytes <= avail && bytes < SIZE_MAX - sizeof *c)
        c = mem_aligned(_Alignof(struct gguf_copy), sizeof *c + (size_t)bytes);
    if (!c)
        return ERR_FAIL(e, NOMEM,
                        "%llu bytes are needed for weights that cannot be used as they lie in the "
                        "file, and %llu are available; `rbee convert` writes a GGUF file that "
                        "needs none",
                        (unsigned long long)bytes, (unsigned long long)avail);
    c->next = g->copies;
    c->bytes = bytes;
    g->copies = c;
    g->copied_bytes += bytes;
    *out = c->data;
    return ERR_OK;
}

struct gguf_copy *gguf_copy_cut(struct gguf *g, struct gguf_copy *mark)
{
    struct gguf_copy *list = g->copies, *last = list;

    if (list == mark) return NULL;
    while (last->next != mark)
        last = last->next;
    last->next = NULL;
    g->copies = mark;
    return list;
}

bool gguf_copy_holds(const struct gguf_copy *list, const struct gguf_tensor *t)
{
    for (const struct gguf_copy *c = list; c; c = c->next) {
        if (!t->parts && t->data >= c->data && t->data < c->data + c->bytes) return true;
        for (uint64_t i = 0; t->parts && i < t->dim[2]; i++)
            if (t->parts[i] >= c->data && t->parts[i] < c->data + c->bytes) return true;
    }
    return false;
}

void gguf_copy_join(struct gguf *g, struct gguf_copy *list)
{
    while (list) {
        struct gguf_copy *next = list->next;

        list->next = g->copies;
        g->copies = list;
        list = next;
    }
}

void gguf_copy_drop(struct gguf *g, struct gguf_copy *list)
{
    while (list) {
        struct gguf_copy *next = list->next;

        g->copied_bytes -= list->bytes;
        mem_free(list);
        list = next;
    }
}

const uint8_t *gguf_tensor_part(const struct gguf_tensor *t, uint64_t i)
{
    return t->parts ? t->parts[i] : t->data + i * (t->bytes / t->dim[2]);
}

void gguf_close(struct gguf *g)
{
    gguf_copy_drop(g, g->copies);
    for (uint32_t i = 0; i < g->n_parts && g->maps; i++)
        map_close(&g->maps[i]);
    arena_fini(&g->arena);
    memset(g, 0, sizeof *g);
}
