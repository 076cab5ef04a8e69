/* hf: opens a Hugging Face directory. See hf.h.
 *
 * In order: config.json becomes keys (hf_config.c), the shards are mapped (hf_files.c), their
 * tensors get GGUF names and layouts (hf_tensors.c), a few keys follow from the other files. The
 * keys are written as a GGUF header in memory and read back by gguf_parse(), so that they went
 * through the same checks as a file's and every look-up works on them.
 */
#include "model/hf.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "model/gguf_int.h"
#include "model/hf_int.h"
#include "model/meta.h"

enum { PATH_MAX_BYTES = 4096 };

bool hf_is_dir(const char *path)
{
    char config[PATH_MAX_BYTES];
    int n = snprintf(config, sizeof config, "%s/config.json", path);

    return n > 0 && n < PATH_MAX_BYTES && access(config, F_OK) == 0;
}

/* A copy, since config.json is mended in place. */
static enum err given_file(struct hf *h, const char *name, str *out)
{
    for (size_t i = 0; i < h->n_given; i++) {
        if (!str_eqc(h->given[i].name, name)) continue;
        *out = arena_str(&h->tree, h->given[i].bytes);
        return out->p ? ERR_OK : ERR_FAIL(h->e, NOMEM, "no memory for a copy of %s", name);
    }
    return ERR_OK;
}

/* Reads dir/name into the tree's arena; an empty string when there is no such file. */
static enum err read_file(struct hf *h, const char *dir, const char *name, str *out)
{
    char path[PATH_MAX_BYTES], *text, *copy;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    size_t len;
    enum err r;

    *out = (str){0};
    if (h->given) return given_file(h, name, out);
    if (n < 0 || n >= PATH_MAX_BYTES)
        return ERR_FAIL(h->e, INVALID, "the path of %s is too long", name);
    if (access(path, F_OK) != 0) return ERR_OK;
    if ((r = map_read_file(path, LIMIT_HF_INDEX, &text, &len, h->e))) return r;
    copy = arena_alloc(&h->tree, len + 1, 1);
    if (copy) memcpy(copy, text, len);
    mem_free(text);
    if (!copy) return ERR_FAIL(h->e, NOMEM, "no memory for the %zu bytes of %s", len, name);
    *out = (str){copy, len};
    return ERR_OK;
}

static enum err read_json(struct hf *h, const char *dir, const char *name, const struct json **out)
{
    struct err_info why = {0};
    str text;
    enum err r = read_file(h, dir, name, &text);

    *out = NULL;
    if (r || !text.p) return r;
    if ((r = json_parse(&h->tree, text, out, &why)))
        return err_fail(h->e, r, why.file, why.line, "%s: %s", name, why.text);
    return ERR_OK;
}

/* ---- keys from other files ---- */

static enum err put_template(struct hf *h, const char *dir)
{
    const struct json *conf;
    str text;
    enum err r = read_file(h, dir, "chat_template.jinja", &text);

    if (r) return r;
    if (!text.n) {
        if ((r = read_json(h, dir, "tokenizer_config.json", &conf))) return r;
        text = hf_template(json_get(conf, "chat_template"));
    }
    if (text.n) gguf_write_str(&h->w, "tokenizer.chat_template", text);
    return ERR_OK;
}

static enum err put_pooling(struct hf *h, const char *dir)
{
    const struct json *conf;
    enum err r = read_json(h, dir, "1_Pooling/config.json", &conf);

    if (!r) hf_put_pooling(h, conf);
    return r;
}

static void put_name(struct hf *h, const char *dir)
{
    str name = str_c(dir), rest;

    while (name.n && name.p[name.n - 1] == '/')
        name.n--;
    for (rest = name; rest.n;)
        if (rest.p[--rest.n] == '/') {
            name = str_sub(name, rest.n + 1, name.n);
            break;
        }
    if (name.n && !str_eqc(name, ".") && !str_eqc(name, ".."))
        gguf_write_str(&h->w, "general.name", name);
}

