/* remote: headers by range. See remote.h. */
#include "store/remote.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "model/hf.h"
#include "store/remote_int.h"

#define HEADER_FIRST MIB(1) /* most headers with a vocabulary take a few of them */
#define SHARD_FIRST  KIB(256)
#define SHARDS_QUICK 8 /* nobody has to be told that they are read */
#define RETRIES      3
#define STALL_MS     30000

struct reader {
    struct remote *r;
    struct arena *a;
    const struct remote_conf *c;
    const struct hubapi_repo *repo;
    const struct pick *p;
    struct err_info *e;
};

enum err remote_conf_init(struct remote_conf *c, const struct store *s, struct err_info *e)
{
    int n = snprintf(c->cache, sizeof c->cache, "%s/hub", s->state);
    enum err code;

    if (n <= 0 || n >= (int)sizeof c->cache) c->cache[0] = 0;
    if ((code = hubapi_endpoint(c->endpoint, e)) || (code = download_init(e))) return code;
    c->net = (struct download_conf){.endpoint = c->endpoint,
                                    .token = hubapi_token(c->token) ? c->token : NULL,
                                    .n_streams = 1,
                                    .retries = RETRIES,
                                    .stall_ms = STALL_MS};
    return ERR_OK;
}

/* ---- bytes ---- */

static struct remote_key key_of(const struct reader *d, const struct pick_file *f)
{
    return (struct remote_key){str_c(d->c->endpoint), d->repo->id, d->repo->commit, f->path,
                               f->bytes};
}

/* Appends bytes from..from+n of a file. */
static enum err fetch(const struct reader *d, const struct pick_file *f, uint64_t n, buf *out)
{
    const char *url = hubapi_url(d->repo, d->a, d->c->endpoint, f->path);
    char what[300];

    snprintf(what, sizeof what, "%.*s", STR(str_sub(f->path, 0, 256)));
    if (!url) return ERR_FAIL(d->e, NOMEM, "no memory for the address of %s", what);
    d->r->fetched += n;
    return download_get(&d->c->net, url, what, out->n, n, out, d->e);
}

/* To whoever waits. */
__attribute__((format(printf, 2, 3))) static void say(const struct reader *d, const char *fmt, ...)
{
    char note[200];
    struct download_progress p = {.note = note};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(note, sizeof note, fmt, ap);
    va_end(ap);
    if (d->c->net.progress) d->c->net.progress(&p, d->c->net.owner);
}

static void refuse(struct remote *r, enum err code, const char *why)
{
    r->refused = code;
    snprintf(r->why, sizeof r->why, "%s", why);
}

static enum err keep(const struct reader *d, const struct pick_file *f, const buf *b, str *out)
{
    *out = arena_str(d->a, buf_view(b));
    if (out->p) return ERR_OK;
    return ERR_FAIL(d->e, NOMEM, "no memory for the first %zu bytes of %.*s", b->n, STR(f->path));
}

/* ---- GGUF ---- */

/* The header ends where the first tensor begins: what is behind it is of no use. */
static size_t header_bytes(const struct gguf *g, size_t n)
{
    for (uint64_t i = 0; i < g->n_tensors; i++)
        if (g->tensors[i].offset < n) n = (size_t)g->tensors[i].offset;
    return n;
}

/* Parses what is in b; *parsed ERR_LIMIT: *want bytes are to be tried. */
static enum err parse(const struct reader *d, const struct pick_file *f, const buf *b,
                      struct gguf *g, struct err_info *why, uint64_t *want)
{
    uint64_t need = 0;
    str kept;
    enum err code = keep(d, f, b, &kept);

    if (code) return code;
    why->code = gguf_parse(g, d->a, (const uint8_t *)kept.p, kept.n, f->bytes, &need, why);
    *want = need > 2 * (uint64_t)b->n ? need : 2 * (uint64_t)b->n;
    if (*want > f->bytes) *want = f->bytes;
    if (*want > LIMIT_GGUF_HEADER) *want = LIMIT_GGUF_HEADER;
    return ERR_OK;
}

/* The header of one part, in bytes that stay in the arena. why->code: it is none that we read. */
static enum err read_header(const struct reader *d, const struct pick_file *f, struct gguf *g,
                            struct err_info *why)
{
    const struct remote_key k = key_of(d, f);
    uint64_t want = f->bytes < HEADER_FIRST ? f->bytes : HEADER_FIRST;
    buf b = {.cap = LIMIT_GGUF_HEADER};
    bool cached = remote_cache_get(d->c->cache, &k, &b);
    enum err code = ERR_OK;

