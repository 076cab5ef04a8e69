/* files: see files.h. */
#include "files.h"

#include <string.h>

#include "base/limits.h"
#include "compat.h"
#include "model/verdict.h"

/* The judge's requests, as they are. */
static enum err by_names(struct arena *a, str text, buf *reply, struct err_info *e)
{
    return verdict_call(a, text, reply, e);
}

struct ask {
    struct caps caps;
    struct verdict_device device;
    struct verdict_ask ask;
    uint64_t file_size;
};

static enum err read_ask(struct ask *q, struct arena *a, const struct json *v, struct err_info *e)
{
    const struct json *size = json_get(v, "file_size");
    enum err err;
    if (!size) size = json_get(v, "fileSize");
    bool none = !size || size->type == JSON_NULL;
    int64_t n = json_int(size, none ? INT64_MAX : -1);
    if (n < 0) return ERR_FAIL(e, INVALID, "'file_size' is no whole number");
    q->file_size = (uint64_t)n;
    if ((err = caps_parse(&q->caps, a, json_get(v, "worker"), NULL, e)) ||
        (err = verdict_device_read(&q->device, a, json_get(v, "device"), e)))
        return err;
    return verdict_ask_read(&q->ask, v, e);
}

/* The other parts' tensors are not in the header of one. */
static enum err whole(const struct gguf *g, struct err_info *e)
{
    uint32_t parts = 1;
    enum err err = gguf_get_u32(g, "split.count", &parts, e);
    if (err || parts <= 1) return err;
    return ERR_FAIL(e, UNSUPPORTED,
                    "this is one of %u parts of a model: give the reply of the Hub instead", parts);
}

static enum err by_header(struct arena *a, const struct json *v, str bytes, buf *reply,
                          struct err_info *e)
{
    struct verdict verdict;
    struct jsonw w;
    struct gguf g;
    struct ask q;
    uint64_t need = 0;
    enum err err = read_ask(&q, a, v, e);
    if (err) return err;
    str copy = arena_str(a, bytes); /* for good, and aligned like a file */
    if (!copy.p) return ERR_FAIL(e, NOMEM, "no memory for a header of %zu bytes", bytes.n);
    err = gguf_parse(&g, a, (const uint8_t *)copy.p, copy.n, q.file_size, &need, e);
    if (err == ERR_LIMIT && need > bytes.n)
        err = ERR_OK;
    else if (!err)
        err = whole(&g, e);
    if (err) return err;
    jsonw_init(&w, reply);
    jsonw_obj(&w);
    jsonw_key(&w, "need");
    jsonw_uint(&w, need > bytes.n ? need : 0);
    jsonw_key(&w, "verdict");
    if (need > bytes.n) {
        jsonw_null(&w);
    } else {
        verdict_header(&verdict, a, &g, &q.caps, &q.device, &q.ask);
        verdict_write(&verdict, &w);
    }
    jsonw_end(&w, '}');
    return ERR_OK;
}

static enum err answer(struct arena *a, str request, buf *reply, struct err_info *e)
{
    const char *nul = request.n ? memchr(request.p, 0, request.n) : NULL;
    str text = {request.p, nul ? (size_t)(nul - request.p) : request.n};
    str bytes = nul ? str_sub(request, text.n + 1, request.n) : (str){0};
    const struct json *v;
    enum err err = json_parse(a, text, &v, e);
    if (err) return err;
    str name = json_str(json_get(v, "call"), S(""));
    if (str_eqc(name, "check_gguf_header") || str_eqc(name, "checkGgufHeader"))
        return by_header(a, v, bytes, reply, e);
    return by_names(a, text, reply, e);
}

enum err files_call(str request, buf *reply)
{
    struct err_info e = {.text = ""};
    struct arena a;
    enum err err;
    arena_init(&a, COMPAT_ARENA_MAX);
    buf_clear(reply);
    err = answer(&a, request, reply, &e);
    if (!err && reply->failed) err = ERR_FAIL(&e, NOMEM, "no memory for the answer");
    arena_fini(&a);
    if (err) {
        buf_clear(reply);
        jsonw_error(reply, err, e.text);
    }
    return err;
}