static void put_file_type(struct hf *h)
{
    uint64_t bytes[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_F32;
    uint32_t id;

    for (uint64_t i = 0; i < h->g->n_tensors; i++)
        bytes[h->g->tensors[i].dtype] += h->g->tensors[i].bytes;
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (bytes[t] > bytes[most]) most = (enum dtype)t;
    if (meta_file_type_from(str_c(dtype_info(most)->name), &id))
        gguf_write_u32(&h->w, "general.file_type", id);
}

/* ---- the struct ---- */

static void begin(struct hf *h, struct gguf *g, struct err_info *e)
{
    memset(h, 0, sizeof *h);
    memset(g, 0, sizeof *g);
    arena_init(&g->arena, LIMIT_HF_ARENA);
    arena_init(&h->tree, LIMIT_ST_ARENA);
    gguf_write_init(&h->w);
    h->g = g;
    h->e = e;
}

static enum err end(struct hf *h, enum err r)
{
    gguf_write_fini(&h->w);
    arena_fini(&h->tree);
    if (r) gguf_close(h->g);
    return r;
}

static enum err open_all(struct hf *h, const char *dir)
{
    str config, own = arena_str(&h->g->arena, str_c(dir));
    enum err r;

    if (!own.p) return ERR_FAIL(h->e, NOMEM, "no memory for a path");
    h->g->dir = own.p;
    if ((r = read_file(h, dir, "config.json", &config))) return r;
    if (!config.p) return ERR_FAIL(h->e, NOMODEL, "there is no config.json in it");
    if ((r = hf_config(h, (char *)(uintptr_t)config.p, config.n)) || (r = hf_files_open(h, dir)) ||
        (r = hf_tensors(h)) || (r = put_template(h, dir)) || (r = put_pooling(h, dir)))
        return r;
    put_name(h, dir);
    put_file_type(h);
    return hf_take_keys(h);
}

enum err hf_blame(enum err r, const char *dir, const struct err_info *why, struct err_info *e)
{
    char head[ERR_TEXT_MAX / 3];

    if (!r || !e) return r;
    /* The fault matters more than a long path; some errors name the file already. */
    snprintf(head, sizeof head, "%s", dir);
    if (strstr(why->text, dir))
        *e = *why;
    else
        err_fail(e, r, why->file, why->line, "%s: %s", head, why->text);
    return r;
}

enum err hf_open_as(struct gguf *g, const char *dir, const struct quant_mix *mix,
                    uint32_t n_threads, struct err_info *e)
{
    struct err_info why = {.code = ERR_OK};
    struct hf h;
    enum err r;

    begin(&h, g, &why);
    h.mix = mix;
    h.n_threads = n_threads;
    r = end(&h, open_all(&h, dir));
    return hf_blame(r, dir, &why, e);
}

enum err hf_open(struct gguf *g, const char *dir, struct err_info *e)
{
    return hf_open_as(g, dir, NULL, 1, e);
}

enum err hf_open_files(struct gguf *g, const char *name, const struct hf_file *files, size_t n,
                       struct err_info *e)
{
    struct err_info why = {.code = ERR_OK};
    struct hf h;
    enum err r;

    begin(&h, g, &why);
    h.given = files;
    h.n_given = n;
    r = end(&h, open_all(&h, name));
    return hf_blame(r, name, &why, e);
}

enum err hf_parse_config(struct gguf *g, str config, struct err_info *e)
{
    struct hf h;
    char *text;
    enum err r = ERR_OK;

    begin(&h, g, e);
    text = arena_alloc(&h.tree, config.n + 1, 1);
    if (!text) r = ERR_FAIL(e, NOMEM, "no memory for the %zu bytes of config.json", config.n);
    if (!r) {
        if (config.n) memcpy(text, config.p, config.n);
        r = hf_config(&h, text, config.n);
    }
    if (!r) r = hf_take_keys(&h);
    return end(&h, r);
}