    why->code = ERR_OK;
    if (f->bytes == 0) why->code = ERR_FAIL(why, FORMAT, "%.*s is empty", STR(f->path));
    if (cached && !(code = parse(d, f, &b, g, why, &want)) && why->code) {
        cached = false;
        buf_clear(&b);
        want = f->bytes < HEADER_FIRST ? f->bytes : HEADER_FIRST;
    }
    while (!cached && !code && b.n < want) {
        if ((code = fetch(d, f, want - b.n, &b)) || (code = parse(d, f, &b, g, why, &want)) ||
            why->code != ERR_LIMIT)
            break;
    }
    if (!cached && !code && !why->code)
        remote_cache_put(d->c->cache, &k, str_sub(buf_view(&b), 0, header_bytes(g, b.n)));
    buf_fini(&b);
    return code;
}

/* Appends the tensors of a later part. */
static enum err join(const struct reader *d, struct gguf *g, const struct gguf *part)
{
    uint64_t n = g->n_tensors + part->n_tensors;
    struct gguf_tensor *all = ARENA_NEW(d->a, struct gguf_tensor, n ? n : 1);

    if (!all) return ERR_FAIL(d->e, NOMEM, "no memory for a list of tensors");
    if (g->n_tensors) memcpy(all, g->tensors, (size_t)g->n_tensors * sizeof *all);
    for (uint64_t i = 0; i < part->n_tensors; i++) {
        all[g->n_tensors + i] = part->tensors[i];
        all[g->n_tensors + i].part = g->n_parts;
    }
    g->tensors = all;
    g->n_tensors = n;
    g->n_parts++;
    g->file_bytes += part->file_bytes;
    return ERR_OK;
}

static enum err open_gguf(const struct reader *d)
{
    const struct pick *p = d->p;
    struct gguf *g = &d->r->g, part;
    struct err_info why = {0};
    enum err code = read_header(d, &d->repo->files[p->main], g, &why);

    g->n_parts = 1;
    for (size_t i = 0; !code && !why.code && i < p->n; i++) {
        if (p->files[i] == p->main) continue;
        if ((code = read_header(d, &d->repo->files[p->files[i]], &part, &why)) || why.code) break;
        code = join(d, g, &part);
    }
    if (code) return code;
    if (!why.code) why.code = gguf_index_tensors(g, d->a, &why);
    if (why.code)
        refuse(d->r, why.code, why.text);
    else
        d->r->opened = d->r->headers = true;
    return ERR_OK;
}

/* ---- SafeTensors ---- */

static const struct pick_file *file_of(const struct reader *d, const char *path)
{
    for (size_t i = 0; i < d->p->n; i++) {
        const struct pick_file *f = &d->repo->files[d->p->files[i]];

        if (str_eqc(f->path, path)) return f;
    }
    return NULL;
}

/* A small file, whole; empty when the repository has none of that name. */
static enum err read_text(const struct reader *d, const char *path, str *out)
{
    const struct pick_file *f = file_of(d, path);
    buf b = {.cap = LIMIT_PULL_SMALL};
    struct remote_key k;
    enum err code = ERR_OK;

    *out = (str){0};
    if (!f || f->bytes == 0) return ERR_OK;
    if (f->bytes > LIMIT_PULL_SMALL)
        return ERR_FAIL(d->e, LIMIT, "%s has %llu bytes; at most %zu are read", path,
                        (unsigned long long)f->bytes, LIMIT_PULL_SMALL);
    k = key_of(d, f);
    if (!remote_cache_get(d->c->cache, &k, &b) || b.n != f->bytes) {
        buf_clear(&b);
        code = fetch(d, f, f->bytes, &b);
        if (!code) remote_cache_put(d->c->cache, &k, buf_view(&b));
    }
    if (!code) code = keep(d, f, &b, out);
    buf_fini(&b);
    return code;
}

static bool is_shard(const struct pick_file *f)
{
    return f->name.format == FILENAME_SAFETENSORS && f->name.kind == FILENAME_WEIGHTS;
}

/* The length that a SafeTensors file states of its header, with its own eight bytes; 0: none. */
static uint64_t stated_length(str s)
{
    uint64_t len = 0;

    for (size_t i = 0; i < 8 && i < s.n; i++)
        len |= (uint64_t)(unsigned char)s.p[i] << 8 * i;
    return len > LIMIT_ST_HEADER ? 0 : 8 + len;
}

static enum err read_shard(const struct reader *d, const struct pick_file *f, str *out)
{
    const struct remote_key k = key_of(d, f);
    uint64_t want = f->bytes < SHARD_FIRST ? f->bytes : SHARD_FIRST;
    buf b = {.cap = LIMIT_ST_HEADER + KIB(1)};
    enum err code = ERR_OK;

    *out = (str){0};
    if (f->bytes == 0) return ERR_OK;
    if (!remote_cache_get(d->c->cache, &k, &b)) {
        code = fetch(d, f, want, &b);
        want = stated_length(buf_view(&b));
        if (!code && want > b.n && want <= f->bytes) code = fetch(d, f, want - b.n, &b);
        if (!code && want && want <= b.n)
            remote_cache_put(d->c->cache, &k, str_sub(buf_view(&b), 0, (size_t)want));
    }
    if (!code) code = keep(d, f, &b, out);
    buf_fini(&b);
    return code;
}

/* All that config.json does not say: the types of the weights and which there are. */
static enum err read_shards(const struct reader *d, struct hf_file *files, size_t *n)
{
    for (size_t i = 0; i < d->p->n; i++) {
        const struct pick_file *f = &d->repo->files[d->p->files[i]];
        enum err code;

        if (!is_shard(f)) continue;
        files[*n] = (struct hf_file){.name = f->path, .size = f->bytes};
        if ((code = read_shard(d, f, &files[*n].bytes))) return code;
        (*n)++;
    }
    return ERR_OK;
}

static enum err read_texts(const struct reader *d, struct hf_file *files, size_t *n)
{
    static const char *const names[] = {"config.json", "tokenizer_config.json",
                                        "generation_config.json", "chat_template.jinja",
                                        "1_Pooling/config.json"};
    struct hf_meta_files *t = &d->r->texts;
    str *const kept[] = {&t->config, &t->tokenizer_config, &t->generation_config, &t->chat_template,
                         &t->pooling};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        enum err code = read_text(d, names[i], kept[i]);

        if (code) return code;
        if (kept[i]->n) files[(*n)++] = (struct hf_file){str_c(names[i]), *kept[i], kept[i]->n};
    }
    return ERR_OK;
}

/* The loader learns from the index which shards there are. */
static bool lacks_index(const struct reader *d)
{
    return !file_of(d, "model.safetensors") && !file_of(d, "model.safetensors.index.json");
}

/* config.json first: what it refuses needs no header. */
static enum err open_folder(const struct reader *d)
{
    struct remote *r = d->r;
    struct err_info why = {0};
    struct hf_file *files = ARENA_NEW(d->a, struct hf_file, d->p->n + 1);
    size_t n = 0, shards = 0;
    enum err code;

    if (!files) return ERR_FAIL(d->e, NOMEM, "no memory for a list of %zu files", d->p->n);
    if ((code = read_texts(d, files, &n))) return code;
    if (hf_parse_config(&r->g, r->texts.config, &why)) {
        refuse(r, why.code, why.text);
        return ERR_OK;
    }
    for (size_t i = 0; i < d->p->n; i++)
        shards += is_shard(&d->repo->files[d->p->files[i]]);
    r->opened = true;
    if (lacks_index(d)) {
        remote_close(r);
        refuse(
            r, ERR_UNSUPPORTED,
            "the repository has parts of a model and no model.safetensors.index.json, which says "
            "what is in them");
        return ERR_OK;
    }
    if (shards > LIMIT_REMOTE_SHARDS) return ERR_OK;
    remote_close(r);
    if (shards > SHARDS_QUICK) say(d, "reading the headers of %zu files", shards);
    if ((code = read_shards(d, files, &n))) return code;
    if (hf_open_files(&r->g, arena_str(d->a, d->repo->id).p, files, n, &why))
        refuse(r, why.code, why.text);
    else
        r->opened = r->headers = true;
    return ERR_OK;
}

/* ---- the whole ---- */

enum err remote_open(struct remote *r, struct arena *a, const struct remote_conf *c,
                     const struct hubapi_repo *repo, const struct pick *p, struct err_info *e)
{
    struct reader d = {r, a, c, repo, p, e};
    enum err code;

    *r = (struct remote){.folder = p->folder};
    code = p->folder ? open_folder(&d) : open_gguf(&d);
    if (code) remote_close(r);
    return code;
}

void remote_close(struct remote *r)
{
    if (r->opened && r->folder) gguf_close(&r->g);
    r->opened = false;
}
